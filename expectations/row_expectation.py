"""The expectation on counts of faulty rows. Importing this module imports Great Expectations."""

from typing import Any, ClassVar

from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.model_field_types import MostlyField

from expectations.row_counts import ALL_ROWS, FAILURE, FAULTY_ROWS, FIRST_VALUES, MISSING_ROWS


class ExpectRowsToHold(ColumnAggregateExpectation):  # type: ignore[misc]  # Great Expectations is untyped
    """Expects at least the share `mostly` of the rows to be without fault; `column` has the counts of one check.

    The result has the keys of Great Expectations' own expectations on rows, so that Data Docs show it like these.
    """

    mostly: MostlyField = 1
    # The counts are the only value of the column.
    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.max",)
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        counts = metrics["column.max"]
        if FAILURE in counts:
            # Great Expectations reports it as the reason why there is no result.
            raise ValueError(counts[FAILURE])
        rows = counts[ALL_ROWS] - counts[MISSING_ROWS]
        faulty = counts[FAULTY_ROWS]
        return {
            # No rows have no fault.
            "success": not rows or (rows - faulty) / rows >= self.mostly,
            "result": {
                "element_count": counts[ALL_ROWS],
                "missing_count": counts[MISSING_ROWS],
                "unexpected_count": faulty,
                "unexpected_percent": 100 * faulty / max(rows, 1),
                "partial_unexpected_list": counts[FIRST_VALUES],
            },
        }
