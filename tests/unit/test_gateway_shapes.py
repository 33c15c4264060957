"""Errors and lists of models in the shape of each API, as its own clients read them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from dbx_auth import sse
from dbx_auth.endpoints import Row
from dbx_auth.gateway import shapes
from dbx_auth.models import Model, described

CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS = (
    shapes.CHAT,
    shapes.RESPONSES,
    shapes.MESSAGES,
    shapes.GENERATE,
    "embeddings",
)
APIS = (CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS)
STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 418, 421, 429, 431, 500, 502, 503, 504, 599)

every_api = pytest.mark.parametrize("api", APIS)
every_status = pytest.mark.parametrize("status", STATUSES)


# ---- errors ----------------------------------------------------------------------------------------------------------


@every_api
@every_status
def test_an_error_says_what_it_says_in_any_shape(api: str, status: int) -> None:
    body = shapes.error(api, status, "this is wrong")
    assert shapes.said(body) == "this is wrong" and shapes.is_error_of(api, body)
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
    ],
)
@pytest.mark.parametrize("api", [CHAT, RESPONSES, EMBEDDINGS])
def test_errors_of_openai(api: str, status: int, kind: str) -> None:
    assert shapes.error(api, status, "no") == {"error": {"message": "no", "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_of_anthropic(status: int, kind: str) -> None:
    assert shapes.error(MESSAGES, status, "no") == {"type": "error", "error": {"type": kind, "message": "no"}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "FAILED_PRECONDITION"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_of_google(status: int, kind: str) -> None:
    assert shapes.error(GENERATE, status, "no") == {"error": {"code": status, "message": "no", "status": kind}}


def answering(status: int, content: bytes, kind: str = "application/json") -> httpx2.Client:
    """A client whose server answers with this."""
    return httpx2.Client(
        transport=httpx2.MockTransport(
            lambda request: httpx2.Response(status, content=content, headers={"content-type": kind})
        )
    )


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (429, "RateLimitError"),
        (502, "InternalServerError"),
    ],
)
def test_the_clients_themselves_understand_them(status: int, name: str) -> None:
    hello: Any = [{"role": "user", "content": "hi"}]
    with answering(status, sse.dumped(shapes.error(CHAT, status, "this is wrong"))) as http_client:
        client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http_client, max_retries=0)
        with pytest.raises(getattr(openai, name), match="this is wrong") as failed:
            client.chat.completions.create(model="m", messages=hello)
        assert failed.value.body["message"] == "this is wrong" and failed.value.type
    with answering(status, sse.dumped(shapes.error(MESSAGES, status, "this is wrong"))) as http_client:
        other = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http_client, max_retries=0)
        with pytest.raises(getattr(anthropic, name), match="this is wrong"):
            other.messages.create(model="m", max_tokens=9, messages=hello)


# ---- in the middle of a stream ---------------------------------------------------------------------------------------


@every_api
@every_status
def test_an_error_in_a_stream_is_one_event_with_the_same(api: str, status: int) -> None:
    event = shapes.error_event(api, status, "two\nlines")
    assert list(sse.Events().feed(event)) == [event]
    body = json.loads(sse.data_of(event) or b"")
    if api == RESPONSES:
        assert (body["type"], body["message"], body["param"]) == ("error", "two\nlines", None)
        assert body["code"] == shapes.error(api, status, "")["error"]["type"] and body["sequence_number"] == 0
    else:
        assert body == shapes.error(api, status, "two\nlines")


@pytest.mark.parametrize(("api", "name"), [(RESPONSES, b"event: error\n"), (MESSAGES, b"event: error\n"), (CHAT, b"")])
def test_events_of_two_apis_have_a_name(api: str, name: bytes) -> None:
    assert shapes.error_event(api, 500, "no").startswith(name + b"data: {")


def test_the_clients_themselves_see_it_in_a_stream() -> None:
    hello: Any = [{"role": "user", "content": "hi"}]
    for api in (CHAT, RESPONSES):
        with answering(200, shapes.error_event(api, 502, "it broke"), "text/event-stream") as http_client:
            client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http_client, max_retries=0)
            with pytest.raises(openai.APIError, match="it broke"):
                stream: Any = (
                    client.chat.completions.create(model="m", messages=hello, stream=True)
                    if api == CHAT
                    else client.responses.create(model="m", input="hi", stream=True)
                )
                if (last := list(stream)[-1]).type == "error":  # that client hands it on as an event
                    raise openai.APIError(last.message, httpx2.Request("POST", "http://x"), body=None)
    with answering(200, shapes.error_event(MESSAGES, 502, "it broke"), "text/event-stream") as http_client:
        other = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http_client, max_retries=0)
        with pytest.raises(anthropic.APIError, match="it broke"):
            list(other.messages.create(model="m", max_tokens=9, messages=hello, stream=True))


# ---- what others say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error_code": "BAD_REQUEST", "message": "no"}, "no"),
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"error": {"message": ""}, "message": "no"}, "no"),
        ({"error": {"message": 7}, "message": "no"}, "no"),
        ({"error": {"message": "inner"}, "message": "outer"}, "inner"),
        ({"error": []}, ""),
        ({"error": None, "message": None}, ""),
        ({"message": {"text": "no"}}, ""),
        ({}, ""),
        ([], ""),
        ("no", ""),
        (None, ""),
    ],
)
def test_what_an_error_says_is_found_in_whichever_shape_it_came(body: object, text: str) -> None:
    assert shapes.said(body) == text


@pytest.mark.parametrize(
    ("body", "apis"),
    [
        (shapes.error(CHAT, 400, "no"), (CHAT, RESPONSES, GENERATE, EMBEDDINGS)),
        (shapes.error(MESSAGES, 400, "no"), APIS),
        (shapes.error(GENERATE, 400, "no"), (CHAT, RESPONSES, GENERATE, EMBEDDINGS)),
        ({"error": "no"}, ()),
        ({"message": "no"}, ()),
        ({"type": "error"}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_only_an_error_that_clients_understand_is_handed_on_as_it_is(body: object, apis: tuple[str, ...]) -> None:
    assert tuple(api for api in APIS if shapes.is_error_of(api, body)) == apis


# ---- models ----------------------------------------------------------------------------------------------------------

NAMES = ("databricks-claude-sonnet-4-5", "databricks-gemini-3-pro", "databricks-gpt-5-2", "a-model-of-ours")
MODELS: list[Model] = [described(Row(name, "llm/v1/chat")) for name in NAMES]


@pytest.mark.parametrize("models", [MODELS, []], ids=["some", "none"])
def test_the_clients_themselves_read_the_lists(models: list[Model]) -> None:
    ids = [model.id for model in models]
    with answering(200, sse.dumped(shapes.openai_list(models))) as http_client:
        listed = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http_client).models.list()
        assert [(each.id, each.object, each.owned_by) for each in listed] == [(id, "model", "databricks") for id in ids]
    with answering(200, sse.dumped(shapes.anthropic_list(models))) as http_client:
        page = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http_client).models.list()
        assert [(each.id, each.type) for each in page] == [(id, "model") for id in ids] and not page.has_more


def test_google_s_list_has_what_its_api_can_call() -> None:
    [listed] = shapes.google_list(MODELS)["models"]
    assert listed == shapes.google_model(MODELS[1])
    assert listed["name"] == "models/databricks-gemini-3-pro" and listed["inputTokenLimit"] > 0
    assert {"generateContent", "streamGenerateContent"} == set(listed["supportedGenerationMethods"])


def test_a_limit_that_nobody_knows_is_left_out() -> None:
    model = MODELS[1]._replace(context=None, output=None)
    assert {"inputTokenLimit", "outputTokenLimit"}.isdisjoint(shapes.google_model(model))


def test_there_is_a_list_for_each_api_that_has_one() -> None:
    assert set(shapes.LISTS) == {CHAT, MESSAGES, GENERATE}
    for several, one in shapes.LISTS.values():
        assert several(MODELS[1:2]) and "databricks-gemini-3-pro" in json.dumps(one(MODELS[1]))
