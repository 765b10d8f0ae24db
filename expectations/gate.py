"""The data gate: validates the files of a shop, records the result, and refuses files that did not pass.

`validate_canonical` runs after ingest, `validate_features` after the feature build. Later jobs call `require_passed`
and `passed_copies`, which only read the recorded results and so do not import Great Expectations.
"""

import datetime as dt
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.checks import DRIFT_VIEW
from expectations.records import (
    CANONICAL,
    FEATURE_STAGE,
    GATE_STAGES,
    checksums_of,
    feature_files,
    file_name,
    read_record,
    record_path,
    stage_files,
)
from expectations.runner import Finding, run_suites
from expectations.statistics import (
    CanonicalStatistics,
    GoodRun,
    canonical_statistics,
    good_runs,
    keep_good_run,
    run_to_compare,
    utc_now,
)
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError, GateRefusedError
from feature_repo.common.files import sha256, write_json
from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import part_time

if TYPE_CHECKING:
    from expectations.checks import Suite

log = logging.getLogger(__name__)

STATISTICS = "statistics"  # of the canonical data, in their record
REASONS_PER_TABLE = 3  # most frequent reasons of quarantine that a refusal names
_COMMANDS = {
    CANONICAL: "`tawsiya ingest`",
    FEATURE_STAGE: "`tawsiya build-features`",
}  # they write the files of a stage


@dataclass(frozen=True)
class GateResult:
    """The result of validating the files of one stage.

    Attributes:
        stage: CANONICAL or FEATURE_STAGE.
        findings: The result of each expectation.
        paths: The shop.
        compared_with: The time of the good run that the drift checks compared with; None if they did not run.
    """

    stage: str
    findings: tuple[Finding, ...]
    paths: ShopPaths
    compared_with: str | None = None

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The failed blocking expectations."""
        return tuple(finding for finding in self.findings if finding.blocking and not finding.success)

    @property
    def passed(self) -> bool:
        """Whether no blocking expectation failed."""
        return not self.blockers


# ---- validate --------------------------------------------------------------------------------------------------------


def validate_canonical(paths: ShopPaths, config: Config, *, accept_drift: bool = False) -> GateResult:
    """Validates products, events and ingest report; writes `canonical.json` and Data Docs to `paths.validation`.

    Data that pass become the baseline, which the next data are compared with.

    Args:
        paths: The shop.
        config: The configuration.
        accept_drift: Do not compare with the last good run: its successor differs for a reason.

    Raises:
        FileNotFoundError: An input is missing.
        ValueError: An input cannot be read.
        ConfigError: `expectations.warn_only` or `also_block` names an expectation that does not exist.
    """
    from expectations.suites import canonical_suites

    checksums = _checked_inputs(paths, config, CANONICAL)
    report = _read_report(paths)
    statistics = canonical_statistics(paths, config, report)
    good_run = None if accept_drift else run_to_compare(good_runs(paths), checksums)
    if good_run is None and not accept_drift:
        log.info("there is no earlier good run to compare with; drift is checked from the next data on")
    suites = canonical_suites(config, report, statistics, good_run)
    compared_with = good_run.validated_at if good_run else None
    result = _validate(paths, config, CANONICAL, suites, checksums, compared_with, statistics)
    if result.passed:
        keep_good_run(paths, GoodRun(utc_now(), accept_drift, checksums, statistics))
    return result


def validate_features(paths: ShopPaths, config: Config) -> GateResult:
    """Validates the files that are materialized; writes `features.json` and Data Docs to `paths.validation`.

    Raises:
        FileNotFoundError: An input is missing.
        ValueError: An input cannot be read.
        ConfigError: `expectations.warn_only` or `also_block` names an expectation that does not exist.
    """
    from expectations.feature_suites import feature_suites

    checksums = _checked_inputs(paths, config, FEATURE_STAGE)
    return _validate(paths, config, FEATURE_STAGE, feature_suites(config), checksums)


# ---- refuse ----------------------------------------------------------------------------------------------------------


def raise_if_refused(result: GateResult) -> None:
    """Refuses data that did not pass.

    Raises:
        GateRefusedError: A blocking expectation failed. The message names each of them, the quarantine and the report.
    """
    if result.passed:
        return
    lines = [f"the {result.stage} data in {result.paths.root} did not pass the gate:"]
    lines += [f"  {finding.table}: {finding.name}: {finding.observed}" for finding in result.blockers]
    lines.append(f"quarantined rows: {result.paths.quarantine}{_main_reasons(result.paths)}")
    lines.append(f"report: {result.paths.validation / 'data_docs' / 'index.html'}")
    lines.append("`tawsiya validate --explain` shows the values, where they came from and what to do")
    if any(finding.table == DRIFT_VIEW for finding in result.blockers):
        lines.append("if the change is real: `tawsiya validate --accept-drift`")
    raise GateRefusedError("\n".join(lines))


def enforce_gate(result: GateResult) -> list[str]:
    """Refuses data that did not pass the gate; returns the warnings of data that did, a line each.

    Raises:
        GateRefusedError: A blocking expectation failed.
    """
    raise_if_refused(result)
    failed = [finding for finding in result.findings if not finding.success]
    return [f"{finding.table}: {finding.name}: {finding.observed}" for finding in failed]


def recorded_warnings(paths: ShopPaths, stage: str) -> list[str]:
    """The same warnings of a stage that was validated before and passed, from its record."""
    return enforce_gate(
        GateResult(stage, tuple(Finding(**item) for item in read_record(paths, stage)["findings"]), paths)
    )


def _main_reasons(paths: ShopPaths) -> str:
    """The most frequent reasons in the ingest report, as " (events: unknown_product 31,004; ...)", or ""."""
    report = _read_report(paths) if paths.ingest_report.is_file() else {}
    tables = []
    for table in ("events", "products"):
        reasons = sorted(report.get(table, {}).get("reasons", {}).items(), key=lambda item: -item[1])[
            :REASONS_PER_TABLE
        ]
        if reasons:
            tables.append(f"{table}: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons))
    return f" ({'; '.join(tables)})" if tables else ""


def require_passed(paths: ShopPaths, *stages: str) -> dict[str, str]:
    """Refuses files that the gate has not passed in their present content.

    Args:
        paths: The shop.
        stages: The stages that must have passed; both if none is given.

    Returns:
        The checksums of the files, by their paths in the shop's folder.

    Raises:
        GateRefusedError: A stage was never validated, did not pass, or its files have changed since.
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    checksums: dict[str, str] = {}
    for stage in stages or GATE_STAGES:
        record = read_record(paths, stage)
        current, validated = checksums_of(paths, stage), record["inputs"]
        # A part that no longer counts has changed too.
        changed = [name for name in {**current, **validated} if current.get(name) != validated.get(name)]
        if changed:
            raise GateRefusedError(
                f"{', '.join(changed)} in {paths.root} changed since the {stage} data were validated at "
                f"{record['validated_at']}; run `tawsiya validate`"
            )
        raise_if_refused(GateResult(stage, tuple(Finding(**finding) for finding in record["findings"]), paths))
        checksums |= validated
    return checksums


@contextmanager
def passed_copies(paths: ShopPaths, since: dt.datetime) -> Iterator[ShopPaths]:
    """Copies of the feature files that passed the gate, to read in their place; they are deleted afterwards.

    A file can change after its checksum is taken. A copy whose checksum is taken after copying cannot be changed by
    whoever writes the file: only content that passed the gate is read.

    Args:
        paths: The shop.
        since: Parts whose rows are all stamped earlier are not copied.

    Yields:
        A folder that holds the copies where a shop's folder holds the files.

    Raises:
        GateRefusedError: The files have not passed the gate.
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    checksums = require_passed(paths)
    # Only one job at a time runs for a shop, so a folder that exists is the leftover of a killed one.
    folder = paths.passed_features
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        for path in (path for of_view in feature_files(paths).values() for path in of_view):
            if path == paths.product_features or part_time(path) >= since:
                _copy(path, folder / file_name(paths, path), checksums[file_name(paths, path)])
        yield ShopPaths(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(path: Path, copy: Path, checksum: str) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    if sha256(copy) != checksum:
        raise GateRefusedError(
            f"{path} changed while it was read; nothing was written. Run `tawsiya validate` and then "
            "`tawsiya materialize`"
        )


# ---- records ---------------------------------------------------------------------------------------------------------


def _checked_inputs(paths: ShopPaths, config: Config, stage: str) -> dict[str, str]:
    """Checks settings and files before anything is validated, and returns the checksums of the files.

    They are taken before the data are read, so that a file that is replaced meanwhile does not match its record.
    """
    _check_names(config)
    checksums = checksums_of(paths, stage)
    missing = [name for name, checksum in checksums.items() if checksum is None]
    if missing:
        raise FileNotFoundError(f"{paths.root} lacks {', '.join(missing)}; run {_COMMANDS[stage]} first")
    return {name: checksum for name, checksum in checksums.items() if checksum is not None}


def _validate(
    paths: ShopPaths,
    config: Config,
    stage: str,
    suites: Sequence["Suite"],
    checksums: dict[str, str],
    compared_with: str | None = None,
    statistics: CanonicalStatistics | None = None,
) -> GateResult:
    findings, results = run_suites(
        suites,
        stage=stage,
        inputs=stage_files(paths, stage),
        made_by=_COMMANDS[stage],
        folder=paths.validation,
        config=config,
    )
    result = GateResult(stage, findings, paths, compared_with)
    record: dict[str, Any] = {
        "stage": stage,
        "passed": result.passed,
        "validated_at": utc_now(),
        "compared_with": compared_with,
        "inputs": checksums,
        "findings": [asdict(finding) for finding in findings],
        "great_expectations": results,
        STATISTICS: None if statistics is None else asdict(statistics),
    }
    write_json(record_path(paths, stage), record)
    return result


def _check_names(config: Config) -> None:
    """Refuses names of expectations that do not exist: a typing error would block instead of warn."""
    from expectations.suites import names

    known = names(config)
    for setting in ("warn_only", "also_block"):
        if unknown := getattr(config.expectations, setting) - known:
            raise ConfigError(
                f"expectations.{setting}: there is no expectation {', '.join(sorted(unknown))}; "
                f"the names are {', '.join(sorted(known))}"
            )


def _read_report(paths: ShopPaths) -> dict[str, Any]:
    """The ingest report.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        report: dict[str, Any] = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{paths.ingest_report} cannot be read: {error}; run `tawsiya ingest` again") from None
    return report
