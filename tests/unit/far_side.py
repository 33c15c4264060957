"""A far side that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from dbx_auth import endpoints, models
from dbx_auth.errors import AuthError
from dbx_auth.models import Model
from dbx_auth.store import Grant
from dbx_auth.world import Response, World

if TYPE_CHECKING:
    from dbx_auth.files import Draft

ME = "/api/2.0/preview/scim/v2/Me"
ENDPOINTS = "/api/2.0/serving-endpoints"
TOKEN = "/oidc/v1/token"

Reply = tuple[int, object] | Response | AuthError


class Asked(NamedTuple):
    """One request as it came through the door."""

    method: str
    path: str
    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str]
    budget: float


class FarSide:
    """Stands for `world.http`. Each path has a reply, or several that are given in turn, the last one for ever.

    Discovery finds nothing unless it is scripted; any other path that is not scripted fails the test.
    """

    def __init__(self, replies: Mapping[str, Reply | list[Reply]] | None = None) -> None:
        self._replies = {path: list(r) if isinstance(r, list) else [r] for path, r in (replies or {}).items()}
        self._lock = threading.Lock()
        self.asked: list[Asked] = []

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        budget: float = 30.0,
        limit: int = 1 << 20,
        shown: str = "",
    ) -> Response:
        path = urlsplit(url).path
        with self._lock:
            self.asked.append(Asked(method, path, url, headers or {}, form or {}, budget))
            replies = self._replies.get(path)
            reply: Reply = (404, "") if replies is None else replies[0] if len(replies) == 1 else replies.pop(0)
        assert replies or ".well-known" in path, f"nobody expected {method} {url}"
        if isinstance(reply, AuthError):
            raise reply
        if isinstance(reply, Response):
            return reply._replace(url=shown or url)
        status, body = reply
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        return Response(shown or url, status, {}, data)

    def posts(self) -> list[Mapping[str, str]]:
        """The forms that were sent."""
        return [asked.form for asked in self.asked if asked.method == "POST"]


def models_in(
    serving: object = None, foundation: object = None, gateway: object = None, unity: object = None
) -> list[Model]:
    """The models of a workspace that answers with these documents; any of them may be None or anything else."""
    return [models.described(row) for row in endpoints.merged(serving, foundation, gateway, unity)]


def never(method: str, url: str, **rest: object) -> NoReturn:
    """The network of a test in which nothing may be asked."""
    raise AssertionError(f"the network was asked: {method} {url}")


def for_requests(http: Callable[..., Response]) -> Callable[..., requests.Response]:
    """Stands for `HTTPAdapter.send`: what a library sends by `requests` goes to the same far side as our own."""

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **rest: object) -> requests.Response:
        try:
            answer = http(request.method, request.url, headers=request.headers, content=request.body)
        except AuthError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        body = io.BytesIO(answer.body)
        raw = urllib3.HTTPResponse(body, dict(answer.headers), answer.status, preload_content=False)
        return adapter.build_response(request, raw)

    return send


def put_az(folder: Path, *rules: tuple[str, int, str]) -> Path:
    """An `az` in `folder` that keeps what it is asked, one call a line, in the file that is returned.

    Each rule is a pattern of the shell for the whole call, the exit code, and what is said: on stdout where the code
    is 0, else on stderr. The first that fits counts; a call that fits none fails as only a broken test does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked, script = folder / "asked", folder / "az"
    asked.touch()
    cases = "".join(
        f"{pattern}) printf %s {shlex.quote(said)}{' >&2' if code else ''}; exit {code};;\n"
        for pattern, code, said in rules
    )
    script.write_text(f'#!/bin/sh\necho "$*" >> {shlex.quote(str(asked))}\ncase "$*" in\n{cases}esac\nexit 99\n')
    script.chmod(0o755)
    return asked


def on_path(folder: Path) -> str:
    """A PATH that begins with `folder`."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def jwt(**claims: object) -> str:
    """A token that says this, signed by nobody."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)] + [b"signature-s3cret"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class Clock:
    """Time that passes only where somebody sleeps; `asleep` is done at the end of each sleep."""

    def __init__(self, start: float = 1_700_000_000.0, asleep: Callable[[], object] = lambda: None) -> None:
        self.start = start
        self.passed = 0.0
        self.sleeps: list[float] = []
        self.asleep = asleep

    def now(self) -> float:
        return self.start + self.passed

    def monotonic(self) -> float:
        return 5000 + self.passed

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.passed += seconds
        self.asleep()

    def into(self, world: World) -> World:
        """The same world under this clock."""
        return world._replace(now=self.now, monotonic=self.monotonic, sleep=self.sleep)


class MemorySlot:
    """A place for a grant that counts what is done to it; its locks and its journal are in `folder`.

    `meanwhile` is done while somebody waits for the lock. The rest says what goes wrong, and where: `broken` when it is
    read, `stuck` when it is locked, `no_room` before anything is spent, `full` when it is written.
    """

    def __init__(
        self,
        grant: Grant | None,
        folder: Path = Path("/nonexistent"),
        origin: str = "memory",
        *,
        shared: bool = False,
        meanwhile: Callable[[MemorySlot], object] = lambda slot: None,
        broken: AuthError | None = None,
        stuck: AuthError | None = None,
        full: AuthError | None = None,
        no_room: AuthError | None = None,
    ) -> None:
        self.grant = grant
        self.origin = origin
        self.shared = shared
        self.meanwhile = meanwhile
        self.broken, self.stuck, self.full, self.no_room = broken, stuck, full, no_room
        self.done: list[str] = []
        self.waits: list[float] = []
        self.locks = (str(folder / "id.lock"), str(folder / "other" / "id.lock"))

    def read(self) -> Grant | None:
        self.done.append("read")
        if self.broken:
            raise self.broken
        return self.grant

    def refresh_locks(self) -> Sequence[str]:
        self.meanwhile(self)
        return self.locks

    @contextmanager
    def joined(self, wait: float) -> Iterator[None]:
        self.waits.append(wait)
        if self.stuck:
            raise self.stuck
        assert any(map(is_locked, self.locks)), "the store is locked before the identity"
        self.done.append("lock")
        try:
            yield
        finally:
            self.done.append("unlock")

    @contextmanager
    def room(self) -> Iterator[Draft | None]:
        self.done.append("room")
        if self.no_room:
            raise self.no_room
        yield cast("Draft", self.PLACE)

    PLACE = object()
    """Stands for the space that was reserved."""

    def write(self, spent: Grant, fresh: Grant, room: Draft | None = None) -> None:
        self.done.append("write" if room is self.PLACE else "write anywhere")
        assert self.done.count("lock") > self.done.count("unlock"), "written without the lock"
        if self.full:
            raise self.full
        if self.grant and self.grant.refresh == spent.refresh:
            self.grant = fresh


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock of this file."""
    import fcntl

    try:
        with open(path, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, IsADirectoryError):
        pass
    return False


@contextmanager
def taken(port: int, address: str = "127.0.0.1") -> Iterator[None]:
    """Somebody else listens on that port."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other:
        other.bind((address, port))
        other.listen()
        yield


def free_ports() -> range:
    """Ports of our own for the callback: 8020 to 8040 are shared by everybody on this machine.

    They lie below 32768, where the ports of clients begin.
    """
    while True:
        found = range(port := random.randrange(20_000, 32_000), port + 21)
        with suppress(OSError), taken(found[0]), taken(found[0], "::1"):
            return found


def parsed(text: str) -> Any:
    """The one JSON document that `text` is, up to its final newline."""
    assert text.endswith("\n")
    return json.loads(text)
