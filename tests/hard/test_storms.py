"""Hundreds of processes and one login: the server is asked once, everybody is served, and the session lives on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hard.storm import (
    WITHOUT_PATIENCE,
    WITHOUT_THE_LOCK,
    Caller,
    Said,
    check_all_were_served,
    cli_entry,
    expired_in_auth_json,
    expired_in_the_cli_cache,
    plain_storm,
    stored,
    storm,
)
from machine import Machine
from oidc_provider.fixture import OidcProvider

from dbx_auth.journal import RECENT

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

MANY = 200
PROFILES = 20

OF_A_SNAPSHOT = """
from dbx_auth import store
read, seen = store.JsonFile.read, {}
def read_once(file):
    import copy
    return copy.deepcopy(seen.setdefault(file.path, read(file)))
store.JsonFile.read = read_once
"""
"""A writer that puts back what it read before it waited."""

WITHOUT_ADOPTING = """
from dbx_auth import lock, refresh
refresh.Keeper._adopts = lambda *anything: False
held = lock.Lock.held
lock.Lock.held = lambda self, peek=None, wait=None: held(self, wait=wait)
"""
"""Whoever has the lock asks the server, whatever was renewed meanwhile."""

WITHOUT_A_MEMORY = """
from dbx_auth import journal
journal.Journal.is_recent = lambda *anything: False
"""
"""Nobody knows how long ago a token was renewed."""

Expired = Callable[[Machine, OidcProvider], str]


def callers(oidc: OidcProvider, count: int, *flags: str) -> list[Caller]:
    return [Caller(["token", *flags], {"DATABRICKS_HOST": oidc.url})] * count


@pytest.mark.parametrize("expired", [expired_in_the_cli_cache, expired_in_auth_json])
def test_two_hundred_processes_with_one_expired_login_make_one_refresh(
    machine: Machine, oidc: OidcProvider, expired: Expired
) -> None:
    expired(machine, oidc)
    said = storm(machine, callers(oidc, MANY))
    (token,) = check_all_were_served(said, oidc)
    assert (oidc.grants()["refresh"], oidc.grants()["errors"]) == (1, [])
    access, refresh = stored(machine, oidc)
    assert access == token and oidc.renews(refresh), "the session died"


def test_two_hundred_processes_that_start_one_after_the_other_make_one_refresh(
    machine: Machine, oidc: OidcProvider
) -> None:
    expired_in_the_cli_cache(machine, oidc)
    said = plain_storm(machine, callers(oidc, MANY))
    check_all_were_served(said, oidc)
    assert (oidc.grants()["refresh"], oidc.grants()["errors"]) == (1, [])
    assert oidc.renews(stored(machine, oidc)[1]), "the session died"


@pytest.mark.parametrize("expired", [expired_in_the_cli_cache, expired_in_auth_json])
def test_without_the_lock_a_smaller_storm_kills_the_session(machine: Machine, expired: Expired) -> None:
    with OidcProvider(delay_before_ms=1000) as oidc:
        access = expired(machine, oidc)
        storm(machine, callers(oidc, 10), without=WITHOUT_THE_LOCK)
        assert oidc.grants()["refresh"] > 1 and oidc.grants()["errors"]
        assert oidc.me(access) == 401


def forced(said: list[Said]) -> int:
    """How often the server may be asked by processes that force a refresh: twice, or every 10 s if it takes long."""
    return max(2, 1 + int(max(one.seconds for one in said) / RECENT))


def test_two_hundred_processes_that_force_a_refresh_make_two_at_most(machine: Machine, oidc: OidcProvider) -> None:
    expired_in_the_cli_cache(machine, oidc)
    said = storm(machine, callers(oidc, MANY, "--force-refresh"))
    check_all_were_served(said, oidc)
    assert oidc.grants()["refresh"] <= forced(said) and oidc.grants()["errors"] == []
    assert oidc.renews(stored(machine, oidc)[1]), "the session died"


def test_without_adopting_a_smaller_storm_makes_more(machine: Machine, oidc: OidcProvider) -> None:
    expired_in_the_cli_cache(machine, oidc)
    said = storm(machine, callers(oidc, 10, "--force-refresh"), without=WITHOUT_ADOPTING)
    assert oidc.grants()["refresh"] > forced(said)


def test_processes_that_force_a_refresh_one_after_the_other_make_two_at_most(
    machine: Machine, oidc: OidcProvider
) -> None:
    expired_in_the_cli_cache(machine, oidc)
    said = plain_storm(machine, callers(oidc, 40, "--force-refresh"))
    check_all_were_served(said, oidc)
    assert oidc.grants()["refresh"] <= forced(said) and oidc.grants()["errors"] == []
    assert oidc.renews(stored(machine, oidc)[1]), "the session died"


def test_without_a_memory_they_make_more(machine: Machine, oidc: OidcProvider) -> None:
    expired_in_the_cli_cache(machine, oidc)
    said = [
        one for _ in range(4) for one in storm(machine, callers(oidc, 1, "--force-refresh"), without=WITHOUT_A_MEMORY)
    ]
    assert oidc.grants()["refresh"] == len(said) > forced(said)


def logins_of_many_profiles(machine: Machine, oidc: OidcProvider) -> dict[str, Any]:
    """Logins of their own for profiles of one host, all expired, in one file with more than we know of."""
    names = [f"P{number:02}" for number in range(PROFILES)]
    machine.write(
        machine.config, "".join(f"[{name}]\nhost = {oidc.url}\nauth_type = databricks-cli\n\n" for name in names)
    )
    cache = {
        "version": 1,
        "tokens": {name: cli_entry(oidc.login()["refresh_token"], added_by=["somebody", name]) for name in names},
        "future": {"field": [1, 2.5, None, "ü"]},
    }
    machine.write(machine.cli_cache, cache)
    return cache


def of_profiles(cache: dict[str, Any], each: int) -> list[Caller]:
    return [Caller(["token", "-p", name], {}) for name in cache["tokens"]] * each


def test_two_hundred_processes_over_twenty_profiles_of_one_file_lose_no_token(
    machine: Machine, oidc: OidcProvider
) -> None:
    before = logins_of_many_profiles(machine, oidc)
    asked = of_profiles(before, MANY // PROFILES)
    said = storm(machine, asked)
    assert len(check_all_were_served(said, oidc)) == PROFILES
    assert (oidc.grants()["refresh"], oidc.grants()["errors"]) == (PROFILES, [])
    after = json.loads(machine.cli_cache.read_text())
    assert {name: entry["access_token"] for name, entry in after["tokens"].items()} == {
        caller.argv[-1]: one.out for caller, one in zip(asked, said, strict=True)
    }
    assert [name for name, entry in after["tokens"].items() if not oidc.renews(entry["refresh_token"])] == []
    assert (after["version"], after["future"]) == (before["version"], before["future"])
    assert {n: e["added_by"] for n, e in after["tokens"].items()} == {
        n: e["added_by"] for n, e in before["tokens"].items()
    }


def test_a_writer_that_puts_back_what_it_read_before_it_waited_loses_some(machine: Machine, oidc: OidcProvider) -> None:
    before = logins_of_many_profiles(machine, oidc)
    said = storm(machine, of_profiles(before, 1), without=OF_A_SNAPSHOT)
    assert oidc.grants()["refresh"] == PROFILES
    after = json.loads(machine.cli_cache.read_text())["tokens"]
    printed = {one.out for one in said}
    assert {entry["access_token"] for entry in after.values()} < printed | {"long gone"}
    assert [name for name, entry in after.items() if entry == before["tokens"][name]]


def test_thirty_processes_wait_for_a_server_that_takes_12_s(machine: Machine) -> None:
    with OidcProvider(delay_before_ms=12_000) as oidc:
        access = expired_in_the_cli_cache(machine, oidc)
        said = storm(machine, callers(oidc, 30))
        check_all_were_served(said, oidc)
        assert (oidc.grants()["refresh"], oidc.grants()["errors"]) == (1, [])
        assert oidc.me(access) == 200, "the session died"


def test_whoever_goes_on_without_the_lock_after_a_while_kills_the_session(machine: Machine) -> None:
    with OidcProvider(delay_before_ms=6000) as oidc:
        access = expired_in_the_cli_cache(machine, oidc)
        storm(machine, callers(oidc, 6), without=WITHOUT_PATIENCE)
        assert oidc.grants()["refresh"] > 1 and oidc.grants()["errors"]
        assert oidc.me(access) == 401


def test_a_server_that_takes_45_s_is_given_up_by_all_and_asked_by_few(machine: Machine) -> None:
    with OidcProvider(delay_before_ms=45_000) as oidc:
        expired_in_the_cli_cache(machine, oidc)
        before = machine.cli_cache.read_bytes()
        said = storm(machine, callers(oidc, 30))
        assert [one for one in said if one.code != 6 or one.out] == []
        assert max(one.seconds for one in said) < 75
        assert machine.cli_cache.read_bytes() == before
        assert oidc.grants()["refresh"] <= 3
