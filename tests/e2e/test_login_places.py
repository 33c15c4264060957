"""`dbx-auth login` wherever a person may be: with or without a browser, a terminal, a host; in a group, an account."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pexpect
import pytest
from cloud import Cloud
from cloud.databricks import ACCOUNT_ID, ACCOUNTS, AWS, AZURE
from cloud.mint import decoded
from cloud.ways import go_inside
from e2e.test_terminal import ended, typing
from machine import Machine, Result
from person import answer, asked, end_of, interrupt, shown_link, visit, waiting

from dbx_auth.login import METHODS
from dbx_auth.sandbox import Sandbox, workspace
from dbx_auth.sandbox.oauth import AuthorizationServer

pytestmark = pytest.mark.real

NO_BROWSER = {"BROWSER": ""}
SOME_BROWSER = {"BROWSER": "true"}
WORKSPACE = "X-Databricks-Workspace-Id"
OTHER = "7"


@pytest.fixture
def unified() -> Iterator[Sandbox]:
    with Sandbox(kind="unified", auto_approve=True) as running:
        yield running


@pytest.fixture
def account() -> Iterator[Sandbox]:
    with Sandbox(kind="account", auto_approve=True) as running:
        yield running


@pytest.fixture
def inside(machine: Machine, cloud: Cloud) -> Cloud:
    go_inside(machine, cloud)
    return cloud


def log_in(machine: Machine, *argv: str, **env: str) -> Result:
    """A login in the browser, of which only the link is known; it ends well."""
    with waiting(machine, "login", *argv, "--timeout", "30", **env) as login:
        visit(login.link())
        done = login.ended()
    assert done.code == 0, done.err
    return done


def entry(machine: Machine) -> dict[str, Any]:
    """What auth.json says about the last login."""
    kept: dict[str, Any] = json.loads(machine.auth_json.read_text())["databricks"]
    return kept


def printed(machine: Machine, *argv: str, **env: str) -> str:
    """What a process of its own prints that succeeds and has nothing else to say."""
    done = machine.spawn(*argv, **env)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def claims(token: str) -> dict[str, Any]:
    return decoded(token.split(".")[1])


def works(machine: Machine, sandbox: Sandbox) -> None:
    """Any program gets a token from now on, and it is good."""
    told = json.loads(printed(machine, "status", "-o", "json"))
    assert (told["authenticated"], told["host"], told["user"]) == (True, sandbox.url, sandbox.user)
    assert printed(machine, "token").count("\n") == 1


def typist(machine: Machine, *argv: str, **env: str) -> AbstractContextManager[Any]:
    """A person who types at a login."""
    return typing(machine, "login", *argv, "--timeout", "30", **env)


# ---- no browser here -------------------------------------------------------------------------------------------------


def test_without_a_browser_the_link_is_shown_and_the_callback_ends_the_login(
    machine: Machine, sandbox: Sandbox
) -> None:
    with typist(machine, sandbox.url, "--method", "browser", **NO_BROWSER) as person:
        person.expect("open this link in a browser:")
        link = shown_link(person)
        person.expect("paste the address")
        page = visit(link)
        code, screen = ended(person)
    assert code == 0 and f"logged in to {sandbox.url} as {sandbox.user}" in screen
    assert page.status_code == 200 and "Back to the terminal" in page.text
    works(machine, sandbox)


def test_without_a_browser_the_address_where_it_ended_elsewhere_is_taken(machine: Machine, sandbox: Sandbox) -> None:
    with typist(machine, sandbox.url, "--method", "browser", **NO_BROWSER) as person:
        link = shown_link(person)
        person.expect("paste the address")
        person.sendline("")
        person.sendline(f"  \t {end_of(link)}  ")
        code, screen = ended(person)
    assert code == 0, screen
    works(machine, sandbox)


def test_what_is_no_answer_is_refused_and_waited_past(machine: Machine, sandbox: Sandbox) -> None:
    with waiting(machine, "login", sandbox.url, "--no-browser", "--timeout", "30") as login:
        link = login.link()
        strangers = ["what?", "code", answer(link, state="another-login"), answer(link, code=""), link]
        login.type("".join(f"{line}\n" for line in strangers))
        login.until(f"(?s)(that is not the address.*){{{len(strangers)}}}")
        login.type(end_of(link) + "\n")
        done = login.ended()
    assert done.code == 0 and done.err.count("that is not the address") == len(strangers)
    assert [r for r in sandbox.log if r.method == "POST"] == [("POST", "/oidc/v1/token", 200, "authorization_code")]
    works(machine, sandbox)


def test_a_stranger_at_the_callback_is_refused_and_waited_past(machine: Machine, sandbox: Sandbox) -> None:
    with waiting(machine, "login", sandbox.url, "--no-browser", "--timeout", "30") as login:
        link = login.link()
        stranger = httpx.get(answer(link, state="another-login"), trust_env=False, verify=False)
        login.type("what?\n")
        page = visit(link)
        done = login.ended()
    assert (stranger.status_code, page.status_code, done.code) == (400, 200, 0), done.err
    works(machine, sandbox)


@pytest.mark.parametrize("end", ["\n", "\r\n", "  \n", ""])
def test_a_script_pipes_the_address_in(machine: Machine, sandbox: Sandbox, end: str) -> None:
    with waiting(machine, "login", sandbox.url, "--timeout", "30") as login:
        login.type(end_of(login.link()) + end)
        done = login.ended()  # which closes stdin first
    assert (done.code, done.out) == (0, ""), done.err
    works(machine, sandbox)


def test_where_stdin_is_closed_the_callback_still_counts(machine: Machine, sandbox: Sandbox) -> None:
    with waiting(machine, "login", sandbox.url, "--timeout", "30") as login:
        login.hang_up()
        visit(login.link())
        done = login.ended()
    assert done.code == 0, done.err


def test_a_refusal_that_is_pasted_is_one(machine: Machine, sandbox: Sandbox) -> None:
    before = machine.files()
    with waiting(machine, "login", sandbox.url, "--timeout", "30") as login:
        login.type(answer(login.link(), code="", error="access_denied", error_description="not today") + "\n")
        done = login.ended()
    assert (done.code, done.out) == (1, "") and "access_denied: not today" in done.err
    assert machine.files() == before


def test_a_code_that_is_spent_is_no_login(machine: Machine, sandbox: Sandbox) -> None:
    before = machine.files()
    with waiting(machine, "login", sandbox.url, "--timeout", "30") as login:
        login.type(answer(login.link(), iss=f"{sandbox.url}/oidc") + "\n")
        done = login.ended()
    assert done.code in (1, 4) and "a-code" not in done.err and machine.files() == before


def test_the_line_that_counts_down_stays_away_from_what_is_pasted(machine: Machine, sandbox: Sandbox) -> None:
    with typist(machine, sandbox.url, "--method", "browser", **NO_BROWSER) as person:
        link = shown_link(person)
        person.expect("paste the address")
        assert person.expect(["s left", pexpect.TIMEOUT], timeout=1.5) == 1
        visit(link)
        assert ended(person)[0] == 0


# ---- a browser elsewhere ---------------------------------------------------------------------------------------------


def opener(machine: Machine, tmp_path: Path, name: str) -> Path:
    """A program that opens links on this machine; returns the file that it notes them in."""
    folder, notes = tmp_path / "openers", tmp_path / "opened"
    folder.mkdir()
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "$1" > {notes}.new && /bin/mv {notes}.new {notes}\n')
    program.chmod(0o755)
    machine.env["PATH"] = str(folder)
    return notes


def test_who_came_by_ssh_is_shown_the_link_and_may_paste(machine: Machine, sandbox: Sandbox, tmp_path: Path) -> None:
    notes = opener(machine, tmp_path, "xdg-open")
    with waiting(
        machine, "login", sandbox.url, "--timeout", "30", SSH_CONNECTION="192.0.2.7 50000 192.0.2.8 22"
    ) as login:
        login.type(end_of(login.link()) + "\n")
        done = login.ended()
    assert done.code == 0 and "open this link in a browser:" in done.err and "paste the address" in done.err
    assert not notes.exists()


def test_in_wsl_the_browser_of_windows_is_opened_and_a_paste_is_taken_too(
    machine: Machine, sandbox: Sandbox, tmp_path: Path
) -> None:
    notes = opener(machine, tmp_path, "wslview")
    with waiting(machine, "login", sandbox.url, "--timeout", "30", WSL_DISTRO_NAME="Ubuntu") as login:
        link = login.link()
        login.until("paste the address")
        login.type(end_of(link) + "\n")
        done = login.ended()
    assert done.code == 0 and "opening the browser" in done.err
    assert notes.read_text().strip() == link
    works(machine, sandbox)


def test_on_a_desktop_the_browser_is_opened_and_nothing_is_read_from_stdin(
    machine: Machine, sandbox: Sandbox, tmp_path: Path
) -> None:
    notes = opener(machine, tmp_path, "xdg-open")
    with waiting(machine, "login", sandbox.url, "--timeout", "30", DISPLAY=":0") as login:
        link = login.link()
        visit(link)
        done = login.ended()
    assert done.code == 0 and "opening the browser" in done.err and "paste" not in done.err
    assert notes.read_text().strip() == link


def test_a_browser_that_cannot_be_started_is_the_same_as_none(machine: Machine, sandbox: Sandbox) -> None:
    done = log_in(machine, sandbox.url, BROWSER="/no/such/browser")
    assert "open this link in a browser:" in done.err and "paste the address" in done.err


# ---- no host ---------------------------------------------------------------------------------------------------------


def test_a_person_without_a_host_finds_it_in_the_browser(machine: Machine, sandbox: Sandbox) -> None:
    with typist(machine, **NO_BROWSER, DATABRICKS_DISCOVERY_HOST=sandbox.url) as person:
        person.expect(r"workspace URL \(none: find it in the browser\): ")
        person.sendline("")
        link = shown_link(person)
        assert link.startswith(f"{sandbox.url}/?destination_url=%2Foidc%2Fv1%2Fauthorize")
        visit(link)
        code, screen = ended(person)
    assert code == 0 and f"logged in to {sandbox.url} as {sandbox.user}" in screen
    assert entry(machine)["host"] == sandbox.url
    works(machine, sandbox)


def test_a_script_without_a_host_finds_it_in_the_browser_when_told_so(machine: Machine, sandbox: Sandbox) -> None:
    log_in(machine, "--method", "browser", DATABRICKS_DISCOVERY_HOST=sandbox.url)
    assert entry(machine)["host"] == sandbox.url
    works(machine, sandbox)
    assert printed(machine, "token", "--force-refresh") != "", "the host that was found renews it"


def test_a_script_that_names_neither_host_nor_way_is_told_to(machine: Machine) -> None:
    done = machine.spawn("login")
    assert (done.code, done.out) == (2, "") and "no host to log in to" in done.err


def test_the_workspace_of_a_unified_host_is_found_too(machine: Machine, unified: Sandbox) -> None:
    log_in(machine, "--method", "browser", DATABRICKS_DISCOVERY_HOST=unified.url)
    kept = entry(machine)
    assert (kept["host"], kept["account_id"], kept["workspace_id"]) == (
        unified.url,
        unified.account_id,
        unified.workspace_id,
    )
    works(machine, unified)
    assert printed(machine, "token", "--force-refresh") != ""


@pytest.mark.parametrize("host", [AWS, AZURE])
def test_the_search_starts_at_databricks_and_ends_in_a_domain_of_databricks(
    machine: Machine, inside: Cloud, host: str
) -> None:
    inside.databricks.picks = host
    with waiting(machine, "login", "--method", "browser", "--timeout", "30") as login:
        link = login.link()
        assert link.startswith("https://login.databricks.com/?destination_url=%2Foidc%2Fv1%2Fauthorize")
        assert inside.browse(link).status_code == 200
        done = login.ended()
    assert done.code == 0 and f"logged in to {host} as {inside.databricks.user}" in done.err
    assert entry(machine)["host"] == host
    headers = json.loads(printed(machine, "token", "-o", "headers"))
    assert inside.holder(host, headers) == inside.databricks.user


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "https://evil-databricks.com/oidc",
        "https://databricks.com/oidc",
        "https://databricks.com.evil.example/oidc",
        "https://dev.cloud.databricks.com.evil.example/oidc",
        "https://evil-azuredatabricks.net/oidc",
        "https://evil.example/.databricks.com",
        "https://evil.example?.databricks.com",
        "https://evil.example#.databricks.com",
        "https://evil.example\\.databricks.com",
        "https://evil.example%2f.databricks.com",
        "http://adb-1.azuredatabricks.net/oidc",
        "http://dev.cloud.databricks.com/oidc",
        "ftp://dev.cloud.databricks.com/oidc",
        "//dev.cloud.databricks.com/oidc",
        "dev.cloud.databricks.com",
        "https://alice@dev.cloud.databricks.com/oidc",
        "https://alice:secret@dev.cloud.databricks.com/oidc",
        "https://dev.cloud.databricks.com@evil.example/oidc",
        "https://dev.cloud.databricks.com:443@evil.example/oidc",
        "https://dev.cloud.databricks.com?y",
        "https://dev.cloud.databricks.com/oidc?y",
        "https://dev.cloud.databricks.com/oidc#y",
        "https://dev.cloud.databricks.com /oidc",
        "https://dev.cloud.databr\u0131cks.com/oidc",
        "http://localhost:1/oidc",
    ],
)
def test_an_answer_from_elsewhere_is_refused_and_nobody_gets_the_code(
    machine: Machine, inside: Cloud, issuer: str
) -> None:
    before = machine.files()
    with waiting(machine, "login", "--method", "browser", "--timeout", "30") as login:
        login.type(answer(login.link(), iss=issuer) + "\n")
        done = login.ended()
    assert (done.code, done.out) == (1, "") and "the code was not used" in done.err
    assert "a-code" not in done.err and "hint: dbx-auth login https://" in done.err
    assert machine.files() == before
    assert (inside.log, inside.escapes) == ([], [])


@pytest.mark.parametrize("issuer", ["", "http://127.0.0.1:1/oidc"])
def test_a_code_for_another_than_the_place_that_was_asked_stays_here(
    machine: Machine, sandbox: Sandbox, issuer: str
) -> None:
    with waiting(machine, "login", "--method", "browser", DATABRICKS_DISCOVERY_HOST=sandbox.url) as login:
        link = login.link()
        [code] = re.findall(r"code=(\w+)", end_of(link))
        login.type(answer(link, code=code, iss=issuer) + "\n")
        done = login.ended()
    assert (done.code, done.out) == (1, "") and code not in done.err and not machine.auth_json.exists()
    assert [request for request in sandbox.log if request.method == "POST"] == []


@pytest.mark.parametrize("place", ["http://login.databricks.com", "https://a@b.example", "nonsense/path"])
def test_a_place_to_start_that_is_none_is_a_setting_that_cannot_be_used(machine: Machine, place: str) -> None:
    done = machine.spawn("login", "--method", "browser", "--timeout", "5", DATABRICKS_DISCOVERY_HOST=place)
    assert (done.code, done.out) == (5, "") and "open this link" not in done.err


# ---- a host of several workspaces ------------------------------------------------------------------------------------


def headers(machine: Machine, **env: str) -> dict[str, str]:
    told: dict[str, str] = json.loads(printed(machine, "token", "-o", "headers", **env))
    return told


def exported(machine: Machine) -> dict[str, str]:
    lines = printed(machine, "token", "-o", "env").splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


def serves(machine: Machine, unified: Sandbox) -> None:
    """Everything goes to the workspace that was meant."""
    works(machine, unified)
    assert headers(machine)[WORKSPACE] == unified.workspace_id
    told = exported(machine)
    assert (told["DATABRICKS_HOST"], told["DATABRICKS_WORKSPACE_ID"]) == (unified.url, unified.workspace_id)
    assert "databricks-claude-sonnet-4-5" in printed(machine, "models", "-o", "names")


def test_the_workspace_in_the_url_is_kept_and_goes_along_with_every_token(machine: Machine, unified: Sandbox) -> None:
    log_in(machine, f"{unified.url}/?o={unified.workspace_id}", "--method", "browser")
    kept = entry(machine)
    assert (kept["host"], kept["workspace_id"]) == (unified.url, unified.workspace_id)
    serves(machine, unified)
    assert unified.workspace_id in printed(machine, "token", "--force-refresh", "-o", "header"), "after a renewal too"


def test_the_one_workspace_of_a_unified_host_is_taken_without_a_question(machine: Machine, unified: Sandbox) -> None:
    log_in(machine, unified.url, "--method", "browser")
    assert entry(machine)["workspace_id"] == unified.workspace_id
    serves(machine, unified)


def test_the_workspace_of_the_environment_counts_as_well(machine: Machine, unified: Sandbox) -> None:
    log_in(machine, unified.url, "--method", "browser", DATABRICKS_WORKSPACE_ID=unified.workspace_id)
    serves(machine, unified)


@pytest.fixture
def several(unified: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A unified host whose account has three workspaces; the person may enter the second."""
    names = {"1": "first", unified.workspace_id: "dev", "3": "third"}
    rows = [{"workspace_id": int(id), "workspace_name": name} for id, name in names.items()]
    monkeypatch.setattr(workspace, "workspaces", lambda: rows)
    return unified


def test_of_several_workspaces_a_person_chooses_one(machine: Machine, several: Sandbox) -> None:
    with typist(machine, several.url, "--method", "browser", **NO_BROWSER) as person:
        visit(shown_link(person))
        person.expect("which workspace")
        person.expect("1  first")
        person.expect(rf"2  dev \({several.workspace_id}\)")
        person.expect("3  third")
        person.expect("workspace")
        person.sendline("4")
        assert person.expect(["not in the range", "that is not the address"]) == 0
        person.sendline("2")
        code, screen = ended(person)
    assert code == 0 and f"logged in to {several.url} as {several.user}" in screen
    assert entry(machine)["workspace_id"] == several.workspace_id
    serves(machine, several)


def test_of_several_workspaces_a_script_is_told_how_to_name_one(machine: Machine, several: Sandbox) -> None:
    done = log_in(machine, several.url, "--method", "browser")
    assert f"hint: dbx-auth login '{several.url}?o=<workspace id>'" in done.err
    assert "workspace_id" not in entry(machine)
    assert WORKSPACE not in headers(machine)


def test_a_workspace_that_the_person_may_not_enter_is_no_login(machine: Machine, unified: Sandbox) -> None:
    with waiting(machine, "login", f"{unified.url}?o={OTHER}", "--timeout", "30") as login:
        visit(login.link())
        done = login.ended()
    assert (done.code, done.out) == (1, "") and "does not accept" in done.err
    assert not machine.auth_json.exists()


def test_a_key_for_a_host_of_several_workspaces_needs_to_say_which(machine: Machine, unified: Sandbox) -> None:
    lost = machine.spawn("login", unified.url, "--with-token", stdin=unified.pat)
    assert (lost.code, lost.out) == (1, "") and f"dbx-auth login '{unified.url}?o=<workspace id>'" in lost.err
    assert not machine.auth_json.exists()
    found = machine.spawn("login", f"{unified.url}?o={unified.workspace_id}", "--with-token", stdin=unified.pat)
    assert found.code == 0, found.err
    serves(machine, unified)


def test_a_principal_of_a_host_of_several_workspaces_says_which(machine: Machine, unified: Sandbox) -> None:
    url = f"{unified.url}?o={unified.workspace_id}"
    pair = f"{unified.client_id}\n{unified.client_secret}\n"
    done = machine.spawn("login", url, "--method", "m2m", stdin=pair)
    assert done.code == 0, done.err
    assert headers(machine)[WORKSPACE] == unified.workspace_id
    assert json.loads(printed(machine, "status", "-o", "json"))["user"] == unified.client_id


def test_another_workspace_in_the_url_is_not_passed_over_for_the_login_that_works(
    machine: Machine, unified: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(machine, f"{unified.url}?o={unified.workspace_id}", "--method", "browser")
    monkeypatch.setattr(workspace, "WORKSPACE_ID", OTHER)
    with waiting(machine, "login", f"{unified.url}?o={OTHER}", "--timeout", "30") as login:
        found = login.until(r"already logged in|\n(http\S+)\n")
        if found[1]:
            visit(found[1])
        done = login.ended()
    assert done.code == 0, done.err
    assert headers(machine)[WORKSPACE] == OTHER


# ---- an account ------------------------------------------------------------------------------------------------------


def test_a_login_to_an_account(machine: Machine, account: Sandbox) -> None:
    done = log_in(machine, account.url, "--account-id", account.account_id, "--method", "browser")
    assert f"logged in to {account.url} as {account.user}" in done.err
    assert entry(machine)["account_id"] == account.account_id
    works(machine, account)
    assert printed(machine, "token", "--force-refresh") != ""


def test_a_login_to_an_account_is_for_none_of_its_workspaces(machine: Machine, account: Sandbox) -> None:
    log_in(machine, account.url, "--account-id", account.account_id, "--method", "browser")
    assert "workspace_id" not in entry(machine) and set(headers(machine)) == {"Authorization"}


def test_the_account_may_come_from_the_environment_or_the_url(machine: Machine, account: Sandbox) -> None:
    log_in(machine, account.url, DATABRICKS_ACCOUNT_ID=account.account_id)
    works(machine, account)
    assert machine.spawn("logout").code == 0
    log_in(machine, f"{account.url}?a={account.account_id}")
    works(machine, account)


def test_a_login_to_the_account_console_of_databricks(machine: Machine, inside: Cloud) -> None:
    argv = ["login", ACCOUNTS, "--account-id", ACCOUNT_ID, "--method", "browser", "--timeout", "30"]
    with waiting(machine, *argv) as login:
        link = login.link()
        assert link.startswith(f"{ACCOUNTS}/oidc/accounts/{ACCOUNT_ID}/v1/authorize?")
        inside.browse(link)
        done = login.ended()
    assert done.code == 0 and f"logged in to {ACCOUNTS} as {inside.databricks.user}" in done.err
    told = headers(machine)
    assert set(told) == {"Authorization"} and inside.holder(ACCOUNTS, told) == inside.databricks.user
    status = json.loads(printed(machine, "status", "-o", "json"))
    assert (status["authenticated"], status["user"]) == (True, inside.databricks.user)
    assert "workspace_id" not in entry(machine)


def test_a_person_is_asked_which_account(machine: Machine, inside: Cloud) -> None:
    with typist(machine, ACCOUNTS, "--method", "browser", **NO_BROWSER) as person:
        person.expect("account id: ")
        person.sendline(f" {ACCOUNT_ID} ")
        inside.browse(shown_link(person))
        code, screen = ended(person)
    assert code == 0, screen
    assert entry(machine)["account_id"] == ACCOUNT_ID
    assert inside.holder(ACCOUNTS, headers(machine)) == inside.databricks.user


def test_a_script_has_to_say_which_account(machine: Machine, inside: Cloud) -> None:
    done = machine.spawn("login", ACCOUNTS, "--method", "browser", "--timeout", "5")
    assert (done.code, done.out) == (2, "") and "--account-id ID" in done.err
    assert inside.log == [] and not machine.auth_json.exists()


# ---- a group, and scopes ---------------------------------------------------------------------------------------------


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What sandboxes are asked at their token endpoints."""
    seen: list[dict[str, str]] = []
    token = AuthorizationServer.token

    def spy(server: AuthorizationServer, form: Any, basic: Any = None) -> dict[str, Any]:
        seen.append(dict(form))
        return token(server, form, basic)

    monkeypatch.setattr(AuthorizationServer, "token", spy)
    return seen


def test_a_login_in_the_role_of_a_group(machine: Machine, sandbox: Sandbox, forms: list[dict[str, str]]) -> None:
    with waiting(machine, "login", sandbox.url, "--group-id", "42", "--timeout", "30") as login:
        link = login.link()
        visit(link)
        done = login.ended()
    assert done.code == 0, done.err
    assert asked(link)["assume_group"] == "42" and entry(machine)["group_id"] == "42"
    assert claims(printed(machine, "token"))["group_id"] == "42"
    assert claims(printed(machine, "token", "--force-refresh"))["group_id"] == "42"
    assert (forms[-1]["grant_type"], forms[-1]["assume_group"]) == ("refresh_token", "42")
    assert json.loads(printed(machine, "status", "-o", "json"))["authenticated"] is True


def test_a_login_in_the_role_of_a_group_serves_no_other(machine: Machine, sandbox: Sandbox) -> None:
    log_in(machine, sandbox.url, "--group-id", "42")
    assert claims(printed(machine, "token", DATABRICKS_GROUP_ID="42"))["group_id"] == "42"
    other = machine.spawn("token", DATABRICKS_GROUP_ID=OTHER)
    assert (other.code, other.out) == (4, "")


def test_a_login_of_nobody_in_particular_serves_no_group(machine: Machine, sandbox: Sandbox) -> None:
    log_in(machine, sandbox.url)
    other = machine.spawn("token", DATABRICKS_GROUP_ID="42")
    assert (other.code, other.out) == (4, "")


def test_another_group_logs_in_anew(machine: Machine, sandbox: Sandbox) -> None:
    log_in(machine, sandbox.url, "--group-id", "42")
    log_in(machine, sandbox.url, "--group-id", OTHER)
    assert claims(printed(machine, "token"))["group_id"] == OTHER


def test_a_key_cannot_take_the_role_of_a_group_and_says_so(machine: Machine, sandbox: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat, DATABRICKS_AUTH_TYPE="pat")
    done = machine.spawn("token", DATABRICKS_GROUP_ID="42")
    assert (done.code, done.out) == (5, "") and "cannot take the role of a group" in done.err


def test_a_login_with_a_key_does_not_pass_over_the_group(machine: Machine, sandbox: Sandbox) -> None:
    done = machine.spawn("login", sandbox.url, "--with-token", "--group-id", "42", stdin=sandbox.pat)
    assert done.code != 0 and "group" in done.err, done
    assert not machine.auth_json.exists()


def test_a_principal_keeps_the_role_of_its_group(machine: Machine, sandbox: Sandbox) -> None:
    pair = f"{sandbox.client_id}\n{sandbox.client_secret}\n"
    done = machine.spawn("login", sandbox.url, "--method", "m2m", "--group-id", "42", stdin=pair)
    assert done.code == 0, done.err
    assert claims(printed(machine, "token")).get("group_id") == "42"


@pytest.mark.parametrize(
    ("said", "scopes"), [("sql,files", ["sql", "files"]), ("sql  files,sql", ["sql", "files"]), ("sql", ["sql"])]
)
def test_the_scopes_are_asked_for_and_kept(machine: Machine, sandbox: Sandbox, said: str, scopes: list[str]) -> None:
    with waiting(machine, "login", sandbox.url, "--scopes", said, "--timeout", "30") as login:
        link = login.link()
        visit(link)
        done = login.ended()
    assert done.code == 0, done.err
    assert asked(link)["scope"].split() == ["offline_access", *scopes]
    assert entry(machine)["scopes"] == scopes
    renewed = printed(machine, "token", "--force-refresh")
    assert set(claims(renewed)["scope"].split()) == {"offline_access", *scopes}


def test_who_says_offline_access_too_asks_for_it_once(machine: Machine, sandbox: Sandbox) -> None:
    with waiting(machine, "login", sandbox.url, "--scopes", "sql,offline_access", "--timeout", "30") as login:
        link = login.link()
    assert sorted(asked(link)["scope"].split()) == ["offline_access", "sql"]


def test_a_principal_keeps_its_scopes(machine: Machine, sandbox: Sandbox) -> None:
    pair = f"{sandbox.client_id}\n{sandbox.client_secret}\n"
    done = machine.spawn("login", sandbox.url, "--method", "m2m", "--scopes", "sql", stdin=pair)
    assert done.code == 0, done.err
    assert claims(printed(machine, "token"))["scope"] == "sql"


def test_other_scopes_log_in_anew(machine: Machine, sandbox: Sandbox) -> None:
    log_in(machine, sandbox.url, "--scopes", "sql")
    with waiting(machine, "login", sandbox.url, "--scopes", "files", "--timeout", "30") as login:
        found = login.until(r"already logged in|\n(http\S+)\n")
        if found[1]:
            visit(found[1])
        assert login.ended().code == 0
    assert "files" in claims(printed(machine, "token"))["scope"].split()


# ---- again -----------------------------------------------------------------------------------------------------------


def any_way(machine: Machine, sandbox: Sandbox, method: str, *argv: str) -> Result:
    """A login that ends well, in each of the ways that need no Azure."""
    if method == "browser":
        return log_in(machine, sandbox.url, *argv)
    stdin = {"pat": sandbox.pat, "m2m": f"{sandbox.client_id}\n{sandbox.client_secret}\n"}[method]
    option = ["--with-token"] if method == "pat" else ["--method", method]
    done = machine.spawn("login", sandbox.url, *option, *argv, stdin=stdin)
    assert done.code == 0, done.err
    return done


SOURCES = {"browser": "databricks-cli", "pat": "stored", "m2m": "oauth-m2m"}


@pytest.mark.parametrize("method", SOURCES)
def test_every_way_to_log_in_leaves_a_token_for_every_process_until_the_logout(
    machine: Machine, sandbox: Sandbox, method: str
) -> None:
    done = any_way(machine, sandbox, method)
    assert "wins over" not in done.err and "warning" not in done.err
    told = json.loads(printed(machine, "token", "-o", "json"))
    assert (told["auth_type"], told["host"]) == (SOURCES[method], sandbox.url)
    status = json.loads(printed(machine, "status", "-o", "json"))
    assert status["user"] == (sandbox.client_id if method == "m2m" else sandbox.user)
    gone = machine.spawn("logout")
    assert gone.code == 0 and f"forgot the login for {sandbox.url}" in gone.err and "still" not in gone.err
    after = machine.spawn("token")
    assert (after.code, after.out) == (4, "")


@pytest.mark.parametrize("method", SOURCES)
def test_a_login_that_works_is_reused_and_said_so_and_force_logs_in_anew(
    machine: Machine, sandbox: Sandbox, method: str
) -> None:
    any_way(machine, sandbox, method)
    before = entry(machine)
    again = machine.spawn("login", sandbox.url, "--timeout", "5")
    assert (again.code, again.out) == (0, "") and f"already logged in to {sandbox.url}" in again.err
    assert SOURCES[method] in again.err and "dbx-auth login --force" in again.err
    assert entry(machine) == before
    grants = [request.grant_type for request in sandbox.log if request.grant_type]
    forced = any_way(machine, sandbox, method, "--force")
    assert "already" not in forced.err and "logged in to" in forced.err
    anew = [request.grant_type for request in sandbox.log if request.grant_type][len(grants) :]
    assert bool(anew) == (method != "pat")


def test_after_a_login_elsewhere_the_first_one_is_there_again_with_one_word(machine: Machine, sandbox: Sandbox) -> None:
    with Sandbox(auto_approve=True) as second:
        log_in(machine, sandbox.url)
        log_in(machine, second.url)
        assert entry(machine)["host"] == second.url
        again = machine.spawn("login", sandbox.url, "--timeout", "5")
        assert again.code == 0 and "already logged in" in again.err
    works(machine, sandbox)


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------

METHOD = r"method \[1\]: "
PROMPTS = [
    ("workspace URL", [], []),
    (METHOD, ["{url}"], []),
    ("personal access token: ", ["{url}", "--method", "pat"], []),
    ("personal access token: ", [], [("workspace URL", "{url}"), (METHOD, "2")]),
    ("client id: ", ["{url}", "--method", "m2m"], []),
    ("client secret: ", ["{url}", "--method", "m2m"], [("client id: ", "an-id")]),
]


@pytest.mark.parametrize(("question", "argv", "before"), PROMPTS, ids=lambda value: str(value)[:24])
def test_ctrl_c_at_any_question_ends_it_and_changes_nothing(
    machine: Machine, sandbox: Sandbox, question: str, argv: list[str], before: list[tuple[str, str]]
) -> None:
    files = machine.files()
    with typist(machine, *(word.format(url=sandbox.url) for word in argv)) as person:
        for asked_first, said in before:
            person.expect(asked_first)
            person.sendline(said.format(url=sandbox.url))
        person.expect(question)
        interrupt(person)
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == files


def test_ctrl_c_at_the_question_for_the_account_ends_it_and_changes_nothing(machine: Machine, inside: Cloud) -> None:
    files = machine.files()
    with typist(machine, ACCOUNTS) as person:
        person.expect("account id: ")
        interrupt(person)
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == files and inside.log == []


def test_ctrl_c_at_the_choice_of_a_workspace_ends_it_and_changes_nothing(machine: Machine, several: Sandbox) -> None:
    files = machine.files()
    with typist(machine, several.url, "--method", "browser", **NO_BROWSER) as person:
        visit(shown_link(person))
        person.expect(r"workspace \[1\]: ")
        interrupt(person)
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == files


@pytest.mark.parametrize(
    ("browser", "sign"), [(NO_BROWSER, "paste the address"), (SOME_BROWSER, "waiting for the browser")]
)
def test_ctrl_c_while_a_login_waits_ends_it_and_changes_nothing(
    machine: Machine, sandbox: Sandbox, browser: dict[str, str], sign: str
) -> None:
    files = machine.files()
    with typist(machine, sandbox.url, "--method", "browser", **browser) as person:
        shown_link(person)
        person.expect(sign)
        interrupt(person)
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == files


def test_ctrl_c_ends_a_login_without_a_terminal_too(machine: Machine, sandbox: Sandbox) -> None:
    files = machine.files()
    with waiting(machine, "login", sandbox.url, "--timeout", "30") as login:
        login.until("paste the address")
        login.child.send_signal(signal.SIGINT)
        done = login.ended()
    assert (done.code, done.out) == (130, "") and "interrupted" in done.err
    assert machine.files() == files


# ---- which ways are offered ------------------------------------------------------------------------------------------


def offered(machine: Machine, host: str, **env: str) -> list[str]:
    """The ways to log in that a person is offered, in their order."""
    with typist(machine, host, "--force", **env) as person:
        person.expect("how do you want to log in.")
        person.expect(METHOD)
        screen = person.before
        interrupt(person)
    names = {text: name for name, text in METHODS.items()}
    return [names[text] for text in re.findall(r"^  \d  (.*?)\r?$", screen, re.M)]


AZ_PROFILE = '\ufeff{"installationId": "x", "subscriptions": [{"id": "sub-1", "isDefault": true}]}'
DEVICE, ENTRA = "azure-device-code", "azure-browser"


@pytest.mark.parametrize("browser", [SOME_BROWSER, NO_BROWSER])
def test_outside_azure_the_browser_a_key_and_a_principal_are_offered(
    machine: Machine, sandbox: Sandbox, browser: dict[str, str]
) -> None:
    assert offered(machine, sandbox.url, **browser) == ["browser", "pat", "m2m"]


@pytest.mark.parametrize(
    ("browser", "az", "expected"),
    [
        (SOME_BROWSER, "", ["browser", ENTRA, DEVICE, "pat", "m2m"]),
        (SOME_BROWSER, AZ_PROFILE, ["browser", "azure-cli", ENTRA, DEVICE, "pat", "m2m"]),
        (SOME_BROWSER, '{"subscriptions": []}', ["browser", ENTRA, DEVICE, "pat", "m2m"]),
        (SOME_BROWSER, "not JSON", ["browser", ENTRA, DEVICE, "pat", "m2m"]),
        (NO_BROWSER, "", [DEVICE, "browser", ENTRA, "pat", "m2m"]),
        (NO_BROWSER, AZ_PROFILE, ["azure-cli", DEVICE, "browser", ENTRA, "pat", "m2m"]),
    ],
)
def test_on_azure_what_fits_the_machine_comes_first(
    machine: Machine, inside: Cloud, browser: dict[str, str], az: str, expected: list[str]
) -> None:
    machine.env.update(inside.az.env)
    if az:
        machine.write(machine.home / ".azure" / "azureProfile.json", az)
    assert offered(machine, AZURE, **browser) == expected
    assert inside.az.asked == [], "to offer it, az need not be started"


def test_a_login_of_az_without_az_is_not_offered(machine: Machine, inside: Cloud) -> None:
    machine.write(machine.home / ".azure" / "azureProfile.json", AZ_PROFILE)
    assert "azure-cli" not in offered(machine, AZURE, **SOME_BROWSER)


def test_the_folder_of_az_may_be_elsewhere(machine: Machine, inside: Cloud) -> None:
    machine.env.update(inside.az.env, AZURE_CONFIG_DIR=str(machine.home / "az"))
    machine.write(machine.home / "az" / "azureProfile.json", AZ_PROFILE)
    assert offered(machine, AZURE, **NO_BROWSER)[0] == "azure-cli"
