"""A shared login, with the real parts: a Secret Service, and the SDKs for Python and JavaScript that are given it.

The Databricks CLI itself is not free software to install here; a program with its interface takes its place, which
reads the stores as the CLI does and shares no code with ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine, Result
from secret_service import SecretService, secret_service, session_bus

from dbx_auth import keyrings
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.keyrings import KeyringSlot, NoKeyring
from dbx_auth.profile import parse
from dbx_auth.sandbox import Sandbox
from dbx_auth.share import share, unshare
from dbx_auth.store import PLAINTEXT, Grant, cli_fields

__all__ = ["secret_service", "session_bus"]
pytestmark = pytest.mark.real

JS = Path(__file__).parents[1] / "js_sdk"

CLI = """#!{python}
import configparser, json, os, sys
argv = sys.argv[1:]
open({log!r}, "a").write(" ".join(argv) + chr(10))
if argv == ["version", "--output", "json"]:
    print(json.dumps(dict(Major=1, Minor=13, Patch=0)))
    sys.exit()
if argv == ["version"]:
    print("Databricks CLI v1.13.0")
    sys.exit()
assert argv[:2] == ["auth", "token"], argv
key = argv[argv.index("--profile" if "--profile" in argv else "--host") + 1]
config = configparser.ConfigParser()
config.read(os.path.expanduser("~/.databrickscfg"))
mode = os.environ.get("DATABRICKS_AUTH_STORAGE") or config.get("__settings__", "auth_storage", fallback="secure")
if mode == "plaintext":
    cache = json.load(open(os.path.expanduser("~/.databricks/token-cache.json")))
    assert cache["version"] == 1
    token = cache["tokens"].get(key)
else:
    import secretstorage
    path = "/org/freedesktop/secrets/collection/login"
    collection = secretstorage.Collection(secretstorage.dbus_init(), path)
    found = list(collection.search_items(dict(username=key, service="databricks-cli")))
    token = json.loads(found[0].get_secret())["token"] if found else None
if not token:
    sys.exit("Error: cache: databricks OAuth is not configured for this host.")
print(json.dumps(dict(access_token=token["access_token"], token_type=token["token_type"], expiry=token["expiry"])))
sys.exit()
"""

PYTHON = """
import json, sys
from databricks.sdk import WorkspaceClient
workspace = WorkspaceClient(profile=sys.argv[1])
seen = dict(authorization=workspace.config.authenticate()["Authorization"], auth_type=workspace.config.auth_type)
print(json.dumps(dict(seen, host=workspace.config.host, me=workspace.current_user.me().user_name)))
"""


class Desk:
    """A machine with the Databricks CLI on its path, and the SDKs to be asked who they are."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self._log = folder / "calls"
        program = folder / "databricks"
        text = CLI.format(python=sys.executable, log=str(self._log))
        program.write_text(text + "#" * (1 << 20))  # a smaller one is taken for the legacy CLI
        program.chmod(0o755)
        machine.env["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def calls(self) -> list[str]:
        """What the CLI was called with."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def python(self, profile: str) -> Result:
        if find_spec("databricks") is None:
            pytest.skip("needs databricks-sdk")
        return self._ask(sys.executable, "-c", PYTHON, profile)

    def javascript(self, profile: str) -> Result:
        node = shutil.which("node")
        if node is None or not (JS / "node_modules" / "@databricks").is_dir():
            pytest.skip("needs Node, and `npm ci` in tests/js_sdk")
        return self._ask(node, str(JS / "me.mjs"), profile)

    def _ask(self, *argv: str) -> Result:
        env = self.machine.child_env()
        env |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100)
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def desk(machine: Machine, tmp_path: Path) -> Desk:
    folder = tmp_path / "bin"
    folder.mkdir()
    return Desk(machine, folder)


SDKS = [Desk.python, Desk.javascript]
Sdk = Callable[[Desk, str], Result]


def login(sandbox: Sandbox) -> Grant:
    given = sandbox.add_login()
    return Grant(sandbox.url, given.access_token, given.refresh_token, given.expires_at)


def signed(sandbox: Sandbox, token: str, auth_type: str) -> dict[str, Any]:
    return {"authorization": f"Bearer {token}", "auth_type": auth_type, "host": sandbox.url, "me": sandbox.user}


# ---- what the SDKs make of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", SDKS)
def test_a_login_in_the_file_is_everybody_s(desk: Desk, sandbox: Sandbox, sdk: Sdk) -> None:
    before = sdk(desk, "DEV")
    assert before.code != 0, "the control: nobody is logged in yet"
    grant = login(sandbox)
    shared = share("DEV", {"host": sandbox.url}, grant, desk.machine.world)
    assert shared[0] == "~/.databricks/token-cache.json [DEV]"
    seen = sdk(desk, "DEV")
    assert seen.code == 0, seen.err
    assert seen.json() == signed(sandbox, grant.access, "databricks-cli")
    assert any(call.startswith("auth token --profile DEV") for call in desk.calls)

    unshare("DEV", sandbox.url, "", desk.machine.world)
    after = sdk(desk, "DEV")
    assert after.code != 0 and grant.access not in after.out + after.err


@pytest.mark.parametrize("sdk", SDKS)
def test_a_login_in_the_keyring_is_everybody_s(
    desk: Desk, sandbox: Sandbox, secret_service: SecretService, sdk: Sdk
) -> None:
    desk.machine.env.update(secret_service.env)
    grant = login(sandbox)
    shared = share("DEV", {"host": sandbox.url}, grant, desk.machine.world)
    assert shared[0] == "the keyring (databricks-cli) [DEV]" and not desk.machine.cli_cache.exists()
    assert parse(desk.machine.config.read_text())["__settings__"]["auth_storage"] == "secure"
    seen = sdk(desk, "DEV")
    assert seen.code == 0, seen.err
    assert (seen.json()["authorization"], seen.json()["me"]) == (f"Bearer {grant.access}", sandbox.user)

    assert unshare("DEV", sandbox.url, "", desk.machine.world) == shared[:1]
    assert sdk(desk, "DEV").code != 0


@pytest.mark.parametrize("sdk", SDKS)
def test_a_profile_that_had_another_login_has_this_one_now(desk: Desk, sandbox: Sandbox, sdk: Sdk) -> None:
    """Left beside it, the old token would win over the new login, or stop the SDK with two of them."""
    desk.machine.write(desk.machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = revoked\nclient_id = old\n")
    grant = login(sandbox)
    share("DEV", {"host": sandbox.url}, grant, desk.machine.world)
    seen = sdk(desk, "DEV")
    assert seen.code == 0, seen.err
    assert seen.json()["authorization"] == f"Bearer {grant.access}"


@pytest.mark.parametrize("sdk", SDKS)
def test_a_key_and_a_principal_are_everybody_s(desk: Desk, sandbox: Sandbox, sdk: Sdk) -> None:
    world = desk.machine.world
    share("KEY", {"host": sandbox.url, "token": sandbox.pat}, None, world)
    principal = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret, "auth_type": "oauth-m2m"}
    share("ROBOT", {"host": sandbox.url, **principal}, None, world)
    seen = sdk(desk, "KEY")
    assert seen.code == 0, seen.err
    assert (seen.json()["authorization"], seen.json()["me"]) == (f"Bearer {sandbox.pat}", sandbox.user)
    robot = sdk(desk, "ROBOT")
    assert robot.code == 0 and robot.json()["me"] not in (sandbox.user, None), robot.err
    assert desk.calls == [] and not desk.machine.cli_cache.exists()


def test_what_we_renew_the_sdk_gets_renewed(desk: Desk, sandbox: Sandbox) -> None:
    """The grant rests in one place, so nobody is left with a refresh token that is spent."""
    share("DEV", {"host": sandbox.url}, login(sandbox), desk.machine.world)
    renewed = desk.machine.spawn("-p", "DEV", "token", "--force-refresh")
    assert renewed.code == 0, renewed.err
    seen = desk.python("DEV")
    assert seen.code == 0 and seen.json()["authorization"] == f"Bearer {renewed.out.strip()}", seen.err


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("store", ["file", "keyring"])
def test_login_share_logs_in_the_sdks_and_logout_share_logs_them_out(
    desk: Desk, sandbox: Sandbox, browser: Path, request: pytest.FixtureRequest, sdk: Sdk, store: str
) -> None:
    run = desk.machine.spawn
    if store == "keyring":
        desk.machine.env.update(request.getfixturevalue("secret_service").env)
    logged_in = run("login", "--host", sandbox.url, "--method", "browser", "--share", "-p", "DEV")
    assert logged_in.code == 0, logged_in.err
    assert desk.machine.cli_cache.exists() == (store == "file")
    token = run("token", "-p", "DEV")
    assert token.code == 0, token.err
    seen = sdk(desk, "DEV")
    assert seen.code == 0, seen.err
    assert seen.json() == signed(sandbox, token.out.strip(), "databricks-cli")

    renewed = run("token", "--force-refresh")
    assert renewed.code == 0 and renewed.out != token.out, renewed.err
    assert sdk(desk, "DEV").json()["authorization"] == f"Bearer {renewed.out.strip()}"

    logged_out = run("logout", "-p", "DEV", "--share")
    assert logged_out.code == 0, logged_out.err
    assert sdk(desk, "DEV").code != 0 and run("token", "-p", "DEV").code == 4


@pytest.mark.parametrize("method", ["pat", "m2m"])
def test_login_share_writes_a_key_and_a_principal_for_the_sdks(desk: Desk, sandbox: Sandbox, method: str) -> None:
    secrets = {"pat": [sandbox.pat], "m2m": [sandbox.client_id, sandbox.client_secret]}[method]
    option = ["--with-token"] if method == "pat" else ["--method", "m2m"]
    logged_in = desk.machine.spawn(
        "login", "--host", sandbox.url, *option, "--share", "-p", "DEV", stdin="".join(f"{s}\n" for s in secrets)
    )
    assert logged_in.code == 0, logged_in.err
    assert not any(secret in logged_in.out + logged_in.err for secret in (sandbox.pat, sandbox.client_secret))
    seen = desk.python("DEV")
    assert seen.code == 0, seen.err
    assert (seen.json()["me"] == sandbox.user) == (method == "pat")


# ---- what a Secret Service makes of it -------------------------------------------------------------------------------

GRANT = Grant(HOST, "at-secret", "rt-secret", 2e9 + 0.25)


def test_an_item_is_the_one_the_cli_would_have_made(
    machine: Machine, secret_service: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    import secretstorage

    sent = []
    create = secretstorage.Collection.create_item

    def spy(*args: Any, **more: Any) -> Any:
        sent.append(more)
        return create(*args, **more)

    monkeypatch.setattr(secretstorage.Collection, "create_item", spy)
    machine.env.update(secret_service.env)
    for access in ("at1", "at2"):
        secret = keyrings.envelope(cli_fields(Grant(HOST, access, "rt", 2e9)))
        keyrings.put("DEV", secret, machine.world)
        (item,) = secret_service.items(service="databricks-cli")  # the second replaces the first
        assert item.secret == secret.encode()
    assert item.label == "Password for 'DEV' on 'databricks-cli'"
    own = {name: value for name, value in item.attributes.items() if name != "xdg:schema"}  # gnome-keyring may add it
    assert own == {"service": "databricks-cli", "username": "DEV"}
    # gnome-keyring forgets the content type and says text/plain of everything.
    assert item.content_type.startswith("text/plain")
    assert [more["content_type"] for more in sent] == ["text/plain; charset=utf8"] * 2


def test_libsecret_finds_it(machine: Machine, secret_service: SecretService) -> None:
    tool = shutil.which("secret-tool")
    if tool is None:
        pytest.skip("needs secret-tool")
    machine.env.update(secret_service.env)
    keyrings.put("DEV", "our secret", machine.world)
    lookup = [tool, "lookup", "service", "databricks-cli", "username", "DEV"]
    found = subprocess.run(lookup, env=machine.child_env(), capture_output=True, text=True, timeout=20)
    assert found.stdout == "our secret"


def test_what_another_client_put_there_is_found_and_forgotten(machine: Machine, secret_service: SecretService) -> None:
    machine.env.update(secret_service.env)
    secret_service.add("theirs", service="databricks-cli", username="DEV")
    secret_service.add("not it", service="databricks-cli", username="PROD")
    assert keyrings.get("DEV", machine.world) == "theirs"
    assert keyrings.remove("DEV", machine.world) and keyrings.get("DEV", machine.world) is None
    assert not keyrings.remove("DEV", machine.world)
    assert [item.secret for item in secret_service.items(service="databricks-cli")] == [b"not it"]


def test_a_grant_is_renewed_in_the_keyring(machine: Machine, secret_service: SecretService) -> None:
    machine.env.update(secret_service.env)
    slot = KeyringSlot(machine.world, "DEV", Grant(HOST))
    assert slot.read() is None
    keyrings.put("DEV", keyrings.envelope(cli_fields(GRANT)), machine.world)
    fresh = Grant(HOST, "at2", "rt2", 2e9 + 60)
    with slot.joined(5.0), slot.room() as room:
        assert slot.read() == GRANT
        slot.write(GRANT, fresh, room)
    assert slot.read() == fresh and len(secret_service.items(service="databricks-cli")) == 1


def test_the_session_bus_is_found_without_its_variable(machine: Machine, secret_service: SecretService) -> None:
    machine.env["XDG_RUNTIME_DIR"] = secret_service.env["XDG_RUNTIME_DIR"]
    assert keyrings.get("DEV", machine.world) is None


def test_a_locked_keyring_is_an_error_and_no_dialog_and_no_file(
    machine: Machine, secret_service: SecretService
) -> None:
    machine.env.update(secret_service.env)
    keyrings.put("DEV", "s", machine.world)
    secret_service.lock()
    start = time.monotonic()
    for call in (
        lambda: keyrings.get("DEV", machine.world),
        lambda: keyrings.get("absent", machine.world),
        lambda: keyrings.put("DEV", "s", machine.world),
        lambda: keyrings.remove("DEV", machine.world),
        lambda: share("DEV", {"host": HOST}, GRANT, machine.world),
    ):
        with pytest.raises(ConfigError, match="the keyring is locked") as error:
            call()
        assert PLAINTEXT in error.value.hint and not isinstance(error.value, NoKeyring)
    assert time.monotonic() - start < keyrings.LIMIT and machine.files() == {}


def test_a_bus_on_which_nobody_keeps_secrets_means_a_file(machine: Machine, session_bus: SecretService) -> None:
    machine.env.update(session_bus.env)
    with pytest.raises(NoKeyring, match="nobody on the session bus keeps secrets"):
        keyrings.get("DEV", machine.world)
    assert share("DEV", {"host": HOST}, GRANT, machine.world)[0] == "~/.databricks/token-cache.json [DEV]"
    assert parse(machine.config.read_text())["__settings__"]["auth_storage"] == "plaintext"


def test_a_keyring_that_never_held_anything_means_a_file(machine: Machine, session_bus: SecretService) -> None:
    """To make its first collection it would open a dialog."""
    machine.env.update(session_bus.start_empty().env)
    with pytest.raises(NoKeyring, match="no collection that could hold a login"):
        keyrings.put("DEV", "s", machine.world)
    assert share("DEV", {"host": HOST}, GRANT, machine.world)[0] == "~/.databricks/token-cache.json [DEV]"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        ("org.freedesktop.Secret.Error.IsLocked", ConfigError, "locked"),
        ("org.freedesktop.DBus.Error.AccessDenied", NoKeyring, "it answers org.freedesktop.DBus.Error.AccessDenied"),
        (None, Temporary, "session bus does not answer"),
    ],
)
def test_what_the_bus_refuses_is_told(
    machine: Machine,
    session_bus: SecretService,
    monkeypatch: pytest.MonkeyPatch,
    error: str | None,
    kind: type[Exception],
    text: str,
) -> None:
    import jeepney  # type: ignore[import-untyped,unused-ignore]

    def refuse(connection: Any) -> None:
        if error is None:
            raise TimeoutError
        path = jeepney.DBusAddress("/", "a.b", "c.d")
        raise jeepney.DBusErrorResponse(jeepney.new_error(jeepney.new_method_call(path, "m"), error, "s", ("canary",)))

    machine.env.update(session_bus.env)
    monkeypatch.setattr(keyrings, "_login_collection", refuse)
    with pytest.raises(kind, match=text) as told:
        keyrings.get("DEV", machine.world)
    assert isinstance(told.value, NoKeyring) == (kind is NoKeyring) and "canary" not in str(told.value)


def test_a_keyring_that_hangs_does_not_hold_the_process(machine: Machine, secret_service: SecretService) -> None:
    machine.env.update(secret_service.env)
    secret_service.stop_answering()
    ask = "from dbx_auth import keyrings; from dbx_auth.world import World; keyrings.get('DEV', World.system())"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ask], env=machine.child_env(), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1 and "Temporary: the keyring could not be read within 3 s" in done.stderr
    assert keyrings.LIMIT <= time.monotonic() - start < keyrings.LIMIT + 5
    with pytest.raises(Temporary):
        share("DEV", {"host": HOST}, GRANT, machine.world)
    assert machine.files() == {}, "slow is not absent"
