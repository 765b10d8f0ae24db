"""docs/reference/metrics.md: every Prometheus metric, from the registry of the API."""

from typing import Any

from online_api.observability.metrics import Metrics
from reference.markdown import code, table

HEAD = """# Metrics

Every metric that `GET /metrics` returns. What the values of labels mean, queries, the dashboard and the alerts are in
[observability.md](../observability.md#metrics).

A histogram has the series `_bucket`, `_sum` and `_count`. Labels whose values are known in advance start at 0.

This page is made by `python -m reference` from the code.
"""


def page() -> str:
    """The whole page."""
    rows = [
        (
            code(f"{metric.name}_total" if metric.type == "counter" else metric.name),
            metric.type,
            "<br>".join(_label(label, metric) for label in instrument._labelnames),
            metric.documentation,
        )
        for instrument, metric in instruments()
    ]
    return "\n".join([HEAD, *table(("metric", "type", "labels", "meaning"), rows)])


def instruments() -> list[tuple[Any, Any]]:
    """Each instrument with its metric family, by name."""
    # The registry gives no labels of an instrument that has not counted yet, so this reads its private parts.
    registry = Metrics()._registry
    pairs = [(instrument, next(iter(instrument.collect()))) for instrument in registry._collector_to_names]
    return sorted(pairs, key=lambda pair: str(pair[1].name))


def _label(label: str, metric: Any) -> str:
    """A label with those of its values that start at 0."""
    values = sorted({sample.labels[label] for sample in metric.samples if label in sample.labels})
    return code(label) + (f": {', '.join(map(code, values))}" if values else "")
