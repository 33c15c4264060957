"""What Entra ID refuses with: its codes, what they mean, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import AuthError, LoginRequired, Refused, Temporary
from .world import masked, one_line

_SECRET = "make a new client secret in the app registration, and export ARM_CLIENT_SECRET"
CHECK_ID = "check ARM_CLIENT_ID and ARM_TENANT_ID"
_FEDERATION = "check the federated credential of the app registration: issuer, subject and audience"
MEANINGS = {
    "7000222": ("the client secret has expired", _SECRET),
    "7000215": ("the client secret is wrong; it is the secret's value that is wanted, not its id", _SECRET),
    "7000216": ("no client secret or assertion came with the request", _SECRET),
    "7000112": ("the application is disabled in this tenant", "enable it in Entra ID, Enterprise applications"),
    "700016": ("no application of this id is in the tenant", CHECK_ID),
    "90002": ("there is no tenant of this name", "check ARM_TENANT_ID"),
    "900023": ("the tenant is neither an id nor a domain", "check ARM_TENANT_ID"),
    "500011": ("the tenant does not know Azure Databricks; it is another tenant than the workspace's", CHECK_ID),
    "500341": ("the account has been removed from the tenant", CHECK_ID),
    "50020": ("the account is not in the workspace's tenant", "az login --tenant <the workspace's tenant>"),
    "50034": ("the account is not in the workspace's tenant", "az login --tenant <the workspace's tenant>"),
    "50076": ("the tenant wants a second factor", "az login --tenant <the workspace's tenant>"),
    "50079": ("the tenant wants a second factor", "az login --tenant <the workspace's tenant>"),
    "50173": ("the password has changed since the login", "az login"),
    "53003": ("a conditional access policy of the tenant blocks it", "ask the tenant's administrator"),
    "65001": ("nobody has consented to the application", "ask the tenant's administrator"),
    "65004": ("the person declined", "dbx-auth login --force"),
    "70008": ("the login has ended", "az login, or dbx-auth login --force"),
    "700082": ("the login has not been used for too long", "az login, or dbx-auth login --force"),
    "70021": ("no federated credential fits the ID token", _FEDERATION),
    "700211": ("no federated credential has the ID token's issuer", _FEDERATION),
    "700212": ("no federated credential has the ID token's audience", _FEDERATION),
    "700213": ("no federated credential has the ID token's subject", _FEDERATION),
    "700024": ("the ID token has expired", "run it again; the job's ID token lives for minutes"),
}
"""The codes that people meet, what they mean, and what to do.

https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes
"""


def refusal(error: str, description: str, secrets: Iterable[str] = ()) -> AuthError:
    """The error that Entra ID's answer means: its code, what the code means, and its own words without the trace."""
    said = words(description, secrets)
    code = re.search(r"AADSTS(\d+)", description)
    meaning, hint = MEANINGS.get(code[1] if code else "", ("", ""))
    who = "Entra ID refused" if code or error else "Azure gave no token"
    text = ": ".join(filter(None, (who, meaning, said or one_line(error))))
    if error in ("temporarily_unavailable", "server_error"):
        return Temporary(text, hint="try again in a while")
    if error in ("interaction_required", "login_required") or hint.startswith("az login"):
        return LoginRequired(text, hint=hint or "az login")
    return Refused(text, hint=hint or CHECK_ID)


def words(description: str, secrets: Iterable[str] = ()) -> str:
    """What was said, without what tells people nothing or too much."""
    return one_line(masked(re.split(r"\s*(?:Trace ID|Content):", description)[0], secrets)).rstrip(". ")
