"""The gate before promote: deliberately worse candidates are refused by the figure that is worse, and noise is not."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_jobs.release_gate.judge import judge
from batch_jobs.release_gate.limits import judge_latency, judge_lists
from batch_jobs.release_gate.measures import Measured
from batch_jobs.release_gate.table import FigureRow, Judgement, gate_lines
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.settings.release import ReleaseConfig
from tests.batch_jobs.release_gate.gate_shop import (
    END,
    N_PRODUCTS,
    TEST_FROM,
    catalogue,
    judged,
    release,
    vectors,
    write_events,
)
from tests.random_release import unit_vectors
from training.artifacts.embeddings import VECTORS
from training.artifacts.model import CARD
from training.artifacts.release import MODEL_FOLDER
from training.artifacts.release_manifest import MANIFEST, _content_hash
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import Rescorer

DAY = dt.timedelta(days=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return shop_config(tmp_path)


def shop_config(folder: Path, **release_section: Any) -> Config:
    config = Config.model_validate({"data_dir": folder / "var", "release": release_section})
    write_events(config)
    return config


def row(judgement: Judgement, figure: str) -> FigureRow:
    return next(row for row in judgement.rows if row.figure == figure)


def figures(judgement: Judgement, figure: str) -> tuple[float, float]:
    """The values of a row, of live and candidate."""
    live, candidate = row(judgement, figure).live, row(judgement, figure).candidate
    assert live is not None
    assert candidate is not None
    return live, candidate


def shuffled() -> Any:
    return vectors()[np.random.default_rng(5).permutation(N_PRODUCTS)]


# ---- as good, and worse ----------------------------------------------------------------------------------------------


def test_the_same_model_again_passes(config: Config, tmp_path: Path) -> None:
    judgement = judged(config, release(tmp_path / "b"), release(tmp_path / "a"))
    assert (judgement.reasons, judgement.notes) == ([], [])
    assert judgement.window == {"from": TEST_FROM.isoformat(), "to": END.isoformat(), "buyers": 80}
    for name in ("recall@20", "ndcg@20", "recall@20, new items"):
        assert row(judgement, name).live == row(judgement, name).candidate
        assert row(judgement, name).interval == (0, 0)
    # 20 of the 40 products of a department, of which ten are known.
    assert figures(judgement, "recall@20")[1] > 0.4


def test_vectors_of_other_products_are_refused_by_their_recall(config: Config, tmp_path: Path) -> None:
    judgement = judged(config, release(tmp_path / "b", vectors_ND=shuffled()), release(tmp_path / "a"))
    assert any(reason.startswith("recall@20 fell from") for reason in judgement.reasons)
    assert any("more than release.max_recall_loss=0.05" in reason for reason in judgement.reasons)
    interval = row(judgement, "recall@20").interval
    assert interval is not None
    assert interval[1] < 0


def test_a_better_candidate_passes(config: Config, tmp_path: Path) -> None:
    assert judged(config, release(tmp_path / "b"), release(tmp_path / "a", vectors_ND=shuffled())).reasons == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_vectors_that_are_not_finite_or_not_of_unit_length_are_refused(
    config: Config, tmp_path: Path, value: float
) -> None:
    broken = vectors()
    broken[:3] *= value
    judgement = judged(
        config, release(tmp_path / "b", vectors_ND=broken, indexed_ND=vectors()), release(tmp_path / "a")
    )
    assert judgement.reasons == ["3 of 160 product vectors are not finite or not of unit length; run `tawsiya embed`"]
    assert judgement.comparable is None
    json.dumps(judgement.as_json(), allow_nan=False)


def test_an_index_of_other_vectors_is_refused_by_its_recall(config: Config, tmp_path: Path) -> None:
    n = 4_000  # an approximate index compares 600 candidates exactly
    good = unit_vectors(n)
    products = catalogue(n)
    kind: dict[str, Any] = {"index_type": "pq_fastscan", "products": products, "vectors_ND": good}
    wrong = judged(config, release(tmp_path / "b", **kind, indexed_ND=unit_vectors(n, seed=9)), None)
    assert any(reason.startswith("index_recall@50 is ") for reason in wrong.reasons)
    right = judged(config, release(tmp_path / "c", **kind), None)
    assert not any("index_recall" in reason for reason in right.reasons)


def test_vectors_that_say_nothing_are_refused_where_the_re_scorer_makes_up_for_them(tmp_path: Path) -> None:
    config = shop_config(tmp_path, max_recall_loss=0.95, max_ndcg_loss=0.95)
    [reason] = judged(config, release(tmp_path / "b", vectors_ND=shuffled()), release(tmp_path / "a")).reasons
    assert reason.startswith("recall@20, new items, similarity alone fell from")
    assert reason.endswith("by more than release.max_similarity_loss=0.3")


def test_half_the_catalogue_missing_is_refused_by_its_size(config: Config, tmp_path: Path) -> None:
    half = release(tmp_path / "b", products=catalogue(N_PRODUCTS // 2))
    judgement = judged(config, half, release(tmp_path / "a"))
    assert "products fell from 160 to 80, by more than release.max_size_loss=0.3" in judgement.reasons
    # What it lacks are its misses: else lists of 20 of the 20 products of a department would miss nothing.
    assert figures(judgement, "recall@20")[1] < 0.6


def test_products_that_live_lacks_are_misses_of_the_live_release(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a", products=catalogue(N_PRODUCTS // 2))
    judgement = judged(config, release(tmp_path / "b"), live)
    assert figures(judgement, "recall@20")[0] < 0.6
    assert judgement.reasons == []


def test_hidden_products_are_refused_by_their_share(config: Config, tmp_path: Path) -> None:
    judgement = judged(config, release(tmp_path / "b", products=catalogue(n_hidden=80)), release(tmp_path / "a"))
    assert "recommendable fell from 1 to 0.5, by more than release.max_size_loss=0.3" in judgement.reasons
    alone = judged(config, release(tmp_path / "c", products=catalogue(n_hidden=160)), None)
    assert "recommendable: all products of the candidate are hidden" in alone.reasons


def test_a_list_of_few_products_for_all_is_refused_by_its_coverage(tmp_path: Path) -> None:
    config = shop_config(tmp_path, max_recall_loss=1, max_ndcg_loss=1, max_similarity_loss=1, max_coverage_loss=0.2)
    same = np.tile(vectors()[:1], (N_PRODUCTS, 1))
    judgement = judged(config, release(tmp_path / "b", vectors_ND=same), release(tmp_path / "a"))
    assert [reason.partition(" fell")[0] for reason in judgement.reasons] == ["coverage@20"]


# ---- margins, noise and floors ---------------------------------------------------------------------------------------


def test_a_loss_within_the_margin_passes(tmp_path: Path) -> None:
    config = shop_config(tmp_path, max_recall_loss=0.95, max_ndcg_loss=0.95, max_similarity_loss=0.95)
    assert judged(config, release(tmp_path / "b", vectors_ND=shuffled()), release(tmp_path / "a")).reasons == []


def measured(recall: list[float], popular: float = 0.0) -> Measured:
    recall_B = np.array(recall)
    per_buyer = dict.fromkeys(("recall@20", "ndcg@20"), recall_B)
    return Measured(per_buyer, np.full(len(recall_B), popular), 0.5, np.empty((0, 4), dtype=np.float32))


def judged_lists(candidate: Measured, live: Measured | None, **limits: float) -> Judgement:
    judgement = Judgement(against="r1")
    judge_lists(judgement, ReleaseConfig.model_validate(limits), candidate, live)
    return judgement


def test_a_loss_that_may_be_noise_is_a_note() -> None:
    # Half of the buyers lose much and the others gain nearly as much.
    live = measured([0.5] * 40)
    noisy = judged_lists(measured([0.0] * 20 + [0.8] * 20), live)
    assert noisy.reasons == []
    assert noisy.notes[0].startswith("recall@20 fell from 0.5000 to 0.4000 (difference -0.2")
    assert noisy.notes[0].endswith("with 40 buyers, that may be noise")
    certain = judged_lists(measured([0.39] * 20 + [0.41] * 20), live)
    assert [reason.partition(" fell")[0] for reason in certain.reasons] == ["recall@20", "ndcg@20"]


def test_a_certain_loss_within_the_margin_passes() -> None:
    live, candidate = measured([0.5] * 40), measured([0.48] * 40)
    assert judged_lists(candidate, live).reasons == judged_lists(candidate, live).notes == []
    assert len(judged_lists(candidate, live, max_recall_loss=0.02).reasons) == 1


def test_a_handful_of_buyers_refuses_nothing() -> None:
    few = judged_lists(measured([0.1] * 29, popular=0.4), measured([0.5] * 29))
    assert few.reasons == []
    assert [note.partition(" ")[0] for note in few.notes] == ["recall@20", "ndcg@20", "recall@20"]
    assert len(judged_lists(measured([0.1] * 30), measured([0.5] * 30)).reasons) == 2


def test_a_release_that_finds_far_less_than_popular_products_is_refused() -> None:
    [reason] = judged_lists(measured([0.1] * 40, popular=0.4), None).reasons
    assert reason == (
        "recall@20 is 0.1000 for 40 buyers, below the floor of 0.2000 (release.min_share_of_popular_recall=0.5)"
    )
    assert judged_lists(measured([0.2] * 40, popular=0.4), None).reasons == []


def test_a_limit_that_the_shop_set_counts_for_any_number_of_buyers() -> None:
    [reason] = judged_lists(measured([0.1] * 5), None, min_recall_at_20=0.2).reasons
    assert "release.min_recall_at_20=0.2" in reason


def test_too_few_buyers_are_not_compared(tmp_path: Path) -> None:
    config = shop_config(tmp_path)
    write_events(config, n_buyers=10)
    judgement = judged(config, release(tmp_path / "b", vectors_ND=shuffled()), release(tmp_path / "a"))
    assert judgement.reasons == []
    assert judgement.notes[0] == (
        "absolute limits alone decide: only 10 buyers can be measured on the days that are new to both models"
    )
    assert row(judgement, "recall@20").live is None


def test_without_a_live_release_absolute_limits_decide(tmp_path: Path) -> None:
    config = shop_config(tmp_path, min_recall_at_20=0.4)
    good = judged(config, release(tmp_path / "a"), None)
    assert (good.reasons, good.notes) == ([], ["no release is live: absolute limits alone decide"])
    [reason] = judged(config, release(tmp_path / "b", vectors_ND=shuffled()), None).reasons
    assert "below the floor of 0.4000 (release.min_recall_at_20=0.4)" in reason


# ---- days that are new to both ---------------------------------------------------------------------------------------


def test_days_that_the_live_model_was_trained_on_do_not_count(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a", trained_until=TEST_FROM + DAY)
    judgement = judged(config, release(tmp_path / "b"), live)
    assert judgement.window is not None
    assert judgement.window["from"] == (TEST_FROM + DAY).isoformat()


def test_a_live_model_that_has_seen_almost_everything_is_not_compared(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a", trained_until=END - DAY / 2)
    judgement = judged(config, release(tmp_path / "b", vectors_ND=shuffled()), live)
    assert judgement.notes[0] == "absolute limits alone decide: only 12:00:00 of data are new to both models"
    # The candidate alone, on all of its own test days.
    assert judgement.window == {"from": TEST_FROM.isoformat(), "to": END.isoformat(), "buyers": 80}
    assert row(judgement, "products").live == 160


def test_a_model_that_does_not_say_what_it_saw_may_have_seen_all_of_its_data(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a", trained_until=None)
    card = json.loads((live / MODEL_FOLDER / CARD).read_text())
    assert card["trained_until"] is None
    judgement = judged(config, release(tmp_path / "b"), live)
    assert judgement.notes[0] == "absolute limits alone decide: only 0:00:00 of data are new to both models"


def test_popularity_of_the_judged_days_counts_for_neither(config: Config, tmp_path: Path) -> None:
    """A release's own popularity counts the days that it is judged on, and the newer release more of them."""
    by_popularity = Rescorer(popularity_days=7, popularity_weight=10, new_popularity_days=7, new_popularity_weight=10)
    oracle = np.zeros((2, N_PRODUCTS), dtype=np.float32)
    oracle[:, ::4] = 5  # one department
    live = release(tmp_path / "a", rescorer=by_popularity)
    candidate = release(tmp_path / "b", rescorer=by_popularity, recent_popularity=oracle)
    judgement = judged(config, candidate, live)
    assert row(judgement, "recall@20").candidate == row(judgement, "recall@20").live


def test_what_the_same_buyers_chose_on_the_judged_days_counts_for_neither(config: Config, tmp_path: Path) -> None:
    by_buyers = Rescorer(co_occurrence_weight=10, new_co_occurrence_weight=10)
    no_events = np.empty(0, dtype=np.int64)
    nothing = CoOccurrence.of_events(no_events, no_events, no_events, N_PRODUCTS)
    # One product that everything leads to, as if all buyers had chosen it on these days.
    oracle = CoOccurrence(nothing.positions_NM.copy(), nothing.similarities_NM.copy())
    oracle.positions_NM[:, 0], oracle.similarities_NM[:, 0] = 0, 1
    live = release(tmp_path / "a", rescorer=by_buyers, co_occurrence=nothing)
    judgement = judged(config, release(tmp_path / "b", rescorer=by_buyers, co_occurrence=oracle), live)
    for figure in ("recall@20", "ndcg@20"):
        assert row(judgement, figure).candidate == row(judgement, figure).live


# ---- a live release that cannot be measured --------------------------------------------------------------------------


def test_a_damaged_live_release_holds_up_no_better_one(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a")
    content = bytearray((live / VECTORS).read_bytes())
    content[-1] ^= 1
    (live / VECTORS).write_bytes(content)
    judgement = judged(config, release(tmp_path / "b"), live)
    assert judgement.reasons == []
    assert judgement.notes[0].startswith("absolute limits alone decide, because the live release cannot be measured")
    assert VECTORS in judgement.notes[0]
    assert row(judgement, "products").live == 160
    (live / MANIFEST).write_text("{")
    assert row(judged(config, release(tmp_path / "c"), live), "products").live is None


def test_a_live_release_of_other_features_is_not_compared(config: Config, tmp_path: Path) -> None:
    live = release(tmp_path / "a")
    manifest = json.loads((live / MANIFEST).read_text())
    candidate = release(tmp_path / "b")
    manifest["schema_hash"] = "feedfeedfeedfeed"
    other = live.with_name(f"{live.name.rpartition('-')[0]}-{_content_hash(manifest)}")
    manifest["name"] = other.name
    (live / MANIFEST).write_text(json.dumps(manifest))
    live.rename(other)
    judgement = judged(config, candidate, other)
    assert judgement.reasons == []
    assert "feature schema feedfeedfeedfeed" in judgement.notes[0]


def test_a_shop_without_test_buyers_says_that_quality_was_not_judged(config: Config, tmp_path: Path) -> None:
    judgement = judged(config, release(tmp_path / "b", trained_until=END), None)
    assert judgement.reasons == []
    assert judgement.notes[-1].startswith("quality was not judged")
    assert judgement.window is None


# ---- latency and text ------------------------------------------------------------------------------------------------


def test_a_slower_candidate_is_warned_of() -> None:
    judgement = Judgement(against="r1")
    judge_latency(judgement, 3.0, 1.0)
    assert judgement.reasons == []
    assert judgement.notes == ["a list of the candidate takes 3.00 ms, of the live release 1.00 ms"]
    assert judgement.rows[0].verdict == "warning"


def test_the_table_says_which_figure_is_refused_and_why() -> None:
    judgement = Judgement(against="r1", window={"from": "2024-03-01T00:00", "to": "2024-03-14T00:00", "buyers": 1200})
    judgement.add(FigureRow("recall@20", 0.5, 0.25, ">= 90% of live", "refused", (-0.3, -0.2)), "it fell")
    judgement.add(FigureRow("products", 12_000, 12_001, ">= 70% of live", "ok"), "")
    judgement.notes.append("few days")
    assert gate_lines(judgement.as_json()) == [
        "figure       live  candidate  difference        limit           verdict",
        "-----------------------------------------------------------------------",
        "recall@20     0.5       0.25  -0.300 to -0.200  >= 90% of live  refused",
        "products   12,000     12,001                    >= 70% of live  ok",
        "1,200 buyers of 2024-03-01T00:00 to 2024-03-14T00:00",
        "refused: it fell",
        "note: few days",
    ]


def test_a_candidate_of_other_features_is_an_error(config: Config, tmp_path: Path) -> None:
    folder = release(tmp_path / "a")
    with pytest.raises(RuntimeError, match="feature schema"):
        judge(config, folder, None, write_events(config), "feedfeedfeedfeed")
    assert shop_paths(config).events.is_file()
