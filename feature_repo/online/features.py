"""A shop's features in the online store: reads and writes of buyers, reads of products.

Legend: B buyers, P products.
"""

import datetime as dt
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from feast import RepoConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Int32List, Int64List, Value
from redis.cluster import RedisCluster

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float64Array, Int64Array, TextArray
from feature_repo.definitions import Definitions
from feature_repo.online.claims import Claim, EventClaims, claim_events, claim_holders
from feature_repo.online.locks import BuyerLocks, HeldLocks
from feature_repo.online.merged_buyers import MergedBuyers, OtherAccountError
from feature_repo.online.redis_store import PipelinedRedisOnlineStore, Row
from feature_repo.online.stored_schemas import StoredSchemas
from feature_repo.transforms.events import PURCHASE
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, EventSequence, difference, merge_sequences, select

SEQUENCE_FEATURES = (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)
PURCHASE_FEATURES = (c.PURCHASED_KEYS, c.PURCHASED_TIMES)
LIVE_FEATURES = (c.PRICE, c.REGULAR_PRICE, c.CURRENCY, c.STOCK, c.HIDDEN)
PRODUCTS_PER_READ = 1_000
BEFORE_ALL_DATA = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _as_pushed(keys: Int64Array) -> Int64Array:
    return keys


class BuyerFeatures(NamedTuple):
    """The features of one buyer in the online store.

    Attributes:
        events: The newest events, materialized and pushed ones merged.
        purchases: All purchases of the buyer, materialized and pushed ones merged.
        as_of_ms: Build time of the materialized features, milliseconds since 1970; 0 if there are none.
    """

    events: EventSequence
    purchases: EventSequence
    as_of_ms: int


class StoredViews(NamedTuple):
    """One buyer's events as the views of the online store hold them, before they are merged.

    Attributes:
        history: The newest events as of the last build.
        recent: Events that were pushed since, the newest ones.
        purchases: All purchases as of the last build.
        recent_purchases: Purchases that were pushed since.
        as_of_ms: Build time of the materialized features, milliseconds since 1970; 0 if there are none.
    """

    history: EventSequence
    recent: EventSequence
    purchases: EventSequence
    recent_purchases: EventSequence
    as_of_ms: int


class LiveProducts(NamedTuple):
    """The features of P products that change between releases.

    Attributes:
        price_P: (P,) float64, NaN if unknown.
        currency_P: (P,) ISO 4217 codes of the prices, empty if unknown.
        stock_P: (P,) int64, -1 if unknown.
        hidden_P: (P,) bool.
        known_P: (P,) bool, whether the store has the product.
        regular_price_P: (P,) float64 prices before a reduction, NaN without one.
    """

    price_P: Float64Array
    currency_P: TextArray
    stock_P: Int64Array
    hidden_P: BoolArray
    known_P: BoolArray
    regular_price_P: Float64Array


class OnlineFeatures:
    """Reads and writes the features of one shop. Thread-safe.

    Attributes:
        redis: The client of the online store.
        schemas: The feature schemas of the shop that the store holds.
        merged: Which guests have become which buyers.
        max_length: Greatest number of events in a buyer's sequence.
    """

    def __init__(
        self,
        store: PipelinedRedisOnlineStore,
        config: RepoConfig,
        definitions: Definitions,
        max_length: int,
        schemas: StoredSchemas,
    ) -> None:
        """Connects to nothing yet, except to a cluster, whose nodes it asks for their slots.

        Args:
            store: The online store.
            config: Feast's configuration. The time-outs of its connection apply to every call.
            definitions: The shop's Feast objects.
            max_length: Greatest number of events in a buyer's sequence.
            schemas: The feature schemas of the shop, over the same client.
        """
        self.redis: Any = store.client(config)
        self.schemas = schemas
        self._store, self._config, self._views = store, config, definitions
        self.max_length = max_length
        self._locks = BuyerLocks(self.redis, config.project)
        # For all schemas: a guest is merged for every version of the program.
        self.merged = MergedBuyers(self.redis, schemas.shop)
        history, recent, purchases = definitions.history_view, definitions.recent_view, definitions.purchases_view
        self._buyer_plan = store.plan(
            {
                history: SEQUENCE_FEATURES,
                recent: (*SEQUENCE_FEATURES, *PURCHASE_FEATURES),
                purchases: PURCHASE_FEATURES,
            }
        )
        self._product_plan = store.plan({definitions.product_view: LIVE_FEATURES})

    def read_buyers(
        self, buyer_ids: Sequence[str], current_keys: Callable[[Int64Array], Int64Array] = _as_pushed
    ) -> list[BuyerFeatures]:
        """The features of B buyers, in order, in one round trip. An unknown buyer has empty sequences.

        `current_keys` maps the product keys of pushed events to those that the products have now: a product may have
        been merged into another one since. Materialized events have followed already.
        """
        return [self.features_of(stored) for stored in self.read_stored(buyer_ids, current_keys)]

    def read_stored(
        self, buyer_ids: Sequence[str], current_keys: Callable[[Int64Array], Int64Array] = _as_pushed
    ) -> list[StoredViews]:
        """What read_buyers merges, in order."""
        entities = [_entity(c.BUYER_ID, buyer_id) for buyer_id in buyer_ids]
        rows = self._store.read_views(self._config, entities, self._buyer_plan)
        return [
            StoredViews(
                _sequence_of(history),
                _with_keys(_sequence_of(recent), current_keys),
                _purchases_of(purchases),
                _with_keys(_purchases_of(recent), current_keys),
                history.stamp_us // 1000,
            )
            for history, recent, purchases in zip(*rows, strict=True)
        ]

    def features_of(self, stored: StoredViews) -> BuyerFeatures:
        """The features that a buyer's stored events make."""
        return BuyerFeatures(
            self._events(stored.history, stored.recent),
            self._purchases(stored.purchases, stored.recent_purchases),
            stored.as_of_ms,
        )

    def read_sequence(self, buyer_id: str) -> EventSequence:
        """One buyer's newest events, oldest first."""
        return self.read_buyers([buyer_id])[0].events

    def push_events(self, events: Mapping[str, EventSequence]) -> None:
        """Adds events to buyers' recent events; the next read, by any process, returns them.

        Pushing the same events again changes nothing, so a call that failed half-way can be repeated. The events of a
        guest who has become another buyer go to that one.

        Args:
            events: The new events, by buyer id.

        Raises:
            StoreUnavailableError: Other writers held a buyer's lock for too long, or this one lost it.
        """
        # A push replaces the stored arrays, and Feast drops a write that is not newer than the stored row. So there is
        # one writer per buyer at a time, across processes, and every write carries a later time than the stored one.
        remaining = dict(events)
        while remaining:
            with self._locks.acquire_available(remaining) as held:
                # Under the lock, which a merge takes as well: no event is written behind it.
                became = self.merged.accounts(held.buyers)
                taken = {buyer_id: remaining.pop(buyer_id) for buyer_id in held.buyers}
                self._write_recent({one: new for one, new in taken.items() if one not in became}, held)
            for guest_id, account in became.items():
                remaining[account] = merge_sequences(remaining.get(account, EMPTY_SEQUENCE), taken[guest_id])

    def merge_buyer(self, guest_id: str, buyer_id: str, record: Callable[[], None]) -> str:
        """Moves a guest's events and purchases to a buyer, where the next read finds them; the guest is unknown then.

        A call that failed half-way can be repeated. Events that are pushed for the guest later go to the buyer.

        Args:
            guest_id: The guest, who need not be known.
            buyer_id: The buyer, or a guest who has become one.
            record: Called before anything is written, unless the guest belongs to a buyer already.

        Returns:
            The buyer whom the guest belongs to now: `buyer_id`, or the one that this one has become.

        Raises:
            OtherAccountError: The guest belongs to another buyer; nothing is moved.
            StoreUnavailableError: Other writers held a lock for too long, or this one lost it.
        """
        while True:
            account = self.merged.account_of(buyer_id)
            if account == guest_id:  # the buyer has become this guest; there is nothing to move
                return account
            with self._locks.acquire_all({guest_id, account}) as held:
                became = self.merged.accounts([guest_id, account])
                if account in became:
                    continue  # it was merged itself, since it was looked up
                if guest_id in became:
                    if self.merged.account_of(guest_id) != account:
                        raise OtherAccountError("this guest was merged into another buyer before")
                else:
                    record()
                self._move(guest_id, account, held)
                return account

    def _move(self, guest_id: str, account: str, held: HeldLocks) -> None:
        """In this order: after a crash in between, a repeated merge does the rest."""
        (guest,) = self.read_buyers([guest_id])
        events = merge_sequences(guest.events, guest.purchases)
        if len(events.event_times):
            self._write_recent({account: events}, held)
        self.merged.add(guest_id, account)
        self._store.delete(self._config, [_entity(c.BUYER_ID, guest_id)])

    def _write_recent(self, events: Mapping[str, EventSequence], held: HeldLocks) -> None:
        """Adds events to the recent events of buyers whose locks are held."""
        if not events:
            return
        rows = self._merged_rows(events)
        held.require_held()
        self._store.online_write_batch(self._config, self._views.recent_view, rows, progress=None)

    def read_products(self, product_ids: Sequence[str]) -> LiveProducts:
        """The LIVE_FEATURES of P products, in order. Takes many round trips, too slow for a request."""
        rows: list[Row] = []
        for start in range(0, len(product_ids), PRODUCTS_PER_READ):
            batch = product_ids[start : start + PRODUCTS_PER_READ]
            entities = [_entity(c.PRODUCT_ID, product_id) for product_id in batch]
            rows += self._store.read_views(self._config, entities, self._product_plan)[0]
        values = [row.values for row in rows]
        return LiveProducts(
            price_P=np.array([_price(value[c.PRICE]) for value in values], dtype=np.float64),
            # An unset text reads as empty, which is no currency.
            currency_P=np.array([value[c.CURRENCY].string_val for value in values], dtype=np.str_),
            stock_P=np.array([_stock(value[c.STOCK]) for value in values], dtype=np.int64),
            hidden_P=np.array([value[c.HIDDEN].bool_val for value in values], dtype=np.bool_),
            known_P=np.array([row.stamp_us > 0 for row in rows], dtype=np.bool_),
            # Unset too in what a version without this feature wrote: then nothing is reduced.
            regular_price_P=np.array([_price(value[c.REGULAR_PRICE]) for value in values], dtype=np.float64),
        )

    def materialized_at(self) -> int:
        """When features of this schema were last materialized, milliseconds since 1970; 0 if never."""
        return self.schemas.materialized_at()

    def claim_events(self, claims: Mapping[str, Claim]) -> AbstractContextManager[EventClaims]:
        """Claims events, by name, for the duration of a block; see claims.claim_events, also for the errors."""
        # For all schemas: a retry may reach another version of the program, and must not be logged twice.
        return claim_events(self.redis, self.schemas.shop, claims)

    def claim_holders(self, names: Collection[str]) -> dict[str, bytes | None]:
        """Who has claimed events, by name; see claims.claim_holders."""
        return claim_holders(self.redis, self.schemas.shop, names)

    def ping(self) -> bool:
        """Whether the online store responds, of a cluster all primary nodes.

        Raises:
            RedisError: It cannot be reached.
        """
        if isinstance(self.redis, RedisCluster):
            return bool(self.redis.ping(target_nodes=RedisCluster.PRIMARIES))
        return bool(self.redis.ping())

    def _events(self, materialized: EventSequence, pushed: EventSequence) -> EventSequence:
        # Usually nothing is pushed: no sort needed. A stored sequence is too long if max_length was lowered since.
        if not len(pushed.event_times) and len(materialized.event_times) <= self.max_length:
            return materialized  # already ordered
        return merge_sequences(materialized, pushed, self.max_length)

    @staticmethod
    def _purchases(materialized: EventSequence, pushed: EventSequence) -> EventSequence:
        return merge_sequences(materialized, pushed) if len(pushed.event_times) else materialized  # already ordered

    def _merged_rows(
        self, events: Mapping[str, EventSequence]
    ) -> list[tuple[EntityKey, dict[str, Value], dt.datetime, dt.datetime]]:
        """The buyers' new rows of the recent view, as Feast writes them; the caller must hold the buyers' locks."""
        entities = [_entity(c.BUYER_ID, buyer_id) for buyer_id in events]
        _, recent_rows, purchase_rows = self._store.read_views(self._config, entities, self._buyer_plan)
        now, rows = _now(), []
        for entity, recent, materialized, new in zip(
            entities, recent_rows, purchase_rows, events.values(), strict=True
        ):
            merged = merge_sequences(_sequence_of(recent), new, self.max_length)
            purchases = merge_sequences(_purchases_of(recent), select(new, new.event_types == PURCHASE))
            # Purchases that materialize has written since need not be stored twice: the arrays would grow for ever.
            purchases = difference(purchases, _purchases_of(materialized))
            # The stored time may be ahead of this machine's clock.
            stamp = max(now, BEFORE_ALL_DATA + dt.timedelta(microseconds=recent.stamp_us + 1))
            rows.append((entity, _recent_values(merged, purchases), stamp, stamp))
        return rows


# ---- stored values ---------------------------------------------------------------------------------------------------


def _entity(join_key: str, value: str) -> EntityKey:
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=value)])


def _sequence_of(row: Row) -> EventSequence:
    """A row's sequence; empty for an unknown buyer, whose values are unset."""
    values = row.values
    keys = values[c.PRODUCT_KEYS].int64_list_val.val
    if not keys:
        return EMPTY_SEQUENCE
    return EventSequence(
        np.array(keys, dtype=np.int64),
        np.array(values[c.EVENT_TYPES].int32_list_val.val, dtype=np.int32),
        np.array(values[c.EVENT_TIMES].int64_list_val.val, dtype=np.int64),
    )


def _purchases_of(row: Row) -> EventSequence:
    """A row's purchases as a sequence, because merging and difference are then the same as for events."""
    keys = row.values[c.PURCHASED_KEYS].int64_list_val.val
    if not keys:
        return EMPTY_SEQUENCE
    times = np.array(row.values[c.PURCHASED_TIMES].int64_list_val.val, dtype=np.int64)
    return EventSequence(np.array(keys, dtype=np.int64), np.full(len(keys), PURCHASE, dtype=np.int32), times)


def _with_keys(events: EventSequence, current_keys: Callable[[Int64Array], Int64Array]) -> EventSequence:
    return events._replace(product_keys=current_keys(events.product_keys))


def _recent_values(events: EventSequence, purchases: EventSequence) -> dict[str, Value]:
    return {
        c.PRODUCT_KEYS: Value(int64_list_val=Int64List(val=events.product_keys.tolist())),
        c.EVENT_TYPES: Value(int32_list_val=Int32List(val=events.event_types.tolist())),
        c.EVENT_TIMES: Value(int64_list_val=Int64List(val=events.event_times.tolist())),
        c.PURCHASED_KEYS: Value(int64_list_val=Int64List(val=purchases.product_keys.tolist())),
        c.PURCHASED_TIMES: Value(int64_list_val=Int64List(val=purchases.event_times.tolist())),
    }


# An unset protobuf value reads as 0, which is a valid price and a valid stock.
def _price(value: Value) -> float:
    return value.double_val if value.HasField("double_val") else math.nan


def _stock(value: Value) -> int:
    return value.int64_val if value.HasField("int64_val") else -1


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
