"""The one road every token takes: who is asked, who stops it, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import FarSide, never

from dbx_auth import profile as profiles, resolve, sources
from dbx_auth.errors import (
    Attempt,
    AuthError,
    ConfigError,
    InDoubt,
    LoginRequired,
    NotConfigured,
    Refused,
    Temporary,
    Unavailable,
    Unreachable,
    UsageError,
)
from dbx_auth.profile import Profile, Setting
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Demand, Token
from dbx_auth.world import World

NOW = 1_700_000_000.0


def a_profile(**values: str) -> Profile:
    return Profile("", {name: Setting(name, value, "env X") for name, value in values.items()})


def a_world(**parts: Any) -> World:
    return World(env={}, home="/nowhere", now=lambda: NOW, http=never)._replace(**parts)


# ---- the chain -------------------------------------------------------------------------------------------------------


class Says(NamedTuple):
    """A source that says one thing."""

    outcome: str | AuthError | Unavailable
    ambient: bool = False
    needs: tuple[str, ...] = ()

    def fetch(self, profile: Profile, world: World, keeper: object) -> Token:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Token(self.outcome, None, "some", f"the origin of {self.outcome}", HOST)


ABSENT = Says(Unavailable("not set: x"))
CACHED_BROKEN = Says(Refused("the cache is odd", hint="look"), ambient=True)
WRITTEN_BROKEN = Says(Refused("wrong secret", hint="check it"))
WORKS = Says("tok")


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put these in the place of the sources, under the names one, two, three …"""

    def put(*says: Says) -> None:
        named = dict(zip(("one", "two", "three", "four"), says, strict=False))
        monkeypatch.setattr(sources, "ORDER", tuple(named))
        monkeypatch.setattr(sources, "load", named.__getitem__)

    return put


@pytest.mark.parametrize(
    ("says", "outcomes"),
    [
        ([WORKS], ["used"]),
        ([ABSENT, WORKS], ["unavailable", "used"]),
        ([WORKS, WRITTEN_BROKEN, CACHED_BROKEN], ["used", "not asked", "not asked"]),
        ([CACHED_BROKEN, WORKS, WORKS], ["failed", "used", "not asked"]),
        ([ABSENT, CACHED_BROKEN, ABSENT, WORKS], ["unavailable", "failed", "unavailable", "used"]),
    ],
)
def test_the_first_source_that_can_answers(chain: Callable[..., None], says: list[Says], outcomes: list[str]) -> None:
    chain(*says)
    resolution = resolve.resolve(a_profile(), a_world())
    assert resolution.token and resolution.token.value == "tok" and resolution.error is None
    assert [a.outcome for a in resolution.attempts] == outcomes
    assert [a.auth_type for a in resolution.attempts] == list(sources.ORDER)
    used = resolution.attempts[outcomes.index("used")]
    assert used.reason == "the origin of tok"


def test_each_attempt_tells_its_reason(chain: Callable[..., None]) -> None:
    chain(ABSENT, CACHED_BROKEN, WORKS, WORKS)
    assert resolve.resolve(a_profile(), a_world()).attempts == (
        Attempt("one", "unavailable", "not set: x"),
        Attempt("two", "failed", "the cache is odd"),
        Attempt("three", "used", "the origin of tok"),
        Attempt("four", "not asked", "a source before it answered"),
    )


@pytest.mark.parametrize("error", [Refused("no", hint="h"), ConfigError("no", hint="h"), Temporary("no", hint="h")])
def test_what_a_person_wrote_and_is_wrong_ends_the_chain(chain: Callable[..., None], error: AuthError) -> None:
    """Silently becoming somebody else is worse."""
    chain(ABSENT, Says(error), WORKS)
    resolution = resolve.resolve(a_profile(), a_world())
    assert (resolution.token, resolution.error) == (None, error)
    assert [a.outcome for a in resolution.attempts] == ["unavailable", "failed", "not asked"]
    with pytest.raises(type(error)) as caught:
        resolve.token(a_profile(), a_world())
    assert caught.value is error


def test_settings_that_are_missing_are_named_before_the_source_is_asked(chain: Callable[..., None]) -> None:
    chain(Says(AssertionError(), needs=("host", "token")), WORKS)  # type: ignore[arg-type]
    first = resolve.resolve(a_profile(host=HOST), a_world()).attempts[0]
    assert first == Attempt("one", "unavailable", "not set: token (DATABRICKS_TOKEN)")


@pytest.mark.parametrize("named", ["one", "two", "three"])
def test_an_auth_type_asks_that_source_and_no_other(chain: Callable[..., None], named: str) -> None:
    chain(Says("tok-one"), Says("tok-two"), Says("tok-three"))
    resolution = resolve.resolve(a_profile(auth_type=named), a_world())
    assert resolution.token and resolution.token.value == f"tok-{named}"
    assert [a.auth_type for a in resolution.attempts] == [named]


def test_an_auth_type_that_cannot_answer_is_not_replaced_by_another(chain: Callable[..., None]) -> None:
    chain(ABSENT, WORKS)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(a_profile(auth_type="one", host=HOST), a_world())
    assert str(caught.value) == f"no token for {HOST}: one: not set: x"


@pytest.mark.parametrize("name", ["azure-something", "PAT", "pat ", "..", "resolve", "pat, stored", "__init__"])
def test_an_auth_type_that_does_not_exist_is_refused_and_the_real_ones_named(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve.resolve(a_profile(auth_type=name), a_world())
    assert repr(name) in str(caught.value) and ", ".join(sources.ORDER) in str(caught.value)


LOGIN = LoginRequired("r is spent", hint="dbx-auth login X")


@pytest.mark.parametrize(
    ("errors", "kind", "hint"),
    [
        ([], NotConfigured, f"dbx-auth login {HOST}"),
        ([LOGIN], NotConfigured, "dbx-auth login X"),
        ([Refused("no", hint="r")], Refused, "r"),
        ([LOGIN, Refused("no", hint="r")], Refused, "r"),
        ([Refused("no", hint="r"), ConfigError("bad", hint="c")], ConfigError, "c"),
        ([ConfigError("bad", hint="c"), ConfigError("worse", hint="d")], ConfigError, "c"),
        ([LOGIN, ConfigError("bad", hint="c"), Temporary("busy", hint="t")], Temporary, "t"),
        ([Temporary("busy", hint="t"), Refused("no", hint="r")], Temporary, "t"),
        ([ConfigError("bad", hint="c"), InDoubt("half", hint="d")], Temporary, "d"),
        ([Unreachable("away", hint="a"), Temporary("busy", hint="t")], Temporary, "a"),
    ],
)
def test_at_the_end_what_may_pass_comes_before_what_must_be_mended_and_the_login_last(
    chain: Callable[..., None], errors: list[AuthError], kind: type[AuthError], hint: str
) -> None:
    chain(ABSENT, *(Says(error, ambient=True) for error in errors))
    with pytest.raises(kind) as caught:
        resolve.token(a_profile(host=HOST), a_world())
    assert type(caught.value) is kind and caught.value.hint == hint
    assert caught.value.exit_code == kind.exit_code
    for error in errors:
        assert str(error) in str(caught.value)


def test_how_long_to_wait_goes_with_the_failure_whose_hint_is_given(chain: Callable[..., None]) -> None:
    chain(*(Says(Temporary("busy", hint=f"in {s}", retry_after=s), ambient=True) for s in (90.0, 5.0)))
    with pytest.raises(Temporary) as caught:
        resolve.token(a_profile(), a_world())
    assert (caught.value.retry_after, caught.value.hint) == (90.0, "in 90.0")


def test_the_end_of_the_chain_tells_the_whole_tale(chain: Callable[..., None]) -> None:
    chain(ABSENT, CACHED_BROKEN, ABSENT, Says(LOGIN, ambient=True))
    with pytest.raises(Refused) as caught:
        resolve.token(a_profile(host=HOST), a_world())
    assert str(caught.value) == (f"no token for {HOST}: two: the cache is odd; four: r is spent")


def test_without_a_host_the_tale_names_none(chain: Callable[..., None]) -> None:
    chain(ABSENT, ABSENT)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(a_profile(), a_world())
    assert (str(caught.value), caught.value.hint) == ("no token: none of the 2 sources is set up", "dbx-auth login")
    assert [a.outcome for a in caught.value.attempts] == ["unavailable"] * 2


@pytest.mark.parametrize("value", ["", "two words", "tab\there", "line\n", "\r", "caf\u00e9", "esc\x1b[0m", "\ud800"])
def test_a_token_that_no_header_can_carry_is_not_handed_out(chain: Callable[..., None], value: str) -> None:
    chain(Says(value))
    with pytest.raises(ConfigError) as caught:
        resolve.token(a_profile(), a_world())
    assert "the origin of" in str(caught.value) and caught.value.hint


def test_what_is_tried_is_noted(chain: Callable[..., None]) -> None:
    notes: list[str] = []
    chain(ABSENT, CACHED_BROKEN, WORKS)
    resolve.resolve(a_profile(), a_world(note=notes.append))
    assert notes == ["one: unavailable: not set: x", "two: failed: the cache is odd", "three: used: the origin of tok"]


@pytest.mark.parametrize(("ttl", "code"), [(None, 0), (100, 0), (100.5, 1), (3600, 1)])
def test_a_demand_for_life_is_kept_or_refused(
    chain: Callable[..., None], monkeypatch: pytest.MonkeyPatch, ttl: float | None, code: int
) -> None:
    ends_in_100 = SimpleNamespace(
        needs=(), ambient=False, fetch=lambda *_: Token("tok", NOW + 100, "some", "somewhere", HOST)
    )
    monkeypatch.setattr(sources, "ORDER", ("one",))
    monkeypatch.setattr(sources, "load", lambda name: ends_in_100)
    resolution = resolve.resolve(a_profile(), a_world(), Demand(min_ttl=ttl))
    if code:
        assert isinstance(resolution.error, Refused) and "lives 100 s" in str(resolution.error)
    else:
        assert resolution.token


# ---- without the network ---------------------------------------------------------------------------------------------


def on(machine: Machine, **env: str) -> tuple[Profile, World]:
    machine.env.update(env)
    world = machine.world._replace(http=never)
    return profiles.load(world), world


def test_no_refresh_serves_what_is_cached_and_never_touches_the_network(machine: Machine) -> None:
    machine.cached_login(HOST)
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    before = machine.files()
    assert resolve.token(profile, world, Demand(renew=False)).value == "cached"
    assert machine.files() == before


@pytest.mark.parametrize("forced", [Demand(renew=False), Demand(renew=False, min_ttl=3600)])
def test_no_refresh_and_an_ended_token_is_an_error_and_never_touches_the_network(
    machine: Machine, forced: Demand
) -> None:
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    before = machine.files()
    with pytest.raises(Refused, match="--no-refresh") as caught:
        resolve.token(profile, world, forced)
    assert caught.value.hint == "leave out --no-refresh"
    assert machine.files() == before


def test_no_refresh_asks_no_network_for_a_service_principal_either(machine: Machine) -> None:
    profile, world = on(machine, DATABRICKS_HOST=HOST, DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="cs-secret")
    with pytest.raises(Refused, match="--no-refresh") as caught:
        resolve.token(profile, world, Demand(renew=False))
    assert "secret" not in str(caught.value)


def test_with_the_network_the_same_login_is_renewed_over_it(machine: Machine) -> None:
    """The control of the tests above: it is `renew` that keeps the network out."""
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    far = FarSide({"/oidc/v1/token": (200, {"access_token": "new", "refresh_token": "r2", "expires_in": 3600})})
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    assert resolve.token(profile, world._replace(http=far)).value == "new"
    assert far.posts() == [{"grant_type": "refresh_token", "refresh_token": "r", "client_id": "databricks-cli"}]


# ---- several failures, one answer ------------------------------------------------------------------------------------


def test_a_damaged_file_of_ours_does_not_hide_a_login_of_the_cli(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    machine.cached_login(HOST)
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    resolution = resolve.resolve(profile, world)
    assert resolution.token and resolution.token.value == "cached"
    assert {a.auth_type: a.outcome for a in resolution.attempts}["stored"] == "failed"


def test_another_hosts_login_is_never_served(machine: Machine) -> None:
    machine.cached_login(OTHER)
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(OTHER, "theirs", "r", None))})
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(profile, world)
    assert caught.value.hint == f"dbx-auth login {HOST}"


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    kinds = (Refused, UsageError, LoginRequired, ConfigError, Temporary)
    assert [kind.exit_code for kind in kinds] == [1, 2, 4, 5, 6]
    assert [kind.retryable for kind in kinds] == [False, False, False, False, True]
    assert all((kind.exit_code, kind.retryable) == (6, True) for kind in (Unreachable, InDoubt))
