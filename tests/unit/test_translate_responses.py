"""Responses and chat say the same: requests, answers and streams, whatever they hold."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from unit import conversations as common
from unit.conversations import (
    NAMES,
    PNG_URL,
    SCHEMA,
    SOME,
    TEXTS,
    WORDS,
    Json,
    Recorded,
    chat,
    completion_of,
    examples,
    plain,
    read_by_openai,
    through,
    tool_choices,
    turns,
    user,
    working,
)
from unit.recorded_responses import (
    ASKED,
    BEGUN,
    EVERYTHING,
    FROM_CHAT,
    FUNCTION,
    OSLO,
    PATCH,
    RESPONSE,
    SIGNED,
    TO_CHAT,
    added,
    begins,
    call,
    ended,
    goes_on,
    piece,
    reasoning,
)

from dbx_auth.translate.common import SHOWN, Untranslatable
from dbx_auth.translate.responses import (
    FromChat,
    ToChat,
    reply_from_chat,
    reply_to_chat,
    request_from_chat,
    request_to_chat,
)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def asked(*items: Json, **more: Any) -> Json:
    return {"model": "m", "input": list(items), **more}


def in_chat(*items: Json, **more: Any) -> Any:
    return request_to_chat(asked(*items, **more))["messages"]


def said(text: str, role: str = "user") -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


# ---- there and back --------------------------------------------------------------------------------------------------

IMAGES = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
    st.sampled_from(["https://example.com/a.png", PNG_URL]),
    st.sampled_from([{}, {"detail": "low"}]),
)
FILES = st.just({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}})
USERS = st.builds(user, WORDS | st.lists(TEXTS | IMAGES | FILES, max_size=3))
SPOKEN = st.builds(
    lambda content, more: {"role": "assistant", "content": content, **more}, SOME, st.just({})
) | st.just({"role": "assistant", "content": None, "refusal": "I cannot."})
CALLS = st.builds(common.function_call, NAMES, WORDS)


@st.composite
def conversations(draw: st.DrawFn) -> Json:
    systems = draw(st.lists(WORDS | st.lists(TEXTS, max_size=2), max_size=2))
    messages: list[Json] = [{"role": "system", "content": content} for content in systems]
    messages += draw(turns(USERS, SPOKEN, working(CALLS, st.none() | SOME, WORDS | st.lists(TEXTS, max_size=3))))
    body = chat(*messages)
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    if names:
        strict = st.sampled_from([{}, {"strict": True}])
        declared = [{"name": name, "description": draw(WORDS), "parameters": SCHEMA, **draw(strict)} for name in names]
        body["tools"] = [{"type": "function", "function": function} for function in declared]
        body |= draw(tool_choices(names))
        body |= draw(st.sampled_from([{}, {"parallel_tool_calls": False}, {"parallel_tool_calls": True}]))
    shape = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    more: list[Json] = [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"max_completion_tokens": 99},
        {"temperature": 0.5, "top_p": 1},
        {"reasoning_effort": "low"},
        {"user": "someone"},
        {"response_format": draw(st.sampled_from([{"type": "json_object"}, shape]))},
    ]
    for each in more:
        body |= each if draw(st.booleans()) else {}
    return body


@given(conversations())
@settings(examples, max_examples=300)
def test_a_conversation_in_chat_comes_back_as_it_was(body: Json) -> None:
    before = copy.deepcopy(body)
    assert request_to_chat(request_from_chat(body)) == before == body


# ---- anything --------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    """model messages role content type text input output instructions tools function name parameters tool_choice
    tool_calls id call_id arguments namespace format reasoning effort summary encrypted_content refusal image_url url
    choices delta message finish_reason usage prompt_tokens input_tokens error code status incomplete_details reason
    response item output_index content_index summary_index index thinking_blocks input_tokens_details""".split()
)
KINDS = st.sampled_from(
    """message reasoning function_call custom_tool_call function_call_output item_reference web_search_call namespace
    function custom additional_tools input_text output_text input_image text image_url refusal json_schema allowed_tools
    response.created response.completed response.incomplete response.output_item.added response.output_item.done
    response.output_text.delta response.refusal.delta response.function_call_arguments.delta
    response.reasoning_summary_text.delta response.reasoning_text.delta user assistant tool system stop length
    tool_calls max_output_tokens""".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | KINDS | st.just("[[]]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.just("type"), inner, max_size=5),
    max_leaves=25,
)
CALLED = st.fixed_dictionaries(
    {}, optional={"index": st.integers(0, 2) | JSON, "id": NAMES | JSON, "function": JSON, "type": KINDS}
)
PARTS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={"text": WORDS | JSON, "refusal": WORDS | JSON, "image_url": JSON, "file_data": WORDS, "file": JSON},
)
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS,
        "role": KINDS | JSON,
        "id": WORDS | JSON,
        "call_id": WORDS | JSON,
        "tool_call_id": WORDS,
        "name": WORDS | JSON,
        "arguments": WORDS | JSON,
        "input": WORDS | JSON,
        "namespace": WORDS | JSON,
        "output": WORDS | st.lists(PARTS, max_size=2) | JSON,
        "content": WORDS | st.none() | st.lists(PARTS, max_size=2) | JSON,
        "refusal": WORDS | JSON,
        "summary": st.lists(PARTS, max_size=2) | JSON,
        "encrypted_content": JSON,
        "reasoning_content": WORDS | JSON,
        "thinking_blocks": st.lists(PARTS, max_size=2) | JSON,
        "tool_calls": st.lists(CALLED, max_size=3) | JSON,
        "tools": st.lists(CALLED | JSON, max_size=2),
    },
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "input": st.lists(ITEMS, max_size=4) | JSON,
        "messages": st.lists(ITEMS, max_size=4) | JSON,
        "output": st.lists(ITEMS, max_size=4) | JSON,
        "tools": st.lists(ITEMS | CALLED, max_size=3) | JSON,
        "choices": st.lists(
            st.fixed_dictionaries({}, optional={"delta": ITEMS, "message": ITEMS, "finish_reason": KINDS}) | JSON,
            max_size=2,
        ),
        **dict.fromkeys(
            """model id created created_at status error incomplete_details usage tool_choice text response_format
            reasoning reasoning_effort max_output_tokens max_tokens instructions stream parallel_tool_calls""".split(),
            JSON,
        ),
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content", "refusal", "reasoning_content"), WORDS | JSON),
        "thinking_blocks": st.lists(PARTS, max_size=2) | JSON,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({}, optional={"name": NAMES, "arguments": WORDS}) | JSON},
                optional={"index": st.integers(0, 2) | JSON, "id": NAMES | JSON},
            ),
            max_size=2,
        )
        | JSON,
    },
)
CHUNKS = st.builds(lambda delta, finish: piece(delta, finish), DELTAS, st.none() | KINDS) | st.fixed_dictionaries(
    {}, optional={"choices": JSON, "usage": JSON, "id": JSON, "created": JSON, "model": JSON, "error": st.none() | JSON}
)
EVENTS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "output_index": st.integers(0, 2) | JSON,
        "content_index": st.integers(0, 1) | JSON,
        "item": ITEMS | JSON,
        "delta": WORDS | JSON,
        "response": BODIES | JSON,
    },
)


@given(BODIES)
@examples
def test_whatever_is_given_is_translated_or_refused_and_never_changed(body: Json) -> None:
    before = repr(body)
    for translate in (request_to_chat, request_from_chat, reply_to_chat, lambda reply: reply_from_chat(reply, body)):
        try:
            json.dumps(translate(body))
        except Untranslatable as refused:
            assert str(refused)
        assert repr(body) == before


@given(st.lists(EVENTS, max_size=8))
@examples
def test_whatever_a_response_streams_chat_comes_to_its_end(events: list[Json]) -> None:
    before, stream = repr(events), ToChat()
    chunks = [chunk for event in events for chunk in stream.event(event)]
    chunks += stream.end()
    assert (stream.end(), stream.event(ended("completed")), repr(events)) == ([], [], before)
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", [])]
    assert "error" in chunks[-1] or (finishes[-1] and not any(finishes[:-1]))
    for chunk in chunks[: -1 if "error" in chunks[-1] else None]:
        ChatCompletionChunk.model_validate(chunk)


@given(st.lists(CHUNKS, max_size=8))
@examples
def test_whatever_chat_streams_a_response_comes_to_its_end(chunks: list[Json]) -> None:
    before, stream = repr(chunks), FromChat(ASKED)
    events = [event for chunk in chunks for event in stream.event(chunk)]
    events += stream.end()
    assert (stream.end(), stream.event(piece({"content": "late"})), repr(chunks)) == ([], [], before)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    final = events[-1]["response"]
    if final["status"] == "failed":
        return
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == list(
        range(len(final["output"]))
    )
    finished = {
        event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"
    }
    assert [finished[place] for place in sorted(finished)] == final["output"]


# ---- streams, as openai's library reads them -------------------------------------------------------------------------


def response_of(events: list[Json]) -> Json:
    """What the library has at the end of a stream, all of whose events are as they should be."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(EVENT.validate_python(event))
    final: Json = events[-1]["response"]
    Response.model_validate(final)
    if final["status"] == "completed":
        assert state._completed_response is not None
        assert [item.type for item in state._completed_response.output] == [item["type"] for item in final["output"]]
    return final


def so_far(events: list[Json]) -> Json:
    """The response that these events come to, without a word from its end."""
    items: dict[int, Json] = {}
    for event in copy.deepcopy(events):
        kind = event["type"].removeprefix("response.")
        if kind == "completed" or kind == "incomplete":
            output = event["response"]["output"] or [items[place] for place in sorted(items)]
            return {**event["response"], "output": output}
        if kind.startswith("output_item."):
            items[event["output_index"]] = event["item"]
        elif kind == "function_call_arguments.delta":
            items[event["output_index"]]["arguments"] += event["delta"]
        elif kind.endswith(".delta") and not kind.startswith("custom"):
            grow(items[event["output_index"]], kind.split(".")[0], event)
    output = [item for _, item in sorted(items.items()) if item.get("input") != ""]
    return {**RESPONSE, "output": output, "status": "incomplete"}


def grow(item: Json, name: str, event: Json) -> None:
    parts = item.setdefault("summary" if "summary" in name else "content", [])
    index, word = event.get("summary_index", event.get("content_index")), "refusal" if name == "refusal" else "text"
    if index == len(parts):
        parts.append({word: ""})
    parts[index][word] += event["delta"]


@pytest.mark.parametrize("recorded", TO_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_responses_is_this_one_in_chat(recorded: Recorded) -> None:
    assert through(ToChat(), recorded.given) == recorded.wanted


@pytest.mark.parametrize("recorded", FROM_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_chat_is_this_one_in_responses(recorded: Recorded) -> None:
    events = through(FromChat(ASKED), recorded.given)
    assert events == recorded.wanted
    response_of(events)


@pytest.mark.parametrize("recorded", TO_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_responses_comes_to_the_whole_answer_wherever_it_is_cut_off(recorded: Recorded) -> None:
    for length in range(1, len(recorded.given) + 1):
        events = recorded.given[:length]
        whole = reply_to_chat(so_far(events))
        assert ChatCompletion.model_validate(whole)
        assert plain(completion_of(through(ToChat(), events))) == plain(whole)


@pytest.mark.parametrize("recorded", read_by_openai(FROM_CHAT), ids=lambda recorded: recorded.name)
def test_a_stream_of_chat_comes_to_the_whole_answer_wherever_it_is_cut_off(recorded: Recorded) -> None:
    for length in range(1, len(recorded.given) + 1):
        completion = completion_of(recorded.given[:length])
        [choice] = completion["choices"]
        choice["finish_reason"] = choice.get("finish_reason") or "length"
        assert response_of(through(FromChat(ASKED), recorded.given[:length])) == reply_from_chat(completion, ASKED)


@pytest.mark.parametrize("recorded", read_by_openai(FROM_CHAT), ids=lambda recorded: recorded.name)
def test_a_stream_of_chat_comes_back_from_responses_as_it_was(recorded: Recorded) -> None:
    streams = recorded.given, through(ToChat(), through(FromChat(ASKED), recorded.given))
    first, again = (plain(completion_of(chunks)) for chunks in streams)
    for completion in (first, again):
        message = completion["choices"][0].setdefault("message", {})
        message.setdefault("role", "assistant")
        message.pop("thinking_blocks", None)  # which OpenAI's streams do not have
        message.get("tool_calls", []).sort(key=lambda made: made["id"])
    assert {**again, "id": first["id"]} == first


def test_an_answer_that_does_not_say_why_it_ended_is_whole() -> None:
    whole = reply_from_chat({"choices": [{"message": {"role": "assistant", "content": "Yes."}}]}, ASKED)
    assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "Yes.")
    assert reply_from_chat({}, ASKED)["output"] == []


def test_a_text_is_what_is_answered_anyway() -> None:
    assert "response_format" not in request_to_chat({**ASKED, "text": {"format": {"type": "text"}}})
    assert "text" not in request_from_chat(chat(response_format={"type": "text"}))


def test_who_asks_for_text_alone_gets_it() -> None:
    assert request_from_chat(chat(modalities=["text"])) == request_from_chat(chat())


def test_no_fewer_tokens_are_asked_for_than_openai_wants_at_least() -> None:
    asked_for = [request_from_chat(chat(max_tokens=most))["max_output_tokens"] for most in (1, 16, 17)]
    assert asked_for == [16, 16, 17]


def test_a_stream_of_which_nothing_came_has_an_end() -> None:
    assert through(ToChat(), [])[-1]["choices"][0]["finish_reason"] == "length"
    events = through(FromChat(ASKED), [])
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.incomplete"]
    assert response_of(events)["output"] == []


def test_a_call_that_was_cut_off_is_none_to_be_made() -> None:
    assert through(ToChat(), [*BEGUN, added(0, call(1, ""))])[-1]["choices"][0]["finish_reason"] == "length"
    final = response_of(through(FromChat(ASKED), [begins(0, "call_1")]))
    assert (final["status"], final["output"][0]["status"]) == ("incomplete", "incomplete")


def test_arguments_that_a_server_gives_as_an_object_are_text_for_openai() -> None:
    given = {"city": "Oslo"}
    [called] = begins(0, "call_1")["choices"][0]["delta"]["tool_calls"]
    called["function"]["arguments"] = given
    message = {"role": "assistant", "content": None, "tool_calls": [called]}
    whole = reply_from_chat({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, ASKED)
    streamed = response_of(through(FromChat(ASKED), [piece(message), piece({}, "tool_calls")]))
    [again] = request_from_chat(chat(message))["input"]
    for item in (*whole["output"], *streamed["output"], again):
        assert (item["type"], json.loads(item["arguments"])) == ("function_call", given)


@pytest.mark.parametrize("beside", [{"reasoning_tokens": 4}, {"completion_tokens_details": {"reasoning_tokens": 4}}])
def test_tokens_thought_are_counted_where_openai_counts_them_and_where_databricks_does(beside: Json) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6, **beside}
    counted = [reply_from_chat({"usage": usage}, ASKED)["usage"]]
    counted += [event["response"]["usage"] for event in through(FromChat(ASKED), [piece({}, "stop", usage=usage)])[-1:]]
    assert [each["output_tokens_details"] for each in counted] == [{"reasoning_tokens": 4}] * 2


def test_a_comment_in_a_stream_begins_nothing() -> None:
    assert FromChat(ASKED).event({}) == [] and ToChat().event({}) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.text("{}ab", min_size=1, max_size=2)), max_size=9), st.booleans())
@examples
def test_pieces_of_calls_in_any_order_come_to_the_calls(pieces: list[tuple[int, str]], spoken: bool) -> None:
    chunks = [begins(n, f"call_{n}") for n in range(3)]
    chunks += [piece({"content": "so"})] if spoken else []
    final = response_of(
        through(FromChat(ASKED), [*chunks, *(goes_on(*each) for each in pieces), piece({}, "tool_calls")])
    )
    calls = [item["arguments"] for item in final["output"] if item["type"] == "function_call"]
    assert calls == ["".join(text for place, text in pieces if place == n) for n in range(3)]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "rate_limit_exceeded", "slow down"),
        ({"error": {"message": "slow down", "type": "rate_limit", "code": 429}}, "server_error", "slow down"),
        ({"error": "broken"}, "server_error", "broken"),
        ({"error_code": "INTERNAL_ERROR", "message": "broken"}, "INTERNAL_ERROR", "broken"),
    ],
)
def test_an_error_in_the_middle_of_chat_is_a_response_that_failed(error: Json, code: str, message: str) -> None:
    events = through(FromChat(ASKED), [piece({"content": "He"}), error, piece({"content": "y"})])
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": code, "message": message}
    assert reply_from_chat(error, ASKED)["status"] == "failed"


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "server_error", "message": "broken", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"code": "server_error", "message": "broken"}},
        ended("failed", error={"code": "server_error", "message": "broken"}),
    ],
)
def test_an_error_in_the_middle_of_responses_is_the_last_chunk_of_chat(error: Json) -> None:
    wanted = {"error": {"message": "broken", "type": "server_error", "param": None, "code": "server_error"}}
    assert through(ToChat(), [*BEGUN, error, ended("completed")])[1:] == [wanted]
    if "response" in error:
        assert reply_to_chat(error["response"]) == wanted


# ---- requests of Responses -------------------------------------------------------------------------------------------

CODEX: Json = {
    "model": "databricks-claude-sonnet-4-5",
    "instructions": "You are a coding agent.",
    "input": [
        said("Sandbox: read-only", "developer"),
        {**said("<environment_context/>"), "id": None},
        said("fix it"),
        reasoning("Look first.", content=None, encrypted_content=None),
        said("I look.", "assistant"),
        {"type": "function_call", "call_id": "call_1", "name": "shell", "arguments": '{"command":["ls"]}'},
        {"type": "function_call", "call_id": "call_2", "name": "find", "namespace": "mcp__docs__", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "none"}]},
        {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "a"}},
        PATCH,
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
    ],
    "tools": [
        {"type": "function", "name": "shell", "description": "runs", "parameters": SCHEMA, "strict": False},
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Patches files.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: line+"},
        },
        {"type": "namespace", "name": "mcp__docs__", "description": "docs", "tools": [{**FUNCTION, "name": "find"}]},
        {"type": "local_shell"},
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "medium"},
}


def test_what_codex_sends_is_this_in_chat() -> None:
    anything = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    described = "Patches files.\n\nThe input has to follow this grammar (lark):\nstart: line+"
    functions = [
        {"name": "shell", "description": "runs", "parameters": SCHEMA},
        {"name": "apply_patch", "description": described, "parameters": anything},
        {"name": "mcp__docs__find", "parameters": {"type": "object"}},
    ]

    def made(id: str, name: str, arguments: str) -> Json:
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    assert request_to_chat(CODEX) == {
        "model": "databricks-claude-sonnet-4-5",
        "messages": [
            {"role": "system", "content": "You are a coding agent."},
            {"role": "system", "content": [{"type": "text", "text": "Sandbox: read-only"}]},
            user([{"type": "text", "text": "<environment_context/>"}]),
            user([{"type": "text", "text": "fix it"}]),
            {
                "role": "assistant",
                "content": "I look.",
                "reasoning_content": "Look first.",
                "tool_calls": [
                    made("call_1", "shell", '{"command":["ls"]}'),
                    made("call_2", "mcp__docs__find", "{}"),
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "a.py"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "none"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [made("call_1", "apply_patch", json.dumps({"input": PATCH["input"]}))],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        ],
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning_effort": "medium",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_an_input_may_be_a_text() -> None:
    assert request_to_chat({"model": "m", "input": "hi", "max_output_tokens": 9}) == chat(max_completion_tokens=9)


def test_a_message_between_a_call_and_its_output_does_not_come_between_them() -> None:
    output = {"type": "function_call_output", "call_id": "call_2", "output": "cold"}
    roles = [message["role"] for message in in_chat(call(2, OSLO), said("I wait.", "assistant"), output)]
    assert roles == ["assistant", "tool"]


def test_an_image_that_a_tool_gave_is_shown_by_a_user() -> None:
    image = {"type": "input_image", "image_url": PNG_URL, "detail": "high"}
    outputs = [{"type": "function_call_output", "call_id": f"call_{n}", "output": [image]} for n in (1, 2)]
    first, second, shown = in_chat(*outputs)
    assert first == {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": SHOWN}]}
    assert second["role"] == "tool"
    assert shown == user([{"type": "image_url", "image_url": {"url": PNG_URL, "detail": "high"}}] * 2)


def test_thoughts_that_claude_signed_come_back_to_it_and_those_of_openai_do_not() -> None:
    sealed = reasoning("Hm.", encrypted_content=json.dumps([SIGNED]))
    assert in_chat(sealed, call(2, OSLO))[0]["thinking_blocks"] == [SIGNED]
    assert "thinking_blocks" not in in_chat(EVERYTHING[0], call(2, OSLO))[0]


def test_a_turn_that_only_thought_is_left_out() -> None:
    assert in_chat(reasoning("Hm."), said("go on")) == [user([{"type": "text", "text": "go on"}])]


def test_tools_may_come_with_the_input() -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}
    chat_request = request_to_chat(asked(more, said("hi")))
    assert [tool["function"]["name"] for tool in chat_request["tools"]] == ["weather"]
    assert len(chat_request["messages"]) == 1


def test_a_name_that_is_too_long_with_its_namespace_is_shortened_and_found_again() -> None:
    long = {"type": "namespace", "name": "mcp__" + "a" * 40, "tools": [{**FUNCTION, "name": "b" * 40}]}
    body = asked(said("hi"), tools=[long])
    [tool] = request_to_chat(body)["tools"]
    name = tool["function"]["name"]
    assert len(name) <= 64
    [event] = [e for e in FromChat(body).event(begins(0, "call_1", name)) if "item" in e]
    assert (event["item"]["namespace"], event["item"]["name"]) == (long["name"], "b" * 40)
    again = {**call(1, "{}"), "namespace": long["name"], "name": "b" * 40}
    assert in_chat(again)[0]["tool_calls"][0]["function"]["name"] == name


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", "required"),
        ({"type": "function", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "custom", "name": "apply_patch"}, {"type": "function", "function": {"name": "apply_patch"}}),
    ],
)
def test_a_choice_of_a_tool_is_this_in_chat(choice: Any, wanted: Any) -> None:
    assert request_to_chat({**ASKED, "tool_choice": choice})["tool_choice"] == wanted


def test_tools_that_may_be_used_are_the_ones_that_chat_is_offered() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    body = request_to_chat({**ASKED, "tool_choice": allowed})
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], "required")


def test_nothing_is_said_about_tools_where_none_is_left() -> None:
    bare = {**ASKED, "tools": [{"type": "web_search"}], "tool_choice": "auto", "parallel_tool_calls": True}
    body = request_to_chat(bare)
    assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_what_takes_any_text_gets_all_there_is_where_that_is_no_argument() -> None:
    chunks = [begins(0, "call_1", "apply_patch", "*** Begin Patch"), piece({}, "tool_calls")]
    assert response_of(through(FromChat(ASKED), chunks))["output"][0]["input"] == "*** Begin Patch"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, r"input\[0\]"),
        ({"input": [{"id": "msg_1"}]}, r"input\[0\]"),
        ({"input": [said("hi"), {"type": "local_shell_call", "call_id": "c"}]}, r"input\[1\].*local_shell_call"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "image_url: not a text"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "f"}]}]}, "file_data"),
        ({"input": [{"role": "user", "content": 3}]}, r"input\[0\].content: not a list"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}]}, "arguments"),
        ({"input": ["hi"]}, r"input\[0\]: not an object"),
        ({"input": None}, "input: not a list"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ],
)
def test_what_chat_cannot_say_is_refused_and_named(body: Json, named: str) -> None:
    with pytest.raises(Untranslatable, match=named):
        request_to_chat({**ASKED, **body})


# ---- requests of chat ------------------------------------------------------------------------------------------------


def test_what_a_chat_client_sends_is_this_in_responses() -> None:
    function = {"name": "weather", "parameters": SCHEMA}
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    body = chat(
        {"role": "developer", "content": "Be brief."},
        user([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]),
        {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "warm"},
        tools=[{"type": "function", "function": function}, {"type": "function", "function": {"name": "rain"}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        max_tokens=99,
        reasoning_effort="high",
        stream=True,
        stream_options={"include_usage": True},
        seed=1,
        logprobs=True,
        stop=None,
        n=1,
    )
    assert request_from_chat(body) == {
        "model": "m",
        "input": [
            {"type": "message", "role": "developer", "content": "Be brief."},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": PNG_URL}],
            },
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "warm"},
        ],
        "tools": [
            {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False},
            {"type": "function", "name": "rain", "parameters": {"type": "object", "properties": {}}, "strict": False},
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "max_output_tokens": 99,
        "reasoning": {"effort": "high"},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"n": 2}, "n:"),
        ({"stop": ["x"]}, "stop"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": [{"role": "assistant", "content": None, "audio": {"id": "audio_1"}}]}, "audio"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": "hi"}, "messages: not a list"),
        ({"messages": [{"role": "function", "content": ""}]}, r"messages\[0\].role"),
        ({"messages": [user([{"type": "input_audio"}])]}, "input_audio"),
        ({"messages": [{"role": "tool", "content": ""}]}, "tool_call_id"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "function_call"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]}, "tool_calls"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": 1}}]}
                ]
            },
            r"tool_calls\[0\].function.arguments",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, r"tools\[0\]: not a function"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "custom"}},
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ],
)
def test_what_responses_cannot_say_is_refused_and_named(more: Json, named: str) -> None:
    with pytest.raises(Untranslatable, match=named):
        request_from_chat({**chat(), **more})
