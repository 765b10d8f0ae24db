"""The two towers: products and buyers as unit vectors of one space, whose inner product is the score.

Legend: N products, B buyers, L events of a history, T text dimensions, D embedding dimensions.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feature_repo.config import ModelConfig

UNKNOWN = 0  # index of <UNK> in every vocabulary


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a model, and so to read its weights.

    Attributes:
        n_brands, n_categories: Vocabulary sizes with <UNK> at index 0; both 0 without categorical features.
        n_ids: Products with a learned vector of their own, plus 1 for all others; 0 without such vectors.
        event_weights: Weight of each event-type code.
    """

    text_dim: int
    embedding_dim: int
    hidden_dim: int
    categorical_dim: int
    dropout: float
    n_brands: int
    n_categories: int
    n_ids: int
    aggregation: str
    attention_hidden_dim: int
    event_weights: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"event_weights": list(self.event_weights)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ModelSpec":
        """The inverse of as_json."""
        return cls(**(content | {"event_weights": tuple(content["event_weights"])}))

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        text_dim: int,
        n_brands: int,
        n_categories: int,
        n_ids: int,
        event_weights: tuple[float, ...],
    ) -> "ModelSpec":
        """The model that the configuration describes, for data of these sizes."""
        item, buyer = config.item_tower, config.buyer_tower
        return cls(
            text_dim=text_dim,
            embedding_dim=config.embedding_dim,
            hidden_dim=item.projection_hidden_dim,
            categorical_dim=item.categorical_embedding_dim,
            dropout=item.dropout,
            n_brands=n_brands if item.use_categorical_features else 0,
            n_categories=n_categories if item.use_categorical_features else 0,
            n_ids=n_ids if item.id_embedding else 0,
            aggregation=buyer.aggregation_method,
            attention_hidden_dim=buyer.attention_hidden_dim,
            event_weights=event_weights,
        )


class ItemTower(nn.Module):
    """[text, brand, category] -> hidden -> D with ReLU and dropout, plus the product's own vector; unit length."""

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the layers; a part that the spec leaves out has no parameters."""
        super().__init__()
        self.brand = nn.Embedding(spec.n_brands, spec.categorical_dim) if spec.n_brands else None
        self.category = nn.Embedding(spec.n_categories, spec.categorical_dim) if spec.n_categories else None
        n_categorical = sum(part is not None for part in (self.brand, self.category))
        self.projection = nn.Sequential(
            nn.Linear(spec.text_dim + n_categorical * spec.categorical_dim, spec.hidden_dim),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.hidden_dim, spec.embedding_dim),
        )
        # Starts at zero: a product is its text until its own history says more. Index 0 stays there for all others.
        self.identity = nn.Embedding(spec.n_ids, spec.embedding_dim, padding_idx=UNKNOWN) if spec.n_ids else None
        if self.identity is not None:
            nn.init.zeros_(self.identity.weight)

    def forward(self, text_NT: Tensor, brand_N: Tensor, category_N: Tensor, id_N: Tensor) -> Tensor:
        """Product vectors, (N, D), of unit length."""
        parts = [text_NT]
        if self.brand is not None:
            parts.append(self.brand(brand_N))
        if self.category is not None:
            parts.append(self.category(category_N))
        item_ND: Tensor = self.projection(torch.cat(parts, dim=-1))
        if self.identity is not None:
            item_ND = item_ND + self.identity(id_N)
        return F.normalize(item_ND, dim=-1)


def pooling_shares(logits_BL: Tensor, weights_BL: Tensor) -> Tensor:
    """Each event's share of its history, (B, L): softmax(logit + ln weight), zeros for a history without weight."""
    joined_BL = torch.where(weights_BL > 0, logits_BL + weights_BL.clamp_min(1e-30).log(), -torch.inf)
    # softmax over nothing but -inf is NaN; such rows become zeros.
    return torch.softmax(joined_BL, dim=1).nan_to_num()


# An aggregator that weighs each product by itself has `item_logits`: its result is the sum of the history's product
# vectors times pooling_shares. Serving then looks the logits up instead of computing them for every request, and can
# say what each event contributed. An aggregator of another kind (a transformer, say) has only `forward`.


class WeightedAverage(nn.Module):
    """Mean of the history's product vectors, weighted by event type; nothing to learn."""

    def __init__(self, spec: ModelSpec) -> None:  # noqa: ARG002 - the aggregators' common signature
        """Has no layers."""
        super().__init__()

    def item_logits(self, items: Tensor) -> Tensor:
        """Zeros: (..., D) -> (...)."""
        return items.new_zeros(items.shape[:-1])

    def forward(self, items_BLD: Tensor, weights_BL: Tensor) -> Tensor:
        """(B, D); a history without weight gives zeros."""
        share_BL = weights_BL / weights_BL.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights_BL.dtype).tiny)
        return torch.einsum("bl,bld->bd", share_BL, items_BLD)


class Attention(nn.Module):
    """Additive attention D -> hidden -> 1 (Bahdanau et al. 2015), joined with event weights (see pooling_shares)."""

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the scorer."""
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(spec.embedding_dim, spec.attention_hidden_dim),
            nn.Tanh(),
            nn.Linear(spec.attention_hidden_dim, 1, bias=False),
        )

    def item_logits(self, items: Tensor) -> Tensor:
        """Scores of products: (..., D) -> (...)."""
        logits: Tensor = self.score(items).squeeze(-1)
        return logits

    def forward(self, items_BLD: Tensor, weights_BL: Tensor) -> Tensor:
        """(B, D); a history without weight gives zeros."""
        share_BL = pooling_shares(self.item_logits(items_BLD), weights_BL)
        return torch.einsum("bl,bld->bd", share_BL, items_BLD)


AGGREGATORS: dict[str, type[nn.Module]] = {"weighted_avg": WeightedAverage, "attention": Attention}


class BuyerTower(nn.Module):
    """A history's product vectors -> one unit vector; an empty history has a learned vector of its own."""

    weight_by_type: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the aggregator that the spec names."""
        super().__init__()
        self.aggregate = AGGREGATORS[spec.aggregation](spec)
        self.empty = nn.Parameter(torch.randn(spec.embedding_dim) / spec.embedding_dim**0.5)
        self.register_buffer("weight_by_type", torch.tensor(spec.event_weights), persistent=False)

    def forward(self, items_BLD: Tensor, types_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Buyer vectors, (B, D), of unit length.

        Args:
            items_BLD: Vectors of the events' products.
            types_BL: Event-type codes.
            mask_BL: True where there is an event.
        """
        return self.from_weights(items_BLD, self.weight_by_type[types_BL] * mask_BL)

    def from_weights(self, items_BLD: Tensor, weights_BL: Tensor) -> Tensor:
        """As forward, from event weights that are 0 where there is no event."""
        return self.normalised(self.aggregate(items_BLD, weights_BL), weights_BL)

    def normalised(self, pooled_BD: Tensor, weights_BL: Tensor) -> Tensor:
        """An aggregate at unit length; the learned vector where the history has no weight."""
        has_events_B1 = (weights_BL > 0).any(dim=1, keepdim=True)
        return F.normalize(torch.where(has_events_B1, pooled_BD, self.empty), dim=-1)


class TwoTower(nn.Module):
    """Both towers."""

    def __init__(self, spec: ModelSpec) -> None:
        """Builds both towers."""
        super().__init__()
        self.spec = spec
        self.item_tower = ItemTower(spec)
        self.buyer_tower = BuyerTower(spec)
