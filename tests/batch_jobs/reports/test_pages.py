"""The reports of literal records: their figures, and what holds for every page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.batch_jobs.reports.html_pages import KINDS, chart_texts, charts, read, report, skeleton, tables, write_report
from tests.batch_jobs.reports.literal_records import DONE_RUN, DRIFT, EARLY, FULL, RECORDS, training_run

# ---- training --------------------------------------------------------------------------------------------------------


def test_training_says_which_epoch_was_kept_and_why_it_ended(tmp_path: Path) -> None:
    found = tables(report(tmp_path, "training", RECORDS["training"]))

    assert found["Runs, newest first"] == [
        ["Run", "Time", "Epoch kept", "ndcg@20", "Ended by", "Loss, selection", "Loss, refit"],
        [EARLY["id"], "1 min 10 s", "2", "0.3000", "early stop after epoch 4", "5.0000", "6.5000"],
        [FULL["id"], "1 min 10 s", "5", "0.5000", "all 5 epochs", "4.0000", "6.5000"],
    ]
    assert found["Settings that differ"] == [["Setting", EARLY["id"], FULL["id"]], ["training.seed", "7", "1"]]


def test_training_draws_all_runs_into_each_chart(tmp_path: Path) -> None:
    drawn = charts(report(tmp_path, "training", RECORDS["training"]))

    assert list(drawn) == ["Loss by step", "ndcg@20 on the validation days", "Learning rate", "Loss by step, refit"]
    styles = " ".join(path.attributes.get("style") or "" for path in drawn["Loss by step"].all("path"))
    assert "var(--series0)" in styles
    assert "var(--series1)" in styles


def test_a_run_that_was_killed_has_no_epoch() -> None:
    killed = training_run("20261130T132606.541Z", [])
    page = KINDS["training"].page({"runs": [killed], "n_runs": 1})
    assert page.figure == "no epoch was validated"


# ---- release ---------------------------------------------------------------------------------------------------------


def test_release_shows_the_gate_and_the_lists(tmp_path: Path) -> None:
    page = report(tmp_path, "release", RECORDS["release"])

    assert tables(page)["What the gate measured"][1:] == [
        ["products", "11,431", "11,400", "", ">= 70% of live", "ok"],
        ["ndcg@20", "0.4", "0.3", "-0.150 to -0.050", ">= 95% of live", "refused"],
    ]
    text = re.sub(r"\s+", " ", next(page.all("main")).text)
    assert "Refused. ndcg@20 fell from 0.4 to 0.3" in text
    assert "258 buyers of 2026-11-01 00:00 UTC to 2026-11-29 00:00 UTC" in text
    assert "The lists of 3 buyers as both releases would serve them: 50% of the first 2" in text
    assert [mark.text for mark in page.all("mark")] == ["قهوة", "Milk"]
    assert {mark.attributes.get("dir") for mark in page.all("mark")} == {"auto"}
    assert list(charts(page)) == [
        "Candidate minus live, with 95% intervals",
        "Buyers by their share of common products",
    ]
    assert KINDS["release"].page(RECORDS["release"]).wrong


def test_lists_of_an_older_candidate_are_not_shown(tmp_path: Path) -> None:
    records = RECORDS["release"] | {"shadow": RECORDS["release"]["shadow"] | {"candidate": "another"}}
    page = report(tmp_path, "release", records)
    assert "No lists were compared" in page.text
    assert list(page.all("mark")) == []


# ---- data quality ----------------------------------------------------------------------------------------------------


def test_data_shows_checks_with_results_and_rows_by_reason(tmp_path: Path) -> None:
    page = report(tmp_path, "data", RECORDS["data"])
    found = tables(page)

    assert found["Checks of products"][1:] == [
        ["title_present", "passed", "refuses", "0 of 10 rows (0.0%) lack a title"],
        ["price_not_negative", "refused", "refuses", "3 of 10 rows (30.0%) have a price below 0"],
    ]
    assert found["Checks of ingest"][1:] == [["some_price", "warning", "warns", "0 products"]]
    assert found["Rows left out, by reason"][1:] == [
        ["bot", "events", "60", "", ""],
        ["duplicate_event", "events", "30", "", ""],
        ["unknown_product", "events", "10", "events.csv, line 7: p9", "add the product"],
    ]
    assert found["Rows by table"][1:] == [
        ["events", "1,000", "900", "60", "30", "10"],
        ["products", "10", "10", "0", "0", "0"],
    ]
    assert [code.text for code in page.all("code")] == ["price"]
    assert KINDS["data"].page(RECORDS["data"]).figure == "refused by 1 check"


@pytest.mark.parametrize("docs", [True, False])
def test_data_links_to_the_data_docs_if_they_are_built(tmp_path: Path, docs: bool) -> None:
    page = report(tmp_path, "data", RECORDS["data"] | {"docs": docs})
    links = [link.attributes["href"] for link in page.all("a")]
    assert ("../validation/data_docs/index.html" in links) is docs
    assert ("Data Docs are not built" in page.text) is not docs


# ---- drift -----------------------------------------------------------------------------------------------------------


def test_drift_shows_now_beside_the_reference(tmp_path: Path) -> None:
    page = report(tmp_path, "drift", RECORDS["drift"])
    found = tables(page)

    assert found["Counts"][2] == ["events kept", "900", "450", "-50.0%"]
    assert found["Counts"][-1] == ["products with a price", "0", "0", "–"]
    assert found["Checks of drift"][1:] == [
        ["events_not_shrunk", "refused", "450 kept, before 900", "check that the export is complete"],
        ["buyers_not_shrunk", "steady", "", ""],
    ]
    drawn = charts(page)
    assert list(drawn) == ["Event types", "Categories", "Missing values"]
    texts = chart_texts(drawn["Event types"])
    assert [text for text in texts if text.endswith("%") and text[0].isdigit()] == ["75.0%", "25.0%", "100.0%", "0.0%"]
    # The whole word, for the browser to shape.
    assert "شاي" in chart_texts(drawn["Categories"])
    assert "products.title" not in chart_texts(drawn["Missing values"])
    assert KINDS["drift"].page(DRIFT).figure == "1 check of 2 found drift"


def test_without_a_reference_drift_shows_the_present_alone(tmp_path: Path) -> None:
    page = report(tmp_path, "drift", DRIFT | {"since": None, "before": None, "findings": []})
    assert "no earlier good run" in page.text
    assert tables(page)["Counts"][2] == ["events kept", "–", "450", "–"]


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_runs_show_stages_times_reasons_and_failures(tmp_path: Path) -> None:
    page = report(tmp_path, "runs", RECORDS["runs"])
    found = tables(page)

    assert found["Stages of 20261129T132424.040Z"] == [
        ["Stage", "State", "Time", "Processor", "Why"],
        ["ingest", "done", "10.0 s", "8.0 s", "no finished run of it"],
        ["train", "done", "30.0 s", "29.0 s", "there is no model"],
    ]
    assert found["Runs, newest first"][1] == [
        "20261130T132424.040Z", "refresh", "failed", "2026-11-30 13:24 UTC", "1 min 35 s", "1", "1", "–",
        "the disk is full",
    ]  # fmt: skip
    page_of = KINDS["runs"].page(RECORDS["runs"])
    assert (page_of.figure, page_of.wrong) == ("failed in train, 1 min 35 s", True)


def test_a_run_of_prices_alone_shows_its_columns(tmp_path: Path) -> None:
    counts = {"read": 1200, "changed": 7, "columns": ["price", "stock"]}
    run = {name: value for name, value in DONE_RUN.items() if name != "release"} | {"kind": "prices", "counts": counts}
    page = report(tmp_path, "runs", {"runs": [run]})
    assert "read 1,200, changed 7, columns price, stock" in [re.sub(r"\s+", " ", text.text) for text in page.all("p")]
    assert tables(page)["Runs, newest first"][1][-2:] == ["–", ""]


def test_short_stages_are_drawn_together(tmp_path: Path) -> None:
    stages = [{"stage": f"s{n}", "state": "done", "why": "new", "seconds": float(n)} for n in range(1, 8)]
    records = {"runs": [RECORDS["runs"]["runs"][1] | {"stages": stages}]}
    page = report(tmp_path, "runs", records)
    _, legend = page.all("ul")
    assert [item.text.strip() for item in legend.all("li")] == ["s4", "s5", "s6", "s7", "all other stages"]


# ---- every page ------------------------------------------------------------------------------------------------------


def test_there_are_records_for_every_report() -> None:
    assert set(RECORDS) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_every_page_stands_alone_and_has_the_one_look(tmp_path: Path, name: str) -> None:
    source = write_report(tmp_path, name, RECORDS[name]).read_text(encoding="utf-8")

    assert source.startswith('<!doctype html>\n<html lang="en">')
    assert "default-src 'none'" in source
    for loads in ("://", "url(h", "@import", "src=", "<script", "<link", "<img"):
        assert loads not in source, loads
    page = read(tmp_path / f"{name}.html")
    css = (Path(__file__).parents[3] / "batch_jobs" / "reports" / "templates" / "report.css").read_text(
        encoding="utf-8"
    )
    assert next(page.all("style")).text.strip() == css.strip()
    assert [heading.text for heading in page.all("h1")] == [KINDS[name].title]
    here = [link.attributes["href"] for link in page.all("a") if link.attributes.get("aria-current") == "page"]
    assert here == [f"{name}.html"]


@pytest.mark.parametrize("name", KINDS)
def test_tables_and_charts_can_be_read_aloud(tmp_path: Path, name: str) -> None:
    page = report(tmp_path, name, RECORDS[name])

    assert {head.attributes.get("scope") for head in page.all("th")} == {"col", "row"}
    assert all(next(table.all("caption")).text for table in page.all("table"))
    for figure in page.all("figure"):
        (chart,) = figure.all("svg")
        assert chart.attributes["role"] == "img"
        assert chart.attributes["aria-label"] == next(figure.all("figcaption")).text
    ids = [node for tag in ("main", "g", "path", "clippath") for node in page.all(tag)]
    named = [node.attributes["id"] for node in ids if "id" in node.attributes]
    assert len(named) == len(set(named))


HOSTILE = '</td></style><script>alert("1")</script>&amp;\'نموذج'


def _with(name: str, text: str) -> dict[str, Any]:
    """The records of a report with a text in place of what comes from a shop or a person."""
    quoted = json.dumps(text)[1:-1]
    content = json.dumps(RECORDS[name])
    for replaced in ("second", "شاي", "Milk", "events.csv", "the disk is full", "popularity", "no price", "p9"):
        for form in {replaced, json.dumps(replaced)[1:-1]}:
            content = content.replace(form, quoted)
    records: dict[str, Any] = json.loads(content)
    return records


@pytest.mark.parametrize("name", ["evaluation", "release", "data", "drift", "runs"])
def test_texts_of_others_stay_texts(tmp_path: Path, name: str) -> None:
    page = report(tmp_path, name, _with(name, HOSTILE))
    assert skeleton(page) == skeleton(report(tmp_path, name, _with(name, "x" * len(HOSTILE))))
    assert HOSTILE in page.text or f"{HOSTILE[:29]}…" in page.text
