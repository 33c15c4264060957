"""Requests, from Responses to chat and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from dbx_auth.fixes.walk import Message, without
from dbx_auth.translate.common import (
    SHOWN,
    Body,
    Untranslatable,
    arguments,
    kept,
    placed,
    refuse_all_but_text,
    text_in,
    text_part,
    thing,
)

from .items import CALLS, Item, said, texts
from .tools import tools_from_chat, tools_to_chat

LEAST_OUTPUT = 16
"""Tokens of an answer that OpenAI wants to be allowed at least; clients that look whether all is well ask for 1."""

_SAME = ("model", "stream", "temperature", "top_p", "user")
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "background", "prompt")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_NOT_CARRIED = ("web_search_call", "mcp_list_tools", "additional_tools")


def request_to_chat(body: Body) -> Body:
    """A chat request that asks the same; raises Untranslatable."""
    for name in _KEPT_ELSEWHERE:
        if body.get(name):
            raise Untranslatable(f"{name}: nothing is kept here, send the whole conversation as input")
    messages = _messages(body.get("input"))
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": _want_text(body, "body", "instructions")})
    chat: Body = {**kept(body, *_SAME), "messages": messages, **tools_to_chat(body)}
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if effort := thing(body.get("reasoning")).get("effort"):
        chat["reasoning_effort"] = effort
    form = thing(thing(body.get("text")).get("format"))
    if form.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": without(form, "type")}
    elif form.get("type") not in (None, "text"):
        chat["response_format"] = _json_object(form, "text.format")
    return chat


def _messages(given: object) -> list[Message]:
    """Chat messages for input items: what the model says and calls one after the other is one message there."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = [(where, item) for where, item in placed(given, "input") if item.get("type") not in _NOT_CARRIED]
    made = {"model": _turn, "tool": _results, "person": _told}
    return [m for by, group in groupby(items, lambda each: _by(*each)) for m in made[by](list(group))]


def _by(where: str, item: Item) -> str:
    """Who an item is from: the model, a tool or a person."""
    kind, role = item.get("type"), item.get("role")
    if kind in (*CALLS, "reasoning") or (kind in (None, "message") and role == "assistant"):
        return "model"
    if kind in _OUTPUTS:
        return "tool"
    if kind in (None, "message") and role in ("user", "system", "developer"):
        return "person"
    raise Untranslatable(f"{where}: chat has nothing like an item of type {kind!r}")


def _told(items: list[tuple[str, Item]]) -> list[Message]:
    return [
        {
            "role": "user" if item["role"] == "user" else "system",  # only GPT knows a developer
            "content": _content(item.get("content"), where, _part_to_chat),
        }
        for where, item in items
    ]


def _results(items: list[tuple[str, Item]]) -> list[Message]:
    """What tools gave, and after it what only a user can show in chat."""
    messages: list[Message] = []
    shown: list[Body] = []
    for where, item in items:
        content = _content(item.get("output"), f"{where}.output", _part_to_chat)
        if isinstance(content, list):
            shown += [part for part in content if part["type"] != "text"]
            content = [part if part["type"] == "text" else text_part(SHOWN) for part in content]
        messages.append({"role": "tool", "tool_call_id": _want_text(item, where, "call_id"), "content": content})
    return [*messages, {"role": "user", "content": shown}] if shown else messages


def _turn(items: list[tuple[str, Item]]) -> list[Message]:
    """The message of a turn, unless it says nothing."""
    for where, item in items:
        if item.get("type") in CALLS:
            _want_text(item, where, "call_id", "name", "input" if item["type"] == "custom_tool_call" else "arguments")
    message = said(item for _, item in items)
    return [message] if message.keys() & {"tool_calls", "refusal"} or message["content"] else []


def _part_to_chat(part: Body, where: str) -> Body:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return text_part(_want_text(part, where, "text"))
    if kind == "input_image":
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": _want_text(part, where, "image_url"), **detail}}
    if kind == "input_file":
        name = {"filename": part["filename"]} if part.get("filename") else {}
        return {"type": "file", "file": {**name, "file_data": _want_text(part, where, "file_data")}}
    raise Untranslatable(f"{where}: chat has nothing like a part of type {kind!r}")


def request_from_chat(body: Body) -> Body:
    """A request for a response that asks the same; raises Untranslatable."""
    if body.get("n") not in (None, 1):
        raise Untranslatable("n: a response is one answer")
    refuse_all_but_text(body)
    for name in ("stop", "functions"):
        if body.get(name):
            raise Untranslatable(f"{name}: the Responses API has nothing like it")
    request: Body = {**kept(body, *_SAME), "input": list(_items(body.get("messages"))), **tools_from_chat(body)}
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    if most is not None:
        request["max_output_tokens"] = max(most, LEAST_OUTPUT) if isinstance(most, int) else most
    if body.get("reasoning_effort") is not None:
        request["reasoning"] = {"effort": body["reasoning_effort"]}
    form = thing(body.get("response_format"))
    if form.get("type") == "json_schema":
        request["text"] = {"format": {"type": "json_schema", **thing(form.get("json_schema"))}}
    elif form.get("type") not in (None, "text"):
        request["text"] = {"format": _json_object(form, "response_format")}
    return request


def _items(given: object) -> Iterator[Item]:
    """Input items for chat messages.

    What the model thought is not among them: OpenAI wants that as it has encrypted it, which chat has no place for.
    https://github.com/vercel/ai/issues/7543
    """
    for where, message in placed(given, "messages"):
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer", "user"):
            yield {"type": "message", "role": role, "content": _content(content, where, _part_from_chat)}
        elif role == "tool":
            id, output = _want_text(message, where, "tool_call_id"), _content(content, where, _part_from_chat)
            yield {"type": "function_call_output", "call_id": id, "output": output}
        elif role == "assistant":
            yield from _items_of_a_turn(message, where)
        else:
            raise Untranslatable(f"{where}.role: the Responses API has nothing like {role!r}")


def _items_of_a_turn(message: Message, where: str) -> Iterator[Item]:
    refuse_all_but_text(message)
    found = [(name, text) for name, _, text in texts(message)] + [("refusal", text_in(message.get("refusal")))]
    parts = [{"type": name, "refusal" if name == "refusal" else "text": text} for name, text in found if text]
    if parts:
        yield {"type": "message", "role": "assistant", "content": parts}
    if message.get("function_call"):
        raise Untranslatable(f"{where}.function_call: the Responses API has nothing like it")
    for at, call in placed(message.get("tool_calls") or [], f"{where}.tool_calls"):
        function = thing(call.get("function"))
        if not isinstance(function.get("arguments"), dict):
            _want_text(function, f"{at}.function", "arguments")
        id, name = _want_text(call, at, "id"), _want_text(function, f"{at}.function", "name")
        yield {"type": "function_call", "call_id": id, "name": name, "arguments": arguments(function)}


def _part_from_chat(part: Body, where: str) -> Body:
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": _want_text(part, where, "text")}
    if kind == "image_url":
        image = thing(part.get("image_url"))
        detail = {"detail": image["detail"]} if image.get("detail") else {}
        return {"type": "input_image", "image_url": _want_text(image, f"{where}.image_url", "url"), **detail}
    if kind == "file":
        file = thing(part.get("file"))
        name = {"filename": file["filename"]} if file.get("filename") else {}
        return {"type": "input_file", **name, "file_data": _want_text(file, f"{where}.file", "file_data")}
    raise Untranslatable(f"{where}: the Responses API has nothing like a part of type {kind!r}")


def _content(given: object, where: str, change: Callable[[Body, str], Body]) -> str | list[Body]:
    if given is None or isinstance(given, str):
        return given or ""
    return [change(part, at) for at, part in placed(given, f"{where}.content")]


def _want_text(body: Body, where: str, *names: str) -> str:
    """The last of these fields; raises Untranslatable unless each is a text."""
    for name in names:
        if not isinstance(body.get(name), str):
            raise Untranslatable(f"{where}.{name}: not a text")
    return str(body[names[-1]])


def _json_object(form: Body, where: str) -> Body:
    """The only form besides text and a schema, which both APIs write alike."""
    if form.get("type") != "json_object":
        raise Untranslatable(f"{where}.type: the other API has nothing like {form.get('type')!r}")
    return {"type": "json_object"}
