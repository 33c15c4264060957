"""`dbx-auth auth`: the commands of the Databricks CLI, in its words and shapes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import ME
from unit.test_shim import PAT, ask, config, key, login, token

from dbx_auth import resolve
from dbx_auth.sandbox import Sandbox
from dbx_auth.shim.answers import NOT_CONFIGURED


def test_auth_token_prints_what_the_cli_prints(machine: Machine) -> None:
    config(machine, PAT)
    said = machine.run("auth", "token", "-p", "DEV")
    assert (said.code, said.err) == (0, "")
    assert list(said.json()) == ["access_token", "token_type", "expiry"] and said.json()["access_token"] == "dapi-dev"
    assert machine.run("auth", "--profile", "PROD", "token", "-o", "text").out == "dapi-prod\n"
    assert machine.run("auth", "token", HOST).code == 4, "and fails as ours do"


def test_auth_token_renews_when_it_is_told_to(machine: Machine, sandbox: Sandbox) -> None:
    grant = login(machine, sandbox)
    assert machine.run("auth", "token").json()["access_token"] == grant.access
    assert machine.run("auth", "token", "--force-refresh").json()["access_token"] != grant.access


def test_auth_token_gives_up_when_its_time_is_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(resolve, "token", lambda *how: held.wait(60))
    config(machine, PAT)
    said = machine.run("auth", "token", "-p", "DEV", "--timeout", "0.1s")
    held.set()
    assert (said.code, said.out) == (6, "") and "no token in time" in said.err
    monkeypatch.undo()
    assert machine.run("auth", "token", "-p", "DEV", "--timeout", "60s").json()["access_token"] == "dapi-dev"


def test_auth_token_does_not_pay_for_a_login(machine: Machine) -> None:
    config(machine, PAT)
    probe = (
        "import os, sys; os._exit = sys.exit; from dbx_auth.cli import main\n"
        "try: main()\n"
        "finally: print(*{'dbx_auth.login', 'dbx_auth.share', 'httpx'} & {*sys.modules}, file=sys.stderr)"
    )
    argv = [sys.executable, "-c", probe, "auth", "token", "-p", "DEV", "-o", "text"]
    done = subprocess.run(argv, env=machine.child_env(), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("dapi-dev\n", "\n")


LOGS = ("--log-level", "debug", "--log-file", "stderr", "--log-format", "json", "--debug")
"""What the CLI takes everywhere, and VS Code says when it logs."""


@pytest.mark.parametrize("words", ["token", "profiles --skip-validate", "describe", "env", "switch"])
def test_what_the_cli_is_told_about_its_logs_changes_nothing(machine: Machine, words: str) -> None:
    config(machine, f"[DEFAULT]\nhost = {HOST}\ntoken = dapi-dev\n")
    who = () if words.startswith("profiles") else ("-p", "DEFAULT")
    plain = machine.run("auth", *words.split(), *who)
    assert plain.code == 0
    assert machine.run("auth", *words.split(), *who, *LOGS) == plain
    assert machine.run("auth", *LOGS, *words.split(), *who) == plain
    assert "--log-level" not in machine.run("auth", *words.split(), "--help").out
    assert machine.run("auth", *words.split(), *who, "--log-lever", "debug").code == 2, "the control"


def test_auth_profiles_without_validation_is_what_vs_code_reads(machine: Machine) -> None:
    config(machine, f"{PAT}workspace_id = 7\n[ACC]\nhost = https://accounts.azuredatabricks.net\naccount_id = 9\n")
    machine.env["DATABRICKS_OUTPUT_FORMAT"] = "json"
    said = machine.run("auth", "profiles", "--skip-validate")
    assert said.json() == {
        "profiles": [
            {"name": "DEV", "host": HOST, "cloud": "aws", "auth_type": "pat", "valid": False},
            {"name": "PROD", "host": OTHER, "workspace_id": "7", "cloud": "aws", "auth_type": "pat", "valid": False},
            {
                "name": "ACC",
                "host": "https://accounts.azuredatabricks.net",
                "account_id": "9",
                "cloud": "azure",
                "auth_type": "",
                "valid": False,
            },
        ]
    }


def test_auth_profiles_without_profiles_is_null(machine: Machine) -> None:
    assert machine.run("auth", "profiles", "-o", "json").json() == {"profiles": None}
    assert machine.run("auth", "profiles").out.split() == ["Name", "Host", "Valid"]


def test_auth_profiles_says_which_of_them_log_in(machine: Machine, sandbox: Sandbox) -> None:
    good, bad = f"[DEFAULT]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n", "[BAD]\nhost = {}\ntoken = dapi-no\n"
    config(machine, good + bad.format(sandbox.url) + "[EMPTY]\nhost = https://nobody.example\n")
    rows = [line.split("  ") for line in machine.run("auth", "profiles").out.splitlines()]
    told = {row[0].strip(): row[-1] for row in rows}
    assert told == {"Name": "Valid", "DEFAULT (Default)": "YES", "BAD": "NO", "EMPTY": "NO"}
    listed = machine.run("auth", "profiles", "-o", "json").json()["profiles"]
    assert [(row["valid"], row.get("default")) for row in listed] == [(True, True), (False, None), (False, None)]
    assert [request.path for request in sandbox.log].count(ME) == 4


def test_auth_describe_says_who_and_with_what(machine: Machine, sandbox: Sandbox) -> None:
    config(machine, f"[DEV]\nhost = {sandbox.url}\n")
    machine.env.update(DATABRICKS_TOKEN=sandbox.pat, ARM_CLIENT_ID="app")
    said = machine.run("auth", "describe", "--profile", "DEV")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"Host: {sandbox.url}",
        f"User: {sandbox.user}",
        "Authenticated with: pat",
        "-----",
        "Current configuration:",
        f"  ✓ host: {sandbox.url} (from ~/.databrickscfg config file)",
        "  ✓ token: ******** (from DATABRICKS_TOKEN environment variable)",
        "  ~ azure_client_id: app (from ARM_CLIENT_ID environment variable, not used for auth type pat)",
        "  ✓ profile: DEV",
    ]
    assert sandbox.pat in machine.run("auth", "describe", "-p", "DEV", "--sensitive").out


def test_auth_describe_in_json_has_the_cli_s_fields(machine: Machine, sandbox: Sandbox) -> None:
    config(machine, f"[DEV]\nhost = {sandbox.url}\naccount_id = 9\n")
    machine.env.update(DATABRICKS_CONFIG_PROFILE="DEV", DATABRICKS_TOKEN=sandbox.pat)
    said = machine.run("auth", "describe", "-o", "json").json()
    assert (said["status"], said["username"], said["account_id"]) == ("success", sandbox.user, "9")
    assert said["details"]["profile"] == "DEV"
    assert (said["details"]["auth_type"], said["details"]["host"]) == ("pat", sandbox.url)
    source = {"type": "environment variable", "name": "DATABRICKS_TOKEN"}
    held = said["details"]["configuration"]["token"]
    assert held == {"value": "********", "source": source, "auth_type_mismatch": False}


def test_auth_describe_of_a_login_says_where_it_is(machine: Machine, sandbox: Sandbox) -> None:
    login(machine, sandbox)
    lines = machine.run("auth", "describe").out.splitlines()
    assert "Token storage: ~/.local/share/dbx-auth/auth.json" in lines
    assert f"  ✓ host: {sandbox.url} (from dbx-auth login)" in lines
    told = machine.run("auth", "describe", "-o", "json").json()
    assert told["token_storage"] == {"location": "~/.local/share/dbx-auth/auth.json"}


def test_auth_describe_of_nobody_says_why_and_is_no_failure(machine: Machine) -> None:
    said = machine.run("auth", "describe", "--host", HOST)
    assert said.code == 0 and said.out.startswith("Unable to authenticate: no token for")
    assert "  ✓ host: https://dev.cloud.databricks.com (from --host flag)" in said.out.splitlines()
    assert machine.run("auth", "describe", "--host", HOST, "-o", "json").json()["status"] == "error"


def test_auth_env_prints_the_settings_as_variables(machine: Machine) -> None:
    config(machine, PAT)
    wanted = {"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "dapi-dev", "DATABRICKS_CONFIG_PROFILE": "DEV"}
    assert machine.run("auth", "env", "-p", "DEV").json() == {"env": wanted}
    assert machine.run("auth", "env", HOST).json() == {"env": {"DATABRICKS_HOST": HOST}}


def test_auth_switch_makes_a_profile_the_default_and_changes_nothing_else(machine: Machine) -> None:
    config(machine, f"# mine\n{PAT}")
    said = machine.run("auth", "switch", "--profile", "PROD")
    assert (said.code, said.out, said.err) == (0, "", 'Default profile set to "PROD".\n')
    assert machine.config.read_text() == f"# mine\n{PAT}\n[__settings__]\ndefault_profile = PROD\n"
    assert machine.run("token").out == "dapi-prod\n"
    machine.run("auth", "switch", "-p", "DEV")
    before = machine.config.stat()
    machine.run("auth", "switch", "-p", "DEV")
    assert machine.run("token").out == "dapi-dev\n" and machine.config.stat() == before


def test_auth_switch_says_what_still_comes_first(machine: Machine) -> None:
    config(machine, PAT)
    key(machine, OTHER)
    said = machine.run("auth", "switch", "-p", "DEV")
    assert said.code == 0 and f"the last login, {OTHER}, still comes first" in said.err
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "PROD"
    assert "profile PROD still comes first" in machine.run("auth", "switch", "-p", "DEV").err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ("-p NONE", 5, 'profile "NONE" not found'),
        ("-p __settings__", 5, 'profile "__settings__" not found'),
        ("", 2, "please specify a profile using --profile"),
    ],
)
def test_auth_switch_to_nothing_is_refused(machine: Machine, argv: str, code: int, words: str) -> None:
    config(machine, PAT)
    said = machine.run("auth", "switch", *argv.split())
    assert (said.code, said.out) == (code, "") and words in said.err
    assert machine.config.read_text() == PAT


def test_auth_login_and_logout_are_ours_for_the_sdks_as_well(machine: Machine, sandbox: Sandbox, browser: Path) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "plaintext"
    said = machine.spawn("auth", "login", "--host", sandbox.url, "--profile", "DEV", "--timeout", "60s")
    assert said.code == 0 and "logged in to" in said.err and "shared in ~/.databrickscfg [DEV]" in said.err
    assert "DEV" in json.loads(machine.cli_cache.read_text())["tokens"]
    assert token(machine, "--profile", "DEV")
    gone = machine.run("auth", "logout", "DEV", "--auto-approve")
    assert gone.code == 0 and "forgot the login in ~/.databricks/token-cache.json [DEV]" in gone.err
    assert NOT_CONFIGURED in ask(machine, "auth", "token", "--profile", "DEV").err
