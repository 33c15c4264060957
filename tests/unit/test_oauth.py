"""Grants on the wire: where they are asked for, what is sent, and what each answer means."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from email.utils import format_datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from dbx_auth import oauth
from dbx_auth.errors import AuthError, ConfigError, InDoubt, LoginRequired, Refused, Temporary, Unreachable
from dbx_auth.oauth import (
    DISCOVERY_BUDGET,
    PAUSES,
    TOKEN_BUDGET,
    UNSTATED_LIFE,
    Endpoints,
    discover,
    refusal,
    retry_after,
)
from dbx_auth.store import Grant
from dbx_auth.world import Response, World

HOST = "https://dev.cloud.databricks.com"
ACCOUNTS = "https://accounts.cloud.databricks.com"
METADATA = f"{HOST}/.well-known/databricks-config"
ROOT = f"{HOST}/oidc"
RFC8414 = "/.well-known/oauth-authorization-server"
TOKEN = f"{ROOT}/v1/token"
NOW = 1_767_268_800.0
GRANT = Grant(HOST, "old-access", "canary-old-refresh", NOW - 1, account_id="acc", scopes=("all-apis",))
HTML = b"<!doctype html><title>Sign in</title>"


class Slow(NamedTuple):
    """An answer that takes its time."""

    seconds: float
    answer: Any


class InTurn:
    """Several answers, one after the other; the last is given for ever."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def next(self) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Far:
    """A far side that answers as it was told, remembers what it was asked, and carries the clocks.

    What it was told nothing about is not there. Whoever is slower than the budget gives no answer, as with `Http`.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.notes: list[str] = []
        self.waited: list[tuple[str, float]] = []
        self.slept: list[float] = []
        self.passed = 0.0

    def __call__(self, method: str, url: str, **how: Any) -> Response:
        self.asked.append((method, url, how))
        answer = self.answers.get(url, 404)
        if isinstance(answer, InTurn):
            answer = answer.next()
        if isinstance(answer, Slow):
            self.passed += min(answer.seconds, how["budget"])
            if answer.seconds >= how["budget"]:
                raise InDoubt(f"no complete answer from {url}", hint="try again")
            answer = answer.answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Response):
            return answer._replace(url=url)
        return said(answer, url=url) if not isinstance(answer, int) else said(HTML, answer, url=url)

    @property
    def world(self) -> World:
        return World(
            env={},
            home="/nowhere",
            now=lambda: NOW + self.passed,
            monotonic=lambda: self.passed,
            sleep=self.sleep,
            http=self,
            note=self.notes.append,
            waiting=self.wait,
        )

    def wait(self, what: str, seconds: float) -> AbstractContextManager[None]:
        self.waited.append((what, seconds))
        return nullcontext()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds

    @property
    def urls(self) -> list[str]:
        return [url for _, url, _ in self.asked]

    @property
    def posts(self) -> list[tuple[str, dict[str, Any]]]:
        """Each POST: its URL, and all that was said with it."""
        return [(url, how) for method, url, how in self.asked if method == "POST"]

    @property
    def posted(self) -> tuple[str, dict[str, Any]]:
        """The one POST."""
        (one,) = self.posts
        return one


def said(body: object, status: int = 200, url: str = TOKEN, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(url, status, {"content-type": "application/json", **named}, raw)


def renew(held: Grant, far: Far) -> Grant:
    """Find the endpoint, and renew there."""
    return oauth.renewal(held, far.world)(held, TOKEN_BUDGET)


GOOD = {"access_token": "new-access", "token_type": "Bearer", "refresh_token": "new-refresh", "expires_in": 3600}

# ---- discovery -----------------------------------------------------------------------------------------------------


def test_the_host_is_asked_for_its_root_and_the_root_for_its_endpoints() -> None:
    far = Far(
        {
            METADATA: {"oidc_endpoint": f"{HOST}/oidc2/", "workspace_id": "1"},
            f"{HOST}/oidc2{RFC8414}": {
                "issuer": f"{HOST}/oidc2",
                "authorization_endpoint": f"{HOST}/oidc2/v9/authorize",
                "token_endpoint": f"{HOST}/oidc2/v9/token",
            },
        }
    )
    assert discover(Grant(HOST), far.world)[:3] == (
        f"{HOST}/oidc2/v9/authorize",
        f"{HOST}/oidc2/v9/token",
        f"{HOST}/oidc2",
    )
    assert far.asked == [
        ("GET", METADATA, {"budget": DISCOVERY_BUDGET}),
        ("GET", f"{HOST}/oidc2{RFC8414}", {"budget": DISCOVERY_BUDGET}),
    ]


FALL_BACKS: dict[str, Any] = {
    "not there": 404,
    "not allowed": 401,
    "elsewhere": said(b"", 302)._replace(headers={"location": "https://evil.example"}),
    "broken": 500,
    "a login page": HTML,
    "nothing": b"",
    "half of it": b'{"oidc_endpoint": "https://ev',
    "a list": [],
    "null": None,
    "no text in it": {"oidc_endpoint": ["x"], "authorization_endpoint": 1, "token_endpoint": {}, "issuer": None},
    "empty text": {"oidc_endpoint": "", "authorization_endpoint": "", "token_endpoint": "", "issuer": ""},
    "an empty object": {},
    "out of reach": Temporary("cannot reach it", hint="h"),
    "untrusted": Refused("the certificate is not trusted", hint="h"),
}


@pytest.mark.parametrize("metadata", FALL_BACKS.values(), ids=FALL_BACKS)
@pytest.mark.parametrize("document", FALL_BACKS.values(), ids=FALL_BACKS)
def test_what_cannot_be_had_or_understood_is_replaced_by_the_well_known_place(metadata: Any, document: Any) -> None:
    far = Far({METADATA: metadata, ROOT + RFC8414: document})
    assert discover(Grant(HOST), far.world)[:2] == (f"{ROOT}/v1/authorize", TOKEN)
    assert far.urls == [METADATA, ROOT + RFC8414]


def test_every_endpoint_falls_back_by_itself() -> None:
    far = Far({ROOT + RFC8414: {"token_endpoint": f"{HOST}/t"}})
    assert discover(Grant(HOST), far.world)[:2] == (f"{ROOT}/v1/authorize", f"{HOST}/t")


def test_what_was_not_found_is_noted_and_no_error() -> None:
    far = Far({METADATA: 404, ROOT + RFC8414: Temporary("cannot reach it", hint="h")})
    discover(Grant(HOST), far.world)
    assert far.notes == [f"discovery: {METADATA} answered 404", "discovery: cannot reach it"]


@pytest.mark.parametrize(
    ("metadata", "document", "asked", "passed"),
    [
        (3.0, 0.0, [5.0, 2.0], 3.0),
        (3.0, 9.0, [5.0, 2.0], 5.0),
        (4.9, 0.05, [5.0, 0.1], 4.95),
        (9.0, 0.0, [5.0], 5.0),  # nothing left for the second
    ],
)
def test_all_of_discovery_takes_five_seconds_at_most(
    metadata: float, document: float, asked: list[float], passed: float
) -> None:
    far = Far({METADATA: Slow(metadata, {}), ROOT + RFC8414: Slow(document, {})})
    assert discover(Grant(HOST), far.world)[:2] == (f"{ROOT}/v1/authorize", TOKEN)
    assert [how["budget"] for _, _, how in far.asked] == pytest.approx(asked)
    assert far.passed == pytest.approx(passed)
    assert DISCOVERY_BUDGET == 5


@pytest.mark.parametrize(
    ("given", "told", "root"),
    [
        ("acc", {}, f"{ACCOUNTS}/oidc/accounts/acc"),
        ("", {"account_id": "theirs"}, f"{ACCOUNTS}/oidc/accounts/theirs"),
        ("acc", {"account_id": "theirs"}, f"{ACCOUNTS}/oidc/accounts/acc"),  # what a person says wins
    ],
)
def test_a_place_for_the_account_is_filled_or_the_root_is_the_usual_one(
    given: str, told: dict[str, Any], root: str
) -> None:
    far = Far({METADATA: {"oidc_endpoint": f"{ACCOUNTS}/oidc/accounts/{{account_id}}"} | told})
    assert discover(Grant(HOST, account_id=given), far.world)[:2] == (f"{root}/v1/authorize", f"{root}/v1/token")
    assert far.urls == [METADATA, root + RFC8414]


@pytest.mark.parametrize("told", [{}, {"account_id": None}, {"account_id": ""}])
def test_a_host_of_many_accounts_wants_to_know_which(told: dict[str, Any]) -> None:
    named = {"oidc_endpoint": f"{ACCOUNTS}/oidc/accounts/{{account_id}}"}
    with pytest.raises(ConfigError, match="no setting says which account") as caught:
        discover(Grant(HOST), Far({METADATA: named | told}).world)
    assert "DATABRICKS_ACCOUNT_ID" in caught.value.hint
    usual = Far({METADATA: named | told, ROOT + RFC8414: {"issuer": ROOT}})
    assert discover(Grant(HOST), usual.world).token == TOKEN


@pytest.mark.parametrize(
    ("given", "told", "audience"),
    [
        ("", {}, TOKEN),
        ("", {"workspace_id": "1", "account_id": "acc"}, TOKEN),
        ("", {"account_id": "acc"}, "acc"),
        ("mine", {"account_id": "acc"}, "mine"),
        ("", {"account_id": "acc", "token_federation_default_oidc_audiences": ["first", "second"]}, "first"),
        ("", {"workspace_id": "1", "token_federation_default_oidc_audiences": []}, TOKEN),
        ("", {"workspace_id": "1", "token_federation_default_oidc_audiences": "no list"}, TOKEN),
        ("", {"workspace_id": "1", "token_federation_default_oidc_audiences": [7]}, TOKEN),
    ],
)
def test_whom_an_id_token_has_to_be_for(given: str, told: dict[str, Any], audience: str) -> None:
    assert discover(Grant(HOST, account_id=given), Far({METADATA: told}).world).audience == audience


def test_a_persons_own_discovery_url_is_asked_in_place_of_the_hosts_documents() -> None:
    url = f"{HOST}/somewhere/else"
    far = Far({url: {"token_endpoint": f"{HOST}/t"}})
    assert discover(Grant(HOST, discovery_url=url), far.world).token == f"{HOST}/t"
    assert far.urls == [url]


@pytest.mark.parametrize("url", ["https://evil.example/doc", "http://dev.cloud.databricks.com/doc", "/doc", "a b"])
def test_a_discovery_url_of_somebody_else_is_not_asked(url: str) -> None:
    far = Far()
    with pytest.raises(ConfigError, match="not its own"):
        discover(Grant(HOST, discovery_url=url), far.world)
    assert far.urls == []


def test_a_login_of_entra_id_is_renewed_at_its_tenant_for_the_same_scopes() -> None:
    tenant = "https://login.microsoftonline.com/a-tenant"
    far = Far({f"{tenant}/oauth2/v2.0/token": {"access_token": "new-access", "expires_in": "3600"}})
    held = Grant(HOST, "old", "rt", client_id="az", scopes=("app/.default", "offline_access"), authority=tenant)
    assert renew(held, far).access == "new-access"
    assert far.posted[1]["form"] == {
        "grant_type": "refresh_token",
        "refresh_token": "rt",
        "client_id": "az",
        "scope": "app/.default offline_access",
    }
    assert far.urls == [f"{tenant}/oauth2/v2.0/token"]


@pytest.mark.parametrize("group_id", ["", "77"])
def test_the_role_of_a_group_is_asked_for_in_every_grant(group_id: str) -> None:
    given = {"access_token": "new-access", "token_type": "Bearer", "expires_in": 3600}
    sent = []
    grants: list[Callable[[Far], Grant]] = [
        lambda far: renew(Grant(HOST, "old", "rt", group_id=group_id), far),
        lambda far: oauth.client_credentials(Grant(HOST, client_id="id", group_id=group_id), "secret", far.world),
        lambda far: oauth.exchange_token(Endpoints("", TOKEN), "jwt", Grant(HOST, group_id=group_id), far.world),
    ]
    for ask in grants:
        far = Far({TOKEN: given})
        ask(far)
        sent.append(far.posted[1]["form"].get("assume_group", ""))
    assert sent == [group_id] * 3


@pytest.mark.parametrize("client_id", ["", "sp"])
def test_an_id_token_is_traded_without_any_secret_of_ours(client_id: str) -> None:
    far = Far({TOKEN: {"access_token": "new-access", "expires_in": "900"}})
    fresh = oauth.exchange_token(Endpoints("", TOKEN), "the-jwt", Grant(HOST, client_id=client_id), far.world)
    assert far.posted[1]["form"] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": "the-jwt",
        "scope": "all-apis",
        **({"client_id": client_id} if client_id else {}),
    }
    assert far.posted[1]["headers"] is None
    assert (fresh.access, fresh.expires_at) == ("new-access", NOW + 900)


@pytest.mark.parametrize("account_id", ["acc", ""])
@pytest.mark.parametrize(
    "host", [ACCOUNTS, "https://accounts.azuredatabricks.net", "https://accounts-dod.cloud.databricks.us"]
)
def test_a_classic_account_console_is_not_asked_for_a_workspace(host: str, account_id: str) -> None:
    far = Far()
    root = f"{host}/oidc/accounts/acc" if account_id else f"{host}/oidc"
    assert discover(Grant(host, account_id=account_id), far.world)[:2] == (f"{root}/v1/authorize", f"{root}/v1/token")
    assert far.urls == [root + RFC8414]


FOREIGN = [
    "https://evil.example/oidc",
    "https://evil-azuredatabricks.net/oidc",
    "https://dev.cloud.databricks.com.evil.example/oidc",
    "https://dev.cloud.databricks.com@evil.example/oidc",
    "https://user:pw@dev.cloud.databricks.com/oidc",
    "http://dev.cloud.databricks.com/oidc",
    "http://169.254.169.254/oidc",
    "file:///etc/passwd",
    "//evil.example/oidc",
    "/oidc",
    "oidc",
    f"{HOST}/oidc\r\nX-Evil: 1",
    f"{HOST}/oidc\x00",
    f"{HOST}/\u202eoidc",
]


@pytest.mark.parametrize("name", ["oidc_endpoint", "authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("url", FOREIGN)
def test_an_endpoint_of_somebody_else_is_refused_and_nothing_is_sent_there(url: str, name: str) -> None:
    far = Far({METADATA if name == "oidc_endpoint" else ROOT + RFC8414: {name: url}})
    with pytest.raises(ConfigError, match=f"^{HOST} names an OAuth endpoint that is not its own: ") as refused:
        renew(GRANT, far)
    assert refused.value.hint == "check the host: dbx-auth status"
    assert set(far.urls) <= {METADATA, ROOT + RFC8414}
    assert all(method == "GET" for method, _, _ in far.asked)


def test_a_setting_that_cannot_be_used_is_told_and_not_taken_for_silence() -> None:
    far = Far({METADATA: ConfigError("the proxy settings cannot be used", hint="h")})
    with pytest.raises(ConfigError, match="proxy"):
        discover(Grant(HOST), far.world)


def test_a_host_on_loopback_is_its_own_and_no_databricks() -> None:
    host = "http://127.0.0.1:4321"
    far = Far({f"{host}/.well-known/databricks-config": {"oidc_endpoint": f"{host}/oidc"}})
    assert discover(Grant(host), far.world).token == f"{host}/oidc/v1/token"
    far = Far({f"{host}/.well-known/databricks-config": {"oidc_endpoint": ROOT}})
    with pytest.raises(ConfigError):
        discover(Grant(host), far.world)


# ---- what is sent --------------------------------------------------------------------------------------------------


def test_refreshing_sends_the_refresh_token_and_the_client_and_nothing_else() -> None:
    far = Far({TOKEN: GOOD})
    fresh = renew(GRANT, far)
    assert far.posted == (
        TOKEN,
        {
            "form": {
                "grant_type": "refresh_token",
                "refresh_token": "canary-old-refresh",
                "client_id": "databricks-cli",
            },
            "headers": None,
            "budget": TOKEN_BUDGET,
        },
    )
    assert fresh == Grant(
        HOST, "new-access", "new-refresh", NOW + 3600, "databricks-cli", account_id="acc", scopes=("all-apis",)
    )
    assert far.waited[-1:] == [("refreshing the login", TOKEN_BUDGET)]


def test_refreshing_uses_the_client_that_logged_in() -> None:
    far = Far({TOKEN: GOOD})
    fresh = renew(Grant(HOST, "a", "r", client_id="my-app"), far)
    assert far.posted[1]["form"]["client_id"] == fresh.client_id == "my-app"


def test_a_code_is_traded_with_its_verifier() -> None:
    far = Far({f"{HOST}/t": GOOD})
    endpoints = Endpoints(f"{HOST}/a", f"{HOST}/t")
    blank = Grant(HOST, "", account_id="acc", scopes=("offline_access", "all-apis"))
    fresh = oauth.exchange_code(endpoints, "the-code", "the-verifier", "http://localhost:8020", blank, far.world)
    assert far.asked == [
        (
            "POST",
            f"{HOST}/t",
            {
                "form": {
                    "grant_type": "authorization_code",
                    "code": "the-code",
                    "redirect_uri": "http://localhost:8020",
                    "code_verifier": "the-verifier",
                    "client_id": "databricks-cli",
                },
                "headers": None,
                "budget": TOKEN_BUDGET,
            },
        )
    ]
    assert fresh == Grant(
        HOST, "new-access", "new-refresh", NOW + 3600, account_id="acc", scopes=("offline_access", "all-apis")
    )


@pytest.mark.parametrize(
    ("scopes", "sent"), [((), "all-apis"), (("sql",), "sql"), (("sql", "clusters"), "sql clusters")]
)
def test_a_service_principal_shows_its_secret_in_a_header_and_not_in_the_form(
    scopes: tuple[str, ...], sent: str
) -> None:
    far = Far({TOKEN: {"access_token": "new-access", "token_type": "Bearer", "expires_in": 3600}})
    fresh = oauth.client_credentials(Grant(HOST, client_id="the-id", scopes=scopes), "the-secret", far.world)
    assert far.posted == (
        TOKEN,
        {
            "form": {"grant_type": "client_credentials", "scope": sent},
            "headers": {"Authorization": "Basic " + base64.b64encode(b"the-id:the-secret").decode()},
            "budget": TOKEN_BUDGET,
        },
    )
    assert (fresh.host, fresh.access, fresh.refresh, fresh.expires_at) == (HOST, "new-access", "", NOW + 3600)
    assert far.waited[-1:] == [("asking for a token", TOKEN_BUDGET)]


def test_a_service_principal_of_an_account_asks_the_account() -> None:
    url = f"{ACCOUNTS}/oidc/accounts/acc/v1/token"
    far = Far({url: GOOD})
    oauth.client_credentials(Grant(ACCOUNTS, account_id="acc", client_id="the-id"), "the-secret", far.world)
    assert far.posted[0] == url


@pytest.mark.parametrize(
    ("username", "password", "raw"),
    [
        ("u", "p", b"u:p"),
        ("", "", b":"),
        ("me@example.com", "a:b", b"me@example.com:a:b"),
        ("ü", "ß", "ü:ß".encode()),
        ("u", "\udcff", b"u:\xff"),  # a variable whose bytes are not UTF-8, as Python hands it out
    ],
)
def test_basic_is_base64_of_both(username: str, password: str, raw: bytes) -> None:
    header = oauth.basic(username, password)["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == raw


# ---- a good answer -------------------------------------------------------------------------------------------------


def refreshed(body: object, status: int = 200) -> Grant:
    return renew(GRANT, Far({TOKEN: said(body, status)}))


@pytest.mark.parametrize("rotated", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
def test_without_a_new_refresh_token_the_old_one_is_kept(rotated: dict[str, Any]) -> None:
    assert refreshed({"access_token": "a"} | rotated).refresh == "canary-old-refresh"


@pytest.mark.parametrize(
    ("told", "life"),
    [
        ({"expires_in": 3600}, 3600),
        ({"expires_in": "3600"}, 3600),
        ({"expires_in": 3600.5}, 3600.5),
        ({"expires_in": "60.0"}, 60),
        ({"expires_in": 0}, 0),
        ({"expires_in": -1}, 0),
        ({"expires_in": "-3600"}, 0),
        ({"expires_in": float("-inf")}, 0),
        ({}, UNSTATED_LIFE),
        ({"expires_in": None}, UNSTATED_LIFE),
        ({"expires_in": ""}, UNSTATED_LIFE),
        ({"expires_in": "soon"}, UNSTATED_LIFE),
        ({"expires_in": float("nan")}, UNSTATED_LIFE),
        ({"expires_in": "nan"}, UNSTATED_LIFE),
        ({"expires_in": True}, UNSTATED_LIFE),
        ({"expires_in": []}, UNSTATED_LIFE),
        ({"expires_in": {"s": 1}}, UNSTATED_LIFE),
        ({"expires_in": 1e18}, 2.0**31),
        ({"expires_in": 10**400}, 2.0**31),
        ({"expires_in": float("inf")}, 2.0**31),
    ],
)
def test_a_life_is_a_number_of_seconds_whatever_it_is_written_as(told: dict[str, Any], life: float) -> None:
    assert refreshed({"access_token": "a"} | told).expires_at == NOW + life


def test_a_life_counts_from_the_moment_of_asking() -> None:
    far = Far({METADATA: Slow(2, {}), TOKEN: Slow(10, GOOD)})
    assert renew(GRANT, far).expires_at == NOW + 2 + 3600


@pytest.mark.parametrize("told", [{}, {"token_type": None}, {"token_type": ""}])
@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_one_however_it_is_written(kind: str, told: dict[str, Any]) -> None:
    assert refreshed({"access_token": "a", "token_type": kind}).access == "a"
    assert refreshed({"access_token": "a"} | told).access == "a"


@pytest.mark.parametrize("kind", ["MAC", "mac", "DPoP", "N_A", 7, ["Bearer"], {"a": 1}, True])
def test_a_token_of_another_kind_is_refused(kind: object) -> None:
    with pytest.raises(Refused, match="a token of a kind we do not know") as refused:
        refreshed({"access_token": "canary", "token_type": kind})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("access", [None, "", " ", 7, [], {}, "a b", "a\nb", "a\r\nX-Evil: 1", "ä", "\x00", "\ud800"])
def test_half_an_answer_is_refused(access: object) -> None:
    with pytest.raises(Refused, match=f"^{TOKEN} answered without an access token") as refused:
        refreshed({"access_token": access, "refresh_token": "canary-new", "expires_in": 3600})
    assert "canary" not in str(refused.value)


def test_an_object_without_a_token_is_refused() -> None:
    with pytest.raises(Refused, match="without an access token"):
        refreshed({})


@pytest.mark.parametrize("body", [b"", HTML, b"[]", b'"x"', b"null", b'{"access_token": "canary', b"\xff\xfe"])
def test_an_answer_that_nobody_can_read_leaves_in_doubt_what_is_good_for_one_use(body: bytes) -> None:
    """The refresh token may be spent by then; a secret or an ID token is as good as before."""
    far = Far({TOKEN: said(body)})
    with pytest.raises(InDoubt, match=f"^{TOKEN} answered 200 with ") as doubt:
        renew(GRANT, far)
    assert "canary" not in str(doubt.value) and "check that the host" in doubt.value.hint
    assert len(far.posts) == 1, "it is for the keeper to ask once more"
    with pytest.raises(Refused, match=f"^{TOKEN} answered 200 with "):
        oauth.client_credentials(Grant(HOST, client_id="the-id"), "secret", Far({TOKEN: said(body)}).world)
    with pytest.raises(Refused, match=f"^{TOKEN} answered 200 with "):
        call("code", Far({TOKEN: said(body)}))


def test_an_error_that_says_200_is_an_error() -> None:
    with pytest.raises(LoginRequired, match="answered 200: invalid_grant: Refresh token is invalid"):
        refreshed({"error": "invalid_grant", "error_description": "Refresh token is invalid"})
    with pytest.raises(Refused, match="answered 200: access_denied"):
        refreshed({"error": "access_denied", "access_token": "a"})


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_error_that_is_none_costs_nobody_their_login(nothing: object) -> None:
    # The old refresh token is spent by now; to refuse the new one would be to lose both.
    assert refreshed(GOOD | {"error": nothing}).refresh == "new-refresh"


# ---- a refusal -----------------------------------------------------------------------------------------------------

BUSY = "try again in a while"
LOGIN = "dbx-auth login"
SECRET = "check client_id and client_secret"
LOOK = "dbx-auth status --offline"

MEANINGS: list[tuple[int, object, type[AuthError], str]] = [
    # RFC 6749, 5.2
    (400, {"error": "invalid_request", "error_description": "x"}, Refused, LOOK),
    (401, {"error": "invalid_client", "error_description": "x"}, Refused, SECRET),
    (400, {"error": "invalid_client"}, Refused, SECRET),
    (400, {"error": "invalid_grant", "error_description": "x"}, LoginRequired, LOGIN),
    (400, {"error": "unauthorized_client"}, Refused, SECRET),
    (400, {"error": "unsupported_grant_type"}, Refused, LOOK),
    (400, {"error": "invalid_scope"}, Refused, LOOK),
    # RFC 6749, 4.1.2.1, and what others send
    (400, {"error": "access_denied"}, Refused, LOOK),
    (400, {"error": "server_error"}, InDoubt, BUSY),
    (200, {"error": "server_error"}, InDoubt, BUSY),
    (400, {"error": "internal_failure"}, InDoubt, BUSY),
    (400, {"error": "temporarily_unavailable"}, Temporary, BUSY),
    (500, {"error": "temporarily_unavailable"}, Temporary, BUSY),
    (200, {"error": "temporarily_unavailable"}, Temporary, BUSY),
    (418, {"error": "brewing"}, Refused, LOOK),
    # Databricks
    (400, {"error": "invalid_request", "error_description": "Refresh token is invalid"}, LoginRequired, LOGIN),
    (401, {"error": "invalid_request", "error_description": "Refresh token is invalid"}, LoginRequired, LOGIN),
    (401, {"error_code": "UNAUTHENTICATED", "message": "refresh token is INVALID."}, LoginRequired, LOGIN),
    (403, {"error_code": "PERMISSION_DENIED", "message": "no"}, Refused, LOOK),
    (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "no"}, Refused, LOOK),
    (503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}, Temporary, BUSY),
    # the status speaks where it says "later", whatever else is said; 429 and 503 are said at the door
    (408, {}, InDoubt, BUSY),
    (429, {"error": "invalid_grant"}, Temporary, BUSY),
    (500, {"error": "invalid_grant", "error_description": "Refresh token is invalid"}, InDoubt, BUSY),
    (502, HTML, InDoubt, BUSY),
    (503, b"", Temporary, BUSY),
    (504, b"upstream timed out", InDoubt, BUSY),
    (599, [], InDoubt, BUSY),
    # nothing that could be understood
    (400, HTML, Refused, LOOK),
    (401, b"", Refused, LOOK),
    (403, b"Forbidden", Refused, LOOK),
    (404, HTML, Refused, LOOK),
    (400, [], Refused, LOOK),
    (400, {}, Refused, LOOK),
    (400, {"error": {"code": "invalid_grant"}}, Refused, LOOK),
    (400, {"error": ["invalid_grant"], "error_description": 7}, Refused, LOOK),
    (400, {"error": None, "error_description": None}, Refused, LOOK),
    # a redirect is an answer like any other, and is not followed
    (302, b"", Refused, LOOK),
    (307, b"", Refused, LOOK),
    (308, {"error": "invalid_grant"}, LoginRequired, LOGIN),
]


@pytest.mark.parametrize(("status", "body", "kind", "hint"), MEANINGS)
def test_a_refusal_means_what_its_status_and_its_words_say(
    status: int, body: object, kind: type[AuthError], hint: str
) -> None:
    error = refusal(said(body, status))
    assert type(error) is kind
    assert hint in error.hint
    assert str(error).startswith(f"{TOKEN} answered {status}")
    assert "<" not in str(error)
    if status >= 300:
        with pytest.raises(kind):
            refreshed(body, status)


def test_a_refusal_says_what_the_server_said() -> None:
    assert str(refusal(said({"error": "invalid_scope", "error_description": "no  such\nscope"}, 400))) == (
        f"{TOKEN} answered 400: invalid_scope: no such scope"
    )
    assert str(refusal(said({"error_code": "DENIED", "message": "not you"}, 403))) == (
        f"{TOKEN} answered 403: DENIED: not you"
    )
    assert str(refusal(said({"error_description": "not you"}, 403))) == f"{TOKEN} answered 403: not you"
    assert str(refusal(said(HTML, 403))) == f"{TOKEN} answered 403"


@pytest.mark.parametrize("name", ["error", "error_description", "message", "error_code"])
def test_a_server_cannot_flood_the_terminal(name: str) -> None:
    assert len(str(refusal(said({name: "x" * 100_000}, 400)))) < 400


@pytest.mark.parametrize("name", ["error", "error_description", "message", "error_code"])
@pytest.mark.parametrize(
    "words", ["\x1b[2J", "\x1b]52;c;ZXZpbA==\x07", "\x9b31m", "a\rb", "\u202eevil", "a\nhint: curl evil | sh", "\ud800"]
)
def test_a_server_cannot_drive_the_terminal_nor_forge_a_line(name: str, words: str) -> None:
    # Also of a program that uses the library: its traceback shows the error as it stands.
    assert str(refusal(said({name: f"before {words} after"}, 400))).isprintable()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(100, 599),
    st.binary()
    | st.dictionaries(
        st.sampled_from(["error", "error_code", "error_description", "message"]),
        st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=2),
    ).map(lambda body: json.dumps(body).encode()),
)
def test_any_answer_of_a_server_is_an_error_of_ours(status: int, body: bytes) -> None:
    error = refusal(said(body, status))
    assert isinstance(error, (Refused, LoginRequired, Temporary))
    assert error.hint
    if status in (408, 429) or status >= 500:
        assert isinstance(error, Temporary)


@pytest.mark.parametrize(
    ("status", "body", "kind", "hint"),
    [
        (400, {"error": "invalid_grant", "error_description": "x"}, Refused, SECRET),
        (401, {"error": "invalid_client"}, Refused, SECRET),
        (400, {"error": "invalid_scope"}, Refused, LOOK),
        (503, b"", Temporary, BUSY),
    ],
)
def test_no_login_helps_a_service_principal(status: int, body: object, kind: type[AuthError], hint: str) -> None:
    far = Far({TOKEN: said(body, status)})
    with pytest.raises(kind) as error:
        oauth.client_credentials(Grant(HOST, client_id="the-id"), "canary-secret", far.world)
    assert type(error.value) is kind
    assert hint in error.value.hint
    assert error.value.exit_code in (1, 6)


def test_silence_of_the_token_endpoint_leaves_all_in_doubt() -> None:
    far = Far({TOKEN: Slow(99, GOOD)})
    with pytest.raises(InDoubt):
        renew(GRANT, far)
    assert far.passed == TOKEN_BUDGET and len(far.posts) == 1


# ---- asked again ---------------------------------------------------------------------------------------------------

AWAY = Unreachable("cannot reach it", hint="check the network")
GRANTS = ["refresh", "code", "client credentials"]


@pytest.mark.parametrize("name", GRANTS)
@pytest.mark.parametrize(
    "failure", [AWAY, said(b"", 503), said({"error": "invalid_grant"}, 429)], ids=("away", 503, 429)
)
def test_who_reached_nobody_or_was_turned_away_tries_three_times_more(name: str, failure: Any) -> None:
    far = Far({TOKEN: InTurn(failure, failure, failure, Slow(1, GOOD))})
    assert call(name, far).expires_at == NOW + 3.5 + 3600, "a life counts from the try that got it"
    assert PAUSES == (0.5, 1.0, 2.0) and far.slept == [0.5, 1.0, 2.0]
    assert [how["budget"] for _, how in far.posts] == [30, 29.5, 28.5, 26.5]
    assert len({json.dumps(how["form"]) for _, how in far.posts}) == 1
    text = str(failure if isinstance(failure, Exception) else refusal(failure._replace(url=TOKEN)))
    assert far.notes[-3:] == [f"once more in {pause} s: {text}" for pause in ("0.5", "1", "2")]
    waited = [seconds for what, seconds in far.waited if not what.startswith("asking https")]
    assert waited == [TOKEN_BUDGET], "one wait for all of it"


@pytest.mark.parametrize("name", GRANTS)
def test_after_four_tries_the_last_failure_is_told(name: str) -> None:
    far = Far({TOKEN: InTurn(*(Unreachable(f"failure {number}", hint="h") for number in range(1, 6)))})
    with pytest.raises(Unreachable, match="^failure 4$"):
        call(name, far)
    assert len(far.posts) == 4 and far.slept == [0.5, 1, 2]


@pytest.mark.parametrize("name", GRANTS)
@pytest.mark.parametrize(
    "failure",
    [
        InDoubt("broke off", hint="h"),
        Refused("the certificate is not trusted", hint="h"),
        ConfigError("the proxy settings cannot be used", hint="h"),
        *(said({}, status) for status in (400, 401, 403, 404, 408, 500, 501, 502, 504, 302)),
        said({"error": "temporarily_unavailable"}, 400),
        said({"error": "server_error"}, 200),
    ],
    ids=range(15),
)
def test_what_may_have_been_heard_or_will_not_pass_is_asked_once(name: str, failure: Any) -> None:
    far = Far({TOKEN: InTurn(failure, GOOD)})
    with pytest.raises(AuthError):
        call(name, far)
    assert len(far.posts) == 1 and far.slept == []


@pytest.mark.parametrize(
    ("asked", "slept"),
    [
        ("3", [3.0]),
        (" 07 ", [7.0]),
        ("0", [0.5]),  # a server in a hurry gets no storm
        ("29", [29.0]),
        ("Thu, 01 Jan 2026 12:00:10 GMT", [10.0]),
        ("Thu, 01 Jan 2026 13:00:10 +0100", [10.0]),
        ("Thu, 01 Jan 2026 11:00:00 GMT", [0.5]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_says_how_long_to_leave_it_alone(status: int, asked: str, slept: list[float]) -> None:
    far = Far({TOKEN: InTurn(said(b"", status, retry_after=asked), GOOD)})
    assert renew(GRANT, far).access == "new-access"
    assert far.slept == slept
    assert [how["budget"] for _, how in far.posts] == [30, 30 - slept[0]]


@pytest.mark.parametrize(
    ("asked", "seconds", "hint"),
    [
        ("30", 30.0, "try again in 30 s"),
        ("3600", 3600.0, "try again in 3600 s"),
        ("999999999", 999_999_999.0, "try again in 999999999 s"),
        ("Thu, 01 Jan 2026 13:00:00 GMT", 3600.0, "try again in 3600 s"),
        ("1234567890", None, "try again in a while"),
        ("-1", None, "try again in a while"),
        ("1.5", None, "try again in a while"),
        ("", None, "try again in a while"),
        ("soon", None, "try again in a while"),
        ("\u0661", None, "try again in a while"),
        ("Thu, 99 Jan 2026 13:00:00 GMT", None, "try again in a while"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_who_has_to_wait_too_long_or_for_nobody_knows_what_ends_at_once(
    status: int, asked: str, seconds: float | None, hint: str
) -> None:
    far = Far({TOKEN: InTurn(said(b"", status, retry_after=asked), GOOD)})
    with pytest.raises(Temporary) as error:
        renew(GRANT, far)
    assert type(error.value) is Temporary
    assert (error.value.retry_after, error.value.hint) == (seconds, hint)
    assert len(far.posts) == 1 and far.slept == []


@pytest.mark.parametrize("failure", [AWAY, said(b"", 503)], ids=("away", 503))
@pytest.mark.parametrize(
    ("seconds", "budgets"), [(7, [30, 22.5, 14.5, 5.5]), (9, [30, 20.5, 10.5]), (15, [30, 14.5]), (29.5, [30])]
)
def test_no_try_begins_where_the_time_is_over(failure: Any, seconds: float, budgets: list[float]) -> None:
    """A try takes so many seconds, and this is what is left for each."""
    far = Far({TOKEN: Slow(seconds, failure)})
    with pytest.raises(Temporary):
        oauth.refresh(GRANT, Endpoints("", TOKEN), far.world)
    assert [how["budget"] for _, how in far.posts] == pytest.approx(budgets)


def test_the_time_for_one_renewal_is_the_caller_s_to_say() -> None:
    far, endpoints = Far({TOKEN: AWAY}), Endpoints("", TOKEN)
    with pytest.raises(Unreachable):
        oauth.refresh(GRANT, endpoints, far.world, 1.6)
    assert far.waited == [("refreshing the login", 1.6)]
    assert [how["budget"] for _, how in far.posts] == pytest.approx([1.6, 1.1, 0.1])
    far = Far({TOKEN: AWAY})
    with pytest.raises(Unreachable):
        oauth.refresh(GRANT, endpoints, far.world, 1.5)
    assert far.slept == [0.5], "at the end of the time nobody is asked any more"


def test_the_endpoint_is_looked_up_once_however_often_it_is_asked() -> None:
    far = Far({TOKEN: GOOD})
    spend = oauth.renewal(Grant(HOST), far.world)
    assert far.urls == [METADATA, ROOT + RFC8414], "before anything is spent"
    other = Grant(HOST, "a", "another", client_id="my-app")
    assert spend(other, 20).access == spend(GRANT, 10).access == "new-access"
    assert [(how["form"]["refresh_token"], how["form"]["client_id"], how["budget"]) for _, how in far.posts] == [
        ("another", "my-app", 20),
        ("canary-old-refresh", "databricks-cli", 10),
    ]


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a time zone that is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "123456789"}, 123_456_789.0),
        ({"retry-after": "1234567890"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 12:02:00 GMT"}, 120.0),
        ({"retry-after": "Thursday, 01-Jan-26 12:02:00 GMT"}, 120.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:59:59 GMT"}, 0.0),
        ({"retry-after": "Thu Jan  1 12:02:00 2026"}, 120.0),  # the third form of RFC 9110, 5.6.7: it is UTC
        ({"retry-after": "+5"}, None),
        ({"retry-after": "5 s"}, None),
        ({"retry-after": "\xb2"}, None),
        ({"retry-after": "5, 10"}, None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seconds: float | None
) -> None:
    with elsewhere(monkeypatch):
        assert retry_after(Response(TOKEN, 429, headers, b""), NOW) == seconds


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text() | st.datetimes().map(format_datetime) | st.integers().map(str))
def test_whatever_a_server_says_is_a_time_to_wait_or_nothing(asked: str) -> None:
    seconds = retry_after(Response(TOKEN, 429, {"retry-after": asked}, b""), NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_how_long_to_wait_is_in_the_error_for_a_program_to_read(status: int) -> None:
    error = refusal(said({}, status, retry_after="90"))
    assert (error.retry_after, error.hint) == (90.0, "try again in 90 s")
    until = "Thu, 01 Jan 2026 12:01:00 GMT"
    assert refusal(said({}, status, retry_after=until), (), NOW).retry_after == 60
    assert refusal(said({}, status)).retry_after is None
    assert refusal(said({"error": "invalid_scope"}, 400, retry_after="90")).retry_after is None


# ---- secrets -------------------------------------------------------------------------------------------------------


def call(name: str, far: Far) -> Grant:
    """Each grant, with a canary for everything that is secret."""
    grant = Grant(HOST, "canary-access", "canary-refresh")
    endpoints = Endpoints(f"{ROOT}/v1/authorize", TOKEN)
    if name == "refresh":
        return renew(grant, far)
    if name == "code":
        uri = "http://localhost:8020"
        return oauth.exchange_code(endpoints, "canary-code", "canary-verifier", uri, grant, far.world)
    return oauth.client_credentials(Grant(HOST, client_id="the-id"), "canary-secret", far.world)


@pytest.mark.parametrize("name", ["refresh", "code", "client credentials"])
@pytest.mark.parametrize(
    "answer",
    [
        404,
        500,
        HTML,
        {},
        {"error": "invalid_grant"},
        {"access_token": "canary-new", "token_type": "MAC"},
        {"access_token": "canary new", "refresh_token": "canary-new"},
        Temporary("cannot reach it", hint="h"),
        Slow(99, GOOD),
    ],
    ids=range(9),
)
def test_no_message_note_or_waiting_line_holds_a_secret(name: str, answer: Any) -> None:
    far = Far({TOKEN: answer})
    with pytest.raises(AuthError) as error:
        call(name, far)
    told = [str(error.value), repr(error.value), error.value.hint, *far.notes, *(what for what, _ in far.waited)]
    assert "canary" not in "\n".join(told)
    assert "canary" not in repr(GRANT)


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("refresh", "canary-refresh"),
        ("code", "canary-code"),
        ("code", "canary-verifier"),
        ("client credentials", "canary-secret"),
        ("client credentials", base64.b64encode(b"the-id:canary-secret").decode()),
    ],
)
def test_a_server_that_repeats_a_secret_does_not_get_it_printed(name: str, secret: str, status: int) -> None:
    for before in ("what is ", "x" * 290):  # also where the text is cut
        body = {"error": secret, "error_description": f"{before}{secret} supposed to be?"}
        with pytest.raises(AuthError) as error:
            call(name, Far({TOKEN: said(body, status)}))
        assert secret[:10] not in str(error.value)
        assert before in str(error.value), "the rest helps to find the cause"


@pytest.mark.parametrize("secret", ["r", "token", "invalid", "Refresh token is invalid", "invalid_request"])
def test_what_a_server_says_means_the_same_whatever_the_secret_is(secret: str) -> None:
    far = Far({TOKEN: said({"error": "invalid_request", "error_description": "Refresh token is invalid"}, 401)})
    with pytest.raises(LoginRequired):
        renew(Grant(HOST, "a", secret), far)


def test_a_secret_too_short_to_be_one_leaves_the_words_alone() -> None:
    far = Far({TOKEN: said({"error": "invalid_request", "error_description": "Refresh token is invalid"}, 401)})
    with pytest.raises(LoginRequired, match="answered 401: invalid_request: Refresh token is invalid"):
        renew(Grant(HOST, "a", "r"), far)


def test_where_nobody_answers_discovery_has_nothing_to_fall_back_to() -> None:
    """Else a login would show a link that leads nowhere, and wait five minutes for somebody to come back from it."""
    far = Far({METADATA: Unreachable(f"cannot reach {METADATA}", hint="check the network")})
    with pytest.raises(Unreachable):
        oauth.discover(Grant(HOST), far.world)
    assert len(far.asked) == 1
