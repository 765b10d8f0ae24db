"""The configuration of Tawsiya: one typed class per section, one way to load it.

A value comes from the first of: `--set section.key=value`, the environment (`TAWSIYA__SECTION__KEY=value`, also from a
`.env` file in the working directory), the YAML file, the default below. Unknown keys are refused with the nearest valid
one, so that a typing error never runs for an hour with the default value.
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ENV_PREFIX = "TAWSIYA__"
DEFAULT_CONFIG = Path("config/default.yaml")


class ConfigError(ValueError):
    """The configuration (file, environment or `--set`) cannot be used; the message says which key and what to do."""


class Section(BaseModel):
    """Base of every section: unknown keys refused, values frozen after construction."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


EventType = Literal["view", "add_to_cart", "purchase"]
Ask = Literal["per_buyer", "per_moment"]


class ItemTowerConfig(Section):
    """The product side of the model."""

    text_encoder: str = Field("bundled", description="`bundled`, or a sentence-transformers name or folder")
    text_residual: bool = Field(
        True, description="Add the whitened text vector to the projection's result; needs vectors of embedding_dim"
    )
    use_categorical_features: bool = Field(
        True, description="Add learned embeddings of brand, category and price range to the text"
    )
    categorical_embedding_dim: PositiveInt = Field(64, description="Size of each of these embeddings")
    projection_hidden_dim: PositiveInt = Field(256, description="Hidden size of the projection")
    dropout: Fraction = Field(0.1, description="Dropout of the projection while training")
    id_embedding: bool = Field(
        True,
        description="Add a learned vector per trained product; others have their text and a fifth of neighbours",
    )
    id_dropout: Fraction = Field(
        0.1,
        description="Share of products that a training step sees without that vector, so that text alone serves too",
    )


class BuyerTowerConfig(Section):
    """The buyer side of the model."""

    aggregation_method: Literal["weighted_avg", "attention", "recency_attention", "transformer"] = Field(
        "recency_attention", description="How events are joined"
    )
    learn_event_weights: bool = Field(
        True, description="recency_attention learns what event types weigh, from `event_weights` on; false keeps these"
    )
    attention_hidden_dim: PositiveInt = Field(128, description="Hidden size of the attention scorer")
    transformer_dim: Annotated[int, Field(ge=2, multiple_of=2)] = Field(64, description="Width of the transformer")
    max_interaction_history: Annotated[int, Field(gt=0, le=1000)] = Field(
        100, description="Most recent events kept per buyer, online and offline"
    )


class ModelConfig(Section):
    """The two towers."""

    embedding_dim: PositiveInt = Field(384, description="Size of product and buyer vectors")
    item_tower: ItemTowerConfig = ItemTowerConfig()
    buyer_tower: BuyerTowerConfig = BuyerTowerConfig()


class TrainingConfig(Section):
    """The training loop."""

    batch_size: Annotated[int, Field(ge=2)] = Field(
        3072, description="Choices per step, all those of a context together; what others chose are the negatives"
    )
    learning_rate: PositiveFloat = Field(0.002, description="Adam's largest step size")
    num_epochs: PositiveInt = Field(5, description="Passes over the contexts at most")
    patience: PositiveInt = Field(2, description="Stop after this many epochs without a better validation")
    refit: bool = Field(
        True, description="After the best epoch is known, train again for so long with the validation days included"
    )
    temperature: PositiveFloat = Field(0.07, description="InfoNCE temperature")
    learn_temperature: bool = Field(False, description="Learn the temperature from there on")
    candidates: Literal["auto", "sampled", "all"] = Field(
        "auto",
        description="What a chosen product is told apart from: `sampled` the batch's and random ones, `all` the whole "
        "catalogue; `auto` is all for up to 250 million pairs of a context and a product, unless texts are trained",
    )
    num_negatives: Annotated[int, Field(ge=0)] = Field(
        0, description="Random negatives drawn per context, beside the batch's own; all contexts share them"
    )
    num_hard_negatives: Annotated[int, Field(ge=0)] = Field(
        0, description="Negatives drawn per context from the products nearest to what was chosen, as of the last epoch"
    )
    logq_exponent: Fraction = Field(
        0.0, description="Strength of the correction for how often a candidate is drawn: 0 is none, 1 the full one"
    )
    weigh_events: bool = Field(False, description="Weigh what was chosen by its event's weight, not all alike")
    half_life_days: Annotated[float, Field(ge=0)] = Field(
        15, description="A context this much older than the newest counts half; 0 counts all alike"
    )
    save_every_n_epochs: PositiveInt = Field(2, description="Checkpoint interval; the best epoch is always kept")
    num_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Processes that prepare batches beside the training process"
    )
    freeze_text_encoder: bool = Field(
        True,
        description="Text vectors are constants, encoded once; false trains the text encoder too, which is worth a GPU",
    )
    text_encoder_learning_rate: PositiveFloat = Field(
        0.00002, description="Adam's largest step size for the text encoder, where it is trained"
    )
    text_encoder_lora_rank: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Rank of the matrices trained beside the text encoder's weights in their stead (extra `lora`), for "
        "which the rate should be about ten times as high; 0 trains the weights themselves",
    )
    seed: int = Field(7, description="Seed of every random draw")
    mlflow_uri: str = Field(
        "", description="MLflow server, or file:// folder, that hears of each run too (extra `mlflow`); empty: none"
    )

    @model_validator(mode="after")
    def _no_lora_while_frozen(self) -> "TrainingConfig":
        if self.text_encoder_lora_rank and self.freeze_text_encoder:
            raise ValueError(
                "text_encoder_lora_rank is for a text encoder that is trained: set freeze_text_encoder=false"
            )
        return self


class EventWeights(Section):
    """What an event says about interest, relative to the others."""

    view: Annotated[float, Field(ge=0)] = Field(1.0, description="Weight of a view")
    add_to_cart: Annotated[float, Field(ge=0)] = Field(5.0, description="Weight of an add-to-cart")
    purchase: Annotated[float, Field(ge=0)] = Field(10.0, description="Weight of a purchase")

    @model_validator(mode="after")
    def _some_weight(self) -> "EventWeights":
        if not (self.view or self.add_to_cart or self.purchase):
            raise ValueError("all event weights are 0, so no event would count; give one a positive weight")
        return self


class DataConfig(Section):
    """Where the shop's data come from and how they are split in time."""

    source: str = Field("complete_journey", description="Name of a mapping in config/sources, or the path of one")
    cut: bool = Field(True, description="Use the mapping's documented cut, where it has one; false reads everything")
    events_path: str | None = Field(None, description="Read events from here instead of the mapping's path")
    products_path: str | None = Field(None, description="Read products from here instead of the mapping's path")
    photos_path: str | None = Field(None, description="Read photos from here instead of the mapping's path")
    test_days: PositiveInt = Field(
        30, description="The last whole days of events, kept for evaluation; the model is chosen by as many before them"
    )
    ask: Ask = Field(
        "per_buyer",
        description="What evaluation asks: `per_buyer` all that follows the start of these days, `per_moment` what is "
        "chosen at each moment within them (sessions)",
    )
    target_events: frozenset[EventType] = Field(
        frozenset({"view", "add_to_cart", "purchase"}), min_length=1, description="Events that training predicts"
    )


class FeatureStoreConfig(Section):
    """Feast's online side."""

    online: Literal["embedded", "redis"] = Field(
        "embedded", description="`embedded` starts a local Valkey; `redis` uses $TAWSIYA_REDIS (host:port,key=value)"
    )
    online_write_batch_size: PositiveInt = Field(10_000, description="Rows per online write of materialize")


class ExpectationsConfig(Section):
    """Limits of the data-quality gate."""

    max_bad_event_share: Fraction = Field(
        0.05, description="Quarantined events, as a share of those not excluded by rule"
    )
    max_bad_product_share: Fraction = Field(0.05, description="Quarantined products, as a share of those read")
    min_title_share: Fraction = Field(0.95, description="Products that have a title")
    min_category_share: Fraction = Field(0.5, description="Products that have a category")
    min_distinct_title_share: Fraction = Field(0.5, description="Titled products whose title no other product has")
    warnings: frozenset[str] = Field(
        frozenset({"category_known", "titles_distinct"}), description="Names of expectations that warn instead of block"
    )


class InferenceConfig(Section):
    """Where models run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="`auto` takes a GPU where there is one")
    batch_size: PositiveInt = Field(1024, description="Products per step of the embedding job")
    text_encoder_format: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        "auto",
        description="How the text encoder computes; `auto` is bfloat16 on a GPU and a CPU with AMX, else int8 for the "
        "bundled encoder (`float32` for any other)",
    )


class IndexConfig(Section):
    """The vector index."""

    type: Literal["auto", "flat", "pq_fastscan"] = Field(
        "auto",
        description="`flat` is exact, `pq_fastscan` nearly so and faster; `auto` is flat for up to 50,000 products",
    )
    min_recall: Fraction = Field(
        0.95, description="An index that finds less than this share of the true nearest products is refused"
    )


class ReleaseConfig(Section):
    """Published releases."""

    keep: Annotated[int, Field(ge=2)] = Field(5, description="Releases kept for roll-back; older ones are deleted")


class ApiConfig(Section):
    """The online service."""

    host: str = Field("127.0.0.1", description="Address to listen on; other than loopback only with API keys")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="Port to listen on")
    workers: PositiveInt = Field(1, description="uvicorn worker processes")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    max_interactions_per_request: PositiveInt = Field(100, description="Longest history a request may carry")
    max_events_per_request: PositiveInt = Field(1000, description="Most events one POST /v1/events may carry")
    duplicate_window_seconds: PositiveInt = Field(
        10, description="An event without an id that says the same as one this long ago is that one again"
    )
    max_body_bytes: PositiveInt = Field(4_000_000, description="Longest body of a request")
    body_timeout_seconds: PositiveFloat = Field(10, description="A body must be complete by then")
    request_timeout_seconds: PositiveFloat = Field(2, description="A request for products is given up after this")
    max_waiting: PositiveInt = Field(256, description="Requests that may wait for the model; more get 503")
    max_batch: PositiveInt = Field(32, description="Most requests that the model answers in one call")
    store_timeout_seconds: PositiveFloat = Field(
        0.25, description="A request waits for the feature store for so long, and is then answered without it"
    )
    requests_per_second_per_key: PositiveFloat = Field(
        2000, description="Lasting rate of each API key that has no limit of its own"
    )
    burst_per_key: PositiveInt = Field(4000, description="Requests of such a key at once, after a pause")
    requests_per_second_per_address: PositiveFloat = Field(4000, description="Lasting rate of each client address")
    burst_per_address: PositiveInt = Field(8000, description="Requests of an address at once, after a pause")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses whose X-Forwarded-For tells the client's address"
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call the API from a browser")
    rules_path: Path = Field(
        Path("config/rules.yaml"), description="Merchandising rules (docs/merchandising.md); no such file: no rules"
    )
    otlp_endpoint: str = Field(
        "", description="OTLP/HTTP collector of traces, such as http://localhost:4318 (extra `otel`); empty: no traces"
    )


class Config(Section):
    """The whole configuration."""

    data_dir: Path = Field(Path("var"), description="Everything a run makes lies here")
    data: DataConfig = DataConfig()
    event_weights: EventWeights = EventWeights()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    feature_store: FeatureStoreConfig = FeatureStoreConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    index: IndexConfig = IndexConfig()
    release: ReleaseConfig = ReleaseConfig()
    api: ApiConfig = ApiConfig()


def load_config(
    path: Path | None = None, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """Loads and checks the configuration.

    Args:
        path: The YAML file; None reads `config/default.yaml` where it exists and the defaults elsewhere.
        overrides: `section.key=value` strings; values are read as YAML.
        environ: The environment; None takes `environment()`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ConfigError: The content is not usable; the message names the key.
    """
    values = _read_yaml(path)
    if environ is None:
        environ = environment()
    for name, value in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            _assign(values, name.removeprefix(ENV_PREFIX).lower().split("__"), value, where=f"${name}")
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise ConfigError(f"--set {override}: expected section.key=value")
        _assign(values, key.strip().split("."), value, where=f"--set {override}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None


def environment() -> dict[str, str]:
    """The process's environment, over a `.env` file in the working directory."""
    return {**{name: value for name, value in dotenv_values(".env").items() if value is not None}, **os.environ}


def _read_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        if not DEFAULT_CONFIG.is_file():
            return {}
        path = DEFAULT_CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"configuration file {path} does not exist; name one with --config")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections (a YAML mapping), not a {type(values).__name__}")
    return values


def _assign(values: dict[str, Any], keys: list[str], value: str, where: str) -> None:
    """Sets values[k1][k2]... to `value`, read as YAML."""
    node = values
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{where}: {key} is a value, not a section")
        node = child
    try:
        node[keys[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: the value is not valid YAML: {error}") from None


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.5)
            hint = f"; did you mean {nearest[0]}?" if nearest else "; see `tawsiya config show` for the valid keys"
            lines.append(f"{key}: unknown key{hint}")
        else:
            lines.append(f"{key or 'configuration'}: {item['msg']} (got {item['input']!r})")
    return f"configuration {path or DEFAULT_CONFIG} is not usable:\n  " + "\n  ".join(lines)


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every valid dotted key, sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
