"""One machine: its environment, its profile file, its logins, its programs, and what the caller says.

A state is data. The profile file is kept line by line, each with what the Go SDK reads in it, so that nothing here has
to parse INI; `lay` puts it all into a home directory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from databricks.sdk.config import Config

CONFIG_PROFILE = "DATABRICKS_CONFIG_PROFILE"
CONFIG_FILE = "DATABRICKS_CONFIG_FILE"


class Attribute(NamedTuple):
    """How the SDK spells one setting; `tag` names the way to log in that it belongs to."""

    env: tuple[str, ...]
    tag: str


ATTRIBUTES = {
    a.name: Attribute(tuple(filter(None, (a.env, *a.env_aliases))), a.auth or "") for a in Config.attributes()
}


class Line(NamedTuple):
    """One line of the profile file. `key` and `value` are what the Go SDK reads; `odd` says how Python differs."""

    text: str
    key: str = ""
    value: str = ""
    odd: str = ""


class Section(NamedTuple):
    name: str
    lines: tuple[Line, ...]

    @property
    def read(self) -> dict[str, str]:
        """What the Go SDK reads; an empty value counts for nothing."""
        found = {line.key: line.value for line in self.lines if line.key}
        return {key: value for key, value in found.items() if value}


class Login(NamedTuple):
    """An entry of the Databricks CLI's token cache."""

    access: str
    refresh: str
    life: int = 3000


class How(NamedTuple):
    """How the official side is asked; a state as it is made says nothing here, and then the SDK's own chain decides.

    `walk` are the auth types that are asked one by one in place of the chain, and a failure of one in `final` ends it.
    `declines` and `fails` are auth types that say "not me" and "me, but broken" where Python's own say something else,
    `as_go` ones that only Go has; `port` is what Go leaves behind the host and Python takes away; `azure_host` stands
    for a host that Azure's own strategies do not know for one of theirs; `no_group` and `no_account` keep a group, and
    a missing account id, from the Databricks CLI's.
    """

    walk: tuple[str, ...] = ()
    final: frozenset[str] = frozenset()
    declines: frozenset[str] = frozenset()
    fails: frozenset[str] = frozenset()
    as_go: frozenset[str] = frozenset()
    port: str = ""
    azure_host: str = ""
    no_group: bool = False
    no_account: bool = False


@dataclass(frozen=True)
class State:
    """`said` is what the caller says: our flags and the SDK's arguments. `{home}` in a value is the home directory.

    `sections` is None where there is no profile file.
    """

    said: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    sections: tuple[Section, ...] | None = None
    cache: Mapping[str, Login] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    how: How = How()

    def say(self, **said: str) -> State:
        return replace(self, said={**self.said, **said})

    def asked(self, **how: Any) -> State:
        return replace(self, how=self.how._replace(**how))

    def without_env(self, names: Iterable[str]) -> State:
        gone = set(names)
        return replace(self, env={name: value for name, value in self.env.items() if name not in gone})

    def map_lines(self, change: Callable[[str, Line], Line | None]) -> State:
        """The state with each line of the profile file, given with its section's name, changed or taken out."""
        if self.sections is None:
            return self
        changed = tuple(
            Section(s.name, tuple(new for line in s.lines if (new := change(s.name, line)) is not None))
            for s in self.sections
        )
        return replace(self, sections=changed)

    def map_setting(self, name: str, change: Callable[[str], str]) -> State:
        """The state with one setting changed wherever somebody wrote it; an empty value takes it out."""

        def line(section: str, old: Line) -> Line:
            new = change(old.value) if old.key == name else old.value
            return old if new == old.value else plain(name, new) if new else ignored(old)

        said = {k: change(v) if k == name else v for k, v in self.said.items()}
        env = {k: change(v) if k in ATTRIBUTES[name].env else v for k, v in self.env.items()}
        return replace(self.map_lines(line), said={k: v for k, v in said.items() if v}, env=env)

    @property
    def profiles(self) -> dict[str, dict[str, str]]:
        """The profile file as the Go SDK reads it."""
        found: dict[str, dict[str, str]] = {}
        for section in self.sections or ():
            found.setdefault(section.name or "DEFAULT", {}).update(section.read)
        return found

    @property
    def from_env(self) -> dict[str, str]:
        """The settings in the environment."""
        found: dict[str, str] = {}
        for name, attribute in ATTRIBUTES.items():
            for variable in attribute.env:
                if value := self.env.get(variable):
                    found.setdefault(name, value)
        return found

    @property
    def named_profile(self) -> str:
        return self.said.get("profile") or self.env.get(CONFIG_PROFILE) or ""

    @property
    def profile(self) -> str:
        """The profile that applies by the rules of the SDKs, empty where the file is not read."""
        if self.named_profile:
            return self.named_profile if self.sections is not None else ""
        given = {**self.from_env, **self.said}
        if "host" in given or any(ATTRIBUTES[name].tag for name in given if name in ATTRIBUTES):
            return ""
        default = self.profiles.get("__settings__", {}).get("default_profile", "")
        return default or ("DEFAULT" if self.profiles.get("DEFAULT") else "")

    @property
    def settings(self) -> dict[str, str]:
        """What the Go SDK makes of it all, value by value: said, then the environment, then the profile."""
        found = {**self.profiles.get(self.profile, {}), **self.from_env, **self.said}
        return {name: value for name, value in found.items() if value and name in ATTRIBUTES}

    @property
    def methods(self) -> set[str]:
        """The ways to log in that have a setting."""
        return methods_in(self.settings)

    @property
    def is_broken(self) -> bool:
        """Whether the profile file has a line that nobody can read."""
        return any(line.odd == "words" for section in self.sections or () for line in section.lines)

    @property
    def host(self) -> str:
        return self.settings.get("host", "")

    @property
    def config_text(self) -> str:
        return "".join(
            (f"[{s.name}]\n" if s.name else "") + "".join(line.text + "\n" for line in s.lines)
            for s in self.sections or ()
        )

    @property
    def shown(self) -> str:
        """What a person needs to see of it."""
        env = {name: value[:80] for name, value in self.env.items()}
        parts: dict[str, object] = {"said": dict(self.said), "env": env, "cache": dict(self.cache)}
        parts |= {"programs": sorted(self.programs), "files": sorted(self.files)}
        text = "\n".join(f"{name}: {value}" for name, value in parts.items())
        return text + ("\nno profile file" if self.sections is None else f"\n{self.config_text}")

    def lay(self, home: Path) -> dict[str, str]:
        """Put the files into `home`, which loses its old ones, and return the environment of a process there."""
        (home / ".databricks").mkdir(parents=True, exist_ok=True)
        for file in (path for path in home.rglob("*") if path.is_file()):
            file.unlink()
        env = {name: value.replace("{home}", str(home)) for name, value in self.env.items()}
        env |= {"HOME": str(home), "PATH": os.pathsep.join(str(home.parent / "bin" / p) for p in sorted(self.programs))}
        if self.sections is not None:
            Path(env.get(CONFIG_FILE) or home / ".databrickscfg").write_text(self.config_text)
        if self.cache:
            (home / ".databricks" / "token-cache.json").write_text(cache_text(self.cache))
        for name, text in self.files.items():
            (home / name).write_text(text)
        (home / ".databricks" / "profiles.json").write_text(json.dumps(None if self.is_broken else self.profiles))
        return env


def methods_in(settings: Iterable[str]) -> set[str]:
    return {ATTRIBUTES[name].tag for name in settings if name in ATTRIBUTES} - {""}


def plain(key: str, value: str) -> Line:
    """A line that everybody reads alike."""
    return Line(f"{key} = {value}", key, value)


def ignored(line: Line) -> Line:
    """A line that nobody reads, in place of one that nobody should."""
    return plain(f"ignored_{line.text.partition('=')[0].strip().lower()}", "1")


def cache_text(cache: Mapping[str, Login]) -> str:
    tokens = {
        key: {
            "access_token": login.access,
            "token_type": "Bearer",
            "refresh_token": login.refresh,
            "expiry": time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime(time.time() + login.life)),
        }
        for key, login in cache.items()
    }
    return json.dumps({"version": 1, "tokens": tokens})
