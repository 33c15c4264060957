"""One contract, every source: what any way to get a token must do. A source without a row there fails here."""

from __future__ import annotations

import base64
import importlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from machine import HOST, OTHER, Machine
from unit.contracts import (
    AUTH_JSON,
    CACHE,
    CONTRACTS,
    DECISIONS,
    ENTRA,
    GIVEN,
    HOUR,
    IAM_ACCESS,
    NOW,
    OVER_THE_NETWORK,
    SECRETS,
    Ask,
    nothing,
    told,
)
from unit.far_side import TOKEN, FarSide, Reply, never

from dbx_auth import profile as profiles, resolve, sources
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.profile import FIELDS, Flags
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Demand, format_expiry
from dbx_auth.world import Response

every_source = pytest.mark.parametrize("name", sources.ORDER)


@pytest.fixture
def ask(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return Ask(machine, monkeypatch)


def test_every_source_has_a_row_a_file_and_a_place_in_the_order() -> None:
    files = {path.stem.replace("_", "-") for path in Path(sources.__file__).parent.glob("*.py")} - {"--init--"}
    assert set(CONTRACTS) == set(sources.ORDER) == files
    assert len(set(sources.ORDER)) == len(sources.ORDER)


@every_source
def test_a_source_is_a_module_with_three_names(name: str) -> None:
    source = sources.load(name)
    assert isinstance(source.needs, tuple) and set(source.needs) <= set(FIELDS)
    assert source.ambient is CONTRACTS[name].ambient
    assert callable(source.fetch)
    assert source is importlib.import_module(f"dbx_auth.sources.{name.replace('-', '_')}")


@every_source
def test_a_source_that_is_set_up_gives_its_token(ask: Ask, name: str) -> None:
    contract = CONTRACTS[name]
    found = ask(name, FarSide(contract.replies)).token
    assert found
    assert (found.value, found.token_type, found.expires_at) == (
        contract.value,
        contract.token_type,
        contract.expires_at,
    )
    origin = contract.origin.format(home=ask.machine.home)
    assert (found.auth_type, found.origin, found.host) == (name, origin, contract.host)
    assert found.refreshable is contract.refreshable
    assert found.extra == contract.extra
    assert found.headers == {"Authorization": f"{contract.token_type} {contract.value}", **contract.extra}


@every_source
def test_a_source_that_is_not_set_up_says_what_is_missing(ask: Ask, name: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE=name, DATABRICKS_HOST=CONTRACTS[name].host)
    (attempt,) = ask.again(never).attempts
    assert (attempt.auth_type, attempt.outcome) == (name, "unavailable")
    assert CONTRACTS[name].missing in attempt.reason
    assert ask.machine.files() == {}


@every_source
def test_without_any_setting_every_source_is_unavailable(ask: Ask, name: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE=name)
    assert ask.again(never).attempts[0].outcome == "unavailable"


@every_source
def test_without_a_host_no_source_gives_a_token(ask: Ask, name: str) -> None:
    """A secret of Databricks alone that has no host is an error; what other tools use too is nothing to us."""
    contract = CONTRACTS[name]
    resolution = ask(name, never, host="", prepare=None if contract.rooted else nothing)
    if contract.rooted:
        assert resolution.token and resolution.token.host == contract.host
    elif contract.lone == "refused":
        assert isinstance(resolution.error, ConfigError) and "no host to send it to" in str(resolution.error)
    else:
        assert resolution.token is None and resolution.attempts[0].outcome == "unavailable"


@every_source
def test_the_host_of_a_login_serves_no_settings_of_others(ask: Ask, name: str) -> None:
    """It was said for that login; a secret from elsewhere is never sent there."""
    contract = CONTRACTS[name]
    ask.machine.write(ask.machine.auth_json, {"databricks": grant_fields(Grant(contract.host, "at-s3cret", "", HOUR))})
    far = FarSide(contract.replies)
    resolution = ask(name, far, host="")
    attempt = resolution.attempts[0]
    match contract.lone:
        case "served":
            assert resolution.token and resolution.token.host == contract.host
            return
        case "refused":
            assert isinstance(resolution.error, ConfigError) and "no host to send it to" in str(resolution.error)
        case _:
            assert (attempt.outcome, attempt.reason) == ("unavailable", "not set: host (DATABRICKS_HOST)")
    assert resolution.token is None and not far.asked


@every_source
def test_a_token_goes_to_the_host_it_was_given_with(ask: Ask, name: str) -> None:
    """What rests somewhere serves its own host; what is in the settings serves the host of the settings."""
    contract = CONTRACTS[name]
    far = FarSide(contract.replies)
    found = ask(name, far, host=contract.other).token
    asked = {"{0.scheme}://{0.netloc}".format(urlsplit(asked.url)) for asked in far.asked}
    if contract.bound:
        assert found is None and not far.asked
    else:
        assert found and found.host == contract.other
        assert asked <= {contract.other, *contract.elsewhere}


FAULTS: dict[str, tuple[Reply, type[AuthError]]] = {
    "out of reach": (Temporary("cannot reach the host", hint="try again"), Temporary),
    "broken": ((500, "<html>"), Temporary),
    "busy": ((503, {"error": "server_error"}), Temporary),
    "too often": ((429, {}), Temporary),
    "unknown": ((401, {"error": "invalid_client", "error_description": "unknown client"}), Refused),
    "forbidden": ((403, "<html>"), Refused),
    "a login page": ((200, "<html>"), Refused),
    "a list": ((200, "[]"), Refused),
    "nothing in it": ((200, {"token_type": "Bearer"}), Refused),
    "elsewhere": ((302, ""), Refused),
}


@pytest.mark.parametrize(("name", "path"), DECISIONS)
@pytest.mark.parametrize(("reply", "kind"), FAULTS.values(), ids=FAULTS)
def test_what_goes_wrong_at_the_far_side_keeps_its_kind_and_shows_no_secret(
    ask: Ask, name: str, path: str, reply: Reply, kind: type[AuthError]
) -> None:
    notes: list[str] = []
    resolution = ask(name, FarSide({**CONTRACTS[name].replies, path: reply}), note=notes.append)
    if name == "databricks-cli" and reply in ((200, "<html>"), (200, "[]")):
        kind = Temporary  # the refresh token may be spent by then
    assert isinstance(resolution.error, kind) and resolution.error.hint
    assert resolution.attempts[0].outcome == "failed"
    assert not [secret for secret in SECRETS if secret in told(resolution) + "".join(notes)]


@pytest.mark.parametrize("name", [name for name, path in DECISIONS if path in (TOKEN, ENTRA)])
def test_the_words_of_a_token_endpoint_are_passed_on(ask: Ask, name: str) -> None:
    path = ENTRA if ENTRA in CONTRACTS[name].decide else TOKEN
    reply = 401, {"error": "invalid_client", "error_description": "unknown client"}
    assert "unknown client" in str(ask(name, FarSide({**CONTRACTS[name].replies, path: reply})).error)


@pytest.mark.parametrize(("name", "path"), DECISIONS)
def test_invalid_grant_asks_a_person_to_log_in_and_a_program_to_mend_its_settings(
    ask: Ask, name: str, path: str
) -> None:
    reply = 400, {"error": "invalid_grant"}
    resolution = ask(name, FarSide({**CONTRACTS[name].replies, path: reply}))
    assert isinstance(resolution.error, LoginRequired if name == "databricks-cli" else Refused)


@pytest.mark.parametrize("name", [name for name in OVER_THE_NETWORK if CONTRACTS[name].extra])
def test_what_goes_beside_a_token_is_no_condition_for_it(ask: Ask, name: str) -> None:
    """Whoever is known to the workspace needs no second token. (That of az is in test_azure.py.)"""
    contract, notes = CONTRACTS[name], list[str]()
    refused: Reply = 403, {"error": "forbidden"}
    replies = {
        path: [*said[:-1], refused] if isinstance(said, list) else said for path, said in contract.replies.items()
    }
    if IAM_ACCESS in replies:
        replies[IAM_ACCESS] = refused
    found = ask(name, FarSide(replies), note=notes.append).token
    assert found and found.value == contract.value and found.extra == {}
    assert any("no token for" in note or "no access token" in note for note in notes), "-v tells"


@every_source
def test_no_secret_is_shown_when_all_goes_well(ask: Ask, name: str) -> None:
    notes: list[str] = []
    resolution = ask(name, FarSide(CONTRACTS[name].replies), note=notes.append)
    assert resolution.token
    assert not [secret for secret in SECRETS if secret in told(resolution) + "".join(notes)]


@every_source
def test_without_the_network_a_source_fails_or_answers_and_asks_nothing(ask: Ask, name: str) -> None:
    resolution = ask(name, never, demand=Demand(renew=False))
    assert bool(resolution.token) is (name not in (*OVER_THE_NETWORK, "azure-cli"))


@every_source
@pytest.mark.parametrize("byte", ["\udcff", "\ud800"])
def test_settings_that_are_no_text_are_refused_and_no_crash(ask: Ask, name: str, byte: str) -> None:
    """A byte of the environment that is not UTF-8 reaches Python as half a surrogate pair; JSON can hold one too."""
    contract, machine = CONTRACTS[name], ask.machine
    contract.prepare(machine, ask.patch)
    if machine.auth_json.exists():
        text = json.loads(machine.auth_json.read_text())
        entry = text["databricks"]
        entry["key" if "key" in entry else "refresh"] = f"secret{byte}"
        machine.write(machine.auth_json, text)
    ask.put(**{key: value + byte for key, value in contract.env.items()})
    ask.put(DATABRICKS_AUTH_TYPE=name, DATABRICKS_HOST=contract.host)
    resolution = ask.again(encoding)
    if resolution.token:
        harmless = {"basic": "it may go into a header in base64", "runtime": "the cluster's version goes nowhere"}
        assert name in harmless and (name == "runtime" or byte == "\udcff")
    else:
        assert isinstance(resolution.error, AuthError)


def encoding(method: str, url: str, **rest: Any) -> Response:
    """A far side that does with a request what the real one does to send it, and has no answer."""
    try:
        url.encode()
        urlencode(rest.get("form") or {})
        for value in (rest.get("headers") or {}).values():
            value.encode("ascii")
    except UnicodeEncodeError:
        raise ConfigError(f"a request to {url} cannot be sent", hint="look for odd characters") from None
    raise Temporary(f"cannot reach {url}", hint="try again")


# ---- stored ----------------------------------------------------------------------------------------------------------


def test_a_stored_key_says_for_which_hosts_there_are_keys(machine: Machine) -> None:
    others = {f"databricks:{n}": {"type": "api", "key": "dapi-s3cret", "host": n} for n in (OTHER, "https://a.example")}
    machine.write(machine.auth_json, others)
    machine.env["DATABRICKS_HOST"] = HOST
    world = machine.world
    reason = {a.auth_type: a.reason for a in resolve.resolve(profiles.load(world), world).attempts}["stored"]
    assert reason == f"{AUTH_JSON} has no key for {HOST}; it keeps keys for https://a.example, {OTHER}"


@pytest.mark.parametrize("key", ["", None, 7, ["dapi"]])
def test_a_stored_key_that_is_none_counts_as_none(machine: Machine, key: object) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": key, "host": HOST}})
    machine.env["DATABRICKS_HOST"] = HOST
    world = machine.world
    assert resolve.resolve(profiles.load(world), world).attempts[1].outcome == "unavailable"


# ---- oauth-m2m -------------------------------------------------------------------------------------------------------


def test_a_principal_is_asked_for_at_the_hosts_own_endpoint_with_its_secret_in_the_header(ask: Ask) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    assert ask("oauth-m2m", far).token
    post = far.asked[-1]
    assert (post.url, post.form) == (HOST + TOKEN, {"grant_type": "client_credentials", "scope": "all-apis"})
    assert post.headers == {"Authorization": "Basic " + base64.b64encode(b"an-id:cs-s3cret").decode()}
    assert all("secret" not in asked.url for asked in far.asked)


def test_a_principals_scopes_are_those_of_the_profile(machine: Machine) -> None:
    machine.write(machine.config, f"[SP]\nhost={HOST}\nclient_id=an-id\nclient_secret=cs-s3cret\nscopes=sql files\n")
    far = FarSide({TOKEN: (200, GIVEN)})
    world = machine.world._replace(http=far)
    found = resolve.token(profiles.load(world, Flags("SP")), world)
    assert far.posts()[0]["scope"] == "sql files"
    assert found.origin == "file ~/.databrickscfg [SP]"


def test_a_stored_principal_serves_its_host(machine: Machine) -> None:
    entry = {"type": "m2m", "client_id": "an-id", "client_secret": "cs-s3cret", "host": HOST}
    machine.write(machine.auth_json, {"databricks": entry})
    far = FarSide({TOKEN: (200, GIVEN)})
    world = machine.world._replace(http=far)
    found = resolve.token(profiles.load(world), world)
    assert (found.auth_type, found.origin, found.host) == ("oauth-m2m", "stored", HOST)
    assert far.asked[-1].url == HOST + TOKEN


# ---- databricks-cli --------------------------------------------------------------------------------------------------


def fresh(access: str) -> dict[str, Any]:
    return {"access_token": access, "token_type": "Bearer", "refresh_token": "r", "expiry": format_expiry(NOW + 3000)}


def put(machine: Machine, *keys: str, own: bool = False) -> None:
    """Fresh logins in the CLI's cache, each with its key as its token, and perhaps one of ours."""
    machine.clock = lambda: NOW
    if keys:
        machine.write(machine.cli_cache, {"version": 1, "tokens": {key: fresh(f"at:{key}") for key in keys}})
    if own:
        machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, "at:own", "r", NOW + 3000))})


def cli_token(machine: Machine, *flags: str, **env: str) -> str:
    """The token that this source has on that machine, or why it has none."""
    machine.env.update({"DATABRICKS_AUTH_TYPE": "databricks-cli", **env})
    world = machine.world._replace(http=never)
    resolution = resolve.resolve(profiles.load(world, Flags(*flags)), world)
    return resolution.token.value if resolution.token else str(resolution.error)


ACCOUNT = "https://accounts.cloud.databricks.com"


@pytest.mark.parametrize(
    ("keys", "own", "expected"),
    [
        ([HOST], True, "at:own"),
        (["DEV", HOST], True, "at:own"),
        (["DEV", HOST], False, "at:DEV"),
        ([HOST], False, f"at:{HOST}"),
        (["DEV"], False, "at:DEV"),
        (["NOWHERE", HOST], False, f"at:{HOST}"),
        (["ELSEWHERE", HOST], False, f"at:{HOST}"),
    ],
)
def test_our_login_comes_first_then_the_profiles_then_the_hosts(
    machine: Machine, keys: list[str], own: bool, expected: str
) -> None:
    machine.write(machine.config, f"[DEV]\nhost = {HOST}/\n[ELSEWHERE]\nhost = {OTHER}\n")
    put(machine, *keys, own=own)
    assert cli_token(machine, DATABRICKS_HOST=HOST) == expected


def test_the_profile_in_use_decides_between_two_of_one_host(machine: Machine) -> None:
    machine.write(machine.config, f"[A]\nhost = {HOST}\n[B]\nhost = {HOST}\n")
    put(machine, "A", "B")
    assert cli_token(machine, "A") == "at:A"
    assert cli_token(machine, "B") == "at:B"


def test_nobody_guesses_between_two_profiles_of_one_host(machine: Machine) -> None:
    machine.write(machine.config, f"[A]\nhost = {HOST}\n[B]\nhost = {HOST}\n")
    put(machine, "A", "B", HOST)
    said = cli_token(machine, DATABRICKS_HOST=HOST)
    assert f"the profiles A, B all log in to {HOST}" in said


def test_a_profiles_login_stays_with_the_profiles_host(machine: Machine) -> None:
    """Where another setting says another host, the login of the profile is not sent there."""
    machine.write(machine.config, f"[DEV]\nhost = {OTHER}\n")
    put(machine, "DEV")
    assert "no login" in cli_token(machine, DATABRICKS_HOST=HOST, DATABRICKS_CONFIG_PROFILE="DEV")


def test_a_profile_file_that_cannot_be_read_leaves_the_hosts_login(machine: Machine) -> None:
    machine.write(machine.config, "[DEV\n")
    put(machine, "DEV", HOST)
    assert cli_token(machine, DATABRICKS_HOST=HOST) == f"at:{HOST}"


def test_a_section_without_a_usable_host_is_nobodys_profile(machine: Machine) -> None:
    machine.write(machine.config, "[DEV]\nhost = not a host\n")
    put(machine, "DEV", HOST)
    assert cli_token(machine, DATABRICKS_HOST=HOST) == f"at:{HOST}"


def test_an_accounts_login_lies_under_host_and_account(machine: Machine) -> None:
    put(machine, f"{ACCOUNT}/oidc/accounts/one", ACCOUNT)
    assert cli_token(machine, "", ACCOUNT, "one") == f"at:{ACCOUNT}/oidc/accounts/one"
    assert "no login" in cli_token(machine, "", ACCOUNT, "two")
    assert cli_token(machine, "", ACCOUNT) == f"at:{ACCOUNT}"


def test_an_account_id_changes_nothing_for_a_workspace(machine: Machine) -> None:
    put(machine, HOST)
    assert cli_token(machine, "", HOST, "one") == f"at:{HOST}"


def test_where_there_is_no_login_every_place_is_named(machine: Machine) -> None:
    said = cli_token(machine, DATABRICKS_HOST=HOST)
    assert f"no login in {AUTH_JSON}, {CACHE} [{HOST}]" in said


def test_a_profile_without_a_login_is_not_served_that_of_another_profile(machine: Machine) -> None:
    """Both are for one host, and may be two people."""
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n\n[PROD]\nhost = {HOST}\n")
    machine.cached_login("PROD")
    assert machine.run("token", "-p", "DEV").code == 4
    assert machine.run("token", "-p", "PROD").out == "cached\n"
    assert machine.run("token", "--host", HOST).out == "cached\n"
