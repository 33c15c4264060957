"""The interactive part: a person logs in, the workspace agrees, and the credential is kept.

Only the `login` verb comes here; nothing on the way of a token can (tests/structure holds that).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import os
import queue
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import oauth
from .errors import AuthError, LoginRequired, Refused, Temporary, UsageError
from .store import AuthJson, Grant, grant_fields
from .tokens import Token, is_one_word
from .world import Response, World, one_line

PORTS = range(8020, 8041)
"""Where the callback may listen; Databricks has `http://localhost:8020` and its neighbours registered."""

TIMEOUT = 300.0
"""Seconds a person has to come back from the browser."""


class Callback(NamedTuple):
    """What the browser brought back (RFC 6749, 4.1.2; `iss` of RFC 9207)."""

    code: str = ""
    iss: str = ""
    error: str = ""
    description: str = ""

    def __repr__(self) -> str:
        return f"Callback(code=***, iss={self.iss!r}, error={self.error!r})"


class Key(NamedTuple):
    """What a login may end with: the entry that auth.json will keep, and a token to try it with."""

    fields: Mapping[str, Any]
    token: Token

    def __repr__(self) -> str:
        return f"Key(fields=***, token={self.token!r})"


def with_browser(
    host: str,
    account_id: str,
    world: World,
    show: Callable[[str], None],
    *,
    scopes: tuple[str, ...] = (),
    timeout: float = TIMEOUT,
    open_browser: bool = True,
) -> Key:
    """Log in through the browser: authorization code with PKCE (RFC 7636) and a loopback callback (RFC 8252).

    `show` prints a line for the person. Without `open_browser` the URL is shown, and what the browser's address bar
    says at the end may be pasted where the callback cannot reach this machine. Raises LoginRequired after `timeout`
    seconds, Refused when the person or the server says no.
    """
    endpoints = oauth.discover(host, account_id, world)
    scopes = scopes or oauth.SCOPES
    blank = Grant(host=host, access="", account_id=account_id, scopes=scopes)
    verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(16)
    with listening(state) as (port, answers):
        redirect_uri = f"http://localhost:{port}"
        url = authorization_url(endpoints.authorization, blank, redirect_uri, state, verifier)
        opened = open_browser and world.open_url(url)
        show("opening the browser; should it stay away, open this link:" if opened else "open this link in a browser:")
        show(url)
        if not opened:
            show("then come back here, or paste the address that the browser ends at:")
            _take_paste(state, answers, world)
        callback = _wait(answers, timeout, opened, world)
    if callback.error:
        raise Refused(f"the login was refused: {callback.error}: {callback.description}", hint="dbx-auth login")
    if endpoints.issuer and callback.iss != endpoints.issuer and (callback.iss or endpoints.names_itself):
        raise Refused(
            f"the answer is from {callback.iss or 'nobody'}, not from {endpoints.issuer}; the code was not used",
            hint="dbx-auth login",
        )
    grant = oauth.exchange_code(endpoints, callback.code, verifier, redirect_uri, blank, world)
    return Key(grant_fields(grant), Token(grant.access, grant.expires_at, "databricks-cli", "this login", host))


def with_pat(host: str, key: str) -> Key:
    """Log in with a personal access token."""
    key = key.strip()
    if not is_one_word(key):
        raise UsageError("that is not a token: a token is one word", hint="dbx-auth login --with-token < token.txt")
    return Key({"type": "api", "key": key, "host": host}, Token(key, None, "stored", "this login", host))


def with_principal(host: str, account_id: str, client_id: str, client_secret: str, world: World) -> Key:
    """Log in as a service principal (oauth-m2m)."""
    client_id, client_secret = client_id.strip(), client_secret.strip()
    if not client_id or not client_secret:
        raise UsageError(
            "a service principal needs an id and a secret", hint="dbx-auth login --method m2m --client-id ID"
        )
    grant = oauth.client_credentials(host, account_id, client_id, client_secret, "", world)
    fields = {"type": "m2m", "client_id": client_id, "client_secret": client_secret, "host": host}
    if account_id:
        fields["account_id"] = account_id
    return Key(fields, Token(grant.access, grant.expires_at, "oauth-m2m", "this login", host))


def whoami(token: Token, world: World, *, budget: float = 30.0) -> str:
    """The user name that the workspace knows this token by; empty where it accepts the token but will not say.

    Some identities may not ask for themselves (a group's token gets 404), so a list of serving endpoints counts too.
    Raises Refused when the workspace does not take the token, Temporary when it does not answer.
    """
    deadline = world.monotonic() + budget

    def ask(path: str) -> Response:
        with world.waiting(f"asking {token.host}", budget):
            left = max(0.1, deadline - world.monotonic())
            return world.http("GET", token.host + path, headers=token.headers, budget=left, limit=16 << 20)

    answer = ask("/api/2.0/preview/scim/v2/Me")
    if answer.ok:
        return one_line(answer.object().get("userName"))
    if answer.status in (403, 404):
        second = ask("/api/2.0/serving-endpoints")
        if second.ok:
            second.object()
            return ""
        if second.status >= 500:
            answer = second
    raise _no_entry(answer, token)


def _no_entry(answer: Response, token: Token) -> AuthError:
    text = f"{token.host} does not accept the token of {token.origin}: it answered {answer.status}"
    if answer.status == 429 or answer.status >= 500:
        return Temporary(text, hint="try again in a while")
    if answer.status in (401, 403):
        return Refused(text, hint=f"dbx-auth login {token.host} --force")
    return Refused(text, hint="check that the host is a Databricks workspace")


def save(key: Key, world: World) -> None:
    """Keep the credential as the last login."""
    AuthJson(world).login(key.fields)


def authorization_url(endpoint: str, blank: Grant, redirect_uri: str, state: str, verifier: str) -> str:
    """The address that the person visits (RFC 6749, 4.1.1, with the challenge of RFC 7636, 4.2)."""
    from urllib.parse import urlencode

    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": blank.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join(("offline_access", *blank.scopes)),
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def read_callback(query: str, state: str) -> Callback | None:
    """What a callback's query says, or None when it is not the answer to our question."""
    from urllib.parse import parse_qs

    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    if any(len(values) > 1 for values in fields.values()):
        return None
    said = {name: values[0] for name, values in fields.items()}
    if not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
        return None
    if not said.get("code") and not said.get("error"):
        return None
    return Callback(
        said.get("code", ""),
        one_line(said.get("iss")),
        one_line(said.get("error"), 100),
        one_line(said.get("error_description")),
    )


def _wait(answers: queue.Queue[Callback], timeout: float, countdown: bool, world: World) -> Callback:
    try:
        if not countdown:  # a line that moves would get into what is being pasted
            return answers.get(timeout=timeout)
        with world.waiting("waiting for the browser", timeout):
            return answers.get(timeout=timeout)
    except queue.Empty:
        raise LoginRequired(f"nobody came back from the browser in {timeout:.0f} s", hint="dbx-auth login") from None


def _take_paste(state: str, answers: queue.Queue[Callback], world: World) -> None:
    """Take the redirect URL from the person, beside the callback: whichever comes first."""
    import threading

    def read() -> None:
        while (line := world.read_line()) is not None:
            if callback := read_callback(line.strip().partition("?")[2], state):
                answers.put(callback)
                return
            world.warn(
                "that is not the address that this login ends at; it starts with http://localhost and holds a code"
            )

    threading.Thread(target=read, name="paste", daemon=True).start()


@contextmanager
def listening(state: str) -> Iterator[tuple[int, queue.Queue[Callback]]]:
    """Listen for the callback on both loopback families; yields the port and the queue that answers come into.

    Requests that are not the callback (a favicon, a stranger's state) are refused and listened past. Raises
    Temporary when all ports are taken.
    """
    import threading

    answers: queue.Queue[Callback] = queue.Queue()
    servers = _servers(state, answers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers[0].server_address[1], answers
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _servers(state: str, answers: queue.Queue[Callback]) -> list[Any]:
    import errno
    import socket
    import socketserver
    from http.server import ThreadingHTTPServer

    handler = _handler(state, answers)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        # Elsewhere it only frees the port of a login that has just ended; on Windows it lets others listen in.
        allow_reuse_address = os.name != "nt"
        allow_reuse_port = False

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks the host's name up, which may take long
            self.server_name, self.server_port = "localhost", self.server_address[1]

    class Server6(Server):
        address_family = socket.AF_INET6

    for port in PORTS:
        try:
            first = Server(("127.0.0.1", port), handler)
        except OSError:
            continue
        try:
            return [first, Server6(("::1", port), handler)]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # no IPv6 on this machine
                return [first]
            first.server_close()
    raise Temporary(
        f"the ports {PORTS[0]} to {PORTS[-1]} are all taken, so the browser cannot come back",
        hint="end a login that still waits, then try again",
    )


def _handler(state: str, answers: queue.Queue[Callback]) -> Any:
    from http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds: a browser that connects ahead of need must not hold a thread
        server_version = "dbx-auth"
        sys_version = ""

        def do_GET(self) -> None:
            port = int(self.server.server_address[1])  # type: ignore[index]
            if self.headers.get("Host") not in {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}:
                return self.answer(421, "Not here", "This address belongs to a login on this machine.")
            path, _, query = self.path.partition("?")
            if path != "/":
                return self.answer(404, "Not here", "This address only takes the answer to a login.")
            callback = read_callback(query, state)
            if callback is None:
                return self.answer(400, "Not the answer", "This is not the answer to the login that is waiting.")
            answers.put(callback)
            if callback.error:
                return self.answer(400, "The login was refused", f"{callback.error}: {callback.description}")
            self.answer(200, "Back to the terminal", "The browser's part is done. You can close this tab.")

        def refuse(self) -> None:
            self.answer(405, "Not this way", "This address only takes the answer to a login.")

        do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = refuse

        def answer(self, status: int, title: str, text: str) -> None:
            body = page(title, text).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(body)),
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "Connection": "close",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the request line holds the code."""

    return Handler


def page(title: str, text: str) -> str:
    """The page that the browser shows at the end; it loads nothing and runs nothing."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dbx-auth: {html.escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>
html {{ color-scheme: light dark; font: 1.05rem/1.6 system-ui, sans-serif }}
body {{ max-width: 34rem; margin: 18vh auto 0; padding: 0 1.5rem }}
h1 {{ font-size: 1.5rem; margin-bottom: .4rem }} p {{ margin-top: 0; opacity: .85; overflow-wrap: anywhere }}
small {{ opacity: .6 }}
</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p><small>dbx-auth</small></body></html>
"""
