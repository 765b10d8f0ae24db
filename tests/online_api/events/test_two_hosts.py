"""Two hosts take events, each into a log of its own; the batch jobs of the first read and erase both."""

import datetime as dt
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.privacy.export import export
from batch_jobs.privacy.forget import forget
from batch_jobs.runs.source_files import ingest_inputs
from batch_jobs.runs.stages import Work
from batch_jobs.upkeep.backup import backup
from batch_jobs.upkeep.retention import clean
from batch_jobs.upkeep.search_report import search_report
from feature_repo import columns as c
from feature_repo.access.api_keys import read_keys
from feature_repo.access.scope import Scope
from feature_repo.common.paths import ShopPaths
from feature_repo.common.search_log import append_searches
from online_api.app import create_app
from online_api.events.event_log import EventLog, LoggedEvent
from online_api.runtime import Runtime
from tests.batch_jobs.privacy.decoded import texts_of
from tests.online_api.api_shop import EVENTS, PRODUCTS, open_shop
from tests.online_api.shop_variants import copied, make_key, running, with_settings
from tests.serving import serving

pytestmark = pytest.mark.store

MARCH_MS = 1_772_359_200_000  # 2026-03-01 10:00 UTC


class Hosts(NamedTuple):
    """The API on the machine of the batch jobs, and on another one that mounts its shop's folder."""

    first: Runtime
    second: Runtime
    second_logs: ShopPaths


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    (tmp_path / "shop").mkdir()
    with open_shop(tmp_path / "shop", PRODUCTS, EVENTS) as first:
        logs = ShopPaths(first.paths.root / "hosts" / "web-2")
        api = {"log_folder": logs.root, "shared_data_dir": first.config.data_dir}
        other = with_settings(copied(first.config, tmp_path / "web-2"), api=api)
        with running(other, first.store) as second:
            yield Hosts(first, second, logs)


def event(buyer_id: str, product_id: str = "p4", **more: Any) -> dict[str, Any]:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": "view", **more}


def kept(host: Runtime) -> list[tuple[str, str]]:
    """Buyer and product of the canonical events that the API took."""
    rows = pq.read_table(host.paths.events).to_pylist()
    return sorted((row[c.BUYER_ID], row[c.PRODUCT_ID]) for row in rows if row[c.BUYER_ID].startswith("guest"))


def test_ingest_reads_the_logs_of_both(hosts: Hosts) -> None:
    assert hosts.first.intake.record([event("guest-1", event_id="e1")]).accepted == 1
    # The second host knows the first one's event by its claim; and if the store is down, ingest does by its id.
    assert hosts.second.intake.record([event("guest-1", event_id="e1"), event("guest-2")]).duplicates == 1
    EventLog(hosts.second_logs.event_log).append([LoggedEvent("e1", "guest-1", "p4", "view", MARCH_MS)])
    # A finished day, and a line that was cut off when the host died.
    (hosts.second_logs.event_log / "2026-03-01.jsonl").write_text(
        LoggedEvent("e2", "guest-3", "p1", "view", MARCH_MS).line() + '{"event_id": "e3", "buyer'
    )
    assert hosts.second.merges.merge("guest-2", "guest-9").outcome == "merged"
    assert not hosts.second.paths.event_log.exists()
    files = set(ingest_inputs(Work(hosts.first.config)))
    assert {path for path in hosts.second_logs.event_log.rglob("*.jsonl") if path.parent.name != "pending"} <= files

    report = ingest(hosts.first.config)["events"]["event_log"]
    assert {name: report[name] for name in ("read", "kept", "duplicates", "bad")} == {
        "read": 5, "kept": 3, "duplicates": 1, "bad": 1
    }  # fmt: skip
    assert kept(hosts.first) == [("guest-1", "p4"), ("guest-3", "p1"), ("guest-9", "p4")]
    assert (hosts.second_logs.event_log / "archive" / "2026-03-01.parquet").is_file()
    assert ingest(hosts.first.config)["events"]["event_log"]["kept"] == 3  # from the archive, too


def test_erasure_and_access_reach_both(hosts: Hosts) -> None:
    for number, host in enumerate(hosts[:2]):
        theirs = [event("guest-77001", product, event_id=f"{number}-{product}") for product in ("p4", "new")]
        assert host.intake.record([*theirs, event("guest-2", event_id=str(number))]).accepted == 3
    assert hosts.second.merges.merge("guest-77002", "guest-77001").outcome == "merged"
    (hosts.second_logs.event_log / "2026-03-01.jsonl").write_text(
        LoggedEvent("e2", "guest-77002", "p1", "view", MARCH_MS).line()
    )
    ingest(hosts.first.config)
    stored = export(hosts.first.config, "guest-77001")
    assert stored["guests"] == ["guest-77002"]
    assert "hosts/web-2/event_log/archive/2026-03-01.parquet" in stored["files"]
    assert {Path(name).parts[0] for name in stored["event_log"]} == {"event_log", "hosts"}

    assert forget(hosts.first.config, ["guest-77001"])["buyers"] == 2
    left = {path: text for path, text in texts_of(hosts.first.paths.root) if "7700" in text}
    assert left == {}
    for host in hosts[:2]:
        (rejected,) = host.intake.record(
            [event("guest-77001"), event("guest-2", event_id=host.paths.root.parent.name)]
        ).rejected
        assert "was erased" in rejected.reason
    ingest(hosts.first.config)
    assert {buyer for buyer, _ in kept(hosts.first)} == {"guest-2"}


def test_keys_hold_on_both(hosts: Hosts) -> None:
    headers = make_key(hosts.second.config, "shop", {Scope.READ})
    assert [key.name for key in read_keys(hosts.first.config.data_dir / "api_keys.json")] == ["shop"]
    with serving(create_app(hosts.second.config, hosts.second)) as client:
        assert client.get("/v1/trending").status_code == 401
        assert client.get("/v1/trending", headers=headers).status_code == 200


def test_searches_of_both_are_reported_and_those_of_a_host_that_is_gone_are_deleted(hosts: Hosts) -> None:
    today = dt.datetime.now(dt.UTC).date()
    for host in hosts[:2]:
        host.searches.record("lamp", "no_match")
        host.searches.write()
    append_searches(hosts.second_logs.search_log, {("rug", "no_match"): 1}, today - dt.timedelta(days=30))
    report = search_report(hosts.first.config, 5)
    assert (report["days"], report["to"], report["searches"]) == (2, today.isoformat(), 2)
    assert report["no_match"]["queries"][0] == {"query": "lamp", "count": 2, "last": today.isoformat()}
    clean(hosts.first.config)
    assert [path.stem for path in hosts.second_logs.search_log.iterdir()] == [today.isoformat()]


def test_a_backup_has_the_logs_of_both_after_the_online_store(hosts: Hosts, tmp_path: Path) -> None:
    for number, host in enumerate(hosts[:2]):
        events = [event("guest-1", product, event_id=f"{number}-{product}") for product in ("p4", "new")]
        assert host.intake.record(events).accepted == 2
    path = tmp_path / "backup.tar"
    backup(hosts.first.config, path)
    with tarfile.open(path) as tar:
        names = tar.getnames()
    folders = ("shop/event_log", "shop/hosts/web-2/event_log")
    waiting = [names.index(f"{folder}/pending/unknown_products.jsonl") for folder in folders]
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.jsonl"
    logs = [names.index(f"{folder}/{today}") for folder in folders]
    assert max(waiting) < names.index("online.parquet") < names.index("shop/canonical/events.parquet") < min(logs)
