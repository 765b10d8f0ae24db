"""Training reads only events strictly before the moment that it predicts: checked against brute force."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from batch_jobs.feature_build.build_contexts import build_contexts
from feature_repo.columns import BUYER_ID, EVENT_TIMESTAMP, PRODUCT_KEYS, TEST, TRAIN, VALIDATION
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from tests.parity.parity_shop import (
    DAY,
    PRODUCT_IDS,
    START,
    Event,
    Stored,
    build,
    log_events,
    ms,
    offline,
    rebuild,
    shop,
    stored,
)
from training.data.catalogue import Catalogue, read_catalogue
from training.data.contexts import Contexts, read_contexts
from training.data.histories import Histories

pytestmark = pytest.mark.store

MAX_LENGTH = 4
SPLITS = (TRAIN, VALIDATION, TEST)

Events = dict[str, list[Event]]
# The history and the distinct targets, by buyer and moment in milliseconds since 1970.
Answers = dict[tuple[str, int], tuple[list[Stored], list[int]]]


def random_events(seed: int, n_events: int = 60) -> Events:
    """Events of four buyers over six days, on few moments, so that many share buyer and time; ends on the sixth day."""
    rng = np.random.default_rng(seed)
    moments = rng.integers(0, 6 * DAY, 12)
    events: Events = {buyer: [] for buyer in ("u1", "u2", "u3", "عمر")}
    for _ in range(n_events):
        buyer = str(rng.choice(list(events), p=[0.5, 0.3, 0.15, 0.05]))
        event = (int(rng.choice(moments)), str(rng.choice(PRODUCT_IDS)), str(rng.choice(EVENT_TYPE_NAMES)))
        events[buyer].append(event)
    events["u1"] += [(0, "p1", "view"), (6 * DAY - 1, "p2", "view")]
    return {buyer: sorted(set(theirs)) for buyer, theirs in events.items()}


def products_of(events: list[Event]) -> list[int]:
    """The keys of the products in events, each once."""
    return sorted({key for _, key, _ in stored(events)})


def expected(events: Events, split: str, ask: str = "per_buyer") -> Answers:
    """By brute force: at each moment, the last events strictly before it."""
    latest = max(time for theirs in events.values() for time, *_ in theirs)
    test_from = (latest // DAY - 1) * DAY
    first = min(time for theirs in events.values() for time, *_ in theirs)
    validation_from = test_from - min(DAY, (test_from - first) // 2)
    start, end = {TRAIN: (0, test_from), VALIDATION: (validation_from, test_from), TEST: (test_from, latest + 1)}[split]
    answers: Answers = {}
    for buyer, theirs in events.items():
        for time, *_ in theirs:
            if not start <= time < end:
                continue
            together = split != TRAIN and ask == "per_buyer"
            moment = start if together else time
            chosen = [event for event in theirs if (start <= event[0] < end if together else event[0] == time)]
            history = stored(event for event in theirs if event[0] < moment)[-MAX_LENGTH:]
            answers[buyer, ms(moment)] = (history, products_of(chosen))
    return answers


def rows_of(store: FeatureStore, contexts: Contexts) -> list[list[int]]:
    """The product keys that Feast itself has for each context, one microsecond before its moment, joined one by one."""
    stamps = pd.to_datetime(contexts.times_us, unit="us", utc=True)
    rows = pd.DataFrame({BUYER_ID: contexts.buyer_ids, EVENT_TIMESTAMP: stamps, "place": np.arange(len(contexts))})
    return [keys or [] for keys in store.historical_sequences(rows).sort_by("place")[PRODUCT_KEYS].to_pylist()]


def keys_of(contexts: Contexts, catalogue: Catalogue) -> list[list[int]]:
    """The product keys of each context's window."""
    histories = contexts.histories
    keys = catalogue.product_keys[histories.products].tolist()
    return [keys[start:stop] for start, stop in itertools.pairwise(histories.offsets.tolist())]


def read(config: Config, split: str) -> Answers:
    """What training reads, through Feast."""
    paths = shop_paths(config)
    build_contexts(config)
    catalogue = read_catalogue(paths.product_features)
    with feature_store(config) as store:
        contexts = read_contexts(store, paths.contexts, catalogue, split, MAX_LENGTH)
        assert rows_of(store, contexts) == keys_of(contexts, catalogue)

    def events_of(histories: Histories, row: int) -> list[Stored]:
        part = slice(histories.offsets[row], histories.offsets[row + 1])
        keys = catalogue.product_keys[histories.products[part]]
        columns = (histories.event_times[part], keys, histories.event_types[part])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    answers: Answers = {}
    for row, (buyer, stamp_us) in enumerate(zip(contexts.buyer_ids, contexts.times_us.tolist(), strict=True)):
        assert stamp_us % 1000 == 999, "a context is stamped one microsecond before it"
        context = (buyer, (stamp_us + 1) // 1000)
        assert context not in answers
        answers[context] = (
            events_of(contexts.histories, row),
            sorted(key for _, key, _ in events_of(contexts.targets, row)),
        )
    return answers


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_history_is_the_last_events_strictly_before(tmp_path: Path, seed: int) -> None:
    config, events = shop(tmp_path, MAX_LENGTH), random_events(seed)
    build(config, events)
    for split in SPLITS:
        actual = read(config, split)
        assert actual == expected(events, split)
        assert all(time < moment for (_, moment), (history, _) in actual.items() for time, *_ in history)


def test_each_moment_of_the_test_may_be_asked_by_itself(tmp_path: Path) -> None:
    config, events = shop(tmp_path, MAX_LENGTH), random_events(6)
    config = config.model_copy(update={"data": config.data.model_copy(update={"evaluation_unit": "per_moment"})})
    build(config, events)
    for split in SPLITS:
        assert read(config, split) == expected(events, split, "per_moment")


def test_baskets_larger_than_the_longest_history_leave_gaps_that_nobody_sees(tmp_path: Path) -> None:
    basket: list[Event] = [(DAY, product, kind) for product in PRODUCT_IDS for kind in EVENT_TYPE_NAMES]
    assert len(basket) > 2 * MAX_LENGTH
    later: list[Event] = [(2 * DAY, "p1", "view"), (3 * DAY, "p2", "view"), (4 * DAY, "p1", "view")]
    events: Events = {"u1": sorted([(0, "p3", "view"), *basket, *later]), "u2": sorted(basket)}
    config = shop(tmp_path, MAX_LENGTH)
    build(config, events)
    for split in (TRAIN, TEST):
        assert read(config, split) == expected(events, split)


def at_the_same_moment(moment: int) -> Event:
    return moment, "p3", "view"


def one_millisecond_later(moment: int) -> Event:
    return moment + 1, "p3", "view"


def a_day_later(moment: int) -> Event:
    return moment + DAY, "p3", "purchase"


@pytest.mark.parametrize("plant", [at_the_same_moment, one_millisecond_later, a_day_later])
def test_a_planted_event_enters_no_history_of_its_moment_or_before(
    tmp_path: Path, plant: Callable[[int], Event]
) -> None:
    moment = 2 * DAY + 500
    events: Events = {
        "u1": [(0, "p1", "view"), (DAY, "p2", "view"), (moment, "p1", "purchase")],
        "u2": [(0, "p2", "view"), (6 * DAY, "p1", "view")],
    }
    config = shop(tmp_path, MAX_LENGTH)
    build(config, events)
    clean = read(config, TRAIN)
    assert clean["u1", ms(moment)][0] == stored(events["u1"][:2])
    planted = {**events, "u1": [*events["u1"], plant(moment)]}
    build(config, planted)
    actual = read(config, TRAIN)
    for context, (history, _) in clean.items():
        assert actual[context][0] == history
    assert actual == expected(planted, TRAIN)


def test_what_arrives_late_takes_its_place_and_no_other(tmp_path: Path) -> None:
    config, events = shop(tmp_path, MAX_LENGTH), random_events(4)
    build(config, events)
    before = {split: read(config, split) for split in (TRAIN, TEST)}
    moments = [time for time, *_ in events["u1"]]
    late: list[Event] = [
        (moments[3], "p3", "purchase"),  # at the time of other events
        (moments[5] - 1, "p2", "add_to_cart"),
        (moments[-2] + 1, "p1", "view"),
    ]
    late = [event for event in late if event not in events["u1"]]
    log_events(config, "u1", *late)
    log_events(config, "u9", (DAY, "p1", "view"))  # a new buyer
    rebuild(config)
    together = {**events, "u1": sorted([*events["u1"], *late]), "u9": [(DAY, "p1", "view")]}
    for split in (TRAIN, TEST):
        actual = read(config, split)
        assert actual == expected(together, split)
        others = {context: answer for context, answer in before[split].items() if context[0] != "u1"}
        assert {context: answer for context, answer in actual.items() if context[0] not in ("u1", "u9")} == others
        early = {context: answer for context, answer in before[split].items() if context[1] <= ms(min(late)[0])}
        assert all(actual[context][0] == history for context, (history, _) in early.items())


def test_what_the_api_logged_after_the_export_moves_no_split(tmp_path: Path) -> None:
    config, events = shop(tmp_path, MAX_LENGTH), random_events(5)
    build(config, events)
    log_events(config, "u1", (400 * DAY, "p3", "purchase"))
    log_events(config, "u9", (400 * DAY, "p1", "view"))
    rebuild(config)
    for split in (TRAIN, TEST):
        assert read(config, split) == expected(events, split)
    with feature_store(config) as store:
        assert offline(store, ["u1", "u9"]) == {
            "u1": stored([*events["u1"], (400 * DAY, "p3", "purchase")])[-MAX_LENGTH:],
            "u9": stored([(400 * DAY, "p1", "view")]),
        }


def test_a_buyer_without_a_past_has_an_empty_history(tmp_path: Path) -> None:
    config = shop(tmp_path, MAX_LENGTH)
    build(config, {"u1": [(0, "p1", "view"), (5 * DAY, "p1", "view")], "new": [(5 * DAY, "p2", "purchase")]})
    assert read(config, TRAIN) == {("u1", ms(0)): ([], products_of([(0, "p1", "view")]))}
    boundary = ms(4 * DAY)
    assert read(config, TEST) == {
        ("u1", boundary): (stored([(0, "p1", "view")]), products_of([(5 * DAY, "p1", "view")])),
        ("new", boundary): ([], products_of([(5 * DAY, "p2", "purchase")])),
    }


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    config = shop(tmp_path, MAX_LENGTH)
    paths = shop_paths(config)
    build(config, {"u1": [(0, "p1", "view"), (5 * DAY, "p1", "view")]})
    build_contexts(config)
    catalogue = read_catalogue(paths.product_features)
    with feature_store(config) as store:
        with pytest.raises(ValueError, match=r"has no holiday contexts; check data\.test_days"):
            read_contexts(store, paths.contexts, catalogue, "holiday", MAX_LENGTH)
        with pytest.raises(FileNotFoundError, match="run `tawsiya train` first"):
            read_contexts(store, paths.root / "nowhere.parquet", catalogue, TRAIN, MAX_LENGTH)


def test_the_brute_force_day_starts_at_midnight() -> None:
    assert (START.hour, START.minute, START.second, START.microsecond) == (0, 0, 0, 0)
