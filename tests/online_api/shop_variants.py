"""Variants of the tiny shop: with other settings, in a folder of its own, with keys, on a store that can fail."""

import datetime as dt
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.access.api_keys import api_keys_path, create_key
from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.observability.metrics import Metrics
from online_api.runtime import Runtime, make_runtime
from tests.online_api.api_shop import Json
from tests.serving import serving

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
ONE_EVENT = {"events": [{"buyer_id": "somebody", "product_id": "p1", "event_type": "view"}]}


def with_settings(config: Config, **sections: Json) -> Config:
    """The configuration with some settings replaced, such as `api={"max_queue": 1}`."""
    content = config.model_dump()
    return Config.model_validate(content | {name: content[name] | values for name, values in sections.items()})


def in_folder(config: Config, folder: Path) -> Config:
    """The configuration with another data_dir."""
    return Config.model_validate(config.model_dump() | {"data_dir": folder})


def copied(config: Config, folder: Path) -> Config:
    """The shop in another data_dir, without its online store's files and without keys."""
    copy = in_folder(config, folder)
    shutil.copytree(
        shop_paths(config).root, shop_paths(copy).root, symlinks=True, ignore=shutil.ignore_patterns("redis")
    )
    return copy


@contextmanager
def running(config: Config, store: FeatureStore) -> Iterator[Runtime]:
    """A runtime of its own over a store."""
    runtime = make_runtime(config, store, Metrics())
    try:
        yield runtime
    finally:
        runtime.breaker.close()


@contextmanager
def api_of(config: Config, store: FeatureStore) -> Iterator[httpx.Client]:
    """A client of an application of its own over a store."""
    with running(config, store) as runtime, serving(create_app(config, runtime)) as client:
        yield client


def make_key(config: Config, name: str, scopes: Collection[Scope], limit: Limit | None = None) -> dict[str, str]:
    """A new API key, as the header that carries it."""
    token, _ = create_key(api_keys_path(config), name, scopes, limit, NOW, shop_paths(config).root.name)
    return {"X-API-Key": token}


def redis_answers(port: int) -> bool:
    """Whether a server is there."""
    try:
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def metric(client: httpx.Client, series: str, headers: dict[str, str] | None = None) -> float:
    """The value of one series of /metrics, 0 where there is none."""
    text = client.get("/metrics", headers=headers).text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
