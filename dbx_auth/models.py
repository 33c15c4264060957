"""What a workspace serves: its endpoints, and what is known about the model behind each.

Two lists are read. `serving-endpoints` is documented and holds what this identity may see; it decides what is listed.
`serving-endpoints:foundation-models` is documented nowhere and may not answer; it adds which API each model speaks.
Every field of both may be missing, so whatever cannot be read counts as not said.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from . import catalogue
from .catalogue import Cost
from .errors import AuthError, LoginRequired, Refused, Temporary
from .world import MEBIBYTE, Response, World, is_busy, one_line

KEPT = 300.0
"""Seconds a list is used again before the workspace is asked anew."""

BUDGET = 10.0
"""Seconds for each of the two lists."""

LARGEST = 12 * MEBIBYTE
"""Bytes of a list: some 5,000 endpoints with all that is said of each."""

API_TYPES = {
    "mlflow/v1/chat/completions": "chat",
    "openai/v1/responses": "responses",
    "anthropic/v1/messages": "messages",
    "gemini/v1/generateContent": "generateContent",
    "mlflow/v1/embeddings": "embeddings",
}

_TASKS = {"chat": "chat", "responses": "responses", "embeddings": "embeddings"}
"""The last word of a task (`llm/v1/chat`) and the API it stands for, for models nobody knows more about."""

_NUMBER = r"(\d{1,3}(?:,\d{3}){1,3}|\d{1,9}(?:\.\d{1,3})?)[\s-]{0,2}(k|m|thousand|million)?\b"
_CONTEXT = (
    re.compile(rf"\bcontext (?:window |length )?of (?:up to )?{_NUMBER}", re.IGNORECASE | re.ASCII),
    re.compile(rf"\b{_NUMBER}[\s-]?(?:total )?(?:tokens?[\s-])?context\b", re.IGNORECASE | re.ASCII),
)
_TIMES = {"k": 1_000, "thousand": 1_000, "m": 1_000_000, "million": 1_000_000}

_UPPER = re.compile(r"gpt|oss|glm|gte|bge|a?\d+b")
"""Words of an id that people write in capitals; the last is a size, such as 120b."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model that can be called, under the id to call it by.

    None, and an empty `task`, `apis` or `input`, mean that nobody has said. `facts_from` names the best source of
    the facts: `workspace`, `catalogue` or `family default`. `default` is False for a model that is not offered
    unless someone asks for it.
    """

    id: str
    name: str
    family: str
    task: str
    ready: bool
    apis: tuple[str, ...]
    tools: bool | None
    reasoning: bool | None
    input: tuple[str, ...]
    context: int | None
    output: int | None
    cost: Cost | None
    facts_from: str
    quirks: tuple[str, ...]
    default: bool = True

    def as_json(self) -> dict[str, Any]:
        """What `models -o json` says about it."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "default"}
        for name in ("apis", "input", "quirks"):
            said[name] = list(said[name])
        said["cost"] = self.cost._asdict() if self.cost else None
        return said


class Listing(NamedTuple):
    """The models of one host. `fetched_at` is in epoch seconds, None for the catalogue, which nobody fetched."""

    host: str
    source: str
    fetched_at: float | None
    models: tuple[Model, ...]


def listing(host: str, identity: str, headers: Mapping[str, str], world: World, *, refresh: bool = False) -> Listing:
    """What the workspace serves, asked at most once in five minutes for each host and identity.

    `identity` is any text that tells one login from another: two people may see different endpoints. With `refresh`
    the workspace is asked whatever is cached.
    """
    digest = hashlib.sha256(f"{host}\0{identity}".encode(errors="backslashreplace")).hexdigest()
    path = os.path.join(world.cache_dir, "models", f"{digest}.json")
    if not refresh and (cached := _recall(path, host, world.now())):
        return cached
    rows = _fetch(host, headers, world)
    now = world.now()
    _remember(path, host, now, rows, world)
    return Listing(host, "workspace", now, tuple(map(_model, rows)))


def offline(host: str) -> Listing:
    """What the catalogue knows, without asking the workspace: it may serve fewer of these, and others."""
    rows = [
        _Row(id, "llm/v1/embeddings" if "embeddings" in known.apis else "llm/v1/chat")
        for id, known in catalogue.everything().items()
    ]
    return Listing(host, "catalogue", None, tuple(map(_model, rows)))


def parse(endpoints: object, foundation: object) -> list[Model]:
    """The models in the two documents a workspace answers with; either may be None or anything else."""
    return [_model(row) for row in _rows(endpoints, foundation)]


def select(
    models: Iterable[Model], *, everything: bool = False, task: str | None = None, family: str | None = None
) -> list[Model]:
    """Those to show: what a program can rely on, or what was asked for.

    Unasked, these are chat models that call tools and are ready. A task is given whole, or by its last word.
    """
    if not (everything or task or family):
        return [model for model in models if model.default and model.tools and model.ready and _chats(model)]
    return [
        model
        for model in models
        if (not task or task in (model.task, _last_word(model.task))) and (not family or family == model.family)
    ]


def _chats(model: Model) -> bool:
    if model.task:
        return _last_word(model.task) in ("chat", "responses")
    return any(api != "embeddings" for api in model.apis)


def _last_word(task: str) -> str:
    return task.rpartition("/")[2]


# ---- the wire ------------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """What a workspace says about one endpoint; empty where it says nothing.

    The cache keeps these: they hold no secret, and the facts of a newer catalogue apply to them at once.
    """

    id: str
    task: str = ""
    ready: bool = True
    name: str = ""
    serves: str = ""
    context: int = 0
    apis: tuple[str, ...] = ()


def _fetch(host: str, headers: Mapping[str, str], world: World) -> list[_Row]:
    url = f"{host}/api/2.0/serving-endpoints"
    answer = _ask(url, headers, world)
    if not answer.ok:
        raise _refusal(host, answer.status)
    endpoints = answer.object()
    foundation = None
    try:
        answer = _ask(f"{url}:foundation-models", headers, world)
        if answer.ok:
            foundation = answer.object()
        else:
            world.note(f"{answer.url} answered {answer.status}; the catalogue says which APIs the models speak")
    except AuthError as error:
        world.note(f"{error}; the catalogue says which APIs the models speak")
    return _rows(endpoints, foundation)


def _ask(url: str, headers: Mapping[str, str], world: World) -> Response:
    with world.waiting(f"asking {url}", BUDGET):
        return world.http("GET", url, headers=headers, budget=BUDGET, limit=LARGEST)


def _refusal(host: str, status: int) -> AuthError:
    text = f"{host} did not list its models: {status}"
    if status == 401:
        return LoginRequired(text, hint=f"dbx-auth login {host}")
    if is_busy(status):
        return Temporary(text, hint="try again in a while")
    if status == 403:
        return Refused(text, hint=f"see who you are there, and ask an admin to let you in: dbx-auth status {host}")
    return Refused(text, hint=f"check that the host is a Databricks workspace: dbx-auth status {host}")


def _rows(endpoints: object, foundation: object) -> list[_Row]:
    """One row for each endpoint of the first document, with what the second says about it added.

    Endpoints that only the second has are left out, unless there is no first: this identity may not call them.
    """
    rows, added = _by_id(endpoints), _by_id(foundation)
    if not isinstance(endpoints, Mapping | list):
        return list(added.values())
    return [_joined(row, added[row.id]) if row.id in added else row for row in rows.values()]


def _by_id(document: object) -> dict[str, _Row]:
    """The endpoints of a document, the first of each name; the Databricks CLI prints them as a bare list."""
    rows: dict[str, _Row] = {}
    for endpoint in _list(document) or _list(_object(document).get("endpoints")):
        if row := _row(endpoint):
            rows.setdefault(row.id, row)
    return rows


def _row(endpoint: object) -> _Row | None:
    """What one endpoint says; None for one that has no name to call it by."""
    said = _object(endpoint)
    id = one_line(said.get("name"), 256)  # four times what Databricks lets a name have
    if not id or id != said["name"] or " " in id:
        return None
    entities = [_object(entity) for entity in _list(_object(said.get("config")).get("served_entities"))]
    foundations = [_object(entity.get("foundation_model")) for entity in entities]
    externals = [_object(entity.get("external_model")) for entity in entities]
    types = [kind for model in foundations for kind in _list(model.get("api_types")) if isinstance(kind, str)]
    return _Row(
        id,
        task=one_line(said.get("task")),
        ready=_object(said.get("state")).get("ready") != "NOT_READY",
        name=_first(model.get("display_name") for model in foundations),
        serves=_first(model.get("name") for model in (*externals, *foundations))
        or _first(entity.get("entity_name") for entity in entities),
        context=next(filter(None, (_context(each.get("description")) for each in (said, *foundations))), 0),
        apis=tuple(dict.fromkeys(API_TYPES[kind] for kind in types if kind in API_TYPES)),
    )


def _joined(row: _Row, more: _Row) -> _Row:
    """`row` with its gaps filled from `more`; whether it is ready, only the first list says."""
    return row._replace(
        task=row.task or more.task,
        name=row.name or more.name,
        serves=row.serves or more.serves,
        context=row.context or more.context,
        apis=row.apis or more.apis,
    )


def _model(row: _Row) -> Model:
    known = catalogue.facts(row.id, row.serves)
    facts_from = known.facts_from
    if row.apis:
        known = catalogue.speaking(known, row.apis)
        facts_from = "workspace"
    elif not known.apis and (api := _TASKS.get(_last_word(row.task))):
        known = catalogue.speaking(known, [api])
    return Model(
        id=row.id,
        name=row.name or _spelled(row.id),
        family=known.family,
        task=row.task,
        ready=row.ready,
        apis=known.apis,
        tools=known.tools,
        reasoning=known.reasoning,
        input=known.input,
        context=known.context or row.context or None,
        output=known.output,
        cost=known.cost,
        facts_from=facts_from,
        quirks=known.quirks,
        default=known.default,
    )


def _spelled(id: str) -> str:
    """The name people would write: GPT-5.1 Codex Max for `databricks-gpt-5-1-codex-max`; their own ids stay as is."""
    if not catalogue.ours(id):
        return id
    dotted = re.sub(r"(?<=\d)-(?=\d{1,2}(?:-|$))", ".", catalogue.bare(id))
    words = [word.upper() if _UPPER.fullmatch(word) else word.capitalize() for word in dotted.split("-")]
    return re.sub(r"\b(GPT|GLM) (?=\d)", r"\1-", " ".join(words)) or id


def _context(description: object) -> int:
    """The context size that a description mentions (`context window of 200K tokens`), 0 when it mentions none."""
    text = one_line(description, 2_000)
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


# ---- the cache -----------------------------------------------------------------------------------------------------


def _recall(path: str, host: str, now: float) -> Listing | None:
    """The list kept at `path`, while it is fresh; whatever else is there, or nothing, is a miss."""
    try:
        with open(path, "rb") as file:
            kept = json.loads(file.read())
        fetched_at = float(kept["fetched_at"])
        rows = [_restored(row) for row in kept["rows"]]
        if kept["host"] == host and 0 <= now - fetched_at < KEPT:
            return Listing(host, "cache", fetched_at, tuple(map(_model, rows)))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        pass
    return None


def _restored(kept: Mapping[str, Any]) -> _Row:
    """A row from the cache; raises ValueError or TypeError for what `_remember` does not write."""
    row = _Row(**{**kept, "apis": tuple(kept["apis"])})
    if list(map(type, row)) != list(map(type, _Row(""))) or not set(row.apis) <= set(catalogue.APIS):
        raise ValueError("this is not a row of ours")
    return row


def _remember(path: str, host: str, now: float, rows: list[_Row], world: World) -> None:
    """Keep a list for the next process; where that cannot be done, the next one asks again."""
    from .files import write_private

    document = {"host": host, "fetched_at": now, "rows": [row._asdict() for row in rows]}
    try:
        write_private(path, json.dumps(document).encode())
    except (OSError, AuthError) as error:
        world.note(f"the list of models is not cached: {error}")
