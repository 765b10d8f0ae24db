"""The synthetic shop: the same bytes for the same arguments, and the shape that the benchmarks count on."""

from pathlib import Path

import pandas as pd
import pytest

from batch_jobs.ingestion.ingest import ingest
from benchmarks.shops.synthetic_shop import EVENTS_FILE, PRODUCTS_FILE, ShopSize, write_shop
from benchmarks.shops.synthetic_words import DEPARTMENTS
from feature_repo.common.config import Config

SIZE = ShopSize(products=400, buyers=30, events_per_buyer=120, seed=3)
CSV_MAPPING = Path(__file__).parents[2] / "config/sources/csv.yaml"

Shop = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop")
    write_shop(path, SIZE)
    return path


@pytest.fixture(scope="module")
def shop(folder: Path) -> Shop:
    return pd.read_csv(folder / PRODUCTS_FILE), pd.read_csv(folder / EVENTS_FILE, parse_dates=["timestamp"])


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (PRODUCTS_FILE, EVENTS_FILE)]


def test_the_seed_decides_every_byte(folder: Path, tmp_path: Path) -> None:
    write_shop(tmp_path / "again", SIZE)
    write_shop(tmp_path / "other", ShopSize(products=400, buyers=30, events_per_buyer=120, seed=4))
    assert contents(tmp_path / "again") == contents(folder)
    assert all(one != other for one, other in zip(contents(folder), contents(tmp_path / "other"), strict=True))


def test_word_lists_make_120_distinct_categories() -> None:
    english = [kind[1] for department in DEPARTMENTS for kind in department.types]
    arabic = [kind[0] for department in DEPARTMENTS for kind in department.types]
    assert len(DEPARTMENTS) == 12
    assert len(set(english)) == len(set(arabic)) == 120


def test_products_are_synthetic_and_bilingual(shop: Shop) -> None:
    products, _ = shop
    assert products.product_id.tolist() == [f"syn-{number:06d}" for number in range(400)]
    arabic = products.text.str.contains("[\u0600-\u06ff]")
    assert 0.4 < arabic.mean() < 0.8
    assert products.title.is_unique
    assert (products.price > 0).all()
    assert (products.stock >= 0).all()
    assert (products.stock == 0).any()
    assert products.photo.isna().all()


def test_four_variants_share_one_text(shop: Shop) -> None:
    products, _ = shop
    assert products.text.nunique() == 100
    model = products[products.product_id.isin([f"syn-{number:06d}" for number in range(4)])]
    assert model[["text", "description", "brand", "category"]].drop_duplicates().shape[0] == 1
    assert model.price.nunique() == 4


def test_every_buyer_has_about_the_events_asked_for(shop: Shop) -> None:
    _, events = shop
    counts = events.buyer_id.value_counts()
    assert len(counts) == 30
    assert counts.between(80, 160).all()
    assert 110 < counts.mean() < 130


def test_a_purchase_follows_a_cart_which_follows_a_view(shop: Shop) -> None:
    _, events = shop
    assert events.timestamp.is_monotonic_increasing
    shares = events.event_type.value_counts(normalize=True)
    assert shares["view"] > shares["add_to_cart"] > shares["purchase"] > 0.03
    first = events.pivot_table("timestamp", ["buyer_id", "product_id"], "event_type", aggfunc="min")
    carted, bought = first.dropna(subset=["add_to_cart"]), first.dropna(subset=["purchase"])
    assert (carted.view < carted.add_to_cart).all()
    assert (bought.add_to_cart < bought.purchase).all()


def test_buyers_stay_in_few_categories_and_popularity_is_steep(shop: Shop) -> None:
    products, events = shop
    category = events.product_id.map(products.set_index("product_id").category)
    top_three = category.groupby(events.buyer_id).agg(lambda of_buyer: of_buyer.value_counts(normalize=True)[:3].sum())
    assert top_three.median() > 0.7
    counts = events.product_id.value_counts()
    assert counts[:40].sum() > 0.4 * len(events)


def test_the_csv_source_takes_every_row(folder: Path, tmp_path: Path) -> None:
    data = {
        "source": str(CSV_MAPPING),
        "events_path": str(folder / EVENTS_FILE),
        "products_path": str(folder / PRODUCTS_FILE),
    }
    report = ingest(Config.model_validate({"data_dir": tmp_path, "data": data}))
    for table in ("events", "products"):
        assert report[table]["kept"] == report[table]["read"] > 0


@pytest.mark.parametrize("products", [1, 5, 41])
def test_tiny_catalogues_work(tmp_path: Path, products: int) -> None:
    write_shop(tmp_path, ShopSize(products=products, buyers=2, events_per_buyer=10))
    events = pd.read_csv(tmp_path / EVENTS_FILE)
    known = set(pd.read_csv(tmp_path / PRODUCTS_FILE).product_id)
    assert len(known) == products
    assert set(events.product_id) <= known
