"""The dialect of `.databrickscfg`: what the Databricks CLI reads from a file is what we read from it."""

from __future__ import annotations

import configparser
import re

import pytest
from hypothesis import example, given, settings, strategies as st

from dbx_auth.profile import parse

thorough = settings(max_examples=300, deadline=None, derandomize=True)


def value(text: str) -> str:
    """What the key of a one-key file has for a value."""
    (section,) = parse(f"[A]\nk{text}\n").values()
    assert list(section) == ["k"]
    return section["k"]


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (" = v", "v"),
        ("=v", "v"),
        ("  =   v  ", "v"),
        ("\t=\tv\t", "v"),
        (": v", "v"),
        (":v", "v"),
        (" = https://h:443", "https://h:443"),  # the first delimiter counts
        (" : a=b", "a=b"),
        (" = a = b", "a = b"),
        (" =", ""),  # there, but nothing: `load` takes it for not set
        (" = ", ""),
        (" = two words", "two words"),
        (" = Ünïcödé 漢字", "Ünïcödé 漢字"),
        (" = %(host)s 100% $HOME ${HOME}", "%(host)s 100% $HOME ${HOME}"),  # nothing is ever interpolated
        (" = [B]", "[B]"),
        (" = \\n", "\\n"),  # no escapes
        (" = a\\b", "a\\b"),
    ],
)
def test_a_value_is_what_stands_behind_the_first_delimiter(text: str, read: str) -> None:
    assert value(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (' = "v"', "v"),  # the Python SDK would send the quotes
        (" = 'v'", "v"),
        (' = ""', ""),
        (" = ' v '", " v "),
        (' = "it\'s"', "it's"),
        (" = \"a'b'c\"", "a'b'c"),
        (' = "a"b"', '"a"b"'),  # three of them surround nothing
        (' = "a" b', '"a" b'),
        (" = \"a'", "\"a'"),
        (' = "', '"'),
        (" = a'b'", "a'b'"),
        (" = '\"v\"'", '"v"'),  # one pair, not two
    ],
)
def test_one_pair_of_quotes_around_a_value_is_dropped(text: str, read: str) -> None:
    assert value(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (" = v # comment", "v"),
        (" = v ; comment", "v"),
        (" = v   #", "v"),
        (" = a#b", "a#b"),
        (" = a;b", "a;b"),
        (" = a#b #c", "a#b"),
        (" = a\t# b", "a\t# b"),  # a space it must be
        (" = # v", "# v"),  # no space between value and sign: there is no value before it
        (" =# v", "# v"),
        (" = v ; a # b", "v ; a"),  # ` #` is looked for first
        (" = v # a ; b", "v"),
        (' = "v" # comment', "v"),
        (' = "a # b"', '"a'),  # quotes do not protect; the CLI reads it so too
    ],
)
def test_a_comment_after_a_value_starts_at_a_space_and_a_sign(text: str, read: str) -> None:
    assert value(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (" = `v`", "v"),
        (" = `a # b`", "a # b"),
        (' = `"v"`', '"v"'),
        (" = `C:\\dir\\`", "C:\\dir\\"),
        (" = `a` b", "a"),
        (" = `a`b`", "a`b"),
        (" = ``", ""),
        (' = """v"""', "v"),
        (' = """a ; b"""', "a ; b"),
        (' = """a "b" c"""', 'a "b" c'),
        (' = """"""', ""),
    ],
)
def test_backticks_and_triple_quotes_protect_everything(text: str, read: str) -> None:
    assert value(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (" = a\\\nb", "ab"),
        (" = a \\\n  b", "a b"),
        (" = a\\\nb\\\nc", "abc"),
        (" = a\\\r\nb", "ab"),
        (" = a\\\n\nk2 = x", "a"),
        (" = a\\", "a"),
        (" = \\", ""),
        (" = \\\n\\\nb", "b"),
        (" = a \\\n[B]", "a [B]"),
        (" = a \\\n'b' # c", "a 'b' # c"),  # what was joined is taken as it stands
        (" = 'a\\\nb'", "'ab'"),
    ],
)
def test_a_backslash_at_the_end_joins_the_next_line(text: str, read: str) -> None:
    assert parse(f"[A]\nk{text}")["A"]["k"] == read


@pytest.mark.parametrize("quote", ["`", '"""'])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_value_in_backticks_may_span_lines(quote: str, line_end: str) -> None:
    key = '{\n  "type": "service_account",\n  "host": "https://evil.example" # not a host of ours\n}'
    sections = parse(f"[A]\ngoogle_credentials = {quote}{key}{quote}\nhost = h\n".replace("\n", line_end))
    assert list(sections["A"]) == ["google_credentials", "host"]
    assert sections["A"]["google_credentials"].splitlines() == key.splitlines()


@pytest.mark.parametrize("quote", ["`", '"""'])
def test_a_quote_that_never_closes_is_told_with_its_line(quote: str) -> None:
    with pytest.raises(ValueError, match="^line 2: "):
        parse(f"[A]\nk = {quote}v\nhost = h\n")


# ---- keys and sections ---------------------------------------------------------------------------------------------


def test_keys_keep_their_case() -> None:
    assert parse("[A]\nHost = x\nhost = y\n") == {"A": {"Host": "x", "host": "y"}}


def test_quotes_around_a_key_are_dropped() -> None:
    assert parse('[A]\n"host" = x\n') == {"A": {"host": "x"}}


def test_a_section_that_comes_twice_is_one_section_and_the_last_value_wins() -> None:
    text = "[A]\nhost = x\ntoken = t\n[B]\nhost = b\n[A]\nhost = y\nhost = z\n"
    assert parse(text) == {"A": {"host": "z", "token": "t"}, "B": {"host": "b"}}


def test_default_is_a_section_like_any_other_and_nobody_inherits_from_it() -> None:
    assert parse("[DEFAULT]\nhost = x\n[A]\ntoken = t\n") == {"DEFAULT": {"host": "x"}, "A": {"token": "t"}}


def test_what_stands_before_the_first_section_belongs_to_default() -> None:
    assert parse("host = x\n[A]\nhost = a\n[DEFAULT]\ntoken = t\n") == {
        "DEFAULT": {"host": "x", "token": "t"},
        "A": {"host": "a"},
    }


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", {}),
        ("\n\n", {}),
        ("# only\n; comments\n", {}),
        ("[A]", {"A": {}}),
        ("[DEFAULT]\n", {"DEFAULT": {}}),
        ("[A]\n\n\n[B]", {"A": {}, "B": {}}),
        ("  [A]\n  host = x\n\thost2 = y\n", {"A": {"host": "x", "host2": "y"}}),  # indented is not continued
        ("[A] # comment\nhost = x", {"A": {"host": "x"}}),
        ("[ A ]\nhost = x", {" A ": {"host": "x"}}),
        ("[pat.with.dot]\nhost = x", {"pat.with.dot": {"host": "x"}}),
        ("[a]b]\nhost = x", {"a]b": {"host": "x"}}),
        ("[漢字 profile]\nhost = x", {"漢字 profile": {"host": "x"}}),
        ("[__settings__]\ndefault_profile = A", {"__settings__": {"default_profile": "A"}}),
        ("[A]\n  # host = x\n  ;host = y\n", {"A": {}}),
        ("[A]\r\nhost = x\r\n\r\n[B]\r\n", {"A": {"host": "x"}, "B": {}}),
        ("[A]\nhost = x", {"A": {"host": "x"}}),  # no end of line at the end
    ],
)
def test_sections_and_comments(text: str, sections: dict[str, dict[str, str]]) -> None:
    assert parse(text) == sections


def test_only_a_line_feed_ends_a_line() -> None:
    # As in every editor that counts lines; Python counts more, and would cut a secret in two.
    for character in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029":
        assert parse(f"[A]\ntoken = a{character}b\nhost = x\n") == {"A": {"token": f"a{character}b", "host": "x"}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nonsense", 1),
        ("[A]\nhost = x\nnonsense\n", 3),
        ("\n\n# c\n[A\n", 4),
        ("[A]\r\n[]\r\n", 2),
        ("[\n", 1),
        ("]\n", 1),
        ("[A]\n= v\n", 2),
        ("[A]\n: v\n", 2),
        ("[A]\nk = a \\\n b\nnonsense", 4),
        ("[A]\nk = a\x0cb\u2028c\nnonsense", 3),
        ("<html>\n", 1),
        ("\x00\x01\x02", 1),
    ],
)
def test_a_line_that_means_nothing_is_named(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"^line {line}: "):
        parse(text)


def test_the_complaint_does_not_repeat_the_line() -> None:
    with pytest.raises(ValueError) as complaint:
        parse("[A]\ncanary-dapi0123456789\n")
    assert "canary" not in str(complaint.value)


# ---- any text ------------------------------------------------------------------------------------------------------

INI = st.text("[]=:#;\"'`\\ \t\r\nak\x0c\u2028", max_size=60)


@thorough
@given(st.text() | INI)
@example("[A]\nk = \\\n\\\n")
@example("k=`\\")
def test_any_text_is_sections_or_a_complaint_about_a_line(text: str) -> None:
    try:
        sections = parse(text)
    except ValueError as complaint:
        found = re.match(r"line (\d+): ", str(complaint))
        assert found
        assert 1 <= int(found[1]) <= text.count("\n") + 1
    else:
        assert all(isinstance(v, str) for section in sections.values() for v in section.values())


NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
PLAIN = st.from_regex(
    r"[A-Za-z0-9/+_.%$@!?=:~#;,-]([A-Za-z0-9/+_.%$@!?=:~,# -]{0,20}[A-Za-z0-9/+_.~-])?", fullmatch=True
)
SECTIONS = st.dictionaries(
    NAME, st.dictionaries(NAME, PLAIN.filter(lambda v: " #" not in v and v[0] not in "#;"), max_size=4), max_size=4
)


@thorough
@given(SECTIONS, st.sampled_from([" = ", "=", ": "]), st.sampled_from(["\n", "\r\n", "\n\n", "\n# comment\n"]))
def test_what_is_written_plainly_is_read_back_and_python_reads_the_same(
    sections: dict[str, dict[str, str]], delimiter: str, end: str
) -> None:
    text = "".join(
        f"[{name}]{end}" + "".join(f"{key}{delimiter}{value}{end}" for key, value in section.items())
        for name, section in sections.items()
    )
    assert parse(text) == sections
    python = configparser.ConfigParser(interpolation=None, default_section="\n")
    python.optionxform = str  # type: ignore[assignment,method-assign]  # their documented way to keep the case
    python.read_string(text)
    assert {name: dict(python[name]) for name in python.sections()} == sections
