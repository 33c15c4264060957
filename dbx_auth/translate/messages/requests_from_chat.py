"""Requests of chat as requests of Messages."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from dbx_auth.fixes.messages import image_url
from dbx_auth.fixes.parameters import LEAST_THOUGHT, THOUGHT
from dbx_auth.fixes.walk import number
from dbx_auth.translate.common import (
    NO_PARAMETERS,
    Body,
    Untranslatable,
    kept,
    listed,
    objects,
    refuse_all_but_text,
    string,
    text_part,
    thing,
)

from .blocks import ANSWER, CHOICES, FAILED, is_beside_the_text, signed, tool_use

MAX_TOKENS = 8192
"""Tokens of an answer for which nobody named a limit. Databricks sets `max_tokens` aside from what may be used in a
minute, whether it is used or not. https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/limits"""


def request_from_chat(body: Body) -> Body:
    """A request of chat as one of Messages. A schema for the answer becomes a tool that the model has to call."""
    if body.get("n") not in (None, 1):
        raise Untranslatable("n: Messages gives one answer")
    if body.get("functions"):
        raise Untranslatable("functions: only tools can be called")
    refuse_all_but_text(body)
    turns = listed(body.get("messages"), "messages")
    asked = kept(body, "model", "stream")
    asked["messages"] = _turns([turn for turn in turns if turn.get("role") not in ("system", "developer")])
    if systems := [turn.get("content") for turn in turns if turn.get("role") in ("system", "developer")]:
        asked["system"] = _system(systems)
    if stop := body.get("stop"):
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if isinstance(body.get("user"), str):
        asked["metadata"] = {"user_id": body["user"]}
    asked |= _tools_from_chat(body)
    limits = kept(body, "max_tokens", "max_completion_tokens")
    limit = limits.get("max_completion_tokens", limits.get("max_tokens"))
    thinking = body.get("thinking") or _thinking(body, asked, limit)
    budget = number(thing(thinking).get("budget_tokens"))
    asked["max_tokens"] = MAX_TOKENS + budget if limit is None else limit
    if thing(thinking).get("type") in (None, "disabled"):  # whoever thinks is not to be sampled otherwise
        asked |= _sampling(body)
    return {**asked, **({"thinking": thinking} if thinking else {})}


def _system(said: list[Any]) -> Any:
    """All that systems and developers say, as it is where one of them says it in a string."""
    if len(said) == 1 and isinstance(said[0], str):
        return said[0]
    return [block for content in said for block in _blocks(content)]


def _turns(messages: list[Body]) -> list[Body]:
    """Messages as turns: what several tools gave in a row is one of the user's, for Anthropic wants it together."""
    turns: list[Body] = []
    for from_tools, several in groupby(messages, lambda message: message.get("role") == "tool"):
        if from_tools:
            turns.append({"role": "user", "content": [_tool_result(message) for message in several]})
        else:
            turns += [_turn(message) for message in several]
    return turns


def _turn(message: Body) -> Body:
    role, content = message.get("role"), message.get("content")
    if role == "assistant":
        return {"role": "assistant", "content": _assistant_content(message)}
    if role != "user":
        raise Untranslatable(f"messages: Messages knows no role {string(role)!r}")
    return {"role": "user", "content": content if isinstance(content, str) else _blocks(content)}


def _assistant_content(message: Body) -> Any:
    """What the model thought, said and called. Thoughts go back signed or not at all."""
    refuse_all_but_text(message)
    content = message.get("content")
    thoughts = [*objects(message.get("thinking_blocks")), *objects(content)]
    thought = [each for each in map(signed, thoughts) if each]
    calls = [_tool_use(call) for call in listed(message.get("tool_calls"), "tool_calls")]
    refusal = [text_part(said)] if (said := string(message.get("refusal"))) else []
    if isinstance(content, str):
        return [*thought, *_blocks(content or None), *refusal, *calls] if thought or refusal or calls else content
    parts = [part for part in listed(content, "content") if not is_beside_the_text(part)]
    return [*thought, *_blocks(parts), *refusal, *calls]


def _tool_use(call: Body) -> Body:
    id, function = call.get("id"), thing(call.get("function"))
    if not isinstance(id, str) or not isinstance(function.get("name"), str):
        raise Untranslatable("tool_calls: a call needs an id and the name of a function")
    return tool_use(id, function)


def _tool_result(message: Body) -> Body:
    id, content = message.get("tool_call_id"), message.get("content")
    if not isinstance(id, str):
        raise Untranslatable("tool_call_id: the id of the call is needed")
    result = {"type": "tool_result", "tool_use_id": id}
    if isinstance(content, str):
        failed = content.startswith(FAILED)
        return {**result, "content": content.removeprefix(FAILED), **({"is_error": True} if failed else {})}
    blocks = _blocks(content)
    if blocks[:1] == [text_part(FAILED)]:
        return {**result, "content": blocks[1:], "is_error": True}
    return {**result, "content": blocks}


def _blocks(content: object) -> list[Body]:
    """A content of chat's as blocks; its images are links or hold their data."""
    return [text_part(content)] if isinstance(content, str) else [_block(part) for part in listed(content, "content")]


def _block(part: Body) -> Body:
    mark, file = kept(part, "cache_control"), thing(part.get("file"))
    match part.get("type"):
        case "text" if isinstance(part.get("text"), str):
            return {"type": "text", "text": part["text"], **mark}
        case "refusal" if isinstance(part.get("refusal"), str):
            return {"type": "text", "text": part["refusal"], **mark}
        case "image_url" | "input_image" | "image" if url := image_url(part):
            link = {"type": "url", "url": url}
            return {"type": "image", "source": _data(url) if url.startswith("data:") else link, **mark}
        case "file" if isinstance(file.get("file_data"), str):
            title = {"title": file["filename"]} if "filename" in file else {}
            return {"type": "document", "source": _data(file["file_data"]), **title, **mark}
    raise Untranslatable(f"content: Messages has no block for this part of type {string(part.get('type'))!r}")


def _data(url: str) -> Body:
    """What a data URL holds."""
    kind, comma, data = url.removeprefix("data:").partition(",")
    if not comma or not kind.endswith(";base64"):
        raise Untranslatable("content: data has to be a data URL in base64")
    return {"type": "base64", "media_type": kind.partition(";")[0], "data": data}


def _tools_from_chat(body: Body) -> Body:
    """`tools` and `tool_choice`, with the tool that takes the answer where it has to satisfy a schema."""
    tools = [_custom(tool) for tool in listed(body.get("tools"), "tools")]
    choice = _choice(body.get("tool_choice")) if tools else {}
    schema = _schema(thing(body.get("response_format")))
    if any(tool.get("name") == ANSWER for tool in tools):
        raise Untranslatable(f"tools: {ANSWER} is a name that is needed here")
    if schema is not None and choice.get("type") not in ("any", "tool"):  # with these no text is asked for
        alone = not tools or choice.get("type") == "none"
        choice = {"type": "tool", "name": ANSWER, "disable_parallel_tool_use": True} if alone else {"type": "any"}
        tools.append({"name": ANSWER, "description": "Takes the answer, once it is known.", "input_schema": schema})
    if body.get("parallel_tool_calls") is False and tools and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {**({"tools": tools} if tools else {}), **({"tool_choice": choice} if choice else {})}


def _custom(tool: Body) -> Body:
    function = tool.get("function")
    if not isinstance(function, dict):
        raise Untranslatable(f"tools: Messages has no tool of type {string(tool.get('type'))!r}")
    schema = function.get("parameters") or NO_PARAMETERS
    mark = kept(function, "cache_control") | kept(tool, "cache_control")
    return {**kept(function, "name", "description"), "input_schema": schema, **mark}


def _choice(given: object) -> Body:
    if given is None:
        return {}
    name = thing(thing(given).get("function")).get("name")
    if isinstance(name, str):
        return {"type": "tool", "name": name}
    if kind := next((kind for kind, word in CHOICES.items() if word == given), None):
        return {"type": kind}
    raise Untranslatable("tool_choice: Messages knows auto, any, none and the name of a function")


def _schema(form: Body) -> Body | None:
    """What the answer has to satisfy, None where it may be any text."""
    if form.get("type") in (None, "text"):
        return None
    schema = thing(form.get("json_schema")).get("schema") or {"type": "object"}
    if form.get("type") not in ("json_object", "json_schema") or thing(schema).get("type", "object") != "object":
        raise Untranslatable("response_format: the answer can only be text or a JSON object")
    return thing(schema)


def _thinking(body: Body, asked: Body, limit: object) -> Body | None:
    """Thought as deep as `reasoning_effort` says, where there is room for it.

    Anthropic refuses it where a tool has to be called, and where the model called tools and what it thought is missing.
    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
    """
    budget = THOUGHT.get(string(body.get("reasoning_effort")), 0)
    if isinstance(limit, int) and budget >= limit:
        budget = limit // 2
    turns = [objects(turn["content"]) for turn in asked["messages"] if turn["role"] == "assistant"]
    kinds = [block["type"] for block in turns[-1]] if turns else []
    lost = "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
    forced = thing(asked.get("tool_choice")).get("type") in ("any", "tool")
    return None if budget < LEAST_THOUGHT or lost or forced else {"type": "enabled", "budget_tokens": budget}


def _sampling(body: Body) -> Body:
    """`temperature`, which ends at 1 here, or else `top_p`: newer models refuse the two together."""
    sampling = kept(body, "temperature") or kept(body, "top_p")
    heat = sampling.get("temperature")
    return {"temperature": 1} if isinstance(heat, int | float) and heat > 1 else sampling
