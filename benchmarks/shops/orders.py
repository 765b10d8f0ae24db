"""How much a data set's order within a day, which a shop does not have, helps a model: for leave-one-out data sets.

A source without times lists what a buyer did on one day in an order of its own, for example by product id. A model that
reads histories in order learns that, too. Two figures show how much: histories whose last events are shuffled, and
the targets whose id rises from that of the last event apart from those whose id falls.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.common.arrays import BoolArray, Int32Array, Int64Array
from training.data.catalogue import Catalogue
from training.data.histories import Histories
from training.evaluation.held_out import HeldOut

N_SHUFFLED = 5


def with_last_shuffled(question: HeldOut, n_last: int = N_SHUFFLED, seed: int = 0) -> HeldOut:
    """The same contexts with the products of each one's last events in random order; times and types stay in place.

    The windows that models encode and the full histories that baselines read are shuffled alike.
    """
    contexts, rng = question.contexts, np.random.default_rng(seed)
    # Drawn by the place from the end, so that a window and its full history, which ends with it, get the same order.
    orders_CL = rng.permuted(np.tile(np.arange(n_last), (len(contexts), 1)), axis=1)
    windows = _shuffled(contexts.histories, orders_CL)
    shuffled = replace(contexts, timelines=windows, starts=windows.offsets[:-1], ends=windows.offsets[1:])
    return replace(question, contexts=shuffled, histories=_shuffled(question.histories, orders_CL))


def _shuffled(histories: Histories, orders_CL: Int64Array) -> Histories:
    products = histories.products.copy()
    for start, stop, order_L in zip(histories.offsets[:-1], histories.offsets[1:], orders_CL, strict=True):
        n = min(stop - start, len(order_L))
        # The first n numbers of a random order are a random order of n.
        products[stop - n : stop] = histories.products[stop - n : stop][order_L[order_L < n]]
    return replace(histories, products=products)


def file_order(catalogue: Catalogue, items: Path) -> Int64Array:
    """(N,) rank of each product's `asin` in items.csv, by which the source sorts what was one day."""
    asins = pd.read_csv(items, dtype=str).set_index("item_id")["asin"]
    ranks: Int64Array = asins.reindex(catalogue.product_ids).rank(method="dense").to_numpy().astype(np.int64)
    return ranks


def rises(question: HeldOut, rows: Int32Array, targets: Histories, rank_N: Int64Array) -> BoolArray:
    """(B,) whether the first target of each of the rows has a higher rank than the history's last product."""
    histories = question.histories
    last_B = histories.products[histories.offsets[1:][rows] - 1]
    first_B = targets.products[targets.offsets[:-1]]
    rising: BoolArray = rank_N[first_B] > rank_N[last_B]
    return rising
