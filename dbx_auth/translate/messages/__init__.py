"""Anthropic's Messages said in OpenAI's Chat Completions, and the other way round: requests, answers and streams.

https://docs.anthropic.com/en/api/messages · https://docs.anthropic.com/en/api/messages-streaming
https://platform.openai.com/docs/api-reference/chat · https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from .count import count
from .replies import reply_from_chat, reply_to_chat
from .requests_from_chat import request_from_chat
from .requests_to_chat import request_to_chat
from .streams import FromChat, ToChat

__all__ = ["FromChat", "ToChat", "count", "reply_from_chat", "reply_to_chat", "request_from_chat", "request_to_chat"]
