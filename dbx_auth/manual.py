"""What the help and the man pages of all verbs say in the same words: exit codes, and variables of the environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from .profile import FIELDS
from .workload import AZURE_DEVOPS, GITHUB

SHOWN = 2
"""How many variables of a long row the help names; the man page names them all."""

INTERRUPTED = "129, 130, 143"

EXITS = {
    "0": "ok",
    "1": "refused or failed",
    "2": "wrong usage",
    "4": "a person must log in",
    "5": "a file or setting is unusable",
    "6": "temporary: trying again may help",
    INTERRUPTED: "interrupted",
}
"""The exit codes of `errors`, and those of a process that was asked to end."""

ANY = ("0", "1", "2", INTERRUPTED)
"""What every verb may end with."""

_WHERE = ("host", "account_id", "workspace_id", "group_id", "cloud", "discovery_url")

VARIABLES = {
    "profile": ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE"),
    "profiles": ("DATABRICKS_CONFIG_FILE",),
    "workspace": tuple(variable for name in _WHERE for variable in FIELDS[name].env),
    "login": (
        *(variable for name, field in FIELDS.items() if name not in _WHERE for variable in field.env),
        *("DATABRICKS_OIDC_TOKEN", "DATABRICKS_AUTH_STORAGE", "DATABRICKS_RUNTIME_VERSION"),
        *(*GITHUB, *AZURE_DEVOPS),
        *("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"),
        *("AZURE_CONFIG_DIR", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST", "PYTHON_KEYRING_BACKEND"),
    ),
    "files": ("DBX_AUTH_DATA_DIR", "DBX_AUTH_CONFIG_DIR", "DBX_AUTH_CACHE_DIR"),
    "settings": ("DBX_AUTH_CONFIG_DIR",),
    "network": (
        *("HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "HTTP_PROXY", "ALL_PROXY"),
        *("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    ),
    "browser": ("BROWSER",),
    "clients": (
        *("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "OPENCODE_CONFIG", "OPENCODE_CONFIG_DIR"),
        *("PI_CODING_AGENT_DIR", "XDG_CONFIG_HOME"),
    ),
    "color": ("NO_COLOR",),
    "discovery": ("DATABRICKS_DISCOVERY_HOST",),
    "editor": ("VISUAL", "EDITOR"),
    "key": ("DBX_AUTH_GATEWAY_KEY",),
    "output": ("DATABRICKS_OUTPUT_FORMAT",),
    "server": ("CLAUDE_CODE_MCP_SERVER_URL",),
    "shell": ("SHELL",),
}
"""The variables that a verb may heed, by what they are about. The first of a row are those that people set."""


def exits(codes: Iterable[int], own: Mapping[int, str]) -> dict[str, str]:
    """The exit codes of a verb: those that every verb has, some of the others, and what is special to this one."""
    texts = {**EXITS, **{str(code): text for code, text in own.items()}}
    found = {*ANY, *map(str, (*codes, *own))}
    return {code: texts[code] for code in sorted(found, key=lambda code: int(code.partition(",")[0]))}


def in_columns(found: Mapping[str, str]) -> Iterator[str]:
    """Exit codes in two columns, and below them that of an interruption, which takes more room."""
    *cells, last = (f"{code}  {text}" for code, text in found.items())
    half = (len(cells) + 1) // 2
    left, right = cells[:half], cells[half:]
    width = max(map(len, left))
    for first, second in zip_longest(left, right, fillvalue=""):
        yield f"{first:<{width}}   {second}".rstrip()
    yield last


def shortened(variables: tuple[str, ...]) -> str:
    """The variables of a row, as the help has room for them."""
    rest = len(variables) - SHOWN
    return ", ".join(variables) if rest < 2 else f"{', '.join(variables[:SHOWN])} and {rest} more"
