"""A login's token, renewed once per machine however many processes ask, and never lost on the way.

    read ── fresh ──────────────────────────────────────────────────────────────────────────────────► token
      └ stale ► refresh lock ► read again ── renewed by somebody else ──────────────────────────────► token
                                    └ still stale ► find the endpoint ► reserve room for the answer ► hold signals
                                      ► claim ► read once more ► ask, once ► write, look whether it is there ► token

A refresh token may be good for one use, and two uses may end the whole login (RFC 9700, 4.14.2). So it is spent only
under the lock, only as the store has it at that moment, and only where there is room for its successor. Nobody who
cannot get the lock goes on without it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from .errors import AuthError, ConfigError, InDoubt, LoginRequired, Temporary, Unavailable
from .store import Grant, Slot
from .tokens import FLOOR, Demand, Token
from .world import World

if TYPE_CHECKING:
    from .files import Draft
    from .journal import Journal

AHEAD = 600.0
"""Seconds of life below which a grant is renewed that others renew, too. They take no lock and act below 300 seconds:
who is done before them is never in their way."""

BUDGET = 30.0
"""Seconds for one refresh at the token endpoint, whatever it takes."""

LOOKS = (0.0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the looks at the store, before a refusal is believed."""

Spend = Callable[[Grant, float], Grant]
"""Trades the refresh token of a grant for a fresh one, within so many seconds."""

Renew = Callable[[Grant, World], Spend]
"""Finds out where a grant is renewed, and says how."""

HTTP = ("ssl", "socket", "encodings.idna", "httpx", "httpcore", "truststore")
"""What a request imports."""

_loading = threading.RLock()

if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread imports something waits for that import for ever.
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def load(*modules: str) -> None:
    """Import what is needed from here on, while nobody forks."""
    with _loading:
        for name in modules:
            import_module(name)


class Keeper:
    """Reads a grant from its slot, and renews it once per machine when it is stale."""

    def __init__(self, auth_type: str, world: World, demand: Demand) -> None:
        self._auth_type = auth_type
        self._world = world
        self._demand = demand
        self._tried: dict[str, AuthError] = {}  # one login may have two names, and is asked for once

    def fresh(self, slots: Iterable[Slot], renew: Renew) -> Token:
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

    def _from(self, slot: Slot, renew: Renew) -> Token:
        held = slot.read()
        if held is None:
            raise Unavailable(slot.origin)
        good = self._is_fresh(held) and not self._demand.force
        if good and not (slot.shared and self._life(held) < AHEAD):
            return self._token(held, slot)
        if not self._demand.renew and (good or self._still_serves(held)):
            return self._token(held, slot)
        try:
            return self._token(self._renewed(slot, held, renew, ahead=good), slot)
        except AuthError as error:
            if good:
                self._world.note(f"not renewed ahead of time: {error}")
            elif self._still_serves(held):
                self._world.warn(f"the token was not renewed and ends in {self._life(held):.0f} s: {error}")
            else:
                raise
            return self._token(held, slot)

    # ---- under the lock ----------------------------------------------------------------------------------------------

    def _renewed(self, slot: Slot, held: Grant, renew: Renew, *, ahead: bool) -> Grant:
        load("filelock", "random", "tempfile")
        from .journal import Journal
        from .lock import LOCK_WAIT, Lock

        _check_renewable(held, slot)

        def news() -> Grant | None:
            """What somebody else has put there while we waited."""
            now = slot.read()
            return now if now and now.access != held.access and self._is_fresh(now) else None

        lock = Lock(self._world, f"the login in {slot.origin}", slot.refresh_locks())
        end = self._world.monotonic() + (0.0 if ahead else LOCK_WAIT)  # nobody waits for what is not needed yet
        with lock.held(news, end - self._world.monotonic()) as found:
            if found:
                return found
            with slot.joined(end - self._world.monotonic()):
                journal = Journal(self._world, (lock.path, *lock.paths))
                # Where a program without a lock was quicker, and what it left is stale too, there is a second time.
                grant = self._once(slot, held, renew, journal) or self._once(slot, held, renew, journal)
                if grant is None:
                    raise Temporary(f"other programs keep renewing the login in {slot.origin}", hint="try again")
                return grant

    def _once(self, slot: Slot, held: Grant, renew: Renew, journal: Journal) -> Grant | None:
        """A fresh grant, somebody else's or ours; None where what is in the slot has just been replaced."""
        stored = slot.read()
        if stored is None:
            raise Unavailable(f"{slot.origin} was logged out")
        grant = journal.rescued(stored) or stored
        if self._adopts(grant, held, journal):
            self._world.note(f"{slot.origin}: renewed by somebody else")
            if grant is not stored:
                self._keep(slot, stored, grant, journal, None)
            return grant
        self._check(grant, slot, journal)
        load(*HTTP)  # not before: of two hundred waiting processes, one needs them
        spend = renew(grant, self._world)
        with self._room(slot) as room, self._world.uninterrupted():
            return self._spent(slot, stored, grant, spend, journal, room)

    def _adopts(self, grant: Grant, held: Grant, journal: Journal) -> bool:
        """Whether somebody has just done what we are about to do.

        A renewal of the last moment is good enough for any demand: the server gives no more life than it gave there.
        """
        renewed = grant.access != held.access and self._life(grant) >= self._demand.aim
        recent = self._life(grant) > FLOOR and journal.is_recent(grant.access)
        return self._is_usable(grant) and (renewed or recent)

    def _check(self, grant: Grant, slot: Slot, journal: Journal) -> None:
        """Raise where asking the server would be in vain."""
        _check_renewable(grant, slot)
        if error := self._tried.get(grant.refresh):
            raise error
        if journal.is_dead(grant.refresh):
            text = f"the server takes the refresh token in {slot.origin} no longer, as it has said before"
            raise LoginRequired(text, hint=f"dbx-auth login {grant.host}")
        if journal.has_failed(grant.refresh) and self._still_serves(grant):
            raise Temporary("the last try failed a moment ago", hint="try again in a while")

    @contextmanager
    def _room(self, slot: Slot) -> Iterator[Draft | None]:
        with ExitStack() as held:
            room = None
            try:
                room = held.enter_context(slot.room())
            except ConfigError as error:
                if not self._demand.ephemeral:
                    raise
                self._world.note(f"{slot.origin}: {error}")
            yield room

    def _spent(
        self, slot: Slot, stored: Grant, grant: Grant, spend: Spend, journal: Journal, room: Draft | None
    ) -> Grant | None:
        """Trade the refresh token of `grant` for a fresh one, and put that in place of `stored`."""
        twice = not journal.is_claimed(grant.refresh)
        journal.claim(grant.refresh)
        if _is_replaced(slot.read(), stored):  # the endpoint, the room and the claim took their time
            if twice:
                journal.withdraw(grant.refresh)
            return None
        self._world.note(f"{slot.origin}: renewing")
        try:
            fresh = self._asked(spend, grant, twice=twice)
        except LoginRequired:
            winner = self._winner(slot, stored)
            if winner is None:
                journal.bury(grant.refresh)
                raise
            journal.settle(grant.refresh, winner.access)
            return winner if self._is_fresh(winner) else None
        except AuthError as error:
            self._tried[grant.refresh] = error
            journal.fail(grant.refresh, in_doubt=isinstance(error, InDoubt), for_now=isinstance(error, Temporary))
            raise
        self._keep(slot, stored, fresh, journal, room)
        journal.settle(grant.refresh, fresh.access)
        return fresh

    def _asked(self, spend: Spend, grant: Grant, *, twice: bool) -> Grant:
        """The server's answer. Where it took the request and gave none, one more try is all the hope there is."""
        end = self._world.monotonic() + BUDGET
        try:
            return spend(grant, BUDGET)
        except InDoubt as error:
            left = end - self._world.monotonic()
            if not twice or self._still_serves(grant) or left < 1:
                raise
            self._world.note(f"asking once more: {error}")
            return spend(grant, left)

    def _winner(self, slot: Slot, stored: Grant) -> Grant | None:
        """What a program that takes no lock has put in place of `stored`, having spent it before us."""
        for pause in LOOKS:
            self._world.sleep(pause)
            found = slot.read()
            if found and _is_replaced(found, stored):
                return found
        return None

    def _keep(self, slot: Slot, stored: Grant, fresh: Grant, journal: Journal, room: Draft | None) -> None:
        try:
            slot.write(stored, fresh, room)
        except AuthError as error:
            aside = journal.rescue(stored, fresh)
            then = "it waits aside until it can be" if aside else "when the token ends, a person must log in"
            self._world.warn(f"this token is good, but the login could not be kept, {then}: {error} ({error.hint})")
        else:
            journal.forget_rescued(stored)

    # ---- how fresh ---------------------------------------------------------------------------------------------------

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


def _is_replaced(found: Grant | None, stored: Grant) -> bool:
    return found is None or (found.access, found.refresh) != (stored.access, stored.refresh)


def _check_renewable(grant: Grant, slot: Slot) -> None:
    if not grant.refresh:
        text = f"the login in {slot.origin} has ended and has no refresh token"
        raise LoginRequired(text, hint=f"dbx-auth login {grant.host}")
