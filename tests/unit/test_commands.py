"""The verbs: what each says on stdout, on stderr and with its exit code, against a workspace on a real socket."""

from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from machine import HOST, OTHER, Machine, Result
from unit.far_side import ENDPOINTS, ME, TOKEN, FarSide, Reply, free_ports, never, parsed

from dbx_auth import callback as callbacks, cli, login as logins, profile as profile_module, resolve
from dbx_auth.cli import VERBS
from dbx_auth.commands import models as models_verb, status as status_verb
from dbx_auth.profile import Flags
from dbx_auth.sandbox import Sandbox
from dbx_auth.sources import ORDER
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Demand, Token, format_expiry, parse_expiry
from dbx_auth.world import World

ROOT = Path(__file__).parents[2]


def kept(machine: Machine) -> Any:
    return json.loads(machine.auth_json.read_text())


def api(host: str = HOST, key: str = "dapi-secret") -> dict[str, str]:
    return {"type": "api", "key": key, "host": host}


def m2m(sandbox: Sandbox) -> dict[str, str]:
    client = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    return {"type": "m2m", **client, "host": sandbox.url}


def lines(result: Result) -> list[str]:
    return result.err.splitlines()


def grants(sandbox: Sandbox) -> list[str | None]:
    return [request.grant_type for request in sandbox.log if request.path == TOKEN]


# ---- token -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pat(machine: Machine) -> Machine:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi-secret")
    return machine


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("text", "dapi-secret\n"),
        ("header", "Authorization: Bearer dapi-secret\n"),
        ("headers", '{"Authorization": "Bearer dapi-secret"}\n'),
        ("env", f"export DATABRICKS_HOST={HOST}\nexport DATABRICKS_TOKEN=dapi-secret\n"),
    ],
)
def test_a_token_is_printed_in_the_form_asked_for_and_nothing_else(pat: Machine, form: str, printed: str) -> None:
    assert pat.run("token", "-o", form) == Result(0, printed, "")


def test_a_token_without_an_end_in_json(pat: Machine) -> None:
    said = pat.run("token", "-o", "json")
    assert parsed(said.out) == {
        "access_token": "dapi-secret",
        "token_type": "Bearer",
        "expiry": None,
        "expires_in": None,
        "host": HOST,
        "auth_type": "pat",
        "origin": "env DATABRICKS_TOKEN",
    }


def test_a_token_with_an_end_in_json(machine: Machine) -> None:
    machine.clock = lambda: 1_700_000_000.9
    machine.cached_login(HOST, expiry=format_expiry(1_700_003_600.25))
    said = parsed(machine.run("token", "--host", HOST, "-o", "json").out)
    assert parse_expiry(said["expiry"]) == 1_700_003_600.25 and said["expires_in"] == 3599
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d", said["expiry"])
    assert (said["auth_type"], said["origin"]) == ("databricks-cli", f"~/.databricks/token-cache.json [{HOST}]")


def test_a_password_is_no_token_for_an_environment(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_USERNAME="u", DATABRICKS_PASSWORD="pw-secret")
    said = machine.run("token", "-o", "env")
    assert (said.code, said.out) == (1, "") and "basic is no token" in said.err and "pw-secret" not in said.err
    encoded = base64.b64encode(b"u:pw-secret").decode()
    assert machine.run("token", "-o", "header").out == f"Authorization: Basic {encoded}\n"


@pytest.mark.parametrize(
    ("options", "code", "printed"),
    [
        ([], 0, "cached"),
        (["--min-ttl", "30m"], 0, "cached"),
        (["--no-refresh"], 0, "cached"),
        (["--min-ttl", "1h"], 6, ""),
        (["--force-refresh"], 6, ""),
    ],
)
def test_the_options_demand_what_they_say(machine: Machine, options: list[str], code: int, printed: str) -> None:
    """A fresh login at a server that is away: only what needs the server fails."""
    machine.cached_login("http://127.0.0.1:1")
    said = machine.run("token", "--host", "http://127.0.0.1:1", *options)
    assert (said.code, said.out.strip()) == (code, printed), said


@pytest.mark.parametrize(
    ("options", "demand"),
    [
        ([], Demand()),
        (["--min-ttl", "15m"], Demand(min_ttl=900)),
        (["--force-refresh"], Demand(force=True)),
        (["--no-refresh"], Demand(renew=False)),
        (["--ephemeral"], Demand(ephemeral=True)),
        (["--ephemeral", "--force-refresh", "--min-ttl", "60"], Demand(min_ttl=60, force=True, ephemeral=True)),
    ],
)
def test_each_option_is_a_demand_of_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, options: list[str], demand: Demand
) -> None:
    demands: list[Demand] = []

    def token(profile: object, world: World, demand: Demand) -> Token:
        demands.append(demand)
        return Token("t", host=HOST)

    monkeypatch.setattr(resolve, "token", token)
    assert machine.run("token", *options).out == "t\n" and demands == [demand]


@pytest.mark.parametrize(("verb", "hardened"), [("login", 1), ("token", 0)])
def test_what_holds_secrets_for_minutes_keeps_them_off_the_disk(machine: Machine, verb: str, hardened: int) -> None:
    times: list[None] = []
    cli.run([verb, "--host", "http://127.0.0.1:1"], machine.world._replace(harden=lambda: times.append(None)))
    assert len(times) == hardened


def test_a_date_that_no_calendar_has_is_no_traceback(machine: Machine) -> None:
    entry = {"type": "oauth", "access": "at-secret", "refresh": "", "expires": 10**18, "host": HOST}
    machine.write(machine.auth_json, {"databricks": entry})
    for argv in (["token", "-o", "json"], ["status", "--offline", "-o", "json"]):
        assert machine.run(*argv).code in (0, 4)


# ---- status ----------------------------------------------------------------------------------------------------------

STATUS_KEYS = [
    "version", "authenticated", "host", "profile", "auth_type", "origin", "user", "expires_at", "expires_in",
    "refreshable", "checked", "settings", "attempts", "warnings",
]  # fmt: skip


def status(machine: Machine, *options: str, code: int) -> Any:
    said = machine.run("status", "-o", "json", *options)
    assert said.code == code, said
    found = parsed(said.out)
    assert list(found) == STATUS_KEYS and found["version"] == 1
    assert all(list(s) == ["name", "value", "origin"] for s in found["settings"])
    assert all(list(a) == ["auth_type", "outcome", "reason"] for a in found["attempts"])
    assert {a["outcome"] for a in found["attempts"]} <= {"used", "unavailable", "failed", "not asked"}
    assert found["checked"] in ("online", "offline", "unreachable")
    return found


def test_status_of_somebody_who_is_logged_in(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    found = status(machine, code=0)
    assert {**found, "attempts": [a["auth_type"] for a in found["attempts"]]} == {
        "version": 1,
        "authenticated": True,
        "host": sandbox.url,
        "profile": None,
        "auth_type": "pat",
        "origin": "env DATABRICKS_TOKEN",
        "user": sandbox.user,
        "expires_at": None,
        "expires_in": None,
        "refreshable": False,
        "checked": "online",
        "settings": [
            {"name": "host", "value": sandbox.url, "origin": "env DATABRICKS_HOST"},
            {"name": "token", "value": "***", "origin": "env DATABRICKS_TOKEN"},
        ],
        "attempts": list(ORDER),
        "warnings": [],
    }
    assert [a["outcome"] for a in found["attempts"]] == ["used", *["not asked"] * (len(ORDER) - 1)]


def test_status_of_nobody(machine: Machine) -> None:
    found = status(machine, code=4)
    assert (found["authenticated"], found["host"], found["auth_type"], found["user"]) == (False, None, None, None)
    assert [a["outcome"] for a in found["attempts"]] == ["unavailable"] * len(ORDER)
    assert len(found["warnings"]) == 1 and found["warnings"][0].endswith("(hint: dbx-auth login)")


def test_status_of_a_login_that_renews_itself(machine: Machine, sandbox: Sandbox) -> None:
    machine.cached_login(sandbox.url, access_token=sandbox.add_login().access_token)
    found = status(machine, "--host", sandbox.url, code=0)
    assert found["refreshable"] and 2900 < found["expires_in"] <= 3000
    ends = parse_expiry(found["expires_at"])
    assert ends and abs(ends - time.time() - 3000) < 60


def test_status_of_a_token_that_the_workspace_refuses(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN="dapi-secret")
    found = status(machine, code=4)
    assert (found["authenticated"], found["auth_type"], found["checked"]) == (False, "pat", "online")
    assert found["warnings"] == [
        f"{sandbox.url} does not accept the token of env DATABRICKS_TOKEN: it answered 401 "
        f"(hint: dbx-auth login {sandbox.url} --force)"
    ]


@pytest.mark.parametrize("refresh", [False, True])
def test_status_of_a_workspace_that_is_away(machine: Machine, refresh: bool) -> None:
    host = "http://127.0.0.1:1"
    machine.cached_login(host, **({"expiry": "2020-01-01T00:00:00Z"} if refresh else {}))
    found = status(machine, "--host", host, code=6)
    assert (found["authenticated"], found["checked"]) == (False, "unreachable")
    assert "cannot reach" in found["warnings"][0]


def test_status_offline_asks_nobody_and_changes_nothing(machine: Machine) -> None:
    machine.cached_login("http://127.0.0.1:1")
    before = machine.files()
    found = status(machine, "--host", "http://127.0.0.1:1", "--offline", code=0)
    assert (found["authenticated"], found["checked"], found["user"]) == (True, "offline", None)
    machine.cached_login("http://127.0.0.1:1", expiry="2020-01-01T00:00:00Z")
    before = machine.files()
    found = status(machine, "--host", "http://127.0.0.1:1", "--offline", code=4)
    assert "--no-refresh" in found["warnings"][0] and machine.files() == before


def test_status_asks_within_five_seconds(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi-secret")
    far = FarSide({ME: (200, {"userName": "ann"})})
    world = machine.world._replace(http=far)
    assert status_verb.report(profile_module.load(world), world)["user"] == "ann"
    assert far.asked[0].budget <= status_verb.CHECK_BUDGET == 5.0


def test_status_of_an_unknown_auth_type_names_the_known_ones(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_AUTH_TYPE="magic")
    found = status(machine, code=4)
    assert found["attempts"] == [] and "no auth type 'magic'" in found["warnings"][0]


def test_status_shows_no_secret_in_any_form(machine: Machine) -> None:
    machine.write(machine.config, f"[A]\nhost={HOST}\nclient_id=an-id\nclient_secret=cs-secret\npassword=pw-secret\n")
    machine.write(machine.auth_json, {"databricks": api(), "x": grant_fields(Grant(HOST, "at-secret", "rt-secret"))})
    for form in ("text", "json"):
        said = machine.run("status", "--offline", "-p", "A", "-o", form)
        assert "an-id" in said.out and not re.search(r"(cs|pw|at|rt|dapi)-secret", said.out + said.err)


def test_status_says_when_the_last_login_passes_over_the_files_default(machine: Machine) -> None:
    machine.write(machine.config, f"[DEFAULT]\nhost = {OTHER}\ntoken = x\n")
    machine.write(machine.auth_json, {"databricks": api()})
    found = status(machine, "--offline", code=0)
    assert found["warnings"] == [
        f"the last login, {HOST}, passes over profile DEFAULT of ~/.databrickscfg, {OTHER} "
        "(hint: dbx-auth -p DEFAULT status)"
    ]


@pytest.mark.parametrize("host", [HOST, HOST + "/", "dev.cloud.databricks.com", HOST.upper(), HOST + "/?o=123"])
def test_a_default_of_the_same_host_is_not_passed_over_however_it_is_spelled(machine: Machine, host: str) -> None:
    machine.write(machine.config, f"[DEFAULT]\nhost = {host}\n")
    machine.write(machine.auth_json, {"databricks": api()})
    assert status(machine, "--offline", code=0)["warnings"] == []


def test_a_profile_file_that_cannot_be_read_is_told_and_does_not_stop_the_last_login(machine: Machine) -> None:
    machine.write(machine.config, "[DEFAULT\n")
    machine.write(machine.auth_json, {"databricks": api()})
    found = status(machine, "--offline", code=0)
    assert found["authenticated"] and "line 1" in found["warnings"][0]


@pytest.mark.parametrize("default", ["PROD", "DEFAULT"])
def test_a_login_that_points_to_the_default_profile_passes_over_nothing(machine: Machine, default: str) -> None:
    settings = f"[__settings__]\ndefault_profile = {default}\n" if default != "DEFAULT" else ""
    machine.write(machine.config, f"{settings}[{default}]\nhost = {OTHER}\ntoken = x\n")
    machine.write(machine.auth_json, {"databricks": {"type": "profile", "profile": default, "host": OTHER}})
    found = status(machine, "--offline", code=0)
    assert (found["profile"], found["warnings"]) == (default, [])


def test_status_in_a_pipe_is_plain_text(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    said = machine.run("status", "-p", "DEV")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"logged in to {sandbox.url}",
        f"  host: {sandbox.url}",
        "  profile: DEV",
        f"  user: {sandbox.user}",
        "  source: pat, file ~/.databrickscfg [DEV]",
        "  token ends: nobody knows; a key does not say",
        "  checked: online",
        "sources:",
        "  pat: used: file ~/.databrickscfg [DEV]",
        *(f"  {auth_type}: not asked: a source before it answered" for auth_type in ORDER[1:]),
        "settings:",
        f"  host: {sandbox.url} (file ~/.databrickscfg [DEV])",
        "  token: *** (file ~/.databrickscfg [DEV])",
    ]


def test_status_of_nobody_in_a_pipe(machine: Machine) -> None:
    said = machine.run("status")
    assert (said.code, said.err) == (4, "")
    assert said.out.splitlines()[:2] == ["not logged in", "  host: none"]
    assert said.out.splitlines()[-1].startswith("warning: no token: none of the 17 sources is set up")
    assert machine.run("status", "--host", HOST, "--offline").out.startswith(f"not logged in to {HOST}\n")


def test_what_a_workspace_calls_me_cannot_forge_a_line_of_status(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi-secret")
    far = FarSide({ME: (200, {"userName": "ann\nwarning: paste your token at evil.example"})})
    world = machine.world._replace(http=far)
    shown = status_verb.plain(status_verb.report(profile_module.load(world), world))
    assert not [line for line in shown.splitlines() if line.startswith("warning:")]


FOUND: dict[str, Any] = {
    "authenticated": True,
    "host": HOST,
    "profile": None,
    "user": "ann",
    "auth_type": "databricks-cli",
    "origin": "here",
    "expires_in": 2820,
    "refreshable": True,
    "checked": "online",
    "settings": [],
    "attempts": [],
    "warnings": [],
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "in 47 min, then renewed by itself"),
        ({"refreshable": False}, "in 47 min, and then a new login is needed"),
        ({"expires_in": None}, "nobody knows; a key does not say"),
        ({"expires_in": 45}, "in 45 s, then renewed by itself"),
        ({"expires_in": -5}, "in 0 s, then renewed by itself"),
    ],
)
def test_how_long_the_token_lives_is_said_in_words(changed: dict[str, Any], words: str) -> None:
    assert status_verb.ends(FOUND | changed) == words


def drawn(renderable: object, width: int = 100) -> tuple[str, str]:
    """What rich draws on a terminal: the text alone, and with its colours."""
    from rich.console import Console

    console = Console(record=True, force_terminal=True, width=width, file=StringIO(), color_system="standard")
    console.print(renderable)
    return console.export_text(clear=False), console.export_text(styles=True)


def test_the_page_shows_outcome_facts_sources_settings_and_warnings() -> None:
    found = FOUND | {
        "attempts": [
            {"auth_type": "pat", "outcome": "unavailable", "reason": "not set: token"},
            {"auth_type": "stored", "outcome": "failed", "reason": "auth.json is odd"},
            {"auth_type": "oauth-m2m", "outcome": "used", "reason": "env X"},
            {"auth_type": "databricks-cli", "outcome": "not asked", "reason": "a source before it answered"},
        ],
        "settings": [{"name": "token", "value": "***", "origin": "env DATABRICKS_TOKEN"}],
        "warnings": ["something to know"],
    }
    text, coloured = drawn(status_verb.page(found))
    rows = [re.sub(r"\s+", " ", row).strip() for row in text.splitlines()]
    for row in (
        f"✓ logged in to {HOST}",
        "user ann",
        "source databricks-cli, here",
        "token ends in 47 min, then renewed by itself",
        "· pat unavailable not set: token",
        "✗ stored failed auth.json is odd",
        "✓ oauth-m2m used env X",
        "· databricks-cli not asked a source before it answered",
        "token *** env DATABRICKS_TOKEN",
        "! something to know",
    ):
        assert row in rows, rows
    assert "\x1b[1;32m✓ logged in" in coloured and "\x1b[31m✗ stored" in coloured


def test_the_page_of_nobody_says_so_and_leaves_out_what_there_is_not() -> None:
    nothing = {"authenticated": False, "host": None, "user": None, "auth_type": None, "origin": None}
    text, coloured = drawn(status_verb.page(FOUND | nothing))
    assert "✗ not logged in" in text and "sources" not in text and "settings" not in text and "user" not in text
    assert "\x1b[1;31m" in coloured


def test_no_escape_or_markup_of_others_gets_into_the_page() -> None:
    evil = "[red]x[/red] \x1b[2J\x1b]8;;https://evil.example\x07 \u202e"
    found = FOUND | {
        "user": evil,
        "warnings": [evil],
        "settings": [{"name": "cloud", "value": evil, "origin": evil}],
        "attempts": [{"auth_type": "pat", "outcome": "failed", "reason": evil}],
    }
    text, coloured = drawn(status_verb.page(found), 300)
    assert text.count("[red]x[/red]") == 5 and "\u202e" not in text
    assert "\x1b[2J" not in coloured and "\x1b]8" not in coloured


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True)


def test_status_and_models_are_drawn_on_a_terminal(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    on_a_terminal(monkeypatch, "stdout")
    assert "sources, in the order they are asked" in machine.run("status").out
    drawn_models = machine.run("models").out
    assert "context" in drawn_models and "\x1b[" in drawn_models


# ---- models ----------------------------------------------------------------------------------------------------------


EMBEDDINGS = ("bge-large-en", "gte-large-en", "qwen3-embedding-0-6b")


@pytest.fixture
def modeller(machine: Machine, sandbox: Sandbox) -> Machine:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    return machine


def names(machine: Machine, *options: str) -> list[str]:
    said = machine.run("models", "-o", "names", *options)
    assert (said.code, said.err) == (0, "")
    return said.out.splitlines()


def test_models_are_by_default_those_that_a_client_can_rely_on(modeller: Machine) -> None:
    shown, everything = names(modeller), names(modeller, "--all")
    assert set(shown) < set(everything)
    assert "databricks-claude-sonnet-4-5" in shown
    assert not {"support-chat", "churn-forecast", "databricks-gte-large-en", "databricks-gpt-oss-20b"} & set(shown)
    assert {"support-chat", "churn-forecast", "databricks-gte-large-en"} <= set(everything)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--task", "embeddings"], {f"databricks-{n}" for n in EMBEDDINGS}),
        (["--task", "llm/v1/embeddings", "--family", "nobody"], set()),
        (["--family", "claude-haiku"], {"databricks-claude-haiku-4-5"}),
        (["--task", "no/such/task"], set()),
    ],
)  # fmt: skip
def test_models_are_chosen_by_task_and_family(modeller: Machine, options: list[str], expected: set[str]) -> None:
    assert set(names(modeller, *options)) == expected


def test_models_as_text_are_aligned_columns_and_say_how_many_more_there_are(modeller: Machine) -> None:
    said = modeller.run("models")
    shown = said.out.splitlines()
    (sonnet,) = (line for line in shown if line.startswith("databricks-claude-sonnet-4-5 "))
    assert sonnet.split() == [
        "databricks-claude-sonnet-4-5",
        "claude-sonnet",
        "chat,messages",
        "tools,reasoning,image",
        "200k",
    ]
    assert len({len(re.split(r"(?<=\s)(?=\S)", line)[0]) for line in shown}) == 1, "the columns are aligned"
    hidden = len(names(modeller, "--all")) - len(shown)
    assert said.err == f"{hidden} more with --all\n"


def test_models_as_json_have_the_shape_of_the_design(modeller: Machine, sandbox: Sandbox) -> None:
    said = modeller.run("models", "-o", "json")
    assert (said.code, said.err) == (0, "")
    found = parsed(said.out)
    assert list(found) == ["version", "host", "source", "fetched_at", "models"]
    assert (found["version"], found["host"], found["source"]) == (1, sandbox.url, "workspace")
    assert abs((parse_expiry(found["fetched_at"]) or 0) - time.time()) < 60
    for model in found["models"]:
        assert list(model) == [
            "id", "name", "family", "task", "ready", "apis", "tools", "reasoning", "input", "context", "output",
            "cost", "facts_from", "quirks", "origins",
        ]  # fmt: skip
        assert set(model["apis"]) <= {"chat", "responses", "messages", "generateContent", "embeddings"}
        assert model["ready"] is True and model["tools"] is True


def test_models_are_asked_for_once_in_a_while_and_anew_when_told(modeller: Machine, sandbox: Sandbox) -> None:
    def asked() -> int:
        return sum(request.path == ENDPOINTS for request in sandbox.log)

    names(modeller)
    assert parsed(modeller.run("models", "-o", "json").out)["source"] == "cache" and asked() == 1
    assert parsed(modeller.run("models", "-o", "json", "--refresh").out)["source"] == "workspace" and asked() == 2


def test_the_list_of_one_person_is_not_shown_to_another(modeller: Machine, sandbox: Sandbox) -> None:
    names(modeller)
    modeller.env["DATABRICKS_TOKEN"] = "dapi-of-somebody-else"
    assert modeller.run("models").code == 4


def test_models_offline_are_the_catalogues_and_ask_nobody(machine: Machine) -> None:
    found = parsed(machine.run("models", "--offline", "-o", "json").out)
    assert (found["source"], found["host"], found["fetched_at"]) == ("catalogue", None, None) and found["models"]
    assert parsed(machine.run("models", "--offline", "--host", HOST, "-o", "json").out)["host"] == HOST
    assert "databricks-claude-sonnet-4-5" in names(machine, "--offline")


def test_no_model_is_said_on_stderr_and_is_no_failure(modeller: Machine) -> None:
    said = modeller.run("models", "--family", "nobody")
    assert (said.code, said.out) == (0, "") and lines(said)[0] == "no model to show"
    assert "more with --all" in lines(said)[1]


@pytest.mark.parametrize("form", ["text", "json", "names"])
def test_models_without_a_login_are_none(machine: Machine, form: str) -> None:
    said = machine.run("models", "-o", form)
    assert said.code == 4 and (parsed(said.out)["error_code"] == "UNAUTHENTICATED" if form == "json" else not said.out)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [(None, "-"), (512, "512"), (8_192, "8k"), (200_000, "200k"), (1_000_000, "1M"), (1_048_576, "1.05M")],
)
def test_a_context_size_is_short_and_never_nothing(tokens: int | None, words: str) -> None:
    assert models_verb.size(tokens) == words


def test_no_escape_of_a_workspace_gets_into_the_list(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"name": "evil\x1b[2J\u202e[red]x", "task": "llm/v1/chat"}
    others = (f"{ENDPOINTS}:foundation-models", "/api/ai-gateway/v2/endpoints", "/api/2.1/unity-catalog/model-services")
    far = FarSide({ENDPOINTS: (200, {"endpoints": [model]}), **dict.fromkeys(others, (404, ""))})
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    from dbx_auth import models as lists

    listing = lists.listing(HOST, "me", {}, machine.world._replace(http=far))
    text, coloured = drawn(models_verb.table(list(listing.models)))
    assert "\x1b[2J" not in coloured and "\u202e" not in text


# ---- logout ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_logins(machine: Machine) -> Machine:
    entries = {"databricks": api(), f"databricks:{OTHER}": api(OTHER), "anthropic": {"type": "api", "key": "theirs"}}
    machine.write(machine.auth_json, entries)
    return machine


@pytest.mark.parametrize(
    ("argv", "gone", "left"),
    [
        ([], [HOST], [f"databricks:{OTHER}", "anthropic"]),
        ([HOST], [HOST], [f"databricks:{OTHER}", "anthropic"]),
        (["--host", OTHER + "/"], [OTHER], ["databricks", "anthropic"]),
        ([OTHER], [OTHER], ["databricks", "anthropic"]),
        (["--all"], [HOST, OTHER], ["anthropic"]),
        (["https://third.example"], [], ["databricks", f"databricks:{OTHER}", "anthropic"]),
    ],
)
def test_logout_forgets_what_it_is_told_and_says_so(
    two_logins: Machine, argv: list[str], gone: list[str], left: list[str]
) -> None:
    said = two_logins.run("logout", *argv)
    assert (said.code, said.out) == (0, "")
    assert [line for line in lines(said) if "forgot" in line] == [f"forgot the login for {host}" for host in gone]
    if not gone:
        assert "keeps no login for https://third.example" in said.err
    assert list(kept(two_logins)) == left
    assert stat.S_IMODE(two_logins.auth_json.stat().st_mode) == 0o600


def test_logout_of_a_profile_forgets_its_host(two_logins: Machine) -> None:
    two_logins.write(two_logins.config, f"[PROD]\nhost = {OTHER}\n")
    two_logins.run("logout", "PROD")
    assert list(kept(two_logins)) == ["databricks", "anthropic"]


def test_logout_twice_is_no_failure(two_logins: Machine) -> None:
    assert two_logins.run("logout", "--all").code == 0
    said = two_logins.run("logout", "--all")
    assert (said.code, lines(said)) == (0, ["~/.local/share/dbx-auth/auth.json keeps no login"])


def test_logout_on_a_new_machine_makes_no_file(machine: Machine) -> None:
    said = machine.run("logout")
    assert said.code == 0 and "keeps no login" in said.err and machine.files() == {}


def test_after_a_logout_no_byte_of_the_secret_is_left(two_logins: Machine) -> None:
    two_logins.run("logout", "--all")
    assert b"dapi-secret" not in b"".join(two_logins.files().values())


@pytest.mark.parametrize("set_up", ["environment", "cli"])
def test_logout_says_what_still_logs_in(two_logins: Machine, set_up: str) -> None:
    if set_up == "environment":
        two_logins.env["DATABRICKS_TOKEN"] = "dapi-mine"
        origin = "pat still logs in to {host}: env DATABRICKS_TOKEN"
    else:
        two_logins.cached_login(HOST)
        origin = "databricks-cli still logs in to {host}: ~/.databricks/token-cache.json [{host}]"
    said = two_logins.run("logout", HOST)
    assert lines(said) == [f"forgot the login for {HOST}", origin.format(host=HOST)]
    assert "dapi-mine" not in said.err and "cached" not in said.err


def test_logout_after_which_nothing_logs_in_says_no_more(two_logins: Machine) -> None:
    assert lines(two_logins.run("logout", HOST)) == [f"forgot the login for {HOST}"]


def test_logout_asks_no_network_and_leaves_the_clis_login(two_logins: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    two_logins.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    before = two_logins.cli_cache.read_bytes()
    monkeypatch.setattr(Machine, "world", property(lambda self: World(self.env, str(self.home), http=never)))
    assert two_logins.run("logout", HOST) == Result(0, "", f"forgot the login for {HOST}\n")
    assert two_logins.cli_cache.read_bytes() == before


def test_logout_does_not_touch_a_damaged_file(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    said = machine.run("logout", "--all")
    assert said.code == 5 and machine.auth_json.read_text() == "{"


# ---- profiles --------------------------------------------------------------------------------------------------------

CONFIG = f"""
[DEFAULT]
[DEV]
host = {HOST}
token = dapi-secret
[ACCOUNT]
account_id = acc
[SP]
host = {OTHER}
client_id = an-id
client_secret = cs-secret
[MIX]
host = {OTHER}
token = dapi-secret
username = u
[LOGIN]
host = {OTHER}
auth_type = databricks-cli
[cluster-only]
cluster_id = x
[__settings__]
default_profile = SP
"""


def test_profiles_as_text_are_names_hosts_methods_and_the_default(machine: Machine) -> None:
    machine.write(machine.config, CONFIG)
    said = machine.run("profiles")
    assert (said.code, said.err) == (0, "")
    assert [line.split() for line in said.out.splitlines()] == [
        ["DEV", HOST, "pat"],
        ["ACCOUNT"],
        ["SP", OTHER, "oauth-m2m", "(default)"],
        ["MIX", OTHER],
        ["LOGIN", OTHER, "databricks-cli"],
    ]
    assert "secret" not in said.out and not [line for line in said.out.splitlines() if line != line.rstrip()]


def test_profiles_as_json(machine: Machine) -> None:
    machine.write(machine.config, CONFIG)
    found = parsed(machine.run("profiles", "-o", "json").out)
    assert list(found) == ["version", "profiles"] and found["version"] == 1
    assert found["profiles"][0] == {
        "name": "DEV", "host": HOST, "account_id": None, "auth_type": "pat", "default": False,
    }  # fmt: skip
    assert [p["name"] for p in found["profiles"] if p["default"]] == ["SP"]
    assert found["profiles"][1]["account_id"] == "acc"


def test_profiles_of_a_machine_without_any(machine: Machine) -> None:
    assert machine.run("profiles") == Result(0, "", "~/.databrickscfg has no profiles\n")
    assert parsed(machine.run("profiles", "-o", "json").out) == {"version": 1, "profiles": []}


def test_profiles_of_another_file(machine: Machine) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = str(machine.write(machine.home / "other.cfg", f"[X]\nhost={HOST}\n"))
    assert machine.run("profiles").out.startswith("X ")


# ---- completion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_the_one_we_ship(machine: Machine, shell: str) -> None:
    said = machine.run("completion", shell)
    assert (said.code, said.err) == (0, "") and "_DBX_AUTH_COMPLETE" in said.out
    assert said.out == (ROOT / "completions" / f"dbx-auth.{shell}").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dbx-auth ", set(VERBS)),
        ("dbx-auth st", {"status"}),
        (
            "dbx-auth token --",
            {"--profile", "--host", "--account-id", "--min-ttl", "--force-refresh", "--no-refresh", "--ephemeral"},
        ),
        ("dbx-auth token -o ", {"text", "json", "header", "headers", "env"}),
        ("dbx-auth completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_a_shell_is_told_what_may_come_next(machine: Machine, words: str, expected: set[str]) -> None:
    count = str(len(words.split(" ")) - 1)
    said = machine.spawn(_DBX_AUTH_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert said.err == "" and expected <= {line.rpartition(",")[2] for line in said.out.splitlines()}


# ---- login: what is given --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PORTS", free_ports())


def test_a_token_from_stdin_is_tried_kept_and_served(machine: Machine, sandbox: Sandbox) -> None:
    said = machine.run("login", sandbox.url, "--with-token", stdin=f"{sandbox.pat}\n")
    assert said == Result(0, "", f"logged in to {sandbox.url} as {sandbox.user}\n")
    assert kept(machine) == {"databricks": api(sandbox.url, sandbox.pat)}
    assert stat.S_IMODE(machine.auth_json.stat().st_mode) == 0o600
    assert machine.run("token").out == f"{sandbox.pat}\n"


@pytest.mark.parametrize(
    "argv", [["--host", "URL", "login", "--with-token"], ["login", "--host", "URL/", "--method", "pat", "--with-token"]]
)
def test_the_host_may_be_said_anywhere(machine: Machine, sandbox: Sandbox, argv: list[str]) -> None:
    said = machine.run(*(word.replace("URL", sandbox.url) for word in argv), stdin=sandbox.pat)
    assert said.code == 0 and kept(machine)["databricks"]["host"] == sandbox.url


def test_the_host_may_come_from_the_environment_a_profile_or_the_last_login(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\n")
    assert machine.run("login", "-p", "DEV", "--with-token", stdin=sandbox.pat).code == 0
    assert machine.run("login", "--with-token", stdin=sandbox.pat).code == 0
    machine.auth_json.unlink()
    machine.env["DATABRICKS_HOST"] = sandbox.url
    assert machine.run("login", "--with-token", stdin=sandbox.pat).code == 0


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("dapi-secret", 1, "does not accept the token of this login: it answered 401"),
        ("", 2, "a token is one word"),
        ("two words", 2, "a token is one word"),
    ],
)
def test_a_token_that_is_not_taken_is_not_kept(
    machine: Machine, sandbox: Sandbox, typed: str, code: int, said: str
) -> None:
    machine.write(machine.auth_json, {"databricks": api()})
    before = machine.files()
    refused = machine.run("login", sandbox.url, "--with-token", stdin=typed)
    assert (refused.code, refused.out) == (code, "") and said in refused.err and len(lines(refused)) == 2
    assert machine.files() == before and (not typed or typed not in refused.err)


def test_a_workspace_that_is_away_keeps_nothing(machine: Machine) -> None:
    said = machine.run("login", "http://127.0.0.1:1", "--with-token", stdin="dapi-secret")
    assert said.code == 6 and machine.files() == {} and "dapi-secret" not in said.err


@pytest.mark.parametrize("id_as", ["option", "line"])
def test_a_principal_from_stdin_is_tried_and_kept(machine: Machine, sandbox: Sandbox, id_as: str) -> None:
    if id_as == "line":
        typed = f"{sandbox.client_id}\n{sandbox.client_secret}\n"
        said = machine.run("login", sandbox.url, "--method", "m2m", stdin=typed)
    else:
        said = machine.run("login", sandbox.url, "--client-id", sandbox.client_id, stdin=f"{sandbox.client_secret}\r\n")
    assert said.code == 0 and lines(said) == [f"logged in to {sandbox.url} as {sandbox.client_id}"]
    assert kept(machine) == {"databricks": m2m(sandbox)}
    assert machine.run("token", "-o", "json").json()["auth_type"] == "oauth-m2m"


@pytest.mark.parametrize(
    ("typed", "code"), [("{id}\nwrong-secret\n", 1), ("nobody\nwrong-secret\n", 1), ("{id}\n", 2), ("", 2)]
)
def test_a_principal_that_is_not_taken_is_not_kept(machine: Machine, sandbox: Sandbox, typed: str, code: int) -> None:
    said = machine.run("login", sandbox.url, "--method", "m2m", stdin=typed.format(id=sandbox.client_id))
    assert said.code == code and len(lines(said)) == 2 and "wrong-secret" not in said.err
    assert machine.files() == {}


def test_a_personal_token_is_never_asked_for_where_nobody_can_type_blind(machine: Machine, sandbox: Sandbox) -> None:
    said = machine.run("login", sandbox.url, "--method", "pat", stdin=sandbox.pat)
    assert said.code == 2 and "hint: dbx-auth login --with-token < file" in said.err


def test_no_option_takes_a_secret() -> None:
    from dbx_auth.cli import VERBS, cli

    for verb in VERBS:
        command = cli.get_command(None, verb)  # type: ignore[arg-type]
        assert command
        for parameter in command.params:
            if re.search("token|secret|password|key", str(parameter.name)):
                harmless = parameter.name in ("token_ttl", "key_file")  # a time, and where a key is kept
                assert getattr(parameter, "is_flag", False) or harmless, parameter.name


def test_the_login_before_is_kept_under_its_host(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": api()})
    machine.run("login", sandbox.url, "--with-token", stdin=sandbox.pat)
    assert kept(machine) == {"databricks": api(sandbox.url, sandbox.pat), f"databricks:{HOST}": api()}


# ---- login: in the browser -------------------------------------------------------------------------------------------


@pytest.fixture
def browser(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A browser that goes where it is sent; the addresses it was given."""
    seen: list[str] = []
    threads: list[threading.Thread] = []

    def go(url: str) -> bool:
        def follow() -> None:
            with httpx.Client(trust_env=False, follow_redirects=True) as client:
                client.get(url)

        seen.append(url)
        threads.append(threading.Thread(target=follow))
        threads[-1].start()
        return True

    monkeypatch.setattr(machine, "browse", go)
    yield seen
    for thread in threads:
        thread.join(20)


def test_a_login_in_the_browser_is_kept_and_serves(machine: Machine, sandbox: Sandbox, browser: list[str]) -> None:
    said = machine.run("login", sandbox.url)
    assert (said.code, said.out) == (0, "")
    assert lines(said)[-1] == f"logged in to {sandbox.url} as {sandbox.user}" and browser[0] in said.err
    entry = kept(machine)["databricks"]
    assert set(entry) == {"type", "access", "refresh", "expires", "host", "client_id", "scopes"}
    assert entry["access"] not in said.err and entry["refresh"] not in said.err
    assert grants(sandbox) == ["authorization_code"]
    assert machine.run("token").out == f"{entry['access']}\n"


def test_the_scopes_of_the_profile_are_asked_for(machine: Machine, sandbox: Sandbox, browser: list[str]) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\nscopes = sql, all-apis\n")
    assert machine.run("login", "-p", "DEV").code == 0
    assert "scope=offline_access+sql+all-apis&" in browser[0]
    assert kept(machine)["databricks"]["scopes"] == ["sql", "all-apis"]


def test_no_browser_starts_none_and_gives_up_in_time(machine: Machine, sandbox: Sandbox, browser: list[str]) -> None:
    said = machine.run("login", sandbox.url, "--no-browser", "--timeout", "0.2s")
    assert said.code == 4 and browser == [] and "nobody came back" in said.err and machine.files() == {}
    assert lines(said)[0] == "open this link in a browser:" and lines(said)[1].startswith(sandbox.url)


# ---- login: what is there already ------------------------------------------------------------------------------------


def cached(machine: Machine, sandbox: Sandbox, key: str = "") -> None:
    machine.cached_login(key or sandbox.url, access_token=sandbox.add_login().access_token)


def test_a_login_of_the_cli_is_reused_and_pointed_to_without_a_copy_of_its_secret(
    machine: Machine, sandbox: Sandbox
) -> None:
    cached(machine, sandbox)
    said = machine.run("login", sandbox.url)
    assert said.code == 0 and lines(said) == [
        f"already logged in to {sandbox.url} as {sandbox.user}: databricks-cli, "
        f"~/.databricks/token-cache.json [{sandbox.url}]",
        "hint: dbx-auth login --force logs in anew",
    ]
    assert kept(machine) == {"databricks": {"type": "profile", "profile": "", "host": sandbox.url}}
    assert grants(sandbox) == []
    assert machine.run("token").code == 0, "and from now on no host has to be said"


def test_a_profile_that_works_is_reused_and_pointed_to(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    said = machine.run("login", "DEV")
    assert said.code == 0 and "already logged in" in said.err
    assert kept(machine) == {"databricks": {"type": "profile", "profile": "DEV", "host": sandbox.url}}
    assert machine.run("token").out == f"{sandbox.pat}\n"


def test_a_login_of_ours_for_that_host_becomes_the_last_one(machine: Machine, sandbox: Sandbox) -> None:
    mine = api(sandbox.url, sandbox.pat) | {"note": "mine"}
    machine.write(machine.auth_json, {"databricks": api(), f"databricks:{sandbox.url}": mine})
    assert "already logged in" in machine.run("login", sandbox.url).err
    assert kept(machine) == {"databricks": mine, f"databricks:{HOST}": api()}


def test_an_entry_copied_from_elsewhere_is_reused_and_not_doubled(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": api(sandbox.url + "/", sandbox.pat)})
    assert "already logged in" in machine.run("login").err
    assert machine.auth_json.read_text().count(sandbox.pat) == 1


def test_a_token_of_the_environment_is_reused_and_not_kept(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    said = machine.run("login")
    assert said.code == 0 and "already logged in" in said.err and "env DATABRICKS_TOKEN" in said.err
    assert machine.files() == {}


def test_a_login_that_no_longer_works_is_not_reused(machine: Machine, sandbox: Sandbox, browser: list[str]) -> None:
    machine.write(machine.auth_json, {"databricks": api(sandbox.url, "dapi-old")})
    said = machine.run("login", sandbox.url)
    assert (
        said.code == 0 and lines(said)[-1].startswith("logged in to") and kept(machine)["databricks"]["type"] == "oauth"
    )


@pytest.mark.parametrize("how", [["--force"], ["--method", "browser"]])
def test_force_or_another_method_logs_in_anew(
    machine: Machine, sandbox: Sandbox, browser: list[str], how: list[str]
) -> None:
    machine.write(machine.auth_json, {"databricks": api(sandbox.url, sandbox.pat)})
    said = machine.run("login", sandbox.url, *how)
    assert said.code == 0 and "already" not in said.err
    assert grants(sandbox) == ["authorization_code"] and list(kept(machine)) == ["databricks"]


def test_the_same_method_is_reused(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": m2m(sandbox)})
    said = machine.run("login", "--method", "m2m")
    assert said.code == 0 and "already logged in" in said.err


def test_a_token_that_is_given_is_taken_whatever_works(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": m2m(sandbox)})
    assert machine.run("login", sandbox.url, "--with-token", stdin=sandbox.pat).code == 0
    assert kept(machine) == {"databricks": api(sandbox.url, sandbox.pat)}


def test_another_principal_that_is_given_is_not_passed_over_for_the_one_that_works(
    machine: Machine, sandbox: Sandbox
) -> None:
    """Silently staying somebody else is worse than a failure: this principal does not exist."""
    machine.write(machine.auth_json, {"databricks": m2m(sandbox)})
    said = machine.run("login", sandbox.url, "--client-id", "another-principal", stdin="its-secret\n")
    assert said.code == 1 and "already logged in" not in said.err


def test_a_damaged_file_of_ours_stops_the_login_and_is_left(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, "{")
    said = machine.run("login", sandbox.url, "--with-token", stdin=sandbox.pat)
    assert said.code == 5 and machine.auth_json.read_text() == "{" and "auth.json" in said.err


# ---- login: what would win -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"DATABRICKS_TOKEN": "dapi-secret", "DATABRICKS_HOST": "URL"}, "pat (env DATABRICKS_TOKEN, URL) wins over"),
        ({"DATABRICKS_CONFIG_PROFILE": "DEV"}, f"pat (file ~/.databrickscfg [DEV], {HOST}) wins over"),
        ({"DATABRICKS_AUTH_TYPE": "oauth-m2m"}, "`dbx-auth token` fails with the settings of this shell: no token"),
    ],
)
def test_what_wins_over_the_new_login_in_this_shell_is_named(
    machine: Machine, sandbox: Sandbox, env: dict[str, str], words: str
) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-secret\n")
    machine.env.update({name: value.replace("URL", sandbox.url) for name, value in env.items()})
    said = machine.run("login", sandbox.url, "--with-token", stdin=sandbox.pat)
    assert said.code == 0 and lines(said)[0].startswith("logged in to")
    assert lines(said)[1].startswith("dbx-auth: warning: ") and words.replace("URL", sandbox.url) in lines(said)[1]
    assert "dapi-secret" not in said.err


def test_a_principal_of_the_environment_wins_over_a_stored_one_and_is_named(machine: Machine, sandbox: Sandbox) -> None:
    """It has the same auth type and the same host, and is somebody else."""
    machine.env.update(DATABRICKS_CLIENT_ID="env-principal", DATABRICKS_CLIENT_SECRET="s", DATABRICKS_HOST=sandbox.url)
    given = {"access_token": "at", "expires_in": 3600}
    far = FarSide({TOKEN: (200, given), ME: (200, {"userName": "x"})})
    warned: list[str] = []
    world = machine.world._replace(http=far, warn=warned.append)
    from dbx_auth.commands import login as _  # noqa: F401
    from dbx_auth.commands.login import _name_what_wins

    logins.save(logins.Key({**m2m(sandbox), "client_id": "new-principal"}, Token("at")), world)
    _name_what_wins(Token("new", host=sandbox.url), "oauth-m2m", Flags(), world)
    assert warned and "env DATABRICKS_CLIENT_SECRET" in warned[0]


# ---- login: a person at a terminal -----------------------------------------------------------------------------------


class Typist:
    """Answers the questions of a login in turn, on a terminal."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine = machine
        self.monkeypatch = monkeypatch
        self.answers: list[str] = []
        self.hidden: list[str] = []
        self.blind = 0
        self.asked = ""
        monkeypatch.setattr("click.termui.visible_prompt_func", self.read)
        monkeypatch.setattr("click.termui.hidden_prompt_func", self.read_blind)

    def read(self, prompt: str) -> str:
        self.asked += prompt
        return self.answers.pop(0)

    def read_blind(self, prompt: str) -> str:
        self.blind += 1
        return self.hidden.pop(0)

    def run(self, *argv: str, answers: list[str], hidden: tuple[str, ...] = ()) -> Result:
        self.answers, self.hidden = answers, list(hidden)
        self.monkeypatch.setattr(sys, "stdin", StringIO())  # here, as pytest puts its own in place before each test
        on_a_terminal(self.monkeypatch, "stdin", "stderr")
        said = self.machine.run(*argv)
        assert self.answers == [] and self.hidden == [], "all questions were asked"
        assert said.out == "", "questions are conversation"
        self.asked += said.err
        return said


@pytest.fixture
def typist(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Typist:
    return Typist(machine, monkeypatch)


def test_a_person_is_asked_for_host_method_and_token_and_types_the_token_blind(
    typist: Typist, sandbox: Sandbox
) -> None:
    said = typist.run("login", answers=[sandbox.url, "2"], hidden=(sandbox.pat,))
    assert said.code == 0 and typist.blind == 1 and sandbox.pat not in said.err
    for words in ("workspace URL", "1  in the browser", "2  with a personal", "3  as a service principal", "method"):
        assert words in typist.asked
    assert kept(typist.machine) == {"databricks": api(sandbox.url, sandbox.pat)}


def test_a_person_who_names_no_host_is_asked_again(typist: Typist, sandbox: Sandbox) -> None:
    answers = ["http://x.example", "https://x.example/sql", sandbox.url + "/serving-endpoints/"]
    said = typist.run("login", "--method", "pat", answers=answers, hidden=(sandbox.pat,))
    assert said.code == 0 and "must use https" in said.err and "has a path" in said.err
    assert kept(typist.machine)["databricks"]["host"] == sandbox.url


def test_the_last_host_is_the_default_and_enter_takes_it(typist: Typist, sandbox: Sandbox) -> None:
    typist.machine.write(typist.machine.auth_json, {"databricks": api(sandbox.url, "dapi-old")})
    said = typist.run("login", "--force", answers=["", "2"], hidden=(sandbox.pat,))
    assert said.code == 0 and f"workspace URL [{sandbox.url}]" in typist.asked
    assert kept(typist.machine)["databricks"]["key"] == sandbox.pat


def test_enter_takes_the_browser(typist: Typist, sandbox: Sandbox, browser: list[str]) -> None:
    assert typist.run("login", sandbox.url, answers=[""]).code == 0
    assert len(browser) == 1 and kept(typist.machine)["databricks"]["type"] == "oauth"


def test_a_person_types_the_secret_of_a_principal_blind(typist: Typist, sandbox: Sandbox) -> None:
    said = typist.run("login", sandbox.url, answers=["3", sandbox.client_id], hidden=(sandbox.client_secret,))
    assert said.code == 0 and kept(typist.machine) == {"databricks": m2m(sandbox)}
    assert sandbox.client_secret not in said.err


def test_what_is_known_is_not_asked_for(typist: Typist, sandbox: Sandbox) -> None:
    said = typist.run(
        "login", sandbox.url, "--client-id", sandbox.client_id, answers=[], hidden=(sandbox.client_secret,)
    )
    assert said.code == 0
    assert typist.run("login", sandbox.url, answers=[]).err.startswith("already logged in"), "nor what works already"


def test_an_answer_that_is_none_of_the_choices_is_asked_again(typist: Typist, sandbox: Sandbox) -> None:
    said = typist.run("login", sandbox.url, answers=["9", "x", "2"], hidden=(sandbox.pat,))
    assert said.code == 0


# ---- what the verbs share --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["token", "status", "models", "logout", "login"])
def test_a_profile_that_does_not_exist_stops_every_verb_in_the_same_words(machine: Machine, verb: str) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    said = machine.run(verb, "-p", "PROD")
    assert (said.code, said.out) == (5, "")
    assert lines(said) == ["dbx-auth: ~/.databrickscfg has no profile PROD; it has: DEV", "hint: dbx-auth profiles"]


@pytest.mark.parametrize("verb", ["token", "models"])
@pytest.mark.parametrize("reply", [(500, ""), (401, {"error": "invalid_client"}), (200, "<html>")])
def test_whatever_the_far_side_says_stdout_stays_empty_on_failure(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, verb: str, reply: Reply
) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_CLIENT_ID="i", DATABRICKS_CLIENT_SECRET="cs-secret")
    far = FarSide({TOKEN: reply})
    monkeypatch.setattr(Machine, "world", property(lambda self: World(self.env, str(self.home), http=far)))
    said = machine.run(verb)
    assert said.code in (1, 6) and said.out == "" and len(lines(said)) == 2 and "cs-secret" not in said.err
    failed = machine.run(verb, "-o", "json")
    assert list(parsed(failed.out)) == ["error_code", "message", "hint", "retryable"]


def test_python_dash_m_is_the_program(machine: Machine) -> None:
    done = subprocess.run([sys.executable, "-m", "dbx_auth", "--version"], env=machine.child_env(), capture_output=True)
    assert done.returncode == 0 and done.stdout.startswith(b"dbx-auth ")
