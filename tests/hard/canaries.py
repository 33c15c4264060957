"""Secrets that can be told apart, a machine that is full of them, and a search that finds each in any disguise.

planted = Planted(machine, workspace)
planted.plant()
result = planted.run(["status"], env)
assert planted.leaks(result) == []
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Self
from unittest import mock
from urllib.parse import parse_qs, parse_qsl, unquote_plus

import pytest
from machine import Machine, Result

from dbx_auth import cli
from dbx_auth.tokens import format_expiry
from dbx_auth.world import Http


class Canary:
    """A secret: `value` is what is planted, `core` the part of it that no encoding but a real one changes."""

    def __init__(self, name: str, before: str = "", after: str = "", core: str = "") -> None:
        self.name = name
        self.core = core or secrets.token_hex(16)
        self.value = f"{before}{self.core}{after}"
        middle = len(self.core) // 2
        self._forms = {form for half in (self.core[:middle], self.core[middle:]) for form in _forms(half)}

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def is_in(self, texts: Iterable[bytes]) -> bool:
        """Whether one half of it can be read in one of these texts, as it is or as base64 or in hexadecimal digits."""
        return any(form in text for text in texts for form in self._forms)


def _forms(half: str) -> Iterator[bytes]:
    data = half.encode()
    yield data
    yield data[::-1]
    yield data.hex().encode()
    for shift in range(3):  # what stands before it decides how its bits fall into letters
        letters = base64.b64encode(b"\0" * shift + data + b"\0\0")
        first, last = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        yield letters[first:last]
        yield letters[first:last].replace(b"+", b"-").replace(b"/", b"_")


def readings(text: bytes) -> list[bytes]:
    """A text as it is, and with percent signs, JSON's escapes and HTML's entities undone, and without its spaces."""
    plain = text.decode("utf-8", "replace")
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), plain)
    others = {unquote_plus(plain), unescaped, html.unescape(plain), "".join(plain.split())} - {plain}
    return [text.lower(), text, *(other.encode("utf-8", "replace") for other in others)]


def found(text: str | bytes, canaries: Iterable[Canary]) -> set[str]:
    """The names of those that can be read in this text."""
    data = readings(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return {canary.name for canary in canaries if canary.is_in(data)}


# ---- a workspace that repeats what it is told ------------------------------------------------------------------------


class Workspace:
    """A server at several addresses. `mode` is `good`, or the status with which it repeats every request it gets.

    In mode `good` it gives the tokens `access` and `refresh`; `posted` is what was sent to its token endpoint.
    """

    HOSTS = ("pat", "stored", "principal", "own", "own ended", "cli", "cli ended", "anybody")

    def __init__(self) -> None:
        self.mode = "good"
        self.access = Canary("a new access token", "eyJhbGciOiJub25lIn0.", ".x+/=")
        self.refresh = Canary("a new refresh token", "doar", "+/==")
        self.posted: list[dict[str, str]] = []
        self._servers = [_Server(("127.0.0.1", 0), _Handler) for _ in self.HOSTS]
        for server in self._servers:
            server.workspace = self
        self._threads = [Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in self._servers]
        ports = (server.server_address[1] for server in self._servers)
        self.urls = dict(zip(self.HOSTS, (f"http://127.0.0.1:{port}" for port in ports), strict=True))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if method == "POST":
            self.posted.append(dict(parse_qsl(body.decode())))
        if self.mode != "good":
            status, text = int(self.mode), body.decode()
            sent = " ".join(f"{name}={value}" for name, value in headers.items() if name != "Accept-Encoding")
            repeated = f"you sent {method} {path} {sent} {text} {dict(parse_qs(text))}"
            said = {"error_description": repeated, "message": repeated, "detail": repeated, "userName": repeated}
            return status, {"error": "invalid_request", "error_code": "BAD_REQUEST", **said}
        match method, path.partition("?")[0]:
            case "POST", "/oidc/v1/token":
                given = {"access_token": self.access.value, "token_type": "Bearer", "expires_in": 3600}
                return 200, {**given, "refresh_token": self.refresh.value}
            case "GET", "/api/2.0/preview/scim/v2/Me":
                return 200, {"userName": "alice@example.com"}
            case "GET", "/api/2.0/serving-endpoints":
                return 200, {"endpoints": [{"name": "databricks-claude-sonnet-4-5", "task": "llm/v1/chat"}]}
            case "GET", path if path.startswith("/metadata"):
                ends = int(time.time() + 3600)
                return 200, {"access_token": self.access.value, "token_type": "Bearer", "expires_on": ends}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    workspace: Workspace

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(OSError):
            status, said = self.server.workspace.answer(self.command, self.path, dict(self.headers), body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = _answer


# ---- a machine that is full of them ----------------------------------------------------------------------------------


class Setup(NamedTuple):
    """Which of the planted credentials a run stands on: variables, options, and what `token` gives."""

    env: Mapping[str, str | None]
    argv: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


class Planted:
    """A machine with a secret of its own in every place that can have one."""

    def __init__(self, machine: Machine, workspace: Workspace, capture: pytest.CaptureFixture[str]) -> None:
        self.machine, self.workspace, self._capture = machine, workspace, capture
        self.home, urls = machine.home, workspace.urls
        self.outside = machine.home.parent / "outside"
        self._known: dict[str, set[str]] = {}
        self.canaries: dict[str, Canary] = {c.name: c for c in (workspace.access, workspace.refresh)}
        new = self.new
        pat_env, pat_typed = new("PAT of the environment", "dapi"), new("PAT that is typed", "dapi")
        secret_typed = new("secret that is typed", "dose", "+/=")
        proxy, userinfo = new("password of the proxy", "p"), new("password in a URL", "u")
        metadata = new("path of the metadata service", "/metadata/")
        self.typed = {"pat": pat_typed.value + "\n", "m2m": f"an-id\n{secret_typed.value}\n"}
        self.userinfo = userinfo
        id_token = new("ID token of the environment", "eyJhbGciOiJub25lIn0.", ".c2ln").value
        self.env: dict[str, str] = {
            "DATABRICKS_TOKEN": pat_env.value,
            "DATABRICKS_USERNAME": "alice@example.com",
            "DATABRICKS_PASSWORD": new("password of the environment", "pass", " +/=").value,
            "DATABRICKS_CLIENT_ID": "an-id",
            "DATABRICKS_CLIENT_SECRET": new("client secret of the environment", "dose", "+/=").value,
            "ARM_CLIENT_ID": "an-azure-id",
            "ARM_TENANT_ID": "a-tenant",
            "ARM_CLIENT_SECRET": new("ARM client secret", "8Q~", "-._~").value,
            "DATABRICKS_OIDC_TOKEN": id_token,
            "DATABRICKS_OIDC_TOKEN_FILEPATH": str(self.outside / "id_token"),
            "DATABRICKS_METADATA_SERVICE_URL": urls["anybody"] + metadata.value,
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://x:{userinfo.value}@127.0.0.1:1/",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": new("request token of GitHub", "eyJ").value,
            "SYSTEM_ACCESSTOKEN": new("access token of Azure DevOps").value,
            "GOOGLE_CREDENTIALS": json.dumps({"private_key": new("key of Google", "-----BEGIN", "\n-----END").value}),
            "HTTPS_PROXY": f"http://someone:{proxy.value}@127.0.0.1:1",
            "https_proxy": f"http://someone:{proxy.value}@127.0.0.1:1",
            "NETRC": str(self.outside / "netrc"),
        }
        self.files: dict[Path, str] = {
            machine.config: self._profiles(urls),
            machine.auth_json: json.dumps(self._auth_json(urls), indent=2),
            machine.cli_cache: json.dumps(self._cache(urls), indent=2),
            self.home / ".config/dbx-auth/config.toml": f'[hosts."{urls["pat"]}"]\nbase_url = "{urls["anybody"]}/x"\n',
        }
        aside = {"id_token": new("ID token of a file", "eyJhbGciOiJub25lIn0.", ".c2ln").value}
        aside["netrc"] = f"machine 127.0.0.1 login x password {new('password of netrc').value}\n"
        for name, text in aside.items():
            machine.write(self.outside / name, text)
        self.setups = self._setups(urls)

    def new(self, name: str, before: str = "", after: str = "", core: str = "") -> Canary:
        self.canaries[name] = canary = Canary(name, before, after, core)
        return canary

    def _profiles(self, urls: Mapping[str, str]) -> str:
        new = self.new
        sections = {
            "PAT": {"host": urls["pat"], "token": new("PAT of a profile", "dapi", "+/=").value},
            "M2M": {
                "host": urls["anybody"],
                "client_id": "an-id",
                "client_secret": new("client secret of a profile", "dose", "+/=").value,
            },
            "BASIC": {"host": urls["anybody"], "username": "alice", "password": new("password of a profile").value},
            "AZURE": {
                "host": "https://adb-1.2.azuredatabricks.net",
                "azure_client_id": "an-azure-id",
                "azure_tenant_id": "a-tenant",
                "azure_client_secret": new("Azure client secret of a profile").value,
            },
            "URL": {"host": f"https://someone:{self.userinfo.value}@127.0.0.1", "auth_type": "pat"},
            "CLI": {"host": urls["cli"], "auth_type": "databricks-cli"},
            "LOOKUP": {
                "host": urls["anybody"],
                "discovery_url": f"https://x:{self.userinfo.value}@evil.example/",
                "client_id": "an-id",
                "client_secret": "not-so-secret",
            },
        }
        lines = (f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in s.items()) for name, s in sections.items())
        return "\n".join(lines)

    def _auth_json(self, urls: Mapping[str, str]) -> dict[str, Any]:
        new = self.new

        def oauth(host: str, seconds: float, kind: str) -> dict[str, Any]:
            return {
                "type": "oauth",
                "access": new(f"access token of auth.json{kind}", "", "-._~+/=").value,
                "refresh": new(f"refresh token of auth.json{kind}", "", "-._~+/=").value,
                "expires": round((time.time() + seconds) * 1000),
                "host": host,
            }

        return {
            "databricks": oauth(urls["own"], 3000, ""),
            f"databricks:{urls['own ended']}": oauth(urls["own ended"], -60, ", ended"),
            f"databricks:{urls['stored']}": {
                "type": "api",
                "key": new("key of auth.json", "dapi").value,
                "host": urls["stored"],
            },
            f"databricks:{urls['principal']}": {
                "type": "m2m",
                "client_id": "an-id",
                "client_secret": new("client secret of auth.json", "dose", "+/=").value,
                "host": urls["principal"],
            },
            "github": {"type": "api", "key": new("key of another tool").value},
        }

    def _cache(self, urls: Mapping[str, str]) -> dict[str, Any]:
        def entry(seconds: float, kind: str) -> dict[str, Any]:
            return {
                "access_token": self.new(f"access token of the CLI{kind}", "", "-._~+/=").value,
                "token_type": "Bearer",
                "refresh_token": self.new(f"refresh token of the CLI{kind}", "", "-._~+/=").value,
                "expiry": format_expiry(time.time() + seconds),
            }

        tokens = {urls["cli"]: entry(3000, ""), urls["cli ended"]: entry(-60, ", ended"), "CLI": {}}
        tokens["CLI"] = tokens[urls["cli"]]
        return {"version": 1, "tokens": tokens}

    def _setups(self, urls: Mapping[str, str]) -> dict[str, Setup]:
        new = ("a new access token",)

        def named(auth_type: str, host: str, *gives: str, **more: str | None) -> Setup:
            env = {"DATABRICKS_HOST": urls.get(host, host), "DATABRICKS_AUTH_TYPE": auth_type, **more}
            return Setup(env, (), gives)

        none = dict.fromkeys(("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"))
        evil = f"https://x:{self.userinfo.value}@evil.example/"
        return {
            "pat": named("pat", "pat", "PAT of the environment"),
            "basic": named("basic", "anybody", "password of the environment"),
            "oauth-m2m": named("oauth-m2m", "anybody", *new),
            "oauth-m2m, looked up elsewhere": named("oauth-m2m", "anybody", DATABRICKS_DISCOVERY_URL=evil),
            "oauth-m2m, kept": named("oauth-m2m", "principal", *new, **none),
            "stored": named("stored", "stored", "key of auth.json"),
            "databricks-cli, ours": named("databricks-cli", "own", "access token of auth.json", *new),
            "databricks-cli, ours, ended": named("databricks-cli", "own ended", *new),
            "databricks-cli": named("databricks-cli", "cli", "access token of the CLI", *new),
            "databricks-cli, ended": named("databricks-cli", "cli ended", *new),
            "metadata-service": named("metadata-service", "anybody", *new),
            "metadata-service, elsewhere": named("metadata-service", "anybody", DATABRICKS_METADATA_SERVICE_URL=evil),
            "env-oidc": named("env-oidc", "anybody", *new),
            "file-oidc": named("file-oidc", "anybody", *new),
            "github-oidc": named("github-oidc", "anybody"),
            "azure-client-secret": named("azure-client-secret", "https://adb-1.2.azuredatabricks.net"),
            "google-credentials": named("google-credentials", "https://1.2.gcp.databricks.com"),
            "a host with a password": Setup({"DATABRICKS_HOST": f"https://x:{self.userinfo.value}@127.0.0.1"}),
            "everything at once": Setup({"DATABRICKS_HOST": urls["anybody"]}, (), ("PAT of the environment",)),
            "profile PAT": Setup({}, ("-p", "PAT"), ("PAT of a profile",)),
            "profile M2M": Setup({}, ("-p", "M2M"), new),
            "profile BASIC": Setup({}, ("-p", "BASIC"), ("password of a profile",)),
            "profile AZURE": Setup({}, ("-p", "AZURE")),
            "profile URL": Setup({}, ("-p", "URL")),
            "profile CLI": Setup({}, ("-p", "CLI"), ("access token of the CLI", *new)),
            "profile LOOKUP": Setup({}, ("-p", "LOOKUP")),
        }

    # ---- what is done with it ----------------------------------------------------------------------------------------

    def plant(self) -> None:
        """Put everything where it was, and take away what runs have left."""
        shutil.rmtree(self.home)
        for path, text in self.files.items():
            self.machine.write(path, text)
        (self.home / "tmp").mkdir()

    def environment(self, setup: Setup) -> dict[str, str]:
        places = {"HOME": str(self.home), "TMPDIR": str(self.home / "tmp"), "PATH": str(self.home / "bin")}
        every = {**places, "BROWSER": "none", **self.env, **setup.env}
        return {name: value for name, value in every.items() if value is not None}

    def run(self, argv: Iterable[str], setup: Setup, stdin: str = "") -> Result:
        """One command in this process, with nothing between it and the real environment, stdin and signals."""
        self._capture.readouterr()
        with mock.patch.dict(os.environ, self.environment(setup), clear=True), _stdin(stdin):
            code = cli.run(list(argv))
        return Result(code, *self._capture.readouterr())

    def leaks(self, result: Result, allowed: Iterable[str] = (), *, stderr: Iterable[str] = ()) -> list[str]:
        """Where a secret came out: `allowed` may be on stdout, nothing on stderr but what is named for it."""
        every = self.canaries.values()
        said = [f"{name} on stdout" for name in sorted(found(result.out, every) - set(allowed))]
        said += [f"{name} on stderr" for name in sorted(found(result.err, every) - set(stderr))]
        if "Traceback" in result.err:
            said.append("a traceback on stderr")
        return said + self.left()

    def left(self) -> list[str]:
        """Where a secret lies in a file that is no store of it, or is in the name of a file."""
        every = self.canaries.values()
        files = list(_all_files([self.home, *runtime_directories()]))
        own = {name for name in self.canaries if name.startswith("a new ") or "typed" in name}
        suspects = [(f"the name of {path}", str(path).encode(), set[str]()) for path, _ in files]
        for path, data in files:
            store = path.with_name(path.name.partition(".damaged")[0])  # which `doctor --fix` may have moved aside
            before = self.files.get(store)
            if before is None or data != before.encode():
                may = self._planted_in(before) | own if before is not None else set()
                if store == self.machine.config:
                    may -= {name for name in own if name.startswith("a new ")}  # of a login, it holds what was typed
                suspects.append((str(path), data, may))
        unseen = b"\n".join(data for _, data, may in suspects if not may)
        if not found(unseen, every):  # which is quicker than to look at each
            suspects = [suspect for suspect in suspects if suspect[2]]
        return [
            f"{name} in {place.replace(str(self.home), '~')}"
            for place, data, may in suspects
            for name in sorted(found(data, every) - may)
        ]

    def _planted_in(self, text: str) -> set[str]:
        if text not in self._known:
            self._known[text] = found(text, self.canaries.values())
        return self._known[text]


def runtime_directories() -> list[Path]:
    """Where locks and journals may be that every HOME shares."""
    user = os.geteuid()
    return [Path(f"/run/user/{user}/dbx-auth"), Path(f"/tmp/dbx-auth-{user}")]


def _all_files(folders: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):  # another process may take away what it has put there
                if path.is_file():
                    yield path, path.read_bytes()


@contextmanager
def _stdin(text: str) -> Iterator[None]:
    """Let `text`, and then the end, come in on file descriptor 0."""
    before = os.dup(0)
    reader, writer = os.pipe()
    try:
        os.write(writer, text.encode())
        os.close(writer)
        os.dup2(reader, 0)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reader)


@contextmanager
def broken_http(error: type[BaseException] | BaseException | str) -> Iterator[None]:
    """Let every request end in an error; one that is a word carries all that the request was to carry."""

    def crash(self: Http, *args: object, **rest: object) -> Any:
        if isinstance(error, str):
            raise {"ValueError": ValueError, "KeyError": KeyError, "RuntimeError": RuntimeError}[error](args, rest)
        raise error

    with mock.patch.object(Http, "__call__", crash):
        yield
