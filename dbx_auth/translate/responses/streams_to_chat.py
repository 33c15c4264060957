"""The stream of a response as chunks of chat."""

from __future__ import annotations

from dbx_auth.fixes.walk import number
from dbx_auth.translate.common import Body, objects, text_in, thing, tool_call

from .envelope import error_to_chat, finish_reason, head, usage_to_chat
from .items import APART, CALLS, TEXTS, Item, call_to_chat, texts


class ToChat:
    """Makes the events of a response the chunks of a chat completion.

    Items go by their place alone: Codex gives one item several ids.
    """

    def __init__(self) -> None:
        self._head = head({}, "chat.completion.chunk")
        self._sent: dict[tuple[str, int, int], int] = {}
        self._calls: dict[int, int] = {}
        self._fields: set[str] = set()
        self._began = self._over = False

    def event(self, event: Body) -> list[Body]:
        """The chunks for this event."""
        if self._over:
            return []
        kind, response, place = event.get("type"), thing(event.get("response")), number(event.get("output_index"))
        if kind in ("error", "response.failed"):
            self._over = True
            return [error_to_chat(response.get("error") or event.get("error") or event)]
        if kind in ("response.completed", "response.incomplete"):
            return self._end(response)
        if kind in ("response.created", "response.in_progress"):
            return self._begin(response)
        if kind in ("response.output_item.added", "response.output_item.done"):
            return self._item(place, thing(event.get("item")), kind == "response.output_item.done")
        name, _, what = text_in(kind).removeprefix("response.").rpartition(".")
        delta = event.get("delta")
        if what != "delta" or not isinstance(delta, str):
            return []
        if name == "function_call_arguments":
            return self._arguments(place, delta)
        index = number(event.get("summary_index", event.get("content_index")))
        return self._text(name, place, index, delta) if name in TEXTS else []

    def end(self) -> list[Body]:
        """The chunks that are missing at the end: without a word of why it ended, the stream was cut off."""
        return [] if self._over else self._end({"status": "incomplete"})

    def _begin(self, response: Body) -> list[Body]:
        if self._began:
            return []
        self._head = head(response, "chat.completion.chunk")
        return [self._chunk({})]

    def _item(self, place: int, item: Item, done: bool) -> list[Body]:
        """What has not been sent of an item: it may come in one piece."""
        chunks = []
        for name, index, text in texts(item):
            chunks += self._text(name, place, index, text[self._sent.get((name, place, index), 0) :])
        if item.get("type") not in CALLS or (item["type"] == "custom_tool_call" and not done):
            return chunks
        call = call_to_chat(item)
        arguments = call["function"]["arguments"]
        if place not in self._calls:
            self._calls[place] = len(self._calls)
            begun = {"index": self._calls[place], **tool_call(call["id"], call["function"]["name"], "")}
            chunks.append(self._chunk({"tool_calls": [begun]}))
        return chunks + self._arguments(place, arguments[self._sent.get(("arguments", place, 0), 0) :])

    def _text(self, name: str, place: int, index: int, text: str) -> list[Body]:
        if not text:
            return []
        field, key = TEXTS[name], (name, place, index)
        apart = APART if field in self._fields and key not in self._sent else ""
        self._fields.add(field)
        self._sent[key] = self._sent.get(key, 0) + len(text)
        return [self._chunk({field: apart + text})]

    def _arguments(self, place: int, text: str) -> list[Body]:
        if not text or place not in self._calls:
            return []
        key = ("arguments", place, 0)
        self._sent[key] = self._sent.get(key, 0) + len(text)
        return [self._chunk({"tool_calls": [{"index": self._calls[place], "function": {"arguments": text}}]})]

    def _end(self, response: Body) -> list[Body]:
        """With what was used in the last chunk that has a choice: some clients trip over one without."""
        chunks = self._begin(response)
        if not self._sent and not self._calls:
            output = enumerate(objects(response.get("output")))
            chunks += [chunk for place, item in output for chunk in self._item(place, item, True)]
        self._over = True
        finish = finish_reason(response, bool(self._calls))
        return [*chunks, {**self._chunk({}, finish), **usage_to_chat(response)}]

    def _chunk(self, delta: Body, finish: str | None = None) -> Body:
        if not self._began:
            self._began = True
            delta = {"role": "assistant", "content": None, **delta}
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
