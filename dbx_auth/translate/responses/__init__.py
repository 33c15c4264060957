"""OpenAI's Responses said in Chat Completions, and the other way round: requests, answers and streams.

https://platform.openai.com/docs/api-reference/responses
https://platform.openai.com/docs/api-reference/responses-streaming
https://platform.openai.com/docs/api-reference/chat

What only tunes an answer and is not in both APIs is left out, and so are tools that run on OpenAI's servers.
"""

from __future__ import annotations

from .replies import reply_from_chat, reply_to_chat
from .requests import request_from_chat, request_to_chat
from .streams_from_chat import FromChat
from .streams_to_chat import ToChat

__all__ = ["FromChat", "ToChat", "reply_from_chat", "reply_to_chat", "request_from_chat", "request_to_chat"]
