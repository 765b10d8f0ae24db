"""The calls of the API: what each sends and what its answer is. Both clients send these."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from tawsiya_client.models import (
    Event,
    EventsResult,
    Interaction,
    MergeResult,
    Product,
    ProductList,
    SuggestionList,
)
from tawsiya_client.options import (
    AnyOptions,
    BuyerListOptions,
    CartOptions,
    ListOptions,
    RecentOptions,
    SearchOptions,
    ShopListOptions,
)

AnswerT = TypeVar("AnswerT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """One call.

    Attributes:
        method, path, params, body: What is sent.
        answer: The type of the answer.
        options: The conditions of a list, for its fallback; None: the call has no fallback.
    """

    method: str
    path: str
    answer: type[AnswerT]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    options: AnyOptions | None = None

    @property
    def name(self) -> str:
        """Method and path, for messages."""
        return f"{self.method} {self.path}"


def recommendations(buyer_id: str, options: BuyerListOptions) -> Call[ProductList]:
    """Products for a buyer's stored history."""
    return _list(f"/v1/buyers/{_segment(buyer_id)}/recommendations", options)


def for_session(
    interactions: Iterable[Interaction], buyer_id: str | None, options: BuyerListOptions
) -> Call[ProductList]:
    """Products for what happened in this session."""
    shown = {"interactions": [one.model_dump(mode="json", exclude_none=True) for one in interactions]}
    return _posted("/v1/recommendations", buyer_id, shown, options)


def cart(product_ids: Sequence[str], buyer_id: str | None, options: CartOptions) -> Call[ProductList]:
    """Products that go with a cart."""
    return _posted("/v1/cart", buyer_id, {"product_ids": list(product_ids)}, options)


def again(buyer_id: str, options: ShopListOptions) -> Call[ProductList]:
    """What the buyer bought and may need again."""
    return _list(f"/v1/buyers/{_segment(buyer_id)}/again", options)


def recent(buyer_id: str, options: RecentOptions) -> Call[ProductList]:
    """What the buyer viewed."""
    return _list(f"/v1/buyers/{_segment(buyer_id)}/recent", options)


def similar(product_id: str, options: ListOptions) -> Call[ProductList]:
    """Products similar to one."""
    return _list(f"/v1/products/{_segment(product_id)}/similar", options)


def bought_together(product_id: str, options: ShopListOptions) -> Call[ProductList]:
    """Products that are bought together with one."""
    return _list(f"/v1/products/{_segment(product_id)}/bought-together", options)


def trending(options: ShopListOptions) -> Call[ProductList]:
    """Popular products."""
    return _list("/v1/trending", options)


def new(options: ShopListOptions) -> Call[ProductList]:
    """New arrivals."""
    return _list("/v1/new", options)


def on_sale(options: ShopListOptions) -> Call[ProductList]:
    """Products that cost less than usual."""
    return _list("/v1/on-sale", options)


def search(query: str, options: SearchOptions) -> Call[ProductList]:
    """Products that match a query. Popular products are no answer to it, so it has no fallback."""
    return Call("GET", "/v1/search", ProductList, {"q": query, **_params(options)})


def suggestions(typed: str, k: int) -> Call[SuggestionList]:
    """Texts that complete what was typed."""
    return Call("GET", "/v1/suggestions", SuggestionList, {"q": typed, "k": k})


def product(product_id: str) -> Call[Product]:
    """One product."""
    return Call("GET", f"/v1/products/{_segment(product_id)}", Product)


def record(events: Sequence[Event]) -> Call[EventsResult]:
    """Records events. Repeating it is safe, because every event has an id."""
    body = {"events": [event.model_dump(mode="json", exclude_none=True) for event in events]}
    return Call("POST", "/v1/events", EventsResult, body=body)


def merge(guest_id: str, buyer_id: str, guest_token: str | None) -> Call[MergeResult]:
    """Makes a guest's history a buyer's. Repeating it changes nothing."""
    body = _given({"guest_id": guest_id, "guest_token": guest_token})
    return Call("POST", f"/v1/buyers/{_segment(buyer_id)}/merge", MergeResult, body=body)


def _posted(path: str, buyer_id: str | None, content: Mapping[str, Any], options: AnyOptions) -> Call[ProductList]:
    given = _params(options)
    filters = {"categories": given.pop("category", None), "brands": given.pop("brand", None)}
    filters |= {name: given.pop(name, None) for name in ("min_price", "max_price", "currency", "in_stock")}
    limits = ("lambda", "max_per_brand", "max_per_category", "max_per_group")
    diversity = {name: given.pop(name, None) for name in limits}
    body = given | {"buyer_id": buyer_id, **content, "filters": _given(filters), "diversity": _given(diversity)}
    return Call("POST", path, ProductList, body=_given(body), options=_of_fallback(options))


def _list(path: str, options: AnyOptions) -> Call[ProductList]:
    return Call("GET", path, ProductList, _params(options), options=_of_fallback(options))


def _of_fallback(options: AnyOptions) -> AnyOptions | None:
    """The conditions, unless they continue a list: the kept products would come twice."""
    return None if options.get("page") else options


def _params(options: AnyOptions) -> dict[str, Any]:
    # "lambda" is a keyword of Python.
    return {"lambda" if name == "lambda_" else name: value for name, value in options.items()}


def _segment(identifier: str) -> str:
    """An id as part of a path; slashes too, because a proxy may treat them as its own."""
    return quote(identifier, safe="")


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def headers(api_key: str | None, buyer_token: str | None) -> Mapping[str, str]:
    """The headers that say who calls; ValueError if both say it."""
    if api_key and buyer_token:
        raise ValueError("api_key and buyer_token: give one of them")
    if buyer_token:
        return {"Authorization": f"Bearer {buyer_token}"}
    return {"X-API-Key": api_key} if api_key else {}
