"""What each source promises, one row each, and the machines on which it can keep the promise."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from machine import HOST, OTHER, Machine
from requests.adapters import HTTPAdapter
from unit.far_side import TOKEN, Reply, for_requests, jwt, on_path, put_az

from dbx_auth import entra, profile as profiles, resolve
from dbx_auth.resolve import Resolution
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Demand

NOW = 1_700_000_000.0
HOUR = NOW + 3600
GIVEN = {"access_token": "at-s3cret", "token_type": "Bearer", "refresh_token": "rt-s3cret-2", "expires_in": 3600}
BASIC = base64.b64encode(b"user:pw-s3cret").decode()
AUTH_JSON = "~/.local/share/dbx-auth/auth.json"
CACHE = "~/.databricks/token-cache.json"

AZURE, AZURE_OTHER = "https://adb-1.2.azuredatabricks.net", "https://adb-3.4.azuredatabricks.net"
GCP, GCP_OTHER = "https://1.2.gcp.databricks.com", "https://3.4.gcp.databricks.com"
RESOURCE_ID = "/subscriptions/sub-1/resourceGroups/rg/providers/Microsoft.Databricks/workspaces/ws"

LOGIN = entra.CLOUDS["PUBLIC"].authority
MANAGEMENT = "X-Databricks-Azure-SP-Management-Token"
OPENID = "/a-tenant/v2.0/.well-known/openid-configuration"
ENTRA = "/a-tenant/oauth2/v2.0/token"
ENTRA_KNOWS: dict[str, Reply] = {
    OPENID: (
        200,
        {
            "issuer": f"{LOGIN}/a-tenant/v2.0",
            "authorization_endpoint": f"{LOGIN}/a-tenant/oauth2/v2.0/authorize",
            "token_endpoint": LOGIN + ENTRA,
            "device_authorization_endpoint": f"{LOGIN}/a-tenant/oauth2/v2.0/devicecode",
        },
    ),
}
IMDS = "/metadata/identity/oauth2/token"
GITHUB, DEVOPS = "https://token.actions.example", "https://dev.azure.example"
GITHUB_JOB = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": f"{GITHUB}/idtoken?api-version=2.0",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "gh-s3cret",
}
DEVOPS_JOB = {
    "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": f"{DEVOPS}/org/",
    "SYSTEM_TEAMPROJECTID": "project",
    "SYSTEM_PLANID": "plan",
    "SYSTEM_JOBID": "job",
    "SYSTEM_HOSTTYPE": "build",
    "SYSTEM_ACCESSTOKEN": "ado-s3cret",
}
DEVOPS_PATH = "/org/project/_apis/distributedtask/hubs/build/plans/plan/jobs/job/oidctoken"
GOOGLE, GOOGLE_TOKEN = "https://oauth2.googleapis.com", "/token"
IAM, ACCOUNT = "https://iamcredentials.googleapis.com", "robot@project.iam.gserviceaccount.com"
IAM_ID, IAM_ACCESS = (f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generate{kind}Token" for kind in ("Id", "Access"))
GOOGLE_ID = jwt(iss="https://accounts.google.com", exp=HOUR)
BESIDE = "X-Databricks-GCP-SA-Access-Token"


def entra_gives(name: str) -> Reply:
    return 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": name}


def imds_gives(name: str) -> Reply:
    body = {"access_token": name, "expires_in": "3600", "expires_on": str(int(HOUR)), "token_type": "Bearer"}
    return 200, body


@cache
def google_key() -> dict[str, str]:
    """The key of a service account; a real one, because google-auth signs with it."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "key-id",
        "private_key": pem,
        "client_email": ACCOUNT,
        "client_id": "1",
        "token_uri": GOOGLE + GOOGLE_TOKEN,
    }


# ---- what has to be there beside the environment -----------------------------------------------------------------


Prepare = Callable[[Machine, pytest.MonkeyPatch], object]


def nothing(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    """No file is needed."""


def stored_key(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "dapi-s3cret", "host": HOST + "/"}})


def stale_login(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    login = Grant(HOST, "old-s3cret", "rt-s3cret", NOW - 10)
    machine.write(machine.auth_json, {"databricks": grant_fields(login)})


def id_token_file(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    machine.write(machine.home / "id-token", "id-s3cret\n")


def logged_in_az(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    said = json.dumps({"accessToken": "az-s3cret", "expires_on": int(HOUR), "tokenType": "Bearer"})
    beside = said.replace("az-s3cret", "mgmt-s3cret")
    put_az(machine.home / "bin", ("*management*", 0, beside), ("*", 0, said))
    machine.env["PATH"] = on_path(machine.home / "bin")
    patch.setenv("PATH", machine.env["PATH"])


def gcloud_login(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    """What `gcloud auth application-default login` writes."""
    names = ("client_id", "client_secret", "refresh_token")
    login = {"type": "authorized_user", "quota_project_id": "p", **{name: f"{name}-s3cret" for name in names}}
    machine.env["GOOGLE_APPLICATION_CREDENTIALS"] = str(machine.write(machine.home / "adc.json", login))
    patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", machine.env["GOOGLE_APPLICATION_CREDENTIALS"])


def google_key_file(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    machine.write(machine.home / "key.json", {**google_key()})


NOTEBOOK = """
class Context:
    workspaceUrl = "{host}"
    apiToken = "{token}"

def get_context():
    return Context()
"""


def notebook(machine: Machine, patch: pytest.MonkeyPatch, token: str = "nb-s3cret") -> None:
    """The module that a cluster has, and that says what the notebook runs with."""
    package = machine.home / "cluster" / "dbruntime"
    text = NOTEBOOK.format(host=HOST.removeprefix("https://"), token=token)
    machine.write(package / "databricks_repl_context.py", text)
    for name in ("dbruntime", "dbruntime.databricks_repl_context"):
        patch.setitem(sys.modules, name, None)  # so that it is gone when the test is over
        del sys.modules[name]
    patch.setattr(sys, "dont_write_bytecode", True)
    patch.syspath_prepend(str(package.parent))


# ---- the rows ------------------------------------------------------------------------------------------------------


class Contract(NamedTuple):
    """What one source promises.

    `env` is a working set-up beside DATABRICKS_HOST, `prepare` the files and programs for it, `replies` what the far
    side says; `missing` is what is named where nothing is set up. `value`, `origin` and the rest are the token's.

    `host` and `other` are two hosts that it could be for, `elsewhere` the servers that it asks beside them, and
    `decide` the paths whose answers the token stands on: what goes wrong there goes wrong for the caller. `lone` says
    what becomes of these settings where nothing but a login says the host. `bound` tokens rest in a place that
    says their host; `rooted` ones know it even where no setting does.
    """

    env: Mapping[str, str]
    prepare: Prepare
    replies: Mapping[str, Reply | list[Reply]]
    missing: str
    value: str
    origin: str
    ambient: bool = False
    expires_at: float | None = None
    refreshable: bool = False
    token_type: str = "Bearer"
    extra: Mapping[str, str] = {}
    host: str = HOST
    other: str = OTHER
    elsewhere: tuple[str, ...] = ()
    decide: tuple[str, ...] = ()
    lone: str = "unavailable"
    bound: bool = False
    rooted: bool = False


CONTRACTS = {
    "pat": Contract(
        {"DATABRICKS_TOKEN": "dapi-s3cret"},
        nothing,
        {},
        "token (DATABRICKS_TOKEN)",
        "dapi-s3cret",
        "env DATABRICKS_TOKEN",
        lone="refused",
    ),
    "stored": Contract(
        {},
        stored_key,
        {},
        f"auth.json has no key for {HOST}",
        "dapi-s3cret",
        AUTH_JSON,
        ambient=True,
        lone="served",
        bound=True,
    ),
    "basic": Contract(
        {"DATABRICKS_USERNAME": "user", "DATABRICKS_PASSWORD": "pw-s3cret"},
        nothing,
        {},
        "username (DATABRICKS_USERNAME), password (DATABRICKS_PASSWORD)",
        BASIC,
        "env DATABRICKS_PASSWORD",
        token_type="Basic",
        lone="refused",
    ),
    "oauth-m2m": Contract(
        {"DATABRICKS_CLIENT_ID": "an-id", "DATABRICKS_CLIENT_SECRET": "cs-s3cret"},
        nothing,
        {TOKEN: (200, GIVEN)},
        "client_id (DATABRICKS_CLIENT_ID), client_secret (DATABRICKS_CLIENT_SECRET)",
        "at-s3cret",
        "env DATABRICKS_CLIENT_SECRET",
        expires_at=HOUR,
        refreshable=True,
        decide=(TOKEN,),
        lone="refused",
    ),
    "databricks-cli": Contract(
        {},
        stale_login,
        {TOKEN: (200, GIVEN)},
        "no login in",
        "at-s3cret",
        AUTH_JSON,
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        decide=(TOKEN,),
        lone="served",
        bound=True,
    ),
    "metadata-service": Contract(
        {"DATABRICKS_METADATA_SERVICE_URL": "http://127.0.0.1:1/url-s3cret"},
        nothing,
        {"/url-s3cret": (200, {"access_token": "ms-s3cret", "token_type": "Bearer", "expires_on": HOUR})},
        "metadata_service_url (DATABRICKS_METADATA_SERVICE_URL)",
        "ms-s3cret",
        "env DATABRICKS_METADATA_SERVICE_URL",
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        elsewhere=("http://127.0.0.1:1",),
        decide=("/url-s3cret",),
        lone="refused",
    ),
    "github-oidc": Contract(
        {**GITHUB_JOB, "DATABRICKS_CLIENT_ID": "an-id"},
        nothing,
        {"/idtoken": (200, {"value": "id-s3cret"}), TOKEN: (200, GIVEN)},
        "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "at-s3cret",
        "GitHub Actions",
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        elsewhere=(GITHUB,),
        decide=("/idtoken", TOKEN),
    ),
    "azure-devops-oidc": Contract(
        {**DEVOPS_JOB, "DATABRICKS_CLIENT_ID": "an-id"},
        nothing,
        {DEVOPS_PATH: (200, {"oidcToken": "id-s3cret"}), TOKEN: (200, GIVEN)},
        ", ".join(DEVOPS_JOB),
        "at-s3cret",
        "Azure DevOps",
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        elsewhere=(DEVOPS,),
        decide=(DEVOPS_PATH, TOKEN),
    ),
    "env-oidc": Contract(
        {"DATABRICKS_OIDC_TOKEN": "id-s3cret"},
        nothing,
        {TOKEN: (200, GIVEN)},
        "DATABRICKS_OIDC_TOKEN",
        "at-s3cret",
        "env DATABRICKS_OIDC_TOKEN",
        expires_at=HOUR,
        refreshable=True,
        decide=(TOKEN,),
    ),
    "file-oidc": Contract(
        {"DATABRICKS_OIDC_TOKEN_FILEPATH": "~/id-token"},
        id_token_file,
        {TOKEN: (200, GIVEN)},
        "oidc_token_filepath (DATABRICKS_OIDC_TOKEN_FILEPATH)",
        "at-s3cret",
        "file {home}/id-token",
        expires_at=HOUR,
        refreshable=True,
        decide=(TOKEN,),
        lone="refused",
    ),
    "github-oidc-azure": Contract(
        {**GITHUB_JOB, "ARM_CLIENT_ID": "an-app", "ARM_TENANT_ID": "a-tenant"},
        nothing,
        {
            "/idtoken": (200, {"value": "id-s3cret"}),
            **ENTRA_KNOWS,
            ENTRA: [entra_gives("aad-s3cret"), entra_gives("mgmt-s3cret")],
        },
        "azure_client_id (ARM_CLIENT_ID)",
        "aad-s3cret",
        "GitHub Actions",
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        extra={MANAGEMENT: "mgmt-s3cret"},
        host=AZURE,
        other=AZURE_OTHER,
        elsewhere=(GITHUB, LOGIN),
        decide=("/idtoken", OPENID, ENTRA),
    ),
    "azure-msi": Contract(
        {"ARM_USE_MSI": "true", "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"},
        nothing,
        {IMDS: [(400, {"error": "invalid_request"}), imds_gives("msi-s3cret"), imds_gives("mgmt-s3cret")]},
        "azure_use_msi (ARM_USE_MSI)",
        "msi-s3cret",
        "env ARM_USE_MSI",
        expires_at=HOUR,
        refreshable=True,
        extra={MANAGEMENT: "mgmt-s3cret"},
        host=AZURE,
        other=AZURE_OTHER,
        elsewhere=("http://127.0.0.1:1",),
        decide=(IMDS,),
    ),
    "azure-client-secret": Contract(
        {"ARM_CLIENT_ID": "an-app", "ARM_CLIENT_SECRET": "app-s3cret", "ARM_TENANT_ID": "a-tenant"},
        nothing,
        {**ENTRA_KNOWS, ENTRA: [entra_gives("aad-s3cret"), entra_gives("mgmt-s3cret")]},
        "azure_client_id (ARM_CLIENT_ID), azure_client_secret (ARM_CLIENT_SECRET)",
        "aad-s3cret",
        "env ARM_CLIENT_SECRET",
        expires_at=HOUR,
        refreshable=True,
        extra={MANAGEMENT: "mgmt-s3cret"},
        host=AZURE,
        other=AZURE_OTHER,
        elsewhere=(LOGIN,),
        decide=(OPENID, ENTRA),
    ),
    "azure-cli": Contract(
        {"ARM_TENANT_ID": "a-tenant"},
        logged_in_az,
        {},
        "az is not installed",
        "az-s3cret",
        "az",
        ambient=True,
        expires_at=HOUR,
        refreshable=True,
        extra={MANAGEMENT: "mgmt-s3cret"},
        host=AZURE,
        other=AZURE_OTHER,
    ),
    "google-credentials": Contract(
        {"GOOGLE_CREDENTIALS": "~/key.json"},
        google_key_file,
        {GOOGLE_TOKEN: [(200, {"id_token": GOOGLE_ID}), (200, {"access_token": "g-s3cret", "expires_in": 3600})]},
        "google_credentials (GOOGLE_CREDENTIALS)",
        GOOGLE_ID,
        "env GOOGLE_CREDENTIALS",
        expires_at=HOUR,
        refreshable=True,
        extra={BESIDE: "g-s3cret"},
        host=GCP,
        other=GCP_OTHER,
        elsewhere=(GOOGLE,),
        decide=(GOOGLE_TOKEN,),
    ),
    "google-id": Contract(
        {"DATABRICKS_GOOGLE_SERVICE_ACCOUNT": ACCOUNT},
        gcloud_login,
        {
            GOOGLE_TOKEN: (200, {"access_token": "me-s3cret", "expires_in": 3600}),
            IAM_ID: (200, {"token": GOOGLE_ID}),
            IAM_ACCESS: (200, {"accessToken": "g-s3cret", "expireTime": "2030-01-01T00:00:00Z"}),
        },
        "google_service_account (DATABRICKS_GOOGLE_SERVICE_ACCOUNT)",
        GOOGLE_ID,
        "env DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
        expires_at=HOUR,
        refreshable=True,
        extra={BESIDE: "g-s3cret"},
        host=GCP,
        other=GCP_OTHER,
        elsewhere=(GOOGLE, IAM),
        decide=(GOOGLE_TOKEN, IAM_ID),
        lone="refused",
    ),
    "runtime": Contract(
        {"DATABRICKS_RUNTIME_VERSION": "17.3"},
        notebook,
        {},
        "DATABRICKS_RUNTIME_VERSION",
        "nb-s3cret",
        "the notebook",
        ambient=True,
        lone="served",
        bound=True,
        rooted=True,
    ),
}
SECRETS = ("-s3cret", BASIC, base64.b64encode(b"an-id:cs-s3cret").decode(), GOOGLE_ID, "PRIVATE KEY")
OVER_THE_NETWORK = [name for name, contract in CONTRACTS.items() if contract.replies]
DECISIONS = [(name, path) for name, contract in CONTRACTS.items() for path in contract.decide]


class Ask:
    """Asks one source on a machine where it is set up, with that far side."""

    def __init__(self, machine: Machine, patch: pytest.MonkeyPatch) -> None:
        self.machine = machine
        self.patch = patch

    def __call__(
        self,
        name: str,
        http: Callable[..., Any],
        *,
        demand: Demand | None = None,
        host: str | None = None,
        prepare: Prepare | None = None,
        **parts: Any,
    ) -> Resolution:
        """`host` is that of the contract, unless another is named; an empty one is none."""
        contract = CONTRACTS[name]
        (prepare or contract.prepare)(self.machine, self.patch)
        said = contract.host if host is None else host
        self.put(**contract.env, DATABRICKS_AUTH_TYPE=name, **({"DATABRICKS_HOST": said} if said else {}))
        return self.again(http, demand=demand, **parts)

    def put(self, **env: str) -> None:
        """Set variables. The libraries that some sources use read those of this very process, not our copy."""
        self.machine.env.update(env)
        for key, value in env.items():
            if not key.startswith("DATABRICKS_") and value.isascii():
                self.patch.setenv(key, value)

    def again(self, http: Callable[..., Any], *, demand: Demand | None = None, **parts: Any) -> Resolution:
        """Ask on the machine as it is."""
        self.machine.clock = lambda: NOW
        self.patch.setattr(time, "time", lambda: NOW)
        self.patch.setattr(time, "sleep", lambda seconds: None)
        self.patch.setattr(HTTPAdapter, "send", for_requests(http))
        world = self.machine.world._replace(http=http, sleep=lambda seconds: None, **parts)
        return resolve.resolve(profiles.load(world), world, demand or Demand())


def told(resolution: Resolution) -> str:
    """All that anybody is told of it."""
    error = resolution.error
    return f"{resolution!r} {resolution.attempts} {error!s} {error and error.hint} {resolution.token!s}"
