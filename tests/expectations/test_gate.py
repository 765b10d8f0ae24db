"""The data gate on a shop of three products and four events, and on that shop with one fault."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expectations.gate import (
    CANONICAL,
    SEQUENCES,
    GateResult,
    raise_if_refused,
    require_passed,
    validate_canonical,
    validate_sequences,
)
from expectations.runner import MAX_DOCS_RUNS
from expectations.suites import names
from feature_repo import columns as c
from feature_repo.common.config import Config, ConfigError
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths

Rows = list[dict[str, Any]]
Validate = Callable[[ShopPaths, Config], GateResult]

MONDAY = datetime(2024, 1, 1, 10, tzinfo=UTC)
MONDAY_MS = int(MONDAY.timestamp() * 1000)


def schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(fields))


PRODUCTS = schema(
    (c.PRODUCT_ID, pa.string()),
    (c.PRODUCT_KEY, pa.int64()),
    (c.TITLE, pa.string()),
    (c.TEXT, pa.string()),
    (c.CATEGORY, pa.string()),
    (c.PRICE, pa.float64()),
    (c.STOCK, pa.int64()),
)
EVENTS = schema(
    (c.EVENT_ID, pa.string()),
    (c.BUYER_ID, pa.string()),
    (c.PRODUCT_ID, pa.string()),
    (c.PRODUCT_KEY, pa.int64()),
    (c.EVENT_TYPE, pa.string()),
    (c.EVENT_TIME, pa.timestamp("ms", "UTC")),
)
BUYER_SEQUENCES = schema(
    (c.BUYER_ID, pa.string()),
    (c.EVENT_TIMESTAMP, pa.timestamp("us", "UTC")),
    (c.CREATED_TIMESTAMP, pa.timestamp("us", "UTC")),
    (c.PRODUCT_KEYS, pa.list_(pa.int64())),
    (c.EVENT_TYPES, pa.list_(pa.int32())),
    (c.EVENT_TIMES, pa.list_(pa.int64())),
)


def rows(schema: pa.Schema, *values: tuple[Any, ...]) -> Rows:
    return [dict(zip(schema.names, row, strict=True)) for row in values]


def good_products() -> Rows:
    return rows(
        PRODUCTS,
        ("p1", 101, "قميص قطن", "قميص قطن مريح", "shirts", 19.5, 3),
        ("p2", 102, "Blue mug", "Blue mug", "kitchen", None, None),
        ("p3", 103, "Red mug", "Red mug", None, 0.0, 0),
    )


def good_events() -> Rows:
    return rows(
        EVENTS,
        ("e1", "anna", "p1", 101, "view", MONDAY),
        ("e2", "anna", "p1", 101, "purchase", MONDAY + timedelta(minutes=5)),
        ("e3", "badr", "p2", 102, "add_to_cart", MONDAY),
        ("e4", "badr", "p3", 103, "view", MONDAY),
    )


def good_report() -> dict[str, Any]:
    counts = {"read": 100, "kept": 88, "excluded": 10, "bad": 2, "reasons": {"no product": 2}}
    return {"dataset": "test", "cut": None, "events": dict(counts), "products": dict(counts)}


def good_sequences() -> Rows:
    return rows(
        BUYER_SEQUENCES,
        ("anna", MONDAY, MONDAY, [101], [0], [MONDAY_MS]),
        ("anna", MONDAY + timedelta(hours=1), MONDAY, [101, 101], [0, 2], [MONDAY_MS, MONDAY_MS + 300_000]),
        ("badr", MONDAY, MONDAY, [102, 103], [1, 0], [MONDAY_MS, MONDAY_MS]),
    )


def write(path: Path, table: Rows, schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, schema), path)


def write_canonical(
    root: Path,
    *,
    products: Rows | None = None,
    events: Rows | None = None,
    report: dict[str, Any] | None = None,
) -> ShopPaths:
    paths = ShopPaths(root)
    write(paths.products, good_products() if products is None else products, PRODUCTS)
    write(paths.events, good_events() if events is None else events, EVENTS)
    paths.ingest_report.write_text(json.dumps(report or good_report()), encoding="utf-8")
    return paths


def write_sequences(root: Path, sequences: Rows | None = None) -> ShopPaths:
    paths = ShopPaths(root)
    write(paths.sequence_features, sequences or good_sequences(), BUYER_SEQUENCES)
    return paths


def changed(table: Rows, position: int, **values: Any) -> Rows:
    return [row | values if index == position else row for index, row in enumerate(table)]


def failures(result: GateResult) -> dict[str, str]:
    return {finding.name: finding.observed for finding in result.findings if not finding.success}


BAD_PRODUCTS = {
    "product_id_not_null": (changed(good_products(), 0, product_id=None), "1 of 3 rows (33.3%) lack a product id"),
    "product_id_unique": (
        changed(good_products(), 0, product_id="p2"),
        "2 of 3 rows (66.7%) share a product id, e.g. p2",
    ),
    "product_key_unique": (
        [*good_products(), good_products()[1] | {c.PRODUCT_ID: "p4", c.TITLE: "Mug"}],
        "2 of 4 rows (50.0%) share a product key, e.g. 102",
    ),
    "text_not_empty": (changed(good_products(), 0, text=""), "1 of 3 rows (33.3%) have no text at all"),
    "title_present": (changed(good_products(), 0, title=" ", text=" "), "1 of 3 rows (33.3%) lack a title"),
    "titles_distinct": (
        changed(good_products(), 1, title="Red mug"),
        "have a title that another product has too, e.g.",
    ),
    "category_known": (changed(good_products(), 0, category=None), "2 of 3 rows (66.7%) lack a category"),
    "price_not_negative": (
        changed(good_products(), 0, price=-3.0),
        "1 of 2 rows (50.0%) have a price below 0, e.g. -3.0",
    ),
    "stock_not_negative": (changed(good_products(), 0, stock=-1), "have a stock below 0, e.g. -1"),
}
BAD_EVENTS = {
    "events_not_empty": ([], "0 events"),
    "event_id_unique": (changed(good_events(), 0, event_id="e2"), "2 of 4 rows (50.0%) share an event id, e.g. e2"),
    "buyer_id_not_null": (changed(good_events(), 0, buyer_id=None), "1 of 4 rows (25.0%) lack a buyer id"),
    "event_type_known": (
        changed(good_events(), 0, event_type="stare"),
        "are none of view, add_to_cart, purchase, e.g. stare",
    ),
    "event_time_not_future": (
        changed(good_events(), 0, event_time=datetime(2999, 1, 1, tzinfo=UTC)),
        "e.g. 2999-01-01",
    ),
    "event_time_plausible": (changed(good_events(), 0, event_time=None), "lie before 2000, e.g. 1970-01-01"),
    "product_known": (changed(good_events(), 0, product_id="p9", product_key=109), "not in the catalogue, e.g. p9"),
}
BAD_REPORTS = {
    # 6 of the 90 rows that no rule excluded; as a share of all 100 it would be just above the limit too
    "bad_event_share": ("events", {"bad": 6}, "6.7% of the events read are bad (at most 5.0% may be)"),
    "bad_product_share": ("products", {"bad": 6}, "6.7% of the products read are bad (at most 5.0% may be)"),
    # merged content does not count
    "duplicate_product_id_share": (
        "products",
        {"reasons": {"duplicate_product_id": 6, "duplicate_content": 50}},
        "6.7% of the products read repeat an earlier id (at most 5.0% may)",
    ),
}
BAD_SEQUENCES = {
    "sequence_lengths_equal": (changed(good_sequences(), 2, event_types=[1]), "of different lengths, e.g. 2/1/2"),
    "sequence_length_limit": (
        changed(good_sequences(), 2, product_keys=[102] * 3, event_types=[0] * 3, event_times=[MONDAY_MS] * 3),
        "more than 2 events, e.g. 3",
    ),
    "sequence_times_sorted": (
        changed(good_sequences(), 1, event_times=[MONDAY_MS + 300_000, MONDAY_MS]),
        "do not run from the oldest event to the newest, e.g. anna",
    ),
    "sequence_times_before_row": (
        changed(good_sequences(), 0, event_times=[MONDAY_MS + 1]),
        "later than the row itself, e.g. 2024-01-01T10:00:00.000000, 2024-01-01T10:00:00.001000",
    ),
    "one_row_per_buyer_and_time": (
        changed(good_sequences(), 1, event_timestamp=MONDAY, event_times=[MONDAY_MS, MONDAY_MS]),
        "2 of 3 rows (66.7%) share buyer and time, e.g. anna, 2024-01-01 10:00:00",
    ),
}
SHORT = load_config(overrides=["model.buyer_tower.max_interaction_history=2"], environ={})


def check(result: GateResult, name: str, observed: str) -> None:
    assert set(failures(result)) == {name}
    assert observed in failures(result)[name]
    if name in Config().expectations.warn_only:
        raise_if_refused(result)
    else:
        with pytest.raises(GateRefusedError, match=name):
            raise_if_refused(result)


@pytest.mark.parametrize("name", BAD_PRODUCTS)
def test_bad_products_are_named(name: str, tmp_path: Path) -> None:
    products, observed = BAD_PRODUCTS[name]
    check(validate_canonical(write_canonical(tmp_path, products=products), Config()), name, observed)


def test_an_empty_catalogue_is_named(tmp_path: Path) -> None:
    result = validate_canonical(write_canonical(tmp_path, products=[]), Config())
    assert failures(result)["products_not_empty"] == "0 products"
    assert set(failures(result)) == {"products_not_empty", "product_known"}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_bad_events_are_named(name: str, tmp_path: Path) -> None:
    events, observed = BAD_EVENTS[name]
    check(validate_canonical(write_canonical(tmp_path, events=events), Config()), name, observed)


@pytest.mark.parametrize("name", BAD_REPORTS)
def test_bad_shares_of_rows_are_named(name: str, tmp_path: Path) -> None:
    table, counts, observed = BAD_REPORTS[name]
    report = good_report()
    report[table] |= counts
    check(validate_canonical(write_canonical(tmp_path, report=report), Config()), name, observed)


@pytest.mark.parametrize("reasons", [{}, {"duplicate_content": 50}, {"duplicate_product_id": 4}])
def test_few_repeated_product_ids_pass(reasons: dict[str, int], tmp_path: Path) -> None:
    report = good_report()
    report["products"]["reasons"] = reasons
    assert failures(validate_canonical(write_canonical(tmp_path, report=report), Config())) == {}


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_bad_sequences_are_named(name: str, tmp_path: Path) -> None:
    sequences, observed = BAD_SEQUENCES[name]
    check(validate_sequences(write_sequences(tmp_path, sequences), SHORT), name, observed)


def test_every_expectation_has_a_failing_example() -> None:
    assert names(Config()) == {"products_not_empty", *BAD_PRODUCTS, *BAD_EVENTS, *BAD_REPORTS, *BAD_SEQUENCES}


@pytest.fixture(scope="module")
def good_shop(tmp_path_factory: pytest.TempPathFactory) -> ShopPaths:
    root = tmp_path_factory.mktemp("shop")
    for validate in (validate_canonical, validate_sequences):
        result = validate(write_sequences(root) if validate is validate_sequences else write_canonical(root), SHORT)
        assert result.passed
        assert failures(result) == {}
        raise_if_refused(result)
    return ShopPaths(root)


def test_a_good_shop_passes_both_stages(good_shop: ShopPaths) -> None:
    require_passed(good_shop)


@pytest.mark.parametrize("stage", [CANONICAL, SEQUENCES])
def test_the_record_is_json_with_findings_statistics_and_inputs(good_shop: ShopPaths, stage: str) -> None:
    record = json.loads((good_shop.validation / f"{stage}.json").read_text(encoding="utf-8"))
    assert record["passed"] is True
    assert all(fingerprint["size"] > 0 for fingerprint in record["inputs"].values())
    for table, result in record["great_expectations"].items():
        of_table = [finding for finding in record["findings"] if finding["table"] == table]
        assert result["statistics"]["successful_expectations"] == len(of_table)


def test_data_docs_show_both_stages_without_the_network(good_shop: ShopPaths) -> None:
    docs = good_shop.validation / "data_docs"
    index = (docs / "index.html").read_text(encoding="utf-8")
    for table in ("products", "events", "ingest", "sequences"):
        (page,) = (docs / "validations" / table).rglob("*.html")
        assert f'<a href="{page.relative_to(docs).as_posix()}">' in index
        assert "great-expectations-web-assets" not in page.read_text(encoding="utf-8")
    assert "great-expectations-web-assets" not in index


def test_data_docs_escape_what_the_shop_wrote(tmp_path: Path) -> None:
    products = changed(changed(good_products(), 0, title="<script>x"), 1, title="<script>x")
    paths = write_canonical(tmp_path, products=products)
    assert "<script>x" in failures(validate_canonical(paths, Config()))["titles_distinct"]
    (page,) = (paths.validation / "data_docs" / "validations" / "products").rglob("*.html")
    html = page.read_text(encoding="utf-8")
    assert "&lt;script>x" in html
    assert "<script>x" not in html


def test_data_docs_keep_the_latest_runs(tmp_path: Path) -> None:
    paths = write_sequences(tmp_path)
    validate_sequences(paths, Config())
    runs = paths.validation / "results" / "sequences" / SEQUENCES
    (run,) = runs.iterdir()
    for day in range(1, MAX_DOCS_RUNS + 1):
        shutil.copytree(run, runs / f"202001{day:02}T000000.000000Z")
    validate_sequences(paths, Config())
    remaining = sorted(path.parent.name for path in runs.rglob("*.json"))
    assert len(remaining) == MAX_DOCS_RUNS
    assert remaining[0] == "20200103T000000.000000Z"
    assert run.name in remaining


def test_a_refusal_names_the_quarantine_and_the_report_and_keeps_refusing(tmp_path: Path) -> None:
    paths = write_canonical(tmp_path, products=BAD_PRODUCTS["price_not_negative"][0])
    validate_canonical(paths, Config())
    with pytest.raises(GateRefusedError) as refusal:
        require_passed(paths, CANONICAL)
    assert "products: price_not_negative: 1 of 2 rows (50.0%) have a price below 0, e.g. -3.0" in str(refusal.value)
    assert f"{paths.quarantine} (events: no product 2" in str(refusal.value)
    assert str(paths.validation / "data_docs" / "index.html") in str(refusal.value)


def test_what_the_configuration_calls_a_warning_does_not_block(tmp_path: Path) -> None:
    config = load_config(overrides=["expectations.warn_only=[price_not_negative]"], environ={})
    paths = write_canonical(tmp_path, products=BAD_PRODUCTS["price_not_negative"][0])
    result = validate_canonical(paths, config)
    assert set(failures(result)) == {"price_not_negative"}
    require_passed(paths, CANONICAL)
    blocking = {finding.name for finding in result.findings if finding.blocking}
    assert "titles_distinct" in blocking


def test_an_unknown_warning_is_a_configuration_error(tmp_path: Path) -> None:
    config = load_config(overrides=["expectations.warn_only=[price_negative]"], environ={})
    with pytest.raises(ConfigError, match=r"no expectation price_negative; the names are .*price_not_negative"):
        validate_canonical(write_canonical(tmp_path), config)


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    paths = write_canonical(tmp_path)
    words = PRODUCTS.set(PRODUCTS.get_field_index(c.PRICE), pa.field(c.PRICE, pa.string()))
    write(paths.products, [row | {c.PRICE: "cheap"} for row in good_products()], words)
    check(validate_canonical(paths, Config()), "price_not_negative", "could not be checked: Column values, min_value")


def test_files_that_changed_since_are_refused(tmp_path: Path) -> None:
    paths = write_sequences(tmp_path)
    validate_sequences(paths, Config())
    require_passed(paths, SEQUENCES)
    write_sequences(tmp_path, good_sequences()[:1])
    with pytest.raises(GateRefusedError, match=r"features/buyer_sequences.parquet .* changed since"):
        require_passed(paths, SEQUENCES)
    paths.sequence_features.unlink()
    with pytest.raises(GateRefusedError, match="changed since"):
        require_passed(paths, SEQUENCES)


def test_a_file_that_was_written_anew_is_refused_though_it_is_as_long(tmp_path: Path) -> None:
    paths = write_sequences(tmp_path)
    validate_sequences(paths, Config())
    before = paths.sequence_features.stat()
    os.utime(paths.sequence_features, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    with pytest.raises(GateRefusedError, match=r"features/buyer_sequences.parquet .* changed since"):
        require_passed(paths, SEQUENCES)


def test_one_stage_alone_is_not_enough(tmp_path: Path) -> None:
    paths = write_sequences(tmp_path)
    validate_sequences(paths, Config())
    with pytest.raises(GateRefusedError, match=r"the canonical data .* were never validated"):
        require_passed(paths)


@pytest.mark.parametrize("validate", [validate_canonical, validate_sequences])
def test_missing_files_are_named(validate: Validate, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"canonical/products.parquet|features/buyer_sequences.parquet"):
        validate(ShopPaths(tmp_path), Config())


def test_asking_the_gate_does_not_import_great_expectations() -> None:
    code = "import sys, expectations.gate; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
