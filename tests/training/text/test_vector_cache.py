import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.text import vector_cache
from training.text.vector_cache import TextVectorCache, delete_cache, encode_distinct, waves_to_encode

DIM = 4


class CountingEncoder:
    """Encodes a text as numbers made of its characters, records the texts, and fails after `limit` texts."""

    dimension = DIM

    def __init__(self, vectors_id: str = "counting", limit: int = 1_000_000) -> None:
        self.vectors_id = vectors_id
        self.limit = limit
        self.seen: list[str] = []

    def encode_passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if len(self.seen) + len(texts) > self.limit:
            raise InterruptedError
        self.seen += texts
        return expected(texts)


def expected(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.array([[len(t), sum(t.encode()), hash_free(t), 1] for t in texts], np.float32).reshape(-1, DIM)


def hash_free(text: str) -> int:
    return sum(i * byte for i, byte in enumerate(text.encode())) % 65_521


def encode_in_a_process(cache_dir: Path, start: int) -> int:
    texts = [f"text {i}" for i in range(start, start + 3000)]
    np.testing.assert_array_equal(encode_distinct(texts, CountingEncoder(), cache_dir, False), expected(texts))
    return len(texts)


def test_order_and_duplicates_are_kept_and_each_text_is_encoded_once(tmp_path: Path) -> None:
    texts = ["شاي", "قهوة", "شاي", "", "coffee", "قهوة", ""]
    encoder = CountingEncoder()
    vectors_ND = encode_distinct(texts, encoder, tmp_path, show_progress=False)
    assert vectors_ND.dtype == np.float32
    np.testing.assert_array_equal(vectors_ND, expected(texts))
    assert sorted(encoder.seen) == sorted({"شاي", "قهوة", "", "coffee"})


def test_a_second_run_encodes_only_what_is_new(tmp_path: Path) -> None:
    encode_distinct(["a", "b"], CountingEncoder(), tmp_path, show_progress=False)
    second = CountingEncoder()
    encode_distinct(["b", "a", "b"], second, tmp_path, show_progress=False)
    assert second.seen == []
    np.testing.assert_array_equal(encode_distinct(["c", "a"], second, tmp_path, False), expected(["c", "a"]))
    assert second.seen == ["c"]


def test_no_texts(tmp_path: Path) -> None:
    assert encode_distinct([], CountingEncoder(), tmp_path).shape == (0, DIM)


def test_another_encoder_shares_nothing(tmp_path: Path) -> None:
    encode_distinct(["a"], CountingEncoder("one"), tmp_path, show_progress=False)
    other = CountingEncoder("org/two")
    encode_distinct(["a"], other, tmp_path, show_progress=False)
    assert other.seen == ["a"]
    # Not even in one folder.
    TextVectorCache(tmp_path / "shared", "one", DIM).add(["a"], expected(["a"]))
    assert TextVectorCache(tmp_path / "shared", "org/two", DIM).missing(["a"]) == ["a"]


def test_a_killed_run_resumes_where_it_was(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(2500)]
    with pytest.raises(InterruptedError):
        encode_distinct(texts, CountingEncoder(limit=2100), tmp_path, show_progress=False)
    second = CountingEncoder()
    np.testing.assert_array_equal(encode_distinct(texts, second, tmp_path, False), expected(texts))
    assert len(second.seen) == 2500 - 2048


@pytest.mark.parametrize(("keys_change", "vectors_change", "whole"), [(5, 7, 3), (0, 16, 3), (0, 100, 3), (0, -3, 2)])
def test_a_torn_tail_is_ignored_and_overwritten(
    tmp_path: Path, keys_change: int, vectors_change: int, whole: int
) -> None:
    TextVectorCache(tmp_path, "id", DIM).add(["a", "b", "c"], expected(["a", "b", "c"]))
    for file, change in (("keys_4.bin", keys_change), ("vectors_4.f32", vectors_change)):
        os.truncate(tmp_path / file, (tmp_path / file).stat().st_size + change)
    cache = TextVectorCache(tmp_path, "id", DIM)
    assert len(cache) == whole
    cache.add(cache.missing(["a", "b", "c", "d"]), expected(cache.missing(["a", "b", "c", "d"])))
    np.testing.assert_array_equal(
        TextVectorCache(tmp_path, "id", DIM).read(["d", "c", "b", "a"]), expected(["d", "c", "b", "a"])
    )
    assert (tmp_path / "keys_4.bin").stat().st_size == 4 * 16
    assert (tmp_path / "vectors_4.f32").stat().st_size == 4 * DIM * 4


def test_two_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(encode_in_a_process, [(tmp_path, 0), (tmp_path, 1500)], chunksize=1) == [3000, 3000]
    third = CountingEncoder()
    texts = [f"text {i}" for i in range(4500)]
    np.testing.assert_array_equal(encode_distinct(texts, third, tmp_path, False), expected(texts))
    assert third.seen == []
    assert (tmp_path / "counting" / "keys_4.bin").stat().st_size == 4500 * 16  # no text twice


def test_a_stored_vector_stays(tmp_path: Path) -> None:
    cache = TextVectorCache(tmp_path, "id", DIM)
    cache.add(["a"], expected(["a"]))
    cache.add(["a", "b"], np.zeros((2, DIM), np.float32))
    np.testing.assert_array_equal(cache.read(["a", "b"]), [expected(["a"])[0], np.zeros(DIM)])


@pytest.mark.parametrize("vectors_ND", [np.full((1, DIM), np.nan, np.float32), np.zeros((2, DIM), np.float32)])
def test_vectors_that_would_poison_the_cache_are_refused(tmp_path: Path, vectors_ND: npt.NDArray[np.float32]) -> None:
    cache = TextVectorCache(tmp_path, "id", DIM)
    with pytest.raises(ValueError, match="finite vectors of shape"):
        cache.add(["a"], vectors_ND)
    assert len(cache) == 0


def test_reading_an_unknown_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        TextVectorCache(tmp_path, "id", DIM).read(["never seen"])


def test_a_cache_that_was_deleted_and_filled_again_gives_no_wrong_vectors(tmp_path: Path) -> None:
    cache = TextVectorCache(tmp_path, "id", DIM)
    cache.add(["a", "b"], expected(["a", "b"]))
    delete_cache(tmp_path)
    np.testing.assert_array_equal(cache.read(["a", "b"]), expected(["a", "b"]))
    TextVectorCache(tmp_path, "id", DIM).add(["c", "d", "a"], expected(["c", "d", "a"]))
    cache.refresh()
    assert cache.missing(["a", "b"]) == ["b"]
    np.testing.assert_array_equal(cache.read(["a", "c"]), expected(["a", "c"]))


def test_texts_are_encoded_again_if_the_cache_is_deleted_meanwhile(tmp_path: Path) -> None:
    class DeletingEncoder(CountingEncoder):
        def encode_passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            if not self.seen:
                for folder in tmp_path.iterdir():
                    delete_cache(folder)
            return super().encode_passages(texts)

    encode_distinct(["a"], CountingEncoder(), tmp_path)
    np.testing.assert_array_equal(
        encode_distinct(["a", "b"], DeletingEncoder(), tmp_path, show_progress=False), expected(["a", "b"])
    )


@pytest.mark.parametrize("most_unsorted", [0, 3, 1000])
def test_keys_are_found_before_and_after_they_are_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_unsorted: int
) -> None:
    monkeypatch.setattr(vector_cache, "_UNSORTED", most_unsorted)
    texts = [f"text {i}" for i in range(20)]
    cache, reader = (TextVectorCache(tmp_path, "id", DIM) for _ in range(2))
    for start in range(0, 20, 2):
        cache.add(texts[start : start + 2], expected(texts[start : start + 2]))
        if start % 6 == 0:
            reader.refresh()
        assert reader.missing(texts) == texts[len(reader) :]
    reader.refresh()
    assert len(cache) == len(reader) == 20
    for each in (cache, reader, TextVectorCache(tmp_path, "id", DIM)):
        np.testing.assert_array_equal(each.read(texts[::-1]), expected(texts[::-1]))


def test_a_deleted_cache_leaves_no_sorted_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_cache, "_UNSORTED", 0)
    cache = TextVectorCache(tmp_path, "id", DIM)
    cache.add(["a", "b"], expected(["a", "b"]))
    delete_cache(tmp_path)
    cache.refresh()
    assert (len(cache), cache.missing(["a", "b"])) == (0, ["a", "b"])
    cache.add(["b"], expected(["b"]))
    np.testing.assert_array_equal(cache.read(["b"]), expected(["b"]))


def test_missing_texts_are_counted_once_each(tmp_path: Path) -> None:
    cache = TextVectorCache(tmp_path, "id", DIM)
    cache.add(["a"], expected(["a"]))
    assert cache.n_missing(["b", "a", "c", "b"]) == 2
    assert cache.n_missing(["a", "a"]) == cache.n_missing([]) == 0


def test_a_text_is_in_one_wave_and_waves_are_sorted_by_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WAVE", 3), ("_LOOKED_UP_AT_ONCE", 2), ("_CHUNK", 2)):
        monkeypatch.setattr(vector_cache, name, value)
    cache = TextVectorCache(tmp_path, "id", DIM)
    waves = []
    for chunks in waves_to_encode(cache, ["a", "bb", "ccc", "a", "a", "dddd", "bb", "e"]):
        waves.append(chunks)
        for chunk in chunks:
            cache.add(chunk, expected(chunk))
    assert waves == [[["ccc", "bb"], ["a"]], [["dddd", "e"]]]
