"""Parameters and tool schemas that a family does not know."""

from __future__ import annotations

from dbx_auth.catalogue import Facts

from . import schemas, walk
from .walk import MESSAGES, Body

LEAST_THOUGHT = 1024
"""Tokens of thinking that Claude wants to be given at least."""

THOUGHT = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""Tokens of thinking for OpenAI's words for effort."""


def gemini_schema(body: Body, api: str, facts: Facts) -> Body:
    return walk.schemas(body, api, schemas.for_google)


def no_schema_limits(body: Body, api: str, facts: Facts) -> Body:
    return walk.schemas(body, api, schemas.without_limits)


def object_schema(body: Body, api: str, facts: Facts) -> Body:
    name = walk.schema_name(api)

    def change(tool: Body) -> Body:
        must = api == MESSAGES or tool.get(name) is not None
        return walk.put(tool, name, schemas.of_an_object(tool.get(name))) if must else tool

    return walk.tools(body, api, change)


def no_stream_options(body: Body, api: str, facts: Facts) -> Body:
    return walk.without(body, "stream_options")


_OPENAI_EXTRAS = ("strict", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")


def no_openai_extras(body: Body, api: str, facts: Facts) -> Body:
    body = walk.tools(walk.without(body, *_OPENAI_EXTRAS), api, lambda tool: walk.without(tool, "strict"))
    return walk.inside(
        body, "response_format", lambda f: walk.inside(f, "json_schema", lambda j: walk.without(j, "strict"))
    )


def no_parallel_tool_calls(body: Body, api: str, facts: Facts) -> Body:
    return walk.without(body, "parallel_tool_calls")


def no_reasoning_summary(body: Body, api: str, facts: Facts) -> Body:
    return walk.without(body, "reasoningSummary", "reasoning_summary")


def no_eager_input_streaming(body: Body, api: str, facts: Facts) -> Body:
    def change(tool: Body) -> Body:
        return walk.inside(
            walk.without(tool, "eager_input_streaming"), "function", lambda f: walk.without(f, "eager_input_streaming")
        )

    return walk.every(body, "tools", change)


def no_sampling(body: Body, api: str, facts: Facts) -> Body:
    return walk.without(body, "temperature", "top_p", "top_k")


def no_effort_with_tools(body: Body, api: str, facts: Facts) -> Body:
    return walk.without(body, "reasoning_effort") if body.get("tools") else body


def no_reasoning_effort(body: Body, api: str, facts: Facts) -> Body:
    if "reasoning_effort" not in body:
        return body
    effort, body = body["reasoning_effort"], walk.without(body, "reasoning_effort")
    budget = THOUGHT.get(effort, 0) if isinstance(effort, str) else 0
    most = body.get("max_tokens", body.get("max_completion_tokens"))
    if isinstance(most, int) and budget >= most:  # thinking counts as output
        budget = most // 2
    if facts.reasoning is False or budget < LEAST_THOUGHT or "thinking" in body or _thoughts_are_lost(body):
        return body
    return {**body, "thinking": {"type": "enabled", "budget_tokens": budget}}


def _thoughts_are_lost(body: Body) -> bool:
    """Whether the last turn of the model called tools, and what it had thought has not come back with it.

    Claude goes on thinking only from where it was.
    https://docs.claude.com/en/docs/build-with-claude/extended-thinking
    """
    turns = [m for m in walk.objects(body.get("messages")) if m.get("role") == "assistant"]
    return bool(turns and turns[-1].get("tool_calls")) and not any(
        part.get("type") in ("reasoning", "thinking") for part in walk.objects(turns[-1].get("content"))
    )


def no_max_completion_tokens(body: Body, api: str, facts: Facts) -> Body:
    if "max_completion_tokens" not in body:
        return body
    left = walk.without(body, "max_completion_tokens")
    return left if "max_tokens" in body else {**left, "max_tokens": body["max_completion_tokens"]}


def capped_output(body: Body, api: str, facts: Facts) -> Body:
    for name in ("max_tokens", "max_completion_tokens"):
        asked = body.get(name)
        if facts.output and isinstance(asked, int) and asked > facts.output:
            body = {**body, name: facts.output}
    return body


def no_user_name(body: Body, api: str, facts: Facts) -> Body:
    return walk.messages(
        body, lambda message: message if message.get("role") == "tool" else walk.without(message, "name")
    )


def no_cache_control(body: Body, api: str, facts: Facts) -> Body:
    def without(each: Body) -> Body:
        return walk.without(each, "cache_control")

    body = walk.messages(without(body), lambda message: walk.parts(without(message), without))
    return walk.every(body, "tools", lambda t: walk.inside(without(t), "function", without))
