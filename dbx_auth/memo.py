"""A token that was found a moment ago is found again at once, while nothing that decided it has changed.

The whole road imports Click and reads settings: four times what Python itself takes to start. So it leaves a memo of
the command line, of each variable of the environment that it looked at, of each file that it read, of where in one of
these the token is, and until when that is fresh. Whatever is different by now, or only might be, the road is taken
again. A memo holds no secret.

It is the first thing that `dbx-auth` looks at, so it imports nothing that Python has not imported already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from . import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tokens import Demand, Token
    from .world import World

AHEAD = 600.0
"""Seconds of life that a token has left in any case: with less, some road or other renews it."""

LONGEST = 3600.0
"""Seconds for which a memo is believed, whatever it says."""

SETTLED = 2.0
"""Seconds that a file has to have been left alone: one that is written twice in a tick of its clock looks the same."""

LARGEST = 65_536
"""Bytes of a memo, and of a token."""

IDENTITY = ("-p", "--profile", "--host", "--account-id")
"""The options of `token` that say whose it is. With any other there is no memo."""

OTHERS = ("httpx", "subprocess", "keyring", "secretstorage")
"""Modules of which each shows that somebody else was asked, who may say something else the next time."""

OF_PYTHON = ("HOME", "USERPROFILE")
"""What `os.path.expanduser` looks at."""

SECRETS = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL", "METADATA")
"""What the name of a variable holds that may be a secret; the path of a metadata service is one."""

_FIRST, _LAST = "dbx-auth memo", "that is all"

seen: dict[str, str] = {}
"""The state of each file when it was read, empty for one that was not there, `?` for one that nobody can be sure of."""


class Seen(Mapping[str, str]):
    """An environment that knows which of its variables somebody looked at."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.names: set[str] = set()
        self.is_seen_whole = False

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._env[name]

    def __iter__(self) -> Iterator[str]:
        self.is_seen_whole = True
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


# ---- what is remembered ----------------------------------------------------------------------------------------------


def read(path: str, status: os.stat_result | None) -> None:
    """Take note of a file that is being read, or is not there."""
    state = _state(status)
    seen[path] = state if seen.get(path, state) == state else "?"


def unread(path: str) -> None:
    """Take note of a file that cannot be read."""
    seen[path] = "?"


def keep(world: World, token: Token, demand: Demand) -> None:
    """Leave a memo of this token, which was found for the command line of this process; or none, in any doubt."""
    argv, env, now = sys.argv[1:], world.env, world.now()
    if not isinstance(env, Seen) or env.is_seen_whole or demand.force or demand.ephemeral or not demand.renew:
        return
    if any(name in sys.modules for name in OTHERS):
        return
    until = now + LONGEST
    if token.expires_at is not None:
        until = min(until, token.expires_at - max(AHEAD, demand.min_ttl or 0.0))
    place = _place_of(token.value)
    names = {*env.names, *OF_PYTHON}
    if until <= now or place is None or not _is_plain(argv) or any(_is_secret(name, env) for name in names):
        return
    if any(not os.path.isabs(path) or state == "?" or _is_young(path, now) for path, state in seen.items()):
        return
    fields = [_FIRST, __version__, repr(now), repr(until)]
    variables = [f"{name}={env[name]}" if name in env else name for name in sorted(names)]
    files = [word for path, state in seen.items() for word in (path, state)]
    for group in (argv, variables, files):
        fields += [str(len(group)), *group]
    path, start = place
    fields += [path, str(start), str(len(token.value)), _LAST]
    _write(_path(argv, env, world.home), b"\0".join(map(os.fsencode, fields)))


def _is_plain(argv: Sequence[str]) -> bool:
    """Whether a command line says nothing but `token`, and whose."""
    rest, words = list(argv), []
    while rest:
        word = rest.pop(0)
        if word in IDENTITY and rest:
            rest.pop(0)
        elif word.startswith("-") or "\0" in word:
            return False
        else:
            words.append(word)
    return words[:1] == ["token"] and len(words) <= 2


def _is_secret(name: str, env: Mapping[str, str]) -> bool:
    return bool(env.get(name)) and any(word in name.upper() for word in SECRETS)


def _is_young(path: str, now: float) -> bool:
    status = _stat(path)
    return status is not None and now - max(status.st_mtime, status.st_ctime) < SETTLED


def _place_of(token: str) -> tuple[str, int] | None:
    """The one place in one of the files where the token is, as it is; a keyring is none."""
    wanted, found = os.fsencode(token), []
    for path, state in seen.items():
        if state not in ("", "?"):
            try:
                with open(path, "rb") as file:
                    content = file.read()
                    if _state(os.fstat(file.fileno())) != state:
                        return None
            except OSError:
                return None
            if content.count(wanted) == 1:
                found.append((path, content.index(wanted)))
    return found[0] if len(found) == 1 and token.isascii() and token.isprintable() else None


def _write(path: str, memo: bytes) -> None:
    """Best effort: without a memo the road is taken again."""
    new = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with open(handle, "wb") as file:
            file.write(memo)
        os.replace(new, path)
    except OSError:
        pass


# ---- what is found again ---------------------------------------------------------------------------------------------


def recall(argv: Sequence[str], env: Mapping[str, str], now: float) -> bytes | None:
    """The token that a memo for this command line leads to, if nothing has changed since."""
    try:
        with open(_path(argv, env, ""), "rb") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
                return None
            fields = iter(map(os.fsdecode, file.read(LARGEST).split(b"\0")))
        return _found(fields, argv, env, now)
    except (OSError, ValueError, StopIteration):
        return None


def _found(fields: Iterator[str], argv: Sequence[str], env: Mapping[str, str], now: float) -> bytes | None:
    if [next(fields), next(fields)] != [_FIRST, __version__]:
        return None
    made, until = float(next(fields)), float(next(fields))
    if not (made <= now < until <= made + LONGEST) or _group(fields) != list(argv):
        return None
    for variable in _group(fields):
        name, is_set, value = variable.partition("=")
        if env.get(name) != (value if is_set else None):
            return None
    files = iter(_group(fields))
    states = dict(zip(files, files, strict=True))
    if any(_state(_stat(path)) != state for path, state in states.items()):
        return None
    path, start, length = next(fields), int(next(fields)), int(next(fields))
    if next(fields) != _LAST:
        return None
    with open(path, "rb") as file:
        if not 0 < length < LARGEST or _state(os.fstat(file.fileno())) != states.get(path):
            return None
        file.seek(start)
        token = file.read(length)
    return token if len(token) == length else None


def _group(fields: Iterator[str]) -> list[str]:
    return [next(fields) for _ in range(int(next(fields)))]


def _path(argv: Sequence[str], env: Mapping[str, str], home: str) -> str:
    """Where the memo of a command line is: among what may be thrown away (platformdirs, user_cache_dir)."""
    home = home or env.get("USERPROFILE" if sys.platform == "win32" else "HOME") or os.path.expanduser("~")
    name = "".join(letter if letter.isalnum() else "_" for letter in " ".join(argv))[:100] + ".memo"
    if own := env.get("DBX_AUTH_CACHE_DIR"):
        return os.path.join(home, own[2:], name) if own.startswith(("~/", "~\\")) else os.path.join(own, name)
    if sys.platform == "win32":
        return os.path.join(
            env.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "dbx-auth", "Cache", name
        )
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "dbx-auth", name)
    base = env.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".cache"), "dbx-auth", name)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _state(status: os.stat_result | None) -> str:
    """What changes with a file: another one in its place, other content, another owner or other rights."""
    if status is None:
        return ""
    s = status
    return f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_mode} {s.st_uid}"
