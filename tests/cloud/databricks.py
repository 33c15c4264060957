"""Databricks itself: workspaces on three clouds, an account console, one host for both, and a metadata service."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .entra import CHINA, DATABRICKS, PUBLIC, USGOVERNMENT, Environment
from .mint import HOUR, Mint, base64url
from .wire import LOOPBACK, Answer, Request, html, redirect, reply

ACCOUNT_ID = "7a1e0c5e-acc0-4acc-8acc-000000000000"
ACCOUNTS = "https://accounts.cloud.databricks.com"
UNIFIED = "https://acme.databricks.com"
AWS = "https://dev.cloud.databricks.com"
AZURE = "https://adb-1.2.azuredatabricks.net"
GCP = "https://1.2.gcp.databricks.com"
DISCOVERY = "https://login.databricks.com"

AZURE_DOMAINS = {
    ".azuredatabricks.net": PUBLIC,
    ".databricks.azure.us": USGOVERNMENT,
    ".databricks.azure.cn": CHINA,
}
DOMAINS = (*AZURE_DOMAINS, ".cloud.databricks.com", ".gcp.databricks.com")

CALLBACK = re.compile(r"http://localhost:80(2[0-9]|3[0-9]|40)")
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
PAT = "urn:databricks:params:oauth:token-type:personal-access-token"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Policy(NamedTuple):
    """Whose ID tokens may be traded for ours.

    Without a `client_id` it is the account's own and not a service principal's; without `audiences` the token
    endpoint that is asked and the account's id will do.
    """

    issuer: str
    subject: str
    client_id: str = ""
    audiences: frozenset[str] = frozenset()


class Asked(NamedTuple):
    """What an authorization code was given for."""

    issuer: str
    scope: str
    redirect_uri: str
    challenge: str
    group_id: str


class Refusal(Exception):
    def __init__(self, error: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.text, self.status = error, text, status


@dataclass
class Databricks:
    """One account: a person, a service principal, and who is trusted to speak for it."""

    mint: Mint
    user: str = "alice@example.com"
    password: str = "correct-horse"
    pat: str = field(default_factory=lambda: "dapi" + secrets.token_hex(16))
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_secret: str = field(default_factory=lambda: "dose" + secrets.token_hex(16))
    policies: set[Policy] = field(default_factory=set)
    metadata_path: str = field(default_factory=lambda: f"/{secrets.token_hex(16)}")
    life: float = HOUR
    picks: str = AWS
    """The workspace that the person picks who starts at login.databricks.com."""
    _codes: dict[str, Asked] = field(default_factory=dict)
    _refresh: dict[str, bool] = field(default_factory=dict)

    def trust(self, issuer: str, subject: str, *audiences: str) -> None:
        """Take this workload's ID tokens: for our service principal, and for the account as a whole."""
        for client_id in (self.client_id, ""):
            self.policies.add(Policy(issuer, subject, client_id, frozenset(audiences)))

    def add_login(self) -> str:
        """The refresh token of a person's login."""
        token = "doau" + secrets.token_hex(16)
        self._refresh[token] = True
        return token

    def answer(self, request: Request) -> Answer | None:
        if request.host == LOOPBACK:
            return self._metadata(request) if request.path == self.metadata_path else None
        if request.host == DISCOVERY.removeprefix("https://"):
            return self._discovery(request)
        if not f".{request.host}".endswith((*DOMAINS, ".acme.databricks.com")):
            return None
        host, root = request.host, _root(request.host)
        match request.method, request.path:
            case "GET", "/.well-known/databricks-config" if not host.startswith("accounts."):
                return reply(_config(host))
            case "GET", path if path == f"{root}/.well-known/oauth-authorization-server":
                return reply(_document(f"https://{host}{root}"))
            case "GET", path if path == f"{root}/v1/authorize":
                return self._authorize(request, f"https://{host}{root}")
            case "POST", path if path == f"{root}/v1/token":
                try:
                    return reply(self._token(request, f"https://{host}{root}"))
                except Refusal as refusal:
                    body = {"error": refusal.error, "error_description": refusal.text}
                    return reply(body, refusal.status)
            case "GET", "/aad/auth" if environment := azure(host):
                where = f"https://{environment.login}/{environment.tenant}/oauth2/authorize"
                return redirect(
                    where, client_id=DATABRICKS, response_type="code id_token", redirect_uri=f"https://{host}/"
                )
            case "GET", "/oidc/oauth2/v2.0/authorize" if environment := azure(host):
                return redirect(f"https://{environment.login}/{environment.tenant}/oauth2/v2.0/authorize")
            case "GET", "/api/2.0/preview/scim/v2/Me" | "/api/2.0/serving-endpoints" if not host.startswith(
                "accounts."
            ):
                if host == UNIFIED.removeprefix("https://") and "x-databricks-workspace-id" not in request.headers:
                    return html(title="Databricks")
                found = self._me(request)
                is_list = request.path.endswith("s") and found.status in (200, 404)  # which a role may see, too
                return reply({"endpoints": []}) if is_list else found
            case "GET", path if host.startswith("accounts.") and path == f"/api/2.0/accounts/{ACCOUNT_ID}/scim/v2/Me":
                return self._me(request)
            case "GET", path if host.startswith("accounts.") and path == f"/api/2.0/accounts/{ACCOUNT_ID}/workspaces":
                found = self._me(request)
                return reply([{"workspace_id": 1, "workspace_name": "dev"}]) if found.status == 200 else found
        return None

    def _discovery(self, request: Request) -> Answer | None:
        """Where a person picks their workspace, and is sent on to its login."""
        path, _, query = request.query.get("destination_url", "").partition("?")
        if request.path != "/" or path != "/oidc/v1/authorize":
            return None
        return redirect(f"{self.picks}{_root(self.picks.removeprefix('https://'))}/v1/authorize?{query}")

    def _authorize(self, request: Request, issuer: str) -> Answer:
        """The person is logged in and says yes at once; what is wrong with the link only they are shown."""
        query = request.query
        if query.get("client_id") != "databricks-cli" or not CALLBACK.fullmatch(query.get("redirect_uri", "")):
            return html(400, "The client or its redirect URI is not registered")
        if (query.get("response_type"), query.get("code_challenge_method")) != ("code", "S256") or not query["state"]:
            return html(400, "The request is not complete")
        code = "dcod" + secrets.token_hex(16)
        asked = (query["scope"], query["redirect_uri"], query["code_challenge"], query.get("assume_group", ""))
        self._codes[code] = Asked(issuer, *asked)
        return redirect(query["redirect_uri"] + "/", code=code, state=query["state"], iss=issuer)

    def _token(self, request: Request, issuer: str) -> dict[str, Any]:
        form = request.form
        scope = form.get("scope", "all-apis")
        more = {"assume_group": form["assume_group"]} if "assume_group" in form else {}
        match form.get("grant_type"):
            case "client_credentials":
                if _client(request) != (self.client_id, self.client_secret):
                    raise Refusal("invalid_client", "Client authentication failed", 401)
                return self._issue(issuer, self.client_id, scope, **more)
            case "authorization_code":
                asked = self._codes.pop(form.get("code", ""), None)
                proof = base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
                given = (issuer, form.get("redirect_uri"), proof)
                if asked is None or given != (asked.issuer, asked.redirect_uri, asked.challenge):
                    raise Refusal("invalid_grant", "Authorization code is invalid")
                role = {"assume_group": asked.group_id} if asked.group_id else {}
                return {**self._issue(issuer, self.user, asked.scope, **role), "refresh_token": self.add_login()}
            case "refresh_token":
                alive = self._refresh.pop(form.get("refresh_token", ""), False)
                if not alive or form.get("client_id") != "databricks-cli":
                    raise Refusal("invalid_grant", "Refresh token is invalid")
                return {**self._issue(issuer, self.user, scope, **more), "refresh_token": self.add_login()}
            case "urn:ietf:params:oauth:grant-type:token-exchange":
                who = self._exchanged(form, issuer)
                return {**self._issue(issuer, who, scope, **more), "issued_token_type": ACCESS_TOKEN}
            case other:
                raise Refusal("unsupported_grant_type", f"The grant type {other} is not supported")

    def _exchanged(self, form: Any, issuer: str) -> str:
        """Who a subject token stands for."""
        subject, kind = form.get("subject_token", ""), form.get("subject_token_type")
        if kind == PAT:
            if subject != self.pat or form.get("requested_token_type") != ACCESS_TOKEN:
                raise Refusal("invalid_request", "The subject_token is not a personal access token")
            return self.user
        claims = self.mint.read(subject) if kind == JWT and subject.count(".") == 2 else None
        if claims is None:
            raise Refusal("invalid_request", "The subject_token is not a JWT that can be verified, or it is expired")
        client_id = form.get("client_id", "")
        if client_id not in (self.client_id, ""):
            raise Refusal("invalid_client", "There is no service principal with this client_id", 401)
        for policy in self.policies:
            audiences = policy.audiences or {ACCOUNT_ID, f"{issuer}/v1/token"}
            if policy[:3] == (claims.get("iss"), claims.get("sub"), client_id) and claims.get("aud") in audiences:
                return client_id or policy.subject
        raise Refusal("invalid_request", "No federation policy fits the issuer, subject and audience of this token")

    def _issue(self, issuer: str, sub: str, scope: str, **more: str) -> dict[str, Any]:
        token = self.mint.issue(self.life, iss=issuer, sub=sub, scope=scope, **more)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.life, "scope": scope}

    def _me(self, request: Request) -> Answer:
        """Who the holder of this request's credentials is: SCIM's answer, or 401 in the workspace's words."""
        host = request.host
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.bearer == self.pat or request.headers.get("authorization") == f"Basic {basic}":
            return reply({"userName": self.user})
        claims = self.mint.read(request.bearer) or {}
        if claims.get("iss") == f"https://{host}{_root(host)}":
            if "assume_group" in claims:  # a role is no person
                return reply({"status": "404", "scimType": None, "detail": "SCIM_404"}, 404)
            return reply({"userName": claims["sub"]})
        if (environment := azure(host)) and (claims.get("aud"), claims.get("tid")) == (DATABRICKS, environment.tenant):
            return self._azure_me(request, claims, environment)
        if claims.get("iss") == "https://accounts.google.com" and claims["aud"] == f"https://{host}":
            return reply({"userName": claims["email"]})
        return reply({"error_code": "401", "message": "Credential was not sent or was of an unsupported type"}, 401)

    def _azure_me(self, request: Request, claims: Any, environment: Environment) -> Answer:
        """A service principal that is not in the workspace yet must prove its rights on the Azure resource."""
        if "upn" not in claims and "x-databricks-azure-workspace-resource-id" in request.headers:
            proof = self.mint.read(request.headers.get("x-databricks-azure-sp-management-token", "")) or {}
            if str(proof.get("aud", "")).rstrip("/") != environment.management.rstrip("/"):
                return reply({"error_code": "403", "message": "Invalid Azure management token"}, 403)
        return reply({"userName": claims.get("upn") or claims["appid"]})

    def _metadata(self, request: Request) -> Answer:
        """What an editor serves to the SDKs; for one host, and one version of the protocol."""
        if request.headers.get("x-databricks-metadata-version") != "1":
            return reply({"error": "unsupported version"}, 400)
        if request.headers.get("x-databricks-host") != AWS:
            return reply({"error": "no such host"}, 404)
        token = self._issue(f"{AWS}/oidc", self.user, "all-apis")["access_token"]
        return reply({"access_token": token, "token_type": "Bearer", "expires_on": int(time.time() + self.life)})


def azure(host: str) -> Environment | None:
    """The Azure cloud that a workspace is in."""
    return next((found for domain, found in AZURE_DOMAINS.items() if host.endswith(domain)), None)


def _root(host: str) -> str:
    whole_account = host.startswith("accounts.") or f"https://{host}" == UNIFIED
    return f"/oidc/accounts/{ACCOUNT_ID}" if whole_account else "/oidc"


def _config(host: str) -> dict[str, str]:
    if f"https://{host}" == UNIFIED:
        endpoint = f"{UNIFIED}/oidc/accounts/{{account_id}}"
        return {"oidc_endpoint": endpoint, "account_id": ACCOUNT_ID, "cloud": "AWS", "host_type": "unified"}
    cloud = "AZURE" if azure(host) else "GCP" if host.endswith(".gcp.databricks.com") else "AWS"
    common = {"account_id": ACCOUNT_ID, "workspace_id": "1", "cloud": cloud, "host_type": "workspace"}
    return {"oidc_endpoint": f"https://{host}/oidc", **common}


def _document(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/v1/authorize",
        "token_endpoint": f"{issuer}/v1/token",
        "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token", TOKEN_EXCHANGE],
        "code_challenge_methods_supported": ["S256"],
    }


def _client(request: Request) -> tuple[str, str]:
    """The id and the secret of the client, from HTTP Basic or from the form."""
    scheme, _, pair = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return name, secret
    return request.form.get("client_id", ""), request.form.get("client_secret", "")
