"""A conversation goes on with another model: what the one before has thought is taken back by itself or by nobody.

The sandbox says whether it is: it is as strict as the families are.
"""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter
from unit.conversations import Json, through, user

from dbx_auth import catalogue, fixes, translate
from dbx_auth.catalogue import APIS
from dbx_auth.fixes.ids import SIGNED
from dbx_auth.sandbox import refusals, signatures, workspace
from dbx_auth.sandbox.calls import Call

CHAT, RESPONSES, MESSAGES, *_ = APIS
CLAUDE, OPUS = "databricks-claude-sonnet-4-5", "databricks-claude-opus-5-5"
GPT, CODEX, OSS, GEMINI = (
    "databricks-gpt-5-2",
    "databricks-gpt-5-1-codex-max",
    "databricks-gpt-oss-120b",
    "databricks-gemini-3-pro",
)
SPOKEN = {CHAT: workspace.CHAT, RESPONSES: workspace.RESPONSES, MESSAGES: workspace.MESSAGES}
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

USED = {"prompt_tokens": 1, "completion_tokens": 1}
LOOK = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}


def sent(api: str, model: str, asked: Json) -> tuple[str, Json]:
    """The request as it reaches a model, and through which API."""
    facts = catalogue.facts(model)
    spoken = translate.between(api, facts.apis)
    assert spoken
    return spoken, fixes.request(facts, spoken, translate.request(api, spoken, asked)).body


def refused(api: str, model: str, body: Json) -> str | None:
    return refusals.refusal(Call(workspace.ENDPOINTS[model], SPOKEN[api], body))


def told(api: str, model: str, answer: Json, asked: Json) -> Json:
    """The answer of a model as it reaches the client."""
    facts = catalogue.facts(model)
    spoken = translate.between(api, facts.apis)
    assert spoken
    return translate.reply(api, spoken, fixes.reply(facts, spoken, answer).body, asked)


def completion(**message: Any) -> Json:
    finish = "tool_calls" if "tool_calls" in message else "stop"
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": USED}


# ---- to Claude -------------------------------------------------------------------------------------------------------


def claude_s(*messages: Json, **more: Any) -> Json:
    return {"max_tokens": 4096, "messages": list(messages), **more}


def result(blocks: list[Json]) -> Json:
    used = [block for block in blocks if block["type"] == "tool_use"]
    return user([{"type": "tool_result", "tool_use_id": block["id"], "content": "ok"} for block in used])


def by_oss() -> list[Json]:
    answer = completion(reasoning_content="hm", content="I look.", tool_calls=[LOOK])
    return list(told(MESSAGES, OSS, answer, claude_s(user()))["content"])


def by_oss_streamed() -> list[Json]:
    deltas: list[Json] = [
        {"reasoning_content": "hm"},
        {"content": "I look."},
        {"tool_calls": [{"index": 0, **LOOK}]},
    ]
    chunks = [{"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    message, buffers = None, dict[int, bytes]()
    for event in through(translate.Stream(MESSAGES, CHAT, claude_s(user())), chunks):
        message = accumulate_event(event=EVENT.validate_python(event), current_snapshot=message, json_bufs=buffers)
    assert message
    blocks: Any = message.to_dict()["content"]
    return list(blocks)


def by_codex() -> list[Json]:
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "gAAAAABo",
    }
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    answer = {"id": "resp_1", "status": "completed", "output": [thought, call]}
    return list(told(MESSAGES, CODEX, answer, claude_s(user()))["content"])


@pytest.mark.parametrize("model", [CLAUDE, OPUS])
@pytest.mark.parametrize("made", [by_oss, by_oss_streamed, by_codex])
def test_claude_goes_on_where_another_model_has_thought(made: Any, model: str) -> None:
    blocks = made()
    assert blocks[0]["type"] == "thinking" and blocks[0]["thinking"] == "hm" and not blocks[0].get("signature")
    over = claude_s(user(), {"role": "assistant", "content": blocks}, result(blocks), said("done"), user())
    midway = claude_s(user(), {"role": "assistant", "content": blocks}, result(blocks), **THINKING)
    for asked, thinks in (({**over, **THINKING}, True), (over, False), (midway, False)):
        before = copy.deepcopy(asked)
        api, body = sent(MESSAGES, model, asked)
        assert (api, refused(api, model, body), "thinking" in body, asked) == (MESSAGES, None, thinks, before)
        kept = [block["type"] for block in body["messages"][1]["content"]]
        assert kept == [block["type"] for block in blocks[1:]]
        assert "signature" in str(refused(MESSAGES, model, asked))


def said(text: str) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def test_claude_takes_back_what_it_has_thought_itself() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": signatures.sign("hm")}
    used = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    turn = {"role": "assistant", "content": [signed, used]}
    asked = claude_s(user(), turn, result([used]), **THINKING)
    assert sent(MESSAGES, CLAUDE, asked) == (MESSAGES, asked) and refused(MESSAGES, CLAUDE, asked) is None


# ---- to OpenAI -------------------------------------------------------------------------------------------------------


def openai_s(*items: Json, **more: Any) -> Json:
    return {"input": list(items), **more}


CLAUDE_SIGNED = {"type": "thinking", "thinking": "hm", "signature": signatures.sign("hm")}
SAID_BY_CLAUDE: Json = {
    "id": "msg_1",
    "model": "claude",
    "content": [CLAUDE_SIGNED, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
SAID_BY_OSS = completion(reasoning_content="hm", tool_calls=[LOOK])


@pytest.mark.parametrize("model", [GPT, CODEX])
@pytest.mark.parametrize(("maker", "answer"), [(OPUS, SAID_BY_CLAUDE), (OSS, SAID_BY_OSS)], ids=["claude", "gpt-oss"])
def test_openai_is_not_sent_what_another_model_has_thought(maker: str, answer: Json, model: str) -> None:
    thought, call = told(RESPONSES, maker, answer, openai_s(user()))["output"]
    assert (thought["type"], thought["summary"][0]["text"]) == ("reasoning", "hm")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
    asked = openai_s(user(), thought, call, output, store=False)
    assert "could not be verified" in str(refused(RESPONSES, model, asked))
    api, body = sent(RESPONSES, model, asked)
    assert (api, body["input"], refused(api, model, body)) == (RESPONSES, [user(), call, output], None)


def test_a_thought_that_goes_to_openai_and_back_is_claude_s_again() -> None:
    thought, call = told(RESPONSES, OPUS, SAID_BY_CLAUDE, openai_s(user()))["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
    api, body = sent(RESPONSES, OPUS, openai_s(user("hi"), thought, call, output, reasoning={"effort": "low"}))
    assert body["messages"][1]["content"][0] == CLAUDE_SIGNED and body["thinking"]["type"] == "enabled"
    assert (api, refused(api, OPUS, body)) == (MESSAGES, None)


def test_openai_takes_back_what_it_has_sealed_itself_and_nobody_else_is_sent_it() -> None:
    seal = signatures.sign("hm")
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal}
    asked = openai_s(user(), sealed, user())
    assert sent(RESPONSES, CODEX, asked) == (RESPONSES, asked) and refused(RESPONSES, CODEX, asked) is None
    for model in (OPUS, OSS):
        _, body = sent(RESPONSES, model, asked)
        assert seal not in str(body)


# ---- Gemini's signatures, which travel in the ids of its calls -------------------------------------------------------

SAID_BY_GEMINI = completion(tool_calls=[{**LOOK, "thoughtSignature": signatures.sign("{}")}])


@pytest.mark.parametrize("model", [GEMINI, CLAUDE, GPT, OSS])
@pytest.mark.parametrize("api", [CHAT, RESPONSES, MESSAGES])
def test_the_signature_of_gemini_goes_back_to_gemini_alone(api: str, model: str) -> None:
    if api == CHAT:
        message = told(api, GEMINI, SAID_BY_GEMINI, {})["choices"][0]["message"]
        id = message["tool_calls"][0]["id"]
        asked: Json = {"messages": [user(), message, {"role": "tool", "tool_call_id": id, "content": "ok"}]}
        del message["tool_calls"][0]["thoughtSignature"]
    elif api == RESPONSES:
        [call] = told(api, GEMINI, SAID_BY_GEMINI, {})["output"]
        id = call["call_id"]
        asked = openai_s(user(), call, {"type": "function_call_output", "call_id": id, "output": "ok"})
    else:
        blocks = told(api, GEMINI, SAID_BY_GEMINI, {})["content"]
        id = blocks[0]["id"]
        asked = claude_s(user(), {"role": "assistant", "content": blocks}, result(blocks))
    assert id.startswith("call_1" + SIGNED)
    spoken, body = sent(api, model, asked)
    assert refused(spoken, model, body) is None
    assert SIGNED not in str(body) and str(body).count("'call_1'") == 2
    assert ("thoughtSignature" in str(body)) is (model == GEMINI)


# ---- without the rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["no-unsigned-thoughts", "no-foreign-thoughts", "no-thought-signature"])
def test_without_its_row_each_of_them_is_sent(row: str) -> None:
    blocks = by_oss()
    thought, call = told(RESPONSES, OSS, SAID_BY_OSS, openai_s(user()))["output"]
    [signed] = told(RESPONSES, GEMINI, SAID_BY_GEMINI, {})["output"]
    cases = {
        "no-unsigned-thoughts": (MESSAGES, CLAUDE, claude_s(user(), {"role": "assistant", "content": blocks}), "'hm'"),
        "no-foreign-thoughts": (RESPONSES, GPT, openai_s(user(), thought, call), "'hm'"),
        "no-thought-signature": (RESPONSES, GPT, openai_s(user(), signed), signed["call_id"][:20]),
    }
    api, model, asked, shown = cases[row]
    assert shown not in str(sent(api, model, asked))
    left = tuple(each for each in fixes.TABLE if each.name != row)
    with mock.patch.object(fixes, "TABLE", left):
        assert shown in str(sent(api, model, asked))
