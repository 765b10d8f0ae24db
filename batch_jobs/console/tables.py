"""Tables for people: columns aligned by what a terminal shows, Arabic text included.

On a terminal free text is cut to its width, and a cell of right-to-left text is isolated, because otherwise two such
cells, or one and the number after it, change places. In a file or a pipe nothing is cut and nothing is added. The
tables of `rich` were tried: they cut the end of an isolate off with the text, and narrow columns of numbers to a dot.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size

GAP = "  "
NARROWEST = 8  # columns of a cell that is cut
# Unicode's isolates: the text between them decides its own direction and not that of its neighbours.
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


def table_lines(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), cut: Collection[int] = (), head: bool = True
) -> list[str]:
    """Rows with aligned columns.

    Args:
        rows: The cells, a row each; with `head` the first one names the columns.
        right: The columns, from 0, that are aligned to the right, such as numbers.
        cut: The columns of free text, such as titles, which are cut where a terminal is too narrow. Numbers and names
            are whole everywhere: half of one is wrong, or cannot be copied.
        head: Whether there is a first row of names, with a line under it.
    """
    on_terminal = sys.stdout.isatty()
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    total = shutil.get_terminal_size().columns if on_terminal else None
    widths = _fitted(widths, cut, total) if total else widths
    lines = [
        GAP.join(
            _cell(cell, width, right=number in right, isolate=on_terminal)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return [lines[0], rule, *lines[1:]] if head else lines


def coloured(text: str, colour: str) -> str:
    """The text in a colour of ANSI, where stdout is a terminal that wants colours (https://no-color.org)."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    codes = {"red": 31, "green": 32, "yellow": 33}
    return f"\x1b[{codes[colour]}m{text}\x1b[0m" if wanted else text


def _fitted(widths: Sequence[int], cut: Collection[int], total: int) -> list[int]:
    """Widths that fit into `total`, or nearly: of the columns of free text the widest gives first."""
    fitted = list(widths)
    while (over := sum(fitted) + len(GAP) * (len(fitted) - 1) - total) > 0:
        widest = max(cut, key=fitted.__getitem__, default=None)
        if widest is None or fitted[widest] <= NARROWEST:
            break
        second = max((fitted[number] for number in cut if number != widest), default=NARROWEST)
        fitted[widest] = max(fitted[widest] - over, min(second, fitted[widest] - 1), NARROWEST)
    return fitted


def _cell(text: str, width: int, *, right: bool, isolate: bool) -> str:
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    padding = " " * (width - cell_len(text))
    if isolate and any(unicodedata.bidirectional(char) in ("R", "AL") for char in text):
        text = f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"
    return padding + text if right else text + padding
