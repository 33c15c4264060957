"""What a web page, another user of the machine or a broken client may send to the gateway: nothing gets through."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from machine import Machine

from dbx_auth import Credentials
from dbx_auth.gateway import Server
from dbx_auth.gateway.guard import LARGEST
from dbx_auth.sandbox import Sandbox

MODEL = "databricks-llama-4-maverick"
KEY = "a-key-of-thirty-two-characters-00"
BODY = b'{"model": "%s", "messages": [{"role": "user", "content": "hi"}]}' % MODEL.encode()
CHAT = "/v1/chat/completions"
AT_ONCE = 1.0
"""Seconds in which each attack is answered."""


class Far(NamedTuple):
    """A gateway, and the workspace behind it."""

    gateway: Server
    sandbox: Sandbox

    @property
    def host(self) -> str:
        return self.gateway.url.removeprefix("http://")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with Sandbox() as sandbox, pytest.MonkeyPatch.context():
        machine = Machine(tmp_path_factory.mktemp("home"), None)  # type: ignore[arg-type]
        machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
        with Server(Credentials(world=machine.world), key=KEY, metadata=True) as gateway:
            assert status(ask(gateway, request(gateway.url.removeprefix("http://")))) == 200, "or nothing is proved"
            yield Far(gateway, sandbox)


def request(
    host: str,
    line: str = f"POST {CHAT} HTTP/1.1",
    *more: str,
    without: str = "",
    body: bytes = BODY,
) -> bytes:
    """A request that would be let in, but for what is changed."""
    lines = [
        f"Host: {host}",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    kept = [each for each in lines if not without or not each.lower().startswith(f"{without}:")]
    return "\r\n".join([line, *kept, *more, "", ""]).encode("latin-1", "surrogateescape") + body


def ask(gateway: Server, raw: bytes, patience: float = 10.0) -> bytes:
    """What comes back for these bytes, until the gateway closes or falls silent."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    said = b""
    with socket.create_connection((host, int(port)), patience) as connection:
        try:
            connection.sendall(raw)
            while piece := connection.recv(65536):
                said += piece
                if _is_whole(said):
                    break
        except (ConnectionError, TimeoutError):
            pass
    return said


def _is_whole(said: bytes) -> bool:
    head, found, body = said.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found and lengths and len(body) >= int(lengths[0]))


def status(said: bytes) -> int:
    """The status, 0 where the gateway closed without a word."""
    return int(said.split(b" ", 2)[1]) if said else 0


HOSTS = {
    "another": [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
    ],
    "almost": ["127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1:{port}0", "localhost.:{port}", "127.1:{port}"],
    "spelled oddly": ["2130706433:{port}", "0x7f000001:{port}", "0.0.0.0:{port}", "[::1]:{port}", "127.0.0.2:{port}"],
    "with more": [
        "me@127.0.0.1:{port}",
        "127.0.0.1:{port}/",
        "127.0.0.1:{port}, evil.example",
        "127.0.0.1:{port}\t.evil",
    ],
    "nothing": ["", " "],
}
ORIGINS = (
    "http://evil.example", "https://evil.example:8443", "null", "http://127.0.0.1:{port}", "http://localhost:{port}",
    "http://localhost:3000", "file://", "chrome-extension://abcdef", "moz-extension://abcdef", "", "about:blank",
)  # fmt: skip
METHODS = (
    "OPTIONS",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "TRACE",
    "CONNECT",
    "GET",
    "post",
    "PROPFIND",
    "X" * 200,
    "POST\t",
)
PATHS = (
    "/", "//", "/v1", "/v1/", "/V1/chat/completions", "/v1/chat/completions/", "/v1//chat/completions", "/v1/chat",
    "/v1/../v1/chat/completions", "/v1/./chat/completions", "/v1/%2e%2e/api", "/v1/chat%2fcompletions",
    "/v1/chat/completions%00", "/v1/chat/completions%0d%0aX:%20y", "/v1/chat/completions;x=1", "/v1/files", "/v1/admin",
    "/serving-endpoints", "/serving-endpoints/", "/serving-endpoints/../api/2.0/token/create",
    "/serving-endpoints/..", "/serving-endpoints/.", "/serving-endpoints/x/../../api/2.0/secrets/list",
    "/serving-endpoints/%2e%2e/api/2.0/secrets/list", "/serving-endpoints/..%2fapi%2f2.0%2fsecrets%2flist",
    "/serving-endpoints/%252e%252e/api", "/serving-endpoints/..;/api/2.0/secrets/list",
    "/serving-endpoints//evil.example/x",
    "/serving-endpoints/..\\api", "/serving-endpoints\\..\\api", "/serving-endpoints/x#y", "/serving-endpointsx/y",
    "/ai-gateway/../api/2.0/token/create", "/ai-gateway/%2E%2E/api", "/ai-gateway/\xe9", "/ai-gateway/x y",
    "/api/2.0/token/create", "/api/2.0/serving-endpoints", "/api/2.0/preview/scim/v2/Me", "/oidc/v1/token",
    "/metadata/guess",
    "//evil.example/v1/chat/completions", "http://evil.example/v1/chat/completions", "https://127.0.0.1/v1/models",
    "evil.example:443", "*", "@evil.example/", "\\\\evil.example\\x", "/\\evil.example", "/v1/models/../../api",
    "/v1beta/models/x:embedContent", "/v1beta/models/../x:generateContent", "/v1beta/models/a/b:generateContent",
    "/" + "a" * 70_000,
)  # fmt: skip
KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "wrong": ("Authorization: Bearer wrong",),
    "empty": ("Authorization: Bearer ",),
    "no scheme": (f"Authorization: {KEY}",),
    "basic": ("Authorization: Basic YTpi",),
    "a part": (f"Authorization: Bearer {KEY[:-1]}",),
    "more": (f"Authorization: Bearer {KEY}x",),
    "another case": (f"Authorization: Bearer {KEY.upper()}",),
    "long": (f"Authorization: Bearer {'x' * 20_000}",),
    "bytes": ("Authorization: Bearer \xff\xfe",),
    "in a cookie": (f"Cookie: key={KEY}",),
    "in a proxy header": (f"Proxy-Authorization: Bearer {KEY}",),
    "wrong x-api-key": ("X-Api-Key: wrong",),
    "wrong x-goog-api-key": ("X-Goog-Api-Key: wrong",),
    "forwarded": ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"),
}
QUERIES = ("key", "KEY", "api_key", "apikey", "a=b&key")
TYPES = (
    "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "",
    "text/json", "application/jsonp", "application/json, text/plain", "json", "*/*", "application/xml",
)  # fmt: skip


def attacks() -> Iterator[tuple[str, set[int], bytes]]:
    """What each is, the statuses that are right, and the bytes with HOST and PORT in place of the gateway's own."""
    for kind, hosts in HOSTS.items():
        for number, host in enumerate(hosts):
            yield f"host {kind} {number}", {421, 400}, request(host.replace("{port}", "PORT"))
    yield "no host", {400, 421}, request("HOST", without="host")
    yield "a folded host", {400, 421}, request("HOST\r\n .evil.example")
    yield "two hosts", {400, 421}, request("HOST", f"POST {CHAT} HTTP/1.1", "Host: evil.example")
    for number, origin in enumerate(ORIGINS):
        asked = f"Origin: {origin.replace('{port}', 'PORT')}"
        yield f"origin {number}", {403}, request("HOST", f"POST {CHAT} HTTP/1.1", asked)
        yield f"origin {number} reads", {403}, request("HOST", "GET /v1/models HTTP/1.1", asked, body=b"")
    preflight = ("Origin: http://evil.example", "Access-Control-Request-Method: POST")
    yield "preflight", {403}, request("HOST", f"OPTIONS {CHAT} HTTP/1.1", *preflight, body=b"")
    for number, method in enumerate(METHODS):
        yield f"method {number}", {405, 400, 404}, request("HOST", f"{method} {CHAT} HTTP/1.1")
    for number, path in enumerate(PATHS):
        yield f"path {number}", {404, 400, 421, 405}, request("HOST", f"POST {path} HTTP/1.1")
        if number < 40:
            yield f"path {number} read", {404, 400, 421, 405}, request("HOST", f"GET {path} HTTP/1.1", body=b"")
    for name, lines in KEYS.items():
        yield f"key {name}", {401, 400}, request("HOST", f"POST {CHAT} HTTP/1.1", *lines, without="authorization")
    for query in QUERIES:
        right = request("HOST", f"POST {CHAT}?{query}={KEY} HTTP/1.1", without="authorization")
        yield f"key as {query}", {400}, right
        yield f"key as {query} beside the right one", {400}, request("HOST", f"POST {CHAT}?{query}=x HTTP/1.1")
    for number, kind in enumerate(TYPES):
        typed = f"Content-Type: {kind}"
        yield f"type {number}", {415}, request("HOST", f"POST {CHAT} HTTP/1.1", typed, without="content-type")
    yield "no type", {415}, request("HOST", without="content-type")
    yield "two types", {415}, request("HOST", f"POST {CHAT} HTTP/1.1", "Content-Type: text/plain")
    yield "compressed", {415}, request("HOST", f"POST {CHAT} HTTP/1.1", "Content-Encoding: gzip")
    yield from crooked()


def crooked() -> Iterator[tuple[str, set[int], bytes]]:
    """Heads that two readers might read in two ways, and bodies that are not what they say."""
    line = f"POST {CHAT} HTTP/1.1"
    bad = {400, 413, 0}
    for name, header in {
        "line feed in a value": "X: a\nHost: evil.example",
        "carriage return in a value": "X: a\rb",
        "nul in a value": "X: a\0b",
        "space before the colon": "X : a",
        "no colon": "nonsense",
        "empty name": ": a",
        "odd name": "X(y): a",
    }.items():
        yield name, bad, request("HOST", line, header)
    for name, lengths in {
        "two lengths": (f"Content-Length: {len(BODY)}", "Content-Length: 5"),
        "negative length": ("Content-Length: -1",),
        "length with a sign": (f"Content-Length: +{len(BODY)}",),
        "length in hex": ("Content-Length: 0x40",),
        "length with a list": ("Content-Length: 5, 6",),
        "length too large": (f"Content-Length: {LARGEST + 1}",),
        "length beyond all": ("Content-Length: " + "9" * 30,),
    }.items():
        yield name, bad, request("HOST", line, *lengths, without="content-length")
    for name, coding in {
        "unknown coding": "gzip",
        "twice chunked": "chunked, chunked",
        "not last": "chunked, gzip",
    }.items():
        yield name, {400, 501, 0}, request("HOST", line, f"Transfer-Encoding: {coding}", without="content-length")
    for name, body in {"no size": b"x\r\n", "negative size": b"-1\r\n", "huge size": b"f" * 40 + b"\r\n"}.items():
        chunked = "Transfer-Encoding: chunked"
        yield name, bad, request("HOST", line, chunked, without="content-length", body=body)
    yield "a version of tomorrow", {400, 505, 0}, request("HOST", f"POST {CHAT} HTTP/3.0")
    yield "no version", {400, 0}, b"GET /v1/models\r\n\r\n"
    yield "http/2", {400, 421, 0}, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "tls", {400, 0}, bytes.fromhex("16030100a5010000a10303") + b"\0" * 160
    yield "noise", {400, 0}, b"\xff\xfe\xfd\r\n\r\n"
    yield "a head without end", {400, 431, 0}, request("HOST", line, "X: " + "a" * 200_000)
    yield "ten thousand headers", {400, 431, 0}, request("HOST", line, *(f"X-{n}: y" for n in range(10_000)))
    for name, text in {
        "not JSON": b"{",
        "an array": b"[]",
        "a number": b"1",
        "nothing": b"",
        "not UTF-8": b'{"a":"\xff"}',
    }.items():
        yield name, {400}, request("HOST", body=text)
    yield "deeper than JSON goes", {400}, request("HOST", body=b"[" * 100_000)


ATTACKS = list(attacks())


@pytest.mark.parametrize(("statuses", "raw"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS])
def test_nothing_gets_through_and_each_is_answered_at_once(far: Far, statuses: set[int], raw: bytes) -> None:
    far.sandbox.log.clear()
    port = far.host.partition(":")[2]
    began = time.monotonic()
    said = ask(far.gateway, raw.replace(b"HOST", far.host.encode(), 1).replace(b"PORT", port.encode()))
    took = time.monotonic() - began
    assert status(said) in statuses, said[:300]
    assert not [each for each in far.sandbox.log if each.method == "POST"] and took < AT_ONCE
    assert KEY.encode() not in said and b"access-control-allow" not in said.lower()


def test_there_are_enough_of_them() -> None:
    assert len({raw for _, _, raw in ATTACKS}) == len(ATTACKS) >= 120


def test_after_all_of_them_an_honest_client_is_served(far: Far) -> None:
    assert status(ask(far.gateway, request(far.host))) == 200
