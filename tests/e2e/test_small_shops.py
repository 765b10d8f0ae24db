"""The smallest shops through the whole pipeline: a release, or a refusal with the dates before anything is online."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_jobs.commands.serving import recommend_to_buyer
from batch_jobs.refresh import refresh
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from tests.tiny_shop import write_shop
from training.artifacts.release import current_release

pytestmark = pytest.mark.store

# Buyer, product, event type, time: a day of 2025, as text.
Event = tuple[str, str, str, str]
PRODUCTS = "id,title,brand,category,price,stock\n"
EVENTS = "buyer_id,product_id,event_type,timestamp\n"


def shop(folder: Path, encoder: Path, events: Iterable[Event], products: Iterable[str], **settings: Any) -> Config:
    """A shop of these events and products, with a tiny model; `settings` are of the section `data`."""
    file = write_shop(folder, encoder)
    content = yaml.safe_load(file.read_text())
    content["training"]["num_epochs"] = 1
    content["data"] |= {"test_days": 10, **settings}
    file.write_text(yaml.safe_dump(content))
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows(events)
    (folder / "events.csv").write_text(EVENTS + rows.getvalue())
    (folder / "products.csv").write_text(PRODUCTS + "".join(f"{line}\n" for line in products))
    return load_config(file, [], {})


def catalogue(n: int, brand: str = "", category: str = "") -> list[str]:
    return [f"p{i},Lamp number {i},{brand or f'b{i % 3}'},{category or f'c{i % 3}'},{i + 1},5" for i in range(n)]


def visits(
    n_buyers: int, n_products: int, days: Iterable[int], kinds: tuple[str, ...] = ("view", "purchase")
) -> list[Event]:
    """Each buyer acts once on each day, from 1 January 2025 on, which is day 0."""
    return [
        (f"u{buyer}", f"p{(buyer + number) % n_products}", kinds[number % len(kinds)], time(day, buyer))
        for buyer in range(n_buyers)
        for number, day in enumerate(days)
    ]


def time(day: int, minute: int = 0) -> str:
    month, rest = divmod(day, 28)
    return f"2025-{month + 1:02}-{rest + 1:02}T10:{minute:02}:00Z"


EVERY_5_DAYS = range(0, 100, 5)
SHOPS: dict[str, tuple[list[Event], list[str]]] = {
    "one product": (visits(5, 1, EVERY_5_DAYS), catalogue(1)),
    "one product, new buyers in the validation days": (
        visits(5, 1, EVERY_5_DAYS) + [(f"v{i}", "p0", "purchase", time(day)) for i, day in enumerate((82, 83, 92))],
        catalogue(1),
    ),
    "two products": (visits(5, 2, EVERY_5_DAYS), catalogue(2)),
    "one brand and category": (visits(5, 6, EVERY_5_DAYS), catalogue(6, "b", "c")),
    "one buyer": (visits(1, 6, EVERY_5_DAYS), catalogue(6)),
    "only views": (visits(5, 6, EVERY_5_DAYS, ("view",)), catalogue(6)),
    "only purchases": (visits(5, 6, EVERY_5_DAYS, ("purchase",)), catalogue(6)),
    "views and carts": (visits(5, 6, EVERY_5_DAYS, ("view", "add_to_cart")), catalogue(6)),
    "three events of one product": (
        [("u0", "p0", "view", time(0)), ("u0", "p0", "view", time(82)), ("u0", "p0", "purchase", time(95))],
        catalogue(1),
    ),
    "new buyers in the test days": (
        visits(4, 6, range(0, 85, 5)) + [(f"v{i}", f"p{i}", "view", time(95, i)) for i in range(4)],
        catalogue(6),
    ),
    "new buyers in validation and test days": (
        visits(4, 6, range(0, 75, 5))
        + [(f"v{i}", f"p{i}", "view", time(82, i)) for i in range(4)]
        + [(f"w{i}", f"p{i}", "view", time(95, i)) for i in range(4)],
        catalogue(6),
    ),
    "new products in the test days": (
        [*visits(4, 6, range(0, 85, 5)), ("u0", "p7", "view", time(95)), ("u1", "p7", "view", time(95))],
        catalogue(8),
    ),
    "a gap in the validation days": (visits(4, 6, [*range(0, 60, 5), 92, 95]), catalogue(6)),
    "a stray late event": ([*visits(4, 6, EVERY_5_DAYS), ("u0", "p1", "view", time(250))], catalogue(6)),
    "no brand, category or price": (visits(4, 6, EVERY_5_DAYS), [f"p{i},Lamp {i},,,," for i in range(6)]),
    "equal titles": (visits(4, 6, EVERY_5_DAYS), [f"p{i},Lamp,b,c,1,5" for i in range(6)]),
}


@pytest.mark.parametrize("name", SHOPS)
def test_a_small_shop_gets_a_release(tmp_path: Path, tiny_encoder: Path, name: str) -> None:
    events, products = SHOPS[name]
    config = shop(tmp_path, tiny_encoder, events, products)
    result = refresh(config)
    release = current_release(shop_paths(config).releases)
    assert release is not None
    assert release.name == result["release"]


def test_a_shop_with_nothing_to_validate_with_is_refused_before_anything_is_online(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    events = [("u0", "p0", "view", time(0)), ("u0", "p1", "purchase", time(90))]
    config = shop(tmp_path, tiny_encoder, events, catalogue(2))
    with pytest.raises(ValueError, match=r"nothing to validate with: the events run from 2025-01-01 to 2025-04-07"):
        refresh(config)
    assert not shop_paths(config).redis.exists()


def test_a_folder_with_any_name_from_files_to_recommendations(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = tmp_path / """متجر #1 [a] 'b' "c" %d {x} *?"""
    config = shop(folder, tiny_encoder, visits(4, 6, EVERY_5_DAYS), catalogue(6))
    # An unset variable: in a mapping's folder `$` begins one, in data_dir it is a character.
    config = config.model_copy(update={"data_dir": tmp_path / "data $NOWHERE #2 [b]"})
    result = refresh(config)
    answer = recommend_to_buyer(config, "u1", 3)
    assert (answer["source"], answer["release"], answer["degraded"]) == ("personalised", result["release"], [])
    assert Path(result["report"]).is_file()
