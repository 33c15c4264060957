"""Flags, environment and `.databrickscfg` become one set of settings, each knowing where it came from.

The rules are those of the Databricks SDKs and CLI, see docs/settings.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from . import files, hosts
from .errors import ConfigError, Unavailable, UsageError
from .world import World, without_login

STORED = "stored"
"""The origin of what the last `dbx-auth login` decided."""

LARGEST = 1 << 20
"""Bytes a profile file may have; a larger one is not a profile file."""


class Setting(NamedTuple):
    """One value and where it came from: `flag --host`, `env NAME`, `file PATH [SECTION]` or `stored`."""

    name: str
    value: str
    origin: str

    @property
    def shown(self) -> str:
        """The value as it may be seen."""
        return "***" if FIELDS[self.name].secret else without_login(self.value)

    def __repr__(self) -> str:
        return f"Setting({self.name!r}, {self.shown!r}, {self.origin!r})"


class Field(NamedTuple):
    """How one setting is spelled. `method` groups the settings that by themselves mean somebody wants to log in."""

    env: tuple[str, ...] = ()
    method: str = ""
    secret: bool = False
    keys: tuple[str, ...] = ()


FIELDS: dict[str, Field] = {
    "host": Field(("DATABRICKS_HOST",)),
    "account_id": Field(("DATABRICKS_ACCOUNT_ID",)),
    "workspace_id": Field(("DATABRICKS_WORKSPACE_ID",)),
    "group_id": Field(("DATABRICKS_GROUP_ID",)),
    "cloud": Field(("DATABRICKS_CLOUD",)),
    "discovery_url": Field(("DATABRICKS_DISCOVERY_URL",)),
    "auth_type": Field(("DATABRICKS_AUTH_TYPE",)),
    "token": Field(("DATABRICKS_TOKEN",), "pat", True),
    "username": Field(("DATABRICKS_USERNAME",), "basic"),
    "password": Field(("DATABRICKS_PASSWORD",), "basic", True),
    "client_id": Field(("DATABRICKS_CLIENT_ID",), "oauth"),
    "client_secret": Field(("DATABRICKS_CLIENT_SECRET",), "oauth", True),
    "scopes": Field(),
    "token_audience": Field(("DATABRICKS_TOKEN_AUDIENCE",), keys=("token_audience", "audience")),
    "oidc_token_env": Field(("DATABRICKS_OIDC_TOKEN_ENV",), "env-oidc"),
    "oidc_token_filepath": Field(
        ("DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_OIDC_TOKEN_FILE"),
        "file-oidc",
        keys=("oidc_token_filepath", "databricks_id_token_filepath"),
    ),
    "metadata_service_url": Field(("DATABRICKS_METADATA_SERVICE_URL",), "metadata-service", True),
    "google_service_account": Field(("DATABRICKS_GOOGLE_SERVICE_ACCOUNT",), "google"),
    "google_credentials": Field(("GOOGLE_CREDENTIALS",), "google", True),
    "azure_workspace_resource_id": Field(("DATABRICKS_AZURE_RESOURCE_ID",), "azure"),
    "azure_use_msi": Field(("ARM_USE_MSI",), "azure"),
    "azure_client_id": Field(("ARM_CLIENT_ID",), "azure"),
    "azure_client_secret": Field(("ARM_CLIENT_SECRET",), "azure", True),
    "azure_tenant_id": Field(("ARM_TENANT_ID",), "azure"),
    "azure_environment": Field(("ARM_ENVIRONMENT",)),
}
"""Every setting we read. https://docs.databricks.com/en/dev-tools/auth/env-vars.html"""

# With an explicit --profile the environment never says these (Databricks CLI 1.7 and later).
_NOT_BESIDE_PROFILE = {"account_id", "workspace_id", "auth_type", "discovery_url", "token_audience", "cloud"}


class Flags(NamedTuple):
    """What the command line said; empty strings where it said nothing."""

    profile: str = ""
    host: str = ""
    account_id: str = ""


class Profile(NamedTuple):
    """The settings of one identity.

    `name` is the section they came from, empty when no section was read; `by_login` says that nothing but the last
    `dbx-auth login` decided for them.
    """

    name: str
    settings: Mapping[str, Setting]
    by_login: bool = False

    def value(self, name: str) -> str:
        """The value of a setting, or an empty string."""
        setting = self.settings.get(name)
        return setting.value if setting else ""

    def origin(self, name: str) -> str:
        return self.settings[name].origin

    @property
    def host(self) -> str:
        return self.value("host")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes to ask for, without repetition; empty where no setting says any."""
        return tuple(dict.fromkeys(self.value("scopes").replace(",", " ").split()))

    @property
    def workspace_id(self) -> str:
        """The workspace behind a host that serves several; the CLI writes `none` for a login to the account alone."""
        found = self.value("workspace_id")
        return "" if found == "none" else found

    @property
    def cloud(self) -> str:
        """AWS, AZURE or GCP: what the settings say, else what the host's name says."""
        if self.value("azure_workspace_resource_id"):
            return "AZURE"
        said = self.value("cloud").upper()
        return said if said in hosts.DOMAINS.values() else hosts.cloud(self.host)

    @property
    def methods(self) -> list[str]:
        """The ways to log in that the settings are about, sorted; the Databricks SDKs refuse more than one."""
        return sorted({FIELDS[s.name].method for s in self.settings.values() if s.origin != STORED} - {""})

    def require(self, names: Iterable[str]) -> None:
        """Raise Unavailable naming what is missing, or ConfigError when all is there but the host.

        The stored host serves stored credentials only: for a setting that a person wrote elsewhere it is as good
        as absent, so that no token is ever sent to a host it was not given with.
        """
        names = list(names)
        present = [n for n in names if n != "host" and self.value(n) and self.origin(n) != STORED]
        missing = [n for n in names if n != "host" and not self.value(n)]
        if missing:
            raise Unavailable("not set: " + ", ".join(_spelled(n) for n in missing))
        if "host" in names and (not self.host or (present and self.origin("host") == STORED)):
            if not present or not any(_is_databricks(n) for n in present):
                raise Unavailable(f"not set: {_spelled('host')}")
            raise ConfigError(
                f"{present[0]} is set ({self.origin(present[0])}), but no host to send it to",
                hint="export DATABRICKS_HOST=https://<your workspace>",
            )

    def with_host(self, url: str) -> Profile:
        """The same settings for a host that was found out."""
        found = Setting("host", url, "found out")
        return self if self.host else self._replace(settings={**self.settings, "host": found})

    def without_host(self) -> Profile:
        return self._replace(settings={n: s for n, s in self.settings.items() if n != "host"})

    @property
    def is_host_set(self) -> bool:
        """Whether somebody set the host, rather than a login that is kept."""
        return bool(self.host) and self.origin("host") != STORED

    def require_host(self) -> str:
        """The host that somebody set, for a token that this machine gives to whoever asks: never that of a login."""
        if not self.is_host_set:
            raise Unavailable(f"not set: {_spelled('host')}")
        return self.host


def _is_databricks(name: str) -> bool:
    """Whether a setting is for Databricks alone. ARM_* and GOOGLE_* are shared with other tools, such as Terraform."""
    env = FIELDS[name].env
    return not env or env[0].startswith("DATABRICKS_")


def _spelled(name: str) -> str:
    env = FIELDS[name].env
    return f"{name} ({env[0]})" if env else name


def load(world: World, flags: Flags = Flags()) -> Profile:  # noqa: B008  a NamedTuple does not change
    """Read the settings that apply here and now.

    Raises UsageError for flags that contradict each other, ConfigError for a file or a value that cannot be used;
    neither is ever repaired by us.
    """
    from_env = _from_env(world.env)
    given = {
        name: Setting(name, value, f"flag --{name.replace('_', '-')}")
        for name, value in (("host", flags.host), ("account_id", flags.account_id))
        if value
    }
    name, section, by_login = _section(world, flags, {**from_env, **given})
    beneath = _completed(section, from_env) if flags.profile else {**section, **from_env}
    settings = {**beneath, **given}
    _canonicalise(settings)
    _add_stored(world, settings, beside_profile=bool(name))
    return Profile(name, settings, by_login)


def _completed(section: Mapping[str, Setting], from_env: Mapping[str, Setting]) -> dict[str, Setting]:
    """An explicit profile, and what the environment may add to it.

    The environment completes what the profile logs in with, and never puts another way to log in beside it.
    """
    methods = {FIELDS[n].method for n in section} - {""}
    fitting = {n: s for n, s in from_env.items() if not methods or FIELDS[n].method in {"", *methods}}
    first = {n: s for n, s in section.items() if n == "host" or FIELDS[n].method or n in _NOT_BESIDE_PROFILE}
    return {**section, **{n: s for n, s in fitting.items() if n not in _NOT_BESIDE_PROFILE}, **first}


def _says_something(name: str, value: str) -> bool:
    """Whether a value counts as set. As in Go, an empty text does not, and neither does a switch that is off."""
    return bool(value) and not (name == "azure_use_msi" and value in _FALSE)


_FALSE = ("0", "f", "F", "false", "False", "FALSE")  # strconv.ParseBool


def _from_env(env: Mapping[str, str]) -> dict[str, Setting]:
    found = {}
    for name, field in FIELDS.items():
        for variable in field.env:
            if _says_something(name, value := env.get(variable, "")):
                found[name] = Setting(name, value, f"env {variable}")
                break
    return found


def _section(world: World, flags: Flags, given: Mapping[str, Setting]) -> tuple[str, dict[str, Setting], bool]:
    """The section that applies, its settings, and whether the last login chose them.

    The name is empty where the file is not to be read.
    """
    if flags.profile:
        section = _named(world, flags.profile, must_exist=True)
        if theirs := _other_host(section, flags):
            raise UsageError(
                f"profile {flags.profile} is for {theirs}, not for {flags.host}",
                hint="use --profile or --host, not both",
            )
        return flags.profile, section, False
    if name := world.env.get("DATABRICKS_CONFIG_PROFILE"):
        section = _named(world, name)
        # A host said here and now beats the profile of the environment, whose secrets are not for it.
        return ("", {}, False) if _other_host(section, flags) else (name, section, False)
    if "host" in given:
        return "", {}, False
    if any(FIELDS[n].method and FIELDS[n].secret and _is_databricks(n) for n in given):
        return "", {}, False  # somebody wants to log in with this; `require` says that its host is missing
    # As in the SDKs, anything else that belongs to a way to log in turns the file off, and no more than that.
    no_file = any(FIELDS[n].method for n in given)
    if not no_file and (name := preferred_profile(world)):
        return name, _named(world, name), False
    from .store import AuthJson

    if entry := AuthJson(world).default():
        if entry.profile and not no_file:
            return entry.profile, _named(world, entry.profile, must_exist=True), True
        kept = ("account_id", "workspace_id", "group_id", "auth_type")
        stored = {"host": entry.host, **{name: entry.text(name) for name in kept}}
        return "", {n: Setting(n, v, STORED) for n, v in stored.items() if v}, True
    if no_file:
        return "", {}, False
    name = default_name(sections := read(world))
    if not sections.get(name) and not sections.get("__settings__", {}).get("default_profile"):
        return "", {}, False
    return name, _named(world, name), False


def _other_host(section: Mapping[str, Setting], flags: Flags) -> str:
    """The section's host, if --host says another; empty if they agree or one is silent."""
    theirs = host_of({name: setting.value for name, setting in section.items()})
    said = host_of({"host": flags.host})
    return theirs if theirs and said and theirs != said else ""


def default_name(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The profile that applies when nobody names one."""
    return sections.get("__settings__", {}).get("default_profile") or "DEFAULT"


def host_of(section: Mapping[str, str]) -> str:
    """The host of a section as the file has it, canonical; empty where there is none that can be used."""
    try:
        return hosts.canonical(section.get("host", "")).url
    except ConfigError:
        return ""


def _named(world: World, name: str, *, must_exist: bool = False) -> dict[str, Setting]:
    path = world.shorten(world.config_file)
    if name == "__settings__":
        raise ConfigError(f"__settings__ is a reserved section of {path}, not a profile", hint="dbx-auth profiles")
    sections = read(world)
    if not sections and not must_exist and not os.path.exists(world.config_file):
        return {}  # as the SDKs: a machine without the file may have all it needs in its environment
    if not sections.get(name):
        known = ", ".join(n for n in sections if n != "__settings__" and sections[n]) or "none"
        raise ConfigError(
            f"{path} has no profile {name}; it has: {known}",
            hint="dbx-auth profiles" if known != "none" else "dbx-auth login",
        )
    return _settings(world, name, sections[name])


def _settings(world: World, section: str, values: Mapping[str, str]) -> dict[str, Setting]:
    origin = f"file {world.shorten(world.config_file)} [{section}]"
    found = {}
    for name, field in FIELDS.items():
        for key in field.keys or (name,):
            if _says_something(name, value := values.get(key, "")):
                found[name] = Setting(name, value, origin)
                break
    return found


def _canonicalise(settings: dict[str, Setting]) -> None:
    if "host" not in settings:
        return
    _, value, origin = settings["host"]
    try:
        host = hosts.canonical(value)
    except ConfigError as error:
        kind = UsageError if origin.startswith("flag") else ConfigError
        raise kind(f"{error} ({origin})", hint=error.hint) from None
    settings["host"] = Setting("host", host.url, origin)
    for name, found in (("workspace_id", host.workspace_id), ("account_id", host.account_id)):
        if found:
            settings.setdefault(name, Setting(name, found, origin))


def _add_stored(world: World, settings: dict[str, Setting], *, beside_profile: bool) -> None:
    """What `dbx-auth login` keeps for this host: a service principal, and which workspace or group it was for.

    A principal comes whole, never one half of it; and no profile gets a workspace that it does not name.
    """
    if "host" not in settings:
        return
    from .store import AuthJson

    file = AuthJson(world)
    try:
        entries = [e for e in file.entries() if e.host == settings["host"].value]
    except ConfigError:
        return  # the source `stored` asks the same file, and tells
    principal = ("client_id", "client_secret")
    for entry in entries:
        names: tuple[str, ...] = () if beside_profile else ("workspace_id", "group_id")
        if entry.type == "m2m" and not settings.keys() & principal:
            entry = file.opened(entry)
        if entry.type == "m2m" and not settings.keys() & principal and all(map(entry.text, principal)):
            names = (*names, *principal, "account_id", "group_id", "scopes")
        for name in names:
            if value := entry.text(name):
                settings.setdefault(name, Setting(name, value, STORED))


def preferred_profile(world: World) -> str:
    """The profile that our own `config.toml` prefers, or an empty string."""
    if not text(world, os.path.join(world.config_dir, "config.toml")):
        return ""  # as for most people, and nothing more is imported
    from . import settings

    name = settings.read(world).get("profile", "")
    return name if isinstance(name, str) else ""


def read(world: World) -> dict[str, dict[str, str]]:
    """The sections of `.databrickscfg`, in the order of the file; empty when there is no file.

    Raises ConfigError with path and line when it cannot be read or understood.
    """
    path = world.config_file
    try:
        return parse(text(world, path))
    except ValueError as error:
        raise ConfigError(
            f"{world.shorten(path)} cannot be understood: {error}",
            hint=f"correct that line, or set DATABRICKS_CONFIG_FILE to another file: {path}",
        ) from error


def text(world: World, path: str) -> str:
    """The text of a file, empty where there is none. Raises ConfigError when it cannot be read, or is no text."""
    data = content(world, path)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{world.shorten(path)} is not UTF-8 text: line {line}", hint=f"save it as UTF-8: {path}"
        ) from error


def content(world: World, path: str) -> bytes:
    """The bytes of a file, none where there is no such file. Raises ConfigError when it cannot be read."""
    try:
        data = files.read(path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ConfigError(
            f"{world.shorten(path)} cannot be read: {error.strerror}", hint=f"check its permissions: ls -ld {path}"
        ) from error
    if len(data) > LARGEST:
        raise ConfigError(f"{world.shorten(path)} is larger than {LARGEST} bytes", hint=f"look into it: {path}")
    return data


def parse(text: str) -> dict[str, dict[str, str]]:
    """The sections and values of an INI text, as the Databricks CLI reads them. Raises ValueError naming the line.

    The dialect is that of gopkg.in/ini.v1 with SpaceBeforeInlineComment: keys keep their case, ` #` and ` ;` start
    a comment, surrounding quotes are dropped, a section that comes twice is one section, and the last value wins.
    What stands before the first section belongs to DEFAULT.
    """
    sections: dict[str, dict[str, str]] = {}
    current = sections.setdefault("DEFAULT", {})
    lines = enumerate(text.split("\n"), 1)
    for number, raw in lines:
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            end = line.rfind("]")
            if end < 2:
                raise ValueError(f"line {number}: a section needs a name and a closing bracket")
            current = sections.setdefault(line[1:end], {})
            continue
        cut = min((i for i in (line.find("="), line.find(":")) if i >= 0), default=-1)
        if cut <= 0:
            raise ValueError(f"line {number}: neither a section nor a key with a value")
        current[unquoted(line[:cut].strip())] = read_value(line[cut + 1 :].strip(), number, lines)
    if not sections["DEFAULT"] and "[DEFAULT]" not in text:
        del sections["DEFAULT"]
    return sections


def read_value(text: str, number: int, lines: Iterator[tuple[int, str]]) -> str:
    """One value; it takes further `lines` where a quote is open or a backslash joins the next."""
    for quote in ('"""', "`"):
        if text.startswith(quote):
            inside = text[len(quote) :]
            while quote not in inside:
                following = next(lines, None)
                if following is None:
                    raise ValueError(f"line {number}: a quote that is never closed")
                inside += "\n" + following[1]
            return inside[: inside.rfind(quote)]
    if text.endswith("\\"):
        while text.endswith("\\"):
            text = text[:-1] + next(lines, (0, ""))[1].strip()
        return text
    for comment in (" #", " ;"):
        if comment in text:
            text = text.partition(comment)[0].rstrip()
            break
    return unquoted(text)


def unquoted(text: str) -> str:
    for quote in "'\"":
        if len(text) >= 2 and text[0] == quote and text.find(quote, 1) == len(text) - 1:
            return text[1:-1]
    return text
