"""azure-devops-oidc: the ID token of an Azure Pipelines job, traded at the workspace's own token endpoint."""

from dbx_auth import oauth, workload
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token each time; a client id means a service principal's federation policy, none means the account's."""
    workload.require_azure_devops(world)
    profile.require_host()
    grant = oauth.federated(profile, workload.azure_devops(world), world)
    return Token(grant.access, grant.expires_at, "azure-devops-oidc", "Azure DevOps", profile.host, refreshable=True)
