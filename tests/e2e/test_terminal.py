"""`dbx-auth` as a person types it, on a real terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from machine import Machine

from dbx_auth.sandbox import Sandbox

if sys.platform == "win32":
    pytest.skip("pexpect drives no terminal on Windows", allow_module_level=True)
import pexpect

pytestmark = pytest.mark.real


@contextmanager
def typing(machine: Machine, *argv: str, **env: str) -> Iterator[Any]:
    """A terminal in which `dbx-auth` runs."""
    environment = machine.child_env(**{"TERM": "xterm", "BROWSER": "none", **env})
    child = pexpect.spawn(
        sys.executable, ["-m", "dbx_auth", *argv], env=environment, encoding="utf-8", timeout=30, dimensions=(40, 120)
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ended(child: Any) -> tuple[int, str]:
    """How it ended, and the rest of what was on the screen."""
    if not child.flag_eof:
        child.expect(pexpect.EOF)
    said = child.before
    child.close()
    return child.exitstatus, said


def test_login_asks_for_the_host_the_method_and_the_token_and_hides_it(machine: Machine, sandbox: Sandbox) -> None:
    with typing(machine, "login") as person:
        person.expect(r"workspace URL \(none: find it in the browser\): ")
        person.sendline(sandbox.url)
        person.expect("1  in the browser")
        person.expect("2  with a personal access token")
        person.expect("method")
        person.sendline("2")
        person.expect("personal access token: ")
        person.sendline(sandbox.pat)
        code, screen = ended(person)
    assert code == 0 and f"logged in to {sandbox.url} as {sandbox.user}" in screen
    assert sandbox.pat not in screen
    assert json.loads(machine.auth_json.read_text())["databricks"]["key"] == sandbox.pat


def test_a_host_that_is_none_is_asked_for_again(machine: Machine, sandbox: Sandbox) -> None:
    with typing(machine, "login", "--method", "pat") as person:
        person.expect("workspace URL: ")
        person.sendline("http://example.com")
        person.expect("the host must use https")
        person.expect("workspace URL: ")
        person.sendline(sandbox.url + "/serving-endpoints/")
        person.expect("personal access token: ")
        person.sendline(sandbox.pat)
        code, _ = ended(person)
    assert code == 0


def test_login_as_a_service_principal(machine: Machine, sandbox: Sandbox) -> None:
    with typing(machine, "login", sandbox.url, "--method", "m2m") as person:
        person.expect("client id: ")
        person.sendline(sandbox.client_id)
        person.expect("client secret: ")
        person.sendline(sandbox.client_secret)
        code, screen = ended(person)
    assert code == 0, screen
    assert sandbox.client_secret not in screen
    assert machine.run("token", "-o", "json").json()["auth_type"] == "oauth-m2m"


def test_the_address_that_the_browser_ends_at_can_be_pasted(machine: Machine, sandbox: Sandbox) -> None:
    import httpx

    with typing(machine, "login", sandbox.url, "--method", "browser", "--no-browser") as person:
        person.expect(r"(http://127\S+authorize\S+)")
        link = person.match.group(1)
        person.expect("paste the address")
        person.sendline("what?")
        person.expect("that is not the address")
        redirected = httpx.get(link, trust_env=False)
        person.sendline(redirected.headers["location"])
        code, screen = ended(person)
    assert code == 0, screen
    assert machine.run("status", "--offline").code == 0


@pytest.mark.parametrize("question", ["workspace URL", "personal access token"])
def test_ctrl_c_at_a_question_is_130_and_changes_nothing(machine: Machine, sandbox: Sandbox, question: str) -> None:
    argv = ["login"] if question == "workspace URL" else ["login", sandbox.url, "--method", "pat"]
    before = machine.files()
    with typing(machine, *argv) as person:
        person.expect(question)
        person.sendintr()
        # readline misses a signal that comes in the moment before it waits for keys; a person presses again.
        if person.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5):
            person.sendintr()
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == before


def test_ctrl_c_while_the_browser_is_out_frees_the_port(machine: Machine, sandbox: Sandbox) -> None:
    with typing(machine, "login", sandbox.url, "--method", "browser") as person:
        person.expect("open this link")
        person.sendintr()
        code, screen = ended(person)
    assert code == 130 and "Traceback" not in screen


def test_status_is_a_page_on_a_terminal_and_plain_in_a_pipe(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    with typing(machine, "status") as person:
        code, screen = ended(person)
    assert code == 0 and "\x1b[" in screen and "✓ pat" in screen and sandbox.pat not in screen
    with typing(machine, "status", NO_COLOR="1") as person:
        code, screen = ended(person)
    assert code == 0 and not re.search(r"\x1b\[[0-9;]*3[0-9]m", screen)
    piped = machine.spawn("status")
    assert piped.code == 0 and piped.out.isprintable() is False and "\x1b" not in piped.out
    assert f"logged in to {sandbox.url}" in piped.out


def test_models_is_a_table_on_a_terminal(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    with typing(machine, "models") as person:
        code, screen = ended(person)
    assert code == 0 and "called through" in screen and "databricks-claude-sonnet-4-5" in screen


def test_waiting_for_the_browser_counts_down(machine: Machine, sandbox: Sandbox) -> None:
    with typing(machine, "login", sandbox.url, "--method", "browser", "--timeout", "4", BROWSER="true") as person:
        person.expect("waiting for the browser … [0-9] s left")
        code, screen = ended(person)
    assert code == 4 and "nobody came back" in screen
