"""The training loop on problems with a known solution."""

import itertools
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

import training.train as loop
from feature_repo.common.config import Config
from tests.processes import Background
from tests.synthetic import (
    CARD,
    GROUP_SIZE,
    N_PRODUCTS,
    catalogue,
    contexts_of,
    data_of,
    run,
    settings,
    text_vectors,
    two_groups,
)
from tests.tiny_model import tiny_spec
from training.artifacts.checkpoint import (
    PROGRESS,
    STATE,
    Progress,
    delete_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from training.artifacts.model import CARD as CARD_FILE
from training.artifacts.model import CHOSEN, CURVES, WEIGHTS, load_model
from training.artifacts.scoring.rescorer import Rescorer
from training.data.contexts import DAY_US
from training.data.dataset import TrainingData, selection_contexts
from training.evaluation.validation import SELECTION_METRIC, validate
from training.model.encoding import encode_buyers, encode_catalogue, nearest_products
from training.model.item_features import item_features
from training.model.towers import TwoTower
from training.runs.tracking import Tracker
from training.train import NonFiniteLossError, train
from training.training_state import learning_rate_factor

CHANCE = 20 / N_PRODUCTS

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_thread")]


def curve(folder: Path, name: str) -> list[float]:
    return [epoch[name] for epoch in json.loads((folder / CURVES).read_text())["epochs"]]


def weights(folder: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(folder / WEIGHTS).items()}


# ---- learning --------------------------------------------------------------------------------------------------------


def test_learns_which_products_go_together(tmp_path: Path) -> None:
    contexts = two_groups()
    card = run(settings(), contexts, tmp_path)
    # 20 of the buyer's 40 products are the best that anyone could name: they choose evenly among them.
    assert card.metrics["recall@20"] > 1.6 * CHANCE
    losses = curve(tmp_path, "loss")
    assert losses[-1] < losses[0] - 0.3

    model, vocabularies, _ = load_model(tmp_path)
    item_ND = encode_catalogue(model, item_features(catalogue(), text_vectors(), vocabularies))
    buyer_BD = encode_buyers(model, item_ND, contexts)
    top = (buyer_BD @ item_ND.T).topk(20).indices.numpy()
    own_group = top // GROUP_SIZE == (np.arange(len(contexts)) % 2)[:, None]
    assert own_group.mean() > 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {"logq_exponent": 1.0},
        {"num_negatives": 0},
        {"candidates": "all"},
        {"num_hard_negatives": 1},
        {"weight_targets_by_event": True, "half_life_days": 30},
        {"learn_temperature": True},
        {"num_workers": 1},
    ],
    ids=str,
)
def test_learns_with_other_settings_too(changes: dict[str, Any], tmp_path: Path) -> None:
    assert run(settings(**changes), two_groups(), tmp_path).metrics["recall@20"] > 1.5 * CHANCE


def test_the_artifact_is_the_best_epoch(tmp_path: Path) -> None:
    contexts = two_groups()
    card = run(settings(), contexts, tmp_path)
    assert card.epoch == 1 + int(np.argmax(curve(tmp_path, SELECTION_METRIC)))
    assert card.metrics["recall@20"] == curve(tmp_path, "recall@20")[card.epoch - 1]
    model, vocabularies, loaded = load_model(tmp_path)
    assert loaded == card
    assert (loaded.text_encoder, loaded.feature_service, loaded.schema_hash) == (
        CARD.text_encoder,
        CARD.feature_service,
        CARD.schema_hash,
    )

    # The kept weights give that recall again: the latest quarter of the contexts is the validation.
    validation = contexts.take(np.arange(300, 400))
    item_ND = encode_catalogue(model, item_features(catalogue(), text_vectors(), vocabularies))
    scores_BN = encode_buyers(model, item_ND, validation) @ item_ND.T
    scores_BN[validation.purchases.owners, validation.purchases.products] = -torch.inf
    top = scores_BN.topk(20).indices.numpy()
    offsets = validation.targets.offsets
    recalls = [
        np.isin(validation.targets.products[a:b], top[row]).mean()
        for row, (a, b) in enumerate(itertools.pairwise(offsets))
    ]
    assert np.mean(recalls) == pytest.approx(card.metrics["recall@20"], abs=1e-6)


def test_nothing_but_the_artifact_is_left(tmp_path: Path) -> None:
    run(settings(num_epochs=2), two_groups(40), tmp_path)
    # The re-scorer is fitted with the model that has not seen the validation days.
    files = [CARD_FILE, WEIGHTS, "product_keys.npy", CURVES, CHOSEN]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_products_of_validation_only_have_no_vector_of_their_own(tmp_path: Path) -> None:
    rows = [([0, 1], [2, 3]), ([1], [2]), ([0], [3])] * 5 + [([0], [2, 9])] * 5
    run(settings(num_epochs=1), contexts_of(rows), tmp_path)
    _, vocabularies, _ = load_model(tmp_path)
    assert vocabularies.product_keys.tolist() == catalogue().product_keys[[2, 3]].tolist()


# ---- no leak ---------------------------------------------------------------------------------------------------------


def test_the_target_never_enters_its_own_history(tmp_path: Path) -> None:
    """First-time buyers who each choose another product: only a leak could tell them apart.

    One step holds all B pairs and no random negatives. With one vector for every buyer the loss is at least ln B,
    whatever the weights: it is the mean of -ln p over B targets whose shares p sum to 1.
    """
    rows: list[tuple[list[int], list[int]]] = [([], [product]) for product in range(N_PRODUCTS)]
    run(settings(batch_size=100, num_negatives=0, num_epochs=40, patience=40), contexts_of(rows), tmp_path)
    n_pairs = round(N_PRODUCTS * 0.75)
    assert min(curve(tmp_path, "loss")) >= math.log(n_pairs) - 1e-4


def test_a_history_that_tells_the_target_is_used(tmp_path: Path) -> None:
    """The counterpart of the test above: with a telling history the same loss falls far below ln B."""
    rows = [([(product + 40) % N_PRODUCTS], [product]) for product in range(N_PRODUCTS)]
    run(settings(batch_size=100, num_negatives=0, num_epochs=40, patience=40), contexts_of(rows), tmp_path)
    assert min(curve(tmp_path, "loss")) < math.log(N_PRODUCTS * 0.75) / 2


# ---- reproducible, stopped, resumed ----------------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("again", 7), ("other", 8)):
        run(settings(seed=seed, num_epochs=2), two_groups(100), tmp_path / name)
    assert weights(tmp_path / "first") == weights(tmp_path / "again")
    assert weights(tmp_path / "first") != weights(tmp_path / "other")


def test_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = [(rng.integers(0, N_PRODUCTS, 2).tolist(), [int(rng.integers(N_PRODUCTS))]) for _ in range(100)]
    card = run(settings(num_epochs=200, patience=3), contexts_of(noise), tmp_path)
    values = curve(tmp_path, SELECTION_METRIC)
    assert len(values) == card.epoch + 3 < 200
    assert max(values[card.epoch :]) <= card.metrics[SELECTION_METRIC]


LONG = {"num_epochs": 60, "patience": 60, "save_every_n_epochs": 2, "refit": True}


class FirstSteps(Tracker):
    """Keeps with which step each phase begins."""

    def __init__(self) -> None:
        self.first: dict[str, int] = {}

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002
        self.first.setdefault(phase, step)


def train_on_one_thread(folder: Path) -> None:
    torch.set_num_threads(1)
    run(settings(**LONG), two_groups(100), folder)


@pytest.mark.processes
@pytest.mark.parametrize(("folder", "phases"), [("chosen", {"selection", "refit"}), ("refitted", {"refit"})])
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(folder: str, phases: set[str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(settings(**LONG), two_groups(100), whole)

    progress = killed / f"{folder}_checkpoint" / PROGRESS
    Background(train_on_one_thread, killed).kill_when(progress.is_file)
    assert progress.is_file()
    assert not (killed / CARD_FILE).exists(), "the run ended before it was killed"

    steps = FirstSteps()
    train(settings(**LONG), data_of(two_groups(100)), CARD, killed, tracker=steps, show_progress=False)
    assert set(steps.first) == phases
    assert steps.first["refit" if folder == "refitted" else "selection"] > 0
    assert weights(killed) == weights(whole)
    assert (killed / CURVES).read_text() == (whole / CURVES).read_text()


def test_a_checkpoint_goes_on_bit_by_bit_and_only_in_its_own_run(tmp_path: Path) -> None:
    run(settings(num_epochs=1), two_groups(40), tmp_path / "best")
    model, _, _ = load_model(tmp_path / "best")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        sum((parameter**2).sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()

    step()
    progress = Progress(epoch=4, best_epoch=3, epochs_since_best=1, history=[{"loss": 0.5, "recall@20": 0.25}] * 4)
    checkpoint, best = tmp_path / "checkpoint", tmp_path / "best"
    save_checkpoint(checkpoint, model, optimizer, "data 1", progress, best)
    save_checkpoint(checkpoint, model, optimizer, "data 1", progress, best)  # takes the place of the first
    step()
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    shutil.rmtree(best)
    model, optimizer = fresh_model_like(model)
    assert load_checkpoint(checkpoint, model, optimizer, "data 2", best) is None
    assert not best.exists()
    assert load_checkpoint(tmp_path / "nowhere", model, optimizer, "data 1", best) is None
    assert load_checkpoint(checkpoint, model, optimizer, "data 1", best) == progress
    step()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert load_model(best)[2].epoch == 1
    assert not any(path.suffix in (".pkl", ".pt", ".bin") for path in checkpoint.rglob("*"))
    assert (checkpoint / STATE).is_file()


@pytest.mark.parametrize("killed_while", ["writing the second", "swapping", "deleting the old one"])
def test_a_kill_while_saving_leaves_one_whole_checkpoint(killed_while: str, tmp_path: Path) -> None:
    run(settings(num_epochs=1), two_groups(40), tmp_path / "best")
    model, _, _ = load_model(tmp_path / "best")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    first, second = Progress(epoch=2, best_epoch=1), Progress(epoch=4, best_epoch=1)
    checkpoint, new, best = tmp_path / "checkpoint", tmp_path / ".checkpoint.new", tmp_path / "best"
    save_checkpoint(checkpoint, model, optimizer, "data", first, best)
    kept = shutil.copytree(checkpoint, tmp_path / "kept")
    save_checkpoint(checkpoint, model, optimizer, "data", second, best)
    # What lies there when the process is killed at that moment of the second save.
    checkpoint.rename(new)
    if killed_while == "writing the second":
        (new / PROGRESS).unlink()
        kept.rename(checkpoint)
    elif killed_while == "deleting the old one":
        (kept / PROGRESS).unlink()
        shutil.rmtree(kept / "best")
        kept.rename(checkpoint)

    expected = first if killed_while == "writing the second" else second
    assert load_checkpoint(checkpoint, *fresh_model_like(model), "data", best) == expected


@pytest.mark.parametrize("stopped", ["save_file", "rmtree"])
def test_a_checkpoint_with_progress_is_whole_whenever_a_run_is_killed(
    stopped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is written last, and deleted first."""

    class KilledError(Exception):
        """Stands for the end of the process."""

    def killed(*arguments: object, **_options: object) -> None:
        # Left-overs of another save are deleted before; there are none.
        if arguments[0] != tmp_path / ".checkpoint.new":
            raise KilledError

    model, best = TwoTower(tiny_spec()), tmp_path / "best"
    best.mkdir()
    optimizer = torch.optim.Adam(model.parameters())
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, "run", Progress(epoch=2), best)
    if stopped == "save_file":
        monkeypatch.setattr("training.artifacts.checkpoint.save_file", killed)
        with pytest.raises(KilledError):
            save_checkpoint(tmp_path / "checkpoint", model, optimizer, "run", Progress(epoch=4), best)
        assert not (tmp_path / ".checkpoint.new" / PROGRESS).exists()
    else:
        monkeypatch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            delete_checkpoint(tmp_path / "checkpoint")
        assert not (tmp_path / "checkpoint" / PROGRESS).exists()


def fresh_model_like(model: TwoTower) -> tuple[TwoTower, torch.optim.Adam]:
    fresh = TwoTower(model.spec)
    return fresh, torch.optim.Adam(fresh.parameters(), lr=0.01)


def test_validation_counts_products_that_the_buyer_had_not_bought(tmp_path: Path) -> None:
    # The third event of each history is a purchase, the others are none.
    rng = np.random.default_rng(5)
    past = [rng.permutation(N_PRODUCTS)[:5].tolist() for _ in range(30)]
    run(settings(num_epochs=2), two_groups(40), tmp_path)
    model, vocabularies, _ = load_model(tmp_path)
    items = item_features(catalogue(), text_vectors(), vocabularies)

    repeats = contexts_of([(row[:3], [row[2]]) for row in past])
    both = contexts_of([(row[:3], [row[2], row[3]] if number % 2 else [row[2]]) for number, row in enumerate(past)])
    viewed_or_new = contexts_of([(row[:3], [row[1], row[3]]) for row in past])
    recalls = [validate(model, items, contexts)["recall@20"] for contexts in (repeats, both, viewed_or_new)]

    item_ND = encode_catalogue(model, items)
    scores_BN = (encode_buyers(model, item_ND, repeats) @ item_ND.T).numpy()
    new_BN = scores_BN.copy()
    new_BN[np.arange(30), [row[2] for row in past]] = -np.inf

    def recall(scores_BN: npt.NDArray[np.float32], buyers: Iterable[int], places: list[int]) -> float:
        top_BK = np.argsort(-scores_BN, axis=1)[:, :20]
        return float(np.mean([np.isin([past[buyer][place] for place in places], top_BK[buyer]) for buyer in buyers]))

    # Repeat purchases count only if no context has a new product.
    expected = [
        recall(scores_BN, range(30), [2]),
        recall(new_BN, range(1, 30, 2), [3]),
        recall(new_BN, range(30), [1, 3]),
    ]
    assert recalls == pytest.approx(expected)


def test_contexts_so_old_that_they_no_longer_count_stop_nothing(tmp_path: Path) -> None:
    contexts = two_groups(80)
    ten_years_us = 10 * 365 * DAY_US
    contexts = replace(contexts, times_us=contexts.times_us + np.where(np.arange(80) < 40, 0, ten_years_us))
    # With batches of two some hold old contexts alone, whose weight of 2^-243 is 0 in single precision.
    run(settings(batch_size=2, half_life_days=15, num_epochs=2), contexts, tmp_path)
    assert np.isfinite(curve(tmp_path, "loss")).all()


def test_progress_keeps_the_first_of_equal_epochs() -> None:
    progress = Progress()
    for recall in (0.2, 0.5, 0.5, 0.4):
        progress = progress.after_epoch({"recall@20": recall}, "recall@20")
    assert (progress.epoch, progress.best_epoch, progress.epochs_since_best) == (4, 2, 2)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_no_model(tmp_path: Path) -> None:
    broken = text_vectors()
    broken[:] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan in epoch 1, batch 0 \(first contexts \[") as caught:
        train(settings(), data_of(two_groups(40), broken), CARD, tmp_path, show_progress=False)
    assert "lower training.learning_rate or raise training.temperature" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)


def test_a_run_that_diverges_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"in epoch 1, batch [1-9]"):
        run(settings(learning_rate=1e36, batch_size=16), two_groups(100), tmp_path)


def test_without_contexts_on_either_side_of_the_validation_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no context with a product to train on, before the validation days; load"):
        run(settings(), contexts_of([([0], [1])]), tmp_path)
    data = data_of(two_groups(40))
    nothing = replace(data, validation=data.validation.take(np.arange(0)))
    with pytest.raises(ValueError, match=r"no context with a product to validate with; load more events"):
        train(settings(), nothing, CARD, tmp_path, show_progress=False)


def test_selection_never_learns_from_the_validation_days(tmp_path: Path) -> None:
    contexts = two_groups(100)
    changed = replace(contexts, targets=replace(contexts.targets, products=contexts.targets.products.copy()))
    late = contexts.targets.owners >= 75
    changed.targets.products[late] = (changed.targets.products[late] + 1) % N_PRODUCTS
    for name, data in (("clean", contexts), ("changed", changed)):
        run(settings(num_epochs=2), data, tmp_path / name)
    assert curve(tmp_path / "clean", "loss") == curve(tmp_path / "changed", "loss")


def test_a_refit_learns_the_products_of_the_validation_days_too(tmp_path: Path) -> None:
    rows = [([0, 1], [2, 3]), ([1], [2]), ([0], [3])] * 5 + [([0], [2, 9])] * 5
    card = run(settings(num_epochs=3, refit=True), contexts_of(rows), tmp_path)
    _, vocabularies, loaded = load_model(tmp_path)
    assert vocabularies.product_keys.tolist() == catalogue().product_keys[[2, 3, 9]].tolist()
    content = json.loads((tmp_path / CURVES).read_text())
    assert len(content["refit"]) == content["best_epoch"] == card.epoch
    # The metrics are those of the model that had not seen them.
    assert loaded.metrics == content["epochs"][card.epoch - 1]


def test_the_temperature_is_learned_only_where_asked(tmp_path: Path) -> None:
    for learned in (False, True):
        run(settings(num_epochs=2, learn_temperature=learned), two_groups(100), tmp_path / str(learned))
    temperatures = [math.exp(load_model(tmp_path / name)[0].log_temperature.item()) for name in ("False", "True")]
    assert temperatures[0] == pytest.approx(0.1)
    assert abs(temperatures[1] - 0.1) > 1e-3


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 50, rel=1e-3)
    assert rates[:50] == sorted(rates[:50])
    assert rates[49:] == sorted(rates[49:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-4)
    assert learning_rate_factor(1, 20) == pytest.approx(1, abs=0.01)  # two steps of twenty


# ---- what a run is made of -------------------------------------------------------------------------------------------


def test_selection_learns_nothing_of_the_first_validation_moment() -> None:
    """times_us is a microsecond before the moment; the second context is the first one of the validation days."""
    start = 10**12
    contexts = replace(contexts_of([([0], [1]), ([0], [2])]), times_us=np.array([start - 1001, start - 1]))
    data = replace(data_of(contexts), validation=contexts.take(np.array([1])), validation_from_us=start)
    _, early, _ = selection_contexts(data)
    assert early.times_us.tolist() == [start - 1001]


def test_hard_neighbours_are_the_nearest_others() -> None:
    near_ND = F.normalize(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), dim=1)
    assert nearest_products(near_ND, 1).tolist() == [[1], [0], [3], [2]]
    assert nearest_products(near_ND, 50).shape == (4, 3)


class Rates(Tracker):
    """The learning rates of each phase."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {"selection": [], "refit": []}

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002
        self.of[phase].append(learning_rate)


def test_the_refit_takes_the_best_number_of_epochs_and_the_same_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, rates = iter([0.1, 0.9, 0.2, 0.3]), Rates()
    monkeypatch.setattr(loop, "validate", lambda *_: {SELECTION_METRIC: next(values)})
    config = settings(num_epochs=4, refit=True, batch_size=1000)
    train(config, data_of(two_groups(40)), CARD, tmp_path, tracker=rates, show_progress=False)
    assert len(json.loads((tmp_path / CURVES).read_text())["refit"]) == 2
    assert rates.of["refit"] == pytest.approx(rates.of["selection"][:2])


def test_a_trained_residual_reads_whitened_texts(tmp_path: Path) -> None:
    config = settings(num_epochs=1)
    item_tower = config.model.item_tower.model_copy(update={"text_residual": True})
    model = config.model.model_copy(update={"item_tower": item_tower, "embedding_dim": text_vectors().shape[1]})
    run(config.model_copy(update={"model": model}), two_groups(40), tmp_path)
    text_mean = load_model(tmp_path)[0].item_tower.text_mean
    np.testing.assert_allclose(text_mean, text_vectors().mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("other", ["model", "training", "events", "data", "encoder", "contexts"])
def test_a_run_of_anything_else_has_another_version(other: str) -> None:
    def version(config: Config, data: TrainingData, encoder: str) -> str:
        return loop._run_version(config, data, replace(CARD, text_encoder=encoder), data.contexts)

    plain = settings()
    same: dict[str, Any] = {"config": plain, "data": data_of(two_groups(8)), "encoder": "one"}
    model = plain.model.model_copy(update={"embedding_dim": 9})
    weights = plain.event_weights.model_copy(update={"view": 2})
    changed: dict[str, Any] = {
        "model": {"config": plain.model_copy(update={"model": model})},
        "training": {"config": settings(seed=8)},
        "events": {"config": plain.model_copy(update={"event_weights": weights})},
        "data": {"data": data_of(two_groups(8), version="2")},
        "encoder": {"encoder": "another"},
        "contexts": {"data": data_of(two_groups(7))},
    }
    assert version(**(same | changed[other])) != version(**same)


def test_an_earlier_models_re_scorer_does_not_outlive_it(tmp_path: Path) -> None:
    Rescorer(repeat_weight=1.0).save(tmp_path)
    run(settings(num_epochs=1), two_groups(40), tmp_path)
    with pytest.raises(ValueError, match="run `tawsiya train` again"):
        Rescorer.load(tmp_path)


def test_a_process_beside_the_first_restores_weights_and_writes_nothing(tmp_path: Path) -> None:
    model, best = TwoTower(tiny_spec()), tmp_path / "best"
    best.mkdir()
    optimizer = torch.optim.Adam(model.parameters())
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, "run", Progress(epoch=2), best)
    shutil.rmtree(best)
    other = TwoTower(tiny_spec())
    restored = load_checkpoint(tmp_path / "checkpoint", other, torch.optim.Adam(other.parameters()), "run", None)
    assert restored == Progress(epoch=2)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
    assert not best.exists()
