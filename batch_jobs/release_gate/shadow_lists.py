"""The record of lists in shadow: those of the live release and of a candidate, for the same buyers of the shop.

The report on the release shows it. It holds neither ids nor histories of buyers. `tawsiya forget` deletes it all the
same, because a list says something about the purchases that it was made from.

Legend: K results.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from batch_jobs.event_counts import POPULARITY_DAYS
from batch_jobs.release_gate.measures import K
from feature_repo import columns as c
from feature_repo.common.arrays import Int32Array
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal, write_json
from feature_repo.common.paths import shop_paths
from feature_repo.online.features import BuyerFeatures
from feature_repo.store import FeatureStore
from training.artifacts.recommender import Recommender
from training.evaluation.list_agreement import overlap, rank_biased_overlap
from training.evaluation.served_lists import served_lists

SHOWN_BUYERS, SAMPLE = 10, 500
OVERLAP_STEPS = 10  # of the distribution of the overlap

Titled = tuple[str, str]  # product id and title


@dataclass(frozen=True)
class Compared:
    """The lists of one buyer, best product first.

    Attributes:
        live, candidate: Product ids and titles.
        overlap: Share of common products.
        rbo: Rank-biased overlap.
    """

    live: list[Titled]
    candidate: list[Titled]
    overlap: float
    rbo: float


def record_shadow_lists(config: Config, store: FeatureStore, live: Recommender, candidate: Recommender) -> None:
    """Compares the lists of both releases and writes the record.

        {"live", "candidate": names of the releases, "k", "buyers": their number, "overlap", "rbo": means over buyers,
         "steps": numbers of buyers by their overlap, in OVERLAP_STEPS equal steps, "different": the buyers whose lists
         differ most, each {"live", "candidate": [[product id, title]], "overlap", "rbo"}}

    Args:
        config: The configuration.
        store: The feature store, for the histories of buyers.
        live: The live release.
        candidate: The candidate.

    Raises:
        RedisError: The online store cannot be reached.
    """
    buyers = [buyer for buyer in _recent_buyers(config, store) if len(buyer.events.event_times)]
    compared = compare(live, candidate, buyers)
    content = {
        "live": live.name,
        "candidate": candidate.name,
        "k": K,
        "buyers": len(compared),
        "overlap": float(np.mean([pair.overlap for pair in compared])) if compared else None,
        "rbo": float(np.mean([pair.rbo for pair in compared])) if compared else None,
        "steps": _steps(compared),
        "different": [asdict(pair) for pair in sorted(compared, key=lambda pair: pair.rbo)[:SHOWN_BUYERS]],
    }
    write_json(shop_paths(config).shadow_lists, content)


def compare(live: Recommender, candidate: Recommender, buyers: Sequence[BuyerFeatures]) -> list[Compared]:
    """The lists of both releases for each buyer, as they would be served now."""
    lists = [_titled(release, served_lists(release, buyers, K, release.products.hidden_N).positions_BK)
             for release in (live, candidate)]  # fmt: skip
    compared = []
    for of_live, of_candidate in zip(*lists, strict=True):
        first, second = ([product_id for product_id, _ in products] for products in (of_live, of_candidate))
        compared.append(Compared(of_live, of_candidate, overlap(first, second), rank_biased_overlap(first, second)))
    return compared


def _titled(release: Recommender, positions_BK: Int32Array) -> list[list[Titled]]:
    rows = [[release.products.row(position) for position in row if position >= 0] for row in positions_BK.tolist()]
    return [[(product[c.PRODUCT_ID], product[c.TITLE] or product[c.PRODUCT_ID]) for product in row] for row in rows]


def _recent_buyers(config: Config, store: FeatureStore) -> list[BuyerFeatures]:
    """What the online store has of a sample of the buyers of the last days."""
    query = f"""
        WITH events AS (FROM read_parquet($events))
        SELECT DISTINCT {c.BUYER_ID} FROM events
        WHERE {c.EVENT_TIME} >= (SELECT max({c.EVENT_TIME}) FROM events) - to_days({POPULARITY_DAYS})
        ORDER BY hash({c.BUYER_ID}), {c.BUYER_ID} LIMIT {SAMPLE}
    """
    with duckdb_session(config, "refresh") as db:
        rows = db.execute(query, {"events": glob_literal(shop_paths(config).events)}).fetchall()
    return store.online.read_buyers([buyer_id for (buyer_id,) in rows]) if rows else []


def _steps(compared: Sequence[Compared]) -> list[int]:
    """The number of buyers in each step of the overlap."""
    steps = [min(int(pair.overlap * OVERLAP_STEPS), OVERLAP_STEPS - 1) for pair in compared]
    return [steps.count(step) for step in range(OVERLAP_STEPS)]
