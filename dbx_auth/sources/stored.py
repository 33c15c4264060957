"""stored: a key that `dbx-auth login` keeps in auth.json, bound to the host it was given with."""

from dbx_auth.errors import Unavailable
from dbx_auth.profile import Profile
from dbx_auth.store import AuthJson
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """The key of this host's `api` entry."""
    file = AuthJson(world)
    entry = file.find(profile.host, "api")
    if entry is None or not entry.text("key"):
        others = sorted({e.host for e in file.entries() if e.type == "api" and e.host != profile.host})
        kept = f"; it keeps keys for {', '.join(others)}" if others else ""
        raise Unavailable(f"{file.name} has no key for {profile.host}{kept}")
    return Token(entry.text("key"), None, "stored", file.name, entry.host)
