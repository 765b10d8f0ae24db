"""Publishing: model, embeddings, index and product columns become a release, which then goes live."""

import datetime as dt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.product_table import PRODUCT_COLUMNS
from training.artifacts.release import delete_old, promote, write_release
from training.artifacts.rescorer import Floats, Rescorer, recent_popularity
from training.data.catalogue import KeyIndex, require_same_products
from training.data.time_split import read_time_split

POPULARITY_DAYS = 30


def publish(config: Config, store: FeatureStore) -> dict[str, Any]:
    """Writes a release of what lies in the shop's folder, checks it, makes it live and deletes the oldest ones.

    Raises:
        FileNotFoundError: A part is missing; the message names the command that makes it.
        ValueError: The parts do not belong together.
        GateRefusedError: The release did not pass its checks; what was live stays live.
    """
    paths = shop_paths(config)
    embeddings = load_embeddings(paths.embeddings)
    products = pq.read_table(paths.product_features, columns=list(PRODUCT_COLUMNS))
    require_same_products(embeddings.product_ids, products[c.PRODUCT_ID].to_pylist())
    _, _, card = load_model(paths.model)
    if card.schema_hash != store.schema_hash:
        raise ValueError("the model was trained on another feature schema; run `tawsiya train` again")
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    for source in (paths.product_features, paths.model / WEIGHTS):
        require_source(paths.search_index, source, "tawsiya index")
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    split = read_time_split(paths.feature_report)
    events = _events(paths, products[c.PRODUCT_KEY].to_numpy())
    name = write_release(
        paths.releases,
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        search_index=paths.search_index,
        products=products,
        aliases=pq.read_table(paths.product_aliases),
        popular=_popular(events, split.data_end, len(products)),
        lately=_lately(events, split.data_end, len(products), Rescorer.load(paths.model)),
        as_of_ms=_ms(split.data_end),
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


def _events(paths: ShopPaths, product_keys: npt.NDArray[np.int64]) -> pd.DataFrame:
    """All events of the release's products, with the product's position instead of its key."""
    events: pd.DataFrame = pq.read_table(paths.events, columns=[c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    events[c.PRODUCT_KEY] = KeyIndex(product_keys).positions(events[c.PRODUCT_KEY].to_numpy())
    return events.loc[events[c.PRODUCT_KEY] >= 0]


def _popular(events: pd.DataFrame, data_end: dt.datetime, n_products: int) -> npt.NDArray[np.int32]:
    """Positions of all products: those with most events since the last days of the data first, ties by all events."""
    recent = events[events[c.EVENT_TIME] >= data_end - dt.timedelta(days=POPULARITY_DAYS)]
    ever_N, lately_N = (np.bincount(part[c.PRODUCT_KEY], minlength=n_products) for part in (events, recent))
    return np.lexsort((-ever_N, -lately_N)).astype(np.int32)


def _lately(events: pd.DataFrame, data_end: dt.datetime, n_products: int, rescorer: Rescorer) -> Floats:
    """What the re-scorer's popularity term counts up to the end of the data, (2, N): see write_release."""
    buyers, _ = pd.factorize(events[c.BUYER_ID])
    products = events[c.PRODUCT_KEY].to_numpy()
    times_ms = events[c.EVENT_TIME].dt.tz_convert(None).to_numpy("datetime64[ms]").astype(np.int64)
    counted = [
        recent_popularity(
            buyers,
            products,
            times_ms,
            until_ms=_ms(data_end) + 1,
            days=rescorer.popularity_span(new_only=new_only),
            n_products=n_products,
        )
        for new_only in (False, True)
    ]
    return np.stack(counted)


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)
