"""Which feature schemas of a shop the online store holds, and since when.

Two versions of the program may use one Redis during an upgrade. Their features may differ, so the name of the Feast
project, which ends the key of each row, ends with the schema. A hash per shop says when each schema was materialized:

    tawsiya_<shop>:schemas    {<schema>: "<milliseconds since 1970> <feature build>"}

See docs/adr/0010.
"""

import datetime as dt
import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from feast.infra.online_stores.helpers import _redis_key_prefix

from feature_repo import columns as c
from feature_repo.common.errors import OtherSchemaError

log = logging.getLogger(__name__)

SCHEMA_DIGITS = 8
# Version 0.1.0 had no schema in its keys. It recorded its materialize in <shop>:materialized_at.
UNNAMED_SCHEMA = ""
# The running schema and the one before, whose program may still serve during an upgrade.
KEPT_SCHEMAS = 2
KEYS_PER_SCAN = 1_000


def shop_prefix(folder_name: str) -> str:
    """The beginning of a shop's own keys and of its projects' names; of one length for all shops."""
    return f"tawsiya_{hashlib.sha256(folder_name.encode()).hexdigest()[:12]}"


def project_name(shop: str, schema_hash: str) -> str:
    """Name of the Feast project of a shop (see shop_prefix) and schema.

    It ends the key of each row. All names have one length, so that no name is the end of another one.
    """
    return f"{shop}_{schema_hash[:SCHEMA_DIGITS]}"


class StoredSchemas:
    """The schemas of one shop in the online store.

    Attributes:
        shop: Beginning of the shop's own keys; see shop_prefix.
    """

    def __init__(self, redis: Any, shop: str, schema_hash: str) -> None:
        """Sends nothing to Redis; `schema_hash` is the running program's."""
        self.shop = shop
        self._redis, self._schema = redis, schema_hash[:SCHEMA_DIGITS]

    def materialized_at(self) -> int:
        """When features of the running program's schema were last materialized, milliseconds since 1970; 0 if never."""
        return _entry(self._redis.hget(self._key, self._schema))[0]

    def materialized_build(self) -> str:
        """The feature build (`as_of`) that was materialized then; empty if never."""
        return _entry(self._redis.hget(self._key, self._schema))[1]

    def record_materialized(self, moment: dt.datetime, build: str) -> None:
        """Records when a materialize of the running program's schema ended, and the feature build that it wrote."""
        self._redis.hset(self._key, self._schema, f"{int(moment.timestamp() * 1000)} {build}")

    def others(self) -> list[str]:
        """The schemas other than the running program's whose rows the store holds, the newest first."""
        times = {name.decode(): _entry(value)[0] for name, value in self._redis.hgetall(self._key).items()}
        if unnamed := self._redis.get(self._unnamed_key):
            times[UNNAMED_SCHEMA] = int(unnamed)
        times.pop(self._schema, None)
        return sorted(times, key=lambda name: times[name], reverse=True)

    def require(self) -> None:
        """Checks that the store holds features of the running program's schema, or none of this shop.

        Raises:
            OtherSchemaError: It holds only those of other schemas. Every buyer would be a new one, without a word.
        """
        if self.materialized_at():
            return
        others = self.others()
        if others:
            raise OtherSchemaError(
                f"the online store holds this shop's features of {_named(others[0])}, none of this "
                f"program's schema {self._schema}; run `tawsiya materialize --full`"
            )
        log.warning("the online store holds no features of this shop; until `tawsiya materialize`, buyers are new ones")

    def delete_old(self) -> int:
        """Deletes the rows of all but the newest KEPT_SCHEMAS schemas; returns their number.

        It reads the names of all keys of the server, a batch at a time, but only if there are such schemas.
        """
        others = self.others()
        old = others[KEPT_SCHEMAS - 1 :]
        if not old:
            return 0
        deleted = 0
        rows = self._rows(kept={self._schema, *others[: KEPT_SCHEMAS - 1]})
        while keys := list(islice(rows, KEYS_PER_SCAN)):
            with self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.unlink(key)
                deleted += sum(pipeline.execute())
        # Last: after a crash, the next call finds them again.
        self._redis.hdel(self._key, *old)
        if UNNAMED_SCHEMA in old:
            self._redis.delete(self._unnamed_key)
        return deleted

    def _rows(self, kept: Collection[str]) -> Iterator[bytes]:
        """The keys of the shop's rows of other schemas than `kept`."""
        shop = self.shop.encode()
        # A buyer's id may hold any text, the names of other projects too. Only the two ends of a key tell what it is.
        starts = tuple(_redis_key_prefix([entity]) for entity in (c.BUYER_ID, c.PRODUCT_ID))
        end = re.compile(re.escape(shop) + rb"(?:_([0-9a-f]{%d}))?\Z" % SCHEMA_DIGITS)
        keys: Iterable[bytes] = self._redis.scan_iter(match=b"*" + shop + b"*", count=KEYS_PER_SCAN)
        for key in keys:
            found = end.search(key)
            if found and key.startswith(starts) and (found[1] or b"").decode() not in kept:
                yield key

    @property
    def _key(self) -> str:
        return f"{self.shop}:schemas"

    @property
    def _unnamed_key(self) -> str:
        return f"{self.shop}:materialized_at"


def _entry(value: bytes | None) -> tuple[int, str]:
    time, _, build = (value or b"0").decode().partition(" ")
    return int(time), build


def _named(schema: str) -> str:
    return "version 0.1.0" if schema == UNNAMED_SCHEMA else f"schema {schema}"
