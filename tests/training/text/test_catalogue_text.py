"""Text vectors of a catalogue: what they cost a second time."""

from pathlib import Path

import numpy as np
import pytest

from feature_repo.common.config import Config
from training.data.catalogue import Catalogue
from training.text import catalogue_text
from training.text.catalogue_text import text_encoder_of, text_vectors
from training.text.encoder import TextEncoder


def catalogue(*texts: str) -> Catalogue:
    n = len(texts)
    ids = [f"p{number}" for number in range(n)]
    return Catalogue(ids, np.arange(n), list(texts), [None] * n, [None] * n, np.full(n, np.nan))


@pytest.fixture
def config(tmp_path: Path, tiny_encoder: Path) -> Config:
    model = {"item_tower": {"text_encoder": str(tiny_encoder)}}
    return Config.model_validate({"data_dir": tmp_path, "model": model, "inference": {"device": "cpu"}})


def test_a_process_loads_an_encoder_again_only_for_new_texts(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[TextEncoder] = []

    def load(config: Config, model: Path | None = None) -> TextEncoder:
        loaded.append(text_encoder_of(config, model))
        return loaded[-1]

    monkeypatch.setattr(catalogue_text, "text_encoder_of", load)
    first_NT, encoder_id = text_vectors(config, catalogue("tea", "coffee"), show_progress=False)
    assert (len(loaded), encoder_id) == (1, loaded[0].encoder_id)
    again_NT, again_id = text_vectors(config, catalogue("coffee", "tea"), show_progress=False)
    assert (len(loaded), again_id) == (1, encoder_id)
    np.testing.assert_array_equal(again_NT, first_NT[::-1])
    new_NT, _ = text_vectors(config, catalogue("tea", "milk"), show_progress=False)
    assert len(loaded) == 2
    np.testing.assert_array_equal(new_NT[1], loaded[1].encode_passages(["milk"])[0])
