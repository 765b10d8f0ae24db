"""Reports that quote rows of the shop's files: the ingest report, and the gate's results and Data Docs."""

import json
import re
from collections.abc import Collection
from pathlib import Path

from batch_jobs.privacy.mentions import ERASED, Mentions
from batch_jobs.privacy.parquet_rows import RAW, VALUE, rows_of
from feature_repo import columns as c
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths
from feature_repo.ingest_report import EXAMPLE_LENGTH

BASELINE = "baseline.json"
_QUOTATION = re.compile(r"'[^']*'|\"[^\"]*\"")


def erase_examples(paths: ShopPaths, buyer_ids: Collection[str]) -> int:
    """Erases the examples and warnings of the ingest report that quote these buyers; returns how many texts changed.

    Call it before their rows leave the quarantine: an example may show only the beginning of a row, without the id.
    """
    if not paths.ingest_report.is_file():
        return 0
    erasure = _TextErasure(buyer_ids, _quoted_rows(paths, buyer_ids))
    report = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    for counts in (report["events"], report["events"].get(c.Origin.EVENT_LOG, {})):
        for example in counts.get("examples", {}).values():
            example["value"] = erasure.value(example["value"])
    report["warnings"] = [erasure.warning(text) for text in report["warnings"]]
    if erasure.changed:
        write_json(paths.ingest_report, report)
    return erasure.changed


class _TextErasure:
    """Erases buyers from the texts of a report.

    Attributes:
        changed: How many texts it has changed.
    """

    def __init__(self, buyer_ids: Collection[str], quoted_rows: Collection[str]) -> None:
        self.changed = 0
        self._mentions, self._rows = Mentions(buyer_ids), quoted_rows
        # In a sentence, a number is more often a count than an id.
        self._names = Mentions([buyer_id for buyer_id in buyer_ids if not buyer_id.isdecimal()])

    def value(self, text: str | None) -> str | None:
        """A value of an example."""
        if text is None:
            return None
        return self._counted(text, ERASED if text in self._rows else self._mentions.erased(text))

    def warning(self, text: str) -> str:
        """A sentence, which quotes values and rows."""
        clean = text
        for row in self._rows:
            clean = clean.replace(repr(row), repr(ERASED))
        clean = _QUOTATION.sub(lambda quotation: self._mentions.erased(quotation[0]), clean)
        return self._counted(text, self._names.erased(clean))

    def _counted(self, before: str, after: str) -> str:
        self.changed += before != after
        return after


def _quoted_rows(paths: ShopPaths, buyer_ids: Collection[str]) -> set[str]:
    """The buyers' rows of the quarantine as the report shows them, where it shows the row and not a single value."""
    if not paths.quarantine.is_file():
        return set()
    return {
        (row[RAW] if row[VALUE] is None else row[VALUE])[:EXAMPLE_LENGTH]
        for batch in rows_of(paths.quarantine, buyer_ids)
        for row in batch.select([RAW, VALUE]).to_pylist()
        # A line that could not be read is JSON text, and its value is the line.
        if row[RAW] and (row[VALUE] is None or row[RAW].startswith('"'))
    }


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
