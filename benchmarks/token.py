"""How long a token takes, beside the time that Python itself takes: whole processes, measured in turn.

    python -P benchmarks/token.py [--rounds 30] [--at-once 200]

(`-P`, because this file would stand in for a module of Python's.)

Prints the medians of `python -c pass`, `import dbx_auth`, a cached `dbx-auth token`, a renewed one, and `gh auth token`
where that is installed (`--gh PROGRAM`; apt install gh); then how long it takes until 200 that were started at once
each have a token, when the login's own has ended. Exits 1 when ours is above a limit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from dbx_auth.sandbox import Sandbox

HEAVY = ("httpx", "ssl", "socket", "asyncio", "msal", "azure", "keyring", "rich", "filelock", "tomlkit", "starlette")
"""What a process that only reads a file has no use for."""

LONG_AGO, FAR_AWAY = "2020-01-01T00:00:00.5+01:00", "2099-01-01T00:00:00.5+01:00"

Env = dict[str, str]


class Limit(NamedTuple):
    what: str
    is_held: bool


class Run(NamedTuple):
    """A process that prints one word, or nothing; `before` is done first, and takes none of its time."""

    argv: list[str]
    env: Env
    before: Callable[[], object] = lambda: None

    def seconds(self) -> float:
        self.before()
        began = time.perf_counter()
        printed = subprocess.run(self.argv, env=self.env, stdout=subprocess.PIPE, check=True).stdout
        took = time.perf_counter() - began
        if len(printed.split()) > 1:
            sys.exit(f"{self.argv} printed more than a token: {printed!r}")
        return took


@contextmanager
def home_of(host: str, **login: str) -> Iterator[Env]:
    """A home with a login in the Databricks CLI's cache, and the environment to use it."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, ".databricks")
        folder.mkdir()
        entry = {"access_token": "cached", "token_type": "Bearer", "refresh_token": "r", "expiry": FAR_AWAY, **login}
        (folder / "token-cache.json").write_text(json.dumps({"version": 1, "tokens": {host: entry}}))
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        yield {**kept, "HOME": home, "USERPROFILE": home, "DATABRICKS_HOST": host}


def end_login(env: Env) -> None:
    """Make the token of that home one that has ended."""
    cache = Path(env["HOME"], ".databricks", "token-cache.json")
    held = json.loads(cache.read_text())
    for entry in held["tokens"].values():
        entry["expiry"] = LONG_AGO
    cache.write_text(json.dumps(held))


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Seconds of each, in turn, so that whatever else the machine does is shared by all.

    In another order each time: who comes after a large process finds the caches cold.
    """
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in random.sample(list(runs.items()), len(runs)):
            took[name].append(run.seconds())
    return {name: statistics.median(times) for name, times in took.items()}


def heavy_imports(env: Env) -> list[str]:
    """What `dbx-auth token` imported although it only had to read a file."""
    probe = "import sys, runpy; sys.argv = ['dbx-auth', 'token']\ntry: runpy.run_module('dbx_auth')\n"
    probe += f"finally: print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    return subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True).stderr.split()


def grants(sandbox: Sandbox) -> int:
    return sum(request.path.endswith("/token") for request in sandbox.log)


def crowd(command: str, how_many: int) -> tuple[float, int]:
    """Seconds until so many processes, started at once, have a token; and how often the server was asked for one."""
    with Sandbox() as sandbox:
        refresh_token = sandbox.add_login().refresh_token
        with home_of(sandbox.url, refresh_token=refresh_token, expiry=LONG_AGO) as env:
            began = time.perf_counter()
            many = [subprocess.Popen([command, "token"], env=env, stdout=subprocess.PIPE) for _ in range(how_many)]
            printed = [process.communicate()[0] for process in many]
            took = time.perf_counter() - began
        if len(set(printed)) != 1 or not printed[0].strip() or any(process.returncode for process in many):
            sys.exit(f"not one token for all: {len(set(printed))} answers, codes { ({p.returncode for p in many}) }")
        return took, grants(sandbox)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--gh", default=shutil.which("gh") or "", metavar="PROGRAM")
    parser.add_argument("--most", type=float, default=2.2, help="times Python itself, for a cached token")
    parser.add_argument("--most-import", type=float, default=1.3, help="times Python itself, for `import dbx_auth`")
    parser.add_argument("--most-renewed", type=float, default=1.0, help="seconds, for a renewed token")
    parser.add_argument("--most-at-once", type=float, default=15.0, help="seconds, for all of those at once")
    options = parser.parse_args()
    command = shutil.which("dbx-auth", path=str(Path(sys.executable).parent)) or "dbx-auth"

    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        env = stack.enter_context(home_of("https://bench.cloud.databricks.com"))
        login = stack.enter_context(home_of(sandbox.url, refresh_token=sandbox.add_login().refresh_token))
        runs = {
            "python -c pass": Run([sys.executable, "-c", "pass"], env),
            "import dbx_auth": Run([sys.executable, "-c", "import dbx_auth"], env),
            "dbx-auth token": Run([command, "token"], env),
            "  renewed": Run([command, "token"], login, lambda: end_login(login)),
        }
        if options.gh:
            (Path(env["HOME"]) / "hosts.yml").write_text("github.com:\n    oauth_token: gho_cached\n")
            runs["gh auth token"] = Run([options.gh, "auth", "token"], {**env, "GH_CONFIG_DIR": env["HOME"]})
        time.sleep(2.5)  # a memo is for files that were left alone for a while
        medians(runs, 1)
        before = grants(sandbox)
        found = medians(runs, options.rounds)
        if (asked := grants(sandbox) - before) != options.rounds:
            sys.exit(f"{options.rounds} renewals were asked for, and the server saw {asked}")
        heavy = heavy_imports(env)
    took, asked = crowd(command, options.at_once)

    for name, median in found.items():
        print(f"{name:<16} {median * 1000:7.1f} ms   {median / found['python -c pass']:5.2f} x")
    print(f"{options.at_once} at once {took:12.1f} s    {asked} grant{'s' * (asked != 1)}\n")
    cached, python = found["dbx-auth token"], found["python -c pass"]
    imported, renewed = found["import dbx_auth"] / python, found["  renewed"]
    held = [
        Limit(f"a cached token: {cached / python:.2f} x (at most {options.most})", cached <= options.most * python),
        Limit(f"import dbx_auth: {imported:.2f} x (at most {options.most_import})", imported <= options.most_import),
        Limit(f"a renewed token: {renewed:.2f} s (less than {options.most_renewed})", renewed < options.most_renewed),
        Limit(
            f"{options.at_once} at once: {took:.1f} s (less than {options.most_at_once})", took < options.most_at_once
        ),
        Limit(f"imported for nothing: {' '.join(heavy) or 'nothing'}", not heavy),
    ]
    if theirs := found.get("gh auth token"):
        held.append(Limit(f"a cached token beside that of gh: {cached / theirs:.2f} x (less than 1)", cached < theirs))
    for limit in held:
        print(f"{'ok  ' if limit.is_held else 'FAIL'}  {limit.what}")
    if not options.gh:
        print("      gh was not measured: --gh PROGRAM")
    return int(not all(limit.is_held for limit in held))


if __name__ == "__main__":
    sys.exit(main())
