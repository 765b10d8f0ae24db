"""Shadow answers: a candidate release answers a share of the requests, too, in the background, and is compared.

Callers never see these answers. One thread of low priority makes them, from the stored features that the answer of the
live release was made from, so the online store is not read again. If the thread falls behind, requests are dropped.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import faiss
from structlog.typing import FilteringBoundLogger

from feature_repo import columns as c
from feature_repo.settings.api import NEWEST_REFUSED
from online_api.lists.list_request import ListResult, Payload, ResolvedRequest
from online_api.lists.live_release import LiveRelease, ReleaseKeeper, low_priority
from online_api.observability.logs import REQUEST_ID
from online_api.observability.metrics import Metrics, ShadowOutcome
from training.artifacts.gate_verdict import GATE, GATE_REFUSED
from training.artifacts.release import CURRENT, list_releases
from training.evaluation.list_agreement import overlap, rank_biased_overlap

log = logging.getLogger(__name__)

MAX_WAITING = 32
CANDIDATE_POLL_SECONDS = 5.0


class AnswerBeside(Protocol):
    """RecommendationService.answer_beside."""

    def __call__(self, release: LiveRelease, resolved: ResolvedRequest, /) -> Payload:
        """The list that another release gives for a request."""


class _Job(NamedTuple):
    request_id: str
    resolved: ResolvedRequest
    product_ids: list[str]  # of the answer
    queued: float  # time.monotonic seconds


class Shadow:
    """Compares answers of the live release with those of a candidate; offer() may be called from any thread."""

    def __init__(
        self,
        keeper: ReleaseKeeper,
        answer: AnswerBeside,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        *,
        release: str,
        share: float,
        timeout_s: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Starts nothing yet.

        Args:
            keeper: Holds the live release, and loads the candidate.
            answer: Makes the list of a candidate.
            metrics: Counts outcomes, overlaps and durations.
            logger: Writes a line for each comparison.
            release: Name of the candidate, or NEWEST_REFUSED.
            share: Share of the requests, between 0 and 1.
            timeout_s: A request that has waited for longer is dropped.
            chance: Returns a random number from 0 to below 1.
        """
        self._keeper, self._answer, self._metrics, self._logger = keeper, answer, metrics, logger
        self._release, self._share, self._timeout_s, self._chance = release, share, timeout_s, chance
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._candidate: LiveRelease | None = None
        self._beside: LiveRelease | None = None  # the live snapshot whose prices and rules the candidate has
        self._unloadable: str | None = None  # name of a candidate that failed to load
        self._reported = False  # whether the log has a failure of this candidate
        self._next_poll = 0.0

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the comparison that it is at."""
        while self._thread.is_alive():
            try:
                self._jobs.put_nowait(None)
                self._thread.join()
            except queue.Full:
                self._drain()

    def offer(self, request_id: str, result: ListResult) -> None:
        """Takes a share of the answers for comparison; returns at once, and never raises.

        Only lists from a history are compared: a list of popular products says nothing about a model.
        """
        if self._chance() >= self._share or result.resolved is None:
            return
        # The vectors of products that only the request knows belong to the live release.
        if result.source not in ("personalised", "session") or result.resolved.request.text_vectors:
            return
        product_ids = [item[c.PRODUCT_ID] for item in result.payload["items"]]
        try:
            self._jobs.put_nowait(_Job(request_id, result.resolved, product_ids, time.monotonic()))
        except queue.Full:
            self._metrics.shadow("dropped").inc()

    # ---- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        faiss.omp_set_num_threads(1)  # per thread
        with low_priority():
            while (job := self._jobs.get()) is not None:
                REQUEST_ID.set(job.request_id)
                self._metrics.shadow(self._outcome(job)).inc()

    def _outcome(self, job: _Job) -> ShadowOutcome:
        if time.monotonic() > job.queued + self._timeout_s:
            return "dropped"
        try:
            candidate = self._current_candidate()
            if candidate is None:
                return "no_candidate" if self._unloadable is None else "failed"
            self._compare(job, candidate)
        # A candidate may be broken in any way, and this thread must go on.
        except Exception:
            if not self._reported:
                self._reported = True
                log.exception("the candidate fails in shadow; its further failures are only counted")
            return "failed"
        return "compared"

    def _compare(self, job: _Job, candidate: LiveRelease) -> None:
        started = time.perf_counter()
        items = self._answer(candidate, job.resolved)["items"]
        seconds = time.perf_counter() - started
        product_ids = [item[c.PRODUCT_ID] for item in items]
        common = overlap(job.product_ids, product_ids)
        self._metrics.shadow_seconds.observe(seconds)
        self._metrics.shadow_overlap.observe(common)
        self._logger.info(
            "shadow",
            release=candidate.recommender.name,
            overlap=round(common, 3),
            rank_biased_overlap=round(rank_biased_overlap(job.product_ids, product_ids), 3),
            duration_ms=round(seconds * 1000, 3),
        )

    def _current_candidate(self) -> LiveRelease | None:
        """The candidate with the live release's present prices and rules; None if there is none that can be loaded."""
        live = self._keeper.live
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + CANDIDATE_POLL_SECONDS
            self._load(self._folder(live.recommender.name), live)
        if self._candidate is not None and self._beside is not live:
            self._candidate, self._beside = self._keeper.updated(self._candidate), live
        return self._candidate

    def _load(self, folder: Path | None, live: LiveRelease) -> None:
        """Makes the release in `folder` the candidate, unless it is already or has failed to load."""
        known = self._unloadable if self._candidate is None else self._candidate.recommender.name
        if folder is not None and folder.name == known:
            return
        self._candidate, self._reported = None, False
        # Set until it is loaded, so that a broken one is not hashed again with every poll.
        self._unloadable = None if folder is None else folder.name
        if folder is not None:
            self._candidate, self._beside = self._keeper.load_beside(folder), live
            self._unloadable = None
            log.info("release %s answers in shadow", folder.name)

    def _folder(self, live: str) -> Path | None:
        """The folder of the candidate; None if there is none, or if it is live by now."""
        releases = self._keeper.releases
        if self._release != NEWEST_REFUSED:
            name = self._release
            # The name comes from the configuration and must not lead out of the folder.
            is_name = Path(name).name == name and name != CURRENT
            return releases / name if is_name and name != live and (releases / name).is_dir() else None
        refused = [
            row["name"]
            for row in list_releases(releases)
            if row.get(GATE, {}).get("verdict") == GATE_REFUSED and row["name"] != live
        ]
        return releases / refused[-1] if refused else None

    def _drain(self) -> None:
        try:
            while True:
                self._jobs.get_nowait()
        except queue.Empty:
            return
