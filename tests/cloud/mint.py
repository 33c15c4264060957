"""Tokens that everybody in the emulated cloud can check, because all of them share one key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

HOUR = 3600


class Mint:
    """Makes JWTs, and knows its own again until they end."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, life: float = HOUR, **claims: Any) -> str:
        now = int(time.time())
        body = {"iat": now, "nbf": now, "exp": int(now + life), "jti": secrets.token_hex(8), **claims}
        signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(body)}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours that has not ended; None for anything else."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        claims = decoded(signed.partition(".")[2])
        return claims if claims["exp"] > time.time() else None

    def _signature(self, signed: str) -> str:
        return base64url(hmac.digest(self._key, signed.encode(), hashlib.sha256))


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encoded(claims: Mapping[str, Any]) -> str:
    return base64url(json.dumps(claims).encode())


def decoded(part: str) -> dict[str, Any]:
    """One part of a JWT."""
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
