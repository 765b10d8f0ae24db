"""Builds the reports of a shop from its records: pages beside each other in one folder, and a start page.

reports/
    index.html                              all reports, each with the figure that matters
    training.html, evaluation.html, ...     one page for each of REPORTS
    pages.json                              what each page was made from, and its line on the start page
"""

import json
import logging
from typing import Any

from filelock import FileLock

from batch_jobs.reports.data_page import DATA_REPORT
from batch_jobs.reports.drift_page import DRIFT_REPORT
from batch_jobs.reports.evaluation_page import EVALUATION_REPORT
from batch_jobs.reports.page import START, Link, NoRecordsError, ReportKind, fingerprint, moment, write_page
from batch_jobs.reports.release_page import RELEASE_REPORT
from batch_jobs.reports.runs_page import RUNS_REPORT
from batch_jobs.reports.training_page import TRAINING_REPORT
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths, shop_paths

REPORTS = (RELEASE_REPORT, EVALUATION_REPORT, TRAINING_REPORT, DATA_REPORT, DRIFT_REPORT, RUNS_REPORT)
_LINKS = (Link(START, "Reports"), *(Link(kind.name, kind.title) for kind in REPORTS))
_PAGES = "pages.json"

log = logging.getLogger(__name__)


def build_reports(config: Config) -> dict[str, Any]:
    """Builds the pages that are missing, or whose records have changed; two processes take turns.

    The shop's lock is not needed: no record is ever half written. A page that cannot be made says so in its place.

    Returns:
        {"reports": the start page, "built": names of the pages that were written, "missing": {name: what to run first}}
    """
    paths = shop_paths(config)
    paths.reports.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.reports / "build.lock"):
        return _built_reports(config, paths)


def _built_reports(config: Config, paths: ShopPaths) -> dict[str, Any]:
    before, lines, built = _known_pages(paths), {}, []
    for kind in REPORTS:
        line = _built(config, paths, kind, before.get(kind.name))
        if line is None:
            lines[kind.name] = before[kind.name]
        else:
            lines[kind.name] = line
            built.append(kind.name)
    if built or not paths.report_index.is_file():
        entries = [(kind, lines[kind.name]) for kind in REPORTS]
        write_page(paths.report_index, START, paths.root.name, _LINKS, {"title": "Reports", "entries": entries})
        write_json(paths.reports / _PAGES, lines)
    missing = {name: line["missing"] for name, line in lines.items() if line["missing"]}
    return {"reports": str(paths.report_index), "built": built, "missing": missing}


def _built(config: Config, paths: ShopPaths, kind: ReportKind, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Writes a page; returns its line on the start page, or None if the page is what it would be."""
    file, records, missing = paths.reports / f"{kind.name}.html", None, None
    try:
        records = kind.read(config)
    except (NoRecordsError, FileNotFoundError, ValueError) as error:
        missing = str(error)
    except Exception:  # a record of another version, say: the other pages and the job are not to blame
        missing = _logged(kind)
    made_from = fingerprint(records, missing, paths.root.name)
    if before is not None and before["made_from"] == made_from and file.is_file():
        return None
    head = {"title": kind.title, "about": kind.about}
    if records is not None:
        try:
            page = kind.page(records)
            line = {"subject": page.subject, "time": moment(page.time), "figure": page.figure, "wrong": page.wrong}
            write_page(file, kind.name, paths.root.name, _LINKS, {**head, **line, **page.content})
            return line | {"made_from": made_from, "missing": None}
        except Exception:  # likewise
            missing = _logged(kind)
    write_page(file, "missing", paths.root.name, _LINKS, head | {"message": missing})
    return {"subject": "", "time": "", "figure": "", "wrong": False, "made_from": made_from, "missing": missing}


def _logged(kind: ReportKind) -> str:
    """Logs the error at hand; what stands in the place of the page."""
    log.exception("the report %s cannot be made", kind.name)
    return "The records cannot be shown; the log of `tawsiya report build` says why"


def _known_pages(paths: ShopPaths) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((paths.reports / _PAGES).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: all pages are built
        return {}
    return known
