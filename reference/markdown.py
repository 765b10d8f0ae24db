"""Tables in Markdown."""

from collections.abc import Iterable, Iterator


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table; nothing if it has no rows."""
    lines = [_row(row) for row in rows]
    if lines:
        names = list(head)
        yield from (_row(names), "|" + "---|" * len(names), *lines, "")


def code(text: object) -> str:
    """A text as code; empty for an empty text."""
    return f"`{text}`" if str(text) else ""


def _row(cells: Iterable[str]) -> str:
    # A bar would end the cell, even within code.
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"
