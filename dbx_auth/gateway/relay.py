"""The gateway as an ASGI application: what any client asks goes to the model it names, and comes back in its own API.

guard ─► read ─► find the model ─► translate ─► Transport (fixes, token, replay) ─► workspace
client ◄── error or event in the shape of its API ◄── translate ◄── event by event ◄──┘
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from dbx_auth import calling, endpoints, metadata, models, sse, translate
from dbx_auth.credentials import Credentials
from dbx_auth.errors import AuthError, LoginRequired, Refused, Temporary, mistake
from dbx_auth.models import Listing, Model
from dbx_auth.tokens import Token
from dbx_auth.transport import EVENTS, FIXES, Asked, Event, Transport, call, read
from dbx_auth.world import masked, one_line

from . import shapes
from .guard import LARGEST, Door, too_large
from .shapes import CHAT, GENERATE, MESSAGES, Body

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SLOW = 60.0
"""Seconds that a body may take to arrive."""

PATIENCE = {"connect": 10.0, "read": 600.0, "write": 60.0, "pool": 60.0}
"""Seconds: for each step of a call, and for each piece of an answer."""

ANEW = 10.0
"""Seconds after which a list of models is asked for again because of a name that is not in it."""

_GENERATE = re.compile(r"/v1(?:beta)?/models/([^/:]+):(\w+)")
_GOES_THERE = ("accept", "anthropic-beta", "anthropic-version", "openai-beta", "user-agent")
_COMES_BACK = ("content-type", "retry-after", "x-request-id")


class Served(NamedTuple):
    """One request, for the line about it: what was asked for, what came of it, what was done to it, in how long."""

    method: str
    path: str
    status: int
    model: str
    way: str
    fixes: tuple[str, ...]
    seconds: float


class Failed(Exception):
    """Something is wrong, and the client reads it in the shape of its API; `body` is one that has it already."""

    def __init__(self, status: int, message: str, retry_after: str = "", body: Body | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body = body

    @classmethod
    def of(cls, error: AuthError) -> Failed:
        """What went wrong on the way to a token."""
        status = 401 if isinstance(error, LoginRequired) else 503 if isinstance(error, Temporary) else 502
        wait = str(max(1, round(error.retry_after))) if error.retry_after else ""
        return cls(status, f"{one_line(str(error), 1000)} ({error.hint})", wait)


class Exchange:
    """One request on its way: what is known of it so far."""

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.api = _api_of(self.path, scope["headers"])
        self.status = 0
        self.model = ""
        self.way = ""
        self.fixes: set[str] = set()

    def failed(self, error: Failed) -> Response:
        headers = {"retry-after": error.retry_after} if error.retry_after else None
        return _json(error.body or shapes.error(self.api, error.status, str(error)), error.status, headers)


class Streamed(StreamingResponse):
    """Events as they come; who goes away is looked for by `_watch` already."""

    def __init__(self, events: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> None:
        super().__init__(events, status, headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await self.stream_response(send)


class Gateway:
    """`door` says who is let in, `told` is told of each request when it is over."""

    def __init__(self, credentials: Credentials, door: Door, told: Callable[[Served], object] | None = None) -> None:
        self._credentials = credentials
        self._world = credentials.world
        self.door = door
        self._told = told
        self._transport = Transport(credentials)
        self._found: models.Memo[Model] = models.Memo(self._world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, began = Exchange(scope), self._world.monotonic()

        async def noted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        try:
            if refusal := self.door.refusal(scope):
                response = exchange.failed(Failed(*refusal))
                response.headers["connection"] = "close"  # a body that nobody reads would be taken for the next request
                await response(scope, receive, noted)
            else:
                await self._serve(exchange, Request(scope, receive), noted)
        except ClientDisconnect:
            pass
        finally:
            if self._told:
                self._told(self._served(exchange, self._world.monotonic() - began))

    def _served(self, exchange: Exchange, took: float) -> Served:
        path = exchange.path if exchange.path != self.door.secret else "/metadata/***"
        fixes = tuple(sorted(exchange.fixes))
        return Served(exchange.method, path, exchange.status, exchange.model, exchange.way, fixes, took)

    async def _serve(self, exchange: Exchange, request: Request, send: Send) -> None:
        """Answer, to the end or until the client goes away: then nobody pays for the rest."""
        try:
            content = await _body(request) if exchange.method == "POST" else b""
        except Failed as error:
            await exchange.failed(error)(request.scope, request.receive, send)
            return
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, request.receive, group.cancel_scope)
            response = await self._answer(exchange, request, content)
            await response(request.scope, request.receive, send)
            group.cancel_scope.cancel()

    async def _answer(self, exchange: Exchange, request: Request, content: bytes) -> Response:
        try:
            if exchange.path == "/healthz":
                return _json({"status": "ok"})
            if exchange.path == self.door.secret:
                return await self._metadata(request)
            if exchange.method == "GET" and exchange.path.startswith(("/v1/", "/v1beta/")):
                return await self._list(exchange)
            return await self._called(exchange, request, content)
        except Failed as error:
            return exchange.failed(error)
        except AuthError as error:
            return exchange.failed(Failed.of(error))
        except httpx.RequestError as error:
            return exchange.failed(_of_the_network(error))
        except Exception as error:
            return exchange.failed(Failed(500, str(mistake(error))))

    async def _metadata(self, request: Request) -> Response:
        token = await anyio.to_thread.run_sync(self._credentials.token)
        status, body = metadata.reply(request.headers, token, self._world.now())
        return _json(body, status)

    # ---- models ------------------------------------------------------------------------------------------------------

    async def _list(self, exchange: Exchange) -> Response:
        several, one = shapes.LISTS[exchange.api]
        name = exchange.path.partition("/models")[2].lstrip("/")
        if name:
            return _json(one(await self._model(name)))
        listing = await anyio.to_thread.run_sync(self._listing)
        return _json(several([model for model in listing.models if model.ready and model.apis]))

    def _listing(self, refresh: bool = False) -> Listing:
        token = self._credentials.token()
        try:
            try:
                return self._listed(token, refresh)
            except LoginRequired:
                if not token.refreshable:
                    raise
                return self._listed(self._credentials.token(rejected=token.value), refresh)
        except (Refused, Temporary) as error:  # who may call models may not be let to list them
            self._world.note(str(error))
            return models.offline(token.host, self._world)

    def _listed(self, token: Token, refresh: bool) -> Listing:
        return models.listing(token.host, models.identity(token), token.headers, self._world, refresh=refresh)

    async def _model(self, name: str) -> Model:
        """The model of that name, in either spelling. Raises Failed, with the nearest names, where there is none."""
        found = self._found.get(name)
        return found or self._found.keep(name, await anyio.to_thread.run_sync(self._looked_up, name))

    def _looked_up(self, name: str) -> Model:
        listing = self._listing()
        with suppress(Refused):
            return models.find(listing, name)
        now = self._world.now()
        if listing.source == "cache" and now - (listing.fetched_at or 0.0) > ANEW:  # it may have been made just now
            listing = self._listing(refresh=True)
        try:
            return models.find(listing, name)
        except Refused as error:
            if listing.source == "catalogue":  # nobody has told what there is, so it may be there
                return models.described(endpoints.Row(name))
            raise Failed(404, str(error)) from error

    # ---- calls -------------------------------------------------------------------------------------------------------

    async def _called(self, exchange: Exchange, request: Request, content: bytes) -> Response:
        if exchange.path.startswith(("/serving-endpoints/", "/ai-gateway/")):
            return await self._as_it_is(exchange, request, content)
        asked = _asked(content)
        if exchange.path.endswith("/count_tokens"):
            return _json({"input_tokens": translate.count(asked)})
        named = _GENERATE.fullmatch(exchange.path)
        if named and named[2] == "countTokens":
            return _json({"totalTokens": len(json.dumps(asked.get("contents"))) // 4})
        name = named[1] if named else asked.get("model")
        if not isinstance(name, str) or not name:
            raise Failed(400, "the request names no model")
        model = await self._model(name)
        exchange.model = model.id
        api = translate.between(exchange.api, model.apis)
        if api is None:
            speaks = ", ".join(model.apis)
            raise Failed(400, f"{model.id} cannot be called through {exchange.api}; it speaks {speaks}")
        exchange.way = "" if api == exchange.api else f"{exchange.api} → {api}"
        try:
            wanted = translate.request(exchange.api, api, asked, thinks=model.reasoning is not False)
        except translate.Untranslatable as error:
            raise Failed(
                400, f"{model.id} speaks {api}, not {exchange.api}, which has no way to say this: {error}"
            ) from error
        if not named:
            wanted = {**wanted, "model": model.id}
        place = _place(model, api, named[2] if named else "")
        there = await self._request(exchange, request, place)
        there = there._replace(content=None, body=wanted, size=len(content), model=model.id, facts=model.facts)
        answer = await self._sent(exchange, there)
        if not answer.is_success:
            raise await self._refusal(exchange, answer)
        if _is_stream(answer):
            return Streamed(_events(exchange, api, asked, answer), 200, _kept(answer))
        content = await _content(answer)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        is_array = api == GENERATE and isinstance(found, list)  # a stream, asked for without alt=sse
        if not isinstance(found, dict) and not is_array:
            raise Failed(502, "the workspace answered with something that is no JSON object")
        if api == exchange.api:
            return Response(content, 200, _kept(answer))
        return _json(translate.reply(exchange.api, api, found, asked))

    async def _as_it_is(self, exchange: Exchange, request: Request, content: bytes) -> Response:
        answer = await self._sent(exchange, await self._request(exchange, request, exchange.path, content))
        if _is_stream(answer):
            return Streamed(_events(exchange, "", {}, answer), answer.status_code, _kept(answer))
        content = await (_content(answer) if answer.is_success else self._said(answer))
        return Response(content, answer.status_code, _kept(answer))

    async def _request(self, exchange: Exchange, request: Request, path: str, content: bytes = b"") -> Asked:
        """What the workspace is asked, with those of the client's headers that go there."""
        token = self._credentials.held()
        if token is None:
            token = await anyio.to_thread.run_sync(self._credentials.token)
        query = f"?{request.url.query}" if request.scope["query_string"] else ""
        headers = [(name, value) for name, value in request.headers.items() if name in _GOES_THERE]
        if exchange.method == "POST":
            headers.append(("content-type", "application/json"))
        return read(exchange.method, token.host + path + query, path, headers, content, {"timeout": PATIENCE})

    async def _sent(self, exchange: Exchange, asked: Asked) -> httpx.Response:
        """The answer of the workspace, as soon as it begins."""
        answer = await self._transport.ask(asked)
        exchange.fixes = answer.extensions.get(FIXES, set())
        return answer

    async def _said(self, answer: httpx.Response) -> bytes:
        """What the workspace said against a request, which may repeat the token that it was sent."""
        token = self._credentials.held()
        return masked((await _content(answer)).decode(errors="replace"), [token.value] if token else ()).encode()

    async def _refusal(self, exchange: Exchange, answer: httpx.Response) -> Failed:
        found = sse.loaded(await self._said(answer))
        text = one_line(shapes.said(found), 2000) or f"the workspace answered {answer.status_code} and did not say why"
        body = found if shapes.is_error_of(exchange.api, found) else None
        return Failed(answer.status_code, text, answer.headers.get("retry-after", ""), body)


# ---- reading what the client sends ---------------------------------------------------------------------------------


def _api_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """In whose shape a client wants to read an answer, also to what it should not have asked."""
    if path.startswith("/v1beta/") or _GENERATE.fullmatch(path):
        return GENERATE
    if path.startswith("/v1/messages"):
        return MESSAGES
    if found := call(path):
        return found.api
    names = {name for name, _ in headers}
    return GENERATE if b"x-goog-api-key" in names else MESSAGES if b"anthropic-version" in names else CHAT


async def _body(request: Request) -> bytes:
    """All that the client sends. Raises Failed when it is too much, or takes too long."""
    content = bytearray()
    with anyio.move_on_after(SLOW):
        async for piece in request.stream():
            content += piece
            if len(content) > LARGEST:
                raise Failed(*too_large())
        return bytes(content)
    raise Failed(408, f"the request did not arrive within {SLOW:.0f} s")


def _asked(content: bytes) -> Body:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Failed(400, f"the request is no JSON: {one_line(str(error))}") from error
    if not isinstance(found, dict):
        raise Failed(400, "the request is no JSON object")
    return found


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    """Stop everything when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


# ---- reading what the workspace sends ------------------------------------------------------------------------------


def _place(model: Model, api: str, verb: str) -> str:
    """The path of this API of a model, on the host."""
    path = calling.Base(calling.PLACE, calling.GATEWAYS).url(model, api)
    return path.removesuffix(GENERATE) + verb if verb else path


def _is_stream(answer: httpx.Response) -> bool:
    return answer.is_success and answer.headers.get("content-type", "").startswith("text/event-stream")


def _kept(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in _COMES_BACK if name in answer.headers}


async def _content(answer: httpx.Response) -> bytes:
    content = bytearray()
    try:
        async for piece in answer.aiter_bytes():
            content += piece
            if len(content) > LARGEST:
                raise Failed(502, "the answer of the workspace is too large")
    finally:
        await _closed(answer)
    return bytes(content)


async def _events(exchange: Exchange, api: str, asked: Body, answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The events of a stream as they come, in the client's API, to a proper end whatever happens.

    `api` is the model's, empty where the client has called a path of the workspace: those are handed on as they are.
    """
    stream, is_over = translate.Stream(exchange.api, api or exchange.api, asked), not api
    events: Callable[[], AsyncIterator[Event]] = answer.extensions[EVENTS]
    try:
        async for event in events():
            if api and event.body == {}:
                raise Failed(502, "the workspace sent something that is no JSON in the middle of a stream")
            is_over = is_over or event.is_done or shapes.is_last(api, event.body or {})
            if api in ("", exchange.api):
                yield event.raw
            else:
                for new in stream.event(event.body or {}):
                    yield shapes.event(exchange.api, new)
        if not is_over and api == exchange.api:
            raise Failed(502, "the answer of the workspace broke off")
        for last in stream.end():
            yield shapes.event(exchange.api, last)
    except Failed as failed:
        yield shapes.error_event(exchange.api, failed.status, str(failed))
    except httpx.RequestError as error:
        found = _of_the_network(error)
        yield shapes.error_event(exchange.api, found.status, str(found))
    except Exception as error:
        yield shapes.error_event(exchange.api, 500, str(mistake(error)))
    finally:
        await _closed(answer)
    if exchange.api == CHAT and api not in ("", CHAT):
        yield b"data: " + sse.DONE + b"\n\n"


async def _closed(answer: httpx.Response) -> None:
    with anyio.CancelScope(shield=True):
        await answer.aclose()


def _of_the_network(error: httpx.RequestError) -> Failed:
    if isinstance(error, httpx.TimeoutException):
        return Failed(504, "the workspace did not answer in time")
    reason = one_line(str(error)) or type(error).__name__
    return Failed(502, f"the connection to the workspace failed: {reason}")


def _json(body: Body, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(sse.dumped(body), status, headers, "application/json")
