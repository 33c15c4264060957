"""How many tokens a request is, without asking anybody."""

from __future__ import annotations

from dbx_auth.translate.common import Body, dumped, objects, string

IMAGE_TOKENS = 1600
"""What an image counts for, whatever its size."""


def count(body: Body) -> int:
    """About how many tokens a request of Messages is: four characters one, and a flat number for an image."""
    said = [body.get("system"), *(turn.get("content") for turn in objects(body.get("messages")))]
    blocks = [block for content in said for block in objects(content)]
    results = [block.get("content") for block in blocks if block.get("type") == "tool_result"]
    blocks += [block for content in results for block in objects(content)]
    texts = [content for content in [*said, *results] if isinstance(content, str)]
    texts += [_counted(block) for block in blocks] + [dumped(tool) for tool in objects(body.get("tools"))]
    images = sum(block.get("type") in ("image", "document") for block in blocks)
    return -(-sum(map(len, texts)) // 4) + images * IMAGE_TOKENS


def _counted(block: Body) -> str:
    kind = block.get("type")
    if kind in ("image", "document", "tool_result"):
        return ""
    return string(block.get(kind)) if kind in ("text", "thinking") else dumped(block)
