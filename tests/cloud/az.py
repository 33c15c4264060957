"""A stand-in for the Azure CLI: an `az` on PATH that says what the real one says, and keeps what it was asked."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from .entra import DATABRICKS, LIFE, PUBLIC, Entra

SCRIPT = """#!{python} -IS
import argparse, json, os, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "argv"), "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
with open(os.path.join(folder, "az.json")) as file:
    mode = json.load(file)
time.sleep(mode["sleep"])

def fail(text, code=1):
    sys.stderr.write("ERROR: " + text + "\\n")
    sys.exit(code)

if mode["fail"]:
    fail(mode["fail"])
if mode["garbage"]:
    print(mode["garbage"])
    sys.exit(0)
parser = argparse.ArgumentParser(prog="az", allow_abbrev=False)
parser.add_argument("command", choices=["account"])
parser.add_argument("verb", choices=["show", "get-access-token"])
parser.add_argument("--output", "-o", choices=["json"], required=True)
parser.add_argument("--resource")
parser.add_argument("--scope")
parser.add_argument("--tenant", "-t")
parser.add_argument("--subscription", "-s")
asked = parser.parse_args()
account = mode["account"]
if asked.subscription and asked.subscription not in mode["subscriptions"]:
    fail(f"Subscription '{{asked.subscription}}' not found. Check the spelling and casing and try again.")
if asked.verb == "show":
    print(json.dumps(account, indent=2))
    sys.exit(0)
if asked.tenant and asked.subscription:
    fail("Please specify only one of subscription and tenant, not both")
if asked.tenant and account["user"]["name"].endswith("AssignedIdentity"):
    fail("Tenant shouldn't be specified for managed identity account")
if asked.tenant and asked.tenant != account["tenantId"]:
    fail(f"AADSTS90002: Tenant '{{asked.tenant}}' not found. Check to make sure you have the correct tenant ID. "
         "Trace ID: 0a0a Correlation ID: 0b0b Timestamp: 2025-11-22 10:00:00Z")
resource = asked.resource or (asked.scope or "").removesuffix("/.default")
token = mode["tokens"].get(resource.rstrip("/"))
if token is None:
    fail(f"AADSTS500011: The resource principal named {{resource}} was not found in the tenant named Contoso.")
local = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.localtime(mode["expires_on"]))
body = {{"accessToken": token, "expiresOn": local, "expires_on": mode["expires_on"],
        "subscription": account["id"], "tenant": account["tenantId"], "tokenType": "Bearer"}}
if mode["old"]:
    del body["expires_on"]
print(json.dumps(body, indent=2))
"""


class Az:
    """The Azure CLI of a machine. `mode` is what `az.json` holds; a keyword of `set` changes one value of it."""

    def __init__(self, folder: Path, entra: Entra) -> None:
        self.folder = folder
        self.entra = entra
        folder.mkdir(parents=True)
        script = folder / "az"
        script.write_text(SCRIPT.format(python=sys.executable))
        script.chmod(0o755)
        self.env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        self.mode: dict[str, Any] = {
            "sleep": 0.0,
            "fail": "",
            "garbage": "",
            "old": False,
            "subscriptions": ["sub-1"],
            "expires_on": int(time.time() + LIFE),
        }
        self.log_in(entra.upn)

    def set(self, **mode: Any) -> None:
        self.mode |= mode
        (self.folder / "az.json").write_text(json.dumps(self.mode))

    def log_in(self, name: str, *, principal: bool = False, management: bool = True) -> None:
        """Who `az` speaks for; without `management` it may not have a token for the resource manager."""
        resources = [DATABRICKS, *([PUBLIC.management.rstrip("/")] if management else [])]
        made = (lambda r: self.entra.app_token(name, r)) if principal else self.entra.user_token
        self.set(
            account={
                "environmentName": "AzureCloud",
                "id": "sub-1",
                "tenantId": PUBLIC.tenant,
                "state": "Enabled",
                "user": {"name": name, "type": "servicePrincipal" if principal else "user"},
            },
            tokens={resource: made(resource) for resource in resources},
        )

    def log_out(self) -> None:
        self.set(fail="Please run 'az login' to setup account.")

    @property
    def asked(self) -> list[list[str]]:
        """The arguments of every call."""
        log = self.folder / "argv"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
