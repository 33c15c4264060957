"""How long a list of models takes, and how much memory: whole processes against a sandbox of 5,000 endpoints.

    python -P benchmarks/models.py [--rounds 10] [--endpoints 5000] [--most 1.5] [--seconds 1.0] [--megabytes 60]

(`-P`, because benchmarks/token.py would stand in for a module of Python's.)

Prints what the first list takes, what one from the cache takes beside `dbx-auth --version`, and the most memory that
either had; exits 1 when one of them is above its limit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from dbx_auth.sandbox import Sandbox


class Run(NamedTuple):
    """A process that has ended: seconds, bytes at its largest, and lines it printed."""

    seconds: float
    memory: int
    lines: int


def run(argv: list[str], env: dict[str, str]) -> Run:
    began = time.perf_counter()
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        lines = process.stdout.read().count(b"\n")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(argv)} ended with {process.returncode}")
    return Run(took, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--endpoints", type=int, default=5_000)
    parser.add_argument(
        "--most", type=float, default=1.5, help="ratio of a cached list to --version above which this fails"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for a first list of all endpoints")
    parser.add_argument("--megabytes", type=float, default=60.0, help="for the same")
    options = parser.parse_args()
    command = shutil.which("dbx-auth", path=os.path.dirname(sys.executable)) or "dbx-auth"
    listing = [command, "models", "--all", "-o", "names"]
    usual = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}

    def env(home: str, sandbox: Sandbox) -> dict[str, str]:
        return {**usual, "HOME": home, "DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat}

    with tempfile.TemporaryDirectory() as home, Sandbox(endpoints=options.endpoints) as large:
        fresh = [run([*listing, "--refresh"], env(home, large)) for _ in range(options.rounds)]
        if {each.lines for each in fresh} != {options.endpoints}:
            sys.exit(f"not all of {options.endpoints} endpoints: {fresh[0].lines}")
    with tempfile.TemporaryDirectory() as home, Sandbox() as small:
        run(listing, env(home, small))
        taken: dict[str, list[float]] = {"dbx-auth --version": [], "dbx-auth models": []}
        for _ in range(options.rounds):
            for name, times in taken.items():
                times.append(run([command, *name.split()[1:]], env(home, small)).seconds)
    version, cached = map(statistics.median, taken.values())
    first, memory = statistics.median(each.seconds for each in fresh), max(each.memory for each in fresh) / 1e6
    print(f"first list of {options.endpoints:,} {first * 1000:7.1f} ms   (at most {options.seconds * 1000:.0f})")
    print(f"its memory          {memory:7.1f} MB   (at most {options.megabytes:.0f})")
    print(f"dbx-auth --version  {version * 1000:7.1f} ms")
    print(f"dbx-auth models     {cached * 1000:7.1f} ms   from the cache")
    print(f"ratio               {cached / version:7.2f}      (at most {options.most})")
    return int(first > options.seconds or memory > options.megabytes or cached / version > options.most)


if __name__ == "__main__":
    sys.exit(main())
