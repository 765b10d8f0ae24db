"""Renders lists as plain values in the form that schemas/responses.py documents.

Legend: K results, L events.
"""

from collections.abc import Iterable

import numpy as np

from feature_repo import columns as c
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from online_api.lists.list_request import Payload, ResolvedRequest
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease
from online_api.lists.ranking import RankedList
from online_api.lists.rules import ActiveRules
from online_api.schemas.requests import NO_FILTERS
from training.artifacts.buyer_encoder import EncodedBuyer

REASONS = 2  # events in `because` per product; responses.RecommendedProduct and docs/api.md say two


def render_list(
    live: LiveRelease,
    resolved: ResolvedRequest,
    buyer: EncodedBuyer | None,
    selection: Selection,
    ranked: RankedList,
    rules: ActiveRules | None,
) -> Payload:
    """A RecommendationResponse."""
    request, source = resolved.request, resolved.source
    if source == "popular" and request.filters is not NO_FILTERS:
        source = "popular_in_filter"
    positions = ranked.positions.tolist()
    terms = zip(*(term.tolist() for term in (*ranked.terms, ranked.adjustments)), strict=True)
    return {
        c.BUYER_ID: request.buyer_id,
        "release": live.recommender.name,
        "source": source,
        "degraded": list(resolved.degraded),
        "features": _feature_age(resolved),
        "relaxed": list(ranked.relaxed),
        "matching": selection.n_allowed,
        "dropped": selection.dropped,
        "items": [
            {
                **live.catalogue.rendered(position, request.languages),
                "source": source,
                # Added up here, from the numbers that are sent, so that a caller gets the same sum.
                "score": similarity + popularity + repeat + co_occurrence + closeness + words + adjustment,
                "score_parts": {
                    "similarity": similarity,
                    "popularity": popularity,
                    "repeat": repeat,
                    "co_occurrence": co_occurrence,
                    "closeness": closeness,
                    "words": words,
                    "rules": adjustment,
                },
                "rules": [] if rules is None else _rule_names(rules, ranked, position),
                "because": reasons,
            }
            for position, (similarity, popularity, repeat, co_occurrence, closeness, words, adjustment), reasons in zip(
                positions, terms, _because(live, resolved, buyer, ranked), strict=True
            )
        ],
    }


def _because(
    live: LiveRelease, resolved: ResolvedRequest, buyer: EncodedBuyer | None, ranked: RankedList
) -> Iterable[list[Payload]]:
    """For each product, the events that contributed most to its similarity."""
    because: list[list[Payload]] = [[] for _ in ranked.positions]
    if buyer is None or not because:
        return because
    contributions_KL = live.recommender.contributions(buyer, ranked.positions)
    rows_K = np.arange(len(because))
    rendered: dict[int, Payload] = {}  # most products of a list have the same few events
    for _ in range(min(REASONS, contributions_KL.shape[1])):
        best_K = contributions_KL.argmax(axis=1)
        contributions_K = contributions_KL[rows_K, best_K]
        contributions_KL[rows_K, best_K] = -np.inf  # so that the next round finds the second best
        for reasons, event, contribution in zip(because, best_K.tolist(), contributions_K.tolist(), strict=True):
            if contribution > 0:  # other events are no reason for the product
                if event not in rendered:
                    rendered[event] = _render_event(live, resolved, event)
                reasons.append({**rendered[event], "contribution": contribution})
    return because


def _render_event(live: LiveRelease, resolved: ResolvedRequest, event: int) -> Payload:
    """An event of the history: responses.Because without the contribution."""
    events, positions_L, _ = resolved.history
    position = int(positions_L[event])
    if position >= 0:
        product = live.catalogue.rendered(position, resolved.request.languages)
        product_id, title = product[c.PRODUCT_ID], product[c.TITLE]
    else:  # a product that only the request knows
        # Events have product keys, which are hashes, so the id is found by hashing the few ids of the request.
        key, request = int(events.product_keys[event]), resolved.request
        product_id = next(one for one in request.text_vectors if live.catalogue.products.product_key(one) == key)
        title = next(one.text or "" for one in request.interactions if one.product_id == product_id)
    return {
        c.PRODUCT_ID: product_id,
        c.TITLE: title,
        c.EVENT_TYPE: EVENT_TYPE_NAMES[events.event_types[event]],
        c.TIMESTAMP: int(events.event_times[event]),
    }


def _rule_names(rules: ActiveRules, ranked: RankedList, position: int) -> list[str]:
    """Names of the rules that moved a product."""
    pin = ranked.pinned_by.get(position)
    return rules.names_at(position) + ([] if pin is None else [pin])


def _feature_age(resolved: ResolvedRequest) -> Payload | None:
    """The age of the stored features (responses.FeatureAge), if the list is made from them."""
    if resolved.source != "personalised" or resolved.stored is None:
        return None
    times = resolved.stored.events.event_times
    return {"built": resolved.stored.as_of_ms or None, "last_event": int(times[-1]) if len(times) else None}
