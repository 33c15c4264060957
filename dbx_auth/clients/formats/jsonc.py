"""JSON with comments: read, and changed in the keys in question and nowhere else.

Comments, commas behind the last member, order, indentation, a BOM and ends of line stay as they are. A key that is
there twice counts where it stands last, as everywhere (RFC 8259, 4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

DEEPEST = 100
"""How many objects and arrays may stand in each other."""

WIDEST = 100
"""Characters of a value that is written in one line."""

_BLANK = re.compile(r"[ \t\r\n]+|(?://[^\r\n]*|/\*.*?\*/)", re.DOTALL)
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
_SCALAR = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)(?![\w.+-])")


class Node(NamedTuple):
    """A value and where it stands. An object has members, and the `tail` behind its last member or comment."""

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] | None = None
    tail: int = 0
    has_comments: bool = False


class Member(NamedTuple):
    """A key with its value; `comma` is where the comma behind it stands, -1 where there is none."""

    start: int
    key: str
    node: Node
    comma: int


class Edit(NamedTuple):
    start: int
    end: int
    text: str


def parse(text: str) -> dict[str, Any]:
    """What the text says; nothing where it says nothing. Raises ValueError naming the line."""
    root = _Reader(text).document()
    return dict(root.value) if root else {}


def merged(text: str, wanted: Mapping[str, Any]) -> str:
    """The text with these values; objects are merged, everything else is replaced. Raises ValueError as `parse`."""
    root, style = _Reader(text).document(), _Style(text)
    if root is None:
        gap = style.end if text.removeprefix("\ufeff") and not text.endswith("\n") else ""
        return text + gap + style.spelled(wanted, "", wide=True) + style.end
    edits: list[Edit] = []
    _merge(text, style, root, wanted, edits)
    return _applied(text, edits)


def without(text: str, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The text without these keys, and without the objects that this empties, but for those that are in `kept`."""
    root = _Reader(text).document()
    if root is None:
        return text
    return _applied(text, _removal(text, root, gone, kept)[0])


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith("\ufeff") else 0
        self._last = self._at
        self._comments = 0

    def document(self) -> Node | None:
        """The object that the text is; None where it is nothing but comments."""
        self._skip()
        if self._at == len(self._text):
            return None
        if self._text[self._at] != "{":
            raise self._wrong("it does not begin with an object")
        root = self._node(1)
        self._skip()
        if self._at < len(self._text):
            raise self._wrong("something follows behind the end")
        return root

    def _wrong(self, why: str, at: int | None = None) -> ValueError:
        return ValueError(f"line {self._text.count(chr(10), 0, self._at if at is None else at) + 1}: {why}")

    def _skip(self) -> None:
        while match := _BLANK.match(self._text, self._at):
            self._at = match.end()
            if match[0][0] == "/":
                self._last = self._at
                self._comments += 1

    def _next(self) -> str:
        self._skip()
        return self._text[self._at : self._at + 1]

    def _took(self, sign: str) -> bool:
        """Whether this comes next; then it is passed."""
        if self._next() != sign:
            return False
        self._at += 1
        self._last = self._at
        return True

    def _node(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise self._wrong("it is nested too deeply")
        match self._next():
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
        start = self._at
        found = _STRING.match(self._text, start) or _SCALAR.match(self._text, start)
        if not found:
            raise self._wrong("this is no value" if self._text[start:] else "it ends too early")
        self._at = self._last = found.end()
        return Node(start, found.end(), self._loaded(found[0], start))

    def _loaded(self, token: str, start: int) -> Any:
        try:
            return json.loads(token)
        except ValueError as error:  # an escape that there is not, or a number of thousands of digits
            raise self._wrong("this is no value", start) from error

    def _array(self, depth: int) -> Node:
        start, values = self._at, []
        self._took("[")
        while not self._took("]"):
            values.append(self._node(depth + 1).value)
            if not self._took(",") and self._next() != "]":
                raise self._wrong("a comma or the end of the array is missing")
        return Node(start, self._at, values)

    def _object(self, depth: int) -> Node:
        start, comments = self._at, self._comments
        members: list[Member] = []
        self._took("{")
        while self._next() != "}":
            members.append(self._member(depth))
            if members[-1].comma < 0 and self._next() != "}":
                raise self._wrong("a comma or the end of the object is missing")
        tail = self._last
        self._took("}")
        value = {member.key: member.node.value for member in members}
        return Node(start, self._at, value, tuple(members), tail, self._comments > comments)

    def _member(self, depth: int) -> Member:
        start = self._at
        found = _STRING.match(self._text, start)
        if not found:
            raise self._wrong("a key in quotes is missing" if self._text[start:] else "it ends too early")
        self._at = found.end()
        if not self._took(":"):
            raise self._wrong("a colon is missing")
        node = self._node(depth + 1)
        return Member(start, self._loaded(found[0], start), node, self._at - 1 if self._took(",") else -1)


class _Style:
    """How a text is written: its ends of line, and by what its first member is indented."""

    def __init__(self, text: str) -> None:
        self.end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        first = re.search(r'\{[ \t]*\r?\n([ \t]+)"', text)
        self.unit = first[1] if first else "  "

    def spelled(self, value: Any, indent: str, *, wide: bool = False) -> str:
        """A value whose line is indented by that much; one that is short, or not to be `wide`, in one line."""
        short = json.dumps(value, ensure_ascii=False)
        if not isinstance(value, dict | list) or not value or (len(short) <= WIDEST and not wide):
            return short
        deeper = indent + self.unit
        lines = [self.member(*pair, deeper) for pair in value.items()] if isinstance(value, dict) else [
            self.spelled(each, deeper) for each in value
        ]  # fmt: skip
        inside = f",{self.end}{deeper}".join(lines)
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return f"{opening}{self.end}{deeper}{inside}{self.end}{indent}{closing}"

    def member(self, key: str, value: Any, indent: str) -> str:
        return f"{json.dumps(key, ensure_ascii=False)}: {self.spelled(value, indent)}"


def _merge(text: str, style: _Style, node: Node, wanted: Mapping[str, Any], edits: list[Edit]) -> None:
    there = {member.key: member.node for member in node.members or ()}
    for key, value in wanted.items():
        if key not in there or same(there[key].value, value):
            continue
        if isinstance(value, dict) and there[key].members is not None:
            _merge(text, style, there[key], value, edits)
        else:
            edits.append(Edit(there[key].start, there[key].end, style.spelled(value, _indent(text, there[key].start))))
    if new := {key: value for key, value in wanted.items() if key not in there}:
        _insert(text, style, node, new, edits)


def same(one: Any, other: Any) -> bool:
    """Whether two values are written alike: 1, 1.0 and true are not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _insert(text: str, style: _Style, node: Node, new: Mapping[str, Any], edits: list[Edit]) -> None:
    """Put new members behind the last one, and behind the comments that follow it."""
    members = node.members or ()
    last = members[-1] if members else None
    comma = "," if last and last.comma >= 0 else ""
    if last and not comma:
        edits.append(Edit(last.node.end, last.node.end, ","))
    if last and "\n" not in text[node.start : node.end]:
        line = ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {json.dumps(v, ensure_ascii=False)}" for k, v in
                         new.items())  # fmt: skip
        edits.append(Edit(node.tail, node.tail, f" {line}{comma}"))
        return
    base = _indent(text, node.start)
    starts_line = last and not text[text.rfind("\n", 0, last.start) + 1 : last.start].strip()
    indent = _indent(text, last.start) if last and starts_line else base + style.unit
    lines = f",{style.end}{indent}".join(style.member(key, value, indent) for key, value in new.items())
    closing = "" if last or "\n" in text[node.tail : node.end] else style.end + base
    edits.append(Edit(node.tail, node.tail, f"{style.end}{indent}{lines}{comma}{closing}"))


def _indent(text: str, at: int) -> str:
    """The blanks that the line begins with in which this stands."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _removal(text: str, node: Node, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[list[Edit], bool]:
    """What takes these keys out of an object, and whether nothing is left in it then."""
    edits: list[Edit] = []
    members = node.members or ()
    removed = []
    for member in members:
        if member.key not in gone:
            continue
        below = gone[member.key]
        if not isinstance(below, dict):
            removed.append(member)
        elif member.node.members is not None:
            before = kept.get(member.key)
            inner, is_empty = _removal(text, member.node, below, before if isinstance(before, dict) else {})
            if is_empty and not isinstance(before, dict):
                removed.append(member)
            else:
                edits += inner
    edits += [Edit(*_span(text, member), "") for member in removed]
    left = [member for member in members if member not in removed]
    if removed and left and members[-1] in removed and members[-1].comma < 0:
        edits.append(Edit(left[-1].comma, left[-1].comma + 1, ""))
    return edits, not left and not node.has_comments


def _span(text: str, member: Member) -> tuple[int, int]:
    """All that goes with a member: its comma, and its line where nothing else is in it."""
    end = max(member.node.end, member.comma + 1)
    before = text[: member.start].rstrip(" \t")
    after = re.match(r"[ \t]*(\r?\n)?", text[end:])
    if after and after[1] and before.endswith("\n"):
        return len(before.removesuffix("\n").removesuffix("\r")), end
    return member.start, end + (after.end() if after and not after[1] else 0)


def _applied(text: str, edits: list[Edit]) -> str:
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])
