"""Fields of events: the fast paths in SQL leave what the rules leave."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.event_fields import (
    event_type_expression,
    id_expression,
    quantity_of,
    register_field_functions,
)
from feature_repo.settings.data import DataConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES, read_event_type
from feature_repo.transforms.values.ids import clean_buyer_id, clean_id, id_problem

IDS = st.one_of(
    st.text(alphabet="0123456789-_AENNulan. \t", max_size=8),
    st.text(max_size=5),
    st.sampled_from(["-1", "0", "NULL", "nan", "00000000-0000-0000-0000-000000000000", "a" * 300, "1" * 64, "1_2-b"]),
)


@settings(max_examples=200)
@given(st.lists(IDS, min_size=1, max_size=20))
def test_ids_are_cleaned_as_the_rules_say(texts: list[str]) -> None:
    with duckdb.connect() as db:
        db.execute("CREATE TEMP TABLE raw_events (origin VARCHAR, timestamp VARCHAR)")
        register_field_functions(db, DataConfig())
        for text in texts:
            row = db.execute(
                f"SELECT {id_expression('t', 'clean_id')}, {id_expression('t', 'clean_buyer_id')}, has_id_problem(t), "
                f"{event_type_expression('t')} FROM (SELECT ?::VARCHAR AS t)",
                [text],
            ).fetchone()
            assert row == (
                clean_id(text), clean_buyer_id(text), id_problem(text) is not None, read_event_type(text) or "unknown",
            )  # fmt: skip


def test_canonical_event_types_mean_themselves() -> None:
    assert [read_event_type(name) for name in EVENT_TYPE_NAMES] == list(EVENT_TYPE_NAMES)


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [("1", 1000), ("1.001", 1001), ("-٠٫٥", -500), ("1e30", None), ("-1e30", None), ("many", None), (None, None)],
)
def test_quantities_are_exact_to_a_thousandth(text: str | None, thousandths: int | None) -> None:
    assert quantity_of(text) == thousandths
