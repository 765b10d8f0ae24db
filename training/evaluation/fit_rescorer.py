"""Fitting the re-scorer's weights on the validation days, for the model and, by the same rule, for every baseline.

Legend: B asked histories, N products of the catalogue, T targets.
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

DAYS = (7, 14, 30, 90)
HALF_LIVES = (30.0, 90.0, 365.0, 1460.0)
WEIGHTS = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # times the spread of the scores
FINER = (0.6, 0.8, 1.25, 1.6)  # then times the best of these
SPREAD_PRODUCTS = 100
K = 20
MAX_SCORES = 50_000_000  # validation scores held at once, 200 MB: an even sample of the buyers beyond


@dataclass(frozen=True)
class RescorerData:
    """What a ranker is asked, with all that the terms need.

    Attributes:
        histories: What the repeat term counts, B histories: all purchases, and of other events the last ones.
        bought: Products that are not new to each of the B buyers.
        targets, new_targets: Rows of the histories with a target of the kind, and these targets; None without any.
        events: All events before `as_of_ms`, for the popularity term.
        as_of_ms: The moment that days and half-lives count back from.
        event_weights: Of each event-type code, 1 for the strongest.
    """

    histories: Histories
    bought: Histories
    targets: tuple[Int32Array, Targets] | None
    new_targets: tuple[Int32Array, Targets] | None
    events: TrainingEvents
    as_of_ms: int
    event_weights: Float32Array

    def popularity(self, days: int) -> Float32Array:
        """(N,) see artifacts.rescorer.recent_popularity."""
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
        """(N,) the products without any event."""
        counts = np.bincount(self.events.products, minlength=self.events.n_products)
        unseen_N: BoolArray = counts == 0
        return unseen_N

    def repeats(self, half_life_days: float) -> sparse.csr_array:
        """(B, N) ln(1 + the buyer's own events with the product, decayed)."""
        histories = self.histories
        weights = self.event_weights[histories.event_types]
        counts = decayed(histories.event_times, weights, self.as_of_ms, half_life_days)
        shape = (len(histories), self.events.n_products)
        summed = sparse.coo_array((counts, (histories.owners, histories.products)), shape=shape).tocsr()
        summed.sum_duplicates()
        summed.data = np.log1p(summed.data)
        return summed


class RescoredRanker:
    """A ranker with the terms of a re-scorer added to its scores."""

    def __init__(self, ranker: Ranker, rescorer: Rescorer, asked: RescorerData, *, new_only: bool, name: str) -> None:
        """Takes the ranker, whose rows are those of `asked`."""
        self.name = name
        self._ranker = ranker
        lately_N = asked.popularity(rescorer.popularity_span(new_only=new_only))
        self._popularity_N = rescorer.popularity(lately_N, new_only=new_only)
        weight = 0.0 if new_only else rescorer.repeat_weight
        self._repeats_BN = asked.repeats(rescorer.repeat_half_life_days) * np.float32(weight)

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """See Ranker.scores."""
        scores_BN = self._ranker.scores(rows) + self._popularity_N
        repeats = self._repeats_BN[rows].tocoo()
        scores_BN[repeats.row, repeats.col] += repeats.data
        return scores_BN


def fit_rescorer(ranker: Ranker, asked: RescorerData, *, repeats: bool = True) -> Rescorer:
    """The weights that rank the validation targets best, by recall@20 + ndcg@20.

    Coordinate-wise over a declared grid in units of the ranker's own scores, so that it serves rankers of any scale:
    first the popularity term on targets new to the buyer, then both terms on all targets. Weights of 0 are in the grid:
    a term that does not help, or that nobody's choice speaks for, is left out. Products without any event do not
    compete: hardly anybody can have chosen one yet, so whatever buries them would look good and hide new products.

    Args:
        ranker: Its rows are those of `asked`.
        asked: The validation.
        repeats: False fits the popularity term alone.
    """
    rescorer = Rescorer()
    popularity = {days: torch.from_numpy(asked.popularity(days)) for days in DAYS}
    if asked.new_targets is not None:
        rescorer = _fit_new(ranker, asked, asked.new_targets, popularity)
    if asked.targets is not None:
        rescorer = _fit_all(ranker, asked, asked.targets, popularity, rescorer, repeats=repeats)
    return rescorer


def _fit_new(
    ranker: Ranker, asked: RescorerData, question: tuple[Int32Array, Targets], popularity: Mapping[int, torch.Tensor]
) -> Rescorer:
    """The popularity term of lists of new products."""
    rows, targets = _sampled(question, asked.events.n_products)
    scores_BN = torch.from_numpy(np.array(ranker.scores(rows)))
    spread = _spread(scores_BN)
    scores_BN[:, asked.unseen()] = -torch.inf
    bought = asked.bought.take(rows.astype(np.int64))
    scores_BN[bought.owners, bought.products] = -torch.inf

    def value(tried: Rescorer) -> float:
        return _value(scores_BN + tried.new_popularity_weight * popularity[tried.new_popularity_days], targets)

    tried = (
        Rescorer(new_popularity_days=days, new_popularity_weight=weight * spread)
        for weight in WEIGHTS
        for days in (DAYS if weight else DAYS[:1])
    )
    return _finer(_best(tried, value), "new_popularity_weight", value)


def _fit_all(
    ranker: Ranker,
    asked: RescorerData,
    question: tuple[Int32Array, Targets],
    popularity: Mapping[int, torch.Tensor],
    rescorer: Rescorer,
    *,
    repeats: bool,
) -> Rescorer:
    """Both terms of lists of any products; the popularity term starts from that of new ones."""
    rows, targets = _sampled(question, asked.events.n_products)
    scores_BN = torch.from_numpy(np.array(ranker.scores(rows)))
    spread = _spread(scores_BN)
    scores_BN[:, asked.unseen()] = -torch.inf
    terms = {days: asked.repeats(days)[rows].tocoo() for days in HALF_LIVES}

    def value(tried: Rescorer) -> float:
        adjusted_BN = scores_BN + tried.popularity_weight * popularity[tried.popularity_days]
        term = terms[tried.repeat_half_life_days]
        adjusted_BN[term.row, term.col] += tried.repeat_weight * torch.from_numpy(term.data)
        return _value(adjusted_BN, targets)

    rescorer = replace(
        rescorer, popularity_days=rescorer.new_popularity_days, popularity_weight=rescorer.new_popularity_weight
    )
    fields = ("repeat_weight", "popularity_weight") if repeats else ("popularity_weight",)
    for _ in range(2):  # the two terms shift each other's best weight
        for field in fields:
            rescorer = _best([rescorer, *(_with(rescorer, field, spread * factor) for factor in WEIGHTS)], value)
        spans = [replace(rescorer, popularity_days=days) for days in DAYS]
        half_lives = [replace(rescorer, repeat_half_life_days=days) for days in HALF_LIVES if repeats]
        rescorer = _best([rescorer, *spans, *half_lives], value)
    for field in fields:
        rescorer = _finer(rescorer, field, value)
    return rescorer


def _best(tried: Iterable[Rescorer], value: Callable[[Rescorer], float]) -> Rescorer:
    """The first of the best."""
    return max(tried, key=value)


def _finer(rescorer: Rescorer, field: str, value: Callable[[Rescorer], float]) -> Rescorer:
    weight = getattr(rescorer, field)
    return _best([rescorer, *(_with(rescorer, field, weight * factor) for factor in FINER)], value)


def _with(rescorer: Rescorer, field: str, weight: float) -> Rescorer:
    return Rescorer(**(asdict(rescorer) | {field: weight}))


def _sampled(question: tuple[Int32Array, Targets], n_products: int) -> tuple[Int32Array, Targets]:
    rows, targets = question
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_SCORES // n_products)).astype(np.int64))
    return rows[places], targets.take(places)


def _spread(scores_BN: torch.Tensor) -> float:
    """How far the scores of a buyer's best products lie apart, on average."""
    best_BK = scores_BN.topk(min(SPREAD_PRODUCTS, scores_BN.shape[1]), dim=1).values
    return float(best_BK.std(dim=1).mean()) or 1.0


def _value(scores_BN: torch.Tensor, targets: Targets) -> float:
    ranked_BK = scores_BN.topk(min(K, scores_BN.shape[1]), dim=1).indices.numpy().astype(np.int32)
    metrics = accuracy_metrics(ranked_BK, targets, [ranked_BK.shape[1]])
    return metrics[f"recall@{ranked_BK.shape[1]}"] + metrics[f"ndcg@{ranked_BK.shape[1]}"]
