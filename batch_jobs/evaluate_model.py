"""The evaluation job: the model against the baselines on the test days."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_jobs.feature_build.build_contexts import ensure_contexts
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from training.evaluate import evaluate
from training.evaluation.report import write_report


def evaluate_job(
    config: Config,
    store: FeatureStore,
    k_values: Sequence[int],
    *,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Compares the model with the baselines; writes the result for the release and as an HTML page.

    Args:
        config: The configuration.
        store: The feature store.
        k_values: Cut-offs.
        others: Evaluations to show next to this one on the page, by name.
        show_progress: Shows progress bars on stderr.
    """
    paths = shop_paths(config)
    # The data may have changed since the model was trained: it is measured on the test days of the present data.
    ensure_contexts(config)
    result = evaluate(config, store, k_values, show_progress=show_progress)
    write_json(paths.evaluation, result)
    write_report(paths.evaluation_report, {paths.root.name: result, **(others or {})})
    return result
