"""The protocols in which other programs ask for a token: which host a request is about, and how the answer is written.

    Bazel    https://github.com/EngFlow/credential-helper-spec
    git      https://git-scm.com/docs/git-credential and https://git-scm.com/docs/gitcredentials
    keyring  https://github.com/jaraco/keyring, `keyring get`, as pip and uv call it

Nothing here knows which credentials there are. A host is `https://name[:port]`, in lower case and without the port that
goes without saying, so that two are the same when they are equal; it is empty for what no token may go to.
"""

from __future__ import annotations

import json
import math
from itertools import takewhile

from . import hosts
from .errors import Refused, UsageError
from .tokens import FLOOR, Token

LARGEST = 65_536
"""Bytes that a request may have."""

USER = "token"
"""The user name beside a token that is given as a password, as Databricks documents it for `.netrc`.

https://docs.databricks.com/sql/api/authentication.html
"""


def host_of(url: str) -> str:
    """The host that a request to `url` goes to.

    There is none for anything but https, or http on loopback; nor for what two programs may read in two ways: a user
    name before the host, a dot at its end, white space, a letter beyond ASCII.
    """
    found = hosts.origin(url)
    if found.startswith("https://"):
        return found.removesuffix(":443")
    return found.removesuffix(":80") if found.startswith("http://") and hosts.is_loopback(found) else ""


def bazel_host(request: bytes) -> str:
    """The host that Bazel asks about: that of the `uri` in a JSON object. Raises UsageError when there is no such."""
    try:
        asked = json.loads(request.decode())
    except (ValueError, RecursionError):
        asked = None
    uri = asked.get("uri") if isinstance(asked, dict) else None
    if not isinstance(uri, str):
        raise UsageError(
            "the request is not a JSON object with a uri",
            hint="""echo '{"uri": "https://<your workspace>"}' | dbx-auth helper bazel get""",
        )
    return host_of(uri)


def bazel(token: Token, now: float) -> str:
    """Headers, each with a list of values, and when to ask again."""
    answer: dict[str, object] = {"headers": {name: [value] for name, value in token.headers.items()}}
    if (last := _last_use(token)) is not None:
        from datetime import UTC, datetime

        answer["expires"] = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(answer)


def git_host(request: bytes) -> str:
    """The host that git asks about, in lines of `name=value` up to an empty one.

    There is none when it asks for the password of somebody else than `USER`. Git takes its `host` out of a URL, with
    every %2F in it decoded, so that a slash in it begins no path; and it names each of these things once.
    """
    lines = takewhile(bool, request.decode(errors="replace").split("\n"))
    pairs = [line.partition("=")[::2] for line in lines]
    names = [name for name, _ in pairs]
    asked = dict(pairs)
    url = f"{asked.get('protocol')}://{asked.get('host')}"
    if asked.get("username", USER) != USER or any(names.count(name) > 1 for name in ("protocol", "host", "username")):
        return ""
    return host_of(url) if hosts.origin(url) == url.lower() else ""


def git(token: Token) -> str:
    """User name, password and when to ask again, for git. Raises Refused for a token that is no password."""
    lines = [f"username={USER}", f"password={_password(token)}"]
    if (last := _last_use(token)) is not None:
        lines.append(f"password_expiry_utc={last}")
    return "\n".join(lines)


GIT_QUIT = "quit=1"
"""What tells git to ask nobody else, neither another helper nor the person."""


def keyring_host(service: str, user: str | None) -> str:
    """The host that pip or uv asks about, by a URL or by its name alone; none for any other user than `USER`."""
    if user not in (None, USER):
        return ""
    return host_of(service if "://" in service else f"https://{service}")


def keyring(token: Token, *, creds: bool = False, as_json: bool = False) -> str:
    """The password, or with `creds` user name and password: a line each, or a JSON object.

    Raises Refused for a token that is no password.
    """
    fields = {**({"username": USER} if creds else {}), "password": _password(token)}
    return json.dumps(fields) if as_json else "\n".join(fields.values())


def _password(token: Token) -> str:
    if token.token_type != "Bearer":
        raise Refused(f"{token.auth_type} is no token that can be a password", hint="dbx-auth token -o headers")
    return token.value


def _last_use(token: Token) -> int | None:
    """Epoch seconds until which to use a token: a request takes time, and the server refuses what is about to end."""
    return None if token.expires_at is None else math.floor(token.expires_at - FLOOR)
