"""Blocks of Messages, as requests, answers and streams all know them."""

from __future__ import annotations

from dbx_auth.translate.common import Body, arguments, read_json, string

ANSWER = "final_json_answer"
"""The tool whose input is the answer, where the answer has to satisfy a schema."""

FAILED = "[Tool error] "
"""Stands before the output of a tool that failed: a `tool` message has no field that says so."""

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
"""The words of `tool_choice`, and those that chat has for them."""


def is_beside_the_text(block: Body) -> bool:
    """Whether it is a thought, a call, or what came of a call on Anthropic's side."""
    kind = string(block.get("type"))
    return kind.endswith(("thinking", "reasoning", "tool_use", "_tool_result"))


def signed(block: Body) -> Body | None:
    """A thought as Anthropic wants it back, if it is one of Anthropic's."""
    if block.get("type") == "redacted_thinking" and isinstance(block.get("data"), str):
        return {"type": "redacted_thinking", "data": block["data"]}
    if not string(block.get("signature")) or not isinstance(block.get("thinking"), str):
        return None
    return {"type": "thinking", "thinking": block["thinking"], "signature": block["signature"]}


def tool_use(id: str, function: Body) -> Body:
    """A call of this function of chat's as a block."""
    return {"type": "tool_use", "id": id, "name": string(function.get("name")), "input": _input(arguments(function))}


def _input(given: str) -> Body:
    """The arguments of a call as an object; what is none, because a model wrote it, as the one thing in it."""
    read = read_json(given) if given.strip() else {}
    return read if isinstance(read, dict) else {"arguments": given}
