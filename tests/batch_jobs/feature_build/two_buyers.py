"""A shop of two buyers with known moments, as files, and the reports of its builds."""

import datetime as dt
import json
from pathlib import Path

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.settings.data import EvaluationUnit
from feature_repo.transforms.keys import product_key
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import HEADER, Row, shop

VIEW, CART, PURCHASE = 0, 1, 2
PRODUCTS = "id,title\np1,قهوة\np2,Mug\np3,Cup\n"
# u1 buys two products at once; u2 first appears in the test days, which begin at midnight of the 8th.
EVENTS = f"""{HEADER}u1,p1,purchase,2024-03-01 10:00:00
u1,p2,purchase,2024-03-01 10:00:00
u1,p3,add_to_cart,2024-03-07 23:59:59.999
u1,p3,view,2024-03-07 23:59:59.999
u1,p1,view,2024-03-08 00:00:00
u1,p2,view,2024-03-09 09:00:00.5
u2,p3,view,2024-03-09 09:30:00
"""
P1, P2, P3 = (product_key(product_id) for product_id in ("p1", "p2", "p3"))
BASKET = [P2, P1]  # events of one time are ordered by product key
MICROSECOND = dt.timedelta(microseconds=1)


def utc(text: str) -> dt.datetime:
    """A time in UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def ms(text: str) -> int:
    """Milliseconds since 1970 of a time in UTC."""
    return int(utc(text).timestamp() * 1000)


def built(
    folder: Path, events: str = EVENTS, max_length: int = 100, test_days: int = 1, unit: EvaluationUnit = "per_buyer"
) -> Config:
    """The shop, ingested and with its features."""
    config = shop(folder, events=events, products=PRODUCTS, test_days=test_days, evaluation_unit=unit)
    model = {"buyer_tower": {"max_interaction_history": max_length}}
    config = Config.model_validate({**config.model_dump(), "model": model})
    ingest(config)
    build_features(config)
    return config


def report(config: Config) -> Row:
    """The report of the feature build."""
    content: Row = json.loads(shop_paths(config).feature_report.read_text(encoding="utf-8"))
    return content


def built_with_log(folder: Path, *logged: tuple[str, str, str], events: str = EVENTS) -> Config:
    """A shop with logged views: (buyer, product, time)."""
    config = shop(folder, events=events, products=PRODUCTS)
    log = EventLog(shop_paths(config).event_log)
    log.append(
        [LoggedEvent(f"e{n}", buyer, product, "view", ms(time)) for n, (buyer, product, time) in enumerate(logged)]
    )
    ingest(config)
    build_features(config)
    return config
