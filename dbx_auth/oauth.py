"""Grants as functions: find the endpoints, then trade a code, a refresh token or a client secret for a token.

Building a request and reading an answer are pure; `world.http` is the one thing between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from . import hosts
from .errors import AuthError, ConfigError, LoginRequired, Refused, Temporary, Unreachable
from .store import Grant
from .tokens import is_one_word
from .world import Response, World, one_line

DISCOVERY_BUDGET = 5.0
"""Seconds for finding the endpoints, all requests together."""

TOKEN_BUDGET = 30.0
"""Seconds for one request at the token endpoint."""

UNSTATED_LIFE = 3600.0
"""Seconds a token lives when its server does not say; Databricks access tokens live an hour."""

SCOPES = ("all-apis",)

_LOOK = "check the host: dbx-auth status --offline"


class Answer(NamedTuple):
    """A token endpoint's good answer, and when we asked for it: its seconds count from there at the latest."""

    url: str
    body: Mapping[str, Any]
    sent: float


class Endpoints(NamedTuple):
    """Where to log in and where to get tokens.

    `issuer` is empty where discovery told none; `names_itself` says that the server puts it into every callback.
    """

    authorization: str
    token: str
    issuer: str = ""
    names_itself: bool = False


def discover(host: str, account_id: str, world: World) -> Endpoints:
    """Ask the host where its OAuth endpoints are; 5 s in all, and then the well-known place.

    The host's `/.well-known/databricks-config` names the OIDC root, and the root's RFC 8414 document the endpoints.
    Whatever does not answer in time, or cannot be understood, is replaced by `{root}/v1/authorize` and `…/token`.
    An endpoint outside the host and the Databricks domains is refused (RFC 9700, 4.4): ConfigError. Where nobody
    answers at all there is nothing to fall back to: Unreachable.
    """
    deadline = world.monotonic() + DISCOVERY_BUDGET
    root = _root_by_rule(host, account_id)
    if not hosts.is_account(host):
        metadata = _document(f"{host}/.well-known/databricks-config", deadline, world)
        named = metadata.get("oidc_endpoint")
        if isinstance(named, str) and named:
            account = account_id or str(metadata.get("account_id") or "")
            if "{account_id}" not in named or account:
                root = _trusted(host, named.replace("{account_id}", account).rstrip("/"))
    document = _document(f"{root}/.well-known/oauth-authorization-server", deadline, world)

    def endpoint(name: str, fallback: str) -> str:
        value = document.get(name)
        return _trusted(host, value) if isinstance(value, str) and value else f"{root}/v1/{fallback}"

    issuer = document.get("issuer")
    return Endpoints(
        authorization=endpoint("authorization_endpoint", "authorize"),
        token=endpoint("token_endpoint", "token"),
        issuer=issuer if isinstance(issuer, str) else "",
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _root_by_rule(host: str, account_id: str) -> str:
    return f"{host}/oidc/accounts/{account_id}" if hosts.is_account(host) and account_id else f"{host}/oidc"


def _document(url: str, deadline: float, world: World) -> dict[str, Any]:
    """The JSON object at `url`, empty when there is none to be had before the deadline."""
    left = deadline - world.monotonic()
    try:
        if left <= 0:
            raise Temporary(f"{DISCOVERY_BUDGET:.0f} s for discovery are over", hint="check the network")
        with world.waiting(f"asking {url}", left):
            answer = world.http("GET", url, budget=left)
        if answer.ok:
            return answer.object()
        world.note(f"discovery: {url} answered {answer.status}")
    except Unreachable:
        raise
    except (Refused, Temporary) as error:
        world.note(f"discovery: {error}")
    return {}


def _trusted(host: str, url: str) -> str:
    if not hosts.trusts(host, url):
        raise ConfigError(
            f"{host} names an OAuth endpoint that is not its own: {url}", hint="check the host: dbx-auth status"
        )
    return url


def refresh(grant: Grant, world: World) -> Grant:
    """Trade the refresh token for a new access token (RFC 6749, 6).

    The old refresh token is kept when the answer has no new one. Raises LoginRequired when the server no longer
    takes it, Temporary when it may later.
    """
    endpoints = discover(grant.host, grant.account_id, world)
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh, "client_id": grant.client_id}
    return _granted(_post(endpoints.token, form, world, "refreshing the login", secrets=(grant.refresh,)), grant)


def exchange_code(
    endpoints: Endpoints, code: str, verifier: str, redirect_uri: str, blank: Grant, world: World
) -> Grant:
    """Trade the code of the browser's callback for a grant (RFC 6749, 4.1.3; RFC 7636, 4.5).

    `blank` says for which host and client; its empty tokens are filled in.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "client_id": blank.client_id,
    }
    return _granted(_post(endpoints.token, form, world, "finishing the login", secrets=(code, verifier)), blank)


def client_credentials(
    host: str, account_id: str, client_id: str, client_secret: str, scopes: str, world: World
) -> Grant:
    """Trade a service principal's id and secret for an access token (RFC 6749, 4.4)."""
    endpoints = discover(host, account_id, world)
    headers = basic(client_id, client_secret)
    form = {"grant_type": "client_credentials", "scope": scopes or " ".join(SCOPES)}
    try:
        secrets = (client_secret, headers["Authorization"].removeprefix("Basic "))
        answer = _post(endpoints.token, form, world, "asking for a token", secrets=secrets, headers=headers)
    except LoginRequired as error:  # invalid_grant says nothing about a person here
        raise Refused(str(error), hint="check client_id and client_secret") from error
    return _granted(answer, Grant(host=host, access="", client_id=client_id))


def basic(username: str, password: str) -> dict[str, str]:
    """The Authorization header of RFC 7617."""
    import base64

    try:
        pair = f"{username}:{password}".encode(errors="surrogateescape")  # bytes of the environment that are not UTF-8
    except UnicodeEncodeError:
        raise ConfigError("a user name, id or secret is not text", hint="dbx-auth status --offline") from None
    return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def _post(
    url: str,
    form: Mapping[str, str],
    world: World,
    what: str,
    *,
    secrets: tuple[str, ...],
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask the token endpoint; raises what its refusal means, with none of the `secrets` in it that we sent."""
    sent = world.now()
    with world.waiting(what, TOKEN_BUDGET):
        response = world.http("POST", url, form=form, headers=headers, budget=TOKEN_BUDGET)
    body = response.object() if response.ok else {}
    if not response.ok or body.get("error"):
        raise refusal(response, secrets)
    return Answer(url, body, sent)


def refusal(response: Response, secrets: Iterable[str] = ()) -> AuthError:
    """The error that a token endpoint's answer means (RFC 6749, 5.2); `secrets` that it repeats are masked."""
    try:
        body = response.object()
    except Refused:
        body = {}
    said = (body.get("error") or body.get("error_code"), body.get("error_description") or body.get("message"))
    code, description = (value if isinstance(value, str) else "" for value in said)
    text = f"{response.url} answered {response.status}"
    for words in filter(None, (code, description)):
        for secret in secrets:
            if len(secret) >= 8:  # a shorter one is no secret, and would tear words apart
                words = words.replace(secret, "***")
        text += f": {one_line(words)}"
    if response.status in (408, 429) or response.status >= 500 or code in ("server_error", "temporarily_unavailable"):
        return Temporary(text, hint="try again in a while")
    if code == "invalid_grant" or "refresh token is invalid" in description.lower():
        return LoginRequired(text, hint="dbx-auth login")
    if code in ("invalid_client", "unauthorized_client"):
        return Refused(text, hint="check client_id and client_secret")
    return Refused(text, hint=_LOOK)


def _granted(answer: Answer, before: Grant) -> Grant:
    """The grant in a successful answer (RFC 6749, 5.1); half of one is refused, so that it is never stored."""
    access, refresh_token = answer.body.get("access_token"), answer.body.get("refresh_token")
    if not isinstance(access, str) or not is_one_word(access):
        raise Refused(f"{answer.url} answered without an access token that can be used", hint=_LOOK)
    kind = answer.body.get("token_type") or "Bearer"
    if str(kind).lower() != "bearer":
        raise Refused(f"{answer.url} gave a token of a kind we do not know: {one_line(kind)}", hint=_LOOK)
    return Grant(
        host=before.host,
        access=access,
        refresh=refresh_token if isinstance(refresh_token, str) and refresh_token else before.refresh,
        expires_at=answer.sent + _seconds(answer.body.get("expires_in")),
        client_id=before.client_id,
        account_id=before.account_id,
        scopes=before.scopes,
    )


def _seconds(value: object) -> float:
    """`expires_in`, which is a number, a number in a string, or left out."""
    try:
        seconds = float(str(value))
    except ValueError:
        return UNSTATED_LIFE
    return min(max(seconds, 0.0), 2.0**31) if seconds == seconds else UNSTATED_LIFE
