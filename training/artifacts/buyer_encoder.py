"""The buyer tower as the online service runs it: several short histories at once, and what each event contributed.

Legend: B buyers, L events of one buyer, Z events of all, K products to explain, N products, D dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.artifacts.transformer_inference import last_state
from training.data.histories import Histories
from training.model.aggregators import CausalTransformer, Pooling
from training.model.prefixes import event_places, prefixes_of
from training.model.towers import BuyerTower

CHUNK = 4096  # products per step of `item_logits`

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]


class History(NamedTuple):
    """One buyer's events, oldest first, as the tower reads them.

    Attributes:
        items_LD: (L, D) vectors of the events' products.
        types_L: (L,) int64 event-type codes.
        times_L: (L,) int64 milliseconds since 1970.
        logits_L: (L,) the products' BuyerEncoder.item_logits.
    """

    items_LD: Floats
    types_L: Longs
    times_L: Longs
    logits_L: Floats


class EncodedBuyer(NamedTuple):
    """One buyer's vector and how it came about.

    Attributes:
        vector_D: (D,) unit vector.
        history: The events it was made from.
        factors_L: (L,) such that factors_L times items_LD sums to the events' part of vector_D. The rest is what the
            tower adds for every buyer, and what a transformer reads in the order of the events. Zeros where no event
            has weight.
    """

    vector_D: Floats
    history: History
    factors_L: Floats


class BuyerEncoder:
    """Encodes histories on one device; safe to use from several threads."""

    def __init__(self, tower: BuyerTower, device: torch.device) -> None:
        """Takes the tower, which moves to the device."""
        self._tower = tower.to(device).eval()
        self._device = device
        # A weighted sum of the events joins them, or is what a transformer adds to: it is what can be explained.
        self._transformer = tower.aggregate if isinstance(tower.aggregate, CausalTransformer) else None
        pooling = tower.aggregate if self._transformer is None else self._transformer.attention
        assert isinstance(pooling, Pooling)
        self._pooling = pooling
        self._empty_D: Floats = tower.empty.detach().cpu().numpy()
        tables = self._pooling.event_logits()
        self._of_type: Floats = tables.of_type.detach().cpu().numpy()  # -inf for a type without weight
        self._of_place = [table.detach().cpu().numpy() for table in tables[1:] if table is not None]

    @torch.inference_mode()
    def item_logits(self, items_ND: Floats) -> Floats:
        """What the tower makes of each product by itself, (N,), to be computed once."""
        logits_N = np.empty(len(items_ND), dtype=np.float32)
        for start in range(0, len(items_ND), CHUNK):
            part = torch.tensor(items_ND[start : start + CHUNK], device=self._device)  # a copy: the file is read-only
            logits_N[start : start + CHUNK] = self._pooling.item_logits(part).cpu().numpy()
        return logits_N

    def encode(self, histories: Sequence[History]) -> list[EncodedBuyer]:
        """Vectors of B buyers, each with one event at least, in their order."""
        shares = [self._shares(history) for history in histories]
        if self._transformer is not None and self._device.type != "cpu" and histories:
            joined = list(self._joined_together(histories))
        else:
            joined = [self._joined(*pair) for pair in zip(histories, shares, strict=True)]
        return [self._encoded(*parts) for parts in zip(histories, shares, joined, strict=True)]

    def _shares(self, history: History) -> Floats:
        """Each event's share of the sum, (L,), in NumPy: a score of torch calls would cost more than the sum itself."""
        logits_L = history.logits_L + self._of_type[history.types_L]
        if self._of_place:
            ends_L = np.full(len(logits_L), len(logits_L))
            for table, buckets_L in zip(self._of_place, event_places(history.times_L, ends_L), strict=True):
                logits_L = logits_L + table[buckets_L]
        best = logits_L.max()
        if best == -np.inf:  # no event has weight
            return np.zeros_like(logits_L)
        share_L: Floats = np.exp(logits_L - best)
        share_L /= share_L.sum()
        return share_L

    def _joined(self, history: History, share_L: Floats) -> Floats:
        """What the aggregator makes of one history, (D,)."""
        pooled_D: Floats = share_L @ history.items_LD
        if self._transformer is None:
            return pooled_D
        items_LD, types_L, counts_L = history.items_LD, history.types_L, self._of_type[history.types_L] > -np.inf
        if not counts_L.any():
            return pooled_D
        if not counts_L.all():
            items_LD, types_L = items_LD[counts_L], types_L[counts_L]
        with torch.inference_mode():
            state_D = last_state(self._transformer, torch.from_numpy(items_LD), torch.from_numpy(types_L))
        joined_D: Floats = pooled_D + state_D.numpy()
        return joined_D

    @torch.inference_mode()
    def _joined_together(self, histories: Sequence[History]) -> Floats:
        """What the aggregator makes of all histories in one pass on the device, (B, D)."""
        offsets = np.cumsum([0, *(len(history.types_L) for history in histories)]).astype(np.int64)
        events = Histories(
            offsets,
            np.arange(offsets[-1], dtype=np.int32),  # each event has a row of its own in `items_ZD`
            np.concatenate([history.types_L for history in histories]).astype(np.int32),
            np.concatenate([history.times_L for history in histories]),
        )
        prefixes = prefixes_of(events, offsets[:-1], offsets[1:])
        prefixes = prefixes.where(torch.from_numpy(self._of_type > -np.inf)[prefixes.types_Z])
        items_ZD = torch.from_numpy(np.concatenate([history.items_LD for history in histories]))
        joined_BD: Tensor = self._tower.aggregate(items_ZD.to(self._device), prefixes.to(self._device))
        together: Floats = joined_BD.cpu().numpy()
        return together

    def _encoded(self, history: History, share_L: Floats, joined_D: Floats) -> EncodedBuyer:
        if self._tower.adds_prior:
            joined_D = joined_D + self._empty_D
        elif not share_L.any():
            joined_D = self._empty_D
        norm = np.sqrt(joined_D @ joined_D)
        return EncodedBuyer(joined_D / norm, history, share_L / norm)

    def empty(self) -> Floats:
        """The unit vector learned for a buyer without history, (D,)."""
        vector: Floats = self._empty_D / np.sqrt(self._empty_D @ self._empty_D)
        return vector

    def contributions(self, buyer: EncodedBuyer, targets_KD: Floats) -> Floats:
        """What each event contributed to the buyer's inner products with K products, (K, L).

        An event contributes its factor times the inner product of its product and the target. For a tower that only
        sums, the contributions sum to the inner product (or are 0, where no event has weight); else the rest is what
        most buyers like, and what a transformer reads in the order of the events.
        """
        parts_KL: Floats = (targets_KD @ buyer.history.items_LD.T) * buyer.factors_L
        return parts_KL
