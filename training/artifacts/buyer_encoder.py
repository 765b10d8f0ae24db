"""The buyer tower as the online service runs it: several short histories at once, and what each event contributed.

Legend: B buyers, L events of one buyer, K products to explain, N products, D dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.towers import BuyerTower, pooling_shares

CHUNK = 4096  # products per step of `item_logits`

Floats = npt.NDArray[np.float32]


class History(NamedTuple):
    """One buyer's events, oldest first, as the tower reads them.

    Attributes:
        items_LD: (L, D) vectors of the events' products.
        types_L: (L,) int64 event-type codes.
        logits_L: (L,) the products' BuyerEncoder.item_logits; None where the tower has none.
    """

    items_LD: Floats
    types_L: npt.NDArray[np.int64]
    logits_L: Floats | None


class EncodedBuyer(NamedTuple):
    """One buyer's vector and how it came about.

    Attributes:
        vector_D: (D,) unit vector.
        history: The events it was made from.
        factors_L: (L,) such that vector_D is the sum of factors_L times items_LD; None where the tower is no such sum.
            Zeros where no event has weight: vector_D is then the one learned for a buyer without history.
    """

    vector_D: Floats
    history: History
    factors_L: Floats | None


class BuyerEncoder:
    """Encodes histories on one device; safe to use from several threads."""

    def __init__(self, tower: BuyerTower, device: torch.device) -> None:
        """Takes the tower, which moves to the device."""
        self._tower = tower.to(device).eval()
        self._device = device
        self._is_pooling = hasattr(tower.aggregate, "item_logits")
        with np.errstate(divide="ignore"):  # an event type without weight
            self._log_weights = np.log(tower.weight_by_type.cpu().numpy())

    @torch.inference_mode()
    def item_logits(self, items_ND: Floats) -> Floats | None:
        """What the tower makes of each product by itself, (N,), to be computed once; None where it makes nothing."""
        if not self._is_pooling:
            return None
        logits_N = np.empty(len(items_ND), dtype=np.float32)
        for start in range(0, len(items_ND), CHUNK):
            part = torch.tensor(items_ND[start : start + CHUNK], device=self._device)  # a copy: the file is read-only
            logits_N[start : start + CHUNK] = self._tower.aggregate.item_logits(part).cpu().numpy()  # type: ignore[operator]
        return logits_N

    def encode(self, histories: Sequence[History]) -> list[EncodedBuyer]:
        """Vectors of B buyers, each with one event at least, in their order."""
        if self._is_pooling and self._device.type == "cpu":
            return [self._pooled(history) for history in histories]
        return self._encoded_together(histories) if histories else []

    def _pooled(self, history: History) -> EncodedBuyer:
        """What the tower makes of one history, in NumPy: a score of torch calls would cost more than the sum itself."""
        logits_L = history.logits_L + self._log_weights[history.types_L]
        best = logits_L.max()
        if best == -np.inf:  # no event has weight
            return EncodedBuyer(self.empty(), history, np.zeros_like(logits_L))
        share_L = np.exp(logits_L - best)
        pooled_D = share_L @ history.items_LD
        norm = np.sqrt(pooled_D @ pooled_D)
        return EncodedBuyer(pooled_D / norm, history, share_L / norm)

    @torch.inference_mode()
    def _encoded_together(self, histories: Sequence[History]) -> list[EncodedBuyer]:
        lengths = [len(history.types_L) for history in histories]
        items_BLD = self._padded([history.items_LD for history in histories], lengths)
        weights_BL = self._tower.weight_by_type[self._padded([history.types_L for history in histories], lengths)]
        mask_BL = torch.arange(max(lengths), device=self._device) < torch.tensor(lengths, device=self._device)[:, None]
        weights_BL = weights_BL * mask_BL
        if not self._is_pooling:
            vectors_BD = self._tower.from_weights(items_BLD, weights_BL).cpu().numpy()
            return [EncodedBuyer(*pair, None) for pair in zip(vectors_BD, histories, strict=True)]
        logits_BL = self._padded([history.logits_L for history in histories], lengths)
        share_BL = pooling_shares(logits_BL, weights_BL)
        pooled_BD = torch.einsum("bl,bld->bd", share_BL, items_BLD)
        vectors_BD = self._tower.normalised(pooled_BD, weights_BL).cpu().numpy()
        factors_BL = (share_BL / pooled_BD.norm(dim=1, keepdim=True).clamp_min(1e-12)).cpu().numpy()
        return [
            EncodedBuyer(vector_D, history, factors_L[: len(history.types_L)])
            for vector_D, history, factors_L in zip(vectors_BD, histories, factors_BL, strict=True)
        ]

    def empty(self) -> Floats:
        """The unit vector learned for a buyer without history, (D,)."""
        with torch.inference_mode():
            vector: Floats = F.normalize(self._tower.empty, dim=0).cpu().numpy()
        return vector

    def contributions(self, buyer: EncodedBuyer, targets_KD: Floats) -> Floats:
        """What each event contributed to the buyer's scores of K products, (K, L).

        Where the tower is a weighted sum of the history, an event contributes its factor times the inner product of
        its product and the target, and the contributions sum to the score (or are 0, where no event has weight).
        Elsewhere it is what the score loses when the event is left out of the history.
        """
        if buyer.factors_L is not None:
            parts_KL: Floats = (targets_KD @ buyer.history.items_LD.T) * buyer.factors_L
            return parts_KL
        scores_K = targets_KD @ buyer.vector_D
        length = len(buyer.history.types_L)
        if length == 1:
            return scores_K[:, None]
        without = [_without(buyer.history, event) for event in range(length)]
        return np.stack([scores_K - targets_KD @ other.vector_D for other in self.encode(without)], axis=1)

    def _padded(self, rows: Sequence[npt.NDArray[np.generic] | None], lengths: Sequence[int]) -> Tensor:
        """Rows of different lengths as one tensor on the device, filled up with zeros."""
        if len(rows) == 1:
            return torch.from_numpy(rows[0]).unsqueeze(0).to(self._device)
        first = rows[0]
        assert first is not None
        padded = np.zeros((len(rows), max(lengths), *first.shape[1:]), dtype=first.dtype)
        for row, (values, length) in enumerate(zip(rows, lengths, strict=True)):
            padded[row, :length] = values
        return torch.from_numpy(padded).to(self._device)


def _without(history: History, event: int) -> History:
    logits_L = None if history.logits_L is None else np.delete(history.logits_L, event)
    return History(np.delete(history.items_LD, event, axis=0), np.delete(history.types_L, event), logits_L)
