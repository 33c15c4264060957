"""Answers in the shape of Chat Completions, with what each family has of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from . import signatures
from .answers import CREATED, Reply, compose, data, new_id, pieces, usage
from .calls import Call, thing

TOOL_CALL = "databricks-tool-call"
"""What Llama calls each tool; the tool's own name is among the arguments, and the answer just stops."""


def whole(call: Call) -> dict[str, Any]:
    reply = compose(call)
    message: dict[str, Any] = {"role": "assistant", "content": _content(call, reply)}
    if _thinks_apart(call):
        message["reasoning_content"] = reply.thought
    if reply.calls:
        message["tool_calls"] = _tool_calls(call, reply)
    return {
        "id": new_id("chatcmpl_"),
        "object": "chat.completion",
        "created": CREATED,
        "model": call.endpoint.name,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(call, reply)}],
        "usage": _usage(call, reply),
    }


def stream(call: Call) -> Iterator[bytes]:
    reply = compose(call)
    head = {
        "id": new_id("chatcmpl_"),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": call.endpoint.name,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    yield from map(chunk, _deltas(call, reply))
    if call.endpoint.family != "inkling":  # which leaves it out: databricks/unity-gateway#215
        yield chunk({}, _finish(call, reply))
    if thing(call.body.get("stream_options")).get("include_usage") is True:
        yield data({**head, "choices": [], "usage": _usage(call, reply)})
    yield b"data: [DONE]\n\n"


def _deltas(call: Call, reply: Reply) -> Iterator[dict[str, Any]]:
    if _thinks_apart(call):
        yield from ({"reasoning_content": piece} for piece in pieces(reply.thought))
    elif reply.thought:
        yield {"content": [_thought(call, reply)]}
    for index, tool in enumerate(_tool_calls(call, reply)):
        function = {"name": tool["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{**tool, "index": index, "function": function}]}
        for piece in pieces(tool["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    for piece in pieces(reply.text):
        yield {"content": [{"type": "text", "text": piece}] if call.endpoint.family == "gemini" else piece}
    if reply.text and call.endpoint.family == "gemini":
        yield {"content": [{"type": "text", "text": "", "thoughtSignature": signatures.sign(reply.text)}]}


def _content(call: Call, reply: Reply) -> Any:
    """Gemini signs its parts, and who shows thoughts puts them first; the others just send text."""
    text = [{"type": "text", "text": reply.text}] if reply.text else []
    if call.endpoint.family == "gemini":
        return [{**part, "thoughtSignature": signatures.sign(reply.text)} for part in text] or None
    if reply.thought and not _thinks_apart(call):
        return [_thought(call, reply), *text]
    return reply.text or None


def _thinks_apart(call: Call) -> bool:
    return call.endpoint.family == "inkling"


def _thought(call: Call, reply: Reply) -> dict[str, Any]:
    signed = {"signature": signatures.sign(reply.thought)} if call.endpoint.family == "claude" else {}
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": reply.thought, **signed}]}


def _tool_calls(call: Call, reply: Reply) -> list[dict[str, Any]]:
    """Of several calls in one turn, Gemini signs the first."""
    made = []
    for name, arguments in reply.calls:
        if _names_none(call):
            name, arguments = TOOL_CALL, {"name": name} | {k: v for k, v in arguments.items() if k != "name"}
        function = {"name": name, "arguments": json.dumps(arguments)}
        made.append({"id": new_id("call_"), "type": "function", "function": function})
    if made and call.endpoint.family == "gemini":
        made[0]["thoughtSignature"] = signatures.sign(made[0]["function"]["arguments"])  # type: ignore[index]
    return made


def _names_none(call: Call) -> bool:
    return call.endpoint.family == "llama"


def _finish(call: Call, reply: Reply) -> str:
    return "tool_calls" if reply.calls and not _names_none(call) else "stop"


def _usage(call: Call, reply: Reply) -> dict[str, int]:
    asked, answered = usage(call, reply)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
