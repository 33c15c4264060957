"""What a host says to a token: who it is, and which workspaces it leads to."""

from __future__ import annotations

import json
import re
from typing import Any

from . import hosts
from .errors import AuthError, Refused, Temporary
from .tokens import Token
from .world import Response, World, one_line

LARGEST = 16 << 20
"""Bytes that a list may have."""

BUDGET = 30.0
"""Seconds for asking, unless the caller has less time."""


def user(token: Token, world: World, *, account_id: str = "", budget: float = BUDGET) -> str:
    """The user name that the host knows this token by; empty where it accepts the token but will not say.

    An account console is asked about the account, and so is a host of several workspaces where no workspace is chosen.
    Some identities may not ask for themselves (a group's token gets 404), so a list counts too. Raises Refused when
    the host does not take the token, Temporary when it does not answer.
    """
    deadline = world.monotonic() + budget

    def ask(path: str) -> Response:
        with world.waiting(f"asking {token.host}", budget):
            left = max(0.1, deadline - world.monotonic())
            return world.http("GET", token.host + path, headers=token.headers, budget=left, limit=LARGEST)

    answers = []
    for me, a_list in _questions(token, account_id):
        answers.append(answer := ask(me))
        if answer.ok and not _is_page(answer):
            return one_line(answer.object().get("userName"))
        if answer.status in (403, 404):
            second = ask(a_list)
            if second.ok and not _is_page(second):
                return ""
            if second.busy or second.ok:
                answers.append(answer := second)
        if not (answer.ok or answer.status in (403, 404)):
            break
    last = answers[-1]
    raise _no_entry(last if last.busy or last.ok else answers[0], token)


def _questions(token: Token, account_id: str) -> list[tuple[str, str]]:
    """Where a host is asked who we are, and the list that it is asked for where it will not say."""
    workspace = ("/api/2.0/preview/scim/v2/Me", "/api/2.0/serving-endpoints")
    account = f"/api/2.0/accounts/{account_id}"
    of_account = (f"{account}/scim/v2/Me", f"{account}/workspaces")
    if not hosts.is_account(token.host):
        chosen = "X-Databricks-Workspace-Id" in token.extra
        return [workspace, of_account] if account_id and not chosen else [workspace]
    if not account_id:
        raise Refused("no setting says which account", hint="export DATABRICKS_ACCOUNT_ID=<the account id>")
    return [of_account]


def _is_page(answer: Response) -> bool:
    """Whether this is a page for people, which a unified host shows to a request that names no workspace."""
    return not answer.body.lstrip().startswith((b"{", b"["))


def _no_entry(answer: Response, token: Token) -> AuthError:
    if answer.ok:
        what = "something that is not a JSON object" if answer.body.strip() else "nothing"
        return Refused(
            f"{answer.url} answered {answer.status} with {what}",
            hint=f"check the host; where it serves several workspaces: dbx-auth login '{token.host}?o=<workspace id>'",
        )
    text = f"{token.host} does not accept the token of {token.origin}: it answered {answer.status}"
    if answer.busy:
        return Temporary(text, hint="try again in a while")
    if answer.status in (401, 403):
        return Refused(text, hint=f"dbx-auth login {token.host} --force")
    return Refused(text, hint="check that the host is a Databricks workspace")


def workspace_of(token: Token, world: World) -> str:
    """The workspace that a token was made for; empty where the host does not tell."""
    try:
        answer = world.http("GET", f"{token.host}/api/2.0/tokens/introspect", headers=token.headers, budget=5.0)
        scope = answer.object()["principal_context"]["authentication_scope"] if answer.ok else {}
        return str(scope.get("workspace_id") or "")
    except (AuthError, KeyError, TypeError, AttributeError):
        return ""


def workspaces(token: Token, account_id: str, world: World) -> dict[str, str]:
    """The workspaces of an account, from id to name; empty where the host does not tell."""
    url = f"{token.host}/api/2.0/accounts/{account_id}/workspaces"
    try:
        answer = world.http("GET", url, headers=token.headers, budget=10.0, limit=LARGEST)
        rows: Any = json.loads(answer.body) if answer.ok else []
    except (AuthError, ValueError, RecursionError):
        return {}
    known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    found = {str(row.get("workspace_id") or ""): one_line(row.get("workspace_name")) for row in known}
    return {id: name or id for id, name in found.items() if re.fullmatch(r"[0-9]+", id)}
