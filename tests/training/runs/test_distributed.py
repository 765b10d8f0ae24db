"""Training with several processes, as torchrun starts them: each its share of the batches, one gradient, one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from batch_jobs.embed_products import embed_job
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from tests.synthetic import N_PRODUCTS, settings, two_groups
from tests.tiny_shop import write_shop
from training.artifacts.model import load_model
from training.artifacts.rescorer import Rescorer
from training.batches import EpochBatches
from training.runs import distributed

pytestmark = pytest.mark.e2e

TIMEOUT_S = 240

AVERAGES = """
import json, sys, torch
from training.runs import distributed

with distributed.process_group():
    rank = distributed.rank()
    both, one = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    both.grad = torch.tensor([1.0, 4.0]) * (1 + 2 * rank)
    if rank == 1:
        one.grad = torch.tensor([6.0, 0.0])
    distributed.average_gradients([both, one])
    metrics = distributed.broadcast_from_first({"ndcg": 0.5 + rank})
    with distributed.first_process_first():
        seen = open(sys.argv[1]).read() if rank else open(sys.argv[1], "w").write("written")
    answer = [distributed.world_size(), both.grad.tolist(), one.grad.tolist(), metrics, seen]
    open(f"{sys.argv[1]}.{rank}", "w").write(json.dumps(answer))
"""


def torchrun(*arguments: str) -> str:
    """Runs two processes of a module or script on this machine, on any free port; returns what they print."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.processes
def test_two_processes_agree(tmp_path: Path) -> None:
    script, file = tmp_path / "averages.py", tmp_path / "file"
    script.write_text(AVERAGES)
    torchrun(str(script), str(file))
    answers = [json.loads(Path(f"{file}.{rank}").read_text()) for rank in range(2)]
    for answer in answers:
        assert answer[:4] == [2, [2.0, 8.0], [3.0, 0.0], {"ndcg": 0.5}]
    assert answers[1][4] == "written"


def test_one_process_needs_nobody() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    with distributed.process_group(), distributed.first_process_first():
        distributed.average_gradients([parameter])
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_every_context_is_in_some_process_and_all_take_as_many_steps(n_processes: int) -> None:
    contexts = two_groups(100)
    batches = EpochBatches(contexts, N_PRODUCTS, settings(batch_size=32), 1)
    loaders = [batches.loader(rank, n_processes) for rank in range(n_processes)]
    assert len({len(loader) for loader in loaders}) == 1
    taken = [np.concatenate([batch.contexts.numpy() for batch in loader]) for loader in loaders]
    assert np.array_equal(np.unique(np.concatenate(taken)), np.arange(100))
    assert sum(map(len, loaders)) < len(batches) + n_processes


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
