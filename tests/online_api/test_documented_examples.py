"""Every example of docs/reference/api.md is answered as the reference says."""

from collections.abc import Iterator

import httpx
import pytest

from online_api.app import create_app
from reference.api_examples import EXAMPLES, RELEASE
from tests.online_api.api_shop import EVENTS, PRODUCTS, open_shop
from tests.serving import serving

pytestmark = pytest.mark.store

NOTHING_TO_ROLL_BACK_TO = 409  # the shop has one release


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("shop")
    with (
        open_shop(folder, PRODUCTS, EVENTS, api={"log_level": "error"}) as runtime,
        serving(create_app(runtime.config, runtime)) as client,
    ):
        yield client


@pytest.mark.parametrize("route", EXAMPLES)
def test_an_example_is_answered(client: httpx.Client, route: str) -> None:
    example = EXAMPLES[route]
    live = client.get("/health").json()["release"]
    answer = client.request(route.split()[0], example.path.replace(RELEASE, live), json=example.body)
    accepted = {200, 202} | ({NOTHING_TO_ROLL_BACK_TO} if route.endswith("rollback") else set())
    assert answer.status_code in accepted, answer.text
