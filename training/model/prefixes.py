"""The input of the buyer tower: histories in flat arrays, without padding.

A prefix is the part of a buyer's timeline before a moment. The prefixes of one buyer overlap. Each distinct product of
a batch is encoded once and prefixes only refer to it, so predicting every event of a timeline costs little more than
predicting its last one. Training, evaluation and serving use the same buckets for an event's rank and age.

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
N_BUCKETS = 40  # half_octave(2^20); no history has so many events or hours


def half_octave(values: Int64Array) -> Int64Array:
    """The bucket of each value >= 0: 0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15, ..., two per doubling, up to N_BUCKETS - 1.

    Integer arithmetic, so that training and serving can never disagree about an edge.
    """
    # The exponent of frexp is the number of binary digits, exact for integers below 2^53.
    digits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(digits - 2, 0)
    buckets: Int64Array = np.minimum(2 * shift + (values >> shift), N_BUCKETS - 1)
    return buckets


def event_places(event_times: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The rank of each event in its prefix (number of later events) and its age (hours before the last), in buckets.

    The age counts from the last event of the prefix, not from the time of the request. So repeated requests get the
    same answer, and old data are served the way they were learned.

    Args:
        event_times: (Z,) milliseconds.
        ends: (Z,) end of each event's prefix, as an index into the Z events.

    Returns:
        (Z,) bucket of the rank, and (Z,) bucket of the age.
    """
    later = ends - 1 - np.arange(len(event_times))
    return half_octave(later), half_octave((event_times[ends - 1] - event_times) // HOUR_MS)


class Prefixes(NamedTuple):
    """P prefixes as tensors.

    Attributes:
        offsets_P1: (P + 1,) int64; prefix p is events offsets_P1[p]:offsets_P1[p + 1], oldest first.
        items_Z: (Z,) int64 rows of the accompanying matrix of product vectors.
        types_Z: (Z,) int64 event-type codes.
        ranks_Z: (Z,) int64 buckets of the number of later events.
        gaps_Z: (Z,) int64 buckets of the hours before the last event.
        starts_P: (P,) int64; prefixes with equal start begin with the same event, so the longest contains the others.
    """

    offsets_P1: Tensor
    items_Z: Tensor
    types_Z: Tensor
    ranks_Z: Tensor
    gaps_Z: Tensor
    starts_P: Tensor

    @property
    def lengths(self) -> Tensor:
        """(P,) number of events of each prefix."""
        return self.offsets_P1.diff()

    @property
    def owners(self) -> Tensor:
        """(Z,) index of the prefix that each event belongs to."""
        # With output_size, a GPU need not report the sum of the lengths, which would make the CPU wait for it.
        return torch.repeat_interleave(self.lengths, output_size=len(self.items_Z))

    def where(self, kept_Z: Tensor) -> "Prefixes":
        """The same prefixes without the events where `kept_Z`, (Z,), is False."""
        offsets_P1 = F.pad(kept_Z.cumsum(0), (1, 0))[self.offsets_P1]
        per_event = (self.items_Z, self.types_Z, self.ranks_Z, self.gaps_Z)
        # Ranks and gaps still count the dropped events. Serving computes them from the whole history too.
        items_Z, types_Z, ranks_Z, gaps_Z = (part[kept_Z] for part in per_event)
        return Prefixes(offsets_P1, items_Z, types_Z, ranks_Z, gaps_Z, self.starts_P)

    def to(self, device: torch.device) -> "Prefixes":
        """The prefixes on a device."""
        return Prefixes(*(part.to(device, non_blocking=True) for part in self))


def prefixes_of(timelines: Histories, starts: Int64Array, ends: Int64Array) -> Prefixes:
    """Prefixes of the windows starts[p]:ends[p] of the events; items are positions in the catalogue.

    Products outside the catalogue have no vector, so the timelines must not contain them.
    """
    events, offsets = ranges(starts, ends)
    lengths = np.diff(offsets)
    ranks_Z, gaps_Z = event_places(timelines.event_times[events], np.repeat(offsets[1:], lengths))
    arrays = (offsets, timelines.products[events], timelines.event_types[events], ranks_Z, gaps_Z, starts)
    return Prefixes(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
