"""dbx-auth exec: run a command with a fresh token, or beside a gateway that has one for as long as it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from dbx_auth import child, profile as profiles
from dbx_auth.profile import Flags
from dbx_auth.world import World, start_program

from . import TOKEN, Verb, identity_options, need_gateway
from .env import fresh, warn_if_it_ends

if TYPE_CHECKING:
    from subprocess import Popen

    from click.shell_completion import CompletionItem


def _files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


@click.command(
    cls=Verb,
    context_settings={"allow_interspersed_args": False},
    examples=(
        "dbx-auth exec -- databricks clusters list",
        "dbx-auth exec -p DEV -- python job.py",
        "dbx-auth exec --serve -- terraform apply",
    ),
    reads=TOKEN,
    exits=(4, 5, 6),
    own_exits={126: "the command cannot be run", 127: "the command is not there"},
)
@identity_options
@click.option("--serve", is_flag=True, help="Serve tokens to it and a gateway, for as long as it runs.")
@click.argument(
    "command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARGS]...", shell_complete=_files
)
def exec(world: World, flags: Flags, serve: bool, command: tuple[str, ...]) -> int:
    """Run a command with a fresh token.

    It finds DATABRICKS_HOST and DATABRICKS_TOKEN in its environment, and no variable of another way to log in. The
    token is good for an hour at most. With --serve there is no token in it: the Databricks SDKs and Terraform ask a
    metadata service, and clients of OpenAI, Anthropic and Google a gateway, which serve fresh ones until the command
    ends. The exit code is that of the command.
    """
    if serve:
        return _beside_a_gateway(world, flags, command)
    env = child.changed(world.env, child.with_token(*fresh(world, flags)))
    if world.platform == "win32":  # where no process becomes another
        return child.attend(lambda: _started(command, env))
    try:
        world.become(command, env)
    except OSError as error:
        raise child.not_run(command[0], env, error) from error
    return 0


def _beside_a_gateway(world: World, flags: Flags, command: tuple[str, ...]) -> int:
    need_gateway()
    from dbx_auth.credentials import Credentials
    from dbx_auth.gateway import Server

    credentials = Credentials.of(flags, world)
    token = credentials.token()  # a gateway that cannot get one is of no use to anybody
    warn_if_it_ends(world, token)
    # From now on the terminal is the command's.
    credentials.world = world._replace(warn=world.note, waiting=lambda what, seconds: nullcontext())
    server = Server(credentials, metadata=True)
    profile = profiles.load(world, flags)

    def start() -> Popen[bytes]:
        changes = child.with_gateway(profile, token, world.env, server.url, server.key, server.metadata_url)
        process = _started(command, child.changed(world.env, changes))
        world.harden()  # not before: the limits would be those of the command as well
        return process

    server.start()
    try:
        return child.attend(start)
    finally:
        with world.uninterrupted():  # it finishes a refresh that has begun
            server.stop()


def _started(command: Sequence[str], env: Mapping[str, str]) -> Popen[bytes]:
    try:
        return start_program(command, env)
    except OSError as error:
        raise child.not_run(command[0], env, error) from error
