"""Starts `server.mjs` for a test and asks it what happened."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Self, TypedDict

import httpx

HERE = Path(__file__).parent
START_TIMEOUT = 30


def installed() -> bool:
    """Whether Node is here and `npm ci` has been run in this folder."""
    return shutil.which("node") is not None and (HERE / "node_modules" / "oidc-provider").is_dir()


class Login(TypedDict):
    access_token: str
    refresh_token: str
    expires_in: int


class Grants(TypedDict):
    """The token requests so far: those that have arrived, those that succeeded, and why the others did not."""

    code: int
    refresh: int
    refresh_ok: int
    errors: list[str]


class OidcProvider:
    """A workspace at `url` whose logins are alice's; each token request is delayed before and after it takes effect."""

    url: str
    process: subprocess.Popen[str]

    def __init__(
        self, *, access_token_ttl: int = 3600, delay_before_ms: int = 0, delay_after_ms: int = 0, port: int = 0
    ) -> None:
        self._options = {
            "accessTokenTtl": access_token_ttl,
            "delayBeforeMs": delay_before_ms,
            "delayAfterMs": delay_after_ms,
            "port": port,
        }
        # A machine's proxy has no way to our loopback, and a storm on two cores can keep any answer waiting.
        self._http = httpx.Client(trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [shutil.which("node") or "node", HERE / "server.mjs"],
            env={**os.environ, "OIDC_PROVIDER_OPTIONS": json.dumps(self._options)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        too_late = threading.Timer(START_TIMEOUT, self.process.kill)
        too_late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            too_late.cancel()
        if not line:
            self.stop()
            raise RuntimeError(f"oidc-provider did not start: exit code {self.process.returncode}")
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server; from then on `url` refuses connections."""
        self._http.close()
        # Closing its stdin would not do: a child that the test forked may hold the other end as well.
        with self.process:
            self.process.terminate()

    def login(self) -> Login:
        """A new session of alice's, as if she had just logged in."""
        tokens: Login = self._http.post(f"{self.url}/_test/login").raise_for_status().json()
        return tokens

    def renews(self, refresh_token: str) -> bool:
        """Whether the session that this refresh token is of goes on with it; it is spent."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "databricks-cli"}
        return self._http.post(f"{self.url}/oidc/v1/token", data=form).is_success

    def grants(self) -> Grants:
        grants: Grants = self._http.get(f"{self.url}/_test/grants").raise_for_status().json()
        return grants

    def senders(self, refresh_token: str) -> list[str]:
        """The User-Agent of each request that came with this refresh token."""
        query = {"refresh_token": refresh_token}
        senders: list[str] = self._http.get(f"{self.url}/_test/senders", params=query).raise_for_status().json()
        return senders

    def me(self, access_token: str) -> int:
        """The status with which the workspace answers a holder of this access token: 200 or 401."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._http.get(f"{self.url}/api/2.0/preview/scim/v2/Me", headers=headers).status_code
