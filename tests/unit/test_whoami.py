"""What a host says to a token, in all the shapes that hosts answer in."""

from __future__ import annotations

import json

import pytest
from unit.far_side import ENDPOINTS, ME, FarSide, Reply, never

from dbx_auth import whoami
from dbx_auth.errors import AuthError, Refused, Temporary
from dbx_auth.tokens import Token
from dbx_auth.world import World

HOST, UNIFIED = "https://dev.cloud.databricks.com", "https://company.databricks.com"
ACCOUNTS = "https://accounts.cloud.databricks.com"
ACCOUNT_ME, ACCOUNT_LIST = "/api/2.0/accounts/acc/scim/v2/Me", "/api/2.0/accounts/acc/workspaces"
INTROSPECT = "/api/2.0/tokens/introspect"
ALICE: Reply = (200, {"userName": "alice@example.com"})
PAGE: Reply = (200, "\n <!doctype html><title>Databricks</title>")


def token(host: str = HOST) -> Token:
    return Token("at-secret", None, "pat", "env DATABRICKS_TOKEN", host, extra={"X-Beside": "it"})


def world(far: FarSide) -> World:
    return World({}, "/nowhere", http=far)


def user(far: FarSide, host: str = HOST, account_id: str = "") -> str:
    return whoami.user(token(host), world(far), account_id=account_id)


# ---- who it is -------------------------------------------------------------------------------------------------------


def test_a_workspace_is_asked_with_the_token_and_what_goes_beside_it() -> None:
    far = FarSide({ME: ALICE})
    assert user(far) == "alice@example.com"
    (asked,) = far.asked
    assert (asked.method, asked.url) == ("GET", HOST + ME)
    assert asked.headers == {"Authorization": "Bearer at-secret", "X-Beside": "it"}


def test_an_account_console_is_asked_about_the_account() -> None:
    far = FarSide({ACCOUNT_ME: ALICE})
    assert user(far, ACCOUNTS, "acc") == "alice@example.com"
    assert far.asked[0].url == ACCOUNTS + ACCOUNT_ME


def test_an_account_console_without_an_account_is_not_asked_at_all() -> None:
    with pytest.raises(Refused, match="no setting says which account") as refused:
        whoami.user(token(ACCOUNTS), World({}, "/nowhere", http=never))
    assert refused.value.hint.startswith("export DATABRICKS_ACCOUNT_ID=")


def test_a_unified_host_that_shows_its_page_is_asked_about_the_account() -> None:
    """Without a workspace a request there ends at the page for people, with status 200."""
    far = FarSide({ME: PAGE, ACCOUNT_ME: ALICE})
    assert user(far, UNIFIED, "acc") == "alice@example.com"
    assert [asked.path for asked in far.asked] == [ME, ACCOUNT_ME]


@pytest.mark.parametrize("status", [403, 404])
def test_whom_the_workspace_does_not_know_the_account_may(status: int) -> None:
    far = FarSide({ME: (status, ""), ENDPOINTS: (status, ""), ACCOUNT_ME: ALICE})
    assert user(far, UNIFIED, "acc") == "alice@example.com"
    assert [asked.path for asked in far.asked] == [ME, ENDPOINTS, ACCOUNT_ME]


def test_a_page_where_no_account_is_known_is_refused() -> None:
    with pytest.raises(Refused, match="something that is not a JSON object"):
        user(FarSide({ME: PAGE}), UNIFIED)


def test_a_unified_host_that_answers_in_json_is_asked_once() -> None:
    far = FarSide({ME: ALICE})
    assert user(far, UNIFIED, "acc") == "alice@example.com" and len(far.asked) == 1


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    ("host", "account_id", "me", "a_list", "body"),
    [
        (HOST, "", ME, ENDPOINTS, {"endpoints": [{"name": "x"}]}),
        (HOST, "", ME, ENDPOINTS, {}),
        (ACCOUNTS, "acc", ACCOUNT_ME, ACCOUNT_LIST, [{"workspace_id": 1}]),
        (ACCOUNTS, "acc", ACCOUNT_ME, ACCOUNT_LIST, []),  # an account without a workspace
    ],
)
def test_an_identity_that_may_not_ask_for_itself_is_let_in_by_a_list(
    status: int, host: str, account_id: str, me: str, a_list: str, body: object
) -> None:
    """The token of a group gets 404."""
    far = FarSide({me: (status, {"error_code": "NOT_FOUND"}), a_list: (200, body)})
    assert user(far, host, account_id) == ""
    assert [asked.path for asked in far.asked] == [me, a_list]


def test_a_page_in_place_of_the_list_is_no_yes() -> None:
    with pytest.raises(Refused):
        user(FarSide({ME: (404, ""), ENDPOINTS: PAGE}))


@pytest.mark.parametrize(
    ("me", "a_list", "kind"),
    [
        ((401, ""), (200, {}), Refused),  # the list is not asked
        ((403, ""), (403, ""), Refused),
        ((404, ""), (401, ""), Refused),
        ((404, ""), (500, ""), Temporary),
        ((403, ""), (503, ""), Temporary),
        ((429, ""), (200, {}), Temporary),
        ((500, ""), (200, {}), Temporary),
        ((302, ""), (200, {}), Refused),
        ((200, "[]"), (200, {}), Refused),
        ((200, ""), (200, {}), Refused),
        (Temporary("cannot reach it", hint="h"), (200, {}), Temporary),
    ],
)
def test_what_a_host_answers_in_place_of_a_name_keeps_its_kind(me: Reply, a_list: Reply, kind: type[AuthError]) -> None:
    with pytest.raises(kind) as refused:
        user(FarSide({ME: me, ENDPOINTS: a_list}))
    assert refused.value.hint and "at-secret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(("status", "hint"), [(401, f"dbx-auth login {HOST} --force"), (405, "check that the host is")])
def test_a_refusal_says_whose_token_it_is_and_what_to_do(status: int, hint: str) -> None:
    with pytest.raises(Refused, match=f"does not accept the token of env DATABRICKS_TOKEN: it answered {status}") as no:
        user(FarSide({ME: (status, "")}))
    assert no.value.hint.startswith(hint)


@pytest.mark.parametrize(("name", "shown"), [(None, ""), (7, ""), (["a"], ""), ("a\x1b[2J\nb\u202e", "a[2J b")])
def test_a_name_is_one_harmless_line(name: object, shown: str) -> None:
    assert user(FarSide({ME: (200, {"userName": name})})) == shown


def test_all_questions_together_take_no_longer_than_the_budget() -> None:
    clock = iter([0.0, 0.0, 4.0, 4.0])
    far = FarSide({ME: (404, ""), ENDPOINTS: (200, {})})
    whoami.user(token(), world(far)._replace(monotonic=lambda: next(clock)), budget=5.0)
    assert [asked.budget for asked in far.asked] == [5.0, 1.0]


# ---- which workspace -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [123, "123"])
def test_a_token_tells_the_workspace_that_it_was_made_for(id: object) -> None:
    far = FarSide({INTROSPECT: (200, {"principal_context": {"authentication_scope": {"workspace_id": id}}})})
    assert whoami.workspace_of(token(), world(far)) == "123"
    assert far.asked[0].headers["Authorization"] == "Bearer at-secret"


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"principal_context": {"authentication_scope": {}}}),
        (200, {"principal_context": {"authentication_scope": {"workspace_id": None}}}),
        (200, {"principal_context": {"authentication_scope": None}}),
        (200, {"principal_context": {"authentication_scope": ["x"]}}),
        (200, {"principal_context": {"authentication_scope": "account"}}),
        (200, {"principal_context": None}),
        (200, {"principal_context": []}),
        (200, {}),
        (200, "[]"),
        (200, "<html>"),
        (404, {"error_code": "ENDPOINT_NOT_FOUND"}),
        (401, ""),
        (500, ""),
        Temporary("cannot reach it", hint="h"),
    ],
)
def test_a_host_that_does_not_tell_the_workspace_tells_none(reply: Reply) -> None:
    assert whoami.workspace_of(token(), world(FarSide({INTROSPECT: reply}))) == ""


# ---- the workspaces of an account ------------------------------------------------------------------------------------


def test_an_accounts_workspaces_go_by_id_and_name() -> None:
    rows = [{"workspace_id": 1, "workspace_name": "dev"}, {"workspace_id": "2", "workspace_name": "prod"}]
    far = FarSide({ACCOUNT_LIST: (200, rows)})
    assert whoami.workspaces(token(UNIFIED), "acc", world(far)) == {"1": "dev", "2": "prod"}
    assert far.asked[0].url == UNIFIED + ACCOUNT_LIST


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], {}),
        ([{"workspace_id": 1}], {"1": "1"}),
        ([{"workspace_id": 1, "workspace_name": ""}], {"1": "1"}),
        ([{"workspace_id": 1, "workspace_name": ["x"]}], {"1": "1"}),
        ([{"workspace_id": 1, "workspace_name": "a\x1b[2J\nb"}], {"1": "a[2J b"}),
        ([{"workspace_name": "nameless"}, None, 7, [], {"workspace_id": 2}], {"2": "2"}),
        ([{"workspace_id": "../x"}, {"workspace_id": "1\n"}, {"workspace_id": -1}, {"workspace_id": None}], {}),
        ([{"workspace_id": True}, {"workspace_id": 1.5}, {"workspace_id": {"a": 1}}], {}),
        ({"workspaces": [{"workspace_id": 1}]}, {}),
        ("text", {}),
        (None, {}),
    ],
)
def test_rows_that_make_no_sense_are_left_out(rows: object, found: dict[str, str]) -> None:
    far = FarSide({ACCOUNT_LIST: (200, json.dumps(rows))})
    assert whoami.workspaces(token(), "acc", world(far)) == found


@pytest.mark.parametrize(
    "reply",
    [(403, ""), (500, ""), (200, "<html>"), (200, ""), (200, "[" * 100_000), Temporary("cannot reach it", hint="h")],
)
def test_a_host_that_does_not_tell_its_workspaces_tells_none(reply: Reply) -> None:
    assert whoami.workspaces(token(), "acc", world(FarSide({ACCOUNT_LIST: reply}))) == {}
