"""Real clients and `Transport`, against a workspace that is as strict as each family: what fails bare goes through."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx
import httpx2
import jsonschema
import openai
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from machine import Machine
from pydantic import BaseModel

import dbx_auth
from dbx_auth import Credentials, Transport, catalogue, fixes
from dbx_auth.sandbox import Sandbox
from dbx_auth.world import World

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fixes.md").read_text(), re.DOTALL)

Json = dict[str, Any]

FAMILIES = {
    "claude": "databricks-claude-sonnet-4-5",
    "gpt": "databricks-gpt-5-2",
    "codex": "databricks-gpt-5-1-codex-max",
    "gemini-3": "databricks-gemini-3-pro",
    "gemini-2.5": "databricks-gemini-2-5-pro",
    "llama": "databricks-llama-4-maverick",
    "gpt-oss": "databricks-gpt-oss-120b",
    "qwen": "databricks-qwen3-next-80b-a3b-instruct",
    "gemma": "databricks-gemma-3-12b",
    "glm": "databricks-glm-5-3",
    "inkling": "databricks-inkling",
    "kimi": "databricks-kimi-k3",
}
CLAUDE, GPT, CODEX, GEMINI = (FAMILIES[name] for name in ("claude", "gpt", "codex", "gemini-3"))
ONLY_MESSAGES = "databricks-claude-opus-5-5"
MODELS = [*FAMILIES.values(), "databricks-claude-opus-4-7", "databricks-gpt-5-5"]

CHATTING = [name for name in FAMILIES if name != "codex"]
RESPONDING = ["gpt", "codex"]
SEEING = ["claude", "gpt", "gemini-3", "gemini-2.5", "llama", "gemma"]
SEVERAL_AT_ONCE = ["claude", "gpt", "gemini-3", "gemini-2.5", "glm", "inkling", "kimi"]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
PNG_URL = f"data:image/png;base64,{PNG}"


# ---- clients ---------------------------------------------------------------------------------------------------------


class Sync:
    """openai's and anthropic's clients, and one of httpx for the API that neither speaks."""

    def __init__(self, url: str, key: str, transport: Transport | None) -> None:
        h1 = httpx.Client(transport=transport, trust_env=False, headers={"Authorization": f"Bearer {key}"})
        h2 = httpx2.Client(transport=transport, trust_env=False)  # type: ignore[arg-type]
        self.http = h1
        self.openai: Any = openai.OpenAI(
            api_key=key,
            base_url=f"{url}/serving-endpoints",
            http_client=h1,  # type: ignore[arg-type]
            max_retries=0,
        )
        self.anthropic: Any = anthropic.Anthropic(
            auth_token=key, base_url=f"{url}/serving-endpoints/anthropic", http_client=h2, max_retries=0
        )
        self._close = (h1.close, h2.close)

    def __call__(self, method: Callable[..., Any], **params: Any) -> Any:
        return method(**params)

    def events(self, method: Callable[..., Any], **params: Any) -> list[Any]:
        return list(method(stream=True, **params))

    def streamed(self, method: Callable[..., Any], final: str, **params: Any) -> Any:
        """What a stream comes to, as the client's own helper puts it together."""
        with method(**params) as stream:
            for _ in stream:
                pass
            return getattr(stream, final)()

    def post(self, url: str, body: Json) -> httpx.Response:
        return self.http.post(url, json=body)

    def close(self) -> None:
        for close in self._close:
            close()


class InALoop:
    """The asynchronous clients, on a loop in another thread."""

    def __init__(self, url: str, key: str, transport: Transport | None, portal: BlockingPortal) -> None:
        self._portal = portal
        h1 = httpx.AsyncClient(transport=transport, trust_env=False)
        h2 = httpx2.AsyncClient(transport=transport, trust_env=False)  # type: ignore[arg-type]
        self.http = h1
        self.openai: Any = openai.AsyncOpenAI(
            api_key=key,
            base_url=f"{url}/serving-endpoints",
            http_client=h1,  # type: ignore[arg-type]
            max_retries=0,
        )
        self.anthropic: Any = anthropic.AsyncAnthropic(
            auth_token=key, base_url=f"{url}/serving-endpoints/anthropic", http_client=h2, max_retries=0
        )
        self._close = (h1.aclose, h2.aclose)

    def __call__(self, method: Callable[..., Any], **params: Any) -> Any:
        return self._portal.call(partial(method, **params))

    def events(self, method: Callable[..., Any], **params: Any) -> list[Any]:
        async def collected() -> list[Any]:
            return [event async for event in await method(stream=True, **params)]

        return self._portal.call(collected)

    def streamed(self, method: Callable[..., Any], final: str, **params: Any) -> Any:
        async def collected() -> Any:
            async with method(**params) as stream:
                async for _ in stream:
                    pass
                told = getattr(stream, final)()
                return await told if hasattr(told, "__await__") else told

        return self._portal.call(collected)

    def post(self, url: str, body: Json) -> httpx.Response:
        return self._portal.call(partial(self.http.post, url, json=body))

    def close(self) -> None:
        for close in self._close:
            self._portal.call(close)


Clients = Sync | InALoop


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(auto_approve=True) as running:
        yield running


@pytest.fixture(scope="module")
def credentials(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    env = {"DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat}
    return Credentials(world=World(env=env, home=str(tmp_path_factory.mktemp("home"))))


@pytest.fixture(scope="module")
def bare(sandbox: Sandbox) -> Iterator[Clients]:
    """With a token that is good, and nothing else."""
    clients = Sync(sandbox.url, sandbox.pat, None)
    yield clients
    clients.close()


@pytest.fixture(scope="module")
def through(credentials: Credentials) -> Iterator[Clients]:
    clients = Sync("https://models.example", "unused", Transport(credentials))
    yield clients
    clients.close()


@pytest.fixture(scope="module", params=["sync", "async"])
def way(request: pytest.FixtureRequest, credentials: Credentials) -> Iterator[Clients]:
    """Through `Transport`, and with addresses and keys that would lead nowhere without it."""
    url, key = "https://models.example", "unused"
    if request.param == "sync":
        clients: Clients = Sync(url, key, Transport(credentials))
        yield clients
        clients.close()
        return
    with start_blocking_portal() as portal:
        clients = InALoop(url, key, Transport(credentials), portal)
        yield clients
        clients.close()


# ---- what clients say ------------------------------------------------------------------------------------------------


def user(content: Any = "hello", **more: Any) -> Json:
    return {"role": "user", "content": content, **more}


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str = "weather", schema: Any = CITY, **more: Any) -> Json:
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema, **more}}


def calling(*ids: str) -> Json:
    function = {"name": "weather", "arguments": "{}"}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": function} for id in ids],
    }


def result(id: str, content: Any = "sunny") -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def turn_of(message: Any) -> Json:
    """The turn as programs keep it, with nothing of it but what OpenAI's API has always had."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in message.tool_calls or []
    ]
    return {"role": "assistant", "content": message.content, **({"tool_calls": calls} if calls else {})}


class Ask:
    """One model, and how it is asked through each API."""

    def __init__(self, way: Clients, model: str) -> None:
        self.way = way
        self.model = model

    def chat(self, *messages: Json, **params: Any) -> Any:
        create = self.way.openai.chat.completions.create
        return self.way(create, model=self.model, messages=list(messages) or [user()], **params)

    def chunks(self, *messages: Json, **params: Any) -> list[Any]:
        create = self.way.openai.chat.completions.create
        return self.way.events(create, model=self.model, messages=list(messages) or [user()], **params)

    def responses(self, input: Any, **params: Any) -> Any:
        return self.way(self.way.openai.responses.create, model=self.model, input=input, **params)

    def messages(self, *messages: Json, **params: Any) -> Any:
        create = self.way.anthropic.messages.create
        return self.way(create, model=self.model, messages=list(messages) or [user()], max_tokens=4096, **params)

    def generate(self, *contents: Json, **params: Any) -> Any:
        url = self.way.openai.base_url.join(f"/serving-endpoints/gemini/v1beta/models/{self.model}:generateContent")
        answer = self.way.post(str(url), {"contents": list(contents), **params})
        if answer.status_code == 400:
            raise Refused(answer.text)
        return answer.raise_for_status().json()

    def called(self, *messages: Json, **params: Any) -> list[Json]:
        """The messages so far, with the turn in which it calls a tool."""
        answer = self.chat(*messages, tools=[tool()], **params)
        return [*messages, turn_of(answer.choices[0].message)]


class Refused(Exception):
    """By generateContent, for which there is no client here with errors of its own."""


REFUSED = (openai.BadRequestError, anthropic.BadRequestError, Refused)


# ---- the pairs: refused bare, answered through Transport -------------------------------------------------------------


class Pair(NamedTuple):
    """What is asked, and how a bare request is refused; `apis` are those that a model must speak to be asked."""

    row: str
    asked: Callable[[Ask], Any]
    refusal: str
    api: str = "chat"


def parts(*given: Json) -> Json:
    return user([{"type": "text", "text": "look"}, *given])


def wanting(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


POINTING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City", "description": "where"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"type": "string"}},
}
DECLARED = [{"functionDeclarations": [{"name": "weather", "parameters": POINTING}]}]
UNTYPED = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
MARK = {"cache_control": {"type": "ephemeral"}}
EAGER: Json = {"eager_input_streaming": True}
SIGNED_TURN = {"functionCall": {"id": "1", "name": "weather", "args": {}}}
RESULT_TURN = {"functionResponse": {"id": "1", "name": "weather", "response": {"said": "sunny"}}}


def answered_with(content: Any) -> Callable[[Ask], Any]:
    """A tool that puts out something else than text."""

    def asked(ask: Ask) -> Any:
        messages = ask.called(user())
        return ask.chat(*messages, result(messages[-1]["tool_calls"][0]["id"], content), tools=[tool()])

    return asked


def own_items_again(ask: Ask) -> Any:
    """What the model said goes back as it came, as the Responses API has it."""
    first = ask.responses("hi", tools=[{"type": "function", "name": "weather", "parameters": CITY}])
    [call] = first.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    return ask.responses([user("hi"), call.model_dump(exclude_none=True), output])


TOOL_USED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
TOOL_GAVE = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


def said(*blocks: Json) -> Json:
    """A turn of the model, as Anthropic's API has it."""
    return {"role": "assistant", "content": list(blocks)}


def thinking_before(**signed: str) -> Callable[[Ask], Any]:
    """What another model has thought before, as it comes from where Claude's signature is unknown."""
    blocks = {"type": "thinking", "thinking": "hm", **signed}, {"type": "text", "text": "morning"}
    return lambda ask: ask.messages(user(), said(*blocks), user())


def sealed_before(sealed: str) -> Callable[[Ask], Any]:
    """The same for OpenAI, whose seal it does not have."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    return lambda ask: ask.responses([user(), thought, user()])


UNKNOWN = "Extra inputs are not permitted|unknown field|Unknown parameter"

PAIRS = [
    *(
        Pair("image-forms", lambda ask, part=part: ask.chat(parts(part)), "image_url")  # type: ignore[misc]
        for part in (
            {"type": "image_url", "image_url": "https://example.com/a.png"},
            {"type": "image_url", "image_url": {"url": PNG}},
            {"type": "image", "data": PNG, "mimeType": "image/png"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "input_image", "image_url": PNG_URL},
        )
    ),
    *(
        Pair("tool-output-as-text", answered_with(content), r"messages\[2\]\.content|Invalid value: 'image'")
        for content in ({"degrees": 20}, None, [], [{"type": "image", "data": PNG, "mimeType": "image/png"}])
    ),
    Pair(
        "no-reasoning-summary",
        lambda ask: ask.chat(user(), extra_body={"reasoningSummary": "auto"}),
        "Unknown parameter|unknown field|Extra inputs",
    ),
    Pair("thought-signature", answered_with("sunny"), "missing a thought_signature in functionCall parts"),
    Pair(
        "one-system-message",
        lambda ask: ask.chat({"role": "system", "content": "a"}, {"role": "system", "content": "b"}, user()),
        "only support one system prompt",
    ),
    Pair("no-empty-text", lambda ask: ask.chat(parts({"type": "text", "text": ""})), "must be non-empty"),
    Pair(
        "no-empty-text",
        lambda ask: ask.chat(user(), {**calling("a"), "content": ""}, result("a")),
        "must be non-empty",
    ),
    Pair(
        "no-empty-text",
        lambda ask: ask.messages(parts({"type": "text", "text": ""})),
        "must be non-empty",
        "messages",
    ),
    Pair("no-empty-text", lambda ask: ask.messages(user(), system=""), "must be non-empty", "messages"),
    Pair(
        "single-tool-calls",
        lambda ask: ask.chat(user(), calling("a", "b"), result("a"), result("b")),
        "Multiple tool calls are not supported",
    ),
    Pair("no-user-name", lambda ask: ask.chat(user(name="ada")), UNKNOWN),
    *(
        Pair("no-cache-control", asked, f"cache_control.*{UNKNOWN}|{UNKNOWN}")
        for asked in (
            lambda ask: ask.chat(parts({"type": "text", "text": "a", **MARK})),
            lambda ask: ask.chat(user(**MARK)),
            lambda ask: ask.chat(tools=[{**tool(), **MARK}]),
            lambda ask: ask.chat(extra_body=MARK),
        )
    ),
    Pair("gemini-schema", lambda ask: ask.chat(tools=[tool(schema=POINTING)]), r'Unknown name "\$schema"'),
    Pair("gemini-schema", lambda ask: ask.chat(response_format=wanting(POINTING)), "generation_config.response_schema"),
    Pair(
        "gemini-schema",
        lambda ask: ask.generate({"parts": []}, tools=DECLARED),
        "function_declarations",
        "generateContent",
    ),
    Pair(
        "no-schema-limits",
        lambda ask: ask.chat(tools=[tool(schema={**CITY, "properties": {"city": {"type": "string", "maxLength": 9}}})]),
        "'maxLength' is not supported",
    ),
    Pair("object-schema", lambda ask: ask.chat(tools=[tool(schema=UNTYPED)]), "type: .*object"),
    Pair(
        "object-schema",
        lambda ask: ask.responses("hi", tools=[{"type": "function", "name": "weather", "parameters": UNTYPED}]),
        "type: .*object",
        "responses",
    ),
    Pair(
        "object-schema",
        lambda ask: ask.messages(tools=[{"name": "weather", "input_schema": UNTYPED}]),
        "input_schema.type: Field required",
        "messages",
    ),
    Pair("no-eager-input-streaming", lambda ask: ask.chat(tools=[tool(**EAGER)]), "eager_input_streaming"),
    Pair(
        "no-eager-input-streaming",
        lambda ask: ask.messages(tools=[{"name": "weather", "input_schema": CITY, **EAGER}]),
        "eager_input_streaming",
        "messages",
    ),
    Pair("no-stream-options", lambda ask: ask.chunks(stream_options={"include_usage": True}), "stream_options"),
    *(
        Pair("no-openai-extras", asked, UNKNOWN)
        for asked in (
            lambda ask: ask.chat(tools=[tool(strict=True)]),
            lambda ask: ask.chat(extra_body={"strict": True}),
            lambda ask: ask.chat(store=False),
            lambda ask: ask.chat(service_tier="auto"),
            lambda ask: ask.chat(prompt_cache_key="me"),
        )
    ),
    Pair("no-parallel-tool-calls", lambda ask: ask.chat(tools=[tool()], parallel_tool_calls=True), UNKNOWN),
    Pair("no-reasoning-effort", lambda ask: ask.chat(reasoning_effort="low"), "reasoning_effort: Extra inputs"),
    Pair(
        "no-effort-with-tools",
        lambda ask: ask.chat(tools=[tool()], reasoning_effort="low"),
        "Function tools with reasoning_effort are not supported",
    ),
    Pair("no-sampling", lambda ask: ask.chat(temperature=0.2, top_p=0.5), "temperature"),
    Pair("no-sampling", lambda ask: ask.messages(extra_body={"temperature": 0.2}), "temperature", "messages"),
    Pair("no-max-completion-tokens", lambda ask: ask.chat(max_completion_tokens=100), UNKNOWN),
    Pair("capped-output", lambda ask: ask.chat(max_tokens=400_000), "cannot exceed"),
    *(
        Pair("no-unsigned-thoughts", thinking_before(**signed), refusal, "messages")
        for signed, refusal in (
            ({}, "thinking.signature: Field required"),
            ({"signature": ""}, "Invalid `signature` in `thinking` block"),
        )
    ),
    Pair(
        "no-unsigned-thoughts",
        lambda ask: ask.messages(
            user(), said(TOOL_USED), user([TOOL_GAVE]), thinking={"type": "enabled", "budget_tokens": 1024}
        ),
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        "messages",
    ),
    *(
        Pair("no-foreign-thoughts", sealed_before(sealed), "could not be verified", "responses")
        for sealed in ("[]", "I think that it is sunny.")
    ),
    Pair("short-item-ids", own_items_again, "Expected a string with maximum length 64", "responses"),
    Pair(
        "no-function-call-id",
        lambda ask: ask.generate({"parts": []}, {"role": "model", "parts": [SIGNED_TURN]}, {"parts": [RESULT_TURN]}),
        'Unknown name .*"id',
        "generateContent",
    ),
]

NO_TROUBLE_YET = {
    ("short-item-ids", GPT): "its own ids are short; it is Codex that gives longer ones",
    ("short-item-ids", "databricks-gpt-5-5"): "as above",
    ("thought-signature", "databricks-gemini-2-5-pro"): "before Gemini 3 a signature may be missing",
}
"""What a model has a row for, and nothing to be refused in what it is asked here."""


def askable(pair: Pair) -> list[str]:
    """The models that have the quirk of the row, and speak its API; of Inkling nobody has said what it speaks."""
    [row] = (row for row in fixes.TABLE if row.name == pair.row)
    facts = {model: catalogue.facts(model) for model in MODELS}
    return [
        model
        for model, known in facts.items()
        if pair.api in (known.apis or ("chat",)) and (not row.quirk or row.quirk in known.quirks)
        if (pair.row, model) not in NO_TROUBLE_YET
    ]


@pytest.mark.parametrize(
    ("pair", "model"),
    [
        pytest.param(pair, model, id=f"{number}-{pair.row}-{model.removeprefix('databricks-')}")
        for number, pair in enumerate(PAIRS)
        for model in askable(pair)
    ],
)
def test_what_is_refused_bare_is_answered_through_transport(
    bare: Clients, through: Clients, pair: Pair, model: str
) -> None:
    with pytest.raises(REFUSED) as refused:
        pair.asked(Ask(bare, model))
    assert re.search(pair.refusal, str(refused.value)), refused.value
    assert pair.asked(Ask(through, model))


class Odd(NamedTuple):
    """What is looked at in an answer, and what a client expects it to be."""

    row: str
    seen: Callable[[Ask], Any]
    expected: Callable[[Any], bool]


def finish(ask: Ask) -> Any:
    return ask.chat(tools=[tool()]).choices[0].finish_reason


def finish_of_a_stream(ask: Ask, **params: Any) -> Any:
    found = [choice.finish_reason for chunk in ask.chunks(**params) for choice in chunk.choices]
    return [reason for reason in found if reason]


def thinking(ask: Ask) -> Json:
    return {"extra_body": {"thinking": {"type": "enabled", "budget_tokens": 1024}}} if ask.model == CLAUDE else {}


def text_of_a_stream(ask: Ask) -> list[Any]:
    deltas = [choice.delta.content for chunk in ask.chunks(**thinking(ask)) for choice in chunk.choices]
    return [text for text in deltas if text is not None]


def name_called_in_a_stream(ask: Ask) -> str:
    calls = [
        call
        for chunk in ask.chunks(tools=[tool()])
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
    ]
    return "".join(call.function.name or "" for call in calls)  # fmt: skip


ODD = [
    Odd(
        "content-parts",
        lambda ask: ask.chat(**thinking(ask)).choices[0].message.content,
        lambda content: content == "You said: hello",
    ),
    Odd(
        "content-parts",
        text_of_a_stream,
        lambda texts: all(isinstance(text, str) for text in texts) and "".join(texts) == "You said: hello",
    ),
    Odd(
        "databricks-tool-call",
        lambda ask: [
            (call.function.name, json.loads(call.function.arguments))
            for call in ask.chat(tools=[tool()]).choices[0].message.tool_calls
        ],
        lambda calls: calls == [("weather", {"city": "example"})],
    ),
    Odd("databricks-tool-call", name_called_in_a_stream, lambda name: name == "weather"),
    Odd("finish-reason", finish, lambda reason: reason == "tool_calls"),
    Odd("finish-reason", partial(finish_of_a_stream, tools=[tool()]), lambda reasons: reasons == ["tool_calls"]),
    Odd("no-finish-reason", finish_of_a_stream, lambda reasons: reasons == ["stop"]),
    Odd("no-finish-reason", partial(finish_of_a_stream, tools=[tool()]), lambda reasons: reasons == ["tool_calls"]),
]

ODD_ANSWERS_OF = {
    "content-parts": ["claude", "gemini-3", "gemini-2.5", "gpt-oss", "qwen"],
    "databricks-tool-call": ["llama"],
    "finish-reason": ["llama"],
    "no-finish-reason": ["inkling"],
}


@pytest.mark.parametrize(
    ("odd", "family"),
    [
        pytest.param(odd, family, id=f"{number}-{odd.row}-{family}")
        for number, odd in enumerate(ODD)
        for family in ODD_ANSWERS_OF[odd.row]
    ],
)
def test_an_odd_answer_is_what_clients_expect(bare: Clients, through: Clients, odd: Odd, family: str) -> None:
    asked_bare, asked = (odd.seen(Ask(clients, FAMILIES[family])) for clients in (bare, through))
    assert not odd.expected(asked_bare), asked_bare
    assert odd.expected(asked), asked


def test_one_item_of_codex_has_one_id_from_its_first_event_to_the_last(bare: Clients, through: Clients) -> None:
    def ids(clients: Clients) -> set[str]:
        found: set[str] = set()
        for event in clients.events(clients.openai.responses.create, model=CODEX, input="hi"):
            found |= {event.item_id} if hasattr(event, "item_id") else set()
            found |= {event.item.id} if hasattr(event, "item") else set()
            found |= {item.id for item in event.response.output} if hasattr(event, "response") else set()
        return found

    assert len(ids(bare)) > 1
    assert len(ids(through)) == 1


WITHOUT_A_PAIR = {
    "no-thought-signature": "only Transport puts signatures into ids, so nobody sends them bare",
}


def test_every_row_has_a_pair_or_a_reason() -> None:
    assert {row.name for row in fixes.TABLE} == {p.row for p in PAIRS} | {o.row for o in ODD} | WITHOUT_A_PAIR.keys()


def test_every_family_has_pairs() -> None:
    """But for the rows that are for everybody."""
    for_all = {row.name for row in fixes.TABLE if not row.quirk}
    asked = {model for pair in PAIRS if pair.row not in for_all for model in askable(pair)}
    assert asked >= set(MODELS) - {"databricks-gpt-5-1-codex-mini"}


# ---- each family, as programs use it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CHATTING)
class TestChat:
    def test_a_chat(self, way: Clients, family: str) -> None:
        told = Ask(way, FAMILIES[family]).chat(
            {"role": "system", "content": "be brief"},
            user("good morning", name="ada"),
            {"role": "assistant", "content": "morning"},
            user("how are you"),
            max_completion_tokens=300,
            store=False,
        )
        [choice] = told.choices
        assert (choice.message.content, choice.finish_reason) == ("You said: how are you", "stop")
        assert told.usage.total_tokens > 0

    def test_a_stream(self, way: Clients, family: str) -> None:
        told = way.streamed(
            way.openai.chat.completions.stream,
            "get_final_completion",
            model=FAMILIES[family],
            messages=[user("how are you")],
            stream_options={"include_usage": True},
        )
        [choice] = told.choices
        assert (choice.message.content, choice.finish_reason) == ("You said: how are you", "stop")

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_a_conversation_with_tools_over_several_turns(self, way: Clients, family: str, streamed: bool) -> None:
        messages: list[Json] = [{"role": "system", "content": "use tools"}]
        for said in ("is it both warm and dry?", "and tomorrow, both?"):
            answer = talk(way, FAMILIES[family], [*messages, user(said)], streamed)
            messages = answer
            calls = [call for message in answer for call in message.get("tool_calls", [])]
            assert answer[-1]["content"].startswith("The tool answered: ") and "warm" in answer[-1]["content"]
            assert {call["function"]["name"] for call in calls} <= {"weather", "rain"}
        several = max(len(message.get("tool_calls", [])) for message in messages)
        assert several == (2 if family in SEVERAL_AT_ONCE else 1)

    def test_the_turns_of_another_family_are_taken_up(self, way: Clients, family: str) -> None:
        """A conversation that began with Gemini, whose calls are signed and came two at a time."""
        messages = talk(way, GEMINI, [user("both, please")], False)
        told = Ask(way, FAMILIES[family]).chat(*messages, user("thanks"))
        assert told.choices[0].message.content == "You said: thanks"

    def test_an_answer_of_a_shape(self, way: Clients, family: str) -> None:
        told = way(
            way.openai.chat.completions.parse,
            model=FAMILIES[family],
            messages=[user("plan a trip")],
            response_format=Trip,
        )
        assert told.choices[0].message.parsed == Trip(start=City(name="example"), days=1, stops=[])


def talk(way: Clients, model: str, messages: list[Json], streamed: bool) -> list[Json]:
    """Ask, run what is called, and go on until the model has nothing more to call: the loop of every agent."""
    completions = way.openai.chat.completions
    tools = [tool("weather"), tool("rain", {"type": "object", "properties": {}})]
    common = {"model": model, "tools": tools}
    for _ in range(4):
        if streamed:
            told = way.streamed(completions.stream, "get_final_completion", messages=messages, **common)
        else:
            told = way(completions.create, messages=messages, parallel_tool_calls=True, **common)
        [choice] = told.choices
        messages = [*messages, {**turn_of(choice.message), "content": choice.message.content or ""}]
        if choice.finish_reason != "tool_calls":
            return messages
        messages += [result(call.id, [{"type": "text", "text": "warm"}]) for call in choice.message.tool_calls]
    raise AssertionError("it never comes to an end")


class City(BaseModel):
    name: str


class Trip(BaseModel):
    start: City
    days: int
    stops: list[City]


@pytest.mark.parametrize("family", CHATTING)
def test_a_conversation_that_gpt_began_is_taken_up(way: Clients, family: str) -> None:
    """Whose calls came two at a time, and have no signatures."""
    messages = talk(way, GPT, [user("both, please")], False)
    told = Ask(way, FAMILIES[family]).chat(*messages, user("thanks"))
    assert told.choices[0].message.content == "You said: thanks"


@pytest.mark.parametrize("family", SEEING)
def test_an_image(way: Clients, family: str) -> None:
    image = {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}}
    told = Ask(way, FAMILIES[family]).chat(user([{"type": "text", "text": "what is it?"}, image]))
    assert told.choices[0].message.content == "You said: what is it?"


# As servers of the Model Context Protocol describe their tools: made by libraries, from classes that name each other.
DEEP: Json = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://example.com/issue.json",
    "$comment": "generated",
    "title": "Issue",
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 80},
        "author": {"$ref": "#/$defs/Person", "description": "who found it"},
        "labels": {"type": "array", "maxItems": 9, "items": {"$ref": "#/definitions/Label"}},
        "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}], "default": None},
    },
    "required": ["title", "author", "labels"],
    "additionalProperties": False,
    "$defs": {
        "Person": {
            "$comment": "a node of a tree",
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "boss": {"$ref": "#/$defs/Person"},
                "home": {"$ref": "#/$defs/Place"},
            },
            "required": ["name", "home"],
            "additionalProperties": False,
        },
        "Place": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "near": {"type": "array", "items": {"$ref": "#/$defs/Place"}}},
            "required": ["street"],
        },
    },
    "definitions": {"Label": {"type": "string", "enum": ["bug", "wish"]}},
}


@pytest.mark.parametrize("family", CHATTING)
def test_a_tool_with_a_deep_schema_is_called_as_it_says(way: Clients, family: str) -> None:
    told = Ask(way, FAMILIES[family]).chat(tools=[tool("create_issue", DEEP, strict=True)])
    [call] = told.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, DEEP)
    assert call.function.name == "create_issue" and arguments["author"]["home"] == {"street": "example"}


@pytest.mark.parametrize("family", RESPONDING)
class TestResponses:
    def test_a_chat(self, way: Clients, family: str) -> None:
        told = Ask(way, FAMILIES[family]).responses("how are you", instructions="be brief")
        assert told.output_text == "You said: how are you"

    def test_a_stream(self, way: Clients, family: str) -> None:
        told = way.streamed(
            way.openai.responses.stream, "get_final_response", model=FAMILIES[family], input="how are you"
        )
        assert told.output_text == "You said: how are you"

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_a_conversation_with_tools_over_several_turns(self, way: Clients, family: str, streamed: bool) -> None:
        tools = [{"type": "function", "name": "weather", "parameters": CITY}, {"type": "function", "name": "rain"}]
        items: list[Json] = []
        for said in ("is it both warm and dry?", "and tomorrow, both?"):
            items.append(user(said))
            for _ in range(2):
                params = {"model": FAMILIES[family], "input": items, "tools": tools}
                if streamed:
                    told = way.streamed(way.openai.responses.stream, "get_final_response", **params)
                else:
                    told = way(way.openai.responses.create, **params)
                items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in told.output]
                calls = [item for item in told.output if item.type == "function_call"]
                items += [{"type": "function_call_output", "call_id": c.call_id, "output": "warm"} for c in calls]
            assert told.output_text.startswith("The tool answered: ")
        assert sum(item.get("type") == "function_call" for item in items) == 4

    def test_an_image(self, way: Clients, family: str) -> None:
        image = {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}
        told = Ask(way, FAMILIES[family]).responses([user([{"type": "input_text", "text": "what is it?"}, image])])
        assert told.output_text == "You said: what is it?"

    def test_an_answer_of_a_shape(self, way: Clients, family: str) -> None:
        told = way(way.openai.responses.parse, model=FAMILIES[family], input="plan a trip", text_format=Trip)
        assert told.output_parsed == Trip(start=City(name="example"), days=1, stops=[])


@pytest.mark.parametrize("model", [CLAUDE, "databricks-claude-opus-4-7", ONLY_MESSAGES])
class TestMessages:
    def test_a_chat(self, way: Clients, model: str) -> None:
        told = Ask(way, model).messages(user("how are you"), system="be brief")
        assert [block.text for block in told.content] == ["You said: how are you"]

    def test_a_stream(self, way: Clients, model: str) -> None:
        stream = way.anthropic.messages.stream
        told = way.streamed(stream, "get_final_message", model=model, max_tokens=99, messages=[user("how are you")])
        assert [block.text for block in told.content] == ["You said: how are you"]

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_a_conversation_with_thoughts_and_tools(self, way: Clients, model: str, streamed: bool) -> None:
        tools = [{"name": name, "input_schema": CITY, **EAGER} for name in ("weather", "rain")]
        common = {
            "model": model,
            "max_tokens": 4096,
            "tools": tools,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
        messages: list[Json] = []
        for said in ("is it both warm and dry?", "and tomorrow, both?"):
            messages.append(user(said))
            for _ in range(2):
                if streamed:
                    told = way.streamed(way.anthropic.messages.stream, "get_final_message", messages=messages, **common)
                else:
                    told = way(way.anthropic.messages.create, messages=messages, **common)
                blocks = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in told.content]
                messages.append({"role": "assistant", "content": blocks})
                used = [block for block in told.content if block.type == "tool_use"]
                if used:
                    results = [{"type": "tool_result", "tool_use_id": b.id, "content": "warm"} for b in used]
                    messages.append({"role": "user", "content": results})
            assert told.stop_reason == "end_turn" and told.content[0].type == "thinking"
            assert told.content[-1].text.startswith("The tool answered: ")
        assert sum(b["type"] == "tool_use" for m in messages if m["role"] == "assistant" for b in m["content"]) == 4

    def test_an_image(self, way: Clients, model: str) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        told = Ask(way, model).messages(user([{"type": "text", "text": "what is it?"}, image]))
        assert told.content[0].text == "You said: what is it?"

    def test_an_answer_of_a_shape(self, way: Clients, model: str) -> None:
        """Either the input of a tool that has to be used, or the answer itself."""
        shape = {"name": "answer", "input_schema": Trip.model_json_schema()}
        told = Ask(way, model).messages(tools=[shape], tool_choice={"type": "tool", "name": "answer"})
        [used] = told.content
        assert Trip.model_validate(used.input) == Trip(start=City(name="example"), days=1, stops=[])
        parse = way.anthropic.messages.parse
        told = way(parse, model=model, max_tokens=99, messages=[user("plan a trip")], output_format=Trip)
        assert told.parsed_output == Trip(start=City(name="example"), days=1, stops=[])


@pytest.mark.parametrize("family", ["gemini-3", "gemini-2.5"])
class TestGenerateContent:
    def test_a_conversation_with_tools(self, way: Clients, family: str) -> None:
        ask = Ask(way, FAMILIES[family])
        contents: list[Json] = [{"role": "user", "parts": [{"text": "is it both warm and dry?"}]}]
        for _ in range(2):
            told = ask.generate(*contents, tools=[{"functionDeclarations": [{"name": "a", "parameters": DEEP}]}])
            content = told["candidates"][0]["content"]
            calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
            kept = [{"functionCall": {**c, "id": f"call-{n}"}} for n, c in enumerate(calls)] or content["parts"]
            contents.append({"role": "model", "parts": kept})
            for number, call in enumerate(calls):
                jsonschema.validate(call["args"], DEEP)
                response = {"id": f"call-{number}", "name": call["name"], "response": {"result": "warm"}}
                contents.append({"role": "user", "parts": [{"functionResponse": response}]})
        assert contents[-1]["parts"][0]["text"] == "The tool answered: warm"

    def test_a_stream(self, way: Clients, family: str) -> None:
        url = f"https://models.example/v1beta/models/{FAMILIES[family]}:streamGenerateContent?alt=sse&key=unused"
        answer = way.post(url, {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
        texts = [part["text"] for event in events for part in event["candidates"][0]["content"]["parts"]]
        assert "".join(texts) == "You said: hi" and len(events) > 1


def test_an_endpoint_that_people_named_is_taken_for_what_is_behind_it(bare: Clients, way: Clients) -> None:
    blank = parts({"type": "text", "text": ""})
    with pytest.raises(openai.BadRequestError, match="must be non-empty"):
        Ask(bare, "team-claude").chat(blank)
    assert Ask(way, "team-claude").chat(blank).choices[0].message.content == "You said: look"
    told = [Ask(clients, "policy-chat").chat(tools=[tool()]).choices[0] for clients in (bare, way)]
    assert [choice.message.tool_calls[0].function.name for choice in told] == ["databricks-tool-call", "weather"]


def test_a_model_goes_by_its_name_in_unity_catalog_too(bare: Clients, way: Clients) -> None:
    with pytest.raises(openai.NotFoundError):
        Ask(bare, "system.ai.claude-sonnet-4-5").chat()
    told = Ask(way, "system.ai.claude-sonnet-4-5").chat(store=True)
    assert told.choices[0].message.content == "You said: hello"


def test_embeddings(way: Clients) -> None:
    told = way(way.openai.embeddings.create, model="databricks-gte-large-en", input=["a", "b"])
    assert [len(row.embedding) for row in told.data] == [1024, 1024]


def test_openai_s_client_may_be_built_on_httpx2_too(credentials: Credentials) -> None:
    with httpx2.Client(transport=Transport(credentials)) as session:  # type: ignore[arg-type]
        completions = openai.OpenAI(api_key="unused", http_client=session).chat.completions
        chunks = list(
            completions.create(model=FAMILIES["inkling"], messages=[{"role": "user", "content": "hi"}], stream=True)
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: hi"
    assert chunks[-1].choices[0].finish_reason == "stop"


# ---- what is refused all the same ------------------------------------------------------------------------------------


def test_a_refusal_is_the_client_s_own_error(way: Clients) -> None:
    with pytest.raises(openai.NotFoundError, match="The given endpoint does not exist"):
        Ask(way, "nobody").chat()
    with pytest.raises(anthropic.NotFoundError, match="The given endpoint does not exist"):
        Ask(way, "nobody").messages()
    with pytest.raises(openai.BadRequestError, match="only supports the Responses API"):
        Ask(way, CODEX).chat()


def test_an_error_of_ours_reaches_who_asks(way: Clients) -> None:
    """As it is with OpenAI's client, and as the cause of Anthropic's own."""
    with pytest.raises(dbx_auth.Refused, match="neither the API of a model nor at"):
        way(way.openai.models.list)
    with pytest.raises(anthropic.APIConnectionError) as failed:
        way(way.anthropic.models.list)
    assert isinstance(failed.value.__cause__, dbx_auth.Refused)


# ---- docs/fixes.md ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_page_works(machine: Machine, sandbox: Sandbox, program: str) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": sandbox.pat, "host": sandbox.url}})
    done = subprocess.run(
        [sys.executable, "-c", program], env=machine.child_env(), capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("You said: hello", "")


def test_the_page_has_a_program_for_each_client() -> None:
    assert len(PROGRAMS) >= 4
    for name in ("OpenAI(", "AsyncOpenAI(", "Anthropic(", "httpx2.Client(", "httpx.Client("):
        assert any(name in program for program in PROGRAMS), name
