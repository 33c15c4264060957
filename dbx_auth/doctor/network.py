"""The way to the host: proxies, whom to trust, and what time it is there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from dbx_auth import hosts, profile as profiles
from dbx_auth.errors import AuthError, ConfigError, Refused, Temporary
from dbx_auth.output import duration
from dbx_auth.world import World

from .access import blocked
from .findings import Finding, Given, counted, kind_of, note, ok, problem, warning

BUDGET = 5.0
"""Seconds for asking the host what time it is."""

CLOCK_OFF, CLOCK_WRONG = 30.0, 300.0
"""Seconds off from which a clock is worth a warning, and from which tokens are refused for it."""

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Which file says whom to trust; the first that is set does, see `world.Http`."""


def proxies(given: Given) -> Iterator[Finding]:
    """The proxies of the environment, as every request goes through them."""
    world, env = given.world, given.world.env
    found: list[Finding] = []
    for name in PROXIES:
        winner = name.lower() if name.lower() in env and world.platform != "win32" else name
        if env.get(winner):
            found.append(_proxy(winner, env[winner]))
        if winner != name and env.get(name, "") not in ("", env[winner]):
            found.append(note(f"{name} is passed over for {winner}", f"unset {winner}"))
    for name in ("no_proxy", "NO_PROXY"):
        if value := env.get(name):
            found.append(_no_proxy(name, value))
            break
    nothing = "no proxy is set; the system's own settings apply" if world.platform in ("darwin", "win32") else ""
    yield from found or [ok(nothing or "no proxy is set")]


def _proxy(name: str, value: str) -> Finding:
    import importlib.util

    import httpx

    hint = f"export {name}=http://proxy.example:8080   # or: unset {name}"
    url = value if "://" in value else f"http://{value}"
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        return problem(f"{name} cannot be used: its value is not the URL of a proxy", hint)
    reason = "" if re.fullmatch(r"[\w.-]+|[0-9a-f:.]+", proxy.url.host) else "it names no host"
    if "@" in url and not proxy.auth:  # what is before it would be taken for the host, and shown
        reason = "a / ? or # in its password has to be written as %2F %3F or %23"
    if not reason and proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        reason, hint = "SOCKS needs the library socksio", "pip install 'httpx[socks]'"
    if reason:
        return problem(f"{name} cannot be used: {reason}", hint)
    port = f":{proxy.url.port}" if proxy.url.port else ""
    host = f"[{proxy.url.host}]" if ":" in proxy.url.host else proxy.url.host
    return ok(f"{name}: {proxy.url.scheme}://{'***@' if proxy.auth else ''}{host}{port}")


_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?(/\d+)?"


def _no_proxy(name: str, value: str) -> Finding:
    import httpx

    for part in filter(None, map(str.strip, value.split(","))):
        try:
            httpx.URL(part if "://" in part else f"all://[{part}]" if re.fullmatch(_IPV6, part) else f"all://*{part}")
        except (ValueError, httpx.InvalidURL):
            return problem(f"{name} cannot be used: one of its parts is not the name of a host", f"unset {name}")
    return ok(f"{name}: {value}")


def certificates(given: Given) -> Iterator[Finding]:
    """Who is trusted to vouch for a host."""
    env = given.world.env
    winner = next((name for name in AUTHORITIES if env.get(name)), "")
    for name in AUTHORITIES:
        if not (path := env.get(name)):
            continue
        why, count = _authorities(path)
        hint = f"export {name}=/path/to/your/company-ca.pem   # or: unset {name}"
        if name != winner:
            also = f", and it cannot be used: {why}" if why else ""
            yield note(f"{name} is passed over for {winner}{also}", f"unset {name}")
        elif why:
            yield problem(f"{name} cannot be used: {given.world.shorten(path)}: {why}", hint)
        else:
            yield ok(f"{name}: {given.world.shorten(path)}, {counted(count, 'certificate')}")
            if not os.path.isabs(path):
                yield warning(f"{name} depends on the directory that you are in: {path}", hint)
    if folder := env.get("SSL_CERT_DIR"):
        if winner:
            yield note(f"SSL_CERT_DIR is passed over for {winner}", "unset SSL_CERT_DIR")
        elif not any(map(os.path.isdir, folder.split(os.pathsep))):
            yield warning(f"SSL_CERT_DIR is not a directory: {given.world.shorten(folder)}", "unset SSL_CERT_DIR")
        else:
            yield ok(f"SSL_CERT_DIR: {given.world.shorten(folder)}")
    elif not winner:
        yield ok("the certificates that the system trusts are trusted")


def _authorities(path: str) -> tuple[str, int]:
    """Why a file of certificates cannot be used, if so, and how many it holds."""
    import ssl

    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode):
            return f"it is {kind_of(mode)}, not a file", 0
        with open(path, "rb"):
            pass
    except OSError as error:
        return error.strerror or type(error).__name__, 0
    try:
        context = ssl.create_default_context(cafile=path)
    except OSError:
        return "it holds no certificate", 0
    return "", context.cert_store_stats()["x509"]


def clock(given: Given) -> Iterator[Finding]:
    """How far the clock is off: tokens and certificates are good for a time."""
    world = given.world
    host = "" if given.offline else _host(given)
    if not host:
        yield note(f"not compared with anybody's: {'--offline' if given.offline else 'no host is known'}")
        return
    try:
        asked = world.now()
        answer = world.http("GET", f"{host}/.well-known/databricks-config", budget=BUDGET)
        here = (asked + world.now()) / 2
    except Temporary as error:
        yield note(f"not compared: {error}", f"curl -sSI {host}")
        return
    except (Refused, ConfigError) as error:
        yield problem(str(error), error.hint)
        return
    there = _date(answer.headers.get("date", ""))
    if there is None:
        yield note(f"not compared: {host} does not say what time it is")
        return
    off = here - there
    direction = "ahead of" if off > 0 else "behind"
    text = f"{duration(abs(off))} {direction} that of {host}"
    if abs(off) >= CLOCK_WRONG:
        yield problem(f"the clock of this machine is {text}: tokens seem fresh or ended when they are not", _set(world))
    elif abs(off) > CLOCK_OFF:
        yield warning(f"the clock of this machine is {text}", _set(world))
    else:
        yield ok(f"{host} answers, and has the same time")


def _host(given: Given) -> str:
    if not blocked(given.world):
        with suppress(AuthError):
            return profiles.load(given.world, given.flags).host
    with suppress(AuthError):
        return hosts.canonical(given.flags.host or given.world.env.get("DATABRICKS_HOST", "")).url
    return ""


def _set(world: World) -> str:
    return {"darwin": "sudo sntp -sS time.apple.com", "win32": "w32tm /resync"}.get(
        world.platform, "sudo timedatectl set-ntp true"
    )


def _date(text: str) -> float | None:
    """An HTTP date in epoch seconds (RFC 9110, 5.6.7), None for anything else."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
