"""What each source refuses, through a real process: the exit code, what it says, and what it keeps to itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cloud import Answer, Cloud, Misbehaviour, Request, html, redirect, reply
from cloud.azure import RESOURCE_ID
from cloud.databricks import ACCOUNT_ID, AWS, AZURE, GCP, UNIFIED
from cloud.entra import DATABRICKS, PUBLIC
from cloud.ways import WAYS, go_inside, id_token, leaks
from machine import Machine, Result

from dbx_auth.sources import ORDER

Spoil = Callable[[Machine, Cloud], object]


def env(**settings: str | None) -> Spoil:
    """Other settings; None takes one away."""

    def spoil(machine: Machine, cloud: Cloud) -> None:
        for name, value in settings.items():
            machine.env.pop(name, None)
            if value is not None:
                machine.env[name] = value

    return spoil


def route(where: str, answer: Answer | Misbehaviour | Callable[[Request], Answer]) -> Spoil:
    return lambda machine, cloud: cloud.override(where, answer)


def echo(status: int, field: str) -> Callable[[Request], Answer]:
    """A server that repeats what it was sent, as some do in what they say about it."""
    return lambda request: reply({"error": "invalid_grant", "error_description": f"bad {request.form[field]}"}, status)


def az(**mode: object) -> Spoil:
    return lambda machine, cloud: cloud.az.set(**mode)


def both(*spoils: Spoil) -> Spoil:
    return lambda machine, cloud: [spoil(machine, cloud) for spoil in spoils]


class Row(NamedTuple):
    """A source that works, what is then done to it, the exit code, and what the message must say."""

    auth_type: str
    what: str
    spoil: Spoil
    code: int
    says: str


TOKEN = "*/oidc/v1/token"
ENTRA = f"{PUBLIC.login}/*"
ENTRA_TOKEN = f"{PUBLIC.login}/*/token"
CONFIG = "*/.well-known/databricks-config"
DOCUMENT = "*/.well-known/oauth-authorization-server"
GOOGLE_MACHINE = {"metadata.google.internal", "169.254.169.254"}
EVIL = "https://evil.example"
DEAD = "http://127.0.0.1:9"
DOWN = Answer(503, b"down")
HALF = Answer(200, b'{"access_token": "eyJhbGciOiJIUzI1NiJ9.e30', {"Content-Type": "application/json"})
OVER = reply(
    {"access_token": "eyJ", "token_type": "Bearer", "expires_in": "0", "expires_on": "1", "resource": DATABRICKS}
)
NO_HOST = env(DATABRICKS_HOST=None, ARM_TENANT_ID=PUBLIC.tenant, DATABRICKS_AZURE_RESOURCE_ID=RESOURCE_ID)

# fmt: off
ROWS = [
    Row("pat", "a token of two words", env(DATABRICKS_TOKEN="one two"), 5, "a space or a control character"),
    Row("pat", "no host", env(DATABRICKS_HOST=None), 5, "no host"),
    Row("stored", "a file that is no JSON", lambda m, c: m.write(m.auth_json, "{"), 5, "auth.json"),
    Row("basic", "no password", env(DATABRICKS_PASSWORD=None), 4, "basic"),

    Row("oauth-m2m", "a wrong secret", env(DATABRICKS_CLIENT_SECRET="wrong-secret"), 1, "invalid_client"),
    Row("oauth-m2m", "an endpoint elsewhere",
        route(DOCUMENT, reply({"token_endpoint": f"{EVIL}/token"})), 5, "not its own"),
    Row("oauth-m2m", "an endpoint without TLS",
        route(DOCUMENT, reply({"token_endpoint": f"{AWS.replace('https', 'http')}/oidc/v1/token"})), 5, "not its own"),
    Row("oauth-m2m", "a root elsewhere", route(CONFIG, reply({"oidc_endpoint": f"{EVIL}/oidc"})), 5, "not its own"),
    Row("oauth-m2m", "a root for an account that nobody names",
        both(env(DATABRICKS_HOST=UNIFIED),
             route(CONFIG, reply({"oidc_endpoint": f"{UNIFIED}/oidc/accounts/{{account_id}}"}))), 5, "which account"),
    Row("oauth-m2m", "a server that is down", route(TOKEN, DOWN), 6, "503"),
    Row("oauth-m2m", "a server that hangs up", route(TOKEN, Misbehaviour.CLOSE), 6, "broke off"),
    Row("oauth-m2m", "a login page", route(TOKEN, html()), 1, "not a JSON object"),
    Row("oauth-m2m", "a way elsewhere", route(TOKEN, redirect(f"{EVIL}/token")), 1, "302"),
    Row("oauth-m2m", "a document elsewhere", env(DATABRICKS_DISCOVERY_URL=f"{EVIL}/document"), 5, "not its own"),
    Row("oauth-m2m", "half a token", route(TOKEN, reply({"token_type": "Bearer"})), 1, "without an access token"),

    Row("databricks-cli", "a login that has ended",
        lambda m, c: m.cached_login(AWS, expiry="2020-01-01T00:00:00Z"), 4, "invalid_grant"),
    Row("databricks-cli", "a server that is down", route(TOKEN, DOWN), 6, "503"),

    Row("metadata-service", "a server on another machine",
        env(DATABRICKS_METADATA_SERVICE_URL="http://169.254.169.254/token"), 5, "not on this machine"),
    Row("metadata-service", "a name that only begins like loopback",
        env(DATABRICKS_METADATA_SERVICE_URL="http://127.0.0.1.evil.example/token"), 5, "not on this machine"),
    Row("metadata-service", "a user in front of the address",
        env(DATABRICKS_METADATA_SERVICE_URL="http://127.0.0.1@evil.example/token"), 5, "not on this machine"),
    Row("metadata-service", "nobody there", env(DATABRICKS_METADATA_SERVICE_URL=f"{DEAD}/token"), 6, "cannot reach"),
    Row("metadata-service", "a login page", route("127.0.0.1/*", html()), 1, "not a JSON object"),
    Row("metadata-service", "a token without an end",
        route("127.0.0.1/*", reply({"access_token": "x", "token_type": "Bearer"})), 1, "when its token ends"),
    Row("metadata-service", "a token that has ended",
        route("127.0.0.1/*", reply({"access_token": "x", "token_type": "Bearer", "expires_on": 1})), 1, "ended"),
    Row("metadata-service", "no token",
        route("127.0.0.1/*", reply({"token_type": "Bearer", "expires_on": 4e9})), 1, "without an access token"),
    Row("metadata-service", "a way elsewhere", route("127.0.0.1/*", redirect(f"{EVIL}/token")), 1, "302"),
    Row("metadata-service", "a service that is down", route("127.0.0.1/*", DOWN), 6, "503"),
    Row("metadata-service", "another host than it serves", env(DATABRICKS_HOST=AZURE), 1, "404"),

    Row("github-oidc", "a job that is over", env(ACTIONS_ID_TOKEN_REQUEST_TOKEN="gone"), 1, "id-token: write"),
    Row("github-oidc", "a job without the permission", env(ACTIONS_ID_TOKEN_REQUEST_URL=None), 4, "github-oidc"),
    Row("github-oidc", "an address without TLS",
        env(ACTIONS_ID_TOKEN_REQUEST_URL="http://evil.example/token"), 5, "ACTIONS_ID_TOKEN_REQUEST_URL"),
    Row("github-oidc", "no policy for it", lambda m, c: c.databricks.policies.clear(), 1, "federation policy"),
    Row("github-oidc", "a login page", route("*.actions.githubusercontent.com/*", html()), 1, "not a JSON object"),
    Row("github-oidc", "an answer without a token",
        route("*.actions.githubusercontent.com/*", reply({"count": 0})), 1, "without an ID token"),
    Row("github-oidc", "GitHub is down", route("*.actions.githubusercontent.com/*", DOWN), 6, "503"),

    Row("azure-devops-oidc", "a wrong access token", env(SYSTEM_ACCESSTOKEN="gone"), 1, "System.AccessToken"),
    Row("azure-devops-oidc", "no access token", env(SYSTEM_ACCESSTOKEN=None), 4, "azure-devops-oidc"),
    Row("azure-devops-oidc", "the sign-in page", route("dev.azure.com/*", html(203)), 1, "not a JSON object"),
    Row("azure-devops-oidc", "Azure DevOps is down", route("dev.azure.com/*", DOWN), 6, "503"),
    Row("azure-devops-oidc", "a collection without TLS",
        env(SYSTEM_TEAMFOUNDATIONCOLLECTIONURI="http://evil.example/"), 5, "https://"),

    Row("env-oidc", "an ID token that has ended",
        lambda m, c: m.env.update(DATABRICKS_OIDC_TOKEN=id_token(c, life=-1)), 1, "expired"),
    Row("env-oidc", "an ID token for somebody else",
        lambda m, c: m.env.update(DATABRICKS_OIDC_TOKEN=id_token(c, "another")), 1, "audience"),
    Row("env-oidc", "no ID token at all", env(DATABRICKS_OIDC_TOKEN="nonsense-nonsense"), 1, "not a JWT"),
    Row("env-oidc", "a variable that is not set", env(DATABRICKS_OIDC_TOKEN_ENV="MY_TOKEN"), 5, "MY_TOKEN"),
    Row("env-oidc", "its ID token in the answer", route(TOKEN, echo(400, "subject_token")), 1, "bad ***"),
    Row("env-oidc", "an unknown client", env(DATABRICKS_CLIENT_ID="nobody"), 1, "client_id"),
    Row("file-oidc", "a file that is gone", lambda m, c: (m.home / "id_token").unlink(), 5, "id_token"),
    Row("file-oidc", "an empty file", lambda m, c: m.write(m.home / "id_token", "\n"), 5, "empty"),
    Row("file-oidc", "a file of bytes", lambda m, c: m.write(m.home / "id_token", b"\xff\xfe"), 5, "not text"),
    Row("file-oidc", "a folder", lambda m, c: m.env.update(DATABRICKS_OIDC_TOKEN_FILEPATH=str(m.home)), 5, "cannot be"),
    Row("file-oidc", "nonsense", lambda m, c: m.write(m.home / "id_token", "nonsense-nonsense"), 1, "not a JWT"),

    Row("github-oidc-azure", "no federated credential", lambda m, c: c.entra.app.federated.clear(), 1, "70021"),
    Row("github-oidc-azure", "its ID token in the answer", route(ENTRA_TOKEN, echo(401, "client_assertion")), 1, "***"),
    Row("github-oidc-azure", "a wrong tenant", env(ARM_TENANT_ID="contoso.example"), 1, "90002"),
    Row("azure-msi", "neither true nor false", env(ARM_USE_MSI="perhaps"), 5, "ARM_USE_MSI"),
    Row("azure-msi", "not wanted", env(ARM_USE_MSI="false"), 4, "azure-msi"),
    Row("azure-msi", "nobody there", env(AZURE_POD_IDENTITY_AUTHORITY_HOST=DEAD), 6, "no managed identity"),
    Row("azure-msi", "an identity it has not", env(ARM_CLIENT_ID="nobody"), 1, "Identity not found"),
    Row("azure-msi", "a login page", route("127.0.0.1/*", html()), 1, "no token"),
    Row("azure-msi", "half an answer", route("127.0.0.1/*", HALF), 1, "no token"),
    Row("azure-msi", "a token that has ended", route("127.0.0.1/*", OVER), 1, "ended"),
    Row("azure-msi", "a way elsewhere", route("127.0.0.1/*", redirect(f"{EVIL}/token")), 1, "no token"),
    Row("azure-msi", "a service that is down", route("127.0.0.1/*", DOWN), 6, "try again"),

    Row("azure-client-secret", "a secret that has ended",
        lambda m, c: m.env.update(ARM_CLIENT_SECRET=c.entra.app.expired_secret), 1, "expired: AADSTS7000222"),
    Row("azure-client-secret", "a wrong secret", env(ARM_CLIENT_SECRET="wrong-secret"), 1, "AADSTS7000215"),
    Row("azure-client-secret", "an unknown app", env(ARM_CLIENT_ID="nobody"), 1, "AADSTS700016"),
    Row("azure-client-secret", "a wrong tenant", env(ARM_TENANT_ID="contoso.example"), 1, "no tenant of this name"),
    Row("azure-client-secret", "no tenant to be found", route("*/aad/auth", html()), 5, "which Entra ID tenant"),
    Row("azure-client-secret", "a tenant elsewhere",
        route("*/aad/auth", redirect(f"{EVIL}/tenant/oauth2/authorize")), 5, "which Entra ID tenant"),
    Row("azure-client-secret", "a workspace that is down", route("*/aad/auth", DOWN), 6, "503"),
    Row("azure-client-secret", "a login without TLS",
        env(AZURE_AUTHORITY_HOST="http://evil.example"), 5, "AZURE_AUTHORITY_HOST"),
    Row("azure-client-secret", "Entra ID is busy", route(ENTRA_TOKEN, reply({}, 429)), 6, "429"),
    Row("azure-client-secret", "Entra ID is down", route(ENTRA_TOKEN, DOWN), 6, "503"),
    Row("azure-client-secret", "Entra ID hangs up", route(ENTRA, Misbehaviour.CLOSE), 6, "broke off"),
    Row("azure-client-secret", "half an answer", route(ENTRA_TOKEN, HALF), 1, "not a JSON object"),
    Row("azure-client-secret", "its secret in the answer",
        route(ENTRA_TOKEN, echo(401, "client_secret")), 1, "bad ***"),
    Row("azure-client-secret", "a login page", route(ENTRA_TOKEN, html()), 1, "not a JSON object"),
    Row("azure-client-secret", "a login page in place of the tenant", route(ENTRA, html()), 1, "not a JSON object"),
    Row("azure-client-secret", "not an Azure host", env(DATABRICKS_HOST=AWS), 4, "azure-client-secret"),
    Row("azure-client-secret", "a resource that is not there",
        both(NO_HOST, env(DATABRICKS_AZURE_RESOURCE_ID="/nothing")), 1, "was not found"),
    Row("azure-client-secret", "a resource of other people",
        both(NO_HOST, lambda m, c: c.arm.forbidden.add(RESOURCE_ID)), 1, "does not have authorization"),
    Row("azure-client-secret", "a resource elsewhere",
        both(NO_HOST, lambda m, c: c.arm.workspaces.update({RESOURCE_ID: "evil.example"})), 1, "names no host"),
    Row("azure-client-secret", "Azure is down", both(NO_HOST, route(f"{PUBLIC.arm}/*", DOWN)), 6, "503"),
    Row("azure-client-secret", "an Azure that there is not",
        both(NO_HOST, env(ARM_ENVIRONMENT="MOON")), 5, "MOON"),

    Row("azure-cli", "az is missing", env(PATH="/nothing"), 4, "azure-cli"),
    Row("azure-cli", "az is logged out", lambda m, c: c.az.log_out(), 4, "az is not logged in"),
    Row("azure-cli", "az has a token that has ended", az(expires_on=1), 1, "ended"),
    Row("azure-cli", "az says nonsense", az(garbage="nonsense"), 1, "azure-cli"),
    Row("azure-cli", "az says half a token",
        lambda m, c: c.az.set(garbage=json.dumps({"accessToken": c.az.mode["tokens"][DATABRICKS]})), 1, "azure-cli"),
    Row("azure-cli", "az says half a token in one piece", lambda m, c: c.az.set(
        garbage=json.dumps({"accessToken": c.az.mode["tokens"][DATABRICKS]}, separators=(",", ":"))), 1, "azure-cli"),
    Row("azure-cli", "a wrong tenant", env(ARM_TENANT_ID="contoso.example"), 1, "AADSTS90002"),
    Row("azure-cli", "a second factor is wanted",
        az(fail="AADSTS50076: Due to a configuration change you must use multi-factor authentication. Trace ID: 0 "
                "Correlation ID: 0\nInteractive authentication is needed. Please run:\naz login"), 4, "second factor"),
    Row("azure-cli", "az hangs", az(sleep=30), 6, "within 10 s"),

    Row("google-credentials", "a file that is gone", env(GOOGLE_CREDENTIALS="/nothing.json"), 5, "No such file"),
    Row("google-credentials", "no JSON", env(GOOGLE_CREDENTIALS="{no"), 5, "not a JSON object"),
    Row("google-credentials", "no key", env(GOOGLE_CREDENTIALS="{}"), 5, "not the key of a service account"),
    Row("google-credentials", "half a key", lambda m, c: m.env.update(GOOGLE_CREDENTIALS=json.dumps(
        {**c.google.key_file, "private_key": c.google.key_file["private_key"][:400]})), 5, "not the key"),
    Row("google-credentials", "a key that was deleted",
        lambda m, c: setattr(c.google, "key_id", "another"), 1, "Invalid JWT Signature"),
    Row("google-credentials", "not a Google host", env(DATABRICKS_HOST=AWS), 4, "google-credentials"),
    Row("google-credentials", "Google hangs up", route("oauth2.*", Misbehaviour.CLOSE), 6, "broke off"),
    Row("google-credentials", "a login page", route("oauth2.*", html()), 1, "Google gave no token"),
    Row("google-credentials", "half an answer", route("oauth2.*", HALF), 1, "Google gave no token"),
    Row("google-credentials", "its assertion in the answer", route("oauth2.*", echo(400, "assertion")), 1, "bad ***"),
    Row("google-credentials", "Google is down", route("oauth2.*", DOWN), 6, "try again"),
    Row("google-id", "an account it may not be",
        env(DATABRICKS_GOOGLE_SERVICE_ACCOUNT="nobody@project.iam.gserviceaccount.com"), 1, "denied"),
    Row("google-id", "nobody to begin with", env(GOOGLE_APPLICATION_CREDENTIALS=None), 4, "Google knows nobody"),
    Row("google-id", "a file that is gone", env(GOOGLE_APPLICATION_CREDENTIALS="/nothing.json"), 4, "/nothing.json"),

    Row("runtime", "no notebook", lambda m, c: c.env and m.env.update(PYTHONPATH=c.env["PYTHONPATH"]), 4, "runtime"),
    Row("runtime", "a cluster whose module is broken", lambda m, c: m.write(
        m.home / "cluster/dbruntime/databricks_repl_context.py", "raise RuntimeError('no')"), 4, "runtime"),
    Row("runtime", "the notebook of another workspace", env(DATABRICKS_HOST=GCP), 4, "runtime"),
]
# fmt: on


@pytest.fixture(autouse=True)
def _inside(machine: Machine, cloud: Cloud) -> None:
    go_inside(machine, cloud)


def error(found: Result) -> str:
    """The line that says what happened, and the hint that must follow it."""
    *_, said, hint = found.err.splitlines()
    assert said.startswith("dbx-auth: ") and hint.startswith("hint: ") and len(hint) > len("hint: "), found.err
    return f"{said}\n{hint}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.auth_type}: {row.what}")
def test_a_source_refuses_with_a_code_a_reason_and_a_hint(machine: Machine, cloud: Cloud, row: Row) -> None:
    WAYS[row.auth_type](machine, cloud)
    row.spoil(machine, cloud)
    found = machine.spawn("-v", "token")
    assert not leaks(cloud, found.err)
    assert (found.code, found.out) == (row.code, ""), found.err
    # What is passed over is told with -v, and in `status`; the error speaks of what failed.
    assert row.says in (found.err if row.says == row.auth_type else error(found))
    assert not [word for word in ("Traceback", "Trace ID", "Correlation ID") if word in found.err]
    assert not cloud.asked("evil.example/*")
    # The last resort of Google's own library, where a person has named an account of Google.
    assert set(cloud.escapes) <= (GOOGLE_MACHINE if row.what == "nobody to begin with" else set())


def test_every_source_refuses_something() -> None:
    assert {row.auth_type for row in ROWS} == set(ORDER)


@pytest.mark.parametrize("auth_type", ORDER)
def test_a_source_that_is_named_and_not_set_up_says_what_it_lacks_and_asks_nobody(
    machine: Machine, cloud: Cloud, auth_type: str
) -> None:
    machine.env.update(DATABRICKS_HOST=AWS, DATABRICKS_AUTH_TYPE=auth_type)
    found = machine.spawn("token")
    assert (found.code, found.out) == (4, "") and f"{auth_type}: " in error(found)
    assert cloud.asked() == [] and cloud.escapes == []


# ---- where Azure and Google are only asked when the settings or the host say so ------------------------------------


@pytest.mark.parametrize("host", [AWS, "https://workspace.corp.example", GCP])
def test_nobody_looks_for_a_machines_identity_where_nothing_says_azure(
    machine: Machine, cloud: Cloud, host: str
) -> None:
    machine.env.update(cloud.az.env, DATABRICKS_HOST=host, ARM_USE_MSI="true", ARM_CLIENT_ID="x")
    machine.env.update(ARM_CLIENT_SECRET="not-for-you")
    found = machine.spawn("token")
    assert (found.code, found.out) == (4, "")
    assert cloud.escapes == [] and cloud.asked() == [] and cloud.az.asked == []


def test_the_metadata_address_of_azure_is_asked_when_the_settings_say_so(machine: Machine, cloud: Cloud) -> None:
    machine.env.update(DATABRICKS_HOST=AZURE, ARM_USE_MSI="true")
    assert machine.spawn("token").code == 6
    assert set(cloud.escapes) == {"169.254.169.254"}


def test_a_metadata_address_that_is_silent_costs_a_second(machine: Machine, cloud: Cloud) -> None:
    WAYS["azure-msi"](machine, cloud)
    cloud.override("127.0.0.1/*", Misbehaviour.HANG)
    began = time.monotonic()
    found = machine.spawn("token")
    assert (found.code, found.out) == (6, "") and "within 1 s" in error(found)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("where", ["IMDS", "App Service"])
def test_a_machines_identity_is_never_asked_for_through_a_proxy(
    machine: Machine, cloud: Cloud, tmp_path: Path, where: str
) -> None:
    """The address is the machine's own: a proxy that was asked would get a token, and App Service's secret header."""
    WAYS["azure-msi"](machine, cloud)
    if where == "App Service":
        del machine.env["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
        machine.env.update(IDENTITY_ENDPOINT=cloud.url + cloud.identity.app_service)
        machine.env.update(IDENTITY_HEADER=cloud.identity.secret)
    with Cloud(tmp_path / "proxy") as proxy:
        machine.env.update(HTTP_PROXY=proxy.url, http_proxy=proxy.url, NO_PROXY="", no_proxy="")
        found = machine.spawn("token")
        assert proxy.log == []
    assert found.code == 0


@pytest.mark.parametrize("setting", ["DATABRICKS_CLOUD", "DATABRICKS_AZURE_RESOURCE_ID"])
def test_a_setting_can_say_that_a_host_is_on_azure(machine: Machine, cloud: Cloud, setting: str) -> None:
    WAYS["azure-client-secret"](machine, cloud)
    machine.env.update({"DATABRICKS_HOST": "https://workspace.corp.example", "ARM_TENANT_ID": PUBLIC.tenant})
    machine.env[setting] = {"DATABRICKS_CLOUD": "azure"}.get(setting, RESOURCE_ID)
    assert machine.spawn("token", "-o", "json").json()["auth_type"] == "azure-client-secret"


# ---- who is asked next ---------------------------------------------------------------------------------------------


def test_a_broken_secret_of_a_person_ends_the_chain(machine: Machine, cloud: Cloud) -> None:
    WAYS["azure-client-secret"](machine, cloud)
    machine.env.update(cloud.az.env, ARM_CLIENT_SECRET="wrong-secret")
    found = machine.spawn("token")
    assert (found.code, found.out) == (1, "") and "wrong-secret" not in found.err
    assert cloud.az.asked == []


def test_what_is_found_on_the_machine_and_broken_is_passed_over_and_told(machine: Machine, cloud: Cloud) -> None:
    WAYS["azure-cli"](machine, cloud)
    machine.env.update(cloud.github.env, DATABRICKS_METADATA_SERVICE_URL=DEAD)
    told = machine.spawn("status", "-o", "json").json()
    attempts = {a["auth_type"]: a for a in told["attempts"]}
    assert (told["auth_type"], told["user"]) == ("azure-cli", cloud.entra.upn)
    assert {a for a, attempt in attempts.items() if attempt["outcome"] == "failed"} == {
        "metadata-service",
        "github-oidc",
    }


def test_a_token_file_that_vanishes_is_missed_at_once(machine: Machine, cloud: Cloud) -> None:
    WAYS["file-oidc"](machine, cloud)
    assert machine.spawn("token").code == 0
    (machine.home / "id_token").rename(machine.home / "elsewhere")
    assert machine.spawn("token").code == 5


def test_the_account_of_a_unified_host_can_be_said(machine: Machine, cloud: Cloud) -> None:
    WAYS["oauth-m2m"](machine, cloud)
    cloud.override(CONFIG, reply({"oidc_endpoint": f"{UNIFIED}/oidc/accounts/{{account_id}}"}))
    machine.env.update(DATABRICKS_HOST=UNIFIED, DATABRICKS_ACCOUNT_ID=ACCOUNT_ID)
    assert machine.spawn("token").code == 0
