"""The metadata service of Databricks' SDKs: a fresh token for whoever knows the address.

The SDKs and Terraform ask it whenever theirs is about to end, when DATABRICKS_METADATA_SERVICE_URL names it.
https://github.com/databricks/databricks-sdk-go/blob/main/config/auth_metadata_service.go
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .tokens import Token

VERSION = "1"

LASTING = 3600
"""Seconds after which a client asks again for a token that has no end."""


class Reply(NamedTuple):
    """A status and a JSON object. The Python SDK reads the object whatever the status."""

    status: int
    body: dict[str, Any]


def reply(headers: Mapping[str, str], token: Token, now: float) -> Reply:
    """What to answer; `headers` have lower-case names, `now` is in epoch seconds."""
    if headers.get("x-databricks-metadata-version") != VERSION:
        return Reply(400, _error(f"send X-Databricks-Metadata-Version: {VERSION}"))
    host = headers.get("x-databricks-host", "").rstrip("/").lower()
    if host != token.host:
        return Reply(404, _error(f"this service has tokens for {token.host}"))
    ends = now + LASTING if token.expires_at is None else token.expires_at
    # A number with a fraction, or in quotes, is not read by all of them.
    return Reply(200, {"access_token": token.value, "token_type": token.token_type, "expires_on": int(ends)})


def _error(text: str) -> dict[str, Any]:
    return {"error": "invalid_request", "error_description": text}
