"""The evaluation jobs: the model against the baselines on the test days, and the model alone on newer ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_jobs.feature_build.build_contexts import ensure_contexts
from feature_repo.common.config import Config
from feature_repo.common.files import read_json, sha256, write_json
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.model import WEIGHTS
from training.evaluate import evaluate, evaluate_model

# Of baselines.json: the model and the time of its baselines, which a later evaluation names, and the data they are of.
BASELINES, DATA = "baselines", "data"


def evaluate_job(
    config: Config,
    store: FeatureStore,
    k_values: Sequence[int],
    *,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Compares the model with the baselines; writes the result for the release and the reports.

    Args:
        config: The configuration.
        store: The feature store.
        k_values: Cut-offs.
        others: Evaluations that the report shows beside this one, by name.
        show_progress: Shows progress bars on stderr.
    """
    paths = shop_paths(config)
    # The data may have changed since the model was trained: it is measured on the test days of the present data.
    ensure_contexts(config)
    result = evaluate(config, store, k_values, show_progress=show_progress)
    write_json(paths.evaluation, result)
    if others:
        write_json(paths.compared_evaluations, dict(others))
    else:
        paths.compared_evaluations.unlink(missing_ok=True)
    return result


def baselines_job(
    config: Config, store: FeatureStore, k_values: Sequence[int], data: str, *, show_progress: bool = True
) -> None:
    """Compares the model with the baselines as evaluate_job; writes the result for recheck_job to refer to.

    Args:
        config: The configuration.
        store: The feature store.
        k_values: Cut-offs.
        data: Names the data that it is measured on; recheck_job compares.
        show_progress: Shows progress bars on stderr.
    """
    paths = shop_paths(config)
    ensure_contexts(config)
    result = evaluate(config, store, k_values, show_progress=show_progress)
    measured = f"model {sha256(paths.model / WEIGHTS)[:8]}, measured to {result['split']['test_to'][:10]}"
    write_json(paths.baselines, result | {BASELINES: measured, DATA: data})


def recheck_job(
    config: Config, store: FeatureStore, k_values: Sequence[int], data: str, *, show_progress: bool = True
) -> None:
    """Writes the result of the present data: that of baselines_job if these are its data, else of the model alone.

    The baselines say how good the model is, and that changes with a training. Whether it holds on newer data, a sample
    of buyers says as well.
    """
    paths = shop_paths(config)
    full = read_json(paths.baselines, "tawsiya refresh")
    data_of_full, measured = full.pop(DATA), full.pop(BASELINES)
    present = full
    if data_of_full != data:
        ensure_contexts(config)
        present = evaluate_model(config, store, k_values, show_progress=show_progress) | {BASELINES: measured}
    write_json(paths.evaluation, present)
    paths.compared_evaluations.unlink(missing_ok=True)
