"""Answers in the shape of Anthropic's Messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from . import signatures
from .answers import Reply, compose, named, new_id, pieces, usage
from .calls import Call


def whole(call: Call) -> dict[str, Any]:
    reply = compose(call)
    return {
        **_head(call),
        "content": _blocks(reply),
        "stop_reason": _stop_reason(reply),
        "usage": _usage(call, reply),
    }


def stream(call: Call) -> Iterator[bytes]:
    reply = compose(call)
    counted = _usage(call, reply)
    yield named({"type": "message_start", "message": {**_head(call), "usage": {**counted, "output_tokens": 0}}})
    for index, block in enumerate(_blocks(reply)):
        empty, deltas = _opened(block)
        yield named({"type": "content_block_start", "index": index, "content_block": empty})
        if not index:
            yield named({"type": "ping"})
        for delta in deltas:
            yield named({"type": "content_block_delta", "index": index, "delta": delta})
        yield named({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield named({"type": "message_delta", "delta": ending, "usage": {"output_tokens": counted["output_tokens"]}})
    yield named({"type": "message_stop"})


def _opened(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and what is then added to it."""
    if block["type"] == "tool_use":
        given = pieces(json.dumps(block["input"]))
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in given]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
    return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]


def _head(call: Call) -> dict[str, Any]:
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": call.endpoint.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _blocks(reply: Reply) -> list[dict[str, Any]]:
    thought = [{"type": "thinking", "thinking": reply.thought, "signature": signatures.sign(reply.thought)}]
    used = [
        {"type": "tool_use", "id": new_id("toolu_"), "name": tool.name, "input": tool.arguments} for tool in reply.calls
    ]
    return [*(thought if reply.thought else []), *(used or [{"type": "text", "text": reply.text}])]


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(call: Call, reply: Reply) -> dict[str, int]:
    asked, answered = usage(call, reply)
    return {"input_tokens": asked, "output_tokens": answered}
