"""The help and the man page of every verb: true examples, the variables it heeds, the codes it ends with."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import click
import pytest
import time_machine
from machine import HOST, Machine

from dbx_auth import cli, errors, manual, memo
from dbx_auth.commands import TOKEN, Verb
from dbx_auth.doctor.settings import KNOWN
from dbx_auth.errors import AuthError

ROOT = Path(__file__).parents[2]
made = runpy.run_path(str(ROOT / "docs" / "manpages.py"))
PAGES: dict[str, str] = made["pages"]()
COMMANDS: dict[str, click.Context] = {
    ctx.command_path.removeprefix("dbx-auth").strip(): ctx for ctx in made["contexts"](made["root"]())
}
every_command = pytest.mark.parametrize("path", COMMANDS)


def verb(path: str) -> Verb:
    command = COMMANDS[path].command
    assert isinstance(command, Verb), f"{path}: cls=Verb"
    return command


def section(page: str, heading: str) -> list[str]:
    return re.split(r"\n\n", page.partition(f"\n{heading}")[2].partition("\n")[2])[0].splitlines()


# ---- the help --------------------------------------------------------------------------------------------------------


@every_command
@pytest.mark.parametrize("columns", [80, 100])
def test_every_help_fits_a_screen_and_has_examples_variables_and_exit_codes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, path: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = machine.run(*path.split(), "--help")
    assert (said.code, said.err) == (0, "")
    examples = section(said.out, "Examples:")
    assert [line.strip() for line in examples] == list(verb(path).examples) and examples
    assert section(said.out, "Environment")
    codes = "\n".join(section(said.out, "Exit codes:"))
    assert "  0  ok" in codes and "  2  wrong usage" in codes and codes.endswith("  129, 130, 143  interrupted")
    assert max(len(line) for line in said.out.splitlines() if line not in examples) <= columns
    assert len(said.out.splitlines()) <= (54 if columns == 80 else 48)


def test_a_command_that_has_no_examples_is_no_page() -> None:
    bare = click.Context(click.Command("bare"), info_name="bare")
    with pytest.raises(TypeError, match="make it a Verb"):
        made["page"](bare)


def test_exit_codes_are_those_of_the_errors() -> None:
    def kinds(base: type[AuthError]) -> Iterator[type[AuthError]]:
        yield base
        for kind in base.__subclasses__():
            if kind.__module__ == errors.__name__:
                yield from kinds(kind)

    assert {str(kind.exit_code) for kind in kinds(AuthError)} == manual.EXITS.keys() - {"0", manual.INTERRUPTED}


@every_command
def test_what_gets_a_token_may_end_as_getting_a_token_does(path: str) -> None:
    tell_of_it_and_end_well = ("doctor", "auth describe", "auth profiles")
    if set(TOKEN) <= set(verb(path).reads) and path not in tell_of_it_and_end_well:
        assert {"4", "5", "6"} <= manual.exits(verb(path).exits, verb(path).own_exits).keys()


def test_what_a_code_means_to_one_verb_is_said_there_alone() -> None:
    shown = manual.exits((5,), {126: "it cannot be run", 1: "it is not set"})
    assert shown == {
        "0": "ok",
        "1": "it is not set",
        "2": "wrong usage",
        "5": manual.EXITS["5"],
        "126": "it cannot be run",
        manual.INTERRUPTED: "interrupted",
    }
    assert list(manual.in_columns(shown)) == [
        "0  ok              5  a file or setting is unusable",
        "1  it is not set   126  it cannot be run",
        "2  wrong usage",
        "129, 130, 143  interrupted",
    ]


# ---- examples --------------------------------------------------------------------------------------------------------

RECORDER = """#!/bin/sh
printf '%s\\0' "$@" '
' >> "$RECORD"
"""

OTHER = """#!/bin/sh
for word; do [ -p "$word" ] && read -r line < "$word"; done
exit 0
"""

OTHERS = ("cat", "curl", "docker", "git", "pbcopy", "Out-String", "Invoke-Expression")


def calls_in(examples: Sequence[str], folder: Path) -> list[list[str]]:
    """What bash makes of these lines: the words of each call of `dbx-auth`. No other program is there to be harmed.

    What git is told to call with `!` is called as well.
    """
    for name, script in {"dbx-auth": RECORDER, **dict.fromkeys(OTHERS, OTHER)}.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    for place in (".local/share/bash-completion/completions", ".config/fish/completions"):
        (folder / place).mkdir(parents=True)
    (folder / "token.txt").touch()
    env = {"PATH": str(folder), "RECORD": str(folder / "record"), "HOME": str(folder)}
    inside = [f"{call} get" for line in examples for call in re.findall(r"'!(dbx-auth [^']*)'", line)]
    script = "\n".join(["fpath=(. .)", "PROFILE=profile", *examples, *inside, "wait"])
    bash = [str(shutil.which("bash")), "--norc", "-c", script]
    done = subprocess.run(bash, env=env, cwd=folder, capture_output=True, text=True, timeout=30)
    assert not re.search("syntax error|command not found|No such file", done.stderr), done.stderr
    return [call.split("\0")[:-1] for call in (folder / "record").read_text().split("\n\0")[:-1]]


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="there is no bash")
@every_command
def test_every_example_is_a_command_line_of_its_verb(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    ran: list[str] = []

    def invoked(command: click.Command, ctx: click.Context) -> None:
        if not isinstance(command, click.Group):
            ran.append(ctx.command_path)

    monkeypatch.setattr(click.Command, "invoke", invoked)
    folder = tmp_path / "programs"
    folder.mkdir()
    calls = calls_in(verb(path).examples, folder)
    assert len(calls) >= len(verb(path).examples)
    for argv in calls:
        said = machine.run(*argv)
        assert (said.code, said.err) == (0, ""), argv
    assert len(ran) == len(calls)
    assert all(name.startswith(f"dbx-auth {path}".strip()) for name in ran)


def test_an_example_that_is_mistyped_is_found(machine: Machine, tmp_path: Path) -> None:
    assert calls_in(["echo $(dbx-auth token --min-tll 15m) | cat"], tmp_path) == [["token", "--min-tll", "15m"]]
    assert machine.run("token", "--min-tll", "15m").code == 2
    folder = tmp_path / "again"
    folder.mkdir()
    with pytest.raises(AssertionError, match="syntax error"):
        calls_in(["dbx-auth token | (cat"], folder)


# ---- variables -------------------------------------------------------------------------------------------------------

SOURCE = "\n".join(path.read_text() for path in (ROOT / "dbx_auth").rglob("*.py") if path.name != "manual.py")
NAMED = {variable for path in COMMANDS for row in verb(path).reads for variable in manual.VARIABLES[row]}


def test_every_variable_that_help_names_is_known_to_the_doctor_or_read_somewhere() -> None:
    for variable in sorted(NAMED - KNOWN):
        assert not variable.startswith(("DATABRICKS_", "DBX_AUTH_")), variable
        assert f'"{variable}"' in SOURCE, variable


def test_every_variable_that_the_doctor_knows_is_named_by_some_help() -> None:
    not_for_a_verb = {"DBX_AUTH_GATEWAY_HOSTS", "DBX_AUTH_TEST_REAL", "DBX_AUTH_TEST_CLIENTS"}
    assert KNOWN - NAMED == not_for_a_verb
    assert NAMED == {variable for row in manual.VARIABLES.values() for variable in row}


LOOKING = [
    "token",
    "status --offline",
    "logout",
    "profiles",
    "models --offline",
    "models show databricks-gpt-5 --offline",
    "config list",
    "config path",
    "config get storage",
    "config set output json",
    "config unset output",
    "env",
    "exec -- true",
    "setup curl --print",
    "setup --list",
    "helper headers",
    "doctor --offline",
    "auth env",
    "auth token",
    "auth profiles --skip-validate",
]


def not_named(machine: Machine, line: str) -> set[str]:
    """The variables that a command looks at, and its help does not name."""
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    env = memo.Seen(machine.env)
    assert cli.run(line.split(), machine.world._replace(env=env)) in (0, 5)
    assert env.names
    path = max((path for path in COMMANDS if f"{line} ".startswith(f"{path} ")), key=len)
    return env.names & KNOWN - {variable for row in verb(path).reads for variable in manual.VARIABLES[row]}


@pytest.mark.parametrize("line", LOOKING)
def test_a_verb_heeds_no_variable_of_ours_that_its_help_does_not_name(machine: Machine, line: str) -> None:
    assert not not_named(machine, line)


def test_a_variable_that_is_forgotten_is_found(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(manual.VARIABLES, "files", ("DBX_AUTH_DATA_DIR",))
    assert "DBX_AUTH_CONFIG_DIR" in not_named(machine, "token")


def test_a_long_row_is_shortened_in_the_help_and_whole_in_the_page() -> None:
    assert manual.shortened(("A", "B")) == "A, B"
    assert manual.shortened(("A", "B", "C")) == "A, B, C"
    assert manual.shortened(("A", "B", "C", "D")) == "A, B and 2 more"
    shown = PAGES["dbx-auth-token.1"]
    assert all(f"\\%{variable}" in shown for row in verb("token").reads for variable in manual.VARIABLES[row])


# ---- man pages -------------------------------------------------------------------------------------------------------


def test_man_pages_are_what_the_commands_make() -> None:
    assert {path.name: path.read_text() for path in (ROOT / "man").iterdir()} == PAGES, "make man"


def test_man_pages_are_the_same_on_every_day() -> None:
    with time_machine.travel("2031-01-01", tick=False):
        assert made["pages"]() == PAGES


def test_a_page_has_the_day_of_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n## [0.1.0] - 2026-11-30\n")
    date_of = made["date_of"]
    monkeypatch.setitem(date_of.__globals__, "ROOT", tmp_path)
    assert [date_of(version) for version in ("0.2.0", "0.1.0", "0.2", "0.3.0")] == ["2026-12-24", "2026-11-30", "", ""]


@every_command
def test_a_man_page_says_what_the_help_says(path: str) -> None:
    ctx = COMMANDS[path]
    page = PAGES[f"{ctx.command_path.replace(' ', '-')}.1"]
    assert page.isascii() and "\b" not in page
    headings = re.findall(r"(?m)^\.SH (.*)$", page)
    begin, end = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "OPTIONS"], ["ENVIRONMENT", "EXIT STATUS", "SEE ALSO"]
    assert [heading for heading in headings if heading != "VERBS"] == [*begin, *end]
    assert ("VERBS" in headings) == bool(list(made["children"](ctx)))
    assert f"\n.B {ctx.command_path}\n" in page
    for param in ctx.command.get_params(ctx):
        if isinstance(param, click.Option) and not param.hidden:
            assert all(rf"\fB{option.replace('-', chr(92) + '-')}\fP" in page for option in param.opts)


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a --switch", r"a \-\-switch"),
        (r"printf '%s\n'", r"printf '%s\en'"),
        (".databrickscfg", r"\&.databrickscfg"),
        ("'quoted'", r"\&'quoted'"),
        ("one\n.two", "one\n\\&.two"),
        ("https://…", r"https://\[u2026]"),
    ],
)
def test_roff_finds_nothing_to_do_in_our_words(text: str, roff: str) -> None:
    assert made["escaped"](text) == roff


@pytest.mark.parametrize(
    ("option", "roff"),
    [
        (r"\-h, \-\-help", r"\fB\-h\fP, \fB\-\-help\fP"),
        (r"\-p, \-\-profile NAME", r"\fB\-p\fP, \fB\-\-profile\fP \fINAME\fP"),
        (r"\-\-method [pat|azure\-cli]", r"\fB\-\-method\fP \fI[pat|azure\-cli]\fP"),
    ],
)
def test_a_switch_is_bold_and_its_value_is_not(option: str, roff: str) -> None:
    assert made["styled"](option) == roff


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_groff_has_nothing_to_complain_about() -> None:
    pages = [str(ROOT / "man" / name) for name in PAGES]
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z", *pages], capture_output=True, text=True)  # noqa: S607
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_installation_has_the_man_pages(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert "man" in settings["sdist"]["include"]
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        placed = {Path(name).name for name in archive.namelist() if ".data/data/share/man/man1/" in name}
    assert placed == PAGES.keys()
