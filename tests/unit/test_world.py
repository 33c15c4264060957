"""The door to the outside, on real sockets, real processes and real file descriptors."""

from __future__ import annotations

import base64
import datetime
import gzip
import io
import json
import logging
import os
import re
import shlex
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import platformdirs
import pytest
import trustme
from hypothesis import given, settings, strategies as st
from unit.stubs import ByteServer, Script, drip, flood, http, nobody, reset, silence

from dbx_auth import __version__, world as world_module
from dbx_auth.errors import AuthError, ConfigError, InDoubt, Refused, Temporary, Unreachable
from dbx_auth.world import Ended, Http, Response, World, asked_to_end, end_in_order, flat, open_browser, printable, tell

URL = "https://dev.cloud.databricks.com/oidc"
BUDGET = 0.3
"""Seconds for a server that never gets done."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


# ---- an answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (201, True), (204, True), (299, True), (199, False), (300, False), (302, False)]
)
def test_an_answer_is_good_when_its_status_says_so(status: int, ok: bool) -> None:
    assert Response(URL, status, {}, b"").ok is ok


@pytest.mark.parametrize("body", [b"{}", b' {"a": 1}\n', b'\xef\xbb\xbf{"a": 1}', '{"a": "ü"}'.encode("utf-16")])
def test_a_body_that_is_an_object_is_one(body: bytes) -> None:
    assert isinstance(Response(URL, 200, {}, body).object(), dict)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "nothing"),
        (b" \r\n", "nothing"),
        (b"<html>canary</html>", "something that is not a JSON object"),
        (b"null", "something that is not a JSON object"),
        (b"[]", "something that is not a JSON object"),
        (b'"canary"', "something that is not a JSON object"),
        (b'{"a": "canary', "something that is not a JSON object"),
        (b"\xff\xfe\xfd", "something that is not a JSON object"),
        (gzip.compress(b"{}", mtime=0), "something that is not a JSON object"),
        (b"[" * 100_000, "something that is not a JSON object"),
        (b'{"a": ' * 100_000, "something that is not a JSON object"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "something that is not a JSON object"),
    ],
)
def test_any_other_body_is_refused_without_being_repeated(body: bytes, what: str) -> None:
    with pytest.raises(Refused) as refused:
        Response(URL, 200, {}, body).object()
    assert str(refused.value) == f"{URL} answered 200 with {what}"
    assert "dbx-auth status" in refused.value.hint


# ---- a request on the wire -----------------------------------------------------------------------------------------


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode("ascii").split("\r\n")
    return line, {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}, body


def test_a_get_asks_for_json_that_is_not_compressed_and_says_who_we_are() -> None:
    with ByteServer(http(b'{"a": 1}')) as server:
        answer = Http({})("GET", f"{server.url}/path?q=1")
    line, headers, body = parsed(server.requests[0])
    assert (line, body) == ("GET /path?q=1 HTTP/1.1", b"")
    headers.pop("connection")
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"dbx-auth/{__version__}",
    }
    assert answer.object() == {"a": 1}
    assert (answer.url, answer.status) == (f"{server.url}/path?q=1", 200)


def test_a_form_is_encoded_so_that_nothing_in_it_means_something() -> None:
    with ByteServer(http()) as server:
        Http({})("POST", f"{server.url}/token", form={"a": "1&b=2", "ü": "+ /=%\r\n", "empty": ""})
    line, headers, body = parsed(server.requests[0])
    assert line == "POST /token HTTP/1.1"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert body == b"a=1%26b%3D2&%C3%BC=%2B+%2F%3D%25%0D%0A&empty="


def test_headers_of_the_caller_are_sent_and_win() -> None:
    with ByteServer(http()) as server:
        Http({})("GET", server.url, headers={"Authorization": "Bearer t", "Accept": "text/plain"})
    headers = parsed(server.requests[0])[1]
    assert (headers["authorization"], headers["accept"]) == ("Bearer t", "text/plain")


@pytest.mark.parametrize("status", ["201 Created", "400 Bad Request", "401 Unauthorized", "404 Not Found", "503 Busy"])
def test_an_answer_is_returned_whatever_its_status(status: str) -> None:
    with ByteServer(http(b"<html>", status, "X-Request-ID: 7", "Set-Cookie: a=b")) as server:
        answer = Http({})("GET", server.url)
    assert (answer.status, answer.body) == (int(status[:3]), b"<html>")
    assert answer.headers["x-request-id"] == "7"


def test_an_answer_without_a_body_has_an_empty_one() -> None:
    with ByteServer(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert Http({})("GET", server.url).body == b""


def test_chunks_are_put_together() -> None:
    with ByteServer(CHUNKED + b'5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n') as server:
        assert Http({})("GET", server.url).object() == {"a": 1}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("same", [True, False])
def test_a_redirect_is_an_answer_and_never_followed(status: str, same: bool) -> None:
    with ByteServer(http()) as other, ByteServer(http()) as server:
        server.answer = http(b"", status, f"Location: {(server if same else other).url}/elsewhere")
        answer = Http({})("POST", server.url, form={"refresh_token": "r"}, headers={"Authorization": "Bearer t"})
    assert answer.status == int(status[:3])
    assert (len(server.requests), len(other.requests)) == (1, 0)


def test_a_body_that_is_compressed_all_the_same_is_left_so() -> None:
    # 300 MB of zeros fit into 300 kB.
    packed = gzip.compress(bytes(1_000_000))
    with ByteServer(http(packed, "200 OK", "Content-Encoding: gzip")) as server:
        assert Http({})("GET", server.url).body == packed


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000])
def test_a_body_within_the_limit_is_returned_whole(size: int) -> None:
    with ByteServer(http(b"x" * size)) as server:
        assert len(Http({})("GET", server.url, limit=100_000).body) == size


@pytest.mark.parametrize(
    "answer",
    [
        http(b"x" * 100_001),
        flood(ENDLESS, b"x" * 10_000),
        flood(CHUNKED, b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
        flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000),
    ],
    ids=["one too many", "a gigabyte", "endless chunks", "no length at all"],
)
def test_a_body_beyond_the_limit_is_refused(answer: bytes | Script) -> None:
    with ByteServer(answer) as server:
        with pytest.raises(Refused, match="^http://127.0.0.1:[0-9]+ answered with more than 100000 bytes"):
            Http({})("GET", server.url, limit=100_000)


# ---- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        silence,
        drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        drip(b"", b" "),
        drip(ENDLESS, b"x"),
        drip(CHUNKED, b"1\r\nx\r\n"),
        drip(CHUNKED, b"0"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "headers", "spaces", "body", "chunks", "the length of a chunk", "continue"],
)
def test_a_server_that_never_gets_done_costs_no_more_than_the_budget(script: Script) -> None:
    with ByteServer(script) as server:
        start = time.monotonic()
        with pytest.raises(InDoubt) as late:
            Http({})("POST", server.url, form={"a": "canary"}, headers={"X": "canary"}, budget=BUDGET)
        assert time.monotonic() - start < 10 * BUDGET
    assert "canary" not in str(late.value)
    assert late.value.retryable
    eventually(lambda: not asking(server))


@pytest.mark.parametrize("script", [silence, drip(ENDLESS, b"x")], ids=["silence", "body"])
def test_the_thread_of_a_request_that_took_too_long_ends_by_itself(script: Script) -> None:
    with ByteServer(script) as server:
        with pytest.raises(InDoubt, match=f"^no complete answer from {server.url} within 0.3 s$"):
            Http({})("GET", server.url, budget=BUDGET)
        eventually(lambda: not asking(server))


def asking(server: ByteServer) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith(server.url)]


def test_a_request_under_way_never_keeps_the_process_alive() -> None:
    with ByteServer(drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")) as server:
        with pytest.raises(Temporary):
            Http({})("GET", server.url, budget=BUDGET)
        (thread,) = asking(server)
        assert thread.daemon


def test_a_name_lookup_that_hangs_costs_no_more_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*ignored: object, **rest: object) -> list[Any]:
        over.wait(10)
        raise socket.gaierror("nobody knows")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(InDoubt, match="no complete answer from http://localhost:9 within 0.3 s"):
        Http({})("GET", "http://localhost:9", budget=BUDGET)
    assert time.monotonic() - start < 10 * BUDGET
    over.set()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "GET http://localhost:9"])


# ---- what a network does -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        reset(b""),
        reset(ENDLESS + b"x" * 100),
        reset(CHUNKED + b"5\r\nab"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        CHUNKED + b"5\r\nab",
        CHUNKED + b"garbage\r\n",
        CHUNKED + b"-5\r\nab",
        b"garbage",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_a_broken_answer_leaves_in_doubt_what_the_server_did(answer: bytes | Script) -> None:
    with ByteServer(answer) as server:
        with pytest.raises(InDoubt) as broken:
            Http({})("POST", server.url, form={"a": "canary"}, headers={"X": "canary"}, budget=5)
    assert str(broken.value).startswith(f"{server.url} broke off: ")
    assert len(str(broken.value)) > len(f"{server.url} broke off: "), "there is always a reason"
    assert "canary" not in str(broken.value)
    assert broken.value.hint == "try again, or check the network"


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError])
@pytest.mark.parametrize("reason", ["no way there", ""])
def test_where_no_connection_came_about_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError], reason: str
) -> None:
    with failing(monkeypatch, error(reason)), pytest.raises(Unreachable) as away:
        Http({})("POST", "http://127.0.0.1:9/a")
    why = "no connection in time" if error is httpx.ConnectTimeout else reason or error.__name__
    assert str(away.value) == f"cannot reach http://127.0.0.1:9/a: {why}"
    assert away.value.hint == "check the network and the host, then try again"


@pytest.mark.parametrize("error", [httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError])
def test_whatever_else_goes_wrong_on_the_way_may_have_been_heard(
    monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError]
) -> None:
    with failing(monkeypatch, error("half way")), pytest.raises(InDoubt) as broken:
        Http({})("POST", "http://127.0.0.1:9/a")
    assert str(broken.value) == "http://127.0.0.1:9/a broke off: half way"


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout])
def test_silence_may_have_been_heard(monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError]) -> None:
    with failing(monkeypatch, error("")), pytest.raises(InDoubt) as silent:
        Http({})("POST", "http://127.0.0.1:9/a", budget=12.3456)
    assert str(silent.value) == "no complete answer from http://127.0.0.1:9/a within 12.3 s"


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    """Every request fails like this."""

    def stream(*args: object, **rest: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(httpx.Client, "stream", stream)
        yield


def test_a_connection_takes_five_seconds_at_most_and_all_of_it_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[httpx.Timeout] = []
    real = httpx.Client

    def client(**how: Any) -> httpx.Client:
        given.append(how["timeout"])
        return real(**how)

    monkeypatch.setattr(httpx, "Client", client)
    with ByteServer(http()) as server:
        for budget in (30, 2):
            Http({})("GET", server.url, budget=budget)
    assert [(each.connect, each.read, each.write) for each in given] == [(5, 30, 30), (2, 2, 2)]


# ---- each request told ---------------------------------------------------------------------------------------------


def test_each_request_is_told_in_one_line_without_a_secret() -> None:
    told: list[str] = []
    ask = Http({}, told.append)
    with ByteServer(http(b"{}", "404 Not Found")) as server:
        ask("GET", f"{server.url}/a?code=canary#canary", headers={"X": "canary"})
    with ByteServer(b"garbage") as broken, pytest.raises(InDoubt):
        ask("POST", f"{broken.url}/b?x=canary", form={"a": "canary"})
    with pytest.raises(Unreachable):
        ask("GET", server.url)
    lines = [re.sub(r": \d+\.\d{3} s: ", " took a while: ", line) for line in told]
    assert lines == [
        f"GET {server.url}/a took a while: 404, 2 bytes",
        f"POST {broken.url}/b took a while: InDoubt",
        f"GET {server.url} took a while: Unreachable",
    ]


def test_one_that_takes_too_long_is_told_too() -> None:
    told: list[str] = []
    with ByteServer(silence) as server, pytest.raises(InDoubt):
        Http({}, told.append)("GET", server.url, budget=BUDGET)
    assert len(told) == 1 and told[0].endswith(" s: InDoubt")


def test_who_does_not_want_to_be_told_is_not() -> None:
    with ByteServer(http()) as server:
        assert Http({})("GET", server.url).ok


def test_nobody_there_is_temporary() -> None:
    with nobody() as url, pytest.raises(Unreachable, match=f"^cannot reach {url}: .*refused") as refused:
        Http({})("GET", url)
    assert refused.value.hint == "check the network and the host, then try again"


def test_a_name_nobody_knows_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*ignored: object, **rest: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match="cannot reach http://localhost: .*Name or service not known"):
        Http({})("GET", "http://localhost")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a\nb",
        "http://127.0.0.1:9/\x00",
        "http://127.0.0.1:9/\ud800",
        "http://[::::]:9/",
        "http://127.999.0.1:9/",
        "http://127.0.0.1:99999/",
        f"http://{'a' * 64}.localhost:9/",
        "ftp://127.0.0.1/",
        "nonsense",
        "",
    ],
)
def test_an_address_that_cannot_be_asked_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(AuthError):
        Http({})("GET", url, budget=1)


@pytest.mark.parametrize("how", [{"form": {"a": "\udcff"}}, {"headers": {"X": "a\r\nY: b"}}, {"headers": {"X": "ü"}}])
def test_what_cannot_be_sent_is_an_error_of_ours(how: dict[str, Any]) -> None:
    with ByteServer(http()) as server, pytest.raises(AuthError):
        Http({})("POST", server.url, **how)
    assert server.requests == []


# ---- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def tls(authority: trustme.CA, name: str = "127.0.0.1", **how: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **how).configure_cert(context)
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: trustme.CA) -> None:
    with ByteServer(http(), tls(authority)) as server:
        with pytest.raises(Refused, match=f"^the certificate of {server.url} is not trusted: ") as untrusted:
            Http({})("POST", server.url, form={"refresh_token": "r"})
    assert untrusted.value.hint == "export SSL_CERT_FILE=/path/to/your/company-ca.pem"
    assert server.requests == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_company_may_name_its_own_authority(authority: trustme.CA, ca_file: str, name: str) -> None:
    with ByteServer(http(b'{"a": 1}'), tls(authority)) as server:
        assert Http({name: ca_file})("GET", server.url).object() == {"a": 1}


def test_of_several_authorities_ssl_cert_file_counts(authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with ByteServer(http(), tls(authority)) as server:
        assert Http({"SSL_CERT_FILE": ca_file, "REQUESTS_CA_BUNDLE": str(other)})("GET", server.url).ok
        with pytest.raises(Refused):
            Http({"SSL_CERT_FILE": str(other), "REQUESTS_CA_BUNDLE": ca_file})("GET", server.url)


def test_certificates_are_read_once_for_many_clients(ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway makes a client for each connection, and everybody waits while it does."""
    real, read = ssl.create_default_context, list[str]()

    def noted(cafile: str) -> ssl.SSLContext:
        read.append(cafile)
        return real(cafile=cafile)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    for _ in range(3):
        world_module.open_client(httpx.Client, {"SSL_CERT_FILE": ca_file}, plain=False).close()
    assert read == [ca_file]


@pytest.mark.parametrize("name", ["", "SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "", "no certificate", "directory"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, name: str) -> None:
    name = name or "REQUESTS_CA_BUNDLE"
    path = tmp_path / "ca.pem"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"^the CA file of {name} cannot be used: {path}: ") as unusable:
        Http({name: str(path)})("GET", "https://127.0.0.1:9")
    assert unusable.value.hint == f"correct or unset {name}"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("other.example", {}),
        ("127.0.0.1", {"not_after": datetime.datetime(2020, 1, 2), "not_before": datetime.datetime(2020, 1, 1)}),
    ],
    ids=["of another host", "expired"],
)
def test_a_certificate_that_is_not_right_is_refused_whoever_vouches(
    authority: trustme.CA, ca_file: str, name: str, how: dict[str, Any]
) -> None:
    with ByteServer(http(), tls(authority, name, **how)) as server:
        with pytest.raises(Refused, match="is not trusted"):
            Http({"SSL_CERT_FILE": ca_file})("GET", server.url)
    assert server.requests == []


def test_a_server_that_speaks_no_tls_is_temporary() -> None:
    with ByteServer(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        with pytest.raises(Unreachable, match="^cannot reach https://127.0.0.1"):
            Http({})("GET", server.url.replace("http://", "https://"), budget=5)


def test_a_password_of_netrc_is_not_sent(
    authority: trustme.CA, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password canary\ndefault login me password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with ByteServer(http(), tls(authority)) as server, ByteServer(http()) as plain:
        Http({"SSL_CERT_FILE": ca_file})("GET", server.url)
        Http({})("GET", plain.url)
    for request in (server.requests[0], plain.requests[0]):
        assert "authorization" not in parsed(request)[1]


# ---- proxies -------------------------------------------------------------------------------------------------------

PROXIES = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize(
    "setting",
    [
        "nonsense://me:canary@proxy",
        "http://me:canary@[::::]",
        "http://me:canary@proxy:port",
        "socks5://me:canary@proxy",
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_settings_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, setting: str
) -> None:
    monkeypatch.setenv(name, setting)
    with pytest.raises(ConfigError, match="^the proxy settings of the environment cannot be used") as unusable:
        Http({})("GET", "https://dev.cloud.databricks.com")
    assert "canary" not in f"{unusable.value} {unusable.value.hint}"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", *PROXIES])
def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with ByteServer(http()) as proxy, ByteServer(http()) as server:
        monkeypatch.setenv(name, proxy.url)
        assert Http({})("GET", server.url).ok
        monkeypatch.setenv(name, "nonsense://")
        assert Http({})("GET", server.url).ok
    assert proxy.requests == []


@pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
def test_a_proxy_gets_its_password_and_nobody_else_sees_it(monkeypatch: pytest.MonkeyPatch, refusal: str) -> None:
    with ByteServer(http(b"no", refusal)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http://", "http://me:canary@"))
        with pytest.raises(Unreachable) as refused:
            Http({})("GET", "https://dev.cloud.databricks.com/x", headers={"Authorization": "Bearer canary"})
    line, headers, _ = parsed(proxy.requests[0])
    assert line == "CONNECT dev.cloud.databricks.com:443 HTTP/1.1"
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:canary").decode()
    assert "authorization" not in headers
    assert "canary" not in f"{refused.value} {refused.value.hint}"
    assert str(refused.value).startswith("cannot reach https://dev.cloud.databricks.com/x: ")


def test_no_proxy_is_honoured(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ByteServer(http()) as proxy, ByteServer(http(), tls(authority)) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert Http({"SSL_CERT_FILE": ca_file})("GET", server.url).ok
    assert proxy.requests == []


# ---- where things are ----------------------------------------------------------------------------------------------

DIRECTORIES = {
    "data_dir": ("DBX_AUTH_DATA_DIR", "XDG_DATA_HOME", "user_data_dir"),
    "config_dir": ("DBX_AUTH_CONFIG_DIR", "XDG_CONFIG_HOME", "user_config_dir"),
    "cache_dir": ("DBX_AUTH_CACHE_DIR", "XDG_CACHE_HOME", "user_cache_dir"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is platformdirs itself that answers")
@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize(
    "base", [None, "", " ", "/x", "/x/", "/x y", "/ü", "x", "./x", "~/x", " /x", "/x ", "//x", "/"]
)
def test_on_linux_directories_are_those_of_platformdirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, base: str | None
) -> None:
    _, xdg, function = DIRECTORIES[name]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(xdg, raising=False)
    if base is not None:
        monkeypatch.setenv(xdg, base)
    ours = World(env=dict(os.environ), home=str(tmp_path), platform="linux")
    assert getattr(ours, name) == getattr(platformdirs, function)("dbx-auth", appauthor=False)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_elsewhere_platformdirs_is_asked(name: str, platform: str) -> None:
    theirs = getattr(platformdirs, DIRECTORIES[name][2])("dbx-auth", appauthor=False)
    assert getattr(World(env={}, home="/home/me", platform=platform), name) == theirs


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_of_ones_own_beats_every_convention(name: str, platform: str) -> None:
    ours, xdg, _ = DIRECTORIES[name]
    for setting, path in (("/mine", "/mine"), ("~/mine", "/home/me/mine")):
        assert getattr(World({ours: setting, xdg: "/theirs"}, "/home/me", platform), name) == path


def test_an_empty_directory_setting_is_none() -> None:
    empty = dict.fromkeys([name for names in DIRECTORIES.values() for name in names], "")
    home = World(env=empty, home="/home/me", platform="linux")
    assert (home.data_dir, home.config_dir, home.cache_dir) == (
        "/home/me/.local/share/dbx-auth",
        "/home/me/.config/dbx-auth",
        "/home/me/.cache/dbx-auth",
    )


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        (None, "/home/me/.databrickscfg"),
        ("", "/home/me/.databrickscfg"),
        ("/etc/cfg", "/etc/cfg"),
        ("~/x/cfg", "/home/me/x/cfg"),
        ("cfg", "cfg"),
        ("x/~/cfg", "x/~/cfg"),
        ("~other/cfg", "~other/cfg"),
    ],
)
def test_the_profile_file_is_where_its_variable_says(setting: str | None, path: str) -> None:
    env = {} if setting is None else {"DATABRICKS_CONFIG_FILE": setting}
    assert World(env=env, home="/home/me").config_file == path


def test_a_tilde_never_leads_out_of_home() -> None:
    assert World(env={}, home="/home/me").expand("~//etc/passwd").startswith("/home/me/")


@pytest.mark.parametrize(
    ("home", "path", "short"),
    [
        ("/home/me", "/home/me/.databrickscfg", "~/.databrickscfg"),
        ("/home/me", "/home/me/a/b", "~/a/b"),
        ("/home/me", "/home/me", "/home/me"),
        ("/home/me", "/home/meow/x", "/home/meow/x"),
        ("/home/me", "/etc/x", "/etc/x"),
        ("/", "/etc/x", "/etc/x"),
        ("", "/etc/x", "/etc/x"),
    ],
)
def test_a_path_is_shown_as_a_person_writes_it(home: str, path: str, short: str) -> None:
    shown = World(env={}, home=home).shorten(path)
    assert shown == short
    assert World(env={}, home=home).expand(shown) == path


# ---- the two worlds ------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A stderr that is a terminal, or is none."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_the_world_of_a_library_is_real_and_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "h")
    system = World.system()
    assert system.env["DATABRICKS_HOST"] == "h"
    assert system.home == os.path.expanduser("~")
    assert abs(system.now() - time.time()) < 5
    assert isinstance(system.http, Http)
    assert not system.open_url(URL)
    assert system.read_line() is None
    with system.waiting("a while", 1), system.uninterrupted():
        system.note("a note")
        system.detail("a detail")
        system.harden()
    assert capsys.readouterr() == ("", "")
    with caplog.at_level(logging.WARNING, "dbx_auth"):
        system.warn("the token ends in %s soon")
    assert caplog.record_tuples == [("dbx_auth", logging.WARNING, "the token ends in %s soon")]


def test_a_warning_in_a_log_is_harmless_too(caplog: pytest.LogCaptureFixture) -> None:
    # Where nobody has set up logging, Python writes it to the terminal.
    World.system().warn("the server said: \x1b]52;c;ZXZpbA==\x07\r\u202e")
    assert caplog.messages[0].isprintable()


@pytest.mark.parametrize("verbose", [0, 1, 2, 3])
def test_the_world_of_a_terminal_talks_on_stderr(capsys: pytest.CaptureFixture[str], verbose: int) -> None:
    terminal = World.terminal(verbose=verbose)
    terminal.warn("careful")
    terminal.note("a note")
    terminal.detail("a detail")
    with ByteServer(http()) as server:
        terminal.http("GET", server.url)
    told = capsys.readouterr()
    lines = ["dbx-auth: warning: careful", "dbx-auth: a note", "dbx-auth: a detail", f"dbx-auth: GET {server.url}: "]
    assert told.out == "" and len(told.err.splitlines()) == (1, 2, 4, 4)[verbose]
    assert all(line.startswith(start) for line, start in zip(told.err.splitlines(), lines, strict=False))
    assert terminal.open_url is open_browser


@pytest.mark.parametrize("shown", [False, True])
def test_waiting_is_shown_to_a_person_only(monkeypatch: pytest.MonkeyPatch, shown: bool) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen(shown))
    monkeypatch.setenv("TERM", "xterm")
    with World.terminal().waiting("refreshing the login", 30):
        if shown:
            eventually(screen.getvalue)
    assert bool(screen.getvalue()) is shown


def test_without_a_stderr_nothing_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as when it was closed: dbx-auth token 2>&-
    terminal = World.terminal(verbose=2)
    terminal.warn("careful")
    terminal.note("a note")
    terminal.detail("a detail")
    with terminal.waiting("a while", 1):
        tell("a word")


# ---- asked to end --------------------------------------------------------------------------------------------------

POLITE = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever becomes of them, afterwards they are as before; and each ends us in order, as in the program."""
    before = {number: signal.getsignal(number) for number in POLITE}
    monkeypatch.setattr(world_module, "_asked_to_end", [])
    end_in_order()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_does_so_in_order(handlers: None, number: signal.Signals) -> None:
    done = []
    with pytest.raises(Ended) as ended:
        try:
            signal.raise_signal(number)
        finally:
            done.append("cleaned up")
    assert (ended.value.number, done, asked_to_end()) == (number, ["cleaned up"], number)
    assert not isinstance(ended.value, Exception), "nothing that handles errors takes it for one"


def test_a_signal_that_is_ignored_stays_so(handlers: None) -> None:
    """As SIGHUP is for what `nohup` starts."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_in_order()
    signal.raise_signal(signal.SIGHUP)
    with World.terminal().uninterrupted():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("came", "error"),
    [
        ([signal.SIGINT], KeyboardInterrupt),
        ([signal.SIGTERM], Ended),
        ([signal.SIGHUP], Ended),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGTERM], Ended),
        ([signal.SIGINT, signal.SIGHUP], KeyboardInterrupt),
    ],
)
def test_a_signal_waits_for_the_end_of_what_must_not_be_interrupted(
    handlers: None, came: list[signal.Signals], error: type[BaseException]
) -> None:
    before = [signal.getsignal(number) for number in POLITE]
    done = []
    with pytest.raises(error) as ended, World.terminal().uninterrupted():
        for number in came:
            signal.raise_signal(number)
        done.append("to the end")
    assert done == ["to the end"]
    assert not isinstance(ended.value, Ended) or ended.value.number == came[0]
    assert [signal.getsignal(number) for number in POLITE] == before


def test_without_a_signal_nothing_changes_and_an_error_passes(handlers: None) -> None:
    before = [signal.getsignal(number) for number in POLITE]
    with pytest.raises(ValueError), World.terminal().uninterrupted():
        assert [signal.getsignal(number) for number in POLITE] != before
        raise ValueError
    assert [signal.getsignal(number) for number in POLITE] == before


def test_in_a_thread_no_signal_can_be_held_and_nothing_fails(handlers: None) -> None:
    before, seen = [signal.getsignal(number) for number in POLITE], []

    def work() -> None:
        with World.terminal().uninterrupted():
            seen.append([signal.getsignal(number) for number in POLITE])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert seen == [before]


HARDENED = """
import ctypes, resource
from dbx_auth.world import World
print(resource.getrlimit(resource.RLIMIT_CORE)[0] == 0, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
{call}
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("World.terminal().harden()", "(0, 0) 0"),
        ("World.system().harden()", None),
        ("import sys; sys.modules['resource'] = sys.modules['ctypes'] = None; World.terminal().harden()", None),
    ],
)
def test_what_lives_long_leaves_no_memory_on_the_disk(call: str, after: str | None) -> None:
    import subprocess

    argv = [sys.executable, "-c", HARDENED.format(call=call)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    before, now = done.stdout.splitlines()
    assert done.stderr == "" and before.endswith(" 1")
    assert (now == after) if after else now.endswith(" 1")


# ---- a place for all processes of a user ---------------------------------------------------------------------------


def test_the_place_that_all_homes_share_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[str, int] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os.path, "isdir", owners.__contains__)
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_uid=owners[path]))
    linux = World({"XDG_RUNTIME_DIR": "/elsewhere", "TMPDIR": "/elsewhere"}, "/home/me", platform="linux")
    assert linux.runtime_dir == "/tmp/dbx-auth-4242"
    owners["/run/user/4242"] = 1
    assert linux.runtime_dir == "/tmp/dbx-auth-4242", "one of somebody else is no place for us"
    owners["/run/user/4242"] = 4242
    assert linux.runtime_dir == "/run/user/4242/dbx-auth"
    assert linux._replace(env={}, home="/another").runtime_dir == linux.runtime_dir


def test_on_macos_and_windows_it_is_where_the_system_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: "/var/folders/T" if name == "CS_DARWIN_USER_TEMP_DIR" else "")
    assert World({}, "/home/me", platform="darwin").runtime_dir == "/var/folders/T/dbx-auth"
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert World({}, "/home/me", platform="darwin").runtime_dir == "/tmp/dbx-auth"
    asked: list[tuple[str, bool]] = []

    def user_runtime_dir(name: str, appauthor: bool) -> str:
        asked.append((name, appauthor))
        return "C:/Temp"

    monkeypatch.setattr(platformdirs, "user_runtime_dir", user_runtime_dir)
    assert World({}, "/home/me", platform="win32").runtime_dir == "C:/Temp" and asked == [("dbx-auth", False)]


# ---- words for a terminal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("Ünïcödé 漢字 … 👍", "Ünïcödé 漢字 … 👍"),
        ("\x1b[2Jcleared", "[2Jcleared"),
        ("\x1b]52;c;ZXZpbA==\x07", "]52;c;ZXZpbA=="),  # would write the clipboard
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "]8;;http://evil.example\\link]8;;\\"),
        ("\x9b31mred", "31mred"),  # a CSI of one byte
        ("\x90q\x9c", "q"),
        ("real\rfake", "realfake"),
        ("back\x08\x08\x7f", "back"),
        ("\u202etxt.exe", "txt.exe"),
        ("\u2066a\u2069", "a"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028para\u2029", "linepara"),
        ("\x00\x07\x0b\x0c\t", ""),
        ("\ud800\udcff", ""),
    ],
)
def test_only_what_can_be_seen_is_shown(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    tell(text)
    assert flat(text) == shown.replace("\n", " ")
    assert capsys.readouterr() == ("", f"{flat(text)}\n"), "a line break could forge the next line"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.characters()))
def test_whatever_is_told_is_harmless_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert all(line.isprintable() for line in shown.split("\n")) and flat(text).isprintable()
    shown.encode()


# ---- a line of stdin -----------------------------------------------------------------------------------------------


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """File descriptor 0 has this to read, and then ends."""
    kept = os.dup(0)
    read, write = os.pipe()
    try:
        os.write(write, data)
        os.close(write)
        os.dup2(read, 0)
        os.close(read)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", [None, None]),
        (b"\n", ["", None]),  # a person who presses Enter is not one who has gone
        (b"\r\n\n", ["", "", None]),
        (b"dapi0123\n", ["dapi0123", None]),
        (b"dapi0123", ["dapi0123", None]),
        (b"dapi0123\r\n", ["dapi0123", None]),
        (b"first\nsecond\nthird", ["first", "second", "third", None]),
        ("Ünï\n".encode(), ["Ünï"]),
        (b"\xff\n", ["\ufffd"]),
        (b" spaces \n", [" spaces "]),
    ],
)
def test_lines_of_stdin_are_read_one_at_a_time(data: bytes, lines: list[str | None]) -> None:
    with stdin(data):
        assert [World.terminal().read_line() for _ in lines] == lines


def test_a_stdin_that_is_closed_is_at_its_end() -> None:
    with stdin(b"never read\n"):
        os.close(0)  # dbx-auth login --with-token <&-
        assert World.terminal().read_line() is None


def test_no_more_is_taken_from_stdin_than_the_line() -> None:
    with stdin(b"id\nsecret\nrest"):
        assert World.terminal().read_line() == "id"
        assert os.read(0, 100) == b"secret\nrest"


# ---- waiting -------------------------------------------------------------------------------------------------------

ERASE = "\r\x1b[2K"


@contextmanager
def waiting(monkeypatch: pytest.MonkeyPatch, what: str, seconds: float, *, term: str = "xterm") -> Iterator[Screen]:
    """A person waits in front of a terminal."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", screen := Screen(True))
    with World.terminal().waiting(what, seconds):
        yield screen


def test_what_is_done_in_a_blink_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting(monkeypatch, "refreshing the login", 30) as screen:
        pass
    assert screen.getvalue() == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "countdown"]


def test_what_takes_longer_shows_what_is_waited_for_and_how_long_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting(monkeypatch, "refreshing the login", 30) as screen:
        eventually(screen.getvalue)
    line = f"{re.escape(ERASE)}refreshing the login … (30|2[0-9]) s left"
    assert re.fullmatch(f"({line})+{re.escape(ERASE)}", screen.getvalue())


def test_the_seconds_never_go_below_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting(monkeypatch, "a while", 0.1) as screen:
        eventually(screen.getvalue)
    assert "a while … 0 s left" in screen.getvalue()


def test_an_error_while_waiting_passes_and_the_line_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Temporary), waiting(monkeypatch, "a while", 30) as screen:
        eventually(screen.getvalue)
        raise Temporary("busy", hint="h")
    assert screen.getvalue().endswith(ERASE)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_erase_gets_one_line(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    with waiting(monkeypatch, "refreshing the login", 30, term=term) as screen:
        eventually(screen.getvalue)
    assert screen.getvalue() == "refreshing the login (up to 30 s)\n"


def test_without_a_term_nothing_can_be_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setattr(sys, "stderr", screen := Screen(True))
    with World.terminal().waiting("refreshing the login", 30):
        eventually(screen.getvalue)
    assert screen.getvalue() == "refreshing the login (up to 30 s)\n"


def test_what_is_waited_for_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting(monkeypatch, "\x1b[2J\rhost\u202e", 30) as screen:
        eventually(screen.getvalue)
    assert set(screen.getvalue()) <= set(ERASE + "[2Jhost … 0123456789 s left")
    assert "[2Jhost … " in screen.getvalue()


# ---- the browser ---------------------------------------------------------------------------------------------------

HOSTILE = "https://h/authorize?a=1&b=$(touch pwned);touch pwned&c=`id`|'\"\\ %s #x"

# The browser goes on when we no longer look at it, and Python warns of such a child.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in where nothing says how to open a browser."""
    monkeypatch.chdir(tmp_path)
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(folder: Path, name: str = "browser") -> str:
    """A program that writes its arguments beside itself, and talks too much."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print('Opening in existing browser session.'); print('Gtk-WARNING', file=sys.stderr)\n"
        "with open(__file__ + '.part', 'w') as seen:\n"
        "    json.dump([sys.argv[1:], sys.stdin.read(), os.getsid(0) == os.getpid()], seen)\n"
        "os.rename(__file__ + '.part', __file__ + '.json')\n"
    )
    path.chmod(0o755)
    return str(path)


def seen(path: str) -> Any:
    eventually(Path(path + ".json").exists)
    return json.loads(Path(path + ".json").read_text())


@pytest.mark.parametrize("options", [[], ["--new-window"], ["--profile", "my profile", "-x"]])
def test_browser_is_a_command_that_gets_the_url_and_never_a_shell(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    command = program(desk / "my tools")
    monkeypatch.setenv("BROWSER", shlex.join([command, *options]))
    assert open_browser(HOSTILE)
    argv, standard_input, own_session = seen(command)
    assert argv == [*options, HOSTILE]
    assert standard_input == ""
    assert own_session, "what interrupts us does not close the browser"
    assert capfd.readouterr() == ("", ""), "the data of our stdout stays clean"
    assert not list(desk.rglob("pwned"))


def test_of_several_browsers_the_first_is_taken(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(desk / "bin")
    monkeypatch.setenv("BROWSER", os.pathsep.join([command, "/nowhere/other"]))
    assert open_browser(URL)
    assert seen(command)[0] == [URL]


@pytest.mark.parametrize("setting", ["none", "/nowhere/browser", "", "'unbalanced", " ", os.pathsep])
def test_where_nothing_can_be_started_nothing_is(desk: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("BROWSER", setting)
    assert open_browser(URL) is False


def test_browser_none_beats_a_display(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(desk / "bin", "xdg-open")
    monkeypatch.setenv("PATH", str(desk / "bin"))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("BROWSER", "none")
    assert open_browser(URL) is False
    assert not Path(command + ".json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows need no display variable")
@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"])
@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        (["xdg-open"], "xdg-open"),
        (["firefox"], "firefox"),
        (["xdg-open", "wslview"], "wslview"),
        (["chromium", "x-www-browser"], "x-www-browser"),
        ([], None),
    ],
)
def test_on_a_desktop_its_own_opener_is_taken(
    desk: Path, monkeypatch: pytest.MonkeyPatch, display: str, programs: list[str], taken: str | None
) -> None:
    (desk / "bin").mkdir()
    commands = {name: program(desk / "bin", name) for name in programs}
    monkeypatch.setenv("PATH", str(desk / "bin"))
    monkeypatch.setenv(display, "x")
    assert open_browser(HOSTILE) is (taken is not None)
    if taken:
        assert seen(commands[taken])[0] == [HOSTILE]
        assert [name for name in programs if Path(commands[name] + ".json").exists()] == [taken]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows need no display variable")
def test_without_a_display_there_is_no_browser(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(desk / "bin", "xdg-open")
    monkeypatch.setenv("PATH", str(desk / "bin"))
    assert open_browser(URL) is False
    assert not Path(command + ".json").exists()


def test_macos_has_a_command_for_it(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(desk / "bin", "open")
    monkeypatch.setenv("PATH", str(desk / "bin"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_browser(HOSTILE)
    assert seen(command)[0] == [HOSTILE]


def test_windows_has_a_call_for_it(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "startfile", opened.append, raising=False)
    assert open_browser(HOSTILE)
    assert opened == [HOSTILE]
