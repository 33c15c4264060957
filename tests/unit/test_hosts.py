"""What a person may type as a host, what we make of it, and which addresses a login may be sent to."""

from __future__ import annotations

import string
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given, settings, strategies as st

from dbx_auth import hosts
from dbx_auth.errors import ConfigError
from dbx_auth.hosts import Host, canonical, is_account, is_loopback, trusts

AZURE = "https://adb-1234567890123456.7.azuredatabricks.net"
AWS = "https://dev.cloud.databricks.com"

# ---- canonical hosts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("x", "https://x"),
        ("abc.def/", "https://abc.def"),
        ("https://h", "https://h"),
        ("https://h/", "https://h"),
        ("https://h//", "https://h"),
        ("HTTPS://A.B", "https://a.b"),  # the Python SDK keeps the case of the name, and then finds no login for it
        ("ADB-1.2.AzureDatabricks.NET", "https://adb-1.2.azuredatabricks.net"),
        ("https://h:8443/", "https://h:8443"),
        ("h:8443", "https://h:8443"),
        ("https://[::1]:443", "https://[::1]:443"),  # the Python SDK makes `https://[` of it
        ("[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://my_workspace.example", "https://my_workspace.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        (f"  {AWS}\n", AWS),  # copied with the end of its line
        (f"{AWS}/serving-endpoints", AWS),  # the base URL that model clients are given
        (f"{AWS}/serving-endpoints/", AWS),
        (f"{AWS}/Serving-Endpoints", AWS),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://LOCALHOST/", "http://localhost"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://127.8.9.10", "http://127.8.9.10"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("localhost:8080", "https://localhost:8080"),  # only who writes http:// gets http
    ],
)
def test_a_host_is_a_scheme_and_a_name(typed: str, url: str) -> None:
    assert canonical(typed) == Host(url)


@pytest.mark.parametrize(
    ("query", "workspace_id", "account_id"),
    [
        ("?o=123", "123", ""),
        ("?w=my-Conn", "my-Conn", ""),  # ids keep their case
        ("?o=123&w=456", "456", ""),  # as the Go SDK: w before o
        ("?w=&o=123", "123", ""),
        ("?a=0d26daa6-5e44-4c97-a497-ef015f91254a", "", "0d26daa6-5e44-4c97-a497-ef015f91254a"),
        ("?o=1&a=2", "1", "2"),
        ("?theme=dark", "", ""),
        ("?", "", ""),
        ("?o=", "", ""),
    ],
)
@pytest.mark.parametrize("path", ["", "/", "/serving-endpoints"])
def test_ids_come_from_the_query_that_a_browser_shows(
    path: str, query: str, workspace_id: str, account_id: str
) -> None:
    assert canonical(AZURE + path + query) == Host(AZURE, workspace_id, account_id)


@pytest.mark.parametrize("id", ["1%0d%0aX-Evil:%201", "1%00", "%1b[2J", "..%2f..%2f"])
@pytest.mark.parametrize("name", ["o", "w", "a"])
def test_an_id_that_hides_what_no_id_has_is_not_taken(name: str, id: str) -> None:
    # It would end up in a header or a path, and there it is no longer encoded.
    try:
        found = canonical(f"{AWS}?{name}={id}")
    except ConfigError:
        return
    assert found == Host(AWS)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "https://",
        "https:///h",
        "//h",
        "http:h",
        "https:h",
        "file:///etc/passwd",
        "https://.h",
        "https://h.",  # another name to TLS and to a cookie jar, the same to DNS
        "https://a..b",
        "https://-a",
        "https://a-.b",
        "https://h:",
        "https://h:port",
        "https://h:123456",
        "https://h\\@evil.example",
        "https://evil.example\\.cloud.databricks.com",
        "https://h%00.cloud.databricks.com",
        "https://h]",
        "https://[::1",
        "https://[fe80::1%eth0]",  # a zone means something on this machine only
        "https://databricks\u3002com",  # an ideographic full stop
        "https://dev.cloud.databrıcks.com",  # a dotless i
        "https://dev.clоud.databricks.com",  # a Cyrillic o
        "%(host)s",
        "[DEFAULT]",
        "*",
    ],
)
def test_what_is_not_a_host_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        canonical(typed)
    assert "https://" in refused.value.hint


@pytest.mark.parametrize("name", [" ", "\t", "\n", "\r", "\x00", "\x1b[2J", "\x7f", "\x85", "\xa0", "\u202e", "\u200b"])
def test_white_space_and_control_characters_inside_a_host_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="white space or a control character") as refused:
        canonical(f"https://dev{name}.cloud.databricks.com")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "typed",
    ["http://h", "http://dev.cloud.databricks.com", "http://localhost.evil.example", "http://127.0.0.1.evil.example"]
    + ["http://10.0.0.1", "http://0.0.0.0", "http://[::2]", "ftp://h", "javascript://h", "ws://localhost"],
)
def test_only_loopback_may_go_without_https(typed: str) -> None:
    with pytest.raises(ConfigError, match="must use https") as refused:
        canonical(typed)
    assert refused.value.hint == f"use https://{typed.split('/')[2]}"


@pytest.mark.parametrize(
    "path",
    ["/path", "/login.html", "/serving-endpoints/x", "/api/2.0", "/.", "/..", "/#", "#job/1", "?o=1#job/2", "/%2e%2e"],
)
def test_a_path_is_refused_with_the_host_that_was_meant(path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        canonical(AWS + path)
    assert refused.value.hint == f"use {AWS}"


def test_evil_with_our_domain_in_its_fragment_is_not_ours() -> None:
    with pytest.raises(ConfigError):
        canonical("https://evil.example#.cloud.databricks.com")


@pytest.mark.parametrize(
    "typed",
    [
        "https://me:canary-secret@dev.cloud.databricks.com",
        "https://canary-secret@dev.cloud.databricks.com",
        "token:canary-secret@dev.cloud.databricks.com",
        "http://me:canary-secret@localhost",
        "https://me:canary-secret@dev.cloud.databricks.com/path?q#f",
        # and where the password has what a URL would encode
        "https://me:canary-secret/1@dev.cloud.databricks.com",
        "https://me:canary-secret#1@dev.cloud.databricks.com",
        "https://me:canary-secret?1@dev.cloud.databricks.com",
        "https://me:canary-secret 1@dev.cloud.databricks.com",
        "https://me:canary-secret@1@dev.cloud.databricks.com",
    ],
)
def test_a_password_in_a_host_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        canonical(typed)
    assert "canary" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("https://h:99999", "a port has 16 bits"),
        ("https://[::::]", "no address"),
        ("https://[....]", "no address"),
        ("https://[1.2.3.4]", "no address of the kind that stands in brackets"),
        ("http://127.999.0.1", "no address, so a name server may say where it is"),
        ("http://127.0.0.256", "no address"),
        (f"https://{'a' * 64}.cloud.databricks.com", "a label has 63 characters (RFC 1035)"),
        (f"https://{'a.' * 130}com", "a name has 253 characters"),
    ],
)
def test_a_host_that_cannot_exist_is_refused_before_it_is_asked(typed: str, why: str) -> None:
    with pytest.raises(ConfigError):
        canonical(typed)


SUSPECT = st.text(string.ascii_letters + "01.:/?#@[]\\%-_ \t\n\x00\u212a\u017fé。", max_size=40)
PARTS = st.sampled_from(
    ["https://", "http://", "HTTPS://", "//", "localhost", "127.0.0.1", "[::1]", "h", ".cloud.databricks.com", ":443"]
    + ["@", "u:p@", "/", "\\", "/serving-endpoints", "?o=1", "#", "evil.example", "%2e", " ", "\x85", "\u212a", "xn--a"]
)
thorough = settings(max_examples=400, deadline=None, derandomize=True)
TYPED = st.one_of(st.text(), SUSPECT, st.lists(PARTS, max_size=7).map("".join))


@thorough
@given(TYPED)
@example("https://\u212a")
def test_whatever_is_typed_is_a_host_or_a_config_error(typed: str) -> None:
    try:
        url = canonical(typed).url
    except ConfigError:
        return
    assert canonical(url) == Host(url), "it stays as it is"
    assert url.isascii()
    assert url == url.lower()
    assert url.startswith("https://") or is_loopback(url)


@thorough
@given(st.lists(PARTS, max_size=7).map("".join) | SUSPECT)
@example("[0]")
def test_the_host_we_read_is_the_one_that_is_asked(typed: str) -> None:
    """Two readers of one URL that disagree are how a login ends up elsewhere."""
    try:
        url = canonical(typed).url
    except ConfigError:
        return
    asked, split = httpx.URL(f"{url}/oidc/v1/token"), urlsplit(url)
    default = {"https": 443, "http": 80}[asked.scheme]
    assert url == f"{split.scheme}://{split.netloc}"
    assert (asked.scheme, asked.raw_host.decode()) == (split.scheme, split.hostname)
    assert (asked.port or default) == (split.port or default)
    assert (asked.userinfo, asked.path, asked.query, asked.fragment) == (b"", "/oidc/v1/token", b"", "")


# ---- kinds of hosts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost", True),
        ("http://localhost:8020", True),
        ("https://127.0.0.1/x?y#z", True),
        ("http://127.1.2.3:1", True),
        ("http://[::1]:1", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://notlocalhost", False),
        ("http://[::2]", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        (AWS, False),
        ("not a url", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_looks_like_it(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("https://accounts.cloud.databricks.com", True),
        ("https://accounts.azuredatabricks.net", True),
        ("https://accounts-dod.cloud.databricks.us", True),
        ("https://accounts.gcp.databricks.com", True),
        (AZURE, False),
        ("https://accountsx.cloud.databricks.com", False),
        ("https://dev.accounts.example", False),
    ],
)
def test_a_classic_account_console_is_known_by_its_name(url: str, account: bool) -> None:
    assert is_account(url) is account


# ---- where a login may be sent -------------------------------------------------------------------------------------

TRUST = [
    # the host itself
    (AWS, f"{AWS}/oidc/v1/token", True),
    (AWS, f"{AWS.upper()}/oidc", True),
    (AWS, AWS, True),
    (AWS, f"{AWS}?x=/y", True),
    ("https://private.example", "https://private.example/oidc", True),
    ("https://private.example:8443", "https://private.example:8443/oidc", True),
    ("http://127.0.0.1:4321", "http://127.0.0.1:4321/oidc", True),
    # the Databricks domains, for a host in one of them
    (AWS, "https://accounts.cloud.databricks.com/oidc/accounts/a/v1/token", True),
    (AZURE, "https://accounts.azuredatabricks.net/oidc", True),
    (AWS, f"{AZURE}/oidc", True),
    ("https://x.gcp.databricks.com", "https://accounts.gcp.databricks.com/oidc", True),
    ("https://x.cloud.databricks.us", "https://accounts-dod.cloud.databricks.us/oidc", True),
    ("https://x.databricks.azure.us", "https://accounts.databricks.azure.us/oidc", True),
    ("https://x.databricks.azure.cn", "https://accounts.databricks.azure.cn/oidc", True),
    ("https://x.dev.databricks.com", "https://accounts.dev.databricks.com/oidc", True),
    ("https://x.cloud.databricks.com:8443", "https://accounts.cloud.databricks.com/oidc", True),
    # a host of somebody's own has no claim on them, nor they on it
    ("https://private.example", f"{AWS}/oidc", False),
    ("http://127.0.0.1:4321", f"{AWS}/oidc", False),
    ("https://[::1]:8443", f"{AWS}/oidc", False),
    (AWS, "https://private.example/oidc", False),
    # what only looks like one
    (AWS, "https://evildatabricks.com/oidc", False),
    (AWS, "https://evil-azuredatabricks.net/oidc", False),
    (AWS, "https://azuredatabricks.net.evil.example/oidc", False),
    (AWS, "https://databricks.com/oidc", False),
    (AWS, "https://dev.cloud.databricks.com.evil.example/oidc", False),
    (AWS, "https://evil.example/.cloud.databricks.com", False),
    (AWS, "https://evil.example?.cloud.databricks.com", False),
    (AWS, "https://evil.example#.cloud.databricks.com", False),
    (AWS, "https://evil.example\\.cloud.databricks.com", False),
    (AWS, "https://evil.example%2f.cloud.databricks.com", False),
    (AWS, "https://dev.cloud.databricks.com.", False),
    ("https://evil-azuredatabricks.net", f"{AZURE}/oidc", False),
    # somebody else before the @
    (AWS, "https://dev.cloud.databricks.com@evil.example/oidc", False),
    (AWS, "https://me@dev.cloud.databricks.com/oidc", False),
    (AWS, "https://me:pw@dev.cloud.databricks.com/oidc", False),
    (AWS, "https://evil.example\\@dev.cloud.databricks.com/oidc", False),
    # less than https
    (AWS, "http://dev.cloud.databricks.com/oidc", False),
    (AWS, "http://accounts.cloud.databricks.com/oidc", False),
    ("https://localhost:8443", "http://localhost:8443/oidc", False),
    # another port, another server
    ("https://private.example", "https://private.example:8443/oidc", False),
    ("http://127.0.0.1:4321", "http://127.0.0.1:4322/oidc", False),
    ("http://127.0.0.1:4321", "http://localhost:4321/oidc", False),
    # not an address, or one of another kind
    (AWS, "http://169.254.169.254/latest", False),
    (AWS, "file:///etc/passwd", False),
    (AWS, "//dev.cloud.databricks.com/oidc", False),
    (AWS, "dev.cloud.databricks.com/oidc", False),
    (AWS, "/oidc/v1/token", False),
    (AWS, "javascript:alert(1)", False),
    (AWS, " https://dev.cloud.databricks.com/oidc", False),
    (AWS, "", False),
    # no URL that can be sent: it would end in a traceback, or drive the terminal when it is named
    (AWS, f"{AWS}/oidc\n", False),
    (AWS, f"{AWS}/oidc\r\nX-Evil: 1", False),
    (AWS, f"{AWS}/oidc\x00", False),
    (AWS, f"{AWS}/\x1b]0;evil\x07", False),
    (AWS, f"{AWS}/\u202eoidc", False),
    (AWS, f"{AWS}/\ud800", False),
]


@pytest.mark.parametrize(("host", "url", "trusted"), TRUST)
def test_a_login_is_sent_to_its_host_and_to_databricks_only(host: str, url: str, trusted: bool) -> None:
    assert trusts(host, url) is trusted


def test_every_databricks_domain_starts_with_a_dot() -> None:
    assert all(domain.startswith(".") and domain.count(".") > 1 for domain in hosts.DOMAINS)


@thorough
@given(st.sampled_from([AWS, AZURE, "https://private.example"]), st.lists(PARTS, max_size=7).map("".join) | SUSPECT)
@example(AWS, "https://dev.cloud.databricks.com\\@evil.example")
def test_an_address_we_trust_is_where_the_request_goes(host: str, url: str) -> None:
    if not trusts(host, url):
        return
    asked = httpx.URL(url)
    assert asked.userinfo == b""
    assert asked.scheme == "https"
    name = asked.raw_host.decode()
    assert f"https://{name}" == host or (name.endswith(tuple(hosts.DOMAINS)) and host.endswith(tuple(hosts.DOMAINS)))
