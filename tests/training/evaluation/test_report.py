"""The report as a browser parses it: the content of tables and charts, and the escaping of names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.evaluation.report import write_report

UNTRAINED: dict[str, Any] = {
    "split": {"method": "global, by time", "test_from": "2011-11-09"},
    "n_products": 3659,
    "targets": {
        "all purchases": {
            "n": 1394,
            "models": {
                "popularity": {"recall@10": 0.05, "recall@20": 0.1, "ndcg@20": 0.2, "novelty@20": 9.5},
                "two_tower": {"recall@10": 0.2, "recall@20": 0.4, "ndcg@20": 0.3},
            },
            "ci": {"two_tower": {"recall@20": [0.375, 0.425]}},
            "slices": {
                "two_tower": {"head": {"n": 1200, "recall@20": 0.5, "ndcg@20": 0.25}},
                "popularity": {"head": {"n": 1200, "recall@20": 0.125, "ndcg@20": 0.25}},
            },
        }
    },
}
CURVES = {
    "epochs": [{"loss": 4.0, "recall@20": 0.1}, {"loss": 3.0, "recall@20": 0.3}, {"loss": 2.5, "recall@20": 0.2}],
    "best_epoch": 2,
}
RUN = {**UNTRAINED, "curves": CURVES}
OTHER_RUN: dict[str, Any] = {
    "n_products": 4000,
    "targets": {
        "all purchases": {"models": {"two_tower": {"recall@20": 0.45}}},
        "new products": {"n": 7, "models": {"ease": {"recall@20": 0.25}}},
    },
}
SMALLEST: dict[str, Any] = {"targets": {"all": {"models": {"popularity": {"recall@1": 0.0}}}}}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    children: "list[Element | str]" = field(default_factory=list)

    def all(self, name: str) -> "Iterator[Element]":
        for child in self.children:
            if isinstance(child, Element):
                if child.name == name:
                    yield child
                yield from child.all(name)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Reader(HTMLParser):
    """Builds the tree; every element but meta must be closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag != "meta":
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(path: Path) -> Element:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    (page,) = reader.open
    return page


def report(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> Element:
    write_report(folder / "report.html", runs)
    return read(folder / "report.html")


def tables(page: Element) -> dict[str, list[list[str]]]:
    """The cells of each table by its caption; a table of a later target takes the place of one with its name."""
    return {
        next(table.all("caption")).text: [
            [cell.text for cell in row.children if isinstance(cell, Element)] for row in table.all("tr")
        ]
        for table in page.all("table")
    }


def figures(page: Element) -> dict[str, Element]:
    """Each drawing by its caption."""
    return {next(figure.all("figcaption")).text: next(figure.all("svg")) for figure in page.all("figure")}


def test_tables_of_one_run(tmp_path: Path) -> None:
    assert tables(report(tmp_path, {"first": RUN})) == {
        "Split and data": [
            ["Fact", "first"],
            ["method", "global, by time"],
            ["test from", "2011-11-09"],
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
    page = report(tmp_path, {"first": UNTRAINED, "second": OTHER_RUN})

    assert [heading.text for heading in page.all("h2")] == [
        "What was asked",
        "Target: all purchases",
        "Target: new products",
    ]
    (facts, metrics, *_, new) = [[row.text for row in table.all("tr")] for table in page.all("table")]
    assert facts[0] == "Factfirstsecond"
    assert facts[3:] == ["products3,6594,000", "buyers, all purchases1,394–", "buyers, new products–7"]
    # The rows of a model share its name, which is written once.
    assert metrics == [
        "ModelRunrecallndcgnovelty",
        "two_towerfirst0.4000[0.3750, 0.4250]0.3000–",
        "second0.4500––",
        "popularityfirst0.10000.20009.5000",
    ]
    assert new == ["ModelRunrecall", "easesecond0.2500"]


def test_bars_are_as_long_as_their_values(tmp_path: Path) -> None:
    drawing = figures(report(tmp_path, {"first": RUN}))["ndcg@20"]

    long, short = (float(bar.attributes["width"] or 0) for bar in drawing.all("rect"))
    assert long / short == pytest.approx(0.3 / 0.2, rel=0.01)
    assert next(drawing.all("title")).text == "ndcg@20: two_tower (first) 0.3000; popularity (first) 0.2000"


def test_the_interval_spans_its_ends_around_the_bar(tmp_path: Path) -> None:
    drawing = figures(report(tmp_path, {"first": UNTRAINED}))["recall@20"]

    bar, (line,) = next(drawing.all("rect")), drawing.all("path")
    # M low, down, M high, down, M low, H high.
    low, high, *_ = (float(part.split()[0]) for part in (line.attributes["d"] or "").split("M")[1:])
    start, width = float(bar.attributes["x"] or 0), float(bar.attributes["width"] or 0)
    assert (low - start) / width == pytest.approx(0.375 / 0.4, abs=0.002)
    assert (high - start) / width == pytest.approx(0.425 / 0.4, abs=0.002)


def test_curves_run_through_all_epochs_and_mark_the_best(tmp_path: Path) -> None:
    drawings = figures(report(tmp_path, {"first": RUN, "second": OTHER_RUN}))

    (with_epochs, without), (dot,) = drawings["loss"].all("polyline"), drawings["loss"].all("circle")
    points = [tuple(map(float, point.split(","))) for point in (with_epochs.attributes["points"] or "").split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == x3 - x2 > 0
    assert (y2 - y1) / (y3 - y2) == pytest.approx((4 - 3) / (3 - 2.5), rel=0.01)
    assert (dot.attributes["cx"], dot.attributes["cy"]) == (f"{x2:.1f}", f"{y2:.1f}")
    assert without.attributes["points"] == ""
    assert next(drawings["loss"].all("title")).text == "loss: first 3.0000 in epoch 2"


def test_one_epoch_and_a_flat_curve_can_be_drawn(tmp_path: Path) -> None:
    run = {**SMALLEST, "curves": {"epochs": [{"loss": 0.0}], "best_epoch": 1}}

    assert len(list(figures(report(tmp_path, {"first": run}))["loss"].all("circle"))) == 1


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    page = report(tmp_path, {"first": SMALLEST})

    assert [heading.text for heading in page.all("h2")] == ["Target: all"]
    assert list(tables(page)) == ["Metrics at 1"]
    assert list(figures(page)) == ["recall@1"]
    assert "interval" not in " ".join(paragraph.text for paragraph in page.all("p"))


def test_the_page_stands_alone(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", {"first": RUN})
    source = (tmp_path / "report.html").read_text(encoding="utf-8")

    assert source.startswith('<!doctype html>\n<html lang="en">')
    assert "default-src 'none'" in source
    for loads in ("://", "url(", "@import", "src=", "href=", "<script", "<link"):
        assert loads not in source, loads


def test_tables_and_drawings_can_be_read_aloud(tmp_path: Path) -> None:
    page = report(tmp_path, {"first": RUN, "second": OTHER_RUN})

    assert {head.attributes.get("scope") for head in page.all("th")} == {"col", "row", "rowgroup"}
    assert all(next(table.all("caption")).text for table in page.all("table"))
    drawings = figures(page)
    assert all(svg.attributes["role"] == "img" and next(svg.all("title")).text for svg in drawings.values())
    # All other drawings are decoration and hidden from screen readers.
    others = [svg for svg in page.all("svg") if svg.attributes.get("role") != "img"]
    assert [svg.attributes.get("aria-hidden") for svg in others] == ["true"] * 2


HOSTILE = '</td></style><script>alert("1")</script>&amp;\'نموذج'


def named(name: str) -> dict[str, dict[str, Any]]:
    """Two runs in which everything that has a name has this one."""
    target = {
        "n": 1,
        "models": {name: {"recall@1": 0.5, f"{name}@1": 0.5}},
        "ci": {name: {"recall@1": [0.25, 0.75]}},
        "slices": {name: {name: {"n": 1, "recall@1": 0.5}}},
    }
    run = {"split": {name: name}, "targets": {name: target}, "curves": {"epochs": [{"loss": 1.0}], "best_epoch": 1}}
    return {name: run, "second": run}


def skeleton(element: Element) -> list[Any]:
    """The tree without its texts."""
    return [
        element.name,
        sorted(element.attributes),
        [skeleton(child) for child in element.children if isinstance(child, Element)],
    ]


def test_names_stay_text(tmp_path: Path) -> None:
    page = report(tmp_path, named(HOSTILE))

    assert skeleton(page) == skeleton(report(tmp_path, named("plain")))
    # The run in the legend, over the facts and in two tables (in one twice), a fact and its value in both runs, the
    # target, the model in two tables.
    assert [name.text for name in page.all("bdi")].count(HOSTILE) == 1 + 1 + 3 + 3 + 1 + 2
    assert f"\u2068{HOSTILE[:27]}…\u2069" in [label.children[-1] for label in page.all("text")]
    assert f"buyers, {HOSTILE}" in [name.text for name in page.all("bdi")]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text("<>&\"'/=-! aس\u202e", min_size=1))
def test_no_name_changes_the_page(tmp_path: Path, name: str) -> None:
    assert skeleton(report(tmp_path, named(name))) == skeleton(report(tmp_path, named("plain")))


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "report.html", {"older": RUN})
    write_report(tmp_path / "new" / "report.html", {"newer": RUN})

    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]
    assert "older" not in (tmp_path / "new" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "at least one run"),
        ({"old": {"models": {}}}, "'old' has no targets"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, runs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "report.html", runs)
    assert list(tmp_path.iterdir()) == []
