"""The gate: validates the files of a shop, records the result, and refuses what did not pass.

Ingest is followed by `validate_canonical`, the feature build by `validate_sequences`; whoever publishes calls
`require_passed`, which only reads what was recorded and so costs no import of Great Expectations.
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
STAGES = (CANONICAL, SEQUENCES)


@dataclass(frozen=True)
class GateResult:
    """What the expectations of one stage found in the files of one shop."""

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


def raise_if_refused(result: GateResult) -> None:
    """Raises GateRefusedError naming each failed blocking expectation, the quarantine and the HTML report."""
    if result.passed:
        return
    lines = [f"the {result.stage} data in {result.paths.root} were refused:"]
    lines += [f"  {finding.table}: {finding.name}: {finding.observed}" for finding in result.blockers]
    lines.append(f"quarantined rows: {result.paths.quarantine}{_main_reasons(result.paths)}")
    lines.append(f"report: {result.paths.validation / 'data_docs' / 'index.html'}")
    raise GateRefusedError("\n".join(lines))


def _main_reasons(paths: ShopPaths, most: int = 3) -> str:
    """What ingest left most rows out for, as " (events: unknown_product 31,004; ...)"; empty where it left none out."""
    report = json.loads(paths.ingest_report.read_text(encoding="utf-8")) if paths.ingest_report.is_file() else {}
    parts = []
    for table in ("events", "products"):
        reasons = sorted(report.get(table, {}).get("reasons", {}).items(), key=lambda item: -item[1])[:most]
        if reasons:
            parts.append(f"{table}: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons))
    return f" ({'; '.join(parts)})" if parts else ""


def require_passed(paths: ShopPaths, *stages: str) -> None:
    """Raises GateRefusedError unless the files that lie there now are those that passed the gate.

    Args:
        paths: The shop.
        stages: Which stages must have passed; both where none is named.
    """
    for stage in stages or STAGES:
        recorded = _record(paths, stage)
        if not recorded.is_file():
            raise GateRefusedError(f"the {stage} data in {paths.root} were never validated; run `tawsiya validate`")
        record = json.loads(recorded.read_text(encoding="utf-8"))
        now, then = _fingerprints(paths, stage), record["inputs"]
        changed = [name for name in now if now[name] != then.get(name)]
        if changed:
            raise GateRefusedError(
                f"{', '.join(changed)} in {paths.root} changed since the {stage} data were validated at "
                f"{record['validated_at']}; run `tawsiya validate`"
            )
        raise_if_refused(GateResult(stage, tuple(Finding(**finding) for finding in record["findings"]), paths))


def _validate(paths: ShopPaths, config: Config, stage: str, suites: Sequence["Suite"]) -> GateResult:
    warnings = _known_warnings(config)
    # Taken before the data are read, so that a file replaced meanwhile does not match its record.
    fingerprints = _fingerprints(paths, stage)
    missing = [name for name, fingerprint in fingerprints.items() if fingerprint is None]
    if missing:
        raise FileNotFoundError(f"no {', '.join(missing)} in {paths.root}; run the job that writes it first")
    findings, results = run_suites(
        suites, stage=stage, inputs=_inputs(paths, stage), folder=paths.validation, warnings=warnings
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
    write_json(_record(paths, stage), record)
    return result


def _known_warnings(config: Config) -> frozenset[str]:
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
    """The files of a stage by the view names of `expectations.suites`."""
    if stage == CANONICAL:
        return {"products": paths.products, "events": paths.events, "ingest": paths.ingest_report}
    return {"sequences": paths.sequence_features}


def _record(paths: ShopPaths, stage: str) -> Path:
    return paths.validation / f"{stage}.json"


def _fingerprints(paths: ShopPaths, stage: str) -> dict[str, dict[str, int] | None]:
    """Size and modification time of each input by its path below the shop's folder; None where it is missing."""
    fingerprints: dict[str, dict[str, int] | None] = {}
    for path in _inputs(paths, stage).values():
        stat = path.stat() if path.is_file() else None
        name = path.relative_to(paths.root).as_posix()
        fingerprints[name] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns} if stat else None
    return fingerprints
