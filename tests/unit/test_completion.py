"""What a shell is offered to complete a word: names that are on this machine, at once, and never an error."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import click
import pytest
from hypothesis import HealthCheck, example, given, settings as how, strategies as st
from machine import HOST, OTHER, Machine

from dbx_auth import catalogue, clients, models, resolve
from dbx_auth.cli import COMPLETE, VERBS
from dbx_auth.commands import offered
from dbx_auth.commands.completion import KINDS, SHELLS, PowerShell, Words, answer, script
from dbx_auth.endpoints import Row
from dbx_auth.models import Listing
from dbx_auth.world import World

completion = importlib.import_module("dbx_auth.commands.completion")  # whose name in the package is the verb's

CONFIG = f"""
[__settings__]
default_profile = DEV
[DEV]
host = {HOST}/
[my profile]
host = prod.cloud.databricks.com
[account]
account_id = one
[broken]
host = http://not.https
"""


class Shell:
    """What a shell that asks gets: the words, and what there is to say of each."""

    def __init__(self, machine: Machine, capture: pytest.CaptureFixture[str]) -> None:
        self.machine, self.capture = machine, capture

    def said(self, line: str, shell: str = "zsh", world: World | None = None) -> dict[str, str]:
        self.machine.env["COMP_WORDS"] = f"dbx-auth {line}"
        self.capture.readouterr()
        code = answer(f"{shell}_complete", world or self.machine.world)
        out, err = self.capture.readouterr()
        assert (code, err) == (0, "")
        rows = [row.partition(",")[2].partition("\t") for row in out.splitlines() if row.startswith("plain,")]
        return {word: about for word, _, about in rows}

    def words(self, line: str) -> list[str]:
        return list(self.said(line))


@pytest.fixture
def shell(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Shell:
    machine.write(machine.config, CONFIG)
    return Shell(machine, capsys)


# ---- words -----------------------------------------------------------------------------------------------------------


def test_verbs_are_offered_with_what_they_do(shell: Shell) -> None:
    assert shell.said("") == VERBS
    assert shell.words("s") == ["status", "serve", "setup", "sandbox"]
    assert shell.words("-p DEV to") == ["token"]
    assert shell.words("nope") == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("token --m", ["--min-ttl"]),
        ("--acc", ["--account-id"]),
        ("token -o j", ["json"]),
        ("login --method p", ["pat"]),
        ("env --shell f", ["fish"]),
        ("config s", ["set"]),
        ("auth sw", ["switch"]),
        ("auth switch --prof", ["--profile"]),
        ("helper k", ["keyring"]),
        ("helper bazel ", ["get"]),
        ("models s", ["show"]),
        ("completion p", ["powershell"]),
        ("sandbox --kind u", ["unified"]),
    ],
)
def test_whatever_click_knows_is_offered(shell: Shell, line: str, words: list[str]) -> None:
    assert shell.words(line) == words


PROFILES = ["DEV", "my profile", "account", "broken"]


@pytest.mark.parametrize(
    "line",
    [
        "-p ",
        "--profile ",
        "--profile=",
        "token -p ",
        "status --profile ",
        "login --profile=",
        "exec -p ",
        "doctor -p ",
        "auth switch --profile ",
        "auth describe -p ",
        "helper git -p ",
        "setup codex -p ",
        "config set profile ",
    ],
)
def test_profiles_are_offered_wherever_one_is_named(shell: Shell, line: str) -> None:
    assert shell.words(line) == PROFILES


@pytest.mark.parametrize("verb", ["login", "status", "token", "logout", "env", "serve", "setup codex"])
def test_a_profile_or_a_host_is_offered_where_either_may_stand(shell: Shell, verb: str) -> None:
    shell.machine.write(
        shell.machine.auth_json, {"databricks": {"type": "api", "key": "k", "host": "https://a.example"}}
    )
    assert shell.words(f"{verb} ") == [*PROFILES, HOST, OTHER, "https://a.example"]
    assert shell.words(f"{verb} https://p") == [OTHER]


def test_models_may_be_followed_by_a_word_of_its_own_as_well(shell: Shell) -> None:
    assert shell.words("models ") == ["show", "check", *PROFILES, HOST, OTHER]


def test_hosts_are_those_of_the_profiles_and_of_the_logins(shell: Shell) -> None:
    entry = {"type": "oauth", "access": "at-secret", "refresh": "rt-secret", "expires": 1, "host": OTHER}
    shell.machine.write(shell.machine.auth_json, {"databricks": entry})
    assert shell.said("token --host ") == {HOST: "profile DEV", OTHER: "logged in"}
    assert shell.words("--host https://dev") == [HOST]


def test_clients_are_those_of_setup(shell: Shell) -> None:
    assert shell.words("setup ") == list(clients.ORDER)
    assert shell.words("setup cl") == ["claude-code"]


def test_settings_are_offered_and_what_they_may_be(shell: Shell) -> None:
    top = ["profile", "storage", "min_ttl", "output", "color"]
    assert shell.words("config get ") == top
    where = Path(shell.machine.world.config_dir) / "config.toml"
    shell.machine.write(where, '[models."my-endpoint"]\ncontext = 200000\n')
    assert shell.words("config unset ") == [*top, 'models."my-endpoint".context']
    assert shell.words("config set storage ") == ["file", "keyring"]
    assert shell.words("config set color n") == ["never"]
    assert shell.words("config set min_ttl ") == []
    assert shell.words("config set nonsense ") == []


# ---- models ----------------------------------------------------------------------------------------------------------


def keep_list(machine: Machine, host: str, *names: str, identity: str = "me") -> None:
    found = tuple(models.described(Row(name)) for name in names)
    path = models._cache(host, identity, machine.world)
    models._remember(path, Listing(host, "workspace", 1.0, found), machine.world)


def test_models_are_those_of_the_catalogue_as_long_as_none_was_listed(shell: Shell) -> None:
    assert shell.words("models show ") == list(catalogue.everything())
    assert "databricks-gpt-5" in shell.words("models check databricks-claude-sonnet-4 databricks-g")
    assert shell.words("models --family claude-s") == ["claude-sonnet"]


def test_models_are_those_that_the_host_had_when_they_were_last_listed(shell: Shell) -> None:
    keep_list(shell.machine, HOST, "databricks-gpt-5", "my-own")
    keep_list(shell.machine, HOST, "for-another-person", identity="you")
    keep_list(shell.machine, OTHER, "elsewhere")
    assert set(shell.words("models show ")) == {"databricks-gpt-5", "my-own", "for-another-person"}
    assert shell.words("models show -p 'my profile' ") == ["elsewhere"]
    assert shell.words(f"--host {OTHER} models check ") == ["elsewhere"]
    assert shell.words("models show --host https://none.example databricks-gpt-5-m") == ["databricks-gpt-5-mini"]


def test_models_of_the_settings_are_offered_too(shell: Shell) -> None:
    where = Path(shell.machine.world.config_dir) / "config.toml"
    shell.machine.write(where, '[models."my-endpoint"]\ncontext = 200000\n')
    assert shell.said("models show my") == {"my-endpoint": "config.toml"}


@pytest.mark.parametrize(
    "kept", [b"", b"{", b"[]", b"null", b'{"host": "' + HOST.encode() + b'", "models": [1]}', b"[" * 9999, b"\xff"]
)
def test_a_list_that_is_damaged_is_as_good_as_none(shell: Shell, kept: bytes) -> None:
    shell.machine.write(Path(shell.machine.world.cache_dir) / "models" / "x.json", kept)
    assert shell.words("models show ") == list(catalogue.everything())


# ---- never an error, never a question --------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["token -p ", "token ", "models show ", "config set ", "setup c", "to", "--"])
@pytest.mark.parametrize("broken", ["config", "auth_json", "settings"])
def test_a_damaged_file_is_no_error_and_hides_no_other(shell: Shell, line: str, broken: str) -> None:
    machine = shell.machine
    damage = {"config": machine.config, "auth_json": machine.auth_json}
    machine.write(damage.get(broken, Path(machine.world.config_dir) / "config.toml"), b"[\xff\n= {{")
    words = shell.words(line)
    if line == "token ":
        assert words == ([] if broken == "config" else [*PROFILES, HOST, OTHER])
    elif line != "token -p " or broken != "config":
        assert words


@pytest.mark.parametrize("asked", ["", "bash", "tcsh_complete", "bash_source", "complete", "\udc80_complete"])
def test_whoever_asks_for_something_else_gets_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    capsys.readouterr()
    answer(asked, machine.world)
    assert asked == "bash" or capsys.readouterr() == ("", "")


def test_a_mistake_of_ours_is_not_told_either(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "last_seen", mock.Mock(side_effect=RuntimeError))
    machine.env["COMP_WORDS"] = "dbx-auth models show "
    capsys.readouterr()
    assert answer("bash_complete", machine.world) == 1
    assert capsys.readouterr() == ("", "")


@how(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=40), st.sampled_from(SHELLS))
@example("token -p 'my", "bash")
@example("token \\", "bash")
@example('config get "', "powershell")
@example("token \ufffc", "fish")
@example("\udcff", "zsh")
def test_no_line_is_an_error(machine: Machine, capsys: pytest.CaptureFixture[str], line: str, name: str) -> None:
    machine.env["COMP_WORDS"] = f"dbx-auth {line}"
    capsys.readouterr()
    assert answer(f"{name}_complete", machine.world) in (0, 1)
    assert capsys.readouterr().err == ""


def test_without_a_line_nothing_is_wrong_either(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer("fish_complete", machine.world) == 0
    assert capsys.readouterr().err == ""


LINES = ["", "token -p ", "token ", "models show ", "models check x ", "login --host ", "config set profile ", "auth "]


@pytest.mark.parametrize("line", LINES)
def test_no_token_is_asked_for_and_nobody_on_the_network(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    shell.machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="cs-secret")
    asked = mock.Mock(side_effect=AssertionError)
    monkeypatch.setattr(resolve, "token", asked)
    monkeypatch.setattr(resolve, "resolve", asked)
    assert shell.said(line, world=shell.machine.world._replace(http=asked))
    assert not asked.called


def test_an_offer_that_goes_out_gets_no_answer(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away that nobody can be asked, and this one is."""

    def curious(world: World, said: object) -> dict[str, str]:
        world.http("GET", HOST, budget=1.0)
        return {"asked": ""}

    http = mock.Mock()
    monkeypatch.setattr(completion.completion, "params", [click.Argument(["shell"], shell_complete=offered(curious))])
    assert shell.said("completion ", world=shell.machine.world._replace(http=http)) == {}
    assert not http.called
    monkeypatch.setattr(completion, "_nobody", http)
    assert shell.said("completion ") == {"asked": ""}
    assert http.called


def test_a_name_that_would_break_the_lines_is_not_offered(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"good": "a\nb\tc", "two\nlines": "", "tab\tbed": "", "\x1b[31mred": "", "\u202eback": ""}
    found = tuple(models.described(Row(name))._replace(family=text) for name, text in names.items())
    monkeypatch.setattr(models, "last_seen", lambda host, world: found)
    assert shell.said("models show ") == {"good": "a bc"}


HEAVY = ["httpx", "ssl", "socket", "asyncio", "msal", "azure", "keyring", "rich", "filelock", "tomlkit", "starlette"]
HEAVY += ["platformdirs", "subprocess", "anyio", "truststore", "secretstorage", "dbx_auth.clients.plan"]

PROBE = f"""
import os, sys
os._exit = lambda code: None
from dbx_auth.cli import main
main()
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
print(*[name for name in sys.modules if name.startswith("dbx_auth.commands.")], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("line", "verbs"),
    [
        ("", "completion"),
        ("token -p ", "completion token"),
        ("models show ", "completion models"),
        ("setup c", "completion setup"),
        ("config set storage ", "completion config"),
    ],
)
def test_an_answer_imports_nothing_heavy_and_no_verb_but_the_one_on_the_line(
    machine: Machine, line: str, verbs: str
) -> None:
    machine.write(machine.config, CONFIG)
    env = machine.child_env(COMP_WORDS=f"dbx-auth {line}", **{COMPLETE: "bash_complete"})
    done = subprocess.run([sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, timeout=60)
    heavy, imported = done.stderr.split("\n")[:2]
    assert done.stdout.startswith("plain,") and heavy == ""
    assert imported.replace("dbx_auth.commands.", "") == verbs


# ---- shells ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        ("dbx-auth", [], "dbx-auth"),
        ("dbx-auth ", [], ""),
        ("dbx-auth  token ", ["token"], ""),
        ("dbx-auth token https://de", ["token"], "https://de"),
        (r"dbx-auth token my\ pro", ["token"], "my pro"),
        ("dbx-auth token 'my pro", ["token"], "my pro"),
        ("dbx-auth token 'my profile' ", ["token", "my profile"], ""),
        ('dbx-auth token "a # b" -', ["token", "a # b"], "-"),
        ("dbx-auth token # b", ["token", "#"], "b"),
    ],
)
def test_a_line_is_cut_into_words_as_a_shell_does(machine: Machine, line: str, words: list[str], last: str) -> None:
    assert asked(Words, machine, line) == (words, last)


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        (r"dbx-auth serve --key-file C:\Users\me ", ["serve", "--key-file", r"C:\Users\me"], ""),
        ("dbx-auth token my` pro", ["token"], "my pro"),
        ("dbx-auth token 'my pro", ["token"], "my pro"),
    ],
)
def test_in_powershell_a_backslash_is_a_letter(machine: Machine, line: str, words: list[str], last: str) -> None:
    assert asked(PowerShell, machine, line) == (words, last)


def asked(kind: type[Words], machine: Machine, line: str) -> tuple[list[str], str]:
    machine.env["COMP_WORDS"] = line
    return kind(mock.Mock(), {"obj": machine.world}, "dbx-auth", COMPLETE).get_completion_args()


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_is_given_one_line_for_each_word(shell: Shell, capsys: pytest.CaptureFixture[str], name: str) -> None:
    shell.machine.env["COMP_WORDS"] = "dbx-auth token -p D"
    assert answer(f"{name}_complete", shell.machine.world) == 0
    assert capsys.readouterr().out == ("plain,DEV\n" if name == "bash" else f"plain,DEV\t{HOST}\n")


@pytest.mark.parametrize("name", SHELLS)
def test_files_are_left_to_the_shell(shell: Shell, capsys: pytest.CaptureFixture[str], name: str) -> None:
    for line in ("serve --key-file /tm", "exec -- /tm"):
        shell.machine.env["COMP_WORDS"] = f"dbx-auth {line}"
        assert answer(f"{name}_complete", shell.machine.world) == 0
        assert capsys.readouterr().out == "file,/tm\n"


@pytest.mark.parametrize("name", SHELLS)
def test_a_script_asks_for_its_own_shell_and_hides_what_goes_wrong(name: str) -> None:
    text = script(name)
    assert f"{name}_complete" in text and COMPLETE in text and "COMP_WORDS" in text
    assert "2>" in text and "eval" not in text
    assert KINDS[name].name == name


def test_the_script_for_powershell_is_whole() -> None:
    """There is no PowerShell to try it with: what can be told without one."""
    text = script("powershell")
    outside_strings = re.sub("""'[^']*'|"[^"]*\"""", "", text)
    assert not re.search("[\"']", outside_strings)
    for pair in ("{}", "()", "[]"):
        assert outside_strings.count(pair[0]) == outside_strings.count(pair[1])
    assert text.count("Register-ArgumentCompleter -Native -CommandName dbx-auth -ScriptBlock") == 1
    cleared = text.partition("finally")[2]
    assert all(f"Remove-Item Env:{name}\n" in cleared for name in ("COMP_WORDS", COMPLETE))
