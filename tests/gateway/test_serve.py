"""`dbx-auth serve` as a process: what it prints, how it begins, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from machine import Machine, hasty
from unit.stubs import ByteServer, http, nobody

from dbx_auth.sandbox import Sandbox

if sys.platform == "win32":
    pytest.skip("signals, and descriptors", allow_module_level=True)

A_KEY = "a-key-of-thirty-two-characters-00"
KEY = "DBX_AUTH_GATEWAY_KEY"
LLAMA = "databricks-llama-4-maverick"
BODY = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}]}
JSON = "Content-Type: application/json"


class Serving:
    """A gateway that runs as a process, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        self.url = process.stdout.readline().rstrip("\n")
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.said.extend(line.rstrip("\n") for line in iter(self.process.stderr.readline, ""))

    def line(self, word: str) -> str:
        """The first line of stderr with this word, which may still be on its way."""
        assert until(lambda: any(word in line for line in self.said)), (word, self.said)
        return next(line for line in self.said if word in line)

    @property
    def key(self) -> str:
        return self.line("their key: ").split()[-1]

    def client(self, key: str = A_KEY, **rest: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30, **rest)

    def ask(self, key: str = A_KEY) -> int:
        with self.client(key) as client:
            return client.post("/v1/chat/completions", json=BODY).status_code

    def ready(self) -> None:
        """It has said all that it says at the start, and waits for requests and signals."""
        self.line("their key: ")
        assert httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code, when it is asked to end."""
        self.process.send_signal(number)
        return self.code()

    def code(self) -> int:
        code = self.process.wait(30)
        self.heard()
        return code

    def heard(self) -> None:
        """Wait for its last word: nobody may close what is being read."""
        self._reader.join(10)


@contextmanager
def serving(
    machine: Machine, *argv: str, program: tuple[str, str] = ("-m", "dbx_auth"), **env: str
) -> Iterator[Serving]:
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    command = [sys.executable, *program, "serve", *argv]
    with subprocess.Popen(command, env=machine.child_env(**env), text=True, **pipes) as process:
        server = Serving(process)
        try:
            yield server
        finally:
            process.kill()
            server.heard()


def until(holds: Any, seconds: float = 20.0) -> bool:
    """Whether it holds before long."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(holds())


@pytest.fixture
def served(machine: Machine, sandbox: Sandbox) -> Machine:
    """A machine with a token for the sandbox, and a key."""
    machine.env.update({"DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat, KEY: A_KEY})
    return machine


# ---- how it begins ---------------------------------------------------------------------------------------------------


def test_the_first_line_is_the_address_and_it_answers_by_then(served: Machine) -> None:
    with serving(served) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.removeprefix("http://127.0.0.1:"))), 5):
            assert server.ask() == 200
        server.ready()
        assert server.end() == 0
        assert server.process.stdout and server.process.stdout.read() == "", "and there is no second line"


def test_it_says_to_whom_as_whom_and_what_clients_are_to_be_told(served: Machine, sandbox: Sandbox) -> None:
    with serving(served) as server:
        server.ready()
    assert server.said[0].startswith(f"a gateway to {sandbox.url}, as pat (env DATABRICKS_TOKEN)")
    assert any(f"OPENAI_BASE_URL={server.url}/v1" in line for line in server.said)
    assert any(line.endswith(f"ANTHROPIC_BASE_URL={server.url}") for line in server.said)
    assert any(line.endswith(f"GOOGLE_GEMINI_BASE_URL={server.url}") for line in server.said)
    assert sandbox.pat not in "\n".join(server.said)


def test_a_signal_right_after_the_address_ends_it_in_order(served: Machine) -> None:
    with serving(served) as server:
        assert server.end() == 0


def test_it_may_have_as_many_connections_open_as_the_system_allows(served: Machine) -> None:
    with serving(served) as server:
        server.ready()
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard


def test_a_key_that_somebody_has_is_not_printed(served: Machine) -> None:
    with serving(served) as server:
        server.ready()
        assert server.ask() == 200
        assert server.end() == 0
    assert A_KEY not in "\n".join(server.said) and server.line("their key").endswith(f"that of {KEY}")


def test_a_key_is_made_and_printed_where_nobody_has_one(served: Machine) -> None:
    del served.env[KEY]
    with serving(served) as one, serving(served) as other:
        assert len(one.key) == 43 and one.key != other.key
        assert [one.ask(one.key), one.ask(other.key)] == [200, 401]


def test_a_key_file_is_made_for_its_owner_alone_and_kept(served: Machine, tmp_path: Path) -> None:
    path = tmp_path / "new" / "gateway.key"
    for _ in range(2):
        with serving(served, "--key-file", str(path)) as server:
            server.ready()
            key = path.read_text().strip()
            assert server.ask(key) == 200 and server.ask() == 401, "it goes before the environment"
        assert path.stat().st_mode & 0o777 == 0o600 and key not in "\n".join(server.said)
        assert path.read_text().strip() == key


def test_of_several_who_make_a_key_file_at_once_all_have_the_same_key(served: Machine, tmp_path: Path) -> None:
    path = tmp_path / "gateway.key"
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(served, "--key-file", str(path))) for _ in range(4)]
        key = path.read_text().strip()
        assert [server.ask(key) for server in servers] == [200] * 4
    assert list(tmp_path.glob("gateway.key*")) == [path]


def test_a_key_that_others_may_read_is_told(served: Machine, tmp_path: Path) -> None:
    path = tmp_path / "gateway.key"
    path.write_text(f"{A_KEY}\n")
    path.chmod(0o644)
    with serving(served, "--key-file", str(path)) as server:
        server.ready()
        assert server.ask() == 200 and f"chmod 600 {path}" in server.line("others on this machine")


def test_a_key_file_in_the_home_directory_can_be_named_with_a_tilde(served: Machine) -> None:
    with serving(served, "--key-file", "~/gateway.key") as server:
        server.ready()
        assert server.ask((served.home / "gateway.key").read_text().strip()) == 200


def refused(machine: Machine, *argv: str) -> str:
    """What it says instead of serving, because of a file or a setting; nothing listens then."""
    said = machine.spawn("serve", *argv)
    assert (said.code, said.out) == (5, ""), said
    assert said.err.count("\n") == 2 and said.err.splitlines()[1].startswith("hint: "), said.err
    return said.err


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"two words of a key\n", b"\xff" * 40, b"x" * 15])
def test_a_key_file_that_has_no_key_is_refused_and_left_alone(served: Machine, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gateway.key"
    path.write_bytes(content)
    refused(served, "--key-file", str(path))
    assert path.read_bytes() == content


def test_a_key_file_that_cannot_be_read_or_made_is_refused(served: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "file" / "gateway.key", tmp_path / "pipe"):
        assert str(path) in refused(served, "--key-file", str(path))


@pytest.mark.parametrize("key", ["short", "x" * 15, "with spaces in it and long"])
def test_a_key_that_is_too_short_or_no_word_is_refused(served: Machine, key: str) -> None:
    served.env[KEY] = key
    said = refused(served)
    assert "16 characters" in said and key not in said.replace("spaces", "")


def test_a_port_that_is_taken_is_told_with_the_way_out(served: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(served, "--port", str(taken.getsockname()[1]))
    assert "hint: dbx-auth serve --port 0" in said


def test_a_port_can_be_chosen_and_is_free_again_at_once(served: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    for _ in range(2):
        with serving(served, "--port", str(port)) as server:
            assert server.url == f"http://127.0.0.1:{port}"
            server.ready()
            assert server.ask() == 200 and server.end() == 0


def test_without_a_login_nothing_listens(machine: Machine, sandbox: Sandbox) -> None:
    said = machine.spawn("serve", "--host", sandbox.url)
    assert (said.code, said.out) == (4, "") and f"hint: dbx-auth login {sandbox.url}" in said.err


def test_without_a_token_nothing_listens_either(machine: Machine) -> None:
    with nobody() as url:
        machine.cached_login(url, expiry="2001-01-01T00:00:00Z")
        said = machine.spawn("serve", "--host", url)
    assert (said.code, said.out) == (6, "")


def test_without_its_extra_it_says_how_to_get_it(served: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    monkeypatch.delitem(sys.modules, "dbx_auth.gateway.relay", raising=False)
    said = served.run("serve")
    assert (said.code, said.out) == (5, "") and "pip install 'dbx-auth[gateway]'" in said.err


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_it_leaves_no_core_dump_and_other_processes_cannot_read_it(served: Machine) -> None:
    with serving(served) as server:
        server.ready()
        limits, unread = Path(f"/proc/{server.process.pid}/limits").read_text(), f"/proc/{server.process.pid}/environ"
        [core] = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core == ["0", "0"] and os.stat(unread).st_uid == 0


def test_it_listens_on_this_machine_alone(served: Machine) -> None:
    with serving(served) as server:
        port = int(server.url.rpartition(":")[2])
        for address in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):
                socket.create_connection((address, port), 2)


# ---- the metadata service --------------------------------------------------------------------------------------------


def test_the_sdk_works_with_the_line_that_is_printed(served: Machine, sandbox: Sandbox) -> None:
    probe = "from databricks.sdk import WorkspaceClient; print(WorkspaceClient().current_user.me().user_name)"
    with serving(served, "--metadata") as server:
        exported = server.line("DATABRICKS_METADATA_SERVICE_URL").rpartition("export ")[2]
        name, _, value = exported.partition("=")
        env = {k: v for k, v in served.child_env().items() if not k.startswith(("DATABRICKS_", "DBX_AUTH"))}
        env |= {name: value, "DATABRICKS_HOST": sandbox.url, "DATABRICKS_AUTH_TYPE": "metadata-service"}
        done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == sandbox.user, done.stderr


def test_without_the_option_there_is_no_such_line(served: Machine) -> None:
    with serving(served) as server:
        server.ready()
    assert not [line for line in server.said if "METADATA" in line]


# ---- the live line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [(), ("--quiet",)])
def test_in_a_pipe_there_is_no_line_for_a_request(served: Machine, argv: tuple[str, ...]) -> None:
    with serving(served, *argv) as server:
        server.ready()
        assert server.ask() == 200 and server.ask("wrong") == 401
        assert server.end() == 0
    assert not [line for line in server.said if "POST" in line or " ms" in line]


@pytest.mark.real
@pytest.mark.parametrize("quiet", [False, True], ids=["live", "quiet"])
def test_on_a_terminal_there_is_one_unless_it_is_to_be_quiet(served: Machine, sandbox: Sandbox, quiet: bool) -> None:
    import pexpect

    argv = ["-m", "dbx_auth", "serve", *(["--quiet"] if quiet else [])]
    env = served.child_env(TERM="xterm")
    person = pexpect.spawn(sys.executable, argv, env=env, encoding="utf-8", timeout=30, dimensions=(40, 200))
    try:
        person.expect(r"(http://127\.0\.0\.1:\d+)")
        url = person.match.group(1)
        person.expect("their key: .*\n")
        said = {**BODY, "messages": [{"role": "user", "content": "a-confession"}]}
        headers = {"Authorization": f"Bearer {A_KEY}"}
        httpx.post(f"{url}/v1/responses", json={"model": LLAMA, "input": "hi"}, headers=headers, trust_env=False)
        httpx.post(f"{url}/v1/chat/completions?x=s3cret", json=said, headers=headers, trust_env=False)
        httpx.get(f"{url}/nothing?key={A_KEY}", trust_env=False)
        if not quiet:
            person.expect(rf"200 POST /v1/responses {LLAMA} \d+ ms \(responses → chat")
            person.expect("404 GET /nothing")
        person.sendintr()
        person.expect(pexpect.EOF)
        shown = person.before
        person.close()
    finally:
        person.close(force=True)
    assert person.exitstatus == 0
    assert ("POST" in shown) is False and "a-confession" not in shown
    assert A_KEY not in shown and "s3cret" not in shown and sandbox.pat not in shown


# ---- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_when_it_is_asked_to(served: Machine, number: int) -> None:
    with serving(served) as server:
        server.ready()
        assert server.ask() == 200
        assert server.end(number) == 0
    assert "Traceback" not in "\n".join(server.said)


def stream_head(first: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + _chunk(first)
    )


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


FIRST, REST = b'data: {"choices": [{"index": 0, "delta": {"content": "first"}}]}\n\n', b"data: [DONE]\n\n"


class Held:
    """A workspace that has no lists, and holds the answer to a path back from the middle of it on until `go`.

    `otherwise` is what it answers to other calls.
    """

    def __init__(self, path: bytes, begin: bytes, rest: bytes, otherwise: bytes = b"") -> None:
        self.path, self.begin, self.rest, self.otherwise = path, begin, rest, otherwise
        self.asked, self.go = threading.Event(), threading.Event()
        self.server = ByteServer(self)

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        request = self.server.requests[-1]
        if self.path in request.partition(b"\r\n")[0]:
            connection.sendall(self.begin)
            self.asked.set()
            self.go.wait(40)
            connection.sendall(self.rest)
        elif request.startswith(b"POST"):
            connection.sendall(self.otherwise)
        else:
            connection.sendall(http(b"{}", "404 Not Found", JSON))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_that_has_begun_is_finished_first(machine: Machine, number: int) -> None:
    held = Held(b"/chat/completions", stream_head(FIRST), _chunk(REST) + b"0\r\n\r\n")
    with held.server as workspace:
        machine.env.update({"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": "dapi", KEY: A_KEY})
        with serving(machine) as server, server.client() as client:
            server.ready()
            with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                pieces = answer.iter_text()
                assert "first" in next(pieces)
                server.process.send_signal(number)
                assert until(lambda: is_deaf(server.url)), "no new connection is taken meanwhile"
                held.go.set()
                assert "[DONE]" in "".join(pieces)
            assert server.code() == 0


def test_a_stream_without_end_is_cut_off_after_a_while(machine: Machine) -> None:
    held = Held(b"/chat/completions", stream_head(FIRST), b"")
    with held.server as workspace:
        machine.env.update({"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": "dapi", KEY: A_KEY})
        with serving(machine) as server, server.client() as client:
            server.ready()
            with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                assert "first" in next(answer.iter_text())
                assert server.end() == 0
        held.go.set()


def is_deaf(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("signals", "leaving", "is_kept"),
    [(1, 35, True), (2, 35, True), (1, 0, False)],
    ids=["asked once", "asked twice", "without patience the login is lost"],
)
def test_it_does_not_leave_in_the_middle_of_a_refresh(
    machine: Machine, signals: int, leaving: int, is_kept: bool
) -> None:
    """The workspace has spent the refresh token by then; who is gone before the next is saved has lost the login."""
    given = {"access_token": "new", "refresh_token": "r-new", "expires_in": 3600, "token_type": "Bearer"}
    answer = http(json.dumps(given).encode(), "200 OK", JSON)
    refusal = http(b'{"error_code": "401"}', "401 Unauthorized", JSON)
    held = Held(b"POST /oidc/v1/token", answer[:20], answer[20:], refusal)
    with held.server as workspace:
        path = machine.cached_login(workspace.url)
        machine.env.update({"DATABRICKS_HOST": workspace.url, KEY: A_KEY})
        with serving(machine, program=hasty(leaving)) as server:
            server.ready()
            threading.Thread(target=provoke, args=(server,), daemon=True).start()
            assert held.asked.wait(20), "it has not begun to renew"
            server.process.send_signal(signal.SIGTERM)
            if is_kept:
                for more in range(1, signals + 1):
                    with pytest.raises(subprocess.TimeoutExpired):
                        server.process.wait(3)
                    if more < signals:
                        server.process.send_signal(signal.SIGTERM)
            else:
                server.process.wait(20)
            held.go.set()
            assert server.code() == 0
        kept = json.loads(path.read_text())["tokens"][workspace.url]
        assert (kept["refresh_token"] == "r-new") == is_kept


def provoke(server: Serving) -> None:
    """A request whose token is refused."""
    with contextlib.suppress(httpx.HTTPError):
        server.ask()


def test_it_ends_with_its_parent(served: Machine) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with parent, serving(served, "--parent", str(parent.pid)) as server:
        server.ready()
        assert server.ask() == 200
        parent.communicate(b"\n", 20)
        assert server.code() == 0
    assert "Traceback" not in "\n".join(server.said)


def test_it_ends_at_once_when_its_parent_has_gone_already(served: Machine) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(20)
    with serving(served, "--parent", str(gone.pid)) as server:
        assert server.code() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_parent_that_nobody_has_taken_note_of_has_ended(served: Machine) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
    with serving(served, "--parent", str(parent.pid)) as server:
        assert server.code() == 0
    parent.wait(20)


# ---- for long, and with many -----------------------------------------------------------------------------------------


def test_a_client_that_runs_for_three_lifetimes_of_a_token_sees_no_error(machine: Machine) -> None:
    ttl = 8.0
    with Sandbox(token_ttl=ttl) as sandbox:
        login = sandbox.add_login()
        machine.cached_login(sandbox.url, expiry="2001-01-01T00:00:00Z", refresh_token=login.refresh_token)
        machine.env.update({"DATABRICKS_HOST": sandbox.url, KEY: A_KEY})
        with serving(machine) as server, server.client() as client:
            server.ready()
            end, statuses = time.monotonic() + 3 * ttl + 1, []
            while time.monotonic() < end:
                statuses.append(client.post("/v1/chat/completions", json=BODY).status_code)
                stream = client.post("/v1/messages", json={**BODY, "max_tokens": 9, "stream": True})
                statuses.append(stream.status_code)
                assert "message_stop" in stream.text
                time.sleep(0.25)
            assert set(statuses) == {200}
            assert server.end() == 0
        used = {each.status for each in sandbox.log if each.path.startswith("/serving-endpoints")}
        assert 200 in used and sum(each.grant_type == "refresh_token" for each in sandbox.log) >= 3


def test_ten_thousand_idle_connections_do_not_keep_an_honest_client_out(served: Machine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 12_000) if hard != resource.RLIM_INFINITY else 12_000
    if wanted < 10_500:
        pytest.skip("not so many files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle: list[socket.socket] = []
    try:
        with serving(served) as server:
            server.ready()
            address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            for number in range(10_000):
                connection = socket.create_connection(address, 20)
                idle.append(connection)
                if number % 2:
                    connection.sendall(b"POST /v1/chat")
            assert [server.ask() for _ in range(10)] == [200] * 10
            for connection in idle:
                connection.settimeout(30)
                with contextlib.suppress(ConnectionError):
                    assert connection.recv(1) == b"", "it closes them"
            assert server.ask() == 200 and server.end() == 0
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
