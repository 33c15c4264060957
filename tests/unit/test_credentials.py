"""The library's way in: a fresh token whenever one is asked for, and nothing paid for what is not used."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import TOKEN, FarSide, Reply, never

import dbx_auth
from dbx_auth import (
    AuthError,
    ConfigError,
    Credentials,
    LoginRequired,
    Refused,
    Temporary,
    Token,
    credentials as credentials_module,
    token_provider,
)
from dbx_auth.errors import UsageError
from dbx_auth.profile import Flags
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import AuthJson, Grant, OwnSlot, grant_fields
from dbx_auth.tokens import format_expiry
from dbx_auth.world import Response

NOW = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def given(number: int = 1, life: float = 3600) -> Reply:
    return 200, {"access_token": f"new-{number}", "refresh_token": f"r-{number}", "expires_in": life}


def logged_in(machine: Machine, life: float = 3600, refresh: str = "r-0") -> Clock:
    """A login of ours on a machine with a clock that the test turns."""
    clock = Clock()
    machine.clock = clock
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, "old", refresh, NOW + life))})
    return clock


def credentials(machine: Machine, http: object = never, **rest: Any) -> Credentials:
    return Credentials(world=machine.world._replace(http=http), **rest)  # type: ignore[arg-type]


# ---- the public names ------------------------------------------------------------------------------------------------

PUBLIC = [
    "Auth",
    "AuthError",
    "ConfigError",
    "Credentials",
    "LoginRequired",
    "NotConfigured",
    "Refused",
    "Temporary",
    "Token",
    "Transport",
    "async_token_provider",
    "credentials_provider",
    "credentials_strategy",
    "token_provider",
]


def test_the_public_names_are_these() -> None:
    assert dbx_auth.__all__ == PUBLIC
    assert dir(dbx_auth) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_has_a_docstring(name: str) -> None:
    assert getattr(dbx_auth, name).__doc__


def test_a_name_that_is_not_there_is_missed_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'dbx_auth' has no attribute 'Crdentials'"):
        dbx_auth.Crdentials  # noqa: B018
    with pytest.raises(ImportError):
        from dbx_auth import nothing_like_it  # noqa: F401


def test_every_error_can_be_caught_as_one() -> None:
    for error in (ConfigError, LoginRequired, Refused, Temporary, UsageError, dbx_auth.NotConfigured):
        assert issubclass(error, AuthError)


@pytest.mark.parametrize(
    "program",
    ["import dbx_auth", "import dbx_auth; dbx_auth.__version__; dir(dbx_auth)", "from dbx_auth import ConfigError"],
)
def test_importing_the_library_costs_next_to_nothing(program: str) -> None:
    heavy = "{'httpx', 'click', 'asyncio', 'ssl', 'socket', 'json', 'rich', 'anyio', 'subprocess', 'filelock'}"
    probe = f"{program}\nimport sys; print(*sorted({heavy} & set(sys.modules)))"
    env = {k: v for k, v in os.environ.items() if k == "SYSTEMROOT"}
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_cached_token_needs_no_network_library(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "k", "host": HOST}})
    probe = "from dbx_auth import Credentials; print(Credentials().token().value, 'httpx' in __import__('sys').modules)"
    env = machine.child_env()
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "k False\n"


# ---- Credentials -----------------------------------------------------------------------------------------------------


def test_the_token_the_host_and_the_headers_are_those_of_the_machine(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST + "/", DATABRICKS_TOKEN="dapi-secret")
    mine = credentials(machine)
    assert mine.token() == Token("dapi-secret", None, "pat", "env DATABRICKS_TOKEN", HOST)
    assert (mine.host, mine.headers()) == (HOST, {"Authorization": "Bearer dapi-secret"})


def test_profile_and_host_choose_as_the_options_do(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost={HOST}\ntoken=dev\n[PROD]\nhost={OTHER}\ntoken=prod\n")
    assert credentials(machine, profile="PROD").token().value == "prod"
    assert credentials(machine, profile="DEV").token().value == "dev"
    with pytest.raises(UsageError):
        credentials(machine, profile="DEV", host=OTHER).token()
    machine.env["DATABRICKS_TOKEN"] = "mine"
    assert credentials(machine, host=OTHER).token().host == OTHER


def test_basic_credentials_have_a_header_of_their_own(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_USERNAME="user", DATABRICKS_PASSWORD="pw")
    assert credentials(machine).headers() == {"Authorization": "Basic dXNlcjpwdw=="}


def test_making_credentials_asks_nothing_and_reads_nothing(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    mine = credentials(machine, profile="NOWHERE")
    with pytest.raises(ConfigError):
        mine.token()


def test_the_host_is_known_before_there_is_a_token(machine: Machine) -> None:
    """To know where one would go, nobody has to be logged in, and nothing is asked."""
    assert credentials(machine, host=HOST).host == HOST
    machine.env["DATABRICKS_HOST"] = OTHER + "/"
    assert credentials(machine).host == OTHER


def test_without_a_host_that_is_the_setting_to_mend(machine: Machine) -> None:
    with pytest.raises(ConfigError):
        _ = credentials(machine).host


def test_without_credentials_a_person_must_log_in(machine: Machine) -> None:
    with pytest.raises(LoginRequired) as caught:
        credentials(machine, host=HOST).token()
    assert caught.value.hint == f"dbx-auth login {HOST}" and caught.value.exit_code == 4


def test_printing_credentials_by_accident_shows_no_secret(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi-secret")
    mine = credentials(machine)
    assert "secret" not in f"{mine} {mine!r} {mine.token()} {mine.token()!r}"


def test_a_library_never_writes_to_the_terminal_and_never_asks(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in machine.child_env(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="k").items():
        monkeypatch.setenv(name, value)
    assert Credentials().token().value == "k"
    assert token_provider()() == "k"
    assert capsys.readouterr() == ("", "")


# ---- freshness -------------------------------------------------------------------------------------------------------


def test_a_fresh_token_is_not_read_twice(machine: Machine) -> None:
    clock = logged_in(machine)
    mine = credentials(machine)
    first = mine.token()
    machine.auth_json.unlink()
    clock.now += 3299
    assert mine.token() is first


@pytest.mark.parametrize(("later", "renewed"), [(3300, False), (3301, True), (3599, True), (10_000, True)])
def test_a_token_is_renewed_when_less_than_five_minutes_are_left(machine: Machine, later: float, renewed: bool) -> None:
    clock = logged_in(machine)
    far = FarSide({TOKEN: given()})
    mine = credentials(machine, far)
    assert mine.token().value == "old"
    clock.now += later
    assert mine.token().value == ("new-1" if renewed else "old")
    assert len(far.posts()) == renewed


def test_what_another_process_renewed_is_taken_and_nothing_asked(machine: Machine) -> None:
    clock = logged_in(machine)
    mine = credentials(machine)
    mine.token()
    clock.now += 3500
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, "theirs", "r", clock.now + 3600))})
    assert mine.token().value == "theirs"


def test_a_token_that_cannot_be_renewed_is_served_while_it_lasts_and_then_is_not(machine: Machine) -> None:
    clock = logged_in(machine)
    warnings: list[str] = []
    far = FarSide({TOKEN: Temporary("cannot reach it", hint="try again")})
    mine = Credentials(world=machine.world._replace(http=far, warn=warnings.append))
    clock.now += 3600 - 41
    assert mine.token().value == "old" and len(warnings) == 1
    clock.now += 1
    with pytest.raises(Temporary):
        mine.token()
    with pytest.raises(Temporary):
        mine.token()


@pytest.mark.parametrize(("min_ttl", "left", "renewed"), [(900, 901, False), (900, 899, True), (60, 299, False)])
def test_min_ttl_is_the_life_that_is_left_at_least(
    machine: Machine, min_ttl: float, left: float, renewed: bool
) -> None:
    clock = logged_in(machine)
    far = FarSide({TOKEN: given()})
    mine = credentials(machine, far, min_ttl=min_ttl)
    mine.token()
    clock.now += 3600 - left
    assert (mine.token().value == "new-1") is renewed


def test_a_min_ttl_that_no_token_has_is_refused(machine: Machine) -> None:
    logged_in(machine)
    with pytest.raises(Refused, match="lives 3600 s, and 7200 s were asked for"):
        credentials(machine, FarSide({TOKEN: given()}), min_ttl=7200).token()


@pytest.mark.parametrize("min_ttl", [0, 10])
def test_a_small_min_ttl_does_not_hand_out_what_the_server_refuses(machine: Machine, min_ttl: float) -> None:
    """A token in memory has to pass what a token in a file has to pass: the server takes none with 30 s or less."""
    clock = logged_in(machine)
    mine = credentials(machine, FarSide({TOKEN: given()}), min_ttl=min_ttl)
    assert mine.token().value == "old"
    clock.now += 3600 - 20
    assert mine.token().value == "new-1"


def test_a_refused_token_is_renewed_though_it_looks_fresh(machine: Machine) -> None:
    logged_in(machine)
    mine = credentials(machine, FarSide({TOKEN: [given(1), given(2)]}))
    assert mine.token().value == "old"
    assert mine.token(rejected="old").value == "new-1"
    assert mine.token().value == "new-1", "and from then on the new one is served"
    assert mine.token(rejected="old").value == "new-1", "somebody late hears of it too"
    held = OwnSlot(AuthJson(machine.world), Grant(HOST)).read()
    assert held and held.access == "new-1"


def test_a_refused_token_that_cannot_be_renewed_is_an_error_and_not_that_token(machine: Machine) -> None:
    logged_in(machine, refresh="")
    mine = credentials(machine)
    assert mine.token().value == "old"
    with pytest.raises(LoginRequired):
        mine.token(rejected="old")


def test_after_a_logout_and_a_new_login_the_new_one_is_found(machine: Machine) -> None:
    clock = logged_in(machine)
    mine = credentials(machine)
    mine.token()
    clock.now += 3600
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "mine", "host": OTHER}})
    assert (mine.token().value, mine.token().host) == ("mine", OTHER)


def test_however_many_threads_ask_one_renews(machine: Machine) -> None:
    clock = logged_in(machine)
    far = FarSide({TOKEN: [given(1), given(2)]})

    def slow(*args: Any, **rest: Any) -> Any:
        time.sleep(0.01)
        return far(*args, **rest)

    mine = credentials(machine, slow)
    mine.token()
    clock.now += 3600
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(mine.token().value)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["new-1"] * 20 and len(far.posts()) == 1


@pytest.mark.parametrize(("waits", "left_alone"), [("9", 9.0), ("3600", credentials_module.LONGEST), ("", 0.0)])
def test_a_server_that_wants_to_be_left_alone_is(machine: Machine, waits: str, left_alone: float) -> None:
    clock = logged_in(machine, life=-1)
    headers = {"retry-after": waits} if waits else {}
    far = FarSide({TOKEN: [Response(TOKEN, 429, headers, b"{}")]})
    mine = Credentials(world=machine.world._replace(http=far, monotonic=clock, sleep=lambda seconds: None))

    def asked() -> int:
        before = len(far.posts())
        with pytest.raises(Temporary):
            mine.token()
        return len(far.posts()) - before

    assert asked() > 0
    clock.now += left_alone / 2 + 0.01
    assert (asked() == 0) is (left_alone > 0)
    clock.now += left_alone / 2 + 1
    assert asked() > 0


def test_a_child_does_not_wait_for_a_thread_that_it_was_not_given(machine: Machine) -> None:
    """Of all threads a fork takes along the one that forks; what another one held stays held for ever."""
    logged_in(machine)
    mine, other = credentials(machine), credentials(machine)
    with mine._lock:
        credentials_module._after_fork()
        assert (mine.token().value, other.token().value) == ("old", "old")


def test_credentials_that_nobody_has_any_more_are_not_kept_for_that(machine: Machine) -> None:
    logged_in(machine)
    mine = credentials(machine)
    assert mine in credentials_module._all
    before = len(credentials_module._all)
    del mine
    gc.collect()
    assert len(credentials_module._all) < before


def test_however_many_threads_ask_a_principals_token_is_bought_once(machine: Machine) -> None:
    """No file and no lock on it holds these together: only the credentials that they share."""
    machine.clock = lambda: NOW
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="cs-secret")
    far, together, found = FarSide({TOKEN: [given(n) for n in range(1, 21)]}), threading.Barrier(20), list[str]()

    def slow(*args: Any, **rest: Any) -> Any:
        time.sleep(0.005)
        return far(*args, **rest)

    mine = credentials(machine, slow)

    def ask() -> None:
        together.wait(30)
        found.append(mine.token().value)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["new-1"] * 20 and len(far.posts()) == 1


def test_a_principal_is_asked_for_anew_when_its_token_is_stale_and_only_then(
    machine: Machine, sandbox: Sandbox
) -> None:
    clock = Clock()
    clock.now = time.time()
    machine.clock = clock
    machine.env.update(
        DATABRICKS_HOST=sandbox.url,
        DATABRICKS_CLIENT_ID=sandbox.client_id,
        DATABRICKS_CLIENT_SECRET=sandbox.client_secret,
    )
    mine = Credentials(world=machine.world)
    assert mine.token() is mine.token()
    clock.now += 3400
    mine.token()
    assert [r.grant_type for r in sandbox.log if r.grant_type] == ["client_credentials"] * 2


# ---- what a server of ours needs -------------------------------------------------------------------------------------


def test_what_is_held_is_the_fresh_token_of_the_last_time_and_nobody_is_asked(machine: Machine) -> None:
    clock = logged_in(machine)
    mine = credentials(machine)
    assert mine.held() is None
    first = mine.token()
    machine.auth_json.unlink()
    assert mine.held() is first
    clock.now += 3300
    assert mine.held() is first
    clock.now += 1
    assert mine.held() is None, "from here on it is to be renewed"


@pytest.mark.parametrize(
    ("min_ttl", "life", "held"), [(900, 901, True), (900, 899, False), (0, 41, True), (0, 30, False)]
)
def test_what_is_held_has_the_life_that_was_asked_for(
    machine: Machine, min_ttl: float, life: float, held: bool
) -> None:
    clock = logged_in(machine)
    mine = credentials(machine, min_ttl=min_ttl)
    mine.token()
    clock.now += 3600 - life
    assert (mine.held() is not None) is held


def renewing(machine: Machine) -> tuple[Credentials, threading.Thread, threading.Event, threading.Event]:
    """Credentials that are being renewed: in a thread, since an event, and until another."""
    clock, began, go = logged_in(machine), threading.Event(), threading.Event()
    far = FarSide({TOKEN: given()})

    def slow(*args: Any, **rest: Any) -> Any:
        began.set()
        assert go.wait(30)
        return far(*args, **rest)

    mine = credentials(machine, slow)
    clock.now += 3600
    return mine, threading.Thread(target=mine.token), began, go


def test_what_is_held_is_not_waited_for(machine: Machine) -> None:
    mine, thread, began, go = renewing(machine)
    thread.start()
    assert began.wait(30) and mine.held() is None
    go.set()
    thread.join(30)
    held = mine.held()
    assert held and held.value == "new-1"


def test_who_leaves_waits_for_a_renewal_that_has_begun(machine: Machine) -> None:
    mine, thread, began, go = renewing(machine)
    settled: list[bool] = []

    def leave() -> None:
        mine.settle(30)
        settled.append(go.is_set())

    leaving = threading.Thread(target=leave)
    thread.start()
    assert began.wait(30)
    leaving.start()
    leaving.join(0.1)
    assert leaving.is_alive(), "it leaves in the middle"
    go.set()
    leaving.join(30)
    thread.join(30)
    assert settled == [True]


def test_and_not_for_ever(machine: Machine) -> None:
    mine, thread, began, go = renewing(machine)
    thread.start()
    assert began.wait(30)
    mine.settle(0.05)
    assert not go.is_set() and thread.is_alive()
    go.set()
    thread.join(30)


def test_settling_when_there_is_nothing_to_settle_leaves_no_lock_behind(machine: Machine) -> None:
    logged_in(machine)
    mine = credentials(machine)
    mine.settle(0)
    mine.settle(0)
    assert mine.token().value == "old"
    mine.settle(0)
    assert mine.token().value == "old"


def test_those_of_a_command_are_those_that_it_was_asked_for(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost={HOST}\ntoken=dev\n[PROD]\nhost={OTHER}\ntoken=prod\n")
    for flags, value, host in ((Flags(profile="PROD"), "prod", OTHER), (Flags(profile="DEV"), "dev", HOST)):
        mine = Credentials.of(flags, machine.world._replace(http=never))
        assert (mine.host, mine.token().value) == (host, value)
    mine = Credentials.of(Flags(host=HOST, account_id="an-account"), machine.world)
    assert mine in credentials_module._all and mine._flags.account_id == "an-account"


# ---- token_provider --------------------------------------------------------------------------------------------------


def test_a_token_provider_gives_a_fresh_token_each_time(machine: Machine) -> None:
    clock = logged_in(machine)
    provide = token_provider(credentials(machine, FarSide({TOKEN: given()})))
    assert (provide(), provide()) == ("old", "old")
    clock.now += 3600
    assert provide() == "new-1"


def test_a_token_provider_of_a_cli_login_gives_that_login(machine: Machine) -> None:
    machine.clock = lambda: NOW
    machine.cached_login(HOST, expiry=format_expiry(NOW + 3000))
    assert token_provider(credentials(machine, host=HOST))() == "cached"
