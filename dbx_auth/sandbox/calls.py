"""A model call, read the same way whichever API it came through.

A body may hold anything, so every reader here shrugs at what has the wrong shape; saying so is `refusals`' business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .workspace import CHAT, GENERATE, MESSAGES, RESPONSES, Endpoint

PARAMETERS_JSON_SCHEMA = ("parametersJsonSchema", "parameters_json_schema")
RESPONSE_JSON_SCHEMA = ("responseJsonSchema", "response_json_schema")
"""Where Google takes a schema as JSON Schema has it; elsewhere it has words of its own."""


class Call(NamedTuple):
    """`streamed` is whether the answer is wanted event by event."""

    endpoint: Endpoint
    api: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    streamed: bool = False


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


def thing(value: Any) -> dict[str, Any]:
    """A JSON object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a JSON array, and nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def either(node: Mapping[str, Any], camel: str, snake: str) -> Any:
    """A field of one of Google's objects, which may spell it in either way."""
    return node.get(camel, node.get(snake))


def messages(call: Call) -> list[dict[str, Any]]:
    return objects(call.body.get("messages"))


def contents(call: Call) -> list[dict[str, Any]]:
    return objects(call.body.get("contents"))


def parts(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return objects(content.get("parts"))


def tools(call: Call) -> list[Tool]:
    """The functions a call offers; tools that run on the server are not among them."""
    offered = objects(call.body.get("tools"))
    if call.api == CHAT:
        given = [tool["function"] for tool in offered if isinstance(tool.get("function"), dict)]
        return [Tool(f.get("name"), f.get("parameters"), f) for f in given]
    if call.api == RESPONSES:
        return [Tool(t.get("name"), t.get("parameters"), t) for t in offered if t.get("type") == "function"]
    if call.api == GENERATE:
        given = [f for t in offered for f in objects(either(t, "functionDeclarations", "function_declarations"))]
        return [Tool(f.get("name"), _either_schema(f, "parameters", *PARAMETERS_JSON_SCHEMA), f) for f in given]
    return [Tool(t.get("name"), t.get("input_schema"), t) for t in offered if t.get("type", "custom") == "custom"]


def wanted(call: Call) -> Any:
    """The JSON Schema that the answer is to satisfy, None when any text will do."""
    if call.api == GENERATE:
        config = generation_config(call)
        schema = _either_schema(config, "responseSchema", "response_schema", *RESPONSE_JSON_SCHEMA)
        json = either(config, "responseMimeType", "response_mime_type") == "application/json"
        return {"type": "object"} if json and schema is None else schema
    if call.api == RESPONSES:
        form = named = thing(thing(call.body.get("text")).get("format"))
    elif call.api == MESSAGES:
        _, form = output_format(call)
        named = form
    else:
        form = thing(call.body.get("response_format"))
        named = thing(form.get("json_schema"))
    if form.get("type") == "json_object":
        return {"type": "object"}
    return named.get("schema") if form.get("type") == "json_schema" else None


def _either_schema(node: Mapping[str, Any], *names: str) -> Any:
    """A schema in Google's own words or, under another name, in those of JSON Schema."""
    return next((node[name] for name in names if node.get(name) is not None), None)


def generation_config(call: Call) -> dict[str, Any]:
    """What generateContent is asked for besides contents and tools."""
    return thing(either(call.body, "generationConfig", "generation_config"))


def output_format(call: Call) -> tuple[str, dict[str, Any]]:
    """The form that Claude's answer is to have, and where that is said: in a field of its own it was in the beta."""
    if "output_format" in call.body:
        return "output_format", thing(call.body["output_format"])
    return "output_config.format", thing(thing(call.body.get("output_config")).get("format"))


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(text for part in objects(content) if isinstance(text := part.get("text"), str))


def turn(call: Call) -> Turn:
    """Where the conversation stands."""
    return _READERS[call.api](call)


def _talk(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation up to what was said last; instructions may stand after it."""
    end = len(history)
    while end and history[end - 1].get("role") in _INSTRUCTS:
        end -= 1
    return history[:end]


_INSTRUCTS = ("system", "developer")


def _chat(call: Call) -> Turn:
    history = _talk(messages(call))
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
    blocks = objects(_talk(messages(call))[-1].get("content"))
    answers = [text_of(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    return Turn(plain.said, answered="".join(answers), by_user=False) if answers else plain


def _responses(call: Call) -> Turn:
    asked = call.body.get("input")
    if isinstance(asked, str):
        return Turn(asked)
    items = _talk(objects(asked))
    said = next((text_of(item.get("content")) for item in reversed(items) if item.get("role") == "user"), "")
    last = items[-1] if items else {}
    if last.get("type") == "function_call_output":
        return Turn(said, answered=text_of(last.get("output")), by_user=False)
    return Turn(said, by_user=last.get("role") == "user")


def _generate(call: Call) -> Turn:
    """In Google's API a tool's answer is a part of a user's content, and an object."""
    history = contents(call)
    spoken = (text_of(content.get("parts")) for content in reversed(history) if content.get("role", "user") == "user")
    said = next(filter(None, spoken), "")
    last = history[-1] if history else {}
    answers = [either(part, "functionResponse", "function_response") for part in parts(last)]
    if given := objects(answers):
        return Turn(said, answered="".join(_result(answer.get("response")) for answer in given), by_user=False)
    return Turn(said, by_user=last.get("role", "user") == "user")


def _result(response: Any) -> str:
    values = list(thing(response).values())
    return values[0] if len(values) == 1 and isinstance(values[0], str) else json.dumps(response)


_READERS = {CHAT: _chat, MESSAGES: _messages, RESPONSES: _responses, GENERATE: _generate}
