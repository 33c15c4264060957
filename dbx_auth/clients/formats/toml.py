"""TOML: read by tomllib and changed by tomlkit, so comments, order and what we do not know stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

BOM = "\ufeff"


def parse(text: str) -> dict[str, Any]:
    """What the text says. Raises ValueError naming the line."""
    import tomllib

    try:
        return tomllib.loads(text.removeprefix(BOM))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        last = text.rstrip().count("\n") + 1
        raise ValueError(str(error).replace("at end of document", f"at the end, line {last}")) from error


def merged(text: str, wanted: Mapping[str, Any]) -> str:
    """The text with these values; tables are merged, everything else is replaced. Raises ValueError."""
    parse(text)
    return _edited(text, lambda document: _merge(document, wanted))


def without(text: str, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The text without these keys, and without the tables that this empties, but for those that are in `kept`."""
    parse(text)
    return _edited(text, lambda document: _remove(document, gone, kept))


def _edited(text: str, edit: Callable[[Any], None]) -> str:
    import tomlkit

    of_windows = "\r\n" in text and text.count("\r\n") == text.count("\n")
    bom = BOM if text.startswith(BOM) else ""
    source = text.removeprefix(BOM)
    source = source.replace("\r\n", "\n") if of_windows else source
    source += "\n" if source and not source.endswith("\n") else ""
    try:
        document = tomlkit.parse(source)
        if tomlkit.dumps(document) != source:  # tables that are not beside their like would change places
            raise ValueError(_NOT_BY_ITSELF)
        edit(document)
        new = tomlkit.dumps(document)
    except Exception as error:  # it has its own for some things that it cannot do, and stumbles over others
        raise ValueError(_NOT_BY_ITSELF) from error
    return bom + (new.replace("\n", "\r\n") if of_windows else new)


_NOT_BY_ITSELF = "it is written in a way that does not let a key be changed by itself"


def _merge(table: Any, wanted: Mapping[str, Any]) -> None:
    from tomlkit.items import InlineTable

    for key, value in wanted.items():
        if key not in table:
            table[key] = _new(value, inline=isinstance(table, InlineTable))
        elif isinstance(value, dict):
            _merge(table[key], value)
        elif repr(_plain(table[key])) != repr(value):
            table[key] = value


def _plain(item: Any) -> Any:
    """The value without what tomlkit knows of how it is written."""
    return item.unwrap() if hasattr(item, "unwrap") else item


def _new(value: Any, *, inline: bool) -> Any:
    import tomlkit

    if not isinstance(value, dict):
        return value
    has_values = any(not isinstance(each, dict) for each in value.values())
    table: Any = tomlkit.inline_table() if inline else tomlkit.table(is_super_table=not has_values)
    for key, each in sorted(value.items(), key=lambda pair: isinstance(pair[1], dict)):
        table[key] = _new(each, inline=inline)
    return table


def _remove(table: Any, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    for key, below in gone.items():
        if key not in table:
            continue
        if not isinstance(below, dict):
            del table[key]
        elif isinstance(table[key], Mapping):
            before = kept.get(key)
            _remove(table[key], below, before if isinstance(before, Mapping) else {})
            if not len(table[key]) and not isinstance(before, Mapping) and "#" not in table[key].as_string():
                del table[key]
