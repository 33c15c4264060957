"""The key of a gateway: one that somebody chose, or one that is kept in a file for all who start it and call it."""

from __future__ import annotations

import os
import secrets
import shlex
from contextlib import suppress

from dbx_auth.errors import ConfigError
from dbx_auth.files import read, write_private
from dbx_auth.tokens import is_one_word
from dbx_auth.world import World

NAME = "DBX_AUTH_GATEWAY_KEY"
"""The environment variable that has one."""

SHORTEST = 16
"""Characters of a key that somebody chose."""


_A_KEY = f"the key of a gateway has {SHORTEST} characters or more, and no spaces"


def new() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def checked(key: str) -> str:
    """A key that somebody chose. Raises ConfigError for one that is too short, or that no header can carry."""
    if not _is_key(key):
        raise ConfigError(_A_KEY, hint=f'export {NAME}="$(openssl rand -hex 32)"')
    return key


def kept(path: str, world: World) -> str | None:
    """The key in a file, None where there is no file. Raises ConfigError for a file that has none."""
    shown = shlex.quote(path)
    try:
        key = read(path, 4096).decode().strip()
        open_to = os.stat(path).st_mode & 0o077 if os.name != "nt" else 0
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{path} cannot be read: {why}", hint=f"ls -l {shown}") from error
    if not _is_key(key):
        raise ConfigError(f"{path} does not hold a key: {_A_KEY}", hint=f"rm {shown}   # then another is made")
    if open_to:
        world.warn(f"others on this machine may read {path}, the key of a gateway: chmod 600 {shown}")
    return key


def made(path: str, world: World) -> str:
    """The key in a file, which is made for this user alone if it is not there.

    Of several who make it at once all get the same. Raises ConfigError where that cannot be done.
    """
    if found := kept(path, world):
        return found
    draft = f"{path}.{os.getpid()}"
    key = new()
    write_private(draft, f"{key}\n".encode())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    except OSError:  # a file system without links, on which the last of several wins
        os.replace(draft, path)
    with suppress(FileNotFoundError):
        os.unlink(draft)
    return kept(path, world) or key


def _is_key(word: str) -> bool:
    return is_one_word(word) and len(word) >= SHORTEST
