"""openai's library for Python: it asks a function for the key before each request."""

from __future__ import annotations

import json

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    name = "profile" if setup.profile else "host"
    value, base_url = (json.dumps(word, ensure_ascii=False) for word in (setup.profile or setup.host, setup.serving))
    return f"""\
from openai import OpenAI

from dbx_auth import Credentials, token_provider

client = OpenAI(
    base_url={base_url},
    api_key=token_provider(Credentials({name}={value})),
)
answer = client.chat.completions.create(
    model="databricks-claude-sonnet-4-5", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)"""


CLIENT = Client(
    title="openai for Python",
    what=Snippet(text),
    by_hand=lambda setup: ["pip install dbx-auth openai, in the environment of your program"],
)
