"""The interactive part: a person logs in, the workspace agrees, and the credential is kept.

Only the `login` verb comes here; nothing on the way of a token can (tests/structure holds that).
"""

from __future__ import annotations

import base64
import hashlib
import queue
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from . import entra, hosts, oauth, whoami
from .callback import Callback, listening, read_callback
from .errors import LoginRequired, Refused, UsageError
from .profile import Profile
from .store import AuthJson, Grant, grant_fields
from .tokens import Token, is_one_word
from .world import World, is_wsl

TIMEOUT = 300.0
"""Seconds a person has to come back from the browser."""

DISCOVERY = "https://login.databricks.com"
"""Where a person finds out which workspace is theirs; DATABRICKS_DISCOVERY_HOST names another place."""


class Key(NamedTuple):
    """What a login may end with: the entry that auth.json will keep, and a token to try it with.

    `grant` is there where a person logged in at Databricks: the Databricks CLI could renew it too. `unified` says that
    the host serves several workspaces.
    """

    fields: Mapping[str, Any]
    token: Token
    grant: Grant | None = None
    unified: bool = False

    def __repr__(self) -> str:
        return f"Key(fields=***, token={self.token!r})"


class Browser(NamedTuple):
    """How a person is sent to a browser: `show` prints a line for them, `timeout` is the seconds they have.

    Unless it is `opened` here, the link is shown, and what the address bar says at the end may be pasted where the
    callback cannot reach this machine.
    """

    show: Callable[[str], None]
    timeout: float = TIMEOUT
    opened: bool = True


# ---- which way -------------------------------------------------------------------------------------------------------

METHODS = {
    "browser": "in the browser, as yourself",
    "azure-cli": "with the Azure CLI, which is logged in here",
    "azure-browser": "in the browser, with Microsoft Entra ID",
    "azure-device-code": "with a code on any other device, with Microsoft Entra ID",
    "pat": "with a personal access token",
    "m2m": "as a service principal, with client id and secret",
}
"""The ways to log in."""


def methods(profile: Profile, world: World) -> list[str]:
    """The ways that this machine and this host have, the best first.

    Without a browser of its own, a machine is best served by what needs none: a login that is there, or a code.
    """
    offered = ["browser"]
    if profile.cloud == "AZURE":
        with_az = ["azure-cli"] if entra.az_is_logged_in(world) else []
        if world.has_browser:
            offered = ["browser", *with_az, "azure-browser", "azure-device-code"]
        else:
            offered = [*with_az, "azure-device-code", "browser", "azure-browser"]
    return [*offered, "pat", "m2m"]


# ---- in the browser --------------------------------------------------------------------------------------------------


def with_browser(wanted: Grant, world: World, browser: Browser) -> Key:
    """Log in through the browser: authorization code with PKCE (RFC 7636) and a loopback callback (RFC 8252).

    Raises LoginRequired when nobody comes back in time, Refused when the person or the server says no.
    """
    endpoints = oauth.discover(wanted, world)
    wanted = replace(wanted, scopes=wanted.scopes or oauth.SCOPES)
    if "/oidc/accounts/" in endpoints.token and endpoints.account_id:  # the account is part of where its tokens are
        wanted = replace(wanted, account_id=endpoints.account_id)
    verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(16)

    def link(redirect_uri: str) -> str:
        return authorization_url(endpoints.authorization, wanted, redirect_uri, state, verifier)

    callback, redirect_uri = _answer(link, state, world, browser)
    if endpoints.issuer and callback.iss != endpoints.issuer and (callback.iss or endpoints.names_itself):
        raise Refused(
            f"the answer is from {callback.iss or 'nobody'}, not from {endpoints.issuer}; the code was not used",
            hint="dbx-auth login",
        )
    key = _key(oauth.exchange_code(endpoints, callback.code, verifier, redirect_uri, wanted, world))
    return key._replace(unified=endpoints.unified)


def with_discovery(wanted: Grant, world: World, browser: Browser) -> Key:
    """Log in with no host at all: the person picks the workspace in the browser, and the answer says which it is.

    The issuer in the answer has to be in a domain of Databricks, before the code or the verifier go anywhere.
    """
    place = hosts.canonical(world.env.get("DATABRICKS_DISCOVERY_HOST") or DISCOVERY).url
    wanted = replace(wanted, scopes=wanted.scopes or oauth.SCOPES)
    verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(16)

    def link(redirect_uri: str) -> str:
        path = authorization_url("/oidc/v1/authorize", wanted, redirect_uri, state, verifier)
        return f"{place}/?destination_url={quote(path, safe='')}"

    callback, redirect_uri = _answer(link, state, world, browser)
    issuer = callback.iss.rstrip("/")
    host = hosts.origin(issuer)
    path = re.fullmatch(r"/oidc(?:/accounts/([\w-]+))?", issuer[len(host) :])
    if not (hosts.is_databricks(issuer) or host == place) or not path:
        raise Refused(
            f"the answer is from {issuer or 'nobody'}, which is not Databricks; the code was not used",
            hint="dbx-auth login https://<your workspace>",
        )
    endpoints = oauth.Endpoints("", f"{issuer}/v1/token")
    wanted = replace(wanted, host=host, account_id=path[1] or "")
    key = _key(oauth.exchange_code(endpoints, callback.code, verifier, redirect_uri, wanted, world))
    if not path[1] or hosts.is_account(host):
        return key
    return in_workspace(key._replace(unified=True), whoami.workspace_of(key.token, world))


def _answer(link: Callable[[str], str], state: str, world: World, browser: Browser) -> tuple[Callback, str]:
    """Send the person to a link and wait for the answer; returns it with the redirect URI that it came to."""
    with listening(state) as (port, answers):
        redirect_uri = f"http://localhost:{port}"
        url = link(redirect_uri)
        opened = browser.opened and world.open_url(url)
        opening = "opening the browser; should it stay away, open this link:"
        browser.show(opening if opened else "open this link in a browser:")
        browser.show(url)
        pasting = not opened or is_wsl(world.env)
        if pasting:
            browser.show("then come back here, or paste the address that the browser ends at:")
        with _pasting(state, answers, world) if pasting else nullcontext():
            callback = _wait(answers, browser.timeout, not pasting, world)
    if callback.error:
        raise Refused(f"the login was refused: {callback.error}: {callback.description}", hint="dbx-auth login")
    return callback, redirect_uri


def authorization_url(endpoint: str, wanted: Grant, redirect_uri: str, state: str, verifier: str) -> str:
    """The address that the person visits (RFC 6749, 4.1.1, with the challenge of RFC 7636, 4.2)."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": wanted.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join(dict.fromkeys(("offline_access", *wanted.scopes))),
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **({"assume_group": wanted.group_id} if wanted.group_id else {}),
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def _wait(answers: queue.Queue[Callback], timeout: float, countdown: bool, world: World) -> Callback:
    try:
        if not countdown:  # a line that moves would get into what is being pasted
            return answers.get(timeout=timeout)
        with world.waiting("waiting for the browser", timeout):
            return answers.get(timeout=timeout)
    except queue.Empty:
        raise LoginRequired(f"nobody came back from the browser in {timeout:.0f} s", hint="dbx-auth login") from None


@contextmanager
def _pasting(state: str, answers: queue.Queue[Callback], world: World) -> Iterator[None]:
    """Take the redirect URL from the person, beside the callback: whichever comes first.

    Afterwards what is typed is for others again.
    """
    import threading

    over = threading.Event()

    def read() -> None:
        while (line := world.read_line(over.is_set)) is not None:
            if callback := read_callback(line.strip().partition("?")[2], state):
                answers.put(callback)
                return
            world.warn(
                "that is not the address that this login ends at; it starts with http://localhost and holds a code"
            )

    thread = threading.Thread(target=read, name="paste", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)


# ---- with Microsoft Entra ID -----------------------------------------------------------------------------------------


def with_entra_browser(profile: Profile, world: World, browser: Browser) -> Key:
    """Log in to an Azure workspace with Entra ID, through the browser."""
    return with_browser(entra.wanted(profile, world), world, browser)


def with_device_code(profile: Profile, world: World, browser: Browser) -> Key:
    """Log in to an Azure workspace with Entra ID, with a code that the person types on any other device (RFC 8628)."""
    return _key(entra.with_device_code(entra.wanted(profile, world), world, browser.show, browser.timeout))


def with_azure_cli(token: Token) -> Key:
    """Take whoever is logged in with `az`: only the host is kept, and that az is to be asked."""
    return Key({"type": "profile", "profile": "", "host": token.host, "auth_type": token.auth_type}, token)


def _key(grant: Grant) -> Key:
    token = Token(grant.access, grant.expires_at, "databricks-cli", "this login", grant.host)
    return Key(grant_fields(grant), token, None if grant.authority else grant)


# ---- with what the person has in hand --------------------------------------------------------------------------------


def with_pat(host: str, key: str) -> Key:
    """Log in with a personal access token."""
    key = key.strip()
    if not is_one_word(key):
        raise UsageError("that is not a token: a token is one word", hint="dbx-auth login --with-token < token.txt")
    return Key({"type": "api", "key": key, "host": host}, Token(key, None, "stored", "this login", host))


def with_principal(wanted: Grant, client_secret: str, world: World) -> Key:
    """Log in as a service principal (oauth-m2m)."""
    wanted, client_secret = replace(wanted, client_id=wanted.client_id.strip()), client_secret.strip()
    if not wanted.client_id or not client_secret:
        raise UsageError(
            "a service principal needs an id and a secret", hint="dbx-auth login --method m2m --client-id ID"
        )
    grant = oauth.client_credentials(wanted, client_secret, world)
    fields = {"type": "m2m", "client_id": wanted.client_id, "client_secret": client_secret, "host": wanted.host}
    optional = {"account_id": wanted.account_id, "group_id": wanted.group_id, "scopes": " ".join(wanted.scopes)}
    fields |= {name: value for name, value in optional.items() if value}
    return Key(fields, Token(grant.access, grant.expires_at, "oauth-m2m", "this login", wanted.host))


# ---- and keep it -----------------------------------------------------------------------------------------------------


def in_workspace(key: Key, workspace_id: str) -> Key:
    """The same login, for one workspace of a host that serves several."""
    if not workspace_id or hosts.is_account(key.token.host):
        return key
    extra = {**key.token.extra, "X-Databricks-Workspace-Id": workspace_id}
    return key._replace(fields={**key.fields, "workspace_id": workspace_id}, token=replace(key.token, extra=extra))


def rehearse(world: World) -> None:
    """Raise what `save` would raise: ConfigError when auth.json is damaged, or cannot be written."""
    AuthJson(world).rehearse()


def save(key: Key, world: World) -> None:
    """Keep the credential as the last login."""
    AuthJson(world).login(key.fields)
