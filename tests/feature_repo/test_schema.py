"""The schema hash stays what it was, so that models and releases made before stay usable."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.columns import LATER_PRODUCT_COLUMNS
from feature_repo.common.paths import ShopPaths
from feature_repo.definitions import definitions
from feature_repo.schema import schema_hash


def fields(shop: ShopPaths) -> set[str]:
    return {field.name for field in definitions(shop).product_view.schema}


def test_the_hash_is_that_of_version_0_1_0() -> None:
    assert schema_hash(50) == "ddd2c470d9d82c3e"
    assert schema_hash(200) == "46fbce19ca4cb030"


def test_the_product_view_has_the_later_columns_that_its_file_has(tmp_path: Path) -> None:
    shop = ShopPaths(tmp_path)
    assert set(LATER_PRODUCT_COLUMNS) <= fields(shop)
    shop.product_features.parent.mkdir(parents=True)
    pq.write_table(pa.table({"product_id": ["p1"], "currency": ["SAR"]}), shop.product_features)
    assert fields(shop) & set(LATER_PRODUCT_COLUMNS) == {"currency"}
    shop.product_features.write_bytes(b"torn")
    assert set(LATER_PRODUCT_COLUMNS) <= fields(shop)
