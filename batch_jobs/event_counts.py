"""Statistics of the events that a release contains: for its popular lists, and for the re-scorer's terms.

Legend: N products of the release, E events.
"""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from feature_repo.common.paths import ShopPaths
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import Rescorer, recent_popularity
from training.data.catalogue import KeyIndex

POPULARITY_DAYS = 30


def read_events(paths: ShopPaths) -> pd.DataFrame:
    """Code of the buyer, product key and time of all canonical events."""
    events: pd.DataFrame = pq.read_table(paths.events, columns=[c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    return events.assign(**{c.BUYER_ID: pd.factorize(events[c.BUYER_ID])[0]})


def of_products(events: pd.DataFrame, product_keys: Int64Array) -> pd.DataFrame:
    """The events of a release's products, with product positions in place of product keys."""
    positions_E = KeyIndex(product_keys).positions(events[c.PRODUCT_KEY].to_numpy())
    return events.assign(**{c.PRODUCT_KEY: positions_E}).loc[positions_E >= 0]


def popular_products(events: pd.DataFrame, data_end: dt.datetime, n_products: int) -> Int32Array:
    """Positions of all products, most events in the last POPULARITY_DAYS first; ties go to more events in all."""
    # Days before the end of the source, not before the newest event: one logged event must not make all others old.
    recent = events[events[c.EVENT_TIME] >= data_end - dt.timedelta(days=POPULARITY_DAYS)]
    all_N, recent_N = (np.bincount(frame[c.PRODUCT_KEY], minlength=n_products) for frame in (events, recent))
    # lexsort sorts by its last key first and is stable: equal counts keep the order of the catalogue.
    return np.lexsort((-all_N, -recent_N)).astype(np.int32)


def recent_popularity_of(
    events: pd.DataFrame, data_end: dt.datetime, n_products: int, rescorer: Rescorer
) -> Float32Array:
    """(2, N) recent_popularity up to the end of the data, for lists of any and of new products."""
    buyers, products, times_ms = _arrays(events)
    by_list = [
        recent_popularity(
            buyers,
            products,
            times_ms,
            # + 1, because the limit is exclusive and the last event counts.
            until_ms=as_ms(data_end) + 1,
            counted=rescorer.counted_buyers(new_only=new_only),
            n_products=n_products,
        )
        for new_only in (False, True)
    ]
    return np.stack(by_list)


def co_occurrence_of(
    events: pd.DataFrame, data_end: dt.datetime, n_products: int, rescorer: Rescorer
) -> CoOccurrence | None:
    """What the same buyers chose up to the end of the data; None if no list has that term."""
    if not rescorer.counts_co_occurrence:
        return None
    buyers, products, times_ms = _arrays(events)
    kept = times_ms <= as_ms(data_end)
    return CoOccurrence.of_events(buyers[kept], products[kept], times_ms[kept], n_products)


def _arrays(events: pd.DataFrame) -> tuple[Int64Array, Int32Array, Int64Array]:
    """(E,) buyer codes, product positions and times in milliseconds since 1970."""
    times_ms = events[c.EVENT_TIME].dt.tz_convert(None).to_numpy("datetime64[ms]").astype(np.int64)
    return events[c.BUYER_ID].to_numpy(), events[c.PRODUCT_KEY].to_numpy(), times_ms


def as_ms(moment: dt.datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
