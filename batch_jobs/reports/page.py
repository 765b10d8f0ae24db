"""A page of the reports: what all have in common, from the records that it shows to the file."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from feature_repo.common.config import Config
from feature_repo.common.files import replacing

START = "index"
NO_VALUE = "–"
_TEMPLATES = Environment(
    loader=PackageLoader("batch_jobs.reports"),
    # Titles, ids, values and names of files come from the shop and may contain markup.
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    # A misspelt name in a template is an error and not an empty string.
    undefined=StrictUndefined,
)

Records = Mapping[str, Any]


class NoRecordsError(Exception):
    """What a report shows is not there yet; the message names the command that makes it."""


@dataclass(frozen=True)
class Page:
    """What a report shows.

    Attributes:
        subject: The run, release or data that it is of.
        time: When that was made, ISO 8601.
        figure: The one figure that matters, in a few words.
        content: The values of its template.
        wrong: Whether the figure is of something that a person must look at.
    """

    subject: str
    time: str
    figure: str
    content: Mapping[str, Any]
    wrong: bool = False


@dataclass(frozen=True)
class ReportKind:
    """One report.

    Attributes:
        name: Name of its file, its template and its argument of the command.
        title: Its heading.
        about: What it shows, in one line.
        read: Reads the records that it shows; raises NoRecordsError, or FileNotFoundError or ValueError of a record.
        page: What it shows of them.
    """

    name: str
    title: str
    about: str
    read: Callable[[Config], Records]
    page: Callable[[Records], Page]


class Link(NamedTuple):
    """An entry of the navigation."""

    name: str
    title: str


@dataclass(frozen=True)
class ReportTable:
    """A table of texts.

    Attributes:
        caption: What it shows.
        heads: The heads of its columns.
        rows: Its rows; the first cell heads the row.
        texts: Whether the columns after the first hold texts and not numbers.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: bool = field(default=False)


def write_page(path: Path, template: str, shop: str, links: Sequence[Link], values: Mapping[str, Any]) -> None:
    """Writes a page.

    Args:
        path: The file, whose stem names the page in the navigation; an existing one is replaced.
        template: Name of the template, without its endings.
        shop: Name of the shop.
        links: The navigation.
        values: The values of the template.
    """
    text = _TEMPLATES.get_template(f"{template}.html.j2").render(shop=shop, links=links, here=path.stem, **values)
    with replacing(path) as temporary:
        temporary.write_text(text.strip() + "\n", encoding="utf-8")


def fingerprint(*values: Any) -> str:
    """A hash of values and of the code and templates of the reports: what a page is made from."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    for file in sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".j2", ".css")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _with_code(text: str) -> Markup:
    """A message with what is between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


_TEMPLATES.filters["with_code"] = _with_code


# ---- texts -----------------------------------------------------------------------------------------------------------


def moment(time: str) -> str:
    """A time of a record, to the minute: 2026-11-30 13:18 UTC."""
    return f"{time[:10]} {time[11:16]} UTC"


def seconds_text(seconds: float) -> str:
    """A duration: 12.3 s, 4 min 5 s, 2 h 3 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
