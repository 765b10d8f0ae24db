"""Encoders that several test modules share."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tiny_encoder import write_tiny_encoder
from training.text.bundled import SOURCE_PACKAGE, build_bundled_encoder


@pytest.fixture(scope="session")
def bundled_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundled encoder, converted once; 487 MB, so it goes when the session ends."""
    if find_spec(SOURCE_PACKAGE) is None:
        pytest.skip(f"{SOURCE_PACKAGE} is not installed")
    models_dir = tmp_path_factory.mktemp("models")
    yield build_bundled_encoder(models_dir / "multilingual-e5-small")
    shutil.rmtree(models_dir)


@pytest.fixture
def make_tiny_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Writes tiny encoders: make(name, seed=0) returns the folder."""

    def make(name: str, seed: int = 0) -> Path:
        return write_tiny_encoder(tmp_path / name, seed)

    return make
