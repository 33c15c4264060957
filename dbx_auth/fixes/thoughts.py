"""What a model has thought, which is for itself alone: Claude knows its own by the signature, OpenAI by the seal.

https://docs.claude.com/en/docs/build-with-claude/extended-thinking
https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
"""

from __future__ import annotations

import re
from itertools import takewhile

from dbx_auth.catalogue import Facts

from . import walk
from .walk import Body, Message

_SEAL = re.compile(r"[A-Za-z0-9+/_=-]+")
"""What `encrypted_content` of OpenAI's is made of. What the gateway puts there for another model is JSON."""

_SIGNED_BY = {"thinking": "signature", "redacted_thinking": "data"}
"""The blocks that Claude thinks in, and the field of each that shows whose it is."""


def no_foreign_thoughts(body: Body, api: str, facts: Facts) -> Body:
    return walk.every(body, "input", lambda item: None if _is_foreign(item) else item)


def _is_foreign(item: Body) -> bool:
    sealed = item.get("encrypted_content")
    return item.get("type") == "reasoning" and isinstance(sealed, str) and bool(sealed) and not _SEAL.fullmatch(sealed)


def no_unsigned_thoughts(body: Body, api: str, facts: Facts) -> Body:
    new = walk.messages(body, _signed)
    body = new if new.get("messages") or new is body else body  # with no message left the family says it best
    thinking = body.get("thinking")
    asked = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    return _unthinking(body) if asked and _is_to_go_on_without_a_thought(body) else body


def _signed(message: Message) -> Message | None:
    """A message without the thoughts that are not Claude's; signatures are not looked into, as Anthropic asks for."""
    if message.get("role") != "assistant":
        return message
    new = walk.parts(message, lambda block: None if _is_unsigned(block) else block)
    return new if new is message or new["content"] else None


def _is_unsigned(block: Body) -> bool:
    field = _field(block)
    return bool(field) and not (isinstance(block.get(field), str) and block[field])


def _field(block: Body) -> str:
    """The field that shows whose thought a block is, empty for a block that is none."""
    return _SIGNED_BY.get(str(block.get("type")), "")


def _is_to_go_on_without_a_thought(body: Body) -> bool:
    """Whether the turn that waits for the result of a tool, and has it now, did not begin with a thought.

    Claude goes on thinking only where it was. The results of tools do not end a turn, so what counts is the first
    message of several; and thinking that is `adaptive` may begin at any time.
    """
    messages = walk.objects(body.get("messages"))
    if not messages or not _brings_results(messages[-1]):
        return False
    turn = takewhile(lambda each: each.get("role") == "assistant" or _brings_results(each), reversed(messages))
    said = [walk.objects(message.get("content")) for message in turn if message.get("role") == "assistant"]
    return bool(said) and not (said[-1] and _field(said[-1][0]))


def _brings_results(message: Message) -> bool:
    blocks = walk.objects(message.get("content"))
    return message.get("role") == "user" and any(block.get("type") == "tool_result" for block in blocks)


def _unthinking(body: Body) -> Body:
    """A request that asks for no thoughts, and for none to be cleared, which is refused without."""
    body = walk.without(body, "thinking")
    managed = walk.inside(
        body, "context_management", lambda given: walk.every(given, "edits", lambda e: None if _clears(e) else e)
    )
    empty = managed is not body and not managed["context_management"]["edits"]
    return walk.without(managed, "context_management") if empty else managed


def _clears(edit: Body) -> bool:
    return str(edit.get("type")).startswith("clear_thinking_")
