"""dbx-auth logout: forget our entries, and say what would still log in."""

from __future__ import annotations

import click

from dbx_auth import profile as profiles, resolve
from dbx_auth.errors import AuthError
from dbx_auth.profile import Flags
from dbx_auth.store import AuthJson
from dbx_auth.world import World, tell

from . import identity


@click.command()
@identity
@click.option("--all", "everything", is_flag=True, help="Forget the logins for all hosts.")
def logout(world: World, flags: Flags, everything: bool) -> None:
    """Forget our login for a host, by default the last one. Settings of yours and the Databricks CLI's stay."""
    file = AuthJson(world)
    default = file.default()
    host = profiles.load(world, flags).host if any(flags) else default.host if default else ""
    forgotten = file.forget() if everything else file.forget(host) if host else []
    for gone in forgotten:
        tell(f"forgot the login for {gone}")
    if not forgotten:
        tell(f"{file.name} keeps no login" + (f" for {host}" if host and not everything else ""))
    try:
        left = resolve.token(profiles.load(world, flags), world, resolve.Demand(renew=False))
    except AuthError:
        return
    tell(f"{left.auth_type} still logs in to {left.host}: {left.origin}")
