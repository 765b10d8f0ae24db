"""Merchandising rules over the products of a release: what they do to a list now.

`compile_rules` finds the products of every rule, once per book and release; `CompiledRules.active` gives the rules that
hold at the time of a request, and `place_pins` puts pinned products in their places.

Legend: K results, N products, M products of one rule or group.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from online_api.lists.rule_file import Rule, RuleSet

log = logging.getLogger(__name__)

NAMES_IN_A_WARNING = 10

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class ProductFacts(Protocol):
    """What rules ask of a release's products."""

    def position_of(self, product_id: str) -> int:
        """The product's position, or -1."""

    @property
    def brand_codes_N(self) -> npt.NDArray[np.int32]:  # noqa: N802 - a shape
        """Places in `brands`; -1 for none."""

    @property
    def category_codes_N(self) -> npt.NDArray[np.int32]:  # noqa: N802 - a shape
        """Places in `categories`; -1 for none."""

    @property
    def brands(self) -> Sequence[str]:
        """Names of brands."""

    @property
    def categories(self) -> Sequence[str]:
        """Names of categories."""

    @property
    def prices_N(self) -> npt.NDArray[np.float64]:  # noqa: N802 - a shape
        """Prices; nan where unknown."""


class Pin(NamedTuple):
    """A product and the place that a rule gives it, counted from 0."""

    place: int
    position: int
    rule: str


class Group(NamedTuple):
    """The products, (M,) ascending, whose score changes by the same amount, which is not 0."""

    adjustment: float
    positions_M: Positions


@dataclass(frozen=True)
class ActiveRules:
    """The rules that hold now.

    The best K by adjusted score are among the best K by score of each group and of `unburied_N` (of all products where
    that is None): a boost lifts products from far below the plain list, and buried ones must not take up its places.

    Attributes:
        pins: By place, then in the order of the file.
        adjustment_N: The sum of boosts less buries; None where no rule boosts or buries.
        unburied_N: Which products have no negative adjustment; None where that is all of them.
        groups: Ascending by adjustment; every product whose adjustment is not 0 is in one.
    """

    pins: tuple[Pin, ...]
    adjustment_N: Floats | None
    unburied_N: Booleans | None
    groups: tuple[Group, ...]
    _rule_sets: list[tuple[Rule, ...]]
    _rule_set_N: npt.NDArray[np.int32]

    def names_at(self, position: int) -> list[str]:
        """Names of the rules that boost or bury a product; that of a pin comes from place_pins, if it had effect."""
        return [rule.name for rule in self._rule_sets[self._rule_set_N[position]]]


class _Located(NamedTuple):
    """A rule, and where its products lie in one release: as listed for a pin, else ascending."""

    rule: Rule
    positions_M: Positions


class _Window(NamedTuple):
    """What holds in [start, end), in milliseconds."""

    start: float
    end: float
    rules: ActiveRules | None


class CompiledRules:
    """The rules of one book over the products of one release; safe to use from several threads."""

    def __init__(self, located: Sequence[_Located], n_products: int) -> None:
        """Takes rules with their products; see compile_rules."""
        self._located = located
        self._n_products = n_products
        moments = {moment for rule, _ in located for moment in (rule.start, rule.end) if moment is not None}
        self._bounds = [-math.inf, *sorted(moments), math.inf]
        self._window = _Window(0, 0, None)  # holds at no time

    def active(self, now_ms: int) -> ActiveRules | None:
        """The rules that hold at `now_ms`, or None; the same object until one starts or ends."""
        window = self._window  # read once: another thread may put the next one there
        if not window.start <= now_ms < window.end:
            after = bisect_right(self._bounds, now_ms)
            holding = [located for located in self._located if located.rule.holds(now_ms)]
            rules = _combine(holding, self._n_products) if holding else None
            window = self._window = _Window(self._bounds[after - 1], self._bounds[after], rules)
        return window.rules


def compile_rules(book: RuleSet, facts: ProductFacts) -> CompiledRules:
    """Finds the products of every rule. What a rule names and the release does not know is logged and left out."""
    located = [_Located(rule, _positions(rule, facts)) for rule in book.rules]
    for rule, positions_M in located:
        if not len(positions_M):
            log.warning("rule %r matches no product of the release", rule.name)
    return CompiledRules([entry for entry in located if len(entry.positions_M)], len(facts.prices_N))


def _positions(rule: Rule, facts: ProductFacts) -> Positions:
    match = rule.match
    chosen_N = np.ones(len(facts.prices_N), dtype=np.bool_)
    if match.product_ids is not None:
        listed_M = _known(rule, "product_ids", match.product_ids, facts.position_of)
        if rule.action == "pin":
            return listed_M
        chosen_N[:] = False
        chosen_N[listed_M] = True
    if match.brands is not None:
        chosen_N &= np.isin(facts.brand_codes_N, _known(rule, "brands", match.brands, _code_of(facts.brands)))
    if match.categories is not None:
        codes = _known(rule, "categories", match.categories, _code_of(facts.categories))
        chosen_N &= np.isin(facts.category_codes_N, codes)
    if match.min_price is not None:
        chosen_N &= facts.prices_N >= match.min_price
    if match.max_price is not None:
        chosen_N &= facts.prices_N <= match.max_price
    return np.flatnonzero(chosen_N)


def _code_of(names: Sequence[str]) -> Callable[[str], int]:
    codes = {name: code for code, name in enumerate(names)}
    return lambda name: codes.get(name, -1)


def _known(rule: Rule, field: str, names: Sequence[str], code_of: Callable[[str], int]) -> Positions:
    codes = [code_of(name) for name in names]
    if unknown := [name for name, code in zip(names, codes, strict=True) if code < 0]:
        shown = ", ".join(unknown[:NAMES_IN_A_WARNING]) + (", ..." if len(unknown) > NAMES_IN_A_WARNING else "")
        log.warning("rule %r: the release does not know %d of its %s: %s", rule.name, len(unknown), field, shown)
    return np.array([code for code in codes if code >= 0], dtype=np.int64)


def _combine(holding: Sequence[_Located], n_products: int) -> ActiveRules:
    pins = [
        Pin(rule.position - 1, position, rule.name)
        for rule, positions_M in holding
        if rule.position is not None
        for position in positions_M.tolist()
    ]
    weighted = [located for located in holding if located.rule.weight is not None]
    rule_sets, rule_set_N = _sets_of_rules(weighted, n_products)
    adjustments = np.array([sum(map(_signed_weight, rules)) for rules in rule_sets], dtype=np.float32)
    adjustment_N = adjustments[rule_set_N]
    groups = [Group(float(value), np.flatnonzero(adjustment_N == value)) for value in np.unique(adjustments) if value]
    unburied_N = adjustment_N >= 0
    return ActiveRules(
        pins=tuple(sorted(pins, key=lambda pin: pin.place)),
        adjustment_N=adjustment_N if weighted else None,
        unburied_N=None if unburied_N.all() else unburied_N,
        groups=tuple(group for group in groups if len(group.positions_M)),
        _rule_sets=rule_sets,
        _rule_set_N=rule_set_N,
    )


def _sets_of_rules(
    weighted: Sequence[_Located], n_products: int
) -> tuple[list[tuple[Rule, ...]], npt.NDArray[np.int32]]:
    """The distinct sets of rules that products have, the empty one first, and the place of each product's."""
    rule_sets: list[tuple[Rule, ...]] = [()]
    rule_set_N = np.zeros(n_products, dtype=np.int32)
    for rule, positions_M in weighted:
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


class Placed(NamedTuple):
    """A list with its pins.

    Attributes:
        positions_K: The products.
        scores_K: Their scores as given; nan for a pinned product that the list did not have, for the caller to score.
        pinned_by: The rule of each product that was put in its place.
    """

    positions_K: Positions
    scores_K: Floats
    pinned_by: dict[int, str]


def place_pins(positions: Positions, scores: Floats, pins: Sequence[Pin], allowed_N: Booleans | None, k: int) -> Placed:
    """Puts pinned products in their places, and takes them away elsewhere.

    A place that is taken moves a pin to the next free one; a pin beyond the K-th place has no effect. A list shorter
    than K closes up.

    Args:
        positions: Products, best first, of any number.
        scores: Theirs.
        pins: As ActiveRules has them.
        allowed_N: Products that filters and exclusions leave; others are not pinned. None: all.
        k: Length of the result, as far as there are products.
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
    score_of = dict(zip(positions.tolist(), scores.tolist(), strict=True))
    others = iter([position for position in score_of if position not in pinned_by])
    filled = [pinned_at[place] if place in pinned_at else next(others, -1) for place in range(k)]
    result = [position for position in filled if position >= 0]
    result_scores = [score_of.get(position, math.nan) for position in result]
    return Placed(np.array(result, dtype=np.int64), np.array(result_scores, dtype=np.float32), pinned_by)
