"""From a resolved request for a list of the shop's pages to its parts, and from the ranked list to what it is made of.

Legend: K results.
"""

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from feature_repo.common.arrays import Int64Array
from online_api.lists.kinds.buyer_lists import buy_again, recently_viewed
from online_api.lists.kinds.list_kinds import ListKind, ShopList
from online_api.lists.kinds.listed_products import ListPart
from online_api.lists.kinds.product_lists import bought_together
from online_api.lists.list_request import Payload, ResolvedRequest
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease

OLD_RELEASE = "release"  # a value of `degraded`
_NEEDS_TABLES = (ListKind.AGAIN, ListKind.TOGETHER, ListKind.TRENDING, ListKind.NEW)


def parts_of(live: LiveRelease, resolved: ResolvedRequest, wanted: ShopList) -> Sequence[ListPart]:
    """The parts of a list, best first; none if the release or the feature store has nothing for it."""
    lists = live.recommender.lists
    match wanted.kind:
        case ListKind.AGAIN:
            return [buy_again(live, resolved)]
        case ListKind.RECENT:
            return [recently_viewed(live, resolved, wanted.event_type)]
        case ListKind.TOGETHER:
            return bought_together(live, resolved, wanted.product_ids)
        case ListKind.TRENDING:
            return [] if lists is None else [ListPart("trending", lists.trending)]
        case ListKind.NEW:
            return [] if lists is None else [ListPart("new", lists.new_arrivals)]
        case ListKind.ON_SALE:
            return [ListPart("on_sale", live.catalogue.on_sale)]
        case _:
            assert_never(wanted.kind)


def only_listed(selection: Selection, parts: Sequence[ListPart], n_products: int) -> Selection:
    """The allowed products that are in one of the parts."""
    listed_N = np.zeros(n_products, dtype=np.bool_)
    for part in parts:
        listed_N[part.products.positions] = True
    return selection.without(np.flatnonzero(~listed_N), "not_listed", n_products)


def explain(
    payload: Payload, live: LiveRelease, wanted: ShopList, parts: Sequence[ListPart], ranked: Int64Array
) -> None:
    """Says of a rendered list, and of each of its products, where they come from.

    The source of the list is that of its first part with a product in it; without one, that of the fill.

    Args:
        payload: The list, whose products have the source of the fill.
        live: The release that made it.
        wanted: What was asked for.
        parts: The parts of the list.
        ranked: (K,) positions of its products.
    """
    if live.recommender.lists is None and wanted.kind in _NEEDS_TABLES:
        payload["degraded"].append(OLD_RELEASE)
    for part in reversed(parts):  # so that the first part has the last word on the source
        scores_K = part.products.scores(ranked)
        for item, position, score in zip(payload["items"], ranked.tolist(), scores_K.tolist(), strict=True):
            if score > 0:
                payload["source"] = item["source"] = part.source
                reasons = [] if part.reasons is None else part.reasons(position)
                item["because"] = [{**reason, "contribution": reason["contribution"] * score} for reason in reasons]
