"""What a buyer's list is made from: each stored event with its part in the buyer vector, each product with its reasons.

Legend: E stored events, L encoded ones, K products of the list.
"""

from typing import NamedTuple

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.online.features import BuyerFeatures, StoredViews
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, EventSequence, merge_sequences
from online_api.inspection.release_facts import ReleaseFacts
from online_api.lists.list_request import Payload
from online_api.lists.live_release import LiveRelease
from training.artifacts.buyer_encoder import EncodedBuyer

SHOWN_REASONS = 5  # events per product of the list; the others are added up


class StoredBuyer(NamedTuple):
    """A buyer in the online store.

    Attributes:
        stored: The events by view.
        features: What they make, as the service reads them.
    """

    stored: StoredViews
    features: BuyerFeatures


class _Encoded(NamedTuple):
    """The history as the buyer tower reads it.

    Attributes:
        buyer: The encoded buyer; None without a known event.
        events_L: (L,) which of the stored events, from 0, oldest first, each encoded one is.
        shares_L: (L,) attention weights; they sum to 1, or are all 0 if no event has weight.
    """

    buyer: EncodedBuyer | None
    events_L: Int64Array
    shares_L: Float32Array


NOTHING_ENCODED = _Encoded(None, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def inspected_buyer(live: LiveRelease, facts: ReleaseFacts, buyer: StoredBuyer | None, payload: Payload) -> Payload:
    """An InspectedBuyer, without the length of the store's histories.

    Args:
        live: The release.
        facts: Of the same release.
        buyer: What the store has of the buyer; None if it does not answer.
        payload: The list that the release gives (RecommendationResponse, without its page).
    """
    recommender = live.recommender
    events, n_cut = _all_events(buyer)
    encoded = NOTHING_ENCODED
    if buyer is not None and payload["source"] == "personalised":
        encoded = _encoded(live, buyer.features.events, n_cut)
    listed = (c.BUYER_ID, "release", "source", "degraded", "features", "relaxed", "matching", "dropped")
    return {
        **{name: payload[name] for name in listed},
        "aggregation": recommender.spec.aggregation,
        "n_purchases": 0 if buyer is None else len(buyer.features.purchases.event_times),
        "events": [] if buyer is None else _events(live, facts, buyer.stored, events, n_cut, encoded),
        "items": _items(live, facts, payload, encoded, len(events.event_times)),
    }


def _all_events(buyer: StoredBuyer | None) -> tuple[EventSequence, int]:
    """All E events that the store has, oldest first, and how many of the oldest no history has room for."""
    if buyer is None:
        return EMPTY_SEQUENCE, 0
    kept = buyer.features.events
    events = merge_sequences(buyer.stored.history, buyer.stored.recent)
    n_cut = len(events.event_times) - len(kept.event_times)
    return (events, n_cut) if n_cut > 0 else (kept, 0)


def _encoded(live: LiveRelease, kept: EventSequence, n_cut: int) -> _Encoded:
    known = live.recommender.known_events(kept)
    [buyer] = live.recommender.encode_buyers([known])
    places = np.flatnonzero(live.recommender.products.positions(kept.product_keys) >= 0) + n_cut
    total = float(buyer.factors_L.sum())
    # The tower divides the weights by the length of the sum; divided by their own sum, they are weights again.
    return _Encoded(buyer, places, buyer.factors_L / total if total else buyer.factors_L)


def _events(
    live: LiveRelease, facts: ReleaseFacts, stored: StoredViews, events: EventSequence, n_cut: int, encoded: _Encoded
) -> list[Payload]:
    """The events, newest first (InspectedEvent)."""
    recommender, n_events = live.recommender, len(events.event_times)
    positions_E = recommender.products.positions(events.product_keys).astype(np.int64)
    attention = dict(zip(encoded.events_L.tolist(), encoded.shares_L.tolist(), strict=True))
    built, pushed = _rows(stored.history), _rows(stored.recent)
    places = facts.places(recommender, positions_E)
    rows = zip(*(column.tolist() for column in (*events, positions_E)), places, strict=True)
    rendered = []
    for place, (key, event_type, event_time, position, map_place) in enumerate(rows):
        product = live.catalogue.rendered(position) if position >= 0 else None
        row = (key, event_type, event_time)
        weight = recommender.spec.event_weights[event_type]
        rendered.append(
            {
                "number": n_events - place,
                c.PRODUCT_ID: None if product is None else product[c.PRODUCT_ID],
                c.TITLE: None if product is None else product[c.TITLE],
                c.CATEGORY: None if product is None else product[c.CATEGORY],
                c.PRODUCT_KEY: str(key),  # JavaScript rounds numbers of 63 bits
                c.EVENT_TYPE: EVENT_TYPE_NAMES[event_type],
                c.TIMESTAMP: event_time,
                "stored_in": [name for name, rows in (("materialized", built), ("pushed", pushed)) if row in rows],
                "weight": weight,
                "left_out": _left_out(is_old=place < n_cut, is_known=position >= 0, weight=weight),
                "attention": attention.get(place),
                "place": map_place,
            }
        )
    return rendered[::-1]


def _rows(events: EventSequence) -> set[tuple[int, ...]]:
    return set(zip(*(column.tolist() for column in events), strict=True))


def _left_out(*, is_old: bool, is_known: bool, weight: float) -> str | None:
    """Why an event has no part in the buyer vector."""
    if is_old:
        return "too_old"
    if not is_known:
        return "unknown_product"
    return None if weight else "no_weight"


def _items(live: LiveRelease, facts: ReleaseFacts, payload: Payload, encoded: _Encoded, n_events: int) -> list[Payload]:
    """The products of the list (InspectedItem)."""
    items = payload["items"]
    positions_K = np.array([live.catalogue.products.position_of(item[c.PRODUCT_ID]) for item in items], dtype=np.int64)
    contributions_KL = np.zeros((len(items), 0), dtype=np.float32)
    if encoded.buyer is not None and items:
        contributions_KL = live.recommender.contributions(encoded.buyer, positions_K)
    numbers_L = n_events - encoded.events_L
    return [
        {
            "rank": rank,
            **{name: value for name, value in item.items() if name != "because"},
            "similarity_parts": _similarity_parts(item["score_parts"]["similarity"], contributions_L, numbers_L),
            "place": place,
        }
        for rank, (item, contributions_L, place) in enumerate(
            zip(items, contributions_KL, facts.places(live.recommender, positions_K), strict=True), 1
        )
    ]


def _similarity_parts(similarity: float, contributions_L: Float32Array, numbers_L: Int64Array) -> Payload:
    """What the similarity of one product comes from; the values add up to it (SimilarityParts)."""
    largest = np.argsort(-np.abs(contributions_L), kind="stable")[:SHOWN_REASONS]
    shown = contributions_L[largest].tolist()
    of_events = float(contributions_L.sum())
    return {
        "events": [
            {"number": number, "contribution": value}
            for number, value in zip(numbers_L[largest].tolist(), shown, strict=True)
        ],
        "other_events": of_events - sum(shown),
        "every_buyer": similarity - of_events,
    }
