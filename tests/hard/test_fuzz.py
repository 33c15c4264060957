"""Whatever stands in a file or comes from a server: an error of ours or an answer, and nothing lost that was there.

`DBX_AUTH_TEST_EXAMPLES=10000` looks longer.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, assume, event, given, settings, strategies as st
from machine import Result

from dbx_auth import cli, keyrings, profile
from dbx_auth.callback import Callback, read_callback
from dbx_auth.errors import AuthError, InDoubt, Temporary, Unreachable
from dbx_auth.tokens import is_one_word
from dbx_auth.world import Response, World, tell

EXAMPLES = int(os.environ.get("DBX_AUTH_TEST_EXAMPLES", "300"))
NOW = 1_790_000_000.0
HOST = "https://dev.cloud.databricks.com"
OTHER = "https://other.cloud.databricks.com"
AZURE = "https://adb-1.2.azuredatabricks.net"
LONG_AGO = "2020-01-01T00:00:00Z"
CODES = {0, 1, 2, 4, 5, 6}

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

Capture = pytest.CaptureFixture[str]

# ---- what stands in files, and what comes from servers ---------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from([0, -1, 10**400, -(10**400), 1e308, 2**31, 2**63, 2**64]),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TIMES = st.one_of(
    NUMBERS,
    NUMBERS.map(str),
    st.sampled_from([LONG_AGO, "", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-30", "soon"]),
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    JSON,
)
WORDS = (
    st.sampled_from(["", "a", "a-token", "a token", "caf\u00e9", "x" * 3000, "esc\x1b[31m", "eyJhbGci.e30.x"]) | JSON
)
PLACES = st.sampled_from([HOST, HOST + "/", HOST.upper(), OTHER, "dev.cloud.databricks.com", "x", ""]) | JSON


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def mangled(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Something that was valid once; now and then it still is."""
    data = draw(valid)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 30)))
        data = (
            data[:at]
            + draw(st.sampled_from([b"", data[at:to] * 2, b"\0", b"\xff", b'"', b"{", b"\n", b"]"]))
            + data[to:]
        )
    return draw(st.sampled_from([data, data, data, b"\xef\xbb\xbf" + data, data[: len(data) // 2], b""]))


def same(one: object, other: object) -> bool:
    """Whether two values would be written alike; a NaN is not equal to itself."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def as_object(data: bytes | None) -> dict[str, Any] | None:
    """The JSON object in a file, None for what is none; written apart from ours on purpose."""
    try:
        value = json.loads((data or b"").decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# ---- a world in which time passes only where somebody sleeps ---------------------------------------------------------

Reply = tuple[int, Mapping[str, str], bytes] | AuthError
Server = Callable[[str, str, Mapping[str, str]], Reply]
GOOD = dumped(
    {"access_token": "new-access", "token_type": "Bearer", "refresh_token": "new-refresh", "expires_in": 3600}
)
ABSENT: Reply = (404, {}, b"")


def good(method: str, url: str, form: Mapping[str, str]) -> Reply:
    """A workspace that gives tokens and takes them."""
    match method, urlsplit(url).path:
        case "POST", "/oidc/v1/token":
            return 200, {}, GOOD
        case "GET", "/api/2.0/preview/scim/v2/Me":
            return 200, {}, dumped({"userName": "alice"})
        case "GET", path if path.startswith("/api/2.0/serving-endpoints"):
            return 200, {}, dumped({"endpoints": []})
    return ABSENT


class Home:
    """A home directory that is new for each example."""

    def __init__(self, capture: Capture, server: Server = good, **env: str) -> None:
        self._capture, self._server = capture, server
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.passed = 0.0
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.env = {"DATABRICKS_AUTH_STORAGE": "plaintext", "PATH": "", **env}

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)

    @property
    def auth_json(self) -> Path:
        return self.path / ".local/share/dbx-auth/auth.json"

    @property
    def cache(self) -> Path:
        return self.path / ".databricks/token-cache.json"

    @property
    def config(self) -> Path:
        return self.path / ".databrickscfg"

    @property
    def settings(self) -> Path:
        return self.path / ".config/dbx-auth/config.toml"

    @property
    def posts(self) -> list[Mapping[str, str]]:
        return [form for method, _, form in self.asked if method == "POST"]

    def put(self, path: Path, data: bytes | str | Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else dumped(data))

    def login(self, **fields: Any) -> None:
        entry = {"access_token": "old-access", "refresh_token": "old-refresh", "expiry": LONG_AGO, **fields}
        self.put(self.cache, {"version": 1, "tokens": {HOST: entry}})

    def world(self) -> World:
        def sleep(seconds: float) -> None:
            assert 0 <= seconds <= 60
            self.passed += seconds

        def http(method: str, url: str, *, form: Mapping[str, str] | None = None, **rest: Any) -> Response:
            assert rest.get("budget", 1) > 0
            self.asked.append((method, url, form or {}))
            reply = self._server(method, url, form or {})
            if isinstance(reply, AuthError):
                raise reply
            return Response(rest.get("shown") or url, *reply)

        return World(
            env=self.env,
            home=str(self.path),
            now=lambda: NOW + self.passed,
            monotonic=lambda: self.passed,
            sleep=sleep,
            http=http,
            read_line=lambda given_up=None: "dapi-typed",
            warn=tell,
            note=tell,
            detail=tell,
        )

    def run(self, *argv: str) -> Result:
        """One command; whatever it is given, it ends in order."""
        self._capture.readouterr()
        code = cli.run(argv, self.world())
        result = Result(code, *self._capture.readouterr())
        assert code in CODES and "mistake of ours" not in result.err, (argv, result)
        event(f"{argv[0]}: exit {code}")
        return result


# ---- the stores ------------------------------------------------------------------------------------------------------

ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["oauth", "oauth", "api", "m2m", "profile", "other"]) | JSON,
        "host": PLACES,
        "access": WORDS,
        "refresh": WORDS,
        "expires": TIMES,
        "key": WORDS,
        "client_id": WORDS,
        "client_secret": WORDS,
        "account_id": WORDS,
        "workspace_id": WORDS,
        "group_id": st.just("") | JSON,
        "scopes": st.sampled_from([["all-apis"], "all-apis sql", []]) | JSON,
        "authority": st.just("") | JSON,
        "profile": st.sampled_from(["DEV", ""]) | JSON,
        "auth_type": st.sampled_from(["pat", "databricks-cli", ""]) | JSON,
        "theirs": JSON,
    },
)
OURS = st.sampled_from(["databricks", f"databricks:{HOST}", f"databricks:{OTHER}", "databricks:x"])
AUTH_JSON = st.dictionaries(OURS, ENTRIES | JSON, max_size=3).flatmap(
    lambda ours: st.dictionaries(TEXT | st.sampled_from(["github", "anthropic"]), JSON | ENTRIES, max_size=2).map(
        lambda theirs: {**theirs, **ours}
    )
)
COMMANDS = st.sampled_from(
    [
        ["token"],
        ["token", "--host", HOST],
        ["token", "--host", HOST, "--force-refresh"],
        ["token", "--host", HOST, "--no-refresh"],
        ["token", "--host", HOST, "--min-ttl", "2h"],
        ["status", "--host", HOST],
        ["status", "--offline"],
        ["models", "--host", HOST],
        ["logout"],
        ["logout", "--host", HOST, "--share"],
        ["logout", "--all"],
        ["profiles"],
        ["login", "--host", HOST, "--with-token"],
        ["login", "--host", HOST, "--with-token", "--share", "-p", "NEW"],
        ["login", "--host", OTHER, "--method", "pat"],
    ]
)


@fuzzed
@given(
    data=mangled(AUTH_JSON.map(dumped)) | st.binary(max_size=50), commands=st.lists(COMMANDS, min_size=1, max_size=2)
)
def test_whatever_stands_in_auth_json(capsys: Capture, data: bytes, commands: list[list[str]]) -> None:
    with Home(capsys, DATABRICKS_AUTH_TYPE="databricks-cli" if b"oauth" in data else "") as home:
        home.put(home.auth_json, data)
        for argv in commands:
            before = home.auth_json.read_bytes()
            home.run(*argv)
            understood, after = as_object(before), as_object(home.auth_json.read_bytes())
            if understood is None:
                assert home.auth_json.read_bytes() == before
                continue
            assert after is not None
            for key, value in understood.items():
                if not (key == "databricks" or key.startswith("databricks:")):
                    assert same(after[key], value), "an entry of another tool"
                elif argv[0] == "token" and isinstance(value, dict):
                    assert same(after[key].get("theirs"), value.get("theirs"))
                    assert after[key].keys() >= value.keys(), "a field of an entry"


CACHED = st.fixed_dictionaries(
    {},
    optional={
        "access_token": WORDS,
        "refresh_token": WORDS,
        "token_type": WORDS,
        "expiry": TIMES,
        "expires_in": NUMBERS | JSON,
        "theirs": JSON,
    },
)
KEYS = st.sampled_from([HOST, HOST, OTHER, "DEV", "NEW"]) | TEXT
CACHE = st.fixed_dictionaries(
    {
        "version": st.sampled_from([1, 1, 1, 1, 1, 2, "1", 1.0, True, None]) | JSON,
        "tokens": st.dictionaries(KEYS, CACHED | JSON),
    },
    optional={"future": JSON},
)


@fuzzed
@given(data=mangled(CACHE.map(dumped)) | st.binary(max_size=50), commands=st.lists(COMMANDS, min_size=1, max_size=2))
def test_whatever_stands_in_the_cache_of_the_cli(capsys: Capture, data: bytes, commands: list[list[str]]) -> None:
    with Home(capsys) as home:
        home.put(home.cache, data)
        home.put(home.config, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
        for argv in commands:
            before = home.cache.read_bytes()
            home.run(*argv)
            was, after = as_object(before), as_object(home.cache.read_bytes())
            if was is None or (was and (was.get("version") != 1 or not isinstance(was.get("tokens", {}), dict))):
                assert home.cache.read_bytes() == before
                continue
            assert after is not None
            assert same(*({k: v for k, v in each.items() if k != "tokens"} for each in (was, after)))
            spent = [entry.get("refresh_token") for entry in was.get("tokens", {}).values() if isinstance(entry, dict)
                     if entry.get("refresh_token") in [post.get("refresh_token") for post in home.posts]]  # fmt: skip
            for key, entry in was.get("tokens", {}).items():
                if key not in after["tokens"]:
                    assert argv[0] == "logout" and key in (HOST, "DEV")
                elif isinstance(entry, dict) and entry.get("refresh_token") in spent:
                    assert same(after["tokens"][key].get("theirs"), entry.get("theirs"))
                else:
                    assert same(after["tokens"][key], entry), "somebody else's login"


@fuzzed
@given(secret=mangled(st.fixed_dictionaries({"token": CACHED | JSON}, optional={"theirs": JSON}).map(dumped)))
def test_whatever_stands_in_the_keyring_of_the_cli(capsys: Capture, secret: bytes) -> None:
    text = secret.decode(errors="replace")
    held = {"DEV": text}
    with pytest.MonkeyPatch.context() as patch, Home(capsys, DATABRICKS_AUTH_STORAGE="secure") as home:
        patch.setattr(keyrings, "is_there", lambda world: True)
        patch.setattr(keyrings, "get", lambda account, world: held.get(account))
        patch.setattr(keyrings, "put", lambda account, secret, world: held.update({account: secret}))
        patch.setattr(keyrings, "remove", lambda account, world: held.pop(account, None) is not None)
        home.put(home.config, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
        home.run("-p", "DEV", "token")
        home.run("-p", "DEV", "status")
    was = as_object(text.encode())
    if was is None or not isinstance(was.get("token"), dict):
        assert held["DEV"] == text
        return
    after = as_object(held["DEV"].encode())
    assert after is not None and same(after.get("theirs"), was.get("theirs"))
    assert same(after["token"].get("theirs"), was["token"].get("theirs"))


# ---- the journal and what waits beside it ----------------------------------------------------------------------------

FINGERPRINT = hashlib.sha256(b"old-refresh").hexdigest()[:32]
MOMENTS = st.dictionaries(st.just(FINGERPRINT) | TEXT, st.just(NOW) | NUMBERS | JSON, max_size=3) | JSON
JOURNALS = st.fixed_dictionaries(
    {}, optional={"claims": MOMENTS, "dead": MOMENTS, "renewed": MOMENTS, "failed": MOMENTS, "theirs": JSON}
)
RESCUED = st.fixed_dictionaries({}, optional={"access": WORDS, "refresh": WORDS, "expires_at": TIMES, "theirs": JSON})
RESCUES = st.dictionaries(st.just(FINGERPRINT) | TEXT, RESCUED | JSON, max_size=2)


@fuzzed
@given(
    journal=st.none() | mangled(JOURNALS.map(dumped)) | st.binary(max_size=30),
    rescue=st.none() | mangled(RESCUES.map(dumped)) | st.binary(max_size=30),
    force=st.booleans(),
    life=st.sampled_from([None, 100, 1000]),
)
def test_whatever_stands_in_the_journal_a_login_goes_on(
    capsys: Capture, journal: bytes | None, rescue: bytes | None, force: bool, life: int | None
) -> None:
    """It is there to spare requests, and what it cannot say costs one."""
    with Home(capsys, DATABRICKS_HOST=HOST) as home:
        home.login(**({} if life is None else {"expiry": NOW + life}))
        home.login(**({} if life is None else {"expiry": f"{int(NOW + life)}"}))
        name = hashlib.sha256(HOST.encode()).hexdigest()[:16]
        for suffix, data in ((".json", journal), (".rescue", rescue)):
            if data is not None:
                home.put(home.cache.parent / ".dbx-auth" / (name + suffix), data)
        result = home.run("token", *(["--force-refresh"] if force else []))
        said = as_object(journal) or {}
        dead = said.get("dead")
        is_dead = isinstance(dead, dict) and FINGERPRINT in dead
        kept = (as_object(rescue) or {}).get(FINGERPRINT)
        if result.code:
            assert (is_dead and result.code == 4) or isinstance(kept, dict), result
        else:
            assert is_one_word(result.out.removesuffix("\n"))
        assert len(home.posts) <= 1
        (after,) = (as_object(home.cache.read_bytes()) or {})["tokens"].values()
        assert after["access_token"] in ("old-access", "new-access") or isinstance(kept, dict)


# ---- profiles and settings -------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["DEFAULT", "DEV", "NEW", "__settings__", "A B"]) | TEXT
FIELD_NAMES = st.sampled_from(
    [*profile.FIELDS, "default_profile", "auth_storage", "Host", "experimental_is_unified_host"]
)
VALUES = (
    st.sampled_from([HOST, OTHER, "pat", "databricks-cli", "dapi", "DEV", "'a'", '"b"', "`c", "x ; y", "z #", "\\"])
    | TEXT
)
LINES = st.one_of(
    NAMES.map(lambda name: f"[{name}]"),
    st.tuples(FIELD_NAMES | TEXT, st.sampled_from([" = ", "=", ":", " "]), VALUES).map("".join),
    st.sampled_from(["", "# a comment", "; another", "[", "]", "=", '"""', "\\"]),
)
PROFILES = st.tuples(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n", "\n\n"])).map(
    lambda t: t[1].join(t[0])
)


def sections(data: bytes) -> dict[str, dict[str, str]] | None:
    try:
        return profile.parse(data.decode("utf-8-sig"))
    except ValueError:
        return None


@fuzzed
@given(
    data=PROFILES.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | mangled(PROFILES.map(lambda t: t.encode("utf-8", "replace"))),
    argv=COMMANDS | NAMES.map(lambda name: ["-p", name, "token"]) | NAMES.map(lambda name: ["-p", name, "status"]),
)
def test_whatever_stands_in_the_profile_file(capsys: Capture, data: bytes, argv: list[str]) -> None:
    with Home(capsys) as home:
        home.put(home.config, data)
        del home.env["DATABRICKS_AUTH_STORAGE"]
        home.run(*argv)
        after = home.config.read_bytes()
        before, now = sections(data), sections(after)
        if before is None or "--share" not in argv or argv[0] == "logout":
            assert after == data
            return
        assert now is not None
        for name, values in before.items():
            if name not in ("NEW", "__settings__") and values:
                assert now.get(name) == values, "a profile of somebody else"


TOML_LINES = st.one_of(
    st.tuples(
        st.sampled_from(["profile", "storage", "min_ttl", "output", "color", "theirs", "name", "context", "base_url"]),
        st.sampled_from(['"DEV"', '"file"', '"json"', '"5m"', "1", "[", "{}", "true", "1979-05-27", '"', "'''"]),
    ).map(" = ".join),
    st.sampled_from(["[models]", '[models."a"]', f'[hosts."{HOST}"]', "[[models]]", "[theirs]", "# a comment", ""]),
    TEXT,
)
TOML = st.lists(TOML_LINES, max_size=6).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass"))


@fuzzed
@given(data=TOML | mangled(TOML), argv=st.sampled_from([
    ["config", "list"], ["config", "get", "profile"], ["config", "set", "output", "json"], ["config", "unset", "color"],
    ["token", "--host", HOST], ["status", "--offline"], ["models", "--offline"],
    ["login", "--host", HOST, "--with-token"],
]))  # fmt: skip
def test_whatever_stands_in_our_settings(capsys: Capture, data: bytes, argv: list[str]) -> None:
    import tomllib

    def parsed(raw: bytes) -> dict[str, Any] | None:
        try:
            return tomllib.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None

    with Home(capsys) as home:
        home.put(home.settings, data)
        home.run(*argv)
        after, was = home.settings.read_bytes(), parsed(data)
        if was is None or argv[:2] not in (["config", "set"], ["config", "unset"]):
            assert after == data
            return
        now = parsed(after)
        assert now is not None
        assert {k: str(v) for k, v in was.items() if k not in ("output", "color")} == {
            k: str(v) for k, v in now.items() if k not in ("output", "color")
        }
        assert data.count(b"# a comment") == after.count(b"# a comment") or b'"' in data or b"'" in data


# ---- the token endpoint ----------------------------------------------------------------------------------------------


def date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


MOMENTS_OF_HTTP = st.one_of(
    st.integers(-5, 4000).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.integers(-100, 10_000).map(lambda seconds: date(NOW + seconds)),
    st.integers(-(10**9), 2 * 10**11).map(date),
    st.sampled_from(["", "0", "00000000001", "1e3", "\u0662", "Wed, 21 Oct 2099 07:28:00", "Sun Nov  6 08:49:37 1994",
                     "Wed, 99 Xxx 2026 99:99:99 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "1 Jan 10000 00:00:00 GMT",
                     "9" * 5000]),
    st.text(max_size=30),
)  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {}, optional={"retry-after": MOMENTS_OF_HTTP, "date": MOMENTS_OF_HTTP, "www-authenticate": TEXT, "location": TEXT}
)
ERRORS = st.sampled_from(
    ["invalid_grant", "invalid_client", "server_error", "temporarily_unavailable", "invalid_request"]
)
GRANTS = st.fixed_dictionaries(
    {"access_token": st.sampled_from(["new-access", "new-access", "a b", ""]) | JSON},
    optional={
        "token_type": st.sampled_from(["Bearer", "bearer", "MAC", ""]) | JSON,
        "refresh_token": st.sampled_from(["new-refresh", ""]) | JSON,
        "expires_in": st.just(3600) | NUMBERS | NUMBERS.map(str) | JSON,
        "scope": JSON,
        "error": st.just("") | ERRORS | JSON,
    },
)
REFUSALS = st.fixed_dictionaries(
    {"error": ERRORS | JSON},
    optional={"error_description": st.just("Refresh token is invalid") | JSON, "message": JSON},
)
BODIES = st.one_of(
    GRANTS.map(dumped), REFUSALS.map(dumped), JSON.map(dumped), st.binary(max_size=30), mangled(st.just(GOOD))
)
STATUSES = st.sampled_from(
    [200, 200, 200, 201, 204, 302, 307, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 100, 599]
)
BREAKS: list[Reply] = [
    Unreachable("nobody", hint="look"), InDoubt("half", hint="wait"), Temporary("busy", hint="wait", retry_after=1e9)
]  # fmt: skip
REPLIES = st.lists(st.tuples(STATUSES, HEADERS, BODIES) | st.sampled_from(BREAKS), min_size=1, max_size=4)


@fuzzed
@given(replies=REPLIES, life=st.sampled_from([None, None, 200]), form=st.sampled_from(["text", "json"]))
def test_whatever_a_token_endpoint_answers(capsys: Capture, replies: list[Reply], life: int | None, form: str) -> None:
    left = iter([*replies, *[replies[-1]] * 100])
    gave: list[Mapping[str, Any]] = []

    def server(method: str, url: str, sent: Mapping[str, str]) -> Reply:
        if method != "POST":
            return ABSENT
        reply = next(left)
        gave.append((as_object(reply[2]) or {}) if not isinstance(reply, AuthError) else {})
        return reply

    with Home(capsys, server, DATABRICKS_HOST=HOST) as home:
        expiry = LONG_AGO if life is None else f"{int(NOW + life)}"
        home.login(theirs=[1], expiry=expiry)
        before = home.cache.read_bytes()
        result = home.run("token", "-o", form)
        after = home.cache.read_bytes()
        assert home.passed <= 40, "that was too long a sleep"
        assert 1 <= len(home.posts) <= 8
        assert {post["refresh_token"] for post in home.posts} == {"old-refresh"}
        if form == "json":
            told = json.loads(result.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
            if result.code:
                seconds = told.get("retry_after")
                assert seconds is None or (told["retryable"] and 0 <= seconds < math.inf)
        (entry,) = json.loads(after)["tokens"].values()
        assert entry["theirs"] == [1]
        if after == before:
            assert result.code or result.out.strip() == "old-access" or "old-access" in result.out
            return
        assert entry["access_token"] == gave[-1]["access_token"] and is_one_word(entry["access_token"])
        given_refresh = gave[-1].get("refresh_token")
        is_given = isinstance(given_refresh, str) and given_refresh
        assert entry["refresh_token"] == (given_refresh if is_given else "old-refresh")
        assert result.code == 0 or "ended" in result.err or "lives" in result.err or form == "json"


@fuzzed
@given(value=MOMENTS_OF_HTTP, status=st.sampled_from([429, 503]))
def test_whatever_a_busy_server_says_when_to_come_back(capsys: Capture, value: str, status: int) -> None:
    """It is left alone for as long as it says; whoever cannot wait so long is told so at once."""
    asked_at: list[float] = []

    def server(method: str, url: str, sent: Mapping[str, str]) -> Reply:
        if method != "POST":
            return ABSENT
        asked_at.append(home.passed)
        return (status, {"retry-after": value}, b"") if len(asked_at) == 1 else (200, {}, GOOD)

    with Home(capsys, server, DATABRICKS_HOST=HOST) as home:
        home.login()
        result = home.run("token")
    assert result.code in (0, 6)
    if value.isascii() and value.isdigit() and len(value) < 10:
        wait = int(value)
        assert result.code == (0 if wait < 30 else 6)
        assert (len(asked_at), asked_at[-1] >= wait) == ((2, True) if wait < 30 else (1, False))
    if result.code == 6:
        assert home.passed < 5 and len(asked_at) == 1


# ---- where to go, and who somebody is --------------------------------------------------------------------------------

PARTS = st.sampled_from(
    ["https://", "http://", "//", "/", "dev.cloud.databricks.com", "evil.example", "127.0.0.1", "@", ":443", ":80", "#",
     "?", "user:password", "\\", ".", ".databricks.com", "/oidc", "{account_id}", "\t", "\r\n", " ", "%2f", "[::1]",
     "\u3002", "\uff0f"]
)  # fmt: skip
URLS = st.lists(PARTS, max_size=7).map("".join) | st.just(f"{HOST}/oidc") | JSON
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "oidc_endpoint": URLS,
        "token_endpoint": URLS,
        "authorization_endpoint": URLS,
        "issuer": URLS,
        "account_id": WORDS,
        "workspace_id": WORDS,
        "token_federation_default_oidc_audiences": st.lists(WORDS) | JSON,
        "authorization_response_iss_parameter_supported": JSON,
    },
)
LOOKED_UP = st.tuples(st.sampled_from([200, 200, 200, 302, 404, 500]), HEADERS, DOCUMENTS.map(dumped) | BODIES)


@fuzzed
@given(config=LOOKED_UP, document=LOOKED_UP, account=st.sampled_from(["", "an-account"]))
def test_whatever_discovery_says_a_refresh_token_stays_with_databricks(
    capsys: Capture, config: Reply, document: Reply, account: str
) -> None:
    import httpx

    def server(method: str, url: str, sent: Mapping[str, str]) -> Reply:
        where = httpx.URL(url)
        assert where.scheme == "https" and f".{where.host}".endswith(".databricks.com") and not where.userinfo, url
        if method == "POST":
            return 200, {}, GOOD
        return config if url.endswith("databricks-config") else document

    with Home(capsys, server, DATABRICKS_HOST=HOST, DATABRICKS_ACCOUNT_ID=account) as home:
        home.login()
        home.run("token")
        assert len(home.posts) <= 1


@fuzzed
@given(
    replies=st.lists(
        st.tuples(STATUSES, HEADERS, BODIES | st.fixed_dictionaries({"userName": JSON}).map(dumped)), min_size=1
    )
)
def test_whatever_a_workspace_says_about_us(capsys: Capture, replies: list[Reply]) -> None:
    left = iter(replies * 20)
    with Home(capsys, lambda *_: next(left), DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi-s3cret") as home:
        for argv in (["status"], ["status", "-o", "json"], ["models"], ["login", "--host", HOST, "--with-token"]):
            result = home.run(*argv)
            assert "dapi-s3cret" not in result.out + result.err
            assert [c for c in result.out + result.err if c != "\n" and not c.isprintable()] == []


SOURCES: dict[str, dict[str, str]] = {
    "oauth-m2m": {"DATABRICKS_CLIENT_ID": "an-id", "DATABRICKS_CLIENT_SECRET": "s3cret-s3cret"},
    "env-oidc": {"DATABRICKS_OIDC_TOKEN": "s3cret-s3cret"},
    "metadata-service": {"DATABRICKS_METADATA_SERVICE_URL": "http://127.0.0.1:1/s3cret-s3cret"},
    "github-oidc": {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x.actions.githubusercontent.com/?a=b",
                    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cret-s3cret"},
    "azure-devops-oidc": {"SYSTEM_ACCESSTOKEN": "s3cret-s3cret",
                          "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://dev.azure.com/x/",
                          "SYSTEM_TEAMPROJECTID": "a", "SYSTEM_PLANID": "b", "SYSTEM_JOBID": "c",
                          "SYSTEM_HOSTTYPE": "build"},
    "azure-client-secret": {"DATABRICKS_HOST": AZURE, "ARM_CLIENT_ID": "an-id", "ARM_CLIENT_SECRET": "s3cret-s3cret"},
}  # fmt: skip
ANSWERS = st.one_of(
    GRANTS,
    REFUSALS,
    st.fixed_dictionaries({}, optional={"value": WORDS, "oidcToken": WORDS, "expires_on": TIMES}),
    JSON,
)
PAGES = st.lists(
    PARTS | st.sampled_from(["login.microsoftonline.com", "a-tenant", "/oauth2/authorize"]), max_size=7
).map("".join)
LEADS = st.fixed_dictionaries(
    {"location": st.just("https://login.microsoftonline.com/a-tenant/oauth2/authorize?x=y") | PAGES}
)


@pytest.mark.parametrize("auth_type", SOURCES)
@settings(parent=fuzzed, max_examples=max(50, EXAMPLES // 4))
@given(replies=st.lists(st.tuples(STATUSES, HEADERS, ANSWERS.map(dumped)), min_size=1, max_size=4), lead=LEADS)
def test_whatever_servers_answer_to_a_source(
    capsys: Capture, auth_type: str, replies: list[Reply], lead: Mapping[str, str]
) -> None:
    """And a secret goes to the one place that it is for."""
    import httpx

    left = iter([*replies, *[replies[-1]] * 100])
    home_of_secrets = (
        "databricks.com",
        "azuredatabricks.net",
        "microsoftonline.com",
        "githubusercontent.com",
        "azure.com",
    )

    def server(method: str, url: str, sent: Mapping[str, str]) -> Reply:
        where = httpx.URL(url)
        assert where.host == "127.0.0.1" or f".{where.host}".endswith(tuple(f".{name}" for name in home_of_secrets)), (
            url
        )
        if "s3cret-s3cret" in sent.values() and auth_type.startswith("azure-client"):
            assert where.host == "login.microsoftonline.com"
        return (302, lead, b"") if url.endswith("/aad/auth") else next(left)

    env = {"DATABRICKS_HOST": HOST, "DATABRICKS_AUTH_TYPE": auth_type, **SOURCES[auth_type]}
    with Home(capsys, server, **env) as home:
        result = home.run("token")
        assert "s3cret-s3cret" not in result.err
        home.run("status")


# ---- what comes back from the browser --------------------------------------------------------------------------------

STATE = "a-state-of-ours"
CALLBACK_FIELDS = st.tuples(
    st.sampled_from(["code", "state", "error", "error_description", "iss", "x"]),
    st.sampled_from([STATE, "", "x"]) | TEXT,
)
QUERIES = st.lists(CALLBACK_FIELDS, max_size=6).map(
    lambda pairs: "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in pairs)
)


@fuzzed
@given(query=QUERIES | st.text(max_size=60) | mangled(QUERIES.map(str.encode)).map(lambda data: data.decode("latin-1")))
def test_whatever_comes_back_from_the_browser(query: str) -> None:
    from urllib.parse import parse_qsl

    found = read_callback(query, STATE)
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if [value for name, value in pairs if name == "state"] != [STATE] or len(names) != len(set(names)):
        assert found is None
    if found is None:
        return
    event("taken")
    assert isinstance(found, Callback) and (found.code or found.error)
    for text in (found.iss, found.error, found.description):
        assert text.isprintable() and len(text) <= 300


@fuzzed
@given(
    fields=st.fixed_dictionaries({"code": st.text(min_size=1, max_size=50)}, optional={"iss": TEXT, "extra": st.text()})
)
def test_a_callback_that_is_ours_is_read_whole(fields: dict[str, str]) -> None:
    assume(all(value.encode("utf-8", "replace").decode() == value for value in fields.values()))
    found = read_callback(urlencode({**fields, "state": STATE}), STATE)
    assert found is not None and found.code == fields["code"]
