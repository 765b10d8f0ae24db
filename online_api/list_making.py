"""Makes lists from resolved requests: what is allowed, what orders it, the search for all, ranking and rendering.

Legend: K results, D dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Int64Array
from online_api.lists.choice import NO_POSITIONS, Listed, with_spare
from online_api.lists.kinds.listed_products import ListedScorer, ListPart
from online_api.lists.kinds.shop_list import explain, only_listed, parts_of
from online_api.lists.list_request import ListRequest, Payload, ResolvedRequest
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease
from online_api.lists.ranking import BuyerScorer, PopularityScorer, QueryScorer, Scorer, SimilarityScorer, rank
from online_api.lists.render import render_list
from online_api.lists.rules import ActiveRules
from online_api.search.query_fields import query_fields
from training.artifacts.buyer_encoder import EncodedBuyer
from training.artifacts.scoring.sparse_term import NO_TERM


class OpenList(NamedTuple):
    """What a list is made from.

    Attributes:
        resolved: The request and the history.
        buyer: The encoded history, if it decides the list.
        selection: The allowed products.
        rules: The merchandising rules that are active; None if there are none or the request wants none.
        scorer: Orders the allowed products.
        parts: What comes first in a list of the shop's pages; the scorer knows them.
    """

    resolved: ResolvedRequest
    buyer: EncodedBuyer | None
    selection: Selection
    rules: ActiveRules | None
    scorer: Scorer
    parts: Sequence[ListPart] = ()


def open_lists(
    live: LiveRelease,
    resolved: Sequence[ResolvedRequest],
    buyers: Sequence[EncodedBuyer | None],
    now_ms: int,
) -> list[OpenList]:
    """What the lists are made from; `now_ms`, milliseconds since 1970, decides which rules are active."""
    return [
        _open_list(live, entry, buyer, live.rules.active(now_ms) if entry.request.rules else None)
        for entry, buyer in zip(resolved, buyers, strict=True)
    ]


def _open_list(
    live: LiveRelease, resolved: ResolvedRequest, buyer: EncodedBuyer | None, rules: ActiveRules | None
) -> OpenList:
    """One of open_lists. In a list of the shop's pages, the request's usual scorer fills up after the list's parts."""
    selection, scorer, wanted = _select(live, resolved), _scorer(live, resolved, buyer), resolved.request.shop_list
    if wanted is None:
        return OpenList(resolved, buyer, selection, rules, scorer)
    parts = parts_of(live, resolved, wanted)
    if not wanted.fill:
        selection = only_listed(selection, parts, len(live.catalogue))
    return OpenList(resolved, buyer, selection, rules, ListedScorer(parts, scorer, len(live.catalogue)), parts)


def search(live: LiveRelease, lists: Sequence[OpenList]) -> None:
    """Searches for the best products of all lists that are made from a vector, in one call; scorers keep theirs."""
    # A list with diversity, boosts or buries needs other products than the K best; `rank` searches for them.
    plain = [
        (entry.scorer, entry.selection, entry.scorer.query(_looked_at(live, entry.resolved.request.k), entry.selection))
        for entry in lists
        if isinstance(entry.scorer, SimilarityScorer)
        and entry.resolved.request.diversity.is_plain
        and (entry.rules is None or entry.rules.adjustment_N is None)
    ]
    found = live.recommender.best([query for _, _, query in plain])
    for (scorer, selection, _), best in zip(plain, found, strict=True):
        scorer.take(selection, best)


def finished(live: LiveRelease, open_list: OpenList) -> Payload:
    """The list (RecommendationResponse, without its page)."""
    resolved, buyer, selection, rules, scorer, parts = open_list
    request, vectors = resolved.request, live.recommender.product_vectors
    listed = _listed(live, resolved)
    ranked = rank(scorer, selection, request.k, request.diversity, rules, live.catalogue, vectors, listed)
    # What earlier pages have shown still matches and counts.
    counted = _meeting_conditions(live, resolved) if request.shown else selection
    fields = query_fields(live, resolved, counted, _meeting_conditions)
    payload = render_list(live, resolved, buyer, selection, ranked, rules) | fields
    if request.shop_list is not None:
        explain(payload, live, request.shop_list, parts, ranked.positions)
    return payload


def _select(live: LiveRelease, resolved: ResolvedRequest) -> Selection:
    """The products that may be in the list: those of earlier pages are not."""
    shown = _shown(live, resolved.request)
    return _meeting_conditions(live, resolved).without(shown, "shown", len(live.catalogue))


def _meeting_conditions(live: LiveRelease, resolved: ResolvedRequest) -> Selection:
    """The products that filters, exclusions and purchases allow."""
    request, products, n_products = resolved.request, live.catalogue.products, len(live.catalogue)
    selection = live.catalogue.select(request.filters)
    if request.exclude:
        selection = selection.without(products.known_positions(request.exclude), "excluded", n_products)
    if resolved.source == "similar":
        selection = selection.without(products.known_positions([str(request.similar_to)]), "excluded", n_products)
    if request.new_only and resolved.stored is not None:
        # Distinct, because `without` counts; -1 is a product that the release does not have.
        bought = np.unique(products.positions(resolved.stored.purchases.product_keys))
        selection = selection.without(bought[bought >= 0].astype(np.int64), "purchased", n_products)
    return selection


def _looked_at(live: LiveRelease, k: int) -> int:
    """How many of the best products a plain list of K looks at."""
    return with_spare(k) if live.catalogue.products.has_groups else k


def _listed(live: LiveRelease, resolved: ResolvedRequest) -> Listed:
    """What the list continues, and what it stands beside."""
    shown = _shown(live, resolved.request)
    if resolved.source != "similar":
        return Listed(shown)
    # Similar products should not be the product itself in another size.
    return Listed(shown, live.catalogue.products.known_positions([str(resolved.request.similar_to)]))


def _shown(live: LiveRelease, request: ListRequest) -> Int64Array:
    """The distinct positions of what earlier pages have shown, perhaps from another release."""
    if not request.shown:
        return NO_POSITIONS
    products = live.catalogue.products
    keys = products.current_keys(np.array(request.shown, dtype=np.int64))
    positions = np.unique(products.positions(keys)).astype(np.int64)
    return positions[positions >= 0]


def _scorer(live: LiveRelease, resolved: ResolvedRequest, buyer: EncodedBuyer | None) -> Scorer:
    request, recommender = resolved.request, live.recommender
    if buyer is not None:
        repeats = NO_TERM if request.new_only else recommender.repeats(resolved.repeat_events)
        return BuyerScorer(recommender, buyer, repeats, new_only=request.new_only)
    if resolved.source == "search" and resolved.matches is not None:
        return QueryScorer(resolved.matches)
    if resolved.source == "similar":
        position = live.catalogue.products.position_of(str(request.similar_to))
        [vector_D] = recommender.product_vectors(np.array([position]))
        return SimilarityScorer(recommender, vector_D)
    return PopularityScorer(recommender)
