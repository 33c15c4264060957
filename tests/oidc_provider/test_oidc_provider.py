"""The stand-in is as strict as the end-to-end tests take it to be."""

import base64
import hashlib
import secrets
import threading
import time
from typing import Any

import httpx
import pytest

from .fixture import OidcProvider, installed

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not installed(), reason="needs Node, and `npm ci` in tests/oidc_provider"),
]

REDIRECT = "http://localhost:8020"
VERIFIER = secrets.token_urlsafe(64)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def browse(provider: OidcProvider, **changes: str | None) -> httpx.Response:
    """Where a browser ends that is sent to log in; a parameter changed to None is left out."""
    params = {
        "client_id": "databricks-cli",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "offline_access all-apis",
        "state": "a-state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    our_listener = httpx.MockTransport(lambda request: httpx.Response(200))
    with httpx.Client(follow_redirects=True, mounts={"http://localhost": our_listener}) as browser:
        sent = {name: value for name, value in params.items() if value is not None}
        return browser.get(f"{provider.url}/oidc/v1/authorize", params=sent)


def post(provider: OidcProvider, **form: str) -> dict[str, Any]:
    form["client_id"] = "databricks-cli"
    answer: dict[str, Any] = httpx.post(f"{provider.url}/oidc/v1/token", data=form).json()
    return answer


def refresh(provider: OidcProvider, refresh_token: str) -> dict[str, Any]:
    return post(provider, grant_type="refresh_token", refresh_token=refresh_token)


def exchange(provider: OidcProvider, code: str, verifier: str = VERIFIER) -> dict[str, Any]:
    return post(provider, grant_type="authorization_code", code=code, redirect_uri=REDIRECT, code_verifier=verifier)


def test_the_workspace_leads_to_its_oidc_endpoints(oidc_provider: OidcProvider) -> None:
    config = httpx.get(f"{oidc_provider.url}/.well-known/databricks-config").json()
    assert config == {"oidc_endpoint": f"{oidc_provider.url}/oidc", "workspace_id": "900800700600"}

    discovered = httpx.get(f"{config['oidc_endpoint']}/.well-known/oauth-authorization-server").json()
    assert discovered["issuer"] == config["oidc_endpoint"]
    assert discovered["authorization_endpoint"] == f"{oidc_provider.url}/oidc/v1/authorize"
    assert discovered["token_endpoint"] == f"{oidc_provider.url}/oidc/v1/token"


def test_a_login_ends_at_the_redirect_with_a_code_that_buys_tokens(oidc_provider: OidcProvider) -> None:
    landing = browse(oidc_provider).url
    assert (landing.host, landing.port) == ("localhost", 8020)
    assert landing.params["state"] == "a-state"
    assert landing.params["iss"] == f"{oidc_provider.url}/oidc"

    tokens = exchange(oidc_provider, landing.params["code"])
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert tokens["scope"] == "offline_access all-apis"
    assert oidc_provider.me(tokens["access_token"]) == 200
    assert "access_token" in refresh(oidc_provider, tokens["refresh_token"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"code_challenge": None, "code_challenge_method": None}, id="no PKCE"),
        pytest.param({"code_challenge": VERIFIER, "code_challenge_method": "plain"}, id="plain"),
        pytest.param({"code_challenge_method": None}, id="plain by default"),
    ],
)
def test_a_login_without_s256_is_refused(oidc_provider: OidcProvider, changes: dict[str, str | None]) -> None:
    params = browse(oidc_provider, **changes).url.params
    assert params["error"] == "invalid_request"
    assert "code" not in params


def test_a_code_needs_its_own_verifier(oidc_provider: OidcProvider) -> None:
    code = browse(oidc_provider).url.params["code"]
    assert exchange(oidc_provider, code, verifier=secrets.token_urlsafe(64))["error"] == "invalid_grant"


def test_any_loopback_port_is_a_redirect_and_nothing_else_is(oidc_provider: OidcProvider) -> None:
    assert browse(oidc_provider, redirect_uri="http://localhost:8040").url.port == 8040

    refused = browse(oidc_provider, redirect_uri="https://evil.test")
    assert refused.status_code == 400
    assert refused.history == []


def test_only_offline_access_buys_a_refresh_token(oidc_provider: OidcProvider) -> None:
    code = browse(oidc_provider, scope="all-apis").url.params["code"]
    tokens = exchange(oidc_provider, code)
    assert "access_token" in tokens
    assert "refresh_token" not in tokens


def test_every_refresh_brings_a_new_refresh_token(oidc_provider: OidcProvider) -> None:
    first = oidc_provider.login()
    second = refresh(oidc_provider, first["refresh_token"])
    third = refresh(oidc_provider, second["refresh_token"])
    assert len({tokens["refresh_token"] for tokens in (first, second, third)}) == 3
    assert [oidc_provider.me(tokens["access_token"]) for tokens in (first, second, third)] == [200, 200, 200]


def test_a_spent_refresh_token_takes_its_family_with_it(oidc_provider: OidcProvider) -> None:
    bystander = oidc_provider.login()
    first = oidc_provider.login()
    second = refresh(oidc_provider, first["refresh_token"])

    assert refresh(oidc_provider, first["refresh_token"])["error"] == "invalid_grant"
    assert refresh(oidc_provider, second["refresh_token"])["error"] == "invalid_grant"
    assert oidc_provider.me(first["access_token"]) == 401
    assert oidc_provider.me(second["access_token"]) == 401
    assert oidc_provider.me(bystander["access_token"]) == 200


def test_the_api_wants_a_live_access_token(oidc_provider: OidcProvider) -> None:
    endpoints = f"{oidc_provider.url}/api/2.0/serving-endpoints"
    bearer = {"Authorization": f"Bearer {oidc_provider.login()['access_token']}"}
    assert httpx.get(endpoints, headers=bearer).json() == {"endpoints": []}
    assert httpx.get(endpoints).status_code == 401


def test_an_access_token_dies_on_time() -> None:
    with OidcProvider(access_token_ttl=1) as provider:
        tokens = provider.login()
        assert tokens["expires_in"] == 1
        time.sleep(2)
        assert provider.me(tokens["access_token"]) == 401


def test_a_refresh_can_be_watched_arriving_taking_effect_and_returning() -> None:
    with OidcProvider(delay_before_ms=500, delay_after_ms=500) as provider:
        spent = provider.login()["refresh_token"]
        client = threading.Thread(target=refresh, args=(provider, spent))
        client.start()
        seen = set()
        while client.is_alive():
            grants = provider.grants()
            seen.add((grants["refresh"], grants["refresh_ok"]))
        assert seen >= {(1, 0), (1, 1)}
        refresh(provider, spent)
        assert provider.grants() == {
            "code": 0,
            "refresh": 2,
            "refresh_ok": 1,
            "errors": ["invalid_grant: refresh token already used"],
        }


def test_the_server_ends_with_the_process_that_started_it() -> None:
    with OidcProvider() as provider:
        assert provider.process.stdin is not None
        provider.process.stdin.close()
        assert provider.process.wait(timeout=10) == 0
