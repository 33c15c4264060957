"""A stream is cut into events wherever its bytes are torn, and what is not touched stays as it was to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from dbx_auth import sse

STREAMS = {
    "plain": b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n',
    "CRLF": b'data: {"a": 1}\r\n\r\ndata: {"b": 2}\r\n\r\n',
    "CR": b"data: 1\r\rdata: 2\r\rdata: 3\r\r",
    "mixed": b"data: 1\r\n\ndata: 2\n\r\ndata: 3\n\n\n\ndata: 4\r\n\r\n",
    "several lines": b"data: {\ndata: }\n\n",
    "names, ids and comments": b": hello\nevent: x\nid: 7\nretry: 10\ndata: {}\n\n: ping\n\n",
    "cut off": b'data: {"a": 1}\n\ndata: {"b"',
    "no space, no data, nothing": b"data:1\n\nevent: x\n\n\n\ndata\n\n",
    "beyond ASCII": "data: é 😀\n\ndata: ü\n\n".encode(),
    "not UTF-8": b"data: \xff\xfe\n\ndata: \x80\n\n",
}


def cut(stream: bytes, sizes: list[int]) -> tuple[list[bytes], bytes]:
    events, cutter, at = [], sse.Events(), 0
    for size in sizes:
        events += list(cutter.feed(stream[at : at + size]))
        at += size
    events += list(cutter.feed(stream[at:]))
    return events, cutter.rest()


@pytest.mark.parametrize("name", STREAMS)
@given(sizes=st.lists(st.integers(0, 5), max_size=60))
def test_wherever_a_stream_is_torn_its_events_are_the_same_and_no_byte_is_lost(name: str, sizes: list[int]) -> None:
    stream = STREAMS[name]
    whole, rest = cut(stream, [])
    torn, left = cut(stream, sizes)
    assert b"".join([*torn, left]) == b"".join([*whole, rest]) == stream
    if not stream.endswith(b"\r"):  # there the last event may be whole, or half of a longer line break
        assert [sse.data_of(event) for event in torn] == [sse.data_of(event) for event in whole]


def test_every_kind_of_line_break_ends_an_event() -> None:
    assert [sse.data_of(event) for event in cut(STREAMS["mixed"], [])[0]][:3] == [b"1", b"2", b"3"]
    assert [sse.data_of(event) for event in cut(STREAMS["CRLF"], [])[0]] == [b'{"a": 1}', b'{"b": 2}']
    events, rest = cut(STREAMS["CR"], [])
    assert [sse.data_of(event) for event in [*events, rest]] == [b"1", b"2", b"3"]


def test_half_of_a_line_break_is_waited_for() -> None:
    cutter = sse.Events()
    assert list(cutter.feed(b"data: 1\r\n\r")) == []
    assert list(cutter.feed(b"\ndata: 2\n\n")) == [b"data: 1\r\n\r\n", b"data: 2\n\n"]


def test_an_event_that_never_ends_is_handed_on_as_it_is() -> None:
    events, rest = cut(STREAMS["cut off"], [])
    assert (events, rest) == ([b'data: {"a": 1}\n\n'], b'data: {"b"')


def test_a_large_event_that_comes_in_small_pieces_is_looked_at_once() -> None:
    """Whoever began at the front each time would read 32 GB here, and the test would end by its limit."""
    text = b"x" * (1 << 20)
    cutter = sse.Events()
    events = [e for i in range(0, len(text), 16) for e in cutter.feed(text[i : i + 16])]
    assert events == [] and list(cutter.feed(b"\n\n")) == [text + b"\n\n"]


def test_the_data_of_an_event_is_its_lines_joined() -> None:
    assert sse.data_of(b"data: {\ndata: }\n\n") == b"{\n}"
    assert sse.data_of(b"data:  two\r\ndata:\n\n") == b" two\n"
    assert sse.data_of(b": a comment\nevent: x\n\n") is None
    assert sse.data_of(b"data\n\n") == b""
    assert sse.data_of(b"database: x\n\n") is None


def test_other_data_leaves_the_rest_of_an_event_as_it_was() -> None:
    event = b": hello\r\nevent: delta\r\nid: 7\r\ndata: {\r\ndata: }\r\n\r\n"
    assert sse.with_data(event, {"a": "é\n"}) == b': hello\nevent: delta\nid: 7\ndata: {"a":"\xc3\xa9\\n"}\n\n'


def test_half_of_a_surrogate_pair_stays_escaped() -> None:
    assert sse.dumped({"a": "\ud83d", "b": "é"}) == b'{"a":"\\ud83d","b":"\\u00e9"}'


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5)))
def test_whatever_is_put_into_an_event_is_read_out_of_it(data: dict[str, object]) -> None:
    event = sse.with_data(b"event: x\ndata: old\n\n", data)
    ((whole,), rest) = cut(event, [])
    assert rest == b"" and json.loads(sse.data_of(whole) or b"") == data
