"""Answers, whole and as streams, as clients expect them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from . import walk
from .row import Seen
from .walk import Body, Message

TOOL_CALL = "databricks-tool-call"


def _plain_content(message: Message) -> Message:
    """The text of a content array as text, what the model thought beside it."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    text = "".join(_texts(parts, ("text", "output_text", None)))
    thought = "".join(_texts(parts, ("reasoning", "thinking", "summary_text")))
    content = text or (None if message.get("tool_calls") else "")
    known = message.get("reasoning_content")
    return {**message, "content": content, **({"reasoning_content": thought} if thought and not known else {})}


def _texts(parts: Iterable[object], kinds: tuple[str | None, ...]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str) and None in kinds:
            yield part
        if not isinstance(part, dict) or part.get("type") not in kinds:
            continue
        for name in ("text", "thinking"):
            if isinstance(part.get(name), str):
                yield part[name]
        if isinstance(part.get("summary"), list):
            yield from _texts(part["summary"], kinds)


def content_parts(body: Body) -> Body:
    return walk.choices(body, "message", _plain_content)


def content_parts_of_an_event(event: Body, seen: Seen) -> Body:
    return walk.choices(event, "delta", _plain_content)


def _real_name(call: Body) -> Body:
    """A call under the name that is in its arguments."""
    function = call.get("function")
    if not isinstance(function, dict) or function.get("name") != TOOL_CALL:
        return call
    try:
        given = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return call
    if not isinstance(given, dict) or not isinstance(name := given.get("name"), str):
        return call
    rest = walk.without(given, "name")
    inner = rest.get("arguments") if rest.keys() == {"arguments"} else rest
    arguments = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
    return {**call, "function": {**function, "name": name, "arguments": arguments}}


def databricks_tool_call(body: Body) -> Body:
    return walk.choices(body, "message", lambda message: walk.every(message, "tool_calls", _real_name))


def databricks_tool_call_of_an_event(event: Body, seen: Seen) -> Body:
    """Held back until its arguments are whole, because its name is among them."""

    def choice(given: Body) -> Body:
        number = walk.number(given.get("index"))
        changed = walk.inside(given, "delta", lambda d: walk.every(d, "tool_calls", lambda x: call(x, number)))
        if changed.get("finish_reason") is None:
            return changed
        left = [seen.names.pop(key) for key in sorted(seen.names) if key[0] == number]
        if not left:
            return changed
        delta = changed["delta"] if isinstance(changed.get("delta"), dict) else {}
        return {**changed, "delta": {**delta, "tool_calls": [*walk.objects(delta.get("tool_calls")), *left]}}

    def call(given: Body, number: int) -> Body | None:
        key = (number, walk.number(given.get("index")))
        function = given["function"] if isinstance(given.get("function"), dict) else {}
        if function.get("name") == TOOL_CALL:
            seen.names[key] = {**given, "function": {**function, "arguments": function.get("arguments") or ""}}
        elif key in seen.names:
            held = seen.names[key]
            more = function.get("arguments")
            whole = held["function"]["arguments"] + (more if isinstance(more, str) else "")
            seen.names[key] = {**held, "function": {**held["function"], "arguments": whole}}
        else:
            return given
        found = seen.names[key]
        if not found["function"]["arguments"].rstrip().endswith("}") or (real := _real_name(found)) is found:
            return None
        del seen.names[key]
        return real

    return walk.every(event, "choices", choice)


def finish_reason(body: Body) -> Body:
    def choice(given: Body) -> Body:
        message = given.get("message")
        calls = isinstance(message, dict) and walk.calls(message)
        return {**given, "finish_reason": "tool_calls"} if calls and given.get("finish_reason") == "stop" else given

    return walk.every(body, "choices", choice)


def finish_reason_of_an_event(event: Body, seen: Seen) -> Body:
    def choice(given: Body) -> Body:
        number, delta = walk.number(given.get("index")), given.get("delta")
        if isinstance(delta, dict) and walk.calls(delta):
            seen.calling.add(number)
        wrong = given.get("finish_reason") == "stop" and number in seen.calling
        return {**given, "finish_reason": "tool_calls"} if wrong else given

    return walk.every(event, "choices", choice)


def no_finish_reason(body: Body) -> Body:
    def choice(given: Body) -> Body:
        message = given.get("message")
        if given.get("finish_reason") is not None or not isinstance(message, dict):
            return given
        return {**given, "finish_reason": "tool_calls" if walk.calls(message) else "stop"}

    return walk.every(body, "choices", choice)


def open_choices(event: Body, seen: Seen) -> Body:
    seen.head = seen.head or {name: event[name] for name in ("id", "object", "created", "model") if name in event}
    for choice in walk.objects(event.get("choices")):
        number, delta = walk.number(choice.get("index")), choice.get("delta")
        if isinstance(delta, dict) and walk.calls(delta):
            seen.calling.add(number)
        (seen.open.add if choice.get("finish_reason") is None else seen.open.discard)(number)
    return event


def missing_finish_reason(seen: Seen) -> Body | None:
    ends: list[Body] = [
        {"index": number, "delta": {}, "finish_reason": "tool_calls" if number in seen.calling else "stop"}
        for number in sorted(seen.open)
    ]
    return {**seen.head, "choices": ends} if ends else None
