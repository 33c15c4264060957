"""How a model is called: where each API is, which of them to take, and one small call of a tool through each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import settings
from .errors import AuthError
from .models import Model
from .world import World, one_line

PLACE = "/serving-endpoints"
"""Where a workspace has the APIs of its models.

https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference
"""

SERVING = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "messages": "/anthropic/v1/messages",
    "generateContent": "/gemini/v1beta/models/{id}:generateContent",
    "embeddings": "/embeddings",
}
"""The path of each API there."""

GATEWAYS = "/ai-gateway"
"""Where it has those of its AI Gateway."""

GATEWAY = {
    "chat": "/mlflow/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
    "generateContent": "/gemini/v1beta/models/{id}:generateContent",
    "embeddings": "/mlflow/v1/embeddings",
}
"""The same in GATEWAYS, for models that only the gateway's own lists have."""

QUESTION = "What is the weather in Berlin? Call the tool."

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ABOUT = "The weather of a city"


class Base(NamedTuple):
    """Where the model calls of one host go: to its serving endpoints, and to its gateway."""

    serving: str
    gateway: str

    def of(self, model: Model) -> str:
        """The part of the address that all APIs of a model share."""
        return self.gateway if _is_gateways(model) else self.serving

    def url(self, model: Model, api: str) -> str:
        """Where this API of this model is."""
        paths = GATEWAY if _is_gateways(model) else SERVING
        return self.of(model) + paths[api].replace("{id}", model.id)


def base(host: str, world: World) -> Base:
    """Where calls go: `[hosts."…"] base_url` of config.toml, else `/serving-endpoints` of the host."""
    if not host:
        host = "https://<your workspace>"
        return Base(host + PLACE, host + GATEWAYS)
    return Base(settings.base_url(world, host) or host + PLACE, host + GATEWAYS)


def _is_gateways(model: Model) -> bool:
    return model.origins.get("id") in ("ai-gateway", "unity-catalog")


def preferred(model: Model) -> str:
    """The API to call a model through, empty where nobody has said which it speaks."""
    return model.apis[0] if model.apis else ""


def small(model: Model, api: str) -> dict[str, Any]:
    """A small request in which the model is to call a tool; an embedding where that is all it makes."""
    function = {"name": "weather", "description": _ABOUT, "parameters": _SCHEMA}
    messages = [{"role": "user", "content": QUESTION}]
    match api:
        case "chat":
            return {"model": model.id, "messages": messages, "tools": [{"type": "function", "function": function}]}
        case "responses":
            return {"model": model.id, "input": QUESTION, "tools": [{"type": "function", **function}]}
        case "messages":
            tool = {"name": "weather", "description": _ABOUT, "input_schema": _SCHEMA}
            return {"model": model.id, "max_tokens": 1024, "messages": messages, "tools": [tool]}
        case "generateContent":
            contents = [{"role": "user", "parts": [{"text": QUESTION}]}]
            return {"contents": contents, "tools": [{"functionDeclarations": [function]}]}
        case _:
            return {"model": model.id, "input": ["hello"]}


class Outcome(NamedTuple):
    """What came of a small call: whether it did what was asked, and what there is to say about it."""

    id: str
    api: str
    works: bool
    said: str
    seconds: float


def check(model: Model, where: Base, headers: Mapping[str, str], world: World, *, budget: float = 60.0) -> Outcome:
    """Send a model one small call of a tool through the API it is called by, and see what comes back.

    `budget` is how many seconds it may take. It never raises for what a server does: that is the outcome.
    """
    api, began = preferred(model), world.monotonic()
    if not api:
        return Outcome(model.id, "", False, "nobody has said which API it speaks", 0.0)
    sent = {**headers, "Content-Type": "application/json", "x-databricks-disable-beta-headers": "true"}
    body = json.dumps(small(model, api)).encode()
    try:
        answer = world.http("POST", where.url(model, api), headers=sent, content=body, budget=budget)
        said = answer.object()
    except AuthError as error:
        return Outcome(model.id, api, False, one_line(str(error)), world.monotonic() - began)
    took = world.monotonic() - began
    if not answer.ok:
        return Outcome(model.id, api, False, f"{answer.status}: {_complaint(said)}", took)
    wanted = _MARKS[api]
    if wanted not in _types(said):
        return Outcome(model.id, api, False, f"it answered, and made no {_MADE[wanted]}", took)
    return Outcome(model.id, api, True, _MADE[wanted], took)


_MARKS = {
    "chat": "tool_calls",
    "responses": "function_call",
    "messages": "tool_use",
    "generateContent": "functionCall",
    "embeddings": "embedding",
}
"""What stands in an answer that does what was asked: the name of a field, or a type."""

_MADE = {**dict.fromkeys(_MARKS.values(), "tool call"), "embedding": "embedding"}


def _types(said: object) -> set[str]:
    """The names of the fields of an answer that hold something, and its types, however deep."""
    found: set[str] = set()
    pending = [said]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            found |= {name for name, value in node.items() if value}
            found |= {node["type"]} if isinstance(node.get("type"), str) else set()
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return found


def _complaint(said: Mapping[str, Any]) -> str:
    """What a refusal says, in whichever shape."""
    error = said.get("error")
    for value in (said.get("message"), error.get("message") if isinstance(error, dict) else error):
        if text := one_line(value, 200):
            return text
    return "no reason was given"
