"""The little of the Go SDK that the Python SDK cannot be asked for.

Facts: `config/auth_azure_msi.go`, `auth_databricks_oidc.go` and `common/environment` of databricks-sdk-go.
"""

from __future__ import annotations

from urllib.parse import quote

from . import wire
from .answer import FAILED, NOTHING, Answer
from .state import State

ORDER = (
    "pat",
    "basic",
    "oauth-m2m",
    "databricks-cli",
    "metadata-service",
    "github-oidc",
    "azure-devops-oidc",
    "env-oidc",
    "file-oidc",
    "github-oidc-azure",
    "azure-msi",
    "azure-client-secret",
    "azure-cli",
    "google-credentials",
    "google-id",
)

AZURE_DOMAINS = (".azuredatabricks.net", ".databricks.azure.us", ".databricks.azure.cn")
TRUE = ("1", "t", "T", "true", "TRUE", "True")


def site(host: str) -> str:
    """Scheme and name of a host, as Go makes them from what was written."""
    scheme, _, rest = host.rpartition("://")
    return f"{(scheme or 'https').lower()}://{rest.partition('/')[0].partition('?')[0]}" if host else ""


def is_azure(state: State) -> bool:
    name = site(state.host).lower().removesuffix(":443")
    return bool(state.settings.get("azure_workspace_resource_id")) or name.endswith(AZURE_DOMAINS)


def is_gcp(state: State) -> bool:
    return site(state.host).lower().removesuffix(":443").endswith(".gcp.databricks.com")


def answer(state: State, auth_type: str) -> Answer:
    """What Go's strategy of that name says, for those that Python lacks or that ask for less there."""
    settings, host = state.settings, site(state.host)
    if auth_type == "azure-msi":
        if "group_id" in settings and settings.get("auth_type") == auth_type:
            return Answer(error=FAILED)
        if not is_azure(state) or settings.get("azure_use_msi") not in TRUE or "group_id" in settings:
            return Answer(error=NOTHING)
        token = f"msi.{settings.get('azure_client_id', 'system')}.{wire.AZURE_APP}"
        return Answer(auth_type, host or f"https://{wire.AZURE_WORKSPACE}", f"Bearer {token}")
    name = host.rpartition("://")[2].partition(":")[0]
    is_account = name == wire.ACCOUNT
    if is_account and "account_id" not in settings:
        return Answer(error=FAILED)
    endpoint = f"{host}/oidc/accounts/{wire.ACCOUNT_ID}/v1/token" if is_account else f"{host}/oidc/v1/token"
    default = wire.ACCOUNT_ID if is_account else endpoint
    audience = quote(settings.get("token_audience", default), safe="").replace("%3A443", "")
    subject = "devops" if auth_type == "azure-devops-oidc" else f"github.{audience}"
    scopes = "+".join(sorted(settings.get("scopes", "all-apis").replace(",", " ").split()))
    role = f"{scopes}.{settings.get('group_id', 'no-group')}"
    return Answer(auth_type, host, f"Bearer exchanged.{subject}.nobody.{name}.{role}")
