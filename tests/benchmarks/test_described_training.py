"""The described way of training: what a step encodes, what it computes, and that it learns."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from benchmarks.described.training import (
    EMBEDDING_DIM,
    MAX_HISTORY,
    BuyerTower,
    DescribedTraining,
    info_nce,
    pairs_per_second,
)
from training.text.encoder import FLOAT32, TextEncoder

TEXTS = ["a", "bc", "def", "gh ij", "k"]


class ListeningEncoder(TextEncoder):
    """Also notes the texts of each call."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SentenceTransformer(str(folder), device="cpu"), "tiny", FLOAT32, folder.parent)
        self.calls: list[list[str]] = []

    def encode_passages(self, texts: Sequence[str], show_progress: bool = False) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        return super().encode_passages(texts, show_progress)


@pytest.fixture
def encoder(tiny_encoder: Path) -> ListeningEncoder:
    return ListeningEncoder(tiny_encoder)


# --- what a step encodes ----------------------------------------------------------------------------------------------


def test_every_step_encodes_all_texts_again_however_often_they_occur(encoder: ListeningEncoder) -> None:
    training = DescribedTraining(TEXTS, encoder, seed=1)
    for _ in range(2):
        training.step([[0, 1, 0], [2]], [3, 3])
    assert len(encoder.calls) == 6
    for histories, positives, negatives in (encoder.calls[:3], encoder.calls[3:]):
        assert histories == ["a", "bc", "a", "def"]
        assert positives == ["gh ij", "gh ij"]
        assert len(negatives) == 2 * 4
        assert set(negatives) <= set(TEXTS)
    assert encoder.calls[2] != encoder.calls[5]  # negatives are drawn anew


def test_the_latest_hundred_events_of_a_history_count(encoder: ListeningEncoder) -> None:
    DescribedTraining(TEXTS, encoder, seed=1).step([[0] * 7 + [1] * 50 + [2] * 50], [3])
    assert encoder.calls[0] == ["bc"] * 50 + ["def"] * 50
    assert MAX_HISTORY == 100


# --- what it computes -------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_the_own_product() -> None:
    buyer_BD = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive_BD = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    negative_BRD = torch.tensor([[[0.0, 1.0]], [[0.8, 0.6]]])
    # Scores: of pair 0, 1 (own), 0.6 and 0; of pair 1, 0, 0.8 (own) and 0.6; each divided by 0.07.
    first = -math.log(math.exp(1 / 0.07) / (math.exp(1 / 0.07) + math.exp(0.6 / 0.07) + 1))
    second = -math.log(math.exp(0.8 / 0.07) / (1 + math.exp(0.8 / 0.07) + math.exp(0.6 / 0.07)))
    assert info_nce(buyer_BD, positive_BD, negative_BRD).item() == pytest.approx((first + second) / 2, rel=1e-5)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_a_buyer_is_the_attention_of_the_own_events_whatever_the_padding(lengths: list[int]) -> None:
    torch.manual_seed(0)
    tower = BuyerTower()
    histories = [torch.randn(length, EMBEDDING_DIM) for length in lengths]
    padded = torch.nn.utils.rnn.pad_sequence([*histories, torch.zeros(6, EMBEDDING_DIM)], batch_first=True)[:-1]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = tower(padded, mask)
    for vector, history in zip(found, histories, strict=True):
        shares = torch.softmax(tower.score(history)[:, 0], dim=0)
        pooled = sum((share * event for share, event in zip(shares, history, strict=True)), torch.zeros(EMBEDDING_DIM))
        torch.testing.assert_close(vector, pooled / pooled.norm().clamp_min(1e-12))


def test_steps_learn_the_towers_and_leave_the_encoder_as_it_was(encoder: ListeningEncoder, one_thread: None) -> None:
    texts = [first + second for first in "abcdefgh" for second in "ijklmnop"]  # many, so that few negatives are targets
    before = encoder.encode_passages(texts)
    training = DescribedTraining(texts, encoder, seed=1)
    losses = [training.step([[0], [9], [18, 27]], [63, 54, 45]) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    np.testing.assert_array_equal(encoder.encode_passages(texts), before)


def test_an_empty_history_does_not_spoil_the_weights(encoder: ListeningEncoder) -> None:
    training = DescribedTraining(TEXTS, encoder, seed=1)
    training.step([[], [0, 1]], [2, 3])
    training.step([[], []], [2, 3])
    towers = (training.item_tower, training.buyer_tower)
    assert all(weights.isfinite().all() for tower in towers for weights in tower.parameters())


def test_the_seed_decides_the_losses(encoder: ListeningEncoder, one_thread: None) -> None:
    def losses(seed: int) -> list[float]:
        training = DescribedTraining(TEXTS, encoder, seed)
        return [training.step([[0, 1], [2]], [3, 4]) for _ in range(3)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


# --- the measurement --------------------------------------------------------------------------------------------------


def test_each_chosen_pair_is_trained_on_once_after_a_warm_up_of_two(encoder: ListeningEncoder) -> None:
    histories, targets = [[0], [1], [2], [3]], [0, 1, 2, 3]
    speed = pairs_per_second(TEXTS, histories, targets, encoder, batch_size=2, n_batches=2, seed=5)
    assert speed > 0
    encoded = encoder.calls[::3]
    assert [len(batch) for batch in encoded] == [2, 2, 2]
    assert sorted(encoded[1] + encoded[2]) == sorted(TEXTS[:4])
    assert encoder.calls[1::3] == encoded  # each pair kept its own target


@pytest.mark.parametrize(("batch_size", "n_batches"), [(3, 1), (1, 3), (0, 1)])
def test_too_few_pairs_are_refused(encoder: ListeningEncoder, batch_size: int, n_batches: int) -> None:
    with pytest.raises(ValueError, match=rf"batch_size {batch_size} \* n_batches {n_batches} .* at most the 2 pairs"):
        pairs_per_second(TEXTS, [[0], [1]], [1, 2], encoder, batch_size=batch_size, n_batches=n_batches, seed=0)


def test_a_target_without_a_history_is_refused(encoder: ListeningEncoder) -> None:
    with pytest.raises(ValueError, match="each of the 2 targets needs a history, there are 1"):
        pairs_per_second(TEXTS, [[0]], [1, 2], encoder, batch_size=1, n_batches=1, seed=0)
