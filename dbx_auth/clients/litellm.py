"""LiteLLM's proxy: its settings are YAML, and it keeps the key it starts with, so it is pointed at the gateway.

https://docs.litellm.ai/docs/proxy/configs
"""

from __future__ import annotations

from . import GATEWAY, Client, Setup, Snippet


def text(setup: Setup) -> str:
    """All models at once: the gateway knows which there are."""
    return f"""\
model_list:
  - model_name: "*"
    litellm_params:
      model: "openai/*"
      api_base: {GATEWAY}/v1
      api_key: os.environ/DBX_AUTH_GATEWAY_KEY"""


CLIENT = Client(
    title="LiteLLM",
    what=Snippet(text),
    programs=("litellm",),
    needs_gateway=True,
    by_hand=lambda setup: [
        "put this into the config.yaml of the proxy",
        f'start it: DBX_AUTH_GATEWAY_KEY="{setup.key_in_shell}" LITELLM_MASTER_KEY="sk-{setup.key_in_shell}" '
        "litellm --host 127.0.0.1 --config config.yaml",
        "its own clients send the second key; without one it does not start, and without --host others reach it",
    ],
)
