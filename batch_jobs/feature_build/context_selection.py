"""Selects the contexts of training, validation and test within their budgets, before anything else is computed of them.

The functions are ibis expressions that give the same rows on DuckDB and on Spark: ties are broken by MD5, which both
have, and never by the order of rows.
"""

import datetime as dt
from collections.abc import Collection

import ibis
from ibis.expr.types import StringColumn, Table

from batch_jobs.feature_build.split_time import UTC_MICROSECONDS
from feature_repo import columns as c
from feature_repo.settings.data import DataConfig
from feature_repo.settings.model import TrainingConfig
from feature_repo.time_split import TimeSplit
from feature_repo.transforms.events import EVENT_TYPE_CODES

# Parquet and Feast store microseconds, so this is the smallest step before a moment.
ONE_MICROSECOND = ibis.interval(microseconds=1)
# Digits of MD5 that break ties; a string of 12 characters is one that DuckDB sorts without a pointer.
_TIE_DIGITS = 12
_TIE, _PLACE = "tie", "place"


def target_moments(events: Table, target_events: Collection[str]) -> Table:
    """The moments at which a buyer chose something: buyer_id and event_timestamp, each pair once.

    Args:
        events: Events as encode_events returns them.
        target_events: The event types that are targets; other events alone make no context.
    """
    codes = [EVENT_TYPE_CODES[name] for name in sorted(target_events)]
    return events.filter(events[c.EVENT_TYPE].isin(codes)).select(c.BUYER_ID, c.EVENT_TIMESTAMP).distinct()


def training_contexts(moments: Table, split: TimeSplit, settings: TrainingConfig) -> Table:
    """The newest moments before the test days, as contexts: buyer_id, event_timestamp and split.

    The selection fit learns from the contexts before the validation days, and the refit from those within them too.
    Each of the two periods has the whole budget: in a large shop the validation days alone would spend it, and leave
    the selection fit nothing.
    """
    before = moments.filter(moments[c.EVENT_TIMESTAMP] < _literal(split.validation_from))
    within = _between(moments, split.validation_from, split.test_from)
    newest = ibis.union(_newest(before, settings), _newest(within, settings))
    return _as_contexts(newest, c.TRAIN)


def held_out_contexts(moments: Table, split: TimeSplit, name: str, settings: DataConfig) -> Table:
    """The contexts of the validation or test days: buyer_id, event_timestamp and split.

    Where there are too many, a random sample stays, not the newest ones: these would be the last hours of the days, or
    any of the buyers where all contexts lie at the start of the days. The sample does not depend on `training.seed`,
    so that models of several seeds are measured on the same contexts.

    Args:
        moments: See target_moments; up to the end of the data.
        split: The time split.
        name: VALIDATION or TEST.
        settings: `evaluation_unit`: one context per buyer at the start of the days, or one per moment within them.
    """
    start = split.validation_from if name == c.VALIDATION else split.test_from
    end = split.test_from if name == c.VALIDATION else None
    moments = _between(moments, start, end)
    if settings.evaluation_unit == "per_buyer":
        moments = moments.select(c.BUYER_ID).distinct().mutate(**{c.EVENT_TIMESTAMP: _literal(start)})
    if settings.max_held_out_contexts:
        tied = moments.mutate(**{_TIE: _tie(moments, name)})
        ordered = tied.order_by([_TIE, c.BUYER_ID, c.EVENT_TIMESTAMP])
        moments = ordered.limit(settings.max_held_out_contexts).drop(_TIE)
    return _as_contexts(moments, name)


def _newest(moments: Table, settings: TrainingConfig) -> Table:
    """The newest moments within the budget; buyers of one moment, by a hash with the seed.

    By the id, the budget would always take the same buyers of a data set whose times are days.
    """
    if settings.max_contexts_per_buyer:
        newest_first = ibis.row_number().over(group_by=c.BUYER_ID, order_by=ibis.desc(c.EVENT_TIMESTAMP))
        numbered = moments.mutate(**{_PLACE: newest_first})
        moments = numbered.filter(numbered[_PLACE] < settings.max_contexts_per_buyer).drop(_PLACE)
    if settings.max_contexts:
        time = moments[c.EVENT_TIMESTAMP]
        oldest = moments.order_by(ibis.desc(c.EVENT_TIMESTAMP)).limit(1, offset=settings.max_contexts - 1)
        # Ties among older moments do not matter, and a hash of each costs as much as all the rest.
        moments = moments.filter(time >= oldest.select(c.EVENT_TIMESTAMP).as_scalar().coalesce(time))
        tied = moments.mutate(**{_TIE: _tie(moments, str(settings.seed))})
        ordered = tied.order_by([ibis.desc(c.EVENT_TIMESTAMP), _TIE, c.BUYER_ID])
        moments = ordered.limit(settings.max_contexts).drop(_TIE)
    return moments


def _tie(moments: Table, seed: str) -> StringColumn:
    """A pseudo-random text per buyer and second; contexts of one second are told apart by their time."""
    second = moments[c.EVENT_TIMESTAMP].truncate("s").epoch_seconds()
    # By way of a float: ibis takes DuckDB's seconds for the integer that they are on Spark, and omits a cast to it.
    text = second.cast("float64").cast("int64").cast("string")
    key = ibis.literal(f"{seed} ") + text + ibis.literal(" ") + moments[c.BUYER_ID]
    return key.hexdigest("md5").left(_TIE_DIGITS)


def _as_contexts(moments: Table, split: str) -> Table:
    """Stamped one microsecond before the moment, because Feast joins with <=."""
    stamp = (moments[c.EVENT_TIMESTAMP] - ONE_MICROSECOND).cast(UTC_MICROSECONDS)
    return moments.select(c.BUYER_ID, **{c.EVENT_TIMESTAMP: stamp, c.SPLIT: ibis.literal(split)})


def _between(moments: Table, start: dt.datetime, end: dt.datetime | None) -> Table:
    later = moments.filter(moments[c.EVENT_TIMESTAMP] >= _literal(start))
    return later if end is None else later.filter(later[c.EVENT_TIMESTAMP] < _literal(end))


def _literal(moment: dt.datetime) -> ibis.Value:
    return ibis.literal(moment).cast(UTC_MICROSECONDS)
