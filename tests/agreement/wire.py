"""Every server that either side may ask: workspaces, Entra, GitHub, Azure DevOps, Google, metadata services.

Each token says for whom it was made and where, so that two equal tokens are the same identity.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

METADATA_URL = "http://127.0.0.1:8771/token"
GITHUB_URL = "https://pipelines.actions.githubusercontent.com/id?api-version=2.0"
DEVOPS_URL = "https://dev.azure.com/team/"
AZURE_APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
AZURE_WORKSPACE = "adb-1234567890123456.7.azuredatabricks.net"
TENANT = "11111111-1111-1111-1111-111111111111"
ACCOUNT = "accounts.cloud.databricks.com"
ACCOUNT_ID = "99999999-9999-9999-9999-999999999999"
OLD = "dbc.corp.example"
"""A workspace that knows nothing of `/.well-known/databricks-config`."""


class Said(NamedTuple):
    status: int
    body: Any = ""
    headers: Mapping[str, str] = {}

    @property
    def data(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def answer(method: str, url: str, headers: Mapping[str, str], body: str) -> Said:
    """What the server at `url` says. Header names in any case; `body` is a form or JSON."""
    parts = urlsplit(url)
    headers = {name.lower(): value for name, value in headers.items()}
    form = dict(parse_qsl(body)) if not body.startswith("{") else {}
    query = dict(parse_qsl(parts.query))
    name, path = parts.hostname or "", parts.path
    if parts.port == 8771:
        return _metadata_service(path, headers)
    if name == "169.254.169.254":
        who = query.get("client_id", "system")
        resource = _resource(query.get("resource", ""))
        return _token(f"msi.{who}.{resource}", expires_on=str(int(time.time()) + 3600))
    if name.startswith("login."):
        return _entra(path, form)
    if name == "pipelines.actions.githubusercontent.com":
        return Said(200, {"value": f"github.{quote(query['audience'], safe='').replace('%3A443', '')}"})
    if name == "dev.azure.com":
        return Said(200, {"oidcToken": "devops"})
    if name.startswith("management."):
        return Said(200, {"properties": {"workspaceUrl": AZURE_WORKSPACE}})
    if name.endswith(".googleapis.com"):
        return _google(name, path, form, body)
    return _workspace(f"{parts.scheme}://{parts.netloc}", name, path, headers, form)


def _token(value: str, **more: object) -> Said:
    return Said(200, {"access_token": value, "token_type": "Bearer", "expires_in": 3600, **more})


def _workspace(origin: str, name: str, path: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Said:
    oidc = f"{origin}/oidc/accounts/{ACCOUNT_ID}" if name.lower() == ACCOUNT else f"{origin}/oidc"
    if path == "/.well-known/databricks-config":
        if name.lower() == OLD:
            return Said(404, {"error_code": "NOT_FOUND", "message": "no such page"})
        if name.lower() == ACCOUNT:
            return Said(200, {"oidc_endpoint": f"{origin}/oidc/accounts/{{account_id}}"})
        return Said(200, {"oidc_endpoint": oidc, "account_id": ACCOUNT_ID, "workspace_id": "12345"})
    if f"{origin}{path}" == f"{oidc}/.well-known/oauth-authorization-server":
        return Said(200, {"authorization_endpoint": f"{oidc}/v1/authorize", "token_endpoint": f"{oidc}/v1/token"})
    if path == "/aad/auth":
        return Said(302, headers={"location": f"https://login.microsoftonline.com/{TENANT}/oauth2/authorize?x=y"})
    if path == "/oidc/oauth2/v2.0/authorize":
        location = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize?x=y"
        return Said(302, headers={"location": location})
    if f"{origin}{path}" == f"{oidc}/v1/token":
        return _oauth(name.lower(), headers, form)
    return Said(404, {"error_code": "NOT_FOUND", "message": "no such page"})


def _oauth(name: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Said:
    kind = form.get("grant_type", "").rpartition(":")[2]
    scopes = "+".join(sorted(form.get("scope", "all-apis").split()))
    role = f".{scopes}.{form.get('assume_group', 'no-group')}"
    if kind == "client_credentials":
        user, _, secret = base64.b64decode(headers["authorization"].partition(" ")[2]).decode().partition(":")
        if secret != "right":
            return Said(401, {"error": "invalid_client", "error_description": "no such client"}, _JSON)
        return _token(f"m2m.{user}.{name}{role}")
    if kind == "refresh_token":
        if form["refresh_token"].startswith("dead"):
            return Said(400, {"error": "invalid_grant", "error_description": "Refresh token is invalid"}, _JSON)
        return _token(f"renewed-{form['refresh_token']}", refresh_token=form["refresh_token"])
    if kind == "token-exchange":
        if "stale" in form["subject_token"]:
            return Said(400, {"error": "invalid_request", "error_description": "the token has expired"}, _JSON)
        return _token(f"exchanged.{form['subject_token']}.{form.get('client_id', 'nobody')}.{name}{role}")
    return Said(400, {"error": "unsupported_grant_type"}, _JSON)


_JSON = {"Content-Type": "application/json"}


def _metadata_service(path: str, headers: Mapping[str, str]) -> Said:
    if path != "/token" or headers.get("x-databricks-metadata-version") != "1":
        return Said(404, {"error": "no such session"})
    host = headers["x-databricks-host"].rpartition("/")[2].removesuffix(":443")
    return Said(
        200, {"access_token": f"metadata.{host}", "token_type": "Bearer", "expires_on": int(time.time()) + 3600}
    )


def _resource(text: str) -> str:
    return text.removesuffix("/.default").strip("/").rpartition("/")[2]


def _entra(path: str, form: Mapping[str, str]) -> Said:
    tenant = path.split("/")[1]
    if path.endswith("/.well-known/openid-configuration"):
        root = f"https://login.microsoftonline.com/{tenant}"
        endpoints = {"authorization_endpoint": f"{root}/oauth2/v2.0/authorize", "issuer": f"{root}/v2.0"}
        return Said(200, {**endpoints, "token_endpoint": f"{root}/oauth2/v2.0/token"})
    if path.startswith("/common/discovery"):
        return Said(
            200, {"tenant_discovery_endpoint": f"https://login.microsoftonline.com/{TENANT}/v2.0", "metadata": []}
        )
    resource = _resource(form.get("resource") or form.get("scope", "").split(" ")[0])
    proof = form.get("client_assertion") or form.get("client_secret", "")
    if "wrong" in proof or not proof or tenant == "None":
        return Said(
            401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"}, _JSON
        )
    kind = "federated" if "client_assertion" in form else "secret"
    return _token(f"entra-{kind}.{tenant}.{form['client_id']}.{resource}", expires_on=str(int(time.time()) + 3600))


def jwt(**claims: object) -> str:
    """An unsigned token that Google's libraries read the expiry of."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return ".".join((part({"alg": "none"}), part({"iat": 1, "exp": 4102444800, **claims}), "c2ln"))


def _google(name: str, path: str, form: Mapping[str, str], body: str) -> Said:
    if path.endswith("/allowedLocations"):
        return Said(200, {"locations": [], "encodedLocations": "0x0"})
    if name == "iamcredentials.googleapis.com":
        who = path.rpartition("/")[2].partition(":")[0]
        if path.endswith(":generateIdToken"):
            return Said(200, {"token": jwt(sub=who, aud=json.loads(body)["audience"].removesuffix(":443"))})
        return Said(200, {"accessToken": f"google.{who}", "expireTime": "2099-01-01T00:00:00Z"})
    if "assertion" not in form:
        return _token("google.adc")
    part = form["assertion"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if "target_audience" in claims:
        return Said(200, {"id_token": jwt(sub=claims["iss"], aud=claims["target_audience"].removesuffix(":443"))})
    return _token(f"google.{claims['iss']}")
