"""What the settings and the environment say, and what they pass over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from dbx_auth import profile as profiles, settings as config
from dbx_auth.errors import AuthError
from dbx_auth.profile import FIELDS, Profile
from dbx_auth.store import AuthJson, Entry
from dbx_auth.world import World

from .access import blocked, sections_of
from .directories import OUR_DIRECTORIES
from .findings import Finding, Given, note, ok, problem, quoted, warning, without_values

SHOW = "dbx-auth status --offline   # which shows the value"


def settings(given: Given) -> Iterator[Finding]:
    """What applies here and now, by name and origin; no value but the host's."""
    if path := blocked(given.world):
        yield note(f"not read, because {given.world.shorten(path)} is not a file")
        return
    try:
        profile = profiles.load(given.world, given.flags)
    except AuthError as error:
        if file := _unusable(given.world, str(error)):
            yield note(f"not known as long as {given.world.shorten(file)} cannot be used")
        else:
            yield problem(without_values(str(error)), error.hint if str(error) == without_values(str(error)) else SHOW)
        return
    if profile.host:
        name = f", profile {profile.name}" if profile.name else ""
        yield ok(f"host {profile.host} ({profile.origin('host')}){name}")
    else:
        yield note("no host is set, and nobody has logged in", "dbx-auth login https://<your workspace>")
    others = [f"{s.name} ({s.origin})" for s in profile.settings.values() if s.name != "host"]
    if others:
        yield ok(f"also set: {', '.join(others)}")
    if len(profile.methods) > 1 and not profile.value("auth_type"):
        yield warning(
            f"there are settings for {' and '.join(profile.methods)}, and the Databricks SDKs refuse to choose",
            "export DATABRICKS_AUTH_TYPE=pat   # or another of them",
        )


def _unusable(world: World, said: str) -> str:
    """The file that an error is about, if it cannot be used at all: then a check of its own tells why."""
    readers: dict[str, Callable[[], object]] = {
        world.config_file: lambda: profiles.read(world),
        config.path(world): lambda: config.read(world),
        AuthJson(world).path: AuthJson(world).read,
    }
    for path, read in readers.items():
        if world.shorten(path) in said:
            try:
                read()
            except AuthError:
                return path
    return ""


def environment(given: Given) -> Iterator[Finding]:
    """Variables that pass over what is kept, that lead elsewhere, or that nobody reads."""
    world = given.world
    found = [*_misspelt(world.env), *_own_directories(world), *_other_profile_file(world)]
    if not blocked(world):
        with suppress(AuthError):  # `settings` tells
            found += _passed_over(given, profiles.load(world, given.flags))
    yield from found or [ok("no variable stands in the way of what is kept")]


KNOWN = {variable for field in FIELDS.values() for variable in field.env} | {
    *OUR_DIRECTORIES, "DBX_AUTH_GATEWAY_KEY", "DBX_AUTH_GATEWAY_HOSTS", "DBX_AUTH_TEST_REAL",
    "DBX_AUTH_TEST_CLIENTS",
    "DATABRICKS_CONFIG_FILE", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_AUTH_STORAGE", "DATABRICKS_DISCOVERY_HOST",
    "DATABRICKS_OIDC_TOKEN", "DATABRICKS_OUTPUT_FORMAT", "DATABRICKS_RUNTIME_VERSION",
}  # fmt: skip
"""The variables that we read."""

THEIRS = {"DATABRICKS_" + name for name in """
    API_KEY AZURE_LOGIN_APP_ID BUNDLE_ENGINE BUNDLE_ENV BUNDLE_ROOT BUNDLE_TARGET CACHE_DIR CACHE_ENABLED CLI_PATH
    CLI_UPSTREAM CLI_VERSION CLUSTER_ID DEBUG_HEADERS DEBUG_TRUNCATE_BYTES DISABLE_ASYNC_TOKEN_REFRESH
    DISABLE_EXPERIMENTAL_FILES_API_CLIENT DISABLE_OAUTH_REFRESH_TOKEN HTTP_PATH HTTP_TIMEOUT_SECONDS LOG_FILE LOG_FORMAT
    LOG_LEVEL MODEL_SERVING_ENV MODEL_SERVING_HOST_URL OAUTH_CALLBACK_PORT RATE_LIMIT
    RETRY_TIMEOUT_SECONDS ROOT_CA SDK_UPSTREAM SDK_UPSTREAM_VERSION SERVERLESS_COMPUTE_ID SKIP_VERIFY TF_CLI_CONFIG_FILE
    TF_EXEC_PATH TF_PROVIDER_VERSION TF_VERSION WAREHOUSE_ID WORKSPACE_URL
    """.split()}  # fmt: skip
"""Variables of the Databricks CLI, SDKs and Terraform that mean nothing to us, and are no mistakes."""

OTHER_NAMES = {
    "DATABRICKS_ACCESS_TOKEN": "DATABRICKS_TOKEN",
    "DATABRICKS_API_TOKEN": "DATABRICKS_TOKEN",
    "DATABRICKS_PAT": "DATABRICKS_TOKEN",
    "DATABRICKS_PROFILE": "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_SERVER_HOSTNAME": "DATABRICKS_HOST",
    "DATABRICKS_URL": "DATABRICKS_HOST",
}
"""Variables of other tools that mean what one of ours does."""


def _misspelt(env: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that are read by nobody, and look like one that is. Of their values not a word."""
    import difflib

    for name in sorted(env):
        upper = name.upper()
        beginning = re.match("DATABRICKS?_?|DBX_?AUTH_?", upper)
        if name in KNOWN or name in THEIRS or not beginning:
            continue
        if not (meant := OTHER_NAMES.get(upper, "")):
            # Without what all of them begin with, which would make everything look alike.
            prefix = "DBX_AUTH_" if upper.startswith("DBX") else "DATABRICKS_"
            rest = [known.removeprefix(prefix) for known in sorted(KNOWN | THEIRS) if known.startswith(prefix)]
            close = difflib.get_close_matches(upper[beginning.end() :], rest, 1, 0.75)
            meant = prefix + close[0] if close else ""
        if meant and not env.get(meant):
            yield warning(f"{name} is not read by anybody here; {meant} is", f'export {meant}="${name}"; unset {name}')


def _own_directories(world: World) -> Iterator[Finding]:
    for name in OUR_DIRECTORIES:
        path = world.env.get(name, "")
        if path and not os.path.isabs(world.expand(path)):
            yield warning(f"{name} depends on the directory that you are in: {path}", f'export {name}="$PWD/{path}"')


def _other_profile_file(world: World) -> Iterator[Finding]:
    """What is odd about DATABRICKS_CONFIG_FILE."""
    if not world.env.get("DATABRICKS_CONFIG_FILE"):
        return
    path, usual = world.config_file, os.path.join(world.home, ".databrickscfg")
    unset = "unset DATABRICKS_CONFIG_FILE"
    if not os.path.isabs(path):
        yield warning(f"DATABRICKS_CONFIG_FILE depends on the directory that you are in: {path}", unset)
    if not os.path.lexists(path):
        yield warning(f"DATABRICKS_CONFIG_FILE leads to {world.shorten(path)}, which is not there", unset)
    elif os.path.lexists(usual) and os.path.realpath(path) != os.path.realpath(usual):
        yield note(f"{world.shorten(usual)} is not read: DATABRICKS_CONFIG_FILE leads to {world.shorten(path)}", unset)


class _Way(NamedTuple):
    """A way to log in with variables alone: the settings that it takes, and how many sources are asked before it."""

    names: tuple[str, ...]
    rank: int


# As in `sources.ORDER`: pat, stored, basic, oauth-m2m, databricks-cli.
_WAYS = (_Way(("token",), 0), _Way(("username", "password"), 2), _Way(("client_id", "client_secret"), 3))
_RANK = {"api": 1, "m2m": 3, "oauth": 4, "profile": 4}
_SOURCE = {"api": "stored", "m2m": "oauth-m2m", "oauth": "databricks-cli"}


def _passed_over(given: Given, profile: Profile) -> Iterator[Finding]:
    """Logins and profiles that the environment has precedence over."""
    world = given.world
    said = {s.name: s.origin.removeprefix("env ") for s in profile.settings.values() if s.origin.startswith("env ")}
    ways = [way for way in _WAYS if all(name in said for name in way.names)]
    variables = [[said[name] for name in way.names] for way in ways]
    if ways and not profile.host:
        yield problem(
            f"{' and '.join(variables[0])} is set without DATABRICKS_HOST: no profile and no login is used, and nobody "
            "knows the host",
            f"export DATABRICKS_HOST=https://<your workspace>   # or: unset {' '.join(variables[0])}",
        )
    entries = _entries(world)
    logins = [entry for entry in entries if entry.host == profile.host and not profile.name]
    for entry in logins:
        what = f"the login for {entry.host} in {AuthJson(world).name}"
        first = next((n for n, way in enumerate(ways) if way.rank <= _RANK.get(entry.type, -1)), None)
        if first is not None:
            names = variables[first]
            yield warning(f"{' and '.join(names)} passes over {what}", f"unset {' '.join(names)}")
        named = profile.value("auth_type") if "auth_type" in said else ""
        if named and named != _SOURCE.get(entry.type, named):
            yield warning(f"DATABRICKS_AUTH_TYPE passes over {what}", "unset DATABRICKS_AUTH_TYPE")
    if profile.name and not given.flags.profile:
        yield from _over_profile(world, profile.name, said, variables)
    if not profile.name and not given.flags.host:
        yield from _over_the_file(world, said, expected=bool(ways or logins))
    last = next((entry for entry in entries if entry.key == AuthJson.DEFAULT), None)
    chosen = said.get("host") or (profile.name and world.env.get("DATABRICKS_CONFIG_PROFILE") == profile.name)
    if last and chosen and not given.flags.profile and profile.host not in ("", last.host):
        variable = said.get("host") or "DATABRICKS_CONFIG_PROFILE"
        yield note(f"{variable} passes over the last login, {last.host}", f"unset {variable}")


def _over_profile(world: World, name: str, said: Mapping[str, str], variables: list[list[str]]) -> Iterator[Finding]:
    """What the environment puts in place of what a profile of the environment says, as in the SDKs."""
    section = sections_of(world).get(name, {})
    theirs = profiles.host_of(section)
    if "host" in said and theirs and theirs != profiles.host_of({"host": world.env.get(said["host"], "")}):
        yield warning(f"{said['host']} passes over the host of profile {name}, {theirs}", f"unset {said['host']}")
    ways = any(FIELDS[key].method for key in FIELDS.keys() & section.keys()) or section.get("auth_type")
    for names in variables[:1]:
        if ways:
            yield warning(
                f"{' and '.join(names)} passes over what profile {name} logs in with", f"unset {' '.join(names)}"
            )


def _over_the_file(world: World, said: Mapping[str, str], *, expected: bool) -> Iterator[Finding]:
    """A variable that has the profile file not read at all."""
    cause = said.get("host") or next((said[name] for name in said if FIELDS[name].method), "")
    names = [name for name, values in sections_of(world).items() if name != "__settings__" and values.get("host")]
    if cause and names:
        yield (note if expected else warning)(
            f"{cause} is set, so {world.shorten(world.config_file)} is not read; its profiles apply by name alone",
            f"unset {cause}   # or: dbx-auth -p {quoted(names[0])} status",
        )


def _entries(world: World) -> list[Entry]:
    with suppress(AuthError):
        return AuthJson(world).entries()
    return []
