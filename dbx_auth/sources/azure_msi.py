"""azure-msi: the managed identity of the machine, or the workload identity of the pod, that this runs in."""

from collections.abc import Callable
from typing import Any

from dbx_auth import aadsts, entra
from dbx_auth.errors import AuthError, ConfigError, Refused, Temporary
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World, is_busy

from . import Keeper

needs = ("azure_use_msi",)
ambient = False

PROBE = 1.0
"""Seconds that the metadata address may take to show that it is there."""

BUDGET = 30.0
"""Seconds that azure-identity may take, with its retries."""

_IMDS = "http://169.254.169.254"
_OFF = "unset ARM_USE_MSI"


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A token of the identity that Azure gives this machine; ARM_CLIENT_ID picks one of several."""
    if profile.value("azure_use_msi") not in ("1", "t", "T", "true", "True", "TRUE"):  # false counts as not set
        text = f"azure_use_msi is neither true nor false ({profile.origin('azure_use_msi')})"
        raise ConfigError(text, hint="export ARM_USE_MSI=true")
    profile = entra.on_azure(profile)
    statuses: list[int] = []
    credential = _credential(profile, world, lambda answer: statuses.append(answer.http_response.status_code))

    def explain(said: str) -> AuthError:
        if statuses and is_busy(statuses[-1]):
            return Temporary(f"Azure answered {statuses[-1]}", hint="try again in a while")
        if "AADSTS" in said:
            return aadsts.refusal("", said)
        return Refused(
            f"Azure gives this machine no token: {aadsts.words(said)}", hint=f"assign an identity to it, or {_OFF}"
        )

    ask = entra.with_identity(credential, world, BUDGET, explain)
    return entra.token(profile, world, "azure-msi", profile.origin("azure_use_msi"), ask)


def _credential(profile: Profile, world: World, hook: Callable[[Any], None]) -> Any:
    env = world.env
    client_id = profile.value("azure_client_id")
    files = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID")
    if all(env.get(name) for name in files) and (client_id or env.get("AZURE_CLIENT_ID")):
        from azure.identity import WorkloadIdentityCredential

        return WorkloadIdentityCredential(
            tenant_id=env["AZURE_TENANT_ID"],
            client_id=client_id or env["AZURE_CLIENT_ID"],
            token_file_path=env["AZURE_FEDERATED_TOKEN_FILE"],
            authority=env.get("AZURE_AUTHORITY_HOST") or entra.cloud(profile).authority,
            disable_instance_discovery=True,
            connection_verify=entra.certificates(world),
            retry_total=1,
            raw_response_hook=hook,
        )
    if world.offline or not (env.get("IDENTITY_ENDPOINT") or env.get("MSI_ENDPOINT")):
        _probe(env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _IMDS, world)
    from azure.identity import ManagedIdentityCredential

    # A proxy has no business with what only this machine may ask for.
    return ManagedIdentityCredential(
        client_id=client_id or None, retry_total=1, read_timeout=10, use_env_settings=False, raw_response_hook=hook
    )


def _probe(url: str, world: World) -> None:
    """Ask nothing but whether somebody is there: azure-identity would wait for minutes on a machine outside Azure."""
    try:
        world.http("GET", f"{url.rstrip('/')}/metadata/identity/oauth2/token", budget=PROBE)
    except Temporary as error:
        raise Temporary(
            f"azure_use_msi is set, but this machine has no managed identity: {error}", hint=_OFF
        ) from error
