"""What a store says word for word, what it asks of others, and in whose room it writes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import Clock

from dbx_auth import files, store, vault
from dbx_auth.errors import AuthError, ConfigError, Temporary
from dbx_auth.lock import Lock
from dbx_auth.store import PLAINTEXT, AuthJson, CliCache, CliSlot, Grant, OwnSlot, cli_key, storage_mode
from dbx_auth.world import World

ACCOUNTS = "https://accounts.cloud.databricks.com"
OAUTH = {
    "type": "oauth",
    "access": "at-1",
    "refresh": "rt-1",
    "expires": 1_900_000_000_000,
    "host": HOST,
    "client_id": "databricks-cli",
}
API = {"type": "api", "key": "dapi-1", "host": OTHER}
FRESH = Grant(HOST, "at-2", "rt-2", 2_000_000_000.25)
SPENT = Grant(HOST, "at-1", "rt-1", 1_900_000_000.0)


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that somebody has begun to replace, each as often as that was begun."""
    made: list[str] = []
    real = files.draft

    def draft(path: str) -> Any:
        made.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(files, "draft", draft)
    return made


class Keyring:
    """Stands for `vault`, asked in one world alone; `fails` says which calls fail and how."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held: dict[str, dict[str, Any]] = {}
        self.fails: dict[str, AuthError] = {}

    def _asked(self, name: str, world: World) -> None:
        assert world is self.world, "another world has another environment, and another clock"
        if name in self.fails:
            raise self.fails[name]

    def get(self, account: str, world: World) -> dict[str, Any] | None:
        self._asked("get", world)
        return self.held.get(account)

    def put(self, account: str, fields: Mapping[str, Any], world: World) -> None:
        self._asked("put", world)
        self.held[account] = dict(fields)

    def remove(self, account: str, world: World) -> bool:
        self._asked("remove", world)
        return self.held.pop(account, None) is not None

    def probe(self, world: World, size: int = 0) -> None:
        self._asked("probe", world)


@pytest.fixture
def file(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuthJson:
    monkeypatch.setattr(World, "runtime_dir", property(lambda world: str(tmp_path / "run")))
    return AuthJson(machine.world)


@pytest.fixture
def keyring(machine: Machine, file: AuthJson, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """A keyring in which logins of `file` are to be kept."""
    double = Keyring(file.world)
    for name in ("get", "put", "remove", "probe"):
        monkeypatch.setattr(vault, name, getattr(double, name))
    wants(machine, "keyring")
    return double


def wants(machine: Machine, storage: str) -> None:
    machine.write(Path(machine.world.config_dir) / "config.toml", f'storage = "{storage}"\n')


# ---- a file that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\n\xff\n\n", "not UTF-8 text: line 2"),
        (b'{\n"a": "\xff",\n"b": 1\n}\n', "not UTF-8 text: line 2"),
        (b'{"a":\n}', "not JSON: line 2: Expecting value"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON that we can hold"),
        (b"[" * 100_000, "not JSON that we can hold"),
        (b"[]", "not a JSON object"),
        (b'{"version": 1, "tokens": []}', "its tokens are not an object"),
        (b'{"version": 2, "tokens": {}}', "it needs version 1, and is version 2"),
        (b'{"version": "2", "tokens": {}}', "it needs version 1, and is version something else"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_word_for_word(machine: Machine, content: bytes, why: str) -> None:
    machine.write(machine.cli_cache, content)
    with pytest.raises(ConfigError) as caught:
        CliCache(machine.world).read()
    assert str(caught.value) == f"~/.databricks/token-cache.json cannot be used, and was left as it is: {why}"
    assert caught.value.hint == "correct it, or move it aside: dbx-auth doctor --fix"


# ---- locks -----------------------------------------------------------------------------------------------------------


def test_a_directory_that_our_group_may_write_to_is_where_the_file_is_and_its_lock_with_it(
    machine: Machine, file: AuthJson
) -> None:
    machine.write(machine.auth_json, {})
    machine.auth_json.parent.chmod(0o775)
    with file.locked():
        assert sorted(os.listdir(machine.auth_json.parent)) == ["auth.json", "auth.json.lock"]


def test_a_login_that_has_just_gone_has_room_all_the_same(file: AuthJson) -> None:
    slot = OwnSlot(file, Grant(HOST))
    with slot.joined(0.0) as held, slot.room() as room:
        assert held is None and room is not None


def test_room_for_a_renewed_grant_is_waited_for_ten_seconds(machine: Machine) -> None:
    clock = Clock()
    machine.write(machine.auth_json, {"databricks": OAUTH})
    slot = OwnSlot(AuthJson(clock.into(machine.world)), Grant(HOST))
    with Lock(World({}, "/nonexistent"), "it", [f"{machine.auth_json}.lock"], among=True).held():
        with pytest.raises(Temporary, match="for 10 s$"), slot.room():
            pytest.fail("what could not be written must not be asked for")
    assert clock.passed == pytest.approx(10)


# ---- in the room that was made ---------------------------------------------------------------------------------------


def test_a_renewed_grant_is_written_into_the_room_that_was_made_for_it(
    machine: Machine, file: AuthJson, drafts: list[str]
) -> None:
    """On a full disk there is no other."""
    machine.write(machine.auth_json, {"databricks": OAUTH})
    slot = OwnSlot(file, Grant(HOST))
    with slot.room() as room:
        slot.write(SPENT, FRESH, room)
    assert file.read()["databricks"]["access"] == "at-2" and drafts == ["auth.json"]


def test_one_in_the_cli_s_cache_is_so_too_and_what_must_be_written_again_makes_its_own(
    machine: Machine, drafts: list[str]
) -> None:
    machine.cached_login(HOST, refresh_token="rt-1")
    before = machine.cli_cache.read_bytes()
    clock = Clock()
    slot = CliSlot(CliCache(clock.into(machine.world)), HOST, Grant(HOST))
    with slot.room() as room:
        slot.write(SPENT, FRESH, room)
    assert slot.read() == FRESH and drafts == ["token-cache.json"]

    machine.cli_cache.write_bytes(before)
    clock.asleep = lambda: machine.cli_cache.write_bytes(before) if len(clock.sleeps) == 2 else None
    with slot.room() as room:
        slot.write(SPENT, FRESH, room)
    assert slot.read() == FRESH and drafts == ["token-cache.json"] * 3


@pytest.mark.parametrize("there", ["keyring", "file"])
def test_logins_that_move_are_written_into_the_room_that_was_made_for_them(
    file: AuthJson, keyring: Keyring, machine: Machine, drafts: list[str], there: str
) -> None:
    wants(machine, "file" if there == "keyring" else "keyring")
    file.login(OAUTH)
    drafts.clear()
    assert file.keep_in(there) == [HOST] and drafts == ["auth.json"]


def test_what_goes_to_the_file_beside_a_keyring_goes_into_the_room_that_was_made(
    file: AuthJson, keyring: Keyring, drafts: list[str]
) -> None:
    file.login(OAUTH)
    drafts.clear()
    entry = file.find(HOST, "oauth")
    assert entry
    with file.locked(), file.room() as room:
        file.put(entry, {"access": "at-2", "account_id": "acc"}, room)
    assert file.read()["databricks"]["account_id"] == "acc" and drafts == ["auth.json"]


# ---- in a keyring ----------------------------------------------------------------------------------------------------


def test_a_login_has_the_same_name_in_the_keyring_for_ever(machine: Machine, file: AuthJson, keyring: Keyring) -> None:
    """Under another one, the next version of this program would not find it."""
    file.login(OAUTH)
    folder = hashlib.sha256(str(machine.auth_json.parent).encode()).hexdigest()
    assert list(keyring.held) == [f"{HOST} oauth {folder[:8]}"]


def test_what_a_slow_keyring_may_have_kept_is_told(
    machine: Machine, file: AuthJson, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants(machine, "file")
    file.login(OAUTH)
    keyring.fails["put"] = Temporary("slow", hint="h")
    told: list[str] = []
    monkeypatch.setattr(file, "world", file.world._replace(warn=told.append))
    keyring.world = file.world
    with pytest.raises(Temporary, match="slow"):
        file.keep_in("keyring")
    assert told == ["the keyring may hold copies of your logins; set it again when it answers"]


@pytest.mark.parametrize("before", [OAUTH, None])
def test_the_keyring_is_asked_in_the_world_of_the_file(
    machine: Machine, file: AuthJson, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, before: dict[str, Any] | None
) -> None:
    file.rehearse()
    if before:
        file.login(before)
    held = dict(keyring.held)

    def full(*args: object) -> None:
        raise ConfigError("no space left", hint="h")

    with monkeypatch.context() as patch:
        patch.setattr(AuthJson, "write", full)
        with pytest.raises(ConfigError, match="no space left"):
            file.login(OAUTH | {"access": "at-2", "account_id": "acc"})
    assert keyring.held == held, "and it is put right there"

    file.login(OAUTH)
    slot = OwnSlot(file, Grant(HOST))
    with slot.joined(1.0), slot.room() as room:
        slot.write(SPENT, FRESH, room)
    assert file.keep_in("file") == [HOST] and keyring.held == {}
    assert file.keep_in("keyring") == [HOST] and len(keyring.held) == 1
    assert file.forget() == [HOST] and keyring.held == {}


@pytest.mark.parametrize("failure", [ConfigError("locked", hint="h"), Temporary("slow", hint="h")])
def test_a_keyring_that_does_not_even_forget_is_no_reason_to_tell_another_error(
    machine: Machine, file: AuthJson, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, failure: AuthError
) -> None:
    wants(machine, "file")
    file.login(OAUTH)
    before = machine.files()

    def full(*args: object) -> None:
        raise ConfigError("no space left", hint="h")

    monkeypatch.setattr(AuthJson, "write", full)
    keyring.fails["remove"] = failure
    with pytest.raises(ConfigError, match="no space left"):
        file.keep_in("keyring")
    assert machine.files() == before


# ---- for whom a login is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted", "fits"),
    [
        ({}, {}, True),
        ({"account_id": "a"}, {}, True),
        ({}, {"account_id": "a"}, True),
        ({"account_id": "a"}, {"account_id": "a"}, True),
        ({"account_id": "a"}, {"account_id": "b"}, False),
        ({"scopes": ["sql", "all-apis"]}, {}, True),
        ({"scopes": ["sql", "all-apis"]}, {"scopes": ("all-apis", "sql")}, True),
        ({"scopes": "sql all-apis"}, {"scopes": ("all-apis", "sql")}, True),
        ({"scopes": ["sql", "all-apis"]}, {"scopes": ("sql",)}, False),
        ({"scopes": ["sql"]}, {"scopes": ("all-apis", "sql")}, False),
        ({}, {"scopes": ("sql",)}, False),
        ({"group_id": "7"}, {"group_id": "7"}, True),
        ({"group_id": "7"}, {"group_id": "8"}, False),
        ({"group_id": "7"}, {}, False),
        ({}, {"group_id": "7"}, False),
    ],
)
def test_a_login_serves_the_account_the_scopes_and_the_role_that_are_wanted(
    machine: Machine, file: AuthJson, said: dict[str, Any], wanted: dict[str, Any], fits: bool
) -> None:
    machine.write(machine.auth_json, {"databricks": OAUTH | said})
    found = OwnSlot(file, Grant(HOST, **wanted)).read()
    assert (found is not None) is fits


def test_all_that_a_grant_says_is_kept_and_read_again(machine: Machine, file: AuthJson) -> None:
    machine.write(machine.auth_json, {"databricks": OAUTH | {"group_id": "7", "note": "mine"}})
    wanted = Grant(HOST, group_id="7", discovery_url="https://doc")
    said = replace(
        FRESH, client_id="my-app", account_id="acc", scopes=("sql",), group_id="7", authority="https://tenant"
    )
    OwnSlot(file, wanted).write(SPENT, said)
    assert OwnSlot(file, wanted).read() == replace(said, discovery_url="https://doc")
    assert json.loads(machine.auth_json.read_text()) == {
        "databricks": {
            "type": "oauth",
            "access": "at-2",
            "refresh": "rt-2",
            "expires": 2_000_000_000_250,
            "host": HOST,
            "client_id": "my-app",
            "account_id": "acc",
            "scopes": ["sql"],
            "group_id": "7",
            "authority": "https://tenant",
            "note": "mine",
        }
    }


# ---- the Databricks CLI's --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "account_id", "key"),
    [
        (HOST, "", HOST),
        (HOST, "acc", HOST),
        (ACCOUNTS, "", ACCOUNTS),
        (ACCOUNTS, "acc", f"{ACCOUNTS}/oidc/accounts/acc"),
    ],
)
def test_the_cli_keeps_a_login_for_an_account_under_the_account(host: str, account_id: str, key: str) -> None:
    assert cli_key(host, account_id) == key


def test_what_the_cli_reads_again_is_what_it_would_have_written(machine: Machine) -> None:
    machine.cached_login(HOST, refresh_token="rt-1", token_type="old", expiry="2020-01-01T00:00:00Z")
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(SPENT, FRESH)
    entry = json.loads(machine.cli_cache.read_text())["tokens"][HOST]
    assert {name: entry[name] for name in ("access_token", "token_type", "refresh_token")} == {
        "access_token": "at-2",
        "token_type": "Bearer",
        "refresh_token": "rt-2",
    }


def test_who_is_written_over_again_and_again_is_told_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.cached_login(HOST, refresh_token="rt-1")
    before = machine.cli_cache.read_bytes()
    clock = Clock(asleep=lambda: machine.cli_cache.write_bytes(before))
    with pytest.raises(Temporary) as caught:
        CliSlot(CliCache(clock.into(machine.world)), HOST, Grant(HOST)).write(SPENT, FRESH)
    origin = f"~/.databricks/token-cache.json [{HOST}]"
    assert str(caught.value) == f"another program writes over {origin} again and again"
    assert caught.value.hint == "end it, and log in"
    assert clock.sleeps == list(store.WRITTEN_OVER)


@pytest.mark.parametrize(
    ("env", "settings", "mode"),
    [
        ({}, None, ""),
        ({}, {}, ""),
        ({}, {"auth_storage": ""}, ""),
        ({}, {"auth_storage": " Secure "}, "secure"),
        ({}, {"auth_storage": "plaintext"}, "plaintext"),
        ({"DATABRICKS_AUTH_STORAGE": " PLAINTEXT\t"}, {"auth_storage": "secure"}, "plaintext"),
        ({"DATABRICKS_AUTH_STORAGE": "secure"}, {"auth_storage": "plaintext"}, "secure"),
        ({"DATABRICKS_AUTH_STORAGE": " "}, {"auth_storage": "secure"}, "secure"),
    ],
)
def test_the_environment_says_where_the_cli_keeps_logins_and_then_the_file(
    machine: Machine, env: dict[str, str], settings: dict[str, str] | None, mode: str
) -> None:
    machine.env.update(env)
    sections = {"DEFAULT": {"auth_storage": "nonsense"}} | ({} if settings is None else {"__settings__": settings})
    assert storage_mode(machine.world, sections) == mode
    text = "".join(f"[{name}]\n{key} = {value}\n" for name, keys in sections.items() for key, value in keys.items())
    machine.write(machine.config, text)
    assert storage_mode(machine.world) == mode


@pytest.mark.parametrize("said", ["XXXX", "keyring"])
def test_any_other_word_is_refused_with_the_place_that_says_it(machine: Machine, said: str) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = said
    for origin in ("DATABRICKS_AUTH_STORAGE", "auth_storage in [__settings__] of ~/.databrickscfg"):
        with pytest.raises(ConfigError) as caught:
            storage_mode(machine.world)
        expected = f"{origin}: unknown storage mode {said.lower()!r}, want plaintext or secure"
        assert (str(caught.value), caught.value.hint) == (expected, PLAINTEXT)
        machine.env.clear()
        machine.write(machine.config, f"[__settings__]\nauth_storage = {said}\n")


def test_a_profile_file_that_cannot_be_read_is_noted_and_says_nothing(machine: Machine) -> None:
    notes: list[str] = []
    machine.write(machine.config, "nonsense")
    assert storage_mode(machine.world._replace(note=notes.append)) == ""
    (note,) = notes
    assert note.startswith("auth_storage: ~/.databrickscfg")
