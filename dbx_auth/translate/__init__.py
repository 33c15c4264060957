"""From one API to another: what a client says in its own, and what a model understands that speaks another one.

    steps = translate.between("messages", model.apis)          # None: no way; otherwise the API to call it through
    body = translate.request("messages", "chat", asked)
    answer = translate.reply("messages", "chat", answer, asked)
    stream = translate.Stream("messages", "chat", asked); events = stream.event(event); more = stream.end()

Chat is in the middle: the other two are translated to it and from it, and each other by way of it. Pure, like `fixes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from dbx_auth.catalogue import APIS
from dbx_auth.fixes import walk

from . import messages, responses
from .common import Body, Untranslatable
from .messages import count

__all__ = ["Body", "Stream", "Untranslatable", "between", "count", "reply", "request"]

CHAT, RESPONSES, MESSAGES, GENERATE, EMBEDDINGS = APIS

_PAIRS: dict[str, ModuleType] = {RESPONSES: responses, MESSAGES: messages}


def between(client: str, apis: Sequence[str]) -> str | None:
    """Through which of its APIs a model is called by a client of this one; None where there is no way.

    Its own is the best, and nothing needs to be translated; of a model about which nobody has said, it is the one.
    """
    if client in apis or not apis:
        return client
    if client not in (CHAT, *_PAIRS):
        return None
    return next((api for api in (CHAT, *_PAIRS) if api in apis), None)


def request(client: str, model: str, asked: Body, *, thinks: bool = True) -> Body:
    """A request as the model's API has it; one that does not think is not asked to.

    Raises Untranslatable where that API has no way to say what is asked.
    """
    if client == model:
        return asked
    chat: Body = asked if client == CHAT else _PAIRS[client].request_to_chat(asked)
    if not thinks:
        chat = walk.without(chat, "reasoning_effort")
    if model != CHAT:
        return dict(_PAIRS[model].request_from_chat(chat))
    # What was thought before is for the two APIs that know it; families that speak chat alone may refuse the words.
    chat = walk.messages(chat, lambda message: walk.without(message, "reasoning_content", "thinking_blocks"))
    if chat.get("stream"):  # the client's API tells what it has used at the end of each stream
        return {**chat, "stream_options": {"include_usage": True}}
    return chat


def reply(client: str, model: str, answer: Body, asked: Body) -> Body:
    """A whole answer as the client's API has it; `asked` is the request as it came."""
    if client == model:
        return answer
    chat: Body = answer if model == CHAT else _PAIRS[model].reply_to_chat(answer)
    return chat if client == CHAT else dict(_PAIRS[client].reply_from_chat(chat, asked))


class Stream:
    """The events of an answer, one after the other."""

    def __init__(self, client: str, model: str, asked: Body) -> None:
        self._steps = [] if client == model else [_PAIRS[model].ToChat()] if model != CHAT else []
        if client not in (CHAT, model):
            self._steps.append(_PAIRS[client].FromChat(asked))

    def event(self, event: Body) -> list[Body]:
        """What to hand on for an event of the model's."""
        return self._through([event], 0)

    def end(self) -> list[Body]:
        """What is missing when the stream is over, or was cut off."""
        left: list[Body] = []
        for number, step in enumerate(self._steps):
            left += self._through(step.end(), number + 1)
        return left

    def _through(self, events: list[Body], first: int) -> list[Body]:
        for step in self._steps[first:]:
            events = [new for event in events for new in step.event(event)]
        return events
