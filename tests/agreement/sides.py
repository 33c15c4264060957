"""The two sides: the official SDK and dbx-auth, asked in this process on the same machine.

The SDK is not changed in anything that decides: its requests reach `wire` below the `requests` library, its commands
reach `stubs` below `subprocess`, and the environment and the files are those of the state. So thousands of machines
take seconds.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import requests
from databricks.sdk.config import Config
from urllib3 import HTTPResponse

from dbx_auth import profile as profiles, resolve
from dbx_auth.errors import AuthError
from dbx_auth.profile import Flags
from dbx_auth.world import Response, World

from . import go, stubs, wire
from .answer import CONFLICT, FAILED, NOTHING, OK, UNUSABLE, Answer
from .state import How, State

_NO_ROLE = "does not support group role assumption"


class Bench:
    """Where the two sides are asked, one state after the other."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._laid: tuple[State | None, dict[str, str]] = (None, {})
        self._heard: tuple[State | None, dict[str, Answer]] = (None, {})
        stubs.install(folder / "bin")

    def official(self, state: State) -> Answer:
        """What the Python SDK answers; with a `walk`, what its strategies answer one by one."""
        named = state.settings.get("auth_type", "")
        if not state.how.walk and not named:
            return self._sdk(state)
        failed = Answer(error=NOTHING)
        if named and (answer := self._sdk(state)).error not in (OK, NOTHING, FAILED):
            return answer
        for auth_type in (named,) if named else state.how.walk:
            answer = self._strategy(state, auth_type)
            if answer.error not in (NOTHING, FAILED):
                return answer
            if answer.error == FAILED:
                failed = answer
                if auth_type in state.how.final:
                    break
        return failed

    def _strategy(self, state: State, auth_type: str) -> Answer:
        """What one strategy says: Python's, but for the little in which `how` says that it is not to be asked."""
        how, own_host = state.how, go.site(state.host)
        if auth_type in how.fails:
            return Answer(error=FAILED)
        if auth_type in how.declines:
            return Answer(error=NOTHING)
        if auth_type in how.as_go:
            return _at(own_host, go.answer(state, auth_type), how)
        if auth_type == "databricks-cli" and how.no_group:
            state = state.map_setting("group_id", lambda _: "")
        if auth_type == "databricks-cli" and how.no_account:
            state = state.say(account_id="-")
        if auth_type in ("azure-cli", "azure-client-secret", "github-oidc-azure") and how.azure_host:
            state = state.map_setting("host", lambda _: how.azure_host)
            if auth_type == "github-oidc-azure":
                state = state.say(host=how.azure_host)
        before, heard = self._heard
        asked = replace(state, how=How())
        if before != asked:
            heard = {}
            self._heard = asked, heard
        if auth_type not in heard:
            heard[auth_type] = self._sdk(state.say(auth_type=auth_type))
            if _NO_ROLE in heard[auth_type].said and "auth_type" not in state.settings:
                heard[auth_type] = Answer(error=NOTHING)  # what it says in its own chain
        return _at(own_host, heard[auth_type], how)

    def _sdk(self, state: State) -> Answer:
        machine = replace(state, said={}, how=How())
        before, env = self._laid
        if before != machine:  # the SDK writes no files
            env = state.lay(self._home)
            self._laid = machine, env
        said: dict[str, Any] = {name: value.replace("{home}", str(self._home)) for name, value in state.said.items()}
        with self._machine(env):
            try:
                config = Config(**said)
                kind, _, value = config.authenticate()["Authorization"].partition(" ")
            except Exception as error:
                return Answer(error=_sdk_error(error), said=f"{type(error).__name__}: {error}")
        return Answer(config.auth_type or "", config.host or "", f"{kind} {value}")

    def ours(self, state: State) -> Answer:
        """What dbx-auth answers."""
        self._laid = None, {}
        env = state.lay(self._home)
        flags = Flags(**{name: value for name, value in state.said.items() if name in Flags._fields})
        # On Linux, and without a session bus in its environment, nobody asks the keyring of whoever runs the tests.
        world = World(env=env, home=str(self._home), platform="linux", http=_http, warn=lambda text: None)
        with self._machine(env):
            try:
                found = profiles.load(world, flags)
                token, error, attempts = resolve.resolve(found, world)
            except AuthError as raised:
                return Answer(error=UNUSABLE, said=f"{type(raised).__name__}: {raised}")
        if token:
            return Answer(token.auth_type, token.host, f"{token.token_type} {token.value}")
        word = FAILED if any(attempt.outcome == "failed" for attempt in attempts) else NOTHING
        return Answer(error=word, said=f"{type(error).__name__}: {error}")

    @contextmanager
    def _machine(self, env: Mapping[str, str]) -> Iterator[None]:
        """This process stands for one on the state's machine."""
        # Nobody answers for the metadata server of Google's own machines, and its library would wait for it.
        env = {**env, "NO_GCE_CHECK": "true"}
        before = set(threading.enumerate())
        logging.disable()
        try:
            with (
                mock.patch.dict(os.environ, env, clear=True),
                mock.patch("requests.adapters.HTTPAdapter.send", _send),
                mock.patch("subprocess.run", _run),
            ):
                yield
                for thread in set(threading.enumerate()) - before:
                    if thread.daemon:  # Google's library asks for more behind our back, and may not get outside
                        thread.join(5)
        finally:
            logging.disable(logging.NOTSET)


def _at(own_host: str, answer: Answer, how: How) -> Answer:
    """The answer with the host that was asked about, where another one stood for it."""
    if answer.error:
        return answer
    return answer._replace(host=(own_host if own_host and how.azure_host else answer.host) + how.port)


def _sdk_error(error: Exception) -> str:
    text = str(error)
    if "more than one authorization method" in text:
        return CONFLICT
    if "cannot configure default credentials" in text:
        return NOTHING
    before_any_strategy = (
        "resolve:",
        "is a reserved section",
        "account_id is required",
        "File contains no",
        "While reading",
        "Source contains",
    )
    return UNUSABLE if any(words in text for words in before_any_strategy) else FAILED


def _send(adapter: object, request: requests.PreparedRequest, **rest: object) -> requests.Response:
    body = request.body or ""
    text = body.decode() if isinstance(body, bytes) else str(body)
    said = wire.answer(request.method or "", request.url or "", {k: str(v) for k, v in request.headers.items()}, text)
    response = requests.Response()
    response.status_code, response.request, response.url = said.status, request, request.url or ""
    response.headers.update({"Content-Type": "application/json", **said.headers})
    response.raw = HTTPResponse(BytesIO(said.data), response.headers, said.status, preload_content=False)
    return response


def _http(method: str, url: str, **rest: Any) -> Response:
    form = rest.get("form")
    body = urlencode(form) if form else (rest.get("content") or b"").decode()
    said = wire.answer(method, url, rest.get("headers") or {}, body)
    return Response(url, said.status, {k.lower(): v for k, v in said.headers.items()}, said.data)


def _run(argv: Sequence[str], **rest: Any) -> subprocess.CompletedProcess[Any]:
    found = shutil.which(argv[0], path=os.environ["PATH"])
    if found is None:
        raise FileNotFoundError(argv[0])
    code, *said = stubs.answer(Path(found).parent.name, argv[1:], os.environ)
    as_text = rest.get("text") or rest.get("encoding") or rest.get("universal_newlines")
    out, err = said if as_text else (each.encode() for each in said)
    if code and rest.get("check"):
        raise subprocess.CalledProcessError(code, argv, out, err)
    return subprocess.CompletedProcess(argv, code, out, err)
