"""Messages as a family takes them: its texts, its images, and what its tools said."""

from __future__ import annotations

import json

from dbx_auth.catalogue import Facts

from . import walk
from .walk import MESSAGES, Body, Message

NO_OUTPUT = "[No output]"
"""What a tool said that said nothing."""


def one_system_message(body: Body, api: str, facts: Facts) -> Body:
    messages = body.get("messages")
    systems = [m for m in walk.objects(messages) if m.get("role") in ("system", "developer")]
    if len(systems) < 2 or not isinstance(messages, list):
        return body
    said = [m.get("content") for m in systems]
    if all(isinstance(content, str) for content in said):
        content: object = "\n\n".join(filter(None, map(str, said)))
    else:
        content = [part for one in said for part in _as_parts(one)]
    first = systems[0]
    left = [m for m in messages if m is first or not any(m is system for system in systems)]
    return {**body, "messages": [{**first, "role": "system", "content": content} if m is first else m for m in left]}


def _as_parts(content: object) -> list[object]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def no_empty_text(body: Body, api: str, facts: Facts) -> Body:
    if api == MESSAGES and "system" in body:
        system = walk.each(body["system"], _if_it_says_something)
        body = walk.put(body, "system", system) if system and not _is_blank(system) else walk.without(body, "system")
    new = walk.messages(body, _saying_something)
    return new if new.get("messages") or new is body else body  # with no message left the family says it best


def _saying_something(message: Message) -> Message | None:
    if "content" not in message:
        return message
    message = walk.parts(message, _if_it_says_something)
    content = message["content"]
    if content is None or not (content == [] or _is_blank(content)):
        return message
    if message.get("role") == "tool":
        return walk.put(message, "content", NO_OUTPUT)
    return {**message, "content": None} if message.get("tool_calls") else None


def _if_it_says_something(part: Body) -> Body | None:
    if part.get("type") == "text" and _is_blank(part.get("text")):
        return None
    if part.get("type") != "tool_result" or "content" not in part:
        return part
    part = walk.parts(part, _if_it_says_something)
    return walk.without(part, "content") if part["content"] == [] or _is_blank(part["content"]) else part


def _is_blank(text: object) -> bool:
    return isinstance(text, str) and not text.strip()


def single_tool_calls(body: Body, api: str, facts: Facts) -> Body:
    messages = body.get("messages")
    if not isinstance(messages, list) or all(len(_made_by(m)) < 2 for m in walk.objects(messages)):
        return body
    new: list[object] = []
    left = list(messages)
    while left:
        message = left.pop(0)
        calls = _made_by(message)
        if len(calls) < 2:
            new.append(message)
            continue
        answers: list[Message] = []
        while left and isinstance(left[0], dict) and left[0].get("role") == "tool":
            answers.append(left.pop(0))
        for number, call in enumerate(calls):
            content = message.get("content") if number == 0 else None
            new.append({**message, "content": content, "tool_calls": [call]})
            mine = [a for a in answers if a.get("tool_call_id") == call.get("id")]
            new += mine
            answers = [a for a in answers if not any(a is one for one in mine)]
        new += answers
    return {**body, "messages": new}


def _made_by(message: object) -> list[Body]:
    """The calls of a message of the model's; nobody else makes any."""
    return walk.calls(message) if isinstance(message, dict) and message.get("role") == "assistant" else []


def tool_output_as_text(body: Body, api: str, facts: Facts) -> Body:
    def change(message: Message) -> Message:
        if message.get("role") != "tool" or "content" not in message:
            return message
        content = message["content"]
        parts = content if isinstance(content, list) else []
        if parts and all(isinstance(p, dict) and p.get("type") == "text" and p.get("text") for p in parts):
            return message
        return message if isinstance(content, str) and content else {**message, "content": _said(content) or NO_OUTPUT}

    return walk.messages(body, change)


def _said(value: object) -> str:
    """The text in what a tool put out: text, parts, MCP's result, the AI SDK's, or anything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_said, value)))
    if isinstance(value, dict):
        kind = value.get("type")
        if kind == "text" and isinstance(value.get("text"), str):
            return str(value["text"])
        if kind in ("text", "error-text", "content") and "value" in value:
            return _said(value["value"])
        if kind in ("json", "error-json") and "value" in value:
            return json.dumps(value["value"], ensure_ascii=False)
        if kind is None and isinstance(value.get("content"), list):
            return _said(value["content"])
        if image := image_url(value):
            return f"[image, {len(image)} characters]"
    return json.dumps(value, ensure_ascii=False)


def image_forms(body: Body, api: str, facts: Facts) -> Body:
    def change(part: Body) -> Body:
        url = image_url(part)
        if url is None or (part.get("type") == "image_url" and part.get("image_url") == {"url": url}):
            return part
        given = part.get("image_url")
        detail = given.get("detail") if isinstance(given, dict) else part.get("detail")
        image = {"url": url, **({"detail": detail} if isinstance(detail, str) else {})}
        if part.get("type") == "image_url" and given == image:
            return part
        kept = {"cache_control": part["cache_control"]} if "cache_control" in part else {}
        return {"type": "image_url", "image_url": image, **kept}

    return walk.messages(
        body, lambda message: message if message.get("role") == "tool" else walk.parts(message, change)
    )


_MAGIC = {"/9j/": "image/jpeg", "iVBORw0KGgo": "image/png", "R0lGOD": "image/gif", "UklGR": "image/webp"}


def image_url(part: Body) -> str | None:
    """The image in a part, in whatever form, as a URL; None where there is none to be read."""
    kind, source = part.get("type"), part.get("source")
    media = next(
        (part[name] for name in ("media_type", "mediaType", "mimeType") if isinstance(part.get(name), str)), ""
    )
    if kind in ("image_url", "input_image"):
        given = part.get("image_url")
        data = given.get("url") if isinstance(given, dict) else given
    elif kind == "image" and isinstance(source, dict):
        data = source.get("url") if source.get("type") == "url" else source.get("data")
        media = source["media_type"] if isinstance(source.get("media_type"), str) else media
    elif kind == "image" or (kind == "file" and media.startswith("image/")):
        data = next((part[name] for name in ("data", "image", "url") if isinstance(part.get(name), str)), None)
    else:
        return None
    if not isinstance(data, str) or not data:
        return None
    if data.startswith(("https://", "http://", "data:")):
        return data
    media = media or next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    return f"data:{media};base64,{data}" if media else None
