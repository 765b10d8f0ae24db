"""The map of a release's products: what is sampled, that neighbours stay near, and what old releases have."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from tests.random_release import write_random_release
from training.artifacts.inspection.product_map import FEWEST_PRODUCTS, MOST_PRODUCTS, PRODUCT_MAP, ProductMap, sample


def two_shelves(n_of_each: int, dim: int = 8) -> npt.NDArray[np.float32]:
    """Unit vectors around the first axis, then as many around the second."""
    vectors = np.random.default_rng(3).normal(scale=0.1, size=(2 * n_of_each, dim))
    vectors[:n_of_each, 0] += 1
    vectors[n_of_each:, 1] += 1
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def codes(*counts: int) -> npt.NDArray[np.int32]:
    """So many products of each category, the first of none."""
    return np.repeat(np.arange(-1, len(counts) - 1), counts).astype(np.int32)


def test_the_sample_has_each_category_in_its_share() -> None:
    category_codes_N = np.random.default_rng(1).permutation(codes(6000, 3000, 990, 10))
    positions = sample(category_codes_N)
    assert len(positions) == MOST_PRODUCTS
    assert (np.diff(positions) > 0).all()
    assert_array_equal(np.bincount(category_codes_N[positions] + 1), [1200, 600, 198, 2])


def test_a_small_catalogue_is_sampled_whole() -> None:
    assert sample(codes(2, 1)).tolist() == [0, 1, 2]
    assert sample(codes()).tolist() == []


def test_similar_products_lie_together() -> None:
    places = ProductMap.build(two_shelves(30), codes(60)).places_M2
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert_array_equal(nearest < 30, np.arange(60) < 30)
    assert np.abs(places).max() == pytest.approx(1)


def test_the_same_products_make_the_same_map() -> None:
    first, second = (ProductMap.build(two_shelves(20), codes(40)) for _ in range(2))
    assert_array_equal(first.places_M2, second.places_M2)


@pytest.mark.parametrize("n_products", range(FEWEST_PRODUCTS + 2))
def test_few_products_have_a_map(n_products: int) -> None:
    built = ProductMap.build(two_shelves(4)[:n_products], codes(n_products))
    assert len(built) == n_products
    assert np.isfinite(built.places_M2).all()


def test_equal_products_have_a_map() -> None:
    built = ProductMap.build(np.full((9, 4), 0.5, dtype=np.float32), codes(9))
    assert len(np.unique(built.places_M2[:, 0])) == 9


def test_a_product_outside_the_sample_lies_where_the_nearest_one_does() -> None:
    sampled_MD = np.eye(3, dtype=np.float32)
    built = ProductMap(np.array([4, 7, 9], dtype=np.int32), np.array([[0, 1], [1, 0], [-1, 0]], dtype=np.float32))
    vectors_PD = np.array([[0.1, 0.9, 0.2], [0, 0, 1]], dtype=np.float32)
    assert built.places(vectors_PD, sampled_MD).tolist() == [[1, 0], [-1, 0]]


def test_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    built = ProductMap.build(two_shelves(5), codes(10))
    built.save(tmp_path / PRODUCT_MAP)
    read = ProductMap.load(tmp_path)
    assert read is not None
    assert_array_equal(read.positions_M, built.positions_M)
    assert_array_equal(read.places_M2, built.places_M2)


def test_a_release_without_a_map_has_none(tmp_path: Path) -> None:
    assert ProductMap.load(write_random_release(tmp_path, 3)) is None
