"""What a buyer token opens: reading and writing for its own buyer, and nothing else."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.access.buyer_tokens import SECRETS_VARIABLE, BuyerTokens
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from online_api.app import create_app
from online_api.runtime import Runtime
from tests.online_api.api_shop import problem_of
from tests.online_api.shop_variants import in_folder, make_key, with_settings
from tests.serving import serving

pytestmark = pytest.mark.store

SECRET = "s" * 32
# The buyers and the guest of these tests are their own: all files share the store, others read what u1 did, and a guest
# is merged once.
EVENT: dict[str, Any] = {"product_id": "p1", "event_type": "view"}


def bearer(config: Config, buyer_id: str, minutes: float = 5) -> dict[str, str]:
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    token = BuyerTokens((SECRET,), shop_paths(config).root.name).sign(buyer_id, expires)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def shop(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A shop with a secret for buyer tokens."""
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    return in_folder(config, tmp_path)


@pytest.fixture
def server(shop: Config) -> dict[str, str]:
    """The key of the shop's server; with a key, the API is not open."""
    return make_key(shop, "server", list(Scope))


@pytest.fixture
def client(shop: Config, server: dict[str, str], runtime: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop, runtime)) as client:
        yield client


def events_of(*buyers: object) -> dict[str, Any]:
    return {"json": {"events": [EVENT | {"buyer_id": buyer} for buyer in buyers]}}


def guest_token() -> str:
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    return BuyerTokens((SECRET,), "csv").sign("t guest", expires)


# Each route that takes a buyer, and how a request names one.
def requests_for(buyer: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        ("GET", f"/v1/buyers/{buyer}/recommendations", {}),
        ("GET", f"/v1/buyers/{buyer}/again", {}),
        ("GET", f"/v1/buyers/{buyer}/recent", {}),
        ("POST", "/v1/recommendations", {"json": {"buyer_id": buyer}}),
        ("POST", "/v1/cart", {"json": {"product_ids": ["p1"], "buyer_id": buyer}}),
        ("POST", "/retrieve", {"json": {"buyer_id": buyer}}),
        ("POST", "/encode_buyer", {"json": {"buyer_id": buyer}}),
        ("POST", "/v1/events", events_of(buyer)),
        ("POST", f"/v1/buyers/{buyer}/merge", {"json": {"guest_id": "t guest", "guest_token": guest_token()}}),
    ]


WITHOUT_A_BUYER: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v1/products/p1", {}),
    ("GET", "/v1/products/p1/similar", {}),
    ("GET", "/v1/products/p1/bought-together", {}),
    ("GET", "/v1/trending", {}),
    ("GET", "/v1/new", {}),
    ("GET", "/v1/on-sale", {}),
    ("GET", "/v1/search?q=tea", {}),
    ("GET", "/v1/suggestions?q=t", {}),
    ("POST", "/retrieve", {"json": {"interactions": [EVENT]}}),
]
CLOSED = [
    ("GET", "/metrics"),
    ("GET", "/v1/admin/releases"),
    ("POST", "/v1/admin/releases/reload"),
    ("POST", "/v1/admin/releases/rollback"),
]


def test_a_token_reads_and_writes_for_its_own_buyer(shop: Config, client: httpx.Client) -> None:
    mine = bearer(shop, "t1")
    for method, url, options in [*requests_for("t1"), *WITHOUT_A_BUYER]:
        answer = client.request(method, url, **options, headers=mine)
        assert answer.status_code in (200, 202), (url, answer.text)


def test_a_token_opens_nothing_of_another_buyer(shop: Config, client: httpx.Client) -> None:
    mine = bearer(shop, "t1")
    for method, url, options in requests_for("t2"):
        answer = client.request(method, url, **options, headers=mine)
        assert problem_of(answer, 403)["detail"] == "the buyer token is of another buyer", url


@pytest.mark.parametrize("others", [("t1", "t2"), ("T1",), (" t1",), (["t2"],), (7,)])
def test_not_one_event_of_another_buyer_passes(shop: Config, client: httpx.Client, others: tuple[Any, ...]) -> None:
    problem_of(client.post("/v1/events", **events_of(*others), headers=bearer(shop, "t1")), 403)


def test_an_event_without_a_buyer_is_rejected_by_itself(shop: Config, client: httpx.Client) -> None:
    events = {"events": [EVENT, "no object", EVENT | {"buyer_id": "t1", "event_id": "alone"}]}
    answer = client.post("/v1/events", json=events, headers=bearer(shop, "t1")).json()
    assert answer["accepted"] == 1
    assert [one["index"] for one in answer["rejected"]] == [0, 1]


@pytest.mark.parametrize(("method", "url"), CLOSED)
def test_operation_stays_closed(shop: Config, client: httpx.Client, method: str, url: str) -> None:
    problem_of(client.request(method, url, headers=bearer(shop, "t1")), 401)


def test_every_route_is_in_one_of_the_lists(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    opened = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if {"BuyerToken": []} in operation.get("security", [])
    }
    listed = [*requests_for("{buyer_id}"), *WITHOUT_A_BUYER]
    assert opened == {(method, url.partition("?")[0].replace("/p1", "/{product_id}")) for method, url, _ in listed}


@pytest.mark.parametrize("minutes", [-2, -100])
def test_an_expired_token_is_refused(shop: Config, client: httpx.Client, minutes: float) -> None:
    answer = client.get("/v1/trending", headers=bearer(shop, "t1", minutes))
    assert problem_of(answer, 401)["detail"] == "the buyer token has expired"
    assert answer.headers["www-authenticate"] == "ApiKey, Bearer"


def test_a_token_beside_a_key_still_limits_to_its_buyer(
    shop: Config, client: httpx.Client, server: dict[str, str]
) -> None:
    both = bearer(shop, "t1") | server
    problem_of(client.get("/v1/buyers/t2/recommendations", headers=both), 403)
    assert client.get("/v1/buyers/t2/recommendations", headers=server).status_code == 200


def test_buyers_cannot_use_up_the_ids_of_others(shop: Config, client: httpx.Client, server: dict[str, str]) -> None:
    order: dict[str, Any] = {"json": {"events": [EVENT | {"buyer_id": "t1", "event_id": "order-1"}]}}
    other: dict[str, Any] = {"json": {"events": [EVENT | {"buyer_id": "t2", "event_id": "order-1"}]}}
    senders = [bearer(shop, "t2"), bearer(shop, "t1"), server]
    answers = [
        client.post("/v1/events", **events, headers=headers).json()["accepted"]
        for events, headers in zip((other, order, order), senders, strict=True)
    ]
    assert answers == [1, 1, 1]
    assert client.post("/v1/events", **order, headers=bearer(shop, "t1")).json()["duplicates"] == 1


def test_a_buyer_has_a_limit(shop: Config, runtime: Runtime) -> None:
    few = with_settings(shop, api={"requests_per_second_per_buyer": 0.01, "burst_per_buyer": 2})
    with serving(create_app(few, runtime)) as client:
        codes = {
            buyer: [client.get("/v1/trending", headers=bearer(few, buyer)).status_code for _ in range(3)]
            for buyer in ("limited-1", "limited-2")
        }
    assert codes == {"limited-1": [200, 200, 429], "limited-2": [200, 200, 429]}


@pytest.mark.usefixtures("server")
def test_without_secrets_a_token_opens_nothing(shop: Config, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRETS_VARIABLE)
    with serving(create_app(shop, runtime)) as client:
        answer = client.get("/v1/trending", headers=bearer(shop, "t1"))
    assert problem_of(answer, 401)["detail"] == "buyer tokens are not set up on this server"
