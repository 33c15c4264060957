"""Zed: it takes a key from the keyring or the environment, and runs no helper, so it is pointed at the gateway.

https://zed.dev/docs/ai/use-api-access
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth.models import Model
from dbx_auth.world import World

from . import GATEWAY, NEW_MODELS, Client, File, Setup, folder


def path(world: World) -> str:
    if world.platform == "win32":
        base = folder(world, "APPDATA", os.path.join("AppData", "Roaming"))
        return os.path.join(base, "Zed", "settings.json")
    base = os.path.join("~", ".config") if world.platform == "darwin" else folder(world, "XDG_CONFIG_HOME", ".config")
    return os.path.join(world.expand(base), "zed", "settings.json")


def wanted(setup: Setup) -> dict[str, Any]:
    models = [_described(model) for model in setup.models if model.context]
    provider = {"api_url": f"{GATEWAY}/v1", "available_models": models}
    return {"language_models": {"openai_compatible": {"Databricks": provider}}}


def _described(model: Model) -> dict[str, Any]:
    capabilities = {
        "tools": True,
        "images": "image" in model.input,
        "parallel_tool_calls": True,
        "prompt_cache_key": False,
    }
    return {
        "name": model.id,
        "display_name": model.name,
        "max_tokens": model.context,
        "capabilities": capabilities,
    }


CLIENT = Client(
    title="Zed",
    what=File(path, "json", wanted, sign=("language_models",)),
    programs=("zed", "zeditor"),
    shadows=("DATABRICKS_API_KEY",),
    needs_gateway=True,
    by_hand=lambda setup: [
        f"enter the key of the gateway in Zed: agent: open settings, Databricks; it is in {setup.key_file}",
        NEW_MODELS,
    ],
)
