"""Whatever a server, a file or a caller says: no command lets it drive the terminal or forge a line."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from hard.hostile import CONFIG, DOCUMENT, ENDPOINTS, ME, TOKEN, Answer, Hostile, refused, said, tokens
from machine import Machine, Result
from person import answer, asked, waiting
from unit.stubs import http

from dbx_auth import cli
from dbx_auth.tokens import format_expiry
from dbx_auth.world import tell

if sys.platform == "win32":
    pytest.skip("pexpect drives no terminal on Windows", allow_module_level=True)
from e2e.test_terminal import ended, typing

FORGED = "hint: run-this-f0rged"
PIECES = (
    "\x1b]52;c;cm0gLXJmIC8=\x07",  # writes to the clipboard
    "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\",  # a link that says another place than it leads to
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[1;1H",
    "\x1b[8m",
    "\x1b[41m",
    "\x1b[6n",  # lets the terminal type an answer
    "\x1b[?1049h",
    "\x1bc",
    "\x1bP$q\x1b\\",
    "\x9b2J",
    "\x9d52;c;YQ==\x9c",
    "\x90q\x9c",
    "\rdbx-auth: logged in to https://good.example\r",
    "\x08\x08\x08\x7f\x07\x00\x0e\x0b\x0c",
    "\u202eevil\u2066\u2069\u200e\u061c",
    "\u200bzero\u200d\u2060\ufeffwidth\u00ad",
    "\u2028line\u2029paragraph\u0085next",
    "\U000e0041tag",
    f"\n{FORGED}\n",
    f"\r\n{FORGED}",
)
JUNK = "be".join(("", *PIECES, "fore"))
ONE_LINE = "be".join(("", *(piece for piece in PIECES if "\n" not in piece), "fore"))
BASIC = "".join(c for c in JUNK if c != "\x7f" and ord(c) < 0x10000)  # which JSON and TOML escape alike
TYPED = JUNK.replace("\0", "")
ASCII = "".join(c for c in ONE_LINE if c.isascii() and c not in "\r\0")

SGR = re.compile(r"\x1b\[(?:[0-3]|22|3[0-79]|[12];3[0-7])?m")  # what rich colours with; the pieces have others
OURS = re.compile(r"\r\x1b\[2K|\x1b\[\?2004[hl]")  # the countdown's, and readline's at a question


def check_inert(text: str, *, terminal: bool = False) -> None:
    """Nothing in it but visible characters and the ends of lines, and no line that is not ours."""
    if terminal:
        text = OURS.sub("", SGR.sub("", text)).replace("\r\n", "\n")
    odd = sorted({c for c in text if c != "\n" and not c.isprintable()})
    assert odd == [], f"{odd} in {text!r}"
    assert not [line for line in text.splitlines() if line.strip().startswith(FORGED)], text
    assert "Traceback" not in text and "mistake of ours" not in text, text


class Case(NamedTuple):
    """What a server answers, what is put on the machine, and the commands that may show it."""

    answers: Mapping[str, Answer | list[Answer]]
    prepare: Callable[[Machine, str], object]
    argvs: list[list[str]]


def with_pat(machine: Machine, url: str) -> None:
    machine.env.update(DATABRICKS_HOST=url, DATABRICKS_TOKEN="dapi-c4nary")


def with_login(machine: Machine, url: str) -> None:
    machine.env.update(DATABRICKS_HOST=url)
    machine.cached_login(url, expiry="2020-01-01T00:00:00Z")


def nothing(machine: Machine, url: str) -> None:
    """The machine is as it is."""


def env(**settings: str) -> Callable[[Machine, str], object]:
    def prepare(machine: Machine, url: str) -> None:
        with_pat(machine, url)
        machine.env.update(settings)

    return prepare


def profiles(text: str) -> Callable[[Machine, str], object]:
    return lambda machine, url: machine.write(machine.config, text.replace("{url}", url))


def broken_cache(content: str | dict[str, Any]) -> Callable[[Machine, str], object]:
    def prepare(machine: Machine, url: str) -> None:
        with_login(machine, url)
        machine.write(machine.cli_cache, content)

    return prepare


def kept(**fields: Any) -> Callable[[Machine, str], object]:
    def prepare(machine: Machine, url: str) -> None:
        entry = {"type": "oauth", "access": "a", "refresh": "r", "expires": 1, "host": url, **fields}
        machine.write(machine.auth_json, {"databricks": entry, f"databricks:{JUNK}": entry, JUNK: entry})

    return prepare


def cached(key: str = "", **fields: Any) -> Callable[[Machine, str], object]:
    def prepare(machine: Machine, url: str) -> None:
        machine.env["DATABRICKS_HOST"] = url
        machine.cached_login(key or url, **fields)

    return prepare


def model(**fields: Any) -> dict[str, Any]:
    foundation = {"name": JUNK, "display_name": JUNK, "description": JUNK, "api_types": [JUNK]}
    served = [{"foundation_model": foundation, "entity_name": JUNK, "external_model": {"name": JUNK}}]
    return {"name": "a-model", "task": JUNK, "state": {"ready": JUNK}, "config": {"served_entities": served}, **fields}


LISTED = said({"endpoints": [model(), model(name=JUNK), model(name=ONE_LINE), model(name="\x9bx"), model(name=7)]})
MODELS = [["models"], ["models", "--all"], ["models", "--all", "-o", "names"], ["models", "--all", "-o", "json"]]
EVERY = [["token"], ["status"], ["models"], ["status", "-o", "json"], ["token", "-o", "json"]]
OPTIONS = [f"-p={TYPED}", f"--host={TYPED}", f"--account-id={TYPED}"]
HOSTLY = "https://x.example/" + ONE_LINE
DATE = format_expiry(time.time() + 3000)

CASES: dict[str, Case] = {
    "what the token endpoint refuses with": Case(
        {TOKEN: refused(JUNK, JUNK)},
        with_login,
        [*EVERY, ["login", "{url}", "--method", "browser", "--timeout", "0.1"]],
    ),
    "what a busy server says": Case(
        {TOKEN: said({"error": JUNK, "error_description": JUNK}, "500 Oops")}, with_login, [["token"], ["status"]]
    ),
    "error codes of another kind": Case(
        {TOKEN: said({"error_code": JUNK, "message": JUNK}, "403 Forbidden")}, with_login, [["token"]]
    ),
    "a token of an odd kind": Case({TOKEN: tokens(token_type=JUNK)}, with_login, [["token"], ["status"]]),
    "a token that is none": Case({TOKEN: tokens(access_token=JUNK)}, with_login, [["token"], ["status"]]),
    "an end of a life": Case({TOKEN: tokens(expires_in=JUNK)}, with_login, [["status", "-o", "json"]]),
    "where a redirect leads": Case(
        {TOKEN: http(b"", "302 Found", f"Location: https://evil.example/{ASCII}")}, with_login, [["token"], ["status"]]
    ),
    "when to come back": Case(
        {TOKEN: http(b"", "503 Busy", f"Retry-After: {ASCII}", f"Date: {ASCII}")}, with_login, [["token"], ["status"]]
    ),
    "a reason phrase": Case({TOKEN: http(b"", f"400 {ASCII}"), ME: http(b"", f"400 {ASCII}")}, with_login, EVERY),
    "a head that is none": Case({TOKEN: f"HTTP/1.1 200 OK\r\n{ASCII}: x\r\n\r\n".encode()}, with_login, [["token"]]),
    "where discovery leads": Case(
        {CONFIG: said({"oidc_endpoint": f"https://evil.example/{JUNK}", "account_id": JUNK})}, with_login, EVERY
    ),
    "where the token endpoint is": Case(
        {DOCUMENT: said({"token_endpoint": f"https://evil.example/{JUNK}", "issuer": JUNK})}, with_login, EVERY
    ),
    "who somebody is": Case(
        {ME: said({"userName": JUNK})},
        with_pat,
        [["status"], ["status", "-o", "json"], ["login", "{url}"], ["login", "{url}", "--with-token"]],
    ),
    "why somebody is nobody": Case({ME: said({"detail": JUNK, "message": JUNK}, "401 No")}, with_pat, [["status"]]),
    "what is served": Case({ENDPOINTS: LISTED, f"{ENDPOINTS}:foundation-models": LISTED}, with_pat, MODELS),
    "why nothing is served": Case({ENDPOINTS: said({"message": JUNK}, "403 No")}, with_pat, MODELS),
    "the names of profiles": Case(
        {},
        profiles(f"[{ONE_LINE}]\nhost = {{url}}\ntoken = dapi\n[B]\nhost = {HOSTLY}\nauth_type = {ONE_LINE}\n"
                 f"account_id = {ONE_LINE}\n[C]\nhost = {{url}}\nclient_id = {ONE_LINE}\nclient_secret = x\n"
                 f"workspace_id = {ONE_LINE}\nscopes = {ONE_LINE}\n[__settings__]\ndefault_profile = {ONE_LINE}\n"),
        [["profiles"], ["profiles", "-o", "json"], ["-p", "NONE", "token"], ["-p", "B", "status"], ["status"],
         ["-p", "C", "status"], ["-p", "C", "-v", "token"], ["-p", ONE_LINE.replace("\0", ""), "status"], ["doctor"],
         ["logout"], ["login", "-p", "B", "--method", "browser", "--timeout", "0.1"]],
    ),
    "a profile that is not there": Case(
        {}, profiles(f"[__settings__]\ndefault_profile = {ONE_LINE}\nauth_storage = {ONE_LINE}\n"), EVERY
    ),
    "a profile file that is none": Case(
        {}, profiles(f"{ONE_LINE}\n[{ONE_LINE}\n"), [["profiles"], ["token"], ["doctor"]]
    ),
    "the key of a login": Case(
        {TOKEN: refused("invalid_grant")},
        lambda machine, url: (profiles(f"[{ONE_LINE}]\nhost = {url}\nauth_type = databricks-cli\n[D]\nhost = {url}\n")(
            machine, url), machine.write(machine.cli_cache, {"version": 1, "tokens": {
                k: {"access_token": "a", "expiry": "x"} for k in (ONE_LINE.replace("\0", ""), "D")}})),
        [["token", "--host", "{url}"], ["status", "--host", "{url}"], ["logout", "--host", "{url}", "--share"]],
    ),
    "the version of a cache": Case(
        {}, broken_cache({"version": JUNK, "tokens": {}}), [["token"], ["status"], ["doctor"]]
    ),
    "a cache that is no JSON": Case({}, broken_cache(JUNK), EVERY),
    "a cached login": Case({}, cached(token_type=JUNK, access_token=JUNK, expiry=DATE), [["token"], ["status"]]),
    "an end that is none": Case({}, cached(expiry=JUNK, refresh_token=""), [["token"], ["status"]]),
    "a kept login": Case(
        {},
        kept(account_id=JUNK, workspace_id=JUNK, group_id=JUNK, scopes=[JUNK], auth_type=JUNK, client_id=JUNK),
        [["token"], ["status"], ["status", "-o", "json"], ["logout"], ["logout", "--all"]],
    ),
    "a kept profile": Case({}, kept(type="profile", profile=JUNK), [["token"], ["status"], ["logout"]]),
    "a kept host": Case({}, kept(host=HOSTLY + JUNK), [["token"], ["status"], ["logout", "--all"]]),
    "a kept login of an odd kind": Case({}, kept(type=JUNK), [["token"], ["status"]]),
    "our own settings": Case(
        {},
        lambda machine, url: machine.write(
            machine.home / ".config/dbx-auth/config.toml",
            "\n".join(f"{name} = {json.dumps(BASIC)}" for name in ("profile", "storage", "output", "color", "other"))
            + f"\n[models.{json.dumps(BASIC)}]\nname = {json.dumps(BASIC)}\n",
        ),
        [["config", "list"], ["config", "get", "profile"], ["config", "get", "output"], ["token"], ["status"],
         ["models", "--offline"], ["doctor"]],
    ),
    "settings that are no TOML": Case(
        {},
        lambda machine, url: machine.write(machine.home / ".config/dbx-auth/config.toml", f"profile = {ONE_LINE}\n"),
        [["config", "list"], ["token"], ["doctor"]],
    ),
    "a name on the command line": Case(
        {},
        nothing,
        [[option, verb] for option in OPTIONS for verb in ("token", "status", "models", "logout")]
        + [[TYPED], ["token", TYPED], ["status", f"{TYPED}.example"], [f"--{TYPED}"], ["token", "-o", JUNK],
           ["token", "--min-ttl", JUNK], ["login", "--method", JUNK], ["completion", JUNK], ["config", "get", JUNK],
           ["config", "set", JUNK, JUNK], ["sandbox", "--port", JUNK], ["models", "--offline", "--family", JUNK],
           ["login", "https://x.example", "--method", "m2m", "--client-id", JUNK],
           ["login", f"https://{TYPED}", "--share", "-p", JUNK, "--with-token"]],
    ),
    **{
        f"the variable {name}": Case({}, env(**{name: TYPED}), [["token"], ["status"], ["logout"]])
        for name in (
            "DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_AUTH_TYPE", "DATABRICKS_ACCOUNT_ID",
            "DATABRICKS_AUTH_STORAGE", "DATABRICKS_OIDC_TOKEN_ENV", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID",
            "DATABRICKS_METADATA_SERVICE_URL", "DATABRICKS_DISCOVERY_URL", "DATABRICKS_WORKSPACE_ID",
            "DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_GROUP_ID", "HTTPS_PROXY", "SSL_CERT_FILE",
            "DATABRICKS_AZURE_RESOURCE_ID", "DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
        )
    },
    **{
        f"the place {name}": Case(
            {}, env(**{name: f"/tmp/nowhere-{ASCII}"}), [["token"], ["status"], ["logout", "--all"]]
        )
        for name in ("DATABRICKS_CONFIG_FILE", "DBX_AUTH_DATA_DIR", "DBX_AUTH_CONFIG_DIR", "DBX_AUTH_CACHE_DIR")
    },
}  # fmt: skip


def known(argv: list[str]) -> bool:
    return not {"config", "doctor"} & set(argv) or bool({"config", "doctor"} & set(argv) & cli.VERBS.keys())


@pytest.mark.parametrize("name", CASES)
def test_in_a_pipe_it_is_inert(machine: Machine, name: str) -> None:
    case = CASES[name]
    with Hostile({ME: said({"userName": "alice"}), **case.answers}) as server:
        for argv in filter(known, case.argvs):
            for louder in ([], ["-v"]):
                case.prepare(machine, server.url)
                words = [word.replace("{url}", server.url) for word in argv]
                result = run(machine, [*louder, *words])
                check_inert(result.out)
                check_inert(result.err)


def run(machine: Machine, argv: list[str]) -> Result:
    """In this process, with a world that tells everything."""
    world = machine.world._replace(note=lambda text: tell(f"dbx-auth: {text}"))
    if "detail" in world._fields:
        world = world._replace(detail=lambda text: tell(f"dbx-auth: {text}"))
    machine.stdin = ["dapi-typed"]
    machine._capture.readouterr()
    code = cli.run(argv, world)
    return Result(code, *machine._capture.readouterr())


ON_A_TERMINAL = [
    ("what the token endpoint refuses with", ["-v", "token"]),
    ("what the token endpoint refuses with", ["status"]),
    ("who somebody is", ["status"]),
    ("who somebody is", ["login", "{url}"]),
    ("what is served", ["models", "--all"]),
    ("what is served", ["models", "--all", "-o", "names"]),
    ("the names of profiles", ["profiles"]),
    ("the names of profiles", ["-p", "NONE", "token"]),
    ("the names of profiles", ["-p", "C", "status"]),
    ("when to come back", ["token"]),
    ("where a redirect leads", ["token"]),
    ("where discovery leads", ["status"]),
    ("a kept login", ["status", "--offline"]),
    ("our own settings", ["config", "list"]),
    ("our own settings", ["doctor"]),
    ("the key of a login", ["status", "--host", "{url}"]),
]


@pytest.mark.real
@pytest.mark.parametrize(("name", "argv"), ON_A_TERMINAL, ids=[f"{n}: {' '.join(a)}" for n, a in ON_A_TERMINAL])
def test_on_a_terminal_it_is_inert(machine: Machine, name: str, argv: list[str]) -> None:
    if not known(argv):
        pytest.skip("no such verb yet")
    case = CASES[name]
    with Hostile({ME: said({"userName": "alice"}), **case.answers}) as server:
        case.prepare(machine, server.url)
        with typing(machine, *(word.replace("{url}", server.url) for word in argv)) as person:
            _, screen = ended(person)
    assert screen.strip()
    check_inert(screen, terminal=True)


@pytest.mark.real
def test_the_same_text_would_drive_the_terminal(machine: Machine) -> None:
    """The negative control: what a careless program prints is found."""
    import pexpect

    person = pexpect.spawn(
        sys.executable, ["-c", f"print({ONE_LINE!r})"], env=machine.child_env(), encoding="utf-8", timeout=30
    )
    person.expect(pexpect.EOF)
    with pytest.raises(AssertionError):
        check_inert(person.before, terminal=True)
    person.close()
    for piece in PIECES:
        with pytest.raises(AssertionError):
            check_inert(f"before {piece} after")
        with pytest.raises(AssertionError):
            check_inert(f"before {piece.replace(chr(10), chr(13) + chr(10))} after", terminal=True)


@pytest.mark.real
def test_a_question_to_a_person_is_inert(machine: Machine) -> None:
    """The host of the last login is what a person is offered when they log in again."""
    with Hostile({}) as server:
        kept(account_id=JUNK, workspace_id=JUNK)(machine, server.url)
        with typing(machine, "login", "--method", "pat") as person:
            person.expect("workspace URL")
            person.sendline(server.url)
            person.expect("personal access token")
            person.sendline("dapi" + "\x1b[31m")
            _, screen = ended(person)
    check_inert(screen, terminal=True)


@pytest.mark.real
@pytest.mark.parametrize("field", ["error", "error_description", "iss"])
def test_what_the_browser_brings_back_is_inert(machine: Machine, field: str) -> None:
    import httpx

    issuer = {
        DOCUMENT: said({"issuer": "https://issuer.example", "authorization_response_iss_parameter_supported": True})
    }
    with Hostile(issuer if field == "iss" else {}) as server:
        with waiting(machine, "login", server.url, "--method", "browser", "--timeout", "20", BROWSER="none") as person:
            link = person.link()
            assert asked(link)["state"]
            fields = {"error": "access_denied", "code": "", field: JUNK} if field != "iss" else {"iss": JUNK}
            with httpx.Client(trust_env=False) as browser:
                page = browser.get(answer(link, **fields).replace("localhost", "127.0.0.1"))
            result = person.ended()
    assert result.code == 1, result.err
    check_inert(result.err)
    assert "<script" not in page.text and "\x1b" not in page.text and "\u202e" not in page.text
