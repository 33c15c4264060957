"""pat: a personal access token, or any other token, that a person wrote into the settings."""

from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("token", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """The token as it stands; nobody can tell when it expires."""
    return Token(profile.value("token"), None, "pat", profile.origin("token"), profile.host)
