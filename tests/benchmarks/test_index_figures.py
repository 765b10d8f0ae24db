"""The figures of the index benchmark: their form, and what they are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.index import main, resized
from tests.random_release import unit_vectors
from training.artifacts.search.vector_index import INDEXES

FIGURES = {"p50_ms", "p99_ms", "recall@10", "recall@100", "build_s", "bytes"}


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main([*arguments, "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_every_kind_is_measured_on_random_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    answer = figures(capsys, "--products", "600")
    assert answer["vectors"]["products"] == 600
    assert answer["vectors"]["what"].startswith("random, in clusters")
    assert set(answer["indexes"]) == set(INDEXES)
    assert all(figures.keys() >= FIGURES for figures in answer["indexes"].values())
    assert answer["indexes"]["flat"]["recall@100"] == 1


def test_vectors_of_a_shop_beyond_its_own_are_perturbed_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real_MD = unit_vectors(300, 32)
    np.save(tmp_path / "shop.npy", real_MD)
    np.save(tmp_path / "buyers.npy", unit_vectors(50, 32, seed=2))
    given = ("--vectors", str(tmp_path / "shop.npy"), "--queries", str(tmp_path / "buyers.npy"), "--indexes", "flat")
    answer = figures(capsys, *given, "--products", "400")
    assert answer["vectors"] == {
        "what": "of shop.npy, 300 real ones and 100 that are real ones perturbed",
        "products": 400,
        "perturbed": 100,
        "dim": 32,
        "queries": "of buyers.npy",
    }
    assert list(answer["indexes"]) == ["flat"]
    assert figures(capsys, *given)["vectors"]["perturbed"] == 0

    more_ND = resized(real_MD, 400, np.random.default_rng(0))
    np.testing.assert_array_equal(more_ND[:300], real_MD)
    np.testing.assert_allclose(np.linalg.norm(more_ND, axis=1), np.ones(400), atol=1e-6)
    assert (more_ND[300:] @ real_MD.T).max() < 1 - 1e-4  # none is a copy
    fewer = {tuple(row) for row in resized(real_MD, 20, np.random.default_rng(0)).tolist()}
    assert len(fewer) == 20
    assert fewer <= {tuple(row) for row in real_MD.tolist()}
