"""Samples of the preview: beside each value what ingest reads it as."""

import pytest

from batch_jobs.ingestion.value_samples import read_as
from feature_repo.common.config import Config


@pytest.mark.parametrize(
    ("field", "text", "read"),
    [
        ("buyer_id", " u1 ", "u1"),
        ("buyer_id", "0", "nobody"),
        ("product_id", "0", "0"),
        ("event_type", "Add to Cart", "add_to_cart"),
        ("event_type", "teleport", "unreadable"),
        ("timestamp", "2025-06-01 10:00", "2025-06-01T10:00:00Z"),
        ("timestamp", "soon", "unreadable"),
        ("price", "EGP 2,099.00", "2099 EGP"),
        ("price", "ask us", "unreadable"),
        ("stock", "3", "3"),
        ("stock", "in stock", "in stock"),
        ("availability", "sold out", "out of stock"),
        ("hidden", "hidden", "yes"),
        ("hidden", " 0", "no"),
        ("title", "Lamp", "Lamp"),
    ],
)
def test_a_sample_is_what_ingest_reads(field: str, text: str, read: str) -> None:
    assert read_as(field, text, [text], Config()) == read
