"""Azure's resource manager, and what a machine in Azure asks for a token of its own: IMDS and App Service."""

from __future__ import annotations

import secrets
import time
from typing import Any

from .entra import DATABRICKS, ENVIRONMENTS, LIFE, App, Entra
from .wire import LOOPBACK, Answer, Request, reply

RESOURCE_ID = "/subscriptions/sub-1/resourceGroups/rg/providers/Microsoft.Databricks/workspaces/ws"


def error(status: int, code: str, message: str) -> Answer:
    """An error in the resource manager's shape."""
    return reply({"error": {"code": code, "message": message}}, status)


class ResourceManager:
    """Knows the workspaces, and tells their address to those who may read them."""

    def __init__(self, entra: Entra) -> None:
        self.entra = entra
        self.workspaces = {RESOURCE_ID: "adb-1.2.azuredatabricks.net"}
        self.forbidden: set[str] = set()

    def answer(self, request: Request) -> Answer | None:
        environment = next((e for e in ENVIRONMENTS if e.arm == request.host), None)
        if environment is None:
            return None
        audiences = {environment.management, f"https://{environment.arm}/"}
        claims = self.entra.mint.read(request.bearer) or {}
        if str(claims.get("aud", "")).rstrip("/") + "/" not in audiences:
            return error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if claims["tid"] != environment.tenant:
            return error(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.")
        if not request.query.get("api-version"):
            return error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        resource = request.path.replace("//", "/")
        if resource in self.forbidden:
            who = claims.get("appid") or claims.get("upn")
            action = "Microsoft.Databricks/workspaces/read"
            text = f"The client '{who}' does not have authorization to perform action '{action}' over '{resource}'."
            return error(403, "AuthorizationFailed", text)
        if resource not in self.workspaces:
            text = f"The Resource 'Microsoft.Databricks/workspaces/{resource.rpartition('/')[2]}' was not found."
            return error(404, "ResourceNotFound", text)
        return reply({"id": resource, "properties": {"workspaceUrl": self.workspaces[resource]}})


class ManagedIdentity:
    """The identities of a machine in Azure: one of its own, and one that was assigned to it."""

    imds = "/metadata/identity/oauth2/token"
    app_service = "/MSI/token"

    def __init__(self, entra: Entra) -> None:
        self.entra = entra
        self.system, self.assigned = App(), App()
        self.secret = secrets.token_hex(16)

    def answer(self, request: Request) -> Answer | None:
        if request.host != LOOPBACK or request.path not in (self.imds, self.app_service):
            return None
        if request.path == self.app_service and request.headers.get("x-identity-header") != self.secret:
            return reply({"statusCode": 401, "message": "Unauthorized"}, 401)
        if request.path == self.imds and request.headers.get("metadata") != "true":
            return _bad("invalid_request", "Required metadata header not specified")
        for name in ("api-version", "resource"):
            if not request.query.get(name):
                return _bad("invalid_request", f"Required query variable '{name}' is missing")
        resource = request.query["resource"]
        if resource.rstrip("/") not in (DATABRICKS, *(e.management.rstrip("/") for e in ENVIRONMENTS)):
            return _bad("invalid_resource", f"AADSTS500011: The resource principal named {resource} was not found.")
        client_id = request.query.get("client_id", self.system.id)
        if client_id not in (self.system.id, self.assigned.id):
            return _bad("invalid_request", "Identity not found")
        token = self.entra.app_token(client_id, resource)
        # Epoch seconds as text, as the real ones write them.
        body: dict[str, Any] = {"access_token": token, "expires_on": str(int(time.time() + LIFE))}
        body |= {"resource": resource, "token_type": "Bearer", "client_id": client_id}
        if request.path == self.imds:
            body |= {"expires_in": str(LIFE), "ext_expires_in": str(LIFE), "not_before": str(int(time.time()))}
            body["refresh_token"] = ""
        return reply(body)


def _bad(code: str, description: str) -> Answer:
    return reply({"error": code, "error_description": description}, 400)
