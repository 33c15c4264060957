"""The seventeen ways to set a machine up for a token, one for each source, against the emulated cloud."""

from __future__ import annotations

import json
from collections.abc import Callable

from machine import Machine

from .cloud import Cloud
from .databricks import ACCOUNT_ID, AWS, AZURE, GCP
from .entra import EXCHANGE

IDP, JOB = "https://idp.example", "job"
NOTEBOOK = """
class Context:
    apiUrl, apiToken = {url!r}, {token!r}

def get_context():
    return Context()
"""

Prepare = Callable[[Machine, Cloud], str]
"""Sets a machine up for one source, and says whom the workspace will take it for."""


def pat(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=AWS, DATABRICKS_TOKEN=cloud.databricks.pat)
    return cloud.databricks.user


def stored(machine: Machine, cloud: Cloud) -> str:
    entry = {"type": "api", "key": cloud.databricks.pat, "host": AWS}
    machine.write(machine.auth_json, {"databricks": entry})
    return cloud.databricks.user


def basic(machine: Machine, cloud: Cloud) -> str:
    user, password = cloud.databricks.user, cloud.databricks.password
    machine.env.update(DATABRICKS_HOST=AWS, DATABRICKS_USERNAME=user, DATABRICKS_PASSWORD=password)
    return user


def oauth_m2m(machine: Machine, cloud: Cloud) -> str:
    pair = {
        "DATABRICKS_CLIENT_ID": cloud.databricks.client_id,
        "DATABRICKS_CLIENT_SECRET": cloud.databricks.client_secret,
    }
    machine.env.update(DATABRICKS_HOST=AWS, **pair)
    return cloud.databricks.client_id


def databricks_cli(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=AWS)
    machine.cached_login(AWS, refresh_token=cloud.databricks.add_login(), expiry="2020-01-01T00:00:00Z")
    return cloud.databricks.user


def metadata_service(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=AWS)
    machine.env.update(DATABRICKS_METADATA_SERVICE_URL=cloud.url + cloud.databricks.metadata_path)
    return cloud.databricks.user


def github_oidc(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(cloud.github.env, DATABRICKS_HOST=AWS, DATABRICKS_CLIENT_ID=cloud.databricks.client_id)
    cloud.databricks.trust(cloud.github.issuer, cloud.github.subject)
    return cloud.databricks.client_id


def azure_devops_oidc(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(cloud.azure_devops.env, DATABRICKS_HOST=AWS, DATABRICKS_CLIENT_ID=cloud.databricks.client_id)
    cloud.databricks.trust(cloud.azure_devops.issuer, cloud.azure_devops.subject, EXCHANGE)
    return cloud.databricks.client_id


def env_oidc(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=AWS, DATABRICKS_OIDC_TOKEN=id_token(cloud))
    return JOB


def file_oidc(machine: Machine, cloud: Cloud) -> str:
    path = machine.write(machine.home / "id_token", id_token(cloud) + "\n")
    machine.env.update(DATABRICKS_HOST=AWS, DATABRICKS_OIDC_TOKEN_FILEPATH=str(path))
    return JOB


def id_token(cloud: Cloud, audience: str = ACCOUNT_ID, life: float = 600) -> str:
    cloud.databricks.trust(IDP, JOB)
    return cloud.mint.issue(life, iss=IDP, sub=JOB, aud=audience)


def github_oidc_azure(machine: Machine, cloud: Cloud) -> str:
    cloud.entra.app.federated.add((cloud.github.issuer, cloud.github.subject))
    machine.env.update(cloud.github.env, DATABRICKS_HOST=AZURE, ARM_CLIENT_ID=cloud.entra.app.id)
    return cloud.entra.app.id


def azure_msi(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=AZURE, ARM_USE_MSI="true", AZURE_POD_IDENTITY_AUTHORITY_HOST=cloud.url)
    return cloud.identity.system.id


def azure_client_secret(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(
        DATABRICKS_HOST=AZURE, ARM_CLIENT_ID=cloud.entra.app.id, ARM_CLIENT_SECRET=cloud.entra.app.secret
    )
    return cloud.entra.app.id


def azure_cli(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(cloud.az.env, DATABRICKS_HOST=AZURE)
    return cloud.entra.upn


def google_credentials(machine: Machine, cloud: Cloud) -> str:
    machine.env.update(DATABRICKS_HOST=GCP, GOOGLE_CREDENTIALS=json.dumps(cloud.google.key_file))
    return cloud.google.account


def google_id(machine: Machine, cloud: Cloud) -> str:
    path = machine.write(machine.home / "key.json", {**cloud.google.key_file})
    account = cloud.google.borrowed
    machine.env.update(DATABRICKS_HOST=GCP, DATABRICKS_GOOGLE_SERVICE_ACCOUNT=account)
    machine.env["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)
    return account


def runtime(machine: Machine, cloud: Cloud) -> str:
    module = machine.home / "cluster" / "dbruntime" / "databricks_repl_context.py"
    machine.write(module, NOTEBOOK.format(url=AWS, token=cloud.databricks.pat))
    machine.env["DATABRICKS_RUNTIME_VERSION"] = "17.3"
    machine.env["PYTHONPATH"] += f":{module.parents[1]}"
    return cloud.databricks.user


WAYS: dict[str, Prepare] = {
    prepare.__name__.replace("_", "-"): prepare
    for prepare in (
        pat, stored, basic, oauth_m2m, databricks_cli, metadata_service, github_oidc, azure_devops_oidc, env_oidc,
        file_oidc, github_oidc_azure, azure_msi, azure_client_secret, azure_cli, google_credentials, google_id, runtime,
    )
}  # fmt: skip


def go_inside(machine: Machine, cloud: Cloud) -> None:
    """A machine whose only way out is the cloud, and that has no program but those of a test."""
    machine.env.update(cloud.env, PATH=str(machine.home / "nothing"))


def leaks(cloud: Cloud, text: str) -> list[str]:
    return [secret for secret in cloud.secrets if secret in text]
