"""Microsoft Entra ID, as far as a client that wants a Databricks token meets it."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .mint import Mint, base64url
from .wire import Answer, Request, redirect, reply

DATABRICKS = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
EXCHANGE = "api://AzureADTokenExchange"
LIFE = 3599
OIDC_SCOPES = {"openid", "profile", "offline_access", "email"}
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
PUBLIC_CLIENTS = {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}  # the Azure CLI's, which every tenant knows
LOOPBACK_URI = re.compile(r"http://(localhost|127\.0\.0\.1)(:\d+)?/?")  # its port may be any (RFC 8252, 7.3)
DECLINED = "User declined to consent to access the app."


class Environment(NamedTuple):
    """One of Azure's clouds: where its people log in, its resource manager and that one's audience, its tenant."""

    login: str
    arm: str
    management: str
    tenant: str


PUBLIC = Environment(
    "login.microsoftonline.com",
    "management.azure.com",
    "https://management.core.windows.net/",
    "5e0f7a30-1111-4111-8111-000000000001",
)
USGOVERNMENT = Environment(
    "login.microsoftonline.us",
    "management.usgovcloudapi.net",
    "https://management.core.usgovcloudapi.net/",
    "5e0f7a30-2222-4222-8222-000000000002",
)
CHINA = Environment(
    "login.chinacloudapi.cn",
    "management.chinacloudapi.cn",
    "https://management.core.chinacloudapi.cn/",
    "5e0f7a30-3333-4333-8333-000000000003",
)
ENVIRONMENTS = (PUBLIC, USGOVERNMENT, CHINA)


@dataclass
class App:
    """A registered application: its secrets, those that have ended, and the workloads that may speak for it."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = field(default_factory=lambda: f"8Q~{secrets.token_urlsafe(28)}")
    expired_secret: str = field(default_factory=lambda: f"8Q~{secrets.token_urlsafe(28)}")
    federated: set[tuple[str, str]] = field(default_factory=set)


class Refusal(Exception):
    """What Entra says no with: OAuth's word, its own number, and a sentence."""

    def __init__(self, error: str, number: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.number, self.text, self.status = error, number, text, status

    def answer(self) -> Answer:
        moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        where = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}"
        body = {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} {where}",
            "error_codes": [self.number],
            "timestamp": moment,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.number}",
        }
        return reply(body, self.status)


class Pending(NamedTuple):
    """A device code or an authorization code that waits to be traded."""

    client_id: str
    scope: str
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str = ""


class Entra:
    """Tenants, applications and one person. Refresh tokens are replaced at each use, and the old ones go on working."""

    upn = "alice@contoso.example"

    def __init__(self, mint: Mint) -> None:
        self.mint = mint
        self.app = App()
        self.apps = {self.app.id: self.app}
        self.polls = 2  # how often a device code is still pending
        self.declines = False  # whether the person says no
        self._waiting: dict[str, Pending] = {}
        self._polled: dict[str, int] = {}
        self._refresh: dict[str, Pending] = {}

    def answer(self, request: Request) -> Answer | None:
        environment = next((e for e in ENVIRONMENTS if e.login == request.host), None)
        if environment is None:
            return None
        if request.path == "/common/discovery/instance":
            return self._instance(environment)
        tenant, _, rest = request.path.strip("/").partition("/")
        try:
            if tenant not in (environment.tenant, "organizations", "common"):
                raise Refusal(
                    "invalid_request" if rest.endswith("/token") else "invalid_tenant",
                    90002,
                    f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing "
                    "into the correct cloud. Check with your subscription administrator, this may happen if there "
                    "are no active subscriptions for the tenant.",
                )
            match request.method, rest:
                case "GET", "v2.0/.well-known/openid-configuration":
                    return self._configuration(environment, tenant)
                case "GET", "oauth2/v2.0/authorize":
                    return self._authorize(request.query)
                case "POST", "oauth2/v2.0/devicecode":
                    return self._device(environment, request.form)
                case "POST", "oauth2/v2.0/token" | "oauth2/token":
                    return reply(self._token(environment, request.form))
        except Refusal as refusal:
            return refusal.answer()
        return None

    @staticmethod
    def _instance(environment: Environment) -> Answer:
        names = {"preferred_network": environment.login, "preferred_cache": environment.login}
        return reply(
            {
                "tenant_discovery_endpoint": f"https://{environment.login}/common/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{**names, "aliases": [environment.login]}],
            }
        )

    @staticmethod
    def _configuration(environment: Environment, tenant: str) -> Answer:
        base = f"https://{environment.login}/{tenant}"
        real = environment.tenant if tenant == environment.tenant else "{tenantid}"
        return reply(
            {
                "issuer": f"https://{environment.login}/{real}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token"],
                "scopes_supported": sorted(OIDC_SCOPES),
                "tenant_region_scope": "EU",
            }
        )

    def end_logins(self) -> None:
        """No refresh token is good any more, as after a change of the password."""
        self._refresh.clear()

    def _authorize(self, query: Any) -> Answer:
        """The person is logged in and says at once what they say; what is wrong with the link only they are shown."""
        if query.get("client_id") not in PUBLIC_CLIENTS:
            text = f"Application with identifier '{query.get('client_id')}' was not found in the directory 'Contoso'."
            raise Refusal("unauthorized_client", 700016, text)
        if not LOOPBACK_URI.fullmatch(query.get("redirect_uri", "")):
            text = (
                f"The redirect URI '{query.get('redirect_uri')}' does not match those configured for the application."
            )
            raise Refusal("invalid_request", 50011, text)
        if query.get("response_type") != "code":
            raise Refusal("unsupported_response_type", 700054, "The response_type is not enabled for the application.")
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            text = "Proof Key for Code Exchange is required for cross-origin authorization code redemption."
            raise Refusal("invalid_request", 9002325, text)
        if self.declines:
            said = {
                "error": "access_denied",
                "error_subcode": "cancel",
                "error_description": f"AADSTS65004: {DECLINED}",
            }
            return redirect(query["redirect_uri"], **said, state=query["state"])
        code = "1.A" + secrets.token_urlsafe(32)
        asked = Pending(query["client_id"], query["scope"], query["redirect_uri"], query["code_challenge"])
        self._waiting[code] = asked._replace(nonce=query.get("nonce", ""))
        return redirect(asked.redirect_uri, code=code, state=query["state"], session_state=str(uuid.uuid4()))

    def _device(self, environment: Environment, form: Any) -> Answer:
        code, user_code = secrets.token_urlsafe(32), secrets.token_hex(4).upper()
        self._waiting[code] = Pending(form["client_id"], form["scope"])
        url = "https://microsoft.com/devicelogin"
        message = f"To sign in, use a web browser to open the page {url} and enter the code {user_code}."
        body = {"user_code": user_code, "device_code": code, "verification_uri": url, "message": message}
        return reply({**body, "expires_in": 900, "interval": 1})

    def _token(self, environment: Environment, form: Any) -> dict[str, Any]:
        match form.get("grant_type"):
            case "client_credentials":
                app = self._application(environment, form)
                self._check(app, form)
                audience = form["resource"] if "resource" in form else _audience(form.get("scope", ""), environment)
                _check_resource(audience, environment)
                return _answer(self.app_token(app.id, audience, environment))
            case "authorization_code":
                asked = self._waiting.pop(form.get("code", ""), None)
                proof = base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
                if asked is None or (asked.client_id, asked.redirect_uri) != (form["client_id"], form["redirect_uri"]):
                    raise Refusal("invalid_grant", 70008, "The provided authorization code has expired or was spent.")
                if proof != asked.challenge:
                    raise Refusal("invalid_grant", 501481, "The Code_Verifier does not match the code_challenge.")
                return self._for_person(environment, asked)
            case "urn:ietf:params:oauth:grant-type:device_code":
                return self._for_person(environment, self._approved(form.get("device_code", "")))
            case "refresh_token":
                held = self._refresh.get(form.get("refresh_token", ""))
                if held is None or held.client_id != form.get("client_id"):
                    raise Refusal("invalid_grant", 70000, "Provided grant is invalid or malformed.")
                return self._for_person(environment, held._replace(scope=form.get("scope") or held.scope))
            case other:
                raise Refusal(
                    "unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{other}'."
                )

    def _approved(self, code: str) -> Pending:
        asked = self._waiting.get(code)
        if asked is None:
            raise Refusal("invalid_grant", 70019, "The device code has expired or was never given.")
        if self.declines:
            raise Refusal("authorization_declined", 65004, DECLINED)
        self._polled[code] = self._polled.get(code, 0) + 1
        if self._polled[code] <= self.polls:
            raise Refusal("authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending.")
        return self._waiting.pop(code)

    def _application(self, environment: Environment, form: Any) -> App:
        client_id = form.get("client_id", "")
        if client_id not in self.apps:
            raise Refusal(
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory '{environment.tenant}'. "
                "This can happen if the application has not been installed by the administrator of the tenant or "
                "consented to by any user in the tenant.",
            )
        return self.apps[client_id]

    def _check(self, app: App, form: Any) -> None:
        """Whether the application is who it says: by its secret, or by the workload that speaks for it."""
        if "client_assertion" in form:
            claims = self.mint.read(form["client_assertion"]) or {}
            known = (claims.get("iss"), claims.get("sub")) in app.federated and claims.get("aud") == EXCHANGE
            if form.get("client_assertion_type") != JWT_BEARER or not known:
                raise Refusal(
                    "invalid_request",
                    70021,
                    "No matching federated identity record found for presented assertion. Assertion Issuer: "
                    f"'{claims.get('iss')}'. Assertion Subject: '{claims.get('sub')}'. Assertion Audience: "
                    f"'{claims.get('aud')}'. https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
                )
        elif form.get("client_secret") == app.expired_secret:
            raise Refusal(
                "invalid_client",
                7000222,
                f"The provided client secret keys for app '{app.id}' are expired. Visit the Azure portal to create new "
                "keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for "
                "added security: https://aka.ms/certCreds.",
                401,
            )
        elif form.get("client_secret") != app.secret:
            raise Refusal(
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{app.id}'.",
                401,
            )

    def app_token(self, client_id: str, audience: str, environment: Environment = PUBLIC, life: float = LIFE) -> str:
        """An access token of a service principal or a managed identity."""
        return self.mint.issue(life, aud=audience, appid=client_id, idtyp="app", **_common(environment, client_id))

    def user_token(self, audience: str, environment: Environment = PUBLIC, life: float = LIFE) -> str:
        """An access token of the person."""
        return self.mint.issue(life, aud=audience, upn=self.upn, scp="user_impersonation", **_common(environment))

    def _for_person(self, environment: Environment, asked: Pending) -> dict[str, Any]:
        audience = _audience(asked.scope, environment)
        _check_resource(audience, environment)
        body = _answer(self.user_token(audience, environment))
        body["scope"] = asked.scope
        if "offline_access" in asked.scope.split():
            body["refresh_token"] = "1.A" + secrets.token_urlsafe(32)
            self._refresh[body["refresh_token"]] = asked
        if "openid" in asked.scope.split():
            who = {**_common(environment), "iss": f"https://{environment.login}/{environment.tenant}/v2.0"}
            who |= {"aud": asked.client_id, "preferred_username": self.upn, "nonce": asked.nonce}
            body["id_token"] = self.mint.issue(LIFE, **who)
            body["client_info"] = base64url(json.dumps({"uid": who["oid"], "utid": environment.tenant}).encode())
        return body


def _common(environment: Environment, client_id: str = "") -> dict[str, str]:
    object_id = str(uuid.uuid5(uuid.NAMESPACE_OID, client_id or Entra.upn))
    issuer = f"https://sts.windows.net/{environment.tenant}/"
    return {"iss": issuer, "tid": environment.tenant, "oid": object_id, "sub": object_id, "ver": "1.0"}


def _answer(token: str) -> dict[str, Any]:
    return {"token_type": "Bearer", "expires_in": LIFE, "ext_expires_in": LIFE, "access_token": token}


def _audience(scope: str, environment: Environment) -> str:
    """The one resource that a scope names; what stands before `/.default`, slashes and all."""
    resources = [s for s in scope.split() if s not in OIDC_SCOPES]
    if len(resources) != 1 or not resources[0].endswith(("/.default", "/user_impersonation")):
        text = f"The provided value for scope {scope} is not valid. It must be a resource with /.default after it."
        raise Refusal("invalid_scope", 1002012, text)
    return resources[0].rpartition("/")[0]


def _check_resource(audience: str, environment: Environment) -> None:
    known = {DATABRICKS, environment.management, environment.management.rstrip("/"), f"https://{environment.arm}"}
    if audience not in known | {f"https://{environment.arm}/"}:
        text = f"The resource principal named {audience} was not found in the tenant named Contoso."
        raise Refusal("invalid_resource", 500011, text)
