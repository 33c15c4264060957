"""The machine: programs, libraries, keyrings, and what a crash would leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from dbx_auth import __version__, keyrings, settings
from dbx_auth.errors import AuthError
from dbx_auth.store import AuthJson, storage_mode
from dbx_auth.world import World

from .access import blocked, sections_of
from .findings import Finding, Given, note, ok, problem, size_of, warning


def machine(given: Given) -> Iterator[Finding]:
    """What is asked first in every report."""
    import platform
    import sys

    world = given.world
    system = f"{world.platform} {platform.release()} {platform.machine()}"
    yield ok(f"dbx-auth {__version__}, Python {platform.python_version()} ({world.shorten(sys.executable)}), {system}")
    yield ok(", ".join(f"{name} {version}" for name, version in _libraries()))
    yield from _program(world)
    cli = _on_path(world, "databricks")
    if cli:
        yield ok(f"the Databricks CLI is {world.shorten(cli)}")
    else:
        yield note("the Databricks CLI is not on PATH; nothing here needs it")
    if world.has_browser:
        yield ok("a browser can be opened")
    else:
        yield note("no browser can be opened here", "dbx-auth login --no-browser")


def _libraries() -> Iterator[tuple[str, str]]:
    from importlib import metadata

    for name in ("click", "filelock", "httpx", "keyring", "msal", "secretstorage", "truststore"):
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _program(world: World) -> Iterator[Finding]:
    """Which dbx-auth is started by that name."""
    import sysconfig

    folder = sysconfig.get_path("scripts")
    this = next((p for name in ("dbx-auth", "dbx-auth.exe") if os.path.exists(p := os.path.join(folder, name))), "")
    found = _on_path(world, "dbx-auth")
    if not found:
        yield note("dbx-auth is not on PATH", f'export PATH="{folder}:$PATH"' if this else "")
    elif this and os.path.realpath(found) != os.path.realpath(this):
        yield warning(
            f"another dbx-auth comes first on PATH: {world.shorten(found)}, and this one is {world.shorten(this)}",
            f'export PATH="{folder}:$PATH"   # or remove the other',
        )
    else:
        yield ok(f"dbx-auth is {world.shorten(found)}")


def _on_path(world: World, name: str) -> str:
    """The program of this name, in directories that do not depend on where you stand; it is not run."""
    import shutil

    folders = [folder for folder in world.env.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)]
    found = shutil.which(name, path=os.pathsep.join(folders)) if folders else None
    return found if found and os.path.isabs(found) else ""


def keyring(given: Given) -> Iterator[Finding]:
    """Ours, which the library `keyring` finds; any backend may be chosen by a variable, so it is named."""
    from dbx_auth import vault

    world = given.world
    wanted = _is_wanted(world)
    try:
        backend = vault.describe(world)
        if wanted:
            vault.get("dbx-auth-probe", world)
    except AuthError as error:
        yield (problem if wanted else note)(f"our own logins: {error}", error.hint)
    else:
        there = "there is no keyring" if backend.startswith("keyring.backends.fail.") else f"the keyring is {backend}"
        where = f"in the keyring, and it answers: {backend}" if wanted else f"in auth.json; {there}"
        yield ok(f"our own logins are kept {where}")


def _is_wanted(world: World) -> bool:
    """Whether our own logins are or will be in the keyring."""
    with suppress(AuthError):
        if not blocked(world):
            kept = any(entry.text("storage") == "keyring" for entry in AuthJson(world).entries())
            return kept or settings.storage(world) == "keyring"
    return False


def cli_keyring(given: Given) -> Iterator[Finding]:
    """That of the Databricks CLI, where it was told to keep logins there, or was told nothing."""
    world = given.world
    mode = storage_mode(world, sections_of(world))
    said = {"plaintext": "a file", "secure": "the keyring"}.get(mode, "the keyring if there is one, else a file")
    if mode == "plaintext":
        yield ok(f"the Databricks CLI keeps logins in {said}")
        return
    if not keyrings.is_there(world):
        text = f"the Databricks CLI keeps logins in {said}, and there is no keyring here"
        yield problem(text, "export DATABRICKS_AUTH_STORAGE=plaintext") if mode else note(text)
        return
    try:
        keyrings.get("dbx-auth-probe", world)
    except keyrings.NoKeyring as error:
        yield problem(str(error), error.hint) if mode else note(str(error))
    except AuthError as error:
        yield (problem if mode else warning)(str(error), error.hint)
    else:
        yield ok(f"the Databricks CLI keeps logins in {said}; the keyring answers")


def core_dumps(given: Given) -> Iterator[Finding]:
    """Whether a crash may write what is in memory, tokens too, to the disk."""
    try:
        import resource
    except ImportError:
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft == 0:
        yield ok("a crash writes no memory to the disk")
        return
    limit = "without a limit" if soft == resource.RLIM_INFINITY else f"up to {size_of(soft)}"
    yield note(f"a crash may write memory to the disk ({limit}), and with it a token", "ulimit -c 0")
