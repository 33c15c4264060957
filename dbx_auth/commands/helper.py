"""dbx-auth helper: answer other programs in the protocols in which they ask for a credential.

A token goes to its own host. Each request names a host, and what is not for ours is answered as its protocol has it,
without a token: Bazel and MCP clients want to hear of it, git and pip go on to the next helper.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import BinaryIO

import click

from dbx_auth import output, profile as profiles, protocols, resolve
from dbx_auth.errors import AuthError, Refused, UsageError
from dbx_auth.profile import Flags, Profile
from dbx_auth.tokens import Demand, Token
from dbx_auth.world import World, tell

from . import TOKEN, Group, identity_options, wanted_life

SERVER_URL = "CLAUDE_CODE_MCP_SERVER_URL"
"""Where an MCP client will send the headers."""


@click.group(
    cls=Group,
    examples=(
        'echo \'{"uri": "https://adb-1.2.azuredatabricks.net"}\' | dbx-auth helper bazel get',
        "git config --global credential.https://adb-1.2.azuredatabricks.net.helper '!dbx-auth helper git'",
        "dbx-auth helper keyring get https://adb-1.2.azuredatabricks.net token",
        "dbx-auth helper headers",
    ),
    reads=(*TOKEN, "server"),
    exits=(4, 5, 6),
)
def helper() -> None:
    """Answer other programs as a credential helper.

    A request for another host than that of the credentials gets no token. Without -p and --host these are the
    credentials that `dbx-auth token` takes, else those of the one profile that is for the host of the request, else
    a login of dbx-auth for it.
    """


@helper.command(
    examples=('echo \'{"uri": "https://adb-1.2.azuredatabricks.net"}\' | dbx-auth helper bazel get',),
    reads=TOKEN,
    exits=(4, 5, 6),
)
@identity_options
@click.argument("operation", type=click.Choice(["get"]))
def bazel(world: World, flags: Flags, operation: str) -> None:
    """Headers for Bazel and for what speaks its protocol.

    Reads {"uri": "https://…"} and prints {"headers": …, "expires": …}. Bazel starts a script that says:

    \b
      exec dbx-auth helper bazel "$@"
    """
    asked = protocols.bazel_host(_whole())
    click.echo(protocols.bazel(_token_or_refusal(world, flags, asked), world.now()))


@helper.command(
    examples=(
        "git config --global credential.https://adb-1.2.azuredatabricks.net.helper '!dbx-auth helper git'",
        "printf 'protocol=https\\nhost=adb-1.2.azuredatabricks.net\\n\\n' | dbx-auth helper git get",
    ),
    reads=TOKEN,
    exits=(4, 5, 6),
)
@identity_options
@click.argument("operation")
def git(world: World, flags: Flags, operation: str) -> None:
    """User name and password for git.

    The user name is `token`. `store` and `erase` do nothing, as what git is given here is kept here already.
    """
    request = _paragraph()
    if operation != "get":
        return
    asked = protocols.git_host(request)
    chosen = _chosen(world, flags, asked)
    if chosen is None:
        return
    try:
        click.echo(protocols.git(_fresh(*chosen, asked)))
    except AuthError:
        click.echo(protocols.GIT_QUIT)  # the host is ours: no other helper has its password, and no person knows it
        raise


@helper.command(
    examples=(
        "dbx-auth helper keyring get https://adb-1.2.azuredatabricks.net token",
        "dbx-auth helper keyring --mode creds --output json get https://adb-1.2.azuredatabricks.net",
    ),
    reads=TOKEN,
    exits=(4, 5, 6),
    own_exits={1: "nothing of ours, or refused"},
)
@identity_options
@click.option("--mode", type=click.Choice(["password", "creds"]), default="password", help="With the user name or not.")
@click.option("--output", "form", type=click.Choice(["plain", "json"]), default="plain", help="Lines, or JSON.")
@click.argument("operation", type=click.Choice(["get"]))
@click.argument("service")
@click.argument("user", required=False)
@click.pass_context
def keyring(
    ctx: click.Context,
    world: World,
    flags: Flags,
    mode: str,
    form: str,
    operation: str,
    service: str,
    user: str | None,
) -> None:
    """A password for pip and uv, in place of the program `keyring`.

    SERVICE is a URL or a host, USER is `token`. A script with the name `keyring`, early in PATH, says:

    \b
      exec dbx-auth helper keyring "$@"
    """
    if user is None and mode == "password":
        raise UsageError("keyring get needs a user", hint=f"dbx-auth helper keyring get {service} {protocols.USER}")
    try:
        asked = protocols.keyring_host(service, user)
        chosen = _chosen(world, flags, asked)
        if chosen is None:
            ctx.exit(1)
        click.echo(protocols.keyring(_fresh(*chosen, asked), creds=mode == "creds", as_json=form == "json"))
    except AuthError as error:  # told here: stdout is for what was found, also with `--output json`
        tell(f"dbx-auth: {error}")
        tell(f"hint: {error.hint}")
        ctx.exit(error.exit_code)


@helper.command(
    examples=("dbx-auth helper headers",),
    reads=(*TOKEN, "server"),
    exits=(4, 5, 6),
)
@identity_options
def headers(world: World, flags: Flags) -> None:
    """Headers for MCP clients: the headersHelper of Claude Code.

    Where CLAUDE_CODE_MCP_SERVER_URL is set, they are for that server alone. In `.mcp.json`, beside the `url`:

    \b
      "headersHelper": "dbx-auth helper headers"
    """
    if SERVER_URL in world.env:
        found = _token_or_refusal(world, flags, protocols.host_of(world.env[SERVER_URL]))
    else:
        found = _fresh(profiles.load(world, flags), world)
    click.echo(output.headers(found, world.now()))


def _token_or_refusal(world: World, flags: Flags, asked: str) -> Token:
    if chosen := _chosen(world, flags, asked):
        return _fresh(*chosen, asked)
    if not asked:
        raise Refused(
            "the request is for no address that a token may go to",
            hint="ask for https:// and the name of your workspace, without a user name",
        )
    raise Refused(f"there are no credentials for {asked}, and others do not go there", hint="dbx-auth profiles")


def _fresh(settings: Profile, world: World, asked: str = "") -> Token:
    """A fresh token, which is for the host that was asked about if there is one."""
    found = resolve.token(settings, world, Demand(wanted_life(world)))
    if asked and protocols.host_of(found.host) != asked:
        raise Refused(f"the token of {found.origin} is for {found.host}, not for {asked}", hint="dbx-auth status")
    return found


def _chosen(world: World, flags: Flags, asked: str) -> tuple[Profile, World] | None:
    """The settings for a host, and the world to use them in; None where it is not a host of ours.

    They are those that always apply, if they are for that host; else those of the one profile, or of the login, that
    is. Where the request chose them the environment adds nothing, because what it says is for another host.
    """
    if not asked:
        world.note("not ours: no address that a token may go to")
        return None
    always = profiles.load(world, flags)
    if protocols.host_of(always.host) == asked:
        return always, world
    if not (flags.profile or flags.host):
        world = world._replace(env=_unsaid(world.env))
        names = [name for name, section in profiles.read(world).items() if _is_for(asked, profiles.host_of(section))]
        if len(names) > 1:
            raise UsageError(f"several profiles are for {asked}: {', '.join(names)}", hint=f"choose one: -p {names[0]}")
        if names:
            return profiles.load(world, Flags(profile=names[0], account_id=flags.account_id)), world
        if _has_login(world, asked):
            return profiles.load(world, Flags(host=asked, account_id=flags.account_id)), world
    world.note(f"not ours: {asked}")
    return None


def _unsaid(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what it says of a workspace and of how to log in."""
    said = {name for field in profiles.FIELDS.values() for name in field.env}
    places = {"DATABRICKS_CONFIG_FILE", "DATABRICKS_AUTH_STORAGE"}
    return {
        name: value
        for name, value in env.items()
        if name in places or not (name in said or name.startswith("DATABRICKS_"))
    }


def _has_login(world: World, asked: str) -> bool:
    from dbx_auth.store import AuthJson

    return any(_is_for(asked, entry.host) for entry in AuthJson(world).entries())


def _is_for(asked: str, host: str) -> bool:
    return protocols.host_of(host) == asked


def _stdin() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer  # None when started with <&-


def _whole() -> bytes:
    """All of stdin. Raises UsageError where that is more than a request."""
    stdin = _stdin()
    return _small(stdin.read(protocols.LARGEST + 1)) if stdin else b""


def _paragraph() -> bytes:
    """Stdin up to an empty line, after which git may leave it open."""
    stdin = _stdin()
    found = b""
    while stdin and (line := stdin.readline(protocols.LARGEST + 1 - len(found))).strip(b"\n"):
        found += line
    return _small(found)


def _small(request: bytes) -> bytes:
    if len(request) > protocols.LARGEST:
        raise UsageError(f"the request has more than {protocols.LARGEST} bytes", hint="dbx-auth helper --help")
    return request
