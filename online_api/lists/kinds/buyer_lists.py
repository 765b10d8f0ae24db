"""The lists of one buyer: buy again, and recently viewed.

Legend: E events of the buyer, P their products.
"""

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Int64Array
from feature_repo.transforms.events import EVENT_TYPE_CODES, EVENT_TYPE_NAMES, PURCHASE
from feature_repo.transforms.sequences import EventSequence, select
from online_api.lists.kinds.listed_products import ListPart
from online_api.lists.list_request import Payload, ResolvedRequest
from online_api.lists.live_release import LiveRelease
from training.artifacts.lists.ranked_products import NOTHING_RANKED, RankedProducts
from training.artifacts.lists.repurchases import due_scores, own_purchases


def buy_again(live: LiveRelease, resolved: ResolvedRequest) -> ListPart:
    """The products that the buyer bought, and that anybody ever bought again, by how due they are."""
    lists, stored = live.recommender.lists, resolved.stored
    if lists is None or stored is None:
        return ListPart("buy_again", NOTHING_RANKED)
    positions, times_ms = _known(live, stored.purchases)
    if not len(positions):
        return ListPart("buy_again", NOTHING_RANKED)
    own = own_purchases(positions, times_ms)
    # As the re-scorer does: days count up to the end of the data, or to the buyer's own last event.
    now_ms = max(live.recommender.as_of_ms, int(times_ms.max()))
    scores = due_scores(own, lists.repurchases, now_ms)
    rebought = lists.repurchases.is_rebought(own.positions)
    last_ms = dict(zip(own.positions.tolist(), own.last_ms.tolist(), strict=True))

    def reasons(position: int) -> list[Payload]:
        return [_event(live, resolved, position, EVENT_TYPE_NAMES[PURCHASE], last_ms[position])]

    return ListPart("buy_again", RankedProducts(own.positions[rebought], scores[rebought]), reasons)


def recently_viewed(live: LiveRelease, resolved: ResolvedRequest, event_type: str) -> ListPart:
    """The products of the buyer's newest events of a type, each once, newest first."""
    if resolved.stored is None:
        return ListPart("recently_viewed", NOTHING_RANKED)
    events = resolved.stored.events
    positions, times_ms = _known(live, select(events, events.event_types == EVENT_TYPE_CODES[event_type]))
    # Of the reversed events, so that the first of a product is its newest one.
    products, firsts = np.unique(positions[::-1], return_index=True)
    newest_first = np.argsort(firsts)
    last_ms = dict(zip(products.tolist(), times_ms[::-1][firsts].tolist(), strict=True))

    def reasons(position: int) -> list[Payload]:
        return [_event(live, resolved, position, event_type, last_ms[position])]

    ranks = np.arange(1, len(products) + 1)
    return ListPart("recently_viewed", RankedProducts(products[newest_first], (1 / ranks).astype(np.float32)), reasons)


def _known(live: LiveRelease, events: EventSequence) -> tuple[Int64Array, Int64Array]:
    """Positions and times of the events whose product the release has, oldest first."""
    positions = live.catalogue.products.positions(events.product_keys).astype(np.int64)
    known = positions >= 0
    return positions[known], events.event_times[known]


def _event(live: LiveRelease, resolved: ResolvedRequest, position: int, event_type: str, time_ms: int) -> Payload:
    product = live.catalogue.rendered(position, resolved.request.languages)
    return {
        c.PRODUCT_ID: product[c.PRODUCT_ID],
        c.TITLE: product[c.TITLE],
        c.EVENT_TYPE: event_type,
        c.TIMESTAMP: time_ms,
        "contribution": 1.0,
    }
