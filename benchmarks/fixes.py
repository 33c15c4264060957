"""What the fixes of a large request cost: 200 kB, a hundred tools with nested schemas, and a long conversation.

    python -P benchmarks/fixes.py [--rounds 50] [--most 10]

(`-P`, because benchmarks/token.py would stand in for a module of Python's.)

Prints for each row of the table the milliseconds that it takes by itself, then what a whole request costs in each
family, and what reading and writing it as JSON costs beside that; exits 1 when a row is above the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from dbx_auth import catalogue, fixes
from dbx_auth.catalogue import Facts
from dbx_auth.fixes.ids import SIGNED

SIZE = 200_000
TOOLS = 100
MODELS = ("claude-sonnet-4-5", "gpt-5-2", "gpt-5-1-codex-max", "gemini-3-pro", "gpt-oss-120b", "llama-4-maverick")

Body = dict[str, Any]


def schema(number: int) -> Body:
    """As a library makes it from classes: some name each other, one names itself."""
    node = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 80, "description": f"a name of kind {number}"},
            "parent": {"$ref": "#/$defs/Node"},
            "marks": {"type": "array", "items": {"$ref": "#/$defs/Mark"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    properties: Body = {f"field_{n}": {"type": "string", "description": "what is to be looked at"} for n in range(6)}
    properties |= {"root": {"$ref": "#/$defs/Node", "description": "where to begin"}, "all": {"$ref": "#/$defs/Node"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": properties,
        "required": ["root"],
        "additionalProperties": False,
        "$defs": {"Node": node, "Mark": {"type": "string", "enum": ["a", "b"], "minLength": 1}},
    }


def tool(api: str, number: int) -> Body:
    described: Body = {"name": f"tool_{number}", "description": "it does what it says", "strict": True}
    if api == fixes.CHAT:
        function = {**described, "parameters": schema(number), "cache_control": {}, "eager_input_streaming": True}
        return {"type": "function", "function": function}
    if api == fixes.MESSAGES:
        return {**described, "input_schema": schema(number), "eager_input_streaming": True}
    return {"type": "function", **described, "parameters": schema(number)}


def turn(api: str, number: int, text: str) -> list[Body]:
    """A question, two calls of tools with what they put out, and an answer."""
    ids = [f"call_{number}_{n}" for n in range(2)]
    if api == fixes.RESPONSES:
        long = [f"{id}_{'x' * 80}" for id in ids]
        calls: list[Body] = [
            {"type": "function_call", "id": id, "call_id": id, "name": "tool_1", "arguments": "{}"} for id in long
        ]
        outputs = [{"type": "function_call_output", "call_id": id, "output": text} for id in long]
        return [{"role": "user", "content": text}, *calls, *outputs]
    if api == fixes.GENERATE:
        called = [{"functionCall": {"id": id, "name": "tool_1", "args": {}}} for id in ids]
        results = [{"functionResponse": {"id": id, "name": "tool_1", "response": {"result": text}}} for id in ids]
        return [{"role": "user", "parts": [{"text": text}]}, {"role": "model", "parts": called}, {"parts": results}]
    if api == fixes.MESSAGES:
        used = [{"type": "tool_use", "id": id, "name": "tool_1", "input": {}} for id in ids]
        told = [{"type": "tool_result", "tool_use_id": id, "content": text} for id in ids]
        blank = {"type": "text", "text": ""}
        said: Body = {"role": "assistant", "content": [blank, *used]}
        return [{"role": "user", "content": text}, said, {"role": "user", "content": told}]
    function = {"name": "tool_1", "arguments": "{}"}
    signed = [f"{id}{SIGNED}c2lnbmVk" for id in ids]
    asked: list[Body] = [
        {"type": "text", "text": text, "cache_control": {}},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
    ]
    calls = [{"id": id, "type": "function", "function": function} for id in signed]
    history: list[Body] = [{"role": "system", "content": "be brief"}, {"role": "user", "name": "ada", "content": asked}]
    history += [{"role": "assistant", "content": "", "tool_calls": calls}]
    history += [{"role": "tool", "tool_call_id": id, "content": {"said": text}} for id in signed]
    return history


def request(api: str) -> Body:
    """A request of that size through that API, with something in it for every row."""
    tools = [tool(api, number) for number in range(TOOLS)]
    if api == fixes.GENERATE:
        declared = [{name: value for name, value in each.items() if name != "type"} for each in tools]
        tools = [{"functionDeclarations": declared}]
    place = {fixes.RESPONSES: "input", fixes.GENERATE: "contents"}.get(api, "messages")
    body: Body = {"tools": tools, "max_completion_tokens": 500_000, "temperature": 0.5, "store": True}
    body |= {"stream_options": {}, "parallel_tool_calls": True, "reasoning_effort": "low"}
    body |= {"reasoningSummary": "auto", place: []}
    text, missing = "some words " * 30, SIZE - len(json.dumps(body))
    for number in range(max(1, missing // len(json.dumps(turn(api, 0, text))) + 1)):
        body[place] += turn(api, number, text)
    return body


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def facts_of(row: fixes.Fix) -> Facts:
    """Those of a model that needs this fix."""
    found = catalogue.everything().values()
    return next(facts for facts in found if not row.quirk or row.quirk in facts.quirks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--most", type=float, default=10.0, help="milliseconds of a row above which this fails")
    options = parser.parse_args()
    bodies = {api: request(api) for api in (fixes.CHAT, fixes.RESPONSES, fixes.MESSAGES, fixes.GENERATE)}
    slowest = 0.0
    print(f"{'row':<28}{'API':<18}{'ms':>8}")
    for row in fixes.TABLE:
        for api in row.apis if row.request else ():
            change, body, facts = row.request, bodies[api], facts_of(row)
            assert change
            if change(body, api, facts) is body:
                sys.exit(f"there is nothing in the request for {row.name}")
            took = milliseconds(lambda: change(body, api, facts), options.rounds)  # noqa: B023
            slowest = max(slowest, took)
            print(f"{row.name:<28}{api:<18}{took:8.2f}")
    print(f"\n{'whole request':<28}{'API':<18}{'ms':>8}")
    for model in MODELS:
        facts = catalogue.facts(model)
        for api in facts.apis:
            body = bodies[api]
            took = milliseconds(lambda: fixes.request(facts, api, body), options.rounds)  # noqa: B023
            print(f"{model:<28}{api:<18}{took:8.2f}")
    body = bodies[fixes.CHAT]
    text = json.dumps(body)
    print(
        f"\n{'JSON, read':<28}{len(text) / 1000:.0f} kB{milliseconds(lambda: json.loads(text), options.rounds):20.2f}"
    )
    print(
        f"{'JSON, written':<28}{len(text) / 1000:.0f} kB{milliseconds(lambda: json.dumps(body), options.rounds):20.2f}"
    )
    print(f"slowest row {slowest:.2f} ms   (at most {options.most:.0f})")
    return int(slowest > options.most)


if __name__ == "__main__":
    sys.exit(main())
