"""The programs that the SDK runs: `az`, in three moods, and the Databricks CLI.

They are real scripts on PATH, which the SDK looks up by itself. To start Python for each of thousands of questions
would take an hour, so `official` answers `subprocess.run` with `answer`, which is all that the scripts do; a test
holds the scripts to the same answers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

AZ = ("az", "az-logged-out", "az-identity")
"""`az` with a person's login, with none, and on a machine with a managed identity."""

DATABRICKS = "databricks"
MISS = "databricks OAuth is not configured for this host"


class Done(NamedTuple):
    code: int
    out: str = ""
    err: str = ""


def install(folder: Path) -> None:
    """One directory for each program, so that a state's PATH says which of them it has."""
    body = "#!{}\nimport sys\nsys.path.insert(0, {!r})\nfrom agreement.stubs import main\nmain({!r})\n#"
    for mood in (*AZ, DATABRICKS):
        path = folder / mood / mood.partition("-")[0]
        path.parent.mkdir(parents=True)
        text = body.format(sys.executable, str(Path(__file__).parent.parent), mood)
        path.write_text(text + "x" * (1 << 20) + "\n")  # less than 1 MiB is taken for the Databricks CLI of old
        path.chmod(0o755)


def main(mood: str) -> None:
    """What a script does when it is really started."""
    done = answer(mood, sys.argv[1:], os.environ)
    sys.stdout.write(done.out)
    sys.stderr.write(done.err)
    raise SystemExit(done.code)


def answer(mood: str, argv: Sequence[str], env: Mapping[str, str]) -> Done:
    """What a program of that mood says to that command line."""
    options = dict(zip(argv, argv[1:], strict=False))
    if mood == DATABRICKS:
        if argv[0] == "version":
            return Done(0, json.dumps({"Major": 0, "Minor": 295, "Patch": 0}))  # the last one that does not force
        return _cli_token(options.get("--profile", ""), options.get("--host", ""), options.get("--account-id", ""), env)
    if mood == "az-logged-out":
        return Done(1, err="ERROR: Please run 'az login' to setup account.\n")
    if argv[1] == "show":
        user = {"name": "me@example.com", "type": "user"}
        identity = {"name": "systemAssignedIdentity", "type": "servicePrincipal"}
        return Done(0, json.dumps({"user": identity if mood == "az-identity" else user}))
    if mood == "az-identity" and "--tenant" in options:
        return Done(1, err="ERROR: Tenant shouldn't be specified for managed identity account\n")
    token = f"{mood}.{options['--resource'].strip('/').rpartition('/')[2]}.{options.get('--tenant', 'own')}"
    expiry = datetime.fromtimestamp(time.time() + 3000).strftime("%Y-%m-%d %H:%M:%S.%f")
    return Done(0, json.dumps({"accessToken": token, "tokenType": "Bearer", "expiresOn": expiry}))


def _cli_token(profile: str, host: str, account: str, env: Mapping[str, str]) -> Done:
    """`databricks auth token`: from a profile or a host to a cache key, and from there to a token."""
    home = Path(env["HOME"])
    profiles: dict[str, dict[str, str]] | None = json.loads((home / ".databricks" / "profiles.json").read_text())
    if profiles is None:
        return Done(1, err="Error: cannot parse config file\n")
    key = profile
    if profile and profile not in profiles:
        return Done(1, err=f"Error: .databrickscfg has no {profile} profile configured\n")
    if not profile:
        found = [name for name, settings in profiles.items() if _is_for(settings, host)]
        if len(found) > 1:
            return Done(1, err=f"Error: {' and '.join(found)} match {host}. Use --profile to specify\n")
        key = found[0] if found else f"{host}/oidc/accounts/{account}" if account else host
    named = profiles.get(key, {})
    if named.get("client_id") and named.get("client_secret"):
        return Done(1, err=f'Error: profile "{key}" uses M2M authentication\n')
    cache = home / ".databricks" / "token-cache.json"
    tokens = json.loads(cache.read_text())["tokens"] if cache.exists() else {}
    if key not in tokens:
        return Done(1, err=f"Error: cache: {MISS}\n")
    place = _bare(named.get("host", host))
    if place.startswith("accounts.") and not (named.get("account_id") or account):
        if datetime.fromisoformat(tokens[key]["expiry"]) < datetime.now(UTC):
            return Done(1, err="Error: account ID is required\n")  # without it nobody knows where to renew the token
    return _fresh(tokens[key])


def _is_for(settings: Mapping[str, str], host: str) -> bool:
    return _bare(settings.get("host", "")) == _bare(host)


def _bare(host: str) -> str:
    """A host as the CLI compares it."""
    return host.rpartition("://")[2].partition("/")[0].partition("?")[0].lower()


def _fresh(entry: Mapping[str, Any]) -> Done:
    access, expiry = entry["access_token"], datetime.fromisoformat(entry["expiry"])
    if expiry < datetime.now(UTC):
        if not entry["refresh_token"]:
            return Done(1, err="Error: cached token has no refresh token. Try logging in again\n")
        if entry["refresh_token"].startswith("dead"):
            return Done(1, err="A new access token could not be retrieved because the refresh token is invalid.\n")
        access, expiry = f"renewed-{entry['refresh_token']}", datetime.fromtimestamp(time.time() + 3600, UTC)
    shown = expiry.astimezone().isoformat(timespec="microseconds")
    return Done(0, json.dumps({"access_token": access, "token_type": "Bearer", "expiry": shown}))
