"""Whatever a server answers: a bounded number of requests, in bounded time and memory, and the login as it was."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cloud import Cloud, reply
from cloud.databricks import AWS
from cloud.ways import WAYS, go_inside
from hard.hostile import (
    CONFIG,
    DOCUMENT,
    ENDPOINTS,
    ME,
    TOKEN,
    Answer,
    Hostile,
    bomb,
    endless,
    refused,
    said,
    slow,
    tokens,
)
from machine import Machine, Result
from unit.stubs import http, nobody, reset, silence

from dbx_auth.tokens import format_expiry, parse_expiry

OLD, NEW = "old-access-c4nary", "new-access"
REFRESH = "old-refresh-c4nary"
LONG_AGO = "2020-01-01T00:00:00Z"
BUDGET, MARGIN = 30.0, 20.0
"""Seconds that a renewal may take, and those in which a loaded machine starts a program."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = tokens()


def login(machine: Machine, server: Hostile, *, life: float = 0) -> bytes:
    """A login of the Databricks CLI at this server that has ended, or has this much life left; what the file holds."""
    machine.env["DATABRICKS_HOST"] = server.url
    ends = format_expiry(time.time() + life) if life else LONG_AGO
    kept = machine.cached_login(server.url, access_token=OLD, refresh_token=REFRESH, expiry=ends, theirs="stays")
    return kept.read_bytes()


def entry(machine: Machine, server: Hostile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.cli_cache.read_text())["tokens"][server.url]
    return found


def check_told(result: Result, code: int) -> None:
    """One line and a hint, no secret and no traceback; nothing on stdout."""
    assert (result.code, result.out) == (code, ""), result
    check_harmless(result)
    assert [line.partition(":")[0] for line in result.err.splitlines()] == ["dbx-auth", "hint"], result.err


def check_harmless(result: Result) -> None:
    assert "Traceback" not in result.err and "mistake of ours" not in result.err, result.err
    for secret in (OLD, REFRESH, "new-refresh"):
        assert secret not in result.err and (secret == OLD or secret not in result.out)


def busy(status: str, *headers: str) -> bytes:
    return said({"error": "temporarily_unavailable"}, status, *headers)


# ---- the token endpoint: what it may say, and what that means --------------------------------------------------------


class Row(NamedTuple):
    """Answers of the token endpoint, the exit code, and how many requests it may see at most and must see at least."""

    answers: Answer | list[Answer]
    code: int
    most: int = 1
    least: int = 1


BROKEN: dict[str, Row] = {
    # Refused: an answer came, and asking again would spend the refresh token for nothing.
    "an error in a 200": Row(said({"error": "invalid_request", "error_description": "no"}), 1),
    "no access token": Row(tokens(access_token=...), 1),
    "an access token that is a number": Row(tokens(access_token=7), 1),
    "an access token of two words": Row(tokens(access_token="a b"), 1),
    "a token of another kind": Row(tokens(token_type="MAC"), 1),
    "an unknown client": Row(refused("invalid_client", status="401 Unauthorized"), 1),
    "403": Row(refused("access_denied", status="403 Forbidden"), 1),
    # A person has to log in.
    "invalid_grant in a 400": Row(refused("invalid_grant", "no"), 4),
    "invalid_grant in a 401": Row(refused("invalid_grant", "no", "401 Unauthorized"), 4),
    "invalid_grant in a 200": Row(said({"error": "invalid_grant"}), 4),
    "an invalid refresh token in a 400": Row(refused("invalid_request", "Refresh token is invalid"), 4),
    "an invalid refresh token in a 401": Row(refused("", "Refresh token is invalid.", "401 Unauthorized"), 4),
    # Turned away at the door: nothing was spent, and a few tries are harmless.
    "503 without a word": Row(busy("503 Service Unavailable"), 6, 4),
    "429 without a word": Row(busy("429 Too Many Requests"), 6, 4),
    # In doubt: nobody knows what was spent, and one more try is all there is.
    "500": Row(http(b"<h1>oops</h1>", "500 Internal Server Error"), 6, 2),
    "502": Row(http(b"", "502 Bad Gateway"), 6, 2),
    "504": Row(http(b"", "504 Gateway Timeout"), 6, 2),
    "server_error in a 400": Row(refused("server_error"), 6, 2),
    "a reset before the answer": Row(reset(b""), 6, 2),
    "a reset in the head": Row(reset(b"HTTP/1.1 200 OK\r\nContent-Le"), 6, 2),
    "a reset in the body": Row(reset(GOOD[:-20]), 6, 2),
    "a body that is shorter than it says": Row(GOOD.replace(b"Content-Length: ", b"Content-Length: 9"), 6, 2),
    "a body that is longer than it says": Row(
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + GOOD.partition(b"\r\n\r\n")[2], 6, 2
    ),
    "chunks that are none": Row(CHUNKED + b"xyz\r\n{}\r\n0\r\n\r\n", 6, 2),
    "a chunk without an end": Row(CHUNKED + b"FFFFFFFF\r\n{", 6, 2),
    "bytes that are no HTTP": Row(b"\x16\x03\x01\x00" + bytes(range(256)), 6, 2),
    "a status that is none": Row(b"HTTP/1.1 999999 OK\r\n\r\n", 6, 2),
    "a head without an end": Row(endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"), 6, 2),
    "truncated JSON": Row(http(b'{"access_token": "a'), 6, 2),
    "JSON of 100,000 levels": Row(http(b'{"a":' * 100_000), 6, 2),
    "a list of 100,000 levels": Row(http(b"[" * 100_000), 6, 2),
    "a list": Row(said([]), 6, 2),
    "a login page": Row(http(b"<!doctype html><title>Sign in</title>", "200 OK", "Content-Type: text/html"), 6, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_no_token_leaves_the_login_as_it_was(machine: Machine, name: str) -> None:
    row = BROKEN[name]
    with Hostile({TOKEN: row.answers}) as server:
        before = login(machine, server)
        started = time.monotonic()
        result = machine.run("token")
        assert time.monotonic() - started < BUDGET
    check_told(result, row.code)
    assert machine.cli_cache.read_bytes() == before
    assert row.least <= len(server.posts) <= row.most
    assert {post["refresh_token"] for post in server.posts} == {REFRESH}


@pytest.mark.parametrize("name", BROKEN)
def test_with_a_token_that_still_serves_the_same_answer_costs_nobody_anything(machine: Machine, name: str) -> None:
    row = BROKEN[name]
    with Hostile({TOKEN: row.answers}) as server:
        before = login(machine, server, life=200)
        result = machine.run("token")
    assert (result.code, result.out) == (0, f"{OLD}\n"), result
    assert "warning" in result.err
    check_harmless(result)
    assert machine.cli_cache.read_bytes() == before
    assert row.least <= len(server.posts) <= row.most


@pytest.mark.parametrize("name", [name for name, row in BROKEN.items() if row.code == 4])
def test_what_the_server_takes_no_longer_is_not_sent_again(machine: Machine, name: str) -> None:
    with Hostile({TOKEN: BROKEN[name].answers}) as server:
        login(machine, server)
        for _ in range(3):
            check_told(machine.run("token"), 4)
        check_told(machine.run("token", "--force-refresh"), 4)
    assert len(server.posts) == 1


@pytest.mark.parametrize("name", ["a reset in the body", "500", "truncated JSON", "503 without a word"])
def test_two_names_of_one_login_make_no_more_requests_than_one(machine: Machine, name: str) -> None:
    """The CLI writes a login under its profile and under its host; the refresh token in both is the same."""
    row = BROKEN[name]
    with Hostile({TOKEN: row.answers}) as server:
        login(machine, server)
        cache = json.loads(machine.cli_cache.read_text())
        cache["tokens"]["DEV"] = cache["tokens"][server.url]
        machine.write(machine.cli_cache, cache)
        machine.write(machine.config, f"[DEV]\nhost = {server.url}\nauth_type = databricks-cli\n")
        check_told(machine.run("token"), row.code)
    assert len(server.posts) <= row.most


@pytest.mark.parametrize("name", ["a reset in the body", "502", "truncated JSON", "a chunk without an end"])
def test_the_next_try_may_well_succeed(machine: Machine, name: str) -> None:
    answer = BROKEN[name].answers
    assert not isinstance(answer, list)
    with Hostile({TOKEN: [answer, GOOD]}) as server:
        login(machine, server)
        result = machine.run("token")
        if result.code == 6:  # the one try that it had is spent: the next run has another
            result = machine.run("token")
        assert (result.code, result.out) == (0, f"{NEW}\n"), result
        assert entry(machine, server)["refresh_token"] == "new-refresh"
    assert len(server.posts) == 2


# ---- a token, of a kind ----------------------------------------------------------------------------------------------

HOUR = (3_000, 3_600)
ENDS_OF_TIME = (10**8, 10**11)
ENDED = (-100, 1)

LIVES: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "as it should be": ({}, HOUR),
    "seconds in a string": ({"expires_in": "3600"}, HOUR),
    "seconds with a fraction": ({"expires_in": 3599.5}, HOUR),
    "no word of its end": ({"expires_in": ...}, HOUR),
    "null": ({"expires_in": None}, HOUR),
    "a word": ({"expires_in": "soon"}, HOUR),
    "a list": ({"expires_in": [3600]}, HOUR),
    "not a number": ({"expires_in": float("nan")}, HOUR),
    "1e18": ({"expires_in": 10**18}, ENDS_OF_TIME),
    "infinity": ({"expires_in": float("inf")}, ENDS_OF_TIME),
    "0": ({"expires_in": 0}, ENDED),
    "-1": ({"expires_in": -1}, ENDED),
    "-1e18": ({"expires_in": -(10**18)}, ENDED),
    "no refresh token": ({"refresh_token": ...}, HOUR),
    "an empty refresh token": ({"refresh_token": ""}, HOUR),
    "a refresh token that is null": ({"refresh_token": None}, HOUR),
    "a refresh token that is a number": ({"refresh_token": 5}, HOUR),
    "no kind": ({"token_type": ...}, HOUR),
    "a kind in other letters": ({"token_type": "bearer"}, HOUR),
    "another life after it": ({"expires_in": 3600, "refresh_token": "new-refresh", "surprise": [{}]}, HOUR),
}


@pytest.mark.parametrize("name", LIVES)
def test_what_the_server_gives_is_kept_even_if_it_is_odd(machine: Machine, name: str) -> None:
    fields, (least, most) = LIVES[name]
    with Hostile({TOKEN: tokens(**fields)}) as server:
        login(machine, server)
        result = machine.run("token")
        kept = entry(machine, server)
    if most < 10:
        check_told(result, 1)
    else:
        assert (result.code, result.out, result.err) == (0, f"{NEW}\n", "")
    assert kept["access_token"] == NEW and kept["theirs"] == "stays"
    given = fields.get("refresh_token", "new-refresh")
    assert kept["refresh_token"] == (given if isinstance(given, str) and given else REFRESH)
    ends = parse_expiry(kept["expiry"])
    assert ends is not None and least <= ends - time.time() <= most
    assert len(server.posts) == 1


def test_a_head_of_64_kib_is_read_past(machine: Machine) -> None:
    padding = [f"X-Padding-{n}: {'p' * 1000}" for n in range(64)]
    body = GOOD.partition(b"\r\n\r\n")[2]
    with Hostile({TOKEN: http(body, "200 OK", *padding)}) as server:
        login(machine, server)
        assert machine.run("token") == (0, f"{NEW}\n", "")
        assert entry(machine, server)["refresh_token"] == "new-refresh"
    assert len(server.posts) == 1


# ---- later, please ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("said_as", ["seconds", "a date"])
def test_a_server_that_is_busy_for_two_seconds_is_waited_for(machine: Machine, status: str, said_as: str) -> None:
    when = "2" if said_as == "seconds" else formatdate(time.time() + 3, usegmt=True)
    with Hostile({TOKEN: [busy(status, f"Retry-After: {when}"), GOOD]}) as server:
        login(machine, server)
        assert machine.run("token") == (0, f"{NEW}\n", "")
        assert entry(machine, server)["refresh_token"] == "new-refresh"
    (gap,) = server.gaps()
    assert gap >= (2 if said_as == "seconds" else 1) and gap < BUDGET


def far(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


LATER: dict[str, tuple[str, int | None]] = {
    "an hour": ("3600", 3600),
    "longer than a renewal may take": ("31", 31),
    "a date an hour ahead": ("+3600", 3600),
    "a date of next year": ("+31000000", 31_000_000),
    "a negative number": ("-5", None),
    "a fraction": ("2.5", None),
    "a word": ("soon", None),
    "nothing": ("", None),
    "a number with 5000 digits": ("9" * 5000, None),
    "a number of another script": ("\u0662", None),
    "a date that no calendar has": ("Wed, 99 Xxx 2026 99:99:99 GMT", None),
    "escapes": ("\x1b]52;c;YQ==\x07", None),
}


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("name", LATER)
def test_a_server_that_is_busy_for_longer_is_not_waited_for(machine: Machine, name: str, status: str) -> None:
    value, seconds = LATER[name]
    value = far(float(value)) if value.startswith("+") else value
    answer = busy(status).replace(b"\r\n\r\n", b"\r\nRetry-After: " + value.encode() + b"\r\n\r\n", 1)
    with Hostile({TOKEN: answer}) as server:
        before = login(machine, server)
        started = time.monotonic()
        result = machine.run("token", "-o", "json")
        took = time.monotonic() - started
        plain = machine.run("token")
    check_told(plain, 6)
    assert took < 20, "that was a sleep"
    told = result.json()
    assert (result.code, told["error_code"], told["retryable"]) == (6, "TEMPORARY", True)
    assert told["hint"] and told["hint"] in result.err
    if seconds is not None:
        assert seconds - 60 <= told["retry_after"] <= seconds
    else:
        assert told.get("retry_after") is None
    assert len(server.posts) == 2, "once for each run"
    assert machine.cli_cache.read_bytes() == before


def test_a_date_that_has_passed_is_no_reason_to_hurry(machine: Machine) -> None:
    """A server whose clock is behind, or ours that is ahead: a few tries, and not one right after the other."""
    with Hostile({TOKEN: busy("503 Service Unavailable", f"Retry-After: {far(-3600)}")}) as server:
        before = login(machine, server)
        check_told(machine.run("token"), 6)
    assert len(server.posts) <= 4 and all(gap >= 0.5 for gap in server.gaps())
    assert machine.cli_cache.read_bytes() == before


def test_a_server_that_is_always_busy_for_a_moment_uses_up_its_time(machine: Machine) -> None:
    with Hostile({TOKEN: busy("429 Too Many Requests", "Retry-After: 1")}) as server:
        before = login(machine, server)
        started = time.monotonic()
        check_told(machine.run("token"), 6)
        assert time.monotonic() - started < BUDGET + MARGIN
    assert machine.cli_cache.read_bytes() == before
    assert len(server.posts) <= 4 and all(gap >= 1 for gap in server.gaps())


# ---- elsewhere, please -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
@pytest.mark.parametrize("where", ["the same origin", "another origin", "a scheme of its own", "nowhere"])
def test_a_redirect_is_not_followed_and_the_refresh_token_goes_no_further(
    machine: Machine, status: str, where: str
) -> None:
    with Hostile({"/elsewhere": GOOD}) as other, Hostile({"/elsewhere": GOOD}) as server:
        place = {  # one that is no URL is not even an answer to the library that reads it
            "the same origin": "/elsewhere",
            "another origin": f"{other.url}/elsewhere",
            "a scheme of its own": "file:///etc/passwd",
            "nowhere": "http://[::1/\x1b[31m",
        }[where]
        with Hostile({TOKEN: http(GOOD, f"{status} Moved", f"Location: {place}"), "/elsewhere": GOOD}) as server:
            before = login(machine, server)
            check_told(machine.run("token"), 6 if where == "nowhere" else 1)
        assert other.asked == []
    assert len(server.posts) <= (2 if where == "nowhere" else 1)
    assert not [asked for asked in server.asked if asked.path == "/elsewhere"]
    assert machine.cli_cache.read_bytes() == before


# ---- discovery -------------------------------------------------------------------------------------------------------

DISCOVERY: dict[str, Answer] = {
    "a bomb": bomb(64 << 20),
    "an endless body": endless(),
    "a reset": reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "chunks that are none": CHUNKED + b"xyz\r\n",
    "JSON of 100,000 levels": http(b'{"oidc_endpoint":' * 100_000),
    "a list": said(["https://evil.example"]),
    "numbers": said({"oidc_endpoint": 7, "token_endpoint": 7, "account_id": [], "issuer": {}}),
    "a login page": http(b"<!doctype html>"),
    "503 for an hour": busy("503 Service Unavailable", "Retry-After: 3600"),
    "a redirect": http(b"", "302 Found", "Location: https://evil.example/"),
    "bytes that are no HTTP": bytes(range(256)),
}


@pytest.mark.parametrize("name", DISCOVERY)
def test_a_discovery_that_cannot_be_understood_is_done_without(machine: Machine, name: str) -> None:
    with Hostile({CONFIG: DISCOVERY[name], DOCUMENT: DISCOVERY[name], TOKEN: GOOD}) as server:
        login(machine, server)
        assert machine.run("token") == (0, f"{NEW}\n", "")
    assert len(server.posts) == 1


@pytest.mark.parametrize("document", [CONFIG, DOCUMENT])
@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/oidc",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "http://user:password@127.0.0.1/oidc",
        "//evil.example/oidc",
        "https://evil.example\r\nX: y/oidc",
        "\u202ehttps://evil.example",
    ],
)
def test_an_endpoint_elsewhere_gets_nothing(machine: Machine, document: str, place: str) -> None:
    with Hostile({document: said({"oidc_endpoint": place, "token_endpoint": place}), TOKEN: GOOD}) as server:
        before = login(machine, server)
        check_told(machine.run("token"), 5)
    assert server.posts == [] and machine.cli_cache.read_bytes() == before


# ---- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(150)
def test_answers_that_drip_are_given_up_when_time_is_up(machine: Machine, tmp_path: Path) -> None:
    """A byte a second from the token endpoint, from discovery and from the list of who we are, all at the same time."""
    drip = slow(GOOD, 1.0)
    silent = Hostile({TOKEN: silence})
    dripping = Hostile({TOKEN: drip})
    undiscovered = Hostile({CONFIG: drip, DOCUMENT: drip, TOKEN: GOOD})
    nameless = Hostile({ME: drip, TOKEN: GOOD})
    cases = {"silent": silent, "dripping": dripping, "undiscovered": undiscovered, "nameless": nameless}
    homes: dict[str, Machine] = {}
    children: dict[str, subprocess.Popen[str]] = {}
    took: dict[str, float] = {}
    with silent, dripping, undiscovered, nameless:
        started = time.monotonic()
        for name, server in cases.items():
            (home := tmp_path / name).mkdir()
            homes[name] = Machine(home, machine._capture)
            login(homes[name], server)
            verb = "status" if name == "nameless" else "token"
            children[name] = subprocess.Popen(
                [sys.executable, "-m", "dbx_auth", verb],
                env=homes[name].child_env(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            results = {}
            for name in ("undiscovered", "nameless", "silent", "dripping"):
                out, err = children[name].communicate(timeout=BUDGET + 2 * MARGIN)
                results[name] = Result(children[name].returncode, out, err)
                took[name] = time.monotonic() - started
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    for name in ("silent", "dripping"):
        check_told(results[name], 6)
        assert took[name] < BUDGET + MARGIN, "both tries share one budget"
        assert 1 <= len(cases[name].posts) <= 2
        assert entry(homes[name], cases[name])["refresh_token"] == REFRESH
    assert results["undiscovered"][:2] == (0, f"{NEW}\n") and took["undiscovered"] < BUDGET
    assert results["nameless"].code == 6 and took["nameless"] < BUDGET
    check_harmless(results["nameless"])
    assert entry(homes["nameless"], nameless)["refresh_token"] == "new-refresh"
    sys.stdout.write(f"{ {name: round(seconds, 1) for name, seconds in took.items()} }\n")


# ---- memory ----------------------------------------------------------------------------------------------------------

GROWTH = 20 << 10
"""Kilobytes that the worst answer may take more than a good one."""

MEASURED = """
import os, sys
{before}
from dbx_auth import cli
code = cli.run(sys.argv[2:])
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
with open(sys.argv[1], "w") as file:
    file.write(peak)
sys.stdout.flush()
os._exit(code)
"""

CARELESS = """
import httpx
from dbx_auth import world

def careless(self, method, url, *, headers=None, form=None, content=None, budget=30.0, limit=0, **more):
    answer = httpx.request(method, url, headers=headers, data=form, content=content, timeout=budget, trust_env=False)
    return world.Response(url, answer.status_code, dict(answer.headers), answer.content)

world.Http.__call__ = careless
"""

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")


def measured(machine: Machine, *argv: str, before: str = "") -> tuple[Result, int]:
    """How a run of its own process went, and the most kilobytes that were resident."""
    peak = machine.home.parent / "peak"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(before=before), str(peak), *argv],
        env=machine.child_env(),
        capture_output=True,
        text=True,
        timeout=BUDGET + MARGIN,
    )
    return Result(done.returncode, done.stdout, done.stderr), int(peak.read_text())


def good(machine: Machine, *verbs: str) -> dict[str, int]:
    """What the same commands take with a server that answers as it should."""
    found = {}
    endpoints = said({"endpoints": []})
    with Hostile({TOKEN: GOOD, ME: said({"userName": "alice"}), ENDPOINTS: endpoints}) as server:
        for verb in verbs:
            login(machine, server)
            result, found[verb] = measured(machine, verb)
            assert result.code == 0, result
    return found


def in_one_chunk(answer: bytes) -> bytes:
    """The same answer in a chunk that says how large it is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"%x" % len(body), body, b"0", b"", b""])


LARGE: dict[str, Callable[[], Answer]] = {
    "a bomb": lambda: bomb(300 << 20),
    "a bomb in one chunk": lambda: in_one_chunk(bomb(300 << 20)),
    "an endless body": endless,
    "an endless text": lambda: endless(b'HTTP/1.1 200 OK\r\n\r\n{"access_token": "'),
    "endless chunks": lambda: endless(CHUNKED, b"10000\r\n" + b"y" * 65_536 + b"\r\n"),
    "endless chunks of a byte": lambda: endless(CHUNKED, b"1\r\ny\r\n" * 10_000),
    "an endless head": lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 60_000 + b"\r\n"),
    "an endless line": lambda: endless(b"HTTP/1.1 200 OK\r\nX-A: "),
    "an endless refusal": lambda: endless(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "JSON of 100,000 levels": lambda: http(b'{"a":' * 100_000),
    "a list of 300,000 numbers": lambda: http(b"[" + b"1," * 300_000 + b"1]"),
}


@needs_proc
@pytest.mark.timeout(300)
def test_no_answer_of_any_endpoint_takes_more_than_20_mb(machine: Machine) -> None:
    grown: dict[str, int] = {}
    peaks = good(machine, "token", "status", "models")
    for name, make in LARGE.items():
        with Hostile({TOKEN: make()}) as server:
            before = login(machine, server)
            result, peak = measured(machine, "token")
        grown[f"token endpoint: {name}"] = peak - peaks["token"]
        assert result.code in (1, 6) and len(server.posts) <= 2, (name, result)
        check_told(result, result.code)
        assert machine.cli_cache.read_bytes() == before
    for name in ("a bomb", "an endless body"):
        answer = LARGE[name]()
        with Hostile({CONFIG: answer, DOCUMENT: answer, TOKEN: GOOD}) as server:
            login(machine, server)
            result, peak = measured(machine, "token")
            grown[f"discovery: {name}"] = peak - peaks["token"]
            assert result[:2] == (0, f"{NEW}\n") and len(server.posts) == 1
        with Hostile({ME: answer, ENDPOINTS: answer, TOKEN: GOOD}) as server:
            for verb in ("status", "models"):
                login(machine, server)
                result, peak = measured(machine, verb)
                grown[f"{verb}: {name}"] = peak - peaks[verb]
                assert result.code != 0, (verb, name, result)
                check_harmless(result)
    sys.stdout.writelines(f"{kilobytes / 1024:7.1f} MB more  {name}\n" for name, kilobytes in grown.items())
    assert {name: kilobytes for name, kilobytes in grown.items() if kilobytes >= GROWTH} == {}


@needs_proc
def test_without_the_door_the_same_answers_take_far_more(machine: Machine) -> None:
    """The negative control of the test above: it is our own way out that keeps memory bounded."""
    usual = good(machine, "token")["token"]
    for name, least in (("a bomb", 250 << 10), ("an endless body", 50 << 10)):
        with Hostile({TOKEN: LARGE[name]()}) as server:
            login(machine, server)
            _, peak = measured(machine, "token", before=CARELESS)
        assert peak - usual > max(least, GROWTH), name


def test_a_body_in_an_encoding_that_was_not_asked_for_is_refused_and_not_undone(machine: Machine) -> None:
    body = gzip.compress(GOOD.partition(b"\r\n\r\n")[2])
    with Hostile({TOKEN: http(body, "200 OK", "Content-Encoding: gzip")}) as server:
        before = login(machine, server)
        result = machine.run("token")
    check_told(result, result.code)
    assert result.code in (1, 6) and len(server.posts) <= 2
    assert all(asked.headers["accept-encoding"] == "identity" for asked in server.asked)
    assert machine.cli_cache.read_bytes() == before


# ---- proxies, certificates, netrc ------------------------------------------------------------------------------------

PASSWORD = "pr0xy-passw0rd-c4nary"


def through(proxy: str, user: str = "someone") -> dict[str, str]:
    url = proxy.replace("http://", f"http://{user}:{PASSWORD}@")
    return {"HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": "", "no_proxy": ""}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(b"who are you, %s?" % PASSWORD.encode(), "407 Proxy Authentication Required"), 6),
        (http(b"", f"502 no way for someone:{PASSWORD}"), 6),
        (reset(b""), 6),
        (b"HTTP/1.1 200 Connection established\r\n\r\nthis is not TLS", 6),
        (bytes(range(256)), 6),
    ],
)
def test_a_proxy_is_used_for_https_and_its_password_is_never_told(machine: Machine, answer: Answer, code: int) -> None:
    with Hostile({"dev.cloud.databricks.com:443": answer}) as proxy:
        machine.env.update(through(proxy.url), DATABRICKS_HOST=AWS)
        machine.cached_login(AWS, access_token=OLD, refresh_token=REFRESH, expiry=LONG_AGO)
        before = machine.files()
        results = [machine.spawn("-v", "token"), machine.spawn("token", "-o", "json"), machine.spawn("status")]
    assert {asked.method for asked in proxy.asked} == {"CONNECT"}
    assert all(asked.headers.get("proxy-authorization", "").startswith("Basic ") for asked in proxy.asked)
    assert {result.code for result in results} <= {1, code}
    secret = proxy.asked[0].headers["proxy-authorization"].removeprefix("Basic ")
    for result in results:
        assert PASSWORD not in result.err + result.out and secret not in result.err + result.out
        check_harmless(result)
    assert {path: data for path, data in machine.files().items() if path in before} == before


@pytest.mark.parametrize(
    "proxy", ["http://someone:{}@127.0.0.1:1", "http://someone:{}@nowhere.invalid:1", "ftp://{}@x", "http://{}@[::1"]
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(machine: Machine, proxy: str) -> None:
    machine.env.update(HTTPS_PROXY=proxy.format(PASSWORD), DATABRICKS_HOST=AWS)
    machine.cached_login(AWS, access_token=OLD, refresh_token=REFRESH, expiry=LONG_AGO)
    for argv in (["-v", "token"], ["token", "-o", "json"], ["status"]):
        result = machine.spawn(*argv)
        assert result.code in (5, 6, 4), result
        assert PASSWORD not in result.err + result.out
        check_harmless(result)


def test_loopback_is_asked_without_a_proxy(machine: Machine) -> None:
    with Hostile({}) as proxy, Hostile({TOKEN: GOOD}) as server:
        login(machine, server)
        machine.env.update(through(proxy.url), HTTP_PROXY=proxy.url, http_proxy=proxy.url, ALL_PROXY=proxy.url)
        assert machine.spawn("token")[:2] == (0, f"{NEW}\n")
    assert proxy.asked == []


NETRC_MACHINES = "".join(
    f"machine {name} login netrc-user password {PASSWORD}\n" for name in ("127.0.0.1", AWS.removeprefix("https://"))
)


def test_netrc_is_nobodys_business(machine: Machine, cloud: Cloud) -> None:
    """httpx reads it only when it is asked to; `requests`, which google-auth brings, would send it everywhere."""
    WAYS["databricks-cli"](machine, cloud)
    go_inside(machine, cloud)
    machine.env["NETRC"] = str(machine.write(machine.home / ".netrc", NETRC_MACHINES))
    assert machine.spawn("token", "-v").code in (0, 2)
    assert machine.spawn("token").code == 0 and machine.spawn("status").code == 0
    posts = [asked for asked in cloud.log if asked.method == "POST"]
    assert posts and not [asked for asked in posts if "authorization" in asked.headers]
    assert not [asked for asked in cloud.log if asked.headers.get("authorization", "").startswith("Basic")]
    machine.env.pop("DATABRICKS_HOST")
    with Hostile({TOKEN: GOOD}) as server:
        login(machine, server)
        assert machine.spawn("token").code == 0
    assert server.posts and not [asked for asked in server.asked if "authorization" in asked.headers]


def test_a_server_whose_certificate_nobody_trusts_gets_nothing(machine: Machine, cloud: Cloud, tmp_path: Path) -> None:
    WAYS["databricks-cli"](machine, cloud)
    go_inside(machine, cloud)
    before = machine.files()
    trusted = {name: machine.env.pop(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    result = machine.spawn("token")
    check_told(result, 1)
    assert "certificate" in result.err and "SSL_CERT_FILE" in result.err
    with Cloud(tmp_path / "another") as another:
        result = machine.spawn("token", SSL_CERT_FILE=another.env["SSL_CERT_FILE"])
    check_told(result, 1)
    result = machine.spawn("token", SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    check_told(result, 5)
    result = machine.spawn("token", SSL_CERT_FILE=str(machine.write(machine.home / "ca.pem", "not a certificate")))
    check_told(result, 5)
    (machine.home / "ca.pem").unlink()
    assert cloud.log == [] and {p: d for p, d in machine.files().items() if p in before} == before
    assert machine.spawn("token", SSL_CERT_FILE=trusted["SSL_CERT_FILE"]).code == 0


def test_a_host_that_answers_for_another_name_gets_nothing(machine: Machine, cloud: Cloud) -> None:
    """The proxy leads elsewhere: its certificate is good, for another name."""
    WAYS["databricks-cli"](machine, cloud)
    go_inside(machine, cloud)
    elsewhere = cloud._wire.tls("evil.example")
    cloud._wire._contexts[AWS.removeprefix("https://")] = elsewhere
    result = machine.spawn("token")
    check_told(result, 1)
    assert "certificate" in result.err and cloud.log == []


def test_a_server_that_is_away_costs_no_request_and_no_login(machine: Machine) -> None:
    with nobody() as url:
        machine.env["DATABRICKS_HOST"] = url
        before = machine.cached_login(url, access_token=OLD, refresh_token=REFRESH, expiry=LONG_AGO).read_bytes()
        started = time.monotonic()
        check_told(machine.run("token"), 6)
        assert time.monotonic() - started < BUDGET
    assert machine.cli_cache.read_bytes() == before


def test_an_echo_of_what_was_sent_is_masked(machine: Machine, cloud: Cloud) -> None:
    WAYS["databricks-cli"](machine, cloud)
    go_inside(machine, cloud)
    cloud.override(
        "*/oidc/v1/token", lambda asked: reply({"error": "invalid_request", "error_description": str(asked.form)}, 400)
    )
    result = machine.spawn("-v", "token")
    sent = next(asked.form["refresh_token"] for asked in cloud.log if asked.method == "POST")
    assert result.code == 1 and sent not in result.err and "***" in result.err
