"""Auth for httpx: a fresh token on every request, and one retry when a server refuses it all the same."""

from __future__ import annotations

import re
import zlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterator,
    Mapping,
)
from functools import lru_cache
from typing import Any, cast

import anyio.to_thread
import httpx

from .credentials import Credentials
from .errors import Refused
from .tokens import Token

LONGEST = 65_536
"""Bytes of an answer that may be a refusal of the token."""

Origins = Collection[tuple[str, str, int | None]]


class Auth(httpx.Auth):
    """Use as `httpx.Client(auth=dbx_auth.Auth())`, and likewise for AsyncClient.

    A 401, and a 400 or 403 that speaks of the token, is answered with one renewed token and one retry; requests that
    were refused together share the renewal.
    A key that cannot be renewed is not retried, and neither is a body that can be sent only once. The token goes to
    the credentials' own host, and to no other that a redirect or a full URL may name.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._credentials.token()
        ours = self._origins(token)
        if not _carry(request, token, ours):
            yield request
            return
        if token.extra:
            trace = request.extensions.get("trace")
            request.extensions = {**request.extensions, "trace": _guard(token, ours, trace)}
        response = yield request
        if _refuses(response, token, ours, _beginning(response) if _may_be_of_the_token(response) else b""):
            _carry(request, self._credentials.token(rejected=token.value), ours)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The same, with the blocking part in a thread, so that the event loop goes on."""
        token = self._credentials.held()
        if token is None:
            token = await anyio.to_thread.run_sync(self._credentials.token)
        ours = self._origins(token)
        if not _carry(request, token, ours):
            yield request
            return
        if token.extra:
            trace = request.extensions.get("trace")
            request.extensions = {**request.extensions, "trace": _async_guard(token, ours, trace)}
        response = yield request
        if _refuses(response, token, ours, await _abeginning(response) if _may_be_of_the_token(response) else b""):
            renewed = await anyio.to_thread.run_sync(lambda: self._credentials.token(rejected=token.value))
            _carry(request, renewed, ours)
            yield request

    def _origins(self, token: Token) -> Origins:
        """Where the token may go."""
        return {origin_of(token.host)}


def _carry(request: httpx.Request, token: Token, ours: Origins) -> bool:
    """Put the token on the request; False, and nothing put, when the request goes to another host."""
    if origin(request.url) not in ours:
        return False
    request.headers.update(token.headers)
    return True


def _guard(token: Token, ours: Origins, trace: Any) -> Callable[[str, Mapping[str, Any]], None]:
    """Stop a request that a redirect leads to another host, before its headers go there.

    httpx takes Authorization away from such a request, and leaves it the other headers, which may be secrets too.
    https://www.python-httpx.org/advanced/extensions/#trace
    """

    def guarded(event: str, info: Mapping[str, Any]) -> None:
        _stop_a_stranger(token, ours, event, info)
        if trace:
            trace(event, info)

    return guarded


def _async_guard(token: Token, ours: Origins, trace: Any) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """The same for AsyncClient."""

    async def guarded(event: str, info: Mapping[str, Any]) -> None:
        _stop_a_stranger(token, ours, event, info)
        if trace:
            await trace(event, info)

    return guarded


def _stop_a_stranger(token: Token, ours: Origins, event: str, info: Mapping[str, Any]) -> None:
    if not event.endswith("send_request_headers.started"):
        return
    request = info["request"]
    host, names = request.url.host.decode(), {name.decode().lower() for name, _ in request.headers}
    if host not in {host for _, host, _ in ours} and names & {name.lower() for name in token.extra}:
        raise Refused(
            f"a redirect leads to {host}, and the headers that go beside a token are not for it",
            hint="follow_redirects=False shows where it leads",
        )


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """The scheme, the host and the port, if it is not the scheme's own."""
    return url.scheme, url.host, url.port


@lru_cache(maxsize=64)
def parsed(url: str) -> httpx.URL:
    """A URL that comes again and again: parsing it takes longer than anything else that is done with it."""
    return httpx.URL(url)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """The origin of a URL in words."""
    return origin(parsed(url))


def _refuses(response: httpx.Response, token: Token, ours: Origins, beginning: bytes) -> bool:
    """Whether our host refused a token that can be renewed, of a request that can be sent again.

    The answer may be that of another host, to which a redirect led. `beginning` is what it says, unless it is a 401.
    """
    said = _plain(response, beginning).decode(errors="replace")
    refused = response.status_code == 401 or _OF_THE_TOKEN.search(said)
    replayable = isinstance(response.request.stream, httpx.ByteStream)
    return bool(refused) and token.refreshable and replayable and origin(response.request.url) in ours


def _may_be_of_the_token(response: httpx.Response) -> bool:
    """Whether this may be a refusal of the token in other words than 401."""
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code in (400, 403) and is_json


def _plain(response: httpx.Response, beginning: bytes) -> bytes:
    if response.headers.get("content-encoding") != "gzip":
        return beginning
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(beginning, LONGEST)
    except zlib.error:
        return b""


def _beginning(response: httpx.Response) -> bytes:
    """The first bytes of an answer, which can be read from the beginning all the same."""
    pieces: list[bytes] = []
    rest = iter(cast(httpx.SyncByteStream, response.stream))
    for piece in rest:
        pieces.append(piece)
        if sum(map(len, pieces)) > LONGEST:
            break
    response.stream = _Begun(pieces, rest, response.stream)
    return b"".join(pieces)


async def _abeginning(response: httpx.Response) -> bytes:
    pieces: list[bytes] = []
    rest = aiter(cast(httpx.AsyncByteStream, response.stream))
    async for piece in rest:
        pieces.append(piece)
        if sum(map(len, pieces)) > LONGEST:
            break
    response.stream = _Begun(pieces, rest, response.stream)
    return b"".join(pieces)


class _Begun(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream of which some has been read."""

    def __init__(self, pieces: list[bytes], rest: Any, stream: Any) -> None:
        self._pieces = pieces
        self._rest = rest
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        yield from self._rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        async for piece in self._rest:
            yield piece

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


_OF_THE_TOKEN = re.compile(
    r"\b(?:invalid|expired|revoked|malformed) (?:access |bearer |oauth )*(?:token|credential)\b"
    r"|\b(?:access|bearer|oauth) (?:token|credential)s? (?:is|was|has been) (?:not valid|invalid|expired|revoked)\b",
    re.IGNORECASE,
)
"""How a workspace or its gateway refuses a token with 400 or 403."""
