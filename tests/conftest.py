"""What every test may use: a machine of its own, and the far sides it talks to."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from cloud import Cloud
from machine import Machine
from oidc_provider.fixture import OidcProvider, installed

from dbx_auth.sandbox import Sandbox

BROWSER = """
import sys, httpx
with httpx.Client(follow_redirects=True, trust_env=False) as browser:
    page = browser.get(sys.argv[1])
open(sys.argv[2], "w").write(f"{page.status_code} {page.text}")
"""


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has Ctrl-C ignored, and the programs under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32":
    for number in (signal.SIGQUIT, signal.SIGHUP):  # `nohup` has the second one ignored
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where DBX_AUTH_TEST_REAL=required, a test that needs a real part may not be skipped."""
    report = yield
    if report.skipped and item.get_closest_marker("real") and os.environ.get("DBX_AUTH_TEST_REAL") == "required":
        report.outcome = "failed"
        report.longrepr = f"a real part is missing: {report.longrepr}"
    return report


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    home = tmp_path / "home"
    home.mkdir()
    yield Machine(home, capsys)


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who runs the tests may have a workspace; no test ever sees it."""
    for name in list(os.environ):
        ours = name.startswith(("DATABRICKS_", "DBX_AUTH_", "ARM_", "GOOGLE_")) and name != "DBX_AUTH_TEST_REAL"
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def oidc() -> Iterator[OidcProvider]:
    if not installed():
        pytest.skip("npm ci in tests/oidc_provider")
    with OidcProvider() as provider:
        yield provider


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(auto_approve=True) as workspace:
        yield workspace


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path / "cloud") as outside:
        yield outside


@pytest.fixture
def browser(machine: Machine, tmp_path: Path) -> Path:
    """A browser that follows redirects; returns the file that the last page it saw is written to."""
    script, seen = tmp_path / "browser.py", tmp_path / "page.html"
    script.write_text(BROWSER.replace("sys.argv[2]", repr(str(seen))))
    machine.env["BROWSER"] = shlex.join([sys.executable, str(script)])
    return seen
