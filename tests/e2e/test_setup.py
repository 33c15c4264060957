"""`dbx-auth setup`: what a person sees, what is written, and that clients get tokens and models by it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine, Result

from dbx_auth import clients, shim
from dbx_auth.clients import File, Snippet
from dbx_auth.commands import setup as verb
from dbx_auth.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
FILES = [name for name in clients.ORDER if isinstance(clients.load(name).what, File)]
SNIPPETS = [name for name in clients.ORDER if isinstance(clients.load(name).what, Snippet)]
CLAUDE = '{\n  // mine\n  "model": "opus",\n}\n'


@pytest.fixture(autouse=True)
def _dev(machine: Machine) -> None:
    """A profile, and `dbx-auth` on the PATH, in a directory whose name has a blank."""
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-canary\n")
    _on_path(machine, "dbx-auth", f'exec {sys.executable} -m dbx_auth "$@"')
    machine.env["PATH"] = f"{machine.home / 'my bin'}{os.pathsep}{os.environ['PATH']}"


def _on_path(machine: Machine, name: str, line: str = "") -> Path:
    program = machine.write(machine.home / "my bin" / name, f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    return program


def file_of(machine: Machine, name: str) -> Path:
    what = clients.load(name).what
    assert isinstance(what, File)
    return Path(verb.path(what, machine.world))


def of_clients(machine: Machine) -> dict[str, bytes]:
    """What is there but for what is our own."""
    own = (".local/share/dbx-auth/", ".config/dbx-auth/")
    return {name: data for name, data in machine.files().items() if not name.startswith(own)}


# ---- what a person sees ----------------------------------------------------------------------------------------------


def test_without_a_terminal_the_change_is_shown_and_nothing_is_written(machine: Machine) -> None:
    machine.write(file_of(machine, "claude-code"), CLAUDE)
    before = machine.files()
    shown = machine.run("setup", "claude-code", "DEV")
    assert shown.code == 0 and machine.files() == before
    assert shown.out.startswith("--- ~/.claude/settings.json\n+++ ~/.claude/settings.json\n@@ -")
    assert '\n+  "apiKeyHelper": ' in shown.out and "// mine" not in shown.out, "what is around may be anybody's secret"
    assert "nothing was written; to write it: dbx-auth setup claude-code --profile DEV --write" in shown.err


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect drives no terminal on Windows")
@pytest.mark.real
@pytest.mark.parametrize(("answer", "is_written"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_a_person_is_asked(machine: Machine, answer: str, is_written: bool) -> None:
    import pexpect

    file = file_of(machine, "codex")
    argv = ["-m", "dbx_auth", "setup", "codex", "DEV"]
    env: Any = machine.child_env(TERM="xterm")
    person = pexpect.spawn(sys.executable, argv, env=env, encoding="utf-8", timeout=30, dimensions=(60, 120))
    try:
        person.expect(r"\+\[model_providers\.databricks\.auth\]")
        person.expect(r"write ~/\.codex/config\.toml\? \[y/N\]: ")
        person.sendline(answer)
        person.expect(pexpect.EOF)
    finally:
        person.close(force=True)
    assert file.exists() == is_written == (str(file) in person.before)


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_is_named_and_taken_back(machine: Machine, name: str) -> None:
    before, file = of_clients(machine), file_of(machine, name)
    key = Path(machine.world.config_dir) / "gateway.key"
    written = machine.run("setup", name, "DEV", "--write")
    named = [str(key), str(file)] if clients.load(name).needs_gateway else [str(file)]
    assert (written.code, written.out.splitlines()) == (0, named), written.err
    assert file.stat().st_mode & 0o777 == 0o600
    again = machine.run("setup", name, "DEV", "--write")
    assert (again.code, again.out) == (0, "") and f"{name} is set up already" in again.err
    assert machine.run("setup", name, "DEV").out == "", "and there is nothing to show any more"
    assert machine.run("setup", name, "--undo") == Result(0, f"{file}\n", "")
    assert of_clients(machine) == before
    gone = machine.run("setup", name, "--undo")
    assert (gone.code, gone.out) == (0, "") and f"nothing of ours is in the settings of {name}" in gone.err


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_there_is_as_it_was_after_undo(machine: Machine, name: str) -> None:
    texts = {"json": CLAUDE, "toml": '# mine\nmodel = "x" # y\n[z]\n', "dotenv": "# mine\nA=1\nGEMINI_MODEL=x\n"}
    what = clients.load(name).what
    assert isinstance(what, File)
    file = machine.write(file_of(machine, name), texts[what.format])
    before = of_clients(machine)
    assert machine.run("setup", name, "DEV", "--write").code == 0
    assert "mine" in file.read_text() and of_clients(machine) != before
    assert machine.run("setup", name, "--undo").code == 0
    assert of_clients(machine) == before


def test_who_changed_the_file_keeps_the_change(machine: Machine) -> None:
    file = machine.write(file_of(machine, "claude-code"), CLAUDE)
    machine.run("setup", "claude-code", "DEV", "--write")
    file.write_text(file.read_text().replace('"opus"', '"sonnet"'))
    undone = machine.run("setup", "claude-code", "--undo")
    assert undone.code == 0 and file.read_text() == CLAUDE.replace("opus", "sonnet")
    assert f"was changed since; as it was before us it is in {file}.dbx-auth-backup" in undone.err


def test_another_profile_takes_the_place_of_the_first_and_undo_leads_back_behind_both(machine: Machine) -> None:
    machine.config.write_text(machine.config.read_text() + f"[PROD]\nhost = {HOST}\ntoken = dapi-canary\n")
    file = machine.write(file_of(machine, "claude-code"), CLAUDE)
    for profile in ("DEV", "PROD"):
        assert machine.run("setup", "claude-code", profile, "--write").out == f"{file}\n"
        assert f"token --profile {profile}" in file.read_text()
    machine.run("setup", "claude-code", "--undo")
    assert file.read_text() == CLAUDE


@pytest.mark.parametrize("name", clients.ORDER)
def test_print_asks_nothing_and_writes_nothing(machine: Machine, name: str) -> None:
    before = machine.files()
    printed = machine.run("setup", name, "DEV", "--print")
    assert printed.code == 0 and printed.out.strip() and machine.files() == before
    assert "canary" not in printed.out + printed.err
    if name in SNIPPETS:
        assert machine.run("setup", name, "DEV").out == printed.out


@pytest.mark.parametrize("name", SNIPPETS)
@pytest.mark.parametrize("how", ["--write", "--undo"])
def test_a_client_without_a_file_of_its_own_is_not_written_to(machine: Machine, name: str, how: str) -> None:
    before = machine.files()
    refused = machine.run("setup", name, "DEV", how)
    assert (refused.code, refused.out) == (2, "") and f"{name} has no file for us to write" in refused.err
    assert f"hint: dbx-auth setup {name} --print" in refused.err and machine.files() == before


def test_the_sdks_are_given_a_program_and_it_is_taken_away_again(machine: Machine) -> None:
    before = machine.files()
    place = shim.place(machine.world)
    written = machine.run("setup", "databricks-sdk", "DEV", "--write")
    assert (written.code, written.out) == (0, f"{place}\n") and f"DATABRICKS_CLI_PATH={place}" in written.err
    said = subprocess.run([place, "version"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith("Databricks CLI v")
    assert machine.run("setup", "databricks-sdk", "DEV", "--write").out == f"{place}\n", "twice is as good as once"
    assert " DEV ''" in Path(place).read_text()[:400], "it answers for who was named"
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "DEV"
    machine.run("setup", "databricks-sdk", "--write")
    assert " '' ''" in Path(place).read_text()[:400], "and for everybody again"
    assert machine.run("setup", "databricks-sdk", "--undo").out == f"{place}\n"
    assert machine.files() == before
    assert "nothing of ours is there" in machine.run("setup", "databricks-sdk", "--undo").err


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        ((), 2, "no client was named"),
        (("codex", "DEV", "--write", "--undo"), 2, "--write, --print, --undo and --list contradict each other"),
        (("emacs",), 2, "'emacs' is not one of 'claude-code', 'codex'"),
        (("codex", "NONE"), 2, "NONE is neither a profile nor a host"),
        (("codex",), 4, "no host to set a client up for"),
    ],
)
def test_what_does_not_fit_is_told(machine: Machine, argv: tuple[str, ...], code: int, told: str) -> None:
    refused = machine.run("setup", *argv)
    assert (refused.code, refused.out) == (code, "") and told in refused.err and "hint: " in refused.err


def test_a_file_that_cannot_be_understood_is_named_with_its_line_and_left(machine: Machine) -> None:
    machine.write(file_of(machine, "opencode"), '{\n  "provider": {,}\n}')
    before = machine.files()
    refused = machine.run("setup", "opencode", "DEV", "--write")
    assert (refused.code, refused.out) == (5, "") and machine.files() == before, "and no key was made"
    assert "~/.config/opencode/opencode.json cannot be changed, and was left as it is: line 2: " in refused.err


def test_what_wins_over_it_is_told(machine: Machine) -> None:
    machine.env["ANTHROPIC_API_KEY"] = "sk-canary"
    told = machine.run("setup", "claude-code", "DEV", "--write")
    assert "warning: claude-code takes ANTHROPIC_API_KEY from the environment instead" in told.err
    assert "hint: unset ANTHROPIC_API_KEY" in told.err and "canary" not in told.out + told.err


def test_the_key_of_the_gateway_is_shared_and_shown_to_nobody(machine: Machine) -> None:
    machine.run("setup", "opencode", "DEV", "--write")
    file = Path(machine.world.config_dir) / "gateway.key"
    key = file.read_text().strip()
    assert len(key) >= 32 and file.stat().st_mode & 0o777 == 0o600
    for how in ((), ("--print",), ("--write",)):
        said = machine.run("setup", "gemini-cli", "DEV", *how)
        assert key not in said.out + said.err
    assert f"GEMINI_API_KEY={key}\n" in file_of(machine, "gemini-cli").read_text()
    assert key not in file_of(machine, "opencode").read_text()


def test_the_list_tells_what_is_there(machine: Machine) -> None:
    program = _on_path(machine, "claude")
    machine.env["ANTHROPIC_AUTH_TOKEN"] = "x"
    machine.write(file_of(machine, "codex"), 'model_provider = "theirs"\n')
    machine.write(file_of(machine, "pi"), "{")
    machine.run("setup", "claude-code", "DEV", "--write")
    listed = machine.run("setup", "--list", "-o", "json").json()
    rows = {row["name"]: row for row in listed["clients"]}
    assert listed["version"] == 1 and list(rows) == list(clients.ORDER)
    assert rows["claude-code"] == {
        "name": "claude-code",
        "title": "Claude Code",
        "installed": str(program),
        "configured": "dbx-auth",
        "file": str(file_of(machine, "claude-code")),
        "shadowed_by": ["ANTHROPIC_AUTH_TOKEN"],
    }
    said = {name: rows[name]["configured"] for name in ("codex", "pi", "zed", "curl")}
    assert said == {"codex": "otherwise", "pi": "unreadable", "zed": "no", "curl": None}
    assert rows["openai-python"]["installed"] is None and rows["zed"]["installed"] == ""
    lines = [line.split() for line in machine.run("setup", "--list").out.splitlines()]
    assert lines[1] == ["claude-code", "yes", "dbx-auth", "ANTHROPIC_AUTH_TOKEN"]
    assert len(lines) == len(clients.ORDER) + 1


def test_the_list_is_the_same_to_whoever_has_nothing(machine: Machine) -> None:
    machine.config.unlink()
    assert machine.run("setup", "--list").code == 0 and machine.run("setup", "codex", "--undo").code == 0


def test_help_names_every_client(machine: Machine) -> None:
    shown = machine.run("setup", "--help").out
    assert all(re.search(rf"(^|[\s,]){name}[\s,.]", shown) for name in clients.ORDER)


# ---- clients get what they need by it --------------------------------------------------------------------------------


@pytest.fixture
def workspace(machine: Machine, sandbox: Sandbox) -> Sandbox:
    """The profile DEV is for the sandbox."""
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    return sandbox


def in_a_shell(machine: Machine, line: str, **env: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env=machine.child_env(**env),
        cwd=machine.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_helper_of_claude_code_prints_the_token(machine: Machine, workspace: Sandbox) -> None:
    """As its own shell runs it, from a path with a blank, and with nothing of ours in the environment."""
    machine.run("setup", "claude-code", "DEV", "--write")
    said = json.loads(file_of(machine, "claude-code").read_text())
    assert str(machine.home / "my bin" / "dbx-auth") in said["apiKeyHelper"]
    assert in_a_shell(machine, said["apiKeyHelper"], PATH="/usr/bin:/bin") == f"{workspace.pat}\n"
    assert said["env"]["ANTHROPIC_BASE_URL"] == f"{workspace.url}/serving-endpoints/anthropic"


def test_a_call_as_claude_code_makes_it_is_answered(machine: Machine, workspace: Sandbox) -> None:
    import anthropic

    machine.run("setup", "claude-code", "DEV", "--write")
    said = json.loads(file_of(machine, "claude-code").read_text())
    token = in_a_shell(machine, said["apiKeyHelper"]).strip()
    name, _, value = said["env"]["ANTHROPIC_CUSTOM_HEADERS"].partition(": ")
    with anthropic.Anthropic(
        base_url=said["env"]["ANTHROPIC_BASE_URL"], auth_token=token, default_headers={name: value}, max_retries=0
    ) as client:
        for model in ("OPUS", "SONNET", "HAIKU"):
            answer = client.messages.create(
                model=said["env"][f"ANTHROPIC_DEFAULT_{model}_MODEL"],
                max_tokens=100,
                messages=[{"role": "user", "content": "Hello"}],
            )
            assert [block.text for block in answer.content if block.type == "text"] == ["You said: Hello"]


def test_a_call_as_codex_makes_it_is_answered(machine: Machine, workspace: Sandbox) -> None:
    import tomllib

    import openai

    machine.run("setup", "codex", "DEV", "--write")
    said = tomllib.loads(file_of(machine, "codex").read_text())
    provider = said["model_providers"][said["model_provider"]]
    words = [provider["auth"]["command"], *provider["auth"]["args"]]
    done = subprocess.run(words, env=machine.child_env(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    token = done.stdout.decode().strip()
    assert token == workspace.pat, done.stderr
    with openai.OpenAI(base_url=provider["base_url"], api_key=token, max_retries=0) as client:
        assert client.responses.create(model=said["model"], input="Hello").output_text == "You said: Hello"


def test_a_call_as_pi_makes_it_is_answered(machine: Machine, workspace: Sandbox) -> None:
    import anthropic
    import openai

    machine.run("setup", "pi", "DEV", "--write")
    said = json.loads(file_of(machine, "pi").read_text())["providers"]
    claude, gpt = said["databricks-claude"], said["databricks-gpt"]
    token = in_a_shell(machine, claude["apiKey"].removeprefix("!")).strip()
    with anthropic.Anthropic(
        base_url=claude["baseUrl"], auth_token=token, default_headers=claude["headers"], max_retries=0
    ) as client:
        asked = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
        assert client.messages.create(model="databricks-claude-sonnet-4-5", **asked).content  # type: ignore[call-overload]
    with openai.OpenAI(base_url=gpt["baseUrl"], api_key=token, max_retries=0) as other:
        assert other.responses.create(model="databricks-gpt-5", input="Hello").output_text == "You said: Hello"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_line_for_curl_works(machine: Machine, workspace: Sandbox) -> None:
    line = machine.run("setup", "curl", "DEV", "--print").out
    assert json.loads(in_a_shell(machine, line))["userName"] == workspace.user


def test_the_line_for_direnv_sets_the_environment(machine: Machine, workspace: Sandbox) -> None:
    line = machine.run("setup", "direnv", "DEV", "--print").out
    shell = f'watch_file() {{ :; }}\n{line}\nprintf \'%s %s\' "$DATABRICKS_HOST" "$DATABRICKS_TOKEN"'
    assert in_a_shell(machine, shell) == f"{workspace.url} {workspace.pat}"


def test_the_lines_for_terraform_start_it_with_a_token_or_where_to_ask(machine: Machine, workspace: Sandbox) -> None:
    _on_path(machine, "terraform", 'echo "$1 ${DATABRICKS_TOKEN:-none} ${DATABRICKS_METADATA_SERVICE_URL:+asks}"')
    said = in_a_shell(machine, machine.run("setup", "terraform", "DEV", "--print").out)
    assert [line.split() for line in said.splitlines()] == [["plan", workspace.pat], ["apply", "none", "asks"]]


def test_the_headers_for_mcp_are_for_this_workspace_alone(machine: Machine, workspace: Sandbox) -> None:
    server = machine.run("setup", "mcp", "DEV", "--print").json()["mcpServers"]["databricks"]
    url = {"CLAUDE_CODE_MCP_SERVER_URL": server["url"]}
    assert json.loads(in_a_shell(machine, server["headersHelper"], **url)) == {
        "Authorization": f"Bearer {workspace.pat}"
    }
    with pytest.raises(AssertionError):
        in_a_shell(machine, server["headersHelper"], CLAUDE_CODE_MCP_SERVER_URL="https://foreign.example.com/mcp")


def test_the_program_for_openai_works(machine: Machine, workspace: Sandbox) -> None:
    program = machine.run("setup", "openai-python", "DEV", "--print").out
    done = subprocess.run(
        [sys.executable, "-c", program], env=machine.child_env(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "You said: Hello\n", done.stderr


# ---- docs/clients ----------------------------------------------------------------------------------------------------

PAGES = [name for name in clients.ORDER if name != "databricks-sdk"]
PAGE_HOST = "https://adb-1.2.azuredatabricks.net"


def page(name: str) -> str:
    return (ROOT / "docs" / "clients" / f"{name}.md").read_text()


def shown_on(name: str) -> list[tuple[str, str]]:
    return re.findall(r"```(\w+)\n(.*?)\n```", page(name), re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_print_prints(machine: Machine, name: str) -> None:
    """But for blanks, and for what `…` stands for."""
    _on_path(machine, "dbx-auth")
    machine.write(machine.config, f"[DEV]\nhost = {PAGE_HOST}\ntoken = x\n")
    (machine.home / "my bin").rename(machine.home / "bin")
    machine.env["PATH"] = str(machine.home / "bin")
    printed = machine.run("setup", name, "DEV", "--print").out
    printed = printed.replace(str(machine.home / "bin"), "/home/me/.local/bin").replace(str(machine.home), "/home/me")
    blocks = [re.sub(r"\s", "", block) for _, block in shown_on(name)]
    wanted = [".*?".join(map(re.escape, block.split("…"))) for block in blocks]
    assert [each for each in wanted if re.fullmatch(each, re.sub(r"\s", "", printed))], printed


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_are_run(machine: Machine, workspace: Sandbox, name: str) -> None:
    """Each `dbx-auth setup` of it, one after the other; where it ends with undo, nothing is left."""
    lines = [line for language, block in shown_on(name) if language == "sh" for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("dbx-auth setup ")]
    assert commands and all(f" {name}" in command for command in commands)
    machine.env["DATABRICKS_HOST"] = workspace.url
    before = of_clients(machine)
    for command in commands:
        in_a_shell(machine, command)
    assert (commands[-1] == f"dbx-auth setup {name} --undo") == (name in FILES)
    assert of_clients(machine) == before


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_what_wins_and_how_the_gateway_is_started(machine: Machine, name: str) -> None:
    client, text = clients.load(name), page(name)
    assert text.startswith(f"# {client.title}\n")
    assert all(f"`{variable}`" in text for variable in client.shadows)
    serve = f"dbx-auth serve -p DEV --port {clients.PORT} --key-file ~/.config/dbx-auth/gateway.key"
    assert (serve in text.splitlines()) == client.needs_gateway
    assert len(text.splitlines()) < 70


def test_three_commands_lead_to_a_session_of_claude_code(machine: Machine, sandbox: Sandbox) -> None:
    machine.config.unlink()
    [_, login, setup] = next(block for _, block in shown_on("claude-code") if "pip install" in block).splitlines()
    in_a_shell(machine, f"{login.replace(PAGE_HOST, sandbox.url)} --with-token <<< {sandbox.pat}")
    assert in_a_shell(machine, setup) == f"{file_of(machine, 'claude-code')}\n"
    said = json.loads(file_of(machine, "claude-code").read_text())
    assert in_a_shell(machine, said["apiKeyHelper"]) == f"{sandbox.pat}\n"
