"""What each check of `doctor` finds, on a machine where all is well and on one where it is not."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from databricks.sdk.config import Config
from machine import HOST, OTHER, Machine

from dbx_auth import doctor, files, keyrings, lock, vault
from dbx_auth.doctor import examine, machine as machine_checks, mend, network, settings as settings_checks
from dbx_auth.doctor.findings import NOTE, OK, PROBLEM, WARNING, Finding, Given, problem, warning
from dbx_auth.errors import AuthError, ConfigError, Refused, Temporary, Unreachable
from dbx_auth.profile import Flags
from dbx_auth.store import JsonFile
from dbx_auth.world import Response, World

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
FILES = (".databrickscfg", "auth.json", "token-cache.json", "config.toml")


@pytest.fixture(autouse=True)
def _runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place for locks that all processes of a user share, but for these tests."""
    monkeypatch.setattr(World, "runtime_dir", property(lambda world: str(tmp_path / "runtime")))


def look(machine: Machine, check: str, flags: Flags = Flags(), **world: Any) -> list[Finding]:  # noqa: B008
    return examine(Given(machine.world._replace(**world), flags), {check})


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in findings]


def levels(findings: list[Finding]) -> set[str]:
    return {finding.level for finding in findings}


def only(findings: list[Finding], level: str) -> Finding:
    (found,) = [finding for finding in findings if finding.level == level]
    return found


def path_of(machine: Machine, name: str) -> Path:
    return {
        ".databrickscfg": machine.config,
        "auth.json": machine.auth_json,
        "token-cache.json": machine.cli_cache,
        "config.toml": Path(machine.world.config_dir) / "config.toml",
    }[name]


def entry(host: str = HOST, **fields: Any) -> dict[str, Any]:
    return {"type": "api", "key": "dapi-secret", "host": host, **fields}


GOOD: dict[str, str] = {
    ".databrickscfg": f"[DEFAULT]\nhost = {HOST}\ntoken = dapi-secret\n[OTHER]\nhost = {OTHER}\n",
    "auth.json": json.dumps({"databricks": entry(), "another-tool": {"type": "oauth"}}),
    "token-cache.json": json.dumps({"version": 1, "tokens": {HOST: {"access_token": "dapi-secret"}}}),
    "config.toml": 'profile = "DEV"\n',
}
BAD: dict[str, str] = {
    ".databrickscfg": "[DEFAULT]\nhost = x\ndapi-secret",
    "auth.json": '{"databricks":\n {"key": "dapi-secret",\n',
    "token-cache.json": '{"version": 1,\n"tokens": {"a": dapi-secret}}',
    "config.toml": 'profile = "DEV"\nx = dapi-secret\n',
}


def put(machine: Machine, name: str, content: str) -> Path:
    return machine.write(path_of(machine, name), content)


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_worth_a_note_and_is_not_made(machine: Machine, name: str) -> None:
    assert levels(look(machine, name)) == {NOTE}
    assert not list(machine.home.iterdir())


@pytest.mark.parametrize(
    ("name", "words"), list(zip(FILES, ("2 profiles", "1 login", "1 login", "1 setting"), strict=True))
)
def test_a_good_file_is_counted(machine: Machine, name: str, words: str) -> None:
    put(machine, name, GOOD[name])
    (found,) = look(machine, name)
    assert found.level == OK and words in found.text and "bytes" in found.text


@pytest.mark.parametrize(("name", "line"), list(zip(FILES, (3, 3, 2, 2), strict=True)))
def test_a_damaged_file_is_named_with_its_line_and_nothing_of_its_content(
    machine: Machine, name: str, line: int
) -> None:
    put(machine, name, BAD[name])
    found = only(look(machine, name), PROBLEM)
    assert machine.world.shorten(str(path_of(machine, name))) in found.text and f"line {line}" in found.text
    assert "secret" not in found.text + found.hint and found.hint
    assert (found.fix is None) == (name == ".databrickscfg"), "a person's own file is for the person to correct"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[A]\n\x00", b"[[" * 100_000])
def test_nonsense_of_every_kind_is_a_finding(machine: Machine, name: str, content: bytes) -> None:
    machine.write(path_of(machine, name), content)
    assert PROBLEM in levels(look(machine, name))


def test_a_cache_of_a_newer_cli_is_said_to_be_that(machine: Machine) -> None:
    put(machine, "token-cache.json", '{"version": 7, "tokens": {}}')
    found = only(look(machine, "token-cache.json"), PROBLEM)
    assert "version 7" in found.text and "newer" in found.text and found.hint.startswith("pip install --upgrade")


def test_a_version_that_is_no_number_is_not_repeated(machine: Machine) -> None:
    put(machine, "token-cache.json", '{"version": "dapi-secret"}')
    assert "secret" not in only(look(machine, "token-cache.json"), PROBLEM).text


@posix
@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        (name, mode, level)
        for name in FILES[:3]
        for mode, level in ((0o644, WARNING), (0o660, WARNING), (0o606, PROBLEM))
    ]
    + [("config.toml", 0o644, OK), ("config.toml", 0o664, WARNING), ("config.toml", 0o666, PROBLEM)],
)
def test_others_may_neither_read_a_secret_nor_write_a_setting(
    machine: Machine, name: str, mode: int, level: str
) -> None:
    path = put(machine, name, GOOD[name])
    path.chmod(mode)
    found = only(look(machine, name), level)
    if level != OK:
        assert f"mode 0{mode:o}" in found.text and found.hint == f"chmod 600 {machine.world.shorten(str(path))}"
        assert found.fix and found.fix() and stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_somebody_else_is_a_problem_and_not_for_us_to_change(
    machine: Machine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine, name, BAD[name]).chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr("dbx_auth.doctor.access.owner_name", lambda uid: "eve")
    whose = path_of(machine, name).stat().st_uid
    found = look(machine, name)
    assert (WARNING if whose == 0 else PROBLEM) in levels(found)
    assert any("belongs to eve" in finding.text for finding in found)
    assert not [finding for finding in found if finding.fix]


@posix
def test_what_somebody_else_owns_takes_sudo_to_mend(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine, "auth.json", BAD["auth.json"]).chmod(0o644)
    machine.auth_json.parent.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    hints = [f.hint for check in ("auth.json", "directories") for f in look(machine, check) if f.hint]
    for command in ("chmod 600 ", "chmod 700 ", "mv "):
        assert [hint for hint in hints if command in hint] and not [h for h in hints if h.startswith(command)]


@posix
def test_root_is_told_to_be_who_he_was(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(machine, "auth.json", GOOD["auth.json"])
    before = os.stat(path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("dbx_auth.doctor.access.is_mine", lambda status: False)
    found = only(look(machine, "auth.json"), PROBLEM)
    assert "you are root" in found.text and "without sudo" in found.hint
    after = os.stat(path)
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@posix
@pytest.mark.parametrize("name", FILES)
def test_where_a_link_leads_is_said_and_it_is_not_followed_to_change_anything(machine: Machine, name: str) -> None:
    target = machine.write(machine.home / "dotfiles" / name, GOOD[name])
    target.chmod(0o666)
    path_of(machine, name).parent.mkdir(parents=True, exist_ok=True)
    path_of(machine, name).symlink_to(target)
    found = look(machine, name)
    assert "is a link to ~/dotfiles" in only(found, NOTE).text
    assert only(found, PROBLEM).hint == f"chmod 600 ~/dotfiles/{name}" and not [f for f in found if f.fix]


@posix
def test_a_link_to_a_file_of_somebody_else_is_a_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    target = machine.write(machine.home / "theirs", GOOD["auth.json"])
    machine.auth_json.parent.mkdir(parents=True)
    machine.auth_json.symlink_to(target)
    monkeypatch.setattr("dbx_auth.doctor.access.is_mine", lambda status: False)
    assert any(f.level == PROBLEM and "leads to what belongs to" in f.text for f in look(machine, "auth.json"))


@posix
def test_a_link_that_leads_nowhere_is_a_problem(machine: Machine) -> None:
    machine.config.symlink_to(machine.home / "gone")
    assert "leads nowhere" in only(look(machine, ".databrickscfg"), PROBLEM).text


@posix
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["a named pipe", "a directory"])
def test_what_is_no_file_is_a_problem_and_no_check_waits_for_it(machine: Machine, name: str, kind: str) -> None:
    path = path_of(machine, name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.mkfifo(path) if kind == "a named pipe" else path.mkdir()
    found = examine(Given(machine.world, offline=True))
    assert any(f.check == name and f.level == PROBLEM and f"is {kind}, not a file" in f.text for f in found)
    assert not [f for f in found if "no answer" in f.text or "could not be looked at" in f.text]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_a_problem_and_stays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = put(machine, name, GOOD[name])
    real = open

    def refuse(file: Any, *rest: Any, **more: Any) -> Any:
        if file == str(path):
            raise PermissionError(13, "Permission denied")
        return real(file, *rest, **more)

    monkeypatch.setattr("builtins.open", refuse)
    found = only(look(machine, name), PROBLEM)
    assert "Permission denied" in found.text and found.hint.startswith("ls -ld ~/") and found.fix is None


@posix
def test_a_file_that_cannot_even_be_looked_at_is_a_problem(machine: Machine) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = str(machine.home / ("x" * 300))
    assert "cannot be looked at" in only(look(machine, ".databrickscfg"), PROBLEM).text


@posix
def test_a_second_name_of_a_file_is_found(machine: Machine) -> None:
    os.link(put(machine, "auth.json", GOOD["auth.json"]), machine.home / "second")
    assert "2 names" in only(look(machine, "auth.json"), WARNING).text


def test_an_entry_without_a_host_is_named(machine: Machine) -> None:
    put(machine, "auth.json", json.dumps({"databricks": entry(), "databricks:x": {"type": "api", "key": "k"}}))
    assert "databricks:x" in only(look(machine, "auth.json"), WARNING).text


def test_a_setting_that_nobody_knows_and_one_that_cannot_be_are_told_without_their_values(machine: Machine) -> None:
    put(machine, "config.toml", 'stoarge = "dapi-secret-1"\n')
    found = only(look(machine, "config.toml"), WARNING)
    assert "stoarge" in found.text and "storage" in found.text and "secret" not in found.text
    put(machine, "config.toml", 'storage = "dapi-secret-2"\n')
    found = only(look(machine, "config.toml"), PROBLEM)
    assert "line 1" in found.text and "secret" not in found.text and found.fix is None


# ---- directories -----------------------------------------------------------------------------------------------------


def test_a_new_machine_has_no_trouble_with_directories(machine: Machine) -> None:
    machine.home.chmod(0o700)
    assert levels(look(machine, "directories")) == {OK}


@posix
@pytest.mark.parametrize(("mode", "level"), [(0o700, OK), (0o755, WARNING), (0o770, WARNING), (0o777, PROBLEM)])
@pytest.mark.parametrize("which", ["data", "cli", "refresh"])
def test_a_directory_with_secrets_is_for_its_owner_alone(machine: Machine, which: str, mode: int, level: str) -> None:
    machine.home.chmod(0o700)
    put(machine, "auth.json", "{}")
    put(machine, "token-cache.json", "{}")
    refresh = machine.auth_json.parent / "refresh"
    refresh.mkdir(mode=0o700)
    path = {"data": machine.auth_json.parent, "cli": machine.cli_cache.parent, "refresh": refresh}[which]
    path.chmod(mode)
    found = only(look(machine, "directories"), level)
    if level != OK:
        assert found.hint == f"chmod 700 {machine.world.shorten(str(path))}" and found.fix and found.fix()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("name", ["DBX_AUTH_CONFIG_DIR", "DBX_AUTH_CACHE_DIR"])
def test_a_directory_without_secrets_may_be_seen_and_not_be_written_to(
    machine: Machine, tmp_path: Path, name: str
) -> None:
    machine.home.chmod(0o700)
    machine.env[name] = str(tmp_path / "ours")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours").chmod(0o755)
    assert levels(look(machine, "directories")) == {OK}
    (tmp_path / "ours").chmod(0o777)
    found = only(look(machine, "directories"), PROBLEM)
    assert found.fix and found.fix() and stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o755


@posix
def test_a_home_that_anybody_may_write_to_is_a_problem_that_is_not_ours_to_mend(machine: Machine) -> None:
    machine.home.chmod(0o777)
    found = only(look(machine, "directories"), PROBLEM)
    assert found.hint == f"chmod go-w {machine.home}" and found.fix is None


@posix
@pytest.mark.parametrize("place", ["sticky", "shared", "home"])
def test_a_directory_that_others_use_too_is_never_closed_to_them(machine: Machine, tmp_path: Path, place: str) -> None:
    shared = machine.home if place == "home" else tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    shared.joinpath("of-somebody").touch()
    shared.chmod(0o1777 if place == "sticky" else 0o777)
    machine.env["DBX_AUTH_DATA_DIR"] = str(shared)
    assert only(look(machine, "directories"), PROBLEM).fix is None


@posix
def test_a_directory_of_our_own_that_was_chosen_can_be_closed(machine: Machine, tmp_path: Path) -> None:
    machine.home.chmod(0o700)
    machine.env["DBX_AUTH_DATA_DIR"] = str(tmp_path / "ours")
    put(machine, "auth.json", "{}")
    machine.auth_json.with_name("auth.json.lock").touch()
    machine.auth_json.parent.chmod(0o777)
    assert only(look(machine, "directories"), PROBLEM).fix


@posix
def test_a_directory_of_somebody_else_is_a_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine, "auth.json", "{}").parent.chmod(0o755)
    monkeypatch.setattr("dbx_auth.doctor.access.is_mine", lambda status: False)
    monkeypatch.setattr("dbx_auth.doctor.directories.is_mine", lambda status: False)
    found = [f for f in look(machine, "directories") if machine.world.shorten(machine.world.data_dir) in f.text]
    assert any("belongs to" in f.text for f in found) and not any(f.fix for f in found)


def test_a_directory_that_cannot_be_made_is_said_once(machine: Machine) -> None:
    machine.home.chmod(0o700)
    machine.home.joinpath(".local").write_text("in the way")
    found = only(look(machine, "directories"), WARNING)
    assert "~/.local/share/dbx-auth cannot be made" in found.text and found.hint == "ls -ld ~/.local"


def test_a_file_where_a_directory_should_be_is_a_problem(machine: Machine) -> None:
    machine.home.chmod(0o700)
    machine.home.joinpath(".databricks").write_text("in the way")
    assert "is a file, not a directory" in only(look(machine, "directories"), PROBLEM).text


@posix
def test_a_directory_that_cannot_be_written_to_is_a_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.home.chmod(0o700)
    put(machine, "auth.json", "{}")
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(machine.auth_json.parent))
    assert "cannot be written to" in only(look(machine, "directories"), PROBLEM).text


@posix
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk_is_a_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    machine.home.chmod(0o700)
    put(machine, "auth.json", "{}")
    real = os.statvfs

    class Full:
        def __init__(self, path: str) -> None:
            self.f_frsize = 4096
            self.f_bavail = 3 if what == "bytes" else real(path).f_bavail
            self.f_files, self.f_favail = 100, 0 if what == "inodes" else 50

    monkeypatch.setattr(os, "statvfs", Full)
    assert "full" in only(look(machine, "directories"), PROBLEM).text


# ---- leftovers -------------------------------------------------------------------------------------------------------


def test_nothing_lies_about_on_a_new_machine(machine: Machine) -> None:
    assert levels(look(machine, "leftovers")) == {OK}


@pytest.mark.parametrize("name", [*FILES, "journal"])
@pytest.mark.parametrize(("age", "old"), [(files.LEFTOVER + 60, True), (files.LEFTOVER - 60, False), (-9e5, False)])
def test_a_temporary_file_is_left_over_once_nobody_can_be_at_work_on_it(
    machine: Machine, name: str, age: float, old: bool
) -> None:
    path = machine.auth_json.parent / "refresh" / "0123.json" if name == "journal" else path_of(machine, name)
    left = machine.write(path.with_name(f".{path.name}-abcd1234.tmp"), "secret")
    os.utime(left, (0, machine.clock() - age))
    found = look(machine, "leftovers")
    assert levels(found) == ({WARNING} if old else {OK})
    if old:
        assert found[0].hint == f"rm {machine.world.shorten(str(left))}"
        assert found[0].fix and found[0].fix() and not left.exists() and found[0].fix() == ""


@posix
def test_a_link_that_looks_like_a_temporary_file_is_not_removed(machine: Machine) -> None:
    left = machine.auth_json.with_name(".auth.json-abcd1234.tmp")
    left.parent.mkdir(parents=True)
    left.symlink_to(machine.home)
    os.utime(left, (0, 0), follow_symlinks=False)
    assert only(look(machine, "leftovers"), WARNING).fix is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"[A]\nhost = {HOST}\ntoken = s\nclient_secret = s\npassword =\n", "still holds 2 secrets"),
        (f"[A]\nhost = {HOST}\n", ""),
        ("token s", "may hold secrets"),
    ],
)
def test_an_old_copy_is_told_if_it_holds_secrets(machine: Machine, content: str, words: str) -> None:
    machine.write(machine.home / ".databrickscfg.bak", content)
    found = look(machine, "leftovers")
    assert (words in only(found, NOTE).text and found[0].hint == "rm ~/.databrickscfg.bak") if words else not found[1:]


@posix
def test_an_old_copy_that_others_may_read_is_a_warning(machine: Machine) -> None:
    machine.write(machine.home / ".databrickscfg.bak", "[A]\ntoken = s\n").chmod(0o644)
    assert only(look(machine, "leftovers"), WARNING).fix


@pytest.mark.parametrize(("count", "level"), [(1, NOTE), (5, NOTE), (6, WARNING)])
def test_damaged_files_that_were_set_aside_are_counted(machine: Machine, count: int, level: str) -> None:
    for number in range(count):
        machine.write(machine.auth_json.with_name(f"auth.json.damaged-2026010{number}T000000"), "{")
    found = only(look(machine, "leftovers"), level)
    assert "damaged" in found.text and found.hint.startswith("rm ~/.local/share/dbx-auth/auth.json.damaged-")


# ---- locks -----------------------------------------------------------------------------------------------------------

HOLD = """
import filelock, sys
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Start a process that holds a lock."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> subprocess.Popen[str]:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [sys.executable, "-c", HOLD, str(path)]
        process = subprocess.Popen(argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        path.write_text(f"{process.pid}\n")
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def lock_files(machine: Machine) -> list[Path]:
    runtime = Path(machine.world.runtime_dir)
    return [
        machine.auth_json.with_name("auth.json.lock"),
        machine.cli_cache.with_name("token-cache.lock"),
        machine.home / ".databrickscfg.lock",
        machine.cli_cache.parent / ".dbx-auth" / "0123456789abcdef.lock",
        machine.auth_json.parent / "refresh" / "0123456789abcdef.lock",
        runtime / "0123-token-cache.lock",
    ]


def test_locks_that_can_be_had_are_counted_and_given_back(machine: Machine) -> None:
    assert said(look(machine, "locks")) == [(OK, "nobody has taken a lock on this machine yet")]
    for path in lock_files(machine):
        machine.write(path, "4242\n")
    for _ in range(2):
        assert (OK, "6 locks can be had") in said(look(machine, "locks"))
    assert [path.read_text() for path in lock_files(machine)] == ["4242\n"] * 6


@posix
@pytest.mark.parametrize("number", range(6))
def test_who_holds_a_lock_is_named(
    machine: Machine, hold: Callable[[Path], subprocess.Popen[str]], number: int
) -> None:
    holder = hold(lock_files(machine)[number])
    found = only(look(machine, "locks"), NOTE)
    assert f"held by process {holder.pid}" in found.text and str(holder.pid) in found.hint


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="only Linux says that a process is stopped")
def test_a_holder_that_is_stopped_is_a_warning_that_says_how_to_wake_it(
    machine: Machine, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = hold(lock_files(machine)[0])
    holder.send_signal(signal.SIGSTOP)
    os.waitpid(holder.pid, os.WUNTRACED)
    found = only(look(machine, "locks"), WARNING)
    assert "stopped" in found.text and found.hint.startswith(f"kill -CONT {holder.pid}")


@posix
def test_a_lock_file_that_is_none_is_a_problem(machine: Machine) -> None:
    path = lock_files(machine)[0]
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert "a named pipe" in only(look(machine, "locks"), PROBLEM).text


@posix
def test_a_lock_that_cannot_be_had_at_all_is_a_problem(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(handle: int, how: int) -> None:
        raise OSError(37, "No locks available")

    machine.write(lock_files(machine)[0], "")
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "No locks available" in only(look(machine, "locks"), PROBLEM).text


@posix
def test_a_place_for_locks_that_others_may_write_to_is_not_used_and_said(machine: Machine) -> None:
    Path(machine.world.runtime_dir).mkdir(mode=0o700)
    assert levels(look(machine, "locks")) == {OK}
    Path(machine.world.runtime_dir).chmod(0o777)
    assert machine.world.runtime_dir in only(look(machine, "locks"), WARNING).text


@pytest.mark.parametrize(("kind", "network_"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("", False)])
def test_a_home_on_the_network_is_worth_a_note(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: str, network_: bool
) -> None:
    monkeypatch.setattr(lock, "filesystem", lambda path: kind)
    found = [f for f in look(machine, "locks") if f.level == NOTE]
    assert bool(found) == network_ and all(kind in f.text for f in found)


# ---- renewals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["refresh", ".dbx-auth", "runtime"])
def test_what_renewals_left_is_told_without_a_word_of_it(machine: Machine, where: str) -> None:
    assert levels(look(machine, "renewals")) == {OK}
    folder = {
        "refresh": machine.auth_json.parent / "refresh",
        ".dbx-auth": machine.cli_cache.parent / ".dbx-auth",
        "runtime": Path(machine.world.runtime_dir),
    }[where]
    machine.write(folder / "0123456789abcdef.json", {"claims": {"secret": 1.0, "more": 2.0}, "dead": {"x": 1.0}})
    machine.write(folder / "1123456789abcdef.json", {"claims": {}, "renewed": {"x": 1.0}})
    machine.write(folder / "2123456789abcdef.json", "not JSON")
    found = look(machine, "renewals")
    assert "2 renewals cut off" in only(found, NOTE).text and "0123456789abcdef" in only(found, NOTE).text
    machine.write(folder / "0123456789abcdef.rescue", {"x": {"access": "dapi-secret"}})
    assert "a renewed login waits" in only(found := look(machine, "renewals"), WARNING).text
    assert "secret" not in str(said(found))
    if os.name != "nt":
        folder.joinpath("0123456789abcdef.rescue").chmod(0o640)
        assert any(f.fix for f in look(machine, "renewals"))


# ---- keyrings --------------------------------------------------------------------------------------------------------


def answering(answer: AuthError | str | None) -> Callable[..., str | None]:
    def get(*_: object, **__: object) -> str | None:
        if isinstance(answer, AuthError):
            raise answer
        return answer

    return get


LOCKED = ConfigError("the keyring is locked", hint="unlock it")
SLOW = Temporary("the keyring could not be read within 3 s", hint="unlock it")


@pytest.mark.parametrize(
    ("mode", "answer", "level"),
    [
        ("plaintext", LOCKED, OK),
        ("secure", None, OK),
        ("", None, OK),
        ("secure", LOCKED, PROBLEM),
        ("", LOCKED, WARNING),
        ("secure", SLOW, PROBLEM),
        ("", SLOW, WARNING),
        ("secure", keyrings.NoKeyring("none"), PROBLEM),
        ("", keyrings.NoKeyring("none"), NOTE),
        ("secure", "absent", PROBLEM),
        ("", "absent", NOTE),
    ],
)
def test_the_keyring_of_the_cli(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, mode: str, answer: Any, level: str
) -> None:
    machine.write(machine.config, f"[__settings__]\nauth_storage = {mode}\n")
    monkeypatch.setattr(keyrings, "is_there", lambda world: answer != "absent")
    monkeypatch.setattr(keyrings, "get", answering(answer))
    (found,) = look(machine, "cli-keyring")
    assert found.level == level and (level in (OK, NOTE) or found.hint)


def test_a_storage_mode_that_is_none_is_a_problem(machine: Machine) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "cloud"
    assert "DATABRICKS_AUTH_STORAGE" in only(look(machine, "cli-keyring"), PROBLEM).text


@pytest.mark.parametrize("wanted", ["by the setting", "by an entry", "by nobody"])
@pytest.mark.parametrize("answer", [None, vault.NoVault("none"), LOCKED, SLOW])
def test_our_own_keyring(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, wanted: str, answer: AuthError | None
) -> None:
    monkeypatch.setattr(vault, "describe", answering("keyring.backends.SecretService.Keyring"))
    monkeypatch.setattr(vault, "get", answering(answer))
    if wanted == "by the setting":
        put(machine, "config.toml", 'storage = "keyring"\n')
    if wanted == "by an entry":
        put(machine, "auth.json", json.dumps({"databricks": {"type": "api", "host": HOST, "storage": "keyring"}}))
    found = look(machine, "keyring")[0]
    assert found.level == (OK if wanted == "by nobody" or answer is None else PROBLEM)
    assert answer is not None or "SecretService" in found.text


def test_where_there_is_no_keyring_and_nobody_wants_one_all_is_well(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "describe", answering("keyring.backends.fail.Keyring"))
    assert said(look(machine, "keyring")) == [(OK, "our own logins are kept in auth.json; there is no keyring")]


def test_the_library_that_does_not_answer_is_only_worth_a_note_where_nobody_wants_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "describe", answering(SLOW))
    assert look(machine, "keyring")[0].level == NOTE


# ---- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://proxy.corp:3128", "http://proxy.corp:3128"),
        ("proxy.corp:3128", "http://proxy.corp:3128"),
        ("http://user:hunter2@proxy.corp:3128", "http://***@proxy.corp:3128"),
        ("http://hunter2@proxy.corp", "http://***@proxy.corp"),
        ("http://user:p%40hunter2@proxy.corp", "http://***@proxy.corp"),
        ("http://user:p/hunter2@proxy.corp", ""),
        ("http://hunter2/x@proxy.corp", ""),
        ("http://hunter2#x@proxy.corp", ""),
        ("ftp://user:hunter2@proxy.corp", ""),
        ("http://", ""),
        ("http://proxy:hunter2", ""),
        ("hunter2 hunter2", ""),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("socks5://user:hunter2@proxy.corp", ""),
    ],
)
def test_a_proxy_is_shown_without_its_password_or_is_a_problem(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, value: str, shown: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    machine.env["HTTPS_PROXY"] = value
    (found,) = look(machine, "proxies")
    assert (found.level, found.text) == (OK, f"HTTPS_PROXY: {shown}") if shown else found.level == PROBLEM
    assert "hunter2" not in found.text + found.hint and (shown or found.hint)


@pytest.mark.skipif(sys.platform == "win32", reason="there both spellings are one variable")
def test_of_two_spellings_the_small_one_wins_even_if_it_is_empty(machine: Machine) -> None:
    machine.env.update(HTTPS_PROXY="http://a", https_proxy="http://b", NO_PROXY="localhost,.corp,10.0.0.0/8,::1,*")
    found = look(machine, "proxies")
    assert said(found)[0] == (OK, "https_proxy: http://b") and only(found, NOTE).hint == "unset https_proxy"
    assert said(found)[2] == (OK, "NO_PROXY: localhost,.corp,10.0.0.0/8,::1,*")
    machine.env["https_proxy"] = ""
    assert [f.level for f in look(machine, "proxies")] == [NOTE, OK]


def test_without_a_proxy_that_is_said(machine: Machine) -> None:
    assert said(look(machine, "proxies", platform="linux")) == [(OK, "no proxy is set")]
    assert "system" in look(machine, "proxies", platform="darwin")[0].text


@pytest.mark.parametrize("part", ["a:b", "[::1", "x\x01"])
def test_exceptions_that_make_every_request_fail_are_a_problem(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv("NO_PROXY", part)
    with pytest.raises(ConfigError):
        World.system().http("GET", f"{HOST}/", budget=5)
    machine.env["NO_PROXY"] = f"good.corp,{part}"
    assert only(look(machine, "proxies"), PROBLEM).hint == "unset NO_PROXY"


def test_certificates_of_the_system(machine: Machine) -> None:
    assert levels(look(machine, "certificates")) == {OK}


@pytest.mark.parametrize("kind", ["good", "missing", "empty", "nonsense", "directory", "pipe"])
def test_a_file_of_certificates_can_be_used_or_is_a_problem(machine: Machine, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ca.pem"
    if kind == "good":
        trustme.CA().cert_pem.write_to_path(str(path))
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe" and os.name != "nt":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_text({"nonsense": "hunter2"}.get(kind, ""))
    machine.env["SSL_CERT_FILE"] = str(path)
    (found,) = look(machine, "certificates")
    assert found.level == (OK if kind == "good" else PROBLEM) and "SSL_CERT_FILE" in found.text
    assert kind != "good" or "1 certificate" in found.text


def test_the_first_variable_wins_and_the_others_are_told(machine: Machine, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    machine.env.update(REQUESTS_CA_BUNDLE=str(tmp_path / "ca.pem"), CURL_CA_BUNDLE="/gone.pem", SSL_CERT_DIR="/gone")
    found = look(machine, "certificates")
    assert [f.level for f in found] == [OK, NOTE, NOTE] and "REQUESTS_CA_BUNDLE" in found[0].text
    assert all("passed over for REQUESTS_CA_BUNDLE" in f.text for f in found[1:])


def test_a_directory_of_certificates(machine: Machine, tmp_path: Path) -> None:
    machine.env["SSL_CERT_DIR"] = str(tmp_path)
    assert levels(look(machine, "certificates")) == {OK}
    machine.env["SSL_CERT_DIR"] = "/gone"
    assert levels(look(machine, "certificates")) == {WARNING}


def test_a_file_of_certificates_that_depends_on_where_you_stand(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.chdir(tmp_path)
    machine.env["SSL_CERT_FILE"] = "ca.pem"
    assert [f.level for f in look(machine, "certificates")] == [OK, WARNING]


def at(machine: Machine, offset: float, date: str = "") -> Callable[..., Response]:
    """A host whose clock is so many seconds ahead of this machine's."""

    def http(method: str, url: str, *, budget: float) -> Response:
        assert (method, url, budget) == ("GET", f"{HOST}/.well-known/databricks-config", network.BUDGET)
        return Response(url, 404, {"date": date or formatdate(machine.clock() + offset, usegmt=True)}, b"")

    return http


@pytest.mark.parametrize(
    ("offset", "level", "words"),
    [
        (0, OK, "same time"),
        (20, OK, "same time"),
        (-20, OK, "same time"),
        (60, WARNING, "behind that of"),
        (-60, WARNING, "ahead of that of"),
        (3600, PROBLEM, "60 min behind"),
        (-86400, PROBLEM, "24 h 0 min ahead of"),
    ],
)
def test_the_clock_is_compared_with_that_of_the_host(machine: Machine, offset: int, level: str, words: str) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    machine.clock = lambda: 1.8e9
    (found,) = look(machine, "clock", http=at(machine, offset))
    assert found.level == level and words in found.text
    assert (level == OK) == (not found.hint)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_how_a_clock_is_set_depends_on_the_system(machine: Machine, platform: str, tmp_path: Path) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DBX_AUTH_DATA_DIR=str(tmp_path), DBX_AUTH_CONFIG_DIR=str(tmp_path))
    (found,) = look(machine, "clock", http=at(machine, 1000), platform=platform)
    assert {"linux": "timedatectl", "darwin": "sntp", "win32": "w32tm"}[platform] in found.hint


@pytest.mark.parametrize("date", ["yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "\x1b[31m"])
def test_a_host_that_does_not_say_the_time(machine: Machine, date: str) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    assert [f.level for f in look(machine, "clock", http=at(machine, 0, date))] == [NOTE]


def test_a_date_without_a_zone_is_that_of_greenwich() -> None:
    assert network._date("Tue, 15 Nov 1994 08:12:31") == network._date("Tue, 15 Nov 1994 08:12:31 GMT") == 784887151


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Unreachable("cannot reach it", hint="h"), NOTE),
        (Temporary("too slow", hint="h"), NOTE),
        (Refused("the certificate is not trusted", hint="export SSL_CERT_FILE=x"), PROBLEM),
        (ConfigError("the proxy settings cannot be used", hint="unset HTTPS_PROXY"), PROBLEM),
    ],
)
def test_nobody_to_compare_with_is_worth_a_note_and_no_trust_is_a_problem(
    machine: Machine, error: AuthError, level: str
) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    (found,) = look(machine, "clock", http=answering(error))
    assert found.level == level and str(error) in found.text and found.hint


def test_nobody_is_asked_without_a_host_or_offline(machine: Machine) -> None:
    def http(*_: object, **__: object) -> Response:
        raise AssertionError("somebody was asked")

    assert [f.level for f in look(machine, "clock", http=http)] == [NOTE]
    machine.env["DATABRICKS_HOST"] = HOST
    (found,) = examine(Given(machine.world._replace(http=http), offline=True), {"clock"})
    assert (found.level, "--offline" in found.text) == (NOTE, True)


@posix
def test_the_host_of_the_environment_is_asked_where_the_files_cannot_be_read(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    os.mkfifo(machine.config)
    assert [f.level for f in look(machine, "clock", http=at(machine, 0))] == [OK]
    flags = Flags(host=HOST)
    del machine.env["DATABRICKS_HOST"]
    assert [f.level for f in look(machine, "clock", flags, http=at(machine, 0))] == [OK]


# ---- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_told_by_name_and_origin(machine: Machine) -> None:
    assert levels(look(machine, "settings")) == {NOTE}
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-secret\n")
    found = look(machine, "settings", Flags(profile="DEV"))
    assert said(found)[0] == (OK, f"host {HOST} (file ~/.databrickscfg [DEV]), profile DEV")
    assert said(found)[1] == (OK, "also set: token (file ~/.databrickscfg [DEV])")


def test_several_ways_to_log_in_are_a_warning(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="t", ARM_CLIENT_ID="c")
    assert "azure and pat" in only(look(machine, "settings"), WARNING).text
    machine.env["DATABRICKS_AUTH_TYPE"] = "pat"
    assert WARNING not in levels(look(machine, "settings"))


@pytest.mark.parametrize(
    "value", ["hunter2 hunter2", "hunter2://x", "http://hunter2", "h.com/hunter2", "u:hunter2@h", "it's hunter2 'here'"]
)
def test_a_host_that_is_none_may_be_a_secret_and_is_not_repeated(machine: Machine, value: str) -> None:
    machine.env["DATABRICKS_HOST"] = value
    found = only(look(machine, "settings"), PROBLEM)
    assert "hunter2" not in found.text + found.hint and "host" in found.text


def test_a_profile_that_is_not_there_is_a_problem(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    assert "has no profile PROD" in only(look(machine, "settings", Flags(profile="PROD")), PROBLEM).text


@pytest.mark.parametrize("name", [".databrickscfg", "auth.json", "config.toml"])
def test_a_file_that_cannot_be_used_is_told_as_a_problem_once(machine: Machine, name: str) -> None:
    put(machine, name, BAD[name])
    found = [f for f in examine(Given(machine.world, offline=True)) if f.level == PROBLEM]
    assert [f.check for f in found] == [name]
    assert levels(look(machine, "settings")) == {NOTE}


# ---- the environment -------------------------------------------------------------------------------------------------


def test_an_empty_environment_is_in_nobodys_way(machine: Machine) -> None:
    put(machine, "auth.json", GOOD["auth.json"])
    put(machine, ".databrickscfg", GOOD[".databrickscfg"])
    assert levels(look(machine, "environment")) == {OK}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABRICKS_HSOT", "DATABRICKS_HOST"),
        ("DATABRICKS_TOKN", "DATABRICKS_TOKEN"),
        ("DATABRICK_TOKEN", "DATABRICKS_TOKEN"),
        ("databricks_token", "DATABRICKS_TOKEN"),
        ("DATABRICKS_CLIENTID", "DATABRICKS_CLIENT_ID"),
        ("DATABRICKS_CONFIG_PROFIL", "DATABRICKS_CONFIG_PROFILE"),
        ("DATABRICKS_PROFILE", "DATABRICKS_CONFIG_PROFILE"),
        ("DATABRICKS_SERVER_HOSTNAME", "DATABRICKS_HOST"),
        ("DBX_AUTH_DATADIR", "DBX_AUTH_DATA_DIR"),
        ("DBXAUTH_DATA_DIR", "DBX_AUTH_DATA_DIR"),
    ],
)
def test_a_misspelt_variable_is_found_and_its_value_is_not_shown(machine: Machine, name: str, meant: str) -> None:
    machine.env[name] = "hunter2"
    found = only(look(machine, "environment"), WARNING)
    assert name in found.text and meant in found.text and "hunter2" not in found.text + found.hint
    assert found.hint == f'export {meant}="${name}"; unset {name}'
    machine.env[meant] = "/x"
    assert not [f for f in look(machine, "environment") if f.level == WARNING and name in f.text], "nothing is missing"


def test_variables_of_the_official_tools_are_no_mistakes(machine: Machine) -> None:
    known = {attribute.env for attribute in Config.attributes() if attribute.env}
    known |= settings_checks.THEIRS | {"DATABRICKS_MY_OWN_THING", "DATABRICKS_", "DBX_AUTH_", "PATH"}
    for name in known - {"DATABRICKS_CONFIG_FILE", "DATABRICKS_CONFIG_PROFILE"}:
        machine.env[name] = "x"
    assert not list(settings_checks._misspelt(machine.env))


def test_every_variable_that_the_package_names_is_known() -> None:
    package = Path(doctor.__file__).parents[1]
    text = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    named = set(re.findall(r'"((?:DATABRICKS|DBX_AUTH)_[A-Z_]+[A-Z])"', text))
    assert named <= settings_checks.KNOWN | settings_checks.THEIRS | settings_checks.OTHER_NAMES.keys()


@pytest.mark.parametrize("name", ["DBX_AUTH_DATA_DIR", "DBX_AUTH_CONFIG_DIR", "DBX_AUTH_CACHE_DIR"])
def test_a_directory_that_depends_on_where_you_stand(machine: Machine, name: str) -> None:
    machine.env[name] = "here"
    assert name in only(look(machine, "environment"), WARNING).text
    machine.env[name] = "~/here"
    assert levels(look(machine, "environment")) == {OK}


def test_a_profile_file_elsewhere(machine: Machine, tmp_path: Path) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = str(tmp_path / "cfg")
    assert "is not there" in only(look(machine, "environment"), WARNING).text
    machine.write(tmp_path / "cfg", "")
    assert levels(look(machine, "environment")) == {OK}
    machine.write(machine.config, "")
    assert "~/.databrickscfg is not read" in only(look(machine, "environment"), NOTE).text
    machine.env["DATABRICKS_CONFIG_FILE"] = "cfg"
    assert any("directory that you are in" in f.text for f in look(machine, "environment"))


SECRET = {"DATABRICKS_TOKEN": "hunter2"}
BASIC = {"DATABRICKS_USERNAME": "u", "DATABRICKS_PASSWORD": "hunter2"}
CLIENT = {"DATABRICKS_CLIENT_ID": "c", "DATABRICKS_CLIENT_SECRET": "hunter2"}


@pytest.mark.parametrize(
    ("env", "type", "passed_over"),
    [
        (SECRET, "api", "DATABRICKS_TOKEN"),
        (SECRET, "oauth", "DATABRICKS_TOKEN"),
        (SECRET, "m2m", "DATABRICKS_TOKEN"),
        (BASIC, "api", ""),
        (BASIC, "oauth", "DATABRICKS_USERNAME and DATABRICKS_PASSWORD"),
        (CLIENT, "oauth", "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"),
        (CLIENT, "m2m", "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"),
        (CLIENT, "api", ""),
        ({"DATABRICKS_CLIENT_ID": "c"}, "oauth", ""),
        ({"DATABRICKS_AUTH_TYPE": "pat"}, "oauth", "DATABRICKS_AUTH_TYPE"),
        ({"DATABRICKS_AUTH_TYPE": "databricks-cli"}, "oauth", ""),
        ({"DATABRICKS_AUTH_TYPE": "databricks-cli"}, "another", ""),
    ],
)
def test_what_passes_over_a_login_is_what_the_order_of_sources_says(
    machine: Machine, env: dict[str, str], type: str, passed_over: str
) -> None:
    put(machine, "auth.json", json.dumps({"databricks": entry(type=type)}))
    machine.env.update(env, DATABRICKS_HOST=HOST)
    found = look(machine, "environment")
    assert [f.text for f in found if f.level == WARNING] == (
        [f"{passed_over} passes over the login for {HOST} in ~/.local/share/dbx-auth/auth.json"] if passed_over else []
    )
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("env", [SECRET, BASIC, CLIENT])
def test_a_secret_without_a_host_is_a_problem(machine: Machine, env: dict[str, str]) -> None:
    put(machine, "auth.json", GOOD["auth.json"])
    machine.env.update(env)
    assert "without DATABRICKS_HOST" in only(look(machine, "environment"), PROBLEM).text
    assert machine.run("token", "--no-refresh").code != 0


def test_another_host_passes_over_the_last_login(machine: Machine) -> None:
    put(machine, "auth.json", GOOD["auth.json"])
    machine.env["DATABRICKS_HOST"] = OTHER
    assert only(look(machine, "environment"), NOTE).hint == "unset DATABRICKS_HOST"


def test_a_host_that_has_the_profile_file_not_read(machine: Machine) -> None:
    put(machine, ".databrickscfg", GOOD[".databrickscfg"])
    machine.env["DATABRICKS_HOST"] = HOST
    found = only(look(machine, "environment"), WARNING)
    assert "~/.databrickscfg is not read" in found.text and found.hint.startswith("unset DATABRICKS_HOST")
    machine.env["DATABRICKS_TOKEN"] = "t"
    assert levels(look(machine, "environment")) == {NOTE}, "who sets both expects nothing of the file"
    machine.env.clear()
    machine.env["ARM_CLIENT_ID"] = "c"
    assert "ARM_CLIENT_ID is set" in only(look(machine, "environment"), WARNING).text
    assert levels(look(machine, "environment", Flags(profile="OTHER"))) == {OK}


def test_what_passes_over_a_profile_of_the_environment(machine: Machine) -> None:
    put(machine, ".databrickscfg", GOOD[".databrickscfg"])
    machine.env.update(DATABRICKS_CONFIG_PROFILE="DEFAULT", DATABRICKS_HOST=OTHER, DATABRICKS_TOKEN="t")
    found = [f.text for f in look(machine, "environment") if f.level == WARNING]
    assert found == [
        f"DATABRICKS_HOST passes over the host of profile DEFAULT, {HOST}",
        "DATABRICKS_TOKEN passes over what profile DEFAULT logs in with",
    ]
    assert levels(look(machine, "environment", Flags(profile="DEFAULT"))) == {OK}, "an explicit profile beats them"


def test_a_profile_of_the_environment_passes_over_the_last_login(machine: Machine) -> None:
    put(machine, "auth.json", GOOD["auth.json"])
    put(machine, ".databrickscfg", GOOD[".databrickscfg"])
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "OTHER"
    assert only(look(machine, "environment"), NOTE).hint == "unset DATABRICKS_CONFIG_PROFILE"


# ---- the machine -----------------------------------------------------------------------------------------------------


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / (f"{name}.exe" if os.name == "nt" else name)
    path.write_text("#!/bin/sh\ntouch was-run\n")
    path.chmod(0o755)
    return path


def test_the_machine_is_described(machine: Machine) -> None:
    text = " ".join(f.text for f in look(machine, "machine"))
    assert "dbx-auth 0" in text and "Python 3" in text and "httpx 0" in text and sys.platform in text


def test_another_dbx_auth_that_comes_first_is_a_warning(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = program(tmp_path / "ours", "dbx-auth"), program(tmp_path / "other", "dbx-auth")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(ours.parent))
    machine.env["PATH"] = os.pathsep.join([str(other.parent), str(ours.parent)])
    found = only(look(machine, "machine"), WARNING)
    assert str(other) in found.text and str(ours) in found.text
    machine.env["PATH"] = str(ours.parent)
    assert (OK, f"dbx-auth is {ours}") in said(look(machine, "machine"))
    machine.env["PATH"] = str(tmp_path)
    assert any("dbx-auth is not on PATH" in f.text and str(ours.parent) in f.hint for f in look(machine, "machine"))


def test_the_cli_is_found_at_an_absolute_path_and_not_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = program(tmp_path / "here", "databricks")
    monkeypatch.chdir(tmp_path)
    machine.env["PATH"] = os.pathsep.join(["here", ".", ""])
    assert any("the Databricks CLI is not on PATH" in f.text for f in look(machine, "machine"))
    machine.env["PATH"] += os.pathsep + str(cli.parent)
    assert (OK, f"the Databricks CLI is {cli}") in said(look(machine, "machine"))
    assert not list(tmp_path.rglob("was-run"))


def test_whether_there_is_a_browser(machine: Machine) -> None:
    machine.env["BROWSER"] = "none"
    assert any("no browser" in f.text and f.level == NOTE for f in look(machine, "machine"))
    machine.env["BROWSER"] = "firefox"
    assert (OK, "a browser can be opened") in said(look(machine, "machine"))


@posix
@pytest.mark.parametrize(
    ("limit", "level", "words"), [(0, OK, "no memory"), (-1, NOTE, "without a limit"), (9, NOTE, "9 bytes")]
)
def test_whether_a_crash_writes_memory_to_the_disk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, limit: int, level: str, words: str
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY if limit < 0 else limit, 0))
    (found,) = look(machine, "crashes")
    assert found.level == level and words in found.text


def test_a_system_without_such_limits_is_not_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert list(machine_checks.core_dumps(Given(machine.world))) == []


# ---- running and mending ---------------------------------------------------------------------------------------------


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put one check in the place of all."""

    def replace(function: Callable[[Given], Any]) -> None:
        monkeypatch.setattr(doctor, "CHECKS", {"one": function, "leftovers": lambda given: []})

    return replace


def test_a_check_that_fails_is_a_finding_without_the_words_of_the_error(
    machine: Machine, check: Callable[..., None]
) -> None:
    def fails(given: Given) -> Iterator[Finding]:
        yield warning("before")
        raise ValueError("hunter2")

    check(fails)
    before, failed = examine(Given(machine.world))
    assert before.text == "before" and "ValueError at test_doctor.py:" in failed.text
    assert failed.level == WARNING and "hunter2" not in str(failed)


def test_an_error_of_ours_is_a_problem_with_its_hint(machine: Machine, check: Callable[..., None]) -> None:
    def refuses(given: Given) -> list[Finding]:
        raise ConfigError("cannot be used", hint="unset IT")

    check(refuses)
    (found,) = examine(Given(machine.world))
    assert (found.level, found.text, found.hint) == (PROBLEM, "cannot be used", "unset IT")


def test_checks_that_hang_are_findings_and_cost_the_limit_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(given: Given) -> Iterator[Finding]:
        yield warning("before")
        time.sleep(30)

    monkeypatch.setattr(doctor, "LIMIT", 0.2)
    monkeypatch.setattr(doctor, "CHECKS", dict.fromkeys("abcdef", hangs))
    began = time.monotonic()
    found = examine(Given(machine.world))
    assert time.monotonic() - began < 5
    assert [f.text for f in found if f.level == WARNING] == ["before"] * 6
    assert sum("no answer within 0.2 s" in f.text for f in found) == 6


def test_whatever_a_finding_says_is_one_harmless_line_without_secrets(
    machine: Machine, check: Callable[..., None]
) -> None:
    machine.env["DATABRICKS_TOKEN"] = "a-token-of-mine"
    jwt, key = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2ln", "dapi" + "0" * 32
    text = f"a\x1b[31m\nb\u202e {jwt} {key} a-token-of-mine http://u:pw@h and https://tok@h/x"
    check(lambda given: [problem(text, text)])
    (found,) = examine(Given(machine.world))
    assert found.text == found.hint == "a[31m b *** *** *** http://***@h and https://***@h/x"


def test_what_cannot_be_mended_is_said_and_the_rest_goes_on(machine: Machine, check: Callable[..., None]) -> None:
    def fail(error: Exception) -> Callable[[], str]:
        def fix() -> str:
            raise error

        return fix

    errors = (ConfigError("no", hint="h"), PermissionError(13, "Permission denied"), ValueError("hunter2"))
    check(lambda given: [warning("x", "hint", fail(error)) for error in errors] + [warning("y", "", lambda: "done")])
    found, done = mend(Given(machine.world), examine(Given(machine.world)))
    assert done == ["done"]
    assert [f.text for f in found if "not mended" in f.text][:2] == ["not mended: no", "not mended: Permission denied"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_damaged_file_is_moved_aside_whole_and_once(machine: Machine, name: str) -> None:
    path = put(machine, name, BAD[name])
    given = Given(machine.world, offline=True)
    machine.clock = lambda: 1767225600.0
    found, done = mend(given, examine(given))
    aside = path.with_name(f"{name}.damaged-20260101T000000")
    assert aside.read_text() == BAD[name] and not path.exists() and machine.world.shorten(str(aside)) in done[0]
    assert not [f for f in found if f.level == PROBLEM]
    if os.name != "nt":
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert mend(given, examine(given))[1] == []


def test_a_cache_of_a_newer_cli_is_moved_aside_only_when_asked_to_and_can_be_put_back(machine: Machine) -> None:
    path = put(machine, "token-cache.json", '{"version": 2}')
    given = Given(machine.world, offline=True)
    found = examine(given)
    assert path.exists() and "doctor --fix" in only([f for f in found if f.check == "token-cache.json"], PROBLEM).hint
    _, (done,) = mend(given, found)
    assert not path.exists() and done.endswith(" ~/.databricks/token-cache.json")


def test_a_file_that_cannot_be_moved_stays_and_leaves_no_empty_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(machine, "auth.json", "{")

    def refuse(old: str, new: str) -> None:
        raise PermissionError(13, "Permission denied")

    given = Given(machine.world, offline=True)
    found = examine(given)
    monkeypatch.setattr(os, "replace", refuse)
    found, done = mend(given, found)
    assert done == [] and any(f.text == "not mended: Permission denied" for f in found)
    assert sorted(p.name for p in path.parent.iterdir()) == ["auth.json", "auth.json.lock"]


def test_two_that_are_damaged_in_one_second_do_not_overwrite_each_other(machine: Machine) -> None:
    given = Given(machine.world, offline=True)
    machine.clock = lambda: 1767225600.0
    for content in ("{1", "{2", "{3"):
        put(machine, "auth.json", content)
        mend(given, examine(given))
    kept = sorted(machine.auth_json.parent.glob("auth.json.damaged-*"))
    assert [path.read_text() for path in kept] == ["{1", "{2", "{3"]


def test_no_more_are_set_aside_once_there_are_too_many(machine: Machine) -> None:
    for number in range(6):
        machine.write(machine.auth_json.with_name(f"auth.json.damaged-{number}"), "{")
    path = put(machine, "auth.json", "{7")
    given = Given(machine.world, offline=True)
    found, done = mend(given, examine(given))
    assert done == [] and path.read_text() == "{7"
    assert any("6 damaged copies" in f.text and "not mended" in f.text for f in found)


def test_a_file_that_somebody_has_put_right_meanwhile_stays(machine: Machine) -> None:
    path = put(machine, "auth.json", "{")
    given = Given(machine.world, offline=True)
    found = examine(given, {"auth.json"})
    put(machine, "auth.json", GOOD["auth.json"])
    assert mend(given, found)[1] == [] and path.read_text() == GOOD["auth.json"]


@posix
def test_a_damaged_file_is_moved_under_the_lock_of_its_writers(
    machine: Machine, hold: Callable[[Path], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(machine, "auth.json", "{")
    hold(machine.auth_json.with_name("auth.json.lock"))
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.3)
    given = Given(machine.world, offline=True)
    found, done = mend(given, examine(given))
    assert done == [] and path.read_text() == "{"
    assert any("not mended: another process" in f.text for f in found)


@posix
def test_a_link_to_a_damaged_file_is_moved_and_the_file_stays(machine: Machine) -> None:
    target = machine.write(machine.home / "dotfiles.json", "{")
    target.chmod(0o640)
    machine.auth_json.parent.mkdir(parents=True, mode=0o700)
    machine.auth_json.symlink_to(target)
    given = Given(machine.world, offline=True)
    mend(given, examine(given))
    (aside,) = machine.auth_json.parent.glob("auth.json.damaged-*")
    assert aside.is_symlink() and target.read_text() == "{" and stat.S_IMODE(target.stat().st_mode) == 0o640


@posix
def test_a_profile_file_for_everybody_is_not_closed_to_them(machine: Machine, tmp_path: Path) -> None:
    shared = machine.write(tmp_path / "etc" / "databrickscfg", GOOD[".databrickscfg"])
    shared.chmod(0o644)
    machine.env["DATABRICKS_CONFIG_FILE"] = str(shared)
    assert only(look(machine, ".databrickscfg"), WARNING).fix is None


@posix
def test_a_file_that_became_a_link_is_not_followed(machine: Machine) -> None:
    path = put(machine, "auth.json", GOOD["auth.json"])
    path.chmod(0o644)
    given = Given(machine.world, offline=True)
    found = examine(given, {"auth.json"})
    theirs = machine.write(machine.home / "theirs", "x")
    theirs.chmod(0o644)
    path.unlink()
    path.symlink_to(theirs)
    assert mend(given, found)[1] == [] and stat.S_IMODE(theirs.stat().st_mode) == 0o644


# ---- with a protection taken away, what it protects from happens -----------------------------------------------------


@posix
def test_without_the_lock_a_damaged_file_is_moved_while_somebody_writes(
    machine: Machine, hold: Callable[[Path], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(machine, "auth.json", "{")
    hold(machine.auth_json.with_name("auth.json.lock"))
    monkeypatch.setattr(JsonFile, "locked", lambda self: nullcontext())
    given = Given(machine.world, offline=True)
    mend(given, examine(given, {"auth.json"}))
    assert not path.exists()


@posix
def test_without_the_refusal_to_follow_links_the_file_of_another_is_changed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(machine, "auth.json", GOOD["auth.json"])
    path.chmod(0o644)
    given = Given(machine.world, offline=True)
    found = examine(given, {"auth.json"})
    theirs = machine.write(machine.home / "theirs", "x")
    theirs.chmod(0o644)
    path.unlink()
    path.symlink_to(theirs)
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    mend(given, found)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600


def test_without_the_cleaning_an_error_of_a_library_would_show_what_it_repeats(
    machine: Machine, check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.env["DATABRICKS_TOKEN"] = "a-token-of-mine"
    check(lambda given: [problem("refused: a-token-of-mine")])
    assert "a-token-of-mine" not in examine(Given(machine.world))[0].text
    monkeypatch.setattr(doctor, "_clean", lambda text, secrets: text)
    assert "a-token-of-mine" in examine(Given(machine.world))[0].text
