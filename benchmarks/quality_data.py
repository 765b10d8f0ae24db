"""The data sets of the quality benchmark, each taken through the product's own ingest, gate and feature build."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.refresh import build_validated_features
from expectations.gate import validate_canonical
from feature_repo.common.config import Config, load_config
from feature_repo.common.paths import shop_paths
from training.evaluation.held_out import ALL, NEW_ITEMS, NEXT

DATA_DIR = Path("var/benchmarks/quality")
SHARED_DATA = "TAWSIYA_SHARED_DATA"
COLD_SHARE = 0.1
COLD_SEED = 5


@dataclass(frozen=True)
class DataSet:
    """A protocol: which data, how they are split, what is asked. Nothing here is about the model.

    Attributes:
        settings: Of the section `data`.
        kinds: Kinds of targets that are judged (see training.evaluation.held_out).
        note: What a reader of the figures must know.
    """

    settings: Mapping[str, str]
    kinds: Sequence[str]
    note: str


BOTH = (ALL, NEW_ITEMS)
DATA_SETS: Mapping[str, DataSet] = {
    "online_retail": DataSet(
        {"cut": "false", "test_days": "30"},
        BOTH,
        "test: the last 30 whole days and the last day, buyers and products seen before",
    ),
    "complete_journey": DataSet({"cut": "true"}, BOTH, "the demo's cut"),
    "amazon_5core": DataSet(
        {"test_days": "1"},
        (NEXT,),
        "leave one out: the last item of each user, trained on all others; the user's history is masked; timestamps "
        "are ordinal (each user's last event on one day); what was one day stands in the order of the file, which is "
        "by product id",
    ),
    "ga4_merch": DataSet(
        {"test_days": "10", "ask": "per_moment", "target_events": "[add_to_cart, purchase]"},
        (ALL,),
        "at a session's first strong event, from what was seen before it: what the session puts in the cart or buys",
    ),
}


def prepared(name: str, folder: Path | None, *, cold: bool, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a data set whose features are built.

    Args:
        name: A key of DATA_SETS.
        folder: For `amazon_5core`, another folder with sequences.txt and items.csv.
        cold: Hold a tenth of the products out of training (`amazon_5core` only).
        overrides: Further `--set`s.

    Raises:
        ValueError: The data set takes no folder.
        FileNotFoundError: The data are not there.
    """
    if (folder is not None or cold) and name != "amazon_5core":
        raise ValueError("--data and --cold are for amazon_5core; the other data sets lie where their mapping says")
    if SHARED_DATA not in os.environ and (shared := Path("../shared/data")).is_dir():
        os.environ[SHARED_DATA] = str(shared.resolve())
    settings = [f"data.{key}={value}" for key, value in DATA_SETS[name].settings.items()]
    label = folder.name if folder else name
    if folder is not None or cold:
        folder = folder or Path(os.environ[SHARED_DATA]) / "amazon_beauty"
        sequences = without_cold(folder, DATA_DIR / f"{label}_cold") if cold else folder / "sequences.txt"
        settings += [f"data.events_path={sequences}", f"data.products_path={folder / 'items.csv'}"]
    root = DATA_DIR / (f"{label}_cold" if cold else label)
    config = load_config(overrides=[f"data.source={name}", f"data_dir={root}", *settings, *overrides])
    if not shop_paths(config).feature_report.is_file():
        ingest(config)
        validate_canonical(shop_paths(config), config)
        build_validated_features(config)
    return config


def without_cold(folder: Path, into: Path) -> Path:
    """Writes the sequences without a tenth of the products, except where one is a user's last item; returns the file.

    So these products have no event before the test, and some test users chose one.
    """
    into.mkdir(parents=True, exist_ok=True)
    rows = [line.split() for line in (folder / "sequences.txt").read_text(encoding="utf-8").splitlines()]
    products = sorted({item for _, *items in rows for item in items})
    cold = set(np.random.default_rng(COLD_SEED).choice(products, round(COLD_SHARE * len(products)), replace=False))
    kept = [[user, *(item for item in items[:-1] if item not in cold), items[-1]] for user, *items in rows]
    path = into / "sequences.txt"
    path.write_text("\n".join(" ".join(row) for row in kept if len(row) > 2) + "\n", encoding="utf-8")
    return path
