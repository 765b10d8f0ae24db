"""Answers as plain values, of the form that answers.py documents.

Legend: K results, L events.
"""

from collections.abc import Iterable

import numpy as np

from feature_repo import columns as c
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from online_api.lists.list_request import Payload, Subject
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease
from online_api.lists.ranking import Listed
from online_api.lists.rules import ActiveRules
from online_api.schemas.requests import NO_FILTERS

REASONS = 2  # events named per product


def recommendations(
    live: LiveRelease, subject: Subject, selection: Selection, listed: Listed, rules: ActiveRules | None
) -> Payload:
    """A RecommendationResponse."""
    question, source = subject.question, subject.source
    if source == "popular" and question.filters is not NO_FILTERS:
        source = "popular_in_filter"
    positions = listed.positions.tolist()
    parts = zip(*(part.tolist() for part in (*listed.parts, listed.adjustments)), strict=True)
    return {
        c.BUYER_ID: question.buyer_id,
        "release": live.recommender.name,
        "source": source,
        "degraded": subject.degraded,
        "features": _age(subject),
        "matching": selection.n_allowed,
        "dropped": selection.dropped,
        "items": [
            {
                **live.catalogue.shown(position),
                "score": similarity + popularity + repeat + words + adjustment,
                "score_parts": {
                    "similarity": similarity,
                    "popularity": popularity,
                    "repeat": repeat,
                    "words": words,
                    "rules": adjustment,
                },
                "rules": [] if rules is None else _rule_names(rules, listed, position),
                "because": reasons,
            }
            for position, (similarity, popularity, repeat, words, adjustment), reasons in zip(
                positions, parts, _because(live, subject, listed), strict=True
            )
        ],
    }


def _because(live: LiveRelease, subject: Subject, listed: Listed) -> Iterable[list[Payload]]:
    """For each product the events that contributed most to its score."""
    because: list[list[Payload]] = [[] for _ in listed.positions]
    if subject.buyer is None or not because:
        return because
    parts_KL = live.recommender.encoder.contributions(subject.buyer, live.recommender.vectors_ND[listed.positions])
    places_K = np.arange(len(because))
    shown: dict[int, Payload] = {}  # the same events speak for most products of a list
    for _ in range(min(REASONS, parts_KL.shape[1])):
        best_K = parts_KL.argmax(axis=1)
        contributions_K = parts_KL[places_K, best_K]
        parts_KL[places_K, best_K] = -np.inf
        for reasons, event, contribution in zip(because, best_K.tolist(), contributions_K.tolist(), strict=True):
            if contribution > 0:
                if event not in shown:
                    shown[event] = _event(live, subject, event)
                reasons.append({**shown[event], "contribution": contribution})
    return because


def _event(live: LiveRelease, subject: Subject, event: int) -> Payload:
    """An event of the subject's (answers.Because, but for the contribution)."""
    events, positions_L = subject.readable
    position = int(positions_L[event])
    if position >= 0:
        product = live.catalogue.shown(position)
        product_id, title = product[c.PRODUCT_ID], product[c.TITLE]
    else:
        key = int(events.product_keys[event])
        product_id = next(one for one in subject.question.texts if live.recommender.products.product_key(one) == key)
        title = next(one.text or "" for one in subject.question.interactions if one.product_id == product_id)
    return {
        c.PRODUCT_ID: product_id,
        c.TITLE: title,
        c.EVENT_TYPE: EVENT_TYPE_NAMES[events.event_types[event]],
        c.TIMESTAMP: int(events.event_times[event]),
    }


def _rule_names(rules: ActiveRules, listed: Listed, position: int) -> list[str]:
    """The rules that moved a product."""
    pin = listed.pinned_by.get(position)
    return rules.names_at(position) + ([] if pin is None else [pin])


def _age(subject: Subject) -> Payload | None:
    """How old the features are (answers.FeatureAge), where they were used."""
    if subject.source != "personalised" or subject.stored is None:
        return None
    times = subject.stored.events.event_times
    return {"built": subject.stored.as_of_ms or None, "last_event": int(times[-1]) if len(times) else None}
