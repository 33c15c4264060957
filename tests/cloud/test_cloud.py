"""What keeps the emulated cloud honest: real libraries get through it, and what the real one refuses is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import google.auth.transport.requests
import httpx
import msal
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzureCliCredential, CredentialUnavailableError, ManagedIdentityCredential
from google.oauth2 import service_account

from . import Cloud, Misbehaviour, html
from .azure import RESOURCE_ID
from .databricks import ACCOUNT_ID, AWS, AZURE, GCP, JWT, PAT, TOKEN_EXCHANGE, UNIFIED
from .entra import DATABRICKS, EXCHANGE, PUBLIC, USGOVERNMENT

AUTHORITY = f"https://{PUBLIC.login}/{PUBLIC.tenant}"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


@pytest.fixture(autouse=True)
def _inside(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead this process there too."""
    for name, value in {**cloud.env, **cloud.az.env, "AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def http(cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def confidential(cloud: Cloud, credential: Any, authority: str = AUTHORITY) -> Any:
    return msal.ConfidentialClientApplication(cloud.entra.app.id, client_credential=credential, authority=authority)


def test_a_name_is_served_under_a_certificate_of_the_ca_alone(cloud: Cloud, http: httpx.Client) -> None:
    found = http.get(f"{AZURE}/aad/auth")
    assert found.status_code == 302 and found.headers["Location"].startswith(f"{AUTHORITY}/oauth2/authorize?")
    assert http.get(f"{AWS}/aad/auth").status_code == 404
    with httpx.Client(verify=True, proxy=cloud.url, trust_env=False) as stranger, pytest.raises(httpx.ConnectError):
        stranger.get(AZURE)
    assert [request.route for request in cloud.log] == [f"{h.removeprefix('https://')}/aad/auth" for h in (AZURE, AWS)]


@pytest.mark.parametrize("resource", [DATABRICKS, PUBLIC.management, PUBLIC.management.rstrip("/")])
def test_msal_gets_a_token_for_a_secret(cloud: Cloud, resource: str) -> None:
    found = confidential(cloud, cloud.entra.app.secret).acquire_token_for_client([f"{resource}/.default"])
    claims = cloud.mint.read(found["access_token"]) or {}
    assert (claims["aud"], claims["appid"], claims["tid"]) == (resource, cloud.entra.app.id, PUBLIC.tenant)


def test_msal_gets_a_token_for_the_assertion_of_a_workload_that_is_known(cloud: Cloud) -> None:
    def ask(subject: str, audience: str = EXCHANGE) -> Any:
        assertion = cloud.mint.issue(iss="https://idp.example", sub=subject, aud=audience)
        app = confidential(cloud, {"client_assertion": lambda: assertion})
        return app.acquire_token_for_client([f"{DATABRICKS}/.default"])

    cloud.entra.app.federated.add(("https://idp.example", "job"))
    assert cloud.mint.read(ask("job")["access_token"])
    assert ask("another job")["error_codes"] == ask("job", "https://other")["error_codes"] == [70021]


def test_what_entra_refuses_has_its_number_and_traces(cloud: Cloud, http: httpx.Client) -> None:
    def ask(secret: str, scope: str = f"{DATABRICKS}/.default") -> Any:
        return confidential(cloud, secret).acquire_token_for_client([scope])

    wrong, expired = ask("wrong"), ask(cloud.entra.app.expired_secret)
    assert (wrong["error"], wrong["error_codes"]) == ("invalid_client", [7000215])
    assert (expired["error"], expired["error_codes"]) == ("invalid_client", [7000222])
    assert "Trace ID: " in expired["error_description"] and "Correlation ID: " in expired["error_description"]
    assert ask(cloud.entra.app.secret, "https://nobody.example/.default")["error_codes"] == [500011]
    form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}
    assert http.post(f"{AUTHORITY}/oauth2/v2.0/token", data=form).json()["error_codes"] == [700016]
    elsewhere = f"https://{USGOVERNMENT.login}/{PUBLIC.tenant}/v2.0/.well-known/openid-configuration"
    assert (http.get(elsewhere).status_code, http.get(elsewhere).json()["error_codes"]) == (400, [90002])


def test_a_person_logs_in_with_a_device_code_and_the_login_is_renewed(cloud: Cloud) -> None:
    app = msal.PublicClientApplication(AZURE_CLI, authority=AUTHORITY)
    cloud.entra.polls = 1
    found = app.acquire_token_by_device_flow(app.initiate_device_flow([f"{DATABRICKS}/.default"]))
    again = app.acquire_token_by_refresh_token(found["refresh_token"], [f"{DATABRICKS}/.default"])
    assert again["refresh_token"] != found["refresh_token"]
    assert cloud.holder(AZURE, {"Authorization": f"Bearer {again['access_token']}"}) == cloud.entra.upn
    grants = [request.form["grant_type"] for request in cloud.asked("*/token")]
    assert grants == ["urn:ietf:params:oauth:grant-type:device_code"] * 2 + ["refresh_token"]


def test_a_person_logs_in_with_a_code_and_only_its_own_verifier_will_do(cloud: Cloud, http: httpx.Client) -> None:
    app = msal.PublicClientApplication(AZURE_CLI, authority=AUTHORITY)
    for spoiled in ("", "x"):
        with pytest.warns(UserWarning, match="form_post"):
            flow = app.initiate_auth_code_flow([f"{DATABRICKS}/.default"], redirect_uri="http://localhost:8020")
        callback = dict(httpx.URL(http.get(flow["auth_uri"]).headers["Location"]).params)
        flow["code_verifier"] += spoiled
        found = app.acquire_token_by_auth_code_flow(flow, callback)
        assert ("access_token" in found) is not bool(spoiled)


def test_a_machine_in_azure_has_identities(cloud: Cloud, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ManagedIdentityCredential(client_id=cloud.identity.assigned.id).get_token(DATABRICKS)
    assert cloud.holder(AZURE, {"Authorization": f"Bearer {token.token}"}) == cloud.identity.assigned.id
    with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
        ManagedIdentityCredential(client_id="nobody").get_token(DATABRICKS)
    without_header = http.get(cloud.url + cloud.identity.imds, params={"api-version": "2018-02-01", "resource": "x"})
    assert without_header.status_code == 400 and "metadata header" in without_header.text
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.url + cloud.identity.app_service)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity.secret)
    token = ManagedIdentityCredential().get_token(PUBLIC.management)
    assert (cloud.mint.read(token.token) or {})["appid"] == cloud.identity.system.id


def test_the_azure_library_understands_az(cloud: Cloud) -> None:
    token = AzureCliCredential(tenant_id=PUBLIC.tenant).get_token(f"{DATABRICKS}/.default")
    assert cloud.holder(AZURE, {"Authorization": f"Bearer {token.token}"}) == cloud.entra.upn
    (argv,) = cloud.az.asked
    assert argv[:2] == ["account", "get-access-token"] and argv[-2:] == ["--tenant", PUBLIC.tenant]
    cloud.az.set(old=True)
    assert AzureCliCredential().get_token(f"{DATABRICKS}/.default").expires_on == token.expires_on
    with pytest.raises(ClientAuthenticationError, match="AADSTS90002"):
        AzureCliCredential(tenant_id="other").get_token(f"{DATABRICKS}/.default")
    cloud.az.log_out()
    with pytest.raises(CredentialUnavailableError, match="az login"):
        AzureCliCredential().get_token(f"{DATABRICKS}/.default")


def test_google_gives_an_id_token_for_a_key_and_refuses_any_other(cloud: Cloud) -> None:
    send = google.auth.transport.requests.Request()

    def identity(**changed: str) -> Any:
        key = {**cloud.google.key_file, **changed}
        made: Any = service_account.IDTokenCredentials
        return made.from_service_account_info(key, target_audience=GCP)

    own = identity()
    own.refresh(send)
    assert cloud.holder(GCP, {"Authorization": f"Bearer {own.token}"}) == cloud.google.account
    assert cloud.holder(f"https://3{GCP[8:]}", {"Authorization": f"Bearer {own.token}"}).startswith("401")
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
        identity(client_email="another@project.iam.gserviceaccount.com").refresh(send)


def test_an_azure_principal_outside_the_workspace_proves_its_rights(cloud: Cloud) -> None:
    token = cloud.entra.app_token(cloud.entra.app.id, DATABRICKS)
    headers = {"Authorization": f"Bearer {token}", "X-Databricks-Azure-Workspace-Resource-Id": RESOURCE_ID}
    assert cloud.holder(AZURE, headers).startswith("403")
    proof = cloud.entra.app_token(cloud.entra.app.id, PUBLIC.management)
    assert cloud.holder(AZURE, {**headers, "X-Databricks-Azure-SP-Management-Token": proof}) == cloud.entra.app.id
    assert cloud.holder(AZURE.replace("1.2", "1.3"), {"Authorization": f"Bearer {proof}"}).startswith("401")


def test_a_workload_is_trusted_by_issuer_subject_audience_and_client(cloud: Cloud, http: httpx.Client) -> None:
    cloud.databricks.trust("https://idp.example", "job")
    endpoint = f"{AWS}/oidc/v1/token"

    def status(issuer: str, subject: str, audience: str, **form: str) -> int:
        token = cloud.mint.issue(iss=issuer, sub=subject, aud=audience)
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": JWT, "subject_token": token, **form}
        return http.post(endpoint, data=form).status_code

    mine = {"client_id": cloud.databricks.client_id}
    assert [status("https://idp.example", "job", a) for a in (endpoint, ACCOUNT_ID, "other")] == [200, 200, 400]
    assert status("https://idp.example", "job", endpoint, **mine) == 200
    assert status("https://idp.example", "another", endpoint, **mine) == 400
    assert status("https://other.example", "job", endpoint, **mine) == 400
    assert status("https://idp.example", "job", endpoint, client_id="nobody") == 401
    assert status("https://idp.example", "job", endpoint, subject_token="not.a.jwt") == 400
    assert status("https://idp.example", "job", endpoint, subject_token_type=PAT) == 400


def test_a_token_opens_only_the_host_that_gave_it(cloud: Cloud, http: httpx.Client) -> None:
    databricks = cloud.databricks
    pair = (databricks.client_id, databricks.client_secret)
    form = {"grant_type": "client_credentials", "scope": "all-apis"}

    def bearer(url: str, **more: str) -> dict[str, str]:
        answer = http.post(f"{url}/v1/token", data={**form, **more}, auth=pair).json()
        return {"Authorization": f"Bearer {answer['access_token']}"}

    here, everywhere = bearer(f"{AWS}/oidc"), bearer(f"{UNIFIED}/oidc/accounts/{ACCOUNT_ID}")
    assert cloud.holder(AWS, here) == databricks.client_id and cloud.holder(AZURE, here).startswith("401")
    assert "<html>" in cloud.holder(UNIFIED, everywhere)
    assert cloud.holder(UNIFIED, {**everywhere, "X-Databricks-Workspace-Id": "1"}) == databricks.client_id
    assert cloud.holder(AWS, bearer(f"{AWS}/oidc", assume_group="7")).startswith("404")


def test_the_resource_manager_tells_an_address_to_those_who_may_read(cloud: Cloud, http: httpx.Client) -> None:
    def ask(audience: str, resource: str = RESOURCE_ID) -> tuple[int, Any]:
        token = cloud.entra.app_token(cloud.entra.app.id, audience)
        url = f"https://{PUBLIC.arm}{resource}?api-version=2018-04-01"
        answer = http.get(url, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json().get("error", {}).get("code")

    assert ask(PUBLIC.management) == (200, None)
    assert ask(DATABRICKS) == (401, "InvalidAuthenticationToken")
    assert ask(PUBLIC.management, "/nowhere") == (404, "ResourceNotFound")
    cloud.arm.forbidden.add(RESOURCE_ID)
    assert ask(PUBLIC.management) == (403, "AuthorizationFailed")


def test_a_route_can_be_made_to_misbehave(cloud: Cloud, http: httpx.Client) -> None:
    cloud.override("*/aad/auth", html())
    assert "<html>" in http.get(f"{AZURE}/aad/auth").text
    cloud.override("*/aad/auth", Misbehaviour.CLOSE)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(f"{AZURE}/aad/auth")
    cloud.override("*/aad/auth", Misbehaviour.HANG)
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"{AZURE}/aad/auth", timeout=0.2)


def test_the_probe_stops_and_names_whoever_goes_around_the_proxy(cloud: Cloud) -> None:
    script = """
import socket
for where in ("169.254.169.254", "metadata.google.internal"):
    try:
        socket.create_connection((where, 80), timeout=5)
    except OSError as error:
        print(error)
"""
    env = {**cloud.env, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=30)
    assert done.stdout.count("the probe") == 2
    assert cloud.escapes == ["169.254.169.254", "metadata.google.internal"]
