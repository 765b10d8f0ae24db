"""The settings of the model: towers, training, event weights, inference."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from feature_repo.settings.section import Fraction, PositiveFloat, PositiveInt, Section

EventType = Literal["view", "add_to_cart", "purchase"]
RescorerTerm = Literal["repeat", "popularity", "co_occurrence", "closeness"]
RESCORER_TERMS: tuple[RescorerTerm, ...] = get_args(RescorerTerm)


class ItemTowerConfig(Section):
    """The product side of the model."""

    text_encoder: str = Field(
        "bundled", description="`bundled`, or the name or folder of a sentence-transformers model"
    )
    # Without it, Online Retail's new items fall from .1106 to .0790 NDCG@20 (ADR 0005).
    text_residual: bool = Field(
        True,
        description="Add the whitened text vector to the projection's output. Of an encoder with more than "
        "`model.embedding_dim` dimensions, those remain in which the products differ most",
    )
    use_categorical_features: bool = Field(
        True,
        description="Add learned embeddings of brand, category and price range to the projection's input",
    )
    categorical_embedding_dim: PositiveInt = Field(
        64, description="Size of each embedding of brand, category and price range"
    )
    projection_hidden_dim: PositiveInt = Field(256, description="Size of the projection's hidden layer")
    dropout: Fraction = Field(0.1, description="Dropout rate of the projection")
    id_embedding: bool = Field(
        True,
        description="Add a learned vector for each product that has training events; a product without one borrows a "
        "quarter of its vector from those of similar content",
    )
    # ADR 0005: .1 finds more products without events (HR@20 .0616 against .0559), and the others as often as without.
    id_dropout: Fraction = Field(
        0.1,
        description="Share of products whose learned vector is left out in a training step, so that the model also "
        "works from the text alone",
    )


class BuyerTowerConfig(Section):
    """The buyer side of the model."""

    aggregation_method: Literal["weighted_avg", "attention", "recency_attention", "transformer"] = Field(
        "recency_attention", description="How the buyer's events are pooled into one vector"
    )
    # ADR 0005: learned weights are within noise of the configured ones; both beat uniform weights.
    learn_event_weights: bool = Field(
        True,
        description="With `recency_attention`: learn the weights of event types, starting from `event_weights`; false "
        "keeps `event_weights`",
    )
    attention_hidden_dim: PositiveInt = Field(128, description="Hidden size of the attention network")
    transformer_dim: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        64, description="Model dimension of the transformer"
    )
    max_interaction_history: Annotated[int, Field(gt=0, le=1000)] = Field(
        100, description="Most recent events kept per buyer, in training and in serving"
    )


class ModelConfig(Section):
    """Both towers."""

    # The dimensions of the bundled text encoder, whose vectors `text_residual` adds.
    embedding_dim: PositiveInt = Field(384, description="Dimensions of product and buyer vectors")
    item_tower: ItemTowerConfig = ItemTowerConfig()
    buyer_tower: BuyerTowerConfig = BuyerTowerConfig()


class TrainingConfig(Section):
    """The training loop."""

    # The defaults of this section were chosen on the validation days of Online Retail and Amazon Beauty; ADR 0005 has
    # the alternatives tried.
    batch_size: Annotated[int, Field(ge=2)] = Field(
        3072,
        description="Targets per step; a context's targets stay together, and the other contexts' targets are the "
        "in-batch negatives",
    )
    learning_rate: PositiveFloat = Field(
        0.002, description="Peak learning rate of Adam, after warm-up and before cosine decay"
    )
    num_epochs: PositiveInt = Field(5, description="Maximum number of epochs")
    patience: PositiveInt = Field(2, description="Stop after this many epochs without a better validation metric")
    refit: bool = Field(
        True,
        description="Train again from the start for the best number of epochs, with the validation days as training "
        "data",
    )
    temperature: PositiveFloat = Field(0.07, description="Temperature of the InfoNCE loss")
    learn_temperature: bool = Field(False, description="Learn the temperature, starting from `training.temperature`")
    # 250 million pairs are an epoch of half a minute on two cores (ADR 0005).
    candidates: Literal["auto", "sampled", "all"] = Field(
        "auto",
        description="Negatives of the softmax: `sampled` is in-batch and random products, `all` the whole catalogue; "
        "`auto` is `all` up to 250 million pairs of context and product, and `sampled` beyond that or where the text "
        "encoder is trained",
    )
    num_negatives: Annotated[int, Field(ge=0)] = Field(
        0, description="Random negatives per context, besides the in-batch ones; all contexts of a batch share them"
    )
    num_hard_negatives: Annotated[int, Field(ge=0)] = Field(
        0, description="Hard negatives per context, drawn from the target's nearest products of the previous epoch"
    )
    # Off: the correction lowered the metrics on Amazon Beauty and gained nothing on ga4_merch (ADR 0005).
    logq_exponent: Fraction = Field(
        0.0, description="Strength of the logQ correction for sampled negatives: 0 is off, 1 the full correction"
    )
    weight_targets_by_event: bool = Field(
        False, description="Weight each target in the loss by its event's weight in `event_weights`"
    )
    # ADR 0012 says why the newest first, and why two budgets of one size.
    max_contexts: Annotated[int, Field(ge=0)] = Field(
        250_000,
        description="Contexts to train on, the newest first: at most so many before the validation days, and as many "
        "within them for the refit; 0 takes all",
    )
    max_contexts_per_buyer: Annotated[int, Field(ge=0)] = Field(
        0, description="Newest contexts of one buyer among them; 0 takes all"
    )
    half_life_days: Annotated[float, Field(ge=0)] = Field(
        15, description="Days after which a context's weight in the loss halves; 0 weights all contexts equally"
    )
    save_every_n_epochs: PositiveInt = Field(2, description="Epochs between checkpoints; the best epoch is always kept")
    num_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Worker processes that prepare batches; 0 prepares them in the training process"
    )
    freeze_text_encoder: bool = Field(
        True,
        description="Encode texts once and keep the text encoder fixed; false trains the text encoder too, which needs "
        "a GPU to be practical",
    )
    text_encoder_learning_rate: PositiveFloat = Field(
        0.00002, description="Peak learning rate of the text encoder, if it is trained"
    )
    text_encoder_lora_rank: Annotated[int, Field(ge=0)] = Field(
        0,
        description="LoRA rank for training the text encoder (extra `lora`); use about ten times the learning rate. "
        "0 trains all weights",
    )
    seed: int = Field(7, description="Random seed")
    # Not a set: a checkpoint is of settings whose text is equal.
    rescorer_terms: tuple[RescorerTerm, ...] = Field(
        RESCORER_TERMS,
        description="Terms that the re-scorer may add to the similarity where the validation days prove them; without "
        "`repeat`, say, no list prefers what the buyer has bought",
    )
    mlflow_uri: str = Field(
        "", description="MLflow server or file:// folder to log runs to (extra `mlflow`); empty logs to none"
    )

    @model_validator(mode="after")
    def _no_lora_while_frozen(self) -> "TrainingConfig":
        if self.text_encoder_lora_rank and self.freeze_text_encoder:
            raise ValueError(
                "text_encoder_lora_rank is for a text encoder that is trained: set freeze_text_encoder=false"
            )
        return self


class EventWeights(Section):
    """Weight of each event type, relative to the others."""

    view: Annotated[float, Field(ge=0)] = Field(1.0, description="Weight of a view")
    add_to_cart: Annotated[float, Field(ge=0)] = Field(5.0, description="Weight of an add-to-cart")
    purchase: Annotated[float, Field(ge=0)] = Field(10.0, description="Weight of a purchase")

    @model_validator(mode="after")
    def _some_weight(self) -> "EventWeights":
        if not (self.view or self.add_to_cart or self.purchase):
            raise ValueError("all event weights are 0, so no event would count; give one a positive weight")
        return self


class InferenceConfig(Section):
    """How and where models run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="`auto` uses a GPU if there is one")
    batch_size: PositiveInt = Field(1024, description="Products per batch when product vectors are computed")
    # ADR 0007: int8 is twice as fast as float32 without AMX and loses nothing in search; bfloat16 there is emulated.
    text_encoder_format: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        "auto",
        description="Number format of the text encoder; `auto` is bfloat16 on a GPU or a CPU with AMX, and elsewhere "
        "int8 for the bundled encoder and float32 for any other",
    )
