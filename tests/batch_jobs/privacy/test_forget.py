"""`tawsiya forget` and `tawsiya export`: nothing of a buyer is left anywhere, and of the others nothing is lost."""

import datetime as dt
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from batch_jobs.feature_build.build_contexts import ensure_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.event_log.archive import archive_event_log
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.materialize import materialize
from batch_jobs.privacy.export import export
from batch_jobs.privacy.forget import forget, read_ids
from expectations.gate import require_passed, validate_canonical, validate_features
from expectations.records import CANONICAL, FEATURE_STAGE
from feature_repo import columns as c
from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import read_feature_report
from feature_repo.store import feature_store
from online_api.lists.list_request import ListRequest
from online_api.runtime import Runtime
from tests.batch_jobs.csv_shop import rows
from tests.batch_jobs.privacy.decoded import texts_of
from tests.online_api.api_shop import PRODUCTS, open_shop

pytestmark = pytest.mark.store

NUMBER = "773109314"  # found however the rest of the id is escaped
FORGOTTEN = f'كريم "ك" <{NUMBER}>'
QUOTED = FORGOTTEN.replace('"', '""')
EVENTS = f'''buyer_id,product_id,event_type,timestamp
"{QUOTED}",p1,purchase,2024-03-01 10:00:00
"{QUOTED}",p3,view,2024-03-04 07:31:13.777
"{QUOTED}",gone,view,2024-03-04 07:31:14
"{QUOTED}",p3,licked,2024-03-04 07:31:14
"{QUOTED}",p3
12,p1,view,2024-03-01 10:00:00
12,gone,view,2024-03-01 10:00:00
123,p1,purchase,2024-03-01 10:00:00
123,p3,purchase,2024-03-02 10:00:00
123,gone,view,2024-03-05 10:00:00
12,p4,view,2024-03-05 10:00:00
9,p4,view,2024-03-05 10:00:00
'''
MOMENT_MS = 1_709_537_473_777  # of the second event


def event(buyer_id: str, product_id: str = "p4", **more: Any) -> dict[str, Any]:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": "view", **more}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A shop that has the buyers in every place, and has forgotten nobody."""
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, PRODUCTS, EVENTS) as runtime:
        paths = runtime.paths
        for buyer in (FORGOTTEN, "12", "123"):
            assert runtime.intake.record([event(buyer, event_id=f"{buyer}_1"), event(buyer, "new")]).accepted == 2
        logged = {"event_id": "e", **event(FORGOTTEN), "timestamp": "2024-03-04T07:31:13.777Z", "claim": None}
        line = json.dumps(logged, ensure_ascii=False)
        (paths.event_log / "pending" / "events.jsonl").write_text(line + "\n", encoding="utf-8")
        for day in (3, 4):
            path = paths.event_log / f"2024-03-0{day}.jsonl"
            path.write_text(line + "\n" + line[:70] + "\n", encoding="utf-8")
            if day == 3:
                archive(paths, folder)
        paths.training_set.mkdir()
        np.save(paths.training_set / "buyers.npy", np.array([FORGOTTEN, "12"]))
        validate_canonical(paths, runtime.config)
        validate_features(paths, runtime.config)
        ensure_contexts(runtime.config)
        for key in rows_of_other_schemas(runtime):
            runtime.store.online.redis.hset(key, "field", "value")
        yield runtime


def archive(paths: ShopPaths, scratch: Path) -> None:
    with duckdb.connect() as db:
        archive_event_log(db, paths.event_log, scratch, keep_days=0, now=dt.datetime(2024, 3, 5, tzinfo=dt.UTC))


def rows_of_other_schemas(shop: Runtime) -> list[bytes]:
    """The keys of the buyer's rows of version 0.1.0 and of another schema."""
    project = shop.store.project.encode()
    (row,) = [key for key in shop.store.online.redis.scan_iter() if NUMBER.encode() in key and key.endswith(project)]
    unnamed = row.removesuffix(project) + shop.store.shop.encode()
    return [unnamed, unnamed + b"_0123abcd"]


def mentions(shop: Runtime, *texts: str) -> set[str]:
    """The files that say one of them."""
    found = {path for path, said in texts_of(shop.paths.root) if any(text in said for text in texts)}
    return {path.relative_to(shop.paths.root).as_posix() for path in found}


def ids(path: Path) -> list[str]:
    return [row[c.BUYER_ID] for row in rows(path)]


def listed(shop: Runtime, buyer_id: str) -> Any:
    return shop.service.answer([ListRequest(buyer_id=buyer_id, k=3)])[0].payload


@pytest.fixture(scope="module")
def forgotten(shop: Runtime) -> Runtime:
    canonical = {f"canonical/{name}" for name in ("events.parquet", "quarantine.parquet", "report.json")}
    assert canonical <= mentions(shop, NUMBER)
    exported = export(shop.config, FORGOTTEN)
    assert len(exported["files"]["canonical/events.parquet"]) == 2
    assert [entry["product_id"] for entry in exported["online"]["events"]] == ["p1", "p3", "p4"]
    assert [entry["product_id"] for entry in exported["online"]["purchases"]] == ["p1"]
    assert {name: len(events) for name, events in exported["event_log"].items()}["event_log/2024-03-04.jsonl"] == 2
    assert len(exported["event_log"]["event_log/pending/unknown_products.jsonl"]) == 1
    places = ("event_log/archive/2024-03-03.parquet", "features/buyers.parquet", "features/contexts.parquet")
    assert exported["files"].keys() >= set(places)
    assert listed(shop, FORGOTTEN)["source"] == "personalised"
    expected_gate = require_passed(shop.paths, CANONICAL)
    result = forget(shop.config, read_ids([f" {FORGOTTEN}", "12"]))
    assert result["buyers"] == 2
    assert result["warnings"] == []
    assert result["gate"] == {CANONICAL: "passed", FEATURE_STAGE: "passed"}
    assert require_passed(shop.paths).keys() >= {"canonical/events.parquet"}
    assert require_passed(shop.paths, CANONICAL) != expected_gate
    assert result["removed"]["canonical/events.parquet"] == 4
    assert result["removed"]["features/buyer_sequences"] == 2
    assert result["removed"]["features/buyers.parquet"] == 2
    assert result["removed"]["event_log/pending"] == 3
    # Two rows, two of other schemas, and two claims on their event ids.
    assert result["removed"]["online store"] == 6
    assert not shop.paths.unfinished_erasure.exists()
    return shop


def test_nothing_of_the_buyer_is_left(forgotten: Runtime) -> None:
    assert mentions(forgotten, NUMBER, str(MOMENT_MS), "07:31:1") == set()
    assert export(forgotten.config, FORGOTTEN) == {
        c.BUYER_ID: FORGOTTEN,
        "guests": [],
        "became": None,
        "forgotten": True,
        "files": {},
        "event_log": {},
        "online": {"events": [], "purchases": []},
    }


def test_the_other_buyers_keep_everything(forgotten: Runtime) -> None:
    paths = forgotten.paths
    assert ids(paths.events) == ["123", "123", "9"]
    exported = export(forgotten.config, "123")
    assert [entry["product_id"] for entry in exported["online"]["events"]] == ["p1", "p3", "p4"]
    assert [row["value"] for row in exported["files"]["canonical/quarantine.parquet"]] == ["gone"]
    assert listed(forgotten, "123")["source"] == "personalised"


def test_a_build_finds_nothing_to_do(forgotten: Runtime) -> None:
    paths, report = forgotten.paths, read_feature_report(forgotten.paths)
    built = build_features(forgotten.config)
    assert built["changed"] == {"buyers": 0, "products": 0}
    assert built["rows"] == {
        "buyers": 2,
        "buyer_sequences": 2,
        "buyer_purchases": 1,
        "products": len(PRODUCTS.splitlines()) - 1,
    }
    # The checksums of the other files, which the erasure has changed, are new.
    assert {name: built[name] for name in ("as_of", "builds", "parts")}.items() <= report.items()
    with feature_store(forgotten.config) as store:
        assert materialize(forgotten.config, store, full=False)["written"] == {"buyers": 0, "products": 0}
    ensure_contexts(forgotten.config)
    assert set(ids(paths.contexts)) == {"123", "9"}


def test_events_of_the_forgotten_are_refused_without_a_restart(forgotten: Runtime) -> None:
    answer = forgotten.intake.record([event(FORGOTTEN), event("someone"), event(f" {FORGOTTEN} ")])
    assert (answer.accepted, [item.index for item in answer.rejected]) == (1, [0, 2])
    assert answer.rejected[0].reason == "buyer_id: this buyer was erased (`tawsiya forget`); the event is not stored"
    assert mentions(forgotten, NUMBER) == set()
    assert listed(forgotten, FORGOTTEN)["source"] == "popular"


def test_a_later_ingest_of_the_same_files_leaves_them_out(forgotten: Runtime) -> None:
    report = ingest(forgotten.config)
    assert report["events"]["reasons"]["forgotten_buyer"] == 7
    assert report["events"]["excluded"] == 7
    left_out = [row for row in rows(forgotten.paths.quarantine) if row["reason"] == "forgotten_buyer"]
    assert {(row["value"], row["raw"], row["kind"]) for row in left_out} == {(None, None, "excluded")}
    assert report["events"]["event_log"]["bad"] == 1  # "123" viewed the unknown product
    assert build_features(forgotten.config)["changed"]["buyers"] == 3  # all, for most have logged events
    with feature_store(forgotten.config) as store:
        store.materialize(full=True)
    assert mentions(forgotten, NUMBER) == set()
    assert "12" not in ids(forgotten.paths.events)
    assert listed(forgotten, FORGOTTEN)["source"] == "popular"
    assert listed(forgotten, "123")["source"] == "personalised"


def test_forgetting_again_changes_nothing(forgotten: Runtime) -> None:
    before = forgotten.paths.forgotten.read_text()
    contexts = {"training contexts": 3}  # which were built since
    assert forget(forgotten.config, [FORGOTTEN])["removed"] == contexts
    assert forgotten.paths.forgotten.read_text() == before


def test_the_page_that_compares_two_releases_is_deleted(forgotten: Runtime) -> None:
    forgotten.paths.shadow_lists.write_text("lists")
    forgotten.paths.reports.mkdir(exist_ok=True)
    forgotten.paths.release_report.write_text("lists")
    assert forget(forgotten.config, [FORGOTTEN])["removed"]["reports"] == 2
    assert not forgotten.paths.shadow_lists.exists()
    assert not forgotten.paths.release_report.exists()


def test_the_list_is_the_shops_alone_and_names_nobody(forgotten: Runtime) -> None:
    assert stat.S_IMODE(forgotten.paths.forgotten.stat().st_mode) == 0o600
    content = json.loads(forgotten.paths.forgotten.read_text())
    assert len(content["buyers"]) == 2
    assert len(content["key"]) == 64
