"""Chunks of chat as the stream of a response."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from dbx_auth.fixes.walk import number, without
from dbx_auth.translate.common import Body, arguments, first_choice, objects, read_json, text_in, thing

from .envelope import INCOMPLETE, error_in, usage_from_chat
from .items import Item
from .tools import Tool, offered


class _Kind(NamedTuple):
    """What the text in a field of a chat delta becomes: an item with one part, and the events about the two."""

    prefix: str
    item: Item
    parts: str
    part: Body
    word: str
    at: str
    part_event: str
    text_event: str
    more: Body


_MESSAGE: Item = {"type": "message", "role": "assistant"}
_KINDS = {
    "reasoning_content": _Kind(
        "rs", {"type": "reasoning"}, "summary", {"type": "summary_text"}, "text", "summary_index",
        "response.reasoning_summary_part", "response.reasoning_summary_text", {},
    ),
    "content": _Kind(
        "msg", _MESSAGE, "content", {"type": "output_text", "annotations": []}, "text", "content_index",
        "response.content_part", "response.output_text", {"logprobs": []},
    ),
    "refusal": _Kind(
        "msg", _MESSAGE, "content", {"type": "refusal"}, "refusal", "content_index",
        "response.content_part", "response.refusal", {},
    ),
}  # fmt: skip


class _Said:
    """An item with a text on its way."""

    def __init__(self, kind: _Kind, place: int, id: str) -> None:
        self.kind, self.place, self.id = kind, place, f"{kind.prefix}_{id}_{place}"
        self.thoughts: list[Body] = []
        self._pieces: list[str] = []

    def begin(self) -> list[Body]:
        added = _about(self.place, "added", self._item("in_progress"))
        return [added, self._event(f"{self.kind.part_event}.added", part=self._part(""))]

    def more(self, text: str) -> list[Body]:
        self._pieces.append(text)
        return [self._event(f"{self.kind.text_event}.delta", delta=text, **self.kind.more)]

    def end(self, status: str) -> list[Body]:
        kind, text = self.kind, "".join(self._pieces)
        return [
            self._event(f"{kind.text_event}.done", **{kind.word: text}, **kind.more),
            self._event(f"{kind.part_event}.done", part=self._part(text)),
            _about(self.place, "done", self._item(status, self._part(text))),
        ]

    def _part(self, text: str) -> Body:
        return {**self.kind.part, self.kind.word: text}

    def _item(self, status: str, *parts: Body) -> Item:
        """The item as it is; what was thought is sealed in any case, to be told from OpenAI's (`fixes.thoughts`)."""
        known: Body = {"status": status}
        if self.kind.prefix == "rs":
            known = {"encrypted_content": json.dumps(self.thoughts)} if parts else {}
        return {**self.kind.item, "id": self.id, **known, self.kind.parts: list(parts)}

    def _event(self, type: str, **more: Any) -> Body:
        return {"type": type, "item_id": self.id, "output_index": self.place, self.kind.at: 0, **more}


_FUNCTION = ("function_call", "fc", "arguments", "response.function_call_arguments")
_ANY_TEXT = ("custom_tool_call", "ctc", "input", "response.custom_tool_call_input")


class _Called:
    """A call of a tool on its way; what a tool gets that takes any text is held back until it can be read."""

    def __init__(self, tool: Tool, place: int, id: str, call_id: str) -> None:
        self.place, self.call_id = place, call_id
        self._custom = tool.given.get("type") == "custom"
        named = {"name": tool.given["name"], **({"namespace": tool.namespace} if tool.namespace else {})}
        type, prefix, self._word, self._event = _ANY_TEXT if self._custom else _FUNCTION
        self._item: Item = {"type": type, "id": f"{prefix}_{id}_{place}", "call_id": call_id, **named}
        self._pieces: list[str] = []

    def begin(self) -> list[Body]:
        return [_about(self.place, "added", {**self._item, "status": "in_progress", self._word: ""})]

    def more(self, text: str) -> list[Body]:
        self._pieces.append(text)
        return [] if self._custom else [self._about("delta", delta=text)]

    def end(self, status: str) -> list[Body]:
        text = "".join(self._pieces)
        held = []
        if self._custom:
            text = _input(text)
            held = [self._about("delta", delta=text)]
        done = _about(self.place, "done", {**self._item, "status": status, self._word: text})
        return [*held, self._about("done", **{self._word: text}), done]

    def _about(self, what: str, **more: str) -> Body:
        return {"type": f"{self._event}.{what}", "item_id": self._item["id"], "output_index": self.place, **more}


def _about(place: int, what: str, item: Item) -> Body:
    return {"type": f"response.output_item.{what}", "output_index": place, "item": item}


def _input(given: str) -> str:
    """What a tool gets that takes any text: the only argument of the function that stands for it, or all there is."""
    only = thing(read_json(given)).get("input")
    return only if isinstance(only, str) else given


_ECHOED = ("instructions", "max_output_tokens", "reasoning", "temperature", "text", "top_p", "user")


class FromChat:
    """Makes the chunks of a chat completion the events of a response to the request that was `asked`."""

    def __init__(self, asked: Body) -> None:
        self._asked, self._tools = asked, offered(asked)
        self._id = ""
        self._response: Body = {}
        self._said: _Said | None = None
        self._calls: dict[int, _Called] = {}
        self._open: list[_Said | _Called] = []
        self._output: dict[int, Item] = {}
        self._finish = ""
        self._usage: Body | None = None
        self._places = self._numbered = 0
        self._over = False

    def event(self, chunk: Body) -> list[Body]:
        """The events for this chunk."""
        if self._over or not chunk:
            return []
        events = self._begin(chunk)
        if chunk.get("error") or chunk.get("error_code"):
            self._over = True
            code, message = error_in(chunk.get("error") or chunk)
            failed = {"status": "failed", "error": {"code": code, "message": message}}
            return self._sent([*events, {"type": "response.failed", "response": {**self._response, **failed}}])
        if isinstance(chunk.get("usage"), dict):
            self._usage = usage_from_chat(chunk["usage"])
        choice = first_choice(chunk)
        events += self._delta(thing(choice.get("delta")))
        self._finish = text_in(choice.get("finish_reason")) or self._finish
        return self._sent(events)

    def end(self) -> list[Body]:
        """The events that are missing at the end: without a word of why it ended, the stream was cut off."""
        if self._over:
            return []
        events = self._begin({})
        self._over = True
        reason = INCOMPLETE.get(self._finish or "length")
        status = "incomplete" if reason else "completed"
        for item in list(self._open):
            events += self._close(item, status if item.place == self._places - 1 else "completed")
        response = {**self._response, "status": status, "usage": self._usage}
        response["output"] = [item for _, item in sorted(self._output.items())]
        response["incomplete_details"] = {"reason": reason} if reason else None
        return self._sent([*events, {"type": f"response.{status}", "response": response}])

    def _begin(self, chunk: Body) -> list[Body]:
        if self._response:
            return []
        self._id = text_in(chunk.get("id"))[-40:]  # OpenAI takes back ids of 64 characters
        self._response = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": number(chunk.get("created")),
            "status": "in_progress",
            "model": text_in(chunk.get("model")) or text_in(self._asked.get("model")),
            "output": [],
            "error": None,
            "incomplete_details": None,
            "metadata": {},
            "parallel_tool_calls": self._asked.get("parallel_tool_calls") is not False,
            "tool_choice": self._asked.get("tool_choice") or "auto",
            "tools": objects(self._asked.get("tools")),
            "usage": None,
            **{name: self._asked.get(name) for name in _ECHOED},
        }
        return [{"type": f"response.{what}", "response": self._response} for what in ("created", "in_progress")]

    def _delta(self, delta: Body) -> list[Body]:
        events: list[Body] = []
        for field, kind in _KINDS.items():
            text = text_in(delta.get(field))
            thoughts = objects(delta.get("thinking_blocks")) if field == "reasoning_content" else []
            if text or thoughts:
                said = self._saying(kind, events)
                said.thoughts += [without(each, "index") for each in thoughts]
                events += said.more(text) if text else []
        for place, call in enumerate(objects(delta.get("tool_calls"))):
            events += self._call(call, call["index"] if isinstance(call.get("index"), int) else place)
        return events

    def _saying(self, kind: _Kind, events: list[Body]) -> _Said:
        """The item that a text belongs to; what begins it is added to `events`."""
        if self._said and self._said.kind is kind:
            return self._said
        events += self._close(self._said)
        said = self._said = _Said(kind, self._places, self._id)
        events += self._opened(said)
        return said

    def _call(self, delta: Body, index: int) -> list[Body]:
        """What a delta adds to a call, which stays open to the end: calls may take turns."""
        events, function = [], thing(delta.get("function"))
        id, name = text_in(delta.get("id")), text_in(function.get("name"))
        known = self._calls.get(index)
        if known is None or (id and name and id != known.call_id):  # Gemini says 0 for each
            events += self._close(self._said)
            tool = self._tools.get(name) or Tool({"name": name}, None)
            known = _Called(tool, self._places, self._id, id or f"call_{self._id}_{self._places}")
            self._calls[index] = known
            events += self._opened(known)
        text = arguments(function)
        return events + known.more(text) if text else events

    def _opened(self, item: _Said | _Called) -> list[Body]:
        self._places += 1
        self._open.append(item)
        return item.begin()

    def _close(self, item: _Said | _Called | None, status: str = "completed") -> list[Body]:
        if item is None:
            return []
        if item is self._said:
            self._said = None
        self._open.remove(item)
        events = item.end(status)
        self._output[item.place] = events[-1]["item"]
        return events

    def _sent(self, events: list[Body]) -> list[Body]:
        """The events with their numbers."""
        first, self._numbered = self._numbered, self._numbered + len(events)
        return [{**event, "sequence_number": first + n} for n, event in enumerate(events)]
