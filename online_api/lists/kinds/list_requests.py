"""The list requests of a shop's pages, for the routes and the command line; conditions are added by the caller.

What a request asks for besides its list is what fills the list.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from feature_repo.transforms.events import EVENT_TYPE_NAMES
from online_api.lists.kinds.list_kinds import ListKind, ShopList
from online_api.lists.list_request import ListRequest
from online_api.schemas.requests import NO_FILTERS, Filters, Interaction

ADD_TO_CART = EVENT_TYPE_NAMES[1]


def buy_again_request(buyer_id: str) -> ListRequest:
    """What the buyer bought, as it is due; then recommendations."""
    return ListRequest(buyer_id=buyer_id, shop_list=ShopList(ListKind.AGAIN))


def recently_viewed_request(buyer_id: str, event_type: str = EVENT_TYPE_NAMES[0]) -> ListRequest:
    """What the buyer viewed (or put into the cart, or bought), newest first; then recommendations."""
    return ListRequest(buyer_id=buyer_id, shop_list=ShopList(ListKind.RECENT, event_type=event_type))


def bought_together_request(product_id: str) -> ListRequest:
    """What is bought together with a product; then similar products."""
    return ListRequest(similar_to=product_id, shop_list=ShopList(ListKind.TOGETHER, (product_id,)))


def cart_request(request: ListRequest, product_ids: Sequence[str]) -> ListRequest:
    """What is bought together with a cart; then recommendations for whoever put these products into it.

    Args:
        request: The buyer, the session and the conditions.
        product_ids: The cart, which is left out of the list.
    """
    added = [Interaction(product_id=product_id, event_type=ADD_TO_CART) for product_id in product_ids]
    return replace(
        request,
        interactions=[*request.interactions, *added],
        exclude=[*request.exclude, *product_ids],
        shop_list=ShopList(ListKind.TOGETHER, product_ids),
    )


def popular_list_request(kind: ListKind) -> ListRequest:
    """A list of no buyer (TRENDING, NEW or ON_SALE); then popular products."""
    return ListRequest(popular=True, shop_list=ShopList(kind))


def with_fill(request: ListRequest, *, fill: bool) -> ListRequest:
    """The request with or without products of other sources where its list has too few."""
    return request if request.shop_list is None else replace(request, shop_list=replace(request.shop_list, fill=fill))


def page_request(
    page: str, buyer_id: str | None, product_ids: Sequence[str], categories: Sequence[str], k: int, *, fill: bool
) -> ListRequest:
    """The request for K products of a list, named as its route: `again`, `cart`, `on-sale`, ..."""
    requests: dict[str, Callable[[], ListRequest]] = {
        "again": lambda: buy_again_request(str(buyer_id)),
        "recent": lambda: recently_viewed_request(str(buyer_id)),
        "cart": lambda: cart_request(ListRequest(buyer_id=buyer_id), product_ids),
        "bought-together": lambda: bought_together_request(product_ids[0]),
        "trending": lambda: popular_list_request(ListKind.TRENDING),
        "new": lambda: popular_list_request(ListKind.NEW),
        "on-sale": lambda: popular_list_request(ListKind.ON_SALE),
    }
    filters = Filters(categories=tuple(categories)) if categories else NO_FILTERS
    return replace(with_fill(requests[page](), fill=fill), k=k, filters=filters)
