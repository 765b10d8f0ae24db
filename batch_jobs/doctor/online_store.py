"""The online store: whether it answers, how it keeps its data, its memory, its clock, its schema."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from batch_jobs.doctor.diagnosis import EXPLAINED, GOOD, PROBLEM, Diagnosis, judged
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths
from feature_repo.store import FeatureStore, feature_store

_GROUP = "online store"
MATERIALIZE = "tawsiya materialize"
PINGS = 5
SLOW_MS = 10.0  # each list waits for one answer of the store
FULL_SHARE = 0.8
MAX_SKEW_S = 60.0  # as feature_repo.store.CLOCK_TOLERANCE


def online_store_checks(config: Config, paths: ShopPaths) -> Iterator[Diagnosis]:
    """What the store says of itself; starts no embedded server for a shop that has no data."""
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        # Starting the server would make the folder.
        yield Diagnosis(_GROUP, "online store", GOOD, f"has no data yet: `{MATERIALIZE}`")
        return
    try:
        with feature_store(config) as store:
            found = list(_checks_of(store))
    except EXPLAINED as error:
        found = [Diagnosis(_GROUP, "online store", PROBLEM, str(error).partition("\n")[0], _remedy(config))]
    yield from found


def _remedy(config: Config) -> str:
    if config.feature_store.online == "embedded":
        return "stop what uses the shop's folder `redis`, and try again"
    return "redis-cli -u redis://HOST:PORT ping, with the server of $TAWSIYA_REDIS"


def _checks_of(store: FeatureStore) -> Iterator[Diagnosis]:
    store.online.ping()
    at = store.online.materialized_at()
    text = "answers" if at else f"answers, and has no features yet: `{MATERIALIZE}`"
    yield Diagnosis(_GROUP, "online store", GOOD, text)
    store.online.schemas.require()
    info = store.online.redis.info("all")
    if "redis_version" not in info:  # of a cluster: by server
        return
    yield from server_checks(info)
    yield latency_check(_ping_ms(store.online.redis))
    seconds, microseconds = store.online.redis.time()
    yield skew_check(seconds + microseconds / 1e6 - time.time())
    applied = store.is_applied()
    text = "as the code defines it" if applied else "has other definitions than the code"
    yield judged(_GROUP, "feast registry", text, None if applied else MATERIALIZE)


def server_checks(info: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Version, persistence and memory, from the answer to INFO."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield Diagnosis(_GROUP, "server", GOOD, f"{name} {info.get('valkey_version', info['redis_version'])}")
    logged = bool(info.get("aof_enabled"))
    text = "append-only file" if logged else "no append-only file: a crash loses what came after the last snapshot"
    yield judged(_GROUP, "persistence", text, None if logged else "redis-cli CONFIG SET appendonly yes")
    limit, used = info.get("maxmemory", 0), info["used_memory"]
    policy = info.get("maxmemory_policy", "noeviction")
    evicts = limit and policy != "noeviction"
    yield judged(_GROUP, "eviction", policy, "redis-cli CONFIG SET maxmemory-policy noeviction" if evicts else None)
    text = f"{used / 1e6:,.0f} MB" + (f" of {limit / 1e6:,.0f} (maxmemory)" if limit else ", no limit (maxmemory)")
    full = limit and used > FULL_SHARE * limit
    yield judged(_GROUP, "memory of the store", text, f"redis-cli CONFIG SET maxmemory {2 * limit}" if full else None)


def latency_check(milliseconds: float) -> Diagnosis:
    """How long one answer takes."""
    remedy = "put the server nearer, or look at redis-cli --latency there" if milliseconds > SLOW_MS else None
    return judged(_GROUP, "latency", f"{milliseconds:.1f} ms for an answer", remedy)


def skew_check(seconds: float) -> Diagnosis:
    """How far the clock of the store's machine is ahead of the one here."""
    remedy = "timedatectl set-ntp true, on both machines" if abs(seconds) > MAX_SKEW_S else None
    return judged("clock", "clock of the store", f"{seconds:+.1f} s against this machine", remedy)


def _ping_ms(redis: Any) -> float:
    """The median of a few."""
    times = []
    for _ in range(PINGS):
        start = time.perf_counter()
        redis.ping()
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[PINGS // 2]
