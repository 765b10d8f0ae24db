"""Shops of three products whose events are tuples, ingested and built with the real jobs."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.keys import product_key
from feature_repo.transforms.sequences import EventSequence, sequence
from online_api.events.event_log import EventLog, LoggedEvent

REPOSITORY = Path(__file__).parents[2]
PRODUCT_IDS = ("p1", "p2", "p3")
START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = 24 * 3600 * 1000  # milliseconds

# Milliseconds since START, product, event type.
Event = tuple[int, str, str]
# The order of sequences: milliseconds since 1970, product key, code of the event type.
Stored = tuple[int, int, int]


def ms(offset: int) -> int:
    """Milliseconds since 1970."""
    return int(START.timestamp()) * 1000 + offset


def stored(events: Iterable[Event]) -> list[Stored]:
    """The distinct events as sequences must store them, oldest first."""
    return sorted({(ms(time), product_key(product), EVENT_TYPE_CODES[kind]) for time, product, kind in events})


def as_stored(events: EventSequence) -> list[Stored]:
    """The events of a sequence, in its order."""
    return list(
        zip(events.event_times.tolist(), events.product_keys.tolist(), events.event_types.tolist(), strict=True)
    )


def pushed(*events: Event) -> EventSequence:
    """Events as the API pushes them, in the order given."""
    return sequence(
        [product_key(product) for _, product, _ in events],
        [EVENT_TYPE_CODES[kind] for *_, kind in events],
        [ms(time) for time, *_ in events],
    )


def shop(folder: Path, max_length: int = 100) -> Config:
    """The configuration of a shop whose files lie in `folder`, with its products."""
    folder.mkdir(parents=True, exist_ok=True)
    products = "".join(f"{product_id},منتج {product_id}\n" for product_id in PRODUCT_IDS)
    (folder / "products.csv").write_text(f"id,title\n{products}", encoding="utf-8")
    return Config.model_validate(
        {
            "data_dir": folder / "var",
            "data": {
                "source": str(REPOSITORY / "config/sources/csv.yaml"),
                "events_path": str(folder / "events.csv"),
                "products_path": str(folder / "products.csv"),
                "test_days": 1,
            },
            "model": {"buyer_tower": {"max_interaction_history": max_length}},
        }
    )


def build(config: Config, events: dict[str, list[Event]]) -> None:
    """Writes the shop's export, ingests it and builds the features."""
    write_events(config, events)
    rebuild(config)


def write_events(config: Config, events: dict[str, list[Event]]) -> None:
    """Writes the shop's export."""
    lines = [
        f"{buyer},{product},{kind},{(START + timedelta(milliseconds=time)).isoformat()}\n"
        for buyer, of_buyer in events.items()
        for time, product, kind in of_buyer
    ]
    assert config.data.events_path is not None
    Path(config.data.events_path).write_text(
        "buyer_id,product_id,event_type,timestamp\n" + "".join(lines), encoding="utf-8"
    )


def rebuild(config: Config) -> None:
    """Ingests the export and the event log as they are, and builds the features."""
    report = ingest(config)
    assert report["events"]["bad"] == 0, report
    build_features(config)


def log_events(config: Config, buyer: str, *events: Event) -> None:
    """Writes events to the API's event log."""
    log = EventLog(shop_paths(config).event_log)
    log.append(
        [
            LoggedEvent(f"{buyer}-{time}-{product}-{kind}", buyer, product, kind, ms(time))
            for time, product, kind in events
        ]
    )


def online(store: FeatureStore, buyers: Collection[str]) -> dict[str, list[Stored]]:
    """The events that a recommendation reads, by buyer."""
    return {buyer: as_stored(store.online.read_sequence(buyer)) for buyer in buyers}


def offline(store: FeatureStore, buyers: Collection[str]) -> dict[str, list[Stored]]:
    """The events that training reads at this moment, by buyer."""
    contexts = pd.DataFrame({c.BUYER_ID: list(buyers), c.EVENT_TIMESTAMP: pd.Timestamp.now(tz="UTC")})
    return {
        row[c.BUYER_ID]: list(
            zip(row[c.EVENT_TIMES] or [], row[c.PRODUCT_KEYS] or [], row[c.EVENT_TYPES] or [], strict=True)
        )
        for row in store.historical_sequences(contexts).to_pylist()
    }
