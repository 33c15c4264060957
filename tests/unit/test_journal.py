"""What is remembered about a login beside its lock: hashes and moments, and a grant only where it would be lost."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import HOST
from unit.far_side import Clock

from dbx_auth import journal as journals
from dbx_auth.errors import ConfigError
from dbx_auth.journal import LONGEST, PAUSE, RECENT, Journal, fingerprint
from dbx_auth.store import Grant
from dbx_auth.world import World

REFRESH, ACCESS = "rt-canary", "at-canary"
SPENT = Grant(HOST, "old-at", "old-rt", 1.0)
FRESH = Grant(HOST, "new-at", "new-rt", 1_700_003_600.25)


class Kept:
    """A journal with two places, its clock, and what was noted."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.notes: list[str] = []
        self.world = self.clock.into(World({}, "/nonexistent", note=self.notes.append))
        self.folders = [folder / "first", folder / "second"]
        self.paths = [str(place / "id.lock") for place in self.folders]
        self.file = self.folders[0] / "id.json"

    @property
    def journal(self) -> Journal:
        """A new one each time, as each process has its own."""
        return Journal(self.world, self.paths)

    def rescues(self) -> list[Any]:
        """What waits aside, place by place."""
        files = [folder / "id.rescue" for folder in self.folders]
        return [json.loads(file.read_text()) if file.exists() else None for file in files]

    def close(self, place: int) -> None:
        """Let nothing be written there."""
        self.folders[place].write_text("a file in the way")

    def open(self, place: int) -> None:
        self.folders[place].unlink()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_fingerprint_is_the_beginning_of_a_hash() -> None:
    assert fingerprint("secret") == hashlib.sha256(b"secret").hexdigest()[:32]
    assert len({fingerprint(text) for text in ("a", "b", "", "\u00fc")}) == 4
    assert len(fingerprint("\ud800")) == 32, "half a surrogate pair is no reason to fail"


# ---- claims and tombstones -------------------------------------------------------------------------------------------


def test_a_claim_stands_until_it_is_settled(kept: Kept) -> None:
    assert not kept.journal.is_claimed(REFRESH)
    kept.journal.claim(REFRESH)
    assert kept.journal.is_claimed(REFRESH) and not kept.journal.is_claimed("another")
    kept.clock.passed = 1e6
    assert kept.journal.is_claimed(REFRESH), "however long ago"
    kept.journal.claim("another")
    kept.journal.settle(REFRESH, ACCESS)
    assert not kept.journal.is_claimed(REFRESH) and kept.journal.is_claimed("another")


def test_a_claim_that_came_to_no_request_is_withdrawn_and_leaves_nothing(kept: Kept) -> None:
    kept.journal.claim(REFRESH)
    kept.journal.claim("another")
    kept.journal.withdraw(REFRESH)
    assert not kept.journal.is_claimed(REFRESH) and kept.journal.is_claimed("another")
    assert not (kept.journal.is_dead(REFRESH) or kept.journal.has_failed(REFRESH) or kept.journal.is_recent(REFRESH))


def test_a_tombstone_ends_the_claim_and_stays_for_a_day(kept: Kept) -> None:
    kept.journal.claim(REFRESH)
    assert not kept.journal.is_dead(REFRESH)
    kept.journal.bury(REFRESH)
    kept.clock.passed = 86_400
    assert kept.journal.is_dead(REFRESH) and not kept.journal.is_claimed(REFRESH)
    assert not kept.journal.is_dead("another")
    kept.journal.settle("another", ACCESS)
    assert kept.journal.is_dead(REFRESH)
    kept.clock.passed = 86_401
    assert not kept.journal.is_dead(REFRESH)


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize("for_now", [True, False])
def test_a_claim_that_came_to_nothing_stays_where_nobody_knows(kept: Kept, in_doubt: bool, for_now: bool) -> None:
    kept.journal.claim(REFRESH)
    kept.journal.fail(REFRESH, in_doubt=in_doubt, for_now=for_now)
    assert kept.journal.is_claimed(REFRESH) is in_doubt
    assert kept.journal.has_failed(REFRESH) is for_now
    assert len(json.loads(kept.file.read_text())["failed"]) == for_now, "and nothing else did"
    assert not kept.journal.has_failed("another") and not kept.journal.is_dead(REFRESH)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_happened_a_moment_ago_did_so_whichever_way_the_clock_was_set(kept: Kept, sign: int) -> None:
    assert (RECENT, PAUSE) == (10, 30)
    kept.journal.settle(REFRESH, ACCESS)
    kept.journal.fail(REFRESH, in_doubt=False, for_now=True)
    seen = []
    for passed in (0, 10, 10.01, 30, 30.01):
        kept.clock.passed = sign * passed
        seen.append((kept.journal.is_recent(ACCESS), kept.journal.has_failed(REFRESH)))
    assert seen == [(True, True), (True, True), (False, True), (False, True), (False, False)]
    assert not kept.journal.is_recent(REFRESH) and not kept.journal.has_failed(ACCESS)


def test_nothing_is_known_of_an_empty_token(kept: Kept) -> None:
    kept.file.parent.mkdir()
    now = kept.clock.now()
    kept.file.write_text(json.dumps({kind: {fingerprint(""): now} for kind in ("claims", "dead", "renewed", "failed")}))
    journal = kept.journal
    assert not (journal.is_claimed("") or journal.is_dead("") or journal.is_recent("") or journal.has_failed(""))
    kept.journal.settle("", "")
    kept.journal.bury("")
    assert fingerprint("other") not in kept.file.read_text()


def test_only_hashes_and_moments_are_written_for_this_user_alone(kept: Kept) -> None:
    before = os.umask(0)
    try:
        kept.journal.claim(REFRESH)
        kept.journal.settle(REFRESH, ACCESS)
        kept.journal.claim("rt-2-canary")
        kept.journal.fail("rt-2-canary", in_doubt=True, for_now=True)
        kept.journal.bury("rt-3-canary")
    finally:
        os.umask(before)
    now = kept.clock.now()
    assert json.loads(kept.file.read_text()) == {
        "claims": {fingerprint("rt-2-canary"): now},
        "dead": {fingerprint("rt-3-canary"): now},
        "renewed": {fingerprint(ACCESS): now},
        "failed": {fingerprint("rt-2-canary"): now},
    }
    assert [path.name for path in kept.file.parent.iterdir()] == ["id.json"] and not kept.folders[1].exists()
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.file.parent.stat().st_mode) == 0o700


ACTS: dict[str, Callable[[Journal, str], object]] = {
    "claims": lambda journal, secret: journal.claim(secret),
    "dead": lambda journal, secret: journal.bury(secret),
    "renewed": lambda journal, secret: journal.settle("", secret),
    "failed": lambda journal, secret: journal.fail(secret, in_doubt=True, for_now=True),
}


@pytest.mark.parametrize("kind", ACTS)
def test_of_each_kind_the_newest_are_kept(kept: Kept, kind: str) -> None:
    assert LONGEST == 64
    moments = {fingerprint(str(number)): float(number) for number in range(LONGEST)}
    kept.file.parent.mkdir()
    kept.file.write_text(json.dumps({kind: moments}))
    ACTS[kind](kept.journal, "new")
    ACTS[kind](kept.journal, "2")
    found = json.loads(kept.file.read_text())[kind]
    assert list(found) == [fingerprint(str(number)) for number in (1, *range(3, LONGEST), "new", 2)]
    assert found[fingerprint("2")] == kept.clock.now(), "and one that comes again is new again"


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a": 1' + b" " * (1 << 20) + b"}",
    b'{"claims": [], "dead": 7, "renewed": null, "failed": "x"}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_journal_that_cannot_be_read_is_an_empty_one_and_is_written_anew(kept: Kept, content: bytes) -> None:
    kept.file.parent.mkdir()
    kept.file.write_bytes(content)
    journal = kept.journal
    assert not (journal.is_claimed("x") or journal.is_dead("x") or journal.is_recent("x") or journal.has_failed("x"))
    assert journal.rescued(SPENT) is None
    journal.claim(REFRESH)
    assert kept.journal.is_claimed(REFRESH) and json.loads(kept.file.read_text())["dead"] == {}


def test_a_journal_that_is_longer_than_any_of_ours_is_not_read(kept: Kept) -> None:
    kept.file.parent.mkdir()
    content = json.dumps({"claims": {fingerprint("x"): 1.5}})
    kept.file.write_text(content.ljust(1 << 20))
    assert kept.journal.is_claimed("x")
    kept.file.write_text(" " * (1 << 20) + content)
    assert not kept.journal.is_claimed("x")


@pytest.mark.parametrize("when", ["soon", None, True, [], {}, 10**400, float("nan"), 1_700_000_000])
def test_a_moment_that_is_none_was_long_ago(kept: Kept, when: object) -> None:
    kept.file.parent.mkdir()
    kept.file.write_text(json.dumps({kind: {fingerprint("x"): when} for kind in ACTS}))
    assert kept.journal.is_claimed("x") and not kept.journal.is_dead("x")
    assert not kept.journal.is_recent("x") and not kept.journal.has_failed("x")


def test_what_another_version_wrote_there_is_no_reason_to_fail(kept: Kept) -> None:
    kept.file.parent.mkdir()
    kept.file.write_text(json.dumps({"future": {"a": 1}, "claims": {fingerprint("x"): 1.5}}))
    kept.journal.claim(REFRESH)
    assert kept.journal.is_claimed("x")


def test_a_claim_that_cannot_be_written_is_an_error_and_the_rest_is_a_note(kept: Kept) -> None:
    """Before the request nothing is lost by going no further; after it everything is."""
    kept.close(0)
    with pytest.raises(ConfigError, match="cannot be written"):
        kept.journal.claim(REFRESH)
    assert kept.notes == []
    kept.journal.settle(REFRESH, ACCESS)
    kept.journal.bury(REFRESH)
    kept.journal.fail(REFRESH, in_doubt=True, for_now=True)
    assert len(kept.notes) == 3
    assert all(note.startswith(f"the journal was not kept: {kept.file} cannot be written") for note in kept.notes)
    assert not kept.folders[1].exists(), "what is said elsewhere is not heard"


# ---- rescue ----------------------------------------------------------------------------------------------------------


def test_what_could_not_be_written_waits_aside_for_this_user_alone(kept: Kept) -> None:
    assert kept.journal.rescued(SPENT) is None
    before = os.umask(0)
    try:
        assert kept.journal.rescue(SPENT, FRESH) is True
    finally:
        os.umask(before)
    file = kept.folders[0] / "id.rescue"
    assert kept.rescues() == [
        {fingerprint("old-rt"): {"access": "new-at", "refresh": "new-rt", "expires_at": 1_700_003_600.25}},
        None,
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and not kept.file.exists()


def test_it_comes_back_for_whom_the_stored_one_is(kept: Kept) -> None:
    kept.journal.rescue(SPENT, FRESH)
    stored = Grant(HOST, "whatever", "old-rt", 7.0, "my-app", "acc", ("sql",), "77", "https://tenant", "https://doc")
    assert kept.journal.rescued(stored) == replace(
        stored, access="new-at", refresh="new-rt", expires_at=FRESH.expires_at
    )
    assert kept.journal.rescued(FRESH) is None and kept.journal.rescued(Grant(HOST, "old-at", "")) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"access": "a", "refresh": "r", "expires_at": 7.5}, Grant(HOST, "a", "r", 7.5)),
        ({"access": "a", "refresh": "r", "expires_at": None}, Grant(HOST, "a", "r", None)),
        ({"access": "a", "refresh": "r"}, Grant(HOST, "a", "r", None)),
        ({"access": "a", "refresh": "", "expires_at": 7.5}, Grant(HOST, "a", "old-rt", 7.5)),
        ({"access": "a", "refresh": 7, "expires_at": "soon"}, Grant(HOST, "a", "old-rt", 0.0)),
        ({"access": "", "refresh": "r", "expires_at": 7.5}, None),
        ({"access": 7, "refresh": "r"}, None),
        ({}, None),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_whatever_waits_aside_is_read_as_far_as_it_goes(kept: Kept, said: object, expected: Grant | None) -> None:
    kept.folders[0].mkdir()
    (kept.folders[0] / "id.rescue").write_text(json.dumps({fingerprint("old-rt"): said}))
    assert kept.journal.rescued(SPENT) == expected


def test_a_rescue_for_no_refresh_token_is_for_nobody(kept: Kept) -> None:
    blank = Grant(HOST, "a", "")
    kept.journal.rescue(blank, FRESH)
    assert kept.journal.rescued(blank) is None


def test_where_the_first_place_is_full_the_next_one_takes_it(kept: Kept) -> None:
    kept.close(0)
    assert kept.journal.rescue(SPENT, FRESH) is True
    assert kept.rescues()[1] and kept.folders[0].is_file()
    kept.open(0)
    assert kept.journal.rescued(SPENT) == FRESH, "and there it is found"


def test_at_the_next_place_too_several_wait_side_by_side(kept: Kept) -> None:
    kept.close(0)
    for refresh in ("one-rt", "other-rt"):
        kept.journal.rescue(Grant(HOST, "x", refresh), FRESH)
    assert list(kept.rescues()[1]) == [fingerprint("one-rt"), fingerprint("other-rt")]


def test_where_no_place_takes_it_that_is_said(kept: Kept) -> None:
    kept.close(0)
    kept.close(1)
    assert kept.journal.rescue(SPENT, FRESH) is False
    assert kept.journal.rescued(SPENT) is None


def test_several_wait_side_by_side_and_the_newest_of_one_counts(kept: Kept) -> None:
    other, newer = Grant(HOST, "x", "other-rt"), Grant(HOST, "newer-at", "newer-rt", 2e9)
    kept.journal.rescue(SPENT, FRESH)
    kept.journal.rescue(other, FRESH)
    kept.journal.rescue(SPENT, newer)
    assert kept.journal.rescued(SPENT) == newer
    assert (kept.journal.rescued(other) or SPENT).access == "new-at"


def test_one_that_waits_at_another_place_is_found_though_the_first_place_has_some(kept: Kept) -> None:
    """Else the refresh token is spent for the second time, and the login ends."""
    other = Grant(HOST, "x", "other-rt")
    kept.journal.rescue(other, FRESH)
    aside = kept.folders[0].rename(kept.folders[0].with_name("aside"))
    kept.close(0)
    kept.journal.rescue(SPENT, FRESH)
    kept.open(0)
    aside.rename(kept.folders[0])
    assert kept.journal.rescued(SPENT) == FRESH
    assert (kept.journal.rescued(other) or SPENT).access == "new-at"


def test_of_one_that_waits_at_two_places_the_later_counts(kept: Kept) -> None:
    """The earlier one was spent to get it; to spend that again would end the login."""
    newer = Grant(HOST, "newer-at", "newer-rt", (FRESH.expires_at or 0) + 3600)
    kept.journal.rescue(SPENT, FRESH)
    Journal(kept.world, kept.paths[1:]).rescue(SPENT, newer)
    assert kept.journal.rescued(SPENT) == newer
    kept.journal.forget_rescued(SPENT)
    for place, grant in enumerate((newer, FRESH)):
        Journal(kept.world, kept.paths[place:]).rescue(SPENT, grant)
    assert kept.journal.rescued(SPENT) == newer, "whichever place that is"


@pytest.mark.parametrize("place", [0, 1])
def test_of_one_that_waits_at_two_places_what_never_ends_ends_last(kept: Kept, place: int) -> None:
    endless = Grant(HOST, "endless-at", "endless-rt", None)
    Journal(kept.world, kept.paths[place:]).rescue(SPENT, endless)
    Journal(kept.world, kept.paths[1 - place :]).rescue(SPENT, FRESH)
    assert kept.journal.rescued(SPENT) == endless


def test_no_more_wait_aside_than_are_kept_of_anything(kept: Kept) -> None:
    spent = [Grant(HOST, "x", f"rt-{number}") for number in range(LONGEST + 2)]
    for each in spent:
        kept.journal.rescue(each, FRESH)
    assert list(kept.rescues()[0]) == [fingerprint(each.refresh) for each in spent[2:]]


def test_what_the_store_has_waits_no_longer(kept: Kept) -> None:
    other = Grant(HOST, "x", "other-rt")
    kept.journal.rescue(SPENT, FRESH)
    kept.journal.rescue(other, FRESH)
    kept.journal.forget_rescued(SPENT)
    assert kept.rescues() == [{fingerprint("other-rt"): {**kept.rescues()[0][fingerprint("other-rt")]}}, None]
    kept.journal.forget_rescued(SPENT)
    kept.journal.forget_rescued(other)
    assert kept.rescues() == [None, None], "a file with nothing in it has gone"


def test_it_is_forgotten_at_every_place(kept: Kept) -> None:
    for place, grant in ((1, FRESH), (0, FRESH)):
        Journal(kept.world, [kept.paths[place]]).rescue(SPENT, grant)
    assert all(kept.rescues())
    kept.journal.forget_rescued(SPENT)
    assert kept.rescues() == [None, None]


def test_it_is_forgotten_at_the_next_place_where_the_first_has_none(kept: Kept) -> None:
    Journal(kept.world, kept.paths[1:]).rescue(SPENT, FRESH)
    kept.journal.forget_rescued(SPENT)
    assert kept.rescues() == [None, None]


def test_one_that_cannot_be_forgotten_is_no_error(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise ConfigError("no", hint="h")

    def denied(path: str) -> None:
        raise PermissionError

    kept.journal.rescue(SPENT, FRESH)
    kept.journal.rescue(Grant(HOST, "x", "other-rt"), FRESH)
    with monkeypatch.context() as patch:
        patch.setattr(journals, "write_private", refuse)
        kept.journal.forget_rescued(SPENT)
    assert kept.journal.rescued(SPENT) == FRESH
    kept.journal.forget_rescued(SPENT)
    monkeypatch.setattr(os, "unlink", denied)
    kept.journal.forget_rescued(Grant(HOST, "x", "other-rt"))


def test_nothing_is_written_where_there_is_nothing_to_forget(kept: Kept) -> None:
    kept.journal.forget_rescued(SPENT)
    kept.journal.forget()
    assert not any(folder.exists() for folder in kept.folders)


def test_a_login_that_is_over_leaves_nothing_of_it_at_any_place(kept: Kept) -> None:
    for path in kept.paths:
        journal = Journal(kept.world, [path])
        journal.claim(REFRESH)
        journal.rescue(SPENT, FRESH)
        Path(path).touch()
    (kept.folders[0] / "other.json").touch()
    kept.journal.forget()
    left = sorted(str(path.relative_to(kept.folders[0].parent)) for path in kept.folders[0].parent.rglob("*.*"))
    assert left == ["first/id.lock", "first/other.json", "second/id.lock"], "the locks stay"
    assert not kept.journal.is_claimed(REFRESH) and kept.journal.rescued(SPENT) is None
