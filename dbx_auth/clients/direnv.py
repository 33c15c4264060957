"""direnv: a directory whose programs find a host and a token in the environment.

https://direnv.net
"""

from __future__ import annotations

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f'eval "$({setup.shell("env", "--shell", "direnv")})"'


CLIENT = Client(
    title="direnv",
    what=Snippet(text),
    programs=("direnv",),
    by_hand=lambda setup: [
        "put this into .envrc, then: direnv allow",
        f"the token is good for an hour at most; for what takes longer: {setup.shell('exec', '--serve')} -- COMMAND",
    ],
)
