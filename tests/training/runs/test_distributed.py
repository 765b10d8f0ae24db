"""Training with several processes, as torchrun starts them: each its share of every batch, one gradient, one model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from batch_jobs.embed_products import embed_job
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config_loading import load_config
from feature_repo.common.files import read_json, write_json
from feature_repo.common.paths import shop_paths
from tests.synthetic import CARD, N_PRODUCTS, data_of, settings, two_groups
from tests.tiny_shop import write_shop
from training.artifacts.checkpoint import PROGRESS
from training.artifacts.model import CARD as CARD_FILE
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.scoring.rescorer import Rescorer
from training.batches import EpochBatches
from training.runs import distributed
from training.runs.distributed import Share
from training.runs.tracking import Tracker
from training.train import train

pytestmark = pytest.mark.e2e

TIMEOUT_S = 240
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

TOGETHER = """
import json, sys, torch
from training.runs import distributed

with distributed.process_group():
    rank = distributed.rank()
    both, one = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    both.grad = torch.tensor([1.0, 4.0]) * (1 + 2 * rank)
    if rank == 1:
        one.grad = torch.tensor([6.0, 0.0])
    distributed.sum_gradients([both, one])
    metrics = distributed.broadcast_from_first({"ndcg": 0.5 + rank})
    with distributed.first_process_first():
        seen = open(sys.argv[1]).read() if rank else open(sys.argv[1], "w").write("written")
    total = distributed.sum_over_processes(torch.tensor(2.0 + rank)).item()

    # Three rows: rank 0 has the first, rank 1 the others. Each process weights all rows in its own way.
    own = torch.tensor([[1.0, 2.0]] if rank == 0 else [[3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    rows = distributed.gather_rows(own, 3)
    (rows * torch.tensor([[1.0], [10.0], [100.0]]) * (1 + rank)).sum().backward()
    nobodys = torch.tensor([[7.0]] if rank == 1 else [[]], requires_grad=True).reshape(-1, 1)
    few = distributed.gather_rows(nobodys, 1)
    few.sum().backward()
    answer = [
        distributed.world_size(), both.grad.tolist(), one.grad.tolist(), metrics, total, rows.tolist(), few.tolist(),
        seen, own.grad.tolist(),
    ]
    open(f"{sys.argv[1]}.{rank}", "w").write(json.dumps(answer))
"""

# Trains on one process or several, once for each set of settings; rank 0 writes the loss of every step.
TRAINS = """
import json, os, sys
from pathlib import Path
import torch
from tests.training.runs.test_distributed import train_and_note
from training.runs import distributed

torch.set_num_threads(1)
folder, runs = Path(sys.argv[1]), json.loads(sys.argv[2])
folder.mkdir(exist_ok=True)
(folder / f"pid.{os.environ.get('RANK', 0)}").write_text(str(os.getpid()))
with distributed.process_group():
    for number, training in enumerate(runs):
        train_and_note(folder / str(number), training)
"""


class Steps(Tracker):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.n_pairs: list[int] = []

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002
        self.losses.append(loss)
        self.n_pairs.append(n_pairs)


def train_and_note(folder: Path, training: dict[str, Any]) -> Steps:
    """Trains without dropout; rank 0 writes the losses beside the model."""
    config = settings(**training)
    tower = config.model.item_tower.model_copy(update={"dropout": 0.0, "id_dropout": 0.0})
    config = config.model_copy(update={"model": config.model.model_copy(update={"item_tower": tower})})
    steps = Steps()
    train(config, data_of(two_groups(100)), CARD, folder, tracker=steps, show_progress=False)
    if distributed.rank() == 0:
        write_json(folder / "steps.json", {"losses": steps.losses, "n_pairs": steps.n_pairs})
    return steps


def environment() -> dict[str, str]:
    """Of a process that imports this repository's packages, wherever its script lies."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}


def torchrun(*arguments: str) -> str:
    """Runs two processes of a module or script on this machine, on any free port; returns what they print."""
    done = subprocess.run(
        [*TORCHRUN, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.processes
def test_two_processes_agree(tmp_path: Path) -> None:
    script, file = tmp_path / "together.py", tmp_path / "file"
    script.write_text(TOGETHER)
    torchrun(str(script), str(file))
    answers = [json.loads(Path(f"{file}.{rank}").read_text()) for rank in range(2)]
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for answer in answers:
        assert answer[:7] == [2, [4.0, 16.0], [6.0, 0.0], {"ndcg": 0.5}, 5.0, rows, [[7.0]]]
    assert answers[1][7] == "written"
    # The weights of both processes, 1 and 2, reach each row, whoever has it.
    assert [answer[8] for answer in answers] == [[[3.0, 3.0]], [[30.0, 30.0], [300.0, 300.0]]]


def test_one_process_needs_nobody() -> None:
    parameter, rows = torch.nn.Parameter(torch.zeros(2)), torch.zeros(3, 2)
    with distributed.process_group(), distributed.first_process_first():
        distributed.sum_gradients([parameter])
        assert distributed.gather_rows(rows, 3) is rows
    assert parameter.grad is None
    assert distributed.share() == (0, 1)


@given(n=st.integers(0, 50), n_processes=st.integers(1, 8))
def test_the_shares_are_the_whole_and_differ_by_one_at_most(n: int, n_processes: int) -> None:
    parts = [Share(rank, n_processes).of(n) for rank in range(n_processes)]
    assert [number for part in parts for number in range(n)[part]] == list(range(n))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n_processes", [2, 3])
@pytest.mark.parametrize("training", [{}, {"candidates": "all"}], ids=str)
def test_processes_share_the_batches_of_one_process(n_processes: int, training: dict[str, Any]) -> None:
    contexts = two_groups(100)
    config = settings(batch_size=32, **training)
    whole = list(EpochBatches(contexts, N_PRODUCTS, config, 1).loader())
    shares = [
        list(EpochBatches(contexts, N_PRODUCTS, config, 1, share=Share(rank, n_processes)).loader())
        for rank in range(n_processes)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part.contexts for part in parts]), batch.contexts)
        for part in parts:
            # The same candidates for every context, wherever it is: negatives, their logQ and accidental hits.
            assert torch.equal(part.products_U, batch.products_U)
            assert torch.equal(part.candidates_C, batch.candidates_C)
            assert torch.equal(part.log_q_C, batch.log_q_C)
            assert (part.total_weight, part.n_targets) == (batch.total_weight, len(batch.choices.owner_T))
        for name in ("place_T", "weight_T"):
            joined = torch.cat([getattr(part.choices, name) for part in parts])
            assert torch.equal(joined, getattr(batch.choices, name))
        assert torch.equal(torch.cat([part.prefixes.items_Z for part in parts]), batch.prefixes.items_Z)


RUNS: list[dict[str, Any]] = [
    {"num_negatives": 2, "logq_exponent": 1.0},
    {"candidates": "all", "refit": True},
    {"num_negatives": 0, "num_hard_negatives": 1, "learn_temperature": True, "half_life_days": 1},
    {"batch_size": 2, "num_epochs": 2},  # most batches have one context: one of the processes has none
]


@pytest.mark.processes
@pytest.mark.usefixtures("one_thread")
def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    script = tmp_path / "trains.py"
    script.write_text(TRAINS)
    torchrun(str(script), str(tmp_path / "two"), json.dumps(RUNS))
    for number, training in enumerate(RUNS):
        one = train_and_note(tmp_path / "one" / str(number), training)
        two = read_json(tmp_path / "two" / str(number) / "steps.json", "")
        assert len(one.losses) > 10
        assert two["losses"] == pytest.approx(one.losses, abs=1e-4)
        assert two["n_pairs"] == one.n_pairs
        mine, theirs = (load_file(tmp_path / folder / str(number) / WEIGHTS) for folder in ("one", "two"))
        for name, value in mine.items():
            assert theirs[name] == pytest.approx(value, abs=1e-4), name


LONG = [{"num_epochs": 40, "patience": 40, "save_every_n_epochs": 2, "refit": True}]


@pytest.mark.processes
def test_two_killed_processes_go_on_and_end_with_the_same_weights(tmp_path: Path) -> None:
    script, killed = tmp_path / "trains.py", tmp_path / "killed"
    script.write_text(TRAINS)
    torchrun(str(script), str(tmp_path / "whole"), json.dumps(LONG))

    progress = killed / "0" / "chosen_checkpoint" / PROGRESS
    with (tmp_path / "log").open("w") as log:
        command = [*TORCHRUN, str(script), str(killed), json.dumps(LONG)]
        agent = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    deadline = time.monotonic() + TIMEOUT_S
    while not progress.is_file():
        assert agent.poll() is None, (tmp_path / "log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for rank in (1, 0):
        os.kill(int((killed / f"pid.{rank}").read_text()), signal.SIGKILL)
    assert agent.wait(TIMEOUT_S) != 0
    assert not (killed / "0" / CARD_FILE).exists(), "the run ended before it was killed"

    torchrun(str(script), str(killed), json.dumps(LONG))
    whole, resumed = ((tmp_path / folder / "0" / WEIGHTS).read_bytes() for folder in ("whole", "killed"))
    assert resumed == whole
    steps = [len(read_json(tmp_path / folder / "0" / "steps.json", "")["losses"]) for folder in ("whole", "killed")]
    assert steps[1] < steps[0], "it began anew"


@pytest.mark.processes
def test_the_train_command_under_torchrun_makes_one_model(tmp_path: Path, tiny_encoder: Path) -> None:
    path = write_shop(tmp_path / "shop", tiny_encoder)
    config = load_config(path)
    ingest(config)
    validate_canonical(shop_paths(config), config)
    build_validated_features(config)
    validate_features(shop_paths(config), config)
    answer = json.loads(torchrun("-m", "batch_jobs.cli", "train", "--config", str(path), "--json"))
    _, _, card = load_model(shop_paths(config).model)
    assert card.epoch == answer["epoch"]
    assert card.metrics == answer["metrics"]
    assert Rescorer.load(shop_paths(config).model) == Rescorer(**answer["rescorer"])
    assert embed_job(config, show_progress=False)["n_products"] == answer["n_products"]


@pytest.mark.processes
def test_a_search_is_refused_under_torchrun(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a search runs in one process; start it without torchrun"):
        torchrun("-m", "batch_jobs.cli", "train", "--search", "2", "--set", f"data_dir={tmp_path}")
