"""Grants as functions: find the endpoints, then trade a code, a refresh token or a client secret for a token.

Building a request and reading an answer are pure; `world.http` is the one thing between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from . import hosts
from .errors import AuthError, ConfigError, InDoubt, LoginRequired, Refused, Temporary, Unreachable
from .profile import Profile
from .store import CLI_CLIENT_ID, Grant, as_text
from .tokens import is_one_word
from .world import Response, World, masked, one_line

DISCOVERY_BUDGET = 5.0
"""Seconds for finding the endpoints, all requests together."""

TOKEN_BUDGET = 30.0
"""Seconds for one thing that is asked of the token endpoint, all tries together."""

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before the tries after the first, where nobody could be reached or the server has too much to do."""

UNSTATED_LIFE = 3600.0
"""Seconds a token lives when its server does not say; Databricks access tokens live an hour."""

SCOPES = ("all-apis",)

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
PERSONAL_ACCESS_TOKEN = "urn:databricks:params:oauth:token-type:personal-access-token"

_WANTS_A_PERSON = ("invalid_grant", "interaction_required", "login_required", "consent_required")
_PASSES = ("server_error", "temporarily_unavailable", "internal_failure")
_DOCUMENT = "/.well-known/oauth-authorization-server"
_LOOK = "check the host: dbx-auth status --offline"


class Answer(NamedTuple):
    """A token endpoint's good answer, and when we asked for it: its seconds count from there at the latest."""

    url: str
    body: Mapping[str, Any]
    sent: float


class Endpoints(NamedTuple):
    """Where to log in and where to get tokens.

    `issuer` is empty where discovery told none; `names_itself` says that the server puts it into every callback.
    `audience` is whom an ID token has to be for, so that it can be exchanged here; `account_id` is the account that
    the host is of, and `unified` says that the host serves several workspaces of it.
    """

    authorization: str
    token: str
    issuer: str = ""
    names_itself: bool = False
    audience: str = ""
    account_id: str = ""
    unified: bool = False


def blank(profile: Profile, client_id: str = CLI_CLIENT_ID) -> Grant:
    """A grant with nothing in it yet: for whom a token is wanted, and where."""
    return Grant(
        profile.host,
        client_id=client_id,
        account_id=profile.value("account_id"),
        scopes=profile.scopes,
        group_id=profile.value("group_id"),
        discovery_url=profile.value("discovery_url"),
    )


def discover(wanted: Grant, world: World) -> Endpoints:
    """Ask the host where its OAuth endpoints are; 5 s in all, and then the well-known place.

    The host's `/.well-known/databricks-config` names the OIDC root, and the root's RFC 8414 document the endpoints.
    Whatever does not answer in time, or cannot be understood, is replaced by `{root}/v1/authorize` and `…/token`.
    An endpoint outside the host and the Databricks domains is refused (RFC 9700, 4.4): ConfigError. Where nobody
    answers at all there is nothing to fall back to: Unreachable.
    """
    if wanted.authority:
        return Endpoints(f"{wanted.authority}/oauth2/v2.0/authorize", f"{wanted.authority}/oauth2/v2.0/token")
    host, deadline = wanted.host, world.monotonic() + DISCOVERY_BUDGET
    metadata: dict[str, Any] = {}
    if not (hosts.is_account(host) or wanted.discovery_url):
        metadata = _document(f"{host}/.well-known/databricks-config", deadline, world)
    account_id = wanted.account_id or as_text(metadata.get("account_id"))
    root = _root_by_rule(host, account_id)
    if (named := as_text(metadata.get("oidc_endpoint"))) and (account_id or "{account_id}" not in named):
        root = _trusted(host, named.replace("{account_id}", account_id).rstrip("/"))
    place = _trusted(host, wanted.discovery_url) if wanted.discovery_url else f"{root}{_DOCUMENT}"
    document = _document(place, deadline, world)
    if not (document or metadata or wanted.discovery_url or hosts.is_account(host)) and account_id:
        of_account = f"{host}/oidc/accounts/{account_id}"  # perhaps it is an account console, of an unusual name
        if document := _document(f"{of_account}{_DOCUMENT}", deadline, world):
            root = of_account
    if not document and "{account_id}" in named and not account_id:
        raise ConfigError(
            f"{host} has OAuth endpoints for each account, and no setting says which account",
            hint="export DATABRICKS_ACCOUNT_ID=<the account id of the account console>",
        )

    def endpoint(name: str, fallback: str) -> str:
        value = as_text(document.get(name))
        return _trusted(host, value) if value else f"{root}/v1/{fallback}"

    token = endpoint("token_endpoint", "token")
    return Endpoints(
        authorization=endpoint("authorization_endpoint", "authorize"),
        token=token,
        issuer=as_text(document.get("issuer")),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        audience=_audience(host, account_id, metadata) or token,
        account_id=account_id,
        unified=bool(metadata) and "/oidc/accounts/" in token,
    )


def _audience(host: str, account_id: str, metadata: Mapping[str, Any]) -> str:
    """What the host wants ID tokens to be for, where that is not its token endpoint."""
    named = metadata.get("token_federation_default_oidc_audiences")
    if isinstance(named, list) and named and as_text(named[0]):
        return as_text(named[0])
    for_accounts = hosts.is_account(host) or (metadata and not metadata.get("workspace_id"))
    return account_id if for_accounts else ""


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
        text = f"{host} names an OAuth endpoint that is not its own: {one_line(url)}"
        raise ConfigError(text, hint="check the host: dbx-auth status")
    return url


def renewal(grant: Grant, world: World) -> Callable[[Grant, float], Grant]:
    """Find out where a login of this host is renewed; what is returned renews one, within so many seconds."""
    endpoints = discover(grant, world)
    return lambda held, budget: refresh(held, endpoints, world, budget)


def refresh(grant: Grant, endpoints: Endpoints, world: World, budget: float = TOKEN_BUDGET) -> Grant:
    """Trade the refresh token for a new access token (RFC 6749, 6), within `budget` seconds.

    The old refresh token is kept when the answer has no new one. Raises LoginRequired when the server no longer
    takes it, Temporary when it may later, InDoubt when it may have been spent.
    """
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh, "client_id": grant.client_id}
    form |= _group(grant)
    if grant.authority:
        form["scope"] = " ".join(grant.scopes)
    try:
        secrets = (grant.refresh,)
        answer = _post(endpoints.token, form, world, "refreshing the login", secrets=secrets, budget=budget, once=True)
    except LoginRequired as error:
        raise LoginRequired(str(error), hint=f"dbx-auth login {grant.host}") from error
    return _granted(answer, grant)


def _group(wanted: Grant) -> dict[str, str]:
    return {"assume_group": wanted.group_id} if wanted.group_id else {}


def exchange_code(
    endpoints: Endpoints, code: str, verifier: str, redirect_uri: str, wanted: Grant, world: World
) -> Grant:
    """Trade the code of the browser's callback for a grant (RFC 6749, 4.1.3; RFC 7636, 4.5).

    `wanted` says for which host and client; its empty tokens are filled in.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "client_id": wanted.client_id,
    }
    return _granted(_post(endpoints.token, form, world, "finishing the login", secrets=(code, verifier)), wanted)


def client_credentials(wanted: Grant, client_secret: str, world: World) -> Grant:
    """Trade a service principal's id and secret for an access token (RFC 6749, 4.4)."""
    endpoints = discover(wanted, world)
    headers = basic(wanted.client_id, client_secret)
    form = {"grant_type": "client_credentials", "scope": " ".join(wanted.scopes or SCOPES), **_group(wanted)}
    secrets = (client_secret, headers["Authorization"].removeprefix("Basic "))
    return _for_a_program(endpoints, form, wanted, world, secrets, "check client_id and client_secret", headers)


def exchange_token(endpoints: Endpoints, subject_token: str, wanted: Grant, world: World, *, kind: str = JWT) -> Grant:
    """Trade a token of somebody else for one of Databricks (RFC 8693, 2).

    Without a client id in `wanted` it is the account's federation policy that decides, with one a service principal's.
    https://docs.databricks.com/en/dev-tools/auth/oauth-federation.html
    """
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token_type": kind,
        "subject_token": subject_token,
        "scope": " ".join(wanted.scopes or SCOPES),
        **({"client_id": wanted.client_id} if wanted.client_id else {}),
        **_group(wanted),
    }
    if kind == PERSONAL_ACCESS_TOKEN:
        form["requested_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
    hint = "check the federation policy: issuer, audience and subject have to be those of the ID token"
    return _for_a_program(endpoints, form, wanted, world, (subject_token,), hint)


def federated(profile: Profile, id_token: str, world: World) -> Grant:
    """Trade an ID token that somebody else gave us, at the host of these settings."""
    wanted = blank(profile, profile.value("client_id"))
    return exchange_token(discover(wanted, world), id_token, wanted, world)


def _for_a_program(
    endpoints: Endpoints,
    form: Mapping[str, str],
    wanted: Grant,
    world: World,
    secrets: tuple[str, ...],
    hint: str,
    headers: Mapping[str, str] | None = None,
) -> Grant:
    try:
        return _granted(
            _post(endpoints.token, form, world, "asking for a token", secrets=secrets, headers=headers), wanted
        )
    except LoginRequired as error:  # invalid_grant says nothing about a person here
        raise Refused(str(error), hint=hint) from error


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
    budget: float = TOKEN_BUDGET,
    once: bool = False,
) -> Answer:
    """Ask the token endpoint; raises what its refusal means, with none of the `secrets` in it that we sent.

    A request that reached nobody, or was turned away at the door (429, 503), is sent again while there is time. What
    we send may be good for `once`: then an answer that nobody can read is InDoubt.
    """
    end = world.monotonic() + budget
    with world.waiting(what, budget):
        for pause in (*PAUSES, None):
            sent = world.now()
            try:
                response = world.http("POST", url, form=form, headers=headers, budget=end - world.monotonic())
            except Unreachable as error:
                failure: AuthError = error
                wait = pause
            else:
                body = _object(response, once) if response.ok else {}
                if response.ok and not body.get("error"):
                    return Answer(url, body, sent)
                failure = refusal(response, secrets, world.now())
                wait = _pause_asked(response, pause, world.now())
            if wait is None or world.monotonic() + wait >= end:
                raise failure
            world.note(f"once more in {wait:g} s: {failure}")
            world.sleep(wait)
    raise AssertionError("the last try has no pause")


def _object(response: Response, once: bool) -> dict[str, Any]:
    try:
        return response.object()
    except Refused as error:
        raise (InDoubt(str(error), hint=error.hint) if once else error) from None


def _pause_asked(response: Response, pause: float | None, now: float) -> float | None:
    """How long to wait before the next try; None where none is any use."""
    if response.status not in (429, 503) or pause is None:
        return None
    asked = retry_after(response, now)
    return None if asked is None and "retry-after" in response.headers else max(pause, asked or 0.0)


def retry_after(response: Response, now: float) -> float | None:
    """The seconds that a server wants to be left alone, None where it says nothing of use (RFC 9110, 10.2.3)."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    said = response.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit() and len(said) < 10:
        return float(said)
    try:
        when = parsedate_to_datetime(said)
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


def refusal(response: Response, secrets: Iterable[str] = (), now: float = 0.0) -> AuthError:
    """The error that a token endpoint's answer means (RFC 6749, 5.2); `secrets` that it repeats are masked.

    `now` (epoch seconds) is what a date to wait for is counted from.
    """
    try:
        body = response.object()
    except Refused:
        body = {}
    said = (body.get("error") or body.get("error_code"), body.get("error_description") or body.get("message"))
    code, description = (value if isinstance(value, str) else "" for value in said)
    text = f"{response.url} answered {response.status}"
    description = description.partition("Trace ID:")[0].rstrip(". \r\n")  # Entra ID's, which tells people nothing
    for words in filter(None, (code, description)):
        text += f": {one_line(masked(words, secrets))}"
    if response.busy or code in _PASSES:
        seconds = retry_after(response, now)
        hint = "try again in a while" if seconds is None else f"try again in {seconds:.0f} s"
        turned_away = response.status in (429, 503) or code == "temporarily_unavailable"
        return (Temporary if turned_away else InDoubt)(text, hint=hint, retry_after=seconds)
    if code in _WANTS_A_PERSON or "refresh token is invalid" in description.lower():
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
    return replace(
        before,
        access=access,
        refresh=refresh_token if isinstance(refresh_token, str) and refresh_token else before.refresh,
        expires_at=answer.sent + _seconds(answer.body.get("expires_in")),
    )


def _seconds(value: object) -> float:
    """`expires_in`, which is a number, a number in a string, or left out."""
    try:
        seconds = float(str(value))
    except ValueError:
        return UNSTATED_LIFE
    return min(max(seconds, 0.0), 2.0**31) if seconds == seconds else UNSTATED_LIFE
