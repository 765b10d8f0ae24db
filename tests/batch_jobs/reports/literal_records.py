"""Small records of every kind, as the jobs of a shop write them."""

from typing import Any

UNTRAINED: dict[str, Any] = {
    "split": {"method": "global, by time", "test_from": "2011-11-09T00:00:00", "test_to": "2011-12-09T12:50:00"},
    "n_products": 3659,
    "targets": {
        "all": {
            "n": 1394,
            "models": {
                "popularity": {"recall@10": 0.05, "recall@20": 0.1, "ndcg@20": 0.2, "novelty@20": 9.5},
                "two_tower": {"recall@10": 0.2, "recall@20": 0.4, "ndcg@20": 0.3},
            },
            "ci": {"two_tower": {"recall@20": [0.375, 0.425]}},
            "slices": {
                "two_tower": {"head": {"n": 1200, "recall@20": 0.5, "ndcg@20": 0.25}},
                "popularity": {"head": {"n": 1200, "recall@20": 0.125, "ndcg@20": 0.25}},
            },
        }
    },
}
OTHER_RUN: dict[str, Any] = {
    "n_products": 4000,
    "targets": {
        "all": {"models": {"two_tower": {"recall@20": 0.45, "ndcg@20": 0.35}}},
        "new_items": {"n": 7, "models": {"ease": {"recall@20": 0.25}}},
    },
}


def evaluation(runs: dict[str, Any], releases: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"measured_at": "2026-11-30T13:27:00+00:00", "runs": runs, "releases": releases or {}}


def training_run(run_id: str, ndcg: list[float], **settings: str) -> dict[str, Any]:
    """A run whose epochs had these values of the metric."""
    steps = [[float(step), 8.0 - step] for step in range(4)]
    phase = {"loss": steps, "rate": [[step, 0.001] for step, _ in steps], "epochs": {}, "seconds": 61.0}
    points = [[epoch, value] for epoch, value in enumerate(ndcg, 1)]
    losses = [[epoch, 9.0 - epoch] for epoch, _ in points]
    return {
        "id": run_id,
        "settings": {"training.num_epochs": "5", "training.patience": "2", **settings},
        "phases": {
            "selection": phase | {"epochs": {"loss": losses, "ndcg@20": points}},
            "refit": phase | {"epochs": {"loss": [[1, 6.5]]}, "seconds": 9.0},
        },
    }


EARLY = training_run("20261130T132606.541Z", [0.1, 0.3, 0.2, 0.25], **{"training.seed": "7"})
FULL = training_run("20261129T100000.000Z", [0.1, 0.2, 0.3, 0.4, 0.5], **{"training.seed": "1"})

GATE: dict[str, Any] = {
    "verdict": "refused",
    "judged_at": "2026-11-30T13:28:30+00:00",
    "against": "20261129T100000.000Z-00000001",
    "window": {"from": "2026-11-01T00:00:00+00:00", "to": "2026-11-29T00:00:00+00:00", "buyers": 258},
    "rows": [
        {"figure": "products", "live": 11431, "candidate": 11400, "limit": ">= 70% of live", "verdict": "ok",
         "interval": None},
        {"figure": "ndcg@20", "live": 0.4, "candidate": 0.3, "limit": ">= 95% of live", "verdict": "refused",
         "interval": [-0.15, -0.05]},
    ],
    "reasons": ["ndcg@20 fell from 0.4 to 0.3"],
    "notes": ["run `tawsiya validate`"],
}  # fmt: skip
RELEASE: dict[str, Any] = {
    "name": "20261130T132801.338Z-13c8583e", "created": "2026-11-30T13:28:01+00:00", "n_products": 11400,
    "live": False, "gate": GATE,
}  # fmt: skip
LIVE_RELEASE: dict[str, Any] = {
    "name": "20261129T100000.000Z-00000001", "created": "2026-11-29T10:00:00+00:00", "n_products": 11431,
    "live": True, "gate": None,
}  # fmt: skip
SHADOW: dict[str, Any] = {
    "live": LIVE_RELEASE["name"], "candidate": RELEASE["name"], "k": 2, "buyers": 3, "overlap": 0.5, "rbo": 0.625,
    "steps": [1, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    "different": [
        {"live": [["p1", "شاي"], ["p2", "قهوة"]], "candidate": [["p1", "شاي"], ["p3", "Milk"]], "overlap": 1 / 3,
         "rbo": 0.25}
    ],
}  # fmt: skip

FINDINGS = [
    {"table": "products", "name": "title_present", "blocking": True, "success": True,
     "observed": "0 of 10 rows (0.0%) lack a title", "remedy": "give the products titles"},
    {"table": "products", "name": "price_not_negative", "blocking": True, "success": False,
     "observed": "3 of 10 rows (30.0%) have a price below 0", "remedy": "map `price` again"},
    {"table": "ingest", "name": "some_price", "blocking": False, "success": False, "observed": "0 products"},
]  # fmt: skip
INGESTED: dict[str, Any] = {
    "events": {
        "read": 1000, "kept": 900, "excluded": 60, "duplicates": 30, "bad": 10,
        "reasons": {"bot": 60, "duplicate_event": 30, "unknown_product": 10},
        "examples": {"unknown_product": {"file": "/data/events.csv", "line": 7, "value": "p9"}},
        "remedies": {"unknown_product": "add the product"},
    },
    "products": {"read": 10, "kept": 10, "excluded": 0, "duplicates": 0, "bad": 0, "reasons": {}},
    "warnings": ["no price"],
}  # fmt: skip

STATISTICS: dict[str, Any] = {
    "events_read": 1000, "events_kept": 900, "products_read": 10, "products_kept": 10, "buyers": 50,
    "visible_products": 10, "available_products": 9, "priced_products": 0,
    "event_mix": {"view": 0.75, "purchase": 0.25}, "null_rates": {"products.price": 1.0, "products.title": 0.0},
    "unreadable_shares": {}, "categories": {"شاي": 6, "coffee": 2}, "newest_event": "2026-11-30 10:00:00+00",
}  # fmt: skip
DRIFT: dict[str, Any] = {
    "validated_at": "2026-11-30T13:25:00+00:00",
    "now": STATISTICS | {"events_kept": 450, "event_mix": {"view": 1.0}},
    "since": "2026-11-29T13:25:00+00:00",
    "before": STATISTICS,
    "findings": [
        {"table": "drift", "name": "events_not_shrunk", "blocking": True, "success": False,
         "observed": "450 kept, before 900", "remedy": "check that the export is complete"},
        {"table": "drift", "name": "buyers_not_shrunk", "blocking": False, "success": True, "observed": "is gone"},
    ],
}  # fmt: skip

FAILED_RUN: dict[str, Any] = {
    "id": "20261130T132424.040Z", "kind": "refresh", "state": "failed", "started": "2026-11-30T13:24:24.040+00:00",
    "seconds": 95.0, "error": "the disk is full",
    "stages": [
        {"stage": "ingest", "state": "skipped", "why": "same data, settings and code", "seconds": 0.0},
        {"stage": "train", "state": "failed", "why": "there is no model"},
    ],
}  # fmt: skip
DONE_RUN: dict[str, Any] = {
    "id": "20261129T132424.040Z", "kind": "refresh", "state": "done", "started": "2026-11-29T13:24:24.040+00:00",
    "seconds": 40.0, "release": "r1", "counts": {"events": 900},
    "stages": [
        {"stage": "ingest", "state": "done", "why": "no finished run of it", "seconds": 10.0, "cpu_seconds": 8.0},
        {"stage": "train", "state": "done", "why": "there is no model", "seconds": 30.0, "cpu_seconds": 29.0},
    ],
}  # fmt: skip

RECORDS: dict[str, dict[str, Any]] = {
    "evaluation": evaluation(
        {"shop": UNTRAINED, "second": OTHER_RUN}, {RELEASE["name"]: {"live": True, "metrics": UNTRAINED}}
    ),
    "training": {"runs": [EARLY, FULL], "n_runs": 2},
    "release": {"releases": [RELEASE, LIVE_RELEASE], "shadow": SHADOW},
    "data": {
        "stages": [
            {"stage": "canonical", "passed": False, "validated_at": "2026-11-30T13:25:00+00:00", "findings": FINDINGS}
        ],
        "ingested": INGESTED,
        "docs": True,
    },
    "drift": DRIFT,
    "runs": {"runs": [FAILED_RUN, DONE_RUN]},
}
