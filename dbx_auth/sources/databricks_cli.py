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
    yield OwnSlot(AuthJson(world), host, account_id)
    cache = CliCache(world)
    if name := _cache_key(profile, cache, world):
        yield CliSlot(cache, name, host, account_id)
    key = f"{host}/oidc/accounts/{account_id}" if hosts.is_account(host) and account_id else host
    yield CliSlot(cache, key, host, account_id)


def _cache_key(profile: Profile, cache: CliCache, world: World) -> str:
    """The profile of this host that the CLI has a login for: the one in use, or without one the only one there is.

    The CLI goes from a host to its profile in the same way, and also refuses to guess between two.
    """
    keys = [key for key in cache.tokens() if "://" not in key]
    if not keys:
        return ""
    try:
        sections = profiles.read(world)
    except ConfigError as error:
        world.note(f"databricks-cli: {error}")
        return ""
    found = [key for key in keys if profiles.host_of(sections.get(key, {})) == profile.host]
    if profile.name:
        return profile.name if profile.name in found else ""
    if len(found) > 1:
        raise ConfigError(
            f"the profiles {', '.join(found)} all log in to {profile.host}", hint=f"dbx-auth -p {found[0]} token"
        )
    return "".join(found)
