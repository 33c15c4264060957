"""What the models answer, whole or as a stream: a module for each API, and here what needs none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from . import chat, generate, messages, responses
from .calls import Call
from .workspace import CHAT, EMBEDDINGS, GENERATE, MESSAGES, PREDICT, RESPONSES

DIMENSIONS = 1024


def whole(call: Call) -> dict[str, Any]:
    """The answer in one piece."""
    return _WHOLE[call.api](call)


def stream(call: Call) -> Iterator[bytes]:
    """The answer as server-sent events."""
    return _STREAMS[call.api](call)


def streamable(call: Call) -> bool:
    return call.streamed and call.api in _STREAMS


def _embeddings(call: Call) -> dict[str, Any]:
    """The same text always has the same vector, and another text another one."""
    given = call.body["input"]
    texts = given if isinstance(given, list) else [given]
    words = sum(len(text.split()) for text in texts)
    return {
        "object": "list",
        "model": call.endpoint.name,
        "data": [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(texts)],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }


def _vector(text: str) -> list[float]:
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(DIMENSIONS)
    return [(byte - 127.5) / 127.5 for byte in digest]


def _predictions(call: Call) -> dict[str, Any]:
    """One number for each row, however the rows were sent."""
    body = call.body
    split = body.get("dataframe_split")
    rows = split.get("data") if isinstance(split, dict) else None
    for name in ("dataframe_records", "instances", "inputs"):
        rows = body.get(name, rows)
    return {"predictions": [0.5] * (len(rows) if isinstance(rows, list) else 1)}


_WHOLE: dict[str, Callable[[Call], dict[str, Any]]] = {
    CHAT: chat.whole,
    RESPONSES: responses.whole,
    MESSAGES: messages.whole,
    GENERATE: generate.whole,
    EMBEDDINGS: _embeddings,
    PREDICT: _predictions,
}
_STREAMS: dict[str, Callable[[Call], Iterator[bytes]]] = {
    CHAT: chat.stream,
    RESPONSES: responses.stream,
    MESSAGES: messages.stream,
    GENERATE: generate.stream,
}
