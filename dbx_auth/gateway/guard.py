"""Who is let in: a request with the key, to an address that is ours, from no web page. Pure; nothing is read or sent.

A page in a browser can send requests to loopback, under a name of its own if need be (DNS rebinding), and any user of
the machine can connect. So each request shows the key, names an exact Host, and has no Origin.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LARGEST = 32 << 20
"""Bytes of a body."""

MOST = 100
"""Headers of a request."""

ROUTES = (
    ("GET", re.compile(r"/healthz")),
    ("GET", re.compile(r"/(?:v1|v1beta)/models(?:/[\w.:@-]+)?")),
    ("POST", re.compile(r"/v1/(?:chat/completions|responses|embeddings|messages|messages/count_tokens)")),
    ("POST", re.compile(r"/v1(?:beta)?/models/[\w.@-]+:(?:generateContent|streamGenerateContent|countTokens)")),
    ("GET POST", re.compile(r"/(?:serving-endpoints|ai-gateway)(?:/[\w.:@-]+)+")),
)
"""What there is, method by method. A path has plain segments only: nothing to decode, and none that is `.` or `..`."""

_DOTS = re.compile(r"/\.{1,2}(?:/|$)")


class Refusal(NamedTuple):
    """A status, and what to say with it."""

    status: int
    message: str


class Door(NamedTuple):
    """`key` opens it; `hosts` are the values of Host that are ours; `secret` is a path that needs no key, if any."""

    key: str
    hosts: frozenset[str]
    secret: str = ""

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Why this request is not let in; None where it is."""
        headers = scope["headers"]
        path = scope["raw_path"].decode("latin-1")
        if len(headers) > MOST:
            return Refusal(431, f"a request may have {MOST} headers")
        hosts = _values(headers, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return Refusal(421, "this gateway answers to its own address only: http://127.0.0.1:PORT or localhost")
        if _values(headers, b"origin"):
            return Refusal(403, "web pages are not let in")
        if not path.startswith("/") or scope["http_version"] not in ("1.0", "1.1"):
            return Refusal(400, "this is no path of a gateway")
        if self.secret and hmac.compare_digest(path.encode("latin-1"), self.secret.encode()):
            return None if scope["method"] == "GET" else Refusal(405, "it can only be read")
        methods = {method for methods, route in ROUTES if route.fullmatch(path) for method in methods.split()}
        if not methods or _DOTS.search(path):
            return Refusal(
                404, "there is nothing here; the base URL of an OpenAI client ends in /v1, of others it has none"
            )
        if scope["method"] not in methods:
            return Refusal(405, f"this wants {' or '.join(sorted(methods))}")
        if path == "/healthz":
            return None
        return self._of_the_key(scope, headers) or _of_the_body(scope["method"], headers)

    def _of_the_key(self, scope: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        if re.search(rb"(?:^|&)(?:api_?)?key=", scope["query_string"], re.IGNORECASE):
            return Refusal(400, "a key in a URL ends up in logs: send it as x-goog-api-key, x-api-key or Authorization")
        shown = [
            *(value[7:] for value in _values(headers, b"authorization") if value[:7].lower() == "bearer "),
            *(value for name in (b"x-api-key", b"x-goog-api-key", b"api-key") for value in _values(headers, name)),
        ]
        if not shown:
            return Refusal(401, "no key was sent: dbx-auth serve printed it, or took it from DBX_AUTH_GATEWAY_KEY")
        right = [hmac.compare_digest(key.strip().encode("latin-1"), self.key.encode()) for key in shown]
        return None if any(right) else Refusal(401, "this is not the key of this gateway")


def _of_the_body(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
    if method != "POST":
        return None
    kinds = _values(headers, b"content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "only JSON is taken: Content-Type: application/json")
    if any(value.lower() != "identity" for value in _values(headers, b"content-encoding")):
        return Refusal(415, "a body is taken as it is, not compressed")
    lengths = _values(headers, b"content-length")
    if any(not length.isdecimal() or int(length) > LARGEST for length in lengths):
        return too_large()
    return None


def too_large() -> Refusal:
    return Refusal(413, f"a request may have {LARGEST >> 20} MiB")


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
