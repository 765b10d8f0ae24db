"""The charts: to scale, in the colours of the style sheet, with texts that a browser can shape."""

import re
import xml.etree.ElementTree as ET

import pytest

from batch_jobs.reports.plots import Bars, Chart, Line, bar_chart, interval_chart, line_chart, stacked_chart


def texts(chart: Chart) -> list[str]:
    return [text.text or "" for text in ET.fromstring(chart.svg).iter("text")]


def filled(chart: Chart, colour: str) -> list[tuple[float, float]]:
    """The left and right ends of the areas of a colour."""
    paths = [
        path for path in ET.fromstring(chart.svg).iter("path") if f"fill: var(--{colour})" in path.get("style", "")
    ]
    numbers = [[float(x) for x in re.findall(r"[ML] ([\d.]+)", path.attrib["d"])] for path in paths]
    return [(min(xs), max(xs)) for xs in numbers]


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart("Rows", ["a", "b"], [Bars([30, 20], 1, ["30", "20"])], x_label="rows")
    (start, end), (start_2, end_2) = filled(chart, "series1")
    assert start == start_2
    assert (end - start) / (end_2 - start_2) == pytest.approx(1.5, rel=0.001)
    assert {"a", "b", "30", "20", "rows"} < set(texts(chart))


def test_parts_follow_each_other() -> None:
    chart = stacked_chart("Time", ["run"], {"ingest": [10.0], "train": [30.0]}, x_label="seconds")
    ((start, middle),), ((middle_2, end),) = filled(chart, "series0"), filled(chart, "series1")
    assert middle == middle_2
    assert (end - middle) / (middle - start) == pytest.approx(3, rel=0.001)


def test_a_chart_has_no_colour_of_its_own_and_no_address() -> None:
    chart = line_chart("Loss", [Line([1, 2], [3, 2], 0), Line([1, 2], [2, 1], 1, marked=2)], x_label="x", y_label="y")
    assert not re.findall(r"(?:fill|stroke): #\w+", chart.svg)
    assert "var(--series1)" in chart.svg
    assert "stroke-dasharray" in chart.svg  # not by colour alone
    assert "://" not in chart.svg
    assert "<style" not in chart.svg


def test_one_value_and_a_flat_line_can_be_drawn() -> None:
    assert line_chart("Loss", [Line([1], [0.0], marked=1, dotted=True)], x_label="epoch", y_label="loss").svg
    assert interval_chart("Nothing", [], x_label="difference", zero=True).svg


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("شاي بالنعناع", "شاي بالنعناع"),
        ("costs $5 to $9 \\alpha", "costs $5 to $9 \\alpha"),  # no formula
        ("a\x00b\u202ec", "a b c"),  # XML has no such characters, and this one turns the rest of a line over
        ("<b>&amp;", "<b>&amp;"),
        ("日本語", "日本語"),  # matplotlib's own font has no such letters
        ("x" * 31, "x" * 29 + "…"),
    ],
)
def test_labels_are_the_shops_own_words(label: str, shown: str) -> None:
    assert shown in texts(bar_chart("Categories", [label], [Bars([1])], x_label="products"))


def test_ids_of_two_charts_of_a_page_differ() -> None:
    charts = [line_chart(title, [Line([1, 2], [3, 2])], x_label="x", y_label="y").svg for title in ("one", "two")]
    first, second = (set(re.findall(r'id="([^"]+)"', svg)) for svg in charts)
    assert first
    assert first.isdisjoint(second)
    assert set(re.findall(r"url\(#([^)]+)\)", charts[0])) <= first
