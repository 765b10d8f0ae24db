"""Merchandising rules applied to the products of a release.

`compile_rules` finds the products of every rule, once per rule set and catalogue. `CompiledRules.active` returns the
rules that are active at the time of a request. `place_pins` puts pinned products in their places.

Legend: K results, N products, M products of one rule or group.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from online_api.lists.product_conditions import ProductConditions
from online_api.lists.rule_file import Rule, RuleSet

log = logging.getLogger(__name__)

NAMES_IN_A_WARNING = 10


# ---- the rules that are active at one time ---------------------------------------------------------------------------


class Pin(NamedTuple):
    """A product (its position in the catalogue) and its place in the list, counted from 0."""

    place: int
    position: int
    rule: str


class AdjustmentGroup(NamedTuple):
    """The products, (M,) ascending, that have the same adjustment, which is not 0."""

    adjustment: float
    positions_M: Int64Array


@dataclass(frozen=True)
class ActiveRules:
    """The rules that are active at one time.

    The K best products by adjusted score are among the K best by score of each group and the K best of `unburied_N`. A
    search for the K best by score alone would miss boosted products, and would return buried ones in their place.

    Attributes:
        pins: Sorted by place, then in the order of the file.
        adjustment_N: The sum of boosts minus the sum of buries; None if no rule boosts or buries.
        unburied_N: Which products have no negative adjustment; None if all.
        groups: All products with an adjustment, grouped by it, in ascending order.
    """

    pins: tuple[Pin, ...]
    adjustment_N: Float32Array | None
    unburied_N: BoolArray | None
    groups: tuple[AdjustmentGroup, ...]
    _rule_sets: list[tuple[Rule, ...]]
    _rule_set_N: Int32Array

    def names_at(self, position: int) -> list[str]:
        """Names of the rules that boost or bury a product; place_pins returns the rule that pinned it."""
        return [rule.name for rule in self._rule_sets[self._rule_set_N[position]]]


class _RuleProducts(NamedTuple):
    """A rule and the positions of its products: in the order of the rule for a pin, else ascending."""

    rule: Rule
    positions_M: Int64Array


class _ActiveWindow(NamedTuple):
    """The rules that are active in [start, end), in milliseconds."""

    start: float
    end: float
    rules: ActiveRules | None


# ---- compilation for one release -------------------------------------------------------------------------------------


class CompiledRules:
    """A set of rules with their products in one release; safe to use from several threads."""

    def __init__(self, rules: Sequence[_RuleProducts], n_products: int) -> None:
        """Prepares the rules; see compile_rules."""
        self._rules = rules
        self._n_products = n_products
        # Between two of these times the active rules do not change, so they are combined once per interval.
        moments = {moment for rule, _ in rules for moment in (rule.start, rule.end) if moment is not None}
        self._bounds = [-math.inf, *sorted(moments), math.inf]
        self._window = _ActiveWindow(0, 0, None)  # never active

    def active(self, now_ms: int) -> ActiveRules | None:
        """The rules that are active at `now_ms`, or None; the same object until a rule starts or ends."""
        window = self._window  # read once, because another thread may replace it
        if not window.start <= now_ms < window.end:
            upper = bisect_right(self._bounds, now_ms)
            active = [entry for entry in self._rules if entry.rule.is_active(now_ms)]
            rules = _combine(active, self._n_products) if active else None
            window = self._window = _ActiveWindow(self._bounds[upper - 1], self._bounds[upper], rules)
        return window.rules


def compile_rules(rule_set: RuleSet, conditions: ProductConditions, position_of: Callable[[str], int]) -> CompiledRules:
    """Finds the products of every rule. Logs and skips ids and names that the release does not have.

    Args:
        rule_set: The rules.
        conditions: Evaluates conditions on the products of a release.
        position_of: Returns the position of a product id in the release, or -1.
    """
    rules = [_RuleProducts(rule, _positions(rule, conditions, position_of)) for rule in rule_set.rules]
    for rule, positions_M in rules:
        if not len(positions_M):
            log.warning("rule %r matches no product of the release", rule.name)
    return CompiledRules([entry for entry in rules if len(entry.positions_M)], len(conditions.prices_N))


def _positions(rule: Rule, conditions: ProductConditions, position_of: Callable[[str], int]) -> Int64Array:
    """The positions of a rule's products: in the order of the rule for a pin, else ascending."""
    match = rule.match
    matching_N = np.ones(len(conditions.prices_N), dtype=np.bool_)
    if match.product_ids is not None:
        positions = [position_of(product_id) for product_id in match.product_ids]
        pairs = zip(match.product_ids, positions, strict=True)
        _warn_of_unknown(rule, "product_ids", [product_id for product_id, position in pairs if position < 0])
        listed_M = np.array([position for position in positions if position >= 0], dtype=np.int64)
        if rule.action == "pin":
            return listed_M
        matching_N[:] = False
        matching_N[listed_M] = True
    _warn_of_unknown(rule, "brands", conditions.brands.unknown(match.brands or ()))
    _warn_of_unknown(rule, "categories", conditions.categories.unknown(match.categories or ()))
    for mask_N in conditions.masks(match).values():
        matching_N &= mask_N
    return np.flatnonzero(matching_N)


def _warn_of_unknown(rule: Rule, field: str, unknown: Sequence[str]) -> None:
    if unknown:
        listed = ", ".join(unknown[:NAMES_IN_A_WARNING]) + (", ..." if len(unknown) > NAMES_IN_A_WARNING else "")
        log.warning("rule %r: the release does not know %d of its %s: %s", rule.name, len(unknown), field, listed)


def _combine(active: Sequence[_RuleProducts], n_products: int) -> ActiveRules:
    pins = [
        Pin(rule.position - 1, position, rule.name)
        for rule, positions_M in active
        if rule.position is not None
        for position in positions_M.tolist()
    ]
    weighted = [entry for entry in active if entry.rule.weight is not None]
    rule_sets, rule_set_N = _sets_of_rules(weighted, n_products)
    # Few distinct sets of rules apply to many products, so sums and names are per set, with one index per product.
    adjustments = np.array([sum(map(_signed_weight, rules)) for rules in rule_sets], dtype=np.float32)
    adjustment_N = adjustments[rule_set_N]
    groups = [
        AdjustmentGroup(float(value), np.flatnonzero(adjustment_N == value))
        for value in np.unique(adjustments)
        if value  # 0: no rule applies, or boosts and buries cancel out
    ]
    unburied_N = adjustment_N >= 0
    return ActiveRules(
        pins=tuple(sorted(pins, key=lambda pin: pin.place)),  # stable: within a place, in the order of the file
        adjustment_N=adjustment_N if weighted else None,
        unburied_N=None if unburied_N.all() else unburied_N,
        groups=tuple(group for group in groups if len(group.positions_M)),
        _rule_sets=rule_sets,
        _rule_set_N=rule_set_N,
    )


def _sets_of_rules(weighted: Sequence[_RuleProducts], n_products: int) -> tuple[list[tuple[Rule, ...]], Int32Array]:
    """The distinct sets of rules that apply to a product, the empty set first, and the index of each product's set."""
    rule_sets: list[tuple[Rule, ...]] = [()]
    rule_set_N = np.zeros(n_products, dtype=np.int32)
    for rule, positions_M in weighted:
        # The products of this rule move from their set to a new one that has this rule as well; one new set is made for
        # each set that occurs among them.
        before_M = rule_set_N[positions_M]
        present = np.flatnonzero(np.bincount(before_M))
        after = np.zeros(len(rule_sets), dtype=np.int32)
        after[present] = len(rule_sets) + np.arange(len(present))
        rule_set_N[positions_M] = after[before_M]
        rule_sets += [(*rule_sets[place], rule) for place in present]
    return rule_sets, rule_set_N


def _signed_weight(rule: Rule) -> float:
    assert rule.weight is not None
    return rule.weight if rule.action == "boost" else -rule.weight


# ---- pins ------------------------------------------------------------------------------------------------------------


class PinnedList(NamedTuple):
    """A list with pinned products.

    Attributes:
        positions_K: The products.
        pinned_by: The name of the rule that pinned a product, by position.
    """

    positions_K: Int64Array
    pinned_by: dict[int, str]


def place_pins(positions: Int64Array, pins: Sequence[Pin], allowed_N: BoolArray | None, k: int) -> PinnedList:
    """Puts pinned products in their places and removes them elsewhere.

    A pin whose place is taken moves to the next free place. A pin beyond the K-th place has no effect. If there are
    fewer than K products, the list has no gaps.

    Args:
        positions: Any number of products, best first.
        pins: As in ActiveRules.
        allowed_N: Which products the request allows; only these are pinned. None allows all.
        k: The largest length of the result.
    """
    pinned_at: dict[int, int] = {}
    pinned_by: dict[int, str] = {}
    for pin in pins:
        if pin.position in pinned_by or not (allowed_N is None or allowed_N[pin.position]):
            continue
        place = next(place for place in count(pin.place) if place not in pinned_at)
        if place < k:
            pinned_at[place] = pin.position
            pinned_by[pin.position] = pin.rule
    others = iter([position for position in positions.tolist() if position not in pinned_by])
    filled = [pinned_at[place] if place in pinned_at else next(others, -1) for place in range(k)]
    return PinnedList(np.array([position for position in filled if position >= 0], dtype=np.int64), pinned_by)
