"""Drift: canonical data are compared with the last run that passed the gate."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.gate import GateResult, raise_if_refused, require_passed, validate_canonical
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import ConfigError, GateRefusedError
from feature_repo.common.paths import ShopPaths
from tests.expectations.gate_shop import MONDAY, Rows, failures, good_report, write_canonical


def products(number: int = 20, **values: Any) -> Rows:
    product = {c.TITLE: "Mug", c.TEXT: "Mug", c.CATEGORY: "kitchen", c.PRICE: 5.0, c.STOCK: 1, c.HIDDEN: False}
    return [product | {c.PRODUCT_ID: f"p{n}", c.PRODUCT_KEY: n, c.TITLE: f"Mug {n}"} | values for n in range(number)]


def events(number: int = 40, **values: Any) -> Rows:
    """Of 20 buyers, the same number of views and purchases."""
    return [
        {
            c.EVENT_ID: f"e{n}",
            c.BUYER_ID: f"b{n % 20}",
            c.PRODUCT_ID: "p1",
            c.PRODUCT_KEY: 1,
            c.EVENT_TYPE: ("view", "purchase")[n % 2],
            c.EVENT_TIME: MONDAY + timedelta(hours=n),
        }
        | values
        for n in range(number)
    ]


def report(**counts: Any) -> dict[str, Any]:
    """The files have 40 events and 20 products; `counts` are further ones of the products."""
    content = good_report()
    content["events"] |= {"read": 40, "excluded": 0}
    content["products"] |= {"read": 20, "excluded": 0, **counts}
    return content


def validate(
    root: Path,
    new_events: Rows | None = None,
    new_products: Rows | None = None,
    new_report: dict[str, Any] | None = None,
    settings: tuple[str, ...] = (),
    **options: bool,
) -> GateResult:
    paths = write_canonical(
        root,
        events=events() if new_events is None else new_events,
        products=products() if new_products is None else new_products,
        report=new_report or report(),
    )
    return validate_canonical(paths, load_config(overrides=settings, environ={}), **options)


def drift(result: GateResult) -> dict[str, str]:
    return {
        finding.name: finding.observed
        for finding in result.findings
        if finding.table == "drift" and not finding.success
    }


DRIFTED: dict[str, tuple[dict[str, Any], str]] = {
    "events_not_shrunk": ({"new_events": events()[20:]}, "20 kept, before 40 (50.0% fewer)"),
    "products_not_shrunk": ({"new_products": products(10)}, "10 kept, before 20 (50.0% fewer)"),
    "buyers_not_shrunk": (
        {"new_events": [event | {c.BUYER_ID: f"b{n % 10}"} for n, event in enumerate(events())]},
        "10 kept, before 20 (50.0% fewer)",
    ),
    "event_mix_steady": (
        {"new_events": [event | {c.EVENT_TYPE: "view"} for event in events()]},
        "purchase 0.0%, before 50.0%; view 100.0%, before 50.0%",
    ),
    "null_rates_steady": (
        {"new_products": [*products(15), *products(20, price=None)[15:]]},
        "products.price 25.0%, before 0.0%",
    ),
    "unreadable_shares_steady": ({"new_report": report(unreadable_stock=2)}, "unreadable_stock 10.0%, before 0.0%"),
    "categories_known_before": (
        {"new_products": [*products(15), *products(20, category="new")[15:]]},
        "25.0% of the products are in 1 new categories, such as new",
    ),
    "newest_event_not_older": (
        {"new_events": [event | {c.EVENT_TIME: MONDAY} for event in events()]},
        "it is of 2024-01-01 10:00:00+00, before of 2024-01-03 01:00:00+00",
    ),
}
BLOCKING = {"events_not_shrunk", "products_not_shrunk"}


def test_the_first_run_has_nothing_to_compare_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        result = validate(tmp_path)
    assert result.compared_with is None
    assert "no earlier good run to compare with" in caplog.text
    assert not any(finding.table == "drift" for finding in result.findings)


@pytest.mark.parametrize("name", DRIFTED)
def test_each_drift_is_named(name: str, tmp_path: Path) -> None:
    change, observed = DRIFTED[name]
    validate(tmp_path)
    # Twice: what passed with a warning is the new baseline, but must not be compared with itself.
    for _ in range(2):
        result = validate(tmp_path, **change)
        assert result.compared_with is not None
        assert observed in drift(result)[name]
        assert {finding.name for finding in result.blockers} == ({name} & BLOCKING)


def test_fewer_rows_of_the_file_are_a_drift_though_as_many_are_kept(tmp_path: Path) -> None:
    validate(tmp_path)
    halved = report()
    halved["events"]["read"] = 20
    result = validate(tmp_path, events()[:38], new_report=halved)
    assert "20 read, before 40 (50.0% fewer)" in drift(result)["events_not_shrunk"]
    assert not result.passed


@pytest.mark.parametrize("kept", [39, 21])
def test_what_is_within_the_limits_is_no_drift(kept: int, tmp_path: Path) -> None:
    validate(tmp_path)
    assert drift(validate(tmp_path, [*events()[: kept - 1], events()[-1]])) == {}


def test_five_rows_less_are_no_drift_in_a_small_shop(tmp_path: Path) -> None:
    validate(tmp_path, new_products=products(6))
    assert drift(validate(tmp_path, new_products=products(2))) == {}


def test_a_blocked_run_leaves_the_baseline(tmp_path: Path) -> None:
    validate(tmp_path)
    baseline = ShopPaths(tmp_path).validation / "baseline.json"
    before = baseline.read_bytes()
    for _ in range(2):
        with pytest.raises(GateRefusedError, match=r"events_not_shrunk(.|\n)*--accept-drift"):
            raise_if_refused(validate(tmp_path, events()[20:]))
        assert baseline.read_bytes() == before
    assert validate(tmp_path).passed


def test_an_accepted_change_is_the_baseline_from_then_on(tmp_path: Path) -> None:
    validate(tmp_path)
    assert not validate(tmp_path, events()[20:]).passed
    assert validate(tmp_path, events()[20:], accept_drift=True).passed
    require_passed(ShopPaths(tmp_path), CANONICAL)
    (run,) = json.loads((ShopPaths(tmp_path).validation / "baseline.json").read_text(encoding="utf-8"))["good_runs"]
    assert (run["accepted_drift"], run["statistics"]["events_kept"]) == (True, 20)
    assert run["validated_at"]
    assert drift(validate(tmp_path, events()[20:])) == {}
    assert validate(tmp_path, events()[19:]).compared_with == run["validated_at"]


def test_other_faults_are_not_accepted_with_a_drift(tmp_path: Path) -> None:
    validate(tmp_path)
    bad = [*events()[21:], events()[20] | {c.EVENT_TYPE: "stare"}]
    assert not validate(tmp_path, bad, accept_drift=True).passed
    assert "events_not_shrunk" in drift(validate(tmp_path, bad))


def test_which_drift_blocks_can_be_set(tmp_path: Path) -> None:
    validate(tmp_path)
    views = [event | {c.EVENT_TYPE: "view"} for event in events()]
    assert not validate(tmp_path, views, settings=("expectations.also_block=[event_mix_steady]",)).passed
    assert validate(tmp_path, events()[20:], settings=("expectations.warn_only=[events_not_shrunk]",)).passed


def test_limits_can_be_set(tmp_path: Path) -> None:
    validate(tmp_path)
    assert validate(tmp_path, events()[20:], settings=("expectations.max_drop=0.6",)).passed


def test_a_name_is_in_one_of_the_two_settings() -> None:
    with pytest.raises(ConfigError, match="warn_only and also_block both name category_known"):
        load_config(overrides=["expectations.also_block=[category_known]"], environ={})


def test_an_unknown_name_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expectations.also_block: there is no expectation event_mix"):
        validate(tmp_path, settings=("expectations.also_block=[event_mix]",))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    paths = write_canonical(tmp_path)
    paths.products.write_bytes(paths.products.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"products.parquet cannot be read: .* run `tawsiya ingest` again"):
        validate_canonical(paths, Config())
    write_canonical(tmp_path).ingest_report.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"report.json cannot be read: .* run `tawsiya ingest` again"):
        validate_canonical(paths, Config())


def test_a_baseline_of_another_version_is_read(tmp_path: Path) -> None:
    validate(tmp_path)
    baseline = ShopPaths(tmp_path).validation / "baseline.json"
    content = json.loads(baseline.read_text(encoding="utf-8"))
    content["good_runs"][0]["statistics"] |= {"of_a_later_version": 1}
    del content["good_runs"][0]["statistics"]["buyers"]
    baseline.write_text(json.dumps(content), encoding="utf-8")
    assert failures(validate(tmp_path, events()[1:])) == {}
