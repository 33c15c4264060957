"""The authorization server: who may have a token, for how long, and when everything is taken back.

No I/O happens here: forms come in, dictionaries go out, and the clock is handed in. The words are those of RFC 6749
(OAuth), 7636 (PKCE), 8693 (token exchange) and 9700 (current practice: rotation, and revocation on re-use).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CODE_TTL = 60.0
TICKET_TTL = 600.0
EXPIRING = 30.0  # seconds of life at which Databricks already refuses a token

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
PERSONAL_ACCESS_TOKEN = "urn:databricks:params:oauth:token-type:personal-access-token"

WORKLOAD = "sandbox-workload"  # the `sub` that the sandbox federates with

UNKNOWN_TOKEN = "Credential was not sent or was of an unsupported type for this API."
INVALID_REFRESH_TOKEN = "Refresh token is invalid"  # the Databricks CLI compares this text

_GROUP = re.compile(r"[0-9]{1,19}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")


class OAuthError(Exception):
    """A refusal in OAuth's words: a code for programs, a description for people, and the HTTP status."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


class InvalidToken(Exception):
    """A bearer token that opens nothing; the message says why in the workspace's words."""


class Principal(NamedTuple):
    """Somebody a token can stand for; with a `group_id`, in the role of that group."""

    id: str
    user_name: str
    display_name: str
    group_id: str = ""


class AuthorizationRequest(NamedTuple):
    """What a client asks a person to allow."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    code_challenge: str
    group_id: str = ""


@dataclass(frozen=True)
class Login:
    """What a person's login left behind.

    `expires_at` is in epoch seconds, and `refresh_token` is empty when offline_access was not among the scopes.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


@dataclass
class Family:
    """Everything that came out of one grant: it is revoked together."""

    principal: Principal
    client_id: str
    scope: str
    revoked: bool = False


@dataclass
class Code:
    request: AuthorizationRequest
    expires_at: float
    spent: bool = False
    family: Family | None = None


@dataclass
class RefreshToken:
    family: Family
    spent: bool = False


class AccessToken(NamedTuple):
    family: Family
    expires_at: float


class AuthorizationServer:
    """Codes, tokens and their families, in memory; safe to use from several threads."""

    def __init__(self, user: Principal, *, token_ttl: float, now: Callable[[], float]) -> None:
        self.user = user
        self.client_id = str(uuid.uuid4())
        self.client_secret = "dose" + secrets.token_hex(16)
        self.pat = "dapi" + secrets.token_hex(16)
        self.issuer = ""
        self.service_principal = Principal(str(secrets.randbits(50)), self.client_id, "sandbox service principal")
        self.token_ttl = float(token_ttl)
        self.grants: Mapping[str, Callable[[Mapping[str, str], tuple[str, str] | None], dict[str, Any]]] = {
            "authorization_code": self._authorization_code,
            "refresh_token": self._refresh_token,
            "client_credentials": self._client_credentials,
            TOKEN_EXCHANGE: self._token_exchange,
        }
        self._now = now
        self._lock = threading.Lock()
        self._secrets = {"databricks-cli": "", self.client_id: self.client_secret}  # "" marks a public client
        self._tickets: dict[str, tuple[AuthorizationRequest, float]] = {}
        self._codes: dict[str, Code] = {}
        self._access_tokens: dict[str, AccessToken] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}

    # The authorization endpoint

    def redirect_uri(self, query: Mapping[str, str]) -> str:
        """Where the browser may be sent back to; raises OAuthError when sending it anywhere would be unsafe."""
        if self._secrets.get(query.get("client_id", "")) != "":
            raise OAuthError("unauthorized_client", "The client_id is not that of a registered public client")
        uri = query.get("redirect_uri", "")
        if not is_loopback(uri):
            raise OAuthError("invalid_request", "The redirect_uri must be http on localhost, 127.0.0.1 or [::1]")
        return uri

    def authorization_request(self, query: Mapping[str, str]) -> AuthorizationRequest:
        """The request in `query`, complete and lawful; raises OAuthError with what the client is told."""
        redirect_uri = self.redirect_uri(query)
        if required(query, "response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only response_type=code is supported")
        state = required(query, "state")
        challenge = required(query, "code_challenge")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "PKCE with code_challenge_method=S256 is required")
        return AuthorizationRequest(
            query["client_id"], redirect_uri, scope_of(query), state, challenge, group_of(query)
        )

    def ticket(self, request: AuthorizationRequest) -> str:
        """What the consent form carries: whoever brings it back has seen the form, and can do so once."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets[ticket] = (request, self._now() + TICKET_TTL)
        return ticket

    def redeem(self, ticket: str) -> AuthorizationRequest:
        with self._lock:
            request, expires_at = self._tickets.pop(ticket, (None, 0.0))
            if request is None or self._now() > expires_at:
                raise OAuthError("invalid_request", "This form was already sent or is too old")
            return request

    def code(self, request: AuthorizationRequest) -> str:
        """An authorization code for what the person allowed: good once, and for a minute."""
        code = "dcod" + secrets.token_hex(16)
        with self._lock:
            self._codes[code] = Code(request, self._now() + CODE_TTL)
        return code

    # The token endpoint

    def token(self, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> dict[str, Any]:
        """Answer a token request. `basic` is the client's id and secret when they came as HTTP Basic."""
        grant_type = required(form, "grant_type")
        if grant_type not in self.grants:
            raise OAuthError("unsupported_grant_type", "The grant_type is not one of " + ", ".join(self.grants))
        with self._lock:
            return self.grants[grant_type](form, basic)

    def _authorization_code(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        client_id = self._client(form, basic)
        code = self._codes.get(required(form, "code"))
        verifier = required(form, "code_verifier")
        if code is None:
            raise OAuthError("invalid_grant", "Authorization code is invalid")
        if code.spent:
            if code.family:
                code.family.revoked = True
            raise OAuthError("invalid_grant", "Authorization code was already used")
        code.spent = True  # by whoever tried first, so that nobody can try verifiers one after another
        if self._now() > code.expires_at:
            raise OAuthError("invalid_grant", "Authorization code is expired")
        asked = code.request
        if (client_id, form.get("redirect_uri")) != (asked.client_id, asked.redirect_uri):
            raise OAuthError("invalid_grant", "The client_id or redirect_uri is not that of the authorization request")
        if not hmac.compare_digest(challenge_of(verifier), asked.code_challenge):
            raise OAuthError("invalid_grant", "The code_verifier does not match the code_challenge")
        code.family = Family(self.user._replace(group_id=asked.group_id), client_id, asked.scope)
        return self._issue(code.family, asked.scope, refreshable=True)

    def _refresh_token(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        client_id = self._client(form, basic)
        held = self._refresh_tokens.get(required(form, "refresh_token"))
        if held is None or held.family.revoked or held.family.client_id != client_id:
            raise OAuthError("invalid_grant", INVALID_REFRESH_TOKEN)
        if held.spent:
            held.family.revoked = True
            raise OAuthError("invalid_grant", INVALID_REFRESH_TOKEN)
        scope = form.get("scope", held.family.scope)
        if not set(scope.split()) <= set(held.family.scope.split()):
            raise OAuthError("invalid_scope", "A refresh cannot ask for more than was granted")
        if group_of(form) not in ("", held.family.principal.group_id):
            raise OAuthError("invalid_request", "A refresh cannot ask for another group than was granted")
        held.spent = True
        return self._issue(held.family, scope, refreshable=True)

    def _client_credentials(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        client_id = self._client(form, basic)
        if client_id != self.client_id:
            raise OAuthError("unauthorized_client", "A public client has no credentials of its own")
        scope = scope_of(form)
        principal = self.service_principal._replace(group_id=group_of(form))
        return self._issue(Family(principal, client_id, scope), scope, refreshable=False)

    def _token_exchange(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        """No client authentication: the subject token is the proof, and without a client_id it is account-wide."""
        subject = required(form, "subject_token")
        kind = required(form, "subject_token_type")
        client_id = form.get("client_id", self.client_id)
        if kind == JWT:
            if client_id != self.client_id:
                raise OAuthError("invalid_client", "No federation policy is configured for this client_id", 401)
            check_workload(subject, self._now())
            principal = self.service_principal
        elif kind == PERSONAL_ACCESS_TOKEN:
            if not hmac.compare_digest(subject.encode(), self.pat.encode()):
                raise OAuthError(
                    "invalid_request", "The subject_token is not a personal access token of this workspace"
                )
            principal = self.user
        else:
            raise OAuthError("invalid_request", f"The subject_token_type is neither {JWT} nor {PERSONAL_ACCESS_TOKEN}")
        scope = scope_of(form)
        family = Family(principal._replace(group_id=group_of(form)), client_id, scope)
        answer = self._issue(family, scope, refreshable=False)
        return {**answer, "issued_token_type": ACCESS_TOKEN}

    def _client(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> str:
        """The client that asks, once it has proved to be itself as far as it can (RFC 6749, 2.3)."""
        if basic and "client_secret" in form:
            raise OAuthError("invalid_request", "The client authenticated in more than one way")
        client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
        expected = self._secrets.get(client_id)
        if expected is None or not hmac.compare_digest(expected.encode(), secret.encode()):
            raise OAuthError("invalid_client", "Client authentication failed", 401)
        return client_id

    def _issue(self, family: Family, scope: str, *, refreshable: bool) -> dict[str, Any]:
        access_token = self._access_token(family, scope)
        ttl = self.token_ttl
        answer = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(ttl) if ttl.is_integer() else ttl,
            "scope": scope,
        }
        if refreshable and "offline_access" in scope.split():
            refresh_token = "doau" + secrets.token_hex(16)
            self._refresh_tokens[refresh_token] = RefreshToken(family)
            answer["refresh_token"] = refresh_token
        return answer

    def _access_token(self, family: Family, scope: str) -> str:
        """A token with the shape of a JWT, because clients look inside; whether it is good, only our table says."""
        now = self._now()
        claims = {
            "client_id": family.client_id,
            "scope": scope,
            "iss": self.issuer,
            "sub": family.principal.user_name,
            "iat": int(now),
            "exp": int(now + self.token_ttl),
            "jti": str(uuid.uuid4()),
            **({"group_id": family.principal.group_id} if family.principal.group_id else {}),
        }
        parts = ({"alg": "RS256", "typ": "at+jwt", "kid": "sandbox"}, claims)
        token = ".".join(
            [
                *(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts),
                secrets.token_urlsafe(64),
            ]
        )
        self._access_tokens[token] = AccessToken(family, now + self.token_ttl)
        return token

    # Everything else

    def log_in(self, scope: str, client_id: str, group_id: str) -> Login:
        """What a person would have got who went through the browser; an unknown client is registered as public."""
        with self._lock:
            self._secrets.setdefault(client_id, "")
            family = Family(self.user._replace(group_id=group_id), client_id, scope)
            answer = self._issue(family, scope, refreshable=True)
            token = answer["access_token"]
            return Login(token, answer.get("refresh_token", ""), self._access_tokens[token].expires_at)

    def principal(self, token: str, *, pat: bool = True) -> Principal:
        """Who a bearer token stands for; raises InvalidToken when it is unknown, revoked, or as good as expired.

        `pat` says whether the personal access token is a token here.
        """
        if pat and hmac.compare_digest(token.encode(), self.pat.encode()):
            return self.user
        with self._lock:
            held = self._access_tokens.get(token)
            if held is None or held.family.revoked:
                raise InvalidToken(UNKNOWN_TOKEN)
            left = held.expires_at - self._now()
        if left <= 0:
            raise InvalidToken("Token is expired")
        # A token that lives for less than a minute is somebody trying out expiry, who wants to see it work first.
        if left <= EXPIRING and self.token_ttl > 60:
            raise InvalidToken("Token is expiring within 30 seconds")
        return held.family.principal


def required(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise OAuthError("invalid_request", f"The parameter {name} is missing")
    return form[name]


def scope_of(form: Mapping[str, str]) -> str:
    scope = form.get("scope", "all-apis")
    if not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "The scope is not a list of words with single spaces between them")
    return scope


def group_of(form: Mapping[str, str]) -> str:
    """The group whose role is asked for, empty for none."""
    group_id = form.get("assume_group", "")
    if group_id and not _GROUP.fullmatch(group_id):
        raise OAuthError("invalid_request", "The parameter assume_group is not the number of a group")
    return group_id


def challenge_of(verifier: str) -> str:
    """What S256 makes of a code verifier."""
    return base64url(hashlib.sha256(verifier.encode()).digest())


def is_loopback(uri: str) -> bool:
    """Whether a browser sent to `uri` stays on this machine (RFC 8252, 7.3: any port will do)."""
    if not uri.isascii() or not uri.isprintable() or set(' \\"<>') & set(uri):
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port  # looked at for the ValueError of an impossible one
    except ValueError:
        return False
    lawful = parts.scheme == "http" and "@" not in parts.netloc and "#" not in uri
    return lawful and parts.hostname in ("localhost", "127.0.0.1", "::1")


def check_workload(token: str, now: float) -> None:
    """Raise OAuthError unless `token` reads as the ID token of our workload; nobody signs it, so nobody checks that."""
    try:
        header, claims, _ = token.split(".")
        parts = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (header, claims)]
    except (ValueError, RecursionError):
        parts = []
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise OAuthError("invalid_request", "The subject_token is not a JWT")
    if parts[1].get("sub") != WORKLOAD:
        raise OAuthError("invalid_request", f"The subject_token's sub is not {WORKLOAD}")
    expires_at = parts[1].get("exp")
    if isinstance(expires_at, int | float) and expires_at <= now:
        raise OAuthError("invalid_request", "The subject_token is expired")


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
