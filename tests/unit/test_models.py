"""What a workspace serves: read leniently, asked rarely, and shown with care."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from unit.far_side import models_in

from dbx_auth import catalogue, endpoints as lists, models
from dbx_auth.catalogue import APIS, Cost
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.models import Listing, Model
from dbx_auth.world import MEBIBYTE, Response, World

HOST = "https://one.cloud.databricks.com"
HEADERS = {"Authorization": "Bearer dapi-secret"}
LIST = "/api/2.0/serving-endpoints"
FOUNDATION = "/api/2.0/serving-endpoints:foundation-models"
GATEWAY = "/api/ai-gateway/v2/endpoints"
UNITY = "/api/2.1/unity-catalog/model-services"

# ecosystem.md 4.5, as it stands there
SONNET: dict[str, Any] = {
    "name": "databricks-claude-sonnet-4-5",
    "id": "…",
    "creator": None,
    "task": "llm/v1/chat",
    "description": "… context window of 200K tokens …",
    "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
    "config": {
        "served_entities": [
            {
                "name": "databricks-claude-sonnet-4-5",
                "entity_name": "system.ai.claude-sonnet-4-5",
                "entity_version": "1",
                "foundation_model": {
                    "name": "system.ai.claude-sonnet-4-5",
                    "display_name": "Claude Sonnet 4.5",
                    "api_types": ["mlflow/v1/chat/completions", "anthropic/v1/messages"],
                    "ai_gateway_v2_supported": True,
                },
            }
        ]
    },
    "tags": [{"key": "team", "value": "x"}],
}


def endpoint(name: str = "databricks-gpt-5", *, entity: object = None, **more: object) -> dict[str, object]:
    return {"name": name, "task": "llm/v1/chat", "config": {"served_entities": [entity or {}]}} | more


def foundation(name: str = "databricks-gpt-5", *types: object, **more: object) -> dict[str, object]:
    return endpoint(name, entity={"foundation_model": {"api_types": list(types)} | more})


def only(*endpoints: object, foundation: object = None) -> Model:
    (model,) = models_in({"endpoints": list(endpoints)}, foundation)
    return model


# ---- parsing -------------------------------------------------------------------------------------------------------


def test_an_endpoint_becomes_a_model_with_every_field_of_the_json_shape() -> None:
    assert only(SONNET, foundation={"endpoints": [SONNET]}).as_json() == {
        "id": "databricks-claude-sonnet-4-5",
        "name": "Claude Sonnet 4.5",
        "family": "claude-sonnet",
        "task": "llm/v1/chat",
        "ready": True,
        "apis": ["chat", "messages"],
        "tools": True,
        "reasoning": True,
        "input": ["text", "image"],
        "context": 200_000,
        "output": 64_000,
        "cost": None,
        "facts_from": "workspace",
        "quirks": list(catalogue.facts("claude-sonnet-4-5").quirks),
        "origins": {
            "id": "serving-endpoints",
            "name": "serving-endpoints",
            "task": "serving-endpoints",
            "ready": "serving-endpoints",
            "apis": "serving-endpoints",
            "family": "catalogue",
            "context": "catalogue",
            "output": "catalogue",
            "tools": "family default",
            "reasoning": "family default",
            "input": "family default",
            "quirks": "family default",
        },
    }


def test_a_cost_that_is_known_is_an_object_in_json() -> None:
    model = only(SONNET)._replace(cost=Cost(3.0, 15.0))
    assert model.as_json()["cost"] == {"input": 3.0, "output": 15.0, "cache_read": None}


@pytest.mark.parametrize(
    ("api_type", "api"),
    [
        ("mlflow/v1/chat/completions", "chat"),
        ("openai/v1/responses", "responses"),
        ("anthropic/v1/messages", "messages"),
        ("gemini/v1/generateContent", "generateContent"),
        ("mlflow/v1/embeddings", "embeddings"),
    ],
)
def test_an_api_type_of_the_workspace_wins_over_the_catalogue(api_type: str, api: str) -> None:
    model = only(
        endpoint(), foundation={"endpoints": [foundation("databricks-gpt-5", api_type, "future/v9/telepathy")]}
    )
    assert model.apis == (api,)
    assert model.facts_from == "workspace"


@pytest.mark.parametrize("types", [[], ["future/v9/telepathy"], [None, 7, {}], None, "mlflow/v1/embeddings"])
def test_where_the_workspace_names_no_api_we_know_the_catalogue_says(types: object) -> None:
    entity = {"foundation_model": {"api_types": types}}
    model = only(endpoint(), foundation={"endpoints": [endpoint(entity=entity)]})
    assert (model.apis, model.facts_from) == (("chat", "responses"), "catalogue")


def test_quirks_follow_the_apis_the_workspace_names() -> None:
    codex, gpt = "databricks-gpt-5-1-codex-max", "databricks-gpt-5"
    both = models_in(
        [endpoint(codex), endpoint(gpt)],
        [foundation(codex, "mlflow/v1/chat/completions"), foundation(gpt, "openai/v1/responses")],
    )
    assert ["responses-only" in model.quirks for model in both] == [False, True]


@pytest.mark.parametrize(
    ("task", "apis"),
    [
        ("llm/v1/chat", ("chat",)),
        ("agent/v2/chat", ("chat",)),
        ("agent/v1/responses", ("responses",)),
        ("llm/v1/embeddings", ("embeddings",)),
        ("llm/v1/completions", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_of_an_endpoint_nobody_knows_the_task_tells_the_api(task: object, apis: tuple[str, ...]) -> None:
    model = only(endpoint("team-agent", task=task))
    assert (model.family, model.apis, model.facts_from) == ("other", apis, "family default")


def test_the_task_does_not_overrule_the_catalogue() -> None:
    assert only(endpoint("databricks-gpt-5-3-codex")).apis == ("responses",)


@pytest.mark.parametrize(
    ("entity", "family"),
    [
        ({"external_model": {"provider": "openai", "name": "gpt-5-1", "task": "llm/v1/chat"}}, "gpt-5"),
        ({"external_model": {"name": "anthropic.claude-3-7-sonnet-20250219-v1:0"}}, "claude-sonnet"),
        ({"external_model": {"name": "gpt-4o"}, "entity_name": "x"}, "other"),
        ({"entity_name": "system.ai.llama_v3_3_70b_instruct"}, "llama"),
        ({"entity_name": "main.default.gemma_tuned"}, "gemma"),
        ({"foundation_model": {"name": "system.ai.glm-5-3"}}, "glm"),
        ({"external_model": None, "foundation_model": [], "entity_name": 3}, "other"),
        ("nonsense", "other"),
    ],
)
def test_the_model_behind_an_endpoint_tells_its_family(entity: object, family: str) -> None:
    assert only(endpoint("team-bot", entity=entity)).family == family


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("databricks-claude-sonnet-4-5", "Claude Sonnet 4.5"),
        ("databricks-claude-3-7-sonnet", "Claude 3.7 Sonnet"),
        ("databricks-gpt-5", "GPT-5"),
        ("databricks-gpt-5-1-codex-max", "GPT-5.1 Codex Max"),
        ("databricks-gpt-oss-120b", "GPT OSS 120B"),
        ("databricks-gemini-2-5-pro", "Gemini 2.5 Pro"),
        ("databricks-meta-llama-3-3-70b-instruct", "Meta Llama 3.3 70B Instruct"),
        ("databricks-qwen35-122b-a10b", "Qwen35 122B A10B"),
        ("system.ai.glm-5-3", "GLM-5.3"),
        ("databricks-", "databricks-"),
        ("team_bot-2-5", "team_bot-2-5"),
    ],
)
def test_a_model_without_a_display_name_is_named_as_people_would(id: str, name: str) -> None:
    assert only(endpoint(id)).name == name


def test_a_display_name_of_either_document_is_used() -> None:
    told = foundation("databricks-gpt-5", display_name="GPT five")
    assert only(told).name == "GPT five"
    assert only(endpoint(), foundation=[told]).name == "GPT five"


def test_nothing_a_server_says_can_drive_the_terminal() -> None:
    model = only(foundation("databricks-gpt-5", display_name="GPT\x1b[2J\r\n\u202e five \ud800"))
    assert model.name == "GPT[2J five"


@pytest.mark.parametrize(
    "state",
    [{"ready": "READY"}, {"ready": None}, {"ready": 1}, {}, None, "NOT_READY", {"config_update": "IN_PROGRESS"}],
)
def test_a_model_is_ready_unless_the_workspace_says_it_is_not(state: object) -> None:
    assert only(endpoint(state=state)).ready
    assert not only(endpoint(state={"ready": "NOT_READY"})).ready


@pytest.mark.parametrize(
    ("description", "context"),
    [
        ("It has a context window of 200K tokens.", 200_000),
        ("a Context Window of 1M tokens", 1_000_000),
        ("context window of up to 1.5 million tokens", 1_500_000),
        ("context length of 32,768 tokens", 32_768),
        ("a model with a context of 128,000 tokens", 128_000),
        ("features a 400K total token context window with 128K output", 400_000),
        ("a 1-million-token context window", 1_000_000),
        ("supports a 256K context window", 256_000),
        ("context window of 12 tokens", None),
        ("context window of 999999999M tokens", None),
        ("in the context of 3 projects", None),
        ("a context window of unusual size", None),
        ("x" * 5_000 + " context window of 200K tokens", None),
        ("1" + " " * 5_000 + "-" * 5_000, None),
        (200_000, None),
        (None, None),
    ],
)
def test_a_description_tells_the_context_when_the_catalogue_does_not(description: object, context: int | None) -> None:
    assert only(endpoint("databricks-kimi-k9", description=description)).context == context


def test_the_catalogue_knows_the_context_better_than_a_description() -> None:
    assert only(endpoint("databricks-gpt-5", description="context window of 8K tokens")).context == 400_000


def test_a_description_of_the_foundation_model_will_do() -> None:
    told = foundation("databricks-kimi-k9", description="context window of 64K tokens")
    assert only(told).context == 64_000
    assert only(endpoint("databricks-kimi-k9"), foundation=[told]).context == 64_000


@pytest.mark.parametrize(
    "name", [None, "", 7, [], {}, "  ", " padded", "two words", "line\nbreak", "esc\x1b[0m", "\ud800", "n" * 257]
)
def test_an_endpoint_without_a_name_to_call_it_by_is_left_out(name: object) -> None:
    assert models_in({"endpoints": [{"name": name, "task": "llm/v1/chat"}, {"task": "llm/v1/chat"}]}, None) == []


@pytest.mark.parametrize("nothing", [None, {}, [], {"endpoints": None}, {"endpoints": "x"}, {"endpoints": [None, 3]}])
def test_a_workspace_that_serves_nothing_is_an_empty_list(nothing: object) -> None:
    assert models_in(nothing, None) == []
    assert models_in(nothing, nothing) == []


def test_the_bare_array_that_the_databricks_cli_prints_is_understood() -> None:
    assert models_in([SONNET], None) == models_in({"endpoints": [SONNET]}, None)


@pytest.mark.parametrize("absent", [None, "<html>", 3])
def test_without_the_documented_list_the_other_one_will_do(absent: object) -> None:
    (model,) = models_in(absent, {"endpoints": [SONNET]})
    assert (model.id, model.facts_from) == ("databricks-claude-sonnet-4-5", "workspace")


@pytest.mark.parametrize("seen", [{"endpoints": [SONNET]}, [SONNET]])
def test_what_this_identity_may_not_see_is_not_listed(seen: object) -> None:
    hidden = foundation("databricks-gpt-5", "openai/v1/responses")
    assert [model.id for model in models_in(seen, [hidden, SONNET])] == [SONNET["name"]]
    assert models_in({}, [hidden]) == []


def test_a_name_that_comes_twice_is_one_model() -> None:
    twice = [endpoint(task="llm/v1/chat"), endpoint(task="llm/v1/embeddings")]
    assert only(*twice, foundation=[*twice, *twice]).task == "llm/v1/chat"


def test_gaps_are_filled_from_the_second_document_but_not_whether_it_is_ready() -> None:
    model = only(
        {"name": "databricks-x"},
        foundation=[endpoint("databricks-x", entity={"entity_name": "qwen3"}, state={"ready": "NOT_READY"})],
    )
    assert (model.task, model.family, model.ready) == ("llm/v1/chat", "qwen", True)


def test_models_keep_the_order_of_the_workspace() -> None:
    names = ["zeta", "databricks-gpt-5", "alpha"]
    assert [model.id for model in models_in([endpoint(name) for name in names], None)] == names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy | JSON


NAME = st.sampled_from(["databricks-gpt-5", "databricks-claude-fable-9", "team-bot"])
MODEL = st.fixed_dictionaries(
    {},
    optional={
        "name": sometimes(st.sampled_from(["system.ai.qwen9", "gpt-5"])),
        "display_name": sometimes(st.text()),
        "description": sometimes(st.from_regex(r"context window of [0-9.,]{1,12}[KM]?")),
        "api_types": sometimes(st.lists(sometimes(st.sampled_from(list(lists.API_TYPES))))),
    },
)
ENTITY = st.fixed_dictionaries(
    {},
    optional={
        "entity_name": sometimes(st.text()),
        "foundation_model": sometimes(MODEL),
        "external_model": sometimes(MODEL),
    },
)
ENDPOINT = st.fixed_dictionaries(
    {},
    optional={
        "name": sometimes(NAME),
        "task": sometimes(st.sampled_from(["llm/v1/chat", "agent/v1/responses"])),
        "description": sometimes(st.text()),
        "state": sometimes(st.fixed_dictionaries({"ready": sometimes(st.sampled_from(["READY", "NOT_READY"]))})),
        "config": sometimes(
            st.fixed_dictionaries({"served_entities": sometimes(st.lists(sometimes(ENTITY), max_size=3))})
        ),
    },
)
DOCUMENT = sometimes(st.fixed_dictionaries({"endpoints": sometimes(st.lists(sometimes(ENDPOINT), max_size=4))}))


@settings(max_examples=200, deadline=None)
@given(endpoints=DOCUMENT, more=DOCUMENT)
def test_whatever_a_server_answers_becomes_well_formed_models(endpoints: object, more: object) -> None:
    found = models_in(endpoints, more)
    assert len({model.id for model in found}) == len(found)
    for model in found:
        check(model)
    models.select(found)
    assert models.select(found, everything=True) == found


def check(model: Model) -> None:
    said = json.loads(json.dumps(model.as_json()))
    assert said["id"]
    assert said["id"].isprintable()
    assert said["name"].isprintable()
    assert said["task"].isprintable()
    assert said["name"]
    assert said["family"]
    assert isinstance(said["ready"], bool)
    assert set(said["apis"]) <= set(APIS)
    assert all(said[name] is None or isinstance(said[name], bool) for name in ("tools", "reasoning"))
    assert all(said[name] is None or said[name] > 0 for name in ("context", "output"))
    assert said["facts_from"] in ("workspace", "catalogue", "family default")


# ---- asking the workspace ------------------------------------------------------------------------------------------


class Workspace:
    """A workspace that answers what it is told to, and remembers what it was asked."""

    def __init__(self, **answers: object) -> None:
        paths = {"list": LIST, "foundation": FOUNDATION, "gateway": GATEWAY, "unity": UNITY}
        usual = {LIST: {"endpoints": [SONNET]}, FOUNDATION: {"endpoints": []}, GATEWAY: 404, UNITY: 499}
        self.answers: dict[str, object] = usual | {paths[name]: answer for name, answer in answers.items()}
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, method: str, url: str, **how: Any) -> Response:
        self.asked.append((method, url, how))
        answer = self.answers[url.removeprefix(HOST).partition("?")[0]]
        if callable(answer):
            answer = answer(url)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return Response(url, answer, {}, b'{"error_code":"X","message":"no"}')
        return Response(url, 200, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def fetch(host: str, headers: dict[str, str], world: World) -> list[Model]:
    """What the workspace says now."""
    return list(models.listing(host, "me", headers, world, refresh=True).models)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path, clock: Clock) -> Callable[[Workspace], World]:
    def make(workspace: Workspace) -> World:
        env = {"DBX_AUTH_CACHE_DIR": str(tmp_path / "cache"), "DBX_AUTH_CONFIG_DIR": str(tmp_path / "config")}
        return World(env=env, home=str(tmp_path), now=clock, http=workspace)

    return make


Make = Callable[[Workspace], World]


def test_the_four_lists_are_asked_for_with_the_headers_and_within_limits(world: Make) -> None:
    workspace = Workspace()
    assert [model.id for model in fetch(HOST, HEADERS, world(workspace))] == [SONNET["name"]]
    assert sorted(url.removeprefix(HOST) for _, url, _ in workspace.asked) == [
        f"{LIST}",
        f"{FOUNDATION}",
        f"{UNITY}?parent=schemas/system.ai&page_size=100",
        f"{GATEWAY}?page_size=100",
    ]
    for method, _, how in workspace.asked:
        assert (method, how["headers"], how["limit"]) == ("GET", HEADERS, 12 * MEBIBYTE)
        assert 0 < how["budget"] <= 5


def test_the_lists_are_asked_for_at_the_same_time(world: Make) -> None:
    together = threading.Barrier(4, timeout=10)

    class Slow(Workspace):
        def __call__(self, method: str, url: str, **how: Any) -> Response:
            together.wait()  # nobody gets past it alone
            return super().__call__(method, url, **how)

    assert fetch(HOST, HEADERS, world(Slow()))


def test_the_second_list_says_which_apis_a_model_speaks(world: Make) -> None:
    said = {"endpoints": [foundation("databricks-gpt-5", "openai/v1/responses")]}
    workspace = Workspace(list={"endpoints": [endpoint()]}, foundation=said)
    (model,) = fetch(HOST, HEADERS, world(workspace))
    assert (model.apis, model.facts_from) == (("responses",), "workspace")


NO_LIST = [404, 403, 401, 429, 499, 500, 302, b"<html>login</html>", b"", b"[]", Temporary("slow", hint="h")]
NO_LIST += [Refused("too large", hint="h"), ConfigError("proxy", hint="h")]


@pytest.mark.parametrize("answer", NO_LIST, ids=str)
def test_the_other_lists_may_fail_and_that_costs_nothing_but_a_note(
    world: Make, answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    notes: list[str] = []
    plain = {"endpoints": [endpoint()]}
    workspace = Workspace(list=plain, foundation=answer, gateway=answer, unity=answer)
    (model,) = fetch(HOST, HEADERS, world(workspace)._replace(note=notes.append))
    assert (model.apis, model.facts_from) == (("chat", "responses"), "catalogue")
    assert sorted(note.partition(":")[0] for note in notes) == ["ai-gateway", "foundation-models", "unity-catalog"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (401, LoginRequired, f"dbx-auth login {HOST}"),
        (403, Refused, f"dbx-auth status {HOST}"),
        (400, Refused, f"dbx-auth status {HOST}"),
        (404, Refused, f"dbx-auth status {HOST}"),
        (302, Refused, f"dbx-auth status {HOST}"),
        (429, Temporary, "try again"),
        (500, Temporary, "try again"),
        (503, Temporary, "try again"),
    ],
)
def test_a_refused_list_says_what_to_do(world: Make, status: int, kind: type[AuthError], hint: str) -> None:
    workspace = Workspace(list=status)
    with pytest.raises(AuthError) as caught:
        fetch(HOST, HEADERS, world(workspace))
    assert type(caught.value) is kind
    assert str(caught.value) == f"{HOST} did not list its models: {status}"
    assert hint in caught.value.hint


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"[1]", b"\xff"])
def test_an_answer_that_is_not_json_is_refused(world: Make, body: bytes) -> None:
    with pytest.raises(Refused):
        fetch(HOST, HEADERS, world(Workspace(list=body)))


def test_a_workspace_out_of_reach_is_temporary(world: Make) -> None:
    with pytest.raises(Temporary):
        models.listing(HOST, "me", HEADERS, world(Workspace(list=Temporary("cannot reach", hint="h"))))


# ---- the cache -----------------------------------------------------------------------------------------------------


def listing(world: World, identity: str = "me", **more: Any) -> Listing:
    return models.listing(HOST, identity, HEADERS, world, **more)


def cache_file(tmp_path: Path, host: str = HOST, identity: str = "me") -> Path:
    digest = hashlib.sha256(f"{host}\0{identity}".encode()).hexdigest()
    return tmp_path / "cache" / "models" / f"{digest}.json"


def test_a_list_is_fetched_once_in_five_minutes(world: Make, clock: Clock) -> None:
    workspace = Workspace(foundation={"endpoints": [SONNET]})
    here = world(workspace)
    fresh = listing(here)
    assert (fresh.host, fresh.source, fresh.fetched_at) == (HOST, "workspace", clock.now)
    clock.now += 299.9
    kept = listing(here)
    assert kept == fresh._replace(source="cache")
    assert len(workspace.asked) == 4
    clock.now += 0.1
    assert listing(here).source == "workspace"
    assert len(workspace.asked) == 8


def test_the_time_of_a_list_is_when_the_answer_came(world: Make, clock: Clock) -> None:
    class Slow(Workspace):
        def __call__(self, method: str, url: str, **how: Any) -> Response:
            clock.now = 1_000_004.0
            return super().__call__(method, url, **how)

    assert listing(world(Slow())).fetched_at == 1_000_004.0


def test_refresh_asks_the_workspace_and_keeps_the_answer(world: Make) -> None:
    workspace = Workspace()
    here = world(workspace)
    listing(here)
    workspace.answers[LIST] = {"endpoints": []}
    assert listing(here, refresh=True).models == ()
    assert listing(here) == Listing(HOST, "cache", 1_000_000.0, ())


def test_a_clock_that_went_backwards_is_a_miss(world: Make, clock: Clock) -> None:
    workspace = Workspace()
    listing(world(workspace))
    clock.now -= 1
    assert listing(world(workspace)).source == "workspace"


def test_two_identities_and_two_hosts_do_not_share_a_list(world: Make) -> None:
    here = world(Workspace())
    listing(here, "me")
    assert listing(here, "you").source == "workspace"
    elsewhere = here._replace(http=lambda method, url, **how: Response(url, 200, {}, b"{}"))
    other = models.listing("https://two.cloud.databricks.com", "me", HEADERS, elsewhere)
    assert (other.source, other.models) == ("workspace", ())


def test_an_identity_from_a_path_that_is_not_utf_8_has_a_cache_too(world: Make) -> None:
    here = world(Workspace())
    assert [listing(here, "cli /home/\udcff").source for _ in range(2)] == ["workspace", "cache"]


def test_a_failed_fetch_leaves_the_list_that_was_kept(world: Make, tmp_path: Path) -> None:
    workspace = Workspace()
    listing(world(workspace))
    before = cache_file(tmp_path).read_bytes()
    workspace.answers[LIST] = 503
    with pytest.raises(Temporary):
        listing(world(workspace), refresh=True)
    assert cache_file(tmp_path).read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="no modes on Windows")
def test_the_cache_is_private(world: Make, tmp_path: Path) -> None:
    listing(world(Workspace()))
    path = cache_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_cache_holds_no_secret_and_nothing_of_an_endpoint_that_is_not_shown(world: Make, tmp_path: Path) -> None:
    secret = {"external_model": {"name": "gpt-4o", "openai_config": {"openai_api_key_plaintext": "sk-1"}}}
    listing(world(Workspace(list={"endpoints": [endpoint("team-bot", entity=secret)]})))
    kept = cache_file(tmp_path).read_text()
    assert "sk-1" not in kept
    assert "dapi" not in kept
    assert json.loads(kept).keys() == {"host", "fetched_at", "catalogue", "models"}


KEPT: dict[str, Any] = {
    "id": "a",
    "name": "a",
    "family": "other",
    "task": "",
    "ready": True,
    "apis": ["chat"],
    "tools": None,
    "reasoning": True,
    "input": ["text"],
    "context": 8_000,
    "output": None,
    "cost": [1.0, 2, None],
    "facts_from": "catalogue",
    "quirks": [],
    "origins": {"id": "serving-endpoints"},
    "default": True,
}


def row(**changes: object) -> list[object]:
    return list((KEPT | changes).values())


def kept(*rows: object, **changes: object) -> bytes:
    usual = {"host": HOST, "fetched_at": 1_000_000.0, "catalogue": catalogue.stamp(), "models": list(rows) or [row()]}
    return json.dumps(usual | changes).encode()


def test_what_the_cache_tests_write_is_what_we_write(world: Make, tmp_path: Path) -> None:
    path = cache_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(kept())
    assert listing(world(Workspace())).source == "cache"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"host": 1e999}',
        kept(host="https://two.cloud.databricks.com"),
        kept(host=None),
        kept(fetched_at=None),
        kept(fetched_at="yesterday"),
        kept(fetched_at=float("nan")),
        kept(fetched_at=float("inf")),
        kept(fetched_at=10**400),
        kept(fetched_at=1_000_001),
        kept(catalogue="of another edition"),
        kept(catalogue=None),
        kept(models=None),
        kept(models=7),
        kept("x"),
        kept(None),
        kept({}),
        kept([]),
        kept(row()[:-1]),
        kept([*row(), 1]),
        kept(row(id=7)),
        kept(row(ready="yes")),
        kept(row(tools="yes")),
        kept(row(context="200K")),
        kept(row(context=True)),
        kept(row(cost=["1", "2", "3"])),
        kept(row(cost=7)),
        kept(row(apis=None)),
        kept(row(apis=["telepathy"])),
        kept(row(apis=[[]])),
        kept(row(apis="chat")),
        kept(row(quirks=[7])),
        kept(row(origins=None)),
        kept(row(origins=["id"])),
        kept(row(origins={"id": 7})),
        kept(row(default=None)),
    ],
)
def test_a_cache_that_is_not_ours_or_damaged_is_a_miss_and_is_replaced(
    world: Make, tmp_path: Path, content: bytes
) -> None:
    path = cache_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert listing(world(Workspace())).source == "workspace"
    assert listing(world(Workspace())).source == "cache"


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_the_cache_holds_is_a_miss_or_well_formed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    values = [data.draw(sometimes(st.just(value)), label=name) for name, value in KEPT.items()]
    path = tmp_path_factory.getbasetemp() / "row.json"
    path.write_bytes(kept(values))
    found = models._recall(str(path), HOST)
    assert found is None or found.source == "cache"


def test_a_directory_in_the_place_of_the_cache_is_not_an_error(world: Make, tmp_path: Path) -> None:
    cache_file(tmp_path).mkdir(parents=True)
    assert listing(world(Workspace())).source == "workspace"


def test_a_cache_that_cannot_be_written_is_not_an_error_but_a_note(world: Make, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a directory")
    notes: list[str] = []
    here = world(Workspace())._replace(note=notes.append)
    assert listing(here).source == "workspace"
    assert listing(here).source == "workspace"
    assert sum(note.startswith("the list of models is not cached") for note in notes) == 2


# ---- what is shown -------------------------------------------------------------------------------------------------


def test_offline_lists_the_catalogue_and_asks_nobody(world: Make) -> None:
    workspace = Workspace()
    found = models.offline(HOST, world(workspace))
    assert workspace.asked == []
    assert (found.host, found.source, found.fetched_at) == (HOST, "catalogue", None)
    for model in found.models:
        check(model)
        assert model.facts_from == "catalogue"
    shown = {model.id for model in models.select(found.models)}
    assert {"databricks-claude-sonnet-4-5", "databricks-gpt-5-2", "databricks-gemini-3-pro"} <= shown
    assert not shown & {"databricks-gpt-5-1-codex-mini", "databricks-gpt-oss-120b", "databricks-gte-large-en"}
    assert {model.id for model in models.select(found.models, task="embeddings")} == {
        "databricks-gte-large-en",
        "databricks-bge-large-en",
        "databricks-qwen3-embedding-0-6b",
    }


def model(**changes: Any) -> Model:
    return only(SONNET)._replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "agent/v2/chat"},
        {"task": "agent/v1/responses"},
        {"task": ""},
        {"reasoning": None},
    ],
)
def test_a_chat_model_that_calls_tools_and_is_ready_is_offered(changes: dict[str, Any]) -> None:
    assert models.select([model(**changes)]) == [model(**changes)]


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": False},
        {"tools": False},
        {"tools": None},
        {"default": False},
        {"task": "llm/v1/embeddings"},
        {"task": "llm/v1/completions"},
        {"task": "", "apis": ()},
        {"task": "", "apis": ("embeddings",)},
    ],
)
def test_anything_else_is_shown_only_when_asked_for(changes: dict[str, Any]) -> None:
    unusual = model(**changes)
    assert models.select([unusual]) == []
    assert models.select([unusual], everything=True) == [unusual]
    assert models.select([unusual], family="claude-sonnet") == [unusual]


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"task": "llm/v1/chat"}, ["a", "b"]),
        ({"task": "chat"}, ["a", "b", "c"]),
        ({"task": "embeddings"}, ["d"]),
        ({"task": "llm"}, []),
        ({"family": "gpt-5"}, ["b", "c"]),
        ({"family": "gpt"}, []),
        ({"family": "gpt-5", "task": "agent/v2/chat"}, ["c"]),
        ({"family": "gpt-5", "everything": True}, ["b", "c"]),
        ({"everything": True}, ["a", "b", "c", "d"]),
        ({}, ["a"]),
    ],
)
def test_filters_narrow_and_look_among_all(asked: dict[str, Any], ids: list[str]) -> None:
    all_of_them = [
        model(id="a"),
        model(id="b", family="gpt-5", ready=False),
        model(id="c", family="gpt-5", task="agent/v2/chat", tools=None),
        model(id="d", family="embedding", task="llm/v1/embeddings", tools=False),
    ]
    assert [each.id for each in models.select(all_of_them, **asked)] == ids


def test_no_models_are_no_problem() -> None:
    assert models.select([]) == []


def test_filters_take_apis_tools_and_input() -> None:
    all_of_them = [
        model(id="a", apis=("chat",), input=("text",)),
        model(id="b", apis=("responses",), tools=None),
        model(id="c", apis=(), ready=False, default=False, input=("text", "image", "audio")),
    ]

    def ids(**asked: Any) -> str:
        return "".join(each.id for each in models.select(all_of_them, **asked))

    assert [ids(api="chat"), ids(tools=True), ids(input="image"), ids(input="audio")] == ["a", "ac", "bc", "c"]
    assert ids(api="chat", input="image") == ""
    assert ids(tools=True, api="responses") == ""


# ---- one list of four ----------------------------------------------------------------------------------------------


def gateway(name: str, *destinations: object, **more: object) -> dict[str, object]:
    return {"name": name, "config": {"destinations": list(destinations)}} | more


def service(name: str, *types: object, **more: object) -> dict[str, object]:
    return {"name": f"model-services/{name}", "supported_api_types": list(types)} | more


def test_databricks_x_and_system_ai_x_are_one_model_under_the_id_that_can_be_called() -> None:
    (model,) = models_in(
        {"endpoints": [endpoint("databricks-gpt-5")]},
        None,
        {"endpoints": [gateway("databricks-gpt-5")]},
        {"model_services": [service("system.ai.gpt-5", "openai/v1/responses")]},
    )
    assert (model.id, model.apis) == ("databricks-gpt-5", ("responses",))
    assert (model.origins["id"], model.origins["apis"]) == ("serving-endpoints", "unity-catalog")


def test_what_only_the_gateways_lists_have_is_listed_and_says_so() -> None:
    alias = gateway("team-alias", {"name": "system.ai.claude-sonnet-4-5", "type": "PAY_PER_TOKEN_FOUNDATION_MODEL"})
    found = models_in(
        {"endpoints": [SONNET]}, None, {"endpoints": [alias]}, {"model_services": [service("system.ai.glm-5-3")]}
    )
    assert [(each.id, each.family, each.origins["id"]) for each in found] == [
        (SONNET["name"], "claude-sonnet", "serving-endpoints"),
        ("team-alias", "claude-sonnet", "ai-gateway"),
        ("system.ai.glm-5-3", "glm", "unity-catalog"),
    ]


@pytest.mark.parametrize(
    "route",
    [
        {"config": {"routing": {"destinations": [{"pay_per_token_config": {"model": "models/system.ai.glm-5-3"}}]}}},
        {"config": {"destinations": [{"name": "system.ai.glm-5-3"}]}},
    ],
)
def test_where_the_gateway_sends_a_call_tells_the_family(route: dict[str, object]) -> None:
    (model,) = models_in({}, None, None, {"model_services": [service("team.models.bot", **route)]})
    assert (model.id, model.family) == ("team.models.bot", "glm")


@pytest.mark.parametrize("api_type", ["mlflow/v1/chat/completions", "openai/v1/chat/completions"])
def test_both_spellings_of_an_api_type_are_known(api_type: str) -> None:
    (model,) = models_in({}, None, None, {"model_services": [service("system.ai.gpt-5", api_type)]})
    assert model.apis == ("chat",)


def test_the_list_of_foundation_models_knows_the_apis_best() -> None:
    (model,) = models_in(
        [endpoint("databricks-gpt-5")],
        [foundation("databricks-gpt-5", "openai/v1/responses")],
        None,
        {"model_services": [service("system.ai.gpt-5", "mlflow/v1/chat/completions")]},
    )
    assert (model.apis, model.origins["apis"]) == (("responses",), "foundation-models")


def test_each_fact_that_is_known_has_an_origin_and_no_other() -> None:
    lists = {"serving-endpoints", "foundation-models", "ai-gateway", "unity-catalog"}
    origins = {*lists, "description", "catalogue", "family default", "id", "config.toml"}
    for each in models_in([SONNET, endpoint("team-bot"), endpoint("databricks-kimi-k9")], [SONNET]):
        facts = each._asdict()
        known = {name for name, value in facts.items() if value not in (None, (), "")}
        silent = {"facts_from", "default", "origins", "ready"}
        assert set(each.origins) - {"ready"} == known - silent
        assert set(each.origins.values()) <= origins


@pytest.mark.parametrize(
    ("description", "origin"), [("context window of 64K tokens", "description"), (None, None), ("large", None)]
)
def test_a_context_that_only_words_tell_is_marked_as_such(description: object, origin: str | None) -> None:
    assert only(endpoint("databricks-kimi-k9", description=description)).origins.get("context") == origin
    assert only(endpoint("databricks-gpt-5", description=description)).origins["context"] == "catalogue"


def test_an_endpoint_that_people_made_speaks_what_its_task_says_and_not_what_its_family_does() -> None:
    model = only(endpoint("team-claude", entity={"external_model": {"name": "claude-sonnet-4-5"}}))
    assert (model.apis, model.origins["apis"], model.family) == (("chat",), "serving-endpoints", "claude-sonnet")


def test_a_name_made_from_the_id_says_so() -> None:
    assert only(endpoint()).origins["name"] == "id"


def pages(*said: dict[str, object]) -> Callable[[str], object]:
    """An answer for each page; each names the next by its number."""

    def answer(url: str) -> object:
        number = int(url.partition("page_token=")[2] or 0)
        more = {"next_page_token": str(number + 1)} if number + 1 < len(said) else {}
        return {**said[number], **more}

    return answer


def test_lists_that_come_in_pages_are_read_to_the_end(world: Make) -> None:
    workspace = Workspace(
        gateway=pages({"endpoints": [gateway("a")]}, {}, {"endpoints": [gateway("b")]}),
        unity=pages({"model_services": [service("system.ai.c")]}, {"model_services": [service("system.ai.d")]}),
    )
    assert [m.id for m in fetch(HOST, HEADERS, world(workspace))] == [
        SONNET["name"],
        "a",
        "b",
        "system.ai.c",
        "system.ai.d",
    ]


@pytest.mark.parametrize("token", ["same", 7, None, {}])
def test_pages_that_lead_nowhere_end(world: Make, token: object) -> None:
    workspace = Workspace(gateway={"endpoints": [gateway("a")], "next_page_token": token})
    assert [model.id for model in fetch(HOST, HEADERS, world(workspace))] == [SONNET["name"], "a"]
    assert sum(GATEWAY in url for _, url, _ in workspace.asked) == (2 if token == "same" else 1)


def test_pages_without_end_are_given_up(world: Make) -> None:
    workspace = Workspace()
    workspace.answers[GATEWAY] = lambda url: {"next_page_token": f"{len(workspace.asked)}"}
    fetch(HOST, HEADERS, world(workspace))
    assert sum(GATEWAY in url for _, url, _ in workspace.asked) == 100


def test_what_came_before_a_page_that_failed_is_used(world: Make) -> None:
    def answer(url: str) -> object:
        return 499 if "page_token" in url else {"endpoints": [gateway("a")], "next_page_token": "t/1&x"}

    workspace = Workspace(gateway=answer)
    assert [model.id for model in fetch(HOST, HEADERS, world(workspace))] == [SONNET["name"], "a"]
    assert any(url.endswith("page_size=100&page_token=t%2F1%26x") for _, url, _ in workspace.asked)


@pytest.mark.parametrize("status", [403, 404, 400, 302])
def test_where_the_first_list_is_refused_for_good_the_others_count_and_a_warning_says_so(
    world: Make, status: int
) -> None:
    warnings: list[str] = []
    workspace = Workspace(list=status, unity={"model_services": [service("system.ai.gpt-5", "openai/v1/responses")]})
    (model,) = fetch(HOST, HEADERS, world(workspace)._replace(warn=warnings.append))
    assert (model.id, model.apis) == ("system.ai.gpt-5", ("responses",))
    assert warnings == [f"{HOST} did not list its models: {status}; these are what its other lists have"]


@pytest.mark.parametrize(
    "answer", [401, 429, 500, Temporary("slow", hint="h"), ConfigError("proxy", hint="h")], ids=str
)
def test_where_a_login_or_another_try_may_help_the_others_do_not_count(world: Make, answer: object) -> None:
    workspace = Workspace(list=answer, unity={"model_services": [service("system.ai.gpt-5")]})
    with pytest.raises(AuthError):
        fetch(HOST, HEADERS, world(workspace))


def test_the_lists_together_take_no_longer_than_five_seconds(world: Make, clock: Clock) -> None:
    """Time passes only where a page is asked for, two seconds each; the third has what is left, and no fourth comes."""
    passed = [0.0]

    def slow(url: str) -> object:
        passed[0] += 2
        return {"endpoints": [], "next_page_token": str(passed[0])}

    workspace = Workspace(gateway=slow)
    fetch(HOST, HEADERS, world(workspace)._replace(monotonic=lambda: passed[0]))
    budgets = [how["budget"] for _, url, how in workspace.asked if GATEWAY in url]
    assert len(budgets) <= 3
    assert all(budget <= 5 for budget in budgets)


def test_a_mistake_of_ours_in_a_list_is_not_taken_for_the_servers(world: Make) -> None:
    def broken(url: str) -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(HOST, HEADERS, world(Workspace(unity=broken)))


# ---- what a person says about models -------------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path, world: Make) -> Callable[[str], World]:
    def make(text: str) -> World:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "config.toml").write_text(text)
        return world(Workspace())

    return make


@pytest.mark.parametrize("name", ["databricks-claude-sonnet-4-5", "system.ai.claude-sonnet-4-5"])
def test_a_fact_of_config_toml_wins_and_says_so(configured: Callable[[str], World], name: str) -> None:
    said = f'[models."{name}"]\ncontext = 1000\ntools = false\napis = ["messages"]\ncost.input = 3.0\n'
    here = configured(said)
    for found in (listing(here), listing(here), models.offline(HOST, here)):
        (model,) = (each for each in found.models if each.id == SONNET["name"])
        assert (model.context, model.tools, model.apis, model.cost) == (1000, False, ("messages",), Cost(3.0))
        assert "messages-only" in model.quirks
        assert {model.origins[fact] for fact in ("context", "tools", "apis", "cost")} == {"config.toml"}
        assert model.origins["output"] == "catalogue"


def test_a_model_that_only_config_toml_has_is_added(configured: Callable[[str], World]) -> None:
    found = listing(configured('[models."my-endpoint"]\nfamily = "llama"\napis = ["chat"]\ntools = true\n'))
    assert [model.id for model in found.models] == [SONNET["name"], "my-endpoint"]
    assert found.models[1].origins["id"] == "config.toml"
    assert [model.id for model in models.select(found.models)] == [SONNET["name"], "my-endpoint"]


def test_a_fact_of_config_toml_that_cannot_be_is_an_error_with_its_place(configured: Callable[[str], World]) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        listing(configured('[models."my-endpoint"]\ncontext = "large"\n'))


def test_the_cache_holds_what_the_workspace_said_and_not_what_a_person_did(
    configured: Callable[[str], World], tmp_path: Path
) -> None:
    listing(configured('[models."my-endpoint"]\nfamily = "llama"\n'))
    assert "my-endpoint" not in cache_file(tmp_path).read_text()


# ---- finding one ---------------------------------------------------------------------------------------------------


FOUND = Listing(HOST, "workspace", 0.0, tuple(map(only, [SONNET, endpoint("databricks-gpt-5"), endpoint("team-gpt")])))


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("databricks-gpt-5", "databricks-gpt-5"),
        ("gpt-5", "databricks-gpt-5"),
        ("system.ai.gpt-5", "databricks-gpt-5"),
        ("GPT-5", "databricks-gpt-5"),
        ("team-gpt", "team-gpt"),
    ],
)
def test_a_model_is_found_under_every_spelling_of_its_id(name: str, id: str) -> None:
    assert models.find(FOUND, name).id == id


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("claude-sonet-4-5", ["databricks-claude-sonnet-4-5"]),
        ("databricks-gpt5", ["databricks-gpt-5"]),
        ("sonnet", ["databricks-claude-sonnet-4-5"]),
        ("team-gtp", ["team-gpt"]),
        ("TEAM-GPT", ["team-gpt"]),
        ("xyzzy", []),
        ("", []),
    ],
)
def test_a_name_mistyped_lists_the_nearest(name: str, near: list[str]) -> None:
    with pytest.raises(Refused, match="has no model") as caught:
        models.find(FOUND, name)
    assert str(caught.value).partition("nearest: ")[2] == ", ".join(near)
    assert caught.value.hint == (f"dbx-auth models show {near[0]}" if near else "dbx-auth models --all")


def test_a_name_is_not_somebody_elses_because_it_is_spelled_like_ours() -> None:
    """`system.ai.team-gpt` would be a model of Databricks'; the endpoint `team-gpt` is not."""
    with pytest.raises(Refused):
        models.find(FOUND, "system.ai.team-gpt")
