"""What the Databricks CLI would say: its version, its help, a token, and its words for what is wrong.

SDKs read all of them. Whatever else the CLI is asked for is refused in one line that says who answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dbx_auth import __version__
from dbx_auth.errors import AuthError, NotConfigured, mistake
from dbx_auth.world import World, one_line

from .pflag import Line, parse

if TYPE_CHECKING:
    from dbx_auth.tokens import Token

VERSION = (1, 13, 0)
"""The version of the Databricks CLI whose manners these are. From 0.296.0 on, SDKs say --force-refresh."""

BUDGET = 4.5
"""Seconds for a token, of the 5 that some callers wait."""

NOT_CONFIGURED = "databricks OAuth is not configured for this host"
"""What makes an SDK go on to its next way to log in. After any other error it gives up."""

FAR_FUTURE = 4_102_444_800.0
"""When a token ends that does not: in the year 2100, because every SDK wants to be told."""

HELP = f"""dbx-auth {__version__} in place of the Databricks CLI. It answers the Databricks SDKs, and nobody else:

  version [-o text|json]
  auth token [PROFILE|HOST] [-p PROFILE] [--host URL] [--account-id ID] [--workspace-id ID] [--force-refresh]
             [--timeout TIME] [-o text|json]

Everything else is in `dbx-auth --help`.
"""


class Answer(NamedTuple):
    """How one call ends: the exit code, and what goes to stdout and stderr."""

    code: int
    out: str = ""
    err: str = ""


def answer(argv: Sequence[str], world: World, profile: str = "", host: str = "") -> Answer:
    """What the Databricks CLI would say to this; `profile` or `host` is what the shim was installed for."""
    line = parse(argv)
    command = line.words[: 2 if line.words[:1] == ["auth"] else 1]
    if command not in ([], ["version"], ["auth"], ["auth", "token"]):
        asked = one_line(" ".join(command))
        ours = f"; there is `dbx-auth {asked}`" if command[0] == "auth" else ""
        return _wrong(f"this is dbx-auth and not the Databricks CLI, and has no `{asked}`{ours}")
    if line.error:
        return _wrong(line.error)
    if line.is_on("help") or command == ["auth"] or not (command or line.is_on("version")):
        return Answer(0, HELP)
    if command == ["auth", "token"]:
        return _token(line, world, profile, host)
    return Answer(0, version(line.output))


def version(form: str = "text") -> str:
    number = ".".join(map(str, VERSION))
    if form != "json":
        return f"Databricks CLI v{number}\n"
    major, minor, patch = VERSION
    document = {
        "ProjectName": "cli",
        "Version": number,
        "Summary": f"dbx-auth {__version__}",
        "Major": major,
        "Minor": minor,
        "Patch": patch,
        "Prerelease": "",
        "IsSnapshot": False,
    }
    return json.dumps(document, indent=2) + "\n"


def document(token: Token) -> str:
    """A token as `databricks auth token` prints it, without a line break at its end."""
    from dbx_auth.tokens import format_expiry

    ends = FAR_FUTURE if token.expires_at is None else token.expires_at
    fields = {"access_token": token.value, "token_type": token.token_type, "expiry": format_expiry(ends)}
    return json.dumps(fields, indent=2)


def _token(line: Line, world: World, profile: str, host: str) -> Answer:
    if len(line.words) > 3:
        return _wrong(f"accepts at most 1 arg(s), received {len(line.words) - 2}")
    from dbx_auth.profile import Flags

    from . import lookup  # `version`, which SDKs ask for first, needs nothing of it

    try:
        found = lookup.find(line, world, min(BUDGET, line.timeout or BUDGET), Flags(profile, host))
    except Exception as error:
        return _refused(error if isinstance(error, AuthError) else mistake(error), line.output)
    return Answer(0, f"{found.value}\n" if line.output == "text" else document(found))


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def _wrong(text: str) -> Answer:
    # Java's SDK takes `not found` for a CLI that is missing.
    return Answer(1, err=re.sub("not found", "not there", f"Error: {text}\n", flags=re.IGNORECASE))


def _refused(error: AuthError, form: str) -> Answer:
    answer = _wrong(_in_their_words(error))
    if form != "json":
        return answer
    from dbx_auth import output

    return answer._replace(out=output.failure(error) + "\n")


def _in_their_words(error: AuthError) -> str:
    from .lookup import failed

    broken = failed(error)
    if "databricks-cli" in broken:
        return (
            "A new access token could not be retrieved because the refresh token is invalid. "
            f"To reauthenticate, run the following command:\n  $ {error.hint}"
        )
    if isinstance(error, NotConfigured):
        why = "no cached credentials" if error.attempts and not broken else str(error)
        return f"cache: {NOT_CONFIGURED}. {why}; run `{error.hint}` to sign in"
    return f"{error}\nhint: {error.hint}"
