"""A child process: what it finds in its environment, which signals reach it, and what is said of its end."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from machine import HOST

from dbx_auth import child
from dbx_auth.child import NotExecutable, NotFound, attend, changed, exit_status, not_run, with_gateway, with_token
from dbx_auth.errors import ConfigError, Refused
from dbx_auth.profile import FIELDS, Profile, Setting
from dbx_auth.tokens import Token
from dbx_auth.world import World, replace_process, start_program

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals")
NOBODY = Profile("", {})
TOKEN = Token("dapi0123", None, "pat", "env DATABRICKS_TOKEN", HOST)
URL, KEY, METADATA = "http://127.0.0.1:8788", "a-key-of-the-gateway", "http://127.0.0.1:8788/metadata/x"
NAMES = st.text("ABC_", min_size=1, max_size=3)


# ---- the environment -------------------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, st.text()), st.dictionaries(NAMES, st.none() | st.text()))
def test_the_environment_has_the_changes_and_is_otherwise_as_it_was(
    env: dict[str, str], changes: child.Changes
) -> None:
    before = dict(env)
    found = changed(env, changes)
    for name in {*env, *changes}:
        assert found.get(name) == (changes[name] if name in changes else env[name])
    assert env == before and None not in found.values()


def test_the_child_finds_its_token_and_no_other_identity() -> None:
    found = with_token(NOBODY, TOKEN)
    assert {name: value for name, value in found.items() if value is not None} == {
        "DATABRICKS_HOST": HOST,
        "DATABRICKS_TOKEN": "dapi0123",
        "DATABRICKS_AUTH_TYPE": "pat",
    }
    assert found["DATABRICKS_CLIENT_SECRET"] is None and found["DATABRICKS_CONFIG_PROFILE"] is None


@pytest.mark.parametrize("setting", [name for name, field in FIELDS.items() if field.method])
def test_every_other_way_to_log_in_is_taken_away_if_it_is_for_databricks_alone(setting: str) -> None:
    given = {"DATABRICKS_TOKEN": "dapi0123"}, {"DATABRICKS_METADATA_SERVICE_URL": METADATA}
    for name in FIELDS[setting].env:
        found = with_token(NOBODY, TOKEN), with_gateway(NOBODY, TOKEN, {}, URL, KEY, METADATA)
        for changes, kept in zip(found, given, strict=True):
            if name.startswith("DATABRICKS_"):
                assert changes[name] == kept.get(name)
            else:
                assert name not in changes


def test_the_account_and_the_workspace_are_those_of_the_token() -> None:
    account = Setting("account_id", "a-1", "file")
    token = Token("t", host=HOST, extra={"X-Databricks-Workspace-Id": "77"})
    for found in (
        with_token(Profile("A", {"account_id": account}), token),
        with_gateway(Profile("A", {"account_id": account}), token, {}, URL, KEY, METADATA),
    ):
        assert (found["DATABRICKS_ACCOUNT_ID"], found["DATABRICKS_WORKSPACE_ID"]) == ("a-1", "77")
    assert with_token(NOBODY, TOKEN)["DATABRICKS_WORKSPACE_ID"] is None


def test_beside_a_gateway_there_is_no_token_anywhere() -> None:
    found = with_gateway(NOBODY, TOKEN, {}, URL, KEY, METADATA)
    assert found["DATABRICKS_TOKEN"] is None and "dapi0123" not in str(found)
    assert found["DATABRICKS_AUTH_TYPE"] == "metadata-service"
    assert found["ANTHROPIC_API_KEY"] is None and found["GOOGLE_API_KEY"] is None and found["OPENAI_API_BASE"] is None


def test_a_password_fits_into_no_variable_but_goes_through_a_gateway() -> None:
    basic = Token("dTpw", host=HOST, token_type="Basic")
    with pytest.raises(Refused):
        with_token(NOBODY, basic)
    assert with_gateway(NOBODY, basic, {}, URL, KEY, METADATA)["OPENAI_API_KEY"] == KEY


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"NO_PROXY": "corp.example"}, None),
        ({"HTTPS_PROXY": "http://p:1"}, None),
        ({"HTTP_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://p:1"}, "127.0.0.1,localhost"),
        ({"http_proxy": "http://p:1", "no_proxy": "corp.example"}, "corp.example,127.0.0.1,localhost"),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": "*"}, "*"),
    ],
    ids=["no proxy", "an exception alone", "https alone", "empty", "http", "an exception", "exceptions all"],
)
def test_the_gateway_is_not_asked_through_a_proxy(env: dict[str, str], expected: str | None) -> None:
    found = with_gateway(NOBODY, TOKEN, env, URL, KEY, METADATA)
    assert (found.get("NO_PROXY"), found.get("no_proxy")) == (expected, expected)


# ---- how it ended ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 255))
def test_an_exit_code_is_passed_on(code: int) -> None:
    assert exit_status(code) == code


@given(st.integers(1, 64))
def test_a_signal_is_128_and_its_number(number: int) -> None:
    assert exit_status(-number) == 128 + number


@given(st.integers(1 << 31, (1 << 32) - 1))
def test_a_code_of_windows_is_one_that_exit_takes(code: int) -> None:
    given_back = exit_status(code)
    assert -(1 << 31) <= given_back < 0 and given_back % (1 << 32) == code


def running(code: str) -> Callable[[], subprocess.Popen[bytes]]:
    return lambda: start_program([sys.executable, "-c", code], dict(os.environ))


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_status_of_a_child_is_ours(code: int) -> None:
    assert attend(running(f"raise SystemExit({code})")) == code


@POSIX
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGPIPE", "SIGINT"])
def test_of_a_child_that_a_signal_ended_it_is_said_as_shells_do(name: str) -> None:
    number = signal.Signals[name]
    killed = f"import os, signal; signal.signal({number}, signal.SIG_DFL)" if name != "SIGKILL" else "import os"
    assert attend(running(f"{killed}; os.kill(os.getpid(), {number})")) == 128 + number


@POSIX
def test_a_child_whose_end_nobody_waits_for_has_a_status_nevertheless() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert attend(running("raise SystemExit(7)")) == 7
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


# ---- signals ---------------------------------------------------------------------------------------------------------

COUNTS = """
import os, signal, sys, time
came = []
for each in {numbers}:
    signal.signal(each, lambda number, frame: came.append(number))
open({ready!r}, "w").close()
end = time.monotonic() + 20
while signal.SIGTERM not in came and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.1)
print(*came, file=open({said!r}, "w"))
"""


def counted(tmp_path: Path, *numbers: int, act: Callable[[], None]) -> list[int]:
    """What reaches a child while `act` runs beside it; SIGTERM ends it."""
    ready, said = tmp_path / "ready", tmp_path / "said"
    code = COUNTS.format(numbers=[*map(int, numbers), int(signal.SIGTERM)], ready=str(ready), said=str(said))

    def beside() -> None:
        end = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.01)
        act()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=beside)
    thread.start()
    code_of_exit = attend(running(code))
    thread.join()
    assert code_of_exit == 0
    return [int(number) for number in said.read_text().split()]


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT"])
@pytest.mark.parametrize("terminal", [False, True], ids=["from elsewhere", "in the foreground"])
def test_a_signal_reaches_the_child_unless_the_terminal_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, terminal: bool
) -> None:
    monkeypatch.setattr(child, "_in_foreground", lambda: terminal)
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def act() -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)  # of two that have come, Python handles the one with the smaller number first

    came = counted(tmp_path, number, act=act)
    by_the_terminal = terminal and name in child.OF_THE_TERMINAL
    assert came == ([] if by_the_terminal else [number]) + [signal.SIGTERM]
    assert signal.getsignal(number) == before, "handlers are as they were"


@POSIX
def test_a_signal_that_is_ignored_stays_ignored_for_the_child_too() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        probe = "import signal; raise SystemExit(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
        assert attend(running(probe)) == 1
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@POSIX
def test_a_signal_that_comes_while_the_child_is_started_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), signal.SIGTERM)
        return running("import time; time.sleep(30)")()

    assert attend(start) == 128 + signal.SIGTERM


@POSIX
def test_a_child_that_cannot_be_started_leaves_the_handlers_as_they_were() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT]
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(FileNotFoundError):
        attend(lambda: start_program(["/nowhere/at/all"], {}))
    assert [signal.getsignal(number) for number in numbers] == before


STOPS = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); raise SystemExit(9)"


@POSIX
@pytest.mark.parametrize("continued", [False, True], ids=["stopped still", "continued meanwhile"])
def test_we_stop_with_the_child_if_it_is_stopped_still(monkeypatch: pytest.MonkeyPatch, continued: bool) -> None:
    """Who is stopped and continued together with the child hears of its stop late."""
    stopped: list[int] = []
    children: list[int] = []
    real = os.waitpid

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        found, status = real(pid, options)
        if found and os.WIFSTOPPED(status) and continued:
            os.kill(pid, signal.SIGCONT)
        return found, status

    def stop() -> None:
        stopped.append(1)
        os.kill(children[0], signal.SIGCONT)

    def start() -> subprocess.Popen[bytes]:
        process = running(STOPS)()
        children.append(process.pid)
        return process

    monkeypatch.setattr(os, "waitpid", waitpid)
    monkeypatch.setattr(child, "_stop", stop)
    assert attend(start) == 9
    assert len(stopped) == (0 if continued else 1)


@POSIX
def test_python_ignores_what_the_child_does_not() -> None:
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    probe = "kill -PIPE $$; exit 3"
    assert attend(lambda: start_program(["sh", "-c", probe], dict(os.environ))) == 128 + signal.SIGPIPE


@POSIX
def test_without_a_terminal_nobody_is_in_its_foreground() -> None:
    probe = "from dbx_auth.child import _in_foreground; raise SystemExit(_in_foreground())"
    assert subprocess.run([sys.executable, "-c", probe], start_new_session=True, timeout=60).returncode == 0


# ---- what cannot be run ----------------------------------------------------------------------------------------------


def failed(command: str, env: dict[str, str]) -> OSError:
    with pytest.raises(OSError) as raised:
        start_program([command], env)
    return raised.value


def file(path: Path, content: str, mode: int = stat.S_IRWXU) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@POSIX
def test_each_reason_has_the_exit_code_of_shells_and_a_hint(tmp_path: Path) -> None:
    env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    (tmp_path / "bin").mkdir()
    plain = file(tmp_path / "plain", "#!/bin/sh\n", stat.S_IRUSR)
    orphan = file(tmp_path / "orphan", "#!/nowhere/python\n")
    no_program = file(tmp_path / "bin" / "data", "\x01\x02\x03")
    for command, kind, word in (
        ("no-such-command", NotFound, "there is no command no-such-command"),
        (str(tmp_path / "nowhere"), NotFound, "there is no command"),
        (f"{plain}/below", NotFound, "there is no command"),
        ("", NotFound, "there is no command ''"),
        (plain, NotExecutable, "Permission denied"),
        (str(tmp_path), NotExecutable, "Permission denied"),
        (orphan, NotExecutable, f"the interpreter of {orphan}"),
        ("data", NotExecutable, "Exec format error"),
        (no_program, NotExecutable, "Exec format error"),
    ):
        error = not_run(command, env, failed(command, env))
        assert type(error) is kind and word in str(error), command
        assert error.exit_code == (127 if kind is NotFound else 126) and error.hint


def test_a_directory_of_the_path_that_nobody_may_read_hides_no_typing_error(tmp_path: Path) -> None:
    error = not_run("no-such-command", {"PATH": str(tmp_path)}, PermissionError(errno.EACCES, "Permission denied"))
    assert isinstance(error, NotFound)


# ---- the place of this process ---------------------------------------------------------------------------------------

BECOMES = "from dbx_auth.world import end_in_order, replace_process as become; import os, signal, sys; end_in_order()"


def spawned(code: str, **how: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", f"{BECOMES}\n{code}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, **how)  # type: ignore[call-overload,no-any-return]


@POSIX
def test_the_process_becomes_another_with_what_was_written_before() -> None:
    code = "print('before', os.getpid()); become(['sh', '-c', 'echo $$ $A; kill -PIPE $$'], {'A': 'b', 'PATH': '/bin'})"
    done = spawned(code)
    before, after = done.stdout.splitlines()
    assert after == f"{before.split()[1]} b"
    assert done.returncode == -signal.SIGPIPE, "which Python ignores, and a program does not"


@POSIX
def test_where_there_is_no_such_program_all_is_as_it_was() -> None:
    code = (
        "def handlers(): return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]\n"
        "before = handlers()\n"
        "try: become(['/nowhere'], {})\n"
        "except FileNotFoundError: print(before == handlers())"
    )
    assert spawned(code).stdout == "True\n"


@POSIX
def test_the_other_program_ignores_what_is_ignored_here() -> None:
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN); become(['sh', '-c', 'kill -HUP $$; echo alive'], os.environ)"
    assert spawned(code).stdout == "alive\n"


def test_a_library_becomes_no_other_program() -> None:
    with pytest.raises(ConfigError):
        World.system().become(["true"], {})
    assert World.terminal().become is replace_process
