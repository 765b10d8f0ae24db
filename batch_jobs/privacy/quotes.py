"""Reports that quote rows of the shop's files: the ingest report, and the gate's results and Data Docs."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from batch_jobs.privacy.mentions import ERASED, Mentions
from batch_jobs.privacy.parquet_rows import RAW, VALUE, rows_of
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths
from feature_repo.ingest_report import EXAMPLE_LENGTH

BASELINE = "baseline.json"


def erase_examples(paths: ShopPaths, buyer_ids: Collection[str]) -> int:
    """Erases the examples and warnings of the ingest report that quote these buyers; returns how many texts changed.

    Call it before their rows leave the quarantine: an example may show only the beginning of a row, without the id.
    """
    if not paths.ingest_report.is_file():
        return 0
    mentions, quoted = Mentions(buyer_ids), _quoted_rows(paths, buyer_ids)
    changed = 0

    def erased(text: str) -> str:
        nonlocal changed
        clean = ERASED if text in quoted else mentions.erased(text)
        for row in quoted:
            clean = clean.replace(repr(row), repr(ERASED))  # as warnings quote it
        changed += clean != text
        return clean

    report = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    clean = report | {name: _mapped(report[name], erased) for name in ("events", "warnings") if name in report}
    if changed:
        write_json(paths.ingest_report, clean)
    return changed


def _quoted_rows(paths: ShopPaths, buyer_ids: Collection[str]) -> set[str]:
    """The buyers' rows of the quarantine as the report shows them, where it shows the row and not a single value."""
    if not paths.quarantine.is_file():
        return set()
    return {
        row[RAW][:EXAMPLE_LENGTH]
        for batch in rows_of(paths.quarantine, buyer_ids)
        for row in batch.select([RAW, VALUE]).to_pylist()
        if row[RAW] and row[VALUE] in (None, row[RAW])
    }


def _mapped(node: Any, change: Callable[[str], str]) -> Any:
    """The JSON content with each text changed; the keys stay."""
    if isinstance(node, dict):
        return {key: _mapped(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [_mapped(value, change) for value in node]
    return change(node) if isinstance(node, str) else node


def delete_quoting_results(validation: Path, buyer_ids: Collection[str], kept: Collection[Path]) -> int:
    """Deletes the gate's results, and their pages, that quote these buyers, but those `kept`; returns how many."""
    mentions = Mentions(buyer_ids)
    # The baseline has counts alone.
    kept = {*kept, validation / BASELINE}
    texts = [path for path in validation.rglob("*") if path.suffix in (".json", ".html") and path not in kept]
    quoting = {path for path in texts if mentions.in_text(path.read_text(encoding="utf-8", errors="replace"))}
    results, pages = validation / "results", validation / "data_docs" / "validations"
    # Both forms of a result: the index would link to a page that is gone, or list a page without its result.
    for path in list(quoting):
        for folder, other, suffix in ((results, pages, ".html"), (pages, results, ".json")):
            if folder in path.parents:
                quoting.add(other / path.relative_to(folder).with_suffix(suffix))
    deleted = 0
    for path in quoting:
        if path.is_file():
            path.unlink()
            deleted += 1
            _delete_empty_folders(path.parent, validation)
    return deleted


def _delete_empty_folders(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
