"""Who takes back what was thought: Claude what it has signed, OpenAI what it has sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import signatures
from .calls import Call, messages, objects, thing

# The blocks that Claude thinks in, and the field of each that it knows its own by.
SIGNED_BY = {"thinking": "signature", "redacted_thinking": "data"}


def unsigned_thought(call: Call) -> str | None:
    """Claude takes back what it has thought itself."""
    for i, message in enumerate(messages(call)):
        for j, block in enumerate(objects(message.get("content")) if message.get("role") == "assistant" else []):
            kind = str(block.get("type"))
            if (field := SIGNED_BY.get(kind)) is None or signatures.genuine(block.get(field)):
                continue
            if block.get(field) is None:
                return f"messages.{i}.content.{j}.{kind}.{field}: Field required"
            return f"messages.{i}.content.{j}: Invalid `{field}` in `{kind}` block"
    return None


def lost_thought(call: Call) -> str | None:
    """Claude goes on thinking after a tool only if the turn has begun with a thought; tools do not end a turn."""
    history = messages(call)
    if thing(call.body.get("thinking")).get("type") != "enabled" or not history or not _has_results(history[-1]):
        return None
    start = len(history)
    while start and (history[start - 1].get("role") == "assistant" or _has_results(history[start - 1])):
        start -= 1
    first = next((i for i in range(start, len(history)) if history[i].get("role") == "assistant"), None)
    if first is None:
        return None
    kind = next((str(block.get("type")) for block in objects(history[first].get("content"))), "text")
    if kind in SIGNED_BY:
        return None
    return (
        f"messages.{first}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When "
        "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost "
        "set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To "
        "avoid this requirement, disable `thinking`. Please consult our documentation at "
        "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
    )


def _has_results(message: Mapping[str, Any]) -> bool:
    results = (block for block in objects(message.get("content")) if block.get("type") == "tool_result")
    return message.get("role") == "user" and any(results)


def foreign_thought(call: Call) -> str | None:
    """OpenAI takes back what it has sealed itself; nothing else is kept here."""
    for item in objects(call.body.get("input")):
        id, sealed = item.get("id"), item.get("encrypted_content")
        if item.get("type") != "reasoning" or signatures.genuine(sealed):
            continue
        if not sealed:
            return (
                f"Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with "
                "`store` set to true, or remove this item from your input."
            )
        return (
            f"The encrypted content for item {id} could not be verified. Reason: Encrypted content could not be "
            "decrypted or parsed."
        )
    return None
