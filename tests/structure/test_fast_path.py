"""A token that is there already costs no library that only the way to a new one needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from machine import HOST, Machine

HEAVY = ["httpx", "ssl", "socket", "asyncio", "msal", "azure", "keyring", "rich", "filelock", "tomlkit", "starlette"]
HEAVY += ["platformdirs", "pathlib", "tempfile", "subprocess", "anyio", "truststore", "secretstorage", "configparser"]

PROBE = f"""
import os, runpy, sys
os._exit = sys.exit
sys.argv = ["dbx-auth", "token"]
try:
    runpy.run_module("dbx_auth", run_name="__main__")
finally:
    print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def cli_cache(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    machine.cached_login(HOST)


def cli_cache_of_a_profile(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "DEV"
    machine.cached_login("DEV")


def own_login(machine: Machine) -> None:
    entry = {"type": "oauth", "access": "cached", "refresh": "r", "expires": 4070908800000, "host": HOST}
    machine.write(machine.auth_json, {"databricks": entry})


def own_key(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "cached", "host": HOST}})


def environment(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="cached")


@pytest.mark.parametrize("prepare", [cli_cache, cli_cache_of_a_profile, own_login, own_key, environment])
def test_a_cached_token_imports_nothing_heavy(machine: Machine, prepare: object) -> None:
    prepare(machine)  # type: ignore[operator]
    env = machine.child_env()
    done = subprocess.run([sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr.strip()) == ("cached\n", "")


@pytest.mark.parametrize("module", ["dbx_auth", "dbx_auth.errors", "dbx_auth.tokens"])
def test_importing_the_library_costs_nothing(module: str) -> None:
    probe = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    env = {"PATH": ""}
    loaded = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & {*HEAVY, "click", "json"}
