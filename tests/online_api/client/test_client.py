"""The client against the real service: every call, in both clients."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tawsiya_client import ApiError, AsyncClient, Client, Event, Interaction, ProductList
from tawsiya_client.fallback import Fallback
from tawsiya_client.options import ListOptions

pytestmark = pytest.mark.store

PURCHASE = Interaction(product_id="p1", event_type="purchase", timestamp=1_700_000_000_000)
README = Path(__file__).parents[3] / "client" / "README.md"


@pytest.fixture(scope="module")
def base_url(client: httpx.Client) -> str:
    return str(client.base_url)


def test_the_lists_of_a_shop(base_url: str) -> None:
    with Client(base_url) as shop:
        stored = shop.recommendations("u1", k=2)
        session = shop.for_session([Interaction(product_id="p3")], k=2, exclude=["p3"], lambda_=0.9)
        similar = shop.similar("p1", k=2)
        popular = shop.trending(category=["phones"], in_stock=True)
        found = shop.search("قهوة", k=1)
    assert (stored.source, len(stored.items), stored.buyer_id) == ("personalised", 2, "u1")
    assert (session.source, len(session.items)) == ("session", 2)
    assert "p3" not in session.product_ids
    assert (similar.source, len(similar.items)) == ("similar", 2)
    assert "p1" not in similar.product_ids
    assert popular.product_ids == ["p1"]
    assert found.product_ids == ["p3"]
    assert stored.items[0].score == pytest.approx(sum(stored.items[0].score_parts.model_dump().values()), abs=1e-6)


def test_the_lists_of_its_pages(base_url: str) -> None:
    with Client(base_url) as shop:
        assert len(shop.again("u2", k=2).items) == 2
        assert shop.recent("u1", fill=False, event_type="view").product_ids == ["p1"]
        assert "p3" not in shop.cart(["p3"], "u2", k=3).product_ids
        assert "p1" not in shop.bought_together("p1").product_ids
        assert shop.on_sale(fill=False).items == []
        assert shop.new(k=1).items[0].source in ("new", "popular")
        first = shop.trending(k=2, facets=True)
        second = shop.trending(k=2, page=first.next or "")
        assert not set(first.product_ids) & set(second.product_ids)
        assert (first.page.number, second.page.number) == (1, 2)
        assert first.facets is not None
        assert shop.suggestions("sm", k=3).release == first.release


def test_a_guest_becomes_a_buyer(base_url: str) -> None:
    with Client(base_url) as shop:
        shop.record([Event(buyer_id="client-guest", product_id="p4")])
        assert shop.merge("client-guest", "client-buyer").outcome == "merged"
        assert shop.merge("client-guest", "client-buyer").outcome == "known"
        assert "p4" in shop.recent("client-buyer", fill=False).product_ids


def test_both_clients_give_the_same(base_url: str) -> None:
    async def ask() -> list[ProductList]:
        async with AsyncClient(base_url) as shop:
            return list(
                await asyncio.gather(
                    shop.recommendations("u2"),
                    shop.for_session([PURCHASE], "u2"),
                    shop.similar("p2", lang="ar"),
                    shop.trending(brand=["Nour", "نور"]),
                    shop.search("coffee"),
                )
            )

    with Client(base_url) as shop:
        lists = [
            shop.recommendations("u2"),
            shop.for_session([PURCHASE], "u2"),
            shop.similar("p2", lang="ar"),
            shop.trending(brand=["Nour", "نور"]),
            shop.search("coffee"),
        ]
    assert asyncio.run(ask()) == lists


def test_a_product_and_an_unknown_one(base_url: str) -> None:
    with Client(base_url) as shop:
        assert shop.product("p3").category == "coffee"
        with pytest.raises(ApiError, match=r"404 .*does not know this product"):
            shop.product("a/b")


def test_a_wrong_field_is_named(base_url: str) -> None:
    with Client(base_url) as shop, pytest.raises(ApiError, match=r"422 .*query\.k: ") as raised:
        shop.trending(k=101)
    assert raised.value.status == 422


def test_an_event_counts_once_and_at_once(base_url: str) -> None:
    with Client(base_url) as shop:
        event = Event(buyer_id="client/visitor", product_id="p4", event_type="add_to_cart")
        first, again = shop.record([event]), shop.record([event])
        assert (first.accepted, first.duplicates) == (1, 0)
        assert (again.accepted, again.duplicates) == (0, 1)
        answer = shop.recommendations("client/visitor")
    assert answer.source == "personalised"
    assert answer.items[0].because[0].product_id == "p4"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 2},
        {"exclude": ["p3", "p1"]},
        {"category": ["phones", "shoes"]},
        {"brand": ["Nour"]},
        {"min_price": 100},
        {"max_price": 120.0, "k": 1},
        {"in_stock": True},
        {"category": ["phones"], "in_stock": True},
        {"currency": "egp"},
    ],
)
def test_the_fallback_obeys_the_conditions_of_the_service(base_url: str, options: ListOptions) -> None:
    fallback = Fallback(300, 2)
    with Client(base_url) as shop:
        fallback.keep(shop.trending(k=100))
        expected = shop.trending(**options)
    kept = fallback.list(options)
    assert kept is not None
    assert kept.product_ids == expected.product_ids


def test_the_example_of_the_readme_runs(base_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    exec(example.replace("http://127.0.0.1:8000", base_url), {})
    assert len(capsys.readouterr().out.splitlines()) == 3
