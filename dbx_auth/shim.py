"""What the Databricks CLI would answer to an SDK that asks it for a token; `install` puts it where SDKs look.

The SDKs start the program that DATABRICKS_CLI_PATH names with `version` or `auth token …`, and hold what it says
against their own expectations: docs/clients/databricks-sdk.md has the whole of it. Nothing else of that CLI is here.

    argv ─► parse, as Go's pflag does ─► resolve.token, within seconds ─► text for stdout, text for stderr, exit code
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn, TypeVar

from . import __version__, profile as profiles, resolve
from .errors import AuthError, ConfigError, NotConfigured, Temporary, UsageError, mistake
from .profile import FIELDS, Flags, Profile, Setting
from .tokens import Demand, Token, format_expiry
from .world import MEBIBYTE, Ended, World, end_in_order, one_line, run_program, tell

VERSION = (1, 13, 0)
"""The version of the Databricks CLI whose manners these are. From 0.296.0 on, SDKs say --force-refresh."""

BUDGET = 4.5
"""Seconds for a token, of the 5 that some callers wait."""

NOT_CONFIGURED = "databricks OAuth is not configured for this host"
"""What makes an SDK go on to its next way to log in. After any other error it gives up."""

FAR_FUTURE = 4_102_444_800.0
"""When a token ends that does not: in the year 2100, because every SDK wants to be told."""

HELP = f"""dbx-auth {__version__} in place of the Databricks CLI. It answers the Databricks SDKs, and nobody else:

  version [-o text|json]
  auth token [PROFILE|HOST] [-p PROFILE] [--host URL] [--account-id ID] [--workspace-id ID] [--force-refresh]
             [--timeout TIME] [-o text|json]

Everything else is in `dbx-auth --help`.
"""


class Answer(NamedTuple):
    """How one call ends: the exit code, and what goes to stdout and stderr."""

    code: int
    out: str = ""
    err: str = ""


def answer(argv: Sequence[str], world: World, fixed: Flags = Flags()) -> Answer:  # noqa: B008
    """What the Databricks CLI would say to this; `fixed` is the profile or host that the shim was installed for."""
    said = parse(argv)
    command = said.words[: 2 if said.words[:1] == ["auth"] else 1]
    if command not in ([], ["version"], ["auth"], ["auth", "token"]):
        asked = one_line(" ".join(command))
        ours = f"; there is `dbx-auth {asked}`" if command[0] == "auth" else ""
        return _wrong(f"this is dbx-auth and not the Databricks CLI, and has no `{asked}`{ours}")
    if said.error:
        return _wrong(said.error)
    if said.is_on("help") or command == ["auth"] or not (command or said.is_on("version")):
        return Answer(0, HELP)
    if command == ["auth", "token"]:
        return _token(said, world, fixed)
    return Answer(0, _version(said.output))


def _wrong(text: str) -> Answer:
    # Java's SDK takes `not found` for a CLI that is missing.
    return Answer(1, err=re.sub("not found", "not there", f"Error: {text}\n", flags=re.IGNORECASE))


def _version(form: str) -> str:
    number = ".".join(map(str, VERSION))
    if form != "json":
        return f"Databricks CLI v{number}\n"
    import json

    major, minor, patch = VERSION
    document = {
        "ProjectName": "cli",
        "Version": number,
        "Summary": f"dbx-auth {__version__}",
        "Major": major,
        "Minor": minor,
        "Patch": patch,
        "Prerelease": "",
        "IsSnapshot": False,
    }
    return json.dumps(document, indent=2) + "\n"


# ---- the command line, as Go's pflag reads it ------------------------------------------------------------------------

VALUES = {"host", "account-id", "workspace-id", "profile", "timeout", "output"}
SWITCHES = {"force-refresh", "experimental-is-unified-host", "help", "version"}
SHORT = {"p": "profile", "o": "output", "h": "help", "v": "version"}

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


class Line(NamedTuple):
    """One command line: its words, the last value of each flag, and the first thing that was wrong with it."""

    words: list[str]
    flags: dict[str, str]
    error: str

    def is_on(self, switch: str) -> bool:
        return self.flags.get(switch) in _TRUE

    @property
    def output(self) -> str:
        return self.flags.get("output", "").lower()


def parse(argv: Sequence[str]) -> Line:
    """Flags may stand anywhere, long or short, with their value behind `=`, behind a space or, short, right there."""
    rest, words, flags, wrong = list(argv), list[str](), dict[str, str](), list[str]()
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("--"):
            wrong += _long(word, rest, flags)
        elif word.startswith("-") and len(word) > 1:
            wrong += _short(word, rest, flags)
        else:
            words.append(word)
    return Line(words, flags, (wrong or [""])[0])


def _long(word: str, rest: list[str], flags: dict[str, str]) -> Iterator[str]:
    name, equals, value = word[2:].partition("=")
    if not name or name.startswith("-"):
        yield f"bad flag syntax: {word}"
    elif name not in VALUES | SWITCHES:
        yield f"unknown flag: --{name}"
    elif equals or name in SWITCHES:
        yield from _set(name, value if equals else "true", flags)
    elif rest:
        yield from _set(name, rest.pop(0), flags)
    else:
        yield f"flag needs an argument: --{name}"


def _short(word: str, rest: list[str], flags: dict[str, str]) -> Iterator[str]:
    letters = word[1:]
    while letters:
        name = SHORT.get(letters[0])
        if name is None:
            yield f"unknown shorthand flag: '{letters[0]}' in -{letters}"
            return
        if len(letters) > 2 and letters[1] == "=":
            yield from _set(name, letters[2:], flags)
        elif name in SWITCHES:
            flags[name] = "true"
            letters = letters[1:]
            continue
        elif len(letters) > 1:
            yield from _set(name, letters[1:], flags)
        elif rest:
            yield from _set(name, rest.pop(0), flags)
        else:
            yield f"flag needs an argument: '{letters[0]}' in -{letters}"
        return


def _set(name: str, value: str, flags: dict[str, str]) -> Iterator[str]:
    flags[name] = value
    why = ""
    if name in SWITCHES and value not in _TRUE + _FALSE:
        why = f'strconv.ParseBool: parsing "{value}": invalid syntax'
    elif name == "output" and value.lower() not in ("text", "json"):
        why = "accepted arguments are text and json"
    elif name == "timeout" and _seconds(value) is None:
        why = f'time: invalid duration "{value}"'
    if why:
        short = next((f"-{letter}, " for letter, long in SHORT.items() if long == name), "")
        yield f'invalid argument "{value}" for "{short}--{name}" flag: {why}'


def _seconds(text: str) -> float | None:
    """The seconds of a duration as Go writes it (`300s`, `1h30m`), None for what is none."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"({_DURATION.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


# ---- a token ---------------------------------------------------------------------------------------------------------


def _token(said: Line, world: World, fixed: Flags) -> Answer:
    if len(said.words) > 3:
        return _wrong(f"accepts at most 1 arg(s), received {len(said.words) - 2}")
    seconds = min(BUDGET, _seconds(said.flags.get("timeout", "")) or BUDGET)
    try:
        flags = _flags(said, world)
        force, workspace_id = said.is_on("force-refresh"), said.flags.get("workspace-id", "")
        found = find(_meant(flags, world, fixed, workspace_id), world, seconds, force=force)
    except Exception as error:
        return _refused(error if isinstance(error, AuthError) else mistake(error), said.output == "json")
    return Answer(0, f"{found.value}\n" if said.output == "text" else document(found))


def document(token: Token) -> str:
    """A token as `databricks auth token` prints it, without a line break at its end."""
    import json

    ends = FAR_FUTURE if token.expires_at is None else token.expires_at
    fields = {"access_token": token.value, "token_type": token.token_type, "expiry": format_expiry(ends)}
    return json.dumps(fields, indent=2)


def _refused(error: AuthError, as_json: bool) -> Answer:
    answer = _wrong(_in_their_words(error))
    if not as_json:
        return answer
    from . import output

    return answer._replace(out=output.failure(error) + "\n")


def _in_their_words(error: AuthError) -> str:
    failed = _failed(error)
    if "databricks-cli" in failed:
        return (
            "A new access token could not be retrieved because the refresh token is invalid. "
            f"To reauthenticate, run the following command:\n  $ {error.hint}"
        )
    if isinstance(error, NotConfigured):
        why = "no cached credentials" if error.attempts and not failed else str(error)
        return f"cache: {NOT_CONFIGURED}. {why}; run `{error.hint}` to sign in"
    return f"{error}\nhint: {error.hint}"


def _failed(error: AuthError) -> list[str]:
    """The sources that a login was found in which did not do."""
    attempts = error.attempts if isinstance(error, NotConfigured) else ()
    return [attempt.auth_type for attempt in attempts if attempt.outcome == "failed"]


def _flags(said: Line, world: World) -> Flags:
    """Who is meant; a word without a flag is a profile of that name, else a host."""
    flags = Flags(*(said.flags.get(name, "") for name in ("profile", "host", "account-id")))
    if not said.words[2:]:
        return flags
    word = said.words[2]
    if flags.profile or flags.host:
        text = f'argument "{word}" cannot be combined with --host or --profile'
        raise UsageError(text, hint="use the --host and --profile flags instead")
    if word in profiles.read(world):
        return flags._replace(profile=word)
    if "." in word or re.match("https?://", word) or re.search(":[0-9]+$", word):
        return flags._replace(host=word)
    raise UsageError(f'no matching profile found: "{word}"', hint="dbx-auth profiles")


def find(meant: Iterator[Profile], world: World, seconds: float, *, force: bool = False) -> Token:
    """The first token there is for these settings. Raises NotConfigured where nobody has logged in with any of them,
    Temporary after so many seconds, and what `resolve.token` raises.
    """
    end = world.monotonic() + seconds
    first: NotConfigured | None = None
    for profile in meant:
        try:
            return _renewed(profile, world, end) if force else _token_of(profile, world, end)
        except NotConfigured as error:
            if _failed(error):
                raise
            first = first or error
    raise first or AssertionError("somebody is always meant")


def _token_of(profile: Profile, world: World, end: float, demand: Demand = Demand()) -> Token:  # noqa: B008
    return within(end - world.monotonic(), lambda world: resolve.token(profile, world, demand), world)


def _meant(asked: Flags, world: World, fixed: Flags, workspace_id: str) -> Iterator[Profile]:
    """The settings to look for a token with, one after another while nobody has logged in with them."""
    if any(fixed):
        asked = _checked(asked, world, fixed)
    profile = profiles.load(world, asked)
    yield profile
    if profile.value("auth_type") == "databricks-cli":
        yield _any_way(profile)
    if not profile.name and profile.is_host_set:
        names = _profiles_of(profile.host, asked.account_id, workspace_id, world)
        if len(names) == 1:
            yield profiles.load(world, Flags(names[0], account_id=asked.account_id))


def _checked(asked: Flags, world: World, fixed: Flags) -> Flags:
    """What the shim was installed for. A token of it is for its own host, and for nobody who asks about another."""
    if asked.host or asked.profile not in ("", fixed.profile):
        ours, theirs = profiles.load(world, fixed).host, profiles.load(world, asked).host
        if ours != theirs:
            raise NotConfigured(f"this shim is for {ours}, not for {theirs}", (), hint=f"dbx-auth login {theirs}")
    return fixed._replace(account_id=asked.account_id)


def _any_way(profile: Profile) -> Profile:
    """The same with any login of this machine: `databricks-cli` is how an SDK says that it asks the CLI, which is us.

    What the environment logs in with stays out: the SDK has it, and was told not to use it.
    """
    kept = {
        name: setting
        for name, setting in profile.settings.items()
        if name != "auth_type" and not (FIELDS[name].method and setting.origin.startswith("env "))
    }
    return profile._replace(settings=kept)


def _profiles_of(host: str, account_id: str, workspace_id: str, world: World) -> list[str]:
    """The profiles of a host, as the Databricks CLI looks for them where it is given no name."""

    def fits(section: dict[str, str]) -> bool:
        wanted = {"account_id": account_id, "workspace_id": workspace_id}
        return all(not value or section.get(name, value) == value for name, value in wanted.items())

    sections = profiles.read(world).items()
    return [name for name, section in sections if profiles.host_of(section) == host and fits(section)]


def _renewed(profile: Profile, world: World, end: float) -> Token:
    """A token with its whole life before it, where there can be one: SDKs ask for that on every start.

    One that was renewed a moment ago is content with that (`journal.RECENT`), a key has no other, and where no new one
    is to be had in time, the one that is there has to do.
    """

    def look(world: World) -> resolve.Resolution:
        return resolve.resolve(profile, world, Demand(renew=False))

    held, _, attempts = within(end - world.monotonic(), look, world)
    if held is None or any(attempt.outcome == "failed" for attempt in attempts):
        return _token_of(profile, world, end)
    if not held.refreshable:
        return held
    same = {**profile.settings, "auth_type": Setting("auth_type", held.auth_type, held.origin)}
    try:
        return _token_of(profile._replace(settings=same), world, end, Demand(force=True))
    except Temporary as error:
        world.note(f"not renewed: {error}")
        return held


# ---- in time ---------------------------------------------------------------------------------------------------------

Found = TypeVar("Found")


def within(seconds: float, work: Callable[[World], Found], world: World) -> Found:
    """What `work` says when it is handed the world, or Temporary after so many seconds.

    A refresh token that has been sent is spent, and who leaves before its successor is kept ends the login. That alone
    is waited for, however long it takes (`refresh.BUDGET`); whatever comes here also to end this process waits too.
    """
    import threading

    spending, gone = threading.RLock(), threading.Event()
    answers: list[Found | BaseException] = []
    late = Temporary("there is no token in time", hint="try again, or look what takes so long: dbx-auth -v token")

    @contextmanager
    def uninterrupted() -> Iterator[None]:
        with spending:
            if gone.is_set():
                raise late
            yield

    def run() -> None:
        try:
            answers.append(work(world._replace(uninterrupted=uninterrupted)))
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=run, name="token", daemon=True)
    thread.start()
    try:
        thread.join(max(0.0, seconds))
    finally:
        with spending:
            gone.set()
    thread.join(0.1)  # what was spent while we waited for it is an answer in a moment
    found = answers[0] if answers else late
    if isinstance(found, BaseException):
        raise found
    return found


# ---- the file that SDKs start ----------------------------------------------------------------------------------------

SMALLEST = MEBIBYTE
"""Bytes that the SDK for Go wants a CLI to have: it takes a smaller file for the CLI of old, written in Python."""

MARK = "dbx-auth in place of the Databricks CLI"
"""What is in the first lines of a file that we wrote, so that nothing else is ever written over."""

RUN_BUDGET = 30.0
"""Seconds for a first start of what is to be installed; a busy machine may take some."""


def place(world: World) -> str:
    """Where it is put when nobody says where: among our own data."""
    return os.path.join(world.data_dir, "bin", "databricks.cmd" if world.platform == "win32" else "databricks")


def install(path: str, world: World, *, profile: str = "", host: str = "") -> str:
    """Put the file at `path` that DATABRICKS_CLI_PATH shall name, and return where it is now.

    It answers for `profile` or `host` if one is given, else for what each call names. On Windows its name ends in
    `.cmd`. Nothing is written where it is there already. Raises ConfigError for a path that has something else, or
    cannot be written.
    """
    if not sys.executable:
        raise ConfigError("this Python does not know where it is", hint="install dbx-auth with pip, pipx or uv")
    windows = world.platform == "win32"
    path = os.path.abspath(world.expand(path))
    if windows and not path.lower().endswith((".cmd", ".bat")):
        path += ".cmd"
    # It is started in other people's directories and environments, where Python is to look for nothing (-E, -P).
    command = [sys.executable, "-E", "-P", "-m", "dbx_auth.shim", profile, host]
    if not all(word.isprintable() for word in command):
        raise ConfigError("a path or a profile holds a control character", hint="choose another profile: -p DEV")
    program = batch(command, world.home) if windows else script(command)
    _check_that_it_runs(command)
    _write(path, program)
    return path


def uninstall(path: str) -> bool:
    """Take the file away again; whether it was there. Raises ConfigError where that cannot be done."""
    from . import files

    if not is_ours(path):
        return False
    try:
        os.unlink(path)
    except OSError as error:
        raise files.unwritable(path, error) from error
    return True


def _check_that_it_runs(command: Sequence[str]) -> None:
    try:
        code, said = run_program([*command, "version"], "", RUN_BUDGET)
    except (OSError, ValueError):
        code, said = -1, ""
    if (code, said.strip()) != (0, _version("text").strip()):
        raise ConfigError(
            f"dbx-auth cannot be run by {command[0]} from everywhere", hint="install it with pip, pipx or uv"
        )


def is_ours(path: str) -> bool:
    """Whether we wrote this file."""
    from . import files

    try:
        return MARK.encode() in files.read(path, 512)
    except OSError:
        return False


def script(command: Sequence[str]) -> bytes:
    """A program for `sh`: a shebang may not be long, nor hold a blank, so it is not Python's own.

    `sh` never comes to what makes the file large.
    """
    import shlex

    return _padded(f'#!/bin/sh\n# {MARK}.\nexec {shlex.join(command)} "$@"\nexit 127\n', "#", "\n")


def batch(command: Sequence[str], home: str) -> bytes:
    """A program for cmd.exe, which reads it in the code page of the machine: so it is ASCII, with the home as Windows
    spells it where that is not. A percent sign stands for itself when it is doubled.
    """
    if any('"' in word for word in command):
        raise ConfigError("a path or a profile holds a quotation mark", hint="choose another profile: -p DEV")
    words = [word.replace("%", "%%") for word in command]
    if home and not words[0].isascii():
        words[0] = words[0].replace(home.replace("%", "%%"), "%USERPROFILE%", 1)
    line = " ".join(f'"{word}"' for word in words)
    if not line.isascii():
        raise ConfigError(
            f"cmd.exe cannot be told of a path or profile that is not ASCII: {' '.join(command)}",
            hint="install dbx-auth into a directory with a plain name",
        )
    text = f"@echo off\r\nrem {MARK}.\r\n{line} %*\r\nexit /b %ERRORLEVEL%\r\n"
    return _padded(text, ":", "\r\n")


def _padded(text: str, comment: str, end: str) -> bytes:
    """`text`, and lines that nobody reads up to the size that is wanted."""
    line = comment * 78 + end
    missing = SMALLEST - len(text.encode())
    return (text + line * -(-missing // len(line))).encode()


def _write(path: str, program: bytes) -> None:
    from . import files

    target = os.path.realpath(path)
    if os.path.lexists(path):
        if not is_ours(target):
            raise ConfigError(f"{path} is there already, and is not ours", hint="choose another path, or move it away")
        with suppress(OSError):
            if files.read(target, len(program)) == program and os.access(target, os.X_OK):
                return
    # Ready to be run before it is in place: an SDK may start it at any moment.
    new = f"{target}.{os.urandom(4).hex()}.new"
    try:
        files.write_private(new, program)
        os.chmod(new, 0o755)  # noqa: S103  there is no secret in it
        os.replace(new, target)
    except OSError as error:
        raise files.unwritable(path, error) from error
    finally:
        with suppress(OSError):
            os.unlink(new)


def main() -> NoReturn:
    """The program: its first two arguments are the profile and the host that it was installed for, or empty."""
    end_in_order()
    if sys.stdout is None:  # started with >&-
        os._exit(1)
    try:
        world = World.system()._replace(warn=lambda text: None)  # a caller reads both streams
        code, out, err = answer(sys.argv[3:], world, Flags(*sys.argv[1:3]))
        for line in err.splitlines():
            tell(line)
        sys.stdout.buffer.write(out.encode())
        sys.stdout.flush()
    except Ended as signal:
        code = 128 + signal.number
    except KeyboardInterrupt:
        code = 130
    except OSError:  # nobody reads it
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
