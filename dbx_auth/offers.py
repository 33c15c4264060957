"""What a shell offers in place of a word: names that are on this machine. Nobody is asked, and no secret is read.

Each function takes what the command line says already, under the names of options and arguments, and returns words with
what there is to say of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from . import profile as profile_file
from .errors import AuthError
from .profile import Flags
from .world import World


def profiles(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """The profiles of .databrickscfg, and the host of each."""
    found = {name: profile_file.host_of(section) for name, section in profile_file.read(world).items() if section}
    found.pop("__settings__", None)
    return found


def hosts(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """The hosts of the profiles, and those that somebody logged in to."""
    from .store import AuthJson

    found: dict[str, str] = {}
    with suppress(AuthError):  # a file that is damaged does not hide the other one
        found |= {host: f"profile {name}" for name, host in profiles(world, said).items() if host}
    with suppress(AuthError):
        found |= {entry.host: "logged in" for entry in AuthJson(world).entries() if entry.host}
    return found


def models(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """The models that the host had when they were last listed, else the catalogue's; and those of config.toml."""
    from . import catalogue, models as lists, settings

    found: dict[str, str] = {}
    with suppress(AuthError):
        host = profile_file.load(world, Flags(*(str(said.get(name) or "") for name in Flags._fields))).host
        found = {model.id: model.family for model in lists.last_seen(host, world)}
    found = found or {id: facts.family for id, facts in catalogue.everything().items()}
    with suppress(AuthError):
        found |= dict.fromkeys(settings.models(world), "config.toml")
    return found


def families(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """The families of the catalogue."""
    from . import catalogue

    return dict.fromkeys(catalogue.families(), "")


def keys(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """The settings of config.toml: all that have a name of their own, and of the others those that the file has."""
    from . import settings

    found = {str(key): key.kind.wanted for key in settings.TOP}
    with suppress(AuthError):
        found |= {item.key: settings.shown(item.value) for item in settings.items(world) if item.origin == "file"}
    return found


def values(world: World, said: Mapping[str, Any]) -> dict[str, str]:
    """What the setting `key` may be, where that is one of a few words."""
    from . import settings

    key = settings.key(str(said.get("key")))
    if str(key) == "profile":
        return profiles(world, said)
    return dict.fromkeys(key.kind.wanted.split(" or "), "") if key.default else {}
