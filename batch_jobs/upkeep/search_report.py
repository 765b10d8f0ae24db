"""The report of searches without results: what buyers looked for and did not find."""

from collections import Counter
from typing import Any

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.common.search_log import SEARCHED, SearchOutcome, read_searches


def search_report(config: Config, limit: int) -> dict[str, Any]:
    """The most frequent queries of the search log.

    Args:
        config: The configuration.
        limit: Number of queries of each outcome.

    Returns:
        {"days", "from", "to", "searches": all of them, and by outcome (see SearchOutcome) "no_match", "filtered" and
        "weak": each {"searches", "queries": [{"query", "count", "last": day}], most frequent first}}
    """
    totals: Counter[SearchOutcome] = Counter()
    queries: dict[SearchOutcome, Counter[str]] = {"no_match": Counter(), "filtered": Counter(), "weak": Counter()}
    last: dict[tuple[str, SearchOutcome], str] = {}
    days = set()
    for day, searches in read_searches([host.search_log for host in shop_paths(config).hosts()]):
        days.add(day)
        for (query, outcome), count in searches.items():
            totals[outcome] += count
            if query is not None and outcome in queries:
                queries[outcome][query] += count
                last[query, outcome] = day
    report: dict[str, Any] = {
        "days": len(days),
        "from": min(days) if days else None,
        "to": max(days) if days else None,
        "searches": totals[SEARCHED],
    }
    for outcome, counts in queries.items():
        rows = [
            {"query": query, "count": count, "last": last[query, outcome]} for query, count in counts.most_common(limit)
        ]
        report[outcome] = {"searches": totals[outcome], "queries": rows}
    return report
