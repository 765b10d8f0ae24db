"""The calls of the API: what each sends and what its answer is. Both clients send these."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from tawsiya_client.models import Event, EventsResult, Interaction, Product, ProductList
from tawsiya_client.options import BuyerListOptions, ListOptions

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
    options: ListOptions | None = None

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
    given = _params(options)
    filters = {"categories": given.pop("category", None), "brands": given.pop("brand", None)}
    filters |= {name: given.pop(name, None) for name in ("min_price", "max_price", "currency", "in_stock")}
    diversity = {name: given.pop(name, None) for name in ("lambda", "max_per_brand", "max_per_category")}
    body = given | {
        "buyer_id": buyer_id,
        "interactions": [one.model_dump(mode="json", exclude_none=True) for one in interactions],
        "filters": _given(filters),
        "diversity": _given(diversity),
    }
    return Call("POST", "/v1/recommendations", ProductList, body=_given(body), options=options)


def similar(product_id: str, options: ListOptions) -> Call[ProductList]:
    """Products similar to one."""
    return _list(f"/v1/products/{_segment(product_id)}/similar", options)


def trending(options: ListOptions) -> Call[ProductList]:
    """Popular products."""
    return _list("/v1/trending", options)


def search(query: str, options: ListOptions) -> Call[ProductList]:
    """Products that match a query. Popular products are no answer to it, so it has no fallback."""
    return Call("GET", "/v1/search", ProductList, {"q": query, **_params(options)})


def product(product_id: str) -> Call[Product]:
    """One product."""
    return Call("GET", f"/v1/products/{_segment(product_id)}", Product)


def record(events: Sequence[Event]) -> Call[EventsResult]:
    """Records events. Repeating it is safe, because every event has an id."""
    body = {"events": [event.model_dump(mode="json", exclude_none=True) for event in events]}
    return Call("POST", "/v1/events", EventsResult, body=body)


def _list(path: str, options: BuyerListOptions | ListOptions) -> Call[ProductList]:
    return Call("GET", path, ProductList, _params(options), options=options)


def _params(options: BuyerListOptions | ListOptions) -> dict[str, Any]:
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
