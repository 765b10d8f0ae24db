"""InfoNCE against a cross-entropy written out pair by pair."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses import info_nce

DIM = 3

pytestmark = pytest.mark.usefixtures("one_thread")


def brute_force(
    buyer_BD: npt.NDArray[np.float64],
    candidate_CD: npt.NDArray[np.float64],
    products: list[int],
    contexts: list[int],
    temperature: float,
    log_q: list[float] | None,
) -> float:
    """The mean over pairs of -ln(e^own / sum of e^own and all e^negative)."""
    losses = []
    for pair, context in enumerate(contexts):
        exponents = []
        for candidate, product in enumerate(products):
            score = float(buyer_BD[pair] @ candidate_CD[candidate]) / temperature
            score -= log_q[candidate] if log_q else 0.0
            chosen = [products[other] for other, its in enumerate(contexts) if its == context]
            if candidate == pair:
                own = score
            elif product in chosen:
                continue
            exponents.append(score)
        losses.append(math.log(sum(math.exp(exponent) for exponent in exponents)) - own)
    return float(np.mean(losses))


def loss_of(
    buyers: npt.ArrayLike,
    candidates: npt.ArrayLike,
    products: list[int],
    contexts: list[int],
    temperature: float = 1.0,
    log_q: list[float] | None = None,
) -> float:
    product_C, context_B = np.array(products), np.array(contexts)
    together_BB = context_B[:, None] == context_B[None, :]
    same_BC = product_C[: len(contexts), None] == product_C[None, :]
    loss = info_nce(
        torch.tensor(np.asarray(buyers)),
        torch.tensor(np.asarray(candidates)),
        torch.tensor(together_BB @ same_BC),
        temperature=temperature,
        log_q_C=None if log_q is None else torch.tensor(log_q, dtype=torch.float64),
    )
    assert loss.shape == ()
    return float(loss)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n_pairs=st.integers(1, 5), n_random=st.integers(0, 4), seed=st.integers(0, 9999))
def test_equals_brute_force(data: st.DataObject, n_pairs: int, n_random: int, seed: int) -> None:
    n_candidates = n_pairs + n_random
    # Few products and contexts, so that accidental hits and shared contexts are the rule.
    products = data.draw(st.lists(st.integers(0, 4), min_size=n_candidates, max_size=n_candidates))
    contexts = data.draw(st.lists(st.integers(0, 2), min_size=n_pairs, max_size=n_pairs))
    temperature = data.draw(st.sampled_from([0.07, 0.5, 1.0]))
    log_q = data.draw(st.none() | st.lists(st.floats(-6, 0), min_size=n_candidates, max_size=n_candidates))
    rng = np.random.default_rng(seed)
    buyer_BD, candidate_CD = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for vectors in (rng.normal(size=(n_pairs, DIM)), rng.normal(size=(n_candidates, DIM)))
    )
    expected = brute_force(buyer_BD, candidate_CD, products, contexts, temperature, log_q)
    actual = loss_of(buyer_BD, candidate_CD, products, contexts, temperature, log_q)
    assert actual == pytest.approx(expected, abs=1e-9)


TWO_BUYERS = [[1.0, 0.0], [0.0, 1.0]]


def test_two_pairs_by_hand() -> None:
    # Scores [[1, 0], [0, 1]]: each pair has one negative with score 0.
    loss = loss_of(TWO_BUYERS, TWO_BUYERS, products=[7, 8], contexts=[0, 1])
    assert loss == pytest.approx(math.log(math.e + 1) - 1)


def test_the_same_product_of_another_buyer_is_no_negative() -> None:
    assert loss_of(TWO_BUYERS, TWO_BUYERS, products=[7, 7], contexts=[0, 1]) == pytest.approx(0)


def test_a_product_chosen_in_the_same_context_is_no_negative() -> None:
    assert loss_of(TWO_BUYERS, TWO_BUYERS, products=[7, 8], contexts=[3, 3]) == pytest.approx(0)


def test_a_random_product_that_happens_to_be_the_target_is_no_negative() -> None:
    candidates = [*TWO_BUYERS, [1.0, 0.0]]
    # Product 7 drawn again counts for the second pair only, whose score with it is 0.
    loss = loss_of(TWO_BUYERS, candidates, products=[7, 8, 7], contexts=[0, 1])
    first, second = math.log(math.e + 1) - 1, math.log(math.e + 2) - 1
    assert loss == pytest.approx((first + second) / 2)


def test_temperature_divides_the_scores() -> None:
    rng = np.random.default_rng(1)
    buyers, candidates = rng.normal(size=(3, DIM)), rng.normal(size=(5, DIM))
    products, contexts = [0, 1, 2, 3, 4], [0, 1, 2]
    cold = loss_of(buyers, candidates, products, contexts, temperature=0.07)
    assert cold == pytest.approx(loss_of(buyers / 0.07, candidates, products, contexts))
    assert cold != pytest.approx(loss_of(buyers, candidates, products, contexts))


def test_a_constant_log_q_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    arguments = rng.normal(size=(2, DIM)), rng.normal(size=(3, DIM)), [0, 1, 2], [0, 1]
    assert loss_of(*arguments, log_q=[-3.0] * 3) == pytest.approx(loss_of(*arguments))


def learned_scores(*, corrected: bool) -> npt.NDArray[np.float64]:
    """Scores of three products after training on buyers who all choose alike: 80%, 10% and 10%."""
    shares = np.array([0.8, 0.1, 0.1])
    log_q_N = torch.tensor(np.log(shares))
    score_N = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([score_N], lr=0.05)
    rng = np.random.default_rng(3)
    for _ in range(300):
        products = torch.tensor(rng.choice(3, size=64, p=shares))
        loss = info_nce(
            torch.ones(64, 1, dtype=torch.float64),
            score_N[products][:, None],
            products[:, None] == products[None, :],
            temperature=1.0,
            log_q_C=log_q_N[products] if corrected else None,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return score_N.detach().numpy()


def test_the_correction_gives_a_product_back_what_its_popularity_costs_as_a_negative() -> None:
    plain, corrected = learned_scores(corrected=False), learned_scores(corrected=True)
    # The popular product is drawn 8 times as often as either rare one.
    assert (corrected[0] - corrected[1]) - (plain[0] - plain[1]) == pytest.approx(math.log(8), abs=0.1)
    assert corrected[0] > corrected[1]


def test_a_product_of_the_same_context_is_no_negative_wherever_it_comes_from() -> None:
    # Context 0 chose products 1 and 2. Product 2 comes again as context 1's target and from the random draw.
    buyers = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    candidates = [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    loss = loss_of(buyers, candidates, products=[1, 2, 2, 2, 9], contexts=[0, 0, 1])
    # Pair 0 is left with product 9 (scores 1 against 0), pair 1 too (.5 against 0), pair 2 with 1 and 9 (.5, 0, 1).
    first, second = math.log(math.e + 1) - 1, math.log(math.exp(0.5) + 1) - 0.5
    third = math.log(math.exp(0.5) + 1 + math.e) - 0.5
    assert loss == pytest.approx((first + second + third) / 3)
