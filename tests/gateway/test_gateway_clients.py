"""Real clients through the gateway, each with every family: what a workspace refuses them is answered here.

LiteLLM wants an older openai than ours, so it lives in an environment of its own, and opencode is large: `make clients`
puts both into the folder that DBX_AUTH_TEST_CLIENTS names.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import anthropic
import httpx
import httpx2
import openai
import pytest
from agents import CLIENTS, QUIET, executable, needs
from e2e.test_real_clients import (
    CITY,
    FAMILIES,
    PAIRS,
    PNG,
    PNG_URL,
    Ask,
    City,
    Json,
    Pair,
    Refused,
    Sync,
    Trip,
    askable,
    result,
    talk,
    user,
)
from machine import Machine

from dbx_auth import Credentials
from dbx_auth.gateway import Server
from dbx_auth.gateway.relay import Served
from dbx_auth.sandbox import Sandbox
from dbx_auth.world import World

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it is built on is not ours to mend
    from google import genai
    from google.genai import errors as google, types

LITELLM = CLIENTS / "litellm" / "bin" / "python"

MODELS = {
    **{name: FAMILIES[name] for name in ("claude", "gpt", "codex", "llama", "gpt-oss", "qwen", "inkling")},
    "gemini": FAMILIES["gemini-3"],
    "claude-messages-only": "databricks-claude-opus-5-5",
}
SEEING = ("claude", "gpt", "codex", "gemini", "llama", "claude-messages-only")
ONE_AT_A_TIME = ("llama", "gpt-oss", "qwen")

THROUGH_CHAT = ("gemini", "llama", "gpt-oss", "qwen", "inkling")
WAYS = {
    "chat": {"codex": "chat → responses", "claude-messages-only": "chat → messages"},
    "responses": {
        **dict.fromkeys(("claude", *THROUGH_CHAT), "responses → chat"),
        "claude-messages-only": "responses → messages",
    },
    "messages": {**dict.fromkeys(("gpt", *THROUGH_CHAT), "messages → chat"), "codex": "messages → responses"},
}
"""What has to be translated, by the API of the client and the family. Nothing else has to be."""

TRIP = Trip.model_validate({"start": {"name": "example"}, "days": 1, "stops": []})


# ---- both sides ------------------------------------------------------------------------------------------------------


class Far(NamedTuple):
    """A gateway, the workspace behind it, and what the gateway tells of each request."""

    sandbox: Sandbox
    gateway: Server
    told: queue.SimpleQueue[Served]

    def served(self) -> Served:
        """The next request that is over, and was a call of a model."""
        while not (found := self.told.get(timeout=10)).model:
            pass
        return found

    def forget(self) -> None:
        while not self.told.empty():
            self.told.get()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    told: queue.SimpleQueue[Served] = queue.SimpleQueue()
    with Sandbox(auto_approve=True) as sandbox:
        env = {"DATABRICKS_HOST": sandbox.url, "DATABRICKS_TOKEN": sandbox.pat}
        world = World(env=env, home=str(tmp_path_factory.mktemp("home")))
        with Server(Credentials(world=world), told=told.put) as gateway:
            yield Far(sandbox, gateway, told)


class Place(NamedTuple):
    """Where clients are pointed at: the base URL that each kind has, and the key."""

    openai: str
    anthropic: str
    google: str
    key: str

    @classmethod
    def of_the_workspace(cls, sandbox: Sandbox) -> Place:
        served = f"{sandbox.url}/serving-endpoints"
        return cls(served, f"{served}/anthropic", f"{served}/gemini", sandbox.pat)

    @classmethod
    def of_the_gateway(cls, gateway: Server) -> Place:
        return cls(f"{gateway.url}/v1", gateway.url, gateway.url, gateway.key)


# ---- clients, each with the same five things to do -------------------------------------------------------------------


class Client(Protocol):
    """What programs do with a model, through one client."""

    api: str

    def plain(self, model: str) -> str: ...
    def stream(self, model: str) -> tuple[str, int]:
        """The text, and in how many pieces it came."""

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        """The names of what was called, and the answer when the results are in."""

    def image(self, model: str) -> str: ...
    def shape(self, model: str) -> Trip: ...
    def close(self) -> None: ...


ASKED = "how are you"
BOTH = "is it both warm and dry?"
LOOK = "what is it?"
PLAN = "plan a trip"


class Chat:
    api = "chat"

    def __init__(self, place: Place) -> None:
        self._http = httpx2.Client(trust_env=False)
        self.client = openai.OpenAI(base_url=place.openai, api_key=place.key, max_retries=0, http_client=self._http)

    def plain(self, model: str) -> str:
        told = self.client.chat.completions.create(
            model=model, messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": ASKED}]
        )
        return told.choices[0].message.content or ""

    def stream(self, model: str) -> tuple[str, int]:
        chunks = self.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": ASKED}],
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
        return "".join(pieces), len(pieces)

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        messages = talk(Through(self.client), model, [user(BOTH)], streamed)
        calls = [call["function"]["name"] for message in messages for call in message.get("tool_calls", [])]
        return calls, messages[-1]["content"]

    def image(self, model: str) -> str:
        parts: Any = [{"type": "text", "text": LOOK}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
        told = self.client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
        return told.choices[0].message.content or ""

    def shape(self, model: str) -> Trip:
        told = self.client.chat.completions.parse(
            model=model, messages=[{"role": "user", "content": PLAN}], response_format=Trip
        )
        assert told.choices[0].message.parsed
        return told.choices[0].message.parsed

    def close(self) -> None:
        self._http.close()


class Responses(Chat):
    api = "responses"

    def plain(self, model: str) -> str:
        return self.client.responses.create(model=model, input=ASKED, instructions="be brief").output_text

    def stream(self, model: str) -> tuple[str, int]:
        with self.client.responses.stream(model=model, input=ASKED) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert stream.get_final_response().output_text == "".join(pieces)
        return "".join(pieces), len(pieces)

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        offered = [{"type": "function", "name": name, "parameters": CITY} for name in ("weather", "rain")]
        items: list[Any] = [user(BOTH)]
        called: list[str] = []
        for _ in range(4):
            asked: Json = {"model": model, "input": items, "tools": offered}
            if streamed:
                with self.client.responses.stream(**asked) as stream:
                    told: Any = stream.get_final_response()
            else:
                told = self.client.responses.create(**asked)
            items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in told.output]
            calls = [item for item in told.output if item.type == "function_call"]
            if not calls:
                return called, told.output_text
            called += [call.name for call in calls]
            items += [{"type": "function_call_output", "call_id": call.call_id, "output": "warm"} for call in calls]
        raise AssertionError("it never comes to an end")

    def image(self, model: str) -> str:
        parts: Any = [{"type": "input_text", "text": LOOK}, {"type": "input_image", "image_url": PNG_URL}]
        told = self.client.responses.create(model=model, input=[{"role": "user", "content": parts}])
        return told.output_text

    def shape(self, model: str) -> Trip:
        told = self.client.responses.parse(model=model, input=PLAN, text_format=Trip)
        assert told.output_parsed
        return told.output_parsed


class Messages:
    api = "messages"

    def __init__(self, place: Place) -> None:
        self._http = httpx2.Client(trust_env=False)
        self.client: Any = anthropic.Anthropic(
            base_url=place.anthropic, auth_token=place.key, max_retries=0, http_client=self._http
        )

    def _asked(self, model: str, *messages: Json, **more: Any) -> Json:
        return {"model": model, "max_tokens": 2048, "messages": list(messages), **more}

    def plain(self, model: str) -> str:
        return _said(self.client.messages.create(**self._asked(model, user(ASKED), system="be brief")))

    def stream(self, model: str) -> tuple[str, int]:
        with self.client.messages.stream(**self._asked(model, user(ASKED))) as stream:
            pieces = list(stream.text_stream)
            assert _said(stream.get_final_message()) == "".join(pieces)
        return "".join(pieces), len(pieces)

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        offered = [{"name": name, "input_schema": CITY} for name in ("weather", "rain")]
        messages: list[Json] = [user(BOTH)]
        called: list[str] = []
        for _ in range(4):
            asked = self._asked(model, *messages, tools=offered)
            if streamed:
                with self.client.messages.stream(**asked) as stream:
                    told = stream.get_final_message()
            else:
                told = self.client.messages.create(**asked)
            used = [block for block in told.content if block.type == "tool_use"]
            assert (told.stop_reason == "tool_use") == bool(used)
            if not used:
                return called, _said(told)
            blocks = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in told.content]
            results = [{"type": "tool_result", "tool_use_id": block.id, "content": "warm"} for block in used]
            messages += [{"role": "assistant", "content": blocks}, user(results)]
            called += [block.name for block in used]
        raise AssertionError("it never comes to an end")

    def image(self, model: str) -> str:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        asked = self._asked(model, user([{"type": "text", "text": LOOK}, image]))
        return _said(self.client.messages.create(**asked))

    def shape(self, model: str) -> Trip:
        """Which with this API is the input of a tool that has to be used."""
        offered = [{"name": "answer", "input_schema": Trip.model_json_schema()}]
        choice = {"type": "tool", "name": "answer"}
        told = self.client.messages.create(**self._asked(model, user(PLAN), tools=offered, tool_choice=choice))
        [used] = [block for block in told.content if block.type == "tool_use"]
        return Trip.model_validate(used.input)

    def close(self) -> None:
        self._http.close()


def _said(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


class Google:
    api = "generateContent"

    def __init__(self, place: Place, **options: Any) -> None:
        self._http = httpx.Client(trust_env=False)
        options = {"base_url": place.google, "httpx_client": self._http, **options}
        self.client = genai.Client(api_key=place.key, vertexai=False, http_options=types.HttpOptions(**options))

    def plain(self, model: str) -> str:
        config = types.GenerateContentConfig(system_instruction="be brief")
        return self.client.models.generate_content(model=model, contents=ASKED, config=config).text or ""

    def stream(self, model: str) -> tuple[str, int]:
        chunks = self.client.models.generate_content_stream(model=model, contents=ASKED)
        pieces = [chunk.text for chunk in chunks if chunk.text]
        return "".join(pieces), len(pieces)

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        declared: Any = [{"function_declarations": [{"name": n, "parameters": CITY} for n in ("weather", "rain")]}]
        config = types.GenerateContentConfig(tools=declared)
        history: list[Any] = [types.Content(role="user", parts=[types.Part(text=BOTH)])]
        called: list[str] = []
        for _ in range(4):
            if streamed:
                chunks = list(self.client.models.generate_content_stream(model=model, contents=history, config=config))
            else:
                chunks = [self.client.models.generate_content(model=model, contents=history, config=config)]
            parts = [part for chunk in chunks for part in chunk.parts or []]
            calls = [part.function_call for part in parts if part.function_call]
            if not calls:
                return called, "".join(part.text or "" for part in parts)
            results = [
                types.Part.from_function_response(name=call.name or "", response={"result": "warm"}) for call in calls
            ]
            history += [types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
            called += [call.name or "" for call in calls]
        raise AssertionError("it never comes to an end")

    def image(self, model: str) -> str:
        image = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
        contents: Any = [types.Part(text=LOOK), image]
        return self.client.models.generate_content(model=model, contents=contents).text or ""

    def shape(self, model: str) -> Trip:
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Trip)
        told = self.client.models.generate_content(model=model, contents=PLAN, config=config)
        return Trip.model_validate(told.parsed)

    def close(self) -> None:
        self._http.close()


class LiteLLM:
    """Its library, in the process that has it; it speaks the API of the provider it is told."""

    api = "chat"
    provider = "openai"
    schema = Trip.model_json_schema()

    PROGRAM = """
import faulthandler, gc, json, sys, warnings
# It leaves streams behind. One that is collected while httpcore holds the lock of its pool wants that lock itself.
gc.disable()
warnings.simplefilter("ignore")
import litellm
litellm.suppress_debug_info = True
for line in sys.stdin:
    asked = json.loads(line)
    faulthandler.dump_traceback_later(30, exit=True)
    try:
        told = litellm.completion(**asked)
        if asked.get("stream"):
            chunks = list(told)
            pieces = sum(bool(c.delta.content) for chunk in chunks for c in chunk.choices)
            told = litellm.stream_chunk_builder(chunks)
        else:
            pieces = 1
        said = {"pieces": pieces, "message": told.choices[0].message.model_dump(exclude_none=True)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(said), flush=True)
"""

    def __init__(self, place: Place) -> None:
        base = {"openai": place.openai, "anthropic": place.anthropic}[self.provider]
        self._common = {"api_base": base, "api_key": place.key, "num_retries": 0}
        env = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed when it ends
        self._process = subprocess.Popen(
            [LITELLM, "-c", self.PROGRAM],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )

    def _told(self, model: str, *messages: Json, **more: Any) -> Json:
        assert self._process.stdin and self._process.stdout
        asked = {"model": f"{self.provider}/{model}", "messages": list(messages), **self._common, **more}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"LiteLLM has ended: {self._complained()}"
        said: Json = json.loads(line)
        if "error" in said:
            raise Refused(said["error"])
        return said

    def plain(self, model: str) -> str:
        system = {"role": "system", "content": "be brief"}
        return str(self._told(model, system, user(ASKED))["message"]["content"])

    def stream(self, model: str) -> tuple[str, int]:
        said = self._told(model, user(ASKED), stream=True)
        return said["message"]["content"], said["pieces"]

    def tools(self, model: str, streamed: bool) -> tuple[list[str], str]:
        functions = [{"name": name, "description": name, "parameters": CITY} for name in ("weather", "rain")]
        offered = [{"type": "function", "function": function} for function in functions]
        messages: list[Json] = [user(BOTH)]
        called: list[str] = []
        for _ in range(4):
            message = self._told(model, *messages, tools=offered, stream=streamed)["message"]
            calls = message.get("tool_calls") or []
            if not calls:
                return called, message["content"]
            messages += [message, *(result(call["id"], "warm") for call in calls)]
            called += [call["function"]["name"] for call in calls]
        raise AssertionError("it never comes to an end")

    def image(self, model: str) -> str:
        parts = [{"type": "text", "text": LOOK}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
        return str(self._told(model, user(parts))["message"]["content"])

    def shape(self, model: str) -> Trip:
        wanted = {"type": "json_schema", "json_schema": {"name": "Trip", "schema": self.schema}}
        return Trip.model_validate_json(self._told(model, user(PLAN), response_format=wanted)["message"]["content"])

    def _complained(self) -> str:
        """Where it was, if it took too long."""
        self._process.wait(30)
        self._complaints.seek(0)
        return self._complaints.read()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._complaints.close()


class LiteLLMsMessages(LiteLLM):
    """On this road it takes the `#` from references, which then lead nowhere; so here is a schema without any."""

    api = "messages"
    provider = "anthropic"
    schema = {
        **Trip.model_json_schema(),
        "properties": {
            "start": City.model_json_schema(),
            "days": {"type": "integer"},
            "stops": {"type": "array", "items": City.model_json_schema()},
        },
        "$defs": {},
    }


class Through(Sync):
    """What `talk` asks of a client."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.openai = client


KINDS: dict[str, type[Any]] = {
    "openai-chat": Chat,
    "openai-responses": Responses,
    "anthropic": Messages,
    "google-genai": Google,
    "litellm-openai": LiteLLM,
    "litellm-anthropic": LiteLLMsMessages,
}
NEEDS_LITELLM = [
    pytest.mark.real,
    pytest.mark.skipif(not LITELLM.exists(), reason="needs LiteLLM: make clients"),
]


def speaks(kind: str, family: str) -> bool:
    """Google's API is not translated: who speaks it is answered by the models that do."""
    return KINDS[kind].api != "generateContent" or family == "gemini"


def paired(families: Iterable[str]) -> list[Any]:
    """Every client with each of these families."""
    return [
        pytest.param(kind, family, marks=NEEDS_LITELLM if issubclass(made, LiteLLM) else [], id=f"{kind}-{family}")
        for kind, made in KINDS.items()
        for family in families
        if speaks(kind, family)
    ]


@pytest.fixture(scope="module")
def clients(far: Far) -> Iterator[Callable[[str], Any]]:
    """The clients of the gateway, each made when it is first wanted."""
    made: dict[str, Any] = {}

    def client(kind: str) -> Any:
        if kind not in made:
            made[kind] = KINDS[kind](Place.of_the_gateway(far.gateway))
        return made[kind]

    yield client
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def bare(far: Far) -> Iterator[Callable[[str], Any]]:
    """The same clients at the workspace's own addresses, with a token that is good."""
    made: dict[str, Any] = {}

    def client(kind: str) -> Any:
        if kind not in made:
            bearer = {"Authorization": f"Bearer {far.sandbox.pat}"}
            more = {"headers": bearer, "api_version": "v1beta"} if kind == "google-genai" else {}
            made[kind] = KINDS[kind](Place.of_the_workspace(far.sandbox), **more)
        return made[kind]

    yield client
    for one in made.values():
        one.close()


# ---- every client with every family ----------------------------------------------------------------------------------

Pick = Callable[[str], Any]


@pytest.mark.parametrize(("kind", "family"), paired(MODELS))
class TestEveryPair:
    def test_a_chat(self, clients: Pick, far: Far, kind: str, family: str) -> None:
        client = clients(kind)
        far.forget()
        assert client.plain(MODELS[family]) == f"You said: {ASKED}"
        served = far.served()
        expected = WAYS.get(client.api, {}).get(family, "")
        assert (served.status, served.model, served.way) == (200, MODELS[family], expected)

    def test_a_stream(self, clients: Pick, kind: str, family: str) -> None:
        text, pieces = clients(kind).stream(MODELS[family])
        assert text == f"You said: {ASKED}" and pieces > 1

    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_tools_and_what_they_said(self, clients: Pick, kind: str, family: str, streamed: bool) -> None:
        called, said = clients(kind).tools(MODELS[family], streamed)
        assert called == (["weather"] if family in ONE_AT_A_TIME else ["weather", "rain"])
        assert said.startswith("The tool answered: ") and "warm" in said

    def test_an_answer_of_a_shape(self, clients: Pick, kind: str, family: str) -> None:
        assert clients(kind).shape(MODELS[family]) == TRIP


@pytest.mark.parametrize(("kind", "family"), paired(SEEING))
def test_an_image(clients: Pick, kind: str, family: str) -> None:
    assert clients(kind).image(MODELS[family]) == f"You said: {LOOK}"


@pytest.mark.parametrize("family", WAYS["messages"])
def test_anthropic_s_own_way_to_ask_for_a_shape_reaches_the_other_families(clients: Pick, family: str) -> None:
    told = clients("anthropic").client.messages.parse(
        model=MODELS[family], max_tokens=99, messages=[user(PLAN)], output_format=Trip
    )
    assert told.parsed_output == TRIP


REFUSED = (openai.BadRequestError, anthropic.BadRequestError, google.ClientError, Refused)


@pytest.mark.parametrize(
    ("kind", "family"),
    [pytest.param(kind, family, id=f"{kind}-{family}")
     for kind in ("openai-chat", "openai-responses", "anthropic") for family in WAYS[KINDS[kind].api]],
)  # fmt: skip
def test_a_model_that_speaks_another_api_is_reached_through_the_gateway_alone(
    bare: Pick, clients: Pick, kind: str, family: str
) -> None:
    with pytest.raises(REFUSED, match="only supports the|does not support the"):
        bare(kind).plain(MODELS[family])
    assert clients(kind).plain(MODELS[family]) == f"You said: {ASKED}"


# ---- the pairs: refused bare, answered through the gateway -----------------------------------------------------------


class Asking(Sync):
    """Real clients of all APIs at one place, as the pairs of test_real_clients.py want them."""

    def __init__(self, place: Place) -> None:
        self.chat, self.messages = Chat(place), Messages(place)
        self.openai, self.anthropic = self.chat.client, self.messages.client
        self.http = httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {place.key}"})
        self.google = place.google

    def post(self, url: str, body: Json) -> httpx.Response:
        """By hand, word for word as the pair has it; what google-genai itself sends comes below."""
        return self.http.post(f"{self.google}{url[url.index('/v1beta/') :]}", json=body)

    def close(self) -> None:
        for one in (self.chat, self.messages, self.http):
            one.close()


@pytest.fixture(scope="module")
def asking_bare(far: Far) -> Iterator[Asking]:
    asking = Asking(Place.of_the_workspace(far.sandbox))
    yield asking
    asking.close()


@pytest.fixture(scope="module")
def asking(far: Far) -> Iterator[Asking]:
    asking = Asking(Place.of_the_gateway(far.gateway))
    yield asking
    asking.close()


@pytest.mark.parametrize(
    ("pair", "model"),
    [
        pytest.param(pair, model, id=f"{number}-{pair.row}-{model.removeprefix('databricks-')}")
        for number, pair in enumerate(PAIRS)
        for model in askable(pair)
    ],
)
def test_what_a_family_refuses_bare_is_answered_through_the_gateway(
    asking_bare: Asking, asking: Asking, far: Far, pair: Pair, model: str
) -> None:
    with pytest.raises(REFUSED) as refused:
        pair.asked(Ask(asking_bare, model))
    assert re.search(pair.refusal, str(refused.value)), refused.value
    far.forget()
    assert pair.asked(Ask(asking, model))
    served = far.served()
    assert served.status == 200 and served.way == ""


def test_the_ids_that_google_s_client_keeps_are_refused_bare_and_answered_through_the_gateway(
    bare: Pick, clients: Pick
) -> None:
    called = types.FunctionCall(id="1", name="weather", args={})
    answered = types.FunctionResponse(id="1", name="weather", response={"result": "sunny"})
    history: Any = [
        types.Content(role="user", parts=[types.Part(text=ASKED)]),
        types.Content(role="model", parts=[types.Part(function_call=called)]),
        types.Content(role="user", parts=[types.Part(function_response=answered)]),
    ]
    with pytest.raises(google.ClientError, match='Unknown name "id" at'):
        bare("google-genai").client.models.generate_content(model=MODELS["gemini"], contents=history)
    told = clients("google-genai").client.models.generate_content(model=MODELS["gemini"], contents=history)
    assert told.text == "The tool answered: sunny"


# ---- what else they ask ----------------------------------------------------------------------------------------------


def test_each_client_lists_the_models_in_its_own_way(clients: Pick) -> None:
    openais = [model.id for model in clients("openai-chat").client.models.list()]
    anthropics = [model.id for model in clients("anthropic").client.models.list()]
    googles = [model.name for model in clients("google-genai").client.models.list()]
    assert openais == anthropics and set(MODELS.values()) <= set(openais)
    assert f"models/{MODELS['gemini']}" in googles and len(googles) < len(openais)


def test_each_client_finds_one_model_by_either_spelling_of_its_name(clients: Pick) -> None:
    for name in (MODELS["gemini"], MODELS["gemini"].removeprefix("databricks-")):
        assert clients("openai-chat").client.models.retrieve(name).id == MODELS["gemini"]
        assert clients("anthropic").client.models.retrieve(name).id == MODELS["gemini"]
        assert clients("google-genai").client.models.get(model=name).name == f"models/{MODELS['gemini']}"


def test_tokens_are_counted_for_who_asks(clients: Pick) -> None:
    counted = clients("anthropic").client.messages.count_tokens(model=MODELS["gpt"], messages=[user("good morning")])
    assert counted.input_tokens > 0
    assert clients("google-genai").client.models.count_tokens(model=MODELS["gemini"], contents="hi").total_tokens > 0


def test_embeddings(clients: Pick) -> None:
    told = clients("openai-chat").client.embeddings.create(model="databricks-gte-large-en", input=["a", "b"])
    assert [len(row.embedding) for row in told.data] == [1024, 1024]


def test_the_functions_of_a_chat_of_google_s_client_are_called(clients: Pick) -> None:
    """It calls them itself, and sends what they return."""
    called: list[str] = []

    def rain() -> str:
        """Whether it rains."""
        called.append("rain")
        return "dry"

    config = types.GenerateContentConfig(tools=[rain])
    chat = clients("google-genai").client.chats.create(model=MODELS["gemini"], config=config)
    assert chat.send_message("is it dry?").text == "The tool answered: dry"
    assert called == ["rain"]


# ---- what is refused all the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family for family in MODELS if family != "gemini"])
def test_google_s_client_is_told_what_another_family_speaks(clients: Pick, family: str) -> None:
    with pytest.raises(google.ClientError, match="cannot be called through generateContent; it speaks ") as refused:
        clients("google-genai").plain(MODELS[family])
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param("openai-chat", openai.NotFoundError, id="openai-chat"),
        pytest.param("openai-responses", openai.NotFoundError, id="openai-responses"),
        pytest.param("anthropic", anthropic.NotFoundError, id="anthropic"),
        pytest.param("google-genai", google.ClientError, id="google-genai"),
    ],
)
def test_a_model_that_is_not_there_is_the_client_s_own_error_with_the_nearest_names(
    clients: Pick, far: Far, kind: str, error: type[Exception]
) -> None:
    far.sandbox.log.clear()
    with pytest.raises(error, match="has no model databricks-gemini-3-por; the nearest: databricks-gemini-3-pro"):
        clients(kind).plain("databricks-gemini-3-por")
    assert not [seen for seen in far.sandbox.log if seen.method == "POST"], "and never another model"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param("openai-chat", openai.AuthenticationError, id="openai-chat"),
        pytest.param("openai-responses", openai.AuthenticationError, id="openai-responses"),
        pytest.param("anthropic", anthropic.AuthenticationError, id="anthropic"),
        pytest.param("google-genai", google.ClientError, id="google-genai"),
    ],
)
def test_a_wrong_key_is_the_client_s_own_error(far: Far, kind: str, error: type[Exception]) -> None:
    client = KINDS[kind](Place.of_the_gateway(far.gateway)._replace(key="a-key-that-somebody-made-up"))
    try:
        with pytest.raises(error, match="this is not the key of this gateway"):
            client.plain(MODELS["gemini"])
    finally:
        client.close()


# ---- opencode, headless ----------------------------------------------------------------------------------------------

NOTES = Path(__file__).parents[1] / "js_opencode" / "notes.py"


class Done(NamedTuple):
    """What one `opencode run` came to: the tools it called with their input, its text, its errors."""

    tools: list[tuple[str, Any]]
    text: str
    errors: list[str]


class Opencode:
    """A home and a project of its own, with the server of test notes, and `example` among the programs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.project = home / "project"
        self.kept = home / "notes"
        self.project.mkdir()
        program = home / "bin" / "example"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho what a program says\n")
        program.chmod(0o755)

    def run(self, place: Place, model: str, said: str, tools: Json) -> Done:
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "dbx-auth",
            "options": {"baseURL": place.openai, "apiKey": place.key},
            "models": {model: {"name": model}},
        }
        notes = [sys.executable, str(NOTES), str(self.kept)]
        config = {
            "provider": {"dbx-auth": provider},
            "mcp": {"notes": {"type": "local", "command": notes, "enabled": True}},
            "tools": tools,
            "share": "disabled",
        }
        (self.project / "opencode.json").write_text(json.dumps(config))
        done = subprocess.run(
            [executable("opencode"), "run", "--format", "json", "--model", f"dbx-auth/{model}", said],
            cwd=self.project,
            env={**QUIET, "HOME": str(self.home), "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        parts = [event["part"] for event in events if event["type"] in ("tool_use", "text")]
        return Done(
            [(part["tool"], part["state"].get("input")) for part in parts if part["type"] == "tool"],
            "".join(part["text"] for part in parts if part["type"] == "text"),
            [json.dumps(event["error"]) for event in events if event["type"] == "error"],
        )


@pytest.fixture
def opencode(tmp_path: Path) -> Opencode:
    return Opencode(tmp_path)


AGENTS = ("claude", "gpt", "codex", "gemini", "llama")
REFUSED_BARE = {
    "claude": "text content blocks must be non-empty",
    "codex": "only supports the Responses API",
    "gemini": r"Unknown name .*\$schema",
    "llama": "stream_options",
}
"""What opencode is told without the gateway; GPT takes what it sends."""


class TestOpencode:
    pytestmark = needs("opencode")

    @pytest.mark.parametrize("family", AGENTS)
    def test_it_runs_a_program_with_a_tool_of_its_own(self, far: Far, opencode: Opencode, family: str) -> None:
        """Its tools are offered, and those of the server beside them; models of the sandbox call the first.

        But for what edits files, which has another name and place for each family.
        """
        done = opencode.run(Place.of_the_gateway(far.gateway), MODELS[family], "hello", {"edit": False})
        assert not done.errors
        [(name, given)] = done.tools
        assert (name, given["command"]) == ("bash", "example")
        assert done.text.strip() == "The tool answered: what a program says"

    @pytest.mark.parametrize("family", AGENTS)
    def test_it_calls_the_tool_of_an_mcp_server(self, far: Far, opencode: Opencode, family: str) -> None:
        only_notes = {"*": False, "notes_keep": True}
        done = opencode.run(Place.of_the_gateway(far.gateway), MODELS[family], "keep it", only_notes)
        assert not done.errors
        assert done.tools == [("notes_keep", {"note": {"title": "example"}})]
        assert [json.loads(line) for line in opencode.kept.read_text().splitlines()] == [{"note": {"title": "example"}}]
        assert done.text == "The tool answered: the note is kept"

    @pytest.mark.parametrize("family", REFUSED_BARE)
    def test_without_the_gateway_it_is_refused(self, far: Far, opencode: Opencode, family: str) -> None:
        only_notes = {"*": False, "notes_keep": True}
        done = opencode.run(Place.of_the_workspace(far.sandbox), MODELS[family], "keep it", only_notes)
        assert re.search(REFUSED_BARE[family], "\n".join(done.errors)), done
        assert not done.text

    def test_it_takes_the_settings_of_the_page(self, far: Far, machine: Machine) -> None:
        [settings] = [block for block in shown("json") if "@ai-sdk/openai-compatible" in block]
        project = machine.home / "project"
        project.mkdir()
        (project / "opencode.json").write_text(settings.replace(SHOWN, far.gateway.url))
        done = subprocess.run(
            [executable("opencode"), "run", "--model", "dbx-auth/databricks-gemini-3-pro", "hello"],
            cwd=project,
            env={**as_told(far, machine), **QUIET},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert "The tool answered: " in done.stdout, done.stderr


# ---- docs/gateway.md -------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
SHOWN = "http://127.0.0.1:8788"


def shown(language: str) -> list[str]:
    """The blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def as_told(far: Far, machine: Machine) -> dict[str, str]:
    """The environment of who has pasted all that the page exports."""
    exports = [line for block in shown("sh") for line in block.splitlines() if line.startswith("export ")]
    assert len(exports) == 5
    machine.write(machine.home / ".dbx-auth-gateway.key", far.gateway.key)
    lines = "\n".join(exports).replace(SHOWN, far.gateway.url)
    done = subprocess.run(
        ["bash", "-euc", f"{lines}\nenv -0"], env=machine.child_env(), capture_output=True, text=True, timeout=20
    )
    found = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    return machine.child_env(**{name: found[name] for name in re.findall(r"(\w+)=", "".join(exports))})


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=re.findall(r"import (\w+)", program)[-1].lower() + f"-{number}",
                     marks=NEEDS_LITELLM if "litellm" in program else [])
        for number, program in enumerate(shown("python"))
    ],
)  # fmt: skip
def test_a_program_of_the_page_works(far: Far, machine: Machine, program: str) -> None:
    python = LITELLM if "litellm" in program else sys.executable
    done = subprocess.run(
        [python, "-c", program.replace(SHOWN, far.gateway.url)],
        env={**as_told(far, machine), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    # LiteLLM says other things beside it.
    assert "You said: hello" in done.stdout.splitlines(), done.stderr


def test_the_request_of_the_page_lists_models(far: Far, machine: Machine) -> None:
    [line] = [line for block in shown("sh") for line in block.splitlines() if line.startswith("curl ")]
    told = subprocess.run(
        ["bash", "-euc", line.replace(SHOWN, far.gateway.url)],
        env=as_told(far, machine),
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert MODELS["claude"] in [model["id"] for model in json.loads(told.stdout)["data"]]


def test_the_gateway_starts_as_the_page_says(far: Far, machine: Machine) -> None:
    [line] = [line for block in shown("sh") for line in block.splitlines() if line.startswith("dbx-auth serve")]
    argv = line.replace("8788", "0").replace("~", str(machine.home)).split()[1:]
    env = machine.child_env(DATABRICKS_HOST=far.sandbox.url, DATABRICKS_TOKEN=far.sandbox.pat)
    with subprocess.Popen(
        [sys.executable, "-m", "dbx_auth", *argv], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            key = (machine.home / ".dbx-auth-gateway.key").read_text().strip()
            client = Chat(Place(f"{url}/v1", url, url, key))
            try:
                assert client.plain(MODELS["llama"]) == f"You said: {ASKED}"
            finally:
                client.close()
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_the_settings_of_the_page_are_whole() -> None:
    assert len([json.loads(block) for block in shown("json")]) == 3
    [codex] = map(tomllib.loads, shown("toml"))
    assert codex["model_providers"][codex["model_provider"]]["wire_api"] == "responses"


def started(name: str, machine: Machine, argv: list[str], env: Json) -> list[Json]:
    """What an agent says in its own JSON when it is started in a home with these settings.

    It finds `example` among the programs, also where it starts a shell of its own.
    """
    program = machine.home / "bin" / "example"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho what a program says\n")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    (machine.home / ".profile").write_text(f"PATH={shlex.quote(path)}\n")
    project = machine.home / "project"
    project.mkdir()
    done = subprocess.run(
        [executable(name), *argv],
        cwd=project,
        env={**QUIET, "HOME": str(machine.home), "PATH": path, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


class TestCodex:
    pytestmark = needs("codex")

    @pytest.mark.parametrize("family", AGENTS)
    def test_it_takes_the_settings_of_the_page_and_runs_a_program(
        self, far: Far, machine: Machine, family: str
    ) -> None:
        [settings] = shown("toml")
        model = tomllib.loads(settings)["model"]
        settings = settings.replace(SHOWN, far.gateway.url).replace(model, MODELS[family])
        machine.write(machine.home / ".codex" / "config.toml", settings)
        argv = ["exec", "--skip-git-repo-check", "--json", "hello"]
        said = started("codex", machine, argv, {"DBX_AUTH_GATEWAY_KEY": far.gateway.key})
        items = [line["item"] for line in said if line["type"] == "item.completed"]
        [ran] = [item for item in items if item["type"] == "command_execution"]
        assert (ran["aggregated_output"], ran["exit_code"]) == ("what a program says\n", 0)
        [text] = [item["text"] for item in items if item["type"] == "agent_message"]
        assert text.startswith("The tool answered: ") and "what a program says" in text


class TestClaudeCode:
    pytestmark = needs("claude")

    @pytest.mark.parametrize("family", AGENTS)
    def test_it_takes_the_settings_of_the_page_and_runs_a_program(
        self, far: Far, machine: Machine, family: str
    ) -> None:
        [settings] = [block for block in shown("json") if "ANTHROPIC_BASE_URL" in block]
        settings = settings.replace(SHOWN, far.gateway.url).replace('"KEY"', json.dumps(far.gateway.key))
        machine.write(machine.home / ".claude" / "settings.json", settings)
        # Models of the sandbox call the first tool, which would be an agent of its own, and so on.
        argv = ["-p", "hello", "--output-format", "json", "--model", MODELS[family], "--tools", "Bash"]
        [said] = started("claude", machine, [*argv, "--allowedTools", "Bash"], {})
        assert not said["is_error"] and said["num_turns"] == 2
        assert said["result"].startswith("The tool answered: what a program says")
