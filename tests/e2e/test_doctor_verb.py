"""`dbx-auth doctor` as a stuck person runs it: one page, nothing changed unless asked for, and never a secret."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, OTHER, Machine, Result
from secret_service import SecretService, secret_service, session_bus
from unit.stubs import ByteServer, silence

from dbx_auth.doctor.findings import OK, PROBLEM, WARNING
from dbx_auth.sandbox import Sandbox

__all__ = ["secret_service", "session_bus"]

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")

PROGRAM = """
import sys
from dbx_auth.world import World
World.runtime_dir = property(lambda world: world.home + "/runtime")
from dbx_auth.cli import main
main()
"""
"""The program with a place for locks of its own, instead of the one that all processes of this user share."""

LOGIN = {"type": "api", "key": "dapi-secret", "host": HOST}
LONG_AGO = 1.6e9


def doctor(machine: Machine, *argv: str, before: tuple[str, ...] = (), **env: str) -> Result:
    command = [sys.executable, "-c", PROGRAM, *before, "doctor", *argv]
    done = subprocess.run(
        command, env=machine.child_env(**env), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def findings(machine: Machine, *argv: str, **env: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = doctor(machine, "-o", "json", *argv, before=(), **env).json()["findings"]
    return found


def of(found: list[dict[str, str]], check: str, level: str = "") -> list[dict[str, str]]:
    return [f for f in found if f["check"] == check and level in ("", f["level"])]


def tree(machine: Machine) -> dict[str, Any]:
    """Everything in the home: bytes, where links lead, permissions and owners."""
    found: dict[str, Any] = {}
    for path in sorted(machine.home.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(machine.home))] = (content, stat.S_IMODE(status.st_mode), status.st_uid)
    return found


def broken(machine: Machine) -> None:
    """A home in which everything that can be mended is to be mended."""
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-secret\n").chmod(0o644)
    machine.write(machine.home / ".databrickscfg.bak", "[DEV]\ntoken = dapi-secret\n").chmod(0o666)
    machine.write(machine.auth_json, '{"databricks": {"key": "dapi-secret"').chmod(0o640)
    machine.write(machine.cli_cache, b"\xff\x00dapi-secret")
    machine.write(machine.home / ".config/dbx-auth/config.toml", "profile = dapi-secret")
    machine.write(machine.auth_json.parent / "refresh" / "0123456789abcdef.rescue", "{}").chmod(0o644)
    left = machine.write(machine.auth_json.with_name(".auth.json-abcd1234.tmp"), "dapi-secret")
    os.utime(left, (LONG_AGO, LONG_AGO))
    machine.write(machine.auth_json.with_name(".auth.json-efgh5678.tmp"), "of a writer at work")
    machine.auth_json.parent.chmod(0o777)
    machine.cli_cache.parent.chmod(0o755)


def test_on_a_new_machine_nothing_is_wrong_and_nothing_is_made(machine: Machine) -> None:
    machine.home.chmod(0o700)
    page = doctor(machine)
    assert page.code == 0 and page.err == "" and page.out.endswith("nothing is wrong here\n")
    assert "dbx-auth login https://" in page.out and "~/.databrickscfg is not there" in page.out
    assert tree(machine) == {}


def test_the_json_is_one_document_of_version_1(machine: Machine) -> None:
    found = doctor(machine, "-o", "json").json()
    assert list(found) == ["version", "findings", "fixed"] and (found["version"], found["fixed"]) == (1, [])
    for finding in found["findings"]:
        assert list(finding) == ["check", "level", "text", "hint"] and all(isinstance(v, str) for v in finding.values())
        assert finding["level"] in ("ok", "note", "warning", "problem") and finding["text"]


@posix
def test_what_is_wrong_is_exit_5_with_something_to_type_for_each_and_nothing_is_changed(machine: Machine) -> None:
    broken(machine)
    before = tree(machine)
    found = findings(machine)
    assert doctor(machine).code == 5 and tree(machine) == before
    assert not [f for f in found if f["level"] in (WARNING, PROBLEM) and not f["hint"]]
    page = doctor(machine).out.splitlines()
    for finding in found:
        assert any(finding["text"] in line for line in page)
        assert not finding["hint"] or any(line.strip() == finding["hint"] for line in page)
    assert page[-1].endswith("dbx-auth doctor --fix mends 10 of them")


@posix
def test_fix_mends_what_can_be_mended_loses_nothing_and_is_done_at_once(machine: Machine) -> None:
    broken(machine)
    before = tree(machine)
    mended = doctor(machine, "--fix", "-o", "json")
    assert mended.code == 0, mended.out
    fixed = mended.json()["fixed"]
    assert len(fixed) == 9 and not [f for f in mended.json()["findings"] if f["level"] == PROBLEM]
    after = tree(machine)
    gone = {name for name in before if name not in after}
    home = ".local/share/dbx-auth"
    assert gone == {
        f"{home}/auth.json",
        f"{home}/.auth.json-abcd1234.tmp",
        ".databricks/token-cache.json",
        ".config/dbx-auth/config.toml",
    }
    contents = [content for content, _, _ in after.values()]
    assert all(before[name][0] in contents for name in gone if not name.endswith(".tmp")), "whole, under another name"
    assert f"{home}/.auth.json-efgh5678.tmp" in after, "somebody is at work on it"
    ours = [name for name in after if name.startswith((home, ".databricks"))]
    assert not [name for name in ours if after[name][1] & 0o077]
    again = doctor(machine, "--fix")
    assert again.code == 0 and "nothing that can be mended" in again.out and tree(machine) == after


@posix
def test_each_thing_that_was_done_is_on_the_page(machine: Machine) -> None:
    broken(machine)
    page = doctor(machine, "--fix").out
    assert "\nfixed\n" in page and "chmod 600 ~/.databrickscfg\n" in page and "removed ~/.local" in page
    (line,) = [line for line in page.splitlines() if "moved ~/.databricks/token-cache.json" in line]
    back = line.partition("this puts it back: ")[2]
    subprocess.run(["sh", "-c", back], env={**machine.child_env()}, check=True)
    assert machine.cli_cache.read_bytes() == b"\xff\x00dapi-secret"


@root
def test_nothing_of_somebody_else_is_touched(machine: Machine) -> None:
    broken(machine)
    for path in (*machine.home.rglob("*"), machine.home):
        os.chown(path, 65534, -1, follow_symlinks=False)
    before = tree(machine)
    found = doctor(machine, "--fix", "-o", "json")
    assert found.code == 5 and found.json()["fixed"] == [] and tree(machine) == before
    for check in (".databrickscfg", "auth.json", "token-cache.json", "config.toml", "directories", "leftovers"):
        assert any("belongs to" in f["text"] for f in of(found.json()["findings"], check, PROBLEM))


@root
def test_a_link_of_ours_to_a_file_of_somebody_else_is_left_alone_with_it(machine: Machine) -> None:
    target = machine.write(machine.home / "theirs.json", "{")
    target.chmod(0o666)
    os.chown(target, 65534, -1)
    for path in (machine.auth_json, machine.cli_cache):
        path.parent.mkdir(parents=True, mode=0o700)
        path.symlink_to(target)
    before = tree(machine)
    found = doctor(machine, "--fix", "-o", "json")
    assert found.json()["fixed"] == [] and tree(machine) == before
    for check in ("auth.json", "token-cache.json"):
        assert any("leads to what belongs to" in f["text"] for f in of(found.json()["findings"], check, PROBLEM))


CANARY = "c4n4ry"


def canaries(machine: Machine, *, damaged: bool) -> dict[str, str]:
    """Secrets wherever there can be one, in good files or in damaged ones; returns the environment."""
    here = machine.auth_json.parent
    wound = "" if damaged else "\n"
    machine.write(
        machine.config,
        f"[DEV]\nhost = {HOST}\ntoken = {CANARY}01\npassword={CANARY}02\n[P]\nhost = {CANARY}03 x\n"
        + (f"{CANARY}04" if damaged else f"client_secret = {CANARY}04"),
    )
    machine.write(machine.home / ".databrickscfg.bak", f"[DEV]\ntoken = {CANARY}05\n{CANARY}06{wound}")
    entries = {
        "databricks": {**LOGIN, "key": f"{CANARY}07"},
        "databricks:x": {"type": "api", "key": f"{CANARY}08"},
    }
    machine.write(machine.auth_json, json.dumps(entries) + (CANARY if damaged else ""))
    machine.write(machine.cli_cache, json.dumps({"version": f"{CANARY}09" if damaged else 1, "tokens": {"a": CANARY}}))
    machine.write(
        Path(machine.world.config_dir) / "config.toml",
        f'storage = "{CANARY}10"\nprofile = "DEV"\n[hosts."{HOST}"]\nbase_url = "https://u:{CANARY}11@h"\n'
        + (f"'{CANARY}12'\n" if damaged else f'min_ttl = "{CANARY}12"\n'),
    )
    machine.write(here / "refresh" / "0123456789abcdef.rescue", {"x": {"access": f"{CANARY}13"}})
    machine.write(here / "refresh" / "0123456789abcdef.json", {"claims": {f"{CANARY}14": 1.0}})
    machine.write(here / "auth.json.damaged-20260101T000000", f"{CANARY}15")
    machine.write(here / "auth.json.lock", f"{CANARY}16")
    left = machine.write(here / ".auth.json-abcd1234.tmp", f"{CANARY}17")
    os.utime(left, (LONG_AGO, LONG_AGO))
    (machine.home / "ca.pem").write_text(f"{CANARY}18")
    return {
        "HTTPS_PROXY": f"http://user:{CANARY}19@127.0.0.1:9",
        "HTTP_PROXY": f"http://user/{CANARY}20:x@127.0.0.1:9",
        "ALL_PROXY": f"socks5://{CANARY}21@127.0.0.1:9",
        "NO_PROXY": f"http://u:{CANARY}22@corp",
        "SSL_CERT_FILE": str(machine.home / "ca.pem"),
        "DATABRICKS_TOKEN": f"{CANARY}23",
        "DATABRICKS_CLIENT_SECRET": f"{CANARY}24",
        "DATABRICKS_TOKN": f"{CANARY}25",
        "DATABRICKS_METADATA_SERVICE_URL": f"http://127.0.0.1/{CANARY}26",
        "GOOGLE_CREDENTIALS": f'{{"private_key": "{CANARY}27"}}',
        "ARM_CLIENT_SECRET": f"{CANARY}28",
        "DBX_AUTH_GATEWAY_KEY": f"{CANARY}29",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": f"{CANARY}30",
    }


@posix
@pytest.mark.parametrize(
    ("damaged", "host"),
    [(False, ""), (False, HOST), (False, f"https://u:{CANARY}@h"), (False, f"{CANARY}://x"), (True, ""), (True, HOST)],
)
def test_no_secret_is_on_the_page_however_it_is_asked_for(machine: Machine, damaged: bool, host: str) -> None:
    env = canaries(machine, damaged=damaged) | ({"DATABRICKS_HOST": host} if host else {})
    assert sum(CANARY.encode() in path.read_bytes() for path in machine.home.rglob("*") if path.is_file()) == 11
    for verbosity, *argv in (["-vv"], ["-v", "-o", "json"], ["-vv", "-p", "DEV"], ["-v", "-p", "P"], ["-vv", "--fix"]):
        said = doctor(machine, *argv, before=(verbosity,), **env)
        assert said.code == 5 and CANARY not in said.out + said.err, (argv, verbosity)
        assert "Traceback" not in said.err


@posix
def test_nothing_that_never_answers_keeps_the_page_from_being_shown(machine: Machine) -> None:
    for path in (machine.config, machine.auth_json, machine.cli_cache, machine.home / ".config/dbx-auth/config.toml"):
        for name in (path.name, path.name + ".bak", path.name + ".damaged-1", path.name + ".lock"):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.mkfifo(path.with_name(name))
    os.mkfifo(machine.cli_cache.with_name("token-cache.lock"))
    refresh = machine.auth_json.parent / "refresh"
    refresh.mkdir(mode=0o700)
    for name in ("0123456789abcdef.json", "0123456789abcdef.rescue", "0123456789abcdef.lock", ".0123-a.tmp"):
        os.mkfifo(refresh / name)
    os.mkfifo(machine.home / "ca.pem")
    with ByteServer(silence) as host:
        began = time.monotonic()
        for argv in ((), ("--fix",)):
            found = doctor(
                machine, *argv, "-o", "json", DATABRICKS_HOST=host.url, SSL_CERT_FILE=str(machine.home / "ca.pem")
            )
            assert found.code == 5 and found.json()["fixed"] == []
            assert not [f for f in found.json()["findings"] if "no answer within" in f["text"]]
            (clock,) = of(found.json()["findings"], "clock")
            assert "no complete answer" in clock["text"]
        assert time.monotonic() - began < 40
    assert doctor(machine, "--offline").code == 5


def test_the_clock_is_compared_with_the_host_that_applies(machine: Machine, sandbox: Sandbox) -> None:
    (clock,) = of(findings(machine, DATABRICKS_HOST=sandbox.url), "clock")
    assert (clock["level"], clock["text"]) == (OK, f"{sandbox.url} answers, and has the same time")
    (clock,) = of(findings(machine, "--host", sandbox.url), "clock")
    assert clock["level"] == OK
    (clock,) = of(findings(machine, "--offline", DATABRICKS_HOST=sandbox.url), "clock")
    assert "--offline" in clock["text"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_options_that_say_who_you_are_stand_before_or_after_the_verb(machine: Machine, where: str) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n[PROD]\nhost = {OTHER}\n")
    option = ("-p", "PROD")
    argv = ("doctor", "--offline", *option) if where == "after" else (*option, "doctor", "--offline")
    assert f"host {OTHER} (file ~/.databrickscfg [PROD]), profile PROD" in machine.run(*argv).out


def test_where_stdout_knows_no_other_letters_the_marks_are_ascii(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    page = doctor(machine, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert page.out.isascii() and "\n  ok " in page.out and "\n  x  ~/.local/share/dbx-auth/auth.json" in page.out
    assert "✗ ~/.local/share/dbx-auth/auth.json" in doctor(machine, PYTHONIOENCODING="utf-8").out


@posix
def test_a_name_that_would_drive_the_terminal_does_not(machine: Machine) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = str(machine.home / "a\x1b[31m\nb\u202e.cfg")
    machine.env["NO_PROXY"] = "\x1b]0;owned\x07"
    machine.write(machine.auth_json, json.dumps({"databricks:\x1b[2J\n\u202e": {}}))
    said = doctor(machine)
    assert said.code in (0, 5) and not [c for c in said.out if not c.isprintable() and c != "\n"]


@pytest.mark.real
@posix
def test_on_a_terminal_it_is_a_page_in_colour_whose_commands_can_be_copied(machine: Machine) -> None:
    import pexpect

    broken(machine)
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        env = machine.child_env(**{"TERM": "xterm", "LANG": "C.UTF-8", **extra})
        child = pexpect.spawn(
            sys.executable, ["-c", PROGRAM, "doctor"], env=env, encoding="utf-8", timeout=30, dimensions=(40, 60)
        )
        child.expect(pexpect.EOF)
        child.close()
        screen = child.before
        assert child.exitstatus == 5 and ("\x1b[31m" in screen) == coloured
        hint = "rm ~/.local/share/dbx-auth/.auth.json-abcd1234.tmp"
        assert f"      {hint}\r\n" in screen and "dapi-secret" not in screen


@pytest.mark.real
@pytest.mark.parametrize("state", ["open", "locked", "silent"])
def test_a_real_keyring_answers_is_locked_or_is_silent(
    machine: Machine, secret_service: SecretService, state: str
) -> None:
    if state == "locked":
        secret_service.lock()
    if state == "silent":
        secret_service.stop_answering()
    began = time.monotonic()
    found = findings(machine, DATABRICKS_AUTH_STORAGE="secure", **secret_service.env)
    assert time.monotonic() - began < 20
    (theirs,) = of(found, "cli-keyring")
    assert theirs["level"] == (OK if state == "open" else PROBLEM)
    words = {"open": "the keyring answers", "locked": "the keyring is locked", "silent": "could not be read within 3 s"}
    assert words[state] in theirs["text"] and (state == "open" or theirs["hint"])


@posix
def test_ctrl_c_ends_it(machine: Machine) -> None:
    with ByteServer(silence) as host:
        env = machine.child_env(DATABRICKS_HOST=host.url)
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, "doctor"], env=env, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 20
        while not host.requests and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert child.returncode == 130 and "interrupted" in said and "Traceback" not in said
