"""What a run gives in numbers, and what changed against an earlier run."""

from collections.abc import Mapping
from typing import Any

from batch_jobs.ingestion.product_rules.duplicates import DUPLICATE_CONTENT
from batch_jobs.runs.shown_metrics import SHOWN_METRICS
from batch_jobs.runs.training_due import MODEL

# How a reader calls a difference of metrics none: they are printed with four digits.
METRIC_DIGITS = 4


def run_counts(ingested: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a run, from the reports of ingest and of the feature build."""
    # The events of the API's log are counted apart from those of the source.
    logged = ingested["events"].get("event_log", {})
    return {
        "events": ingested["events"]["kept"] + logged.get("kept", 0),
        "products": ingested["products"]["kept"],
        "buyers": features["rows"]["buyers"],
        "quarantined": ingested["events"]["bad"] + logged.get("bad", 0) + ingested["products"]["bad"],
        "merged": ingested["products"]["reasons"].get(DUPLICATE_CONTENT, 0),
    }


def run_metrics(evaluation: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The model's metrics at the largest cut-off, by kind of target."""
    metrics = {}
    for kind, judged in evaluation["targets"].items():
        values = judged["models"][MODEL]
        k = max(int(name.rpartition("@")[2]) for name in values)
        metrics[kind] = {f"{name}@{k}": values[f"{name}@{k}"] for name in SHOWN_METRICS}
    return metrics


def changes_since(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """What changed since the record of an earlier run: [before, now] of each count, metric and the release.

    Returns:
        {"since": its id, "counts", "metrics", "release": None if it is the same}; None without an earlier run.
    """
    if before is None:
        return None
    metrics: dict[str, list[float | None]] = {}
    for kind, values in now["metrics"].items():
        for name, value in values.items():
            old = before["metrics"].get(kind, {}).get(name)
            if old is None or round(old, METRIC_DIGITS) != round(value, METRIC_DIGITS):
                metrics[f"{kind} {name}"] = [old, value]
    releases = [before["release"], now["release"]]
    return {
        "since": before["id"],
        "counts": {
            name: [before["counts"].get(name), count]
            for name, count in now["counts"].items()
            if before["counts"].get(name) != count
        },
        "metrics": metrics,
        "release": releases if releases[0] != releases[1] else None,
    }
