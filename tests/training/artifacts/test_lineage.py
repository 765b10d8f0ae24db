"""Artifacts remember what they were made from."""

from pathlib import Path

import pytest

from training.artifacts.lineage import record_source, require_source


def test_an_artifact_of_another_source_is_refused(tmp_path: Path) -> None:
    source, artifact = tmp_path / "model.bin", tmp_path / "embeddings"
    source.write_bytes(b"first")
    artifact.mkdir()
    with pytest.raises(FileNotFoundError, match="run `tawsiya embed` first"):
        require_source(artifact, source, "tawsiya embed")

    record_source(artifact, source)
    require_source(artifact, source, "tawsiya embed")

    source.write_bytes(b"second")
    with pytest.raises(ValueError, match=r"made from another model\.bin .* run `tawsiya embed`"):
        require_source(artifact, source, "tawsiya embed")
