"""The records of the gate: which files of a stage were validated, with which checksums and result."""

from pathlib import Path
from typing import Any

from expectations.checks import (
    EVENTS_VIEW,
    PRODUCT_FEATURES_VIEW,
    PRODUCTS_VIEW,
    PURCHASE_FEATURES_VIEW,
    SEQUENCES_VIEW,
)
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import read_json, sha256
from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import live_parts, read_feature_report

CANONICAL, FEATURE_STAGE = "canonical", "features"
GATE_STAGES = (CANONICAL, FEATURE_STAGE)


def stage_files(paths: ShopPaths, stage: str) -> dict[str, list[Path]]:
    """The Parquet files of a stage, by the view names in the queries of the suites.

    Raises:
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    if stage == CANONICAL:
        return {PRODUCTS_VIEW: [paths.products], EVENTS_VIEW: [paths.events]}
    return {PRODUCTS_VIEW: [paths.products], **feature_files(paths)}


def feature_files(paths: ShopPaths) -> dict[str, list[Path]]:
    """The files that are materialized: of sequences and purchases, the parts that the report of the build lists.

    Raises:
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    report = read_feature_report(paths)
    return {
        PRODUCT_FEATURES_VIEW: [paths.product_features],
        SEQUENCES_VIEW: live_parts(paths.sequence_features, report),
        PURCHASE_FEATURES_VIEW: live_parts(paths.purchase_features, report),
    }


def checksums_of(paths: ShopPaths, stage: str) -> dict[str, str | None]:
    """The SHA-256 sum of each file of a stage, by its path in the shop's folder; None for a missing file.

    Raises:
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    files = [path for of_view in stage_files(paths, stage).values() for path in of_view]
    files += [paths.ingest_report] if stage == CANONICAL else []
    return {file_name(paths, path): sha256(path) if path.is_file() else None for path in files}


def file_name(paths: ShopPaths, path: Path) -> str:
    """The path of a file in the shop's folder, which names it in records and messages."""
    return path.relative_to(paths.root).as_posix()


def record_path(paths: ShopPaths, stage: str) -> Path:
    """The record of a stage."""
    return paths.validation / f"{stage}.json"


def read_record(paths: ShopPaths, stage: str) -> dict[str, Any]:
    """The content of a stage's record.

    Raises:
        GateRefusedError: There is none, or it is of a version of Tawsiya that kept no checksums.
        ValueError: It is damaged.
    """
    path = record_path(paths, stage)
    record = read_json(path, "tawsiya validate") if path.is_file() else {}
    inputs = record.get("inputs")
    if not isinstance(inputs, dict) or not inputs or not all(isinstance(checksum, str) for checksum in inputs.values()):
        raise GateRefusedError(
            f"the {stage} data in {paths.root} were never validated, or by an older version of Tawsiya that kept no "
            "checksums; run `tawsiya validate`"
        )
    return record
