"""A product as the release and the feature store have it: values, parts of its vector, nearest products."""

import math

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.online.features import LiveProducts
from online_api.inspection.release_facts import ReleaseFacts
from online_api.lists.list_request import Payload
from online_api.lists.live_release import LiveRelease
from online_api.schemas.inspection import ChangingValues


def inspected_product(
    live: LiveRelease, facts: ReleaseFacts, position: int, k: int, stored: LiveProducts | None
) -> Payload:
    """An InspectedProduct.

    Args:
        live: The release.
        facts: Of the same release.
        position: Of the product.
        k: Number of nearest products.
        stored: The product in the feature store; None if that does not answer.
    """
    recommender, products = live.recommender, live.recommender.products
    [vector_D] = recommender.product_vectors(np.array([position]))
    [nearest] = recommender.nearest(vector_D[None], k + 1)
    others = nearest.positions != position
    return {
        **live.catalogue.rendered(position),
        "hidden": bool(live.catalogue.hidden_N[position]),
        "release": recommender.name,
        "titles": dict(products.titles(position)),
        "released": _values(
            products.prices_N[position],
            products.regular_prices_N[position],
            str(products.currencies_N[position]),
            int(products.stock_N[position]),
            bool(products.hidden_N[position]),
        ),
        "stored": None if stored is None or not stored.known_P[0] else _stored_values(stored),
        "popularity": _popularity(live, position),
        "has_identity": facts.parts.has_identity(products, position),
        "vector_parts": facts.parts.shares(products, position, vector_D)._asdict(),
        "nearest": _neighbours(live, facts, nearest.positions[others][:k], nearest.scores[others][:k]),
        "place": facts.places(recommender, np.array([position], dtype=np.int64))[0],
    }


def _popularity(live: LiveRelease, position: int) -> Payload:
    recommender, at = live.recommender, np.array([position])
    term, new_term = (
        float(recommender.popularity_term(new_only=new_only).term_N[position]) for new_only in (False, True)
    )
    # 1 / rank, see Recommender.popularity.
    return {"rank": round(1 / float(recommender.popularity(at)[0])), "term": term, "term_new_only": new_term}


def _stored_values(stored: LiveProducts) -> Payload:
    return _values(
        stored.price_P[0],
        stored.regular_price_P[0],
        str(stored.currency_P[0]),
        int(stored.stock_P[0]),
        bool(stored.hidden_P[0]),
    )


def _values(price: float, regular: float, currency: str, stock: int, hidden: bool) -> Payload:
    return ChangingValues(
        price=None if math.isnan(price) else float(price),
        regular_price=None if math.isnan(regular) else float(regular),
        currency=currency or None,
        stock=None if stock < 0 else stock,
        hidden=hidden,
    ).model_dump()


def _neighbours(live: LiveRelease, facts: ReleaseFacts, positions: Int64Array, cosines: Float32Array) -> list[Payload]:
    rows = zip(positions.tolist(), cosines.tolist(), facts.places(live.recommender, positions), strict=True)
    products = [(live.catalogue.rendered(position), position, cosine, place) for position, cosine, place in rows]
    return [
        {
            c.PRODUCT_ID: product[c.PRODUCT_ID],
            c.TITLE: product[c.TITLE],
            c.CATEGORY: product[c.CATEGORY],
            "hidden": bool(live.catalogue.hidden_N[position]),
            "cosine": cosine,
            "place": place,
        }
        for product, position, cosine, place in products
    ]
