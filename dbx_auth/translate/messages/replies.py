"""Whole answers, from Messages to chat and back."""

from __future__ import annotations

from dbx_auth.fixes.walk import number
from dbx_auth.translate.common import (
    Body,
    assistant_message,
    dumped,
    first_choice,
    objects,
    string,
    text_in,
    text_part,
    thing,
    thought_tokens,
    tool_call,
    usage_in_chat,
)

from .blocks import ANSWER, signed, tool_use
from .count import count

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_STOP = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}


def reply_to_chat(reply: Body) -> Body:
    """An answer of Messages as a chat completion. Signed thoughts stand in `thinking_blocks`, to be sent back."""
    blocks = objects(reply.get("content"))
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    answers = [dumped(block.get("input")) for block in calls if block.get("name") == ANSWER]
    calls = [_tool_call(block) for block in calls if block.get("name") != ANSWER]
    text = "".join([*(string(block.get("text")) for block in blocks if block.get("type") == "text"), *answers])
    message = assistant_message(
        text or (None if calls else ""),
        reasoning_content="".join(string(block.get("thinking")) for block in blocks),
        thinking_blocks=[each for each in map(signed, blocks) if each],
        tool_calls=calls,
        **refusal(reply),
    )
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(reply.get("stop_reason"), bool(calls))}
    usage = usage_to_chat(thing(reply.get("usage")))
    return {**head_for_chat(reply), "object": "chat.completion", "choices": [choice], "usage": usage}


def _tool_call(block: Body) -> Body:
    return tool_call(string(block.get("id")), string(block.get("name")), dumped(thing(block.get("input"))))


def head_for_chat(message: Body) -> Body:
    """What a chat completion and its chunks begin with."""
    id, model = message.get("id"), message.get("model")
    return {"id": string(id) or "chatcmpl", "created": 0, "model": string(model)}


def refusal(given: Body) -> Body:
    """Why the model would not answer, where it is said."""
    why = thing(given.get("stop_details")).get("explanation")
    return {"refusal": why} if isinstance(why, str) else {}


def finish_reason(stop: object, calling: bool) -> str:
    """`tool_calls` where tools are called, for clients go by that; the tool that takes the answer is none of theirs."""
    reason = _FINISH.get(string(stop), "stop")
    return ("tool_calls" if calling else "stop") if reason in ("stop", "tool_calls") else reason


def usage_to_chat(usage: Body) -> Body:
    """What was used, as chat counts it: what a cache gave and took is a part of what was asked."""
    read, written = number(usage.get("cache_read_input_tokens")), number(usage.get("cache_creation_input_tokens"))
    asked, answered = number(usage.get("input_tokens")) + read + written, number(usage.get("output_tokens"))
    thought = number(thing(usage.get("output_tokens_details")).get("thinking_tokens"))
    return usage_in_chat(asked, answered, cached=read, thought=thought, written=written)


def reply_from_chat(reply: Body, asked: Body) -> Body:
    """A chat completion as an answer of Messages; `asked` is what it answers. Its thoughts have empty signatures."""
    choice = first_choice(reply)
    message = thing(choice.get("message"))
    thought, refused = string(message.get("reasoning_content")), string(message.get("refusal"))
    text = text_in(message.get("content")) + refused
    calls = objects(message.get("tool_calls"))
    content = [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []
    content += [text_part(text)] if text else []
    content += [_tool_use(call, place) for place, call in enumerate(calls)]
    stop = stop_reason(choice.get("finish_reason"), bool(calls), bool(refused))
    usage = usage_from_chat(thing(reply.get("usage")), asked)
    return {**head_for_messages(reply, asked), "content": content, "stop_reason": stop, "usage": usage}


def _tool_use(call: Body, place: int) -> Body:
    return tool_use(string(call.get("id")) or f"toolu_{place}", thing(call.get("function")))


def head_for_messages(reply: Body, asked: Body) -> Body:
    """What an answer of Messages begins with, as a whole and as a stream."""
    id, model = string(reply.get("id")) or "msg", string(reply.get("model")) or string(asked.get("model"))
    return {"id": id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_sequence": None}


def stop_reason(finish: object, calling: bool, refused: bool) -> str:
    """`tool_use` where tools are called, as clients expect, and `refusal` where the model would not answer."""
    reason = "refusal" if refused else _STOP.get(string(finish), "end_turn")
    return ("tool_use" if calling else "end_turn") if reason in ("end_turn", "tool_use") else reason


def usage_from_chat(usage: Body, asked: Body) -> Body:
    """What was used, or an estimate of what was asked where a family does not say."""
    if not usage:
        return {"input_tokens": count(asked), "output_tokens": 0}
    asked_for = thing(usage.get("prompt_tokens_details"))
    read, written = number(asked_for.get("cached_tokens")), number(asked_for.get("cache_write_tokens"))
    return {
        "input_tokens": max(0, number(usage.get("prompt_tokens")) - read - written),
        "output_tokens": number(usage.get("completion_tokens")),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens_details": {"thinking_tokens": thought_tokens(usage)},
    }
