"""Typed client of the Tawsiya API: `Client` for ordinary code, `AsyncClient` for asyncio."""

from tawsiya_client.async_client import AsyncClient
from tawsiya_client.client import Client
from tawsiya_client.errors import ApiError, RequestError, ServiceAwayError, TawsiyaError
from tawsiya_client.models import Event, EventsResult, Interaction, Item, Product, ProductList
from tawsiya_client.policy import Policy

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Event",
    "EventsResult",
    "Interaction",
    "Item",
    "Policy",
    "Product",
    "ProductList",
    "RequestError",
    "ServiceAwayError",
    "TawsiyaError",
]
