"""The lists that two releases give for one request, side by side."""

from feature_repo import columns as c
from online_api.lists.list_request import Payload
from training.evaluation.list_agreement import overlap, rank_biased_overlap

NOT_LISTED: Payload = {"score": None}  # read only


def compared(live: Payload, other: Payload) -> Payload:
    """A ReleaseComparison of two lists (RecommendationResponse, without page)."""
    of_live, of_other = _by_id(live), _by_id(other)
    items = of_other | of_live
    ranks = [{product_id: rank for rank, product_id in enumerate(listed, 1)} for listed in (of_live, of_other)]
    return {
        "live": _side(live),
        "other": _side(other),
        "n_common": len(of_live.keys() & of_other.keys()),
        "overlap": overlap(list(of_live), list(of_other)),
        "rank_biased_overlap": rank_biased_overlap(list(of_live), list(of_other)),
        "rows": [
            {
                c.PRODUCT_ID: product_id,
                c.TITLE: items[product_id][c.TITLE],
                c.CATEGORY: items[product_id][c.CATEGORY],
                "live_rank": ranks[0].get(product_id),
                "other_rank": ranks[1].get(product_id),
                "live_score": of_live.get(product_id, NOT_LISTED)["score"],
                "other_score": of_other.get(product_id, NOT_LISTED)["score"],
            }
            for product_id in of_live | of_other
        ],
    }


def _by_id(payload: Payload) -> dict[str, Payload]:
    """The products of a list in its order."""
    return {item[c.PRODUCT_ID]: item for item in payload["items"]}


def _side(payload: Payload) -> Payload:
    return {name: payload[name] for name in ("release", "source", "degraded", "matching")}
