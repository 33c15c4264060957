"""The sandbox refuses what each model family refuses, takes what it takes instead, and has each one's odd ways."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from dbx_auth.sandbox import Sandbox, signatures, workspace
from dbx_auth.sandbox.answers import ONE_AT_A_TIME
from dbx_auth.sandbox.workspace import CHAT, ENDPOINTS, FAMILY_APIS

CLAUDE, HAIKU, OPUS_7 = "databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5", "databricks-claude-opus-4-7"
GPT, GPT_5, CODEX = "databricks-gpt-5-2", "databricks-gpt-5-5", "databricks-gpt-5-1-codex-max"
GEMINI = "databricks-gemini-3-pro"
LLAMA, QWEN, GEMMA = "databricks-llama-4-maverick", "databricks-qwen3-next-80b-a3b-instruct", "databricks-gemma-3-12b"
OSS = "databricks-gpt-oss-120b"
GLM, INKLING, KIMI = "databricks-glm-5-3", "databricks-inkling", "databricks-kimi-k3"
OPEN = [OSS, LLAMA, QWEN, GEMMA]
HOSTED = [*OPEN, GLM, INKLING, KIMI]
EVERY_FAMILY = [CLAUDE, GPT, GEMINI, *HOSTED, "team-claude", "team-gpt"]

CHAT_PATH = "/serving-endpoints/chat/completions"
RESPONSES_PATH = "/serving-endpoints/responses"
CODEX_PATH = "/ai-gateway/codex/v1/responses"
MESSAGES_PATH = "/serving-endpoints/anthropic/v1/messages"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


class Client:
    def __init__(self, sandbox: Sandbox) -> None:
        headers = {"Authorization": f"Bearer {sandbox.pat}"}
        self.http = httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, verify=False, timeout=20)

    def get(self, path: str, **query: object) -> httpx.Response:
        return self.http.get(path, params={name: str(value) for name, value in query.items()})

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def refusal(self, path: str, body: Mapping[str, Any]) -> str | None:
        """Why it is refused, or None when it is answered."""
        answer = self.http.post(path, json=body)
        if answer.status_code == 200:
            return None
        assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST"), answer.text
        return str(answer.json()["message"])

    def stream(self, path: str, body: Mapping[str, Any]) -> list[Json]:
        """The events of a stream; what ends a chat is seen to be there and left out."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        assert (data[-1] == "[DONE]") is path.endswith("chat/completions")
        return [json.loads(event) for event in data if event != "[DONE]"]


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[Client]:
    made = Client(sandbox)
    with made.http:
        yield made


def chat(model: str, *messages: Json, **more: Any) -> Json:
    return {"model": model, "messages": list(messages) or [user()], **more}


def user(content: Any = "hello", **more: Any) -> Json:
    return {"role": "user", "content": content, **more}


def tool(name: str = "weather", schema: Any = None, **more: Any) -> Json:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "parameters": schema or city, **more}}


def calling(*ids: str, **more: Any) -> Json:
    """An assistant's turn that calls a tool for each id."""
    function = {"name": "weather", "arguments": "{}"}
    calls = [{"id": id, "type": "function", "function": function, **more} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answering(id: str, content: Any = "sunny") -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def unknown(model: str, path: str) -> str:
    """How each family says that it does not know a parameter."""
    name = path.rpartition(".")[2]
    if model in HOSTED:
        return f'json: unknown field "{name}"'
    return f"{path}: Extra inputs are not permitted"


# ---- what is refused, and what is taken instead --------------------------------------------------------------------


class TestChat:
    @pytest.mark.parametrize("model", [CLAUDE, GEMINI, *HOSTED])
    def test_only_gpt_knows_max_completion_tokens(self, client: Client, model: str) -> None:
        refused = client.refusal(CHAT_PATH, chat(model, max_completion_tokens=9))
        assert refused == unknown(model, "max_completion_tokens")
        assert client.refusal(CHAT_PATH, chat(model, max_tokens=9)) is None
        assert client.refusal(CHAT_PATH, chat(GPT, max_completion_tokens=9)) is None

    @pytest.mark.parametrize("model", [GLM, INKLING, KIMI])
    def test_the_newer_ones_take_stream_options_but_no_other_extras(self, client: Client, model: str) -> None:
        assert client.refusal(CHAT_PATH, chat(model, stream=True, stream_options={})) is None
        for name in ("parallel_tool_calls", "prompt_cache_key", "service_tier", "store", "strict"):
            assert client.refusal(CHAT_PATH, chat(model, **{name: False})) == unknown(model, name)

    @pytest.mark.parametrize("model", [CLAUDE, GEMINI, *HOSTED])
    def test_only_gpt_takes_the_name_of_a_user(self, client: Client, model: str) -> None:
        body = chat(model, user(), user(name="ada"))
        assert client.refusal(CHAT_PATH, body) == unknown(model, "messages.1.name")
        assert client.refusal(CHAT_PATH, {**body, "model": GPT}) is None

    @pytest.mark.parametrize(
        ("place", "marked"),
        [
            ("", {"cache_control": {"type": "ephemeral"}}),
            ("messages.0.", {"messages": [user(cache_control={})]}),
            ("messages.0.content.0.", {"messages": [user([{"type": "text", "text": "a", "cache_control": {}}])]}),
            ("tools.0.", {"tools": [{**tool(), "cache_control": {}}]}),
            ("tools.0.function.", {"tools": [tool(cache_control={})]}),
        ],
    )
    def test_only_claude_takes_cache_control(self, client: Client, place: str, marked: Json) -> None:
        for model in [GEMINI, *HOSTED]:
            refused = client.refusal(CHAT_PATH, {**chat(model), **marked})
            assert refused == unknown(model, f"{place}cache_control")
        said = f"{place}cache_control".replace(".0", "[0]")
        assert client.refusal(CHAT_PATH, {**chat(GPT), **marked}) == f"Unknown parameter: '{said}'."
        for model in (CLAUDE, "team-claude"):
            assert client.refusal(CHAT_PATH, {**chat(model), **marked}) is None

    @pytest.mark.parametrize("model", [OSS, LLAMA, QWEN, GEMMA, GLM, INKLING, KIMI])
    def test_there_is_a_limit_to_what_may_be_asked_for(self, client: Client, model: str) -> None:
        most = ENDPOINTS[model].most
        assert client.refusal(CHAT_PATH, chat(model, max_tokens=most)) is None
        assert client.refusal(CHAT_PATH, chat(model, max_tokens=most + 1)) == (
            f"max_tokens ({most + 1}) cannot exceed {most}. Please reduce the length of max output tokens generated."
        )

    def test_glm_writes_25_000_tokens(self) -> None:
        assert ENDPOINTS[GLM].most == 25_000

    @pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
    def test_opus_4_7_samples_as_it_likes(self, client: Client, name: str) -> None:
        said = f"Model {OPUS_7} does not support the {name} parameter."
        assert client.refusal(CHAT_PATH, chat(OPUS_7, **{name: 1})) == said
        assert client.refusal(MESSAGES_PATH, chat(OPUS_7, **{name: 1, "max_tokens": 9})) == said
        assert client.refusal(CHAT_PATH, chat(OPUS_7, **{name: None})) is None
        assert client.refusal(CHAT_PATH, chat(CLAUDE, **{name: 1})) is None

    def test_kimi_takes_the_values_that_it_uses_anyway(self, client: Client) -> None:
        said = client.refusal(CHAT_PATH, chat(KIMI, temperature=0.2))
        assert said == "invalid temperature: only 1 is allowed for this model"
        assert client.refusal(CHAT_PATH, chat(KIMI, top_p=1)) == "invalid top_p: only 0.95 is allowed for this model"
        assert client.refusal(CHAT_PATH, chat(KIMI, top_k=5)) == 'json: unknown field "top_k"'
        assert client.refusal(CHAT_PATH, chat(KIMI, temperature=1.0, top_p=0.95)) is None

    def test_gpt_5_5_has_no_effort_for_tools(self, client: Client) -> None:
        body = chat(GPT_5, tools=[tool()], reasoning_effort="low")
        assert client.refusal(CHAT_PATH, body) == (
            "Function tools with reasoning_effort are not supported for gpt-5.5 in /v1/chat/completions. "
            "Please use /v1/responses instead."
        )
        assert client.refusal(CHAT_PATH, {**body, "reasoning_effort": "none"}) is None
        assert client.refusal(CHAT_PATH, {**body, "tools": []}) is None
        assert client.refusal(CHAT_PATH, {**body, "model": GPT}) is None

    @pytest.mark.parametrize("model", [CLAUDE, HAIKU, "team-claude"])
    def test_claude_is_given_a_budget_to_think_and_not_an_effort(self, client: Client, model: str) -> None:
        refused = client.refusal(CHAT_PATH, chat(model, reasoning_effort="low"))
        assert refused == "reasoning_effort: Extra inputs are not permitted"
        thinking = {"type": "enabled", "budget_tokens": 1024}
        assert client.refusal(CHAT_PATH, chat(model, thinking=thinking, max_tokens=2048)) is None
        assert client.refusal(CHAT_PATH, chat(model, thinking=thinking)) is None

    @pytest.mark.parametrize(
        ("budget", "most", "said"),
        [
            (None, 9000, "thinking.enabled.budget_tokens: Field required"),
            (1023, 9000, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
            (2048, 2048, "`max_tokens` must be greater than `thinking.budget_tokens`."),
        ],
    )
    def test_the_budget_has_its_bounds(self, client: Client, budget: Any, most: int, said: str) -> None:
        body = chat(CLAUDE, thinking={"type": "enabled", "budget_tokens": budget}, max_tokens=most)
        assert client.refusal(CHAT_PATH, body) == client.refusal(MESSAGES_PATH, body) == said

    @pytest.mark.parametrize("word", ["maxLength", "minLength", "pattern", "format", "minimum", "maxItems"])
    def test_gpt_oss_takes_no_limits_in_a_schema(self, client: Client, word: str) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "array", "items": {word: 1}}}}
        body = chat(OSS, tools=[tool(schema=schema)])
        path = "parameters.properties[0].value.items"
        said = f"Invalid schema for function 'weather': '{word}' is not supported at '{path}'."
        assert client.refusal(CHAT_PATH, body) == said
        assert client.refusal(CHAT_PATH, {**body, "model": GLM}) is None
        named = {"type": "object", "properties": {word: {"type": "string"}}}
        assert client.refusal(CHAT_PATH, chat(OSS, tools=[tool(schema=named)])) is None


class TestTools:
    @pytest.mark.parametrize("model", OPEN)
    def test_open_models_take_one_call_in_a_turn(self, client: Client, model: str) -> None:
        body = chat(model, user(), calling("a", "b"), answering("a"), answering("b"))
        assert client.refusal(CHAT_PATH, body) == "Multiple tool calls are not supported.\n"
        pairs = chat(model, user(), calling("a"), answering("a"), calling("b"), answering("b"))
        assert client.refusal(CHAT_PATH, pairs) is None

    @pytest.mark.parametrize("model", [CLAUDE, GPT, GLM, INKLING, KIMI])
    def test_the_others_take_several(self, client: Client, model: str) -> None:
        body = chat(model, user(), calling("a", "b"), answering("a"), answering("b"))
        assert client.refusal(CHAT_PATH, body) is None

    @pytest.mark.parametrize("model", EVERY_FAMILY)
    @pytest.mark.parametrize(
        "messages",
        [
            [answering("a")],
            [user(), calling("a"), answering("b")],
            [user(), calling("a"), user(), answering("a")],
            [user(), calling("a"), {"role": "tool", "content": "sunny"}],
            [user(), calling("a"), answering(["a"], "sunny")],  # type: ignore[arg-type]
        ],
    )
    def test_what_a_tool_said_follows_its_call(self, client: Client, model: str, messages: list[Json]) -> None:
        assert client.refusal(CHAT_PATH, chat(model, *messages)) == (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        )

    @pytest.mark.parametrize("model", EVERY_FAMILY)
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"a": 1}, "expected one of a string or array of objects, but got an object instead"),
            (None, "expected one of a string or array of objects, but got null instead"),
            (7, "expected one of a string or array of objects, but got an integer instead"),
            ([], "empty array"),
            ([{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}], "Supported values are: 'text'"),
            (["sunny"], "Supported values are: 'text'"),
            ([{"type": "text", "text": None}], "Supported values are: 'text'"),
        ],
    )
    def test_what_a_tool_said_is_text(self, client: Client, model: str, content: Any, said: str) -> None:
        refused = client.refusal(CHAT_PATH, chat(model, user(), calling("a"), answering("a", content)))
        assert refused and said in refused and ("messages[2].content" in refused)
        for fine in ("sunny", [{"type": "text", "text": "sunny"}]):
            signed = calling("a", thoughtSignature=signatures.SKIPPED)
            assert client.refusal(CHAT_PATH, chat(model, user(), signed, answering("a", fine))) is None

    def test_what_a_tool_said_to_claude_is_something(self, client: Client) -> None:
        empty = [user(), calling("a"), answering("a", "")]
        refused = client.refusal(CHAT_PATH, chat(CLAUDE, *empty))
        assert refused == "messages.2: text content blocks must be non-empty"
        assert client.refusal(CHAT_PATH, chat(GPT, *empty)) is None

    def test_gemini_wants_its_signature_back(self, client: Client) -> None:
        refused = client.refusal(CHAT_PATH, chat(GEMINI, user(), calling("a"), answering("a")))
        assert refused and refused.startswith("Function call is missing a thought_signature in functionCall parts.")
        assert "function call `default_api:weather`, position 2." in refused
        elsewhere = calling("a", extra_content={"google": {"thought_signature": signatures.SKIPPED}})
        assert client.refusal(CHAT_PATH, chat(GEMINI, user(), elsewhere, answering("a"))) == refused

    @pytest.mark.parametrize("signature", ["", "made up", "AAAA", None, 7, ["x"]])
    def test_gemini_knows_its_own_signatures(self, client: Client, signature: Any) -> None:
        forged = calling("a", thoughtSignature=signature)
        refused = client.refusal(CHAT_PATH, chat(GEMINI, user(), forged, answering("a")))
        assert refused == "Corrupted thought signature."

    @pytest.mark.parametrize("text", ["hello", "both please"])
    @pytest.mark.parametrize("streamed", [True, False])
    def test_gemini_takes_back_what_it_gave(self, client: Client, text: str, streamed: bool) -> None:
        body = chat(GEMINI, user(text), tools=[tool("a"), tool("b")])
        turn = put_together(client, body) if streamed else client.post(CHAT_PATH, body)["choices"][0]["message"]
        answers = [answering(call["id"]) for call in turn["tool_calls"]]
        assert client.refusal(CHAT_PATH, chat(GEMINI, user(text), turn, *answers)) is None
        turn["tool_calls"][0]["thoughtSignature"] = signatures.SKIPPED
        assert client.refusal(CHAT_PATH, chat(GEMINI, user(text), turn, *answers)) is None
        del turn["tool_calls"][0]["thoughtSignature"]
        refused = client.refusal(CHAT_PATH, chat(GEMINI, user(text), turn, *answers))
        assert refused and "missing a thought_signature" in refused

    @pytest.mark.parametrize("word", ["$schema", "$id", "$comment", "$ref", "$defs", "additionalProperties"])
    def test_gemini_s_answers_have_no_foreign_schemas_either(self, client: Client, word: str) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "object", word: "x"}}}
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        said = (
            f'Invalid JSON payload received. Unknown name "{word}" at '
            "'generation_config.response_schema.properties[0].value': Cannot find field."
        )
        assert client.refusal(CHAT_PATH, chat(GEMINI, response_format=form)) == said
        assert client.refusal(CHAT_PATH, chat(GPT, response_format=form)) is None
        in_tool = chat(GEMINI, tools=[tool(schema=schema)])
        assert word in str(client.refusal(CHAT_PATH, in_tool))


class TestImages:
    @pytest.mark.parametrize("model", EVERY_FAMILY)
    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": "https://a.example/b.png"},
            {"type": "image_url", "image_url": {"url": "aGVsbG8="}},
            {"type": "image_url", "image_url": {"url": "data:text/plain;base64,aGVsbG8="}},
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            {"type": "image_url", "image_url": {}},
            {"type": "image_url"},
            {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
            {"type": "input_image", "image_url": "https://a.example/b.png"},
        ],
    )
    def test_other_forms_are_refused(self, client: Client, model: str, part: Json) -> None:
        refused = client.refusal(CHAT_PATH, chat(model, user([{"type": "text", "text": "what is it?"}, part])))
        assert refused and refused.startswith(
            ("Invalid value: ", "Invalid type for 'messages[0]", "Invalid 'messages[0]")
        )

    @pytest.mark.parametrize("model", EVERY_FAMILY)
    @pytest.mark.parametrize("url", ["https://a.example/b.png", "data:image/png;base64,aGVsbG8="])
    def test_an_image_is_an_object_with_a_url(self, client: Client, model: str, url: str) -> None:
        part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        assert client.refusal(CHAT_PATH, chat(model, user([{"type": "text", "text": "what is it?"}, part]))) is None


# ---- odd replies ---------------------------------------------------------------------------------------------------


def put_together(client: Client, body: Json) -> Json:
    """A streamed chat as one message, with its finish reason among it."""
    message: Json = {"role": "assistant", "content": "", "tool_calls": [], "finish_reason": None, "thoughts": ""}
    for event in client.stream(CHAT_PATH, {**body, "stream": True}):
        for choice in event["choices"]:
            delta = choice["delta"]
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    assert call.pop("index") == len(message["tool_calls"])
                    message["tool_calls"].append(call)
                else:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
            content: Any = delta.get("content") or ""
            parts: list[Json] = content if isinstance(content, list) else [{"type": "text", "text": content}]
            message["content"] += "".join(part.get("text", "") for part in parts)
            shown = [step["text"] for part in parts for step in part.get("summary", [])]
            message["thoughts"] += "".join(shown) + delta.get("reasoning_content", "")
            message["finish_reason"] = choice["finish_reason"] or message["finish_reason"]
    return message


class TestOddReplies:
    def test_inkling_thinks_apart_and_does_not_say_that_it_is_done(self, client: Client) -> None:
        message = put_together(client, chat(INKLING))
        assert (message["content"], message["finish_reason"]) == ("You said: hello", None)
        assert message["thoughts"]
        [choice] = client.post(CHAT_PATH, chat(INKLING))["choices"]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "You said: hello")
        assert choice["message"]["reasoning_content"] == message["thoughts"]

    @pytest.mark.parametrize("model", [CLAUDE, GPT, GEMINI, OSS, QWEN, GLM, KIMI])
    def test_the_others_do(self, client: Client, model: str) -> None:
        assert put_together(client, chat(model))["finish_reason"] == "stop"
        assert put_together(client, chat(model, tools=[tool()]))["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize("model", [LLAMA, "policy-chat"])
    def test_llama_has_one_name_for_every_tool_and_stops(self, client: Client, model: str) -> None:
        schema = {
            "type": "object",
            "properties": {"city": {"type": "string"}, "name": {}},
            "required": ["city", "name"],
        }
        body = chat(model, tools=[tool("forecast", schema)])
        [choice] = client.post(CHAT_PATH, body)["choices"]
        streamed = put_together(client, body)
        for finish, message in ((choice["finish_reason"], choice["message"]), (streamed["finish_reason"], streamed)):
            [call] = message["tool_calls"]
            assert (finish, call["function"]["name"]) == ("stop", "databricks-tool-call")
            assert json.loads(call["function"]["arguments"]) == {"name": "forecast", "city": "example"}

    @pytest.mark.parametrize(
        ("model", "more"),
        [(OSS, {}), (QWEN, {}), (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 1024}})],
    )
    def test_who_thinks_aloud_answers_in_parts(self, client: Client, model: str, more: Json) -> None:
        reasoning, text = client.post(CHAT_PATH, chat(model, **more))["choices"][0]["message"]["content"]
        assert (reasoning["type"], text) == ("reasoning", {"type": "text", "text": "You said: hello"})
        [step] = reasoning["summary"]
        assert ("signature" in step) is (model == CLAUDE)
        message = put_together(client, chat(model, **more))
        assert (message["content"], message["thoughts"]) == ("You said: hello", step["text"])

    def test_claude_thinks_in_a_block_of_its_own(self, client: Client) -> None:
        body = chat(CLAUDE, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
        thinking, text = client.post(MESSAGES_PATH, body)["content"]
        assert (thinking["type"], text["text"]) == ("thinking", "You said: hello")
        assert signatures.accepted(thinking["signature"])
        events = client.stream(MESSAGES_PATH, {**body, "stream": True})
        deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
        assert list(dict.fromkeys(deltas)) == ["thinking_delta", "signature_delta", "text_delta"]
        indexes = [event["index"] for event in events if event["type"] == "content_block_start"]
        assert indexes == [0, 1]

    def test_codex_gives_an_item_another_id_in_every_event(self, client: Client) -> None:
        body = {"model": CODEX, "input": "hello", "tools": [{"type": "function", "name": "a"}]}
        events = client.stream(RESPONSES_PATH, {**body, "stream": True})
        ids = [event["item_id"] for event in events if "item_id" in event]
        ids += [event["item"]["id"] for event in events if "item" in event]
        ids += [item["id"] for item in events[-1]["response"]["output"]]
        assert len(set(ids)) == len(ids) > 3 and all(64 < len(id) < 256 for id in ids)
        done = next(event["item"] for event in events if event["type"] == "response.output_item.done")
        answered = {"type": "function_call_output", "call_id": done["call_id"], "output": "sunny"}
        refused = client.refusal(RESPONSES_PATH, {**body, "input": [user(), done, answered]})
        assert refused and "string too long" in refused
        short = {**done, "id": done["id"][:64]}
        assert client.refusal(RESPONSES_PATH, {**body, "input": [user(), short, answered]}) is None

    def test_the_gateway_takes_them_back_where_it_is_called_as_codex_calls_it(self, client: Client) -> None:
        tools = [{"type": "function", "name": "a"}]
        body: Json = {"model": CODEX, "input": "hello", "include": ["reasoning.encrypted_content"], "tools": tools}
        events = client.stream(CODEX_PATH, {**body, "stream": True})
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert [item["type"] for item in items] == ["reasoning", "function_call"]
        assert all(len(item["id"]) > 64 for item in items)
        answered = {"type": "function_call_output", "call_id": items[1]["call_id"], "output": "sunny"}
        again = {**body, "input": [user(), *items, answered]}
        [_, said] = client.post(CODEX_PATH, again)["output"]
        assert said["content"][0]["text"] == "The tool answered: sunny"
        for path in (RESPONSES_PATH, "/ai-gateway/openai/v1/responses"):
            refused = client.refusal(path, again)
            assert refused and "string too long" in refused

    @pytest.mark.parametrize("id", ["fc_" + "a" * 65, "fc_" + "a" * 64 + ("_" + "z" * 32) * 4])
    def test_the_gateway_takes_no_other_long_ids_there(self, client: Client, id: str) -> None:
        item = {"type": "function_call", "id": id, "call_id": "call_1", "name": "a", "arguments": "{}"}
        refused = client.refusal(CODEX_PATH, {"model": CODEX, "input": [user(), item]})
        assert refused and "string too long" in refused

    def test_gpt_keeps_to_one_id(self, client: Client) -> None:
        events = client.stream(RESPONSES_PATH, {"model": GPT, "input": "hello", "stream": True})
        ids = {event["item_id"] for event in events if "item_id" in event}
        assert ids == {events[-1]["response"]["output"][0]["id"]}


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}


def said(*blocks: Json) -> Json:
    """A turn of Claude's, in its own API."""
    return {"role": "assistant", "content": list(blocks)}


def thought(**signed: Any) -> Json:
    return {"type": "thinking", "thinking": "hm", **signed}


def used(id: str = "toolu_1") -> Json:
    return {"type": "tool_use", "id": id, "name": "weather", "input": {}}


def gave(id: str = "toolu_1") -> Json:
    return user([{"type": "tool_result", "tool_use_id": id, "content": "sunny"}])


SIGNED = thought(signature=signatures.sign("hm"))
REDACTED = {"type": "redacted_thinking", "data": signatures.sign("hm")}


class TestThoughts:
    """What a model has thought goes back to itself."""

    @pytest.mark.parametrize(
        ("block", "refused"),
        [
            (thought(), "messages.1.content.0.thinking.signature: Field required"),
            (thought(signature=None), "messages.1.content.0.thinking.signature: Field required"),
            (thought(signature=""), "messages.1.content.0: Invalid `signature` in `thinking` block"),
            (thought(signature="EqQB"), "messages.1.content.0: Invalid `signature` in `thinking` block"),
            (thought(signature=signatures.SKIPPED), "messages.1.content.0: Invalid `signature` in `thinking` block"),
            (thought(signature=["EqQB"]), "messages.1.content.0: Invalid `signature` in `thinking` block"),
            ({"type": "redacted_thinking"}, "messages.1.content.0.redacted_thinking.data: Field required"),
            (
                {"type": "redacted_thinking", "data": "c2VjcmV0"},
                "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
            ),
            (SIGNED, None),
            (REDACTED, None),
        ],
    )
    @pytest.mark.parametrize("more", [{"max_tokens": 4096}, THINKING], ids=["not thinking", "thinking"])
    def test_claude_knows_its_own_by_the_signature(
        self, client: Client, block: Json, refused: str | None, more: Json
    ) -> None:
        text = {"type": "text", "text": "morning"}
        assert client.refusal(MESSAGES_PATH, chat(CLAUDE, user(), said(block, text), user(), **more)) == refused

    def test_claude_takes_back_what_it_has_given(self, client: Client) -> None:
        body = chat(CLAUDE, tools=[{"name": "weather", "input_schema": {"type": "object"}}], **THINKING)
        turn = client.post(MESSAGES_PATH, body)["content"]
        assert [block["type"] for block in turn] == ["thinking", "tool_use"]
        again = {**body, "messages": [user(), said(*turn), gave(turn[1]["id"])]}
        assert client.refusal(MESSAGES_PATH, again) is None

    @pytest.mark.parametrize(
        ("messages", "place", "found"),
        [
            ([user(), said(used()), gave()], 1, "tool_use"),
            ([user(), said({"type": "text", "text": "so"}, SIGNED, used()), gave()], 1, "text"),
            ([user(), said({"type": []}, used()), gave()], 1, "[]"),
            ([user(), said(used()), gave(), said(SIGNED, used("toolu_2")), gave("toolu_2")], 1, "tool_use"),
            ([user(), said(SIGNED, used()), gave(), user(), said(used("toolu_2")), gave("toolu_2")], 4, "tool_use"),
        ],
    )
    def test_claude_goes_on_thinking_after_a_tool_only_where_it_was(
        self, client: Client, messages: list[Json], place: int, found: str
    ) -> None:
        body = chat(CLAUDE, *messages, **THINKING)
        refused = client.refusal(MESSAGES_PATH, body)
        where = f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`. "
        assert refused and refused.startswith(where)
        for thinking in ({"type": "adaptive"}, {"type": "disabled"}):
            assert client.refusal(MESSAGES_PATH, {**body, "thinking": thinking}) is None

    @pytest.mark.parametrize(
        "messages",
        [
            [user(), said(SIGNED, used()), gave()],
            [user(), said(REDACTED, used()), gave()],
            [user(), said(SIGNED, used()), gave(), said(used("toolu_2")), gave("toolu_2")],
            [user(), said(used()), gave(), said({"type": "text", "text": "sunny"}), user()],
            [gave()],
        ],
    )
    def test_one_thought_at_the_start_of_the_turn_is_enough(self, client: Client, messages: list[Json]) -> None:
        assert client.refusal(MESSAGES_PATH, chat(CLAUDE, *messages, **THINKING)) is None

    @pytest.mark.parametrize("model", [GPT, CODEX])
    def test_openai_seals_what_it_has_thought_for_who_asks_for_it(self, client: Client, model: str) -> None:
        body = {"model": model, "input": "hello", "include": ["reasoning.encrypted_content"]}
        whole = client.post(RESPONSES_PATH, body)["output"]
        events = client.stream(RESPONSES_PATH, {**body, "stream": True})
        for output in (whole, events[-1]["response"]["output"]):
            assert [item["type"] for item in output] == ["reasoning", "message"]
            assert output[0]["summary"] == [] and signatures.genuine(output[0]["encrypted_content"])
            short = {**output[0], "id": "rs_1"}
            assert client.refusal(RESPONSES_PATH, {**body, "input": [user(), short, user()]}) is None
        done = [e["item"]["type"] for e in events if e["type"] == "response.output_item.done"]
        assert done == ["reasoning", "message"]

    @pytest.mark.parametrize("model", [GPT, CODEX])
    @pytest.mark.parametrize("sealed", ["[]", "gAAAAABo", signatures.SKIPPED, 7])
    def test_openai_knows_its_own_by_the_seal(self, client: Client, model: str, sealed: Any) -> None:
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
        assert client.refusal(RESPONSES_PATH, {"model": model, "input": [user(), item, user()]}) == (
            "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be "
            "decrypted or parsed."
        )

    @pytest.mark.parametrize("nothing", [{}, {"encrypted_content": None}, {"encrypted_content": ""}])
    def test_openai_has_kept_nothing_here(self, client: Client, nothing: Json) -> None:
        item = {"type": "reasoning", "id": "rs_1", "summary": [], **nothing}
        refused = client.refusal(RESPONSES_PATH, {"model": GPT, "input": [user(), item, user()]})
        assert refused and refused.startswith("Item with id 'rs_1' not found. Items are not persisted when `store`")


class TestBoth:
    """A user who says "both" has two tools called, by whoever can."""

    @pytest.mark.parametrize("model", [CLAUDE, GPT, GEMINI, GLM, INKLING, KIMI])
    def test_on_chat(self, client: Client, model: str) -> None:
        body = chat(model, user("Ask BOTH of them"), tools=[tool("a"), tool("b"), tool("c")])
        message = client.post(CHAT_PATH, body)["choices"][0]["message"]
        for calls in (message["tool_calls"], put_together(client, body)["tool_calls"]):
            assert [call["function"]["name"] for call in calls] == ["a", "b"]
            assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "example"}] * 2
            assert len({call["id"] for call in calls}) == 2
            assert ["thoughtSignature" in call for call in calls] == [model == GEMINI, False]

    @pytest.mark.parametrize("model", OPEN)
    def test_who_cannot_calls_one(self, client: Client, model: str) -> None:
        assert ENDPOINTS[model].family in ONE_AT_A_TIME
        body = chat(model, user("Ask both of them"), tools=[tool("a"), tool("b")])
        assert len(put_together(client, body)["tool_calls"]) == 1

    def test_nobody_else_is_asked_twice(self, client: Client) -> None:
        body = chat(GPT, user("a bother"), tools=[tool("a"), tool("b")])
        assert len(client.post(CHAT_PATH, body)["choices"][0]["message"]["tool_calls"]) == 1

    def test_on_messages(self, client: Client) -> None:
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in "abc"]
        body = chat(CLAUDE, user("both"), tools=tools, max_tokens=9)
        assert [block["name"] for block in client.post(MESSAGES_PATH, body)["content"]] == ["a", "b"]
        events = client.stream(MESSAGES_PATH, {**body, "stream": True})
        started = [(e["index"], e["content_block"]["name"]) for e in events if e["type"] == "content_block_start"]
        assert started == [(0, "a"), (1, "b")]

    def test_on_responses(self, client: Client) -> None:
        tools = [{"type": "function", "name": name} for name in "abc"]
        body = {"model": GPT, "input": "both", "tools": tools}
        assert [item["name"] for item in client.post(RESPONSES_PATH, body)["output"]] == ["a", "b"]
        events = client.stream(RESPONSES_PATH, {**body, "stream": True})
        done = [(e["output_index"], e["item"]["name"]) for e in events if e["type"] == "response.output_item.done"]
        assert done == [(0, "a"), (1, "b")]


class TestStructuredOutput:
    SCHEMA = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "array", "items": {"type": "number"}, "minItems": 1},
        },
        "required": ["city", "days"],
    }
    ANSWER = {"city": "example", "days": [1.5]}

    @pytest.mark.parametrize("model", [GPT, GEMINI, CLAUDE, OSS, LLAMA])
    def test_on_chat(self, client: Client, model: str) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": self.SCHEMA}}
        assert json.loads(put_together(client, chat(model, response_format=form))["content"]) == self.ANSWER
        anything = chat(model, response_format={"type": "json_object"})
        assert isinstance(json.loads(put_together(client, anything)["content"]), dict)
        text = chat(model, response_format={"type": "text"})
        assert put_together(client, text)["content"] == "You said: hello"

    def test_tools_come_first(self, client: Client) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": self.SCHEMA}}
        body = chat(GPT, tools=[tool()], response_format=form)
        message = client.post(CHAT_PATH, body)["choices"][0]["message"]
        [call] = message["tool_calls"]
        told = client.post(CHAT_PATH, {**body, "messages": [user(), message, answering(call["id"])]})
        assert json.loads(told["choices"][0]["message"]["content"]) == self.ANSWER

    def test_on_responses(self, client: Client) -> None:
        form = {"format": {"type": "json_schema", "name": "answer", "schema": self.SCHEMA}}
        [item] = client.post(RESPONSES_PATH, {"model": GPT, "input": "hello", "text": form})["output"]
        assert json.loads(item["content"][0]["text"]) == self.ANSWER

    CLOSED = {**SCHEMA, "additionalProperties": False}

    def test_on_messages(self, client: Client) -> None:
        body = chat(CLAUDE, max_tokens=99, output_config={"format": {"type": "json_schema", "schema": self.CLOSED}})
        [block] = client.post(MESSAGES_PATH, body)["content"]
        assert (block["type"], json.loads(block["text"])) == ("text", self.ANSWER)
        events = client.stream(MESSAGES_PATH, {**body, "stream": True})
        pieces = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        assert len(pieces) > 1 and json.loads("".join(pieces)) == self.ANSWER
        effort = chat(CLAUDE, max_tokens=99, output_config={"effort": "low"})
        assert client.post(MESSAGES_PATH, effort)["content"][0]["text"] == "You said: hello"

    def test_on_messages_the_field_of_the_beta_needs_its_header(self, client: Client) -> None:
        body = chat(CLAUDE, max_tokens=99, output_format={"type": "json_schema", "schema": self.CLOSED})
        refused = client.refusal(MESSAGES_PATH, body)
        assert refused and refused.startswith("output_format: This field is deprecated. Use 'output_config.format'")
        beta = {"anthropic-beta": "fine-1,structured-outputs-2025-11-13"}
        told = client.http.post(MESSAGES_PATH, json=body, headers=beta).json()
        assert json.loads(told["content"][0]["text"]) == self.ANSWER

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"type": "json_object"}, ".type: Input should be 'json_schema'"),
            ({"type": "json_schema"}, ".schema: Field required"),
            *(
                (
                    {"type": "json_schema", "schema": schema},
                    ".schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
                )
                for schema in (
                    SCHEMA,
                    {**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}},
                    {**CLOSED, "$defs": {"A": {"type": "object", "additionalProperties": True}}},
                )
            ),
            (
                {"type": "json_schema", "schema": {"type": "number", "minimum": 1, "maximum": 2}},
                ".schema: For 'number' type, properties maximum, minimum are not supported",
            ),
            (
                {"type": "json_schema", "schema": {"type": "array", "maxItems": 2}},
                ".schema: For 'array' type, property 'maxItems' is not supported",
            ),
            (
                {"type": "json_schema", "schema": {"type": "array", "minItems": 2}},
                ".schema: For 'array' type, 'minItems' values other than 0 or 1 are not supported",
            ),
        ],
    )
    def test_on_messages_a_schema_is_closed_and_without_limits(self, client: Client, form: Json, said: str) -> None:
        body = chat(CLAUDE, max_tokens=99, output_config={"format": form})
        assert client.refusal(MESSAGES_PATH, body) == f"output_config.format{said}"


# ---- Gemini's own API ----------------------------------------------------------------------------------------------


def google(*contents: Json, **more: Any) -> Json:
    return {"contents": list(contents) or [{"role": "user", "parts": [{"text": "hello"}]}], **more}


class TestGenerateContent:
    @pytest.fixture(params=["/serving-endpoints", "/ai-gateway"])
    def path(self, request: pytest.FixtureRequest) -> str:
        return f"{request.param}/gemini/v1beta/models/{GEMINI}"

    def test_it_echoes_whole_and_streamed(self, client: Client, path: str) -> None:
        told = client.post(f"{path}:generateContent", google())
        [candidate] = told["candidates"]
        [part] = candidate["content"]["parts"]
        assert (part["text"], candidate["finishReason"]) == ("You said: hello", "STOP")
        assert signatures.accepted(part["thoughtSignature"])
        usage = told["usageMetadata"]
        assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
        events = client.stream(f"{path}:streamGenerateContent?alt=sse", google())
        parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
        assert "".join(part["text"] for part in parts) == "You said: hello" and len(parts) > 2
        ends = [event["candidates"][0].get("finishReason") for event in events]
        assert ends == [None] * (len(events) - 1) + ["STOP"]
        assert len({event["responseId"] for event in events}) == 1

    @pytest.mark.parametrize("declared", ["functionDeclarations", "function_declarations"])
    def test_it_calls_and_is_answered(self, client: Client, path: str, declared: str) -> None:
        schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
        tools = [{declared: [{"name": name, "parameters": schema} for name in "ab"]}]
        asked = {"role": "user", "parts": [{"text": "both"}]}
        said = client.post(f"{path}:generateContent", google(asked, tools=tools))["candidates"][0]["content"]
        events = client.stream(f"{path}:streamGenerateContent", google(asked, tools=tools))
        assert said["parts"] == [part for e in events for part in e["candidates"][0]["content"]["parts"]]
        assert [part["functionCall"] for part in said["parts"]] == [
            {"name": "a", "args": {"city": "example"}},
            {"name": "b", "args": {"city": "example"}},
        ]
        assert ["thoughtSignature" in part for part in said["parts"]] == [True, False]
        answer = {"functionResponse": {"name": "a", "response": {"output": "sunny"}}}
        back = {"role": "user", "parts": [answer, {**answer, "functionResponse": {"response": {"a": 1, "b": 2}}}]}
        told = client.post(f"{path}:generateContent", google(asked, said, back, tools=tools))
        [part] = told["candidates"][0]["content"]["parts"]
        assert part["text"] == 'The tool answered: sunny{"a": 1, "b": 2}'

    @pytest.mark.parametrize("name", ["functionCall", "functionResponse"])
    def test_it_does_not_know_an_id(self, client: Client, path: str, name: str) -> None:
        snake = {"functionCall": "function_call", "functionResponse": "function_response"}[name]
        for spelled in (name, snake):
            parts: list[Json] = [{"text": "x"}, {spelled: {"id": "call_1", "name": "a"}}]
            content = {"role": "model" if name == "functionCall" else "user", "parts": parts}
            assert client.refusal(f"{path}:generateContent", google(content)) == (
                'Invalid JSON payload received. Unknown name "id" at '
                f"'contents[0].parts[1].{snake}': Cannot find field."
            )
            del parts[1][spelled]["id"]
            assert client.refusal(f"{path}:generateContent", google(content)) is None

    def test_it_knows_no_foreign_schemas(self, client: Client, path: str) -> None:
        schema = {"type": "object", "$schema": "x"}
        tools = [{"functionDeclarations": [{"name": "a", "parameters": schema}]}]
        where = "tools[0].function_declarations[0].parameters"
        refused = client.refusal(f"{path}:generateContent", google(tools=tools))
        assert refused and f"\"$schema\" at '{where}'" in refused
        refused = client.refusal(f"{path}:generateContent", google(generationConfig={"responseSchema": schema}))
        assert refused and "\"$schema\" at 'generation_config.response_schema'" in refused

    def test_it_answers_in_json_when_told(self, client: Client, path: str) -> None:
        wanted = {"responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}}
        told = client.post(f"{path}:generateContent", google(generationConfig=wanted))
        assert json.loads(told["candidates"][0]["content"]["parts"][0]["text"]) == {"n": 1}

    JSON = {"responseMimeType": "application/json"}
    OWN_WORDS = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/N"}},
        "required": ["n"],
        "additionalProperties": False,
        "$defs": {"N": {"type": "integer"}},
    }

    @pytest.mark.parametrize("snake", [False, True])
    def test_it_knows_json_schema_where_it_is_told_so(self, client: Client, path: str, snake: bool) -> None:
        parameters, response, config, mime = (
            ("parameters_json_schema", "response_json_schema", "generation_config", "response_mime_type")
            if snake
            else ("parametersJsonSchema", "responseJsonSchema", "generationConfig", "responseMimeType")
        )
        tools = [{"functionDeclarations": [{"name": "a", parameters: self.OWN_WORDS}]}]
        told = client.post(f"{path}:generateContent", google(tools=tools))
        [part] = told["candidates"][0]["content"]["parts"]
        assert part["functionCall"] == {"name": "a", "args": {"n": 1}}
        wanted = {config: {response: self.OWN_WORDS, mime: "application/json"}}
        told = client.post(f"{path}:generateContent", google(**wanted))
        assert json.loads(told["candidates"][0]["content"]["parts"][0]["text"]) == {"n": 1}

    def test_it_answers_in_any_json_when_told_no_more(self, client: Client, path: str) -> None:
        told = client.post(f"{path}:generateContent", google(generationConfig=self.JSON))
        assert json.loads(told["candidates"][0]["content"]["parts"][0]["text"]) == {}

    def test_it_takes_one_schema_and_knows_what_for(self, client: Client, path: str) -> None:
        plain = {"type": "object"}
        both = {"name": "a", "parameters": plain, "parametersJsonSchema": plain}
        refused = client.refusal(f"{path}:generateContent", google(tools=[{"functionDeclarations": [both]}]))
        assert refused and "function_declarations[0]: only one of parameters and parameters_json_schema" in refused
        for config, said in (
            ({**self.JSON, "responseJsonSchema": plain, "responseSchema": plain}, "only one of response_schema and"),
            ({"responseJsonSchema": plain}, "response_mime_type must be application/json"),
        ):
            refused = client.refusal(f"{path}:generateContent", google(generationConfig=config))
            assert refused and said in refused

    @pytest.mark.parametrize("body", [{}, {"contents": []}, {"contents": "hello"}])
    def test_it_wants_contents(self, client: Client, path: str, body: Json) -> None:
        assert "contents is not specified" in str(client.refusal(f"{path}:generateContent", body))

    def test_no_other_family_speaks_it(self, client: Client) -> None:
        refused = client.refusal(f"/serving-endpoints/gemini/v1beta/models/{GPT}:generateContent", google())
        assert refused and "does not support the Gemini API" in refused
        for name in ("nobody", "system.ai.gemini-3-pro"):
            path = f"/serving-endpoints/gemini/v1beta/models/{name}:generateContent"
            assert client.http.post(path, json=google()).status_code == 404

    def test_it_needs_a_token(self, sandbox: Sandbox, path: str) -> None:
        url = f"{sandbox.url}{path}:generateContent"
        assert httpx.post(url, json=google(), trust_env=False, verify=False).status_code == 401


# ---- the AI Gateway, and the further lists -------------------------------------------------------------------------


class TestGateway:
    @pytest.mark.parametrize(
        ("path", "model", "body", "key"),
        [
            ("mlflow/v1/chat/completions", "claude-sonnet-4-5", {"messages": [user()]}, "choices"),
            ("mlflow/v1/responses", "gpt-5-2", {"input": "hello"}, "output"),
            ("mlflow/v1/embeddings", "gte-large-en", {"input": "hello"}, "data"),
            ("openai/v1/responses", "gpt-5-2", {"input": "hello"}, "output"),
            ("codex/v1/responses", "gpt-5-1-codex-max", {"input": "hello"}, "output"),
            ("anthropic/v1/messages", "claude-sonnet-4-5", {"messages": [user()], "max_tokens": 9}, "content"),
            ("gemini/v1beta/models/{model}:generateContent", "gemini-3-pro", google(), "candidates"),
        ],
    )
    def test_it_knows_a_model_by_both_its_names(
        self, client: Client, path: str, model: str, body: Json, key: str
    ) -> None:
        for name in (f"databricks-{model}", f"system.ai.{model}"):
            assert key in client.post(f"/ai-gateway/{path.format(model=name)}", {"model": name, **body})
        for name in (model, f"system.ai.databricks-{model}"):
            answer = client.http.post(f"/ai-gateway/{path.format(model=name)}", json={"model": name, **body})
            assert answer.status_code == 404

    def test_the_serving_endpoints_know_it_by_one(self, client: Client) -> None:
        answer = client.http.post(CHAT_PATH, json=chat("system.ai.claude-sonnet-4-5"))
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")

    def test_it_is_as_strict(self, client: Client) -> None:
        body = chat("system.ai.claude-sonnet-4-5", store=True)
        refused = client.refusal("/ai-gateway/mlflow/v1/chat/completions", body)
        assert refused == "store: Extra inputs are not permitted"


FOUNDATION = [name for name, endpoint in ENDPOINTS.items() if endpoint.foundation]


class TestFurtherLists:
    GATEWAY = "/api/ai-gateway/v2/endpoints"
    UNITY = "/api/2.1/unity-catalog/model-services"

    def pages(self, client: Client, path: str, key: str, **query: object) -> list[list[str]]:
        """The names on each page, to the last."""
        found: list[list[str]] = []
        token: Json = {}
        while True:
            told = client.get(path, **query, **token).json()
            found.append([row["name"] for row in told[key]])
            if "next_page_token" not in told:
                return found
            token = {"page_token": told["next_page_token"]}

    def test_the_gateway_s_list_comes_in_pages(self, client: Client) -> None:
        assert self.pages(client, self.GATEWAY, "endpoints") == [FOUNDATION]
        [*full, last] = self.pages(client, self.GATEWAY, "endpoints", page_size=10)
        assert {len(page) for page in full} == {10} and [name for page in (*full, last) for name in page] == FOUNDATION
        assert self.pages(client, self.GATEWAY, "endpoints", page_size=len(FOUNDATION)) == [FOUNDATION]

    def test_unity_catalog_s_list_has_names_of_its_own(self, client: Client) -> None:
        found = self.pages(client, self.UNITY, "model_services", parent="schemas/system.ai", page_size=15)
        names = [name.replace("databricks-", "model-services/system.ai.") for name in FOUNDATION]
        assert len(found) == -(-len(FOUNDATION) // 15) and [name for page in found for name in page] == names
        told = client.get(self.UNITY, parent="schemas/system.ai", page_size=100).json()["model_services"]
        speaks = {row["name"]: row["supported_api_types"] for row in told}
        assert speaks["model-services/system.ai.claude-sonnet-4-5"] == list(FAMILY_APIS["claude"])

    @pytest.mark.parametrize("query", [{}, {"parent": "schemas/system.ai"}, {"page_size": 100}, {"page_size": ""}])
    def test_unity_catalog_gives_up_without_a_schema_and_a_page_size(self, client: Client, query: Json) -> None:
        assert client.get(self.UNITY, **query).status_code == 499

    def test_another_schema_is_not_there(self, client: Client) -> None:
        answer = client.get(self.UNITY, parent="schemas/main.models", page_size=100)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "SCHEMA_DOES_NOT_EXIST")

    @pytest.mark.parametrize("size", ["0", "-1", "x", "1001", "9" * 5000, "²"])
    def test_a_page_has_a_size(self, client: Client, size: str) -> None:
        for path in (self.GATEWAY, self.UNITY):
            answer = client.get(path, page_size=size, parent="schemas/system.ai")
            assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")

    @pytest.mark.parametrize("token", ["x", "5", "YWZ0ZXIgLTE=", "YWZ0ZXIg", "\u2603"])
    def test_a_page_token_is_not_made_up(self, client: Client, token: str) -> None:
        answer = client.get(self.GATEWAY, page_token=token)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")

    def test_anthropic_s_list_has_those_that_speak_messages(self, client: Client) -> None:
        told = client.get("/ai-gateway/anthropic/v1/models").json()
        ids = [row["id"] for row in told["data"]]
        assert {CLAUDE, "databricks-claude-opus-5-5"} <= set(ids) and all("-claude-" in id for id in ids)
        assert (told["first_id"], told["last_id"], told["has_more"]) == (ids[0], ids[-1], False)

    @pytest.mark.parametrize("path", [GATEWAY, UNITY, "/ai-gateway/anthropic/v1/models"])
    def test_each_needs_a_token(self, sandbox: Sandbox, path: str) -> None:
        assert httpx.get(sandbox.url + path, trust_env=False, verify=False).status_code == 401


class TestEndpoints:
    def test_every_family_that_can_chat_has_one_ready(self) -> None:
        ready = {endpoint.family for endpoint in ENDPOINTS.values() if endpoint.ready}
        assert ready == set(FAMILY_APIS)

    def test_an_external_claude_is_a_claude(self, client: Client) -> None:
        told = client.get("/api/2.0/serving-endpoints/team-claude").json()
        [entity] = told["config"]["served_entities"]
        assert entity["external_model"]["provider"] == "anthropic" and told["creator"]
        assert (
            client.refusal(CHAT_PATH, chat("team-claude", user("")))
            == "messages.0: text content blocks must be non-empty"
        )
        assert client.refusal(CHAT_PATH, chat("team-gpt", user(""))) is None

    def test_people_serve_models_of_their_own(self, client: Client) -> None:
        [entity] = client.get("/api/2.0/serving-endpoints/policy-chat").json()["config"]["served_entities"]
        assert entity["entity_name"] == "main.models.llama_3_3_policy"
        assert CHAT in ENDPOINTS["policy-chat"].speaks

    def test_a_large_workspace_has_as_many_as_are_asked_for(self) -> None:
        with Sandbox(endpoints=5000) as sandbox:
            client = Client(sandbox)
            with client.http:
                rows = client.get("/api/2.0/serving-endpoints").json()["endpoints"]
                names = {row["name"] for row in rows}
                assert len(rows) == len(names) == 5000 and set(ENDPOINTS) < names
                assert {row["state"]["ready"] for row in rows} == {"READY", "NOT_READY"}
                made = next(row["name"] for row in reversed(rows) if row["name"].endswith("-claude"))
                assert client.refusal(CHAT_PATH, chat(made)) is None
                assert len(client.get(TestFurtherLists.GATEWAY).json()["endpoints"]) == len(FOUNDATION)

    def test_a_workspace_has_never_fewer_than_the_usual_ones(self) -> None:
        assert workspace.endpoints() == workspace.endpoints(3) == ENDPOINTS
