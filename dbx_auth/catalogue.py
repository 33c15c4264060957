"""What is known about the models Databricks serves, whoever asks and wherever: the facts of `catalogue.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

PREFIX = "databricks-"
"""How Databricks' own endpoints begin; in Unity Catalog the same models begin with `system.ai.`."""

APIS = ("chat", "responses", "messages", "generateContent", "embeddings")

_ONLY = {("responses",): "responses-only", ("messages",): "messages-only"}


class Cost(NamedTuple):
    """What a million tokens cost, in US dollars; None where that is not known."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model can do. None, and an empty tuple of `apis` or `input`, mean that nobody has said.

    `default` is False for a model that is not offered unless someone asks for it. `facts_from` is `catalogue` when
    this very model is in the catalogue, else `family default`.
    """

    family: str
    apis: tuple[str, ...] = ()
    tools: bool | None = None
    reasoning: bool | None = None
    input: tuple[str, ...] = ()
    context: int | None = None
    output: int | None = None
    cost: Cost | None = None
    default: bool = True
    quirks: tuple[str, ...] = ()
    facts_from: str = "family default"


def bare(id: str) -> str:
    """The id as the catalogue spells it: `system.ai.claude-opus-5` and `databricks-claude-opus-5` are one model."""
    return id.lower().removeprefix("system.ai.").removeprefix(PREFIX)


def ours(id: str) -> bool:
    """Whether Databricks chose this id; people call their endpoints what they like."""
    return bare(id) != id.lower()


def facts(id: str, hint: str | None = None) -> Facts:
    """What is known about the model `id`.

    `hint` is what the endpoint is said to serve: an external model's name, or one in Unity Catalog. For an id that
    people chose it says more than the id does.
    """
    names = [bare(id)]
    if hint:
        names.insert(1 if ours(id) else 0, bare(hint))
    known = _catalogue()
    for name in names:
        if found := known.models.get(name):
            return found
    guesses = [known.family(name) for name in names]
    return next((guess for guess in guesses if guess.family != "other"), guesses[0])


def everything() -> dict[str, Facts]:
    """Every model the catalogue names, under the id of its endpoint."""
    return {PREFIX + id: found for id, found in _catalogue().models.items()}


def speaking(known: Facts, apis: Iterable[str]) -> Facts:
    """`known`, for a model that speaks just these APIs; the quirks that follow from them are put right."""
    spoken = tuple(sorted(set(apis), key=APIS.index))
    quirks = [quirk for quirk in known.quirks if quirk not in _ONLY.values()]
    if spoken in _ONLY:
        quirks.append(_ONLY[spoken])
    return replace(known, apis=spoken, quirks=tuple(quirks))


class _Catalogue(NamedTuple):
    families: list[tuple[re.Pattern[str], Facts]]
    models: dict[str, Facts]

    def family(self, name: str) -> Facts:
        return next(found for pattern, found in self.families if pattern.search(name))


@cache
def _catalogue() -> _Catalogue:
    import tomllib
    from importlib.resources import files

    document = tomllib.loads(files("dbx_auth").joinpath("catalogue.toml").read_text("utf-8"))
    known = _Catalogue([], {})
    for row in document["family"]:
        known.families.append((re.compile(rf"(?:^|[./:])(?:{row['match']})"), _merged(Facts(row["name"]), row)))
    for row in document["model"]:
        family = known.family(row["id"])
        known.models[row["id"]] = _merged(replace(family, facts_from="catalogue"), row)
    return known


def _merged(base: Facts, row: Mapping[str, Any]) -> Facts:
    """`base` with what `row` says instead, its quirks added."""
    said = {name: row[name] for name in ("tools", "reasoning", "context", "output", "default") if name in row}
    if "input" in row:
        said["input"] = tuple(row["input"])
    if "cost" in row:
        said["cost"] = Cost(**row["cost"])
    quirks = (*base.quirks, *row.get("quirks", ()))
    return speaking(replace(base, **said, quirks=quirks), row.get("apis", base.apis))
