"""databricks-cli: a login made in the browser, ours first, then the Databricks CLI's."""

from collections.abc import Iterable, Iterator

from dbx_auth import hosts, oauth, profile as profiles
from dbx_auth.errors import ConfigError
from dbx_auth.profile import Profile
from dbx_auth.store import AuthJson, CliCache, CliSlot, Grant, OwnSlot, Slot, storage_mode
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """The access token of the first of these logins, renewed with its refresh token when it must be."""
    return keeper.fresh(slots(profile, world), oauth.renewal)


def slots(profile: Profile, world: World) -> Iterator[Slot]:
    """Where a login for this host may rest: our entry, the CLI's file under the profile's name or under the host, and
    the CLI's keyring under the profile's name.
    """
    wanted = oauth.blank(profile)
    yield OwnSlot(AuthJson(world), wanted)
    sections = _sections(world)
    names = _names(profile, sections)
    mode = storage_mode(world, sections)
    if mode != "secure":
        cache = CliCache(world)
        tokens = cache.tokens()
        if name := _only(tokens.keys() & names, profile):
            yield CliSlot(cache, name, wanted)
        if not wanted.group_id:  # a login under a host is nobody's in particular
            for key in _host_keys(wanted):
                yield CliSlot(cache, key, wanted)
    if mode != "plaintext":
        yield from _in_keyring(names, profile, mode, wanted, world)


def _in_keyring(names: set[str], profile: Profile, mode: str, wanted: Grant, world: World) -> Iterator[Slot]:
    from dbx_auth import keyrings

    if mode or keyrings.is_there(world):
        try:
            found = [name for name in names if keyrings.get(name, world)]
        except keyrings.NoKeyring:
            if mode:  # somebody said that there is one
                raise
            found = []
        if name := _only(found, profile):
            yield keyrings.KeyringSlot(world, name, wanted)


def _sections(world: World) -> dict[str, dict[str, str]]:
    """The profile file; where it cannot be read, a login under the host may still do."""
    try:
        return profiles.read(world)
    except ConfigError as error:
        world.note(f"databricks-cli: {error}")
        return {}


def _names(profile: Profile, sections: dict[str, dict[str, str]]) -> set[str]:
    """The profiles whose logins may serve: the one in use, or without one all of this host, as the CLI goes about it.

    A profile's name is a key for its own host only: where another setting says another host, the login stays put.
    """
    asked = sections.keys() & {profile.name} if profile.name else sections.keys()
    return {name for name in asked if profiles.host_of(sections[name]) == profile.host}


def _only(found: Iterable[str], profile: Profile) -> str:
    """The one name that was found, if any. Nobody guesses between two; neither does the CLI."""
    names = sorted(found)
    if len(names) > 1:
        text = f"the profiles {', '.join(names)} all log in to {profile.host}"
        raise ConfigError(text, hint=f"dbx-auth -p {names[0]} token")
    return "".join(names)


def _host_keys(wanted: Grant) -> list[str]:
    """The names that a login has without a profile; a host of several workspaces is one of an account, too."""
    of_account = f"{wanted.host}/oidc/accounts/{wanted.account_id}"
    if not wanted.account_id:
        return [wanted.host]
    return [of_account] if hosts.is_account(wanted.host) else [of_account, wanted.host]
