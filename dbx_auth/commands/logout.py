"""dbx-auth logout: forget our entries, and say what would still log in."""

from __future__ import annotations

import click

from dbx_auth import profile as profiles, resolve, share as sharing
from dbx_auth.errors import AuthError, UsageError
from dbx_auth.profile import Flags
from dbx_auth.store import AuthJson
from dbx_auth.tokens import Demand
from dbx_auth.world import World, tell

from . import WHO, Verb, identity


@click.command(
    cls=Verb,
    examples=("dbx-auth logout", "dbx-auth logout DEV --share", "dbx-auth logout --all"),
    reads=WHO,
    exits=(5, 6),
)
@identity
@click.option("--all", "everything", is_flag=True, help="Forget the logins for all hosts.")
@click.option("--share", is_flag=True, help="Also log out the Databricks CLI and the SDKs.")
def logout(world: World, flags: Flags, everything: bool, share: bool) -> None:
    """Forget our login for a host, by default the last one. Settings of yours and the Databricks CLI's stay."""
    if everything and share:
        raise UsageError("--share does not go with --all", hint="dbx-auth -p <profile> logout --share")
    file = AuthJson(world)
    default = file.default()
    profile = profiles.load(world, flags)
    host = profile.host if any(flags) else default.host if default else ""
    if share and host:
        for place in sharing.unshare(profile.name, host, profile.value("account_id"), world):
            tell(f"forgot the login in {place}")
    forgotten = file.forget() if everything else file.forget(host) if host else []
    for gone in forgotten:
        tell(f"forgot the login for {gone}")
    if not forgotten:
        tell(f"{file.name} keeps no login" + (f" for {host}" if host and not everything else ""))
    try:
        left = resolve.token(profiles.load(world, flags), world, Demand(renew=False))
    except AuthError:
        return
    tell(f"{left.auth_type} still logs in to {left.host}: {left.origin}")
