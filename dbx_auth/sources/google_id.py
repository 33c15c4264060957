"""google-id: a Google service account that the login of this machine may act as."""

import json
import warnings
from typing import Any
from urllib.parse import quote

from dbx_auth import gcp
from dbx_auth.errors import LoginRequired
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World, one_line

from . import Keeper

_ACCOUNTS = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"

needs = ("google_service_account", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new ID token for the workspace each time, made for the service account that is impersonated.

    Who we are to begin with is what Google calls application default credentials: a file, the login of gcloud, or the
    metadata server of the machine.
    """
    gcp.require(profile)
    auth = gcp.library()
    from google.auth import exceptions, impersonated_credentials

    account, login = profile.value("google_service_account"), "gcloud auth application-default login"
    if not gcp.is_known(world):
        raise LoginRequired("Google knows nobody on this machine", hint=login)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants a quota project, for calls that we do not make
            source, _ = auth.default(scopes=gcp.SCOPES, request=gcp.Door(world))
    except exceptions.GoogleAuthError as error:
        raise LoginRequired(f"Google knows nobody on this machine: {one_line(str(error))}", hint=login) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LoginRequired("Google's login file on this machine cannot be understood", hint=login) from error
    access = impersonated_credentials.Credentials(source, target_principal=account, target_scopes=gcp.SCOPES)
    origin = profile.origin("google_service_account")
    return gcp.token(profile, world, "google-id", origin, _id_token(source, account, profile.host), gcp.of(access))


def _id_token(source: Any, account: str, host: str) -> gcp.Asks:
    """Ask for an ID token in the name of the service account. google-auth would do it through a door of its own.

    https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken
    """
    from google.auth import exceptions

    def ask(door: gcp.Door) -> str:
        source.refresh(door)
        reply = door(
            f"{_ACCOUNTS}/{quote(account, safe='@')}:generateIdToken",
            "POST",
            json.dumps({"audience": host, "includeEmail": True}),
            {"Authorization": f"Bearer {source.token}", "Content-Type": "application/json"},
        )
        if reply.status != 200:
            said = json.loads(reply.data)["error"] if reply.data.startswith(b"{") else {}
            text = said.get("message") if isinstance(said, dict) else said
            raise exceptions.RefreshError(f"it answered {reply.status}: {text}")
        return str(json.loads(reply.data)["token"])

    return ask
