"""Product keys: what sequences store instead of product ids."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def product_key(product_id: str) -> int:
    """A stable non-negative 63-bit key of a product id: the same on every machine and in every release."""
    digest = hashlib.blake2b(product_id.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def product_keys(product_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Keys of N product ids, shape (N,).

    Raises:
        ValueError: Two different ids share a key (about one chance in 10^9 for 100,000 products).
    """
    keys = np.fromiter((product_key(product_id) for product_id in product_ids), dtype=np.int64, count=len(product_ids))
    if len(np.unique(keys)) != len(set(product_ids)):
        owner: dict[int, str] = {}
        for key, product_id in zip(keys.tolist(), product_ids, strict=True):
            if owner.setdefault(key, product_id) != product_id:
                raise ValueError(f"products {owner[key]!r} and {product_id!r} share the key {key}; rename one of them")
    return keys
