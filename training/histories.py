"""Event histories of many buyers in one flat container, as training and evaluation use them.

Legend: B buyers (or contexts), L events of one, E events of all, N products of the catalogue.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN_PRODUCT = -1


@dataclass(frozen=True)
class Histories:
    """B histories, each oldest first, stored back to back.

    Attributes:
        offsets: (B + 1,) int64; history b is events offsets[b]:offsets[b + 1].
        products: (E,) int32 positions in the catalogue, UNKNOWN_PRODUCT for a product that is not in it.
        event_types: (E,) int32 codes of transforms.events.EVENT_TYPES.
        event_times: (E,) int64 milliseconds since 1970.
    """

    offsets: npt.NDArray[np.int64]
    products: npt.NDArray[np.int32]
    event_types: npt.NDArray[np.int32]
    event_times: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Checks that the arrays fit together."""
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

    def take(self, rows: npt.NDArray[np.int64]) -> "Histories":
        """The histories of `rows`, in that order."""
        starts, lengths = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Histories(offsets, self.products[events], self.event_types[events], self.event_times[events])

    def padded(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Products and event types as (B, L) matrices, left-aligned; L is the longest history, at least 1.

        Padding and unknown products are UNKNOWN_PRODUCT; their event type is 0.
        """
        lengths = np.diff(self.offsets)
        width = max(1, int(lengths.max(initial=0)))
        products_BL = np.full((len(self), width), UNKNOWN_PRODUCT, dtype=np.int64)
        types_BL = np.zeros((len(self), width), dtype=np.int64)
        filled = np.arange(width) < lengths[:, None]
        products_BL[filled] = self.products
        types_BL[filled] = self.event_types
        return products_BL, types_BL
