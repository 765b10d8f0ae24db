"""The two towers: they map products and buyers to unit vectors of one space, whose inner product is the similarity.

Legend: N products, P buyers' prefixes, Z events of all prefixes, U products that these refer to, T text dimensions,
D embedding dimensions.
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
# A product without an id embedding takes this share of its vector from those that have one (encoding.borrow). In what
# it takes, the mean of all of them weighs half as much as the nearest ones. On Amazon Beauty, recall of such products
# rises by two thirds, and recall of the others falls by 2 to 4% (ADR 0024).
BORROWED, BORROWED_MEAN = 0.25, 0.5
WHITENING_FLOOR = 0.1  # share of the mean variance added to every direction, so that noise is not amplified


class ItemTower(nn.Module):
    """[text, brand, category, price] -> hidden -> D, plus the text vector and an id embedding; unit length.

    Text vector and id embedding are residual connections. At the start of training a product is its (whitened) text
    vector. The projection learns from text and attributes, and the id embedding learns what they do not contain. A
    product without training events has no id embedding.
    """

    text_mean: Tensor
    text_transform: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the layers; a part that the spec switches off has no parameters."""
        super().__init__()
        self._id_dropout = spec.id_dropout
        self.brand = nn.Embedding(spec.n_brands, spec.categorical_dim) if spec.n_brands else None
        self.category = nn.Embedding(spec.n_categories, spec.categorical_dim) if spec.n_categories else None
        self.price = nn.Embedding(spec.n_prices, spec.categorical_dim) if spec.n_prices else None
        n_categorical = sum(part is not None for part in (self.brand, self.category, self.price))
        text_dim = spec.embedding_dim if spec.text_residual else spec.text_dim
        self.projection = nn.Sequential(
            nn.Linear(text_dim + n_categorical * spec.categorical_dim, spec.hidden_dim),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.hidden_dim, spec.embedding_dim),
        )
        self._text_residual = spec.text_residual
        # Buffers, because whitening is fitted to the catalogue once and saved with the weights.
        if spec.text_residual:
            self.register_buffer("text_mean", torch.zeros(spec.text_dim))
            self.register_buffer("text_transform", torch.eye(spec.text_dim, spec.embedding_dim))
        # Id embeddings start at zero, so that a product is its text until its events say more. Index 0 stays at zero.
        self.identity = nn.Embedding(spec.n_ids, spec.embedding_dim, padding_idx=UNKNOWN) if spec.n_ids else None
        if self.identity is not None:
            nn.init.zeros_(self.identity.weight)

    def whiten(self, text_NT: Float32Array) -> None:
        """Fits the whitening of text vectors to a catalogue; does nothing without a text residual.

        Sentence encoders map all texts into a narrow cone, where every cosine is high. Whitening (Su et al. 2021,
        https://arxiv.org/abs/2103.15316) makes the vectors of different products distinct from the first step on. Of
        texts with more than D dimensions, the D directions in which the products differ most remain (the paper's
        Whitening-k); texts with fewer get zeros.
        """
        if not self._text_residual:
            return
        mean_T = text_NT.mean(axis=0)
        centred_NT = text_NT - mean_T
        # The covariance is symmetric. eigh is made for that and returns orthogonal directions.
        variance_T, direction_TT = np.linalg.eigh(centred_NT.T @ centred_NT / len(text_NT))
        # Rounding can make a variance of 0 slightly negative. 1e-12 is for a catalogue in which all texts are equal.
        scale_T = (variance_T.clip(min=0) + WHITENING_FLOOR * variance_T.mean() + 1e-12) ** -0.5
        self.text_mean.copy_(torch.from_numpy(mean_T))
        n_dims = self.text_transform.shape[1]
        transform_TT = direction_TT * scale_T
        if len(mean_T) <= n_dims:  # back to the encoder's own axes, so that a whitened vector is near its text's
            transform_TT = transform_TT @ direction_TT.T
        # eigh sorts by variance, the largest last.
        kept_TK = transform_TT[:, -n_dims:]
        self.text_transform.zero_()
        self.text_transform[:, : kept_TK.shape[1]] = torch.from_numpy(kept_TK)

    def forward(self, text_NT: Tensor, brand_N: Tensor, category_N: Tensor, price_N: Tensor, id_N: Tensor) -> Tensor:
        """(N, D) product vectors of unit length."""
        item_ND, text_ND = self.content(text_NT, brand_N, category_N, price_N)
        if text_ND is not None:
            item_ND = item_ND + text_ND
        if self.identity is not None:
            item_ND = item_ND + self._id_embedding(id_N)
        return F.normalize(item_ND, dim=-1)

    def content(
        self, text_NT: Tensor, brand_N: Tensor, category_N: Tensor, price_N: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What a product is apart from its id: two vectors, (N, D) each, that the tower adds up.

        Returns:
            The projection of text and attributes, and the (whitened) text vectors; None if the tower adds no text.
        """
        text_NT = self._whitened(text_NT)
        inputs = [text_NT]
        for table, index_N in ((self.brand, brand_N), (self.category, category_N), (self.price, price_N)):
            if table is not None:
                inputs.append(table(index_N))
        projected_ND: Tensor = self.projection(torch.cat(inputs, dim=-1))
        return projected_ND, text_NT if self._text_residual else None

    def _whitened(self, text_NT: Tensor) -> Tensor:
        if not self._text_residual:
            return text_NT
        return F.normalize((text_NT - self.text_mean) @ self.text_transform, dim=-1)

    def _id_embedding(self, id_N: Tensor) -> Tensor:
        """(N, D) id embeddings; training drops some, so that the model also learns to rely on text alone."""
        assert self.identity is not None
        if self.training and self._id_dropout:
            id_N = id_N.masked_fill(torch.rand(id_N.shape, device=id_N.device) < self._id_dropout, UNKNOWN)
        # embedding() is indexing whose gradient is several times faster on a CPU.
        embedding_ND: Tensor = self.identity(id_N)
        return embedding_ND


class BuyerTower(nn.Module):
    """Maps the product vectors of a history to one unit vector; an empty history gets a learned vector.

    With an aggregator that has `adds_prior`, this learned vector is added to every history. It then represents what
    most buyers like, a short history stays close to it, and an empty history is no special case.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the aggregator that the spec names."""
        super().__init__()
        self.aggregate = AGGREGATORS[spec.aggregation](spec)
        # About unit length, like the vectors that it is added to.
        self.empty = nn.Parameter(torch.randn(spec.embedding_dim) / spec.embedding_dim**0.5)
        self.event_weights = spec.event_weights

    @property
    def adds_prior(self) -> bool:
        """Whether `empty` is added to the vector of every history."""
        return bool(getattr(self.aggregate, "adds_prior", False))

    def forward(self, items_UD: Tensor, prefixes: Prefixes) -> Tensor:
        """(P, D) buyer vectors of unit length.

        Args:
            items_UD: Product vectors.
            prefixes: Histories; their items are rows of items_UD.
        """
        # An event of weight 0 is dropped, not only weighted 0: a history of such events alone counts as empty.
        if 0 in self.event_weights:
            weight_by_type = torch.tensor(self.event_weights, device=items_UD.device)
            prefixes = prefixes.where(weight_by_type[prefixes.types_Z] > 0)
        pooled_PD: Tensor = self.aggregate(items_UD, prefixes)
        if self.adds_prior:
            pooled_PD = pooled_PD + self.empty
        else:
            pooled_PD = torch.where(prefixes.lengths[:, None] > 0, pooled_PD, self.empty)
        return F.normalize(pooled_PD, dim=-1)


class TwoTower(nn.Module):
    """Both towers, and the temperature of the training loss."""

    def __init__(self, spec: ModelSpec) -> None:
        """Builds both towers."""
        super().__init__()
        self.spec = spec
        self.item_tower = ItemTower(spec)
        self.buyer_tower = BuyerTower(spec)
        # The logarithm, so that a gradient step cannot make the temperature negative.
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(spec.temperature)), requires_grad=spec.learn_temperature
        )
