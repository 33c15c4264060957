"""The Azure CLI and managed identities: who they are for, when they are asked, and what they say no with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machine import Machine
from unit.contracts import (
    AZURE,
    ENTRA,
    ENTRA_KNOWS,
    HOUR,
    IMDS,
    LOGIN,
    MANAGEMENT,
    NOW,
    RESOURCE_ID,
    Ask,
    entra_gives,
    imds_gives,
    told,
)
from unit.far_side import FarSide, Reply, jwt, never, on_path, put_az

from dbx_auth import entra
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.resolve import Resolution
from dbx_auth.sources import azure_cli
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Demand
from dbx_auth.world import Response, World

APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
PRINCIPAL = jwt(appid="an-app", tid="other-tenant")
PERSON, STRANGER = jwt(upn="alice@x.example", tid="a-tenant"), jwt(upn="alice@x.example", tid="other-tenant")
WRONG_TENANT = (
    "ERROR: AADSTS90002: Tenant 'a-tenant' not found. Trace ID: 0a Correlation ID: 0b Timestamp: 2025-11-22 10:00:00Z"
)
Rule = tuple[str, int, str]


@pytest.fixture
def ask(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return Ask(machine, monkeypatch)


def says(token: str, **fields: object) -> str:
    return json.dumps({"accessToken": token, "expires_on": int(HOUR), "tokenType": "Bearer", **fields})


def az(ask: Ask, *rules: Rule, tenant: str = "a-tenant", **env: str) -> tuple[Resolution, list[str]]:
    """What becomes of it with such an az, and what az was asked."""
    asked = put_az(ask.machine.home / "bin", *rules)
    ask.put(PATH=on_path(asked.parent), DATABRICKS_AUTH_TYPE="azure-cli", **env)
    if "DATABRICKS_AZURE_RESOURCE_ID" not in env:
        ask.put(DATABRICKS_HOST=AZURE)
    if tenant:
        ask.put(ARM_TENANT_ID=tenant)
    resolution = ask.again(FarSide({"/aad/auth": (404, "")}))
    return resolution, asked.read_text().splitlines()


# ---- for whom az is asked --------------------------------------------------------------------------------------------

FOR_DATABRICKS = f"account get-access-token --output json --resource {APP}"


def test_az_is_asked_for_databricks_in_the_workspaces_tenant(ask: Ask) -> None:
    resolution, asked = az(ask, ("*", 0, says(PERSON)))
    assert resolution.token and (resolution.token.value, resolution.token.expires_at) == (PERSON, HOUR)
    assert asked == [f"{FOR_DATABRICKS} --tenant a-tenant"]


def test_a_person_is_asked_for_no_token_that_manages_azure(ask: Ask) -> None:
    resolution, asked = az(ask, ("*management*", 0, says("mt")), ("*", 0, says(PERSON)))
    assert resolution.token and resolution.token.extra == {} and len(asked) == 1


@pytest.mark.parametrize(("code", "extra"), [(0, {MANAGEMENT: "mt"}), (1, {})])
def test_a_principal_brings_the_token_that_manages_azure_if_it_can(ask: Ask, code: int, extra: dict[str, str]) -> None:
    resolution, asked = az(ask, ("*management*", code, says("mt")), ("*", 0, says(PRINCIPAL)))
    assert resolution.token and resolution.token.extra == extra
    assert "--resource https://management.core.windows.net/" in asked[1]


def test_a_login_that_knows_one_tenant_only_is_asked_again_without_one(ask: Ask) -> None:
    """So it is with a managed identity, or a federated token of AKS."""
    resolution, asked = az(ask, ("*--tenant*", 1, WRONG_TENANT), ("*", 0, says(PRINCIPAL)))
    assert resolution.token and resolution.token.value == PRINCIPAL
    assert asked[:2] == [f"{FOR_DATABRICKS} --tenant a-tenant", FOR_DATABRICKS]


def test_a_person_of_another_tenant_is_nobody_here(ask: Ask) -> None:
    """az would give a token of whatever tenant it likes best, which the workspace refuses, or takes for another's."""
    resolution, _ = az(ask, ("*--tenant*", 1, WRONG_TENANT), ("*", 0, says(STRANGER)))
    assert resolution.token is None and type(resolution.error) is Refused
    assert "there is no tenant of this name" in str(resolution.error) and "Trace ID" not in told(resolution)
    assert STRANGER not in told(resolution)


def test_a_person_of_the_workspaces_tenant_is_taken_however_az_was_asked(ask: Ask) -> None:
    resolution, _ = az(ask, ("*--tenant*", 1, WRONG_TENANT), ("*", 0, says(PERSON)))
    assert resolution.token and resolution.token.value == PERSON


def test_where_both_questions_fail_the_first_refusal_is_told(ask: Ask) -> None:
    resolution, asked = az(ask, ("*--tenant*", 1, WRONG_TENANT), ("*", 1, "ERROR: AADSTS50034: another"))
    assert "AADSTS90002" in str(resolution.error) and len(asked) == 2


def test_where_the_tenant_is_not_known_az_is_asked_once(ask: Ask) -> None:
    resolution, asked = az(ask, ("*", 1, WRONG_TENANT), tenant="")
    assert type(resolution.error) is Refused and asked == [FOR_DATABRICKS]


def test_the_tenant_is_that_of_the_workspaces_login_page(ask: Ask) -> None:
    asked = put_az(ask.machine.home / "bin", ("*", 0, says(PERSON)))
    ask.put(PATH=on_path(asked.parent), DATABRICKS_AUTH_TYPE="azure-cli", DATABRICKS_HOST=AZURE)
    page = Response("", 302, {"location": "https://login.microsoftonline.com/page-tenant/oauth2/authorize"}, b"")
    assert ask.again(FarSide({"/aad/auth": page})).token
    assert asked.read_text().splitlines() == [f"{FOR_DATABRICKS} --tenant page-tenant"]


@pytest.mark.parametrize(
    ("resource_id", "tenant", "end"),
    [
        (RESOURCE_ID, "", " --subscription sub-1"),
        (RESOURCE_ID, "a-tenant", " --tenant a-tenant"),  # az refuses to be told both
        ("/sub", "", ""),
    ],
)
def test_the_subscription_is_named_only_where_no_tenant_is_known(
    ask: Ask, resource_id: str, tenant: str, end: str
) -> None:
    env = {"DATABRICKS_AZURE_RESOURCE_ID": resource_id, "DATABRICKS_HOST": AZURE}
    resolution, asked = az(ask, ("*", 0, says(PERSON)), tenant=tenant, **env)
    assert resolution.token and asked[0] == FOR_DATABRICKS + end


@pytest.mark.parametrize("tenant", ["a tenant", "a;b", "$(reboot)", "--debug x"])
def test_a_tenant_that_is_none_never_reaches_a_command_line(ask: Ask, tenant: str) -> None:
    resolution, asked = az(ask, ("*", 0, says(PERSON)), tenant=tenant)
    assert isinstance(resolution.error, ConfigError) and asked == []
    assert "ARM_TENANT_ID" in resolution.error.hint


# ---- what az says no with --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        (("*", 1, "ERROR: Please run 'az login' to setup account."), LoginRequired, "az is not logged in"),
        (("*", 1, "ERROR: No subscription found. Run 'az account set'."), LoginRequired, "az is not logged in"),
        (("*", 1, "ERROR: AADSTS50076: MFA is needed. Run az login --tenant x"), AuthError, "a second factor"),
        (("*", 1, "ERROR: AADSTS700082: The refresh token has expired"), AuthError, "not been used for too long"),
        (("*", 1, "ERROR: something else\nin two lines"), Refused, "something else in two lines"),
        (("*", 1, ""), Refused, "Failed to invoke"),
        (("*", 0, "not JSON, token-s3cret"), Refused, ""),
        (("*", 0, json.dumps({"accessToken": "token-s3cret"})), Refused, ""),
        (("*", 0, json.dumps({"accessToken": "token-s3cret", "expires_on": "soon"})), Refused, ""),
        (("*", 0, "[]"), Refused, ""),
        (("*", 0, ""), Refused, ""),
        (("*", 0, says("two words")), ConfigError, "holds a space"),
        (("*", 0, says("")), ConfigError, ""),
        (("*", 127, "az: not found"), AuthError, "az is not installed"),
    ],
)
def test_what_az_says_no_with_is_told_in_one_line(ask: Ask, rule: Rule, kind: type[AuthError], words: str) -> None:
    resolution, _ = az(ask, rule)
    assert isinstance(resolution.error, kind) and words in str(resolution.error)
    assert str(resolution.error).isprintable() and "s3cret" not in told(resolution)


def test_an_az_that_hangs_is_given_up(ask: Ask) -> None:
    ask.patch.setattr(azure_cli, "BUDGET", 0.0)
    folder = ask.machine.home / "bin"
    put_az(folder)
    (folder / "az").write_text("#!/bin/sh\nexec sleep 60\n")
    ask.put(PATH=on_path(folder), DATABRICKS_AUTH_TYPE="azure-cli", DATABRICKS_HOST=AZURE, ARM_TENANT_ID="t")
    error = ask.again(never).error
    assert isinstance(error, Temporary) and "az did not answer within" in str(error)


def test_an_old_az_that_tells_the_local_time_is_understood(ask: Ask) -> None:
    """Before version 2.54 there is no `expires_on`."""
    from datetime import datetime

    local = datetime.fromtimestamp(HOUR).strftime("%Y-%m-%d %H:%M:%S.%f")
    resolution, _ = az(ask, ("*", 0, json.dumps({"accessToken": PERSON, "expiresOn": local})))
    assert resolution.token and resolution.token.expires_at == HOUR


def test_without_the_network_az_is_not_started(ask: Ask) -> None:
    """It would ask for a token itself."""
    asked = put_az(ask.machine.home / "bin", ("*", 0, says(PERSON)))
    ask.put(PATH=on_path(asked.parent), DATABRICKS_AUTH_TYPE="azure-cli", DATABRICKS_HOST=AZURE, ARM_TENANT_ID="t")
    assert ask.again(never, demand=Demand(renew=False)).token is None
    assert asked.read_text() == ""


def test_the_host_of_another_login_is_not_told_the_token_of_az(ask: Ask) -> None:
    """Only a login that was made with az serves its host with az."""
    asked = put_az(ask.machine.home / "bin", ("*", 0, says(PERSON)))
    ask.put(PATH=on_path(asked.parent), ARM_TENANT_ID="t")
    entry = grant_fields(Grant(AZURE, "at-s3cret", "", NOW - 10))
    ask.machine.write(ask.machine.auth_json, {"databricks": entry})
    assert ask.again(FarSide({})).token is None and asked.read_text() == ""
    entry = {"type": "profile", "profile": "", "host": AZURE, "auth_type": "azure-cli"}
    ask.machine.write(ask.machine.auth_json, {"databricks": entry})
    found = ask.again(FarSide({})).token
    assert found and (found.host, found.value) == (AZURE, PERSON)


# ---- whether az is there ---------------------------------------------------------------------------------------------


def logged_in(folder: Path, profile: bytes | None, name: str = "az", **env: str) -> bool:
    put_az(folder / "bin").parent.joinpath("az").rename(folder / "bin" / name)
    place = Path(env.get("AZURE_CONFIG_DIR", folder / ".azure"))
    if profile is not None:
        place.mkdir(parents=True)
        (place / "azureProfile.json").write_bytes(profile)
    return entra.az_is_logged_in(World({"PATH": str(folder / "bin"), **env}, str(folder), http=never))


@pytest.mark.parametrize(
    ("profile", "is_in"),
    [
        (b'{"subscriptions": [{"id": "sub-1"}]}', True),
        (b'\xef\xbb\xbf{"subscriptions": [{"id": "sub-1"}]}', True),  # as az writes it
        (b'{"subscriptions": []}', False),
        (b'{"subscriptions": null}', False),
        (b"{}", False),
        (b"[]", False),
        (b"null", False),
        (b"", False),
        (b'{"subscriptions": [', False),
        (b"\xff\xfe\x00", False),
        (b"[" * 100_000, False),
        (None, False),
    ],
)
def test_az_is_logged_in_where_its_profile_has_a_subscription(tmp_path: Path, profile: bytes, is_in: bool) -> None:
    assert logged_in(tmp_path, profile) is is_in


def test_az_may_keep_its_profile_elsewhere(tmp_path: Path) -> None:
    folder = str(tmp_path / "elsewhere")
    assert logged_in(tmp_path, b'{"subscriptions": [1]}', AZURE_CONFIG_DIR=folder)


def test_on_windows_az_has_another_name(tmp_path: Path) -> None:
    assert logged_in(tmp_path, b'{"subscriptions": [1]}', "az.cmd")


def test_a_profile_of_an_az_that_is_gone_means_nothing(tmp_path: Path) -> None:
    assert not logged_in(tmp_path, b'{"subscriptions": [1]}', "removed")


# ---- managed identities ----------------------------------------------------------------------------------------------

MSI = {IMDS: [(400, {}), imds_gives("msi-s3cret"), imds_gives("mgmt-s3cret")]}


@pytest.mark.parametrize("said", ["true", "True", "1", "t", "TRUE"])
def test_a_managed_identity_is_asked_when_it_is_said_to_be_there(ask: Ask, said: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="azure-msi", DATABRICKS_HOST=AZURE, ARM_USE_MSI=said)
    assert ask.again(FarSide(MSI)).token


@pytest.mark.parametrize("said", ["false", "0", "f", "FALSE"])
def test_a_managed_identity_that_is_said_not_to_be_there_is_not_asked(ask: Ask, said: str) -> None:
    """`bool("false")` is True in Python, and so it is in its SDK."""
    ask.put(DATABRICKS_AUTH_TYPE="azure-msi", DATABRICKS_HOST=AZURE, ARM_USE_MSI=said)
    assert ask.again(never).attempts[0].outcome == "unavailable"


@pytest.mark.parametrize("said", ["yes", "on", "2", "maybe"])
def test_what_is_neither_true_nor_false_is_an_error(ask: Ask, said: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="azure-msi", DATABRICKS_HOST=AZURE, ARM_USE_MSI=said)
    error = ask.again(never).error
    assert isinstance(error, ConfigError) and error.hint == "export ARM_USE_MSI=true"


def test_outside_of_azure_nobody_waits_for_an_identity(ask: Ask) -> None:
    far = FarSide({IMDS: Temporary("no complete answer", hint="h")})
    error = ask("azure-msi", far).error
    assert isinstance(error, Temporary) and "has no managed identity" in str(error)
    assert error.hint == "unset ARM_USE_MSI"
    assert [asked.budget <= 1.0 for asked in far.asked] == [True]


def test_an_identity_of_several_is_picked_by_its_id(ask: Ask) -> None:
    far = FarSide(MSI)
    ask.put(ARM_CLIENT_ID="an-app")
    assert ask("azure-msi", far).token
    assert "client_id=an-app" in far.asked[1].url and f"resource={APP}" in far.asked[1].url
    assert "client_id" not in far.asked[0].url, "the first question gives nothing away"


def test_a_machine_without_an_identity_says_so(ask: Ask) -> None:
    gone: Reply = (400, {"error": "invalid_request", "error_description": "Identity not found"})
    error = ask("azure-msi", FarSide({IMDS: gone})).error
    assert type(error) is Refused and "Azure gives this machine no token" in str(error)
    assert "assign an identity" in error.hint


POD = {
    "ARM_USE_MSI": "true",
    "ARM_CLIENT_ID": "an-app",
    "AZURE_TENANT_ID": "a-tenant",
    "AZURE_FEDERATED_TOKEN_FILE": "{home}/federated",
}


def pod(ask: Ask, far: object, **env: str) -> Resolution:
    said = {name: value.format(home=ask.machine.home) for name, value in {**POD, **env}.items()}
    assert callable(far)
    ask.put(DATABRICKS_AUTH_TYPE="azure-msi", DATABRICKS_HOST=AZURE, **said)
    return ask.again(far)


def test_a_pod_trades_the_token_of_its_file(ask: Ask) -> None:
    ask.machine.write(ask.machine.home / "federated", "id-s3cret")
    far = FarSide({ENTRA: [entra_gives("aad-s3cret"), entra_gives("mgmt-s3cret")]})
    found = pod(ask, far).token
    assert found and found.value == "aad-s3cret" and found.extra == {MANAGEMENT: "mgmt-s3cret"}
    assert {asked.url for asked in far.asked} == {LOGIN + ENTRA}, "and no machine is asked for its identity"


@pytest.mark.parametrize("content", [None, b"\xff", b""])
def test_a_pod_whose_file_is_unusable_gets_an_error_and_no_crash(ask: Ask, content: bytes | None) -> None:
    if content is not None:
        ask.machine.write(ask.machine.home / "federated", content)
    resolution = pod(ask, FarSide({ENTRA: (400, {"error": "invalid_request"})}))
    assert isinstance(resolution.error, AuthError) and resolution.error.hint


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Temporary("cannot reach it", hint="h"), Temporary),
        ((503, ""), Temporary),
        ((400, {"error": "invalid_client", "error_description": "AADSTS700024: x. Trace ID: 1"}), Refused),
        ((200, "<html>"), Refused),
        ((200, {}), Refused),
    ],
)
def test_what_goes_wrong_for_a_pod_keeps_its_kind(ask: Ask, reply: Reply, kind: type[AuthError]) -> None:
    ask.machine.write(ask.machine.home / "federated", "id-s3cret")
    resolution = pod(ask, FarSide({ENTRA: reply}))
    assert type(resolution.error) is kind
    assert "s3cret" not in told(resolution) and "Trace ID" not in told(resolution)


def test_without_the_network_a_pod_asks_nothing(ask: Ask) -> None:
    ask.machine.write(ask.machine.home / "federated", "id-s3cret")
    ask.put(DATABRICKS_AUTH_TYPE="azure-msi", DATABRICKS_HOST=AZURE)
    ask.put(**{name: value.format(home=ask.machine.home) for name, value in POD.items()})
    far = FarSide({ENTRA: entra_gives("aad-s3cret")})
    assert ask.again(far, demand=Demand(renew=False)).token is None
    assert far.asked == []


# ---- whose host ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["azure-client-secret", "azure-cli"])
def test_a_resource_is_not_the_host_of_a_login(ask: Ask, name: str) -> None:
    """The resource id says which workspace is meant; a login for another one has no claim on the token."""
    ask.machine.write(
        ask.machine.auth_json, {"databricks": grant_fields(Grant("https://adb-9.9.azuredatabricks.net", "a", "", 0))}
    )
    ask.put(DATABRICKS_AZURE_RESOURCE_ID=RESOURCE_ID)
    workspace: Reply = (200, {"properties": {"workspaceUrl": AZURE.removeprefix("https://")}})
    far = FarSide({**ENTRA_KNOWS, ENTRA: entra_gives("aad-s3cret"), RESOURCE_ID: workspace})
    found = ask(name, far, host="").token
    assert found and found.host == AZURE
