"""The lists of a shop's pages over HTTP: a market whose right answers can be read off its events."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from batch_jobs.cli import app
from batch_jobs.commands.serving import PageList
from feature_repo.common.paths import shop_paths
from online_api.app import create_app
from online_api.lists.kinds.list_requests import page_request
from online_api.runtime import Runtime
from tests.online_api.api_shop import Json, body_of, ids_of, items_of, open_shop, problem_of
from tests.online_api.shop_variants import api_of, running, with_settings
from tests.serving import serving
from training.artifacts.release import LISTS_FOLDER, current_release

pytestmark = pytest.mark.store

# On sale are milk, by a sixth, lamp, by half, and secret, which is hidden; the others cost what they always did.
PRODUCTS = """id,title,category,price,regular_price,hidden
milk,Fresh milk,dairy,10,12,false
butter,Salted butter,dairy,30,30,false
bread,White bread,bakery,5,,false
tea,Green tea,drinks,40,,false
sugar,Brown sugar,drinks,8,7,false
lamp,Desk lamp,home,50,100,false
scarf,Wool scarf,home,20,,false
secret,Secret box,home,1,9,true
"""
# Bread goes with butter in one basket, tea with sugar on the next day. The data end on 4 March.
EVENTS = """buyer_id,product_id,event_type,timestamp
b1,bread,purchase,2024-01-01 10:00
b1,butter,purchase,2024-01-01 10:00
b2,bread,purchase,2024-01-02 10:00
b2,butter,purchase,2024-01-02 10:00
b3,bread,purchase,2024-01-02 11:00
b3,butter,purchase,2024-01-02 11:00
b2,bread,purchase,2024-02-20 10:00
b4,tea,purchase,2024-01-09 10:00
b4,sugar,purchase,2024-01-10 10:00
b5,tea,purchase,2024-01-09 11:00
b5,sugar,purchase,2024-01-10 11:00
b1,milk,purchase,2024-02-01 10:00
b1,milk,purchase,2024-02-08 10:00
b1,milk,purchase,2024-02-15 10:00
b2,milk,purchase,2024-02-22 10:00
b1,secret,purchase,2024-02-01 12:00
b1,secret,purchase,2024-02-02 12:00
b1,lamp,purchase,2024-02-03 10:00
b1,scarf,view,2024-03-01 10:00
b1,tea,view,2024-03-02 10:00
b1,secret,view,2024-03-03 10:00
b1,scarf,view,2024-03-03 11:00
b4,scarf,view,2024-03-04 10:00
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("market"), PRODUCTS, EVENTS, with_lists=True) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(market: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(market.config, market)) as client:
        yield client


def shown(client: httpx.Client, path: str, **parameters: Any) -> tuple[str, list[tuple[str, str]]]:
    """The source of a list, and the source and id of its products."""
    answer = client.get(f"/v1/{path}", params=parameters)
    return body_of(answer)["source"], [(item["source"], item["product_id"]) for item in items_of(answer)]


def cart(client: httpx.Client, *product_ids: str, **more: Any) -> httpx.Response:
    return client.post("/v1/cart", json={"product_ids": product_ids, **more})


def reasons(item: Json) -> list[tuple[str, str | None]]:
    return [(reason["product_id"], reason["event_type"]) for reason in item["because"]]


# ---- of a buyer


def test_buy_again_is_what_is_due_and_then_recommendations(client: httpx.Client) -> None:
    source, items = shown(client, "buyers/b1/again")
    # Nobody bought the lamp or butter again, and secret is hidden. The rest of the shop follows.
    assert (source, items[:2]) == ("buy_again", [("buy_again", "milk"), ("buy_again", "bread")])
    assert {source for source, _ in items[2:]} == {"personalised"}
    assert len(items) == 7
    milk, bread = items_of(client.get("/v1/buyers/b1/again"))[:2]
    assert 11 > milk["score"] > bread["score"] > 10
    assert reasons(milk) == [("milk", "purchase")]
    assert milk["because"][0]["timestamp"] == 1_707_991_200_000  # 15 February
    assert milk["because"][0]["contribution"] == pytest.approx(milk["score"] - 10, abs=1e-5)


def test_a_purchase_of_a_moment_ago_counts(client: httpx.Client) -> None:
    event = {"buyer_id": "b7", "product_id": "milk", "event_type": "purchase", "timestamp": "2024-03-20T10:00:00Z"}
    assert client.post("/v1/events", json={"events": [event]}).status_code == 202
    assert shown(client, "buyers/b7/again", fill=False) == ("buy_again", [("buy_again", "milk")])


def test_without_fill_a_list_has_its_own_products_alone(client: httpx.Client) -> None:
    answer = client.get("/v1/buyers/b1/again", params={"fill": False, "category": ["dairy", "home"]})
    assert ids_of(answer) == ["milk"]
    body = body_of(answer)
    assert (body["matching"], body["dropped"]) == (1, {"hidden": 1, "category": 3, "not_listed": 3})
    nobody = body_of(client.get("/v1/buyers/nobody/again", params={"fill": False}))
    assert (nobody["source"], nobody["items"], nobody["degraded"]) == ("popular", [], [])


def test_a_buyer_without_purchases_gets_recommendations_or_what_is_popular(client: httpx.Client) -> None:
    assert shown(client, "buyers/nobody/again", k=2) == ("popular", [("popular", "milk"), ("popular", "lamp")])
    within = shown(client, "buyers/nobody/recent", category="drinks")
    assert within[0] == "popular_in_filter"


def test_recently_viewed_is_each_product_once_newest_first(client: httpx.Client) -> None:
    source, items = shown(client, "buyers/b1/recent")
    assert (source, items[:2]) == ("recently_viewed", [("recently_viewed", "scarf"), ("recently_viewed", "tea")])
    assert {source for source, _ in items[2:]} == {"personalised"}
    scarf = items_of(client.get("/v1/buyers/b1/recent"))[0]
    assert scarf["because"][0]["timestamp"] == 1_709_463_600_000  # 3 March, the second view
    bought = shown(client, "buyers/b1/recent", event_type="purchase", fill=False)[1]
    assert [product_id for _, product_id in bought] == ["milk", "lamp", "butter", "bread"]
    problem_of(client.get("/v1/buyers/b1/recent", params={"event_type": "thought"}), 422)


# ---- bought together


@pytest.mark.parametrize(
    ("product_id", "first"),
    [
        ("bread", ("bought_together", "butter")),
        ("butter", ("bought_together", "bread")),
        ("tea", ("bought_within_days", "sugar")),
    ],
)
def test_bought_together_comes_from_baskets_then_days_then_similar_products(
    client: httpx.Client, product_id: str, first: tuple[str, str]
) -> None:
    source, items = shown(client, f"products/{product_id}/bought-together")
    assert (source, items[0]) == (first[0], first)
    assert {source for source, _ in items[1:]} == {"similar"}
    assert len(items) == 6
    assert product_id not in {other for _, other in items}
    assert reasons(items_of(client.get(f"/v1/products/{product_id}/bought-together"))[0]) == [(product_id, None)]


def test_a_product_that_nobody_bought_has_similar_ones(client: httpx.Client) -> None:
    assert shown(client, "products/scarf/bought-together")[0] == "similar"
    assert shown(client, "products/gone/bought-together")[0] == "popular"


def test_a_cart_gets_what_goes_with_it_and_never_itself(client: httpx.Client) -> None:
    answer = cart(client, "bread", "tea", "gone")
    body, items = body_of(answer), items_of(answer)
    assert (body["source"], body["dropped"]) == ("bought_together", {"hidden": 1, "excluded": 2})
    assert [(item["source"], item["product_id"]) for item in items[:2]] == [
        ("bought_together", "butter"),
        ("bought_within_days", "sugar"),
    ]
    assert [item["source"] for item in items[2:]] == ["session"] * 3
    assert [reasons(item) for item in items[:2]] == [[("bread", None)], [("tea", None)]]
    assert ids_of(cart(client, "bread", filters={"categories": ["drinks"]}, fill=False)) == []
    assert ids_of(cart(client, "bread", exclude=["butter"], fill=False)) == []
    # Nothing of it is known: the buyer's own history, or what is popular.
    assert body_of(cart(client, "gone", buyer_id="b1"))["source"] == "personalised"
    assert body_of(cart(client, "gone"))["source"] == "popular"
    problem_of(cart(client), 422)


# ---- of no buyer


def test_trending_is_what_buyers_chose_lately_and_then_what_is_popular(client: httpx.Client) -> None:
    source, items = shown(client, "trending")
    # Scarf has two buyers of the last days; milk two of weeks ago, which is less than tea's one of two days ago. The
    # lamp was bought 30 days before the end, which is too long ago.
    assert source == "trending"
    assert items[:4] == [("trending", product_id) for product_id in ("scarf", "tea", "milk", "bread")]
    assert items[4:] == [("popular", product_id) for product_id in ("lamp", "butter", "sugar")]
    assert shown(client, "trending", category="nothing") == ("popular_in_filter", [])
    assert shown(client, "trending", category="drinks") == (
        "trending",
        [("trending", "tea"), ("popular_in_filter", "sugar")],
    )


def test_new_is_what_appeared_last(client: httpx.Client) -> None:
    # Bread and butter are more than 60 days old.
    new = [("new", product_id) for product_id in ("scarf", "lamp", "milk", "sugar", "tea")]
    assert shown(client, "new", fill=False) == ("new", new)
    assert shown(client, "new") == ("new", [*new, ("popular", "butter"), ("popular", "bread")])


def test_on_sale_is_what_costs_less_than_usual(client: httpx.Client) -> None:
    assert shown(client, "on-sale", fill=False) == ("on_sale", [("on_sale", "lamp"), ("on_sale", "milk")])
    lamp, milk = items_of(client.get("/v1/on-sale", params={"k": 2}))
    assert (lamp["price"], lamp["regular_price"], milk["regular_price"]) == (50, 100, 12)
    assert shown(client, "on-sale", k=3)[1][2][0] == "popular"
    assert shown(client, "on-sale", category="dairy", fill=False)[1] == [("on_sale", "milk")]


# ---- the command line


@pytest.mark.parametrize("page", PageList)
def test_the_command_line_asks_for_the_same_lists(client: httpx.Client, market: Runtime, page: PageList) -> None:
    request = page_request(page, "b1", ["bread"], ["dairy"], 2, fill=True)
    payload = market.service.answer([request])[0].payload
    path = {
        "again": "buyers/b1/again",
        "recent": "buyers/b1/recent",
        "bought-together": "products/bread/bought-together",
    }
    if page is PageList.CART:
        answer = cart(client, "bread", buyer_id="b1", k=2, filters={"categories": ["dairy"]})
    else:
        answer = client.get(f"/v1/{path.get(page, page)}", params={"k": 2, "category": "dairy"})
    assert [item["product_id"] for item in payload["items"]] == ids_of(answer)
    assert payload["source"] == body_of(answer)["source"]
    assert len(payload["items"]) == 2


@pytest.mark.parametrize("arguments", [["again"], ["recent"], ["cart"], ["bought-together"], ["hot"]])
def test_a_list_that_lacks_its_buyer_or_product_is_bad_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["list", *arguments]).exit_code == 2


# ---- conditions and failures


def test_diversity_counts_over_all_parts(client: httpx.Client) -> None:
    capped = [product_id for _, product_id in shown(client, "on-sale", max_per_category=1)[1]]
    # One of home, dairy, drinks and bakery each, the products on sale first.
    assert capped[:2] == ["lamp", "milk"]
    assert len(capped) == 4


RULES = """rules:
  - {name: dairy, action: boost, weight: 1, match: {categories: [dairy]}}
  - {name: campaign, action: pin, position: 3, match: {product_ids: [tea, lamp]}}
"""


def test_rules_move_products_within_a_part_and_pin_them_anywhere(market: Runtime, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    config = with_settings(market.config, api={"rules_path": str(tmp_path / "rules.yaml")})
    with api_of(config, market.store) as client:
        items = items_of(client.get("/v1/on-sale"))
        # Milk passes the lamp, which is pinned to the fourth place, where it is on sale still.
        assert [(item["product_id"], item["source"], item["rules"]) for item in items[:4]] == [
            ("milk", "on_sale", ["dairy"]),
            ("butter", "popular", ["dairy"]),
            ("tea", "popular", ["campaign"]),
            ("lamp", "on_sale", ["campaign"]),
        ]
        # What is not in the list is not pinned into it.
        assert ids_of(client.get("/v1/on-sale", params={"fill": False})) == ["milk", "lamp"]
        assert ids_of(client.get("/v1/on-sale", params={"rules": False}))[:2] == ["lamp", "milk"]


def test_a_release_from_before_the_lists_serves_what_fills_them(market: Runtime) -> None:
    live = current_release(shop_paths(market.config).releases)
    assert live is not None
    assert (live / LISTS_FOLDER / "trending.npy").is_file()
    with running(market.config, market.store) as runtime:
        snapshot = runtime.keeper.live
        snapshot.recommender.lists = None
        with serving(create_app(market.config, runtime)) as client:
            for path, source in (
                ("buyers/b1/again", "personalised"),
                ("products/bread/bought-together", "similar"),
                ("trending", "popular"),
                ("new", "popular"),
            ):
                body = body_of(client.get(f"/v1/{path}"))
                assert (body["source"], body["degraded"]) == (source, ["release"]), path
                assert len(body["items"]) >= 6
            assert body_of(client.get("/v1/on-sale"))["degraded"] == []
            assert body_of(client.get("/v1/buyers/b1/recent"))["source"] == "recently_viewed"
