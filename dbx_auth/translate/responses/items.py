"""Items of Responses: what the model said, thought and called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dbx_auth.fixes.walk import Message
from dbx_auth.translate.common import Body, assistant_message, dumped, objects, read_json, text_in, thing, tool_call

from .tools import flat

Item = Body

CALLS = ("function_call", "custom_tool_call")
"""The types of items that call a tool of the client's."""

APART = "\n\n"
"""Stands between two texts that are items or parts of their own, and become one in chat."""

TEXTS = {
    "output_text": "content",
    "refusal": "refusal",
    "reasoning_summary_text": "reasoning_content",
    "reasoning_text": "reasoning_content",
}
"""The texts of items by their names in events, and where chat has them."""


def texts(item: Item) -> Iterator[tuple[str, int, str]]:
    """The texts in an item: the name of each, its place, and itself."""
    content = item.get("content")
    if item.get("type") == "reasoning":
        named = [("reasoning_summary_text", item.get("summary")), ("reasoning_text", content)]
    else:
        named = [("output_text", [{"text": content}] if isinstance(content, str) else content)]
    for name, parts in named:
        for place, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(text := thing(part).get("text"), str):
                yield name, place, text
            elif isinstance(text := thing(part).get("refusal"), str):
                yield "refusal", place, text


def said(items: Iterable[Item]) -> Message:
    """One message of the model for what it thought, said and called."""
    found: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning_content": []}
    thoughts: list[Body] = []
    calls: list[Body] = []
    for item in items:
        for name, _, text in texts(item):
            found[TEXTS[name]].append(text)
        if item.get("type") in CALLS:
            calls.append(call_to_chat(item))
        if item.get("type") == "reasoning":
            thoughts += _unsealed(item.get("encrypted_content"))
    whole = {field: APART.join(filter(None, each)) for field, each in found.items()}
    content = whole.pop("content") or None
    return assistant_message(content, **whole, thinking_blocks=thoughts, tool_calls=calls)


def _unsealed(sealed: object) -> list[Body]:
    """The thoughts that Claude signed, from where a client gives them back; OpenAI's are for OpenAI alone."""
    return objects(read_json(text_in(sealed)))


def call_to_chat(item: Item) -> Body:
    """A call as chat has it; what a tool gets that takes any text is its only argument."""
    if item.get("type") == "custom_tool_call":
        arguments = dumped({"input": item.get("input")})
    else:
        arguments = text_in(item.get("arguments"))
    return tool_call(text_in(item.get("call_id")), flat(item.get("name"), item.get("namespace")), arguments)
