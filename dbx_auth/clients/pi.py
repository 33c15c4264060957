"""Pi: a value that begins with `!` is a command that it runs before each request.

https://github.com/earendil-works/pi-mono/blob/main/packages/coding-agent/docs/models.md
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth.models import Model
from dbx_auth.world import World

from . import NEW_MODELS, Client, File, Setup, folder

APIS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "messages": (
        "databricks-claude",
        "anthropic-messages",
        "/anthropic",
        {"headers": {"x-databricks-use-coding-agent-mode": "true"}},
    ),
    "responses": ("databricks-gpt", "openai-responses", "", {}),
}
"""The APIs that Pi speaks as a workspace takes them: a provider for each, where it is, and what else it needs."""


def path(world: World) -> str:
    return os.path.join(folder(world, "PI_CODING_AGENT_DIR", os.path.join(".pi", "agent")), "models.json")


def wanted(setup: Setup) -> dict[str, Any]:
    providers = {}
    for api, (name, theirs, place, more) in APIS.items():
        providers[name] = {
            "baseUrl": f"{setup.serving}{place}",
            "api": theirs,
            "apiKey": f"!{setup.shell('token')}",
            "authHeader": True,
            **more,
            "models": [_described(model) for model in setup.models if api in model.apis],
        }
    return {"providers": providers}


def _described(model: Model) -> dict[str, Any]:
    kinds = [kind for kind in ("text", "image") if kind in model.input]
    said = {
        "id": model.id,
        "name": model.name,
        "reasoning": model.reasoning,
        "input": kinds,
        "contextWindow": model.context,
        "maxTokens": model.output,
    }
    return {name: value for name, value in said.items() if value}


CLIENT = Client(
    title="Pi",
    what=File(path, "json", wanted, sign=("providers",)),
    programs=("pi",),
    by_hand=lambda setup: ["choose a model of Databricks in Pi: /model", NEW_MODELS],
)
