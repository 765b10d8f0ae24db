"""The buyer tower at inference: encodes a few short histories per call and attributes a score to single events.

Legend: B buyers, L events of one buyer, Z events of all buyers, K products to explain, N products, D dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.transformer_inference import last_state
from training.data.histories import Histories
from training.model.aggregators import CausalTransformer, Pooling
from training.model.prefixes import event_places, prefixes_of
from training.model.towers import BuyerTower

ITEM_LOGITS_CHUNK = 4096  # products per step of `item_logits`


class History(NamedTuple):
    """The input of the buyer tower: one buyer's events, oldest first.

    Attributes:
        positions_L: (L,) positions of the events' products; -1 for a product that the release does not have.
        items_LD: (L, D) their vectors.
        types_L: (L,) int64 event-type codes.
        times_L: (L,) int64 milliseconds since 1970.
        logits_L: (L,) BuyerEncoder.item_logits of the products.
    """

    positions_L: Int64Array
    items_LD: Float32Array
    types_L: Int64Array
    times_L: Int64Array
    logits_L: Float32Array


class EncodedBuyer(NamedTuple):
    """A buyer vector with what explains it.

    Attributes:
        vector_D: (D,) unit vector.
        history: The encoded events.
        factors_L: (L,) weight of each event: the sum of factors_L * items_LD is the part of vector_D that comes from
            single events. The rest of vector_D is the vector that the tower adds for every buyer, and the output of
            the transformer, which depends on the order of the events. Zeros if no event has weight.
    """

    vector_D: Float32Array
    history: History
    factors_L: Float32Array


class BuyerEncoder:
    """Encodes histories on one device; safe to use from several threads."""

    def __init__(self, tower: BuyerTower, device: torch.device) -> None:
        """Moves the tower to the device and switches it to evaluation mode."""
        self._tower = tower.to(device).eval()
        self._device = device
        # Every aggregator has a pooling: a weighted sum of events, which `contributions` can explain. The transformer
        # aggregator adds its own output to that sum.
        self._transformer = tower.aggregate if isinstance(tower.aggregate, CausalTransformer) else None
        pooling = tower.aggregate if self._transformer is None else self._transformer.attention
        assert isinstance(pooling, Pooling)
        self._pooling = pooling
        self._empty_D: Float32Array = tower.empty.detach().cpu().numpy()
        tables = self._pooling.event_logits()
        self._of_type: Float32Array = tables.of_type.detach().cpu().numpy()  # -inf for a type without weight
        self._of_place = [table.detach().cpu().numpy() for table in tables[1:] if table is not None]

    @torch.inference_mode()
    def item_logits(self, items_ND: Float32Array) -> Float32Array:
        """Attention logits of products before the terms of type and place, (N,); the same for every buyer."""
        logits_N = np.empty(len(items_ND), dtype=np.float32)
        for start in range(0, len(items_ND), ITEM_LOGITS_CHUNK):
            end = start + ITEM_LOGITS_CHUNK
            # torch.tensor copies: the vectors may be a read-only memory map, which torch.from_numpy warns about.
            chunk_CD = torch.tensor(items_ND[start:end], device=self._device)
            logits_N[start:end] = self._pooling.item_logits(chunk_CD).cpu().numpy()
        return logits_N

    def encode(self, histories: Sequence[History]) -> list[EncodedBuyer]:
        """Encodes B histories of at least one event each; the result is in the same order."""
        shares = [self._shares(history) for history in histories]
        # On a GPU one pass for all buyers pays. On a CPU last_state, buyer by buyer, is faster than torch's module.
        if self._transformer is not None and self._device.type != "cpu" and histories:
            aggregated = list(self._aggregate_batch(histories))
        else:
            aggregated = [self._aggregate(*pair) for pair in zip(histories, shares, strict=True)]
        return [self._encoded(*buyer) for buyer in zip(histories, shares, aggregated, strict=True)]

    def _shares(self, history: History) -> Float32Array:
        """The attention weight of each event, (L,). NumPy, because torch calls are slow on so few numbers."""
        logits_L = history.logits_L + self._of_type[history.types_L]
        if self._of_place:
            # One prefix, so every event has the same end.
            ends_L = np.full(len(logits_L), len(logits_L))
            for table, buckets_L in zip(self._of_place, event_places(history.times_L, ends_L), strict=True):
                logits_L = logits_L + table[buckets_L]
        highest = logits_L.max()
        if highest == -np.inf:  # no event has weight
            return np.zeros_like(logits_L)
        # The maximum is subtracted so that exp cannot overflow.
        share_L: Float32Array = np.exp(logits_L - highest)
        share_L /= share_L.sum()
        return share_L

    def _aggregate(self, history: History, share_L: Float32Array) -> Float32Array:
        """The aggregator's output for one history, (D,)."""
        pooled_D: Float32Array = share_L @ history.items_LD
        if self._transformer is None:
            return pooled_D
        items_LD, types_L = history.items_LD, history.types_L
        # As in training, the transformer does not see events of weight 0 (see BuyerTower.forward).
        has_weight_L = self._of_type[types_L] > -np.inf
        if not has_weight_L.any():
            return pooled_D
        if not has_weight_L.all():
            items_LD, types_L = items_LD[has_weight_L], types_L[has_weight_L]
        with torch.inference_mode():
            state_D = last_state(self._transformer, torch.from_numpy(items_LD), torch.from_numpy(types_L))
        aggregated_D: Float32Array = pooled_D + state_D.numpy()
        return aggregated_D

    @torch.inference_mode()
    def _aggregate_batch(self, histories: Sequence[History]) -> Float32Array:
        """The aggregator's outputs for all histories in one pass on the device, (B, D)."""
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
        aggregated_BD: Tensor = self._tower.aggregate(items_ZD.to(self._device), prefixes.to(self._device))
        on_cpu_BD: Float32Array = aggregated_BD.cpu().numpy()
        return on_cpu_BD

    def _encoded(self, history: History, share_L: Float32Array, aggregated_D: Float32Array) -> EncodedBuyer:
        if self._tower.adds_prior:
            aggregated_D = aggregated_D + self._empty_D
        elif not share_L.any():
            aggregated_D = self._empty_D
        norm = np.sqrt(aggregated_D @ aggregated_D)
        # Shares are divided by the norm too, so that they sum up to a part of the unit vector.
        return EncodedBuyer(aggregated_D / norm, history, share_L / norm)

    def empty(self) -> Float32Array:
        """The unit vector that the tower learned for an empty history, (D,)."""
        vector: Float32Array = self._empty_D / np.sqrt(self._empty_D @ self._empty_D)
        return vector

    def contributions(self, buyer: EncodedBuyer, targets_KD: Float32Array) -> Float32Array:
        """The contribution of each event to the buyer's inner products with K products, (K, L).

        The contribution is the event's factor times the inner product of its product and the target. For a tower that
        only sums events, the contributions of a product add up to its inner product (or are 0 if no event has weight).
        Otherwise the rest comes from the vector of every buyer and from the transformer; see EncodedBuyer.
        """
        contributions_KL: Float32Array = (targets_KD @ buyer.history.items_LD.T) * buyer.factors_L
        return contributions_KL
