"""Logins in a real keyring that is open, locked, slow, hung or gone: none is lost, and none ends up in a file."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("asks a Secret Service", allow_module_level=True)
from hard.flight import (
    FILES,
    Flight,
    Held,
    OwnFile,
    Store,
    changed,
    flying,
    holds_text,
    lives,
    logged_in,
    named,
    numbered,
    with_runtime_dir,
)
from hard.hostile import TOKEN, Hostile
from machine import OTHER, Machine, Result
from oidc_provider.fixture import OidcProvider, installed
from secret_service import SecretService, secret_service, session_bus

from dbx_auth.tokens import format_expiry

__all__ = ["secret_service", "session_bus"]
pytestmark = pytest.mark.real

LIMIT = 3.0
"""Seconds that a keyring may take for an answer."""


class Desk:
    """A machine with a keyring. What a program of it may write to is in `folders`."""

    def __init__(self, machine: Machine, keyring: SecretService, folder: Path) -> None:
        self.machine = machine
        self.keyring = keyring
        self.run = folder / "run"
        self.tmp = folder / "tmp"
        self.folders = (machine.home, self.run, self.tmp, keyring.folder)
        for made in (self.run, self.tmp):
            made.mkdir(mode=0o700, exist_ok=True)
        machine.env.update(keyring.env, TMPDIR=str(self.tmp))

    def program(self, *changes: str) -> str:
        """`dbx-auth` whose locks for keyrings are here."""
        return changed(with_runtime_dir(self.run), *changes)

    def flying(self, *argv: str, changes: str = "", **env: str) -> Any:
        return flying(self.machine, *argv, program=self.program(changes), **env)

    def ask(self, *argv: str, changes: str = "", **env: str) -> tuple[Result, float]:
        """What a process says, and the seconds that it takes."""
        with self.flying(*argv, changes=changes, **env) as flight:
            return flight.ended(), flight.took()

    def find(self, *secrets: str) -> list[Path]:
        """The files in which one of these stands for everybody to read."""
        return [path for folder in self.folders for secret in SECRETS for path in holds_text(folder, secret)]

    def go_on(self) -> None:
        """Let a keyring that had stopped answer again."""
        self.keyring.answer_again()


@pytest.fixture
def desk(machine: Machine, secret_service: SecretService, tmp_path: Path) -> Desk:
    return Desk(machine, secret_service, tmp_path)


class Item(Store):
    """A login in the keyring."""

    service: str
    argv: tuple[str, ...] = ("token",)

    def __init__(self, desk: Desk, host: str) -> None:
        super().__init__(desk.machine, host)
        self.desk = desk
        self.env = {"DATABRICKS_HOST": host}

    def ask(self, **how: str) -> tuple[Result, float]:
        return self.desk.ask(*self.argv, **how, **self.env)

    def flying(self, **how: str) -> Any:
        return self.desk.flying(*self.argv, **how, **self.env)

    def log_out(self) -> Result:
        raise NotImplementedError


class OwnItem(Item):
    """Ours, which was moved there: the entry says that its secrets are in the keyring, and nothing of them."""

    name = "our item"
    service = "dbx-auth"

    @property
    def folder(self) -> Path:
        return self.machine.auth_json.parent / "refresh"

    def put(self, access: str, refresh: str, life: float = -3600.0) -> Held:
        held = OwnFile(self.machine, self.host).put(access, refresh, life)
        moved, _ = self.desk.ask("config", "set", "storage", "keyring", changes=PATIENT)
        assert moved.code == 0, moved.err
        return held

    def held(self) -> Held | None:
        items = self.desk.keyring.items(service=self.service)
        found = [json.loads(item.secret) for item in items if self.host in item.attributes["username"]]
        return Held(found[0]["access"], found[0]["refresh"]) if found else None

    def log_out(self) -> Result:
        return self.desk.ask("logout", self.host)[0]


class CliItem(Item):
    """The Databricks CLI's, under the name of a profile."""

    name = "the CLI's item"
    service = "databricks-cli"
    argv = ("-p", "DEV", "token")

    def __init__(self, desk: Desk, host: str) -> None:
        super().__init__(desk, host)
        self.env = {"DATABRICKS_AUTH_STORAGE": "secure"}

    @property
    def folder(self) -> Path:
        return self.machine.cli_cache.parent / ".dbx-auth"

    def put(self, access: str, refresh: str, life: float = -3600.0) -> Held:
        self.machine.write(self.machine.config, f"[DEV]\nhost = {self.host}\nauth_type = databricks-cli\n")
        token = {"access_token": access, "token_type": "Bearer", "refresh_token": refresh}
        token["expiry"] = format_expiry(time.time() + life)
        self.desk.keyring.add(json.dumps({"token": token}), service=self.service, username="DEV")
        return Held(access, refresh)

    def held(self) -> Held | None:
        items = self.desk.keyring.items(service=self.service, username="DEV")
        found = json.loads(items[0].secret)["token"] if items else None
        return Held(found["access_token"], found["refresh_token"]) if found else None

    def log_out(self) -> Result:
        return self.desk.ask("logout", "--share", "-p", "DEV", **self.env)[0]


ITEMS: tuple[type[Item], ...] = (OwnItem, CliItem)


@pytest.fixture
def slow() -> Iterator[OidcProvider]:
    if not installed():
        pytest.skip("npm ci in tests/oidc_provider")
    with OidcProvider(delay_after_ms=300) as provider:
        yield provider


# ---- open ------------------------------------------------------------------------------------------------------------

PATIENT = "from dbx_auth import keyrings\nkeyrings.LIMIT = 60.0\n"
"""Many processes on few cores, and a keyring that answers one after the other: 3 s are over before it is their turn."""

WITHOUT_THE_LOCK = "import fcntl\nfcntl.flock = lambda file, operation: None"


def storm(items: Sequence[Item], count: int, changes: str = "") -> list[Result]:
    with ExitStack() as stack:
        started = [item.flying(changes=PATIENT + changes) for _ in range(count) for item in items]
        flights: list[Flight] = [stack.enter_context(each) for each in started]
        return [flight.ended(within=100) for flight in flights]


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_twenty_processes_with_one_expired_login_make_one_refresh(
    desk: Desk, slow: OidcProvider, item: type[Item]
) -> None:
    login = item(desk, slow.url)
    before = logged_in(login, slow)
    said = storm([login], 20)
    assert [each for each in said if each.code != 0] == []
    (token,) = {each.out.strip() for each in said}
    assert slow.me(token) == 200 and slow.grants()["refresh"] == 1
    held = login.held()
    assert held and held.access == token and held.refresh != before.refresh
    assert desk.find(token, held.refresh, before.refresh) == []
    assert lives(slow, held)


def test_without_the_lock_a_smaller_storm_ends_the_session(desk: Desk, slow: OidcProvider) -> None:
    login = OwnItem(desk, slow.url)
    logged_in(login, slow)
    storm([login], 5, WITHOUT_THE_LOCK)
    assert slow.grants()["refresh"] > 1 and not lives(slow, login.held())


def two_homes(desk: Desk, folder: Path, host: str, capsys: pytest.CaptureFixture[str]) -> list[CliItem]:
    """The CLI's login as two homes see it; the keyring is one. (Ours has a name of its own for each of them.)"""
    home = folder / "another"
    home.mkdir()
    another = Desk(Machine(home, capsys), desk.keyring, folder)
    return [CliItem(each, host) for each in (desk, another)]


def test_a_keyring_that_serves_two_homes_is_refreshed_once(
    desk: Desk, slow: OidcProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a container that has the session bus of its host; the files beside which locks are have no part in it."""
    homes = two_homes(desk, tmp_path, slow.url, capsys)
    login = slow.login()
    for each in homes:
        each.put("long gone", login["refresh_token"])
    said = storm(homes, 3)
    assert [each.code for each in said] == [0] * 6, said
    assert len({each.out for each in said}) == 1 and slow.grants()["refresh"] == 1
    assert lives(slow, homes[0].held())


def test_locks_beside_the_files_would_not_do(
    desk: Desk, slow: OidcProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control of the test above."""
    homes = two_homes(desk, tmp_path, slow.url, capsys)
    login = slow.login()
    for each in homes:
        each.put("long gone", login["refresh_token"])
        each.desk.run = each.machine.home / "run"
        each.desk.run.mkdir(mode=0o700)
    storm(homes, 1)
    assert slow.grants()["refresh"] > 1


# ---- locked, hung, gone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_a_keyring_that_is_locked_is_told_at_once(desk: Desk, item: type[Item]) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        login = item(desk, server.url)
        before = login.put("ended", "spendable")
        desk.keyring.lock()
        files = desk.machine.files()
        result, took = login.ask()
        assert (result.code, result.out, server.posts) == (5, "", []), result
        assert "the keyring is locked" in result.err and took < LIMIT
        assert desk.machine.files() == files and desk.find(*before) == []


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_a_keyring_that_hangs_is_left_behind(desk: Desk, item: type[Item]) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        login = item(desk, server.url)
        login.put("serves", "spendable", 3000)
        undisturbed = login.ask()[1]
        before = login.put("ended", "spendable")
        files = desk.machine.files()
        desk.keyring.stop_answering()
        result, took = login.ask()
        assert (result.code, result.out, server.posts) == (6, "", []), result
        assert took < undisturbed + LIMIT + 0.5, "of its own work"
        assert "3 s" in result.err and "Traceback" not in result.err
        assert desk.machine.files() == files and desk.find(*before) == []


def test_without_the_limit_it_is_waited_for(desk: Desk) -> None:
    """The negative control of the test above."""
    login = OwnItem(desk, OTHER)
    login.put("serves", "spendable", 3000)
    desk.keyring.stop_answering()
    result, took = login.ask(changes="from dbx_auth import keyrings\nkeyrings.LIMIT = 4.0")
    assert result.code == 6 and took > 4


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_a_keyring_that_is_gone_is_not_replaced_by_a_file(desk: Desk, item: type[Item]) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        login = item(desk, server.url)
        login.put("ended", "spendable")
        files = desk.machine.files()
        for name in desk.keyring.env:
            del desk.machine.env[name]
        result, _ = login.ask()
        assert (result.code, result.out, server.posts) == (5, "", []), result
        assert "hint: " in result.err and desk.machine.files() == files


def hang_before_the_answer(login: Item, oidc: OidcProvider) -> tuple[Held, Result]:
    """A keyring that hangs once the server has rotated: when the new token comes, there is nobody to keep it."""
    before = logged_in(login, oidc)
    committed = oidc.grants()["refresh_ok"]
    with login.flying() as flight:
        flight.until("a rotation", lambda: oidc.grants()["refresh_ok"] > committed)
        login.desk.keyring.stop_answering()
        return before, flight.ended()


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_a_keyring_that_hangs_when_the_new_token_comes_costs_nobody_the_login(
    desk: Desk, slow: OidcProvider, item: type[Item]
) -> None:
    """It may keep it later, it may not; whoever comes next finds a session that lives, and does not refresh again."""
    login = item(desk, slow.url)
    before, result = hang_before_the_answer(login, slow)
    token = result.out.strip()
    assert result.code == 0 and slow.me(token) == 200, result
    assert "warning: " in result.err and desk.find(before.refresh) == []
    aside = desk.find(token)
    desk.go_on()
    again, _ = login.ask()
    assert (again.code, again.out.strip(), slow.grants()["refresh"]) == (0, token, 1), again
    held = login.held()
    assert held and held.access == token
    assert desk.find(*held) == [], "what waited in a file is gone from it"
    assert lives(slow, held)

    for path in aside:  # the only time that something of a keyring is in a file, and it is said
        assert str(path) in result.err or desk.machine.world.shorten(str(path)) in result.err, result.err


# ---- from the file to the keyring and back ---------------------------------------------------------------------------

HOSTS = [f"https://w{number}.cloud.databricks.com" for number in range(4)]


SECRETS = ["access-0", "refresh-0", "dapi-key-1", "client-secret-2", "access-3", "refresh-3"]


def keep_several(machine: Machine) -> bytes:
    """A login of each kind in auth.json; what that holds."""
    ends = round((time.time() + 3000) * 1000)
    entries: dict[str, dict[str, Any]] = {
        "databricks": {"type": "oauth", "access": "access-0", "refresh": "refresh-0", "expires": ends},
        "databricks:1": {"type": "api", "key": "dapi-key-1"},
        "databricks:2": {"type": "m2m", "client_id": "id-2", "client_secret": "client-secret-2"},
        "databricks:3": {"type": "oauth", "access": "access-3", "refresh": "refresh-3", "expires": ends, "mine": 1},
    }
    hosts = {key: {**entry, "host": host} for (key, entry), host in zip(entries.items(), HOSTS, strict=True)}
    return machine.write(
        machine.auth_json, {**hosts, "another": {"type": "api", "key": "of-another-tool"}}
    ).read_bytes()


def works(desk: Desk) -> None:
    """Every login that needs no network still logs in."""
    for number, token in {0: "access-0", 1: "dapi-key-1", 3: "access-3"}.items():
        result, _ = desk.ask("token", "--no-refresh", HOSTS[number])
        assert (result.code, result.out) == (0, f"{token}\n"), result


def test_all_secrets_go_into_the_keyring_and_all_come_back(desk: Desk) -> None:
    keep_several(desk.machine)
    before = json.loads(desk.machine.auth_json.read_text())
    assert all(desk.find(secret) for secret in SECRETS), "the control: they are there to be found"
    assert desk.ask("config", "set", "storage", "keyring", changes=PATIENT)[0].code == 0
    assert desk.find(*SECRETS) == []
    kept = "".join(item.secret.decode() for item in desk.keyring.items(service="dbx-auth"))
    assert [secret for secret in SECRETS if secret not in kept] == []
    works(desk)
    assert desk.find(*SECRETS) == [], "and to use one puts it nowhere else"

    assert desk.ask("config", "set", "storage", "file")[0].code == 0
    assert json.loads(desk.machine.auth_json.read_text()) == before
    assert desk.keyring.items(service="dbx-auth") == []
    works(desk)


FAILS = """
import os, signal
from keyring.backends.SecretService import Keyring
calls = []
def failing(real):
    def call(self, service, *rest):
        if service == "dbx-auth":
            calls.append(service)
            if len(calls) == {at}:
                os.kill({pid}, signal.{kind})
        return real(self, service, *rest)
    return call
Keyring.{operation} = failing(Keyring.{operation})
"""
"""A keyring that fails just before it is asked for the so manieth time."""


def failing(desk: Desk, operation: str, at: int, kind: str) -> str:
    pid = desk.keyring._processes[-1].pid
    return FAILS.format(pid=pid, at=at, operation=operation, kind=kind)


def check_nothing_moved(desk: Desk, before: bytes, result: Result) -> None:
    assert result.code in (5, 6) and result.out == "" and "Traceback" not in result.err, result
    assert not any(secret in result.err for secret in SECRETS)
    assert desk.machine.auth_json.read_bytes() == before
    assert desk.ask("config", "get", "storage")[0].out in ("", "file\n")
    works(desk)


def test_a_keyring_that_dies_on_the_way_there_loses_nothing(desk: Desk) -> None:
    before = keep_several(desk.machine)
    result, _ = desk.ask("config", "set", "storage", "keyring", changes=failing(desk, "set_password", 2, "SIGKILL"))
    check_nothing_moved(desk, before, result)


def test_a_keyring_that_hangs_on_the_way_there_loses_nothing_and_can_be_filled_later(desk: Desk) -> None:
    before = keep_several(desk.machine)
    result, took = desk.ask("config", "set", "storage", "keyring", changes=failing(desk, "set_password", 3, "SIGSTOP"))
    check_nothing_moved(desk, before, result)
    desk.go_on()
    assert result.code == 6 and took < 3 * LIMIT, "it is not waited for once for each login"
    assert "the keyring may hold copies of your logins; set it again when it answers" in result.err
    assert desk.ask("config", "set", "storage", "keyring", changes=PATIENT)[0].code == 0
    assert desk.ask("logout", "--all")[0].code == 0
    left = "".join(item.secret.decode() for item in desk.keyring.items(service="dbx-auth"))
    assert [secret for secret in SECRETS if secret in left] == []


@pytest.mark.parametrize(("operation", "at"), [("get_password", 2), ("delete_password", len(HOSTS))])
def test_a_keyring_that_fails_on_the_way_back_loses_nothing(desk: Desk, operation: str, at: int) -> None:
    keep_several(desk.machine)
    assert desk.ask("config", "set", "storage", "keyring", changes=PATIENT)[0].code == 0
    before = desk.machine.auth_json.read_bytes()
    result, _ = desk.ask("config", "set", "storage", "file", changes=failing(desk, operation, at, "SIGSTOP"))
    desk.go_on()
    assert result.out == "" and "Traceback" not in result.err
    assert not any(secret in result.err for secret in SECRETS)
    if operation == "get_password":
        assert result.code == 6 and desk.machine.auth_json.read_bytes() == before and desk.find(*SECRETS) == []
    else:
        assert result.code == 0 and re.search("warning: the keyring (may )?still holds? the login for ", result.err)
    works(desk)


HASTY = """
from dbx_auth.store import AuthJson
real = AuthJson.keep_in
def keep_in(self, storage):
    data = self.read()
    for entry in data.values():
        if entry.get("host"):
            for name in ("access", "refresh", "expires", "key", "client_secret"):
                entry.pop(name, None)
            entry["storage"] = "keyring"
    done = real
    from dbx_auth import vault
    entries = self.entries()
    self.write(data)
    for entry in entries:
        vault.put(entry.host, {k: v for k, v in entry.fields.items() if k in ("access", "refresh", "key")}, self.world)
    return []
AuthJson.keep_in = keep_in
"""
"""A move that takes the secrets out of the file before the keyring has them."""


def test_a_move_in_the_other_order_loses_what_the_keyring_did_not_take(desk: Desk) -> None:
    """The negative control of the tests above."""
    keep_several(desk.machine)
    hasty = HASTY + failing(desk, "set_password", 3, "SIGSTOP")
    assert desk.ask("config", "set", "storage", "keyring", changes=hasty)[0].code != 0
    desk.go_on()
    assert desk.ask("token", "--no-refresh", HOSTS[3])[0].code != 0


@pytest.mark.parametrize("to", ["keyring", "file"])
def test_a_move_while_a_refresh_is_in_flight_loses_nothing(desk: Desk, slow: OidcProvider, to: str) -> None:
    login = OwnFile(desk.machine, slow.url) if to == "keyring" else OwnItem(desk, slow.url)
    if to == "file":
        assert desk.ask("config", "set", "storage", "keyring", changes=PATIENT)[0].code == 0
    before = logged_in(login, slow)
    with desk.flying("token", DATABRICKS_HOST=slow.url) as flight:
        flight.until("a rotation", lambda: slow.grants()["refresh_ok"])
        moved, _ = desk.ask("config", "set", "storage", to)
        assert moved.code == 0, moved.err
        result = flight.ended()
    assert result.code == 0 and slow.me(result.out.strip()) == 200, result
    now = OwnItem(desk, slow.url) if to == "keyring" else OwnFile(desk.machine, slow.url)
    held = now.held()
    assert held and held.refresh != before.refresh and held.access == result.out.strip()
    if to == "keyring":
        assert desk.find(*held, before.refresh) == []
    else:
        assert desk.keyring.items(service="dbx-auth") == []
    assert lives(slow, held)


def test_logins_of_two_data_directories_for_one_host_are_two(desk: Desk) -> None:
    """To hand out somebody else's token is worse than none, and to log out of one is not to log out of the other."""
    seats = {name: {"DBX_AUTH_DATA_DIR": str(desk.machine.home / name)} for name in ("alice", "bob")}
    ends = round((time.time() + 3000) * 1000)
    for name, env in seats.items():
        entry = {"type": "oauth", "access": name, "refresh": f"of-{name}", "expires": ends, "host": OTHER}
        desk.machine.write(Path(env["DBX_AUTH_DATA_DIR"]) / "auth.json", {"databricks": entry})
    for env in seats.values():
        desk.ask("config", "set", "storage", "file", **env)
        assert desk.ask("config", "set", "storage", "keyring", **env)[0].code == 0
    assert [desk.ask("token", **env)[0].out for env in seats.values()] == ["alice\n", "bob\n"]
    assert desk.ask("logout", **seats["alice"])[0].code == 0
    assert desk.ask("token", **seats["bob"])[0].out == "bob\n"


# ---- logged out ------------------------------------------------------------------------------------------------------

WITHOUT_ROOM = """
from dbx_auth import store
from dbx_auth.errors import ConfigError
def write(self, *rest):
    raise ConfigError("there is no room", hint="make some")
store.OwnSlot.write = store.CliSlot.write = write
"""


def log_out(desk: Desk, login: Store) -> Result:
    if isinstance(login, Item):
        return login.log_out()
    return desk.ask("logout", *([] if isinstance(login, OwnFile) else ["--share"]), login.host)[0]


@pytest.mark.parametrize("place", [*FILES, *ITEMS], ids=named)
def test_of_a_login_that_is_over_no_byte_is_left(desk: Desk, place: Any) -> None:
    """Not in the store, and not where a refresh leaves what it could not write."""
    with Hostile({TOKEN: [numbered(1), numbered(2)]}) as server:
        login = place(desk, server.url) if issubclass(place, Item) else place(desk.machine, server.url)
        argv = getattr(login, "argv", ("token",))
        env = getattr(login, "env", {"DATABRICKS_HOST": server.url})
        login.put("ended", "refresh-0")
        assert desk.ask(*argv, **env)[0].out == "access-1\n"
        login.put("ended", "refresh-1")
        stranded, _ = desk.ask(*argv, changes=WITHOUT_ROOM, **env)
        assert stranded.out == "access-2\n" and "could not be kept" in stranded.err, stranded
        out = log_out(desk, login)
        assert out.code == 0, out.err
        assert login.held() is None
        assert desk.find("refresh-0", "refresh-1", "refresh-2", "access-1", "access-2") == []
        left = "".join(item.secret.decode() for item in desk.keyring.items())
        assert "refresh-" not in left and "access-" not in left


@pytest.mark.parametrize("item", ITEMS, ids=named)
def test_who_cannot_reach_the_keyring_is_not_told_that_he_is_logged_out(desk: Desk, item: type[Item]) -> None:
    login = item(desk, OTHER)
    before = login.put("serves", "spendable", 3000)
    desk.keyring.stop_answering()
    result = login.log_out()
    desk.go_on()
    assert result.code in (5, 6) and "hint: " in result.err, result
    assert "forgot the login for" not in result.err or login.held() is None
    assert login.held() in (None, before), "all or nothing"
    if login.held():
        assert login.ask()[0].out == "serves\n", "and it goes on"
