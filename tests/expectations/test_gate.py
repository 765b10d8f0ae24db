"""The data gate on a shop of three products and four events, and on that shop with one fault."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from expectations.gate import (
    GateResult,
    raise_if_refused,
    require_passed,
    validate_canonical,
    validate_features,
)
from expectations.records import CANONICAL, FEATURE_STAGE
from expectations.runner import MAX_DOCS_RUNS
from expectations.suites import names
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import ConfigError, GateRefusedError
from feature_repo.common.paths import ShopPaths
from tests.expectations.gate_shop import (
    MONDAY,
    MONDAY_MS,
    PRODUCTS,
    Rows,
    changed,
    failures,
    good_events,
    good_product_features,
    good_products,
    good_purchases,
    good_report,
    good_sequences,
    write,
    write_canonical,
    write_features,
)
from tests.expectations.test_drift import DRIFTED

Validate = Callable[[ShopPaths, Config], GateResult]


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
    "title_present": (
        [row | {c.PRODUCT_ID: f"x{n}", c.PRODUCT_KEY: n, c.TITLE: " "} for n, row in enumerate(good_products() * 2)]
        + good_products(),
        "6 of 9 rows (66.7%) lack a title",
    ),
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
BAD_REPORTS: dict[str, tuple[str, dict[str, Any], str]] = {
    # 6 of the 90 rows that no rule excluded; as a share of all 100 it would be just above the limit too
    "bad_event_share": ("events", {"bad": 6}, "6.7% of the events read are bad (at most 5.0% may be)"),
    "bad_product_share": ("products", {"bad": 6}, "6.7% of the products read are bad (at most 5.0% may be)"),
    "unknown_product_share": (
        "events",
        {"bad": 30, "reasons": {"unknown_product": 30}},
        "33.3% of the events read name a product that is not in the catalogue (at most 30.0% may)",
    ),
    "missing_buyer_share": (
        "events",
        {"bad": 50, "reasons": {"missing_buyer_id": 50}},
        "55.6% of the events read name no buyer (at most 50.0% may)",
    ),
    # merged content does not count
    "duplicate_product_id_share": (
        "products",
        {"reasons": {"duplicate_product_id": 6, "duplicate_content": 50}},
        "6.7% of the products read repeat an earlier id (at most 5.0% may)",
    ),
    "unreadable_share": (
        "products",
        {"unreadable_price": 46, "unreadable_stock": 45},
        "values that cannot be read in more than 50.0% of the products: unreadable_price: 46 of 90 products",
    ),
}
# One row is enough; none of them blocks.
WARNING_REPORTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no_bad_events": ("events", {"bad": 1}, "1 bad events, which are left out"),
    "no_missing_buyers": (
        "events",
        {"bad": 1, "reasons": {"missing_buyer_id": 1}},
        "1 events that name no buyer, which are left out",
    ),
    "no_bad_products": ("products", {"bad": 1}, "1 bad products, which are left out"),
    "no_bad_photos": ("photos", {"bad": 1}, "1 bad photo rows, which are left out"),
    "no_bad_logged_events": (
        "events",
        {"event_log": {"read": 10, "bad": 9}},
        "9 bad events in the event log, which are left out",
    ),
    "no_duplicate_product_ids": (
        "products",
        {"reasons": {"duplicate_product_id": 1}},
        "1 products that repeat an earlier id, which are left out",
    ),
    "few_unknown_products": (
        "events",
        {"bad": 6, "reasons": {"unknown_product": 6}},
        "6.7% of the events read name a product that is not in the catalogue (more than 5.0% is unusual)",
    ),
    "values_readable": (
        "products",
        {"unreadable_price": 1, "broken_metadata": 2, "unreadable_stock": 0},
        "values that cannot be read, and are left empty: unreadable_price: 1 of 90 products; broken_metadata: 2 of 90",
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
BAD_PURCHASES = {
    "purchase_lengths_equal": (
        changed(good_purchases(), 0, purchased_times=[MONDAY_MS, MONDAY_MS]),
        "have purchased_keys/purchased_times of different lengths, e.g. 1/2",
    ),
    "purchase_times_sorted": (
        changed(good_purchases(), 0, purchased_keys=[101, 102], purchased_times=[MONDAY_MS, MONDAY_MS - 1]),
        "do not run from the oldest purchase to the newest, e.g. anna",
    ),
    "purchase_products_known": (
        changed(good_purchases(), 0, purchased_keys=[109]),
        "1 of 1 rows (100.0%) hold a product that is not in the catalogue, e.g. anna",
    ),
    "one_row_of_purchases_per_buyer_and_time": (
        good_purchases() * 2,
        "2 of 2 rows (100.0%) share buyer and time, e.g. anna, 2024-01-01 10:00:00",
    ),
}
# Every difference from the canonical products is a fault of its own, too.
BAD_PRODUCT_FEATURES = {
    "feature_product_id_unique": (
        [*good_product_features(), good_product_features()[1]],
        "2 of 4 rows (50.0%) share a product id, e.g. p2",
    ),
    "feature_product_key_unique": (
        changed(good_product_features(), 0, product_key=102),
        "2 of 3 rows (66.7%) share a product key, e.g. 102",
    ),
    "feature_price_not_negative": (
        changed(good_product_features(), 0, price=-999.0),
        "1 of 2 rows (50.0%) have a price below 0, e.g. -999.0",
    ),
    "features_match_catalogue": (
        changed(good_product_features(), 0, price=1.0),
        "1 of 3 rows (33.3%) differ from the canonical products, or are missing in one of the two, e.g. p1",
    ),
}
SHORT = load_config(overrides=["model.buyer_tower.max_interaction_history=2"], environ={})


def check(result: GateResult, name: str, observed: str) -> None:
    # Without events there are no buyers either.
    assert set(failures(result)) - {"several_buyers"} == {name}
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
    assert {finding.name for finding in result.blockers} == {"products_not_empty", "product_known"}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_bad_events_are_named(name: str, tmp_path: Path) -> None:
    events, observed = BAD_EVENTS[name]
    check(validate_canonical(write_canonical(tmp_path, events=events), Config()), name, observed)


def report_of(table: str, counts: dict[str, Any]) -> dict[str, Any]:
    report = good_report()
    report[table] = report.get(table, {}) | counts
    return report


@pytest.mark.parametrize("name", BAD_REPORTS)
def test_bad_shares_of_rows_are_refused(name: str, tmp_path: Path) -> None:
    table, counts, observed = BAD_REPORTS[name]
    result = validate_canonical(write_canonical(tmp_path, report=report_of(table, counts)), Config())
    assert {finding.name: finding.observed for finding in result.blockers} == {name: observed}
    with pytest.raises(GateRefusedError, match=name):
        raise_if_refused(result)


def test_a_share_is_one_of_the_rows_of_its_table(tmp_path: Path) -> None:
    report = good_report()
    report["events"] |= {"read": 1010, "kept": 994, "bad": 6}
    report["products"] |= {"bad": 6, "unreadable_price": 46}
    result = validate_canonical(write_canonical(tmp_path, report=report), Config())
    assert {finding.name for finding in result.blockers} == {"bad_product_share", "unreadable_share"}


@pytest.mark.parametrize("name", WARNING_REPORTS)
def test_single_bad_rows_are_a_warning(name: str, tmp_path: Path) -> None:
    table, counts, observed = WARNING_REPORTS[name]
    result = validate_canonical(write_canonical(tmp_path, report=report_of(table, counts)), Config())
    raise_if_refused(result)
    assert list(failures(result)) == [name]
    assert observed in failures(result)[name]


def test_five_bad_rows_never_refuse_and_six_do(tmp_path: Path) -> None:
    small: dict[str, Any] = {"read": 10, "kept": 5, "excluded": 0}
    for bad, passed in ((5, True), (6, False)):
        tables = {
            "events": small | {"bad": 2 * bad, "reasons": {"unknown_product": bad}},
            "products": small
            | {"read": 8, "bad": bad, "reasons": {"duplicate_product_id": bad}, "unreadable_price": bad},
        }
        paths = write_canonical(tmp_path, report=good_report() | tables)
        assert validate_canonical(paths, Config()).passed is passed


def test_five_products_without_a_title_never_refuse(tmp_path: Path) -> None:
    products, _ = BAD_PRODUCTS["title_present"]
    result = validate_canonical(write_canonical(tmp_path, products=products[1:]), Config())
    assert result.passed
    assert "title_present" in failures(result)


@pytest.mark.parametrize("reasons", [{}, {"duplicate_content": 50}])
def test_merged_products_are_no_fault(reasons: dict[str, int], tmp_path: Path) -> None:
    report = report_of("products", {"reasons": reasons})
    assert failures(validate_canonical(write_canonical(tmp_path, report=report), Config())) == {}


def test_a_shop_of_which_nothing_can_be_sold_is_a_warning(tmp_path: Path) -> None:
    products = [row | {c.HIDDEN: True, c.STOCK: 0, c.PRICE: None} for row in good_products()]
    events = [row | {c.BUYER_ID: "anna"} for row in good_events()]
    result = validate_canonical(write_canonical(tmp_path, products=products, events=events), Config())
    raise_if_refused(result)
    assert failures(result) == {
        "some_product_visible": "0 products are not hidden",
        "some_product_in_stock": "0 products are in stock",
        "some_price": "0 products have a price",
        "several_buyers": "1 buyers have events",
    }


def test_a_product_of_which_nothing_is_known_can_be_sold(tmp_path: Path) -> None:
    products = [row | {c.HIDDEN: None, c.STOCK: None} for row in good_products()]
    assert failures(validate_canonical(write_canonical(tmp_path, products=products), Config())) == {}


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_bad_sequences_are_named(name: str, tmp_path: Path) -> None:
    sequences, observed = BAD_SEQUENCES[name]
    check(validate_features(write_features(tmp_path, sequences=sequences), SHORT), name, observed)


@pytest.mark.parametrize("name", BAD_PURCHASES)
def test_bad_purchases_are_named(name: str, tmp_path: Path) -> None:
    purchases, observed = BAD_PURCHASES[name]
    check(validate_features(write_features(tmp_path, purchases=purchases), SHORT), name, observed)


@pytest.mark.parametrize("name", BAD_PRODUCT_FEATURES)
def test_bad_product_features_are_named(name: str, tmp_path: Path) -> None:
    products, observed = BAD_PRODUCT_FEATURES[name]
    result = validate_features(write_features(tmp_path, products=products), SHORT)
    assert not result.passed
    assert observed in failures(result)[name]
    assert set(failures(result)) <= {name, "features_match_catalogue", "feature_product_key_unique"}


@pytest.mark.parametrize("products", [good_product_features()[:2], [*good_product_features(), {c.PRODUCT_ID: "p9"}]])
def test_products_of_another_catalogue_are_named(products: Rows, tmp_path: Path) -> None:
    result = validate_features(write_features(tmp_path, products=products), SHORT)
    assert "e.g. p3" in failures(result)["features_match_catalogue"] or len(products) == 4
    assert "e.g. p9" in failures(result)["features_match_catalogue"] or len(products) == 2


def test_every_expectation_has_a_failing_example() -> None:
    catalogue = {"some_product_visible", "some_product_in_stock", "some_price", "several_buyers"}
    tables = (
        BAD_PRODUCTS,
        BAD_EVENTS,
        BAD_REPORTS,
        WARNING_REPORTS,
        DRIFTED,
        BAD_SEQUENCES,
        BAD_PURCHASES,
        BAD_PRODUCT_FEATURES,
    )
    assert names(Config()) == {
        "products_not_empty",
        *catalogue,
        *(name for table in tables for name in table),
    }


@pytest.fixture(scope="module")
def good_shop(tmp_path_factory: pytest.TempPathFactory) -> ShopPaths:
    root = tmp_path_factory.mktemp("shop")
    write_canonical(root)
    paths = write_features(root)
    for validate in (validate_canonical, validate_features):
        result = validate(paths, SHORT)
        assert result.passed
        assert failures(result) == {}
        raise_if_refused(result)
    return paths


def test_a_good_shop_passes_both_stages(good_shop: ShopPaths) -> None:
    require_passed(good_shop)


@pytest.mark.parametrize("stage", [CANONICAL, FEATURE_STAGE])
def test_the_record_is_json_with_findings_statistics_and_inputs(good_shop: ShopPaths, stage: str) -> None:
    record = json.loads((good_shop.validation / f"{stage}.json").read_text(encoding="utf-8"))
    assert record["passed"] is True
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in record["inputs"].values())
    for table, result in record["great_expectations"].items():
        of_table = [finding for finding in record["findings"] if finding["table"] == table]
        assert result["statistics"]["successful_expectations"] == len(of_table)


def test_data_docs_show_both_stages_without_the_network(good_shop: ShopPaths) -> None:
    docs = good_shop.validation / "data_docs"
    index = (docs / "index.html").read_text(encoding="utf-8")
    for table in ("products", "events", "ingest", "product_features", "sequences", "purchases"):
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
    paths = write_features(tmp_path)
    validate_features(paths, Config())
    runs = paths.validation / "results" / "sequences" / FEATURE_STAGE
    (run,) = runs.iterdir()
    for day in range(1, MAX_DOCS_RUNS + 1):
        shutil.copytree(run, runs / f"202001{day:02}T000000.000000Z")
    validate_features(paths, Config())
    remaining = sorted(path.parent.name for path in runs.rglob("*.json"))
    assert len(remaining) == MAX_DOCS_RUNS
    assert remaining[0] == "20200103T000000.000000Z"
    assert run.name in remaining


def test_a_refusal_names_the_quarantine_and_the_report_and_keeps_refusing(tmp_path: Path) -> None:
    report = report_of("events", {"reasons": {"refund": 1, "returned": 10, "other_event": 2, "duplicate_event": 3}})
    paths = write_canonical(tmp_path, products=BAD_PRODUCTS["price_not_negative"][0], report=report)
    validate_canonical(paths, Config())
    with pytest.raises(GateRefusedError) as refusal:
        require_passed(paths, CANONICAL)
    assert "products: price_not_negative: 1 of 2 rows (50.0%) have a price below 0, e.g. -3.0" in str(refusal.value)
    reasons = "(events: returned 10, duplicate_event 3, other_event 2; products: returned 10)"
    assert f"{paths.quarantine} {reasons}" in str(refusal.value)
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
    result = validate_canonical(paths, Config())
    assert (
        "could not be checked: Binder Error: Cannot compare values of type VARCHAR"
        in (failures(result)["price_not_negative"])
    )
    assert set(failures(result)) == {"price_not_negative", "some_price"}
    assert not result.passed


def test_one_stage_alone_is_not_enough(tmp_path: Path) -> None:
    paths = write_features(tmp_path)
    validate_features(paths, Config())
    with pytest.raises(GateRefusedError, match=r"the canonical data .* were never validated"):
        require_passed(paths)


@pytest.mark.parametrize("validate", [validate_canonical, validate_features])
def test_missing_files_are_named(validate: Validate, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"canonical/products.parquet|features/report.json"):
        validate(ShopPaths(tmp_path), Config())


def test_asking_the_gate_does_not_import_great_expectations() -> None:
    code = "import sys, expectations.gate; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
