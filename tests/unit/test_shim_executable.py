"""The file that SDKs start in place of the Databricks CLI: how it is put there, and how it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from machine import HOST, Machine
from unit.test_shim import PAT, config, posix

from dbx_auth import shim
from dbx_auth.errors import ConfigError
from dbx_auth.shim import install
from dbx_auth.shim.answers import Answer
from dbx_auth.shim.executable import batch, script


def state(path: str | Path) -> tuple[int, int, int, int]:
    """What changes when somebody writes to a file, and not when somebody reads it."""
    status = os.lstat(path)
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def run(path: str, machine: Machine, *argv: str) -> Answer:
    done = subprocess.run([path, *argv], env=machine.child_env(), capture_output=True, text=True, timeout=60)
    return Answer(done.returncode, done.stdout, done.stderr)


@posix
def test_what_is_installed_is_large_and_can_be_run(machine: Machine, tmp_path: Path) -> None:
    config(machine, PAT)
    path = install(str(tmp_path / "a b" / "databricks"), machine.world)
    status = os.stat(path)
    assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o755
    assert 1_048_576 <= status.st_size < 1_048_576 + 79
    assert set(Path(path).read_bytes().split(b"\n")[4:]) == {b"#" * 78, b""}, "what nobody reads"
    assert os.listdir(os.path.dirname(path)) == ["databricks"]
    assert run(path, machine, "version") == Answer(0, "Databricks CLI v1.13.0\n")
    assert json.loads(run(path, machine, "auth", "token", "-p", "DEV").out)["access_token"] == "dapi-dev"
    assert run(path, machine, "auth", "token", "--x", "a b", "$HOME").err == "Error: unknown flag: --x\n"
    assert run(path, machine, "auth", "token", "a b", "$(id)").err == "Error: accepts at most 1 arg(s), received 2\n"


@posix
def test_a_profile_with_any_name_can_be_installed_for(machine: Machine, tmp_path: Path) -> None:
    name = 'it\'s "$HOME" `x` %PATH% ü'
    config(machine, f"[{name}]\nhost = {HOST}\ntoken = dapi-odd\n")
    path = install(str(tmp_path / "databricks"), machine.world, profile=name)
    assert json.loads(run(path, machine, "auth", "token", "--host", HOST).out)["access_token"] == "dapi-odd"


@posix
def test_a_python_far_away_with_blanks_in_its_path_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel cuts a shebang at 127 or 255 bytes, and takes all behind a blank for one argument."""
    folder = tmp_path / "some where" / ("x" * 200) / "it's"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    path = install(str(tmp_path / "databricks"), machine.world)
    first = Path(path).read_bytes().split(b"\n")[0]
    assert first == b"#!/bin/sh" and run(path, machine, "version").code == 0


@posix
def test_what_lies_in_the_directory_of_the_caller_is_not_run(machine: Machine, tmp_path: Path) -> None:
    """An SDK runs in somebody's project, and Python looks there first unless it is told not to."""
    path = install(str(tmp_path / "databricks"), machine.world)
    for name in ("json", "dbx_auth", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('theirs')")
    env = machine.child_env(PYTHONPATH=str(tmp_path))
    argv = [path, "version", "-o", "json"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and json.loads(done.stdout)["Major"] == 1
    Path(path).write_text(Path(path).read_text().replace(" -E -P ", " "))
    again = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "theirs" in again.stderr, "the control"


@posix
def test_installed_again_nothing_is_written_unless_something_changed(machine: Machine, tmp_path: Path) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    before = state(path)
    assert install(path, machine.world) == path and state(path) == before
    install(path, machine.world, profile="DEV")
    assert state(path) != before and b" DEV '' " in Path(path).read_bytes()
    os.chmod(path, 0o600)
    install(path, machine.world, profile="DEV")
    assert os.access(path, os.X_OK) and set(os.listdir(tmp_path)) == {"databricks", "home"}


@posix
def test_a_link_is_followed_and_stays(machine: Machine, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "databricks"
    install(str(real), machine.world)
    link.symlink_to(real)
    install(str(link), machine.world, host=HOST)
    assert link.is_symlink() and HOST.encode() in real.read_bytes()


@pytest.mark.parametrize("what", ["the CLI itself", "a directory", "a link to nowhere"])
def test_what_somebody_else_put_there_is_never_written_over(machine: Machine, tmp_path: Path, what: str) -> None:
    path = tmp_path / "databricks"
    if what == "a directory":
        path.mkdir()
    elif what == "a link to nowhere":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(b"\x7fELF" + bytes(2 << 20))
    before = state(path)
    with pytest.raises(ConfigError, match="is not ours") as error:
        install(str(path), machine.world)
    assert error.value.hint == "choose another path, or move it away"
    assert state(path) == before and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("step", ["chmod", "replace"])
def test_a_disk_that_says_no_leaves_the_old_one(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = Path(install(str(tmp_path / "bin" / "databricks"), machine.world))
    before = path.read_bytes()

    def full(*how: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ConfigError, match="No space left"):
        install(str(path), machine.world, profile="DEV")
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_it_is_not_installed_where_there_is_no_python_or_no_name(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "databricks"

    def refused(**whom: str) -> str:
        with pytest.raises(ConfigError) as error:
            install(str(path), machine.world, **whom)
        assert not path.exists()
        return f"{error.value} (hint: {error.value.hint})"

    control = "a path or a profile holds a control character (hint: choose another profile: -p DEV)"
    assert refused(profile="a\nb") == control
    for broken in ("false", "true", "no-such-program"):
        python = shutil.which(broken) or str(tmp_path / broken)
        monkeypatch.setattr(sys, "executable", python)
        somewhere = f"dbx-auth cannot be run by {python} from everywhere (hint: install it with pip, pipx or uv)"
        assert refused() == somewhere
    monkeypatch.setattr(sys, "executable", "")
    assert refused() == "this Python does not know where it is (hint: install dbx-auth with pip, pipx or uv)"


def test_what_is_ours_can_be_taken_away_again_and_nothing_else(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    assert shim.uninstall(path) and not os.path.exists(path) and not shim.uninstall(path)
    Path(path).write_text("#!/bin/sh\n")
    assert not shim.uninstall(path) and os.path.exists(path)
    os.unlink(path)
    install(path, machine.world)

    def fail(path: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(ConfigError, match="Read-only"):
        shim.uninstall(path)


@posix
@pytest.mark.parametrize("where", [">&-", "> /dev/full", "| true"])
def test_where_nobody_reads_there_is_no_traceback(machine: Machine, tmp_path: Path, where: str) -> None:
    config(machine, PAT)
    path = install(str(tmp_path / "databricks"), machine.world)
    told = subprocess.run(
        ["sh", "-c", f"{path} auth token -p DEV {where}"], env=machine.child_env(), capture_output=True, timeout=60
    )
    assert (told.returncode, told.stdout, told.stderr) == (0 if where == "| true" else 1, b"", b"")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_asked_to_end_does(machine: Machine, tmp_path: Path, number: signal.Signals) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config(machine, f"[ROBOT]\nhost = {host}\nclient_id = a\nclient_secret = b\n")
        argv = [path, "auth", "token", "-p", "ROBOT"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(argv, env=machine.child_env(), **pipes) as child:
            silent.settimeout(60)
            asked, _ = silent.accept()
            child.send_signal(number)
            out, err = child.communicate(timeout=60)
            asked.close()
    assert (child.returncode, out, err) == (128 + number, b"", b"")


def test_the_place_is_among_our_data_and_named_as_the_system_wants(machine: Machine) -> None:
    def place(platform: str) -> str:
        return shim.place(machine.world._replace(platform=platform))

    assert place("linux") == place("darwin") == os.path.join(machine.world.data_dir, "bin", "databricks")
    machine.env["DBX_AUTH_DATA_DIR"] = "/else/where"
    assert [place(name) for name in ("darwin", "win32")] == [
        os.path.join("/else/where", "bin", name) for name in ("databricks", "databricks.cmd")
    ]


@posix
@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="bash")
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_caller_that_hands_a_shell_its_path_without_quotes_finds_it(machine: Machine, platform: str) -> None:
    """The SDK for Java does, and what its shell does not find it takes for a CLI that is missing."""
    config(machine, PAT)
    path = install(shim.place(machine.world._replace(platform=platform)), machine.world)

    def java(path: str) -> subprocess.CompletedProcess[str]:
        line = " ".join([path, "auth", "token", "--profile", "DEV", "--force-refresh"])
        return subprocess.run(["/bin/bash", "-c", line], env=machine.child_env(), capture_output=True, text=True)

    assert json.loads(java(path).stdout)["access_token"] == "dapi-dev"
    inside = install(os.path.join(machine.home, "Application Support", "databricks"), machine.world)
    assert java(inside).returncode != 0, "the control: where macOS keeps data there is a blank"


# ---- the file on Windows, as far as it can be seen from here ---------------------------------------------------------


def test_on_windows_it_is_a_batch_file_that_ends_before_its_padding(machine: Machine, tmp_path: Path) -> None:
    path = install(str(tmp_path / "databricks"), machine.world._replace(platform="win32"), profile="100% DEV")
    assert path == str(tmp_path / "databricks.cmd") and os.path.getsize(path) >= 1_048_576
    lines = Path(path).read_bytes().decode("ascii").split("\r\n")
    assert lines[0] == "@echo off" and lines[1].startswith("rem ") and lines[3] == "exit /b %ERRORLEVEL%"
    assert lines[2] == f'"{sys.executable}" "-E" "-P" "-m" "dbx_auth.shim" "100%% DEV" "" %*'
    assert set(lines[4:]) == {":" * 78, ""}
    assert install(path, machine.world._replace(platform="win32"), profile="100% DEV") == path


@pytest.mark.parametrize("name", ["databricks.bat", "DATABRICKS.CMD"])
def test_on_windows_a_name_that_can_be_started_stays(machine: Machine, tmp_path: Path, name: str) -> None:
    assert install(str(tmp_path / name), machine.world._replace(platform="win32")) == str(tmp_path / name)


@posix
def test_a_home_that_is_not_ascii_is_spelled_as_windows_does(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "José" / "python"
    machine.write(python, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n').chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    path = install(str(tmp_path / "x"), machine.world._replace(platform="win32", home=str(python.parent)))
    assert Path(path).read_text("ascii").split("\n")[2].startswith('"%USERPROFILE%/python" "-E" ')


@pytest.mark.parametrize(
    ("python", "home", "line"),
    [
        (r"C:\Users\José\python.exe", r"C:\Users\José", rb'"%USERPROFILE%\python.exe" "%%x"'),
        (r"C:\100% é\python.exe", r"C:\100% é", rb'"%USERPROFILE%\python.exe" "%%x"'),
        (r"C:\Users\me\python.exe", r"C:\Users\me", rb'"C:\Users\me\python.exe" "%%x"'),
        (r"D:\python.exe", "", rb'"D:\python.exe" "%%x"'),
    ],
)
def test_cmd_is_told_in_ascii_and_of_a_home_by_its_variable(python: str, home: str, line: bytes) -> None:
    assert batch([python, "%x"], home).split(b"\r\n")[2] == line + b" %*"


@pytest.mark.parametrize(
    ("word", "words"),
    [
        (
            r"D:\é",
            r"cmd.exe cannot be told of a path or profile that is not ASCII: D:\é -m (hint: install dbx-auth into a d",
        ),
        ('a"b', "a path or a profile holds a quotation mark (hint: choose another profile: -p DEV)"),
    ],
)
def test_what_cmd_cannot_be_told_is_refused(word: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        batch([word, "-m"], "")
    assert f"{error.value} (hint: {error.value.hint})".startswith(words)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=20), min_size=1, max_size=4))
def test_whatever_the_words_are_sh_gets_them_back(words: list[str]) -> None:
    import shlex

    program = script(words)
    assert len(program) >= 1_048_576
    assert shlex.split(program.decode().split("\n")[2]) == ["exec", *words, "$@"]
