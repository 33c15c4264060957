"""A program that answers the Databricks SDKs in place of the Databricks CLI, and how it is put where they look.

The SDKs start the program that DATABRICKS_CLI_PATH names with `version` or `auth token …`, and hold what it says
against their own expectations: docs/clients/databricks-sdk.md has the whole of it. Nothing else of that CLI is here.

    __main__    the program: argv ─► answers.answer ─► stdout, stderr, exit code
    pflag       argv as Go reads it
    answers     what the CLI would say
    lookup      whose token a call is for, and that token
    deadline    no later than callers wait
    executable  the file that starts all this
"""

from __future__ import annotations

from .executable import install, is_ours, place, uninstall

__all__ = ["install", "is_ours", "place", "uninstall"]
