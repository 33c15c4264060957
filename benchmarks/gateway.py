"""What the gateway costs beside the workspace itself, and beside two others that stand in the same place.

    python -P benchmarks/gateway.py [--litellm /tmp/litellm/bin/litellm] [--nginx /usr/sbin/nginx] [--requests 10000]

(`-P`, because benchmarks/token.py would stand in for a module of Python's.)

One run, one machine, one upstream: a small server that gives each chat the same answer, at once. It is asked directly,
through `dbx-auth serve`, through LiteLLM's proxy and through nginx as a plain reverse proxy, in turn. Prints for each
how much later a small chat and the first event of a stream come, how many requests a second pass over 64 connections,
and what memory and descriptors do over 10,000 requests; exits 1 when ours is above a limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

MODEL = "databricks-claude-sonnet-4-5"
KEY = "sk-the-key-of-a-benchmark-0000000000"
PATH = "/v1/chat/completions"
AT_ONCE = 64
SAMPLES = 10
"""How often memory is looked at on the way."""

START = 120.0
"""Seconds that a proxy may take to start; LiteLLM imports a lot."""


# ---- the upstream ----------------------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
HEAD = {"id": "chatcmpl-1", "created": 1_759_000_000, "model": MODEL}
SAID = {"index": 0, "message": {"role": "assistant", "content": "what there is to say"}, "finish_reason": "stop"}
ANSWER = json.dumps({**HEAD, "object": "chat.completion", "choices": [SAID], "usage": USAGE}).encode()
PLACES = json.dumps(
    {
        "endpoints": [
            {"name": MODEL, "task": "llm/v1/chat", "state": {"ready": "READY", "config_update": "NOT_UPDATING"}}
        ]
    }
).encode()


def _chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    event = b"data: " + json.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


WHOLE, LIST = _whole(ANSWER), _whole(PLACES)
EVENTS = [_chunk(text) for text in ("what ", "there ", "is ", "to say")]
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + EVENTS[0]
DONE = b"data: [DONE]\n\n"
ENDED = b"".join([*EVENTS[1:], _chunk("", "stop"), b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE)])

BETWEEN = 0.02
"""Seconds from the first event of a stream to the others, so that who collects them is seen to."""


class Upstream(asyncio.Protocol):
    """The least that can be called a workspace."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (request := _taken(self._held)) is not None:
            self._held = self._held[len(request) :]
            if request.startswith(b"GET"):
                self._transport.write(LIST)
            elif b'"stream":true' in request.replace(b" ", b""):
                self._transport.write(BEGUN)
                asyncio.get_running_loop().call_later(BETWEEN, self._transport.write, ENDED)
            else:
                self._transport.write(WHOLE)


def _taken(held: bytes) -> bytes | None:
    """The first request, once the whole of it is there."""
    head, found, _ = held.partition(b"\r\n\r\n")
    if not found:
        return None
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    end = len(head) + 4 + (int(lengths[0]) if lengths else 0)
    return held[:end] if len(held) >= end else None


async def _upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


# ---- the client ------------------------------------------------------------------------------------------------------


class Took(NamedTuple):
    """Seconds to the first byte of the body, and to its end."""

    first: float
    whole: float


class Caller(asyncio.Protocol):
    """One connection that asks again and again; as little as possible of what is measured is its own work."""

    _told: asyncio.Future[Took] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[Took]:
        self._held, self._first, self._began = b"", 0.0, time.perf_counter()
        self._told = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._told

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found or not self._told or self._told.done():
            return
        if not self._first and body:
            self._first = time.perf_counter()
        lowered = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lowered:
            over = body.endswith(b"0\r\n\r\n")
        else:
            over = len(body) >= int(lowered.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        if not head.startswith(b"HTTP/1.1 200"):
            self._told.set_exception(RuntimeError(self._held[:500].decode(errors="replace")))
        elif over:
            self._told.set_result(Took(self._first - self._began, time.perf_counter() - self._began))

    def connection_lost(self, error: Exception | None) -> None:
        if self._told and not self._told.done():
            self._told.set_exception(ConnectionError("it closed the connection"))

    def close(self) -> None:
        self._transport.close()


async def connected(url: str) -> Caller:
    parts = urlsplit(url)
    place = parts.hostname or "", parts.port or 80
    _, caller = await asyncio.get_running_loop().create_connection(Caller, *place)
    return caller


def request(url: str, stream: bool = False) -> bytes:
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "say it"}],
        **({"stream": True} if stream else {}),
    }
    body = json.dumps(asked).encode()
    lines = (
        f"POST {PATH} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


async def one_by_one(urls: dict[str, str], calls: int, stream: bool) -> dict[str, list[Took]]:
    """Each in turn, so that whatever else the machine does is shared by all.

    No more than two at a time: who waits for the turns of many is found asleep, with cold caches.
    """
    callers = {name: await connected(url) for name, url in urls.items()}
    asked = {name: request(url, stream) for name, url in urls.items()}
    for name, caller in callers.items():
        for _ in range(20):
            await caller.ask(asked[name])
    took: dict[str, list[Took]] = {name: [] for name in urls}
    for _ in range(calls):
        for name, caller in callers.items():
            took[name].append(await caller.ask(asked[name]))
    for caller in callers.values():
        caller.close()
    return took


async def flood(url: str, calls: int, told: Callable[[int], None] = lambda done: None) -> float:
    """Requests a second over 64 connections; `told` after each tenth of them."""
    raw, done = request(url), 0
    callers = [await connected(url) for _ in range(AT_ONCE)]

    async def go_on(caller: Caller) -> None:
        nonlocal done
        while done < calls:
            done += 1
            if not done % max(1, calls // SAMPLES):
                told(done)
            await caller.ask(raw)

    began = time.perf_counter()
    await asyncio.gather(*map(go_on, callers))
    took = time.perf_counter() - began
    for caller in callers:
        caller.close()
    return calls / took


# ---- what stands between ---------------------------------------------------------------------------------------------


class Running(NamedTuple):
    url: str
    process: subprocess.Popen[str]

    def family(self) -> list[int]:
        """The process and those it started."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def resident(self) -> int:
        """Kilobytes."""
        return sum(_resident(pid) for pid in self.family())

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.family())


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@contextlib.contextmanager
def running(argv: list[str], env: dict[str, str] | None = None, url: str = "") -> Iterator[Running]:
    """A server that says its address on its first line, or one that was told where to listen."""
    out = subprocess.DEVNULL if url else subprocess.PIPE
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(argv, env={**kept, **(env or {})}, stdout=out, stderr=subprocess.DEVNULL, text=True)
    try:
        if not url:
            assert process.stdout
            url = process.stdout.readline().strip()
        yield Running(url, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def free_port() -> int:
    """For servers that cannot say which one they took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ours(upstream: str, home: Path) -> contextlib.AbstractContextManager[Running]:
    env = {"DATABRICKS_HOST": upstream, "DATABRICKS_TOKEN": "t", "HOME": str(home), "DBX_AUTH_GATEWAY_KEY": KEY}
    return running([sys.executable, "-P", "-m", "dbx_auth", "serve", "--quiet"], env)


def litellm(program: str, upstream: str, home: Path) -> contextlib.AbstractContextManager[Running]:
    """One worker, as ours is one, and nothing kept or logged."""
    params = {"model": f"openai/{MODEL}", "api_base": f"{upstream}/v1", "api_key": "t"}
    config = home / "litellm.json"  # which is YAML, too
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": MODEL, "litellm_params": params}],
                "general_settings": {"master_key": KEY},
                "litellm_settings": {"telemetry": False, "num_retries": 0},
            }
        )
    )
    port = free_port()
    argv = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    return running(argv, env, f"http://127.0.0.1:{port}")


def nginx(program: str, upstream: str, home: Path) -> contextlib.AbstractContextManager[Running]:
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(
        f"""
        worker_processes 1; daemon off; pid {home}/nginx.pid; error_log /dev/null;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
            uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
            keepalive_requests 1000000;
            upstream workspace {{ server {urlsplit(upstream).netloc}; keepalive {AT_ONCE}; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://workspace; proxy_http_version 1.1; proxy_buffering off;
                    proxy_set_header Connection ""; proxy_set_header Authorization "Bearer t";
                }}
            }}
        }}
        """
    )
    return running([program, "-p", str(home), "-c", str(config)], url=f"http://127.0.0.1:{port}")


async def ready(server: Running) -> None:
    """Once it has answered; RuntimeError when it never does."""
    began, last = time.monotonic(), "nothing came back"
    while time.monotonic() - began < START and server.process.poll() is None:
        try:
            caller = await connected(server.url)
            try:
                await asyncio.wait_for(caller.ask(request(server.url)), 20)
                return
            finally:
                caller.close()
        except (OSError, RuntimeError, TimeoutError) as error:
            last = str(error) or last
            await asyncio.sleep(0.2)
    raise RuntimeError(f"{server.process.args!r} does not answer: {last}")


# ---- what is measured ------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """Of what stands between: milliseconds more than without it, requests a second, kilobytes, descriptors.

    `slope` is in kilobytes for 1,000 requests, over the second half of them; what is kept for good has been taken by
    then. `left` is how many descriptors are open at the end that were not before.
    """

    p50: float
    p99: float
    first: float
    rate: float
    resident: int
    slope: float
    left: int


def milliseconds(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def slope(points: list[tuple[int, int]]) -> float:
    """Kilobytes for 1,000 requests."""
    requests, resident = zip(*points, strict=True)
    return statistics.linear_regression(requests, resident).slope * 1000


async def settled(server: Running) -> int:
    """How many descriptors are open when it has done with the connections of before."""
    for _ in range(20):
        before = server.descriptors()
        await asyncio.sleep(0.5)
        if server.descriptors() == before:
            break
    return server.descriptors()


def after(took: dict[str, list[Took]], name: str, percent: int, of: str) -> float:
    """Milliseconds by which a call comes later than without what stands between."""
    there, direct = ([getattr(each, of) for each in took[who]] for who in (name, "direct"))
    return milliseconds(there, percent) - milliseconds(direct, percent)


async def measured(servers: dict[str, Running], direct: str, calls: int, requests: int) -> dict[str, Measured]:
    print(f"direct: {await flood(direct, requests):.0f} requests a second, which is all that this client can do\n")
    found = {}
    for name, server in servers.items():
        pair = {"direct": direct, name: server.url}
        whole = await one_by_one(pair, calls, stream=False)
        streams = await one_by_one(pair, calls // 4, stream=True)
        added = after(whole, name, 50, "whole"), after(whole, name, 99, "whole"), after(streams, name, 50, "first")
        await flood(server.url, AT_ONCE * 8)  # so that every connection it will ever have has been made
        before, points = await settled(server), list[tuple[int, int]]()
        rate = await flood(server.url, requests, lambda done: points.append((done, server.resident())))  # noqa: B023
        left = await settled(server) - before
        found[name] = Measured(*added, rate, server.resident(), slope(points[len(points) // 2 :]), left)
    return found


LINE = "{:<18}{:>10}{:>10}{:>14}{:>12}{:>10}{:>16}{:>12}"


def table(found: dict[str, Measured]) -> None:
    print(LINE.format("", "p50 +ms", "p99 +ms", "1st event +ms", "requests/s", "MB", "kB/1,000", "descriptors"))
    for name, m in found.items():
        numbers = (f"{m.p50:.2f}", f"{m.p99:.2f}", f"{m.first:.2f}", f"{m.rate:.0f}", f"{m.resident / 1024:.0f}")
        print(LINE.format(name, *numbers, f"{m.slope:+.0f}", f"{m.left:+d}"))


class Limit(NamedTuple):
    what: str
    is_held: bool


def limits(found: dict[str, Measured], options: argparse.Namespace) -> list[Limit]:
    mine = found["dbx-auth serve"]
    held = [
        Limit(f"a small chat is {mine.p50:.2f} ms later (at most {options.most})", mine.p50 <= options.most),
        Limit(
            f"the first event is {mine.first:.2f} ms later (at most {options.most_first})",
            mine.first <= options.most_first,
        ),
        Limit(
            f"memory grows by {mine.slope:.0f} kB in 1,000 requests (at most {options.most_growth})",
            mine.slope <= options.most_growth,
        ),
        Limit(f"{mine.left} descriptors are left open (at most 0)", mine.left <= 0),
    ]
    if theirs := found.get("LiteLLM"):
        times = mine.rate / theirs.rate
        held.append(
            Limit(f"{times:.1f} times the throughput of LiteLLM (at least {options.least})", times >= options.least)
        )
    return held


async def run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(running([sys.executable, "-P", __file__, "--upstream"])).url
        servers = {"dbx-auth serve": stack.enter_context(ours(upstream, home))}
        if options.litellm:
            servers["LiteLLM"] = stack.enter_context(litellm(options.litellm, upstream, home))
        if options.nginx:
            servers["nginx"] = stack.enter_context(nginx(options.nginx, upstream, home))
        for server in servers.values():
            await ready(server)
        found = await measured(servers, upstream, options.calls, options.requests)
    table(found)
    print()
    held = limits(found, options)
    for limit in held:
        print(f"{'ok  ' if limit.is_held else 'FAIL'}  {limit.what}")
    for name, is_there in (("LiteLLM", options.litellm), ("nginx", options.nginx)):
        if not is_there:
            print(f"      {name} was not measured: --{name.lower()} PROGRAM")
    return int(not all(limit.is_held for limit in held))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--litellm", default="", metavar="PROGRAM", help="pip install 'litellm[proxy]', in its own venv"
    )
    parser.add_argument("--nginx", default=shutil.which("nginx") or "", metavar="PROGRAM")
    parser.add_argument("--calls", type=int, default=1000, help="one after the other, of each")
    parser.add_argument("--requests", type=int, default=10_000, help="over 64 connections, of each")
    parser.add_argument("--most", type=float, default=3.0, help="milliseconds that a call may come later")
    parser.add_argument("--most-first", type=float, default=2.0, help="milliseconds for the first event of a stream")
    parser.add_argument("--most-growth", type=float, default=50.0, help="kB in 1,000 requests: what a page or two make")
    parser.add_argument("--least", type=float, default=5.0, help="times LiteLLM's throughput")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work: Callable[[], Awaitable[int | None]] = _upstream if options.upstream else lambda: run(options)
    return asyncio.run(_awaited(work)) or 0


async def _awaited(work: Callable[[], Awaitable[int | None]]) -> int | None:
    return await work()


if __name__ == "__main__":
    sys.exit(main())
