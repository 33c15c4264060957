"""The coding agents that tests start, headless: `make clients` installs them where DBX_AUTH_TEST_CLIENTS says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CLIENTS = Path(os.environ.get("DBX_AUTH_TEST_CLIENTS", "nowhere"))

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
    "DISABLE_AUTOUPDATER": "1",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "PI_OFFLINE": "1",
}
"""What keeps them from asking anybody else, and from trying for minutes."""


def executable(name: str) -> Path:
    return CLIENTS / name / "node_modules" / ".bin" / name


def needs(name: str) -> list[pytest.MarkDecorator]:
    """The marks of a test that starts this one."""
    return [pytest.mark.real, pytest.mark.skipif(not executable(name).exists(), reason=f"needs {name}: make clients")]
