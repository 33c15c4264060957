"""runtime: the token that a Databricks notebook or job runs with."""

import importlib
from typing import Any

from dbx_auth import hosts, oauth
from dbx_auth.errors import Unavailable
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ()
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """The notebook's own token, for its own workspace; where scopes are wanted, it is traded for one that has them."""
    if not world.env.get("DATABRICKS_RUNTIME_VERSION"):
        raise Unavailable("not set: DATABRICKS_RUNTIME_VERSION, which every Databricks cluster has")
    context = _context()
    host = hosts.canonical(str(getattr(context, "workspaceUrl", "") or getattr(context, "apiUrl", ""))).url
    if profile.host and profile.host != host:
        raise Unavailable(f"the notebook runs in {host}, not in {profile.host}")
    value = str(context.apiToken)
    if not profile.scopes and not profile.value("group_id"):
        return Token(value, None, "runtime", "the notebook", host)
    wanted = oauth.blank(profile.with_host(host), "")
    grant = oauth.exchange_token(oauth.discover(wanted, world), value, wanted, world, kind=oauth.PERSONAL_ACCESS_TOKEN)
    return Token(grant.access, grant.expires_at, "runtime", "the notebook", host, refreshable=True)


def _context() -> Any:
    """What Databricks' own module says about the notebook; it is there on clusters only."""
    try:
        context = importlib.import_module("dbruntime.databricks_repl_context").get_context()
    except Exception:  # it is not ours, and looks for a notebook in ways of its own
        context = None
    if not getattr(context, "apiToken", None):
        raise Unavailable("this cluster's Python has no notebook around it")
    return context
