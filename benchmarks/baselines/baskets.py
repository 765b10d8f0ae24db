"""The baskets of a history: what one buyer takes at one moment.

Legend: E events of all histories.
"""

import numpy as np

from feature_repo.common.arrays import Int64Array
from training.data.histories import Histories


def baskets(histories: Histories) -> Int64Array:
    """(E,) int64 basket number of each event, counted from 0 over all histories; equal times share a basket."""
    owners_E = histories.owners
    new_E = np.ones(len(owners_E), dtype=bool)
    new_E[1:] = (np.diff(owners_E) != 0) | (np.diff(histories.event_times) != 0)
    return np.cumsum(new_E) - 1
