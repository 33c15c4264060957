"""Entra ID: whose tenant it is, what is asked of it, and what each of its answers means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from unit.contracts import AZURE, ENTRA, ENTRA_KNOWS, LOGIN, MANAGEMENT, NOW, OPENID, RESOURCE_ID, entra_gives
from unit.far_side import FarSide, Reply, jwt, never

from dbx_auth import aadsts, entra
from dbx_auth.entra import Answer
from dbx_auth.errors import AuthError, ConfigError, LoginRequired, Refused, Temporary
from dbx_auth.profile import Profile, Setting
from dbx_auth.world import Response, World

APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
ARM = "https://management.azure.com"
ARM_AUDIENCE = "https://management.core.windows.net/"
TRACE = " Trace ID: 0a0a Correlation ID: 0b0b Timestamp: 2025-11-22 10:00:00Z"


def profile(**settings: str) -> Profile:
    return Profile("", {name: Setting(name, value, "env NAME") for name, value in settings.items()})


def world(http: Any = never, **env: str) -> World:
    return World(env, "/nowhere", now=lambda: NOW, http=http)


def redirect(location: str, status: int = 302) -> Response:
    return Response("", status, {"location": location}, b"")


# ---- which tenant ----------------------------------------------------------------------------------------------------


def test_the_tenant_of_the_settings_is_taken_and_nobody_is_asked() -> None:
    assert entra.tenant(profile(host=AZURE, azure_tenant_id="said"), world()) == "said"


@pytest.mark.parametrize(
    "login",
    ["login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.windows.net"],
)
def test_a_workspace_tells_its_tenant_by_where_its_login_page_leads(login: str) -> None:
    far = FarSide({"/aad/auth": redirect(f"https://{login}/a-tenant/oauth2/authorize?client_id=x&state=https://y/z")})
    assert entra.tenant(profile(host=AZURE), world(far)) == "a-tenant"
    assert [(asked.method, asked.url, asked.headers) for asked in far.asked] == [("GET", f"{AZURE}/aad/auth", {})]


@pytest.mark.parametrize(
    "reply",
    [
        redirect("https://evil.example/a-tenant/oauth2/authorize"),
        redirect("https://login.microsoftonline.com.evil.example/a-tenant"),
        redirect("https://login.microsoftonline.com@evil.example/a-tenant"),
        redirect("https://me@login.microsoftonline.com/a-tenant"),
        redirect("https://evil.example/https://login.microsoftonline.com/a-tenant"),
        redirect("http://login.microsoftonline.com/a-tenant"),
        redirect("https://login.microsoftonline.com:8443/a-tenant"),
        redirect("https://login.microsoftonline.com"),
        redirect("https://login.microsoftonline.com/"),
        redirect("https://login.microsoftonline.com//a-tenant"),
        redirect("/a-tenant/oauth2/authorize"),
        redirect("a-tenant"),
        redirect(""),
        redirect("https://login.microsoftonline.com/a-tenant", 200),
        (302, ""),
        (200, "<!doctype html><a href='https://login.microsoftonline.com/a-tenant'>"),
        (404, ""),
    ],
)
def test_a_tenant_is_believed_from_nobody_but_microsofts_own_login(reply: Reply) -> None:
    """Whoever names the tenant names who gets the client secret."""
    with pytest.raises(ConfigError, match="no setting says which Entra ID tenant") as refused:
        entra.tenant(profile(host=AZURE), world(FarSide({"/aad/auth": reply})))
    assert refused.value.hint.startswith("export ARM_TENANT_ID=")


@pytest.mark.parametrize("reply", [(500, ""), (429, ""), Temporary("cannot reach it", hint="h")])
def test_a_workspace_that_cannot_tell_its_tenant_now_may_later(reply: Reply) -> None:
    with pytest.raises(Temporary):
        entra.tenant(profile(host=AZURE), world(FarSide({"/aad/auth": reply})))


def test_without_a_host_nobody_can_tell_the_tenant() -> None:
    with pytest.raises(ConfigError):
        entra.tenant(profile(azure_workspace_resource_id=RESOURCE_ID), world())


@pytest.mark.parametrize(
    ("said", "authority"),
    [
        ("", LOGIN),
        ("https://login.microsoftonline.us", "https://login.microsoftonline.us"),
        ("https://login.microsoftonline.us/", "https://login.microsoftonline.us"),
        ("login.microsoftonline.us", "https://login.microsoftonline.us"),  # as Azure's SDKs take it
    ],
)
def test_the_environment_may_name_another_authority(said: str, authority: str) -> None:
    settings = profile(host=AZURE, azure_tenant_id="a-tenant")
    assert entra.authority(settings, world(AZURE_AUTHORITY_HOST=said)) == f"{authority}/a-tenant"


@pytest.mark.parametrize("said", ["http://login.microsoftonline.com", "ftp://x", "HTTP://localhost"])
def test_an_authority_without_https_gets_no_secret(said: str) -> None:
    with pytest.raises(ConfigError, match="AZURE_AUTHORITY_HOST has to be an https URL"):
        entra.authority(profile(host=AZURE, azure_tenant_id="t"), world(AZURE_AUTHORITY_HOST=said))


# ---- the token and what goes beside it -------------------------------------------------------------------------------


class Asker:
    """Gives tokens, and remembers for what. An error among them is raised."""

    def __init__(self, tokens: Mapping[str, str | AuthError]) -> None:
        self.tokens = tokens
        self.asked: list[str] = []

    def __call__(self, resource: str) -> Answer:
        self.asked.append(resource)
        found = self.tokens[resource]
        if isinstance(found, AuthError):
            raise found
        return Answer(found, NOW + 3600)


PERSON, PRINCIPAL = jwt(upn="alice@example.com"), jwt(appid="an-app")
NOT_NOW = Temporary("Entra ID answered 503", hint="try again in a while")


@pytest.mark.parametrize(
    ("who", "settings", "management", "beside"),
    [
        (PRINCIPAL, {}, "mt", {MANAGEMENT}),
        (PRINCIPAL, {"azure_workspace_resource_id": RESOURCE_ID}, "mt", {MANAGEMENT, "resource"}),
        (PRINCIPAL, {}, NOT_NOW, set()),
        ("opaque", {}, "mt", {MANAGEMENT}),
        (PERSON, {}, AssertionError("nobody asks for this"), set()),
        (PERSON, {"azure_workspace_resource_id": RESOURCE_ID}, "mt", {MANAGEMENT, "resource"}),
        (PERSON, {"azure_workspace_resource_id": RESOURCE_ID}, NOT_NOW, {"resource"}),
    ],
)
def test_a_principal_shows_that_it_may_manage_the_resource_and_a_person_only_beside_a_resource_id(
    who: str, settings: dict[str, str], management: Any, beside: set[str]
) -> None:
    ask = Asker({APP: who, **({ARM_AUDIENCE: management} if not isinstance(management, AssertionError) else {})})
    found = entra.token(profile(host=AZURE, **settings), world(), "azure-cli", "az", ask)
    resource = "X-Databricks-Azure-Workspace-Resource-Id"
    assert set(found.extra) == {resource if name == "resource" else name for name in beside}
    assert found.extra.get(MANAGEMENT, "mt") == "mt" and found.extra.get(resource, RESOURCE_ID) == RESOURCE_ID
    assert (found.value, found.host, found.expires_at) == (who, AZURE, NOW + 3600)


def test_each_cloud_has_its_own_resource_manager() -> None:
    ask = Asker({APP: PRINCIPAL, "https://management.core.usgovcloudapi.net/": "mt"})
    found = entra.token(profile(host="https://adb-1.2.databricks.azure.us"), world(), "azure-msi", "x", ask)
    assert found.extra == {MANAGEMENT: "mt"}


# ---- from the resource id to the host --------------------------------------------------------------------------------


def host_of(reply: Reply, resource_id: str = RESOURCE_ID, **settings: str) -> tuple[str, FarSide]:
    far = FarSide({resource_id: reply})
    management = "https://management.core.chinacloudapi.cn/" if settings else ARM_AUDIENCE
    ask = Asker({APP: PRINCIPAL, management: "mt-s3cret"})
    settings = {"azure_workspace_resource_id": resource_id, **settings}
    return entra.token(profile(**settings), world(far), "azure-msi", "x", ask).host, far


def named(url: object) -> Reply:
    return 200, {"id": RESOURCE_ID, "properties": {"workspaceUrl": url}}


def test_azure_says_which_host_a_resource_is() -> None:
    host, far = host_of(named("adb-1.2.azuredatabricks.net"))
    assert host == AZURE
    (asked,) = far.asked
    assert asked.url == f"{ARM}{RESOURCE_ID}?api-version=2018-04-01"
    assert asked.headers == {"Authorization": "Bearer mt-s3cret"}


def test_without_a_host_the_environment_says_which_of_azures_clouds_is_asked() -> None:
    host, far = host_of(named("adb-1.2.databricks.azure.cn"), azure_environment="china")
    assert host == "https://adb-1.2.databricks.azure.cn"
    assert far.asked[0].url.startswith("https://management.chinacloudapi.cn/subscriptions/")


@pytest.mark.parametrize(
    "url",
    [
        "evil.example",
        "https://evil.example",
        "adb-1.2.azuredatabricks.net.evil.example",
        "evil-azuredatabricks.net",
        "http://adb-1.2.azuredatabricks.net",
        "http://127.0.0.1:8080",
        "me@adb-1.2.azuredatabricks.net",
        "adb-1.2.azuredatabricks.net/a/path",
        "adb-1.2.azuredatabricks.net\n",
        "evil.example#.azuredatabricks.net",
        "",
        None,
        7,
        ["adb-1.2.azuredatabricks.net"],
    ],
)
def test_a_host_outside_databricks_is_not_believed_and_gets_no_token(url: object) -> None:
    if url == "adb-1.2.azuredatabricks.net\n":  # a line break at the end is no other host
        assert host_of(named(url))[0] == AZURE
        return
    with pytest.raises(Refused, match=f"{ARM} names no host for {RESOURCE_ID}") as refused:
        host_of(named(url))
    assert refused.value.hint.startswith("export DATABRICKS_HOST=")


@pytest.mark.parametrize("body", [{}, {"properties": None}, {"properties": []}, {"properties": "x"}, "[]", "<html>"])
def test_an_answer_of_another_shape_names_no_host(body: object) -> None:
    with pytest.raises(Refused):
        host_of((200, body))


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ((403, {"error": {"code": "AuthorizationFailed", "message": "may not\n read"}}), Refused, "403 may not read"),
        ((404, {"error": {"code": "ResourceNotFound", "message": "was not found"}}), Refused, "404 was not found"),
        ((404, {"error": "text"}), Refused, "404"),
        ((404, {"error": {"message": ["list"]}}), Refused, "404"),
        ((401, "<html>"), Refused, "401"),
        ((403, "{half"), Refused, "403"),
        ((302, ""), Refused, "302"),
        ((500, "<html>"), Temporary, "500"),
        ((503, {"error": {"message": "busy"}}), Temporary, "503"),
        ((429, ""), Temporary, "429"),
        (Temporary("cannot reach it", hint="h"), Temporary, "cannot reach it"),
    ],
)
def test_what_the_resource_manager_says_no_with_is_passed_on(reply: Reply, kind: type[AuthError], words: str) -> None:
    with pytest.raises(kind) as refused:
        host_of(reply)
    assert words in str(refused.value) and "s3cret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    "text",
    ["subscriptions/x", "https://evil.example/x", "/a b", "/a?x=y", "/a#b", "/a@evil/b", "/", "//evil/x", "/é\n"],
)
def test_what_is_no_resource_id_is_asked_of_nobody(text: str) -> None:
    ask = Asker({})
    with pytest.raises(ConfigError, match="not the resource id of a workspace"):
        entra.token(profile(azure_workspace_resource_id=text), world(), "azure-msi", "x", ask)
    assert ask.asked == []


# ---- service principals ----------------------------------------------------------------------------------------------

SETTINGS = profile(host=AZURE, azure_tenant_id="a-tenant", azure_client_id="an-app")


def asked_with(credential: str | Callable[[], str], reply: Reply) -> tuple[Answer, FarSide]:
    far = FarSide({**ENTRA_KNOWS, ENTRA: reply})
    return entra.with_credential(SETTINGS, world(far), credential)("a-resource"), far


def test_a_secret_goes_to_the_tenants_token_endpoint_in_the_body() -> None:
    answer, far = asked_with("app-s3cret", entra_gives("at-s3cret"))
    assert answer == Answer("at-s3cret", NOW + 3600)
    (post,) = (asked for asked in far.asked if asked.method == "POST")
    assert post.url == LOGIN + ENTRA and "s3cret" not in post.url
    wanted = {"grant_type": "client_credentials", "client_id": "an-app", "client_secret": "app-s3cret"}
    assert {**wanted, "scope": "a-resource/.default"}.items() <= post.form.items()


def test_nobody_but_the_tenants_own_authority_is_asked() -> None:
    """msal would ask Microsoft's public cloud first, which a closed network may not reach."""
    _, far = asked_with("app-s3cret", entra_gives("at-s3cret"))
    assert [asked.url for asked in far.asked] == [LOGIN + OPENID, LOGIN + ENTRA]


def test_an_assertion_takes_the_place_of_the_secret() -> None:
    _, far = asked_with(lambda: "id-s3cret", entra_gives("at-s3cret"))
    (form,) = far.posts()
    assert form["client_assertion"] == "id-s3cret" and "client_secret" not in form
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.mark.parametrize(
    ("life", "expires_at"), [(3599, NOW + 3599), ("3599", NOW + 3599), (None, NOW + 3600), (0, NOW + 3600)]
)
def test_an_answer_ends_when_it_says_counted_from_the_question(life: object, expires_at: float) -> None:
    assert entra.answer_of({"access_token": "t", "expires_in": life}, NOW).expires_at == expires_at


def test_an_answer_shows_no_token() -> None:
    assert "s3cret" not in f"{Answer('at-s3cret', NOW)!r} {Answer('at-s3cret', NOW)}"


@pytest.mark.parametrize("body", [{}, {"token_endpoint": LOGIN + ENTRA}, {"authorization_endpoint": 1}])
def test_a_tenant_that_does_not_say_where_to_ask_is_refused(body: object) -> None:
    far = FarSide({OPENID: (200, body)})
    with pytest.raises(Refused):
        entra.with_credential(SETTINGS, world(far), "app-s3cret")("a-resource")


@pytest.mark.parametrize("said", ["https://", "https:///", "https:// evil", "https://[::1"])
def test_an_authority_that_is_no_address_is_an_error_and_no_crash(said: str) -> None:
    with pytest.raises(AuthError):
        entra.with_credential(SETTINGS, world(FarSide({}), AZURE_AUTHORITY_HOST=said), "app-s3cret")("a-resource")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": "invalid_tenant", "error_description": "AADSTS90002: x"}, Refused, "there is no tenant"),
        (404, "<html>", Refused, "404"),
        (400, "[]", Refused, "400"),
        (500, "<html>", Temporary, "login.microsoftonline.com answered 500"),
        (429, {"error": "slow"}, Temporary, "login.microsoftonline.com answered 429"),
        (200, "<html>Sign in to the hotel's network", Refused, "not a JSON object"),
    ],
)
def test_a_tenant_that_cannot_be_looked_up_says_why(
    status: int, body: object, kind: type[AuthError], words: str
) -> None:
    """The document of a tenant is asked first; msal by itself tells no reason."""
    with pytest.raises(kind, match=words):
        entra.with_credential(SETTINGS, world(FarSide({OPENID: (status, body)})), "app-s3cret")("a-resource")


# ---- what it says no with --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", aadsts.MEANINGS)
def test_every_code_that_we_know_is_told_with_its_meaning_its_hint_and_no_trace(code: str) -> None:
    meaning, hint = aadsts.MEANINGS[code]
    reply = 401, {"error": "invalid_client", "error_description": f"AADSTS{code}: Their own words.{TRACE}"}
    with pytest.raises(LoginRequired if hint.startswith("az login") else Refused) as refused:
        asked_with("app-s3cret", reply)
    assert str(refused.value) == f"Entra ID refused: {meaning}: AADSTS{code}: Their own words"
    assert refused.value.hint == hint


@pytest.mark.parametrize("trace", [TRACE, "\r\n" + TRACE.strip(), f". {TRACE}"])
def test_a_code_that_we_do_not_know_is_told_in_entras_words(trace: str) -> None:
    error = aadsts.refusal("invalid_client", f"AADSTS700299: Their own words{trace}")
    assert type(error) is Refused and str(error) == "Entra ID refused: AADSTS700299: Their own words"
    assert error.hint == "check ARM_CLIENT_ID and ARM_TENANT_ID"


@pytest.mark.parametrize(
    ("error", "description", "kind", "text"),
    [
        ("interaction_required", "AADSTS50076: x", LoginRequired, "Entra ID refused: the tenant wants a second factor"),
        ("login_required", "", LoginRequired, "Entra ID refused: login_required"),
        ("temporarily_unavailable", "busy", Temporary, "Entra ID refused: busy"),
        ("server_error", "", Temporary, "Entra ID refused: server_error"),
        ("invalid_grant", "a\x1b[2J\r\nb\u202e", Refused, "Entra ID refused: a[2J b"),
    ],
)
def test_an_error_keeps_its_kind_and_is_one_harmless_line(
    error: str, description: str, kind: type[AuthError], text: str
) -> None:
    found = aadsts.refusal(error, description)
    assert type(found) is kind and str(found).startswith(text) and str(found).isprintable() and found.hint


@pytest.mark.parametrize("body", [{"error": ["x"], "error_description": {"a": 1}}, {"error": None}, {"error": 7}])
def test_an_error_of_another_shape_is_refused_too(body: object) -> None:
    with pytest.raises(Refused):
        asked_with("app-s3cret", (400, body))


def test_a_secret_that_entra_repeats_is_masked() -> None:
    with pytest.raises(Refused) as refused:
        asked_with("app-s3cret", (400, {"error": "invalid_client", "error_description": "not app-s3cret"}))
    assert "s3cret" not in str(refused.value)
