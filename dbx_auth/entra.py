"""Microsoft Entra ID: its clouds, its tenants, its tokens, and what Databricks wants to see beside them.

msal asks for the tokens of service principals, azure-identity for those of the Azure CLI and of managed identities.
https://learn.microsoft.com/en-us/azure/databricks/dev-tools/auth/
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from . import aadsts, hosts
from .errors import AuthError, ConfigError, LoginRequired, Refused, Temporary, Unavailable
from .profile import Profile
from .store import Grant
from .tokens import Token, claims
from .world import Response, World, one_line

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

LOOK_BUDGET = 5.0
"""Seconds for a question to the workspace or to Azure Resource Manager."""

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
"""Whom an ID token has to be for, so that Entra ID takes it in place of a client secret."""


class Cloud(NamedTuple):
    """One of Azure's clouds: who logs people in, and the two places that manage resources."""

    authority: str
    management: str
    resource_manager: str


CLOUDS = {
    "PUBLIC": Cloud(
        "https://login.microsoftonline.com", "https://management.core.windows.net/", "https://management.azure.com"
    ),
    "USGOVERNMENT": Cloud(
        "https://login.microsoftonline.us",
        "https://management.core.usgovcloudapi.net/",
        "https://management.usgovcloudapi.net",
    ),
    "CHINA": Cloud(
        "https://login.chinacloudapi.cn",
        "https://management.core.chinacloudapi.cn/",
        "https://management.chinacloudapi.cn",
    ),
}
"""By the names of ARM_ENVIRONMENT. https://github.com/databricks/databricks-sdk-go, common/environment"""

_LOGIN_PAGES = {*(c.authority for c in CLOUDS.values()), "https://login.microsoft.com", "https://login.windows.net"}
_CLOUD_OF_DOMAIN = {".databricks.azure.us": "USGOVERNMENT", ".databricks.azure.cn": "CHINA"}
_APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
_APP_OF_DOMAIN = {
    ".dev.azuredatabricks.net": "62a912ac-b58e-4c1d-89ea-b2dbfc7358fc",
    ".staging.azuredatabricks.net": "4a67d088-db5c-48f1-9ff2-0aace800ae68",
}


class Answer(NamedTuple):
    """An access token of Entra ID, and the epoch second it ends at."""

    token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Answer(token=***, expires_at={self.expires_at})"


Ask = Callable[[str], Answer]
"""Asks for a token for a resource: the id of an application, or the URL of a service."""


def cloud(profile: Profile) -> Cloud:
    """Azure's cloud that the host is in; ARM_ENVIRONMENT says it where there is no host yet."""
    if profile.host:
        return CLOUDS[
            next((name for domain, name in _CLOUD_OF_DOMAIN.items() if profile.host.endswith(domain)), "PUBLIC")
        ]
    said = profile.value("azure_environment").upper()
    name = said.removeprefix("AZURE").removesuffix("CLOUD") or "PUBLIC"
    if name not in CLOUDS:
        raise ConfigError(
            f"there is no Azure cloud {said} ({profile.origin('azure_environment')}); there are: {', '.join(CLOUDS)}",
            hint="unset ARM_ENVIRONMENT",
        )
    return CLOUDS[name]


def application(profile: Profile) -> str:
    """The id that Databricks has in Entra ID."""
    return next((app for domain, app in _APP_OF_DOMAIN.items() if profile.host.endswith(domain)), _APP)


def on_azure(profile: Profile, *, stored: bool = False) -> Profile:
    """The settings, if they or the host say that this is about Azure, and which workspace it is; else Unavailable.

    The host of a login counts only where the login says so (`stored`); a resource id names a workspace by itself.
    """
    if profile.value("azure_workspace_resource_id"):
        return profile if profile.is_host_set else profile.without_host()
    if not stored:
        profile.require_host()
    if profile.cloud != "AZURE":
        raise Unavailable(f"{profile.host} is not on Azure, and no setting says so (DATABRICKS_CLOUD)")
    return profile


def certificates(world: World) -> str | bool:
    """What azure-identity has to trust: the file that our own requests trust, else what it likes."""
    return world.env.get("REQUESTS_CA_BUNDLE") or world.env.get("SSL_CERT_FILE") or True


def tenant(profile: Profile, world: World) -> str:
    """The directory that the workspace belongs to: what the settings say, else what its login page says."""
    if said := profile.value("azure_tenant_id"):
        return said
    if profile.host:
        answer = world.http("GET", f"{profile.host}/aad/auth", budget=LOOK_BUDGET)
        if answer.busy:
            raise _busy(answer)
        target = answer.headers.get("location", "")
        found = target.removeprefix(hosts.origin(target)).partition("?")[0].split("/")[1:2]
        if 300 <= answer.status < 400 and hosts.origin(target) in _LOGIN_PAGES and found and found[0]:
            return found[0]
    raise ConfigError(
        "no setting says which Entra ID tenant it is, and the workspace does not tell",
        hint="export ARM_TENANT_ID=<the directory id>",
    )


def authority(profile: Profile, world: World) -> str:
    """Who gives tokens for this tenant, as a URL; AZURE_AUTHORITY_HOST names another one, as for Azure's own SDKs."""
    host = world.env.get("AZURE_AUTHORITY_HOST") or cloud(profile).authority
    host = host if "://" in host else f"https://{host}"
    if not hosts.origin(host).startswith("https://"):
        text = f"AZURE_AUTHORITY_HOST has to be an https URL: {one_line(host)}"
        raise ConfigError(text, hint="unset AZURE_AUTHORITY_HOST")
    return f"{host.rstrip('/')}/{tenant(profile, world)}"


def token(profile: Profile, world: World, auth_type: str, origin: str, ask: Ask) -> Token:
    """A token of `ask` for the workspace, with the headers that go beside it.

    A service principal proves with a second token that it may manage the resource, which lets it in where the
    workspace does not know it yet; people, whose tokens say `upn`, only need that beside a resource id. Where only the
    resource id is set, Azure is asked for the host.
    """
    resource_id = profile.value("azure_workspace_resource_id")
    host = profile.host or _host_of(resource_id, profile, ask, world)
    profile = profile.with_host(host)
    found = ask(application(profile))
    extra = {}
    if resource_id or not claims(found.token).get("upn"):
        try:
            extra["X-Databricks-Azure-SP-Management-Token"] = ask(cloud(profile).management).token
        except AuthError as error:  # whoever is known to the workspace needs no more than the first
            world.note(f"{auth_type}: no token for {cloud(profile).management}: {error}")
    if resource_id:
        extra["X-Databricks-Azure-Workspace-Resource-Id"] = resource_id
    return Token(found.token, found.expires_at, auth_type, origin, host, refreshable=True, extra=extra)


def _host_of(resource_id: str, profile: Profile, ask: Ask, world: World) -> str:
    """The host of a workspace, which Azure Resource Manager knows."""
    place = cloud(profile)
    if not re.fullmatch(r"(/[\w.()-]+)+", resource_id):
        raise ConfigError(
            f"this is not the resource id of a workspace: {one_line(resource_id)}",
            hint="export DATABRICKS_AZURE_RESOURCE_ID=/subscriptions/…/workspaces/<name>",
        )
    headers = {"Authorization": f"Bearer {ask(place.management).token}"}
    url = f"{place.resource_manager}{resource_id}?api-version=2018-04-01"
    answer = world.http("GET", url, headers=headers, budget=LOOK_BUDGET)
    if answer.busy:
        raise _busy(answer)
    body = answer.object() if answer.ok or answer.body.startswith(b"{") else {}
    if not answer.ok:
        error = body.get("error")
        said = one_line(error.get("message")) if isinstance(error, dict) else ""
        raise Refused(
            f"{place.resource_manager} does not tell the host of {resource_id}: {answer.status} {said}".rstrip(),
            hint="export DATABRICKS_HOST=https://<your workspace>",
        )
    properties = body.get("properties")
    name = properties.get("workspaceUrl") if isinstance(properties, dict) else None
    try:
        found = hosts.canonical(str(name or ""))
    except ConfigError:
        found = hosts.Host("")
    if not found.url or not hosts.is_databricks(found.url):
        raise Refused(
            f"{place.resource_manager} names no host for {resource_id}",
            hint="export DATABRICKS_HOST=https://<your workspace>",
        )
    return found.url


# ---- people, whose login we keep and renew ourselves -----------------------------------------------------------------

CLIENT_ID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""The Azure CLI's public client, which every tenant knows and which may ask for tokens of Databricks."""


def wanted(profile: Profile, world: World) -> Grant:
    """A grant of Entra ID with nothing in it yet."""
    scopes = (scope(application(profile)), "offline_access")
    return Grant(profile.host, client_id=CLIENT_ID, scopes=scopes, authority=authority(profile, world))


def with_device_code(wanted: Grant, world: World, show: Callable[[str], None], timeout: float) -> Grant:
    """Show a code that the person types on another device, and wait for that (RFC 8628).

    Raises LoginRequired when nobody types it within `timeout` seconds, Refused when somebody says no.
    """
    import msal

    asked = [each for each in wanted.scopes if each != "offline_access"]  # which msal adds by itself
    with _understood():
        client = msal.PublicClientApplication(
            wanted.client_id, authority=wanted.authority, http_client=Door(world), instance_discovery=False
        )
        flow = client.initiate_device_flow(asked)
        if "user_code" not in flow:
            raise aadsts.refusal(str(flow.get("error") or ""), str(flow.get("error_description") or ""))
        show(f"open this link on any device: {one_line(flow.get('verification_uri'))}")
        show(f"and type this code there: {one_line(flow['user_code'])}")
        flow["interval"] = max(1, int(flow.get("interval") or 5))  # without a pause msal would never look at the clock
        flow["expires_at"] = min(float(flow["expires_at"]), world.now() + timeout)
        sent = world.now()
        result = client.acquire_token_by_device_flow(flow)
    if result.get("error") in ("authorization_pending", "slow_down", "expired_token"):
        raise LoginRequired("nobody typed the code in time", hint=f"dbx-auth login {wanted.host}")
    found = answer_of(result, sent)
    refresh = str(result.get("refresh_token") or "")
    return replace(wanted, access=found.token, refresh=refresh, expires_at=found.expires_at)


def az_is_logged_in(world: World) -> bool:
    """Whether the Azure CLI is installed and somebody is logged in with it; reads its file, and starts nothing."""
    if not is_az_installed(world):
        return False
    folder = world.env.get("AZURE_CONFIG_DIR") or os.path.join(world.home, ".azure")
    try:
        with open(os.path.join(folder, "azureProfile.json"), encoding="utf-8-sig") as file:
            return bool(json.load(file)["subscriptions"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def is_az_installed(world: World) -> bool:
    return any(shutil.which(name, path=world.env.get("PATH", "")) for name in ("az", "az.cmd"))


# ---- service principals, through msal --------------------------------------------------------------------------------


def with_credential(profile: Profile, world: World, credential: str | Callable[[], str]) -> Ask:
    """Ask as a service principal: with a client secret, or with what makes an assertion in its place (RFC 7523)."""
    import msal

    place = authority(profile, world)
    with world.waiting(f"asking {place}", 30.0), _understood():
        client = msal.ConfidentialClientApplication(
            profile.value("azure_client_id"),
            client_credential=credential if isinstance(credential, str) else {"client_assertion": credential},
            authority=place,
            http_client=Door(world),
            instance_discovery=False,  # the tenant comes from our own settings or from the workspace
        )

    def ask(resource: str) -> Answer:
        asked = world.now()
        with world.waiting(f"asking {place}", 30.0), _understood():
            result = client.acquire_token_for_client([scope(resource)])
        return answer_of(result, asked, [credential] if isinstance(credential, str) else [])

    return ask


@contextmanager
def _understood() -> Iterator[None]:
    """What msal stumbles over in an answer, in our words."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        text = f"Entra ID answered with something that cannot be used: {type(error).__name__}"
        raise Refused(text, hint=aadsts.CHECK_ID) from error


def scope(resource: str) -> str:
    """A resource in the words of the second version of Entra's endpoints."""
    return f"{resource}/.default"


def answer_of(result: Mapping[str, Any], asked: float, secrets: Iterable[str] = ()) -> Answer:
    """The token in what msal brings, or the error that it means."""
    if found := result.get("access_token"):
        return Answer(str(found), asked + float(result.get("expires_in") or 3600))
    raise aadsts.refusal(str(result.get("error") or ""), str(result.get("error_description") or ""), secrets)


class Door:
    """Lets msal out through `world.http`, with its deadline, its proxies and its certificates."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Reply:
        answer = self._world.http("GET", url + (f"?{urlencode(params)}" if params else ""), headers=headers)
        if not answer.ok:  # msal says no more than that it did not work
            raise _refused_by(answer)
        return Reply(answer)

    def post(self, url: str, *, data: Any = None, headers: Mapping[str, str] | None = None, **rest: Any) -> Reply:
        form = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in dict(data or {}).items()}
        answer = self._world.http("POST", url, headers=headers, form=form)
        if answer.busy:
            raise _refused_by(answer)
        return Reply(answer)

    def close(self) -> None:
        """Nothing is kept open."""


class Reply:
    """An answer as msal wants to see it."""

    def __init__(self, answer: Response) -> None:
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = answer.body.decode(errors="replace")
        answer.object()  # a login page is no answer; msal would stumble over it in its own words

    def raise_for_status(self) -> None:
        """What is wrong is in the body, and is read there."""


def _refused_by(answer: Response) -> AuthError:
    try:
        body = answer.object()
    except Refused:
        body = {}
    said = aadsts.refusal(str(body.get("error") or answer.status), str(body.get("error_description") or ""))
    return _busy(answer) if answer.busy else said


def _busy(answer: Response) -> Temporary:
    return Temporary(f"{hosts.origin(answer.url)} answered {answer.status}", hint="try again in a while")


# ---- the Azure CLI and managed identities, through azure-identity ----------------------------------------------------


def with_identity(
    credential: TokenCredential, world: World, seconds: float, explain: Callable[[str], Exception]
) -> Ask:
    """Ask a credential of azure-identity, which takes so many seconds at most.

    `explain` makes our error of what it says when it could not even try.
    """
    import logging

    for name in ("azure", "msal", "urllib3"):
        logging.getLogger(name).addHandler(logging.NullHandler())  # they warn on stderr of what we tell in our words

    def ask(resource: str) -> Answer:
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
        from azure.identity import CredentialUnavailableError

        if world.offline:
            raise Refused("Azure was not asked, as --no-refresh says", hint="leave out --no-refresh")
        with world.waiting(f"asking Azure for {resource}", seconds):
            try:
                found = credential.get_token(scope(resource))
            except CredentialUnavailableError as error:
                raise explain(aadsts.words(str(error))) from error
            except (ClientAuthenticationError, HttpResponseError) as error:
                if "Unexpected output" in str(error):  # which would repeat what az printed
                    raise _no_token_of_az() from None
                raise explain(str(error)) from None
            except AzureError as error:
                raise Temporary(f"Azure did not answer: {type(error).__name__}", hint="try again in a while") from error
            except TypeError:  # az printed JSON, and not the JSON of a token
                raise _no_token_of_az() from None
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is not text"
                text = f"the file of AZURE_FEDERATED_TOKEN_FILE cannot be read: {why}"
                raise ConfigError(text, hint="look at what writes that file") from error
        return Answer(found.token, float(found.expires_on))

    return ask


def _no_token_of_az() -> Refused:
    return Refused("az printed something that is not a token", hint="az account get-access-token")
