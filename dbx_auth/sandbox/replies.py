"""What the models answer: an echo, or one call of the first tool, whole or as a stream, in each API's own shape."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .calls import Call, tools, turn
from .workspace import CHAT, EMBEDDINGS, MESSAGES, PREDICT, RESPONSES

CREATED = 1_759_000_000

# The value that goes for a parameter of a type, when its schema suggests none.
EXAMPLES: dict[str, Any] = {"string": "example", "integer": 1, "number": 1.5, "boolean": True, "array": []}
DEPTH = 8

DIMENSIONS = 1024


class Reply(NamedTuple):
    """Text, or a call of the tool of that name."""

    text: str
    tool: str = ""
    arguments: dict[str, Any] = {}


def whole(call: Call) -> dict[str, Any]:
    """The answer in one piece."""
    return _WHOLE[call.api](call)


def stream(call: Call) -> Iterator[bytes]:
    """The answer as server-sent events."""
    return _STREAMS[call.api](call)


def streamable(call: Call) -> bool:
    return call.api in _STREAMS and call.body.get("stream") is True


def compose(call: Call) -> Reply:
    """What the model has to say, whatever the API."""
    now = turn(call)
    if now.answered is not None:
        return Reply(f"The tool answered: {now.answered}")
    offered = tools(call)
    if offered and now.by_user and call.body.get("tool_choice") not in ("none", {"type": "none"}):
        return Reply("", str(offered[0].name), arguments(offered[0].schema))
    return Reply(f"You said: {now.said}")


def arguments(schema: Any, depth: int = DEPTH) -> dict[str, Any]:
    """Arguments that satisfy what a schema requires, and leave out what it does not."""
    if not isinstance(schema, dict) or not depth:
        return {}
    properties, names = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(names, list):
        return {}
    return {name: _example(properties.get(name), depth - 1) for name in names if isinstance(name, str)}


def _example(schema: Any, depth: int) -> Any:
    if not isinstance(schema, dict):
        return "example"
    for suggestion in ("const", "default"):
        if suggestion in schema:
            return schema[suggestion]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    return arguments(schema, depth) if kind == "object" else EXAMPLES.get(str(kind), "example")


# Chat Completions


def _chat(call: Call) -> dict[str, Any]:
    reply = compose(call)
    message: dict[str, Any] = {"role": "assistant", "content": _content(call, reply.text)}
    if reply.tool:
        message |= {"content": None, "tool_calls": [_tool_call(call, reply)]}
    return {
        "id": _id("chatcmpl_"),
        "object": "chat.completion",
        "created": CREATED,
        "model": call.endpoint.name,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
        "usage": _chat_usage(call, reply),
    }


def _chat_stream(call: Call) -> Iterator[bytes]:
    reply = compose(call)
    head = {"id": _id("chatcmpl_"), "object": "chat.completion.chunk", "created": CREATED, "model": call.endpoint.name}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    if reply.tool:
        opened = _tool_call(call, reply)
        pieces = _pieces(opened["function"]["arguments"])
        yield chunk({"tool_calls": [{**opened, "index": 0, "function": {"name": reply.tool, "arguments": ""}}]})
        yield from (chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces)
    else:
        yield from (chunk({"content": piece}) for piece in _content_pieces(call, reply.text))
    yield chunk({}, _finish(reply))
    options = call.body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        yield _data({**head, "choices": [], "usage": _chat_usage(call, reply)})
    yield b"data: [DONE]\n\n"


def _content(call: Call, text: str) -> Any:
    """Gemini signs its parts, and reasoning models put their thoughts first; the others just send text."""
    if call.endpoint.family == "gemini":
        return [{"type": "text", "text": text, "thoughtSignature": _signature(text)}]
    if call.endpoint.family == "gpt-oss":
        return [_thought(), {"type": "text", "text": text}]
    return text


def _content_pieces(call: Call, text: str) -> Iterator[Any]:
    pieces = _pieces(text)
    if call.endpoint.family == "gemini":
        for piece in pieces:
            yield [{"type": "text", "text": piece}]
        yield [{"type": "text", "text": "", "thoughtSignature": _signature(text)}]
        return
    if call.endpoint.family == "gpt-oss":
        yield [_thought()]
    yield from pieces


def _thought() -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": "The sandbox thinks of an answer."}]}


def _signature(text: str) -> str:
    return "sandbox" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _tool_call(call: Call, reply: Reply) -> dict[str, Any]:
    given = json.dumps(reply.arguments)
    signed = {"thoughtSignature": _signature(given)} if call.endpoint.family == "gemini" else {}
    function = {"name": reply.tool, "arguments": given}
    return {"id": _id("call_"), "type": "function", "function": function, **signed}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool else "stop"


def _chat_usage(call: Call, reply: Reply) -> dict[str, int]:
    asked, answered = _usage(call, reply)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


# Responses


def _responses(call: Call) -> dict[str, Any]:
    reply = compose(call)
    return _response(call, _id("resp_"), [_output_item(reply)], reply)


def _responses_stream(call: Call) -> Iterator[bytes]:
    """Every event repeats what the next one adds to, and they are numbered."""
    reply = compose(call)
    response_id, item = _id("resp_"), _output_item(reply)
    place = {"item_id": item["id"], "output_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(call, response_id, [])},
        {"type": "response.in_progress", "response": _response(call, response_id, [])},
    ]
    if reply.tool:
        opened = {**item, "status": "in_progress", "arguments": ""}
        events += [{"type": "response.output_item.added", "output_index": 0, "item": opened}]
        events += [
            {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            for piece in _pieces(item["arguments"])
        ]
        events += [{"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]}]
    else:
        [part] = item["content"]
        opened = {**item, "status": "in_progress", "content": []}
        spot = {**place, "content_index": 0}
        events += [
            {"type": "response.output_item.added", "output_index": 0, "item": opened},
            {"type": "response.content_part.added", **spot, "part": {**part, "text": ""}},
        ]
        events += [{"type": "response.output_text.delta", **spot, "delta": piece} for piece in _pieces(reply.text)]
        events += [
            {"type": "response.output_text.done", **spot, "text": reply.text},
            {"type": "response.content_part.done", **spot, "part": part},
        ]
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": _response(call, response_id, [item], reply)},
    ]
    for number, event in enumerate(events):
        yield _event({**event, "sequence_number": number})


def _response(call: Call, id: str, output: list[dict[str, Any]], reply: Reply | None = None) -> dict[str, Any]:
    """A response object: still in progress without a reply, completed with one."""
    asked, answered = _usage(call, reply) if reply else (0, 0)
    usage = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + answered,
    }
    return {
        "id": id,
        "object": "response",
        "created_at": CREATED,
        "status": "completed" if reply else "in_progress",
        "model": call.endpoint.name,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": call.body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": call.body.get("tools") or [],
        "top_p": 1.0,
        "usage": usage if reply else None,
    }


def _output_item(reply: Reply) -> dict[str, Any]:
    if reply.tool:
        given = json.dumps(reply.arguments)
        named = {"call_id": _id("call_"), "name": reply.tool, "arguments": given}
        return {"type": "function_call", "id": _id("fc_"), "status": "completed", **named}
    part = {"type": "output_text", "text": reply.text, "annotations": []}
    return {"type": "message", "id": _id("msg_"), "role": "assistant", "status": "completed", "content": [part]}


# Anthropic Messages


def _messages(call: Call) -> dict[str, Any]:
    reply = compose(call)
    return {
        **_message_head(call),
        "content": [_block(reply)],
        "stop_reason": _stop_reason(reply),
        "usage": _messages_usage(call, reply),
    }


def _messages_stream(call: Call) -> Iterator[bytes]:
    reply = compose(call)
    block = _block(reply)
    empty = {**block, "input": {}} if reply.tool else {**block, "text": ""}
    kind, key = ("input_json_delta", "partial_json") if reply.tool else ("text_delta", "text")
    usage = _messages_usage(call, reply)
    yield _event({"type": "message_start", "message": {**_message_head(call), "usage": {**usage, "output_tokens": 0}}})
    yield _event({"type": "content_block_start", "index": 0, "content_block": empty})
    yield _event({"type": "ping"})
    for piece in _pieces(json.dumps(reply.arguments) if reply.tool else reply.text):
        yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: piece}})
    yield _event({"type": "content_block_stop", "index": 0})
    ending = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}})
    yield _event({"type": "message_stop"})


def _message_head(call: Call) -> dict[str, Any]:
    return {
        "id": _id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": call.endpoint.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(reply: Reply) -> dict[str, Any]:
    if reply.tool:
        return {"type": "tool_use", "id": _id("toolu_"), "name": reply.tool, "input": reply.arguments}
    return {"type": "text", "text": reply.text}


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if reply.tool else "end_turn"


def _messages_usage(call: Call, reply: Reply) -> dict[str, int]:
    asked, answered = _usage(call, reply)
    return {"input_tokens": asked, "output_tokens": answered}


# Embeddings and classic models


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
    CHAT: _chat,
    RESPONSES: _responses,
    MESSAGES: _messages,
    EMBEDDINGS: _embeddings,
    PREDICT: _predictions,
}
_STREAMS: dict[str, Callable[[Call], Iterator[bytes]]] = {
    CHAT: _chat_stream,
    RESPONSES: _responses_stream,
    MESSAGES: _messages_stream,
}


def _usage(call: Call, reply: Reply) -> tuple[int, int]:
    """Words in, words out: close enough to tokens for a sandbox."""
    return len(turn(call).said.split()) or 1, len(reply.text.split()) + len(reply.arguments) or 1


def _pieces(text: str) -> list[str]:
    """A text in up to four pieces, so that a client has something to put together."""
    size = -(-len(text) // 4) or 1
    return [text[i : i + size] for i in range(0, len(text), size)]


def _id(prefix: str) -> str:
    return prefix + uuid.uuid4().hex


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _data(event)
