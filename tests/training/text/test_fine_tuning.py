"""The text encoder trained along with the towers."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feature_repo.common.config import Config
from tests.training.two_shelves import CARD, N_PRODUCTS, SHELF, problem, settings
from training.artifacts.model import load_model
from training.batches import with_candidates
from training.data.dataset import TrainingData, selection_contexts
from training.text import fine_tuning
from training.text.catalogue_text import TEXT_ENCODER, text_encoder_of, text_vectors
from training.text.encoder import TextEncoder, load_text_encoder
from training.text.fine_tuning import LoraUnavailableError, TrainableTexts
from training.train import Phase, fit, train

MakeEncoder = Callable[..., Path]
TEXTS = ["tea", "a longer text than all others", "tea", "coffee", "milk"]
POSITIONS = torch.tensor([4, 1, 0, 2])

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def encoder(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> TextEncoder:
    return load_text_encoder(str(make_tiny_encoder("tiny")), tmp_path, number_format="float32")


def tuned_settings(folder: Path, encoder: TextEncoder, **training: Any) -> Config:
    training = {"freeze_text_encoder": False, "text_encoder_learning_rate": 0.01, "refit": False} | training
    content = settings(folder, **training).model_dump()
    content["model"]["item_tower"] |= {"text_encoder": encoder.name, "id_embedding": False}
    return Config.model_validate(content)


def shelves(encoder: TextEncoder) -> TrainingData:
    """Products whose texts say which shelf they are of, in a way that the untrained encoder makes little of."""
    letters = ("abcdefghijklm", "nopqrstuvwxyz")
    texts = [f"{letters[number // SHELF][number % 13]} shop" for number in range(N_PRODUCTS)]
    data = problem()
    catalogue = dataclasses.replace(data.catalogue, texts=texts)
    return dataclasses.replace(data, catalogue=catalogue, text_NT=encoder.encode_passages(texts))


def state(encoder: TextEncoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


def test_vectors_are_the_encoders_and_each_distinct_text_is_encoded_once(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = TrainableTexts(encoder, TEXTS).eval()
    encoded: list[str] = []
    encode = texts._encode

    def noted(batch: list[str]) -> Tensor:
        encoded.extend(batch)
        return encode(batch)

    monkeypatch.setattr(texts, "_encode", noted)
    with torch.inference_mode():
        vectors_UT = texts(POSITIONS)
    assert sorted(encoded) == sorted({TEXTS[position] for position in POSITIONS})
    expected = encoder.encode_passages([TEXTS[position] for position in POSITIONS])
    np.testing.assert_allclose(vectors_UT, expected, atol=1e-6)
    np.testing.assert_allclose(texts.vectors(), encoder.encode_passages(TEXTS), atol=1e-6)


def test_what_is_computed_again_gives_the_same_gradients(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients() -> list[Tensor]:
        texts = TrainableTexts(encoder, TEXTS).train()
        texts.zero_grad(set_to_none=True)
        torch.manual_seed(3)
        (texts(POSITIONS) * torch.randn(4, 8, generator=torch.Generator().manual_seed(1))).sum().backward()
        return [parameter.grad for parameter in texts.parameters() if parameter.grad is not None]

    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    together = gradients()
    assert together
    monkeypatch.setattr(fine_tuning, "TEXTS_AT_ONCE", 1)
    for one, other in zip(together, gradients(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(fine_tuning, "checkpoint", lambda encode, texts, **_: encode(texts))
    for one, other in zip(together, gradients(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_model_carries_the_encoder_that_it_was_trained_with(
    encoder: TextEncoder, tmp_path: Path, lora_rank: int
) -> None:
    config, data, before = (
        tuned_settings(tmp_path, encoder, text_encoder_lora_rank=lora_rank),
        shelves(encoder),
        state(encoder),
    )
    card = train(config, data, CARD, tmp_path / "model", show_progress=False)
    own = text_encoder_of(config, tmp_path / "model")
    assert own.encoder_id == card.text_encoder == load_model(tmp_path / "model")[2].text_encoder
    assert own.encoder_id != encoder.encoder_id == text_encoder_of(config).encoder_id
    vectors_NT, encoder_id = text_vectors(config, data.catalogue, tmp_path / "model", show_progress=False)
    assert encoder_id == own.encoder_id
    assert not np.allclose(vectors_NT, data.text_NT, atol=1e-3)
    changed = {name for name, value in state(own).items() if not torch.equal(value, before[name])}
    assert changed
    assert state(own).keys() == before.keys(), "the matrices beside the weights are merged into them"
    if lora_rank:
        assert not any("embeddings" in name or "LayerNorm" in name for name in changed)


def test_learns_to_tell_apart_what_the_encoder_reads_alike(encoder: TextEncoder, tmp_path: Path) -> None:
    tokens = encoder.model.tokenizer.get_vocab()
    embeddings = encoder.model[0].model.embeddings.word_embeddings.weight
    with torch.no_grad():
        embeddings[tokens["b"]] = embeddings[tokens["a"]]
    encoder.model.save(str(tmp_path / "alike"), create_model_card=False)
    alike = load_text_encoder(str(tmp_path / "alike"), tmp_path, number_format="float32")
    data = shelves(alike)
    texts = ["a" if number < SHELF else "b" for number in range(N_PRODUCTS)]
    catalogue = dataclasses.replace(data.catalogue, texts=texts)
    data = dataclasses.replace(data, catalogue=catalogue, text_NT=alike.encode_passages(texts))
    losses = {}
    for frozen in (True, False):
        config = tuned_settings(tmp_path, alike, freeze_text_encoder=frozen, num_epochs=10, patience=10)
        losses[frozen] = train(config, data, CARD, tmp_path / str(frozen), show_progress=False).metrics["loss"]
    # The frozen one cannot know the shelf; knowing it is worth log 2 in the end.
    assert losses[False] < losses[True] - 0.15


def test_the_encoder_has_a_learning_rate_of_its_own(encoder: TextEncoder, tmp_path: Path) -> None:
    def moved(rate: float) -> float:
        config = tuned_settings(tmp_path, encoder, text_encoder_learning_rate=rate, num_epochs=1)
        train(config, shelves(encoder), CARD, tmp_path / str(rate), show_progress=False)
        before, after = state(encoder), state(text_encoder_of(config, tmp_path / str(rate)))
        return sum(float((after[name] - before[name]).abs().sum()) for name in before)

    assert 0 < moved(1e-6) < 0.01 * moved(1e-3)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(encoder: TextEncoder, tmp_path: Path) -> None:
    config, data = tuned_settings(tmp_path, encoder, num_hard_negatives=1), shelves(encoder)
    _, early, validation = selection_contexts(data)
    fit(config, data, Phase(tmp_path / "whole", early, validation, n_epochs=2), CARD, show_progress=False)
    for n_epochs in (1, 2):
        phase = Phase(tmp_path / "resumed", early, validation, n_epochs)
        fit(config, data, phase, CARD, show_progress=False)
    ids = {load_model(tmp_path / name)[2].text_encoder for name in ("whole", "resumed")}
    assert len(ids) == 1


def test_an_encoder_without_a_pooler_is_saved_and_told_apart_without_one(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.model[0].model.pooler = None
    first, second = (TrainableTexts(encoder, TEXTS).save(tmp_path / name / "own") for name in ("first", "second"))
    loaded = load_text_encoder(str(tmp_path / "first" / "own"), tmp_path)
    assert first == second == loaded.encoder_id
    assert loaded.model[0].model.pooler is None


def test_a_frozen_encoder_takes_the_place_of_a_tuned_one(encoder: TextEncoder, tmp_path: Path) -> None:
    folder, data = tmp_path / "model", shelves(encoder)
    train(tuned_settings(tmp_path, encoder), data, CARD, folder, show_progress=False)
    assert (folder / TEXT_ENCODER).is_dir()
    train(tuned_settings(tmp_path, encoder, freeze_text_encoder=True), data, CARD, folder, show_progress=False)
    assert not (folder / TEXT_ENCODER).exists()


def test_auto_does_not_send_the_whole_catalogue_through_the_encoder_in_every_step(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    for frozen, candidates in ((True, "all"), (False, "sampled")):
        config = tuned_settings(tmp_path, encoder, candidates="auto", freeze_text_encoder=frozen)
        assert with_candidates(config, 100, N_PRODUCTS).training.candidates == candidates


def test_without_peft_the_error_names_the_remedy(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LoraUnavailableError, match=r"pip install 'tawsiya\[lora\]'"):
        TrainableTexts(encoder, TEXTS, lora_rank=4)


def test_only_float32_can_be_trained(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> None:
    bf16 = load_text_encoder(str(make_tiny_encoder("tiny")), tmp_path, number_format="bfloat16")
    with pytest.raises(ValueError, match="only float32"):
        TrainableTexts(bf16, TEXTS)
