"""The emulated cloud: everything outside that a source of tokens talks to, under its real names.

A program is led there with what any program honours: a proxy, a CA file, and for the metadata addresses of Azure the
environment of the Azure SDK. A probe inside its interpreter refuses and records every way around that.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from .az import Az
from .azure import ManagedIdentity, ResourceManager
from .databricks import ACCOUNT_ID, ACCOUNTS, Databricks
from .entra import Entra
from .google import Google
from .mint import Mint
from .pipelines import AzureDevOps, GitHub
from .wire import Answer, Misbehaviour, Reply, Request, Wire, reply

PROBE = """
import errno, socket, sys
LOG, LOOPBACK = {log!r}, ("127.0.0.1", "::1", "localhost", "", None)

def watch(event, args):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        return
    where = args[0] if event == "socket.getaddrinfo" else args[1]
    name = where[0] if isinstance(where, tuple) else where
    name = name.decode() if isinstance(name, bytes) else name
    if name in LOOPBACK or (isinstance(name, str) and name.startswith("/")):
        return
    with open(LOG, "a") as file:
        file.write(str(name) + chr(10))
    if event == "socket.getaddrinfo":
        raise socket.gaierror(socket.EAI_NONAME, "the probe knows no names")
    raise OSError(errno.ENETUNREACH, "the probe leads nowhere")

sys.addaudithook(watch)
"""


class Cloud:
    """A context manager; `env` is what a program needs to find it, `log` all that it was asked."""

    def __init__(self, folder: Path) -> None:
        self.log: list[Request] = []
        self.mint = Mint()
        self.entra = Entra(self.mint)
        self.arm = ResourceManager(self.entra)
        self.identity = ManagedIdentity(self.entra)
        self.databricks = Databricks(self.mint)
        self.github = GitHub(self.mint)
        self.azure_devops = AzureDevOps(self.mint)
        self.google = Google(self.mint)
        self.az = Az(folder / "bin", self.entra)
        self._overrides: list[tuple[str, Reply | Callable[[Request], Reply]]] = []
        self._services = (
            self.entra,
            self.arm,
            self.identity,
            self.databricks,
            self.github,
            self.azure_devops,
            self.google,
        )
        self._wire = Wire(self._serve)
        self.url = self._wire.url
        self.folder = folder
        self._probe = folder / "probe"
        self._probe.mkdir()
        (self._probe / "sitecustomize.py").write_text(PROBE.format(log=str(self._probe / "log")))
        ca = folder / "ca.pem"
        self._wire.ca.cert_pem.write_to_path(str(ca))
        proxies = {name: self.url for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")}
        direct = {name: "127.0.0.1,localhost" for name in ("NO_PROXY", "no_proxy")}
        trust = {"SSL_CERT_FILE": str(ca), "REQUESTS_CA_BUNDLE": str(ca)}
        self.env = {**proxies, **direct, **trust, "PYTHONPATH": str(self._probe)}

    def __enter__(self) -> Self:
        self._wire.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.stop()

    def override(self, route: str, answer: Reply | Callable[[Request], Reply]) -> None:
        """Let a route (host and path, with `*` for anything) answer otherwise; what is said last is asked first."""
        self._overrides.insert(0, (route, answer))

    def asked(self, route: str = "*") -> list[Request]:
        """The requests so far whose host and path fit."""
        return [request for request in self.log if fnmatchcase(request.route, route)]

    @property
    def escapes(self) -> list[str]:
        """Every name and address, but loopback, that a program with `env` tried to reach by itself."""
        log = self._probe / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def secrets(self) -> list[str]:
        """What nobody may repeat: every secret there is, and what every token starts with."""
        databricks, app = self.databricks, self.entra.app
        return [
            databricks.pat,
            databricks.password,
            databricks.client_secret,
            databricks.metadata_path,
            app.secret,
            app.expired_secret,
            self.identity.secret,
            self.github.request_token,
            self.azure_devops.access_token,
            *self.google.key_file["private_key"].splitlines(),
            "eyJ",
            "doau",
        ]

    def browse(self, url: str, *, follow: bool = True) -> httpx.Response:
        """The page that a browser ends at, which may well be on this machine; or the first answer."""
        with httpx.Client(
            proxy=self.url,
            mounts={"all://localhost": None},
            verify=ssl.create_default_context(cafile=self.env["SSL_CERT_FILE"]),
            follow_redirects=follow,
            trust_env=False,
        ) as browser:
            return browser.get(url)

    def holder(self, host: str, headers: Mapping[str, str]) -> str:
        """Who the workspace takes the holder of these headers for; what it says otherwise, when it is nobody."""
        names = {name.lower(): value for name, value in headers.items()}
        path = f"/api/2.0/accounts/{ACCOUNT_ID}/scim/v2/Me" if host == ACCOUNTS else "/api/2.0/preview/scim/v2/Me"
        found = self._answer(Request("GET", host.removeprefix("https://"), path, {}, names, {}, b""))
        if found.status == 200 and found.headers["Content-Type"] == "application/json":
            return str(Request("", "", "", {}, {}, {}, found.body).json()["userName"])
        return f"{found.status} {found.body.decode()}"

    def _serve(self, request: Request) -> Reply:
        self.log.append(request)
        for route, answer in self._overrides:
            if fnmatchcase(request.route, route):
                return answer if isinstance(answer, (Answer, Misbehaviour)) else answer(request)
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        for service in self._services:
            if (answer := service.answer(request)) is not None:
                return answer
        return reply({"error_code": "ENDPOINT_NOT_FOUND", "message": f"nothing at {request.route}"}, 404)
