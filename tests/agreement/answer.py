"""What either side may say."""

from __future__ import annotations

from typing import NamedTuple

OK = ""
NOTHING = "not configured"
CONFLICT = "conflicting methods"
UNUSABLE = "unusable configuration"
FAILED = "failed"


class Answer(NamedTuple):
    """Who one is, or why nobody: `error` is one of the five words above, and `said` its text."""

    auth_type: str = ""
    host: str = ""
    token: str = ""
    error: str = OK
    said: str = ""

    def agrees(self, other: Answer) -> bool:
        return self[:4] == other[:4]
