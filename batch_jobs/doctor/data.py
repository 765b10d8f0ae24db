"""The data: how old they are, what waits, what was left out; and the clock that they are compared with."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from batch_jobs.console.wording import counted
from batch_jobs.doctor.diagnosis import GOOD, WARNING, Diagnosis, checked, judged
from expectations.gate import require_passed
from expectations.records import CANONICAL, FEATURE_STAGE
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths

_GROUP = "data"
_OLD_DAYS = 7
MANY_BAD = 0.05  # share of rows
WAITING_DAYS = 7  # days of the event log that no ingest has moved to its archive


def data_checks(config: Config, paths: ShopPaths, now: dt.datetime) -> Iterator[Diagnosis]:
    """The gate, the age of the data, rows left out, the event log, rights of buyers."""
    # Warnings: the features and the release of before go on serving.
    validate = "tawsiya validate --explain"
    for name, stage in (("gate, canonical data", CANONICAL), ("gate, features", FEATURE_STAGE)):
        yield checked(_GROUP, name, partial(_passed, paths, stage), validate, otherwise=WARNING)
    if paths.events.is_file():
        yield from age_checks(last_event(paths.events), now)
    if paths.ingest_report.is_file():
        yield quarantine_check(paths.ingest_report)
    yield event_log_check(paths, now)
    yield checked(_GROUP, "forgotten buyers", lambda: _list_state(paths), f"tawsiya restore, for {paths.forgotten}")
    if paths.unfinished_erasure.is_file():
        yield judged(
            _GROUP, "erasure", "a `tawsiya forget` was killed or runs; repeat it with the same ids",
            "tawsiya forget --file IDS",
        )  # fmt: skip
    yield Diagnosis(_GROUP, "retention", GOOD, _kept(config))
    zone = time.strftime("%Z %z")
    yield Diagnosis("clock", "clock", GOOD, f"{now:%Y-%m-%d %H:%M} UTC; this machine's zone is {zone}")


def age_checks(last: dt.datetime | None, now: dt.datetime) -> Iterator[Diagnosis]:
    """How long ago the last event was, or how far ahead it lies."""
    if last is None:
        return
    days = (now - last).total_seconds() / 86_400
    if days < -1:
        text = f"the last event is of {last:%Y-%m-%d %H:%M} UTC, {-days:.1f} days from now"
        yield judged("clock", "events of the future", text, "date, and data.timezone or data.date_order in the mapping")
        return
    remedy = "export the new events and run `tawsiya refresh`" if days > _OLD_DAYS else None
    yield judged(_GROUP, "last event", f"{last:%Y-%m-%d}, {max(days, 0):.1f} days ago", remedy)


def last_event(events: Path) -> dt.datetime | None:
    """The time of the last event, from the statistics of the file; None without events."""
    metadata = pq.read_metadata(events)
    place = metadata.schema.names.index(c.EVENT_TIME)
    groups = [metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups)]
    times = [group.max for group in groups if group is not None and group.has_min_max]
    return max((time if time.tzinfo else time.replace(tzinfo=dt.UTC) for time in times), default=None)


def quarantine_check(ingest_report: Path) -> Diagnosis:
    """How many rows of the last ingest were faulty."""
    try:
        report = json.loads(ingest_report.read_text(encoding="utf-8"))
        tables = [report["events"], report["products"]]
        read, bad = (sum(table[name] for table in tables) for name in ("read", "bad"))
    except (ValueError, KeyError, TypeError):
        return judged(_GROUP, "quarantine", f"{ingest_report} cannot be read", "tawsiya ingest")
    remedy = "tawsiya validate --explain" if bad > MANY_BAD * max(read, 1) else None
    return judged(_GROUP, "quarantine", f"{bad:,} of {read:,} rows of the last ingest were faulty", remedy)


def event_log_check(paths: ShopPaths, now: dt.datetime) -> Diagnosis:
    """Whether events that any host has accepted wait for an ingest for long."""
    files = [path for host in paths.hosts() for path in host.event_log.glob("*.jsonl")]
    days = sorted({path.stem for path in files})
    if not days:
        return Diagnosis(_GROUP, "event log", GOOD, "no accepted event waits for an ingest")
    size = sum(path.stat().st_size for path in files) / 1e6
    text = f"{counted(len(days), 'day')} since {days[0]} wait for an ingest, {size:,.1f} MB"
    waits = now.date() - dt.date.fromisoformat(days[0])
    return judged(_GROUP, "event log", text, "tawsiya refresh" if waits.days > WAITING_DAYS else None)


def _passed(paths: ShopPaths, stage: str) -> str:
    require_passed(paths, stage)
    return "passed"


def _list_state(paths: ShopPaths) -> str:
    return "none" if ForgottenBuyers(paths.forgotten).is_empty() else "kept out of ingest and API"


def _kept(config: Config) -> str:
    """How long data of buyers are kept, which are nowhere else on this machine or go on growing."""
    log, buyers = config.data.event_log_days, config.feature_store.buyer_ttl_days
    return (
        f"accepted events are kept {f'for {log:,} days' if log else 'for good'} (data.event_log_days), buyers in the "
        f"online store {f'for {buyers:,} days after their last event' if buyers else 'for good'} "
        "(feature_store.buyer_ttl_days)"
    )
