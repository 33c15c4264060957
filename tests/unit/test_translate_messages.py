"""Messages and chat say the same: requests, answers and streams, whatever they hold."""

from __future__ import annotations

import copy
import json
from typing import Any

import jiter
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings, strategies as st
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter
from unit import conversations as common
from unit.conversations import (
    NAMES,
    PNG,
    PNG_URL,
    SCHEMA,
    SOME,
    TEXTS as UNMARKED,
    WORDS,
    Json,
    Recorded,
    chat,
    completion_of,
    examples,
    function_call,
    read_by_openai,
    text,
    through,
    tool,
    tool_choices,
    turns,
    user,
    working,
)
from unit.recorded_messages import ASKED, FROM_CHAT, LYON, TO_CHAT, argued, called, chunk, started, text_block

from dbx_auth.translate.common import SHOWN, Untranslatable
from dbx_auth.translate.messages import (
    FromChat,
    ToChat,
    count,
    reply_from_chat,
    reply_to_chat,
    request_from_chat,
    request_to_chat,
)
from dbx_auth.translate.messages.blocks import ANSWER, FAILED
from dbx_auth.translate.messages.count import IMAGE_TOKENS
from dbx_auth.translate.messages.requests_from_chat import MAX_TOKENS

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
MARK = {"cache_control": {"type": "ephemeral"}}


def calling(*ids: str, content: Any = None, **more: Any) -> Json:
    function = {"name": "weather", "arguments": LYON}
    calls = [{"id": id, "type": "function", "function": function} for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls, **more}


def weather(**more: Any) -> Json:
    return {"type": "function", "function": {"name": "weather", "description": "now", "parameters": SCHEMA}, **more}


def to_messages(*messages: Json, **more: Any) -> Any:
    return request_from_chat(chat(*messages, **more))


def to_chat(content: Any, role: str = "user", **more: Any) -> Any:
    """What becomes of one turn."""
    return request_to_chat({"model": "m", "messages": [{"role": role, "content": content}], **more})["messages"]


# ---- there and back --------------------------------------------------------------------------------------------------

TEXTS = UNMARKED | st.builds(lambda said: text(said, **MARK), WORDS)
LINKS = st.sampled_from(["https://example.com/a.png", PNG_URL, "data:image/webp;base64,AAAA"])
IMAGES = LINKS.map(lambda url: {"type": "image_url", "image_url": {"url": url}})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)
CALLS: st.SearchStrategy[Json] = st.builds(
    lambda name, given: function_call(name, json.dumps(given, ensure_ascii=False)),
    NAMES,
    st.dictionaries(WORDS, VALUES, max_size=3),
)
USERS = st.builds(user, WORDS | st.lists(TEXTS | IMAGES, min_size=1, max_size=3))
SPOKEN = st.builds(
    lambda content: {"role": "assistant", "content": content}, WORDS | st.lists(TEXTS, min_size=2, max_size=3)
)
RESULTS = WORDS | st.just(FAILED + "no") | st.lists(TEXTS | st.just(text(FAILED)), max_size=3)


WORKED = st.none() | SOME | st.lists(TEXTS, min_size=2, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> Json:
    system = draw(st.none() | WORDS | st.lists(TEXTS, min_size=1, max_size=3))
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += draw(turns(USERS, SPOKEN, working(CALLS, WORKED, RESULTS)))
    body = chat(*messages, max_tokens=draw(st.integers(1, 9)))
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    if names:
        marks = st.sampled_from([{}, MARK])
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": name, "description": draw(WORDS), "parameters": SCHEMA},
                **draw(marks),
            }
            for name in names
        ]
        body |= draw(tool_choices(names))
        if body.get("tool_choice") not in (None, "none") and draw(st.booleans()):
            body["parallel_tool_calls"] = False
    if draw(st.booleans()):
        body |= draw(st.sampled_from([{"temperature": 0.5}, {"top_p": 0.5}, {"stop": ["x"]}, {"stream": True}]))
    return body


@given(conversations())
@settings(examples, max_examples=300)
def test_a_conversation_in_chat_comes_back_as_it_was(body: Json) -> None:
    assert request_to_chat(request_from_chat(body)) == body


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_how_much_is_to_be_thought_comes_back_as_it_was(effort: str) -> None:
    body = chat(max_tokens=20_000, reasoning_effort=effort)
    assert request_to_chat(request_from_chat(body)) == body


# ---- any JSON --------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    """messages role content type text tools function name parameters input_schema tool_calls tool_call_id id input
    user assistant tool system tool_use tool_result tool_use_id image image_url url source base64 data media_type
    thinking signature redacted_thinking thinking_blocks tool_choice auto any required none choices delta message
    finish_reason index arguments usage prompt_tokens completion_tokens prompt_tokens_details stop_reason message_start
    content_block_start content_block content_block_delta partial_json content_block_stop message_delta message_stop
    error final_json_answer response_format json_schema schema n stop refusal reasoning_content output_config
    reasoning_effort max_tokens high enabled budget_tokens is_error cache_control document file file_data""".split()
)
LEAVES = st.none() | st.booleans() | st.integers(-2, 40_000) | st.floats(allow_nan=False) | KEYS
LEAVES |= st.sampled_from(["\ud800", "", "data:image/png;base64,AA", "data:x", "https://x"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
KINDS = st.sampled_from(
    ["text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result", "image_url", "file"]
)
BLOCKS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        **dict.fromkeys(("text", "thinking", "signature", "id", "name", "tool_use_id"), st.text(max_size=3) | JSON),
        **dict.fromkeys(("input", "content", "source", "is_error", "image_url", "file", "cache_control"), JSON),
    },
)
CALLED = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | JSON,
        "id": st.sampled_from(["a", "b"]) | JSON,
        "function": JSON
        | st.fixed_dictionaries(
            {}, optional={"name": WORDS | JSON, "arguments": st.sampled_from(["{", "}", "{}"]) | JSON}
        ),
    },
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"])},
    optional={
        "content": WORDS | st.none() | st.lists(BLOCKS, max_size=3) | JSON,
        "tool_calls": st.lists(CALLED, max_size=2) | JSON,
        "tool_call_id": WORDS | JSON,
        "reasoning_content": WORDS | JSON,
        "refusal": WORDS | JSON,
        "thinking_blocks": st.lists(BLOCKS, max_size=2) | JSON,
    },
)
FORMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "json_object", "json_schema"])}, optional={"json_schema": JSON}
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGE, max_size=4) | JSON,
        "content": st.lists(BLOCKS, max_size=3) | JSON,
        "tools": st.lists(st.fixed_dictionaries({}, optional={"name": WORDS, "function": JSON}) | JSON, max_size=2)
        | JSON,
        "choices": st.lists(
            st.fixed_dictionaries({}, optional={"message": MESSAGE, "delta": MESSAGE}) | JSON, max_size=2
        ),
        "response_format": FORMS | JSON,
        **dict.fromkeys(
            ("system", "tool_choice", "thinking", "usage", "stop_reason", "error", "n", "max_tokens"), JSON
        ),
        "reasoning_effort": st.sampled_from(["low", "high"]) | JSON,
    },
)
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
        )
    },
    optional={
        "index": st.integers(0, 2) | JSON,
        "content_block": BLOCKS | JSON,
        "delta": BLOCKS | st.builds(lambda piece: {"partial_json": piece}, WORDS) | JSON,
        "message": JSON,
        "usage": JSON,
    },
)
CHUNKS = BODIES | st.builds(
    lambda delta, finish: chunk(delta, finish),
    MESSAGE | st.builds(lambda calls: {"tool_calls": calls}, st.lists(CALLED, min_size=1, max_size=2)),
    st.none() | st.sampled_from(["stop", "tool_calls", "odd"]),
)


@given(BODIES)
@examples
def test_whatever_is_given_is_translated_or_refused_and_never_changed(body: Json) -> None:
    before = copy.deepcopy(body)
    for translate in (
        request_to_chat,
        request_from_chat,
        reply_to_chat,
        lambda reply: reply_from_chat(reply, body),
    ):
        try:
            json.dumps(translate(body))
        except Untranslatable as refused:
            assert str(refused)
        assert body == before
    assert count(body) >= 0


@given(st.lists(EVENTS | JSON.filter(lambda event: isinstance(event, dict)), max_size=8))
@examples
def test_whatever_a_stream_of_messages_holds_its_end_is_an_end(events: list[Json]) -> None:
    before, stream = copy.deepcopy(events), ToChat()
    for each in [each for event in events for each in stream.event(event)] + stream.end():
        json.dumps(each)
    assert (stream.end(), stream.event({"type": "message_stop"}), events) == ([], [], before)


@given(st.lists(CHUNKS, max_size=8))
@examples
def test_whatever_a_stream_of_chat_holds_its_blocks_open_and_close_one_by_one(chunks: list[Json]) -> None:
    before, stream = copy.deepcopy(chunks), FromChat({})
    events = [event for chunk in chunks for event in stream.event(chunk)]
    failed = any(event["type"] == "error" for event in events)
    events += stream.end()
    assert (stream.end(), stream.event(chunk({"content": "late"})), chunks) == ([], [], before)
    begun = [event["index"] for event in events if event["type"] == "content_block_start"]
    stopped = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert begun == list(range(len(begun)))
    assert failed or (stopped == begun and events[-1] == {"type": "message_stop"})


# ---- streams, as the libraries of the clients read them --------------------------------------------------------------


def message_of(events: list[Json]) -> Any:
    """What anthropic's own library makes of a stream."""
    message, buffers = None, dict[int, bytes]()
    for event in events:
        if event["type"] != "ping":
            parsed = EVENT.validate_python(event)
            message = accumulate_event(event=parsed, current_snapshot=message, json_bufs=buffers)
    assert message
    return message.to_dict()


def plain(answer: Any) -> Any:
    """As for both pairs, and with the arguments of a call that was cut off as far as they go."""
    return common.plain(parsed(answer))


def parsed(answer: Any) -> Any:
    if isinstance(answer, list):
        return [parsed(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    if "arguments" in answer and isinstance(answer["arguments"], str):
        answer = {**answer, "arguments": jiter.from_json(answer["arguments"].encode() or b"{}", partial_mode=True)}
    if answer.get("type") == "tool_use" and answer["input"].keys() == {"arguments"}:
        answer = {**answer, "input": jiter.from_json(answer["input"]["arguments"].encode(), partial_mode=True)}
    return {name: parsed(value) for name, value in answer.items()}


@pytest.mark.parametrize("recorded", TO_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_messages_is_this_one_in_chat(recorded: Recorded) -> None:
    assert through(ToChat(), recorded.given) == recorded.wanted


@pytest.mark.parametrize("recorded", FROM_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_chat_is_this_one_in_messages(recorded: Recorded) -> None:
    assert through(FromChat(ASKED), recorded.given) == recorded.wanted


@pytest.mark.parametrize("recorded", TO_CHAT, ids=lambda recorded: recorded.name)
def test_a_stream_of_messages_comes_to_the_whole_answer_wherever_it_is_cut_off(recorded: Recorded) -> None:
    lengths = range(1, len(recorded.given) + 1)
    if "schema" in recorded.name:
        lengths = lengths[-3:]  # half of a text and half of an object are not the same
    for length in lengths:
        events = recorded.given[:length]
        message = message_of(events)
        whole = reply_to_chat({**message, "stop_reason": message["stop_reason"] or "max_tokens"})
        assert ChatCompletion.model_validate(whole)
        assert plain(completion_of(through(ToChat(), events))) == plain(whole)


@pytest.mark.parametrize("recorded", read_by_openai(FROM_CHAT), ids=lambda recorded: recorded.name)
def test_a_stream_of_chat_comes_to_the_whole_answer_wherever_it_is_cut_off(recorded: Recorded) -> None:
    for length in range(1, len(recorded.given) + 1):
        chunks = recorded.given[:length]
        completion = completion_of(chunks)
        [choice] = completion["choices"]
        choice["finish_reason"] = choice.get("finish_reason") or "length"
        whole = reply_from_chat(completion, ASKED)
        assert Message.model_validate(whole)
        assert plain(message_of(through(FromChat(ASKED), chunks))) == plain(whole)


SAID = st.lists(st.text("ab ", min_size=1, max_size=4), max_size=3)


@given(SAID, SAID, st.lists(CALLS, max_size=3), st.integers(1, 5), st.sampled_from(["stop", "length"]))
@examples
def test_any_answer_in_chat_is_the_same_whole_and_streamed(
    thoughts: list[str], texts: list[str], calls: list[Json], size: int, finish: str
) -> None:
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in thoughts] + [{"content": piece} for piece in texts]
    for index, call in enumerate(calls):
        given, named = call["function"]["arguments"], {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": named}]})
        pieces = [given[start : start + size] for start in range(0, len(given), size)]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    chunks = [*map(chunk, deltas), chunk({}, finish)]
    streamed = message_of(through(FromChat(ASKED), chunks))
    assert plain(streamed) == plain(reply_from_chat(completion_of(chunks), ASKED))
    assert plain(completion_of(through(ToChat(), through(FromChat(ASKED), chunks)))) == plain(reply_to_chat(streamed))


def test_a_stream_of_which_nothing_came_has_an_end() -> None:
    assert through(ToChat(), [])[-1]["choices"][0]["finish_reason"] == "length"
    assert message_of(through(FromChat(ASKED), []))["stop_reason"] == "max_tokens"


def test_a_call_that_was_cut_off_is_none_to_be_made() -> None:
    cut = [started(), *text_block(0, "I look."), {"type": "content_block_start", "index": 1, "content_block": TOOL_USE}]
    assert through(ToChat(), cut)[-1]["choices"][0]["finish_reason"] == "length"


TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}


def test_an_input_that_comes_with_the_start_of_its_block_is_not_lost() -> None:
    stream = ToChat()
    begun = {"type": "content_block_start", "index": 0, "content_block": {**TOOL_USE, "input": {"city": "Lyon"}}}
    chunks = [*stream.event(begun), *stream.event({"type": "content_block_stop", "index": 0})]
    assert [each["choices"] for each in chunks] == [
        each["choices"] for each in (called(0, "toolu_1", "weather"), argued(0, LYON))
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.text("{}ab", min_size=1, max_size=2)), max_size=9), st.booleans())
@examples
def test_pieces_of_calls_in_any_order_come_to_the_calls(pieces: list[tuple[int, str]], spoken: bool) -> None:
    names = [each for n in range(3) for each in [called(n, f"call_{n}", "weather")]]
    chunks = [*names, *([chunk({"content": "so"})] if spoken else []), *(argued(*each) for each in pieces)]
    told = dict.fromkeys(range(3), "")
    for event in through(FromChat(ASKED), chunks):
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            told[event["index"]] += event["delta"]["partial_json"]
    wanted = ["".join(piece for place, piece in pieces if place == n) for n in range(3)]
    assert [told[place] for place in range(3)] == wanted


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        ({"message": "slow down", "type": "rate_limit_error", "code": 429}, ("rate_limit_error", "slow down")),
        ({"message": "broken", "type": "server_error"}, ("api_error", "broken")),
        ("broken", ("api_error", "broken")),
        ({"code": 1}, ("api_error", '{"code": 1}')),
        ({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}, ("api_error", "later")),
    ],
)
def test_an_error_in_the_middle_of_chat_is_the_last_event_of_messages(error: Any, wanted: tuple[str, str]) -> None:
    failed = error if "error_code" in error else {"error": error}
    *_, last = through(FromChat(ASKED), [chunk({"content": "so"}), failed, chunk({"content": "late"})])
    assert last == {"type": "error", "error": {"type": wanted[0], "message": wanted[1]}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "later"}}, "overloaded_error"),
        ({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}, "api_error"),
    ],
)
def test_an_error_in_the_middle_of_messages_is_the_last_chunk_of_chat(event: Json, kind: str) -> None:
    *_, last = through(ToChat(), [started(), event, *text_block(0, "late")])
    assert last == {"error": {"message": "later", "type": kind, "code": None, "param": None}}


# ---- requests of Messages --------------------------------------------------------------------------------------------

READ_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": PNG_URL}}


def test_what_claude_code_sends_is_this_in_chat() -> None:
    used = {"type": "tool_use", "name": "weather", "input": {"city": "Lyon"}}
    body = {
        "model": "databricks-gpt-oss-120b",
        "max_tokens": 32_000,
        "stream": True,
        "metadata": {"user_id": "user_1"},
        "anthropic_beta": ["interleaved-thinking-2025-05-14"],
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "system": [text("You are Claude Code."), text("Be brief.", **MARK)],
        "tools": [
            {"name": "weather", "description": "now", "input_schema": SCHEMA, **MARK},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "messages": [
            user([text("<system-reminder>"), text("What is it like?", **MARK)]),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I look.", "signature": "EqQB"},
                    {"type": "redacted_thinking", "data": "c2VjcmV0"},
                    text("One moment."),
                    {**used, "id": "toolu_1"},
                    {**used, "id": "toolu_2", **MARK},
                ],
            },
            user(
                [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "is_error": True,
                        "content": [text("no"), READ_IMAGE],
                        **MARK,
                    },
                    text("Go on."),
                ]
            ),
            {"role": "assistant", "content": [text("Fine.")]},
            user("Thanks."),
        ],
    }
    assert request_to_chat(body) == {
        "model": "databricks-gpt-oss-120b",
        "max_tokens": 32_000,
        "stream": True,
        "reasoning_effort": "high",
        "tools": [weather(**MARK)],
        "messages": [
            {"role": "system", "content": [text("You are Claude Code."), text("Be brief.", **MARK)]},
            user([text("<system-reminder>"), text("What is it like?", **MARK)]),
            calling("toolu_1", "toolu_2", content="One moment.", reasoning_content="I look."),
            tool("toolu_1", "sunny"),
            tool("toolu_2", [text(FAILED), text("no"), text(SHOWN, **MARK)]),
            user([IMAGE_URL, text("Go on.")]),
            {"role": "assistant", "content": "Fine."},
            user("Thanks."),
        ],
    }


def test_a_tool_that_failed_says_so_in_both() -> None:
    result = {"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True}
    assert to_chat([result]) == [tool("a", FAILED + "no")]
    assert to_messages(tool("a", FAILED + "no"))["messages"] == [user([result])]


def test_a_result_that_is_to_be_cached_is_marked_in_its_last_part() -> None:
    assert to_chat([{"type": "tool_result", "tool_use_id": "a", "content": "x", **MARK}]) == [
        tool("a", [text("x", **MARK)])
    ]
    assert to_chat([{"type": "tool_result", "tool_use_id": "a", **MARK}]) == [tool("a", "")]


def test_a_result_in_a_form_that_chat_has_not_is_kept_as_json() -> None:
    found = {"type": "tool_reference", "tool_name": "weather"}
    [message] = to_chat([{"type": "tool_result", "tool_use_id": "a", "content": [found]}])
    assert json.loads(message["content"][0]["text"]) == found


def test_documents_are_files_or_texts() -> None:
    pdf = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        "title": "a.pdf",
    }
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}
    assert to_chat([pdf]) == [user([file])]
    assert to_messages(user([file]))["messages"] == [user([pdf])]
    note = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "note"}}
    assert to_chat([note]) == [user([text("note")])]


def test_what_ran_on_anthropic_s_side_is_left_out() -> None:
    blocks = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        text("Found."),
    ]
    assert to_chat(blocks, "assistant") == [{"role": "assistant", "content": "Found."}]
    assert to_chat(blocks[:2], "assistant") == [{"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({}, None),
    ],
)
def test_tokens_to_think_with_are_an_effort_in_chat(asked: Json, effort: str | None) -> None:
    assert request_to_chat({"messages": [], **asked}).get("reasoning_effort") == effort


def test_a_shape_that_is_asked_for_is_a_response_format_in_chat() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    for asked in ({"output_format": {"type": "json_schema", "schema": SCHEMA}},):
        assert request_to_chat(asked)["response_format"] == wanted
        assert request_to_chat({"output_config": {"format": asked["output_format"]}})["response_format"] == wanted


@pytest.mark.parametrize(
    "body",
    [
        {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
        {"compaction": {"type": "summary"}},
        {"messages": "hi"},
        {"messages": [{"role": "tool", "content": "hi"}]},
        {"messages": [user([{"type": "container_upload", "file_id": "f"}])]},
        {"messages": [user([{"type": "image", "source": {"type": "file", "file_id": "f"}}])]},
        {"messages": [user([{"type": "document", "source": {"type": "url", "url": "https://x"}}])]},
        {"messages": [user([{"type": "tool_result", "content": "hi"}])]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "c"}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "compaction", "content": "all of it"}]}]},
        {"tools": [{"type": "web_search_20250305", "name": "web"}], "tool_choice": {"type": "tool", "name": "web"}},
    ],
)
def test_what_chat_cannot_say_is_refused_and_named(body: Json) -> None:
    with pytest.raises(Untranslatable, match=r"^[a-z_.]+: "):
        request_to_chat(body)


def test_an_input_that_is_too_deep_to_be_written_is_refused() -> None:
    deep: Json = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(Untranslatable):
        to_chat([{"type": "tool_use", "id": "a", "name": "b", "input": deep}], "assistant")


# ---- requests of chat ------------------------------------------------------------------------------------------------


def test_what_a_chat_client_sends_is_this_in_messages() -> None:
    asked = to_messages(
        {"role": "developer", "content": "Be brief."},
        user([text("Look."), {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}}]),
        calling("call_1", "call_2", content="One moment."),
        tool("call_1", "sunny"),
        tool("call_2", [text("rain")]),
        user("Thanks."),
        tools=[weather()],
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=50,
        temperature=1.5,
        stop="END",
        user="ada",
        stream=True,
        stream_options={"include_usage": True},
        seed=1,
        logit_bias={},
        store=False,
        n=1,
    )
    used = {"type": "tool_use", "name": "weather", "input": {"city": "Lyon"}}
    assert asked == {
        "model": "m",
        "stream": True,
        "max_tokens": 50,
        "temperature": 1,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "ada"},
        "system": "Be brief.",
        "tools": [{"name": "weather", "description": "now", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "messages": [
            user([text("Look."), {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}]),
            {"role": "assistant", "content": [text("One moment."), {**used, "id": "call_1"}, {**used, "id": "call_2"}]},
            user(
                [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": [text("rain")]},
                ]
            ),
            user("Thanks."),
        ],
    }


def test_several_systems_are_one_wherever_they_stand() -> None:
    asked = to_messages(
        {"role": "system", "content": "a"}, user(), {"role": "developer", "content": [text("b", **MARK)]}
    )
    assert (asked["system"], asked["messages"]) == ([text("a"), text("b", **MARK)], [user()])


def test_signed_thoughts_go_back_and_others_do_not() -> None:
    signed = {"type": "thinking", "thinking": "I look.", "signature": "EqQB"}
    redacted = {"type": "redacted_thinking", "data": "c2VjcmV0"}
    turn = calling("a", reasoning_content="I look.", thinking_blocks=[{**signed, "index": 0}, redacted])
    [_, answer, _] = to_messages(user(), turn, tool("a", "sunny"))["messages"]
    assert answer["content"][:2] == [signed, redacted]
    [answer] = to_messages({"role": "assistant", "content": "hi", "reasoning_content": "I greet."})["messages"]
    assert answer == {"role": "assistant", "content": "hi"}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I greet."}]}
    [answer] = to_messages({"role": "assistant", "content": [thought, text("hi")]})["messages"]
    assert answer == {"role": "assistant", "content": [text("hi")]}


def test_what_was_refused_is_told_as_text() -> None:
    [answer] = to_messages({"role": "assistant", "content": None, "refusal": "No."})["messages"]
    assert answer == {"role": "assistant", "content": [text("No.")]}
    [answer] = to_messages({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]})["messages"]
    assert answer == {"role": "assistant", "content": [text("No.")]}


def test_a_client_that_gives_back_what_it_got_gives_back_the_thoughts() -> None:
    """As openai's library does, which keeps the fields that it does not know."""
    got = completion_of(through(ToChat(), TO_CHAT[0].given))["choices"][0]["message"]
    [turn] = to_messages(got)["messages"]
    whole = message_of(TO_CHAT[0].given)["content"]
    assert [block["type"] for block in turn["content"]] == [block["type"] for block in whole]
    assert turn["content"][:2] == whole[:2]


@pytest.mark.parametrize(
    ("asked", "budget", "most"),
    [
        ({}, 4096, MAX_TOKENS + 4096),
        ({"max_tokens": 30_000}, 4096, 30_000),
        ({"max_tokens": 4000}, 2000, 4000),
        ({"max_tokens": 1000}, None, 1000),
        ({"tools": [weather()], "tool_choice": "required"}, None, MAX_TOKENS),
        ({"response_format": {"type": "json_object"}}, None, MAX_TOKENS),
        ({"messages": [user(), calling("a"), tool("a", "sunny")]}, None, MAX_TOKENS),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, 2048, MAX_TOKENS + 2048),
    ],
)
def test_an_effort_is_tokens_to_think_with_where_there_is_room(asked: Json, budget: int | None, most: int) -> None:
    told = request_from_chat({**chat(), "reasoning_effort": "medium", "temperature": 0.5, **asked})
    assert (told.get("thinking", {}).get("budget_tokens"), told["max_tokens"]) == (budget, most)
    assert ("temperature" in told) is (budget is None)


def test_who_is_not_to_think_is_sampled_as_asked() -> None:
    told = to_messages(thinking={"type": "disabled"}, temperature=0.5, top_p=0.5)
    assert (told["thinking"], told["temperature"], "top_p" in told) == ({"type": "disabled"}, 0.5, False)


@pytest.mark.parametrize("beside", [{"reasoning_tokens": 4}, {"completion_tokens_details": {"reasoning_tokens": 4}}])
def test_tokens_thought_are_counted_where_openai_counts_them_and_where_databricks_does(beside: Json) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6, **beside}
    assert reply_from_chat({"usage": usage}, ASKED)["usage"]["output_tokens_details"] == {"thinking_tokens": 4}


def test_who_asks_for_text_alone_gets_it() -> None:
    assert to_messages(modalities=["text"]) == to_messages()


def test_arguments_that_a_server_gives_as_an_object_are_the_input() -> None:
    given = {"city": "Lyon"}
    called = {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": given}}
    message = {"role": "assistant", "content": None, "tool_calls": [called]}
    whole = reply_from_chat({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, ASKED)
    streamed = message_of(through(FromChat(ASKED), [chunk(message), chunk({}, "tool_calls")]))
    [turn] = to_messages(message)["messages"]
    assert [each["content"][0]["input"] for each in (whole, streamed, turn)] == [given] * 3


def test_arguments_that_are_no_object_are_still_told() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": '}}
    [turn] = to_messages({"role": "assistant", "content": None, "tool_calls": [call]})["messages"]
    assert turn["content"][0]["input"] == {"arguments": '{"city": '}


@pytest.mark.parametrize(
    ("asked", "choice", "names"),
    [
        ({}, {"type": "tool", "name": ANSWER, "disable_parallel_tool_use": True}, [ANSWER]),
        ({"tools": [weather()]}, {"type": "any"}, ["weather", ANSWER]),
        (
            {"tools": [weather()], "tool_choice": "none"},
            {"type": "tool", "name": ANSWER, "disable_parallel_tool_use": True},
            ["weather", ANSWER],
        ),
        ({"tools": [weather()], "tool_choice": "required"}, {"type": "any"}, ["weather"]),
    ],
)
def test_an_answer_of_a_shape_is_the_input_of_a_tool(asked: Json, choice: Json, names: list[str]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    told = to_messages(response_format=form, **asked)
    assert (told["tool_choice"], [tool["name"] for tool in told["tools"]]) == (choice, names)
    assert told["tools"][-1]["input_schema"] == SCHEMA


def test_the_input_of_that_tool_is_the_text_of_the_answer() -> None:
    used = {"type": "tool_use", "id": "toolu_1", "name": ANSWER, "input": {"city": "Lyon"}}
    [choice] = reply_to_chat({"content": [used], "stop_reason": "tool_use"})["choices"]
    assert choice["message"] == {"role": "assistant", "content": LYON}
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"functions": [{"name": "weather"}]},
        {"modalities": ["text", "audio"]},
        {"modalities": ["image"]},
        {"audio": {"voice": "alloy"}},
        {"tools": [{"type": "custom", "custom": {"name": "sh"}}]},
        {"tools": [{"type": "function", "function": {"name": ANSWER}}]},
        {"tools": [weather()], "tool_choice": {"type": "allowed_tools"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}},
        {"response_format": {"type": "grammar"}},
        {"messages": None, "tools": "weather"},
        {"messages": [{"role": "function", "content": "sunny"}]},
        {"messages": [{"role": "tool", "content": "sunny"}]},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "a", "custom": {}}]}]},
        {"messages": [user([{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}])]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png,AA"}}])]},
        {"messages": [user([{"type": "file", "file": {"file_id": "f"}}])]},
        {"messages": [user(1)]},
    ],
)
def test_what_messages_cannot_say_is_refused_and_named(more: Json) -> None:
    with pytest.raises(Untranslatable, match=r"^[a-z_.]+: "):
        request_from_chat({**chat(), **more})


# ---- an estimate -----------------------------------------------------------------------------------------------------


def test_four_characters_count_as_a_token_and_an_image_as_many_whatever_it_weighs() -> None:
    assert count({"system": "a" * 40, "messages": [user("b" * 40)]}) == 20
    assert count({"system": [text("a" * 41, **MARK)], "messages": []}) == 11
    result = {"type": "tool_result", "tool_use_id": "a", "content": [text("c" * 40), READ_IMAGE]}
    assert count({"messages": [user([result, READ_IMAGE])]}) == 10 + 2 * IMAGE_TOKENS
    assert count({"messages": [user([{**result, "content": "c" * 40}])]}) == 10
    assert count({}) == 0
    declared = {"name": "weather", "input_schema": SCHEMA}
    assert count({"tools": [declared]}) == -(-len(json.dumps(declared)) // 4)


# ---- tools that are to be loaded later -------------------------------------------------------------------------------

LATER = {"name": "later", "input_schema": {"type": "object"}, "defer_loading": True}
NOW = {"name": "now", "input_schema": {"type": "object"}}
FOUND = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "tool_reference", "tool_name": "later"}]}
SEARCH = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}


@pytest.mark.parametrize(
    ("turns", "tools", "offered"),
    [
        ([], [LATER, NOW], ["now"]),
        ([], [LATER], None),
        ([{"role": "user", "content": [FOUND]}], [LATER, NOW], ["later", "now"]),
        ([], [LATER, NOW, SEARCH], ["later", "now"]),
    ],
    ids=["not yet", "none is left", "found by the client", "nobody here can search"],
)
def test_a_tool_that_is_to_be_loaded_later_is_offered_once_it_is_found(
    turns: list[Json], tools: list[Json], offered: list[str] | None
) -> None:
    """As Claude Code sends them; Anthropic shows them to the model then, and not before."""
    chat = request_to_chat({"messages": [*turns, {"role": "user", "content": "hi"}], "tools": tools})
    names = [tool["function"]["name"] for tool in chat["tools"]] if "tools" in chat else None
    assert names == offered
    assert "defer_loading" not in json.dumps(chat)
