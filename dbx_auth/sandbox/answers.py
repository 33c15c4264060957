"""What a model has to say, whichever API it says it through: an echo, a call of the tools, or JSON of a schema."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from .calls import Call, Tool, objects, thing, tools, turn, wanted

CREATED = 1_759_000_000

# The value that goes for a parameter of a type, when its schema suggests none.
EXAMPLES: dict[str, Any] = {
    "string": "example",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "null": None,
}
DEPTH = 8

ONE_AT_A_TIME = frozenset({"gpt-oss", "llama", "qwen", "gemma"})
"""Families that call one tool in a turn and no more."""

THINKING_ALOUD = frozenset({"gpt-oss", "qwen", "inkling"})
"""Families that show what they think, asked or not; Claude does when it is asked."""

THOUGHT = "The sandbox thinks of an answer."


class ToolCall(NamedTuple):
    name: str
    arguments: dict[str, Any]


class Reply(NamedTuple):
    """Text, or calls of tools; and what was thought before, where the model shows it."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    thought: str = ""


def compose(call: Call) -> Reply:
    """What the model has to say, whatever the API."""
    now = turn(call)
    thought = THOUGHT if _shows_thoughts(call) else ""
    if now.by_user and (chosen := _chosen(call, now.said)):
        return Reply("", tuple(ToolCall(str(tool.name), arguments(tool.schema)) for tool in chosen), thought)
    schema = wanted(call)
    if isinstance(schema, dict):
        return Reply(json.dumps(example(schema)), thought=thought)
    if now.answered is not None:
        return Reply(f"The tool answered: {now.answered}", thought=thought)
    return Reply(f"You said: {now.said}", thought=thought)


def _shows_thoughts(call: Call) -> bool:
    asked = thing(call.body.get("thinking")).get("type") in ("enabled", "adaptive")
    return call.endpoint.family in THINKING_ALOUD or (call.endpoint.family == "claude" and asked)


def _chosen(call: Call, said: str) -> list[Tool]:
    """The tools to call: the first one, or the first two for a user who says "both" to a model that can."""
    if call.body.get("tool_choice") in ("none", {"type": "none"}):
        return []
    both = call.endpoint.family not in ONE_AT_A_TIME and re.search(r"\bboth\b", said, re.IGNORECASE)
    return tools(call)[: 2 if both else 1]


def arguments(schema: Any) -> dict[str, Any]:
    """Arguments that satisfy what a schema requires, and leave out what it does not."""
    return _properties(schema, thing(schema), DEPTH)


def example(schema: Any) -> Any:
    """A value that satisfies a schema, as far as one can be made up."""
    return _example(schema, thing(schema), DEPTH)


def _properties(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or not depth:
        return {}
    properties, names = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(names, list):
        return {}
    return {name: _example(properties.get(name), root, depth - 1) for name in names if isinstance(name, str)}


def _example(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict):
        return "example"
    for suggestion in ("const", "default"):
        if suggestion in schema:
            return schema[suggestion]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for inner in (
        ([_referred(schema["$ref"], root)] if "$ref" in schema else []),
        schema.get("anyOf"),
        schema.get("oneOf"),
    ):
        if depth and (found := objects(inner)):
            return _example(found[0], root, depth - 1)
    kind = schema.get("type")
    kind = str(kind[0] if isinstance(kind, list) and kind else kind).lower()  # Google writes STRING
    if kind == "object":
        return _properties(schema, root, depth)
    if kind == "array" and depth and isinstance(least := schema.get("minItems"), int):
        return [_example(schema.get("items"), root, depth - 1)] * max(0, min(least, DEPTH))
    return EXAMPLES.get(kind, "example")


def _referred(ref: Any, root: Mapping[str, Any]) -> Any:
    """What a `$ref` into the same document points to, None for any other."""
    found: Any = root
    if not isinstance(ref, str) or not ref.startswith("#"):
        return None
    for word in ref.removeprefix("#").split("/")[1:]:
        found = thing(found).get(word.replace("~1", "/").replace("~0", "~"))
    return found


def usage(call: Call, reply: Reply) -> tuple[int, int]:
    """Words in, words out: close enough to tokens for a sandbox."""
    said = len(reply.text.split()) + sum(len(tool.arguments) for tool in reply.calls)
    return len(turn(call).said.split()) or 1, said or 1


def pieces(text: str) -> list[str]:
    """A text in up to four pieces, so that a client has something to put together."""
    size = -(-len(text) // 4) or 1
    return [text[i : i + size] for i in range(0, len(text), size)]


def new_id(prefix: str) -> str:
    return prefix + uuid.uuid4().hex


def data(event: Mapping[str, Any]) -> bytes:
    """A server-sent event that has no name."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def named(event: Mapping[str, Any]) -> bytes:
    """A server-sent event with its type for a name."""
    return f"event: {event['type']}\n".encode() + data(event)
