"""`dbx-auth login` in the browser, against a certified OAuth server."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from machine import Machine
from oidc_provider.fixture import OidcProvider

pytestmark = pytest.mark.real


def test_a_login_in_the_browser_serves_token_status_and_a_second_login(
    machine: Machine, oidc: OidcProvider, browser: Path
) -> None:
    logged_in = machine.spawn("login", oidc.url)
    assert logged_in.code == 0, logged_in.err
    assert logged_in.out == ""
    assert f"logged in to {oidc.url} as alice@example.com" in logged_in.err
    assert "wins over" not in logged_in.err

    token = machine.spawn("token")
    assert token.code == 0 and token.out.count("\n") == 1 and token.err == ""
    assert oidc.me(token.out.strip()) == 200

    status = machine.spawn("status", "-o", "json").json()
    assert (status["authenticated"], status["user"], status["checked"]) == (True, "alice@example.com", "online")
    assert (status["auth_type"], status["refreshable"]) == ("databricks-cli", True)
    assert 3500 < status["expires_in"] <= 3600

    again = machine.spawn("login", oidc.url)
    assert again.code == 0 and "already logged in" in again.err
    assert oidc.grants()["code"] == 1


def test_force_logs_in_anew(machine: Machine, oidc: OidcProvider, browser: Path) -> None:
    assert machine.spawn("login", oidc.url).code == 0
    before = machine.spawn("token").out
    assert machine.spawn("login", oidc.url, "--force").code == 0
    assert machine.spawn("token").out != before
    assert oidc.grants()["code"] == 2


def test_the_page_at_the_end_is_ours_and_loads_nothing(machine: Machine, oidc: OidcProvider, browser: Path) -> None:
    assert machine.spawn("login", oidc.url).code == 0
    for _ in range(100):
        if browser.exists() and browser.read_text():
            break
        time.sleep(0.05)
    page = browser.read_text()
    assert page.startswith("200 ") and "Back to the terminal" in page
    assert "http" not in page.removeprefix("200 ").replace("<!doctype html>", "")


def test_what_is_kept_is_private_and_has_the_shape_of_the_design(
    machine: Machine, oidc: OidcProvider, browser: Path
) -> None:
    assert machine.spawn("login", oidc.url).code == 0
    path = machine.auth_json
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    entry = json.loads(path.read_text())["databricks"]
    assert set(entry) == {"type", "access", "refresh", "expires", "host", "client_id", "scopes"}
    assert (entry["type"], entry["host"], entry["client_id"]) == ("oauth", oidc.url, "databricks-cli")
    assert time.time() * 1000 < entry["expires"] <= (time.time() + 3600) * 1000


def test_a_forced_refresh_rotates_and_the_session_lives_on(machine: Machine, oidc: OidcProvider, browser: Path) -> None:
    assert machine.spawn("login", oidc.url).code == 0
    seen = []
    for _ in range(3):
        seen.append(machine.spawn("token", "--force-refresh").out.strip())
        (journal,) = (machine.auth_json.parent / "refresh").glob("*.json")
        kept = json.loads(journal.read_text())
        kept["renewed"] = {}  # within a few seconds the next one would be content with this one
        machine.write(journal, kept)
    assert len(set(seen)) == 3 and oidc.me(seen[-1]) == 200
    assert oidc.grants()["refresh_ok"] == 3 and oidc.grants()["errors"] == []


def test_two_logins_at_once_do_not_mix(machine: Machine, oidc: OidcProvider, browser: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    homes = [tmp_path / name for name in ("one", "two")]
    started = []
    for home in homes:
        home.mkdir()
        argv = [sys.executable, "-m", "dbx_auth", "login", oidc.url]
        env = machine.child_env(HOME=str(home))
        started.append(subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for child in started:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    tokens = {machine.spawn("token", HOME=str(home)).out for home in homes}
    assert len(tokens) == 2


def test_nobody_comes_back_in_time(machine: Machine, oidc: OidcProvider) -> None:
    machine.env["BROWSER"] = "true"
    before = machine.files()
    late = machine.spawn("login", oidc.url, "--timeout", "0.5")
    assert (late.code, late.out) == (4, "")
    assert "nobody came back from the browser" in late.err
    assert machine.files() == before


def test_a_host_where_nobody_answers_ends_a_login_at_once(machine: Machine, oidc: OidcProvider) -> None:
    oidc.stop()
    away = machine.spawn("login", oidc.url)
    assert (away.code, away.out) == (6, "") and "cannot reach" in away.err and "open this link" not in away.err
