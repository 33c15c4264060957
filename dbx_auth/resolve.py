"""The one road every token takes: from settings, through the sources in order, to a token that is fresh.

    token ─► each source in order ─► pat, basic …                              ─► token
                                  └► Keeper: the store ── fresh ───────────────► token
                                             └ stale: once per machine, `refresh` ─► token

Nothing here prompts or opens a browser, and nothing here can: `login` is out of reach.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, NoReturn

from . import hosts, refresh, sources
from .errors import Attempt, AuthError, ConfigError, LoginRequired, NotConfigured, Refused, Temporary, Unavailable
from .profile import Profile
from .refresh import Keeper
from .tokens import Demand, Token, is_one_word
from .world import World, without_query


class Resolution(NamedTuple):
    """How it went: a token, or the error that ended it, and what every source said."""

    token: Token | None
    error: AuthError | None
    attempts: tuple[Attempt, ...]


def load() -> None:
    """Import what is on the road, before another thread forks in the middle of it; what is heavy comes when needed."""
    ours = ("files", "journal", "lock", "oauth", "store", *(f"sources.{n.replace('-', '_')}" for n in sources.ORDER))
    refresh.load("hashlib", *(f"dbx_auth.{name}" for name in ours))


def token(profile: Profile, world: World, demand: Demand = Demand()) -> Token:  # noqa: B008
    """A fresh token, or the AuthError that says why there is none."""
    found, error, _ = resolve(profile, world, demand)
    if found is None:
        raise error or AssertionError("a resolution is a token or an error")
    return found


def resolve(profile: Profile, world: World, demand: Demand = Demand()) -> Resolution:  # noqa: B008
    """Ask the sources in order and tell the tale; raises only what no source can be blamed for."""
    if not demand.renew:
        world = world._replace(http=_no_network, offline=True)
    named = profile.value("auth_type")
    attempts: list[Attempt] = []
    failures: list[AuthError] = []
    found: Token | None = None
    end: AuthError | None = None
    for auth_type in (named,) if named else sources.ORDER:
        if found or end:
            attempts.append(Attempt(auth_type, "not asked", f"a source before it {'answered' if found else 'failed'}"))
            continue
        source = sources.load(auth_type)
        try:
            found = _ask(auth_type, source, profile, world, demand)
            attempts.append(Attempt(auth_type, "used", found.origin))
        except Unavailable as reason:
            attempts.append(Attempt(auth_type, "unavailable", str(reason)))
        except AuthError as error:
            attempts.append(Attempt(auth_type, "failed", str(error)))
            failures.append(error)
            end = None if source.ambient else error
        world.note(f"{auth_type}: {attempts[-1].outcome}: {attempts[-1].reason}")
    if found is None and end is None:
        end = _end_of_chain(profile, attempts, failures)
    return Resolution(found, end, tuple(attempts))


def _ask(auth_type: str, source: sources.Source, profile: Profile, world: World, demand: Demand) -> Token:
    if profile.value("group_id") and auth_type not in sources.FOR_GROUPS:
        text = f"its tokens cannot take the role of a group (group_id, {profile.origin('group_id')})"
        if profile.value("auth_type"):
            raise ConfigError(text, hint="unset DATABRICKS_AUTH_TYPE, or DATABRICKS_GROUP_ID")
        raise Unavailable(text)
    profile.require(source.needs)
    found = source.fetch(profile, world, Keeper(auth_type, world, demand))
    if profile.workspace_id and not hosts.is_account(found.host):
        found = replace(found, extra={**found.extra, "X-Databricks-Workspace-Id": profile.workspace_id})
    if not all(map(is_one_word, (found.value, *found.extra.values()))):
        raise ConfigError(
            f"the token of {found.origin} holds a space or a control character, which no header can carry",
            hint="a token is one word; look for a line break at its end",
        )
    life = found.life(world.now())
    if life <= 0:
        raise Refused(f"the token of {found.origin} has ended", hint="look at what gives it, and at the clock: date")
    if demand.min_ttl is not None and life < demand.min_ttl:
        raise Refused(
            f"a fresh token of {found.origin} lives {life:.0f} s, and {demand.min_ttl:g} s were asked for",
            hint="ask for less: --min-ttl, or dbx-auth config set min_ttl 5m",
        )
    return found


def _no_network(method: str, url: str, *, shown: str = "", **rest: object) -> NoReturn:
    raise Refused(f"{shown or without_query(url)} was not asked, as --no-refresh says", hint="leave out --no-refresh")


def _end_of_chain(profile: Profile, attempts: list[Attempt], failures: list[AuthError]) -> AuthError:
    """One error for the whole tale. What may pass comes first, then what a person must mend, then the login."""
    tale = [f"{a.auth_type}: {a.reason}" for a in attempts if a.outcome == "failed" or len(attempts) == 1]
    if not tale:
        tale.append(f"none of the {len(attempts)} sources is set up")
    text = f"no token{f' for {profile.host}' if profile.host else ''}: {'; '.join(tale)}"
    for kind in (Temporary, ConfigError, Refused):
        for error in failures:
            if isinstance(error, kind):
                return kind(text, hint=error.hint, retry_after=error.retry_after)
    hint = next((e.hint for e in failures if isinstance(e, LoginRequired)), f"dbx-auth login {profile.host}".strip())
    return NotConfigured(text, attempts, hint=hint)
