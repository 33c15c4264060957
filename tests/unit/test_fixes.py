"""What each row of the table does to a request, an answer and a stream, and that nothing is done without it."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple
from unittest import mock

import pytest

from dbx_auth import catalogue, fixes
from dbx_auth.fixes import CHAT, GENERATE, MESSAGES, RESPONSES, Body, Stream
from dbx_auth.fixes.ids import NO_SIGNATURE, SIGNED, _short as short
from dbx_auth.fixes.messages import NO_OUTPUT
from dbx_auth.fixes.replies import TOOL_CALL

CLAUDE, OPUS_4_7, HAIKU = "databricks-claude-sonnet-4-5", "databricks-claude-opus-4-7", "databricks-claude-haiku-4-5"
GEMINI, OLD_GEMINI = "databricks-gemini-3-pro", "databricks-gemini-2-5-pro"
GPT, GPT_5_5, CODEX = "databricks-gpt-5-2", "databricks-gpt-5-5", "databricks-gpt-5-1-codex-max"
OSS, LLAMA, GLM, INKLING = "databricks-gpt-oss-120b", "databricks-llama-4-maverick", "databricks-glm-5-3", "inkling"

USER = {"role": "user", "content": "hi"}
LONG = "msg_" + "a" * 100
SHORT = LONG[:23] + "_" + "a3a2a8a5a2a2a0a2"


def function(schema: object, **more: Any) -> Body:
    return {"type": "function", "function": {"name": "look", "parameters": schema, **more}}


def call(id: str = "c1", name: str = "look", arguments: str = "{}", **more: Any) -> Body:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calling(*calls: Body, content: object = None) -> Body:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content: object, id: str = "c1") -> Body:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(said: str, **more: Any) -> Body:
    return {"type": "text", "text": said, **more}


def saying(*parts: object) -> Body:
    return {"role": "user", "content": list(parts)}


def asked(*messages: Body, **more: Any) -> Body:
    return {"model": "m", "messages": [USER, *messages], **more}


def answered(message: Body, finish: str | None = "stop") -> Body:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


def chunk(delta: Body, finish: str | None = None, **more: Any) -> Body:
    return {"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


class Case(NamedTuple):
    """A row, a model, and what becomes of what is `given`; a list is a stream."""

    row: str
    model: str
    given: Any
    wanted: Any
    api: str = CHAT
    is_reply: bool = False


def request(row: str, model: str, given: Body, wanted: Body, api: str = CHAT) -> Case:
    return Case(row, model, given, wanted, api)


def reply(row: str, model: str, given: Any, wanted: Any, api: str = CHAT) -> Case:
    return Case(row, model, given, wanted, api, True)


OBJECT = {"type": "object", "properties": {}}
STRICT = {"type": "object", "properties": {"q": {"type": "string", "maxLength": 9}}, "required": ["q"]}
LOOSE = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FOREIGN = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"q": {"$ref": "#/$defs/Q", "description": "what"}},
    "additionalProperties": False,
    "$defs": {"Q": {"type": "string"}},
}
GOOGLE = {"type": "object", "properties": {"q": {"type": "string", "description": "what"}}}
PNG = "iVBORw0KGgoAAAANSUhEUg"


def image(url: str, **more: Any) -> Body:
    return {"type": "image_url", "image_url": {"url": url, **more}}


SIGNED_ID = "c1" + SIGNED + "c2lnbmVkIQ"  # "signed!"

SIGNED_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
REDACTED = {"type": "redacted_thinking", "data": "c2VjcmV0"}
UNSIGNED: list[Body] = [
    {"type": "thinking", "thinking": "hm"},
    {"type": "thinking", "thinking": "hm", "signature": ""},
    {"type": "thinking", "thinking": "hm", "signature": None},
    {"type": "redacted_thinking"},
]
USED = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
GIVEN = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "ok"}]}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
CLEARING = {"type": "clear_thinking_20251015", "keep": "all"}


def said(*blocks: Body) -> Body:
    return {"role": "assistant", "content": list(blocks)}


def thought(sealed: object, **more: Any) -> Body:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed, **more}


THOUGHTS: list[tuple[Body, Body]] = [
    ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ({"reasoning_effort": "none"}, {}),
    ({"reasoning_effort": 7}, {}),
    ({"reasoning_effort": "high", "max_tokens": 1000}, {"max_tokens": 1000}),
    ({"reasoning_effort": "high", "max_tokens": 8000},
     {"max_tokens": 8000, "thinking": {"type": "enabled", "budget_tokens": 4000}}),
    ({"reasoning_effort": "high", "thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
]  # fmt: skip

CASES = [
    # ---- images and tools' output, for whom it may concern
    *(
        request("image-forms", GPT, asked(saying(sent)), asked(saying(got)))
        for sent, got in [
            ({"type": "image_url", "image_url": "https://x/i.png"}, image("https://x/i.png")),
            ({"type": "image_url", "image_url": {"url": PNG}}, image(f"data:image/png;base64,{PNG}")),
            ({"type": "image_url", "image_url": {"url": "/9j/4AA", "detail": "low"}},
             image("data:image/jpeg;base64,/9j/4AA", detail="low")),
            ({"type": "image", "data": "AAAA", "mimeType": "image/webp"}, image("data:image/webp;base64,AAAA")),
            ({"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
             image("data:image/gif;base64,R0lG")),
            ({"type": "image", "source": {"type": "url", "url": "https://x/i"}}, image("https://x/i")),
            ({"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "high"},
             image("data:image/png;base64,AA", detail="high")),
            ({"type": "file", "data": "AAAA", "mediaType": "image/png"}, image("data:image/png;base64,AAAA")),
        ]
    ),
    *(
        request("tool-output-as-text", GPT, asked(calling(call()), result(said)), asked(calling(call()), result(text)))
        for said, text in [
            ("", NO_OUTPUT),
            (None, NO_OUTPUT),
            ([], NO_OUTPUT),
            ({"a": "é"}, '{"a": "é"}'),
            (7, "7"),
            ({"type": "text", "value": "fine"}, "fine"),
            ({"type": "error-text", "value": "broken"}, "broken"),
            ({"type": "json", "value": [1]}, "[1]"),
            ({"type": "content", "value": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
            ({"content": [{"type": "text", "text": "from MCP"}], "isError": False}, "from MCP"),
            ([{"type": "text", "text": "a"}, {"type": "image", "data": "AAAA", "mimeType": "image/png"}],
             "a\n[image, 26 characters]"),
        ]
    ),
    # ---- Gemini
    request("gemini-schema", GEMINI, asked(tools=[function(FOREIGN)]), asked(tools=[function(GOOGLE)])),
    request(
        "gemini-schema",
        GEMINI,
        asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": FOREIGN}}),
        asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": GOOGLE}}),
    ),
    *(
        request(
            "gemini-schema",
            GEMINI,
            {"tools": [{name: [{"name": "look", "parameters": FOREIGN}]}]},
            {"tools": [{name: [{"name": "look", "parameters": GOOGLE}]}]},
            GENERATE,
        )
        for name in ("functionDeclarations", "function_declarations")
    ),
    request(
        "no-function-call-id",
        GEMINI,
        {"contents": [{"parts": [{"functionCall": {"id": "1", "name": "a"}}, {"functionResponse": {"id": "1"}}]}]},
        {"contents": [{"parts": [{"functionCall": {"name": "a"}}, {"functionResponse": {}}]}]},
        GENERATE,
    ),
    request(
        "one-system-message",
        GEMINI,
        {"messages": [{"role": "system", "content": "a"}, USER, {"role": "developer", "content": "b"}]},
        {"messages": [{"role": "system", "content": "a\n\nb"}, USER]},
    ),
    request(
        "one-system-message",
        GEMINI,
        {"messages": [{"role": "system", "content": [text("a")]}, {"role": "system", "content": "b"}]},
        {"messages": [{"role": "system", "content": [text("a"), text("b")]}]},
    ),
    request(
        "thought-signature",
        GEMINI,
        asked(calling(call(SIGNED_ID), call("c2")), result("ok", SIGNED_ID), result("ok", "c2")),
        asked(calling(call(thoughtSignature="signed!"), call("c2")), result("ok"), result("ok", "c2")),
    ),
    request(
        "thought-signature",
        GEMINI,
        asked(calling(call(extra_content={"google": {"thought_signature": "s"}})), result("ok")),
        asked(
            calling(call(extra_content={"google": {"thought_signature": "s"}}, thoughtSignature="s")), result("ok")
        ),
    ),
    request(
        "thought-signature",
        GEMINI,
        asked(calling(call(), call("c2")), result("ok"), result("ok", "c2")),
        asked(calling(call(thoughtSignature=NO_SIGNATURE), call("c2")), result("ok"), result("ok", "c2")),
    ),
    reply(
        "thought-signature",
        GEMINI,
        answered({"content": None, "tool_calls": [call(thoughtSignature="signed!")]}, "tool_calls"),
        answered({"content": None, "tool_calls": [call(SIGNED_ID, thoughtSignature="signed!")]}, "tool_calls"),
    ),
    reply(
        "thought-signature",
        GEMINI,
        [chunk({"tool_calls": [{"index": 0, **call(thoughtSignature="signed!")}]})],
        [chunk({"tool_calls": [{"index": 0, **call(SIGNED_ID, thoughtSignature="signed!")}]})],
    ),
    request(
        "no-thought-signature",
        GPT,
        asked(calling(call(SIGNED_ID)), result("ok", SIGNED_ID)),
        asked(calling(call()), result("ok")),
    ),
    request(
        "no-thought-signature",
        CLAUDE,
        {"messages": [USER, said({**USED, "id": SIGNED_ID}), {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": SIGNED_ID, "content": "ok"}]}]},
        {"messages": [USER, said(USED), GIVEN]},
        MESSAGES,
    ),
    request(
        "no-thought-signature",
        GPT,
        {"input": [{"type": "function_call", "call_id": SIGNED_ID}, {"call_id": SIGNED_ID, "output": "x"}]},
        {"input": [{"type": "function_call", "call_id": "c1"}, {"call_id": "c1", "output": "x"}]},
        RESPONSES,
    ),
    # ---- what was thought
    *(
        request("no-unsigned-thoughts", CLAUDE, {"messages": [USER, said(block, text("a")), USER]},
                {"messages": [USER, said(text("a")), USER]}, MESSAGES)
        for block in UNSIGNED
    ),
    request("no-unsigned-thoughts", CLAUDE, {"messages": [USER, said(UNSIGNED[0]), USER]}, {"messages": [USER, USER]},
            MESSAGES),
    request(
        "no-unsigned-thoughts",
        CLAUDE,
        {"messages": [USER, said(UNSIGNED[0], USED), GIVEN], **THINKING},
        {"messages": [USER, said(USED), GIVEN]},
        MESSAGES,
    ),
    request(
        "no-unsigned-thoughts",
        CLAUDE,
        {"messages": [USER, said(USED), GIVEN], **THINKING, "context_management": {"edits": [CLEARING]}},
        {"messages": [USER, said(USED), GIVEN]},
        MESSAGES,
    ),
    request(
        "no-unsigned-thoughts",
        CLAUDE,
        {"messages": [USER, said(text("a"), USED), GIVEN, said(SIGNED_THOUGHT, USED), GIVEN], **THINKING,
         "context_management": {"edits": [CLEARING, {"type": "clear_tool_uses_20250919"}]}},
        {"messages": [USER, said(text("a"), USED), GIVEN, said(SIGNED_THOUGHT, USED), GIVEN],
         "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        MESSAGES,
    ),
    *(
        request("no-foreign-thoughts", CODEX, {"input": [USER, thought(sealed), USER]}, {"input": [USER, USER]},
                RESPONSES)
        for sealed in ("[]", '[{"type": "thinking", "thinking": "hm", "signature": "EqQB"}]', "Work it out.")
    ),
    # ---- Claude
    request("no-empty-text", CLAUDE, asked(calling(call(), content="")), asked(calling(call()))),
    request("no-empty-text", CLAUDE, asked({"role": "assistant", "content": " "}, USER), asked(USER)),
    request(
        "no-empty-text",
        CLAUDE,
        asked(saying(text(""), text("a"))),
        asked(saying(text("a"))),
    ),
    request(
        "no-empty-text",
        CLAUDE,
        {"system": "", "messages": [USER, {"role": "assistant", "content": []}, USER]},
        {"messages": [USER, USER]},
        MESSAGES,
    ),
    request(
        "no-empty-text",
        CLAUDE,
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": ""}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}]},
        MESSAGES,
    ),
    request(
        "no-eager-input-streaming",
        CLAUDE,
        {"tools": [{"name": "look", "input_schema": OBJECT, "eager_input_streaming": True}]},
        {"tools": [{"name": "look", "input_schema": OBJECT}]},
        MESSAGES,
    ),
    request(
        "no-eager-input-streaming",
        CLAUDE,
        asked(tools=[function(OBJECT, eager_input_streaming=True)]),
        asked(tools=[function(OBJECT)]),
    ),
    *(
        request("no-reasoning-effort", CLAUDE, {"messages": [USER], **sent}, {"messages": [USER], **got})
        for sent, got in THOUGHTS
    ),
    request(
        "no-reasoning-effort",
        CLAUDE,
        asked(calling(call()), result("ok"), reasoning_effort="high"),
        asked(calling(call()), result("ok")),
    ),
    request("no-sampling", OPUS_4_7, asked(temperature=0.5, top_p=1, top_k=3), asked()),
    request("no-sampling", OPUS_4_7, {"temperature": 0.5, "messages": [USER]}, {"messages": [USER]}, MESSAGES),
    request("no-reasoning-effort", HAIKU, {"messages": [USER], "reasoning_effort": "low"}, {"messages": [USER]}),
    # ---- the others
    request("no-stream-options", LLAMA, asked(stream_options={"include_usage": True}), asked()),
    request(
        "no-openai-extras",
        CLAUDE,
        asked(
            store=False,
            service_tier="auto",
            prompt_cache_key="k",
            strict=True,
            tools=[function(OBJECT, strict=True)],
            response_format={"type": "json_schema", "json_schema": {"schema": OBJECT, "strict": True}},
        ),
        asked(
            tools=[function(OBJECT)], response_format={"type": "json_schema", "json_schema": {"schema": OBJECT}}
        ),
    ),
    request("no-parallel-tool-calls", CLAUDE, asked(parallel_tool_calls=False), asked()),
    request("no-reasoning-summary", GPT, asked(reasoningSummary="auto"), asked()),
    request("no-effort-with-tools", GPT_5_5, asked(reasoning_effort="low", tools=[function(OBJECT)]),
            asked(tools=[function(OBJECT)])),
    request("no-max-completion-tokens", CLAUDE, asked(max_completion_tokens=9), asked(max_tokens=9)),
    request("no-max-completion-tokens", CLAUDE, asked(max_completion_tokens=9, max_tokens=8), asked(max_tokens=8)),
    request("capped-output", GLM, asked(max_tokens=100_000), asked(max_tokens=25_000)),
    request("no-user-name", CLAUDE, asked({**USER, "name": "bob"}), asked(USER)),
    request(
        "no-cache-control",
        GPT,
        asked(
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
            {**USER, "cache_control": {"type": "ephemeral"}},
            tools=[{**function(OBJECT, cache_control={}), "cache_control": {}}],
            cache_control={},
        ),
        asked({"role": "user", "content": [{"type": "text", "text": "a"}]}, USER, tools=[function(OBJECT)]),
    ),
    request(
        "single-tool-calls",
        OSS,
        asked(calling(call("1"), call("2"), content="well"), result("b", "2"), result("a", "1"), USER),
        asked(calling(call("1"), content="well"), result("a", "1"), calling(call("2")), result("b", "2"), USER),
    ),
    request("no-schema-limits", OSS, asked(tools=[function(STRICT)]), asked(tools=[function(LOOSE)])),
    *(
        request("object-schema", GPT, asked(tools=[function(sent)]), asked(tools=[function(got)]))
        for sent, got in [
            ({"properties": {"a": {}}}, {"properties": {"a": {}}, "type": "object"}),
            ({"type": ["object", "null"]}, {"type": "object"}),
            (True, OBJECT),
        ]
    ),
    request("object-schema", CODEX, {"tools": [{"type": "function", "name": "a", "parameters": {}}]},
            {"tools": [{"type": "function", "name": "a", "parameters": {"type": "object"}}]}, RESPONSES),
    request("object-schema", HAIKU, {"tools": [{"name": "a"}]},
            {"tools": [{"name": "a", "input_schema": OBJECT}]}, MESSAGES),
    request(
        "short-item-ids",
        CODEX,
        {"input": [{"type": "function_call", "id": LONG, "call_id": LONG}, {"call_id": LONG, "output": "x"}]},
        {"input": [{"type": "function_call", "id": short(LONG), "call_id": short(LONG)},
                   {"call_id": short(LONG), "output": "x"}]},
        RESPONSES,
    ),
    reply("short-item-ids", CODEX, {"output": [{"id": LONG}]}, {"output": [{"id": short(LONG)}]}, RESPONSES),
    reply(
        "short-item-ids",
        CODEX,
        [
            {"type": "response.output_item.added", "output_index": 0, "item": {"id": "fc_1", "call_id": LONG}},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_2", "delta": "{"},
            {"type": "response.output_item.done", "output_index": 0, "item": {"id": "fc_3", "call_id": LONG}},
            {"type": "response.completed", "response": {"output": [{"id": LONG, "call_id": LONG}]}},
        ],
        [
            {"type": "response.output_item.added", "output_index": 0,
             "item": {"id": "fc_1", "call_id": short(LONG)}},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_1", "delta": "{"},
            {"type": "response.output_item.done", "output_index": 0,
             "item": {"id": "fc_1", "call_id": short(LONG)}},
            {"type": "response.completed", "response": {"output": [{"id": "fc_1", "call_id": short(LONG)}]}},
        ],
        RESPONSES,
    ),
    # ---- answers
    reply(
        "content-parts",
        OSS,
        answered({"content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, {"type": "text", "text": "a"}
        ]}),
        answered({"content": "a", "reasoning_content": "hm"}),
    ),
    reply("content-parts", GEMINI, answered({"content": [{"type": "text", "text": "a", "thoughtSignature": "s"}]}),
          answered({"content": "a"})),
    reply("content-parts", GEMINI, answered({"content": []}), answered({"content": ""})),
    reply(
        "content-parts",
        CLAUDE,
        [chunk({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]}),
         chunk({"content": [{"type": "text", "text": "a"}]})],
        [chunk({"content": "", "reasoning_content": "hm"}), chunk({"content": "a"})],
    ),
    reply(
        "databricks-tool-call",
        LLAMA,
        answered({"content": None, "tool_calls": [call(name=TOOL_CALL, arguments='{"name": "look", "q": 1}')]},
                 "tool_calls"),
        answered({"content": None, "tool_calls": [call(arguments='{"q": 1}')]}, "tool_calls"),
    ),
    reply(
        "databricks-tool-call",
        LLAMA,
        [
            chunk({"tool_calls": [{"index": 0, **call(name=TOOL_CALL, arguments="")}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"name": "look", "arg'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'uments": {"q": {}}}'}}]}),
            chunk({}, "tool_calls"),
        ],
        [
            chunk({"tool_calls": []}),
            chunk({"tool_calls": []}),
            chunk({"tool_calls": [{"index": 0, **call(arguments='{"q": {}}')}]}),
            chunk({}, "tool_calls"),
        ],
    ),
    reply(
        "databricks-tool-call",
        LLAMA,
        [chunk({"tool_calls": [{"index": 0, **call(name=TOOL_CALL, arguments="{")}]}), chunk({}, "length")],
        [chunk({"tool_calls": []}),
         chunk({"tool_calls": [{"index": 0, **call(name=TOOL_CALL, arguments="{")}]}, "length")],
    ),
    reply(
        "finish-reason",
        LLAMA,
        answered({"content": None, "tool_calls": [call()]}),
        answered({"content": None, "tool_calls": [call()]}, "tool_calls"),
    ),
    reply(
        "finish-reason",
        LLAMA,
        [chunk({"tool_calls": [{"index": 0, **call()}]}), chunk({}, "stop")],
        [chunk({"tool_calls": [{"index": 0, **call()}]}), chunk({}, "tool_calls")],
    ),
    reply("no-finish-reason", INKLING, answered({"content": "a"}, None), answered({"content": "a"}, "stop")),
    reply("no-finish-reason", INKLING, [chunk({"content": "a"})], [chunk({"content": "a"}), chunk({}, "stop")]),
    reply(
        "no-finish-reason",
        INKLING,
        [chunk({"tool_calls": [{"index": 0, **call()}]})],
        [chunk({"tool_calls": [{"index": 0, **call()}]}), chunk({}, "tool_calls")],
    ),
]  # fmt: skip


def done(case: Case) -> Any:
    facts = catalogue.facts(case.model)
    if not case.is_reply:
        return fixes.request(facts, case.api, case.given).body
    if not isinstance(case.given, list):
        return fixes.reply(facts, case.api, case.given).body
    stream = Stream(facts, case.api)
    return [*(stream.event(event) for event in case.given), *stream.end()]


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.row}" for number, case in enumerate(CASES)])
def test_a_row_does_what_it_says_and_without_it_nobody_does(case: Case) -> None:
    before = copy.deepcopy(case.given)
    assert done(case) == case.wanted
    assert case.given == before, "what is given stays as it is"
    rows = tuple(row for row in fixes.TABLE if row.name != case.row)
    assert len(rows) == len(fixes.TABLE) - 1
    with mock.patch.object(fixes, "TABLE", rows):
        assert done(case) != case.wanted


def test_every_row_is_tried() -> None:
    assert {case.row for case in CASES} == {row.name for row in fixes.TABLE}


def test_what_was_done_is_told_by_its_name() -> None:
    facts = catalogue.facts(LLAMA)
    body = asked(stream_options={}, store=True)
    assert fixes.request(facts, CHAT, body).names == ("no-stream-options", "no-openai-extras")


FINE: list[Body] = [
    asked(),
    asked({"role": "assistant", "content": "well"}, USER, temperature=1, max_tokens=10, stream=True),
    asked(calling(call()), result("ok"), tools=[function(LOOSE)], tool_choice="auto"),
    asked({"role": "user", "content": [{"type": "text", "text": "a"}, image("https://x/i.png", detail="low")]}),
    {"messages": "nonsense", "tools": 7, "input": None},
    {"messages": [None, 7, {"role": "tool"}, {"tool_calls": [{}, None]}], "tools": [{}, None, {"function": 7}]},
]


@pytest.mark.parametrize("model", [CLAUDE, GPT, CODEX, OSS, LLAMA, INKLING, "people-s-own"])
@pytest.mark.parametrize("body", FINE)
def test_what_needs_no_fix_is_the_same_object(model: str, body: Body) -> None:
    for api in (CHAT, RESPONSES, MESSAGES, GENERATE):
        assert fixes.request(catalogue.facts(model), api, body).body is body or api == MESSAGES


def test_signatures_go_there_and_back_through_a_client_that_keeps_ids_alone() -> None:
    """And through one that keeps everything."""
    facts = catalogue.facts(GEMINI)
    given = answered({"content": None, "tool_calls": [call(thoughtSignature="sïgned/+=")]}, "tool_calls")
    came = fixes.reply(facts, CHAT, given).body["choices"][0]["message"]
    (told,) = came["tool_calls"]
    for kept in (told, {name: told[name] for name in ("id", "type", "function")}):
        sent = fixes.request(facts, CHAT, asked(calling(kept), result("ok", kept["id"]))).body
        assert sent["messages"][1]["tool_calls"] == [call(thoughtSignature="sïgned/+=")]
        assert sent["messages"][2]["tool_call_id"] == "c1"


def test_a_signature_that_somebody_has_torn_is_left_out() -> None:
    facts = catalogue.facts(OLD_GEMINI)
    for torn in ("c1" + SIGNED + "%%%", "c1" + SIGNED + "_w"):
        sent = fixes.request(facts, CHAT, asked(calling(call(torn)), result("ok", torn))).body
        assert sent["messages"][1]["tool_calls"] == [call()] and sent["messages"][2]["tool_call_id"] == "c1"


def test_a_short_id_is_always_the_same_has_64_characters_and_keeps_its_first_letters() -> None:
    found = short(LONG)
    assert found == short(LONG) and len(found) == 64 and found.startswith("msg_aaa")
    assert short(found) == found and short("fc_1") == "fc_1" and short(LONG + "b") != found


def test_with_no_message_left_the_family_is_asked_all_the_same() -> None:
    body = {"messages": [{"role": "user", "content": ""}]}
    assert fixes.request(catalogue.facts(CLAUDE), CHAT, body).body is body


def test_a_tool_may_be_without_a_schema_where_openai_lets_it() -> None:
    body = asked(tools=[{"type": "function", "function": {"name": "now"}}])
    assert fixes.request(catalogue.facts(GPT), CHAT, body).body is body


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [USER, said(SIGNED_THOUGHT, REDACTED, USED), GIVEN], **THINKING},
        {"messages": [USER, said(SIGNED_THOUGHT, USED), GIVEN, said(text("a"), USED), GIVEN], **THINKING},
        {"messages": [USER, said(USED), GIVEN, said(text("done")), USER], **THINKING},
        {"messages": [USER, said(USED), GIVEN], "thinking": {"type": "adaptive"}},
        {"messages": [USER, said(USED), GIVEN], "context_management": {"edits": []}},
        {"messages": [said(UNSIGNED[0])]},
        {"messages": [GIVEN], **THINKING},
    ],
    ids=["signed", "thought at the start of the turn", "a turn that is over", "adaptive", "none", "alone", "no turn"],
)
def test_claude_gets_back_what_it_has_thought_and_thinks_on(body: Body) -> None:
    assert fixes.request(catalogue.facts(CLAUDE), MESSAGES, body).body is body


def test_a_block_of_a_type_that_is_none_is_no_thought() -> None:
    odd = {"messages": [USER, said({"type": ["thinking"]}, {"type": {}}), GIVEN]}
    assert fixes.request(catalogue.facts(CLAUDE), MESSAGES, {**odd, **THINKING}).body == odd


@pytest.mark.parametrize("item", [thought("gAAAAABo-_8="), thought(None), thought(""), {"type": "compaction"}])
def test_openai_gets_back_what_it_has_sealed(item: Body) -> None:
    body = {"input": [USER, item, USER]}
    assert fixes.request(catalogue.facts(CODEX), RESPONSES, body).body is body


def test_two_choices_of_a_stream_are_kept_apart() -> None:
    stream = Stream(catalogue.facts(INKLING), CHAT)
    for index, delta in ((0, {"content": "a"}), (1, {"tool_calls": [{"index": 0, **call()}]})):
        stream.event({"id": "x", "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
    stream.event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    assert stream.end() == [{"id": "x", "choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]}]
    assert stream.names == {"no-finish-reason"}


def test_the_table_is_written_for_people() -> None:
    for row in fixes.TABLE:
        assert row.apis and row.evidence.startswith("https://") and all((row.sent, row.answered, row.instead))
        assert row.request or row.reply or row.event
        if row.quirk:
            assert row.quirk in catalogue.quirks(), row.name
    assert len({row.name for row in fixes.TABLE}) == len(fixes.TABLE)


def test_every_quirk_that_can_be_mended_has_its_row() -> None:
    mended = {row.quirk for row in fixes.TABLE}
    assert set(catalogue.quirks()) - mended == {"messages-only", "responses-only"}
