"""The sandbox keeps the promises of design.md 8: an emulated workspace, strict where the real one is."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from dbx_auth.sandbox import Login, Request, Sandbox, answers, log, oauth, refusals, replies, workspace
from dbx_auth.sandbox.calls import Call
from dbx_auth.sandbox.signatures import SKIPPED
from dbx_auth.sandbox.workspace import CHAT, EMBEDDINGS, ENDPOINTS, GENERATE, MESSAGES, PREDICT, RESPONSES

ROOT = Path(__file__).parents[2]
REDIRECT = "http://localhost:8020"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
PAT = "urn:databricks:params:oauth:token-type:personal-access-token"
UNKNOWN_TOKEN = {
    "error_code": "401",
    "message": "Credential was not sent or was of an unsupported type for this API.",
}

CLAUDE = "databricks-claude-sonnet-4-5"
GPT = "databricks-gpt-5-2"
CODEX = "databricks-gpt-5-1-codex-max"
GEMINI = "databricks-gemini-3-pro"
LLAMA = "databricks-meta-llama-3-3-70b-instruct"
QWEN = "databricks-qwen3-next-80b-a3b-instruct"
GEMMA = "databricks-gemma-3-12b"
OSS = "databricks-gpt-oss-120b"
GTE = "databricks-gte-large-en"
OPEN_MODELS = [LLAMA, QWEN, GEMMA, OSS]
OTHERS = [CLAUDE, GEMINI, *OPEN_MODELS]

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
        "note": {"type": "string"},
    },
    "required": ["city", "days", "unit", "where"],
}
ARGUMENTS = {"city": "example", "days": 1, "unit": "celsius", "where": {"lat": 1.5}}

VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Clock:
    """A clock that only goes forward, and only when told."""

    def __init__(self) -> None:
        self.time = 1_760_000_000.0

    def __call__(self) -> float:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(now=clock) as running:
        yield running


@pytest.fixture(scope="module")
def approving(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(now=clock, auto_approve=True) as running:
        yield running


def client_of(sandbox: Sandbox) -> httpx.Client:
    return httpx.Client(base_url=sandbox.url, trust_env=False, verify=False, timeout=20)


@pytest.fixture(scope="module")
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with client_of(sandbox) as client:
        yield client


@pytest.fixture(scope="module")
def approved(approving: Sandbox) -> Iterator[httpx.Client]:
    with client_of(approving) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def me(http: httpx.Client, token: str) -> httpx.Response:
    return http.get("/api/2.0/preview/scim/v2/Me", headers=bearer(token))


def asking(**changes: str | None) -> dict[str, str]:
    """The parameters of a lawful authorization request, with changes; None leaves one out."""
    lawful: dict[str, str | None] = {
        "client_id": "databricks-cli",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "offline_access all-apis",
        "state": "state-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**lawful, **changes}.items() if value is not None}


def answer_in(location: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}


def code_from(approved: httpx.Client, **changes: str | None) -> str:
    return answer_in(approved.get("/oidc/v1/authorize", params=asking(**changes)).headers["location"])["code"]


def trade(http: httpx.Client, code: str, /, **changes: str | None) -> httpx.Response:
    lawful: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "client_id": "databricks-cli",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    fields = {name: value for name, value in {**lawful, **changes}.items() if value is not None}
    return http.post("/oidc/v1/token", data=fields)


def refresh(http: httpx.Client, token: str, **more: str) -> httpx.Response:
    fields = {"grant_type": "refresh_token", "client_id": "databricks-cli", "refresh_token": token, **more}
    return http.post("/oidc/v1/token", data=fields)


def unsigned(claims: Any) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), ""])


def exchange(http: httpx.Client, token: str, kind: str = JWT, **more: str) -> httpx.Response:
    fields = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": kind, **more}
    return http.post("/oidc/v1/token", data=fields)


class TestServing:
    def test_importing_it_does_not_import_a_web_server(self) -> None:
        heavy = "{'starlette', 'uvicorn', 'asyncio', 'socket'}"
        check = f"import sys; was = set(sys.modules); import dbx_auth.sandbox; print(*{heavy} & set(sys.modules) - was)"
        run = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
        assert (run.stdout, run.stderr) == ("\n", "")

    def test_it_says_where_it_is(self, sandbox: Sandbox) -> None:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", sandbox.url)
        assert sandbox.user == "sandbox.user@example.com"

    def test_the_port_can_be_chosen_and_is_free_again_after_stop(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with Sandbox(port=port) as first:
            assert first.url == f"http://127.0.0.1:{port}"
            with pytest.raises(OSError):
                Sandbox(port=port).start()
        socket.create_server(("127.0.0.1", port)).close()

    def test_start_and_stop_may_be_said_twice(self) -> None:
        sandbox = Sandbox()
        sandbox.stop()
        assert sandbox.start().start() is sandbox
        sandbox.stop()
        sandbox.stop()

    def test_a_sandbox_that_was_away_comes_back_with_its_tokens(self) -> None:
        sandbox = Sandbox()
        with sandbox, client_of(sandbox) as http:
            url, login = sandbox.url, sandbox.add_login()
            assert me(http, login.access_token).status_code == 200
        with sandbox, client_of(sandbox) as http:
            assert sandbox.url == url
            assert me(http, login.access_token).status_code == 200

    def test_stop_does_not_wait_for_a_client_that_never_finishes(self) -> None:
        with Sandbox() as sandbox:
            address = ("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
            with socket.create_connection(address) as slow:
                head = f"POST /oidc/v1/token HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\nContent-Length: 9\r\n"
                slow.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\nhalf".encode())
                time.sleep(0.1)
                started = time.monotonic()
                sandbox.stop()
        assert time.monotonic() - started < 5

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the rest of 127/8 is not ours to try")
    def test_it_listens_on_one_address_only(self, sandbox: Sandbox) -> None:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(sandbox.url.rpartition(":")[2])), timeout=5)

    @pytest.mark.skipif(sys.platform == "win32", reason="no process can send itself these signals on Windows")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_serving_in_the_foreground_ends_with_a_signal(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        sandbox = Sandbox()
        answers: list[int] = []

        def visit_then_signal() -> None:
            while not sandbox.url:
                time.sleep(0.01)
            answers.append(httpx.get(sandbox.url, trust_env=False, verify=False).status_code)
            os.kill(os.getpid(), number)

        visitor = threading.Thread(target=visit_then_signal)
        visitor.start()
        sandbox.serve_forever()
        visitor.join()
        assert answers == [200]
        assert signal.getsignal(number) is before
        with pytest.raises(httpx.ConnectError):
            httpx.get(sandbox.url, trust_env=False, verify=False)

    def test_serving_in_the_foreground_ends_when_it_is_stopped(self) -> None:
        sandbox = Sandbox()
        threading.Timer(0.2, sandbox.stop).start()
        sandbox.serve_forever()

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example", ""])
    def test_a_name_that_is_not_ours_is_misdirected(self, http: httpx.Client, host: str) -> None:
        answer = http.get("/", headers={"Host": host})
        assert (answer.status_code, answer.json()["error_code"]) == (421, "BAD_REQUEST")

    def test_a_request_without_a_host_is_misdirected(self, sandbox: Sandbox) -> None:
        with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 421 " in raw.recv(100)

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
    def test_every_loopback_name_is_ours_and_is_used_in_the_answer(self, sandbox: Sandbox, name: str) -> None:
        host = f"{name}:{sandbox.url.rpartition(':')[2]}"
        with client_of(sandbox) as http:
            answer = http.get("/.well-known/databricks-config", headers={"Host": host})
        assert answer.json()["oidc_endpoint"] == f"http://{host}/oidc"

    def test_a_body_beyond_32_mib_is_refused(self, sandbox: Sandbox) -> None:
        chunks = (bytes(1 << 20) for _ in range(33))
        with client_of(sandbox) as http:
            answer = http.post("/serving-endpoints/responses", content=chunks, headers=bearer(sandbox.pat))
        assert (answer.status_code, answer.json()["error_code"]) == (413, "MAX_REQUEST_SIZE_EXCEEDED")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/ai-gateway/anthropic/v1/nothing", 404),
            ("GET", "/nothing", 404),
            ("PUT", "/oidc/v1/token", 405),
        ],
    )
    def test_what_it_does_not_have_is_refused_in_the_workspace_s_words(
        self, http: httpx.Client, method: str, path: str, status: int
    ) -> None:
        answer = http.request(method, path)
        expected = {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for '{method} {path}'"}
        assert (answer.status_code, answer.json()) == (status, expected)


class TestPages:
    def pages(self, http: httpx.Client) -> list[httpx.Response]:
        return [
            http.get("/"),
            http.get("/", params={"destination_url": "https://evil.example"}),
            http.get("/oidc/v1/authorize", params=asking()),
            http.get("/oidc/v1/authorize", params=asking(redirect_uri="https://evil.example")),
            http.post("/oidc/v1/authorize", data={"ticket": "unknown"}),
        ]

    def test_every_page_says_that_it_is_not_databricks(self, http: httpx.Client) -> None:
        assert all("It is not Databricks" in page.text for page in self.pages(http))

    def test_no_page_can_load_or_run_anything_or_be_framed(self, http: httpx.Client) -> None:
        for page in self.pages(http):
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; form-action ")
            assert "frame-ancestors 'none'" in policy
            assert not re.search(r"<script|src=|https?://(?!127)[^<]*\.(js|css)", page.text)

    def test_the_first_page_tells_how_to_use_it(self, sandbox: Sandbox, http: httpx.Client) -> None:
        text = http.get("/").text
        assert f"export DATABRICKS_HOST={sandbox.url}\n" in text
        assert sandbox.pat not in text and sandbox.client_secret not in text

    def test_the_consent_page_names_client_person_scopes_and_destination(self, http: httpx.Client) -> None:
        text = http.get("/oidc/v1/authorize", params=asking()).text
        for shown in ("databricks-cli", "sandbox.user@example.com", "offline_access all-apis", "localhost:8020"):
            assert shown in text

    def test_what_a_client_sends_is_escaped(self, http: httpx.Client) -> None:
        text = http.get("/oidc/v1/authorize", params=asking(scope="<b>&'x'")).text
        assert "&lt;b&gt;&amp;&#x27;x&#x27;" in text and "<b>" not in text

    @pytest.mark.parametrize(
        ("redirect_uri", "source"),
        [
            ("http://localhost:8020", "http://localhost:8020"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80"),
            ("http://[::1]:9/", "http:"),
        ],
    )
    def test_the_consent_form_may_be_redirected_to_the_client(
        self, http: httpx.Client, redirect_uri: str, source: str
    ) -> None:
        answer = http.get("/oidc/v1/authorize", params=asking(redirect_uri=redirect_uri))
        assert f"form-action 'self' {source};" in answer.headers["content-security-policy"]


class TestDiscovery:
    def test_the_host_says_where_its_oidc_is(self, sandbox: Sandbox, http: httpx.Client) -> None:
        told = http.get("/.well-known/databricks-config").json()
        assert told["oidc_endpoint"] == f"{sandbox.url}/oidc"
        assert (told["cloud"], told["host_type"]) == ("AWS", "workspace")
        assert told["workspace_id"].isdigit() and told["account_id"]

    @pytest.mark.parametrize("document", ["oauth-authorization-server", "openid-configuration"])
    def test_the_metadata_names_the_endpoints_and_what_they_take(
        self, sandbox: Sandbox, http: httpx.Client, document: str
    ) -> None:
        told = http.get(f"/oidc/.well-known/{document}").json()
        assert told["issuer"] == f"{sandbox.url}/oidc"
        assert told["authorization_endpoint"] == f"{sandbox.url}/oidc/v1/authorize"
        assert told["token_endpoint"] == f"{sandbox.url}/oidc/v1/token"
        assert told["code_challenge_methods_supported"] == ["S256"]
        assert told["grant_types_supported"] == ["authorization_code", "refresh_token", "client_credentials", EXCHANGE]


class TestAuthorization:
    def test_with_auto_approve_the_browser_comes_straight_back(
        self, approving: Sandbox, approved: httpx.Client
    ) -> None:
        answer = approved.get("/oidc/v1/authorize", params=asking())
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("http://localhost:8020/?code=")
        told = answer_in(answer.headers["location"])
        assert (told["state"], told["iss"]) == ("state-1", f"{approving.url}/oidc")

    def test_a_path_and_query_of_the_redirect_uri_are_kept(self, approved: httpx.Client) -> None:
        answer = approved.get("/oidc/v1/authorize", params=asking(redirect_uri="http://127.0.0.1:9/cb?a=1"))
        assert answer.headers["location"].startswith("http://127.0.0.1:9/cb?a=1&code=")

    def consent(self, http: httpx.Client) -> str:
        match = re.search(r'name="ticket" value="([^"]+)"', http.get("/oidc/v1/authorize", params=asking()).text)
        assert match
        return match[1]

    def test_allow_gives_a_code_that_can_be_traded(self, http: httpx.Client) -> None:
        form = {"ticket": self.consent(http), "decision": "allow"}
        answer = http.post("/oidc/v1/authorize", data=form)
        assert answer.status_code == 303
        told = answer_in(answer.headers["location"])
        assert told["state"] == "state-1"
        assert me(http, trade(http, told["code"]).json()["access_token"]).status_code == 200

    @pytest.mark.parametrize("decision", ["deny", "", "ALLOW"])
    def test_anything_but_allow_is_access_denied(self, http: httpx.Client, decision: str) -> None:
        answer = http.post("/oidc/v1/authorize", data={"ticket": self.consent(http), "decision": decision})
        told = answer_in(answer.headers["location"])
        assert (told["error"], told["state"]) == ("access_denied", "state-1")
        assert "code" not in told

    def test_a_ticket_is_good_once(self, http: httpx.Client) -> None:
        form = {"ticket": self.consent(http), "decision": "allow"}
        assert http.post("/oidc/v1/authorize", data=form).status_code == 303
        assert http.post("/oidc/v1/authorize", data=form).status_code == 400

    def test_a_ticket_grows_old(self, http: httpx.Client, clock: Clock) -> None:
        form = {"ticket": self.consent(http), "decision": "allow"}
        clock.forward(601)
        assert http.post("/oidc/v1/authorize", data=form).status_code == 400

    @pytest.mark.parametrize("form", [{"decision": "allow"}, {"ticket": "guessed", "decision": "allow"}])
    def test_consent_without_the_form_s_ticket_is_refused(self, http: httpx.Client, form: dict[str, str]) -> None:
        answer = http.post("/oidc/v1/authorize", data=form)
        assert answer.status_code == 400 and "location" not in answer.headers

    def test_consent_that_is_not_a_form_is_refused(self, http: httpx.Client) -> None:
        answer = http.post("/oidc/v1/authorize", json={"ticket": self.consent(http), "decision": "allow"})
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": "someone-else"},
            {"client_id": None},
            {"redirect_uri": None},
            {"redirect_uri": "https://localhost:8020"},
            {"redirect_uri": "http://example.com"},
            {"redirect_uri": "http://localhost.example.com:8020"},
            {"redirect_uri": "http://localhost@example.com"},
            {"redirect_uri": "http://user@localhost:8020"},
            {"redirect_uri": "http://localhost:8020/#fragment"},
            {"redirect_uri": "http://localhost:99999"},
            {"redirect_uri": "http://[::1"},
            {"redirect_uri": "http://localhost:8020/\nx"},
            {"redirect_uri": "http://localhost\\@example.com"},
            {"redirect_uri": "//localhost:8020"},
            {"redirect_uri": "http://löcalhost"},
        ],
    )
    def test_a_bad_client_or_redirect_gets_a_page_and_no_redirect(
        self, approved: httpx.Client, changes: dict[str, str | None]
    ) -> None:
        answer = approved.get("/oidc/v1/authorize", params=asking(**changes))
        assert answer.status_code == 400 and "location" not in answer.headers
        assert "It is not Databricks" in answer.text

    def test_the_service_principal_cannot_be_logged_in_as(self, approving: Sandbox, approved: httpx.Client) -> None:
        assert approved.get("/oidc/v1/authorize", params=asking(client_id=approving.client_id)).status_code == 400

    @pytest.mark.parametrize("redirect_uri", ["http://localhost", "http://127.0.0.1:1/x", "http://[::1]:65535"])
    def test_loopback_redirects_may_have_any_port(self, approved: httpx.Client, redirect_uri: str) -> None:
        assert approved.get("/oidc/v1/authorize", params=asking(redirect_uri=redirect_uri)).status_code == 302

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge": "too-short"}, "invalid_request"),
            ({"state": None}, "invalid_request"),
            ({"state": ""}, "invalid_request"),
            ({"scope": 'all-apis "x"'}, "invalid_scope"),
        ],
    )
    def test_an_unlawful_request_is_told_to_the_client(
        self, approved: httpx.Client, changes: dict[str, str | None], error: str
    ) -> None:
        answer = approved.get("/oidc/v1/authorize", params=asking(**changes))
        told = answer_in(answer.headers["location"])
        assert (answer.status_code, told["error"]) == (302, error)
        assert told.get("state") == (asking(**changes).get("state") or None)
        assert "code" not in told and told["error_description"]

    def test_a_parameter_given_twice_goes_nowhere(self, approved: httpx.Client) -> None:
        twice: list[tuple[str, Any]] = [*asking().items(), ("redirect_uri", "http://localhost:1")]
        assert approved.get("/oidc/v1/authorize", params=twice).status_code == 400

    def test_parameters_that_are_not_utf_8_go_nowhere(self, approved: httpx.Client) -> None:
        assert approved.get("/oidc/v1/authorize?client_id=%ff").status_code == 400


def destination(path: str = "/oidc/v1/authorize", **changes: str | None) -> dict[str, str]:
    return {"destination_url": f"{path}?{urlencode(asking(**changes))}"}


class TestLoginWithoutAHost:
    """What login.databricks.com does: the browser comes with a destination, and goes on to a workspace's."""

    def test_the_browser_is_sent_on_and_comes_back_with_the_issuer(
        self, approving: Sandbox, approved: httpx.Client
    ) -> None:
        onward = approved.get("/", params=destination())
        assert onward.status_code == 302
        assert onward.headers["location"] == f"{approving.url}/oidc/v1/authorize?{urlencode(asking())}"
        told = answer_in(approved.get(onward.headers["location"]).headers["location"])
        assert (told["state"], told["iss"]) == ("state-1", f"{approving.url}/oidc")
        assert trade(approved, told["code"]).status_code == 200

    def test_the_person_is_asked_as_ever(self, http: httpx.Client) -> None:
        answer = http.get("/", params=destination(), follow_redirects=True)
        assert answer.status_code == 200 and "Allow databricks-cli?" in answer.text

    def test_what_is_not_lawful_there_is_refused_there(self, approved: httpx.Client) -> None:
        onward = approved.get("/", params=destination(redirect_uri="https://evil.example"))
        assert approved.get(onward.headers["location"]).status_code == 400

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "/",
            "/oidc/v1/authorize",
            "/oidc/v1/authorize?",
            "/oidc/v1/authorize/?a=1",
            "/oidc/v1/authorize?a=1#fragment",
            "/oidc/v1/authorize?a=\\",
            "/oidc/v1/authorize?a=1\r\nX: 1",
            "/oidc/v1/authorize?a=é",
            "/oidc/v1/token?a=1",
            "/oidc/v1/../../x?a=1",
            "//oidc/v1/authorize?a=1",
            "//evil.example/oidc/v1/authorize?a=1",
            "/\\evil.example/oidc/v1/authorize?a=1",
            "\\oidc\\v1\\authorize?a=1",
            "oidc/v1/authorize?a=1",
            " /oidc/v1/authorize?a=1",
            "https://evil.example/oidc/v1/authorize?a=1",
            "{url}/oidc/v1/authorize?a=1",
            "javascript:alert(1)//oidc/v1/authorize?a=1",
        ],
    )
    def test_any_other_destination_gets_a_page_and_no_redirect(
        self, approving: Sandbox, approved: httpx.Client, url: str
    ) -> None:
        answer = approved.get("/", params={"destination_url": url.replace("{url}", approving.url)})
        assert answer.status_code == 400 and "location" not in answer.headers
        assert "It is not Databricks" in answer.text and "evil" not in answer.text

    def test_two_destinations_are_none(self, approved: httpx.Client) -> None:
        assert approved.get("/", params=[*destination().items()] * 2).status_code == 400

    def test_the_new_token_tells_which_workspace_it_is_for(self, sandbox: Sandbox, http: httpx.Client) -> None:
        token = sandbox.add_login().access_token
        told = http.get("/api/2.0/tokens/introspect", headers=bearer(token)).json()
        scope = {"account_id": sandbox.account_id, "workspace_id": int(sandbox.workspace_id)}
        assert told == {"principal_context": {"authentication_scope": scope}}

    def test_the_workspace_names_no_entra_tenant(self, http: httpx.Client) -> None:
        assert http.get("/aad/auth").status_code == 404


class TestCodes:
    def test_a_code_becomes_tokens(self, approved: httpx.Client) -> None:
        answer = trade(approved, code_from(approved))
        told = answer.json()
        assert answer.status_code == 200
        assert (told["token_type"], told["expires_in"]) == ("Bearer", 3600)
        assert told["scope"] == "offline_access all-apis"
        assert answer.headers["cache-control"] == "no-store"
        assert me(approved, told["access_token"]).json()["userName"] == "sandbox.user@example.com"
        assert refresh(approved, told["refresh_token"]).status_code == 200

    def test_without_offline_access_there_is_no_refresh_token(self, approved: httpx.Client) -> None:
        assert "refresh_token" not in trade(approved, code_from(approved, scope="all-apis")).json()

    def test_without_a_scope_it_is_all_apis(self, approved: httpx.Client) -> None:
        assert trade(approved, code_from(approved, scope=None)).json()["scope"] == "all-apis"

    def test_a_code_used_twice_revokes_what_it_gave(self, approved: httpx.Client) -> None:
        code = code_from(approved)
        told = trade(approved, code).json()
        again = trade(approved, code)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert me(approved, told["access_token"]).json() == UNKNOWN_TOKEN
        assert refresh(approved, told["refresh_token"]).status_code == 400

    def test_a_code_is_good_for_a_minute(self, approved: httpx.Client, clock: Clock) -> None:
        in_time, too_late = code_from(approved), code_from(approved)
        clock.forward(60)
        assert trade(approved, in_time).status_code == 200
        clock.forward(1)
        assert trade(approved, too_late).json()["error_description"] == "Authorization code is expired"

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"code_verifier": secrets.token_urlsafe(48)}, "invalid_grant"),
            ({"code_verifier": None}, "invalid_request"),
            ({"redirect_uri": "http://localhost:8021"}, "invalid_grant"),
            ({"redirect_uri": None}, "invalid_grant"),
            ({"code": "unknown"}, "invalid_grant"),
            ({"code": None}, "invalid_request"),
            ({"client_id": "someone-else"}, "invalid_client"),
            ({"client_id": None}, "invalid_client"),
        ],
    )
    def test_a_code_is_bound_to_all_it_was_asked_with(
        self, approved: httpx.Client, changes: dict[str, str | None], error: str
    ) -> None:
        answer = trade(approved, code_from(approved), **changes)
        assert (answer.status_code, answer.json()["error"]) == (401 if error == "invalid_client" else 400, error)

    def test_a_code_is_bound_to_its_client(self, approving: Sandbox, approved: httpx.Client) -> None:
        approving.add_login(client_id="another-client")
        code = code_from(approved, client_id="another-client")
        assert trade(approved, code).json()["error"] == "invalid_grant"

    def test_verifiers_cannot_be_tried_one_after_another(self, approved: httpx.Client) -> None:
        code = code_from(approved)
        assert trade(approved, code, code_verifier="wrong").status_code == 400
        assert trade(approved, code).json()["error_description"] == "Authorization code was already used"


class TestRefresh:
    def test_a_refresh_gives_both_tokens_anew(self, sandbox: Sandbox, http: httpx.Client) -> None:
        login = sandbox.add_login()
        told = refresh(http, login.refresh_token).json()
        assert told["refresh_token"] != login.refresh_token
        assert told["access_token"] != login.access_token
        assert me(http, told["access_token"]).status_code == me(http, login.access_token).status_code == 200

    def test_a_spent_refresh_token_revokes_the_family(self, sandbox: Sandbox, http: httpx.Client) -> None:
        login, bystander = sandbox.add_login(), sandbox.add_login()
        told = refresh(http, login.refresh_token).json()
        answer = refresh(http, login.refresh_token)
        assert answer.status_code == 400
        assert answer.json() == {"error": "invalid_grant", "error_description": "Refresh token is invalid"}
        for token in (login.access_token, told["access_token"]):
            assert me(http, token).json() == UNKNOWN_TOKEN
        assert refresh(http, told["refresh_token"]).json()["error_description"] == "Refresh token is invalid"
        assert me(http, bystander.access_token).status_code == 200

    def test_racing_refreshes_revoke_the_family(self, sandbox: Sandbox, http: httpx.Client) -> None:
        login = sandbox.add_login()
        statuses: list[int] = []
        racers = [
            threading.Thread(target=lambda: statuses.append(refresh(http, login.refresh_token).status_code))
            for _ in range(6)
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(statuses) == [200, 400, 400, 400, 400, 400]
        assert me(http, login.access_token).status_code == 401

    def test_an_expired_access_token_does_not_end_the_login(
        self, sandbox: Sandbox, http: httpx.Client, clock: Clock
    ) -> None:
        login = sandbox.add_login()
        clock.forward(7 * 24 * 3600)
        assert me(http, refresh(http, login.refresh_token).json()["access_token"]).status_code == 200

    def test_a_refresh_token_is_bound_to_its_client(self, sandbox: Sandbox, http: httpx.Client) -> None:
        login = sandbox.add_login(client_id="another-client")
        assert refresh(http, login.refresh_token).json()["error_description"] == "Refresh token is invalid"
        assert refresh(http, login.refresh_token, client_id="another-client").status_code == 200

    def test_a_refresh_can_ask_for_less_but_not_for_more(self, sandbox: Sandbox, http: httpx.Client) -> None:
        token = sandbox.add_login(scopes="all-apis sql offline_access").refresh_token
        assert refresh(http, token, scope="all-apis clusters").json()["error"] == "invalid_scope"
        assert refresh(http, token, scope="sql").json()["scope"] == "sql"

    def test_an_unknown_refresh_token_is_invalid(self, http: httpx.Client) -> None:
        assert refresh(http, "guessed").json() == {
            "error": "invalid_grant",
            "error_description": "Refresh token is invalid",
        }

    def test_another_sandbox_s_tokens_fail_here(self, approving: Sandbox, http: httpx.Client) -> None:
        login = approving.add_login()
        assert me(http, login.access_token).status_code == 401
        assert me(http, approving.pat).status_code == 401
        assert refresh(http, login.refresh_token).status_code == 400

    def test_a_login_without_offline_access_has_no_refresh_token(self, sandbox: Sandbox) -> None:
        assert sandbox.add_login(scopes="all-apis").refresh_token == ""

    def test_a_login_hides_its_secrets(self, sandbox: Sandbox) -> None:
        login = sandbox.add_login()
        assert login.access_token not in repr(login) and login.refresh_token not in repr(login)


class TestMachines:
    @pytest.mark.parametrize("how", ["basic", "body"])
    def test_client_credentials_stand_for_the_service_principal(
        self, sandbox: Sandbox, http: httpx.Client, how: str
    ) -> None:
        form = {"grant_type": "client_credentials", "scope": "all-apis offline_access"}
        pair = (sandbox.client_id, sandbox.client_secret)
        if how == "basic":
            answer = http.post("/oidc/v1/token", data=form, auth=pair)
        else:
            answer = http.post("/oidc/v1/token", data={**form, "client_id": pair[0], "client_secret": pair[1]})
        assert "refresh_token" not in answer.json()
        assert me(http, answer.json()["access_token"]).json()["userName"] == sandbox.client_id

    @pytest.mark.parametrize("pair", [("{id}", "wrong"), ("someone-else", "{secret}"), ("{id}", "")])
    def test_a_wrong_secret_is_refused(self, sandbox: Sandbox, http: httpx.Client, pair: tuple[str, str]) -> None:
        client_id, secret = (p.format(id=sandbox.client_id, secret=sandbox.client_secret) for p in pair)
        answer = http.post("/oidc/v1/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")

    def test_a_public_client_has_no_credentials(self, http: httpx.Client) -> None:
        answer = http.post("/oidc/v1/token", data={"grant_type": "client_credentials", "client_id": "databricks-cli"})
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")

    def test_a_secret_sent_in_two_ways_is_refused(self, sandbox: Sandbox, http: httpx.Client) -> None:
        form = {"grant_type": "client_credentials", "client_secret": sandbox.client_secret}
        answer = http.post("/oidc/v1/token", data=form, auth=(sandbox.client_id, sandbox.client_secret))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    def test_basic_that_cannot_be_read_is_refused(self, http: httpx.Client) -> None:
        form = {"grant_type": "client_credentials"}
        answer = http.post("/oidc/v1/token", data=form, headers={"Authorization": "Basic !"})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")

    def test_the_workload_s_token_is_exchanged(self, sandbox: Sandbox, http: httpx.Client, clock: Clock) -> None:
        subject = unsigned({"sub": "sandbox-workload", "exp": clock() + 60})
        for more in ({}, {"client_id": sandbox.client_id}):
            told = exchange(http, subject, **more).json()
            assert told["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
            assert me(http, told["access_token"]).json()["userName"] == sandbox.client_id

    @pytest.mark.parametrize(
        ("subject", "about"),
        [
            ("not-a-jwt", "is not a JWT"),
            ("a.b.c", "is not a JWT"),
            ("é.é.é", "is not a JWT"),
            (unsigned(["sandbox-workload"]), "is not a JWT"),
            (unsigned({"sub": "another-workload"}), "sub is not sandbox-workload"),
            (unsigned({"sub": "sandbox-workload", "exp": 1}), "is expired"),
        ],
    )
    def test_any_other_subject_token_is_refused(self, http: httpx.Client, subject: str, about: str) -> None:
        answer = exchange(http, subject)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert about in answer.json()["error_description"]

    def test_a_workload_is_not_federated_with_every_client(self, http: httpx.Client) -> None:
        subject = unsigned({"sub": "sandbox-workload"})
        assert exchange(http, subject, client_id="someone-else").json()["error"] == "invalid_client"

    def test_a_personal_access_token_is_exchanged_too(self, sandbox: Sandbox, http: httpx.Client) -> None:
        assert me(http, exchange(http, sandbox.pat, PAT).json()["access_token"]).json()["userName"] == sandbox.user
        assert exchange(http, "dapi0", PAT).json()["error"] == "invalid_request"

    def test_other_kinds_of_subject_token_are_refused(self, http: httpx.Client) -> None:
        kind = "urn:ietf:params:oauth:token-type:saml2"
        assert exchange(http, unsigned({"sub": "sandbox-workload"}), kind).json()["error"] == "invalid_request"


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


class TestGroups:
    """assume_group: a token in the role of a group."""

    GROUP = "4217000000000042"

    def test_a_login_keeps_its_group_through_every_refresh(self, approved: httpx.Client) -> None:
        told = trade(approved, code_from(approved, assume_group=self.GROUP)).json()
        assert claims_of(told["access_token"])["group_id"] == self.GROUP
        again = refresh(approved, told["refresh_token"]).json()
        assert claims_of(again["access_token"])["group_id"] == self.GROUP
        same = refresh(approved, again["refresh_token"], assume_group=self.GROUP).json()
        assert claims_of(same["access_token"])["group_id"] == self.GROUP

    @pytest.mark.parametrize("granted", ["", GROUP])
    def test_a_refresh_for_another_group_is_refused_and_costs_nothing(
        self, sandbox: Sandbox, http: httpx.Client, granted: str
    ) -> None:
        token = sandbox.add_login(group_id=granted).refresh_token
        assert refresh(http, token, assume_group="7").json()["error"] == "invalid_request"
        assert refresh(http, token).status_code == 200

    def test_machines_can_have_a_group_too(self, sandbox: Sandbox, http: httpx.Client) -> None:
        form = {"grant_type": "client_credentials", "assume_group": self.GROUP}
        m2m = http.post("/oidc/v1/token", data=form, auth=(sandbox.client_id, sandbox.client_secret)).json()
        workload = exchange(http, unsigned({"sub": "sandbox-workload"}), assume_group=self.GROUP).json()
        pat = exchange(http, sandbox.pat, PAT, assume_group=self.GROUP).json()
        assert {claims_of(told["access_token"])["group_id"] for told in (m2m, workload, pat)} == {self.GROUP}

    def test_a_group_is_nobody_to_scim_but_may_use_the_workspace(self, sandbox: Sandbox, http: httpx.Client) -> None:
        token = sandbox.add_login(group_id=self.GROUP).access_token
        answer = me(http, token)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/scim+json")
        assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert answer.json()["status"] == "404" and self.GROUP in answer.json()["detail"]
        assert http.get("/api/2.0/serving-endpoints", headers=bearer(token)).status_code == 200

    def test_without_a_group_there_is_no_claim(self, sandbox: Sandbox) -> None:
        assert "group_id" not in claims_of(sandbox.add_login().access_token)

    def test_the_consent_page_names_the_group(self, http: httpx.Client) -> None:
        assert self.GROUP in http.get("/oidc/v1/authorize", params=asking(assume_group=self.GROUP)).text
        assert "group" not in http.get("/oidc/v1/authorize", params=asking()).text

    @pytest.mark.parametrize("group", ["admins", "-1", "1 2", "١", "1" * 20])
    def test_a_group_that_is_no_number_is_refused(self, approving: Sandbox, approved: httpx.Client, group: str) -> None:
        asked = approved.get("/oidc/v1/authorize", params=asking(assume_group=group))
        assert answer_in(asked.headers["location"])["error"] == "invalid_request"
        form = {"grant_type": "client_credentials", "assume_group": group}
        answer = approved.post("/oidc/v1/token", data=form, auth=(approving.client_id, approving.client_secret))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


class TestTokenEndpoint:
    def test_json_is_not_a_form(self, http: httpx.Client) -> None:
        answer = http.post("/oidc/v1/token", json={"grant_type": "client_credentials"})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    def test_a_form_may_name_its_charset(self, sandbox: Sandbox, http: httpx.Client) -> None:
        answer = http.post(
            "/oidc/v1/token",
            content="grant_type=client_credentials",
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
            auth=(sandbox.client_id, sandbox.client_secret),
        )
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ("", "invalid_request"),
            ("grant_type=", "invalid_request"),
            ("grant_type=password", "unsupported_grant_type"),
            ("grant_type=refresh_token&grant_type=refresh_token", "invalid_request"),
            ("grant_type=%ff", "invalid_request"),
            ("grant_type=refresh_token&client_id=databricks-cli", "invalid_request"),
        ],
    )
    def test_a_form_that_asks_for_nothing_we_know_is_refused(self, http: httpx.Client, body: str, error: str) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = http.post("/oidc/v1/token", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert answer.headers["cache-control"] == "no-store"


class TestTokens:
    @pytest.mark.parametrize(
        "headers", [{}, bearer("guessed"), bearer("a b"), {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}]
    )
    def test_without_a_good_bearer_nothing_is_told(self, http: httpx.Client, headers: dict[str, str]) -> None:
        for method, path in (
            ("GET", "/api/2.0/preview/scim/v2/Me"),
            ("GET", "/api/2.0/serving-endpoints"),
            ("GET", f"/api/2.0/serving-endpoints/{CLAUDE}"),
            ("GET", "/api/2.0/tokens/introspect"),
            ("GET", "/api/2.0/serving-endpoints:foundation-models"),
            ("POST", "/serving-endpoints/chat/completions"),
            ("POST", f"/serving-endpoints/{CLAUDE}/invocations"),
        ):
            answer = http.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()) == (401, UNKNOWN_TOKEN)
            assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_a_personal_access_token_does_not_expire(self, sandbox: Sandbox, http: httpx.Client, clock: Clock) -> None:
        assert re.fullmatch(r"dapi[0-9a-f]{32}", sandbox.pat)
        clock.forward(365 * 24 * 3600)
        answer = http.get("/api/2.0/preview/scim/v2/Me", headers={"Authorization": f"bearer {sandbox.pat}"})
        assert answer.json()["userName"] == sandbox.user

    def test_me_says_who_and_which_workspace(self, sandbox: Sandbox, http: httpx.Client) -> None:
        answer = me(http, sandbox.pat)
        assert set(answer.json()) >= {"id", "userName", "displayName"}
        told = http.get("/.well-known/databricks-config").json()
        assert answer.headers["x-databricks-org-id"] == told["workspace_id"]

    @pytest.mark.parametrize(
        ("left", "message"),
        [
            (31, None),
            (30, "Token is expiring within 30 seconds"),
            (1, "Token is expiring within 30 seconds"),
            (0, "Token is expired"),
            (-9, "Token is expired"),
        ],
    )
    def test_a_token_with_30_seconds_left_is_refused(
        self, sandbox: Sandbox, http: httpx.Client, clock: Clock, left: float, message: str | None
    ) -> None:
        login = sandbox.add_login()
        clock.forward(login.expires_at - clock() - left)
        answer = me(http, login.access_token)
        if message is None:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()) == (401, {"error_code": "401", "message": message})

    @pytest.mark.parametrize(("ttl", "expires_in"), [(60, 60), (2.5, 2.5), (0.5, 0.5)])
    def test_tokens_of_a_minute_or_less_can_be_used_to_their_end(self, ttl: float, expires_in: float) -> None:
        clock = Clock()
        server = oauth.AuthorizationServer(workspace.USER, token_ttl=ttl, now=clock)
        form = {"grant_type": "client_credentials", "client_id": server.client_id}
        told = server.token({**form, "client_secret": server.client_secret})
        assert told["expires_in"] == expires_in
        clock.forward(ttl - 0.25)
        assert server.principal(told["access_token"]) == server.service_principal
        clock.forward(0.25)
        with pytest.raises(oauth.InvalidToken, match="Token is expired"):
            server.principal(told["access_token"])

    def test_a_login_says_when_it_ends(self, sandbox: Sandbox, clock: Clock) -> None:
        login = sandbox.add_login()
        assert isinstance(login, Login) and login.expires_at == clock() + 3600

    def test_a_client_that_looks_into_a_token_finds_its_claims(self, sandbox: Sandbox, clock: Clock) -> None:
        claims = claims_of(sandbox.add_login(scopes="all-apis").access_token)
        assert (claims["scope"], claims["sub"], claims["client_id"]) == ("all-apis", sandbox.user, "databricks-cli")
        assert (claims["iss"], claims["exp"]) == (f"{sandbox.url}/oidc", int(clock() + 3600))

    def test_a_forged_token_with_the_same_claims_opens_nothing(self, sandbox: Sandbox, http: httpx.Client) -> None:
        head, middle, _ = sandbox.add_login().access_token.split(".")
        assert me(http, f"{head}.{middle}.forged").status_code == 401


class TestLog:
    def test_it_tells_what_was_asked(self, sandbox: Sandbox, http: httpx.Client) -> None:
        refresh(http, "guessed")
        assert sandbox.log[-1] == ("POST", "/oidc/v1/token", 400, "refresh_token")
        http.get("/?secret=1")
        assert sandbox.log[-1] == Request("GET", "/", 200)
        told = http.get("/_sandbox/log").json()
        assert told["version"] == 1
        assert told["requests"][-2:] == [
            {"method": "POST", "path": "/oidc/v1/token", "status": 400, "grant_type": "refresh_token"},
            {"method": "GET", "path": "/", "status": 200},
        ]

    def test_misdirected_requests_are_in_it_too(self, sandbox: Sandbox, http: httpx.Client) -> None:
        http.get("/x", headers={"Host": "evil.example"})
        assert sandbox.log[-1] == ("GET", "/x", 421, None)

    def test_a_grant_type_it_does_not_know_is_not_repeated(self, sandbox: Sandbox, http: httpx.Client) -> None:
        http.post("/oidc/v1/token", data={"grant_type": sandbox.client_secret})
        assert sandbox.log[-1].grant_type == "unsupported"

    def test_it_never_holds_a_secret(self, approving: Sandbox, approved: httpx.Client) -> None:
        code = code_from(approved)
        told = trade(approved, code).json()
        me(approved, told["access_token"])
        refreshed = refresh(approved, told["refresh_token"]).json()
        form = {"grant_type": "client_credentials"}
        approved.post("/oidc/v1/token", data=form, auth=(approving.client_id, approving.client_secret))
        exchange(approved, approving.pat, PAT)
        approved.get("/", params={"token": approving.pat})
        shown = approved.get("/_sandbox/log").text + repr(approving.log)
        hidden = [code, VERIFIER, "state-1", approving.pat, approving.client_secret]
        hidden += [given[name] for given in (told, refreshed) for name in ("access_token", "refresh_token")]
        assert not [secret for secret in hidden if secret in shown]

    def test_it_lets_go_of_the_oldest(self) -> None:
        requests = [Request("GET", str(i), 200) for i in range(log.LIMIT)]
        log.note(requests, Request("GET", "new", 200))
        assert len(requests) == log.LIMIT
        assert (requests[0].path, requests[-1].path) == ("1", "new")


class TestLists:
    def endpoints(self, sandbox: Sandbox, http: httpx.Client, path: str = "serving-endpoints") -> list[dict[str, Any]]:
        answer = http.get(f"/api/2.0/{path}", headers=bearer(sandbox.pat))
        endpoints: list[dict[str, Any]] = answer.json()["endpoints"]
        return endpoints

    def test_the_list_has_every_family_and_kind(self, sandbox: Sandbox, http: httpx.Client) -> None:
        endpoints = self.endpoints(sandbox, http)
        assert {e["name"] for e in endpoints} >= {CLAUDE, GPT, CODEX, GEMINI, *OPEN_MODELS, GTE, "churn-forecast"}
        assert {e.get("task") for e in endpoints} == {"llm/v1/chat", "llm/v1/embeddings", None}
        assert [e["name"] for e in endpoints if e["state"]["ready"] != "READY"] == ["support-chat"]
        external = [e["config"]["served_entities"][0].get("external_model") for e in endpoints]
        assert [m for m in external if m] == [
            {"provider": "anthropic", "name": "claude-sonnet-4-5-20250929", "task": "llm/v1/chat"},
            {"provider": "openai", "name": "gpt-4o", "task": "llm/v1/chat"},
        ]

    def test_databricks_own_models_can_be_told_from_others(self, sandbox: Sandbox, http: httpx.Client) -> None:
        for endpoint in self.endpoints(sandbox, http):
            [entity] = endpoint["config"]["served_entities"]
            own = entity.get("entity_name", "").startswith("system.ai.")
            assert endpoint["name"].startswith("databricks-") is own
            assert (endpoint["creator"] is None) is own
            assert "api_types" not in entity.get("foundation_model", {})

    def test_the_foundation_models_say_which_apis_they_speak(self, sandbox: Sandbox, http: httpx.Client) -> None:
        endpoints = self.endpoints(sandbox, http, "serving-endpoints:foundation-models")
        speaks = {e["name"]: e["config"]["served_entities"][0]["foundation_model"]["api_types"] for e in endpoints}
        assert speaks[CLAUDE] == ["mlflow/v1/chat/completions", "anthropic/v1/messages"]
        assert speaks[CODEX] == ["openai/v1/responses"]
        assert speaks[GEMINI] == ["mlflow/v1/chat/completions", "gemini/v1/generateContent"]
        assert speaks[GTE] == ["mlflow/v1/embeddings"]
        assert "churn-forecast" not in speaks and "team-gpt" not in speaks

    def test_one_endpoint_can_be_looked_at(self, sandbox: Sandbox, http: httpx.Client) -> None:
        told = http.get(f"/api/2.0/serving-endpoints/{CLAUDE}", headers=bearer(sandbox.pat)).json()
        assert (told["name"], told["permission_level"]) == (CLAUDE, "CAN_QUERY")
        assert "context window of 200K tokens" in told["description"]
        missing = http.get("/api/2.0/serving-endpoints/nothing", headers=bearer(sandbox.pat))
        assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


# Model calls

PATHS = {
    CHAT: "/serving-endpoints/chat/completions",
    RESPONSES: "/serving-endpoints/responses",
    MESSAGES: "/serving-endpoints/anthropic/v1/messages",
    EMBEDDINGS: "/serving-endpoints/embeddings",
}
EVERY_API = [(GPT, CHAT), (GEMINI, CHAT), (OSS, CHAT), (GPT, RESPONSES), (CLAUDE, MESSAGES)]

Json = dict[str, Any]


def tool_for(api: str, schema: Any = WEATHER, **more: Any) -> Json:
    """The declaration of a tool, as each API wants it."""
    if api == CHAT:
        return {"type": "function", "function": {"name": "weather", "parameters": schema, **more}}
    if api == RESPONSES:
        return {"type": "function", "name": "weather", "parameters": schema, **more}
    return {"name": "weather", "input_schema": schema, **more}


def saying(api: str, text: str = "hello", /, **more: Any) -> Json:
    """A lawful body in which a user says something."""
    if api == RESPONSES:
        return {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}], **more}
    limit = {"max_tokens": 100} if api == MESSAGES else {}
    return {"messages": [{"role": "user", "content": text}], **limit, **more}


def after_a_tool(api: str) -> Json:
    """A lawful body in which a tool has just answered."""
    if api == RESPONSES:
        call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
        answered = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
        return {"input": [{"role": "user", "content": "hello"}, call, answered], "tools": [tool_for(api)]}
    if api == MESSAGES:
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}
        turns = [("user", "hello"), ("assistant", [use]), ("user", [result])]
        history = [{"role": role, "content": content} for role, content in turns]
        return {"messages": history, "max_tokens": 9, "tools": [tool_for(api)]}
    function = {"name": "weather", "arguments": "{}"}
    called: Json = {"id": "call_1", "type": "function", "function": function, "thoughtSignature": SKIPPED}
    chat: list[Json] = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    return {"messages": chat, "tools": [tool_for(api)]}


class Model:
    """A model as a client sees it: one answer put together, whatever the API and whether streamed or not."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client, name: str, api: str) -> None:
        self.name, self.api, self.sandbox, self.http = name, api, sandbox, http

    def post(self, body: Json, **headers: str) -> httpx.Response:
        all_headers = {**bearer(self.sandbox.pat), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.http.post(PATHS[self.api], json={"model": self.name, **body}, headers=all_headers)

    def refusal(self, body: Json, **headers: str) -> str | None:
        answer = self.post(body, **headers)
        if answer.status_code == 200:
            return None
        assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
        return str(answer.json()["message"])

    def ask(self, body: Json) -> tuple[str, Json | None]:
        """The text of the answer and the arguments of its tool call."""
        answer = self.post(body)
        assert answer.status_code == 200, answer.text
        return {CHAT: whole_chat, RESPONSES: whole_responses, MESSAGES: whole_messages}[self.api](answer.json())

    def stream(self, body: Json) -> list[tuple[str, Any]]:
        """The events of a streamed answer, each with its name and data."""
        answer = self.post({**body, "stream": True})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = []
        for block in answer.text.strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            data = fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"])
            events.append((fields.get("event", ""), data))
        return events

    def ask_streamed(self, body: Json) -> tuple[str, Json | None]:
        events = self.stream(body)
        return {CHAT: streamed_chat, RESPONSES: streamed_responses, MESSAGES: streamed_messages}[self.api](events)


def flat(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def whole_chat(told: Json) -> tuple[str, Json | None]:
    [choice] = told["choices"]
    calls = choice["message"].get("tool_calls")
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
    return flat(choice["message"]["content"]), json.loads(calls[0]["function"]["arguments"]) if calls else None


def whole_responses(told: Json) -> tuple[str, Json | None]:
    [item] = told["output"]
    assert told["status"] == item["status"] == "completed" and len(item["id"]) <= 64
    if item["type"] == "function_call":
        return "", json.loads(item["arguments"])
    return "".join(part["text"] for part in item["content"]), None


def whole_messages(told: Json) -> tuple[str, Json | None]:
    [block] = told["content"]
    assert told["stop_reason"] == ("tool_use" if block["type"] == "tool_use" else "end_turn")
    return ("", block["input"]) if block["type"] == "tool_use" else (block["text"], None)


def streamed_chat(events: list[tuple[str, Any]]) -> tuple[str, Json | None]:
    assert events[-1] == ("", "[DONE]")
    choices = [choice for _, event in events[:-1] for choice in event["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert [c["finish_reason"] for c in choices[:-1]] == [None] * (len(choices) - 1)
    text = "".join(flat(c["delta"].get("content")) for c in choices)
    calls = [call for c in choices for call in c["delta"].get("tool_calls", [])]
    assert choices[-1]["finish_reason"] == ("tool_calls" if calls else "stop")
    if calls:
        assert calls[0]["id"] and calls[0]["function"]["name"] == "weather"
    return text, json.loads("".join(call["function"]["arguments"] for call in calls)) if calls else None


def streamed_responses(events: list[tuple[str, Any]]) -> tuple[str, Json | None]:
    assert all(name == event["type"] for name, event in events)
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert (events[0][0], events[-1][0]) == ("response.created", "response.completed")
    assert events[0][1]["response"]["id"] == events[-1][1]["response"]["id"]
    item_ids = {event["item_id"] for _, event in events if "item_id" in event}
    assert item_ids == {events[-1][1]["response"]["output"][0]["id"]}
    text = "".join(event["delta"] for name, event in events if name == "response.output_text.delta")
    given = "".join(event["delta"] for name, event in events if name == "response.function_call_arguments.delta")
    assert whole_responses(events[-1][1]["response"]) == (text, json.loads(given) if given else None)
    return text, json.loads(given) if given else None


def streamed_messages(events: list[tuple[str, Any]]) -> tuple[str, Json | None]:
    assert all(name == event["type"] for name, event in events)
    names = [name for name, _ in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = [event["delta"] for name, event in events if name == "content_block_delta"]
    given = "".join(delta.get("partial_json", "") for delta in deltas)
    assert events[-2][1]["delta"]["stop_reason"] == ("tool_use" if given else "end_turn")
    return "".join(delta.get("text", "") for delta in deltas), json.loads(given) if given else None


@pytest.mark.parametrize(("name", "api"), EVERY_API)
class TestReplies:
    @pytest.fixture
    def model(self, sandbox: Sandbox, http: httpx.Client, name: str, api: str) -> Model:
        return Model(sandbox, http, name, api)

    def test_the_last_words_of_the_user_are_echoed(self, model: Model, api: str) -> None:
        assert model.ask(saying(api, "good morning 🌅")) == ("You said: good morning 🌅", None)
        assert model.ask_streamed(saying(api, "good morning 🌅")) == ("You said: good morning 🌅", None)

    def test_a_tool_is_called_with_what_it_requires(self, model: Model, api: str) -> None:
        body = saying(api, tools=[tool_for(api), tool_for(api)])
        assert model.ask(body) == model.ask_streamed(body) == ("", ARGUMENTS)

    def test_a_tool_s_answer_is_told(self, model: Model, api: str) -> None:
        assert model.ask(after_a_tool(api)) == ("The tool answered: sunny", None)
        assert model.ask_streamed(after_a_tool(api)) == ("The tool answered: sunny", None)

    def test_a_tool_that_may_not_be_called_is_not(self, model: Model, api: str) -> None:
        choice = {"type": "none"} if api == MESSAGES else "none"
        body = saying(api, tools=[tool_for(api)], tool_choice=choice)
        assert model.ask(body) == ("You said: hello", None)


class TestReplyShapes:
    def test_gemini_signs_its_parts(self, sandbox: Sandbox, http: httpx.Client) -> None:
        model = Model(sandbox, http, GEMINI, CHAT)
        message = model.post(saying(CHAT)).json()["choices"][0]["message"]
        [part] = message["content"]
        assert part["thoughtSignature"] and part["thoughtSignature"] not in part["text"]
        called = model.post(saying(CHAT, tools=[tool_for(CHAT)])).json()["choices"][0]["message"]
        assert called["content"] is None and called["tool_calls"][0]["thoughtSignature"]
        streamed = [event for _, event in model.stream(saying(CHAT))[1:-2]]
        assert all(isinstance(event["choices"][0]["delta"]["content"], list) for event in streamed)

    @pytest.mark.parametrize("name", [OSS, QWEN])
    def test_who_thinks_aloud_thinks_first(self, sandbox: Sandbox, http: httpx.Client, name: str) -> None:
        model = Model(sandbox, http, name, CHAT)
        content = model.post(saying(CHAT)).json()["choices"][0]["message"]["content"]
        assert [part["type"] for part in content] == ["reasoning", "text"]

    @pytest.mark.parametrize("name", [CLAUDE, GPT, LLAMA, GEMMA, "team-gpt"])
    def test_the_others_just_send_text(self, sandbox: Sandbox, http: httpx.Client, name: str) -> None:
        answer = Model(sandbox, http, name, CHAT).post(saying(CHAT))
        assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"

    def test_usage_ends_a_stream_that_asked_for_it(self, sandbox: Sandbox, http: httpx.Client) -> None:
        model = Model(sandbox, http, CLAUDE, CHAT)
        [*_, (_, last), _] = model.stream(saying(CHAT, "one two", stream_options={"include_usage": True}))
        assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 2)
        [*_, (_, last), _] = model.stream(saying(CHAT))
        assert "usage" not in last

    def test_a_conversation_that_ends_with_the_assistant_is_not_answered_by_a_tool(
        self, sandbox: Sandbox, http: httpx.Client
    ) -> None:
        history = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "so"}]
        for name, api in ((GPT, CHAT), (CLAUDE, MESSAGES)):
            body = {**saying(api), "messages": history, "tools": [tool_for(api)]}
            assert Model(sandbox, http, name, api).ask(body) == ("You said: hello", None)

    def test_a_response_can_be_asked_for_with_a_string(self, sandbox: Sandbox, http: httpx.Client) -> None:
        assert Model(sandbox, http, GPT, RESPONSES).ask({"input": "hello"}) == ("You said: hello", None)

    def test_half_a_character_is_echoed_without_harm(self, sandbox: Sandbox, http: httpx.Client) -> None:
        body = json.dumps({"model": GEMINI, "messages": [{"role": "user", "content": "\ud83c"}]})
        answer = http.post(PATHS[CHAT], content=body, headers=bearer(sandbox.pat))
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("schema", "value"),
        [
            ({"const": 7}, 7),
            ({"default": "x"}, "x"),
            ({"enum": []}, "example"),
            ({"type": ["integer", "null"]}, 1),
            ({"type": "boolean"}, True),
            ({"type": "array"}, []),
            ({"type": "object"}, {}),
            ({"type": "STRING"}, "example"),
            ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
            ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
            ({"$ref": "#/$defs/unit"}, "kelvin"),
            ({"$ref": "#/$defs/nobody"}, "example"),
            ({"$ref": "https://elsewhere.example/schema"}, "example"),
            ({}, "example"),
            (None, "example"),
        ],
    )
    def test_an_argument_is_what_its_schema_suggests(self, schema: Any, value: Any) -> None:
        named = {"unit": {"enum": ["kelvin"]}}
        whole = {"type": "object", "properties": {"x": schema}, "required": ["x", 1], "$defs": named}
        assert answers.arguments(whole) == {"x": value}

    def test_arguments_do_not_go_down_forever(self) -> None:
        schema: Json = {"type": "object", "properties": {}, "required": ["x"]}
        schema["properties"]["x"] = schema
        assert str(answers.arguments(schema)).count("x") == answers.DEPTH
        schema["properties"]["x"] = {"$ref": "#"}
        assert 1 < str(answers.arguments(schema)).count("'x'") <= answers.DEPTH


class TestOtherTasks:
    def test_embeddings_are_the_same_for_the_same_text(self, sandbox: Sandbox, http: httpx.Client) -> None:
        body = {"model": GTE, "input": ["a", "b", "a"]}
        told = http.post(PATHS[EMBEDDINGS], json=body, headers=bearer(sandbox.pat)).json()
        a, b, again = (row["embedding"] for row in told["data"])
        assert a == again != b and len(a) == 1024 and all(-1 <= x <= 1 for x in a)
        alone = http.post(PATHS[EMBEDDINGS], json={"model": GTE, "input": "a"}, headers=bearer(sandbox.pat)).json()
        assert alone["data"][0]["embedding"] == a

    def invoke(self, sandbox: Sandbox, http: httpx.Client, name: str, body: Json) -> httpx.Response:
        return http.post(f"/serving-endpoints/{name}/invocations", json=body, headers=bearer(sandbox.pat))

    @pytest.mark.parametrize(
        ("body", "rows"),
        [
            ({"dataframe_split": {"columns": ["x"], "data": [[1], [2]]}}, 2),
            ({"dataframe_records": [{"x": 1}]}, 1),
            ({"inputs": {"x": [1, 2]}}, 1),
        ],
    )
    def test_a_custom_model_predicts_a_number_for_each_row(
        self, sandbox: Sandbox, http: httpx.Client, body: Json, rows: int
    ) -> None:
        told = self.invoke(sandbox, http, "churn-forecast", body).json()
        assert told == {"predictions": [0.5] * rows}

    def test_a_custom_model_does_not_chat(self, sandbox: Sandbox, http: httpx.Client) -> None:
        assert self.invoke(sandbox, http, "churn-forecast", saying(CHAT)).status_code == 400
        refused = Model(sandbox, http, "churn-forecast", CHAT).refusal(saying(CHAT))
        assert refused and "invocations" in refused

    @pytest.mark.parametrize(
        ("name", "body", "key"),
        [
            (CLAUDE, saying(CHAT), "choices"),
            (GPT, saying(RESPONSES), "output"),
            (CODEX, saying(RESPONSES), "output"),
            (GTE, {"input": "a"}, "data"),
            ("team-gpt", saying(CHAT), "choices"),
        ],
    )
    def test_an_invocation_speaks_the_api_of_its_body(
        self, sandbox: Sandbox, http: httpx.Client, name: str, body: Json, key: str
    ) -> None:
        assert key in self.invoke(sandbox, http, name, body).json()

    def test_an_endpoint_that_is_not_ready_says_so(self, sandbox: Sandbox, http: httpx.Client) -> None:
        answer = self.invoke(sandbox, http, "support-chat", saying(CHAT))
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")


def claude_messages(*contents: Any) -> list[Json]:
    return [{"role": "user", "content": content} for content in contents]


class TestRefusals:
    @pytest.fixture
    def model(self, sandbox: Sandbox, http: httpx.Client, name: str, api: str) -> Model:
        return Model(sandbox, http, name, api)

    @pytest.mark.parametrize("api", PATHS)
    @pytest.mark.parametrize("name", ["databricks-gone", ["x"], None])
    def test_an_unknown_model_is_not_found(self, model: Model, api: str) -> None:
        answer = model.post(saying(api))
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")

    @pytest.mark.parametrize("content", [b"", b"[]", b"nope", b"\xff", b"[" * 100_000])
    def test_a_body_that_is_no_object_is_refused(self, sandbox: Sandbox, http: httpx.Client, content: bytes) -> None:
        for path in (*PATHS.values(), f"/serving-endpoints/{GPT}/invocations"):
            answer = http.post(path, content=content, headers=bearer(sandbox.pat))
            assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")

    @pytest.mark.parametrize(
        ("name", "api", "message"),
        [
            (CODEX, CHAT, f"{CODEX} only supports the Responses API. Please use /serving-endpoints/responses"),
            (
                "databricks-claude-opus-5-5",
                CHAT,
                "databricks-claude-opus-5-5 only supports the Anthropic Messages API. "
                "Please use /serving-endpoints/anthropic/v1/messages",
            ),
            (
                CLAUDE,
                RESPONSES,
                f"{CLAUDE} does not support the Responses API. Please use /serving-endpoints/chat/completions",
            ),
            (
                GPT,
                MESSAGES,
                f"{GPT} does not support the Anthropic Messages API. Please use /serving-endpoints/chat/completions",
            ),
            (GTE, CHAT, f"{GTE} only supports the Embeddings API. Please use /serving-endpoints/embeddings"),
            (
                LLAMA,
                EMBEDDINGS,
                f"{LLAMA} only supports the Chat Completions API. Please use /serving-endpoints/chat/completions",
            ),
        ],
    )
    def test_a_model_is_asked_through_an_api_it_speaks(self, model: Model, api: str, message: str) -> None:
        assert model.refusal(saying(api)) == message

    @pytest.mark.parametrize("api", [CHAT])
    @pytest.mark.parametrize("name", OPEN_MODELS)
    def test_open_models_do_not_know_stream_options(self, model: Model) -> None:
        body = saying(CHAT, stream=True, stream_options={"include_usage": True})
        assert model.refusal(body) == 'json: unknown field "stream_options"'

    @pytest.mark.parametrize("api", [CHAT])
    @pytest.mark.parametrize("name", [CLAUDE, GEMINI, GPT, "team-gpt"])
    def test_the_others_do(self, model: Model) -> None:
        assert model.refusal(saying(CHAT, stream=True, stream_options={})) is None

    @pytest.mark.parametrize("api", [CHAT])
    @pytest.mark.parametrize("name", OTHERS)
    @pytest.mark.parametrize("field", ["parallel_tool_calls", "prompt_cache_key", "service_tier", "store", "strict"])
    def test_only_gpt_knows_openai_s_parameters(self, model: Model, name: str, field: str) -> None:
        message = (
            f'json: unknown field "{field}"' if name in OPEN_MODELS else f"{field}: Extra inputs are not permitted"
        )
        assert model.refusal(saying(CHAT, **{field: False})) == message

    @pytest.mark.parametrize("api", [CHAT])
    @pytest.mark.parametrize("name", OTHERS)
    def test_only_gpt_knows_strict_tools(self, model: Model, name: str) -> None:
        body = saying(CHAT, tools=[tool_for(CHAT), tool_for(CHAT, strict=True)])
        path = "tools.1.function.strict: Extra inputs are not permitted"
        assert model.refusal(body) == ('json: unknown field "strict"' if name in OPEN_MODELS else path)

    @pytest.mark.parametrize("api", [CHAT, RESPONSES])
    @pytest.mark.parametrize("name", [GPT])
    def test_gpt_takes_them_all(self, model: Model, api: str) -> None:
        openai = {"parallel_tool_calls": True, "prompt_cache_key": "k", "service_tier": "auto", "store": False}
        assert model.refusal(saying(api, **openai, tools=[tool_for(api, strict=True)])) is None

    @pytest.mark.parametrize(("name", "api"), [(CLAUDE, CHAT), (CLAUDE, MESSAGES)])
    def test_claude_does_not_know_eager_input_streaming(self, model: Model, api: str) -> None:
        body = saying(api, tools=[tool_for(api), tool_for(api, eager_input_streaming=True)])
        assert model.refusal(body) == "tools.1.custom.eager_input_streaming: Extra inputs are not permitted"
        assert model.refusal(body, x_databricks_use_coding_agent_mode="true") is None

    @pytest.mark.parametrize(
        ("name", "api", "body", "where"),
        [
            (CLAUDE, CHAT, {"messages": claude_messages("hi", "")}, "messages.1"),
            (CLAUDE, CHAT, {"messages": claude_messages([{"type": "text", "text": ""}])}, "messages.0"),
            (
                CLAUDE,
                CHAT,
                {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
                "messages.0",
            ),
            (CLAUDE, CHAT, {"messages": [{"role": "tool", "tool_call_id": "1", "content": ""}]}, "messages.0"),
            (CLAUDE, MESSAGES, {"messages": claude_messages("")}, "messages.0"),
            (CLAUDE, MESSAGES, {"messages": claude_messages("hi"), "system": ""}, "system"),
            (
                CLAUDE,
                MESSAGES,
                {"messages": claude_messages([{"type": "tool_result", "content": [{"type": "text", "text": ""}]}])},
                "messages.0",
            ),
        ],
    )
    def test_claude_wants_no_empty_text(self, model: Model, body: Json, where: str) -> None:
        assert model.refusal({"max_tokens": 9, **body}) == f"{where}: text content blocks must be non-empty"

    @pytest.mark.parametrize(("name", "api"), [(CLAUDE, CHAT)])
    @pytest.mark.parametrize("content", [None, " "])
    def test_claude_takes_no_content_at_all_and_a_space(self, model: Model, content: str | None) -> None:
        assert model.refusal({"messages": [{"role": "assistant", "content": content}]}) is None

    @pytest.mark.parametrize(("name", "api"), [(GPT, CHAT), (GEMINI, CHAT)])
    def test_the_others_take_empty_text(self, model: Model) -> None:
        assert model.refusal(saying(CHAT, "")) is None

    @pytest.mark.parametrize(("name", "api"), [(GEMINI, CHAT)])
    def test_gemini_wants_one_system_message(self, model: Model) -> None:
        systems = [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}]
        user = saying(CHAT)["messages"]
        assert model.refusal({"messages": [systems[0], *user]}) is None
        refused = model.refusal({"messages": [*systems, *user]})
        assert refused and "only support one system prompt" in refused

    @pytest.mark.parametrize(("name", "api"), [(GEMINI, CHAT)])
    @pytest.mark.parametrize(
        ("schema", "path"),
        [
            ({}, ""),
            ({"properties": {"a": {}, "b": "HERE"}}, ".properties[1].value"),
            ({"properties": {"a": {"type": "array", "items": "HERE"}}}, ".properties[0].value.items"),
            ({"anyOf": [{}, "HERE"]}, ".any_of[1]"),
            ({"properties": {"a": {"oneOf": [{"allOf": ["HERE"]}]}}}, ".properties[0].value.one_of[0].all_of[0]"),
        ],
    )
    @pytest.mark.parametrize("word", ["$schema", "$ref", "$defs", "definitions", "additionalProperties"])
    def test_gemini_does_not_know_all_of_json_schema(self, model: Model, schema: Json, path: str, word: str) -> None:
        bad = json.dumps({word: "x"})
        deep = json.loads(json.dumps(schema).replace('"HERE"', bad)) if path else {word: "x"}
        body = saying(CHAT, tools=[tool_for(CHAT), tool_for(CHAT, {"type": "object", **deep})])
        assert model.refusal(body) == (
            f'Invalid JSON payload received. Unknown name "{word}" at '
            f"'tools[0].function_declarations[1].parameters{path}': Cannot find field."
        )

    @pytest.mark.parametrize(("name", "api"), [(GEMINI, CHAT)])
    def test_gemini_names_everything_it_does_not_know(self, model: Model) -> None:
        bad = {"type": "object", "$schema": "x"}
        refused = model.refusal(saying(CHAT, tools=[tool_for(CHAT, bad), tool_for(CHAT, bad)]))
        assert refused and [line.count("$schema") for line in refused.split("\n")] == [1, 1]

    @pytest.mark.parametrize(("name", "api"), [(GEMINI, CHAT)])
    def test_gemini_wants_a_ref_alone(self, model: Model) -> None:
        alone = {"type": "object", "properties": {"a": {"ref": "Option", "description": "d"}}}
        crowd = {"type": "object", "properties": {"a": {"ref": "Option", "type": "object"}}}
        assert model.refusal(saying(CHAT, tools=[tool_for(CHAT, alone)])) is None
        refused = model.refusal(saying(CHAT, tools=[tool_for(CHAT, crowd)]))
        assert refused and refused.startswith("Schema.ref 'Option' was set alongside unsupported fields.")

    @pytest.mark.parametrize(("name", "api"), [(GEMINI, CHAT)])
    def test_properties_may_be_called_what_they_like(self, model: Model) -> None:
        named = {"type": "object", "properties": {"$ref": {"type": "string"}, "definitions": {"type": "string"}}}
        assert model.refusal(saying(CHAT, tools=[tool_for(CHAT, named)])) is None

    @pytest.mark.parametrize(("name", "api"), [(CLAUDE, CHAT), (GPT, CHAT)])
    def test_the_others_know_json_schema(self, model: Model) -> None:
        schema = {"type": "object", "$schema": "x", "additionalProperties": False}
        assert model.refusal(saying(CHAT, tools=[tool_for(CHAT, schema)])) is None

    @pytest.mark.parametrize(
        ("name", "api"), [(CLAUDE, CHAT), (GPT, CHAT), (GEMINI, CHAT), (LLAMA, CHAT), (GPT, RESPONSES)]
    )
    @pytest.mark.parametrize(
        ("schema", "kind"), [({}, None), ({"type": "string"}, "string"), ({"properties": {}}, None), ([], None)]
    )
    def test_a_tool_s_parameters_are_an_object(self, model: Model, api: str, schema: Any, kind: str | None) -> None:
        refused = model.refusal(saying(api, tools=[tool_for(api, schema)]))
        assert refused == (
            "Invalid schema for function 'weather': schema must be a JSON Schema of 'type: \"object\"', "
            f"got 'type: \"{kind}\"'."
        )
        assert model.refusal(saying(api, tools=[tool_for(api, None)])) is None

    @pytest.mark.parametrize(("name", "api"), [(CLAUDE, MESSAGES)])
    @pytest.mark.parametrize("schema", [{}, None, {"properties": {}}])
    def test_a_tool_of_anthropic_s_has_a_schema(self, model: Model, schema: Any) -> None:
        refused = model.refusal(saying(MESSAGES, tools=[tool_for(MESSAGES, schema)]))
        assert refused == "tools.0.custom.input_schema.type: Field required"

    @pytest.mark.parametrize(("name", "api"), [(GPT, RESPONSES), (CODEX, RESPONSES)])
    @pytest.mark.parametrize("field", ["id", "call_id"])
    def test_an_item_id_has_at_most_64_characters(self, model: Model, field: str) -> None:
        def body(length: int) -> Json:
            item = {"type": "function_call", "name": "f", "arguments": "{}", field: "x" * length}
            return {"input": [{"role": "user", "content": "hello"}, item]}

        assert model.refusal(body(64)) is None
        assert model.refusal(body(192)) == (
            f"Invalid 'input[1].{field}': string too long. Expected a string with maximum length 64, "
            "but got a string with length 192 instead."
        )

    @pytest.mark.parametrize(
        ("name", "api", "body"),
        [
            (GPT, CHAT, {}),
            (GPT, CHAT, {"messages": []}),
            (GPT, CHAT, {"messages": "hello"}),
            (GPT, CHAT, {"messages": [{"content": "no role"}]}),
            (GPT, RESPONSES, {}),
            (GPT, RESPONSES, {"input": []}),
            (GTE, EMBEDDINGS, {"input": [1]}),
            (CLAUDE, MESSAGES, {"messages": claude_messages("hi")}),
        ],
    )
    def test_what_an_api_cannot_do_without_is_required(self, model: Model, body: Json) -> None:
        assert model.refusal(body)


KEYS = """model messages role content text type tools function name parameters input_schema properties required items
anyOf enum default const ref $ref input output call_id id system stream stream_options include_usage tool_choice
dataframe_split data inputs max_tokens tool_calls tool_call_id thoughtSignature image_url url thinking budget_tokens
temperature top_k reasoning_effort response_format json_schema schema format contents parts functionCall
functionResponse response functionDeclarations generationConfig responseSchema maxLength minItems signature include
encrypted_content output_config output_format parametersJsonSchema responseJsonSchema responseMimeType""".split()
WORDS = ["", "user", "tool", "text", "object", "function", "tool_result", "function_call_output", "hello", "\ud800"]
WORDS += ["both", "image_url", "enabled", "json_schema", "#/properties/a", "assistant", "reasoning", "thinking"]
WORDS += ["reasoning.encrypted_content", "application/json", "tool_use"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(body=st.dictionaries(st.sampled_from(KEYS), ANYTHING), name=st.sampled_from(sorted(ENDPOINTS)))
def test_no_body_whatever_breaks_a_model(body: Json, name: str) -> None:
    for api in (CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS, PREDICT):
        call = Call(ENDPOINTS[name], api, body, streamed=True)
        if not refusals.refusal(call):
            json.dumps(replies.whole(call))
            if replies.streamable(call):
                b"".join(replies.stream(call))
