"""Event histories of many buyers in flat arrays.

Legend: B buyers (or contexts), E events of all, N products of the catalogue.
"""

from dataclasses import dataclass

import numpy as np

from feature_repo.common.arrays import BoolArray, Int32Array, Int64Array

# -1 + 1 is the index of unknown products in the vocabularies, see model/item_features.py.
UNKNOWN_PRODUCT = -1
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Histories:
    """B histories, oldest event first, stored one after the other.

    Attributes:
        offsets: (B + 1,) int64; history b is events offsets[b]:offsets[b + 1].
        products: (E,) int32 positions in the catalogue; UNKNOWN_PRODUCT for a product outside it.
        event_types: (E,) int32 codes of transforms.events.EVENT_TYPES.
        event_times: (E,) int64 milliseconds since 1970.
    """

    offsets: Int64Array
    products: Int32Array
    event_types: Int32Array
    event_times: Int64Array

    def __post_init__(self) -> None:
        """Raises ValueError if the arrays do not fit together."""
        n_events = len(self.products)
        if (
            len(self.offsets) == 0
            or self.offsets[0] != 0
            or self.offsets[-1] != n_events
            or np.any(np.diff(self.offsets) < 0)
        ):
            raise ValueError(f"offsets must rise from 0 to the number of events ({n_events})")
        if len(self.event_types) != n_events or len(self.event_times) != n_events:
            raise ValueError("products, event_types and event_times must have one length")

    def __len__(self) -> int:
        """The number of histories, B."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """(B,) number of events of each history."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int64Array:
        """(E,) index of the history that each event belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: Int64Array) -> "Histories":
        """The histories of `rows`, in that order."""
        return self.windows(self.offsets[rows], self.offsets[rows + 1])

    def windows(self, starts: Int64Array, ends: Int64Array) -> "Histories":
        """Histories of the events starts[b]:ends[b]; windows may overlap."""
        events, offsets = ranges(starts, ends)
        return Histories(offsets, self.products[events], self.event_types[events], self.event_times[events])

    def where(self, kept: BoolArray) -> "Histories":
        """The same histories without the events where `kept`, (E,), is False."""
        offsets = np.concatenate([[0], np.cumsum(kept)])[self.offsets].astype(np.int64)
        return Histories(offsets, self.products[kept], self.event_types[kept], self.event_times[kept])


def ranges(starts: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The ranges starts[b]..ends[b] - 1, concatenated, and the offset, (B + 1,), of each range."""
    lengths = ends - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    # Without a loop over B: each range is a shifted part of one arange.
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets
