"""Every Feast object of Tawsiya.

`feast apply` needs the objects at module level; Tawsiya needs them for several shops in one process. So a function
makes them, and the module calls it if $TAWSIYA_SHOP_DIR is set. Other code looks up feature services by name
(TRAINING_SERVICE, ...), because the module-level objects exist only for one shop.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Array, Bool, Float64, Int32, Int64, String

from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import ShopPaths
from feature_repo.schema import (
    FIELDS,
    FRESHNESS,
    HISTORY_VIEW,
    LATER_PRODUCT_FIELDS,
    MEANINGS,
    PRODUCT_VIEW,
    PURCHASES_VIEW,
    RECENT_VIEW,
)

TRAINING_SERVICE = "buyer_training"
ONLINE_SERVICE = "buyer_online"
PRODUCT_SERVICE = "product_online"
RECENT_PUSH_SOURCE = "buyer_recent_push"
FRESHNESS_TAG = "freshness"
# Feast would otherwise leave out rows older than the ttl; a buyer's history counts however old it is.
NO_EXPIRY = timedelta(0)
_TYPES = {str(kind): kind for kind in (String, Int64, Float64, Bool, Array(Int64), Array(Int32))}


class Definitions(NamedTuple):
    """The Feast objects of one shop."""

    buyer: Entity
    product: Entity
    product_view: FeatureView
    history_view: FeatureView
    recent_source: PushSource
    recent_view: FeatureView
    purchases_view: FeatureView
    training_service: FeatureService
    online_service: FeatureService
    product_service: FeatureService


def definitions(shop: ShopPaths) -> Definitions:
    """Makes the Feast objects of a shop."""
    buyer = Entity(
        name="buyer",
        join_keys=[c.BUYER_ID],
        value_type=ValueType.STRING,
        description="Whoever acts in the shop: a customer, or a visitor with an id",
    )
    product = Entity(
        name="product_item",
        join_keys=[c.PRODUCT_ID],
        value_type=ValueType.STRING,
        description="One item of the catalogue",
    )
    product_view = _product_view(shop, product)
    history_view = _history_view(shop, buyer)
    # Two views of one buyer, so that materialize and pushes never overwrite each other's rows.
    recent_source = PushSource(
        name=RECENT_PUSH_SOURCE,
        description="Events that the API accepted, pushed within the request",
        batch_source=FileSource(
            name="buyer_recent_source",
            description="No rows: pushes go to the online store alone",
            path=source_path(shop.recent_features),
            timestamp_field=c.EVENT_TIMESTAMP,
        ),
    )
    recent_view = _recent_view(recent_source, buyer)
    purchases_view = _purchases_view(shop, buyer)
    return Definitions(
        buyer=buyer,
        product=product,
        product_view=product_view,
        history_view=history_view,
        recent_source=recent_source,
        recent_view=recent_view,
        purchases_view=purchases_view,
        # Training joins histories only: a context's row is the newest one before it, and pushes exist online only.
        training_service=FeatureService(
            name=TRAINING_SERVICE,
            features=[history_view],
            description="Histories as they were strictly before a context's moment; read by training and evaluation",
        ),
        online_service=FeatureService(
            name=ONLINE_SERVICE,
            features=[history_view, recent_view, purchases_view],
            description="What the API reads of a buyer in one call",
        ),
        product_service=FeatureService(
            name=PRODUCT_SERVICE, features=[product_view], description="What the API reads of products every 10 s"
        ),
    )


# ---- views: their fields are those of schema.py ----------------------------------------------------------------------


def _product_view(shop: ShopPaths, product: Entity) -> FeatureView:
    return FeatureView(
        name=PRODUCT_VIEW,
        description="Product text and metadata, as of the last feature build",
        tags={FRESHNESS_TAG: FRESHNESS[PRODUCT_VIEW]},
        entities=[product],
        ttl=NO_EXPIRY,
        schema=[
            *_fields(PRODUCT_VIEW),
            *(_field(name, LATER_PRODUCT_FIELDS[name]) for name in _later_columns(shop.product_features)),
        ],
        source=_parquet("product_source", source_path(shop.product_features), "Products of the last feature build"),
    )


def _later_columns(product_features: Path) -> list[str]:
    """Those of LATER_PRODUCT_COLUMNS that the file has: Feast refuses to read a file that lacks a field of its view."""
    try:
        present = pq.read_schema(product_features).names
    except (FileNotFoundError, pa.ArrowInvalid):
        # Not built yet, or torn: the next build writes all.
        return list(c.LATER_PRODUCT_COLUMNS)
    return [name for name in c.LATER_PRODUCT_COLUMNS if name in present]


def _history_view(shop: ShopPaths, buyer: Entity) -> FeatureView:
    return FeatureView(
        name=HISTORY_VIEW,
        description="A buyer's last events up to the row's time; written by materialize only",
        tags={FRESHNESS_TAG: FRESHNESS[HISTORY_VIEW]},
        entities=[buyer],
        ttl=NO_EXPIRY,
        schema=_fields(HISTORY_VIEW),
        source=_parquet(
            "buyer_history_source", source_path(shop.sequence_features), "A row per buyer and build in which it changed"
        ),
    )


def _recent_view(source: PushSource, buyer: Entity) -> FeatureView:
    return FeatureView(
        name=RECENT_VIEW,
        description="A buyer's events since the last materialize, and some before; written by push only",
        tags={FRESHNESS_TAG: FRESHNESS[RECENT_VIEW]},
        entities=[buyer],
        ttl=NO_EXPIRY,
        schema=_fields(RECENT_VIEW),
        source=source,
    )


def _purchases_view(shop: ShopPaths, buyer: Entity) -> FeatureView:
    return FeatureView(
        name=PURCHASES_VIEW,
        description="All purchases of a buyer, however long ago, up to the row's time; written by materialize only",
        tags={FRESHNESS_TAG: FRESHNESS[PURCHASES_VIEW]},
        entities=[buyer],
        ttl=NO_EXPIRY,
        schema=_fields(PURCHASES_VIEW),
        source=_parquet(
            "buyer_purchases_source", source_path(shop.purchase_features), "Likewise, of buyers with purchases"
        ),
    )


def _fields(view: str) -> list[Field]:
    return [_field(name, kind) for name, kind in FIELDS[view].items()]


def _field(name: str, kind: str) -> Field:
    return Field(name=name, dtype=_TYPES[kind], description=MEANINGS[name])


def source_path(path: Path) -> str:
    """The path of a Feast source that reads a file, or all files of a folder, as DuckDB must get it.

    Raises:
        ValueError: The path has a backslash, at which DuckDB splits patterns.
    """
    if "\\" in str(path):
        raise ValueError(f"{path} has a backslash in its name, which cannot be read; rename the folder")
    return glob_literal(path) if path.suffix == ".parquet" else f"{glob_literal(path)}/*.parquet"


def _parquet(name: str, path: str, description: str) -> FileSource:
    return FileSource(
        name=name,
        description=description,
        path=path,
        timestamp_field=c.EVENT_TIMESTAMP,
        created_timestamp_column=c.CREATED_TIMESTAMP,
    )


# For `feast apply`. The names must be attributes of the module, where Feast looks for its objects.
if _shop_dir := os.environ.get("TAWSIYA_SHOP_DIR"):
    (
        buyer,
        product,
        product_view,
        history_view,
        recent_source,
        recent_view,
        purchases_view,
        training_service,
        online_service,
        product_service,
    ) = definitions(ShopPaths(Path(_shop_dir)))
