"""Coding agents that `dbx-auth setup` has set up, against the sandbox: `make clients` installs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

from dbx_auth import Credentials, clients
from dbx_auth.gateway import Server
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import Grant, grant_fields
from dbx_auth.world import World

CLIENTS = Path(os.environ.get("DBX_AUTH_TEST_CLIENTS", "nowhere"))
README = (Path(__file__).parents[2] / "README.md").read_text()
TTL = 3.0
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}


def agent(name: str) -> list[pytest.MarkDecorator]:
    """The marks of a test that needs this one."""
    return [pytest.mark.real, pytest.mark.skipif(not _program(name).exists(), reason=f"needs {name}: make clients")]


def _program(name: str) -> Path:
    return CLIENTS / name / "node_modules" / ".bin" / name


@pytest.fixture(autouse=True)
def _programs(machine: Machine) -> None:
    """`dbx-auth` and `example` are on the PATH."""
    for name, line in (("dbx-auth", f'exec {sys.executable} -m dbx_auth "$@"'), ("example", "echo what it says")):
        machine.write(machine.home / "bin" / name, f"#!/bin/sh\n{line}\n").chmod(0o755)
    machine.env["PATH"] = f"{machine.home / 'bin'}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def workspace(machine: Machine, sandbox: Sandbox) -> Sandbox:
    """The profile DEV is for the sandbox."""
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    return sandbox


@pytest.fixture
def brief() -> Iterator[Sandbox]:
    """A workspace whose tokens end soon."""
    with Sandbox(auto_approve=True, token_ttl=TTL) as sandbox:
        yield sandbox


def run(machine: Machine, name: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What an agent says that is started in a project of its own, with nothing on stdin."""
    project = machine.home / "project"
    project.mkdir(exist_ok=True)
    return subprocess.run(
        [_program(name), *argv],
        cwd=project,
        env=machine.child_env(**QUIET, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )


class TestClaudeCode:
    pytestmark = agent("claude")

    def turn(self, machine: Machine, **env: str) -> Any:
        """Models of the sandbox call the first tool, which would be an agent of its own if there were others."""
        argv = ["-p", "hello", "--output-format", "json", "--tools", "Bash", "--allowedTools", "Bash"]
        [said] = map(json.loads, run(machine, "claude", *argv, **env).stdout.splitlines())
        return said

    def test_it_calls_a_tool_before_and_after_the_end_of_a_token(self, machine: Machine, brief: Sandbox) -> None:
        given = brief.add_login()
        grant = Grant(brief.url, given.access_token, given.refresh_token, given.expires_at)
        machine.write(machine.auth_json, {"databricks": grant_fields(grant)})
        assert machine.run("setup", "claude-code", brief.url, "--write").code == 0
        for _ in range(2):
            said = self.turn(machine)
            assert not said["is_error"] and said["num_turns"] == 2
            assert said["result"].startswith("The tool answered: what it says")
            time.sleep(TTL)

    def test_three_commands_of_the_readme_make_a_session(
        self, machine: Machine, sandbox: Sandbox, browser: Path
    ) -> None:
        """Of somebody who has a workspace, and this client; the third is it, and here it is asked something at once."""
        [block] = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "setup claude-code" in block]
        login, setup, client = block.splitlines()
        for line in (re.sub(r"https://adb[\w.-]+", sandbox.url, login), setup):
            done = subprocess.run(
                ["bash", "-euc", line], env=machine.child_env(), capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
        assert client == "claude"
        said = self.turn(machine)
        assert not said["is_error"] and said["result"].startswith("The tool answered: what it says")

    def test_with_a_token_that_was_pasted_it_dies_with_that(self, machine: Machine, brief: Sandbox) -> None:
        token = brief.add_login().access_token
        machine.write(machine.config, f"[DEV]\nhost = {brief.url}\n")
        assert machine.run("setup", "claude-code", "DEV", "--write").code == 0
        time.sleep(TTL)
        assert self.turn(machine, ANTHROPIC_AUTH_TOKEN=token)["is_error"]


class TestCodex:
    pytestmark = agent("codex")

    def test_it_is_answered_with_a_call_of_a_tool(self, machine: Machine, workspace: Sandbox) -> None:
        """Its first request. (The sandbox takes no long ids back, which Codex sends with the result.)"""
        machine.run("setup", "codex", "DEV", "--write")
        said = run(machine, "codex", "exec", "--skip-git-repo-check", "--json", "hello")
        assert '"command":"/bin/bash -lc example"' in said.stdout
        assert ("POST", "/ai-gateway/codex/v1/responses", 200) in [entry[:3] for entry in workspace.log]


class TestOpencode:
    pytestmark = agent("opencode")

    def test_it_finds_the_gateway_and_its_key(self, machine: Machine, workspace: Sandbox) -> None:
        """The file is where it looks, and the key in its own; without us it would be refused this model."""
        [_, file] = machine.run("setup", "opencode", "DEV", "--write").out.splitlines()
        key = (Path(machine.world.config_dir) / "gateway.key").read_text().strip()
        world = World(env={"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.pat}, home=str(machine.home))
        with Server(Credentials(world=world), key=key) as gateway:
            settings = Path(file)
            settings.write_text(settings.read_text().replace(clients.GATEWAY, gateway.url))
            said = run(machine, "opencode", "run", "--model", "dbx-auth/databricks-gemini-3-pro", "hello")
        assert "The tool answered: what it says" in said.stdout
