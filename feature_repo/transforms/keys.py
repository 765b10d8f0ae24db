"""Product keys: what sequences store instead of product ids."""

import hashlib
from collections.abc import Sequence

import numpy as np

from feature_repo.common.arrays import Int64Array


def product_key(product_id: str) -> int:
    """The product key of an id: a non-negative 63-bit hash, the same on every machine and in every release."""
    # A hash and not a row number: keys stay valid when the catalogue changes. Python's hash() differs per process.
    digest = hashlib.blake2b(product_id.encode("utf-8"), digest_size=8).digest()
    # 63 bits fit into a signed int64, the widest integer type of Feast, without negative values.
    return int.from_bytes(digest, "big") >> 1


def product_keys(product_ids: Sequence[str]) -> Int64Array:
    """The product keys of N ids, (N,) int64.

    Raises:
        ValueError: Two different ids have the same key (a chance of about 1 in 10^9 for 100,000 products).
    """
    keys = np.fromiter((product_key(product_id) for product_id in product_ids), dtype=np.int64, count=len(product_ids))
    # The loop in Python runs only in the rare case of a collision.
    if len(np.unique(keys)) != len(set(product_ids)):
        id_of_key: dict[int, str] = {}
        for key, product_id in zip(keys.tolist(), product_ids, strict=True):
            if id_of_key.setdefault(key, product_id) != product_id:
                raise ValueError(
                    f"products {id_of_key[key]!r} and {product_id!r} have the same key {key}; rename one of them"
                )
    return keys
