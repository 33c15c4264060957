"""Ids that are too long, or where a family wants none; and the signature of a thought, which travels in one."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from dbx_auth.catalogue import Facts

from . import walk
from .row import Seen
from .walk import MESSAGES, RESPONSES, Body, Message

ITEM_ID = 64
"""Characters that an id of OpenAI's Responses API may have."""

SIGNED = "__sig_"
"""Stands in the id of a tool call before the thought signature that goes with it."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google takes for the signature of a call that another model made. https://ai.google.dev/gemini-api/docs/thought-signatures"""


def _short(id: str) -> str:
    """An id of 64 characters for a longer one, always the same one, and with its first letters (`msg_`, `fc_`)."""
    return id if len(id) <= ITEM_ID else f"{id[:23]}_{hashlib.sha256(id.encode(errors='replace')).hexdigest()[:40]}"


def _short_ids(item: Body) -> Body:
    for name in ("id", "call_id", "item_id"):
        if isinstance(item.get(name), str) and len(item[name]) > ITEM_ID:
            item = {**item, name: _short(item[name])}
    return item


def short_item_ids(body: Body, api: str, facts: Facts) -> Body:
    return walk.every(body, "input", _short_ids)


def short_ids_of_a_reply(body: Body) -> Body:
    return walk.every(body, "output", _short_ids)


def one_id_for_an_item(event: Body, seen: Seen) -> Body:
    """The id that an item had when it was first named, in every event about it."""
    place = event.get("output_index")
    if isinstance(place, int):
        event = walk.at(
            event, "item_id", lambda id: seen.items.setdefault(place, _short(id)) if isinstance(id, str) else id
        )
        event = walk.inside(event, "item", lambda item: _known(item, place, seen))

    def whole(response: Body) -> Body:
        items = response.get("output")
        if not isinstance(items, list):
            return response
        new = [_known(item, n, seen) if isinstance(item, dict) else item for n, item in enumerate(items)]
        return response if all(a is b for a, b in zip(new, items, strict=True)) else {**response, "output": new}

    return walk.inside(event, "response", whole)


def _known(item: Body, place: int, seen: Seen) -> Body:
    item = _short_ids(item)
    if not isinstance(item.get("id"), str):
        return item
    known = seen.items.setdefault(place, item["id"])
    return item if item["id"] == known else {**item, "id": known}


def no_function_call_id(body: Body, api: str, facts: Facts) -> Body:
    def part(each: Body) -> Body:
        for name in ("functionCall", "functionResponse", "function_call", "function_response"):
            each = walk.inside(each, name, lambda call: walk.without(call, "id"))
        return each

    return walk.every(body, "contents", lambda content: walk.every(content, "parts", part))


def _signed_id(call: Body) -> Body:
    """A call whose id holds its signature as well: clients give ids back, and not much else."""
    signature, id = call.get("thoughtSignature"), call.get("id")
    if not isinstance(signature, str) or not isinstance(id, str) or SIGNED in id:
        return call
    return {
        **call,
        "id": id + SIGNED + base64.urlsafe_b64encode(signature.encode(errors="surrogatepass")).decode().rstrip("="),
    }


def signature_in(id: object) -> tuple[Any, str]:
    """An id as the family gave it, and the signature that we put into it."""
    if not isinstance(id, str) or SIGNED not in id:
        return id, ""
    plain, _, packed = id.partition(SIGNED)
    try:
        return plain, base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode(errors="surrogatepass")
    except (binascii.Error, ValueError):
        return plain, ""


def thought_signature(body: Body, api: str, facts: Facts) -> Body:
    needed = facts.family == "gemini-3"

    def change(message: Message) -> Message:
        calls = walk.calls(message)
        first = calls[0] if calls else None
        message = walk.every(message, "tool_calls", lambda c: call(c, needed and c is first))
        return walk.at(message, "tool_call_id", lambda id: signature_in(id)[0])

    def call(given: Body, must: bool) -> Body:
        id, packed = signature_in(given.get("id"))
        given = walk.put(given, "id", id) if "id" in given else given
        if isinstance(given.get("thoughtSignature"), str):
            return given
        signature = packed or _google_s(given) or (NO_SIGNATURE if must else "")
        return {**given, "thoughtSignature": signature} if signature else given

    return walk.messages(body, change)


def _google_s(call: Body) -> str:
    """The signature where Google's own OpenAI-compatible API has it."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def signed_calls(body: Body) -> Body:
    return walk.choices(body, "message", lambda message: walk.every(message, "tool_calls", _signed_id))


def signed_calls_of_an_event(event: Body, seen: Seen) -> Body:
    return walk.choices(event, "delta", lambda delta: walk.every(delta, "tool_calls", _signed_id))


def plain_ids(body: Body, api: str, facts: Facts) -> Body:
    """For every other family: a conversation may move from one to another, and our ids are too long for them."""
    if "thought-signature" in facts.quirks:
        return body
    if api == RESPONSES:
        return walk.every(body, "input", lambda item: _plain(item, "call_id"))
    if api == MESSAGES:
        return walk.messages(body, lambda turn: walk.parts(turn, lambda block: _plain(block, "id", "tool_use_id")))
    return walk.messages(
        body, lambda turn: walk.every(_plain(turn, "tool_call_id"), "tool_calls", lambda call: _plain(call, "id"))
    )


def _plain(given: Body, *names: str) -> Body:
    """An object with these ids as the family gave them."""
    for name in names:
        given = walk.at(given, name, lambda id: signature_in(id)[0])
    return given
