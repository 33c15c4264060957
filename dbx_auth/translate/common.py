"""What both pairs of translations need: readers that shrug at odd shapes, shapes of chat, and the one error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dbx_auth.fixes.walk import Body, number, objects

__all__ = [
    "NO_PARAMETERS",
    "SHOWN",
    "Body",
    "Untranslatable",
    "arguments",
    "assistant_message",
    "dumped",
    "first_choice",
    "kept",
    "listed",
    "objects",
    "placed",
    "read_json",
    "refuse_all_but_text",
    "string",
    "text_in",
    "text_part",
    "thing",
    "thought_tokens",
    "tool_call",
    "usage_in_chat",
]

SHOWN = "[shown in the next message]"
"""What a `tool` message has in place of an image, which only a user can show."""

NO_PARAMETERS: Body = {"type": "object", "properties": {}}
"""The schema of a function that says nothing of its parameters."""


class Untranslatable(ValueError):
    """The other API has no way to say this, and to leave it out would change what is meant."""


def thing(value: object) -> Body:
    """A JSON object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def string(value: object) -> str:
    """A string, and an empty one for anything else."""
    return value if isinstance(value, str) else ""


def text_in(value: object) -> str:
    """The text of a content: of a string, or of the parts in a list."""
    if isinstance(value, str):
        return value
    texts: list[Any] = [part.get("text") for part in objects(value)]
    return "".join(text for text in texts if isinstance(text, str))


def kept(body: Mapping[str, Any], *names: str) -> Body:
    """What a body has under these names; null is as good as nothing."""
    return {name: body[name] for name in names if body.get(name) is not None}


def listed(value: object, name: str) -> list[Body]:
    """The objects of a list, which may be missing; raises Untranslatable for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or len(objects(value)) < len(value):
        raise Untranslatable(f"{name}: a list of objects is needed")
    return value


def placed(value: object, where: str) -> Iterator[tuple[str, Body]]:
    """The objects of a list, each with where it is; raises Untranslatable for anything else."""
    if not isinstance(value, list):
        raise Untranslatable(f"{where}: not a list")
    for place, each in enumerate(value):
        if not isinstance(each, dict):
            raise Untranslatable(f"{where}[{place}]: not an object")
        yield f"{where}[{place}]", each


def dumped(value: object) -> str:
    """JSON for a value; raises Untranslatable where it is too deep to be written."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise Untranslatable("an object is too deep") from None


def read_json(text: str) -> Any:
    """The value of a JSON text, None where there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def text_part(text: str) -> Body:
    """A text as a part of a content, which chat and Messages write alike."""
    return {"type": "text", "text": text}


def tool_call(id: str, name: str, arguments: str) -> Body:
    """A call of a tool as chat has it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def arguments(function: Body) -> str:
    """The arguments of a call in chat: a string, but some servers give the object."""
    given = function.get("arguments")
    return dumped(given) if isinstance(given, dict) else string(given)


def assistant_message(content: Any, **more: Any) -> Body:
    """A message of the model as chat has it: its content, and what there is besides."""
    return {"role": "assistant", "content": content, **{name: value for name, value in more.items() if value}}


def first_choice(body: Body) -> Body:
    """The only choice of a chat completion or of a chunk; some chunks have none."""
    return next(iter(objects(body.get("choices"))), {})


def usage_in_chat(asked: int, answered: int, *, cached: int, thought: int, written: int = 0) -> Body:
    """The `usage` of a chat completion; `cached` and `written` are the part of `asked` that a cache gave and took."""
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": cached, **({"cache_write_tokens": written} if written else {})},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def thought_tokens(usage: Body) -> int:
    """The tokens of a chat completion that were thought: in the details of OpenAI, beside the others of Databricks."""
    details = thing(usage.get("completion_tokens_details"))
    return number(details.get("reasoning_tokens")) or number(usage.get("reasoning_tokens"))


def refuse_all_but_text(given: Body) -> None:
    """Raises Untranslatable where a request of chat asks for more than text, or a message holds what was spoken."""
    if given.get("audio"):
        raise Untranslatable("audio: the other API has none")
    if given.get("modalities") not in (None, [], ["text"]):
        raise Untranslatable("modalities: the other API answers with text alone")
