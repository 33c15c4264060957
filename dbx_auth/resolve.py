"""The one road every token takes: from settings, through the sources in order, to a token that is fresh.

    token ─► each source in order ─► pat, basic …                            ─► token
                                  └► Keeper: the store ── fresh ─────────────► token
                                             └ stale: lock, read again, renew, write ─► token

Nothing here prompts or opens a browser, and nothing here can: `login` is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, NoReturn

from . import hosts, sources
from .errors import Attempt, AuthError, ConfigError, LoginRequired, NotConfigured, Refused, Temporary, Unavailable
from .profile import Profile
from .store import Grant, Slot
from .tokens import AIM, FLOOR, Token, is_one_word
from .world import World


class Demand(NamedTuple):
    """What the caller asks of a token.

    `min_ttl` seconds of life or an error (None aims for AIM, and takes what there is); `force` a renewal; `renew`
    False to ask nothing of the network; `rejected` an access token that a server has just refused.
    """

    min_ttl: float | None = None
    force: bool = False
    renew: bool = True
    rejected: str = ""

    def __repr__(self) -> str:
        return f"Demand(min_ttl={self.min_ttl}, force={self.force}, renew={self.renew}, rejected=***)"

    @property
    def aim(self) -> float:
        return AIM if self.min_ttl is None else max(self.min_ttl, FLOOR)


class Resolution(NamedTuple):
    """How it went: a token, or the error that ended it, and what every source said."""

    token: Token | None
    error: AuthError | None
    attempts: tuple[Attempt, ...]


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
            hint="ask for less with --min-ttl",
        )
    return found


def _no_network(method: str, url: str, **rest: object) -> NoReturn:
    raise Refused(f"{url} was not asked, as --no-refresh says", hint="leave out --no-refresh")


def _end_of_chain(profile: Profile, attempts: list[Attempt], failures: list[AuthError]) -> AuthError:
    """One error for the whole tale. What may pass comes first, then what a person must mend, then the login."""
    tale = [f"{a.auth_type}: {a.reason}" for a in attempts if a.outcome == "failed" or len(attempts) == 1]
    if not tale:
        tale.append(f"none of the {len(attempts)} sources is set up")
    text = f"no token{f' for {profile.host}' if profile.host else ''}: {'; '.join(tale)}"
    for kind in (Temporary, ConfigError, Refused):
        for error in failures:
            if isinstance(error, kind):
                return kind(text, hint=error.hint)
    hint = next((e.hint for e in failures if isinstance(e, LoginRequired)), f"dbx-auth login {profile.host}".strip())
    return NotConfigured(text, attempts, hint=hint)


class Keeper:
    """Reads a grant from its slot, and renews it once per machine when it is stale."""

    def __init__(self, auth_type: str, world: World, demand: Demand) -> None:
        self._auth_type = auth_type
        self._world = world
        self._demand = demand

    def fresh(self, slots: Iterable[Slot], renew: Callable[[Grant, World], Grant]) -> Token:
        """A fresh token from the first slot that has one. Raises Unavailable when all are empty."""
        failure: AuthError | None = None
        empty: list[str] = []
        try:
            for slot in slots:
                try:
                    return self._from(slot, renew)
                except Unavailable:
                    empty.append(slot.origin)
                except AuthError as error:
                    failure = failure or error
                    self._world.note(f"{slot.origin}: {error}")
        except AuthError as error:  # the next place cannot be told
            failure = failure or error
        if failure:
            raise failure
        raise Unavailable(f"no login in {', '.join(empty)}")

    def _from(self, slot: Slot, renew: Callable[[Grant, World], Grant]) -> Token:
        held = slot.read()
        if held is None:
            raise Unavailable(slot.origin)
        if self._is_fresh(held) and not self._demand.force:
            return self._token(held, slot)
        if not self._demand.renew and self._still_serves(held):
            return self._token(held, slot)
        try:
            return self._token(self._renewed(slot, held, renew), slot)
        except AuthError as error:
            if not self._still_serves(held):
                raise
            self._world.warn(f"the token was not renewed and ends in {self._life(held):.0f} s: {error}")
            return self._token(held, slot)

    def _renewed(self, slot: Slot, held: Grant, renew: Callable[[Grant, World], Grant]) -> Grant:
        _check_renewable(held, slot)
        with slot.locked():
            now_held = slot.read()  # the only grant whose refresh token may be spent
            if now_held is None:
                raise Unavailable(f"{slot.origin} was logged out")
            if now_held.access != held.access and self._is_fresh(now_held):
                return now_held
            _check_renewable(now_held, slot)
            slot.rehearse()
            self._world.note(f"{slot.origin}: renewing")
            with self._world.uninterrupted():
                return self._spent(slot, now_held, renew)

    def _spent(self, slot: Slot, held: Grant, renew: Callable[[Grant, World], Grant]) -> Grant:
        """Trade the refresh token of `held` for a fresh grant and keep it."""
        try:
            fresh = renew(held, self._world)
        except LoginRequired:
            # A program that takes no lock may have spent the refresh token before us, and written what it got.
            winner = slot.read()
            if winner is None or winner.refresh == held.refresh or not self._is_fresh(winner):
                raise
            return winner
        try:
            slot.write(held, fresh)
        except ConfigError as error:
            self._world.warn(f"this token is good, but the login could not be kept: {error} (hint: {error.hint})")
        return fresh

    def _is_fresh(self, grant: Grant) -> bool:
        return self._is_usable(grant) and self._life(grant) >= self._demand.aim

    def _still_serves(self, grant: Grant) -> bool:
        """Whether a token that we could not renew is still worth handing out."""
        asked_for_more = self._demand.force or self._demand.min_ttl is not None
        return self._is_usable(grant) and not asked_for_more and self._life(grant) > FLOOR

    def _is_usable(self, grant: Grant) -> bool:
        return bool(grant.access) and grant.access != self._demand.rejected

    def _life(self, grant: Grant) -> float:
        return Token("", grant.expires_at).life(self._world.now())

    def _token(self, grant: Grant, slot: Slot) -> Token:
        return Token(
            grant.access,
            grant.expires_at,
            self._auth_type,
            slot.origin,
            grant.host,
            refreshable=bool(grant.refresh),
        )


def _check_renewable(grant: Grant, slot: Slot) -> None:
    if not grant.refresh:
        text = f"the login in {slot.origin} has ended and has no refresh token"
        raise LoginRequired(text, hint=f"dbx-auth login {grant.host}")
