"""All keys of a shop in the online store, whatever version of Tawsiya wrote them, and the erasure of single buyers."""

import re
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis.exceptions import RedisError, ResponseError

from feature_repo import columns as c
from feature_repo.common.word_index import WordIndex
from feature_repo.online.stored_schemas import SCHEMA_DIGITS

SCAN_COUNT = 1_000  # keys that Redis looks at per call
KEYS_PER_CALL = 1_000  # keys that Redis deletes per call
_EVENT_WORD = re.compile(r"[^\W_]+")
POLL_SECONDS = 0.05
ENTITY_KEY_VERSION = 3  # as in feature_store.yaml


def shop_keys(redis: Any, shop: str) -> Iterator[bytes]:
    """The keys of a shop: its own ones, and rows of all schemas.

    Args:
        redis: The client.
        shop: What they begin or end with (see stored_schemas.shop_prefix); a schema may follow in rows.
    """
    # Only the two ends of a key tell whose it is: a buyer's id may hold any text, the name of another shop, too.
    own = re.compile(rb"%s(?:_[0-9a-f]{%d})?(?::|\Z)" % (shop.encode(), SCHEMA_DIGITS))
    row_end = re.compile(rb"%s(?:_[0-9a-f]{%d})?\Z" % (shop.encode(), SCHEMA_DIGITS))
    # The name has letters, digits and underscores, so it is no pattern.
    for key in redis.scan_iter(match=f"*{shop}*", count=SCAN_COUNT):
        if own.match(key) or row_end.search(key):
            yield key


def delete_buyers(redis: Any, shop: str, buyer_ids: Collection[str]) -> int:
    """Deletes what the store holds of buyers: rows, locks, whom they became, claims on events whose id contains theirs.

    Returns:
        The number of deleted keys.
    """
    theirs = filter(_BuyerKeys(shop, buyer_ids).holds, shop_keys(redis, shop))
    deleted = 0
    while keys := list(islice(theirs, KEYS_PER_CALL)):
        with redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.delete(key)
            deleted += sum(pipeline.execute())
    return deleted


class _BuyerKeys:
    """Tells a shop's keys of some buyers from others; the time per key does not grow with the number of buyers."""

    def __init__(self, shop: str, buyer_ids: Collection[str]) -> None:
        schema = rf"(?:_[0-9a-f]{{{SCHEMA_DIGITS}}})?"
        self._row_end = re.compile(rf"{shop}{schema}\Z".encode())
        self._own = re.compile(rf"{shop}{schema}:(?:(?:lock|merged):(?P<buyer>.*)|event:id:(?P<event>.*))", re.DOTALL)
        self._rows = frozenset(map(_entity_bytes, buyer_ids))
        self._buyers = frozenset(buyer_ids)
        self._words = WordIndex(self._buyers, _EVENT_WORD)

    def holds(self, key: bytes) -> bool:
        """Whether a key is one of these buyers: a row, a lock, whom they became, a claim on an event with their id."""
        if (end := self._row_end.search(key)) and key[: end.start()] in self._rows:
            return True
        own = self._own.fullmatch(key.decode(errors="replace"))
        if own is None:
            return False
        return own["buyer"] in self._buyers if own["event"] is None else self._in_event_id(own["event"])

    def _in_event_id(self, event_id: str) -> bool:
        # Shops make event ids of buyer ids, such as 12_7: so a part, if no letter or digit is beside it.
        found = map(re.escape, self._words.candidates(event_id))
        return any(re.search(rf"(?:\A|[\W_]){part}(?:[\W_]|\Z)", event_id) for part in found)


def rewrite_files(redis: Any) -> list[str]:
    """Has each server rewrite its files of data, which hold deleted rows until then, and waits for it.

    Returns:
        What could not be done, a line each.
    """
    problems = []
    for node in _servers(redis):
        try:
            _rewrite(node)
        except RedisError as error:
            reason = str(error).partition("\n")[0]
            problems.append(
                f"the files of the online store were not rewritten ({reason}); run BGREWRITEAOF and BGSAVE there"
            )
    return problems


def _servers(redis: Any) -> Sequence[Any]:
    """A client for each server: one, or those of a cluster."""
    if not hasattr(redis, "get_nodes"):
        return [redis]
    return [redis.get_redis_connection(node) for node in redis.get_nodes()]


def _rewrite(server: Any) -> None:
    if _idle_state(server)["aof_enabled"]:
        server.bgrewriteaof()
        if _idle_state(server)["aof_last_bgrewrite_status"] != "ok":
            raise ResponseError("the rewrite failed")
    # Without save points nobody asked for a snapshot.
    if server.config_get("save").get("save"):
        server.bgsave()
        if _idle_state(server)["rdb_last_bgsave_status"] != "ok":
            raise ResponseError("the snapshot failed")


def _idle_state(server: Any) -> dict[str, Any]:
    """What the server says of its files once it writes none in the background."""
    while True:
        state: dict[str, Any] = server.info("persistence")
        if not any(
            state.get(name) for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
        ):
            return state
        time.sleep(POLL_SECONDS)


def _entity_bytes(buyer_id: str) -> bytes:
    """What Feast's key of a buyer begins with; the name of the project follows."""
    entity = EntityKey(join_keys=[c.BUYER_ID], entity_values=[Value(string_val=buyer_id)])
    serialized: bytes = serialize_entity_key(entity, entity_key_serialization_version=ENTITY_KEY_VERSION)
    return serialized
