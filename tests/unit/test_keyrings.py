"""The system's keyring in the CLI's bytes. That of Linux is asked in tests/e2e; here the other two have doubles."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine
from unit.far_side import Clock, is_locked

from dbx_auth import keyrings
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.keyrings import KeyringSlot, NoKeyring, add_command, decoded, envelope, for_login, user_lock
from dbx_auth.lock import Lock
from dbx_auth.store import PLAINTEXT, CliCache, CliSlot, Grant, cli_fields, storage_mode
from dbx_auth.world import World

WANTED = Grant(HOST, account_id="acc")


def grant(access: str = "at", refresh: str = "rt", **more: Any) -> Grant:
    return Grant(**{"host": HOST, "access": access, "refresh": refresh, "expires_at": 2e9 + 0.25, **more})


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A keyring that is a dictionary."""
    held: dict[str, str] = {}

    class Dictionary:
        def get(self, account: str) -> str | None:
            return held.get(account)

        def put(self, account: str, secret: str) -> None:
            if len(secret) > 1000:
                raise ConfigError("too large", hint="h")
            held[account] = secret

        def remove(self, account: str) -> bool:
            return held.pop(account, None) is not None

    monkeypatch.setattr(keyrings, "_backend", lambda world: Dictionary())
    return held


# ---- where the CLI keeps logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "file", "mode"),
    [
        (None, None, ""),
        (None, "", ""),
        ("plaintext", None, "plaintext"),
        (" SECURE\t", None, "secure"),
        (None, "Plaintext", "plaintext"),
        (None, "secure ; since v1", "secure"),
        ("plaintext", "secure", "plaintext"),
        ("", "secure", "secure"),
        ("  ", "secure", "secure"),
    ],
)
def test_the_environment_says_where_then_the_file(
    machine: Machine, env: str | None, file: str | None, mode: str
) -> None:
    if env is not None:
        machine.env["DATABRICKS_AUTH_STORAGE"] = env
    if file is not None:
        machine.write(machine.config, f"[__settings__]\nauth_storage = {file}\n")
    assert storage_mode(machine.world) == mode


@pytest.mark.parametrize("said", ["keyring", "secure plaintext", "none", "\x1b[1m"])
def test_another_word_is_refused_with_its_place(machine: Machine, said: str) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = said
    with pytest.raises(ConfigError, match="^DATABRICKS_AUTH_STORAGE: unknown storage mode") as error:
        storage_mode(machine.world)
    assert str(error.value).isprintable()
    machine.env.clear()
    machine.write(machine.config, f"[__settings__]\nauth_storage = {said}\n")
    with pytest.raises(ConfigError, match=r"^auth_storage in \[__settings__\] of ~/.databrickscfg: unknown"):
        storage_mode(machine.world)


def test_the_file_is_not_read_where_the_environment_says_it(machine: Machine) -> None:
    machine.write(machine.config, "nonsense")
    machine.env["DATABRICKS_AUTH_STORAGE"] = "secure"
    assert storage_mode(machine.world) == "secure"
    machine.env.clear()
    assert storage_mode(machine.world) == "", "whoever needs the file says what is wrong with it"


def test_a_new_login_goes_to_the_keyring_if_there_is_one(machine: Machine, held: dict[str, str]) -> None:
    assert for_login(machine.world) == ("secure", True)
    machine.env["DATABRICKS_AUTH_STORAGE"] = "secure"
    assert for_login(machine.world) == ("secure", False)
    machine.env["DATABRICKS_AUTH_STORAGE"] = "plaintext"
    assert for_login(machine.world) == ("plaintext", False)
    assert held == {}, "and of the trial nothing is left"


def test_without_a_keyring_it_goes_to_a_file_unless_that_was_ruled_out(machine: Machine) -> None:
    assert for_login(machine.world) == ("plaintext", True)
    machine.env["DATABRICKS_AUTH_STORAGE"] = "secure"
    with pytest.raises(ConfigError, match="DBUS_SESSION_BUS_ADDRESS is not set") as error:
        for_login(machine.world)
    assert error.value.hint == "export DATABRICKS_AUTH_STORAGE=plaintext"


def test_a_keyring_that_is_too_small_is_an_error_and_not_a_file(machine: Machine, held: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="too large"):
        for_login(machine.world, "x" * 1001)


# ---- is there one? ---------------------------------------------------------------------------------------------------


def test_whether_there_may_be_a_keyring_is_known_without_asking(machine: Machine, tmp_path: Path) -> None:
    assert not keyrings.is_there(machine.world)
    machine.env["XDG_RUNTIME_DIR"] = str(tmp_path)
    assert not keyrings.is_there(machine.world)
    (tmp_path / "bus").touch()
    assert keyrings.is_there(machine.world)
    machine.env.clear()
    machine.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/x"
    assert keyrings.is_there(machine.world)
    machine.env.clear()
    assert all(keyrings.is_there(machine.world._replace(platform=name)) for name in ("darwin", "win32"))


def test_asking_whether_there_is_one_loads_nothing() -> None:
    heavy = ["secretstorage", "jeepney", "keyring", "ctypes", "subprocess", "filelock", "uuid"]
    probe = f"""
import sys
from dbx_auth import keyrings, store
from dbx_auth.world import World
keyrings.is_there(World({{"XDG_RUNTIME_DIR": "/tmp"}}, "/nonexistent"))
store.storage_mode(World({{}}, "/nonexistent"))
print(*[name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], env={"PATH": ""}, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_the_socket_of_the_runtime_directory_is_an_address_whatever_its_name(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "a b;c,d"
    folder.mkdir()
    (folder / "bus").touch()
    machine.env["XDG_RUNTIME_DIR"] = str(folder)
    address = keyrings._bus(machine.world)
    from jeepney.bus import get_connectable_addresses  # type: ignore[import-untyped,unused-ignore]

    assert next(get_connectable_addresses(address)) == str(folder / "bus")


@pytest.mark.parametrize(
    "address", ["unix:path=/nonexistent/bus", "disabled:", "", "nonsense", "tcp:host=localhost,port=1", "unix:x=y", ";"]
)
def test_an_address_where_no_bus_is_means_no_keyring(machine: Machine, address: str) -> None:
    machine.env["DBUS_SESSION_BUS_ADDRESS"] = address
    for call in (
        lambda: keyrings.get("DEV", machine.world),
        lambda: keyrings.put("DEV", "s", machine.world),
        lambda: keyrings.remove("DEV", machine.world),
    ):
        with pytest.raises(NoKeyring) as error:
            call()
        assert error.value.hint == PLAINTEXT


def test_without_the_library_there_is_no_keyring(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/x"
    monkeypatch.setitem(sys.modules, "secretstorage", None)
    with pytest.raises(NoKeyring, match="secretstorage is not installed"):
        keyrings.get("DEV", machine.world)


# ---- no longer than it may take --------------------------------------------------------------------------------------


def test_what_never_answers_is_left_behind(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Hung:
        def get(self, account: str) -> str | None:
            never.wait()
            return "late"

    monkeypatch.setattr(keyrings, "_backend", lambda world: Hung())
    monkeypatch.setattr(keyrings, "LIMIT", 0.2)
    start = time.monotonic()
    with pytest.raises(Temporary, match="could not be read within 0.2 s") as error:
        keyrings.get("DEV", machine.world)
    assert time.monotonic() - start < 2 and PLAINTEXT in error.value.hint
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "keyring")
    never.set()


def test_it_is_three_seconds_as_for_the_cli() -> None:
    assert keyrings.LIMIT == 3.0


# ---- one grant -------------------------------------------------------------------------------------------------------


def test_an_entry_is_the_cli_s_to_the_byte() -> None:
    secret = envelope(cli_fields(grant()))
    expiry = json.loads(secret)["token"]["expiry"]
    assert (
        secret == f'{{"token":{{"access_token":"at","token_type":"Bearer","refresh_token":"rt","expiry":"{expiry}"}}}}'
    )


def test_a_grant_is_read_for_whom_it_is_wanted(machine: Machine, held: dict[str, str]) -> None:
    slot = KeyringSlot(machine.world, "DEV", WANTED)
    assert slot.read() is None and slot.origin == "the keyring (databricks-cli) [DEV]"
    held["DEV"] = envelope(cli_fields(grant()))
    assert slot.read() == grant(account_id="acc")


@pytest.mark.parametrize("secret", ["", "x", "[]", "{}", '{"token":null}', '{"token":[]}', "[" * 100_000])
def test_what_is_not_a_login_is_told_and_left(machine: Machine, held: dict[str, str], secret: str) -> None:
    held["DEV"] = secret
    with pytest.raises(ConfigError, match="under DEV that is not a login"):
        KeyringSlot(machine.world, "DEV", WANTED).read()
    assert held == {"DEV": secret}


def test_a_renewed_grant_replaces_the_spent_one_and_what_we_do_not_know_stays(
    machine: Machine, held: dict[str, str]
) -> None:
    held["DEV"] = json.dumps(
        {"profile_fingerprint": "f", "token": {**cli_fields(grant()), "new": [1], "expires_in": 1}}
    )
    held["PROD"] = envelope(cli_fields(grant()))
    slot = KeyringSlot(machine.world, "DEV", WANTED)
    with slot.joined(1.0), slot.room() as room:
        assert set(held) == {"DEV", "PROD"}, "the trial left nothing"
        slot.write(grant(), grant("at2", "rt2"), room)
    kept = json.loads(held["DEV"])
    assert kept["profile_fingerprint"] == "f" and kept["token"]["new"] == [1] and kept["token"]["expires_in"] > 1
    assert slot.read() == grant("at2", "rt2", account_id="acc")
    assert json.loads(held["PROD"])["token"]["access_token"] == "at", "in the keyring an entry has no twin"
    assert set(held) == {"DEV", "PROD"}


def test_what_was_logged_out_or_renewed_by_others_meanwhile_stays_so(machine: Machine, held: dict[str, str]) -> None:
    slot = KeyringSlot(machine.world, "DEV", WANTED)
    slot.write(grant(), grant("at2", "rt2"))
    assert held == {}
    held["DEV"] = envelope(cli_fields(grant("at3", "rt3")))
    slot.write(grant(), grant("at2", "rt2"))
    assert slot.read() == grant("at3", "rt3", account_id="acc")


def test_what_could_not_be_kept_is_known_before_it_is_asked_for(machine: Machine, held: dict[str, str]) -> None:
    held["DEV"] = "x" * 1001
    with pytest.raises(ConfigError, match="too large"), KeyringSlot(machine.world, "DEV", WANTED).room():
        pytest.fail("there is no room")
    del held["DEV"]
    with KeyringSlot(machine.world, "DEV", WANTED).room():
        assert held == {}


def test_while_it_is_renewed_the_lock_of_this_user_and_the_one_that_the_cli_takes_are_held(
    machine: Machine, held: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyring is there for every HOME of a user, and the CLI's lock lies in one."""
    monkeypatch.setattr(World, "runtime_dir", property(lambda world: str(tmp_path / "run")))
    held["DEV"] = envelope(cli_fields(grant()))
    slot = KeyringSlot(machine.world, "DEV", WANTED)
    of_user = user_lock(CliCache(machine.world), HOST).paths[0]
    of_cli = str(machine.home / ".databricks" / "token-cache.lock")
    assert of_user == str(tmp_path / "run" / (hashlib.sha256(HOST.encode()).hexdigest()[:16] + "-keyring.lock"))
    assert user_lock(CliCache(machine.world), HOST).what == f"the keyring's login for {HOST}"
    with slot.joined(1.0):
        assert is_locked(of_user) and is_locked(of_cli)
        slot.write(grant(), grant("at2", "rt2"))
        assert is_locked(of_user) and is_locked(of_cli)
    assert not is_locked(of_user) and not is_locked(of_cli)
    assert slot.shared, "the CLI renews it without a lock"
    for other in (of_user, of_cli):
        clock = Clock()
        waits = KeyringSlot(clock.into(machine.world), "DEV", WANTED)
        with Lock(World({}, "/nonexistent"), "it", [other]).held(), pytest.raises(Temporary), waits.joined(2.0):
            pytest.fail("two are inside")
        assert clock.passed == pytest.approx(2), "within the time that is given for both"
    assert not is_locked(of_user) and not is_locked(of_cli)


def test_two_logins_of_one_host_in_a_keyring_are_renewed_one_after_the_other(machine: Machine) -> None:
    first, second = (KeyringSlot(machine.world, name, WANTED).refresh_locks() for name in ("DEV", HOST))
    assert first == second == CliSlot(CliCache(machine.world), "DEV", WANTED).refresh_locks()


# ---- macOS -----------------------------------------------------------------------------------------------------------

SECURITY = """#!{python}
import json, shlex, sys
held, argv = {file!r}, sys.argv[1:]
data = json.load(open(held))
if argv == ["-i"]:
    line = sys.stdin.read()
    assert len(line) <= 4096
    (argv,) = map(shlex.split, line.splitlines())
if data.get("exit"):
    sys.exit(data["exit"])
verb, options = argv[0], argv[1:]
assert options[options.index("-s") + 1] == "databricks-cli"
if verb == "add-generic-password":
    assert sys.argv[1:] == ["-i"] and options[0] == "-U"
    data[options[4]] = options[6]
elif verb == "find-generic-password":
    if options[-1] not in data: sys.exit(44)
    assert options[-2] == "-wa"
    print(data[options[-1]])
elif verb == "delete-generic-password":
    if options[-1] not in data: sys.exit(44)
    del data[options[-1]]
json.dump(data, open(held, "w"))
"""


class Mac:
    """A machine with a `security` that keeps what it is told in a file."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.world = machine.world._replace(platform="darwin")
        self._file = folder / "held.json"
        self.hold({})
        self.program = folder / "security"
        self.program.write_text(SECURITY.format(python=sys.executable, file=str(self._file)))
        self.program.chmod(0o755)

    @property
    def held(self) -> Any:
        return json.loads(self._file.read_text())

    def hold(self, data: dict[str, Any]) -> None:
        self._file.write_text(json.dumps(data))


@pytest.fixture
def mac(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mac:
    mac = Mac(machine, tmp_path)
    monkeypatch.setattr(keyrings, "SECURITY", str(mac.program))
    return mac


ACCOUNTS = ["DEV", HOST, 'it\'s; $(rm) `x` "y" \\', "-w", "\u00fc \u6f22"]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_macos_keeps_reads_and_forgets(mac: Mac, account: str) -> None:
    assert keyrings.get(account, mac.world) is None and not keyrings.remove(account, mac.world)
    for secret in ('{"token":{"a":"\u00fc"}}', "second"):
        keyrings.put(account, secret, mac.world)
        assert mac.held == {account: "go-keyring-base64:" + base64.b64encode(secret.encode()).decode()}
        assert keyrings.get(account, mac.world) == secret
    assert keyrings.remove(account, mac.world) and mac.held == {}


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("go-keyring-base64:" + base64.b64encode(b'{"a":1}').decode(), '{"a":1}'),
        ("go-keyring-encoded:" + b'{"a":1}'.hex(), '{"a":1}'),
        ('{"a":1}', '{"a":1}'),
        ("go-keyring-base64:!", "go-keyring-base64:!"),
        ("go-keyring-encoded:zz", "go-keyring-encoded:zz"),
        ("", ""),
    ],
)
def test_every_spelling_that_was_ever_written_is_read(value: str, secret: str) -> None:
    assert decoded(value) == secret


def test_the_longest_command_is_the_cli_s() -> None:
    around = len(add_command("DEV", ""))
    fits = "x" * ((4096 - around) // 4 * 3)
    assert len(add_command("DEV", fits)) <= 4096
    with pytest.raises(ConfigError, match="takes 4096") as error:
        add_command("DEV", fits + "xxxx")
    assert error.value.hint == PLAINTEXT and "xxx" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (36, ConfigError, "locked"),
        (51, ConfigError, "locked"),
        (128, ConfigError, "locked"),
        (45, Temporary, "another process"),
        (1, NoKeyring, "ended with 1"),
    ],
)
def test_what_security_says_is_told(mac: Mac, code: int, kind: type[Exception], text: str) -> None:
    mac.hold({"exit": code})
    for call in (
        lambda: keyrings.get("DEV", mac.world),
        lambda: keyrings.put("DEV", "canary", mac.world),
        lambda: keyrings.remove("DEV", mac.world),
    ):
        with pytest.raises(kind, match=text) as error:
            call()
        assert "canary" not in str(error.value)
        assert isinstance(error.value, NoKeyring) == (kind is NoKeyring)


def test_without_security_there_is_no_keyring(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "SECURITY", "/nonexistent")
    with pytest.raises(NoKeyring, match="cannot be started"):
        keyrings.get("DEV", mac.world)


def test_security_behind_a_dialog_is_ended(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    mac.program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(30)\n")
    monkeypatch.setattr(keyrings, "LIMIT", 0.5)
    with pytest.raises(Temporary):
        keyrings.get("DEV", mac.world)


# ---- Windows ---------------------------------------------------------------------------------------------------------


class Advapi:
    """What advapi32.dll does with generic credentials."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.error = 0
        self.fails = 0
        self.free = 0

    def CredReadW(self, target: str, kind: int, flags: int, found: Any) -> int:
        assert (kind, flags) == (1, 0)
        if not self._can(target):
            return 0
        self.lent = self.held[target]
        found._obj.contents = self.lent
        return 1

    def CredWriteW(self, credential: Any, flags: int) -> int:
        assert flags == 0
        if self.fails:
            self.error = self.fails
            return 0
        given = credential._obj
        copy = type(given)()
        for name, _ in given._fields_:
            setattr(copy, name, getattr(given, name))
        self.blob = ctypes.create_string_buffer(ctypes.string_at(given.CredentialBlob, given.CredentialBlobSize))
        copy.CredentialBlob = ctypes.cast(self.blob, ctypes.POINTER(ctypes.c_ubyte))
        self.held[given.TargetName] = copy
        return 1

    def CredDeleteW(self, target: str, kind: int, flags: int) -> int:
        assert (kind, flags) == (1, 0)
        return int(self._can(target) and bool(self.held.pop(target)))

    def CredFree(self, found: Any) -> None:
        self.free += 1

    def _can(self, target: str) -> bool:
        self.error = self.fails or (0 if target in self.held else 1168)
        return not self.error


@pytest.fixture
def advapi(monkeypatch: pytest.MonkeyPatch) -> Iterator[Advapi]:
    library = Advapi()
    monkeypatch.setattr(keyrings, "advapi", lambda: library)
    monkeypatch.setattr(keyrings, "last_error", lambda: library.error)
    yield library


@pytest.fixture
def windows(machine: Machine, advapi: Advapi) -> World:
    return machine.world._replace(platform="win32")


def test_windows_keeps_reads_and_forgets(windows: World, advapi: Advapi) -> None:
    assert keyrings.get("DEV", windows) is None and not keyrings.remove("DEV", windows)
    secret = '{"token":{"a":"\u00fc"}}'
    keyrings.put("DEV", secret, windows)
    ((target, credential),) = advapi.held.items()
    assert (target, credential.TargetName, credential.UserName) == ("databricks-cli:DEV",) * 2 + ("DEV",)
    assert (credential.Type, credential.Persist, credential.Flags) == (1, 2, 0)
    assert ctypes.string_at(credential.CredentialBlob, credential.CredentialBlobSize) == secret.encode()
    assert keyrings.get("DEV", windows) == secret and advapi.free == 1, "what was lent is given back"
    assert keyrings.remove("DEV", windows) and advapi.held == {}


def test_what_is_too_large_for_windows_is_told(windows: World, advapi: Advapi) -> None:
    keyrings.put("DEV", "x" * 2560, windows)
    with pytest.raises(ConfigError, match="has 2562 bytes, and the keyring of this system takes 2560") as error:
        keyrings.put("DEV", "\u00fc" * 1281, windows)
    assert error.value.hint == PLAINTEXT and not isinstance(error.value, NoKeyring)


@pytest.mark.parametrize(("code", "text"), [(1312, "this session of Windows"), (5, "says 5")])
def test_what_windows_says_is_told(windows: World, advapi: Advapi, code: int, text: str) -> None:
    advapi.fails = code
    for call in (lambda: keyrings.get("DEV", windows), lambda: keyrings.remove("DEV", windows)):
        with pytest.raises(NoKeyring, match=text):
            call()
    with pytest.raises(NoKeyring, match=str(code)):
        keyrings.put("DEV", "s", windows)
