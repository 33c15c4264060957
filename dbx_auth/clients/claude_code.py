"""Claude Code: it runs `apiKeyHelper` by itself, again after a while and when it is refused.

https://docs.claude.com/en/docs/claude-code/settings
"""

from __future__ import annotations

import os
from typing import Any

from dbx_auth.world import World

from . import KEPT_MS, Client, File, Setup, folder


def path(world: World) -> str:
    return os.path.join(folder(world, "CLAUDE_CONFIG_DIR", ".claude"), "settings.json")


def wanted(setup: Setup) -> dict[str, Any]:
    """The models are named, because a workspace calls them otherwise than Anthropic does."""
    return {
        "apiKeyHelper": setup.shell("token"),
        "env": {
            "ANTHROPIC_BASE_URL": f"{setup.serving}/anthropic",
            "ANTHROPIC_CUSTOM_HEADERS": "x-databricks-use-coding-agent-mode: true",
            "ANTHROPIC_DEFAULT_OPUS_MODEL": "databricks-claude-opus-4-5",
            "ANTHROPIC_DEFAULT_SONNET_MODEL": "databricks-claude-sonnet-4-5",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "databricks-claude-haiku-4-5",
            "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": str(KEPT_MS),
        },
    }


CLIENT = Client(
    title="Claude Code",
    what=File(path, "json", wanted, sign=("apiKeyHelper",)),
    programs=("claude",),
    shadows=(
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
    ),
    by_hand=lambda setup: ["other models: dbx-auth models --api messages, and their names in place of those in env"],
)
