"""`dbx-auth sandbox`: what it prints is enough to try everything, and Ctrl-C ends it."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys

import pytest
from machine import Machine

from dbx_auth.world import signals_held


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_each_line_that_the_sandbox_prints_logs_in(machine: Machine, number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "dbx_auth", "sandbox", "--port", "0", "--token-ttl", "90s"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=machine.child_env(), text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            assert server.stdout and server.stderr
            url = server.stdout.readline().strip()
            said = [server.stderr.readline() for _ in range(4)]
            assert "not Databricks" in said[0] and f"dbx-auth login {url}" in said[1]
            pat = said[2].split()[1]
            client_id, secret = said[3].split()[2:4]
            assert machine.run("login", url, "--with-token", stdin=pat).code == 0
            assert machine.run("login", url, "--method", "m2m", stdin=f"{client_id}\n{secret}\n").code == 0
            assert machine.run("token", "-o", "json").json()["expires_in"] <= 90
        finally:
            server.send_signal(number)
            assert server.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals, and a shell")
@pytest.mark.parametrize(("kind", "name"), [("unified", "unified host")])
def test_each_line_of_the_other_kinds_logs_in_too(machine: Machine, kind: str, name: str) -> None:
    argv = [sys.executable, "-m", "dbx_auth", "sandbox", "--kind", kind, "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=machine.child_env(), text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            assert server.stdout and server.stderr
            server.stdout.readline()
            assert f"an emulated {name}; this is not Databricks" in server.stderr.readline()
            lines = [server.stderr.readline() for _ in range(3)]
            for line in lines[1:]:  # the first is for a browser
                typed = line.replace("dbx-auth", shlex.join([sys.executable, "-m", "dbx_auth"]))
                done = subprocess.run(["sh", "-c", typed], env=machine.child_env(), capture_output=True, timeout=60)
                assert done.returncode == 0, (line, done.stderr)
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0


def test_a_port_that_is_taken_is_told_with_the_way_out(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = machine.run("sandbox", "--port", str(taken.getsockname()[1]))
    assert (said.code, said.out) == (5, "") and "hint: dbx-auth sandbox --port 0" in said.err


def test_without_its_extra_the_sandbox_says_how_to_get_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delitem(sys.modules, "dbx_auth.sandbox.app", raising=False)
    said = machine.run("sandbox", "--port", "0")
    assert (said.code, said.out) == (5, "") and "pip install 'dbx-auth[sandbox]'" in said.err


def test_signals_are_not_touched_in_a_thread() -> None:
    import threading

    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with signals_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
