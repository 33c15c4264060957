"""The JSON Schemas of tools, as each family takes them: pure functions that never change what they are given.

What a family does not know is left out, so a schema may allow more afterwards, and never less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]

DEEPEST = 200
"""Levels of a schema that are looked at; what lies deeper is taken for anything."""

LARGEST = 50_000
"""Nodes that references may be replaced by: a few that name each other twice would grow without end."""

LIMITS = frozenset(
    "maxLength minLength pattern format maximum minimum exclusiveMaximum exclusiveMinimum multipleOf maxItems minItems "
    "uniqueItems maxProperties minProperties".split()
)
"""Words that narrow a value down."""

_ONE = frozenset(
    "items not if then else contains propertyNames additionalItems unevaluatedItems additionalProperties "
    "unevaluatedProperties".split()
)
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_NOT_GOOGLE = frozenset(("additionalProperties", "definitions", "unevaluatedProperties"))
_BESIDE_A_REF = frozenset(("description", "default", "title", "examples", "deprecated"))


def of_an_object(schema: object) -> Schema:
    """The schema of a tool's arguments, which are an object whatever it says.

    https://platform.openai.com/docs/guides/function-calling
    """
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {}}
    return schema if schema.get("type") == "object" else {**schema, "type": "object"}


def without_limits(schema: object) -> object:
    """Without the words that narrow a value down (`LIMITS`)."""

    def change(node: Schema, level: int) -> Schema:
        left = {word: value for word, value in node.items() if word not in LIMITS} if LIMITS & node.keys() else node
        return _inside(left, change, level)

    return change(schema, 0) if isinstance(schema, dict) else schema


def for_google(schema: object) -> object:
    """In the words that Google's schemas have: every reference replaced by what it names, nothing beside it lost.

    One that leads back to itself becomes a value of its type, one that leads nowhere an object. Words that begin with
    `$`, the definitions, `additionalProperties` and the name in `ref` are left out.
    https://ai.google.dev/api/caching#Schema
    """
    return _Google(schema).changed(schema, 0) if isinstance(schema, dict) else schema


class _Google:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._trail: list[str] = []
        self._left = LARGEST

    def changed(self, node: Schema, level: int) -> Schema:
        if self._trail:
            self._left -= 1
        target = node.get("$ref")
        if not isinstance(target, str):
            target = self._named(node)
        if target is not None:
            return self._followed(target, node, level)
        if any(_is_foreign(word) for word in node):
            node = {word: value for word, value in node.items() if not _is_foreign(word)}
        return _inside(node, self.changed, level)

    def _named(self, node: Schema) -> str | None:
        """What `ref` names where it stands alone; beside other words it is a name that a library left there."""
        name = node.get("ref")
        if not isinstance(name, str) or not node.keys() <= {"ref", *_BESIDE_A_REF}:
            return None
        places = (f"#/{place}/{name}" for place in ("$defs", "definitions"))
        return name if name.startswith("#") else next((p for p in places if self._found(p) is not None), None)

    def _followed(self, target: str, node: Schema, level: int) -> Schema:
        beside = {word: value for word, value in node.items() if not _is_foreign(word)}
        found = self._found(target)
        if found is None:
            return _inside(beside if "type" in beside else {"type": "object", **beside}, self.changed, level)
        if target in self._trail or self._left < 0 or level > DEEPEST:
            kind = found.get("type", "object" if "properties" in found else None)
            return {**({"type": kind} if isinstance(kind, str) else {"type": "object"}), **beside}
        self._trail.append(target)
        try:
            named = self.changed(found, level + 1)
        finally:
            self._trail.pop()
        beside = _inside(beside, self.changed, level)
        if (named.keys() & beside.keys()) - _BESIDE_A_REF:
            said = {word: value for word, value in beside.items() if word in _BESIDE_A_REF}
            rest = {word: value for word, value in beside.items() if word not in _BESIDE_A_REF}
            return {"allOf": [named, rest], **said}
        return {**named, **beside}

    def _found(self, target: str) -> Schema | None:
        """What a JSON Pointer into this schema names (RFC 6901); None for anything else."""
        if not target.startswith("#"):
            return None
        node: Any = self._root
        for step in unquote(target[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                node = node.get(name) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {} if node is True else None


def _is_foreign(word: str) -> bool:
    return word.startswith("$") or word in _NOT_GOOGLE or word == "ref"


def _inside(node: Schema, change: Callable[[Schema, int], Schema], level: int) -> Schema:
    """`node` with each schema in it changed; the same object where none is. Names of properties are not words."""
    if level > DEEPEST:
        return {word: value for word, value in node.items() if not isinstance(value, dict | list)}
    news: Schema = {}
    for word, value in node.items():
        if word in _ONE and isinstance(value, dict):
            new: object = change(value, level + 1)
        elif word in _NAMED and isinstance(value, dict):
            new = {name: change(each, level + 1) if isinstance(each, dict) else each for name, each in value.items()}
            new = value if all(new[name] is value[name] for name in value) else new
        elif word in _SEVERAL and isinstance(value, list):
            new = [change(each, level + 1) if isinstance(each, dict) else each for each in value]
            new = value if all(a is b for a, b in zip(new, value, strict=True)) else new
        else:
            continue
        if new is not value:
            news[word] = new
    return _no_less(node, news) if news else node


def _no_less(node: Schema, news: Schema) -> Schema:
    """`node` with what is new in it, all of which allows more; what would turn that into less goes."""
    gone: set[str] = {word for word in ("not", "if") if word in news}
    gone |= {"then", "else"} if "if" in gone else set()
    changed = {word: value for word, value in {**node, **news}.items() if word not in gone}
    if "oneOf" in news:
        any_of = {"anyOf": changed.pop("oneOf")}
        changed |= any_of if "anyOf" not in changed else {"allOf": [*changed.get("allOf", []), any_of]}
    return changed
