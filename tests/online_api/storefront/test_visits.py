"""The buyer tokens of the demo shop: for anybody while the API is open, else for its own guests, if at all."""

import datetime as dt
from pathlib import Path

import httpx
import pytest

from feature_repo.access.buyer_tokens import SECRETS_VARIABLE, BuyerTokens
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from feature_repo.common.paths import shop_paths
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.storefront import GUEST_PREFIX
from tests.online_api.api_shop import Json, problem_of, wait_for
from tests.online_api.shop_variants import in_folder, make_key, with_settings
from tests.serving import serving

pytestmark = pytest.mark.store

SECRET = "v" * 32


def visit(client: httpx.Client, buyer_id: str | None = None, token: str | None = None) -> Json:
    answer = client.post("/visit", json={"buyer_id": buyer_id}, headers=bearer(token) if token else {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    visitor: Json = answer.json()
    return visitor


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status_of(client: httpx.Client, buyer_id: str, token: str) -> int:
    return client.get(f"/v1/buyers/{buyer_id}/recommendations", headers=bearer(token)).status_code


@pytest.fixture
def guests_only(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A shop with a key, a secret, and its demo for guests."""
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    shop = with_settings(in_folder(config, tmp_path), api={"shop_for_guests": True})
    make_key(shop, "server", list(Scope))
    return shop


def test_an_open_api_gives_tokens_for_any_buyer_each_for_this_buyer_alone(client: httpx.Client) -> None:
    known, guest = visit(client, "u1"), visit(client)
    assert (known["buyer_id"], known["any_buyer"]) == ("u1", True)
    assert guest["buyer_id"].startswith(GUEST_PREFIX)
    assert status_of(client, "u1", known["token"]) == 200
    assert status_of(client, "u1", guest["token"]) == 403
    assert visit(client)["buyer_id"] != guest["buyer_id"]
    assert visit(client, token=guest["token"])["buyer_id"] == guest["buyer_id"]


def test_workers_accept_the_tokens_of_each_other(client: httpx.Client, config: Config, runtime: Runtime) -> None:
    with serving(create_app(config, runtime)) as other:
        assert status_of(other, "u1", visit(client, "u1")["token"]) == 200


def test_pages_of_other_sites_get_no_token(client: httpx.Client) -> None:
    answer = client.post("/visit", json={}, headers={"Origin": "https://elsewhere.example"})
    problem_of(answer, 403)
    problem_of(client.post("/visit", content="{}", headers={"content-type": "text/plain"}), 415)
    problem_of(client.post("/visit", json={"buyer_id": "NULL"}), 422)


def test_with_keys_only_its_own_guests_get_tokens(guests_only: Config, runtime: Runtime) -> None:
    with serving(create_app(guests_only, runtime)) as client:
        problem_of(client.get("/v1/trending"), 401)
        asked = visit(client, "u1")
        assert asked["buyer_id"].startswith(GUEST_PREFIX)
        assert asked["any_buyer"] is False
        assert status_of(client, asked["buyer_id"], asked["token"]) == 200
        assert status_of(client, "u1", asked["token"]) == 403
        # A guest stays the same; a customer's token is the shop's business.
        assert visit(client, "u1", asked["token"])["buyer_id"] == asked["buyer_id"]
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
        customers = BuyerTokens((SECRET,), shop_paths(guests_only).root.name).sign("u1", expires)
        assert status_of(client, "u1", customers) == 200
        assert visit(client, "u1", customers)["buyer_id"].startswith(GUEST_PREFIX)


def test_a_key_closes_the_shop_and_its_tokens(config: Config, runtime: Runtime, tmp_path: Path) -> None:
    shop = in_folder(config, tmp_path)
    with serving(create_app(shop, runtime)) as client:
        token = visit(client, "u1")["token"]
        assert status_of(client, "u1", token) == 200
        make_key(shop, "first", [Scope.READ])
        wait_for(lambda: client.get("/v1/trending").status_code == 401)
        assert status_of(client, "u1", token) == 401
        detail = problem_of(client.post("/visit", json={}), 403)["detail"]
    assert detail == "the demo shop closed with the first API key; api.shop_for_guests opens it to guests"


def test_guests_need_a_secret(guests_only: Config, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRETS_VARIABLE)
    with pytest.raises(ConfigError, match=r"api\.shop_for_guests: .*TAWSIYA_BUYER_TOKEN_SECRETS"):
        create_app(guests_only, runtime)
