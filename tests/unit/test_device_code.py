"""The login by device code: a person types a code on another device, and we wait."""

from __future__ import annotations

import time
from typing import Any

import pytest
from unit.contracts import AZURE, ENTRA, ENTRA_KNOWS, LOGIN, NOW
from unit.far_side import FarSide, Reply, jwt, never

from dbx_auth import entra
from dbx_auth.errors import AuthError, LoginRequired, Refused, Temporary
from dbx_auth.profile import Profile, Setting
from dbx_auth.store import Grant
from dbx_auth.world import Response, World

APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
DEVICE = "/a-tenant/oauth2/v2.0/devicecode"
FLOW = {
    "user_code": "ABC123",
    "device_code": "dc-s3cret",
    "verification_uri": "https://microsoft.com/devicelogin",
    "expires_in": 900,
    "interval": 1,
}
PENDING: Reply = (400, {"error": "authorization_pending", "error_description": "AADSTS70016: pending"})
SLOW_DOWN: Reply = (400, {"error": "slow_down"})
LOGGED_IN = {"access_token": "at-s3cret", "refresh_token": "rt-s3cret", "expires_in": 3600, "id_token": jwt(sub="me")}
TYPED: Reply = (200, LOGGED_IN)
WANTED = Grant(
    AZURE, client_id=entra.CLIENT_ID, scopes=(f"{APP}/.default", "offline_access"), authority=f"{LOGIN}/a-tenant"
)


class Device:
    """A login by device code, with a clock of its own: whoever sleeps moves it."""

    def __init__(self, patch: pytest.MonkeyPatch, flow: Reply, *replies: Reply) -> None:
        self.far = FarSide({**ENTRA_KNOWS, DEVICE: flow, **({ENTRA: list(replies)} if replies else {})})
        self.passed = 0.0
        self.shown: list[str] = []
        patch.setattr(time, "time", lambda: NOW + self.passed)
        patch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def ask(self, *args: Any, **rest: Any) -> Response:
        assert len(self.far.asked) < 1000, "this never ends"
        return self.far(*args, **rest)

    def log_in(self, timeout: float = 300.0) -> Grant:
        world = World({}, "/nowhere", now=lambda: NOW + self.passed, http=self.ask)
        return entra.with_device_code(WANTED, world, self.shown.append, timeout)


def test_what_is_wanted_of_entra_is_a_grant_for_databricks_that_can_be_renewed() -> None:
    said = {"host": AZURE, "azure_tenant_id": "a-tenant"}
    profile = Profile("", {name: Setting(name, value, "env NAME") for name, value in said.items()})
    assert entra.wanted(profile, World({}, "/nowhere", http=never)) == WANTED


def test_a_code_is_shown_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, (200, FLOW), PENDING, SLOW_DOWN, PENDING, TYPED)
    found = device.log_in()
    assert device.shown == [
        "open this link on any device: https://microsoft.com/devicelogin",
        "and type this code there: ABC123",
    ]
    assert (found.access, found.refresh) == ("at-s3cret", "rt-s3cret")
    assert (found.host, found.authority, found.client_id) == (AZURE, f"{LOGIN}/a-tenant", entra.CLIENT_ID)
    assert device.passed == 1 + 6 + 6, "who is told to slow down waits five seconds more each time"
    first, *polls = device.far.posts()
    assert first["client_id"] == entra.CLIENT_ID
    assert {f"{APP}/.default", "offline_access"} <= set(first["scope"].split())
    assert {poll["device_code"] for poll in polls} == {"dc-s3cret"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((400, {"error": "authorization_declined", "error_description": "AADSTS70000: no"}), Refused),
        ((400, {"error": "bad_verification_code"}), Refused),
        ((400, {"error": "expired_token", "error_description": "AADSTS70020: over"}), LoginRequired),
        ((500, ""), Temporary),
        ((200, "<html>"), Refused),
        ((200, {}), Refused),
        (Temporary("cannot reach it", hint="h"), Temporary),
    ],
)
def test_a_code_that_comes_to_nothing_keeps_its_reason(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, kind: type[AuthError]
) -> None:
    with pytest.raises(kind) as refused:
        Device(monkeypatch, (200, FLOW), PENDING, reply).log_in()
    assert refused.value.hint and "s3cret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(("timeout", "interval"), [(0.0, 1), (0.0, 5), (20.0, 1), (20.0, 5), (20.0, 0)])
def test_nobody_waits_longer_than_the_person_said(
    monkeypatch: pytest.MonkeyPatch, timeout: float, interval: int
) -> None:
    device = Device(monkeypatch, (200, {**FLOW, "interval": interval}), PENDING)
    with pytest.raises(LoginRequired, match="nobody typed the code in time") as refused:
        device.log_in(timeout)
    assert device.passed <= timeout + 1
    assert refused.value.hint == f"dbx-auth login {AZURE}"


def test_a_code_that_ends_before_the_persons_patience_ends_the_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch, (200, {**FLOW, "expires_in": 10}), PENDING)
    with pytest.raises(LoginRequired):
        device.log_in(300)
    assert device.passed <= 11


@pytest.mark.parametrize(
    "flow",
    [
        (400, {"error": "unauthorized_client", "error_description": "AADSTS700016: no application"}),
        (200, {}),
        (200, {"user_code": "ABC123"}),
        (200, {**FLOW, "interval": "soon"}),
        (200, {**FLOW, "expires_in": None}),
        (200, "<html>"),
        (200, "[]"),
        (403, ""),
    ],
)
def test_a_login_that_cannot_begin_is_refused_and_no_crash(monkeypatch: pytest.MonkeyPatch, flow: Reply) -> None:
    with pytest.raises(Refused) as refused:
        Device(monkeypatch, flow, PENDING).log_in(2)
    assert refused.value.hint


def test_a_link_and_a_code_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = {**FLOW, "verification_uri": "https://x\x1b[2J\r\nevil", "user_code": "A\u202eB\n"}
    device = Device(monkeypatch, (200, flow), TYPED)
    device.log_in()
    assert all(line.isprintable() for line in device.shown)
