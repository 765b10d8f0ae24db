"""Where a shop's files lie: everything below one folder, `data_dir/<source name>`."""

from dataclasses import dataclass
from pathlib import Path

from feature_repo.common.config import Config


@dataclass(frozen=True)
class ShopPaths:
    """The files of one shop."""

    root: Path

    @property
    def events(self) -> Path:
        """Canonical events, one row per interaction."""
        return self.root / "canonical" / "events.parquet"

    @property
    def products(self) -> Path:
        """Canonical products, one row per SKU."""
        return self.root / "canonical" / "products.parquet"

    @property
    def product_aliases(self) -> Path:
        """Products that ingest merged into another, one row per id that is gone."""
        return self.root / "canonical" / "product_aliases.parquet"

    @property
    def quarantine(self) -> Path:
        """Rows that ingest left out, with reason and source line."""
        return self.root / "canonical" / "quarantine.parquet"

    @property
    def ingest_report(self) -> Path:
        """Counts of the last ingest."""
        return self.root / "canonical" / "report.json"

    @property
    def event_log(self) -> Path:
        """Folder of the events that the API accepted, one JSON object per line."""
        return self.root / "event_log"

    @property
    def product_features(self) -> Path:
        """Feast's product source."""
        return self.root / "features" / "products.parquet"

    @property
    def sequence_features(self) -> Path:
        """Feast's buyer-history source: rolling sequences anchored at labels, and the latest one per buyer."""
        return self.root / "features" / "buyer_sequences.parquet"

    @property
    def purchase_features(self) -> Path:
        """Feast's buyer-purchases source: what each buyer ever bought, as of the last build."""
        return self.root / "features" / "buyer_purchases.parquet"

    @property
    def recent_features(self) -> Path:
        """Feast's batch source of the pushed view; empty, since only pushes write that view."""
        return self.root / "features" / "buyer_recent.parquet"

    @property
    def contexts(self) -> Path:
        """What training and evaluation predict: one row per buyer and moment, with the products chosen then."""
        return self.root / "features" / "contexts.parquet"

    @property
    def training_set(self) -> Path:
        """Folder of the training contexts with their histories, as training.data.context_cache maps them."""
        return self.root / "training_set"

    @property
    def feature_report(self) -> Path:
        """Counts, cut-off, time split and data version of the last feature build."""
        return self.root / "features" / "report.json"

    @property
    def validation(self) -> Path:
        """Folder of the gate's results and Data Docs."""
        return self.root / "validation"

    @property
    def feast(self) -> Path:
        """Folder of Feast's registry."""
        return self.root / "feast"

    @property
    def redis(self) -> Path:
        """Folder of the embedded Valkey server."""
        return self.root / "redis"

    @property
    def model(self) -> Path:
        """Folder of checkpoints and of the trained model."""
        return self.root / "model"

    @property
    def runs(self) -> Path:
        """Folder of training runs: event files for TensorBoard, settings and a picture of each."""
        return self.root / "runs"

    @property
    def search(self) -> Path:
        """Folder of the searches for better settings."""
        return self.root / "search"

    @property
    def embeddings(self) -> Path:
        """Folder of product embeddings and their ids."""
        return self.root / "embeddings"

    @property
    def index(self) -> Path:
        """Folder of the vector index."""
        return self.root / "index"

    @property
    def search_index(self) -> Path:
        """Folder of what finds products by their texts."""
        return self.root / "search_index"

    @property
    def evaluation(self) -> Path:
        """Metrics of the last evaluation."""
        return self.root / "evaluation.json"

    @property
    def evaluation_report(self) -> Path:
        """The last evaluation as a page."""
        return self.root / "report.html"

    @property
    def releases(self) -> Path:
        """Folder of releases; `current` in it points to the live one."""
        return self.root / "releases"

    @property
    def lock(self) -> Path:
        """Lock of the batch jobs: one chain at a time."""
        return self.root / "batch.lock"


def shop_paths(config: Config) -> ShopPaths:
    """The files of the shop that `config` describes."""
    source = config.data.source
    name = Path(source).stem if source.endswith((".yaml", ".yml")) else source
    return ShopPaths((config.data_dir / name).absolute())


def models_dir(config: Config) -> Path:
    """Text encoders, shared by all shops of a data_dir."""
    return config.data_dir / "models"


def text_vectors_dir(config: Config) -> Path:
    """The text-vector cache, shared by all shops of a data_dir."""
    return config.data_dir / "text_vectors"
