"""What the tests of agreement share."""

from __future__ import annotations

import pytest

from .sides import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))
