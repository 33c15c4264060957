"""dbx-auth env: a fresh token, and where it is for, as variables of a shell."""

from __future__ import annotations

import click

from dbx_auth import child, output, profile as profiles, resolve
from dbx_auth.profile import Flags, Profile
from dbx_auth.tokens import Demand, Token, claims
from dbx_auth.world import World

from . import TOKEN, Verb, identity, wanted_life


@click.command(
    cls=Verb,
    examples=(
        'eval "$(dbx-auth env)"',
        'eval "$(dbx-auth env --unset)"',
        "dbx-auth env --shell fish | source",
        "dbx-auth env --shell powershell | Out-String | Invoke-Expression",
        'eval "$(dbx-auth env --shell direnv)"    # in an .envrc',
        "docker run --env-file <(dbx-auth env --shell dotenv) IMAGE",
    ),
    reads=(*TOKEN, "shell"),
    exits=(4, 5, 6),
)
@identity
@click.option("--shell", type=click.Choice(tuple(output.SHELLS)), help="Whose syntax.  [default: sh]")
@click.option("--unset", is_flag=True, help="Print what takes the variables away again.")
def env(world: World, flags: Flags, shell: str | None, unset: bool) -> None:
    """Print a fresh token as variables of a shell.

    A program finds DATABRICKS_HOST and DATABRICKS_TOKEN then; variables of other ways to log in are taken away. The
    token is good for an hour at most: for a longer job use dbx-auth exec --serve.
    """
    shell = shell or ("powershell" if world.platform == "win32" and not world.env.get("SHELL") else "sh")
    if unset:
        click.echo(output.script(shell, dict.fromkeys(OURS)))
        return
    changes = child.with_token(*fresh(world, flags))
    shown = {name: value for name, value in changes.items() if value is not None or name in world.env}
    lines = [output.script(shell, shown)]
    if shell == "direnv":
        lines += _watched(world)
    click.echo("\n".join(lines))


OURS = (
    "DATABRICKS_HOST",
    "DATABRICKS_TOKEN",
    "DATABRICKS_AUTH_TYPE",
    "DATABRICKS_ACCOUNT_ID",
    "DATABRICKS_WORKSPACE_ID",
)
"""What may be set."""


def fresh(world: World, flags: Flags) -> tuple[Profile, Token]:
    """A fresh token for a program that keeps it, and the settings that it came from."""
    profile = profiles.load(world, flags)
    token = resolve.token(profile, world, Demand(wanted_life(world)))
    warn_if_it_ends(world, token)
    return profile, token


def warn_if_it_ends(world: World, token: Token) -> None:
    """Tell of a token that somebody wrote down, and that is none to keep: one of an hour, as this verb prints it."""
    if token.auth_type == "pat" and "exp" in claims(token.value):
        way = ': eval "$(dbx-auth env --unset)" first' if token.origin.startswith("env ") else ""
        world.warn(f"the token of {token.origin} will end, and nothing renews it{way}")


def _watched(world: World) -> list[str]:
    """direnv looks at an .envrc again when one of these files has changed, as they do with each renewal."""
    from shlex import quote

    from dbx_auth.store import AuthJson, CliCache

    return [f"watch_file {quote(path)}" for path in (world.config_file, AuthJson(world).path, CliCache(world).path)]
