"""Which contexts a budget takes: literal shops, and any shop against brute force."""

import datetime as dt
import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.feature_build import build_contexts as module
from batch_jobs.feature_build import buyer_buckets
from batch_jobs.feature_build.build_contexts import build_contexts
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.events import EVENT_TYPE_CODES
from tests.batch_jobs.canonical_shop import DAY, HOUR, START, CanonicalEvent, canonical_shop
from tests.batch_jobs.csv_shop import Row, rows

Moment = tuple[str, int]  # buyer, milliseconds since START

# Ten days: the last one and the one before it are the test, the one before these the validation.
VALIDATION, TEST, END = 7 * DAY, 8 * DAY, 10 * DAY
ENDS = [CanonicalEvent("ann", moment, 1) for moment in (0, VALIDATION, END - 1)]


def moment_of(row: Row) -> Moment:
    since: dt.timedelta = row["event_timestamp"] + dt.timedelta(microseconds=1) - START
    return row["buyer_id"], round(since / dt.timedelta(milliseconds=1))


def taken(config: Config, split: str = "train") -> list[Moment]:
    return [moment_of(row) for row in rows(shop_paths(config).contexts) if row["split"] == split]


def build(folder: Path, events: list[CanonicalEvent], data: dict[str, Any] | None = None, **training: Any) -> Config:
    config = canonical_shop(folder, [*ENDS, *events], data=data or {}, training=training)
    build_contexts(config)
    return config


# ---- training --------------------------------------------------------------------------------------------------------


def test_the_newest_contexts_are_taken(tmp_path: Path) -> None:
    events = [CanonicalEvent(buyer, day * DAY, 1) for day, buyer in ((1, "ben"), (2, "ann"), (3, "ben"), (4, "cat"))]
    config = build(tmp_path, events, max_contexts=2)
    assert taken(config) == [("ben", 3 * DAY), ("cat", 4 * DAY), ("ann", VALIDATION)]


def test_a_buyer_gives_no_more_than_the_newest_few(tmp_path: Path) -> None:
    events = [CanonicalEvent("ben", day * DAY, 1) for day in (1, 3, 4, 5)] + [CanonicalEvent("cat", 2 * DAY, 1)]
    config = build(tmp_path, events, max_contexts_per_buyer=2)
    assert taken(config) == [("ann", 0), ("cat", 2 * DAY), ("ben", 4 * DAY), ("ben", 5 * DAY), ("ann", VALIDATION)]


def test_the_cap_comes_first_and_the_budget_takes_from_what_it_leaves(tmp_path: Path) -> None:
    events = [CanonicalEvent("ben", day * DAY, 1) for day in (3, 4, 5)] + [CanonicalEvent("cat", 2 * DAY, 1)]
    config = build(tmp_path, events, max_contexts_per_buyer=1, max_contexts=2)
    assert taken(config) == [("cat", 2 * DAY), ("ben", 5 * DAY), ("ann", VALIDATION)]


def test_the_validation_days_leave_the_budget_of_the_days_before_alone(tmp_path: Path) -> None:
    events = [CanonicalEvent("ben", VALIDATION + hour * HOUR, 1) for hour in range(5)] + [CanonicalEvent("cat", DAY, 1)]
    config = build(tmp_path, events, max_contexts=2)
    assert taken(config) == [("ann", 0), ("cat", DAY), ("ben", VALIDATION + 3 * HOUR), ("ben", VALIDATION + 4 * HOUR)]


def test_among_contexts_of_one_moment_the_seed_decides_and_not_the_id(tmp_path: Path) -> None:
    buyers = [f"b{number:02d}" for number in range(20)]
    events = [CanonicalEvent(buyer, DAY, 1) for buyer in buyers]

    def chosen(name: str, seed: int) -> list[str]:
        config = build(tmp_path / name, events, max_contexts=10, seed=seed)
        return [buyer for buyer, moment in taken(config) if moment == DAY]

    first, other = chosen("a", 1), chosen("b", 2)
    assert len(first) == len(other) == 10
    assert first == chosen("c", 1) != other
    assert first not in (buyers[:10], buyers[10:])


def test_a_moment_without_a_target_takes_nothing_from_the_budget(tmp_path: Path) -> None:
    events = [
        CanonicalEvent("ben", DAY, 1, "purchase"),
        CanonicalEvent("ben", 2 * DAY, 2),
        CanonicalEvent("cat", 3 * DAY, 1, "purchase"),
        CanonicalEvent("cat", 3 * DAY, 2),
        CanonicalEvent("dan", 4 * DAY, 1, "add_to_cart"),
    ]
    config = build(tmp_path, events, data={"target_events": ["purchase"]}, max_contexts=2)
    [ben, cat] = rows(shop_paths(config).contexts)
    assert (moment_of(ben), ben["product_keys"]) == (("ben", DAY), [1])
    # Readers choose the targets among all events of the moment.
    assert (moment_of(cat), cat["product_keys"], cat["event_types"]) == (("cat", 3 * DAY), [1, 2], [2, 0])


def test_a_history_counts_the_events_that_no_taken_context_has_as_targets(tmp_path: Path) -> None:
    events = [CanonicalEvent("ben", day * DAY, day) for day in range(1, 7)]
    config = canonical_shop(
        tmp_path, [*ENDS, *events], training={"max_contexts": 1}, model={"buyer_tower": {"max_interaction_history": 3}}
    )
    build_contexts(config)
    context = rows(shop_paths(config).contexts)[0]
    assert (moment_of(context), context["events_before"], context["product_keys"]) == (("ben", 6 * DAY), 5, [6])
    [history] = [row for row in rows(shop_paths(config).context_sequences) if row["buyer_id"] == "ben"]
    assert (moment_of(history), history["product_keys"]) == (("ben", 6 * DAY), [3, 4, 5])


# ---- validation and test ---------------------------------------------------------------------------------------------


def test_held_out_contexts_are_a_sample_of_all_buyers_whatever_the_seed_of_training(tmp_path: Path) -> None:
    buyers = [f"b{number:02d}" for number in range(20)]
    events = [CanonicalEvent(buyer, start + hour * HOUR, 1) for start in (VALIDATION, TEST) for hour, buyer in
              enumerate(buyers)]  # fmt: skip

    def sampled(name: str, seed: int) -> dict[str, list[str]]:
        config = build(tmp_path / name, events, data={"max_held_out_contexts": 8}, seed=seed)
        return {split: [buyer for buyer, _ in taken(config, split)] for split in ("validation", "test")}

    first = sampled("a", 1)
    assert [len(sample) for sample in first.values()] == [8, 8]
    assert first == sampled("b", 2)
    for sample in first.values():
        assert sample not in (buyers[:8], buyers[-8:])


# ---- any shop --------------------------------------------------------------------------------------------------------

event = st.builds(
    CanonicalEvent,
    st.sampled_from(["ann", "ben", "عمر"]),
    st.one_of(st.sampled_from([0, DAY, VALIDATION, TEST]), st.integers(0, 40).map(lambda n: n * 6 * HOUR)),
    st.integers(1, 4),
    st.sampled_from(sorted(EVENT_TYPE_CODES)),
)


def order_of(event: CanonicalEvent) -> tuple[int, int, int]:
    return event.ms, event.product_key, EVENT_TYPE_CODES[event.event_type]


def tie(seed: str, moment: Moment) -> str:
    second = int(START.timestamp()) + moment[1] // 1000
    return hashlib.md5(f"{seed} {second} {moment[0]}".encode(), usedforsecurity=False).hexdigest()[:12]


def newest(moments: list[Moment], config: Config) -> list[Moment]:
    budget, counts = config.training, Counter[str]()
    kept: list[Moment] = []
    for moment in sorted(moments, key=lambda m: (-m[1], tie(str(budget.seed), m))):
        counts[moment[0]] += 1
        if not budget.max_contexts_per_buyer or counts[moment[0]] <= budget.max_contexts_per_buyer:
            kept.append(moment)
    return kept[: budget.max_contexts or None]


def expected(events: list[CanonicalEvent], config: Config) -> dict[tuple[str, Moment], tuple[list[Any], list[Any]]]:
    """By split and moment: the last events strictly before it, and its targets."""
    moments = sorted({(e.buyer, e.ms) for e in events if e.event_type in config.data.target_events})
    selected = {
        "train": newest([m for m in moments if m[1] < VALIDATION], config)
        + newest([m for m in moments if VALIDATION <= m[1] < TEST], config)
    }
    for split, start, end in (("validation", VALIDATION, TEST), ("test", TEST, END)):
        held_out = [m for m in moments if start <= m[1] < end]
        if config.data.evaluation_unit == "per_buyer":
            held_out = sorted({(buyer, start) for buyer, _ in held_out})
        selected[split] = sorted(held_out, key=lambda m: tie(split, m))[: config.data.max_held_out_contexts or None]
    length = config.model.buyer_tower.max_interaction_history
    answers = {}
    for split, contexts in selected.items():
        together = split != "train" and config.data.evaluation_unit == "per_buyer"
        end = TEST if split == "validation" else END
        for buyer, moment in contexts:
            of_buyer = sorted((e for e in events if e.buyer == buyer), key=order_of)
            history = [order_of(e) for e in of_buyer if e.ms < moment]
            targets = [order_of(e) for e in of_buyer if (moment <= e.ms < end if together else e.ms == moment)]
            answers[split, (buyer, moment)] = (history[-length:], [len(history), *targets])
    return answers


def as_events(row: Row) -> list[tuple[int, int, int]]:
    start = int(START.timestamp() * 1000)
    return [
        (time - start, key, kind)
        for time, key, kind in zip(row["event_times"], row["product_keys"], row["event_types"], strict=True)
    ]


@settings(max_examples=12)
@given(
    st.lists(event, max_size=30),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["per_buyer", "per_moment"]),
    st.sampled_from([["purchase"], sorted(EVENT_TYPE_CODES)]),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_any_budget_takes_the_contexts_and_histories_of_brute_force(
    events: list[CanonicalEvent],
    budget: int,
    cap: int,
    sample: int,
    unit: str,
    targets: list[str],
    length: int,
    seed: int,
) -> None:
    events = [e for e in events if e.ms < END] + ENDS
    small = patch.object(buyer_buckets, "EVENTS_PER_BUCKET", 8), patch.object(module, "SEQUENCE_ROWS", 2)
    with tempfile.TemporaryDirectory() as folder, small[0], small[1]:
        config = canonical_shop(
            Path(folder),
            events,
            data={"evaluation_unit": unit, "target_events": targets, "max_held_out_contexts": sample},
            training={"max_contexts": budget, "max_contexts_per_buyer": cap, "seed": seed},
            model={"buyer_tower": {"max_interaction_history": length}},
        )
        build_contexts(config)
        contexts, sequences = rows(shop_paths(config).contexts), rows(shop_paths(config).context_sequences)
    histories = {moment_of(row): as_events(row) for row in sequences}
    assert len(histories) == len(sequences)
    actual = {
        (row["split"], moment_of(row)): (histories[moment_of(row)], [row["events_before"], *as_events(row)])
        for row in contexts
    }
    assert len(actual) == len(contexts)
    assert actual == expected(events, config)
    assert set(histories) == {moment for _, moment in actual}
