"""Encoding with a trained model: whole catalogues, many buyers; and the model as a ranker for evaluation.

Legend: N products, B buyers, D dimensions.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from training.catalogue import ItemFeatures
from training.dataset import Contexts
from training.prefixes import prefixes_of
from training.towers import TwoTower


@torch.inference_mode()
def encode_catalogue(
    model: TwoTower, items: ItemFeatures, batch_size: int = 4096, *, show_progress: bool = False
) -> Tensor:
    """Vectors of all products, (N, D), on the device of `items`; dropout is off."""
    model.eval()
    starts = range(0, len(items), batch_size)
    bar = tqdm(starts, desc="products", unit="batch", disable=not show_progress)
    return torch.cat([items.encode(model.item_tower, slice(start, start + batch_size)) for start in bar])


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

    def scores(self, rows: npt.NDArray[np.int32], /) -> npt.NDArray[np.float32]:
        """Inner products, (B, N)."""
        scores_BN: npt.NDArray[np.float32] = (self._buyer_BD[rows.astype(np.int64)] @ self._item_ND.T).cpu().numpy()
        return scores_BN
