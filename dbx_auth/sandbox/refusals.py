"""What each model family refuses, as one table: add a row and the sandbox is a little stricter.

A row says for which families and through which APIs a check is made; the check answers with the message of the
refusal, or with nothing. Where a message is known from the field it is the real one, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from . import signatures, thoughts
from .calls import (
    PARAMETERS_JSON_SCHEMA,
    RESPONSE_JSON_SCHEMA,
    Call,
    contents,
    either,
    generation_config,
    messages,
    objects,
    output_format,
    parts,
    thing,
    tools,
    wanted,
)
from .workspace import (
    CHAT,
    EFFORT_WITH_TOOLS,
    EMBEDDINGS,
    FAMILY_APIS,
    GENERATE,
    MESSAGES,
    PREDICT,
    RESPONSES,
    SAMPLING,
)

GPT = frozenset({"gpt", "codex"})
OPENAI = GPT | {"external"}
OPEN = frozenset({"llama", "qwen", "gemma", "gpt-oss"})
HOSTED = OPEN | {"glm", "inkling", "kimi"}
CLAUDE = frozenset({"claude"})
GEMINI = frozenset({"gemini"})
OSS = frozenset({"gpt-oss"})
NOT_GPT = HOSTED | CLAUDE | GEMINI
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
    "max_completion_tokens": NOT_GPT,
    "parallel_tool_calls": NOT_GPT,
    "prompt_cache_key": NOT_GPT,
    "service_tier": NOT_GPT,
    "store": NOT_GPT,
    "strict": NOT_GPT,
}

# JSON Schema's words that Google's schemas do not have.
NOT_GOOGLE = ("$schema", "$id", "$comment", "$ref", "$defs", "definitions", "additionalProperties")

# And its limits, which GPT OSS does not take; nor does Claude most of them, in the schema of an answer.
LIMITS = (
    "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip

ITEM_ID = 64
LEAST_THOUGHT = 1024
IMAGE_URL = re.compile(r"https?://.|data:image/[a-z.+-]+;base64,.", re.IGNORECASE)
CODING_AGENT_MODE = "x-databricks-use-coding-agent-mode"
OUTPUT_FORMAT_BETA = "structured-outputs-"


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


def no_contents(call: Call) -> str | None:
    return None if contents(call) else "* GenerateContentRequest.contents: contents is not specified"


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
    """Go's words where the model is served by Databricks, OpenAI's for its own, pydantic's where it is passed on."""
    if family in HOSTED:
        return f'json: unknown field "{name}"'
    if family in OPENAI:
        place = re.sub(r"\.(\d+)", r"[\1]", path)
        return f"Unknown parameter: '{place}'."
    return f"{path}: Extra inputs are not permitted"


def cache_control(call: Call) -> str | None:
    for path, node in _places(call):
        if "cache_control" in node:
            return _unknown(call.endpoint.family, "cache_control", f"{path}cache_control")
    return None


def _places(call: Call) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Wherever a client may mark what is to be cached."""
    yield "", call.body
    for i, message in enumerate(messages(call)):
        yield f"messages.{i}.", message
        yield from ((f"messages.{i}.content.{j}.", part) for j, part in enumerate(objects(message.get("content"))))
    for i, tool in enumerate(objects(call.body.get("tools"))):
        yield f"tools.{i}.", tool
        yield f"tools.{i}.function.", thing(tool.get("function"))


def named_message(call: Call) -> str | None:
    named = (i for i, message in enumerate(messages(call)) if "name" in message)
    return next((_unknown(call.endpoint.family, "name", f"messages.{i}.name") for i in named), None)


def too_much_output(call: Call) -> str | None:
    asked, most = call.body.get("max_tokens"), call.endpoint.most
    if not most or not isinstance(asked, int) or asked <= most:
        return None
    return f"max_tokens ({asked}) cannot exceed {most}. Please reduce the length of max output tokens generated."


def sampling(call: Call) -> str | None:
    """Claude takes none of these at all, Kimi the values that it uses anyway."""
    if SAMPLING not in call.endpoint.refuses:
        return None
    for name, only in {"temperature": 1, "top_p": 0.95, "top_k": None}.items():
        asked = call.body.get(name)
        if asked is None:
            continue
        if call.endpoint.family in CLAUDE:
            return f"Model {call.endpoint.name} does not support the {name} parameter."
        if asked != only:
            return f"invalid {name}: only {only} is allowed for this model" if only else _unknown("kimi", name, name)
    return None


def effort_with_tools(call: Call) -> str | None:
    effort = call.body.get("reasoning_effort")
    if EFFORT_WITH_TOOLS not in call.endpoint.refuses or effort in (None, "none") or not tools(call):
        return None
    return (
        f"Function tools with reasoning_effort are not supported for {call.endpoint.display_name.lower()} in "
        "/v1/chat/completions. Please use /v1/responses instead."
    )


def reasoning_summary(call: Call) -> str | None:
    """What a library for one API leaves in a request to another."""
    if "reasoningSummary" not in call.body:
        return None
    family = call.endpoint.family
    name = "reasoningSummary"
    return f"Unknown parameter: '{name}'." if family in GPT else _unknown(family, name, name)


def reasoning_effort(call: Call) -> str | None:
    given = "reasoning_effort" in call.body
    return _unknown(call.endpoint.family, "reasoning_effort", "reasoning_effort") if given else None


def thinking_budget(call: Call) -> str | None:
    thinking, most = thing(call.body.get("thinking")), call.body.get("max_tokens")
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "thinking.enabled.budget_tokens: Field required"
    if budget < LEAST_THOUGHT:
        return f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_THOUGHT}"
    if isinstance(most, int) and most <= budget:
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    return None


def eager_input_streaming(call: Call) -> str | None:
    if call.headers.get(CODING_AGENT_MODE) == "true":
        return None
    eager = (i for i, tool in enumerate(tools(call)) if "eager_input_streaming" in tool.given)
    return next((f"tools.{i}.custom.eager_input_streaming: Extra inputs are not permitted" for i in eager), None)


def empty_text(call: Call) -> str | None:
    given = [("system", call.body.get("system"))] if call.api == MESSAGES else []
    given += [(f"messages.{i}", message.get("content")) for i, message in enumerate(messages(call))]
    for where, content in given:
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
    where = "tools[0].function_declarations"
    given = [(f"{where}[{i}].parameters", tool.given.get("parameters")) for i, tool in enumerate(tools(call))]
    own = either(generation_config(call), "responseSchema", "response_schema")
    given += [("generation_config.response_schema", own if call.api == GENERATE else wanted(call))]
    unknown = []
    for path, node in (found for place, schema in given for found in _schemas(schema, place)):
        if "ref" in node and set(node) - {"ref", "description", "default"}:
            return (
                f"Schema.ref '{node['ref']}' was set alongside unsupported fields. If a schema node has Schema.ref "
                "set, then only description and default can be set alongside it; other fields they would be "
                "replaced by the expanded reference."
            )
        unknown += [_not_found(name, path) for name in NOT_GOOGLE if name in node]
    return "\n".join(unknown) or None


def _not_found(name: str, path: str) -> str:
    return f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."


def two_schemas(call: Call) -> str | None:
    """Each of Google's schemas may be there in its own words or in those of JSON Schema."""
    for i, tool in enumerate(tools(call)):
        if "parameters" in tool.given and any(name in tool.given for name in PARAMETERS_JSON_SCHEMA):
            where = f"* GenerateContentRequest.tools[0].function_declarations[{i}]"
            return f"{where}: only one of parameters and parameters_json_schema can be set."
    config, where = generation_config(call), "* GenerateContentRequest.generation_config"
    if any(name in config for name in RESPONSE_JSON_SCHEMA):
        if either(config, "responseSchema", "response_schema") is not None:
            return f"{where}: only one of response_schema and response_json_schema can be set."
        if either(config, "responseMimeType", "response_mime_type") != "application/json":
            return f"{where}.response_json_schema: response_mime_type must be application/json."
    return None


def claude_s_format(call: Call) -> str | None:
    """Claude answers in the form of a schema that says of each object what it has, and sets no limits."""
    where, form = output_format(call)
    if where == "output_format" and OUTPUT_FORMAT_BETA not in call.headers.get("anthropic-beta", ""):
        return (
            "output_format: This field is deprecated. Use 'output_config.format' instead. See "
            "https://platform.claude.com/docs/en/build-with-claude/structured-outputs for more information."
        )
    if not form:
        return None
    if form.get("type") != "json_schema":
        return f"{where}.type: Input should be 'json_schema'"
    if not isinstance(schema := form.get("schema"), dict):
        return f"{where}.schema: Field required"
    named = [each for name in ("$defs", "definitions") for each in thing(schema.get(name)).values()]
    found = (node for each in [schema, *named] for _, node in _schemas(each, ""))
    return next(
        (f"{where}.schema: For '{node.get('type')}' type, {why}" for node in found if (why := _open(node))), None
    )


def _open(schema: Mapping[str, Any]) -> str | None:
    """What Claude does not take in the schema of an answer."""
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return "'additionalProperties' must be explicitly set to false"
    if schema.get("minItems") not in (None, 0, 1):
        return "'minItems' values other than 0 or 1 are not supported"
    limits = sorted(name for name in LIMITS if name in schema and name not in ("format", "minItems", "pattern"))
    if len(limits) > 1:
        return f"properties {', '.join(limits)} are not supported"
    return f"property '{limits[0]}' is not supported" if limits else None


def function_call_id(call: Call) -> str | None:
    unknown = []
    for i, content in enumerate(contents(call)):
        for j, part in enumerate(parts(content)):
            for camel, snake in (("functionCall", "function_call"), ("functionResponse", "function_response")):
                if "id" in thing(either(part, camel, snake)):
                    unknown.append(_not_found("id", f"contents[{i}].parts[{j}].{snake}"))
    return "\n".join(unknown) or None


def limited_schema(call: Call) -> str | None:
    for tool in tools(call):
        for path, node in _schemas(tool.schema, "parameters"):
            if found := next((name for name in LIMITS if name in node), None):
                return f"Invalid schema for function '{tool.name}': '{found}' is not supported at '{path}'."
    return None


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


def unsigned_call(call: Call) -> str | None:
    """Of several calls in one turn the first carries the signature; any other may, and none has to before Gemini 3."""
    must = call.endpoint.name.startswith("databricks-gemini-3")
    for i, message in enumerate(messages(call)):
        for j, tool_call in enumerate(objects(message.get("tool_calls"))):
            if "thoughtSignature" in tool_call:
                if not signatures.accepted(tool_call["thoughtSignature"]):
                    return "Corrupted thought signature."
            elif must and not j:
                return (
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                    "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                    f"data, function call `default_api:{thing(tool_call.get('function')).get('name')}`, position "
                    f"{i + 1}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more "
                    "details."
                )
    return None


def several_calls(call: Call) -> str | None:
    several = any(len(objects(message.get("tool_calls"))) > 1 for message in messages(call))
    return "Multiple tool calls are not supported.\n" if several else None


def lost_tool_message(call: Call) -> str | None:
    """What a tool said follows the call it answers, with nothing but answers to the same turn in between."""
    called: list[Any] = []
    for message in messages(call):
        if message.get("role") != "tool":
            called = [tool_call.get("id") for tool_call in objects(message.get("tool_calls"))]
        elif not (id := message.get("tool_call_id")) or id not in called:
            return (
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                "'tool_calls'."
            )
    return None


def tool_output(call: Call) -> str | None:
    for i, message in enumerate(messages(call)):
        if message.get("role") != "tool" or isinstance(content := message.get("content"), str):
            continue
        where = f"messages[{i}].content"
        if not isinstance(content, list):
            kind = _kind(content)
            return f"Invalid type for '{where}': expected one of a string or array of objects, but got {kind} instead."
        if not content:
            return f"Invalid '{where}': empty array. Expected an array with minimum length 1."
        for j, part in enumerate(content):
            if thing(part).get("type") != "text" or not isinstance(part.get("text"), str):
                return f"Invalid value: '{thing(part).get('type')}' at '{where}[{j}]'. Supported values are: 'text'."
    return None


def image_form(call: Call) -> str | None:
    for i, message in enumerate(messages(call)):
        for j, part in enumerate(objects(message.get("content"))):
            where, image = f"messages[{i}].content[{j}]", part.get("image_url")
            if part.get("type") in ("image", "input_image"):
                known = "'text', 'image_url', 'input_audio' and 'file'"
                return f"Invalid value: '{part['type']}'. Supported values are: {known}."
            if part.get("type") != "image_url":
                continue
            if not isinstance(image, dict):
                return f"Invalid type for '{where}.image_url': expected an object, but got {_kind(image)} instead."
            if not isinstance(url := image.get("url"), str) or not IMAGE_URL.match(url):
                return (
                    f"Invalid '{where}.image_url.url'. Expected a base64-encoded data URL with an image MIME type "
                    "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without the 'data:' prefix."
                )
    return None


def _kind(value: Any) -> str:
    """What JSON has there, with its article."""
    names = {
        str: "a string",
        list: "an array",
        dict: "an object",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
    }
    return names.get(type(value), "null")


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
    Rule(GEMINI, frozenset({GENERATE}), no_contents),
    Rule(CLAUDE, frozenset({MESSAGES}), no_max_tokens),
    Rule(NOT_GPT, frozenset({CHAT}), unknown_parameter),
    Rule(ANY - CLAUDE, frozenset({CHAT}), cache_control),
    Rule(NOT_GPT, frozenset({CHAT}), named_message),
    Rule(ANY, frozenset({CHAT}), reasoning_summary),
    Rule(CLAUDE, frozenset({CHAT}), reasoning_effort),
    Rule(CLAUDE, frozenset({CHAT, MESSAGES}), thinking_budget),
    Rule(CLAUDE, frozenset({MESSAGES}), thoughts.unsigned_thought),
    Rule(CLAUDE, frozenset({MESSAGES}), thoughts.lost_thought),
    Rule(CLAUDE, frozenset({MESSAGES}), claude_s_format),
    Rule(ANY, frozenset({CHAT, MESSAGES}), sampling),
    Rule(ANY, frozenset({CHAT}), effort_with_tools),
    Rule(ANY, frozenset({CHAT}), too_much_output),
    Rule(CLAUDE, frozenset({CHAT, MESSAGES}), eager_input_streaming),
    Rule(CLAUDE, frozenset({CHAT, MESSAGES}), empty_text),
    Rule(GEMINI, frozenset({CHAT}), several_systems),
    Rule(GEMINI, frozenset({CHAT, GENERATE}), foreign_schema),
    Rule(GEMINI, frozenset({GENERATE}), two_schemas),
    Rule(GEMINI, frozenset({GENERATE}), function_call_id),
    Rule(OSS, frozenset({CHAT}), limited_schema),
    Rule(ANY, frozenset({CHAT, RESPONSES, MESSAGES}), untyped_tool),
    Rule(ANY, frozenset({CHAT}), image_form),
    Rule(ANY, frozenset({CHAT}), tool_output),
    Rule(OPEN, frozenset({CHAT}), several_calls),
    Rule(ANY, frozenset({CHAT}), lost_tool_message),
    Rule(GEMINI, frozenset({CHAT}), unsigned_call),
    Rule(GPT, frozenset({RESPONSES}), long_item_id),
    Rule(GPT, frozenset({RESPONSES}), thoughts.foreign_thought),
)
