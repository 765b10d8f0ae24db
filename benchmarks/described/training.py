"""Training as in the system that Tawsiya replaces, written from its description, to compare the speed.

The described system has a frozen text encoder and does not store its vectors, so every step encodes the text of each
event of each history (in one call), of each positive and of each random negative. A text that occurs twice in a batch
is encoded twice. The item tower (text -> 256 -> 384) and the buyer tower (attention) train on top with InfoNCE over the
batch's positives and four random negatives per pair, with Adam.

Two parts are left out, which makes it a little faster: brand and category vectors, and event weights (they would scale
the attention). The encoder is the product's own, with its number format, its sorting by length and its device, so that
the two differ in which texts they encode and not in how.

Legend: B pairs, L events of a history, E events of all histories, R random negatives per pair, T text dimensions,
D embedding dimensions.
"""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.text.encoder import TextEncoder

EMBEDDING_DIM = 384
HIDDEN_DIM = 256
ATTENTION_HIDDEN_DIM = 128
DROPOUT = 0.1
MAX_HISTORY = 100
NEGATIVES_PER_PAIR = 4
TEMPERATURE = 0.07
LEARNING_RATE = 0.001

WARM_UP_PAIRS = 2


class ItemTower(nn.Module):
    """Text vector -> hidden -> D with ReLU and dropout; unit length."""

    def __init__(self, text_dim: int) -> None:
        """Makes the layers for text vectors of T dimensions, with random weights."""
        super().__init__()
        self.projection = nn.Sequential(
            nn.Linear(text_dim, HIDDEN_DIM), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN_DIM, EMBEDDING_DIM)
        )

    def forward(self, text_NT: Tensor) -> Tensor:
        """(N, T) -> (N, D)."""
        return F.normalize(self.projection(text_NT), dim=-1)


class BuyerTower(nn.Module):
    """Attention over a history's product vectors; unit length, and zeros for an empty history."""

    def __init__(self) -> None:
        """Makes the network that scores each event, with random weights."""
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(EMBEDDING_DIM, ATTENTION_HIDDEN_DIM), nn.Tanh(), nn.Linear(ATTENTION_HIDDEN_DIM, 1)
        )

    def forward(self, items_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, L, D), and True where there is an event; vectors elsewhere must be zeros -> (B, D)."""
        # A finite number, not -inf, which would give NaN for a history without events.
        score_BL = self.score(items_BLD).squeeze(-1).masked_fill(~mask_BL, torch.finfo(items_BLD.dtype).min)
        return F.normalize(torch.einsum("bl,bld->bd", score_BL.softmax(dim=1), items_BLD), dim=-1)


class DescribedTraining:
    """The towers, their optimizer and the step."""

    def __init__(self, texts: Sequence[str], encoder: TextEncoder, seed: int) -> None:
        """Builds towers with random weights; `texts` has one text per product."""
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._texts = texts
        self._encoder = encoder
        self.item_tower = ItemTower(encoder.dimension).to(encoder.device)
        self.buyer_tower = BuyerTower().to(encoder.device)
        parameters = [*self.item_tower.parameters(), *self.buyer_tower.parameters()]
        self._optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

    def step(self, histories: Sequence[Sequence[int]], targets: Sequence[int]) -> float:
        """One optimizer step over B pairs; returns the loss.

        Args:
            histories: Products of each pair's history, oldest first; the last 100 count.
            targets: The product of each pair.
        """
        buyer_BD = self.buyer_tower(*self._history_items([history[-MAX_HISTORY:] for history in histories]))
        positive_BD = self._items(targets)
        negatives = self._rng.integers(0, len(self._texts), len(targets) * NEGATIVES_PER_PAIR)
        negative_BRD = self._items(negatives).view(len(targets), NEGATIVES_PER_PAIR, EMBEDDING_DIM)
        loss = info_nce(buyer_BD, positive_BD, negative_BRD)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.item()

    def _items(self, products: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """Product vectors, (N, D), from their texts."""
        text_NT = self._encoder.encode_passages([self._texts[product] for product in products])
        vectors_ND: Tensor = self.item_tower(torch.from_numpy(text_NT).to(self._encoder.device))
        return vectors_ND

    def _history_items(self, histories: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Product vectors of all histories, encoded in one call and padded with zeros, (B, L, D); and their mask."""
        item_ED = self._items([product for history in histories for product in history])
        lengths_B = torch.tensor([len(history) for history in histories], device=item_ED.device)
        width = max(1, *map(len, histories))
        mask_BL = torch.arange(width, device=item_ED.device) < lengths_B[:, None]
        items_BLD = item_ED.new_zeros(*mask_BL.shape, EMBEDDING_DIM)
        items_BLD[mask_BL] = item_ED
        return items_BLD, mask_BL


def info_nce(buyer_BD: Tensor, positive_BD: Tensor, negative_BRD: Tensor) -> Tensor:
    """Cross-entropy of each pair's product against the other pairs' products and its own random negatives."""
    in_batch_BB = buyer_BD @ positive_BD.T
    random_BR = torch.einsum("bd,brd->br", buyer_BD, negative_BRD)
    logits = torch.cat([in_batch_BB, random_BR], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def pairs_per_second(
    texts: list[str],
    histories: list[list[int]],
    targets: list[int],
    encoder: TextEncoder,
    *,
    batch_size: int,
    n_batches: int,
    seed: int,
) -> float:
    """Training pairs per second of the described system.

    Args:
        texts: One per product.
        histories: One per pair: positions in `texts`, oldest first; the last 100 count.
        targets: One per pair: the position of the product chosen after that history.
        encoder: The frozen text encoder.
        batch_size: Pairs per step.
        n_batches: Measured steps, after a warm-up step with two pairs.
        seed: Of the weights, the negatives and the choice of pairs, each of which is used once.

    Raises:
        ValueError: There are too few pairs, or histories and targets differ in number.
    """
    if len(histories) != len(targets):
        raise ValueError(f"each of the {len(targets)} targets needs a history, there are {len(histories)}")
    n_pairs = batch_size * n_batches
    if not 0 < n_pairs <= len(targets):
        raise ValueError(
            f"batch_size {batch_size} * n_batches {n_batches} must be at least 1 and at most the {len(targets)} pairs"
        )
    pairs = np.random.default_rng(seed).permutation(len(targets))[:n_pairs]
    training = DescribedTraining(texts, encoder, seed)

    def step(rows: npt.NDArray[np.int64]) -> None:
        training.step([histories[row] for row in rows], [targets[row] for row in rows])

    step(pairs[:WARM_UP_PAIRS])
    start = time.perf_counter()
    for rows in pairs.reshape(n_batches, batch_size):
        step(rows)  # returns the loss as a number, which waits for the GPU
    return n_pairs / (time.perf_counter() - start)
