"""Feast's point-in-time join as DuckDB's as-of join.

Feast joins every context with all earlier rows of its buyer, arrays included, and keeps the newest one: time and memory
grow with the square of a buyer's rows (ADR 0011). Here an as-of join of keys and times alone finds the row, and only
then are its arrays read.
"""

from collections.abc import Sequence

import ibis
import ibis.expr.datatypes as dt
import pandas as pd
from feast import FeatureView
from feast.infra.offline_stores.ibis import deduplicate
from ibis.expr.types import Table

# DuckDB's names for the place of a row.
_FILE, _ROW = "filename", "file_row_number"
_ROW_TIME = "time_of_row"


def as_of_join(contexts: pd.DataFrame, moment: str, view: FeatureView, features: Sequence[str]) -> Table:
    """Joins each context with the newest row of its entity that is not later, as Feast does for a view without ttl.

    Args:
        contexts: The view's join keys, the moment (UTC) and any further columns.
        moment: The column of the moment.
        view: A view without ttl, whose source is a Parquet file or a glob and has created timestamps.
        features: The features to join.

    Returns:
        The contexts, in any order, with the features; null where there is no earlier row. Of several rows of one time,
        the one created last is joined.
    """
    # DuckDB takes the contexts, whose number it does not know, for few, and would compare each with every row.
    ibis.get_backend().raw_sql("SET asof_loop_join_threshold = 0")
    keys, source = view.join_keys, view.batch_source
    time, created = source.timestamp_field, source.created_timestamp_column
    rows = ibis.read_parquet(source.path, filename=True, file_row_number=True)
    utc = {name: rows[name].cast(dt.Timestamp(timezone="UTC")) for name in (time, created)}
    places = rows.mutate(**utc).select(*keys, time, created, _FILE, _ROW)
    # One row of each time: an as-of join would take any.
    places = deduplicate(places, [*keys, time], created, None).rename({_ROW_TIME: time})
    entities = ibis.memtable(contexts)
    found = entities.asof_join(places, entities[moment] >= places[_ROW_TIME], predicates=keys)
    found = found.select(*contexts.columns, _FILE, _ROW)
    return found.left_join(rows.select(_FILE, _ROW, *features), [_FILE, _ROW]).select(*contexts.columns, *features)
