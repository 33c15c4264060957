"""A secret is seen where it is asked for and where it is kept, and nowhere else: not one of them, by no command."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from cloud import Answer, Cloud, Request, reply
from cloud.databricks import AZURE
from cloud.ways import WAYS, go_inside
from hard.canaries import Canary, Planted, Setup, Workspace, broken_http, found
from hard.hostile import TOKEN, Hostile, slow, tokens
from machine import Machine, Result
from person import answer, asked, waiting
from secret_service import SecretService, secret_service, session_bus

import dbx_auth
from dbx_auth import cli, login, oauth, profile, resolve, store, whoami
from dbx_auth.tokens import Demand
from dbx_auth.world import World

__all__ = ["secret_service", "session_bus"]

VERBOSITY = ((), ("-v",), ("-vv",))

WITH_A_SOURCE: dict[str, list[list[str]]] = {
    "token": [
        ["token"],
        ["token", "-o", "json"],
        ["token", "-o", "header"],
        ["token", "-o", "headers"],
        ["token", "-o", "env"],
        ["token", "--force-refresh"],
        ["token", "--no-refresh"],
        ["token", "--min-ttl", "2h", "-o", "json"],
    ],
    # `auth env` is for who wants the secrets themselves, as `databricks auth env` prints them.
    "auth": [["auth", "token"], ["auth", "describe"]],
    "env": [["env"], ["env", "--shell", "powershell"], ["env", "--unset"]],
    "helper": [["helper", "headers"], ["helper", "keyring", "get", "https://adb-9.8.azuredatabricks.net", "token"]],
    "status": [["status"], ["status", "-o", "json"], ["status", "--offline"]],
    "models": [["models"], ["models", "--all", "--refresh", "-o", "json"]],
    "logout": [["logout"], ["logout", "--share"]],
}
"""What goes through the sources: each of these is run for every one of them."""

BY_ITSELF: dict[str, list[list[str]]] = {
    "login": [
        ["login", "{pat}", "--with-token"],
        ["login", "{pat}", "--with-token", "--share", "-p", "NEW"],
        ["login", "{pat}", "--method", "m2m"],
        ["login", "{pat}", "--method", "m2m", "--share", "-p", "PAT"],
        ["login", "{anybody}", "--method", "browser", "--no-browser", "--timeout", "0.1"],
        ["login", "{pat}", "--timeout", "0.1"],
        ["login", "-p", "CLI", "--timeout", "0.1"],
        ["login", "-p", "URL", "--method", "browser", "--timeout", "0.1"],
        ["login", "https://adb-1.2.azuredatabricks.net", "--method", "azure-device-code", "--timeout", "0.1"],
    ],
    "logout": [["logout", "--all"], ["logout", "-p", "CLI", "--share"], ["logout", "{stored}"]],
    "models": [["models", "--offline"], ["models", "--offline", "-o", "names"]],
    "profiles": [["profiles"], ["profiles", "-o", "json"]],
    "config": [
        ["config", "list"],
        ["config", "get", "storage"],
        ["config", "set", "storage", "file"],
        ["config", "set", "storage", "keyring"],
        ["config", "path"],
    ],
    "doctor": [["doctor"], ["doctor", "-o", "json"], ["doctor", "--fix"]],
    "completion": [["completion", "bash"]],
    "sandbox": [["sandbox", "--port", "70000"]],
    "serve": [["serve", "--port", "70000"], ["serve", "--key-file", "."]],
    "setup": [["setup", "--list"], ["setup", "codex", "--print"], ["setup", "claude-code", "--write"]],
    "exec": [["exec", "--", "no-such-command-anywhere"]],
}
"""What asks no source, or the same whatever is set."""

GIVES = {"token", "env", "headers"}
"""A word of each command that is to print a token."""

NOBODY_SET = Setup(dict.fromkeys(("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET")))
LOGS_IN = ("--with-token", "m2m")


def test_every_verb_is_run_here() -> None:
    assert set(cli.VERBS) <= WITH_A_SOURCE.keys() | BY_ITSELF.keys(), "a verb that nobody looks at"


@pytest.fixture
def planted(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Iterator[Planted]:
    with Workspace() as workspace:
        yield Planted(machine, workspace, capsys)


def check(leaks: list[tuple[str, str]]) -> None:
    """Fail with each leak that there is, and some of the commands that have it."""
    by_leak: dict[str, list[str]] = {}
    for command, leak in leaks:
        by_leak.setdefault(leak, []).append(command)
    if by_leak:
        pytest.fail("\n".join(f"{leak}: {'; '.join(c[:3])} ({len(c)})" for leak, c in by_leak.items()), pytrace=False)


def sweep(
    planted: Planted, spoil: Callable[[], object] = lambda: None, verbosity: Any = VERBOSITY
) -> list[tuple[str, str]]:
    """Run everything with everything; what leaked, and by which command."""
    leaks: list[tuple[str, str]] = []
    runs: list[tuple[str, Setup, list[str]]] = [
        (name, setup, [*setup.argv, *argv])
        for name, setup in planted.setups.items()
        for lines in WITH_A_SOURCE.values()
        for argv in lines
    ]
    urls = planted.workspace.urls
    for verb, lines in BY_ITSELF.items():
        if verb in cli.VERBS:
            runs += [("no source", NOBODY_SET, [word.format(**urls) for word in argv]) for argv in lines]
    for name, setup, argv in runs:
        for number, louder in enumerate(verbosity):
            if number and name != "no source" and argv[-1] not in ("token", "status", "models", "logout"):
                continue  # how it is written has nothing to do with how much is told beside it
            planted.plant()
            spoil()
            typed = planted.typed["m2m" if "m2m" in argv else "pat"] if set(LOGS_IN) & set(argv) else ""
            result = planted.run([*louder, *argv], setup, typed)
            gives = setup.gives if GIVES & set(argv) else ()
            leaks += [(f"{name}: {' '.join([*louder, *argv])}", leak) for leak in planted.leaks(result, gives)]
    return leaks


def test_nothing_is_told_where_all_is_well(planted: Planted) -> None:
    check(sweep(planted))


@pytest.mark.parametrize("status", ["400", "401"])
def test_nothing_is_told_where_a_server_repeats_what_it_was_sent(planted: Planted, status: str) -> None:
    planted.workspace.mode = status
    check(sweep(planted, verbosity=[("-vv",)]))


def test_nothing_is_told_where_a_server_is_broken(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "PAUSES", (), raising=False)
    planted.workspace.mode = "500"
    check(sweep(planted, verbosity=[("-vv",)]))


CRASHES = {"anything": broken_http("RuntimeError"), "Ctrl-C": broken_http(KeyboardInterrupt)}


@pytest.mark.parametrize("crash", CRASHES)
def test_nothing_is_told_where_we_crash_on_the_way_out(planted: Planted, crash: str) -> None:
    with CRASHES[crash]:
        check(sweep(planted, verbosity=[("-vv",)]))


INSIDE: list[tuple[object, str]] = [
    (resolve, "resolve"),
    (profile, "load"),
    (oauth, "discover"),
    (oauth, "_post"),
    (store.JsonFile, "read"),
    (store.JsonFile, "write"),
    (whoami, "user"),
    (login, "save"),
    (json, "dumps"),
    (os, "replace"),
    (os, "fsync"),
]


def test_nothing_is_told_where_we_crash_inside(planted: Planted) -> None:
    """Each of these raises an error that carries all that it was called with, and all that its caller knew."""

    def crash(*args: object, **rest: object) -> Any:
        raise RuntimeError(args, rest, sys._getframe(1).f_locals)

    leaks: list[tuple[str, str]] = []
    for where, name in INSIDE:
        for setup_name in ("pat", "oauth-m2m", "databricks-cli, ended", "databricks-cli, ours, ended", "profile M2M"):
            setup = planted.setups[setup_name]
            for argv in (["token", "--force-refresh"], ["status"], ["logout", "--share"], ["models"]):
                planted.plant()
                with mock.patch.object(where, name, crash):
                    result = planted.run(["-vv", *setup.argv, *argv], setup)
                gives = setup.gives if argv[0] == "token" else ()
                leaks += [(f"{name}: {setup_name}: {' '.join(argv)}", leak) for leak in planted.leaks(result, gives)]
        for line in BY_ITSELF["login"][:4]:
            argv = [word.format(**planted.workspace.urls) for word in line]
            planted.plant()
            with mock.patch.object(where, name, crash):
                result = planted.run(["-vv", *argv], NOBODY_SET, planted.typed["m2m" if "m2m" in argv else "pat"])
            leaks += [(f"{name}: {' '.join(argv)}", leak) for leak in planted.leaks(result)]
    check(leaks)


DAMAGES: dict[str, Callable[[str], str]] = {
    "cut off in a secret": lambda text: text[: text.rindex('"access') + 40] if '"access' in text else text[:-40],
    "with a second half": lambda text: text + text[len(text) // 2 :],
    "without its quotes": lambda text: text.replace('"', ""),
    "in one line": lambda text: text.replace("\n", ""),
    "a list of itself": lambda text: json.dumps([text]),
    "of another version": lambda text: text.replace('"version": 1', '"version": "' + text[-60:].replace('"', "") + '"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_is_told_where_files_are_damaged(planted: Planted, damage: str) -> None:
    spoiled = {path: DAMAGES[damage](text) for path, text in planted.files.items()}
    planted.files |= spoiled  # the search for leaks has to know what was there

    def quick(setup: str) -> Setup:
        return planted.setups[setup]

    leaks: list[tuple[str, str]] = []
    setups = ("databricks-cli, ended", "databricks-cli, ours", "stored", "everything at once", "profile PAT")
    runs = [([*quick(s).argv, *argv], quick(s)) for s in setups for lines in WITH_A_SOURCE.values() for argv in lines]
    for verb, lines in BY_ITSELF.items():
        if verb in cli.VERBS:
            runs += [([word.format(**planted.workspace.urls) for word in argv], NOBODY_SET) for argv in lines]
    for argv, setup in runs:
        planted.plant()
        result = planted.run(["-vv", *argv], setup, planted.typed["pat"])
        gives = (*setup.gives, "a new access token") if GIVES & set(argv) else ()
        leaks += [(" ".join(argv), leak) for leak in planted.leaks(result, gives)]
    check(leaks)


# ---- and the harness finds what there is to find ---------------------------------------------------------------------

LEAKS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "what a server repeats": (oauth, "masked", lambda text, secrets=(): text),
    "the environment in a note": (profile, "load", lambda world, flags: _noted(world, flags)),
    "a copy that is left": (store.JsonFile, "read", lambda self: _copied(self)),
    "a copy in base64": (store.JsonFile, "read", lambda self: _copied(self, base64.b64encode)),
    "a traceback": (cli, "mistake", lambda error: _raised(error)),
    "the text of a crash": (cli, "mistake", lambda error: dbx_auth.AuthError(str(error), hint="")),
}
_load, _read = profile.load, store.JsonFile.read


def _noted(world: World, flags: profile.Flags) -> profile.Profile:
    world.note(str(dict(world.env)))
    return _load(world, flags)


def _copied(file: store.JsonFile, encoded: Callable[[bytes], bytes] = bytes) -> dict[str, Any]:
    data = _read(file)
    Path(file.world.home, "tmp", "copy").write_bytes(encoded(json.dumps(data).encode()))
    return data


def _raised(error: Exception) -> Any:
    traceback.print_exception(error)
    return dbx_auth.AuthError("x", hint="x")


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found(planted: Planted, leak: str) -> None:
    """The negative control of all above."""
    is_crash = leak in ("a traceback", "the text of a crash")
    setup, verb = planted.setups["pat" if is_crash else "oauth-m2m"], "status" if is_crash else "token"
    planted.workspace.mode = "400"
    with broken_http("RuntimeError") if is_crash else nullcontext():
        planted.plant()
        assert planted.leaks(planted.run(["-vv", verb], setup)) == []
        planted.plant()
        with mock.patch.object(*LEAKS[leak]):
            result = planted.run(["-vv", verb], setup)
    assert planted.leaks(result) != []


@pytest.mark.parametrize(
    "disguise",
    [
        lambda value: value,
        lambda value: value.upper(),
        lambda value: value[:30],
        lambda value: value[-16:],
        lambda value: " ".join(value),
        lambda value: "".join(f"%{ord(c):02x}" for c in value),
        lambda value: "".join(f"\\u{ord(c):04x}" for c in value),
        lambda value: "".join(f"&#{ord(c)};" for c in value),
        lambda value: value.encode().hex(),
        lambda value: base64.b64encode(b"user:" + value.encode()).decode(),
        lambda value: base64.urlsafe_b64encode(b"xy" + value.encode()).decode(),
        lambda value: repr(value.encode()),
        lambda value: "\n".join(value[i : i + 7] for i in range(0, len(value), 7)),
    ],
)  # fmt: skip
def test_a_secret_is_found_in_any_disguise(disguise: Callable[[str], str]) -> None:
    secret = Canary("it")
    assert found(f"before {disguise(secret.value)} after", [secret]) == {"it"}
    assert found("before after", [secret]) == set()


# ---- real processes --------------------------------------------------------------------------------------------------

PROBE = """
import os, sys
LOG = {log!r}

def watch(event, args):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile"):
        with open(LOG, "a", errors="replace") as file:
            file.write(repr(args[:2]) + chr(10))

sys.addaudithook(watch)
with open(LOG, "a") as file:
    file.write(open("/proc/self/cmdline").read().replace(chr(0), " ") + chr(10))
"""


@pytest.fixture
def probed(planted: Planted) -> Path:
    """What every Python program of this machine is called with, and every program that one starts."""
    folder = planted.outside / "probe"
    folder.mkdir()
    log = folder / "log"
    (folder / "sitecustomize.py").write_text(PROBE.format(log=str(log)))
    planted.env["PYTHONPATH"] = str(folder)
    return log


def spawn(planted: Planted, argv: list[str], setup: Setup, stdin: str = "", **env: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "dbx_auth", *argv],
        env={**planted.machine.child_env(), **planted.environment(setup), **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("mode", ["good", "401"])
def test_no_secret_is_an_argument_of_a_program(planted: Planted, probed: Path, mode: str) -> None:
    """Every user of a machine can read what programs are called with."""
    planted.workspace.mode = mode
    leaks: list[tuple[str, str]] = []
    runs = [(planted.setups[name], ["-vv", "token"]) for name in ("databricks-cli, ended", "everything at once")]
    runs += [(planted.setups["profile AZURE"], ["-vv", "-p", "AZURE", "status"])]
    runs += [(NOBODY_SET, ["-vv", "login", planted.workspace.urls["pat"], "--with-token", "--share", "-p", "NEW"])]
    for setup, argv in runs:
        planted.plant()
        result = spawn(planted, argv, setup, planted.typed["pat"] if "login" in argv else "")
        gives = setup.gives if GIVES & set(argv) else ()
        leaks += [(" ".join(argv), leak) for leak in planted.leaks(result, gives)]
    called = probed.read_text()
    assert "dbx_auth" in called
    assert leaks == [] and found(called, planted.canaries.values()) == set()


@needs_proc
def test_an_argument_would_be_seen(planted: Planted, probed: Path) -> None:
    """The negative control of the test above."""
    secret = planted.env["DATABRICKS_TOKEN"]
    program = f"import subprocess, os; subprocess.run(['true', {secret!r}])"
    env = {**planted.machine.child_env(), "PYTHONPATH": planted.env["PYTHONPATH"]}
    subprocess.run([sys.executable, "-c", program], env=env, check=False)
    assert found(probed.read_text(), planted.canaries.values()) == {"PAT of the environment"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_renewal_tells_nothing(planted: Planted, number: signal.Signals) -> None:
    access, refresh = planted.workspace.access.value, planted.workspace.refresh.value
    answer = tokens(access_token=access, refresh_token=refresh)
    with Hostile({TOKEN: slow(answer, 0.02, len(answer) - 40)}) as server:
        old = planted.canaries["refresh token of the CLI, ended"].value
        planted.files[planted.machine.cli_cache] = json.dumps(
            {"version": 1, "tokens": {server.url: {"access_token": "x", "refresh_token": old, "expiry": "2020-01-01"}}}
        )
        planted.plant()
        setup = Setup({"DATABRICKS_HOST": server.url, "DATABRICKS_AUTH_TYPE": "databricks-cli"})
        child = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", "dbx_auth", "-vv", "token"],
            env={**planted.machine.child_env(), **planted.environment(setup)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 30
        while not server.posts and time.monotonic() < end:
            time.sleep(0.01)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode in (128 + number, -number, 0), (child.returncode, err)
    assert planted.leaks(Result(child.returncode, out, err), ["a new access token"]) == []


# ---- what a person's login brings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["good", "400", "401"])
@pytest.mark.parametrize("louder", ["-v", "-vv"])
def test_a_login_in_the_browser_tells_neither_code_nor_verifier(planted: Planted, mode: str, louder: str) -> None:
    """The state is in the link, which a person has to see, and nowhere else."""
    planted.plant()
    code = planted.new("code of the callback")
    planted.workspace.mode = mode
    url = planted.workspace.urls["anybody"]
    env = {**planted.environment(NOBODY_SET), "BROWSER": "none", "HTTP_PROXY": "", "http_proxy": ""}
    before = len(planted.workspace.posted)
    with waiting(planted.machine, louder, "login", url, "--method", "browser", "--timeout", "20", **env) as person:
        link = person.link()
        question = asked(link)
        with httpx.Client(trust_env=False) as browser:
            callback = answer(link, code=code.value).replace("localhost", "127.0.0.1")
            wrong = browser.get(callback.replace(question["state"], "wrong-state"))
            page = browser.get(callback)
        result = person.ended()
    posted = planted.workspace.posted[before]
    assert wrong.status_code == 400 and page.status_code == 200 and posted["code"] == code.value
    assert result.code == (0 if mode == "good" else 1), result.err
    planted.new("PKCE verifier", core=posted["code_verifier"])
    planted.new("state", core=question["state"])
    assert planted.leaks(Result(result.code, result.out, result.err.replace(link, ""))) == []
    assert found(page.text + wrong.text, planted.canaries.values()) == set()
    assert found(link, planted.canaries.values()) == {"state"}


@pytest.mark.real
@pytest.mark.parametrize("declined", [False, True])
def test_a_login_by_device_code_does_not_tell_the_device_code(machine: Machine, cloud: Cloud, declined: bool) -> None:
    go_inside(machine, cloud)
    cloud.entra.polls, cloud.entra.declines = 1, declined
    argv = ["-vv", "login", "--host", AZURE, "--method", "azure-device-code", "--timeout", "30"]
    result = machine.spawn(*argv)
    assert result.code == (1 if declined else 0), result.err
    codes = {request.form["device_code"] for request in cloud.log if "device_code" in request.form}
    every = [Canary("device code", core=code) for code in codes] + cloud_canaries(cloud)
    assert codes and found(result.out + result.err, every) == set()
    kept = {machine.auth_json, *machine.auth_json.parent.glob("refresh/*")}
    for path, data in machine.files().items():
        if machine.home / path not in kept:
            assert found(data, every) == set(), path


# ---- what rests in the keyring ---------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("mode", ["good", "400"])
def test_what_is_in_the_keyring_is_told_to_nobody(
    planted: Planted,
    secret_service: SecretService,
    mode: str,
) -> None:
    planted.workspace.mode = mode
    url = planted.workspace.urls["anybody"]
    access, refresh = planted.new("access token of the keyring"), planted.new("refresh token of the keyring")
    envelope = {
        "token": {"access_token": access.value, "refresh_token": refresh.value, "expiry": "2020-01-01T00:00:00Z"}
    }
    planted.files[planted.machine.config] += f"\n[KEYRING]\nhost = {url}\nauth_type = databricks-cli\n"
    planted.env |= {**secret_service.env, "DATABRICKS_AUTH_STORAGE": "secure"}
    setup = Setup({}, ("-p", "KEYRING"), ("a new access token",))
    leaks: list[tuple[str, str]] = []
    for argv in (["status"], ["token"], ["status", "-o", "json"], ["models"], ["doctor"], ["logout", "--share"]):
        if argv[0] not in cli.VERBS:
            continue
        planted.plant()
        secret_service.add(json.dumps(envelope), username="KEYRING", service="databricks-cli")
        result = planted.run(["-vv", *setup.argv, *argv], setup)
        leaks += [(" ".join(argv), leak) for leak in planted.leaks(result, setup.gives if argv == ["token"] else ())]
    check(leaks)


# ---- the sources that need a whole cloud -----------------------------------------------------------------------------


def cloud_canaries(cloud: Cloud) -> list[Canary]:
    """The secrets of the emulated cloud, but what every token begins with."""
    return [Canary(f"secret {n}", core=secret) for n, secret in enumerate(cloud.secrets) if len(secret) > 8]


def repeat(request: Request) -> Answer:
    """What Entra ID, Google and GitHub say when they refuse, with all in it that they were sent."""
    sent = f"you sent {dict(request.headers)} {dict(request.form)} {request.body!r}"
    return reply({"error": "invalid_request", "error_description": sent, "message": sent}, 400)


@pytest.mark.parametrize("auth_type", [name for name in WAYS if name not in ("pat", "stored", "runtime")])
def test_no_source_tells_a_secret_that_every_server_repeats(machine: Machine, cloud: Cloud, auth_type: str) -> None:
    WAYS[auth_type](machine, cloud)
    go_inside(machine, cloud)
    if auth_type == "azure-cli":
        machine.env.update(cloud.az.env)
    secrets = cloud_canaries(cloud)
    id_tokens = [v for k, v in machine.env.items() if k == "DATABRICKS_OIDC_TOKEN"]
    secrets += [Canary("ID token", core=token.rpartition(".")[2]) for token in id_tokens]
    good = machine.spawn("-vv", "status")
    cloud.override("*", repeat)
    for result in (good, machine.spawn("-vv", "token"), machine.spawn("-vv", "status", "-o", "json")):
        assert "Traceback" not in result.err
        assert found(result.err, secrets) == set(), result.err
        assert found(result.out, secrets) == set() or result.code == 0 and auth_type == "basic"


# ---- the objects of the library --------------------------------------------------------------------------------------


def objects(planted: Planted) -> dict[str, object]:
    """What a program that uses the library has in its hands, and may print."""
    with mock.patch.dict(os.environ, planted.environment(planted.setups["pat"]), clear=True):
        credentials = dbx_auth.Credentials()
        token = credentials.token()
        flags = profile.Flags("PAT")
        return {
            "Credentials": credentials,
            "Token": token,
            "Auth": dbx_auth.Auth(credentials),
            "token_provider": dbx_auth.token_provider(credentials),
            "Profile": profile.load(World.system()),
            "Profile of a file": profile.load(World.system(), flags),
            "Setting": profile.load(World.system()).settings["token"],
            "Entry": store.AuthJson(World.system()).default(),
            "Grant": store.Grant("https://x", access=token.value, refresh=token.value),
            "Demand": Demand(rejected=token.value),
            "request": httpx.Request("GET", "https://x", headers=token.headers),
        }


def test_no_object_of_the_library_shows_a_secret_when_it_is_printed(planted: Planted) -> None:
    planted.plant()
    every = planted.canaries.values()
    shown = {name: found(f"{thing!r} {thing!s} {[thing]!r} {thing}", every) for name, thing in objects(planted).items()}
    assert {name: secrets for name, secrets in shown.items() if secrets} == {}


def test_no_error_of_the_library_carries_a_secret(planted: Planted) -> None:
    """Nor do those that it came from, which a logger prints along with it."""
    planted.workspace.mode = "400"
    every = planted.canaries.values()
    for name, setup in planted.setups.items():
        planted.plant()
        with mock.patch.dict(os.environ, planted.environment(setup), clear=True):
            flags = profile.Flags(setup.argv[1]) if setup.argv else profile.Flags()
            try:
                credentials = dbx_auth.Credentials(profile=flags.profile)
                with httpx.Client(trust_env=False, auth=dbx_auth.Auth(credentials)) as client:
                    client.get(credentials.host)
            except dbx_auth.AuthError as error:
                told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + str(error)
                assert found(told, every) == set(), name


def test_a_token_that_is_pickled_is_the_token(planted: Planted) -> None:
    """Whoever pickles one keeps it; what holds the environment and locks cannot be pickled at all."""
    planted.plant()
    things = objects(planted)
    assert pickle.loads(pickle.dumps(things["Token"])) == things["Token"]
    for name in ("Credentials", "Auth", "token_provider"):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(things[name])
