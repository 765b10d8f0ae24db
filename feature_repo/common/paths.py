"""Paths of a shop's files, all in one folder: `data_dir/<source>`."""

from dataclasses import dataclass
from pathlib import Path

from feature_repo.common.config import Config

PENDING_FOLDER, IN_FLIGHT_FOLDER = "pending", "in_flight"  # in the event log
MERGES_FOLDER, MERGES_FILE = "merges", "buyers.jsonl"  # also there
UNKNOWN_PRODUCTS_FILE = "unknown_products.jsonl"
HOSTS_FOLDER = "hosts"


@dataclass(frozen=True)
class ShopPaths:
    """The paths of one shop."""

    root: Path

    @property
    def events(self) -> Path:
        """Canonical events, one row per event."""
        return self.root / "canonical" / "events.parquet"

    @property
    def products(self) -> Path:
        """Canonical products, one row per SKU."""
        return self.root / "canonical" / "products.parquet"

    @property
    def product_aliases(self) -> Path:
        """Products that ingest merged into another one: one row per removed id."""
        return self.root / "canonical" / "product_aliases.parquet"

    @property
    def quarantine(self) -> Path:
        """Rows that ingest left out, with reason and source line."""
        return self.root / "canonical" / "quarantine.parquet"

    @property
    def price_quarantine(self) -> Path:
        """Rows that the last `tawsiya refresh --only prices` left out, as in `quarantine`."""
        return self.root / "canonical" / "price_quarantine.parquet"

    @property
    def ingest_report(self) -> Path:
        """Report of the last ingest: counts per table."""
        return self.root / "canonical" / "report.json"

    @property
    def event_log(self) -> Path:
        """Folder of the events that the API accepted, one JSON object per line."""
        return self.root / "event_log"

    def hosts(self) -> list["ShopPaths"]:
        """The folders with logs of the API: this one, and one per further host (`api.log_folder`), by name."""
        further = self.root / HOSTS_FOLDER
        folders = sorted(path for path in further.iterdir() if path.is_dir()) if further.is_dir() else []
        return [self, *map(ShopPaths, folders)]

    @property
    def search_log(self) -> Path:
        """Folder of what was searched without results, one file per day."""
        return self.root / "search_log"

    @property
    def pending_events(self) -> Path:
        """Folder of accepted events that are not yet in the online store; also in the event log."""
        return self.event_log / PENDING_FOLDER

    @property
    def in_flight_requests(self) -> Path:
        """Folder of the places in the event log at which each worker's unfinished requests begin."""
        return self.event_log / IN_FLIGHT_FOLDER

    @property
    def buyer_merges(self) -> Path:
        """Which guests became which buyers, a JSON object per line; beside the days of the event log, and kept."""
        return self.event_log / MERGES_FOLDER / MERGES_FILE

    @property
    def unknown_product_events(self) -> Path:
        """Those of products that the live release does not know; used under files.locked_beside."""
        return self.pending_events / UNKNOWN_PRODUCTS_FILE

    @property
    def source_copies(self) -> Path:
        """Folder of an ingest's temporary copies of source files, unpacked and as UTF-8."""
        return self.root / "tmp" / "source_files"

    @property
    def passed_features(self) -> Path:
        """Folder of a materialization's copies of the files that the data gate has passed."""
        return self.root / "passed_features"

    @property
    def spill(self) -> Path:
        """Folder of what DuckDB cannot keep in memory."""
        return self.root / "tmp" / "spill"

    @property
    def product_features(self) -> Path:
        """Feast's source of product features."""
        return self.root / "features" / "products.parquet"

    @property
    def sequence_features(self) -> Path:
        """Folder of Feast's source of buyer sequences: parts with each buyer's newest one, and context_sequences."""
        return self.root / "features" / "buyer_sequences"

    @property
    def purchase_features(self) -> Path:
        """Folder of Feast's source of buyer purchases: parts with all purchases of each buyer."""
        return self.root / "features" / "buyer_purchases"

    @property
    def buyer_fingerprints(self) -> Path:
        """What the last feature build knew of each buyer, to find those whose events changed since."""
        return self.root / "features" / "buyers.parquet"

    @property
    def changed_buyers(self) -> Path:
        """The buyers that a build writes, for its tasks on Spark."""
        return self.root / "tmp" / "changed_buyers.parquet"

    @property
    def recent_features(self) -> Path:
        """Feast's batch source of the pushed view; empty, because only pushes write that view."""
        return self.root / "features" / "buyer_recent.parquet"

    @property
    def context_sequences(self) -> Path:
        """The buyer sequences that contexts see, in the folder of Feast's source."""
        return self.sequence_features / "contexts.parquet"

    @property
    def contexts(self) -> Path:
        """Contexts of training and evaluation: one row per buyer and moment, with its targets."""
        return self.root / "features" / "contexts.parquet"

    @property
    def context_report(self) -> Path:
        """Report of the contexts: counts, time split and data version."""
        return self.root / "features" / "contexts.json"

    @property
    def training_set(self) -> Path:
        """Folder of the training contexts with their histories, written by training.data.context_cache."""
        return self.root / "training_set"

    @property
    def feature_report(self) -> Path:
        """Report of the last feature build: counts, build time and time split."""
        return self.root / "features" / "report.json"

    @property
    def validation(self) -> Path:
        """Folder of the data gate's results and Data Docs."""
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
        """Folder of training runs: TensorBoard event files, settings and curves of each run."""
        return self.root / "runs"

    @property
    def refreshes(self) -> Path:
        """Folder of the records of `tawsiya refresh`: one file per run, and what each stage was last made from."""
        return self.root / "refreshes"

    @property
    def tuning(self) -> Path:
        """Folder of the tuning studies."""
        return self.root / "search"  # named after the option --search

    @property
    def embeddings(self) -> Path:
        """Folder of the product vectors and the product ids."""
        return self.root / "embeddings"

    @property
    def index(self) -> Path:
        """Folder of the index."""
        return self.root / "index"

    @property
    def search_index(self) -> Path:
        """Folder of the text search."""
        return self.root / "search_index"

    @property
    def baselines(self) -> Path:
        """Metrics of the present model and of the baselines for all test buyers, as JSON; of the data at that time."""
        return self.root / "baselines.json"

    @property
    def shop_lists(self) -> Path:
        """Folder of what the lists on a shop's pages are made from."""
        return self.root / "shop_lists"

    @property
    def evaluation(self) -> Path:
        """Metrics of the last evaluation, as JSON."""
        return self.root / "evaluation.json"

    @property
    def compared_evaluations(self) -> Path:
        """Results of other evaluations, which the report shows beside the last one, as JSON; missing without any."""
        return self.root / "compared_evaluations.json"

    @property
    def shadow_lists(self) -> Path:
        """The lists of the last candidate and those of the live release at that time, as JSON."""
        return self.root / "shadow_lists.json"

    @property
    def reports(self) -> Path:
        """Folder of the HTML reports."""
        return self.root / "reports"

    @property
    def report_index(self) -> Path:
        """The page that leads to all reports."""
        return self.reports / "index.html"

    @property
    def evaluation_report(self) -> Path:
        """The report of the last evaluation."""
        return self.reports / "evaluation.html"

    @property
    def release_report(self) -> Path:
        """The report of the last candidate and the live release."""
        return self.reports / "release.html"

    @property
    def releases(self) -> Path:
        """Folder of the releases; the link `current` points to the live one."""
        return self.root / "releases"

    @property
    def source_record(self) -> Path:
        """Which mapping file the shop is made from."""
        return self.root / "source.json"

    @property
    def forgotten(self) -> Path:
        """List of forgotten buyers, as keyed hashes."""
        return self.root / "forgotten_buyers.json"

    @property
    def unfinished_erasure(self) -> Path:
        """What an erasure that has not ended must know when it is repeated."""
        return self.root / "unfinished_erasure.json"

    @property
    def lock(self) -> Path:
        """Lock of the batch jobs: one job at a time."""
        return self.root / "batch.lock"


def shop_paths(config: Config) -> ShopPaths:
    """The paths of the shop that `config` describes."""
    source = config.data.source
    # A mapping given by path and the same one given by name are one shop.
    name = Path(source).stem if source.endswith((".yaml", ".yml")) else source
    # Absolute, because Feast resolves relative paths against its repository, not against the working directory.
    return ShopPaths((config.data_dir / name).absolute())


def log_paths(config: Config) -> ShopPaths:
    """Where the API of this host writes its logs: `event_log` and `search_log` of these paths."""
    return ShopPaths(config.api.log_folder.absolute()) if config.api.log_folder else shop_paths(config)


def shared_paths(config: Config) -> ShopPaths:
    """The shop's folder of the batch jobs, which write the list of forgotten buyers."""
    shared = config.api.shared_data_dir
    return shop_paths(config.model_copy(update={"data_dir": shared}) if shared else config)


def models_dir(config: Config) -> Path:
    """Folder of the text encoders, which all shops of a data_dir share."""
    return config.data_dir / "models"


def text_vectors_dir(config: Config) -> Path:
    """Folder of the text-vector cache, which all shops of a data_dir share."""
    return config.data_dir / "text_vectors"
