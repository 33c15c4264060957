"""What the catalogue claims, and that it claims no more than it knows."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from unit.far_side import models_in

import dbx_auth
from dbx_auth import catalogue, models
from dbx_auth.catalogue import Cost, Facts

PATH = Path(dbx_auth.__file__).with_name("catalogue.toml")
TEXT = PATH.read_text("utf-8")
DOCUMENT = tomllib.loads(TEXT)
FAMILIES: list[dict[str, Any]] = DOCUMENT["family"]
MODELS: list[dict[str, Any]] = DOCUMENT["model"]
QUIRKS: dict[str, str] = DOCUMENT["quirks"]
SOURCES = set(re.findall(r"^#   (\S+)  ", TEXT.partition("# Sources:")[2].partition("[quirks]")[0], re.MULTILINE))

# design.md 9, written out: id, family, reasoning, what it must be able to see, context (None: design.md does not say).
DEFAULTS = [
    ("claude-sonnet-4", "claude-sonnet", True, ["text"], None),
    ("claude-sonnet-4-5", "claude-sonnet", True, ["text"], None),
    ("claude-haiku-4-5", "claude-haiku", False, ["text"], None),
    ("claude-opus-4-1", "claude-opus", True, ["text"], None),
    ("claude-opus-4-5", "claude-opus", True, ["text"], None),
    ("claude-3-7-sonnet", "claude-sonnet", True, ["text"], None),
    ("gpt-5", "gpt-5", True, ["text", "image"], None),
    ("gpt-5-1", "gpt-5", True, ["text", "image"], None),
    ("gpt-5-2", "gpt-5", True, ["text", "image"], None),
    ("gpt-5-mini", "gpt-5-mini", True, ["text"], None),
    ("gpt-5-nano", "gpt-5-nano", False, ["text"], None),
    ("gpt-5-1-codex-max", "gpt-5-codex", True, ["text"], None),
    ("gemini-3-pro", "gemini-3", True, ["text", "image", "audio", "video"], 1_000_000),
    ("gemini-3-flash", "gemini-3", True, ["text"], None),
    ("gemini-2-5-pro", "gemini-2.5", True, ["text"], None),
    ("gemini-2-5-flash", "gemini-2.5", True, ["text"], None),
]

# Tokens, from ecosystem.md 4.2, and where that has only the vendor's number, what Databricks' page or its gateway says.
LIMITS = [
    ("claude-sonnet-4-5", 200_000, 64_000),
    ("claude-haiku-4-5", 200_000, 64_000),
    ("claude-opus-4-1", 200_000, 32_000),
    ("claude-opus-4-5", 200_000, 64_000),
    ("claude-opus-4-6", 1_000_000, 128_000),
    ("claude-opus-5", 1_000_000, 128_000),
    ("claude-sonnet-4-6", 1_000_000, 64_000),
    ("gpt-5-2", 400_000, 128_000),
    ("gpt-5-5", 400_000, 128_000),
    ("gpt-6-astra", 1_050_000, 128_000),
    ("gemini-3-pro", 1_000_000, 65_536),
    ("gemini-2-5-flash", 1_048_576, 65_536),
    ("gpt-oss-20b", 131_072, 25_000),
    ("gemma-3-12b", 128_000, 8_192),
    ("qwen3-next-80b-a3b-instruct", 256_000, 10_000),
    ("qwen35-122b-a10b", 256_000, 25_000),
    ("meta-llama-3-3-70b-instruct", 128_000, 8_192),
    ("glm-5-3", 200_000, 25_000),
    ("kimi-k2-7-code", 262_000, None),
    ("gte-large-en", 8_192, None),
]

# ecosystem.md 4.1: every name that was seen on a workspace, and the family it belongs to.
NAMES = {
    "claude-fable": "claude-fable-5 claude-fable-5-1",
    "claude-haiku": "claude-haiku-4-5",
    "claude-opus": "claude-opus-4-1 claude-opus-4-5 claude-opus-4-6 claude-opus-4-8 claude-opus-5 claude-opus-5-5",
    "claude-sonnet": "claude-sonnet-4 claude-sonnet-4-5 claude-sonnet-4-6 claude-sonnet-5-5 claude-3-7-sonnet",
    "gpt-5": "gpt-5 gpt-5-1 gpt-5-2 gpt-5-4 gpt-5-5 gpt-5-5-pro gpt-5-6-luna gpt-5-6-sol gpt-5-6-terra",
    "gpt-5-codex": "gpt-5-3-codex gpt-5-1-codex-max gpt-5-1-codex-mini gpt-5-2-codex",
    "gpt-5-mini": "gpt-5-mini gpt-5-4-mini",
    "gpt-5-nano": "gpt-5-nano gpt-5-4-nano",
    "gpt-6": "gpt-6-1-sol gpt-6-astra gpt-6-luna gpt-6-sol",
    "gpt-oss": "gpt-oss-120b gpt-oss-20b",
    "gemini-2.5": "gemini-2-5-flash gemini-2-5-pro",
    "gemini-3": "gemini-3-flash gemini-3-1-flash-lite gemini-3-1-pro gemini-3-5-flash gemini-3-8-flash gemini-3-pro",
    "gemini-image": "gemini-3-1-flash-image gemini-3-pro-image",
    "llama": "meta-llama-3-3-70b-instruct llama-4-maverick meta-llama-3-1-8b-instruct meta-llama-3-1-405b-instruct",
    "gemma": "gemma-3-12b",
    "qwen": "qwen3-next-80b-a3b-instruct qwen35-122b-a10b",
    "glm": "glm-5-2 glm-5-3 glm-5-3-flash",
    "kimi": "kimi-k2-7-code kimi-k3",
    "grok": "grok-4-6 grok-4-7",
    "deepseek": "deepseek-v4-1-flash",
    "inkling": "inkling",
    "embedding": "gte-large-en bge-large-en qwen3-embedding-0-6b",
}


@pytest.mark.parametrize(("id", "family", "reasoning", "sees", "context"), DEFAULTS)
def test_a_model_of_the_first_list_is_offered_with_the_facts_the_design_states(
    id: str, family: str, reasoning: bool, sees: list[str], context: int | None
) -> None:
    known = catalogue.facts(f"databricks-{id}")
    assert (known.family, known.tools, known.reasoning, known.default) == (family, True, reasoning, True)
    assert set(sees) <= set(known.input)
    assert context is None or known.context == context
    assert known.facts_from == "catalogue"


@pytest.mark.parametrize(
    "id",
    ["gpt-5-1-codex-mini", "gpt-oss-120b", "gpt-oss-20b", "gemma-3-12b", "llama-4-maverick"]
    + ["meta-llama-3-3-70b-instruct", "meta-llama-3-1-8b-instruct", "qwen3-next-80b-a3b-instruct", "qwen35-122b-a10b"]
    + ["llama-9-new", "gemma-9-1t", "qwen9", "gpt-oss-1t", "gte-large-en", "gemini-3-pro-image"],
)
def test_what_does_not_call_tools_reliably_is_not_offered(id: str) -> None:
    assert not catalogue.facts(id).default


@pytest.mark.parametrize(
    "id",
    ["claude-sonnet-5-5", "claude-sonnet-9", "claude-opus-4-8", "claude-haiku-9", "claude-fable-9", "gpt-5-9"]
    + ["gpt-5-9-codex", "gpt-5-9-mini", "gpt-5-9-nano", "gpt-6-sol", "gemini-3-8-flash", "glm-5-3-flash"],
)
def test_a_newer_model_is_offered_as_its_family_is_and_says_that_it_is_a_guess(id: str) -> None:
    known = catalogue.facts(id)
    assert known.default
    assert known.tools
    assert known.facts_from == "family default"


@pytest.mark.parametrize("id", ["claude-sonnet-4-6", "gpt-5-4", "gemini-3-5-flash"])
def test_a_newer_model_with_facts_of_its_own_is_offered_too(id: str) -> None:
    known = catalogue.facts(id)
    assert (known.default, known.tools, known.facts_from) == (True, True, "catalogue")


@pytest.mark.parametrize(("id", "context", "output"), LIMITS)
def test_limits_are_those_of_the_reference(id: str, context: int, output: int | None) -> None:
    known = catalogue.facts(id)
    assert (known.context, known.output) == (context, output)


@pytest.mark.parametrize(("family", "id"), [(family, id) for family, ids in NAMES.items() for id in ids.split()])
def test_every_name_seen_on_a_workspace_has_its_family(family: str, id: str) -> None:
    assert catalogue.facts(f"databricks-{id}").family == family


@pytest.mark.parametrize(
    ("id", "family"),
    [
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-sonnet"),
        ("us.anthropic.claude-opus-4-1", "claude-opus"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama"),
        ("main.default.llama_tuned", "llama"),
        ("models/gemini-2.5-pro", "gemini-2.5"),
        ("gpt-5.1", "gpt-5"),
        ("gpt-50", "other"),
        ("gpt-4o", "other"),
        ("not-a-llama", "other"),
        ("churn", "other"),
        ("", "other"),
    ],
)
def test_a_family_is_seen_at_the_start_of_a_name_or_of_a_part_of_it(id: str, family: str) -> None:
    assert catalogue.facts(id).family == family


@pytest.mark.parametrize(
    ("id", "apis", "quirk"),
    [
        ("gpt-5-1-codex-max", ("responses",), "responses-only"),
        ("gpt-5-5-pro", ("responses",), "responses-only"),
        ("claude-opus-5-5", ("messages",), "messages-only"),
        ("claude-fable-5-1", ("messages",), "messages-only"),
        ("gpt-5-5", ("chat", "responses"), "no-effort-with-tools"),
        ("claude-opus-4-7", ("chat", "messages"), "no-sampling"),
        ("claude-sonnet-4", ("chat", "messages"), "no-empty-text"),
        ("gemini-3-pro", ("chat", "generateContent"), "gemini-schema"),
        ("gemini-2-5-pro", ("chat", "generateContent"), "one-system-message"),
        ("gpt-oss-20b", ("chat",), "no-stream-options"),
        ("gemma-3-12b", ("chat",), "no-stream-options"),
        ("llama-4-maverick", ("chat",), "no-stream-options"),
        ("qwen35-122b-a10b", ("chat",), "no-stream-options"),
        ("inkling", (), "no-finish-reason"),
        ("inkling", (), "capped-output"),
    ],
)
def test_a_model_names_the_apis_it_speaks_and_what_it_refuses(id: str, apis: tuple[str, ...], quirk: str) -> None:
    known = catalogue.facts(id)
    assert known.apis == apis
    assert quirk in known.quirks


def test_a_model_has_its_familys_quirks_and_its_own() -> None:
    family, model = catalogue.facts("claude-opus-99"), catalogue.facts("claude-opus-4-7")
    assert set(model.quirks) - set(family.quirks) == {"no-sampling"}


def test_of_a_model_nobody_knows_nothing_is_claimed() -> None:
    assert catalogue.facts("churn-model") == Facts("other")


@pytest.mark.parametrize(
    "id",
    ["claude-opus-5", "databricks-claude-opus-5", "system.ai.claude-opus-5", "system.ai.databricks-claude-opus-5"]
    + ["DATABRICKS-Claude-Opus-5"],
)
def test_every_spelling_of_an_id_is_the_same_model(id: str) -> None:
    assert catalogue.bare(id) == catalogue.same(id) == "claude-opus-5"
    assert catalogue.facts(id) == catalogue.facts("claude-opus-5")


@pytest.mark.parametrize(
    ("id", "hint", "family", "facts_from"),
    [
        ("team-bot", "gpt-5-1", "gpt-5", "catalogue"),
        ("team-bot", "system.ai.claude-sonnet-4-5", "claude-sonnet", "catalogue"),
        ("team-bot", "claude-sonnet-4-5-20250929", "claude-sonnet", "family default"),
        ("gemini-3-team", "gpt-5-1-2025", "gpt-5", "family default"),
        ("llama-team", "main.default.churn", "llama", "family default"),
        ("databricks-claude-opus-5", "system.ai.something", "claude-opus", "catalogue"),
        ("databricks-claude-opus-77", "gpt-5", "gpt-5", "catalogue"),
        ("databricks-claude-opus-77", "gpt-5-77", "claude-opus", "family default"),
        ("databricks-new", "system.ai.qwen9", "qwen", "family default"),
        ("team-bot", "", "other", "family default"),
        ("team-bot", None, "other", "family default"),
    ],
)
def test_a_hint_says_more_than_a_name_that_people_chose(id: str, hint: str, family: str, facts_from: str) -> None:
    known = catalogue.facts(id, hint)
    assert (known.family, known.facts_from) == (family, facts_from)


def test_everything_is_every_model_row_under_the_id_of_its_endpoint() -> None:
    assert list(catalogue.everything()) == [f"databricks-{row['id']}" for row in MODELS]
    assert all(known.facts_from == "catalogue" for known in catalogue.everything().values())


def test_nobody_can_change_the_catalogue_by_changing_an_answer() -> None:
    catalogue.everything().clear()
    assert catalogue.everything()


@pytest.mark.parametrize(
    ("apis", "spoken", "quirks"),
    [
        (["responses"], ("responses",), {"responses-only"}),
        (["messages"], ("messages",), {"messages-only"}),
        (["responses", "chat", "chat"], ("chat", "responses"), set()),
        (["chat"], ("chat",), set()),
        ([], (), set()),
    ],
)
def test_the_only_quirks_follow_from_the_apis(apis: list[str], spoken: tuple[str, ...], quirks: set[str]) -> None:
    for id in ("gpt-5-1-codex-max", "gpt-5", "claude-fable-5-1"):
        known = catalogue.speaking(catalogue.facts(id), apis)
        assert known.apis == spoken
        assert {quirk for quirk in known.quirks if quirk.endswith("-only")} == quirks


def test_a_cost_that_is_known_is_told() -> None:
    row = {"cost": {"input": 1.25, "output": 10.0}}
    assert catalogue._merged(Facts("gpt-5"), row).cost == Cost(1.25, 10.0, None)


# ---- the file ------------------------------------------------------------------------------------------------------

FACTS = {"apis", "tools", "reasoning", "input", "context", "output", "default", "cost", "quirks", "source", "date"}
ROWS = [pytest.param(row, id=row.get("name") or row["id"]) for row in (*FAMILIES, *MODELS)]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_keeps_to_the_vocabulary(row: dict[str, Any]) -> None:
    assert set(row) - FACTS in ({"name", "match"}, {"id"})
    assert set(row.get("apis", ())) <= set(catalogue.APIS)
    assert set(row.get("input", ())) <= {"text", "image", "audio", "video"}
    assert all(isinstance(row.get(name, False), bool) for name in ("tools", "reasoning", "default"))
    assert all(type(row.get(name, 1)) is int and row.get(name, 1) > 0 for name in ("context", "output"))
    for quirk in row.get("quirks", ()):
        assert quirk in QUIRKS, f"{quirk} is not explained at the head of the file"


@pytest.mark.parametrize("row", ROWS)
def test_every_row_says_where_its_facts_come_from_and_how_old_they_are(row: dict[str, Any]) -> None:
    for source in row["source"].split("; "):
        assert source.split(" ")[0] in SOURCES or re.match(r"[\w./-]+#\d+$", source) or source == "nothing is known"
    assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["date"])


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row["id"])
def test_every_model_row_is_a_bare_id_of_a_known_family_that_says_something(row: dict[str, Any]) -> None:
    assert row["id"] == catalogue.bare(row["id"])
    assert catalogue.facts(row["id"]).family != "other"
    assert set(row) & (FACTS - {"source", "date"})


def test_no_model_and_no_family_is_written_twice() -> None:
    for names in ([row["id"] for row in MODELS], [row["name"] for row in FAMILIES]):
        assert len(names) == len(set(names))


@pytest.mark.parametrize("family", [row["name"] for row in FAMILIES])
def test_every_family_is_reachable(family: str) -> None:
    ids = NAMES[family].split() if family != "other" else ["churn"]
    assert {catalogue.facts(id).family for id in ids} == {family}


def test_the_last_family_takes_whatever_is_left() -> None:
    assert FAMILIES[-1]["name"] == "other"
    assert re.search(FAMILIES[-1]["match"], "")


def test_every_quirk_that_is_explained_is_used() -> None:
    assert set(QUIRKS) == {quirk for row in (*FAMILIES, *MODELS) for quirk in row.get("quirks", ())}
    assert list(QUIRKS) == sorted(QUIRKS)
    assert set(catalogue.quirks()) == {*QUIRKS, "responses-only", "messages-only"}


NOT_GPT = {name for name in NAMES if not name.startswith("gpt-") or name == "gpt-oss"} - {"embedding", "gemini-image"}
OPEN = {"llama", "qwen", "gemma", "gpt-oss"}
WHO = {
    "no-openai-extras": NOT_GPT,
    "no-parallel-tool-calls": NOT_GPT,
    "no-max-completion-tokens": NOT_GPT,
    "no-user-name": NOT_GPT,
    "no-cache-control": set(NAMES) - {"embedding", "gemini-image"} - {n for n in NAMES if n.startswith("claude")},
    "single-tool-calls": OPEN,
    "no-stream-options": OPEN,
    "capped-output": {*OPEN, "glm", "inkling"},
    "no-function-call-id": {"gemini-3", "gemini-2.5"},
    "thought-signature": {"gemini-3", "gemini-2.5"},
    "no-empty-text": {n for n in NAMES if n.startswith("claude")},
}


@pytest.mark.parametrize("quirk", WHO)
def test_a_quirk_is_that_of_the_families_in_which_it_was_seen(quirk: str) -> None:
    assert {row["name"] for row in FAMILIES if quirk in row.get("quirks", ())} == WHO[quirk]


def test_where_output_is_capped_the_cap_is_known() -> None:
    capped = [known for known in catalogue.everything().values() if "capped-output" in known.quirks]
    assert capped and all(known.output for known in capped)


def test_a_fact_of_a_models_own_row_is_told_from_one_of_its_family() -> None:
    opus, unknown = catalogue.facts("claude-opus-4-7"), catalogue.facts("claude-opus-99")
    assert [opus.origin(fact) for fact in ("context", "quirks", "tools", "apis")] == [
        "catalogue",
        "catalogue",
        "family default",
        "family default",
    ]
    assert {unknown.origin(fact) for fact in Facts._fields} == {"family default"}


def test_the_stamp_is_that_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue.stamp() == f"{PATH.stat().st_size} {PATH.stat().st_mtime_ns}"
    monkeypatch.setattr(catalogue, "__file__", "/in/a.zip/dbx_auth/catalogue.py")
    assert catalogue.stamp() == ""


def test_importing_reads_no_file_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, dbx_auth.models, dbx_auth.catalogue as c\n"
        "print(c._catalogue.cache_info().currsize, *sorted({'tomllib','httpx','rich','click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


# ---- what a workspace serves that it does not know -----------------------------------------------------------------


def test_what_the_catalogue_does_not_know_is_printed_as_a_row_to_complete() -> None:
    page = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "missing.py"))
    served = models_in([{"name": name} for name in ("databricks-gpt-5", "databricks-gpt-99", "system.ai.new", "team")])
    listing = models.Listing("https://one.cloud.databricks.com", "workspace", 0.0, tuple(served))
    unknown = page["missing"](listing)
    assert [model.id for model in unknown] == ["databricks-gpt-99", "system.ai.new"]
    rows = tomllib.loads("\n".join(page["row"](model, "2026-11-22") for model in unknown))["model"]
    assert rows == [{"id": id, "source": "live", "date": "2026-11-22"} for id in ("gpt-99", "new")]
