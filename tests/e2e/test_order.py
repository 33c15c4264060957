"""Who wins when several can answer, over a real socket; and `status` telling why."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from machine import OTHER, Machine

from dbx_auth.lock import Lock
from dbx_auth.sandbox import Sandbox
from dbx_auth.sources import ORDER


class Everything:
    """A machine on which every source has something to give, until it is taken away."""

    def __init__(self, machine: Machine, sandbox: Sandbox) -> None:
        self.machine, self.sandbox = machine, sandbox
        self.entries: dict[str, Any] = {"databricks": {"type": "api", "key": sandbox.pat, "host": sandbox.url}}
        self.login = sandbox.add_login()
        machine.env.update(
            DATABRICKS_HOST=sandbox.url,
            DATABRICKS_TOKEN="from the environment".replace(" ", "-"),
            DATABRICKS_CLIENT_ID=sandbox.client_id,
            DATABRICKS_CLIENT_SECRET=sandbox.client_secret,
        )
        machine.write(machine.auth_json, self.entries)
        machine.cached_login(sandbox.url, access_token=self.login.access_token)

    def without(self, auth_type: str) -> None:
        env = self.machine.env
        if auth_type == "pat":
            del env["DATABRICKS_TOKEN"]
        elif auth_type == "stored":
            self.machine.auth_json.unlink()
        elif auth_type == "oauth-m2m":
            del env["DATABRICKS_CLIENT_ID"], env["DATABRICKS_CLIENT_SECRET"]
        else:
            self.machine.cli_cache.unlink()


def test_the_token_of_the_environment_then_the_stored_key_then_m2m_then_the_cached_login(
    machine: Machine, sandbox: Sandbox
) -> None:
    everything = Everything(machine, sandbox)
    expected = ("pat", "stored", "oauth-m2m", "databricks-cli")
    seen = []
    for auth_type in expected:
        found = machine.run("token", "-o", "json").json()
        seen.append(found["auth_type"])
        assert found["host"] == sandbox.url
        everything.without(auth_type)
    assert tuple(seen) == expected
    assert machine.run("token").code == 4


@pytest.mark.parametrize("taken", range(4))
def test_status_names_every_attempt_with_its_reason(machine: Machine, sandbox: Sandbox, taken: int) -> None:
    everything = Everything(machine, sandbox)
    order = ("pat", "stored", "oauth-m2m", "databricks-cli")
    for auth_type in order[:taken]:
        everything.without(auth_type)
    status = machine.run("status", "-o", "json").json()
    attempts = {a["auth_type"]: a for a in status["attempts"]}
    assert tuple(attempts) == ORDER
    assert status["auth_type"] == order[taken] and attempts[order[taken]]["outcome"] == "used"
    before = ORDER[: ORDER.index(order[taken])]
    assert all(attempts[a]["outcome"] == "unavailable" for a in before)
    assert all(attempts[a]["outcome"] == "not asked" for a in ORDER[ORDER.index(order[taken]) + 1 :])
    assert all(a["reason"] for a in status["attempts"])


def test_a_stored_key_is_never_sent_to_another_host(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "secret-key", "host": OTHER}})
    machine.env["DATABRICKS_HOST"] = sandbox.url
    found = machine.run("token")
    assert (found.code, found.out) == (4, "")
    status = machine.run("status", "-o", "json").json()
    (stored,) = (a for a in status["attempts"] if a["auth_type"] == "stored")
    assert stored["outcome"] == "unavailable" and OTHER in stored["reason"]


@pytest.mark.parametrize(
    "settings",
    [
        {"DATABRICKS_TOKEN": "x"},
        {"DATABRICKS_CLIENT_ID": "a", "DATABRICKS_CLIENT_SECRET": "b"},
        {"DATABRICKS_USERNAME": "a", "DATABRICKS_PASSWORD": "b"},
    ],
)
def test_the_stored_host_serves_stored_credentials_only(machine: Machine, settings: dict[str, str]) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "k", "host": OTHER}})
    machine.env.update(settings)
    found = machine.run("token")
    assert (found.code, found.out) == (5, "")
    assert "no host" in found.err and "DATABRICKS_HOST" in found.err and next(iter(settings)) in found.err


def test_a_wrong_client_secret_stops_the_chain(machine: Machine, sandbox: Sandbox) -> None:
    """Silently becoming somebody else is worse than failing."""
    everything = Everything(machine, sandbox)
    everything.without("pat")
    everything.without("stored")
    machine.env["DATABRICKS_CLIENT_SECRET"] = "wrong-secret"
    found = machine.run("token")
    assert (found.code, found.out) == (1, "")
    assert "invalid_client" in found.err and "wrong-secret" not in found.err
    status = machine.run("status", "-o", "json")
    outcomes = {a["auth_type"]: a["outcome"] for a in status.json()["attempts"]}
    assert outcomes["oauth-m2m"] == "failed" and outcomes["databricks-cli"] == "not asked"
    assert status.code == 4


def test_a_dead_cached_login_is_remembered_and_the_next_is_asked(machine: Machine, sandbox: Sandbox) -> None:
    entry = {"type": "oauth", "access": "dead", "refresh": "revoked", "expires": 1000, "host": sandbox.url}
    machine.write(machine.auth_json, {"databricks": entry})
    machine.cached_login(sandbox.url, access_token=sandbox.add_login().access_token)
    found = machine.run("token", "-o", "json")
    assert found.code == 0 and "token-cache.json" in found.json()["origin"]


def test_a_token_that_is_nearly_over_is_renewed_before_it_is_seen(machine: Machine, sandbox: Sandbox) -> None:
    login = sandbox.add_login()
    soon = time.time() + 200
    machine.env["DATABRICKS_HOST"] = sandbox.url
    machine.cached_login(
        sandbox.url, access_token=login.access_token, refresh_token=login.refresh_token, expiry=str(soon)
    )
    found = machine.run("token", "-o", "json").json()
    assert found["access_token"] != login.access_token and found["expires_in"] > 3000


def test_if_it_cannot_be_renewed_it_is_served_with_a_warning(machine: Machine, sandbox: Sandbox) -> None:
    machine.env["DATABRICKS_HOST"] = sandbox.url
    machine.cached_login(sandbox.url, access_token="still-good", refresh_token="r", expiry=str(time.time() + 100))
    found = machine.run("token")
    assert (found.code, found.out) == (0, "still-good\n")
    assert found.err.count("\n") == 1 and "warning" in found.err
    demanded = machine.run("token", "--min-ttl", "5m")
    assert (demanded.code, demanded.out) == (4, "")


def test_waiting_is_shown_on_a_terminal_only(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.cached_login(sandbox.url, expiry="2020-01-01T00:00:00Z", refresh_token=sandbox.add_login().refresh_token)
    machine.env["DATABRICKS_HOST"] = sandbox.url
    piped = machine.spawn("token")
    assert (piped.code, piped.err) == (0, "")
    machine.cli_cache.unlink()
    machine.cached_login(sandbox.url, expiry="2020-01-01T00:00:00Z", refresh_token=sandbox.add_login().refresh_token)
    assert machine.run("token").code == 0
    assert machine.waited[-1] == "refreshing the login"
    assert all(what.startswith(f"asking {sandbox.url}/") for what in machine.waited[:-1])
    waited = len(machine.waited)
    lock = str(machine.cli_cache.with_name("token-cache.lock"))
    machine.cached_login(sandbox.url, expiry="2020-01-01T00:00:00Z", refresh_token=sandbox.add_login().refresh_token)
    monkeypatch.setattr("dbx_auth.lock.LOCK_WAIT", 0.3)
    with Lock(machine.world, "it", [lock]).held():
        assert machine.run("token").code == 6
    assert machine.waited[waited:] == ["waiting for another process to finish with ~/.databricks/token-cache.json"]


def test_verbose_tells_the_story_and_no_secret(machine: Machine, sandbox: Sandbox) -> None:
    login = sandbox.add_login()
    machine.env["DATABRICKS_HOST"] = sandbox.url
    machine.cached_login(sandbox.url, refresh_token=login.refresh_token, expiry="2020-01-01T00:00:00Z")
    told = machine.spawn("-v", "token")
    assert told.code == 0 and "databricks-cli: used" in told.err and "renewing" in told.err
    kept = json.loads(machine.cli_cache.read_text())["tokens"][sandbox.url]
    secrets = [told.out.strip(), login.refresh_token, kept["refresh_token"], sandbox.pat]
    assert not [secret for secret in secrets if secret in told.err]
