"""The metadata service of Databricks' SDKs, as they ask it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from machine import HOST, OTHER

from dbx_auth import metadata
from dbx_auth.tokens import Token

NOW = 1_700_000_000.5
TOKEN = Token("s3cret", NOW + 1800, "databricks-cli", "a file", HOST)


def asked(version: str | None = "1", host: str | None = HOST) -> dict[str, str]:
    given = {"x-databricks-metadata-version": version, "x-databricks-host": host}
    return {name: value for name, value in given.items() if value is not None}


def test_who_knows_the_address_has_the_token_and_its_end() -> None:
    status, body = metadata.reply(asked(), TOKEN, NOW)
    assert (status, body) == (200, {"access_token": "s3cret", "token_type": "Bearer", "expires_on": 1_700_001_800})
    assert '"expires_on": 1700001800}' in json.dumps(body), "a whole number, which all of them read"


def test_the_end_is_never_later_than_it_is() -> None:
    _, body = metadata.reply(asked(), replace(TOKEN, expires_at=NOW + 0.4), NOW)
    assert body["expires_on"] == 1_700_000_000


def test_a_token_without_an_end_is_asked_for_again_in_a_while() -> None:
    _, body = metadata.reply(asked(), replace(TOKEN, expires_at=None), NOW)
    assert body["expires_on"] == int(NOW + metadata.LASTING)


@pytest.mark.parametrize("host", [HOST, HOST + "/", HOST.upper(), HOST + "//"])
def test_the_host_may_be_written_in_any_way(host: str) -> None:
    assert metadata.reply(asked(host=host), TOKEN, NOW).status == 200


@pytest.mark.parametrize("version", [None, "", "0", "2", "1.0", " 1", "01"])
def test_another_version_is_refused(version: str | None) -> None:
    status, body = metadata.reply(asked(version=version), TOKEN, NOW)
    assert status == 400 and "X-Databricks-Metadata-Version: 1" in body["error_description"]
    assert "s3cret" not in json.dumps(body)


@pytest.mark.parametrize("host", [None, "", OTHER, HOST + ".evil.example", HOST.replace("https", "http"), HOST[8:]])
def test_another_host_is_refused(host: str | None) -> None:
    status, body = metadata.reply(asked(host=host), TOKEN, NOW)
    assert status == 404 and HOST in body["error_description"] and "s3cret" not in json.dumps(body)
