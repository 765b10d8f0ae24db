"""Encoding with a trained model: whole catalogues, many buyers; and the model as a ranker for evaluation.

Legend: N products, B buyers, L events, D dimensions.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.catalogue import ItemFeatures
from training.histories import UNKNOWN_PRODUCT, Histories
from training.towers import BuyerTower, TwoTower


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one; any other name is taken as it is.

    Raises:
        ValueError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"inference.device is {name}, which this machine does not have; use auto or cpu")
    return torch.device(name)


@torch.inference_mode()
def encode_catalogue(
    model: TwoTower, items: ItemFeatures, batch_size: int = 4096, *, show_progress: bool = False
) -> Tensor:
    """Vectors of all products, (N, D), on the device of `items`; dropout is off."""
    model.eval()
    starts = range(0, len(items), batch_size)
    bar = tqdm(starts, desc="products", unit="batch", disable=not show_progress)
    return torch.cat([items.encode(model.item_tower, slice(start, start + batch_size)) for start in bar])


def encode_histories(tower: BuyerTower, item_ND: Tensor, histories: Histories) -> Tensor:
    """Vectors of B buyers, (B, D), from the products of their histories; gradients flow where they are on."""
    products_BL, types_BL = (torch.from_numpy(part).to(item_ND.device) for part in histories.padded())
    mask_BL = products_BL != UNKNOWN_PRODUCT
    # embedding() is indexing whose gradient is several times faster on a CPU.
    items_BLD = F.embedding(products_BL.clamp_min(0), item_ND)
    vectors: Tensor = tower(items_BLD, types_BL, mask_BL)
    return vectors


@torch.inference_mode()
def encode_buyers(model: TwoTower, item_ND: Tensor, histories: Histories, batch_size: int = 512) -> Tensor:
    """Vectors of all histories, (B, D); dropout is off."""
    model.eval()
    rows = np.arange(len(histories))
    parts = [
        encode_histories(model.buyer_tower, item_ND, histories.take(rows[start : start + batch_size]))
        for start in range(0, len(histories), batch_size)
    ]
    return torch.cat(parts)


class TwoTowerRanker:
    """The model as evaluation sees it: buyer code b is row b of the encoded buyers."""

    name = "two_tower"

    def __init__(self, buyer_BD: Tensor, item_ND: Tensor) -> None:
        """Takes the vectors of the buyers to rank for and of all products."""
        self._buyer_BD = buyer_BD
        self._item_ND = item_ND

    def scores(self, buyers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Inner products, (B, N)."""
        scores_BN: npt.NDArray[np.float32] = (self._buyer_BD[buyers.astype(np.int64)] @ self._item_ND.T).cpu().numpy()
        return scores_BN
