"""The sandbox as an account console and as a unified host: what is there, where, and for whom."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from dbx_auth.commands import sandbox as verb
from dbx_auth.sandbox import Kind, Sandbox

ME = "/api/2.0/preview/scim/v2/Me"
MODELS = "/api/2.0/serving-endpoints"
CHAT = "/serving-endpoints/chat/completions"
HELLO = {"model": "databricks-claude-sonnet-4-5", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def account() -> Iterator[Sandbox]:
    with Sandbox(kind="account") as running:
        yield running


@pytest.fixture(scope="module")
def unified() -> Iterator[Sandbox]:
    with Sandbox(kind="unified") as running:
        yield running


@pytest.fixture(params=["account", "unified"])
def either(request: pytest.FixtureRequest) -> Sandbox:
    """Each of the two kinds of host that have an account."""
    running: Sandbox = request.getfixturevalue(request.param)
    return running


def ask(
    sandbox: Sandbox, path: str, token: str = "", *, workspace: str = "", form: Any = None, body: Any = None
) -> httpx.Response:
    """A request with a token and the id of a workspace; a POST if it has a form or a JSON body."""
    headers = {"Authorization": f"Bearer {token}", "X-Databricks-Workspace-Id": workspace}
    sent = {name: value for name, value in headers.items() if value.removeprefix("Bearer ")}
    method = "GET" if form is None and body is None else "POST"
    with httpx.Client(base_url=sandbox.url, trust_env=False, verify=False, timeout=20) as http:
        return http.request(method, path, headers=sent, data=form, json=body)


def token_of(sandbox: Sandbox, **more: str) -> str:
    return sandbox.add_login(**more).access_token


def account_api(sandbox: Sandbox, path: str) -> str:
    return f"/api/2.0/accounts/{sandbox.account_id}/{path}"


def is_page(answer: httpx.Response) -> bool:
    return answer.headers["content-type"].startswith("text/html") and "It is not Databricks" in answer.text


def test_the_kinds_of_the_verb_are_those_of_the_sandbox() -> None:
    assert get_args(Kind) == verb.KINDS


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("workspace", ["An emulated workspace", "DATABRICKS_DISCOVERY_HOST={url}"]),
        ("account", ["An emulated account console", "DATABRICKS_ACCOUNT_ID={account_id}"]),
        ("unified", ["An emulated unified host", "DATABRICKS_WORKSPACE_ID={workspace_id}"]),
    ],
)
def test_the_first_page_tells_how_to_use_it(kind: Kind, words: list[str]) -> None:
    with Sandbox(kind=kind) as sandbox:
        answer = ask(sandbox, "/")
    assert is_page(answer) and f"DATABRICKS_HOST={sandbox.url}\n" in answer.text
    for word in words:
        assert word.format(**vars(sandbox)) in answer.text


class TestOAuth:
    def root(self, sandbox: Sandbox) -> str:
        return f"{sandbox.url}/oidc/accounts/{sandbox.account_id}"

    def test_it_is_the_account_s(self, either: Sandbox) -> None:
        root = self.root(either)
        told = ask(either, f"/oidc/accounts/{either.account_id}/.well-known/oauth-authorization-server").json()
        assert (told["issuer"], told["authorization_endpoint"]) == (root, f"{root}/v1/authorize")
        assert told["token_endpoint"] == f"{root}/v1/token"

    @pytest.mark.parametrize("place", ["/oidc", "/oidc/accounts/another"])
    @pytest.mark.parametrize("path", [".well-known/oauth-authorization-server", "v1/authorize", "v1/token"])
    def test_it_is_nowhere_else(self, either: Sandbox, place: str, path: str) -> None:
        assert ask(either, f"{place}/{path}").status_code == 404
        assert ask(either, f"{place}/{path}", form={"grant_type": "client_credentials"}).status_code == 404

    @pytest.mark.parametrize("host_known", [True, False])
    def test_a_person_logs_in_and_refreshes(self, either: Sandbox, host_known: bool) -> None:
        root, verifier = self.root(either), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": "databricks-cli",
            "redirect_uri": "http://localhost:8020",
            "response_type": "code",
            "scope": "offline_access all-apis",
            "state": "state-1",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        destination = {"destination_url": f"/oidc/v1/authorize?{urlencode(asked)}"}
        with httpx.Client(trust_env=False, verify=False, follow_redirects=True) as http:
            start, params = (f"{root}/v1/authorize", asked) if host_known else (either.url, destination)
            page = http.get(start, params=params)
            [ticket] = re.findall(r'name="ticket" value="([^"]+)"', page.text)
            action = page.url.join(*re.findall(r'action="([^"]+)"', page.text))
            assert action == f"{root}/v1/authorize"
            form = {"ticket": ticket, "decision": "allow"}
            back = http.post(action, data=form, follow_redirects=False).headers["location"]
            told = {name: value for name, [value] in parse_qs(urlsplit(back).query).items()}
            assert (told["state"], told["iss"]) == ("state-1", root)
            form = {"grant_type": "authorization_code", "client_id": "databricks-cli", "code": told["code"]}
            form |= {"redirect_uri": "http://localhost:8020", "code_verifier": verifier}
            first = http.post(f"{root}/v1/token", data=form).json()
            form = {"grant_type": "refresh_token", "client_id": "databricks-cli"}
            again = http.post(f"{root}/v1/token", data={**form, "refresh_token": first["refresh_token"]}).json()
        assert ask(either, account_api(either, "scim/v2/Me"), again["access_token"]).json()["userName"] == either.user


class TestAccountApis:
    def test_me_says_who(self, either: Sandbox) -> None:
        answer = ask(either, account_api(either, "scim/v2/Me"), token_of(either))
        assert (answer.status_code, answer.json()["userName"]) == (200, either.user)

    def test_the_account_has_one_workspace(self, either: Sandbox) -> None:
        [told] = ask(either, account_api(either, "workspaces"), token_of(either)).json()
        assert told["workspace_id"] == int(either.workspace_id)
        assert (told["account_id"], told["workspace_status"]) == (either.account_id, "RUNNING")

    @pytest.mark.parametrize("path", ["scim/v2/Me", "workspaces"])
    def test_a_token_is_needed_and_a_personal_access_token_is_none(self, either: Sandbox, path: str) -> None:
        for token in ("", "guessed", either.pat):
            answer = ask(either, account_api(either, path), token)
            assert (answer.status_code, answer.json()["error_code"]) == (401, "401")

    def test_a_group_is_nobody_here_too(self, either: Sandbox) -> None:
        answer = ask(either, account_api(either, "scim/v2/Me"), token_of(either, group_id="42"))
        assert (answer.status_code, answer.json()["status"]) == (404, "404")

    def test_another_account_is_not_here(self, either: Sandbox) -> None:
        assert ask(either, "/api/2.0/accounts/another/workspaces", token_of(either)).status_code == 404


class TestAccountConsole:
    @pytest.mark.parametrize("path", ["/.well-known/databricks-config", ME, MODELS, "/nothing"])
    def test_it_has_nothing_of_a_workspace_and_says_so_in_html(self, account: Sandbox, path: str) -> None:
        answer = ask(account, path, token_of(account))
        assert answer.status_code == 404 and is_page(answer)

    def test_no_model_can_be_called(self, account: Sandbox) -> None:
        answer = ask(account, CHAT, token_of(account), body=HELLO)
        assert answer.status_code == 404 and is_page(answer)


class TestUnifiedHost:
    def test_it_says_that_its_oidc_is_the_account_s_and_names_no_workspace(self, unified: Sandbox) -> None:
        told = ask(unified, "/.well-known/databricks-config").json()
        assert told == {
            "oidc_endpoint": f"{unified.url}/oidc/accounts/{{account_id}}",
            "account_id": unified.account_id,
            "cloud": "AWS",
            "host_type": "unified",
        }

    def test_a_workspace_s_api_needs_the_workspace_s_id(self, unified: Sandbox) -> None:
        token = token_of(unified)
        lost = [ask(unified, ME, token), ask(unified, MODELS, token), ask(unified, CHAT, token, body=HELLO)]
        assert all(answer.status_code == 200 and is_page(answer) for answer in lost)

    def test_with_it_the_workspace_answers_and_says_which_it_is(self, unified: Sandbox) -> None:
        token, workspace = token_of(unified), unified.workspace_id
        answer = ask(unified, ME, token, workspace=workspace)
        assert (answer.json()["userName"], answer.headers["x-databricks-org-id"]) == (unified.user, workspace)
        assert ask(unified, MODELS, token, workspace=workspace).json()["endpoints"]
        assert ask(unified, CHAT, token, workspace=workspace, body=HELLO).json()["choices"]
        assert ask(unified, ME, unified.pat, workspace=workspace).status_code == 200

    def test_the_header_has_an_older_name(self, unified: Sandbox) -> None:
        headers = {"Authorization": f"Bearer {unified.pat}", "X-Databricks-Org-Id": unified.workspace_id}
        assert httpx.get(unified.url + ME, headers=headers, trust_env=False, verify=False).json()["id"]

    def test_another_workspace_is_forbidden(self, unified: Sandbox) -> None:
        answer = ask(unified, ME, token_of(unified), workspace="7")
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")

    def test_the_right_workspace_still_needs_a_token(self, unified: Sandbox) -> None:
        assert ask(unified, ME, "guessed", workspace=unified.workspace_id).status_code == 401

    def test_a_token_tells_its_workspace_to_whoever_does_not_know_it(self, unified: Sandbox) -> None:
        told = ask(unified, "/api/2.0/tokens/introspect", token_of(unified)).json()
        assert told["principal_context"]["authentication_scope"]["workspace_id"] == int(unified.workspace_id)

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", ME, 405)])
    def test_what_it_does_not_have_is_refused_in_json(
        self, unified: Sandbox, method: str, path: str, status: int
    ) -> None:
        answer = httpx.request(method, unified.url + path, trust_env=False, verify=False)
        assert (answer.status_code, answer.json()["error_code"]) == (status, "ENDPOINT_NOT_FOUND")
