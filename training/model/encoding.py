"""Encoding with a trained model: whole catalogues, many buyers; and the model as a ranker for evaluation.

Legend: N products, B buyers, D dimensions.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from feature_repo.common.arrays import Float32Array, Int32Array
from training.data.contexts import Contexts
from training.model.item_features import ItemFeatures
from training.model.prefixes import prefixes_of
from training.model.towers import UNKNOWN, TwoTower

# Of a product without a vector of its own, this share comes from so many neighbours: of Amazon Beauty's held-out
# products two thirds more are found, and of the others 3% fewer (ADR 0005).
BORROWED, NEIGHBOURS = 0.2, 5
ROWS_AT_ONCE = 1024  # bounds what is compared at once: 400 MB with 100,000 known products


@torch.inference_mode()
def encode_catalogue(
    model: TwoTower, items: ItemFeatures, batch_size: int = 4096, *, show_progress: bool = False
) -> Tensor:
    """Vectors of all products, (N, D), on the device of `items`; dropout is off.

    Where products have vectors of their own, those without one borrow from their neighbours that have.
    """
    model.eval()
    starts = range(0, len(items), batch_size)
    bar = tqdm(starts, desc="products", unit="batch", disable=not show_progress)
    item_ND = torch.cat([items.encode(model.item_tower, slice(start, start + batch_size)) for start in bar])
    if model.item_tower.identity is not None:
        item_ND = _borrowed(item_ND, items.id_N != UNKNOWN)
    return item_ND


def _borrowed(item_ND: Tensor, known_N: Tensor) -> Tensor:
    """Each unknown product drawn towards the mean of the known ones nearest to it.

    Buyers' vectors are sums of known products and lie among these; a product that is its text alone lies apart, and
    would rank behind all of them.
    """
    known_MD = item_ND[known_N]
    if len(known_MD) == 0:
        return item_ND
    drawn_ND = item_ND.clone()
    for places in torch.split(torch.nonzero(~known_N).squeeze(1), ROWS_AT_ONCE):
        nearest = (item_ND[places] @ known_MD.T).topk(min(NEIGHBOURS, len(known_MD)), dim=1).indices
        lent_D = F.normalize(known_MD[nearest].mean(dim=1), dim=-1)
        drawn_ND[places] = F.normalize((1 - BORROWED) * item_ND[places] + BORROWED * lent_D, dim=-1)
    return drawn_ND


@torch.inference_mode()
def nearest_products(item_ND: Tensor, n_nearest: int) -> Int32Array:
    """(N, n_nearest) positions of the products most similar to each product, itself excluded; fewer if N is small."""
    n_nearest = min(n_nearest + 1, len(item_ND))
    rows = [(chunk_MD @ item_ND.T).topk(n_nearest).indices[:, 1:] for chunk_MD in torch.split(item_ND, ROWS_AT_ONCE)]
    return torch.cat(rows).cpu().numpy().astype(np.int32)


@torch.inference_mode()
def encode_buyers(model: TwoTower, item_ND: Tensor, contexts: Contexts, batch_size: int = 512) -> Tensor:
    """Vectors of the contexts' buyers, (B, D), on the device of `item_ND`; dropout is off."""
    model.eval()
    parts = [item_ND.new_empty(0, item_ND.shape[1])]
    for start in range(0, len(contexts), batch_size):
        rows = slice(start, start + batch_size)
        prefixes = prefixes_of(contexts.timelines, contexts.starts[rows], contexts.ends[rows])
        parts.append(model.buyer_tower(item_ND, prefixes.to(item_ND.device)))
    return torch.cat(parts)


class TwoTowerRanker:
    """The model as evaluation sees it: row b is row b of the encoded buyers."""

    def __init__(self, buyer_BD: Tensor, item_ND: Tensor, name: str = "two_tower") -> None:
        """Takes the vectors of the buyers to rank for and of all products."""
        self.name = name
        self._buyer_BD = buyer_BD
        self._item_ND = item_ND

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """Inner products, (B, N)."""
        scores_BN: Float32Array = (self._buyer_BD[rows.astype(np.int64)] @ self._item_ND.T).cpu().numpy()
        return scores_BN
