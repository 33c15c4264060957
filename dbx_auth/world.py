"""The only door out: environment, home, clock, HTTP, browser, terminal.

Everything else in the package is handed a `World` and asks it. Tests pass one made of parts they control; the parts
here are the real ones. What differs between Linux, macOS and Windows about the outside is in this file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from . import __version__
from .errors import AuthError, ConfigError, InDoubt, Refused, Unreachable
from .memo import Seen

if TYPE_CHECKING:
    import ssl
    import subprocess


def _silence(text: str) -> None:
    """Say nothing."""


USER_AGENT = f"dbx-auth/{__version__}"
MEBIBYTE = 1 << 20

LATE = 1.0
"""Seconds that a process which was stopped has for reading what came while it was."""


Client = TypeVar("Client")


class Response(NamedTuple):
    """What a server answered: `status`, `headers` (names in lower case) and the whole `body` in bytes."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def busy(self) -> bool:
        """Whether asking again in a while may help (RFC 9110, 15.6; RFC 6585, 4)."""
        return is_busy(self.status)

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; raises Refused when it is anything else (HTML of a login page, say)."""
        import json

        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        what = "nothing" if not self.body.strip() else "something that is not a JSON object"
        raise Refused(
            f"{self.url} answered {self.status} with {what}",
            hint="check that the host is a Databricks workspace: dbx-auth status --offline",
        )


def without_query(url: str) -> str:
    """An address for people: what comes after it may be a secret."""
    return one_line(without_login(url).partition("?")[0].partition("#")[0])


def without_login(url: str) -> str:
    """An address without the user name and password that somebody put into it."""
    scheme, separator, rest = url.partition("://")
    name, slash, path = rest.partition("/")
    return f"{scheme}{separator}***@{name.rpartition('@')[2]}{slash}{path}" if "@" in name else url


def is_busy(status: int) -> bool:
    return status in (408, 429) or status >= 500


class Http:
    """One request at a time, with a deadline that holds whatever the far side does.

    The exchange runs in a daemon thread, because a name lookup and a server that drips one byte at a time both
    defeat socket timeouts. Redirects are never followed, and bodies are capped.
    """

    def __init__(self, env: Mapping[str, str], told: Callable[[str], None] | None = None) -> None:
        self._env = env
        self._told = told or _silence

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        budget: float = 30.0,
        limit: int = MEBIBYTE,
        shown: str = "",
    ) -> Response:
        """Send a request and return the whole answer, whatever its status.

        `form` is sent URL-encoded, `content` as it is; `budget` is the seconds that everything may take, `limit` the
        bytes a body may have, `shown` what people read in place of an address that is itself a secret. Raises
        Temporary when no answer came, Refused when the answer is too large or the certificate bad, ConfigError when a
        proxy or CA setting is unusable.
        """
        import threading

        import httpx  # noqa: F401  imported here so that the thread never is in the middle of it when time is up

        shown = shown or without_login(url)
        answers: list[Response | BaseException] = []

        def exchange() -> None:
            try:
                answers.append(self._exchange(method, url, headers or {}, form, content, budget, limit, shown))
            except BaseException as error:
                answers.append(error)

        thread = threading.Thread(target=exchange, name=f"{method} {without_query(shown)}", daemon=True)
        began = time.monotonic()
        thread.start()
        thread.join(budget)
        if time.monotonic() - began > budget + LATE:  # we were stopped, and the answer may have come meanwhile
            thread.join(LATE)
        answer = answers[0] if answers else _silent(shown, budget)
        took = f"{method} {without_query(shown)}: {time.monotonic() - began:.3f} s: "
        if isinstance(answer, BaseException):
            self._told(f"{took}{type(answer).__name__}")
            raise answer
        self._told(f"{took}{answer.status}, {len(answer.body)} bytes")
        return answer

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        content: bytes | None,
        budget: float,
        limit: int,
        shown: str,
    ) -> Response:
        import httpx

        plain = url.startswith("http://")  # hosts.canonical lets that through for loopback only
        deadline, late = time.monotonic() + budget, 0.0
        client = open_client(
            httpx.Client,
            self._env,
            plain,
            timeout=httpx.Timeout(budget, connect=min(budget, 5.0)),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "application/json"},
        )
        with client:
            try:
                with client.stream(method, url, headers=dict(headers), data=form, content=content) as answer:
                    body = bytearray()
                    for piece in answer.iter_raw():
                        body += piece
                        if len(body) > limit:
                            raise Refused(
                                f"{shown} answered with more than {limit} bytes; nothing of it was used",
                                hint="check the host",
                            )
                        if (now := time.monotonic()) > deadline:
                            late = late or now
                            if now - late > LATE / 2:  # it drips; else it was there while we were stopped
                                raise _silent(shown, budget)
                    return Response(shown, answer.status_code, dict(answer.headers), bytes(body))
            except httpx.ConnectTimeout as error:
                raise Unreachable(f"cannot reach {shown}: no connection in time", hint=_NETWORK) from error
            except httpx.TimeoutException as error:
                raise _silent(shown, budget) from error
            except (ValueError, httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
                raise ConfigError(
                    f"a request to {one_line(shown)} cannot be sent: {type(error).__name__}",
                    hint="look for odd characters in the settings: dbx-auth status --offline",
                ) from error
            except (httpx.ConnectError, httpx.ProxyError) as error:
                raise _unreachable(shown, error, self._env) from error
            except httpx.TransportError as error:
                raise InDoubt(f"{shown} broke off: {_reason(error)}", hint="try again, or check the network") from error


_NETWORK = "check the network and the host, then try again"


def _silent(url: str, budget: float) -> InDoubt:
    return InDoubt(f"no complete answer from {url} within {budget:.3g} s", hint="try again, or check the network")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _unreachable(url: str, error: Exception, env: Mapping[str, str]) -> AuthError:
    # A proxy may say in its refusal who was refused.
    reason = masked(_reason(error), _proxy_passwords(env))
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return Refused(
            f"the certificate of {url} is not trusted: {reason}",
            hint="export SSL_CERT_FILE=/path/to/your/company-ca.pem",
        )
    return Unreachable(f"cannot reach {url}: {reason}", hint=_NETWORK)


def _proxy_passwords(env: Mapping[str, str]) -> list[str]:
    addresses = [value for name, value in env.items() if name.lower().endswith("_proxy") and "@" in value]
    logins = [address.rpartition("@")[0].rpartition("/")[2] for address in addresses]
    return [login.partition(":")[2] for login in logins]


def open_client(kind: Callable[..., Client], env: Mapping[str, str], plain: bool, **how: Any) -> Client:
    """A client of httpx that goes out as all our requests do, by this machine's proxies and with its certificates.

    `plain` is for loopback, where there are neither. Raises ConfigError when a proxy or CA setting is unusable.
    """
    import httpx

    try:
        return kind(trust_env=not plain, verify=_tls(env, plain), **how)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise ConfigError(
            "the proxy settings of the environment cannot be used (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)",
            hint="set them to a URL such as http://proxy.example:8080, or unset them",
        ) from error


def _tls(env: Mapping[str, str], plain: bool) -> ssl.SSLContext:
    import ssl

    if plain:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and spares 40 ms of loading the machine's CAs
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := env.get(name):
            try:
                return _trusting(path)
            except OSError as error:
                raise ConfigError(
                    f"the CA file of {name} cannot be used: {path}: {error}", hint=f"correct or unset {name}"
                ) from error
    return _trusting("")


@cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    """One context for every connection, because reading certificates takes 20 ms; the machine's without a file."""
    import ssl

    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    paths = ssl.get_default_verify_paths()
    if sys.platform == "linux" and (paths.cafile or paths.capath):  # truststore would read them for each connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return context
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _log(text: str) -> None:
    """A warning of the library goes where the program sends its logs."""
    import logging

    logging.getLogger("dbx_auth").warning("%s", printable(text))


def _no_editor(path: str) -> None:
    """A program that nobody sits in front of starts none."""
    raise ConfigError(f"{path} can only be edited from the command line", hint="dbx-auth config edit")


def _no_replacing(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """A library does not make another program of the one that uses it."""
    raise ConfigError(f"{argv[0]} can only be run from the command line", hint="dbx-auth exec -- CMD")


def _no_waiting(what: str, seconds: float) -> AbstractContextManager[None]:
    return nullcontext()


class World(NamedTuple):
    """The outside, as this process may see it. (A tuple, because a dataclass takes 1 ms to make, and every call pays.)

    `env` and `home` are data; the rest are callables: `now` (epoch seconds), `monotonic` and `sleep` (seconds),
    `http` (see `Http`), `open_url` (True when a browser was started), `read_line` (what a person types or a script
    pipes in, None at the end or once the function it is given says that nobody waits any more), `warn` (something the
    user should know), `note` (what `-v` shows), `detail` (what only `-vv` shows), `waiting` (a context manager told
    what we wait for and how many seconds at most), `uninterrupted` (a context manager in which Ctrl-C and a request to
    end are put off), `harden` (called by what will hold secrets for minutes), `become` (makes this process another
    program, with the environment it is given; not on Windows). `offline` says that nobody may be asked,
    and is for libraries that go out by ways of their own; `http` knows by itself. `edit` lets a person change a file,
    and returns once they have.
    """

    env: Mapping[str, str]
    home: str
    platform: str = sys.platform
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    http: Callable[..., Response] = Http(os.environ)
    open_url: Callable[[str], bool] = lambda url: False
    edit: Callable[[str], None] = _no_editor
    read_line: Callable[..., str | None] = lambda given_up=None: None
    warn: Callable[[str], None] = _log
    note: Callable[[str], None] = _silence
    detail: Callable[[str], None] = _silence
    waiting: Callable[[str, float], AbstractContextManager[None]] = _no_waiting
    uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext
    harden: Callable[[], None] = lambda: None
    become: Callable[[Sequence[str], Mapping[str, str]], object] = _no_replacing
    offline: bool = False

    @classmethod
    def system(cls) -> World:
        """The real one, for a library: it never writes to the terminal and never opens a browser."""
        return cls(env=os.environ, home=os.path.expanduser("~"))

    @classmethod
    def terminal(cls, *, verbose: int = 0) -> World:
        """The real one, for the command line: warnings and waiting go to stderr, a browser may be opened.

        `verbose` 1 tells on stderr what is tried and why, 2 every request, file and lock as well.
        """
        shown = sys.stderr is not None and sys.stderr.isatty()
        detail = _told if verbose > 1 else _silence
        return cls(
            env=Seen(os.environ),
            home=os.path.expanduser("~"),
            open_url=open_browser,
            edit=open_editor,
            read_line=_line_of_stdin,
            warn=lambda text: tell(f"dbx-auth: warning: {text}"),
            http=Http(os.environ, detail),
            note=_told if verbose else _silence,
            detail=detail,
            waiting=_countdown if shown else _no_waiting,
            uninterrupted=signals_held,
            harden=no_core_dumps,
            become=replace_process,
        )

    @property
    def has_browser(self) -> bool:
        """Whether a browser can be started that the person sees."""
        return browser_command(self.env, self.platform) is not None

    @property
    def config_file(self) -> str:
        """Where the profiles are: DATABRICKS_CONFIG_FILE, else `~/.databrickscfg`."""
        return self.expand(self.env.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg")

    @property
    def data_dir(self) -> str:
        return self._own_dir("DBX_AUTH_DATA_DIR", "XDG_DATA_HOME", ".local/share", "user_data_dir")

    @property
    def config_dir(self) -> str:
        return self._own_dir("DBX_AUTH_CONFIG_DIR", "XDG_CONFIG_HOME", ".config", "user_config_dir")

    @property
    def cache_dir(self) -> str:
        return self._own_dir("DBX_AUTH_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "user_cache_dir")

    @property
    def runtime_dir(self) -> str:
        """A directory that all processes of this user on this machine share, whatever HOME they have.

        Somebody else may have made the one in `/tmp`; whoever uses it looks whose it is (`lock.is_ours`).
        """
        if self.platform == "win32":
            import platformdirs

            return str(platformdirs.user_runtime_dir("dbx-auth", appauthor=False))
        user = os.geteuid()
        if self.platform == "darwin":
            return os.path.join(os.confstr("CS_DARWIN_USER_TEMP_DIR") or "/tmp", "dbx-auth")  # noqa: S108
        own = f"/run/user/{user}"
        if os.path.isdir(own) and os.stat(own).st_uid == user:
            return os.path.join(own, "dbx-auth")
        return f"/tmp/dbx-auth-{user}"  # noqa: S108

    def _own_dir(self, override: str, xdg: str, fallback: str, platformdirs_name: str) -> str:
        if path := self.env.get(override):
            return self.expand(path)
        if self.platform in ("darwin", "win32"):
            import platformdirs

            return str(getattr(platformdirs, platformdirs_name)("dbx-auth", appauthor=False))
        # platformdirs answers the same here (a test holds it to that), but its import costs half as much as Python.
        base = self.env.get(xdg, "")
        return os.path.join(base if os.path.isabs(base) else os.path.join(self.home, fallback), "dbx-auth")

    def expand(self, path: str) -> str:
        """`path` with a leading `~` replaced by this world's home."""
        return os.path.join(self.home, path[2:].lstrip("/\\")) if path.startswith(("~/", "~\\")) else path

    def shorten(self, path: str) -> str:
        """`path` as a person would write it, with `~` for home."""
        inside = path.startswith(self.home + os.sep) and len(self.home) > 1
        return "~" + path[len(self.home) :] if inside else path


def _told(text: str) -> None:
    tell(f"dbx-auth: {text}")


def tell(text: str) -> None:
    """Write a line of conversation to stderr, never to stdout; harmless whatever a server put into it."""
    if sys.stderr is None:  # started with 2>&-
        return
    with suppress(OSError):
        sys.stderr.write(flat(text) + "\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """`text` with everything but newlines and visible characters removed.

    Escape sequences, C1 controls, carriage returns and bidirectional overrides could forge lines or drive the
    terminal (git CVE-2024-52005 is one such case).
    """
    return "".join(c for c in text if c == "\n" or c.isprintable())


def flat(text: str) -> str:
    """`text` as one harmless line: a line break could forge the next one."""
    return " ".join(printable(text).split("\n"))


def one_line(value: object, limit: int = 300) -> str:
    """What a server said, as one harmless line without the login in a URL; empty for anything that is not text."""
    words = value.split() if isinstance(value, str) else []
    return " ".join(filter(None, (printable(without_login(word)) for word in words)))[:limit].strip()


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """What a server said, without the `secrets` that we sent and it repeats, and without anything like a JWT."""
    import re
    from urllib.parse import quote_plus

    for secret in secrets:
        if len(secret) >= 8:  # a shorter one is no secret, and would tear words apart
            for form in (secret, quote_plus(secret)):  # as it is, and as it stood in our request
                text = text.replace(form, "***")
    return re.sub(r"eyJ[\w-]{8,}(\.[\w-]*)*", "***", text)


def _line_of_stdin(given_up: Callable[[], bool] | None = None) -> str | None:
    """One line from stdin without its newline, None at the end.

    Reads the file descriptor itself: a daemon thread that sits in `sys.stdin` at exit takes the interpreter down. With
    `given_up` it looks again and again whether anybody still waits for the line; Windows cannot look, and waits.
    """
    line = bytearray()
    try:
        if given_up and sys.platform != "win32":
            import select

            while not select.select([0], [], [], 0.1)[0]:
                if given_up():
                    return None
        while (byte := os.read(0, 1)) not in (b"", b"\n"):
            line += byte
    except OSError:  # started with <&-
        byte = b""
    return line.decode(errors="replace").rstrip("\r") if line or byte else None


@contextmanager
def _countdown(what: str, seconds: float) -> Iterator[None]:
    """Show what we wait for and how long is left, once it takes longer than a blink; erase it afterwards."""
    import threading

    done = threading.Event()
    plain = os.environ.get("TERM", "") in ("", "dumb")

    def show() -> None:
        end = time.monotonic() + seconds
        if done.wait(0.4):
            return
        if plain:
            tell(f"{what} (up to {seconds:.0f} s)")
            return
        while not done.is_set():
            sys.stderr.write(f"\r\x1b[2K{printable(what)} … {max(0, end - time.monotonic()):.0f} s left")
            sys.stderr.flush()
            done.wait(1)
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()

    thread = threading.Thread(target=show, name="countdown", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Ended(BaseException):
    """Somebody wants this process to end, by signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_asked_to_end: list[int] = []


def asked_to_end() -> int | None:
    """The signal that this process has been asked to end by, if any; see `end_in_order`."""
    return _asked_to_end[0] if _asked_to_end else None


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP raise Ended, and SIGINT KeyboardInterrupt, so that nothing half done stays behind.

    One that is ignored, as SIGHUP is under nohup, stays ignored.
    """
    import signal

    def end(number: int, frame: object) -> None:
        _asked_to_end.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Ended(number)

    _asked_to_end.clear()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


def is_running(pid: int) -> bool:
    """Whether there is a process of that number that has not ended, whether or not somebody has taken note of that."""
    if sys.platform == "win32":  # pragma: no cover  os.kill would end it
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return False
        try:
            return bool(ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0x102)  # WAIT_TIMEOUT
        finally:
            ctypes.windll.kernel32.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except OSError:
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:  # no Linux, or it has ended just now
        return sys.platform != "linux"


def many_files() -> None:
    """Let this process have as many files and connections open as it may; the usual limit is for one that has few."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard if sys.platform == "linux" else 10_240  # macOS says infinity, and takes OPEN_MAX
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def no_core_dumps() -> None:
    """Keep the memory of this process off the disk, and from debuggers of the same user; for one that lives long.

    The system may decline; then all is as it was.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


@contextmanager
def signals_held() -> Iterator[None]:
    """Put off SIGINT, SIGTERM and SIGHUP until the block is over: between a spent refresh token and the file that
    holds its successor, leaving would end the login."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():  # and there no handler can be set
        yield
        return
    came: list[int] = []
    known = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    held = [each for each in known if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, lambda number, frame: came.append(number)) for each in held}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if came:
            signal.raise_signal(came[0])


def open_browser(url: str) -> bool:
    """Start the person's browser on `url` and return at once; False when there is none to start.

    The child does not inherit stdout, where the data goes.
    """
    import subprocess

    opener = browser_command(os.environ, sys.platform)
    if opener is None:
        return False
    if sys.platform == "win32" and not opener:
        os.startfile(url)  # noqa: S606  the system's own way, no shell
        return True
    quiet = subprocess.DEVNULL
    try:
        subprocess.Popen([*opener, url], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)  # noqa: S603
    except OSError:
        return False
    return True


def open_editor(path: str) -> None:
    """Let the person change a file, and wait until they have. Raises ConfigError where there is no editor to start,
    Refused when it says that something went wrong.
    """
    import signal
    import subprocess

    command = editor_command(os.environ, sys.platform)
    try:
        # What it draws is conversation: stdout may be a pipe.
        editor = subprocess.Popen([*command, path], stdout=2)  # noqa: S603
    except OSError as error:
        raise ConfigError(
            f"the editor {command[0]} cannot be started: {error.strerror}", hint="export EDITOR=nano, say"
        ) from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the editor
    try:
        code = editor.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise Refused(f"the editor {command[0]} ended with {code}", hint=f"look at {path}")


def editor_command(env: Mapping[str, str], platform: str) -> list[str]:
    """The person's editor, never through a shell: VISUAL, else EDITOR, else one that is there."""
    import shlex
    import shutil

    for name in ("VISUAL", "EDITOR"):
        try:
            if command := shlex.split(env.get(name, ""), posix=platform != "win32"):
                return command
        except ValueError as error:  # a quote that is never closed
            raise ConfigError(f"{name} is no command: {env[name]}", hint=f"export {name}=nano") from error
    if platform == "win32":
        return ["notepad"]
    known = ("sensible-editor", "nano", "vim", "vi")
    if found := next((name for name in known if shutil.which(name, path=env.get("PATH", ""))), None):
        return [found]
    raise ConfigError("there is no editor: neither VISUAL nor EDITOR is set", hint="export EDITOR=nano")


def replace_process(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Make this process another program, which then has our terminal, our descriptors and whoever waits for us.

    Raises OSError when there is no such program, or when it cannot be run.
    """
    import signal

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):
            stream.flush()
    # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays ignored. A signal that came in the last moment would
    # be lost with its handler.
    ours = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    back = [number for number in ours if signal.getsignal(number) is not signal.SIG_IGN]
    back += [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in back}
    try:
        os.execvpe(argv[0], list(argv), env)  # noqa: S606  no shell is wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_program(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program in our process group, with our terminal and every descriptor that was handed to us.

    Raises OSError when there is no such program, or when it cannot be run.
    """
    import shutil
    import subprocess

    program = argv[0]
    if sys.platform == "win32":  # which looks for .exe alone, and finds no `npm`
        program = shutil.which(program, path=env.get("PATH")) or program
    return subprocess.Popen([program, *argv[1:]], env=dict(env), close_fds=False)  # noqa: S603


def run_program(argv: Sequence[str], typed: str, seconds: float) -> tuple[int, str]:
    """Run a program that is told `typed` on stdin; its exit code and what it wrote to stdout.

    Raises TimeoutError after so many seconds, OSError or ValueError when it cannot be started.
    """
    import subprocess

    try:
        done = subprocess.run(argv, input=typed.encode(), capture_output=True, timeout=seconds)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    return done.returncode, done.stdout.decode(errors="replace")


def browser_command(env: Mapping[str, str], platform: str) -> list[str] | None:
    """What opens a link for the person at this machine, None where nobody would see it; empty for Windows' own way.

    BROWSER is honoured as the Databricks CLI does: `none` starts nothing, anything else is a command that gets the
    URL as its last argument, never through a shell. Who came by SSH would open it on a screen that they do not see.
    """
    import shlex
    import shutil

    command = env.get("BROWSER", "")
    if command == "none":
        return None
    if command:
        try:
            return shlex.split(command.split(os.pathsep)[0], posix=platform != "win32") or None
        except ValueError:  # a quote that is never closed
            return None
    if platform in ("win32", "darwin"):
        remote = env.get("SSH_CONNECTION")
        return None if remote else ["open"] if platform == "darwin" else []
    if env.get("DISPLAY") or env.get("WAYLAND_DISPLAY") or is_wsl(env):
        openers = ("wslview", "xdg-open", "x-www-browser", "firefox", "chromium")
        return next(([name] for name in openers if shutil.which(name, path=env.get("PATH", ""))), None)
    return None


def is_wsl(env: Mapping[str, str]) -> bool:
    """Whether this is Linux inside Windows, whose browser may not find its way back to us."""
    return "WSL_DISTRO_NAME" in env
