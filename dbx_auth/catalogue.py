"""What is known about the models Databricks serves, whoever asks and wherever: the facts of `catalogue.toml`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import re

PREFIX = "databricks-"
"""How Databricks' own endpoints begin; in Unity Catalog the same models begin with `system.ai.`."""

APIS = ("chat", "responses", "messages", "generateContent", "embeddings")

INPUTS = ("text", "image", "audio", "video")

_FACTS = {"apis", "tools", "reasoning", "input", "context", "output", "cost", "quirks", "default"}

_ONLY = {("responses",): "responses-only", ("messages",): "messages-only"}


class Cost(NamedTuple):
    """What a million tokens cost, in US dollars; None where that is not known."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None


class Facts(NamedTuple):
    """What a model can do. None, and an empty tuple of `apis` or `input`, mean that nobody has said.

    `default` is False for a model that is not offered unless someone asks for it. `facts_from` is `catalogue` when
    this very model is in the catalogue, else `family default`; `own` names the facts that its own row states, and all
    others are its family's.
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
    own: tuple[str, ...] = ()

    def origin(self, fact: str) -> str:
        """Where this fact comes from: `catalogue` or `family default`."""
        return "catalogue" if fact in self.own else "family default"


def bare(id: str) -> str:
    """The id as the catalogue spells it: `system.ai.claude-opus-5` and `databricks-claude-opus-5` are one model."""
    return id.lower().removeprefix("system.ai.").removeprefix(PREFIX)


def same(id: str) -> str:
    """What every spelling of an id has in common: equal for two ids that are one model."""
    return bare(id) if ours(id) else id


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


def defaults() -> list[Facts]:
    """What is taken for a model of each family that the catalogue does not name, in the order they are tried."""
    return [found for _, found in _catalogue().families]


def families() -> list[str]:
    """The names of all families."""
    return [found.family for found in defaults()]


def of_family(name: str) -> Facts | None:
    """What a model of this family can do; None where there is no such family."""
    return next((facts for _, facts in _catalogue().families if facts.family == name), None)


def quirks() -> dict[str, str]:
    """Every quirk that a row may name, and what it means."""
    return {**_catalogue().quirks, **{name: f"{apis[0]} is the only API it speaks" for apis, name in _ONLY.items()}}


def stamp() -> str:
    """Tells one edition of the catalogue from another, without reading it."""
    try:
        found = os.stat(os.path.join(os.path.dirname(__file__), "catalogue.toml"))
    except OSError:  # it is in a zip
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def speaking(known: Facts, apis: Iterable[str]) -> Facts:
    """`known`, for a model that speaks just these APIs; the quirks that follow from them are put right."""
    spoken = tuple(sorted(set(apis), key=APIS.index))
    quirks = [quirk for quirk in known.quirks if quirk not in _ONLY.values()]
    if spoken in _ONLY:
        quirks.append(_ONLY[spoken])
    return known._replace(apis=spoken, quirks=tuple(quirks))


class _Catalogue(NamedTuple):
    families: list[tuple[re.Pattern[str], Facts]]
    models: dict[str, Facts]
    quirks: dict[str, str]

    def family(self, name: str) -> Facts:
        return next(found for pattern, found in self.families if pattern.search(name))


@cache
def _catalogue() -> _Catalogue:
    import re
    import tomllib
    from importlib.resources import files

    document = tomllib.loads(files("dbx_auth").joinpath("catalogue.toml").read_text("utf-8"))
    known = _Catalogue([], {}, document["quirks"])
    for row in document["family"]:
        known.families.append((re.compile(rf"(?:^|[./:])(?:{row['match']})"), _merged(Facts(row["name"]), row)))
    for row in document["model"]:
        family = known.family(row["id"])
        known.models[row["id"]] = _merged(
            family._replace(facts_from="catalogue", own=("family", *_FACTS & row.keys())), row
        )
    return known


def _merged(base: Facts, row: Mapping[str, Any]) -> Facts:
    """`base` with what `row` says instead, its quirks added."""
    said = {name: row[name] for name in ("tools", "reasoning", "context", "output", "default") if name in row}
    if "input" in row:
        said["input"] = tuple(row["input"])
    if "cost" in row:
        said["cost"] = Cost(**row["cost"])
    quirks = (*base.quirks, *row.get("quirks", ()))
    return speaking(base._replace(**said, quirks=quirks), row.get("apis", base.apis))
