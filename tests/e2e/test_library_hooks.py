"""Real libraries with our hooks, over three lifetimes of a token: a static token dies at the first, ours does not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import httpx
import openai
import pytest
from databricks.sdk import AccountClient, WorkspaceClient
from databricks.sdk.errors import Unauthenticated
from machine import HOST, OTHER, Machine

import dbx_auth
from dbx_auth import ConfigError, Credentials, LoginRequired, Token, integrations
from dbx_auth.sandbox import Sandbox

MODEL = "databricks-gpt-5-2"
ME = "/api/2.0/preview/scim/v2/Me"
LIFE = 3600.0


class Clock:
    """The time on this machine and in the workspace."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(auto_approve=True, token_ttl=LIFE, now=clock) as running:
        yield running


@pytest.fixture
def credentials(machine: Machine, workspace: Sandbox, clock: Clock) -> Credentials:
    """Those of a person who logged in through the browser."""
    login = workspace.add_login()
    machine.clock = clock
    entry = {"type": "oauth", "access": login.access_token, "refresh": login.refresh_token, "host": workspace.url}
    machine.write(machine.auth_json, {"databricks": {**entry, "expires": int((clock.now + LIFE) * 1000)}})
    return Credentials(world=machine.world)


def lives(ask: Callable[[], Any], clock: Clock, workspace: Sandbox) -> None:
    """What is asked is answered, in each of four lifetimes; and each has one renewal."""
    for lifetime in range(4):
        for _ in range(3):
            ask()
        assert [r.grant_type for r in workspace.log].count("refresh_token") == lifetime
        clock.now += LIFE


def dies(ask: Callable[[], Any], clock: Clock, error: type[Exception]) -> None:
    ask()
    clock.now += LIFE
    with pytest.raises(error):
        ask()


# ---- openai ----------------------------------------------------------------------------------------------------------


def chat(client: openai.OpenAI) -> Callable[[], object]:
    message: Any = {"role": "user", "content": "hi"}
    return lambda: client.chat.completions.create(model=MODEL, messages=[message])


def asking(key: object, workspace: Sandbox) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{workspace.url}/serving-endpoints", max_retries=0)  # type: ignore[arg-type]


def test_openai_lives_with_a_token_provider(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    with asking(dbx_auth.token_provider(credentials), workspace) as client:
        lives(chat(client), clock, workspace)


def test_openai_dies_with_a_token(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    with asking(credentials.token().value, workspace) as client:
        dies(chat(client), clock, openai.AuthenticationError)


async def conversation(key: object, workspace: Sandbox, clock: Clock, turns: int) -> None:
    url = f"{workspace.url}/serving-endpoints"
    async with openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0) as client:  # type: ignore[arg-type]
        for _ in range(turns):
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
            clock.now += LIFE


def test_openai_lives_with_an_asynchronous_token_provider(
    credentials: Credentials, workspace: Sandbox, clock: Clock
) -> None:
    anyio.run(conversation, dbx_auth.async_token_provider(credentials), workspace, clock, 4)
    assert [r.grant_type for r in workspace.log].count("refresh_token") == 3


def test_asynchronous_openai_dies_with_a_token(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    with pytest.raises(openai.AuthenticationError):
        anyio.run(conversation, credentials.token().value, workspace, clock, 2)


def test_the_loop_goes_on_while_a_token_is_renewed(credentials: Credentials, clock: Clock) -> None:
    """The renewal waits for the loop to do something: in the loop itself it would wait for ever."""
    fetch, found = credentials.token, list[str]()

    async def both() -> None:
        ticked = anyio.Event()

        def slow() -> Token:
            anyio.from_thread.run_sync(ticked.set)
            return fetch()

        async def ask() -> None:
            found.append(await dbx_auth.async_token_provider(credentials)())

        credentials.token = slow  # type: ignore[assignment,method-assign]
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            with anyio.fail_after(30):
                await ticked.wait()

    anyio.run(both)
    assert found == [fetch().value]


def test_what_is_held_needs_no_thread(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    value = credentials.token().value
    monkeypatch.setattr(credentials, "token", None)

    async def ask() -> str:
        return await dbx_auth.async_token_provider(credentials)()

    assert anyio.run(ask) == value


# ---- databricks-sdk --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_profiles_of_a_person(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(machine.config))
    monkeypatch.setenv("HOME", str(machine.home))


def who(client: WorkspaceClient) -> Callable[[], object]:
    return lambda: client.current_user.me().user_name


def test_the_sdk_lives_with_our_strategy(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    client = WorkspaceClient(credentials_strategy=dbx_auth.credentials_strategy(credentials))
    assert (client.config.host, client.config.auth_type) == (workspace.url, "dbx-auth")
    lives(who(client), clock, workspace)


def test_the_sdk_dies_with_a_token(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    client = WorkspaceClient(host=workspace.url, token=credentials.token().value)
    dies(who(client), clock, Unauthenticated)


def test_the_sdk_may_be_told_the_host_in_any_spelling(credentials: Credentials, workspace: Sandbox) -> None:
    for host in (workspace.url, f"{workspace.url}/"):
        client = WorkspaceClient(host=host, credentials_strategy=dbx_auth.credentials_strategy(credentials))
        assert who(client)() == workspace.user


def test_the_sdk_hears_until_when_a_token_lives(credentials: Credentials, clock: Clock) -> None:
    client = WorkspaceClient(credentials_strategy=dbx_auth.credentials_strategy(credentials))
    token = client.config.oauth_token()
    assert token.expiry and abs(token.expiry.timestamp() - clock.now - LIFE) < 2
    assert (token.access_token, token.token_type, token.expired) == (credentials.token().value, "Bearer", False)


def test_a_key_never_ends_for_the_sdk(machine: Machine, workspace: Sandbox) -> None:
    machine.env.update(DATABRICKS_HOST=workspace.url, DATABRICKS_TOKEN=workspace.pat)
    client = WorkspaceClient(credentials_strategy=dbx_auth.credentials_strategy(Credentials(world=machine.world)))
    assert client.config.oauth_token().expiry is None and who(client)() == workspace.user


def test_a_client_of_the_sdk_for_another_host_is_refused(credentials: Credentials, workspace: Sandbox) -> None:
    with Sandbox() as other:
        with pytest.raises(ConfigError, match=f"are for {workspace.url}, and this client is for {other.url}"):
            WorkspaceClient(host=other.url, credentials_strategy=dbx_auth.credentials_strategy(credentials))
        assert not [r for r in other.log if r.path == ME]


def elsewhere(machine: Machine, clock: Clock, host: str) -> None:
    """The person logs in to another workspace while a client of the first one lives."""
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "other-key", "host": host}})
    clock.now += LIFE


def test_a_login_elsewhere_does_not_send_its_token_to_the_first_host(
    credentials: Credentials, workspace: Sandbox, machine: Machine, clock: Clock
) -> None:
    client = WorkspaceClient(credentials_strategy=dbx_auth.credentials_strategy(credentials))
    who(client)()
    before = len(workspace.log)
    elsewhere(machine, clock, OTHER)
    with pytest.raises(ConfigError, match=f"are for {OTHER}"):
        who(client)()
    assert len(workspace.log) == before


def test_and_it_would_without_the_check(
    credentials: Credentials, workspace: Sandbox, machine: Machine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = WorkspaceClient(credentials_strategy=dbx_auth.credentials_strategy(credentials))
    elsewhere(machine, clock, OTHER)
    monkeypatch.setattr(integrations, "_check", lambda ours, theirs: None)
    assert client.config.authenticate() == {"Authorization": "Bearer other-key"}


def test_who_must_log_in_hears_it_from_us(machine: Machine) -> None:
    client = WorkspaceClient(
        credentials_strategy=dbx_auth.credentials_strategy(Credentials(host=HOST, world=machine.world))
    )
    with pytest.raises(LoginRequired):
        client.config.authenticate()


def test_a_client_of_an_account_takes_it_likewise(machine: Machine) -> None:
    with Sandbox(kind="account") as console:
        machine.env.update(
            DATABRICKS_HOST=console.url,
            DATABRICKS_ACCOUNT_ID=console.account_id,
            DATABRICKS_CLIENT_ID=console.client_id,
            DATABRICKS_CLIENT_SECRET=console.client_secret,
        )
        strategy = dbx_auth.credentials_strategy(Credentials(world=machine.world))
        client = AccountClient(account_id=console.account_id, credentials_strategy=strategy)
        assert [str(found.workspace_id) for found in client.workspaces.list()] == [console.workspace_id]


# ---- databricks-sql-connector ----------------------------------------------------------------------------------------


class Statements(BaseHTTPRequestHandler):
    """A SQL warehouse as far as the connector needs one; whether a token is good, the workspace says."""

    workspace: Sandbox
    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append(given)
        bearer = {"Authorization": given.get("authorization", "")}
        status = httpx.get(self.workspace.url + ME, headers=bearer, trust_env=False).status_code
        path = self.path.partition("?")[0].rstrip("/").rpartition("/")[2]
        answer = {"sessions": {"session_id": "s"}, "statements": DONE}.get(path, {})
        body = json.dumps(answer if status == 200 else {"message": "no"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


COLUMN = {"name": "one", "type_text": "INT", "type_name": "INT", "position": 0}
MANIFEST = {"format": "JSON_ARRAY", "schema": {"column_count": 1, "columns": [COLUMN]}, "total_row_count": 1}
DONE = {
    "statement_id": "st",
    "status": {"state": "SUCCEEDED"},
    "manifest": {**MANIFEST, "total_chunk_count": 1, "chunks": [{"chunk_index": 0, "row_offset": 0, "row_count": 1}]},
    "result": {"chunk_index": 0, "row_offset": 0, "row_count": 1, "data_array": [["1"]]},
}


@contextmanager
def warehouse(workspace: Sandbox) -> Iterator[tuple[str, list[dict[str, str]]]]:
    handler = type("Statements", (Statements,), {"workspace": workspace, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.seen  # type: ignore[attr-defined]
        server.shutdown()
        thread.join(30)


def connected(url: str, **how: Any) -> Any:
    """A connection of the real connector, over JSON and without telemetry."""
    sql = pytest.importorskip("databricks.sql", exc_type=ImportError)
    name, _, port = url.rpartition(":")
    quiet = {"enable_telemetry": False, "use_sea": True, "_retry_stop_after_attempts_count": 1, "_retry_delay_min": 0.1}
    return sql.connect(server_hostname=name, _port=int(port), http_path="/sql/1.0/warehouses/w", **quiet, **how)


def select(connection: Any) -> Callable[[], None]:
    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert [list(row) for row in cursor.fetchall()] == [[1]]

    return ask


def test_sql_lives_with_our_provider(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    with warehouse(workspace) as (url, seen):
        connection = connected(url, credentials_provider=dbx_auth.credentials_provider(credentials))
        lives(select(connection), clock, workspace)
        connection.close()
    assert len({given["authorization"] for given in seen}) >= 4


def test_sql_dies_with_a_token(credentials: Credentials, workspace: Sandbox, clock: Clock) -> None:
    with warehouse(workspace) as (url, _):
        connection = connected(url, access_token=credentials.token().value)
        dies(select(connection), clock, pytest.importorskip("databricks.sql.exc").Error)
        clock.now -= LIFE
        connection.close()


def test_sql_sends_what_goes_beside_a_token(
    machine: Machine, workspace: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not with a header that is spelled as its own; see `_in_lower_case`."""
    machine.env.update(DATABRICKS_HOST=workspace.url, DATABRICKS_TOKEN=workspace.pat, DATABRICKS_WORKSPACE_ID="12")

    def sent() -> set[str]:
        with warehouse(workspace) as (url, seen):
            provider = dbx_auth.credentials_provider(Credentials(world=machine.world))
            connection = connected(url, credentials_provider=provider)
            select(connection)()
            connection.close()
        return {given.get("x-databricks-workspace-id", "none") for given in seen}

    assert sent() == {"12"}
    monkeypatch.setattr(integrations, "_in_lower_case", lambda token: dict(token.headers))
    assert sent() == {"none"}


# The connector's own shape, without it: a callable that returns a callable that returns headers.


def test_a_provider_asks_nothing_before_a_request(machine: Machine) -> None:
    provide = dbx_auth.credentials_provider(Credentials(host=HOST, world=machine.world))
    headers = provide()
    with pytest.raises(LoginRequired):
        headers()


def test_a_provider_gives_a_fresh_token_each_time(credentials: Credentials, clock: Clock) -> None:
    headers = dbx_auth.credentials_provider(credentials)()
    first = headers()
    clock.now += LIFE
    second = headers()
    assert first != second and second == {"authorization": f"Bearer {credentials.token().value}"}


def test_a_connection_does_not_get_the_token_of_another_host(
    credentials: Credentials, machine: Machine, clock: Clock
) -> None:
    headers = dbx_auth.credentials_provider(credentials)()
    headers()
    elsewhere(machine, clock, OTHER)
    with pytest.raises(ConfigError, match=f"are for {OTHER}") as caught:
        headers()
    assert "other-key" not in f"{caught.value} {caught.value.hint}"


# ---- the page --------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: re.findall(r"from (\w+)", text)[-1])
def test_the_programs_of_the_page_run(
    machine: Machine,
    sandbox: Sandbox,
    program: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one for SQL as far as its connection: the connector connects by https alone."""
    for name, value in {"DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat}.items():
        monkeypatch.setenv(name, value)
    if "import sql" in program:
        sql = pytest.importorskip("databricks.sql", exc_type=ImportError)
        monkeypatch.setattr(sql, "connect", Connecting)
    exec(compile(program, "docs/library.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


class Connecting:
    """A connection that is made, and answers with the headers that it would send."""

    def __init__(self, *, server_hostname: str, http_path: str, credentials_provider: Any) -> None:
        self.headers = credentials_provider()

    def __enter__(self) -> Connecting:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def cursor(self) -> Connecting:
        return self

    def execute(self, statement: str) -> Connecting:
        return self

    def fetchall(self) -> list[str]:
        return list(self.headers())
