"""The lists of what a workspace serves; there are several, and each tells something else about the same models."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from .workspace import MESSAGES, SYSTEM_AI, USER, Endpoint

CREATED = 1_759_000_000

LARGEST_PAGE = 1000
SCHEMA = "schemas/" + SYSTEM_AI.rstrip(".")

Rows = Sequence[dict[str, Any]]


class BadPage(ValueError):
    """A page that was asked for in a way that makes no sense; the message says in which."""


def serving_endpoints(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The list that has everything this identity may see."""
    return {"endpoints": [describe(endpoint) for endpoint in endpoints]}


def foundation_models(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The list that also knows which APIs each model speaks."""
    return {"endpoints": [describe(endpoint, api_types=True) for endpoint in endpoints if endpoint.foundation]}


def describe(endpoint: Endpoint, *, api_types: bool = False) -> dict[str, Any]:
    context = f" with a context window of {endpoint.context} tokens" if endpoint.context else ""
    described: dict[str, Any] = {
        "name": endpoint.name,
        "id": f"{endpoint.name}-id",
        "creator": None if endpoint.foundation else USER.user_name,
        "description": f"{endpoint.display_name}{context}.",
        "creation_timestamp": CREATED * 1000,
        "last_updated_timestamp": CREATED * 1000,
        "state": {
            "ready": "READY" if endpoint.ready else "NOT_READY",
            "config_update": "NOT_UPDATING" if endpoint.ready else "IN_PROGRESS",
        },
        "config": {"served_entities": [_served_entity(endpoint, api_types)]},
        "tags": [],
    }
    return {**described, "task": endpoint.task} if endpoint.task else described  # a classic model's row has no task


def _served_entity(endpoint: Endpoint, api_types: bool) -> dict[str, Any]:
    if endpoint.provider:
        model = {"provider": endpoint.provider, "name": endpoint.display_name, "task": endpoint.task}
        return {"name": endpoint.name, "external_model": model}
    if not endpoint.foundation:
        return {"name": endpoint.name, "entity_name": endpoint.entity, "entity_version": "3"}
    foundation_model: dict[str, Any] = {
        "name": endpoint.entity,
        "display_name": endpoint.display_name,
        "docs": "https://docs.databricks.com/machine-learning/foundation-model-apis/supported-models.html",
    }
    if api_types:
        foundation_model |= {"api_types": list(endpoint.speaks), "ai_gateway_v2_supported": True}
    return {
        "name": endpoint.name,
        "entity_name": endpoint.entity,
        "entity_version": "1",
        "foundation_model": foundation_model,
    }


def gateway_endpoints(endpoints: Iterable[Endpoint], size: str, token: str) -> dict[str, Any]:
    """The AI Gateway's list, a page at a time: names, and where each leads, but neither task nor APIs."""
    rows = [
        {
            "name": endpoint.name,
            "config": {
                "destinations": [
                    {
                        "name": endpoint.entity,
                        "type": "DESTINATION_TYPE_PAY_PER_TOKEN_FOUNDATION_MODEL",
                        "traffic_percentage": 100,
                    }
                ]
            },
        }
        for endpoint in endpoints
        if endpoint.foundation
    ]
    return _page("endpoints", rows, size or "100", token)


def model_services(endpoints: Iterable[Endpoint], size: str, token: str) -> dict[str, Any]:
    """Unity Catalog's list, a page at a time: every name with the kind before it, and no destinations."""
    rows = [
        {
            "name": f"model-services/{endpoint.entity}",
            "securable_type": "MODEL_SERVICE",
            "config": {"usage_tracking": {"enabled": True}, "routing": {}},
            "supported_api_types": list(endpoint.speaks),
        }
        for endpoint in endpoints
        if endpoint.foundation
    ]
    return _page("model_services", rows, size, token)


def anthropic_models(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Anthropic's list of models, as the AI Gateway answers it."""
    rows = [
        {
            "type": "model",
            "id": endpoint.name,
            "display_name": endpoint.display_name,
            "created_at": "2025-09-27T19:06:40Z",
        }
        for endpoint in endpoints
        if endpoint.foundation and MESSAGES in endpoint.speaks
    ]
    return {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}


def _page(key: str, rows: Rows, size: str, token: str) -> dict[str, Any]:
    """One page of `rows`, and the token of the next when there is one; raises BadPage."""
    if not (size.isascii() and size.isdigit() and 1 <= len(size) <= 4 and 1 <= int(size) <= LARGEST_PAGE):
        raise BadPage(f"page_size must be a number from 1 to {LARGEST_PAGE}")
    start = _offset(token) if token else 0
    end = start + int(size)
    more = {"next_page_token": base64.urlsafe_b64encode(f"after {end}".encode()).decode()} if end < len(rows) else {}
    return {key: rows[start:end], **more}


def _offset(token: str) -> int:
    try:
        word, _, number = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        if word == "after" and number.isascii() and number.isdigit():
            return int(number)
    except ValueError:
        pass
    raise BadPage("page_token is not one that was given here")
