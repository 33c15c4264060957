"""`dbx-auth status` when a source has failed: what happened, and what to do next, without the documents."""

from __future__ import annotations

import pytest
from cloud import Cloud
from cloud.ways import WAYS, go_inside, leaks
from e2e.test_every_refusal import ROWS, Row
from machine import Machine

from dbx_auth.sources import ORDER

FAILING = {row.auth_type: row for row in reversed(ROWS) if row.says != row.auth_type}
"""For each source the first of its refusals that is one, and not only passed over."""


@pytest.mark.parametrize("row", FAILING.values(), ids=lambda row: f"{row.auth_type}: {row.what}")
def test_status_says_what_failed_why_and_what_to_type_next(machine: Machine, cloud: Cloud, row: Row) -> None:
    go_inside(machine, cloud)
    WAYS[row.auth_type](machine, cloud)
    row.spoil(machine, cloud)
    found = machine.spawn("status")
    if row.auth_type == "stored":  # without this file nobody knows which workspace is meant, and there is no status
        assert (found.code, found.out) == (5, "") and row.says in found.err and "\nhint: " in found.err
        return
    lines = found.out.splitlines()
    assert found.code == (6 if row.code == 6 else 4) and not leaks(cloud, found.out + found.err)
    assert lines[0].startswith("cannot reach" if row.code == 6 else "not logged in")
    attempts = {line.split(":")[0].strip(): line for line in lines if line.startswith("  ")}
    assert set(ORDER) <= set(attempts), "each source has its line"
    _, said, reason = attempts[row.auth_type].split(": ", 2)
    assert said == "failed"
    (last,) = (line for line in lines if line.startswith("warning: ") and reason in line)
    assert row.says in last and last.endswith(")") and len(last.partition("(hint: ")[2]) > 8
    before = {attempts[name].split(": ")[1] for name in ORDER[: ORDER.index(row.auth_type)]}
    assert before <= {"unavailable", "failed"}
