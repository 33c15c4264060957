"""What tells a model that it has thought something itself: Gemini's and Claude's signatures, OpenAI's seal.

Theirs are opaque and long. These are too, and tell by themselves whether they came from here.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

SKIPPED = "skip_thought_signature_validator"
"""What Google takes for the signature of a call that none was given for.

https://ai.google.dev/gemini-api/docs/thought-signatures
"""

_LENGTH, _CHECK = 180, 12


def sign(text: str) -> str:
    """The signature of a part with that text, the same for the same text."""
    opaque = hashlib.shake_256(text.encode("utf-8", "replace")).digest(_LENGTH)
    return base64.b64encode(opaque + _check(opaque)).decode()


def accepted(signature: Any) -> bool:
    """Whether Gemini takes it: one of ours, or the word that goes for any."""
    return signature == SKIPPED or genuine(signature)


def genuine(signature: Any) -> bool:
    """Whether it is one of ours, whatever it signs."""
    try:
        signed = base64.b64decode(signature, validate=True)
    except (TypeError, ValueError):
        return False
    return len(signed) == _LENGTH + _CHECK and signed[_LENGTH:] == _check(signed[:_LENGTH])


def _check(opaque: bytes) -> bytes:
    return hashlib.sha256(b"sandbox" + opaque).digest()[:_CHECK]
