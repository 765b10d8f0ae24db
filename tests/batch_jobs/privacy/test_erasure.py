"""The parts of `tawsiya forget`: which texts and rows are a buyer's, and files that others append to meanwhile."""

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.privacy import feature_parts
from batch_jobs.privacy.event_lines import blank_events, remove_events
from batch_jobs.privacy.export import export
from batch_jobs.privacy.forget import forget, read_ids
from batch_jobs.privacy.mentions import ERASED, Mentions, _pattern, _written_forms
from batch_jobs.privacy.parquet_rows import remove_rows
from feature_repo import columns as c
from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.files import sha256, write_json
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.feature_report import LAYOUT, live_parts, read_feature_report
from online_api.events.event_log import EventLog, LoggedEvent, LogPosition
from tests.batch_jobs.csv_shop import HEADER, rows, shop
from tests.command import invoke

FILES = ("source", "events_path", "products_path")


@pytest.mark.parametrize(
    ("buyer_id", "text", "expected"),
    [
        ("12", "12", True),
        ("12", "a row: 12, of 30", True),
        ("12", '{"buyer": 12.0, "n": 1}', True),
        ("12", "123 and 312 and 12.5 and 0.12 and 2024-12-03", False),
        ("U-1", "u-1;p3", True),
        ("U-1", "bu-1 u-1-2 u-10", False),
        ('a"b', '{"buyer": "a\\"b"}', True),
        ('a"b', 'p1,"a""b",view', True),
        ("<é>", "&amp;lt;e\u0301&amp;gt;", True),
        ("كريم", '{"buyer": "\\u0643\\u0631\\u064a\\u0645"}', True),
    ],
)
def test_an_id_is_found_as_a_word_however_it_is_written(buyer_id: str, text: str, expected: bool) -> None:
    assert Mentions([buyer_id]).in_text(text) is expected


texts = st.text(alphabet='12aAiİ-_. "é', max_size=8)


@settings(max_examples=300)
@given(buyer_ids=st.lists(texts.filter(bool), min_size=1, max_size=4), parts=st.lists(texts, max_size=3))
def test_many_ids_are_found_as_each_alone(buyer_ids: list[str], parts: list[str]) -> None:
    text = " ".join([*parts, buyer_ids[0].lower(), *parts])
    forms = {form for buyer_id in buyer_ids for form in _written_forms(buyer_id)}
    assert Mentions(buyer_ids).in_text(text) is (_pattern(forms).search(text) is not None)
    assert Mentions(buyer_ids).erased(text) == _pattern(forms).sub(ERASED, text)


ids = st.text(alphabet="12a-\"'ك", min_size=1, max_size=3)


@settings(max_examples=40)
@given(buyers=st.lists(st.one_of(st.none(), ids), max_size=12), gone=st.lists(ids, min_size=1, max_size=3))
def test_the_rows_that_stay_are_those_of_the_others(
    buyers: list[str | None], gone: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "part.parquet"
    table = pa.table({c.BUYER_ID: pa.array(buyers, pa.string()), "keys": [[n] for n in range(len(buyers))]})
    pq.write_table(table.replace_schema_metadata({"made_by": "test"}), path, row_group_size=5)
    stays = [number for number, buyer in enumerate(buyers) if buyer not in gone]
    assert remove_rows(path, gone) == len(buyers) - len(stays)
    left = pq.read_table(path)
    assert left["keys"].to_pylist() == [[number] for number in stays]
    assert left.schema.metadata == {b"made_by": b"test"}


@pytest.mark.parametrize("erase", [blank_events, remove_events])
def test_no_event_is_lost_that_the_api_appends_meanwhile(
    erase: Callable[[Path, list[str]], int], tmp_path: Path
) -> None:
    log, n = EventLog(tmp_path), 150

    def append() -> None:
        for number in range(n):
            log.append([LoggedEvent(f"{buyer}{number}", buyer, "p1", "view", 0) for buyer in ("stays", "goes")])

    writer = threading.Thread(target=append)
    writer.start()
    removed = 0
    while writer.is_alive() or not removed:
        removed += sum(erase(path, ["goes"]) for path in tmp_path.glob("*.jsonl"))
    writer.join()
    (path,) = tmp_path.glob("*.jsonl")
    removed += erase(path, ["goes"])
    assert [event.event_id for event in log.events_since(LogPosition("", 0))] == [f"stays{i}" for i in range(n)]
    assert b"goes" not in path.read_bytes()
    assert removed == n


lines = st.lists(st.tuples(st.sampled_from(["goes", "stays", "كريم", "torn goes", "torn"]), st.booleans()), max_size=8)


@settings(max_examples=60)
@given(written=lines)
def test_places_in_the_log_stay_where_they_are(
    written: list[tuple[str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "2024-03-01.jsonl"
    log, places = EventLog(path.parent), []
    content = b""
    for number, (kind, has_end) in enumerate(written):
        places.append(LogPosition(path.stem, len(content)))
        content += b"\n" if content and not content.endswith(b"\n") else b""  # as the API begins after a crash
        line = LoggedEvent(str(number), kind, "p1", "view", 0).line().encode()
        content += line if "torn" not in kind else kind.encode() + (b"\n" if has_end else b" {")
    path.write_bytes(content)
    before = [log.events_since(place) for place in places]
    expected = [[event for event in events if event.buyer_id not in ("goes", "كريم")] for events in before]
    blank_events(path, ["goes", "كريم"])
    assert [log.events_since(place) for place in places] == expected
    assert path.stat().st_size == len(content)
    assert b"goes" not in path.read_bytes()
    assert blank_events(path, ["goes"]) == 0


def test_a_damaged_list_is_no_empty_list(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.json"
    buyers = ForgottenBuyers(path)
    assert not buyers.holds("u1")
    buyers.add(["u1"])
    assert ForgottenBuyers(path).holds("u1")
    assert not ForgottenBuyers(path).holds("u12")
    path.write_text('{"buyers": []}')
    with pytest.raises(ValueError, match="not a valid list of forgotten buyers"):
        buyers.holds("u1")


def built_shop(folder: Path) -> ShopPaths:
    """Two builds of features: u1, u2 and u3 with purchases, then u2 again."""
    paths = ShopPaths(folder)
    for parts in (paths.sequence_features, paths.purchase_features):
        parts.mkdir(parents=True)
    names = {"20240301T000000000000-000.parquet": ["u1", "u2", "u3"], "20240302T000000000000-000.parquet": ["u2"]}
    report: dict[str, Any] = {"layout": LAYOUT, "rows": {"buyers": 3, "products": 7}, "parts": {}}
    for folder in (paths.sequence_features, paths.purchase_features):
        for name, buyers in names.items():
            pq.write_table(pa.table({c.BUYER_ID: buyers}), folder / name)
        report["parts"][folder.name] = {name: sha256(folder / name) for name in names}
    known = {c.BUYER_ID: ["u1", "u2", "u3"], c.N_EVENTS: [3, 1, 0], c.HAS_PURCHASES: [True, True, False]}
    pq.write_table(pa.table(known), paths.buyer_fingerprints)
    write_json(paths.feature_report, report)
    return paths


def intact_parts(paths: ShopPaths) -> dict[str, list[str]]:
    """The buyers of each part that counts, all of them as the report says."""
    report = read_feature_report(paths)
    found = {}
    for part in live_parts(paths.sequence_features, report):
        assert sha256(part) == report["parts"][part.parent.name][part.name]
        found[part.name] = pq.read_table(part)[c.BUYER_ID].to_pylist()
    return found


def _killed(*_: object) -> None:
    # Not a signal: workers of pytest-xdist ignore it.
    raise KeyboardInterrupt


@pytest.mark.parametrize("killed_in", ["nowhere", "write_json", "remove_dead_parts"])
def test_parts_count_before_and_after_an_erasure_that_is_killed(
    killed_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = built_shop(tmp_path)
    before = intact_parts(paths)
    after = {"20240301T000000000000-001.parquet": ["u1", "u3"], "20240302T000000000000-001.parquet": []}
    if killed_in != "nowhere":
        with monkeypatch.context() as patch:
            patch.setattr(feature_parts, killed_in, _killed)
            with pytest.raises(KeyboardInterrupt):
                feature_parts.remove_from_parts(paths, ["u2"])
        assert intact_parts(paths) == (before if killed_in == "write_json" else after)
    feature_parts.remove_from_parts(paths, ["u2"])
    assert list(intact_parts(paths).values()) == list(after.values())
    assert sorted(path.name for path in paths.purchase_features.iterdir()) == sorted(
        read_feature_report(paths)["parts"]["buyer_purchases"]
    )
    counts = {"buyers": 1, "products": 7, "buyer_sequences": 2, "buyer_purchases": 1}
    assert read_feature_report(paths)["rows"] == counts


def test_a_damaged_part_stays_one(tmp_path: Path) -> None:
    paths = built_shop(tmp_path)
    damaged = paths.sequence_features / "20240301T000000000000-000.parquet"
    pq.write_table(pa.table({c.BUYER_ID: ["u2", "u4"]}), damaged)
    feature_parts.remove_from_parts(paths, ["u2"])
    assert pq.read_table(damaged)[c.BUYER_ID].to_pylist() == ["u4"]
    with pytest.raises(AssertionError):
        intact_parts(paths)
    damaged.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"20240301T000000000000-000\.parquet cannot be read: .*; make it again"):
        feature_parts.remove_from_parts(paths, ["u2"])


def test_an_archived_day_keeps_the_note_of_what_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "2024-03-01.parquet"
    with duckdb.connect() as db:
        rows = "VALUES ('u1', NULL), (NULL, '{\"buyer_id\": \"u1\", \"pro'), ('u2', NULL)"
        db.execute(
            f"COPY (SELECT col0 AS buyer_id, col1 AS line FROM ({rows})) TO '{path}' (KV_METADATA {{moved_lines: '7'}})"
        )
    assert remove_rows(path, ["u1"]) == 2
    assert pq.read_table(path).to_pylist() == [{"buyer_id": "u2", "line": None}]
    assert pq.read_metadata(path).metadata[b"moved_lines"] == b"7"


def test_a_file_without_the_buyer_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({c.BUYER_ID: pa.array(["12", "123", None]).dictionary_encode(), "n": [1, 2, 3]}), path)
    before = path.stat()
    assert remove_rows(path, ["1"]) == 0
    assert path.stat() == before
    assert remove_rows(path, ["12"]) == 1
    assert pq.read_table(path)["n"].to_pylist() == [2, 3]


@pytest.mark.parametrize("text", ["", "NULL", "a\nb"])
def test_only_ids_of_buyers_are_taken(text: str) -> None:
    with pytest.raises(ValueError, match="id 1 is no buyer's id"):
        read_ids([text])


def test_an_export_passes_over_files_of_a_running_refresh(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products="id,title\np1,شاي\n")
    root = shop_paths(config).root
    for name in ("canonical/events.parquet", "passed_features/products.parquet", "tmp/changed_buyers.parquet"):
        (root / name).parent.mkdir(parents=True)
        pq.write_table(pa.table({c.BUYER_ID: ["u1"]}), root / name)
    (root / "canonical" / "replaced.parquet").symlink_to("gone")  # as a file that is deleted once it was listed
    assert export(config, "u1")["files"] == {"canonical/events.parquet": [{c.BUYER_ID: "u1"}]}


@pytest.mark.store
def test_the_commands_take_an_id_or_a_file_of_ids(tmp_path: Path) -> None:
    events = HEADER + "u1,p1,view,2024-03-01\nu2,p1,view,2024-03-01\nu3,p1,view,2024-03-02\n"
    config = shop(tmp_path, events=events, products="id,title\np1,شاي\n")
    ingest(config)
    settings = [f"data_dir={config.data_dir}", *(f"data.{name}={getattr(config.data, name)}" for name in FILES)]
    options = [word for setting in settings for word in ("--set", setting)]
    printed = json.loads(invoke("export", "--buyer", "u2", *options).stdout)
    assert [row[c.PRODUCT_ID] for row in printed["files"]["canonical/events.parquet"]] == ["p1"]
    assert printed["online"] is None
    written = tmp_path / "u2.json"
    assert "canonical/events.parquet: 1" in invoke("export", "--buyer", "u2", "--to", str(written), *options).stdout
    assert json.loads(written.read_text()) == printed
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    (tmp_path / "ids.txt").write_text(" u2\n\nu3\n")
    result = invoke("forget", "--file", str(tmp_path / "ids.txt"), *options)
    assert result.exit_code == 0, result.output
    assert "2 buyers erased" in result.stdout
    assert "canonical/events.parquet: 2" in result.stdout
    assert [row[c.BUYER_ID] for row in rows(shop_paths(config).events)] == ["u1"]
    assert invoke("forget", *options).exit_code == 1


@pytest.mark.store
def test_a_store_that_is_down_keeps_nothing_else_from_being_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = HEADER + "u1,p1,view,2024-03-01\nu1,gone,view,2024-03-01\nu2,p1,view,2024-03-01\n"
    config = shop(tmp_path, events=events, products="id,title\np1,شاي\n")
    ingest(config)
    paths = shop_paths(config)
    (paths.root / "canonical" / ".events.parquet.tmp").write_text("u1")
    monkeypatch.setenv("TAWSIYA_REDIS", "127.0.0.1:1")
    online = config.feature_store.model_copy(update={"online": "redis"})
    with pytest.raises(StoreUnavailableError):
        forget(config.model_copy(update={"feature_store": online}), ["u1"])
    assert [row[c.BUYER_ID] for row in rows(paths.events)] == ["u2"]
    assert rows(paths.quarantine) == []
    assert not list(paths.root.rglob(".*.tmp"))
    assert ForgottenBuyers(paths.forgotten).holds("u1")
    assert forget(config, ["u1"])["gate"] == {"canonical": "has not passed, as before; run `tawsiya validate`"}
