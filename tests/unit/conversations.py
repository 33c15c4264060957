"""What the tests of both pairs of translations have in common: conversations in chat, and what is made of streams."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Protocol

from hypothesis import HealthCheck, settings, strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

Json = dict[str, Any]

examples = settings(
    max_examples=int(os.environ.get("DBX_AUTH_TEST_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = "iVBORw0KGgo="
PNG_URL = f"data:image/png;base64,{PNG}"


class Recorded(NamedTuple):
    """A stream in one API, event by event, and the same in the other."""

    name: str
    given: list[Json]
    wanted: list[Json]


def text(said: str, **more: Any) -> Json:
    return {"type": "text", "text": said, **more}


def user(content: Any = "hi") -> Json:
    return {"role": "user", "content": content}


def tool(id: str, content: Any) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def chat(*messages: Json, **more: Any) -> Json:
    return {"model": "m", "messages": list(messages) or [user()], **more}


# ---- conversations ---------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=6)
SOME = st.text(min_size=1, max_size=6)
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
TEXTS = st.builds(text, WORDS)


def function_call(name: str, arguments: str) -> Json:
    """A call that has no id yet."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


@st.composite
def working(
    draw: st.DrawFn, calls: st.SearchStrategy[Json], contents: st.SearchStrategy[Any], results: st.SearchStrategy[Any]
) -> list[Json]:
    """A turn that calls tools, and what they gave."""
    made = [{"id": f"call_{n}", **each} for n, each in enumerate(draw(st.lists(calls, min_size=1, max_size=3)))]
    turn = {"role": "assistant", "content": draw(contents), "tool_calls": made}
    return [turn, *(tool(each["id"], draw(results)) for each in made)]


@st.composite
def turns(
    draw: st.DrawFn,
    users: st.SearchStrategy[Json],
    spoken: st.SearchStrategy[Json],
    worked: st.SearchStrategy[list[Json]],
) -> list[Json]:
    """What is said in up to three turns, of which the model need not have answered each."""
    messages: list[Json] = []
    for _ in range(draw(st.integers(1, 3))):
        messages += [draw(users), *draw(st.just([]) | worked | spoken.map(lambda turn: [turn]))]
    return messages


@st.composite
def tool_choices(draw: st.DrawFn, names: list[str]) -> Json:
    """The parameter `tool_choice`, or nothing."""
    named = {"type": "function", "function": {"name": names[0]}}
    choice = draw(st.sampled_from([None, "auto", "required", "none", named]))
    return {"tool_choice": choice} if choice else {}


# ---- streams ---------------------------------------------------------------------------------------------------------


class Stream(Protocol):
    def event(self, event: Json) -> list[Json]: ...

    def end(self) -> list[Json]: ...


def through(stream: Stream, events: list[Json]) -> list[Json]:
    return [each for event in events for each in stream.event(event)] + stream.end()


def completion_of(chunks: list[Json]) -> Any:
    """What openai's own library makes of a stream."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot.to_dict()


def read_by_openai(recorded: list[Recorded]) -> list[Recorded]:
    """Those of chat that openai's own library reads: it takes calls of the same index for one."""
    return [each for each in recorded if "same index" not in each.name]


def plain(answer: Any) -> Any:
    """An answer without what says nothing, and what only a stream has or only a whole answer."""
    if isinstance(answer, list):
        return [plain(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    gone = ("index", "object", "parsed", "parsed_arguments")
    return {name: plain(value) for name, value in answer.items() if name not in gone and value not in (None, "", [])}
