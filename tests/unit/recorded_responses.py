"""Streams as the real APIs send them, written down as data, and what each comes to in the other API."""

from __future__ import annotations

import json
from typing import Any

from unit.conversations import Json, Recorded

# ---- Responses to chat -----------------------------------------------------------------------------------------------

RESPONSE: Json = {
    "id": "resp_07",
    "object": "response",
    "created_at": 1763000000,
    "status": "in_progress",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "metadata": {},
    "model": "gpt-5-codex",
    "output": [],
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": None,
}
USED: Json = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 16},
    "total_tokens": 150,
}
BEGUN = [{"type": f"response.{name}", "response": RESPONSE} for name in ("created", "in_progress")]


def ended(status: str, *output: Json, **more: Any) -> Json:
    return {"type": f"response.{status}", "response": {**RESPONSE, "status": status, "output": list(output), **more}}


def about(kind: str, place: int, **more: Any) -> Json:
    return {"type": f"response.{kind}", "output_index": place, **more}


def added(place: int, item: Json) -> Json:
    return about("output_item.added", place, item=item)


def done(place: int, item: Json) -> Json:
    return about("output_item.done", place, item=item)


def reasoning(*summary: str, **more: Any) -> Json:
    return {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": s} for s in summary]} | more


def message(*parts: Json, id: str = "msg_1", status: str = "completed") -> Json:
    return {"type": "message", "id": id, "role": "assistant", "status": status, "content": list(parts)}


def output_text(said: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": said}


def call(number: int, arguments: str, status: str = "completed") -> Json:
    named = {"call_id": f"call_{number}", "name": "weather", "arguments": arguments, "status": status}
    return {"type": "function_call", "id": f"fc_{number}", **named}


SUMMARY = {"item_id": "rs_1", "summary_index": 0}
TEXT = {"item_id": "msg_1", "content_index": 0}
SEALED = {"encrypted_content": "gAAAAABq"}
LYON, OSLO = '{"city":"Lyon"}', '{"city":"Oslo"}'
EVERYTHING = [
    reasoning("**Two** towns.", "Ask both.", **SEALED),
    message(output_text("I look.")),
    call(1, LYON),
    call(2, OSLO),
]
PATCH: Json = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "call_1",
    "name": "apply_patch",
    "status": "completed",
    "input": '*** Begin Patch\n+"hi"',
}

HEAD = {"id": "resp_07", "object": "chat.completion.chunk", "created": 1763000000, "model": "gpt-5-codex"}
TOLD: Json = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 16},
}


def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def called(place: int, id: str, name: str = "weather", arguments: str = "") -> Json:
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"id": id, "type": "function", "function": function, "index": place}]})


def argued(place: int, arguments: str) -> Json:
    return chunk({"tool_calls": [{"index": place, "function": {"arguments": arguments}}]})


ROLE = chunk({"role": "assistant", "content": None})

TO_CHAT = [
    Recorded(
        "thoughts, a text and two calls",
        [
            *BEGUN,
            added(0, reasoning(encrypted_content="gA")),
            about("reasoning_summary_part.added", 0, **SUMMARY, part={"type": "summary_text", "text": ""}),
            about("reasoning_summary_text.delta", 0, **SUMMARY, delta="**Two**"),
            about("reasoning_summary_text.delta", 0, **SUMMARY, delta=" towns."),
            about("reasoning_summary_text.done", 0, **SUMMARY, text="**Two** towns."),
            about("reasoning_summary_part.done", 0, **SUMMARY, part={"type": "summary_text", "text": "**Two** towns."}),
            about("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=1, delta="Ask both."),
            about("reasoning_summary_text.done", 0, item_id="rs_1", summary_index=1, text="Ask both."),
            done(0, EVERYTHING[0]),
            added(1, message(status="in_progress")),
            about("content_part.added", 1, **TEXT, part=output_text("")),
            about("output_text.delta", 1, **TEXT, delta="I ", logprobs=[], obfuscation="x8"),
            about("output_text.delta", 1, **TEXT, delta="look.", logprobs=[], obfuscation="x"),
            about("output_text.done", 1, **TEXT, text="I look.", logprobs=[]),
            about("content_part.done", 1, **TEXT, part=output_text("I look.")),
            done(1, EVERYTHING[1]),
            added(2, call(1, "", "in_progress")),
            about("function_call_arguments.delta", 2, item_id="an id of its own", delta='{"city"'),
            about("function_call_arguments.delta", 2, item_id="and another", delta=':"Lyon"}'),
            about("function_call_arguments.done", 2, item_id="fc_1", arguments=LYON),
            done(2, EVERYTHING[2]),
            added(3, call(2, "", "in_progress")),
            about("function_call_arguments.delta", 3, item_id="fc_2", delta=OSLO),
            about("function_call_arguments.done", 3, item_id="fc_2", arguments=OSLO),
            done(3, EVERYTHING[3]),
            ended("completed", *EVERYTHING, usage=USED),
        ],
        [
            ROLE,
            chunk({"reasoning_content": "**Two**"}),
            chunk({"reasoning_content": " towns."}),
            chunk({"reasoning_content": "\n\nAsk both."}),
            chunk({"content": "I "}),
            chunk({"content": "look."}),
            called(0, "call_1"),
            argued(0, '{"city"'),
            argued(0, ':"Lyon"}'),
            called(1, "call_2"),
            argued(1, OSLO),
            chunk({}, "tool_calls", usage=TOLD),
        ],
    ),
    Recorded(
        "a comment and then the answer",
        [
            *BEGUN,
            added(0, message(status="in_progress")),
            about("output_text.delta", 0, **TEXT, delta="I begin."),
            done(0, message(output_text("I begin."))),
            added(1, message(id="msg_2", status="in_progress")),
            about("output_text.delta", 1, item_id="msg_2", content_index=0, delta="Done"),
            about("output_text.delta", 1, item_id="msg_2", content_index=0, delta="."),
            done(1, message(output_text("Done."), id="msg_2")),
            ended("completed", message(output_text("I begin.")), message(output_text("Done."), id="msg_2"), usage=USED),
        ],
        [
            ROLE,
            chunk({"content": "I begin."}),
            chunk({"content": "\n\nDone"}),
            chunk({"content": "."}),
            chunk({}, "stop", usage=TOLD),
        ],
    ),
    Recorded(
        "a refusal",
        [
            *BEGUN,
            added(0, message(status="in_progress")),
            about("content_part.added", 0, **TEXT, part={"type": "refusal", "refusal": ""}),
            about("refusal.delta", 0, **TEXT, delta="I can"),
            about("refusal.delta", 0, **TEXT, delta="not."),
            about("refusal.done", 0, **TEXT, refusal="I cannot."),
            done(0, message({"type": "refusal", "refusal": "I cannot."})),
            ended("completed", message({"type": "refusal", "refusal": "I cannot."}), usage=USED),
        ],
        [ROLE, chunk({"refusal": "I can"}), chunk({"refusal": "not."}), chunk({}, "stop", usage=TOLD)],
    ),
    Recorded(
        "an answer that got too long",
        [
            *BEGUN,
            added(0, message(status="in_progress")),
            about("output_text.delta", 0, **TEXT, delta="On and on"),
            done(0, message(output_text("On and on"), status="incomplete")),
            ended(
                "incomplete",
                message(output_text("On and on"), status="incomplete"),
                usage=USED,
                incomplete_details={"reason": "max_output_tokens"},
            ),
        ],
        [ROLE, chunk({"content": "On and on"}), chunk({}, "length", usage=TOLD)],
    ),
    Recorded(
        "an answer that a filter ended",
        [*BEGUN, ended("incomplete", incomplete_details={"reason": "content_filter"})],
        [ROLE, chunk({}, "content_filter")],
    ),
    Recorded(
        "raw thoughts and a call of a tool that takes any text",
        [
            *BEGUN,
            added(0, reasoning()),
            about("reasoning_text.delta", 0, item_id="rs_1", content_index=0, delta="A patch."),
            done(0, reasoning(content=[{"type": "reasoning_text", "text": "A patch."}])),
            added(1, {**PATCH, "status": "in_progress", "input": ""}),
            about("custom_tool_call_input.delta", 1, item_id="ctc_1", delta="*** Begin"),
            done(1, PATCH),
            ended("completed", reasoning(content=[{"type": "reasoning_text", "text": "A patch."}]), PATCH, usage=USED),
        ],
        [
            ROLE,
            chunk({"reasoning_content": "A patch."}),
            called(0, "call_1", "apply_patch"),
            argued(0, json.dumps({"input": PATCH["input"]})),
            chunk({}, "tool_calls", usage=TOLD),
        ],
    ),
    Recorded(
        "items that come in one piece",
        [*BEGUN, *(done(place, item) for place, item in enumerate(EVERYTHING)), ended("completed", usage=USED)],
        [
            ROLE,
            chunk({"reasoning_content": "**Two** towns."}),
            chunk({"reasoning_content": "\n\nAsk both."}),
            chunk({"content": "I look."}),
            called(0, "call_1"),
            argued(0, LYON),
            called(1, "call_2"),
            argued(1, OSLO),
            chunk({}, "tool_calls", usage=TOLD),
        ],
    ),
    Recorded(
        "nothing before the end",
        [ended("completed", *EVERYTHING[1:3], usage=USED)],
        [
            ROLE,
            chunk({"content": "I look."}),
            called(0, "call_1"),
            argued(0, LYON),
            chunk({}, "tool_calls", usage=TOLD),
        ],
    ),
]

# ---- chat to Responses -----------------------------------------------------------------------------------------------

FUNCTION: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
ASKED: Json = {
    "model": "databricks-claude-sonnet-4-5",
    "instructions": "Be brief.",
    "input": "how is the weather?",
    "reasoning": {"effort": "low"},
    "stream": True,
    "store": False,
    "tools": [
        FUNCTION,
        {"type": "custom", "name": "apply_patch", "description": "patches"},
        {"type": "namespace", "name": "mcp__docs__", "description": "docs", "tools": [{**FUNCTION, "name": "search"}]},
        {"type": "web_search"},
    ],
}
CHAT_HEAD = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1763000001, "model": "claude"}


def piece(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {**chunk(delta, finish, **more), **CHAT_HEAD}


def begins(place: int, id: str, name: str = "weather", arguments: str = "") -> Json:
    return {**called(place, id, name, arguments), **CHAT_HEAD}


def goes_on(place: int, arguments: str) -> Json:
    return {**argued(place, arguments), **CHAT_HEAD}


ANSWER: Json = {
    "id": "resp_chatcmpl-9",
    "object": "response",
    "created_at": 1763000001,
    "status": "in_progress",
    "model": "claude",
    "output": [],
    "error": None,
    "incomplete_details": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": ASKED["tools"],
    "usage": None,
    "instructions": "Be brief.",
    "max_output_tokens": None,
    "reasoning": {"effort": "low"},
    "temperature": None,
    "text": None,
    "top_p": None,
    "user": None,
}
OPENED = [{"type": f"response.{name}", "response": ANSWER} for name in ("created", "in_progress")]


def closed(status: str, *output: Json, usage: Json | None = None, **more: Any) -> Json:
    response = {**ANSWER, "status": status, "output": list(output), "usage": usage, **more}
    return {"type": f"response.{status}", "response": response}


def numbered(*events: Json) -> list[Json]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def at(kind: str, place: int, id: str, **more: Any) -> Json:
    return {"type": f"response.{kind}", "item_id": id, "output_index": place, **more}


def written(place: int, *deltas: str, word: str = "output_text", status: str = "completed") -> tuple[list[Json], Json]:
    """All events about a message with one part, and the item that comes of it."""
    key = "text" if word == "output_text" else "refusal"
    part: Json = {"type": word} | ({"annotations": []} if key == "text" else {})
    more: Json = {"logprobs": []} if key == "text" else {}
    id, text, spot = f"msg_chatcmpl-9_{place}", "".join(deltas), {"content_index": 0}
    item = {"type": "message", "role": "assistant", "id": id, "status": status, "content": [{**part, key: text}]}
    return [
        added(place, {**item, "status": "in_progress", "content": []}),
        at("content_part.added", place, id, **spot, part={**part, key: ""}),
        *(at(f"{word}.delta", place, id, **spot, delta=delta, **more) for delta in deltas),
        at(f"{word}.done", place, id, **spot, **{key: text}, **more),
        at("content_part.done", place, id, **spot, part={**part, key: text}),
        done(place, item),
    ], item


def thought(place: int, *deltas: str, sealed: list[Json] | None = None) -> tuple[list[Json], Json]:
    """The same about what was thought, with what Claude has signed of it."""
    id, text, spot = f"rs_chatcmpl-9_{place}", "".join(deltas), {"summary_index": 0}
    item = {
        "type": "reasoning",
        "id": id,
        "encrypted_content": json.dumps(sealed or []),
        "summary": [{"type": "summary_text", "text": text}],
    }
    return [
        added(place, {"type": "reasoning", "id": id, "summary": []}),
        at("reasoning_summary_part.added", place, id, **spot, part={"type": "summary_text", "text": ""}),
        *(at("reasoning_summary_text.delta", place, id, **spot, delta=delta) for delta in deltas),
        at("reasoning_summary_text.done", place, id, **spot, text=text),
        at("reasoning_summary_part.done", place, id, **spot, part={"type": "summary_text", "text": text}),
        done(place, item),
    ], item


def made(place: int, id: str, arguments: str, status: str = "completed", **more: Any) -> Json:
    named = {"call_id": id, "name": "weather", "status": status, "arguments": arguments, **more}
    return {"type": "function_call", "id": f"fc_chatcmpl-9_{place}", **named}


USAGE = {**USED, "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0}}
THOUGHT, THINKING = thought(0, "Two ", "towns.")
LOOK, LOOKING = written(1, "I ", "look.")
REFUSED, REFUSING = written(0, "I can", "not.", word="refusal")
LONG, LONGER = written(0, "On and on", status="incomplete")
SIGNED: Json = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
SEALED_THOUGHT, SEALING = thought(0, "Hm.", sealed=[SIGNED])
SAID, SAYING = written(1, "Yes.")
PATCHING = {**PATCH, "id": "ctc_chatcmpl-9_0"}

FROM_CHAT = [
    Recorded(
        "thoughts, a text and two calls that take turns",
        [
            piece({"role": "assistant", "content": ""}),
            piece({"reasoning_content": "Two "}),
            piece({"reasoning_content": "towns."}),
            piece({"content": "I "}),
            piece({"content": "look."}),
            begins(0, "call_1"),
            begins(1, "call_2", arguments='{"city"'),
            goes_on(0, LYON),
            goes_on(1, ':"Oslo"}'),
            piece({}, "tool_calls"),
            {**CHAT_HEAD, "choices": [], "usage": TOLD},
        ],
        numbered(
            *OPENED,
            *THOUGHT,
            *LOOK,
            added(2, made(2, "call_1", "", "in_progress")),
            added(3, made(3, "call_2", "", "in_progress")),
            at("function_call_arguments.delta", 3, "fc_chatcmpl-9_3", delta='{"city"'),
            at("function_call_arguments.delta", 2, "fc_chatcmpl-9_2", delta=LYON),
            at("function_call_arguments.delta", 3, "fc_chatcmpl-9_3", delta=':"Oslo"}'),
            at("function_call_arguments.done", 2, "fc_chatcmpl-9_2", arguments=LYON),
            done(2, made(2, "call_1", LYON)),
            at("function_call_arguments.done", 3, "fc_chatcmpl-9_3", arguments=OSLO),
            done(3, made(3, "call_2", OSLO)),
            closed("completed", THINKING, LOOKING, made(2, "call_1", LYON), made(3, "call_2", OSLO), usage=USAGE),
        ),
    ),
    Recorded(
        "calls with the same index",
        [begins(0, "call_1", arguments=LYON), begins(0, "call_2", arguments=OSLO), piece({}, "tool_calls")],
        numbered(
            *OPENED,
            added(0, made(0, "call_1", "", "in_progress")),
            at("function_call_arguments.delta", 0, "fc_chatcmpl-9_0", delta=LYON),
            added(1, made(1, "call_2", "", "in_progress")),
            at("function_call_arguments.delta", 1, "fc_chatcmpl-9_1", delta=OSLO),
            at("function_call_arguments.done", 0, "fc_chatcmpl-9_0", arguments=LYON),
            done(0, made(0, "call_1", LYON)),
            at("function_call_arguments.done", 1, "fc_chatcmpl-9_1", arguments=OSLO),
            done(1, made(1, "call_2", OSLO)),
            closed("completed", made(0, "call_1", LYON), made(1, "call_2", OSLO)),
        ),
    ),
    Recorded(
        "a tool that takes any text, and one of an MCP server",
        [
            begins(0, "call_1", "apply_patch", json.dumps({"input": PATCH["input"]})[:9]),
            goes_on(0, json.dumps({"input": PATCH["input"]})[9:]),
            begins(1, "call_2", "mcp__docs__search", "{}"),
            piece({}, "tool_calls", usage=TOLD),
        ],
        numbered(
            *OPENED,
            added(0, {**PATCHING, "status": "in_progress", "input": ""}),
            added(1, made(1, "call_2", "", "in_progress", name="search", namespace="mcp__docs__")),
            at("function_call_arguments.delta", 1, "fc_chatcmpl-9_1", delta="{}"),
            at("custom_tool_call_input.delta", 0, "ctc_chatcmpl-9_0", delta=PATCH["input"]),
            at("custom_tool_call_input.done", 0, "ctc_chatcmpl-9_0", input=PATCH["input"]),
            done(0, PATCHING),
            at("function_call_arguments.done", 1, "fc_chatcmpl-9_1", arguments="{}"),
            done(1, made(1, "call_2", "{}", name="search", namespace="mcp__docs__")),
            closed("completed", PATCHING, made(1, "call_2", "{}", name="search", namespace="mcp__docs__"), usage=USAGE),
        ),
    ),
    Recorded(
        "thoughts that Claude signed",
        [
            piece({"reasoning_content": "Hm."}),
            piece({"thinking_blocks": [{"index": 0, **SIGNED}]}),
            piece({"content": "Yes."}),
            piece({}, "stop"),
        ],
        numbered(*OPENED, *SEALED_THOUGHT, *SAID, closed("completed", SEALING, SAYING)),
    ),
    Recorded(
        "a refusal",
        [piece({"role": "assistant", "refusal": "I can"}), piece({"refusal": "not."}), piece({}, "stop", usage=TOLD)],
        numbered(*OPENED, *REFUSED, closed("completed", REFUSING, usage=USAGE)),
    ),
    Recorded(
        "an answer that got too long",
        [piece({"content": "On and on"}), piece({}, "length")],
        numbered(*OPENED, *LONG, closed("incomplete", LONGER, incomplete_details={"reason": "max_output_tokens"})),
    ),
    Recorded(
        "nothing, because of a filter",
        [piece({"role": "assistant", "content": ""}), piece({}, "content_filter")],
        numbered(*OPENED, closed("incomplete", incomplete_details={"reason": "content_filter"})),
    ),
]
