"""Answers in the shape of OpenAI's Responses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from . import signatures
from .answers import CREATED, Reply, ToolCall, compose, named, new_id, pieces, usage
from .calls import Call

Item = dict[str, Any]

SEALED = "reasoning.encrypted_content"
"""What a request includes to be given the thoughts, which nobody else can read."""

RENAMED = re.compile(r"([a-z]+_[0-9a-f]{32})[0-9a-f]{32}(_[0-9a-f]{32}){4}")
"""An id that was made up anew, which begins with the first one."""


def whole(call: Call) -> dict[str, Any]:
    reply = compose(call)
    return _response(call, new_id("resp_"), [_renamed(call, item) for item in _items(call, reply)], reply)


def stream(call: Call) -> Iterator[bytes]:
    """Every event repeats what the next one adds to, and they are numbered."""
    reply = compose(call)
    response_id, items = new_id("resp_"), _items(call, reply)
    output = [_renamed(call, item) for item in items]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(call, response_id, [])},
        {"type": "response.in_progress", "response": _response(call, response_id, [])},
        *(event for index, item in enumerate(items) for event in _item_events(call, index, item)),
        {"type": "response.completed", "response": _response(call, response_id, output, reply)},
    ]
    for number, event in enumerate(events):
        yield named({**event, "sequence_number": number})


def _item_events(call: Call, index: int, item: Item) -> Iterator[dict[str, Any]]:
    place = {"output_index": index}
    inner: list[dict[str, Any]]
    if item["type"] == "function_call":
        kind = "response.function_call_arguments"
        begun = {**item, "status": "in_progress", "arguments": ""}
        inner = [{"type": f"{kind}.delta", "delta": piece} for piece in pieces(item["arguments"])]
        inner += [{"type": f"{kind}.done", "arguments": item["arguments"]}]
    elif item["type"] == "reasoning":
        begun, inner = item, []
    else:
        [part] = item["content"]
        begun = {**item, "status": "in_progress", "content": []}
        spot = {"content_index": 0}
        inner = [{"type": "response.content_part.added", **spot, "part": {**part, "text": ""}}]
        inner += [{"type": "response.output_text.delta", **spot, "delta": piece} for piece in pieces(part["text"])]
        inner += [{"type": "response.output_text.done", **spot, "text": part["text"]}]
        inner += [{"type": "response.content_part.done", **spot, "part": part}]
    yield {"type": "response.output_item.added", **place, "item": _renamed(call, begun)}
    yield from ({**event, **place, "item_id": _renamed(call, item)["id"]} for event in inner)
    yield {"type": "response.output_item.done", **place, "item": _renamed(call, item)}


def _renamed(call: Call, item: Item) -> Item:
    """The item as its next event has it: Codex makes up another id each time, longer than any it would take back."""
    return {**item, "id": "".join(map(new_id, [item["id"], *"____"]))} if call.endpoint.family == "codex" else item


def recognized(body: dict[str, Any]) -> dict[str, Any]:
    """A request in which every item that was renamed has its first id again.

    The AI Gateway does so for Codex, which sends back each id that it was given: their lengths are in
    https://github.com/databricks/unity-gateway/issues/99, that all are sent in https://github.com/openai/codex/pull/34645
    """
    items = body.get("input")
    return {**body, "input": [_recognized(item) for item in items]} if isinstance(items, list) else body


def _recognized(item: Any) -> Any:
    renamed = RENAMED.fullmatch(str(item.get("id"))) if isinstance(item, dict) else None
    return {**item, "id": renamed[1]} if renamed else item


def _response(call: Call, id: str, output: list[Item], reply: Reply | None = None) -> dict[str, Any]:
    """A response object: still in progress without a reply, completed with one."""
    asked, answered = usage(call, reply) if reply else (0, 0)
    counted = {
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
        "usage": counted if reply else None,
    }


def _items(call: Call, reply: Reply) -> list[Item]:
    said = [_function_call(tool) for tool in reply.calls] or [_message(reply.text)]
    include = call.body.get("include")
    return [_thought(reply), *said] if isinstance(include, list) and SEALED in include else said


def _thought(reply: Reply) -> Item:
    """What it has thought, sealed, for whoever keeps the conversation himself; there is nothing in it to be read."""
    sealed = signatures.sign(reply.text or str(reply.calls))
    return {"type": "reasoning", "id": new_id("rs_"), "summary": [], "encrypted_content": sealed}


def _function_call(tool: ToolCall) -> Item:
    given = {"call_id": new_id("call_"), "name": tool.name, "arguments": json.dumps(tool.arguments)}
    return {"type": "function_call", "id": new_id("fc_"), "status": "completed", **given}


def _message(text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": new_id("msg_"), "role": "assistant", "status": "completed", "content": [part]}
