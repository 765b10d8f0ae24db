"""Milvus as an index: which collection it is, what a killed job leaves, and what happens while the engine is away."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.random_release import unit_vectors
from training.artifacts.search import milvus_index
from training.artifacts.search.exact_search import exact_search
from training.artifacts.search.index_recall import recall_against_exact
from training.artifacts.search.milvus_collection import Engine, EngineError, MilvusCollection, drop_unused
from training.artifacts.search.milvus_index import MilvusIndex
from training.artifacts.search.vector_index import load_index

lite = pytest.importorskip("milvus_lite.adapter.grpc.server", reason="the extra `milvus` is not installed")

VECTORS, QUERIES = unit_vectors(1000, 16, seed=1), unit_vectors(20, 16, seed=2)


class Server:
    """Milvus Lite behind an address of its own, which stays the same when it starts again."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._port = 0
        self.start()

    def start(self) -> None:
        self._server, self._db, self._port = lite.start_server_in_thread(self._folder, "127.0.0.1", self._port)

    def stop(self) -> None:
        self._server.stop(grace=0).wait()
        self._db.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "milvus")
    yield server
    server.stop()


@pytest.fixture
def engine(server: Server) -> Engine:
    return Engine(server.address, "shop")


def names(engine: Engine) -> list[str]:
    from pymilvus import MilvusClient

    return sorted(MilvusClient(engine.address).list_collections())


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, but for the server that runs in this process."""
    return [record.getMessage() for record in caplog.records if record.name != "grpc._server"]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(110, 600), dim=st.integers(2, 9), k=st.integers(1, 40), seed=st.integers(0, 99))
def test_it_finds_nearly_what_exact_search_finds(engine: Engine, n: int, dim: int, k: int, seed: int) -> None:
    vectors_ND, queries_BD = unit_vectors(n, dim, seed), unit_vectors(10, dim, seed + 1)
    index = MilvusIndex.build(vectors_ND, engine).with_value(100)  # fewer than the products: the engine chooses
    assert recall_against_exact(index, vectors_ND, queries_BD, [k])[f"recall@{k}"] >= 0.9


def test_a_collection_is_named_after_the_shop_and_what_is_in_it() -> None:
    engine = Engine("http://milvus:19530", "my-shop")
    name = MilvusCollection.of(engine, VECTORS).name
    assert name.startswith("tawsiya_my_2d_shop_")
    assert MilvusCollection.of(engine, VECTORS.copy()).name == name
    others = [VECTORS[::-1], VECTORS[:-1], VECTORS.reshape(2000, 8), np.nextafter(VECTORS, 2)]
    assert len({name, *(MilvusCollection.of(engine, other_ND).name for other_ND in others)}) == 5


def test_a_complete_collection_stays_and_an_incomplete_one_is_made_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted: list[int] = []
    insert = MilvusCollection._insert

    def some(collection: MilvusCollection, client: Any, vectors_ND: Any) -> None:
        inserted.append(len(vectors_ND))
        insert(collection, client, vectors_ND[: len(vectors_ND) if len(inserted) > 1 else 300])

    monkeypatch.setattr(MilvusCollection, "_insert", some)
    for _ in range(3):  # as of a killed job; again; nothing to do
        index = MilvusIndex.build(VECTORS, engine)
    assert inserted == [1000, 1000]
    assert recall_against_exact(index, VECTORS, QUERIES, [10])["recall@10"] > 0.95
    assert len(names(engine)) == 1


def test_only_unused_collections_of_the_same_shop_are_dropped(engine: Engine) -> None:
    shops = [engine, engine, Engine(engine.address, "shop_2"), Engine(engine.address, "sho")]
    kept, gone, *others = (
        MilvusIndex.build(unit_vectors(20, 4, seed), shop).settings()["collection"] for seed, shop in enumerate(shops)
    )
    assert drop_unused(engine, {kept}) == [gone]
    assert names(engine) == sorted([kept, *others])


def test_rows_of_other_products_are_refused(engine: Engine) -> None:
    name = MilvusIndex.build(VECTORS, engine).settings()["collection"]
    index = MilvusIndex(MilvusCollection(engine.address, name), VECTORS[:500])
    with pytest.raises(EngineError, match=f"the rows of {name} are not of these products"):
        index.search(QUERIES, 10)


def test_an_index_of_other_vectors_is_not_loaded(engine: Engine, tmp_path: Path) -> None:
    MilvusIndex.build(VECTORS, engine).save(tmp_path)
    with pytest.raises(ValueError, match=r"of 1000 products in 16 dimensions.*run `tawsiya index` again"):
        load_index(tmp_path, VECTORS[:500])


def test_building_without_the_engine_is_one_clear_error(
    server: Server, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAWSIYA_MILVUS_TOKEN", "root:very-secret")
    index = MilvusIndex.build(VECTORS, engine)
    server.stop()
    for action in (lambda: index.search(QUERIES, 10), lambda: MilvusIndex.build(unit_vectors(20, 4), engine)):
        with pytest.raises(
            EngineError, match=f"^Milvus at index.address={engine.address}: .*index.type=auto$"
        ) as error:
            action()
        assert "\n" not in str(error.value)
        assert "very-secret" not in str(error.value)
    server.start()


def test_a_loaded_index_searches_exactly_while_the_engine_is_away(
    server: Server, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []
    candidates = MilvusCollection.candidates

    def counted(collection: MilvusCollection, *arguments: Any) -> Any:
        asked.append(1)
        return candidates(collection, *arguments)

    monkeypatch.setattr(MilvusCollection, "candidates", counted)
    MilvusIndex.build(VECTORS, engine).with_value(100).save(tmp_path)
    server.stop()
    index = load_index(tmp_path, VECTORS)
    for _ in range(3):
        for found, exact in zip(index.search(QUERIES, 10), exact_search(VECTORS, QUERIES, 10), strict=True):
            assert_array_equal(found, exact)
    assert len(asked) == 1  # the others did not wait for it
    monkeypatch.setattr(milvus_index, "RETRY_S", 0)
    index._retry_at = 0  # type: ignore[union-attr]
    index.search(QUERIES, 10)
    assert len(asked) == 2
    assert [message[:30] for message in logged(caplog)] == ["searching all products exactly"]
    server.start()  # with the collection on its disk, not in memory
    for _ in range(200):  # the client waits a little between attempts to connect
        index.search(QUERIES, 10)
        if len(logged(caplog)) > 1:
            break
        time.sleep(0.1)
    index.search(QUERIES, 10)
    assert logged(caplog)[1:] == [f"Milvus at {engine.address} answers again"]


def test_more_results_than_milvus_returns_are_searched_exactly(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    index = MilvusIndex.build(VECTORS, engine).with_value(100)
    monkeypatch.setattr(MilvusIndex, "MOST_CANDIDATES", 150)
    monkeypatch.setattr(MilvusCollection, "candidates", lambda *_: pytest.fail("asked the engine"))
    for found, exact in zip(index.search(QUERIES, 151), exact_search(VECTORS, QUERIES, 151), strict=True):
        assert_array_equal(found, exact)
    assert index.candidates(QUERIES, 151) is None


def test_without_the_client_building_says_what_to_install(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MilvusIndex.build(VECTORS, engine).save(tmp_path)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(EngineError, match=r"pip install 'tawsiya\[milvus\]'"):
        MilvusIndex.build(VECTORS, engine)
    found = load_index(tmp_path, VECTORS).search(QUERIES, 10)
    assert_array_equal(found[1], exact_search(VECTORS, QUERIES, 10)[1])


def test_the_exported_index_holds_the_vectors(engine: Engine) -> None:
    exported = MilvusIndex.build(VECTORS, engine).exported()
    scores_BK, positions_BK = exported.search(QUERIES, 10)
    for found, exact in zip((scores_BK, positions_BK), exact_search(VECTORS, QUERIES, 10), strict=True):
        assert_array_equal(found, exact)
