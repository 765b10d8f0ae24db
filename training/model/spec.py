"""What a model is built from: its sizes and options, as model.json stores them."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from feature_repo.common.config import Config
from feature_repo.transforms.events import weight_by_code


class VocabularySizes(NamedTuple):
    """Number of indices of each vocabulary, index 0 (<UNK>) included."""

    brands: int = 0
    categories: int = 0
    prices: int = 0
    ids: int = 0


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a model, and so to load its weights.

    Attributes:
        n_brands, n_categories, n_prices: Vocabulary sizes with <UNK> at index 0; all 0 without categorical features.
        n_ids: Number of products with an id embedding, plus 1 for all others; 0 without id embeddings.
        event_weights: Weight of each event-type code.
        learn_event_weights: Whether recency_attention learns the event weights, starting from these.
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
    learn_event_weights: bool

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        # A list, as JSON returns it; a written and a read spec then compare equal.
        return asdict(self) | {"event_weights": list(self.event_weights)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ModelSpec":
        """The inverse of as_json."""
        return cls(**(content | {"event_weights": tuple(content["event_weights"])}))

    @classmethod
    def from_config(cls, config: Config, text_dim: int, sizes: VocabularySizes) -> "ModelSpec":
        """The model that the configuration describes.

        Args:
            config: Sections `model`, `training` and `event_weights` are used.
            text_dim: Dimensions of a text vector.
            sizes: Sizes of the vocabularies.
        """
        item, buyer, training = config.model.item_tower, config.model.buyer_tower, config.training
        # A vocabulary of <UNK> alone distinguishes no products.
        n_brands, n_categories, n_prices = (
            size if item.use_categorical_features and size > 1 else 0
            for size in (sizes.brands, sizes.categories, sizes.prices)
        )
        return cls(
            text_dim=text_dim,
            embedding_dim=config.model.embedding_dim,
            hidden_dim=item.projection_hidden_dim,
            categorical_dim=item.categorical_embedding_dim,
            dropout=item.dropout,
            text_residual=item.text_residual,
            n_brands=n_brands,
            n_categories=n_categories,
            n_prices=n_prices,
            n_ids=sizes.ids if item.id_embedding else 0,
            id_dropout=item.id_dropout,
            aggregation=buyer.aggregation_method,
            attention_hidden_dim=buyer.attention_hidden_dim,
            transformer_dim=buyer.transformer_dim,
            max_history=buyer.max_interaction_history,
            event_weights=weight_by_code(config.event_weights),
            temperature=training.temperature,
            learn_temperature=training.learn_temperature,
            learn_event_weights=buyer.learn_event_weights,
        )
