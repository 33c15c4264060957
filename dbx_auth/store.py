"""Tokens at rest: our auth.json and the Databricks CLI's token cache.

Both are JSON files that are read whole and replaced whole. A replacement is private from its first byte and appears
at once or not at all; keys we do not know survive it. What is refreshed is refreshed and written under a lock that
every process takes, see `resolve`. A file that cannot be understood is never written to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from . import hosts, profile as profiles
from .errors import ConfigError, Temporary
from .tokens import format_expiry, parse_expiry
from .world import World

LARGEST = 16 << 20
"""Bytes a store may have."""

LOCK_WAIT = 60.0
"""Seconds to wait for another process; a refresh takes at most 30, so a longer wait means it hangs."""

PLAINTEXT = "export DATABRICKS_AUTH_STORAGE=plaintext"
"""What to type where the system's keyring is in the way."""

CLI_CLIENT_ID = "databricks-cli"
"""The public client that Databricks registers for logins from a terminal."""


@dataclass(frozen=True)
class Grant:
    """What a login in the browser left: an access token, and the refresh token that renews it (RFC 6749, 1.5).

    `expires_at` is in epoch seconds, None when the token does not expire. `group_id` is the group whose role it takes;
    `authority` is the tenant of Entra ID that gave it, empty where the host did; `discovery_url` is where a person
    wants the endpoints to be looked up. One whose `access` is empty says for whom a token is wanted.
    """

    host: str
    access: str = field(repr=False, default="")
    refresh: str = field(repr=False, default="")
    expires_at: float | None = None
    client_id: str = CLI_CLIENT_ID
    account_id: str = ""
    scopes: tuple[str, ...] = ()
    group_id: str = ""
    authority: str = ""
    discovery_url: str = ""


class Entry(NamedTuple):
    """One entry of auth.json; `fields` is all of it, also what we do not know."""

    key: str
    type: str
    host: str
    fields: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Entry(key={self.key!r}, type={self.type!r}, host={self.host!r}, fields=***)"

    @property
    def account_id(self) -> str:
        return as_text(self.fields.get("account_id"))

    @property
    def profile(self) -> str:
        """The profile that this entry points to, if it is of that type."""
        return as_text(self.fields.get("profile")) if self.type == "profile" else ""

    def text(self, name: str) -> str:
        """A field that should be text, or an empty string."""
        return as_text(self.fields.get(name))


class Slot(Protocol):
    """A place where one grant rests."""

    @property
    def origin(self) -> str:
        """Where this is, as a person would say it."""
        ...

    def read(self) -> Grant | None:
        """The grant, or None where there is none; takes no lock. Raises ConfigError when the file is unusable."""
        ...

    def rehearse(self) -> None:
        """Raise ConfigError if `write` could not succeed now: what cannot be kept must not be asked for."""
        ...

    def write(self, spent: Grant, fresh: Grant) -> None:
        """Put `fresh` in place of `spent`, under the lock. What was logged out meanwhile stays logged out."""
        ...

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that all processes take before they renew this grant. Raises Temporary after LOCK_WAIT."""
        ...


class JsonFile:
    """A JSON object on disk."""

    def __init__(self, world: World, path: str, lock_path: str) -> None:
        self.world = world
        self.path = path
        self.lock_path = lock_path
        self.name = world.shorten(path)

    def read(self) -> dict[str, Any]:
        """The whole object, empty where there is no file. Raises ConfigError when it cannot be used."""
        try:
            with open(self.path, "rb") as file:
                data = file.read(LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigError(
                f"{self.name} cannot be read: {error.strerror}", hint=f"check its permissions: ls -ld {self.path}"
            ) from error
        if len(data) > LARGEST:
            raise self.damaged(f"it is larger than {LARGEST} bytes")
        try:
            value = json.loads(data.decode().removeprefix("\ufeff"))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self.damaged(f"not UTF-8 text: line {line}") from None
        except json.JSONDecodeError as error:
            raise self.damaged(f"not JSON: line {error.lineno}: {error.msg}") from None
        except (ValueError, RecursionError):
            raise self.damaged("not JSON that we can hold") from None
        if not isinstance(value, dict):
            raise self.damaged("not a JSON object")
        return value

    def damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self.name} cannot be used, and was left as it is: {why}",
            hint=f"correct it, or move it aside: mv {self.path} {self.path}.damaged",
        )

    def rehearse(self) -> None:
        """Write as much as the file has, and more, beside it; raises ConfigError when there is no room or no right."""
        size = os.path.getsize(self.path) if os.path.exists(self.path) else 0
        write_private(self.path, bytes(size + 65_536), rehearsal=True)

    def write(self, value: Mapping[str, Any]) -> None:
        write_private(self.path, json.dumps(value, indent=2).encode() + b"\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this file's lock. Raises Temporary after LOCK_WAIT, ConfigError when nobody can lock here."""
        import filelock

        lock = filelock.FileLock(self.lock_path, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
        try:
            make_private(os.path.dirname(self.lock_path))
            with self.world.waiting(f"waiting for another process to finish with {self.name}", LOCK_WAIT):
                lock.acquire(timeout=LOCK_WAIT)
        except filelock.Timeout as error:
            raise Temporary(
                f"another process has held {self.lock_path} for {LOCK_WAIT:.0f} s",
                hint="try again; if it stays so, end that process",
            ) from error
        except (OSError, NotImplementedError) as error:
            raise ConfigError(
                f"cannot lock {self.lock_path}: {error}",
                hint=f"make the directory writable: {os.path.dirname(self.lock_path)}",
            ) from error
        try:
            yield
        finally:
            lock.release()


class AuthJson(JsonFile):
    """Our own logins: a map of entries in the field names of opencode's auth store.

    The last login is the entry `databricks`; the entry of another host is `databricks:<host>`.
    """

    DEFAULT = "databricks"

    def __init__(self, world: World) -> None:
        path = os.path.join(world.data_dir, "auth.json")
        super().__init__(world, path, path + ".lock")

    def entries(self) -> list[Entry]:
        """Our entries, the last login first. Entries of other tools, and ones without a usable host, are not ours."""
        found = [_entry(key, value) for key, value in self.read().items()]
        return sorted((e for e in found if e), key=lambda e: e.key)

    def default(self) -> Entry | None:
        """The last login."""
        return next((e for e in self.entries() if e.key == self.DEFAULT), None)

    def find(self, host: str, type: str) -> Entry | None:
        """The entry of this type for `host`; a stored key never serves another host."""
        return next((e for e in self.entries() if (e.host, e.type) == (host, type)), None)

    def login(self, fields: Mapping[str, Any]) -> None:
        """Make `fields` the last login; the login before it, if for another host, keeps an entry of its own."""
        fields = {**fields, "host": hosts.canonical(fields["host"]).url}
        with self.locked():
            data = self.read()
            ours = {e.key: e for e in (_entry(k, v) for k, v in data.items()) if e}
            before = ours.get(self.DEFAULT)
            if before is None and self.DEFAULT in data:
                raise self.damaged(f"its entry {self.DEFAULT} names no host, and would be lost")
            if before and before.host != fields["host"]:
                data[f"{self.DEFAULT}:{before.host}"] = data[self.DEFAULT]
            kept: dict[str, Any] = {}
            for entry in ours.values():
                if entry.host == fields["host"]:  # under whatever key somebody put it
                    kept.update(data.pop(entry.key))
            data[self.DEFAULT] = {**{k: v for k, v in kept.items() if k not in _KNOWN}, **fields}
            self.write(data)

    def forget(self, host: str = "") -> list[str]:
        """Forget our logins for `host`, or all of ours; returns the hosts that were forgotten."""
        if not os.path.exists(self.path):
            return []
        with self.locked():
            data = self.read()
            gone = [e for e in (_entry(k, v) for k, v in data.items()) if e and host in ("", e.host)]
            for entry in gone:
                del data[entry.key]
            if gone:
                self.write(data)
        return [entry.host for entry in gone]


# What an entry may say for itself; a new login replaces these and leaves the rest of the entry alone.
_KNOWN = frozenset(
    "type host key access refresh expires scopes account_id workspace_id group_id client_id client_secret authority "
    "profile auth_type".split()
)


def _entry(key: str, value: object) -> Entry | None:
    if not (key == AuthJson.DEFAULT or key.startswith(AuthJson.DEFAULT + ":")) or not isinstance(value, dict):
        return None
    try:
        host = hosts.canonical(as_text(value.get("host"))).url
    except ConfigError:
        return None
    return Entry(key, as_text(value.get("type")), host, value)


class OwnSlot:
    """A grant in auth.json: an `oauth` entry."""

    def __init__(self, file: AuthJson, wanted: Grant) -> None:
        self._file = file
        self._wanted = wanted
        self.origin = file.name
        self.locked = file.locked
        self.rehearse = file.rehearse

    def read(self) -> Grant | None:
        entry = self._file.find(self._wanted.host, "oauth")
        if entry is None or not self._is_wanted(entry):
            return None
        return replace(
            self._wanted,
            access=entry.text("access"),
            refresh=entry.text("refresh"),
            expires_at=_expiry(entry.fields.get("expires")),
            client_id=entry.text("client_id") or CLI_CLIENT_ID,
            account_id=entry.account_id,
            scopes=_scopes(entry),
            authority=entry.text("authority"),
        )

    def _is_wanted(self, entry: Entry) -> bool:
        """Whether this login is for the account, the role and the scopes that are asked for.

        A login that says no account fits all, and a wish for no scopes in particular is content with any.
        """
        wanted = self._wanted
        same_account = not wanted.account_id or entry.account_id in ("", wanted.account_id)
        same_scopes = not wanted.scopes or set(wanted.scopes) == set(_scopes(entry))
        return same_account and same_scopes and entry.text("group_id") == wanted.group_id

    def write(self, spent: Grant, fresh: Grant) -> None:
        entry = self._file.find(self._wanted.host, "oauth")
        if entry is None or entry.text("refresh") != spent.refresh:
            return
        data = self._file.read()
        data[entry.key] = {**entry.fields, **grant_fields(fresh)}
        self._file.write(data)


def _scopes(entry: Entry) -> tuple[str, ...]:
    scopes = entry.fields.get("scopes")
    return tuple(map(str, scopes)) if isinstance(scopes, list) else tuple(as_text(scopes).split())


def grant_fields(grant: Grant) -> dict[str, Any]:
    """A grant as an `oauth` entry of auth.json."""
    fields: dict[str, Any] = {
        "type": "oauth",
        "access": grant.access,
        "refresh": grant.refresh,
        "expires": None if grant.expires_at is None else round(grant.expires_at * 1000),
        "host": grant.host,
        "client_id": grant.client_id,
    }
    optional = {
        "account_id": grant.account_id,
        "scopes": list(grant.scopes),
        "group_id": grant.group_id,
        "authority": grant.authority,
    }
    fields.update({name: value for name, value in optional.items() if value})
    return fields


class CliCache(JsonFile):
    """The Databricks CLI's plaintext token cache, `~/.databricks/token-cache.json`.

    Its lock is the one that the CLI is about to take too: https://github.com/databricks/cli/pull/6759
    """

    VERSION = 1

    def __init__(self, world: World) -> None:
        folder = os.path.join(world.home, ".databricks")
        super().__init__(world, os.path.join(folder, "token-cache.json"), os.path.join(folder, "token-cache.lock"))

    def read(self) -> dict[str, Any]:
        data = super().read()
        if data and data.get("version") != self.VERSION:
            raise self.damaged(f"it needs version {self.VERSION}, and is version {data.get('version')!r}")
        if data and not isinstance(data.get("tokens", {}), dict):
            raise self.damaged("its tokens are not an object")
        return data

    def tokens(self) -> dict[str, Any]:
        """Each cache key and what lies under it."""
        tokens: dict[str, Any] = self.read().get("tokens", {})
        return tokens


def cli_key(host: str, account_id: str) -> str:
    """The key under which the CLI keeps a login that belongs to no profile, and beside it one that does."""
    return f"{host}/oidc/accounts/{account_id}" if hosts.is_account(host) and account_id else host


def storage_mode(world: World, sections: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Where the CLI was told to keep logins: `plaintext`, `secure` (the system's keyring), or nothing at all.

    The environment is asked before the profile file, whose `sections` whoever has read it may hand over. Raises
    ConfigError naming the one that says anything else.
    """
    said, origin = world.env.get("DATABRICKS_AUTH_STORAGE", "").strip(), "DATABRICKS_AUTH_STORAGE"
    if not said:
        try:
            sections = profiles.read(world) if sections is None else sections
            said = sections.get("__settings__", {}).get("auth_storage", "").strip()
        except ConfigError as error:  # whoever needs the file says so
            world.note(f"auth_storage: {error}")
        origin = f"auth_storage in [__settings__] of {world.shorten(world.config_file)}"
    mode = said.lower()
    if mode not in ("", "plaintext", "secure"):
        raise ConfigError(f"{origin}: unknown storage mode {mode!r}, want plaintext or secure", hint=PLAINTEXT)
    return mode


class CliSlot:
    """A grant in the CLI's cache, under the name of a profile or under a host."""

    def __init__(self, file: CliCache, key: str, wanted: Grant) -> None:
        self._file = file
        self._key = key
        self._wanted = wanted
        self.origin = f"{file.name} [{key}]"
        self.locked = file.locked
        self.rehearse = file.rehearse

    def read(self) -> Grant | None:
        entry = self._file.tokens().get(self._key)
        return cli_grant(self._wanted, entry) if isinstance(entry, dict) else None

    def write(self, spent: Grant, fresh: Grant) -> None:
        """Also renews the entry's twin: the CLI writes a login under its profile and under its host, and the refresh
        token in both is spent at once."""
        data = self._file.read()
        twins = [
            entry
            for entry in data.get("tokens", {}).values()
            if isinstance(entry, dict) and spent.refresh and entry.get("refresh_token") == spent.refresh
        ]
        for entry in twins:
            entry.update(cli_fields(fresh))
            if "expires_in" in entry and fresh.expires_at:
                entry["expires_in"] = round(fresh.expires_at - self._file.world.now())
        if twins:
            self._file.write(data)


def cli_grant(wanted: Grant, entry: Mapping[str, Any]) -> Grant:
    """A grant as the CLI keeps it; for whom it is does not stand in it."""
    return replace(
        wanted,
        access=as_text(entry.get("access_token")),
        refresh=as_text(entry.get("refresh_token")),
        expires_at=_expiry(entry.get("expiry")),
    )


def cli_fields(grant: Grant) -> dict[str, str]:
    """A grant as the CLI keeps it."""
    return {
        "access_token": grant.access,
        "token_type": "Bearer",
        "refresh_token": grant.refresh,
        "expiry": format_expiry(grant.expires_at) if grant.expires_at else "0001-01-01T00:00:00Z",
    }


def as_text(value: object) -> str:
    """The value if it is text, else an empty string: files and servers hold all kinds of things."""
    return value if isinstance(value, str) else ""


def _expiry(value: object) -> float | None:
    """An expiry that nobody can read is in the past: a refresh puts that right."""
    try:
        return parse_expiry(value)
    except (ValueError, OverflowError, OSError):
        return 0.0


def write_private(path: str, data: bytes, *, rehearsal: bool = False) -> None:
    """Replace the file at `path` by `data`: at once, on disk when this returns, and for this user alone.

    A symbolic link is followed, so that a dotfile kept elsewhere stays where it is. Raises ConfigError, with the
    old file as it was and nothing left beside it, when that cannot be done. A `rehearsal` does all but replace it.
    """
    import tempfile

    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = ""
    try:
        make_private(folder)
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}-", suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not rehearsal:
            os.replace(temporary, target)
            temporary = ""
            _sync_directory(folder)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}", hint=f"make room and allow writing: ls -ld {folder}"
        ) from error
    finally:
        if temporary:
            os.unlink(temporary)


def make_private(folder: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone; one that is there stays as it is."""
    if not os.path.isdir(folder):
        above = os.path.dirname(folder)
        if above not in ("", folder):  # a drive that does not exist is its own parent
            make_private(above)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def _sync_directory(folder: str) -> None:
    if os.name == "nt":  # pragma: no cover  NTFS journals the rename, and a directory cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
