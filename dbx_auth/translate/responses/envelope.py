"""What stands around the items of a response: who made it, why it ended, what it used and what went wrong."""

from __future__ import annotations

from dbx_auth.fixes.walk import number
from dbx_auth.translate.common import Body, text_in, thing, thought_tokens, usage_in_chat

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is not complete, by chat's reasons to finish; the other way round below."""
_FINISH = {reason: finish for finish, reason in INCOMPLETE.items()}


def head(response: Body, object: str) -> Body:
    """What a chat completion and its chunks begin with."""
    id, model = text_in(response.get("id")), text_in(response.get("model"))
    return {"id": id, "object": object, "created": number(response.get("created_at")), "model": model}


def finish_reason(response: Body, calling: bool) -> str:
    """Why it ended, in chat's words: `tool_calls` where tools are called, for clients go by that."""
    if response.get("status") == "incomplete":
        return _FINISH.get(text_in(thing(response.get("incomplete_details")).get("reason")), "length")
    return "tool_calls" if calling else "stop"


def usage_to_chat(response: Body) -> Body:
    """The `usage` of a chat completion, if the response tells any."""
    if not isinstance(usage := response.get("usage"), dict):
        return {}
    asked, answered = number(usage.get("input_tokens")), number(usage.get("output_tokens"))
    cached = number(thing(usage.get("input_tokens_details")).get("cached_tokens"))
    thought = number(thing(usage.get("output_tokens_details")).get("reasoning_tokens"))
    return {"usage": usage_in_chat(asked, answered, cached=cached, thought=thought)}


def usage_from_chat(usage: Body) -> Body:
    """The `usage` of a response."""
    asked, answered = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    cached = number(thing(usage.get("prompt_tokens_details")).get("cached_tokens"))
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": thought_tokens(usage)},
        "total_tokens": asked + answered,
    }


def error_to_chat(error: object) -> Body:
    """Chat's error for one of a response."""
    code, message = error_in(error)
    return {"error": {"message": message, "type": "server_error", "param": None, "code": code}}


def error_in(error: object) -> tuple[str, str]:
    """The code of an error and what it says."""
    given = thing(error)
    code = given.get("code") or given.get("error_code")
    message = text_in(given.get("message")) or text_in(error) or "the model gave an error and did not say which"
    return code if isinstance(code, str) else "server_error", message
