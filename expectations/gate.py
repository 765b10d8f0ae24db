"""The gate: validates the files of a shop, records the result, and refuses what did not pass.

Ingest is followed by `validate_canonical`, the feature build by `validate_sequences`; who publishes calls
`require_passed`, which only reads the recorded results. Great Expectations is imported when it is needed, since that
takes seconds.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from feature_repo.config import Config, ConfigError
from feature_repo.errors import GateRefusedError
from feature_repo.paths import ShopPaths

if TYPE_CHECKING:
    from expectations.suites import Check, Suite

CANONICAL, SEQUENCES = "canonical", "sequences"
STAGES = (CANONICAL, SEQUENCES)

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """What one expectation found.

    Attributes:
        table: The table it looked at.
        name: The expectation's name, as in `expectations.warnings`.
        blocking: Whether a failure refuses the data (true) or only warns.
        success: Whether the data met it.
        observed: What was seen, for people.
    """

    table: str
    name: str
    blocking: bool
    success: bool
    observed: str


@dataclass(frozen=True)
class GateResult:
    """The findings of one stage, and where the quarantine and the HTML report lie."""

    stage: str
    findings: tuple[Finding, ...]
    quarantine: Path
    report: Path

    @property
    def passed(self) -> bool:
        """Whether no blocking expectation failed."""
        return not self.blockers

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The failed blocking expectations."""
        return tuple(finding for finding in self.findings if finding.blocking and not finding.success)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The failed expectations that only warn."""
        return tuple(finding for finding in self.findings if not finding.blocking and not finding.success)


def validate_canonical(paths: ShopPaths, config: Config) -> GateResult:
    """Validates products, events and the ingest report; writes `validation/canonical.json` and the Data Docs.

    Raises:
        FileNotFoundError: An input is missing.
        ConfigError: `expectations.warnings` names an unknown expectation.
    """
    return _validate(paths, config, CANONICAL)


def validate_sequences(paths: ShopPaths, config: Config) -> GateResult:
    """Validates the buyer sequences; writes `validation/sequences.json` and the Data Docs.

    Raises:
        FileNotFoundError: An input is missing.
        ConfigError: `expectations.warnings` names an unknown expectation.
    """
    return _validate(paths, config, SEQUENCES)
