"""Canonical hosts: what a person may type, and which hosts belong to Databricks."""

from __future__ import annotations

import re
from typing import NamedTuple

from .errors import ConfigError
from .tokens import is_one_word

_LABEL = r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?"
_URL = re.compile(
    rf"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?P<port>:[0-9]{{1,5}})?"
    rf"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_LOOPBACK = re.compile(r"localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\]")

DOMAINS = {
    ".azuredatabricks.net": "AZURE",
    ".databricks.azure.us": "AZURE",
    ".databricks.azure.cn": "AZURE",
    ".gcp.databricks.com": "GCP",
    ".databricks.com": "AWS",
    ".databricks.us": "AWS",
}
"""The domains of Databricks, and the cloud that a host in them runs in; the first that fits counts.

Every suffix starts with a dot, so that `evil-azuredatabricks.net` is nobody's. A company's own unified host is
directly in databricks.com. https://github.com/databricks/databricks-sdk-go, common/environment
"""


class Host(NamedTuple):
    """A workspace or account, as `https://name[:port]`, and the ids that stood in the URL's query."""

    url: str
    workspace_id: str = ""
    account_id: str = ""


def canonical(text: str) -> Host:
    """The host that `text` means: scheme and name only, lower case.

    A missing scheme is https; http is for loopback only. `?o=` and `?w=` give the workspace id, `?a=` the account
    id; a trailing `/serving-endpoints` is dropped. Raises ConfigError for anything else.
    """
    wanted = "a host is https:// and a name, such as https://adb-1234567890123456.7.azuredatabricks.net"
    if "@" in text:  # and not a word of it is repeated
        raise ConfigError("the host holds a user name or a password, which is no way to log in", hint=wanted)
    if any(c.isspace() or not c.isprintable() for c in text.strip()):
        raise ConfigError(f"the host holds white space or a control character: {text!r}", hint=wanted)
    match = _URL.fullmatch(text.strip().lower())
    if match is None or not _can_exist(match["name"], match["port"] or ""):
        # A token that somebody took for the host is not repeated either.
        secret = len(text) > 100 or ("." not in text and len(text) > 20) or text.lower().startswith("eyj")
        raise ConfigError(f"this is not a host: {f'{len(text)} characters' if secret else repr(text)}", hint=wanted)
    scheme, name = match["scheme"] or "https", match["name"] + (match["port"] or "")
    if scheme != "https" and not (scheme == "http" and is_loopback(f"http://{name}")):
        raise ConfigError(f"the host must use https: {scheme}://{name}", hint=f"use https://{name}")
    if (match["path"] or "/").rstrip("/") not in ("", "/serving-endpoints") or match["fragment"]:
        raise ConfigError(f"the host has a path: {text.strip()}", hint=f"use {scheme}://{name}")
    query = _query(text.strip()) if match["query"] else {}
    return Host(f"{scheme}://{name}", query.get("w") or query.get("o") or "", query.get("a", ""))


def _can_exist(name: str, port: str) -> bool:
    """Whether a name that looks like one is within what DNS, IP and TCP allow."""
    if port and not 0 < int(port[1:]) < 65536:
        return False
    if name[0] == "[" or name.rpartition(".")[2].isdigit():
        import ipaddress

        try:
            ipaddress.IPv6Address(name[1:-1]) if name[0] == "[" else ipaddress.IPv4Address(name)
        except ValueError:
            return False
    return len(name) <= 253 and all(len(label) <= 63 for label in name.split("."))


def _query(text: str) -> dict[str, str]:
    """The ids in a query; a value that no id has is not one. Their case is kept, so this reads the text as typed."""
    from urllib.parse import parse_qsl

    return {name: value for name, value in parse_qsl(text.partition("?")[2]) if re.fullmatch(r"[\w-]+", value, re.A)}


def is_loopback(url: str) -> bool:
    match = _URL.fullmatch(url)
    return match is not None and _LOOPBACK.fullmatch(match["name"]) is not None


def is_account(url: str) -> bool:
    """Whether this is a classic account console, which serves accounts and no workspace."""
    return url.startswith(("https://accounts.", "https://accounts-dod."))


def origin(url: str) -> str:
    """The scheme, name and port of a URL, lower case; empty for what is none that a request could go to."""
    match = _URL.fullmatch(url.lower()) if is_one_word(url) else None
    return f"{match['scheme']}://{match['name']}{match['port'] or ''}" if match and match["scheme"] else ""


def _name(url: str) -> str:
    return origin(url).partition("://")[2].partition(":")[0]


def cloud(url: str) -> str:
    """The cloud that a host runs in, from its name: AZURE, GCP or, as for any other name, AWS."""
    return next((cloud for domain, cloud in DOMAINS.items() if _name(url).endswith(domain)), "AWS")


def is_databricks(url: str) -> bool:
    """Whether this is https in a domain of Databricks."""
    return url.lower().startswith("https://") and _name(url).endswith(tuple(DOMAINS))


def trusts(host: str, url: str) -> bool:
    """Whether a login for `host` may be sent to `url`, an address that the host itself named.

    The host's own origin always; otherwise https in a Databricks domain, and only when the host is in one too.
    """
    return bool(url) and (origin(url) == host or (is_databricks(url) and is_databricks(host)))
