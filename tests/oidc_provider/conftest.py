from collections.abc import Iterator

import pytest

from .fixture import OidcProvider, installed


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[OidcProvider]:
    if not installed():
        pytest.skip("needs Node, and `npm ci` in tests/oidc_provider")
    with OidcProvider() as provider:
        yield provider
