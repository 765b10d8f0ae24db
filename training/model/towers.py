"""The two towers: products and buyers as unit vectors of one space, whose inner product is the score.

Legend: N products, P buyers' prefixes, Z events of all prefixes, T text dimensions, D embedding dimensions.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feature_repo.common.arrays import Float32Array
from training.model.aggregators import AGGREGATORS
from training.model.prefixes import Prefixes
from training.model.spec import ModelSpec

UNKNOWN = 0  # index of <UNK> in every vocabulary
WHITENING_FLOOR = 0.1  # of the mean variance, added to each direction's: noise is not blown up


class ItemTower(nn.Module):
    """[text, brand, category, price] -> hidden -> D, plus the text itself and the product's own vector; unit length.

    The text and the own vector are residuals: a product starts as its (whitened) text, the projection learns what to
    make of text and attributes, and the own vector what neither says. A product without history has no own vector.
    """

    text_mean: Tensor
    text_transform: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the layers; a part that the spec leaves out has no parameters."""
        super().__init__()
        self._id_dropout = spec.id_dropout
        self.brand = nn.Embedding(spec.n_brands, spec.categorical_dim) if spec.n_brands else None
        self.category = nn.Embedding(spec.n_categories, spec.categorical_dim) if spec.n_categories else None
        self.price = nn.Embedding(spec.n_prices, spec.categorical_dim) if spec.n_prices else None
        n_categorical = sum(part is not None for part in (self.brand, self.category, self.price))
        self.projection = nn.Sequential(
            nn.Linear(spec.text_dim + n_categorical * spec.categorical_dim, spec.hidden_dim),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.hidden_dim, spec.embedding_dim),
        )
        self._text_residual = spec.text_residual
        if spec.text_residual:
            self.register_buffer("text_mean", torch.zeros(spec.text_dim))
            self.register_buffer("text_transform", torch.eye(spec.text_dim))
        # Starts at zero: a product is its text until its own history says more. Index 0 stays there for all others.
        self.identity = nn.Embedding(spec.n_ids, spec.embedding_dim, padding_idx=UNKNOWN) if spec.n_ids else None
        if self.identity is not None:
            nn.init.zeros_(self.identity.weight)

    def whiten(self, text_NT: Float32Array) -> None:
        """Sets the transform of the residual's text from a catalogue's text vectors; nothing without a residual.

        Sentence encoders put all texts into a narrow cone, where every cosine is high. Centred and whitened (Su et al.
        2021, Whitening Sentence Representations), texts of different products stand apart from the first step on.
        """
        if not self._text_residual:
            return
        mean_T = text_NT.mean(axis=0)
        centred_NT = text_NT - mean_T
        variance_T, direction_TT = np.linalg.eigh(centred_NT.T @ centred_NT / len(text_NT))
        scale_T = (variance_T.clip(min=0) + WHITENING_FLOOR * variance_T.mean() + 1e-12) ** -0.5
        self.text_mean.copy_(torch.from_numpy(mean_T))
        self.text_transform.copy_(torch.from_numpy((direction_TT * scale_T) @ direction_TT.T))

    def forward(self, text_NT: Tensor, brand_N: Tensor, category_N: Tensor, price_N: Tensor, id_N: Tensor) -> Tensor:
        """Product vectors, (N, D), of unit length."""
        text_NT = self._read(text_NT)
        parts = [text_NT]
        for table, index_N in ((self.brand, brand_N), (self.category, category_N), (self.price, price_N)):
            if table is not None:
                parts.append(table(index_N))
        item_ND: Tensor = self.projection(torch.cat(parts, dim=-1))
        if self._text_residual:
            item_ND = item_ND + text_NT
        if self.identity is not None:
            item_ND = item_ND + self._own(id_N)
        return F.normalize(item_ND, dim=-1)

    def _read(self, text_NT: Tensor) -> Tensor:
        if not self._text_residual:
            return text_NT
        return F.normalize((text_NT - self.text_mean) @ self.text_transform, dim=-1)

    def _own(self, id_N: Tensor) -> Tensor:
        """The products' own vectors; in training some are left out, so that text alone must serve too."""
        assert self.identity is not None
        if self.training and self._id_dropout:
            id_N = id_N.masked_fill(torch.rand(id_N.shape, device=id_N.device) < self._id_dropout, UNKNOWN)
        # embedding() is indexing whose gradient is several times faster on a CPU.
        own_ND: Tensor = self.identity(id_N)
        return own_ND


class BuyerTower(nn.Module):
    """A history's product vectors -> one unit vector; an empty history has a learned vector of its own.

    An aggregator with `adds_prior` has that vector added to every history's: what most buyers like is then learned
    once, a short history moves little away from it, and an empty one is no special case.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the aggregator that the spec names."""
        super().__init__()
        self.aggregate = AGGREGATORS[spec.aggregation](spec)
        self.empty = nn.Parameter(torch.randn(spec.embedding_dim) / spec.embedding_dim**0.5)
        self.event_weights = spec.event_weights

    @property
    def adds_prior(self) -> bool:
        """Whether `empty` is added to every history's vector."""
        return bool(getattr(self.aggregate, "adds_prior", False))

    def forward(self, items_UD: Tensor, prefixes: Prefixes) -> Tensor:
        """Buyer vectors, (P, D), of unit length.

        Args:
            items_UD: Product vectors.
            prefixes: Histories, whose items are rows of items_UD.
        """
        if 0 in self.event_weights:
            weight_by_type = torch.tensor(self.event_weights, device=items_UD.device)
            prefixes = prefixes.where(weight_by_type[prefixes.types_Z] > 0)
        joined_PD: Tensor = self.aggregate(items_UD, prefixes)
        if self.adds_prior:
            joined_PD = joined_PD + self.empty
        else:
            joined_PD = torch.where(prefixes.lengths[:, None] > 0, joined_PD, self.empty)
        return F.normalize(joined_PD, dim=-1)


class TwoTower(nn.Module):
    """Both towers, and the temperature that turns their inner products into logits."""

    def __init__(self, spec: ModelSpec) -> None:
        """Builds both towers."""
        super().__init__()
        self.spec = spec
        self.item_tower = ItemTower(spec)
        self.buyer_tower = BuyerTower(spec)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(spec.temperature)), requires_grad=spec.learn_temperature
        )
