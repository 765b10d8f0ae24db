"""The data gate: validates the files of a shop, records the result, and refuses files that did not pass.

`validate_canonical` runs after ingest, `validate_sequences` after the feature build. Later jobs call `require_passed`,
which only reads the recorded results and so does not import Great Expectations.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.runner import Finding, run_suites
from feature_repo.common.config import Config, ConfigError
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths

if TYPE_CHECKING:
    from expectations.suites import Suite

CANONICAL, SEQUENCES = "canonical", "sequences"
GATE_STAGES = (CANONICAL, SEQUENCES)
REASONS_PER_TABLE = 3  # most frequent reasons of quarantine that a refusal names
_COMMANDS = {CANONICAL: "`tawsiya ingest`", SEQUENCES: "`tawsiya build-features`"}  # they write the files of a stage


@dataclass(frozen=True)
class GateResult:
    """The result of validating the files of one stage.

    Attributes:
        stage: CANONICAL or SEQUENCES.
        findings: The result of each expectation.
        paths: The shop.
    """

    stage: str
    findings: tuple[Finding, ...]
    paths: ShopPaths

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The failed blocking expectations."""
        return tuple(finding for finding in self.findings if finding.blocking and not finding.success)

    @property
    def passed(self) -> bool:
        """Whether no blocking expectation failed."""
        return not self.blockers


# ---- validate --------------------------------------------------------------------------------------------------------


def validate_canonical(paths: ShopPaths, config: Config) -> GateResult:
    """Validates products, events and ingest report; writes `canonical.json` and Data Docs to `paths.validation`.

    Raises:
        FileNotFoundError: An input is missing.
        ConfigError: `expectations.warn_only` names an expectation that does not exist.
    """
    from expectations.suites import canonical_suites

    return _validate(paths, config, CANONICAL, canonical_suites(config))


def validate_sequences(paths: ShopPaths, config: Config) -> GateResult:
    """Validates the buyer sequences; writes `sequences.json` and Data Docs to `paths.validation`.

    Raises:
        FileNotFoundError: The input is missing.
        ConfigError: `expectations.warn_only` names an expectation that does not exist.
    """
    from expectations.suites import sequence_suites

    return _validate(paths, config, SEQUENCES, sequence_suites(config))


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
    raise GateRefusedError("\n".join(lines))


def _main_reasons(paths: ShopPaths) -> str:
    """The most frequent reasons in the ingest report, as " (events: unknown_product 31,004; ...)", or ""."""
    report = json.loads(paths.ingest_report.read_text(encoding="utf-8")) if paths.ingest_report.is_file() else {}
    tables = []
    for table in ("events", "products"):
        reasons = sorted(report.get(table, {}).get("reasons", {}).items(), key=lambda item: -item[1])[
            :REASONS_PER_TABLE
        ]
        if reasons:
            tables.append(f"{table}: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons))
    return f" ({'; '.join(tables)})" if tables else ""


def require_passed(paths: ShopPaths, *stages: str) -> None:
    """Refuses files that the gate has not passed in their present version.

    Args:
        paths: The shop.
        stages: The stages that must have passed; both if none is given.

    Raises:
        GateRefusedError: A stage was never validated, did not pass, or its files have changed since.
    """
    for stage in stages or GATE_STAGES:
        record_path = _record_path(paths, stage)
        if not record_path.is_file():
            raise GateRefusedError(f"the {stage} data in {paths.root} were never validated; run `tawsiya validate`")
        record = json.loads(record_path.read_text(encoding="utf-8"))
        current, validated = _fingerprints(paths, stage), record["inputs"]
        changed = [name for name in current if current[name] != validated.get(name)]
        if changed:
            raise GateRefusedError(
                f"{', '.join(changed)} in {paths.root} changed since the {stage} data were validated at "
                f"{record['validated_at']}; run `tawsiya validate`"
            )
        raise_if_refused(GateResult(stage, tuple(Finding(**finding) for finding in record["findings"]), paths))


# ---- records ---------------------------------------------------------------------------------------------------------


def _validate(paths: ShopPaths, config: Config, stage: str, suites: Sequence["Suite"]) -> GateResult:
    warn_only = _checked_warn_only(config)
    # Taken before the data are read, so that a file that is replaced meanwhile does not match its record.
    fingerprints = _fingerprints(paths, stage)
    missing = [name for name, fingerprint in fingerprints.items() if fingerprint is None]
    if missing:
        raise FileNotFoundError(f"{paths.root} lacks {', '.join(missing)}; run {_COMMANDS[stage]} first")
    findings, results = run_suites(
        suites, stage=stage, inputs=_inputs(paths, stage), folder=paths.validation, warn_only=warn_only
    )
    result = GateResult(stage, findings, paths)
    record: dict[str, Any] = {
        "stage": stage,
        "passed": result.passed,
        "validated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": fingerprints,
        "findings": [asdict(finding) for finding in findings],
        "great_expectations": results,
    }
    write_json(_record_path(paths, stage), record)
    return result


def _checked_warn_only(config: Config) -> frozenset[str]:
    """The names of `expectations.warn_only`, where each exists: a typing error would block instead of warn."""
    from expectations.suites import names

    unknown = config.expectations.warn_only - names(config)
    if unknown:
        raise ConfigError(
            f"expectations.warn_only: there is no expectation {', '.join(sorted(unknown))}; "
            f"the names are {', '.join(sorted(names(config)))}"
        )
    return config.expectations.warn_only


def _inputs(paths: ShopPaths, stage: str) -> dict[str, Path]:
    """The files of a stage, by the view names in `expectations.suites`."""
    if stage == CANONICAL:
        return {"products": paths.products, "events": paths.events, "ingest": paths.ingest_report}
    return {"sequences": paths.sequence_features}


def _record_path(paths: ShopPaths, stage: str) -> Path:
    return paths.validation / f"{stage}.json"


def _fingerprints(paths: ShopPaths, stage: str) -> dict[str, dict[str, int] | None]:
    """Size and modification time of each input, by its path in the shop's folder; None for a missing file."""
    fingerprints: dict[str, dict[str, int] | None] = {}
    for path in _inputs(paths, stage).values():
        stat = path.stat() if path.is_file() else None
        name = path.relative_to(paths.root).as_posix()
        # Not a hash: materialize checks files of any size, and every writer replaces the file, which changes its time.
        fingerprints[name] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns} if stat else None
    return fingerprints
