"""The ID tokens that a CI gives its jobs: who the job is, signed by the CI, for an audience of our choice.

They are traded for a token of Databricks (`oauth.exchange_token`) or of Entra ID, so that a job needs no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from . import hosts
from .errors import ConfigError, Refused, Temporary, Unavailable
from .tokens import is_one_word
from .world import Response, World

GITHUB = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
AZURE_DEVOPS = (
    "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
    "SYSTEM_TEAMPROJECTID",
    "SYSTEM_PLANID",
    "SYSTEM_JOBID",
    "SYSTEM_HOSTTYPE",
    "SYSTEM_ACCESSTOKEN",
)

BUDGET = 10.0
"""Seconds for asking the CI."""


def github(world: World, audience: str) -> str:
    """The ID token of a GitHub Actions job.

    Raises Unavailable outside of one, and in one without `permissions: id-token: write`.
    https://docs.github.com/en/actions/reference/security/oidc
    """
    url, key = _all_of(world, GITHUB)
    _check(url, "ACTIONS_ID_TOKEN_REQUEST_URL")
    url += ("&" if "?" in url else "?") + f"audience={quote(audience, safe='')}"
    with world.waiting("asking GitHub for an ID token", BUDGET):
        answer = world.http("GET", url, headers={"Authorization": f"Bearer {key}"}, budget=BUDGET)
    return _given(answer, "value", "GitHub", "give the job `permissions: id-token: write`")


def require_github(world: World) -> None:
    """Raise Unavailable unless this is a GitHub Actions job that may ask for an ID token; nobody is asked."""
    _all_of(world, GITHUB)


def require_azure_devops(world: World) -> None:
    """Raise Unavailable unless this is an Azure Pipelines job that may ask for an ID token; nobody is asked."""
    _all_of(world, AZURE_DEVOPS)


def azure_devops(world: World) -> str:
    """The ID token of an Azure Pipelines job; its audience is always that of Entra ID.

    Raises Unavailable outside of one, and where the job does not hand its access token on.
    https://learn.microsoft.com/en-us/rest/api/azure/devops/distributedtask/oidctoken/create
    """
    collection, project, plan, job, kind, key = _all_of(world, AZURE_DEVOPS)
    _check(collection, "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI")
    url = (
        f"{collection.rstrip('/')}/{quote(project)}/_apis/distributedtask/hubs/{quote(kind)}"
        f"/plans/{quote(plan)}/jobs/{quote(job)}/oidctoken?api-version=7.2-preview.1"
    )
    with world.waiting("asking Azure DevOps for an ID token", BUDGET):
        answer = world.http("POST", url, headers={"Authorization": f"Bearer {key}"}, form={}, budget=BUDGET)
    return _given(answer, "oidcToken", "Azure DevOps", "map SYSTEM_ACCESSTOKEN: $(System.AccessToken) into the step")


def _all_of(world: World, names: Sequence[str]) -> list[str]:
    missing = [name for name in names if not world.env.get(name)]
    if missing:
        raise Unavailable("not set: " + ", ".join(missing))
    return [world.env[name] for name in names]


def _check(url: str, name: str) -> None:
    if not is_one_word(url) or not (url.startswith("https://") or hosts.is_loopback(url.partition("?")[0])):
        raise ConfigError(f"{name} is not a URL that starts with https://", hint=f"unset {name}")


def _given(answer: Response, field: str, who: str, hint: str) -> str:
    if answer.busy:
        raise Temporary(f"{who} answered {answer.status}", hint="try again in a while")
    if not answer.ok:
        raise Refused(f"{who} gave no ID token: it answered {answer.status}", hint=hint)
    found = answer.object().get(field)
    if not isinstance(found, str) or not is_one_word(found):
        raise Refused(f"{who} answered without an ID token", hint=hint)
    return found
