"""How a token is written for those who read it: a table of pure functions from a token and the time to text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

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


def env(token: Token, now: float) -> str:
    """Lines for `eval` in a POSIX shell."""
    from shlex import quote

    if token.token_type != "Bearer":
        raise Refused(
            f"{token.auth_type} is no token that fits into DATABRICKS_TOKEN", hint="dbx-auth token -o headers"
        )
    values = {"DATABRICKS_HOST": token.host, "DATABRICKS_TOKEN": token.value}
    if workspace_id := token.extra.get("X-Databricks-Workspace-Id"):
        values["DATABRICKS_WORKSPACE_ID"] = workspace_id
    return "\n".join(f"export {name}={quote(value)}" for name, value in values.items())


FORMATS: dict[str, Callable[[Token, float], str]] = {
    "text": text,
    "json": as_json,
    "header": header,
    "headers": headers,
    "env": env,
}


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
