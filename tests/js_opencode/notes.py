"""A server of the Model Context Protocol, as small as one can be: one tool, over stdin and stdout.

Its schema is as libraries make them from classes: with references, and words that Google does not know. What the tool
was called with is written to the file that is its argument.
"""

from __future__ import annotations

import json
import sys
from typing import Any

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"note": {"$ref": "#/$defs/Note", "description": "what to keep"}},
    "required": ["note"],
    "additionalProperties": False,
    "$defs": {
        "Note": {
            "type": "object",
            "properties": {"title": {"type": "string", "maxLength": 80}},
            "required": ["title"],
            "additionalProperties": False,
        }
    },
}
TOOL = {"name": "keep", "description": "Keep a note", "inputSchema": SCHEMA}


def answer(asked: dict[str, Any], path: str) -> dict[str, Any]:
    params = asked.get("params", {})
    match asked["method"]:
        case "initialize":
            about = {"name": "notes", "version": "1"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": about}
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            with open(path, "a") as file:
                file.write(json.dumps(params["arguments"]) + "\n")
            return {"content": [{"type": "text", "text": "the note is kept"}]}
        case _:
            return {}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:  # the others are notices, which nobody answers
            told = {"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked, sys.argv[1])}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
