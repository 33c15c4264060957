"""Where a model is called, and what comes of one small call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.far_side import models_in

from dbx_auth import calling
from dbx_auth.calling import Base
from dbx_auth.errors import AuthError, Temporary
from dbx_auth.models import Model
from dbx_auth.world import Response, World

HOST = "https://one.cloud.databricks.com"
HEADERS = {"Authorization": "Bearer dapi-secret"}
BASE = Base(f"{HOST}/serving-endpoints", f"{HOST}/ai-gateway")

SAYS = {
    "chat": {"choices": [{"message": {"content": None, "tool_calls": [{"type": "function"}]}}]},
    "responses": {"output": [{"type": "reasoning"}, {"type": "function_call", "name": "weather"}]},
    "messages": {"content": [{"type": "text", "text": "well"}, {"type": "tool_use", "name": "weather"}]},
    "generateContent": {"candidates": [{"content": {"parts": [{"functionCall": {"name": "weather"}}]}}]},
    "embeddings": {"data": [{"object": "embedding", "embedding": [0.5]}]},
}
"""What each API answers when it does what it was asked."""

TALKS = {
    "chat": {"choices": [{"message": {"content": "tool_calls", "tool_calls": []}}]},
    "responses": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "function_call"}]}]},
    "messages": {"content": [{"type": "text", "text": "tool_use"}]},
    "generateContent": {"candidates": [{"content": {"parts": [{"text": "functionCall"}]}}]},
    "embeddings": {"data": []},
}
"""What each answers when it only talks."""


def model(*apis: str, id: str = "databricks-gpt-5", listed: str = "serving-endpoints") -> Model:
    (found,) = models_in([{"name": id}])
    return found._replace(apis=apis, origins={"id": listed})


class Far:
    """Stands for `world.http`: one answer, and what it was asked."""

    def __init__(self, said: object, status: int = 200) -> None:
        self.said, self.status, self.asked = said, status, list[tuple[str, str, dict[str, Any]]]()

    def __call__(self, method: str, url: str, **how: Any) -> Response:
        self.asked.append((method, url, how))
        if isinstance(self.said, AuthError):
            raise self.said
        body = self.said if isinstance(self.said, bytes) else json.dumps(self.said).encode()
        return Response(url, self.status, {}, body)


def check(said: object, api: str, status: int = 200) -> calling.Outcome:
    return calling.check(model(api), BASE, HEADERS, World(env={}, home="/", http=Far(said, status)))


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("chat", "/serving-endpoints/chat/completions"),
        ("responses", "/serving-endpoints/responses"),
        ("messages", "/serving-endpoints/anthropic/v1/messages"),
        ("generateContent", "/serving-endpoints/gemini/v1beta/models/databricks-gpt-5:generateContent"),
        ("embeddings", "/serving-endpoints/embeddings"),
    ],
)
def test_each_api_has_its_place_on_the_host(api: str, path: str) -> None:
    assert BASE.url(model(api), api) == HOST + path


@pytest.mark.parametrize("listed", ["ai-gateway", "unity-catalog"])
@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("chat", "/ai-gateway/mlflow/v1/chat/completions"),
        ("responses", "/ai-gateway/openai/v1/responses"),
        ("messages", "/ai-gateway/anthropic/v1/messages"),
        ("generateContent", "/ai-gateway/gemini/v1beta/models/system.ai.gpt-5:generateContent"),
        ("embeddings", "/ai-gateway/mlflow/v1/embeddings"),
    ],
)
def test_what_only_the_gateway_has_is_called_through_it(listed: str, api: str, path: str) -> None:
    assert BASE.url(model(api, id="system.ai.gpt-5", listed=listed), api) == HOST + path


def test_a_base_url_of_config_toml_takes_the_place_of_the_serving_endpoints(tmp_path: Path) -> None:
    world = World(env={"DBX_AUTH_CONFIG_DIR": str(tmp_path)}, home=str(tmp_path))
    assert calling.base(HOST, world) == BASE
    (tmp_path / "config.toml").write_text(f'[hosts."{HOST}"]\nbase_url = "https://gateway.example.com/dbx/"\n')
    assert calling.base(HOST, world) == BASE._replace(serving="https://gateway.example.com/dbx")
    assert calling.base("", world).serving == "https://<your workspace>/serving-endpoints"


@pytest.mark.parametrize("api", SAYS)
def test_a_model_that_does_what_it_is_asked_works(api: str) -> None:
    outcome = check(SAYS[api], api)
    assert (outcome.id, outcome.api, outcome.works) == ("databricks-gpt-5", api, True)
    assert outcome.said == ("embedding" if api == "embeddings" else "tool call")


@pytest.mark.parametrize("api", TALKS)
def test_a_model_that_only_talks_does_not_work_and_its_words_do_not_count(api: str) -> None:
    outcome = check(TALKS[api], api)
    assert not outcome.works
    assert outcome.said.startswith("it answered, and made no ")


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"error_code": "BAD_REQUEST", "message": "no\x1b[2J such\nthing"}, 400, "400: no[2J such thing"),
        ({"error": {"message": "overloaded"}}, 529, "529: overloaded"),
        ({"error": "forbidden"}, 403, "403: forbidden"),
        ({"message": 7}, 500, "500: no reason was given"),
        ({}, 404, "404: no reason was given"),
        (b"<html>", 502, "502 with something that is not a JSON object"),
        (b"[]", 200, "200 with something that is not a JSON object"),
        (Temporary("no complete answer", hint="h"), 0, "no complete answer"),
    ],
)
def test_whatever_a_server_does_is_the_outcome_and_no_error(said: object, status: int, words: str) -> None:
    outcome = check(said, "chat", status)
    assert not outcome.works
    assert words in outcome.said


def test_a_model_of_which_nobody_knows_the_api_is_not_called() -> None:
    far = Far({})
    outcome = calling.check(model(), BASE, HEADERS, World(env={}, home="/", http=far))
    assert (outcome.works, outcome.said, far.asked) == (False, "nobody has said which API it speaks", [])


def test_a_small_call_carries_the_token_and_turns_beta_headers_off() -> None:
    far = Far(SAYS["chat"])
    calling.check(model("chat", "messages"), BASE, HEADERS, World(env={}, home="/", http=far), budget=7)
    ((method, url, how),) = far.asked
    assert (method, url, how["budget"]) == ("POST", f"{HOST}/serving-endpoints/chat/completions", 7)
    assert how["headers"] == {
        **HEADERS,
        "Content-Type": "application/json",
        "x-databricks-disable-beta-headers": "true",
    }
    assert json.loads(how["content"])["tools"][0]["function"]["parameters"]["type"] == "object"
