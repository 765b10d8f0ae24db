"""Every row of random dirty files is accounted for: kept, excluded, a duplicate or bad, with its reason."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import quarantined, rows
from tests.batch_jobs.ingestion.dirty_shop import dirty_shop

# DIRTY_SHOPS=1000 tries more of them.
SEEDS = range(int(os.environ.get("DIRTY_SHOPS", "20")))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_row_is_accounted_for(tmp_path: Path, seed: int) -> None:
    shop = dirty_shop(tmp_path, seed)
    report, paths = ingest(shop.config), shop_paths(shop.config)
    log = report["events"].pop("event_log", None) or {"read": 0, "kept": 0, "reasons": {}}
    tables: dict[str, Any] = {name: report[name] for name in ("events", "products", "photos")} | {"event_log": log}
    by_reason = Counter((table, reason) for table, _, reason in quarantined(shop.config))
    for name, counts in tables.items():
        assert counts["read"] == shop.rows[name], name
        left_out = sum(counts["reasons"].values())
        assert counts["read"] == counts["kept"] + left_out, name
        assert {reason: n for (table, reason), n in by_reason.items() if table == name} == counts["reasons"], name
    for name in ("events", "products", "photos"):
        counts = tables[name]
        assert counts["read"] == sum(counts[part] for part in ("kept", "excluded", "duplicates", "bad")), name
    assert len(rows(paths.events)) == tables["events"]["kept"] + log["kept"]
    assert len(rows(paths.products)) == tables["products"]["kept"]
    assert len(rows(paths.product_aliases)) == tables["products"]["reasons"].get("duplicate_content", 0)
