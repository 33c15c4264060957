"""What `make demo` shows: the whole way from nothing to a list of models, against an emulated workspace.

Everything happens in a home directory that is made for this and removed at the end; no setting of yours is read.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

DBX_AUTH = str(Path(sys.executable).with_name("dbx-auth"))

# A browser that says yes to everything: it follows the login's redirects and goes away.
BROWSER = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"

STEPS = ["login {host}", "status", "token", "models", "logout", "token"]


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        kept = {name: os.environ[name] for name in ("PATH", "TERM", "LANG", "NO_COLOR") if name in os.environ}
        env = {**kept, "HOME": home, "BROWSER": shlex.join([sys.executable, "-c", BROWSER])}
        say("an emulated workspace, in place of yours")
        argv = [DBX_AUTH, "sandbox", "--port", "0", "--auto-approve"]
        sandbox = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert sandbox.stdout
            host = sandbox.stdout.readline().strip()
            codes = [show(step.format(host=host), env) for step in STEPS]
        finally:
            sandbox.terminate()
            sandbox.communicate()
    # The last step asks for a token after the logout, and has to be told to log in.
    if codes != [0] * (len(STEPS) - 1) + [4]:
        say(f"something went wrong: {codes}")
        return 1
    say("that is all of it. With a workspace of your own: dbx-auth login https://<your workspace>")
    return 0


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def show(words: str, env: dict[str, str]) -> int:
    print(f"\n$ dbx-auth {words}", flush=True)
    # One stream, so that what is said stays in its place when all this goes into a file.
    one = subprocess.STDOUT
    argv = [DBX_AUTH, *words.split()]
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stderr=one, timeout=60).returncode


if __name__ == "__main__":
    sys.exit(main())
