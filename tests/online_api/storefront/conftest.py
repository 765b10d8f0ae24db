"""The shop of the browser's visits."""

from collections.abc import Iterator

import httpx
import pytest

from online_api.app import create_app
from online_api.runtime import Runtime
from tests.online_api.api_shop import open_shop
from tests.online_api.storefront.shop import EVENTS, PRODUCTS
from tests.serving import serving


@pytest.fixture(scope="module")
def market_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("market"), PRODUCTS, EVENTS, with_lists=True) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def market(market_runtime: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(market_runtime.config, market_runtime)) as client:
        yield client
