"""Draws the charts of the reports with matplotlib, as SVG that is part of a page.

Colours are variables of the style sheet, so that a chart follows the page into the dark; texts stay texts, which the
browser shapes and orders, Arabic ones too. A template draws the legend, in the same colours and dashes.
"""

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

SERIES = 5  # the style sheet has so many colours and dashes, then they start over
_COLOURS = ("#0f766e", "#b45309", "#1d4ed8", "#9d174d", "#4d7c0f")
_INK, _SOFT, _LINE = "#17211f", "#56635f", "#dfe4e1"
# What matplotlib writes, and the variable of report.css that it becomes.
_VARIABLES = {colour: f"var(--series{place})" for place, colour in enumerate(_COLOURS)} | {
    _INK: "var(--ink)", _SOFT: "var(--soft)", _LINE: "var(--line)",
}  # fmt: skip
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2.5)), (0, (1.2, 1.5)), (0, (6, 2, 1.2, 2)), (0, (9, 4)))
_WIDTH, _ROW = 4.9, 0.27  # inches; one unit of the SVG is 1/72 inch, and a phone shows about 350 of them
_LABEL_LETTERS = 30
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts and not outlines
    "svg.hashsalt": "tawsiya",  # the same chart is the same text
    "text.parse_math": False,  # a category may hold dollars
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "grid.color": _LINE,
}
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Attributes:
        title: What it shows.
        svg: The drawing.
    """

    title: str
    svg: Markup


@dataclass(frozen=True)
class Line:
    """A line of a line chart.

    Attributes:
        xs, ys: Its points.
        place: Of its colour and dash.
        marked: The point to mark by a dot, an x of the line; None marks none.
        dotted: Whether every point is marked, because there are few.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    place: int = 0
    marked: float | None = None
    dotted: bool = False


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval.

    Attributes:
        label: The row that it belongs to.
        value: The value.
        interval: Low and high end; None without one.
        place: Of its colour.
    """

    label: str
    value: float
    interval: Sequence[float] | None = None
    place: int = 0


@dataclass(frozen=True)
class Bars:
    """Bars of one colour, one for each label of the chart.

    Attributes:
        lengths: Their lengths.
        place: Of their colour.
        texts: What stands at their ends; empty writes nothing.
    """

    lengths: Sequence[float]
    place: int = 0
    texts: Sequence[str] = field(default=())


# ---- charts ----------------------------------------------------------------------------------------------------------


def line_chart(title: str, lines: Sequence[Line], *, x_label: str, y_label: str, whole_x: bool = False) -> Chart:
    """Lines over a common axis; `whole_x` labels it with whole numbers alone."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure(2.7)
        for line in lines:
            axes.plot(line.xs, line.ys, color=_colour(line.place), linestyle=_DASHES[line.place % SERIES],
                      linewidth=1.6, marker="o" if line.dotted else "", markersize=3)  # fmt: skip
            if line.marked is not None:
                marked = line.ys[list(line.xs).index(line.marked)]
                axes.plot([line.marked], [marked], "o", color=_colour(line.place), markersize=7)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=whole_x))
        axes.grid(axis="y")
        return _chart(title, figure)


def interval_chart(title: str, estimates: Sequence[Estimate], *, x_label: str, zero: bool = False) -> Chart:
    """Values with their confidence intervals, one row for each label; `zero` draws a line there."""
    labels = list(dict.fromkeys(estimate.label for estimate in estimates))
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure(0.75 + _ROW * max(len(labels), len(estimates) * 0.8))
        for label, row in ((label, [item for item in estimates if item.label == label]) for label in labels):
            for number, item in enumerate(row):
                # The estimates of a row lie around its middle.
                y = labels.index(label) + (number - (len(row) - 1) / 2) * 0.8 / len(row)
                low, high = item.interval or (item.value, item.value)
                axes.plot([low, high], [y, y], color=_colour(item.place), linewidth=2, solid_capstyle="round")
                axes.plot([item.value], [y], "o", color=_colour(item.place), markersize=5)
        if zero:
            axes.axvline(0, color=_SOFT, linewidth=1)
        _label_rows(axes, labels)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return _chart(title, figure)


def bar_chart(title: str, labels: Sequence[str], groups: Sequence[Bars], *, x_label: str) -> Chart:
    """Horizontal bars, those of several groups below each other."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure(0.75 + _ROW * len(labels) * (1 if len(groups) == 1 else 1.4))
        height = 0.72 / len(groups)
        for number, group in enumerate(groups):
            shift = (number - (len(groups) - 1) / 2) * height
            ys = [row + shift for row in range(len(labels))]
            bars = axes.barh(ys, group.lengths, height * 0.9, color=_colour(group.place))
            if group.texts:
                axes.bar_label(bars, group.texts, padding=3, color=_SOFT, fontsize=8)
        if any(group.texts for group in groups):
            axes.margins(x=0.16)  # room for the texts
        _label_rows(axes, labels)
        axes.set_xlim(left=0)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        return _chart(title, figure)


def stacked_chart(title: str, labels: Sequence[str], parts: Mapping[str, Sequence[float]], *, x_label: str) -> Chart:
    """Horizontal bars of parts one after the other, in the order of `parts`, each with a length for each label."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure(0.75 + _ROW * len(labels))
        ends = [0.0] * len(labels)
        for place, lengths in enumerate(parts.values()):
            axes.barh(range(len(labels)), lengths, 0.65, left=ends, color=_colour(place))
            ends = [end + length for end, length in zip(ends, lengths, strict=True)]
        _label_rows(axes, labels)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return _chart(title, figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    # Figure and not pyplot, which keeps every figure in a global state and chooses a backend for a screen.
    figure = Figure((_WIDTH, height), layout="constrained", frameon=False)
    axes = figure.add_subplot()
    axes.set_frame_on(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    return figure, axes


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first one on top
    axes.grid(axis="x")


def _short(label: str) -> str:
    # XML has no control characters, and those of direction would reach beyond the label.
    plain = "".join(letter if letter.isprintable() else " " for letter in label)
    return plain if len(plain) <= _LABEL_LETTERS else plain[: _LABEL_LETTERS - 1] + "…"


def _colour(place: int) -> str:
    return _COLOURS[place % SERIES]


# ---- SVG -------------------------------------------------------------------------------------------------------------


def _chart(title: str, figure: Figure) -> Chart:
    file = io.StringIO()
    with warnings.catch_warnings():
        # Of letters that matplotlib's font lacks: the browser has them.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    drawing = file.getvalue()
    prefix = "c" + hashlib.sha256(f"{title}{drawing}".encode()).hexdigest()[:8]
    return Chart(title, Markup(_embedded(ET.fromstring(drawing), title, prefix)))


def _embedded(root: ET.Element, title: str, prefix: str) -> str:
    """The drawing as an element of a page with other drawings: the ids begin with `prefix`, and no style is global."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("metadata"):
                parent.remove(child)
    values = " ".join(value for node in root.iter() for value in node.attrib.values())
    referenced = set(re.findall(r"#([\w-]+)", values))
    for node in root.iter():
        node.tag = node.tag.removeprefix(_SVG)
        node.attrib = {
            name.replace(_LINK, "href"): _page_value(value, prefix)
            for name, value in node.attrib.items()
            if name != "id" or value in referenced
        }
        if "id" in node.attrib:
            node.attrib["id"] = f"{prefix}-{node.attrib['id']}"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    return ET.tostring(root, encoding="unicode")


def _page_value(value: str, prefix: str) -> str:
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    # The page's own font, at matplotlib's size.
    value = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", value)
    value = re.sub(r"font-family: [^;]*; ?", "", value)
    return re.sub(r"#(?=[\w-])", f"#{prefix}-", value)
