"""Auth for httpx: a fresh token on every request, one retry where it helps, and never a token to a stranger."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import ME, TOKEN, FarSide, never
from unit.stubs import ByteServer

from dbx_auth import Auth, Credentials, LoginRequired, Refused
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import format_expiry

NOW = 1_700_000_000.0
GIVEN = {"access_token": "new", "refresh_token": "r-1", "expires_in": 3600}

Handler = Callable[[httpx.Request], httpx.Response]


class Workspace:
    """Takes the tokens it is told to, answers 401 to all others, and remembers what it saw."""

    def __init__(self, *good: str, status: int = 401) -> None:
        self.good = {f"Bearer {token}" for token in good}
        self.status = status
        self.seen: list[tuple[str, str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        given = request.headers.get("Authorization", "")
        self.seen.append((request.url.host, given, request.content))
        return httpx.Response(200 if given in self.good else self.status, text=given)

    @property
    def tokens(self) -> list[str]:
        return [given.removeprefix("Bearer ") for _, given, _ in self.seen]


def logged_in(machine: Machine, http: object, access: str = "old") -> Auth:
    machine.clock = lambda: NOW
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, access, "r-0", NOW + 3600))})
    return Auth(Credentials(world=machine.world._replace(http=http)))  # type: ignore[arg-type]


class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Sends bodies piece by piece, as the real transports do; httpx.MockTransport would make them ones in memory."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        return self.handle(request, b"".join(request.stream))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        return self.handle(request, b"".join([piece async for piece in request.stream]))

    def handle(self, request: httpx.Request, content: bytes) -> httpx.Response:
        return self.handler(httpx.Request(request.method, request.url, headers=request.headers, content=content))


def client(auth: Auth, handler: Handler, **rest: Any) -> httpx.Client:
    return httpx.Client(auth=auth, transport=Wire(handler), base_url=HOST, **rest)


async def send_async(auth: Auth, handler: Handler, *args: Any, **rest: Any) -> httpx.Response:
    async with httpx.AsyncClient(auth=auth, transport=Wire(handler), base_url=HOST) as session:
        return await session.request(*args, **rest)


def send(auth: Auth, handler: Handler, *args: Any, **rest: Any) -> httpx.Response:
    with client(auth, handler) as session:
        return session.request(*args, **rest)


def send_in_a_loop(auth: Auth, handler: Handler, *args: Any, **rest: Any) -> httpx.Response:
    return asyncio.run(send_async(auth, handler, *args, **rest))


both = pytest.mark.parametrize("send", [send, send_in_a_loop], ids=["sync", "async"])
Send = Callable[..., httpx.Response]


@both
def test_every_request_carries_the_token_of_that_moment(machine: Machine, send: Send) -> None:
    workspace = Workspace("old", "new")
    auth = logged_in(machine, FarSide({TOKEN: (200, GIVEN)}))
    assert send(auth, workspace, "GET", "/a").status_code == 200
    machine.clock = lambda: NOW + 3590
    assert send(auth, workspace, "GET", "/b").status_code == 200
    assert workspace.tokens == ["old", "new"]


@both
def test_a_refused_token_is_renewed_once_and_the_request_sent_once_more(machine: Machine, send: Send) -> None:
    workspace, far = Workspace("new"), FarSide({TOKEN: (200, GIVEN)})
    answer = send(logged_in(machine, far), workspace, "POST", "/x", json={"a": 1})
    assert answer.status_code == 200 and len(far.posts()) == 1
    assert workspace.tokens == ["old", "new"]
    assert {content for _, _, content in workspace.seen} == {b'{"a":1}'}


@both
def test_a_token_that_is_refused_twice_is_not_tried_a_third_time(machine: Machine, send: Send) -> None:
    workspace, far = Workspace(), FarSide({TOKEN: (200, GIVEN)})
    assert send(logged_in(machine, far), workspace, "GET", "/x").status_code == 401
    assert workspace.tokens == ["old", "new"] and len(far.posts()) == 1


@both
@pytest.mark.parametrize("status", [400, 403, 407, 429, 500])
def test_a_status_other_than_401_is_not_by_itself_about_the_token(machine: Machine, send: Send, status: int) -> None:
    workspace = Workspace(status=status)
    assert send(logged_in(machine, never), workspace, "GET", "/x").status_code == status
    assert len(workspace.seen) == 1


class InWords(Workspace):
    """Refuses with a JSON body that says why; `made` has the answers, to see what becomes of them."""

    def __init__(self, status: int, said: object, *good: str, kind: str = "application/json") -> None:
        super().__init__(*good, status=status)
        self.said, self.kind = json.dumps(said).encode(), kind
        self.made: list[Piecemeal] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        if answer.status_code == 200:
            return answer
        self.made.append(body := Piecemeal(self.said))
        return httpx.Response(self.status, headers={"Content-Type": self.kind}, stream=body)


class Piecemeal(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes from the network, and of which is known how much was read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), 10):
            self.read += 10
            yield self.content[start : start + 10]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


ABOUT_THE_TOKEN: list[tuple[int, object]] = [
    (403, {"error_code": "403", "message": "Invalid access token."}),
    (403, {"error_code": 403, "message": "Invalid Token"}),
    (403, {"message": "invalid access token [ReqId: 1]"}),
    (400, {"error": {"message": "expired OAuth token"}}),
    (400, {"message": "The access token is expired"}),
    (400, {"message": "oauth token was revoked"}),
    (403, {"message": "Bearer token has been revoked"}),
    (400, {"message": "malformed bearer token"}),
    (400, {"message": "Invalid credential"}),
]
NOT_ABOUT_IT: list[tuple[int, object]] = [
    (403, {"error_code": "PERMISSION_DENIED", "message": "You may not query this endpoint."}),
    (403, {"message": "Your access token has not the required scopes: model-serving"}),
    (400, {"message": "max_tokens: 99999 tokens are too many"}),
    (400, {"message": "invalid tokenizer"}),
    (400, {"message": "invalid tokens in the prompt"}),
    (400, {"message": "a token limit that is not valid"}),
    (403, []),
    (403, "no"),
]


@both
@pytest.mark.parametrize(("status", "said"), ABOUT_THE_TOKEN)
def test_a_refusal_that_speaks_of_the_token_is_as_good_as_a_401(
    machine: Machine, send: Send, status: int, said: object
) -> None:
    workspace, far = InWords(status, said, "new"), FarSide({TOKEN: (200, GIVEN)})
    answer = send(logged_in(machine, far), workspace, "POST", "/x", json={"a": 1})
    assert answer.status_code == 200 and workspace.tokens == ["old", "new"]
    assert {content for _, _, content in workspace.seen} == {b'{"a":1}'} and len(far.posts()) == 1


@both
@pytest.mark.parametrize(("status", "said"), NOT_ABOUT_IT)
def test_any_other_refusal_is_handed_on_and_can_be_read(
    machine: Machine, send: Send, status: int, said: object
) -> None:
    workspace = InWords(status, said)
    answer = send(logged_in(machine, never), workspace, "POST", "/x", json={"a": 1})
    assert (answer.status_code, answer.json(), workspace.tokens) == (status, said, ["old"])


@both
@pytest.mark.parametrize("status", [402, 404, 407, 429, 500, 503])
def test_with_any_other_status_it_may_say_what_it_likes(machine: Machine, send: Send, status: int) -> None:
    workspace = InWords(status, {"message": "Invalid access token."})
    assert send(logged_in(machine, never), workspace, "GET", "/x").status_code == status
    assert workspace.tokens == ["old"]


@both
@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "application/octet-stream", ""])
def test_what_is_no_json_may_say_so_too(machine: Machine, send: Send, kind: str) -> None:
    workspace = InWords(403, {"message": "Invalid access token."}, kind=kind)
    assert send(logged_in(machine, never), workspace, "GET", "/x").status_code == 403
    assert workspace.tokens == ["old"]


@both
def test_one_that_speaks_of_the_new_token_too_is_handed_on(machine: Machine, send: Send) -> None:
    workspace, far = InWords(403, {"message": "Invalid access token."}), FarSide({TOKEN: (200, GIVEN)})
    answer = send(logged_in(machine, far), workspace, "GET", "/x")
    assert answer.status_code == 403 and answer.json() == {"message": "Invalid access token."}
    assert workspace.tokens == ["old", "new"] and len(far.posts()) == 1


@both
def test_a_key_that_cannot_be_renewed_is_not_sent_again_whatever_is_said(machine: Machine, send: Send) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    workspace = InWords(403, {"message": "Invalid access token."})
    answer = send(Auth(Credentials(world=machine.world._replace(http=never))), workspace, "GET", "/x")
    assert answer.json() == {"message": "Invalid access token."} and workspace.tokens == ["dapi"]


def test_a_streamed_refusal_that_is_handed_on_can_still_be_read(machine: Machine) -> None:
    workspace = InWords(403, {"message": "You may not."})
    with client(logged_in(machine, never), workspace) as session, session.stream("GET", "/x") as answer:
        assert b"".join(answer.iter_bytes()) == b'{"message": "You may not."}'


@pytest.mark.parametrize("status", [404, 429, 500])
def test_no_answer_is_read_for_it_that_cannot_be_about_the_token(machine: Machine, status: int) -> None:
    workspace = InWords(status, {"message": "m" * 1000}, "none")
    with client(logged_in(machine, never), workspace) as session, session.stream("GET", "/x"):
        assert workspace.made[0].read == 0


def test_a_refusal_without_end_is_not_read_to_the_end(machine: Machine) -> None:
    """Whoever speaks of the token does so at the beginning."""
    workspace = InWords(403, {"message": "m" * (1 << 23)})
    with client(logged_in(machine, never), workspace) as session, session.stream("GET", "/x") as answer:
        assert answer.status_code == 403
        assert workspace.made[0].read < 1 << 22


@both
def test_a_key_that_cannot_be_renewed_is_not_sent_again(machine: Machine, send: Send) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi")
    workspace = Workspace()
    auth = Auth(Credentials(world=machine.world._replace(http=never)))
    assert send(auth, workspace, "GET", "/x").status_code == 401
    assert workspace.tokens == ["dapi"]


@both
def test_when_the_renewal_fails_the_error_says_why(machine: Machine, send: Send) -> None:
    auth = logged_in(machine, FarSide({TOKEN: (400, {"error": "invalid_grant"})}))
    with pytest.raises(LoginRequired):
        send(auth, Workspace(), "GET", "/x")


@both
def test_without_a_login_no_request_goes_out(machine: Machine, send: Send) -> None:
    workspace = Workspace()
    with pytest.raises(LoginRequired):
        send(Auth(Credentials(host=HOST, world=machine.world)), workspace, "GET", "/x")
    assert workspace.seen == []


@both
def test_a_token_another_program_wrote_by_hand_into_the_headers_is_replaced(machine: Machine, send: Send) -> None:
    workspace = Workspace("old")
    send(logged_in(machine, never), workspace, "GET", "/x", headers={"Authorization": "Bearer stale"})
    assert workspace.tokens == ["old"]


# ---- bodies that can be sent only once -------------------------------------------------------------------------------


def pieces() -> Iterator[bytes]:
    yield b"once"


async def async_pieces() -> AsyncIterator[bytes]:
    yield b"once"


@pytest.mark.parametrize(
    ("send", "body"),
    [
        (send, {"content": pieces}),
        (send_in_a_loop, {"content": async_pieces}),
    ],
    ids=["sync", "async"],
)
def test_a_body_that_can_be_sent_only_once_is(machine: Machine, send: Send, body: dict[str, Any]) -> None:
    workspace = Workspace("new")
    answer = send(logged_in(machine, never), workspace, "POST", "/x", content=body["content"]())
    assert answer.status_code == 401 and [content for _, _, content in workspace.seen] == [b"once"]


def test_an_upload_is_not_sent_again_either(machine: Machine) -> None:
    workspace = Workspace("new")
    assert send(logged_in(machine, never), workspace, "POST", "/x", files={"f": b"data"}).status_code == 401
    assert len(workspace.seen) == 1


@both
@pytest.mark.parametrize("body", [{}, {"content": b"bytes"}, {"data": {"a": "b"}}, {"json": [1]}, {"content": "text"}])
def test_a_body_in_memory_is_sent_again_byte_for_byte(machine: Machine, send: Send, body: dict[str, Any]) -> None:
    workspace = Workspace("new")
    auth = logged_in(machine, FarSide({TOKEN: (200, GIVEN)}))
    assert send(auth, workspace, "POST", "/x", **body).status_code == 200
    assert workspace.seen[0][2] == workspace.seen[1][2]


def test_a_streamed_answer_is_retried_before_it_is_read(machine: Machine) -> None:
    workspace = Workspace("new")
    with client(logged_in(machine, FarSide({TOKEN: (200, GIVEN)})), workspace) as session:
        with session.stream("GET", "/x") as answer:
            assert answer.status_code == 200 and b"".join(answer.iter_bytes()) == b"Bearer new"


# ---- strangers -------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "url",
    [
        OTHER + "/x",
        HOST.replace("https", "http") + "/x",
        HOST + ":8443/x",
        HOST + ".evil.example/x",
        "https://evil.example/" + HOST,
        HOST.replace("https://", "https://evil.example@") + ".evil.example/x",
    ],
)
def test_the_token_never_goes_to_another_host(machine: Machine, send: Send, url: str) -> None:
    workspace = Workspace("old")
    answer = send(logged_in(machine, never), workspace, "GET", url)
    assert answer.status_code == 401 and workspace.tokens in ([""], ["Basic " + "ZXZpbC5leGFtcGxlOg=="])


@both
@pytest.mark.parametrize("url", [HOST + ":443/x", HOST.upper() + "/x", "/x", "x", HOST])
def test_the_same_host_in_other_words_gets_it(machine: Machine, send: Send, url: str) -> None:
    """The control of the test above."""
    workspace = Workspace("old")
    assert send(logged_in(machine, never), workspace, "GET", url).status_code == 200


def redirecting(workspace: Workspace) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/away":
            workspace(request)
            return httpx.Response(307, headers={"Location": OTHER + "/x"})
        if request.url.path == "/near":
            workspace(request)
            return httpx.Response(307, headers={"Location": "/x"})
        return workspace(request)

    return handle


def test_a_redirect_to_another_host_does_not_carry_the_token(machine: Machine) -> None:
    workspace = Workspace(status=200)
    with client(logged_in(machine, never), redirecting(workspace), follow_redirects=True) as session:
        session.get("/away", headers={"Authorization": "Bearer old"})
    assert workspace.seen[1][:2] == (httpx.URL(OTHER).host, "")


def test_a_redirect_on_the_same_host_does(machine: Machine) -> None:
    workspace = Workspace("old")
    with client(logged_in(machine, never), redirecting(workspace), follow_redirects=True) as session:
        assert session.get("/near").status_code == 200
    assert workspace.tokens == ["old", "old"]


def test_another_host_that_refuses_has_said_nothing_about_our_token(machine: Machine) -> None:
    """Else whoever we are redirected to can have us renew, and send the request again."""
    workspace, far = Workspace(), FarSide({TOKEN: (200, GIVEN)})
    with client(logged_in(machine, far), redirecting(workspace), follow_redirects=True) as session:
        assert session.post("/away", json={"order": 1}).status_code == 401
    assert far.posts() == [] and len(workspace.seen) == 2


# ---- many at once ----------------------------------------------------------------------------------------------------


def revoked(machine: Machine, sandbox: Sandbox) -> Auth:
    """A login whose token looks fresh, and is unknown to the workspace."""
    login = sandbox.add_login()
    machine.cached_login(sandbox.url, access_token="revoked", refresh_token=login.refresh_token)
    return Auth(Credentials(host=sandbox.url, world=machine.world))


def renewals(sandbox: Sandbox) -> int:
    return sum(request.grant_type == "refresh_token" for request in sandbox.log)


@pytest.mark.parametrize("shared", [True, False])
def test_twenty_threads_refused_together_renew_once(machine: Machine, sandbox: Sandbox, shared: bool) -> None:
    """Also when each has credentials of its own: then it is the lock on the file that holds them together."""
    auth, together = revoked(machine, sandbox), threading.Barrier(20)
    answers: list[int] = []

    def work() -> None:
        mine = auth if shared else Auth(Credentials(host=sandbox.url, world=machine.world))
        with httpx.Client(auth=mine, base_url=sandbox.url, trust_env=False) as session:
            together.wait(30)
            answers.append(session.get(ME, timeout=30).status_code)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [200] * 20 and renewals(sandbox) == 1


def test_twenty_requests_of_one_event_loop_refused_together_renew_once(machine: Machine, sandbox: Sandbox) -> None:
    auth = revoked(machine, sandbox)

    async def work() -> list[int]:
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.url, trust_env=False, timeout=30) as session:
            return [answer.status_code for answer in await asyncio.gather(*(session.get(ME) for _ in range(20)))]

    assert asyncio.run(work()) == [200] * 20
    assert renewals(sandbox) == 1


def test_the_event_loop_goes_on_while_a_token_is_renewed(machine: Machine) -> None:
    renewing, turned = threading.Event(), threading.Event()
    far = FarSide({TOKEN: (200, GIVEN)})

    def slow(method: str, url: str, **rest: Any) -> Any:
        renewing.set()
        assert turned.wait(10), "the event loop stood still"
        return far(method, url, **rest)

    auth = logged_in(machine, slow)
    machine.clock = lambda: NOW + 3600

    async def work() -> int:
        request = asyncio.create_task(send_async(auth, Workspace("new"), "GET", "/x"))
        while not renewing.is_set():
            await asyncio.sleep(0.005)
        turned.set()
        return (await request).status_code

    assert asyncio.run(work()) == 200


def test_a_client_of_the_sandbox_gets_through(machine: Machine, sandbox: Sandbox) -> None:
    machine.cached_login(sandbox.url, expiry=format_expiry(0), refresh_token=sandbox.add_login().refresh_token)
    auth = Auth(Credentials(host=sandbox.url, world=machine.world))
    with httpx.Client(auth=auth, base_url=sandbox.url, trust_env=False) as session:
        assert session.get(ME).json()["userName"] == sandbox.user


def test_auth_without_credentials_takes_those_of_the_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in machine.child_env(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="dapi").items():
        monkeypatch.setenv(name, value)
    workspace = Workspace("dapi")
    assert send(Auth(), workspace, "GET", "/x").status_code == 200


# ---- headers beside the token ----------------------------------------------------------------------------------------


def as_an_azure_principal(machine: Machine, host: str) -> Auth:
    machine.env.update(
        DATABRICKS_HOST=host,
        DATABRICKS_CLOUD="AZURE",
        ARM_CLIENT_ID="an-id",
        ARM_CLIENT_SECRET="as-secret",
        ARM_TENANT_ID="t",
    )
    login = "https://login.microsoftonline.com/t"
    found = {"authorization_endpoint": f"{login}/a", "token_endpoint": f"{login}/oauth2/v2.0/token", "issuer": login}
    given = [(200, {"access_token": name, "expires_in": 3600, "token_type": "Bearer"}) for name in ("at-1", "sp-1")]
    far = FarSide({"/t/v2.0/.well-known/openid-configuration": (200, found), "/t/oauth2/v2.0/token": list(given)})
    return Auth(Credentials(world=machine.world._replace(http=far)))


@both
def test_what_goes_beside_a_token_is_on_every_request(machine: Machine, send: Send) -> None:
    seen: list[httpx.Headers] = []

    def workspace(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200)

    send(as_an_azure_principal(machine, HOST), workspace, "GET", f"{HOST}/api")
    assert seen[0]["Authorization"] == "Bearer at-1"
    assert seen[0]["X-Databricks-Azure-SP-Management-Token"] == "sp-1"


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_redirect_does_not_take_it_to_another_host(machine: Machine, in_a_loop: bool) -> None:
    """Over real sockets, because httpx keeps these headers when it follows a redirect."""
    with ByteServer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as stranger:
        elsewhere = stranger.url.replace("127.0.0.1", "localhost")
        answer = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with ByteServer(answer.encode()) as ours:
            auth = as_an_azure_principal(machine, ours.url)

            async def go() -> None:
                async with httpx.AsyncClient(auth=auth, follow_redirects=True, trust_env=False) as client:
                    await client.get(ours.url)

            with pytest.raises(Refused, match="a redirect leads to localhost"):
                if in_a_loop:
                    asyncio.run(go())
                else:
                    with httpx.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
                        client.get(ours.url)
        assert b"sp-1" in ours.requests[0]
        assert not [request for request in stranger.requests if b"sp-1" in request]
