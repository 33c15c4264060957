"""Makes one small mistake after another in the code that keeps logins safe, and sees whether the unit tests notice.

    python tests/mutants            every module that pyproject.toml names below [tool.mutmut]; takes minutes
    python tests/mutants lock       one of them

The mistakes are mutmut's. Fails where fewer than ENOUGH percent of those in a module are noticed. Those that live are
listed, unless survivors.toml says why no test should notice them; on a busy machine one more may live, or fewer.
"""

# ruff: noqa: T201  it is a program, and says what it found

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

ENOUGH = 85
"""Percent of the mutants of each module that have to be noticed."""

CHILDREN = "2"
"""How many mutants are tried at a time."""

LIVED = {0, 5, 33}
"""The exit codes of a mutant whose tests pass, and of one that no test reaches."""

TIMED_OUT = {-24, -9, 24, 36, 152, 255}
"""Those of one that went on for too long."""

LIMIT = 1 << 30
"""Bytes of memory that a mutant may have: one reads a file that has no end."""

CONTROL = """

def control() -> None:
    nothing = None
"""
"""Put into the module: its one mutant is an empty text, and if a test notices that, it notices something else."""

CALL = """

def pytest_runtest_setup() -> None:
    import {module}

    {module}.control()
"""
"""Put into conftest.py, so that all tests have to do with it."""

RUN = f"import resource as r; r.setrlimit(r.RLIMIT_DATA, ({LIMIT}, {LIMIT})); from mutmut.__main__ import cli; cli()"
SHOW = "import sys; from mutmut.__main__ import cli; [cli(['show', n], standalone_mode=False) for n in sys.argv[1:]]"


class Survivor(NamedTuple):
    """A mistake that no test noticed: where it was made, the line as it is, and the line as it was then."""

    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.before}\n    + {self.after}"


class Figures(NamedTuple):
    """What became of the mutants of one module."""

    mutants: int
    timeouts: int
    survivors: int

    @property
    def noticed(self) -> float:
        return 100 * (1 - self.survivors / self.mutants) if self.mutants else 0.0

    def row(self, name: str) -> str:
        killed = self.mutants - self.timeouts - self.survivors
        return f"{name:24}{self.mutants:9}{killed:8}{self.timeouts:10}{self.survivors:11}{self.noticed:8.1f} %"


def main(wanted: Sequence[str]) -> int:
    began = time.monotonic()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    modules = [module for module in settings["only_mutate"] if not wanted or Path(module).stem in wanted]
    if not modules:
        sys.exit(f"no such module; there are {', '.join(settings['only_mutate'])}")
    figures: dict[str, Figures] = {}
    survivors: list[Survivor] = []
    print(f"{'':24}{'mutants':>9}{'killed':>8}{'timeouts':>10}{'survivors':>11}{'noticed':>10}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dbx-auth-mutants-") as folder:
        copy(ROOT, Path(folder, "project"))
        for module in modules:
            tree = Path(folder, Path(module).stem)
            prepare(Path(folder, "project"), tree, module, settings)
            python(tree, "-c", RUN, "run", "--max-children", CHILDREN)
            codes = json.loads((tree / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
            if None in codes.values():
                sys.exit("mutmut was stopped before it had tried them all")
            if codes.pop(f"{dotted(module)}.x_control__mutmut_1") != 0:
                sys.exit(f"{module}: the tests fail in a process of mutmut, also where nothing is wrong")
            survivors += lived(tree, [name for name, code in codes.items() if code in LIVED])
            figures[module] = counted(codes.values())
            print(figures[module].row(module), flush=True)
    explained = [
        Survivor(entry["function"], entry["before"], after)
        for entry in tomllib.loads((HERE / "survivors.toml").read_text())["survivor"]
        if f"dbx_auth/{entry['function'].partition('.')[0]}.py" in modules
        for after in entry["after"]
    ]
    report(figures, survivors, explained)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes")
    return 0 if all(each.noticed >= ENOUGH for each in figures.values()) else 1


def prepare(project: Path, tree: Path, module: str, settings: Mapping[str, object]) -> None:
    """Make a copy of the project in which mutmut mutates this module alone, and its own unit tests judge."""
    shutil.copytree(project, tree)
    (tree / module).write_text(without_decorators((tree / module).read_text()) + CONTROL)
    with (tree / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(CALL.format(module=dotted(module)))
    tests = sorted(str(path.relative_to(tree)) for path in tree.glob(f"tests/unit/test_{Path(module).stem}*.py"))
    own = {**settings, "only_mutate": [module], "pytest_add_cli_args_test_selection": tests}
    section = "".join(f"{name} = {json.dumps(value)}\n" for name, value in own.items())
    text = (tree / "pyproject.toml").read_text()
    text = re.sub(r"(?ms)^\[tool\.mutmut\]\n.*?(?=^\[|\Z)", lambda found: f"[tool.mutmut]\n{section}\n", text)
    (tree / "pyproject.toml").write_text(text)


def copy(root: Path, to: Path) -> None:
    """Copy what belongs to the project; all that is there, where git cannot tell."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = []
    with suppress(OSError, subprocess.CalledProcessError):
        names = os.fsdecode(subprocess.run(listing, cwd=root, capture_output=True, check=True).stdout).split("\0")
    if "pyproject.toml" not in names:
        passing = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "build", "dist")
        shutil.copytree(root, to, ignore=passing, symlinks=True)
        return
    for name in filter(None, names):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)


def without_decorators(source: str) -> str:
    """The same module, with `name = decorator(name)` below a function in place of the decorator above it.

    mutmut leaves out whatever has a decorator; of this code that is what matters most: the context managers.
    """
    lines = source.splitlines()
    for function in sorted(functions(ast.parse(source)), key=lambda node: node.lineno, reverse=True):
        for decorator in function.decorator_list:  # the last is the innermost
            name = f"{function.name} = {ast.unparse(decorator)}({function.name})"
            lines.insert(function.end_lineno or 0, " " * function.col_offset + name)
            lines[decorator.lineno - 1] = ""
    return "\n".join(lines) + "\n"


def functions(parent: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in parent.body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node)
        elif isinstance(node, ast.FunctionDef):
            yield node


def python(folder: Path, *arguments: str) -> str:
    """What a Python in that folder says; where it fails, all of it is printed, and this program ends."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if ran.returncode:
        sys.exit(re.sub(r"(?m)^[\u2800-\u28ff] .*\n", "", ran.stdout))  # but for what turns to show that it is at work
    return ran.stdout


def counted(codes: Collection[int]) -> Figures:
    return Figures(len(codes), sum(code in TIMED_OUT for code in codes), sum(code in LIVED for code in codes))


def lived(tree: Path, names: Sequence[str]) -> list[Survivor]:
    found: list[tuple[str, dict[str, list[str]]]] = []
    for line in python(tree, "-c", SHOW, *names).splitlines():
        if line.startswith("# dbx_auth."):
            found.append((readable(line[2:].partition(":")[0]), {"-": [], "+": []}))
        elif line[:1] in ("-", "+") and not line.startswith(("---", "+++")):
            found[-1][1][line[0]].append(line[1:].strip())
    return [Survivor(function, " ".join(lines["-"]), " ".join(lines["+"])) for function, lines in found]


def dotted(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")


def readable(name: str) -> str:
    """`lock.Lock.held` for mutmut's `dbx_auth.lock.xǁLockǁheld__mutmut_7`."""
    module, _, mangled = name.partition(".")[2].rpartition(".")
    return f"{module}.{mangled.rpartition('__mutmut_')[0].removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"


def report(figures: Mapping[str, Figures], survivors: Sequence[Survivor], explained: Sequence[Survivor]) -> None:
    print(Figures(*map(sum, zip(*figures.values(), strict=True))).row("in all"))
    for module, each in figures.items():
        if each.noticed < ENOUGH:
            print(f"{module}: fewer than {ENOUGH} % were noticed")
    if new := [survivor for survivor in survivors if survivor not in explained]:
        print(f"\n{len(new)} that no test noticed, and that survivors.toml does not explain:\n")
        print(*new, sep="\n")
    if gone := [survivor for survivor in explained if survivor not in survivors]:
        print(f"\n{len(gone)} that survivors.toml explains, and that were noticed or are no more:\n")
        print(*gone, sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
