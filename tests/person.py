"""A person beside a login that waits: they see the link, go there, and come back or paste where they ended."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pexpect
from machine import Machine, Result

LINK = r"(?m)^(https?://\S+)\n"


class Waiting:
    """`dbx-auth` without a terminal, that runs and waits for somebody; what it says is seen while it runs."""

    def __init__(self, child: subprocess.Popen[str], said: str) -> None:
        self.child = child
        self._said = said

    @property
    def said(self) -> str:
        with open(self._said, encoding="utf-8") as file:
            return file.read()

    def until(self, pattern: str) -> re.Match[str]:
        """What it says, once it has said this."""
        deadline = time.monotonic() + 30
        while True:
            is_over = self.child.poll() is not None  # asked first: its last words may come in between
            if found := re.search(pattern, self.said):
                return found
            assert not is_over and time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def link(self) -> str:
        return self.until(LINK)[1]

    def type(self, text: str) -> None:
        """Let the text come in on stdin, which stays open."""
        assert self.child.stdin
        self.child.stdin.write(text)
        self.child.stdin.flush()

    def hang_up(self) -> None:
        """Let stdin end, as where nobody can type."""
        if self.child.stdin:
            self.child.stdin.close()
            self.child.stdin = None

    def ended(self) -> Result:
        self.hang_up()
        out, _ = self.child.communicate(timeout=40)
        return Result(self.child.returncode, out, self.said)


@contextmanager
def waiting(machine: Machine, *argv: str, **env: str) -> Iterator[Waiting]:
    """A `dbx-auth` that waits; nothing of it is left in the end."""
    with tempfile.NamedTemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "dbx_auth", *argv],
            env=machine.child_env(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            yield Waiting(child, said.name)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()


def asked(link: str) -> dict[str, str]:
    """What a login asks for with its link; one that knows no host carries it in `destination_url`."""
    query = parse_qs(urlsplit(link).query, strict_parsing=True)
    if "destination_url" in query:
        return asked(*query["destination_url"])
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def answer(link: str, **fields: str) -> str:
    """An address that could answer this login."""
    question = asked(link)
    return f"{question['redirect_uri']}/?{urlencode({'code': 'a-code', 'state': question['state'], **fields})}"


def visit(link: str, *, come_back: bool = True) -> httpx.Response:
    """Go to a link of a sandbox, and back to the login if that is where it leads; else the redirect itself."""
    with httpx.Client(trust_env=False, verify=False, follow_redirects=True) as browser:
        page = browser.get(link, follow_redirects=False)
        while not come_back and not page.headers["location"].startswith("http://localhost:"):
            page = browser.get(page.headers["location"], follow_redirects=False)
        return browser.get(link) if come_back else page


def end_of(link: str) -> str:
    """What the address bar says in the end, where the browser cannot come back."""
    return str(visit(link, come_back=False).headers["location"])


def interrupt(person: Any) -> None:
    """Press Ctrl-C, and again after a while: readline misses one in the moment before it waits for keys."""
    person.sendintr()
    if person.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=3):
        person.sendintr()


def shown_link(person: Any) -> str:
    """The link that a login shows on a terminal."""
    person.expect(r"(https?://\S+)\r\n")
    return str(person.match.group(1))
