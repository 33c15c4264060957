"""Streams as the real APIs send them, written down as data, and what each comes to in the other API."""

from __future__ import annotations

import json
from typing import Any

from unit.conversations import Json, Recorded

# ---- Messages to chat ------------------------------------------------------------------------------------------------

MESSAGE: Json = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
}


def started(**usage: int) -> Json:
    return {"type": "message_start", "message": {**MESSAGE, "usage": {"output_tokens": 1, **usage}}}


def block(index: int, block: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text_block(index: int, *pieces: str) -> list[Json]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def tool_block(index: int, id: str, name: str, *pieces: str) -> list[Json]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": "tool_use", "id": id, "name": name, "input": {}}, *deltas)


def ended(reason: str, output: int, **more: Any) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}}, {"type": "message_stop"}]


def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "msg_01", "created": 0, "model": "claude-opus-5-5", "object": "chat.completion.chunk"}
    return {**head, "choices": [choice], **more}


def called(index: int, id: str, name: str) -> Json:
    function = {"name": name, "arguments": ""}
    return chunk({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})


def argued(index: int, piece: str) -> Json:
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})


def used(asked: int, answered: int, cached: int = 0, thought: int = 0) -> Json:
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


OPENED = chunk({"role": "assistant", "content": ""})
PING = {"type": "ping"}
THOUGHT: Json = {"type": "thinking", "thinking": "", "signature": ""}
SIGNED = [
    {"type": "thinking_delta", "thinking": "Two towns,"},
    {"type": "thinking_delta", "thinking": " two calls."},
    {"type": "signature_delta", "signature": "EqQB"},
]

TO_CHAT = [
    Recorded(
        "thinks, speaks and calls two tools",
        [
            started(input_tokens=20, cache_read_input_tokens=80, cache_creation_input_tokens=0),
            *block(0, THOUGHT, *SIGNED),
            PING,
            *block(1, {"type": "redacted_thinking", "data": "c2VjcmV0"}),
            *text_block(2, "I will", " look."),
            *tool_block(3, "toolu_1", "weather", "", '{"city": "Ly', 'on"}'),
            *tool_block(4, "toolu_2", "weather", '{"city": "Riga"}'),
            *ended("tool_use", 60),
        ],
        [
            OPENED,
            chunk({"reasoning_content": "Two towns,"}),
            chunk({"reasoning_content": " two calls."}),
            chunk(
                {"thinking_blocks": [{"index": 0, **THOUGHT, "thinking": "Two towns, two calls.", "signature": "EqQB"}]}
            ),
            chunk({"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "c2VjcmV0"}]}),
            chunk({"content": "I will"}),
            chunk({"content": " look."}),
            called(0, "toolu_1", "weather"),
            argued(0, '{"city": "Ly'),
            argued(0, 'on"}'),
            called(1, "toolu_2", "weather"),
            argued(1, '{"city": "Riga"}'),
            chunk({}, "tool_calls", usage=used(100, 60, 80)),
        ],
    ),
    Recorded(
        "calls a tool that takes nothing",
        [started(input_tokens=5), *tool_block(0, "toolu_1", "now", ""), *ended("tool_use", 9)],
        [OPENED, called(0, "toolu_1", "now"), argued(0, "{}"), chunk({}, "tool_calls", usage=used(5, 9))],
    ),
    Recorded(
        "has no room for the rest",
        [started(input_tokens=5), *text_block(0, "Once upon"), *ended("max_tokens", 2)],
        [OPENED, chunk({"content": "Once upon"}), chunk({}, "length", usage=used(5, 2))],
    ),
    Recorded(
        "refuses",
        [
            started(input_tokens=5),
            *text_block(0, "I"),
            *ended("refusal", 1, stop_details={"type": "refusal", "category": "cyber", "explanation": "No malware."}),
        ],
        [OPENED, chunk({"content": "I"}), chunk({"refusal": "No malware."}, "content_filter", usage=used(5, 1))],
    ),
    Recorded(
        "stops where it was told to",
        [started(input_tokens=5), *text_block(0, "one, two"), *ended("stop_sequence", 4)],
        [OPENED, chunk({"content": "one, two"}), chunk({}, "stop", usage=used(5, 4))],
    ),
    Recorded(
        "answers what satisfies a schema",
        [
            started(input_tokens=5),
            *tool_block(0, "toolu_1", "final_json_answer", '{"a":', " 1}"),
            *ended("tool_use", 9),
        ],
        [OPENED, chunk({"content": '{"a":'}), chunk({"content": " 1}"}), chunk({}, "stop", usage=used(5, 9))],
    ),
    Recorded(
        "searches the web on Anthropic's side",
        [
            started(input_tokens=5),
            *block(
                0,
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
            ),
            *block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
            *text_block(2, "Found."),
            *ended("end_turn", 9),
        ],
        [OPENED, chunk({"content": "Found."}), chunk({}, "stop", usage=used(5, 9))],
    ),
]

# ---- chat to Messages ------------------------------------------------------------------------------------------------

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-oss"}


def said(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def telling(usage: Json) -> Json:
    return {**HEAD, "choices": [], "usage": usage}


def call(index: int, id: str, name: str, arguments: str = "") -> Json:
    function = {"name": name, "arguments": arguments}
    return said({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})


def piece(index: int, arguments: str) -> Json:
    return said({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


ASKED = {"model": "gpt-oss", "max_tokens": 100, "messages": [{"role": "user", "content": "1234" * 7}]}
ROLE = said({"role": "assistant", "content": ""})
STARTED = {
    "type": "message_start",
    "message": {
        **MESSAGE,
        "id": "chatcmpl-1",
        "model": "gpt-oss",
        "usage": {"input_tokens": 7, "output_tokens": 0},
    },
}
TOLD = {"input_tokens": 20, "output_tokens": 60, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 0}


def closing(reason: str, usage: Json) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


NOT_TOLD = {"input_tokens": 7, "output_tokens": 0}
LYON, RIGA = json.dumps({"city": "Lyon"}), json.dumps({"city": "Riga"})

FROM_CHAT = [
    Recorded(
        "thinks, speaks and calls two tools",
        [
            ROLE,
            said({"reasoning_content": "Two towns,"}),
            said({"reasoning_content": " two calls."}),
            said({"content": "I will"}),
            said({"content": " look."}),
            call(0, "call_1", "weather"),
            piece(0, LYON[:8]),
            piece(0, LYON[8:]),
            call(1, "call_2", "weather"),
            piece(1, RIGA),
            said({}, "tool_calls"),
            telling(used(100, 60, 80, 10)),
        ],
        [
            STARTED,
            *block(
                0,
                THOUGHT,
                {"type": "thinking_delta", "thinking": "Two towns,"},
                {"type": "thinking_delta", "thinking": " two calls."},
            ),
            *text_block(1, "I will", " look."),
            *tool_block(2, "call_1", "weather", LYON[:8], LYON[8:]),
            *tool_block(3, "call_2", "weather", RIGA),
            *closing("tool_use", {**TOLD, "output_tokens_details": {"thinking_tokens": 10}}),
        ],
    ),
    Recorded(
        "gives two calls in turns",
        [
            ROLE,
            call(0, "call_1", "weather", LYON[:4]),
            call(1, "call_2", "weather", RIGA[:4]),
            piece(0, LYON[4:]),
            piece(1, RIGA[4:]),
            said({}, "tool_calls"),
        ],
        [
            STARTED,
            *tool_block(0, "call_1", "weather", LYON[:4], LYON[4:]),
            *tool_block(1, "call_2", "weather", RIGA),
            *closing("tool_use", NOT_TOLD),
        ],
    ),
    Recorded(
        "gives whole calls that all have the same index",
        [call(0, "a", "weather", LYON), call(0, "b", "weather", RIGA), said({}, "tool_calls")],
        [
            STARTED,
            *tool_block(0, "a", "weather", LYON),
            *tool_block(1, "b", "weather", RIGA),
            *closing("tool_use", NOT_TOLD),
        ],
    ),
    Recorded(
        "calls a tool that takes nothing, and says stop",
        [ROLE, call(0, "call_1", "now"), said({}, "stop")],
        [STARTED, *tool_block(0, "call_1", "now"), *closing("tool_use", NOT_TOLD)],
    ),
    Recorded(
        "has no room for the rest",
        [ROLE, said({"content": "Once upon"}), said({}, "length", usage=used(5, 2))],
        [
            STARTED,
            *text_block(0, "Once upon"),
            *closing(
                "max_tokens",
                {
                    "input_tokens": 5,
                    "output_tokens": 2,
                    "cache_read_input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "output_tokens_details": {"thinking_tokens": 0},
                },
            ),
        ],
    ),
    Recorded(
        "refuses",
        [ROLE, said({"refusal": "I can't"}), said({"refusal": " do that."}), said({}, "stop")],
        [STARTED, *text_block(0, "I can't", " do that."), *closing("refusal", NOT_TOLD)],
    ),
    Recorded(
        "is filtered",
        [ROLE, said({"content": "The"}), said({}, "content_filter")],
        [STARTED, *text_block(0, "The"), *closing("refusal", NOT_TOLD)],
    ),
]
