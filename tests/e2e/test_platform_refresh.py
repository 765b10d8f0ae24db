"""One command that names the mapping of a shop platform makes a release of its exports."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import REPOSITORY, kept_events, kept_products
from tests.processes import tawsiya
from tests.tiny_shop import events, products, write_csv, write_shop

pytestmark = pytest.mark.e2e


def woocommerce(folder: Path) -> None:
    columns = [
        "ID", "Type", "SKU", "Name", "Published", "Visibility in catalog", "Short description", "Description",
        "Date sale price starts", "Date sale price ends", "In stock?", "Stock", "Sale price", "Regular price",
        "Categories", "Images", "Parent",
    ]  # fmt: skip
    rows = [
        dict.fromkeys(columns, "")
        | {
            "ID": row["id"], "Type": "simple", "Name": row["title"], "Published": "1", "In stock?": "1",
            "Visibility in catalog": "visible", "Regular price": row["price"],
            "Categories": f"Home > {row['category']}",
        }
        for row in products()
    ]  # fmt: skip
    write_csv(folder / "products.csv", rows)
    orders = [
        {
            "id": number, "status": "completed", "customer_id": row["buyer_id"],
            "date_created_gmt": row["timestamp"].isoformat(), "date_modified_gmt": row["timestamp"].isoformat(),
            "line_items": [{"id": 1, "product_id": row["product_id"], "quantity": 1}],
        }
        for number, row in enumerate(events())
        if row["event_type"] == "purchase"
    ]  # fmt: skip
    (folder / "orders.jsonl").write_text("\n".join(map(json.dumps, orders)), encoding="utf-8")


def google_feed(folder: Path) -> None:
    with (folder / "products.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["id", "title", "availability", "price", "brand", "product_type"])
        for row in products():
            price = f"{row['price']}.00 SAR"
            writer.writerow([row["id"], row["title"], "in_stock", price, row["brand"], row["category"]])
    write_csv(folder / "events.csv", events())


@pytest.mark.parametrize(
    ("source", "write", "n_events", "currency"),
    [("woocommerce", woocommerce, 420, None), ("google_feed", google_feed, 1320, "SAR")],
    ids=["woocommerce", "google_feed"],
)
def test_refresh_serves_a_platform(
    tmp_path: Path,
    tiny_encoder: Path,
    source: str,
    write: Callable[[Path], None],
    n_events: int,
    currency: str | None,
) -> None:
    config_file = write_shop(tmp_path, tiny_encoder)
    settings = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    settings["data"]["source"] = str(REPOSITORY / "config" / "sources" / f"{source}.yaml")
    config_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    refreshed = tawsiya(tmp_path, "refresh", "--config", str(config_file), "--json")
    assert refreshed.code == 0, refreshed.stderr
    config = load_config(config_file)
    assert len(kept_events(config)) == n_events
    assert kept_products(config)["p00"]["price"] == 1.0
    assert kept_products(config)["p00"]["currency"] == currency
    assert (shop_paths(config).releases / "current").is_dir()
    listed = tawsiya(tmp_path, "recommend", "--buyer", "b01", "-k", "3", "--config", str(config_file), "--json")
    assert len(listed.answer["items"]) == 3
