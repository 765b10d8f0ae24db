"""After any edits, what was built and materialized step by step is what the online store would get at once."""

import random
from pathlib import Path

import pytest

from batch_jobs.feature_build import build_features as builder
from batch_jobs.feature_build import parts
from batch_jobs.feature_build.build_features import build_features
from feature_repo import columns as c
from feature_repo.store import feature_store
from tests.batch_jobs.feature_build.edited_shop import Event, configuration, expected, write_canonical

pytestmark = pytest.mark.store

BUYERS = ("a", "b", "c", "d", "e", "f")
SKIPPED = 2  # the step that is built and not materialized


def test_the_online_store_follows_every_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MAX_CHANGED_SHARE", 0.9)
    monkeypatch.setattr(parts, "MAX_DELTA_PARTS", 2)
    rng, config = random.Random(7), configuration(tmp_path)
    events: list[Event] = [(buyer, n, "purchase", 30 * n) for buyer in BUYERS for n in range(9)]
    with feature_store(config) as store:
        for step in range(6):
            # Some events are gone, and one comes, perhaps late.
            gone = rng.choice(BUYERS)
            events = [event for event in events if event[0] != gone or rng.random() < 0.5 * (step % 2)]
            events.append((rng.choice(BUYERS), step, rng.choice(["view", "purchase"]), rng.randrange(250)))
            prices = {f"p{n}": float(rng.randrange(2)) for n in range(3)}
            write_canonical(config, events, prices.items())
            build_features(config)
            if step == SKIPPED:
                continue
            store.materialize(full=False)
            sequences, purchases = expected(events, 3)
            for buyer, features in zip(BUYERS, store.online.read_buyers(BUYERS), strict=True):
                assert features.events.product_keys.tolist() == sequences.get(buyer, {}).get(c.PRODUCT_KEYS, [])
                assert features.events.event_times.tolist() == sequences.get(buyer, {}).get(c.EVENT_TIMES, [])
                assert features.purchases.product_keys.tolist() == purchases.get(buyer, {}).get(c.PURCHASED_KEYS, [])
            assert store.online.read_products(list(prices)).price_P.tolist() == list(prices.values())
