"""The gate before promote: judges a candidate release against the live one, as both would serve.

Both are measured on days that neither model was trained on, with popularity and co-occurrence of products as they were
known before these days; the release's own count them. ADR 0016 has the reasons and the figures.

Legend: B buyers, N products of a release, U products of any of both, D dimensions.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from batch_jobs.event_counts import co_occurrence_of, of_products, popular_products, recent_popularity_of
from batch_jobs.release_gate import limits
from batch_jobs.release_gate.measures import (
    index_recall,
    latencies_ms,
    measure,
    union_keys,
    with_known_targets,
)
from batch_jobs.release_gate.table import Judgement
from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float32Array
from feature_repo.common.config import Config
from training.artifacts.recommender import Recommender, SchemaMismatchError
from training.artifacts.release import read_manifest
from training.evaluation.served_buyers import ServedBuyer, Window, read_served_buyers

log = logging.getLogger(__name__)

MIN_WINDOW = dt.timedelta(days=1)
MILLISECOND = dt.timedelta(milliseconds=1)


@dataclass(frozen=True)
class ReleasePair:
    """The releases that are compared; `live` is None if there is none that can be measured."""

    candidate: Recommender
    live: Recommender | None

    @property
    def both(self) -> list[Recommender]:
        """The candidate, and the live one if there is one."""
        return [self.candidate] if self.live is None else [self.candidate, self.live]


def judge(config: Config, candidate: Path, live: Path | None, events: pd.DataFrame, schema_hash: str) -> Judgement:
    """Judges a candidate; nothing is written.

    Args:
        config: The configuration; section `release` has the limits.
        candidate: Folder of the candidate release.
        live: Folder of the live release; None without one.
        events: All canonical events, from event_counts.read_events.
        schema_hash: Schema hash of this code and configuration.

    Raises:
        ValueError: The candidate is damaged.
    """
    judgement = Judgement(None if live is None else live.name)
    releases = ReleasePair(
        Recommender(candidate, schema_hash=schema_hash), _loaded(live, schema_hash, judgement) if live else None
    )
    if live is None:
        judgement.notes.append("no release is live: absolute limits alone decide")
    if not limits.judge_vectors(judgement, releases.candidate):
        return judgement  # nothing can be ranked by such vectors
    judgement.comparable = None if releases.live is None else (releases.live, releases.candidate)
    limits.judge_sizes(judgement, config.release, releases.candidate, releases.live, _n_products(live))
    window, buyers, comparable = _window(config, releases, judgement)
    vectors_BD = np.empty((0, releases.candidate.dim), dtype=np.float32)
    if buyers:
        measured = releases if comparable else ReleasePair(releases.candidate, None)
        vectors_BD = _judge_quality(config, measured, judgement, window, buyers, events)
    limits.judge_index(judgement, config.index.min_recall, index_recall(releases.candidate, vectors_BD))
    if releases.live is not None and buyers:
        limits.judge_latency(judgement, *latencies_ms([releases.candidate, releases.live], buyers))
    return judgement


def _loaded(folder: Path, schema_hash: str, judgement: Judgement) -> Recommender | None:
    """The live release; None, with a note, if it cannot be compared."""
    try:
        return Recommender(folder, schema_hash=schema_hash)
    except (ValueError, OSError, SchemaMismatchError) as error:
        judgement.notes.append(f"absolute limits alone decide, because the live release cannot be measured: {error}")
        return None


def _n_products(live: Path | None) -> int | None:
    """The number of products of a live release that need not be readable otherwise."""
    try:
        return None if live is None else read_manifest(live).get("n_products")
    except ValueError:
        return None


# ---- the window ------------------------------------------------------------------------------------------------------


def _window(config: Config, releases: ReleasePair, judgement: Judgement) -> tuple[Window, list[ServedBuyer], bool]:
    """The days to measure on, their buyers, and whether the live release can be measured on them, too."""
    candidate, live = releases.candidate, releases.live
    end = _moment(candidate.as_of_ms)
    own_start = _trained_until(candidate)
    keys_U = union_keys(releases.both)
    if live is not None:
        window = Window(max(own_start, _trained_until(live)), end)
        problem = f"only {max(end - window.start, dt.timedelta())} of data are new to both models"
        if end - window.start >= MIN_WINDOW:
            buyers = with_known_targets(read_served_buyers(config, window), keys_U)
            n_buyers = len({buyer.number for buyer in buyers})
            if n_buyers >= limits.MIN_BUYERS:
                return _noted(judgement, window, buyers, comparable=True)
            problem = f"only {n_buyers} buyers can be measured on the days that are new to both models"
        judgement.notes.append(f"absolute limits alone decide: {problem}")
    window = Window(own_start, end)
    buyers = with_known_targets(read_served_buyers(config, window), keys_U) if end > own_start else []
    if not buyers:
        judgement.notes.append("quality was not judged: no buyer of the test days has a history and a product to find")
    return _noted(judgement, window, buyers, comparable=False)


def _noted(
    judgement: Judgement, window: Window, buyers: list[ServedBuyer], *, comparable: bool
) -> tuple[Window, list[ServedBuyer], bool]:
    if buyers:
        judgement.window = {
            "from": window.start.isoformat(),
            "to": window.end.isoformat(),
            "buyers": len({buyer.number for buyer in buyers}),
        }
    return window, buyers, comparable


def _trained_until(recommender: Recommender) -> dt.datetime:
    """The moment from which on events are new to a model."""
    # A model of an older version does not say. It cannot have seen more than the data of its release.
    until = recommender.card.trained_until
    return _moment(recommender.as_of_ms) if until is None else dt.datetime.fromisoformat(until)


def _moment(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


# ---- quality ---------------------------------------------------------------------------------------------------------


def _judge_quality(
    config: Config,
    releases: ReleasePair,
    judgement: Judgement,
    window: Window,
    buyers: list[ServedBuyer],
    events: pd.DataFrame,
) -> Float32Array:
    """Judges the lists of the window's buyers; returns the candidate's buyer vectors."""
    keys_U = union_keys(releases.both)
    before = events[events[c.EVENT_TIME] < window.start]
    measured = [
        measure(
            _before_the_window(recommender, before, window), buyers, keys_U, _hidden(recommender, releases.candidate)
        )
        for recommender in releases.both
    ]
    limits.judge_lists(judgement, config.release, measured[0], measured[1] if len(measured) > 1 else None)
    return measured[0].vectors_BD


def _before_the_window(recommender: Recommender, before: pd.DataFrame, window: Window) -> Recommender:
    """The release with what it counts in the events as it was before the window."""
    events, end = of_products(before, recommender.products.keys_N), window.start - MILLISECOND
    n_products = len(recommender)
    return recommender.as_of(
        window.start_ms,
        popular_products(events, end, n_products),
        recent_popularity_of(events, end, n_products, recommender.rescorer),
        co_occurrence_of(events, end, n_products, recommender.rescorer),
    )


def _hidden(recommender: Recommender, newest: Recommender) -> BoolArray:
    """(N,) hidden products, by the newest flags: the service reads them from the online store for every release."""
    positions_N = newest.products.positions(recommender.products.keys_N)
    hidden_N: BoolArray = np.where(
        positions_N >= 0, newest.products.hidden_N[positions_N], recommender.products.hidden_N
    )
    return hidden_N
