"""Intake and ingest have one set of rules: what the API accepts, ingest reads as the same event."""

import datetime as dt
import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.values.times import TimeReader
from online_api.events.event_files import EventFiles
from online_api.events.intake import EventIntake
from online_api.observability.metrics import Metrics
from online_api.service import now_ms
from tests.batch_jobs.csv_shop import HEADER, kept_events, kept_products, quarantined, shop

pytestmark = pytest.mark.fast

# "None" may be a product; "0" is nobody.
PRODUCT_IDS = ("p1", "p/2", "None", "قهوة ١")
PRODUCTS = "id,title\n" + "".join(f"{product_id},Title {product_id}\n" for product_id in PRODUCT_IDS)
PRESENT = dt.datetime.now(dt.UTC)

around = st.text(" \t\n\u00a0\u200b\u200f\ufeff", max_size=2)
NOBODY = ["0", "-1", "NULL", "nan", "(not set)", "", "a\nb", "a" * 257]
ids = st.sampled_from(["u1", "u2", "عميل", "a" * 256, *NOBODY]) | st.text(max_size=5)
TIME_FORMS = [
    *("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S +0300", "%Y-%m-%d %H:%M Asia/Kolkata"),
    *("%d/%m/%Y %H:%M", "%b %d, %Y, %I:%M:%S %p", "%a, %d %b %Y %H:%M:%S %z", "%Y%m%dT%H%M%SZ", "%s", "%s000", "%s.25"),
]
moments = st.datetimes(dt.datetime(1999, 12, 30), PRESENT.replace(tzinfo=None) + dt.timedelta(days=2)).map(
    lambda moment: moment.replace(tzinfo=dt.UTC)
)
times = st.one_of(
    st.builds(lambda moment, form: moment.strftime(form), moments, st.sampled_from(TIME_FORMS)),
    moments.map(dt.datetime.timestamp),
    st.sampled_from([0, "", "soon", "٢٠٢٥-٠٦-٠١", 20250601, -1, True, None]),
)
names = st.sampled_from(
    [
        "view",
        "Add to Cart",
        "purchase",
        "شراء",
        "مشاهدة",
        "view_item",
        "click",
        "refund",
        "إلغاء",
        "remove_from_cart",
        "x",
    ]
)
dirty_events = st.fixed_dictionaries(
    {
        "buyer_id": st.builds("{}{}{}".format, around, ids, around),
        "product_id": st.builds("{}{}{}".format, around, st.sampled_from([*PRODUCT_IDS, "gone", "null"]), around),
        "event_type": names,
    },
    optional={
        "event_id": st.builds("{}{}".format, ids, around),
        "timestamp": times,
        "quantity": st.integers(-3, 3),
    },
)


class KnownProducts:
    """A product table, as far as the intake asks."""

    def position_of(self, product_id: str) -> int:
        return PRODUCT_IDS.index(product_id) if product_id in PRODUCT_IDS else -1


class NoStore:
    """The circuit breaker of an online store that is down: every event is new and pending."""

    def call(self, _: object) -> None:
        return None

    write = call


def intake_of(config: Config) -> EventIntake:
    folder = shop_paths(config).event_log
    return EventIntake(
        cast("Any", None),
        cast("Any", NoStore()),
        EventFiles.in_folder(folder, config.api),
        cast("Any", KnownProducts),
        config.api,
        Metrics(),
        now_ms,
        TimeReader(config.data.timezone, config.data.date_order),
        ForgottenBuyers(folder / "forgotten.json"),
    )


@settings(max_examples=15)
@given(events=st.lists(dirty_events, min_size=20, max_size=120), zone=st.sampled_from(["UTC", "Asia/Riyadh"]))
def test_what_the_api_accepts_ingest_reads_alike(
    events: list[dict[str, Any]], zone: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = shop(
        tmp_path_factory.mktemp("shop"), events=HEADER, products=PRODUCTS, timezone=zone, date_order="day_first"
    )
    answer = intake_of(config).record(events)
    lines = [json.loads(line) for file in shop_paths(config).event_log.glob("*.jsonl") for line in file.open()]
    assert len(lines) == answer.accepted
    assert answer.accepted + answer.duplicates + len(answer.rejected) == len(events)

    ingest(config)
    logged = [(line[c.BUYER_ID], line[c.PRODUCT_ID], line[c.EVENT_TYPE], line[c.TIMESTAMP]) for line in lines]
    # Returns take purchases back, the log may hold one event twice under two ids, and events of unknown products wait.
    assert {reason for *_, reason in quarantined(config)} <= {
        "refund", "refund_without_purchase", "returned_purchase", "duplicate_event", "unknown_product",
    }  # fmt: skip
    kept = [
        (row[c.BUYER_ID], row[c.PRODUCT_ID], row[c.EVENT_TYPE], row[c.EVENT_TIME].isoformat(timespec="milliseconds"))
        for row in kept_events(config)
    ]
    assert set(kept) <= set(logged)
    products = kept_products(config)
    known = [event for event in logged if event[1] in products]
    assert {event for event in known if event[2] in ("view", "add_to_cart")} <= set(kept)


def test_refunds_of_the_api_take_purchases_back(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products=PRODUCTS)
    purchase = {"buyer_id": "u1", "product_id": "p1", "event_type": "purchase", "timestamp": "2025-06-01T10:00:00Z"}
    kept = purchase | {"product_id": "p/2"}
    refund = purchase | {"event_type": "refund", "timestamp": "2025-06-03"}
    assert intake_of(config).record([purchase, kept, refund]).accepted == 3
    ingest(config)
    assert [(row[c.PRODUCT_ID], row[c.EVENT_TYPE]) for row in kept_events(config)] == [("p/2", "purchase")]
    assert sorted(reason for *_, reason in quarantined(config)) == ["refund", "returned_purchase"]
