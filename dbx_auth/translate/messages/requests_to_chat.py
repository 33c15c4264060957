"""Requests of Messages as requests of chat."""

from __future__ import annotations

from dbx_auth.fixes.messages import image_url
from dbx_auth.fixes.parameters import THOUGHT
from dbx_auth.fixes.walk import objects
from dbx_auth.translate.common import (
    SHOWN,
    Body,
    Untranslatable,
    assistant_message,
    dumped,
    kept,
    listed,
    string,
    text_part,
    thing,
    tool_call,
)

from .blocks import CHOICES, FAILED, is_beside_the_text

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def request_to_chat(body: Body) -> Body:
    """A request of Messages as one of chat. Tools that Anthropic runs, and what Anthropic alone tunes, are left out."""
    for name in ("thread", "compaction"):
        if body.get(name):
            raise Untranslatable(f"{name}: nothing here does what it asks for")
    turns = [{"role": "system", "content": body["system"]}] if body.get("system") is not None else []
    turns += listed(body.get("messages"), "messages")
    chat = kept(body, "model", "max_tokens", "temperature", "top_p", "stream")
    chat["messages"] = [message for turn in turns for message in _chat_messages(turn)]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if effort := _effort(body):
        chat["reasoning_effort"] = effort
    wanted = thing(thing(body.get("output_config")).get("format")) or thing(body.get("output_format"))
    if wanted.get("type") == "json_schema":
        schema = {"name": "answer", "schema": wanted.get("schema")}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**chat, **_tools_to_chat(body)}


def _chat_messages(turn: Body) -> list[Body]:
    """A turn as messages: one, or those of the tools whose results it brings, and what the user says besides."""
    role, content = turn.get("role"), turn.get("content")
    if role not in ("system", "user", "assistant"):
        raise Untranslatable(f"messages: chat knows no role {string(role)!r} that could say this")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = listed(content, "content")
    if role == "assistant":
        return [_assistant_message(blocks)]
    results = [_tool_message(block) for block in blocks if block.get("type") == "tool_result"]
    said = [part for _, shown in results for part in shown]
    said += [_part(block) for block in blocks if block.get("type") != "tool_result"]
    messages = [message for message, _ in results]
    return messages if messages and not said else [*messages, {"role": role, "content": said}]


def _assistant_message(blocks: list[Body]) -> Body:
    """What the model said, thought and called, as one message; what ran on Anthropic's side is left out."""
    said = [_part(block) for block in blocks if not is_beside_the_text(block)]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    thought = "".join(string(block.get("thinking")) for block in blocks if block.get("type") == "thinking")
    one = said[0] if len(said) == 1 else {}
    content = one["text"] if one.keys() == {"type", "text"} else said or (None if calls else "")
    return assistant_message(content, reasoning_content=thought, tool_calls=calls)


def _call(block: Body) -> Body:
    """A call of a tool as chat has it, with the id that it has."""
    id, name, given = block.get("id"), block.get("name"), block.get("input")
    if not isinstance(id, str) or not isinstance(name, str) or not isinstance(given, dict):
        raise Untranslatable("tool_use: an id, a name and an input that is an object are needed")
    return tool_call(id, name, dumped(given))


def _tool_message(block: Body) -> tuple[Body, list[Body]]:
    """The result of a tool, and what of it a user has to show."""
    id, content = block.get("tool_use_id"), block.get("content", "")
    if not isinstance(id, str):
        raise Untranslatable("tool_result.tool_use_id: the id of the call is needed")
    shown: list[Body] = []
    if not isinstance(content, str):
        blocks = listed(content, "tool_result.content")
        shown = [_part(each) for each in blocks if each.get("type") in ("image", "document")]
        content = [_text_of_a_result(each) for each in blocks]
    if block.get("is_error"):
        content = FAILED + content if isinstance(content, str) else [text_part(FAILED), *content]
    if (mark := kept(block, "cache_control")) and content:
        parts = [text_part(content)] if isinstance(content, str) else content
        content = [*parts[:-1], {**parts[-1], **mark}]
    return {"role": "tool", "tool_call_id": id, "content": content}, shown


def _text_of_a_result(block: Body) -> Body:
    if block.get("type") in ("image", "document"):
        return text_part(SHOWN)
    return _part(block) if block.get("type") == "text" else text_part(dumped(block))


def _part(block: Body) -> Body:
    """A text, an image or a file as a part of chat's, with its `cache_control`."""
    source, mark = thing(block.get("source")), kept(block, "cache_control")
    match block.get("type"):
        case "text" if isinstance(block.get("text"), str):
            return {"type": "text", "text": block["text"], **mark}
        case "image" if url := image_url(block):
            return {"type": "image_url", "image_url": {"url": url}, **mark}
        case "document" if source.get("type") == "text" and isinstance(source.get("data"), str):
            return {"type": "text", "text": source["data"], **mark}
        case "document" if source.get("type") == "base64":
            file = {"filename": block.get("title") or "document.pdf"}
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "file", "file": {**file, "file_data": data}, **mark}
    raise Untranslatable(f"content: chat has no part for this block of type {string(block.get('type'))!r}")


def _effort(body: Body) -> str | None:
    """The word for as much thought as was asked for, in tokens or in Anthropic's words."""
    thinking, effort = thing(body.get("thinking")), thing(body.get("output_config")).get("effort")
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return _EFFORTS.get(string(effort))
    return next((word for word in ("high", "medium") if budget >= THOUGHT[word]), "low")


def _tools_to_chat(body: Body) -> Body:
    """`tools`, `tool_choice` and `parallel_tool_calls`, as far as there are any."""
    own = _at_hand(body)
    choice = thing(body.get("tool_choice"))
    kind, name = choice.get("type"), choice.get("name")
    if kind == "tool" and not any(tool.get("name") == name for tool in own):
        raise Untranslatable(f"tool_choice: {string(name)!r} is none of the tools that can be called here")
    if not own:
        return {}
    named = {"type": "function", "function": {"name": name}}
    chosen = named if kind == "tool" else CHOICES.get(string(kind))
    return {
        "tools": [_function(tool) for tool in own],
        **({"tool_choice": chosen} if chosen else {}),
        **({"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") is True else {}),
    }


def _at_hand(body: Body) -> list[Body]:
    """The tools that the model may call now: one that is to be loaded later only once a result refers to it.

    Where Anthropic would search among those that are to be loaded later, they are all here, as nobody else can.
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/tool-search-tool
    """
    tools = listed(body.get("tools"), "tools")
    own = [tool for tool in tools if tool.get("type") in (None, "custom")]
    if any(string(tool.get("type")).startswith("tool_search_tool") for tool in tools):
        return own
    blocks = [block for turn in objects(body.get("messages")) for block in objects(turn.get("content"))]
    results = [inner for block in blocks for inner in objects(block.get("content"))]
    named = [inner.get("tool_name") for inner in results if inner.get("type") == "tool_reference"]
    return [tool for tool in own if tool.get("defer_loading") is not True or tool.get("name") in named]


def _function(tool: Body) -> Body:
    function = kept(tool, "name", "description")
    if "input_schema" in tool:
        function["parameters"] = tool["input_schema"]
    return {"type": "function", "function": function, **kept(tool, "cache_control")}
