"""The parts of requests and answers, wherever an API has them, changed without changing what was given.

Each function takes the body and a function for the part; what comes back is the same object where nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbx_auth.catalogue import APIS

Body = dict[str, Any]
Message = dict[str, Any]

CHAT, RESPONSES, MESSAGES, GENERATE, _ = APIS


def objects(value: object) -> list[Body]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def each(value: object, change: Callable[[Body], Body | None]) -> Any:
    """A list with its objects changed, those left out for which there is nothing; the same list where none is."""
    if not isinstance(value, list):
        return value
    new = [change(each) if isinstance(each, dict) else each for each in value]
    if all(a is b for a, b in zip(new, value, strict=True)):
        return value
    return [each for each, old in zip(new, value, strict=True) if each is not None or old is None]


def put(body: Body, name: str, value: object) -> Body:
    return body if name in body and body[name] is value else {**body, name: value}


def at(body: Body, name: str, change: Callable[[Any], Any]) -> Body:
    """`body` with what it has under this name changed, if it has it."""
    return put(body, name, change(body[name])) if name in body else body


def every(body: Body, name: str, change: Callable[[Body], Body | None]) -> Body:
    """`body` with each object changed of the list that it has under this name."""
    return at(body, name, lambda value: each(value, change))


def without(body: Body, *names: str) -> Body:
    return {k: v for k, v in body.items() if k not in names} if any(name in body for name in names) else body


def messages(body: Body, change: Callable[[Message], Message | None]) -> Body:
    return every(body, "messages", change)


def parts(message: Message, change: Callable[[Body], Body | None]) -> Message:
    return every(message, "content", change)


def tools(body: Body, api: str, change: Callable[[Body], Body]) -> Body:
    """Each object that declares a function: its name, its description and its schema."""
    if api == CHAT:
        return every(body, "tools", lambda t: inside(t, "function", change))
    if api == GENERATE:

        def declared(tool: Body) -> Body:
            for name in ("functionDeclarations", "function_declarations"):
                tool = every(tool, name, change)
            return tool

        return every(body, "tools", declared)
    kinds = ("function",) if api == RESPONSES else ("custom", None)
    return every(body, "tools", lambda t: change(t) if t.get("type") in kinds else t)


def inside(body: Body, name: str, change: Callable[[Body], Body]) -> Body:
    return at(body, name, lambda value: change(value) if isinstance(value, dict) else value)


def schema_name(api: str) -> str:
    return "input_schema" if api == MESSAGES else "parameters"


def schemas(body: Body, api: str, change: Callable[[object], object]) -> Body:
    """The schema of each tool that has one, and the one that an answer has to satisfy."""
    body = tools(body, api, lambda tool: at(tool, schema_name(api), change))
    if api != CHAT:
        return body
    wanted = lambda f: inside(f, "json_schema", lambda j: at(j, "schema", change))  # noqa: E731
    return inside(body, "response_format", wanted)


def calls(message: Message) -> list[Body]:
    return objects(message.get("tool_calls"))


def choices(body: Body, name: str, change: Callable[[Message], Message]) -> Body:
    return every(body, "choices", lambda choice: inside(choice, name, change))


def number(value: object) -> int:
    return value if isinstance(value, int) else 0
