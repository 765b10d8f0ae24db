"""Pages of the reports as a browser parses them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from batch_jobs.reports.build import REPORTS
from batch_jobs.reports.page import Link, Records, write_page

KINDS = {kind.name: kind for kind in REPORTS}
VOID = ("meta", "br")


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
    """Builds the tree; every element but VOID must be closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
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


def write_report(folder: Path, name: str, records: Records) -> Path:
    """Writes one report of literal records."""
    kind, page, path = KINDS[name], KINDS[name].page(records), folder / f"{name}.html"
    head = {"title": kind.title, "about": kind.about, "subject": page.subject, "time": page.time}
    values = {**head, "figure": page.figure, "wrong": page.wrong, **page.content}
    write_page(path, name, "shop", [Link(other.name, other.title) for other in REPORTS], values)
    return path


def report(folder: Path, name: str, records: Records) -> Element:
    return read(write_report(folder, name, records))


def tables(page: Element) -> dict[str, list[list[str]]]:
    """The cells of each table by its caption; a table of a later target takes the place of one with its name."""
    return {
        next(table.all("caption")).text: [
            [cell.text for cell in row.children if isinstance(cell, Element)] for row in table.all("tr")
        ]
        for table in page.all("table")
    }


def charts(page: Element) -> dict[str, Element]:
    """Each chart by its caption."""
    return {next(figure.all("figcaption")).text: next(figure.all("svg")) for figure in page.all("figure")}


def chart_texts(chart: Element) -> list[str]:
    return [text.text for text in chart.all("text")]


def skeleton(element: Element) -> list[Any]:
    """The tree without its texts; of a chart, the numbers of texts and of all else alone."""
    if element.name == "svg":
        return ["svg", sorted(element.attributes), len(list(element.all("text")))]
    inner = [skeleton(child) for child in element.children if isinstance(child, Element)]
    return [element.name, sorted(element.attributes), inner]
