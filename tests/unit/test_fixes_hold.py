"""What holds of every fix, whatever it is given: any JSON, any schema, any conversation.

`DBX_AUTH_TEST_EXAMPLES=2000` looks longer; `make test-hard` does.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, example, given, settings, strategies as st

from dbx_auth import catalogue, fixes
from dbx_auth.catalogue import Facts
from dbx_auth.fixes import CHAT, GENERATE, MESSAGES, RESPONSES, TABLE, Body, Fix, schemas

examples = settings(
    max_examples=int(os.environ.get("DBX_AUTH_TEST_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

APIS = (CHAT, RESPONSES, MESSAGES, GENERATE)
ALL = Facts("any", output=25_000, quirks=tuple(sorted({row.quirk for row in TABLE if row.quirk})))
NONE = Facts("any")
MODELS = [*catalogue.everything(), "people-s-own"]

# ---- any JSON, with the words in it that fixes look for

WORDS = st.sampled_from(
    """messages role content type text tools function name parameters input_schema tool_calls tool_call_id id input
    call_id choices delta message finish_reason index image_url url data mimeType source system user assistant tool
    developer stop arguments databricks-tool-call thoughtSignature contents parts functionCall output item item_id
    output_index response reasoning summary value json cache_control max_tokens reasoning_effort thinking $ref $defs
    properties items anyOf object string c1__sig_c2ln __sig_ stream_options response_format json_schema
    schema signature tool_use tool_result tool_use_id encrypted_content context_management edits enabled""".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS
LEAVES |= st.text("ab", min_size=70, max_size=90) | st.sampled_from(["\ud800", "", " ", "data:image/png;base64,AA"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)
PARTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            """text image_url image input_image tool_use tool_result reasoning thinking redacted_thinking""".split()
        )
    },
    optional={
        "id": st.sampled_from(["c1", "c1__sig_c2ln"]) | JSON,
        "signature": st.sampled_from(["", "EqQB"]) | JSON,
        "text": st.text(max_size=3) | JSON,
        "image_url": JSON,
        "data": st.text(max_size=9),
        "mimeType": st.sampled_from(["image/png", ""]),
        "content": JSON,
        "cache_control": JSON,
        "source": JSON,
    },
)
CALLS = st.fixed_dictionaries(
    {"id": st.sampled_from(["c1", "c2", "c1__sig_c2ln", "c1__sig_%"]), "type": st.just("function")},
    optional={"function": JSON, "thoughtSignature": st.text(max_size=4), "extra_content": JSON},
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"])},
    optional={
        "content": st.text(max_size=4) | st.none() | st.lists(PARTS | JSON, max_size=4) | JSON,
        "tool_calls": st.lists(CALLS, max_size=3) | JSON,
        "tool_call_id": st.sampled_from(["c1", "c2", "c1__sig_c2ln"]),
        "name": st.text(max_size=3),
        "cache_control": JSON,
    },
)
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["reasoning", "message", "function_call"])},
    optional={
        "encrypted_content": st.sampled_from(["", "[]", "gAAAAA"]) | JSON,
        "call_id": st.sampled_from(["c1", "c1__sig_c2ln", "c" * 90]) | JSON,
    },
)
THINKING = st.fixed_dictionaries({"type": st.sampled_from(["enabled", "adaptive"])}, optional={"budget_tokens": JSON})
EDITS = st.lists(st.fixed_dictionaries({"type": st.sampled_from(["clear_thinking_20251015", "clear"])}) | JSON)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGE, max_size=6) | JSON,
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": JSON}) | JSON, max_size=3),
        "input": st.lists(ITEMS | JSON, max_size=4) | JSON,
        "contents": JSON,
        "system": JSON,
        "thinking": THINKING | JSON,
        "context_management": st.fixed_dictionaries({}, optional={"edits": EDITS | JSON}) | JSON,
        "response_format": JSON,
        "max_tokens": st.integers() | JSON,
        "max_completion_tokens": st.integers() | JSON,
        "reasoning_effort": st.sampled_from(["low", "high", "none"]) | JSON,
        "stream_options": JSON,
        "store": JSON,
        "temperature": JSON,
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | JSON,
        "delta": MESSAGE | JSON,
        "message": MESSAGE | JSON,
        "finish_reason": st.sampled_from([None, "stop", "tool_calls"]) | JSON,
    },
)
REPLIES = st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE, max_size=3) | JSON, "output": JSON})
EVENTS = REPLIES | st.fixed_dictionaries(
    {"type": st.text(max_size=3)},
    optional={"output_index": st.integers(0, 2) | JSON, "item_id": JSON, "item": JSON, "response": JSON},
)


def spelled(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def only(row: Fix) -> Facts:
    return ALL._replace(quirks=(row.quirk,) if row.quirk else ())


@examples
@given(body=BODIES | st.dictionaries(WORDS, JSON, max_size=5), api=st.sampled_from(APIS))
def test_of_any_request_each_fix_makes_one_that_it_leaves_alone(body: Body, api: str) -> None:
    before = spelled(body)
    for row in TABLE:
        if row.request and (once := row.request(body, api, only(row))) is not body:
            assert spelled(row.request(copy.deepcopy(once), api, only(row))) == spelled(once), row.name
    assert spelled(body) == before, "what is given stays as it is"


def calls_of_a_tool(content: object, *calls: object) -> Body:
    """A tool's message that makes calls, as no client sends it."""
    return {"messages": [{"role": "tool", "tool_call_id": "c1", "content": content, "tool_calls": list(calls)}]}


@examples
@given(body=BODIES, api=st.sampled_from(APIS), model=st.sampled_from(MODELS))
@example(calls_of_a_tool(None, {"id": "c1"}, {"id": "c2"}), CHAT, "databricks-gemma-3-12b")
@example(calls_of_a_tool(" ", {"id": "c1"}), CHAT, "databricks-gemma-3-12b")
def test_all_fixes_of_a_model_together_make_a_request_that_they_leave_alone(body: Body, api: str, model: str) -> None:
    facts, before = catalogue.facts(model), spelled(body)
    once = fixes.request(facts, api, body).body
    assert spelled(body) == before
    again = fixes.request(facts, api, once)
    assert spelled(again.body) == spelled(once), again.names


@examples
@given(body=REPLIES | st.dictionaries(WORDS, JSON, max_size=5))
def test_of_any_answer_each_fix_makes_one_that_it_leaves_alone(body: Body) -> None:
    before = spelled(body)
    for row in TABLE:
        if row.reply and (once := row.reply(body)) is not body:
            assert spelled(row.reply(copy.deepcopy(once))) == spelled(once), row.name
    assert spelled(body) == before


@examples
@given(events=st.lists(EVENTS | st.dictionaries(WORDS, JSON, max_size=4), max_size=6), api=st.sampled_from(APIS))
def test_no_stream_is_too_odd(events: list[Body], api: str) -> None:
    stream, before = fixes.Stream(ALL, api), spelled(events)
    for event in events:
        assert isinstance(stream.event(event), dict)
    assert all(isinstance(event, dict) for event in stream.end())
    assert spelled(events) == before


@examples
@given(body=BODIES, api=st.sampled_from(APIS))
def test_a_family_that_no_fix_names_is_sent_what_it_was_given_but_for_what_is_for_all(body: Body, api: str) -> None:
    for_all = {row.name for row in TABLE if not row.quirk}
    assert set(fixes.request(NONE, api, body).names) <= for_all
    assert set(fixes.reply(NONE, api, body).names) <= for_all
    here = {row.name for row in TABLE if api in row.apis}
    assert set(fixes.request(ALL, api, body).names) | set(fixes.reply(ALL, api, body).names) <= here


@examples
@given(body=BODIES)
def test_embeddings_are_left_alone(body: Body) -> None:
    assert fixes.request(ALL, "embeddings", body).body is body and fixes.reply(ALL, "embeddings", body).body is body


# ---- schemas

KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")
NAMES = st.sampled_from(
    ["a", "b", "$schema", "ref", "definitions", "items", "type"]
)  # names of properties may be words


def schemas_over(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True),
            "description": st.text(max_size=5),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "enum": st.lists(
                st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"), min_size=1, max_size=3
            ),
            "maxLength": st.integers(0, 3),
            "minimum": st.integers(0, 3),
            "additionalProperties": st.booleans() | inner,
            "default": st.integers(0, 3),
        },
    )


REFS = st.fixed_dictionaries(
    {"$ref": st.sampled_from(["#/$defs/X", "#/$defs/Y", "#/definitions/Z", "#", "#/properties/a", "#/nowhere"])},
    optional={"description": st.text(max_size=5), "type": st.sampled_from(KINDS)},
)
PLAIN: st.SearchStrategy[Any] = st.recursive(st.just({}) | schemas_over(st.just({})), schemas_over, max_leaves=6)
WITH_REFS = st.recursive(st.just({}) | REFS | schemas_over(st.just({}) | REFS), schemas_over, max_leaves=6)
ROOTS = st.builds(
    lambda root, x, y, z: {"$schema": DIALECT, **root, "$defs": {"X": x, "Y": y}, "definitions": {"Z": z}},
    schemas_over(WITH_REFS),
    WITH_REFS,
    WITH_REFS,
    WITH_REFS,
)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
INSTANCES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 5) | st.text("ab", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def allows(schema: Any, instance: object) -> bool:
    """Whether an instance satisfies a schema; one that leads nowhere, or round and round, says nothing."""
    try:
        return bool(jsonschema.Draft202012Validator(schema).is_valid(instance))
    except BaseException as error:  # what the library is built on panics where references go round and round
        assume(type(error).__name__ not in ("_WrappedReferencingError", "RecursionError", "PanicException"))
        raise


def words_of(schema: object) -> set[str]:
    found: set[str] = set()
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            found |= node.keys()
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return found


@examples
@given(schema=ROOTS, instance=INSTANCES)
def test_google_s_schema_allows_all_that_the_schema_allowed(schema: Body, instance: object) -> None:
    before = spelled(schema)
    new = schemas.for_google(schema)
    assert spelled(schema) == before and spelled(schemas.for_google(copy.deepcopy(new))) == spelled(new)
    if allows(schema, instance):
        assert allows(new, instance)


@examples
@given(schema=schemas_over(PLAIN), instance=INSTANCES)
def test_a_schema_that_has_only_words_that_google_knows_means_the_same(schema: Body, instance: object) -> None:
    assume("additionalProperties" not in words_of(schema))
    new = schemas.for_google({"$schema": DIALECT, "$defs": {}, **schema})
    assert allows(new, instance) == allows(schema, instance)


@examples
@given(inner=PLAIN, outer=PLAIN, instance=INSTANCES)
def test_a_reference_means_what_it_names(inner: Body, outer: Body, instance: object) -> None:
    assume("additionalProperties" not in words_of([inner, outer]))
    root = {
        "properties": {"a": {"$ref": "#/$defs/X"}, "b": {"anyOf": [outer, {"$ref": "#/$defs/X"}]}},
        "$defs": {"X": inner},
    }
    new = schemas.for_google(root)
    assert "$ref" not in spelled(new) and allows(new, instance) == allows(root, instance)


def test_limits_are_taken_out_of_definitions_too() -> None:
    limited = {"$defs": {"A": {"maxLength": 1}}, "definitions": {"B": {"items": {"minimum": 1}}}}
    assert schemas.without_limits(limited) == {"$defs": {"A": {}}, "definitions": {"B": {"items": {}}}}


@examples
@given(schema=schemas_over(PLAIN), instance=INSTANCES)
def test_a_schema_without_limits_allows_all_that_it_allowed(schema: Body, instance: object) -> None:
    new = schemas.without_limits(schema)
    assert not schemas.LIMITS & words_of(new)
    if allows(schema, instance):
        assert allows(new, instance)


@examples
@given(schema=schemas_over(PLAIN) | JSON, instance=st.dictionaries(NAMES, INSTANCES, max_size=3))
def test_the_schema_of_an_object_says_so_and_means_the_same_for_objects(schema: Any, instance: Body) -> None:
    new = schemas.of_an_object(schema)
    assert new["type"] == "object"
    if isinstance(schema, dict) and schema.get("type") in ("object", None):
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError:
            assume(False)
        assert allows(new, instance) == allows(schema, instance)


@examples
@given(schema=JSON)
def test_whatever_is_given_for_a_schema_comes_back_as_something(schema: object) -> None:
    for change in (schemas.for_google, schemas.without_limits, schemas.of_an_object):
        json.dumps(change(schema))


def nested(levels: int) -> Body:
    schema: Body = {"type": "string"}
    for _ in range(levels):
        schema = {"$schema": "x", "type": "object", "properties": {"a": schema}}
    return schema


def test_a_schema_200_levels_deep_is_mended_at_all_of_them() -> None:
    new = schemas.for_google(nested(200))
    assert "$schema" not in spelled(new) and spelled(new).count("properties") == 200


def test_a_schema_that_is_deeper_than_python_goes_is_cut() -> None:
    json.dumps(schemas.for_google(nested(900)))
    json.dumps(schemas.without_limits(nested(900)))


def test_a_schema_of_10_000_properties_is_mended_in_all_of_them() -> None:
    properties = {f"p{number}": {"$ref": "#/$defs/X"} for number in range(10_000)}
    new = schemas.for_google({"type": "object", "properties": properties, "$defs": {"X": {"type": "string"}}})
    assert isinstance(new, dict) and len(new["properties"]) == 10_000
    assert {spelled(each) for each in new["properties"].values()} == {'{"type": "string"}'}


def test_definitions_that_double_each_other_end() -> None:
    """Thirty of them would be a thousand million schemas."""
    definitions: Body = {
        f"D{n}": {"type": "object", "properties": {x: {"$ref": f"#/$defs/D{n + 1}"} for x in "ab"}} for n in range(30)
    }
    new = schemas.for_google({"$ref": "#/$defs/D0", "$defs": {**definitions, "D30": {"type": "string"}}})
    assert "$ref" not in (text := spelled(new)) and len(text) < 40_000_000


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ({"type": "object", "properties": {"next": {"$ref": "#/$defs/X"}}}, "object"),
        ({"type": "array", "items": {"$ref": "#/$defs/X"}}, "array"),
        ({"properties": {"next": {"$ref": "#/$defs/X"}}}, "object"),
    ],
)
def test_a_schema_that_leads_back_to_itself_ends_in_a_value_of_its_type(target: Body, kind: str) -> None:
    new = schemas.for_google({"type": "object", "properties": {"a": {"$ref": "#/$defs/X"}}, "$defs": {"X": target}})
    assert isinstance(new, dict)
    (inner,) = [*new["properties"]["a"].get("properties", {}).values()] or [new["properties"]["a"]["items"]]
    assert inner == {"type": kind}


@pytest.mark.parametrize("target", ["#/$defs/None", "https://example.com/x.json", "#/$defs/X/9", "other.json#/a", ""])
def test_a_reference_that_leads_nowhere_or_outside_is_an_object_with_its_description(target: str) -> None:
    root = {"type": "object", "properties": {"a": {"$ref": target, "description": "what"}}, "$defs": {"X": {}}}
    new = schemas.for_google(root)
    wanted = {"type": "object", "description": "what"}
    assert new == {"type": "object", "properties": {"a": wanted}}


def test_a_pointer_is_read_as_it_is_written() -> None:
    root = {
        "properties": {"a": {"$ref": "#/$defs/x~1y~0z%20"}, "b": {"$ref": "#/anyOf/1"}, "c": {"$ref": "#/$defs/yes"}},
        "anyOf": [{}, {"type": "string"}],
        "$defs": {"x/y~z ": {"type": "integer"}, "yes": True},
    }
    new = schemas.for_google(root)
    assert isinstance(new, dict)
    assert new["properties"] == {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {}}


def test_the_name_that_a_library_left_beside_a_schema_goes_and_the_schema_stays() -> None:
    root = {
        "properties": {"a": {"ref": "Option", "type": "object"}, "b": {"ref": "Option"}, "ref": {"type": "string"}},
        "$defs": {"Option": {"type": "integer"}},
    }
    new = schemas.for_google(root)
    assert isinstance(new, dict)
    assert new["properties"] == {"a": {"type": "object"}, "b": {"type": "integer"}, "ref": {"type": "string"}}


def test_what_stands_beside_a_reference_still_counts() -> None:
    root = {
        "properties": {"a": {"$ref": "#/$defs/X", "minimum": 3, "description": "d"}},
        "$defs": {"X": {"minimum": 1}},
    }
    new = schemas.for_google(root)
    assert isinstance(new, dict)
    assert new["properties"]["a"] == {"allOf": [{"minimum": 1}, {"minimum": 3}], "description": "d"}
