"""Pages of lists, through real HTTP, Feast and Valkey: none repeats a product, whatever happens in between."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.access.page_tokens import MAX_TOKEN_LENGTH
from feature_repo.online.shared_secret import read_secret
from online_api.app import create_app
from online_api.lists.list_request import ListRequest
from online_api.lists.pages import Pages
from online_api.runtime import Runtime
from tests.online_api.api_shop import Json, body_of, ids_of, interaction, open_shop, problem_of, publish_random_release
from tests.online_api.shop_variants import running
from tests.serving import serving
from training.text.encoder import load_text_encoder

pytestmark = pytest.mark.store

N_PRODUCTS, N_SHIRTS = 60, 12
VISIBLE = {f"p{number}" for number in range(N_PRODUCTS)} - {"p5"}
PRODUCTS = "id,title,brand,category,price,stock,hidden,group_id\n" + "".join(
    # p0 to p11 are three shirts in four sizes each; p5 is hidden.
    f"p{number},Tea number {number},B{number % 7},c{number % 3},{number},3,{number == 5},"
    f"{f'shirt{number // 4}' if number < N_SHIRTS else ''}\n"
    for number in range(N_PRODUCTS)
)
EVENTS = """buyer_id,product_id,event_type,timestamp
u1,p1,view,2024-03-01 10:00:00
u1,p30,purchase,2024-03-01 10:01:00
u2,p40,view,2024-03-05 10:00:00
"""
Fetch = Callable[..., httpx.Response]  # with `k` and `page`


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Runtime]:
    encoder_id = load_text_encoder(str(tiny_encoder), tiny_encoder.parent).encoder_id
    model: Json = {"item_tower": {"text_encoder": str(tiny_encoder)}}
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, PRODUCTS, EVENTS, text_encoder=encoder_id, model=model) as runtime:
        runtime.service.texts.load(runtime.keeper.live.recommender)
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        yield client


def getter(client: httpx.Client, path: str, **conditions: Any) -> Fetch:
    return lambda **page: client.get(path, params={**conditions, **page})


def poster(client: httpx.Client, path: str, **conditions: Any) -> Fetch:
    return lambda **page: client.post(path, json={**conditions, **page})


def routes(client: httpx.Client) -> dict[str, Fetch]:
    session = [interaction("p20")]
    return {
        "buyer": getter(client, "/v1/buyers/u1/recommendations"),
        "new to the buyer": getter(client, "/v1/buyers/u1/recommendations", new_only=True),
        "unknown buyer": getter(client, "/v1/buyers/nobody/recommendations"),
        "similar": getter(client, "/v1/products/p20/similar"),
        "trending": getter(client, "/v1/trending", category=["c0", "c1"]),
        "search": getter(client, "/v1/search", q="tea number 7"),
        "session": poster(client, "/v1/recommendations", interactions=session),
        "retrieve": poster(client, "/retrieve", interactions=session),
    }


ROUTES = ["buyer", "new to the buyer", "unknown buyer", "similar", "trending", "search", "session", "retrieve"]


def all_pages(fetch: Fetch, k: int, between: Callable[[], object] = lambda: None) -> list[Json]:
    """The answers until one has no `next`."""
    answers: list[Json] = [body_of(fetch(k=k))]
    while answers[-1]["next"] is not None:
        between()
        answers.append(body_of(fetch(k=k, page=answers[-1]["next"])))
    return answers


def ids(answers: list[Json]) -> list[str]:
    return [item["product_id"] for answer in answers for item in answer["items"]]


@pytest.mark.parametrize("route", ROUTES)
def test_pages_together_are_the_whole_list(client: httpx.Client, route: str) -> None:
    fetch = routes(client)[route]
    answers = all_pages(fetch, 7)
    shown = ids(answers)
    assert shown == ids_of(fetch(k=100))
    assert [answer["page"] for answer in answers] == [
        {"number": number, "restarted": None} for number in range(1, len(answers) + 1)
    ]
    for place, answer in enumerate(answers):
        assert len(answer["items"]) == 7 or answer is answers[-1]
        assert answer["dropped"].get("shown", 0) == 7 * place
        assert answer["matching"] + answer["dropped"].get("shown", 0) == answers[0]["matching"] == len(shown)


def test_pages_may_have_different_lengths_and_languages(client: httpx.Client) -> None:
    whole = ids_of(client.get("/v1/trending", params={"k": 20}))
    first = body_of(client.get("/v1/trending", params={"k": 3}))
    second = body_of(client.get("/v1/trending", params={"k": 15, "page": first["next"], "lang": "ar"}))
    third = body_of(client.get("/v1/trending", params={"k": 2, "page": second["next"], "exclude": whole[18]}))
    assert ids([first, second, third]) == [*whole[:18], whole[19], *ids([third])[1:]]


def test_variants_come_after_all_products_of_all_pages(client: httpx.Client) -> None:
    answers = all_pages(routes(client)["buyer"], 10)
    shirts = [int(product_id[1:]) // 4 for product_id in ids(answers) if int(product_id[1:]) < N_SHIRTS]
    assert sorted(shirts[:3]) == sorted(shirts[3:6]) == sorted(shirts[6:9]) == [0, 1, 2]
    assert len(shirts) == N_SHIRTS - 1
    firsts = len(VISIBLE) - len(shirts) + 3
    assert [bool(answer["relaxed"]) for answer in answers] == [10 * (n + 1) > firsts for n in range(len(answers))]


def test_pages_stay_disjoint_while_events_arrive(client: httpx.Client) -> None:
    stop, errors, sent = threading.Event(), [], 0

    def push() -> None:
        nonlocal sent
        while not stop.is_set():
            event = {"buyer_id": "u3", "product_id": f"p{(7 * sent) % N_PRODUCTS}", "event_type": "purchase"}
            answer = client.post("/v1/events", json={"events": [event]})
            if answer.status_code != 202:
                errors.append(answer.text)
            sent += 1

    thread = threading.Thread(target=push)
    thread.start()
    try:
        for _ in range(5):
            before = sent
            answers = all_pages(
                getter(client, "/v1/buyers/u3/recommendations"), 6, between=lambda: wait_past(lambda: sent)
            )
            shown = ids(answers)
            assert len(shown) == len(set(shown))
            assert set(shown) == VISIBLE  # and none is lost
            assert sent > before + 5
    finally:
        stop.set()
        thread.join()
    assert not errors


def wait_past(count: Callable[[], int]) -> None:
    before = count()
    while count() == before:
        pass


def test_a_release_between_two_pages_repeats_nothing(client: httpx.Client, shop: Runtime) -> None:
    first = body_of(client.get("/v1/trending", params={"k": 10}))
    publish_random_release(shop.config, shop.store.schema_hash, shop.keeper.live.recommender.text_encoder)
    assert shop.keeper.reload()
    second = body_of(client.get("/v1/trending", params={"k": 100, "page": first["next"]}))
    assert second["release"] != first["release"]
    assert sorted(ids([first, second])) == sorted(VISIBLE)


@pytest.mark.parametrize(
    ("path", "conditions"),
    [
        ("/v1/buyers/u2/recommendations", {}),
        ("/v1/buyers/u1/recommendations", {"category": "c1"}),
        ("/v1/buyers/u1/recommendations", {"max_per_brand": 2}),
        ("/v1/trending", {}),
        ("/v1/products/p1/similar", {}),
        ("/v1/search", {"q": "tea"}),
    ],
)
def test_a_token_of_another_list_starts_anew(client: httpx.Client, path: str, conditions: Json) -> None:
    token = body_of(client.get("/v1/buyers/u1/recommendations"))["next"]
    assert body_of(client.get("/v1/buyers/u1/recommendations", params={"page": token}))["page"]["number"] == 2
    answer = body_of(client.get(path, params={**conditions, "page": token}))
    assert answer["page"] == {"number": 1, "restarted": "other_list"}
    assert ids([answer]) == ids_of(client.get(path, params=conditions))


def test_searches_are_told_apart(client: httpx.Client) -> None:
    token = body_of(client.get("/v1/search", params={"q": "tea 1"}))["next"]
    again = {q: body_of(client.get("/v1/search", params={"q": q, "page": token}))["page"] for q in ("tea 1", "tea 2")}
    assert again == {
        "tea 1": {"number": 2, "restarted": None},
        "tea 2": {"number": 1, "restarted": "other_list"},
    }


def test_a_body_continues_what_a_url_began(client: httpx.Client) -> None:
    first = body_of(client.get("/v1/buyers/u1/recommendations"))
    second = body_of(client.post("/v1/recommendations", json={"buyer_id": "u1", "page": first["next"]}))
    assert second["page"]["number"] == 2
    assert not set(ids([first])) & set(ids([second]))


@pytest.mark.parametrize("token", ["x", "AQ", "A" * MAX_TOKEN_LENGTH, "لا", "e30.e30.e30"])
def test_what_is_no_token_is_page_one(client: httpx.Client, token: str) -> None:
    for answer in (
        client.get("/v1/trending", params={"page": token}),
        client.post("/v1/recommendations", json={"page": token}),
    ):
        page = body_of(answer)["page"]
        assert page == {"number": 1, "restarted": "invalid"}


def test_a_longer_text_is_refused(client: httpx.Client) -> None:
    problem_of(client.get("/v1/trending", params={"page": "A" * (MAX_TOKEN_LENGTH + 1)}), 422)
    problem_of(client.post("/v1/recommendations", json={"page": 7}), 422)


def test_another_worker_takes_the_token_and_an_hour_later_nobody(client: httpx.Client, shop: Runtime) -> None:
    first = body_of(client.get("/v1/trending"))
    with running(shop.config, shop.store) as runtime, serving(create_app(shop.config, runtime)) as worker:
        assert body_of(worker.get("/v1/trending", params={"page": first["next"]}))["page"]["number"] == 2
        page = body_of(worker.get("/v1/trending", params={"page": first["next"]}))
        name, redis = shop.store.shop, shop.store.online.redis
        # The worker's clock goes ahead, to the year 2096.
        object.__setattr__(runtime, "pages", Pages(name, (), lambda: read_secret(redis, name), lambda: 4e9))
        answer = body_of(worker.get("/v1/trending", params={"page": page["next"]}))
        assert answer["page"] == {"number": 1, "restarted": "expired"}


def test_without_a_store_lists_have_no_next() -> None:
    secret: bytes | None = None
    pages = Pages("csv", (), lambda: secret)
    _, page = pages.open(ListRequest(page="x"))
    assert page.restarted == "unavailable"
    payload: Json = {"items": [{"product_id": "p1"}], "matching": 9}
    pages.close(page, payload, 1)
    assert payload["next"] is None
    secret = b"1" * 64
    pages.refresh()
    pages.close(page, payload, 1)
    token = payload["next"]
    secret = b"2" * 64  # the store was emptied
    pages.refresh()
    assert pages.open(ListRequest(page=token))[1].restarted is None


def test_first_pages_tell_how_alike_lists_are(client: httpx.Client, shop: Runtime) -> None:
    def buyers() -> str:
        return next(
            line for line in client.get("/metrics").text.splitlines() if line.startswith("tawsiya_list_overlap_buyers ")
        )

    before = shop.metrics.recent_lists.overlap().buyers
    client.post("/v1/events", json={"events": [{"buyer_id": "u9", "product_id": "p9", "event_type": "view"}]})
    for fetch in (
        getter(client, "/v1/buyers/u9/recommendations", k=5),
        getter(client, "/v1/buyers/nobody/recommendations"),
        getter(client, "/v1/trending"),
    ):
        body_of(fetch())
    assert buyers() == f"tawsiya_list_overlap_buyers {before:.1f}"
    first = body_of(client.get("/v1/buyers/u9/recommendations"))
    client.get("/v1/buyers/u9/recommendations", params={"page": first["next"]})
    assert buyers() == f"tawsiya_list_overlap_buyers {before + 1:.1f}"
