"""One request for each route of docs/reference/api.md. A test sends them all to a small shop."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Body = Mapping[str, Any]


class Example(NamedTuple):
    """A request: the path with its query, not yet quoted, and the JSON body of a POST."""

    path: str
    body: Body | None = None


RELEASE = "20260301T020000.000Z-1a2b3c4d"
VIEW: Body = {"product_id": "p7", "event_type": "view"}
EXAMPLES: Mapping[str, Example] = {
    "GET /v1/buyers/{buyer_id}/recommendations": Example("/v1/buyers/u1/recommendations?k=4&in_stock=true&lang=ar"),
    "POST /v1/recommendations": Example(
        "/v1/recommendations",
        {"buyer_id": "u1", "k": 4, "filters": {"categories": ["phones"], "max_price": 900}, "exclude": ["p3"]},
    ),
    "POST /retrieve": Example("/retrieve", {"interactions": [VIEW], "k": 4}),
    "POST /encode_buyer": Example("/encode_buyer", {"interactions": [VIEW]}),
    "GET /v1/products/{product_id}": Example("/v1/products/p3?lang=ar"),
    "GET /v1/products/{product_id}/similar": Example("/v1/products/p3/similar?k=4"),
    "GET /v1/products/{product_id}/bought-together": Example("/v1/products/p3/bought-together?k=4"),
    "GET /v1/buyers/{buyer_id}/again": Example("/v1/buyers/u1/again?k=4&fill=false"),
    "GET /v1/buyers/{buyer_id}/recent": Example("/v1/buyers/u1/recent?k=4&event_type=add_to_cart"),
    "POST /v1/cart": Example("/v1/cart", {"product_ids": ["p3", "p4"], "buyer_id": "u1", "k": 4}),
    "GET /v1/trending": Example("/v1/trending?category=phones&k=4"),
    "GET /v1/new": Example("/v1/new?k=4&brand=Nour"),
    "GET /v1/on-sale": Example("/v1/on-sale?k=4&facets=true"),
    "GET /v1/search": Example("/v1/search?q=قهوة&k=4&facets=true"),
    "GET /v1/suggestions": Example("/v1/suggestions?q=قه&k=5"),
    "POST /v1/events": Example(
        "/v1/events",
        {
            "events": [
                {
                    "event_id": "order-17-p3",
                    "buyer_id": "u1",
                    "product_id": "p3",
                    "event_type": "purchase",
                    "timestamp": "2026-03-01T10:00:00Z",
                    "quantity": 2,
                }
            ]
        },
    ),
    "POST /v1/buyers/{buyer_id}/merge": Example("/v1/buyers/u1/merge", {"guest_id": "guest-7f3a"}),
    "GET /v1/inspect/buyers/{buyer_id}": Example("/v1/inspect/buyers/u1?k=4"),
    "GET /v1/inspect/buyers/{buyer_id}/compare": Example(f"/v1/inspect/buyers/u1/compare?release={RELEASE}&k=4"),
    "GET /v1/inspect/products/{product_id}": Example("/v1/inspect/products/p3?k=4"),
    "GET /v1/inspect/products/{product_id}/compare": Example(f"/v1/inspect/products/p3/compare?release={RELEASE}&k=4"),
    "GET /v1/inspect/search": Example("/v1/inspect/search?q=قهوة&k=4"),
    "GET /v1/inspect/map": Example("/v1/inspect/map"),
    "GET /livez": Example("/livez"),
    "GET /readyz": Example("/readyz"),
    "GET /health": Example("/health"),
    "GET /metrics": Example("/metrics"),
    "GET /v1/admin/releases": Example("/v1/admin/releases"),
    "POST /v1/admin/releases/reload": Example("/v1/admin/releases/reload"),
    "POST /v1/admin/releases/rollback": Example("/v1/admin/releases/rollback"),
}
