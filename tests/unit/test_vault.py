"""Our logins in the system's keyring, with backends that are made for it; the real one is asked in tests/e2e."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordDeleteError, PasswordSetError
from machine import HOST, OTHER, Machine

from dbx_auth import keyrings, vault
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.vault import NoVault

FIELDS = {"access": "at-canary", "refresh": "rt-canary", "expires": 4070908800000}


# Their constructors have no types.
FAIL: Callable[[], KeyringBackend] = fail.Keyring
NULL: Callable[[], KeyringBackend] = null.Keyring
CHAINER: Callable[[], KeyringBackend] = chainer.ChainerBackend


class Memory(KeyringBackend):
    """A keyring that is a dictionary."""

    priority = -1  # nobody ever finds it who was not given it

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.written: list[tuple[str, int]] = []

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password
        self.written.append((service, len(password)))

    def delete_password(self, service: str, username: str) -> None:
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


class Raising(Memory):
    """One that says no to everything, in words that hold what it was given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_password(self, service: str, username: str) -> str | None:
        raise self.error

    def set_password(self, service: str, username: str, password: str) -> None:
        raise type(self.error)(f"{self.error} {password}")


class Forgetful(Memory):
    """One that keeps the first thousand characters."""

    def set_password(self, service: str, username: str, password: str) -> None:
        super().set_password(service, username, password[:1000])


class Hung(Memory):
    """One that answers after a while, as behind a dialog."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.wake = threading.Event()
        self.seconds = seconds

    def get_password(self, service: str, username: str) -> str | None:
        self.wake.wait(self.seconds)
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self.wake.wait(self.seconds)
        super().set_password(service, username, password)


class PlaintextKeyring(Memory):
    """As the one of the package keyrings.alt."""


class Encrypted(PlaintextKeyring):
    pass


Encrypted.__module__ = "keyrings.somebody"


class OfWindows(Memory):
    pass


OfWindows.__module__ = "keyring.backends.Windows"


class Chain(Memory):
    """One that asks others, as the library's own chainer does."""

    backends: list[KeyringBackend] = []


@pytest.fixture(autouse=True)
def _nobody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test makes the backend, the next one and its neighbours have what was there before."""
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)


@pytest.fixture
def memory() -> Memory:
    backend = Memory()
    keyring.set_keyring(backend)
    return backend


CALLS: dict[str, Callable[[Machine], object]] = {
    "get": lambda machine: vault.get(HOST, machine.world),
    "put": lambda machine: vault.put(HOST, FIELDS, machine.world),
    "remove": lambda machine: vault.remove(HOST, machine.world),
    "probe": lambda machine: vault.probe(machine.world),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# ---- what is kept ----------------------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_until_it_is_forgotten(machine: Machine, memory: Memory) -> None:
    assert vault.get(HOST, machine.world) is None
    assert not vault.remove(HOST, machine.world)
    vault.put(HOST, FIELDS, machine.world)
    vault.put(OTHER, {"key": "ünïcode"}, machine.world)
    assert vault.get(HOST, machine.world) == FIELDS and vault.get(OTHER, machine.world) == {"key": "ünïcode"}
    vault.put(HOST, {**FIELDS, "access": "at2"}, machine.world)
    assert vault.get(HOST, machine.world) == {**FIELDS, "access": "at2"}
    assert vault.remove(HOST, machine.world) and not vault.remove(HOST, machine.world)
    assert vault.get(HOST, machine.world) is None and vault.get(OTHER, machine.world) is not None


def test_the_tokens_of_a_login_are_one_item_so_that_they_change_at_once(machine: Machine, memory: Memory) -> None:
    vault.put(HOST, FIELDS, machine.world)
    assert memory.held.keys() == {("dbx-auth", HOST)} and len(memory.written) == 1
    assert json.loads(memory.held["dbx-auth", HOST]) == FIELDS


@pytest.mark.parametrize("secret", ["", "canary", "[]", "3", "null", '{"a":', "[" * 100_000])
def test_what_is_not_ours_is_told_and_left(machine: Machine, memory: Memory, secret: str) -> None:
    memory.held["dbx-auth", HOST] = secret
    with pytest.raises(ConfigError, match=f"holds something for {HOST} that is not a login of ours") as error:
        vault.get(HOST, machine.world)
    assert memory.held == {("dbx-auth", HOST): secret} and "canary" not in "".join(
        traceback.format_exception(error.value)
    )


def test_a_probe_is_as_long_as_what_comes_and_leaves_nothing(machine: Machine, memory: Memory) -> None:
    vault.put(HOST, FIELDS, machine.world)
    vault.probe(machine.world)
    vault.probe(machine.world, 2000)
    assert [size for service, size in memory.written if service != "dbx-auth"] == [5, 2000]
    assert memory.held.keys() == {("dbx-auth", HOST)}


def test_a_probe_finds_out_what_would_be_lost(machine: Machine) -> None:
    keyring.set_keyring(backend := Forgetful())
    vault.probe(machine.world, 1000)
    with pytest.raises(NoVault, match="does not give back what it was given"):
        vault.probe(machine.world, 1001)
    assert backend.held == {}


def test_a_probe_is_not_among_the_logins(machine: Machine, memory: Memory) -> None:
    """The Credential Manager moves the entry that a service has when another one is written."""
    vault.probe(machine.world)
    assert "dbx-auth" not in {service for service, _ in memory.written}


# ---- no longer than it may take --------------------------------------------------------------------------------------


@every_call
def test_what_never_answers_is_left_behind(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, call: Callable[[Machine], object]
) -> None:
    monkeypatch.setattr(keyrings, "LIMIT", 0.2)
    keyring.set_keyring(backend := Hung(60))
    start = time.monotonic()
    with pytest.raises(Temporary, match=r"could not be (read|written) within 0.2 s") as error:
        call(machine)
    assert time.monotonic() - start < 10 and vault.FILE in error.value.hint
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "keyring")
    backend.wake.set()


def test_without_the_limit_one_would_wait_with_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "LIMIT", 0.2)
    monkeypatch.setattr(vault, "in_time", lambda done, work: work())
    keyring.set_keyring(Hung(1))
    start = time.monotonic()
    assert vault.get(HOST, machine.world) is None and time.monotonic() - start >= 1


def test_looking_for_a_backend_is_part_of_the_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    wake = threading.Event()
    monkeypatch.setattr(keyrings, "LIMIT", 0.2)
    monkeypatch.setattr(keyring, "get_keyring", lambda: wake.wait(60))
    for call in CALLS.values():
        with pytest.raises(Temporary):
            call(machine)
    with pytest.raises(Temporary):
        vault.describe(machine.world)
    assert vault.is_there(machine.world), "slow is not absent"
    wake.set()


def test_it_is_three_seconds_as_everywhere() -> None:
    assert keyrings.LIMIT == 3.0


LEAVING = """
import sys, threading
import keyring
from keyring.backend import KeyringBackend
from dbx_auth import vault
from dbx_auth.errors import Temporary
from dbx_auth.world import World
class Hung(KeyringBackend):
    priority = -1
    def get_password(self, service, username): threading.Event().wait()
    def set_password(self, service, username, password): threading.Event().wait()
keyring.set_keyring(Hung())
if "unlimited" in sys.argv:
    vault.in_time = lambda done, work: work()
try:
    vault.get("https://x", World.system())
except Temporary as error:
    print(error)
"""


def test_a_process_ends_whatever_its_keyring_does(machine: Machine) -> None:
    argv = [sys.executable, "-c", LEAVING]
    start = time.monotonic()
    done = subprocess.run(argv, env=machine.child_env(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "within 3 s" in done.stdout
    assert time.monotonic() - start >= keyrings.LIMIT
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*argv, "unlimited"], env=machine.child_env(), capture_output=True, timeout=6)


# ---- backends that are no use ----------------------------------------------------------------------------------------


@every_call
def test_a_locked_keyring_is_an_error(machine: Machine, call: Callable[[Machine], object]) -> None:
    keyring.set_keyring(Raising(KeyringLocked("canary")))
    with pytest.raises(ConfigError, match="^the keyring is locked$") as error:
        call(machine)
    assert error.value.hint == "unlock it and try again, or dbx-auth config set storage file"
    assert not isinstance(error.value, NoVault) and vault.is_there(machine.world)


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        (FAIL, "the library keyring finds none"),
        (NULL, "keyring.backends.null.Keyring keeps nothing"),
        (PlaintextKeyring, "keeps everything in a file that is not encrypted"),
        (Encrypted, "keeps everything in a file that is not encrypted"),
        (lambda: Raising(NoKeyringError("canary")), r"has none \(NoKeyringError\)"),
        (Chain, "the library keyring finds none"),
    ],
    ids=["fail", "null", "plaintext", "a kind of plaintext", "none", "an empty chain"],
)
@every_call
def test_a_backend_that_keeps_nothing_or_keeps_it_for_all_is_refused(
    machine: Machine, call: Callable[[Machine], object], backend: Callable[[], KeyringBackend], why: str
) -> None:
    keyring.set_keyring(chosen := backend())
    with pytest.raises(NoVault, match=f"^there is no keyring to keep logins in: .*{why}") as error:
        call(machine)
    assert error.value.hint == "dbx-auth config set storage file" and "canary" not in str(error.value)
    assert getattr(chosen, "held", {}) == {}
    if not isinstance(chosen, Raising):
        assert not vault.is_there(machine.world)


@every_call
def test_a_backend_that_cannot_be_reached_may_be_in_a_while(
    machine: Machine, call: Callable[[Machine], object]
) -> None:
    keyring.set_keyring(Raising(InitError("canary")))
    with pytest.raises(Temporary, match="Raising could not be reached$"):
        call(machine)


@pytest.mark.parametrize("backend", [NULL, PlaintextKeyring])
def test_without_the_refusal_a_login_would_be_lost_or_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, backend: Callable[[], KeyringBackend]
) -> None:
    keyring.set_keyring(chosen := backend())
    monkeypatch.setattr(vault, "_refuse_useless", lambda backend, world: None)
    vault.put(HOST, FIELDS, machine.world)
    assert vault.get(HOST, machine.world) is None or getattr(chosen, "held", {})


def test_the_library_s_own_chain_of_none_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyring.backend.get_all_keyring", lambda: [])
    keyring.set_keyring(CHAINER())
    with pytest.raises(NoVault, match="finds none"):
        vault.put(HOST, FIELDS, machine.world)


def test_a_chain_is_what_its_first_link_is(machine: Machine) -> None:
    chain = Chain()
    keyring.set_keyring(chain)
    chain.backends = [Memory(), PlaintextKeyring(), NULL()]
    vault.put(HOST, FIELDS, machine.world)
    chain.backends = [PlaintextKeyring(), Memory()]
    with pytest.raises(NoVault, match="not encrypted"):
        vault.put(HOST, FIELDS, machine.world)


@pytest.mark.parametrize(
    "error", [PasswordSetError("canary"), RuntimeError("canary"), ValueError("canary"), OSError(5, "canary")]
)
@every_call
def test_whatever_else_it_says_is_told_without_its_words(
    machine: Machine, call: Callable[[Machine], object], error: Exception
) -> None:
    keyring.set_keyring(Raising(error))
    with pytest.raises(ConfigError, match=f"says {type(error).__name__}$") as told:
        call(machine)
    assert told.value.hint == vault.FILE
    assert "canary" not in "".join(traceback.format_exception(told.value))
    assert vault.is_there(machine.world)


def test_a_login_that_is_too_large_for_windows_is_refused_before_it_is_torn(machine: Machine) -> None:
    keyring.set_keyring(backend := OfWindows())
    room = 1280 - len(json.dumps({"key": ""}, separators=(",", ":")))
    vault.put(HOST, {"key": "x" * room}, machine.world)
    with pytest.raises(ConfigError, match="the login has 2562 bytes, and the Credential Manager of Windows takes 2560"):
        vault.put(HOST, {"key": "x" * (room + 1)}, machine.world)
    with pytest.raises(ConfigError, match="takes 2560"):
        vault.probe(machine.world, 1281)
    vault.probe(machine.world, 1280)
    assert [len(secret) for secret in backend.held.values()] == [1280]
    keyring.set_keyring(Memory())
    vault.put(HOST, {"key": "x" * 100_000}, machine.world)


@pytest.mark.parametrize("name", ["nonsense", "no.such.Module", "os.path", "keyring.backends.macOS.Keyring", ""])
def test_a_backend_that_somebody_named_and_is_not_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    with pytest.raises(NoVault, match="PYTHON_KEYRING_BACKEND or keyringrc.cfg names cannot be used"):
        vault.put(HOST, FIELDS, machine.world)
    assert not vault.is_there(machine.world)


def test_without_the_library_there_is_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(NoVault, match="the library keyring is not installed"):
        vault.put(HOST, FIELDS, machine.world)
    assert not vault.is_there(machine.world)


def test_a_secret_service_that_was_there_a_moment_ago(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("secretstorage")
    from keyring.backends import SecretService

    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    backend: Callable[[], KeyringBackend] = SecretService.Keyring
    keyring.set_keyring(backend())
    with pytest.raises(NoVault, match="nobody on the session bus keeps secrets"):
        vault.put(HOST, FIELDS, machine.world)


@pytest.mark.parametrize(
    ("platform", "env", "more"),
    [
        ("linux", {}, "; this process has no session bus (DBUS_SESSION_BUS_ADDRESS is not set)"),
        ("linux", {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}, ""),
        ("darwin", {}, ""),
    ],
)
def test_why_there_may_be_none_is_said(machine: Machine, platform: str, env: dict[str, str], more: str) -> None:
    machine.env.update(env)
    keyring.set_keyring(FAIL())
    with pytest.raises(NoVault) as error:
        vault.probe(machine.world._replace(platform=platform))
    assert str(error.value).endswith(f"the library keyring finds none{more}")


# ---- which one it is -------------------------------------------------------------------------------------------------


def test_the_doctor_hears_which_backend_it_is_and_who_chose_it(machine: Machine, memory: Memory) -> None:
    assert vault.describe(machine.world) == f"{Memory.__module__}.Memory ({__file__})"
    for chosen in (FAIL(), NULL()):
        keyring.set_keyring(chosen)
        assert vault.describe(machine.world) == f"{type(chosen).__module__}.Keyring"
    keyring.set_keyring(chain := Chain())
    chain.backends = [NULL(), FAIL()]
    assert vault.describe(machine.world) == "keyring.backends.null.Keyring then keyring.backends.fail.Keyring"
    machine.env["PYTHON_KEYRING_BACKEND"] = "x"
    assert vault.describe(machine.world).endswith("fail.Keyring, chosen by PYTHON_KEYRING_BACKEND")


def test_a_file_that_may_have_chosen_it_is_named(
    machine: Machine, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyring.util import platform_

    config = machine.write(machine.home / "keyringrc.cfg", "[backend]\n")
    monkeypatch.setattr(platform_, "config_root", lambda: machine.home)
    assert vault.describe(machine.world).endswith(f", with {config}")


def test_a_login_in_a_file_loads_no_keyring() -> None:
    probe = """
import sys
from dbx_auth import vault
print(*[name for name in ("keyring", "secretstorage", "jeepney", "uuid", "subprocess") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], env={"PATH": ""}, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")
