"""What several folders of tests share. That this file exists also puts tests/ on the import path, for its helpers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tiny_encoder import write_tiny_encoder


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
