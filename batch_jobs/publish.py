"""The publish job: writes a release, judges it against the live one, and makes it live if it passes the gate."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from redis.exceptions import RedisError

from batch_jobs.event_counts import (
    as_ms,
    co_occurrence_of,
    of_products,
    popular_products,
    read_events,
    recent_popularity_of,
)
from batch_jobs.public_settings import public_settings
from batch_jobs.release_gate.judge import judge
from batch_jobs.release_gate.shadow_lists import record_shadow_lists
from batch_jobs.release_gate.table import Judgement
from expectations.gate import require_passed
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.gate_verdict import GATE, NOT_JUDGED, sealed
from training.artifacts.inspection.product_map import ProductMap
from training.artifacts.lineage import require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.product_table import category_codes, read_product_columns
from training.artifacts.release import (
    ReleaseParts,
    current_release,
    delete_old,
    promote,
    read_manifest,
    record_gate,
    write_release,
)
from training.artifacts.scoring.rescorer import Rescorer
from training.data.catalogue import require_same_products

log = logging.getLogger(__name__)


def publish(config: Config, store: FeatureStore, *, forced_because: str | None = None) -> dict[str, Any]:
    """Writes a release of the shop's artifacts, judges it against the live one, and makes it live if it passes.

    A refused release stays on disk, so that it can be looked at and promoted by force.

    Args:
        config: The configuration; section `release` has the limits of the gate.
        store: The feature store.
        forced_because: Why the release goes live whatever the gate says; recorded in its manifest.

    Returns:
        {"release", "deleted", "gate": the judgement (training.artifacts.gate_verdict), "shadow": path of the report
        that shows its lists beside those of the live release, once it is built, or None}

    Raises:
        FileNotFoundError: An artifact is missing; the message names the command that makes it.
        ValueError: The artifacts were not made from each other.
        GateRefusedError: The data have not passed the data gate, or the release not its own; the live release stays
            live. Of a refused release, `result` has what is returned else.
    """
    paths = shop_paths(config)
    live, events = current_release(paths.releases), read_events(paths)
    name = _write_candidate(config, store, events)
    judgement = judge(config, paths.releases / name, live, events, store.schema_hash)
    compared = _shadow_lists(config, store, judgement)
    record_gate(paths.releases, name, judgement.as_json())
    refused = bool(judgement.reasons) and forced_because is None
    if not refused:
        # A reason that was not needed is not recorded as if the gate had refused.
        promote(paths.releases, name, forced_because=forced_because if judgement.reasons else None)
    deleted = delete_old(paths.releases, config.release.keep)
    gate = read_manifest(paths.releases / name)[GATE]
    result = {
        "release": name,
        "deleted": deleted,
        "gate": gate,
        "shadow": str(paths.release_report) if compared else None,
    }
    if refused:
        raise _refusal(name, live, gate, result)
    return result


def _refusal(name: str, live: Path | None, gate: Mapping[str, Any], result: dict[str, Any]) -> GateRefusedError:
    stays = "no release is live" if live is None else f"release {live.name} stays live"
    error = GateRefusedError(
        f"release {name} is refused: {'; '.join(gate['reasons'])}; {stays}. To promote it all the same: "
        f"`tawsiya release promote {name} --force --reason TEXT`"
    )
    error.result = result
    return error


def _write_candidate(config: Config, store: FeatureStore, events: pd.DataFrame) -> str:
    """Writes the release, which is not live; returns its name. For the errors, see publish."""
    paths = shop_paths(config)
    embeddings = load_embeddings(paths.embeddings)
    products = read_product_columns(paths.product_features)
    require_same_products(embeddings.product_ids, products[c.PRODUCT_ID].to_pylist())
    _, _, card = load_model(paths.model)
    # The API would refuse such a release too; here the message comes before the files are copied.
    if card.schema_hash != store.schema_hash:
        raise ValueError("the model was trained on another feature schema; run `tawsiya train` again")
    _require_lineage(paths)
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    data_end = read_time_split(paths.feature_report).data_end
    of_release, n_products = of_products(events, products[c.PRODUCT_KEY].to_numpy()), len(products)
    rescorer = Rescorer.load(paths.model)
    # After reading: what was read are the files that the gate has passed.
    require_passed(paths)
    parts = ReleaseParts(
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        search_index=paths.search_index,
        shop_lists=paths.shop_lists,
        products=products,
        aliases=pq.read_table(paths.product_aliases),
        popular=popular_products(of_release, data_end, n_products),
        recent_popularity=recent_popularity_of(of_release, data_end, n_products, rescorer),
        co_occurrence=co_occurrence_of(of_release, data_end, n_products, rescorer),
        as_of_ms=as_ms(data_end),
        settings=public_settings(config),
        product_map=ProductMap.build(embeddings.vectors_ND, category_codes(products)),
    )
    return write_release(
        paths.releases,
        parts,
        metrics=evaluation,
        about={
            "dataset": paths.root.name,
            "schema_hash": store.schema_hash,
            "text_encoder": card.text_encoder,
            "n_products": len(embeddings.product_ids),
            GATE: sealed(NOT_JUDGED),
        },
    )


def _shadow_lists(config: Config, store: FeatureStore, judgement: Judgement) -> bool:
    """Records both releases' lists; False if there is nothing to compare, or the store is away."""
    if judgement.comparable is None:
        return False
    try:
        record_shadow_lists(config, store, *judgement.comparable)
    except (RuntimeError, ValueError, OSError, RedisError) as error:
        # It helps people to decide and is no reason to hold up a release.
        judgement.notes.append(f"no lists were compared in shadow: {error}")
        return False
    return True


def _require_lineage(paths: ShopPaths) -> None:
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    require_source(paths.shop_lists, paths.product_features, "tawsiya build-lists")
    for source in (paths.product_features, paths.model / WEIGHTS):
        require_source(paths.search_index, source, "tawsiya index")
