"""`dbx-auth config`, and where it makes logins rest: in a file, or in a keyring as a desktop has it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, OTHER, Machine
from secret_service import SecretService, secret_service, session_bus

from dbx_auth import keyrings, settings, vault
from dbx_auth.commands import config as verb

__all__ = ["secret_service", "session_bus"]

LOGIN = {
    "type": "oauth",
    "access": "at-canary",
    "refresh": "rt-canary",
    "expires": 4070908800000,
    "host": HOST,
    "theirs": [1],
}
KEY = {"type": "api", "key": "key-canary", "host": OTHER}
CANARIES = ("at-canary", "rt-canary", "key-canary")


@pytest.fixture
def file(machine: Machine) -> Path:
    return Path(settings.path(machine.world))


def editor(machine: Machine, code: str) -> dict[str, str]:
    """An editor that does something to the file that it is given."""
    script = machine.write(
        machine.home / "an editor.py", f"import sys, pathlib\nfile = pathlib.Path(sys.argv[-1])\n{code}"
    )
    return {"EDITOR": shlex.join([sys.executable, str(script), "--wait"])}


# ---- get, set, unset, list, path -------------------------------------------------------------------------------------


def test_a_setting_is_set_shown_and_taken_back(machine: Machine, file: Path) -> None:
    name = "models.my-endpoint.context"
    assert machine.spawn("config", "set", name, "200000") == (0, "", "")
    assert machine.spawn("config", "get", name) == (0, "200000\n", "")
    assert machine.spawn("config", "unset", name) == (0, "", "")
    gone = machine.spawn("config", "get", name)
    assert (gone.code, gone.out) == (1, "") and 'models."my-endpoint".context is not set' in gone.err
    assert machine.spawn("config", "unset", name) == (0, "", f"{name} was not set\n")
    assert machine.spawn("config", "path").out == f"{file}\n"


def test_the_profile_that_is_set_is_the_one_that_is_used(machine: Machine) -> None:
    machine.write(machine.config, f"[DEFAULT]\nhost = {OTHER}\ntoken = other\n[DEV]\nhost = {HOST}\ntoken = dev\n")
    assert machine.spawn("config", "set", "profile", "DEV") == (0, "", "")
    assert machine.spawn("token").out == "dev\n"
    machine.spawn("config", "unset", "profile")
    assert machine.spawn("token").out == "other\n"
    warned = machine.spawn("config", "set", "profile", "GONE")
    assert (warned.code, warned.err) == (0, "dbx-auth: warning: ~/.databrickscfg has no profile GONE yet\n")
    machine.write(machine.config, "nonsense")
    warned = machine.spawn("config", "set", "profile", "DEV")
    assert warned.code == 0 and "warning: ~/.databrickscfg cannot be understood: line 1" in warned.err


def test_the_list_has_every_setting_and_where_it_comes_from(machine: Machine, file: Path) -> None:
    machine.write(file, f'min_ttl = "15m"\nhosts."{HOST}".base_url = "https://gw.example.com"\noutptu = 1\n')
    found = machine.run("config", "list")
    rows = [line.split() for line in found.out.splitlines()]
    assert rows == [
        ["profile", "-", "default"],
        ["storage", "file", "default"],
        ["min_ttl", "15m", "file"],
        ["output", "text", "default"],
        ["color", "auto", "default"],
        [f'hosts."{HOST}".base_url', "https://gw.example.com", "file"],
    ]
    assert "line 3: there is no setting outptu; did you mean output?" in found.err
    listed = machine.run("config", "list", "-o", "json").json()
    assert (listed["version"], listed["path"]) == (1, str(file))
    assert [list(map(str, row.values())) for row in listed["settings"]][1:] == rows[1:]
    assert listed["settings"][0] == {"key": "profile", "value": None, "origin": "default"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("get", "colour"), "there is no setting colour; did you mean color?"),
        (("set", "min_ttl", "soon"), "min_ttl is a duration such as 900, 90s, 15m or 2h, not 'soon'"),
        (("set", "storage", "cloud"), "storage is file or keyring, not 'cloud'"),
        (("unset", "stroage"), "there is no setting stroage; did you mean storage?"),
        (("set", "profile"), "Missing argument 'VALUE'"),
    ],
)
def test_what_cannot_be_is_told_on_stderr_and_changes_nothing(
    machine: Machine, argv: tuple[str, ...], told: str
) -> None:
    refused = machine.run("config", *argv)
    assert (refused.code, refused.out) == (2, "") and told in refused.err and "hint: " in refused.err
    assert machine.files() == {}


@pytest.mark.parametrize(
    "argv",
    [
        ("list",),
        ("get", "color"),
        ("set", "color", "never"),
        ("unset", "color"),
        ("set", "storage", "keyring"),
        ("set", "storage", "file"),
        ("unset", "storage"),
    ],
    ids=" ".join,
)
def test_a_damaged_file_is_named_with_its_line_and_left(machine: Machine, file: Path, argv: tuple[str, ...]) -> None:
    machine.write(file, '# mine\ncolor = "auto"\nprofile = \n')
    machine.write(machine.auth_json, {"databricks": LOGIN})
    before = machine.files()
    refused = machine.spawn("config", *argv)
    assert (refused.code, refused.out) == (5, "")
    assert "~/.config/dbx-auth/config.toml is not TOML: " in refused.err and "line 3" in refused.err
    assert machine.files() == before


# ---- edit ------------------------------------------------------------------------------------------------------------


def test_the_editor_gets_a_file_that_says_what_can_be_set(machine: Machine, file: Path) -> None:
    env = editor(machine, "assert 'profile = ' in file.read_text() and sys.argv[1] == '--wait'")
    assert machine.spawn("config", "edit", **env) == (0, "", "")
    assert not file.exists(), "and of one that nobody changed nothing stays"
    env = editor(
        machine, "file.write_text(file.read_text() + 'color = \"never\"\\n'); file.chmod(0o644); print('drawn')"
    )
    edited = machine.spawn("config", "edit", **env)
    assert (edited.code, edited.out, edited.err) == (0, "", "drawn\n"), "what an editor draws is no data"
    assert machine.spawn("config", "get", "color").out == "never\n"
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_text().startswith(verb.NEW)


def test_every_example_in_a_new_file_would_be_right(machine: Machine, file: Path) -> None:
    lines = [line.removeprefix("# ") for line in verb.NEW.splitlines()]
    machine.write(file, "\n".join(line for line in lines if line.startswith("[") or " = " in line))
    assert settings.unknown(machine.world) == []
    said = {item.key.rpartition(".")[2] for item in settings.items(machine.world) if item.origin == "file"}
    assert said == {*map(str, settings.TOP), "family", "context", "base_url"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# mine\n[oh no", "is not TOML: "),
        ('# mine\nmin_ttl = "soon"', "line 2: min_ttl is a duration such as 900, 90s, 15m or 2h, not 'soon'"),
    ],
)
def test_what_a_person_wrote_stays_and_what_is_wrong_is_said(
    machine: Machine, file: Path, text: str, told: str
) -> None:
    machine.write(file, "# was\n")
    edited = machine.spawn("config", "edit", **editor(machine, f"file.write_text({text!r})"))
    assert (edited.code, edited.out) == (5, "") and told in edited.err and "line 2" in edited.err
    assert file.read_text() == text
    assert machine.spawn("config", "edit", **editor(machine, "file.write_text('color = \"never\"')")).code == 0


def test_an_editor_may_take_the_file_away_or_write_what_we_do_not_know(machine: Machine, file: Path) -> None:
    assert machine.spawn("config", "edit", **editor(machine, "file.unlink()")) == (0, "", "")
    assert not file.exists()
    told = machine.spawn("config", "edit", **editor(machine, "file.write_text('colr = 1')"))
    assert (told.code, told.out) == (0, "") and "line 1: there is no setting colr; did you mean color?" in told.err


def test_an_editor_that_fails_is_no_success(machine: Machine, file: Path) -> None:
    machine.write(file, "# mine\n")
    failed = machine.spawn("config", "edit", **editor(machine, "raise SystemExit(3)"))
    assert failed.code == 1 and "ended with 3" in failed.err and file.read_text() == "# mine\n"
    for command in ("/no/such/editor", "'"):
        absent = machine.spawn("config", "edit", VISUAL=command)
        assert absent.code == 5 and "hint: export " in absent.err and file.read_text() == "# mine\n"


def test_visual_comes_before_editor_and_no_shell_sees_either(machine: Machine) -> None:
    env = editor(machine, "sys.exit(7)")
    assert machine.spawn("config", "edit", VISUAL=env["EDITOR"], EDITOR="/no/such").code == 1
    told = machine.spawn("config", "edit", EDITOR="touch $HOME/ran;")
    assert told.code in (1, 5) and not (machine.home / "ran").exists()


def test_a_link_stays_a_link(machine: Machine, file: Path, tmp_path: Path) -> None:
    real = machine.write(tmp_path / "dotfiles" / "dbx.toml", "# mine\n")
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    assert machine.spawn("config", "set", "color", "never").code == 0
    assert machine.spawn("config", "edit", **editor(machine, "file.write_text(file.read_text() + '# x\\n')")).code == 0
    assert file.is_symlink() and real.read_text() == '# mine\ncolor = "never"\n# x\n'


def test_who_changes_the_storage_by_hand_hears_how_to_move_the_rest(machine: Machine) -> None:
    edited = machine.spawn("config", "edit", **editor(machine, "file.write_text('storage = \"keyring\"')"))
    assert (edited.code, edited.out) == (0, "")
    assert "to move the others: dbx-auth config set storage keyring" in edited.err


def test_processes_that_set_at_once_lose_nothing(machine: Machine, file: Path) -> None:
    machine.write(file, "# mine\n")
    changes = [(f"models.m{n}.context", str(n + 1)) for n in range(6)]
    children = [
        subprocess.Popen([sys.executable, "-m", "dbx_auth", "config", "set", *change], env=machine.child_env())
        for change in changes
    ]
    assert [child.wait(timeout=60) for child in children] == [0] * 6
    assert {name: str(facts["context"]) for name, facts in settings.models(machine.world).items()} == {
        name.split(".")[1]: value for name, value in changes
    }
    assert file.read_text().startswith("# mine\n")
    assert [path.name for path in file.parent.iterdir() if path.suffix not in (".lock", ".toml")] == []


# ---- where logins are kept -------------------------------------------------------------------------------------------


def at_rest(machine: Machine) -> str:
    """All that is on the disk of this machine, as text."""
    return "\n".join(content.decode(errors="replace") for content in machine.files().values())


def kept(service: SecretService, host: str) -> dict[str, Any]:
    (item,) = [i for i in service.items(service="dbx-auth") if i.attributes["username"].split()[0] == host]
    fields: dict[str, Any] = json.loads(item.secret)
    return fields


@pytest.mark.real
def test_logins_move_to_the_keyring_and_back(machine: Machine, file: Path, secret_service: SecretService) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN, f"databricks:{OTHER}": KEY, "opencode": {"key": "theirs"}})
    before = json.loads(machine.auth_json.read_text())
    moved = machine.spawn("config", "set", "storage", "keyring", **secret_service.env)
    assert (moved.code, moved.out) == (0, ""), moved.err
    assert moved.err.splitlines() == [
        f"moved the secrets of the login for {host} to the keyring" for host in (HOST, OTHER)
    ]
    assert kept(secret_service, HOST) == {name: LOGIN[name] for name in ("access", "refresh", "expires")}
    assert kept(secret_service, OTHER) == {"key": "key-canary"}
    assert not [word for word in CANARIES if word in at_rest(machine)]
    assert json.loads(machine.auth_json.read_text())["databricks"] == {
        "type": "oauth", "host": HOST, "theirs": [1], "storage": "keyring",
    }  # fmt: skip
    assert len(secret_service.items()) == 2, "and nothing is left of the trial"
    assert machine.spawn("token", **secret_service.env).out == "at-canary\n"
    assert machine.spawn("token", OTHER, **secret_service.env).out == "key-canary\n"
    again = machine.spawn("config", "set", "storage", "keyring", **secret_service.env)
    assert (again.code, again.err) == (0, "")
    back = machine.spawn("config", "unset", "storage", **secret_service.env)
    assert (back.code, back.out) == (0, "") and back.err.count("to auth.json") == 2
    assert json.loads(machine.auth_json.read_text()) == before and secret_service.items(service="dbx-auth") == []
    assert settings.storage(machine.world) == "file"


@pytest.mark.real
def test_nothing_moves_to_a_keyring_that_is_locked(machine: Machine, secret_service: SecretService) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN})
    secret_service.lock()
    before = machine.files()
    refused = machine.spawn("config", "set", "storage", "keyring", **secret_service.env)
    assert (refused.code, refused.out) == (5, "") and "the keyring is locked" in refused.err
    assert machine.files() == before


@pytest.mark.real
def test_secrets_in_a_keyring_that_is_locked_stay_there(machine: Machine, secret_service: SecretService) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN})
    assert machine.spawn("config", "set", "storage", "keyring", **secret_service.env).code == 0
    secret_service.lock()
    before = machine.files()
    for argv in (("config", "set", "storage", "file"), ("config", "unset", "storage")):
        refused = machine.spawn(*argv, **secret_service.env)
        assert (refused.code, refused.out) == (5, "") and "the keyring is locked" in refused.err
        assert "hint: unlock the keyring, or forget its logins: dbx-auth logout --all" in refused.err
    token = machine.spawn("token", **secret_service.env)
    assert token.code != 0 and token.out == "" and "the keyring is locked" in token.err
    assert machine.files() == before


@pytest.mark.real
@pytest.mark.parametrize("there", ["nobody keeps secrets", "no collection", "no bus"])
def test_a_keyring_that_is_absent_is_not_replaced_by_a_file(
    machine: Machine, session_bus: SecretService, there: str
) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN})
    before = machine.files()
    env = {} if there == "no bus" else (session_bus.start_empty() if there == "no collection" else session_bus).env
    refused = machine.spawn("config", "set", "storage", "keyring", **env)
    assert (refused.code, refused.out) == (5, "") and "there is no keyring to keep logins in" in refused.err
    assert "hint: dbx-auth config set storage file" in refused.err
    assert machine.files() == before
    assert machine.spawn("config", "set", "storage", "file", **env) == (0, "", "")
    assert machine.spawn("token", **env).out == "at-canary\n"


@pytest.mark.real
def test_a_keyring_that_hangs_is_left_after_three_seconds(machine: Machine, secret_service: SecretService) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN})
    secret_service.stop_answering()
    before = machine.files()
    start = time.monotonic()
    refused = machine.spawn("config", "set", "storage", "keyring", **secret_service.env)
    assert keyrings.LIMIT <= time.monotonic() - start < keyrings.LIMIT + 5
    assert (refused.code, refused.out) == (6, "") and "within 3 s" in refused.err
    assert "hint: unlock it and try again, or dbx-auth config set storage file" in refused.err
    assert machine.files() == before


@pytest.mark.real
@pytest.mark.parametrize("backend", ["null", "fail"])
def test_a_backend_that_keeps_nothing_gets_nothing(
    machine: Machine, secret_service: SecretService, backend: str
) -> None:
    machine.write(machine.auth_json, {"databricks": LOGIN})
    before = machine.files()
    env = {**secret_service.env, "PYTHON_KEYRING_BACKEND": f"keyring.backends.{backend}.Keyring"}
    assert machine.spawn("config", "set", "storage", "keyring", **env).code == 5
    assert machine.files() == before


LOCKED = """
import sys
import secretstorage
from dbx_auth import vault
from dbx_auth.errors import AuthError
from dbx_auth.world import World
asked = secretstorage.Collection.unlock
def unlock(self, *args, **more):
    print("asked a person")
    return asked(self, *args, **more)
secretstorage.Collection.unlock = unlock
if "unchecked" in sys.argv:
    vault._ensure_open = lambda backend: None
try:
    vault.get("https://x", World.system())
except AuthError as error:
    print(error)
"""


@pytest.mark.real
@pytest.mark.parametrize(("how", "asks"), [("checked", False), ("unchecked", True)])
def test_nobody_is_asked_for_the_password_of_a_keyring(
    machine: Machine, secret_service: SecretService, how: str, asks: bool
) -> None:
    """And the library would ask, where nobody looks first whether it is locked."""
    secret_service.lock()
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, how],
        env=machine.child_env(**secret_service.env),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("asked a person" in done.stdout) == asks and done.returncode == 0, done.stderr
    assert asks or done.stdout == "the keyring is locked\n"


DESCRIBED = "from dbx_auth import vault; from dbx_auth.world import World; w = World.system(); "


@pytest.mark.real
def test_the_keyring_of_a_desktop_is_found_by_its_name(machine: Machine, secret_service: SecretService) -> None:
    for env, told in (
        (secret_service.env, "keyring.backends.SecretService.Keyring True"),
        ({}, "keyring.backends.fail.Keyring False"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", DESCRIBED + "print(vault.describe(w), vault.is_there(w))"],
            env=machine.child_env(**env),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == f"{told}\n", done.stderr
    assert vault.SERVICE == "dbx-auth"
