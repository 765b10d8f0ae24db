"""What several folders of tests share. That this file exists also puts tests/ on the import path, for its helpers."""

from pathlib import Path

import pytest
from tiny_encoder import write_tiny_encoder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SentenceTransformer of 8 dimensions."""
    return write_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")
