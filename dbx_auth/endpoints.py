"""What a workspace says it serves: four lists, asked at the same time, and what they say together.

`serving-endpoints` is documented and holds what this identity may see; it decides what is listed, and its failure is
the only one that counts. `serving-endpoints:foundation-models` adds which API each model speaks. The AI Gateway and
Unity Catalog have lists of their own: what these add about an endpoint is used, and what only they have can be called
through the gateway. Every field may be missing, so whatever cannot be read counts as not said.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from . import catalogue
from .errors import AuthError, LoginRequired, Refused, Temporary
from .world import MEBIBYTE, Response, World, is_busy, one_line

BUDGET = 5.0
"""Seconds for all of the lists together."""

LARGEST = 12 * MEBIBYTE
"""Bytes of a list, or of a page of it: some 5,000 endpoints with all that is said of each."""

PAGES = 100
"""Pages of a list that is told in pages, 100 entries each."""

SERVING, FOUNDATION, GATEWAY, UNITY = "serving-endpoints", "foundation-models", "ai-gateway", "unity-catalog"

API_TYPES = {
    "mlflow/v1/chat/completions": "chat",
    "openai/v1/chat/completions": "chat",
    "openai/v1/responses": "responses",
    "anthropic/v1/messages": "messages",
    "gemini/v1/generateContent": "generateContent",
    "mlflow/v1/embeddings": "embeddings",
    "openai/v1/embeddings": "embeddings",
}

_NUMBER = r"(\d{1,3}(?:,\d{3}){1,3}|\d{1,9}(?:\.\d{1,3})?)[\s-]{0,2}(k|m|thousand|million)?\b"
_CONTEXT = (
    re.compile(rf"\bcontext (?:window |length )?of (?:up to )?{_NUMBER}", re.IGNORECASE | re.ASCII),
    re.compile(rf"\b{_NUMBER}[\s-]?(?:total )?(?:tokens?[\s-])?context\b", re.IGNORECASE | re.ASCII),
)
_TIMES = {"k": 1_000, "thousand": 1_000, "m": 1_000_000, "million": 1_000_000}


class Row(NamedTuple):
    """What is said about one endpoint; empty where nothing is. `origins` names the list that each field is from."""

    id: str
    task: str = ""
    ready: bool = True
    name: str = ""
    serves: str = ""
    context: int = 0
    apis: tuple[str, ...] = ()
    origins: Mapping[str, str] = {}


# ---- asking --------------------------------------------------------------------------------------------------------


class _List(NamedTuple):
    """Where a list is, what its entries are under, and whether it comes in pages."""

    path: str
    entries: str = "endpoints"
    pages: bool = False


LISTS = {
    SERVING: _List("/api/2.0/serving-endpoints"),
    FOUNDATION: _List("/api/2.0/serving-endpoints:foundation-models"),
    GATEWAY: _List("/api/ai-gateway/v2/endpoints?page_size=100", pages=True),
    UNITY: _List(
        "/api/2.1/unity-catalog/model-services?parent=schemas/system.ai&page_size=100", "model_services", pages=True
    ),
}


def fetch(host: str, headers: Mapping[str, str], world: World) -> list[Row]:
    """What the workspace serves, asked now: one row for each endpoint.

    The lists have five seconds together. One that is refused, late or nonsense is noted and done without. Only where
    `serving-endpoints` itself fails is that told: it is raised when a login or another try may help; when it is refused
    for good, what the others list can be called all the same, so it is a warning if they list anything.
    """
    said: dict[str, dict[str, Any]] = {}
    failed: dict[str, BaseException] = {}
    end = world.monotonic() + BUDGET

    def ask(name: str) -> None:
        try:
            _ask(host, LISTS[name], headers, world, end, said.setdefault(name, {}))
        except BaseException as error:  # the thread that waits tells it
            failed[name] = error

    threads = [threading.Thread(target=ask, args=[name], name=name, daemon=True) for name in LISTS]
    with world.waiting(f"asking {host} for its models", BUDGET):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end - world.monotonic()) + 0.5)  # each has a deadline of its own, just before this one
    for name in LISTS:
        if isinstance(error := failed.get(name), Exception) and not isinstance(error, AuthError):
            raise error
        if error and name != SERVING:
            world.note(f"{name}: {error}")
    first = failed.get(SERVING)
    if first or not said.get(SERVING):
        first = first or Temporary(f"{host} did not list its models in time", hint="try again in a while")
        rows = merged(**{**_documents(said), "serving": None})
        if not isinstance(first, Refused) or not rows:
            raise first
        world.warn(f"{first}; these are what its other lists have")
        return rows
    return merged(**_documents(said))


def _documents(said: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What came, as `merged` takes it; a copy, because a list that is late may still be adding to its own."""
    names = {SERVING: "serving", FOUNDATION: "foundation", GATEWAY: "gateway", UNITY: "unity"}
    return {names[name]: {key: list(value) for key, value in found.items()} for name, found in said.items() if found}


def _ask(host: str, wanted: _List, headers: Mapping[str, str], world: World, end: float, said: dict[str, Any]) -> None:
    """Put a list into `said`, page by page, so that what came before a failure is there."""
    entries: list[object] = []
    seen = [""]
    while len(seen) <= PAGES:
        url = f"{host}{wanted.path}" + (f"&page_token={quote(seen[-1], safe='')}" if seen[-1] else "")
        left = end - world.monotonic()
        if left <= 0:
            raise Temporary(f"no time was left for {url}", hint="try again in a while")
        answer = world.http("GET", url, headers=headers, budget=left, limit=LARGEST)
        if not answer.ok:
            raise _refusal(host, answer)
        page = answer.object()
        entries += _list(page.get(wanted.entries))
        said[wanted.entries] = entries
        token = page.get("next_page_token")
        if not wanted.pages or not isinstance(token, str) or token in seen:
            return
        seen.append(token)


def _refusal(host: str, answer: Response) -> AuthError:
    text = f"{host} did not list its models: {answer.status}"
    if answer.status == 401:
        return LoginRequired(text, hint=f"dbx-auth login {host}")
    if is_busy(answer.status):
        return Temporary(text, hint="try again in a while")
    if answer.status == 403:
        return Refused(text, hint=f"see who you are there, and ask an admin to let you in: dbx-auth status {host}")
    return Refused(text, hint=f"check that the host is a Databricks workspace: dbx-auth status {host}")


# ---- reading -------------------------------------------------------------------------------------------------------


def merged(
    serving: object = None, foundation: object = None, gateway: object = None, unity: object = None
) -> list[Row]:
    """One row for each model in what the four lists said; any of them may be None or anything else.

    What stands first keeps its place and its id: `databricks-x` and `system.ai.x` are one model. Endpoints that only
    `foundation` has are left out, unless there is no `serving`: this identity may not call them.
    """
    is_told = isinstance(serving, Mapping | list)
    found: dict[str, Row] = {}
    for origin, document, can_add in (
        (SERVING, serving, True),
        (FOUNDATION, foundation, not is_told),
        (GATEWAY, gateway, True),
        (UNITY, unity, True),
    ):
        for entry in _list(document) or _list(_object(document).get(LISTS[origin].entries)):
            if (row := _row(entry, origin)) is None:
                continue
            key = catalogue.same(row.id)
            if key in found:
                found[key] = _joined(found[key], row)
            elif can_add:
                found[key] = row
    return list(found.values())


def _row(entry: object, origin: str) -> Row | None:
    """What one entry says; None for one that has no name to call it by."""
    said = _object(entry)
    id = one_line(said.get("name"), 300)  # four times what Databricks lets a name have
    if not id or id != said["name"] or " " in id:
        return None
    id = id.removeprefix("model-services/")
    if not id or len(id) > 256:
        return None
    config = _object(said.get("config"))
    entities = [_object(entity) for entity in _list(config.get("served_entities"))]
    foundations = [_object(entity.get("foundation_model")) for entity in entities]
    externals = [_object(entity.get("external_model")) for entity in entities]
    routes = [*_list(config.get("destinations")), *_list(_object(config.get("routing")).get("destinations"))]
    types = [kind for model in (said, *foundations) for kind in _types(model)]
    row = Row(
        id,
        task=one_line(said.get("task")),
        ready=_object(said.get("state")).get("ready") != "NOT_READY",
        name=_first(model.get("display_name") for model in (*foundations, said)),
        serves=_first(model.get("name") for model in (*externals, *foundations))
        or _first(entity.get("entity_name") for entity in entities)
        or _first(_destination(route) for route in routes),
        context=next(filter(None, (_context(each.get("description")) for each in (said, *foundations))), 0),
        apis=tuple(dict.fromkeys(API_TYPES[kind] for kind in types if kind in API_TYPES)),
    )
    origins = {name: origin for name in ("id", "task", "name", "apis") if getattr(row, name)}
    if row.context:
        origins["context"] = "description"
    if isinstance(_object(said.get("state")).get("ready"), str):
        origins["ready"] = origin
    return row._replace(origins=origins)


def _types(said: Mapping[str, Any]) -> list[str]:
    kinds = [*_list(said.get("api_types")), *_list(said.get("supported_api_types"))]
    return [kind for kind in kinds if isinstance(kind, str)]


def _destination(route: object) -> object:
    """The model that the gateway sends calls to, as either of its lists spells it."""
    said = _object(route)
    return _object(said.get("pay_per_token_config")).get("model") or said.get("name")


def _joined(row: Row, more: Row) -> Row:
    """`row` with its gaps filled from `more`; whether it is ready, only the list that it stands in says."""
    gaps = [name for name in ("task", "name", "serves", "context", "apis") if not getattr(row, name)]
    filled = {name: getattr(more, name) for name in gaps if getattr(more, name)}
    if not filled:
        return row
    origins = {**row.origins, **{name: more.origins[name] for name in filled if name in more.origins}}
    return row._replace(**filled, origins=origins)


def _context(description: object) -> int:
    """The context size that a description mentions (`context window of 200K tokens`), 0 when it mentions none."""
    text = one_line(description, 2_000)
    if "context" not in text.lower():
        return 0
    for pattern in _CONTEXT:
        if found := pattern.search(text):
            size = float(found[1].replace(",", "")) * _TIMES.get((found[2] or "").lower(), 1)
            return int(size) if 1_000 <= size <= 100_000_000 else 0
    return 0


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _first(values: Iterable[object]) -> str:
    return next(filter(None, map(one_line, values)), "")
