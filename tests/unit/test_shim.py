"""The shim: what it answers in place of the Databricks CLI, and whose token it gives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from machine import HOST, OTHER, Machine
from unit.far_side import TOKEN, FarSide, never

from dbx_auth import __version__, journal
from dbx_auth.errors import Refused, Temporary
from dbx_auth.lock import Lock
from dbx_auth.sandbox import Sandbox
from dbx_auth.shim import answers, lookup
from dbx_auth.shim.answers import NOT_CONFIGURED, Answer, answer
from dbx_auth.shim.deadline import within
from dbx_auth.shim.pflag import parse
from dbx_auth.store import AuthJson, Grant, grant_fields
from dbx_auth.world import World, signals_held

posix = pytest.mark.skipif(sys.platform == "win32", reason="sh, and signals")

PAT = f"[DEV]\nhost = {HOST}\ntoken = dapi-dev\n\n[PROD]\nhost = {OTHER}\ntoken = dapi-prod\n"

EXPIRY = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d"
"""Local time with a fraction and an offset: the one form that all SDKs read rightly."""


def ask(machine: Machine, *argv: str, fixed: tuple[str, str] = ("", ""), **world: Any) -> Answer:
    """What the shim says, which may be installed for a profile or a host."""
    return answer(argv, machine.world._replace(**world), *fixed)


def token(machine: Machine, *argv: str, fixed: tuple[str, str] = ("", ""), **world: Any) -> str:
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
def test_the_version_in_json_is_the_cli_s_object(machine: Machine, argv: str) -> None:
    assert ask(machine, *argv.split(), http=never) == Answer(
        0,
        f"""\
{{
  "ProjectName": "cli",
  "Version": "1.13.0",
  "Summary": "dbx-auth {__version__}",
  "Major": 1,
  "Minor": 13,
  "Patch": 0,
  "Prerelease": "",
  "IsSnapshot": false
}}
""",
    )


def test_who_asks_for_the_version_does_not_pay_for_the_way_to_a_token(machine: Machine) -> None:
    """SDKs ask for it first, each time that they start."""
    probe = (
        "import os, sys; os._exit = sys.exit; from dbx_auth.shim.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sorted(n for n in sys.modules if n.startswith('dbx_auth')), file=sys.stderr)"
    )

    def imported(*argv: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", probe, "", "", *argv], env=machine.child_env(), capture_output=True, text=True
        )
        assert done.stdout.startswith("Databricks CLI v") or NOT_CONFIGURED in done.stderr
        return set(done.stderr.split()) & {"dbx_auth.resolve", "dbx_auth.profile", "dbx_auth.shim.lookup"}

    assert imported("version") == set()
    assert len(imported("auth", "token", "--host", HOST)) == 3, "the control"


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
    "--log-level debug --log-file=stderr --log-format json --debug": {
        "log-level": "debug",
        "log-file": "stderr",
        "log-format": "json",
        "debug": "true",
    },
}


@pytest.mark.parametrize("typed", TYPED)
def test_flags_are_read_as_go_reads_them(typed: str) -> None:
    for line in (f"auth token {typed}", f"{typed} auth token", f"auth {typed} token"):
        assert parse(line.split()) == (["auth", "token"], TYPED[typed], "")


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("", 0.0),
        ("0", 0.0),
        ("300s", 300.0),
        ("1h30m.5s", 5400.5),
        ("2m0.25s", 120.25),
        ("1500ms", 1.5),
        ("1.us", 1e-6),
    ],
)
def test_a_time_is_written_as_go_writes_it(typed: str, seconds: float) -> None:
    assert parse(["--timeout", typed] if typed else []).timeout == pytest.approx(seconds, abs=1e-12)


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
    "argv",
    [
        "clusters list",
        "clusters --unknown",
        "bundle deploy -t dev",
        "current-user me --output json",
        "auth profiles --skip-validate --log-level debug",
        "auth env --profile DEV",
        "auth describe --output json",
        "auth login --host https://x.example --timeout 300s",
        "auth x",
    ],
)
def test_another_command_is_refused_in_one_line_that_says_who_this_is(machine: Machine, argv: str) -> None:
    said = ask(machine, *argv.split(), http=never)
    asked = " ".join(argv.split()[: 2 if argv.startswith("auth") else 1])
    ours = f"; there is `dbx-auth {asked}`" if argv.startswith("auth") else ""
    assert said == Answer(1, "", f"Error: this is dbx-auth and not the Databricks CLI, and has no `{asked}`{ours}\n")


@pytest.mark.parametrize("argv", ["", "auth", "--help", "-h", "auth token --help", "version -h", "auth -h"])
def test_help_says_what_this_answers_and_that_it_is_not_the_cli(machine: Machine, argv: str) -> None:
    said = ask(machine, *argv.split(), http=never)
    assert (said.code, said.err) == (0, "") and "in place of the Databricks CLI" in said.out


# ---- a token ---------------------------------------------------------------------------------------------------------


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


CALLS = {
    "Python until 0.105, Go until 0.111": "auth token --host {0}",
    "the same for an account": "auth token --host {0} --account-id 9",
    "JavaScript, Go 0.112": "auth token --profile DEV",
    "Python, Go, Java, Terraform": "auth token --profile DEV --force-refresh",
    "the same without a profile": "auth token --host {0} --force-refresh",
    "the same for an account without a profile": "auth token --host {0} --account-id 9 --force-refresh",
    "Go and Java for a host of several workspaces": (
        "auth token --host {0} --experimental-is-unified-host --account-id 9 --workspace-id 7"
    ),
    "a script": "auth token --profile DEV --output JSON",
    "a script that means the default": "auth token --force-refresh --output json",
    "a script that names both": "auth token --host {0} --profile DEV -o json --timeout 60s",
    "VS Code when it logs": "auth token --host {0} --log-level debug --log-file stderr --log-format json",
    "a person who wonders": "--debug auth token DEV",
}


@pytest.mark.parametrize("caller", CALLS)
def test_what_each_caller_says_gets_a_token(machine: Machine, caller: str) -> None:
    default = "[__settings__]\ndefault_profile = DEV\n"
    config(machine, f"{default}[DEV]\nhost = {HOST}\ntoken = dapi-dev\naccount_id = 9\nworkspace_id = 7\n")
    said = ask(machine, *CALLS[caller].format(HOST).split(), http=never)
    assert (said.code, said.err) == (0, "") and json.loads(said.out)["access_token"] == "dapi-dev"


def test_a_profile_of_the_environment_gives_no_token_for_another_host(machine: Machine) -> None:
    """An SDK that asks for one host hands on an environment that is about another."""
    config(machine, PAT)
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "DEV"
    assert token(machine, "--host", OTHER, "--force-refresh", http=never) == "dapi-prod"
    said = ask(machine, "auth", "token", "--host", "https://third.cloud.databricks.com", http=never)
    assert (said.code, said.out) == (1, "") and NOT_CONFIGURED in said.err


def test_a_variable_of_the_environment_names_the_profile(machine: Machine) -> None:
    config(machine, PAT)
    machine.env["DATABRICKS_CONFIG_PROFILE"] = "PROD"
    assert token(machine, http=never) == "dapi-prod"
    assert token(machine, "--profile", "DEV", http=never) == "dapi-dev"


@pytest.mark.parametrize("word", ["dev.example", "https://localhost", "http://localhost", "localhost:80"])
def test_a_word_is_a_host_when_it_looks_like_one(machine: Machine, word: str) -> None:
    """As the CLI tells them from profiles that are not there."""
    said = ask(machine, "auth", "token", word, http=never)
    assert NOT_CONFIGURED in said.err and "no matching profile" not in said.err
    key(
        machine,
        "https://dev.example" if word == "dev.example" else word.replace("localhost:80", "https://localhost:80"),
    )
    assert token(machine, word, http=never) == "dapi-stored"


def test_of_several_profiles_of_an_account_console_the_account_tells_which(machine: Machine) -> None:
    """One host, and of each account another token."""
    host = "https://accounts.cloud.databricks.com"
    config(machine, "".join(f"[A{n}]\nhost = {host}\ntoken = dapi-{n}\naccount_id = {n}\n" for n in (1, 2)))
    for number in ("1", "2"):
        assert token(machine, "--host", host, "--account-id", number, http=never) == f"dapi-{number}"
    assert NOT_CONFIGURED in ask(machine, "auth", "token", "--host", host, "--account-id", "3").err


@pytest.mark.parametrize("keys", [f"host = {HOST}", f"host = {HOST}\nauth_type = databricks-cli", "cluster_id = x"])
def test_nobody_steps_in_for_a_profile_that_is_named_and_has_no_login(machine: Machine, keys: str) -> None:
    """Where it has no host of its own, that of the environment is the host of another profile."""
    machine.env["DATABRICKS_HOST"] = HOST
    config(machine, f"{PAT}[MINE]\n{keys}\n")
    said = ask(machine, "auth", "token", "--profile", "MINE", http=never)
    assert (said.code, said.out) == (1, "") and NOT_CONFIGURED in said.err
    config(machine, PAT)
    assert token(machine, http=never) == "dapi-dev", "the control: where none is named, the one of that host"


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


def test_told_to_ask_the_cli_an_sdk_gets_what_stands_in_the_profile_too(machine: Machine) -> None:
    config(machine, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\ntoken = dapi-dev\n")
    assert token(machine, "--profile", "DEV", http=never) == "dapi-dev"


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
    away = FarSide({TOKEN: Temporary("cannot reach it: host Not Found", hint="try again")})
    said = ask(machine, "auth", "token", "--host", HOST, "-o", "json", http=away)
    assert said.code == 1 and NOT_CONFIGURED not in said.err and "cannot reach it" in said.err
    assert "host not there" in said.err, "what is not found is for Java's SDK a CLI that is missing"
    assert json.loads(said.out)["retryable"] is True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--profile NONE", "has no profile NONE"),
        ("nobody", 'no matching profile found: "nobody"\nhint: dbx-auth profiles\n'),
        (
            "DEV --host x.example",
            'argument "DEV" cannot be combined with --host or --profile\n'
            "hint: use the --host and --profile flags instead\n",
        ),
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

    monkeypatch.setattr(lookup, "find", broken)
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
    fixed = ("PROD", "")
    assert token(machine, fixed=fixed) == "dapi-prod"
    assert token(machine, "--host", f"{OTHER}/", fixed=fixed) == "dapi-prod"
    assert token(machine, "--profile", "PROD", fixed=fixed) == "dapi-prod"


@pytest.mark.parametrize("fixed", [("PROD", ""), ("", OTHER)])
@pytest.mark.parametrize("argv", [f"--host {HOST}", "--profile DEV", HOST, "DEV"])
def test_nobody_who_asks_about_another_host_gets_its_token(machine: Machine, fixed: tuple[str, str], argv: str) -> None:
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
    monkeypatch.setattr(answers, "BUDGET", 0.2)
    said = ask(machine, "auth", "token", "-p", "ROBOT", http=silent)
    assert said.code == 1 and "no token in time" in said.err
    monkeypatch.setattr(answers, "BUDGET", 60.0)
    said = ask(machine, "auth", "token", "-p", "ROBOT", "--timeout", "100ms", http=silent)
    assert "no token in time" in said.err, "and sooner for whoever says so"


def test_where_others_hold_the_lock_for_too_long_the_token_that_is_there_has_to_do(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = login(machine, sandbox)
    monkeypatch.setattr(answers, "BUDGET", 1.5)
    argv = ["--host", sandbox.url, "--force-refresh"]
    with Lock(machine.world, "the login", AuthJson(machine.world).refresh_locks(sandbox.url)).held():
        assert token(machine, *argv, http=never) == grant.access
        login(machine, sandbox, life=-9)
        assert "no token in time" in ask(machine, "auth", "token", *argv, http=never).err
    assert token(machine, *argv) != grant.access, "the control"


def test_what_is_being_spent_is_waited_for_and_is_the_answer(machine: Machine) -> None:
    def work(world: World) -> str:
        with world.uninterrupted():
            time.sleep(1.5)
        return "kept"

    assert within(0.5, work, machine.world) == "kept"

    def without(world: World) -> str:
        with nullcontext():
            time.sleep(1.5)
        return "lost"

    with pytest.raises(Temporary):
        within(0.5, without, machine.world)


def test_a_slow_refresh_outlives_the_budget_and_the_login_is_kept(
    machine: Machine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = login(machine, sandbox, life=-9)
    http = machine.world.http

    def late(method: str, url: str, **rest: Any) -> Any:
        reply = http(method, url, **rest)
        if method == "POST":
            time.sleep(2)  # the refresh token is spent, and nobody knows its successor yet
        return reply

    monkeypatch.setattr(answers, "BUDGET", 1.5)
    given = token(machine, "--host", sandbox.url, http=late)
    kept = json.loads(machine.auth_json.read_text())["databricks"]
    assert kept["access"] == given and kept["refresh"] != before.refresh
    assert machine.run("token", "--host", sandbox.url, "--force-refresh").code == 0


@posix
@pytest.mark.parametrize("presses", [1, 2])
def test_who_is_asked_to_end_waits_for_what_is_being_spent(machine: Machine, presses: int) -> None:
    spending, kept = threading.Event(), threading.Event()

    def work(world: World) -> None:
        with world.uninterrupted():
            spending.set()
            time.sleep(1)
            kept.set()

    def press() -> None:
        spending.wait(60)
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        within(60, work, machine.world._replace(uninterrupted=signals_held))
    assert kept.is_set()


def test_who_is_asked_to_end_at_the_very_beginning_waits_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread may have come that far before its start has returned here."""
    spending, kept = threading.Event(), threading.Event()
    real = threading.Thread.start

    def work(world: World) -> None:
        with world.uninterrupted():
            spending.set()
            time.sleep(0.3)
            kept.set()

    def start(thread: threading.Thread) -> None:
        real(thread)
        spending.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
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
