"""basic: a user name and a password, which old workspaces still take (RFC 7617)."""

from dbx_auth.oauth import basic
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("username", "password", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """What stands behind `Authorization: Basic`."""
    value = basic(profile.value("username"), profile.value("password"))["Authorization"].removeprefix("Basic ")
    return Token(value, None, "basic", profile.origin("password"), profile.host, token_type="Basic")
