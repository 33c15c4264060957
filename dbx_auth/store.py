"""Tokens at rest: our auth.json and the Databricks CLI's token cache.

Both are JSON files that are read whole and replaced whole (`files`), under a lock of the file (`lock`); keys we do not
know survive it. A file that cannot be understood is never written to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import files, hosts, profile as profiles
from .errors import AuthError, ConfigError, Temporary
from .tokens import format_expiry, parse_expiry
from .world import World

if TYPE_CHECKING:
    from .lock import Lock

LARGEST = 16 << 20
"""Bytes a store may have."""

STORE_WAIT = 10.0
"""Seconds to wait for a file that takes milliseconds to replace, with a grant in hand that could be kept aside."""

TYPICAL = 3000
"""Characters that the secrets of a login may come to; to see whether a keyring takes as many."""

SPARE = 65_536
"""Bytes to reserve beyond what a store has, before something is spent whose successor must find room in it."""

PLAINTEXT = "export DATABRICKS_AUTH_STORAGE=plaintext"
"""What to type where the system's keyring is in the way."""

OWN_FOLDER, CLI_FOLDER = "refresh", ".dbx-auth"
"""Where refresh locks and journals are, beside auth.json and beside the Databricks CLI's cache."""

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

    @property
    def is_in_keyring(self) -> bool:
        """Whether its secrets are in the system's keyring."""
        return self.fields.get("storage") == "keyring"

    def text(self, name: str) -> str:
        """A field that should be text, or an empty string."""
        return as_text(self.fields.get(name))


class Slot(Protocol):
    """A place where one grant rests."""

    @property
    def origin(self) -> str:
        """Where this is, as a person would say it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether programs that take no lock renew this grant, too."""
        ...

    def read(self) -> Grant | None:
        """The grant, or None where there is none; takes no lock. Raises ConfigError when the file is unusable."""
        ...

    def refresh_locks(self) -> Sequence[str]:
        """Where the lock may be that all processes take before they renew this grant, the best place first."""
        ...

    def joined(self, wait: float) -> AbstractContextManager[object]:
        """Hold the locks that others take while they renew this grant, if there are any. Raises as `lock.Lock.held`."""
        ...

    def room(self) -> AbstractContextManager[files.Draft | None]:
        """The space that `write` will need, reserved; what cannot be kept must not be asked for: ConfigError."""
        ...

    def write(self, spent: Grant, fresh: Grant, room: files.Draft | None = None) -> None:
        """Put `fresh` in place of `spent`. What was logged out or renewed meanwhile stays as it is.

        Raises ConfigError when it cannot be written, Temporary when the store is held by somebody else.
        """
        ...


class JsonFile:
    """A JSON object on disk."""

    def __init__(self, world: World, path: str, lock_name: str) -> None:
        self.world = world
        self.path = path
        self.lock_name = lock_name
        self.name = world.shorten(path)
        self._lock: Lock | None = None

    @property
    def folder(self) -> str:
        """The directory that the file really is in."""
        return os.path.dirname(os.path.realpath(self.path))

    def read(self) -> dict[str, Any]:
        """The whole object, empty where there is no file. Raises ConfigError when it cannot be used."""
        try:
            data = files.read(self.path, LARGEST)
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
        self.world.detail(f"read {self.name}: {len(data)} bytes")
        return value

    def damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self.name} cannot be used, and was left as it is: {why}",
            hint="correct it, or move it aside: dbx-auth doctor --fix",
        )

    @contextmanager
    def room(self) -> Iterator[files.Draft | None]:
        """A file to take this one's place, with room for all that this one has, and more. Raises ConfigError."""
        size = 0
        with suppress(OSError):
            size = os.path.getsize(self.path)
        with files.draft(self.path) as new:
            new.reserve(size + SPARE)
            yield new

    def write(self, value: Mapping[str, Any], room: files.Draft | None = None) -> None:
        """Replace the whole object, under the lock."""
        with nullcontext(room) if room else files.draft(self.path) as new:
            new.commit(json.dumps(value, indent=2).encode() + b"\n")
        self.world.detail(f"wrote {self.name}")

    def locked(self, wait: float | None = None) -> AbstractContextManager[object]:
        """Hold this file's lock. Raises Temporary when another process does not let go, ConfigError if nobody can."""
        from .lock import Lock, beside

        if self._lock is None:
            self._lock = Lock(self.world, self.name, beside(self.folder, self.lock_name, self.world), among=True)
        return self._lock.held(wait=wait)


def identity(host: str) -> str:
    """What the files are called that belong to the refresh of a host's login.

    One name for a host, because one grant is found under several: a profile, its host, its account.
    """
    import hashlib

    return hashlib.sha256(host.encode()).hexdigest()[:16]


def refresh_locks(store: JsonFile, folder: str, host: str) -> tuple[str, str]:
    """Where the refresh lock of a host may be whose grant rests in this file: in `folder` beside it is best."""
    from .lock import beside

    return beside(os.path.join(store.folder, folder), identity(host) + ".lock", store.world)


class AuthJson(JsonFile):
    """Our own logins: a map of entries in the field names of opencode's auth store.

    The last login is the entry `databricks`; the entry of another host is `databricks:<host>`. One that says
    `"storage": "keyring"` has its secret fields in the system's keyring (`vault`), under its host.
    """

    DEFAULT = "databricks"

    def __init__(self, world: World) -> None:
        super().__init__(world, os.path.join(world.data_dir, "auth.json"), "auth.json.lock")

    def entries(self) -> list[Entry]:
        """Our entries, the last login first; the secrets of those in the keyring are left there.

        Entries of other tools, and ones without a usable host, are not ours.
        """
        return _entries(self.read())

    def default(self) -> Entry | None:
        """The last login."""
        return next((e for e in self.entries() if e.key == self.DEFAULT), None)

    def find(self, host: str, type: str) -> Entry | None:
        """The entry of this type for `host`, with its secrets; a stored key never serves another host."""
        found = next((e for e in self.entries() if (e.host, e.type) == (host, type)), None)
        return self.opened(found) if found else None

    def opened(self, entry: Entry) -> Entry:
        """The entry with its secrets. Raises ConfigError or Temporary when the keyring that has them is no use."""
        if not entry.is_in_keyring:
            return entry
        from . import vault

        return entry._replace(fields={**entry.fields, **(vault.get(self._account(entry), self.world) or {})})

    def rehearse(self) -> None:
        """Raise what `login` would raise, before a person is sent to the browser rather than after."""
        self.read()
        with self.room():
            if self._storage() == "keyring":
                from . import vault

                vault.probe(self.world, TYPICAL)

    def _storage(self) -> str:
        from . import settings

        return settings.storage(self.world)

    def _account(self, entry: Entry) -> str:
        """What the keyring calls a login: of a host, a type and a data directory, as a person may have several."""
        return f"{entry.host} {entry.type} {identity(self.folder)[:8]}"

    def login(self, fields: Mapping[str, Any]) -> None:
        """Make `fields` the last login; the login before it, if for another host, keeps an entry of its own."""
        fields = {**fields, "host": hosts.canonical(fields["host"]).url}
        with self.locked():
            data = self.read()
            ours = {e.key: e for e in _entries(data)}
            before = ours.get(self.DEFAULT)
            if before is None and self.DEFAULT in data:
                raise self.damaged(f"its entry {self.DEFAULT} names no host, and would be lost")
            if before and before.host != fields["host"]:
                data[f"{self.DEFAULT}:{before.host}"] = data[self.DEFAULT]
            kept: dict[str, Any] = {}
            replaced = [e for e in ours.values() if e.host == fields["host"]]  # under whatever key somebody put it
            for entry in replaced:
                kept.update(data.pop(entry.key))
            unknown = {name: value for name, value in kept.items() if name not in _KNOWN}
            secret = SECRETS & fields.keys()
            where = {"storage": "keyring"} if secret and self._storage() == "keyring" else {}
            entry = Entry(self.DEFAULT, fields["type"], fields["host"], {**unknown, **fields, **where})
            self._put(data, entry)
            if replaced:
                self._forget_journal(entry.host)
            for old in replaced:
                if old.is_in_keyring and not (entry.is_in_keyring and entry.type == old.type):
                    self._forget_secrets(old)

    def put(self, entry: Entry, changed: Mapping[str, Any], room: files.Draft | None = None) -> None:
        """Change fields of an entry that is there, under the lock."""
        self._put(self.read(), entry._replace(fields={**entry.fields, **changed}), room)

    def _put(self, data: dict[str, Any], entry: Entry, room: files.Draft | None = None) -> None:
        """Write an entry, its secrets to where it says that they are. The keyring comes first, and is put right again
        when the file cannot be written."""
        before, shown = data.get(entry.key), dict(entry.fields)
        if not entry.is_in_keyring:
            self.write({**data, entry.key: shown}, room)
            return
        from . import vault

        secret = _taken_out(shown)
        was = vault.get(self._account(entry), self.world)
        vault.put(self._account(entry), secret, self.world)
        if before == shown:
            return
        try:
            self.write({**data, entry.key: shown}, room)
        except ConfigError:
            if was is None:
                vault.remove(self._account(entry), self.world)
            else:
                vault.put(self._account(entry), was, self.world)
            raise

    def keep_in(self, storage: str) -> list[str]:
        """Move the secrets of our logins to the `keyring` or the `file`; returns the hosts whose secrets moved.

        What is moved is in both places until the file says where it is, so nothing is lost on the way. Raises
        ConfigError or Temporary, with everything where it was, when the keyring or the file is no use.
        """

        to_keyring = storage == "keyring"
        with self.locked():
            data = self.read()
            moving = [self.opened(e) for e in _entries(data) if e.is_in_keyring != to_keyring]
            moving = [e for e in moving if SECRETS & e.fields.keys()]
            if not moving:
                return []
            with self.room() as room:
                if to_keyring:
                    self._move_to_keyring(data, moving, room)
                else:
                    for entry in moving:
                        data[entry.key] = {k: v for k, v in entry.fields.items() if k != "storage"}
                    self.write(data, room)
                    for entry in moving:
                        self._forget_secrets(entry)
        return [entry.host for entry in moving]

    def _move_to_keyring(self, data: dict[str, Any], moving: list[Entry], room: files.Draft | None) -> None:
        from . import vault

        done = []
        try:
            for entry in moving:
                fields = dict(entry.fields)
                secret = _taken_out(fields)
                done.append(entry)
                vault.put(self._account(entry), secret, self.world)
                if vault.get(self._account(entry), self.world) != secret:
                    raise ConfigError("the keyring does not give back what it was given", hint="dbx-auth doctor")
                data[entry.key] = {**fields, "storage": "keyring"}
            self.write(data, room)
        except Temporary:  # and waiting for each of them would take as long again
            self.world.warn("the keyring may hold copies of your logins; set it again when it answers")
            raise
        except AuthError:
            for entry in done:
                self._forget_secrets(entry)
            raise

    def forget(self, host: str = "") -> list[str]:
        """Forget our logins for `host`, or all of ours; returns the hosts that were forgotten.

        Raises ConfigError or Temporary, with the entry as it was, when its secrets are in a keyring that is no use.
        """
        if not self.read():
            return []
        with self.locked():
            data = self.read()
            gone = [e for e in _entries(data) if host in ("", e.host)]
            for entry in gone:
                if entry.is_in_keyring:
                    self._forget_secrets(entry, must=True)
                del data[entry.key]
            if gone:
                self.write(data)
        for entry in gone:
            self._forget_journal(entry.host)
        return [entry.host for entry in gone]

    def _forget_journal(self, host: str) -> None:
        """Forget what was noted about a login that is over; of a host we have one."""
        from .journal import Journal

        Journal(self.world, self.refresh_locks(host)).forget()

    def _forget_secrets(self, entry: Entry, *, must: bool = False) -> None:
        """Take the secrets of an entry out of the keyring; where there is none any more, they are gone with it.

        Raises ConfigError or Temporary for one that is no use now, if they `must` go.
        """
        from . import vault

        try:
            vault.remove(self._account(entry), self.world)
        except AuthError as error:
            if must and not isinstance(error, vault.NoVault):
                raise
            self.world.warn(f"the keyring may still hold the login for {entry.host}: {error}")

    def refresh_locks(self, host: str) -> tuple[str, str]:
        return refresh_locks(self, OWN_FOLDER, host)

    @contextmanager
    def room_for(self, entry: Entry) -> Iterator[files.Draft | None]:
        """The space that a renewed grant of this entry will need, and the certainty that the file can be locked."""
        with self.locked(STORE_WAIT):
            pass
        if not entry.is_in_keyring:
            with self.room() as room:
                yield room
            return
        from . import vault

        vault.probe(self.world, sum(len(entry.text(name)) for name in SECRETS) + 200)
        yield None


SECRETS = frozenset(("access", "refresh", "expires", "key", "client_secret"))
"""What of an entry goes into the keyring; when a token ends goes with it, so that both change at once."""

# What an entry may say for itself; a new login replaces these and leaves the rest of the entry alone.
_KNOWN = SECRETS | frozenset(
    "type host scopes account_id workspace_id group_id client_id authority profile auth_type storage".split()
)


def _taken_out(fields: dict[str, Any]) -> dict[str, Any]:
    """The secrets of an entry, which are no longer among its fields."""
    return {name: fields.pop(name) for name in SECRETS & fields.keys()}


def _entries(data: Mapping[str, Any]) -> list[Entry]:
    found = [_entry(key, value) for key, value in data.items()]
    return sorted((e for e in found if e), key=lambda e: e.key)


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

    shared = False

    def __init__(self, file: AuthJson, wanted: Grant) -> None:
        self._file = file
        self._wanted = wanted
        self.origin = file.name

    def read(self) -> Grant | None:
        entry = self._entry()
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

    def refresh_locks(self) -> Sequence[str]:
        return self._file.refresh_locks(self._wanted.host)

    def joined(self, wait: float) -> AbstractContextManager[object]:
        return nullcontext()  # of this file nobody else knows, nor of what is in the keyring for it

    def room(self) -> AbstractContextManager[files.Draft | None]:
        entry = self._entry()
        return self._file.room_for(entry) if entry else self._file.room()

    def _entry(self) -> Entry | None:
        return self._file.find(self._wanted.host, "oauth")

    def write(self, spent: Grant, fresh: Grant, room: files.Draft | None = None) -> None:
        with self._file.locked(STORE_WAIT):
            entry = self._entry()
            if entry and entry.text("refresh") == spent.refresh:
                self._file.put(entry, grant_fields(fresh), room)


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
        super().__init__(world, os.path.join(world.home, ".databricks", "token-cache.json"), "token-cache.lock")

    def read(self) -> dict[str, Any]:
        data = super().read()
        if data and data.get("version") != self.VERSION:
            found = data.get("version")
            said = found if isinstance(found, int) else "something else"
            raise self.damaged(f"it needs version {self.VERSION}, and is version {said}")
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

    shared = True

    def __init__(self, file: CliCache, key: str, wanted: Grant) -> None:
        self._file = file
        self._key = key
        self._wanted = wanted
        self.origin = f"{file.name} [{key}]"
        self.joined: Callable[[float], AbstractContextManager[object]] = file.locked
        self.room = file.room

    def read(self) -> Grant | None:
        entry = self._file.tokens().get(self._key)
        return cli_grant(self._wanted, entry) if isinstance(entry, dict) else None

    def refresh_locks(self) -> Sequence[str]:
        return refresh_locks(self._file, CLI_FOLDER, self._wanted.host)

    def write(self, spent: Grant, fresh: Grant, room: files.Draft | None = None) -> None:
        """Also renews the entry's twin: the CLI writes a login under its profile and under its host, and the refresh
        token in both is spent at once.

        A program that takes no lock may write its old copy of the whole file over ours; then ours is written again.
        """
        with self._file.locked(STORE_WAIT):
            for number, pause in enumerate((*WRITTEN_OVER, None)):
                try:
                    data = self._file.read()
                except ConfigError:
                    if number == 0:
                        raise
                    return  # it was written, and now nobody can look
                if not (stale := _stale(data, spent, fresh)):
                    return
                if pause is None:
                    break
                for entry in stale:
                    entry.update(cli_fields(fresh))
                    if "expires_in" in entry and fresh.expires_at:
                        entry["expires_in"] = round(fresh.expires_at - self._file.world.now())
                self._file.write(data, room)
                room = None
                self._file.world.sleep(pause)
            raise Temporary(f"another program writes over {self.origin} again and again", hint="end it, and log in")


WRITTEN_OVER = (0.0, 0.025, 0.05, 0.1, 0.2)
"""Seconds between a write to a file that others write without a lock, and the look whether it is still there."""


def _stale(data: Mapping[str, Any], spent: Grant, fresh: Grant) -> list[dict[str, Any]]:
    """The entries that still hold what was spent."""
    return [
        entry
        for entry in data.get("tokens", {}).values()
        if isinstance(entry, dict)
        and spent.refresh
        and entry.get("refresh_token") == spent.refresh
        and (fresh.refresh != spent.refresh or entry.get("access_token") == spent.access)
    ]


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
