"""How long a cached token takes, beside the time that Python itself takes: whole processes, measured in turn.

    python benchmarks/token.py [--rounds 30] [--most 2.2]

Prints the medians and their ratio, and what the process imported that it should not have; exits 1 when the ratio is
above `--most`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAVY = ("httpx", "ssl", "socket", "asyncio", "msal", "azure", "keyring", "rich", "filelock", "tomlkit", "starlette")


def cached_login(home: Path) -> dict[str, str]:
    """A home with a fresh login in the Databricks CLI's cache, and the environment to use it."""
    folder = home / ".databricks"
    folder.mkdir()
    entry = {
        "access_token": "cached",
        "token_type": "Bearer",
        "refresh_token": "r",
        "expiry": "2099-01-01T00:00:00.5+01:00",
    }
    host = "https://bench.cloud.databricks.com"
    (folder / "token-cache.json").write_text(json.dumps({"version": 1, "tokens": {host: entry}}))
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "DATABRICKS_HOST": host}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--most", type=float, default=2.2, help="ratio above which this fails")
    options = parser.parse_args()
    command = shutil.which("dbx-auth", path=str(Path(sys.executable).parent)) or "dbx-auth"
    runs = {"python -c pass": [sys.executable, "-c", "pass"], "dbx-auth token": [command, "token"]}
    with tempfile.TemporaryDirectory() as home:
        env = cached_login(Path(home))
        time.sleep(2.5)  # a memo is for files that were left alone for a while
        subprocess.run(runs["dbx-auth token"], env=env, stdout=subprocess.DEVNULL, check=True)
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, argv in runs.items():
                began = time.perf_counter()
                out = subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=True).stdout
                took[name].append(time.perf_counter() - began)
        if out != b"cached\n":
            sys.exit(f"not the cached token: {out!r}")
        probe = "import sys, runpy; sys.argv = ['dbx-auth', 'token']\ntry: runpy.run_module('dbx_auth')\n"
        probe += f"finally: print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
        heavy = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True).stderr.strip()
    medians = {name: statistics.median(times) for name, times in took.items()}
    for name, median in medians.items():
        print(f"{name:<16} {median * 1000:7.1f} ms")
    ratio = medians["dbx-auth token"] / medians["python -c pass"]
    print(f"ratio            {ratio:7.2f}   (at most {options.most})")
    print(f"heavy imports    {heavy or 'none'}")
    return int(ratio > options.most or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
