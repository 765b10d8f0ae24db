"""Builds the service and its parts from the configuration, and runs its background threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_repo.access.buyer_tokens import token_secrets
from feature_repo.common.config import Config
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, log_paths, shared_paths, shop_paths
from feature_repo.online.features import OnlineFeatures
from feature_repo.online.shared_secret import make_secret, read_secret
from feature_repo.settings.api import ApiConfig
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.values.times import TimeReader
from online_api.events.event_files import EventFiles
from online_api.events.intake import EventIntake
from online_api.events.merge_log import MergeLog
from online_api.events.merges import BuyerMerges
from online_api.lists.live_release import ReleaseKeeper
from online_api.lists.pages import Pages
from online_api.lists.request_texts import RequestTextEncoder
from online_api.lists.rule_file import RuleFile
from online_api.lists.shadow import Shadow
from online_api.observability.logs import json_logger
from online_api.observability.metrics import Metrics
from online_api.periodic_thread import PeriodicThread
from online_api.protection.circuit_breaker import STORE_FAILURES, CircuitBreaker
from online_api.search.search_recorder import SearchRecorder
from online_api.search.suggester import Suggester
from online_api.search.synonym_file import SynonymList, Synonyms
from online_api.service import RecommendationService, now_ms
from online_api.watched_file import WatchedFile
from training.artifacts.recommender import Recommender
from training.device import resolve_device

# Of event writes, which run in threads. Reads have the shorter `api.store_timeout_seconds`, because the event loop
# waits for them (ADR 0004).
WRITE_TIMEOUT_SECONDS = 1.0
RELEASE_POLL_SECONDS, REPLAY_SECONDS, PAGE_SECRET_SECONDS, SEARCH_LOG_SECONDS = 1.0, 0.5, 2.0, 10.0

if TYPE_CHECKING:
    from training.text.encoder import TextEncoder


@dataclass(frozen=True)
class Runtime:
    """The parts that the routes use."""

    config: Config
    paths: ShopPaths
    store: FeatureStore
    online: OnlineFeatures
    breaker: CircuitBreaker
    keeper: ReleaseKeeper
    service: RecommendationService
    intake: EventIntake
    merges: BuyerMerges
    times: TimeReader
    metrics: Metrics
    pages: Pages
    synonyms: WatchedFile[Synonyms]
    suggester: Suggester
    searches: SearchRecorder
    shadow: Shadow | None = None

    @contextmanager
    def kept_up_to_date(self) -> Iterator[None]:
        """Runs background threads for the block: they update the live release, replay pending events and so on."""
        threads: list[PeriodicThread | Shadow] = [
            PeriodicThread(self.keeper.poll, RELEASE_POLL_SECONDS, "release-watch"),
            PeriodicThread(self._replay, REPLAY_SECONDS, "event-replay"),
            PeriodicThread(self.pages.refresh, PAGE_SECRET_SECONDS, "page-secret"),
            PeriodicThread(self.searches.write, SEARCH_LOG_SECONDS, "search-log"),
            *([self.shadow] if self.shadow is not None else []),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.stop()
            self.searches.write()

    def _replay(self) -> None:
        if not self.breaker.is_open:  # it would refuse a batch that has been read and parsed already
            self.merges.replay()
            self.intake.replay()
        # Not only after a replay: other workers add events and replay them, too.
        pending = self.intake.pending_count
        self.metrics.pending_events.set(pending)
        if not pending:
            self.breaker.forget_refusal()
        # Last, because it needs a lock file, which a full disk may refuse.
        self.metrics.unknown_product_events.set(self.intake.unknown_product_count)


@contextmanager
def open_runtime(config: Config, metrics: Metrics | None = None) -> Iterator[Runtime]:
    """Opens the shop's feature store and live release for the block.

    Args:
        config: The configuration.
        metrics: Metrics to record to; None creates new ones.

    Raises:
        ConfigError: `feature_store.online` is redis, and no address is configured.
        FileNotFoundError: No release is live.
        SchemaMismatchError: The live release was made for other features than this code and configuration make.
        OtherSchemaError: The online store holds other features only.
        ValueError: The live release is damaged, or the configured device does not exist.
    """
    with feature_store(config) as store:
        runtime = make_runtime(config, store, metrics or Metrics())
        try:
            yield runtime
        finally:
            runtime.breaker.close()


def make_runtime(config: Config, store: FeatureStore, metrics: Metrics) -> Runtime:
    """Builds the parts over an open feature store; raises the errors of open_runtime."""
    api, paths, logs = config.api, shop_paths(config), log_paths(config)
    times = TimeReader(config.data.timezone, config.data.date_order)
    online = store.online_with_timeout(api.store_timeout_seconds)
    breaker = CircuitBreaker(online.ping, metrics, store.revive)
    rule_file = RuleFile(api.rules_path)
    device = resolve_device(config.inference.device)
    keeper = ReleaseKeeper(paths.releases, store.schema_hash, device, online, rule_file, metrics)
    # A store that is down can hold up nothing; it says itself when it is back (breaker).
    breaker.call(online.schemas.require)
    synonyms = WatchedFile(api.synonyms_path, Synonyms.load, Synonyms(SynonymList()), "synonyms")
    service = RecommendationService(
        keeper,
        online,
        breaker,
        RequestTextEncoder(lambda recommender: _encoder(config, recommender)),
        synonyms,
        max_history=config.model.buyer_tower.max_interaction_history,
        max_interactions=api.max_interactions_per_request,
    )
    forgotten = ForgottenBuyers(shared_paths(config).forgotten)
    forgotten.is_empty()  # reads the list: a damaged one is an error now and not at the first event
    writing = store.online_with_timeout(WRITE_TIMEOUT_SECONDS)
    intake = EventIntake(
        writing,
        breaker,
        EventFiles.in_folder(logs.event_log, api),
        products=lambda: keeper.live.catalogue.products,
        config=api,
        metrics=metrics,
        clock=now_ms,
        times=times,
        forgotten=forgotten,
    )
    merges = BuyerMerges(writing, breaker, MergeLog(logs.buyer_merges.parent), forgotten, metrics, now_ms)
    shadow = _shadow(api, keeper, service, metrics) if api.shadow_share else None
    pages = Pages(store.shop, token_secrets(), lambda: _shared_secret(online.redis, store.shop))
    return Runtime(
        config,
        paths,
        store,
        online,
        breaker,
        keeper,
        service,
        intake,
        merges,
        times,
        metrics,
        pages,
        synonyms,
        Suggester(keeper),
        SearchRecorder(logs.search_log, api.search_log_days),
        shadow,
    )


def _shadow(api: ApiConfig, keeper: ReleaseKeeper, service: RecommendationService, metrics: Metrics) -> Shadow:
    return Shadow(
        keeper,
        service.answer_beside,
        metrics,
        json_logger(api.log_level),
        release=api.shadow_release,
        share=api.shadow_share,
        timeout_s=api.request_timeout_seconds,
    )


def _shared_secret(redis: Any, shop: str) -> bytes | None:
    """The secret that all workers of a shop have in common; None while the store is down and nobody has made it."""
    # Not through the breaker: this waits in a thread of its own, and every two seconds. A store that refuses writes has
    # the secret all the same.
    try:
        return read_secret(redis, shop) or make_secret(redis, shop)
    except STORE_FAILURES:
        return None


def _encoder(config: Config, recommender: Recommender) -> "TextEncoder":
    from training.text.catalogue_text import text_encoder_of  # imports sentence-transformers, slowly

    return text_encoder_of(config, recommender.model_folder)
