"""The command line: what goes to stdout and what to stderr, and the one place where errors end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any
from unittest import mock

import click
import pytest
from machine import HOST, OTHER, Machine, Result
from unit.far_side import parsed

from dbx_auth import __main__, __version__, cli, resolve, world
from dbx_auth.cli import VERBS
from dbx_auth.commands import Duration
from dbx_auth.errors import (
    AuthError,
    ConfigError,
    InDoubt,
    LoginRequired,
    Refused,
    Temporary,
    Unreachable,
    UsageError,
)
from dbx_auth.world import Ended


def check_refused(result: Result, code: int, *words: str) -> None:
    """Nothing on stdout; on stderr one line that says what happened and one that says what to do."""
    assert (result.code, result.out) == (code, ""), result
    what, hint = result.err.splitlines()
    assert what.startswith("dbx-auth: ") and len(what) > 15 and not what.endswith(".")
    assert hint.startswith("hint: ") and len(hint) > 8
    assert all(word in result.err for word in words), result.err


# ---- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_verb_and_every_exit_code(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = machine.run(option)
    assert (said.code, said.err) == (0, "")
    for verb, does in VERBS.items():
        assert f"  {verb} " in said.out and does in said.out
    for code in (
        "  0  ok",
        "  1  refused",
        "  2  wrong",
        "  4  a person",
        "  5  a file",
        "  6  temporary",
        "129, 130, 143",
    ):
        assert code in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_verb_has_help_and_does_nothing_else_then(machine: Machine, verb: str, option: str) -> None:
    said = machine.run(verb, option)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: dbx-auth {verb} ") and "-h, --help" in said.out
    assert machine.files() == {}


def test_the_version_is_one_line(machine: Machine) -> None:
    assert machine.run("--version") == Result(0, f"dbx-auth {__version__}\n", "")


def test_without_a_verb_the_help_is_shown_and_that_is_wrong_usage(machine: Machine) -> None:
    said = machine.run()
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Usage: dbx-auth ") and "Verbs:" in said.err


def test_a_verb_is_imported_when_it_is_called_and_no_other(machine: Machine) -> None:
    probe = (
        "import sys; from dbx_auth.cli import run; run(['profiles']);"
        "print(*(m for m in sys.modules if m.startswith('dbx_auth.commands.')))"
    )
    env = machine.child_env()
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "dbx_auth.commands.profiles\n"


# ---- wrong usage -----------------------------------------------------------------------------------------------------

WRONG = [
    (["tokne"], "No such command 'tokne'", "dbx-auth --help"),
    (["--nope"], "No such option", "dbx-auth --help"),
    (["token", "--nope"], "No such option", "dbx-auth token --help"),
    (["token", "a.b", "c.d"], "unexpected extra argument", "dbx-auth token --help"),
    (["token", "-o", "xml"], "'xml' is not one of 'text', 'json'", "dbx-auth token --help"),
    (["token", "--min-ttl"], "requires an argument", "--help"),
    (["token", "--min-ttl", "soon"], "'soon' is not a duration such as 900, 90s, 15m or 2h", "dbx-auth token --help"),
    (["token", "--force-refresh", "--no-refresh"], "contradict each other", "use one of them"),
    (["login", "--method", "magic"], "'magic' is not one of", "dbx-auth login --help"),
    (["login", "--with-token", "--method", "m2m"], "--with-token does not go with --method m2m", "leave out"),
    (["login", "--client-id", "x", "--method", "pat"], "--client-id does not go with --method pat", "leave out"),
    (["login", "--with-token", "--client-id", "x"], "--client-id", ""),
    (["login"], "no host to log in to", "dbx-auth login https://"),
    (["token", "nowhere"], "nowhere is neither a profile nor a host", "dbx-auth profiles"),
    (["token", "x.example", "--host", HOST], "x.example cannot stand beside --host", "alone"),
    (["completion"], "Missing argument", "dbx-auth completion --help"),
    (["completion", "csh"], "'csh' is not one of", "dbx-auth completion --help"),
    (["sandbox", "--port", "99999"], "99999", "dbx-auth sandbox --help"),
    (["token", "--host", "http://x.example"], "must use https", "https://x.example"),
]


@pytest.mark.parametrize(("argv", "said", "hint"), WRONG)
def test_wrong_usage_is_one_line_and_a_hint(machine: Machine, argv: list[str], said: str, hint: str) -> None:
    check_refused(machine.run(*argv), 2, said, hint)
    assert machine.files() == {}


AS_JSON = [["-o", "json"], ["--output", "json"], ["--output=json"], ["-ojson"]]


@pytest.mark.parametrize("form", AS_JSON, ids=" ".join)
@pytest.mark.parametrize(
    "argv", [["tokne"], ["token", "--nope"], ["status", "a.b", "c.d"], ["models", "nowhere"], ["login"]], ids=" ".join
)
def test_wrong_usage_is_one_document_for_whoever_reads_json(machine: Machine, argv: list[str], form: list[str]) -> None:
    said = machine.run(*argv, *form)
    assert said.code == 2
    error = parsed(said.out)
    assert list(error) == ["error_code", "message", "hint", "retryable"]
    assert (error["error_code"], error["retryable"]) == ("USAGE", False)
    assert error["message"] in said.err and f"hint: {error['hint']}" in said.err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["token"], False),
        ([], False),
        (["token", "-o", "text"], False),
        (["token", "-o"], False),
        (["json", "-o"], False),
        (["token", "--json"], False),
        (["-o json"], True),
        (["exec", "--", "ls", "-o", "json"], False),
        (["exec", "ls", "-o", "json"], False),
        *((["token", *form], True) for form in AS_JSON),
        *(([*form, "token"], True) for form in AS_JSON),
    ],
)
def test_whether_json_is_read_can_be_told_from_the_words_alone(argv: list[str], expected: bool) -> None:
    assert cli._wants_json(argv) is expected


# ---- errors end here -------------------------------------------------------------------------------------------------

ERRORS: list[tuple[AuthError, int, str]] = [
    (Refused("the server said no", hint="look at it"), 1, "REFUSED"),
    (UsageError("these do not fit", hint="use one"), 2, "USAGE"),
    (LoginRequired("nobody is logged in", hint="dbx-auth login"), 4, "UNAUTHENTICATED"),
    (ConfigError("the file is odd", hint="correct it"), 5, "CONFIG"),
    (Temporary("the server is busy", hint="try again"), 6, "TEMPORARY"),
    (Temporary("it has too much to do", hint="try again in 90 s", retry_after=90.0), 6, "TEMPORARY"),
    (Unreachable("nobody answers", hint="check the network"), 6, "TEMPORARY"),
    (InDoubt("it broke off", hint="try again"), 6, "TEMPORARY"),
]


@pytest.mark.parametrize(("error", "code", "error_code"), ERRORS)
@pytest.mark.parametrize("verb", ["token", "models"])
def test_each_error_has_its_exit_code_in_text_and_in_json(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, verb: str, error: AuthError, code: int, error_code: str
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(resolve, "token", fail)
    said = machine.run(verb)
    assert said == Result(code, "", f"dbx-auth: {error}\nhint: {error.hint}\n")
    said = machine.run(verb, "-o", "json")
    assert said.code == code and parsed(said.out) == {
        "error_code": error_code,
        "message": str(error),
        "hint": error.hint,
        "retryable": code == 6,
        **({"retry_after": error.retry_after} if error.retry_after else {}),
    }


def test_what_a_server_put_into_an_error_cannot_drive_the_terminal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise Refused("it said \x1b]52;c;evil\x07\x1b[2J\r\u202e\x9b31m", hint="\x1b[1mlook")

    monkeypatch.setattr(resolve, "token", fail)
    said = machine.run("token")
    assert said.err == "dbx-auth: it said ]52;c;evil[2J31m\nhint: [1mlook\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort, EOFError])
def test_who_interrupts_is_told_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(resolve, "token", fail)
    said = machine.run("token", "-o", "json")
    assert (said.code, said.out) == (130, "") and said.err.strip() == "dbx-auth: interrupted"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("inside", [True, False])
def test_who_is_asked_to_end_says_by_which_signal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, inside: bool
) -> None:
    def ended(*args: object, **rest: object) -> None:
        raise Ended(number)

    if inside:
        monkeypatch.setattr(resolve, "token", ended)
    else:
        monkeypatch.setattr(cli.cli, "main", ended)
    assert machine.run("token", "-o", "json") == Result(code, "", "dbx-auth: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("error", [ImportError("_ssl"), Refused("no", hint="h"), click.Abort()])
def test_whatever_an_interruption_was_made_into_on_its_way_it_is_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: Exception
) -> None:
    """A C module that is interrupted while it is loaded raises an ImportError in its place."""
    monkeypatch.setattr(world, "_asked_to_end", [number])
    monkeypatch.setattr(resolve, "token", mock.Mock(side_effect=error))
    assert machine.run("token", "-o", "json") == Result(128 + number, "", "dbx-auth: interrupted\n")


def test_an_interruption_outside_of_click_is_one_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", interrupted)
    assert machine.run("token") == Result(130, "", "dbx-auth: interrupted\n")


@pytest.mark.parametrize("error", [ValueError("dapi-secret"), AttributeError("dapi-secret"), RecursionError()])
def test_a_mistake_of_ours_is_named_by_its_place_and_not_by_what_it_held(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(resolve, "token", fail)
    check_refused(machine.run("token"), 1, f"a mistake of ours: {type(error).__name__} at test_cli.py:")
    said = machine.run("token", "-o", "json")
    assert parsed(said.out)["retryable"] is False and "secret" not in said.out + said.err


def test_a_reader_that_has_gone_is_nobody_to_tell(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object, **rest: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", gone)
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    assert machine.run("token") == Result(1, "", "")


# ---- a real process --------------------------------------------------------------------------------------------------


def shell(machine: Machine, command: str, **env: str) -> Result:
    """`dbx-auth` in a POSIX shell, where its files can be closed."""
    program = f'dbx() {{ "{sys.executable}" -m dbx_auth "$@"; }}; {command}'
    done = subprocess.run(["sh", "-c", program], env=machine.child_env(**env), capture_output=True)
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


@posix
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("dbx models --offline --all | true", 0),
        ("dbx token >&-", None),
        ("dbx status --offline >&-", None),
        ("dbx token -p NOWHERE 2>&-", 5),
        ("dbx token <&-", 0),
        ("dbx token </dev/null", 0),
        ("dbx token -p NOWHERE -o json >&-", 5),
        ("dbx nope >&- 2>&-", 2),
    ],
)
def test_a_closed_file_is_no_traceback(machine: Machine, command: str, code: int | None) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    said = shell(machine, command)
    assert "Traceback" not in said.err and "Error:" not in said.err, said.err
    assert code is None or said.code == code


@posix
def test_a_login_without_stdin_has_no_token_and_no_traceback(machine: Machine) -> None:
    said = shell(machine, f"dbx login {HOST} --with-token <&-")
    assert said.code == 2 and "Traceback" not in said.err and "a token is one word" in said.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full")
@pytest.mark.parametrize("argv", ["token", "status --offline", "models --offline", "profiles -o json", "token -o json"])
def test_a_token_that_could_not_be_written_is_a_failure_that_is_told(machine: Machine, argv: str) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    said = shell(machine, f"dbx {argv} >/dev/full")
    assert said.code in (1, 5) and "Traceback" not in said.err
    assert said.err.startswith("dbx-auth: ") and "No space left" in said.err


@posix
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_name_that_the_terminal_cannot_spell_is_no_traceback(machine: Machine, encoding: str) -> None:
    machine.write(machine.config, f"[d\u00e9v\u4e16]\nhost = {HOST}\n")
    said = shell(machine, "dbx profiles; dbx profiles -o json; dbx token -p \u4e17", PYTHONIOENCODING=encoding)
    assert "Traceback" not in said.err and "dbx-auth: " in said.err and HOST in said.out


def test_main_ends_the_process_with_the_code_and_what_was_written(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    assert machine.spawn("token") == Result(0, "dapi\n", "")
    check_refused(machine.spawn("token", "-p", "NOWHERE"), 5, "NOWHERE")


def test_ours_is_the_program_and_the_module() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="dbx-auth")
    assert script.load() is __main__.main


# ---- who is meant ----------------------------------------------------------------------------------------------------

CONFIG = f"""
[DEV]
host = {HOST}
token = dev
[PROD]
host = {OTHER}
token = prod
[x.example]
host = {OTHER}
token = named-like-a-host
"""


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        (["token", "-p", "DEV"], "dev"),
        (["token", "--profile", "PROD"], "prod"),
        (["-p", "DEV", "token"], "dev"),
        (["--profile=PROD", "token"], "prod"),
        (["-p", "DEV", "token", "-p", "PROD"], "prod"),
        (["token", "DEV"], "dev"),
        (["token", "PROD"], "prod"),
        (["token", "x.example"], "named-like-a-host"),
        (["-p", "DEV", "--host", HOST, "token"], "dev"),
        (["-p", "DEV", "token", "--host", HOST], "dev"),
        (["--host", HOST + "/", "token", "--profile", "DEV"], "dev"),
    ],
)
def test_who_is_meant_may_be_said_before_the_verb_and_after_it(machine: Machine, argv: list[str], printed: str) -> None:
    machine.write(machine.config, CONFIG)
    said = machine.run(*argv)
    assert (said.code, said.out, said.err) == (0, f"{printed}\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        ["token", HOST],
        ["token", HOST + "/?o=1"],
        ["token", "dev.cloud.databricks.com"],
        ["token", "--host", "dev.cloud.databricks.com"],
        ["--host", HOST, "token"],
        ["--host", OTHER, "token", "--host", HOST],
    ],
)
def test_a_host_may_be_said_in_all_the_same_places(machine: Machine, argv: list[str]) -> None:
    entries = {f"databricks:{host}": {"type": "api", "key": host, "host": host} for host in (HOST, OTHER)}
    machine.write(machine.auth_json, entries)
    assert machine.run(*argv).out == f"{HOST}\n"


def test_a_verb_works_whichever_verb_the_process_ran_before(machine: Machine) -> None:
    """Each verb is a module beside the names that the others use; none may come to stand in the place of one."""
    machine.write(machine.config, CONFIG)
    for verb in VERBS:
        machine.run(verb, "--help")
    assert machine.run("profiles").code == 0
    assert machine.run("token", "DEV").out == "dev\n"
    assert machine.run("logout", HOST).code == 0


def test_a_port_makes_a_word_a_host(machine: Machine) -> None:
    machine.env["DATABRICKS_TOKEN"] = "dapi"
    found = machine.run("token", "http://localhost:8787", "-o", "json").json()
    assert found["host"] == "http://localhost:8787"


def test_account_id_may_be_said_in_both_places(machine: Machine) -> None:
    host = "https://accounts.cloud.databricks.com"
    machine.cached_login(f"{host}/oidc/accounts/one", access_token="the-account")
    for argv in (["--account-id", "one", "token", "--host", host], ["token", "--host", host, "--account-id", "one"]):
        assert machine.run(*argv).out == "the-account\n"


@pytest.mark.parametrize("account_id", ["one\n", "one\r", "a b", "one\x00", "\u00fc"])
def test_an_account_id_that_no_url_can_carry_is_an_error_and_no_traceback(machine: Machine, account_id: str) -> None:
    machine.env.update(DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="cs-secret")
    host = "https://accounts.invalid"
    said = machine.run("token", "--host", host, "--account-id", account_id)
    assert said.code in (2, 5, 6) and said.err.count("\n") == 2 and "-secret" not in said.err


def test_verbose_tells_what_is_tried_on_stderr_and_no_secret(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "", "host": HOST}})
    machine.cached_login(HOST, access_token="at-secret", refresh_token="rt-secret")
    said = machine.spawn("-v", "token", "--host", HOST)
    assert (said.code, said.out) == (0, "at-secret\n")
    assert "dbx-auth: pat: unavailable: not set: token (DATABRICKS_TOKEN)" in said.err
    assert "dbx-auth: stored: unavailable" in said.err and "-secret" not in said.err
    assert "read ~/" not in said.err, "that is for -vv"
    assert machine.spawn("token", "--host", HOST).err == ""


@pytest.mark.parametrize("options", [["-vv"], ["-v", "-v"], ["--verbose", "--verbose"], ["-vvv"]])
def test_verbose_twice_tells_each_file_too(machine: Machine, options: list[str]) -> None:
    path = machine.cached_login(HOST, access_token="at-secret", refresh_token="rt-secret")
    said = machine.spawn(*options, "token", "--host", HOST)
    assert (said.code, said.out) == (0, "at-secret\n")
    assert "dbx-auth: pat: unavailable" in said.err and "-secret" not in said.err
    assert f"dbx-auth: read ~/.databricks/token-cache.json: {path.stat().st_size} bytes" in said.err


def test_verbose_twice_tells_each_request_and_lock_and_no_secret(machine: Machine) -> None:
    host = "http://127.0.0.1:1"
    machine.cached_login(host, access_token="at-secret", refresh_token="rt-secret", expiry="2020-01-01T00:00:00Z")
    said = machine.spawn("-vv", "token", "--host", host)
    assert (said.code, said.out) == (6, "") and not re.search("[ar]t-secret", said.err)
    assert f"dbx-auth: GET {host}/.well-known/databricks-config: " in said.err and " s: Unreachable" in said.err
    assert f"dbx-auth: locked {machine.home}/.databricks/.dbx-auth/" in said.err
    assert f"dbx-auth: locked {machine.home}/.databricks/token-cache.lock" in said.err


# ---- durations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("900", 900.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("2h", 7200.0),
        ("1.5h", 5400.0),
        (".5m", 30.0),
        ("1e3", 1000.0),
        (" 15m ", 900.0),
        ("999999999", 999_999_999.0),
        (900, 900.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_a_number_of_seconds_minutes_or_hours(text: Any, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "-1s",
        "m",
        "s",
        "15 minutes",
        "15d",
        "1h30m",
        "2H",
        "nan",
        "inf",
        "infs",
        "1e9",
        "1e6h",
        "0x10",
        "1,5",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration such as"):
        Duration().convert(text, None, None)


def test_a_profile_may_be_named_beside_its_host_and_no_other(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-secret\n[PROD]\nhost = {OTHER}\ntoken = other\n")
    assert machine.run("token", HOST, "-p", "DEV").out == "dapi-secret\n"
    for argv in (["token", HOST, "-p", "PROD"], ["token", "PROD", "-p", "DEV"]):
        said = machine.run(*argv)
        assert (said.code, said.out) == (2, "") and "hint: " in said.err
