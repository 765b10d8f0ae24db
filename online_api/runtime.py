"""The parts of the service, opened in order and closed in reverse."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.online.features import OnlineFeatures
from feature_repo.store import FeatureStore, feature_store
from online_api.events.event_log import EventLog
from online_api.events.intake import EventIntake
from online_api.events.pending import PendingEvents
from online_api.lists.live_release import ReleaseKeeper
from online_api.lists.request_texts import TextVectors
from online_api.lists.rule_file import RuleFile
from online_api.observability.metrics import Metrics
from online_api.periodic_thread import PeriodicThread
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.service import RecommendationService, now_ms
from training.artifacts.recommender import Recommender
from training.device import resolve_device

WRITE_TIMEOUT_SECONDS = 1.0
WATCH_SECONDS, REPLAY_SECONDS = 1.0, 0.5


if TYPE_CHECKING:
    from training.text.encoder import TextEncoder


@dataclass(frozen=True)
class Runtime:
    """What the routes work with, and the threads that keep it up to date."""

    config: Config
    paths: ShopPaths
    store: FeatureStore
    online: OnlineFeatures
    guard: CircuitBreaker
    keeper: ReleaseKeeper
    service: RecommendationService
    intake: EventIntake
    metrics: Metrics

    @contextmanager
    def kept_up_to_date(self) -> Iterator[None]:
        """For the block, takes over new releases, prices and rules, and replays events that wait for the store."""
        threads = [
            PeriodicThread(self.keeper.look, WATCH_SECONDS, "release-watch"),
            PeriodicThread(self._replay, REPLAY_SECONDS, "event-replay"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.stop()

    def _replay(self) -> None:
        if not self.guard.is_open:
            self.intake.replay()
        self.metrics.pending_events.set(self.intake.pending_count)


@contextmanager
def open_runtime(config: Config, metrics: Metrics | None = None) -> Iterator[Runtime]:
    """The service over the shop's feature store and live release.

    Args:
        config: The configuration.
        metrics: Where it counts; None makes instruments of its own.

    Raises:
        ConfigError: `feature_store.online: redis` without an address.
        FileNotFoundError: No release is live.
        SchemaMismatchError: The live release was made for other features than this code and configuration make.
        ValueError: The live release is damaged, or the device is not there.
    """
    with feature_store(config) as store:
        runtime = make_runtime(config, store, metrics or Metrics())
        try:
            yield runtime
        finally:
            runtime.guard.close()


def make_runtime(config: Config, store: FeatureStore, metrics: Metrics) -> Runtime:
    """Puts the parts together over an open store; the errors are those of open_runtime."""
    api, paths = config.api, shop_paths(config)
    online = store.online_with_timeout(api.store_timeout_seconds)
    guard = CircuitBreaker(online.ping, metrics, store.revive)
    rule_file = RuleFile(api.rules_path)
    device = resolve_device(config.inference.device)
    keeper = ReleaseKeeper(paths.releases, store.schema_hash, device, online, rule_file, metrics)
    service = RecommendationService(
        keeper,
        online,
        guard,
        TextVectors(lambda recommender: _encoder(config, recommender)),
        max_history=config.model.buyer_tower.max_interaction_history,
        max_interactions=api.max_interactions_per_request,
    )
    intake = EventIntake(
        store.online_with_timeout(WRITE_TIMEOUT_SECONDS),
        guard,
        EventLog(paths.event_log),
        PendingEvents(paths.event_log / "pending"),
        products=lambda: keeper.live.recommender.products,
        config=api,
        metrics=metrics,
        clock=now_ms,
    )
    return Runtime(config, paths, store, online, guard, keeper, service, intake, metrics)


def _encoder(config: Config, recommender: Recommender) -> "TextEncoder":
    from training.text.catalogue_text import text_encoder_of  # loads sentence-transformers, which most shops never need

    return text_encoder_of(config, recommender.model_folder)
