"""What `setup` knows of each client, and how it writes into what is not ours."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine

from dbx_auth import catalogue, clients, models, tokens
from dbx_auth.clients import File, Setup, formats, plan
from dbx_auth.commands import setup as verb
from dbx_auth.endpoints import Row
from dbx_auth.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHARED = {"plan", "formats"}
FILES = [name for name in clients.ORDER if isinstance(clients.load(name).what, File)]
SPACED = "/opt/my tools/dbx-auth"


def setup_on(machine: Machine, **more: Any) -> Setup:
    return Setup(machine.world, HOST, (SPACED,), ("--profile", "my DEV"), "my DEV", **more)


def wanted_of(name: str, machine: Machine, **more: Any) -> dict[str, Any]:
    what = clients.load(name).what
    assert isinstance(what, File)
    return what.wanted(setup_on(machine, **more))


# ---- every declaration -----------------------------------------------------------------------------------------------


def test_clients_are_modules_are_pages() -> None:
    modules = {
        path.stem for path in (ROOT / "dbx_auth" / "clients").iterdir() if path.stem not in ("__init__", "__pycache__")
    }
    assert modules - SHARED == {clients.module_of(name) for name in clients.ORDER}
    pages = {path.stem for path in (ROOT / "docs" / "clients").glob("*.md")}
    assert pages == {*clients.ORDER}


@pytest.mark.parametrize("name", clients.ORDER)
def test_a_declaration_is_complete(machine: Machine, name: str) -> None:
    client, setup = clients.load(name), setup_on(machine)
    assert client.title and client.title.isprintable()
    assert all(word and os.path.basename(word) == word for word in client.programs)
    assert client.programs or name == "openai-python"
    assert all(variable.isupper() and variable.isidentifier() for variable in client.shadows)
    lines = client.by_hand(setup)
    assert all(line.isprintable() and line[0] != " " and not line.endswith(".") for line in lines)
    if not isinstance(client.what, File):
        text = client.what.text(setup)
        assert text.strip() == text
        assert lines or name in ("curl", "databricks-sdk"), "whoever pastes something is told where"
    else:
        assert client.what.format in formats.FORMATS
        text = formats.FORMATS[client.what.format].merged("", client.what.wanted(setup))
        assert formats.FORMATS[client.what.format].parse(text) == client.what.wanted(setup)
        assert plan._at(client.what.wanted(setup), client.what.sign) is not plan._NOTHING
        assert os.path.isabs(client.what.path(machine.world))
    assert client.needs_gateway == (clients.GATEWAY in text)


@pytest.mark.parametrize("name", clients.ORDER)
def test_a_client_is_given_a_command_or_the_gateway_or_the_library(machine: Machine, name: str) -> None:
    """And the command is the absolute path with the profile that was chosen."""
    client, setup = clients.load(name), setup_on(machine)
    what = client.what
    said = json.dumps(what.wanted(setup)) if isinstance(what, File) else what.text(setup)
    said += "\n".join(client.by_hand(setup))
    if client.needs_gateway:
        assert "--profile 'my DEV'" in setup.serve and setup.key_file in setup.serve
    elif name == "openai-python":
        assert 'profile="my DEV"' in said
    elif name != "databricks-sdk":
        assert SPACED in said and "my DEV" in said
    assert "DATABRICKS_TOKEN" not in said or name == "dbt"


def test_no_two_clients_share_a_file(machine: Machine) -> None:
    paths = [clients.load(name).what.path(machine.world) for name in FILES]  # type: ignore[union-attr]
    assert len(set(paths)) == len(paths) == 6


@pytest.mark.parametrize("name", FILES)
def test_values_are_what_every_format_and_the_record_can_hold(machine: Machine, name: str) -> None:
    """Leaves are no null and no table, and the record reads back as it was written."""
    wanted = wanted_of(name, machine)
    leaves = dict(plan._leaves(wanted))
    assert leaves and not [place for place, value in leaves.items() if value is None]
    assert json.loads(json.dumps(wanted)) == wanted


@pytest.mark.parametrize("name", clients.ORDER)
def test_the_models_that_are_named_are_in_the_catalogue(machine: Machine, name: str) -> None:
    what = clients.load(name).what
    said = json.dumps(what.wanted(setup_on(machine))) if isinstance(what, File) else what.text(setup_on(machine))
    named = set(re.findall(r"databricks-(?:claude|gpt|gemini)-[\w.-]+", said))
    assert named <= {*catalogue.everything()}
    assert named or name in ("litellm", "databricks-sdk", "terraform", "dbt", "curl", "direnv", "mcp")


def test_a_client_asks_again_before_a_token_that_it_keeps_can_have_ended() -> None:
    assert clients.KEPT_MS / 1000 <= tokens.AIM - 60


def test_no_variable_that_we_set_is_one_that_shadows_us(machine: Machine) -> None:
    wanted = wanted_of("claude-code", machine)["env"]
    assert not {*wanted} & {*clients.load("claude-code").shadows}


# ---- where the files are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "env", "path"),
    [
        ("claude-code", {}, "~/.claude/settings.json"),
        ("claude-code", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/settings.json"),
        ("codex", {}, "~/.codex/config.toml"),
        ("codex", {"CODEX_HOME": "~/x"}, "~/x/config.toml"),
        ("opencode", {}, "~/.config/opencode/opencode.json"),
        ("opencode", {"XDG_CONFIG_HOME": "/x"}, "/x/opencode/opencode.json"),
        ("opencode", {"OPENCODE_CONFIG_DIR": "/d"}, "/d/opencode.json"),
        ("opencode", {"OPENCODE_CONFIG": "/d/mine.jsonc"}, "/d/mine.jsonc"),
        ("pi", {}, "~/.pi/agent/models.json"),
        ("pi", {"PI_CODING_AGENT_DIR": "/p"}, "/p/models.json"),
        ("gemini-cli", {}, "~/.gemini/.env"),
        ("gemini-cli", {"GEMINI_CLI_HOME": "/g"}, "/g/.gemini/.env"),
        ("zed", {}, "~/.config/zed/settings.json"),
        ("zed", {"XDG_CONFIG_HOME": "/x"}, "/x/zed/settings.json"),
    ],
    ids=str,
)
def test_a_file_is_where_the_client_looks_for_it(machine: Machine, name: str, env: dict[str, str], path: str) -> None:
    machine.env.update(env)
    what = clients.load(name).what
    assert isinstance(what, File) and what.path(machine.world) == machine.world.expand(path)


def test_opencode_s_file_with_comments_is_taken_where_there_is_one(machine: Machine) -> None:
    file = machine.write(machine.home / ".config" / "opencode" / "opencode.jsonc", "{}")
    what = clients.load("opencode").what
    assert isinstance(what, File) and what.path(machine.world) == str(file)


@pytest.mark.parametrize(
    ("platform", "env", "path"),
    [
        ("darwin", {"XDG_CONFIG_HOME": "/x"}, "~/.config/zed/settings.json"),
        ("win32", {"APPDATA": "/roaming"}, "/roaming/Zed/settings.json"),
    ],
)
def test_zed_s_file_is_elsewhere_on_other_systems(
    machine: Machine, platform: str, env: dict[str, str], path: str
) -> None:
    world = machine.world._replace(platform=platform, env=env)
    what = clients.load("zed").what
    assert isinstance(what, File) and what.path(world) == world.expand(path)


# ---- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
@pytest.mark.parametrize("name", ["claude-code", "pi", "mcp"])
def test_a_shell_takes_the_command_apart_as_it_was_meant(machine: Machine, name: str) -> None:
    what = clients.load(name).what
    said = what.wanted(setup_on(machine)) if isinstance(what, File) else json.loads(what.text(setup_on(machine)))
    found = {
        "claude-code": lambda: said["apiKeyHelper"],
        "pi": lambda: said["providers"]["databricks-gpt"]["apiKey"].removeprefix("!"),
        "mcp": lambda: said["mcpServers"]["databricks"]["headersHelper"],
    }[name]()
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {found}"], capture_output=True, text=True, check=True)
    verb = ["helper", "headers"] if name == "mcp" else ["token"]
    assert done.stdout.splitlines() == [SPACED, *verb, "--profile", "my DEV"]


def test_codex_gets_words_because_no_shell_runs_them(machine: Machine) -> None:
    auth = wanted_of("codex", machine)["model_providers"]["databricks"]["auth"]
    assert [auth["command"], *auth["args"]] == [SPACED, "token", "--profile", "my DEV"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([r"C:\Program Files\d\dbx-auth.exe", "token", "--profile", "DEV"],
         '"C:/Program Files/d/dbx-auth.exe" token --profile DEV'),
        ([r"C:\d\dbx-auth.exe", "token", "--profile", "my DEV"], '"C:/d/dbx-auth.exe" token --profile "my DEV"'),
        ([r"C:\p\python.exe", "-m", "dbx_auth", "serve", "--key-file", r"C:\k\g.key"],
         '"C:/p/python.exe" -m dbx_auth serve --key-file C:/k/g.key'),
        ([r"C:\d.exe", "--host", "https://x.y"], '"C:/d.exe" --host https://x.y'),
    ],
    ids=range(4),
)  # fmt: skip
def test_on_windows_a_command_is_quoted_for_each_shell_that_there_may_be(words: list[str], line: str) -> None:
    assert clients.quoted(words, "win32") == line


def test_elsewhere_it_is_quoted_as_shells_do() -> None:
    words = [SPACED, "token", "--profile", "it's"]
    assert shlex.split(clients.quoted(words, "linux")) == words


def test_dbx_auth_is_started_again_as_it_was_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a link, if it was by a link: that outlives a new version. Else by the PATH, else by Python itself."""
    real = machine.write(machine.home / "venv" / "dbx-auth", "#!/bin/sh\n")
    real.chmod(0o755)
    link = machine.home / "my bin" / "dbx-auth"
    link.parent.mkdir()
    link.symlink_to(real)
    machine.env["PATH"] = str(real.parent)
    monkeypatch.setattr(sys, "argv", [str(link), "setup"])
    assert verb.program(machine.world) == (str(link),)
    monkeypatch.setattr(sys, "argv", ["dbx-auth", "setup"])
    assert verb.program(machine.world) == (str(real),)
    monkeypatch.setattr(sys, "argv", ["/x/dbx_auth/__main__.py", "setup"])
    assert verb.program(machine.world) == (str(real),)
    machine.env["PATH"] = ""
    assert verb.program(machine.world) == (sys.executable, "-E", "-P", "-m", "dbx_auth")


@pytest.mark.parametrize("name", ["opencode", "pi", "zed"])
def test_models_are_those_that_the_workspace_was_seen_to_serve(machine: Machine, name: str) -> None:
    assert "databricks-gpt-5-2" in json.dumps(wanted_of(name, machine))
    rows = [Row("databricks-claude-sonnet-4-5", "llm/v1/chat")]
    seen = models.Listing(HOST, "workspace", 1.0, tuple(map(models.described, rows)))
    models._remember(models._cache(HOST, "me", machine.world), seen, machine.world)
    said = json.dumps(wanted_of(name, machine))
    assert "databricks-claude-sonnet-4-5" in said and "databricks-gpt-5-2" not in said


@pytest.mark.parametrize("guarded", [True, False])
def test_a_project_does_not_get_its_own_code_run_as_ours(machine: Machine, tmp_path: Path, guarded: bool) -> None:
    """A client runs its helper in the directory of the project."""
    machine.write(tmp_path / "dbx_auth" / "__init__.py", "print('code of the project')\nraise SystemExit\n")
    machine.env["PATH"] = ""
    words = [word for word in verb.program(machine.world) if guarded or word != "-P"]
    ran = subprocess.run(
        [*words, "--version"], cwd=tmp_path, env=machine.child_env(), stdout=subprocess.PIPE, text=True
    )
    assert (ran.stdout == "code of the project\n") != guarded


def test_model_calls_go_where_config_toml_says(machine: Machine) -> None:
    path = Path(machine.world.config_dir) / "config.toml"
    machine.write(path, f'[hosts."{HOST}"]\nbase_url = "https://gw.example.com/ai-gateway"\n')
    assert (
        wanted_of("claude-code", machine)["env"]["ANTHROPIC_BASE_URL"] == "https://gw.example.com/ai-gateway/anthropic"
    )
    assert wanted_of("codex", machine)["model_providers"]["databricks"]["base_url"].startswith("https://gw.example.com")


# ---- writing into files of others ------------------------------------------------------------------------------------

MINE = '{\n  // mine\n  "theirs": {"apiKey": "sk-canary-1234"}\n}\n'
OURS = {"helper": "h", "env": {"TOKEN": "gw-canary-5678"}}


def written(machine: Machine, file: Path, wanted: dict[str, Any] = OURS) -> plan.Change:
    return plan.write("c", str(file), "json", wanted, machine.world)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_a_file_keeps_its_mode_and_its_backup_is_private(machine: Machine, mode: int) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    file.chmod(mode)
    written(machine, file)
    assert file.stat().st_mode & 0o777 == mode
    backup = Path(f"{file}{plan.BACKUP}")
    assert backup.read_text() == MINE and backup.stat().st_mode & 0o777 == 0o600
    plan.undo("c", machine.world)
    assert file.stat().st_mode & 0o777 == mode and file.read_text() == MINE and not backup.exists()


def test_a_file_that_gets_a_secret_is_private_until_that_is_taken_back(machine: Machine) -> None:
    file = machine.write(machine.home / ".env", "A=1\n")
    file.chmod(0o644)
    for _ in range(2):
        plan.write("c", str(file), "dotenv", {"KEY": "gw-canary-5678"}, machine.world, private=True)
        assert file.stat().st_mode & 0o777 == 0o600
    plan.undo("c", machine.world)
    assert file.stat().st_mode & 0o777 == 0o644 and file.read_text() == "A=1\n"


@pytest.mark.parametrize("private", [True, False])
def test_a_mode_that_somebody_chose_since_stays(machine: Machine, private: bool) -> None:
    """And so does ours, where somebody has put more into the file meanwhile: it may be a secret."""
    file = machine.write(machine.home / ".env", "A=1\n")
    file.chmod(0o644)
    plan.write("c", str(file), "dotenv", {"KEY": "gw-canary-5678"}, machine.world, private=private)
    file.chmod(0o600)
    if private:
        machine.write(file, file.read_text() + "THEIRS=s3cret\n")
    plan.undo("c", machine.world)
    assert file.stat().st_mode & 0o777 == 0o600 and "KEY" not in file.read_text()


def test_a_link_stays_a_link_there_and_back(machine: Machine, tmp_path: Path) -> None:
    real = machine.write(tmp_path / "dotfiles" / "settings.json", MINE)
    link = machine.home / "settings.json"
    link.symlink_to(real)
    written(machine, link)
    assert link.is_symlink() and "helper" in real.read_text()
    plan.undo("c", machine.world)
    assert link.is_symlink() and real.read_text() == MINE and machine.files()["settings.json"] == MINE.encode()


def test_a_link_to_nothing_is_one_again(machine: Machine) -> None:
    link = machine.home / "settings.json"
    link.symlink_to(machine.home / "elsewhere" / "real.json")
    written(machine, link)
    assert json.loads(link.read_text()) == OURS
    plan.undo("c", machine.world)
    assert link.is_symlink() and not link.exists() and not (machine.home / "elsewhere").exists()


def test_the_backup_is_of_the_file_before_the_first_time(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    written(machine, file)
    written(machine, file, {"helper": "another", "more": 1})
    backup = Path(f"{file}{plan.BACKUP}")
    assert backup.read_text() == MINE
    assert sorted(machine.files()) == [
        ".local/share/dbx-auth/clients.json", "settings.json", f"settings.json{plan.BACKUP}"
    ]  # fmt: skip
    plan.undo("c", machine.world)
    assert file.read_text() == MINE


def test_what_somebody_added_between_two_writes_is_not_undone(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    written(machine, file)
    file.write_text(formats.jsonc.merged(file.read_text(), {"added": 1}))
    written(machine, file, {"helper": "another", "more": 1})
    written(machine, file, {"helper": "a third"})
    plan.undo("c", machine.world)
    assert formats.jsonc.parse(file.read_text()) == {**formats.jsonc.parse(MINE), "added": 1}


def test_who_puts_the_backup_back_by_himself_starts_anew(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    written(machine, file)
    file.write_text(MINE)
    written(machine, file, {"helper": "another"})
    plan.undo("c", machine.world)
    assert sorted(machine.files()) == [".local/share/dbx-auth/clients.json", "settings.json"]
    assert file.read_text() == MINE


def test_what_is_taken_for_a_backup_already_is_not_written_over(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    old = machine.write(Path(f"{file}{plan.BACKUP}"), "somebody's")
    written(machine, file)
    assert old.read_text() == "somebody's" and Path(f"{old}-2").read_text() == MINE
    plan.undo("c", machine.world)
    assert file.read_text() == MINE and old.exists() and not Path(f"{old}-2").exists()


def test_without_its_backup_our_keys_still_go(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    written(machine, file)
    os.unlink(f"{file}{plan.BACKUP}")
    plan.undo("c", machine.world)
    assert formats.jsonc.parse(file.read_text()) == formats.jsonc.parse(MINE) and "// mine" in file.read_text()


def test_a_file_that_somebody_removed_is_not_brought_back(machine: Machine) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    written(machine, file)
    file.unlink()
    [done] = plan.undo("c", machine.world)
    assert not done.is_changed and Path(done.backup).read_text() == MINE and not file.exists()
    assert plan.undo("c", machine.world) == []


def test_whoever_is_killed_before_the_write_has_lost_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is on the disk by then, so undo finds a file that is as it was, and tidies up."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    file = machine.write(machine.home / "settings.json", MINE)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            written(machine, file)
    assert file.read_text() == MINE
    [done] = plan.undo("c", machine.world)
    assert not done.is_changed and file.read_text() == MINE and not Path(f"{file}{plan.BACKUP}").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n"a": 1\n"b"', "line 3"),
        (b'{\n"a": "\xff"}', "is not UTF-8 text: line 2"),
        ('{"helper": {"x": 1}}', "helper is a table of keys there"),
        ('{"env": null}', "env is no table of keys there"),
        ('{"env": {"TOKEN": {}}}', "env.TOKEN is a table"),
        (b" " * (2 << 20), "larger than"),
    ],
    ids=range(6),
)
def test_what_cannot_be_changed_is_refused_and_left(machine: Machine, text: str | bytes, told: str) -> None:
    file = machine.write(machine.home / "settings.json", text)
    before = machine.files()
    with pytest.raises(ConfigError, match=told) as refused:
        written(machine, file)
    assert str(refused.value).startswith("~/settings.json ") and str(file) in refused.value.hint
    assert machine.files() == before


@pytest.mark.parametrize("wrong", ['{"theirs": 1}', '{"helper": "h"}', "{"])
def test_an_editor_that_errs_changes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    monkeypatch.setattr(formats.jsonc, "merged", lambda *_: wrong)
    with pytest.raises(ConfigError):
        written(machine, file)
    assert file.read_text() == MINE
    monkeypatch.setattr(plan, "_expect", lambda *_: None)
    written(machine, file)
    assert file.read_text() == wrong, "without the second look the file would be lost"


def test_the_difference_shows_no_secret(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = machine.write(machine.home / "settings.json", MINE)
    change = plan.planned(str(file), "json", OURS, machine.world)
    shown = plan.difference(change, machine.world)
    assert "canary" not in shown and shown.count("***") == 3 and '+  "helper": "h"' in shown
    monkeypatch.setattr(plan, "hidden", lambda line: line)
    assert plan.difference(change, machine.world).count("canary") == 3


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GEMINI_API_KEY=abcdefgh", "GEMINI_API_KEY=***"),
        ("export A_TOKEN='abcdefgh'  # x", "export A_TOKEN='***'  # x"),
        ('  "ANTHROPIC_AUTH_TOKEN": "abcdefgh",', '  "ANTHROPIC_AUTH_TOKEN": "***",'),
        ('{"apiKey": "abcdefgh", "x": 1}', '{"apiKey": "***", "x": 1}'),
        ('password = "abcdefgh"', 'password = "***"'),
        ('"Authorization": "Bearer abcdefgh"', '"Authorization": "Bearer ***"'),
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str, shown: str) -> None:
    assert plan.hidden(line) == shown


@pytest.mark.parametrize(
    "line",
    [
        '"apiKeyHelper": "/usr/bin/dbx-auth token --profile DEV",',
        '"apiKey": "!/usr/bin/dbx-auth token --profile DEV",',
        '"apiKey": "{file:/home/me/.config/dbx-auth/gateway.key}"}',
        '"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "240000"',
        '"max_tokens": 200000,',
        '"prompt_cache_key": false}',
        'args = ["token", "--profile", "DEV"]',
    ],
)
def test_what_is_none_is_shown(line: str) -> None:
    assert plan.hidden(line) == line


@pytest.mark.parametrize("content", ["[]", '{"files": []}', '{"files": {"/x": {}}}', '{"files": {"/x": 1}}', "{"])
def test_a_record_that_is_not_ours_is_refused_and_left(machine: Machine, content: str) -> None:
    record = machine.write(Path(machine.world.data_dir) / "clients.json", content)
    file = machine.write(machine.home / "settings.json", MINE)
    for refused in (lambda: written(machine, file), lambda: plan.undo("c", machine.world)):
        with pytest.raises(ConfigError, match=r"clients\.json cannot be used"):
            refused()
    assert file.read_text() == MINE and record.read_text() == content


def test_who_set_a_client_up_is_known(machine: Machine) -> None:
    file = machine.home / "settings.json"

    def standing() -> str:
        return plan.standing("c", str(file), "json", ("helper",), machine.world)

    seen: dict[str, Callable[[], object]] = {
        "no": lambda: None,
        "otherwise": lambda: machine.write(file, '{"helper": "theirs"}'),
        "dbx-auth": lambda: written(machine, file),
        "changed": lambda: machine.write(file, '{"helper": "theirs"}'),
        "unreadable": lambda: machine.write(file, "{"),
    }
    for word, step in seen.items():
        step()
        assert standing() == word
