"""`dbx-auth exec`: the command has what it would have without us, and a token; nothing of it is lost, nothing added."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine, hasty

from dbx_auth import child
from dbx_auth.sandbox import Sandbox

if sys.platform == "win32":
    pytest.skip("signals, and a terminal", allow_module_level=True)
import pexpect
from gateway.test_serve import Held, until
from unit.stubs import http

PYTHON = sys.executable
EXEC = (PYTHON, "-m", "dbx_auth", "exec")
MODES = pytest.mark.parametrize("mode", [(), ("--serve",)], ids=["in our place", "beside a gateway"])
Mode = tuple[str, ...]

CONTRADICTING = {
    "DATABRICKS_CLIENT_ID": "other",
    "DATABRICKS_CLIENT_SECRET": "other",
    "DATABRICKS_USERNAME": "other",
    "DATABRICKS_PASSWORD": "other",
    "DATABRICKS_CONFIG_PROFILE": "OTHER",
    "DATABRICKS_AUTH_TYPE": "oauth-m2m",
    "DATABRICKS_OIDC_TOKEN_ENV": "OTHER",
    "DATABRICKS_AZURE_RESOURCE_ID": "/other",
}


@pytest.fixture
def ready(machine: Machine, sandbox: Sandbox) -> Machine:
    """A machine with a profile for the sandbox, which is the default."""
    machine.write(machine.config, f"[DEFAULT]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    return machine


def line(*argv: str) -> str:
    """A command of ours as a shell takes it."""
    return shlex.join([*EXEC, *argv])


def at_sh(machine: Machine, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], env=machine.child_env(), capture_output=True, text=True, timeout=60)


def done(machine: Machine, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """A command that has run to its end, in a session of its own: the terminal of who tests has no part in it."""
    how = {"env": {}, **({} if "input" in how else {"stdin": subprocess.DEVNULL}), **how}
    how["env"] = machine.child_env(**how["env"])
    return subprocess.run([*EXEC, *argv], capture_output=True, text=True, timeout=100, start_new_session=True, **how)


@contextmanager
def going(machine: Machine, *argv: str, command: Sequence[str] = EXEC) -> Iterator[subprocess.Popen[str]]:
    """A command that runs, in a session of its own."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    how: Any = {"text": True, "start_new_session": True, **pipes}
    with subprocess.Popen([*command, *argv], env=machine.child_env(), **how) as process:
        try:
            yield process
        finally:
            process.kill()


ENVIRONMENT = (PYTHON, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


# ---- the environment -------------------------------------------------------------------------------------------------


def test_the_environment_is_ours_with_the_token_and_without_what_contradicts_it(
    ready: Machine, sandbox: Sandbox
) -> None:
    kept = {"ARM_CLIENT_ID": "theirs", "DATABRICKS_CLUSTER_ID": "c", "ODD": "a b\n'$(id)", "LC_ALL": "C.UTF-8"}
    ready.env.update(kept)
    said = done(ready, "-p", "DEFAULT", "--", *ENVIRONMENT, env=CONTRADICTING)
    assert said.stderr == ""
    assert json.loads(said.stdout) == {
        **ready.child_env(),
        "DATABRICKS_HOST": sandbox.url,
        "DATABRICKS_TOKEN": sandbox.pat,
        "DATABRICKS_AUTH_TYPE": "pat",
    }


def test_beside_a_gateway_there_is_a_key_and_no_token(ready: Machine, sandbox: Sandbox) -> None:
    ready.env.update({"LC_ALL": "C.UTF-8", "ODD": "x"})
    foreign = {**CONTRADICTING, **dict.fromkeys(child.ANOTHER_SERVICE, "theirs"), "OPENAI_API_KEY": "theirs"}
    said = done(ready, "-p", "DEFAULT", "--serve", "--", *ENVIRONMENT, env=foreign)
    assert said.stderr == "" and sandbox.pat not in said.stdout and "other" not in said.stdout
    found = json.loads(said.stdout)
    url, key = found["ANTHROPIC_BASE_URL"], found["OPENAI_API_KEY"]
    assert url.startswith("http://127.0.0.1:") and len(key) > 30
    assert found.pop("DATABRICKS_METADATA_SERVICE_URL").startswith(f"{url}/metadata/")
    assert found == {
        **ready.child_env(),
        "DATABRICKS_HOST": sandbox.url,
        "DATABRICKS_AUTH_TYPE": "metadata-service",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": key,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_API_KEY": key,
    }


SDK = "from databricks.sdk import WorkspaceClient; print(WorkspaceClient().current_user.me().user_name)"


@MODES
def test_the_sdk_works_whatever_was_set_before(ready: Machine, sandbox: Sandbox, mode: Mode) -> None:
    said = done(ready, "-p", "DEFAULT", *mode, "--", PYTHON, "-c", SDK, env=CONTRADICTING)
    assert (said.returncode, said.stdout.strip()) == (0, sandbox.user), said.stderr


@MODES
def test_if_nothing_were_taken_away_the_sdk_would_refuse(
    ready: Machine, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """The same in this process, without our protection."""
    monkeypatch.setattr(child, "ANOTHER_IDENTITY", ())
    monkeypatch.setattr("dbx_auth.output.variables", lambda token: {"DATABRICKS_TOKEN": token.value})
    seen: dict[str, str] = {}
    monkeypatch.setattr("dbx_auth.commands.exec.start_program", lambda argv, env: seen.update(env) or 1 / 0)
    ready.env.update(CONTRADICTING)
    ready.run("exec", "-p", "DEFAULT", *mode, "--", "true")
    env = ready.child_env() | (seen or ready.became[0][1])
    del env["DATABRICKS_AUTH_TYPE"], env["DATABRICKS_CONFIG_PROFILE"]  # the second protection, and a worse error
    said = subprocess.run([PYTHON, "-c", SDK], env=env, capture_output=True, text=True, timeout=60)
    assert "more than one authorization method" in said.stderr


CLIENTS = """
import anthropic, openai, warnings
from databricks.sdk import WorkspaceClient
warnings.simplefilter("ignore")
from google import genai
MODEL = "databricks-llama-4-maverick"
said = [{"role": "user", "content": "hi"}]
print(WorkspaceClient().current_user.me().user_name)
print(bool(openai.OpenAI().chat.completions.create(model=MODEL, messages=said).choices))
print(bool(anthropic.Anthropic().messages.create(model=MODEL, messages=said, max_tokens=9).content))
client = genai.Client()
print(bool(client.models.generate_content(model="databricks-gemini-3-pro", contents="hi").text))
"""


@pytest.mark.parametrize("proxy", [False, True], ids=["at home", "behind a proxy"])
def test_the_official_clients_need_nothing_but_that_environment(ready: Machine, sandbox: Sandbox, proxy: bool) -> None:
    foreign = {"ANTHROPIC_API_KEY": "theirs", "GOOGLE_API_KEY": "theirs"}
    if proxy:
        foreign |= {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "no_proxy": "corp.example"}
    said = done(ready, "--serve", PYTHON, "-c", CLIENTS, env=foreign)
    assert said.stdout.split() == [sandbox.user, "True", "True", "True"], said.stderr


# ---- what the command is given, and what it gives --------------------------------------------------------------------

ARGV = (PYTHON, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")


@MODES
@pytest.mark.parametrize(
    "args",
    [
        ("-p", "NONE", "--host", "x", "--serve", "-h", "--help", "-v", "--version"),
        ("--", "--", "-x", "--x=y", ""),
        ("a b", "*", "$HOME", "é\n", "-"),
    ],
    ids=["our own options", "dashes", "odd words"],
)
def test_everything_from_the_command_on_is_its_own(ready: Machine, mode: Mode, args: Mode) -> None:
    assert json.loads(done(ready, *mode, "--", *ARGV, *args).stdout) == list(args)


def test_without_dashes_it_begins_with_the_first_word_that_is_no_option(ready: Machine) -> None:
    args = ["-p", "NONE", "--", "--serve"]
    assert json.loads(done(ready, "-p", "DEFAULT", *ARGV, *args).stdout) == args


@MODES
def test_we_can_be_the_command(ready: Machine, sandbox: Sandbox, mode: Mode) -> None:
    status = (PYTHON, "-m", "dbx_auth", "status", "-o", "json")
    said = json.loads(done(ready, *mode, "--", *status).stdout)
    assert said["authenticated"] and said["user"] == sandbox.user and said["host"] == sandbox.url
    assert said["auth_type"] == ("metadata-service" if mode else "pat")


@MODES
@pytest.mark.parametrize("code", [0, 1, 4, 127, 255])
def test_its_exit_code_is_ours_and_nothing_is_added_to_what_it_says(ready: Machine, mode: Mode, code: int) -> None:
    said = done(ready, *mode, "--", "sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (said.returncode, said.stdout, said.stderr) == (code, "out\n", "err\n")


@MODES
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "KILL", "SEGV", "PIPE", "USR1"])
def test_of_a_command_that_a_signal_ended_a_shell_says_what_it_always_says(
    ready: Machine, mode: Mode, name: str
) -> None:
    ours = line(*mode, "--", "sh", "-c", f"ulimit -c 0; kill -{name} $$")
    said = at_sh(ready, f"{ours}; echo $?")
    assert said.stdout == f"{128 + signal.Signals[f'SIG{name}']}\n"
    assert "dbx-auth" not in said.stderr and "Traceback" not in said.stderr


@MODES
def test_it_reads_our_stdin_and_writes_our_stdout(ready: Machine, mode: Mode) -> None:
    text = "line\n" * 50_000
    said = done(ready, *mode, "--", "cat", input=text)
    assert (said.returncode, said.stdout) == (0, text)


@MODES
def test_it_may_close_its_stdout(ready: Machine, mode: Mode) -> None:
    said = done(ready, *mode, "--", "sh", "-c", "echo out; exec >&- 2>&-; exit 3")
    assert (said.returncode, said.stdout, said.stderr) == (3, "out\n", "")


@MODES
def test_it_ends_when_nobody_reads_any_more(ready: Machine, mode: Mode) -> None:
    """Python ignores SIGPIPE, and `yes` would say that it cannot write if it did so, too."""
    said = at_sh(ready, f"{line(*mode, '--', 'yes')} | head -1")
    assert (said.stdout, said.stderr) == ("y\n", "")


@MODES
def test_a_descriptor_that_was_handed_to_us_is_handed_on_and_no_other(ready: Machine, mode: Mode) -> None:
    read, write = os.pipe()
    os.write(write, b"through\n")
    os.close(write)
    code = f"import os; print(os.read({read}, 99)); print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    code = code if sys.platform == "linux" else code.partition(";")[0]
    said = done(ready, *mode, "--", PYTHON, "-c", code, pass_fds=(read,))
    os.close(read)
    first, *rest = said.stdout.splitlines()
    assert first == repr(b"through\n")
    if rest:
        assert set(json.loads(rest[0])) - {0, 1, 2, read} <= {3, 4}, "what listing them opens"


def test_without_a_gateway_we_are_gone(ready: Machine) -> None:
    with going(ready, "--", PYTHON, "-c", "import os; print(os.getpid(), flush=True); input()") as process:
        assert process.stdout and int(process.stdout.readline()) == process.pid
        process.communicate("\n", 20)
    assert process.returncode == 0


# ---- what cannot be run ----------------------------------------------------------------------------------------------


@MODES
def test_what_is_not_there_or_cannot_be_run_has_the_exit_code_of_shells(
    ready: Machine, tmp_path: Path, mode: Mode
) -> None:
    plain = ready.write(tmp_path / "plain", "#!/bin/sh\n")
    for command, code in (
        ("no-such-command", 127),
        (str(tmp_path / "no"), 127),
        (str(plain), 126),
        (str(tmp_path), 126),
    ):
        said = done(ready, *mode, "--", command, "dapi-s3cret")
        what, hint = said.stderr.splitlines()
        assert (said.returncode, said.stdout) == (code, "")
        assert what.startswith("dbx-auth: ") and command in what and hint.startswith("hint: ")
        assert "s3cret" not in said.stderr


@MODES
def test_without_a_login_nothing_is_run(machine: Machine, tmp_path: Path, mode: Mode) -> None:
    said = done(machine, "--host", HOST, *mode, "--", "touch", str(tmp_path / "ran"))
    assert (said.returncode, said.stdout) == (4, "") and "hint: dbx-auth login" in said.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("argv", [(), ("--",), ("--serve",), ("--serve", "--")])
def test_a_command_is_needed(ready: Machine, argv: Mode) -> None:
    said = ready.run("exec", *argv)
    assert (said.code, said.out) == (2, "") and "hint: dbx-auth exec --help" in said.err


def test_without_its_extra_the_gateway_says_how_to_get_it(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    monkeypatch.delitem(sys.modules, "dbx_auth.gateway.relay", raising=False)
    said = ready.run("exec", "--serve", "--", "true")
    assert (said.code, said.out) == (5, "") and "pip install 'dbx-auth[gateway]'" in said.err


def test_on_windows_it_is_a_child_that_we_wait_for(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready.world._replace(platform="win32", env={**ready.child_env(), "DBX_AUTH_DATA_DIR": str(ready.home)})
    monkeypatch.setattr(Machine, "world", world._replace(env={**world.env, "DBX_AUTH_CONFIG_DIR": str(ready.home)}))
    assert ready.run("exec", "--", "sh", "-c", 'test "$DATABRICKS_AUTH_TYPE" = pat && exit 7').code == 7
    assert ready.became == []


# ---- secrets ---------------------------------------------------------------------------------------------------------


def command_lines() -> bytes:
    """The arguments of every process of this machine."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@MODES
def test_no_secret_is_on_any_command_line(ready: Machine, sandbox: Sandbox, mode: Mode) -> None:
    with going(ready, *mode, "--", "sh", "-c", "echo $GEMINI_API_KEY; read line; : a-canary") as process:
        assert process.stdout
        key = process.stdout.readline().strip()
        seen = command_lines()
        process.communicate("\n", 20)
    assert b"a-canary" in seen, "it has been looked at"
    assert sandbox.pat.encode() not in seen and (not mode or key and key.encode() not in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_we_leave_no_core_dump_and_the_command_may(ready: Machine) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[1], flush=True); input()"
    with going(ready, "--serve", "--", PYTHON, "-c", code) as process:
        assert process.stdout and int(process.stdout.readline()) == hard
        limits = Path(f"/proc/{process.pid}/limits")

        def core() -> list[str]:
            return [" ".join(row.split()[4:6]) for row in limits.read_text().splitlines() if "core file" in row]

        assert until(lambda: core() == ["0 0"])
        process.communicate("\n", 20)


# ---- signals from elsewhere ------------------------------------------------------------------------------------------

COUNTS = """
import signal, sys, time
came = []
for name in "SIGINT SIGTERM SIGHUP SIGQUIT SIGUSR1".split():
    signal.signal(getattr(signal, name), lambda number, frame: came.append(signal.Signals(number).name))
print("ready", flush=True)
while not came:
    time.sleep(0.01)
time.sleep(0.5)
print(*came)
sys.exit(42)
"""


@MODES
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_reaches_the_command_once_and_the_command_decides(ready: Machine, mode: Mode, name: str) -> None:
    with going(ready, *mode, "--", PYTHON, "-c", COUNTS) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.Signals[name])
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (42, f"{name}\n", "")


@MODES
def test_a_signal_that_ends_it_ends_us(ready: Machine, mode: Mode) -> None:
    with going(ready, *mode, "--", "sh", "-c", "echo ready; exec sleep 60") as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == (128 + signal.SIGTERM if mode else -signal.SIGTERM)


@MODES
def test_under_nohup_it_outlives_its_terminal(ready: Machine, mode: Mode) -> None:
    ours = line(*mode, "--", "sh", "-c", "kill -HUP $$; echo alive")
    assert at_sh(ready, f"trap '' HUP; {ours}").stdout == "alive\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@MODES
@pytest.mark.parametrize("to", ["us", "it"])
def test_where_no_shell_could_continue_us_we_do_not_stop_with_it(ready: Machine, mode: Mode, to: str) -> None:
    with going(ready, *mode, "--", "sh", "-c", "echo $$; kill -STOP $$; echo again; exit 5") as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        assert until(lambda: state(pid) == "T")
        os.kill(process.pid if to == "us" else pid, signal.SIGCONT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (5, "again\n", "")


def state(pid: int) -> str:
    """What Linux says of a process: R, S, T (stopped), Z …; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_the_gateway_ends_with_the_command(ready: Machine) -> None:
    with going(ready, "--serve", "--", "sh", "-c", "echo $ANTHROPIC_BASE_URL; read line") as process:
        assert process.stdout
        port = int(process.stdout.readline().rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), 5).close()
        process.communicate("\n", 20)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()


ASKS = """
import os, sys, threading, httpx
headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
body = {"model": "databricks-llama-4-maverick", "messages": [{"role": "user", "content": "hi"}]}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
threading.Thread(target=lambda: httpx.post(url, json=body, headers=headers, trust_env=False), daemon=True).start()
input()
os._exit(5)
"""


@pytest.mark.parametrize(
    ("impatient", "leaving", "is_kept"),
    [(False, 35, True), (True, 35, True), (False, 0, False)],
    ids=["", "Ctrl-C meanwhile", "without patience the login is lost"],
)
def test_a_refresh_that_has_begun_is_finished_when_the_command_is_gone(
    machine: Machine, impatient: bool, leaving: int, is_kept: bool
) -> None:
    """The workspace has spent the refresh token by then; who is gone before the next is saved has lost the login."""
    given = {"access_token": "new", "refresh_token": "r-new", "expires_in": 3600, "token_type": "Bearer"}
    answer = http(json.dumps(given).encode(), "200 OK", "Content-Type: application/json")
    refusal = http(b'{"error_code": "401"}', "401 Unauthorized", "Content-Type: application/json")
    held = Held(b"POST /oidc/v1/token", answer[:20], answer[20:], refusal)
    with held.server as workspace:
        path = machine.cached_login(workspace.url)
        argv = ("--host", workspace.url, "--serve", "--", PYTHON, "-c", ASKS)
        with going(machine, *argv, command=[PYTHON, *hasty(leaving), "exec"]) as process:
            assert held.asked.wait(30), "it has not begun to renew"
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
            if not is_kept:
                assert process.wait(30) == 5
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(3)
            if impatient:
                process.send_signal(signal.SIGINT)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)
            held.go.set()
            assert process.wait(30) == (130 if impatient else 5)
        kept = json.loads(path.read_text())["tokens"][workspace.url]
        assert (kept["refresh_token"] == "r-new") == is_kept


# ---- for longer than a token lives -----------------------------------------------------------------------------------

LONG = """
import sys, time
from databricks.sdk import WorkspaceClient
client, end, calls = WorkspaceClient(), time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    client.current_user.me()
    calls += 1
    time.sleep(0.3)
print(calls)
"""


def test_over_three_lifetimes_the_sdk_sees_no_error_and_with_a_static_token_it_does(machine: Machine) -> None:
    ttl = 8.0
    outcomes: dict[Mode, subprocess.CompletedProcess[str]] = {}

    def run(*mode: str) -> None:
        outcomes[mode] = done(machine, *mode, "--", PYTHON, "-c", LONG, str(3 * ttl + 1))

    with Sandbox(token_ttl=ttl) as sandbox:
        login = sandbox.add_login()
        machine.cached_login(sandbox.url, expiry="2001-01-01T00:00:00Z", refresh_token=login.refresh_token)
        machine.env["DATABRICKS_HOST"] = sandbox.url
        threads = [threading.Thread(target=run, args=mode) for mode in ((), ("--serve",))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(each.grant_type == "refresh_token" for each in sandbox.log) >= 3
    fresh, static = outcomes[("--serve",)], outcomes[()]
    assert fresh.returncode == 0 and int(fresh.stdout) > 10, fresh.stderr
    assert (static.returncode, static.stdout) == (1, "") and "databricks.sdk.errors" in static.stderr


# ---- on a terminal ---------------------------------------------------------------------------------------------------

TRAPS = """
import signal, sys, time
came = []
signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
print("ready", flush=True)
while not came:
    time.sleep(0.01)
time.sleep(0.5)
print("came", len(came), flush=True)
input("go on? ")
sys.exit(43)
"""


@contextmanager
def at_a_shell(machine: Machine) -> Iterator[Any]:
    """A shell with job control, as a person has it in a terminal."""
    env = machine.child_env(TERM="dumb", PS1="READY> ", HISTFILE="/dev/null", INPUTRC="/dev/null")
    shell = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], env=env, encoding="utf-8", timeout=30, echo=False)
    try:
        shell.expect_exact("READY> ")
        yield shell
    finally:
        shell.close(force=True)


def ended(shell: Any, code: int) -> str:
    """What was said until the shell is there again; it says that the command ended, or was stopped, with this code."""
    shell.expect_exact("READY> ")
    said = str(shell.before)
    shell.sendline("echo code $?")
    shell.expect_exact(f"code {code}")
    shell.expect_exact("READY> ")
    return said


@pytest.mark.real
@MODES
def test_ctrl_c_reaches_the_command_once_and_we_wait_for_it(ready: Machine, mode: Mode) -> None:
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", PYTHON, "-c", TRAPS))
        shell.expect_exact("ready")
        shell.sendintr()
        shell.expect_exact("came 1")
        shell.expect_exact("go on? ")
        shell.sendline("")
        ended(shell, 43)


@pytest.mark.real
@MODES
def test_ctrl_c_ends_a_command_that_takes_no_notice_of_it(ready: Machine, mode: Mode) -> None:
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", "sh", "-c", "echo ready; exec sleep 60"))
        shell.expect_exact("ready")
        shell.sendintr()
        assert "dbx-auth:" not in ended(shell, 130)


@pytest.mark.real
@MODES
def test_ctrl_z_stops_it_and_fg_goes_on(ready: Machine, mode: Mode) -> None:
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", PYTHON, "-c", "print('ready'); print('got', input()); raise SystemExit(44)"))
        shell.expect_exact("ready")
        for _ in range(2):
            shell.sendcontrol("z")
            shell.expect_exact("Stopped")
            ended(shell, 128 + signal.SIGTSTP)
            shell.sendline("fg")
            shell.expect_exact("exec")
        shell.sendline("a line")
        shell.expect_exact("got a line")
        ended(shell, 44)


@pytest.mark.real
@MODES
def test_in_the_background_it_runs_on_and_a_signal_to_the_job_ends_it(ready: Machine, mode: Mode) -> None:
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", "sh", "-c", "echo ready; exec sleep 60") + " &")
        shell.expect_exact("ready")
        shell.sendline("kill -STOP %1; sleep 0.5; jobs")
        shell.expect_exact("Stopped")
        shell.sendline("bg; sleep 0.5; kill %1; wait %1; echo code $?")
        shell.expect_exact("code 143")


@pytest.mark.real
@MODES
def test_a_command_that_stops_itself_stops_us_too(ready: Machine, mode: Mode) -> None:
    """As an editor does after it has put the screen right."""
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", "sh", "-c", "echo ready; kill -STOP $$; echo again; exit 45"))
        shell.expect_exact("Stopped")
        shell.expect_exact("READY> ")
        shell.sendline("fg")
        shell.expect_exact("again")
        ended(shell, 45)


@pytest.mark.real
@MODES
def test_a_command_may_ignore_ctrl_z(ready: Machine, mode: Mode) -> None:
    code = "import signal; signal.signal(signal.SIGTSTP, signal.SIG_IGN); print('ready'); print('got', input())"
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", PYTHON, "-c", code))
        shell.expect_exact("ready")
        shell.sendcontrol("z")
        time.sleep(0.3)
        shell.sendline("a line")
        shell.expect_exact("got")
        shell.expect_exact("READY> ")
        assert "Stopped" not in shell.before


@pytest.mark.real
@MODES
def test_a_shell_can_be_run_with_jobs_of_its_own(ready: Machine, mode: Mode) -> None:
    with at_a_shell(ready) as shell:
        shell.sendline(line(*mode, "--", "env", "PS1=INNER> ", "bash", "--norc", "--noprofile", "-i"))
        shell.expect_exact("INNER> ")
        shell.sendline("sh -c 'echo run''ning; exec sleep 60'")
        shell.expect_exact("running")
        shell.sendcontrol("z")
        shell.expect_exact("Stopped")
        shell.expect_exact("INNER> ")
        shell.sendline("fg")
        shell.expect_exact("exec sleep 60")
        time.sleep(0.5)
        shell.sendintr()
        shell.expect_exact("INNER> ")
        shell.sendline("suspend")
        shell.expect_exact("Stopped")
        shell.expect_exact("READY> ")
        shell.sendline("fg")
        shell.expect_exact("INNER> ")
        shell.sendline("exit 46")
        ended(shell, 46)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.real
@MODES
def test_nothing_stays_when_the_terminal_is_gone(ready: Machine, mode: Mode) -> None:
    argv = [*EXEC[1:], *mode, "--", "sh", "-c", "echo pid $$; sleep 60; echo"]
    person = pexpect.spawn(PYTHON, argv, env=ready.child_env(TERM="xterm"), encoding="utf-8", timeout=30)
    person.expect(r"pid (\d+)")
    theirs = int(person.match.group(1))
    os.close(person.child_fd)
    assert until(lambda: state(theirs) in ("", "Z"))
    person.wait()
    assert not person.isalive()
