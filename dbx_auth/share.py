"""A login that the Databricks CLI and SDKs find too: a profile in `.databrickscfg`, and the grant where the CLI looks.

The profile file belongs to a person, so of its text only the lines of one profile change (see `ini`). A shared grant
rests in the CLI's store alone: a refresh token is good for one use, so of two copies one is spent without knowing it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from . import hosts, ini, keyrings, profile as profiles
from .errors import ConfigError
from .files import draft, write_private
from .journal import Journal
from .profile import FIELDS
from .store import (
    CLI_CLIENT_ID,
    CLI_FOLDER,
    CliCache,
    Grant,
    JsonFile,
    cli_fields,
    cli_grant,
    cli_key,
    refresh_locks,
    storage_mode,
)
from .world import World

SETTINGS = "__settings__"
HEADER = (
    "; The profile defined in the DEFAULT section is to be used as a fallback when no profile is explicitly specified."
    "\n[DEFAULT]\n"
)
"""What the CLI writes at the top of a new file."""

OF_A_HOST = {"account_id", "workspace_id", "cluster_id", "serverless_compute_id"}
"""What belongs to one host, and means nothing once the profile has another."""

_LOGINS = {key for name, field in FIELDS.items() if field.method for key in field.keys or (name,)}
_LOGINS |= {"auth_type", "experimental_is_unified_host"}


class _Plan(NamedTuple):
    """What sharing comes to: the old and the new text of the profile file, and where the grant goes if there is one."""

    old: str
    new: str
    mode: str
    secret: str

    def __repr__(self) -> str:
        return f"_Plan(mode={self.mode!r}, ***)"


def share(name: str, values: Mapping[str, str], grant: Grant | None, world: World) -> list[str]:
    """Write the profile `name` with these keys and, where there is a grant, keep that where the CLI keeps its own.

    Returns the places, as a person would say them. Both writes are rehearsed before the first; the grant goes first,
    because a profile whose token is missing breaks what worked. Raises ConfigError, with nothing changed or with what
    was changed in its message, for a name, value, file or keyring that cannot be used, and Temporary when another
    process holds a lock or the keyring is slow.
    """
    path = world.config_file
    with _locked(world):
        plan = _plan(name, values, grant, world)
        cache = CliCache(world)
        kept = []
        with cache.locked() if grant else nullcontext(), world.uninterrupted():
            if grant:
                kept.append(_keep(name, grant, plan, cache))
            try:
                if plan.new != plan.old:
                    write_private(path, plan.new.encode())
            except ConfigError as error:
                done = f"the login is in {kept[0]}, but " if kept else ""
                raise ConfigError(f"{done}{error}", hint=error.hint) from error
    _name_what_python_cannot_read(plan.new, world)
    return [*kept, f"{world.shorten(path)} [{name}]"]


def rehearse(name: str, host: str, world: World) -> None:
    """Raise what `share` would raise for a browser login to this host: before a person is sent there, not after."""
    with _locked(world):
        _plan(name, {"host": host}, Grant(hosts.canonical(host).url, "probe"), world)


def _plan(name: str, values: Mapping[str, str], grant: Grant | None, world: World) -> _Plan:
    """What is to be written, once it is sure that it can be."""
    _check_name(name)
    old = _read(world)
    mode = secret = ""
    if grant:
        _check_grant(grant, values.get("host", ""))
        new = with_profile(old, name, {**values, "auth_type": "databricks-cli"})
        secret = keyrings.envelope(cli_fields(grant))
        mode, news = keyrings.for_login(world, secret)
        if news:
            new = ini.edited(new, SETTINGS, {"auth_storage": mode})
        if mode == "plaintext":
            CliCache(world).read()
            with CliCache(world).room():
                pass
    else:
        new = with_profile(old, name, values)
    if new != old:
        with draft(world.config_file) as file:
            file.reserve(len(new.encode()))
    return _Plan(old, new, mode, secret)


def unshare(name: str, host: str, account_id: str, world: World) -> list[str]:
    """Forget what the CLI keeps for a profile; returns the places. The profile itself stays.

    What lies under the host goes too, unless another profile that logs in through the CLI has the same host. Raises
    ConfigError when the file or the keyring is unusable, Temporary when it is held by another process or slow; the
    file is done by then, where the keyring is what fails.
    """
    keys = [name] if name else []
    key = cli_key(hosts.canonical(host).url, account_id)
    if not any(_is_ours(section, key) for other, section in profiles.read(world).items() if other != name):
        keys.append(key)
    mode = storage_mode(world)
    cache = CliCache(world)
    places = []
    if any(key in cache.tokens() for key in keys):
        with cache.locked():
            data = cache.read()
            tokens = data.get("tokens", {})
            gone = {key: tokens.pop(key) for key in keys if key in tokens}
            cache.write(data)
        places += [f"{cache.name} [{key}]" for key in gone]
        _forget_rescued(cache, hosts.canonical(host).url, gone.values(), tokens.values())
    if mode == "secure" or (not mode and keyrings.is_there(world)):
        try:
            with cache.locked():
                for key in keys:
                    if grant := keyrings.removed(key, Grant(hosts.canonical(host).url), world):
                        places.append(f"{keyrings.NAME} [{key}]")
                        Journal(world, refresh_locks(cache, CLI_FOLDER, grant.host)).forget_rescued(grant)
        except keyrings.NoKeyring:
            if mode:
                raise
    return places


def set_default(name: str, world: World) -> None:
    """Make the profile `name` the one that the CLI takes where nobody names one.

    Raises ConfigError where there is no such profile, or its name or the file cannot be used, Temporary when another
    process holds its lock.
    """
    with _locked(world):
        old = _read(world)
        if name == SETTINGS or not profiles.read(world).get(name):
            raise ConfigError(f'profile "{name}" not found', hint="dbx-auth profiles")
        _check_name(name)
        new = ini.edited(old, SETTINGS, {"default_profile": name})
        if new != old:
            write_private(world.config_file, new.encode())


def default_name(host: str, account_id: str, sections: Mapping[str, Mapping[str, str]]) -> str:
    """What to call the profile of this host when nobody said: the profile that is there, else the CLI's own choice.

    That is `ACCOUNT-<id>` or the first word of the host. Where the name is taken, by another host or by a profile that
    logs in some other way, a number is added: nobody loses a token over a name that he did not give.
    """
    host = hosts.canonical(host).url
    ours = [name for name, section in sections.items() if _is_ours(section, cli_key(host, account_id))]
    if len(ours) == 1:
        return ours[0]
    label = re.sub(r"^\w+://", "", host).partition(":")[0].partition(".")[0]
    if hosts.is_account(host) and account_id:
        wanted = f"ACCOUNT-{account_id}"
    else:
        wanted = "DEFAULT" if not label or label.isdigit() or label.startswith("[") else label
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, len(sections) + 3))]
    return next(name for name in names if name in ours or not sections.get(name))


def _is_ours(section: Mapping[str, str], key: str) -> bool:
    """Whether this profile logs in to the same place through the CLI."""
    same = profiles.host_of(section) and cli_key(profiles.host_of(section), section.get("account_id", "")) == key
    return bool(same) and section.get("auth_type", "") == "databricks-cli"


def _check_name(name: str) -> None:
    if name == SETTINGS:
        raise ConfigError(f"the profile name {SETTINGS} is reserved for internal use", hint="choose another: -p DEV")
    # Its name is a header here, a value of default_profile there, and a key of the CLI's store, where hosts are too.
    line = f"[{name}]\ndefault_profile = {name}\n"
    understood = bool(name) and name.isprintable() and "]" not in name and "://" not in name
    if not understood or not ini.reads_back(line, {name: {"default_profile": name}}):
        raise ConfigError(f"this cannot be the name of a profile: {name!r}", hint="choose another: -p DEV")


def _check_grant(grant: Grant, host: str) -> None:
    """What the CLI could not renew, or would send elsewhere, is not for it to have."""
    if hosts.canonical(host).url != grant.host:
        raise ConfigError(f"this login is for {grant.host}, not for {host}", hint=f"dbx-auth login {host} --share")
    if grant.client_id != CLI_CLIENT_ID or grant.authority:
        raise ConfigError(
            f"this login belongs to the client {grant.client_id}, and the Databricks CLI could not renew it",
            hint=f"dbx-auth login {host} --share --force",
        )


def _keep(name: str, grant: Grant, plan: _Plan, cache: CliCache) -> str:
    """Put the grant into the CLI's store, whose lock is held, and say where that was."""
    if plan.mode == "secure":
        keyrings.put(name, plan.secret, cache.world)
        return f"{keyrings.NAME} [{name}]"
    data = cache.read()
    data["version"] = cache.VERSION
    tokens = data.setdefault("tokens", {})
    keys = [name]
    if not grant.group_id:  # a login under a host is nobody's in particular, and older SDKs look there
        keys.append(cli_key(grant.host, grant.account_id))
    replaced = [tokens.get(key) for key in keys]
    tokens.update({key: cli_fields(grant) for key in keys})
    cache.write(data)
    _forget_rescued(cache, grant.host, replaced, tokens.values())
    return f"{cache.name} [{name}]"


def _forget_rescued(cache: CliCache, host: str, gone: Iterable[object], left: Iterable[object]) -> None:
    """Forget what waits aside to be written in place of entries that are gone, and of which no other is a copy."""
    journal = Journal(cache.world, refresh_locks(cache, CLI_FOLDER, host))
    still = {cli_grant(Grant(host), entry).refresh for entry in left if isinstance(entry, dict)}
    for grant in (cli_grant(Grant(host), entry) for entry in gone if isinstance(entry, dict)):
        if grant.refresh not in still:
            journal.forget_rescued(grant)


def _locked(world: World) -> AbstractContextManager[object]:
    """Hold the lock beside the profile file, where the CLI is about to put its own; see `JsonFile.locked`."""
    name = os.path.basename(os.path.realpath(world.config_file)) + ".lock"
    return JsonFile(world, world.config_file, name).locked()


def _read(world: World) -> str:
    """The whole text of the profile file, once it is sure that it can be understood; ConfigError if it cannot."""
    profiles.read(world)
    return profiles.content(world, world.config_file).decode()


# ---- the text of the file --------------------------------------------------------------------------------------------


def with_profile(text: str, name: str, values: Mapping[str, str]) -> str:
    """The text of a profile file with these keys in the profile `name`; all else is as it was.

    Keys that log in another way go, and what belonged to another host; other keys stay. An empty value takes its key
    away. The first profile of a file becomes its default. Raises ConfigError for what cannot be written, ValueError
    where `profile.parse` does.
    """
    _check_name(name)
    for key, value in values.items():
        _check_value(key, value)
    sections = profiles.parse(text.removeprefix("\ufeff"))
    before, host = profiles.host_of(sections.get(name, {})), profiles.host_of(values)
    stale = OF_A_HOST if before and host and before != host else set()
    first = not any("host" in section for other, section in sections.items() if other != SETTINGS)
    if not text:
        text = HEADER if name != "DEFAULT" else ""
    text = ini.edited(text, name, values, lambda key: key in stale or _logs_in(key))
    if first and values.get("host"):
        text = ini.edited(text, SETTINGS, {"default_profile": name})
    return text


def _logs_in(key: str) -> bool:
    return key in _LOGINS or (key.startswith(("azure_", "google_", "oidc_")) and key != "azure_environment")


def _check_value(key: str, value: str) -> None:
    """Raise ConfigError unless `key = value` is read as that by everybody; no quoting suits both dialects."""
    understood = value.isprintable() and re.fullmatch(r"[a-z_]+", key) is not None
    if not understood or (value and not ini.reads_back(f"[A]\n{key} = {value}\n", {"A": {key: value}})):
        raise ConfigError(
            f"the value of {key} cannot be written so that every Databricks tool reads it back",
            hint="look for a control character, ` #` or ` ;`, quotes or blanks around it, a backslash at its end",
        )


def _name_what_python_cannot_read(text: str, world: World) -> None:
    """Warn about lines of a file that the CLI reads and Python's SDK refuses as a whole."""
    import configparser

    why = ""
    try:
        configparser.ConfigParser(interpolation=None).read_string(text)
    except configparser.DuplicateSectionError as error:
        why = f"line {error.lineno} opens a section for the second time"
    except configparser.DuplicateOptionError as error:
        why = f"line {error.lineno} sets a key for the second time"
    except configparser.MissingSectionHeaderError as error:
        why = f"line {error.lineno} stands before the first section"
    except configparser.Error:
        why = "a line is neither a section nor a key with a value"
    if why:
        world.warn(f"the Databricks SDK for Python cannot read {world.shorten(world.config_file)}: {why}")
