"""How a token is written for those who read it: pure functions from a token, or from variables, to text; in tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .errors import AuthError, Refused
from .tokens import Token, format_expiry


def text(token: Token, now: float) -> str:
    return token.value


def as_json(token: Token, now: float) -> str:
    """What the Databricks CLI prints, and three fields more."""
    never = token.expires_at is None
    return json.dumps(
        {
            "access_token": token.value,
            "token_type": token.token_type,
            "expiry": None if token.expires_at is None else format_expiry(token.expires_at),
            "expires_in": None if never else math.floor(token.life(now)),
            "host": token.host,
            "auth_type": token.auth_type,
            "origin": token.origin,
        },
        indent=2,
    )


def header(token: Token, now: float) -> str:
    """Lines for `curl -H @-`, which keeps the token out of the list of processes."""
    return "\n".join(f"{name}: {value}" for name, value in token.headers.items())


def headers(token: Token, now: float) -> str:
    """A JSON object of headers, as MCP clients take it from a headersHelper."""
    return json.dumps(dict(token.headers))


def bazel(token: Token, now: float) -> str:
    """A JSON object of headers and when to ask again, as Bazel and what speaks its protocol take it."""
    from . import protocols

    return protocols.bazel(token, now)


def env(token: Token, now: float) -> str:
    """Lines for `eval` in a POSIX shell."""
    return script("sh", variables(token))


def place(token: Token) -> dict[str, str]:
    """Where a token is for, as the Databricks SDKs read it from the environment."""
    workspace_id = token.extra.get("X-Databricks-Workspace-Id")
    return {"DATABRICKS_HOST": token.host} | ({"DATABRICKS_WORKSPACE_ID": workspace_id} if workspace_id else {})


def variables(token: Token) -> dict[str, str]:
    """A token as the Databricks SDKs read it from the environment. Raises Refused for one that they cannot."""
    if token.token_type != "Bearer":
        raise Refused(
            f"{token.auth_type} is no token that fits into DATABRICKS_TOKEN", hint="dbx-auth token -o headers"
        )
    return {"DATABRICKS_HOST": token.host, "DATABRICKS_TOKEN": token.value, **place(token)}


FORMATS: dict[str, Callable[[Token, float], str]] = {
    "text": text,
    "json": as_json,
    "header": header,
    "headers": headers,
    "bazel": bazel,
    "env": env,
}


def _sh(name: str, value: str) -> str:
    from shlex import quote

    return f"export {name}={quote(value)}"


def _fish(name: str, value: str) -> str:
    """In single quotes a backslash stands for itself, except before a backslash or a quote."""
    return "set -gx {} '{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))


def _powershell(name: str, value: str) -> str:
    """Typographic quotes end a string as well there; each is doubled."""
    import re

    return "$Env:{} = '{}'".format(name, re.sub("(['\u2018-\u201b])", r"\1\1", value))


def _cmd(name: str, value: str) -> str:
    """What stays as it is between quotes, at the prompt and in a batch file alike."""
    return 'set "{}={}"'.format(name, _plain(value, r'[^%!"\x00-\x1f\x7f]*', "cmd"))


def _dotenv(name: str, value: str) -> str:
    """No quotes: docker takes them for a part of the value, and others differ in what they stand for."""
    return "{}={}".format(name, _plain(value, "[A-Za-z0-9@%+=:,./_-]*", "dotenv"))


def _plain(value: str, characters: str, shell: str) -> str:
    import re

    if re.fullmatch(characters, value):
        return value
    text = f"a value has a character that cannot be written for {shell} so that all who read it agree"
    raise Refused(text, hint="dbx-auth env --shell powershell" if shell == "cmd" else "dbx-auth exec -- CMD")


class Shell(NamedTuple):
    """How a shell is told to set a variable for the programs that it starts, and to take one away."""

    set: Callable[[str, str], str]
    unset: Callable[[str], str]


SHELLS: dict[str, Shell] = {
    "sh": Shell(_sh, "unset {}".format),
    "fish": Shell(_fish, "set -eg {}".format),  # the global one, which `set -gx` made; a universal one stays
    "powershell": Shell(_powershell, "Remove-Item Env:{} -ErrorAction SilentlyContinue".format),
    "cmd": Shell(_cmd, 'set "{}="'.format),
    "direnv": Shell(_sh, "unset {}".format),  # an .envrc is for bash
    "dotenv": Shell(_dotenv, "{}=".format),  # an empty variable is none for the Databricks SDKs
}


def script(shell: str, changes: Mapping[str, str | None]) -> str:
    """What the shell evaluates for these changes, None taking a variable away; a line for each.

    Raises Refused for a value that nobody can write for this shell.
    """
    to = SHELLS[shell]
    return "\n".join(to.unset(name) if value is None else to.set(name, value) for name, value in changes.items())


def failure(error: AuthError) -> str:
    """An error for a program to read."""
    document: dict[str, object] = {
        "error_code": error.error_code,
        "message": str(error),
        "hint": error.hint,
        "retryable": error.retryable,
    }
    if error.retry_after is not None:
        document["retry_after"] = error.retry_after
    return json.dumps(document, indent=2)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `47 min`, `2 h 5 min`, `30 s`."""
    whole = max(0, int(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"
