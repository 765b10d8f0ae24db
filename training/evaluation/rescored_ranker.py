"""A ranker with the terms of a re-scorer, and the data that these are computed from.

Legend: B buyers, N products of the catalogue, T targets, P products of a pool.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import CLOSENESS_POOL, CountedBuyers, Rescorer, decayed, recent_popularity
from training.data.histories import Histories
from training.evaluation.ranker import Ranker, TrainingEvents
from training.model.encoding import Closeness


class Chosen(NamedTuple):
    """What the buyers of some contexts chose.

    Attributes:
        rows: (B,) rows of the contexts.
        targets: B histories of the products that they chose, none empty.
    """

    rows: Int32Array
    targets: Histories

    def take(self, places: Int64Array) -> "Chosen":
        """Some of the contexts."""
        return Chosen(self.rows[places], self.targets.take(places))

    def halves(self) -> tuple["Chosen", "Chosen"]:
        """The earlier and the later half of the targets; a context can have targets in both.

        Targets of (nearly) one time, as of a leave-one-out split, are halved by context.
        """
        times = self.targets.event_times
        later = times > np.median(times)
        if not 1 / 4 <= later.mean() <= 3 / 4:
            later = self.targets.owners % 2 == 1
        return self._where(~later), self._where(later)

    def _where(self, kept: BoolArray) -> "Chosen":
        targets = self.targets.where(kept)
        places = np.flatnonzero(targets.lengths > 0)
        return Chosen(self.rows[places], targets.take(places))


@dataclass(frozen=True)
class RescorerData:
    """The contexts that a re-scorer is fitted or applied on, with everything that its terms need.

    Attributes:
        histories: Events that the repeat term counts, B histories: all purchases, and the last events of other types.
        purchases: Products that are not new to each of the B buyers.
        targets, new_targets: The contexts with a target among all or among new products; None if there are none.
        events: All events before `as_of_ms`, for popularity and co-occurrence.
        as_of_ms: The moment that days and half-lives count back from, milliseconds since 1970.
        event_weights: Weight of each event-type code; the highest is 1.
        buyers: (B,) code of the buyer of each context, since a buyer may have several.
        tower_events: Events that the co-occurrence term counts, B histories: those that the buyer tower reads. None
            leaves the term out, for a baseline: with it, that would be a mixture with item-kNN.
        closeness: The closeness term of the B contexts; None for a ranker without product vectors.
    """

    histories: Histories
    purchases: Histories
    targets: Chosen | None
    new_targets: Chosen | None
    events: TrainingEvents
    as_of_ms: int
    event_weights: Float32Array
    buyers: Int64Array
    tower_events: Histories | None = None
    closeness: Closeness | None = None

    def popularity(self, counted: CountedBuyers) -> Float32Array:
        """(N,) artifacts.scoring.rescorer.recent_popularity."""
        events = self.events
        return recent_popularity(
            events.buyers,
            events.products,
            events.event_times,
            until_ms=self.as_of_ms,
            counted=counted,
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

    @cached_property
    def co_occurrence(self) -> CoOccurrence:
        """What the same buyers chose."""
        events = self.events
        return CoOccurrence.of_events(events.buyers, events.products, events.event_times, events.n_products)

    def votes(self, rows: Int32Array) -> sparse.csr_array:
        """(C, N) the co-occurrence term of C of the contexts, for a weight of 1; zeros without tower_events."""
        shape = (len(rows), self.events.n_products)
        if self.tower_events is None or len(rows) == 0:
            return sparse.csr_array(shape, dtype=np.float32)
        offsets = self.tower_events.offsets
        bounds = [slice(*offsets[row : row + 2]) for row in rows.tolist()]
        terms = [
            self.co_occurrence.votes(self.tower_events.products[own], self.tower_events.event_times[own])
            for own in bounds
        ]
        ends = np.cumsum([0, *(len(term.positions) for term in terms)])
        arrays = (
            np.concatenate([term.terms for term in terms]),
            np.concatenate([term.positions for term in terms]),
            ends,
        )
        return sparse.csr_array(arrays, shape=shape)


class RescoredRanker:
    """Adds the terms of a re-scorer to the scores of a ranker."""

    def __init__(self, ranker: Ranker, rescorer: Rescorer, data: RescorerData, *, new_only: bool, name: str) -> None:
        """The rows of `ranker` and of `data` are the same contexts."""
        self.name = name
        self._ranker = ranker
        recent_N = data.popularity(rescorer.counted_buyers(new_only=new_only))
        self._popularity_N = rescorer.popularity(recent_N, new_only=new_only)
        weight = 0.0 if new_only else rescorer.repeat_weight
        self._repeats_BN = data.repeats(rescorer.repeat_half_life_days) * np.float32(weight)
        self._data, self._co_occurrence_weight = data, rescorer.co_occurrence(new_only=new_only)
        self._closeness, self._closeness_weight = data.closeness, rescorer.closeness(new_only=new_only)
        # As in serving, products that the list may not have take no place of the others.
        self._excluded = data.purchases if new_only else None

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) scores with all terms; `new_only` omits the repeat term."""
        scores_BN = self._ranker.scores(rows) + self._popularity_N
        add_terms(scores_BN, self._repeats_BN[rows])
        if self._co_occurrence_weight:
            add_terms(scores_BN, self._data.votes(rows) * np.float32(self._co_occurrence_weight))
        if self._closeness is not None and self._closeness_weight:
            pool_BP = self._pool(rows, torch.from_numpy(scores_BN)).numpy()
            term_BP = np.float32(self._closeness_weight) * self._closeness.of(rows, pool_BP)
            np.put_along_axis(scores_BN, pool_BP, np.take_along_axis(scores_BN, pool_BP, axis=1) + term_BP, axis=1)
        return scores_BN

    def _pool(self, rows: Int32Array, scores_BN: torch.Tensor) -> torch.Tensor:
        """(B, P) the products that get the closeness term."""
        if self._excluded is not None:
            excluded = self._excluded.take(rows.astype(np.int64))
            scores_BN = scores_BN.index_put(
                (torch.from_numpy(excluded.owners), torch.from_numpy(excluded.products).long()),
                torch.tensor(-torch.inf),
            )
        return scores_BN.topk(min(CLOSENESS_POOL, scores_BN.shape[1]), dim=1).indices


def add_terms(scores_BN: Float32Array, terms_BN: sparse.csr_array) -> None:
    """Adds terms of some products to the scores, in place."""
    terms = terms_BN.tocoo()
    # A CSR matrix has each pair once. += would add a repeated pair once only.
    scores_BN[terms.row, terms.col] += terms.data
