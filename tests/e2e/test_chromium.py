"""A login in a real browser, from the consent page to the page that sends the person back to the terminal."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from typing import Any

import chromium
import pytest
from machine import Machine, Result

from dbx_auth.sandbox import Sandbox

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not chromium.installed(), reason="apt-get install chromium chromium-driver"),
]

INK = {"light": range(0, 100), "dark": range(200, 256)}
"""How bright the text has to be."""


@pytest.fixture
def workspace() -> Iterator[Sandbox]:
    """A workspace that asks for consent."""
    with Sandbox() as running:
        yield running


def log_in(machine: Machine, button: str, host: str = "", scheme: str = "light") -> tuple[Result, Any]:
    """How `dbx-auth login` ends when the person presses `button`, and what the person saw."""
    notes = machine.home.parent / "notes.json"
    machine.env["BROWSER"] = shlex.join([sys.executable, chromium.__file__, str(notes), button, scheme])
    said = machine.spawn("login", *filter(None, [host]), "--method", "browser", "--timeout", "30")
    assert "opening the browser" in said.err, said
    deadline = time.monotonic() + 20
    while not notes.exists():
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    seen = json.loads(notes.read_text())
    assert "failed" not in seen, seen["failed"]
    return said, seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_allows_it_is_logged_in_and_sent_back_to_the_terminal(
    machine: Machine, workspace: Sandbox, scheme: str
) -> None:
    said, seen = log_in(machine, "Allow", workspace.url, scheme)
    assert said.code == 0 and f"logged in to {workspace.url} as {workspace.user}" in said.err
    assert machine.run("token").code == 0
    callback = seen["callback"]
    assert callback["title"] == "dbx-auth: Back to the terminal"
    assert callback["text"].startswith("Back to the terminal\n")
    brightness = [int(page["ink"].partition("(")[2].partition(",")[0]) for page in (seen["consent"], callback)]
    assert all(value in INK[scheme] for value in brightness), brightness


def test_the_pages_load_nothing_and_the_browser_finds_no_fault(machine: Machine, workspace: Sandbox) -> None:
    _, seen = log_in(machine, "Allow", workspace.url)
    port = seen["callback"]["url"].split(":")[2].partition("/")[0]
    authorize = f"{workspace.url}/oidc/v1/authorize"
    asked = [request for request in seen["requests"] if not request.endswith("/favicon.ico")]
    assert asked == [f"GET {authorize}", f"POST {authorize}", f"GET http://localhost:{port}/"]
    assert (seen["consent"]["loaded"], seen["callback"]["loaded"], seen["console"]) == ([], [], [])


def test_who_denies_it_is_told_in_both_places(machine: Machine, workspace: Sandbox) -> None:
    said, seen = log_in(machine, "Deny", workspace.url)
    assert (said.code, said.out) == (1, "") and "refused: access_denied" in said.err
    assert not machine.auth_json.exists()
    assert seen["callback"]["title"] == "dbx-auth: The login was refused"
    assert "access_denied" in seen["callback"]["text"]


def test_the_consent_page_says_what_it_is_and_what_it_is_not(machine: Machine, workspace: Sandbox) -> None:
    _, seen = log_in(machine, "Deny", workspace.url)
    text = seen["consent"]["text"]
    assert "This is the dbx-auth sandbox on your own machine. It is not Databricks." in text
    assert "Allow databricks-cli?" in text and workspace.user in text and "localhost:80" in text


def test_the_browser_finds_the_workspace_for_who_names_none(machine: Machine, workspace: Sandbox) -> None:
    machine.env["DATABRICKS_DISCOVERY_HOST"] = workspace.url
    said, seen = log_in(machine, "Allow")
    assert said.code == 0 and f"logged in to {workspace.url} as {workspace.user}" in said.err
    assert seen["requests"][:2] == [f"GET {workspace.url}/", f"GET {workspace.url}/oidc/v1/authorize"]
