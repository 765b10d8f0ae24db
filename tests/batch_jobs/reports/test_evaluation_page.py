"""The report on the evaluation: the content of tables and charts."""

from pathlib import Path
from typing import Any

import pytest

from batch_jobs.evaluate_model import BASELINES
from batch_jobs.reports.evaluation_page import EVALUATION_REPORT, MEASURED_BASELINES
from tests.batch_jobs.reports.html_pages import Element, chart_texts, charts, report, tables
from tests.batch_jobs.reports.literal_records import OTHER_RUN, UNTRAINED, evaluation

SMALLEST: dict[str, Any] = {"targets": {"new_items": {"models": {"popularity": {"recall@1": 0.0}}}}}


def test_the_record_names_its_baselines_as_the_page_expects() -> None:
    assert MEASURED_BASELINES == BASELINES


def test_tables_of_one_run(tmp_path: Path) -> None:
    assert tables(report(tmp_path, "evaluation", evaluation({"first": UNTRAINED}))) == {
        "Split and data": [
            ["Fact", "first"],
            ["method", "global, by time"],
            ["test from", "2011-11-09T00:00:00"],
            ["test to", "2011-12-09T12:50:00"],
            ["products", "3,659"],
            ["buyers, all purchases", "1,394"],
        ],
        "Metrics at 20": [
            ["Model", "recall", "ndcg", "novelty"],
            ["two_tower", "0.4000[0.3750, 0.4250]", "0.3000", "–"],  # best first
            ["popularity", "0.1000", "0.2000", "9.5000"],
        ],
        "Metrics at 10": [["Model", "recall"], ["two_tower", "0.2000"], ["popularity", "0.0500"]],
        "recall@20 by slice": [
            ["Model", "head"],
            ["buyers", "1,200"],
            ["two_tower", "0.5000"],
            ["popularity", "0.1250"],
        ],
        "ndcg@20 by slice": [["Model", "head"], ["buyers", "1,200"], ["two_tower", "0.2500"], ["popularity", "0.2500"]],
    }


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    page = report(tmp_path, "evaluation", evaluation({"first": UNTRAINED, "second": OTHER_RUN}))

    assert [heading.text for heading in page.all("h2")] == [
        "Targets: all purchases",
        "Targets: products new to the buyer",
        "What was measured",
    ]
    found = tables(page)
    assert found["Split and data"][-2:] == [
        ["buyers, all purchases", "1,394", "–"],
        ["buyers, products new to the buyer", "–", "7"],
    ]
    first = next(page.all("table"))
    assert [row.text for row in first.all("tr")] == [
        "ModelRunrecallndcgnovelty",
        "two_towerfirst0.4000[0.3750, 0.4250]0.3000–",
        "two_towersecond0.45000.3500–",
        "popularityfirst0.10000.20009.5000",
    ]
    assert found["Metrics at 20"] == [["Model", "Run", "recall"], ["ease", "second", "0.2500"]]


def test_the_figure_is_the_model_beside_the_best_baseline() -> None:
    def figure(run: dict[str, Any]) -> str:
        return EVALUATION_REPORT.page(evaluation({"first": run})).figure

    assert figure(UNTRAINED) == "ndcg@20 0.300, best baseline 0.200 (popularity)"
    assert figure(OTHER_RUN) == "ndcg@20 0.350"
    assert figure({"targets": {}}) == "nobody to measure on"


def _x_range(chart: Element, place: int) -> tuple[float, float]:
    """Where the line of a row's interval begins and ends."""
    drawn = [path for path in chart.all("path") if "var(--series" in (path.attributes.get("style") or "")]
    lines = [(path.attributes["d"] or "").split() for path in drawn if "clip-path" in path.attributes]
    return float(lines[place][1]), float(lines[place][4])


def test_intervals_are_drawn_to_scale_best_model_first(tmp_path: Path) -> None:
    run = {"targets": {"all": UNTRAINED["targets"]["all"] | {
        "ci": {"two_tower": {"recall@20": [0.3, 0.5]}, "popularity": {"recall@20": [0.05, 0.15]}}
    }}}  # fmt: skip
    chart = charts(report(tmp_path, "evaluation", evaluation({"first": run})))["recall@20 by model"]

    best, other = _x_range(chart, 0), _x_range(chart, 1)
    assert (best[1] - best[0]) / (other[1] - other[0]) == pytest.approx(2, rel=0.01)
    assert (best[0] - other[0]) / (best[1] - best[0]) == pytest.approx(0.25 / 0.2, rel=0.01)
    names = [text for text in chart_texts(chart) if text in ("two_tower", "popularity")]
    assert names == ["two_tower", "popularity"]


def test_releases_are_compared_by_what_was_measured_of_each(tmp_path: Path) -> None:
    older, newer = "20261129T100000.000Z-00000001", "20261130T132801.338Z-13c8583e"
    releases = {older: {"live": True, "metrics": UNTRAINED}, newer: {"live": False, "metrics": UNTRAINED}}
    page = report(tmp_path, "evaluation", evaluation({"first": UNTRAINED}, releases))

    assert tables(page)["Metrics by release"] == [
        ["Release", "Live", "Measured to", "Buyers", "recall@20", "ndcg@20"],
        [newer, "", "2011-12-09 12:50 UTC", "1,394", "0.4000 [0.3750, 0.4250]", "0.3000"],
        [older, "live", "2011-12-09 12:50 UTC", "1,394", "0.4000 [0.3750, 0.4250]", "0.3000"],
    ]
    assert {"11-30 13:28", "11-29 10:00 live"} < set(chart_texts(charts(page)["ndcg@20 by release"]))


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    page = report(tmp_path, "evaluation", evaluation({"first": SMALLEST}))

    assert [heading.text for heading in page.all("h2")] == ["Targets: products new to the buyer", "What was measured"]
    assert list(tables(page)) == ["Metrics at 1", "Split and data"]
    assert list(charts(page)) == ["recall@1 by model"]
    assert "Means over buyers." in [paragraph.text for paragraph in page.all("p")]
