"""Splits the time of a shop's events into training, validation and test days (see feature_repo.time_split)."""

import datetime as dt

import ibis
import pandas as pd
from ibis.expr.types import Table, Value

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import shop_paths
from feature_repo.settings.data import DataConfig
from feature_repo.time_split import TimeSplit, read_time_split

UTC_MICROSECONDS = "timestamp('UTC', 6)"
MICROSECOND = dt.timedelta(microseconds=1)
# At most this share of all events may follow a gap and be taken for strays; a shop that opens again has more.
STRAY_SHARE = 0.05


def split_time(events: Table, config: DataConfig) -> tuple[TimeSplit, list[str]]:
    """The time split of canonical events, and warnings about it, a line each.

    Raises:
        ValueError: There are no events, or none before the test days; the message has the dates.
    """
    first, data_end = _span(events)
    usual = _usual_split(first, data_end, config.test_days)
    # Then there is no gap before the test days to look into, and the days need not be counted.
    if _between(events, usual.validation_from, usual.test_from):
        return usual, []
    days = _days(events, data_end)
    kept = _without_strays(days, config.test_days)
    split = _time_split(kept, config.test_days)
    return split, _stray_warning(days, kept)


def require_targets(config: Config) -> None:
    """Refuses features that training could not use, before they are online.

    Raises:
        ValueError: No target lies before the validation days, or none within them; the message has the dates.
    """
    paths = shop_paths(config)
    with duckdb_session(config, "build-features") as db:
        events = ibis.duckdb.from_connection(db).read_parquet(glob_literal(paths.events))
        _require_targets(events, read_time_split(paths.feature_report), config.data)


def _time_split(days: pd.DataFrame, test_days: int) -> TimeSplit:
    """Splits the time: the last `test_days` whole days (UTC) are test days, as many days before them validation days.

    If that would leave no training days, the validation days are the later half of the time before the test days. If no
    event lies in the validation days, they reach back to the last days with events.

    Args:
        days: `_days` of the events up to the end of the data.
        test_days: Number of test days.

    Raises:
        ValueError: No event lies before the test days.
    """
    first, data_end = days["first"].iloc[0].to_pydatetime(), days["last"].iloc[-1].to_pydatetime()
    validation_from, test_from, _ = _usual_split(first, data_end, test_days)
    if test_from <= first:
        room = (_midnight(data_end) - first - MICROSECOND).days  # test days begin after the first event
        remedy = f"lower data.test_days to {room} or less, or load" if room > 0 else "load"
        raise ValueError(
            f"all events lie within the last {test_days} days ({first.date()} to {data_end.date()}), so none is left "
            f"to train on; {remedy} older events"
        )
    last_before = days["last"][days["last"] < test_from].iloc[-1].to_pydatetime()
    if last_before < validation_from:
        validation_from = _validation_from(first, _midnight(last_before) + dt.timedelta(days=1), test_days)
    return TimeSplit(validation_from, test_from, data_end)


def _usual_split(first: dt.datetime, data_end: dt.datetime, test_days: int) -> TimeSplit:
    """The time split of a shop whose events have no gap as long as the validation days."""
    test_from = _midnight(data_end) - dt.timedelta(days=test_days)
    return TimeSplit(_validation_from(first, test_from, test_days), test_from, data_end)


def _validation_from(first: dt.datetime, until: dt.datetime, test_days: int) -> dt.datetime:
    """The start of the validation days that end at `until`."""
    return until - min(dt.timedelta(days=test_days), (until - first) / 2)


def _midnight(moment: dt.datetime) -> dt.datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _without_strays(days: pd.DataFrame, test_days: int) -> pd.DataFrame:
    """The days up to the end of the data: without a few events that follow a gap as long as the validation days.

    One late event, such as a test order after the shop has moved, would otherwise be the whole test. Such events belong
    to sequences, but make no contexts and are no targets.
    """
    n_events = days["events"].sum()
    kept = days
    while True:
        test_from = _midnight(kept["last"].iloc[-1].to_pydatetime()) - dt.timedelta(days=test_days)
        before = kept[kept["last"] < test_from]
        if before.empty:
            return kept
        first, last = before["first"].iloc[0].to_pydatetime(), before["last"].iloc[-1].to_pydatetime()
        n_late = days["events"].iloc[len(before) :].sum()
        if last >= _validation_from(first, test_from, test_days) or n_late > STRAY_SHARE * n_events:
            return kept
        kept = before


def _span(events: Table) -> tuple[dt.datetime, dt.datetime]:
    """The times of the first event and of the last one of the source, or of all if the source has none.

    Raises:
        ValueError: There are no events.
    """
    if not _exists(events):
        raise ValueError("there are no events to build features from; see the quarantine of `tawsiya ingest`")
    time, of_source = events[c.EVENT_TIME], events[c.ORIGIN] == c.Origin.SOURCE.value
    last = time.max()
    # Without events of the log, DuckDB answers from the statistics of the file.
    if _exists(events.filter(~of_source)):
        last = time.max(where=of_source).coalesce(last)
    span = events.agg(first=time.min(), last=last).execute().iloc[0]
    return span["first"].to_pydatetime(), span["last"].to_pydatetime()


def _between(events: Table, start: dt.datetime, end: dt.datetime) -> bool:
    """Whether there is an event from `start` until before `end`."""
    time = events[c.EVENT_TIME]
    return _exists(events.filter(time >= _literal(start), time < _literal(end)))


def _exists(events: Table) -> bool:
    """Whether there is any; DuckDB reads no further than to the first one."""
    return not events.select(c.EVENT_TIME).limit(1).execute().empty


def _literal(moment: dt.datetime) -> Value:
    return ibis.literal(moment).cast(UTC_MICROSECONDS)


def _days(events: Table, data_end: dt.datetime) -> pd.DataFrame:
    """One row per day (UTC) with events, up to the end of the data: `first`, `last` and number of `events`."""
    known = events.filter(events[c.EVENT_TIME] <= _literal(data_end))
    time = known[c.EVENT_TIME]
    by_day = known.group_by(day=time.truncate("D")).agg(first=time.min(), last=time.max(), events=known.count())
    days: pd.DataFrame = by_day.order_by("day").execute()
    return days


def _stray_warning(days: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """A line about events that were taken for strays; none if there are none."""
    late = days.iloc[len(kept) :]
    if late.empty:
        return []
    n_late = int(late["events"].sum())
    return [
        f"{n_late} event{'s' if n_late > 1 else ''} of {late['first'].iloc[0].date()} to "
        f"{late['last'].iloc[-1].date()} long after the one before, of {kept['last'].iloc[-1].date()}: the data end "
        "there, and later events count in histories alone; exclude them, or load the events in between"
    ]


def _require_targets(events: Table, split: TimeSplit, config: DataConfig) -> None:
    """Raises ValueError if training would find no target, or validation none."""
    targets = events.filter(events[c.EVENT_TYPE].isin(sorted(config.target_events)))
    first, _ = _span(events)
    if _between(targets, first, split.validation_from) and _between(targets, split.validation_from, split.test_from):
        return
    time = targets[c.EVENT_TIME]
    validation, test = map(_literal, split[:2])
    counts = targets.agg(
        train=(time < validation).sum().coalesce(0),
        validation=((time >= validation) & (time < test)).sum().coalesce(0),
        test=(time >= test).sum().coalesce(0),
    ).execute()
    train, within, after = (int(counts[name].iloc[0]) for name in ("train", "validation", "test"))
    times = events.agg(first=events[c.EVENT_TIME].min(), last=events[c.EVENT_TIME].max()).execute().iloc[0]
    raise ValueError(
        f"there is nothing to {'validate with' if train else 'train on'}: the events run from "
        f"{times['first'].date()} to {times['last'].date()}; of those of data.target_events, {train} lie before the "
        f"validation days (from {split.validation_from.date()}), {within} within them and {after} in the test days "
        f"(from {split.test_from.date()}); load more events, or change data.test_days (now {config.test_days})"
    )
