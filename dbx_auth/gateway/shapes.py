"""Errors and lists of models, in the shape of the API that was called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dbx_auth import sse
from dbx_auth.catalogue import APIS
from dbx_auth.fixes.walk import objects
from dbx_auth.models import Model

CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS = APIS

Body = dict[str, Any]

_OPENAI = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC = {
    **_OPENAI,
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error(api: str, status: int, message: str) -> Body:
    """What a client of this API expects to read when something is wrong.

    https://platform.openai.com/docs/guides/error-codes · https://docs.anthropic.com/en/api/errors ·
    https://cloud.google.com/apis/design/errors
    """
    if api == MESSAGES:
        return {"type": "error", "error": {"type": _kind(_ANTHROPIC, status), "message": message}}
    if api == GENERATE:
        kind = _GOOGLE.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
        return {"error": {"code": status, "message": message, "status": kind}}
    return {"error": {"message": message, "type": _kind(_OPENAI, status), "param": None, "code": None}}


def _kind(names: dict[int, str], status: int) -> str:
    return names.get(status, "api_error" if status >= 500 else "invalid_request_error")


def error_event(api: str, status: int, message: str) -> bytes:
    """The same in the middle of a stream, whose status has long been sent."""
    body = error(api, status, message)
    if api == RESPONSES:
        kind = body["error"]["type"]
        body = {"type": "error", "code": kind, "message": message, "param": None, "sequence_number": 0}
    return event(api, body)


def event(api: str, body: Body) -> bytes:
    """An event of a stream; those of Responses and Messages have a name."""
    name = f"event: {body.get('type')}\n".encode() if api in (RESPONSES, MESSAGES) else b""
    return sse.with_data(name, body)


_LAST = {
    RESPONSES: ("response.completed", "response.incomplete", "response.failed", "error"),
    MESSAGES: ("message_stop", "error"),
}


def is_last(api: str, body: Body) -> bool:
    """Whether a stream may end after this event; one that ends without such an event was cut off."""
    if api in _LAST:
        return body.get("type") in _LAST[api]
    listed, name = ("candidates", "finishReason") if api == GENERATE else ("choices", "finish_reason")
    return "error" in body or any(each.get(name) for each in objects(body.get(listed)))


def said(body: object) -> str:
    """What an error says, in whichever shape it came; empty where it says nothing."""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    for value in (inner.get("message") if isinstance(inner, dict) else inner, body.get("message")):
        if isinstance(value, str) and value:
            return value
    return ""


def is_error_of(api: str, body: object) -> bool:
    """Whether clients of this API would understand an error as it is."""
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        return False
    return api != MESSAGES or body.get("type") == "error"


# ---- models --------------------------------------------------------------------------------------------------------


def openai_list(models: Sequence[Model]) -> Body:
    """https://platform.openai.com/docs/api-reference/models/list"""
    return {"object": "list", "data": list(map(openai_model, models))}


def openai_model(model: Model) -> Body:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": "databricks"}


def anthropic_list(models: Sequence[Model]) -> Body:
    """https://docs.anthropic.com/en/api/models-list"""
    data = list(map(anthropic_model, models))
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def anthropic_model(model: Model) -> Body:
    return {"type": "model", "id": model.id, "display_name": model.name, "created_at": "1970-01-01T00:00:00Z"}


def google_list(models: Sequence[Model]) -> Body:
    """https://ai.google.dev/api/models"""
    return {"models": [google_model(model) for model in models if GENERATE in model.apis]}


def google_model(model: Model) -> Body:
    limits = {"inputTokenLimit": model.context, "outputTokenLimit": model.output}
    return {
        "name": f"models/{model.id}",
        "displayName": model.name,
        **{name: limit for name, limit in limits.items() if limit},
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }


LISTS: dict[str, tuple[Callable[[Sequence[Model]], Body], Callable[[Model], Body]]] = {
    CHAT: (openai_list, openai_model),
    MESSAGES: (anthropic_list, anthropic_model),
    GENERATE: (google_list, google_model),
}
