"""Whole answers, from Responses to chat and back."""

from __future__ import annotations

from dbx_auth.translate.common import Body, first_choice, objects, thing

from .envelope import error_to_chat, finish_reason, head, usage_to_chat
from .items import said
from .streams_from_chat import FromChat


def reply_to_chat(reply: Body) -> Body:
    """A chat completion for a whole response, or chat's error for one that failed."""
    if reply.get("status") == "failed" or reply.get("error"):
        return error_to_chat(reply.get("error"))
    message = said(objects(reply.get("output")))
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(reply, "tool_calls" in message)}
    return {**head(reply, "chat.completion"), "choices": [choice], **usage_to_chat(reply)}


def reply_from_chat(reply: Body, asked: Body) -> Body:
    """A whole response for a chat completion: what its stream would have come to."""
    stream = FromChat(asked)
    choice = first_choice(reply)
    chunk = {"delta": choice.get("message"), "finish_reason": choice.get("finish_reason") or "stop"}
    events = [*stream.event({**reply, "choices": [chunk]}), *stream.end()]
    return thing(events[-1]["response"])
