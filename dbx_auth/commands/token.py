"""dbx-auth token: one fresh token on stdout, and nothing else."""

from __future__ import annotations

import click

from dbx_auth import memo, output, profile as profiles, resolve
from dbx_auth.errors import UsageError
from dbx_auth.profile import Flags
from dbx_auth.tokens import Demand
from dbx_auth.world import World

from . import TOKEN, Duration, Verb, identity, output_option, wanted_life


@click.command(
    cls=Verb,
    examples=(
        "dbx-auth token | pbcopy",
        "dbx-auth token -o header | curl -H @- https://adb-1.2.azuredatabricks.net/api/2.0/clusters/list",
        'eval "$(dbx-auth token -o env)"',
        "dbx-auth token DEV --min-ttl 15m -o json",
    ),
    reads=TOKEN,
    exits=(4, 5, 6),
)
@identity
@click.option("--min-ttl", type=Duration(), metavar="TIME", help="Life the token must have left, such as 15m.")
@click.option("--force-refresh", is_flag=True, help="Renew the token even if it is fresh.")
@click.option("--no-refresh", is_flag=True, help="Ask nothing of the network; fail if the token has ended.")
@click.option("--ephemeral", is_flag=True, help="Renew the token even where the login cannot be kept.")
@output_option(*output.FORMATS, settable=False)
def token(
    world: World,
    flags: Flags,
    min_ttl: float | None,
    force_refresh: bool,
    no_refresh: bool,
    ephemeral: bool,
    form: str,
) -> None:
    """Print one fresh token."""
    if force_refresh and no_refresh:
        raise UsageError("--force-refresh and --no-refresh contradict each other", hint="use one of them")
    demand = Demand(
        wanted_life(world) if min_ttl is None else min_ttl,
        force=force_refresh,
        renew=not no_refresh,
        ephemeral=ephemeral,
    )
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        world.warn(text)

    attentive = world._replace(warn=warn)
    found = resolve.token(profiles.load(attentive, flags), attentive, demand)
    click.echo(output.FORMATS[form](found, world.now()))
    if form == "text" and not warnings:
        memo.keep(world, found, demand)
