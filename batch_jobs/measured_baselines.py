"""What a result says about baselines that were measured before, on older data than the rest of it."""

from collections.abc import Mapping
from typing import Any

BASELINES = "baselines"


def baselines_text(result: Mapping[str, Any]) -> str:
    """The model that the baselines of a result stand beside, and the last moment of their test days."""
    measured = result[BASELINES]
    return f"baselines of model {measured['model']}, measured to {measured['test_to'][:10]}"
