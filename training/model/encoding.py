"""Encodes catalogues and buyers with a trained model, and wraps the model as a ranker for evaluation.

Legend: N products, M products with an id embedding, R products without one, B buyers, K nearest, L products of a
history, P some products, D dimensions.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from feature_repo.console.progress import progress_bar
from training.data.contexts import Contexts
from training.data.histories import Histories
from training.model.item_features import ItemFeatures
from training.model.prefixes import prefixes_of
from training.model.towers import BORROWED, BORROWED_MEAN, UNKNOWN, TwoTower

NEIGHBOURS = 20  # that a product without an id embedding borrows from
ROWS_AT_ONCE = 1024  # products compared with all others at once; 400 MB with 100,000 products
BUYERS_PER_BATCH = 512


@torch.inference_mode()
def encode_catalogue(
    model: TwoTower, items: ItemFeatures, batch_size: int = 4096, *, show_progress: bool = False
) -> Tensor:
    """(N, D) vectors of all products, on the device of `items`; switches the model to evaluation mode.

    If the model has id embeddings, products without one borrow from neighbours that have one.
    """
    item_ND = encode_items(model, items, batch_size, show_progress=show_progress)
    known_N = items.id_N != UNKNOWN
    if borrows(model) and known_N.any() and not known_N.all():
        known = items.take(known_N)
        lenders = [Lenders(encode_items(model, known.without_ids(), batch_size), known.id_N)]
        mean_D = item_ND[known_N].mean(dim=0)
        for places in torch.split(torch.nonzero(~known_N).squeeze(1), ROWS_AT_ONCE):
            item_ND[places] = borrow(model, item_ND[places], lenders, mean_D)
    return item_ND


@torch.inference_mode()
def encode_items(
    model: TwoTower, items: ItemFeatures, batch_size: int = 4096, *, show_progress: bool = False
) -> Tensor:
    """(N, D) vectors of the item tower alone, on the device of `items`; switches the model to evaluation mode."""
    model.eval()
    starts = range(0, len(items), batch_size)
    bar = progress_bar(starts, total=len(starts), title="Encoding products", unit="batch", shown=show_progress)
    return torch.cat([items.encode(model.item_tower, slice(start, start + batch_size)) for start in bar])


def borrows(model: TwoTower) -> bool:
    """Whether products without an id embedding borrow from others.

    Without id embeddings all products are alike, and none ranks behind the others for lack of one.
    """
    return model.item_tower.identity is not None


class Lenders(NamedTuple):
    """Products from which those without an id embedding borrow.

    Attributes:
        content_MD: Their vectors as they would be without their id embeddings.
        id_M: The indices of their id embeddings.
    """

    content_MD: Tensor
    id_M: Tensor


@torch.inference_mode()
def borrow(model: TwoTower, rows_RD: Tensor, lenders: Iterable[Lenders], mean_D: Tensor) -> Tensor:
    """Adds to products without an id embedding, (R, D), what those of similar content have beside their content.

    That is the mean id embedding of the nearest products by content. With it, products move towards the mean of all
    products that have an id embedding: buyer vectors are sums of such products and lie among these, and a product that
    consists of its content alone would rank behind all of them.

    Args:
        model: Has the id embeddings.
        rows_RD: Vectors of the item tower; R at most ROWS_AT_ONCE, because each is compared with a whole block.
        lenders: The products that have an id embedding, in blocks, so that they need not be in memory together.
        mean_D: The mean vector of these products.
    """
    assert model.item_tower.identity is not None
    scores_RK, id_RK = rows_RD.new_empty(len(rows_RD), 0), torch.empty_like(rows_RD[:, :0], dtype=torch.int64)
    for content_MD, id_M in lenders:
        top = (rows_RD @ content_MD.T).topk(min(NEIGHBOURS, len(content_MD)), dim=1)
        scores_RK = torch.cat([scores_RK, top.values], dim=1)
        id_RK = torch.cat([id_RK, id_M[top.indices]], dim=1)
        if scores_RK.shape[1] > NEIGHBOURS:
            scores_RK, places_RK = scores_RK.topk(NEIGHBOURS, dim=1)
            id_RK = id_RK.gather(1, places_RK)
    if scores_RK.shape[1] == 0:
        return rows_RD
    lent_RD = F.normalize(model.item_tower.identity(id_RK).mean(dim=1), dim=-1)
    lent_RD = F.normalize(lent_RD + BORROWED_MEAN * F.normalize(mean_D, dim=0), dim=-1)
    return F.normalize((1 - BORROWED) * rows_RD + BORROWED * lent_RD, dim=-1)


@torch.inference_mode()
def nearest_products(item_ND: Tensor, n_nearest: int) -> Int32Array:
    """(N, n_nearest) positions of the products most similar to each product, itself excluded; fewer if N is small."""
    n_nearest = min(n_nearest + 1, len(item_ND))
    rows = [(chunk_MD @ item_ND.T).topk(n_nearest).indices[:, 1:] for chunk_MD in torch.split(item_ND, ROWS_AT_ONCE)]
    return torch.cat(rows).cpu().numpy().astype(np.int32)


@torch.inference_mode()
def encode_buyers(model: TwoTower, item_ND: Tensor, contexts: Contexts) -> Tensor:
    """(B, D) vectors of the contexts' buyers, on the device of `item_ND`; switches the model to evaluation mode."""
    model.eval()
    # torch.cat needs a tensor even if there is no context.
    chunks = [item_ND.new_empty(0, item_ND.shape[1])]
    for start in range(0, len(contexts), BUYERS_PER_BATCH):
        rows = slice(start, start + BUYERS_PER_BATCH)
        prefixes = prefixes_of(contexts.timelines, contexts.starts[rows], contexts.ends[rows])
        chunks.append(model.buyer_tower(item_ND, prefixes.to(item_ND.device)))
    return torch.cat(chunks)


class TwoTowerRanker:
    """The model without its re-scorer as a ranker; row b is the b-th encoded buyer."""

    def __init__(self, buyer_BD: Tensor, item_ND: Tensor, name: str = "two_tower") -> None:
        """Keeps the vectors of the encoded buyers, (B, D), and of all products, (N, D)."""
        self.name = name
        self._buyer_BD = buyer_BD
        self._item_ND = item_ND

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) inner products."""
        scores_BN: Float32Array = (self._buyer_BD[rows.astype(np.int64)] @ self._item_ND.T).cpu().numpy()
        return scores_BN


class Closeness:
    """The highest inner product of products with one product of a history (see artifacts.scoring.rescorer)."""

    def __init__(self, item_ND: Tensor, histories: Histories) -> None:
        """Keeps the vectors of all products, (N, D), and the histories of the rows, of known products."""
        self._item_ND = item_ND
        self._histories = histories

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) of all products; zeros for an empty history."""
        everything = np.arange(len(self._item_ND))
        return np.stack([self._closest(row, everything, self._item_ND) for row in rows.tolist()])

    def of(self, rows: Int32Array, products_BP: Int64Array) -> Float32Array:
        """(B, P) of some products of each row."""
        pairs = zip(rows.tolist(), products_BP, strict=True)
        return np.stack([self._closest(row, products_P, self._item_ND[products_P]) for row, products_P in pairs])

    def _closest(self, row: int, products_P: Int64Array, item_PD: Tensor) -> Float32Array:
        start, stop = self._histories.offsets[row : row + 2]
        own_L = np.unique(self._histories.products[start:stop]).astype(np.int64)
        if len(own_L) == 0:
            return np.zeros(len(products_P), dtype=np.float32)
        similarity_LP: Float32Array = (self._item_ND[own_L] @ item_PD.T).cpu().numpy()
        # A product is near to the others of the history, not to itself.
        similarity_LP[own_L[:, None] == products_P] = 0
        # Not below 0, which is what a product outside of the pool has.
        closest_P: Float32Array = similarity_LP.max(axis=0).clip(min=0)
        return closest_P
