"""azure-cli: whoever is logged in with `az login`."""

from typing import Any

from dbx_auth import aadsts, entra
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary, Unavailable
from dbx_auth.profile import STORED, Profile
from dbx_auth.tokens import Token, claims
from dbx_auth.world import World

from . import Keeper

needs = ()
ambient = True

BUDGET = 10.0
"""Seconds that az may take; it is slow to start."""


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A token that az has, or asks for with its own login."""
    named = profile.settings.get("auth_type")
    profile = entra.on_azure(profile, stored=named is not None and named.origin in (STORED, "flag --method"))
    if not entra.is_az_installed(world):
        raise Unavailable("az is not installed")
    return entra.token(profile, world, "azure-cli", "az", _ask(profile, world))


def _ask(profile: Profile, world: World) -> entra.Ask:
    """Ask az for the workspace's tenant, and once more without one where the login is a service principal's.

    A login as a managed identity or with a federated token knows one tenant only, and az refuses to be told which. The
    token of a person has to be of the workspace's tenant, whatever az thinks best.
    """
    try:
        tenant = entra.tenant(profile, world)
    except AuthError as error:
        world.note(f"azure-cli: {error}")
        tenant = ""
    parts = profile.value("azure_workspace_resource_id").split("/")
    subscription = parts[2] if len(parts) > 2 and not tenant else ""

    def ask(resource: str) -> entra.Answer:
        try:
            return _az(world, tenant, subscription)(resource)
        except (Refused, LoginRequired) as error:
            if not tenant:
                raise
            try:
                found = _az(world, "", subscription)(resource)
            except AuthError:
                raise error from None
            said = claims(found.token)
            if said.get("upn") and said.get("tid") != tenant:
                raise
            return found

    return ask


def _az(world: World, tenant: str, subscription: str) -> entra.Ask:
    from azure.identity import AzureCliCredential

    try:
        credential: Any = AzureCliCredential(
            tenant_id=tenant, subscription=subscription or None, process_timeout=int(BUDGET)
        )
    except ValueError as error:
        raise ConfigError(
            "the tenant or the subscription of the settings is not one that az can be asked for",
            hint="check ARM_TENANT_ID and DATABRICKS_AZURE_RESOURCE_ID",
        ) from error
    return entra.with_identity(credential, world, BUDGET, _explain)


def _explain(said: str) -> Exception:
    if "AADSTS" in said:
        return aadsts.refusal("", said)
    if "not found" in said:
        return Unavailable("az is not installed")
    if "az login" in said:
        return LoginRequired("az is not logged in", hint="az login")
    if "Failed to invoke the Azure CLI" not in said:
        return Refused(f"az gave no token: {aadsts.words(said)}", hint="az account get-access-token")
    return Temporary(f"az did not answer within {BUDGET:.0f} s", hint="az account get-access-token")
