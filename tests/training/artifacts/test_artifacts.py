"""What batch writes and the API reads: model, embeddings, index, releases, and the recommender on top of them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo import columns as c
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import sha256, write_json
from feature_repo.transforms.keys import product_key, product_keys
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, sequence
from tests.tiny_model import tiny_spec
from training.artifacts.embeddings import ID_TO_INDEX, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.gate_verdict import GATE_PASSED, GATE_REFUSED, NOT_JUDGED
from training.artifacts.model import CARD, WEIGHTS, ModelCard, load_model, save_model
from training.artifacts.recommender import Recommender, SchemaMismatchError
from training.artifacts.release import (
    CURRENT,
    ReleaseParts,
    check,
    current_release,
    delete_old,
    list_releases,
    promote,
    record_gate,
    rollback,
    verify_release,
    write_release,
)
from training.artifacts.release_manifest import MANIFEST
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.search.exact_search import ScoresAndPositions
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_files import INDEX_FILE
from training.artifacts.search.index_recall import buyer_like_queries, recall_against_exact
from training.artifacts.search.text_search import build_search_index
from training.artifacts.search.vector_index import IndexType, build_index, load_index
from training.artifacts.verified_files import VERIFIED_RELEASES
from training.data.histories import Histories
from training.model.item_features import Vocabularies
from training.model.prefixes import prefixes_of
from training.model.towers import TwoTower

PRODUCT_IDS = ["p1", "p2", "ق3", "p4"]
DIM = 8
SCHEMA = "0123456789abcdef"
SPEC = tiny_spec(embedding_dim=DIM, n_brands=2, n_categories=3, n_ids=3)
ALIASES = pa.table({c.PRODUCT_ID: ["twin", "lost"], c.DUPLICATE_OF: ["ق3", "p9"]})
VOCABULARIES = Vocabularies(("<UNK>", "نور"), ("<UNK>", "tea", "coffee"), (2.5,), np.array([11, 12], dtype=np.int64))
MODEL_CARD = ModelCard("tiny-float32-1a2b", "buyer_training", SCHEMA, epoch=3, metrics={"recall@20": 0.25})


def random_model() -> TwoTower:
    torch.manual_seed(1)
    return TwoTower(SPEC)


def unit_vectors(n: int, dim: int = DIM, seed: int = 1) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


# ---- model -----------------------------------------------------------------------------------------------------------


def test_a_model_reads_back_as_it_was_written(tmp_path: Path) -> None:
    model = random_model()
    save_model(tmp_path, model, VOCABULARIES, MODEL_CARD)
    loaded, vocabularies, card = load_model(tmp_path)
    assert card == MODEL_CARD
    assert loaded.spec == SPEC
    assert (vocabularies.brands, vocabularies.categories) == (VOCABULARIES.brands, VOCABULARIES.categories)
    assert vocabularies.price_edges == VOCABULARIES.price_edges
    assert_array_equal(vocabularies.product_keys, VOCABULARIES.product_keys)
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_event_weights_come_from_the_model_and_not_from_todays_configuration(tmp_path: Path) -> None:
    model = TwoTower(replace(SPEC, event_weights=(0.0, 2.0, 3.0)))
    save_model(tmp_path, model, VOCABULARIES, MODEL_CARD)
    assert load_model(tmp_path)[0].buyer_tower.event_weights == (0, 2, 3)


def test_a_model_is_plain_data(tmp_path: Path) -> None:
    save_model(tmp_path, random_model(), VOCABULARIES, MODEL_CARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD, WEIGHTS, "product_keys.npy"]
    content = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    assert content["format_version"] == 2
    assert content["brands"] == ["<UNK>", "نور"]


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, random_model(), VOCABULARIES, MODEL_CARD)
    content = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(content | {"format_version": 1}))
    with pytest.raises(ValueError, match=r"model\.json has format version 1, this program reads 2; run `tawsiya "):
        load_model(tmp_path)


def test_a_folder_without_a_card_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `tawsiya train` first"):
        load_model(tmp_path)
    save_model(tmp_path, random_model(), VOCABULARIES, MODEL_CARD)
    (tmp_path / CARD).unlink()  # a save that was killed
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)


# ---- embeddings ------------------------------------------------------------------------------------------------------


def test_embeddings_read_back_as_they_were_written(tmp_path: Path) -> None:
    vectors_ND = unit_vectors(4)
    save_embeddings(tmp_path, ProductEmbeddings(vectors_ND, np.array(PRODUCT_IDS)))
    loaded = load_embeddings(tmp_path)
    assert_array_equal(loaded.vectors_ND, vectors_ND)
    assert isinstance(loaded.vectors_ND, np.memmap)
    assert loaded.product_ids.tolist() == PRODUCT_IDS
    expected = {"p1": 0, "p2": 1, "ق3": 2, "p4": 3}
    assert json.loads((tmp_path / ID_TO_INDEX).read_text(encoding="utf-8")) == expected
    assert np.load(tmp_path / "product_embeddings.npy").shape == (4, DIM)
    assert np.load(tmp_path / "product_ids.npy").tolist() == PRODUCT_IDS


def test_vectors_and_ids_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="3 vectors for 4 product ids"):
        ProductEmbeddings(unit_vectors(3), np.array(PRODUCT_IDS))


def test_missing_embeddings_name_their_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `tawsiya embed` first"):
        load_embeddings(tmp_path)


# ---- index -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    n=st.integers(1, 40),
    dim=st.integers(1, 9),
    k=st.integers(1, 50),
    n_queries=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_flat_index_equals_brute_force(n: int, dim: int, k: int, n_queries: int, seed: int) -> None:
    vectors_ND, queries_BD = unit_vectors(n, dim, seed), unit_vectors(n_queries, dim, seed + 1)
    scores_BK, positions_BK = FlatIndex.build(vectors_ND).search(queries_BD, k)
    exact_BN = queries_BD @ vectors_ND.T
    assert scores_BK.shape == positions_BK.shape == (n_queries, min(k, n))
    assert_allclose(scores_BK, -np.sort(-exact_BN, axis=1)[:, :k], atol=1e-6)
    assert_allclose(np.take_along_axis(exact_BN, positions_BK, axis=1), scores_BK, atol=1e-6)
    assert all(len(set(row)) == len(row) for row in positions_BK.tolist())


def test_a_missing_index_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `tawsiya index` first"):
        load_index(tmp_path, unit_vectors(4))


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq_fastscan"])
def test_codes_of_other_vectors_are_refused(tmp_path: Path, kind: IndexType) -> None:
    build_index(unit_vectors(40), kind).save(tmp_path)
    for other_ND in (unit_vectors(41), unit_vectors(40, DIM + 1)):
        with pytest.raises(ValueError, match=r"of 40 products in 8 dimensions, .* run `tawsiya index` again"):
            load_index(tmp_path, other_ND)


@pytest.mark.parametrize(("n", "kind"), [(50_000, "flat"), (50_001, "pq_fastscan")])
def test_auto_chooses_by_the_number_of_products(n: int, kind: str) -> None:
    assert build_index(unit_vectors(n, 2), "auto").kind == kind


def test_recall_counts_what_is_as_good_as_the_kth_best() -> None:
    vectors_ND = np.repeat(unit_vectors(5), 20, axis=0)

    class Wrong(FlatIndex):
        """Finds the best product's twins, but the opposite of the last half of them."""

        def search(self, queries_BD: npt.NDArray[np.float32], k: int) -> ScoresAndPositions:
            scores_BK, positions_BK = super().search(queries_BD, k)
            scores_BK[:, k // 2 :] *= -1
            return scores_BK, positions_BK

    def recall_at_10(index: FlatIndex) -> float:
        return recall_against_exact(index, vectors_ND, buyer_like_queries(vectors_ND), [10])["recall@10"]

    assert recall_at_10(FlatIndex(vectors_ND[::-1])) == 1
    assert recall_at_10(Wrong(vectors_ND)) == 0.5
    assert recall_at_10(FlatIndex(vectors_ND[:80])) == pytest.approx(0.8, abs=0.1)


def test_queries_that_look_like_buyers_are_seeded_unit_vectors_near_some_products() -> None:
    vectors_ND = unit_vectors(200, 32)
    queries_QD, again_QD, others_QD = (buyer_like_queries(vectors_ND, 50, np.random.default_rng(s)) for s in (1, 1, 2))
    assert_array_equal(queries_QD, again_QD)
    assert not np.array_equal(queries_QD, others_QD)
    assert queries_QD.dtype == np.float32
    assert_allclose(np.linalg.norm(queries_QD, axis=1), np.ones(50), atol=1e-6)
    assert np.median((queries_QD @ vectors_ND.T).max(axis=1)) > 0.7


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda vectors: vectors * 1.01, "must have unit length; norms range from 1.0100 to 1.0100"),
        (lambda vectors: vectors * 0, "must have unit length"),
        (lambda vectors: np.where(np.arange(DIM) == 3, np.nan, vectors), r"finite \(N, D\) matrix"),
        (lambda vectors: np.where(np.arange(DIM) == 3, np.inf, vectors), r"finite \(N, D\) matrix"),
        (lambda vectors: vectors[0], r"finite \(N, D\) matrix"),
    ],
    ids=["too long", "zero", "NaN", "infinite", "one vector"],
)
def test_vectors_that_cannot_be_ranked_are_refused(spoil: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlatIndex.build(spoil(unit_vectors(4)))


# ---- releases --------------------------------------------------------------------------------------------------------


TITLES = ["tea", "coffee", "قهوة", "shoes"]


class Shop:
    """The parts of a release on disk, and the folder of releases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = folder / "releases"
        save_model(folder / "model", random_model(), VOCABULARIES, MODEL_CARD)
        Rescorer().save(folder / "model")
        vectors_ND = unit_vectors(4)
        save_embeddings(folder / "embeddings", ProductEmbeddings(vectors_ND, np.array(PRODUCT_IDS)))
        FlatIndex.build(vectors_ND).save(folder / "index")
        build_search_index(folder / "search_index", TITLES, vectors_ND, "flat")

    def write(self, schema_hash: str = SCHEMA, aliases: pa.Table = ALIASES) -> str:
        products = pa.table(
            {
                c.PRODUCT_ID: PRODUCT_IDS,
                c.PRODUCT_KEY: product_keys(PRODUCT_IDS),
                c.TITLE: TITLES,
                c.DESCRIPTION: ["", "", "", ""],
                c.BRAND: pa.array([None, "Dallah", "Dallah", None], pa.string()),
                c.CATEGORY: pa.array(["drinks", "drinks", "drinks", None], pa.string()),
                c.PHOTO: pa.nulls(4, pa.string()),
                c.PRICE: [1.5, None, 3.0, 4.0],
                c.STOCK: pa.nulls(4, pa.int64()),
                c.HIDDEN: [False, False, False, True],
            }
        )
        return write_release(
            self.releases,
            ReleaseParts(
                model=self.folder / "model",
                embeddings=self.folder / "embeddings",
                index=self.folder / "index",
                search_index=self.folder / "search_index",
                products=products,
                aliases=aliases,
                popular=np.array([2, 0, 3, 1], dtype=np.int32),
                recent_popularity=np.zeros((2, 4), dtype=np.float32),
                as_of_ms=0,
                settings={"data": {"source": "متجر"}},
            ),
            metrics={"models": {"two_tower": {"recall@20": 0.25}}},
            about={"dataset": "shop", "schema_hash": schema_hash, "n_products": 4},
        )

    def publish(self, schema_hash: str = SCHEMA) -> str:
        name = self.write(schema_hash)
        promote(self.releases, name)
        return name

    @property
    def live(self) -> str | None:
        folder = current_release(self.releases)
        return folder.name if folder else None


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


FILES = [
    MANIFEST,
    "config.json",
    "metrics.json",
    "model/model.json",
    "model/model.safetensors",
    "model/product_keys.npy",
    "model/rescorer.json",
    "popularity.npy",
    "recent_popularity.npy",
    "product_aliases.arrow",
    "product_embeddings.npy",
    "product_id_to_index.json",
    "product_ids.npy",
    "index_curve.json",
    "product_index.faiss",
    "products.arrow",
    "search_index/lexical_idf.npy",
    "search_index/lexical_offsets.npy",
    "search_index/lexical_products.npy",
    "search_index/lexical_weights.npy",
    "search_index/index_curve.json",
    "search_index/product_index.faiss",
    "search_index/text_vectors.npy",
    "search_index/vocabulary.arrow",
]


def test_a_release_holds_all_parts_and_is_whole(shop: Shop) -> None:
    name = shop.write()
    folder = shop.releases / name
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(FILES)
    manifest = verify_release(folder)
    assert (manifest["name"], manifest["dataset"], manifest["n_products"]) == (name, "shop", 4)
    assert set(manifest["sha256"]) == set(FILES) - {MANIFEST}
    assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == {"data": {"source": "متجر"}}
    assert check(shop.releases, name) == name


def test_a_written_release_is_not_live_until_promoted(shop: Shop) -> None:
    name = shop.write()
    assert shop.live is None
    with pytest.raises(GateRefusedError, match="no release is live"):
        check(shop.releases, None)
    promote(shop.releases, name)
    assert shop.live == name
    assert check(shop.releases, None) == name
    assert (shop.releases / CURRENT).is_symlink()
    assert verify_release(shop.releases / CURRENT)["name"] == name


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0b101
    path.write_bytes(content)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_one_changed_byte_anywhere_is_refused(shop: Shop, file: str, place: float) -> None:
    live, name = shop.publish(), shop.write()
    path = shop.releases / name / file
    flip(path, round(place * (path.stat().st_size - 1)))
    with pytest.raises(ValueError, match=file):
        verify_release(shop.releases / name)
    with pytest.raises(GateRefusedError, match=file):
        promote(shop.releases, name)
    assert shop.live == live


def test_a_changed_byte_all_over_the_manifest_is_refused(shop: Shop) -> None:
    name = shop.write()
    path = shop.releases / name / MANIFEST
    whole = path.read_bytes()
    meaning = json.loads(whole)
    for position in range(0, len(whole), 5):
        flip(path, position)
        with pytest.raises(ValueError, match=r"manifest\.json"):
            verify_release(shop.releases / name)
        path.write_bytes(whole)
    assert verify_release(shop.releases / name) == meaning


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused(shop: Shop, file: str) -> None:
    live, name = shop.publish(), shop.write()
    (shop.releases / name / file).unlink()
    with pytest.raises(GateRefusedError, match=file):
        promote(shop.releases, name)
    assert shop.live == live


@pytest.mark.parametrize("file", FILES[1:])
def test_a_file_cut_short_or_grown_is_refused(shop: Shop, file: str) -> None:
    name = shop.write()
    path = shop.releases / name / file
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole + b"\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=file):
            verify_release(shop.releases / name)


@pytest.mark.parametrize("file", ["extra.bin", "model/extra.bin", "deep/er/extra.bin", ".hidden"])
def test_an_unknown_file_is_refused(shop: Shop, file: str) -> None:
    name = shop.write()
    path = shop.releases / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"files that its manifest does not know: {file}"):
        verify_release(shop.releases / name)


def test_a_release_under_another_name_is_refused(shop: Shop) -> None:
    name = shop.write()
    (shop.releases / name).rename(shop.releases / "20240101T000000.000Z-00000000")
    with pytest.raises(GateRefusedError, match="does not match the release's name"):
        promote(shop.releases, "20240101T000000.000Z-00000000")


@pytest.mark.parametrize("name", ["..", ".", "", "../elsewhere", "/etc", "a/b", CURRENT, ".release-1", "nowhere"])
def test_what_is_not_the_name_of_a_release_is_refused(shop: Shop, name: str) -> None:
    live = shop.publish()
    outside = shop.folder / "elsewhere"
    shutil.copytree(shop.releases / live, outside)
    with pytest.raises(GateRefusedError):
        promote(shop.releases, name)
    assert shop.live == live


def test_roll_back_goes_one_release_back_at_a_time(shop: Shop) -> None:
    first, second, third = (shop.publish() for _ in range(3))
    assert [row["name"] for row in list_releases(shop.releases)] == [first, second, third]
    assert rollback(shop.releases) == second
    assert rollback(shop.releases) == first
    assert [row["live"] for row in list_releases(shop.releases)] == [True, False, False]
    with pytest.raises(GateRefusedError, match="no earlier release to roll back to"):
        rollback(shop.releases)
    assert shop.live == first


def test_without_a_live_release_there_is_nothing_to_roll_back(shop: Shop) -> None:
    with pytest.raises(GateRefusedError):
        rollback(shop.releases)
    shop.write()
    with pytest.raises(GateRefusedError):
        rollback(shop.releases)


def test_roll_back_to_a_damaged_release_is_refused(shop: Shop) -> None:
    first, second = shop.publish(), shop.publish()
    flip(shop.releases / first / INDEX_FILE, 40)
    with pytest.raises(GateRefusedError, match=INDEX_FILE):
        rollback(shop.releases)
    assert shop.live == second


def test_a_live_release_with_a_damaged_manifest_can_be_rolled_back(shop: Shop) -> None:
    first, second = shop.publish(), shop.publish()
    (shop.releases / second / MANIFEST).write_bytes(b"\xff not JSON")
    assert [row["name"] for row in list_releases(shop.releases)] == [first]
    assert rollback(shop.releases) == first


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"format_version": 99}', b"{}"])
def test_a_release_that_cannot_be_read_does_not_stop_the_others(shop: Shop, content: bytes) -> None:
    broken = shop.write()
    (shop.releases / broken / MANIFEST).write_bytes(content)
    names = [shop.publish() for _ in range(3)]
    assert [row["name"] for row in list_releases(shop.releases)] == names
    assert delete_old(shop.releases, keep=2) == names[:1]
    with pytest.raises(GateRefusedError, match=r"manifest\.json"):
        check(shop.releases, broken)


def test_the_oldest_releases_are_deleted_but_never_the_live_one_nor_the_one_before_it(shop: Shop) -> None:
    names = [shop.publish() for _ in range(6)]
    promote(shop.releases, names[2])
    assert delete_old(shop.releases, keep=2) == [names[0], names[3]]
    assert [row["name"] for row in list_releases(shop.releases)] == [names[1], names[2], names[4], names[5]]
    assert shop.live == names[2]
    assert delete_old(shop.releases, keep=2) == []
    assert rollback(shop.releases) == names[1]


def test_refused_releases_push_out_neither_the_live_one_nor_the_one_before_it(shop: Shop) -> None:
    before, live = shop.publish(), shop.publish()
    for _ in range(4):
        refused = shop.write()
        record_gate(shop.releases, refused, {"verdict": GATE_REFUSED, "reasons": ["worse"]})
        delete_old(shop.releases, keep=2)
        assert [row["name"] for row in list_releases(shop.releases)] == [before, live, refused]
    assert rollback(shop.releases) == before


# ---- verified once ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed from now on."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr("training.artifacts.release_manifest.sha256", noted)
    monkeypatch.setattr("training.artifacts.verified_files.TICK_NS", 0)
    return names


def test_a_rollback_to_a_verified_release_hashes_nothing(shop: Shop, hashed: list[str]) -> None:
    first, second = shop.publish(), shop.publish()
    hashed.clear()
    assert rollback(shop.releases) == first
    assert hashed == []
    promote(shop.releases, second)
    assert hashed == []
    check(shop.releases, second)
    assert len(hashed) == len(FILES) - 1


@pytest.mark.parametrize("damage", ["in place", "replaced", "missing", "added"])
def test_a_verified_release_that_changes_is_hashed_again(shop: Shop, hashed: list[str], damage: str) -> None:
    first, second = shop.publish(), shop.publish()
    path = shop.releases / first / "popularity.npy"
    content, times = path.read_bytes(), path.stat()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    if damage == "in place":
        path.write_bytes(changed)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a tool that keeps times does
    elif damage == "replaced":
        path.with_suffix(".new").write_bytes(changed)
        path.with_suffix(".new").replace(path)
    elif damage == "missing":
        path.unlink()
    else:
        path.with_name("more.npy").write_bytes(b"")
    with pytest.raises(GateRefusedError):
        rollback(shop.releases)
    assert shop.live == second


def test_a_copied_shop_is_hashed_again(shop: Shop, hashed: list[str], tmp_path: Path) -> None:
    first, _ = shop.publish(), shop.publish()
    copy = tmp_path / "copy"
    shutil.copytree(shop.folder, copy, symlinks=True, ignore=shutil.ignore_patterns("copy"))
    hashed.clear()
    assert rollback(copy / "releases") == first
    assert len(hashed) == len(FILES) - 1


def test_a_file_that_changed_a_moment_before_is_not_trusted(
    shop: Shop, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.artifacts.verified_files.TICK_NS", 3600 * 10**9)
    shop.publish()
    shop.publish()
    hashed.clear()
    rollback(shop.releases)
    assert hashed


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}'])
def test_a_damaged_note_costs_only_the_hashes(shop: Shop, content: str) -> None:
    first, _ = shop.publish(), shop.publish()
    shop.releases.with_name(VERIFIED_RELEASES).write_text(content)
    assert rollback(shop.releases) == first


# ---- the verdict of the gate -----------------------------------------------------------------------------------------

REFUSED_BY_RECALL = {"verdict": GATE_REFUSED, "reasons": ["recall@20 fell from .5 to .1"], "notes": []}
PASSED_GATE = {"verdict": GATE_PASSED, "reasons": [], "notes": []}


def judged(shop: Shop, gate: dict[str, Any]) -> str:
    name = shop.write()
    record_gate(shop.releases, name, gate)
    return name


@pytest.mark.parametrize(
    ("gate", "message"),
    [(REFUSED_BY_RECALL, r"was refused: recall@20 fell from \.5 to \.1"), (dict(NOT_JUDGED), "was not judged")],
)
def test_a_refused_release_goes_live_by_force_alone(shop: Shop, gate: dict[str, Any], message: str) -> None:
    live, name = shop.publish(), judged(shop, gate)
    with pytest.raises(GateRefusedError, match=rf"{message}.*promote {name} --force"):
        promote(shop.releases, name)
    assert shop.live == live
    promote(shop.releases, name, forced_because="the old prices were wrong")
    assert shop.live == name
    verify_release(shop.releases / name)
    recorded = list_releases(shop.releases)[-1]["gate"]
    assert recorded["verdict"] == gate["verdict"]
    assert recorded["forced"]["reason"] == "the old prices were wrong"
    assert recorded["forced"]["by"]
    promote(shop.releases, live)
    promote(shop.releases, name)  # somebody has answered for it once


def test_the_verdict_changes_neither_the_name_nor_the_sums(shop: Shop) -> None:
    name = judged(shop, PASSED_GATE)
    promote(shop.releases, name)
    assert verify_release(shop.releases / name)["gate"]["verdict"] == GATE_PASSED


def test_a_changed_verdict_is_damage(shop: Shop) -> None:
    name = judged(shop, REFUSED_BY_RECALL)
    path = shop.releases / name / MANIFEST
    path.write_text(path.read_text().replace('"verdict": "refused"', '"verdict": "passed"'))
    with pytest.raises(GateRefusedError, match="the verdict of the gate is not as it was written"):
        promote(shop.releases, name)


def test_roll_back_leaves_refused_releases_out(shop: Shop) -> None:
    first = shop.publish()
    judged(shop, REFUSED_BY_RECALL)
    judged(shop, dict(NOT_JUDGED))
    third = judged(shop, PASSED_GATE)
    promote(shop.releases, third)
    assert rollback(shop.releases) == first


def test_refused_releases_take_no_place_of_those_to_roll_back_to(shop: Shop) -> None:
    good = [shop.publish() for _ in range(3)]
    bad = [judged(shop, REFUSED_BY_RECALL) for _ in range(3)]
    assert delete_old(shop.releases, keep=2) == [good[0], *bad[:2]]
    later = shop.publish()
    assert delete_old(shop.releases, keep=2) == [good[1], bad[2]]
    assert [row["name"] for row in list_releases(shop.releases)] == [good[2], later]


def test_no_folder_of_releases_is_an_empty_list(tmp_path: Path) -> None:
    assert list_releases(tmp_path / "nowhere") == []
    assert current_release(tmp_path / "nowhere") is None


def test_half_written_releases_are_ignored_and_cleaned(shop: Shop) -> None:
    name = shop.publish()
    half = shop.releases / ".release-4711"
    shutil.copytree(shop.releases / name, half)
    (shop.releases / ".current-4711").symlink_to(name)
    assert [row["name"] for row in list_releases(shop.releases)] == [name]
    with pytest.raises(GateRefusedError, match="is not the name of a release"):
        promote(shop.releases, half.name)
    shop.write()
    assert not half.exists()
    assert shop.live == name


def test_a_release_has_its_name_only_when_it_is_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space_for_the_manifest(path: Path, content: dict[str, Any]) -> None:
        if path.name == MANIFEST:
            raise OSError("no space left on device")
        write_json(path, content)

    monkeypatch.setattr("training.artifacts.release.write_json", no_space_for_the_manifest)
    with pytest.raises(OSError, match="no space"):
        shop.write()
    assert [path for path in shop.releases.iterdir() if not path.name.startswith(".")] == []


def test_what_a_killed_training_run_left_stays_out_of_a_release(shop: Shop) -> None:
    (shop.folder / "model" / ".checkpoint-4711").mkdir()
    (shop.folder / "model" / ".checkpoint-4711" / "state.safetensors").write_bytes(b"half")
    name = shop.write()
    assert sorted(path.name for path in (shop.releases / name / "model").iterdir()) == [
        CARD,
        WEIGHTS,
        "product_keys.npy",
        "rescorer.json",
    ]


# ---- recommender -----------------------------------------------------------------------------------------------------


def open_live(shop: Shop) -> Recommender:
    live = current_release(shop.releases)
    assert live is not None
    return Recommender(live, schema_hash=SCHEMA)


@pytest.fixture
def recommender(shop: Shop) -> Recommender:
    shop.publish()
    return open_live(shop)


def test_another_feature_schema_is_refused(shop: Shop) -> None:
    name = shop.publish(schema_hash="feedfeedfeedfeed")
    with pytest.raises(SchemaMismatchError) as caught:
        open_live(shop)
    message = str(caught.value)
    for part in (name, "feedfeedfeedfeed", SCHEMA, "run `tawsiya refresh`"):
        assert part in message


def test_a_damaged_release_is_not_served(shop: Shop) -> None:
    name = shop.publish()
    flip(shop.releases / name / "products.arrow", 500)
    with pytest.raises(ValueError, match=r"products\.arrow"):
        open_live(shop)


def test_the_recommender_knows_its_release(recommender: Recommender, shop: Shop) -> None:
    assert (len(recommender), recommender.dim, recommender.name) == (4, DIM, shop.live)
    assert recommender.text_encoder == MODEL_CARD.text_encoder
    assert recommender.products.row(2)[c.TITLE] == "قهوة"
    assert recommender.products.prices_N[2] == 3.0
    assert recommender.products.positions(product_keys(["p4", "p9", "p1"])).tolist() == [3, -1, 0]


def test_a_merged_product_has_the_key_of_the_one_that_stands_for_it(recommender: Recommender) -> None:
    assert recommender.products.product_key("twin") == recommender.products.product_key("ق3") == product_key("ق3")
    assert recommender.products.product_key("p1") == product_key("p1")
    unknown = np.array([recommender.products.product_key(product_id) for product_id in ("lost", "never heard of")])
    assert recommender.products.positions(unknown).tolist() == [-1, -1]


def test_a_release_needs_no_merged_products(shop: Shop) -> None:
    promote(shop.releases, shop.write(aliases=ALIASES.slice(0, 0)))
    recommender = open_live(shop)
    assert recommender.products.product_key("twin") == product_key("twin")
    assert recommender.products.positions(np.array([recommender.products.product_key("p4")])).tolist() == [3]


def test_a_buyer_is_what_the_buyer_tower_makes_of_the_events(recommender: Recommender) -> None:
    events = sequence(product_keys(["p4", "gone", "p2"]), [0, 2, 2], [1, 2, 3])
    [buyer] = recommender.encode_buyers([recommender.known_events(events)])
    known = Histories(
        np.array([0, 2]), np.array([3, 1], np.int32), np.array([0, 2], np.int32), np.array([1, 3], np.int64)
    )
    prefixes = prefixes_of(known, np.array([0]), np.array([2]))
    with torch.no_grad():
        expected_1D = random_model().eval().buyer_tower(torch.from_numpy(unit_vectors(4)), prefixes)
    assert_allclose(buyer.vector_D, expected_1D[0], atol=1e-6)


def test_a_buyer_without_known_products_has_no_vector_of_the_events(recommender: Recommender) -> None:
    assert recommender.known_events(EMPTY_SEQUENCE).is_empty
    assert recommender.known_events(sequence(product_keys(["gone"]), [2], [1])).is_empty
    empty = random_model().buyer_tower.empty.detach()
    assert_allclose(recommender.empty_buyer_vector(), empty / empty.norm(), atol=1e-6)


def test_the_nearest_products_come_best_first(recommender: Recommender) -> None:
    scores_N = unit_vectors(4) @ unit_vectors(4)[1]
    (ranked,) = recommender.nearest(unit_vectors(4)[1:2], 3)
    assert ranked.positions.tolist() == np.argsort(-scores_N)[:3].tolist()
    assert ranked.positions[0] == 1
    assert_allclose(ranked.scores, np.sort(scores_N)[::-1][:3], atol=1e-6)
    assert len(recommender.nearest(unit_vectors(4)[1:2], 100)[0].positions) == 4


def test_popular_products_come_in_the_order_of_the_release(recommender: Recommender) -> None:
    ranked = recommender.most_popular(3)
    assert ranked.positions.tolist() == [2, 0, 3]
    assert_allclose(ranked.scores, [1, 1 / 2, 1 / 3])
    assert recommender.most_popular(99).positions.tolist() == [2, 0, 3, 1]


def test_an_open_recommender_outlives_the_deletion_of_its_release(recommender: Recommender, shop: Shop) -> None:
    (before,) = recommender.nearest(unit_vectors(4)[:1], 4)
    assert shop.live is not None
    shutil.rmtree(shop.releases / shop.live)
    (after,) = recommender.nearest(unit_vectors(4)[:1], 4)
    assert_array_equal(before.positions, after.positions)
    assert recommender.products.row(3)[c.TITLE] == "shoes"
    assert recommender.encode_buyers([recommender.known_events(sequence(product_keys(["p1"]), [2], [1]))])
