"""`dbx-auth models` against the sandbox: what is listed, told about one model, tried, and handed to other programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

import dbx_auth
from dbx_auth.sandbox import Sandbox

ONE_OF_EACH_API = {
    "databricks-claude-sonnet-4-5": "chat",
    "databricks-gpt-5-1-codex-max": "responses",
    "databricks-claude-opus-5-5": "messages",
    "databricks-gte-large-en": "embeddings",
    "databricks-gemini-3-pro": "chat",
}

# design.md 9: family, reasoning, what goes in beside text, context where it is said.
DEFAULTS: dict[str, tuple[str, bool, list[str], int | None]] = {
    "claude-sonnet-4": ("claude-sonnet", True, [], None),
    "claude-sonnet-4-5": ("claude-sonnet", True, [], None),
    "claude-haiku-4-5": ("claude-haiku", False, [], None),
    "claude-opus-4-1": ("claude-opus", True, [], None),
    "claude-opus-4-5": ("claude-opus", True, [], None),
    "claude-3-7-sonnet": ("claude-sonnet", True, [], None),
    "gpt-5": ("gpt-5", True, ["image"], None),
    "gpt-5-1": ("gpt-5", True, ["image"], None),
    "gpt-5-2": ("gpt-5", True, ["image"], None),
    "gpt-5-mini": ("gpt-5-mini", True, [], None),
    "gpt-5-nano": ("gpt-5-nano", False, [], None),
    "gpt-5-1-codex-max": ("gpt-5-codex", True, [], None),
    "gemini-3-pro": ("gemini-3", True, ["image", "audio", "video"], 1_000_000),
    "gemini-3-flash": ("gemini-3", True, [], None),
    "gemini-2-5-pro": ("gemini-2.5", True, [], None),
    "gemini-2-5-flash": ("gemini-2.5", True, [], None),
}
EXCLUDED = ["gpt-5-1-codex-mini", "gpt-oss-120b", "gpt-oss-20b", "gemma-3-12b", "llama-4-maverick"]
EXCLUDED += ["meta-llama-3-3-70b-instruct", "meta-llama-3-1-8b-instruct", "qwen3-next-80b-a3b-instruct"]


@pytest.fixture
def modeller(machine: Machine, sandbox: Sandbox) -> Machine:
    machine.env.update(DATABRICKS_HOST=sandbox.url, DATABRICKS_TOKEN=sandbox.pat)
    return machine


def listed(machine: Machine, *options: str) -> dict[str, dict[str, Any]]:
    said = machine.run("models", "-o", "json", *options)
    assert (said.code, said.err) == (0, "")
    return {model["id"]: model for model in said.json()["models"]}


# ---- the list ------------------------------------------------------------------------------------------------------


def test_the_sixteen_models_of_the_first_list_are_offered_with_their_facts(machine: Machine) -> None:
    offered = listed(machine, "--offline")
    for id, (family, reasoning, sees, context) in DEFAULTS.items():
        model = offered[f"databricks-{id}"]
        assert (model["family"], model["tools"], model["reasoning"]) == (family, True, reasoning), id
        assert set(sees) <= set(model["input"]), id
        assert context in (None, model["context"]), id


def test_none_of_the_excluded_is_offered_and_all_are_there_when_asked_for(machine: Machine) -> None:
    excluded = {f"databricks-{id}" for id in EXCLUDED}
    assert not excluded & set(listed(machine, "--offline"))
    assert {*excluded, *(f"databricks-{id}" for id in DEFAULTS)} <= set(listed(machine, "--offline", "--all"))


def test_the_sandbox_serves_what_the_first_list_has_and_says_the_same_of_it(modeller: Machine) -> None:
    online, offline = listed(modeller), listed(modeller, "--offline")
    both = {f"databricks-{id}" for id in DEFAULTS} & set(online)
    assert len(both) >= 15, "one of the sixteen is retired"
    facts = ("family", "tools", "reasoning", "input", "context", "output", "quirks")
    assert {id: [online[id][fact] for fact in facts] for id in both} == {
        id: [offline[id][fact] for fact in facts] for id in both
    }
    assert not {f"databricks-{id}" for id in EXCLUDED} & set(online)


def test_every_model_is_listed_once_and_says_where_each_fact_is_from(modeller: Machine) -> None:
    found = listed(modeller, "--all")
    assert len({id.removeprefix("system.ai.").removeprefix("databricks-") for id in found}) == len(found)
    for model in found.values():
        known = {fact for fact, value in model.items() if value not in (None, [], "")}
        assert known - {"facts_from", "origins", "ready"} <= set(model["origins"])
    assert found["databricks-gpt-5"]["origins"]["apis"] == "foundation-models"
    assert found["databricks-gpt-5"]["origins"]["id"] == "serving-endpoints"


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (["--api", "messages"], lambda model: "messages" in model["apis"]),
        (["--tools"], lambda model: model["tools"] is True),
        (["--input", "video"], lambda model: "video" in model["input"]),
        (["--family", "gpt-oss"], lambda model: model["family"] == "gpt-oss"),
        (["--task", "embeddings"], lambda model: model["task"] == "llm/v1/embeddings"),
        (["--api", "chat", "--input", "image"], lambda model: "chat" in model["apis"] and "image" in model["input"]),
    ],
)
def test_a_filter_gives_all_that_it_holds_for_and_nothing_else(
    modeller: Machine, options: list[str], holds: Any
) -> None:
    everything = listed(modeller, "--all")
    expected = {id for id, model in everything.items() if holds(model)}
    assert expected and expected != set(everything)
    assert set(listed(modeller, *options)) == expected


@pytest.mark.parametrize(
    ("options", "near"),
    [
        (["--family", "claude-sonet"], "claude-sonnet"),
        (["--family", "gpt5"], "gpt-5"),
        (["--task", "embedings"], "embeddings"),
        (["--task", "llm/v1/chatt"], "llm/v1/chat"),
    ],
)
def test_a_family_or_task_mistyped_lists_the_nearest(modeller: Machine, options: list[str], near: str) -> None:
    said = modeller.run("models", *options)
    assert (said.code, said.out) == (0, "")
    assert near in said.err.partition("the nearest: ")[2].strip().split(", ")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--api", "mesages"], "--api messages"),
        (["--api", "generatecontent"], "--api generateContent"),
        (["--input", "imgae"], "--input image"),
        (["--input", "smell"], "--input text"),
    ],
)
def test_an_api_or_input_that_there_is_not_is_wrong_usage(machine: Machine, options: list[str], hint: str) -> None:
    said = machine.run("models", *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[1] == f"hint: dbx-auth models {hint}"


def test_a_large_workspace_is_listed_whole(machine: Machine) -> None:
    with Sandbox(auto_approve=True, endpoints=5_000) as workspace:
        machine.env.update(DATABRICKS_HOST=workspace.url, DATABRICKS_TOKEN=workspace.pat)
        for _ in range(2):
            names = machine.run("models", "--all", "-o", "names").out.split()
            assert len(names) == len(set(names)) == 5_000
        assert sum(request.path == "/api/2.0/serving-endpoints" for request in workspace.log) == 1


def test_a_profile_or_host_may_still_follow(modeller: Machine, sandbox: Sandbox) -> None:
    modeller.write(modeller.config, f"[show-me]\nhost = {sandbox.url}\ntoken = {sandbox.pat}\n")
    modeller.env.clear()
    expected = modeller.run("models", "show-me", "-o", "names").out
    assert expected.count("\n") > 10
    assert modeller.run("models", "-o", "names", "show-me").out == expected
    assert modeller.run("-p", "show-me", "models", "-o", "names").out == expected


# ---- one model -----------------------------------------------------------------------------------------------------


def test_show_tells_every_fact_its_origin_and_how_to_call_it(modeller: Machine) -> None:
    said = modeller.run("models", "show", "claude-sonnet-4-5")
    assert (said.code, said.err) == (0, "")
    facts = [line.split("  ") for line in said.out.partition("\n\ncurl")[0].splitlines()]
    told = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in facts}
    assert told["id"] == ["databricks-claude-sonnet-4-5", "serving-endpoints"]
    assert told["context"] == ["200,000", "catalogue"]
    assert told["tools"] == ["yes", "family default"]
    assert told["cost"] == ["-"]
    assert "empty text content is refused" in said.out
    assert "| curl " in said.out and "dbx_auth.Transport(" in said.out


def test_show_as_json_has_the_model_and_both_examples(modeller: Machine) -> None:
    said = modeller.run("models", "show", "gpt-5", "-o", "json").json()
    assert list(said) == ["version", "host", "source", "fetched_at", "model", "examples"]
    assert said["model"] == listed(modeller)["databricks-gpt-5"]
    assert list(said["examples"]) == ["curl", "python"]


def test_show_of_a_model_of_which_nobody_knows_the_api_says_so(modeller: Machine) -> None:
    said = modeller.run("models", "show", "churn-forecast")
    assert said.code == 0
    assert said.out.count("nobody has said which API it speaks") == 2


@pytest.mark.parametrize("verb", ["show", "check"])
def test_a_name_mistyped_lists_the_nearest(modeller: Machine, verb: str) -> None:
    said = modeller.run("models", verb, "claude-sonet-4-5")
    assert (said.code, said.out) == (1, "")
    assert "databricks-claude-sonnet-4-5" in said.err.partition("the nearest: ")[2]
    assert "hint: dbx-auth models show databricks-claude-sonnet-4-5\n" in said.err


def test_the_catalogue_can_be_shown_without_a_workspace(machine: Machine) -> None:
    said = machine.run("models", "show", "gpt-5", "--offline")
    assert said.code == 0 and "<your workspace>" in said.out


@pytest.mark.parametrize("word", ["show", "check"])
def test_words_of_models_want_a_name(machine: Machine, word: str) -> None:
    said = machine.run("models", word)
    assert said.code == 2 and f"dbx-auth models {word} --help" in said.err


def test_the_help_names_the_words_and_each_has_its_own(machine: Machine) -> None:
    assert "models show" in machine.run("models", "--help").out
    assert "Usage: dbx-auth models check [OPTIONS] NAME..." in machine.run("models", "check", "-h").out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("models ", "show"),
        ("models show databricks-gpt-5-m", "databricks-gpt-5-mini"),
        ("models check --o", "--output"),
    ],
)
def test_a_shell_completes_words_and_names(machine: Machine, typed: str, offered: str) -> None:
    line = f"dbx-auth {typed}".split(" ")
    asked = {"_DBX_AUTH_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    code = "from dbx_auth.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=machine.child_env(**asked), capture_output=True, text=True, timeout=60
    )
    assert f"plain,{offered}" in done.stdout.splitlines()


# ---- examples that run ---------------------------------------------------------------------------------------------


def example(machine: Machine, model: str, kind: str) -> str:
    text: str = machine.run("models", "show", model, "-o", "json").json()["examples"][kind]
    return text


def ran(machine: Machine, argv: list[str]) -> str:
    env = machine.child_env()
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("model", ONE_OF_EACH_API)
def test_the_line_for_the_shell_works(modeller: Machine, sandbox: Sandbox, model: str) -> None:
    line = example(modeller, model, "curl")
    answer = json.loads(ran(modeller, ["sh", "-c", line]))
    assert "weather" in json.dumps(answer) or answer["data"][0]["embedding"]
    assert sandbox.pat not in line


@pytest.fixture
def transport() -> Iterator[None]:
    if not hasattr(dbx_auth, "Transport"):
        pytest.skip("there is no Transport")
    pytest.importorskip("openai")
    yield


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("model", ONE_OF_EACH_API)
def test_the_program_works(modeller: Machine, sandbox: Sandbox, model: str) -> None:
    program = example(modeller, model, "python")
    printed = ran(modeller, [sys.executable, "-c", program])
    assert "weather" in printed or printed.startswith("[")
    assert sandbox.pat not in program


# ---- trying them ---------------------------------------------------------------------------------------------------


def test_check_calls_each_model_through_its_own_api(modeller: Machine, sandbox: Sandbox) -> None:
    said = modeller.run("models", "check", *ONE_OF_EACH_API)
    assert said.code == 0
    assert [line.split()[:3] for line in said.out.splitlines()] == [
        [id, api, "works"] for id, api in ONE_OF_EACH_API.items()
    ]
    count = len(ONE_OF_EACH_API)
    assert said.err.splitlines() == [
        f"{number} of {count}: {id}, through {api}" for number, (id, api) in enumerate(ONE_OF_EACH_API.items(), 1)
    ]
    called = [request.path for request in sandbox.log if request.method == "POST"]
    assert called == [
        "/serving-endpoints/chat/completions",
        "/serving-endpoints/responses",
        "/serving-endpoints/anthropic/v1/messages",
        "/serving-endpoints/embeddings",
        "/serving-endpoints/chat/completions",
    ]


def test_every_model_that_is_offered_works(modeller: Machine) -> None:
    said = modeller.run("models", "check", *listed(modeller))
    assert said.code == 0, said.out


def test_check_fails_when_one_model_does_and_says_which_and_why(modeller: Machine) -> None:
    said = modeller.run("models", "check", "gpt-5", "support-chat", "churn-forecast", "-o", "json")
    assert said.code == 1
    found = {each["id"]: each for each in said.json()["models"]}
    assert found["databricks-gpt-5"]["works"] is True
    assert not found["support-chat"]["works"] and "not ready" in found["support-chat"]["said"]
    assert (found["churn-forecast"]["api"], found["churn-forecast"]["works"]) == ("", False)


# ---- other programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["opencode", "codex", "litellm", "models.dev"])
def test_configuration_names_every_model_that_is_offered_and_no_secret(
    modeller: Machine, sandbox: Sandbox, form: str
) -> None:
    said = modeller.run("models", "-o", form)
    assert said.code == 0
    assert sandbox.pat not in said.out
    can_call = [id for id, model in listed(modeller).items() if form != "codex" or "responses" in model["apis"]]
    assert can_call and all(id in said.out for id in can_call)
    reads_env = "DATABRICKS_TOKEN" in said.out
    assert reads_env == (form in ("opencode", "litellm"))
    assert ('eval "$(dbx-auth token -o env)"' in said.err) == reads_env


def test_configuration_is_for_what_was_asked_for(modeller: Machine) -> None:
    said = modeller.run("models", "-o", "opencode", "--family", "claude-haiku").out
    assert [list(each["models"]) for each in json.loads(said)["provider"].values()] == [["databricks-claude-haiku-4-5"]]
