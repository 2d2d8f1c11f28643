"""The models that the tests of exports share, each trained once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export.installation import Installation, call_example, install
from training.jobs import EXAMPLES


@pytest.fixture(scope="session")
def installation(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A model that answers in words."""
    installed = install(tmp_path_factory.mktemp("export"), tiny_base, EXAMPLES)
    yield installed
    installed.store.close()


@pytest.fixture(scope="session")
def calling_installation(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A model that calls functions."""
    installed = install(tmp_path_factory.mktemp("calling"), tiny_base, [call_example(index) for index in range(12)])
    yield installed
    installed.store.close()
