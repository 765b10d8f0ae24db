"""Processes that serve one release have its vectors in memory once."""

import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.search.vector_index import INDEXES, IndexType, build_index, load_index

SMAPS = Path("/proc/self/smaps")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not SMAPS.is_file(), reason="this system does not say what its processes share"),
]


def mapped_kb(name: str) -> dict[str, int]:
    """What /proc says of the memory mapping of a file, in kB: Rss, Shared_Clean, Private_Dirty, ..."""
    text = SMAPS.read_text()
    (part,) = re.findall(rf"/{re.escape(name)}\n((?:[A-Za-z_]+: .*\n)+)", text)
    return {key: int(kilobytes) for key, kilobytes in re.findall(r"(\w+): +(\d+) kB", part)}


def search_in_a_process(folder: Path, barrier: Barrier, answers: Any) -> None:
    vectors_ND = load_embeddings(folder).vectors_ND
    index = load_index(folder, vectors_ND)
    index.search(np.array(vectors_ND[:3]), len(vectors_ND))  # reads all
    barrier.wait(60)
    answers.put(mapped_kb(VECTORS))
    barrier.wait(60)


@pytest.mark.parametrize("kind", sorted(INDEXES))
def test_two_processes_share_the_vectors(tmp_path: Path, kind: IndexType) -> None:
    vectors_ND = np.random.default_rng(1).normal(size=(4096, 64)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    save_embeddings(tmp_path, ProductEmbeddings(vectors_ND, np.arange(4096).astype(str)))
    build_index(vectors_ND, kind).save(tmp_path)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    processes = [context.Process(target=search_in_a_process, args=(tmp_path, barrier, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    both = [answers.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(60)
    for of_one in both:
        assert of_one["Rss"] >= vectors_ND.nbytes // 1024
        assert of_one["Private_Clean"] + of_one["Private_Dirty"] == 0
        assert of_one["Pss"] <= of_one["Rss"] // 2 + 4
