"""`tawsiya validate --explain`: the faulty values, where they came from, and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from batch_jobs.ingestion.ingest import ingest
from expectations.explain import explain_failures, explanation_text
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, shop
from tests.command import invoke
from tests.expectations.gate_shop import changed, good_products, good_report, write_canonical, write_features
from tests.expectations.test_gate import (
    BAD_EVENTS,
    BAD_PRODUCT_FEATURES,
    BAD_PRODUCTS,
    BAD_PURCHASES,
    BAD_SEQUENCES,
    SHORT,
)


def test_a_row_is_named_with_its_value_and_place(tmp_path: Path) -> None:
    paths = write_canonical(tmp_path, products=changed(good_products(), 0, price=-3.0))
    (item,) = explain_failures(validate_canonical(paths, Config()), Config())
    assert item == {
        "table": "products",
        "name": "price_not_negative",
        "blocks": True,
        "observed": "1 of 2 rows (50.0%) have a price below 0, e.g. -3.0",
        "rows": 1,
        "values": [{"value": "-3.0", "id": "p1", "file": "canonical/products.parquet", "row": 1}],
        "reasons": [],
        "remedy": "correct the price in the shop's file",
    }
    assert explanation_text([item]).splitlines() == [
        "products: price_not_negative (blocks): 1 of 2 rows (50.0%) have a price below 0, e.g. -3.0",
        "  -3.0: p1, row 1 of canonical/products.parquet",
        "  what to do: correct the price in the shop's file",
    ]


def explained(root: Path, kind: str, name: str) -> dict[str, Any]:
    """The explanation of one of the faults of test_gate."""
    if kind in ("products", "events"):
        products = BAD_PRODUCTS[name][0] if kind == "products" else None
        events = BAD_EVENTS[name][0] if kind == "events" else None
        result = validate_canonical(write_canonical(root, products=products, events=events), SHORT)
    else:
        write_canonical(root)
        faults = {"product_features": BAD_PRODUCT_FEATURES, "sequences": BAD_SEQUENCES, "purchases": BAD_PURCHASES}
        argument = "products" if kind == "product_features" else kind
        result = validate_features(write_features(root, **{argument: faults[kind][name][0]}), SHORT)
    (item,) = [item for item in explain_failures(result, SHORT) if item["name"] == name]
    return item


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("products", name) for name in BAD_PRODUCTS),
        *(("events", name) for name in BAD_EVENTS if name != "events_not_empty"),
        *(("product_features", name) for name in BAD_PRODUCT_FEATURES),
        *(("sequences", name) for name in BAD_SEQUENCES),
        *(("purchases", name) for name in BAD_PURCHASES),
    ],
)
def test_each_check_of_rows_finds_the_rows_that_great_expectations_counts(kind: str, name: str, tmp_path: Path) -> None:
    item = explained(tmp_path, kind, name)
    assert item["observed"].startswith(f"{item['rows']} of ")
    assert item["values"]


def test_a_share_is_explained_by_the_quarantine_and_the_report(tmp_path: Path) -> None:
    good = "".join(f"u{n},p1,view,2024-03-0{n}T10:00:00Z\n" for n in range(1, 5))
    bad = "".join(f"u{n},p1,stare,2024-03-01T10:00:00Z\n" for n in range(6))
    config = shop(tmp_path, events=f"{HEADER}{good}{bad}", products="id,title,category\np1,Mug,kitchen\n")
    ingest(config)
    explanations = explain_failures(validate_canonical(shop_paths(config), config), config)
    (item,) = [item for item in explanations if item["name"] == "bad_event_share"]
    assert item["blocks"]
    (reason,) = item["reasons"]
    assert (reason["reason"], reason["rows"]) == ("unknown_event_type", 6)
    assert [example["line"] for example in reason["examples"]] == [6, 7, 8]
    assert all("stare" in example["value"] for example in reason["examples"])
    assert reason["remedy"].startswith("map the name to view, add_to_cart, purchase or refund in the mapping")
    assert f"    what to do: {reason['remedy']}" in explanation_text([item])


def test_only_bad_rows_explain_bad_rows(tmp_path: Path) -> None:
    good = "u1,p1,view,2024-03-01\n"
    duplicate, excluded, unknown = good, "u1,p1,remove_from_cart,2024-03-01\n", "u1,p9,view,2024-03-01\n" * 6
    bad = "u1,p1,view,soon\n,p1,view,2024-03-01\nu1,p1\n"
    events = f"{HEADER}{good}{duplicate}{excluded}{unknown}{bad}"
    config = shop(tmp_path, events=events, products="id,title,category\np1,Mug,kitchen\n")
    ingest(config)
    explanations = explain_failures(validate_canonical(shop_paths(config), config), config)
    reasons = {item["name"]: [reason["reason"] for reason in item["reasons"]] for item in explanations}
    assert reasons["no_bad_events"] == ["unreadable_row", "unreadable_timestamp"]
    assert reasons["no_missing_buyers"] == ["missing_buyer_id"]
    assert reasons["few_unknown_products"] == ["unknown_product"]


def test_unreadable_values_show_the_examples_of_the_report(tmp_path: Path) -> None:
    report = good_report()
    example = {"file": "products.csv", "line": 7, "value": "twelve"}
    report["products"] |= {"unreadable_price": 2, "examples": {"unreadable_price": example}}
    (item,) = explain_failures(validate_canonical(write_canonical(tmp_path, report=report), Config()), Config())
    assert item["name"] == "values_readable"
    assert item["reasons"] == [{"reason": "unreadable_price", "rows": 2, "examples": [example], "remedy": ""}]
    assert "    products.csv, line 7: twelve" in explanation_text([item])


def run(config: Config, *options: str) -> tuple[int, str, str]:
    settings = [
        f"--set=data_dir={config.data_dir}",
        f"--set=data.source={config.data.source}",
        f"--set=data.events_path={config.data.events_path}",
        f"--set=data.products_path={config.data.products_path}",
    ]
    result = invoke("validate", *settings, *options)
    return result.exit_code, result.stdout, result.stderr


def test_the_command_explains_a_refusal_and_still_ends_with_three(tmp_path: Path) -> None:
    bad = "".join(f"u{n},p1,stare,2024-03-01T10:00:00Z\n" for n in range(6))
    config = shop(tmp_path, events=f"{HEADER}u1,p1,view,2024-03-01\n{bad}", products="id,title\np1,Mug\n")
    ingest(config)
    code, text, _ = run(config, "--explain")
    assert code == 3
    assert "ingest: bad_event_share (blocks): 85.7% of the events read are bad" in text
    assert "  what to do: correct the rows in the shop's file, or exclude them in the mapping" in text
    code, text, message = run(config, "--explain", "--json")
    answer = json.loads(text)
    assert (code, answer["passed"]) == (3, False)
    assert {item["name"] for item in answer["explanations"]} >= {"bad_event_share", "no_bad_events", "category_known"}
    assert "`tawsiya validate --explain` shows the values" in message
    code, text, _ = run(config)
    assert (code, text) == (3, "")


def test_without_failures_there_is_nothing_to_explain() -> None:
    assert explanation_text([]) == "nothing to explain: no expectation failed"


def test_ids_of_events_are_named(tmp_path: Path) -> None:
    item = explained(tmp_path, "events", "product_known")
    assert item["values"] == [{"value": "p9", "id": "e1", "file": "canonical/events.parquet", "row": 1}]
