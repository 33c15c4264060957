"""A login shared with the official tools: they read what we wrote, and everything else in the file is as it was."""

from __future__ import annotations

import configparser
import json
import multiprocessing
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings, strategies as st
from machine import HOST, OTHER, Machine

from dbx_auth import keyrings, lock, share as sharing, store
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.files import Draft
from dbx_auth.ini import layout
from dbx_auth.journal import Journal
from dbx_auth.profile import parse
from dbx_auth.share import SETTINGS, default_name, set_default, share, unshare, with_profile
from dbx_auth.store import CliCache, CliSlot, Grant, cli_key
from dbx_auth.world import World

thorough = settings(max_examples=200, deadline=None, derandomize=True)

ACCOUNTS = "https://accounts.cloud.databricks.com"
U2M = {"host": HOST, "workspace_id": "7", "auth_type": "databricks-cli"}
NEW = f"""\
; The profile defined in the DEFAULT section is to be used as a fallback when no profile is explicitly specified.
[DEFAULT]

[DEV]
host         = {HOST}
workspace_id = 7
auth_type    = databricks-cli

[__settings__]
default_profile = DEV
"""


def grant(**more: Any) -> Grant:
    return Grant(**{"host": HOST, "access": "at-secret", "refresh": "rt-secret", "expires_at": 2e9 + 0.25, **more})


def python(text: str) -> dict[str, dict[str, str]]:
    """What the Databricks SDK for Python reads."""
    parser = configparser.ConfigParser(interpolation=None, default_section="\n")
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def tokens(machine: Machine) -> Any:
    return json.loads(machine.cli_cache.read_text())["tokens"]


@pytest.fixture
def plaintext(machine: Machine) -> Machine:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "plaintext"
    return machine


@pytest.fixture
def keyring(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A keyring that is a dictionary."""
    held: dict[str, str] = {}
    monkeypatch.setattr(keyrings, "is_there", lambda world: True)
    monkeypatch.setattr(keyrings, "get", lambda account, world: held.get(account))
    monkeypatch.setattr(keyrings, "put", lambda account, secret, world: held.update({account: secret}))
    monkeypatch.setattr(keyrings, "remove", lambda account, world: held.pop(account, None) is not None)
    return held


# ---- the text: what is written ---------------------------------------------------------------------------------------


def test_a_new_file_is_what_the_cli_would_have_written() -> None:
    assert with_profile("", "DEV", U2M) == NEW


def test_a_new_file_for_the_profile_default_needs_no_comment() -> None:
    text = with_profile("", "DEFAULT", {"host": HOST})
    assert text == f"[DEFAULT]\nhost = {HOST}\n\n[__settings__]\ndefault_profile = DEFAULT\n"


def test_a_second_profile_goes_to_the_end_and_the_default_stays() -> None:
    text = with_profile(NEW, "PROD", {"host": OTHER, "auth_type": "databricks-cli"})
    assert text == NEW + f"\n[PROD]\nhost      = {OTHER}\nauth_type = databricks-cli\n"


def test_the_first_profile_becomes_the_default_even_of_a_file_that_has_settings() -> None:
    before = "# mine\n[__settings__]\nauth_storage = plaintext\n"
    text = with_profile(before, "DEV", {"host": HOST})
    assert parse(text) == {SETTINGS: {"auth_storage": "plaintext", "default_profile": "DEV"}, "DEV": {"host": HOST}}
    assert text.startswith(before)


@pytest.mark.parametrize("text", ["[DEV]\nhost = x\n", "host = x\n", "[DEFAULT]\nhost = x\n", "[A]\nhost = x\n"])
def test_a_later_profile_becomes_no_default(text: str) -> None:
    assert SETTINGS not in parse(with_profile(text, "DEV", {"host": HOST}))


def test_comments_order_alignment_and_unknown_keys_stay() -> None:
    before = f"""\
# my workspaces
[PROD]   ; do not touch
host  = {OTHER}
token = theirs

# for work
[DEV]
; the old one
host              = https://old.cloud.databricks.com
azure_environment = usgov
warehouse_id      = abc
custom            = 'kept # so'
# the end of DEV

[LAST]
host={OTHER}
"""
    after = with_profile(before, "DEV", {"host": HOST, "scopes": "all-apis", "auth_type": "databricks-cli"})
    assert after == before.replace("https://old.cloud.databricks.com", HOST).replace(
        "custom            = 'kept # so'\n",
        "custom            = 'kept # so'\nscopes            = all-apis\nauth_type         = databricks-cli\n",
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[DEV]\nk=v\n", f"[DEV]\nk=v\nhost={HOST}\n"),
        ("[DEV]\nk = v\n", f"[DEV]\nk = v\nhost = {HOST}\n"),
        ("[DEV]\nk: v\n", f"[DEV]\nk: v\nhost={HOST}\n"),
        ("  [DEV]\n  k = v\n", f"  [DEV]\n  k = v\n  host = {HOST}\n"),
        ("[DEV]\n", f"[DEV]\nhost = {HOST}\n"),
        ("[DEV]", f"[DEV]\nhost = {HOST}\n"),
        ("[DEV]\nk = v", f"[DEV]\nk = v\nhost = {HOST}\n"),
        ("[DEV]\r\nk = v\r\n", f"[DEV]\r\nk = v\r\nhost = {HOST}\r\n"),
        ("[A]\r\nk = v", f"[A]\r\nk = v\r\n\r\n[DEV]\r\nhost = {HOST}\r\n"),
        ("[DEV]\r\nk = v", f"[DEV]\r\nk = v\r\nhost = {HOST}\r\n"),
        ("[DEV]\nk = a\\\n  b\n[B]\n", f"[DEV]\nk = a\\\n  b\nhost = {HOST}\n[B]\n"),
        ("[DEV]\nk = a\\", f"[DEV]\nk = a\\\n\nhost = {HOST}\n"),
        ("[A]\nk = a\\", f"[A]\nk = a\\\n\n[DEV]\nhost = {HOST}\n"),
        ("[A]\nk = a\\\n", f"[A]\nk = a\\\n\n[DEV]\nhost = {HOST}\n"),
        ("[A]\nk = v\n\n\n", f"[A]\nk = v\n\n\n[DEV]\nhost = {HOST}\n"),
        ("\ufeff[DEV]\nk = v\n", f"\ufeff[DEV]\nk = v\nhost = {HOST}\n"),
    ],
)
def test_a_new_key_is_written_in_the_manner_of_its_place(before: str, after: str) -> None:
    assert with_profile(before, "DEV", {"host": HOST}).partition(f"\n[{SETTINGS}]")[0].rstrip() == after.rstrip()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("host = old\n", f"host = {HOST}\n"),
        ("host=old\n", f"host={HOST}\n"),
        ("host: old\n", f"host: {HOST}\n"),
        ("host =\n", f"host = {HOST}\n"),
        ('host = "old"\n', f"host = {HOST}\n"),
        (f'host = "{HOST}"\n', f"host = {HOST}\n"),  # equal to the CLI, but Python would send the quotes
        (f"host = {HOST} # mine\n", f"# mine\nhost = {HOST}\n"),  # and the comment
        ("host = old ; mine\r\n", f"; mine\r\nhost = {HOST}\r\n"),
        ("host = o\\\nld\n", f"host = {HOST}\n"),
        ('host = """o\nl\nd"""\n', f"host = {HOST}\n"),
        ("host = `old`\n", f"host = {HOST}\n"),
        ("Host = old\n", f"host = {HOST}\n"),  # Python would find it twice
        ('"host" = old\n', f"host = {HOST}\n"),
        ("host = a\nhost = b\n", f"host = {HOST}\n"),
        ("host = a\nk = v\nHOST = b\n", f"host = {HOST}\nk = v\n"),
        ("host = a\\\r\nb", f"host = {HOST}\r\n"),
        (f"host = {HOST}\n", f"host = {HOST}\n"),
        (f"host = {HOST}", f"host = {HOST}"),  # not so much as an end of line is touched without need
    ],
)
def test_a_key_is_changed_where_it_stands(before: str, after: str) -> None:
    top = "[A]\nhost = a\n[DEV]\n"
    assert with_profile(top + before, "DEV", {"host": HOST}) == top + after


def test_of_a_comment_behind_a_secret_nothing_stays() -> None:
    """What looks like a comment may be the rest of the secret."""
    values = {"host": HOST, "client_id": "id", "client_secret": "new"}
    assert "canary" not in with_profile("[DEV]\nhost = x\nclient_secret = a #canary\n", "DEV", values)


def test_a_section_that_comes_twice_stays_two_and_says_one_thing() -> None:
    before = f"[DEV]\nhost = {OTHER}\ntoken = t\n[A]\nk = v\n[DEV]\nhost = {OTHER}\nkept = 1\n"
    after = with_profile(before, "DEV", {"host": HOST, "auth_type": "databricks-cli"})
    assert after == f"[DEV]\n[A]\nk = v\n[DEV]\nhost = {HOST}\nkept = 1\nauth_type = databricks-cli\n"


def test_keys_before_the_first_section_belong_to_default() -> None:
    before = f"host = {OTHER}\ntoken = t\n[A]\nk = v\n"
    assert with_profile(before, "DEFAULT", {"host": HOST}) == f"host = {HOST}\n[A]\nk = v\n"
    assert with_profile("token = t\n[A]\nhost = v\n", "DEFAULT", {"host": HOST}) == f"host = {HOST}\n[A]\nhost = v\n"


OTHER_LOGINS = """
    token username password client_id client_secret oidc_token_env oidc_token_filepath databricks_id_token_filepath
    azure_client_id azure_client_secret azure_tenant_id azure_use_msi azure_workspace_resource_id azure_login_app_id
    google_credentials google_service_account metadata_service_url experimental_is_unified_host auth_type Token
""".split()
KEPT = "azure_environment warehouse_id cluster_id scopes databricks_cli_path group_id custom_key".split()


def test_every_other_way_to_log_in_goes_and_the_rest_stays() -> None:
    section = "".join(f"{key} = theirs\n" for key in OTHER_LOGINS + KEPT)
    after = parse(with_profile(f"[DEV]\nhost = {HOST}\n{section}", "DEV", U2M))["DEV"]
    assert after == {**U2M, **dict.fromkeys(KEPT, "theirs")}


@pytest.mark.parametrize(
    "values", [{"host": HOST, "token": "dapi"}, {"host": HOST, "client_id": "id", "client_secret": "s"}]
)
def test_a_key_that_was_given_is_written_whatever_it_is(values: dict[str, str]) -> None:
    assert parse(with_profile(NEW, "DEV", values))["DEV"] == {**values, "workspace_id": "7"}


def test_what_belongs_to_another_host_goes_with_it() -> None:
    before = f"[DEV]\nhost = {OTHER}\naccount_id = a\nworkspace_id = 9\ncluster_id = c\nserverless_compute_id = auto\n"
    assert parse(with_profile(before, "DEV", {"host": HOST}))["DEV"] == {"host": HOST}
    same = before.replace(OTHER, HOST.upper() + "/")
    assert parse(with_profile(same, "DEV", {"host": HOST}))["DEV"]["workspace_id"] == "9"


def test_an_empty_value_takes_its_key_away() -> None:
    assert (
        with_profile("[DEV]\nhost = x\nscopes = a,b\n", "DEV", {"host": HOST, "scopes": ""})
        == f"[DEV]\nhost = {HOST}\n"
    )


def test_a_line_that_python_takes_for_more_of_the_value_above_spoils_nothing() -> None:
    before = "[DEV]\nhost = old\n    custom = 1\nother = 2\n"
    after = with_profile(before, "DEV", {"host": HOST})
    assert python(after)["DEV"]["host"] == HOST and parse(after)["DEV"] == {"host": HOST, "custom": "1", "other": "2"}
    assert "\n    custom = 1\nother = 2\n" in after


def test_where_blanks_hide_the_section_from_python_nothing_is_written() -> None:
    with pytest.raises(ConfigError, match=r"section \[DEV\] cannot be written") as error:
        with_profile("[A]\nk = v\n  [DEV]\n  k = v\n", "DEV", {"host": HOST})
    assert "blanks" in error.value.hint


# ---- the text: what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", " ", "a ", " a", "a]b", "a\nb", "a\tb", "a\x00", "a\u2028b", HOST, "a #b", "'a'", "`a", "a\\"]
)
def test_a_name_that_somebody_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a profile"):
        with_profile("", name, U2M)


def test_the_name_of_the_settings_is_reserved() -> None:
    with pytest.raises(ConfigError, match="__settings__ is reserved"):
        with_profile("", SETTINGS, U2M)


ODD = 'a\nb,a\rb,a\tb, a,a ,a #b,a ;b,\'a\',"a",`a`,`a,"""a""","""a,a\\,\x1b[1ma,a\u2028b,\xa0a'.split(",")


@pytest.mark.parametrize("value", ODD)
def test_a_value_that_somebody_would_read_otherwise_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError, match="the value of client_secret cannot be written") as error:
        with_profile("", "DEV", {"host": HOST, "client_secret": value.replace("a", "canary")})
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "value", ["#a", ";a", "a#b;c", "a=b", "a:b", "%(x)s", "'a", "a'b'", "[A]", "\u00fc", "a\\b", "$x", "a  b"]
)
def test_a_value_that_only_looks_odd_is_read_back_by_all(value: str) -> None:
    text = with_profile("", "DEV", {"host": HOST, "password": value})
    assert parse(text)["DEV"]["password"] == python(text)["DEV"]["password"] == value


@pytest.mark.parametrize("text", ["nonsense", "[A]\nk = `v\n", "[]\n"])
def test_a_text_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^line "):
        with_profile(text, "DEV", U2M)


# ---- the text: any text ----------------------------------------------------------------------------------------------

SECTION = st.sampled_from(["DEV", "DEFAULT", "A", "B", "a.b", "x y", SETTINGS])
KEY = st.sampled_from(
    ["host", "token", "Host", '"host"', "auth_type", "k", "k2", "scopes", "azure_client_id", "azure_environment"]
)
INDENT = st.sampled_from(["", "", "", "  ", "\t"])
PLAIN = st.text("ab/:=.-_ \\", max_size=8)
VALUE = st.one_of(
    st.just(HOST),
    PLAIN,
    PLAIN.map(lambda v: f"{v} # c"),
    PLAIN.map(lambda v: f'"{v}"'),
    PLAIN.map(lambda v: f"`{v}\n{v}`"),
    PLAIN.map(lambda v: f'"""{v}\n  {v}"""'),
    PLAIN.map(lambda v: f"{v}\\\n  {v}"),
)
LINE = st.one_of(
    st.builds("{}[{}]".format, INDENT, SECTION),
    st.builds("{}{}{}{}".format, INDENT, KEY, st.sampled_from([" = ", "=", ": ", "     = ", "\t=\t"]), VALUE),
    st.sampled_from(["", "# comment", "  ; comment", "   ", "#"]),
)
FILE = st.builds(
    lambda lines, eol, end: eol.join(line.replace("\n", eol) for line in lines) + end * eol,
    st.lists(LINE, max_size=12),
    st.sampled_from(["\n", "\n", "\r\n"]),
    st.integers(0, 2),
)
NAMES = st.sampled_from(["DEV", "DEFAULT", "A", "new", "x y"])
VALUES = st.fixed_dictionaries(
    {"host": st.sampled_from([HOST, OTHER])},
    optional={
        "account_id": st.sampled_from(["acc", ""]),
        "scopes": st.sampled_from(["all-apis", "a,b"]),
        "token": st.just("dapi0"),
        "auth_type": st.sampled_from(["databricks-cli", "pat"]),
    },
)


@thorough
@given(FILE)
@example('[A]\n"" = v\n')
def test_the_layout_is_what_the_profile_reader_reads(text: str) -> None:
    try:
        read = parse(text)
    except ValueError:
        assume(False)
    found: dict[str, dict[str, str]] = {}
    for entry in layout(text):
        section = found.setdefault(entry.section, {})
        if entry.key is not None:
            section[entry.key] = entry.value
    assert {k: v for k, v in found.items() if v} == {k: v for k, v in read.items() if v}


@thorough
@given(FILE, NAMES, VALUES)
@example("k = a\\", "DEV", {"host": HOST})
@example("k = \\\\", "DEV", {"host": HOST})
@example("[DEV]\nk = a\\\\\\\n", "DEV", {"host": HOST})
@example("[DEV]\nhost = a\\\n", "DEV", {"host": HOST})
@example("[DEV]\r\ntoken = `a\r\nb`", "DEV", {"host": HOST})
def test_only_the_section_changes_whatever_the_file_holds(text: str, name: str, values: dict[str, str]) -> None:
    try:
        before = parse(text)
        after = with_profile(text, name, values)
    except (ValueError, ConfigError):
        assume(False)
    read = parse(after)
    assert {k: v for k, v in read[name].items() if k in values} == {k: v for k, v in values.items() if v}
    others = {k: v for k, v in before.items() if k not in (name, SETTINGS) and v}
    assert {k: v for k, v in read.items() if k not in (name, SETTINGS) and v} == others
    settings_before = before.get(SETTINGS, {})
    if any("host" in v for k, v in before.items() if k != SETTINGS):
        assert read.get(SETTINGS, {}) == settings_before
    else:
        # Only where Python would have found it twice does a key of another spelling go.
        assert read[SETTINGS]["default_profile"] == name
    assert with_profile(after, name, values) == after, "and a second time changes nothing"


@thorough
@given(FILE, NAMES, VALUES)
def test_every_other_line_stays_byte_for_byte(text: str, name: str, values: dict[str, str]) -> None:
    try:
        parse(text)
        after = with_profile(text, name, values)
    except (ValueError, ConfigError):
        assume(False)
    lines = text.split("\n")
    touched = {
        n
        for e in layout(text)
        if e.section in (name, SETTINGS) and e.key is not None
        for n in range(e.first, e.last + 1)
    }
    left = iter(after.split("\n"))
    for number, line in enumerate(lines):
        if number not in touched and line.strip():
            assert any(line == new or new == line + "\r" for new in left), f"line {number + 1} is gone: {line!r}"


@thorough
@given(FILE, NAMES, VALUES)
def test_python_reads_what_was_given_wherever_it_reads_anything(text: str, name: str, values: dict[str, str]) -> None:
    try:
        parse(text)
        after = with_profile(text, name, values)
        read = python(after)
    except (ValueError, ConfigError, configparser.Error):
        assume(False)
    assert {k: v for k, v in read[name].items() if k in values} == {k: v for k, v in values.items() if v}
    logins = {k for k in read[name] if sharing._logs_in(k)} - set(values)
    assert not logins


# ---- the name nobody gave --------------------------------------------------------------------------------------------

DEV_LOGIN = {"host": "https://dev.azuredatabricks.net", "auth_type": "databricks-cli"}


@pytest.mark.parametrize(
    ("host", "account_id", "sections", "name"),
    [
        ("https://adb-123.7.azuredatabricks.net", "", {}, "adb-123"),
        (HOST, "acc", {}, "dev"),
        (HOST + "/?o=7", "", {}, "dev"),
        (ACCOUNTS, "acc", {}, "ACCOUNT-acc"),
        (ACCOUNTS, "", {}, "accounts"),
        ("http://127.0.0.1:8080", "", {}, "DEFAULT"),
        ("https://[::1]", "", {}, "DEFAULT"),
        ("http://localhost:8080", "", {}, "localhost"),
        (HOST, "", {"WORK": {"host": HOST.upper(), "auth_type": "databricks-cli"}}, "WORK"),
        (HOST, "", {"WORK": {"host": HOST, "token": "t"}}, "dev"),
        (HOST, "", {"dev": {"host": HOST, "token": "t"}}, "dev-2"),
        (HOST, "", {"dev": {}}, "dev"),
        (HOST, "", {"dev": DEV_LOGIN, "dev-2": DEV_LOGIN}, "dev-3"),
        (HOST, "", {"a": {**DEV_LOGIN, "host": HOST}, "dev": {**DEV_LOGIN, "host": HOST}}, "dev"),
        (HOST, "", {"a": {**DEV_LOGIN, "host": HOST}, "b": {**DEV_LOGIN, "host": HOST}}, "dev"),
        (ACCOUNTS, "acc", {"A": {**DEV_LOGIN, "host": ACCOUNTS, "account_id": "other"}}, "ACCOUNT-acc"),
        (ACCOUNTS, "acc", {"A": {**DEV_LOGIN, "host": ACCOUNTS, "account_id": "acc"}}, "A"),
        ("http://127.0.0.1:8080", "", {"DEFAULT": {"host": HOST}}, "DEFAULT-2"),
    ],
)
def test_a_name_is_the_one_there_is_or_the_one_the_cli_would_take(
    host: str, account_id: str, sections: dict[str, dict[str, str]], name: str
) -> None:
    assert default_name(host, account_id, sections) == name


# ---- sharing: where it lands -----------------------------------------------------------------------------------------


def test_a_login_lands_in_the_file_under_its_profile_and_under_its_host(plaintext: Machine) -> None:
    shared = share("DEV", U2M, grant(), plaintext.world)
    assert shared == ["~/.databricks/token-cache.json [DEV]", "~/.databrickscfg [DEV]"]
    assert plaintext.config.read_text() == NEW
    assert set(tokens(plaintext)) == {"DEV", HOST} and tokens(plaintext)["DEV"] == tokens(plaintext)[HOST]
    assert CliSlot(CliCache(plaintext.world), "DEV", Grant(HOST)).read() == grant()
    for path in (plaintext.config, plaintext.cli_cache):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(plaintext.cli_cache.parent.stat().st_mode) == 0o700


def test_what_others_keep_in_the_cache_stays(plaintext: Machine) -> None:
    plaintext.write(plaintext.cli_cache, {"version": 1, "tokens": {"PROD": {"x": 1}, "DEV": {"old": 1}}, "new": [2]})
    share("DEV", U2M, grant(), plaintext.world)
    kept = json.loads(plaintext.cli_cache.read_text())
    assert kept["new"] == [2] and kept["tokens"]["PROD"] == {"x": 1}
    assert "old" not in kept["tokens"]["DEV"], "a new login is a new one"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"host": ACCOUNTS, "account_id": "acc"}, f"{ACCOUNTS}/oidc/accounts/acc"),
        ({"host": ACCOUNTS}, ACCOUNTS),
        ({"account_id": "acc"}, HOST),
        ({"group_id": "g"}, ""),  # a role is not what somebody wants who names the host alone
    ],
)
def test_the_key_of_the_host_is_the_cli_s(plaintext: Machine, more: dict[str, str], key: str) -> None:
    share("DEV", {"host": more.get("host", HOST)}, grant(**more), plaintext.world)
    assert set(tokens(plaintext)) == {"DEV", key} - {""}


def test_without_a_grant_only_the_profile_is_written(machine: Machine) -> None:
    assert share("DEV", {"host": HOST, "token": "dapi0"}, None, machine.world) == ["~/.databrickscfg [DEV]"]
    assert set(machine.files()) == {".databrickscfg"}
    assert parse(machine.config.read_text())["DEV"] == {"host": HOST, "token": "dapi0"}


def test_in_the_keyring_it_lands_under_its_profile_alone(machine: Machine, keyring: dict[str, str]) -> None:
    shared = share("DEV", U2M, grant(), machine.world)
    assert shared == ["the keyring (databricks-cli) [DEV]", "~/.databrickscfg [DEV]"]
    assert list(keyring) == ["DEV"] and json.loads(keyring["DEV"])["token"]["refresh_token"] == "rt-secret"
    assert parse(machine.config.read_text())[SETTINGS] == {"default_profile": "DEV", "auth_storage": "secure"}
    assert set(machine.files()) == {".databrickscfg"}


def test_without_a_keyring_it_lands_in_the_file_and_the_next_login_knows(machine: Machine) -> None:
    shared = share("DEV", U2M, grant(), machine.world)
    assert shared[0] == "~/.databricks/token-cache.json [DEV]"
    assert parse(machine.config.read_text())[SETTINGS] == {"default_profile": "DEV", "auth_storage": "plaintext"}


def test_what_was_asked_for_is_not_written_down_again(plaintext: Machine, keyring: dict[str, str]) -> None:
    share("DEV", U2M, grant(), plaintext.world)
    assert not keyring and parse(plaintext.config.read_text())[SETTINGS] == {"default_profile": "DEV"}
    plaintext.env["DATABRICKS_AUTH_STORAGE"] = " Secure "
    share("DEV", U2M, grant(), plaintext.world)
    assert keyring and parse(plaintext.config.read_text())[SETTINGS] == {"default_profile": "DEV"}


def test_nothing_goes_to_a_file_that_was_to_be_secure(machine: Machine) -> None:
    machine.write(machine.config, "[__settings__]\nauth_storage = secure\n")
    before = machine.files()
    with pytest.raises(ConfigError, match=r"\(secure\), but there is no keyring"):
        share("DEV", U2M, grant(), machine.world)
    assert machine.files() == before


@pytest.mark.parametrize("kind", [ConfigError, Temporary])
def test_a_keyring_that_is_locked_or_slow_is_not_replaced_by_a_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: type[ConfigError]
) -> None:
    def refuse(account: str, secret: str, world: World) -> None:
        raise kind("no", hint="h")

    monkeypatch.setattr(keyrings, "put", refuse)
    with pytest.raises(kind):
        share("DEV", U2M, grant(), machine.world)
    assert machine.files() == {}


# ---- sharing: nothing is lost ----------------------------------------------------------------------------------------


def test_what_was_there_is_replaced_and_no_copy_of_it_stays(plaintext: Machine) -> None:
    """The file is the old one or the new one at any moment; a copy would keep a token that nobody looks after."""
    plaintext.write(plaintext.config, f"[DEV]\r\nhost = {HOST}\r\ntoken = dapi-theirs\r\n")
    share("DEV", U2M, grant(), plaintext.world)
    assert b"\r\n" in plaintext.config.read_bytes()
    assert not any(b"dapi-theirs" in content for content in plaintext.files().values())
    written = plaintext.config.stat().st_mtime_ns, plaintext.config.stat().st_ino
    share("DEV", U2M, grant(access="at2"), plaintext.world)
    assert (plaintext.config.stat().st_mtime_ns, plaintext.config.stat().st_ino) == written, "what is right stays"


def test_a_link_is_followed(plaintext: Machine, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "databrickscfg"
    plaintext.write(target, "# kept\n")
    plaintext.config.symlink_to(target)
    share("DEV", U2M, grant(), plaintext.world)
    assert plaintext.config.is_symlink() and target.read_text().startswith("# kept\n\n[DEV]\n")


def test_another_profile_file_may_be_named(plaintext: Machine, tmp_path: Path) -> None:
    plaintext.env["DATABRICKS_CONFIG_FILE"] = str(tmp_path / "cfg")
    assert share("DEV", U2M, grant(), plaintext.world)[-1] == f"{tmp_path / 'cfg'} [DEV]"
    assert not plaintext.config.exists()


@pytest.mark.parametrize("content", [b"nonsense\n", b"[A]\nk = `v\n", b"\xff\xfe[A]", b"x" * (2 << 20)])
def test_a_profile_file_that_cannot_be_read_is_left_alone(plaintext: Machine, content: bytes) -> None:
    plaintext.write(plaintext.config, content)
    with pytest.raises(ConfigError):
        share("DEV", U2M, grant(), plaintext.world)
    assert plaintext.files() == {".databrickscfg": content}


@pytest.mark.parametrize("content", ["{", '{"version": 2, "tokens": {}}', '{"version": 1, "tokens": []}'])
def test_a_damaged_cache_is_left_alone_and_no_profile_points_to_it(plaintext: Machine, content: str) -> None:
    plaintext.write(plaintext.cli_cache, content)
    before = plaintext.files()
    with pytest.raises(ConfigError, match="token-cache.json"):
        share("DEV", U2M, grant(), plaintext.world)
    assert plaintext.files() == before


@pytest.mark.parametrize("name", [".databrickscfg", "token-cache.json"])
@pytest.mark.parametrize("rehearsed", [True, False])
def test_a_full_disk_is_noticed_before_the_first_write_and_told_after_it(
    plaintext: Machine, monkeypatch: pytest.MonkeyPatch, name: str, rehearsed: bool
) -> None:
    call = "reserve" if rehearsed else "commit"
    real = getattr(Draft, call)

    def full(self: Draft, *args: Any) -> None:
        if self._path.endswith(name):
            raise ConfigError("no space left", hint="make room")
        real(self, *args)

    monkeypatch.setattr(Draft, call, full)
    with pytest.raises(ConfigError, match="no space left") as error:
        share("DEV", U2M, grant(), plaintext.world)
    half = name == ".databrickscfg" and not rehearsed
    assert bool(plaintext.files()) == half
    assert ("the login is in ~/.databricks/token-cache.json [DEV], but" in str(error.value)) == half


def test_what_would_fail_is_known_before_anybody_is_sent_to_the_browser(plaintext: Machine) -> None:
    sharing.rehearse("DEV", HOST, plaintext.world)
    assert plaintext.files() == {}, "and nothing is written for it"
    with pytest.raises(ConfigError, match="reserved"):
        sharing.rehearse(SETTINGS, HOST, plaintext.world)
    plaintext.write(plaintext.cli_cache, "{")
    with pytest.raises(ConfigError, match="token-cache.json"):
        sharing.rehearse("DEV", HOST, plaintext.world)
    plaintext.env["DATABRICKS_AUTH_STORAGE"] = "secure"
    with pytest.raises(ConfigError, match="no keyring"):
        sharing.rehearse("DEV", HOST, plaintext.world)
    plaintext.write(plaintext.config, "nonsense")
    with pytest.raises(ConfigError, match="databrickscfg cannot be understood"):
        sharing.rehearse("DEV", HOST, plaintext.world)


@pytest.mark.parametrize("more", [{"client_id": "ours"}, {"authority": "https://login.microsoftonline.com/t"}])
def test_what_the_cli_could_not_renew_is_not_shared(plaintext: Machine, more: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="could not renew"):
        share("DEV", U2M, grant(**more), plaintext.world)
    assert plaintext.files() == {}


def test_a_login_is_never_shared_as_one_for_another_host(plaintext: Machine) -> None:
    with pytest.raises(ConfigError, match=f"this login is for {HOST}, not for {OTHER}"):
        share("DEV", {"host": OTHER}, grant(), plaintext.world)
    assert plaintext.files() == {}


def test_no_error_shows_a_secret(plaintext: Machine) -> None:
    with pytest.raises(ConfigError) as error:
        share("DEV", {"host": HOST, "token": "dapi-canary #x"}, None, plaintext.world)
    assert "canary" not in f"{error.value} {error.value.hint}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[A]\nk = v\n[A]\n", "line 3 opens a section for the second time"),
        ("[A]\nk = v\nk = canary\n", "line 3 sets a key for the second time"),
        ("k = v\n", "line 1 stands before the first section"),
        ("[A]\nk = v\\\ncanary\n", "a line is neither a section nor a key with a value"),
    ],
)
def test_what_python_s_sdk_cannot_read_is_named(
    machine: Machine, capsys: pytest.CaptureFixture[str], content: str, why: str
) -> None:
    machine.write(machine.config, content)
    share("DEV", {"host": HOST, "token": "t"}, None, machine.world)
    told = capsys.readouterr().err
    assert why in told and "canary" not in told


# ---- sharing: at the same time ---------------------------------------------------------------------------------------


def _share_many(home: str, start: int) -> None:
    world = World(env={"DATABRICKS_AUTH_STORAGE": "plaintext"}, home=home)
    for number in range(start, start + 8):
        share(f"P{number}", U2M, grant(), world)


def test_of_many_who_share_at_once_nobody_is_lost(machine: Machine) -> None:
    spawn = multiprocessing.get_context("spawn")
    several = [spawn.Process(target=_share_many, args=(str(machine.home), 8 * n)) for n in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
        assert process.exitcode == 0
    everybody = {f"P{number}" for number in range(24)}
    assert set(parse(machine.config.read_text())) >= everybody and set(tokens(machine)) >= everybody


@contextmanager
def _unlocked(self: object) -> Iterator[None]:
    yield


@pytest.mark.parametrize("locked", [True, False])
def test_nobody_gets_between_reading_and_writing_and_the_lock_is_why(
    plaintext: Machine, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    if not locked:
        monkeypatch.setattr(store.JsonFile, "locked", _unlocked)
    keep = sharing._keep
    came: list[Exception | None] = []

    def another_comes(*args: Any) -> str:
        monkeypatch.setattr(sharing, "_keep", keep)
        try:
            share("OTHER", U2M, grant(), plaintext.world)
            came.append(None)
        except Temporary as error:
            came.append(error)
        return keep(*args)

    monkeypatch.setattr(sharing, "_keep", another_comes)
    share("DEV", U2M, grant(), plaintext.world)
    assert "DEV" in parse(plaintext.config.read_text())
    if locked:
        assert isinstance(came[0], Temporary)
    else:  # the control: he came, and was written away
        assert came == [None] and "OTHER" not in parse(plaintext.config.read_text())


def test_the_lock_is_beside_the_file_where_the_cli_puts_its_own(
    plaintext: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    path = os.path.realpath(plaintext.config) + ".lock"
    import filelock

    with filelock.FileLock(path), pytest.raises(Temporary, match="another process has held"):
        share("DEV", U2M, grant(), plaintext.world)
    assert plaintext.files() == {}


def test_the_cli_s_lock_is_waited_for_too(plaintext: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    import filelock

    plaintext.cli_cache.parent.mkdir(mode=0o700)
    with filelock.FileLock(plaintext.cli_cache.with_name("token-cache.lock")), pytest.raises(Temporary):
        share("DEV", U2M, grant(), plaintext.world)
    assert plaintext.files() == {}
    assert share("DEV", U2M, grant(), plaintext.world), "the control: once it is free, it goes through"


# ---- the default -----------------------------------------------------------------------------------------------------


def test_the_default_changes_and_nothing_else_of_the_file(machine: Machine) -> None:
    two = f"\ufeff# mine\n[DEV]\nhost = {HOST}\n[PROD]\nhost = {OTHER}\n"
    machine.write(machine.config, two)
    set_default("PROD", machine.world)
    assert machine.config.read_text() == f"{two}\n[__settings__]\ndefault_profile = PROD\n"
    set_default("DEV", machine.world)
    assert machine.config.read_text() == f"{two}\n[__settings__]\ndefault_profile = DEV\n"
    before = machine.config.stat()
    set_default("DEV", machine.world)
    assert machine.config.stat().st_ino == before.st_ino, "what is said already is not written again"


@pytest.mark.parametrize(
    ("name", "words"),
    [("NONE", "not found"), ("", "not found"), (SETTINGS, "not found"), ("a ; b", "cannot be the name of a profile")],
)
def test_no_default_is_set_that_there_is_not_or_that_another_tool_would_not_read_back(
    machine: Machine, name: str, words: str
) -> None:
    text = f"[a ; b]\nhost = {HOST}\n\n[{SETTINGS}]\nauth_storage = plaintext\n"
    machine.write(machine.config, text)
    with pytest.raises(ConfigError, match=words):
        set_default(name, machine.world)
    assert machine.config.read_text() == text


def test_the_default_is_set_under_the_lock_that_sharing_takes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    import filelock

    with filelock.FileLock(os.path.realpath(machine.config) + ".lock"), pytest.raises(Temporary):
        set_default("DEV", machine.world)
    set_default("DEV", machine.world)
    assert parse(machine.config.read_text())[SETTINGS] == {"default_profile": "DEV"}, "the control"


# ---- no longer shared ------------------------------------------------------------------------------------------------


def test_what_was_shared_is_forgotten_and_the_profile_stays(plaintext: Machine) -> None:
    share("DEV", U2M, grant(), plaintext.world)
    share("PROD", {"host": OTHER}, grant(host=OTHER), plaintext.world)
    file = "~/.databricks/token-cache.json"
    assert unshare("DEV", HOST, "", plaintext.world) == [f"{file} [DEV]", f"{file} [{HOST}]"]
    assert set(tokens(plaintext)) == {"PROD", OTHER}
    assert set(parse(plaintext.config.read_text())) >= {"DEV", "PROD"}
    assert unshare("DEV", HOST, "", plaintext.world) == []


def test_a_login_that_belongs_to_no_profile_is_forgotten_by_its_host(plaintext: Machine) -> None:
    plaintext.cached_login(HOST)
    assert unshare("", HOST, "", plaintext.world) == [f"~/.databricks/token-cache.json [{HOST}]"]


def test_what_another_profile_of_the_host_needs_stays(plaintext: Machine) -> None:
    for name in ("DEV", "TOO"):
        share(name, U2M, grant(), plaintext.world)
    unshare("DEV", HOST, "", plaintext.world)
    assert set(tokens(plaintext)) == {"TOO", HOST}
    plaintext.write(plaintext.config, f"[DEV]\nhost = {HOST}\n[TOO]\nhost = {HOST}\ntoken = t\n")
    unshare("DEV", HOST, "", plaintext.world)
    assert set(tokens(plaintext)) == {"TOO"}, "the control: a profile that logs in another way does not need it"


def test_accounts_of_one_host_are_told_apart(plaintext: Machine) -> None:
    for account in "ab":
        share(
            account,
            {"host": ACCOUNTS, "account_id": account},
            grant(host=ACCOUNTS, account_id=account),
            plaintext.world,
        )
    unshare("a", ACCOUNTS, "a", plaintext.world)
    assert set(tokens(plaintext)) == {"b", cli_key(ACCOUNTS, "b")}


def waits_aside(machine: Machine, refresh: str) -> Journal:
    """A renewed grant that could not be written in place of the one with this refresh token."""
    journal = Journal(machine.world, CliSlot(CliCache(machine.world), "DEV", Grant(HOST)).refresh_locks())
    journal.rescue(grant(refresh=refresh), grant(access="aside-at", refresh="aside-rt"))
    return journal


def secrets(machine: Machine) -> list[str]:
    """The files that hold a token of ours."""
    found = (path for path in machine.home.rglob("*") if path.is_file())
    return [path.name for path in found if re.search(rb"at-secret|rt-secret|aside-", path.read_bytes())]


def test_what_waits_aside_for_a_login_is_forgotten_with_it(plaintext: Machine) -> None:
    share("DEV", U2M, grant(access="at-secret", refresh="rt-secret"), plaintext.world)
    other = waits_aside(plaintext, "another login's")
    waits_aside(plaintext, "rt-secret")
    unshare("DEV", HOST, "", plaintext.world)
    assert other.rescued(grant(refresh="rt-secret")) is None
    assert other.rescued(grant(refresh="another login's"))
    other.forget_rescued(grant(refresh="another login's"))
    assert secrets(plaintext) == []


def test_what_waits_aside_for_a_login_of_the_keyring_is_forgotten_with_it(
    machine: Machine, keyring: dict[str, str]
) -> None:
    share("DEV", U2M, grant(access="at-secret", refresh="rt-secret"), machine.world)
    waits_aside(machine, "rt-secret")
    unshare("DEV", HOST, "", machine.world)
    assert secrets(machine) == []


@pytest.mark.parametrize("entry", [None, 7, [], {}, {"refresh_token": 7}])
def test_an_entry_that_is_none_is_forgotten_too(plaintext: Machine, entry: object) -> None:
    plaintext.write(plaintext.cli_cache, {"version": 1, "tokens": {"DEV": entry, "PROD": {}}})
    assert unshare("DEV", HOST, "", plaintext.world) == ["~/.databricks/token-cache.json [DEV]"]
    assert set(tokens(plaintext)) == {"PROD"}


def test_without_anything_to_forget_nothing_is_made(machine: Machine) -> None:
    assert unshare("DEV", HOST, "", machine.world) == [] and machine.files() == {}
    assert not machine.cli_cache.parent.exists()


def test_the_keyring_forgets_too(machine: Machine, keyring: dict[str, str]) -> None:
    share("DEV", U2M, grant(), machine.world)
    keyring["PROD"] = "theirs"
    assert unshare("DEV", HOST, "", machine.world) == ["the keyring (databricks-cli) [DEV]"]
    assert keyring == {"PROD": "theirs"}


def test_a_keyring_that_was_asked_for_and_is_not_there_is_told(machine: Machine) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "secure"
    with pytest.raises(ConfigError, match="no keyring"):
        unshare("DEV", HOST, "", machine.world)
    machine.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nonexistent"
    del machine.env["DATABRICKS_AUTH_STORAGE"]
    assert unshare("DEV", HOST, "", machine.world) == [], "and one that nobody asked for is not missed"
