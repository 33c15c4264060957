"""Files that belong to other programs: only our keys change in them, and all of it comes back."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st
from machine import Machine

from dbx_auth.clients import plan
from dbx_auth.clients.formats import FORMATS, dotenv, jsonc, toml
from dbx_auth.errors import ConfigError
from dbx_auth.world import World

thorough = settings(max_examples=300, deadline=None, derandomize=True)

WANTED: dict[str, dict[str, Any]] = {
    "json": {
        "helper": "/a b/dbx-auth token",
        "env": {"URL": "https://x.y", "TTL": "240000"},
        "provider": {"ours": {"list": [{"id": "m"}], "options": {"on": True, "n": 1}}},
    },
    "toml": {
        "model": "m",
        "provider": "ours",
        "providers": {"ours": {"name": "Ours", "auth": {"command": "/a b/dbx-auth", "args": ["token"], "n": 5}}},
    },
    "dotenv": {"URL": "http://127.0.0.1:1", "KEY": "a b", "MODEL": "m"},
}
"""What is to stand in a file of each format: values at the top, and deep in tables that may be there already."""

NAMES = ["a", "b", "helper", "env", "provider", "ours", "model", "providers", "ünï", "x y"]


# ---- texts as people write them --------------------------------------------------------------------------------------


class Marks:
    """Comments that can be told apart, to see afterwards that each is still there."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def new(self) -> str:
        self.made.append(f"note {len(self.made)}.")
        return self.made[-1]


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 10**6), st.text('ab"\\/{}[],:# ü', max_size=6))


@st.composite
def json_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A JSON object with comments, and those that have to stay: any blanks, commas behind the last, BOM, ends of line.

    What stands in an array goes with it when a value of ours takes its place.
    """
    kept, lost, end = Marks(), Marks(), draw(st.sampled_from(["\n", "\r\n"]))
    indents = st.sampled_from(["", " ", "  ", "\t", end, f"{end}  ", f"{end}\t"])

    def gap(marks: Marks) -> str:
        kind = draw(st.integers(0, 9))
        if kind == 0:
            return f"{draw(indents)}// {marks.new()}{end}{draw(indents)}"
        return f"{draw(indents)}/* {marks.new()} */{draw(indents)}" if kind == 1 else draw(indents)

    def value(depth: int, marks: Marks) -> str:
        kind = draw(st.integers(0, 5)) if depth < 3 else 0
        if kind in (1, 2):
            return members(depth, marks)
        if kind == 3:
            items = ",".join(gap(lost) + value(depth + 1, lost) + gap(lost) for _ in range(draw(st.integers(0, 2))))
            return f"[{items}{draw(st.sampled_from(['', ','])) if items else ''}]"
        return json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))

    def members(depth: int, marks: Marks) -> str:
        is_unique = draw(st.integers(0, 5)) > 0
        names: list[str] = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=is_unique))
        inside = ",".join(
            f"{gap(marks)}{json.dumps(name)}{gap(marks)}:{gap(marks)}{value(depth + 1, marks)}{gap(marks)}"
            for name in names
        )
        return f"{{{inside}{draw(st.sampled_from(['', ','])) if names else ''}{gap(marks)}}}"

    bom = draw(st.sampled_from(["", "", "\ufeff"]))
    body = draw(st.integers(0, 9))
    return bom + gap(kept) + (members(0, kept) + gap(kept) if body else ""), kept.made


@st.composite
def toml_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A TOML document with comments, and those comments."""
    marks, end = Marks(), draw(st.sampled_from(["\n", "\r\n"]))
    keys = st.sampled_from(["a", "b", "model", "provider", "model.x", '"x y"', "'ü'", "deep.er"])
    headers = st.sampled_from(["t", "t.u", "providers.other", "providers.ours", "providers", '"x y"', "a.b.c"])
    values = st.sampled_from(
        ['"v"', "'v'", "1", "1_000", "1.5", "true", "2026-01-02T03:04:05Z", "[1, 2]", '["x",\n  "y", # z\n]',
         "{ a = 1, b = { c = 2 } }", '"""two\nlines"""', "0x1F", "[]", "{}"]
    )  # fmt: skip

    def comment() -> str:
        return f" # {marks.new()}" if draw(st.integers(0, 3)) == 0 else ""

    def assignments() -> list[str]:
        names = draw(st.lists(keys, max_size=4, unique=True))
        lines = []
        for name in names:
            lines += [f"# {marks.new()}"] if draw(st.integers(0, 4)) == 0 else []
            lines += [""] if draw(st.integers(0, 4)) == 0 else []
            indent, sign = draw(st.sampled_from(["", "", "  "])), draw(st.sampled_from([" = ", "=", "  =  "]))
            lines.append(f"{indent}{name}{sign}{draw(values)}{comment()}")
        return lines

    lines = assignments()
    for header in draw(st.lists(headers, max_size=4, unique=True)):
        is_list = header == "t" and draw(st.booleans())
        lines += ["", f"[[{header}]]{comment()}"] if is_list else ["", f"[{header}]{comment()}"]
        lines += assignments()
    text = "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))
    try:
        tomllib.loads(text)
    except ValueError:
        assume(False)
    return draw(st.sampled_from(["", "", "\ufeff"])) + text.replace("\n", end), marks.made


@st.composite
def dotenv_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Lines of KEY=value and comments, and those comments."""
    marks, end = Marks(), draw(st.sampled_from(["\n", "\r\n"]))
    values = st.sampled_from(["", "v", "'a # b'", '"a\\nb"', "two words", '"two\nlines"', "`x`", "a=b", "$HOME", "''"])
    lines = []
    for name in draw(st.lists(st.sampled_from(["A", "B", "URL", "KEY", "MODEL", "x.y", "C-D"]), max_size=6)):
        lines += [f"# {marks.new()}"] if draw(st.integers(0, 3)) == 0 else []
        lines += [draw(st.sampled_from(["", "  "]))] if draw(st.integers(0, 3)) == 0 else []
        head, sign = draw(st.sampled_from(["", "", "export ", "  "])), draw(st.sampled_from(["=", " = ", "= "]))
        note = f"  # {marks.new()}" if draw(st.integers(0, 3)) == 0 else ""
        lines.append(f"{head}{name}{sign}{draw(values)}{note}")
    last = draw(st.sampled_from([end, ""]))
    text = end.join(lines) + (last if lines else "")
    return draw(st.sampled_from(["", "", "\ufeff"])) + text, marks.made


TEXTS = {"json": json_texts(), "toml": toml_texts(), "dotenv": dotenv_texts()}


@contextmanager
def home() -> Iterator[tuple[Path, World]]:
    """A home of its own for each example."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder), World(env={}, home=folder)


def together(said: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What was said, and what is wanted over it."""
    new = dict(said)
    for key, value in wanted.items():
        new[key] = together(new.get(key, {}), value) if isinstance(value, dict) else value
    return new


def everything(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and ".local" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


# ---- nothing is lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_write_and_undo_leave_every_file_byte_for_byte_as_it_was(format: str) -> None:
    """And in between the file says what it said and what is wanted, with each comment in it, once and for all."""
    kind, wanted, counts = FORMATS[format], WANTED[format], {"written": 0, "refused": 0}

    @thorough
    @given(TEXTS[format])
    def check(given: tuple[str, list[str]]) -> None:
        text, notes = given
        with home() as (folder, world):
            file = folder / "dir" / "settings"
            file.parent.mkdir()
            file.write_bytes(text.encode())
            before, said = everything(folder), kind.parse(text)
            try:
                change = plan.write("c", str(file), format, wanted, world)
            except ConfigError:
                counts["refused"] += 1
                assert everything(folder) == before, "and what is refused is left as it was"
                return
            counts["written"] += 1
            now = file.read_bytes().decode()
            assert kind.parse(now) == together(said, wanted)
            assert [note for note in notes if note not in now] == []
            assert now.startswith("\ufeff") == text.startswith("\ufeff")
            assert not change.is_there or not plan.write("c", str(file), format, wanted, world).is_there
            assert file.read_bytes().decode() == now, "and a second time changes nothing"
            plan.undo("c", world)
            assert everything(folder) == before

    check()
    assert counts["written"] >= 200, counts


@pytest.mark.parametrize("format", FORMATS)
def test_what_somebody_changed_since_stays_and_only_our_keys_go(format: str) -> None:
    kind, wanted = FORMATS[format], WANTED[format]
    theirs = {"theirs": "new"}

    @thorough
    @given(TEXTS[format])
    def check(given: tuple[str, list[str]]) -> None:
        text, notes = given
        with home() as (folder, world):
            file = folder / "settings"
            file.write_bytes(text.encode())
            said = kind.parse(text)
            try:
                plan.write("c", str(file), format, wanted, world)
                file.write_bytes(kind.merged(file.read_bytes().decode(), theirs).encode())
            except (ConfigError, ValueError):
                return
            plan.undo("c", world)
            now = file.read_bytes().decode()
            assert kind.parse(now) == {**said, **theirs}
            assert [note for note in notes if note not in now] == []

    check()


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_was_not_there_is_gone_again_and_its_directories(machine: Machine, format: str) -> None:
    file = machine.home / "a" / "b" / "settings"
    (machine.home / "a").mkdir()
    plan.write("c", str(file), format, WANTED[format], machine.world)
    assert FORMATS[format].parse(file.read_text()) == WANTED[format]
    assert file.stat().st_mode & 0o777 == 0o600
    plan.undo("c", machine.world)
    assert list((machine.home / "a").iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_value_that_was_there_comes_back_although_the_file_was_changed(machine: Machine, format: str) -> None:
    kind = FORMATS[format]
    key = next(iter(WANTED[format]))
    text = kind.merged("", {key: "old", "kept": "1"})
    file = machine.write(machine.home / "settings", text)
    plan.write("c", str(file), format, WANTED[format], machine.world)
    file.write_text(kind.merged(file.read_text(), {"kept": "2"}))
    [done] = plan.undo("c", machine.world)
    assert kind.parse(file.read_text()) == {key: "old", "kept": "2"}
    assert Path(done.backup).read_text() == text, "and the file as it was is still there"


@pytest.mark.parametrize("format", FORMATS)
def test_a_key_that_somebody_else_took_over_is_theirs(machine: Machine, format: str) -> None:
    kind = FORMATS[format]
    key = next(iter(WANTED[format]))
    file = machine.write(machine.home / "settings", kind.merged("", {"kept": "1"}))
    plan.write("c", str(file), format, WANTED[format], machine.world)
    file.write_text(kind.merged(file.read_text(), {key: "another tool"}))
    plan.undo("c", machine.world)
    assert kind.parse(file.read_text()) == {key: "another tool", "kept": "1"}


# ---- each format -----------------------------------------------------------------------------------------------------


CLAUDE = """\
// mine
{
    "model": "opus", // the good one
    "env": {
        "EDITOR": "vi" /* of course */
    },
    "hooks": [1, 2,],
    // the end
}
"""


def test_json_keeps_its_comments_its_commas_and_its_indentation() -> None:
    wanted = {"helper": "h", "env": {"URL": "u"}}
    assert jsonc.merged(CLAUDE, wanted) == CLAUDE.replace(
        '"vi" /* of course */\n', '"vi", /* of course */\n        "URL": "u"\n'
    ).replace("// the end\n", '// the end\n    "helper": "h",\n')
    assert jsonc.without(jsonc.merged(CLAUDE, wanted), wanted, jsonc.parse(CLAUDE)) == CLAUDE


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("", '{\n  "a": {"b": 1}\n}\n'),
        ("{}", '{\n  "a": {"b": 1}\n}'),
        ('{"x": 1}', '{"x": 1, "a": {"b": 1}}'),
        ('{"x": 1, }', '{"x": 1, "a": {"b": 1}, }'),
        ('{"a": {}}', '{"a": {\n  "b": 1\n}}'),
        ('{"a": {"b": 2, "b": 3}}', '{"a": {"b": 2, "b": 1}}'),
        ('{\r\n\t"x": 1\r\n}\r\n', '{\r\n\t"x": 1,\r\n\t"a": {"b": 1}\r\n}\r\n'),
        ('{ // c\n}', '{ // c\n  "a": {"b": 1}\n}'),
        ("// c", '// c\n{\n  "a": {"b": 1}\n}\n'),
        ('{"a": {"b": true}}', '{"a": {"b": 1}}'),
        ('{"a": {"b": 1.0}}', '{"a": {"b": 1}}'),
    ],
)  # fmt: skip
def test_json_changes_only_where_it_has_to(text: str, new: str) -> None:
    assert jsonc.merged(text, {"a": {"b": 1}}) == new


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n"a": 1\n"b": 2}', "line 3: a comma or the end of the object is missing"),
        ('{"a": [1\n2]}', "line 2: a comma or the end of the array is missing"),
        ('{\n\n"a" 1}', "line 3: a colon is missing"),
        ("{a: 1}", "line 1: a key in quotes is missing"),
        ("{'a': 1}", "line 1: a key in quotes is missing"),
        ('{"a": .5}', "line 1: this is no value"),
        ('{"a": 01}', "line 1: this is no value"),
        ('{"a": NaN}', "line 1: this is no value"),
        ('{"a": "\\x"}', "line 1: this is no value"),
        ('{"a": "b\nc"}', "line 1: this is no value"),
        ('{"a":', "line 1: it ends too early"),
        ('{"a": 1', "line 1: a comma or the end of the object is missing"),
        ("{\n/* never closed", "line 2: a key in quotes is missing"),
        ("[1]", "line 1: it does not begin with an object"),
        ("{}\n{}", "line 2: something follows behind the end"),
        ('{"a": ' + "[" * 5000, "line 1: it is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "line 1: this is no value"),
    ],
    ids=range(17),
)
def test_json_that_cannot_be_understood_is_refused_with_its_line(text: str, told: str) -> None:
    for refused in (lambda: jsonc.parse(text), lambda: jsonc.merged(text, {"x": 1})):
        with pytest.raises(ValueError, match=f"^{told}$"):
            refused()


@given(st.text('{}[]",:/*\n\\ a1t-', max_size=40))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_json_of_any_kind_is_read_or_refused(text: str) -> None:
    """And what Python reads is read as the same."""
    try:
        read = jsonc.parse(text)
    except ValueError as error:
        assert str(error).startswith("line ")
        read = None
    try:
        by_python = json.loads(text)
    except ValueError:
        return
    assert read == (by_python if isinstance(by_python, dict) else None)


@pytest.mark.parametrize("text", ['{"a": 1, // x\n "ours": 2, "b": 3}', '{"a": 1, // x\n "ours": 2}', '{"ours": 2}'])
def test_json_without_a_key_is_still_json(text: str) -> None:
    said = jsonc.parse(text)
    del said["ours"]
    assert jsonc.parse(jsonc.without(text, {"ours": 2}, {})) == said


def test_toml_keeps_its_comments_and_puts_new_keys_in_front_of_the_tables() -> None:
    text = 'model = "gpt" # mine\n\n[mcp_servers.a]\ncommand = "x"   # theirs\n'
    new = toml.merged(text, WANTED["toml"])
    assert new.startswith('model = "m" # mine\nprovider = "ours"\n\n[mcp_servers.a]\ncommand = "x"   # theirs\n')
    assert "[providers.ours.auth]" in new
    assert toml.parse(toml.without(new, WANTED["toml"], toml.parse(text))) == {"mcp_servers": {"a": {"command": "x"}}}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = ", "line 2"), ("a = 1\n[x\n", "line 2"), ("a = 1\na = 2", "line 2"), ("x = " + "[" * 5000, "deeply")],
    ids=range(4),
)
def test_toml_that_cannot_be_understood_is_refused_with_its_line(text: str, line: str) -> None:
    for refused in (lambda: toml.parse(text), lambda: toml.merged(text, {"x": 1})):
        with pytest.raises(ValueError, match=line):
            refused()


def test_toml_that_is_all_inline_stays_inline(machine: Machine) -> None:
    file = machine.write(machine.home / "settings", 'providers = { other = { name = "x" } }\n')
    plan.write("c", str(file), "toml", WANTED["toml"], machine.world)
    assert toml.parse(file.read_text()) == together({"providers": {"other": {"name": "x"}}}, WANTED["toml"])


def test_dotenv_keeps_its_comments_its_quotes_and_its_exports() -> None:
    text = "# mine\nexport KEY='old'  # the key\nOTHER=\"two\nlines\"\nKEY=twice\n"
    wanted = {"KEY": "new", "URL": "http://x"}
    assert dotenv.merged(text, wanted) == text.replace("twice", "new") + "URL=http://x\n"
    assert dotenv.parse(text) == {"KEY": "twice", "OTHER": "two\nlines"}
    assert dotenv.without(text, {"KEY": ""}, {}) == '# mine\nOTHER="two\nlines"\n'


@pytest.mark.parametrize("value", ["plain", "a b", "a'b", "a#b", "$HOME", "", "a\\b", "`", "ü"])
def test_dotenv_reads_back_what_it_writes(value: str) -> None:
    assert dotenv.parse(dotenv.merged("", {"K": value})) == {"K": value}


def test_dotenv_refuses_what_no_quote_can_hold() -> None:
    with pytest.raises(ValueError, match="quotes of every kind"):
        dotenv.merged("", {"K": "'`"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A=1\nnonsense\n", "line 2: neither a comment nor KEY=value"),
        ("A=1\n\nB='open\nmore", "line 3: a quote that is never closed"),
        ("A='x' y", "line 1: something follows behind the closing quote"),
        ("1A=x", "line 1: neither"),
    ],
)
def test_dotenv_that_cannot_be_understood_is_refused_with_its_line(text: str, told: str) -> None:
    for refused in (lambda: dotenv.parse(text), lambda: dotenv.merged(text, {"X": "1"})):
        with pytest.raises(ValueError, match=told):
            refused()
