"""Tokens at rest: nothing is lost, nothing is shown, and nobody else's entries are touched."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, OTHER, Machine

from dbx_auth import store
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.store import AuthJson, CliCache, CliSlot, Entry, Grant, JsonFile, OwnSlot, grant_fields, write_private
from dbx_auth.tokens import parse_expiry

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


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


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
    unknown = {"note": "mine", "storage": "file", "nested": {"a": [1]}}
    machine.write(machine.auth_json, {"databricks": before | unknown})
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
    assert cache.lock_path == str(machine.home / ".databricks" / "token-cache.lock")
    assert cache.name == os.path.join("~", ".databricks", "token-cache.json")


@pytest.mark.parametrize("text", ["{}", '{"version": 1}', '{"version": 1, "tokens": {}}'])
def test_an_empty_cache_has_no_tokens(machine: Machine, text: str) -> None:
    machine.write(machine.cli_cache, text)
    assert CliCache(machine.world).tokens() == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": 2, "tokens": {}}, "version 1, and is version 2"),
        ({"version": "1", "tokens": {}}, "version '1'"),
        ({"version": None}, "version None"),
        ({"tokens": {}}, "version None"),
        ({"version": 1, "tokens": []}, "tokens are not an object"),
        ({"version": 1, "tokens": None}, "tokens are not an object"),
    ],
)
def test_a_cache_of_another_kind_is_refused_and_left(machine: Machine, content: dict[str, Any], said: str) -> None:
    machine.write(machine.cli_cache, content)
    before = machine.files()
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        CliCache(machine.world).tokens()
    assert "token-cache.json" in str(caught.value) and str(machine.cli_cache) in caught.value.hint
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
    assert str(path) in caught.value.hint
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


# ---- writing ---------------------------------------------------------------------------------------------------------


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    born: list[int] = []
    real_open = os.open

    def open_(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        if flags & os.O_CREAT:
            born.append(mode & ~mask)
        return real_open(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", open_)
    target = tmp_path / "new" / "auth.json"
    with umask(mask):
        write_private(str(target), b"secret")
    assert born == [0o600]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("write", [False, True])
def test_no_directory_that_we_make_lets_anybody_else_in(machine: Machine, write: bool) -> None:
    """Who may write to a directory above can put another one in place of ours."""
    file = AuthJson(machine.world)
    with umask(0):
        if write:
            write_private(file.path, b"{}")
        else:
            with file.locked():
                pass
    made = [path for path in machine.home.rglob("*") if path.is_dir()]
    assert made and {str(p.relative_to(machine.home)): oct(stat.S_IMODE(p.stat().st_mode)) for p in made} == {
        str(p.relative_to(machine.home)): "0o700" for p in made
    }


def test_an_open_file_becomes_private_when_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "auth.json"
    target.write_text("{}")
    target.chmod(0o666)
    write_private(str(target), b"secret")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    kept_elsewhere = tmp_path / "dotfiles" / "auth.json"
    kept_elsewhere.parent.mkdir()
    kept_elsewhere.write_text("old")
    link = tmp_path / "auth.json"
    link.symlink_to("dotfiles/auth.json")
    write_private(str(link), b"new")
    assert link.is_symlink() and kept_elsewhere.read_text() == "new"
    assert temporaries(tmp_path) == temporaries(kept_elsewhere.parent) == []


def test_a_link_to_nothing_yet_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "auth.json"
    link.symlink_to(tmp_path / "later" / "auth.json")
    write_private(str(link), b"new")
    assert link.is_symlink() and (tmp_path / "later" / "auth.json").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("module", "name"), [("os", "replace"), ("os", "fsync"), ("os", "fdopen"), ("tempfile", "mkstemp")]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, number: int
) -> None:
    import tempfile

    target = tmp_path / "auth.json"
    target.write_text("old")
    failing = {"os": os, "tempfile": tempfile}[module]

    def fail(*args: object, **rest: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(failing, name, fail)
        with pytest.raises(ConfigError, match=os.strerror(number)) as caught:
            write_private(str(target), b"new")
    assert str(target) in str(caught.value) and str(tmp_path) in caught.value.hint
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["auth.json"]
    write_private(str(target), b"new")
    assert target.read_text() == "new", "a clean run works afterwards"


def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "auth.json"
    target.write_text("old")

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_private(str(target), b"new")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["auth.json"]


def test_what_is_written_is_on_disk_before_it_is_in_place_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append("directory" if is_directory else f"file of {os.fstat(handle).st_size} bytes")
        real_fsync(handle)

    def replace(source: str, target: str) -> None:
        done.append("in place")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_private(str(tmp_path / "auth.json"), b"12345")
    assert done == ["file of 5 bytes", "in place", "directory"]


KILLED = """
import os, signal, sys
from dbx_auth import store
real = getattr(os, sys.argv[2])
def die(*args, **rest):
    if sys.argv[3] == "after":
        real(*args, **rest)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], die)
store.write_private(sys.argv[1], b'{"new": 1}')
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["fdopen", "fsync", "replace"])
def test_killed_at_any_point_the_file_is_the_old_one_or_the_new_one(tmp_path: Path, call: str, when: str) -> None:
    target = tmp_path / "auth.json"
    target.write_text('{"old": 1}')
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), call, when], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.read_text() == ('{"new": 1}' if (call, when) == ("replace", "after") else '{"old": 1}')
    left = [path for path in tmp_path.iterdir() if path != target]
    assert len(left) <= 1 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in left)


# ---- the lock --------------------------------------------------------------------------------------------------------


def a_file(machine: Machine) -> JsonFile:
    return JsonFile(machine.world, str(machine.home / "x.json"), str(machine.home / "locks" / "x.lock"))


@contextmanager
def never_locked(self: JsonFile) -> Iterator[None]:
    yield


@pytest.mark.parametrize("lock", [True, False])
def test_threads_exclude_each_other(machine: Machine, monkeypatch: pytest.MonkeyPatch, lock: bool) -> None:
    """With its negative control: without the lock they do meet."""
    if not lock:
        monkeypatch.setattr(JsonFile, "locked", never_locked)
    inside, most = 0, 0
    together = threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most
        together.wait(10)
        with a_file(machine).locked():
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most == 1) is lock


HOLDER = """
import sys
from dbx_auth.store import JsonFile
from dbx_auth.world import World
with JsonFile(World({}, sys.argv[1]), sys.argv[1] + "/x.json", sys.argv[1] + "/locks/x.lock").locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is told to stop, or killed."""
    argv = [sys.executable, "-c", HOLDER, str(machine.home)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout and child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_a_lock_that_another_process_holds_is_waited_for_and_then_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT", 0.3)
    file = a_file(machine)
    with another_process(machine):
        started = time.monotonic()
        with pytest.raises(Temporary) as caught, file.locked():
            pass
        assert 0.25 < time.monotonic() - started < 10
        assert file.lock_path in str(caught.value) and caught.value.hint
        assert machine.waited == ["waiting for another process to finish with ~/x.json"]
    with file.locked():
        pass


def test_a_lock_whose_holder_was_killed_is_free_at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT", 5.0)
    with another_process(machine) as child:
        child.kill()
        child.wait()
        started = time.monotonic()
        with a_file(machine).locked():
            assert time.monotonic() - started < 2


def test_a_lock_that_is_let_go_while_we_wait_is_taken(machine: Machine) -> None:
    with another_process(machine) as child:
        stop = threading.Timer(0.2, child.kill)
        stop.start()
        with a_file(machine).locked():
            pass
        stop.join()


def test_whatever_happens_inside_the_lock_it_is_let_go(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT", 0.2)
    for error in (ValueError, KeyboardInterrupt, Temporary):
        with pytest.raises(error), a_file(machine).locked():
            raise Temporary("x", hint="y") if error is Temporary else error
    with a_file(machine).locked():
        pass


def test_the_lock_file_is_private_holds_nothing_and_stays(machine: Machine) -> None:
    file = a_file(machine)
    with umask(0):
        with file.locked():
            pass
        first = os.stat(file.lock_path)
        with file.locked():
            pass
    assert os.stat(file.lock_path).st_ino == first.st_ino, "a lock file that goes away can have two holders"
    assert stat.S_IMODE(first.st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(file.lock_path)).st_mode) == 0o700


@pytest.mark.parametrize("what", ["no directory", "a directory of that name", "a link to nowhere"])
def test_where_nobody_can_lock_nothing_is_done(machine: Machine, what: str) -> None:
    file = a_file(machine)
    locks = machine.home / "locks"
    if what == "no directory":
        locks.write_text("a file")
    elif what == "a directory of that name":
        (locks / "x.lock").mkdir(parents=True)
    else:
        locks.mkdir()
        (locks / "x.lock").symlink_to("/nonexistent/x")
    with pytest.raises(ConfigError) as caught, file.locked():
        raise AssertionError("nobody may get here")
    assert file.lock_path in str(caught.value) and str(locks) in caught.value.hint


def test_a_filesystem_without_locks_is_no_reason_to_go_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def cannot(self: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "_acquire", cannot)
    with pytest.raises(ConfigError, match="flock"), a_file(machine).locked():
        raise AssertionError("nobody may get here")


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
