"""Each of the seventeen sources gives a token, through a real process and against an emulated cloud."""

from __future__ import annotations

import pytest
from cloud import Cloud
from cloud.azure import RESOURCE_ID
from cloud.databricks import ACCOUNT_ID, ACCOUNTS, AWS, AZURE, GCP, UNIFIED
from cloud.entra import CHINA, PUBLIC, USGOVERNMENT, Environment
from cloud.ways import (
    WAYS,
    azure_cli,
    azure_client_secret,
    azure_msi,
    env_oidc,
    github_oidc,
    go_inside,
    leaks,
    oauth_m2m,
    pat,
    runtime,
)  # fmt: skip
from machine import Machine

from dbx_auth.sources import ORDER

MANAGEMENT = "X-Databricks-Azure-SP-Management-Token"
RESOURCE = "X-Databricks-Azure-Workspace-Resource-Id"


@pytest.fixture(autouse=True)
def _inside(machine: Machine, cloud: Cloud) -> None:
    go_inside(machine, cloud)


def given(machine: Machine, cloud: Cloud) -> dict[str, str]:
    """The token, told as JSON by a process that keeps every secret to itself."""
    found = machine.spawn("-v", "token", "-o", "json")
    assert found.code == 0, found.err
    assert not leaks(cloud, found.err)
    told: dict[str, str] = found.json()
    return told


def test_no_source_is_forgotten() -> None:
    assert tuple(WAYS) == ORDER


@pytest.mark.parametrize("auth_type", ORDER)
def test_a_source_gives_a_token_that_opens_its_workspace_and_goes_nowhere_else(
    machine: Machine, cloud: Cloud, auth_type: str
) -> None:
    who = WAYS[auth_type](machine, cloud)
    found = given(machine, cloud)
    assert found["auth_type"] == auth_type and found["host"] in (AWS, AZURE, GCP)
    authorization = f"{found['token_type']} {found['access_token']}"
    assert cloud.holder(found["host"], {"Authorization": authorization}) == who
    assert cloud.escapes == []


# ---- the headers beside a token ------------------------------------------------------------------------------------


def headers(machine: Machine, cloud: Cloud) -> dict[str, str]:
    found = machine.spawn("token", "-o", "headers")
    assert (found.code, found.err) == (0, "")
    told: dict[str, str] = found.json()
    return told


@pytest.mark.parametrize("auth_type", ["github-oidc-azure", "azure-msi", "azure-client-secret"])
def test_an_azure_principal_that_the_workspace_does_not_know_yet_gets_in(
    machine: Machine, cloud: Cloud, auth_type: str
) -> None:
    who = WAYS[auth_type](machine, cloud)
    machine.env["DATABRICKS_AZURE_RESOURCE_ID"] = RESOURCE_ID
    found = headers(machine, cloud)
    assert set(found) == {"Authorization", MANAGEMENT, RESOURCE} and found[RESOURCE] == RESOURCE_ID
    assert cloud.holder(AZURE, found) == who


@pytest.mark.parametrize("management", [True, False])
def test_az_adds_the_management_token_of_a_principal_if_it_can_get_one(
    machine: Machine, cloud: Cloud, management: bool
) -> None:
    azure_cli(machine, cloud)
    cloud.az.log_in("my-app", principal=True, management=management)
    found = headers(machine, cloud)
    assert (MANAGEMENT in found) is management
    assert cloud.holder(AZURE, found) == "my-app"


@pytest.mark.parametrize("auth_type", ["google-credentials", "google-id"])
def test_a_google_identity_carries_an_access_token_too(machine: Machine, cloud: Cloud, auth_type: str) -> None:
    who = WAYS[auth_type](machine, cloud)
    found = headers(machine, cloud)
    beside = cloud.mint.read(found["X-Databricks-GCP-SA-Access-Token"]) or {}
    assert beside["email"] == who and "https://www.googleapis.com/auth/cloud-platform" in beside["scope"]


def test_a_host_for_many_workspaces_is_told_which(machine: Machine, cloud: Cloud) -> None:
    who = oauth_m2m(machine, cloud)
    machine.env.update(DATABRICKS_HOST=UNIFIED, DATABRICKS_WORKSPACE_ID="1")
    assert cloud.holder(UNIFIED, headers(machine, cloud)) == who


# ---- where the host, the tenant and the endpoints come from --------------------------------------------------------


@pytest.mark.parametrize("auth_type", ["azure-msi", "azure-client-secret", "azure-cli"])
def test_with_the_resource_id_alone_azure_says_which_host_it_is(machine: Machine, cloud: Cloud, auth_type: str) -> None:
    WAYS[auth_type](machine, cloud)
    del machine.env["DATABRICKS_HOST"]
    machine.env["DATABRICKS_AZURE_RESOURCE_ID"] = RESOURCE_ID
    if auth_type == "azure-client-secret":  # az and the machine know their tenant
        machine.env["ARM_TENANT_ID"] = PUBLIC.tenant
    assert given(machine, cloud)["host"] == AZURE


@pytest.mark.parametrize(
    ("host", "where"),
    [
        (AZURE, PUBLIC),
        ("https://adb-3.4.databricks.azure.us", USGOVERNMENT),
        ("https://adb-5.6.databricks.azure.cn", CHINA),
    ],
)
def test_each_of_azures_clouds_has_its_own_login(machine: Machine, cloud: Cloud, host: str, where: Environment) -> None:
    azure_client_secret(machine, cloud)
    machine.env["DATABRICKS_HOST"] = host
    found = given(machine, cloud)
    assert cloud.holder(host, {"Authorization": f"Bearer {found['access_token']}"}) == cloud.entra.app.id
    tokens = cloud.asked("login.*/token")
    assert tokens and {request.host for request in tokens} == {where.login}


def test_an_account_console_gives_tokens_for_the_account(machine: Machine, cloud: Cloud) -> None:
    who = github_oidc(machine, cloud)
    machine.env.update(DATABRICKS_HOST=ACCOUNTS, DATABRICKS_ACCOUNT_ID=ACCOUNT_ID)
    found = given(machine, cloud)
    assert cloud.holder(ACCOUNTS, {"Authorization": f"Bearer {found['access_token']}"}) == who
    (asked,) = cloud.asked(f"{cloud.github.host}/*")
    assert asked.query["audience"] == ACCOUNT_ID


@pytest.mark.parametrize("audience", ["", "https://my-audience.example"])
def test_github_vouches_for_the_audience_of_the_settings_or_for_the_token_endpoint(
    machine: Machine, cloud: Cloud, audience: str
) -> None:
    github_oidc(machine, cloud)
    del machine.env["DATABRICKS_CLIENT_ID"]
    machine.env["DATABRICKS_TOKEN_AUDIENCE"] = audience
    cloud.databricks.trust(cloud.github.issuer, cloud.github.subject, audience or f"{AWS}/oidc/v1/token")
    found = given(machine, cloud)
    assert cloud.holder(AWS, {"Authorization": f"Bearer {found['access_token']}"}) == cloud.github.subject
    (asked,) = cloud.asked(f"{cloud.github.host}/*")
    assert asked.query["audience"] == (audience or f"{AWS}/oidc/v1/token")


def test_a_machine_of_app_service_and_an_identity_that_was_picked(machine: Machine, cloud: Cloud) -> None:
    azure_msi(machine, cloud)
    del machine.env["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    machine.env.update(IDENTITY_ENDPOINT=cloud.url + cloud.identity.app_service, IDENTITY_HEADER=cloud.identity.secret)
    machine.env["ARM_CLIENT_ID"] = cloud.identity.assigned.id
    found = given(machine, cloud)
    assert cloud.holder(AZURE, {"Authorization": f"Bearer {found['access_token']}"}) == cloud.identity.assigned.id


@pytest.mark.parametrize(
    ("login", "mode"),
    [
        ({"name": "alice@contoso.example"}, {"old": True}),
        ({"name": "my-app", "principal": True}, {}),
        ({"name": "systemAssignedIdentity", "principal": True}, {}),
        ({"name": "alice@contoso.example"}, {"subscriptions": []}),
    ],
    ids=["an old az", "a service principal", "a managed identity", "no right to the subscription"],
)
def test_az_is_understood_whoever_is_logged_in(
    machine: Machine, cloud: Cloud, login: dict[str, object], mode: dict[str, object]
) -> None:
    azure_cli(machine, cloud)
    machine.env["DATABRICKS_AZURE_RESOURCE_ID"] = RESOURCE_ID
    cloud.az.log_in(**login)  # type: ignore[arg-type]
    cloud.az.set(**mode)
    found = given(machine, cloud)
    assert cloud.mint.read(found["access_token"]) and 3000 < int(found["expires_in"]) < 3700


def test_the_id_token_may_be_in_a_variable_of_another_name(machine: Machine, cloud: Cloud) -> None:
    env_oidc(machine, cloud)
    machine.env.update(DATABRICKS_OIDC_TOKEN_ENV="MY_TOKEN", MY_TOKEN=machine.env.pop("DATABRICKS_OIDC_TOKEN"))
    assert given(machine, cloud)["origin"] == "env MY_TOKEN"


def test_a_notebook_trades_its_token_for_the_role_of_a_group(machine: Machine, cloud: Cloud) -> None:
    who = runtime(machine, cloud)
    machine.env["DATABRICKS_GROUP_ID"] = "7"
    claims = cloud.mint.read(given(machine, cloud)["access_token"]) or {}
    assert (claims["sub"], claims["assume_group"]) == (who, "7")


def test_a_group_is_asked_for_where_a_token_can_carry_it_and_elsewhere_the_source_steps_back(
    machine: Machine, cloud: Cloud
) -> None:
    pat(machine, cloud)
    env_oidc(machine, cloud)
    machine.env["DATABRICKS_GROUP_ID"] = "7"
    found = given(machine, cloud)
    assert found["auth_type"] == "env-oidc"
    assert (cloud.mint.read(found["access_token"]) or {})["assume_group"] == "7"
