"""A machine of its own for each test: a home, an environment, and `dbx-auth` on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dbx_auth import cli
from dbx_auth.store import AuthJson, CliCache
from dbx_auth.tokens import format_expiry
from dbx_auth.world import Http, World, tell

HOST = "https://dev.cloud.databricks.com"
OTHER = "https://prod.cloud.databricks.com"


def hasty(leaving: float) -> tuple[str, str]:
    """Words that start `dbx-auth` with a gateway that waits one second for answers, to see what it waits for besides.

    `leaving` is how many seconds it waits for a refresh that has begun.
    """
    patience = f"from dbx_auth import gateway; gateway.GRACE, gateway.LEAVING = 1, {leaving}"
    return "-c", f"{patience}; from dbx_auth.__main__ import main; main()"


class Result(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Machine:
    """A home directory and an environment, and `dbx-auth` on it: `run` in this process, `spawn` as a real one."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.env: dict[str, str] = {}
        self.browsed: list[str] = []
        self.waited: list[str] = []
        self.stdin: list[str] = []
        self.became: list[tuple[list[str], dict[str, str]]] = []
        self.clock = time.time
        self._capture = capture

    @property
    def world(self) -> World:
        return World(
            env=self.env,
            home=str(self.home),
            now=lambda: self.clock(),
            http=Http(self.env),
            open_url=self.browse,
            read_line=lambda given_up=None: self.stdin.pop(0) if self.stdin else None,
            warn=lambda text: tell(f"dbx-auth: warning: {text}"),
            waiting=self.wait,
            become=lambda argv, env: self.became.append((list(argv), dict(env))),
        )

    def browse(self, url: str) -> bool:
        self.browsed.append(url)
        return False

    def wait(self, what: str, seconds: float) -> AbstractContextManager[None]:
        self.waited.append(what)
        return nullcontext()

    def run(self, *argv: str, stdin: str = "") -> Result:
        self.stdin = stdin.splitlines()
        self._capture.readouterr()
        code = cli.run(argv, self.world)
        return Result(code, *self._capture.readouterr())

    def spawn(self, *argv: str, stdin: str = "", **env: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "dbx_auth", *argv],
            env=self.child_env(**env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def child_env(self, **env: str) -> dict[str, str]:
        """The environment of a real process on this machine, and nothing of the one that runs the tests.

        Nor is such a process measured: that would cost each of them as much again as it costs by itself.
        """
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT")}
        return {**kept, "HOME": str(self.home), **self.env, **env}

    @property
    def auth_json(self) -> Path:
        return Path(AuthJson(self.world).path)

    @property
    def cli_cache(self) -> Path:
        return Path(CliCache(self.world).path)

    @property
    def config(self) -> Path:
        return self.home / ".databrickscfg"

    def write(self, path: Path, content: str | bytes | dict[str, Any]) -> Path:
        """Put a file there, private as ours are; a dictionary becomes JSON."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    def cached_login(self, key: str, **fields: Any) -> Path:
        """A login in the Databricks CLI's cache; fresh unless `fields` say otherwise."""
        entry = {"access_token": "cached", "token_type": "Bearer", "refresh_token": "r", "expiry": _in(3000), **fields}
        return self.write(self.cli_cache, {"version": 1, "tokens": {key: entry}})

    def files(self) -> dict[str, bytes]:
        """Every file of the home and what it holds, to see that nothing changed; without locks and journals."""
        found = (p for p in self.home.rglob("*") if p.is_file() and p.parent.name not in (".dbx-auth", "refresh"))
        return {str(p.relative_to(self.home)): p.read_bytes() for p in found if p.suffix != ".lock"}


def _in(seconds: float) -> str:
    """An expiry that many seconds from now, as the CLI writes it."""
    return format_expiry(time.time() + seconds)
