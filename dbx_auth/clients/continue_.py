"""Continue: its settings are YAML, and its keys do not change, so it is pointed at the gateway.

https://docs.continue.dev/reference
"""

from __future__ import annotations

from . import GATEWAY, Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f"""\
name: Databricks
version: 0.0.1
schema: v1
models:
  - name: Claude Sonnet 4.5
    provider: openai
    model: databricks-claude-sonnet-4-5
    apiBase: {GATEWAY}/v1
    apiKey: ${{{{ secrets.DBX_AUTH_GATEWAY_KEY }}}}
    roles: [chat, edit, apply]"""


CLIENT = Client(
    title="Continue",
    what=Snippet(text),
    programs=("cn",),
    needs_gateway=True,
    by_hand=lambda setup: [
        "put this into ~/.continue/config.yaml",
        f'and the key: (umask 077; echo "DBX_AUTH_GATEWAY_KEY={setup.key_in_shell}" >> ~/.continue/.env)',
    ],
)
