"""The Databricks CLI of today as far as tokens in a file go: it takes no lock. `databricks auth token -p NAME`.

Written after databricks-sdk-go (credentials/u2m) and the CLI (libs/auth/storage), and it shares no code with ours: a
token with less than five minutes left is renewed, the whole file is replaced from what the CLI's types can hold, and
the file is looked at again only when it could not be written, never when the server refused.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

EARLY = 300.0
LOOKS_AFTER_A_FAILED_WRITE = (0, 0.025, 0.05, 0.1, 0.2)
FIELDS = ("access_token", "token_type", "refresh_token", "expiry", "expires_in")
HTTP_TIMEOUT = 30.0

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """What ends the CLI with exit code 1."""


class OfficialCli:
    def __init__(self, home: str, host: str, now: Callable[[], float] = time.time) -> None:
        self._path = os.path.join(home, ".databricks", "token-cache.json")
        self._host = host
        self._now = now

    def token(self, key: str) -> str:
        """The access token that it prints. Raises Failed."""
        held = self._load().get(key)
        if held is None:
            raise Failed("cache: databricks OAuth is not configured for this host")
        if self._life(held) > EARLY:
            return str(held["access_token"])
        try:
            fresh = self._renewed(held)
        except Failed:
            if self._life(held) > 0:
                return str(held["access_token"])
            raise
        try:
            self._put(key, fresh)
        except OSError as error:
            return self._of_a_faster_process(key, held, fresh, error)
        return str(fresh["access_token"])

    def _life(self, entry: dict[str, Any]) -> float:
        return datetime.fromisoformat(entry["expiry"]).timestamp() - self._now()

    def _load(self) -> dict[str, dict[str, Any]]:
        with open(self._path, encoding="utf-8") as file:
            data = json.load(file)
        if data["version"] != 1:
            raise Failed(f"needs version 1, got version {data['version']}")
        return {
            key: {field: entry[field] for field in FIELDS if field in entry} for key, entry in data["tokens"].items()
        }

    def _renewed(self, held: dict[str, Any]) -> dict[str, Any]:
        endpoints = self._ask(f"{self._host}/oidc/.well-known/oauth-authorization-server")
        asked_at = self._now()
        answer = self._ask(
            endpoints["token_endpoint"],
            {"grant_type": "refresh_token", "refresh_token": held["refresh_token"], "client_id": "databricks-cli"},
        )
        expiry = datetime.fromtimestamp(asked_at + answer["expires_in"], UTC).astimezone().isoformat()
        return {
            "access_token": answer["access_token"],
            "token_type": answer["token_type"],
            "refresh_token": answer.get("refresh_token") or held["refresh_token"],
            "expiry": expiry,
            "expires_in": answer["expires_in"],
        }

    def _ask(self, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with _OPENER.open(url, data, HTTP_TIMEOUT) as answer:
                body: dict[str, Any] = json.load(answer)
                return body
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(f"token refresh: {error.read().decode()}") from error
        except OSError as error:
            raise Failed(f"token refresh: {error}") from error

    def _put(self, key: str, fresh: dict[str, Any]) -> None:
        data = {"version": 1, "tokens": {**self._load(), key: fresh}}
        handle, temporary = tempfile.mkstemp(prefix=".token-cache-", suffix=".tmp", dir=os.path.dirname(self._path))
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=2)
            os.chmod(temporary, 0o600)
            os.rename(temporary, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _of_a_faster_process(self, key: str, held: dict[str, Any], ours: dict[str, Any], error: OSError) -> str:
        for pause in LOOKS_AFTER_A_FAILED_WRITE:
            time.sleep(pause)
            theirs = self._load().get(key, held)
            changed = theirs["access_token"] != held["access_token"] and self._life(theirs) > 0
            if changed and abs(self._life(theirs) - self._life(ours)) < 60:
                return str(theirs["access_token"])
        raise Failed(f"cache update: {error}") from error
