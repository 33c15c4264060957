"""A transport for httpx that calls the models of a workspace: with a fresh token, and with what each family takes.

    client = OpenAI(api_key="unused", http_client=httpx.Client(transport=dbx_auth.Transport()))

Whatever address a client has in mind, what it says to the API of a model goes to the workspace, and its own key goes
nowhere. Streams are handed on event by event.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import aclosing, closing, contextmanager
from functools import cache
from typing import Any, NamedTuple

import anyio.to_thread
import httpx
from anyio.lowlevel import RunVar

from . import calling, catalogue, fixes, models, sse
from .calling import PLACE, SERVING
from .catalogue import Facts
from .credentials import Credentials
from .errors import Refused
from .httpx_auth import Auth, Origins, origin_of, parsed
from .pool import Pool
from .tokens import Token
from .world import USER_AGENT, Client, open_client, without_query

LARGEST = 32 << 20
"""Bytes of an answer in one piece."""

LARGE = 65_536
"""Bytes of a request that take so long to mend that an event loop had better go on meanwhile."""

_ENDS = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages", "/embeddings": "embeddings"}
_GEMINI = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)$")
_INVOCATIONS = re.compile(r"/serving-endpoints/([^/]+)/invocations$")
_OURS = (f"{PLACE}/", "/ai-gateway/")

_THEIR_KEYS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_OF_ONE_HOP = ("host", "content-length", "transfer-encoding", "connection")

_all: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork() -> None:
    """A connection that both processes had would give each the other's answers; a lock may be held by nobody here."""
    for transport in list(_all):
        transport._lock, transport._client = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


FIXES = "dbx_auth.fixes"
"""The extension of a response that has the names of the fixes that were applied; to a stream, so far."""

EVENTS = "dbx_auth.events"
"""The extension of a response that has its events, in place of its body: a function that gives an iterator."""


class Event(NamedTuple):
    """An event of a stream: all its bytes, and the JSON in it.

    `body` is None where it has no data or nobody has read it, and empty where its data is no JSON object.
    """

    raw: bytes
    body: dict[str, Any] | None = None
    is_done: bool = False


class Known(NamedTuple):
    """What is known of the model that is called, through which API, and the fixes that its request needed."""

    facts: Facts
    api: str
    fixes: tuple[str, ...] = ()


class Call(NamedTuple):
    """A request to a model: through which API, and which model where the address says it."""

    api: str
    path: str
    model: str = ""


class Asked(NamedTuple):
    """A request as it came: how, where to, with what.

    For the API of a model, `call` says which; then `body` is what `content` says, `model` whose API it is, and `facts`
    what is known of that, if somebody has looked already. A `content` of None is yet to be made of
    `body`, and `size` says how many bytes that will be, more or less.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    content: bytes | None
    size: int
    extensions: MutableMapping[str, Any]
    call: Call | None
    body: dict[str, Any]
    model: str
    facts: Facts | None = None

    @property
    def query(self) -> str:
        return self.url.partition("#")[0].partition("?")[2]


def read(
    method: str,
    url: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    content: bytes,
    extensions: MutableMapping[str, Any],
) -> Asked:
    """What a request asks for; `path` is that of its `url`."""
    found = call(path) if method == "POST" else None
    body = sse.loaded(content) if found and content else {}
    name = found.model or body.get("model") if found and body else ""
    model = name if isinstance(name, str) else ""
    return Asked(method, url, headers, content, len(content), extensions, found, body, model)


def _asked(request: httpx.Request) -> Asked:
    headers = request.headers.multi_items()
    return read(request.method, str(request.url), request.url.path, headers, request.content, request.extensions)


def call(path: str) -> Call | None:
    """What a path asks for, and where the workspace has that; None for what is no call of a model."""
    at_home = path if path.startswith(_OURS) else ""
    if found := _GEMINI.search(path):
        there = SERVING["generateContent"].format(id=found[1]).replace("generateContent", found[2])
        return Call("generateContent", at_home or PLACE + there, found[1])
    if found := _INVOCATIONS.search(path):
        return Call("chat", path, found[1])
    api = next((api for end, api in _ENDS.items() if path.endswith(end)), "")
    return Call(api, at_home or PLACE + SERVING[api]) if api else None


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Use as `httpx.Client(transport=dbx_auth.Transport())`, and likewise for AsyncClient and for those of httpx2.

    A request to a chat, responses, messages, generateContent or embeddings API goes to the workspace of the
    credentials, or to the `base_url` that config.toml has for it, as the model's family takes it, and the answer comes
    back as clients expect it (docs/fixes.md). Any other request is let through if it is for one of the two. Raises
    what `Credentials.token` raises, and Refused for an address that is neither.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        self._lock = threading.Lock()
        self._known: models.Memo[Facts] = models.Memo(self._credentials.world)
        self._bases: dict[str, str] = {}
        self._client: httpx.Client | None = None
        # One for each event loop, which its connections belong to.
        self._pool: RunVar[Pool | None] = RunVar(f"pool of {id(self)}", None)
        _all.add(self)

    # ---- there and back ----------------------------------------------------------------------------------------------

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        sent, known = self._outgoing(_asked(request), self._credentials.token())
        with self._lock:
            client = self._client = self._client or self._opened(httpx.Client, sent)
        with _errors_of(request):
            answer = client.send(sent, stream=True)
            content = _read_whole(answer) if known and _is_whole(answer) else None
        return _incoming(answer, known, content, request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await self.ask(_asked(request), request)

    async def ask(self, asked: Asked, request: object = None) -> httpx.Response:
        """The answer to what has been read already, in the classes of the library that `request` is of."""
        token = self._credentials.held()
        if token and self._is_at_hand(asked) and asked.size < LARGE:
            sent, known = self._outgoing(asked, token)
        else:
            sent, known = await anyio.to_thread.run_sync(lambda: self._outgoing(asked, self._credentials.token()))
        pool = self._pool.get()
        if pool is None:
            pool = Pool(lambda: self._opened(httpx.AsyncClient, sent), self._credentials.world.monotonic)
            self._pool.set(pool)
        with _errors_of(request):
            answer = await pool.send(sent)
            content = await _aread_whole(answer) if known and _is_whole(answer) else None
        return _incoming(answer, known, content, request)

    def close(self) -> None:
        """Close the connections; the next request opens others."""
        with self._lock:
            client, self._client = self._client, None
        if client:
            client.close()

    async def aclose(self) -> None:
        """The same for those of this event loop."""
        pool = self._pool.get()
        self._pool.set(None)
        if pool:
            await pool.aclose()

    def _facts(self, model: str, token: Token) -> Facts:
        """What is known of a model."""
        return self._known.get(model) or self._known.keep(model, models.called(model, token, self._credentials.world))

    def _is_at_hand(self, asked: Asked) -> bool:
        """Whether nobody has to be asked before this can be sent."""
        return not asked.model or asked.facts is not None or self._known.get(asked.model) is not None

    def _base_of(self, host: str) -> str:
        """What stands in front of the path of each API."""
        if host not in self._bases:
            self._bases[host] = calling.base(host, self._credentials.world).serving.rstrip("/")
        return self._bases[host]

    def _opened(self, kind: Callable[..., Client], request: httpx.Request) -> Client:
        env, plain = self._credentials.world.env, request.url.scheme == "http"
        return open_client(kind, env, plain, auth=_Auth(self._credentials, self._base_of))

    def _outgoing(self, asked: Asked, token: Token) -> tuple[httpx.Request, Known | None]:
        """The request as the workspace wants it, and what its answer is to be read by."""
        base, found, url = self._base_of(token.host), asked.call, asked.url
        if found is None and origin_of(url) not in (origin_of(token.host), origin_of(base)):
            raise Refused(
                f"{without_query(url)} is neither the API of a model nor at {token.host}",
                hint="use another client for it: this one goes to the workspace",
            )
        content, known = asked.content, None
        if found:
            is_served = found.path.startswith(PLACE)
            place = base + found.path.removeprefix(PLACE) if is_served else token.host + found.path
            query = _without_key(asked.query)
            url = f"{place}?{query}" if query else place
            fixed = asked.body
            if model := asked.model:
                facts = asked.facts or self._facts(model, token)
                fixed, names = fixes.request(facts, found.api, asked.body)
                known = Known(facts, found.api, names)
                if is_served and model.startswith("system.ai.") and "model" in asked.body:
                    fixed = {**fixed, "model": catalogue.PREFIX + catalogue.bare(model)}
            if content is None or fixed is not asked.body:
                content = sse.dumped(fixed)
        kept = [(k, v) for k, v in asked.headers if k.lower() not in (*_THEIR_KEYS, *_OF_ONE_HOP)]
        headers = httpx.Headers(kept)
        headers["User-Agent"] = f"{USER_AGENT} {headers.get('user-agent', '')}".strip()
        headers["X-Databricks-Disable-Beta-Headers"] = "true"
        if known:
            headers["Accept-Encoding"] = "identity"  # an event is handed on as soon as it is there
        return httpx.Request(
            asked.method, parsed(url), headers=headers, content=content, extensions=asked.extensions
        ), known


def _without_key(query: str) -> str:
    """A query without the key that clients of Google's API put there."""
    return str(httpx.QueryParams(query).remove("key")) if "key" in query else query


class _Auth(Auth):
    """The token goes to where the models of its host are, too."""

    def __init__(self, credentials: Credentials, base_of: Callable[[str], str]) -> None:
        super().__init__(credentials)
        self._base_of = base_of

    def _origins(self, token: Token) -> Origins:
        return {*super()._origins(token), origin_of(self._base_of(token.host))}


def _is_whole(answer: httpx.Response) -> bool:
    """Whether this is one answer in one piece."""
    return answer.is_success and answer.headers.get("content-type", "").startswith("application/json")


def _read_whole(answer: httpx.Response) -> bytes:
    with closing(answer):
        content = bytearray()
        for piece in answer.iter_bytes():
            content += _bounded(piece, len(content))
    return bytes(content)


async def _aread_whole(answer: httpx.Response) -> bytes:
    async with aclosing(answer):
        content = bytearray()
        async for piece in answer.aiter_bytes():
            content += _bounded(piece, len(content))
    return bytes(content)


def _bounded(piece: bytes, before: int) -> bytes:
    if before + len(piece) > LARGEST:
        raise Refused(
            f"the answer of the model is too large: it has more than {LARGEST >> 20} MiB", hint="ask for it as a stream"
        )
    return piece


def _incoming(answer: httpx.Response, known: Known | None, content: bytes | None, request: object) -> httpx.Response:
    """The answer as clients expect it, in the classes of the library that asks; `content` if it came in one piece."""
    make: type[httpx.Response] = _library(request).Response
    headers = [(k, v) for k, v in answer.headers.multi_items() if k.lower() not in (*_OF_ONE_HOP, "content-encoding")]
    if known and content is not None:
        body = sse.loaded(content)
        fixed, names = fixes.reply(known.facts, known.api, body)
        content = content if fixed is body else sse.dumped(fixed)
        extensions = {**answer.extensions, FIXES: {*known.fixes, *names}}
        return make(answer.status_code, headers=headers, content=content, extensions=extensions)
    extensions, reader = answer.extensions, None
    if known and answer.headers.get("content-type", "").startswith("text/event-stream"):
        reader = fixes.Stream(known.facts, known.api)
        reader.names.update(known.fixes)
        extensions = {**extensions, FIXES: reader.names}
    elif "content-encoding" in answer.headers:
        headers.append(("content-encoding", answer.headers["content-encoding"]))
    stream: Any = _body_of(_library(request))(answer, reader, request)
    return make(answer.status_code, headers=headers, stream=stream, extensions={**extensions, EVENTS: stream.events})


def _library(request: object) -> Any:
    """The library whose request this is: httpx, or httpx2 with classes of its own by the same names."""
    if request is None:
        return httpx
    return sys.modules[type(request).__module__.partition(".")[0]]


@contextmanager
def _errors_of(request: object) -> Iterator[None]:
    """Errors of the network as those of the library that asks."""
    try:
        yield
    except httpx.RequestError as error:
        library = _library(request)
        if library is httpx:
            raise
        raise getattr(library, type(error).__name__)(str(error), request=request) from error


@cache
def _body_of(library: Any) -> type[_Body]:
    return type("Body", (_Body, library.SyncByteStream, library.AsyncByteStream), {})


class _Body:
    """The body of an answer as it comes; of a stream that `reader` mends each event as soon as it is whole."""

    def __init__(self, answer: httpx.Response, reader: fixes.Stream | None, request: object) -> None:
        self._answer = answer
        self._reader = reader
        self._request = request
        self._events = sse.Events()

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of(self._request):
            if self._reader is None:
                yield from self._answer.iter_raw()
                return
            for piece in self._answer.iter_bytes():
                for event in self._events.feed(piece):
                    yield from (each.raw for each in self._read(event))
            yield from (each.raw for each in self._last())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._reader:
            async for event in self.events():
                yield event.raw
            return
        with _errors_of(self._request):
            async for piece in self._answer.aiter_raw():
                yield piece

    async def events(self) -> AsyncIterator[Event]:
        """The events as they come, for who would have to cut the stream and read them once more."""
        with _errors_of(self._request):
            async for piece in self._answer.aiter_bytes():
                for event in self._events.feed(piece):
                    for each in self._read(event):
                        yield each
            for each in self._last():
                yield each

    def close(self) -> None:
        self._answer.close()

    async def aclose(self) -> None:
        await self._answer.aclose()

    def _read(self, event: bytes) -> Iterator[Event]:
        """An event as it is to be handed on, and what is missing before the last one."""
        data = sse.data_of(event) if self._reader else None
        if data is None or self._reader is None:
            yield Event(event)
        elif data == sse.DONE:
            for more in self._reader.end():
                yield Event(sse.with_data(b"", more), more)
            yield Event(event, is_done=True)
        else:
            body = sse.loaded(data)
            fixed = self._reader.event(body) if body else body
            yield Event(event if fixed is body else sse.with_data(event, fixed), fixed)

    def _last(self) -> Iterator[Event]:
        """The last event, which may lack its empty line; what was cut off in its middle stays so."""
        left = self._events.rest()
        for event in self._read(left) if left else ():
            is_whole = self._reader and (event.is_done or event.body != {})
            yield event._replace(raw=event.raw.rstrip(b"\r\n") + b"\n\n") if is_whole else event
