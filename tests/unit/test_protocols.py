"""The protocols in which other programs ask: which host a request is about, however it looks, and what is said."""

from __future__ import annotations

import json
from datetime import datetime
from urllib.parse import urlsplit

import httpx
import pytest
import urllib3
from hypothesis import example, given, strategies as st
from machine import HOST, OTHER

from dbx_auth import hosts, protocols
from dbx_auth.errors import Refused, UsageError
from dbx_auth.tokens import Token

NAME = HOST.removeprefix("https://")
NOW = 1_700_000_000.0
TOKEN = Token("t-secret", NOW + 3600, "databricks-cli", "the cache", HOST)
KEY = Token("dapi-secret", None, "pat", "env DATABRICKS_TOKEN", HOST)
BASIC = Token("dXNlcjpwdw==", None, "basic", "settings", HOST, token_type="Basic")

# ---- whose address it is ---------------------------------------------------------------------------------------------

OURS = {
    "plain": HOST,
    "slash": f"{HOST}/",
    "path": f"{HOST}/api/2.0/mcp/functions/system/ai",
    "query": f"{HOST}?o=1",
    "fragment": f"{HOST}#there",
    "port": f"{HOST}:443/x",
    "upper case": f"HTTPS://{NAME.upper()}/X",
    "at in the path": f"{HOST}/@evil.com",
    "another in the path": f"{HOST}//evil.com",
    "another in the query": f"{HOST}/?next=https://evil.com",
}
FOREIGN = {
    "nothing": "",
    "another": OTHER,
    "not encrypted": f"http://{NAME}",
    "another protocol": f"grpcs://{NAME}",
    "no protocol": NAME,
    "only slashes": f"//{NAME}",
    "backslashes": f"https:\\\\{NAME}",
    "ours in front": f"{HOST}.evil.com",
    "ours at the end": f"https://evil-{NAME}",
    "ours as a label": f"https://{NAME.split('.')[0]}.evil.com",
    "ours as the user": f"https://{NAME}@evil.com",
    "ours as user and password": f"https://{NAME}:443@evil.com",
    "a user": f"https://me@{NAME}",
    "a user and a password": f"https://me:pw@{NAME}",
    "an empty user": f"https://@{NAME}",
    "backslash and at": f"https://evil.com\\@{NAME}",
    "at and backslash": f"{HOST}\\@evil.com",
    "ours in the path": f"https://evil.com/{HOST}",
    "ours in the query": f"https://evil.com?{HOST}",
    "ours in the fragment": f"https://evil.com#@{NAME}",
    "dot at the end": f"{HOST}./",
    "another port": f"{HOST}:8443",
    "no port": f"{HOST}:",
    "port with a zero": f"{HOST}:0443",
    "letter of another script": f"https://d\u0435v.{NAME.partition('.')[2]}",
    "Kelvin sign": HOST.replace("k", "\u212a"),
    "full width dot": HOST.replace(".", "\uff0e"),
    "soft hyphen": f"https://d\u00adev.{NAME.partition('.')[2]}",
    "encoded dot": HOST.replace(".", "%2e"),
    "encoded slash": f"{HOST}%2f.evil.com",
    "encoded NUL": f"{HOST}%00.evil.com",
    "NUL": f"{HOST}\x00.evil.com",
    "newline": f"{HOST}\n",
    "newline within": f"https://evil.com/\n{HOST}",
    "carriage return": f"{HOST}\r",
    "tab within": f"https://de\tv.{NAME.partition('.')[2]}",
    "space": f" {HOST}",
    "space at the end": f"{HOST} ",
    "not a name": "https://",
    "not a scheme": f"https:{NAME}",
    "javascript": f"javascript:{HOST}",
    "long": f"{HOST}/{'x' * 70_000}\n",
}


@pytest.mark.parametrize("url", OURS.values(), ids=OURS.keys())
def test_what_leads_to_the_host_is_for_it(url: str) -> None:
    assert protocols.host_of(url) == HOST


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_only_looks_like_the_host_is_not_for_it(url: str) -> None:
    assert protocols.host_of(url) != HOST


@pytest.mark.parametrize("url", ["http://127.0.0.1:80/x", "http://127.0.0.1", "HTTP://127.0.0.1:80"])
def test_on_loopback_nothing_need_be_encrypted(url: str) -> None:
    assert protocols.host_of(url) == "http://127.0.0.1"
    assert protocols.host_of("http://127.0.0.1.evil.com") == protocols.host_of("ftp://127.0.0.1") == ""


PIECES = [
    "https",
    "http",
    ":",
    "/",
    "//",
    "@",
    "\\",
    ".",
    "?",
    "#",
    "%2f",
    "%00",
    "\x00",
    "\n",
    "\r",
    "\t",
    " ",
    "[",
    "]",
]
PIECES += [
    NAME,
    NAME.upper(),
    "evil.com",
    ":443",
    ":80",
    "\u0435",
    "\uff0e",
    "\u3002",
    "\u00ad",
    "me:pw@",
    "://",
    "..",
    HOST,
]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


def read_by_others(url: str) -> set[tuple[str, str, int]]:
    """Where three other libraries would send a request to this address."""
    one, two, three = urlsplit(url), httpx.URL(url), urllib3.util.parse_url(url)
    ports = {"https": 443, "http": 80}
    return {
        (one.scheme, one.hostname or "", one.port or ports[one.scheme]),
        (two.scheme, two.host, two.port or ports[two.scheme]),
        (three.scheme or "", (three.host or "").lower(), three.port or ports[three.scheme or ""]),
    }


@given(HOSTILE | HOSTILE.map(lambda text: HOST + text) | HOSTILE.map(lambda text: f"https://{text}"))
@example(f"{HOST}\\@evil.com")
@example(f"https://me@{NAME}")
def test_nobody_else_reads_another_host_where_we_read_ours(url: str) -> None:
    if protocols.host_of(url) == HOST:
        assert read_by_others(url) == {("https", NAME, 443)}
        assert "@" not in url.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]


# ---- Bazel -----------------------------------------------------------------------------------------------------------


def test_bazel_asks_about_a_uri() -> None:
    assert protocols.bazel_host(json.dumps({"uri": f"{HOST}/path", "more": [1]}).encode()) == HOST


NO_REQUESTS = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"uri": 1}',
    b'{"uri": null}',
    b"https://x",
    b"\xff\xfe{\x00",
    b"[" * 20_000,
]


@pytest.mark.parametrize("request_", NO_REQUESTS, ids=lambda request: repr(request[:8]))
def test_what_is_no_request_of_bazel_is_wrong_usage(request_: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        protocols.bazel_host(request_)
    assert "xff" not in str(caught.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: json.dumps({"uri": text}).encode()))
def test_bazel_gets_a_host_or_an_error_and_never_ours_by_chance(request_: bytes) -> None:
    try:
        assert protocols.bazel_host(request_) != HOST
    except UsageError:
        pass


def test_the_answer_for_bazel_has_lists_of_headers_and_a_time() -> None:
    token = Token("t", NOW + 3600, host=HOST, extra={"X-Databricks-Workspace-Id": "1"})
    answer = json.loads(protocols.bazel(token, NOW))
    assert answer == {
        "headers": {"Authorization": ["Bearer t"], "X-Databricks-Workspace-Id": ["1"]},
        "expires": "2023-11-14T23:12:40Z",
    }
    assert datetime.fromisoformat(answer["expires"]).timestamp() == NOW + 3600 - 40, "a request takes time"


def test_a_key_that_never_ends_has_no_time() -> None:
    assert json.loads(protocols.bazel(KEY, NOW)) == {"headers": {"Authorization": ["Bearer dapi-secret"]}}


# ---- git -------------------------------------------------------------------------------------------------------------


def lines(**fields: str) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode()


ASKED = {
    "plain": lines(protocol="https", host=NAME),
    "empty line": lines(protocol="https", host=NAME) + b"\n",
    "after the empty line": lines(protocol="https", host=NAME) + b"\nhost=evil.com\n",
    "port": lines(protocol="https", host=f"{NAME}:443"),
    "path": lines(protocol="https", host=NAME, path="caf\udce9.git".encode(errors="surrogateescape").decode("latin-1")),
    "path that is no UTF-8": lines(protocol="https", host=NAME) + b"path=caf\xe9.git\n",
    "user": lines(protocol="https", host=NAME, username="token"),
    "what is new": b"capability[]=authtype\ncapability[]=state\n" + lines(protocol="https", host=NAME),
    "upper case": lines(protocol="HTTPS", host=NAME.upper()),
}
NOT_ASKED = {
    "nothing": b"",
    "no host": lines(protocol="https"),
    "no protocol": lines(host=NAME),
    "empty host": lines(protocol="https", host=""),
    "not encrypted": lines(protocol="http", host=NAME),
    "ssh": lines(protocol="ssh", host=NAME),
    "another": lines(protocol="https", host="github.com"),
    "another user": lines(protocol="https", host=NAME, username="ada@example.com"),
    "no user": lines(protocol="https", host=NAME, username=""),
    "slash that was encoded": lines(protocol="https", host=f"{NAME}/.evil.com"),
    "question mark": lines(protocol="https", host=f"{NAME}?.evil.com"),
    "hash": lines(protocol="https", host=f"{NAME}#.evil.com"),
    "path in the host": lines(protocol="https", host=f"{NAME}/x"),
    "slash at the end": lines(protocol="https", host=f"{NAME}/"),
    "user in the host": lines(protocol="https", host=f"me@{NAME}"),
    "protocol and host in one": lines(protocol=f"https://{NAME}/", host="evil.com"),
    "two hosts": lines(protocol="https", host=NAME) + lines(host="evil.com"),
    "two hosts, ours last": lines(protocol="https", host="evil.com") + lines(host=NAME),
    "the same twice": lines(protocol="https", host=NAME) * 2,
    "behind the empty line": b"\n" + lines(protocol="https", host=NAME),
    "behind a comment": lines(protocol="https", host=f"evil.com\r{NAME}"),
    "NUL": lines(protocol="https", host=f"{NAME}\x00evil.com"),
    "CR at the end": lines(protocol="https", host=f"{NAME}\r"),
    "dot at the end": lines(protocol="https", host=f"{NAME}."),
    "not UTF-8": b"protocol=https\nhost=\xff\xfe" + NAME.encode() + b"\n",
    "no equals sign": f"protocol=https\nhost {NAME}\n".encode(),
    "spaces": f"protocol = https\nhost = {NAME}\n".encode(),
}


@pytest.mark.parametrize("request_", ASKED.values(), ids=ASKED.keys())
def test_git_asks_about_a_host(request_: bytes) -> None:
    assert protocols.git_host(request_) == HOST


@pytest.mark.parametrize("request_", NOT_ASKED.values(), ids=NOT_ASKED.keys())
def test_what_git_asks_about_others_is_not_about_ours(request_: bytes) -> None:
    assert protocols.git_host(request_) != HOST


VALUES = st.sampled_from([NAME, "https", "token", f"{NAME}/", "evil.com", ""]) | HOSTILE
PAIRS = st.tuples(st.sampled_from(["protocol", "host", "username", "path", "url", "capability[]"]), VALUES)


@given(st.lists(PAIRS, max_size=6).map(lambda pairs: "".join(f"{n}={v}\n" for n, v in pairs)))
@example(f"protocol=https\nhost={NAME}/\n")
def test_git_gets_our_host_only_where_its_lines_say_no_other(request_: str) -> None:
    if protocols.git_host(request_.encode(errors="replace")) == HOST:
        first = request_.partition("\n\n")[0].lower().split("\n")
        said = {line for line in first if line.startswith(("host=", "protocol=", "username="))}
        assert said <= {f"host={NAME}", f"host={NAME}:443", "protocol=https", "username=token"}


def test_git_gets_a_user_a_password_and_a_time() -> None:
    assert protocols.git(TOKEN) == f"username=token\npassword=t-secret\npassword_expiry_utc={int(NOW) + 3560}"
    assert protocols.git(KEY) == "username=token\npassword=dapi-secret"


# ---- keyring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [NAME, f"{NAME}:443", HOST, f"{HOST}/simple/", f"{HOST}:443/simple?x=y"])
@pytest.mark.parametrize("user", ["token", None])
def test_pip_and_uv_ask_by_address_and_by_name(service: str, user: str | None) -> None:
    assert protocols.keyring_host(service, user) == HOST


@pytest.mark.parametrize(
    "service", [s for s in FOREIGN.values() if s != NAME], ids=[n for n in FOREIGN if n != "no protocol"]
)
def test_what_they_ask_about_others_is_not_about_ours(service: str) -> None:
    assert protocols.keyring_host(service, "token") != HOST


@pytest.mark.parametrize("user", ["", "ada@example.com", "Token", "token "])
def test_the_password_of_another_user_is_not_ours(user: str) -> None:
    assert protocols.keyring_host(HOST, user) == ""


@given(HOSTILE)
def test_a_service_is_ours_only_where_others_read_the_same(service: str) -> None:
    if protocols.keyring_host(service, None) == HOST:
        url = service if "://" in service else f"https://{service}"
        assert read_by_others(url) == {("https", NAME, 443)}


def test_keyring_writes_what_the_program_keyring_writes() -> None:
    """As `_emit_plain` and `_emit_json` of jaraco/keyring's cli.py do, which ends each line."""
    assert protocols.keyring(TOKEN) == "t-secret"
    assert protocols.keyring(TOKEN, creds=True) == "token\nt-secret"
    assert json.loads(protocols.keyring(TOKEN, as_json=True)) == {"password": "t-secret"}
    assert json.loads(protocols.keyring(TOKEN, creds=True, as_json=True)) == {
        "username": "token",
        "password": "t-secret",
    }


# ---- what cannot be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [protocols.git, protocols.keyring], ids=["git", "keyring"])
def test_a_token_that_is_no_password_is_refused_and_not_shown(write: object) -> None:
    with pytest.raises(Refused, match="basic is no token that can be a password") as caught:
        write(BASIC)  # type: ignore[operator]
    assert "dXNl" not in f"{caught.value} {caught.value.hint}"


# ---- negative controls: without the protection a test above fails ----------------------------------------------------


def test_without_the_strict_reading_of_hosts_others_would_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "origin", lambda url: HOST if NAME in url else "")
    assert [url for url in FOREIGN.values() if protocols.host_of(url) == HOST]


def test_without_the_comparison_a_slash_in_a_host_of_git_would_begin_a_path() -> None:
    request = NOT_ASKED["slash that was encoded"]
    assert protocols.host_of(f"https://{NAME}/.evil.com") == HOST and protocols.git_host(request) == ""
