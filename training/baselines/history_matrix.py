"""Histories as sparse matrices: how much each product of a history counts.

Legend: A histories, N products of the catalogue, E events of the histories whose product is known.
"""

import numpy as np
from scipy import sparse

from training.data.histories import UNKNOWN_PRODUCT, Histories
from training.evaluation.ranker import check_codes


def history_counts(histories: Histories, n_products: int) -> sparse.csr_array:
    """(A, N) float32: events of each history with each product, column indices in order."""
    known = known_only(histories, n_products)
    ones_E = np.ones(len(known.products), dtype=np.float32)
    # tocsr adds up the ones of repeated products.
    return sparse.coo_array((ones_E, (known.owners, known.products)), shape=(len(histories), n_products)).tocsr()


def history_weights(histories: Histories, n_products: int, decay: float) -> sparse.csr_array:
    """(A, N) float32: decay ** age of each product's latest event, column indices in order.

    The age is the number of events of the history that follow: 0 for the latest one. A decay of 1 gives 1 to every
    product of the history, however often it occurs.

    Raises:
        ValueError: decay is not above 0 and at most 1.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay {decay} must be above 0 and at most 1 (no decay)")
    known = known_only(histories, n_products)
    owners_E = known.owners
    ages_E = known.offsets[owners_E + 1] - 1 - np.arange(len(owners_E))
    pairs_E = owners_E * n_products + known.products
    # Back to front, the first event of a pair is its latest.
    pairs, last = np.unique(pairs_E[::-1], return_index=True)
    weights = np.power(decay, ages_E[::-1][last], dtype=np.float64).astype(np.float32)
    offsets_A = np.searchsorted(pairs, np.arange(len(histories) + 1) * n_products)
    return sparse.csr_array((weights, pairs % n_products, offsets_A), shape=(len(histories), n_products))


def known_only(histories: Histories, n_products: int) -> Histories:
    """The histories without their events of unknown products.

    Raises:
        ValueError: A product lies outside the catalogue.
    """
    known = histories.where(histories.products != UNKNOWN_PRODUCT)
    check_codes("products of histories", known.products, n_products)
    return known
