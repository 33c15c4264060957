"""Answers in the shape of Google's generateContent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import signatures
from .answers import Reply, compose, data, new_id, pieces, usage
from .calls import Call

Part = dict[str, Any]


def whole(call: Call) -> dict[str, Any]:
    reply = compose(call)
    parts = _calls(reply) or [{"text": reply.text, "thoughtSignature": signatures.sign(reply.text)}]
    return _chunk(call, new_id(""), parts, reply)


def stream(call: Call) -> Iterator[bytes]:
    """Each event is an answer of its own, with what has come since the last; the last one has the end."""
    reply, response_id = compose(call), new_id("")
    texts = [{"text": piece} for piece in pieces(reply.text)]
    last = {"text": "", "thoughtSignature": signatures.sign(reply.text)}
    *some, end = _calls(reply) or [*texts, last]
    yield from (data(_chunk(call, response_id, [part])) for part in some)
    yield data(_chunk(call, response_id, [end], reply))


def _calls(reply: Reply) -> list[Part]:
    """Of several calls in one turn, the first is signed."""
    made: list[Part] = [{"functionCall": {"name": tool.name, "args": tool.arguments}} for tool in reply.calls]
    return [{**made[0], "thoughtSignature": signatures.sign(str(made[0]))}, *made[1:]] if made else []


def _chunk(call: Call, id: str, parts: list[Part], reply: Reply | None = None) -> dict[str, Any]:
    """An answer, or a part of one; with the reply it is the last."""
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    answer: dict[str, Any] = {"candidates": [candidate], "modelVersion": call.endpoint.name, "responseId": id}
    if reply:
        asked, answered = usage(call, reply)
        candidate["finishReason"] = "STOP"
        counted = {"promptTokenCount": asked, "candidatesTokenCount": answered, "totalTokenCount": asked + answered}
        answer["usageMetadata"] = counted
    return answer
