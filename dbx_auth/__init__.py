"""A fresh Databricks token for every program on the machine.

    from dbx_auth import Credentials, Auth, token_provider

Everything is imported when it is first used: `import dbx_auth` by itself costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers take it; importing typing takes longer than all else here

_HOMES = {
    "Auth": "httpx_auth",
    "AuthError": "errors",
    "ConfigError": "errors",
    "Credentials": "credentials",
    "LoginRequired": "errors",
    "NotConfigured": "errors",
    "Refused": "errors",
    "Temporary": "errors",
    "Token": "tokens",
    "Transport": "transport",
    "async_token_provider": "credentials",
    "credentials_provider": "integrations",
    "credentials_strategy": "integrations",
    "token_provider": "credentials",
}

__all__ = [
    "Auth",
    "AuthError",
    "ConfigError",
    "Credentials",
    "LoginRequired",
    "NotConfigured",
    "Refused",
    "Temporary",
    "Token",
    "Transport",
    "async_token_provider",
    "credentials_provider",
    "credentials_strategy",
    "token_provider",
]

if TYPE_CHECKING:
    from .credentials import Credentials, async_token_provider, token_provider
    from .errors import AuthError, ConfigError, LoginRequired, NotConfigured, Refused, Temporary
    from .httpx_auth import Auth
    from .integrations import credentials_provider, credentials_strategy
    from .tokens import Token
    from .transport import Transport


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dbx_auth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
