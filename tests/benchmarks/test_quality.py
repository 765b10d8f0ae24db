"""The quality benchmark on a folder of the shape that --data takes: two shelves, each user faithful to one."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.shops.data_sets import without_cold
from tests.tiny_encoder import write_tiny_encoder
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents
from training.evaluation.rescored_ranker import RescorerData

pytestmark = pytest.mark.e2e

N_USERS, SHELF = 40, 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """sequences.txt and items.csv."""
    rng = np.random.default_rng(1)
    lines = []
    for user in range(1, N_USERS + 1):
        items = 1 + user % 2 * SHELF + rng.permutation(SHELF)[:6]
        lines.append(" ".join(map(str, [user, *items])))
    (tmp_path / "sequences.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{item},A{item},item {item}" for item in range(1, 2 * SHELF + 1)]
    (tmp_path / "items.csv").write_text("item_id,asin,title\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_what_is_not_fitted_on_the_validation_days_counts_no_events_of_them() -> None:
    nothing = np.empty(0, dtype=np.int32)
    none = Histories(np.zeros(2, dtype=np.int64), nothing, nothing, nothing.astype(np.int64))

    def data_with(buyers: list[int]) -> RescorerData:
        """Each of the buyers chose both products."""
        codes, products = np.array([(buyer, product) for buyer in buyers for product in (0, 1)], dtype=np.int32).T
        events = TrainingEvents(codes, products, np.ones(len(codes), dtype=np.int64), 5, 2)
        return RescorerData(
            none, none, None, None, events, 2, np.ones(3, dtype=np.float32), np.zeros(1, dtype=np.int64)
        )

    later, earlier = data_with([0, 1, 2, 3, 4]), data_with([0, 1])
    data = quality._CountedEarlier(**quality._fields(later), earlier=earlier)
    assert data.co_occurrence.similarities_NM[0, 0] == pytest.approx(2 / (2 + 10))
    assert later.co_occurrence.similarities_NM[0, 0] == pytest.approx(5 / (5 + 10))


@pytest.mark.timeout(900)  # six models
def test_answers_of_a_run_and_of_the_same_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "data_dir": folder / "var",
        "model.item_tower.text_encoder": write_tiny_encoder(folder / "encoder"),
        "model.item_tower.text_residual": "false",
        "model.embedding_dim": 16,
        "training.num_epochs": 30,
        "training.patience": 30,
        "training.batch_size": 32,
        "training.learning_rate": 0.01,
        "inference.device": "cpu",
    }
    arguments = ["--dataset", "amazon_5core", "--data", str(folder), "--models", "two_tower,popularity", "--json"]
    arguments += ["--seeds", "2", *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]
    quality.main(arguments)
    first = json.loads(capsys.readouterr().out)
    views = ("", " shuffled", " rising", " falling")
    assert set(first["targets"]) == {f"next {fit}{view}" for fit in ("tv", "tr") for view in views}
    judged = first["targets"]["next tv"]
    for fit in ("tv", "tr"):
        as_given, shuffled, rising, falling = (first["targets"][f"next {fit}{view}"] for view in views)
        assert as_given["n"] == shuffled["n"] == rising["n"] + falling["n"] == N_USERS
        # The order of a history is nothing to popularity.
        assert shuffled["models"]["popularity"] == as_given["models"]["popularity"]
        for model, metrics in as_given["models"].items():
            parts = [part["n"] * part["models"][model]["hit_rate@10"] for part in (rising, falling)]
            assert sum(parts) == pytest.approx(N_USERS * metrics["hit_rate@10"])
    assert set(judged["models"]) == {"two_tower", "two_tower_alone", "popularity"}
    for model, metrics in judged["models"].items():
        low, high = judged["ci"][model]["hit_rate@10"]
        assert 0 <= low <= metrics["hit_rate@10"] <= high <= 1
    # 24 products less the five of the history: whoever only knows the shelves finds most of the last items in ten.
    assert judged["models"]["two_tower"]["hit_rate@10"] > 0.6
    assert [len(judged["seeds"][model]) for model in ("two_tower", "two_tower_alone")] == [2, 2]
    means = [seed["ndcg@20"] for seed in judged["seeds"]["two_tower"]]
    assert np.mean(means) == pytest.approx(judged["models"]["two_tower"]["ndcg@20"])
    assert judged["best_baseline"]["name"] == "popularity"

    # Without the validation days: another model, and popularity counted in fewer events.
    without = first["targets"]["next tr"]["models"]
    assert all(metrics != without[model] for model, metrics in judged["models"].items())
    kept = {path: path.stat().st_mtime_ns for path in (folder / "var").rglob("results/*.npz")}
    assert len(kept) == 3
    quality.main(arguments)
    assert json.loads(capsys.readouterr().out) == first
    assert {path: path.stat().st_mtime_ns for path in (folder / "var").rglob("results/*.npz")} == kept


def test_cold_products_are_left_only_as_last_items(folder: Path, tmp_path: Path) -> None:
    rows = [line.split()[1:] for line in without_cold(folder, tmp_path / "cold").read_text().splitlines()]
    before = {item for *items, _ in rows for item in items}
    last = {row[-1] for row in rows}
    cold = {str(item) for item in range(1, 2 * SHELF + 1)} - before
    assert len(cold) == round(0.1 * 2 * SHELF)
    assert cold & last
    original = [line.split()[1:] for line in (folder / "sequences.txt").read_text().splitlines()]
    assert rows == [[item for item in items[:-1] if item not in cold] + items[-1:] for items in original]
