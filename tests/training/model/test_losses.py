"""InfoNCE against a cross-entropy computed target by target."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model.losses import Choices, info_nce

DIM = 3

pytestmark = pytest.mark.usefixtures("one_thread")

Choice = tuple[int, int]  # context and candidate


def choices_of(chosen: list[Choice], weights: list[float] | None = None) -> Choices:
    owners, places = (torch.tensor(column) for column in zip(*chosen, strict=True))
    weight_T = torch.tensor(weights or [1.0] * len(chosen), dtype=torch.float64)
    return Choices(owners, places, weight_T)


def brute_force(
    buyers: npt.NDArray[np.float64],
    candidates: npt.NDArray[np.float64],
    chosen: list[Choice],
    weights: list[float],
    temperature: float,
    log_q: list[float] | None,
) -> float:
    """The weighted mean of -ln(e^own / (e^own + sum over what the context did not choose))."""
    losses = []
    for context, place in chosen:
        scores = [float(buyers[context] @ one) / temperature for one in candidates]
        scores = [score - (log_q[other] if log_q else 0) for other, score in enumerate(scores)]
        turned_down = [score for other, score in enumerate(scores) if (context, other) not in chosen]
        own = scores[place]
        losses.append(math.log(math.exp(own) + sum(map(math.exp, turned_down))) - own)
    return float(np.average(losses, weights=weights))


def loss_of(
    buyers: npt.ArrayLike,
    candidates: npt.ArrayLike,
    chosen: list[Choice],
    weights: list[float] | None = None,
    temperature: float = 1.0,
    log_q: list[float] | None = None,
    **options: Any,
) -> float:
    loss = info_nce(
        torch.tensor(np.asarray(buyers, dtype=np.float64)),
        torch.tensor(np.asarray(candidates, dtype=np.float64)),
        choices_of(chosen, weights),
        temperature=torch.tensor(temperature, dtype=torch.float64),
        log_q_C=None if log_q is None else torch.tensor(log_q, dtype=torch.float64),
        **options,
    )
    assert loss.shape == ()
    return float(loss)


@settings(max_examples=200)
@given(data=st.data(), n_contexts=st.integers(1, 4), n_candidates=st.integers(1, 6), seed=st.integers(0, 9999))
def test_equals_brute_force_whole_and_in_parts(
    data: st.DataObject, n_contexts: int, n_candidates: int, seed: int
) -> None:
    pairs = st.tuples(st.integers(0, n_contexts - 1), st.integers(0, n_candidates - 1))
    chosen = sorted(data.draw(st.lists(pairs, min_size=1, max_size=8, unique=True)))
    weights = data.draw(st.lists(st.floats(0.1, 3), min_size=len(chosen), max_size=len(chosen)))
    temperature = data.draw(st.sampled_from([0.07, 0.5, 1.0]))
    log_q = data.draw(st.none() | st.lists(st.floats(-6, 0), min_size=n_candidates, max_size=n_candidates))
    rng = np.random.default_rng(seed)
    buyers, candidates = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for vectors in (rng.normal(size=(n_contexts, DIM)), rng.normal(size=(n_candidates, DIM)))
    )
    expected = brute_force(buyers, candidates, chosen, weights, temperature, log_q)
    arguments = (buyers, candidates, chosen, weights, temperature, log_q)
    # Above 20 softplus(x) is x, which leaves out e^-20 = 2e-9.
    assert loss_of(*arguments) == pytest.approx(expected, abs=1e-8)
    assert loss_of(*arguments, max_logits=1) == pytest.approx(expected, abs=1e-8)


def test_parts_have_the_gradient_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    chosen = sorted({(int(rng.integers(7)), int(rng.integers(4))) for _ in range(9)})
    start = [rng.normal(size=(7, DIM)), rng.normal(size=(4, DIM)), np.array(0.5)]
    gradients = []
    for max_logits in (10**6, 8):
        buyers, candidates, temperature = leaves = [torch.tensor(part, requires_grad=True) for part in start]
        loss = info_nce(buyers, candidates, choices_of(chosen), temperature=temperature, max_logits=max_logits)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([leaf.grad for leaf in leaves])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole)


TWO_BUYERS = [[1.0, 0.0], [0.0, 1.0]]


def test_two_contexts_by_hand() -> None:
    # Scores [[1, 0], [0, 1]]: each context has one negative with score 0.
    loss = loss_of(TWO_BUYERS, TWO_BUYERS, [(0, 0), (1, 1)])
    assert loss == pytest.approx(math.log(math.e + 1) - 1)


def test_what_was_chosen_in_the_same_context_is_no_negative() -> None:
    assert loss_of(TWO_BUYERS[:1], TWO_BUYERS, [(0, 0), (0, 1)]) == pytest.approx(0)
    # Context 1 turned product 0 down, context 0 did not.
    third = math.log(math.e + 1) - 1
    assert loss_of(TWO_BUYERS, TWO_BUYERS, [(0, 0), (0, 1), (1, 1)]) == pytest.approx(third / 3)


def test_a_weight_counts_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    buyers, candidates = rng.normal(size=(2, DIM)), rng.normal(size=(3, DIM))
    first, second = (loss_of(buyers, candidates, [one]) for one in ((0, 0), (1, 2)))
    both = loss_of(buyers, candidates, [(0, 0), (1, 2)], weights=[3.0, 1.0])
    assert both == pytest.approx((3 * first + second) / 4)


def gradients_of(chosen: list[Choice], weights: list[float]) -> list[torch.Tensor]:
    buyers, candidates = leaves = [torch.tensor(TWO_BUYERS, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss = info_nce(buyers, candidates, choices_of(chosen, weights), temperature=torch.tensor(1.0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(leaf.grad is not None for leaf in leaves)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize(
    ("chosen", "weights"),
    [
        pytest.param([(0, 0), (0, 1)], [1.0, 1.0], id="nothing was turned down"),
        # Events of weight 0, or contexts so old that their weight is none: an epoch's last batch may hold no others.
        pytest.param([(0, 0), (1, 1)], [0.0, 0.0], id="nothing counts"),
    ],
)
def test_what_teaches_nothing_has_no_loss_and_no_gradient(chosen: list[Choice], weights: list[float]) -> None:
    assert loss_of(TWO_BUYERS, TWO_BUYERS, chosen, weights) == 0
    assert all(not gradient.any() for gradient in gradients_of(chosen, weights))


def test_temperature_divides_the_scores() -> None:
    rng = np.random.default_rng(1)
    buyers, candidates = rng.normal(size=(3, DIM)), rng.normal(size=(5, DIM))
    chosen = [(0, 0), (1, 1), (2, 2)]
    cold = loss_of(buyers, candidates, chosen, temperature=0.07)
    assert cold == pytest.approx(loss_of(buyers / 0.07, candidates, chosen))
    assert cold != pytest.approx(loss_of(buyers, candidates, chosen))


def test_a_constant_log_q_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    arguments = rng.normal(size=(2, DIM)), rng.normal(size=(3, DIM)), [(0, 0), (1, 1)]
    assert loss_of(*arguments, log_q=[-3.0] * 3) == pytest.approx(loss_of(*arguments))


def learned_scores(*, corrected: bool) -> npt.NDArray[np.float64]:
    """Scores of four products after training on buyers who choose alike, one in each of three-context batches.

    A batch's candidates are its distinct targets, so a popular product is nearly always among the negatives and a rare
    one hardly ever: the correction subtracts the log of that chance.
    """
    shares = np.array([0.7, 0.1, 0.1, 0.1])
    log_q_N = torch.tensor(np.log(1 - (1 - shares) ** 3))
    score_N = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([score_N], lr=0.03)
    rng = np.random.default_rng(3)
    for _ in range(1500):
        products = rng.choice(4, size=3, p=shares)
        candidates = np.unique(products)
        chosen = list(enumerate(np.searchsorted(candidates, products).tolist()))
        loss = info_nce(
            torch.ones(3, 1, dtype=torch.float64),
            score_N[candidates][:, None],
            choices_of(chosen),
            temperature=torch.tensor(1.0),
            log_q_C=log_q_N[candidates] if corrected else None,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return score_N.detach().numpy()


def test_the_correction_gives_a_product_back_what_its_popularity_costs_as_a_negative() -> None:
    plain, corrected = (learned_scores(corrected=on) for on in (False, True))
    # The full softmax would learn ln 7 between the popular product and a rare one: the correction comes nearer.
    wanted = math.log(7)
    gaps = [scores[0] - scores[1:].mean() for scores in (plain, corrected)]
    assert gaps[0] < gaps[1]
    assert abs(gaps[1] - wanted) < abs(gaps[0] - wanted) / 2
