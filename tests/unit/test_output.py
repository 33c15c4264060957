"""How a token and an error are written for those who read them."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings, strategies as st

from dbx_auth.errors import (
    Attempt,
    AuthError,
    ConfigError,
    InDoubt,
    LoginRequired,
    NotConfigured,
    Refused,
    Temporary,
    Unavailable,
    Unreachable,
    UsageError,
)
from dbx_auth.output import FORMATS, duration, failure
from dbx_auth.tokens import Token, parse_expiry

NOW = 1_767_268_800.0
HOST = "https://dev.cloud.databricks.com"
TOKEN = Token("dapi-0123", NOW + 3599.5, "pat", "env DATABRICKS_TOKEN", HOST)
BASIC = Token(base64.b64encode(b"u:p").decode(), None, "basic", "env DATABRICKS_PASSWORD", HOST, token_type="Basic")

# ---- a token -------------------------------------------------------------------------------------------------------


def test_the_formats_are_those_of_the_design() -> None:
    assert list(FORMATS) == ["text", "json", "header", "headers", "bazel", "env"]


def test_text_is_the_token_and_nothing_else() -> None:
    assert FORMATS["text"](TOKEN, NOW) == "dapi-0123"


def test_json_has_the_fields_of_the_design_in_their_order() -> None:
    written = json.loads(FORMATS["json"](TOKEN, NOW))
    assert list(written) == ["access_token", "token_type", "expiry", "expires_in", "host", "auth_type", "origin"]
    assert parse_expiry(written.pop("expiry")) == NOW + 3599.5
    assert written == {
        "access_token": "dapi-0123",
        "token_type": "Bearer",
        "expires_in": 3599,
        "host": HOST,
        "auth_type": "pat",
        "origin": "env DATABRICKS_TOKEN",
    }


def test_a_token_that_never_expires_has_null_for_both() -> None:
    written = json.loads(FORMATS["json"](Token("t"), NOW))
    assert (written["expiry"], written["expires_in"]) == (None, None)


@pytest.mark.parametrize(("left", "seconds"), [(3600, 3600), (0.999, 0), (0, 0), (-0.5, -1), (-60, -60), (59.999, 59)])
def test_expires_in_is_whole_and_never_more_than_is_left(left: float, seconds: int) -> None:
    written = json.loads(FORMATS["json"](Token("t", NOW + left), NOW))
    assert written["expires_in"] == seconds
    assert isinstance(written["expires_in"], int)


def test_json_of_a_password_says_that_it_is_no_bearer() -> None:
    assert json.loads(FORMATS["json"](BASIC, NOW))["token_type"] == "Basic"


def test_json_is_ascii_whatever_is_in_it() -> None:
    written = FORMATS["json"](Token("t", origin="file ~/Ünï\x1b\u202e [A]"), NOW)
    assert written.isascii()
    assert "\x1b" not in written


def test_header_is_a_line_that_curl_reads() -> None:
    assert FORMATS["header"](TOKEN, NOW) == "Authorization: Bearer dapi-0123"
    assert FORMATS["header"](BASIC, NOW) == "Authorization: Basic dTpw"


def test_headers_are_an_object() -> None:
    assert json.loads(FORMATS["headers"](TOKEN, NOW)) == {"Authorization": "Bearer dapi-0123"}
    assert json.loads(FORMATS["headers"](BASIC, NOW)) == {"Authorization": "Basic dTpw"}


def test_env_is_two_lines_for_a_shell() -> None:
    assert FORMATS["env"](TOKEN, NOW) == (f"export DATABRICKS_HOST={HOST}\nexport DATABRICKS_TOKEN=dapi-0123")


def evaluated(text: str) -> list[str]:
    """What a real shell has in these variables after `eval`."""
    script = 'eval "$1"\nprintf "%s\\0%s" "$DATABRICKS_HOST" "$DATABRICKS_TOKEN"'
    done = subprocess.run(["sh", "-c", script, "sh", text], capture_output=True, check=True, env={})
    assert done.stderr == b""
    return done.stdout.decode(errors="surrogateescape").split("\0")


HOSTILE = [
    "$(id)",
    "`id`",
    "; id",
    "a b",
    "a'b",
    "'",
    "''",
    '"',
    "\\",
    "a\\'b",
    "$HOME",
    "!!",
    "*",
    "~",
    "&",
    "|",
    "#x",
]


@pytest.mark.parametrize("value", [*HOSTILE, "new\nline", "-n", "%s", "\t", "\x1b[2J", "Ünï", "x=y", ">file", "a\rb"])
def test_a_shell_takes_env_for_text_whatever_is_in_it(value: str) -> None:
    assert evaluated(FORMATS["env"](Token(value, host=value), NOW)) == [value, value]


def test_a_shell_takes_any_text_for_text() -> None:
    examples: list[tuple[str, str]] = []

    @settings(max_examples=50, deadline=None, derandomize=True, database=None)
    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
    def collect(value: str) -> None:
        examples.append((value, FORMATS["env"](Token(value, host=value), NOW)))

    collect()
    script = "".join(f'{text}\nprintf "%s\\0%s\\0" "$DATABRICKS_HOST" "$DATABRICKS_TOKEN"\n' for _, text in examples)
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True, env={})
    assert done.stdout.decode().split("\0")[:-1] == [value for value, _ in examples for _ in "ht"]


def test_a_password_does_not_fit_into_the_variable_of_a_token() -> None:
    with pytest.raises(Refused, match="^basic is no token that fits into DATABRICKS_TOKEN$") as refused:
        FORMATS["env"](BASIC, NOW)
    assert refused.value.hint == "dbx-auth token -o headers"


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_ends_its_last_line(form: str) -> None:
    # The command does, so that there is exactly one.
    assert not FORMATS[form](TOKEN, NOW).endswith("\n")


# ---- an error ------------------------------------------------------------------------------------------------------

ERRORS: list[tuple[Callable[..., AuthError], int, str, bool]] = [
    (AuthError, 1, "REFUSED", False),
    (Refused, 1, "REFUSED", False),
    (UsageError, 2, "USAGE", False),
    (LoginRequired, 4, "UNAUTHENTICATED", False),
    (lambda text, hint: NotConfigured(text, [], hint=hint), 4, "UNAUTHENTICATED", False),
    (ConfigError, 5, "CONFIG", False),
    (Temporary, 6, "TEMPORARY", True),
    (Unreachable, 6, "TEMPORARY", True),
    (InDoubt, 6, "TEMPORARY", True),
]


@pytest.mark.parametrize(("make", "exit_code", "error_code", "retryable"), ERRORS)
def test_every_error_has_an_exit_code_and_a_document(
    make: Callable[..., AuthError], exit_code: int, error_code: str, retryable: bool
) -> None:
    error = make("it went wrong: x", hint="dbx-auth login")
    assert isinstance(error, AuthError)
    assert (str(error), error.hint, error.exit_code) == ("it went wrong: x", "dbx-auth login", exit_code)
    written = json.loads(failure(error))
    assert list(written) == ["error_code", "message", "hint", "retryable"]
    assert written == {
        "error_code": error_code,
        "message": "it went wrong: x",
        "hint": "dbx-auth login",
        "retryable": retryable,
    }


@pytest.mark.parametrize("seconds", [0.0, 0.5, 90.0, 3600.0])
def test_how_long_the_server_wants_to_be_left_alone_is_in_the_document(seconds: float) -> None:
    written = json.loads(failure(Temporary("busy", hint="wait", retry_after=seconds)))
    assert list(written) == ["error_code", "message", "hint", "retryable", "retry_after"]
    assert written["retry_after"] == seconds


def test_the_document_of_an_error_is_ascii_whatever_a_server_said() -> None:
    assert failure(Refused("\x1b]52;c;\u202e\x9b\r", hint="Ünï")).isascii()


def test_the_end_of_the_chain_carries_its_attempts() -> None:
    tried = [Attempt("pat", "unavailable", "not set: token"), Attempt("basic", "failed", "no")]
    error = NotConfigured("no token", tried, hint="dbx-auth login")
    tried.clear()
    assert [attempt.auth_type for attempt in error.attempts] == ["pat", "basic"]
    assert isinstance(error, LoginRequired)


def test_not_me_is_no_error_that_a_caller_could_catch() -> None:
    assert not issubclass(Unavailable, AuthError)


# ---- a duration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.9, "0 s"),
        (1, "1 s"),
        (30, "30 s"),
        (99.9, "99 s"),
        (100, "2 min"),
        (2_820, "47 min"),
        (3_599, "60 min"),
        (3_600, "60 min"),
        (5_940, "99 min"),
        (6_000, "1 h 40 min"),
        (7_500, "2 h 5 min"),
        (7_200, "2 h 0 min"),
        (86_400, "24 h 0 min"),
        (172_740, "47 h 59 min"),
        (172_800, "2 days"),
        (31_536_000, "365 days"),
    ],
)
def test_a_duration_is_told_as_a_person_says_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(min_value=0, max_value=1e9))
@example(5_969.5)
@example(math.nextafter(172_800, 0))
def test_a_duration_is_never_far_off(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3_600, "days": 86_400}
    words = duration(seconds).split()
    told = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(told - seconds) <= (86_400 if "days" in words else 31 if "min" in words else 1)
