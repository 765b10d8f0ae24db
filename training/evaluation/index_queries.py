"""Queries that the index of a shop is measured with: the vectors of its buyers.

Legend: Q queries, N products, U products that occur in histories, D dimensions.
"""

from dataclasses import replace

import numpy as np
import torch

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.model import load_model
from training.artifacts.search.index_recall import buyer_like_queries
from training.data.catalogue import read_product_positions
from training.data.contexts import Contexts, NoContextsError, split_contexts
from training.model.encoding import encode_buyers
from training.model.towers import TwoTower

# Recall of .99 over 100 queries that judge has a standard error of .003 or less.
FEWEST_BUYERS, MOST_BUYERS = 200, 1000
BUYER_SEED = 0


def index_queries(config: Config, store: FeatureStore, vectors_ND: Float32Array) -> tuple[Float32Array, str]:
    """Unit vectors, (Q, D), in random order, and what they are.

    They are the buyers of the validation days, as a request for them is encoded, each once. With too few of them,
    they are weighted means of products.
    """
    paths = shop_paths(config)
    try:
        contexts = split_contexts(store, config, read_product_positions(paths.product_features), c.VALIDATION)
    except NoContextsError:
        n_buyers = 0
    else:
        contexts = _last_of_each_buyer(contexts)
        n_buyers = len(contexts)
    if n_buyers < FEWEST_BUYERS:
        return buyer_like_queries(vectors_ND), (
            f"weighted means of five products: the validation days have {n_buyers} buyers, fewer than {FEWEST_BUYERS}"
        )
    chosen = np.random.default_rng(BUYER_SEED).permutation(n_buyers)[:MOST_BUYERS]
    model, _, _ = load_model(paths.model)
    return _encoded(model, vectors_ND, contexts.take(chosen)), "buyers of the validation days"


def _last_of_each_buyer(contexts: Contexts) -> Contexts:
    """The last context with a history of each buyer."""
    contexts = contexts.take(np.flatnonzero(contexts.ends > contexts.starts))
    is_last = np.ones(len(contexts), dtype=bool)
    is_last[:-1] = contexts.buyer_ids[1:] != contexts.buyer_ids[:-1]
    return contexts.take(np.flatnonzero(is_last))


def _encoded(model: TwoTower, vectors_ND: Float32Array, contexts: Contexts) -> Float32Array:
    histories = contexts.histories
    # Only the vectors of their products are copied, not those of the catalogue.
    positions_U, products = np.unique(histories.products, return_inverse=True)
    histories = replace(histories, products=products.astype(np.int32))
    own = replace(contexts, timelines=histories, starts=histories.offsets[:-1], ends=histories.offsets[1:])
    buyers_QD: Float32Array = encode_buyers(model, torch.from_numpy(vectors_ND[positions_U]), own).numpy()
    return buyers_QD
