"""A shop's features in the online store: buyers read and written, products read.

Legend: B buyers, E events or keys, P products.
"""

import datetime as dt
import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from feast import RepoConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Int32List, Int64List, Value

from feature_repo import columns as c
from feature_repo.definitions import Definitions
from feature_repo.online.claims import Claim, EventClaims, claimed
from feature_repo.online.locks import BuyerLocks
from feature_repo.online.redis_store import PipelinedRedisOnlineStore, Row
from feature_repo.transforms.events import PURCHASE
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, Sequence, merge_sequences, select, without

SEQUENCE_FEATURES = (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)
PURCHASE_FEATURES = (c.PURCHASED_KEYS, c.PURCHASED_TIMES)
LIVE_FEATURES = (c.PRICE, c.STOCK, c.HIDDEN)
PRODUCTS_PER_READ = 1_000
BEFORE_ALL_DATA = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BuyerFeatures(NamedTuple):
    """What the online store knows of one buyer.

    Attributes:
        events: The last events, materialized and pushed ones together.
        purchases: All that the buyer ever bought, materialized and pushed.
        as_of_ms: When the materialized part was built, milliseconds since 1970; 0 where there is none.
    """

    events: Sequence
    purchases: Sequence
    as_of_ms: int


class LiveProducts(NamedTuple):
    """What changes by the minute, for P products.

    Attributes:
        price_P: (P,) float64, NaN where unknown.
        stock_P: (P,) int64, -1 where unknown.
        hidden_P: (P,) bool.
        known_P: (P,) bool, whether the store has the product at all.
    """

    price_P: npt.NDArray[np.float64]
    stock_P: npt.NDArray[np.int64]
    hidden_P: npt.NDArray[np.bool_]
    known_P: npt.NDArray[np.bool_]


class OnlineFeatures:
    """Reads and writes of one shop; safe to use from several threads."""

    def __init__(
        self, store: PipelinedRedisOnlineStore, config: RepoConfig, definitions: Definitions, max_length: int
    ) -> None:
        """Takes an online store and its configuration; sends nothing.

        Args:
            store: The online store.
            config: Its configuration; the time-outs of the connection are those of all calls here.
            definitions: The shop's Feast objects.
            max_length: Longest history.
        """
        self.redis: Any = store.client(config)
        self._store, self._config, self._views = store, config, definitions
        self._max_length = max_length
        self._locks = BuyerLocks(self.redis, config.project)
        history, recent, purchases = definitions.history_view, definitions.recent_view, definitions.purchases_view
        self._buyer = store.plan(
            {
                history: SEQUENCE_FEATURES,
                recent: (*SEQUENCE_FEATURES, *PURCHASE_FEATURES),
                purchases: PURCHASE_FEATURES,
            }
        )
        self._live_products = store.plan({definitions.product_view: LIVE_FEATURES})

    def read_buyers(self, buyer_ids: Rows[str]) -> list[BuyerFeatures]:
        """The features of B buyers, in one round trip; of an unknown one, nothing."""
        entities = [_entity(c.BUYER_ID, buyer_id) for buyer_id in buyer_ids]
        rows = self._store.read_views(self._config, entities, self._buyer)
        return [
            BuyerFeatures(
                self._events(history, recent),
                self._purchases(bought, recent),
                history.stamp_us // 1000,
            )
            for history, recent, bought in zip(*rows, strict=True)
        ]

    def read_sequence(self, buyer_id: str) -> Sequence:
        """One buyer's last events, oldest first."""
        return self.read_buyers([buyer_id])[0].events

    def push_events(self, events: Mapping[str, Sequence]) -> None:
        """Adds events to the recent ones of buyers; the next read of a buyer, by any process, sees them.

        Pushing the same events again changes nothing, so a call that failed half-way can be repeated.

        Raises:
            StoreUnavailableError: Other writers held a buyer's lock for too long, or this one lost it.
        """
        # A push replaces the arrays, and Feast drops a write that is not newer than the stored one. So: one writer per
        # buyer at a time, also across processes, and a stamp that always rises.
        remaining = set(events)
        while remaining:
            with self._locks.some_of(remaining) as held:
                rows = self._merged({buyer_id: events[buyer_id] for buyer_id in held.buyers})
                held.require()
                self._store.online_write_batch(self._config, self._views.recent_view, rows, progress=None)
            remaining.difference_update(held.buyers)

    def read_products(self, product_ids: Rows[str]) -> LiveProducts:
        """Price, stock and visibility of P products, in their order; many round trips, so not for a request."""
        rows: list[Row] = []
        for start in range(0, len(product_ids), PRODUCTS_PER_READ):
            part = [_entity(c.PRODUCT_ID, product_id) for product_id in product_ids[start : start + PRODUCTS_PER_READ]]
            rows += self._store.read_views(self._config, part, self._live_products)[0]
        values = [row.values for row in rows]
        return LiveProducts(
            price_P=np.array([_price(value[c.PRICE]) for value in values], dtype=np.float64),
            stock_P=np.array([_stock(value[c.STOCK]) for value in values], dtype=np.int64),
            hidden_P=np.array([value[c.HIDDEN].bool_val for value in values], dtype=np.bool_),
            known_P=np.array([row.stamp_us > 0 for row in rows], dtype=np.bool_),
        )

    def materialized_at(self) -> int:
        """When features were last copied into the online store, milliseconds since 1970; 0 where they never were."""
        return int(self.redis.get(self._materialized_key) or 0)

    def note_materialized(self) -> None:
        """Says that features were copied just now, for those who keep copies of their own."""
        self.redis.set(self._materialized_key, int(_now().timestamp() * 1000))

    def claim_events(self, claims: Mapping[str, Claim]) -> AbstractContextManager[EventClaims]:
        """Claims events, by name, for the block; see event_claims.claimed, also for the errors."""
        return claimed(self.redis, self._config.project, claims)

    def ping(self) -> bool:
        """Whether the online store answers."""
        return bool(self.redis.ping())

    @property
    def _materialized_key(self) -> str:
        return f"{self._config.project}:materialized_at"

    def _events(self, history: Row, recent: Row) -> Sequence:
        pushed = _sequence_of(recent)
        materialized = _sequence_of(history)
        if not len(pushed.event_times) and len(materialized.event_times) <= self._max_length:
            return materialized  # in order already
        return merge_sequences(materialized, pushed, self._max_length)

    @staticmethod
    def _purchases(bought: Row, recent: Row) -> Sequence:
        pushed = _purchases_of(recent)
        materialized = _purchases_of(bought)
        return merge_sequences(materialized, pushed) if len(pushed.event_times) else materialized  # in order already

    def _merged(
        self, events: Mapping[str, Sequence]
    ) -> list[tuple[EntityKey, dict[str, Value], dt.datetime, dt.datetime]]:
        """The new rows of the recent view, as Feast writes them; the buyers' locks are held."""
        entities = [_entity(c.BUYER_ID, buyer_id) for buyer_id in events]
        _, recent, bought = self._store.read_views(self._config, entities, self._buyer)
        now, rows = _now(), []
        for entity, row, history, new in zip(entities, recent, bought, events.values(), strict=True):
            merged = merge_sequences(_sequence_of(row), new, self._max_length)
            purchases = merge_sequences(_purchases_of(row), select(new, new.event_types == PURCHASE))
            # What materialize has brought meanwhile need not be kept twice: the arrays would only ever grow.
            purchases = without(purchases, _purchases_of(history))
            after = max(now, BEFORE_ALL_DATA + dt.timedelta(microseconds=row.stamp_us + 1))
            rows.append((entity, _recent_values(merged, purchases), after, after))
        return rows


def _entity(join_key: str, value: str) -> EntityKey:
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=value)])


def _sequence_of(row: Row) -> Sequence:
    """A row's sequence; a missing buyer's values are unset, and read as empty."""
    values = row.values
    keys = values[c.PRODUCT_KEYS].int64_list_val.val
    if not keys:
        return EMPTY_SEQUENCE
    return Sequence(
        np.array(keys, dtype=np.int64),
        np.array(values[c.EVENT_TYPES].int32_list_val.val, dtype=np.int32),
        np.array(values[c.EVENT_TIMES].int64_list_val.val, dtype=np.int64),
    )


def _purchases_of(row: Row) -> Sequence:
    """A row's purchases, as a sequence."""
    keys = np.array(row.values[c.PURCHASED_KEYS].int64_list_val.val, dtype=np.int64)
    times = np.array(row.values[c.PURCHASED_TIMES].int64_list_val.val, dtype=np.int64)
    return Sequence(keys, np.full(len(keys), PURCHASE, dtype=np.int32), times)


def _recent_values(events: Sequence, purchases: Sequence) -> dict[str, Value]:
    return {
        c.PRODUCT_KEYS: Value(int64_list_val=Int64List(val=events.product_keys.tolist())),
        c.EVENT_TYPES: Value(int32_list_val=Int32List(val=events.event_types.tolist())),
        c.EVENT_TIMES: Value(int64_list_val=Int64List(val=events.event_times.tolist())),
        c.PURCHASED_KEYS: Value(int64_list_val=Int64List(val=purchases.product_keys.tolist())),
        c.PURCHASED_TIMES: Value(int64_list_val=Int64List(val=purchases.event_times.tolist())),
    }


def _price(value: Value) -> float:
    return value.double_val if value.HasField("double_val") else math.nan


def _stock(value: Value) -> int:
    return value.int64_val if value.HasField("int64_val") else -1


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
