"""The limits of the gate: a row of the table for each figure of a candidate.

A figure that is a mean over buyers is refused only if a bootstrap over buyers is certain of the loss: noise blocks no
candidate. Counts and shares of the catalogue are exact, and are compared as they are.

Legend: B buyers, N products.
"""

import numpy as np

from batch_jobs.release_gate.measures import COVERAGE, INDEX_RECALL, JUDGED, RECALL, Measured
from batch_jobs.release_gate.table import FigureRow, Judgement, RowVerdict, figure_text, interval_text
from feature_repo.common.arrays import Float64Array
from feature_repo.settings.release import ReleaseConfig
from training.artifacts.recommender import Recommender
from training.evaluation.bootstrap import LEVEL, mean_interval, paired_interval

# A bootstrap over fewer buyers has intervals that are too narrow (training.evaluation.bootstrap): it refuses nothing.
MIN_BUYERS = 30
UNIT_TOLERANCE = 1e-3
SLOWER = 1.5  # a candidate whose lists take this many times as long is worth a warning
VECTORS_AT_ONCE = 10_000


def judge_vectors(judgement: Judgement, candidate: Recommender) -> bool:
    """Refuses product vectors that are not finite or not of unit length; returns whether they can be ranked by."""
    n_bad = 0
    for start in range(0, len(candidate), VECTORS_AT_ONCE):
        rows = np.arange(start, min(start + VECTORS_AT_ONCE, len(candidate)))
        norms = np.linalg.norm(candidate.product_vectors(rows), axis=1)
        n_bad += int((~(np.abs(norms - 1) <= UNIT_TOLERANCE)).sum())  # a NaN compares as false
    judgement.add(
        FigureRow("invalid vectors", None, n_bad, "none", "refused" if n_bad else "ok"),
        f"{n_bad:,} of {len(candidate):,} product vectors are not finite or not of unit length; run `tawsiya embed`",
    )
    return n_bad == 0


def judge_sizes(
    judgement: Judgement,
    config: ReleaseConfig,
    candidate: Recommender,
    live: Recommender | None,
    n_live: int | None,
) -> None:
    """Judges the number of products, and the share that may be shown; `n_live` is known without `live`, too."""
    n_live = n_live if live is None else len(live)
    _add_loss(judgement, "products", len(candidate), n_live, config.max_size_loss, "release.max_size_loss")
    share, live_share = _recommendable(candidate), None if live is None else _recommendable(live)
    _add_loss(judgement, "recommendable", share, live_share, config.max_size_loss, "release.max_size_loss")
    if share == 0:
        judgement.reasons.append("recommendable: all products of the candidate are hidden")


def judge_lists(judgement: Judgement, config: ReleaseConfig, candidate: Measured, live: Measured | None) -> None:
    """Judges recall, ndcg and coverage against the live release, if there is one, and recall absolutely."""
    for name, setting in JUDGED.items():
        if name in candidate.per_buyer:
            live_B = None if live is None else live.per_buyer[name]
            loss = getattr(config, setting)
            _add_paired(judgement, name, candidate.per_buyer[name], live_B, loss, f"release.{setting}")
    covered = None if live is None else live.coverage
    _add_loss(judgement, COVERAGE, candidate.coverage, covered, config.max_coverage_loss, "release.max_coverage_loss")
    recall_B = candidate.per_buyer[RECALL]
    minimum, share = config.min_recall_at_20, config.min_share_of_popular_recall
    # The shop set the first one, so it counts for any number of buyers.
    _add_floor(judgement, recall_B, np.full_like(recall_B, minimum), f"release.min_recall_at_20={minimum:g}", 1)
    _add_floor(
        judgement, recall_B, share * candidate.popular_recall_B,
        f"release.min_share_of_popular_recall={share:g}", MIN_BUYERS,
    )  # fmt: skip


def judge_index(judgement: Judgement, minimum: float, recall: float) -> None:
    """Judges how many of the nearest products the index finds."""
    judgement.add(
        FigureRow(INDEX_RECALL, None, recall, f">= {minimum:g}", "ok" if recall >= minimum else "refused"),
        f"{INDEX_RECALL} is {recall:.4f}, below index.min_recall={minimum:g}; run `tawsiya index`",
    )


def judge_latency(judgement: Judgement, candidate_ms: float, live_ms: float) -> None:
    """Warns of a candidate that is much slower; other work on the machine makes times too unsure to refuse by."""
    slow = candidate_ms > SLOWER * live_ms
    judgement.add(
        FigureRow("ms per list", live_ms, candidate_ms, f"<= {SLOWER:g} times live", "warning" if slow else "ok"),
        f"a list of the candidate takes {candidate_ms:.2f} ms, of the live release {live_ms:.2f} ms",
    )


# ---- rows ------------------------------------------------------------------------------------------------------------


def _add_loss(judgement: Judgement, name: str, candidate: float, live: float | None, loss: float, setting: str) -> None:
    """A row for an exact figure that may lose a share of the live release's."""
    verdict: RowVerdict = "ok" if live is None or candidate >= (1 - loss) * live else "refused"
    judgement.add(
        FigureRow(name, live, candidate, _share_limit(loss) if live is not None else "", verdict),
        f"{name} fell from {figure_text(live)} to {figure_text(candidate)}, by more than {setting}={loss:g}",
    )


def _add_paired(
    judgement: Judgement,
    name: str,
    candidate_B: Float64Array,
    live_B: Float64Array | None,
    loss: float,
    setting: str,
) -> None:
    """A row for a mean over buyers that may lose a share of the live release's mean."""
    candidate = float(candidate_B.mean())
    if live_B is None:
        judgement.add(FigureRow(name, None, candidate, "", "ok"), "")
        return
    live = float(live_B.mean())
    interval = paired_interval(candidate_B, live_B)
    _, highest = paired_interval(candidate_B, (1 - loss) * live_B)
    change = f"{name} fell from {live:.4f} to {candidate:.4f} (difference {interval_text(interval)}, {LEVEL:.0%})"
    verdict: RowVerdict = "ok"
    message = change
    if highest < 0 and len(live_B) >= MIN_BUYERS:
        verdict, message = "refused", f"{change}, by more than {setting}={loss:g}"
    elif candidate < (1 - loss) * live:
        verdict, message = "warning", f"{change}; with {len(live_B)} buyers, that may be noise"
    judgement.add(FigureRow(name, live, candidate, _share_limit(loss), verdict, interval), message)


def _add_floor(
    judgement: Judgement, recall_B: Float64Array, floor_B: Float64Array, setting: str, min_buyers: int
) -> None:
    """A row for an absolute limit of recall: refused if the mean is certainly below that of the floor."""
    floor, recall = float(floor_B.mean()), float(recall_B.mean())
    if floor == 0:
        return
    _, highest = mean_interval(recall_B - floor_B)
    verdict: RowVerdict = "ok" if highest >= 0 else "refused" if len(recall_B) >= min_buyers else "warning"
    judgement.add(
        FigureRow(f"{RECALL}, floor", None, recall, f">= {floor:.4f}", verdict),
        f"{RECALL} is {recall:.4f} for {len(recall_B)} buyers, below the floor of {floor:.4f} ({setting})",
    )


def _share_limit(loss: float) -> str:
    return f">= {1 - loss:.0%} of live"


def _recommendable(recommender: Recommender) -> float:
    return float((~recommender.products.hidden_N).mean()) if len(recommender) else 0.0
