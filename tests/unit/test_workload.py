"""The ID tokens of CI jobs, and what becomes of them at the workspace's token endpoint."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from machine import HOST, Machine
from unit.contracts import CONTRACTS, DEVOPS, DEVOPS_JOB, DEVOPS_PATH, GITHUB, GITHUB_JOB, GIVEN, Ask, notebook, told
from unit.far_side import TOKEN, FarSide, Reply, never

from dbx_auth import workload
from dbx_auth.errors import AuthError, ConfigError, Refused, Temporary, Unavailable
from dbx_auth.world import World

METADATA = "/.well-known/databricks-config"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


@pytest.fixture
def ask(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return Ask(machine, monkeypatch)


def world(http: Any, env: dict[str, str]) -> World:
    return World(env, "/nowhere", http=http)


def gives(field: str) -> Reply:
    return 200, {field: "id-s3cret"}


# ---- GitHub ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audience",
    ["https://h/oidc/v1/token", "api://AzureADTokenExchange", "an-account", "a b&audience=evil#c", "é"],
)
@pytest.mark.parametrize("url", [f"{GITHUB}/idtoken", f"{GITHUB}/idtoken?api-version=2.0"])
def test_github_is_asked_for_the_audience_and_nothing_else(url: str, audience: str) -> None:
    far = FarSide({"/idtoken": gives("value")})
    env = {**GITHUB_JOB, "ACTIONS_ID_TOKEN_REQUEST_URL": url}
    assert workload.github(world(far, env), audience) == "id-s3cret"
    (asked,) = far.asked
    assert asked.method == "GET" and asked.headers == {"Authorization": "Bearer gh-s3cret"}
    query = parse_qs(urlsplit(asked.url).query)
    assert query.pop("audience") == [audience]
    assert query == parse_qs(urlsplit(url).query) and urlsplit(asked.url).fragment == ""


@pytest.mark.parametrize("name", GITHUB_JOB)
def test_outside_of_a_job_github_is_not_asked(name: str) -> None:
    env = {**GITHUB_JOB, name: ""}
    workload.require_github(world(never, GITHUB_JOB))
    for asking in (workload.require_github, lambda world: workload.github(world, "x")):
        with pytest.raises(Unavailable, match=f"not set: {name}$"):
            asking(world(never, env))


# ---- Azure DevOps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", [f"{DEVOPS}/org/", f"{DEVOPS}/org"])
def test_devops_is_asked_for_this_very_job(collection: str) -> None:
    far = FarSide({DEVOPS_PATH: gives("oidcToken")})
    env = {**DEVOPS_JOB, "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": collection}
    assert workload.azure_devops(world(far, env)) == "id-s3cret"
    (asked,) = far.asked
    assert (asked.method, asked.url) == ("POST", f"{DEVOPS}{DEVOPS_PATH}?api-version=7.2-preview.1")
    assert asked.headers == {"Authorization": "Bearer ado-s3cret"}


def test_the_name_of_a_project_is_one_piece_of_the_path() -> None:
    far = FarSide({DEVOPS_PATH.replace("/project/", "/my%20%3Fproject%23/"): gives("oidcToken")})
    assert workload.azure_devops(world(far, {**DEVOPS_JOB, "SYSTEM_TEAMPROJECTID": "my ?project#"}))


@pytest.mark.parametrize("name", DEVOPS_JOB)
def test_a_pipeline_that_lacks_a_variable_names_it(name: str) -> None:
    """SYSTEM_ACCESSTOKEN is there only where the step maps it in."""
    env = {key: value for key, value in DEVOPS_JOB.items() if key != name}
    with pytest.raises(Unavailable, match=f"not set: {name}$"):
        workload.azure_devops(world(never, env))


def test_outside_of_a_pipeline_every_variable_is_named() -> None:
    with pytest.raises(Unavailable) as reason:
        workload.azure_devops(world(never, {}))
    assert str(reason.value) == "not set: " + ", ".join(DEVOPS_JOB)


# ---- both ------------------------------------------------------------------------------------------------------------


def github(far: Any, url: str = GITHUB_JOB["ACTIONS_ID_TOKEN_REQUEST_URL"]) -> str:
    return workload.github(world(far, {**GITHUB_JOB, "ACTIONS_ID_TOKEN_REQUEST_URL": url}), "x")


def devops(far: Any, url: str = DEVOPS_JOB["SYSTEM_TEAMFOUNDATIONCOLLECTIONURI"]) -> str:
    return workload.azure_devops(world(far, {**DEVOPS_JOB, "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": url}))


CIS = pytest.mark.parametrize("ci", [github, devops])


@CIS
@pytest.mark.parametrize(
    "url",
    [
        "http://ci.example/x",
        "http://localhost.evil.example/x",
        "http://evil.example/?x=http://localhost",
        "ftp://ci.example",
        "file:///etc/passwd",
        "ci.example",
        "https://ci.example/a b",
        "https://ci.example/\r\nX-Evil: 1",
        "https://ci.example/\u202e",
        "https://ci.example/\udcff",
    ],
)
def test_a_jobs_key_goes_nowhere_without_https(ci: Any, url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL that starts with https://") as refused:
        ci(never, url)
    assert refused.value.hint.startswith("unset ") and str(refused.value).isprintable()
    assert "s3cret" not in f"{refused.value} {refused.value.hint}"


@CIS
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_a_ci_on_this_machine_may_go_without_https(ci: Any, url: str) -> None:
    far = FarSide({"": gives("value"), DEVOPS_PATH.removeprefix("/org"): gives("oidcToken")})
    assert ci(far, url) == "id-s3cret"


@CIS
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((401, {"message": "gh-s3cret is bad, ado-s3cret too"}), Refused),
        ((403, "<html>"), Refused),
        ((404, ""), Refused),
        ((302, ""), Refused),  # DevOps answers so to a key that it does not know
        ((203, "<html>Sign In"), Refused),  # and so
        ((200, "<html>"), Refused),
        ((200, "[]"), Refused),
        ((200, {}), Refused),
        ((200, {"value": None, "oidcToken": None}), Refused),
        ((200, {"value": "", "oidcToken": ""}), Refused),
        ((200, {"value": ["id"], "oidcToken": {"a": 1}}), Refused),
        ((200, {"value": "two s3cret words", "oidcToken": "two s3cret words"}), Refused),
        ((200, {"value": "s3cret\r\nX: y", "oidcToken": "s3cret\r\nX: y"}), Refused),
        ((500, "<html>"), Temporary),
        ((503, {"message": "busy"}), Temporary),
        ((429, ""), Temporary),
        (Temporary("cannot reach it", hint="h"), Temporary),
    ],
)
def test_a_ci_that_gives_no_id_token_says_why_and_shows_no_secret(ci: Any, reply: Reply, kind: type[AuthError]) -> None:
    with pytest.raises(kind) as refused:
        ci(FarSide({"/idtoken": reply, DEVOPS_PATH: reply}))
    assert refused.value.hint and "s3cret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(("ci", "hint"), [(github, "id-token: write"), (devops, "SYSTEM_ACCESSTOKEN: $(System.Acc")])
def test_a_job_that_may_not_ask_is_told_what_to_allow_it(ci: Any, hint: str) -> None:
    with pytest.raises(Refused) as refused:
        ci(FarSide({"/idtoken": (403, ""), DEVOPS_PATH: (403, "")}))
    assert hint in refused.value.hint


# ---- traded for a token of Databricks --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["github-oidc", "azure-devops-oidc", "env-oidc", "file-oidc"])
@pytest.mark.parametrize("client_id", ["an-id", ""])
def test_an_id_token_is_traded_by_the_policy_of_a_principal_or_of_the_account(
    ask: Ask, name: str, client_id: str
) -> None:
    far = FarSide({"/idtoken": gives("value"), DEVOPS_PATH: gives("oidcToken"), TOKEN: (200, GIVEN)})
    ask(name, far)
    ask.machine.env["DATABRICKS_CLIENT_ID"] = client_id
    assert ask.again(far).token
    form = {"grant_type": EXCHANGE, "subject_token_type": JWT, "subject_token": "id-s3cret", "scope": "all-apis"}
    post = far.asked[-1]
    assert post.url == HOST + TOKEN and post.headers == {}
    assert post.form == {**form, **({"client_id": client_id} if client_id else {})}


def audience(ask: Ask, metadata: Reply, **env: str) -> str:
    far = FarSide({METADATA: metadata, "/idtoken": gives("value"), TOKEN: (200, GIVEN)})
    ask.put(**env)
    assert ask("github-oidc", far).token
    (asked,) = (asked for asked in far.asked if asked.path == "/idtoken")
    return parse_qs(urlsplit(asked.url).query)["audience"][0]


@pytest.mark.parametrize(
    ("metadata", "env", "wanted"),
    [
        ((404, ""), {}, HOST + TOKEN),
        ((404, ""), {"DATABRICKS_TOKEN_AUDIENCE": "mine"}, "mine"),
        ((200, {"workspace_id": "1"}), {"DATABRICKS_ACCOUNT_ID": "acc"}, HOST + TOKEN),
        ((200, {"account_id": "acc"}), {}, "acc"),
        ((200, {"token_federation_default_oidc_audiences": ["theirs", "x"], "workspace_id": "1"}), {}, "theirs"),
        ((200, {"token_federation_default_oidc_audiences": [7], "workspace_id": "1"}), {}, HOST + TOKEN),
        ((200, {"token_federation_default_oidc_audiences": "text", "workspace_id": "1"}), {}, HOST + TOKEN),
        ((200, {"token_federation_default_oidc_audiences": ["theirs"]}), {"DATABRICKS_TOKEN_AUDIENCE": "mine"}, "mine"),
    ],
)
def test_the_audience_is_that_of_the_settings_then_the_hosts_then_the_token_endpoint(
    ask: Ask, metadata: Reply, env: dict[str, str], wanted: str
) -> None:
    assert audience(ask, metadata, **env) == wanted


def test_a_workspace_is_asked_for_its_endpoint_before_github_is_asked_for_a_token(ask: Ask) -> None:
    """An ID token that waits for a slow host may have ended."""
    far = FarSide({"/idtoken": gives("value"), TOKEN: (200, GIVEN)})
    assert ask("github-oidc", far).token
    assert [asked.path for asked in far.asked][-2:] == ["/idtoken", TOKEN]


def test_a_group_is_asked_for_where_the_workspace_gives_the_token(ask: Ask) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    ask.put(DATABRICKS_GROUP_ID="42")
    assert ask("env-oidc", far).token
    assert far.posts()[0]["assume_group"] == "42"


def test_entra_is_shown_an_id_token_that_is_for_it(ask: Ask) -> None:
    far = FarSide(CONTRACTS["github-oidc-azure"].replies)
    assert ask("github-oidc-azure", far).token
    (asked,) = (asked for asked in far.asked if asked.path == "/idtoken")
    assert parse_qs(urlsplit(asked.url).query)["audience"] == ["api://AzureADTokenExchange"]
    assert {form["client_assertion"] for form in far.posts()} == {"id-s3cret"}


# ---- where the ID token rests ----------------------------------------------------------------------------------------


def test_another_variable_may_hold_the_id_token(ask: Ask) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    ask.put(DATABRICKS_OIDC_TOKEN_ENV="MY_TOKEN", MY_TOKEN=" my-s3cret\n")
    found = ask("env-oidc", far).token
    assert found and found.origin == "env MY_TOKEN"
    assert far.posts()[0]["subject_token"] == "my-s3cret"


def test_a_variable_that_somebody_named_has_to_be_there(ask: Ask) -> None:
    ask.put(DATABRICKS_OIDC_TOKEN_ENV="MY_TOKEN")
    error = ask("env-oidc", never).error
    assert isinstance(error, ConfigError) and "oidc_token_env names MY_TOKEN" in str(error)


@pytest.mark.parametrize("content", [b"id-s3cret", b"id-s3cret\n", b"  id-s3cret \r\n"])
def test_a_file_may_end_its_line(ask: Ask, content: bytes) -> None:
    far = FarSide({TOKEN: (200, GIVEN)})
    assert ask("file-oidc", far, prepare=lambda machine, patch: machine.write(machine.home / "id-token", content)).token
    assert far.posts()[0]["subject_token"] == "id-s3cret"


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "it is not text")])
def test_a_file_that_holds_no_id_token_is_named(ask: Ask, content: bytes, why: str) -> None:
    error = ask("file-oidc", never, prepare=lambda machine, patch: machine.write(machine.home / "id-token", content))
    assert isinstance(error.error, ConfigError) and why in str(error.error)
    assert f"{ask.machine.home}/id-token (env DATABRICKS_OIDC_TOKEN_FILEPATH)" in str(error.error)


@pytest.mark.parametrize("path", ["~/nothing", "~/", "/dev/null/x", "~/\0"])
def test_a_file_that_cannot_be_read_is_named(ask: Ask, path: str) -> None:
    ask.put(DATABRICKS_AUTH_TYPE="file-oidc", DATABRICKS_HOST=HOST, DATABRICKS_OIDC_TOKEN_FILEPATH=path)
    error = ask.again(never).error
    assert isinstance(error, ConfigError) and "cannot be read" in str(error) and error.hint


# ---- a notebook ------------------------------------------------------------------------------------------------------


def test_a_notebooks_token_is_traded_where_scopes_are_wanted(ask: Ask) -> None:
    ask.machine.write(ask.machine.config, f"[NB]\nhost={HOST}\nauth_type=runtime\nscopes=sql files\n")
    ask.put(DATABRICKS_CONFIG_PROFILE="NB")
    far = FarSide({TOKEN: (200, GIVEN)})
    found = ask("runtime", far).token
    assert found and (found.value, found.refreshable) == ("at-s3cret", True)
    assert far.asked[-1].url == HOST + TOKEN
    assert far.posts()[0] == {
        "grant_type": EXCHANGE,
        "subject_token": "nb-s3cret",
        "subject_token_type": "urn:databricks:params:oauth:token-type:personal-access-token",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "sql files",
    }


@pytest.mark.parametrize("reply", [(500, ""), (403, {"error": "invalid_scope"}), (400, {"error": "invalid_grant"})])
def test_a_notebooks_token_that_cannot_be_traded_is_not_handed_out_as_it_is(ask: Ask, reply: Reply) -> None:
    """It could do more than was asked for."""
    ask.put(DATABRICKS_GROUP_ID="42")
    resolution = ask("runtime", FarSide({TOKEN: reply}))
    assert resolution.token is None and "s3cret" not in told(resolution)


def test_a_cluster_without_a_notebook_has_no_token(ask: Ask) -> None:
    resolution = ask("runtime", never, prepare=lambda machine, patch: notebook(machine, patch, token=""))
    assert (resolution.attempts[0].outcome, resolution.token) == ("unavailable", None)


def test_a_python_that_is_not_databricks_own_has_no_token(ask: Ask) -> None:
    resolution = ask("runtime", never, prepare=lambda machine, patch: None)
    assert "no notebook around it" in resolution.attempts[0].reason


def test_a_token_that_no_header_can_carry_is_refused(ask: Ask) -> None:
    resolution = ask("runtime", never, prepare=lambda machine, patch: notebook(machine, patch, token="a s3cret"))
    assert isinstance(resolution.error, ConfigError) and "s3cret" not in told(resolution)


@pytest.mark.parametrize("broken", ["raise RuntimeError('s3cret')", "1 / 0", "get_context = None", "x ="])
def test_a_cluster_whose_module_is_another_is_no_crash(ask: Ask, broken: str) -> None:
    def put(machine: Machine, patch: pytest.MonkeyPatch) -> None:
        notebook(machine, patch)
        machine.write(machine.home / "cluster" / "dbruntime" / "databricks_repl_context.py", broken + "\n")

    assert ask("runtime", never, prepare=put).token is None


# ---- the metadata service --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://ci.example/s3cret", "https://ci.example/s3cret", "http://localhost.evil.example/s3cret", "s3cret"]
    + ["http://169.254.169.254/s3cret", "http://127.0.0.1/s3cret x", "http://me:s3cret@127.0.0.1/", "file:///s3cret"],
)
def test_a_metadata_service_is_on_this_machine(ask: Ask, url: str) -> None:
    """Whoever knows its address gets the token, so the address is a secret too."""
    ask.put(DATABRICKS_AUTH_TYPE="metadata-service", DATABRICKS_HOST=HOST, DATABRICKS_METADATA_SERVICE_URL=url)
    resolution = ask.again(never)
    assert "is not on this machine" in str(resolution.error) and "s3cret" not in told(resolution)


def test_a_metadata_service_is_told_for_which_host(ask: Ask) -> None:
    far = FarSide({"/url-s3cret": (200, {"access_token": "a", "token_type": "Bearer", "expires_on": 1_700_003_600})})
    assert ask("metadata-service", far).token
    (asked,) = far.asked
    assert asked.headers == {"X-Databricks-Metadata-Version": "1", "X-Databricks-Host": HOST}


@pytest.mark.parametrize(
    "body",
    [
        {"access_token": "", "token_type": "Bearer", "expires_on": 1_700_003_600},
        {"access_token": "a s3cret", "token_type": "Bearer", "expires_on": 1_700_003_600},
        {"access_token": 7, "token_type": "Bearer", "expires_on": 1_700_003_600},
        {"access_token": "s3cret", "expires_on": 1_700_003_600},
        {"access_token": "s3cret", "token_type": "", "expires_on": 1_700_003_600},
        {"access_token": "s3cret", "token_type": "Basic", "expires_on": 1_700_003_600},
        {"access_token": "s3cret", "token_type": "Bearer"},
        {"access_token": "s3cret", "token_type": "Bearer", "expires_on": "soon"},
        {"access_token": "s3cret", "token_type": "Bearer", "expires_on": [1]},
        {"access_token": "s3cret", "token_type": "Bearer", "expires_on": True},
    ],
)
def test_a_metadata_service_that_gives_no_whole_token_gives_none(ask: Ask, body: object) -> None:
    resolution = ask("metadata-service", FarSide({"/url-s3cret": (200, body)}))
    assert resolution.token is None and isinstance(resolution.error, AuthError) and "s3cret" not in told(resolution)
