"""Formats the result of `tawsiya ingest --preview` as text."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN_VALUE_CHARS = 40  # characters of a value shown
TABLES = ("events", "products")
LEFT_TO_RIGHT = "\u200e"  # keeps a terminal from swapping two neighbouring cells of Arabic


def preview_text(result: Mapping[str, Any]) -> str:
    """What the files say and the next step; where the configured source does not suffice, a mapping to start from."""
    if not result["unmapped"]:
        done = (
            "Nothing was written. With this source and these settings, `tawsiya refresh` reads the files in this way."
        )
        return "\n".join([found_text(result), done])
    lines = [
        found_text(result),
        f"Only with a mapping file will `tawsiya refresh` read: {', '.join(result['unmapped'])}.",
        "The mapping file to start from:",
        "",
        result["mapping"],
        "Nothing was written. Save the mapping as my_shop.yaml, mend it where it is wrong, and check it:",
        "  tawsiya ingest --preview --source my_shop.yaml",
        "Then make a release of it:",
        "  tawsiya refresh --set data.source=my_shop.yaml",
        "Or let `tawsiya init` write it.",
    ]
    return "\n".join(lines)


def found_text(result: Mapping[str, Any]) -> str:
    """What the files say, table by table, then the warnings."""
    lines = [line for table in TABLES for line in _table_lines(table, result[table])]
    if result["warnings"]:
        lines += ["warnings:", *(f"  {warning}" for warning in result["warnings"]), ""]
    return "\n".join(lines)


def _table_lines(table: str, result: Mapping[str, Any]) -> Iterator[str]:
    counts = result["counts"]
    rows_read = "sampled rows" if counts.get("sampled") else "rows"
    kept = f" ingest would keep {counts['kept']:,} of {counts['read']:,} {rows_read}" if counts else ""
    yield f"{table}:{kept}"
    for reason, n in counts.get("reasons", {}).items():
        yield f"  {reason} {n:,}{_example(counts.get('examples', {}).get(reason))}"
    head = ("field", "column", "known by", "values as they are read")
    rows = [
        (
            field["field"],
            _short(field["column"]),
            field["why"],
            "; ".join(_sample(raw, read) for raw, read in field["samples"]) or "no value",
        )
        for field in result["fields"]
    ]
    yield from _aligned([head, *rows])
    if result["unused"]:
        yield f"  columns not used: {', '.join(map(_short, result['unused']))}"
    yield ""


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + _mark(cell) + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        yield "  " + "  ".join(cells).rstrip()


def _width(text: str) -> int:
    """The columns of a terminal that a text takes: vowel signs take none, wide characters two."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def _mark(text: str) -> str:
    return LEFT_TO_RIGHT if any(unicodedata.bidirectional(char) in ("R", "AL") for char in text) else ""


def _sample(raw: str, read: str) -> str:
    return _short(raw) if raw == read else f"{_short(raw)} -> {_short(read)}"


def _example(example: Mapping[str, Any] | None) -> str:
    return f", e.g. line {example['line']}: {_short(str(example['value']))}" if example else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_VALUE_CHARS else text[: SHOWN_VALUE_CHARS - 3] + "..."
