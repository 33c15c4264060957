"""docs/agreement.md, made of the table of differences: `PYTHONPATH=tests python -m agreement.page`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from .differences import DIFFERENCES, LIKE_PYTHON, OURS, PYTHON, Difference, Likeness

PAGE = Path(__file__).parents[2] / "docs" / "agreement.md"
STATES = 2000
"""Machines that every run of the tests makes."""

INTRODUCTION = f"""\
# The same identity as the official tools

On one machine, dbx-auth, the Databricks SDKs and the Databricks CLI should all be the same person. So each run of our
tests makes {STATES:,} machines by chance: environment variables, profile files, logins of the CLI, an Azure CLI or
none, credentials of CI systems, of Azure and of Google, hosts as people paste them. On each, the official SDK for
Python and dbx-auth are asked who they are, and have to give the same auth type, host and token, or both give none.
Where the SDKs for Python and Go differ, Go decides, whose code is also the CLI's. What may differ is below and nowhere
else: the tests fail where no row explains a difference, and where a row explains none.
"""

LEFT_OUT = """\
## What is not compared

Logins of our own (`dbx-auth login`), which the official tools do not know; logins of the CLI in the keyring of the
operating system; notebooks (`runtime`), which need a cluster; `external-browser` and `model-serving`, which only
Python has.
"""


def page() -> str:
    """The whole page."""
    parts = (
        INTRODUCTION,
        "## Where dbx-auth differs on purpose\n",
        _table("The official tools", "dbx-auth", (row for row in DIFFERENCES if row.group == OURS)),
        "## Where Python differs from Go, and dbx-auth does as Go\n",
        _table("The Python SDK", "dbx-auth", (row for row in DIFFERENCES if row.group == PYTHON)),
        "## Where Python differs from Go, and dbx-auth does as Python\n",
        _table("The Go SDK", "dbx-auth", LIKE_PYTHON),
        LEFT_OUT,
    )
    return "\n".join(parts)


def _table(official: str, ours: str, rows: Iterable[Difference | Likeness]) -> str:
    lines = [f"| | {official} | {ours} | Why |", "|---|---|---|---|"]
    lines += [f"| {_name(row.name)} | {row.official} | {row.ours} | {row.why} |" for row in rows]
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    return name[0].upper() + name[1:]


if __name__ == "__main__":
    sys.stdout.write(page())
