"""The embedding job: every product becomes a vector.

It reads the catalogue, encodes it and writes the vectors block by block, so that its memory does not grow with them.

Legend: N products, P products of a block, M products with an id embedding, D dimensions.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from batch_jobs.encode_texts import encode_texts
from expectations.gate import require_passed
from expectations.records import FEATURE_STAGE
from feature_repo.common.arrays import TextArray
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.console.progress import progress_bar
from training.artifacts.embeddings import save_embedding_blocks
from training.artifacts.lineage import record_source
from training.artifacts.model import WEIGHTS, load_model
from training.data.catalogue import CatalogueTexts, count_products, read_catalogue_blocks, read_product_id_blocks
from training.device import resolve_device
from training.model.encoding import ROWS_AT_ONCE, Lenders, borrow, borrows, encode_items
from training.model.item_features import ItemFeatures, Vocabularies, item_features
from training.model.towers import UNKNOWN, TwoTower
from training.text.catalogue_text import model_text_cache
from training.text.vector_cache import TextVectorCache

PRODUCTS_AT_ONCE = 65_536  # products in memory at once; 100 MB of text vectors, and as much of product vectors


def embed_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Encodes all products with the trained item tower.

    Raises:
        GateRefusedError: The features have not passed the data gate.
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    n_products = count_products(paths.product_features)
    require_passed(paths, FEATURE_STAGE)
    model, vocabularies, card = load_model(paths.model)
    encode_texts(config, paths.model)
    cache = model_text_cache(config, CatalogueTexts(paths.product_features), card, show_progress=show_progress)
    device = resolve_device(config.inference.device)
    tower = ItemEncoder(
        paths.product_features, cache, vocabularies, model.to(device), device, config.inference.batch_size
    )
    write_embeddings(paths.embeddings, tower, show_progress=show_progress)
    # Last: a crash before it leaves vectors that later jobs refuse instead of vectors of the wrong model.
    record_source(paths.embeddings, paths.model / WEIGHTS)
    return {"n_products": n_products, "dim": model.spec.embedding_dim}


@dataclass(frozen=True)
class ItemEncoder:
    """The item tower with all that it reads of the products.

    Attributes:
        product_features: The catalogue.
        cache: Has the vectors of all its texts.
        vocabularies: Those of the model.
        model: On `device`.
        device: Where products are encoded.
        batch_size: Products at once.
    """

    product_features: Path
    cache: TextVectorCache
    vocabularies: Vocabularies
    model: TwoTower
    device: torch.device
    batch_size: int

    def blocks(self) -> Iterator[ItemFeatures]:
        """The catalogue block by block, on the device."""
        for catalogue in read_catalogue_blocks(self.product_features, PRODUCTS_AT_ONCE):
            text_PT = self.cache.read(catalogue.texts)
            yield item_features(catalogue, text_PT, self.vocabularies).to(self.device)

    def encode(self, items: ItemFeatures) -> Tensor:
        """The tower's vectors of some products, (P, D)."""
        return encode_items(self.model, items, self.batch_size)


def write_embeddings(folder: Path, tower: ItemEncoder, *, show_progress: bool = False) -> None:
    """Encodes all products and writes their vectors with their ids, block by block."""
    shape = (count_products(tower.product_features), tower.model.spec.embedding_dim)
    folder.mkdir(parents=True, exist_ok=True)
    # Without a name, so that a killed run leaves no file.
    with tempfile.TemporaryFile(dir=folder) as known_file:
        known = _KnownProducts(known_file, shape[1])
        blocks = _borrowing(tower, known) if borrows(tower.model) else map(tower.encode, tower.blocks())
        n_blocks = -(-shape[0] // PRODUCTS_AT_ONCE)
        bar = progress_bar(blocks, total=n_blocks, title="Embedding products", unit="block", shown=show_progress)
        vectors = (vectors_PD.cpu().numpy() for vectors_PD in bar)
        width = max((ids_P.dtype.itemsize // 4 for ids_P in _id_blocks(tower)), default=0)
        save_embedding_blocks(folder, shape, vectors, _id_blocks(tower), width=width)


class _KnownProducts:
    """The products that have an id embedding, in a file, read block by block as often as needed."""

    def __init__(self, file: IO[bytes], dim: int) -> None:
        self._file, self._dim = file, dim
        self._id_blocks: list[Tensor] = []
        self._sum_D = torch.zeros(dim, dtype=torch.float64)

    def mean(self) -> Tensor:
        """The mean vector of the products, (D,); zeros if there are none."""
        return (self._sum_D / max(1, sum(map(len, self._id_blocks)))).float()

    def add(self, tower: ItemEncoder, items: ItemFeatures) -> None:
        """Appends the products of a block that have an id embedding."""
        items = items.take(items.id_N != UNKNOWN)
        if len(items):
            self._sum_D += tower.encode(items).sum(dim=0).cpu()
            self._file.write(np.ascontiguousarray(tower.encode(items.without_ids()).cpu().numpy()).data)
            self._id_blocks.append(items.id_N)

    def lenders(self, device: torch.device) -> Iterator[Lenders]:
        """All products, in blocks on a device."""
        self._file.seek(0)
        for id_M in self._id_blocks:
            content = self._file.read(len(id_M) * self._dim * 4)
            yield Lenders(
                torch.frombuffer(bytearray(content), dtype=torch.float32).view(-1, self._dim).to(device), id_M
            )


def _borrowing(tower: ItemEncoder, known: _KnownProducts) -> Iterator[Tensor]:
    """The vectors block by block; products without an id embedding have borrowed from those that have one."""
    # Several times through the tower, which costs less than keeping all vectors in between.
    for items in tower.blocks():
        known.add(tower, items)
    mean_D = known.mean().to(tower.device)
    for items in tower.blocks():
        vectors_PD = tower.encode(items)
        for places in torch.split(torch.nonzero(items.id_N == UNKNOWN).squeeze(1), ROWS_AT_ONCE):
            if len(places) == 0:  # split makes one empty part of nothing
                continue
            moved_RD = borrow(tower.model, vectors_PD[places], known.lenders(tower.device), mean_D)
            # In place, which tensors of inference mode allow in that mode only: the block has 100 MB.
            with torch.inference_mode():
                vectors_PD[places] = moved_RD
        yield vectors_PD


def _id_blocks(tower: ItemEncoder) -> Iterator[TextArray]:
    return read_product_id_blocks(tower.product_features, PRODUCTS_AT_ONCE)
