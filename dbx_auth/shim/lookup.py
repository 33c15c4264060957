"""Whose token a call is for, and that token: of a profile that is named, or of any login for a host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dbx_auth import profile as profiles, resolve
from dbx_auth.errors import AuthError, NotConfigured, Temporary, UsageError
from dbx_auth.profile import FIELDS, Flags, Profile, Setting
from dbx_auth.tokens import Demand, Token
from dbx_auth.world import World

from .deadline import within
from .pflag import Line


def find(line: Line, world: World, seconds: float, fixed: Flags = Flags()) -> Token:  # noqa: B008
    """The first token there is for what a command line names; `fixed` is what the shim was installed for.

    Raises NotConfigured where nobody has logged in with any of that, Temporary after so many seconds, and what
    `profile.load` and `resolve.token` raise.
    """
    end = world.monotonic() + seconds
    take = _renewed if line.is_on("force-refresh") else _token_of
    first: NotConfigured | None = None
    for profile in _meant(line, world, fixed):
        try:
            return take(profile, world, end)
        except NotConfigured as error:
            if failed(error):
                raise
            first = first or error
    raise first or AssertionError("somebody is always meant")


def failed(error: AuthError) -> list[str]:
    """The sources that a login was found in which did not do."""
    attempts = error.attempts if isinstance(error, NotConfigured) else ()
    return [attempt.auth_type for attempt in attempts if attempt.outcome == "failed"]


# ---- whose -----------------------------------------------------------------------------------------------------------


def _meant(line: Line, world: World, fixed: Flags) -> Iterator[Profile]:
    """The settings to look for a token with, one after another while nobody has logged in with them."""
    asked = _asked(line, world)
    if any(fixed):
        asked = _checked(asked, world, fixed)
    profile = profiles.load(world, asked)
    yield profile
    if profile.value("auth_type") == "databricks-cli":
        yield _any_way(profile)
    if not profile.name and profile.is_host_set:
        names = _profiles_of(profile.host, asked.account_id, line.value("workspace-id"), world)
        if len(names) == 1:
            yield profiles.load(world, Flags(names[0], account_id=asked.account_id))


def _asked(line: Line, world: World) -> Flags:
    """Who is named; a word without a flag is a profile of that name, else a host."""
    flags = Flags(*map(line.value, ("profile", "host", "account-id")))
    if not line.words[2:]:
        return flags
    word = line.words[2]
    if flags.profile or flags.host:
        text = f'argument "{word}" cannot be combined with --host or --profile'
        raise UsageError(text, hint="use the --host and --profile flags instead")
    if word in profiles.read(world):
        return flags._replace(profile=word)
    if "." in word or re.match("https?://", word) or re.search(":[0-9]+$", word):
        return flags._replace(host=word)
    raise UsageError(f'no matching profile found: "{word}"', hint="dbx-auth profiles")


def _checked(asked: Flags, world: World, fixed: Flags) -> Flags:
    """What the shim was installed for. A token of it is for its own host, and for nobody who asks about another."""
    if asked.host or asked.profile not in ("", fixed.profile):
        ours, theirs = profiles.load(world, fixed).host, profiles.load(world, asked).host
        if ours != theirs:
            raise NotConfigured(f"this shim is for {ours}, not for {theirs}", (), hint=f"dbx-auth login {theirs}")
    return fixed._replace(account_id=asked.account_id)


def _any_way(profile: Profile) -> Profile:
    """The same with any login of this machine: `databricks-cli` is how an SDK says that it asks the CLI, which is us.

    What the environment logs in with stays out: the SDK has it, and was told not to use it.
    """
    kept = {
        name: setting
        for name, setting in profile.settings.items()
        if name != "auth_type" and not (FIELDS[name].method and setting.origin.startswith("env "))
    }
    return profile._replace(settings=kept)


def _profiles_of(host: str, account_id: str, workspace_id: str, world: World) -> list[str]:
    """The profiles of a host, as the Databricks CLI looks for them where it is given no name."""
    wanted = {"account_id": account_id, "workspace_id": workspace_id}
    return [
        name
        for name, section in profiles.read(world).items()
        if profiles.host_of(section) == host
        and all(not value or section.get(key, value) == value for key, value in wanted.items())
    ]


# ---- their token -----------------------------------------------------------------------------------------------------


def _token_of(profile: Profile, world: World, end: float, demand: Demand = Demand()) -> Token:  # noqa: B008
    return within(end - world.monotonic(), lambda world: resolve.token(profile, world, demand), world)


def _renewed(profile: Profile, world: World, end: float) -> Token:
    """A token with its whole life before it, where there can be one: SDKs ask for that on every start.

    One that was renewed a moment ago is content with that (`journal.RECENT`), a key has no other, and where no new one
    is to be had in time, the one that is there has to do.
    """

    def look(world: World) -> resolve.Resolution:
        return resolve.resolve(profile, world, Demand(renew=False))

    held, _, attempts = within(end - world.monotonic(), look, world)
    if held is None or any(attempt.outcome == "failed" for attempt in attempts):
        return _token_of(profile, world, end)
    if not held.refreshable:
        return held
    same = {**profile.settings, "auth_type": Setting("auth_type", held.auth_type, held.origin)}
    try:
        return _token_of(profile._replace(settings=same), world, end, Demand(force=True))
    except Temporary as error:
        world.note(f"not renewed: {error}")
        return held
