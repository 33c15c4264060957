"""Google's identities: what is asked of Google, what goes beside the token, and where nobody is known."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from machine import Machine
from unit.contracts import (
    ACCOUNT,
    BESIDE,
    CONTRACTS,
    GCP,
    GOOGLE,
    GOOGLE_ID,
    GOOGLE_TOKEN,
    HOUR,
    IAM,
    IAM_ACCESS,
    IAM_ID,
    NOW,
    Ask,
    gcloud_login,
    google_key,
    nothing,
    told,
)
from unit.far_side import FarSide, Reply, jwt, never

from dbx_auth import gcp
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.tokens import claims
from dbx_auth.world import Response, World

METADATA = "metadata.google.internal"
ACCESS: Reply = (200, {"access_token": "g-s3cret", "expires_in": 3600})


@pytest.fixture
def ask(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return Ask(machine, monkeypatch)


class Wire:
    """A far side that keeps the bodies of what it is asked, and lets everything else through to `FarSide`."""

    def __init__(self, replies: Mapping[str, Reply | list[Reply]]) -> None:
        self.far = FarSide(replies)
        self.bodies: list[tuple[str, bytes]] = []

    def __call__(self, method: str, url: str, **rest: Any) -> Response:
        self.bodies.append((url, rest.get("content") or b""))
        return self.far(method, url, **rest)

    def forms(self) -> list[dict[str, list[str]]]:
        return [parse_qs(body.decode()) for url, body in self.bodies if url == GOOGLE + GOOGLE_TOKEN]


# ---- the key of a service account ------------------------------------------------------------------------------------


def test_a_key_signs_for_an_id_token_of_the_workspace_and_for_an_access_token_beside_it(ask: Ask) -> None:
    wire = Wire(CONTRACTS["google-credentials"].replies)
    assert ask("google-credentials", wire).token
    for_workspace, beside = (claims(form["assertion"][0]) for form in wire.forms())
    assert for_workspace["target_audience"] == GCP and "target_audience" not in beside
    assert str(beside["scope"]).split() == gcp.SCOPES
    assert {said["iss"] for said in (for_workspace, beside)} == {ACCOUNT}


def test_a_key_may_stand_in_the_setting_itself(ask: Ask) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="google-credentials", DATABRICKS_HOST=GCP)
    ask.machine.env["GOOGLE_CREDENTIALS"] = json.dumps(google_key())
    found = ask.again(FarSide(CONTRACTS["google-credentials"].replies)).token
    assert found and found.value == GOOGLE_ID


def broken_keys() -> dict[str, str]:
    whole = google_key()
    return {
        "no file": "~/nothing.json",
        "a folder": "~/",
        "no JSON": "{half",
        "a deep one": '{"a":' * 50_000,
        "empty": "{}",
        "another kind of login": json.dumps({"type": "authorized_user", "refresh_token": "rt-s3cret"}),
        "no key in it": json.dumps({**whole, "private_key": "key-s3cret"}),
        "half a key": json.dumps({**whole, "private_key": whole["private_key"][:200]}),
        "a key that is no text": json.dumps({**whole, "private_key": ["s3cret"]}),
        "no address": json.dumps({name: value for name, value in whole.items() if name != "token_uri"}),
        "no name": json.dumps({name: value for name, value in whole.items() if name != "client_email"}),
    }


@pytest.mark.parametrize("name", broken_keys())
def test_what_is_no_key_is_an_error_that_repeats_none_of_it(ask: Ask, name: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="google-credentials", DATABRICKS_HOST=GCP)
    ask.machine.env["GOOGLE_CREDENTIALS"] = broken_keys()[name]
    resolution = ask.again(never)
    assert type(resolution.error) is ConfigError and "(env GOOGLE_CREDENTIALS)" in str(resolution.error)
    assert resolution.error.hint.startswith("export GOOGLE_CREDENTIALS=")
    assert "s3cret" not in told(resolution) and "PRIVATE" not in told(resolution)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b"nonsense"])
def test_a_file_that_holds_no_key_is_named_by_its_setting(ask: Ask, content: bytes) -> None:
    def put(machine: Machine, patch: pytest.MonkeyPatch) -> None:
        machine.write(machine.home / "key.json", content)

    assert type(ask("google-credentials", never, prepare=put).error) is ConfigError


def test_what_a_key_signs_goes_nowhere_without_https(ask: Ask) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="google-credentials", DATABRICKS_HOST=GCP)
    address = "http://oauth2.googleapis.com/token"
    ask.machine.env["GOOGLE_CREDENTIALS"] = json.dumps({**google_key(), "token_uri": address})
    far = FarSide({GOOGLE_TOKEN: (200, {"id_token": GOOGLE_ID})})
    assert isinstance(ask.again(far).error, AuthError) and far.asked == []


@pytest.mark.parametrize(
    ("id_token", "expires_at"), [(GOOGLE_ID, HOUR), (jwt(exp=NOW + 60), NOW + 60), (jwt(exp=int(HOUR)), HOUR)]
)
def test_an_id_token_says_itself_when_it_ends(ask: Ask, id_token: str, expires_at: float) -> None:
    far = FarSide({GOOGLE_TOKEN: [(200, {"id_token": id_token}), ACCESS]})
    found = ask("google-credentials", far).token
    assert found and found.expires_at == expires_at


@pytest.mark.parametrize("id_token", ["", "text", "a.b.c", jwt(), jwt(exp="soon"), None, 7, ["x"]])
def test_what_is_no_id_token_is_refused(ask: Ask, id_token: object) -> None:
    resolution = ask("google-credentials", FarSide({GOOGLE_TOKEN: [(200, {"id_token": id_token}), ACCESS]}))
    assert isinstance(resolution.error, AuthError) and resolution.token is None


@pytest.mark.parametrize(
    "reply", [(403, {"error": "x"}), (500, ""), (200, "<html>"), (200, {}), Temporary("cannot reach it", hint="h")]
)
def test_without_an_access_token_the_id_token_goes_alone(ask: Ask, reply: Reply) -> None:
    """Only calls that touch Google's own resources need it."""
    notes: list[str] = []
    far = FarSide({GOOGLE_TOKEN: [(200, {"id_token": GOOGLE_ID}), reply]})
    found = ask("google-credentials", far, note=notes.append).token
    assert found and found.extra == {}
    assert [note for note in notes if note.startswith("google-credentials: no access token: Google gave no token")]


def test_google_says_why_it_refuses(ask: Ask) -> None:
    reply = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    error = ask("google-credentials", FarSide({GOOGLE_TOKEN: reply})).error
    assert type(error) is Refused and "Google gave no token: invalid_grant: Invalid JWT Signature" in str(error)


# ---- a service account that somebody acts as -------------------------------------------------------------------------


def test_an_account_is_impersonated_for_the_workspace(ask: Ask) -> None:
    wire = Wire(CONTRACTS["google-id"].replies)
    found = ask("google-id", wire).token
    assert found and found.extra == {BESIDE: "g-s3cret"}
    sent = {url: json.loads(body) for url, body in wire.bodies if url.startswith(IAM)}
    assert sent[IAM + IAM_ID]["audience"] == GCP and sent[IAM + IAM_ID]["includeEmail"] is True
    assert sent[IAM + IAM_ACCESS]["scope"] == gcp.SCOPES
    assert {asked.headers["Authorization"] for asked in wire.far.asked if asked.url == IAM + IAM_ID} == {
        "Bearer me-s3cret"
    }


def test_an_account_that_may_not_be_acted_as_is_told_which_role_is_missing(ask: Ask) -> None:
    reply = 403, {"error": {"message": "Permission 'iam.serviceAccounts.getOpenIdToken' denied"}}
    error = ask("google-id", FarSide({**CONTRACTS["google-id"].replies, IAM_ID: reply})).error
    assert type(error) is Refused and "getOpenIdToken" in str(error) and "roles" in error.hint


def test_a_login_that_has_ended_is_told(ask: Ask) -> None:
    reply = 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    error = ask("google-id", FarSide({**CONTRACTS["google-id"].replies, GOOGLE_TOKEN: reply})).error
    assert isinstance(error, (Refused, LoginRequired)) and "expired or revoked" in str(error)


def test_a_login_of_gcloud_itself_is_used_without_a_word(ask: Ask) -> None:
    """google-auth warns of one that has no quota project, which only programs that call Google need."""

    def put(machine: Machine, patch: pytest.MonkeyPatch) -> None:
        gcloud_login(machine, patch)
        from google.auth import _cloud_sdk

        path = machine.home / "adc.json"
        login = {**json.loads(path.read_text()), "client_id": _cloud_sdk.CLOUD_SDK_CLIENT_ID}
        machine.write(path, {name: value for name, value in login.items() if name != "quota_project_id"})

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert ask("google-id", FarSide(CONTRACTS["google-id"].replies), prepare=put).token
    assert [str(warning.message) for warning in warned] == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"type": "x"}', b"\xff", None])
def test_a_login_that_cannot_be_read_asks_a_person_to_log_in(ask: Ask, content: bytes | None) -> None:
    def put(machine: Machine, patch: pytest.MonkeyPatch) -> None:
        gcloud_login(machine, patch)
        path = machine.home / "adc.json"
        path.unlink()
        if content is not None:
            machine.write(path, content)

    error = ask("google-id", never, prepare=put).error
    assert isinstance(error, LoginRequired) and error.hint == "gcloud auth application-default login"


# ---- where Google knows nobody ---------------------------------------------------------------------------------------


def test_on_a_machine_that_google_does_not_know_one_second_is_spent_to_find_out(ask: Ask) -> None:
    far = FarSide({"/": Temporary("no complete answer", hint="h")})
    error = ask("google-id", far, prepare=nothing).error
    assert isinstance(error, LoginRequired) and "Google knows nobody on this machine" in str(error)
    assert error.hint == "gcloud auth application-default login"
    assert [(asked.url, asked.budget) for asked in far.asked] == [(f"http://{METADATA}/", gcp.PROBE)]
    assert gcp.PROBE <= 1.0


@pytest.mark.parametrize("reply", [(200, "<html>the hotel's network"), (404, ""), (302, "")])
def test_whoever_else_answers_there_is_not_google(ask: Ask, reply: Reply) -> None:
    far = FarSide({"/": reply})
    assert isinstance(ask("google-id", far, prepare=nothing).error, LoginRequired) and len(far.asked) == 1


def test_a_machine_of_google_speaks_for_its_service_account(ask: Ask) -> None:
    root = "/computeMetadata/v1"
    header = {"metadata-flavor": "Google", "content-type": "application/json"}

    def says(body: object) -> Response:
        return Response("", 200, header, json.dumps(body).encode() if not isinstance(body, str) else body.encode())

    account = {"email": ACCOUNT, "scopes": gcp.SCOPES, "aliases": ["default"]}
    far = FarSide(
        {
            "": says(""),
            "/": says(""),
            f"{root}/project/project-id": Response("", 200, {**header, "content-type": "text/plain"}, b"project"),
            f"{root}/universe/universe-domain": (404, ""),
            f"{root}/universe/universe_domain": (404, ""),
            f"{root}/instance/service-accounts/default/": says(account),
            f"{root}/instance/service-accounts/default/token": says({"access_token": "vm-s3cret", "expires_in": 3600}),
            f"{root}/instance/service-accounts/{ACCOUNT}/token": says({"access_token": "vm-s3cret", "expires_in": 60}),
            IAM_ID: CONTRACTS["google-id"].replies[IAM_ID],
            IAM_ACCESS: CONTRACTS["google-id"].replies[IAM_ACCESS],
        }
    )
    found = ask("google-id", far, prepare=nothing).token
    assert found and found.value == GOOGLE_ID
    ours = [asked for asked in far.asked if METADATA in asked.url and "universe" not in asked.url]
    assert len(ours) > 3 and all(asked.budget <= gcp.PROBE for asked in ours)


def test_who_did_not_answer_is_not_asked_again() -> None:
    """google-auth by itself asks three times."""
    from google.auth import exceptions

    far = FarSide({"/x": Temporary("no complete answer", hint="h"), "/y": (200, {})})
    door = gcp.Door(World({}, "/nowhere", http=far))
    for _ in range(3):
        with pytest.raises(exceptions.TransportError):
            door(f"http://{METADATA}/x", timeout=3)
    with pytest.raises(exceptions.TransportError):
        door(f"http://{METADATA}/y")
    assert len(far.asked) == 1
    assert door("https://other.example/y").status == 200, "nobody else has to pay for it"


@pytest.mark.parametrize(
    ("url", "timeout", "budget"),
    [
        ("http://169.254.169.254/x", None, 1.0),
        ("http://169.254.169.254/x", 60, 1.0),
        ("http://169.254.169.254/x", 0.5, 0.5),
        ("https://oauth2.googleapis.com/x", None, 30.0),
        ("https://oauth2.googleapis.com/x", 120, 30.0),
        ("https://oauth2.googleapis.com/x", 5, 5.0),
    ],
)
def test_a_metadata_server_gets_a_second_and_anybody_else_half_a_minute(
    url: str, timeout: float | None, budget: float
) -> None:
    far = FarSide({"/x": (200, {})})
    gcp.Door(World({}, "/nowhere", http=far))(url, timeout=timeout)
    assert far.asked[0].budget == budget


def test_a_door_passes_on_what_it_is_given_and_what_it_gets() -> None:
    sent: list[Any] = []

    def http(method: str, url: str, **rest: Any) -> Response:
        sent.append((method, url, rest["headers"], rest["content"]))
        return Response(url, 418, {"x": "y"}, b"short and stout")

    found = gcp.Door(World({}, "/nowhere", http=http))("https://g/x", "POST", "é", {"A": "b"})
    assert sent == [("POST", "https://g/x", {"A": "b"}, "é".encode())]
    assert (found.status, found.headers, found.data) == (418, {"x": "y"}, b"short and stout")


# ---- without the library ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["google-credentials", "google-id"])
def test_without_the_library_the_extra_is_named(ask: Ask, name: str) -> None:
    ask.patch.setitem(sys.modules, "google.auth", None)
    error = ask(name, never).error
    assert isinstance(error, ConfigError) and "google-auth is not installed" in str(error)
    assert error.hint == "pip install 'dbx-auth[google]'"


def test_nobody_needs_the_library_who_does_not_use_it(ask: Ask) -> None:
    ask.patch.setitem(sys.modules, "google.auth", None)
    ask.put(DATABRICKS_HOST=GCP)
    attempts = {attempt.auth_type: attempt.outcome for attempt in ask.again(never).attempts}
    assert attempts["google-credentials"] == attempts["google-id"] == "unavailable"
