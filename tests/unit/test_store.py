"""Tokens at rest: nothing is lost, nothing is shown, and nobody else's entries are touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import Clock, is_locked

from dbx_auth import store, vault
from dbx_auth.errors import AuthError, ConfigError, Temporary
from dbx_auth.journal import Journal
from dbx_auth.lock import Lock
from dbx_auth.store import AuthJson, CliCache, CliSlot, Entry, Grant, JsonFile, OwnSlot, grant_fields
from dbx_auth.tokens import parse_expiry
from dbx_auth.world import World

API = {"type": "api", "key": "dapi-secret", "host": HOST}
OAUTH = {"type": "oauth", "access": "at-secret", "refresh": "rt-secret", "expires": 1_900_000_000_000, "host": HOST}
M2M = {"type": "m2m", "client_id": "id", "client_secret": "cs-secret", "host": HOST}
PROFILE = {"type": "profile", "profile": "DEV", "host": HOST}
STRANGERS = {
    "anthropic": {"type": "api", "key": "theirs"},
    "databricks-cli": {"type": "api", "key": "theirs", "host": HOST},
    "opencode": [1, 2.5, None, "\u00fc"],
    "databricks": None,
    "version": 7,
}


def kept(machine: Machine) -> Any:
    return json.loads(machine.auth_json.read_text())


def cached(machine: Machine) -> Any:
    return json.loads(machine.cli_cache.read_text())


def grant(access: str = "new-at", refresh: str = "new-rt", **more: Any) -> Grant:
    return Grant(**{"host": HOST, "access": access, "refresh": refresh, "expires_at": 2_000_000_000.25, **more})


# ---- auth.json: what an entry is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "profile", "account"),
    [
        (API, "", ""),
        (OAUTH | {"account_id": "acc"}, "", "acc"),
        (M2M, "", ""),
        (PROFILE, "DEV", ""),
        (API | {"profile": "DEV"}, "", ""),
        (PROFILE | {"profile": 7, "account_id": None}, "", ""),
    ],
)
def test_an_entry_of_each_kind_is_read(machine: Machine, fields: dict[str, Any], profile: str, account: str) -> None:
    machine.write(machine.auth_json, {"databricks": fields})
    entry = AuthJson(machine.world).default()
    assert entry and (entry.key, entry.type, entry.host) == ("databricks", fields["type"], HOST)
    assert (entry.profile, entry.account_id) == (profile, account)
    assert entry.fields == fields


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("databricks", None),
        ("databricks", []),
        ("databricks", "text"),
        ("databricks", {}),
        ("databricks", {"type": "api", "key": "k"}),
        ("databricks", {"type": "api", "key": "k", "host": 7}),
        ("databricks", {"type": "api", "key": "k", "host": ""}),
        ("databricks", {"type": "api", "key": "k", "host": "http://dev.cloud.databricks.com"}),
        ("databricks", {"type": "api", "key": "k", "host": "https://a\nb"}),
        ("databricks-cli", API),
        ("Databricks", API),
        ("mydatabricks:x", API),
    ],
)
def test_what_is_not_ours_is_not_an_entry(machine: Machine, key: str, value: object) -> None:
    machine.write(machine.auth_json, {key: value})
    file = AuthJson(machine.world)
    assert (file.entries(), file.default(), file.find(HOST, "api")) == ([], None, None)


def test_the_last_login_comes_first(machine: Machine) -> None:
    others = {f"databricks:https://{name}.cloud.databricks.com": API for name in "ab"}
    machine.write(machine.auth_json, {**others, "databricks": API})
    assert [e.key for e in AuthJson(machine.world).entries()] == ["databricks", *others]


def test_without_a_file_there_is_nothing_and_nothing_is_made(machine: Machine) -> None:
    file = AuthJson(machine.world)
    assert (file.read(), file.entries(), file.default(), file.forget()) == ({}, [], None, [])
    assert machine.files() == {}


@pytest.mark.parametrize("host", [HOST + "/", HOST.upper(), "dev.cloud.databricks.com", HOST + "/?o=7"])
def test_a_copied_entry_serves_its_host_however_it_is_spelled(machine: Machine, host: str) -> None:
    machine.write(machine.auth_json, {"databricks": API | {"host": host}})
    entry = AuthJson(machine.world).find(HOST, "api")
    assert entry and entry.host == HOST and entry.text("key") == "dapi-secret"


@pytest.mark.parametrize(
    "host",
    [
        OTHER,
        HOST + ":8443",
        HOST + ".evil.com",
        "https://evil.com",
        "https://xdev.cloud.databricks.com",
        "http://localhost:1",
        "",
    ],
)
def test_a_key_never_serves_another_host(machine: Machine, host: str) -> None:
    machine.write(machine.auth_json, {"databricks": API, f"databricks:{host}": API, f"databricks:{HOST}": OAUTH})
    file = AuthJson(machine.world)
    assert [file.find(host, kind) for kind in ("api", "oauth", "m2m", "profile")] == [None] * 4
    assert OwnSlot(file, Grant(host)).read() is None
    assert file.find(HOST, "api"), "the control: its own host is served"


def test_a_grant_for_one_account_never_serves_another_account_of_the_same_host(machine: Machine) -> None:
    """All accounts of a cloud share one host, so the host alone does not tell them apart."""
    host = "https://accounts.cloud.databricks.com"
    machine.write(machine.auth_json, {"databricks": OAUTH | {"host": host, "account_id": "one"}})
    machine.env.update(DATABRICKS_HOST=host, DATABRICKS_ACCOUNT_ID="one")
    assert machine.run("token").out == "at-secret\n"
    machine.env["DATABRICKS_ACCOUNT_ID"] = "two"
    assert machine.run("token").out == ""


# ---- auth.json: what a login does ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [API, OAUTH, M2M, PROFILE])
def test_the_first_login_is_the_default_entry_and_all_there_is(machine: Machine, fields: dict[str, Any]) -> None:
    AuthJson(machine.world).login(fields)
    assert kept(machine) == {"databricks": fields}


@pytest.mark.parametrize("before", [API, OAUTH, M2M, PROFILE])
def test_the_login_before_keeps_an_entry_under_its_host(machine: Machine, before: dict[str, Any]) -> None:
    file = AuthJson(machine.world)
    file.login(before)
    file.login(API | {"host": OTHER, "key": "second"})
    assert kept(machine) == {
        "databricks": API | {"host": OTHER, "key": "second"},
        f"databricks:{HOST}": before,
    }


def test_going_back_and_forth_leaves_one_entry_for_each_host(machine: Machine) -> None:
    file = AuthJson(machine.world)
    for number in range(5):
        for host in (HOST, OTHER, "https://third.cloud.databricks.com"):
            file.login(API | {"host": host, "key": f"{number}"})
    assert len(kept(machine)) == 3
    assert {e.text("key") for e in file.entries()} == {"4"}


@pytest.mark.parametrize("before", [API, OAUTH | {"account_id": "a", "scopes": ["x"]}, M2M, PROFILE])
@pytest.mark.parametrize("place", ["default", "moved away"])
def test_a_new_login_replaces_what_we_know_and_keeps_what_we_do_not(
    machine: Machine, before: dict[str, Any], place: str
) -> None:
    unknown = {"note": "mine", "nested": {"a": [1]}}
    machine.write(machine.auth_json, {"databricks": before | unknown | {"storage": "file"}})
    file = AuthJson(machine.world)
    if place == "moved away":
        file.login(API | {"host": OTHER})
    fields = {"type": "m2m", "client_id": "new", "client_secret": "s", "host": HOST}
    file.login(fields)
    assert kept(machine)["databricks"] == unknown | fields
    assert f"databricks:{HOST}" not in kept(machine)


@pytest.mark.parametrize("key", ["databricks", f"databricks:{HOST}", f"databricks:{HOST}/", "databricks:work"])
def test_a_login_leaves_one_entry_for_its_host_however_the_old_one_is_spelled(machine: Machine, key: str) -> None:
    """Else the key that was replaced still lies there, and may be asked before the new login."""
    machine.write(machine.auth_json, {"databricks": API | {"host": OTHER}, key: API | {"host": HOST + "/"}})
    file = AuthJson(machine.world)
    file.login(OAUTH)
    assert [e.type for e in file.entries() if e.host == HOST] == ["oauth"]


def test_making_a_copied_entry_the_last_login_does_not_double_its_secret(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": API | {"host": HOST + "/"}})
    file = AuthJson(machine.world)
    entry = file.default()
    assert entry
    file.login(entry.fields)
    assert machine.auth_json.read_text().count("dapi-secret") == 1


def forget_all(file: AuthJson) -> None:
    file.forget()


def log_in(file: AuthJson) -> None:
    file.login(API | {"host": OTHER})


def renew(file: AuthJson) -> None:
    slot = OwnSlot(file, Grant(HOST))
    before = slot.read()
    assert before
    slot.write(before, grant())


@pytest.mark.parametrize("act", [forget_all, log_in, renew])
def test_entries_of_others_survive_every_write_in_their_order(
    machine: Machine, act: Callable[[AuthJson], None]
) -> None:
    strangers = {k: v for k, v in STRANGERS.items() if k != "databricks"}
    machine.write(machine.auth_json, {**strangers, "databricks": OAUTH, "databricks:gone": {"type": "api"}})
    act(AuthJson(machine.world))
    after = kept(machine)
    assert {k: v for k, v in after.items() if k in strangers or k == "databricks:gone"} == {
        **strangers,
        "databricks:gone": {"type": "api"},
    }
    assert [k for k in after if k in strangers] == list(strangers)


def test_forget_takes_the_entries_of_one_host_and_says_so(machine: Machine) -> None:
    machine.write(
        machine.auth_json,
        {
            "databricks": API,
            f"databricks:{HOST}": OAUTH | {"host": HOST + "/"},
            f"databricks:{OTHER}": {**M2M, "host": OTHER},
        },
    )
    assert AuthJson(machine.world).forget(HOST) == [HOST, HOST]
    assert list(kept(machine)) == [f"databricks:{OTHER}"]


def test_forget_all_takes_every_entry_of_ours_and_no_other(machine: Machine) -> None:
    strangers = {k: v for k, v in STRANGERS.items() if k != "databricks"}
    machine.write(machine.auth_json, {"databricks": API, f"databricks:{OTHER}": {**M2M, "host": OTHER}, **strangers})
    assert AuthJson(machine.world).forget() == [HOST, OTHER]
    assert kept(machine) == strangers
    assert b"secret" not in b"".join(machine.files().values())


def test_forgetting_what_is_not_there_writes_nothing(machine: Machine) -> None:
    machine.write(machine.auth_json, '{"databricks":   {"odd": "spacing"}}')
    before = machine.files()
    assert AuthJson(machine.world).forget(OTHER) == []
    assert machine.files() == before


# ---- auth.json: grants -----------------------------------------------------------------------------------------------


def test_a_grant_comes_out_as_it_went_in(machine: Machine) -> None:
    whole = grant(client_id="app", account_id="acc", scopes=("sql", "all-apis"))
    AuthJson(machine.world).login(grant_fields(whole))
    assert OwnSlot(AuthJson(machine.world), Grant(HOST)).read() == whole


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Grant(HOST, "", "", None)),
        ({"access": "a", "refresh": "r", "expires": 1_900_000_000_000}, Grant(HOST, "a", "r", 1_900_000_000.0)),
        ({"access": "a", "expires": 1_900_000_000}, Grant(HOST, "a", "", 1_900_000_000.0)),
        ({"access": "a", "expires": "2030-03-17T17:46:40Z"}, Grant(HOST, "a", "", 1_900_000_000.0)),
        ({"access": "a", "expires": "soon"}, Grant(HOST, "a", "", 0.0)),
        ({"access": "a", "expires": True}, Grant(HOST, "a", "", 0.0)),
        ({"access": "a", "expires": 10**400}, Grant(HOST, "a", "", 0.0)),
        ({"access": 7, "refresh": {}, "client_id": [], "scopes": 7}, Grant(HOST, "", "", None)),
        ({"access": "a", "scopes": "sql all-apis"}, Grant(HOST, "a", "", None, scopes=("sql", "all-apis"))),
        ({"access": "a", "scopes": ["sql", 7]}, Grant(HOST, "a", "", None, scopes=("sql", "7"))),
        ({"access": "a", "client_id": "mine"}, Grant(HOST, "a", "", None, client_id="mine")),
    ],
)
def test_whatever_an_oauth_entry_holds_is_read_as_far_as_it_goes(
    machine: Machine, fields: dict[str, Any], expected: Grant
) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "oauth", "host": HOST + "/", **fields}})
    assert OwnSlot(AuthJson(machine.world), Grant(HOST)).read() == expected


def test_an_expiry_that_no_calendar_has_is_one_that_nobody_can_read(machine: Machine) -> None:
    """Else the token is fresh for ever, and `token -o json` has no date to write."""
    machine.write(machine.auth_json, {"databricks": OAUTH | {"expires": 10**18}})
    found = OwnSlot(AuthJson(machine.world), Grant(HOST)).read()
    assert found and found.expires_at == 0.0


def test_a_renewed_grant_keeps_the_fields_we_do_not_know(machine: Machine) -> None:
    machine.write(machine.auth_json, {"x": 1, "databricks": OAUTH | {"host": HOST + "/", "note": "mine"}})
    slot = OwnSlot(AuthJson(machine.world), Grant(HOST))
    before = slot.read()
    assert before
    slot.write(before, grant())
    assert kept(machine) == {
        "x": 1,
        "databricks": {
            **OAUTH,
            "access": "new-at",
            "refresh": "new-rt",
            "expires": 2_000_000_000_250,
            "client_id": "databricks-cli",
            "note": "mine",
        },
    }


def test_a_grant_without_an_end_is_kept_as_one(machine: Machine) -> None:
    AuthJson(machine.world).login(grant_fields(grant(expires_at=None)))
    assert kept(machine)["databricks"]["expires"] is None
    held = OwnSlot(AuthJson(machine.world), Grant(HOST)).read()
    assert held and held.expires_at is None


@pytest.mark.parametrize("now", [None, OAUTH | {"refresh": "somebody else's"}, API])
def test_what_was_logged_out_or_replaced_meanwhile_stays_so(machine: Machine, now: dict[str, Any] | None) -> None:
    machine.write(machine.auth_json, {"databricks": now} if now else {})
    before = machine.files()
    OwnSlot(AuthJson(machine.world), Grant(HOST)).write(grant("at-secret", "rt-secret"), grant())
    assert machine.files() == before


# ---- the CLI's cache -------------------------------------------------------------------------------------------------


def test_the_clis_cache_lies_and_is_locked_where_the_cli_has_it(machine: Machine) -> None:
    cache = CliCache(machine.world)
    assert cache.path == str(machine.home / ".databricks" / "token-cache.json")
    assert cache.name == os.path.join("~", ".databricks", "token-cache.json")
    with cache.locked():
        assert is_locked(str(machine.home / ".databricks" / "token-cache.lock"))


@pytest.mark.parametrize("text", ["{}", '{"version": 1}', '{"version": 1, "tokens": {}}'])
def test_an_empty_cache_has_no_tokens(machine: Machine, text: str) -> None:
    machine.write(machine.cli_cache, text)
    assert CliCache(machine.world).tokens() == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": 2, "tokens": {}}, "version 1, and is version 2"),
        ({"version": "1", "tokens": {}}, "is version something else"),
        ({"version": None}, "is version something else"),
        ({"version": ["a secret"]}, "is version something else"),
        ({"tokens": {}}, "is version something else"),
        ({"version": 1, "tokens": []}, "tokens are not an object"),
        ({"version": 1, "tokens": None}, "tokens are not an object"),
    ],
)
def test_a_cache_of_another_kind_is_refused_and_left(machine: Machine, content: dict[str, Any], said: str) -> None:
    machine.write(machine.cli_cache, content)
    before = machine.files()
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        CliCache(machine.world).tokens()
    assert "token-cache.json" in str(caught.value) and caught.value.hint.endswith("dbx-auth doctor --fix")
    with pytest.raises(ConfigError):
        CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(), grant())
    assert machine.files() == before


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, None),
        ([], None),
        ("x", None),
        ({}, Grant(HOST, "", "", None, account_id="acc")),
        ({"access_token": 7, "refresh_token": None, "expiry": "?"}, Grant(HOST, "", "", 0.0, account_id="acc")),
        (
            {"access_token": "a", "refresh_token": "r", "expiry": "2030-03-17T18:46:40.123456789+01:00"},
            Grant(HOST, "a", "r", 1_900_000_000.123456, account_id="acc"),
        ),
        ({"access_token": "a", "expiry": "0001-01-01T00:00:00Z"}, Grant(HOST, "a", "", None, account_id="acc")),
    ],
)
def test_whatever_a_cache_entry_holds_is_read_as_far_as_it_goes(
    machine: Machine, entry: object, expected: Grant | None
) -> None:
    machine.write(machine.cli_cache, {"version": 1, "tokens": {"DEV": entry}})
    assert CliSlot(CliCache(machine.world), "DEV", Grant(HOST, account_id="acc")).read() == expected


def test_the_origin_names_file_and_key(machine: Machine) -> None:
    assert CliSlot(CliCache(machine.world), "DEV", Grant(HOST)).origin == "~/.databricks/token-cache.json [DEV]"
    assert OwnSlot(AuthJson(machine.world), Grant(HOST)).origin == "~/.local/share/dbx-auth/auth.json"


def login(refresh: str = "rt", **more: Any) -> dict[str, Any]:
    return {
        "access_token": "at",
        "token_type": "Bearer",
        "refresh_token": refresh,
        "expiry": "2020-01-01T00:00:00Z",
        **more,
    }


def test_renewing_touches_the_entry_and_its_twin_and_nothing_else(machine: Machine) -> None:
    before = {
        "added": {"by": ["a later CLI"]},
        "version": 1,
        "tokens": {"DEV": login(note="mine"), HOST: login(), "PROD": login("other"), "odd": None, "list": [1]},
    }
    machine.write(machine.cli_cache, before)
    CliSlot(CliCache(machine.world), "DEV", Grant(HOST)).write(grant("at", "rt"), grant())
    after = cached(machine)
    for key in ("DEV", HOST):
        entry = after["tokens"][key]
        assert (entry["access_token"], entry["refresh_token"]) == ("new-at", "new-rt")
        assert parse_expiry(entry["expiry"]) == 2_000_000_000.25
        assert set(entry) == set(before["tokens"][key])  # type: ignore[index]
        after["tokens"][key] = before["tokens"][key]  # type: ignore[index]
    assert after == before and list(after) == list(before) and list(after["tokens"]) == list(before["tokens"])  # type: ignore[call-overload]
    assert stat.S_IMODE(machine.cli_cache.stat().st_mode) == 0o600


def test_the_expiry_has_a_fraction_and_an_offset_as_the_cli_writes_it(machine: Machine) -> None:
    machine.write(machine.cli_cache, {"version": 1, "tokens": {HOST: login()}})
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(refresh="rt"), grant())
    written = cached(machine)["tokens"][HOST]["expiry"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d", written)


@pytest.mark.parametrize(
    ("entry", "expires_at", "expires_in"),
    [(login(), 2e9, None), (login(expires_in=0), 1_700_003_600.4, 3600), (login(expires_in=9), None, 9)],
)
def test_expires_in_is_brought_up_to_date_where_it_was(
    machine: Machine, entry: dict[str, Any], expires_at: float | None, expires_in: int | None
) -> None:
    machine.clock = lambda: 1_700_000_000.0
    machine.write(machine.cli_cache, {"version": 1, "tokens": {HOST: entry}})
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(refresh="rt"), grant(expires_at=expires_at))
    assert cached(machine)["tokens"][HOST].get("expires_in") == expires_in


def test_a_token_without_an_end_has_gos_zero_time(machine: Machine) -> None:
    machine.write(machine.cli_cache, {"version": 1, "tokens": {HOST: login()}})
    slot = CliSlot(CliCache(machine.world), HOST, Grant(HOST))
    slot.write(grant(refresh="rt"), grant(expires_at=None))
    assert cached(machine)["tokens"][HOST]["expiry"] == "0001-01-01T00:00:00Z"
    held = slot.read()
    assert held and held.expires_at is None


def test_a_login_that_left_the_cache_meanwhile_stays_out(machine: Machine) -> None:
    machine.write(machine.cli_cache, '{"version":   1, "tokens": {}}')
    before = machine.files()
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(refresh="rt"), grant())
    assert machine.files() == before, "nothing changed, so nothing is to be written"


def test_a_cache_that_was_deleted_meanwhile_is_not_made_anew(machine: Machine) -> None:
    """`{}` has no version, and the CLI fails at each command that finds it."""
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(refresh="rt"), grant())
    assert machine.files() == {}


def test_logins_without_a_refresh_token_are_nobodys_twins(machine: Machine) -> None:
    """They all have the same refresh token, the empty one."""
    machine.write(machine.cli_cache, {"version": 1, "tokens": {HOST: login(""), OTHER: login("", access_token="o")}})
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(refresh=""), grant())
    assert cached(machine)["tokens"][OTHER]["access_token"] == "o"


def test_a_refresh_token_that_stays_the_same_finds_its_twin_by_the_access_token(machine: Machine) -> None:
    """Where the server does not rotate it, one that somebody has renewed since holds the same one."""
    before = {HOST: login("rt"), "DEV": login("rt"), "NEW": login("rt", access_token="renewed by somebody")}
    machine.write(machine.cli_cache, {"version": 1, "tokens": before})
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant("at", "rt"), grant("new-at", "rt"))
    after = {key: entry["access_token"] for key, entry in cached(machine)["tokens"].items()}
    assert after == {HOST: "new-at", "DEV": "new-at", "NEW": "renewed by somebody"}


# ---- files that cannot be used ---------------------------------------------------------------------------------------

HALF = json.dumps({"databricks": API}, indent=1).encode()[:45]
BAD: dict[str, tuple[bytes | None, str]] = {
    "empty": (b"", "not JSON: line 1"),
    "a directory": (None, "cannot be read: Is a directory"),
    "not utf-8": (b'{\n\n"a": "\xff"}', "not UTF-8 text: line 3"),
    "half-written": (HALF, "not JSON: line 4"),
    "a list": (b"[]", "not a JSON object"),
    "a number": (b"1", "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "nul bytes": (b"\0" * 64, "not JSON: line 1"),
    "two documents": (b"{}\n{}", "not JSON: line 2"),
    "larger than we read": (b" " * (store.LARGEST + 1), f"larger than {store.LARGEST} bytes"),
    "nested beyond reason": (b'{"a":' * 100_000, "not JSON that we can hold"),
    "a number beyond reason": (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that we can hold"),
}


def read_ours(machine: Machine) -> object:
    return AuthJson(machine.world).entries()


def log_in_ours(machine: Machine) -> None:
    AuthJson(machine.world).login(API)


def forget_ours(machine: Machine) -> object:
    return AuthJson(machine.world).forget()


def renew_ours(machine: Machine) -> None:
    OwnSlot(AuthJson(machine.world), Grant(HOST)).write(grant(), grant())


def read_theirs(machine: Machine) -> object:
    return CliSlot(CliCache(machine.world), HOST, Grant(HOST)).read()


def renew_theirs(machine: Machine) -> None:
    CliSlot(CliCache(machine.world), HOST, Grant(HOST)).write(grant(), grant())


@pytest.mark.parametrize("act", [read_ours, log_in_ours, forget_ours, renew_ours, read_theirs, renew_theirs])
@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_understood_is_named_and_left_as_it_is(
    machine: Machine, name: str, act: Callable[[Machine], object]
) -> None:
    content, said = BAD[name]
    path = machine.cli_cache if act.__name__.endswith("theirs") else machine.auth_json
    if content is None:
        path.mkdir(parents=True)
    else:
        machine.write(path, content)
    before = machine.files()
    with pytest.raises(ConfigError) as caught:
        act(machine)
    assert said in str(caught.value) and path.name in str(caught.value)
    hint = "correct it, or move it aside: dbx-auth doctor --fix" if content is not None else f"ls -ld {path}"
    assert caught.value.hint.endswith(hint)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert machine.files() == before


@pytest.mark.parametrize("act", [read_ours, read_theirs])
def test_a_missing_file_is_an_empty_one(machine: Machine, act: Callable[[Machine], object]) -> None:
    assert not act(machine)
    assert machine.files() == {}


@pytest.mark.parametrize("folder", [".databricks", ".local"])
def test_a_file_where_the_directory_should_be_is_as_good_as_no_file(machine: Machine, folder: str) -> None:
    machine.write(machine.home / folder, "not a directory")
    assert not read_ours(machine) and not read_theirs(machine)


def test_a_file_with_a_bom_is_read(machine: Machine) -> None:
    machine.write(machine.auth_json, b"\xef\xbb\xbf" + json.dumps({"databricks": API}).encode())
    assert AuthJson(machine.world).find(HOST, "api")


def test_a_file_as_large_as_we_read_is_read(machine: Machine) -> None:
    machine.write(machine.auth_json, b"{}" + b" " * (store.LARGEST - 2))
    assert AuthJson(machine.world).read() == {}


def test_half_a_surrogate_pair_survives_a_write(machine: Machine) -> None:
    machine.write(machine.auth_json, '{"other": "\\ud800", "databricks:x": {"host": "\\ud800"}}')
    AuthJson(machine.world).login(API)
    assert kept(machine)["other"] == "\ud800"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_pipe_in_place_of_a_file_holds_nobody_up(machine: Machine) -> None:
    machine.cli_cache.parent.mkdir()
    os.mkfifo(machine.cli_cache)
    with pytest.raises(ConfigError, match="token-cache.json cannot be read: it is a pipe"):
        read_theirs(machine)


# ---- writing ---------------------------------------------------------------------------------------------------------


def temporary(folder: Path) -> Path:
    """The one that is being written there."""
    (path,) = folder.glob(".*.tmp")
    return path


@pytest.mark.parametrize("size", [None, 2, 100_000])
def test_room_is_made_for_all_that_is_there_and_more(machine: Machine, size: int | None) -> None:
    if size is not None:
        machine.write(machine.cli_cache, b"{}".ljust(size))
    with CliCache(machine.world).room():
        assert temporary(machine.cli_cache.parent).stat().st_size == (size or 0) + 65_536
    assert [path.name for path in machine.cli_cache.parent.iterdir()] == ([] if size is None else ["token-cache.json"])


@pytest.mark.parametrize("with_room", [True, False])
def test_what_is_written_is_indented_and_takes_the_room_that_was_made(machine: Machine, with_room: bool) -> None:
    file = CliCache(machine.world)
    machine.write(machine.cli_cache, {})
    with file.room() as room:
        reserved = temporary(machine.cli_cache.parent).stat().st_ino
        file.write({"a": 1, "b": "\u00fc"}, room if with_room else None)
        assert (machine.cli_cache.stat().st_ino == reserved) is with_room
    assert machine.cli_cache.read_bytes() == b'{\n  "a": 1,\n  "b": "\\u00fc"\n}\n'


def test_what_is_read_and_written_is_told_without_what_it_is(machine: Machine) -> None:
    told: list[str] = []
    machine.write(machine.auth_json, {"databricks": OAUTH})
    file = AuthJson(machine.world._replace(detail=told.append))
    file.write(file.read())
    size = len(json.dumps({"databricks": OAUTH}))
    assert told == [f"read {file.name}: {size} bytes", f"wrote {file.name}"]


def test_what_cannot_be_written_leaves_the_file_as_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write(machine.auth_json, {"databricks": OAUTH})
    before = machine.files()

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ConfigError, match="No space left"):
        AuthJson(machine.world).login(API)
    assert machine.files() == before


# ---- locks -----------------------------------------------------------------------------------------------------------


@contextmanager
def busy(world: World, file: JsonFile) -> Iterator[None]:
    """Another process writes the file."""
    with Lock(world, "it", [os.path.join(file.folder, file.lock_name)]).held():
        yield


def test_each_file_is_locked_beside_itself_however_it_is_reached(machine: Machine, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    machine.write(real, {})
    machine.cli_cache.parent.mkdir()
    machine.cli_cache.symlink_to(real)
    for file, folder in ((CliCache(machine.world), real.parent), (AuthJson(machine.world), machine.auth_json.parent)):
        with file.locked():
            assert is_locked(str(folder / file.lock_name))
            with file.locked(0.0):
                pass
            assert is_locked(str(folder / file.lock_name)), "one lock for one file, taken again by who has it"
        assert not is_locked(str(folder / file.lock_name))


@pytest.mark.parametrize(("wait", "seconds"), [(None, 60), (0.0, 0), (7.5, 7.5)])
def test_a_file_that_another_process_holds_is_waited_for(machine: Machine, wait: float | None, seconds: float) -> None:
    clock = Clock()
    file = CliCache(clock.into(machine.world))
    with busy(machine.world, file), pytest.raises(Temporary) as caught, file.locked(wait):
        pytest.fail("two are inside")
    assert clock.passed == pytest.approx(seconds) and "token-cache.lock" in str(caught.value)
    assert machine.waited == ["waiting for another process to finish with ~/.databricks/token-cache.json"]


SLOTS: dict[str, Callable[[World], OwnSlot | CliSlot]] = {
    "ours": lambda world: OwnSlot(AuthJson(world), Grant(HOST)),
    "theirs": lambda world: CliSlot(CliCache(world), "DEV", Grant(HOST)),
}


@pytest.mark.parametrize("name", SLOTS)
def test_a_renewed_grant_waits_ten_seconds_for_the_file(machine: Machine, name: str) -> None:
    """It can be kept aside; a person waits for the token."""
    clock = Clock()
    machine.write(machine.auth_json, {"databricks": OAUTH})
    machine.write(machine.cli_cache, {"version": 1, "tokens": {"DEV": login()}})
    slot = SLOTS[name](clock.into(machine.world))
    before = machine.files()
    with busy(machine.world, slot._file), pytest.raises(Temporary):
        slot.write(grant("at", "rt"), grant())
    assert clock.passed == pytest.approx(10) and machine.files() == before


def test_one_host_has_one_refresh_lock_in_each_store_and_each_store_its_own(machine: Machine) -> None:
    name = hashlib.sha256(HOST.encode()).hexdigest()[:16] + ".lock"
    ours, theirs = (SLOTS[name](machine.world).refresh_locks() for name in ("ours", "theirs"))
    assert ours[0] == str(machine.auth_json.parent / "refresh" / name)
    assert theirs[0] == str(machine.cli_cache.parent / ".dbx-auth" / name)
    assert all(path.startswith(machine.world.runtime_dir) and path.endswith(name) for path in (ours[1], theirs[1]))
    assert ours[1] != theirs[1] and len(ours) == len(theirs) == 2
    by_host = CliSlot(CliCache(machine.world), HOST, Grant(HOST)).refresh_locks()
    assert by_host == theirs, "a profile and its host are one login"
    assert OwnSlot(AuthJson(machine.world), Grant(OTHER)).refresh_locks() != ours


def test_the_cli_s_file_is_joined_for_as_long_as_a_refresh_takes_and_ours_is_not(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": OAUTH})
    lock = str(machine.cli_cache.parent / "token-cache.lock")
    slot = SLOTS["theirs"](machine.world)
    with slot.joined(1.0):
        assert is_locked(lock)
        slot.write(grant(), grant())
        assert is_locked(lock), "who writes takes it again, and leaves it"
    with SLOTS["ours"](machine.world).joined(1.0):
        assert not is_locked(str(machine.auth_json.parent / "auth.json.lock"))
    assert (slot.shared, SLOTS["ours"](machine.world).shared) == (True, False)


def test_it_is_joined_within_the_time_that_is_given(machine: Machine) -> None:
    clock = Clock()
    slot = SLOTS["theirs"](clock.into(machine.world))
    with busy(machine.world, slot._file), pytest.raises(Temporary), slot.joined(3.0):
        pytest.fail("two are inside")
    assert clock.passed == pytest.approx(3)


# ---- a program that takes no lock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", range(6))
def test_what_another_program_writes_over_ours_is_written_again(machine: Machine, times: int) -> None:
    """The Databricks CLI reads the whole file, and a moment later writes it whole."""
    old = {"version": 1, "tokens": {"DEV": login(), "PROD": login("other")}}
    machine.write(machine.cli_cache, old)
    clock, written = Clock(), list[bytes]()

    def write_over() -> None:
        written.append(machine.cli_cache.read_bytes())
        if len(written) <= times:
            machine.write(machine.cli_cache, old)

    clock.asleep = write_over
    world = clock.into(machine.world)
    slot = SLOTS["theirs"](world)
    with slot.room() as room:
        if times < 5:
            slot.write(grant("at", "rt"), grant(), room)
            assert cached(machine)["tokens"]["DEV"]["refresh_token"] == "new-rt"
        else:
            with pytest.raises(Temporary) as caught:
                slot.write(grant("at", "rt"), grant(), room)
            assert str(caught.value) == f"another program writes over {slot.origin} again and again"
            assert caught.value.hint
    assert clock.sleeps == [0.0, 0.025, 0.05, 0.1, 0.2][: times + 1]
    assert all(b"new-rt" in content for content in written)
    assert cached(machine)["tokens"]["PROD"] == login("other")


def test_what_another_program_renewed_over_ours_stays(machine: Machine) -> None:
    machine.write(machine.cli_cache, {"version": 1, "tokens": {"DEV": login()}})
    clock, newer = Clock(), {"version": 1, "tokens": {"DEV": login("newer", access_token="newer")}}
    clock.asleep = lambda: machine.write(machine.cli_cache, newer)
    SLOTS["theirs"](clock.into(machine.world)).write(grant("at", "rt"), grant())
    assert cached(machine) == newer and clock.sleeps == [0.0]


# ---- secrets in the keyring ------------------------------------------------------------------------------------------


class Vault:
    """Stands for `vault`: a dictionary of accounts, without the last word, which says which data directory it is of;
    `fails` is what the next calls of a kind raise.
    """

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.done: list[str] = []
        self.fails: dict[str, AuthError] = {}
        self.forgets = False

    def _do(self, name: str) -> None:
        self.done.append(name)
        if name in self.fails:
            raise self.fails[name]

    def get(self, account: str, world: World) -> dict[str, Any] | None:
        self._do("get")
        return self.held.get(account.rpartition(" ")[0])

    def put(self, account: str, fields: Mapping[str, Any], world: World) -> None:
        self._do("put")
        self.held[account.rpartition(" ")[0]] = {} if self.forgets else dict(fields)

    def remove(self, account: str, world: World) -> bool:
        self._do("remove")
        return self.held.pop(account.rpartition(" ")[0], None) is not None

    def probe(self, world: World, size: int = 0) -> None:
        self._do(f"probe {size}")


@pytest.fixture
def keyring(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A keyring, and a person who wants logins to be kept there."""
    double = Vault()
    for name in ("get", "put", "remove", "probe"):
        monkeypatch.setattr(vault, name, getattr(double, name))
    monkeypatch.setattr(World, "runtime_dir", property(lambda world: str(tmp_path / "run")))
    wants(machine, "keyring")
    return double


def wants(machine: Machine, storage: str) -> None:
    machine.write(Path(machine.world.config_dir) / "config.toml", f'storage = "{storage}"\n')


SECRET: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "api": (API, {"key": "dapi-secret"}),
    "oauth": (OAUTH, {"access": "at-secret", "refresh": "rt-secret", "expires": 1_900_000_000_000}),
    "m2m": (M2M, {"client_secret": "cs-secret"}),
}


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize("kind", SECRET)
def test_the_keyring_has_the_secrets_and_the_file_the_rest(machine: Machine, keyring: Vault, kind: str) -> None:
    fields, secret = SECRET[kind]
    file = AuthJson(machine.world)
    file.login(fields)
    assert kept(machine) == {"databricks": without(fields, *secret) | {"storage": "keyring"}}
    assert keyring.held == {f"{HOST} {kind}": secret} and "secret" not in machine.auth_json.read_text()
    keyring.done.clear()
    assert [(e.type, e.host, e.is_in_keyring) for e in file.entries()] == [(kind, HOST, True)]
    assert file.default() and not keyring.done, "who does not need the secrets does not ask for them"
    found = file.find(HOST, kind)
    assert found and found.fields == fields | {"storage": "keyring"} and keyring.done == ["get"]
    assert "secret" not in repr(found)
    assert file.find(OTHER, kind) is None and keyring.done == ["get"]


def test_a_login_that_points_to_a_profile_has_no_secret_and_needs_no_keyring(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    file.login(PROFILE)
    assert kept(machine) == {"databricks": PROFILE}
    assert keyring.held == {}, "nor does the login before it stay there"
    keyring.fails = dict.fromkeys(("get", "put"), ConfigError("locked", hint="h"))
    file.login(PROFILE | {"host": OTHER})


def test_a_login_that_the_keyring_lost_has_no_secret(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    keyring.held.clear()
    assert OwnSlot(file, Grant(HOST)).read() == Grant(HOST, "", "", None)


@pytest.mark.parametrize("failure", [ConfigError("the keyring is locked", hint="h"), Temporary("slow", hint="h")])
def test_where_the_keyring_is_no_use_its_logins_are_not_and_the_others_are(
    machine: Machine, keyring: Vault, failure: AuthError
) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    wants(machine, "file")
    file.login(API | {"host": OTHER})
    keyring.fails["get"] = failure
    with pytest.raises(type(failure)):
        file.find(HOST, "oauth")
    assert file.find(OTHER, "api") and len(file.entries()) == 2


def renewed(machine: Machine, file: AuthJson) -> None:
    slot = OwnSlot(file, Grant(HOST))
    before = slot.read()
    assert before
    with slot.joined(1.0), slot.room() as room:
        slot.write(before, grant(), room)


def test_a_renewed_grant_of_the_keyring_changes_the_keyring_alone(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH | {"client_id": "databricks-cli", "note": "mine"})
    before = machine.auth_json.read_bytes(), machine.auth_json.stat().st_ino
    keyring.done.clear()
    renewed(machine, file)
    fresh = {"access": "new-at", "refresh": "new-rt", "expires": 2_000_000_000_250}
    assert keyring.held == {f"{HOST} oauth": fresh}
    assert (machine.auth_json.read_bytes(), machine.auth_json.stat().st_ino) == before
    size = len("at-secret") + len("rt-secret") + 200
    assert f"probe {size}" in keyring.done, "what could not be kept must not be asked for"


def test_what_a_renewal_tells_beside_the_secrets_goes_to_the_file(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH | {"note": "mine"})
    renewed(machine, file)
    shown = {"type": "oauth", "host": HOST, "client_id": "databricks-cli", "note": "mine", "storage": "keyring"}
    assert kept(machine) == {"databricks": shown} and keyring.held[f"{HOST} oauth"]["refresh"] == "new-rt"


def test_where_the_keyring_takes_no_more_nothing_is_renewed(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    keyring.fails["probe 218"] = ConfigError("too large", hint="h")
    with pytest.raises(ConfigError, match="too large"), OwnSlot(file, Grant(HOST)).room():
        pytest.fail("there is no room")


@pytest.mark.parametrize("before", [API | {"key": "old-secret"}, OAUTH, None])
def test_where_the_file_cannot_be_written_the_keyring_is_put_right(
    machine: Machine, keyring: Vault, monkeypatch: pytest.MonkeyPatch, before: dict[str, Any] | None
) -> None:
    file = AuthJson(machine.world)
    if before:
        file.login(before)
    secrets, files_ = dict(keyring.held), machine.files()

    def full(*args: object) -> None:
        raise ConfigError("no space left", hint="h")

    monkeypatch.setattr(AuthJson, "write", full)
    with pytest.raises(ConfigError, match="no space left"):
        file.login(API | {"account_id": "acc"})
    assert keyring.held == secrets and machine.files() == files_


def test_a_login_that_is_to_be_in_the_file_leaves_the_keyring(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    wants(machine, "file")
    file.login(API)
    assert kept(machine) == {"databricks": API} and keyring.held == {}


@pytest.mark.parametrize(("kind", "left"), [("oauth", ["put"]), ("api", ["put", "remove"])])
def test_a_new_login_of_another_type_takes_the_old_one_s_secrets_out_of_the_keyring(
    machine: Machine, keyring: Vault, kind: str, left: list[str]
) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    keyring.done.clear()
    file.login(SECRET[kind][0])
    assert list(keyring.held) == [f"{HOST} {kind}"] and [name for name in keyring.done if name != "get"] == left


def test_what_cannot_leave_the_keyring_then_is_told(machine: Machine, keyring: Vault) -> None:
    told: list[str] = []
    file = AuthJson(machine.world._replace(warn=told.append))
    file.login(OAUTH)
    wants(machine, "file")
    keyring.fails["remove"] = Temporary("the keyring is slow", hint="h")
    file.login(API)
    assert kept(machine) == {"databricks": API}
    assert told == [f"the keyring may still hold the login for {HOST}: the keyring is slow"]


def test_the_login_before_keeps_its_secrets_in_the_keyring(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    file.login(API | {"host": OTHER})
    assert set(keyring.held) == {f"{HOST} oauth", f"{OTHER} api"} and "secret" not in machine.auth_json.read_text()
    found = file.find(HOST, "oauth")
    assert found and found.text("refresh") == "rt-secret"


@pytest.mark.parametrize(("storage", "probes"), [("keyring", ["probe 3000"]), ("file", [])])
def test_before_a_person_is_sent_to_the_browser_all_that_will_be_needed_is_tried(
    machine: Machine, keyring: Vault, storage: str, probes: list[str]
) -> None:
    wants(machine, storage)
    file = AuthJson(machine.world)
    file.rehearse()
    assert keyring.done == probes and not machine.auth_json.exists()
    if storage == "keyring":
        keyring.fails["probe 3000"] = ConfigError("locked", hint="h")
        with pytest.raises(ConfigError, match="locked"):
            file.rehearse()
    machine.write(machine.auth_json, "{")
    with pytest.raises(ConfigError, match="not JSON"):
        file.rehearse()


# ---- forgetting ------------------------------------------------------------------------------------------------------


def test_forgetting_a_login_takes_its_secrets_out_of_the_keyring(machine: Machine, keyring: Vault) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    file.login(API | {"host": OTHER})
    assert file.forget(HOST) == [HOST]
    assert set(keyring.held) == {f"{OTHER} api"} and list(kept(machine)) == ["databricks"]
    assert file.forget() == [OTHER] and keyring.held == {}


@pytest.mark.parametrize("failure", [ConfigError("locked", hint="h"), Temporary("slow", hint="h")])
def test_a_login_whose_secrets_cannot_go_now_stays(machine: Machine, keyring: Vault, failure: AuthError) -> None:
    file = AuthJson(machine.world)
    file.login(OAUTH)
    before = machine.files()
    keyring.fails["remove"] = failure
    with pytest.raises(type(failure)):
        file.forget()
    assert machine.files() == before and f"{HOST} oauth" in keyring.held


def test_a_login_whose_keyring_is_gone_is_forgotten(machine: Machine, keyring: Vault) -> None:
    told: list[str] = []
    file = AuthJson(machine.world._replace(warn=told.append))
    file.login(OAUTH)
    keyring.fails["remove"] = vault.NoVault("nobody keeps secrets")
    assert file.forget() == [HOST] and kept(machine) == {}
    assert len(told) == 1 and f"may still hold the login for {HOST}" in told[0]


def test_forgetting_a_login_forgets_what_is_remembered_beside_its_lock(machine: Machine) -> None:
    file = AuthJson(machine.world)
    for host in (HOST, OTHER):
        file.login(API | {"host": host})
        journal = Journal(machine.world, file.refresh_locks(host))
        journal.claim("rt")
        journal.rescue(grant(host=host), grant(host=host))
    file.forget(HOST)
    left = {path.stem for path in (machine.auth_json.parent / "refresh").iterdir()}
    assert left == {hashlib.sha256(OTHER.encode()).hexdigest()[:16]}


# ---- moving ----------------------------------------------------------------------------------------------------------


def logged_in(machine: Machine, storage: str) -> AuthJson:
    """One login of each kind, kept there."""
    wants(machine, storage)
    file = AuthJson(machine.world)
    for number, (fields, _) in enumerate(SECRET.values()):
        file.login({**fields, "host": f"https://{number}.cloud.databricks.com", "note": "mine"})
    file.login(PROFILE)
    return file


def opened(file: AuthJson) -> dict[str, Any]:
    return {e.key: without(file.opened(e).fields, "storage") for e in file.entries()}


@pytest.mark.parametrize(("here", "there"), [("file", "keyring"), ("keyring", "file")])
def test_all_logins_move_and_nothing_of_them_changes(machine: Machine, keyring: Vault, here: str, there: str) -> None:
    file = logged_in(machine, here)
    before = opened(file)
    hosts = [f"https://{number}.cloud.databricks.com" for number in range(3)]
    assert file.keep_in(there) == hosts
    assert opened(file) == before
    accounts = {f"{host} {kind}" for host, kind in zip(hosts, SECRET, strict=True)}
    assert set(keyring.held) == (accounts if there == "keyring" else set())
    assert ("secret" in machine.auth_json.read_text()) is (there == "file")
    shown = {e.host: e.fields.get("storage") for e in file.entries() if e.type != "profile"}
    assert shown == dict.fromkeys(hosts, "keyring" if there == "keyring" else None)
    untouched = machine.files()
    assert file.keep_in(there) == [] and machine.files() == untouched, "and what is there already does not move"


@pytest.mark.parametrize("what", ["put", "get", "forgets", "write"])
def test_a_move_to_the_keyring_that_fails_leaves_all_where_it_was(
    machine: Machine, keyring: Vault, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = logged_in(machine, "file")
    before = machine.files()
    if what == "forgets":
        keyring.forgets = True
    elif what == "write":

        def full(*args: object) -> None:
            raise ConfigError("no space left", hint="h")

        monkeypatch.setattr(AuthJson, "write", full)
    else:
        keyring.fails[what] = ConfigError("locked", hint="h")
    with pytest.raises(AuthError) as caught:
        file.keep_in("keyring")
    assert machine.files() == before and keyring.held == {}
    if what == "forgets":
        assert str(caught.value) == "the keyring does not give back what it was given"
        assert isinstance(caught.value, ConfigError) and caught.value.hint == "dbx-auth doctor"


def test_a_keyring_that_is_slow_in_the_middle_of_a_move_is_not_waited_for_again(
    machine: Machine, keyring: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    file = logged_in(machine, "file")
    before = machine.files()
    keyring.fails["get"] = Temporary("slow", hint="h")
    with pytest.raises(Temporary):
        file.keep_in("keyring")
    assert machine.files() == before and "remove" not in keyring.done
    assert "may hold copies" in capsys.readouterr().err


def test_a_move_to_the_file_that_fails_leaves_all_where_it_was(
    machine: Machine, keyring: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = logged_in(machine, "keyring")
    before, secrets = machine.files(), dict(keyring.held)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="No space left"):
        file.keep_in("file")
    assert machine.files() == before and keyring.held == secrets and "remove" not in keyring.done


def test_what_the_keyring_does_not_let_go_after_a_move_is_told(machine: Machine, keyring: Vault) -> None:
    file = logged_in(machine, "keyring")
    told: list[str] = []
    file.world = machine.world._replace(warn=told.append)
    keyring.fails["remove"] = ConfigError("locked", hint="h")
    assert len(file.keep_in("file")) == 3 and "secret" in machine.auth_json.read_text()
    assert len(told) == 3


def test_two_logins_for_one_host_keep_their_secrets_when_they_move(machine: Machine, keyring: Vault) -> None:
    """We write one; another tool, or a person, may have written the other."""
    machine.write(machine.auth_json, {"databricks": API, f"databricks:{HOST}": OAUTH})
    file = AuthJson(machine.world)
    file.keep_in("keyring")
    key, login = file.find(HOST, "api"), file.find(HOST, "oauth")
    assert key and key.text("key") == "dapi-secret"
    assert login and login.text("refresh") == "rt-secret"
    assert "secret" not in machine.auth_json.read_text()


# ---- nothing shows a secret ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [API, OAUTH, M2M])
def test_printing_an_entry_by_accident_shows_no_secret(fields: dict[str, Any]) -> None:
    entry = Entry("databricks", fields["type"], HOST, fields)
    assert "secret" not in repr(entry) + str(entry) + f"{entry}" + f"{[entry]}"


def test_printing_a_grant_by_accident_shows_no_secret() -> None:
    one = Grant(HOST, "at-secret", "rt-secret", 1.0)
    assert "secret" not in repr(one) + str(one) and HOST in repr(one)


@pytest.mark.parametrize(
    "entry", [{"type": "api", "key": "dapi-secret"}, {"type": "api", "key": "k", "host": "a b"}, []]
)
def test_a_login_does_not_take_the_place_of_an_entry_that_we_cannot_read(machine: Machine, entry: object) -> None:
    machine.write(machine.auth_json, json.dumps({"databricks": entry}))
    before = machine.files()
    with pytest.raises(ConfigError, match="names no host"):
        AuthJson(machine.world).login(API)
    assert machine.files() == before
