"""What a workspace serves: its models, and what is known about each.

What the workspace says (`endpoints`) wins over what the catalogue knows; what a person wrote into config.toml wins over
both. Each fact says where it comes from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from . import catalogue
from .catalogue import Cost, Facts
from .errors import AuthError, LoginRequired, Refused, Temporary
from .tokens import Token
from .world import World

if TYPE_CHECKING:
    from .endpoints import Row

KEPT = 300.0
"""Seconds a list is used again before the workspace is asked anew."""

MOST = 1_000
"""How many models a `Memo` holds at a time: a client may make names up."""

T = TypeVar("T")

SETTINGS = "config.toml"
"""The origin of a fact that a person set."""

_TASKS = {"chat": "chat", "responses": "responses", "embeddings": "embeddings"}
"""The last word of a task (`llm/v1/chat`) and the API it stands for, for models nobody knows more about."""


class Model(NamedTuple):
    """One model that can be called, under the id to call it by.

    None, and an empty `task`, `apis` or `input`, mean that nobody has said. `facts_from` names the best source of
    the facts: `workspace`, `catalogue` or `family default`. `default` is False for a model that is not offered unless
    someone asks for it.

    `origins` says for each fact where it comes from: one of the workspace's lists (`serving-endpoints`,
    `foundation-models`, `ai-gateway`, `unity-catalog`), what one of them says in words (`description`), `catalogue`,
    `family default`, `id` (a name that was made from it) or `config.toml`. That of `id` is the list it stands in.
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
    origins: Mapping[str, str]
    default: bool = True

    @property
    def facts(self) -> Facts:
        """What a request to it has to heed."""
        return Facts(self.family, reasoning=self.reasoning, output=self.output, quirks=self.quirks)

    def as_json(self) -> dict[str, Any]:
        """What `models -o json` says about it."""
        said = self._asdict()
        del said["default"]
        said["cost"] = self.cost._asdict() if self.cost else None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


class Memo(Generic[T]):
    """What is known of models by the names that a client gave, for as long as a list of models is used again."""

    def __init__(self, world: World) -> None:
        self._now = world.now
        self._kept: dict[str, tuple[T, float]] = {}

    def get(self, name: str) -> T | None:
        found, since = self._kept.get(name, (None, 0.0))
        return found if 0 <= self._now() - since < KEPT else None

    def keep(self, name: str, found: T) -> T:
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[name] = found, self._now()
        return found


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
    path = _cache(host, identity, world)
    found = None if refresh else _recall(path, host)
    if found is None or not 0 <= world.now() - (found.fetched_at or 0.0) < KEPT:
        from . import endpoints

        models = tuple(map(described, endpoints.fetch(host, headers, world)))
        found = Listing(host, "workspace", world.now(), models)
        _remember(path, found, world)
    return found._replace(models=_with_settings(found.models, world))


def last_seen(host: str, world: World) -> tuple[Model, ...]:
    """What the workspace served when it was last listed here, for whomever; empty where it never was.

    These are names to choose from, without asking anybody: some may be gone, and some are not for everybody.
    """
    folder = os.path.join(world.cache_dir, "models")
    paths = [os.path.join(folder, name) for name in os.listdir(folder)] if host and os.path.isdir(folder) else []
    found = {model.id: model for path in paths if (kept := _recall(path, host)) for model in kept.models}
    return _with_settings(tuple(found.values()), world, only=True)


def identity(token: Token) -> str:
    """Who asks, as far as it can be told without asking: one person's list must not be shown to another."""
    return f"{token.auth_type} {token.origin} {token.subject}"


def called(name: str, token: Token, world: World) -> Facts:
    """What is known of the model that a call names.

    Of a name that Databricks chose the catalogue knows it; of any other the workspace is asked what is behind it, as
    in `listing`. Where it does not say, the name has to do. Raises ConfigError for a fact in config.toml that cannot
    be.
    """
    from .endpoints import Row

    models: tuple[Model, ...] = ()
    if not catalogue.ours(name):
        try:
            models = listing(token.host, identity(token), token.headers, world).models
        except (Refused, Temporary, LoginRequired) as error:
            world.note(f"{name}: {error}")
    found = next((model for model in models if model.id == name), None)
    (model,) = _with_settings((found or described(Row(name)),), world, only=True)
    return model.facts


def offline(host: str, world: World) -> Listing:
    """What the catalogue knows, without asking the workspace: it may serve fewer of these, and others."""
    from .endpoints import Row

    known = catalogue.everything()
    origins = {"id": "catalogue", "task": "catalogue"}
    rows = [
        Row(id, "llm/v1/embeddings" if "embeddings" in facts.apis else "llm/v1/chat", origins=origins)
        for id, facts in known.items()
    ]
    return Listing(host, "catalogue", None, _with_settings(tuple(map(described, rows)), world))


def select(
    models: Iterable[Model],
    *,
    everything: bool = False,
    task: str | None = None,
    family: str | None = None,
    api: str | None = None,
    tools: bool = False,
    input: str | None = None,
) -> list[Model]:
    """Those to show: what a program can rely on, or what was asked for.

    Unasked, these are chat models that call tools and are ready. A task is given whole, or by its last word.
    """
    if not (everything or task or family or api or tools or input):
        return [model for model in models if model.default and model.tools and model.ready and _chats(model)]
    return [
        model
        for model in models
        if (not task or task in (model.task, _last_word(model.task)))
        and (not family or family == model.family)
        and (not api or api in model.apis)
        and (not tools or model.tools)
        and (not input or input in model.input)
    ]


def find(listing: Listing, name: str) -> Model:
    """The model of that name, in any spelling: `claude-opus-5`, `databricks-claude-opus-5`, `system.ai.claude-opus-5`.

    Raises Refused, which names the nearest, when there is none.
    """
    by_id = {model.id: model for model in reversed(listing.models)}
    if name in by_id:
        return by_id[name]
    by_bare = {catalogue.bare(model.id): model for model in reversed(listing.models) if catalogue.ours(model.id)}
    if catalogue.bare(name) in by_bare:
        return by_bare[catalogue.bare(name)]
    near = nearest(name, by_id)
    what = f"{listing.host or 'the catalogue'} has no model {name}"
    if not near:
        raise Refused(what, hint="dbx-auth models --all")
    raise Refused(f"{what}; the nearest: {', '.join(near)}", hint=f"dbx-auth models show {near[0]}")


def nearest(word: str, words: Iterable[str]) -> list[str]:
    """Up to five of `words` that somebody may have meant: those that are like it, then those that it is a part of."""
    from difflib import get_close_matches

    by_bare = {catalogue.bare(each): each for each in words}
    wanted = catalogue.bare(word)
    like = get_close_matches(wanted, by_bare, 5, 0.7)
    parts = [bare for bare in by_bare if len(wanted) > 2 and wanted in bare]
    return [by_bare[bare] for bare in dict.fromkeys([*like, *parts])][:5]


def _chats(model: Model) -> bool:
    if model.task:
        return _last_word(model.task) in ("chat", "responses")
    return any(api != "embeddings" for api in model.apis)


def _last_word(task: str) -> str:
    return task.rpartition("/")[2]


# ---- facts ---------------------------------------------------------------------------------------------------------


def described(row: Row) -> Model:
    """What is known about the model behind an endpoint: what the workspace said, and the catalogue where it did not."""
    known = catalogue.facts(row.id, row.serves)
    facts_from = known.facts_from
    origins = dict(row.origins)
    if row.apis:
        known = catalogue.speaking(known, row.apis)
        facts_from = "workspace"
    elif (not known.apis or not catalogue.ours(row.id)) and (api := _TASKS.get(_last_word(row.task))):
        known = catalogue.speaking(known, [api])
        origins["apis"] = origins.get("task", "")
    if not known.context and row.context:
        known = known._replace(context=row.context)
    else:
        origins.pop("context", None)
    model = Model(
        id=row.id,
        name=row.name or _spelled(row.id),
        family=known.family,
        task=row.task,
        ready=row.ready,
        apis=known.apis,
        tools=known.tools,
        reasoning=known.reasoning,
        input=known.input,
        context=known.context,
        output=known.output,
        cost=known.cost,
        facts_from=facts_from,
        quirks=known.quirks,
        origins=origins,
        default=known.default,
    )
    origins.setdefault("name", "id")
    for fact in ("family", "apis", "tools", "reasoning", "input", "context", "output", "cost", "quirks"):
        if getattr(known, fact) not in (None, ()):
            origins.setdefault(fact, known.origin(fact))
    return model


def _spelled(id: str) -> str:
    """The name people would write: GPT-5.1 Codex Max for `databricks-gpt-5-1-codex-max`; their own ids stay as is."""
    if not catalogue.ours(id):
        return id
    import re

    dotted = re.sub(r"(?<=\d)-(?=\d{1,2}(?:-|$))", ".", catalogue.bare(id))
    in_capitals = re.compile(r"gpt|oss|glm|gte|bge|a?\d+b")  # the last is a size, such as 120b
    words = [word.upper() if in_capitals.fullmatch(word) else word.capitalize() for word in dotted.split("-")]
    return re.sub(r"\b(GPT|GLM) (?=\d)", r"\1-", " ".join(words)) or id


def _with_settings(models: tuple[Model, ...], world: World, *, only: bool = False) -> tuple[Model, ...]:
    """The models with what `[models."NAME"]` of config.toml says instead; one that nobody lists is added.

    With `only` it is not. Raises ConfigError for a fact that cannot be.
    """
    if not os.path.exists(os.path.join(world.config_dir, SETTINGS)):
        return models
    from . import settings
    from .endpoints import Row

    found = {catalogue.same(model.id): model for model in models}
    for name, said in settings.models(world).items():
        key = catalogue.same(name)
        if only and key not in found:
            continue
        base = found.get(key) or described(Row(name, origins={"id": SETTINGS}))
        found[key] = _overridden(base, said)
    return tuple(found.values())


def _overridden(model: Model, said: Mapping[str, Any]) -> Model:
    if said.get("family", model.family) != model.family and (known := catalogue.of_family(said["family"])):
        model = model._replace(apis=known.apis, quirks=known.quirks, tools=known.tools, reasoning=known.reasoning)
    facts = {name: said[name] for name in ("name", "family", "tools", "reasoning", "context", "output") if name in said}
    facts |= {name: tuple(said[name]) for name in ("apis", "input") if name in said}
    if "cost" in said:
        facts["cost"] = Cost(**{name: price for name, price in said["cost"].items() if name in Cost._fields})
    if "apis" in facts:
        spoken = catalogue.speaking(catalogue.Facts(model.family, quirks=model.quirks), facts["apis"])
        facts |= {"apis": spoken.apis, "quirks": spoken.quirks}
    return model._replace(**facts, origins={**model.origins, **dict.fromkeys(facts, SETTINGS)})


# ---- the cache -----------------------------------------------------------------------------------------------------


def _cache(host: str, identity: str, world: World) -> str:
    from hashlib import sha256

    digest = sha256(f"{host}\0{identity}".encode(errors="backslashreplace")).hexdigest()
    return os.path.join(world.cache_dir, "models", f"{digest}.json")


def _recall(path: str, host: str) -> Listing | None:
    """The list kept at `path`, if it is of this host; whatever else is there, or nothing, is a miss.

    It holds finished models, because reading the catalogue takes as long as starting Python; another edition of the
    catalogue is a miss.
    """
    try:
        with open(path, "rb") as file:
            kept = json.loads(file.read())
        if kept["host"] == host and kept["catalogue"] == catalogue.stamp():
            return Listing(host, "cache", float(kept["fetched_at"]), tuple(map(_restored, kept["models"])))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        pass
    return None


def _restored(kept: list[Any]) -> Model:
    """A model from the cache; raises ValueError or TypeError for what `_remember` does not write."""
    model = Model._make(tuple(value) if isinstance(value, list) else value for value in kept)
    words = (model.apis, model.input, model.quirks, model.origins, model.origins.values())
    texts = (
        model.id,
        model.name,
        model.family,
        model.task,
        model.facts_from,
        *(text for each in words for text in each),
    )
    prices = model.cost or ()
    if (
        {type(text) for text in texts} != {str}
        or {type(model.ready), type(model.default)} != {bool}
        or not {type(model.tools), type(model.reasoning)} <= {bool, type(None)}
        or not {type(model.context), type(model.output)} <= {int, type(None)}
        or not {type(price) for price in prices} <= {int, float, type(None)}
        or {type(model.apis), type(model.input), type(model.quirks)} != {tuple}
        or type(model.origins) is not dict
        or not set(model.apis) <= set(catalogue.APIS)
    ):
        raise ValueError("this is not a model of ours")
    return model if model.cost is None else model._replace(cost=Cost(*prices))


def _remember(path: str, found: Listing, world: World) -> None:
    """Keep a list for the next process; where that cannot be done, the next one asks again."""
    from .files import write_private

    document = {
        "host": found.host,
        "fetched_at": found.fetched_at,
        "catalogue": catalogue.stamp(),
        "models": found.models,
    }
    try:
        write_private(path, json.dumps(document).encode())
    except (OSError, AuthError) as error:
        world.note(f"the list of models is not cached: {error}")
