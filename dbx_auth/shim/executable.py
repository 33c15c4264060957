"""The file that SDKs start: what is in it, and how it is put in its place and taken away again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from dbx_auth import files
from dbx_auth.errors import ConfigError
from dbx_auth.world import MEBIBYTE, World, run_program

from .answers import version

SMALLEST = MEBIBYTE
"""Bytes that the SDK for Go wants a CLI to have: it takes a smaller file for the CLI of old, written in Python."""

MARK = "dbx-auth in place of the Databricks CLI"
"""What is in the first lines of a file that we wrote, so that nothing else is ever written over."""

RUN_BUDGET = 30.0
"""Seconds for a first start of what is to be installed; a busy machine may take some."""


def place(world: World) -> str:
    """Where it is put when nobody says where: among our own data.

    On macOS that is where Linux has it: `Application Support` holds a blank, and the SDK for Java quotes no path.
    """
    if world.platform == "win32":
        return os.path.join(world.data_dir, "bin", "databricks.cmd")
    return os.path.join(world._replace(platform="linux").data_dir, "bin", "databricks")


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
    _put(path, program)
    return path


def uninstall(path: str) -> bool:
    """Take the file away again; whether it was there. Raises ConfigError where that cannot be done."""
    if not is_ours(path):
        return False
    try:
        os.unlink(path)
    except OSError as error:
        raise files.unwritable(path, error) from error
    return True


def is_ours(path: str) -> bool:
    """Whether we wrote this file."""
    try:
        return MARK.encode() in files.read(path, 512)
    except OSError:
        return False


def _check_that_it_runs(command: Sequence[str]) -> None:
    try:
        answer = run_program([*command, "version"], "", RUN_BUDGET)
    except (OSError, ValueError):
        answer = None
    if answer != (0, version()):
        raise ConfigError(
            f"dbx-auth cannot be run by {command[0]} from everywhere", hint="install it with pip, pipx or uv"
        )


def _put(path: str, program: bytes) -> None:
    """Ready to be run before it is in its place: an SDK may start it at any moment."""
    if os.path.lexists(path):
        if not is_ours(path):
            raise ConfigError(f"{path} is there already, and is not ours", hint="choose another path, or move it away")
        with suppress(OSError):
            if files.read(path, len(program)) == program and os.access(path, os.X_OK):
                return
    with files.draft(path) as new:
        new.commit(program, mode=0o755)


# ---- what is in it ---------------------------------------------------------------------------------------------------


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
