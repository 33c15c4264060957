"""On each of thousands of machines, dbx-auth is who the official SDK is, or a row of the table says why not.

Every run makes the same machines. Others, and more of them, with
`DBX_AUTH_AGREEMENT_SEED=7 DBX_AUTH_AGREEMENT_STATES=20000 pytest tests/agreement`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from . import stubs
from .differences import DIFFERENCES, LIKE_PYTHON, Likeness, judge, steps
from .page import PAGE, STATES, page
from .sides import Bench
from .state import Login, Section, State, plain
from .states import make

CHUNKS = 8
SEED = int(os.environ.get("DBX_AUTH_AGREEMENT_SEED", "1"))
NUMBERS = range(int(os.environ.get("DBX_AUTH_AGREEMENT_STATES", STATES)))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda chunk: f"seed {SEED}, part {chunk}")
def test_the_same_identity_or_a_reason(bench: Bench, chunk: int) -> None:
    wrong = []
    for number in NUMBERS[chunk::CHUNKS]:
        state = make(SEED, number)
        theirs, ours = bench.official(state), bench.ours(state)
        verdict = judge(bench, state, theirs)
        if not ours.agrees(verdict.expected):
            wrong.append(
                f"seed {SEED}, number {number}\n{state.shown}\n"
                f"official: {theirs}\nexpected: {verdict.expected}, after {verdict.rows}\nours:     {ours}"
            )
    assert not wrong, f"{len(wrong)} differ and no row says why; the first:\n" + "\n\n".join(wrong[:3])


@pytest.mark.skipif(SEED != 1 or len(NUMBERS) < STATES, reason="rows are held to the machines of every run")
def test_every_row_explains_something(bench: Bench) -> None:
    dead = {row.name for row in DIFFERENCES}
    tries = dict.fromkeys(dead, 100)
    for number in NUMBERS:
        state = make(SEED, number)
        if not any(row.name in dead and tries[row.name] for row, _ in steps(state)):
            continue
        theirs = bench.official(state)
        fired = set(judge(bench, state, theirs).rows)
        for row, _ in steps(state):
            tries[row.name] -= 1
        if not bench.ours(state).agrees(theirs):
            dead -= fired
    assert not dead


@pytest.mark.parametrize("row", LIKE_PYTHON, ids=lambda row: row.name)
def test_where_we_do_as_python(bench: Bench, row: Likeness) -> None:
    for number in NUMBERS:
        state = make(SEED, number)
        if row.holds(state) and (ours := bench.ours(state)).auth_type in row.auth_types:
            assert ours.agrees(judge(bench, state, bench.official(state)).expected)
            return
    pytest.fail("no machine shows it")


HOST = "https://dev.cloud.databricks.com"
LOGINS = {"dev": Login("cli.dev", "r-1"), "old": Login("cli.old", "r-2", -60)}


@pytest.mark.parametrize(
    ("mood", "argv"),
    [
        ("az", "account get-access-token --resource r --output json --tenant t"),
        ("az-logged-out", "account get-access-token --resource r --output json"),
        ("az-identity", "account show --output json"),
        ("databricks", "version --output json"),
        ("databricks", "auth token --profile dev"),
        ("databricks", "auth token --profile old"),
        ("databricks", "auth token --host https://nobody.example"),
    ],
)
def test_the_programs_say_what_their_stand_ins_say(tmp_path: Path, mood: str, argv: str) -> None:
    stubs.install(tmp_path / "bin")
    env = State(sections=tuple(Section(n, (plain("host", HOST),)) for n in LOGINS), cache=LOGINS).lay(tmp_path / "home")
    path = tmp_path / "bin" / mood / mood.partition("-")[0]

    real = subprocess.run([path, *argv.split()], env=env, capture_output=True, text=True, timeout=60)

    code, out, err = stubs.answer(mood, argv.split(), env)
    assert (real.returncode, real.stdout[:60], real.stderr) == (code, out[:60], err)
    assert path.stat().st_size >= 1 << 20


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text() == page(), "PYTHONPATH=tests python -m agreement.page > docs/agreement.md"
