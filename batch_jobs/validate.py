"""Validate: runs the data gate on what ingest and the feature build have written."""

from typing import Any

from expectations.explain import explain_failures, explanation_text
from expectations.gate import enforce_gate, validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import sha256
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.feature_report import read_feature_report

VALIDATED, NOT_BUILT = "validated", "not built yet"
OUTDATED = "built from other products than the canonical ones; run `tawsiya build-features`, then validate again"


def validate(config: Config, *, explain: bool = False, accept_drift: bool = False) -> dict[str, Any]:
    """Validates canonical data and, if they were built from these, features.

    Args:
        config: The configuration.
        explain: Also return what failed in detail.
        accept_drift: Do not compare with the last good run; the present data become the baseline if they pass.

    Returns:
        {"passed", "expectations": their number, "drift": what the data were compared with, "features", "warnings",
        "report"} and, with `explain`, "explanations" (see expectations.explain).

    Raises:
        GateRefusedError: A blocking expectation failed; with `explain` the error carries the result.
        FileNotFoundError: There are no canonical data.
        ValueError: A file cannot be read.
    """
    paths = shop_paths(config)
    results = [validate_canonical(paths, config, accept_drift=accept_drift)]
    features = _state_of_features(paths)
    if features == VALIDATED:
        results.append(validate_features(paths, config))
    answer: dict[str, Any] = {
        "passed": all(result.passed for result in results),
        "expectations": sum(len(result.findings) for result in results),
        "drift": _drift(results[0].compared_with, accept_drift=accept_drift),
        "features": features,
        "warnings": [],
        "report": str(paths.validation / "data_docs" / "index.html"),
    }
    if explain:
        answer["explanations"] = [item for result in results for item in explain_failures(result, config)]
    try:
        answer["warnings"] = [warning for result in results for warning in enforce_gate(result)]
    except GateRefusedError as error:
        error.result = answer if explain else None
        raise
    return answer


def as_text(answer: dict[str, Any]) -> str:
    """The result with explanations, for people."""
    head = [f"{key}: {answer[key]}" for key in ("passed", "expectations", "drift", "features", "report")]
    return "\n".join([*head, "", explanation_text(answer["explanations"])])


def _drift(compared_with: str | None, *, accept_drift: bool) -> str:
    if accept_drift:
        return "accepted: the present data are the baseline"
    return f"compared with the good run of {compared_with}" if compared_with else "no earlier good run to compare with"


def _state_of_features(paths: ShopPaths) -> str:
    """VALIDATED if the features are to be validated now, else why not.

    After an ingest the features are those of the data before it, until they are built again: they would differ from
    the catalogue, and materialize refuses them anyway.
    """
    try:
        report = read_feature_report(paths)
    except FileNotFoundError:
        return NOT_BUILT
    return VALIDATED if report["products_sha256"] == sha256(paths.products) else OUTDATED
