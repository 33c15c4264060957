"""`dbx-auth login` to a workspace on Azure: with Entra ID in the browser, with a code, with az, and shared."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cloud import Cloud, html, redirect, reply
from cloud.databricks import AWS, AZURE
from cloud.entra import DATABRICKS, DEVICE_CODE, PUBLIC, PUBLIC_CLIENTS, USGOVERNMENT, Environment
from cloud.ways import go_inside, leaks
from e2e.test_terminal import ended, typing
from machine import Machine, Result
from person import Waiting, answer, asked, interrupt, waiting

from dbx_auth.profile import parse

pytestmark = pytest.mark.real

AUTHORITY = f"https://{PUBLIC.login}/{PUBLIC.tenant}"
CODE = r"type this code there: (\S+)\n"
BROWSER, DEVICE, AZ = "azure-browser", "azure-device-code", "azure-cli"


@pytest.fixture(autouse=True)
def _inside(machine: Machine, cloud: Cloud) -> None:
    go_inside(machine, cloud)
    cloud.entra.polls = 0


def ended_well(login: Waiting, cloud: Cloud) -> Result:
    """How the login ended, which has told no secret."""
    done = login.ended()
    assert (done.code, done.out) == (0, ""), done.err
    assert not leaks(cloud, done.err) and "warning" not in done.err
    return done


def log_in(machine: Machine, cloud: Cloud, method: str, *argv: str, host: str = AZURE) -> Result:
    """A login by a person who does what they are told."""
    with waiting(machine, "login", "--host", host, "--method", method, "--timeout", "30", *argv) as login:
        if method in ("browser", BROWSER):
            assert cloud.browse(login.link()).status_code == 200
        return ended_well(login, cloud)


def entry(machine: Machine) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(machine.auth_json.read_text())["databricks"]
    return kept


def let_it_end(machine: Machine, **changes: Any) -> None:
    """The token of the last login is over."""
    kept = json.loads(machine.auth_json.read_text())
    kept["databricks"] |= {"expires": round((time.time() - 60) * 1000), **changes}
    machine.write(machine.auth_json, kept)


def holder(machine: Machine, cloud: Cloud, *argv: str, host: str = AZURE) -> str:
    """Whom the workspace takes the holder of the token for that any program gets now."""
    done = machine.spawn("token", "-o", "headers", *argv)
    assert (done.code, done.err) == (0, ""), done
    return cloud.holder(host, done.json())


def grants(cloud: Cloud, host: str = "login.*") -> list[str]:
    return [request.form.get("grant_type", "") for request in cloud.asked(f"{host}/token")]


def nothing_kept(machine: Machine) -> bool:
    """Whether no file but those of the test itself is there."""
    return not machine.auth_json.exists() and not machine.cli_cache.exists() and not machine.config.exists()


# ---- with a code on another device -----------------------------------------------------------------------------------


def test_a_code_is_shown_and_waited_for_until_it_has_been_typed(machine: Machine, cloud: Cloud) -> None:
    cloud.entra.polls = 2
    with waiting(machine, "login", AZURE, "--method", DEVICE, "--timeout", "30") as login:
        assert login.until(r"open this link on any device: (\S+)\n")[1] == "https://microsoft.com/devicelogin"
        assert login.until(CODE)[1]
        done = ended_well(login, cloud)
    assert f"logged in to {AZURE} as {cloud.entra.upn}" in done.err
    assert grants(cloud) == [DEVICE_CODE] * 3
    kept = entry(machine)
    assert (kept["type"], kept["host"], kept["authority"]) == ("oauth", AZURE, AUTHORITY)
    assert {kept["client_id"]} == PUBLIC_CLIENTS and kept["refresh"]
    assert holder(machine, cloud) == cloud.entra.upn and cloud.escapes == []
    assert machine.auth_json.stat().st_mode & 0o777 == 0o600


def test_a_person_sees_the_code_on_a_terminal_and_chooses_it_first_where_there_is_no_browser(
    machine: Machine, cloud: Cloud
) -> None:
    with typing(machine, "login", AZURE, "--timeout", "30") as person:
        person.expect("1  with a code on any other device")
        person.expect(r"method \[1\]: ")
        person.sendline("")
        person.expect("open this link on any device: ")
        person.expect(r"type this code there: (\w+)\r\n")
        code, screen = ended(person)
    assert code == 0 and f"logged in to {AZURE} as {cloud.entra.upn}" in screen


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_who_declines_is_taken_at_their_word(machine: Machine, cloud: Cloud, method: str) -> None:
    cloud.entra.declines = True
    with waiting(machine, "login", AZURE, "--method", method, "--timeout", "30") as login:
        if method == BROWSER:
            assert cloud.browse(login.link()).status_code == 400
        done = login.ended()
    assert (done.code, done.out) == (1, "") and "refused" in done.err and "declined" in done.err
    assert "ARM_CLIENT_ID" not in done.err, "no setting is to blame"
    assert nothing_kept(machine)


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_a_login_that_nobody_answers_gives_up_in_time(machine: Machine, cloud: Cloud, method: str) -> None:
    cloud.entra.polls = 999
    begun = time.monotonic()
    done = machine.spawn("login", AZURE, "--method", method, "--timeout", "2")
    assert (done.code, done.out) == (4, "") and time.monotonic() - begun < 12
    assert "hint: dbx-auth login" in done.err and nothing_kept(machine)


def test_a_code_that_the_server_lets_expire_is_nobodys_login(machine: Machine, cloud: Cloud) -> None:
    gone = reply({"error": "expired_token", "error_description": "AADSTS70020: The provided value is expired."}, 400)
    cloud.override("login.*/oauth2/v2.0/token", gone)
    done = machine.spawn("login", AZURE, "--method", DEVICE, "--timeout", "20")
    assert (done.code, done.out) == (4, "") and nothing_kept(machine)


def test_a_tenant_that_allows_no_codes_is_told_in_its_words(machine: Machine, cloud: Cloud) -> None:
    words = "AADSTS53003: Access has been blocked by Conditional Access policies. Trace ID: 0a Correlation ID: 0b"
    cloud.override("login.*/oauth2/v2.0/token", reply({"error": "invalid_grant", "error_description": words}, 400))
    done = machine.spawn("login", AZURE, "--method", DEVICE, "--timeout", "20")
    assert (done.code, done.out) == (1, "") and "conditional access" in done.err and "Trace ID" not in done.err
    assert nothing_kept(machine)


def test_ctrl_c_while_the_code_is_waited_for_ends_it_and_changes_nothing(machine: Machine, cloud: Cloud) -> None:
    cloud.entra.polls = 999
    files = machine.files()
    with typing(machine, "login", AZURE, "--method", DEVICE, "--timeout", "30") as person:
        person.expect(r"type this code there: \w+\r\n")
        interrupt(person)
        code, screen = ended(person)
    assert code == 130 and "interrupted" in screen and "Traceback" not in screen
    assert machine.files() == files


# ---- in the browser --------------------------------------------------------------------------------------------------


def test_the_browser_goes_to_entra_with_a_challenge_and_comes_back(machine: Machine, cloud: Cloud) -> None:
    with waiting(machine, "login", AZURE, "--method", BROWSER, "--timeout", "30") as login:
        link = login.link()
        page = cloud.browse(link)
        done = ended_well(login, cloud)
    assert link.startswith(f"{AUTHORITY}/oauth2/v2.0/authorize?") and "Back to the terminal" in page.text
    question = asked(link)
    assert {question["client_id"]} == PUBLIC_CLIENTS and question["redirect_uri"].startswith("http://localhost:80")
    assert (question["response_type"], question["code_challenge_method"]) == ("code", "S256")
    assert sorted(question["scope"].split()) == [f"{DATABRICKS}/.default", "offline_access"]
    assert "assume_group" not in question
    assert f"logged in to {AZURE} as {cloud.entra.upn}" in done.err
    (traded,) = cloud.asked("login.*/token")
    assert len(traded.form["code_verifier"]) >= 43 and traded.form["redirect_uri"] == question["redirect_uri"]
    kept = entry(machine)
    assert (kept["type"], kept["host"], kept["authority"]) == ("oauth", AZURE, AUTHORITY)
    assert holder(machine, cloud) == cloud.entra.upn and cloud.escapes == []


def test_the_address_where_entra_ended_may_be_pasted(machine: Machine, cloud: Cloud) -> None:
    with waiting(machine, "login", AZURE, "--method", BROWSER, "--timeout", "30") as login:
        link = login.link()
        login.type(answer(link, state="another-login") + "\n")
        login.until("that is not the address")
        login.type(cloud.browse(link, follow=False).headers["Location"] + "\n")
        assert login.ended().code == 0
    assert holder(machine, cloud) == cloud.entra.upn


def test_a_login_that_has_ended_is_renewed_at_entra_and_written_back(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, BROWSER)
    before = entry(machine)
    let_it_end(machine)
    assert holder(machine, cloud) == cloud.entra.upn
    after = entry(machine)
    assert after["refresh"] != before["refresh"] and after["access"] != before["access"]
    assert after["expires"] > time.time() * 1000 + 3_000_000
    assert {name: after[name] for name in ("host", "authority", "client_id", "scopes")} == {
        name: before[name] for name in ("host", "authority", "client_id", "scopes")
    }
    (renewal,) = [request.form for request in cloud.asked("login.*/token")][1:]
    assert (renewal["grant_type"], renewal["refresh_token"]) == ("refresh_token", before["refresh"])
    assert f"{DATABRICKS}/.default" in renewal["scope"].split() and "offline_access" in renewal["scope"].split()

    asked_so_far = len(cloud.log)
    assert holder(machine, cloud) == cloud.entra.upn
    assert len(cloud.log) == asked_so_far, "and now it is fresh"
    let_it_end(machine)
    assert holder(machine, cloud) == cloud.entra.upn and grants(cloud)[1:] == ["refresh_token"] * 2


def test_a_login_is_renewed_when_told_to_and_at_no_place_but_entra(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, DEVICE)
    cloud.log.clear()
    assert holder(machine, cloud, "--force-refresh") == cloud.entra.upn
    assert grants(cloud) == ["refresh_token"] and {request.host for request in cloud.log} == {PUBLIC.login}


@pytest.mark.parametrize(
    ("error", "description"),
    [
        ("invalid_grant", ""),
        ("invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity."),
        (
            "interaction_required",
            "AADSTS50076: Due to a configuration change you must use multi-factor authentication.",
        ),
    ],
)
def test_a_login_that_entra_no_longer_renews_needs_a_person(
    machine: Machine, cloud: Cloud, error: str, description: str
) -> None:
    log_in(machine, cloud, BROWSER)
    let_it_end(machine)
    files = machine.files()
    if description:
        body = {"error": error, "error_description": f"{description} Trace ID: 0a Correlation ID: 0b"}
        cloud.override("login.*/oauth2/v2.0/token", reply(body, 400))
    else:
        cloud.entra.end_logins()
    done = machine.spawn("token")
    assert (done.code, done.out) == (4, ""), done.err
    assert f"hint: dbx-auth login {AZURE}" in done.err and "Trace ID" not in done.err
    assert not leaks(cloud, done.err) and machine.files() == files


def test_a_person_may_log_in_again_after_that(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, BROWSER)
    let_it_end(machine)
    cloud.entra.end_logins()
    done = log_in(machine, cloud, BROWSER)
    assert "already" not in done.err and holder(machine, cloud) == cloud.entra.upn


def test_entra_in_trouble_is_no_reason_to_log_in(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, BROWSER)
    let_it_end(machine)
    cloud.override("login.*/oauth2/v2.0/token", html(503, "Service unavailable"))
    done = machine.spawn("token")
    assert (done.code, done.out) == (6, "") and entry(machine)["refresh"]


# ---- where the tenant is known from ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_the_tenant_is_the_one_that_the_workspace_names(machine: Machine, cloud: Cloud, method: str) -> None:
    log_in(machine, cloud, method)
    assert cloud.asked("adb-1.2.azuredatabricks.net/aad/auth")
    assert {request.path.split("/")[1] for request in cloud.asked(f"{PUBLIC.login}/*")} == {PUBLIC.tenant}


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_a_tenant_that_is_set_is_taken_and_nobody_asked(machine: Machine, cloud: Cloud, method: str) -> None:
    machine.env["ARM_TENANT_ID"] = "organizations"
    log_in(machine, cloud, method)
    assert cloud.asked("*/aad/auth") == []
    assert entry(machine)["authority"] == f"https://{PUBLIC.login}/organizations"
    del machine.env["ARM_TENANT_ID"]
    let_it_end(machine)
    assert holder(machine, cloud) == cloud.entra.upn, "the login knows its tenant"


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
@pytest.mark.parametrize("page", [html(), redirect("https://evil.example/tenant/oauth2/authorize")])
def test_a_workspace_that_does_not_name_a_tenant_of_entra_is_no_way_to_anybody_else(
    machine: Machine, cloud: Cloud, method: str, page: Any
) -> None:
    cloud.override("*/aad/auth", page)
    done = machine.spawn("login", AZURE, "--method", method, "--timeout", "5")
    assert (done.code, done.out) == (5, "") and "hint: export ARM_TENANT_ID=" in done.err
    assert cloud.asked("login.*") == cloud.asked("evil*") == [] and "open this link" not in done.err


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
@pytest.mark.parametrize(("host", "where"), [("https://adb-3.4.databricks.azure.us", USGOVERNMENT)])
def test_another_cloud_of_azure_has_its_own_entra(
    machine: Machine, cloud: Cloud, method: str, host: str, where: Environment
) -> None:
    log_in(machine, cloud, method, host=host)
    assert entry(machine)["authority"] == f"https://{where.login}/{where.tenant}"
    assert holder(machine, cloud, host=host) == cloud.entra.upn
    assert {request.host for request in cloud.asked("login.*")} == {where.login}


# ---- with az ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def az(machine: Machine, cloud: Cloud) -> None:
    """Somebody is logged in with az."""
    machine.env.update(cloud.az.env)


@pytest.mark.usefixtures("az")
@pytest.mark.parametrize("option", [[], ["--force"]])
def test_of_a_login_with_az_nothing_secret_is_kept_and_az_is_asked_each_time(
    machine: Machine, cloud: Cloud, option: list[str]
) -> None:
    done = log_in(machine, cloud, AZ, *option)
    assert f"logged in to {AZURE} as {cloud.entra.upn}" in done.err
    kept = entry(machine)
    assert (kept["type"], kept["host"], kept["auth_type"]) == ("profile", AZURE, "azure-cli")
    assert not any(b"eyJ" in content for content in machine.files().values())
    before = len(cloud.az.asked)
    assert holder(machine, cloud) == cloud.entra.upn
    assert len(cloud.az.asked) > before
    told = machine.spawn("status", "-o", "json").json()
    assert (told["auth_type"], told["user"], told["host"]) == ("azure-cli", cloud.entra.upn, AZURE)


@pytest.mark.usefixtures("az")
def test_a_login_without_a_method_finds_az_and_every_later_process_does_too(machine: Machine, cloud: Cloud) -> None:
    done = machine.spawn("login", AZURE, "--timeout", "5")
    assert done.code == 0 and cloud.entra.upn in done.err
    assert holder(machine, cloud) == cloud.entra.upn


@pytest.mark.usefixtures("az")
def test_who_logs_out_of_az_is_told_to_log_in_there(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, AZ, "--force")
    cloud.az.log_out()
    done = machine.spawn("token")
    assert (done.code, done.out) == (4, "") and "hint: az login" in done.err and "az is not logged in" in done.err
    again = machine.spawn("login", AZURE, "--method", AZ, "--timeout", "5")
    assert (again.code, again.out) == (4, "") and "hint: az login" in again.err
    cloud.az.set(fail="")
    assert holder(machine, cloud) == cloud.entra.upn


@pytest.mark.usefixtures("az")
def test_nobody_logs_in_with_an_az_that_is_logged_out(machine: Machine, cloud: Cloud) -> None:
    cloud.az.log_out()
    done = machine.spawn("login", AZURE, "--method", AZ)
    assert (done.code, done.out) == (4, "") and "hint: az login" in done.err and nothing_kept(machine)


def test_nobody_logs_in_with_an_az_that_is_not_installed(machine: Machine, cloud: Cloud) -> None:
    done = machine.spawn("login", AZURE, "--method", AZ)
    assert done.code != 0 and done.out == "" and "az is not installed" in done.err and nothing_kept(machine)


@pytest.mark.usefixtures("az")
def test_a_login_with_az_is_forgotten_by_logout(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, AZ, "--force")
    gone = machine.spawn("logout")
    assert gone.code == 0 and f"forgot the login for {AZURE}" in gone.err
    after = machine.spawn("token")
    assert (after.code, after.out) == (4, "")


# ---- what does not go together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [BROWSER, DEVICE, AZ])
def test_entra_logs_nobody_in_outside_azure(machine: Machine, cloud: Cloud, method: str) -> None:
    machine.env.update(cloud.az.env)
    done = machine.spawn("login", AWS, "--method", method, "--timeout", "5")
    assert (done.code, done.out) == (2, "") and "is not on Azure" in done.err
    assert "hint: dbx-auth login --method browser" in done.err and nothing_kept(machine)
    assert cloud.asked("login.*") == [] and cloud.az.asked == []


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_a_login_of_entra_cannot_be_shared(machine: Machine, cloud: Cloud, method: str) -> None:
    done = machine.spawn("login", AZURE, "--method", method, "--share", "--timeout", "5")
    assert (done.code, done.out) == (2, "") and "hint: dbx-auth login --share --method browser" in done.err
    assert cloud.asked("login.*") == [] and nothing_kept(machine)


@pytest.mark.parametrize("option", [["--group-id", "42"], ["--scopes", "sql"]])
@pytest.mark.parametrize("method", [BROWSER, DEVICE, AZ])
def test_what_entra_cannot_give_is_not_passed_over(
    machine: Machine, cloud: Cloud, method: str, option: list[str]
) -> None:
    machine.env.update(cloud.az.env)
    cloud.entra.polls = 999
    done = machine.spawn("login", AZURE, "--method", method, "--force", "--timeout", "1", *option)
    assert done.code != 0 and nothing_kept(machine)
    assert "open this link" not in done.err and option[0].removeprefix("--").partition("-")[0] in done.err


@pytest.mark.parametrize(("method", "second"), [("browser", BROWSER), (BROWSER, "browser"), (DEVICE, "browser")])
def test_a_way_that_is_named_is_not_taken_for_another_that_works(
    machine: Machine, cloud: Cloud, method: str, second: str
) -> None:
    log_in(machine, cloud, method)
    with waiting(machine, "login", AZURE, "--method", second, "--timeout", "30") as login:
        login.until("already logged in|open this link")
        assert "already" not in login.said
        cloud.browse(login.link())
        ended_well(login, cloud)
    assert holder(machine, cloud) == (cloud.entra.upn if second == BROWSER else cloud.databricks.user)
    assert bool(entry(machine).get("authority")) == (second == BROWSER)


@pytest.mark.parametrize("method", [BROWSER, DEVICE])
def test_a_login_of_entra_is_reused_and_said_so_and_forgotten_by_logout(
    machine: Machine, cloud: Cloud, method: str
) -> None:
    log_in(machine, cloud, method)
    before = entry(machine)
    again = machine.spawn("login", AZURE, "--method", method, "--timeout", "5")
    assert again.code == 0 and f"already logged in to {AZURE} as {cloud.entra.upn}" in again.err
    assert entry(machine) == before
    assert "already" not in log_in(machine, cloud, method, "--force").err
    assert entry(machine)["refresh"] != before["refresh"]
    gone = machine.spawn("logout")
    assert gone.code == 0 and not any(b"eyJ" in content for content in machine.files().values())
    after = machine.spawn("token")
    assert (after.code, after.out) == (4, "")


# ---- shared ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def plaintext(machine: Machine) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "plaintext"


def shared(machine: Machine, name: str) -> dict[str, str]:
    """The profile of that name."""
    return parse(machine.config.read_text())[name]


@pytest.mark.usefixtures("plaintext")
def test_a_shared_login_rests_where_the_cli_looks_and_our_file_points_there(machine: Machine, cloud: Cloud) -> None:
    done = log_in(machine, cloud, "browser", "--share", "-p", "DEV")
    assert "shared in" in done.err and f"logged in to {AZURE} as {cloud.databricks.user}" in done.err
    assert shared(machine, "DEV") == {"host": AZURE, "auth_type": "databricks-cli"}
    kept = json.loads(machine.cli_cache.read_text())["tokens"]["DEV"]
    assert kept["refresh_token"].startswith("doau")
    assert entry(machine) == {"type": "profile", "profile": "DEV", "host": AZURE}
    assert kept["refresh_token"] not in machine.auth_json.read_text()

    assert holder(machine, cloud) == cloud.databricks.user, "the last login"
    assert holder(machine, cloud, "-p", "DEV", "--force-refresh") == cloud.databricks.user
    assert json.loads(machine.cli_cache.read_text())["tokens"]["DEV"]["refresh_token"] != kept["refresh_token"]

    gone = machine.spawn("logout", "-p", "DEV", "--share")
    assert gone.code == 0, gone.err
    assert json.loads(machine.cli_cache.read_text())["tokens"] == {}
    assert "databricks" not in json.loads(machine.auth_json.read_text())
    assert machine.spawn("token", "-p", "DEV").code == 4
    assert not any(secret in content for content in machine.files().values() for secret in (b"eyJ", b"doau"))


@pytest.mark.usefixtures("plaintext")
def test_the_last_login_is_unshared_without_its_name(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, "browser", "--share")
    assert holder(machine, cloud) == cloud.databricks.user
    gone = machine.spawn("logout", "--share")
    assert gone.code == 0, gone.err
    assert not any(secret in content for content in machine.files().values() for secret in (b"eyJ", b"doau"))
    after = machine.spawn("token")
    assert (after.code, after.out) == (4, "")


@pytest.mark.usefixtures("plaintext")
def test_a_shared_login_in_the_role_of_a_group_keeps_it(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, "browser", "--share", "--group-id", "42", "-p", "DEV")
    assert shared(machine, "DEV")["group_id"] == "42"
    for option in ([], ["--force-refresh"]):
        token = machine.spawn("token", *option)
        assert token.code == 0, token.err
        assert (cloud.mint.read(token.out.strip()) or {})["assume_group"] == "42"


@pytest.mark.usefixtures("plaintext")
def test_sharing_replaces_no_other_profile_and_says_where_it_went(machine: Machine, cloud: Cloud) -> None:
    theirs = "; mine\n[DEV]\nhost = https://dev.cloud.databricks.com\ntoken = dapi-theirs\n"
    machine.write(machine.config, theirs)
    done = log_in(machine, cloud, "browser", "--share")
    assert machine.config.read_text().startswith(theirs) and "shared in ~/.databrickscfg [" in done.err
    assert holder(machine, cloud) == cloud.databricks.user


@pytest.mark.usefixtures("plaintext", "az")
def test_a_login_with_az_is_shared_as_a_profile_without_a_secret(machine: Machine, cloud: Cloud) -> None:
    log_in(machine, cloud, AZ, "--share", "-p", "DEV")
    assert shared(machine, "DEV") == {"host": AZURE, "auth_type": "azure-cli"}
    assert not machine.cli_cache.exists()
    assert not any(b"eyJ" in content for content in machine.files().values())
    assert holder(machine, cloud) == holder(machine, cloud, "-p", "DEV") == cloud.entra.upn
