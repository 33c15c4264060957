"""Codex: it runs the command of a provider's `auth` by itself, and speaks Responses alone.

https://developers.openai.com/codex/config-reference
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth import settings
from dbx_auth.calling import GATEWAYS
from dbx_auth.world import World

from . import KEPT_MS, Client, File, Setup, folder


def path(world: World) -> str:
    return os.path.join(folder(world, "CODEX_HOME", ".codex"), "config.toml")


def base_url(setup: Setup) -> str:
    """What the workspace has for Codex: elsewhere it gives out ids that Codex sends back and it does not take again.

    https://github.com/databricks/unity-gateway has Codex call it, too. `base_url` of config.toml goes before it.
    """
    return settings.base_url(setup.world, setup.host) or f"{setup.host}{GATEWAYS}/codex/v1"


def wanted(setup: Setup) -> dict[str, Any]:
    """No shell runs the command. It has more time than the five seconds it would have, for a slow network."""
    command, *args = setup.argv("token")
    return {
        "model": "databricks-gpt-5-1-codex-max",
        "model_provider": "databricks",
        "model_providers": {
            "databricks": {
                "name": "Databricks",
                "base_url": base_url(setup),
                "wire_api": "responses",
                "auth": {"command": command, "args": args, "timeout_ms": 15_000, "refresh_interval_ms": KEPT_MS},
            }
        },
    }


CLIENT = Client(
    title="Codex",
    what=File(path, "toml", wanted, sign=("model_provider",)),
    programs=("codex",),
    by_hand=lambda setup: ["other models: dbx-auth models --api responses, and codex --model NAME"],
)
