"""The text that people read, from literal answers."""

from typing import Any

from batch_jobs.console_text import (
    build_text,
    demo_text,
    evaluation_text,
    ingest_text,
    list_text,
    materialize_text,
    prices_text,
    refresh_text,
    run_text,
    runs_text,
    training_text,
)

TRAINED = {
    "epoch": 2,
    "metrics": {"loss": 4.25, "ndcg@20": 0.125},
    "rescorer": {"popularity_days": 14, "repeat_weight": 0.0625},
    "n_contexts": 12345,
    "n_products": 2100,
    "pairs_per_s": 14210.4,
    "run": "var/shop/runs/20261123T171200.123Z",
}
TRAINED_LINES = [
    "trained on 12,345 contexts and 2,100 products, best epoch 2, 14,210 pairs per second:",
    "  loss 4.2500",
    "  ndcg@20 0.1250",
    "re-scorer:",
    "  popularity_days 14",
    "  repeat_weight 0.0625",
    "curves: var/shop/runs/20261123T171200.123Z/curves.png; all runs: tensorboard --logdir var/shop/runs",
]
TARGETS = {
    "all": {
        "n": 1234,
        "models": {
            "popularity": {"recall@1": 0.01, "recall@20": 0.1, "ndcg@20": 0.2, "hit_rate@20": 0.3, "mrr@20": 0.4},
            "two_tower": {"recall@1": 0.02, "recall@20": 0.5, "ndcg@20": 0.6, "hit_rate@20": 0.7, "mrr@20": 0.8},
        },
        "ci": {
            "popularity": {f"{name}@20": [0.09, 0.1101] for name in ("recall", "ndcg", "hit_rate", "mrr")},
            "two_tower": {f"{name}@20": [0.4, 0.8] for name in ("recall", "ndcg", "hit_rate", "mrr")},
        },
        "slices": {},
    }
}
EVALUATION: dict[str, Any] = {"split": {}, "targets": TARGETS}
TARGET_LINES = [
    "all, 1,234 buyers",
    "model                   recall@20                ndcg@20            hit_rate@20                 mrr@20",
    "------------------------------------------------------------------------------------------------------",
    "two_tower   0.5000 [0.400, 0.800]  0.6000 [0.400, 0.800]  0.7000 [0.400, 0.800]  0.8000 [0.400, 0.800]",
    "popularity  0.1000 [0.090, 0.110]  0.2000 [0.090, 0.110]  0.3000 [0.090, 0.110]  0.4000 [0.090, 0.110]",
]


def test_a_search_says_how_its_products_match() -> None:
    item = {"score": 1.5, "product_id": "m1", "title": "Tea mug"}
    found = {"source": "search", "release": "r", "items": [item]}
    facts = {"matching": 1, "no_match": False, "did_you_mean": "tea mug"}
    assert list_text({**found, "search": facts}) == (
        "search, release r\n1 products match\ndid you mean: tea mug\n1.500  m1  Tea mug"
    )
    assert list_text({**found, "search": None}) == "search, release r\n1.500  m1  Tea mug"
    two = {**found, "search": None, "items": [item, {"score": 0.25, "product_id": "m22", "title": "كوب"}]}
    assert list_text(two).splitlines()[1:] == ["1.500  m1   Tea mug", "0.250  m22  كوب"]
    nothing = {"matching": 0, "no_match": True, "did_you_mean": None}
    assert "no product is like this query; popular ones:" in list_text({**found, "search": nothing})


def test_training() -> None:
    assert training_text(TRAINED).splitlines() == TRAINED_LINES


def test_a_run_that_had_nothing_left_to_do_has_no_speed() -> None:
    assert training_text(TRAINED | {"pairs_per_s": None}).splitlines()[0] == (
        "trained on 12,345 contexts and 2,100 products, best epoch 2:"
    )


def test_a_search_comes_before_what_was_trained() -> None:
    settings = {"training.learning_rate": 0.00123456, "model.buyer_tower.aggregation_method": "transformer"}
    others = {"training.learning_rate": 0.5, "model.buyer_tower.aggregation_method": "attention"}
    trial = {"trial": 1, "state": "complete", "value": 0.125, "epoch": 2, "seconds": 61.04, "settings": settings}
    diverged = {"trial": 10, "state": "diverged", "value": None, "epoch": None, "seconds": 3.0, "settings": others}
    search = {
        "metric": "ndcg@20",
        "value": 0.125,
        "settings": settings,
        "trials": [trial, diverged],
        "file": "best.yaml",
    }
    assert training_text(TRAINED | {"search": search}).splitlines() == [
        "trial  ndcg@20  epoch  seconds     state  learning_rate  aggregation_method",
        "---------------------------------------------------------------------------",
        "1       0.1250      2     61.0  complete        0.00123         transformer",
        "10           -      -      3.0  diverged            0.5           attention",
        "",
        "best: ndcg@20 0.1250; its settings, also in best.yaml:",
        "  --set training.learning_rate=0.00123456",
        "  --set model.buyer_tower.aggregation_method=transformer",
        "",
        *TRAINED_LINES,
    ]


def test_evaluation_has_a_table_for_each_kind_the_best_model_first() -> None:
    split = {"test_from": "2024-02-15T00:00:00+00:00", "test_to": "2024-02-29T18:32:00+00:00", "intervals": "95%"}
    cold = {"cold_items": TARGETS["all"] | {"n": 3}}
    answer = {"split": split, "n_products": 21512, "targets": TARGETS | cold, "report": "report.html"}
    assert evaluation_text(answer).splitlines() == [
        "21,512 products, all ranked; test 2024-02-15 to 2024-02-29",
        "",
        *TARGET_LINES,
        "",
        "cold_items, 3 buyers",
        *TARGET_LINES[1:],
        "",
        "in brackets: 95%",
        "more metrics and slices: report.html",
    ]


MADE: dict[str, Any] = {
    "dataset": "shop",
    "counts": {"events": 1000, "buyers": 60, "products": 40, "quarantined": 3, "merged": 0},
    "quarantine": "var/shop/quarantine.parquet",
    "release": "r1",
    "seconds": {"total": 61.4},
    "record": "refreshes/r.json",
    "report": "report.html",
    "gate": {"verdict": "passed", "notes": ["no release is live"]},
    "shadow": None,
    "stages": [
        {"stage": "ingest", "state": "done", "why": "new data: events.csv", "seconds": 2.04},
        {"stage": "train", "state": "skipped", "why": "same data, settings and code", "seconds": 0.0},
    ],
    "changes": {
        "since": "20240101T000000.000Z",
        "counts": {"events": [900, 1000]},
        "metrics": {"all ndcg@20": [0.5, 0.6], "all mrr@20": [None, 0.8]},
        "release": ["r0", "r1"],
    },
    "warnings": ["events: 2 rows left out", "ingest: several_buyers: 1 buyers have events"],
}
MADE_LINES = [
    "shop: 1,000 events of 60 buyers, 40 products",
    "bad rows: 3; every row left out, with its reason: var/shop/quarantine.parquet",
    "release r1 is live after 61 s; record: refreshes/r.json",
    "gate: no release is live",
    "",
    *TARGET_LINES,
    "reports: report.html",
    "warnings:",
    "  events: 2 rows left out",
    "  ingest: several_buyers: 1 buyers have events",
]


STAGE_LINES = [
    "ingest: done, 2.0 s (new data: events.csv)",
    "train: skipped, same data, settings and code",
    "",
]
CHANGE_LINES = [
    "changed since run 20240101T000000.000Z:",
    "  events 900 -> 1,000",
    "  all ndcg@20 0.5000 -> 0.6000",
    "  all mrr@20 - -> 0.8000",
    "  release r0 -> r1",
]


def test_refresh_ends_with_stages_counts_quarantine_metrics_report_and_changes() -> None:
    lines = refresh_text(MADE | {"evaluation": EVALUATION}).splitlines()
    assert lines == [*STAGE_LINES, *MADE_LINES, *CHANGE_LINES]


def test_the_first_refresh_has_none_to_compare_with_and_one_without_news_says_so() -> None:
    answer = MADE | {"evaluation": EVALUATION}
    assert refresh_text(answer | {"changes": None}).splitlines()[-1] == (
        "the first finished run: there is none to compare with"
    )
    nothing: dict[str, Any] = {"since": "r0", "counts": {}, "metrics": {}, "release": None}
    assert refresh_text(answer | {"changes": nothing}).splitlines()[-1] == "nothing changed since run r0"


def test_a_refresh_without_training_says_whose_metrics_these_are_and_where_the_baselines_stand() -> None:
    measured = "model 3f2a90c1, measured to 2026-03-31"
    night = EVALUATION | {"split": {"sample": "2,000 of 9,961 test contexts"}, "baselines": measured}
    text = refresh_text(MADE | {"evaluation": night})
    assert "metrics of a sample: 2,000 of 9,961 test contexts\n" in text
    assert "in the report beside them: baselines of model 3f2a90c1, measured to 2026-03-31\n" in text
    assert "baselines" not in refresh_text(MADE | {"evaluation": EVALUATION})


def test_prices_end_with_their_counts() -> None:
    counts = {"read": 1200, "kept": 1100, "bad": 3, "duplicates": 0, "changed": 90, "columns": ["price", "stock"]}
    answer = {
        "stages": MADE["stages"][:1], "counts": counts, "seconds": {"total": 7.2}, "quarantine": "q.parquet",
        "warnings": [],
    }  # fmt: skip
    assert prices_text(answer).splitlines() == [
        STAGE_LINES[0],
        "",
        "1,100 of 1,200 rows used for price, stock: 90 products changed after 7 s",
        "rows left out, with their reasons: q.parquet",
    ]


def test_runs_are_a_table_and_one_run_has_all_that_is_known() -> None:
    failed = {
        "id": "20240101T000000.000Z", "kind": "refresh", "state": "failed", "started": "2024-01-01T00:00:00+00:00",
        "ended": "2024-01-01T00:00:02+00:00", "seconds": 2.04, "stages": MADE["stages"][:1], "error": "disk full",
    }  # fmt: skip
    done = failed | {
        "state": "done", "error": None, "release": "r1", "counts": {"events": 1000},
        "metrics": {"all": {"ndcg@20": 0.6}}, "changes": MADE["changes"],
    }  # fmt: skip
    assert runs_text({"runs": [failed, done | {"seconds": 61.0}]}).splitlines() == [
        "run                      kind   state  seconds  release",
        "-------------------------------------------------------",
        "20240101T000000.000Z  refresh  failed        2        -",
        "20240101T000000.000Z  refresh    done       61       r1",
    ]
    head = "refresh 20240101T000000.000Z: {}, 2024-01-01T00:00:00+00:00 to 2024-01-01T00:00:02+00:00"
    assert run_text(failed).splitlines() == [head.format("failed"), "error: disk full", STAGE_LINES[0]]
    assert run_text(done).splitlines() == [
        head.format("done"), STAGE_LINES[0], "events: 1,000", "all ndcg@20: 0.6000", "release: r1", *CHANGE_LINES,
    ]  # fmt: skip


def test_a_refused_release_is_shown_with_the_table_of_the_gate() -> None:
    row = {"figure": "products", "live": 40, "candidate": 20, "limit": ">= 70% of live", "verdict": "refused"}
    gate = {"rows": [row | {"interval": None}], "window": None, "reasons": ["products fell"], "notes": []}
    refused = {"release": "r2", "gate": gate, "shadow": "var/shop/shadow.html"}
    lines = [
        "release r2:",
        "figure    live  candidate  difference  limit           verdict",
        "--------------------------------------------------------------",
        "products    40         20              >= 70% of live  refused",
        "refused: products fell",
        "its lists beside those of the live release: var/shop/shadow.html",
    ]
    assert refresh_text(refused).splitlines() == lines
    assert demo_text(refused, "tawsiya serve", serving=True).splitlines() == lines


def test_a_forced_release_says_why_it_is_live() -> None:
    gate = {"rows": [], "window": None, "reasons": ["products fell"], "notes": [], "forced": {"reason": "a sale ended"}}
    text = refresh_text(MADE | {"gate": gate, "shadow": "shadow.html", "evaluation": EVALUATION})
    assert "the gate refused it; it was forced (a sale ended)" in text.splitlines()
    assert "its lists beside those of the release before: shadow.html" in text.splitlines()


def test_of_many_warnings_the_first_are_shown() -> None:
    many = MADE | {"warnings": [f"warning {n}" for n in range(12)], "evaluation": EVALUATION}
    lines = refresh_text(many | {"changes": None}).splitlines()
    assert lines[-3:-1] == ["  warning 9", "  and 2 more; --json prints all"]


def test_ingest_ends_with_counts_reasons_and_warnings() -> None:
    logged = {"read": 2, "kept": 2, "excluded": 0, "duplicates": 0, "bad": 0, "reasons": {}}
    events = {
        "read": 1200, "kept": 1100, "excluded": 90, "duplicates": 7, "bad": 3,
        "reasons": {"returned": 90, "duplicate_event": 7, "missing_buyer_id": 3}, "event_log": logged,
    }  # fmt: skip
    products = logged | {"read": 41, "kept": 40, "bad": 1, "reasons": {"missing_product_id": 1}}
    report = {"dataset": "shop", "description": "A shop.", "events": events, "products": products, "warnings": []}
    lines = [
        "shop: A shop.",
        "rows        read   kept  excluded  duplicates  bad",
        "--------------------------------------------------",
        "events     1,200  1,100        90           7    3",
        "event_log      2      2         0           0    0",
        "products      41     40         0           0    1",
        "reasons of the rows left out:",
        "  events: returned 90, duplicate_event 7, missing_buyer_id 3",
        "  products: missing_product_id 1",
    ]
    assert ingest_text(report).splitlines() == lines
    assert ingest_text(report | {"warnings": ["no price"]}).splitlines() == [*lines, "warnings:", "  no price"]


def test_products_that_were_merged_are_counted() -> None:
    merged = MADE | {"counts": MADE["counts"] | {"merged": 1200}, "evaluation": EVALUATION}
    assert refresh_text(merged).splitlines()[3] == (
        "shop: 1,000 events of 60 buyers, 40 products (1,200 more were merged into them)"
    )


def test_demo_shows_the_first_kind_and_what_comes_next() -> None:
    answer = MADE | {
        "metrics": TARGETS | {"new_items": TARGETS["all"]},
        "address": "http://127.0.0.1:8000",
        "sample": {"buyer_id": "b1", "recommendations": [{"score": 0.5, "title": "شاي أخضر"}]},
    }
    lines = [*MADE_LINES, "", "For buyer b1:", "  0.500  شاي أخضر", ""]
    command = "tawsiya serve --set data_dir=x"
    assert demo_text(answer, command, serving=True).splitlines() == [
        *lines,
        "Open http://127.0.0.1:8000 - Ctrl-C stops it; start it again without training: tawsiya serve --set data_dir=x",
    ]
    assert demo_text(answer, command, serving=False).splitlines() == [
        *lines,
        "Serve it on http://127.0.0.1:8000, until Ctrl-C: tawsiya serve --set data_dir=x",
    ]


def test_a_build_and_a_materialize_say_what_they_wrote_or_that_nothing_changed() -> None:
    report = {
        "changed": {"buyers": 0, "products": 0},
        "rows": {"buyers": 1200, "products": 30},
        "as_of": "2024-03-09T10:00:00+00:00",
        "warnings": [],
    }
    as_of = "features as of 2024-03-09T10:00:00+00:00"
    there_are = "there are 1,200 buyers and 30 products"
    assert build_text(report) == f"nothing changed; nothing was written; {there_are}\n{as_of}"
    news = {"buyers": 0, "products": 2}
    assert build_text(report | {"changed": news}) == f"built 0 buyers and 2 products; {there_are}\n{as_of}"
    assert materialize_text({"written": news}) == "wrote 0 buyers and 2 products"
    assert materialize_text({"written": report["changed"]}) == "nothing changed; nothing was written"
