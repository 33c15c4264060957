"""The tools of a request, from Responses to chat and back."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from dbx_auth.translate.common import NO_PARAMETERS, Body, Untranslatable, kept, objects, placed, text_in, thing


class Tool(NamedTuple):
    """A tool that the client runs, as it was declared; Codex has those of MCP servers in namespaces."""

    given: Body
    namespace: str | None


def offered(body: Body) -> dict[str, Tool]:
    """The tools that the client runs, by their names in chat."""
    more = [item.get("tools") for item in objects(body.get("input")) if item.get("type") == "additional_tools"]
    found: dict[str, Tool] = {}
    for tool in (tool for tools in [body.get("tools"), *more] for tool in objects(tools)):
        inside = tool.get("type") == "namespace"
        namespace = text_in(tool.get("name")) if inside else None
        for each in objects(tool.get("tools")) if inside else [tool]:
            if each.get("type") in ("function", "custom") and isinstance(each.get("name"), str):
                found.setdefault(flat(each["name"], namespace), Tool(each, namespace))
    return found


def flat(name: object, namespace: object) -> str:
    """The name of a tool together with its namespace, in the 64 characters that a name may have."""
    if not namespace or not isinstance(namespace, str):
        return text_in(name)
    whole = f"{namespace.rstrip('_')}__{text_in(name)}"
    digest = hashlib.sha256(whole.encode(errors="replace")).hexdigest()
    return whole if len(whole) <= 64 else f"{whole[:55]}_{digest[:8]}"


def tools_to_chat(body: Body) -> Body:
    """The parameters of a chat request that are about tools."""
    found, choice = offered(body), body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = {flat(tool.get("name"), tool.get("namespace")) for tool in objects(choice.get("tools"))}
        found = {name: tool for name, tool in found.items() if name in allowed}
        choice = choice.get("mode")
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        choice = {"type": "function", "function": {"name": flat(choice.get("name"), choice.get("namespace"))}}
    elif choice not in (None, "auto", "none", "required"):
        raise Untranslatable("tool_choice: a tool that chat does not have")
    functions = [{"type": "function", "function": _function(name, tool.given)} for name, tool in found.items()]
    return _about_tools(body, functions, choice)


def tools_from_chat(body: Body) -> Body:
    """The parameters of a request for a response that are about tools."""
    tools, choice = [], body.get("tool_choice")
    for where, tool in placed(body.get("tools") or [], "tools"):
        if not isinstance(function := tool.get("function"), dict):
            raise Untranslatable(f"{where}: not a function")
        described = kept(function, "name", "description", "parameters")
        strict = function.get("strict") is True  # which it would be if it were not said
        tools.append({"type": "function", "parameters": NO_PARAMETERS, **described, "strict": strict})
    if isinstance(choice, dict) and isinstance(function := choice.get("function"), dict):
        choice = {"type": "function", "name": function.get("name")}
    elif choice not in (None, "auto", "none", "required"):
        raise Untranslatable("tool_choice: neither a word nor a function")
    return _about_tools(body, tools, choice)


def _about_tools(body: Body, tools: list[Body], choice: object) -> Body:
    """These parameters, of which none may be there without tools."""
    if not tools:
        if choice not in (None, "auto", "none"):
            raise Untranslatable("tool_choice: there are no tools that the other API has")
        return {}
    parallel = body.get("parallel_tool_calls")
    found = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}
    return kept(found, *found)


def _function(name: str, tool: Body) -> Body:
    """A function of a chat request; for a tool that takes any text, one with that text as its only argument."""
    if tool["type"] == "function":
        strict = {"strict": True} if tool.get("strict") is True else {}
        return {"name": name, **kept(tool, "description", "parameters"), **strict}
    form = thing(tool.get("format"))
    grammar = f"The input has to follow this grammar ({form.get('syntax')}):\n{form.get('definition')}"
    described = [text_in(tool.get("description")), grammar if form.get("type") == "grammar" else ""]
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return {"name": name, "description": "\n\n".join(filter(None, described)), "parameters": schema}
