"""Configuration for other programs: it can be read by them, and there is no secret in it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from typing import Any

import pytest
from unit.far_side import models_in

from dbx_auth import catalogue, recipes
from dbx_auth.calling import Base
from dbx_auth.catalogue import Cost
from dbx_auth.models import Model
from dbx_auth.recipes import Who

HOST = "https://one.cloud.databricks.com"
BASE = Base(f"{HOST}/serving-endpoints", f"{HOST}/ai-gateway")
NASTY = Who('it\'s "mine" $(id) \\ é😀')


def known(*ids: str) -> list[Model]:
    return models_in([{"name": f"databricks-{id}", "task": "llm/v1/chat"} for id in ids])


EVERYTHING = models_in([{"name": id} for id in catalogue.everything()])
GATEWAYS = models_in({}, None, None, {"model_services": [{"name": "model-services/system.ai.gpt-5"}]})
NAMED_BADLY = models_in([{"name": "team\"'\\#-é😀-gpt", "task": "llm/v1/chat"}])


def yaml(text: str) -> list[dict[str, Any]]:
    """The model_list of a config.yaml, whose strings are those of JSON: enough of YAML to read what we write."""
    assert text.startswith("model_list:")
    found: list[dict[str, Any]] = []
    table: dict[str, Any] = {}
    for line in text.splitlines()[1:]:
        if line.lstrip().startswith("#"):
            continue
        indent, name, value = re.fullmatch(r"( +(?:- )?)(\w+):(?: (.*))?", line).groups()  # type: ignore[union-attr]
        if indent == "  - ":
            found.append({})
        if len(indent) == 4:
            table = found[-1].setdefault(name, {}) if value is None else found[-1]
        if value is not None:
            assert value.startswith(("os.environ/", '"')) or value in ("true", "false") or value.isdecimal()
            table[name] = value if value.startswith("os.") else json.loads(value)
    return found


# ---- opencode ------------------------------------------------------------------------------------------------------


def opencode(*found: Model) -> dict[str, Any]:
    document = json.loads(recipes.opencode(found, BASE, Who()))
    assert list(document) == ["$schema", "provider"]
    provider: dict[str, Any] = document["provider"]
    return provider


def test_opencode_has_a_provider_for_each_api_and_address() -> None:
    providers = opencode(*known("claude-sonnet-4-5", "gpt-5-1-codex-max", "claude-opus-5-5"), *GATEWAYS)
    told = {name: (each["npm"], each["options"]["baseURL"], list(each["models"])) for name, each in providers.items()}
    serving, gateway = BASE
    assert told == {
        "databricks": ("@ai-sdk/openai-compatible", serving, ["databricks-claude-sonnet-4-5"]),
        "databricks-responses": ("@ai-sdk/openai", serving, ["databricks-gpt-5-1-codex-max"]),
        "databricks-messages": ("@ai-sdk/anthropic", f"{serving}/anthropic/v1", ["databricks-claude-opus-5-5"]),
        "databricks-gateway": ("@ai-sdk/openai-compatible", f"{gateway}/mlflow/v1", ["system.ai.gpt-5"]),
    }


def test_opencode_is_told_the_facts_that_are_known_and_no_others() -> None:
    sonnet, k3, unknown = opencode(*known("claude-sonnet-4-5", "kimi-k3", "new"))["databricks"]["models"].values()
    assert sonnet == {
        "name": "Claude Sonnet 4.5",
        "tool_call": True,
        "reasoning": True,
        "attachment": True,
        "modalities": {"input": ["text", "image"], "output": ["text"]},
        "limit": {"context": 200_000, "output": 64_000},
    }
    assert k3["temperature"] is False and "limit" not in k3, "it takes both limits or neither"
    assert unknown == {"name": "New"}


def test_opencode_is_told_of_claude_not_to_stream_tools_and_what_it_costs_if_that_is_known() -> None:
    (opus,) = known("claude-opus-5-5")
    priced = opus._replace(cost=Cost(5.0, 25.0))
    ((told,),) = ([*each["models"].values()] for each in opencode(priced).values())
    assert told["options"] == {"toolStreaming": False}
    assert told["cost"] == {"input": 5.0, "output": 25.0}


def test_what_no_client_of_opencode_can_call_is_left_out() -> None:
    assert opencode(*known("gte-large-en")) == {}


# ---- codex ---------------------------------------------------------------------------------------------------------


def test_codex_runs_dbx_auth_by_itself_and_has_a_profile_for_each_model() -> None:
    told = tomllib.loads(
        recipes.codex(known("claude-sonnet-4-5", "gpt-5-1-codex-max", "gpt-5"), BASE, Who("DEV", HOST))
    )
    assert (told["model"], told["model_provider"]) == ("databricks-gpt-5-1-codex-max", "databricks")
    provider = told["model_providers"]["databricks"]
    assert (provider["base_url"], provider["wire_api"]) == (BASE.serving, "responses")
    assert provider["auth"]["command"] == "dbx-auth"
    assert provider["auth"]["args"] == ["token", "--profile", "DEV"]
    assert set(told["profiles"]) == {"databricks-gpt-5-1-codex-max", "databricks-gpt-5"}
    assert told["profiles"]["databricks-gpt-5"]["model_context_window"] == 400_000


def test_codex_finds_each_model_at_its_own_address() -> None:
    (responses,) = (each._replace(apis=("responses",)) for each in GATEWAYS)
    told = tomllib.loads(recipes.codex([*known("gpt-5"), responses], BASE, Who("", HOST)))
    at = {name: each["base_url"] for name, each in told["model_providers"].items()}
    assert at[told["profiles"]["databricks-gpt-5"]["model_provider"]] == BASE.serving
    assert at[told["profiles"]["system.ai.gpt-5"]["model_provider"]] == f"{BASE.gateway}/openai/v1"


def test_codex_without_a_model_it_can_call_is_told_so() -> None:
    assert tomllib.loads(text := recipes.codex(known("claude-sonnet-4-5"), BASE, Who())) == {}
    assert text.startswith("# ")


# ---- litellm and models.dev ----------------------------------------------------------------------------------------


def test_litellm_has_a_row_for_each_model_that_it_can_call() -> None:
    found = known("claude-sonnet-4-5", "gpt-5-1-codex-max", "gte-large-en", "claude-opus-5-5")
    text = recipes.litellm(found, BASE, Who())
    rows = yaml(text)
    assert [(row["litellm_params"]["model"], row["model_info"]["mode"]) for row in rows] == [
        ("databricks/databricks-claude-sonnet-4-5", "chat"),
        ("openai/databricks-gpt-5-1-codex-max", "responses"),
        ("databricks/databricks-gte-large-en", "embedding"),
    ]
    assert "# left out: databricks-claude-opus-5-5" in text
    assert rows[0]["litellm_params"]["api_base"] == BASE.serving
    assert rows[0]["litellm_params"]["api_key"] == "os.environ/DATABRICKS_TOKEN"
    assert rows[0]["model_info"] == {
        "mode": "chat",
        "max_input_tokens": 200_000,
        "max_output_tokens": 64_000,
        "supports_function_calling": True,
        "supports_reasoning": True,
        "supports_vision": True,
    }


def test_litellm_without_models_is_an_empty_list() -> None:
    assert recipes.litellm([], BASE, Who()) == "model_list: []"


def test_models_dev_has_a_file_for_each_model() -> None:
    files = recipes.models_dev(
        [known("claude-sonnet-4-5")[0]._replace(cost=Cost(3.0, 15.0, 0.3)), *known("new")], BASE, Who()
    )
    first, second = re.split(r"\n\n(?=#)", files)
    assert first.startswith("# providers/databricks/models/databricks-claude-sonnet-4-5.toml\n")
    assert tomllib.loads(first) == {
        "name": "Claude Sonnet 4.5",
        "family": "claude-sonnet",
        "attachment": True,
        "reasoning": True,
        "tool_call": True,
        "temperature": True,
        "cost": {"input": 3.0, "output": 15.0, "cache_read": 0.3},
        "limit": {"context": 200_000, "output": 64_000},
        "modalities": {"input": ["text", "image"], "output": ["text"]},
    }
    assert tomllib.loads(second) == {"name": "New", "family": "other", "temperature": True}


# ---- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [[], EVERYTHING, GATEWAYS, NAMED_BADLY], ids=["none", "all", "gateway", "odd"])
@pytest.mark.parametrize("who", [Who(), Who("", HOST), NASTY], ids=["anybody", "host", "odd"])
def test_every_format_can_be_read_by_what_it_is_for(found: list[Model], who: Who) -> None:
    json.loads(recipes.opencode(found, BASE, who))
    told = tomllib.loads(recipes.codex(found, BASE, who))
    assert not told or told["model_providers"]["databricks"]["auth"]["args"] == ["token", *who.options]
    assert len(yaml(recipes.litellm(found, BASE, who))) <= len(found)
    for file in filter(None, re.split(r"\n\n(?=#)", recipes.models_dev(found, BASE, who))):
        assert tomllib.loads(file)["name"] in {model.name for model in found}


@pytest.mark.parametrize("model", [*EVERYTHING, *GATEWAYS, *NAMED_BADLY], ids=lambda model: model.id)
def test_every_example_is_a_line_for_a_shell_and_a_program(model: Model) -> None:
    line, program = recipes.curl(model, BASE, NASTY), recipes.python(model, BASE, NASTY)
    if not model.apis:
        assert (line, program) == ("", "")
        return
    words = shlex.split(line)
    assert "\n" not in line
    assert words[: words.index("|")] == ["dbx-auth", "token", "--profile", NASTY.profile, "-o", "header"]
    url, body = words[words.index("-d") - 1], json.loads(words[words.index("-d") + 1])
    assert url.startswith(HOST) and (model.id == body.get("model") or model.id in url)
    tree = ast.parse(program)
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert NASTY.profile in constants


def test_an_example_for_whoever_is_asked_names_nobody() -> None:
    (model,) = known("gpt-5")
    assert recipes.curl(model, BASE, Who()).startswith("dbx-auth token -o header |")
    assert "dbx_auth.Transport()" in recipes.python(model, BASE, Who())
