"""The routes: what comes in over HTTP, and what goes out again."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import lists, log, pages, refusals, replies, responses, workspace
from .calls import Call
from .oauth import UNKNOWN_TOKEN, AuthorizationServer, InvalidToken, OAuthError, Principal

BODY_LIMIT = 32 << 20
FORM = "application/x-www-form-urlencoded"

Endpoint = Callable[[Request], Awaitable[Response]]


class Json(JSONResponse):
    """JSON in ASCII, because a client may have us echo half a surrogate pair, which UTF-8 has no bytes for."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class Guard:
    """Stands before everything: loopback names only, no huge bodies, and a line in the log for every answer."""

    def __init__(self, app: ASGIApp, requests: list[log.Request]) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        taken = 0

        async def capped() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_LIMIT:
                raise HTTPException(413, f"The body is larger than {BODY_LIMIT} bytes.")
            return message

        async def noted(message: Message) -> None:
            # Before it is sent, so that whoever has the answer finds it in the log.
            if message["type"] == "http.response.start":
                asked = log.Request(scope["method"], scope["path"], message["status"], state.get("grant_type"))
                log.note(self.requests, asked)
            await send(message)

        app = self.app if self.is_ours(scope) else misdirected
        await app(scope, capped, noted)

    def is_ours(self, scope: Scope) -> bool:
        """Whether the Host header names this very server; a web page that rebinds its own name to us fails here."""
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        port = scope["server"][1]
        return hosts in ([f"127.0.0.1:{port}"], [f"localhost:{port}"], [f"[::1]:{port}"])


async def misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    answer = refused(421, "BAD_REQUEST", "This sandbox answers to 127.0.0.1, localhost and [::1] only.")
    await answer(scope, receive, send)


# Answers


def refused(status: int, error_code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Json({"error_code": error_code, "message": message}, status, headers)


def page(html: str, status: int = 200, form_action: str = "'none'") -> Response:
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status, headers)


async def http_error(request: Request, error: Exception) -> Response:
    """What Starlette says no to, in the workspace's words."""
    said = cast(HTTPException, error)
    if said.status_code == 413:
        return refused(413, "MAX_REQUEST_SIZE_EXCEEDED", said.detail)
    message = f"No API found for '{request.method} {request.url.path}'"
    return refused(said.status_code, "ENDPOINT_NOT_FOUND", message, said.headers)


# Reading requests


def url_of(request: Request) -> str:
    """How the client calls us; it gets to see its own name for us, so that an issuer is what it expected."""
    return f"http://{request.headers['host']}"


def parameters(encoded: str) -> dict[str, str]:
    """A form or query. A parameter given twice is an error, one without a value is one not given (RFC 6749, 3.1)."""
    try:
        pairs = parse_qsl(encoded, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise OAuthError("invalid_request", "The parameters cannot be read") from error
    if len(dict(pairs)) != len(pairs):
        raise OAuthError("invalid_request", "A parameter was given more than once")
    return dict(pairs)


async def form_of(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", f"The content type must be {FORM}")
    return parameters((await request.body()).decode("latin-1"))


def basic_of(request: Request) -> tuple[str, str] | None:
    """The client's id and secret, when they came as HTTP Basic."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise OAuthError("invalid_client", "The Authorization header cannot be read", 401) from error
    return client_id, secret


def issuer_of(request: Request) -> str:
    """The authorization server as the client calls it; each kind of host has it elsewhere."""
    return url_of(request) + workspace.OIDC[request.app.state.kind]


def with_token(endpoint: Callable[[Request, Principal], Awaitable[Response]], *, pat: bool = True) -> Endpoint:
    """Let a request through to `endpoint` only with a bearer token that stands for somebody."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise InvalidToken(UNKNOWN_TOKEN)
            principal = oauth(request).principal(token.strip(), pat=pat)
        except InvalidToken as error:
            return refused(401, "401", str(error), {"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'})
        return await endpoint(request, principal)

    return guarded


with_oauth = functools.partial(with_token, pat=False)  # an account knows no personal access tokens


def in_workspace(route: Route) -> Route:
    """A workspace's API on a unified host, which takes it for a person lost on the way without the workspace's id."""

    async def routed(request: Request) -> Response:
        sent = request.headers.get("x-databricks-workspace-id") or request.headers.get("x-databricks-org-id")
        if not sent:
            return page(pages.sign_in())
        if sent != workspace.WORKSPACE_ID:
            return refused(403, "PERMISSION_DENIED", "The account has no such workspace, or you are not in it.")
        answer: Response = await route.endpoint(request)
        return answer

    return Route(route.path, routed, methods=list(route.methods or ()))


def oauth(request: Request) -> AuthorizationServer:
    server: AuthorizationServer = request.app.state.oauth
    return server


# Pages and documents


async def index(request: Request) -> Response:
    """The first page; with a destination it is what login.databricks.com is to a login that knows no host."""
    if "destination_url" in request.query_params:
        return sent_on(request)
    return page(pages.index(url_of(request), request.app.state.kind))


def sent_on(request: Request) -> Response:
    """Send the browser to the authorization endpoint of the only workspace that there is to choose."""
    [first, *more] = request.query_params.getlist("destination_url")
    path, _, query = first.partition("?")
    lawful = first.isascii() and first.isprintable() and not set(' \\"<>#') & set(first)
    if more or not lawful or path != "/oidc/v1/authorize" or not query:
        return page(pages.problem("The destination_url is not the path and query of an authorization request"), 400)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(f"{issuer_of(request)}/v1/authorize?{query}", 302, headers)


async def requests_log(request: Request) -> Response:
    return Json(log.as_json(request.app.state.requests))


async def databricks_config(request: Request) -> Response:
    told = {"account_id": workspace.ACCOUNT_ID, "cloud": workspace.CLOUD, "host_type": request.app.state.kind}
    if request.app.state.kind == "unified":  # with the placeholder as it stands, for the client to fill in
        return Json({"oidc_endpoint": f"{url_of(request)}/oidc/accounts/{{account_id}}", **told})
    return Json({"oidc_endpoint": issuer_of(request), "workspace_id": workspace.WORKSPACE_ID, **told})


async def oidc_configuration(request: Request) -> Response:
    issuer = issuer_of(request)
    return Json(
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/v1/authorize",
            "token_endpoint": f"{issuer}/v1/token",
            "scopes_supported": ["all-apis", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(oauth(request).grants),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
    )


# OAuth


async def authorize(request: Request) -> Response:
    """A browser arrives with a client's wish: to the consent page, straight back, or no further."""
    try:
        query = parameters(request.url.query)
        redirect_uri = oauth(request).redirect_uri(query)
    except OAuthError as error:
        return page(pages.problem(error.description), error.status)
    try:
        asked = oauth(request).authorization_request(query)
    except OAuthError as error:
        return sent_back(request, redirect_uri, query.get("state"), refusal_of(error))
    if request.app.state.auto_approve:
        return sent_back(request, redirect_uri, asked.state, {"code": oauth(request).code(asked)})
    ticket = oauth(request).ticket(asked)
    html = pages.consent(asked, oauth(request).user.user_name, ticket)
    return page(html, form_action=f"'self' {csp_source(redirect_uri)}")


async def decide(request: Request) -> Response:
    """The person has pressed a button."""
    try:
        form = await form_of(request)
        asked = oauth(request).redeem(form.get("ticket", ""))
    except OAuthError as error:
        return page(pages.problem(error.description), error.status)
    if form.get("decision") == "allow":
        return sent_back(request, asked.redirect_uri, asked.state, {"code": oauth(request).code(asked)}, 303)
    denied = refusal_of(OAuthError("access_denied", "The person did not allow it"))
    return sent_back(request, asked.redirect_uri, asked.state, denied, 303)


def sent_back(
    request: Request, redirect_uri: str, state: str | None, answer: Mapping[str, str], status: int = 302
) -> Response:
    """Send the browser back to the client, with an answer that names its issuer (RFC 9207)."""
    carried = {**answer, **({"state": state} if state else {}), "iss": issuer_of(request)}
    parts = urlsplit(redirect_uri)
    query = "&".join(filter(None, [parts.query, urlencode(carried)]))
    target = parts._replace(path=parts.path or "/", query=query).geturl()
    return RedirectResponse(target, status, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def csp_source(redirect_uri: str) -> str:
    """What form-action must name for browsers to follow the redirect; the syntax has no IPv6 addresses."""
    parts = urlsplit(redirect_uri)
    return "http:" if parts.hostname == "::1" else f"http://{parts.hostname}:{parts.port or 80}"


def refusal_of(error: OAuthError) -> dict[str, str]:
    return {"error": error.error, "error_description": error.description}


async def token(request: Request) -> Response:
    """The token endpoint: every answer, good or bad, is for this client's eyes only."""
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    try:
        form = await form_of(request)
        if "grant_type" in form:
            known = form["grant_type"] in oauth(request).grants
            request.state.grant_type = form["grant_type"] if known else "unsupported"
        return Json(oauth(request).token(form, basic_of(request)), headers=headers)
    except OAuthError as error:
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="DatabricksRealm"'
        return Json(refusal_of(error), error.status, headers)


# The workspace


@with_token
async def me(request: Request, principal: Principal) -> Response:
    return who(principal, {"x-databricks-org-id": workspace.WORKSPACE_ID})


@with_oauth
async def account_me(request: Request, principal: Principal) -> Response:
    return who(principal)


def who(principal: Principal, headers: Mapping[str, str] | None = None) -> Response:
    if principal.group_id:
        return Json(workspace.no_such_user(principal), 404, headers, "application/scim+json")
    return Json(workspace.me(principal), 200, headers)


@with_oauth
async def account_workspaces(request: Request, principal: Principal) -> Response:
    return Json(workspace.workspaces())


@with_token
async def introspect(request: Request, principal: Principal) -> Response:
    return Json(workspace.introspection())


@with_token
async def serving_endpoints(request: Request, principal: Principal) -> Response:
    return Json(lists.serving_endpoints(endpoints(request).values()))


@with_token
async def foundation_models(request: Request, principal: Principal) -> Response:
    return Json(lists.foundation_models(endpoints(request).values()))


@with_token
async def serving_endpoint(request: Request, principal: Principal) -> Response:
    name = request.path_params["name"]
    endpoint = endpoints(request).get(name)
    if endpoint is None:
        return refused(404, "RESOURCE_DOES_NOT_EXIST", f"The endpoint with name '{name}' does not exist.")
    return Json({**lists.describe(endpoint), "permission_level": "CAN_QUERY"})


@with_token
async def gateway_endpoints(request: Request, principal: Principal) -> Response:
    return paged(request, lists.gateway_endpoints)


@with_token
async def model_services(request: Request, principal: Principal) -> Response:
    """Unity Catalog's list, which gives up rather than to list everything there is."""
    parent = request.query_params.get("parent")
    if not parent or not request.query_params.get("page_size"):
        return refused(499, "CANCELLED", "The request was cancelled.")
    if parent != lists.SCHEMA:
        return refused(404, "SCHEMA_DOES_NOT_EXIST", f"Schema '{parent.removeprefix('schemas/')}' does not exist.")
    return paged(request, lists.model_services)


@with_token
async def anthropic_models(request: Request, principal: Principal) -> Response:
    return Json(lists.anthropic_models(endpoints(request).values()))


def paged(request: Request, listed: Callable[[Iterable[workspace.Endpoint], str, str], Mapping[str, Any]]) -> Response:
    """One page of a list, as the query asks for it."""
    asked = request.query_params
    try:
        return Json(listed(endpoints(request).values(), asked.get("page_size", ""), asked.get("page_token", "")))
    except lists.BadPage as error:
        return refused(400, "INVALID_PARAMETER_VALUE", str(error))


def endpoints(request: Request) -> Mapping[str, workspace.Endpoint]:
    served: Mapping[str, workspace.Endpoint] = request.app.state.endpoints
    return served


# Model calls


def calling(api: str, read: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body) -> Endpoint:
    """An endpoint of one API, which finds the model's name in the body; `read` is what it takes a body for."""

    async def call(request: Request, principal: Principal) -> Response:
        body = await json_of(request)
        if not body:
            return answer(request, body, None, lambda endpoint: api)
        return answer(request, read(body), body.get("model"), lambda endpoint: api)

    return with_token(call)


def generating(*, streamed: bool) -> Endpoint:
    """An endpoint of Google's API, which finds the model's name in the path, and whether to stream."""

    async def call(request: Request, principal: Principal) -> Response:
        body = await json_of(request)
        return answer(
            request, body, request.path_params["name"], lambda endpoint: workspace.GENERATE, streamed=streamed
        )

    return with_token(call)


@with_token
async def invocations(request: Request, principal: Principal) -> Response:
    body = await json_of(request)
    return answer(request, body, request.path_params["name"], lambda endpoint: api_of(endpoint, body or {}))


def api_of(endpoint: workspace.Endpoint, body: Mapping[str, Any]) -> str:
    """Which API an invocation speaks: the endpoint's own, or for a model with several, what the body looks like."""
    for api in (workspace.PREDICT, workspace.EMBEDDINGS):
        if api in endpoint.speaks:
            return api
    return workspace.RESPONSES if "input" in body else workspace.CHAT


def called(request: Request, name: Any) -> workspace.Endpoint | None:
    """The endpoint of that name; the AI Gateway knows Databricks' own by their names in Unity Catalog too."""
    if not isinstance(name, str):
        return None
    if request.url.path.startswith(GATEWAY) and name.startswith(workspace.SYSTEM_AI):
        name = workspace.DATABRICKS + name.removeprefix(workspace.SYSTEM_AI)
    return endpoints(request).get(name)


async def json_of(request: Request) -> dict[str, Any] | None:
    """The body as a JSON object, None for anything else."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def answer(
    request: Request,
    body: dict[str, Any] | None,
    name: Any,
    api: Callable[[workspace.Endpoint], str],
    *,
    streamed: bool | None = None,
) -> Response:
    """Answer a model call, or refuse it as its family would; it is the body that asks for a stream, or `streamed`."""
    if body is None:
        return refused(400, "BAD_REQUEST", "The body is not a JSON object.")
    endpoint = called(request, name)
    if endpoint is None:
        gone = "The given endpoint does not exist, please retry after checking the specified model and version "
        return refused(404, "ENDPOINT_NOT_FOUND", gone + "deployment exists.")
    if not endpoint.ready:
        return refused(503, "TEMPORARILY_UNAVAILABLE", f"The endpoint {name} is not ready.")
    if streamed is None:
        streamed = body.get("stream") is True
    call = Call(endpoint, api(endpoint), body, request.headers, streamed)
    if why := refusals.refusal(call):
        return refused(400, "BAD_REQUEST", why)
    if replies.streamable(call):
        stream = in_turn(replies.stream(call))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    return Json(replies.whole(call))


async def in_turn(events: Iterator[bytes]) -> AsyncIterator[bytes]:
    """An iterator for the event loop; Starlette would give a plain one a thread."""
    for event in events:
        yield event


async def no_such_page(request: Request) -> Response:
    return page(pages.missing(), 404)


def oidc(root: str) -> list[Route]:
    """The authorization server, at `root`."""
    return [
        Route(f"{root}/.well-known/oauth-authorization-server", oidc_configuration),
        Route(f"{root}/.well-known/openid-configuration", oidc_configuration),
        Route(f"{root}/v1/authorize", authorize),
        Route(f"{root}/v1/authorize", decide, methods=["POST"]),
        Route(f"{root}/v1/token", token, methods=["POST"]),
    ]


SANDBOX = [Route("/", index), Route("/_sandbox/log", requests_log)]
CONFIG = Route("/.well-known/databricks-config", databricks_config)
INTROSPECT = Route("/api/2.0/tokens/introspect", introspect)

ACCOUNT = f"/api/2.0/accounts/{workspace.ACCOUNT_ID}"
ACCOUNT_APIS = [Route(f"{ACCOUNT}/scim/v2/Me", account_me), Route(f"{ACCOUNT}/workspaces", account_workspaces)]

MODELS, GATEWAY = "/serving-endpoints", "/ai-gateway"


def post(path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=["POST"])


def google(base: str) -> list[Route]:
    return [
        post(f"{base}/gemini/v1beta/models/{{name}}:generateContent", generating(streamed=False)),
        post(f"{base}/gemini/v1beta/models/{{name}}:streamGenerateContent", generating(streamed=True)),
    ]


WORKSPACE_APIS = [
    Route("/api/2.0/preview/scim/v2/Me", me),
    Route("/api/2.0/serving-endpoints", serving_endpoints),
    Route("/api/2.0/serving-endpoints:foundation-models", foundation_models),
    Route("/api/2.0/serving-endpoints/{name}", serving_endpoint),
    Route("/api/2.1/unity-catalog/model-services", model_services),
    Route("/api/ai-gateway/v2/endpoints", gateway_endpoints),
    post(f"{MODELS}/chat/completions", calling(workspace.CHAT)),
    post(f"{MODELS}/responses", calling(workspace.RESPONSES)),
    post(f"{MODELS}/anthropic/v1/messages", calling(workspace.MESSAGES)),
    post(f"{MODELS}/embeddings", calling(workspace.EMBEDDINGS)),
    post(f"{MODELS}/{{name}}/invocations", invocations),
    *google(MODELS),
    post(f"{GATEWAY}/mlflow/v1/chat/completions", calling(workspace.CHAT)),
    post(f"{GATEWAY}/mlflow/v1/responses", calling(workspace.RESPONSES)),
    post(f"{GATEWAY}/mlflow/v1/embeddings", calling(workspace.EMBEDDINGS)),
    post(f"{GATEWAY}/openai/v1/responses", calling(workspace.RESPONSES)),
    post(f"{GATEWAY}/codex/v1/responses", calling(workspace.RESPONSES, responses.recognized)),
    post(f"{GATEWAY}/anthropic/v1/messages", calling(workspace.MESSAGES)),
    Route(f"{GATEWAY}/anthropic/v1/models", anthropic_models),
    *google(GATEWAY),
]

ROUTES: dict[workspace.Kind, list[Route]] = {
    "workspace": [CONFIG, INTROSPECT, *WORKSPACE_APIS],
    "account": [*ACCOUNT_APIS, Route("/{path:path}", no_such_page, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])],
    "unified": [CONFIG, INTROSPECT, *ACCOUNT_APIS, *map(in_workspace, WORKSPACE_APIS)],
}
"""What each kind of host has beside the sandbox's own pages and its authorization server."""


def application(
    server: AuthorizationServer,
    requests: list[log.Request],
    *,
    kind: workspace.Kind,
    auto_approve: bool,
    served: Mapping[str, workspace.Endpoint],
) -> ASGIApp:
    """The whole sandbox as an ASGI application; `served` are the workspace's endpoints by name."""
    routes = [*SANDBOX, *oidc(workspace.OIDC[kind]), *ROUTES[kind]]
    app = Starlette(routes=routes, exception_handlers={HTTPException: http_error})
    app.state.oauth = server
    app.state.requests = requests
    app.state.kind = kind
    app.state.endpoints = served
    app.state.auto_approve = auto_approve
    return Guard(app, requests)
