"""The documents say what the code does: names, tables, commands."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from machine import Machine

import dbx_auth
from dbx_auth import cli, errors, output, sources
from dbx_auth.commands.completion import SHELLS, script
from dbx_auth.login import METHODS

ROOT = Path(__file__).parents[2]
tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[str]:
    """The first cells of the table under a heading, without their code marks."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [re.split(r"(?<!\\)\|", line)[1].strip() for line in section.splitlines() if line.startswith("| ")][1:]


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / "dbx_auth" / folder).glob("*.py")} - {"__init__"}


def test_sources_are_files_are_rows_of_the_readme() -> None:
    assert [row.strip("`") for row in rows("Where the token comes from")] == list(sources.ORDER)
    assert {name.replace("-", "_") for name in sources.ORDER} == modules("sources")


def test_verbs_are_files_are_rows_of_the_readme() -> None:
    assert [re.sub(r"`(\w+).*`", r"\1", row) for row in rows("Verbs")] == list(cli.VERBS)
    assert set(cli.VERBS) == modules("commands")


def test_each_verb_says_in_its_help_what_the_list_says(machine: Machine) -> None:
    listed = machine.run("--help").out
    for verb, text in cli.VERBS.items():
        assert text in listed
        assert text.rstrip(".")[:12] in " ".join(machine.run(verb, "--help").out.split())


def test_exit_codes_are_the_same_in_errors_help_and_readme(machine: Machine) -> None:
    kinds = [errors.Refused, errors.UsageError, errors.LoginRequired, errors.ConfigError, errors.Temporary]
    codes = [str(kind.exit_code) for kind in kinds]
    assert rows("Exit codes") == ["0", *codes, "129, 130, 143"]
    shown = machine.run("--help").out
    assert all(re.search(rf"(^|\s){code}  \w", shown) for code in ["0", *codes])


@pytest.mark.parametrize("words", [*output.FORMATS, *METHODS, *SHELLS])
def test_every_choice_is_in_the_readme(words: str) -> None:
    assert re.search(rf"`[^`]*\b{words}\b[^`]*`", README)


def test_the_public_names_are_in_the_readme_or_are_errors() -> None:
    documented = {name for name in dbx_auth.__all__ if re.search(rf"\b{name}\b", README)}
    rest = {getattr(dbx_auth, name) for name in set(dbx_auth.__all__) - documented} - {dbx_auth.Token}
    assert {"Auth", "Credentials", "token_provider", "AuthError"} <= documented
    assert all(issubclass(kind, errors.AuthError) for kind in rest)


def test_files_that_documents_point_to_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_tables_are_what_the_code_has(page: Path) -> None:
    assert page.read_text() == tables["filled"](page.read_text()), "make tables"


def test_each_source_has_a_page_of_its_own() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "docs" / "sources.md").read_text(), re.M)
    assert headings[: len(sources.ORDER)] == list(sources.ORDER)


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_are_what_the_commands_make(shell: str) -> None:
    ending = {"powershell": "ps1"}.get(shell, shell)
    assert (ROOT / "completions" / f"dbx-auth.{ending}").read_text() == script(shell), "make completions"


@pytest.mark.parametrize(("typed", "words"), [("", "token"), ("to", "token"), ("token --f", "--force-refresh")])
def test_completion_offers_verbs_and_options(machine: Machine, typed: str, words: str) -> None:
    line = f"dbx-auth {typed}".split(" ")
    asked = {
        "_DBX_AUTH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    code = "from dbx_auth.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=machine.child_env(**asked), capture_output=True, text=True, timeout=60
    )
    assert f"plain,{words}" in done.stdout.splitlines()
