"""An expired login in the Databricks CLI's cache: renewed once, written back, nothing else touched."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from machine import Machine
from oidc_provider.fixture import OidcProvider

from dbx_auth.tokens import parse_expiry

pytestmark = pytest.mark.real

LONG_AGO = "2026-01-02T03:04:05.123456789+01:00"


def expired(machine: Machine, oidc: OidcProvider, *keys: str) -> dict[str, Any]:
    """A cache as the CLI and others left it, with one expired login under these keys."""
    login = oidc.login()
    entry = {
        "access_token": "long gone",
        "token_type": "Bearer",
        "refresh_token": login["refresh_token"],
        "expiry": LONG_AGO,
        "added_by": "somebody else",
    }
    cache = {
        "version": 1,
        "tokens": {
            "https://other.cloud.databricks.com": {"access_token": "other", "refresh_token": "x", "expiry": LONG_AGO},
            **{key: dict(entry) for key in keys},
        },
        "future": {"field": [1, 2.5, None, "ü"]},
    }
    machine.write(machine.cli_cache, cache)
    return cache


def held(machine: Machine, key: str) -> Any:
    """What the cache has under this key now."""
    return json.loads(machine.cli_cache.read_text())["tokens"][key]


def later(machine: Machine) -> None:
    """Let it be a minute since anything was renewed: a moment later a forced refresh is content with the last one."""
    (journal,) = (machine.cli_cache.parent / ".dbx-auth").glob("*.json")
    kept = json.loads(journal.read_text())
    kept["renewed"] = {token: when - 60 for token, when in kept["renewed"].items()}
    machine.write(journal, kept)


def check_written_back(machine: Machine, before: dict[str, Any], key: str, printed: str) -> None:
    after = json.loads(machine.cli_cache.read_text())
    old, new = before["tokens"][key], after["tokens"].pop(key)
    assert new["access_token"] == printed
    assert new["refresh_token"] not in ("", old["refresh_token"])
    ends = parse_expiry(new["expiry"])
    assert ends is not None and 3500 < ends - machine.clock() <= 3600
    assert (new["added_by"], new["token_type"]) == ("somebody else", "Bearer")
    untouched = {**before, "tokens": {k: v for k, v in before["tokens"].items() if k != key}}
    assert after == untouched


def test_with_only_a_host_the_new_token_is_printed_and_the_cache_holds_it(machine: Machine, oidc: OidcProvider) -> None:
    before = expired(machine, oidc, oidc.url)
    found = machine.spawn("token", DATABRICKS_HOST=oidc.url)
    assert found.code == 0, found.err
    assert oidc.me(found.out.strip()) == 200
    check_written_back(machine, before, oidc.url, found.out.strip())
    assert machine.cli_cache.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("said", ["flag", "env", "host"])
def test_the_same_for_a_login_under_a_profile(machine: Machine, oidc: OidcProvider, said: str) -> None:
    before = expired(machine, oidc, "DEV")
    machine.write(machine.config, f"[DEV]\nhost = {oidc.url}/\nauth_type = databricks-cli\n")
    argv, env = {
        "flag": (["token", "-p", "DEV"], {}),
        "env": (["token"], {"DATABRICKS_CONFIG_PROFILE": "DEV"}),
        "host": (["token"], {"DATABRICKS_HOST": oidc.url}),
    }[said]
    found = machine.spawn(*argv, **env)
    assert found.code == 0, found.err
    check_written_back(machine, before, "DEV", found.out.strip())


def test_the_twin_under_the_host_is_renewed_with_it(machine: Machine, oidc: OidcProvider) -> None:
    expired(machine, oidc, "DEV", oidc.url)
    machine.write(machine.config, f"[DEV]\nhost = {oidc.url}\n")
    first = machine.spawn("token", "-p", "DEV")
    tokens = json.loads(machine.cli_cache.read_text())["tokens"]
    assert tokens["DEV"] == tokens[oidc.url] and tokens["DEV"]["access_token"] == first.out.strip()
    later(machine)
    second = machine.spawn("token", "--force-refresh", DATABRICKS_HOST=oidc.url)
    assert second.code == 0, "the twin's refresh token was spent, and the session is gone"
    assert second.out != first.out and oidc.me(second.out.strip()) == 200
    assert oidc.grants()["refresh"] == 2 and oidc.grants()["errors"] == []


def test_a_forced_refresh_a_moment_later_is_content_with_the_last_one(machine: Machine, oidc: OidcProvider) -> None:
    expired(machine, oidc, oidc.url)
    said = [machine.spawn("token", "--force-refresh", DATABRICKS_HOST=oidc.url) for _ in range(3)]
    assert len({one.out for one in said}) == 1 and oidc.grants()["refresh"] == 1
    later(machine)
    assert machine.spawn("token", "--force-refresh", DATABRICKS_HOST=oidc.url).out != said[0].out
    assert oidc.grants()["refresh_ok"] == 2, "the control: a minute later it is another"


def test_a_refused_refresh_is_exit_4_and_changes_nothing(machine: Machine, oidc: OidcProvider) -> None:
    cache = expired(machine, oidc, oidc.url)
    cache["tokens"][oidc.url]["refresh_token"] = "revoked"
    machine.write(machine.cli_cache, cache)
    before = machine.files()
    refused = machine.spawn("token", DATABRICKS_HOST=oidc.url)
    assert (refused.code, refused.out) == (4, "")
    assert "invalid_grant" in refused.err and f"hint: dbx-auth login {oidc.url}" in refused.err
    assert machine.files() == before
    again = machine.spawn("token", DATABRICKS_HOST=oidc.url)
    assert (again.code, again.out) == (4, "") and "as it has said before" in again.err
    assert oidc.grants()["refresh"] == 1, "and nobody asks again"


def test_a_server_that_is_away_is_exit_6_and_changes_nothing(machine: Machine, oidc: OidcProvider) -> None:
    expired(machine, oidc, oidc.url)
    before = machine.files()
    oidc.stop()
    away = machine.spawn("token", "-o", "json", DATABRICKS_HOST=oidc.url)
    assert away.code == 6 and away.json()["retryable"] is True
    assert machine.files() == before


def test_a_symlinked_cache_stays_a_link(machine: Machine, oidc: OidcProvider) -> None:
    expired(machine, oidc, oidc.url)
    kept = machine.home / "dotfiles.json"
    machine.cli_cache.rename(kept)
    machine.cli_cache.symlink_to(kept)
    found = machine.spawn("token", DATABRICKS_HOST=oidc.url)
    assert found.code == 0 and machine.cli_cache.is_symlink()
    assert found.out.strip() in kept.read_text()


PROGRAM = "from dbx_auth.cli import main; main()"
WITHOUT_THE_LOCK = """
from contextlib import contextmanager
from dbx_auth.lock import Lock
@contextmanager
def held(self, *rest, **more):
    yield None
Lock.held = held
from dbx_auth.cli import main; main()
"""


def storm(machine: Machine, oidc: OidcProvider, program: str, count: int) -> list[tuple[int, str, str]]:
    """Start that many processes at once on one expired login; what each said."""
    expired(machine, oidc, oidc.url)
    env = machine.child_env(DATABRICKS_HOST=oidc.url)
    argv = [sys.executable, "-c", program, "token"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    children = [subprocess.Popen(argv, env=env, text=True, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    said = [child.communicate(timeout=100) for child in children]
    return [(child.returncode, out.strip(), err) for child, (out, err) in zip(children, said, strict=True)]


def test_twenty_processes_with_one_expired_login_make_one_refresh(machine: Machine, oidc: OidcProvider) -> None:
    results = storm(machine, oidc, PROGRAM, 20)
    assert [code for code, _, _ in results] == [0] * 20, results
    (token,) = {out for _, out, _ in results}
    assert oidc.me(token) == 200
    assert oidc.grants()["refresh"] == 1 and oidc.grants()["errors"] == []
    assert oidc.renews(held(machine, oidc.url)["refresh_token"]), "the session died"


def test_without_the_lock_the_same_storm_kills_the_session(machine: Machine, oidc: OidcProvider) -> None:
    """The negative control of the test above: it is the lock that protects."""
    with OidcProvider(delay_before_ms=1500) as slow:
        storm(machine, slow, WITHOUT_THE_LOCK, 6)
        assert slow.grants()["refresh"] > 1
        assert slow.grants()["errors"]
        assert not slow.renews(held(machine, slow.url)["refresh_token"])
