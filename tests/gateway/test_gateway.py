"""The gateway in this process: every route and every API, and whatever a client or a workspace may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from machine import Machine
from unit.stubs import ByteServer, Script, http, nobody, reset, silence

from dbx_auth import ConfigError, Credentials, Token, gateway, loopback, profile, resolve
from dbx_auth.calling import SERVING
from dbx_auth.gateway import HOSTS, KEY, Server, guard, relay
from dbx_auth.gateway.relay import Gateway, Served
from dbx_auth.sandbox import Sandbox
from dbx_auth.sandbox.workspace import Endpoint
from dbx_auth.tokens import Demand

Json = dict[str, Any]

A_KEY = "a-key-of-thirty-two-characters-00"
CLAUDE, OPUS, GPT, CODEX, LLAMA, GEMINI, GTE = (
    f"databricks-{name}"
    for name in (
        "claude-sonnet-4-5",
        "claude-opus-5-5",
        "gpt-5-2",
        "gpt-5-1-codex-max",
        "llama-4-maverick",
        "gemini-3-pro",
        "gte-large-en",
    )
)
CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS = ("chat", "responses", "messages", "generateContent", "embeddings")
JSON, STREAM = "Content-Type: application/json", "Content-Type: text/event-stream"


class Road(NamedTuple):
    """The API of a client, a model, and the API through which that is called."""

    api: str
    model: str
    there: str

    def __str__(self) -> str:
        return f"{self.api}-{self.model.removeprefix('databricks-')}"


PLAIN = [
    Road(CHAT, LLAMA, CHAT),
    Road(RESPONSES, GPT, RESPONSES),
    Road(MESSAGES, CLAUDE, MESSAGES),
    Road(GENERATE, GEMINI, GENERATE),
]
TRANSLATED = [
    Road(CHAT, CODEX, RESPONSES),
    Road(CHAT, OPUS, MESSAGES),
    Road(RESPONSES, LLAMA, CHAT),
    Road(RESPONSES, OPUS, MESSAGES),
    Road(MESSAGES, LLAMA, CHAT),
    Road(MESSAGES, CODEX, RESPONSES),
]
ROADS = [*PLAIN, *TRANSLATED]
every_road = pytest.mark.parametrize("road", ROADS, ids=str)
whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


# ---- calls, and what comes back --------------------------------------------------------------------------------------


def asked(api: str, model: str, streamed: bool = False, said: str = "hi") -> tuple[str, Json]:
    """The path and the body of a small request."""
    stream: Json = {"stream": True} if streamed else {}
    messages = [{"role": "user", "content": said}]
    if api == GENERATE:
        verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": said}]}]}
    if api == CHAT:
        return "/v1/chat/completions", {"model": model, "messages": messages, **stream}
    if api == RESPONSES:
        return "/v1/responses", {"model": model, "input": said, **stream}
    if api == MESSAGES:
        return "/v1/messages", {"model": model, "max_tokens": 99, "messages": messages, **stream}
    return "/v1/embeddings", {"model": model, "input": [said]}


def text_of(api: str, body: Json) -> str:
    """What the model said, in a whole answer."""
    if api == CHAT:
        return str(body["choices"][0]["message"]["content"])
    if api == RESPONSES:
        return "".join(part["text"] for item in body["output"] for part in item.get("content", []))
    if api == MESSAGES:
        return "".join(block["text"] for block in body["content"])
    return "".join(part["text"] for part in body["candidates"][0]["content"]["parts"])


def events_of(stream: str) -> list[Json]:
    """The data of each event; the last of OpenAI's chat, and what is no event at all, has none."""
    lines = [line.removeprefix("data:").strip() for line in stream.splitlines() if line.startswith("data:")]
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def said_in(api: str, event: Json) -> str:
    """The text that an event adds."""
    if api == CHAT:
        return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", []))
    if api == RESPONSES:
        return str(event["delta"]) if event.get("type") == "response.output_text.delta" else ""
    if api == MESSAGES:
        return str(event["delta"].get("text", "")) if event.get("type") == "content_block_delta" else ""
    return "".join(part.get("text", "") for each in event.get("candidates", []) for part in each["content"]["parts"])


def has_ended_well(api: str, stream: str) -> bool:
    """Whether a client knows that it has all of it."""
    if api == CHAT:
        return stream.endswith("data: [DONE]\n\n")
    if api == GENERATE:
        return "finishReason" in str(events_of(stream)[-1])
    return bool(events_of(stream)[-1]["type"] == ("response.completed" if api == RESPONSES else "message_stop"))


def complaint(api: str, status: int, body: Json) -> str:
    """What an error says, which has the shape that clients of this API read."""
    error = body["error"]
    if api == MESSAGES:
        assert body["type"] == "error" and isinstance(error["type"], str), body
    elif api == GENERATE:
        assert error["code"] == status and isinstance(error["status"], str), body
    else:
        assert isinstance(error["type"], str) and "param" in error and "code" in error, body
    assert isinstance(error["message"], str) and error["message"], body
    return str(error["message"])


def complaint_in(api: str, stream: str) -> str:
    """The same of the error that a stream ended with; empty where there is none."""
    for event in events_of(stream):
        if api == RESPONSES and event.get("type") == "error":
            assert isinstance(event["message"], str) and "code" in event and "sequence_number" in event, event
            return str(event["message"])
        if api == RESPONSES and event.get("type") == "response.failed":
            return str(event["response"]["error"]["message"])
        if api != RESPONSES and "error" in event:
            return complaint(api, event["error"].get("code", 0), event)
    return ""


# ---- a gateway -------------------------------------------------------------------------------------------------------


class Way:
    """A gateway, and a client of it."""

    def __init__(self, server: Server, told: list[Served]) -> None:
        self.server = server
        self.told = told
        self.client = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {A_KEY}"}, trust_env=False, timeout=30
        )

    def __call__(self, api: str, model: str, streamed: bool = False, said: str = "hi") -> httpx.Response:
        path, body = asked(api, model, streamed, said)
        return self.client.post(path, json=body)

    def line(self) -> Served:
        """What it told of the one request that there was, which it does when that is over."""
        assert until(lambda: len(self.told) == 1)
        return self.told[0]

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), 30) as connection:
            yield connection

    def head(self, line: str, length: int, *more: str) -> bytes:
        """The beginning of a request by hand."""
        host = self.server.url.removeprefix("http://")
        lines = [line, f"Host: {host}", f"Authorization: Bearer {A_KEY}", JSON, f"Content-Length: {length}", *more]
        return "\r\n".join([*lines, "", ""]).encode()

    def raw(self, api: str, model: str, streamed: bool = False) -> bytes:
        """A whole request by hand."""
        path, body = asked(api, model, streamed)
        content = json.dumps(body).encode()
        return self.head(f"POST {path} HTTP/1.1", len(content)) + content


@contextmanager
def way_to(machine: Machine, url: str, token: str = "dapi-ours", **world: Any) -> Iterator[Way]:
    """A gateway to a workspace; without a token, by the login that the machine has."""
    machine.env["DATABRICKS_HOST"] = url
    if token:
        machine.env["DATABRICKS_TOKEN"] = token
    told: list[Served] = []
    credentials = Credentials(world=machine.world._replace(**world))
    with Server(credentials, key=A_KEY, metadata=True, told=told.append) as server:
        way = Way(server, told)
        with way.client:
            yield way


@pytest.fixture
def way(machine: Machine, sandbox: Sandbox) -> Iterator[Way]:
    with way_to(machine, sandbox.url, sandbox.pat) as found:
        yield found


def posts(sandbox: Sandbox) -> list[str]:
    """The calls of models that reached it, each with its status."""
    return [f"{each.status} {each.path}" for each in sandbox.log if each.method == "POST" and "oidc" not in each.path]


def grants(sandbox: Sandbox) -> int:
    return sum(each.grant_type == "refresh_token" for each in sandbox.log)


class Workspace(ByteServer):
    """Has no lists of models, and answers calls of them by `answer`, which a test sets: bytes, or a script."""

    def __init__(self, answer: bytes | Script = b"") -> None:
        super().__init__(self._reply)
        self.reply = answer

    def _reply(self, connection: socket.socket, over: threading.Event) -> None:
        if self.requests[-1].startswith(b"GET /api/"):
            connection.sendall(http(b'{"message": "no lists here"}', "404 Not Found", JSON))
        elif callable(self.reply):
            self.reply(connection, over)
        else:
            connection.sendall(self.reply)

    @property
    def calls(self) -> list[bytes]:
        return [each for each in self.requests if each.startswith(b"POST")]


class Odd(NamedTuple):
    """A gateway, and a workspace that does odd things."""

    way: Way
    workspace: Workspace


@pytest.fixture(scope="module")
def _odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    machine = Machine(tmp_path_factory.mktemp("home"), None)  # type: ignore[arg-type]
    with Workspace() as workspace, way_to(machine, workspace.url) as way:
        yield Odd(way, workspace)


@pytest.fixture
def odd(_odd: Odd) -> Odd:
    """One for all tests: what the workspace does is changed from one to the next."""
    _odd.workspace.requests.clear()
    _odd.way.told.clear()
    return _odd


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it holds before long."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


# ---- every route -----------------------------------------------------------------------------------------------------


@every_road
def test_every_client_has_an_answer_of_every_model(way: Way, sandbox: Sandbox, road: Road) -> None:
    answer = way(road.api, road.model)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    assert text_of(road.api, answer.json()) == "You said: hi"
    assert posts(sandbox) == ["200 " + SERVING[road.there].replace("{id}", road.model).join(["/serving-endpoints", ""])]


@every_road
def test_every_client_has_a_stream_of_every_model(way: Way, sandbox: Sandbox, road: Road) -> None:
    answer = way(road.api, road.model, streamed=True)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    said = [text for event in events_of(answer.text) if (text := said_in(road.api, event))]
    assert "".join(said) == "You said: hi" and len(said) > 1
    assert has_ended_well(road.api, answer.text) and not complaint_in(road.api, answer.text)
    assert len(posts(sandbox)) == 1


@every_road
def test_the_line_about_a_request_says_what_was_done_to_it(way: Way, road: Road) -> None:
    way(road.api, road.model)
    served = way.line()
    path = asked(road.api, road.model)[0]
    assert (served.method, served.path, served.status, served.model) == ("POST", path, 200, road.model)
    assert served.way == ("" if road.api == road.there else f"{road.api} → {road.there}")
    assert served.seconds > 0


def test_the_fixes_that_a_family_needs_are_applied_and_named(way: Way, sandbox: Sandbox) -> None:
    path, body = asked(CHAT, LLAMA, streamed=True)
    answer = way.client.post(path, json={**body, "stream_options": {"include_usage": True}, "store": True})
    assert answer.status_code == 200 and "You" in answer.text
    assert way.line().fixes


@pytest.mark.parametrize("there", ["serving-endpoints/", "ai-gateway/mlflow/v1/"])
@whole_and_streamed
def test_the_workspace_s_own_paths_are_there_as_they_are(
    way: Way, sandbox: Sandbox, there: str, streamed: bool
) -> None:
    answer = way.client.post(f"/{there}chat/completions", json=asked(CHAT, LLAMA, streamed)[1])
    assert answer.status_code == 200 and "You" in answer.text
    assert posts(sandbox) == [f"200 /{there}chat/completions"]


def test_they_can_be_read_too_and_refuse_in_their_own_words(way: Way) -> None:
    assert way.client.get("/ai-gateway/anthropic/v1/models").json()["data"]
    refused = way.client.post("/serving-endpoints/chat/completions", json=asked(CHAT, "nobody")[1])
    assert (refused.status_code, refused.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_a_query_goes_along(odd: Odd) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    odd.way.client.post("/serving-endpoints/mine/invocations?a=b&c=d%2Fe", json={"x": 1})
    assert odd.workspace.calls[0].startswith(b"POST /serving-endpoints/mine/invocations?a=b&c=d%2Fe HTTP/1.1\r\n")


def test_embeddings(way: Way) -> None:
    answer = way(EMBEDDINGS, "gte-large-en").json()
    assert len(answer["data"][0]["embedding"]) == 1024


def test_tokens_are_counted_without_asking_anybody(way: Way, sandbox: Sandbox) -> None:
    path, body = asked(MESSAGES, CLAUDE, said="word " * 400)
    counted = way.client.post(f"{path}/count_tokens", json=body).json()
    assert set(counted) == {"input_tokens"} and 200 < counted["input_tokens"] < 1000
    path, body = asked(GENERATE, GEMINI, said="word " * 400)
    counted = way.client.post(path.replace("generateContent", "countTokens"), json=body).json()
    assert set(counted) == {"totalTokens"} and 200 < counted["totalTokens"] < 1000
    assert posts(sandbox) == []


def test_health_says_ok_to_who_has_no_key_and_nothing_else(way: Way) -> None:
    answer = httpx.get(f"{way.server.url}/healthz", trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"])
def test_the_key_may_come_in_the_header_of_any_client(way: Way, name: str) -> None:
    value = f"Bearer {A_KEY}" if name == "Authorization" else A_KEY
    assert httpx.get(f"{way.server.url}/v1/models", headers={name: value}, trust_env=False).status_code == 200


# ---- models ----------------------------------------------------------------------------------------------------------

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def test_models_are_listed_as_openai_does(way: Way) -> None:
    listed = way.client.get("/v1/models").json()
    names = [each["id"] for each in listed["data"]]
    assert listed["object"] == "list" and {CLAUDE, GPT, CODEX, LLAMA, GEMINI, GTE, "team-claude"} <= set(names)
    assert {each["object"] for each in listed["data"]} == {"model"}
    assert not {"support-chat", "churn-forecast"} & set(names), "one is not ready, the other no model of language"


def test_models_are_listed_as_anthropic_does(way: Way) -> None:
    listed = way.client.get("/v1/models", headers=ANTHROPIC).json()
    names = [each["id"] for each in listed["data"]]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, names[0], names[-1])
    assert {each["type"] for each in listed["data"]} == {"model"} and CLAUDE in names


def test_models_are_listed_as_google_does(way: Way) -> None:
    listed = way.client.get("/v1beta/models").json()["models"]
    assert f"models/{GEMINI}" in [each["name"] for each in listed]
    assert all("gemini" in each["name"] and each["supportedGenerationMethods"] for each in listed)


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", CLAUDE, "system.ai.claude-sonnet-4-5"])
def test_one_model_can_be_looked_up_in_any_spelling(way: Way, name: str) -> None:
    assert way.client.get(f"/v1/models/{name}").json()["id"] == CLAUDE
    assert way.client.get(f"/v1/models/{name}", headers=ANTHROPIC).json()["type"] == "model"


def test_one_model_can_be_looked_up_as_google_does(way: Way) -> None:
    assert way.client.get("/v1beta/models/gemini-3-pro").json()["name"] == f"models/{GEMINI}"


@pytest.mark.parametrize(("api", "path", "headers"), [
    (CHAT, "/v1/models/claude-sonet-4-5", {}),
    (MESSAGES, "/v1/models/claude-sonet-4-5", ANTHROPIC),
    (GENERATE, "/v1beta/models/claude-sonet-4-5", {}),
], ids=[CHAT, MESSAGES, GENERATE])  # fmt: skip
def test_one_that_is_not_there_is_an_error_with_the_nearest(
    way: Way, api: str, path: str, headers: dict[str, str]
) -> None:
    answer = way.client.get(path, headers=headers)
    assert answer.status_code == 404 and CLAUDE in complaint(api, 404, answer.json())


@every_road
@pytest.mark.parametrize("spelling", ["bare", "system.ai."])
def test_a_model_may_be_spelled_in_either_way(way: Way, road: Road, spelling: str) -> None:
    name = road.model.removeprefix("databricks-")
    answer = way(road.api, name if spelling == "bare" else f"system.ai.{name}")
    assert answer.status_code == 200 and way.line().model == road.model


@pytest.mark.parametrize("road", PLAIN, ids=str)
@whole_and_streamed
def test_an_unknown_model_is_an_error_with_the_nearest_names_and_nobody_is_called(
    way: Way, sandbox: Sandbox, road: Road, streamed: bool
) -> None:
    answer = way(road.api, "claude-sonet-4-5", streamed)
    assert answer.status_code == 404 and CLAUDE in complaint(road.api, 404, answer.json())
    assert posts(sandbox) == []


@pytest.mark.parametrize(
    ("api", "model"),
    [
        (CHAT, GTE),
        (RESPONSES, GTE),
        (MESSAGES, GTE),
        (GENERATE, GPT),
        (GENERATE, CLAUDE),
        (EMBEDDINGS, GPT),
        (EMBEDDINGS, CODEX),
        (EMBEDDINGS, CLAUDE),
    ],
)
def test_a_model_that_cannot_do_it_says_so_and_no_other_is_called(
    way: Way, sandbox: Sandbox, api: str, model: str
) -> None:
    answer = way(api, model)
    said = complaint(api, 400, answer.json())
    assert answer.status_code == 400 and model in said and "it speaks" in said
    assert posts(sandbox) == []


def test_what_an_api_has_no_way_to_say_is_refused_and_not_left_out(way: Way, sandbox: Sandbox) -> None:
    path, body = asked(RESPONSES, LLAMA)
    answer = way.client.post(path, json={**body, "previous_response_id": "resp_1"})
    assert answer.status_code == 400 and "no way to say" in complaint(RESPONSES, 400, answer.json())
    assert posts(sandbox) == []


def test_one_that_is_not_ready_is_an_error_of_the_workspace(way: Way) -> None:
    answer = way(CHAT, "support-chat")
    assert answer.status_code == 503 and "not ready" in complaint(CHAT, 503, answer.json())


@every_road
def test_the_model_that_is_called_is_the_one_that_was_asked_for(odd: Odd, road: Road) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    odd.way(road.api, road.model)
    [call] = odd.workspace.calls
    head, _, body = call.partition(b"\r\n\r\n")
    names = {json.loads(body).get("model", road.model)} | {each for each in [road.model] if each.encode() in head}
    assert names == {road.model}


def listings(sandbox: Sandbox) -> int:
    return sum(each.path == "/api/2.0/serving-endpoints" for each in sandbox.log)


def made(sandbox: Sandbox, name: str) -> None:
    """Somebody makes an endpoint."""
    sandbox._server._app.app.state.endpoints[name] = Endpoint(name, "llama", "new_model")


def test_a_model_that_was_made_a_moment_ago_is_found(machine: Machine, way: Way, sandbox: Sandbox) -> None:
    now = time.time()
    machine.clock = lambda: now
    assert way(CHAT, "just-made").status_code == 404
    made(sandbox, "just-made")
    now += relay.ANEW + 1
    answer = way(CHAT, "just-made")
    assert text_of(CHAT, answer.json()) == "You said: hi" and listings(sandbox) == 2


def test_the_list_is_not_asked_for_again_in_the_same_moment(machine: Machine, way: Way, sandbox: Sandbox) -> None:
    now = time.time()
    machine.clock = lambda: now
    way(CHAT, LLAMA)
    made(sandbox, "just-made")
    now += relay.ANEW - 1
    assert way(CHAT, "just-made").status_code == 404 and listings(sandbox) == 1
    now += 2
    assert way(CHAT, "just-made").status_code == 200 and listings(sandbox) == 2


def test_names_that_are_made_up_do_not_have_the_list_asked_for_each(way: Way, sandbox: Sandbox) -> None:
    assert [way(CHAT, f"made-up-{number}").status_code for number in range(20)] == [404] * 20
    assert listings(sandbox) == 1


def test_the_list_is_asked_for_once_in_a_while_and_not_with_each_request(way: Way, sandbox: Sandbox) -> None:
    for _ in range(5):
        assert way(CHAT, "llama-4-maverick").status_code == 200
    assert listings(sandbox) == 1


def test_who_may_call_models_and_not_list_them_can(odd: Odd) -> None:
    odd.workspace.reply = http(b'{"choices": []}', "200 OK", JSON)
    assert odd.way(CHAT, LLAMA).status_code == 200
    assert odd.way(CHAT, "a-model-of-ours").status_code == 200
    assert b'"a-model-of-ours"' in odd.workspace.calls[-1]
    assert LLAMA in [each["id"] for each in odd.way.client.get("/v1/models").json()["data"]]


# ---- what clients send -----------------------------------------------------------------------------------------------

NO_JSON = {
    "cut off": b'{"model": "x',
    "nothing": b"",
    "an array": b"[]",
    "a number": b"7",
    "no UTF-8": b'{"model": "\xff"}',
    "too deep": b"[" * 100_000,
    "no model": b"{}",
    "an odd model": b'{"model": {"a": 1}}',
}


@pytest.mark.parametrize("road", PLAIN, ids=str)
@pytest.mark.parametrize("content", NO_JSON.values(), ids=list(NO_JSON))
def test_what_is_no_request_is_an_error_in_the_shape_of_the_api(odd: Odd, road: Road, content: bytes) -> None:
    if road.api == GENERATE and content.startswith(b"{") and content.endswith(b"}"):
        pytest.skip("the path names the model")
    path = asked(road.api, road.model)[0]
    answer = odd.way.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and complaint(road.api, 400, answer.json())
    assert odd.workspace.calls == []


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield b" " * (1 << 20)


@pytest.mark.parametrize("road", PLAIN, ids=str)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_a_body_of_33_mib_is_refused_and_goes_nowhere(odd: Odd, road: Road, chunked: bool) -> None:
    size = guard.LARGEST + (1 << 20)
    content: Any = pieces(size) if chunked else b" " * size
    path = asked(road.api, road.model)[0]
    answer = odd.way.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "32 MiB" in complaint(road.api, 413, answer.json())
    assert odd.workspace.requests == []


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_without_the_limit_it_would_go_there(odd: Odd, monkeypatch: pytest.MonkeyPatch, chunked: bool) -> None:
    for module in (guard, relay):
        monkeypatch.setattr(module, "LARGEST", 64 << 20)
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    path, body = asked(CHAT, LLAMA)
    start = json.dumps(body).encode()
    content: Any = [start, *pieces(33 << 20)]
    headers = {"Content-Type": "application/json"}
    answer = odd.way.client.post(path, content=iter(content) if chunked else b"".join(content), headers=headers)
    assert answer.status_code == 200 and len(odd.workspace.calls) == 1


def test_a_body_of_32_mib_is_taken(odd: Odd) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    path, body = asked(CHAT, LLAMA)
    content = json.dumps(body).encode()
    content += b" " * (guard.LARGEST - len(content))
    headers = {"Content-Type": "application/json"}
    assert odd.way.client.post(path, content=content, headers=headers).status_code == 200


@pytest.mark.parametrize("road", PLAIN, ids=str)
def test_a_body_that_does_not_come_is_waited_for_so_long(odd: Odd, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "SLOW", 0.1)
    with odd.way.connection() as connection:
        connection.sendall(odd.way.head(f"POST {asked(road.api, road.model)[0]} HTTP/1.1", 1000) + b"{")
        head, body = answer_on(connection)
    assert b" 408 " in head and "did not arrive" in complaint(road.api, 408, json.loads(body))


def test_one_that_comes_in_pieces_has_the_time_it_needs(odd: Odd) -> None:
    """The control of the test above."""
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    raw = odd.way.raw(CHAT, LLAMA)
    with odd.way.connection() as connection:
        for start in range(0, len(raw), 20):
            connection.sendall(raw[start : start + 20])
            time.sleep(0.005)
        head, _ = answer_on(connection)
    assert b" 200 " in head


def test_without_a_limit_it_would_be_waited_for_longer(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "SLOW", 600.0)
    with odd.way.connection() as connection:
        connection.sendall(odd.way.head(f"POST {asked(CHAT, LLAMA)[0]} HTTP/1.1", 1000) + b"{")
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def answer_on(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of the answer that comes here."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = connection.recv(65536)
        assert piece, f"closed after {said!r}"
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(odd: Odd, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(loopback, "HEAD", 0.2)
    with odd.way.connection() as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


def test_a_head_that_drips_does_not_last_longer(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "HEAD", 0.3)
    with odd.way.connection() as connection, pytest.raises(ConnectionError):
        connection.sendall(b"POST / HTTP/1.1\r\nX: ")
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.01)


# ---- clients that vanish ---------------------------------------------------------------------------------------------


class Watched:
    """Sends `start`, and knows when it was asked and when the gateway has let go of the connection."""

    def __init__(self, start: bytes = b"") -> None:
        self.start = start
        self.asked, self.gone = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(self.start)
        self.asked.set()
        connection.settimeout(20)
        with contextlib.suppress(OSError):
            while connection.recv(100):
                pass
            self.gone.set()


@every_road
def test_when_a_client_goes_before_there_is_an_answer_the_workspace_is_told(odd: Odd, road: Road) -> None:
    odd.workspace.reply = watched = Watched()
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(road.api, road.model))
        assert watched.asked.wait(20) and not watched.gone.wait(0.1)
    assert watched.gone.wait(20), "the call goes on, and somebody pays for it"
    assert until(lambda: 0 in [each.status for each in odd.way.told]), "and nobody was answered"


def test_without_a_look_at_the_client_the_workspace_would_not_be_told(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def blindly(receive: object, scope: object) -> None:
        pass

    monkeypatch.setattr(relay, "_watch", blindly)
    monkeypatch.setattr(relay, "PATIENCE", {**relay.PATIENCE, "read": 3.0})
    odd.workspace.reply = watched = Watched()
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(CHAT, LLAMA))
        assert watched.asked.wait(20)
    assert not watched.gone.wait(1)
    assert watched.gone.wait(20)


@every_road
def test_when_a_client_goes_in_the_middle_of_a_stream_the_workspace_is_told(odd: Odd, road: Road) -> None:
    first, _ = recorded(road.there, road.model)
    odd.workspace.reply = watched = Watched(streaming(first))
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(road.api, road.model, streamed=True))
        said = b""
        while b"You" not in said:
            said += connection.recv(65536)
        assert not watched.gone.wait(0.1)
    assert watched.gone.wait(20), "the call goes on, and somebody pays for it"
    assert until(lambda: 200 in [each.status for each in odd.way.told])


def test_what_a_client_does_not_read_is_not_piled_up(odd: Odd) -> None:
    taken, full = [0], threading.Event()

    def flood(connection: socket.socket, over: threading.Event) -> None:
        event = chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"x" * 65_000))
        connection.sendall(streaming())
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            while taken[0] < 256 << 20:
                connection.sendall(event)
                taken[0] += len(event)
        full.set()

    odd.workspace.reply = flood
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(CHAT, LLAMA, streamed=True))
        assert full.wait(60)
    assert taken[0] < 32 << 20, "what the kernel keeps for two connections, and a little"


def test_a_client_that_goes_in_the_middle_of_its_request_has_nobody_called(odd: Odd) -> None:
    raw = odd.way.raw(CHAT, LLAMA)
    with odd.way.connection() as connection:
        connection.sendall(raw[:-10])
    assert until(lambda: 0 in [each.status for each in odd.way.told]) and odd.workspace.calls == []


# ---- streams ---------------------------------------------------------------------------------------------------------


_RECORDED: dict[tuple[str, str], tuple[bytes, bytes]] = {}


def recorded(api: str, model: str) -> tuple[bytes, bytes]:
    """A stream of the workspace's: up to and with the first word, and the rest."""
    if (api, model) not in _RECORDED:
        path = SERVING[api].replace("{id}", model).replace(":generateContent", ":streamGenerateContent")
        with Sandbox() as sandbox:
            url = f"{sandbox.url}/serving-endpoints{path}"
            headers = {"Authorization": f"Bearer {sandbox.pat}"}
            _, body = asked(api, model, streamed=True)
            said = httpx.post(url, json=body, headers=headers, trust_env=False).content
        cut = said.index(b"\n\n", said.index(b"You")) + 2
        _RECORDED[api, model] = said[:cut], said[cut:]
    return _RECORDED[api, model]


def streaming(*pieces: bytes) -> bytes:
    """The head of a stream and these pieces of it, without an end."""
    head = f"HTTP/1.1 200 OK\r\n{STREAM}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    return head + b"".join(map(chunk, pieces))


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


END = b"0\r\n\r\n"


@every_road
def test_an_event_is_handed_on_while_the_next_is_held_back(odd: Odd, road: Road) -> None:
    first, rest = recorded(road.there, road.model)
    seen = threading.Event()

    def held_back(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(streaming(first))
        assert seen.wait(20), "the first word was not handed on"
        connection.sendall(chunk(rest) + END)

    odd.workspace.reply = held_back
    path, body = asked(road.api, road.model, streamed=True)
    text = ""
    with odd.way.client.stream("POST", path, json=body) as answer:
        for piece in answer.iter_text():
            text += piece
            if any("You" in said_in(road.api, event) for event in events_of(text)):
                seen.set()
    assert "".join(said_in(road.api, event) for event in events_of(text)) == "You said: hi"
    assert has_ended_well(road.api, text)


@every_road
def test_a_stream_may_be_cut_anywhere(odd: Odd, road: Road) -> None:
    whole = b"".join(recorded(road.there, road.model))
    odd.workspace.reply = streaming(*(whole[at : at + 7] for at in range(0, len(whole), 7))) + END
    text = odd.way(road.api, road.model, streamed=True).text
    assert "".join(said_in(road.api, event) for event in events_of(text)) == "You said: hi"
    assert has_ended_well(road.api, text)


# ---- workspaces that fail --------------------------------------------------------------------------------------------

PAGE = b"<!doctype html><title>Sign in</title><p>please sign in"
REFUSED = b'{"error_code": "BAD_REQUEST", "message": "no such parameter"}'


def endless(status: str, *headers: str, of: bytes = b'{"a": "') -> Script:
    """More than anybody wants to read, and then no end."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + of)
        for _ in range((guard.LARGEST >> 20) + 8):
            connection.sendall(b" " * (1 << 20))
        over.wait()

    return script


def half(connection: socket.socket, over: threading.Event) -> None:
    """The beginning of an answer, and then silence."""
    connection.sendall(f"HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: 99\r\n\r\n{{".encode())
    over.wait()


FAILURES: dict[str, tuple[bytes | Script, int, str]] = {
    "it refuses": (http(REFUSED, "400 Bad Request", JSON), 400, "no such parameter"),
    "it refuses in another shape": (http(b'{"error": "no"}', "422 Unprocessable", JSON), 422, "no"),
    "it is busy": (http(REFUSED, "429 Too Many Requests", JSON, "Retry-After: 7"), 429, "no such parameter"),
    "it says nothing": (http(b"", "500 Internal Server Error"), 500, "500 and did not say why"),
    "it sends a page": (http(PAGE, "502 Bad Gateway", "Content-Type: text/html"), 502, "502 and did not say why"),
    "it sends garbage": (http(b"\x00\xff{", "400 Bad Request", JSON), 400, "400 and did not say why"),
    "it speaks no HTTP": (b"\x00\xff garbage\r\n\r\n", 502, "connection to the workspace failed"),
    "it hangs up": (b"", 502, "connection to the workspace failed"),
    "it dies": (reset(b""), 502, "connection to the workspace failed"),
    "it dies in the head": (reset(b"HTTP/1.1 200 OK\r\nContent-"), 502, "connection to the workspace failed"),
    "it dies in the body": (
        reset(f"HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: 99\r\n\r\n{{".encode()),
        502,
        "connection to the workspace failed",
    ),
    "it falls silent": (silence, 504, "did not answer in time"),
    "it falls silent in the body": (half, 504, "did not answer in time"),
    "it sends no JSON and says all is well": (http(b"garbage", "200 OK", JSON), 502, "no JSON object"),
    "it sends a page and says all is well": (http(PAGE, "200 OK", "Content-Type: text/html"), 502, "no JSON object"),
}


@every_road
@whole_and_streamed
@pytest.mark.parametrize("failure", FAILURES)
def test_a_workspace_that_fails_is_an_error_in_the_shape_of_the_api(
    odd: Odd, road: Road, streamed: bool, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.workspace.reply, status, why = FAILURES[failure]
    monkeypatch.setattr(relay, "PATIENCE", {**relay.PATIENCE, "read": 0.3})
    answer = odd.way(road.api, road.model, streamed)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    assert why in complaint(road.api, status, answer.json())
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert len(odd.workspace.calls) == 1, "and it was asked once"


@pytest.mark.parametrize("road", [PLAIN[0], TRANSLATED[0]], ids=str)
@pytest.mark.parametrize("status", ["500 Error", "400 Bad Request", "403 Forbidden", "200 OK"])
def test_an_answer_without_end_is_not_read_to_the_end(odd: Odd, road: Road, status: str) -> None:
    odd.workspace.reply = endless(status, JSON)
    path, body = asked(road.api, road.model)
    answer = odd.way.client.post(path, json=body, timeout=8)
    assert answer.status_code == 502 and "too large" in complaint(road.api, 502, answer.json())


def test_nobody_there(machine: Machine) -> None:
    with nobody() as url, way_to(machine, url) as way:
        for road in PLAIN:
            answer = way(road.api, road.model)
            assert answer.status_code == 502 and "connection" in complaint(road.api, 502, answer.json())


def after(piece: bytes, then: Callable[[socket.socket, threading.Event], object]) -> Callable[[bytes], Script]:
    """A stream of which the first word comes, then this piece, then that."""

    def starting(first: bytes) -> Script:
        def script(connection: socket.socket, over: threading.Event) -> None:
            connection.sendall(streaming(*filter(None, (first, piece))))
            then(connection, over)

        return script

    return starting


def ends(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(END)


TOLD = {
    CHAT: b'data: {"error": {"message": "out of money", "type": "t", "param": null, "code": null}}\n\n',
    RESPONSES: b'event: error\ndata: {"type": "error", "code": "c", "message": "out of money", "param": null, '
    b'"sequence_number": 9}\n\n',
    MESSAGES: b'event: error\ndata: {"type": "error", "error": {"type": "t", "message": "out of money"}}\n\n',
    GENERATE: b'data: {"error": {"code": 500, "message": "out of money", "status": "INTERNAL"}}\n\n',
}

BREAKS: dict[str, Callable[[bytes], Script]] = {
    "it dies": after(b"", reset(b"")),
    "it dies within an event": after(b'data: {"cho', reset(b"")),
    "it hangs up": after(b"", lambda connection, over: None),
    "it hangs up within an event": after(b'event: x\ndata: {"cho', lambda connection, over: None),
    "it falls silent": after(b"", silence),
    "it speaks no HTTP": after(b"", lambda connection, over: connection.sendall(b"garbage\r\n")),
}
STOPS: dict[str, Callable[[bytes], Script]] = {
    "it ends too early": after(b"", ends),
    "it ends within an event": after(b'data: {"cho', ends),
    "it sends a page": after(PAGE, ends),
    "it sends garbage": after(b"\x00\xff\xfe\n\n\x80", ends),
    "it sends an event that is no JSON": after(b"data: {nonsense\n\n", ends),
}


def began(odd: Odd, road: Road, how: Callable[[bytes], Script]) -> str:
    """A stream that begins well, as the client has it."""
    first, _ = recorded(road.there, road.model)
    odd.workspace.reply = how(first)
    answer = odd.way(road.api, road.model, streamed=True)
    said = "".join(said_in(road.api, event) for event in events_of(answer.text))
    assert (answer.status_code, said) == (200, "You"), "what came is handed on"
    assert len(odd.workspace.calls) == 1, "and never again after the first byte"
    return answer.text


@every_road
@pytest.mark.parametrize("how", BREAKS)
def test_a_stream_that_breaks_ends_with_an_error_and_is_not_sent_again(
    odd: Odd, road: Road, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PATIENCE", {**relay.PATIENCE, "read": 0.3})
    text = began(odd, road, BREAKS[how])
    assert complaint_in(road.api, text), f"nobody would know that more is missing: {text[-300:]}"
    assert road.api == CHAT or not has_ended_well(road.api, text)


CUT_SHORT = {
    CHAT: '"finish_reason":"length"',
    RESPONSES: '"type":"response.incomplete"',
    MESSAGES: '"stop_reason":"max_tokens"',
}
"""How a client reads that an answer is not whole, where that is no error."""


@every_road
@pytest.mark.parametrize("how", STOPS)
def test_a_stream_that_stops_too_early_does_not_look_whole(odd: Odd, road: Road, how: str) -> None:
    text = began(odd, road, STOPS[how])
    cut = CUT_SHORT.get(road.api, "") if road.api != road.there else ""
    assert complaint_in(road.api, text) or (cut and cut in text), f"nobody would know it: {text[-300:]}"


@pytest.mark.parametrize("path", ["/serving-endpoints/an-agent/invocations", "/ai-gateway/something/new"])
@pytest.mark.parametrize("how", ["it dies within an event", "it hangs up within an event"])
def test_one_of_the_workspace_s_own_paths_that_breaks_ends_with_an_error_too(odd: Odd, path: str, how: str) -> None:
    """Which does not stick to the half of an event that came before."""
    first, _ = recorded(CHAT, LLAMA)
    odd.workspace.reply = BREAKS[how](first)
    text = odd.way.client.post(path, json={"stream": True}).text
    assert "You" in text and complaint_in(CHAT, text), text[-300:]


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n", b"no event at all"])
def test_what_nobody_knows_the_events_of_is_handed_on_byte_for_byte(odd: Odd, end: bytes) -> None:
    said = b": a comment\r\n\r\n" + b"".join(recorded(CHAT, LLAMA)) + end
    odd.workspace.reply = streaming(said) + END
    answer = odd.way.client.post("/ai-gateway/something/new", json={"stream": True})
    assert answer.status_code == 200 and answer.content == said


@every_road
def test_an_error_that_the_workspace_tells_in_a_stream_is_told_in_the_client_s_shape(odd: Odd, road: Road) -> None:
    first, _ = recorded(road.there, road.model)
    odd.workspace.reply = streaming(first, TOLD[road.there]) + END
    answer = odd.way(road.api, road.model, streamed=True)
    assert "out of money" in complaint_in(road.api, answer.text)


# ---- a fresh token ---------------------------------------------------------------------------------------------------


class Skewed(NamedTuple):
    """A gateway with a login, and a workspace that goes by a clock of its own."""

    way: Way
    sandbox: Sandbox
    ahead: list[float]


@pytest.fixture
def skewed(machine: Machine) -> Iterator[Skewed]:
    ahead = [0.0]
    with Sandbox(now=lambda: time.time() + ahead[0]) as sandbox:
        login = sandbox.add_login()
        machine.cached_login(sandbox.url, expiry="2001-01-01T00:00:00Z", refresh_token=login.refresh_token)
        with way_to(machine, sandbox.url, token="") as way:
            way.client.get("/v1/models")
            sandbox.log.clear()
            yield Skewed(way, sandbox, ahead)


@every_road
@whole_and_streamed
def test_a_refused_token_is_renewed_once_and_the_request_sent_once_more(
    skewed: Skewed, road: Road, streamed: bool
) -> None:
    skewed.ahead[0] = 3600
    answer = skewed.way(road.api, road.model, streamed)
    assert answer.status_code == 200 and "You" in answer.text
    assert [line[:3] for line in posts(skewed.sandbox)] == ["401", "200"] and grants(skewed.sandbox) == 1


def test_a_refused_token_is_renewed_when_there_is_no_list_of_models_yet(machine: Machine, sandbox: Sandbox) -> None:
    """The first thing that is refused is the list then."""
    machine.cached_login(sandbox.url, access_token="revoked", refresh_token=sandbox.add_login().refresh_token)
    with way_to(machine, sandbox.url, token="") as way:
        assert way.client.get("/v1/models").status_code == 200
        assert way(CHAT, LLAMA).status_code == 200
    assert grants(sandbox) == 1


def together(url: str, count: int) -> list[int]:
    """The statuses of so many calls at a time."""
    path, body = asked(CHAT, LLAMA)

    async def calls() -> list[int]:
        limits, headers = httpx.Limits(max_connections=None), {"Authorization": f"Bearer {A_KEY}"}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, trust_env=False, timeout=60, limits=limits
        ) as client:
            answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(count)))
        return [answer.status_code for answer in answers]

    return asyncio.run(calls())


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each time that a token is looked for anew."""
    found, token = list[str](), resolve.token

    def counted(*args: Any, **rest: Any) -> Token:
        found.append("resolved")
        return token(*args, **rest)

    monkeypatch.setattr(resolve, "token", counted)
    return found


def test_a_hundred_that_are_refused_together_cause_one_grant(skewed: Skewed, resolved: list[str]) -> None:
    assert skewed.way(CHAT, LLAMA).status_code == 200
    skewed.sandbox.log.clear()
    skewed.ahead[0] = 3600
    assert together(skewed.way.server.url, 100) == [200] * 100
    assert grants(skewed.sandbox) == 1 and len(resolved) == 1
    statuses = [line[:3] for line in posts(skewed.sandbox)]
    assert statuses.count("200") == 100 and statuses.count("401") > 1, "or nothing was refused together"


def test_if_they_did_not_look_what_another_has_got_each_would_go_for_one(
    skewed: Skewed, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would end in one grant all the same: whoever holds the lock of the login reads it again."""

    def each_for_itself(self: Credentials, *, rejected: str = "") -> Token:
        self._held = resolve.token(profile.load(self.world, self._flags), self.world, Demand(rejected=rejected))
        return self._held

    assert skewed.way(CHAT, LLAMA).status_code == 200
    skewed.ahead[0] = 3600
    monkeypatch.setattr(Credentials, "token", each_for_itself)
    assert together(skewed.way.server.url, 20) == [200] * 20
    assert grants(skewed.sandbox) == 1 and len(resolved) > 3


def test_a_hundred_that_find_no_token_cause_one_grant(machine: Machine, sandbox: Sandbox) -> None:
    login = sandbox.add_login()
    machine.cached_login(sandbox.url, expiry="2001-01-01T00:00:00Z", refresh_token=login.refresh_token)
    with way_to(machine, sandbox.url, token="") as way:
        assert together(way.server.url, 100) == [200] * 100
    assert grants(sandbox) == 1


class Strict:
    """A workspace that takes one token and no other, and says so in its own way."""

    def __init__(self, status: str, said: Json, kind: str = JSON) -> None:
        self.refusal = http(json.dumps(said).encode(), status, kind)
        self.workspace = Workspace(self)

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        request = self.workspace.requests[-1]
        if request.startswith(b"POST /oidc/v1/token"):
            given = {"access_token": "new", "refresh_token": "r2", "expires_in": 3600, "token_type": "Bearer"}
            connection.sendall(http(json.dumps(given).encode(), "200 OK", JSON))
        elif b"Bearer new" in request:
            connection.sendall(http(b'{"choices": []}', "200 OK", JSON))
        else:
            connection.sendall(self.refusal)

    @property
    def posts(self) -> list[str]:
        return [each.split(b" ", 2)[1].decode() for each in self.workspace.calls]


CHAT_THERE = "/serving-endpoints/chat/completions"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("403 Forbidden", {"error_code": "403", "message": "Invalid access token."}),
        ("403 Forbidden", {"error_code": 403, "message": "Invalid Token"}),
        ("400 Bad Request", {"error_code": "BAD_REQUEST", "message": "The access token is expired"}),
        ("400 Bad Request", {"error": {"message": "expired OAuth token"}}),
    ],
)
def test_other_words_for_the_same_refusal_are_understood(machine: Machine, status: str, said: Json) -> None:
    strict = Strict(status, said)
    with strict.workspace as workspace:
        machine.cached_login(workspace.url)
        with way_to(machine, workspace.url, token="") as way:
            assert way(CHAT, LLAMA).status_code == 200
    assert strict.posts == [CHAT_THERE, "/oidc/v1/token", CHAT_THERE]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("403 Forbidden", {"error_code": "PERMISSION_DENIED", "message": "You may not query this endpoint."}),
        ("400 Bad Request", {"error_code": "BAD_REQUEST", "message": "max_tokens: 99999 tokens are too many"}),
        ("400 Bad Request", {"message": "the tokenizer is invalid"}),
        ("429 Too Many Requests", {"message": "token limit: expired token"}),
        ("500 Internal Server Error", {"message": "invalid token"}),
    ],
)
def test_another_refusal_is_handed_on_and_nothing_is_renewed(machine: Machine, status: str, said: Json) -> None:
    strict = Strict(status, said)
    with strict.workspace as workspace:
        machine.cached_login(workspace.url)
        with way_to(machine, workspace.url, token="") as way:
            answer = way(CHAT, LLAMA)
    assert answer.status_code == int(status[:3]) and complaint(CHAT, 0, answer.json()) == said["message"]
    assert strict.posts == [CHAT_THERE]


@pytest.mark.parametrize("road", PLAIN, ids=str)
def test_a_login_that_ended_is_told_with_the_command_to_type(machine: Machine, sandbox: Sandbox, road: Road) -> None:
    machine.cached_login(sandbox.url, access_token="revoked", refresh_token="spent")
    with way_to(machine, sandbox.url, token="") as way:
        answer = way(road.api, road.model)
        assert answer.status_code == 401
        assert f"dbx-auth login {sandbox.url}" in complaint(road.api, 401, answer.json())
        listed = way.client.get("/v1/models")
        assert listed.status_code in (200, 401)


def test_after_a_new_login_the_same_gateway_goes_on(machine: Machine, sandbox: Sandbox) -> None:
    machine.cached_login(sandbox.url, access_token="revoked", refresh_token="spent")
    with way_to(machine, sandbox.url, token="") as way:
        assert way(CHAT, LLAMA).status_code == 401
        login = sandbox.add_login()
        machine.cached_login(sandbox.url, access_token="revoked", refresh_token=login.refresh_token)
        assert way(CHAT, LLAMA).status_code == 200


def test_a_workspace_that_gives_no_token_now_is_a_503(machine: Machine) -> None:
    with Workspace(http(b"", "503 Unavailable", "Retry-After: 9")) as workspace:
        machine.cached_login(workspace.url, expiry="2001-01-01T00:00:00Z")
        with way_to(machine, workspace.url, token="", sleep=lambda seconds: None) as way:
            for road in PLAIN:
                answer = way(road.api, road.model)
                assert answer.status_code == 503 and complaint(road.api, 503, answer.json())
                assert answer.headers["retry-after"] == "9"


# ---- what goes where -------------------------------------------------------------------------------------------------

SECRETS = {
    "Cookie": "session=s3cret-cookie",
    "Proxy-Authorization": "Basic s3cret-proxy",
    "X-Api-Key": "s3cret-x-api-key",
    "X-Goog-Api-Key": "s3cret-goog",
    "Api-Key": "s3cret-api-key",
    "Forwarded": "for=s3cret-forwarded",
    "X-Forwarded-For": "s3cret-forwarded-for",
    "X-Forwarded-Host": "s3cret-forwarded-host",
    "X-Forwarded-Proto": "s3cret-proto",
    "X-Real-Ip": "s3cret-ip",
    "Via": "1.1 s3cret-via",
    "Connection": "keep-alive, s3cret-hop",
    "S3cret-Hop": "s3cret-hop-value",
    "Keep-Alive": "timeout=s3cret-keep-alive",
    "Te": "s3cret-te",
    "Trailer": "s3cret-trailer",
    "Upgrade": "s3cret-upgrade",
    "X-Databricks-Org-Id": "s3cret-org",
    "X-Databricks-Azure-Sp-Management-Token": "s3cret-management",
    "Referer": "http://s3cret-referer",
    "Accept-Encoding": "s3cret-coding",
}


@every_road
@whole_and_streamed
def test_no_credential_and_no_header_of_one_hop_reaches_the_workspace(odd: Odd, road: Road, streamed: bool) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    path, body = asked(road.api, road.model, streamed)
    odd.way.client.post(path, json=body, headers=SECRETS)
    [raw] = odd.workspace.calls
    assert b"s3cret" not in raw.lower() and A_KEY.encode() not in raw
    assert raw.lower().count(b"\r\nauthorization: ") == 1 and b"Bearer dapi-ours" in raw


@pytest.mark.parametrize("path", ["/serving-endpoints/mine/invocations", "/ai-gateway/anthropic/v1/messages"])
def test_nor_by_the_paths_that_are_as_they_are(odd: Odd, path: str) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    odd.way.client.post(path, json={"model": CLAUDE}, headers=SECRETS)
    odd.way.client.get(path, headers=SECRETS)
    assert len(odd.workspace.requests) >= 2
    assert not [raw for raw in odd.workspace.requests if b"s3cret" in raw.lower() or A_KEY.encode() in raw]


def test_without_the_list_of_what_goes_there_they_would(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_GOES_THERE", tuple(name.lower() for name in SECRETS))
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    odd.way.client.post(asked(CHAT, LLAMA)[0], json=asked(CHAT, LLAMA)[1], headers={"Cookie": SECRETS["Cookie"]})
    assert b"s3cret-cookie" in odd.workspace.calls[0]


def test_what_an_api_is_told_by_a_header_goes_there(odd: Odd) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    path, body = asked(MESSAGES, CLAUDE)
    headers = {**ANTHROPIC, "anthropic-beta": "a-beta", "User-Agent": "their-agent/7"}
    odd.way.client.post(path, json=body, headers=headers)
    [raw] = odd.workspace.calls
    for wanted in (b"anthropic-version: 2023-06-01", b"anthropic-beta: a-beta", b"their-agent/7"):
        assert wanted in raw


def test_nothing_that_the_workspace_sets_reaches_the_client(odd: Odd) -> None:
    given = ["Set-Cookie: a=b", "Access-Control-Allow-Origin: *", "Server: theirs", "X-Request-Id: 7", "Alt-Svc: h3"]
    odd.workspace.reply = http(b"{}", "200 OK", JSON, *given)
    answer = odd.way(CHAT, LLAMA)
    assert answer.headers["x-request-id"] == "7" and answer.headers["server"].startswith("dbx-auth-gateway/")
    assert not {"set-cookie", "access-control-allow-origin", "alt-svc"} & set(answer.headers)


def test_the_line_about_a_request_holds_no_secret_and_nothing_of_what_was_said(way: Way, sandbox: Sandbox) -> None:
    way(CHAT, LLAMA, said="a-confession")
    way.client.get("/v1/models?page=a-confession")
    httpx.get(way.server.metadata_url, trust_env=False)
    assert until(lambda: len(way.told) == 3)
    secret = way.server.metadata_url.rpartition("/")[2]
    assert not [word for word in ("a-confession", A_KEY, sandbox.pat, secret) if word in repr(way.told)]


@pytest.mark.parametrize("shaped", [False, True], ids=["of the workspace", "of the api"])
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
def test_a_workspace_that_repeats_our_token_does_not_give_it_away(odd: Odd, shaped: bool, status: str) -> None:
    text = "no: Authorization: Bearer dapi-ours"
    said = {"error": {"message": text, "type": "x", "param": None, "code": None}} if shaped else {"message": text}
    odd.workspace.reply = http(json.dumps(said).encode(), status, JSON)
    for road in (PLAIN[0], TRANSLATED[0]):
        assert "dapi-ours" not in odd.way(road.api, road.model).text
    as_it_is = odd.way.client.post(f"/serving-endpoints/{LLAMA}/invocations", json={})
    assert "no: Authorization" in as_it_is.text and "dapi-ours" not in as_it_is.text


def test_a_mistake_of_ours_is_an_error_and_does_not_say_what_it_was_about(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*given: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(relay, "_place", mistaken)
    for road in PLAIN:
        answer = odd.way(road.api, road.model)
        assert answer.status_code == 500 and "s3cret" not in answer.text
        assert "a mistake of ours: RuntimeError" in complaint(road.api, 500, answer.json())


def test_a_mistake_of_ours_in_a_stream_is_one_too(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*given: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr("dbx_auth.translate.Stream.event", mistaken)
    for road in TRANSLATED:
        odd.workspace.reply = streaming(*recorded(road.there, road.model)) + END
        text = odd.way(road.api, road.model, streamed=True).text
        assert "a mistake of ours" in complaint_in(road.api, text) and "s3cret" not in text


# ---- file descriptors ------------------------------------------------------------------------------------------------


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def vanish(odd: Odd) -> None:
    road = PLAIN[0]
    odd.workspace.reply = watched = Watched(streaming(recorded(road.there, road.model)[0]))
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(road.api, road.model, streamed=True))
        connection.recv(65536)
    assert watched.gone.wait(20)


def leave_early(odd: Odd) -> None:
    odd.workspace.reply = watched = Watched()
    with odd.way.connection() as connection:
        connection.sendall(odd.way.raw(CHAT, LLAMA))
        assert watched.asked.wait(20)
    assert watched.gone.wait(20)


def whole(odd: Odd) -> None:
    odd.workspace.reply = http(b"{}", "200 OK", JSON)
    assert odd.way(CHAT, LLAMA).status_code == 200


def streamed_whole(odd: Odd) -> None:
    odd.workspace.reply = streaming(*recorded(RESPONSES, CODEX)) + END
    assert odd.way(CHAT, CODEX, streamed=True).status_code == 200


def broken(odd: Odd) -> None:
    odd.workspace.reply = BREAKS["it dies"](recorded(CHAT, LLAMA)[0])
    assert odd.way(CHAT, LLAMA, streamed=True).status_code == 200


def dead(odd: Odd) -> None:
    odd.workspace.reply = b""
    assert odd.way(CHAT, LLAMA).status_code == 502


def refusing(odd: Odd) -> None:
    odd.workspace.reply = http(REFUSED, "400 Bad Request", JSON)
    assert odd.way(CHAT, LLAMA).status_code == 400


def misspelled(odd: Odd) -> None:
    answer = odd.way.client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def strange(odd: Odd) -> None:
    assert httpx.get(f"{odd.way.server.url}/v1/models", trust_env=False).status_code == 401


KINDS = [whole, streamed_whole, broken, dead, refusing, misspelled, strange, vanish, leave_early]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_two_hundred_requests_leave_no_file_descriptor_behind(odd: Odd, kind: Callable[[Odd], None]) -> None:
    for _ in range(3):  # opens what stays open: a pool, a worker's pipe
        kind(odd)
    before = descriptors()
    for _ in range(200):
        kind(odd)
    assert until(lambda: descriptors() <= before), f"{before} have become {descriptors()}"


# ---- the metadata service --------------------------------------------------------------------------------------------


def test_the_python_sdk_has_its_tokens_from_us(machine: Machine, sandbox: Sandbox) -> None:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    machine.cached_login(sandbox.url, expiry="2001-01-01T00:00:00Z", refresh_token=sandbox.add_login().refresh_token)
    with way_to(machine, sandbox.url, token="") as way:
        client = WorkspaceClient(
            config=Config(host=sandbox.url, metadata_service_url=way.server.metadata_url, auth_type="metadata-service")
        )
        ours = Credentials(world=machine.world).token().value
        assert client.config.authenticate() == {"Authorization": f"Bearer {ours}"}
        assert client.current_user.me().user_name == sandbox.user
    assert grants(sandbox) == 1


def tokens_for(way: Way, url: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(url or way.server.metadata_url, headers=named, trust_env=False)


def test_the_metadata_service_wants_its_version_and_our_host(way: Way, sandbox: Sandbox) -> None:
    version, host = "X_Databricks_Metadata_Version", "X_Databricks_Host"
    good = tokens_for(way, **{version: "1", host: sandbox.url}).json()
    assert good["access_token"] == sandbox.pat and good["token_type"] == "Bearer"
    assert type(good["expires_on"]) is int and good["expires_on"] > time.time()
    for status, headers in (
        (400, {host: sandbox.url}),
        (400, {version: "2", host: sandbox.url}),
        (404, {version: "1"}),
        (404, {version: "1", host: "https://other.cloud.databricks.com"}),
    ):
        answer = tokens_for(way, **headers)
        assert answer.status_code == status and sandbox.pat not in answer.text
        assert answer.json()["error"] and answer.json()["error_description"]


def test_its_address_is_the_secret(way: Way, sandbox: Sandbox) -> None:
    headers = {"X_Databricks_Metadata_Version": "1", "X_Databricks_Host": sandbox.url}
    url = way.server.metadata_url
    for wrong in (url[:-1], url + "/", url + "x", f"{way.server.url}/metadata", url.upper().replace("HTTP", "http")):
        assert tokens_for(way, wrong, **headers).status_code in (404, 401)
    assert httpx.post(url, trust_env=False).status_code == 405


def test_there_is_none_unless_it_is_asked_for(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    with Server(Credentials(world=machine.world), key=A_KEY) as server:
        assert server.metadata_url == ""
        headers = {"Authorization": f"Bearer {A_KEY}"}
        for path in ("", "/", "/metadata", "/metadata/"):
            assert httpx.get(server.url + path, headers=headers, trust_env=False).status_code == 404


# ---- Server ----------------------------------------------------------------------------------------------------------


def test_a_key_is_made_where_nobody_has_one_and_never_the_same(machine: Machine) -> None:
    keys = {Server(Credentials(world=machine.world)).key for _ in range(5)}
    assert len(keys) == 5 and {len(key) for key in keys} == {43}


@pytest.mark.parametrize(
    "key", ["short", "x" * 15, "with a space in it", "with\ta-tab-in-it-0", "ä" * 20, "line\n" * 9]
)
def test_a_key_that_is_no_key_is_refused(machine: Machine, key: str) -> None:
    with pytest.raises(ConfigError, match="16 characters"):
        Server(Credentials(world=machine.world), key=key)


def test_a_server_can_be_stopped_twice_and_started_again_at_its_address(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    server = Server(Credentials(world=machine.world), key=A_KEY)
    urls = []
    for _ in range(2):
        with server:
            urls.append(server.url)
            assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
        server.stop()
    assert urls[0] == urls[1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{urls[0]}/healthz", trust_env=False)


def test_a_stream_that_has_begun_is_finished_when_the_server_is_stopped(machine: Machine) -> None:
    first, rest = recorded(CHAT, LLAMA)
    go = threading.Event()

    def held_back(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(streaming(first))
        assert go.wait(20)
        connection.sendall(chunk(rest) + END)

    with Workspace(held_back) as workspace, way_to(machine, workspace.url) as way:
        path, body = asked(CHAT, LLAMA, streamed=True)
        with way.client.stream("POST", path, json=body) as answer:
            pieces = answer.iter_text()
            text = next(pieces)
            stopping = threading.Thread(target=way.server.stop)
            stopping.start()
            assert until(lambda: is_deaf(way.server.url)), "no new connection is taken"
            go.set()
            text += "".join(pieces)
        stopping.join(20)
    assert has_ended_well(CHAT, text) and not stopping.is_alive()


def test_a_stream_that_never_ends_is_cut_off_with_the_grace(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "GRACE", 1)
    with Workspace(Watched(streaming(recorded(CHAT, LLAMA)[0]))) as workspace, way_to(machine, workspace.url) as way:
        path, body = asked(CHAT, LLAMA, streamed=True)
        with way.client.stream("POST", path, json=body) as answer:
            pieces = answer.iter_text()
            next(pieces)
            way.server.stop()
            with contextlib.suppress(httpx.RemoteProtocolError):
                assert not has_ended_well(CHAT, "".join(pieces))


def is_deaf(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return True
    return False


# ---- app -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    env = {"DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat, KEY: A_KEY, HOSTS: "models.example.com"}
    for name, value in machine.child_env(**env).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def asgi(app: Gateway, host: str, **headers: str) -> httpx.Response:
    """What the application answers when uvicorn hands it a request."""
    path, body = asked(CHAT, LLAMA)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.post(path, json=body, headers={"Authorization": f"Bearer {A_KEY}", **headers})

    return asyncio.run(ask())


def test_the_application_answers_to_the_names_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(HOSTS, "models.example.com, Other.example.com:8443 ,,")
    app = gateway.app()
    for host, status in (
        ("models.example.com", 200),
        ("other.example.com:8443", 200),
        ("other.example.com", 421),
        ("127.0.0.1", 421),
        ("evil.example.com", 421),
    ):
        assert asgi(app, host).status_code == status
    assert asgi(app, "models.example.com", Authorization="Bearer wrong").status_code == 401


@pytest.mark.parametrize(("name", "value"), [(HOSTS, ""), (HOSTS, " , "), (KEY, ""), (KEY, "short"), (KEY, "a b" * 9)])
def test_an_application_without_its_environment_is_not_made(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        gateway.app()
    assert f"export {name}=" in refused.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_an_application_leaves_no_core_dump(environment: pytest.MonkeyPatch, machine: Machine) -> None:
    """In a process of its own, because it is for the rest of its life."""
    probe = (
        "import resource; from dbx_auth import gateway; gateway.app(); print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    given = {name: os.environ[name] for name in (KEY, HOSTS)}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=machine.child_env(**given), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "(0, 0)", done.stderr
