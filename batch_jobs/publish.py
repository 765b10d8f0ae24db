"""Publishing: model, embeddings, index and product columns become a release, which then goes live."""

import datetime as dt
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.config import Config
from feature_repo.files import read_json
from feature_repo.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.product_table import PRODUCT_COLUMNS
from training.artifacts.release import delete_old, promote, write_release
from training.catalogue import KeyIndex, require_same_products
from training.dataset import read_time_split

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
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    name = write_release(
        paths.releases,
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        products=products,
        aliases=pq.read_table(paths.product_aliases),
        popular=_popular(paths, products[c.PRODUCT_KEY].to_numpy()),
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


def _popular(paths: ShopPaths, product_keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Positions of all products: those with most events since the last days of the data first, ties by all events."""
    since = read_time_split(paths.feature_report).data_end - dt.timedelta(days=POPULARITY_DAYS)
    events = pq.read_table(paths.events, columns=[c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    positions_E = KeyIndex(product_keys).positions(events[c.PRODUCT_KEY].to_numpy())
    known_E, recent_E = positions_E >= 0, (events[c.EVENT_TIME] >= since).to_numpy()
    ever_N, lately_N = (
        np.bincount(positions_E[counted_E], minlength=len(product_keys)) for counted_E in (known_E, known_E & recent_E)
    )
    return np.lexsort((-ever_N, -lately_N)).astype(np.int32)
