"""The shim: what it answers in place of the Databricks CLI, the file that it is put into, and `dbx-auth auth`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from machine import HOST, OTHER, Machine
from unit.far_side import ME, TOKEN, FarSide, never

from dbx_auth import journal, shim
from dbx_auth.errors import ConfigError, Refused, Temporary
from dbx_auth.lock import Lock
from dbx_auth.profile import Flags
from dbx_auth.sandbox import Sandbox
from dbx_auth.shim import NOT_CONFIGURED, Answer, answer, batch, install, parse, script, within
from dbx_auth.store import AuthJson, Grant, grant_fields
from dbx_auth.world import World

posix = pytest.mark.skipif(sys.platform == "win32", reason="sh, and signals")

EXPIRY = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d"
"""Local time with a fraction and an offset: the one form that all SDKs read rightly."""


def ask(machine: Machine, *argv: str, fixed: Flags = Flags(), **world: Any) -> Answer:  # noqa: B008
    return answer(argv, machine.world._replace(**world), fixed)


def token(machine: Machine, *argv: str, fixed: Flags = Flags(), **world: Any) -> str:  # noqa: B008
    """The access token of an answer that is one."""
    said = ask(machine, "auth", "token", *argv, fixed=fixed, **world)
    assert (said.code, said.err) == (0, ""), said
    return str(json.loads(said.out)["access_token"])


def config(machine: Machine, text: str) -> None:
    machine.write(machine.config, text)


def key(machine: Machine, host: str = HOST) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "dapi-stored", "host": host}})


def login(machine: Machine, sandbox: Sandbox, *, life: float | None = None, **more: Any) -> Grant:
    """A login of ours in this sandbox, which ends after `life` seconds if that is said."""
    given = sandbox.add_login()
    expires = given.expires_at if life is None else time.time() + life
    grant = Grant(sandbox.url, given.access_token, given.refresh_token, expires)
    machine.write(machine.auth_json, {"databricks": grant_fields(grant) | more})
    return grant


def grants(sandbox: Sandbox) -> int:
    return [request.path for request in sandbox.log].count(TOKEN)


# ---- version ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv", ["version", "--version", "-v", "version --output text", "version -o TEXT", "-p DEV version"]
)
def test_the_version_is_the_line_that_the_sdk_for_go_parses(machine: Machine, argv: str) -> None:
    machine.env["DATABRICKS_OUTPUT_FORMAT"] = "json"  # with the CLI itself, this spoils that line
    assert ask(machine, *argv.split(), http=never) == Answer(0, "Databricks CLI v1.13.0\n")


@pytest.mark.parametrize(
    "argv", ["version --output json", "version -o json", "version -ojson", "--output=JSON version"]
)
def test_the_version_in_json_has_its_numbers(machine: Machine, argv: str) -> None:
    said = ask(machine, *argv.split(), http=never)
    document = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert [document[name] for name in ("Major", "Minor", "Patch")] == [1, 13, 0]


# ---- the command line, as Go's pflag reads it ------------------------------------------------------------------------

TYPED: dict[str, dict[str, str]] = {
    "--host x": {"host": "x"},
    "--host=x": {"host": "x"},
    "--host=": {"host": ""},
    "--host a=b --host --profile": {"host": "--profile"},
    "-p x": {"profile": "x"},
    "-px": {"profile": "x"},
    "-p=x": {"profile": "x"},
    "-p=": {"profile": "="},
    "-p -o": {"profile": "-o"},
    "-vpx": {"version": "true", "profile": "x"},
    "-o JSON": {"output": "JSON"},
    "--force-refresh": {"force-refresh": "true"},
    "--force-refresh=false": {"force-refresh": "false"},
    "--experimental-is-unified-host --account-id 1 --workspace-id 2": {
        "experimental-is-unified-host": "true",
        "account-id": "1",
        "workspace-id": "2",
    },
    "--timeout 300s": {"timeout": "300s"},
    "--timeout=1h30m.5s": {"timeout": "1h30m.5s"},
    "--timeout 0": {"timeout": "0"},
}


@pytest.mark.parametrize("typed", TYPED)
def test_flags_are_read_as_go_reads_them(typed: str) -> None:
    for line in (f"auth token {typed}", f"{typed} auth token", f"auth {typed} token"):
        assert parse(line.split()) == (["auth", "token"], TYPED[typed], "")


def test_what_comes_after_two_dashes_is_no_flag_and_neither_is_one_dash() -> None:
    assert parse(["auth", "token", "-", "--", "--host", "-p"]).words == ["auth", "token", "-", "--host", "-p"]


WRONG = {
    "--x": "unknown flag: --x",
    "--x=1": "unknown flag: --x",
    "--hos x": "unknown flag: --hos",
    "-x": "unknown shorthand flag: 'x' in -x",
    "-vx1": "unknown shorthand flag: 'x' in -x1",
    "--host": "flag needs an argument: --host",
    "-p": "flag needs an argument: 'p' in -p",
    "--=x": "bad flag syntax: --=x",
    "---host x": "bad flag syntax: ---host",
    "-o yaml": 'invalid argument "yaml" for "-o, --output" flag: accepted arguments are text and json',
    "--timeout 5": 'invalid argument "5" for "--timeout" flag: time: invalid duration "5"',
    "--force-refresh=no": (
        'invalid argument "no" for "--force-refresh" flag: strconv.ParseBool: parsing "no": invalid syntax'
    ),
    "--first --second": "unknown flag: --first",
    "a b": "accepts at most 1 arg(s), received 2",
}


@pytest.mark.parametrize("typed", WRONG)
def test_what_is_wrong_is_said_in_go_s_words(machine: Machine, typed: str) -> None:
    said = ask(machine, "auth", "token", *typed.split(), http=never)
    assert said == Answer(1, "", f"Error: {WRONG[typed]}\n")


SPELLINGS = {
    "host": ("--host {0}", "--host={0}"),
    "profile": ("--profile {0}", "--profile={0}", "-p {0}", "-p{0}", "-p={0}"),
    "output": ("--output {0}", "--output={0}", "-o {0}", "-o{0}", "-o={0}"),
    "account-id": ("--account-id {0}", "--account-id={0}"),
    "force-refresh": ("--force-refresh", "--force-refresh=true", "--force-refresh=1"),
}
spelled = st.sampled_from(sorted(SPELLINGS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.sampled_from(["json", "text"]) if name == "output" else st.from_regex(r"[a-z0-9./:]{2,9}", fullmatch=True),
        st.sampled_from(SPELLINGS[name]),
    )
)


@settings(deadline=None)
@given(st.lists(spelled, unique_by=lambda flag: flag[0]), st.randoms())
def test_no_spelling_and_no_order_makes_a_difference(flags: list[tuple[str, str, str]], random: Any) -> None:
    parts = [form.format(value).split(" ") for _, value, form in flags] + [["auth"]]
    random.shuffle(parts)
    line = parse([word for part in parts for word in part])
    read = {name: line.is_on(name) if name == "force-refresh" else value for name, value in line.flags.items()}
    assert read == {name: True if name == "force-refresh" else value for name, value, _ in flags}
    assert (line.words, line.error) == (["auth"], "")


@settings(deadline=None)
@given(st.lists(st.text(max_size=9) | st.sampled_from(["auth", "token", "version", "-o", "json", "--timeout", "9h"])))
def test_every_command_line_has_an_answer_that_goes_to_one_stream(argv: list[str]) -> None:
    said = answer(argv, World(env={}, home="/nowhere", http=never))
    assert (said.code, bool(said.out), bool(said.err)) in ((0, True, False), (1, False, True), (1, True, True))
    assert "not found" not in said.err.lower()
    assert not said.out or said.out.startswith(("Databricks CLI v", "{", "dbx-auth "))


@pytest.mark.parametrize(
    "argv", ["clusters list", "clusters --unknown", "bundle deploy -t dev", "auth profiles", "auth x"]
)
def test_another_command_is_refused_in_one_line_that_says_who_this_is(machine: Machine, argv: str) -> None:
    said = ask(machine, *argv.split(), http=never)
    asked = " ".join(argv.split()[: 2 if argv.startswith("auth") else 1])
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert f"this is dbx-auth and not the Databricks CLI, and has no `{asked}`" in said.err
    assert (f"there is `dbx-auth {asked}`" in said.err) == argv.startswith("auth")


@pytest.mark.parametrize("argv", ["", "auth", "--help", "-h", "auth token --help", "version -h", "auth -h"])
def test_help_says_what_this_answers_and_that_it_is_not_the_cli(machine: Machine, argv: str) -> None:
    said = ask(machine, *argv.split(), http=never)
    assert (said.code, said.err) == (0, "") and "in place of the Databricks CLI" in said.out


# ---- a token ---------------------------------------------------------------------------------------------------------

PAT = f"[DEV]\nhost = {HOST}\ntoken = dapi-dev\n\n[PROD]\nhost = {OTHER}\ntoken = dapi-prod\n"


def test_the_token_is_the_cli_s_object_byte_for_byte(machine: Machine) -> None:
    machine.cached_login(HOST, expiry="2099-01-01T00:00:00Z")
    said = ask(machine, "auth", "token", "--host", HOST, http=never)
    assert re.fullmatch(
        rf'{{\n  "access_token": "cached",\n  "token_type": "Bearer",\n  "expiry": "{EXPIRY}"\n}}', said.out
    )
    assert datetime.fromisoformat(json.loads(said.out)["expiry"]).timestamp() == 4_070_908_800
    assert (said.code, said.err) == (0, "")


def test_a_key_that_does_not_end_ends_in_the_far_future(machine: Machine) -> None:
    config(machine, PAT)
    ends = json.loads(ask(machine, "auth", "token", "-p", "DEV", http=never).out)["expiry"]
    assert re.fullmatch(EXPIRY, ends) and datetime.fromisoformat(ends).year in (2099, 2100)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_the_expiry_is_the_same_moment_for_every_sdk(machine: Machine, zone: str) -> None:
    """Python's takes the local time and drops the rest; Go's, Java's and JavaScript's honour the offset."""
    machine.cached_login(HOST, expiry="2099-01-01T00:00:00Z")
    done = subprocess.run(
        [sys.executable, "-m", "dbx_auth.shim", "", "", "auth", "token", "--host", HOST],
        env=machine.child_env(TZ=zone),
        capture_output=True,
        text=True,
        timeout=60,
    )
    ends = json.loads(done.stdout)["expiry"]
    as_python_reads = (
        f"from datetime import datetime; print(datetime.fromisoformat({ends.split('.')[0]!r}).timestamp())"
    )
    python = subprocess.run(
        [sys.executable, "-c", as_python_reads], env=machine.child_env(TZ=zone), capture_output=True, text=True
    )
    assert datetime.fromisoformat(ends).timestamp() == float(python.stdout) == 4_070_908_800


@pytest.mark.parametrize("form", ["text", "TEXT"])
def test_as_text_it_is_the_token_alone(machine: Machine, form: str) -> None:
    config(machine, PAT)
    machine.env["DATABRICKS_OUTPUT_FORMAT"] = "text"
    assert ask(machine, "auth", "token", "DEV", "-o", form).out == "dapi-dev\n"
    assert ask(machine, "auth", "token", "DEV").out.startswith("{"), "the variable is for other commands"


@pytest.mark.parametrize(
    ("argv", "given"),
    [
        ("--profile DEV", "dapi-dev"),
        ("-p PROD", "dapi-prod"),
        ("DEV", "dapi-dev"),
        (f"--host {OTHER}", "dapi-prod"),
        (OTHER, "dapi-prod"),
        (f"{OTHER}/ --force-refresh", "dapi-prod"),
        (f"--host {HOST} --experimental-is-unified-host --account-id 7 --timeout 1h", "dapi-dev"),
    ],
)
def test_keys_of_profiles_are_served_too_by_name_and_by_host(machine: Machine, argv: str, given: str) -> None:
    config(machine, PAT)
    assert token(machine, *argv.split(), http=never) == given


def test_a_variable_of_the_environment_names_the_profile(machine: Machine) -> None:
    config(machine, PAT)
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "PROD"
    assert token(machine, http=never) == "dapi-prod"
    assert token(machine, "--profile", "DEV", http=never) == "dapi-dev"


def test_of_several_profiles_of_a_host_the_ids_tell_which(machine: Machine) -> None:
    text = "".join(f"[W{n}]\nhost = {HOST}\ntoken = dapi-{n}\nworkspace_id = {n}\naccount_id = 9\n" for n in (1, 2))
    config(machine, text)
    assert token(machine, "--host", HOST, "--workspace-id", "2") == "dapi-2"
    assert NOT_CONFIGURED in ask(machine, "auth", "token", "--host", HOST).err, "nobody guesses"
    assert NOT_CONFIGURED in ask(machine, "auth", "token", "--host", HOST, "--account-id", "8").err


def test_a_login_of_ours_comes_before_a_profile_that_nobody_named(machine: Machine) -> None:
    config(machine, PAT)
    key(machine)
    assert token(machine, "--host", HOST) == "dapi-stored"
    assert token(machine, "--profile", "DEV") == "dapi-dev"


def test_a_principal_is_served_too(machine: Machine, sandbox: Sandbox) -> None:
    pair = f"client_id = {sandbox.client_id}\nclient_secret = {sandbox.client_secret}\n"
    config(machine, f"[ROBOT]\nhost = {sandbox.url}\n{pair}")
    first = token(machine, "--profile", "ROBOT", "--force-refresh")
    assert first and grants(sandbox) == 1, "one grant for one token"
    assert token(machine, "--host", sandbox.url) not in ("", first)


# ---- asked because the SDK was told to ask the CLI -------------------------------------------------------------------


@pytest.mark.parametrize("place", ["env", "file"])
def test_told_to_ask_the_cli_an_sdk_gets_whatever_this_machine_logs_in_with(machine: Machine, place: str) -> None:
    key(machine)
    if place == "env":
        machine.env["DATABRICKS_AUTH_TYPE"] = "databricks-cli"
        assert token(machine, "--host", HOST, http=never) == "dapi-stored"
    else:
        config(machine, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
        assert token(machine, "--profile", "DEV", http=never) == "dapi-stored"


def test_told_to_ask_the_cli_it_does_not_get_what_it_was_told_not_to_use(machine: Machine) -> None:
    machine.env.update(DATABRICKS_AUTH_TYPE="databricks-cli", DATABRICKS_TOKEN="dapi-env", DATABRICKS_HOST=HOST)
    said = ask(machine, "auth", "token", "--host", HOST, http=never)
    assert said.code == 1 and NOT_CONFIGURED in said.err
    del machine.env["DATABRICKS_AUTH_TYPE"]
    assert token(machine, "--host", HOST, http=never) == "dapi-env", "the control"


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_without_a_login_the_words_are_those_that_let_an_sdk_go_on(machine: Machine) -> None:
    said = ask(machine, "auth", "token", "--host", HOST)
    text = (
        f"cache: databricks OAuth is not configured for this host. no cached credentials; run `dbx-auth login {HOST}`"
    )
    assert said == Answer(1, "", f"Error: {text} to sign in\n")


def test_with_a_dead_login_the_words_are_those_of_the_cli(machine: Machine) -> None:
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    refused = (400, {"error": "invalid_grant", "error_description": "Refresh token is invalid"})
    said = ask(machine, "auth", "token", "--host", HOST, "-o", "json", http=FarSide({TOKEN: refused}))
    text = (
        "Error: A new access token could not be retrieved because the refresh token is invalid. "
        f"To reauthenticate, run the following command:\n  $ dbx-auth login {HOST}\n"
    )
    assert (said.code, said.err) == (1, text)
    assert json.loads(said.out)["error_code"] == "UNAUTHENTICATED"


def test_a_network_that_is_away_is_told_and_is_no_reason_to_become_someone_else(machine: Machine) -> None:
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    away = FarSide({TOKEN: Temporary("cannot reach it: host not found", hint="try again")})
    said = ask(machine, "auth", "token", "--host", HOST, "-o", "json", http=away)
    assert said.code == 1 and NOT_CONFIGURED not in said.err and "cannot reach it" in said.err
    assert "not found" not in said.err, "for Java's SDK that is a CLI that is missing"
    assert json.loads(said.out)["retryable"] is True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--profile NONE", "has no profile NONE"),
        ("nobody", 'no matching profile found: "nobody"'),
        ("DEV --host x.example", 'argument "DEV" cannot be combined with --host or --profile'),
        (f"--profile DEV --host {OTHER}", "profile DEV is for"),
        ("--host http://example.com", "the host must use https"),
    ],
)
def test_what_does_not_fit_together_is_said(machine: Machine, argv: str, words: str) -> None:
    config(machine, PAT)
    said = ask(machine, "auth", "token", *argv.split(), http=never)
    assert (said.code, said.out) == (1, "") and said.err.startswith("Error: ") and words in said.err


def test_a_mistake_of_ours_is_an_error_and_tells_no_secret(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*rest: object, **more: object) -> None:
        raise RuntimeError("dapi-secret")

    monkeypatch.setattr(shim, "find", broken)
    said = ask(machine, "auth", "token")
    assert said.code == 1 and "a mistake of ours: RuntimeError" in said.err and "dapi-secret" not in said.err


def test_a_program_that_reads_both_streams_reads_one_object(machine: Machine, sandbox: Sandbox) -> None:
    """Java's SDK merges them, so a warning would spoil the token."""
    login(machine, sandbox, life=200)
    machine.auth_json.parent.chmod(0o500)  # so the renewed login cannot be kept, and that is worth a warning
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dbx_auth.shim", "", "", "auth", "token", "--host", sandbox.url],
            env=machine.child_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
    finally:
        machine.auth_json.parent.chmod(0o700)
    assert done.returncode == 0 and json.loads(done.stdout)["access_token"]


# ---- renewed for an SDK that starts ----------------------------------------------------------------------------------


def test_a_forced_token_is_a_new_one_and_the_next_is_content_with_it(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = login(machine, sandbox)
    said = [token(machine, "--host", sandbox.url, "--force-refresh") for _ in range(3)]
    assert len(set(said)) == 1 and said[0] != before.access and grants(sandbox) == 1
    monkeypatch.setattr(journal, "RECENT", -1.0)
    assert token(machine, "--host", sandbox.url, "--force-refresh") != said[0], "the control: each would renew it"
    assert grants(sandbox) == 2


def test_without_force_a_fresh_token_is_good_enough(machine: Machine, sandbox: Sandbox) -> None:
    before = login(machine, sandbox)
    assert token(machine, "--host", sandbox.url, "--force-refresh=false", http=never) == before.access


def test_a_token_that_has_ended_is_renewed_once_not_twice(machine: Machine, sandbox: Sandbox) -> None:
    login(machine, sandbox, life=-9)
    token(machine, "--host", sandbox.url, "--force-refresh")
    assert grants(sandbox) == 1


def test_a_login_that_cannot_be_renewed_serves_while_it_lasts(machine: Machine, sandbox: Sandbox) -> None:
    """The CLI fails here: told to renew it, it looks for a refresh token and forgets the token."""
    grant = login(machine, sandbox, refresh="")
    assert token(machine, "--host", sandbox.url, "--force-refresh", http=never) == grant.access
    assert machine.run("token", "--host", sandbox.url, "--force-refresh").code == 4, "the control"


def test_where_the_server_is_away_the_token_that_is_there_has_to_do(machine: Machine, sandbox: Sandbox) -> None:
    grant = login(machine, sandbox)
    sandbox.stop()
    assert token(machine, "--host", sandbox.url, "--force-refresh") == grant.access
    assert machine.run("token", "--host", sandbox.url, "--force-refresh").code == 6, "the control"


def test_a_login_that_was_revoked_is_told_and_nobody_else_steps_in(machine: Machine) -> None:
    machine.cached_login(HOST)
    config(machine, PAT)
    refused = (400, {"error": "invalid_grant", "error_description": "Refresh token is invalid"})
    said = ask(machine, "auth", "token", "--host", HOST, "--force-refresh", http=FarSide({TOKEN: refused}))
    assert said.code == 1 and "dapi-dev" not in said.out and "the refresh token is invalid" in said.err


# ---- installed for one profile or host -------------------------------------------------------------------------------


def test_installed_for_a_profile_it_answers_for_that_one(machine: Machine) -> None:
    config(machine, PAT)
    fixed = Flags(profile="PROD")
    assert token(machine, fixed=fixed) == "dapi-prod"
    assert token(machine, "--host", f"{OTHER}/", fixed=fixed) == "dapi-prod"
    assert token(machine, "--profile", "PROD", fixed=fixed) == "dapi-prod"


@pytest.mark.parametrize("fixed", [Flags(profile="PROD"), Flags(host=OTHER)])
@pytest.mark.parametrize("argv", [f"--host {HOST}", "--profile DEV", HOST, "DEV"])
def test_nobody_who_asks_about_another_host_gets_its_token(machine: Machine, fixed: Flags, argv: str) -> None:
    """The SDK would send it there."""
    config(machine, PAT)
    key(machine, OTHER)
    assert token(machine, fixed=fixed) in ("dapi-prod", "dapi-stored"), "the control"
    said = ask(machine, "auth", "token", *argv.split(), fixed=fixed)
    assert (said.code, said.out) == (1, "") and NOT_CONFIGURED in said.err
    assert f"this shim is for {OTHER}, not for {HOST}" in said.err


# ---- in time ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow() -> Iterator[threading.Event]:
    """What a test lets go of at its end, so that no thread outlives it."""
    event = threading.Event()
    yield event
    event.set()


def test_who_takes_too_long_is_given_up_with_a_temporary_error(machine: Machine, slow: threading.Event) -> None:
    with pytest.raises(Temporary, match="no token in time"):
        within(0.1, lambda world: slow.wait(60), machine.world)


def test_a_server_that_does_not_answer_is_given_up_in_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, slow: threading.Event
) -> None:
    def silent(*rest: object, **more: object) -> None:
        slow.wait(60)
        raise Temporary("no answer", hint="try again")

    config(machine, f"[ROBOT]\nhost = {HOST}\nclient_id = a\nclient_secret = b\n")
    monkeypatch.setattr(shim, "BUDGET", 0.2)
    said = ask(machine, "auth", "token", "-p", "ROBOT", http=silent)
    assert said.code == 1 and "no token in time" in said.err
    monkeypatch.setattr(shim, "BUDGET", 60.0)
    said = ask(machine, "auth", "token", "-p", "ROBOT", "--timeout", "100ms", http=silent)
    assert "no token in time" in said.err, "and sooner for whoever says so"


def test_where_others_hold_the_lock_for_too_long_the_token_that_is_there_has_to_do(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = login(machine, sandbox)
    monkeypatch.setattr(shim, "BUDGET", 0.3)
    argv = ["--host", sandbox.url, "--force-refresh"]
    with Lock(machine.world, "the login", AuthJson(machine.world).refresh_locks(sandbox.url)).held():
        assert token(machine, *argv, http=never) == grant.access
        login(machine, sandbox, life=-9)
        assert "no token in time" in ask(machine, "auth", "token", *argv, http=never).err
    assert token(machine, *argv) != grant.access, "the control"


def test_what_is_being_spent_is_waited_for_and_is_the_answer(machine: Machine) -> None:
    def work(world: World) -> str:
        with world.uninterrupted():
            time.sleep(0.5)
        return "kept"

    assert within(0.05, work, machine.world) == "kept"

    def without(world: World) -> str:
        with nullcontext():
            time.sleep(0.5)
        return "lost"

    with pytest.raises(Temporary):
        within(0.05, without, machine.world)


def test_a_slow_refresh_outlives_the_budget_and_the_login_is_kept(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = login(machine, sandbox, life=-9)
    http = machine.world.http

    def late(method: str, url: str, **rest: Any) -> Any:
        reply = http(method, url, **rest)
        if method == "POST":
            time.sleep(1)  # the refresh token is spent, and nobody knows its successor yet
        return reply

    monkeypatch.setattr(shim, "BUDGET", 0.4)
    given = token(machine, "--host", sandbox.url, http=late)
    kept = json.loads(machine.auth_json.read_text())["databricks"]
    assert kept["access"] == given and kept["refresh"] != before.refresh
    assert machine.run("token", "--host", sandbox.url, "--force-refresh").code == 0


@posix
def test_who_is_asked_to_end_waits_for_what_is_being_spent(machine: Machine) -> None:
    spending, kept = threading.Event(), threading.Event()

    def work(world: World) -> None:
        with world.uninterrupted():
            spending.set()
            time.sleep(0.5)
            kept.set()

    def press() -> None:
        spending.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        within(60, work, machine.world)
    assert kept.is_set()


def test_nothing_is_spent_once_nobody_waits_any_more(machine: Machine) -> None:
    go_on, spent, refused = threading.Event(), list[str](), threading.Event()

    def work(world: World) -> None:
        go_on.wait(60)
        try:
            with world.uninterrupted():
                spent.append("refresh token")
        except Temporary:
            refused.set()

    with pytest.raises(Temporary):
        within(0.05, work, machine.world)
    go_on.set()
    assert refused.wait(60) and spent == []


def test_whatever_ends_the_work_ends_the_wait(machine: Machine) -> None:
    def work(world: World) -> None:
        raise Refused("no", hint="never")

    with pytest.raises(Refused):
        within(60, work, machine.world)


# ---- the file --------------------------------------------------------------------------------------------------------


def state(path: str | Path) -> tuple[int, int, int, int]:
    """What changes when somebody writes to a file, and not when somebody reads it."""
    status = os.lstat(path)
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def run(path: str, machine: Machine, *argv: str) -> Answer:
    done = subprocess.run([path, *argv], env=machine.child_env(), capture_output=True, text=True, timeout=60)
    return Answer(done.returncode, done.stdout, done.stderr)


@posix
def test_what_is_installed_is_large_and_can_be_run(machine: Machine, tmp_path: Path) -> None:
    config(machine, PAT)
    path = install(str(tmp_path / "a b" / "databricks"), machine.world)
    status = os.stat(path)
    assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o755
    assert status.st_size >= 1_048_576
    assert os.listdir(os.path.dirname(path)) == ["databricks"]
    assert run(path, machine, "version") == Answer(0, "Databricks CLI v1.13.0\n")
    assert json.loads(run(path, machine, "auth", "token", "-p", "DEV").out)["access_token"] == "dapi-dev"
    assert run(path, machine, "auth", "token", "--x", "a b", "$HOME").err == "Error: unknown flag: --x\n"
    assert run(path, machine, "auth", "token", "a b", "$(id)").err == "Error: accepts at most 1 arg(s), received 2\n"


@posix
def test_a_profile_with_any_name_can_be_installed_for(machine: Machine, tmp_path: Path) -> None:
    name = 'it\'s "$HOME" `x` %PATH% ü'
    config(machine, f"[{name}]\nhost = {HOST}\ntoken = dapi-odd\n")
    path = install(str(tmp_path / "databricks"), machine.world, profile=name)
    assert json.loads(run(path, machine, "auth", "token", "--host", HOST).out)["access_token"] == "dapi-odd"


@posix
def test_a_python_far_away_with_blanks_in_its_path_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel cuts a shebang at 127 or 255 bytes, and takes all behind a blank for one argument."""
    folder = tmp_path / "some where" / ("x" * 200) / "it's"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    path = install(str(tmp_path / "databricks"), machine.world)
    first = Path(path).read_bytes().split(b"\n")[0]
    assert first == b"#!/bin/sh" and run(path, machine, "version").code == 0


@posix
def test_what_lies_in_the_directory_of_the_caller_is_not_run(machine: Machine, tmp_path: Path) -> None:
    """An SDK runs in somebody's project, and Python looks there first unless it is told not to."""
    path = install(str(tmp_path / "databricks"), machine.world)
    for name in ("json", "dbx_auth", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('theirs')")
    env = machine.child_env(PYTHONPATH=str(tmp_path))
    argv = [path, "version", "-o", "json"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and json.loads(done.stdout)["Major"] == 1
    Path(path).write_text(Path(path).read_text().replace(" -E -P ", " "))
    again = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "theirs" in again.stderr, "the control"


@posix
def test_installed_again_nothing_is_written_unless_something_changed(machine: Machine, tmp_path: Path) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    before = state(path)
    assert install(path, machine.world) == path and state(path) == before
    install(path, machine.world, profile="DEV")
    assert state(path) != before and b" DEV '' " in Path(path).read_bytes()
    os.chmod(path, 0o600)
    install(path, machine.world, profile="DEV")
    assert os.access(path, os.X_OK) and set(os.listdir(tmp_path)) == {"databricks", "home"}


@posix
def test_a_link_is_followed_and_stays(machine: Machine, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "databricks"
    install(str(real), machine.world)
    link.symlink_to(real)
    install(str(link), machine.world, host=HOST)
    assert link.is_symlink() and HOST.encode() in real.read_bytes()


@pytest.mark.parametrize("what", ["the CLI itself", "a directory", "a link to nowhere"])
def test_what_somebody_else_put_there_is_never_written_over(machine: Machine, tmp_path: Path, what: str) -> None:
    path = tmp_path / "databricks"
    if what == "a directory":
        path.mkdir()
    elif what == "a link to nowhere":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(b"\x7fELF" + bytes(2 << 20))
    before = state(path)
    with pytest.raises(ConfigError, match="is not ours"):
        install(str(path), machine.world)
    assert state(path) == before and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("step", [".new", "databricks"])
def test_a_disk_that_says_no_leaves_the_old_one(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = Path(install(str(tmp_path / "bin" / "databricks"), machine.world))
    before, replace = path.read_bytes(), os.replace

    def full(old: str, new: str) -> None:
        if new.endswith(step):
            raise OSError(28, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        install(str(path), machine.world, profile="DEV")
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_it_is_not_installed_where_there_is_no_python_or_no_name(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="control character"):
        install(str(tmp_path / "databricks"), machine.world, profile="a\nb")
    for broken in ("false", "true", "no-such-program"):
        monkeypatch.setattr(sys, "executable", shutil.which(broken) or str(tmp_path / broken))
        with pytest.raises(ConfigError, match="cannot be run by"):
            install(str(tmp_path / "databricks"), machine.world)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ConfigError, match="does not know where it is"):
        install(str(tmp_path / "databricks"), machine.world)
    assert not (tmp_path / "databricks").exists()


def test_what_is_ours_can_be_taken_away_again_and_nothing_else(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    assert shim.uninstall(path) and not os.path.exists(path) and not shim.uninstall(path)
    Path(path).write_text("#!/bin/sh\n")
    assert not shim.uninstall(path) and os.path.exists(path)
    os.unlink(path)
    install(path, machine.world)

    def fail(path: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(ConfigError, match="Read-only"):
        shim.uninstall(path)


@posix
@pytest.mark.parametrize("where", [">&-", "> /dev/full", "| true"])
def test_where_nobody_reads_there_is_no_traceback(machine: Machine, tmp_path: Path, where: str) -> None:
    config(machine, PAT)
    path = install(str(tmp_path / "databricks"), machine.world)
    told = subprocess.run(
        ["sh", "-c", f"{path} auth token -p DEV {where}"], env=machine.child_env(), capture_output=True, timeout=60
    )
    assert (told.returncode, told.stdout, told.stderr) == (0 if where == "| true" else 1, b"", b"")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_asked_to_end_does(machine: Machine, tmp_path: Path, number: signal.Signals) -> None:
    path = install(str(tmp_path / "databricks"), machine.world)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config(machine, f"[ROBOT]\nhost = {host}\nclient_id = a\nclient_secret = b\n")
        argv = [path, "auth", "token", "-p", "ROBOT"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(argv, env=machine.child_env(), **pipes) as child:
            silent.settimeout(60)
            asked, _ = silent.accept()
            child.send_signal(number)
            out, err = child.communicate(timeout=60)
            asked.close()
    assert (child.returncode, out, err) == (128 + number, b"", b"")


def test_the_place_is_among_our_data_and_named_as_the_system_wants(machine: Machine) -> None:
    posix, windows = (shim.place(machine.world._replace(platform=name)) for name in ("linux", "win32"))
    assert posix == os.path.join(machine.world.data_dir, "bin", "databricks")
    assert windows.endswith("databricks.cmd")


# ---- the file on Windows, as far as it can be seen from here ---------------------------------------------------------


def test_on_windows_it_is_a_batch_file_that_ends_before_its_padding(machine: Machine, tmp_path: Path) -> None:
    path = install(str(tmp_path / "databricks"), machine.world._replace(platform="win32"), profile="100% DEV")
    assert path == str(tmp_path / "databricks.cmd") and os.path.getsize(path) >= 1_048_576
    lines = Path(path).read_bytes().decode("ascii").split("\r\n")
    assert lines[0] == "@echo off" and lines[1].startswith("rem ") and lines[3] == "exit /b %ERRORLEVEL%"
    assert lines[2] == f'"{sys.executable}" "-E" "-P" "-m" "dbx_auth.shim" "100%% DEV" "" %*'
    assert set(lines[4:]) == {":" * 78, ""}
    assert install(path, machine.world._replace(platform="win32"), profile="100% DEV") == path


def test_a_home_that_is_not_ascii_is_spelled_as_windows_does() -> None:
    python = r"C:\Users\José\py\python.exe"
    text = batch([python, "-m", "dbx_auth.shim", "", ""], r"C:\Users\José").decode("ascii")
    assert r'"%USERPROFILE%\py\python.exe" "-m"' in text
    with pytest.raises(ConfigError, match="not ASCII"):
        batch([r"D:\é\python.exe"], r"C:\Users\José")
    with pytest.raises(ConfigError, match="quotation mark"):
        batch(["python", 'a"b'], "")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=20), min_size=1, max_size=4))
def test_whatever_the_words_are_sh_gets_them_back(words: list[str]) -> None:
    import shlex

    program = script(words)
    assert len(program) >= 1_048_576
    assert shlex.split(program.decode().split("\n")[2]) == ["exec", *words, "$@"]


# ---- dbx-auth auth ---------------------------------------------------------------------------------------------------


def test_auth_token_prints_what_the_cli_prints(machine: Machine) -> None:
    config(machine, PAT)
    said = machine.run("auth", "token", "-p", "DEV")
    assert (said.code, said.err) == (0, "")
    assert list(said.json()) == ["access_token", "token_type", "expiry"] and said.json()["access_token"] == "dapi-dev"
    assert machine.run("auth", "--profile", "PROD", "token", "-o", "text").out == "dapi-prod\n"
    assert machine.run("auth", "token", HOST).code == 4, "and fails as ours do"


def test_auth_token_renews_when_it_is_told_to(machine: Machine, sandbox: Sandbox) -> None:
    grant = login(machine, sandbox)
    assert machine.run("auth", "token").json()["access_token"] == grant.access
    assert machine.run("auth", "token", "--force-refresh").json()["access_token"] != grant.access


def test_auth_profiles_without_validation_is_what_vs_code_reads(machine: Machine) -> None:
    config(machine, f"{PAT}workspace_id = 7\n[ACC]\nhost = https://accounts.azuredatabricks.net\naccount_id = 9\n")
    machine.env["DATABRICKS_OUTPUT_FORMAT"] = "json"
    said = machine.run("auth", "profiles", "--skip-validate")
    assert said.json() == {
        "profiles": [
            {"name": "DEV", "host": HOST, "cloud": "aws", "auth_type": "pat", "valid": False},
            {"name": "PROD", "host": OTHER, "workspace_id": "7", "cloud": "aws", "auth_type": "pat", "valid": False},
            {
                "name": "ACC",
                "host": "https://accounts.azuredatabricks.net",
                "account_id": "9",
                "cloud": "azure",
                "auth_type": "",
                "valid": False,
            },
        ]
    }


def test_auth_profiles_without_profiles_is_null(machine: Machine) -> None:
    assert machine.run("auth", "profiles", "-o", "json").json() == {"profiles": None}
    assert machine.run("auth", "profiles").out.split() == ["Name", "Host", "Valid"]


def test_auth_profiles_says_which_of_them_log_in(machine: Machine, sandbox: Sandbox) -> None:
    good, bad = f"[DEFAULT]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n", "[BAD]\nhost = {}\ntoken = dapi-no\n"
    config(machine, good + bad.format(sandbox.url) + "[EMPTY]\nhost = https://nobody.example\n")
    rows = [line.split("  ") for line in machine.run("auth", "profiles").out.splitlines()]
    told = {row[0].strip(): row[-1] for row in rows}
    assert told == {"Name": "Valid", "DEFAULT (Default)": "YES", "BAD": "NO", "EMPTY": "NO"}
    listed = machine.run("auth", "profiles", "-o", "json").json()["profiles"]
    assert [(row["valid"], row.get("default")) for row in listed] == [(True, True), (False, None), (False, None)]
    assert [request.path for request in sandbox.log].count(ME) == 4


def test_auth_describe_says_who_and_with_what(machine: Machine, sandbox: Sandbox) -> None:
    config(machine, f"[DEV]\nhost = {sandbox.url}\n")
    machine.env.update(DATABRICKS_TOKEN=sandbox.pat, ARM_CLIENT_ID="app")
    said = machine.run("auth", "describe", "--profile", "DEV")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"Host: {sandbox.url}",
        f"User: {sandbox.user}",
        "Authenticated with: pat",
        "-----",
        "Current configuration:",
        f"  ✓ host: {sandbox.url} (from ~/.databrickscfg config file)",
        "  ✓ token: ******** (from DATABRICKS_TOKEN environment variable)",
        "  ~ azure_client_id: app (from ARM_CLIENT_ID environment variable, not used for auth type pat)",
        "  ✓ profile: DEV",
    ]
    assert sandbox.pat in machine.run("auth", "describe", "-p", "DEV", "--sensitive").out


def test_auth_describe_in_json_has_the_cli_s_fields(machine: Machine, sandbox: Sandbox) -> None:
    config(machine, f"[DEV]\nhost = {sandbox.url}\naccount_id = 9\n")
    machine.env.update(DATABRICKS_CONFIG_PROFILE="DEV", DATABRICKS_TOKEN=sandbox.pat)
    said = machine.run("auth", "describe", "-o", "json").json()
    assert (said["status"], said["username"], said["account_id"]) == ("success", sandbox.user, "9")
    assert said["details"]["profile"] == "DEV"
    assert (said["details"]["auth_type"], said["details"]["host"]) == ("pat", sandbox.url)
    source = {"type": "environment variable", "name": "DATABRICKS_TOKEN"}
    held = said["details"]["configuration"]["token"]
    assert held == {"value": "********", "source": source, "auth_type_mismatch": False}


def test_auth_describe_of_a_login_says_where_it_is(machine: Machine, sandbox: Sandbox) -> None:
    login(machine, sandbox)
    lines = machine.run("auth", "describe").out.splitlines()
    assert "Token storage: ~/.local/share/dbx-auth/auth.json" in lines
    assert f"  ✓ host: {sandbox.url} (from dbx-auth login)" in lines
    told = machine.run("auth", "describe", "-o", "json").json()
    assert told["token_storage"] == {"location": "~/.local/share/dbx-auth/auth.json"}


def test_auth_describe_of_nobody_says_why_and_is_no_failure(machine: Machine) -> None:
    said = machine.run("auth", "describe", "--host", HOST)
    assert said.code == 0 and said.out.startswith("Unable to authenticate: no token for")
    assert "  ✓ host: https://dev.cloud.databricks.com (from --host flag)" in said.out.splitlines()
    assert machine.run("auth", "describe", "--host", HOST, "-o", "json").json()["status"] == "error"


def test_auth_env_prints_the_settings_as_variables(machine: Machine) -> None:
    config(machine, PAT)
    wanted = {"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "dapi-dev", "DATABRICKS_CONFIG_PROFILE": "DEV"}
    assert machine.run("auth", "env", "-p", "DEV").json() == {"env": wanted}
    assert machine.run("auth", "env", HOST).json() == {"env": {"DATABRICKS_HOST": HOST}}


def test_auth_switch_makes_a_profile_the_default_and_changes_nothing_else(machine: Machine) -> None:
    config(machine, f"# mine\n{PAT}")
    said = machine.run("auth", "switch", "--profile", "PROD")
    assert (said.code, said.out, said.err) == (0, "", 'Default profile set to "PROD".\n')
    assert machine.config.read_text() == f"# mine\n{PAT}\n[__settings__]\ndefault_profile = PROD\n"
    assert machine.run("token").out == "dapi-prod\n"
    machine.run("auth", "switch", "-p", "DEV")
    before = state(machine.config)
    machine.run("auth", "switch", "-p", "DEV")
    assert machine.run("token").out == "dapi-dev\n" and state(machine.config) == before


def test_auth_switch_says_what_still_comes_first(machine: Machine) -> None:
    config(machine, PAT)
    key(machine, OTHER)
    said = machine.run("auth", "switch", "-p", "DEV")
    assert said.code == 0 and f"the last login, {OTHER}, still comes first" in said.err
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "PROD"
    assert "profile PROD still comes first" in machine.run("auth", "switch", "-p", "DEV").err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ("-p NONE", 5, 'profile "NONE" not found'),
        ("-p __settings__", 5, 'profile "__settings__" not found'),
        ("", 2, "please specify a profile using --profile"),
    ],
)
def test_auth_switch_to_nothing_is_refused(machine: Machine, argv: str, code: int, words: str) -> None:
    config(machine, PAT)
    said = machine.run("auth", "switch", *argv.split())
    assert (said.code, said.out) == (code, "") and words in said.err
    assert machine.config.read_text() == PAT


def test_auth_login_and_logout_are_ours_for_the_sdks_as_well(machine: Machine, sandbox: Sandbox, browser: Path) -> None:
    machine.env["DATABRICKS_AUTH_STORAGE"] = "plaintext"
    said = machine.spawn("auth", "login", "--host", sandbox.url, "--profile", "DEV", "--timeout", "60s")
    assert said.code == 0 and "logged in to" in said.err and "shared in ~/.databrickscfg [DEV]" in said.err
    assert "DEV" in json.loads(machine.cli_cache.read_text())["tokens"]
    assert token(machine, "--profile", "DEV")
    gone = machine.run("auth", "logout", "DEV", "--auto-approve")
    assert gone.code == 0 and "forgot the login in ~/.databricks/token-cache.json [DEV]" in gone.err
    assert NOT_CONFIGURED in ask(machine, "auth", "token", "--profile", "DEV").err
