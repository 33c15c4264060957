"""Completion in real shells: somebody types, and presses Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pexpect
import pytest
from machine import HOST, OTHER, Machine

from dbx_auth.commands.completion import script

HOSTILE = "$(touch pwned)"

CONFIG = f"""
[DEV]
host = {HOST}
[my profile]
host = {OTHER}
[it's]
host = https://third.cloud.databricks.com
[{HOSTILE}]
host = https://fourth.cloud.databricks.com
"""

TYPED = [
    ("dbx-auth tok", ["token"]),
    ("dbx-auth token -p D", ["token", "-p", "DEV"]),
    ("dbx-auth token -p my", ["token", "-p", "my profile"]),
    ("dbx-auth token -p my\\ p", ["token", "-p", "my profile"]),
    ("dbx-auth token -p 'my", ["token", "-p", "my profile"]),
    ('dbx-auth token -p "my p', ["token", "-p", "my profile"]),
    ("dbx-auth token -p it", ["token", "-p", "it's"]),
    ("dbx-auth token -p \\$", ["token", "-p", HOSTILE]),
    ("dbx-auth token --profile=D", ["token", "--profile=DEV"]),
    ("dbx-auth token --host https://de", ["token", "--host", HOST]),
    ("dbx-auth token --host=https://de", ["token", f"--host={HOST}"]),
    ("dbx-auth status https://pr", ["status", OTHER]),
    ("dbx-auth setup cla", ["setup", "claude-code"]),
    ("dbx-auth config set stor", ["config", "set", "storage"]),
    ("dbx-auth models show databricks-gpt-5-n", ["models", "show", "databricks-gpt-5-nano"]),
    ("FOO=1 dbx-auth auth switch --profile D", ["auth", "switch", "--profile", "DEV"]),
    ("dbx-auth exec -- ./dbx-a", ["exec", "--", "./dbx-auth-is-here"]),
    ("dbx-auth nonsense x", ["nonsense", "x"]),
]


@pytest.fixture
def home(machine: Machine) -> Machine:
    """A home with profiles, and `dbx-auth` on the PATH: one that completes, and says what else it was called with."""
    machine.write(machine.config, CONFIG)
    (machine.home / "dbx-auth-is-here").touch()
    program = machine.home / "bin" / "dbx-auth"
    completes = f'[ -n "$_DBX_AUTH_COMPLETE" ] && exec "{sys.executable}" -m dbx_auth'
    machine.write(program, f"#!/bin/sh\n{completes}\nprintf '<%s>' \"$@\"; printf '<end>\\n'\n")
    program.chmod(0o755)
    machine.env.update(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", TERM="dumb", LC_ALL="C.UTF-8")
    return machine


def completed(home: Machine, argv: Sequence[str], start: str) -> list[tuple[str, list[str]]]:
    """What the program is called with after each line of TYPED and a Tab, all of it in one session of a shell."""
    found = []
    child = pexpect.spawn(
        argv[0], [*argv[1:]], env=home.child_env(PS1="> "), cwd=home.home, encoding="utf-8", timeout=30
    )
    child.setwinsize(50, 250)
    child.sendline(f"{start}; printf '%s%s\\n' rea dy")
    child.expect("ready\r\n")
    for typed, _ in TYPED:
        child.send(f"{typed}\t\n")
        child.expect(r"((?:<[^<>\r\n]*>)+)<end>\r\n")
        found.append((typed, child.match[1].strip("<>").split("><")))
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    return found


def written(home: Machine, shell: str) -> Path:
    path = home.home / f"completion.{shell}"
    path.write_text(script(shell))
    return path


def installed(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return pytest.mark.skipif(sys.platform == "win32" or not shutil.which(name), reason=f"there is no {name}")


@installed("bash")
def test_bash_completes_names_also_those_with_spaces_and_colons(home: Machine) -> None:
    start = f"source {written(home, 'bash')}; bind 'set enable-bracketed-paste off' 'set bell-style none'"
    assert completed(home, ["bash", "--norc", "--noprofile", "-i"], start) == TYPED
    assert not list(home.home.rglob("pwned"))


@installed("bash")
def test_bash_before_4_4_is_not_told_of_what_it_does_not_know(home: Machine) -> None:
    old = 'complete() { [ "$2" != nosort ] && builtin complete "$@"; }'
    line = f"{old}; source {written(home, 'bash')}; complete -p"
    done = subprocess.run(["bash", "--norc", "-c", line], env=home.child_env(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("complete -F _dbx_auth_completion dbx-auth\n", "")


@installed("bash")
def test_nothing_is_said_in_the_middle_of_a_line(home: Machine) -> None:
    """Whatever goes wrong: a damaged file, or no program at all."""
    home.write(home.config, b"[DEV\n\xff")
    path = written(home, "bash")
    ask = "COMP_LINE='dbx-auth token -p '; COMP_POINT=18; _dbx_auth_completion dbx-auth; echo ${#COMPREPLY[@]}"
    for program in ("", "PATH=/nonexistent; "):
        line = f"source {path}; {program}{ask}"
        done = subprocess.run(["bash", "--norc", "-c", line], env=home.child_env(), capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("0\n", "")


@installed("zsh")
@pytest.mark.parametrize("how", ["source", "fpath"])
def test_zsh_completes_names_also_those_with_spaces_and_colons(home: Machine, how: str) -> None:
    path = written(home, "zsh")
    start = f"autoload -Uz compinit; compinit -u -D; source {path}; bindkey -e"
    if how == "fpath":
        path.rename(home.home / "_dbx-auth")
        start = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; bindkey -e"
    assert completed(home, ["zsh", "-f", "-i"], start) == TYPED
    assert not list(home.home.rglob("pwned"))


@installed("fish")
def test_fish_completes_names_also_those_with_spaces_and_colons(home: Machine) -> None:
    ask = f"source {written(home, 'fish')}; for line in $argv; complete --do-complete $line; echo ====; end"
    lines = [typed for typed, _ in TYPED]
    done = subprocess.run(
        ["fish", "--no-config", "-c", ask, "--", *lines],
        env=home.child_env(), cwd=home.home, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    offered = [block.split("\t")[0].strip() for block in done.stdout.split("====\n")[:-1]]
    assert offered == ["" if typed.endswith(" x") else words[-1] for typed, words in TYPED]
