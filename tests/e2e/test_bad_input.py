"""Whatever is wrong: one line, a hint and the right exit code; no traceback, no secret, and no file is changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine, Result

from dbx_auth.sandbox import Sandbox

SECRETS = ("hunter2", "dapi-secret", "r-secret")


def check(result: Result, code: int, *words: str) -> None:
    assert (result.code, result.out) == (code, ""), result
    message, hint = result.err.splitlines()
    assert message.startswith("dbx-auth: ") and hint.startswith("hint: ") and len(hint) > 8
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.err and not [s for s in SECRETS if s in result.err]


GOOD_ENTRY = {"type": "api", "key": "dapi-secret", "host": HOST}
HALF = json.dumps({"databricks": GOOD_ENTRY}, indent=1)[:40]

PROFILES: dict[str, tuple[bytes | None, int, str]] = {
    "not utf-8": (b"[DEFAULT]\nhost = caf\xe9\n", 5, "line 2"),
    "half a section": (b"[DEFAULT\nhost = x\n", 5, "line 1"),
    "half a line": (b"[DEFAULT]\nhost = https://x.cloud.databricks.com\ntok", 5, "line 3"),
    "huge": (b"# " + b"x" * (50 << 20), 5, "larger than"),
    "binary": (b"[A]\n\x00\x01\x02\n", 5, "line 2"),
    "a directory": (None, 5, "cannot be read"),
    "empty": (b"", 4, "is set up"),
    "only comments": (b"# nothing\n; at all\n", 4, "is set up"),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_file_that_cannot_be_used(machine: Machine, name: str) -> None:
    content, code, words = PROFILES[name]
    if content is None:
        machine.config.mkdir()
    else:
        machine.write(machine.config, content)
    before = machine.files()
    check(machine.run("token"), code, words)
    assert machine.files() == before


def test_a_profile_file_with_a_bom_and_sections_twice_is_read(machine: Machine) -> None:
    text = f"\ufeff[DEV]\r\nhost = {HOST}\r\n\r\n[OTHER]\r\nhost=x\r\n[DEV]\r\ntoken = dapi-secret ; mine\r\n"
    machine.write(machine.config, text)
    assert machine.run("token", "-p", "DEV").out == "dapi-secret\n"


STORES: dict[str, tuple[bytes | None, str]] = {
    "empty": (b"", "line 1"),
    "not utf-8": (b'{\n"\xff": 1}', "line 2"),
    "half-written": (HALF.encode(), "line"),
    "a list": (b"[]", "not a JSON object"),
    "nul bytes": (b"\x00" * 100, "not JSON"),
    "huge": (b" " * (50 << 20), "larger than"),
    "deep": (b'{"a":' * 200_000, "not JSON"),
    "a directory": (None, "cannot be read"),
}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("store", ["auth.json", "token-cache.json"])
def test_a_store_that_cannot_be_used(machine: Machine, store: str, name: str) -> None:
    content, words = STORES[name]
    path = machine.auth_json if store == "auth.json" else machine.cli_cache
    if content is None:
        path.mkdir(parents=True)
    else:
        machine.write(path, content)
    machine.env["DATABRICKS_HOST"] = HOST
    before = machine.files()
    check(machine.run("token"), 5, store, words)
    assert machine.files() == before


@pytest.mark.parametrize("name", STORES)
def test_a_damaged_store_disables_that_store_alone(machine: Machine, sandbox: Sandbox, name: str) -> None:
    content, _ = STORES[name]
    if content is None:
        machine.auth_json.mkdir(parents=True)
    else:
        machine.write(machine.auth_json, content)
    machine.env["DATABRICKS_HOST"] = sandbox.url
    machine.cached_login(sandbox.url, access_token=sandbox.add_login().access_token)
    before = machine.files()
    assert machine.run("token").code == 0
    (stored,) = (a for a in machine.run("status", "-o", "json").json()["attempts"] if a["auth_type"] == "stored")
    assert stored["outcome"] == "failed" and "auth.json" in stored["reason"]
    assert machine.files() == before


def test_a_login_does_not_overwrite_a_damaged_store(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, HALF)
    before = machine.files()
    check(machine.run("login", sandbox.url, "--with-token", stdin=sandbox.pat), 5, "auth.json")
    assert machine.files() == before


def test_nobody_is_sent_to_the_browser_for_a_login_that_cannot_be_kept(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, HALF)
    check(machine.run("login", sandbox.url, "--method", "browser", "--timeout", "1"), 5, "auth.json")
    assert machine.browsed == [] and [r for r in sandbox.log if r.method == "POST"] == []


@pytest.mark.parametrize(("version", "said"), [(2, "2"), (0, "0"), ("1", "something else"), (None, "something else")])
def test_a_cache_of_another_version_is_left_alone(machine: Machine, version: object, said: str) -> None:
    machine.write(machine.cli_cache, json.dumps({"version": version, "tokens": {HOST: {"access_token": "x"}}}))
    machine.env["DATABRICKS_HOST"] = HOST
    before = machine.files()
    check(machine.run("token"), 5, "version 1", f"is version {said}", "dbx-auth doctor --fix")
    assert machine.files() == before


@pytest.mark.parametrize("entry", [None, [], "x", 7, {}, {"access_token": 5}, {"expiry": "?"}, {"refresh_token": {}}])
def test_a_malformed_entry_is_not_fatal_to_the_others(machine: Machine, sandbox: Sandbox, entry: object) -> None:
    machine.write(machine.cli_cache, json.dumps({"version": 1, "tokens": {sandbox.url: entry}}))
    entries = {"databricks": entry, "databricks:x": entry, "github": entry}
    machine.write(machine.auth_json, json.dumps(entries))
    machine.env["DATABRICKS_HOST"] = sandbox.url
    before = machine.files()
    check(machine.run("token"), 4)
    machine.env["DATABRICKS_TOKEN"] = sandbox.pat
    assert machine.run("token").code == 0
    assert machine.files() == before


def test_a_profile_that_does_not_exist_names_those_that_do(machine: Machine) -> None:
    machine.write(
        machine.config, f"[DEV]\nhost = {HOST}\ntoken=dapi-secret\n[PROD]\nhost = {HOST}\n[__settings__]\na=b\n"
    )
    check(machine.run("token", "-p", "STAGE"), 5, "STAGE", "DEV, PROD")
    check(machine.run("-p", "STAGE", "status"), 5, "DEV, PROD")
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "STAGE"
    check(machine.run("models"), 5, "DEV, PROD")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("https://x.cloud.databricks.com/sql/warehouses", "https://x.cloud.databricks.com"),
        ("https://x.cloud.databricks.com\nevil", "control character"),
        ("https://user:hunter2@x.cloud.databricks.com", "user name"),
        ("http://x.cloud.databricks.com", "must use https"),
        ("ftp://x.cloud.databricks.com", "must use https"),
        ("https://", "not a host"),
        ("https://x y", "white space"),
        ("https://evil.com#.cloud.databricks.com", "https://evil.com"),
        ("https://xn--dbricks-\u0430.com", "not a host"),
    ],
)
def test_a_host_that_is_none(machine: Machine, host: str, words: str) -> None:
    check(machine.run("token", "--host", host), 2, words)
    machine.env["DATABRICKS_HOST"] = host
    check(machine.run("status"), 5, words, "DATABRICKS_HOST")


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "caf\u00e9", "esc\x1b[31m"])
def test_a_token_that_no_header_can_carry(machine: Machine, token: str) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN=token)
    check(machine.run("token"), 5, "DATABRICKS_TOKEN")


# ---- what servers answer ---------------------------------------------------------------------------------------------

HTML = "<!doctype html><title>Sign in</title>"
ANSWERS: dict[str, tuple[int, str]] = {
    "html": (200, HTML),
    "empty": (200, ""),
    "a list": (200, "[]"),
    "half": (200, '{"access_token": "a'),
    "error in a 200": (200, '{"error": "invalid_request", "error_description": "no"}'),
    "no token": (200, '{"token_type": "Bearer"}'),
    "a token of another kind": (200, '{"access_token": "a", "token_type": "MAC"}'),
    "a token with a line break": (200, '{"access_token": "a\\nb", "token_type": "Bearer"}'),
    "html 403": (403, HTML),
    "html 502": (502, HTML),
    "too many": (429, "{}"),
    "refused": (400, '{"error": "invalid_grant", "error_description": "\\u001b]52;c;a\\u0007 it is invalid"}'),
    "unknown client": (401, '{"error": "invalid_client"}'),
}  # fmt: skip


@contextmanager
def server(status: int, body: str | Iterator[bytes]) -> Iterator[str]:
    """A server that answers everything in one way; discovery is left to its fall-back."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if ".well-known" in self.path:
                self.send_error(404)
                return
            self.send_response(status)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                if isinstance(body, str):
                    self.wfile.write(body.encode())
                else:
                    for piece in body:
                        self.wfile.write(piece)
            except OSError:
                pass

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client has gone; that is what these tests are about."""

    httpd = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()


def expired(machine: Machine, host: str) -> None:
    machine.env["DATABRICKS_HOST"] = host
    machine.cached_login(host, expiry="2020-01-01T00:00:00Z", refresh_token="r-secret")


@pytest.mark.parametrize("name", ANSWERS)
def test_a_token_endpoint_that_answers_nonsense(machine: Machine, name: str) -> None:
    status, body = ANSWERS[name]
    unread = dict.fromkeys(("html", "empty", "a list", "half"), 6)  # whether it was heard is not known
    code = {"refused": 4, "html 502": 6, "too many": 6, **unread}.get(name, 1)
    with server(status, body) as host:
        expired(machine, host)
        before = machine.files()
        check(machine.run("token"), code, host)
    assert machine.files() == before


@pytest.mark.parametrize("name", ["html", "empty", "a list", "html 502", "html 403"])
def test_an_endpoint_list_that_is_none(machine: Machine, name: str) -> None:
    status, body = ANSWERS[name]
    with server(status, body) as host:
        machine.env.update(DATABRICKS_HOST=host, DATABRICKS_TOKEN="dapi-secret")
        check(machine.run("models"), 6 if status == 502 else 1, host)


def drip() -> Iterator[bytes]:
    for _ in range(60):
        time.sleep(0.1)
        yield b" "


def flood() -> Iterator[bytes]:
    for _ in range(64):
        yield b"x" * (1 << 20)


def test_a_huge_answer_is_cut_off(machine: Machine) -> None:
    with server(200, flood()) as host:
        expired(machine, host)
        check(machine.run("token"), 1, "more than")


def test_a_slow_answer_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbx_auth.refresh.BUDGET", 0.8)
    with server(200, drip()) as host:
        expired(machine, host)
        before = machine.files()
        check(machine.run("token"), 6, "within 0.8 s")
    assert machine.files() == before


@pytest.mark.parametrize(
    ("endpoints", "shown"),
    [
        ("{}", 0),
        ('{"endpoints": null}', 0),
        ('{"endpoints": []}', 0),
        ('{"endpoints": {"a": 1}}', 0),
        ('{"endpoints": [null, 1, "x", [], {}]}', 0),
        ('{"endpoints": [{"name": "databricks-claude-sonnet-4-5"}], "next": {"unknown": true}}', 1),
        (
            '{"endpoints": [{"name": "databricks-gpt-5", "task": "llm/v1/chat", "state": null, "config": 5}]}',
            1,
        ),
    ],
)
def test_an_endpoint_list_with_unknown_and_missing_fields(machine: Machine, endpoints: str, shown: int) -> None:
    with server(200, endpoints) as host:
        machine.env.update(DATABRICKS_HOST=host, DATABRICKS_TOKEN="dapi-secret")
        listed = machine.run("models", "--all", "-o", "names")
        assert (listed.code, len(listed.out.splitlines())) == (0, shown), listed
        assert machine.run("models", "-o", "json").json()["models"] is not None


def test_a_workspace_that_will_not_say_who_asks_is_still_one(machine: Machine, tmp_path: Path) -> None:
    class Workspace(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ok = self.path == "/api/2.0/serving-endpoints"
            self.send_response(200 if ok else 404)
            self.end_headers()
            self.wfile.write(b'{"endpoints": []}' if ok else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Workspace)
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    host = f"http://127.0.0.1:{httpd.server_address[1]}"
    try:
        said = machine.run("login", host, "--with-token", stdin="dapi-secret")
    finally:
        httpd.shutdown()
        httpd.server_close()
    assert said.code == 0 and f"logged in to {host}\n" in said.err


@pytest.mark.parametrize(
    "argv", [["tokne"], ["token", "--nope"], ["token", "-o", "xml"], ["login", "--method", "x"], []]
)
def test_a_command_line_that_is_none(machine: Machine, argv: list[str]) -> None:
    said = machine.run(*argv)
    assert said.code == 2 and "Traceback" not in said.err
    if argv:
        check(said, 2, "--help")
