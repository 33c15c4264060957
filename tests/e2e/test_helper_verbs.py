"""`dbx-auth helper`: each protocol's own rules for stdin, stdout, stderr and exit codes, and its real peers.

Whatever is asked, a token goes to its own host.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from machine import HOST, OTHER, Machine, Result

from dbx_auth import protocols, resolve
from dbx_auth.commands import helper as verb
from dbx_auth.errors import UsageError
from dbx_auth.sandbox import Sandbox
from dbx_auth.tokens import Token

ME = "/api/2.0/preview/scim/v2/Me"
NAME = HOST.removeprefix("https://")
SECRET = "dapi-the-secret"
SERVER_URL = "CLAUDE_CODE_MCP_SERVER_URL"

Ask = Callable[[str], Result]


@pytest.fixture
def ours(machine: Machine) -> Machine:
    """A machine whose environment has a key for HOST."""
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN=SECRET)
    return machine


def typed(machine: Machine, stdin: str | bytes, *argv: str) -> Result:
    """`dbx-auth helper …` with this on stdin."""
    with pytest.MonkeyPatch.context() as patch:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return machine.run("helper", *argv)


def bazel(machine: Machine, url: str, *options: str) -> Result:
    return typed(machine, json.dumps({"uri": url}), "bazel", *options, "get")


def git(machine: Machine, url: str, *options: str) -> Result:
    protocol, _, host = url.partition("://")
    return typed(machine, f"protocol={protocol}\nhost={host}\n\n", "git", *options, "get")


def keyring(machine: Machine, url: str, *options: str) -> Result:
    return typed(machine, "", "keyring", *options, "get", url, "token")


def headers(machine: Machine, url: str, *options: str) -> Result:
    machine.env[SERVER_URL] = url
    return typed(machine, "", "headers", *options)


VERBS = {"bazel": bazel, "git": git, "keyring": keyring, "headers": headers}
all_verbs = pytest.mark.parametrize("ask", VERBS.values(), ids=VERBS.keys())


def password(said: Result) -> str:
    """The token in an answer, whatever its protocol; empty where there is none."""
    assert said.code == 0, said
    for word in ("Bearer ", "password="):
        if word in said.out:
            return said.out.partition(word)[2].split("\n")[0].partition('"')[0]
    return said.out.strip()


# ---- what is ours ----------------------------------------------------------------------------------------------------


@all_verbs
def test_the_host_of_the_credentials_gets_its_token(ours: Machine, ask: Callable[..., Result]) -> None:
    said = ask(ours, HOST)
    assert (password(said), said.err) == (SECRET, "")
    assert password(ask(ours, HOST.upper() + ":443")) == SECRET


@all_verbs
def test_the_workspace_takes_the_token_that_each_gives(
    machine: Machine, sandbox: Sandbox, ask: Callable[..., Result]
) -> None:
    machine.env["DATABRICKS_HOST"] = sandbox.url
    login = sandbox.add_login()
    machine.cached_login(
        sandbox.url, access_token="old", refresh_token=login.refresh_token, expiry="2020-01-01T00:00:00Z"
    )
    token = password(ask(machine, sandbox.url))
    answer = httpx.get(sandbox.url + ME, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert (answer.status_code, answer.json()["userName"]) == (200, sandbox.user)


def test_the_answers_are_what_the_protocols_have(ours: Machine) -> None:
    bearer = f"Bearer {SECRET}"
    assert bazel(ours, f"{HOST}/any/path").json() == {"headers": {"Authorization": [bearer]}}
    assert git(ours, HOST).out == f"username=token\npassword={SECRET}\n"
    assert keyring(ours, HOST).out == f"{SECRET}\n"
    assert headers(ours, f"{HOST}/api/2.0/mcp/genie/x").json() == {"Authorization": bearer}
    ours.cached_login(HOST)
    del ours.env["DATABRICKS_TOKEN"]
    assert list(bazel(ours, HOST).json()) == ["headers", "expires"]
    assert "\npassword_expiry_utc=" in git(ours, HOST).out


def test_keyring_has_its_modes_and_forms_before_and_after_the_operation(ours: Machine) -> None:
    creds, both = f"token\n{SECRET}\n", {"username": "token", "password": SECRET}
    assert typed(ours, "", "keyring", "get", HOST, "--mode", "creds").out == creds
    assert typed(ours, "", "keyring", "--mode", "creds", "get", NAME).out == creds
    assert typed(ours, "", "keyring", "get", HOST, "token", "--mode", "creds").out == creds
    assert typed(ours, "", "keyring", "get", HOST, "--mode", "creds", "--output", "json").json() == both
    assert typed(ours, "", "keyring", "get", HOST, "token", "--output", "json").json() == {"password": SECRET}


def test_without_a_server_the_headers_are_those_of_the_credentials(ours: Machine) -> None:
    assert typed(ours, "", "headers").json() == {"Authorization": f"Bearer {SECRET}"}


# ---- what is not -----------------------------------------------------------------------------------------------------

FOREIGN = {
    "another": OTHER,
    "not encrypted": f"http://{NAME}",
    "ours in front": f"{HOST}.evil.com",
    "ours as the user": f"https://{NAME}@evil.com",
    "a user": f"https://me@{NAME}",
    "backslash": f"https://evil.com\\@{NAME}",
    "dot at the end": f"{HOST}.",
    "another port": f"{HOST}:8443",
    "another script": f"https://d\u0435v.{NAME.partition('.')[2]}",
    "tab": f"https://d\tev.{NAME.partition('.')[2]}",
    "carriage return": f"{HOST}\r",
    "nothing": "",
    "no address": "not an address",
}
HOW = {"bazel": (1, True), "git": (0, False), "keyring": (1, False), "headers": (1, True)}
"""Exit code for a host that is not ours, and whether anybody wants to hear why: git and pip ask others then."""


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("name", VERBS)
def test_another_host_gets_no_token(ours: Machine, name: str, url: str) -> None:
    said = VERBS[name](ours, url)
    code, told = HOW[name]
    assert (said.code, said.out) == (code, "") and SECRET not in said.err
    assert bool(said.err) is told and said.err.count("\n") == (2 if told else 0)


@pytest.mark.parametrize("name", VERBS)
def test_who_listens_is_told_why_there_is_none(ours: Machine, name: str) -> None:
    def told(*argv: str) -> str:
        ours.env[SERVER_URL] = OTHER
        return ours.spawn("-v", "helper", *argv, stdin=stdin).err

    stdin = {"bazel": json.dumps({"uri": OTHER}), "git": f"protocol=https\nhost={OTHER[8:]}\n"}.get(name, "")
    argv = {"headers": ["headers"], "keyring": ["keyring", "get", OTHER, "token"]}.get(name, [name, "get"])
    assert f"not ours: {OTHER}" in told(*argv)


def test_a_password_in_an_address_is_not_repeated(ours: Machine) -> None:
    said = bazel(ours, f"https://me:hunter22@{NAME}/")
    assert said.code == 1 and "hunter22" not in said.err + said.out


@pytest.mark.parametrize("user", ["ada@example.com", ""])
def test_the_password_of_another_user_is_not_ours(ours: Machine, user: str) -> None:
    assert typed(ours, f"protocol=https\nhost={NAME}\nusername={user}\n", "git", "get") == Result(0, "", "")
    assert typed(ours, "", "keyring", "get", HOST, user) == Result(1, "", "")


# ---- whose credentials -----------------------------------------------------------------------------------------------

TWO = f"[DEV]\nhost={HOST}\ntoken=dev-key\n[PROD]\nhost={OTHER}\ntoken=prod-key\n"


@all_verbs
def test_the_request_chooses_the_profile_for_its_host(machine: Machine, ask: Callable[..., Result]) -> None:
    machine.write(machine.config, TWO)
    assert password(ask(machine, HOST)) == "dev-key"
    assert password(ask(machine, OTHER)) == "prod-key"


@pytest.mark.parametrize("name", VERBS)
def test_a_profile_that_was_named_is_the_only_one(machine: Machine, name: str) -> None:
    machine.write(machine.config, TWO)
    assert password(VERBS[name](machine, OTHER, "-p", "PROD")) == "prod-key"
    said = VERBS[name](machine, HOST, "-p", "PROD")
    assert (said.code, said.out) == (HOW[name][0], "")


@all_verbs
def test_what_always_applies_comes_before_profiles(machine: Machine, ask: Callable[..., Result]) -> None:
    machine.write(machine.config, TWO)
    machine.env.update(DATABRICKS_HOST=OTHER, DATABRICKS_TOKEN="env-key")
    assert password(ask(machine, OTHER)) == "env-key"
    assert password(ask(machine, HOST)) == "dev-key"


def several(machine: Machine) -> None:
    machine.write(
        machine.config, f"{TWO}[DEV2]\nhost={HOST}/\ntoken=dev2-key\n[__settings__]\nauth_storage=plaintext\n"
    )


@all_verbs
def test_of_several_profiles_for_a_host_a_person_chooses(machine: Machine, ask: Callable[..., Result]) -> None:
    several(machine)
    said = ask(machine, HOST)
    assert (said.code, said.out) == (2, "") and "several profiles are for" in said.err and "DEV, DEV2" in said.err
    assert password(ask(machine, HOST, "-p", "DEV2")) == "dev2-key"
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "DEV"
    assert password(ask(machine, HOST)) == "dev-key"


@all_verbs
def test_a_login_of_ours_serves_its_host(machine: Machine, ask: Callable[..., Result]) -> None:
    entries = {
        "databricks": {"type": "api", "key": "last", "host": OTHER},
        f"databricks:{HOST}": {"type": "api", "key": "earlier", "host": HOST},
    }
    machine.write(machine.auth_json, entries)
    assert (password(ask(machine, OTHER)), password(ask(machine, HOST))) == ("last", "earlier")


def environment_of_another_host(machine: Machine) -> None:
    """A profile that says nothing but its host, beside an environment with a key for another."""
    machine.write(machine.config, f"[PROD]\nhost={OTHER}\n")
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN=SECRET)
    machine.cached_login("PROD", access_token="prod-token")


@all_verbs
def test_a_key_of_the_environment_does_not_go_with_a_profile_that_the_request_chose(
    machine: Machine, ask: Callable[..., Result]
) -> None:
    environment_of_another_host(machine)
    assert password(ask(machine, OTHER)) == "prod-token"


def test_and_it_would_if_the_environment_were_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    environment_of_another_host(machine)
    monkeypatch.setattr(verb, "_unsaid", dict)
    assert password(bazel(machine, OTHER)) == SECRET


@all_verbs
def test_a_profile_of_the_environment_does_not_go_with_a_login_that_the_request_chose(
    machine: Machine, ask: Callable[..., Result]
) -> None:
    machine.write(machine.config, f"[KEYS]\ntoken={SECRET}\n")
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_CONFIG_PROFILE="KEYS")
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "stored", "host": OTHER}})
    assert password(ask(machine, OTHER)) == "stored"


def test_a_token_for_another_host_than_was_asked_about_is_not_given(
    ours: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a metadata server may do, which says itself whom its token is for."""
    resolved = resolve.token

    def wandering(*args: Any) -> Token:
        return replace(resolved(*args), host=OTHER)

    monkeypatch.setattr(resolve, "token", wandering)
    said = bazel(ours, HOST)
    assert (said.code, said.out) == (1, "") and f"is for {OTHER}" in said.err and SECRET not in said.err


# ---- requests that are none ------------------------------------------------------------------------------------------

NO_REQUESTS = {
    "nothing": b"",
    "a NUL": b"\x00",
    "not UTF-8": b"\xff\xfe{}",
    "no JSON": b"{",
    "nested": b"[" * 60_000,
    "another object": b'{"url": "x"}',
    "too much": json.dumps({"uri": HOST, "more": "x" * protocols.LARGEST}).encode(),
}


@pytest.mark.parametrize("stdin", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_what_bazel_cannot_have_said_is_wrong_usage(ours: Machine, stdin: bytes) -> None:
    said = typed(ours, stdin, "bazel", "get")
    assert (said.code, said.out) == (2, "") and said.err.count("\n") == 2


@pytest.mark.parametrize("stdin", [NO_REQUESTS[n] for n in NO_REQUESTS if n != "too much"], ids=lambda b: repr(b[:4]))
def test_what_git_cannot_have_said_is_not_ours(ours: Machine, stdin: bytes) -> None:
    assert typed(ours, stdin, "git", "get") == Result(0, "", "")


@pytest.mark.parametrize("line", [b"x", b"x\n", b"host=" + NAME.encode() + b"\n"], ids=["one line", "lines", "hosts"])
def test_a_request_of_git_that_does_not_end_is_wrong_usage(ours: Machine, line: bytes) -> None:
    said = typed(ours, line * (protocols.LARGEST + 1), "git", "get")
    assert (said.code, said.out) == (2, "") and f"more than {protocols.LARGEST} bytes" in said.err


HOSTILE = st.lists(
    st.sampled_from(
        ["protocol=https", f"host={NAME}", "username=token", "\n", "\r", "=", "\x00", "/", "@", ":443", ".evil.com"]
    )
    | st.text(max_size=4),
    max_size=9,
).map("".join)
ANYTHING = st.binary(max_size=300) | HOSTILE.map(str.encode)
AS_JSON = HOSTILE.map(lambda text: json.dumps({"uri": HOST + text}).encode())
often = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@often
@given(ANYTHING | HOSTILE.map(lambda text: f"protocol=https\nhost={NAME}{text}\n".encode()))
def test_whatever_git_says_its_lines_decide_and_nothing_breaks(ours: Machine, request_: bytes) -> None:
    said = typed(ours, request_, "git", "get")
    assert said == (0, f"username=token\npassword={SECRET}\n" if protocols.git_host(request_) == HOST else "", "")


@often
@given(ANYTHING | AS_JSON)
def test_whatever_bazel_says_its_uri_decides_and_nothing_breaks(ours: Machine, request_: bytes) -> None:
    said = typed(ours, request_, "bazel", "get")
    try:
        mine = protocols.bazel_host(request_) == HOST
    except UsageError:
        assert (said.code, said.out) == (2, "")
    else:
        assert (said.code, SECRET in said.out, bool(said.out)) == ((0, True, True) if mine else (1, False, False))
    assert "mistake" not in said.err and SECRET not in said.err


@often
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40) | HOSTILE)
def test_whatever_service_is_named_nothing_breaks(ours: Machine, service: str) -> None:
    said = typed(ours, "", "keyring", "get", "--", HOST + service, "token")
    assert (said.code, SECRET in said.out) in ((0, True), (1, False)) and said.err == ""
    assert (said.code == 0) is (protocols.keyring_host(HOST + service, "token") == HOST)


def test_it_is_the_size_that_is_wrong_and_nothing_else(ours: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LARGEST", 2 * protocols.LARGEST)
    assert password(typed(ours, NO_REQUESTS["too much"], "bazel", "get")) == SECRET


@pytest.mark.skipif(sys.platform == "win32", reason="/dev/zero")
@pytest.mark.parametrize("name", ["bazel", "git"])
def test_what_never_ends_is_not_read_to_its_end(ours: Machine, name: str) -> None:
    with open("/dev/zero", "rb") as endless:
        argv = [sys.executable, "-m", "dbx_auth", "helper", name, "get"]
        done = subprocess.run(argv, env=ours.child_env(), stdin=endless, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
@pytest.mark.parametrize(("name", "code"), [("bazel", 2), ("git", 0)])
def test_without_stdin_there_is_no_request(ours: Machine, name: str, code: int) -> None:
    line = f"{shlex.join([sys.executable, '-m', 'dbx_auth', 'helper', name, 'get'])} <&-"
    done = subprocess.run(["sh", "-c", line], env=ours.child_env(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, b"") and b"mistake" not in done.stderr


def test_git_need_not_close_its_end(ours: Machine) -> None:
    argv = [sys.executable, "-m", "dbx_auth", "helper", "git", "get"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=ours.child_env(), stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin and child.stdout
        child.stdin.write(f"protocol=https\nhost={NAME}\n\n".encode())
        child.stdin.flush()
        assert child.stdout.read() == f"username=token\npassword={SECRET}\n".encode()
        assert child.wait(60) == 0


@pytest.mark.parametrize(
    "argv", [["bazel"], ["bazel", "set"], ["git"], ["keyring", "get"], ["keyring", "set", "x", "y"]]
)
def test_wrong_usage_is_told(ours: Machine, argv: list[str]) -> None:
    said = typed(ours, "", *argv)
    assert (said.code, said.out) == (2, "") and "hint: " in said.err


def test_a_password_needs_a_user_as_in_keyring(ours: Machine) -> None:
    said = typed(ours, "", "keyring", "get", HOST)
    assert (said.code, said.out) == (2, "") and f"hint: dbx-auth helper keyring get {HOST} token" in said.err


# ---- what git says besides get ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["store", "erase", "capability", "something-new"])
def test_git_may_say_anything_else_and_nothing_changes(ours: Machine, operation: str) -> None:
    ours.cached_login(HOST)
    before = ours.files()
    request = f"protocol=https\nhost={NAME}\nusername=token\npassword={SECRET}\n\n"
    assert typed(ours, request, "git", operation) == Result(0, "", "")
    assert ours.files() == before
    assert password(git(ours, HOST)) == SECRET


@pytest.mark.parametrize("argv", [["git", "get"], ["keyring", "get", HOST, "token"], ["headers"], ["bazel", "get"]])
def test_a_token_that_is_there_costs_no_network_library(ours: Machine, argv: list[str]) -> None:
    probe = (
        "import sys; from dbx_auth.cli import run; code = run(sys.argv[1:]);"
        "print(code, *sorted({'httpx', 'ssl', 'socket', 'asyncio', 'anyio', 'filelock', 'keyring'} & set(sys.modules)))"
    )
    ours.cached_login(HOST)
    del ours.env["DATABRICKS_TOKEN"]
    request = {"git": f"protocol=https\nhost={NAME}\n", "bazel": json.dumps({"uri": HOST})}.get(argv[0], "")
    command = [sys.executable, "-c", probe, "helper", *argv]
    done = subprocess.run(command, env=ours.child_env(), input=request, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0" and "cached" in done.stdout


# ---- failures --------------------------------------------------------------------------------------------------------


def test_where_a_person_must_log_in_each_says_so_in_its_way(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    for ask in VERBS.values():
        said = ask(machine, HOST)
        assert said.code == 4 and f"hint: dbx-auth login {HOST}" in said.err
        assert said.out == ("quit=1\n" if ask is git else "")
    said = typed(machine, "", "keyring", "get", HOST, "token", "--output", "json")
    assert (said.code, said.out) == (4, "")


def test_git_is_not_told_to_quit_over_a_host_that_may_be_anybodys(machine: Machine) -> None:
    """A setting of ours that is broken must not keep people from their own git servers."""
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "GONE"
    machine.write(machine.config, TWO)
    said = git(machine, "https://github.com")
    assert (said.code, said.out) == (5, "") and "GONE" in said.err


def test_a_password_and_no_token_is_no_password_for_git(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_USERNAME="ada", DATABRICKS_PASSWORD="pw-secret")
    assert (git(machine, HOST).out, keyring(machine, HOST).out) == ("quit=1\n", "")
    assert headers(machine, HOST).json()["Authorization"].startswith("Basic ")


def test_the_life_that_a_token_must_have_is_that_of_the_settings(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    machine.cached_login(HOST, refresh_token="")
    machine.write(Path(machine.world.config_dir) / "config.toml", 'min_ttl = "2h"\n')
    assert bazel(machine, HOST).code != 0
    machine.write(Path(machine.world.config_dir) / "config.toml", 'min_ttl = "10m"\n')
    assert password(bazel(machine, HOST)) == "cached"


# ---- the page --------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "helpers.md").read_text()


def test_the_page_names_each_helper_and_no_other() -> None:
    assert set(re.findall(r"dbx-auth helper (\w+)", PAGE)) == set(verb.helper.commands)
    assert {row.split()[0] for row in re.findall(r"^\| `helper ([^`]+)`", PAGE, re.M)} == set(verb.helper.commands)


# ---- real peers ------------------------------------------------------------------------------------------------------

UV = shutil.which("uv", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])) or "uv"
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git")
OURSELVES = shlex.join([sys.executable, "-m", "dbx_auth"])


def credential(machine: Machine, operation: str, stdin: str, *helpers: str, scope: str = "credential") -> Result:
    """`git credential …`, with these helpers and none of the person who runs the tests."""
    chosen = [("credential.helper", ""), *((f"{scope}.helper", f"!{line}") for line in helpers)]
    argv = ["git", *(word for name, value in chosen for word in ("-c", f"{name}={value}")), "credential", operation]
    env = machine.child_env(GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="true", LC_ALL="C")
    done = subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, timeout=60)
    return Result(done.returncode, done.stdout, done.stderr)


@needs_git
def test_git_gets_its_password_from_us(ours: Machine) -> None:
    said = credential(ours, "fill", f"url={HOST}/x.git\n\n", f"{OURSELVES} helper git", scope=f"credential.{HOST}")
    fields = dict(line.split("=", 1) for line in said.out.splitlines())
    assert (said.code, fields["username"], fields["password"]) == (0, "token", SECRET), said


@needs_git
def test_git_gets_a_renewed_token_that_the_workspace_takes(machine: Machine, sandbox: Sandbox) -> None:
    login = sandbox.add_login()
    machine.env["DATABRICKS_HOST"] = sandbox.url
    machine.cached_login(sandbox.url, refresh_token=login.refresh_token, expiry="2020-01-01T00:00:00Z")
    said = credential(machine, "fill", f"url={sandbox.url}\n\n", f"{OURSELVES} helper git")
    fields = dict(line.split("=", 1) for line in said.out.splitlines())
    answer = httpx.get(sandbox.url + ME, headers={"Authorization": f"Bearer {fields['password']}"}, trust_env=False)
    assert (said.code, answer.status_code) == (0, 200)


@needs_git
@pytest.mark.parametrize("url", [OTHER, f"{HOST}%2f.evil.com", f"{HOST}.evil.com", f"http://{NAME}"])
def test_git_gets_nothing_for_others_and_asks_the_next_helper(ours: Machine, url: str) -> None:
    said = credential(
        ours, "fill", f"url={url}/x\n\n", f"{OURSELVES} helper git", "echo password=next; echo username=x;:"
    )
    assert SECRET not in said.out + said.err and said.code == 0 and "password=next\n" in said.out


@needs_git
def test_git_quits_where_a_person_must_log_in_and_does_not_ask_for_a_password(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = HOST
    said = credential(
        machine, "fill", f"url={HOST}\n\n", f"{OURSELVES} helper git", "echo password=next; echo username=x;:"
    )
    assert (said.code, said.out) == (128, "") and "told us to quit" in said.err and f"dbx-auth login {HOST}" in said.err


@needs_git
@pytest.mark.parametrize("operation", ["approve", "reject"])
def test_git_may_approve_and_reject(ours: Machine, operation: str) -> None:
    stdin = f"protocol=https\nhost={NAME}\nusername=token\npassword={SECRET}\n\n"
    assert credential(ours, operation, stdin, f"{OURSELVES} helper git") == Result(0, "", "")


@needs_git
@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_line_for_git_on_the_page_is_all_that_git_needs(machine: Machine, tmp_path: Path) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("git config"))
    host = line.partition("credential.")[2].partition(".helper")[0]
    machine.env.update(DATABRICKS_HOST=host, DATABRICKS_TOKEN=SECRET)
    env = machine.child_env(PATH=f"{a_program(tmp_path, 'dbx-auth', '')}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["sh", "-c", line], env=env, check=True, timeout=60)
    done = subprocess.run(
        ["git", "credential", "fill"], env=env, input=f"url={host}\n\n", capture_output=True, text=True, timeout=60
    )
    assert f"password={SECRET}\n" in done.stdout


def a_program(tmp_path: Path, name: str, arguments: str) -> Path:
    """A folder for PATH with a program that is `dbx-auth` with these arguments first."""
    script = tmp_path / "bin" / name
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {OURSELVES} {arguments} "$@"\n')
    script.chmod(0o755)
    return script.parent


class Index(BaseHTTPRequestHandler):
    """A package index that has nothing, and says so to whoever shows the right password."""

    shown: list[str] = []

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.shown.append(base64.b64decode(given.removeprefix("Basic ")).decode() if given else "")
        right = self.shown[-1] == f"token:{SECRET}"
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "text/html")
        if not right:
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.end_headers()
        if right:
            self.wfile.write(b"<!DOCTYPE html><html><body></body></html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def an_index() -> Iterator[tuple[str, list[str]]]:
    handler = type("Index", (Index,), {"shown": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.shown  # type: ignore[attr-defined]
        server.shutdown()
        thread.join(30)


def installing(machine: Machine, tmp_path: Path, *argv: str, host: str) -> subprocess.CompletedProcess[str]:
    """A package manager that finds us under the name `keyring`."""
    machine.env.update(DATABRICKS_HOST=host, DATABRICKS_TOKEN=SECRET)
    env = machine.child_env(
        PATH=f"{a_program(tmp_path, 'keyring', 'helper keyring')}{os.pathsep}{os.environ['PATH']}",
        PIP_CONFIG_FILE=os.devnull,
    )
    return subprocess.run(argv, env=env, input="nothing-of-the-kind\n", capture_output=True, text=True, timeout=100)


PIP = [
    sys.executable,
    "-m",
    "pip",
    "download",
    "--no-input",
    "--disable-pip-version-check",
    "--retries",
    "0",
    "--no-deps",
]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("mine", [True, False])
def test_pip_takes_its_password_from_us_for_our_host_alone(machine: Machine, tmp_path: Path, mine: bool) -> None:
    pytest.importorskip("pip")
    with an_index() as (url, shown):
        index = f"{url.replace('//', '//token@')}/simple"
        argv = [*PIP, "--keyring-provider", "subprocess", "-d", str(tmp_path), "-i", index, "nothing-of-the-kind"]
        done = installing(machine, tmp_path, *argv, host=url if mine else OTHER)
    assert (f"token:{SECRET}" in shown) is mine and shown, (shown, done.stderr)
    assert ("No matching distribution" in done.stderr) and SECRET not in done.stdout + done.stderr
    assert "dbx-auth" not in done.stderr, "pip asks for every index, and has nothing to say of others"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("mine", [True, False])
def test_uv_takes_its_password_from_us_for_our_host_alone(machine: Machine, tmp_path: Path, mine: bool) -> None:
    with an_index() as (url, shown):
        index = f"{url.replace('//', '//token@')}/simple"
        argv = [UV, "--no-cache", "--no-config", "pip", "compile", "--keyring-provider", "subprocess"]
        argv += ["--index-url", index, "--python", sys.executable, "--no-python-downloads", "-"]
        done = installing(machine, tmp_path, *argv, host=url if mine else OTHER)
    assert (f"token:{SECRET}" in shown) is mine, (shown, done.stderr)
    assert SECRET not in done.stdout + done.stderr


def test_uv_answers_bazel_in_the_same_shape(ours: Machine) -> None:
    """`uv auth helper`, given the same request and the same password."""
    env = ours.child_env(UV_NO_CONFIG="1", XDG_DATA_HOME=str(ours.home / "uv"))

    def uv(*argv: str, stdin: str) -> str:
        return subprocess.run(
            [UV, "auth", *argv], env=env, input=stdin, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    request = json.dumps({"uri": f"{HOST}/x"})
    uv("login", "--username", "token", "--password", "-", HOST, stdin=f"{SECRET}\n")
    theirs = json.loads(uv("helper", "--protocol=bazel", "get", stdin=request))
    said = typed(ours, request, "bazel", "get").json()

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value)

    assert shape(said) == shape(theirs)
