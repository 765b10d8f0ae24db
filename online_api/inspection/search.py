"""Why a query finds what it finds: the forms that are compared, the limits, and each part of each score.

Legend: P products that are explained, S compared texts: the query, then its synonyms.
"""

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Int64Array
from online_api.lists.list_request import ListRequest, Payload
from online_api.lists.live_release import LiveRelease
from online_api.schemas.requests import NO_FILTERS
from training.artifacts.queries.query_matches import (
    MEANING_WEIGHT,
    MIN_ABOVE_MEAN,
    MIN_ALIKENESS,
    SYNONYM_WEIGHT,
    QueryMatches,
)
from training.artifacts.search.text_search import ComparedText, QuerySynonyms


def inspected_search(live: LiveRelease, request: ListRequest, synonyms: QuerySynonyms) -> Payload:
    """An InspectedSearch of the K best visible products, before rules and diversity.

    Args:
        live: The release that `request.matches` are of.
        request: A query with its matches.
        synonyms: What the shop wants found for it, too.
    """
    query, matches = request.query, request.matches
    assert query is not None
    assert matches is not None
    visible = live.catalogue.select(NO_FILTERS)
    positions = matches.top(request.k, visible.allowed_N).positions
    texts = live.recommender.explain_query(query, synonyms, positions)
    return {
        "release": live.recommender.name,
        "degraded": list(request.degraded),
        "query": query,
        "texts": [
            _text(text, place, limit)
            for place, (text, limit) in enumerate(zip(texts, matches.alikeness_limits, strict=True))
        ],
        "correction": matches.correction,
        "no_match": matches.is_empty,
        "weak": matches.is_weak,
        "matching": len(visible.among(matches.matching.nonzero()[0])),
        "weights": {"meaning": MEANING_WEIGHT, "synonym": SYNONYM_WEIGHT},
        "limits": {
            "min_alikeness": MIN_ALIKENESS,
            "min_above_mean": MIN_ABOVE_MEAN,
            "mean_cosine": matches.mean_cosine,
            "cosine": matches.cosine_limit,
        },
        "items": _items(live, matches, texts, positions),
    }


def _text(text: ComparedText, place: int, limit: float) -> Payload:
    return {
        "text": text.text,
        "is_synonym": place > 0,
        "spelled": text.spelled,
        "consonants": text.consonants,
        "known_words": list(text.known_words),
        "alikeness_limit": limit,
    }


def _items(live: LiveRelease, matches: QueryMatches, texts: list[ComparedText], positions: Int64Array) -> list[Payload]:
    """The products, best first (FoundProduct)."""
    meaning_P, spelling_P = matches.score_terms(positions)
    weights_S1 = np.array([[1.0]] + [[SYNONYM_WEIGHT]] * (len(texts) - 1), dtype=np.float32)
    # The spelling score is the highest of the texts'; so its letters and consonants are those of that text.
    best_P = (weights_S1 * np.stack([text.scores.total() for text in texts])).argmax(axis=0)
    alikeness_SP = np.stack([text.scores.alikeness() for text in texts])
    limits_S1 = np.array(matches.alikeness_limits, dtype=np.float32)[:, None]
    ways = {
        "spelling": np.logical_or.reduce(alikeness_SP >= limits_S1),
        "meaning": matches.near_in_meaning(positions),
    }
    items = []
    for place, position in enumerate(positions.tolist()):
        product, best = live.catalogue.rendered(position), int(best_P[place])
        meaning, spelling = float(meaning_P[place]), float(spelling_P[place])
        items.append(
            {
                "rank": place + 1,
                c.PRODUCT_ID: product[c.PRODUCT_ID],
                c.TITLE: product[c.TITLE],
                c.CATEGORY: product[c.CATEGORY],
                "score": meaning + spelling,
                "meaning": meaning,
                "spelling": spelling,
                "cosine": meaning / MEANING_WEIGHT if matches.cosine_limit is not None else None,
                "letters": float(texts[best].scores.letters_N[place]),
                "consonants": float(texts[best].scores.consonants_N[place]),
                "by_text": best,
                "alikeness": float(alikeness_SP[:, place].max()),
                "matches_by": [] if matches.is_empty else [name for name, by_P in ways.items() if by_P[place]],
            }
        )
    return items
