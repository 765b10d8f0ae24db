"""Counts of faulty rows, over several files too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expectations.checks import EVENTS_VIEW, SEQUENCES_VIEW, Check, Fault, Rows, Suite
from expectations.feature_suites import feature_suites
from expectations.row_counts import ALL_ROWS, FAILURE, FAULTY_ROWS, FIRST_VALUES, MISSING_ROWS, count_rows, failing_rows
from expectations.statistics import open_view
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from tests.expectations.gate_shop import BUYER_SEQUENCES, EVENTS, MONDAY, changed, good_events, good_sequences, write


@pytest.fixture
def db(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb_session(Config(data_dir=tmp_path), "validate") as session:
        yield session


def check(name: str, fault: Fault | None) -> Check:
    return Check(name, "", "", None, fault)


def suite(*checks: Check) -> Suite:
    return Suite(EVENTS_VIEW, checks, rows=Rows(EVENTS_VIEW, c.EVENT_ID))


VIEWED = check("viewed", Fault(f"{c.EVENT_TYPE} = 'view'", c.EVENT_ID, counted=f"{c.EVENT_TYPE} IS NOT NULL"))


def test_rows_of_several_files_are_counted_together_and_named_by_their_own(
    db: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    # A name that DuckDB would take for a pattern.
    parts = [tmp_path / "a[1].parquet", tmp_path / "b.parquet"]
    write(parts[0], changed(good_events(), 1, event_type=None), EVENTS)
    write(parts[1], good_events()[2:], EVENTS)
    open_view(db, EVENTS_VIEW, parts, "`tawsiya ingest`")
    counts = count_rows(db, suite(VIEWED, check("events_not_empty", None)))
    assert counts == {
        "viewed": {ALL_ROWS: 6, MISSING_ROWS: 1, FAULTY_ROWS: 3, FIRST_VALUES: ["e1", "e4", "e4"]},
        "events_not_empty": 6,
    }
    assert VIEWED.fault
    found = db.execute(failing_rows(Rows(EVENTS_VIEW, c.EVENT_ID), VIEWED.fault)).fetchall()
    assert [row[2:] for row in found] == [
        ("e1", str(parts[0]), 1),
        ("e4", str(parts[0]), 4),
        ("e4", str(parts[1]), 2),
    ]


def test_a_part_that_cannot_be_read_is_named(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"cannot be read: .*part.parquet.*; run `tawsiya ingest` again"):
        open_view(db, EVENTS_VIEW, [tmp_path / "part.parquet"], "`tawsiya ingest`")


def test_a_check_that_cannot_be_counted_does_not_hide_the_others(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write(tmp_path / "events.parquet", good_events(), EVENTS)
    open_view(db, EVENTS_VIEW, [tmp_path / "events.parquet"], "`tawsiya ingest`")
    no_number = check("no_number", Fault(f"{c.EVENT_ID}::INT > 1", c.EVENT_ID))
    no_column = check("no_column", Fault("colour = 'red'", c.EVENT_ID))
    counts = count_rows(db, suite(no_number, VIEWED, no_column))
    assert "Could not convert string 'e1'" in counts["no_number"][FAILURE]
    assert "colour" in counts["no_column"][FAILURE]
    assert counts["viewed"][FAULTY_ROWS] == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["view", "purchase", None]), max_size=12),
    split=st.integers(min_value=0, max_value=12),
)
def test_counts_and_first_values_are_those_of_the_rows(kinds: list[str | None], split: int, tmp_path: Path) -> None:
    table = [good_events()[0] | {c.EVENT_TYPE: kind, c.EVENT_ID: f"e{n}"} for n, kind in enumerate(kinds)]
    parts = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for part, rows in zip(parts, (table[:split], table[split:]), strict=True):
        write(part, rows, EVENTS)
    viewed = [row[c.EVENT_ID] for row in table if row[c.EVENT_TYPE] == "view"]
    with duckdb.connect() as db:
        open_view(db, EVENTS_VIEW, parts, "")
        assert count_rows(db, suite(VIEWED))["viewed"] == {
            ALL_ROWS: len(table), MISSING_ROWS: kinds.count(None), FAULTY_ROWS: len(viewed), FIRST_VALUES: viewed[:3],
        }  # fmt: skip


def sequence_counts(db: duckdb.DuckDBPyConnection, parts: list[Path]) -> dict[str, Any]:
    open_view(db, SEQUENCES_VIEW, parts, "`tawsiya build-features`")
    (sequences,) = [item for item in feature_suites(Config()) if item.table == SEQUENCES_VIEW]
    return {name: counts[FAULTY_ROWS] for name, counts in count_rows(db, sequences).items()}


def test_a_buyer_without_events_has_an_empty_sequence_and_one_row_per_build(
    db: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    later = good_sequences()[1][c.EVENT_TIMESTAMP]
    gone = good_sequences()[0] | {c.PRODUCT_KEYS: [], c.EVENT_TYPES: [], c.EVENT_TIMES: []}
    parts = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    write(parts[0], good_sequences()[:1], BUYER_SEQUENCES)
    write(parts[1], [gone | {c.EVENT_TIMESTAMP: later}], BUYER_SEQUENCES)
    assert set(sequence_counts(db, parts).values()) == {0}
    write(parts[1], [gone | {c.EVENT_TIMESTAMP: MONDAY}], BUYER_SEQUENCES)
    with duckdb.connect() as other:
        assert sequence_counts(other, parts)["one_row_per_buyer_and_time"] == 2
