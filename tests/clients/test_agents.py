"""Coding agents that `dbx-auth setup` has set up, against the sandbox: `make clients` installs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from agents import QUIET, executable, needs
from machine import Machine

from dbx_auth import Credentials, clients
from dbx_auth.gateway import Server
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import Grant, grant_fields

README = (Path(__file__).parents[2] / "README.md").read_text()
TTL = 3.0


# ---- what each of them is told ---------------------------------------------------------------------------------------


class Agent(NamedTuple):
    """What `setup` calls it, and how it is asked something, in a new session or in the last one.

    `pasted` makes of its settings, the URL of a workspace and a token those of somebody who has pasted that token, and
    `error` is what the agent says at its end.
    """

    client: str
    asked: list[str]
    again: list[str]
    pasted: Callable[[str, str, str], str]
    error: str


def _claude_code(settings: str, url: str, token: str) -> str:
    said = json.loads(settings)
    del said["apiKeyHelper"]
    said["env"]["ANTHROPIC_AUTH_TOKEN"] = token
    return json.dumps(said)


def _codex(settings: str, url: str, token: str) -> str:
    provider, _, _ = settings.partition("[model_providers.databricks.auth]")
    return f'{provider}experimental_bearer_token = "{token}"\nstream_max_retries = 0\n'


def _opencode(settings: str, url: str, token: str) -> str:
    said = json.loads(settings)
    said["provider"]["dbx-auth"]["options"] = {"baseURL": f"{url}/serving-endpoints", "apiKey": token}
    return json.dumps(said)


def _pi(settings: str, url: str, token: str) -> str:
    return re.sub('"apiKey": ".*?"', f'"apiKey": "{token}"', settings)


def _gemini_cli(settings: str, url: str, token: str) -> str:
    settings = settings.replace(clients.GATEWAY, f"{url}/serving-endpoints/gemini")
    return re.sub("GEMINI_API_KEY=.*", f"GEMINI_API_KEY={token}\nGEMINI_API_KEY_AUTH_MECHANISM=bearer", settings)


# Models of the sandbox call the first tool, which of Claude Code would be an agent of its own if there were others.
CLAUDE_CODE = ["-p", "hello", "--tools", "Bash", "--allowedTools", "Bash"]
CODEX = ["--skip-git-repo-check", "hello"]
OPENCODE = ["run", "--model", "dbx-auth/databricks-gpt-5", "hello"]
PI = ["-p", "hello", "--model", "databricks-claude/databricks-claude-sonnet-4-5", "--tools", "bash"]
GEMINI_CLI = ["-p", "hello", "--yolo"]

AGENTS = {
    "claude": Agent(
        "claude-code", CLAUDE_CODE, [*CLAUDE_CODE, "--continue"], _claude_code, "API Error: 401 Token is expired"
    ),
    "codex": Agent(
        "codex", ["exec", *CODEX], ["exec", "resume", "--last", *CODEX], _codex, "unexpected status 401 Unauthorized"
    ),
    "opencode": Agent("opencode", OPENCODE, [*OPENCODE, "--continue"], _opencode, "Unauthorized: Token is expired"),
    "pi": Agent("pi", PI, [*PI, "--continue"], _pi, "401 Token is expired"),
    "gemini": Agent("gemini-cli", GEMINI_CLI, [*GEMINI_CLI, "--resume", "latest"], _gemini_cli, "Token is expired"),
}


# ---- where they run --------------------------------------------------------------------------------------------------


def program(machine: Machine, name: str, lines: str) -> None:
    """Put a program on the PATH, which is that of login shells, too."""
    machine.write(machine.home / "bin" / name, f"#!/bin/sh\n{lines}\n").chmod(0o755)
    machine.env["PATH"] = f"{machine.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    machine.write(machine.home / ".profile", f"PATH='{machine.env['PATH']}'\n")


@pytest.fixture(autouse=True)
def _home(machine: Machine) -> None:
    """`dbx-auth` is there, and `example`, which is what they are told to run; and what a person has chosen before."""
    program(machine, "dbx-auth", f'exec {sys.executable} -m dbx_auth "$@"')
    program(machine, "example", "echo what it says")
    machine.write(machine.home / "project" / "opencode.json", {"tools": {"edit": False}})
    chosen = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "tools": {"core": ["run_shell_command"]},
    }
    machine.write(machine.home / ".gemini" / "settings.json", chosen)


@pytest.fixture
def brief() -> Iterator[Sandbox]:
    """A workspace whose tokens end soon."""
    with Sandbox(auto_approve=True, token_ttl=TTL) as workspace:
        yield workspace


@pytest.fixture
def ending() -> Iterator[Sandbox]:
    """A workspace in which an hour goes by when a model has answered."""

    def now() -> float:
        return time.time() + (3600 if 200 in answers(workspace) else 0)

    with Sandbox(auto_approve=True, now=now) as workspace:
        yield workspace


def answers(workspace: Sandbox) -> list[int]:
    """How the models of a workspace have answered."""
    return [entry.status for entry in list(workspace.log) if entry.method == "POST" and not entry.grant_type]


def set_up(machine: Machine, name: str, workspace: Sandbox) -> Path:
    """Set an agent up for a workspace, and say where its settings are."""
    done = machine.run("setup", AGENTS[name].client, workspace.url, "--write")
    assert done.code == 0, done.err
    return Path(done.out.splitlines()[-1])


@contextmanager
def gateway(machine: Machine, name: str, workspace: Sandbox, settings: Path) -> Iterator[None]:
    """What an agent needs besides its settings, if it does: the gateway, which they say the port of."""
    if not clients.load(AGENTS[name].client).needs_gateway:
        yield
        return
    key = (Path(machine.world.config_dir) / "gateway.key").read_text().strip()
    with Server(Credentials(host=workspace.url, world=machine.world), key=key) as server:
        settings.write_text(settings.read_text().replace(clients.GATEWAY, server.url))
        yield


def run(machine: Machine, name: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """What an agent says that is started in a project of its own, with nothing on stdin."""
    return subprocess.run(
        [executable(name), *argv],
        cwd=machine.home / "project",
        env=machine.child_env(**QUIET, TMPDIR=str(machine.home)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )


def assert_it_ran_the_tool(done: subprocess.CompletedProcess[str]) -> None:
    """And that the model got what the tool said, and the user what the model said of it."""
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.search("The tool answered: .*what it says", done.stdout, re.DOTALL), done.stderr + done.stdout


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in AGENTS])
class TestAnAgent:
    def test_a_session_outlives_its_token(self, machine: Machine, brief: Sandbox, name: str) -> None:
        """The token ends while a tool runs. Later the session is taken up again, and another tool is run."""
        given = brief.add_login()
        grant = Grant(brief.url, given.access_token, given.refresh_token, given.expires_at)
        machine.write(machine.auth_json, {"databricks": grant_fields(grant)})
        with gateway(machine, name, brief, set_up(machine, name, brief)):
            program(machine, "example", f"sleep {TTL}; echo what it says")
            assert_it_ran_the_tool(run(machine, name, AGENTS[name].asked))
            program(machine, "example", "echo what it says")
            assert_it_ran_the_tool(run(machine, name, AGENTS[name].again))
        assert set(answers(brief)) <= {200, 401}

    def test_with_a_token_in_its_settings_it_dies_with_that(self, machine: Machine, ending: Sandbox, name: str) -> None:
        """The same agent with the same settings otherwise: when the tool has run, the token is over."""
        settings = set_up(machine, name, ending)
        token = ending.add_login().access_token
        settings.write_text(AGENTS[name].pasted(settings.read_text(), ending.url, token))
        done = run(machine, name, AGENTS[name].asked)
        assert done.returncode and AGENTS[name].error in done.stdout + done.stderr
        assert "The tool answered" not in done.stdout
        first, *_, last = answers(ending)
        assert (first, last) == (200, 401)


class TestClaudeCode:
    pytestmark = needs("claude")

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
        assert_it_ran_the_tool(run(machine, "claude", AGENTS["claude"].asked))
