"""A token, how long it lives, and the many ways in which its end is written."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import pickle
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
import time_machine
from hypothesis import example, given, settings, strategies as st

from dbx_auth import tokens
from dbx_auth.tokens import AIM, FLOOR, Demand, Token, format_expiry, is_one_word, parse_expiry

CANARY = "dapi-canary-0123456789abcdef"
NOON = 1_767_268_800.0
"""2026-01-01 12:00:00 UTC."""

thorough = settings(max_examples=300, deadline=None, derandomize=True)

# ---- the token -----------------------------------------------------------------------------------------------------


def test_the_aim_is_that_of_the_databricks_cli_and_the_floor_above_what_the_server_refuses() -> None:
    assert (AIM, FLOOR) == (300, 40)
    assert FLOOR > 30


@pytest.mark.parametrize(
    ("expires_at", "life"),
    [(NOON + 3600, 3600), (NOON, 0), (NOON - 1, -1), (NOON + 0.25, 0.25), (None, math.inf), (0.0, -NOON)],
)
def test_a_token_lives_until_it_expires(expires_at: float | None, life: float) -> None:
    assert Token(CANARY, expires_at).life(NOON) == life


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, "%r".__mod__, ascii])
def test_a_token_that_is_printed_by_accident_shows_nothing(show: type[str]) -> None:
    token = Token(CANARY, NOON, "pat", "env DATABRICKS_TOKEN", "https://h")
    for thing in (token, [token], {"token": token}, replace(token, refreshable=True)):
        assert "canary" not in show(thing)
    assert "env DATABRICKS_TOKEN" in show(token)


def test_a_token_that_is_in_the_message_of_an_error_shows_nothing() -> None:
    try:
        raise RuntimeError(f"no use for {Token(CANARY)}", Token(CANARY))
    except RuntimeError as error:
        assert "canary" not in f"{error} {error!r}"


def test_a_token_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        Token(CANARY).value = "other"  # type: ignore[misc]


def test_a_token_survives_a_trip_to_another_process() -> None:
    token = Token(CANARY, NOON, "pat", "o", "https://h", refreshable=True)
    assert pickle.loads(pickle.dumps(token)) == token


@pytest.mark.parametrize(("token_type", "header"), [("Bearer", f"Bearer {CANARY}"), ("Basic", f"Basic {CANARY}")])
def test_a_request_carries_the_token_in_one_header(token_type: str, header: str) -> None:
    assert Token(CANARY, token_type=token_type).headers == {"Authorization": header}
    assert Token(CANARY).token_type == "Bearer"


# ---- whose it is ---------------------------------------------------------------------------------------------------


def jwt(claims: object, *, pad: bool = False) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{middle if pad else middle.rstrip('=')}.c2ln"


@pytest.mark.parametrize("sub", ["me@example.com", "ü", "a" * 1, "a" * 2, "a" * 3, "a" * 4, "?" * 50])
@pytest.mark.parametrize("pad", [False, True])
def test_a_jwt_names_its_subject_and_the_next_token_names_the_same(sub: str, pad: bool) -> None:
    first, second = jwt({"sub": sub, "exp": 1}, pad=pad), jwt({"exp": 2, "iat": 1, "sub": sub}, pad=pad)
    assert Token(first).subject == Token(second).subject == sub


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        "",
        "a.b",
        "a.b.c",
        "a..c",
        "..",
        "a.b.c.d",
        jwt({}),
        jwt({"sub": ""}),
        jwt({"sub": None}),
        jwt([]),
        jwt("sub"),
        jwt(None),
        "a.ÿ.c",
        f"a.{base64.urlsafe_b64encode(b'{').decode()}.c",
        f"a.{base64.urlsafe_b64encode(bytes([255, 254, 255])).decode()}.c",
        f"a.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.c",
        f"a.{base64.urlsafe_b64encode(b'1' * 5_000).decode()}.c",
    ],
)
def test_any_other_token_is_known_by_a_hash_that_tells_nothing(value: str) -> None:
    subject = Token(value).subject
    assert subject == hashlib.sha256(value.encode()).hexdigest()
    assert Token(value + "x").subject != subject


def test_a_subject_that_is_no_text_is_made_one() -> None:
    assert Token(jwt({"sub": 7})).subject == "7"


@thorough
@given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*", fullmatch=True))
def test_every_token_has_a_subject(value: str) -> None:
    assert Token(value).subject


@pytest.mark.parametrize(
    ("text", "one"),
    [(CANARY, True), (jwt({}), True), ("a", True), ("", False), ("a b", False), ("a\n", False), ("a\tb", False)]
    + [("\x1b[2J", False), ("ä", False), ("a\u202eb", False), ("\x7f", False), ("\ud800", False)],
)
def test_a_token_is_one_word_that_a_header_can_carry(text: str, one: bool) -> None:
    assert is_one_word(text) is one


# ---- reading an expiry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T12:00:00+00:00", NOON),
        ("2026-01-01T14:00:00+02:00", NOON),
        ("2026-01-01T04:00:00-08:00", NOON),
        ("2026-01-01T17:30:00+05:30", NOON),
        ("2026-01-02T02:00:00+14:00", NOON),
        ("2026-01-01T12:00:00.5Z", NOON + 0.5),
        ("2026-01-01T12:00:00.123456Z", NOON + 0.123456),
        ("2026-01-01T12:00:00.123456789Z", NOON + 0.123456),  # Go writes nanoseconds
        ("2026-01-01T14:00:00.123456789+02:00", NOON + 0.123456),
        ("2026-01-01T12:00:00.1234567Z", NOON + 0.123456),
        ("2026-01-01T12:00:00.1Z", NOON + 0.1),
        ("2026-01-01 12:00:00", NOON),  # Azure CLI, and the Go SDK takes it for UTC
        ("2026-01-01 12:00:00.000000", NOON),
        ("2026-01-01T12:00:00", NOON),
        ("  2026-01-01T12:00:00Z\n", NOON),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2100-01-01T00:00:00Z", 4_102_444_800.0),
    ],
)
def test_a_time_is_read_with_its_zone_and_its_fraction(written: str, seconds: float) -> None:
    assert parse_expiry(written) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1_767_268_800, NOON),
        (1_767_268_800.5, NOON + 0.5),
        ("1767268800", NOON),
        ("1767268800.5", NOON + 0.5),
        (" 1767268800 ", NOON),
        (1_767_268_800_000, NOON),  # opencode's auth.json
        (1_767_268_800_500, NOON + 0.5),
        ("1767268800000", NOON),
        (0, 0.0),
        ("0", 0.0),
        (-1, -1.0),
        (1e11, 1e11),  # the year 5138 in seconds, 1973 in milliseconds
    ],
)
def test_a_number_is_epoch_seconds_or_when_large_milliseconds(written: object, seconds: float) -> None:
    assert parse_expiry(written) == seconds


@pytest.mark.parametrize(
    "never", [None, "", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T00:00:00.000000+00:00"]
)
def test_nothing_and_the_zero_time_of_go_mean_never(never: object) -> None:
    assert parse_expiry(never) is None


@pytest.mark.parametrize(
    "written",
    ["soon", " ", "-5", "+5", "1e3", "nan", "inf", "Infinity", "12:00", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z"]
    + ["2026-02-30T00:00:00Z", "2026-01-01T12:00:00+25:00", "²", "1.2.3", "0x10", "\x00", "2026-01-01T12:00:00 PST"]
    + [True, False, [], {}, [1], b"1767268800", object(), math.nan, math.inf, -math.inf],
)
def test_anything_else_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        parse_expiry(written)


@pytest.mark.parametrize("written", [1e18, 1e300, 10**18, 10**400, "9" * 30, "9" * 5_000, -1e18], ids=range(7))
def test_an_expiry_that_no_calendar_has_is_refused(written: object) -> None:
    # A login that seems good for thirty million years is never renewed, and cannot be written down either.
    with pytest.raises(ValueError):
        parse_expiry(written)


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
TIMES = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9:]{2,6})?")


@thorough
@given(JSON | TIMES)
@example("\ud800")
def test_whatever_a_file_says_is_an_expiry_or_a_value_error(written: object) -> None:
    try:
        seconds = parse_expiry(written)
    except (ValueError, OverflowError):
        return
    if seconds is not None:
        assert math.isfinite(seconds)
        assert parse_expiry(format_expiry(seconds)) is not None


# ---- writing one ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The process runs in this time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


EXPECTED = {
    "UTC": "2026-01-01T12:00:00.250000+00:00",
    "Europe/Berlin": "2026-01-01T13:00:00.250000+01:00",
    "America/New_York": "2026-01-01T07:00:00.250000-05:00",
    "Asia/Kolkata": "2026-01-01T17:30:00.250000+05:30",
    "Pacific/Kiritimati": "2026-01-02T02:00:00.250000+14:00",
}


def test_an_expiry_is_local_time_with_a_fraction_and_an_offset(zone: str) -> None:
    assert format_expiry(NOON + 0.25) == EXPECTED[zone]


def test_a_whole_second_has_a_fraction_too(zone: str) -> None:
    # Without one the Python SDK does not cut the offset off, and fails.
    assert ".000000" in format_expiry(NOON)


def python_sdk(written: str) -> float:
    """How databricks-sdk reads it: cut at the dot, and take the rest for local time."""
    return datetime.strptime(written.rstrip("Z").split(".")[0], "%Y-%m-%dT%H:%M:%S").timestamp()


@pytest.mark.parametrize("month", range(1, 13))
def test_every_sdk_reads_the_same_moment(zone: str, month: int) -> None:
    moment = datetime(2026, month, 15, 3, 30, 30, tzinfo=UTC).timestamp()
    assert python_sdk(format_expiry(moment)) == moment
    assert parse_expiry(format_expiry(moment)) == moment


@pytest.mark.parametrize("hour", [0, 1, 2, 3])
def test_the_hour_that_comes_twice_is_told_apart(monkeypatch: pytest.MonkeyPatch, hour: int) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        moment = datetime(2026, 10, 25, hour, 30, tzinfo=UTC).timestamp()
        assert parse_expiry(format_expiry(moment)) == moment
    finally:
        monkeypatch.undo()
        time.tzset()


@thorough
@given(st.floats(min_value=0, max_value=4e9))
def test_what_is_written_is_read_back(moment: float) -> None:
    assert parse_expiry(format_expiry(moment)) == pytest.approx(moment, abs=1e-6)


@pytest.mark.parametrize(
    "written", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T00:00:00+14:00", 253_402_300_799]
)
def test_the_last_day_of_the_calendar_is_never_or_can_be_written_anywhere(zone: str, written: object) -> None:
    # Some servers write it for "never", and east of Greenwich it is the year 10000.
    seconds = parse_expiry(written)
    assert seconds is None or parse_expiry(format_expiry(seconds)) == pytest.approx(seconds, abs=86_400)


@time_machine.travel(NOON, tick=False)
def test_writing_an_expiry_does_not_ask_the_clock() -> None:
    assert parse_expiry(tokens.format_expiry(NOON + 3600)) == NOON + 3600


# ---- what is asked of a token ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("min_ttl", "aim"),
    [(None, AIM), (0, FLOOR), (FLOOR - 1, FLOOR), (FLOOR, FLOOR), (41, 41), (3600, 3600)],
)
def test_a_demand_aims_for_the_life_that_is_asked_for_and_never_below_what_the_server_takes(
    min_ttl: float | None, aim: float
) -> None:
    assert Demand(min_ttl).aim == aim and (AIM, FLOOR) == (300, 40)


def test_without_a_word_a_demand_is_for_a_token_that_is_renewed_when_it_must_be_and_kept() -> None:
    assert Demand() == (None, False, True, "", False)
    assert Demand() == Demand(min_ttl=None, force=False, renew=True, rejected="", ephemeral=False)


def test_printing_a_demand_by_accident_shows_no_token() -> None:
    one = Demand(60, force=True, rejected="at-secret")
    assert repr(one) == str(one) == "Demand(min_ttl=60, force=True, renew=True, rejected=***)"
