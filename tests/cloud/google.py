"""Google's token endpoint and its service for borrowing a service account."""

from __future__ import annotations

import base64
import secrets
import time
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .mint import Mint, decoded
from .wire import Answer, Request, reply

TOKEN_URL = "https://oauth2.googleapis.com/token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ISSUER = "https://accounts.google.com"


@cache
def _key() -> rsa.RSAPrivateKey:
    """Made once for all tests: it costs a tenth of a second."""
    return rsa.generate_private_key(65_537, 2048)


class Google:
    """A project with two service accounts: one has a key, and may borrow the other, which has none."""

    account = "robot@project.iam.gserviceaccount.com"
    borrowed = "databricks@project.iam.gserviceaccount.com"

    def __init__(self, mint: Mint) -> None:
        self.mint = mint
        self.key_id = secrets.token_hex(20)

    @property
    def key_file(self) -> dict[str, str]:
        """The JSON that is downloaded when a key is made."""
        plain = serialization.NoEncryption()
        pem = _key().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": self.key_id,
            "private_key": pem.decode(),
            "client_email": self.account,
            "client_id": "100000000000000000001",
            "token_uri": TOKEN_URL,
        }

    def answer(self, request: Request) -> Answer | None:
        if request.host == "oauth2.googleapis.com" and (request.method, request.path) == ("POST", "/token"):
            return self._token(request)
        if request.host == "iamcredentials.googleapis.com" and request.method == "POST":
            return self._borrow(request)
        return None

    def _token(self, request: Request) -> Answer:
        claims = self._verified(request.form.get("assertion", ""))
        if request.form.get("grant_type") != JWT_BEARER or claims is None:
            return reply({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        in_time = claims["iat"] - 600 < time.time() < claims["exp"] <= claims["iat"] + 3600
        if (claims.get("iss"), claims.get("aud")) != (self.account, TOKEN_URL) or not in_time:
            return reply({"error": "invalid_grant", "error_description": "Invalid JWT: check iss, aud, iat, exp"}, 400)
        if audience := claims.get("target_audience"):
            return reply({"id_token": self._id_token(self.account, audience)})
        if not claims.get("scope"):
            return reply({"error": "invalid_scope", "error_description": "Invalid OAuth scope or audience"}, 400)
        token = self.mint.issue(iss=ISSUER, email=self.account, scope=claims["scope"])
        return reply({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _borrow(self, request: Request) -> Answer:
        account, _, verb = request.path.removeprefix("/v1/projects/-/serviceAccounts/").partition(":")
        holder = self.mint.read(request.bearer)
        if holder is None or "scope" not in holder:
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if holder["email"] != self.account or account != self.borrowed:
            text = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            return _error(403, "PERMISSION_DENIED", text)
        asked = request.json()
        if verb == "generateIdToken" and asked.get("audience"):
            return reply({"token": self._id_token(account, asked["audience"])})
        if verb == "generateAccessToken" and asked.get("scope"):
            token = self.mint.issue(iss=ISSUER, email=account, scope=" ".join(asked["scope"]))
            ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            return reply({"accessToken": token, "expireTime": ends})
        return _error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")

    def _id_token(self, account: str, audience: str) -> str:
        return self.mint.issue(iss=ISSUER, aud=audience, email=account, email_verified=True, sub="1000001")

    def _verified(self, assertion: str) -> dict[str, Any] | None:
        """The claims of an assertion that our key has signed (RS256)."""
        signed, _, signature = assertion.rpartition(".")
        try:
            raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
            _key().public_key().verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            head, _, body = signed.partition(".")
            return decoded(body) if decoded(head) == {"typ": "JWT", "alg": "RS256", "kid": self.key_id} else None
        except (InvalidSignature, ValueError):
            return None


def _error(status: int, code: str, message: str) -> Answer:
    return reply({"error": {"code": status, "message": message, "status": code}}, status)
