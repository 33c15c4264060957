"""databricks-cli: a login made in the browser, ours first, then the Databricks CLI's."""

from collections.abc import Iterator

from dbx_auth import hosts, oauth, profile as profiles
from dbx_auth.errors import ConfigError
from dbx_auth.profile import Profile
from dbx_auth.store import AuthJson, CliCache, CliSlot, OwnSlot, Slot
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """The access token of the first of these logins, renewed with its refresh token when it must be."""
    return keeper.fresh(slots(profile, world), oauth.refresh)


def slots(profile: Profile, world: World) -> Iterator[Slot]:
    """Where a login for this host may rest: our entry, then the CLI's under the profile's name, then under the host.

    A profile's name is a key for its own host only: where another setting says another host, the login stays put.
    """
    host, account_id = profile.host, profile.value("account_id")
    yield OwnSlot(AuthJson(world), host)
    cache = CliCache(world)
    if profile.name and profile.origin("host").startswith("file "):
        yield CliSlot(cache, profile.name, host, account_id)
    elif name := _profile_of(host, cache, world):
        yield CliSlot(cache, name, host, account_id)
    key = f"{host}/oidc/accounts/{account_id}" if hosts.is_account(host) and account_id else host
    yield CliSlot(cache, key, host, account_id)


def _profile_of(host: str, cache: CliCache, world: World) -> str:
    """The one profile of this host that the CLI has a login for; the CLI too goes from a host to its profile."""
    keys = [key for key in cache.tokens() if "://" not in key]
    if not keys:
        return ""
    sections = profiles.read(world)
    found = [key for key in keys if _host(sections.get(key, {})) == host]
    if len(found) > 1:
        raise ConfigError(f"profiles {' and '.join(found)} both log in to {host}", hint=f"dbx-auth -p {found[0]} token")
    return "".join(found)


def _host(section: dict[str, str]) -> str:
    try:
        return hosts.canonical(section.get("host", "")).url
    except ConfigError:
        return ""
