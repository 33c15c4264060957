"""aider: it reads a key when it starts, and runs no helper, so it is pointed at the gateway.

https://aider.chat/docs/config/aider_conf.html
"""

from __future__ import annotations

from . import GATEWAY, Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f"""\
openai-api-base: {GATEWAY}/v1
model: openai/databricks-claude-sonnet-4-5"""


CLIENT = Client(
    title="aider",
    what=Snippet(text),
    programs=("aider",),
    shadows=("AIDER_OPENAI_API_BASE", "AIDER_OPENAI_API_KEY", "AIDER_MODEL"),
    needs_gateway=True,
    by_hand=lambda setup: [
        "put this into ~/.aider.conf.yml",
        f'start it: OPENAI_API_KEY="{setup.key_in_shell}" aider',
    ],
)
