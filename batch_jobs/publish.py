"""Publishing: model, embeddings, index and product columns become a release, which then goes live."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.config import Config
from feature_repo.files import read_json
from feature_repo.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import load_embeddings
from training.artifacts.model import load_model
from training.artifacts.recommender import PRODUCT_COLUMNS
from training.artifacts.release import delete_old, promote, write_release
from training.catalogue import KeyIndex

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
    if products[c.PRODUCT_ID].to_pylist() != embeddings.product_ids.tolist():
        raise ValueError(
            "the product embeddings are not those of the current products; run `tawsiya embed` and `index`"
        )
    _, _, card = load_model(paths.model)
    if card.schema_hash != store.schema_hash:
        raise ValueError("the model was trained on another feature schema; run `tawsiya train` again")
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    name = write_release(
        paths.releases,
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        products=products,
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
    """Positions of all products: those with most events in the last days of the data first, then all others."""
    events = pq.read_table(paths.events, columns=[c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    recent = events[events[c.EVENT_TIME] > events[c.EVENT_TIME].max() - pd.Timedelta(days=POPULARITY_DAYS)]
    positions = KeyIndex(product_keys).positions(recent[c.PRODUCT_KEY].to_numpy())
    counts_N = np.bincount(positions[positions >= 0], minlength=len(product_keys))
    return np.argsort(-counts_N, kind="stable").astype(np.int32)
