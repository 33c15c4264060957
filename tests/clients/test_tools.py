"""Tools as `dbx-auth setup` sets them up, and with a token that was pasted: that one dies at its end, ours does not.

`make clients` installs the large ones. The same pair stands elsewhere for coding agents (test_agents.py), for SDKs that
ask the shim (test_sdk_shim.py), and for libraries that call us in their own process: openai, also asynchronous,
databricks-sdk and the SQL connector (e2e/test_library_hooks.py). What git, uv and pip ask: e2e/test_helper_verbs.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cloud.wire import LOOPBACK, Answer, Request, Wire, reply
from e2e.test_library_hooks import DONE, ME
from machine import HOST, Machine

from dbx_auth import clients
from dbx_auth.sandbox import Sandbox
from dbx_auth.sandbox.workspace import USER
from dbx_auth.store import Grant, grant_fields

if sys.platform == "win32":
    pytest.skip("the lines to paste are for sh", allow_module_level=True)
from gateway.test_serve import until

ROOT = Path(__file__).parents[2]
CLIENTS = Path(os.environ.get("DBX_AUTH_TEST_CLIENTS", "nowhere"))
INSTALLED = {
    "litellm": CLIENTS / "litellm" / "bin" / "litellm",
    "aider": CLIENTS / "aider" / "bin" / "aider",
    "cn": CLIENTS / "continue" / "node_modules" / ".bin" / "cn",
    "dbt": CLIENTS / "dbt" / "bin" / "dbt",
    "claude": CLIENTS / "claude" / "node_modules" / ".bin" / "claude",
}
"""What `make clients` puts there; only these go onto the PATH, and not the Python beside them."""

TTL = 10.0
"""Seconds a token lives: so few that who knows of its end asks for another one at every call."""

CLAUDE, GPT = "databricks-claude-sonnet-4-5", "databricks-gpt-5-2"


SDK = """
import sys
from databricks.sdk import WorkspaceClient
workspace = WorkspaceClient()
for _ in sys.stdin:
    try:
        print(workspace.current_user.me().user_name)
    except Exception as error:
        print(repr(error))
"""
"""A program that lives on, and makes a call whenever it is told to."""


# ---- a desk: a person's machine, and a workspace ---------------------------------------------------------------------


class Clock:
    """The time in the workspace. It stands still but for `end`, so however slow a client starts, its token is good."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def end(self) -> None:
        """Every token that was given so far is at its end."""
        self.now += TTL


Ask = Callable[[], str]
"""Lets a client make one call, and returns all that it says."""


class Desk:
    """A machine with a login to a workspace, which the profile DEV is for."""

    def __init__(self, machine: Machine, workspace: Sandbox, clock: Clock, opened: ExitStack) -> None:
        self.machine = machine
        self.workspace = workspace
        self.clock = clock
        self.opened = opened
        self.project = machine.home / "project"
        self.project.mkdir()
        self.program("dbx-auth", f'exec {sys.executable} -m dbx_auth "$@"')
        for name, installed in INSTALLED.items():
            (machine.home / "bin" / name).symlink_to(installed)
        machine.env["PATH"] = f"{machine.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        machine.env["DBX_AUTH_CONFIG_DIR"] = str(machine.home / "my settings")  # lines to paste have to survive a blank
        self.log_in(workspace.url)

    def log_in(self, host: str) -> None:
        self.host = host
        given = self.workspace.add_login()
        grant = Grant(host, given.access_token, given.refresh_token, time.time() + TTL)
        self.machine.write(self.machine.auth_json, {"databricks": grant_fields(grant)})
        self.machine.write(self.machine.config, f"[DEV]\nhost = {host}\n")

    def pasted(self) -> str:
        """A token as a person would paste it somewhere."""
        return self.workspace.add_login().access_token

    # What `setup` gives.

    def printed(self, client: str, token: str = "") -> str:
        """The text to paste. Where it names the gateway, that is started here, by the line that is printed for it.

        With a token it names the workspace itself, and the file with the gateway's key has the token instead.
        """
        text = self.machine.run("setup", client, "DEV", "--print").out
        if clients.GATEWAY not in text:
            return text
        if token:
            self.machine.write(self.key, token)
            return text.replace(f"{clients.GATEWAY}/v1", f"{self.host}/serving-endpoints")
        serve = self.told(client, "start the gateway, and leave it running: ")
        url = self.start(serve.replace(f"--port {clients.PORT}", "--port 0"), r"^(http://\S+)$")
        return text.replace(clients.GATEWAY, url)

    def told(self, client: str, beginning: str) -> str:
        """What is left to a person, of the line that begins so."""
        lines = self.machine.run("setup", client, "DEV", "--print").err.splitlines()
        [rest] = [line.removeprefix(beginning) for line in lines if line.startswith(beginning)]
        return rest

    @property
    def key(self) -> Path:
        return Path(self.machine.world.config_dir) / "gateway.key"

    # What a person does with it.

    def program(self, name: str, *lines: str) -> None:
        """Put a script onto the PATH."""
        text = "\n".join(["#!/bin/sh", *lines, ""])
        self.machine.write(self.machine.home / "bin" / name, text).chmod(0o755)

    def sdk(self, name: str) -> None:
        """Put a program onto the PATH that asks the workspace through Databricks' SDK for Python."""
        self.write("sdk.py", SDK)
        self.program(name, f"exec {sys.executable} -u {self.machine.home / 'sdk.py'}")

    def write(self, path: str, text: str) -> None:
        self.machine.write(self.machine.home / path, text)

    def run(self, line: str) -> str:
        """What a command says, on stdout and stderr; it runs in the project."""
        pipes: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return str(subprocess.run(["sh", "-c", line], timeout=100, **pipes, **self._where()).stdout)

    def each(self, line: str) -> Ask:
        """A client that is started for each call."""
        return lambda: self.run(line)

    def living(self, line: str) -> Ask:
        """A client that lives on: it makes a call for each line on its stdin, and answers with a line."""
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = self._opened(line, **pipes)

        def ask() -> str:
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline()

        return ask

    def start(self, line: str, ready: str) -> str:
        """Start a server, and return what it says about itself when it is ready."""
        log = Path(tempfile.mkdtemp(dir=self.machine.home)) / "log"
        with open(log, "w") as file:
            self._opened(line, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        said = re.compile(ready, re.MULTILINE)
        assert until(lambda: said.search(log.read_text()), 60), log.read_text()
        found = said.search(log.read_text())
        assert found
        return found[1]

    def _opened(self, line: str, **pipes: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(["sh", "-c", line], start_new_session=True, **pipes, **self._where())
        self.opened.callback(_ended, process)
        return process

    def _where(self) -> dict[str, Any]:
        return {"cwd": self.project, "env": self.machine.child_env(), "text": True}


def _ended(process: subprocess.Popen[str]) -> None:
    """End it with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)


@pytest.fixture
def desk(machine: Machine) -> Iterator[Desk]:
    clock = Clock()
    with Sandbox(auto_approve=True, token_ttl=TTL, now=clock) as workspace, ExitStack() as opened:
        yield Desk(machine, workspace, clock, opened)


class Front:
    """A workspace before the sandbox, with what that has not: SQL, and a server of MCP. Who has a token, it asks there.

    It is reached as `url`, and by any name over https through itself as a proxy. `connected` is called when a session
    of SQL was opened.
    """

    def __init__(self, desk: Desk, connected: Callable[[], None] = lambda: None) -> None:
        self._sandbox = desk.opened.enter_context(httpx.Client(base_url=desk.workspace.url, trust_env=False))
        self._inner = desk.workspace.url
        self._connected = connected
        wire = Wire(self._serve)
        wire.start()
        desk.opened.callback(wire.stop)
        self.url = wire.url
        self.ca = str(desk.machine.home / "ca.pem")
        wire.ca.cert_pem.write_to_path(self.ca)

    def _serve(self, request: Request) -> Answer:
        kept = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        answer = {"sql": self._sql, "mcp": self._mcp}.get(request.path.removeprefix("/api/2.0/").partition("/")[0])
        method, path, body = ("GET", ME, b"") if answer else (request.method, request.path, request.body)
        said = self._sandbox.request(method, path, params=dict(request.query), headers=kept, content=body)
        if answer and said.status_code == 200:
            return answer(request)
        url = self.url if request.host == LOOPBACK else f"https://{request.host}"
        text = said.text.replace(self._inner, url)
        return Answer(said.status_code, text.encode(), {"Content-Type": said.headers["content-type"]})

    def _sql(self, request: Request) -> Answer:
        what = request.path.rstrip("/").rpartition("/")[2]
        if what == "sessions":
            self._connected()
        return reply({"sessions": {"session_id": "s"}, "statements": DONE}.get(what, {}))

    def _mcp(self, request: Request) -> Answer:
        """A server of one tool, without a stream of its own."""
        if request.method != "POST":
            return Answer(405)
        asked = request.json()
        if "id" not in asked:
            return Answer(202)
        version = asked.get("params", {}).get("protocolVersion", "")
        first = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        tool = {"name": "keep", "description": "Keeps a note", "inputSchema": {"type": "object"}}
        result = {"initialize": first, "tools/list": {"tools": [tool]}}.get(asked["method"], {})
        return reply({"jsonrpc": "2.0", "id": asked["id"], "result": result})


# ---- the clients: set up by us, or with a token that was pasted where ours would be ----------------------------------


def curl(desk: Desk, token: str) -> Ask:
    pasted = f"curl -sS -H 'Authorization: Bearer {token}' {desk.host}{ME}"
    return desk.each(pasted if token else desk.printed("curl"))


def direnv(desk: Desk, token: str) -> Ask:
    """Where it is not installed, a shell reads the file in its place."""
    pasted = f"export DATABRICKS_HOST={desk.host} DATABRICKS_TOKEN={token}"
    desk.write("project/.envrc", pasted if token else desk.printed("direnv"))
    asks = f'curl -sS -H "Authorization: Bearer $DATABRICKS_TOKEN" "$DATABRICKS_HOST{ME}"'
    if shutil.which("direnv"):
        return desk.each(f"direnv allow && direnv exec . sh -c {shlex.quote(asks)}")
    return desk.each(f"watch_file() {{ :; }}; . ./.envrc; {asks}")


def mcp(desk: Desk, token: str) -> Ask:
    """Claude Code connects to a server of the workspace, which a person has trusted the project to name."""
    desk.log_in(Front(desk).url)
    settings = json.loads(desk.printed("mcp"))
    if token:
        server = settings["mcpServers"]["databricks"]
        server["headers"] = {"Authorization": f"Bearer {token}"}
        del server["headersHelper"]
    desk.write("project/.mcp.json", json.dumps(settings))
    desk.write(".claude.json", json.dumps({"projects": {str(desk.project): {"hasTrustDialogAccepted": True}}}))
    desk.write(".claude/settings.json", json.dumps({"enableAllProjectMcpServers": True}))
    desk.machine.env.update({"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"})
    return desk.each("claude mcp list")


def databricks_sdk(desk: Desk, token: str) -> Ask:
    """Through the shim; with a profile, with Node, and many at once: test_sdk_shim.py."""
    desk.machine.run("setup", "databricks-sdk", "DEV", "--write")
    desk.sdk("program")
    ours = f"{desk.printed('databricks-sdk').strip()} DATABRICKS_AUTH_TYPE=databricks-cli"
    pasted = f"export DATABRICKS_TOKEN={token}"
    return desk.living(f"{pasted if token else ours} DATABRICKS_HOST={desk.host}; exec program")


def terraform(desk: Desk, token: str) -> Ask:
    """Its provider is in no registry that is reached from here; the SDK for Python reads the same environment."""
    desk.sdk("terraform")
    pasted = f"DATABRICKS_HOST={desk.host} DATABRICKS_TOKEN={token} terraform apply"
    return desk.living(pasted if token else desk.printed("terraform").splitlines()[-1])


AND_ON = """
import sys
for _ in sys.stdin:
    try:
        asked = [{"role": "user", "content": "Hello"}]
        print(client.chat.completions.create(model=answer.model, messages=asked).choices[0].message.content)
    except Exception as error:
        print(repr(error))
"""


def openai_python(desk: Desk, token: str) -> Ask:
    """The program of the page makes the first call, and what goes on with its client the others."""
    program = desk.printed("openai-python")
    pasted = re.sub(r"token_provider\(.*\)", repr(token), program)
    desk.write("program.py", "\n".join(["input()", pasted if token else program, AND_ON]))
    return desk.living(f"{sys.executable} -u {desk.machine.home / 'program.py'}")


def aider(desk: Desk, token: str) -> Ask:
    desk.write(".aider.conf.yml", desk.printed("aider", token))
    desk.write(".aider/caches/model_prices_and_context_window.json", '{"none": {}}')  # else it asks GitHub
    quiet = "--no-git --no-check-update --no-show-model-warnings --no-show-release-notes --no-pretty --no-analytics"
    return desk.each(f"{desk.told('aider', 'start it: ')} {quiet} --message hello")


def continue_(desk: Desk, token: str) -> Ask:
    """It calls a tool, which reads a file. Without the gateway Claude is refused what it sends, and GPT is not."""
    text = desk.printed("continue", token)
    desk.write(".continue/config.yaml", text.replace(CLAUDE, GPT) if token else text)
    desk.run(desk.told("continue", "and the key: "))
    assert (desk.machine.home / ".continue" / ".env").stat().st_mode & 0o777 == 0o600
    desk.write("project/example", "You said: nothing")
    return desk.each("cn -p hello")


def litellm(desk: Desk, token: str) -> Ask:
    """The proxy, which goes on while tokens end, and a client of it."""
    desk.write("project/config.yaml", desk.printed("litellm", token))
    desk.machine.env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks GitHub
    url = desk.start(f"{desk.told('litellm', 'start it: ')} --port 0", r"running on (http://127\.0\.0\.1:\d+)")
    body = json.dumps({"model": CLAUDE, "messages": [{"role": "user", "content": "hello"}]})
    key = f"\"Authorization: Bearer sk-$(cat '{desk.key}')\""
    return desk.each(f"curl -sS {url}/v1/chat/completions -H {key} -H 'Content-Type: application/json' -d '{body}'")


def dbt(desk: Desk, token: str) -> Ask:
    """Its connection to a warehouse, which wants a token; ours sees one more end, between session and statement."""
    return desk.each(debugging(desk, token, connected=(lambda: None) if token else desk.clock.end))


def debugging(desk: Desk, token: str, connected: Callable[[], None]) -> str:
    """The host of dbt is a name without a port, so it goes through a proxy."""
    front = Front(desk, connected)
    proxy = {"HTTPS_PROXY": front.url, "NO_PROXY": LOOPBACK, "SSL_CERT_FILE": front.ca, "REQUESTS_CA_BUNDLE": front.ca}
    desk.machine.env.update({**proxy, "DO_NOT_TRACK": "1"})
    desk.log_in(HOST)
    text = desk.printed("dbt")
    if token:
        text = re.sub("token: .*", f"token: {token}", text)
    quick = {"use_sea": True, "_tls_trusted_ca_file": front.ca, "enable_telemetry": False}
    more = json.dumps({**quick, "_retry_stop_after_attempts_count": 1})
    desk.write(".dbt/profiles.yml", f"{text.rstrip()}\n      connection_parameters: {more}\n")
    desk.write("project/dbt_project.yml", "name: example\nprofile: databricks\n")
    return "dbt debug" if token else desk.told("dbt", "start it: ").replace("dbt run", "dbt debug")


class Tool(NamedTuple):
    """A client: how it is set up, with a token if one is to be pasted; what it says to an answer, and to a refusal."""

    name: str
    program: str
    prepare: Callable[[Desk, str], Ask]
    alive: str
    dead: str


TOOLS = [
    Tool("curl", "curl", curl, USER.user_name, "401.*Token is expired"),
    Tool("direnv", "curl", direnv, USER.user_name, "401.*Token is expired"),
    Tool("mcp", "claude", mcp, "Connected", "HTTP 401.*Token is expired"),
    Tool("databricks-sdk", sys.executable, databricks_sdk, USER.user_name, "Token is expired"),
    Tool("terraform", sys.executable, terraform, USER.user_name, "Token is expired"),
    Tool("openai-python", sys.executable, openai_python, "You said: Hello", "401.*Token is expired"),
    Tool("aider", "aider", aider, "You said: hello", r"AuthenticationError.*Token is\s+expired"),
    Tool("continue", "cn", continue_, "You said: nothing", "401 status code"),
    Tool("litellm", "litellm", litellm, "You said: hello", "Token is expired.*401"),
    Tool("dbt", "dbt", dbt, "Connection test: .*OK", "request to server.*status 401"),
]
LIVES = 2
"""How many tokens a client sees, one after the other."""


def needed(tool: Tool) -> list[pytest.MarkDecorator]:
    is_there = INSTALLED[tool.program].exists() if tool.program in INSTALLED else shutil.which(tool.program)
    return [pytest.mark.real, pytest.mark.skipif(not is_there, reason=f"needs {tool.program}: make clients")]


each_tool = pytest.mark.parametrize("tool", [pytest.param(tool, id=tool.name, marks=needed(tool)) for tool in TOOLS])


@each_tool
def test_as_we_set_it_up_it_goes_on_when_a_token_ends(desk: Desk, tool: Tool) -> None:
    ask = tool.prepare(desk, "")
    for _ in range(LIVES):
        said = ask()
        assert re.search(tool.alive, said), said
        desk.clock.end()
    assert not [seen for seen in desk.workspace.log if seen.status in (401, 403)]
    assert [seen.grant_type for seen in desk.workspace.log].count("refresh_token") >= LIVES


@each_tool
def test_with_a_token_that_was_pasted_it_dies_with_that(desk: Desk, tool: Tool) -> None:
    ask = tool.prepare(desk, desk.pasted())
    said = ask()
    assert re.search(tool.alive, said), said
    desk.clock.end()
    said = ask()
    assert re.search(tool.dead, said, re.DOTALL) and not re.search(tool.alive, said), said


@pytest.mark.real
@pytest.mark.skipif(not INSTALLED["dbt"].exists(), reason="needs dbt: make clients")
def test_one_run_of_dbt_that_has_no_gateway_dies_with_the_token_it_started_with(desk: Desk) -> None:
    """The control of what the row of dbt shows."""
    told = desk.run(debugging(desk, "", desk.clock.end).replace(" --serve ", " "))
    assert re.search("Connection test: .*ERROR", told) and "status 401" in told, told


@pytest.mark.real
@pytest.mark.skipif(not INSTALLED["claude"].exists(), reason="needs claude: make clients")
def test_a_server_of_mcp_on_another_host_is_sent_no_token(desk: Desk) -> None:
    asked: list[Request] = []
    foreign = Wire(lambda request: asked.append(request) or Answer(404))  # type: ignore[func-returns-value]
    foreign.start()
    desk.opened.callback(foreign.stop)
    ask = mcp(desk, "")
    file = desk.project / ".mcp.json"
    file.write_text(file.read_text().replace(desk.host, foreign.url))
    assert "Connected" not in ask()
    assert not [request for request in asked if "authorization" in request.headers]
    file.write_text(file.read_text().replace(foreign.url, desk.host))
    assert "Connected" in ask(), "the control"


# ---- what cannot be run here, and what the pages say -----------------------------------------------------------------

AGENTS = {"claude-code", "codex", "opencode", "pi", "gemini-cli"}


def test_every_client_is_run_here_or_among_the_agents_but_for_zed() -> None:
    assert {tool.name for tool in TOOLS} | AGENTS | {"zed"} == set(clients.ORDER)


ZED = {"name": str, "display_name": str, "max_tokens": int, "capabilities": dict}
ZED_CAPABILITIES = dict.fromkeys(("tools", "images", "parallel_tool_calls", "prompt_cache_key"), bool)
"""What a model of an OpenAI-compatible provider has to say: https://zed.dev/docs/ai/use-api-access"""


def test_the_settings_of_zed_have_the_documented_form(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    [_, file] = machine.run("setup", "zed", "DEV", "--write").out.splitlines()
    [(name, provider)] = json.loads(Path(file).read_text())["language_models"]["openai_compatible"].items()
    assert provider.keys() == {"api_url", "available_models"} and provider["api_url"] == f"{clients.GATEWAY}/v1"
    assert clients.load("zed").shadows == (f"{name.upper()}_API_KEY",)
    for model in provider["available_models"]:
        assert {key: type(value) for key, value in model.items()} == ZED
        assert {key: type(value) for key, value in model["capabilities"].items()} == ZED_CAPABILITIES


PINNED = {
    "litellm": (r"litellm\[proxy\]==(.+)", "tests/litellm.txt", "LiteLLM"),
    "aider": (r"aider-chat==(.+)", "tests/aider.txt", "aider"),
    "mcp": (r'claude-code": "(.+)"', "tests/js_claude/package.json", "Claude Code"),
    "dbt": (r"dbt-databricks==(.+)", "tests/dbt.txt", "dbt-databricks"),
    "continue": (r'"@continuedev/cli": "(.+)"', "tests/js_continue/package.json", "`cn`"),
}


@pytest.mark.parametrize("client", PINNED)
def test_a_page_names_the_version_that_is_run_here(client: str) -> None:
    pattern, pins, name = PINNED[client]
    found = re.search(pattern, (ROOT / pins).read_text())
    assert found and f"Tested with {name} {found[1]}" in (ROOT / "docs" / "clients" / f"{client}.md").read_text()


def test_the_page_of_the_gateway_shows_the_settings_for_continue_as_they_are_printed(machine: Machine) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    page = (ROOT / "docs" / "gateway.md").read_text()
    assert re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) == [machine.run("setup", "continue", "DEV", "--print").out]
