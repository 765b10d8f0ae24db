"""Formats the result of `tawsiya ingest --preview` as text."""

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN_VALUE_CHARS = 40  # characters of a value shown
TABLES = ("events", "products")


def preview_text(result: Mapping[str, Any]) -> str:
    """What the files say, table by table, then the warnings and the mapping file to start from."""
    lines = [line for table in TABLES for line in _table_lines(table, result[table])]
    if result["warnings"]:
        lines += ["warnings:", *(f"  {warning}" for warning in result["warnings"]), ""]
    lines += [
        "Nothing was written. Save what follows as my_shop.yaml, mend it where it is wrong, and run",
        "  tawsiya refresh --set data.source=my_shop.yaml",
        "",
        result["mapping"],
    ]
    return "\n".join(lines)


def _table_lines(table: str, result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{table}:"
    for field in result["fields"]:
        yield f"  {field['field']}: {_short(field['column'])} ({field['why']})"
        yield "    " + ("; ".join(_sample(raw, read) for raw, read in field["samples"]) or "no value")
    if result["unused"]:
        yield f"  columns not used: {', '.join(map(_short, result['unused']))}"
    counts = result["counts"]
    if counts:
        rows = "sampled rows" if counts.get("sampled") else "rows"
        yield f"  ingest would keep {counts['kept']:,} of {counts['read']:,} {rows}"
        for reason, n in counts["reasons"].items():
            yield f"    {reason} {n:,}{_example(counts.get('examples', {}).get(reason))}"
    yield ""


def _sample(raw: str, read: str) -> str:
    return _short(raw) if raw == read else f"{_short(raw)} -> {_short(read)}"


def _example(example: Mapping[str, Any] | None) -> str:
    return f", e.g. line {example['line']}: {_short(str(example['value']))}" if example else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_VALUE_CHARS else text[: SHOWN_VALUE_CHARS - 3] + "..."
