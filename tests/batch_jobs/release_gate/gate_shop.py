"""A shop of four departments on paper: its events, and releases whose model has learned the departments, or has not."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batch_jobs.event_counts import read_events
from batch_jobs.release_gate.judge import judge
from batch_jobs.release_gate.table import Judgement
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_keys
from tests.random_release import AS_OF_MS, SCHEMA, SPEC, random_products, write_random_release

N_PRODUCTS, N_DEPARTMENTS, N_BUYERS = 160, 4, 80
END = dt.datetime.fromtimestamp(AS_OF_MS / 1000, dt.UTC)
TEST_FROM = END - dt.timedelta(days=14)

Vectors = npt.NDArray[np.float32]


def department_of(product: int) -> int:
    return product % N_DEPARTMENTS


def vectors(n_products: int = N_PRODUCTS) -> Vectors:
    """Unit vectors: those of one department lie together."""
    rng = np.random.default_rng(3)
    centres = np.eye(N_DEPARTMENTS, SPEC.embedding_dim)
    places = [department_of(product) for product in range(n_products)]
    noisy = 2 * centres[places] + 0.3 * rng.normal(size=(n_products, SPEC.embedding_dim))
    unit: Vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    return unit


def catalogue(n_products: int = N_PRODUCTS, n_hidden: int = 0) -> pa.Table:
    """Products of which the last ones are hidden."""
    products = random_products(n_products)
    hidden = pa.array([product >= n_products - n_hidden for product in range(n_products)])
    return products.set_column(products.column_names.index(c.HIDDEN), c.HIDDEN, hidden)


def write_events(config: Config, n_buyers: int = N_BUYERS, last: dt.datetime = END) -> pd.DataFrame:
    """Each buyer views ten products of one department before TEST_FROM, and buys five others of it after."""
    rng = np.random.default_rng(4)
    rows = []
    for buyer in range(n_buyers):
        own = [product for product in range(N_PRODUCTS) if department_of(product) == buyer % N_DEPARTMENTS]
        for place, product in enumerate(rng.permutation(own)[:15].tolist()):
            after, step = place >= 10, dt.timedelta(hours=place % 10 * 10 + 1)
            time = TEST_FROM + step if after else TEST_FROM - dt.timedelta(days=20) + step
            rows.append((f"buyer {buyer}", product, "purchase" if after else "view", min(time, last)))
    buyers, products, types, times = zip(*rows, strict=True)
    path = shop_paths(config).events
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = product_keys([f"p{product}" for product in products])
    pq.write_table(
        pa.table(
            {c.BUYER_ID: buyers, c.PRODUCT_KEY: keys, c.EVENT_TYPE: types,
             c.EVENT_TIME: pa.array(times, pa.timestamp("us", "UTC"))}
        ),
        path,
    )  # fmt: skip
    return read_events(shop_paths(config))


def release(
    folder: Path,
    trained_until: dt.datetime | None = TEST_FROM,
    products: pa.Table | None = None,
    vectors_ND: Vectors | None = None,
    **options: Any,
) -> Path:
    """A release of these products and vectors; the options are those of write_random_release."""
    products = catalogue() if products is None else products
    vectors_ND = vectors(len(products)) if vectors_ND is None else vectors_ND
    until = None if trained_until is None else trained_until.isoformat()
    return write_random_release(
        folder, len(products), products=products, vectors_ND=vectors_ND, trained_until=until, **options
    )


def judged(config: Config, candidate: Path, live: Path | None, schema: str = SCHEMA) -> Judgement:
    """The judgement on a candidate, on the events that were written last."""
    return judge(config, candidate, live, read_events(shop_paths(config)), schema)
