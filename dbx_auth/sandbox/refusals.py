"""What each model family refuses, as one table: add a row and the sandbox is a little stricter.

A row says for which families and through which APIs a check is made; the check answers with the message of the
refusal, or with nothing. Where a message is known from the field it is the real one, word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .calls import Call, messages, objects, tools
from .workspace import CHAT, EMBEDDINGS, FAMILY_APIS, GENERATE, MESSAGES, PREDICT, RESPONSES

GPT = frozenset({"gpt", "codex"})
OPEN = frozenset({"llama", "qwen", "gemma", "gpt-oss"})
CLAUDE = frozenset({"claude"})
GEMINI = frozenset({"gemini"})
NOT_GPT = OPEN | CLAUDE | GEMINI
ANY = frozenset(FAMILY_APIS)

# What an API is called, and where it is.
APIS = {
    CHAT: ("Chat Completions API", "/serving-endpoints/chat/completions"),
    RESPONSES: ("Responses API", "/serving-endpoints/responses"),
    MESSAGES: ("Anthropic Messages API", "/serving-endpoints/anthropic/v1/messages"),
    GENERATE: ("Gemini API", "/serving-endpoints/gemini"),
    EMBEDDINGS: ("Embeddings API", "/serving-endpoints/embeddings"),
    PREDICT: ("invocations API", "/serving-endpoints/NAME/invocations"),
}

# Parameters of OpenAI's that others do not know.
UNKNOWN = {
    "stream_options": OPEN,
    "parallel_tool_calls": NOT_GPT,
    "prompt_cache_key": NOT_GPT,
    "service_tier": NOT_GPT,
    "store": NOT_GPT,
    "strict": NOT_GPT,
}

# JSON Schema's words that Google's schemas do not have.
NOT_GOOGLE = ("$schema", "$ref", "$defs", "definitions", "additionalProperties")

ITEM_ID = 64
CODING_AGENT_MODE = "x-databricks-use-coding-agent-mode"


class Rule(NamedTuple):
    families: frozenset[str]
    apis: frozenset[str]
    why: Callable[[Call], str | None]


def refusal(call: Call) -> str | None:
    """Why this call is refused, or None when it will be answered."""
    for rule in RULES:
        if call.endpoint.family in rule.families and call.api in rule.apis and (why := rule.why(call)):
            return why
    return None


def wrong_api(call: Call) -> str | None:
    speaks = call.endpoint.speaks
    if call.api in speaks:
        return None
    title, path = APIS[speaks[0]]
    if len(speaks) == 1:
        return f"{call.endpoint.name} only supports the {title}. Please use {path}"
    return f"{call.endpoint.name} does not support the {APIS[call.api][0]}. Please use {path}"


def no_messages(call: Call) -> str | None:
    given = call.body.get("messages")
    fine = isinstance(given, list) and given and all(isinstance(m, dict) and "role" in m for m in given)
    return None if fine else "messages: a non-empty list of messages with a role is required"


def no_input(call: Call) -> str | None:
    given = call.body.get("input")
    texts = given if isinstance(given, list) else [given]
    kinds = str if call.api == EMBEDDINGS else str | dict
    return None if texts and all(isinstance(text, kinds) for text in texts) else "input: Field required"


def no_rows(call: Call) -> str | None:
    known = {"dataframe_split", "dataframe_records", "instances", "inputs"}
    return None if known & set(call.body) else f"The request must have one of {', '.join(sorted(known))}"


def no_max_tokens(call: Call) -> str | None:
    return None if isinstance(call.body.get("max_tokens"), int) else "max_tokens: Field required"


def unknown_parameter(call: Call) -> str | None:
    family = call.endpoint.family
    for name, families in UNKNOWN.items():
        if name in call.body and family in families:
            return _unknown(family, name, name)
    for i, tool in enumerate(tools(call)):
        if "strict" in tool.given:
            return _unknown(family, "strict", f"tools.{i}.function.strict")
    return None


def _unknown(family: str, name: str, path: str) -> str:
    """Go's words where the model is served by Databricks, pydantic's where it is passed on."""
    return f'json: unknown field "{name}"' if family in OPEN else f"{path}: Extra inputs are not permitted"


def eager_input_streaming(call: Call) -> str | None:
    if call.headers.get(CODING_AGENT_MODE) == "true":
        return None
    eager = (i for i, tool in enumerate(tools(call)) if "eager_input_streaming" in tool.given)
    return next((f"tools.{i}.custom.eager_input_streaming: Extra inputs are not permitted" for i in eager), None)


def empty_text(call: Call) -> str | None:
    contents = [("system", call.body.get("system"))] if call.api == MESSAGES else []
    contents += [(f"messages.{i}", message.get("content")) for i, message in enumerate(messages(call))]
    for where, content in contents:
        if content == "" or any(block.get("text") == "" for block in _text_blocks(content)):
            return f"{where}: text content blocks must be non-empty"
    return None


def _text_blocks(content: Any) -> Iterator[dict[str, Any]]:
    for block in objects(content):
        yield from (inner for inner in [block, *objects(block.get("content"))] if inner.get("type") == "text")


def several_systems(call: Call) -> str | None:
    systems = [message for message in messages(call) if message.get("role") in ("system", "developer")]
    return "Gemini models only support one system prompt" if len(systems) > 1 else None


def untyped_tool(call: Call) -> str | None:
    """OpenAI lets a function without parameters leave them out; Anthropic wants the schema in any case."""
    for i, tool in enumerate(tools(call)):
        schema = tool.schema
        if (schema is None and call.api != MESSAGES) or (isinstance(schema, dict) and schema.get("type") == "object"):
            continue
        if call.api == MESSAGES:
            return f"tools.{i}.custom.input_schema.type: Field required"
        kind = schema.get("type") if isinstance(schema, dict) else None
        return (
            f"Invalid schema for function '{tool.name}': schema must be a JSON Schema of 'type: \"object\"', "
            f"got 'type: \"{kind}\"'."
        )
    return None


def foreign_schema(call: Call) -> str | None:
    """All that Google would not know, in its own words and with its own paths, one a line."""
    unknown = []
    for i, tool in enumerate(tools(call)):
        for path, node in _schemas(tool.schema, f"tools[0].function_declarations[{i}].parameters"):
            if "ref" in node and set(node) - {"ref", "description", "default"}:
                return (
                    f"Schema.ref '{node['ref']}' was set alongside unsupported fields. If a schema node has Schema.ref "
                    "set, then only description and default can be set alongside it; other fields they would be "
                    "replaced by the expanded reference."
                )
            unknown += [
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
                for name in NOT_GOOGLE
                if name in node
            ]
    return "\n".join(unknown) or None


def _schemas(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema inside a schema, with its path; the names of properties are not words of the schema."""
    pending = [(path, schema)]
    while pending:
        path, node = pending.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        properties = node.get("properties")
        if isinstance(properties, dict):
            pending += [(f"{path}.properties[{i}].value", sub) for i, sub in enumerate(properties.values())]
        pending.append((f"{path}.items", node.get("items")))
        for name, google in (("anyOf", "any_of"), ("oneOf", "one_of"), ("allOf", "all_of")):
            pending += [(f"{path}.{google}[{i}]", sub) for i, sub in enumerate(objects(node.get(name)))]


def long_item_id(call: Call) -> str | None:
    for i, item in enumerate(objects(call.body.get("input"))):
        for name in ("id", "call_id"):
            value = item.get(name)
            if isinstance(value, str) and len(value) > ITEM_ID:
                return (
                    f"Invalid 'input[{i}].{name}': string too long. Expected a string with maximum length {ITEM_ID}, "
                    f"but got a string with length {len(value)} instead."
                )
    return None


RULES = (
    Rule(ANY, frozenset(APIS), wrong_api),
    Rule(ANY, frozenset({CHAT, MESSAGES}), no_messages),
    Rule(ANY, frozenset({RESPONSES, EMBEDDINGS}), no_input),
    Rule(ANY, frozenset({PREDICT}), no_rows),
    Rule(CLAUDE, frozenset({MESSAGES}), no_max_tokens),
    Rule(NOT_GPT, frozenset({CHAT}), unknown_parameter),
    Rule(CLAUDE, frozenset({CHAT, MESSAGES}), eager_input_streaming),
    Rule(CLAUDE, frozenset({CHAT, MESSAGES}), empty_text),
    Rule(GEMINI, frozenset({CHAT}), several_systems),
    Rule(GEMINI, frozenset({CHAT}), foreign_schema),
    Rule(ANY, frozenset({CHAT, RESPONSES, MESSAGES}), untyped_tool),
    Rule(GPT, frozenset({RESPONSES}), long_item_id),
)
