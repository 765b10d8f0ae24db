"""The settings: one typed class per section. config_loading.py reads their values."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from feature_repo.transforms.values.times import DateOrder, TimeReader


class ConfigError(ValueError):
    """The configuration (file, environment or `--set`) cannot be used; the message says which key and what to do."""


class Section(BaseModel):
    """Base of every section: unknown keys refused, values frozen after construction."""

    # Without `forbid`, a misspelt key would silently keep the default.
    model_config = ConfigDict(extra="forbid", frozen=True)


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


RegularExpression = Annotated[str, AfterValidator(_compilable)]


MEMORY_SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.IGNORECASE)


def _memory_size(text: str) -> str:
    if not MEMORY_SIZE.fullmatch(text):
        raise ValueError(f"{text!r} is not a size such as 4GB or 512MB")
    return text


MemorySize = Annotated[str, AfterValidator(_memory_size)]


EventType = Literal["view", "add_to_cart", "purchase"]
EvaluationUnit = Literal["per_buyer", "per_moment"]


class ItemTowerConfig(Section):
    """The product side of the model."""

    text_encoder: str = Field(
        "bundled", description="`bundled`, or the name or folder of a sentence-transformers model"
    )
    # Without it, Online Retail's new items fall from .1106 to .0790 NDCG@20 (ADR 0005).
    text_residual: bool = Field(
        True,
        description="Add the whitened text vector to the projection's output; the text encoder's vectors must have "
        "`model.embedding_dim` dimensions",
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
        "fifth of its vector from its nearest neighbours",
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


def _known_zone(name: str) -> str:
    TimeReader(name)
    return name


class DataConfig(Section):
    """Where the shop's data come from and how they are split in time."""

    source: str = Field(
        "complete_journey",
        description="Name of a mapping in config/sources, or the path of one; the shop's folder is named after the "
        "file. The default is `csv` if `data.events_path` and `data.products_path` are set",
    )
    use_subset: bool = Field(
        True, description="Read only the subset that the mapping defines, if it defines one; false reads everything"
    )
    events_path: str | None = Field(None, description="File of events, instead of the mapping's")
    products_path: str | None = Field(None, description="File of products, instead of the mapping's")
    photos_path: str | None = Field(None, description="File of photos, instead of the mapping's")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="Time zone of the shop's times that name none, in exports and in the API: an IANA name"
    )
    date_order: DateOrder | None = Field(
        None,
        description="Whether 03/04/2025 is 3 April (`day_first`) or 4 March (`month_first`); unset, a column is read "
        "only if it proves its order by a number above 12",
    )
    exclude_buyers: tuple[str, ...] = Field(
        (), description="Ids of buyers whose events are left out, such as staff and test accounts"
    )
    exclude_user_agents: tuple[RegularExpression, ...] = Field(
        (),
        description="Regular expressions; events whose `user_agent` contains a match are left out, such as `(?i)bot`",
    )
    max_events_per_hour: Annotated[int, Field(ge=0)] = Field(
        0, description="A buyer with more events within any clock hour is left out as a bot; 0 leaves nobody out"
    )
    event_log_days: Annotated[int, Field(ge=0)] = Field(
        0,
        description="So many days the events that the API accepted are kept in the event log; older ones no longer "
        "count, unless the shop's export has them. 0 keeps all",
    )
    test_days: PositiveInt = Field(
        30,
        description="The last whole days of events are the test set; as many days before them are the validation set",
    )
    evaluation_unit: EvaluationUnit = Field(
        "per_buyer",
        description="When validation and test take a context: `per_buyer` once per buyer, at the start of the days, "
        "with everything that follows as targets; `per_moment` at each moment of events within the days (sessions)",
    )
    max_held_out_contexts: Annotated[int, Field(ge=0)] = Field(
        50_000, description="Contexts of the validation set and of the test set, a random sample each; 0 takes all"
    )
    target_events: frozenset[EventType] = Field(
        frozenset({"view", "add_to_cart", "purchase"}), min_length=1, description="Event types that are targets"
    )

    @model_validator(mode="before")
    @classmethod
    def _own_files_are_csv(cls, values: Any) -> Any:
        """Selects the source `csv` if both files are set and `source` is not."""
        if (
            isinstance(values, dict)
            and "source" not in values
            and values.get("events_path")
            and values.get("products_path")
        ):
            return {**values, "source": "csv"}
        return values


class ResourcesConfig(Section):
    """Memory and disk of the jobs on a shop's tables: [operations.md](operations.md#memory-and-disk)."""

    memory_limit: MemorySize = Field(
        "4GB", description="Memory of DuckDB; what exceeds it goes to the spill folder. A size such as 512MB or 16GB"
    )
    spill_folder: Path | None = Field(
        None, description="Folder of what exceeds the memory limit; null is `tmp/spill` in the shop's folder"
    )


class FeatureStoreConfig(Section):
    """The feature store."""

    offline: Literal["duckdb", "spark"] = Field(
        "duckdb",
        description="Where features are built and histories joined: `duckdb` in the process of the command, or `spark` "
        "(extra `spark`, [scaling.md](scaling.md))",
    )
    online: Literal["embedded", "redis"] = Field(
        "embedded", description="`embedded` starts a local Valkey; `redis` uses $TAWSIYA_REDIS (host:port,option=value)"
    )
    online_write_batch_size: PositiveInt = Field(10_000, description="Rows per write when features are materialized")
    buyer_ttl_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after a buyer's last event when the online store forgets the buyer; 0: never. Needs Redis 7",
    )


# A driver on this machine alone, which no other machine can reach.
_LOOPBACK_CONF = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


class SparkConfig(Section):
    """The Spark session, if `feature_store.offline` is `spark`."""

    master: str = Field("local[*]", description="Spark's master URL, such as `local[*]`, `spark://host:7077` or `yarn`")
    conf: dict[str, str] = Field(
        _LOOPBACK_CONF,
        description="Further settings of the session, as texts by Spark's own names, such as `spark.executor.memory`; "
        "they replace the default, with which no other machine can reach the driver",
    )


class ExpectationsConfig(Section):
    """Thresholds of the data-quality gate."""

    max_bad_event_share: Fraction = Field(
        0.05,
        description="Largest share of bad events among those that are not excluded; unknown products and events of "
        "nobody have limits of their own",
    )
    max_missing_buyer_share: Fraction = Field(
        0.5, description="Largest share of events that name no buyer, such as those of guests"
    )
    max_unknown_product_share: Fraction = Field(
        0.3, description="Largest share of events whose product is not in the catalogue"
    )
    max_bad_product_share: Fraction = Field(
        0.05, description="Largest share of bad products, and of products that repeat an id"
    )
    max_unreadable_share: Fraction = Field(
        0.5, description="Largest share of products whose price (or stock, hidden, photo, ...) cannot be read"
    )
    min_title_share: Fraction = Field(0.95, description="Smallest share of products that have a title")
    min_category_share: Fraction = Field(0.5, description="Smallest share of products that have a category")
    min_distinct_title_share: Fraction = Field(
        0.5, description="Smallest share of products with a title of their own, among those that have a title"
    )
    max_drop: Fraction = Field(
        0.5, description="Events, products or buyers that lost this share since the last good run have drifted"
    )
    max_event_mix_change: Fraction = Field(
        0.2, description="Largest change of an event type's share since the last good run"
    )
    max_null_rate_increase: Fraction = Field(
        0.2, description="Largest increase of a column's share of missing values since the last good run"
    )
    max_unreadable_increase: Fraction = Field(
        0.05, description="Largest increase of a share of unreadable values since the last good run"
    )
    max_new_category_share: Fraction = Field(
        0.2, description="Largest share of products in categories that the last good run lacks"
    )
    warn_only: frozenset[str] = Field(
        frozenset({"category_known", "titles_distinct"}),
        description="Names of expectations that only warn when they fail, though they would stop the run "
        "([data-quality.md](data-quality.md) lists all)",
    )
    also_block: frozenset[str] = Field(
        frozenset(), description="Names of expectations that stop the run when they fail, though they would only warn"
    )

    @model_validator(mode="after")
    def _warn_or_block(self) -> "ExpectationsConfig":
        if both := self.warn_only & self.also_block:
            raise ValueError(f"warn_only and also_block both name {', '.join(sorted(both))}; name it in one of them")
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


class IndexConfig(Section):
    """The vector index."""

    type: Literal["auto", "flat", "ivf", "hnsw", "pq_fastscan"] = Field(
        "auto",
        description="`flat` is exact; `ivf`, `hnsw` and `pq_fastscan` are approximate and faster; `auto` goes by the "
        "number of products ([training.md](training.md#the-index))",
    )
    min_recall: Fraction = Field(
        0.99,
        description="Smallest recall@10 and recall@100 against exact search: the cheapest search that reaches it is "
        "chosen; an index that cannot is not published",
    )


class ReleaseConfig(Section):
    """Published releases."""

    # At least the live release and the one that a rollback makes live.
    keep: Annotated[int, Field(ge=2)] = Field(
        5, description="Number of releases to keep for rollback; older ones are deleted"
    )
    # ADR 0016 has what trainings on the same data differ by.
    max_recall_loss: Fraction = Field(
        0.05, description="Largest share of the live release's recall@20 that a new one may certainly lose"
    )
    max_ndcg_loss: Fraction = Field(0.05, description="Largest share of the live release's ndcg@20, likewise")
    max_similarity_loss: Fraction = Field(
        0.3,
        description="Largest share of the live release's recall@20 without the re-scorer that a new one may certainly "
        "lose; trainings on the same data differ more in it",
    )
    max_coverage_loss: Fraction = Field(
        0.5, description="Largest share of the live release's coverage@20 that a new one may lose"
    )
    max_size_loss: Fraction = Field(
        0.3,
        description="Largest share of the live release's products that a new one may lack, and largest loss of the "
        "share of products that are not hidden",
    )
    min_recall_at_20: Fraction = Field(
        0, description="Smallest recall@20 of a release, whatever the live one reaches; 0 sets none"
    )
    min_share_of_popular_recall: Fraction = Field(
        0.5,
        description="Smallest recall@20 of a release, as a share of what the same popular products for everybody reach",
    )


class RefreshConfig(Section):
    """When `tawsiya refresh` trains ([operations.md](operations.md#when-refresh-trains)), and its records."""

    retrain: Literal["changed", "due", "never"] = Field(
        "changed",
        description="`changed` trains whenever the training data have changed; `due` only if one of the next three "
        "settings says so; `never` keeps the model. New settings or code train too, except with `never`",
    )
    retrain_days: Annotated[int, Field(ge=0)] = Field(
        7, description="With `due`: train if the model is this many days old; 0 sets no age"
    )
    retrain_on_drift: bool = Field(
        True,
        description="With `due`: train if the data have drifted since the training, by the limits of `expectations` "
        "([data-quality.md](data-quality.md#drift))",
    )
    retrain_on_metric_drop: Fraction = Field(
        0.1,
        description="With `due`: train if the model's NDCG on the present test days is lower than after its training "
        "by this share; 0 does not compare",
    )
    keep_records: PositiveInt = Field(
        200, description="Records of runs to keep (`tawsiya runs list`); older ones are deleted"
    )


class DiskConfig(Section):
    """Disk space; `tawsiya doctor` shows what uses it ([operations.md](operations.md#disk-space))."""

    budget_gb: Annotated[float, Field(ge=0)] = Field(
        0, description="`tawsiya doctor` warns if the shop's folder takes more gigabytes than this; 0 sets no budget"
    )
    # At 384 dimensions a text takes 1.5 kB: these are 3 million texts.
    max_text_vectors_gb: PositiveFloat = Field(
        5,
        description="A larger cache of text vectors is deleted at the end of `tawsiya refresh`, and the next one "
        "encodes the products again; it is kept where the products alone need more",
    )


NEWEST_REFUSED = "newest_refused"  # of ApiConfig.shadow_release


class ApiConfig(Section):
    """The online service."""

    # Without API keys the API is open to everyone who reaches it, so by default that is this machine only.
    host: str = Field("127.0.0.1", description="Address to listen on; any address but loopback needs API keys")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="Port to listen on")
    workers: PositiveInt = Field(1, description="Number of uvicorn worker processes")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")
    max_interactions_per_request: PositiveInt = Field(100, description="Maximum number of interactions in one request")
    max_events_per_request: PositiveInt = Field(1000, description="Maximum number of events in one POST /v1/events")
    duplicate_window_seconds: PositiveInt = Field(
        10, description="Within so many seconds, a repeated event without an id counts as a duplicate"
    )
    max_unknown_product_events_per_key: Annotated[int, Field(ge=0)] = Field(
        10_000,
        description="Most events of one API key that may wait for a product that the live release does not know; "
        "further ones are rejected. 0 rejects all of them",
    )
    unknown_product_days: PositiveInt = Field(
        30,
        description="After so many days an event stops waiting for its product. It stays in the event log, and counts "
        "in an ingest whose catalogue has the product",
    )
    max_body_bytes: PositiveInt = Field(4_000_000, description="Largest request body")
    body_timeout_seconds: PositiveFloat = Field(10, description="Time limit for receiving a request body")
    request_timeout_seconds: PositiveFloat = Field(2, description="Time limit for answering a request for products")
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        0,
        description="After SIGTERM, go on answering for so long while /readyz says no (docs/operations.md)",
    )
    max_queue: PositiveInt = Field(
        256, description="Maximum number of requests that wait for the model; further ones get 503"
    )
    # The event loop is blocked while a batch is answered: 25 ms for 32 requests (ADR 0004).
    max_batch: PositiveInt = Field(32, description="Maximum number of requests in one batch of the model")
    # A silent store blocks the event loop for this long, at most twice; then the circuit breaker opens (ADR 0004).
    store_timeout_seconds: PositiveFloat = Field(
        0.25, description="Time limit for the feature store; after it a request is answered without stored features"
    )
    requests_per_second_per_key: PositiveFloat = Field(
        2000, description="Sustained request rate of each API key that has no limit of its own"
    )
    burst_per_key: PositiveInt = Field(4000, description="Burst size of such a key")
    requests_per_second_per_buyer: PositiveFloat = Field(
        10, description="Sustained request rate of each buyer who comes with a buyer token"
    )
    burst_per_buyer: PositiveInt = Field(60, description="Burst size of such a buyer")
    # Above the limit of a key: a storefront's server calls from one address for all its shoppers.
    requests_per_second_per_address: PositiveFloat = Field(
        4000, description="Sustained request rate of each client address"
    )
    burst_per_address: PositiveInt = Field(8000, description="Burst size of each client address")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For header is trusted"
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that may call the API from a browser")
    rules_path: Path = Field(
        Path("config/rules.yaml"), description="File of merchandising rules (docs/merchandising.md); no file, no rules"
    )
    shadow_share: Fraction = Field(
        0, description="Share of the personalised lists that a second release makes, too, for comparison; never shown"
    )
    shadow_release: str = Field(
        NEWEST_REFUSED,
        description="Name of that release; `newest_refused` is the last one that the gate before promote refused",
    )
    otlp_endpoint: str = Field(
        "", description="OTLP/HTTP endpoint for traces, such as http://localhost:4318 (extra `otel`); empty sends none"
    )


class Config(Section):
    """The whole configuration."""

    data_dir: Path = Field(Path("var"), description="Folder of everything that Tawsiya writes")
    data: DataConfig = DataConfig()
    event_weights: EventWeights = EventWeights()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    resources: ResourcesConfig = ResourcesConfig()
    feature_store: FeatureStoreConfig = FeatureStoreConfig()
    spark: SparkConfig = SparkConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    index: IndexConfig = IndexConfig()
    release: ReleaseConfig = ReleaseConfig()
    refresh: RefreshConfig = RefreshConfig()
    disk: DiskConfig = DiskConfig()
    api: ApiConfig = ApiConfig()


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every valid dotted key, sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        # An annotation such as Literal or X | None is no class, and issubclass would raise.
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
