"""Fits the re-scorer's weights on the validation days, for the model and in the same way for every baseline.

Legend: B buyers, N products of the catalogue, K products in a list.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from feature_repo.common.arrays import Float32Array, Float64Array, Int64Array
from feature_repo.settings.model import RESCORER_TERMS, RescorerTerm
from training.artifacts.scoring.rescorer import CountedBuyers, Rescorer
from training.evaluation.bootstrap import paired_interval, standard_error
from training.evaluation.metrics import Targets, accuracy_per_buyer
from training.evaluation.ranker import Ranker
from training.evaluation.rescored_ranker import Chosen, RescorerData, add_terms

log = logging.getLogger(__name__)

POPULARITY_SPANS = (7, 14, 30, 90)  # days
HALF_LIVES = (30.0, 90.0, 365.0, 1460.0)  # days
# Ascending: of equal values the search keeps the first, so a larger weight has to rank better. In units of the spread
# of the scores; the terms for closeness and co-occurrence, which are similarities or sums of a few, have a unit of 1.
WEIGHT_GRID = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
REFINED_GRID = (0.6, 0.8, 1.25, 1.6)  # factors of the best weight
# The spread is that of a buyer's best products, because only among these can a term change the list.
SPREAD_PRODUCTS = 100
# The cut-off of SELECTION_METRIC, which chooses the epoch.
CUT_OFF = 20
# Scores of validation contexts, 200 MB, as many of the closeness term, and the fewer ones of the sparse terms; of more
# contexts an evenly spaced sample is used, of at least FEWEST_SAMPLED.
MAX_SCORES, FEWEST_SAMPLED = 50_000_000, 200
# With fewer buyers to prove a term on, an interval excludes 0 only by luck, and the default weights apply.
FEWEST_TO_PROVE = 50
# In the units of WEIGHT_GRID: about what the fits on Online Retail and Complete Journey found (ADR 0023), and for
# co-occurrence about what did best in two small shops (ADR 0025).
DEFAULT_WEIGHTS = {
    "popularity_weight": 1.0,
    "repeat_weight": 8.0,
    "co_occurrence_weight": 0.0,
    "closeness_weight": 0.0,
    "new_popularity_weight": 2.0,
    "new_co_occurrence_weight": 1.0,
    "new_closeness_weight": 0.5,
}
# Of one interval. Up to four are asked about a kind of list, and the terms are chosen on the half that proves them: ADR
# 0023 has the share of useless terms that pass.
PROOF_LEVEL, PROOF_RESAMPLES = 0.983, 4_000
PROOF_FACTORS = (1.0, 0.5, 0.25)  # of a fitted weight, which may be too large for the later half


# ---- fit -------------------------------------------------------------------------------------------------------------


def fit_rescorer(ranker: Ranker, data: RescorerData, wanted: Collection[RescorerTerm] = RESCORER_TERMS) -> Rescorer:
    """The weights that rank the validation targets best by recall@20 + ndcg@20, where that is proven.

    A coordinate-wise search over a grid finds the weights on the earlier half of the targets. The later half proves
    them. A term stays if the later half loses more than a standard error without it, and all that stay must together
    have a paired interval above 0, at their weights or at a half or a quarter of them. The weights of the terms that
    stay are then searched on all targets; the others are 0. Where no fitted weights are proven, DEFAULT_WEIGHTS are
    tried in the same way, and the earlier half must gain from them, too; else all weights are 0. With fewer than
    FEWEST_TO_PROVE buyers in the later half nothing can be proven, and DEFAULT_WEIGHTS apply.

    The grid is in units of the spread of the ranker's own scores, so rankers of any scale can be compared. Products
    without any event are excluded: almost nobody can have chosen them yet, so a weight that hides new products would
    look good.

    Args:
        ranker: Scores the contexts of `data`.
        data: The validation data.
        wanted: The terms that it may have; closeness and co-occurrence only if `data` has what they need.
    """
    rescorer = Rescorer()
    for new_only, chosen in ((True, data.new_targets), (False, data.targets)):
        terms = _terms(data, wanted, new_only=new_only)
        if chosen is not None and terms:
            rescorer = _fitted(_Lists(ranker, data, chosen, new_only=new_only), rescorer, terms)
    return rescorer


class _Term(NamedTuple):
    """A term whose weight is fitted.

    Attributes:
        field: The field of Rescorer that holds its weight.
        options: Values of the other fields that it depends on.
        in_spreads: Whether the unit of its weight is the spread of the scores; else it is 1.
    """

    field: str
    options: Sequence[Mapping[str, Any]]
    in_spreads: bool = True


def _terms(data: RescorerData, wanted: Collection[RescorerTerm], *, new_only: bool) -> list[_Term]:
    """The wanted terms of a kind of list, the one that usually adds most first."""
    if new_only:
        spans = [
            {"new_popularity_days": days, "new_popularity_first_time": first_time}
            for days, first_time in product(POPULARITY_SPANS, (False, True))
        ]
        terms = {"popularity": _Term("new_popularity_weight", spans)}
    else:
        terms = {
            "repeat": _Term("repeat_weight", [{"repeat_half_life_days": days} for days in HALF_LIVES]),
            "popularity": _Term("popularity_weight", [{"popularity_days": days} for days in POPULARITY_SPANS]),
        }
    model_terms = {"co_occurrence": data.tower_events, "closeness": data.closeness}
    prefix = "new_" if new_only else ""
    terms |= {
        name: _Term(f"{prefix}{name}_weight", [{}], in_spreads=False)
        for name, of_data in model_terms.items()
        if of_data is not None
    }
    return [term for name, term in terms.items() if name in wanted]


def _fitted(lists: "_Lists", rescorer: Rescorer, terms: Sequence[_Term]) -> Rescorer:
    earlier, later = lists.chosen.halves()
    n_buyers = len(np.unique(lists.buyers(later)))
    default = _with(rescorer, {term.field: DEFAULT_WEIGHTS[term.field] * lists.unit(term) for term in terms})
    if n_buyers < FEWEST_TO_PROVE:
        log.warning("the terms of the re-scorer have default weights: %d buyers prove nothing", n_buyers)
        return default
    fitted = _searched(lists, rescorer, terms, earlier)
    kept = _useful(lists, fitted, terms, later)
    if kept and any(_is_proven(lists, _only(fitted, terms, kept, factor), terms, later) for factor in PROOF_FACTORS):
        return _searched(lists, rescorer, kept, lists.chosen)
    default = _only(default, terms, _useful(lists, default, terms, later))
    helps_earlier = lists.values(default, earlier).mean() > lists.values(rescorer, earlier).mean()
    if helps_earlier and _is_proven(lists, default, terms, later):
        log.info("the terms of the re-scorer have default weights: no fitted ones are proven")
        return default
    return rescorer


class _Lists:
    """The validation contexts of one kind of list, with their scores and terms.

    Attributes:
        chosen: The contexts, or an evenly spaced sample whose scores fit into MAX_SCORES.
    """

    def __init__(self, ranker: Ranker, data: RescorerData, chosen: Chosen, *, new_only: bool) -> None:
        """Computes the scores, without products that no list of the kind may have."""
        self.chosen = _sampled(chosen, data.events.n_products)
        self._data, self._new_only = data, new_only
        rows = self.chosen.rows
        self._place_of = {row: place for place, row in enumerate(rows.tolist())}
        self._scores_BN = torch.from_numpy(np.array(ranker.scores(rows)))
        # Before the masks: -inf has no standard deviation.
        self._spread = _spread(self._scores_BN)
        self._scores_BN[:, data.unseen()] = -torch.inf
        if new_only:
            purchases = data.purchases.take(rows.astype(np.int64))
            self._scores_BN[purchases.owners, purchases.products] = -torch.inf
        self._closeness_BN = None if data.closeness is None else torch.from_numpy(data.closeness.scores(rows))
        self._popularity: dict[CountedBuyers, Float32Array] = {}
        self._repeats: dict[float, sparse.csr_array] = {}

    @cached_property
    def _votes(self) -> sparse.csr_array:
        # Only if a weight is searched: the default weights of a shop with few buyers need no count of all its events.
        return self._data.votes(self.chosen.rows)

    def unit(self, term: _Term) -> float:
        """What WEIGHT_GRID counts for a term."""
        return self._spread if term.in_spreads else 1.0

    def buyers(self, chosen: Chosen) -> Int64Array:
        """(B,) code of the buyer of some of the contexts."""
        return self._data.buyers[chosen.rows]

    def values(self, rescorer: Rescorer, chosen: Chosen) -> Float64Array:
        """(B,) recall@20 + ndcg@20 of some of the contexts."""
        places = np.array([self._place_of[row] for row in chosen.rows.tolist()], dtype=np.int64)
        scores_BN = self._scores_BN[places]
        scores_BN += torch.from_numpy(rescorer.popularity(self._recent(rescorer), new_only=self._new_only))
        if not self._new_only and rescorer.repeat_weight:
            repeated = self._repeated(rescorer.repeat_half_life_days)[places]
            add_terms(scores_BN.numpy(), repeated * np.float32(rescorer.repeat_weight))
        if co_occurrence := rescorer.co_occurrence(new_only=self._new_only):
            add_terms(scores_BN.numpy(), self._votes[places] * np.float32(co_occurrence))
        closeness = rescorer.closeness(new_only=self._new_only)
        if self._closeness_BN is not None and closeness:
            scores_BN += closeness * self._closeness_BN[places]
        k = min(CUT_OFF, scores_BN.shape[1])
        ranked_BK = scores_BN.topk(k, dim=1).indices.numpy().astype(np.int32)
        metrics = accuracy_per_buyer(ranked_BK, Targets(chosen.targets.offsets, chosen.targets.products), [k])
        return metrics[f"recall@{k}"] + metrics[f"ndcg@{k}"]

    def _recent(self, rescorer: Rescorer) -> Float32Array:
        counted = rescorer.counted_buyers(new_only=self._new_only)
        if counted not in self._popularity:
            self._popularity[counted] = self._data.popularity(counted)
        return self._popularity[counted]

    def _repeated(self, half_life_days: float) -> sparse.csr_array:
        if half_life_days not in self._repeats:
            self._repeats[half_life_days] = self._data.repeats(half_life_days)[self.chosen.rows]
        return self._repeats[half_life_days]


# ---- search of the grid ----------------------------------------------------------------------------------------------


def _searched(lists: _Lists, rescorer: Rescorer, terms: Sequence[_Term], chosen: Chosen) -> Rescorer:
    """The best weights and options of the terms, one at a time."""

    def best(candidates: Iterable[Rescorer]) -> Rescorer:
        # max keeps the first of several equal ones.
        return max(candidates, key=lambda candidate: float(lists.values(candidate, chosen).mean()))

    for _ in range(2):  # the best weight of one term depends on the others'
        for term in terms:
            weights = (lists.unit(term) * factor for factor in WEIGHT_GRID)
            rescorer = best([rescorer, *(_with(rescorer, {term.field: weight}) for weight in weights)])
            if getattr(rescorer, term.field) and len(term.options) > 1:
                rescorer = best([rescorer, *(_with(rescorer, option) for option in term.options)])
    for term in terms:
        if weight := getattr(rescorer, term.field):
            rescorer = best([rescorer, *(_with(rescorer, {term.field: weight * factor}) for factor in REFINED_GRID)])
    return rescorer


def _useful(lists: _Lists, fitted: Rescorer, terms: Sequence[_Term], chosen: Chosen) -> list[_Term]:
    """The terms without which, beside the others, the contexts lose more than a standard error.

    They are left out one after the other, so that of two that say the same one stays.
    """
    kept = [term for term in terms if getattr(fitted, term.field)]
    for term in reversed(kept):
        without = [other for other in kept if other is not term]
        lost_B = lists.values(_only(fitted, terms, kept), chosen) - lists.values(_only(fitted, terms, without), chosen)
        if lost_B.mean() <= standard_error(lost_B, lists.buyers(chosen)):
            kept = without
    return kept


def _is_proven(lists: _Lists, rescorer: Rescorer, terms: Sequence[_Term], chosen: Chosen) -> bool:
    """Whether the contexts prove that the terms, with these weights, are better than none."""
    with_B, without_B = lists.values(rescorer, chosen), lists.values(_only(rescorer, terms, []), chosen)
    interval = paired_interval(with_B, without_B, lists.buyers(chosen), level=PROOF_LEVEL, resamples=PROOF_RESAMPLES)
    return interval[0] > 0


def _only(fitted: Rescorer, terms: Sequence[_Term], kept: Sequence[_Term], factor: float = 1.0) -> Rescorer:
    """The re-scorer with a part of the weights of the kept terms, and without the others."""
    return _with(fitted, {term.field: getattr(fitted, term.field) * factor * (term in kept) for term in terms})


def _with(rescorer: Rescorer, values: Mapping[str, Any]) -> Rescorer:
    # dataclasses.replace with computed field names does not pass the type check.
    return Rescorer(**(asdict(rescorer) | dict(values)))


def _sampled(chosen: Chosen, n_products: int) -> Chosen:
    """An evenly spaced sample whose scores fit into MAX_SCORES."""
    n_rows = len(chosen.rows)
    n_sampled = min(n_rows, max(MAX_SCORES // n_products, FEWEST_SAMPLED))
    return chosen.take(np.unique(np.linspace(0, n_rows - 1, n_sampled).astype(np.int64)))


def _spread(scores_BN: torch.Tensor) -> float:
    """Mean standard deviation of the scores of a buyer's best products."""
    best_BK = scores_BN.topk(min(SPREAD_PRODUCTS, scores_BN.shape[1]), dim=1).values
    # Divided by K - 1, so one score alone has no deviation.
    spread = float(best_BK.std(dim=1).mean()) if best_BK.shape[1] > 1 else 0.0
    # 1.0 for a ranker with equal scores; the grid would otherwise consist of zeros.
    return spread or 1.0
