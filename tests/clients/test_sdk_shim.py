"""Real SDKs that ask the shim for tokens, and one that applies the rules of the SDK for Go, which cannot be run here.

Tokens of these sandboxes live for seconds, so that a test sees several of them end.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cloud import Cloud
from cloud.databricks import AZURE
from cloud.ways import WAYS, go_inside
from machine import HOST, Machine
from unit.far_side import ME, TOKEN

from dbx_auth import Credentials, journal, shim
from dbx_auth.gateway import Server
from dbx_auth.sandbox import Sandbox
from dbx_auth.shim import answers, executable, pflag
from dbx_auth.store import Grant, grant_fields

JS = Path(__file__).parents[1] / "js_sdk"

TTL = 3.0
LIFETIMES = 3

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script of sh")


# ---- three SDKs ------------------------------------------------------------------------------------------------------

PYTHON = """
import json, sys, time
from databricks.sdk import WorkspaceClient
asked = json.loads(sys.argv[1])
workspace = WorkspaceClient(**asked["config"])
tokens, failures, me = [], [], ""
end = time.monotonic() + asked["seconds"]
while True:
    try:
        me = workspace.current_user.me().user_name
        tokens.append(workspace.config.authenticate()["Authorization"])
    except Exception as error:
        failures.append(str(error))
    if time.monotonic() > end:
        break
    time.sleep(0.2)
print(json.dumps(dict(me=me, tokens=sorted(set(tokens)), failures=failures, calls=len(tokens) + len(failures))))
"""

JAVASCRIPT = """
import sdk from '@databricks/sdk-experimental';
const asked = JSON.parse(process.argv[1]);
const names = { host: 'host', profile: 'profile', auth_type: 'authType', token: 'token' };
const config = new sdk.Config(
  Object.fromEntries(Object.entries(asked.config).map(([name, value]) => [names[name], value])),
);
const tokens = new Set();
const failures = [];
let me = '', calls = 0;
const end = Date.now() + asked.seconds * 1000;
do {
  calls += 1;
  try {
    const headers = new Headers();
    await config.authenticate(headers);
    const answer = await fetch(`${config.host}/api/2.0/preview/scim/v2/Me`, { headers });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    me = (await answer.json()).userName;
    tokens.add(headers.get('authorization'));
  } catch (error) {
    failures.push(`${error}`);
    if (calls === 1 && !tokens.size) break;
  }
  await new Promise((done) => setTimeout(done, 200));
} while (Date.now() < end);
console.log(JSON.stringify({ me, tokens: [...tokens], failures, calls }));
"""


class Seen(NamedTuple):
    """What a program made of its calls to the workspace: who it is there, with which tokens, and what failed."""

    me: str
    tokens: list[str]
    failures: list[str]
    calls: int


Sdk = Callable[..., Seen]


def python(machine: Machine, seconds: float = 0, **config: str) -> Seen:
    if find_spec("databricks") is None:
        pytest.skip("needs databricks-sdk")
    return _seen(machine, [sys.executable, "-c", PYTHON], seconds, config)


def javascript(machine: Machine, seconds: float = 0, **config: str) -> Seen:
    node = shutil.which("node")
    if node is None or not (JS / "node_modules" / "@databricks").is_dir():
        pytest.skip("needs Node, and `npm ci` in tests/js_sdk")
    return _seen(machine, [node, "--input-type=module", "-e", JAVASCRIPT, "--"], seconds, config)


def _seen(machine: Machine, argv: list[str], seconds: float, config: dict[str, str]) -> Seen:
    asked = json.dumps({"config": config, "seconds": seconds})
    env = machine.child_env(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    done = subprocess.run([*argv, asked], env=env, cwd=JS, capture_output=True, text=True, timeout=100)
    if done.returncode:
        return Seen("", [], [done.stderr], 1)
    return Seen(**json.loads(done.stdout))


SDKS = [python, javascript]


# ---- one with Go's rules ---------------------------------------------------------------------------------------------

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
"""What `time.Parse(time.RFC3339Nano, …)` takes, and nothing that only Python takes besides."""


class Refused(Exception):
    """What the SDK for Go would say."""


class Gone(Exception):
    """It has nothing against that, and tries its next way to log in."""


def go(named: str, env: dict[str, str], *, host: str, profile: str = "", account_id: str = "") -> dict[str, Any]:
    """What the SDK for Go (0.175), and Terraform with it, does with DATABRICKS_CLI_PATH. Raises Refused."""
    path = found(named, env)
    told = re.fullmatch(r"Databricks CLI v(\d+)\.(\d+)\.(\d+)", _run(path, env, "version").strip())
    version = tuple(map(int, told.groups())) if told else (-1, -1, -1)
    who = ["--profile", profile] if profile and version >= (0, 207, 1) else _of_host(host, account_id)
    return _token(_run(path, env, "auth", "token", *who, *(["--force-refresh"] if version >= (0, 296, 0) else [])))


def older_go(named: str, env: dict[str, str], *, host: str, profile: str = "", newer: str = "--profile") -> Any:
    """The same until 0.129: it asks for no version, and hears from an unknown flag that it has to ask otherwise.

    `newer` is a flag that this CLI may not know. Raises Gone where nobody is logged in.
    """
    path = found(named, env)
    try:
        try:
            return _token(_run(path, env, "auth", "token", *([newer, profile] if profile else _of_host(host))))
        except Refused as error:
            if not profile or f"unknown flag: {newer}" not in str(error):
                raise
        return _token(_run(path, env, "auth", "token", *_of_host(host)))
    except Refused as error:
        if "databricks OAuth is not" in str(error):
            raise Gone from error
        raise


def found(named: str, env: dict[str, str]) -> str:
    """What it takes for the CLI: a path as it is, a name as the first on the PATH that is large enough."""
    folders = [""] if "/" in named else env["PATH"].split(os.pathsep)
    why = "databricks CLI not found"
    for path in (os.path.join(folder, named or "databricks") for folder in folders):
        if os.path.exists(path) and not os.path.isdir(path):
            if os.stat(path).st_size >= 1024 * 1024:
                return path
            why = "legacy databricks CLI detected; upgrade to >= 0.100.0"
    raise Refused(why)


def _of_host(host: str, account_id: str = "") -> list[str]:
    return ["--host", host, *(["--account-id", account_id] if account_id else [])]


def _run(path: str, env: dict[str, str], *argv: str) -> str:
    try:
        done = subprocess.run([path, *argv], env=env, capture_output=True, text=True, timeout=60)
    except PermissionError as error:
        raise Refused(f"fork/exec {path}: permission denied") from error
    if done.returncode:
        raise Refused(f"cannot get access token: {done.stderr.strip()}: exit status {done.returncode}")
    assert done.stderr == ""
    return done.stdout


def _token(text: str) -> dict[str, Any]:
    token: dict[str, Any] = json.loads(text)
    if not RFC3339.fullmatch(token["expiry"]):
        raise Refused(f"cannot parse token expiry: {token['expiry']}")
    if datetime.fromisoformat(token["expiry"]) <= datetime.now(UTC) or not token["access_token"]:
        raise Refused("the token has expired")
    return token


# ---- machines --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(machine: Machine) -> str:
    """The shim, which this machine's SDKs take for the CLI; with more time, as tests may run on a busy machine."""
    path = shim.install(shim.place(machine.world), machine.world)
    patient = "from dbx_auth.shim import __main__, answers; answers.BUDGET = 60.0; __main__.main()"
    text = Path(path).read_text().replace(" -m dbx_auth.shim ", f" -c {shlex.quote(patient)} ")
    machine.write(Path(path), text).chmod(0o755)
    machine.env["DATABRICKS_CLI_PATH"] = path
    return path


@pytest.fixture
def brief() -> Iterator[Sandbox]:
    with Sandbox(auto_approve=True, token_ttl=TTL) as workspace:
        yield workspace


def login(machine: Machine, sandbox: Sandbox) -> Grant:
    given = sandbox.add_login()
    grant = Grant(sandbox.url, given.access_token, given.refresh_token, given.expires_at)
    machine.write(machine.auth_json, {"databricks": grant_fields(grant)})
    return grant


def grants(sandbox: Sandbox) -> int:
    return [(request.path, request.status) for request in sandbox.log].count((TOKEN, 200))


# ---- over several lifetimes of a token -------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("named", ["host", "profile"])
@pytest.mark.parametrize("sdk", SDKS)
def test_no_call_fails_over_three_lifetimes_of_a_token(
    machine: Machine, cli: str, brief: Sandbox, sdk: Sdk, named: str
) -> None:
    login(machine, brief)
    machine.write(machine.config, f"[DEV]\nhost = {brief.url}\nauth_type = databricks-cli\n")
    config = {"profile": "DEV"} if named == "profile" else {"host": brief.url}
    seen = sdk(machine, seconds=LIFETIMES * TTL, **config)
    assert seen.failures == [] and seen.me == brief.user
    assert len(seen.tokens) > LIFETIMES and seen.calls > LIFETIMES


@pytest.mark.real
@pytest.mark.parametrize("sdk", SDKS)
def test_none_fails_through_the_metadata_service_either(machine: Machine, brief: Sandbox, sdk: Sdk) -> None:
    login(machine, brief)
    machine.env["DATABRICKS_HOST"] = brief.url
    with Server(Credentials(world=machine.world), metadata=True) as server:
        machine.env["DATABRICKS_METADATA_SERVICE_URL"] = server.metadata_url
        seen = sdk(machine, seconds=LIFETIMES * TTL, host=brief.url, auth_type="metadata-service")
    assert seen.failures == [] and seen.me == brief.user
    assert len(seen.tokens) > LIFETIMES


@pytest.mark.real
@pytest.mark.parametrize("sdk", SDKS)
def test_a_static_token_dies_at_its_expiry(machine: Machine, brief: Sandbox, sdk: Sdk) -> None:
    """The other half of the pair: what a person has who copies a token into a file."""
    token = brief.add_login().access_token
    seen = sdk(machine, seconds=LIFETIMES * TTL, host=brief.url, token=token)
    assert seen.failures and "expired" in seen.failures[-1]


def test_a_caller_with_go_s_rules_gets_a_token_of_each_lifetime(machine: Machine, cli: str, brief: Sandbox) -> None:
    login(machine, brief)
    tokens = set()
    for _ in range(LIFETIMES):
        tokens.add(go(cli, machine.child_env(), host=brief.url)["access_token"])
        time.sleep(TTL)
    assert len(tokens) == LIFETIMES == grants(brief)


# ---- what the CLI refuses --------------------------------------------------------------------------------------------


def key(machine: Machine, sandbox: Sandbox) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": sandbox.pat, "host": sandbox.url}})


def principal(machine: Machine, sandbox: Sandbox) -> None:
    pair = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    machine.write(machine.auth_json, {"databricks": {"type": "m2m", **pair, "host": sandbox.url}})


@pytest.mark.real
@pytest.mark.parametrize("prepare", [key, principal])
@pytest.mark.parametrize("sdk", SDKS)
def test_an_sdk_that_asks_the_cli_gets_keys_and_principals_too(
    machine: Machine, cli: str, sandbox: Sandbox, sdk: Sdk, prepare: Callable[[Machine, Sandbox], None]
) -> None:
    prepare(machine, sandbox)
    seen = sdk(machine, host=sandbox.url, auth_type="databricks-cli")
    assert seen.failures == []
    assert (seen.me == sandbox.user) == (prepare is key) and seen.me


@pytest.mark.parametrize("auth_type", ["azure-cli", "azure-client-secret", "azure-msi"])
def test_a_caller_with_go_s_rules_gets_azure_s_tokens_too(
    machine: Machine, cloud: Cloud, cli: str, auth_type: str
) -> None:
    go_inside(machine, cloud)
    who = WAYS[auth_type](machine, cloud)
    given = go(cli, machine.child_env(), host=AZURE)
    assert cloud.holder(AZURE, {"Authorization": f"Bearer {given['access_token']}"}) == who


# ---- no login --------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("sdk", SDKS)
def test_without_a_login_an_sdk_goes_on_to_its_next_way_to_log_in(
    machine: Machine, cli: str, sandbox: Sandbox, sdk: Sdk
) -> None:
    [nobody] = sdk(machine, host=sandbox.url).failures
    assert "cannot get access token" not in nobody and "default credentials" in nobody
    machine.write(Path(cli), Path(cli).read_bytes().replace(b"exec ", b"echo Error: no token >&2; exit 1 # ", 1))
    Path(cli).chmod(0o755)
    [stuck] = sdk(machine, host=sandbox.url).failures
    assert "cannot get access token" in stuck and "Error: no token" in stuck, "the control: in other words it gives up"


def test_a_login_that_was_revoked_is_told_and_nobody_who_is_logged_in_on_azure_steps_in(
    machine: Machine, cloud: Cloud, cli: str
) -> None:
    go_inside(machine, cloud)
    WAYS["azure-cli"](machine, cloud)
    assert go(cli, machine.child_env(), host=AZURE)["access_token"], "the control: alone that login does"
    machine.cached_login(AZURE, refresh_token="revoked")
    with pytest.raises(Refused, match="the refresh token is invalid"):
        go(cli, machine.child_env(), host=AZURE)


def test_where_only_another_tool_is_not_logged_in_a_caller_goes_on_and_hears_of_it(
    machine: Machine, cloud: Cloud, cli: str
) -> None:
    go_inside(machine, cloud)
    WAYS["azure-cli"](machine, cloud)
    cloud.az.log_out()
    with pytest.raises(Refused, match="databricks OAuth is not configured for this host.*azure-cli: .*run `az login"):
        go(cli, machine.child_env(), host=AZURE)


@pytest.mark.real
@pytest.mark.parametrize("sdk", SDKS)
def test_a_login_that_died_is_what_the_sdk_tells(machine: Machine, cli: str, sandbox: Sandbox, sdk: Sdk) -> None:
    grant = login(machine, sandbox)
    entry = {**grant_fields(grant), "refresh": "revoked", "expires": 0}
    machine.write(machine.auth_json, {"databricks": entry})
    [said] = sdk(machine, host=sandbox.url).failures
    assert "the refresh token is invalid" in said and f"dbx-auth login {sandbox.url}" in said


def test_a_caller_with_go_s_rules_is_told_why(machine: Machine, cli: str) -> None:
    with pytest.raises(Refused, match=r"databricks OAuth is not configured for this host.*: exit status 1"):
        go(cli, machine.child_env(), host=HOST)
    with pytest.raises(Gone):
        older_go(cli, machine.child_env(), host=HOST)
    machine.write(machine.config, "[DEV]\nhost = https://x.example\n")
    for ask in (go, older_go):
        with pytest.raises(Refused, match="cannot get access token: Error: .*has no profile NONE"):
            ask(cli, machine.child_env(), host=HOST, profile="NONE")


# ---- where Go looks, and what it says --------------------------------------------------------------------------------


@pytest.fixture
def keyed(machine: Machine, cli: str) -> str:
    """The same on a machine that has a key, so that every call gets one token."""
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\ntoken = dapi-dev\naccount_id = 9\n")
    return cli


def test_it_is_found_on_the_path_behind_what_is_too_small_and_through_a_link(
    machine: Machine, keyed: str, tmp_path: Path
) -> None:
    old, folder, linked = tmp_path / "old" / "databricks", tmp_path / "folder" / "databricks", tmp_path / "linked"
    machine.write(old, "#!/usr/bin/python\n").chmod(0o755)
    folder.mkdir(parents=True)
    linked.mkdir()
    (linked / "databricks").symlink_to(keyed)
    env = machine.child_env()
    del env["DATABRICKS_CLI_PATH"]
    for last in (os.path.dirname(keyed), str(linked)):
        env["PATH"] = os.pathsep.join([str(old.parent), str(folder.parent), last, "/usr/bin", "/bin"])
        for named in ("", "databricks"):
            assert go(named, env, host=HOST)["access_token"] == "dapi-dev"
    env["PATH"] = os.pathsep.join([str(old.parent), str(folder.parent)])
    with pytest.raises(Refused, match="legacy databricks CLI detected"):
        go("", env, host=HOST)
    env["PATH"] = str(folder.parent)
    with pytest.raises(Refused, match="databricks CLI not found"):
        go("", env, host=HOST)


@pytest.mark.parametrize(
    ("size", "mode", "why"),
    [(1024 * 1024 - 1, 0o755, "legacy databricks CLI detected"), (None, 0o644, "permission denied")],
    ids=["a byte too small", "not to be run"],
)
def test_it_is_refused_when_it_is(
    machine: Machine, keyed: str, tmp_path: Path, size: int | None, mode: int, why: str
) -> None:
    path = machine.write(tmp_path / "databricks", Path(keyed).read_bytes()[:size])
    path.chmod(mode)
    with pytest.raises(Refused, match=why):
        go(str(path), machine.child_env(), host=HOST)


def test_each_way_to_name_somebody_gets_the_same_token(machine: Machine, keyed: str) -> None:
    env = machine.child_env()
    given = [
        go(keyed, env, host=HOST),
        go(keyed, env, host=HOST, profile="DEV"),
        go(keyed, env, host=HOST, account_id="9"),
        older_go(keyed, env, host=HOST),
        older_go(keyed, env, host=HOST, profile="DEV"),
    ]
    assert [each["access_token"] for each in given] == ["dapi-dev"] * 5


def test_a_caller_that_hears_of_an_unknown_flag_asks_again_without_it(machine: Machine, keyed: str) -> None:
    ask = {"host": HOST, "profile": "x", "newer": "--audience"}
    assert older_go(keyed, machine.child_env(), **ask)["access_token"] == "dapi-dev"
    text = Path(keyed).read_text()
    click_s_words = 'case "$*" in *--audience*) echo "Error: No such option: --audience" >&2; exit 2;; esac\nexec '
    machine.write(Path(keyed), text.replace("exec ", click_s_words, 1)).chmod(0o755)
    with pytest.raises(Refused, match="No such option"):  # the control
        older_go(keyed, machine.child_env(), **ask)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_go_reads_when_a_token_ends_in_every_zone(machine: Machine, keyed: str, zone: str) -> None:
    ends = go(keyed, machine.child_env(TZ=zone), host=HOST)["expiry"]
    assert datetime.fromisoformat(ends).timestamp() == answers.FAR_FUTURE


# ---- many at once ----------------------------------------------------------------------------------------------------

STARTS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from databricks.sdk import WorkspaceClient
def start(number):
    return WorkspaceClient(host=sys.argv[1], auth_type="databricks-cli").config.authenticate()["Authorization"]
with ThreadPoolExecutor(20) as pool:
    print(json.dumps(list(pool.map(start, range(20)))))
"""


def check_renewed_once_or_twice(machine: Machine, sandbox: Sandbox, authorizations: list[str]) -> None:
    """Everybody has a token that opens the workspace, and the login is alive."""
    assert len(authorizations) == 20 and 1 <= grants(sandbox) <= 2
    with httpx.Client(trust_env=False) as client:
        for authorization in set(authorizations):
            assert client.get(sandbox.url + ME, headers={"Authorization": authorization}).status_code == 200
    before = grants(sandbox)
    machine.clock = lambda: time.time() + journal.RECENT + 1  # a moment later it would be content with that one
    assert machine.run("token", "--host", sandbox.url, "--force-refresh").code == 0
    assert grants(sandbox) == before + 1


@pytest.mark.real
def test_twenty_sdks_that_start_at_once_renew_one_login_once_or_twice(
    machine: Machine, cli: str, sandbox: Sandbox
) -> None:
    if find_spec("databricks") is None:
        pytest.skip("needs databricks-sdk")
    login(machine, sandbox)
    env = machine.child_env(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    argv = [sys.executable, "-c", STARTS, sandbox.url]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    check_renewed_once_or_twice(machine, sandbox, told)


def test_twenty_callers_with_go_s_rules_renew_one_login_once_or_twice(
    machine: Machine, cli: str, sandbox: Sandbox
) -> None:
    login(machine, sandbox)
    with ThreadPoolExecutor(20) as pool:
        tokens = list(pool.map(lambda _: go(cli, machine.child_env(), host=sandbox.url)["access_token"], range(20)))
    check_renewed_once_or_twice(machine, sandbox, [f"Bearer {token}" for token in tokens])


WITHOUT = "from dbx_auth import journal; journal.RECENT = -1.0; from dbx_auth.shim.__main__ import main; main()"


@pytest.mark.parametrize("content_with_the_last", [True, False])
def test_starts_one_after_another_are_content_with_the_last_renewal(
    machine: Machine, cli: str, sandbox: Sandbox, content_with_the_last: bool
) -> None:
    if not content_with_the_last:  # the control
        machine.write(Path(cli), executable.script([sys.executable, "-E", "-P", "-c", WITHOUT, "", ""])).chmod(0o755)
    login(machine, sandbox)
    tokens = {go(cli, machine.child_env(), host=sandbox.url)["access_token"] for _ in range(3)}
    assert len(tokens) == grants(sandbox) == (1 if content_with_the_last else 3)


# ---- docs/clients/databricks-sdk.md ----------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "clients" / "databricks-sdk.md").read_text()
PAGE_HOST = "https://adb-1.2.azuredatabricks.net"


def on_the_page(language: str, machine: Machine, host: str) -> list[str]:
    """The blocks of this language, for this host and this home."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [block.replace(PAGE_HOST, host).replace("/home/me", str(machine.home)) for block in blocks]


@pytest.mark.real
@pytest.mark.parametrize("language", ["python", "js"])
def test_the_programs_of_the_page_work(machine: Machine, cli: str, sandbox: Sandbox, language: str) -> None:
    login(machine, sandbox)
    [program] = on_the_page(language, machine, sandbox.url)
    node = shutil.which("node")
    if language == "python":
        argv = [sys.executable, "-c", program]
    elif node and (JS / "node_modules" / "@databricks").is_dir():
        argv = [node, "--input-type=module", "-e", program]
    else:
        pytest.skip("needs Node, and `npm ci` in tests/js_sdk")
    env = machine.child_env(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(argv, env=env, cwd=JS, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip()) == (0, sandbox.user), done.stderr


def test_the_commands_of_the_page_work(machine: Machine, cli: str, sandbox: Sandbox) -> None:
    grant = login(machine, sandbox)
    _, export, asked = on_the_page("sh", machine, sandbox.url)
    env = {name: value for name, value in machine.child_env().items() if name != "DATABRICKS_CLI_PATH"}
    done = subprocess.run(["sh", "-ec", export + asked], env=env, capture_output=True, text=True, timeout=60)
    version, _, token = done.stdout.partition("\n")
    assert (done.returncode, done.stderr, version) == (0, "", "Databricks CLI v1.13.0")
    assert json.loads(token)["access_token"] == grant.access


def test_the_page_says_the_numbers_of_the_code() -> None:
    assert f"After {answers.BUDGET:g} seconds" in PAGE and f"v{'.'.join(map(str, answers.VERSION))}`" in PAGE
    assert journal.RECENT == 10 and "in the last ten seconds" in PAGE
    assert all(f"`--{name}`" in PAGE for name in pflag.VALUES | {"force-refresh"})
