"""What several folders of tests share: the level of each test, one encoder, and one thread where the order counts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before numpy, torch and FAISS are loaded: each worker has one core to itself, and so has what it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from tests.tiny_encoder import write_tiny_encoder

# By default Hypothesis fails an example that takes over 200 ms. On a busy machine that says nothing about the code.
settings.register_profile("tawsiya", deadline=None)
settings.load_profile("tawsiya")

pytest_plugins = ["tests.browser.fixtures"]

LEVELS = ("fast", "store", "e2e")
COLLECTED = pytest.StashKey[dict[str, set[str]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test is `fast` unless it or its module says `store` or `e2e`; see the markers in pyproject.toml."""
    for item in items:
        if not any(item.get_closest_marker(level) for level in LEVELS):
            item.add_marker("fast")
    # Kept for test_levels.py, since `-m` takes tests away afterwards.
    config.stash[COLLECTED] = {item.nodeid: {mark.name for mark in item.iter_markers()} for item in items}


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SentenceTransformer of 8 dimensions."""
    return write_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread: the order of additions, which decides the last bits, is fixed, and tiny steps are fast."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
