"""Gemini CLI: it reads its key from a file when it starts, and runs no helper, so it is pointed at the gateway.

https://github.com/google-gemini/gemini-cli/blob/main/docs/get-started/configuration.md
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth.world import World

from . import GATEWAY, Client, File, Setup, folder


def path(world: World) -> str:
    return os.path.join(folder(world, "GEMINI_CLI_HOME", ""), ".gemini", ".env")


def wanted(setup: Setup) -> dict[str, Any]:
    return {
        "GOOGLE_GEMINI_BASE_URL": GATEWAY,
        "GEMINI_API_KEY": setup.key,
        "GEMINI_MODEL": "databricks-gemini-3-pro",
    }


CLIENT = Client(
    title="Gemini CLI",
    what=File(path, "dotenv", wanted, sign=("GEMINI_API_KEY",)),
    programs=("gemini",),
    shadows=(
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "GEMINI_MODEL",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_GENAI_USE_GCA",
    ),
    needs_gateway=True,
    by_hand=lambda setup: [
        "choose `Use Gemini API Key` in gemini: /auth; signed in with Google, it goes there",
        "trust the folder when gemini asks; elsewhere it reads no .env",
    ],
)
