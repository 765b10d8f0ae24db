"""What a model is built from: its sizes and options, as model.json stores them."""

from dataclasses import asdict, dataclass
from typing import Any

from feature_repo.common.config import ModelConfig, TrainingConfig


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a model, and so to read its weights.

    Attributes:
        n_brands, n_categories, n_prices: Vocabulary sizes with <UNK> at index 0; all 0 without categorical features.
        n_ids: Products with a learned vector of their own, plus 1 for all others; 0 without such vectors.
        event_weights: Weight of each event-type code.
        learn_event_weights: Whether recency_attention learns from these weights on, or keeps them.
        max_history: Longest history that the buyer tower reads.
    """

    text_dim: int
    embedding_dim: int
    hidden_dim: int
    categorical_dim: int
    dropout: float
    text_residual: bool
    n_brands: int
    n_categories: int
    n_prices: int
    n_ids: int
    id_dropout: float
    aggregation: str
    attention_hidden_dim: int
    transformer_dim: int
    max_history: int
    event_weights: tuple[float, ...]
    temperature: float
    learn_temperature: bool
    learn_event_weights: bool = True  # a model from before the setting learned them

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
        training: TrainingConfig,
        *,
        text_dim: int,
        n_brands: int,
        n_categories: int,
        n_prices: int,
        n_ids: int,
        event_weights: tuple[float, ...],
    ) -> "ModelSpec":
        """The model that the configuration describes, for data of these sizes.

        Raises:
            ValueError: A residual of text vectors of another size than the product vectors is asked for.
        """
        item, buyer = config.item_tower, config.buyer_tower
        if item.text_residual and text_dim != config.embedding_dim:
            raise ValueError(
                f"model.item_tower.text_residual adds the text vector ({text_dim} dimensions) to the product vector "
                f"(model.embedding_dim={config.embedding_dim}): make both equal, or set it to false"
            )
        # A vocabulary of <UNK> alone tells no products apart.
        n_brands, n_categories, n_prices = (
            size if item.use_categorical_features and size > 1 else 0 for size in (n_brands, n_categories, n_prices)
        )
        return cls(
            text_dim=text_dim,
            embedding_dim=config.embedding_dim,
            hidden_dim=item.projection_hidden_dim,
            categorical_dim=item.categorical_embedding_dim,
            dropout=item.dropout,
            text_residual=item.text_residual,
            n_brands=n_brands,
            n_categories=n_categories,
            n_prices=n_prices,
            n_ids=n_ids if item.id_embedding else 0,
            id_dropout=item.id_dropout,
            aggregation=buyer.aggregation_method,
            attention_hidden_dim=buyer.attention_hidden_dim,
            transformer_dim=buyer.transformer_dim,
            max_history=buyer.max_interaction_history,
            event_weights=event_weights,
            temperature=training.temperature,
            learn_temperature=training.learn_temperature,
            learn_event_weights=buyer.learn_event_weights,
        )
