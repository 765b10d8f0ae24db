"""The Prometheus metrics of the service; docs/observability.md explains each of them."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from feature_repo.common.search_log import SearchOutcome
from online_api.observability.recent_lists import RecentLists

Stage = Literal["queue", "features", "encode", "search", "rank"]
EventOutcome = Literal["accepted", "duplicate", "rejected", "pending", "replayed", "unknown_product", "expired"]
MergeCount = Literal["merged", "known", "pending", "other_account"]
Rejection = Literal["overload", "rate_limit", "unauthorised", "too_large", "too_slow"]
StoreError = Literal["timeout", "connection", "other"]
LoadOutcome = Literal["loaded", "failed"]
ShadowOutcome = Literal["compared", "failed", "dropped", "no_candidate"]
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# 50 microseconds to 5 seconds in steps of 1-2-5: targets are at one to two milliseconds, time-outs at seconds.
DURATION_BUCKETS = (50e-6, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
OVERLAP_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

InstrumentT = TypeVar("InstrumentT", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one application, in a registry of its own.

    A labelled metric is a function of its label values: `metrics.stage_seconds("search").observe(0.001)`. It caches the
    results of prometheus_client's `labels()`, which costs more than an observation. Label values must come from small
    fixed sets, never from a request.

    Values are kept in memory, or in files in a folder that several worker processes share. Then `render` combines the
    values of all workers. Each worker process may have one `Metrics` only, because the files are per process.
    """

    def __init__(self, shared_folder: Path | None = None) -> None:
        """Creates all metrics. Series with known label values start at 0, so that the first increase shows in rates.

        Args:
            shared_folder: The folder that the workers share; `$PROMETHEUS_MULTIPROC_DIR` must have named it before
                prometheus_client was imported. None keeps the values in memory.
        """
        if shared_folder is None:
            # Importing Feast sets the variable to a folder of its own. prometheus_client would then write values to
            # files, at three times the cost, and two applications in one process would share them.
            values.ValueClass = values.MutexValue
        else:
            assert values.ValueClass is not values.MutexValue, f"${MULTIPROCESS_VARIABLE} was set too late"
        # Otherwise each counter has a second series with its creation time, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._shared_folder = shared_folder
        self._registry = CollectorRegistry()
        self._make_request_metrics()
        self._make_store_metrics()
        self._make_load_metrics()
        self._make_release_metrics()
        self._make_shadow_metrics()
        self._live_release: str | None = None

    def _make_request_metrics(self) -> None:
        self.request_seconds = _children(
            self._histogram(
                "request_seconds", "Time of requests, in seconds", DURATION_BUCKETS, "route", "method", "status"
            )
        )
        self.stage_seconds = _children(
            self._histogram("stage_seconds", "Time of the stages of requests, in seconds", DURATION_BUCKETS, "stage")
        )
        self.answers = _children(self._counter("answers", "Lists, by their source", "source"))
        self.fallbacks = _children(
            self._counter("fallbacks", "Lists of popular products in place of the requested list", "reason")
        )
        self.degraded = _children(self._counter("degraded", "Lists made while a part was down", "reason"))
        self.rejected = _children(self._counter("rejected", "Requests refused before they were handled", "reason"))
        self.recent_lists = RecentLists()
        self._list_overlap = self._newest(
            "list_overlap", "Mean share of the first 10 products that the lists of two buyers have in common"
        )
        self._list_overlap_buyers = self._newest("list_overlap_buyers", "Buyers whose lists list_overlap compares")
        self.searches = _children(self._counter("searches", "Searches, by what came of them", "outcome"))
        for outcome in get_args(SearchOutcome):
            self.searches(outcome)
        for stage in get_args(Stage):
            self.stage_seconds(stage)
        for reason in get_args(Rejection):
            self.rejected(reason)

    def _make_store_metrics(self) -> None:
        self.store_errors = _children(self._counter("store_errors", "Failed calls of the online store", "kind"))
        self.breaker_state = self._gauge("breaker_state", "Circuit breaker: 0 closed, 1 half open, 2 open", "livemax")
        self.breaker_opened = self._counter("breaker_opened", "Times that the circuit breaker opened")
        self.events = _children(self._counter("events", "Events received", "outcome"))
        self.merges = _children(self._counter("merges", "Merges of guests into buyers", "outcome"))
        self.pending_events = self._gauge(
            "pending_events", "Events in the event log that are not yet in the online store", "mostrecent"
        )
        self.unknown_product_events = self._gauge(
            "unknown_product_events", "Events that wait until the live release knows their product", "mostrecent"
        )
        for kind in get_args(StoreError):
            self.store_errors(kind)
        for outcome in get_args(EventOutcome):
            self.events(outcome)
        for outcome in get_args(MergeCount):
            self.merges(outcome)

    def _make_load_metrics(self) -> None:
        self.queue_depth = self._gauge("queue_depth", "Requests waiting for a batch", "livesum")
        self.batch_size = self._histogram("batch_size", "Requests answered in one batch", BATCH_SIZES)

    def _make_release_metrics(self) -> None:
        self._release_info = _children(self._gauge("release_info", "1 for the live release", "livemax", "release"))
        self._release_created = self._newest("release_created_seconds", "Unix time at which the live release was made")
        self.release_loads = _children(self._counter("release_loads", "Attempts to load a release", "outcome"))
        for outcome in get_args(LoadOutcome):
            self.release_loads(outcome)
        self.features_as_of = self._newest("features_as_of_seconds", "Unix time of the newest materialized features")
        self.live_products_refreshed = self._newest(
            "live_products_refreshed_seconds", "Unix time at which prices, stock and hidden flags were last read"
        )

    def _make_shadow_metrics(self) -> None:
        self.shadow = _children(self._counter("shadow", "Lists that a candidate release made, too", "outcome"))
        self.shadow_seconds = self._histogram(
            "shadow_seconds", "Time of the candidate release's lists, in seconds", DURATION_BUCKETS
        )
        self.shadow_overlap = self._histogram(
            "shadow_overlap", "Share of products that both releases' lists have in common", OVERLAP_BUCKETS
        )
        for outcome in get_args(ShadowOutcome):
            self.shadow(outcome)

    def release_is_live(self, name: str, created: float) -> None:
        """Records the release that is live from now on, and when it was made (Unix time in seconds)."""
        if self._live_release is not None:
            # Set to 0, not removed: a shared folder cannot remove a series.
            self._release_info(self._live_release).set(0)
        self._live_release = name
        self._release_info(name).set(1)
        self._release_created.set(created)

    def render(self) -> tuple[bytes, str]:
        """All values in the Prometheus text format, and its content type. Takes milliseconds; call it in a thread."""
        buyers, share = self.recent_lists.overlap()
        self._list_overlap_buyers.set(buyers)
        self._list_overlap.set(share)
        registry = self._registry
        if self._shared_folder is not None:
            _forget_dead_processes(self._shared_folder)
            registry = CollectorRegistry()
            registry.register(_OurMetrics(None, str(self._shared_folder)))  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"tawsiya_{name}", documentation, labels, registry=self._registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tawsiya_{name}", documentation, labels, registry=self._registry, buckets=buckets)

    def _gauge(
        self, name: str, documentation: str, over_workers: Literal["livemax", "livesum", "mostrecent"], *labels: str
    ) -> Gauge:
        return Gauge(f"tawsiya_{name}", documentation, labels, registry=self._registry, multiprocess_mode=over_workers)

    def _newest(self, name: str, documentation: str) -> Gauge:
        """A gauge with the value that any worker set last."""
        return self._gauge(name, documentation, "mostrecent")


def _children(instrument: InstrumentT) -> Callable[..., InstrumentT]:
    return functools.cache(instrument.labels)


class _OurMetrics(MultiProcessCollector):
    """The values of all processes in the folder, without metrics of libraries (Feast has a dozen, all 0 here)."""

    def collect(self) -> Iterable[Metric]:
        return [metric for metric in super().collect() if metric.name.startswith("tawsiya_")]  # type: ignore[no-untyped-call]


def _forget_dead_processes(folder: Path) -> None:
    """Drops the gauges of workers that have ended: an open breaker of a dead worker must not count for ever."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not _is_running(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 tests whether the process exists, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs as another user
    return True
