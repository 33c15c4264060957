"""The CI systems that vouch for their jobs: GitHub Actions and Azure DevOps."""

from __future__ import annotations

import secrets
import uuid

from .entra import EXCHANGE
from .mint import Mint
from .wire import Answer, Request, html, reply


class GitHub:
    """A job of GitHub Actions that may ask for ID tokens."""

    issuer = "https://token.actions.githubusercontent.com"
    subject = "repo:acme/app:ref:refs/heads/main"
    host = "run-actions-1-azure-eastus.actions.githubusercontent.com"

    def __init__(self, mint: Mint) -> None:
        self.mint = mint
        self.request_token = "ghs_" + secrets.token_hex(20)
        self.path = f"/141//idtoken/{uuid.uuid4()}/{uuid.uuid4()}"
        self.url = f"https://{self.host}{self.path}?api-version=2.0"
        self.env = {"ACTIONS_ID_TOKEN_REQUEST_URL": self.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.request_token}

    def answer(self, request: Request) -> Answer | None:
        if (request.method, request.route) != ("GET", self.host + self.path):
            return None
        if request.bearer != self.request_token or request.query.get("api-version") != "2.0":
            return reply({"$id": "1", "message": "Authentication failed."}, 401)
        audience = request.query.get("audience") or "https://github.com/acme"
        return reply({"count": 1, "value": self.mint.issue(300, iss=self.issuer, sub=self.subject, aud=audience)})


class AzureDevOps:
    """A job of Azure Pipelines with a system access token; it chooses no audience."""

    issuer = "https://vstoken.dev.azure.com/6b1f0000-0000-4000-8000-000000000000"
    subject = "p://acme/project/pipeline"
    host = "dev.azure.com"
    collection = "https://dev.azure.com/acme/"

    def __init__(self, mint: Mint) -> None:
        self.mint = mint
        self.access_token = secrets.token_hex(24)
        self.env = {
            "SYSTEM_ACCESSTOKEN": self.access_token,
            "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": self.collection,
            "SYSTEM_TEAMPROJECTID": str(uuid.uuid4()),
            "SYSTEM_PLANID": str(uuid.uuid4()),
            "SYSTEM_JOBID": str(uuid.uuid4()),
            "SYSTEM_HOSTTYPE": "build",
        }

    @property
    def path(self) -> str:
        env = self.env
        hub = f"{env['SYSTEM_TEAMPROJECTID']}/_apis/distributedtask/hubs/{env['SYSTEM_HOSTTYPE']}"
        return f"/acme/{hub}/plans/{env['SYSTEM_PLANID']}/jobs/{env['SYSTEM_JOBID']}/oidctoken"

    def answer(self, request: Request) -> Answer | None:
        if request.host != self.host:
            return None
        if request.path.replace("//", "/") != self.path:
            return reply({"message": "The controller for this path was not found."}, 404)
        if request.method != "POST" or not request.query.get("api-version"):
            return reply({"message": "The requested resource does not support this."}, 405)
        if "content-length" not in request.headers:
            return html(411, "Length Required")
        if request.bearer != self.access_token:
            return html(401, "Azure DevOps Services | Sign In")
        return reply({"oidcToken": self.mint.issue(600, iss=self.issuer, sub=self.subject, aud=EXCHANGE)})
