"""The system's keyring, in the Databricks CLI's own words: what it kept we find, and what we keep it finds.

The CLI goes through https://github.com/zalando/go-keyring, which the library `keyring` shares neither attributes nor
encodings with; so each system is spoken to here, in that library's bytes. Nothing here ever opens a dialog: a
keyring that is locked is an error, and every call is over after `LIMIT` seconds, because one behind a dialog that
nobody sees would wait for ever.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .errors import ConfigError, Temporary
from .store import PLAINTEXT, CliCache, CliSlot, Grant, cli_grant, identity, storage_mode
from .world import World, run_program

if TYPE_CHECKING:
    import secretstorage

    from .files import Draft
    from .lock import Lock

SERVICE = "databricks-cli"
"""What the CLI calls itself in a keyring; the account beside it is the key that it has for the login."""

NAME = f"the keyring ({SERVICE})"
LIMIT = 3.0
"""Seconds that one call may take; the CLI gives it as many."""

PROBE = '{"token":{"access_token":"probe"}}'

Answer = TypeVar("Answer")


class NoKeyring(ConfigError):
    """There is no keyring on this machine, or none that this process can reach."""

    def __init__(self, why: str) -> None:
        super().__init__(f"there is no keyring to use: {why}", hint=PLAINTEXT)


def get(account: str, world: World) -> str | None:
    """What the CLI's keyring holds for this account, None where it holds nothing.

    Raises Temporary when it does not answer in time, NoKeyring where there is none, ConfigError when it is locked.
    """
    backend = _backend(world)
    world.detail(f"reading {NAME} [{account}]")
    return in_time("read", lambda: backend.get(account))


def put(account: str, secret: str, world: World) -> None:
    """Keep `secret` for this account, in place of what was there. Raises as `get`, ConfigError also when too large."""
    backend = _backend(world)
    world.detail(f"writing {NAME} [{account}]")
    in_time("written", lambda: backend.put(account, secret))


def remove(account: str, world: World) -> bool:
    """Forget what is kept for this account; False where that is nothing. Raises as `get`."""
    backend = _backend(world)
    world.detail(f"forgetting {NAME} [{account}]")
    return in_time("written", lambda: backend.remove(account))


def removed(account: str, wanted: Grant, world: World) -> Grant | None:
    """Forget the login of this account and return it, as far as it can be read; None where there is none."""
    secret = get(account, world)
    if secret is None or not remove(account, world):
        return None
    try:
        token = json.loads(secret)["token"]
    except (ValueError, RecursionError, TypeError, KeyError):
        token = None
    return cli_grant(wanted, token if isinstance(token, dict) else {})


def is_there(world: World) -> bool:
    """Whether there may be a keyring; costs nothing, and where it says no, asking would be in vain."""
    return world.platform in ("darwin", "win32") or bool(_bus(world))


def for_login(world: World, secret: str = PROBE) -> tuple[str, bool]:
    """Where a new login goes, `secure` or `plaintext`, and whether that is news, to be written down for the next one.

    Without a word from anybody it is the keyring if one can hold `secret`, else the file. A keyring that is locked,
    too small or slow is an error, and so is one that was asked for and is not there: nobody's secrets are moved to a
    file behind his back.
    """
    said = storage_mode(world)
    if said == "plaintext":
        return said, False
    try:
        probe(world, secret)
    except NoKeyring as error:
        if said:
            raise ConfigError(f"logins are to be kept in the keyring (secure), but {error}", hint=error.hint) from error
        return "plaintext", True
    return "secure", not said


def probe(world: World, secret: str = PROBE) -> None:
    """Keep something as long as `secret` under a name of its own, and forget it; raises what keeping it would raise."""
    import uuid

    account = f"__probe_{uuid.uuid4()}"
    put(account, PROBE.ljust(len(secret)), world)
    remove(account, world)


def envelope(token: Mapping[str, Any], around: Mapping[str, Any] | None = None) -> str:
    """A token as the CLI puts it into a keyring; `around` is what else stands there, and stays."""
    return json.dumps({**(around or {}), "token": token}, separators=(",", ":"))


def user_lock(store: CliCache, host: str) -> Lock:
    """What all processes of this user take before they renew a grant of the keyring, which is there for every HOME."""
    from .lock import Lock

    name = f"{identity(host)}-keyring.lock"
    paths = [os.path.join(folder, name) for folder in (store.world.runtime_dir, store.folder)]
    return Lock(store.world, f"the keyring's login for {host}", paths)


class KeyringSlot(CliSlot):
    """A grant that the CLI keeps in the keyring, under the name of a profile or under a host."""

    def __init__(self, world: World, account: str, wanted: Grant) -> None:
        self._item = _Item(world, account)
        super().__init__(self._item, account, wanted)
        self.joined = self._both_locks

    @contextmanager
    def _both_locks(self, wait: float) -> Iterator[None]:
        end = self._item.world.monotonic() + wait
        with user_lock(self._item, self._wanted.host).held(wait=wait):
            with self._item.locked(end - self._item.world.monotonic()):
                yield


class _Item(CliCache):
    """One account of the keyring, read and written like a cache file that holds this one login.

    The lock is the file's: the CLI takes the same one for both.
    """

    def __init__(self, world: World, account: str) -> None:
        super().__init__(world)
        self.account = account
        self.name = NAME

    def read(self) -> dict[str, Any]:
        secret = get(self.account, self.world)
        if secret is None:
            return {}
        try:
            value = json.loads(secret)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("token"), dict):
            raise ConfigError(
                f"{NAME} holds something under {self.account} that is not a login, and it was left as it is",
                hint=f"databricks auth login --profile {self.account}",
            )
        return {"version": self.VERSION, "tokens": {self.account: value["token"]}, "around": value}

    def write(self, value: Mapping[str, Any], room: Draft | None = None) -> None:
        put(self.account, envelope(value["tokens"][self.account], value.get("around")), self.world)

    @contextmanager
    def room(self) -> Iterator[Draft | None]:
        probe(self.world, get(self.account, self.world) or PROBE)
        yield None


class _Backend(Protocol):
    """What each system's keyring can do; called in a thread of its own."""

    def get(self, account: str) -> str | None: ...

    def put(self, account: str, secret: str) -> None: ...

    def remove(self, account: str) -> bool: ...


def _backend(world: World) -> _Backend:
    if world.platform == "darwin":
        return _Keychain()
    if world.platform == "win32":
        return _CredentialManager()
    return _SecretService(world)


def in_time(done: str, work: Callable[[], Answer]) -> Answer:
    """What `work` answers within LIMIT. It runs in a daemon thread, which never keeps the process from its end."""
    import threading

    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(LIMIT)
    if errors:
        raise errors[0]
    if not answers:
        raise Temporary(
            f"the keyring could not be {done} within {LIMIT:g} s; it may wait for somebody to unlock it",
            hint=f"unlock it and try again, or {PLAINTEXT}",
        )
    return answers[0]


def _locked() -> ConfigError:
    return ConfigError("the keyring is locked", hint=f"unlock it and try again, or {PLAINTEXT}")


def _too_large(size: int, limit: int) -> ConfigError:
    return ConfigError(f"the login has {size} bytes, and the keyring of this system takes {limit}", hint=PLAINTEXT)


# ---- Linux and the BSDs: the Secret Service, https://specifications.freedesktop.org/secret-service-spec --------------


def _bus(world: World) -> str:
    """The address of the session bus, empty where there is none."""
    if address := world.env.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    path = os.path.join(world.env.get("XDG_RUNTIME_DIR") or "/nonexistent", "bus")
    if not os.path.exists(path):
        return ""
    from urllib.parse import quote

    return f"unix:path={quote(path)}"


class _SecretService:
    """An item of the collection `login`, or of the default one, with just these attributes."""

    def __init__(self, world: World) -> None:
        self._address = _bus(world)
        if not self._address:
            raise NoKeyring("this process has no session bus (DBUS_SESSION_BUS_ADDRESS is not set)")
        try:
            import secretstorage  # noqa: F401  here, so that the thread is not in the middle of it when time is up
        except ImportError as error:
            raise NoKeyring(f"the library {error.name} is not installed") from error

    def get(self, account: str) -> str | None:
        with self._collection() as collection:
            for item in collection.search_items(_attributes(account)):
                return item.get_secret().decode(errors="replace")
        return None

    def put(self, account: str, secret: str) -> None:
        with self._collection() as collection:
            collection.create_item(
                f"Password for '{account}' on '{SERVICE}'",
                _attributes(account),
                secret.encode(),
                replace=True,
                content_type="text/plain; charset=utf8",
            )

    def remove(self, account: str) -> bool:
        with self._collection() as collection:
            found = list(collection.search_items(_attributes(account)))
            for item in found:
                item.delete()
        return bool(found)

    @contextmanager
    def _collection(self) -> Iterator[secretstorage.Collection]:
        """The collection that the CLI uses; what goes wrong inside becomes one of our errors."""
        import jeepney  # type: ignore[import-untyped,unused-ignore]
        from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped,unused-ignore]
        from secretstorage import (
            ItemNotFoundException,
            LockedException,
            PromptDismissedException,
            SecretServiceNotAvailableException,
        )

        try:
            # The address is the world's; the library would look into the environment of the process.
            with closing(open_dbus_connection(self._address)) as connection:
                collection = _login_collection(connection)
                collection.ensure_not_locked()
                yield collection
        except TimeoutError as error:
            raise Temporary("the session bus does not answer", hint=f"try again, or {PLAINTEXT}") from error
        except (LockedException, PromptDismissedException) as error:
            raise _locked() from error
        except ItemNotFoundException as error:
            raise NoKeyring("it has no collection that could hold a login") from error
        except SecretServiceNotAvailableException as error:
            raise NoKeyring("nobody on the session bus keeps secrets") from error
        except jeepney.DBusErrorResponse as error:
            if error.name.endswith(".IsLocked"):
                raise _locked() from error
            raise NoKeyring(f"it answers {error.name}") from error
        except (OSError, ValueError, RuntimeError) as error:  # an address that is none, or where nobody listens
            raise NoKeyring("the session bus cannot be reached (DBUS_SESSION_BUS_ADDRESS)") from error


def _attributes(account: str) -> dict[str, str]:
    return {"username": account, "service": SERVICE}


def _login_collection(connection: Any) -> secretstorage.Collection:
    import secretstorage

    try:
        return secretstorage.Collection(connection, "/org/freedesktop/secrets/collection/login")
    except secretstorage.ItemNotFoundException:
        return secretstorage.Collection(connection)


# ---- macOS: the tool `security` --------------------------------------------------------------------------------------

SECURITY = "/usr/bin/security"
LONGEST_COMMAND = 4096
"""Bytes of one command that `security -i` takes."""

# Exit codes are the last byte of an OSStatus, https://www.osstatus.com
_NOT_FOUND, _DUPLICATE = 44, 45
_LOCKED = {36: "interaction not allowed", 51: "authorization failed", 128: "cancelled"}


class _Keychain:
    """A generic password of the login keychain."""

    def get(self, account: str) -> str | None:
        code, out = run_security(["find-generic-password", "-s", SERVICE, "-wa", account])
        return None if code == _NOT_FOUND else decoded(_checked(code, out).strip())

    def put(self, account: str, secret: str) -> None:
        # Through stdin, because every user of the machine can read the arguments of a process.
        code, out = run_security(["-i"], add_command(account, secret))
        _checked(code, out)

    def remove(self, account: str) -> bool:
        code, out = run_security(["delete-generic-password", "-s", SERVICE, "-a", account])
        if code == _NOT_FOUND:
            return False
        _checked(code, out)
        return True


def _checked(code: int, out: str) -> str:
    if code in _LOCKED:
        raise _locked()
    if code == _DUPLICATE:
        raise Temporary("another process writes to the keychain", hint="try again")
    if code:
        raise NoKeyring(f"{SECURITY} ended with {code}")
    return out


def add_command(account: str, secret: str) -> str:
    """The line for `security -i` that keeps a secret. Raises ConfigError when it is longer than that takes."""
    import base64
    import shlex

    value = "go-keyring-base64:" + base64.b64encode(secret.encode()).decode()
    service, name, word = map(shlex.quote, (SERVICE, account, value))
    line = f"add-generic-password -U -s {service} -a {name} -w {word}\n"
    if (size := len(line.encode())) > LONGEST_COMMAND:
        raise _too_large(size, LONGEST_COMMAND)
    return line


def decoded(value: str) -> str:
    """A secret of the keychain in any of the three spellings that go-keyring ever had."""
    import base64

    try:
        if value.startswith("go-keyring-base64:"):
            return base64.b64decode(value.partition(":")[2], validate=True).decode(errors="replace")
        if value.startswith("go-keyring-encoded:"):
            return bytes.fromhex(value.partition(":")[2]).decode(errors="replace")
    except ValueError:
        pass  # then it is a word like any other, and whoever reads it as a login will say so
    return value


def run_security(arguments: list[str], typed: str = "") -> tuple[int, str]:
    """The exit code of `security` and what it wrote to stdout. Raises NoKeyring when it cannot be started."""
    try:
        return run_program([SECURITY, *arguments], typed, LIMIT)
    except TimeoutError as error:
        raise Temporary("the keychain does not answer", hint=f"try again, or {PLAINTEXT}") from error
    except (OSError, ValueError) as error:
        raise NoKeyring(f"{SECURITY} cannot be started") from error


# ---- Windows: the Credential Manager, https://learn.microsoft.com/windows/win32/api/wincred --------------------------

LARGEST_BLOB = 2560
_GENERIC, _LOCAL_MACHINE = 1, 2
_ERROR_NOT_FOUND, _ERROR_NO_SUCH_LOGON_SESSION = 1168, 1312


class _CredentialManager:
    """A generic credential with a blob of UTF-8."""

    def get(self, account: str) -> str | None:
        import ctypes

        found = ctypes.POINTER(credential_type())()
        library = advapi()
        if not library.CredReadW(target(account), _GENERIC, 0, ctypes.byref(found)):
            _nothing()
            return None
        try:
            blob = ctypes.string_at(found.contents.CredentialBlob, found.contents.CredentialBlobSize)
        finally:
            library.CredFree(found)
        return blob.decode(errors="replace")

    def put(self, account: str, secret: str) -> None:
        import ctypes

        blob = secret.encode()
        if len(blob) > LARGEST_BLOB:
            raise _too_large(len(blob), LARGEST_BLOB)
        credential = credential_type()(
            Type=_GENERIC,
            TargetName=target(account),
            CredentialBlobSize=len(blob),
            CredentialBlob=ctypes.cast(ctypes.create_string_buffer(blob, len(blob)), ctypes.POINTER(ctypes.c_ubyte)),
            Persist=_LOCAL_MACHINE,
            UserName=account,
        )
        if not advapi().CredWriteW(ctypes.byref(credential), 0):
            raise NoKeyring(f"the Credential Manager says {last_error()}")

    def remove(self, account: str) -> bool:
        if not advapi().CredDeleteW(target(account), _GENERIC, 0):
            _nothing()
            return False
        return True


def target(account: str) -> str:
    return f"{SERVICE}:{account}"


def _nothing() -> None:
    """Raise NoKeyring unless the last error means that there is no such credential."""
    code = last_error()
    if code == _ERROR_NO_SUCH_LOGON_SESSION:
        raise NoKeyring("this session of Windows has no credentials of its own")
    if code != _ERROR_NOT_FOUND:
        raise NoKeyring(f"the Credential Manager says {code}")


def credential_type() -> Any:
    """The structure CREDENTIALW of wincred.h."""
    import ctypes
    from ctypes import wintypes

    class Credential(ctypes.Structure):
        _fields_ = [
            ("Flags", wintypes.DWORD),
            ("Type", wintypes.DWORD),
            ("TargetName", wintypes.LPWSTR),
            ("Comment", wintypes.LPWSTR),
            ("LastWritten", wintypes.FILETIME),
            ("CredentialBlobSize", wintypes.DWORD),
            ("CredentialBlob", ctypes.POINTER(ctypes.c_ubyte)),
            ("Persist", wintypes.DWORD),
            ("AttributeCount", wintypes.DWORD),
            ("Attributes", ctypes.c_void_p),
            ("TargetAlias", wintypes.LPWSTR),
            ("UserName", wintypes.LPWSTR),
        ]

    return Credential


def advapi() -> Any:  # pragma: no cover  Windows only; the tests put a double in its place
    import ctypes

    return ctypes.__dict__["WinDLL"]("advapi32", use_last_error=True)


def last_error() -> int:  # pragma: no cover  Windows only; the tests put a double in its place
    import ctypes

    return int(ctypes.__dict__["get_last_error"]())
