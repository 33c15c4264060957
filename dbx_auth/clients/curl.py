"""curl: headers go from one program to the other, and the token is not in the list of processes."""

from __future__ import annotations

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f"{setup.shell('token', '-o', 'header')} | curl -sS -H @- {setup.host}/api/2.0/preview/scim/v2/Me"


CLIENT = Client(title="curl", what=Snippet(text), programs=("curl",))
