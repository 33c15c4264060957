"""In which cloud a host is, by its name or by the settings, and what that decides."""

from __future__ import annotations

import pytest

from dbx_auth import entra, gcp, hosts
from dbx_auth.entra import CLOUDS
from dbx_auth.errors import ConfigError, Unavailable
from dbx_auth.profile import STORED, Profile, Setting

AWS = "https://dev.cloud.databricks.com"
AZURE = "https://adb-1.2.azuredatabricks.net"
AZURE_US, AZURE_CN = "https://adb-1.2.databricks.azure.us", "https://adb-1.2.databricks.azure.cn"
GCP = "https://1.2.gcp.databricks.com"
RESOURCE_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Databricks/workspaces/ws"


def profile(origin: str = "env NAME", **settings: str) -> Profile:
    return Profile("", {name: Setting(name, value, origin) for name, value in settings.items()})


# ---- by name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "cloud"),
    [
        (AWS, "AWS"),
        ("https://company.databricks.com", "AWS"),  # a host for workspaces of every cloud
        ("https://x.cloud.databricks.us", "AWS"),
        ("https://x.cloud.databricks.mil", "AWS"),
        ("https://private.example", "AWS"),
        (AZURE, "AZURE"),
        (f"{AZURE}:8443", "AZURE"),
        (AZURE.upper(), "AZURE"),
        (AZURE_US, "AZURE"),
        (AZURE_CN, "AZURE"),
        ("https://accounts.azuredatabricks.net", "AZURE"),
        (GCP, "GCP"),
        ("https://accounts.gcp.databricks.com", "GCP"),
        # what only looks like one
        ("https://evil-azuredatabricks.net", "AWS"),
        ("https://x.azuredatabricks.net.evil.example", "AWS"),
        ("https://evil.example/.azuredatabricks.net", "AWS"),
        ("https://evilgcp.databricks.com.example", "AWS"),
        ("", "AWS"),
        ("not a url", "AWS"),
    ],
)
def test_a_hosts_name_says_its_cloud(url: str, cloud: str) -> None:
    assert hosts.cloud(url) == cloud


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        (AWS, True),
        (AZURE, True),
        (AZURE_CN, True),
        (GCP, True),
        (AWS.upper(), True),
        (f"{AWS}/a/path?x=y", True),
        (f"{AWS}:8443", True),
        ("http://dev.cloud.databricks.com", False),
        ("dev.cloud.databricks.com", False),
        ("https://databricks.com", False),
        ("https://evildatabricks.com", False),
        ("https://evil.example/.databricks.com", False),
        ("https://evil.example#.databricks.com", False),
        ("https://dev.cloud.databricks.com@evil.example", False),
        ("https://dev.cloud.databricks.com.", False),
        ("https://dev.cloud.databricks.com\n", False),
        ("", False),
    ],
)
def test_databricks_is_https_in_one_of_its_domains(url: str, is_one: bool) -> None:
    assert hosts.is_databricks(url) is is_one


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (AWS, AWS),
        (f"{AWS}/oidc/v1/token?x=y#z", AWS),
        (f"{AWS.upper()}:8443/A", f"{AWS}:8443"),
        ("http://127.0.0.1:4321/x", "http://127.0.0.1:4321"),
        ("https://[::1]:1/x", "https://[::1]:1"),
        ("dev.cloud.databricks.com", ""),
        ("https://me@dev.cloud.databricks.com", ""),
        ("https://", ""),
        ("https://a b", ""),
        ("https://a\u202eb", ""),
        ("/a/path", ""),
        ("", ""),
    ],
)
def test_an_origin_is_scheme_name_and_port(url: str, origin: str) -> None:
    assert hosts.origin(url) == origin


# ---- by settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "cloud"),
    [
        ({"host": AWS}, "AWS"),
        ({"host": AZURE}, "AZURE"),
        ({}, "AWS"),
        ({"host": "https://private.example", "cloud": "azure"}, "AZURE"),
        ({"host": "https://private.example", "cloud": "GCP"}, "GCP"),
        ({"host": AZURE, "cloud": "AWS"}, "AWS"),  # who says it, means it
        ({"host": AZURE, "cloud": "somewhere"}, "AZURE"),
        ({"azure_workspace_resource_id": RESOURCE_ID}, "AZURE"),
        ({"azure_workspace_resource_id": RESOURCE_ID, "cloud": "GCP", "host": GCP}, "AZURE"),
    ],
)
def test_the_settings_say_the_cloud_before_the_name_does(settings: dict[str, str], cloud: str) -> None:
    assert profile(**settings).cloud == cloud


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ("", ()),
        ("sql", ("sql",)),
        ("sql files", ("sql", "files")),
        ("sql,files", ("sql", "files")),
        (" sql ,, files\tsql ", ("sql", "files")),
        (",", ()),
    ],
)
def test_scopes_are_separated_by_commas_or_spaces_and_come_once(said: str, scopes: tuple[str, ...]) -> None:
    assert profile(scopes=said).scopes == scopes


@pytest.mark.parametrize(("said", "id"), [("123", "123"), ("none", ""), ("", "")])
def test_the_workspace_none_is_none(said: str, id: str) -> None:
    assert profile(workspace_id=said).workspace_id == id


def test_only_a_host_that_somebody_set_is_required_and_given() -> None:
    assert profile(host=AWS).require_host() == AWS
    for nobody in (profile(), profile(host=""), profile(STORED, host=AWS)):
        with pytest.raises(Unavailable, match=r"not set: host \(DATABRICKS_HOST\)"):
            nobody.require_host()


def test_a_host_that_was_found_out_replaces_none_that_is_set() -> None:
    assert profile().with_host(AWS).host == AWS
    assert profile(host=AZURE).with_host(AWS).host == AZURE


@pytest.mark.parametrize("host", [AWS, AZURE, "https://private.example"])
def test_google_is_not_asked_for_other_clouds(host: str) -> None:
    with pytest.raises(Unavailable, match="is not on Google Cloud"):
        gcp.require(profile(host=host))
    gcp.require(profile(host=GCP))


@pytest.mark.parametrize("host", [AWS, GCP, "https://private.example"])
def test_azure_is_not_asked_for_other_clouds(host: str) -> None:
    with pytest.raises(Unavailable, match="is not on Azure"):
        entra.on_azure(profile(host=host))
    entra.on_azure(profile(host=AZURE))
    entra.on_azure(profile(host="https://private.example", cloud="azure"))
    entra.on_azure(profile(azure_workspace_resource_id=RESOURCE_ID))


@pytest.mark.parametrize(("require", "host"), [(entra.on_azure, AZURE), (gcp.require, GCP)])
def test_the_host_of_a_login_is_no_reason_to_ask_a_cloud(require: object, host: str) -> None:
    assert callable(require)
    with pytest.raises(Unavailable, match="not set: host"):
        require(profile(STORED, host=host))


# ---- the clouds of Azure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (AZURE, "PUBLIC"),
        (AZURE_US, "USGOVERNMENT"),
        (AZURE_CN, "CHINA"),
        ("https://private.example", "PUBLIC"),
        ("https://evil-databricks.azure.cn", "PUBLIC"),
    ],
)
@pytest.mark.parametrize("said", ["", "usgovernment", "nonsense"])
def test_a_host_says_which_of_azures_clouds_it_is_in_whatever_the_environment_says(
    host: str, name: str, said: str
) -> None:
    assert entra.cloud(profile(host=host, azure_environment=said)) == CLOUDS[name]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("", "PUBLIC"),
        ("public", "PUBLIC"),
        ("PUBLIC", "PUBLIC"),
        ("AzureCloud", "PUBLIC"),
        ("AzurePublicCloud", "PUBLIC"),
        ("usgovernment", "USGOVERNMENT"),
        ("USGovernment", "USGOVERNMENT"),
        ("AzureUSGovernment", "USGOVERNMENT"),
        ("AzureUSGovernmentCloud", "USGOVERNMENT"),
        ("china", "CHINA"),
        ("AzureChinaCloud", "CHINA"),
    ],
)
def test_without_a_host_the_environment_says_it_in_the_words_of_any_tool(said: str, name: str) -> None:
    """Terraform says `usgovernment`, az says `AzureUSGovernment`, Azure's SDKs say `AzureUSGovernmentCloud`."""
    assert entra.cloud(profile(azure_environment=said)) == CLOUDS[name]


@pytest.mark.parametrize("said", ["german", "stack", "azure-public", "AWS"])
def test_a_cloud_that_does_not_exist_is_an_error_that_names_those_that_do(said: str) -> None:
    with pytest.raises(ConfigError, match=r"\(env NAME\); there are: PUBLIC, USGOVERNMENT, CHINA") as refused:
        entra.cloud(profile(azure_environment=said))
    assert refused.value.hint == "unset ARM_ENVIRONMENT"


@pytest.mark.parametrize(
    ("host", "id"),
    [
        (AZURE, "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"),
        (AZURE_US, "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"),
        ("", "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"),
        ("https://adb-1.2.dev.azuredatabricks.net", "62a912ac-b58e-4c1d-89ea-b2dbfc7358fc"),
        ("https://adb-1.2.staging.azuredatabricks.net", "4a67d088-db5c-48f1-9ff2-0aace800ae68"),
    ],
)
def test_databricks_has_one_id_in_entra_for_each_of_its_domains(host: str, id: str) -> None:
    assert entra.application(profile(host=host)) == id
