"""One contract, every source: what any way to get a token must do. A source without a row here fails."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import FarSide, Reply, never

from dbx_auth import profile as profiles, resolve, sources
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.profile import FIELDS, Flags
from dbx_auth.resolve import Demand, Resolution
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import format_expiry
from dbx_auth.world import World

NOW = 1_700_000_000.0
TOKEN = "/oidc/v1/token"
GIVEN = {"access_token": "at-secret", "token_type": "Bearer", "refresh_token": "rt-secret-2", "expires_in": 3600}
AUTH_JSON = "~/.local/share/dbx-auth/auth.json"
CACHE = "~/.databricks/token-cache.json"


class Contract(NamedTuple):
    """What one source promises.

    `env` is a working set-up beside DATABRICKS_HOST, `prepare` the files for it, `replies` what the far side says;
    `missing` is the setting that is named where nothing is set up. `value`, `origin` and the rest are the token's.
    """

    env: dict[str, str]
    prepare: Callable[[Machine], object]
    replies: dict[str, Reply | list[Reply]]
    missing: str
    value: str
    origin: str
    ambient: bool = False
    expires_at: float | None = None
    refreshable: bool = False
    token_type: str = "Bearer"
    shown_as: str = ""


def nothing(machine: Machine) -> None:
    """No file is needed."""


def stored_key(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "dapi-secret", "host": HOST + "/"}})


def stale_login(machine: Machine) -> None:
    login = Grant(HOST, "old-secret", "rt-secret", NOW - 10)
    machine.write(machine.auth_json, {"databricks": grant_fields(login)})


BASIC = base64.b64encode(b"user:pw-secret").decode()
CONTRACTS = {
    "pat": Contract(
        {"DATABRICKS_TOKEN": "dapi-secret"},
        nothing,
        {},
        "token (DATABRICKS_TOKEN)",
        "dapi-secret",
        "env DATABRICKS_TOKEN",
    ),
    "stored": Contract({}, stored_key, {}, f"auth.json has no key for {HOST}", "dapi-secret", AUTH_JSON, ambient=True),
    "basic": Contract(
        {"DATABRICKS_USERNAME": "user", "DATABRICKS_PASSWORD": "pw-secret"},
        nothing,
        {},
        "username (DATABRICKS_USERNAME), password (DATABRICKS_PASSWORD)",
        BASIC,
        "env DATABRICKS_PASSWORD",
        token_type="Basic",
    ),
    "oauth-m2m": Contract(
        {"DATABRICKS_CLIENT_ID": "an-id", "DATABRICKS_CLIENT_SECRET": "cs-secret"},
        nothing,
        {TOKEN: (200, GIVEN)},
        "client_id (DATABRICKS_CLIENT_ID), client_secret (DATABRICKS_CLIENT_SECRET)",
        "at-secret",
        "env DATABRICKS_CLIENT_SECRET",
        expires_at=NOW + 3600,
        refreshable=True,
    ),
    "databricks-cli": Contract(
        {},
        stale_login,
        {TOKEN: (200, GIVEN)},
        "no login in",
        "at-secret",
        AUTH_JSON,
        ambient=True,
        expires_at=NOW + 3600,
        refreshable=True,
    ),
}
OVER_THE_NETWORK = [name for name, contract in CONTRACTS.items() if contract.replies]
SECRETS = ("-secret", BASIC, base64.b64encode(b"an-id:cs-secret").decode())


def ask(
    machine: Machine, name: str, http: object, *, demand: Demand | None = None, host: str = HOST, **parts: Any
) -> Resolution:
    """Ask this one source on a machine where it is set up, with that far side."""
    contract = CONTRACTS[name]
    contract.prepare(machine)
    machine.clock = lambda: NOW
    machine.env.update(contract.env | {"DATABRICKS_AUTH_TYPE": name, "DATABRICKS_HOST": host})
    world = machine.world._replace(http=http, **parts)  # type: ignore[arg-type]
    return resolve.resolve(profiles.load(world), world, demand or Demand())


def told(resolution: Resolution) -> str:
    """All that anybody is told of it."""
    error = resolution.error
    return f"{resolution!r} {resolution.attempts} {error!s} {error and error.hint} {resolution.token!s}"


def test_every_source_has_a_row_here_a_file_and_a_place_in_the_order() -> None:
    files = {path.stem.replace("_", "-") for path in Path(sources.__file__).parent.glob("*.py")} - {"--init--"}
    assert set(CONTRACTS) == set(sources.ORDER) == files
    assert len(set(sources.ORDER)) == len(sources.ORDER)


@pytest.mark.parametrize("name", sources.ORDER)
def test_a_source_is_a_module_with_three_names(name: str) -> None:
    source = sources.load(name)
    assert isinstance(source.needs, tuple) and set(source.needs) <= set(FIELDS)
    assert "host" in source.needs, "a token belongs to a host"
    assert source.ambient is CONTRACTS[name].ambient
    assert callable(source.fetch)
    assert source is importlib.import_module(f"dbx_auth.sources.{name.replace('-', '_')}")


@pytest.mark.parametrize("name", sources.ORDER)
def test_a_source_that_is_set_up_gives_its_token(machine: Machine, name: str) -> None:
    contract = CONTRACTS[name]
    found = ask(machine, name, FarSide(contract.replies)).token
    assert found
    assert (found.value, found.token_type, found.expires_at) == (
        contract.value,
        contract.token_type,
        contract.expires_at,
    )
    assert (found.auth_type, found.origin, found.host) == (name, contract.origin, HOST)
    assert found.refreshable is contract.refreshable


@pytest.mark.parametrize("name", sources.ORDER)
def test_a_source_that_is_not_set_up_says_what_is_missing(machine: Machine, name: str) -> None:
    machine.env.update(DATABRICKS_AUTH_TYPE=name, DATABRICKS_HOST=HOST)
    world = machine.world._replace(http=never)
    (attempt,) = resolve.resolve(profiles.load(world), world).attempts
    assert (attempt.auth_type, attempt.outcome) == (name, "unavailable")
    assert CONTRACTS[name].missing in attempt.reason
    assert machine.files() == {}


@pytest.mark.parametrize("name", sources.ORDER)
@pytest.mark.parametrize("present", [True, False])
def test_without_a_host_no_source_gives_a_token(machine: Machine, name: str, present: bool) -> None:
    """Settings that a person wrote and that have no host are an error; nothing written is nothing."""
    contract = CONTRACTS[name]
    machine.env.update(DATABRICKS_AUTH_TYPE=name, **(contract.env if present else {}))
    world = machine.world._replace(http=never)
    resolution = resolve.resolve(profiles.load(world), world)
    assert resolution.token is None
    if present and contract.env:
        assert isinstance(resolution.error, ConfigError) and "no host to send it to" in str(resolution.error)
    else:
        assert resolution.attempts[0].outcome == "unavailable"


@pytest.mark.parametrize("name", sources.ORDER)
def test_a_token_goes_to_the_host_it_was_given_with(machine: Machine, name: str) -> None:
    """What rests in a store serves its own host; what is in the settings serves the host of the settings."""
    contract = CONTRACTS[name]
    far = FarSide(contract.replies)
    found = ask(machine, name, far, host=OTHER).token
    if contract.ambient:
        assert found is None and not far.asked
    else:
        assert found and found.host == OTHER and all(asked.url.startswith(OTHER) for asked in far.asked)


@pytest.mark.parametrize("name", OVER_THE_NETWORK)
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Temporary("cannot reach the host", hint="try again"), Temporary),
        ((500, "<html>"), Temporary),
        ((429, {}), Temporary),
        ((401, {"error": "invalid_client", "error_description": "unknown client"}), Refused),
        ((403, "<html>"), Refused),
        ((200, "<html>"), Refused),
        ((200, {"token_type": "Bearer"}), Refused),
        ((302, ""), Refused),
    ],
)
def test_what_goes_wrong_at_the_far_side_keeps_its_kind_and_shows_no_secret(
    machine: Machine, name: str, reply: Reply, kind: type[AuthError]
) -> None:
    resolution = ask(machine, name, FarSide({TOKEN: reply}))
    assert type(resolution.error) is kind and resolution.error and resolution.error.hint
    assert resolution.attempts[0].outcome == "failed"
    assert not [secret for secret in SECRETS if secret in told(resolution)]
    for words in ("unknown client", "cannot reach"):
        if words in str(reply):
            assert words in str(resolution.error), "the server's words are passed on"


@pytest.mark.parametrize("name", OVER_THE_NETWORK)
def test_invalid_grant_asks_a_person_to_log_in_and_a_program_to_mend_its_settings(machine: Machine, name: str) -> None:
    resolution = ask(machine, name, FarSide({TOKEN: (400, {"error": "invalid_grant"})}))
    assert isinstance(resolution.error, LoginRequired if CONTRACTS[name].ambient else Refused)


@pytest.mark.parametrize("name", sources.ORDER)
def test_no_secret_is_shown_when_all_goes_well(machine: Machine, name: str) -> None:
    notes: list[str] = []
    resolution = ask(machine, name, FarSide(CONTRACTS[name].replies), note=notes.append)
    assert resolution.token and not [secret for secret in SECRETS if secret in told(resolution) + "".join(notes)]


@pytest.mark.parametrize("name", sources.ORDER)
def test_without_the_network_a_source_fails_or_answers_and_asks_nothing(machine: Machine, name: str) -> None:
    resolution = ask(machine, name, never, demand=Demand(renew=False))
    assert bool(resolution.token) is (name not in OVER_THE_NETWORK)


@pytest.mark.parametrize("name", sources.ORDER)
@pytest.mark.parametrize("byte", ["\udcff", "\ud800"])
def test_settings_that_are_no_text_are_refused_and_no_crash(machine: Machine, name: str, byte: str) -> None:
    """A byte of the environment that is not UTF-8 reaches Python as half a surrogate pair; JSON can hold one too."""
    contract = CONTRACTS[name]
    contract.prepare(machine)
    machine.clock = lambda: NOW
    if machine.auth_json.exists():
        text = json.loads(machine.auth_json.read_text())
        entry = text["databricks"]
        entry["key" if "key" in entry else "refresh"] = f"secret{byte}"
        machine.write(machine.auth_json, text)
    machine.env.update({key: value + byte for key, value in contract.env.items()})
    machine.env.update(DATABRICKS_AUTH_TYPE=name, DATABRICKS_HOST=HOST)
    world = World(machine.env, str(machine.home), now=lambda: NOW)._replace(http=encoding)
    resolution = resolve.resolve(profiles.load(world), world)
    if byte == "\udcff" and resolution.token:
        assert name == "basic", "the byte itself may go into a header in base64"
    else:
        assert resolution.token is None and isinstance(resolution.error, AuthError)


def encoding(method: str, url: str, **rest: Any) -> Any:
    """A far side that does with a form what the real one does, and has no answer."""
    from urllib.parse import urlencode

    try:
        urlencode(rest.get("form") or {})
    except UnicodeEncodeError:
        raise ConfigError(f"a request to {url} cannot be sent", hint="look for odd characters") from None
    raise Temporary(f"cannot reach {url}", hint="try again")


# ---- stored ----------------------------------------------------------------------------------------------------------


def test_a_stored_key_says_for_which_hosts_there_are_keys(machine: Machine) -> None:
    others = {f"databricks:{n}": {"type": "api", "key": "dapi-secret", "host": n} for n in (OTHER, "https://a.example")}
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


def test_a_principal_is_asked_for_at_the_hosts_own_endpoint_with_its_secret_in_the_header(machine: Machine) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    assert ask(machine, "oauth-m2m", far).token
    post = far.asked[-1]
    assert (post.url, post.form) == (HOST + TOKEN, {"grant_type": "client_credentials", "scope": "all-apis"})
    assert post.headers == {"Authorization": "Basic " + base64.b64encode(b"an-id:cs-secret").decode()}
    assert all("secret" not in asked.url for asked in far.asked)


def test_a_principals_scopes_are_those_of_the_profile(machine: Machine) -> None:
    machine.write(machine.config, f"[SP]\nhost={HOST}\nclient_id=an-id\nclient_secret=cs-secret\nscopes=sql files\n")
    far = FarSide({TOKEN: (200, GIVEN)})
    world = machine.world._replace(http=far)
    found = resolve.token(profiles.load(world, Flags("SP")), world)
    assert far.posts()[0]["scope"] == "sql files"
    assert found.origin == "file ~/.databrickscfg [SP]"


def test_a_stored_principal_serves_its_host(machine: Machine) -> None:
    entry = {"type": "m2m", "client_id": "an-id", "client_secret": "cs-secret", "host": HOST}
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
