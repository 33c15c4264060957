"""A model call, read the same way whichever API it came through.

A body may hold anything, so every reader here shrugs at what has the wrong shape; saying so is `refusals`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .workspace import CHAT, MESSAGES, RESPONSES, Endpoint


class Call(NamedTuple):
    endpoint: Endpoint
    api: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class Tool(NamedTuple):
    """A function the model may call; `given` is the object of the body that declares it."""

    name: Any
    schema: Any
    given: Mapping[str, Any]


class Turn(NamedTuple):
    """What is to be answered: the last thing the user said, or what a tool said since."""

    said: str
    answered: str | None = None
    by_user: bool = True


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a JSON array, and nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def messages(call: Call) -> list[dict[str, Any]]:
    return objects(call.body.get("messages"))


def tools(call: Call) -> list[Tool]:
    """The functions a call offers; tools that run on the server are not among them."""
    offered = objects(call.body.get("tools"))
    if call.api == CHAT:
        given = [tool["function"] for tool in offered if isinstance(tool.get("function"), dict)]
        return [Tool(f.get("name"), f.get("parameters"), f) for f in given]
    if call.api == RESPONSES:
        return [Tool(t.get("name"), t.get("parameters"), t) for t in offered if t.get("type") == "function"]
    return [Tool(t.get("name"), t.get("input_schema"), t) for t in offered if t.get("type", "custom") == "custom"]


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(text for part in objects(content) if isinstance(text := part.get("text"), str))


def turn(call: Call) -> Turn:
    """Where the conversation stands."""
    return _READERS[call.api](call)


def _chat(call: Call) -> Turn:
    history = messages(call)
    said = next((text_of(m.get("content")) for m in reversed(history) if m.get("role") == "user"), "")
    last = history[-1] if history else {}
    if last.get("role") == "tool":
        return Turn(said, answered=text_of(last.get("content")), by_user=False)
    return Turn(said, by_user=last.get("role") == "user")


def _messages(call: Call) -> Turn:
    """In Anthropic's API a tool's answer is a block of a user's message."""
    plain = _chat(call)
    if not plain.by_user:
        return plain
    blocks = objects(messages(call)[-1].get("content"))
    answers = [text_of(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    return Turn(plain.said, answered="".join(answers), by_user=False) if answers else plain


def _responses(call: Call) -> Turn:
    asked = call.body.get("input")
    if isinstance(asked, str):
        return Turn(asked)
    items = objects(asked)
    said = next((text_of(item.get("content")) for item in reversed(items) if item.get("role") == "user"), "")
    last = items[-1] if items else {}
    if last.get("type") == "function_call_output":
        return Turn(said, answered=text_of(last.get("output")), by_user=False)
    return Turn(said, by_user=last.get("role") == "user")


_READERS = {CHAT: _chat, MESSAGES: _messages, RESPONSES: _responses}
