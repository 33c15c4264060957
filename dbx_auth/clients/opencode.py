"""opencode: it reads a key when it starts, and sends what most families refuse, so it is pointed at the gateway.

https://opencode.ai/docs/config and https://opencode.ai/docs/providers
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth.models import Model
from dbx_auth.world import World

from . import GATEWAY, NEW_MODELS, Client, File, Setup, folder


def path(world: World) -> str:
    """The file that OPENCODE_CONFIG names, else the one of the two names that counts more of those that are there."""
    if named := world.env.get("OPENCODE_CONFIG"):
        return world.expand(named)
    base = world.env.get("OPENCODE_CONFIG_DIR")
    inside = world.expand(base) if base else os.path.join(folder(world, "XDG_CONFIG_HOME", ".config"), "opencode")
    names = [os.path.join(inside, name) for name in ("opencode.jsonc", "opencode.json")]
    return next((name for name in names if os.path.exists(name)), names[-1])


def wanted(setup: Setup) -> dict[str, Any]:
    """A provider whose name is not `databricks`: opencode has one of that name. The key is read from its file."""
    return {
        "provider": {
            "dbx-auth": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Databricks",
                "options": {"baseURL": f"{GATEWAY}/v1", "apiKey": f"{{file:{setup.key_file}}}"},
                "models": {model.id: _described(model) for model in setup.models},
            }
        }
    }


def _described(model: Model) -> dict[str, Any]:
    said: dict[str, Any] = {"name": model.name, "attachment": "image" in model.input}
    if model.context and model.output:  # it takes both or neither
        said["limit"] = {"context": model.context, "output": model.output}
    return said


CLIENT = Client(
    title="opencode",
    what=File(path, "json", wanted, sign=("provider",)),
    programs=("opencode",),
    shadows=("OPENCODE_CONFIG_CONTENT",),
    needs_gateway=True,
    by_hand=lambda setup: ["choose a model of Databricks in opencode: /models", NEW_MODELS],
)
