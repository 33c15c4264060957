"""`dbx-auth env`: what a shell evaluates, for any value, and what a Databricks client finds in it then."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st
from machine import HOST, Machine

from dbx_auth import child, output
from dbx_auth.errors import Refused
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import AuthJson, CliCache
from dbx_auth.tokens import Token

NAME = "DATABRICKS_TOKEN"
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
A_JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSIsImV4cCI6NDA3MDkwODgwMH0.c2ln"  # with an expiry

POSIX = [shell for shell in ("sh", "bash", "dash", "zsh") if shutil.which(shell)]


def evaluated(shell: str, text: str) -> str:
    """What a program finds that a POSIX shell starts after `eval`, with a mark behind it so that nothing is lost."""
    code = 'eval "$1"; exec "$2" -c "import os, sys; sys.stdout.buffer.write(os.environb.get(b\'DATABRICKS_TOKEN\'))"'
    argv = [shell, "-c", code, shell, text, sys.executable]
    done = subprocess.run(argv, capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


HOSTILE = [
    "$(id)",
    "`id`",
    "'",
    "''",
    "a'b",
    '"',
    "\\",
    "\\'",
    "a\nb",
    "$HOME",
    "%PATH%",
    "!x",
    "‘’‚‛",
    "a b",
    "-n",
    "",
]
HOSTILE += ["; id", "& calc", "| id", "#", "~", "*", "{a,b}", "^", "é", "=", "\r", "\t", "\x1b[2J", "$", "a$'b'"]


@pytest.mark.parametrize("shell", POSIX)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_posix_shell_has_any_value_as_it_is(shell: str, value: str) -> None:
    assert evaluated(shell, output.script("sh", {NAME: value})) == value
    assert evaluated(shell, output.script("direnv", {NAME: value})) == value


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_a_posix_shell_has_even_values_that_nobody_thought_of(value: str) -> None:
    assert evaluated("sh", output.script("sh", {NAME: value})) == value


def test_an_export_without_quotes_would_be_seen() -> None:
    assert evaluated("sh", f"export {NAME}=$(echo pwned)") == "pwned"


def as_fish_reads(line: str) -> str:
    r"""In single quotes `\\` and `\'` are the only escapes: https://fishshell.com/docs/current/language.html#quotes"""
    quoted = re.fullmatch(rf"set -gx {NAME} '((?:[^'\\]|\\.)*)'", line, re.DOTALL)
    assert quoted, f"the string ends too early: {line!r}"
    return re.sub(r"\\([\\'])", r"\1", quoted[1])


def as_powershell_reads(line: str) -> str:
    """about_Quoting_Rules; the tokenizer takes U+2018 to U+201B for the apostrophe, and two of them for one."""
    quoted = re.fullmatch(rf"\$Env:{NAME} = '((?:[^'‘-‛]|['‘-‛]['‘-‛])*)'", line, re.DOTALL)
    assert quoted, f"the string ends too early: {line!r}"
    return re.sub("['‘-‛](['‘-‛])", r"\1", quoted[1])


@example("\\").via("the end of a string")
@example("'").via("the end of a string")
@example("\\'").via("both")
@given(VALUES)
def test_fish_has_any_value_as_it_is(value: str) -> None:
    assert as_fish_reads(output.script("fish", {NAME: value})) == value


@example("’").via("a typographic quote")
@example("'’").via("two kinds of quotes")
@given(VALUES)
def test_powershell_has_any_value_as_it_is(value: str) -> None:
    assert as_powershell_reads(output.script("powershell", {NAME: value})) == value


@pytest.mark.parametrize(("shell", "program"), [("fish", "fish"), ("powershell", "pwsh")])
def test_the_real_shell_agrees(shell: str, program: str, tmp_path: Path) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    show = "import os, sys; sys.stdout.buffer.write(os.environb.get(b'DATABRICKS_TOKEN', b'none'))"
    python = f"& '{sys.executable}'" if shell == "powershell" else shlex.quote(sys.executable)
    for value in filter(None, HOSTILE):
        for change, expected in ((value, value), (None, "none")):
            lines = [output.script(shell, {NAME: "before"}), output.script(shell, {NAME: change})]
            argv = [program, "-c", "\n".join([*lines, f'{python} -c "{show}"'])]
            done = subprocess.run(argv, capture_output=True, timeout=60)
            assert done.stdout.decode() == expected, done.stderr


@given(VALUES)
def test_cmd_has_a_value_as_it_is_or_nothing_is_printed(value: str) -> None:
    """Between quotes only `%`, `!` (with delayed expansion) and a quote mean something, and a line ends at its end."""
    try:
        line = output.script("cmd", {NAME: value})
    except Refused:
        assert re.search(r'[%!"\x00-\x1f\x7f]', value)
    else:
        assert line == f'set "{NAME}={value}"' and not re.search(r'[%!"\r\n]', value)


@given(VALUES)
def test_a_dotenv_file_has_a_value_as_every_reader_takes_it_or_nothing_is_printed(value: str) -> None:
    try:
        line = output.script("dotenv", {NAME: value})
    except Refused:
        assert shlex.quote(value) != value
    else:
        assert line == f"{NAME}={value}" and (value == "" or shlex.split(line) == [line])
        assert not value or evaluated("sh", f"export {line}") == value


@pytest.mark.parametrize(
    ("shell", "value"), [*(("cmd", c) for c in '%"!\n\r\x1b'), *(("dotenv", c) for c in " '\"\\$#\n`~")]
)
def test_what_cannot_be_written_is_refused_without_being_shown(shell: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        output.script(shell, {NAME: f"s3cret{value}"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("shell", output.SHELLS)
@pytest.mark.parametrize("value", [HOST, "dapi0123456789abcdef", A_JWT, "1234567890123456", "dose+/="])
def test_no_shell_refuses_what_databricks_gives(shell: str, value: str) -> None:
    assert value in output.script(shell, {NAME: value})


# ---- the lines -------------------------------------------------------------------------------------------------------


def with_token(machine: Machine, **env: str) -> Machine:
    machine.env.update({"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "dapi0123", **env})
    return machine


LINES = {
    "sh": f"export DATABRICKS_HOST={HOST}\nexport DATABRICKS_TOKEN=dapi0123\nexport DATABRICKS_AUTH_TYPE=pat\n",
    "fish": f"set -gx DATABRICKS_HOST '{HOST}'\nset -gx DATABRICKS_TOKEN 'dapi0123'\n"
    "set -gx DATABRICKS_AUTH_TYPE 'pat'\n",
    "powershell": f"$Env:DATABRICKS_HOST = '{HOST}'\n$Env:DATABRICKS_TOKEN = 'dapi0123'\n"
    "$Env:DATABRICKS_AUTH_TYPE = 'pat'\n",
    "cmd": f'set "DATABRICKS_HOST={HOST}"\nset "DATABRICKS_TOKEN=dapi0123"\nset "DATABRICKS_AUTH_TYPE=pat"\n',
    "dotenv": f"DATABRICKS_HOST={HOST}\nDATABRICKS_TOKEN=dapi0123\nDATABRICKS_AUTH_TYPE=pat\n",
}


@pytest.mark.parametrize("shell", LINES)
def test_each_shell_gets_its_own_lines(machine: Machine, shell: str) -> None:
    assert with_token(machine).run("env", "--shell", shell) == (0, LINES[shell], "")


def test_it_begins_with_what_token_prints(machine: Machine) -> None:
    env, token = with_token(machine).run("env").out, machine.run("token", "-o", "env").out
    assert env.startswith(token) and env.removeprefix(token) == "export DATABRICKS_AUTH_TYPE=pat\n"


@pytest.mark.parametrize(
    ("platform", "shell", "first"),
    [
        ("linux", "/usr/bin/fish", "export "),
        ("darwin", "", "export "),
        ("win32", "", "$Env:"),
        ("win32", "sh", "export "),
    ],
)
def test_without_the_option_it_is_the_shell_that_most_have_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, platform: str, shell: str, first: str
) -> None:
    world = with_token(machine, SHELL=shell).world._replace(platform=platform)
    monkeypatch.setattr(Machine, "world", world)
    machine.env.update(dict.fromkeys(("DBX_AUTH_DATA_DIR", "DBX_AUTH_CONFIG_DIR"), str(machine.home)))
    assert machine.run("env").out.startswith(f"{first}DATABRICKS_HOST")


def test_a_workspace_and_an_account_are_named_where_there_are_some(machine: Machine) -> None:
    machine.write(machine.config, f"[A]\nhost = {HOST}\ntoken = t\naccount_id = a-1\nworkspace_id = 77\n")
    lines = machine.run("env", "A").out.splitlines()
    assert "export DATABRICKS_ACCOUNT_ID=a-1" in lines and "export DATABRICKS_WORKSPACE_ID=77" in lines


@pytest.mark.parametrize("shell", output.SHELLS)
def test_unset_takes_away_all_that_can_be_set_and_asks_for_no_token(machine: Machine, shell: str) -> None:
    said = machine.run("env", "--unset", "--shell", shell)
    assert (said.code, said.err) == (0, "") and machine.files() == {}
    names = {"HOST", "TOKEN", "AUTH_TYPE", "ACCOUNT_ID", "WORKSPACE_ID"}
    assert set(re.findall(r"DATABRICKS_(\w+)", said.out)) == names and len(said.out.splitlines()) == len(names)
    assert "dapi" not in said.out


def test_unset_undoes_it_in_a_real_shell(machine: Machine) -> None:
    set_, unset = with_token(machine).run("env").out, machine.run("env", "--unset").out
    done = subprocess.run(["sh", "-uec", f"{set_}\n{unset}\n{unset}\nenv"], env={}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "DATABRICKS" not in done.stdout


CONTRADICTING = {
    "DATABRICKS_CLIENT_ID": "other",
    "DATABRICKS_CLIENT_SECRET": "other",
    "DATABRICKS_USERNAME": "other",
    "DATABRICKS_PASSWORD": "other",
    "DATABRICKS_METADATA_SERVICE_URL": "http://127.0.0.1:1/x",
    "DATABRICKS_OIDC_TOKEN_ENV": "OTHER",
    "DATABRICKS_OIDC_TOKEN_FILEPATH": "/nowhere",
    "DATABRICKS_OIDC_TOKEN_FILE": "/nowhere",
    "DATABRICKS_GOOGLE_SERVICE_ACCOUNT": "other",
    "DATABRICKS_AZURE_RESOURCE_ID": "/other",
    "DATABRICKS_CONFIG_PROFILE": "OTHER",
    "DATABRICKS_AUTH_TYPE": "oauth-m2m",
}


def test_what_contradicts_the_token_is_taken_away_and_nothing_else(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi0123\n")
    kept = {"ARM_CLIENT_ID": "theirs", "GOOGLE_CREDENTIALS": "theirs", "DATABRICKS_CLUSTER_ID": "c", "HOME": "/h"}
    machine.env.update(
        {**CONTRADICTING, **kept, "DATABRICKS_TOKEN": "stale", "DATABRICKS_HOST": "https://other.example"}
    )
    lines = machine.run("env", "-p", "DEV").out.splitlines()
    assert {line.split()[1] for line in lines if line.startswith("unset ")} == CONTRADICTING.keys() - {
        "DATABRICKS_AUTH_TYPE"
    }
    assert [line for line in lines if not line.startswith("unset ")] == LINES["sh"].splitlines()


def test_what_is_not_set_is_not_taken_away(machine: Machine) -> None:
    assert "unset" not in with_token(machine).run("env").out


SDK = "from databricks.sdk import WorkspaceClient; print(WorkspaceClient().current_user.me().user_name)"


def sdk_after(lines: str, machine: Machine) -> subprocess.CompletedProcess[str]:
    argv = ["sh", "-c", f'{lines}\nexec "$0" -c "$1"', sys.executable, SDK]
    return subprocess.run(argv, env=machine.child_env(), capture_output=True, text=True, timeout=100)


def test_the_sdk_works_whatever_was_set_before(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    machine.env.update({**CONTRADICTING, "ARM_CLIENT_ID": "theirs", "ARM_CLIENT_SECRET": "theirs"})
    lines = machine.run("env", "-p", "DEV").out
    done = sdk_after(lines, machine)
    assert done.stdout.strip() == sandbox.user, done.stderr


def test_without_the_lines_of_ours_the_sdk_would_refuse(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update({"DATABRICKS_CLIENT_ID": "other", "DATABRICKS_CLIENT_SECRET": "other"})
    token = Token(sandbox.pat, host=sandbox.url)
    done = sdk_after(output.FORMATS["env"](token, 0), machine)
    assert "more than one authorization method" in done.stderr


# ---- direnv ----------------------------------------------------------------------------------------------------------


def test_direnv_is_told_which_files_change_when_a_token_is_renewed(machine: Machine) -> None:
    lines = with_token(machine).run("env", "--shell", "direnv").out.splitlines()
    watched = [shlex.split(line)[1] for line in lines if line.startswith("watch_file ")]
    assert watched == [str(machine.config), AuthJson(machine.world).path, CliCache(machine.world).path]
    assert "\n".join(lines[:3]) + "\n" == LINES["sh"]


def test_the_lines_are_for_bash_which_an_envrc_is_read_by(machine: Machine) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = path = f"{machine.home}/it's $(mine)"
    lines = with_token(machine).run("env", "--shell", "direnv").out
    argv = ["bash", "-c", 'watch_file() { printf "%s\\n" "$@"; }; eval "$0"; echo $DATABRICKS_TOKEN', lines]
    said = subprocess.run(argv, capture_output=True, text=True, env={})
    assert said.stderr == "" and said.stdout.splitlines()[0] == path and said.stdout.splitlines()[-1] == "dapi0123"


def test_a_renewal_changes_a_file_that_direnv_watches(machine: Machine, sandbox: Sandbox) -> None:
    login = sandbox.add_login()
    path = machine.cached_login(sandbox.url, refresh_token=login.refresh_token)
    machine.env["DATABRICKS_HOST"] = sandbox.url
    before, watched = path.read_bytes(), machine.run("env", "--shell", "direnv").out
    assert f"watch_file {path}\n" in watched and path.read_bytes() == before
    assert machine.run("token", "--force-refresh").code == 0
    assert path.read_bytes() != before


# ---- what it will not do ---------------------------------------------------------------------------------------------


def test_without_a_login_nothing_is_printed(machine: Machine) -> None:
    said = machine.run("env", HOST)
    assert (said.code, said.out) == (4, "") and "hint: dbx-auth login" in said.err


def test_a_password_is_no_token(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_USERNAME="u", DATABRICKS_PASSWORD="p")
    said = machine.run("env")
    assert (said.code, said.out) == (1, "") and "DATABRICKS_TOKEN" in said.err


@pytest.mark.parametrize(("token", "warned"), [(A_JWT, True), ("dapi0123", False)], ids=["one that ends", "a key"])
@pytest.mark.parametrize("argv", [("env",), ("exec", "--", "true"), ("exec", "--serve", "--", "true")], ids=" ".join)
def test_a_token_that_is_there_already_and_will_end_is_called_that(
    machine: Machine, token: str, warned: bool, argv: tuple[str, ...]
) -> None:
    machine.env.update(machine.child_env())
    said = with_token(machine, DATABRICKS_TOKEN=token).run(*argv)
    assert said.code == 0 and ("nothing renews it" in said.err) is warned and token not in said.err
    assert ("env --unset" in said.err) is warned


def test_one_of_a_file_is_called_that_too(machine: Machine) -> None:
    machine.write(machine.config, f"[A]\nhost = {HOST}\ntoken = {A_JWT}\n")
    said = machine.run("env", "A").err
    assert "~/.databrickscfg [A] will end, and nothing renews it" in said and "--unset" not in said


def test_a_named_profile_wins_over_the_token_of_the_last_time(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
    machine.cached_login("DEV")
    said = with_token(machine, DATABRICKS_TOKEN=A_JWT, DATABRICKS_AUTH_TYPE="pat").run("env", "-p", "DEV")
    assert "export DATABRICKS_TOKEN=cached\n" in said.out and said.err == ""


def test_the_life_that_a_person_configured_is_asked_for(machine: Machine) -> None:
    machine.write(Path(machine.world.config_dir) / "config.toml", 'min_ttl = "2h"\n')
    machine.env["DATABRICKS_HOST"] = HOST
    machine.cached_login(HOST, refresh_token="")
    said = machine.run("env")
    assert said.code != 0 and said.out == ""


def test_the_names_are_those_that_every_setting_has() -> None:
    """A setting that is new and says how to log in is taken away without anybody thinking of it here."""
    assert set(CONTRADICTING) <= set(child.ANOTHER_IDENTITY) and "DATABRICKS_GROUP_ID" in child.ANOTHER_IDENTITY
    assert not [name for name in child.ANOTHER_IDENTITY if not name.startswith("DATABRICKS_")]
