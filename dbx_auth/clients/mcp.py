"""MCP servers of a workspace: Claude Code runs `headersHelper` when it connects, and when it is refused.

https://docs.claude.com/en/docs/claude-code/mcp
"""

from __future__ import annotations

import json

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    server = {
        "type": "http",
        "url": f"{setup.host}/api/2.0/mcp/functions/system/ai",
        "headersHelper": setup.shell("helper headers"),
    }
    return json.dumps({"mcpServers": {"databricks": server}}, indent=2, ensure_ascii=False)


CLIENT = Client(
    title="MCP servers",
    what=Snippet(text),
    programs=("claude",),
    by_hand=lambda setup: [
        "put this into .mcp.json of a project that you trust, with the address of your server",
        "the path is that of this machine: it is not for a file that others get",
    ],
)
