"""The secrets of our own logins in the system's keyring, through the library `keyring`.

Which backend of it is used may be chosen with PYTHON_KEYRING_BACKEND or keyringrc.cfg; both are trusted, and one that
keeps nothing, or keeps it for everybody to read, is refused. Nothing here opens a dialog where that can be helped, and
every call is over after 3 seconds (`keyrings.in_time`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AuthError, ConfigError, Temporary
from .keyrings import in_time
from .world import World

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "dbx-auth"
"""What we call ourselves in a keyring; the account beside it is the host of the login, its type, and which
data directory it is of."""

PROBE = "dbx-auth-probe"
"""The service of what is written only to be read back. Windows moves other entries of a service when one is written."""

FILE = "dbx-auth config set storage file"
"""What to type where the keyring is in the way."""

RETRY = f"unlock it and try again, or {FILE}"

LARGEST = 2560
"""Bytes of UTF-16 that one secret may have in the Credential Manager of Windows (CRED_MAX_CREDENTIAL_BLOB_SIZE)."""

Answer = TypeVar("Answer")


class NoVault(ConfigError):
    """There is no keyring that could keep a secret."""

    def __init__(self, why: str) -> None:
        super().__init__(f"there is no keyring to keep logins in: {why}", hint=FILE)


def get(account: str, world: World) -> dict[str, Any] | None:
    """What is kept for this account, None where nothing is.

    Raises Temporary when the keyring does not answer in time, NoVault where there is none, ConfigError when it is
    locked or holds something that is not ours.
    """
    secret = _ask(world, "read", lambda backend: backend.get_password(SERVICE, account))
    if secret is None:
        return None
    try:
        fields = json.loads(secret)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ConfigError(
            f"the keyring ({SERVICE}) holds something for {account} that is not a login of ours; it was left as it is",
            hint=f"dbx-auth login {account.partition(' ')[0]} --force",
        )
    return fields


def put(account: str, fields: Mapping[str, Any], world: World) -> None:
    """Keep `fields` for this account, as one, instead of what was there. Raises as `get`, and if they are too large."""
    secret = json.dumps(dict(fields), separators=(",", ":"))
    _ask(world, "written", lambda backend: _set(backend, SERVICE, account, secret))


def remove(account: str, world: World) -> bool:
    """Forget what is kept for this account; False where that is nothing. Raises as `get`."""
    return _ask(world, "written", lambda backend: _delete(backend, SERVICE, account))


def probe(world: World, size: int = 0) -> None:
    """Keep something of `size` characters, read it back and forget it; raises what keeping a login would raise."""
    import uuid

    account, secret = str(uuid.uuid4()), "probe".ljust(size, ".")

    def attempt(backend: KeyringBackend) -> None:
        try:
            _set(backend, PROBE, account, secret)
            if backend.get_password(PROBE, account) != secret:
                raise NoVault(f"{_name(backend)} does not give back what it was given")
        finally:
            _delete(backend, PROBE, account)

    _ask(world, "written", attempt)


def describe(world: World) -> str:
    """The backend that is used, by its full name, and who chose it if not the library. Raises as `get`."""
    from keyring.util import platform_

    found = _ask(world, "read", _described, check=_any)
    if world.env.get("PYTHON_KEYRING_BACKEND"):
        return f"{found}, chosen by PYTHON_KEYRING_BACKEND"
    config = str(platform_.config_root() / "keyringrc.cfg")
    return f"{found}, with {config}" if os.path.exists(config) else found


def is_there(world: World) -> bool:
    """Whether there is a keyring to keep secrets in, be it locked or slow."""
    try:
        _ask(world, "read", lambda backend: None, check=_refuse_useless)
    except NoVault:
        return False
    except Temporary:
        pass
    return True


def _ensure_usable(backend: KeyringBackend, world: World) -> None:
    _refuse_useless(backend, world)
    _ensure_open(backend)


def _any(backend: KeyringBackend, world: World) -> None:
    """Refuse none."""


def _ask(
    world: World,
    done: str,
    work: Callable[[KeyringBackend], Answer],
    check: Callable[[KeyringBackend, World], None] = _ensure_usable,
) -> Answer:
    """What `work` answers about the backend, in time. What goes wrong becomes one of our errors, without a secret."""
    try:
        # Here, so that the thread never is in the middle of it when time is up.
        import keyring
        from keyring.errors import InitError, KeyringLocked, NoKeyringError
    except ImportError as error:
        raise NoVault(f"the library {error.name} is not installed") from error

    def run() -> Answer:
        try:
            check(backend, world)
            return work(backend)
        except AuthError:
            raise
        except KeyringLocked as error:
            raise _locked() from error
        except InitError as error:
            raise Temporary(f"{_name(backend)} could not be reached", hint=RETRY) from error
        except NoKeyringError as error:
            raise NoVault(f"{_name(backend)} has none ({type(error).__name__})") from error
        except Exception as error:
            raise ConfigError(
                f"the keyring could not be {done}: {_name(backend)} says {type(error).__name__}", hint=FILE
            ) from None  # its text may hold what was to be kept

    try:
        # Two steps, because on a busy machine the first takes a good part of the time that the second has.
        backend = in_time("found", lambda: _chosen(keyring.get_keyring))
        return in_time(done, run)
    except Temporary as error:
        raise Temporary(str(error), hint=RETRY) from error


def _chosen(choose: Callable[[], KeyringBackend]) -> KeyringBackend:
    try:
        return choose()
    except Exception as error:  # whatever a module says that somebody named
        raise NoVault(
            f"the backend that PYTHON_KEYRING_BACKEND or keyringrc.cfg names cannot be used ({type(error).__name__})"
        ) from error


def _set(backend: KeyringBackend, service: str, account: str, secret: str) -> None:
    size = len(secret.encode("utf-16-le"))
    if size > LARGEST and any(_module(each) == "keyring.backends.Windows" for each in _parts(backend)):
        raise ConfigError(
            f"the login has {size} bytes, and the Credential Manager of Windows takes {LARGEST}", hint=FILE
        )
    backend.set_password(service, account, secret)


def _delete(backend: KeyringBackend, service: str, account: str) -> bool:
    if backend.get_password(service, account) is None:
        return False  # deleting what is not there is an error that looks like every other
    backend.delete_password(service, account)
    return True


# ---- which backend, and may it be used? ------------------------------------------------------------------------------


def _refuse_useless(backend: KeyringBackend, world: World) -> None:
    """Raise NoVault for a backend that keeps nothing, or keeps it in the clear."""
    parts = _parts(backend)
    if not parts or _module(parts[0]) == "keyring.backends.fail":
        bus = world.platform in ("darwin", "win32") or world.env.get("DBUS_SESSION_BUS_ADDRESS")
        why = "" if bus else "; this process has no session bus (DBUS_SESSION_BUS_ADDRESS is not set)"
        raise NoVault(f"the library keyring finds none{why}")
    if _module(parts[0]) == "keyring.backends.null":
        raise NoVault(f"{_name(parts[0])} keeps nothing")
    if any("Plaintext" in kind.__name__ for kind in type(parts[0]).__mro__):
        raise NoVault(f"{_name(parts[0])} keeps everything in a file that is not encrypted")


def _ensure_open(backend: KeyringBackend) -> None:
    """Raise ConfigError for a Secret Service that is locked: the library would have it ask a person for a password."""
    for part in _parts(backend):
        if _module(part) in ("keyring.backends.SecretService", "keyring.backends.libsecret"):
            _ensure_unlocked(getattr(part, "preferred_collection", "/org/freedesktop/secrets/aliases/default"))


def _ensure_unlocked(collection: str) -> None:
    import secretstorage

    try:
        with closing(secretstorage.dbus_init()) as connection:
            if secretstorage.Collection(connection, collection).is_locked():
                raise _locked()
    except secretstorage.ItemNotFoundException as error:
        raise NoVault("it has no collection that could hold a login") from error
    except (secretstorage.SecretServiceNotAvailableException, OSError) as error:
        raise NoVault("nobody on the session bus keeps secrets (DBUS_SESSION_BUS_ADDRESS)") from error


def _locked() -> ConfigError:
    return ConfigError("the keyring is locked", hint=f"unlock it and try again, or {FILE}")


def _parts(backend: KeyringBackend) -> list[KeyringBackend]:
    """The backend, or those that it asks one after the other."""
    return list(getattr(backend, "backends", (backend,)))


def _module(backend: KeyringBackend) -> str:
    return type(backend).__module__


def _name(backend: KeyringBackend) -> str:
    return f"{_module(backend)}.{type(backend).__qualname__}"


def _described(backend: KeyringBackend) -> str:
    return " then ".join(_files_of(each) for each in _parts(backend)) or _name(backend)


def _files_of(backend: KeyringBackend) -> str:
    """The full name of a backend, and the file that it is in unless the library brought it."""
    import sys

    name = _name(backend)
    if name.startswith("keyring.backends."):
        return name
    return f"{name} ({getattr(sys.modules.get(_module(backend)), '__file__', None) or 'in no file'})"
