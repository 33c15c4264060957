"""Streams, event by event, from Messages to chat and back."""

from __future__ import annotations

from dataclasses import dataclass

from dbx_auth.fixes.walk import number
from dbx_auth.translate.common import (
    Body,
    arguments,
    dumped,
    first_choice,
    objects,
    read_json,
    string,
    text_in,
    thing,
    tool_call,
)

from .blocks import ANSWER, signed, tool_use
from .replies import (
    finish_reason,
    head_for_chat,
    head_for_messages,
    refusal,
    stop_reason,
    usage_from_chat,
    usage_to_chat,
)

_ERRORS = (
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "rate_limit_error", "timeout_error", "overloaded_error",
)  # fmt: skip


class ToChat:
    """A stream of Messages as chunks of chat, the usage in the last of them."""

    def __init__(self) -> None:
        self._head: Body = head_for_chat({})
        self._blocks: dict[int, Body] = {}
        self._calls: dict[int, int] = {}
        self._thoughts = 0
        self._usage: Body = {}
        self._stop: Body = {}
        self._over = False

    def event(self, event: Body) -> list[Body]:
        """The chunks that say what this event says."""
        if self._over:
            return []
        if "error_code" in event:  # Databricks' own form
            event = {"type": "error", "error": event}
        place = number(event.get("index"))
        match event.get("type"):
            case "message_start":
                message = thing(event.get("message"))
                self._head, self._usage = head_for_chat(message), thing(message.get("usage"))
                return [self._chunk({"role": "assistant", "content": ""})]
            case "content_block_start":
                return self._begin(place, thing(event.get("content_block")))
            case "content_block_delta":
                return self._more(place, thing(event.get("delta")))
            case "content_block_stop":
                return self._close(place)
            case "message_delta":
                self._stop = thing(event.get("delta"))
                told = thing(event.get("usage"))
                self._usage = {**self._usage, **{name: value for name, value in told.items() if value is not None}}
            case "message_stop":
                return self.end()
            case "error":
                self._over = True
                error = thing(event.get("error"))
                said = {"message": string(error.get("message")), "type": string(error.get("type")) or "api_error"}
                return [{"error": {**said, "code": None, "param": None}}]
        return []

    def end(self) -> list[Body]:
        """What is missing at the end: without a word of why it stopped, the stream was cut off."""
        if self._over:
            return []
        self._over = True
        left = [chunk for place in list(self._blocks) for chunk in self._close(place)]
        reason = finish_reason(self._stop.get("stop_reason") or "max_tokens", bool(self._calls))
        usage = {"usage": usage_to_chat(self._usage)} if self._usage else {}
        return [*left, {**self._chunk(refusal(self._stop), reason), **usage}]

    def _chunk(self, delta: Body, reason: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def _begin(self, place: int, block: Body) -> list[Body]:
        given = thing(block.get("input"))
        self._blocks[place] = {**block, "thinking": "", "given": False}
        chunks = []
        if block.get("type") == "tool_use" and block.get("name") != ANSWER:
            index = self._calls[place] = len(self._calls)
            call = tool_call(string(block.get("id")), string(block.get("name")), "")
            chunks = [self._chunk({"tool_calls": [{"index": index, **call}]})]
        return chunks + self._more(place, {**block, "partial_json": dumped(given) if given else ""})

    def _more(self, place: int, delta: Body) -> list[Body]:
        """What is added to a block: to its text, its thought or the input of its tool."""
        block = self._blocks.get(place, {})
        text, thought = string(delta.get("text")), string(delta.get("thinking"))
        said = {"content": text, "reasoning_content": thought, **self._input(place, string(delta.get("partial_json")))}
        if thought:
            block["thinking"] = block.get("thinking", "") + thought
        if delta.get("signature"):
            block["signature"] = delta["signature"]
        said = {name: value for name, value in said.items() if value}
        return [self._chunk(said)] if said else []

    def _input(self, place: int, piece: str) -> Body:
        """A piece of an input: text where the input is the answer, and nothing where a tool runs elsewhere."""
        block = self._blocks.get(place, {})
        if not piece or block.get("type") != "tool_use":
            return {}
        block["given"] = True
        if block.get("name") == ANSWER:
            return {"content": piece}
        return {"tool_calls": [{"index": self._calls[place], "function": {"arguments": piece}}]}

    def _close(self, place: int) -> list[Body]:
        """What only the end of a block tells: a signed thought, or that an input is empty."""
        block = self._blocks.get(place, {})
        chunks = []
        if thought := signed(block):
            chunks.append(self._chunk({"thinking_blocks": [{"index": self._thoughts, **thought}]}))
            self._thoughts += 1
        elif block.get("given") is False and (said := self._input(place, "{}")):
            chunks.append(self._chunk(said))
        self._blocks.pop(place, None)
        return chunks


@dataclass
class _Call:
    """A call as far as it has come, and the number of its block once that has begun."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    place: int | None = None


class FromChat:
    """Chunks of chat as a stream of Messages: one block after the other, even where calls come mixed."""

    def __init__(self, asked: Body) -> None:
        self._asked = asked
        self._begun = False
        self._places = 0
        self._open: str | _Call = ""
        self._calls: list[_Call] = []
        self._latest: dict[str, _Call] = {}
        self._finish: object = None
        self._refused = False
        self._usage = usage_from_chat({}, asked)
        self._over = False

    def event(self, chunk: Body) -> list[Body]:
        """The events that say what this chunk says."""
        if self._over:
            return []
        if error := chunk if "error_code" in chunk else chunk.get("error"):
            self._over = True
            return [_error(error)]
        events = self._begin(chunk)
        if usage := thing(chunk.get("usage")):
            self._usage = usage_from_chat(usage, self._asked)
        choice = first_choice(chunk)
        delta = thing(choice.get("delta"))
        refused = string(delta.get("refusal"))
        events += self._add("thinking", string(delta.get("reasoning_content")))
        events += self._add("text", text_in(delta.get("content")) + refused)
        for piece in objects(delta.get("tool_calls")):
            events += self._call(piece)
        self._refused = self._refused or bool(refused)
        self._finish = choice.get("finish_reason") or self._finish
        return events

    def end(self) -> list[Body]:
        """What is missing at the end: without a word of why it stopped, the stream was cut off."""
        if self._over:
            return []
        self._over = True
        reason = stop_reason(self._finish or "length", bool(self._calls), self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        ending = {"type": "message_delta", "delta": delta, "usage": self._usage}
        return [*self._begin({}), *self._close(), ending, {"type": "message_stop"}]

    def _begin(self, chunk: Body) -> list[Body]:
        if self._begun:
            return []
        self._begun = True
        message = {**head_for_messages(chunk, self._asked), "stop_reason": None, "usage": self._usage}
        return [{"type": "message_start", "message": message}]

    def _add(self, kind: str, text: str) -> list[Body]:
        """What is added to the open block, if it is one of this kind, or else to a new one."""
        if not text:
            return []
        events = []
        if self._open != kind:
            signature = {"signature": ""} if kind == "thinking" else {}
            events = [*self._close(), self._start({"type": kind, kind: "", **signature})]
            self._open = kind
        return [*events, self._delta(self._places - 1, {"type": f"{kind}_delta", kind: text})]

    def _call(self, piece: Body) -> list[Body]:
        """A piece of a call; it waits while the arguments of the call before it are not whole."""
        call, function = self._called(piece), thing(piece.get("function"))
        more = arguments(function)
        call.arguments += more
        if call.place is not None:
            return [self._delta(call.place, _input_delta(more))] if more else []
        waiting = [call for call in self._calls if call.place is None]
        events: list[Body] = []
        while waiting and not (isinstance(self._open, _Call) and read_json(self._open.arguments) is None):
            events += self._start_call(waiting.pop(0))
        return events

    def _called(self, piece: Body) -> _Call:
        """The call that a piece belongs to: by its index, unless it brings another id and another name."""
        index, id = str(piece.get("index")), string(piece.get("id"))
        name = string(thing(piece.get("function")).get("name"))
        call = self._latest.get(index)
        if call is None or (id and name and id != call.id):
            call = self._latest[index] = _Call()
            self._calls.append(call)
        call.id, call.name = call.id or id, call.name or name
        return call

    def _start_call(self, call: _Call) -> list[Body]:
        events = self._stop()
        self._open, call.place = call, self._places
        id = call.id or f"toolu_{self._calls.index(call)}"
        events.append(self._start(tool_use(id, {"name": call.name})))
        return [*events, self._delta(call.place, _input_delta(call.arguments))] if call.arguments else events

    def _close(self) -> list[Body]:
        """The end of the open block, and all of the calls that waited for it."""
        events = self._stop()
        for call in self._calls:
            if call.place is None:
                events += [*self._start_call(call), *self._stop()]
        return events

    def _start(self, block: Body) -> Body:
        self._places += 1
        return {"type": "content_block_start", "index": self._places - 1, "content_block": block}

    def _delta(self, place: int, delta: Body) -> Body:
        return {"type": "content_block_delta", "index": place, "delta": delta}

    def _stop(self) -> list[Body]:
        was_open, self._open = self._open, ""
        return [{"type": "content_block_stop", "index": self._places - 1}] if was_open else []


def _input_delta(piece: str) -> Body:
    return {"type": "input_json_delta", "partial_json": piece}


def _error(error: object) -> Body:
    """An error in the middle of a stream. Of its type only what Anthropic has is kept, for clients retry by it."""
    kind, message = thing(error).get("type"), thing(error).get("message")
    said = string(message) or (error if isinstance(error, str) else dumped(error))
    return {"type": "error", "error": {"type": kind if kind in _ERRORS else "api_error", "message": said}}
