"""The shadow page: the lists of the live release and of a candidate, for buyers of the shop, side by side.

It holds neither ids nor histories of buyers. `tawsiya forget` deletes it all the same, because a list says something
about the purchases that it was made from.

Legend: K results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from batch_jobs.popularity import POPULARITY_DAYS
from batch_jobs.release_gate.measures import K
from batch_jobs.release_gate.table import figure_text, interval_text
from feature_repo import columns as c
from feature_repo.common.arrays import Int32Array
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal, replacing
from feature_repo.common.paths import shop_paths
from feature_repo.online.features import BuyerFeatures
from feature_repo.store import FeatureStore
from training.artifacts.recommender import Recommender
from training.evaluation.list_agreement import overlap, rank_biased_overlap
from training.evaluation.served_lists import served_lists

SHOWN_BUYERS, SAMPLE = 10, 500
OVERLAP_STEPS = 10  # bars of the distribution of the overlap

_TEMPLATES = Environment(
    loader=PackageLoader("batch_jobs.release_gate"),
    autoescape=True,  # titles come from the shop
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)

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


def write_shadow_page(
    config: Config, store: FeatureStore, live: Recommender, candidate: Recommender, gate: Mapping[str, Any]
) -> Path:
    """Writes the page; returns its path.

    Args:
        config: The configuration.
        store: The feature store, for the histories of buyers.
        live: The live release.
        candidate: The candidate.
        gate: The judgement.

    Raises:
        RedisError: The online store cannot be reached.
    """
    paths = shop_paths(config)
    buyers = [buyer for buyer in _recent_buyers(config, store) if len(buyer.events.event_times)]
    compared = compare(live, candidate, buyers)
    page = _TEMPLATES.get_template("shadow.html.j2").render(
        live=live.name,
        candidate=candidate.name,
        verdict=gate["verdict"],
        reasons=gate["reasons"],
        notes=gate["notes"],
        rows=[_row(row) for row in gate["rows"]],
        k=K,
        n_buyers=len(compared),
        mean_overlap=float(np.mean([pair.overlap for pair in compared])) if compared else 0.0,
        mean_rbo=float(np.mean([pair.rbo for pair in compared])) if compared else 0.0,
        bars=_bars(compared),
        different=sorted(compared, key=lambda pair: pair.rbo)[:SHOWN_BUYERS],
    )
    with replacing(paths.shadow_page) as temporary:
        temporary.write_text(page.lstrip() + "\n", encoding="utf-8")
    return paths.shadow_page


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


def _row(row: Mapping[str, Any]) -> list[str]:
    values = [figure_text(row["live"]), figure_text(row["candidate"])]
    return [row["figure"], *values, interval_text(row["interval"]), row["limit"], row["verdict"]]


def _bars(compared: Sequence[Compared]) -> list[tuple[str, int, float]]:
    """Label, number of buyers and width in percent of each bar of the distribution of the overlap."""
    steps = [min(int(pair.overlap * OVERLAP_STEPS), OVERLAP_STEPS - 1) for pair in compared]
    counts = np.bincount(steps, minlength=OVERLAP_STEPS).tolist() if steps else [0] * OVERLAP_STEPS
    most = max(counts) or 1
    return [
        (f"{step / OVERLAP_STEPS:.1f} – {(step + 1) / OVERLAP_STEPS:.1f}", count, 100 * count / most)
        for step, count in enumerate(counts)
    ]
