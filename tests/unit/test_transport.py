"""What a transport sends, to whom, and how it hands back what comes, byte by byte if need be."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import anyio
import httpx
import httpx2
import pytest
from machine import HOST, OTHER, Machine
from unit.stubs import ByteServer, Script, http, nobody, reset, silence

from dbx_auth import Credentials, Refused, Transport
from dbx_auth.sandbox import Sandbox
from dbx_auth.tokens import Token
from dbx_auth.transport import FIXES, call

CHAT = "https://api.openai.com/v1/chat/completions"
CHAT_HERE = "/serving-endpoints/chat/completions"
GPT, LLAMA, INKLING, GEMINI = (
    f"databricks-{name}" for name in ("gpt-5-2", "llama-4-maverick", "inkling", "gemini-3-pro")
)
JSON = "Content-Type: application/json"
STREAM = "Content-Type: text/event-stream"
SECRETS = ["client-key-1", "client-key-2", "client-key-3", "client-key-4", "client-key-5"]

Json = dict[str, Any]


def asked(model: str = GPT, **more: Any) -> Json:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def transport_to(machine: Machine, url: str) -> Transport:
    machine.env.update(DATABRICKS_HOST=url, DATABRICKS_TOKEN="dapi-ours")
    return Transport(Credentials(world=machine.world))


# ---- who asks: both libraries, in both ways --------------------------------------------------------------------------


class Answer(NamedTuple):
    """A response of either library that has been read."""

    status: int
    headers: Any
    content: bytes
    response: Any

    def json(self) -> Any:
        return json.loads(self.content)


class Asker:
    """A client of one of the libraries; in an event loop, it is a new one for each request."""

    def __init__(self, library: Any, in_a_loop: bool) -> None:
        self.library = library
        self.in_a_loop = in_a_loop

    def __call__(self, transport: Transport, method: str, url: str, **params: Any) -> Answer:
        if self.in_a_loop:
            return asyncio.run(self._in_a_loop(transport, method, url, **params))
        with self.library.Client(transport=transport) as client:
            answer = client.request(method, url, **params)
        return Answer(answer.status_code, answer.headers, answer.content, answer)

    async def _in_a_loop(self, transport: Transport, method: str, url: str, **params: Any) -> Answer:
        async with self.library.AsyncClient(transport=transport) as client:
            answer = await client.request(method, url, **params)
        return Answer(answer.status_code, answer.headers, answer.content, answer)

    def stream(self, transport: Transport, seen: Callable[[bytes], None], **params: Any) -> None:
        """Show each piece of an answer as soon as it is there."""

        async def shown() -> None:
            async with self.library.AsyncClient(transport=transport) as client:
                async with client.stream("POST", CHAT, **params) as answer:
                    async for piece in answer.aiter_bytes():
                        await anyio.to_thread.run_sync(seen, piece)

        if self.in_a_loop:
            asyncio.run(shown())
            return
        with self.library.Client(transport=transport) as client, client.stream("POST", CHAT, **params) as answer:
            for piece in answer.iter_bytes():
                seen(piece)


WAYS = [(library, in_a_loop) for library in (httpx, httpx2) for in_a_loop in (False, True)]


@pytest.fixture(params=WAYS, ids=[f"{library.__name__}-{'async' if loop else 'sync'}" for library, loop in WAYS])
def ask(request: pytest.FixtureRequest) -> Asker:
    return Asker(*request.param)


# ---- the token and the headers ---------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """A request as the workspace has it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw: bytes


def sent(server: ByteServer) -> Sent:
    [raw] = server.requests
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "each header once"
    return Sent(method, path, headers, body, raw)


def test_our_token_goes_there_and_no_key_of_the_client_s(machine: Machine, ask: Asker) -> None:
    theirs = {
        "Authorization": f"Bearer {SECRETS[0]}",
        "X-Api-Key": SECRETS[1],
        "API-KEY": SECRETS[2],
        "x-goog-api-key": SECRETS[3],
        "User-Agent": "their-agent/7",
        "OpenAI-Organization": "an-organization",
    }
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        answer = ask(
            transport_to(machine, server.url), "POST", f"{CHAT}?key={SECRETS[4]}&a=b", headers=theirs, json=asked()
        )
        there = sent(server)
    assert (answer.status, there.method, there.path) == (200, "POST", f"{CHAT_HERE}?a=b")
    assert not any(secret.encode() in there.raw for secret in SECRETS)
    assert there.headers["authorization"] == "bearer dapi-ours"
    assert there.headers["host"] == server.url.removeprefix("http://")
    assert re.match(r"dbx-auth/\S+ .*their-agent/7$", there.headers["user-agent"])
    assert there.headers["x-databricks-disable-beta-headers"] == "true"
    assert there.headers["openai-organization"] == "an-organization"
    assert there.headers["accept-encoding"] == "identity"


def test_without_the_list_of_their_headers_the_client_s_keys_would_go_there(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server, mock.patch("dbx_auth.transport._THEIR_KEYS", ()):
        ask(transport_to(machine, server.url), "POST", CHAT, headers={"X-Api-Key": SECRETS[1]}, json=asked())
        assert SECRETS[1].encode() in sent(server).raw


def test_a_login_in_an_address_stays_with_the_client(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        ask(transport_to(machine, server.url), "POST", CHAT.replace("//", "//someone:secret@"), json=asked())
        there = sent(server)
    assert there.headers["authorization"] == "bearer dapi-ours" and b"someone" not in there.raw


def test_a_refused_token_is_renewed_once(machine: Machine, sandbox: Sandbox, ask: Asker) -> None:
    login = sandbox.add_login()
    machine.cached_login(sandbox.url, access_token="revoked", refresh_token=login.refresh_token)
    transport = Transport(Credentials(host=sandbox.url, world=machine.world))
    assert ask(transport, "POST", CHAT, json=asked()).status == 200
    seen = [(request.path, request.status) for request in sandbox.log if request.method == "POST"]
    assert seen == [(CHAT_HERE, 401), ("/oidc/v1/token", 200), (CHAT_HERE, 200)]


def test_a_refusal_of_a_good_token_is_handed_on(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b'{"error_code": "401"}', "401 Unauthorized", JSON)) as server:
        answer = ask(transport_to(machine, server.url), "POST", CHAT, json=asked())
        assert (answer.status, answer.json(), len(server.requests)) == (401, {"error_code": "401"}, 1)


ABOUT_IT = b'{"error_code": "403", "message": "Invalid access token."}'
NOT_ABOUT_IT = b'{"error_code": "PERMISSION_DENIED", "message": "You may not."}'
STREAMED = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Strict:
    """A workspace that takes the token it gives for a refresh, and refuses every other with `refusal`."""

    def __init__(self, refusal: bytes, answer: bytes) -> None:
        self.refusal, self.answer = refusal, answer
        self.server = ByteServer(self)

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        asked = self.server.requests[-1]
        if asked.startswith(b"POST /oidc/v1/token "):
            given = {"access_token": "new", "refresh_token": "r2", "expires_in": 3600, "token_type": "Bearer"}
            connection.sendall(http(json.dumps(given).encode(), "200 OK", JSON))
        elif asked.startswith(b"GET "):
            connection.sendall(http(b"{}", "404 Not Found", JSON))
        else:
            connection.sendall(self.answer if b"Bearer new" in asked else self.refusal)

    @property
    def posts(self) -> list[str]:
        return [each.split(b" ", 2)[1].decode() for each in self.server.requests if each.startswith(b"POST")]


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "401 Unauthorized"])
@pytest.mark.parametrize("packed", [False, True], ids=["identity", "gzip"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_token_that_is_refused_in_words_is_renewed_too(
    machine: Machine, ask: Asker, status: str, packed: bool, streamed: bool
) -> None:
    said = gzip.compress(ABOUT_IT) if packed else ABOUT_IT
    refusal = http(said, status, JSON, *(["Content-Encoding: gzip"] if packed else []))
    answer = http(STREAMED, "200 OK", STREAM) if streamed else http(b'{"choices": []}', "200 OK", JSON)
    strict = Strict(refusal, answer)
    with strict.server as server:
        machine.cached_login(server.url)
        transport = Transport(Credentials(host=server.url, world=machine.world))
        told = ask(transport, "POST", CHAT, json=asked(stream=streamed))
    assert told.status == 200 and told.content == (STREAMED if streamed else b'{"choices": []}')
    assert strict.posts == [CHAT_HERE, "/oidc/v1/token", CHAT_HERE]


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden"])
@pytest.mark.parametrize("packed", [False, True], ids=["identity", "gzip"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_refusal_that_was_read_can_be_read_again(
    machine: Machine, ask: Asker, status: str, packed: bool, streamed: bool
) -> None:
    said = gzip.compress(NOT_ABOUT_IT) if packed else NOT_ABOUT_IT
    refusal = http(said, status, JSON, "Retry-After: 3", *(["Content-Encoding: gzip"] if packed else []))
    strict = Strict(refusal, b"")
    with strict.server as server:
        machine.cached_login(server.url)
        transport = Transport(Credentials(host=server.url, world=machine.world))
        told = ask(transport, "POST", CHAT, json=asked(stream=streamed))
        pieces: list[bytes] = []
        ask.stream(transport, pieces.append, json=asked(stream=streamed))
    assert (told.status, told.content, told.headers["retry-after"]) == (int(status[:3]), NOT_ABOUT_IT, "3")
    assert b"".join(pieces) == NOT_ABOUT_IT
    assert strict.posts == [CHAT_HERE] * 2


# ---- the fixes that were applied -------------------------------------------------------------------------------------


def fixes_of(answer: Any) -> set[str]:
    found: set[str] = answer.extensions[FIXES]
    return found


def test_an_answer_says_which_fixes_were_applied_there_and_back(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(json.dumps(ODD).encode(), "200 OK", JSON)) as server:
        transport = transport_to(machine, server.url)
        plain = fixes_of(ask(transport, "POST", CHAT, json=asked(INKLING)).response)
        more = fixes_of(ask(transport, "POST", CHAT, json=asked(INKLING, store=True)).response)
    assert plain and plain < more, "that of the answer, and then that of the request as well"


def test_an_answer_without_any_has_an_empty_set(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(json.dumps(MENDED).encode(), "200 OK", JSON)) as server:
        assert fixes_of(ask(transport_to(machine, server.url), "POST", CHAT, json=asked()).response) == set()


def test_a_stream_says_it_when_it_is_over_and_has_said_that_of_its_request_before(machine: Machine) -> None:
    event = b'data: {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "hi"}]}}]}\n\n'
    with ByteServer(http(event + b"data: [DONE]\n\n", "200 OK", STREAM)) as server:
        with httpx.Client(transport=transport_to(machine, server.url)) as client:
            with client.stream("POST", CHAT, json=asked(GEMINI, stream=True, store=True)) as answer:
                before = set(fixes_of(answer))
                answer.read()
                after = fixes_of(answer)
    assert before and before < after


def test_what_is_no_call_of_a_model_has_none(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        answer = ask(transport_to(machine, server.url), "GET", f"{server.url}/api/2.0/x")
    assert FIXES not in answer.response.extensions


# ---- addresses -------------------------------------------------------------------------------------------------------

GENERATE = f"/models/{GEMINI}:generateContent"


@pytest.mark.parametrize(
    ("asked_for", "there"),
    [
        ("/v1/chat/completions", CHAT_HERE),
        ("/chat/completions", CHAT_HERE),
        ("/openai/deployments/gpt-5/chat/completions", CHAT_HERE),
        (CHAT_HERE, CHAT_HERE),
        ("/v1/responses", "/serving-endpoints/responses"),
        ("/v1/embeddings", "/serving-endpoints/embeddings"),
        ("/v1/messages", "/serving-endpoints/anthropic/v1/messages"),
        ("/serving-endpoints/anthropic/v1/messages", "/serving-endpoints/anthropic/v1/messages"),
        ("/ai-gateway/mlflow/v1/chat/completions", "/ai-gateway/mlflow/v1/chat/completions"),
        ("/ai-gateway/anthropic/v1/messages", "/ai-gateway/anthropic/v1/messages"),
        ("/serving-endpoints/mine/invocations", "/serving-endpoints/mine/invocations"),
        (f"/v1beta{GENERATE}", f"/serving-endpoints/gemini/v1beta{GENERATE}"),
        (f"/ai-gateway/gemini/v1beta{GENERATE}", f"/ai-gateway/gemini/v1beta{GENERATE}"),
        (
            f"/v1/models/{GEMINI}:streamGenerateContent",
            f"/serving-endpoints/gemini/v1beta/models/{GEMINI}:streamGenerateContent",
        ),
    ],
)
def test_every_way_to_call_a_model_has_its_place(asked_for: str, there: str) -> None:
    found = call(asked_for)
    assert found and found.path == there


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/models", "/v1/files", "/v1/messages/count_tokens", "/v1/responses/resp_1", f"/v1/models/{GEMINI}:embed"],
)
def test_nothing_else_is_a_call_of_a_model(path: str) -> None:
    assert call(path) is None


@pytest.mark.parametrize("base", ["https://api.openai.com", "http://localhost:1", OTHER, "here"])
def test_whatever_the_address_it_is_the_workspace_that_is_asked(machine: Machine, ask: Asker, base: str) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        url = (server.url if base == "here" else base) + f"/v1beta{GENERATE}?alt=sse&key={SECRETS[4]}"
        assert ask(transport_to(machine, server.url), "POST", url, json={"contents": []}).status == 200
        assert sent(server).path == f"/serving-endpoints/gemini/v1beta{GENERATE}?alt=sse"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/chat/completions"), ("POST", "/v1/files"), ("GET", "/")]
)
def test_another_address_is_refused_and_nobody_is_asked(machine: Machine, ask: Asker, method: str, path: str) -> None:
    with ByteServer(b"") as server:
        transport = transport_to(machine, server.url)
        for host in (OTHER, server.url.replace("127.0.0.1", "localhost"), server.url.replace("http:", "https:")):
            with pytest.raises(Refused, match="is neither the API of a model nor at") as refused:
                ask(transport, method, f"{host}{path}?secret={SECRETS[0]}")
            assert SECRETS[0] not in str(refused.value) and "another client" in (refused.value.hint or "")
        assert server.requests == []


def test_any_address_of_the_workspace_is_let_through_with_the_token(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"[1]", "200 OK", JSON)) as server:
        path = "/api/2.0/preview/scim/v2/Me?key=kept"
        answer = ask(transport_to(machine, server.url), "GET", server.url + path, headers={"Authorization": "Basic x"})
        assert answer.content == b"[1]"
        assert sent(server).path == path and sent(server).headers["authorization"] == "bearer dapi-ours"


def test_a_base_url_of_config_toml_is_where_model_calls_go_and_nothing_else(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as workspace, ByteServer(http(b"{}", "200 OK", JSON)) as gateway:
        machine.write(
            machine.home / ".config/dbx-auth/config.toml",
            f"[hosts.'{workspace.url}']\nbase_url = '{gateway.url}/dbx/'\n",
        )
        transport = transport_to(machine, workspace.url)
        asked_for = {
            f"https://api.openai.com/v1/chat/completions?a=b&key={SECRETS[4]}": "/dbx/chat/completions?a=b",
            f"{workspace.url}/serving-endpoints/mine/invocations": "/dbx/mine/invocations",
            f"{gateway.url}/dbx/anthropic/v1/messages": "/dbx/anthropic/v1/messages",
            f"{workspace.url}/ai-gateway/mlflow/v1/embeddings": "",
        }
        for url, there in asked_for.items():
            assert ask(transport, "POST", url, json=asked()).status == 200
            [request] = [each for each in [*gateway.requests, *workspace.requests] if each.startswith(b"POST")]
            assert (request in gateway.requests) is bool(there)
            assert request.startswith(f"POST {there or '/ai-gateway/mlflow/v1/embeddings'} ".encode())
            assert b"Bearer dapi-ours" in request
            gateway.requests.clear()
            workspace.requests.clear()
        for server in (gateway, workspace):
            server.requests.clear()
            assert ask(transport, "GET", f"{server.url}/v1/models").status == 200
            assert b"Bearer dapi-ours" in server.requests[0]
        with pytest.raises(Refused):
            ask(transport, "GET", f"{OTHER}/v1/models")


def test_the_token_of_another_host_does_not_follow_the_base_url_of_this_one(machine: Machine, ask: Asker) -> None:
    """A profile may be pointed elsewhere while a transport lives."""
    with ByteServer(http(b"{}", "200 OK", JSON)) as gateway, ByteServer(http(b"{}", "200 OK", JSON)) as new:
        machine.write(machine.home / ".config/dbx-auth/config.toml", f"[hosts.'{HOST}']\nbase_url = '{gateway.url}'\n")
        tokens = [Token("dapi-old", None, "pat", "env", HOST), Token("dapi-new", None, "pat", "env", new.url)]
        credentials = Credentials(world=machine.world)
        transport = Transport(credentials)
        for token, server in zip(tokens, (gateway, new), strict=True):
            with mock.patch.object(credentials, "token", lambda rejected=None, token=token: token):
                assert ask(transport, "POST", CHAT, json=asked()).status == 200
                assert token.value.encode() in sent(server).raw
        assert len(gateway.requests) == 1


def test_the_models_that_a_client_makes_up_are_not_all_remembered(machine: Machine) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server, mock.patch("dbx_auth.models.MOST", 3):
        transport = transport_to(machine, server.url)
        with httpx.Client(transport=transport) as client:
            for number in range(8):
                client.post(CHAT, json=asked(f"databricks-{number}"))
                assert len(transport._known._kept) <= 3
        assert list(transport._known._kept) == ["databricks-6", "databricks-7"]


# ---- bodies that go there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1, 2]",
        b'"text"',
        b"null",
        b"{}",
        b'{"model": 7,  "messages": []}',
        b'{"model": "' + GPT.encode(),
        b"\x00\xff not JSON",
        b"[" * 200_000,
        b'{"model":  "databricks-gpt-5-2",  "messages": [ ]}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_with_nothing_to_mend_goes_as_it_came(machine: Machine, ask: Asker, body: bytes) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        ask(transport_to(machine, server.url), "POST", CHAT, content=body, headers={"Content-Type": "text/x"})
        there = sent(server)
    assert there.body == body
    assert (there.headers["content-length"], there.headers["content-type"]) == (str(len(body)), "text/x")


def test_a_mended_body_has_its_own_length(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        given = asked(LLAMA, stream_options={}, store=True, metadata={"é": "\ud83d\ude00"})
        ask(transport_to(machine, server.url), "POST", CHAT, content=json.dumps(given), headers={"Content-Length": "7"})
        there = sent(server)
    assert json.loads(there.body) == asked(LLAMA, metadata={"é": "😀"})
    assert there.headers["content-length"] == str(len(there.body))


def test_a_body_that_is_made_while_it_is_sent_is_mended_too(machine: Machine, ask: Asker) -> None:
    text = json.dumps(asked(LLAMA, store=True)).encode()

    def pieces() -> Iterator[bytes]:
        yield from (text[:10], text[10:])

    async def pieces_in_a_loop() -> Any:
        for piece in pieces():
            yield piece

    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        content = pieces_in_a_loop() if ask.in_a_loop else pieces()
        ask(transport_to(machine, server.url), "POST", CHAT, content=content)
        there = sent(server)
    assert json.loads(there.body) == asked(LLAMA) and "transfer-encoding" not in there.headers


def test_a_body_that_is_compressed_stays_so_and_says_so(machine: Machine, ask: Asker) -> None:
    packed = gzip.compress(json.dumps(asked()).encode())
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        ask(transport_to(machine, server.url), "POST", CHAT, content=packed, headers={"Content-Encoding": "gzip"})
        assert sent(server).body == packed and sent(server).headers["content-encoding"] == "gzip"


def test_the_ids_of_a_conversation_with_gemini_are_short_for_others(machine: Machine, ask: Asker) -> None:
    """Where no client can be seen to fail, because only we make ids that long."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [{**call, "thoughtSignature": "s" * 300}]}
    told = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    with ByteServer(http(json.dumps(told).encode(), "200 OK", JSON)) as server:
        answer = ask(transport_to(machine, server.url), "POST", CHAT, json=asked(GEMINI)).json()
        [given] = answer["choices"][0]["message"]["tool_calls"]
    assert len(given["id"]) > 300
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        result = {"role": "tool", "tool_call_id": given["id"], "content": "fine"}
        turn = {"role": "assistant", "content": None, "tool_calls": [{**call, "id": given["id"]}]}
        ask(transport_to(machine, server.url), "POST", CHAT, json={"model": GPT, "messages": [turn, result]})
        messages = json.loads(sent(server).body)["messages"]
    assert messages == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {**result, "tool_call_id": "call_1"},
    ]


# ---- answers in one piece --------------------------------------------------------------------------------------------

ODD = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "é"}, "finish_reason": None}]}
MENDED = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "é"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("packed", [False, True], ids=["identity", "gzip"])
def test_an_answer_is_mended_and_has_the_length_it_has(machine: Machine, ask: Asker, packed: bool) -> None:
    """Also where it comes compressed, although we had asked that it be not."""
    body = json.dumps(ODD).encode()
    headers = [JSON, "X-Request-Id: 7", *(["Content-Encoding: gzip"] if packed else [])]
    with ByteServer(http(gzip.compress(body) if packed else body, "200 OK", *headers)) as server:
        answer = ask(transport_to(machine, server.url), "POST", CHAT, json=asked(INKLING))
    assert answer.json() == MENDED and answer.headers["x-request-id"] == "7"
    assert answer.headers["content-length"] == str(len(answer.content)) and "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    "body", [b"", b"[1 ]", b'{"choices":  7}', b"{", b"\xff", b"[" * 200_000], ids=lambda b: repr(b[:20])
)
def test_an_answer_with_nothing_to_mend_comes_as_it_is(machine: Machine, ask: Asker, body: bytes) -> None:
    with ByteServer(http(body, "200 OK", JSON)) as server:
        assert ask(transport_to(machine, server.url), "POST", CHAT, json=asked(INKLING)).content == body


@pytest.mark.parametrize("packed", [False, True], ids=["identity", "gzip"])
@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Internal Server Error"])
def test_an_error_comes_as_it_is(machine: Machine, ask: Asker, status: str, packed: bool) -> None:
    body = json.dumps(ODD).encode()
    headers = [JSON, "Retry-After: 3", *(["Content-Encoding: gzip"] if packed else [])]
    with ByteServer(http(gzip.compress(body) if packed else body, status, *headers)) as server:
        answer = ask(transport_to(machine, server.url), "POST", CHAT, json=asked(INKLING))
    assert (answer.status, answer.content, answer.headers["retry-after"]) == (int(status[:3]), body, "3")


def test_the_answer_is_of_the_library_that_asks(machine: Machine, ask: Asker) -> None:
    with ByteServer(http(b"{}", "200 OK", JSON)) as server:
        response = ask(transport_to(machine, server.url), "POST", CHAT, json=asked()).response
    assert type(response) is ask.library.Response and str(response.request.url) == CHAT


# ---- streams ---------------------------------------------------------------------------------------------------------


def chunk(content: str | None = None, finish: str | None = None) -> Json:
    delta = {} if content is None else {"content": content}
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def event(data: Json, line: str = "\n") -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}{line}{line}".encode()


DONE = b"data: [DONE]\n\n"
ENDED = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def streaming(*pieces: bytes, head: bytes = HEAD) -> Script:
    """Send these one after the other, each as a packet of its own."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head)
        for piece in pieces:
            connection.sendall(piece)

    return script


def streamed(machine: Machine, ask: Asker, script: Script | bytes, model: str = INKLING) -> bytes:
    with ByteServer(script) as server:
        return ask(transport_to(machine, server.url), "POST", CHAT, json=asked(model, stream=True)).content


def test_an_event_is_handed_on_while_the_next_is_held_back(machine: Machine, ask: Asker) -> None:
    first_is_here, seen = threading.Event(), bytearray()

    def held_back(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + event(chunk("a")))
        assert first_is_here.wait(20), "the first event waits for the second"
        connection.sendall(event(chunk("b")) + DONE)

    def see(piece: bytes) -> None:
        seen.extend(piece)
        if event(chunk("a")) in seen:
            first_is_here.set()

    with ByteServer(held_back) as server:
        ask.stream(transport_to(machine, server.url), see, json=asked(INKLING, stream=True))
    assert bytes(seen) == event(chunk("a")) + event(chunk("b")) + ENDED + DONE


def test_a_stream_may_be_torn_anywhere(machine: Machine, ask: Asker) -> None:
    text = event(chunk("é😀")) + b": ping\n\n" + event(chunk("ü")) + DONE
    torn = [text[i : i + 1] for i in range(len(text))]
    assert streamed(machine, ask, streaming(*torn)) == text.removesuffix(DONE) + ENDED + DONE


AS_THEY_ARE = {
    "CRLF": event(chunk("a"), "\r\n") + event(chunk("b", "stop"), "\r\n") + b"data: [DONE]\r\n\r\n",
    "several lines": b'data: {"id": "x",\ndata: "choices": []}\n\n' + DONE,
    "comments, names, ids": b": hello\n\nevent: a\nid: 7\nretry: 10\ndata: {}\n\n:\n\n" + DONE,
    "not JSON": b"data: nonsense\n\ndata: [1]\n\ndata: \xff\xfe\n\n" + DONE,
    "nothing": b"",
    "no end": event(chunk("a")) + b'data: {"id": "y", "cho',
    "no [DONE]": event(chunk("a")),
    "a megabyte": event(chunk("x" * (1 << 20), "stop")) + DONE,
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_is_not_odd_comes_byte_by_byte_as_it_is(machine: Machine, ask: Asker, name: str) -> None:
    stream = AS_THEY_ARE[name]
    pieces = [stream[i : i + 50_000] for i in range(0, len(stream), 50_000)]
    assert streamed(machine, ask, streaming(*pieces)) == stream


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_odd_events_are_mended_in_every_shape(machine: Machine, ask: Asker, line: str) -> None:
    """With their names and ids kept, over several lines, and a megabyte large."""
    parts = [{"type": "text", "text": "x" * (1 << 20)}]
    text = json.dumps({"id": "x", "choices": [{"index": 0, "delta": {"content": parts}, "finish_reason": None}]})
    half = text.index(", ") + 1
    odd = line.join([": so it comes", "id: 7", f"data: {text[:half]}", f"data: {text[half:]}", "", ""]).encode()
    came = streamed(machine, ask, streaming(odd, DONE), GEMINI)
    named, data, end, rest = came.removesuffix(DONE).rsplit(b"\n", 3)
    assert (named, end, rest) == (b": so it comes\nid: 7", b"", b"") and came.endswith(DONE)
    assert json.loads(data.removeprefix(b"data: "))["choices"][0]["delta"] == {"content": "x" * (1 << 20)}


def test_a_stream_that_is_compressed_all_the_same_is_read(machine: Machine, ask: Asker) -> None:
    packed = gzip.compress(event(chunk("a")) + DONE)
    head = HEAD.replace(b"Connection", b"Content-Encoding: gzip\r\nConnection")
    assert streamed(machine, ask, streaming(packed[:9], packed[9:], head=head)) == event(chunk("a")) + ENDED + DONE


def test_an_error_may_come_as_a_stream(machine: Machine, ask: Asker) -> None:
    body = b'event: error\ndata: {"error": {"message": "too much"}}\n\n'
    with ByteServer(http(body, "400 Bad Request", STREAM)) as server:
        answer = ask(transport_to(machine, server.url), "POST", CHAT, json=asked(INKLING, stream=True))
    assert (answer.status, answer.content) == (400, body)


def test_what_is_left_unread_is_not_waited_for(machine: Machine, ask: Asker) -> None:
    """A client that has seen enough goes, and the connection ends with it."""
    ended = threading.Event()

    def endless(connection: socket.socket, over: threading.Event) -> None:
        try:
            connection.sendall(HEAD)
            while not over.wait(0.01):
                connection.sendall(event(chunk("a")))
        except OSError:
            ended.set()

    class Enough(Exception):
        pass

    def see(piece: bytes) -> None:
        raise Enough

    with ByteServer(endless) as server:
        with pytest.raises(Enough):
            ask.stream(transport_to(machine, server.url), see, json=asked(INKLING, stream=True))
        assert ended.wait(20)


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(machine: Machine, ask: Asker) -> None:
    with nobody() as url, pytest.raises(ask.library.ConnectError) as failed:
        ask(transport_to(machine, url), "POST", CHAT, json=asked())
    assert type(failed.value.request) is ask.library.Request
    assert "dapi-ours" not in str(failed.value) + str(failed.value.request.headers)


def test_a_server_that_says_nothing(machine: Machine, ask: Asker) -> None:
    with ByteServer(silence) as server, pytest.raises(ask.library.ReadTimeout):
        ask(transport_to(machine, server.url), "POST", CHAT, json=asked(), timeout=0.3)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        CHUNKED + b"5\r\ndata:\r\n",
    ],
    ids=["no HTTP", "half an answer", "half an error", "half a stream"],
)
def test_a_server_that_breaks_off(machine: Machine, ask: Asker, answer: bytes) -> None:
    with ByteServer(answer) as server, pytest.raises(ask.library.RemoteProtocolError):
        ask(transport_to(machine, server.url), "POST", CHAT, json=asked(stream=True))


def test_a_connection_that_is_reset(machine: Machine, ask: Asker) -> None:
    seen: list[bytes] = []
    with ByteServer(reset(HEAD)) as server, pytest.raises(ask.library.ReadError):
        ask.stream(transport_to(machine, server.url), seen.append, json=asked(stream=True))


def test_what_is_no_gzip(machine: Machine, ask: Asker) -> None:
    for kind in (JSON, STREAM, "Content-Type: text/plain"):
        with ByteServer(http(b"no gzip", "200 OK", kind, "Content-Encoding: gzip")) as server:
            with pytest.raises(ask.library.DecodingError):
                ask(transport_to(machine, server.url), "POST", CHAT, json=asked())


# ---- one transport for long ------------------------------------------------------------------------------------------

KEPT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Kept:
    """A server that keeps its connections, and tells when the client has closed one."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(KEPT)
        connection.settimeout(20)
        if not connection.recv(1):
            self.closed.set()


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_closing_the_client_closes_the_connections(machine: Machine, library: Any) -> None:
    kept = Kept()
    with ByteServer(kept) as server:
        client = library.Client(transport=transport_to(machine, server.url))
        client.post(CHAT, json=asked())
        assert not kept.closed.wait(0.1)
        client.close()
        assert kept.closed.wait(20)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_closing_the_asynchronous_client_closes_the_connections(machine: Machine, library: Any) -> None:
    kept = Kept()
    with ByteServer(kept) as server:

        async def work() -> bool:
            client = library.AsyncClient(transport=transport_to(machine, server.url))
            await client.post(CHAT, json=asked())
            early = await anyio.to_thread.run_sync(kept.closed.wait, 0.1)
            await client.aclose()
            return early

        assert not asyncio.run(work())
        assert kept.closed.wait(20)


def test_closing_what_was_never_used(machine: Machine) -> None:
    transport = transport_to(machine, "https://nobody.cloud.databricks.com")
    transport.close()
    asyncio.run(transport.aclose())


def test_one_transport_serves_one_client_after_the_other(machine: Machine, sandbox: Sandbox, ask: Asker) -> None:
    """Each of which closes it when it goes, and in event loops that have nothing to do with each other."""
    transport = transport_to(machine, sandbox.url)
    machine.env["DATABRICKS_TOKEN"] = sandbox.pat
    for _ in range(3):
        assert ask(transport, "POST", CHAT, json=asked()).status == 200


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_event_loop_may_end_without_a_goodbye(machine: Machine, sandbox: Sandbox, library: Any) -> None:
    """As in a script that calls asyncio.run() for each question, with one client for all."""
    transport = transport_to(machine, sandbox.url)
    machine.env["DATABRICKS_TOKEN"] = sandbox.pat
    client = library.AsyncClient(transport=transport)

    async def work() -> int:
        status: int = (await client.post(CHAT, json=asked())).status_code
        return status

    async def last() -> int:
        try:
            return await work()
        finally:
            await client.aclose()

    assert [asyncio.run(work()), asyncio.run(work()), asyncio.run(last())] == [200, 200, 200]


def test_twenty_threads_share_a_transport(machine: Machine, sandbox: Sandbox) -> None:
    transport = transport_to(machine, sandbox.url)
    machine.env["DATABRICKS_TOKEN"] = sandbox.pat
    together, wrong = threading.Barrier(20), []
    with httpx.Client(transport=transport) as client:

        def work(number: int) -> None:
            together.wait(30)
            for n in range(5):
                said = f"{number} {n}"
                body = {"model": LLAMA, "messages": [{"role": "user", "content": said}]}
                told = client.post(CHAT, json=body, timeout=30).json()["choices"][0]["message"]["content"]
                if told != f"You said: {said}":
                    wrong.append(told)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == [] and sum(request.path == CHAT_HERE for request in sandbox.log) == 100


FORKING = """
import os, sys
import httpx
from dbx_auth import Transport, transport

client = httpx.Client(transport=Transport())
if "shared" in sys.argv:
    transport._all.clear()

def ask(who, times):
    for number in range(times):
        said = f"{who} {number}"
        body = {"model": "databricks-gpt-5-2", "messages": [{"role": "user", "content": said}]}
        told = client.post("https://api.openai.com/v1/chat/completions", json=body).json()
        assert told["choices"][0]["message"]["content"] in (f"You said: {said}", "whatever"), told

ask("both", 1)
child = os.fork()
if not child:
    ask("child", 50)
    os._exit(7)
if "in turn" in sys.argv:
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
ask("parent", 50)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def forking(machine: Machine, *argv: str, **env: str) -> None:
    given = [sys.executable, "-c", FORKING, *argv]
    done = subprocess.run(given, env=machine.child_env(**env), capture_output=True, text=True, timeout=100)
    assert (done.stdout.strip(), done.returncode) == ("7", 0), done.stderr


def test_a_forked_child_and_its_parent_ask_at_the_same_time(machine: Machine, sandbox: Sandbox) -> None:
    forking(machine, DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)


@pytest.mark.parametrize(("argv", "connections"), [([], 2), (["shared"], 1)])
def test_a_forked_child_has_a_connection_of_its_own(machine: Machine, argv: list[str], connections: int) -> None:
    """One that both had would give each the other's answers; they take turns here, so that nothing worse happens."""
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "whatever"}}]}).encode()

    def again_and_again(connection: socket.socket, over: threading.Event) -> None:
        head = f"HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        while True:
            connection.sendall(head + body)
            request = bytearray()
            while not request.endswith(b"}"):
                if not (piece := connection.recv(65_536)):
                    return
                request += piece

    with ByteServer(again_and_again) as server:
        forking(machine, "in turn", *argv, DATABRICKS_HOST=server.url, DATABRICKS_TOKEN="dapi")
        assert len(server.requests) == connections
