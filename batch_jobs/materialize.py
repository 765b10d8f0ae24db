"""Materialize: copies the newest features to the online store, if the data gate has passed them."""

import contextlib
import io
from typing import Any

from expectations.gate import passed_copies
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore


def materialize(config: Config, store: FeatureStore, *, full: bool) -> dict[str, Any]:
    """Copies features that the online store does not hold yet from Parquet to Redis, through Feast.

    Args:
        config: The configuration.
        store: The shop's feature store.
        full: Copy all features, not only those built since the last time; for an online store that lost some of them.

    Returns:
        {"full", "written": the numbers of "buyers" and "products" that were written, "schema_hash"}.

    Raises:
        GateRefusedError: The files have not passed the data gate, or have another schema; nothing was written.
        FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
    """
    since = store.first_unwritten(full=full)
    # Feast prints its progress, but stdout must contain only the result of the command.
    with passed_copies(shop_paths(config), since) as copies, contextlib.redirect_stdout(io.StringIO()):
        written = store.materialize(full=full, copies=copies, since=since)
    return {"full": full, "written": written, "schema_hash": store.schema_hash}
