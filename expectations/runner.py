"""Runs suites with Great Expectations and renders its Data Docs.

Great Expectations takes seconds to import, so only the functions that run it import it. Version 1.24 contains no code
that sends usage statistics.
"""

import html
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from expectations.checks import TOLERATED_ROWS, Check, Suite
from expectations.row_counts import EXAMPLES, count_rows
from expectations.statistics import open_view
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session, out_of_resources
from feature_repo.settings.data import ExpectationsConfig

MAX_DOCS_RUNS = 30  # runs per table in Data Docs; each one slows down its index

# Every page of Data Docs loads logos from this host. One address contains the id of the context, so opening a page
# would report it.
REMOTE_LOGO = re.compile(r"https://great-expectations-web-assets[^\s\"')]*")
NO_IMAGE = "data:,"


@dataclass(frozen=True)
class Finding:
    """The result of one expectation.

    Attributes:
        table: Name of the suite's table.
        name: Name of the expectation.
        blocking: Whether a failure refuses the data; otherwise it is a warning.
        success: Whether the expectation holds.
        observed: What was observed, as text.
        remedy: What to do when it fails; empty in records of older versions.
    """

    table: str
    name: str
    blocking: bool
    success: bool
    observed: str
    remedy: str = ""


def run_suites(
    suites: Sequence[Suite],
    *,
    stage: str,
    inputs: Mapping[str, Sequence[Path]],
    made_by: str,
    folder: Path,
    config: Config,
) -> tuple[tuple[Finding, ...], dict[str, Any]]:
    """Runs suites over files and builds Data Docs.

    Args:
        suites: The suites.
        stage: Name of the run in Data Docs.
        inputs: The Parquet file or files of each view, by the view names in the queries of the suites.
        made_by: The command that writes the files, for messages.
        folder: Output folder of `suites/`, `results/` and `data_docs/`.
        config: Says which expectations block, and how much memory DuckDB takes.

    Returns:
        The findings in the order of the suites, and Great Expectations' own results by table.

    Raises:
        ValueError: A file cannot be read.
    """
    from great_expectations.core.run_identifier import RunIdentifier

    rows = _check_rows(suites, inputs, made_by, config)
    context = _context(folder)
    source = context.data_sources.add_pandas(stage)
    run_id = RunIdentifier(run_name=stage, run_time=datetime.now(UTC))
    findings: list[Finding] = []
    results: dict[str, Any] = {}
    for suite in suites:
        outcome = _outcome(context, source, suite, rows[suite.table], run_id, config.expectations)
        findings += _findings(suite, outcome, config.expectations)
        results[suite.table] = outcome.to_json_dict()
    _build_docs(context, run_id, folder / "data_docs")
    return tuple(findings), results


# ---- data ------------------------------------------------------------------------------------------------------------


def _check_rows(
    suites: Sequence[Suite], inputs: Mapping[str, Sequence[Path]], made_by: str, config: Config
) -> dict[str, pd.DataFrame]:
    """The one row that the checks of each suite judge, by the suites' tables."""
    with duckdb_session(config, "validate") as db:
        for name, files in inputs.items():
            open_view(db, name, files, made_by)
        return {suite.table: _check_row(db, suite, made_by) for suite in suites}


def _check_row(db: duckdb.DuckDBPyConnection, suite: Suite, made_by: str) -> pd.DataFrame:
    try:
        row = count_rows(db, suite) if suite.rows else suite.observed
    except duckdb.Error as error:
        if out_of_resources(error):
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the table {suite.table} cannot be checked: {reason}; run {made_by} again") from None
    return pd.DataFrame([_escaped(dict(row))])


def _escaped(value: Any) -> Any:
    """The value with & and < escaped in its texts, because Data Docs insert examples into pages unescaped."""
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return {key: _escaped(item) for key, item in value.items()} if isinstance(value, dict) else value


# ---- Great Expectations and its Data Docs ----------------------------------------------------------------------------


def _context(folder: Path) -> Any:
    """A context that stores suites and results in files: the index of Data Docs lists only stored results."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    stores = base.InMemoryStoreBackendDefaults()
    for name, subfolder in (
        (stores.expectations_store_name, "suites"),
        (stores.validation_results_store_name, "results"),
    ):
        stores.stores[name]["store_backend"] = _file_backend(folder / subfolder) | {"filepath_suffix": ".json"}
    stores.data_docs_sites = {
        "tawsiya": {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            # A page per suite would repeat the expectations on its page of results, and take as long to render.
            "site_section_builders": {"expectations": "None"},
            # These buttons link to the web site of Great Expectations.
            "show_how_to_buttons": False,
            "store_backend": _file_backend(folder / "data_docs"),
        }
    }
    config = base.DataContextConfig(
        store_backend_defaults=stores,
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    # `file` would write a project folder of its own, and `cloud` needs an account.
    return gx.get_context(mode="ephemeral", project_config=config)


def _file_backend(folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    # Great Expectations takes `$NAME` in a setting for a variable.
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder).replace("$", "\\$")}


def _build_docs(context: Any, run_id: Any, docs: Path) -> None:
    """Renders the pages of this run and an index of the newest runs; the pages open without a network."""
    store = context.validation_results_store
    keys = sorted(store.list_keys(), key=lambda key: key.run_id.run_time)
    fresh = [key for key in keys if key.run_id == run_id]
    for suite in (key.expectation_suite_identifier for key in fresh):
        for key in [key for key in keys if key.expectation_suite_identifier == suite][:-MAX_DOCS_RUNS]:
            store.remove_key(key)
    context.build_data_docs(resource_identifiers=fresh)
    for page in docs.rglob("*.html"):
        page.write_text(REMOTE_LOGO.sub(NO_IMAGE, page.read_text(encoding="utf-8")), encoding="utf-8")
    _list_latest_pages(docs)


def _list_latest_pages(docs: Path) -> None:
    """Adds plain links to the index: its own table stays empty if its scripts cannot be loaded."""
    links = []
    for table in sorted((docs / "validations").iterdir()):
        # The folder's name is the time of the run.
        latest = max(table.rglob("*.html"), key=lambda page: page.parent.name)
        links.append(f'<li><a href="{latest.relative_to(docs).as_posix()}">{table.name}</a></li>')
    index = docs / "index.html"
    page_html = index.read_text(encoding="utf-8")
    index.write_text(
        page_html.replace("</body>", f"<p>Latest results</p><ul>{''.join(links)}</ul></body>"), encoding="utf-8"
    )


# ---- expectations and findings ---------------------------------------------------------------------------------------


def _outcome(
    context: Any, source: Any, suite: Suite, row: pd.DataFrame, run_id: Any, limits: ExpectationsConfig
) -> Any:
    """Great Expectations' result of a suite; `row` is what its checks judge."""
    import great_expectations as gx

    expectations = [_configured(check, blocking=check.blocks(limits)) for check in suite.checks]
    definition = gx.ValidationDefinition(
        name=suite.table,
        data=source.add_dataframe_asset(suite.table).add_batch_definition_whole_dataframe("whole"),
        suite=context.suites.add_or_update(gx.ExpectationSuite(suite.table, expectations=expectations)),
    )
    return context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": row},
        # Other formats have more or fewer keys than the findings and Data Docs need.
        result_format={"result_format": "BASIC", "partial_unexpected_count": EXAMPLES},
        run_id=run_id,
    )


def _findings(suite: Suite, outcome: Any, limits: ExpectationsConfig) -> list[Finding]:
    # By name, because Great Expectations returns the results grouped by column.
    by_name = {result.expectation_config.meta["name"]: result for result in outcome.results}
    findings = []
    for check in suite.checks:
        result = by_name[check.name]
        blocking = check.blocks(limits) and not _is_tolerated(check, result)
        observed = _observed(check, result)
        findings.append(Finding(suite.table, check.name, blocking, result.success, observed, check.remedy))
    return findings


def _configured(check: Check, *, blocking: bool) -> Any:
    """The check's expectation with the name, description and severity that Data Docs and the results show."""
    expectation = check.expectation
    mostly = getattr(expectation, "mostly", None)
    share = "" if mostly is None else "no rows " if mostly == 1 else f"at most {1 - mostly:.1%} of rows "
    expectation.meta = {"name": check.name}
    expectation.description = f"{check.name}: {share}{check.wording}"
    expectation.severity = "critical" if blocking else "warning"
    return expectation


def _is_tolerated(check: Check, result: Any) -> bool:
    """Whether a check of a share failed for so few rows that it only warns."""
    is_share = getattr(check.expectation, "mostly", 1) < 1
    return (
        not result.success and is_share and result.result.get("unexpected_count", TOLERATED_ROWS + 1) <= TOLERATED_ROWS
    )


def _observed(check: Check, result: Any) -> str:
    outcome = result.result
    if not outcome:  # Great Expectations catches exceptions of its computations, such as a comparison of unlike types
        info = result.exception_info
        reports = [info] if "exception_message" in info else info.values()  # one report, or one per computation
        return f"could not be checked: {'; '.join(str(report['exception_message']) for report in reports)}"
    if "observed_value" in outcome:
        value = outcome["observed_value"]
        return f"{value:,} {check.wording}" if isinstance(value, Integral) else f"{value:.1%} {check.wording}"
    faulty, rows = outcome["unexpected_count"], outcome["element_count"] - outcome.get("missing_count", 0)
    text = f"{faulty:,} of {rows:,} rows ({faulty / max(rows, 1):.1%}) {check.wording}"
    examples = list(dict.fromkeys(html.unescape(value) for value in outcome["partial_unexpected_list"] if value))
    if check.fault is None:
        # The value says what is wrong.
        return f"{check.wording}: {examples[0]}" if examples else check.wording
    return f"{text}, e.g. {'; '.join(examples)}" if examples else text
