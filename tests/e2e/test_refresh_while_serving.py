"""`tawsiya refresh` killed at random moments while a service answers from the same shop."""

import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.command_shop import BUYER, DONE, Shop, assert_serves
from tests.online_api.api_shop import wait_for
from tests.online_api.shoppers import Shoppers, get
from tests.online_api.test_api_operation import free_port, wait_until_healthy
from tests.tiny_shop import products, write_csv, write_shop

pytestmark = [pytest.mark.e2e, pytest.mark.processes]

# TAWSIYA_KILLS=100 takes an hour.
KILLS = int(os.environ.get("TAWSIYA_KILLS", "3"))
PATHS = (f"/v1/buyers/{BUYER}/recommendations?k=5", "/v1/trending", "/v1/products/p01/similar", "/v1/search?q=red tea")
ROUND = " round "  # between the title of a product and the number of the round that wrote it


def write_round(shop: Shop, number: int) -> None:
    """Gives every product a title of this round, so that each release has titles of its own."""
    rows = [row | {"title": f"{row['title']}{ROUND}{number}"} for row in products()]
    write_csv(shop.folder / "products.csv", rows)


@pytest.fixture
def shop(tmp_path: Path, tiny_encoder: Path) -> Shop:
    write_shop(tmp_path / "shop", tiny_encoder)
    shop = Shop(tmp_path / "shop")
    with shop.config_file.open("a") as config:
        # With a training each night, nearly every kill would hit it.
        config.write(f"api: {{port: {free_port()}}}\nrefresh: {{retrain: never}}\n")
    write_round(shop, 0)
    assert shop.run("refresh").code == DONE
    return shop


@pytest.fixture
def address(shop: Shop, tmp_path: Path) -> Iterator[str]:
    """The address of a service of the shop, in a process of its own."""
    (tmp_path / "service").mkdir()
    server = shop.serve(tmp_path / "service")
    try:
        wait_until_healthy(shop.config, server.process.is_alive)
        yield f"http://127.0.0.1:{shop.config.api.port}"
    finally:
        server.process.terminate()
        server.process.join(30)


@pytest.mark.timeout(120 * (KILLS + 3))
def test_killed_while_it_serves_every_answer_is_of_one_whole_release(shop: Shop, address: str) -> None:
    rounds: defaultdict[str, set[str]] = defaultdict(set)  # of the titles that each release has shown

    def fault(_: int, answer: httpx.Response) -> str | None:
        if answer.status_code != 200:
            return f"{answer.status_code}: {answer.text}"
        body = answer.json()
        shown = rounds[body["release"]]
        shown |= {item["title"].rpartition(ROUND)[2] for item in body["items"]}
        return None if len(shown) == 1 else f"{body['release']} has shown titles of the rounds {shown}"

    def served() -> str:
        return str(httpx.get(f"{address}{PATHS[0]}").json()["release"])

    seed = random.randrange(10**6)
    rng = random.Random(seed)
    with Shoppers([address] * 2, [get(path) for path in PATHS], fault):
        write_round(shop, 1)
        started = time.monotonic()
        assert shop.run("refresh").code == DONE
        seconds = time.monotonic() - started
        for number in range(2, 2 + KILLS):
            write_round(shop, number)
            command, moment = shop.start("refresh"), time.monotonic() + rng.uniform(0, seconds)
            command.kill_when(lambda: time.monotonic() >= moment)  # noqa: B023 - called before the next round
            assert_serves(shop)
        finished = shop.run("refresh")
        assert finished.code == DONE, (seed, finished.stderr)
        wait_for(lambda: served() == finished.answer["release"], seconds=60)
    assert len(rounds) >= 2, seed
    assert rounds[finished.answer["release"]] == {str(1 + KILLS)}, seed
