"""dbx-auth setup: let a client get a fresh token by itself, and take that back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from dbx_auth import clients, profile as profiles
from dbx_auth.clients import Client, File, Program, Setup, Snippet
from dbx_auth.errors import LoginRequired, UsageError
from dbx_auth.profile import Flags
from dbx_auth.world import World, flat, printable, tell

from . import WHO, Verb, identity, output_option

LIST = "dbx-auth setup --list"


@click.command(
    cls=Verb,
    examples=(
        "dbx-auth setup claude-code",
        "dbx-auth setup codex DEV --write",
        "dbx-auth setup codex --undo",
        "dbx-auth setup --list",
    ),
    reads=(*WHO, "clients"),
    exits=(4, 5, 6),
)
@click.argument("client", required=False, metavar="CLIENT", type=click.Choice(clients.ORDER))
@identity
@click.option("--write", is_flag=True, help="Write, and do not ask.")
@click.option("--print", "only_print", is_flag=True, help="Only print what the client needs.")
@click.option("--undo", "take_back", is_flag=True, help="Take back what was written.")
@click.option("--list", "all_clients", is_flag=True, help="Which clients are installed, set up, and overruled.")
@output_option("text", "json")
def setup(
    world: World,
    flags: Flags,
    client: str | None,
    write: bool,
    only_print: bool,
    take_back: bool,
    all_clients: bool,
    form: str,
) -> None:
    """Let a client get a fresh token by itself.

    Shows what would change in the client's own file and asks. What is in the file besides stays as it is; a client
    that has no such file gets text to paste.

    \b
    Clients: claude-code, codex, opencode, pi, gemini-cli, litellm, aider,
      continue, zed, openai-python, databricks-sdk, terraform, dbt, curl,
      direnv, mcp
    """
    if write + only_print + take_back + all_clients > 1:
        raise UsageError("--write, --print, --undo and --list contradict each other", hint="use one of them")
    if all_clients:
        show(listing(world), form)
        return
    if client is None:
        raise UsageError("no client was named", hint=LIST)
    known = clients.load(client)
    if (write or take_back) and isinstance(known.what, Snippet):
        raise UsageError(f"{client} has no file for us to write", hint=f"dbx-auth setup {client} --print")
    if take_back:
        if isinstance(known.what, Program):
            take_away(client, known.what, world)
        else:
            undo(client, world)
        return
    wanted = setup_for(world, flags)
    if isinstance(known.what, Program) and (write or (not only_print and _may_be_put(known.what, wanted))):
        click.echo(known.what.install(wanted))
        tell(f"and for the shell: {text(known, wanted)}")
        _tell_the_rest(client, known, wanted)
    elif only_print or not isinstance(known.what, File):
        show_text(client, known, wanted)
    elif write or _agreed(client, known.what, wanted):
        put(client, known, known.what, wanted)


# ---- what is asked for -----------------------------------------------------------------------------------------------


def setup_for(world: World, flags: Flags) -> Setup:
    """For whom a client is set up: as `dbx-auth token` would choose it here. Raises LoginRequired without a host."""
    profile = profiles.load(world, flags)
    if not profile.host:
        raise LoginRequired("no host to set a client up for", hint="dbx-auth login https://<your workspace>")
    options = ("--profile", profile.name) if profile.name else ("--host", profile.host)
    account = ("--account-id", flags.account_id) if flags.account_id else ()
    return Setup(world, profile.host, program(world), (*options, *account), profile.name, named=flags)


def program(world: World) -> tuple[str, ...]:
    """The words that start dbx-auth again from wherever: as this process was started, else as the PATH has it."""
    started = sys.argv[0]
    named = os.path.splitext(os.path.basename(started))[0] == "dbx-auth"
    search = world.env.get("PATH", "")
    found = shutil.which(started, path=search) if named else None
    if found or (found := shutil.which("dbx-auth", path=search)):
        return (os.path.abspath(found),)
    return (sys.executable, "-E", "-P", "-m", "dbx_auth")


def path(file: File, world: World) -> str:
    return os.path.abspath(file.path(world))


def text(client: Client, wanted: Setup) -> str:
    """What a client needs, by itself: what a new file would hold, or what is to be pasted."""
    if not isinstance(client.what, File):
        return client.what.text(wanted)
    from dbx_auth.clients.formats import FORMATS

    return FORMATS[client.what.format].merged("", client.what.wanted(wanted)).rstrip("\n")


# ---- writing and taking back -----------------------------------------------------------------------------------------


def show_text(name: str, client: Client, wanted: Setup) -> None:
    """Print what a client needs, and say where it belongs."""
    click.echo(printable(text(client, wanted)))
    if isinstance(client.what, Program) and not client.what.is_there(wanted.world):
        tell(f"it is not there yet: dbx-auth setup {name} --write")
    if isinstance(client.what, File):
        tell(f"this belongs into {wanted.world.shorten(path(client.what, wanted.world))}")
    _tell_the_rest(name, client, wanted)


def _agreed(client: str, file: File, wanted: Setup) -> bool:
    """Show what would change; whether a person says yes to it."""
    from dbx_auth.clients import plan

    world = wanted.world
    place = path(file, world)
    change = plan.planned(place, file.format, file.wanted(_with_key(wanted)), world)
    if not change.is_there:
        tell(f"{client} is set up already: {world.shorten(place)}")
        return False
    click.echo(printable(plan.difference(change, world).expandtabs(4)))
    sys.stdout.flush()
    if not _interactive():
        tell(f"nothing was written; to write it: {shlex.join(['dbx-auth', 'setup', client, *wanted.options])} --write")
        return False
    return click.confirm(f"write {world.shorten(place)}?", err=True)


def _interactive() -> bool:
    """Whether there is a person to ask."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def put(name: str, client: Client, file: File, wanted: Setup) -> None:
    """Write what a client needs, and name on stdout each file that was written."""
    from dbx_auth.clients import plan

    world = wanted.world
    place = path(file, world)
    plan.planned(place, file.format, file.wanted(wanted), world)  # before there is a key for nothing
    if client.needs_gateway:
        from dbx_auth.gateway import key

        is_new = not os.path.exists(wanted.key_file)
        wanted = wanted._replace(key=key.made(wanted.key_file, world))
        if is_new:
            click.echo(wanted.key_file)
    values = file.wanted(wanted)
    has_key = client.needs_gateway and wanted.key in str(values)
    change = plan.write(name, place, file.format, values, world, private=has_key)
    if change.is_there:
        click.echo(place)
    if not change.is_there:
        tell(f"{name} is set up already: {world.shorten(place)}")
    _tell_the_rest(name, client, wanted)


def _may_be_put(program: Program, wanted: Setup) -> bool:
    """Whether a person says yes to a program of ours in its place."""
    if program.is_there(wanted.world) or not _interactive():
        return False
    return click.confirm(f"write {wanted.world.shorten(program.place(wanted.world))}?", err=True)


def take_away(name: str, program: Program, world: World) -> None:
    if program.uninstall(world):
        click.echo(program.place(world))
    else:
        tell(f"nothing of ours is there for {name}")


def undo(name: str, world: World) -> None:
    """Take back what was written for a client, and name on stdout each file that this changed."""
    from dbx_auth.clients import plan

    done = plan.undo(name, world)
    for each in done:
        if each.is_changed:
            click.echo(each.path)
        if each.backup:
            tell(f"{world.shorten(each.path)} was changed since; as it was before us it is in {each.backup}")
    if not done:
        tell(f"nothing of ours is in the settings of {name}")


def _with_key(wanted: Setup) -> Setup:
    """The same with the key of the gateway, where there is one already."""
    from dbx_auth.gateway import key

    return wanted._replace(key=key.kept(wanted.key_file, wanted.world) or wanted.key)


def _tell_the_rest(name: str, client: Client, wanted: Setup) -> None:
    """What is left for a person to do, and what wins over what was set up."""
    if client.needs_gateway:
        tell(f"start the gateway, and leave it running: {wanted.serve}")
    for line in client.by_hand(wanted):
        tell(line)
    if set_here := _shadows(client, wanted.world):
        wanted.world.warn(f"{name} takes {', '.join(set_here)} from the environment instead")
        tell(f"hint: unset {' '.join(set_here)}")


def _shadows(client: Client, world: World) -> list[str]:
    return [name for name in client.shadows if world.env.get(name)]


# ---- the list --------------------------------------------------------------------------------------------------------


def listing(world: World) -> list[dict[str, Any]]:
    """Each client: whether it is installed, who set it up, and what wins over that.

    `installed` is the path of its executable, empty where there is none, None for what has none. `configured` is
    `dbx-auth`, `changed` (by us, and changed since), `otherwise`, `no` or `unreadable`, None where no file says it.
    """
    rows = []
    for name in clients.ORDER:
        client = clients.load(name)
        found = (shutil.which(each, path=world.env.get("PATH", "")) for each in client.programs)
        place, configured = None, None
        if isinstance(client.what, File):
            from dbx_auth.clients import plan

            place = path(client.what, world)
            configured = plan.standing(name, place, client.what.format, client.what.sign, world)
        elif isinstance(client.what, Program):
            place = client.what.place(world)
            configured = "dbx-auth" if client.what.is_there(world) else "no"
        rows.append(
            {
                "name": name,
                "title": client.title,
                "installed": next(filter(None, found), "") if client.programs else None,
                "configured": configured,
                "file": place,
                "shadowed_by": _shadows(client, world),
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]], form: str) -> None:
    if form == "json":
        click.echo(json.dumps({"version": 1, "clients": rows}, indent=2))
        return
    table = [("client", "installed", "configured", "overruled by")]
    for row in rows:
        installed = "-" if row["installed"] is None else "yes" if row["installed"] else "no"
        table.append((row["name"], installed, row["configured"] or "by hand", ", ".join(row["shadowed_by"]) or "-"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        click.echo(flat("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()))
