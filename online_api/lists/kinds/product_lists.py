"""The list of what is bought together with a product or a cart.

Legend: C products of the cart, P products that are bought with them.
"""

from collections.abc import Sequence

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from online_api.lists.kinds.listed_products import ListPart
from online_api.lists.list_request import Payload, ResolvedRequest
from online_api.lists.live_release import LiveRelease
from online_api.schemas.responses import Source
from training.artifacts.lists.co_purchases import CoPurchases
from training.artifacts.lists.ranked_products import RankedProducts

REASONS_OF_CART = 2  # products in `because`; responses.RecommendedProduct and docs/api.md say two
# Scores of pairs have no upper limit. One of 10, such as five baskets at seven times of chance, becomes one half.
HALF_SCORE = np.float32(10)


def bought_together(live: LiveRelease, resolved: ResolvedRequest, product_ids: Sequence[str]) -> list[ListPart]:
    """What is bought in one basket with the products, then what is bought within the same days."""
    lists = live.recommender.lists
    cart = live.catalogue.products.known_positions(product_ids)
    if lists is None or not len(cart):
        return []
    basket = _part(live, resolved, "bought_together", lists.basket, cart)
    days = _part(live, resolved, "bought_within_days", lists.days, cart)
    return [basket, days._replace(products=days.products.without(basket.products))]


def _part(
    live: LiveRelease, resolved: ResolvedRequest, source: Source, together: CoPurchases, cart: Int64Array
) -> ListPart:
    positions, scores_CP = together.of(cart)
    columns = {position: column for column, position in enumerate(positions.tolist())}

    def reasons(position: int) -> list[Payload]:
        scores_C = scores_CP[:, columns[position]]
        best = np.argsort(-scores_C, kind="stable")[:REASONS_OF_CART]
        total = float(scores_C.sum())
        return [
            _of_cart(live, resolved, int(cart[place])) | {"contribution": float(scores_C[place]) / total}
            for place in best
            if scores_C[place] > 0
        ]

    return ListPart(source, RankedProducts(positions, _of_all(scores_CP)), reasons)


def _of_all(scores_CP: Float32Array) -> Float32Array:
    """(P,) from 0 to 1: what is bought with several products of the cart is likelier than with one."""
    sums_P = scores_CP.sum(axis=0)
    scores_P: Float32Array = sums_P / (sums_P + HALF_SCORE)
    return scores_P


def _of_cart(live: LiveRelease, resolved: ResolvedRequest, position: int) -> Payload:
    product = live.catalogue.rendered(position, resolved.request.languages)
    return {c.PRODUCT_ID: product[c.PRODUCT_ID], c.TITLE: product[c.TITLE], c.EVENT_TYPE: None, c.TIMESTAMP: None}
