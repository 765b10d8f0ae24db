"""What the buyer tower reads: histories laid flat, without padding, each event with its place in its history.

A prefix is what a buyer had done before a moment. All prefixes of one buyer overlap, so each distinct product of a
batch is encoded once and a prefix only says which of them it holds: to predict every event of a history costs little
more than to predict its last. Training, evaluation and serving describe an event's place by the same two buckets.

Legend: P prefixes, Z events of all prefixes together, U products.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feature_repo.common.arrays import Int64Array
from training.data.histories import Histories, ranges

HOUR_MS = 3_600_000
N_BUCKETS = 40  # half_octave() of 2^20, beyond any number of events or hours here


def half_octave(values: Int64Array) -> Int64Array:
    """The bucket of each value >= 0: 0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15, ..., two for each doubling; N_BUCKETS - 1 last.

    Integers throughout, so that training and serving can never disagree about an edge.
    """
    # frexp's exponent is the number of binary digits, exact for integers below 2^53.
    digits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(digits - 2, 0)
    buckets: Int64Array = np.minimum(2 * shift + (values >> shift), N_BUCKETS - 1)
    return buckets


def event_places(event_times: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Where each event stands in its prefix, as two buckets: how many events, and how many hours, before the last.

    The hours count from the prefix's last event and not from the moment of asking: a page that is asked for again
    gets the same answer, and data that ended long ago are served as they were learned.

    Args:
        event_times: (Z,) milliseconds.
        ends: (Z,) the place, among the Z, after the last event of the prefix that each event belongs to.

    Returns:
        (Z,) bucket of the number of later events, and (Z,) bucket of the hours.
    """
    later = ends - 1 - np.arange(len(event_times))
    return half_octave(later), half_octave((event_times[ends - 1] - event_times) // HOUR_MS)


class Prefixes(NamedTuple):
    """P prefixes as the buyer tower reads them.

    Attributes:
        offsets_P1: (P + 1,) int64; prefix p is events offsets_P1[p]:offsets_P1[p + 1], oldest first.
        items_Z: (Z,) int64 rows of the matrix of product vectors that goes with them.
        types_Z: (Z,) int64 event-type codes.
        ranks_Z: (Z,) int64 buckets of how many events ago.
        gaps_Z: (Z,) int64 buckets of how long before the last event.
        starts_P: (P,) int64; prefixes of equal start begin with the same event, and so are prefixes of one another.
    """

    offsets_P1: Tensor
    items_Z: Tensor
    types_Z: Tensor
    ranks_Z: Tensor
    gaps_Z: Tensor
    starts_P: Tensor

    @property
    def lengths(self) -> Tensor:
        """(P,) events of each prefix."""
        return self.offsets_P1.diff()

    @property
    def owners(self) -> Tensor:
        """(Z,) the prefix that each event belongs to."""
        return torch.repeat_interleave(self.lengths, output_size=len(self.items_Z))

    def where(self, kept_Z: Tensor) -> "Prefixes":
        """The same prefixes with the events of `kept_Z`, (Z,), alone."""
        offsets_P1 = F.pad(kept_Z.cumsum(0), (1, 0))[self.offsets_P1]
        per_event = (self.items_Z, self.types_Z, self.ranks_Z, self.gaps_Z)
        items_Z, types_Z, ranks_Z, gaps_Z = (part[kept_Z] for part in per_event)
        return Prefixes(offsets_P1, items_Z, types_Z, ranks_Z, gaps_Z, self.starts_P)

    def to(self, device: torch.device) -> "Prefixes":
        """The same on a device."""
        return Prefixes(*(part.to(device, non_blocking=True) for part in self))


def prefixes_of(timelines: Histories, starts: Int64Array, ends: Int64Array) -> Prefixes:
    """The windows starts[p]:ends[p] of all events as prefixes, whose items are positions in the catalogue.

    Products that are not in the catalogue have no vector: the caller leaves them out of the timelines.
    """
    events, offsets = ranges(starts, ends)
    lengths = np.diff(offsets)
    ranks_Z, gaps_Z = event_places(timelines.event_times[events], np.repeat(offsets[1:], lengths))
    parts = (offsets, timelines.products[events], timelines.event_types[events], ranks_Z, gaps_Z, starts)
    return Prefixes(*(torch.from_numpy(part.astype(np.int64)) for part in parts))
