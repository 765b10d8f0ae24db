"""The publish job: model, embeddings, indexes and product columns become a release, which then goes live."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from expectations.gate import require_passed
from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.product_table import read_product_columns
from training.artifacts.release import ReleaseParts, delete_old, promote, write_release
from training.artifacts.rescorer import Rescorer, recent_popularity
from training.data.catalogue import KeyIndex, require_same_products

POPULARITY_DAYS = 30


def publish(
    config: Config,
    store: FeatureStore,
    *,
    forced_because: str | None = None,  # noqa: ARG001 - the gate of the release will read it
) -> dict[str, Any]:
    """Writes a release of the shop's artifacts, checks it, makes it live and deletes the oldest releases.

    Raises:
        FileNotFoundError: An artifact is missing; the message names the command that makes it.
        ValueError: The artifacts were not made from each other.
        GateRefusedError: The data have not passed the data gate, or the release not its checks; the live release
            stays live.
    """
    paths = shop_paths(config)
    embeddings = load_embeddings(paths.embeddings)
    products = read_product_columns(paths.product_features)
    require_same_products(embeddings.product_ids, products[c.PRODUCT_ID].to_pylist())
    _, _, card = load_model(paths.model)
    # The API would refuse such a release too; here the message comes before the files are copied.
    if card.schema_hash != store.schema_hash:
        raise ValueError("the model was trained on another feature schema; run `tawsiya train` again")
    _require_lineage(paths)
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    split = read_time_split(paths.feature_report)
    events = _events(paths, products[c.PRODUCT_KEY].to_numpy())
    # After reading: what was read are the files that the gate has passed.
    require_passed(paths)
    parts = ReleaseParts(
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        search_index=paths.search_index,
        products=products,
        aliases=pq.read_table(paths.product_aliases),
        popular=_popular(events, split.data_end, len(products)),
        recent_popularity=_recent_popularity(events, split.data_end, len(products), Rescorer.load(paths.model)),
        as_of_ms=_ms(split.data_end),
    )
    name = write_release(
        paths.releases,
        parts,
        metrics=evaluation,
        about={
            "dataset": paths.root.name,
            "schema_hash": store.schema_hash,
            "text_encoder": card.text_encoder,
            "n_products": len(embeddings.product_ids),
        },
    )
    promote(paths.releases, name)
    return {"release": name, "deleted": delete_old(paths.releases, config.release.keep)}


def _require_lineage(paths: ShopPaths) -> None:
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    for source in (paths.product_features, paths.model / WEIGHTS):
        require_source(paths.search_index, source, "tawsiya index")


def _events(paths: ShopPaths, product_keys: Int64Array) -> pd.DataFrame:
    """The events of the release's products, with product positions in place of product keys."""
    events: pd.DataFrame = pq.read_table(paths.events, columns=[c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    events[c.PRODUCT_KEY] = KeyIndex(product_keys).positions(events[c.PRODUCT_KEY].to_numpy())
    return events.loc[events[c.PRODUCT_KEY] >= 0]


def _popular(events: pd.DataFrame, data_end: dt.datetime, n_products: int) -> Int32Array:
    """Positions of all products, most events in the last POPULARITY_DAYS first; ties go to more events in all."""
    # Days before the end of the source, not before the newest event: one logged event must not make all others old.
    recent = events[events[c.EVENT_TIME] >= data_end - dt.timedelta(days=POPULARITY_DAYS)]
    all_N, recent_N = (np.bincount(frame[c.PRODUCT_KEY], minlength=n_products) for frame in (events, recent))
    # lexsort sorts by its last key first and is stable: equal counts keep the order of the catalogue.
    return np.lexsort((-all_N, -recent_N)).astype(np.int32)


def _recent_popularity(
    events: pd.DataFrame, data_end: dt.datetime, n_products: int, rescorer: Rescorer
) -> Float32Array:
    """(2, N) recent_popularity up to the end of the data, for lists of any and of new products."""
    buyers, _ = pd.factorize(events[c.BUYER_ID])
    products = events[c.PRODUCT_KEY].to_numpy()
    times_ms = events[c.EVENT_TIME].dt.tz_convert(None).to_numpy("datetime64[ms]").astype(np.int64)
    by_list = [
        recent_popularity(
            buyers,
            products,
            times_ms,
            # + 1, because the limit is exclusive and the last event counts.
            until_ms=_ms(data_end) + 1,
            days=rescorer.popularity_span(new_only=new_only),
            n_products=n_products,
        )
        for new_only in (False, True)
    ]
    return np.stack(by_list)


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)
