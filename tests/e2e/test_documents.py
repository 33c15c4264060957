"""The commands and programs that the README shows are run, against the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine import Machine

from dbx_auth.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("   #")[0].rstrip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if "dbx-auth " in line and not line.startswith(("pip ", "make "))
]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def prepared(machine: Machine, sandbox: Sandbox) -> dict[str, str]:
    """A shell as the README's reader has it, with the sandbox in place of a workspace."""
    machine.write(machine.home / "token.txt", sandbox.pat + "\n")
    bin_dir = machine.home / "bin"
    bin_dir.mkdir(exist_ok=True)
    launcher = machine.write(bin_dir / "dbx-auth", f'#!/bin/sh\nexec {sys.executable} -m dbx_auth "$@"\n')
    launcher.chmod(0o755)
    path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"
    secrets = {"CLIENT_ID": sandbox.client_id, "CLIENT_SECRET": sandbox.client_secret}
    return machine.child_env(PATH=path, DATABRICKS_HOST=sandbox.url, **secrets)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(machine: Machine, sandbox: Sandbox, browser: Path, command: str) -> None:
    if "curl" in command and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    env = prepared(machine, sandbox)
    if " login " not in command:
        env["DATABRICKS_HOST"] = sandbox.url
        machine.write(machine.auth_json, {"databricks": {"type": "api", "key": sandbox.pat, "host": sandbox.url}})
    line = re.sub(r"https://(adb|my)[\w.-]+", sandbox.url, command)
    if " serve " in line:  # which goes on until somebody ends it
        line = f"timeout --preserve-status --signal INT 5 {line.replace('8788', '0')}"
    shell = ["bash", "-eo", "pipefail", "-c", line]
    done = subprocess.run(shell, env=env, cwd=machine.home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if " serve " in line:
        assert done.stdout.startswith("http://127.0.0.1:")
    if "curl" in line:
        assert sandbox.user in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_readme_works(machine: Machine, sandbox: Sandbox, program: str) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": sandbox.pat, "host": sandbox.url}})
    checked = program.replace('client.get("', 'print(client.get("').replace('Me")', 'Me").json()["userName"])')
    env = machine.child_env()
    done = subprocess.run([sys.executable, "-c", checked], env=env, capture_output=True, text=True, timeout=60)
    answer = "You said: Hello" if "Transport" in program else sandbox.user
    assert done.stdout.strip() == answer, done.stderr


def test_the_demo_goes_through(machine: Machine) -> None:
    demo = [sys.executable, str(ROOT / "docs" / "demo.py")]
    done = subprocess.run(demo, env=machine.child_env(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("login", "status", "token", "models", "logout"):
        assert f"$ dbx-auth {step}" in done.stdout
    assert "databricks-claude-sonnet-4-5" in done.stdout
