"""The cases that the Go and the Python SDK test themselves with, and what dbx-auth makes of them.

`official` is what both SDKs answer: the auth type and host, or what the error has to say. A row with `ours` names the
row of the table of differences that makes it something else for dbx-auth. Our command line has flags for the profile
and the host alone; what else the SDKs take as arguments, dbx-auth is given in the environment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from .answer import FAILED, NOTHING, OK, UNUSABLE
from .differences import DIFFERENCES
from .sides import Bench
from .state import ATTRIBUTES, CONFIG_FILE, CONFIG_PROFILE, Line, Section, State, plain

WORKSPACE = "https://dbc-XXXXXXXX-YYYY.cloud.databricks.com"
AZURE = "https://adb-xxx.y.azuredatabricks.net"
RESOURCE = "/sub/rg/ws"


def section(name: str, **values: str) -> Section:
    return Section(name, tuple(plain(key, value) for key, value in values.items()))


HOMES: dict[str, tuple[Section, ...] | None] = {
    "": None,
    "testdata": (
        section("DEFAULT", host=WORKSPACE, token="PT0+IC9kZXYvdXJhbmRvbSA8PT0KYFZ"),
        section("query", host=f"{WORKSPACE}/?foo=bar", token="PT0+IC9kZXYvdXJhbmRvbSA8PT0KYFZ"),
        section("nohost", token="PT0+IC9kZXYvdXJhbmRvbSA8PT0KYFZ"),
        section("pat.with.dot", host=WORKSPACE, token="PT0+IC9kZXYvdXJhbmRvbSA8PT0KYFZ"),
        section("justhost", host=WORKSPACE),
    ),
    "azure": (section("other", host=AZURE),),
    "empty DEFAULT": (Section("DEFAULT", ()), section("abc", host="https://foo", token="bar")),
    "corrupt": (Section("DEFAULT", (Line("; nothing follows"),)), section("other", host="https://foo")),
    "default profile": (
        section("__settings__", default_profile="my-workspace"),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
        section("my-workspace", host="https://my.cloud.databricks.com", token="of-mine"),
        section("other", host="https://other.cloud.databricks.com", token="of-other"),
    ),
    "no default profile": (
        Section("__settings__", (plain("auth_storage", "plaintext"),)),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
    ),
    "empty default profile": (
        Section("__settings__", (Line("default_profile =", "default_profile"),)),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
    ),
    "settings as default profile": (
        section("__settings__", default_profile="__settings__"),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
    ),
    "dangling default profile": (
        section("__settings__", default_profile="deleted-profile"),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
    ),
    "DEFAULT as default profile": (
        section("__settings__", default_profile="DEFAULT"),
        section("DEFAULT", host="https://default.cloud.databricks.com", token="of-default"),
    ),
}

NONE = "cannot configure default credentials"
MANY = "validate: more than one authorization method configured: "


class Case(NamedTuple):
    """`said` and `env` are settings by name, given as arguments and in the environment."""

    number: str
    official: str
    said: dict[str, str] = {}
    env: dict[str, str] = {}
    home: str = ""
    az: str = ""
    ours: str = ""
    error: str = OK
    row: str = ""

    @property
    def state(self) -> State:
        env = {ATTRIBUTES[name].env[0]: value for name, value in self.env.items()}
        return State(self.said, env, HOMES[self.home], programs=frozenset((self.az,)) if self.az else frozenset())


PAT_AT_X = {"host": "x", "token": "x"}
BASIC = {"username": "x", "password": "x"}
FOUR = {"host": "x", "token": "x", **BASIC}
AZURE_CLI = {"host": AZURE, "azure_workspace_resource_id": RESOURCE}
NO_HOST = "credential without a host"
SEVERAL = "several ways to log in"

CASES = (
    Case("1", NONE, error=NOTHING),
    Case("2", f"{NONE}|Config: host=https://x|Env: DATABRICKS_HOST", env={"host": "x"}, error=NOTHING),
    Case("3", f"{NONE}|Config: token=***|Env: DATABRICKS_TOKEN", env={"token": "x"}, error=FAILED, row=NO_HOST),
    Case("4", "pat https://x", env=PAT_AT_X),
    Case("5", "pat https://x", {"host": "https://x"}, {"token": "x"}),
    Case("6", f"{NONE}|Config: username=x, password=***", env=BASIC, error=FAILED, row=NO_HOST),
    Case("7", "basic https://x", env={"host": "x", **BASIC}),
    Case("8", "basic https://y", {"host": "y"}, {"host": "x", **BASIC}),
    Case("9", "basic https://y", {"host": "y", "username": "x"}, {"password": "x"}),
    Case("10", "basic https://y", {"host": "y", **BASIC}),
    Case("11", f"{MANY}basic and pat", env=FOUR, ours="pat https://x", row=SEVERAL),
    Case("12", "basic https://x", {"auth_type": "basic"}, FOUR),
    Case("13", f"{NONE}|Env: {CONFIG_FILE}", env={"config_file": "{home}/x"}, error=NOTHING),
    Case("14", f"{NONE}|Config: host=https://x", {"host": "x"}, home="testdata", error=NOTHING),
    Case("15", NONE, home="empty DEFAULT", error=NOTHING),
    Case("16", "pat https://foo", env={"profile": "abc"}, home="empty DEFAULT"),
    Case("17", f"pat {WORKSPACE}", home="testdata", ours=f"pat {WORKSPACE.lower()}", row="host in capitals"),
    Case(
        "18",
        f"pat {WORKSPACE}",
        env={"profile": "pat.with.dot"},
        home="testdata",
        ours=f"pat {WORKSPACE.lower()}",
        row="host in capitals",
    ),
    Case(
        "19",
        f"{NONE}|Config: token=***, profile=nohost|Env: {CONFIG_PROFILE}",
        env={"profile": "nohost"},
        home="testdata",
        error=FAILED,
        row=NO_HOST,
    ),
    Case(
        "20",
        f"{NONE}|Config: token=***, profile=nohost|Env: DATABRICKS_TOKEN, {CONFIG_PROFILE}",
        env={"profile": "nohost", "token": "x"},
        home="testdata",
        error=FAILED,
        row=NO_HOST,
    ),
    Case(
        "21",
        f"{MANY}basic and pat|Env: DATABRICKS_USERNAME, {CONFIG_PROFILE}",
        env={"profile": "nohost", "username": "x"},
        home="testdata",
        error=FAILED,
        row=NO_HOST,
    ),
    Case("22", f"pat {AZURE}", {"host": f"{AZURE}/", "token": "y"}),
    Case("23", f"azure-cli {AZURE}", AZURE_CLI, home="azure", az="az"),
    Case(
        "24",
        f"{NONE}|Config: azure_workspace_resource_id={RESOURCE}",
        {"azure_workspace_resource_id": RESOURCE},
        az="az-logged-out",
        error=FAILED,
        row="`az` is not logged in",
    ),
    Case(
        "25",
        f"{NONE}|Config: azure_workspace_resource_id={RESOURCE}",
        {"azure_workspace_resource_id": RESOURCE},
        error=NOTHING,
    ),
    Case(
        "26",
        f"{MANY}azure and pat",
        {"token": "x", "azure_workspace_resource_id": RESOURCE},
        home="azure",
        error=FAILED,
        row=NO_HOST,
    ),
    Case("27", f"azure-cli {AZURE}", AZURE_CLI, home="testdata", az="az"),
    Case("28", f"azure-cli {AZURE}", AZURE_CLI, {"profile": "justhost"}, "testdata", "az"),
    Case(
        "29",
        f"{MANY}azure and basic",
        AZURE_CLI,
        {"username": "x"},
        "azure",
        "az",
        ours=f"azure-cli {AZURE}",
        row=SEVERAL,
    ),
    Case("30", "has no DEFAULT profile configured", env={"profile": "DEFAULT"}, home="corrupt", error=UNUSABLE),
    Case("31", "basic https://x", {"host": "x"}, {"auth_type": "basic", "token": "x", **BASIC}),
    Case("default 1", "pat https://my.cloud.databricks.com", home="default profile"),
    Case("default 2", "pat https://default.cloud.databricks.com", home="no default profile"),
    Case("default 3", "pat https://default.cloud.databricks.com", home="empty default profile"),
    Case(
        "default 4",
        "__settings__ is a reserved section name",
        env={"profile": "__settings__"},
        home="default profile",
        error=UNUSABLE,
    ),
    Case(
        "default 5",
        "__settings__ is a reserved section name",
        home="settings as default profile",
        error=UNUSABLE,
    ),
    Case("default 6", "pat https://other.cloud.databricks.com", {"profile": "other"}, home="default profile"),
    Case("default 7", "pat https://other.cloud.databricks.com", env={"profile": "other"}, home="default profile"),
    Case("default 8", "has no deleted-profile profile", home="dangling default profile", error=UNUSABLE),
    Case("default 9", "pat https://default.cloud.databricks.com", home="DEFAULT as default profile"),
    Case("default 10", f"{NONE}|Config: host=https://x", env={"host": "x"}, home="default profile", error=NOTHING),
    Case("default 11", f"{NONE}|client_id=x", env={"client_id": "x"}, home="default profile", error=NOTHING),
    Case("no file", f"{NONE}|profile=abc", env={"profile": "abc"}, error=NOTHING),
)

by_number = pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)


@by_number
def test_the_official_sdk(bench: Bench, case: Case) -> None:
    found = bench.official(case.state)
    text = f"{found.auth_type} {found.host}" if not found.error else found.said
    assert text == case.official if not found.error else all(part in text for part in case.official.split("|"))


@by_number
def test_dbx_auth(bench: Bench, case: Case) -> None:
    state = case.state
    flags = {name: value for name, value in state.said.items() if name in ("profile", "host")}
    rest = {ATTRIBUTES[name].env[0]: value for name, value in state.said.items() if name not in flags}

    found = bench.ours(replace(state, said=flags, env={**state.env, **rest}))

    wanted = case.ours or ("" if case.error else case.official)
    assert (found.error, f"{found.auth_type} {found.host}".strip()) == (case.error, wanted)


def test_a_case_that_differs_names_the_row_that_says_why() -> None:
    known = {row.name for row in DIFFERENCES}
    for case in CASES:
        differs = bool(case.ours) or case.error == FAILED
        assert differs == bool(case.row), case.number
        assert case.row in known or not case.row, case.number
