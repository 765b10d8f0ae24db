"""Chooses the products of a list among the best ones: diversity, limits per brand and category, one variant of each.

Legend: K results, P some products, S products that are listed already, N all products, D dimensions.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from online_api.lists.diversity import CodeLimit, diversify
from online_api.lists.live_catalogue import Selection
from online_api.schemas.requests import Diversity
from training.artifacts.product_table import ProductTable
from training.artifacts.search.filtered_search import Ranked

# Diversity chooses among this many candidates per result, and at least the minimum.
DIVERSITY_POOL_PER_RESULT, DIVERSITY_POOL_MIN = 5, 100
# A plain list looks at this many more products, half of K and at least the minimum: variants among the best are
# replaced without a second search. For K up to 10 the re-scorer looks at as many products anyway.
SPARE_MIN = 15
# If that is too few, it looks at so many times as many: quicker than to leave out groups, unless these are large.
PLAIN_DEPTHS = (1, 4, 16)
# So many further variants are ranked at once if a list would be short without them.
VARIANTS_POOL = 2_000

NO_POSITIONS: Int64Array = np.empty(0, dtype=np.int64)

Top = Callable[[int, Selection], Ranked]  # the K best allowed products; fewer only if fewer are allowed


class Listed(NamedTuple):
    """Products that stand before or beside a list, by position.

    Attributes:
        shown: Those of earlier pages. They count towards all limits, and products should differ from them.
        beside: Those whose other variants should not be in the list: pinned ones, and the one that a page is about.
    """

    shown: Int64Array = NO_POSITIONS
    beside: Int64Array = NO_POSITIONS


NOTHING_LISTED = Listed()


def with_spare(k: int) -> int:
    """How many of the best products a plain list of K looks at in a catalogue with groups."""
    return k + max(k // 2, SPARE_MIN)


@dataclass(frozen=True)
class Chooser:
    """Chooses the products of one list.

    Attributes:
        top: Ranks the products.
        diversity: As the request has it.
        products: The product columns.
        product_vectors: Returns the vectors of P products, (P, D).
        listed: What is listed already.
    """

    top: Top
    diversity: Diversity
    products: ProductTable
    product_vectors: Callable[[Int64Array], Float32Array]
    listed: Listed = NOTHING_LISTED

    def choose(self, selection: Selection, k: int) -> Int64Array:
        """Positions of the K best allowed products by score, diversity and limits.

        Fewer come back only if fewer are allowed, or if the limits per brand or category close all others. The limit
        per group is raised by one before that: so further variants come after all products within the limit.
        """
        if not self.products.has_groups:
            if self.diversity.is_plain:
                return self.top(k, selection).positions
            return self._within_limits(selection, k, None)
        if self.diversity.is_plain:
            for depth in PLAIN_DEPTHS:
                n_looked_at = depth * with_spare(k)
                within = self._first_of_groups(self.top(n_looked_at, selection).positions, k)
                if len(within) == k:
                    return within
        chosen = self._within_limits(selection, k, self.diversity.max_per_group)
        while len(chosen) < k and len(more := self._further_variants(selection, k - len(chosen), chosen)):
            chosen = np.append(chosen, more)
        return chosen

    def has_more_variants(self, positions: Int64Array) -> bool:
        """Whether a list has more variants of a product, with those that are listed already, than the limit says."""
        if not self.products.has_groups:
            return False
        codes_N = self.products.group_codes_N
        listed = self._in_groups()
        together = np.union1d(listed, positions) if len(listed) else positions
        counts = Counter(codes_N[together].tolist())
        most = self.diversity.max_per_group
        return any(code >= 0 and counts[code] > most for code in codes_N[positions].tolist())

    def _first_of_groups(self, positions: Int64Array, k: int) -> Int64Array:
        """The first K of ranked products within the limit per group, or fewer if there are not enough."""
        codes_N = self.products.group_codes_N
        counts, within = Counter(codes_N[self._in_groups()].tolist()), []
        for position, code in zip(positions.tolist(), codes_N[positions].tolist(), strict=True):
            counts[code] += 1
            if code < 0 or counts[code] <= self.diversity.max_per_group:
                within.append(position)
            if len(within) == k:
                break
        return np.array(within, dtype=np.int64)

    def _within_limits(self, selection: Selection, k: int, group_cap: int | None) -> Int64Array:
        """K products within all limits; the pool of candidates grows while limits leave fewer than K."""
        pool = max(DIVERSITY_POOL_PER_RESULT * k, DIVERSITY_POOL_MIN)
        limits = self._limits(NO_POSITIONS, group_cap)
        ranked = self.top(pool, self._open(selection, NO_POSITIONS, limits))
        while True:
            chosen = self._diversified(ranked, k, NO_POSITIONS, limits)
            if len(chosen) >= k:
                return chosen
            # More products of a brand, category or group that has reached its limit would not help.
            more = self.top(pool, self._open(selection, ranked.positions, self._limits(chosen, group_cap)))
            if not len(more.positions):
                return chosen
            ranked = Ranked(np.append(ranked.positions, more.positions), np.append(ranked.scores, more.scores))

    def _further_variants(self, selection: Selection, k: int, chosen: Int64Array) -> Int64Array:
        """K further products, or some: the limit per group rises by one whenever it closes all that is left.

        Only the best VARIANTS_POOL of them are ranked, because there may be as many levels as products.
        """
        rest = self._open(selection, chosen, self._limits(chosen, None))
        ranked = self.top(min(rest.n_allowed, VARIANTS_POOL), rest)
        found = NO_POSITIONS
        while len(found) < k:
            taken = np.append(chosen, found)
            is_open = ~np.isin(ranked.positions, found)
            for limit in self._limits(taken, None):
                is_open &= np.isin(limit.codes_C[ranked.positions], _full(limit), invert=True)
            ranked = Ranked(ranked.positions[is_open], ranked.scores[is_open])
            if not len(ranked.positions):
                break
            codes_N = self.products.group_codes_N
            counts = Counter(codes_N[np.append(self._in_groups(), taken)].tolist())
            # Without -1: a product without a group was never closed by this limit.
            codes = codes_N[ranked.positions].tolist()
            group_cap = 1 + min((counts[code] for code in codes if code >= 0), default=0)
            more = self._diversified(ranked, k - len(found), taken, self._limits(taken, group_cap))
            found = np.append(found, more)
        return found

    def _diversified(self, ranked: Ranked, k: int, chosen: Int64Array, limits: list[CodeLimit]) -> Int64Array:
        """K of the ranked products by diversity and limits, after those that are chosen."""
        lambda_, positions = self.diversity.lambda_, ranked.positions
        among = [CodeLimit(codes_N[positions], cap, counts) for codes_N, cap, counts in limits]
        if lambda_ == 1:
            return positions[diversify(ranked.scores, k, limits=among)]
        before_SD = self.product_vectors(np.append(self.listed.shown, chosen))
        return positions[diversify(ranked.scores, k, lambda_, self.product_vectors(positions), among, before_SD)]

    def _limits(self, chosen: Int64Array, group_cap: int | None) -> list[CodeLimit]:
        """The limits in force, over all products, with those counted that are listed or chosen already."""
        before = np.append(self.listed.shown, chosen)
        in_groups = np.append(self._in_groups(), chosen)
        return [
            CodeLimit(codes_N, cap, Counter(codes_N[counted].tolist()))
            for codes_N, cap, counted in (
                (self.products.brand_codes_N, self.diversity.max_per_brand, before),
                (self.products.category_codes_N, self.diversity.max_per_category, before),
                (self.products.group_codes_N, group_cap, in_groups),
            )
            if cap is not None
        ]

    def _in_groups(self) -> Int64Array:
        """What is listed already and counts towards the limit per group; each product once."""
        shown, beside = self.listed
        return shown if not len(beside) else np.union1d(shown, beside)

    def _open(self, selection: Selection, taken: Int64Array, limits: list[CodeLimit]) -> Selection:
        """The allowed products that are not taken and whose codes are below their limits."""
        full = [_full(limit) for limit in limits]
        if not len(taken) and not any(map(len, full)):
            return selection
        n_products = len(self.products)
        open_N = np.ones(n_products, dtype=np.bool_) if selection.allowed_N is None else selection.allowed_N.copy()
        open_N[taken] = False
        for limit, codes in zip(limits, full, strict=True):
            if len(codes):
                open_N &= np.isin(limit.codes_C, codes, invert=True)
        return Selection(open_N, int(open_N.sum()), selection.dropped)


def _full(limit: CodeLimit) -> Int32Array:
    """The codes that have reached a limit. Products without a code (-1) are not limited."""
    return np.array([code for code, count in limit.listed.items() if code >= 0 and count >= limit.cap], np.int32)
