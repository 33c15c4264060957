"""dbx-auth config: show and change our own settings, and move what they are about."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import click

from dbx_auth import offers, profile as profiles, settings, vault
from dbx_auth.errors import AuthError, ConfigError, Refused
from dbx_auth.files import write_private
from dbx_auth.store import AuthJson
from dbx_auth.world import World, flat, printable, tell

from . import Group, offered, output_option

PLACES = {"file": "auth.json", "keyring": "the keyring"}

NEW = """\
# Settings of dbx-auth. Take the first sign of a line away to make it count.
#
# profile = "DEV"       # used where no option and no variable names one
# storage = "keyring"   # where secrets are kept; better: dbx-auth config set storage keyring
# min_ttl = "15m"       # the life that a token has to have left
# output = "json"       # how lists are written: text or json
# color = "never"       # auto, always or never
#
# [models."my-endpoint"]
# family = "claude-sonnet"
# context = 200000
#
# [hosts."https://adb-1.2.azuredatabricks.net"]
# base_url = "https://gateway.example.com/databricks"
"""


EXAMPLES = (
    "dbx-auth config set profile DEV",
    "dbx-auth config set storage keyring",
    "dbx-auth config set 'models.\"my-endpoint\".context' 200000",
    "dbx-auth config set 'hosts.\"https://adb-1.2.azuredatabricks.net\".base_url' https://gateway.example.com",
)


@click.group(
    cls=Group,
    examples=("dbx-auth config list", *EXAMPLES),
    reads=("files", "profiles", "editor"),
    exits=(5, 6),
)
def config() -> None:
    """Show and change our own settings."""


_key = click.argument("key", shell_complete=offered(offers.keys))


@config.command(
    "get",
    examples=("dbx-auth config get min_ttl",),
    reads=("settings",),
    exits=(5,),
    own_exits={1: "it is not set, or failed"},
)
@_key
@click.pass_obj
def get_one(world: World, key: str) -> None:
    """Print the value of a setting: what the file says, else the default."""
    value = settings.get(world, key)
    if value is None:
        raise Refused(f"{settings.key(key)} is not set", hint=f"dbx-auth config set {key} VALUE")
    click.echo(printable(settings.shown(value)))


@config.command("set", examples=EXAMPLES, reads=("files", "profiles"), exits=(5, 6))
@_key
@click.argument("value", shell_complete=offered(offers.values))
@click.pass_obj
def set_one(world: World, key: str, value: str) -> None:
    """Change a setting. `storage` also moves the secrets of the logins that are there."""
    wanted = settings.key(key)
    fitting = settings.value_of(wanted, value)
    settings.read(world)  # a file that cannot be written to later is not for moving secrets first
    if str(wanted) == "storage":
        move(world, fitting)
    settings.put(world, key, value)
    if str(wanted) == "profile":
        _tell_if_absent(world, fitting)


@config.command("unset", examples=("dbx-auth config unset min_ttl",), reads=("files",), exits=(5, 6))
@_key
@click.pass_obj
def unset_one(world: World, key: str) -> None:
    """Take a setting out of the file, so that its default applies again."""
    if key == "storage" and _storage(world) == "keyring":
        move(world, "file")
    if not settings.unset(world, key):
        tell(f"{key} was not set")


@config.command(
    "list",
    examples=("dbx-auth config list", "dbx-auth config list -o json"),
    reads=("settings",),
    exits=(5,),
)
@output_option("text", "json")
@click.pass_obj
def list_all(world: World, form: str) -> None:
    """Print every setting, its value, and whether it comes from the file."""
    found = settings.items(world)
    for sentence in settings.unknown(world):
        tell(sentence)
    if form == "json":
        rows = [item._asdict() for item in found]
        click.echo(json.dumps({"version": 1, "path": settings.path(world), "settings": rows}, indent=2))
        return
    table = [(item.key, settings.shown(item.value) or "-", item.origin) for item in found]
    widths = [max(len(row[i]) for row in table) for i in range(2)]
    for key, value, origin in table:
        click.echo(flat(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}"))


@config.command(
    "path",
    examples=("dbx-auth config path", 'cat "$(dbx-auth config path)"'),
    reads=("settings",),
)
@click.pass_obj
def show_path(world: World) -> None:
    """Print where the file is, or would be."""
    click.echo(settings.path(world))


@config.command(
    "edit",
    examples=("dbx-auth config edit", "EDITOR=nano dbx-auth config edit"),
    reads=("settings", "editor"),
    exits=(5,),
)
@click.pass_obj
def edit_file(world: World) -> None:
    """Open the file in your editor (VISUAL, else EDITOR), and look afterwards whether it is right."""
    path = settings.path(world)
    before = _storage(world)
    if is_new := not os.path.exists(path):
        write_private(path, NEW.encode())
    try:
        world.edit(path)
    finally:
        if is_new and _content(path) == NEW.encode():
            os.unlink(path)
        with suppress(OSError):  # an editor may have put a new file there, for everybody to read
            os.chmod(path, 0o600)
    settings.items(world)
    for sentence in settings.unknown(world):
        tell(sentence)
    after = settings.storage(world)
    if before and before != after:
        tell(f"new logins are kept in {PLACES[after]}; to move the others: dbx-auth config set storage {after}")


def move(world: World, storage: str) -> None:
    """Move the secrets of our logins to the `keyring` or the `file`, or raise and leave them where they are."""
    if storage == "keyring":
        vault.probe(world)
    try:
        moved = AuthJson(world).keep_in(storage)
    except AuthError as error:
        if storage == "file" and vault.FILE in error.hint:  # which is what somebody just typed
            error.hint = "unlock the keyring, or forget its logins: dbx-auth logout --all"
        raise
    for host in moved:
        tell(f"moved the secrets of the login for {host} to {PLACES[storage]}")


def _storage(world: World) -> str:
    """Where new logins are kept; empty where the file is no good, which is why somebody edits it."""
    try:
        return settings.storage(world)
    except ConfigError:
        return ""


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _tell_if_absent(world: World, name: str) -> None:
    try:
        known = profiles.read(world)
    except ConfigError as error:
        tell(f"dbx-auth: warning: {error}")
        return
    if not known.get(name):
        tell(f"dbx-auth: warning: {world.shorten(world.config_file)} has no profile {name} yet")
