"""Fits the re-scorer's weights on the validation days, for the model and in the same way for every baseline.

Legend: B buyers, N products of the catalogue, T targets, K products in a list.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from scipy import sparse

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array
from training.artifacts.rescorer import Rescorer, decayed, recent_popularity
from training.data.histories import Histories
from training.evaluation.metrics import Targets, accuracy_metrics
from training.evaluation.ranker import Ranker, TrainingEvents

POPULARITY_SPANS = (7, 14, 30, 90)  # days
HALF_LIVES = (30.0, 90.0, 365.0, 1460.0)  # days
# Ascending: of equal values the search keeps the first, so a larger weight has to rank better.
WEIGHT_GRID = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # in units of the spread of the scores
REFINED_GRID = (0.6, 0.8, 1.25, 1.6)  # factors of the best weight
# The spread is that of a buyer's best products, because only among these can a term change the list.
SPREAD_PRODUCTS = 100
# The cut-off of SELECTION_METRIC, which chooses the epoch.
CUT_OFF = 20
MAX_SCORES = 50_000_000  # 200 MB of validation scores; with more buyers an evenly spaced sample is used


# ---- data and re-scored ranker ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RescorerData:
    """The contexts that a re-scorer is fitted or applied on, with everything that its terms need.

    Attributes:
        histories: Events that the repeat term counts, B histories: all purchases, and the last events of other types.
        purchases: Products that are not new to each of the B buyers.
        targets, new_targets: Rows of the contexts with a target among all or among new products, and these targets;
            None if there are none.
        events: All events before `as_of_ms`, for the popularity term.
        as_of_ms: The moment that days and half-lives count back from, milliseconds since 1970.
        event_weights: Weight of each event-type code; the highest is 1.
    """

    histories: Histories
    purchases: Histories
    targets: tuple[Int32Array, Targets] | None
    new_targets: tuple[Int32Array, Targets] | None
    events: TrainingEvents
    as_of_ms: int
    event_weights: Float32Array

    def popularity(self, days: int) -> Float32Array:
        """(N,) artifacts.rescorer.recent_popularity over `days`."""
        events = self.events
        return recent_popularity(
            events.buyers,
            events.products,
            events.event_times,
            until_ms=self.as_of_ms,
            days=days,
            n_products=events.n_products,
        )

    def unseen(self) -> BoolArray:
        """(N,) whether a product has no event."""
        counts = np.bincount(self.events.products, minlength=self.events.n_products)
        unseen_N: BoolArray = counts == 0
        return unseen_N

    def repeats(self, half_life_days: float) -> sparse.csr_array:
        """(B, N) ln(1 + decayed number of the buyer's events with the product)."""
        histories = self.histories
        weights = self.event_weights[histories.event_types]
        counts = decayed(histories.event_times, weights, self.as_of_ms, half_life_days)
        shape = (len(histories), self.events.n_products)
        # The counts of a product are summed before the logarithm, as Recommender.repeats does.
        summed = sparse.coo_array((counts, (histories.owners, histories.products)), shape=shape).tocsr()
        summed.sum_duplicates()
        summed.data = np.log1p(summed.data)
        return summed


class RescoredRanker:
    """Adds the terms of a re-scorer to the scores of a ranker."""

    def __init__(self, ranker: Ranker, rescorer: Rescorer, data: RescorerData, *, new_only: bool, name: str) -> None:
        """The rows of `ranker` and of `data` are the same contexts."""
        self.name = name
        self._ranker = ranker
        recent_N = data.popularity(rescorer.popularity_span(new_only=new_only))
        self._popularity_N = rescorer.popularity(recent_N, new_only=new_only)
        weight = 0.0 if new_only else rescorer.repeat_weight
        self._repeats_BN = data.repeats(rescorer.repeat_half_life_days) * np.float32(weight)

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) scores with both terms; `new_only` omits the repeat term."""
        scores_BN = self._ranker.scores(rows) + self._popularity_N
        repeats = self._repeats_BN[rows].tocoo()
        # A CSR matrix has each pair once. += would add a repeated pair once only.
        scores_BN[repeats.row, repeats.col] += repeats.data
        return scores_BN


# ---- fit -------------------------------------------------------------------------------------------------------------


def fit_rescorer(ranker: Ranker, data: RescorerData, *, repeats: bool = True) -> Rescorer:
    """The weights that rank the validation targets best, by recall@20 + ndcg@20.

    Coordinate-wise search over a grid. The grid is in units of the spread of the ranker's own scores, so rankers of any
    scale can be compared. The popularity term is fitted on targets new to the buyer first, then both terms on all
    targets. The grid contains 0, so a term that does not help is switched off. Products without any event are excluded:
    almost nobody can have chosen them yet, so a weight that hides new products would look good.

    Args:
        ranker: Scores the contexts of `data`.
        data: The validation data.
        repeats: False fits the popularity term alone.
    """
    rescorer = Rescorer()
    popularity = {days: torch.from_numpy(data.popularity(days)) for days in POPULARITY_SPANS}
    if data.new_targets is not None:
        rescorer = _fit_new(ranker, data, data.new_targets, popularity)
    if data.targets is not None:
        rescorer = _fit_all(ranker, data, data.targets, popularity, rescorer, repeats=repeats)
    return rescorer


def _fit_new(
    ranker: Ranker, data: RescorerData, row_targets: tuple[Int32Array, Targets], popularity: Mapping[int, torch.Tensor]
) -> Rescorer:
    """Fits the popularity term for lists of new products."""
    rows, targets = _sampled(row_targets, data.events.n_products)
    scores_BN = torch.from_numpy(np.array(ranker.scores(rows)))
    # Before the masks: -inf has no standard deviation.
    spread = _spread(scores_BN)
    scores_BN[:, data.unseen()] = -torch.inf
    purchases = data.purchases.take(rows.astype(np.int64))
    scores_BN[purchases.owners, purchases.products] = -torch.inf

    def objective(candidate: Rescorer) -> float:
        term_N = candidate.new_popularity_weight * popularity[candidate.new_popularity_days]
        return _objective(scores_BN + term_N, targets)

    candidates = (
        Rescorer(new_popularity_days=days, new_popularity_weight=weight * spread)
        for weight in WEIGHT_GRID
        # With weight 0 all spans are equal.
        for days in (POPULARITY_SPANS if weight else POPULARITY_SPANS[:1])
    )
    return _refined(_best(candidates, objective), "new_popularity_weight", objective)


def _fit_all(
    ranker: Ranker,
    data: RescorerData,
    row_targets: tuple[Int32Array, Targets],
    popularity: Mapping[int, torch.Tensor],
    rescorer: Rescorer,
    *,
    repeats: bool,
) -> Rescorer:
    """Fits both terms for lists of any products, starting from the popularity term for new products."""
    rows, targets = _sampled(row_targets, data.events.n_products)
    scores_BN = torch.from_numpy(np.array(ranker.scores(rows)))
    spread = _spread(scores_BN)
    scores_BN[:, data.unseen()] = -torch.inf
    terms = {days: data.repeats(days)[rows].tocoo() for days in HALF_LIVES}

    def objective(candidate: Rescorer) -> float:
        adjusted_BN = scores_BN + candidate.popularity_weight * popularity[candidate.popularity_days]
        term = terms[candidate.repeat_half_life_days]
        adjusted_BN[term.row, term.col] += candidate.repeat_weight * torch.from_numpy(term.data)
        return _objective(adjusted_BN, targets)

    rescorer = replace(
        rescorer, popularity_days=rescorer.new_popularity_days, popularity_weight=rescorer.new_popularity_weight
    )
    fields = ("repeat_weight", "popularity_weight") if repeats else ("popularity_weight",)
    for _ in range(2):  # the best weight of one term depends on the other's
        for field in fields:
            rescorer = _best(
                [rescorer, *(_with(rescorer, field, spread * factor) for factor in WEIGHT_GRID)], objective
            )
        spans = [replace(rescorer, popularity_days=days) for days in POPULARITY_SPANS]
        half_lives = [replace(rescorer, repeat_half_life_days=days) for days in HALF_LIVES if repeats]
        rescorer = _best([rescorer, *spans, *half_lives], objective)
    for field in fields:
        rescorer = _refined(rescorer, field, objective)
    return rescorer


# ---- search of the grid ----------------------------------------------------------------------------------------------


def _best(candidates: Iterable[Rescorer], objective: Callable[[Rescorer], float]) -> Rescorer:
    """The candidate with the highest objective; the first one if several are equal."""
    return max(candidates, key=objective)


def _refined(rescorer: Rescorer, field: str, objective: Callable[[Rescorer], float]) -> Rescorer:
    weight = getattr(rescorer, field)
    return _best([rescorer, *(_with(rescorer, field, weight * factor) for factor in REFINED_GRID)], objective)


def _with(rescorer: Rescorer, field: str, weight: float) -> Rescorer:
    # dataclasses.replace with a computed field name does not pass the type check.
    return Rescorer(**(asdict(rescorer) | {field: weight}))


def _sampled(row_targets: tuple[Int32Array, Targets], n_products: int) -> tuple[Int32Array, Targets]:
    """An evenly spaced sample whose scores fit into MAX_SCORES."""
    rows, targets = row_targets
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_SCORES // n_products)).astype(np.int64))
    return rows[places], targets.take(places)


def _spread(scores_BN: torch.Tensor) -> float:
    """Mean standard deviation of the scores of a buyer's best products."""
    best_BK = scores_BN.topk(min(SPREAD_PRODUCTS, scores_BN.shape[1]), dim=1).values
    # Divided by K - 1, so one score alone has no deviation.
    spread = float(best_BK.std(dim=1).mean()) if best_BK.shape[1] > 1 else 0.0
    # 1.0 for a ranker with equal scores; the grid would otherwise consist of zeros.
    return spread or 1.0


def _objective(scores_BN: torch.Tensor, targets: Targets) -> float:
    ranked_BK = scores_BN.topk(min(CUT_OFF, scores_BN.shape[1]), dim=1).indices.numpy().astype(np.int32)
    metrics = accuracy_metrics(ranked_BK, targets, [ranked_BK.shape[1]])
    return metrics[f"recall@{ranked_BK.shape[1]}"] + metrics[f"ndcg@{ranked_BK.shape[1]}"]
