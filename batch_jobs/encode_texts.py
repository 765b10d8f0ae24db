"""Fills the cache of text vectors on Spark, so that the jobs that read it find every text encoded.

Encoding texts is nearly all the work of embedding products. The item tower, which turns text vectors into product
vectors, runs in the job itself.

Legend: N texts, D dimensions.
"""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths, text_vectors_dir
from feature_repo.spark_session import spark_conf, spark_session, task_errors
from training.data.catalogue import read_catalogue
from training.device import resolve_device
from training.text.catalogue_text import text_encoder_of
from training.text.encoder import TextEncoder
from training.text.vector_cache import chunks_to_encode, open_cache

log = logging.getLogger(__name__)

# Chunks of a task before its vectors are stored: a killed run loses no more than these.
CHUNKS_PER_TASK = 16


def encode_texts(config: Config, model: Path | None = None) -> int:
    """Encodes on Spark the texts of the catalogue that have no vector; returns their number.

    Does nothing with `feature_store.offline: duckdb`, or if this machine has a GPU to encode them itself.

    Args:
        config: The configuration.
        model: Folder of the model whose text encoder to take; None takes the configured encoder.

    Raises:
        FileNotFoundError: There are no product features yet.
        RuntimeError: A task failed, such as on a machine that would make other vectors; the message says why.
    """
    if config.feature_store.offline != "spark" or resolve_device(config.inference.device).type != "cpu":
        return 0
    encoder = text_encoder_of(config, model)
    cache = open_cache(encoder, text_vectors_dir(config))
    chunks = chunks_to_encode(cache, read_catalogue(shop_paths(config).product_features).texts)
    if not chunks:
        return 0
    n_texts = sum(map(len, chunks))
    log.info("encoding %d texts on Spark", n_texts)
    session = spark_session(spark_conf(config.spark))
    tasks = session.sparkContext.defaultParallelism
    task = functools.partial(_encode, config.model_dump_json(), model, encoder.vectors_id)
    per_wave = tasks * CHUNKS_PER_TASK
    for start in range(0, len(chunks), per_wave):
        wave = chunks[start : start + per_wave]
        frame = session.createDataFrame(pa.table({"chunk": range(len(wave)), "texts": wave}))
        with task_errors():
            rows = frame.repartition(tasks).mapInArrow(task, "chunk long, vectors binary").collect()
        for row in rows:
            vectors_ND = np.frombuffer(row["vectors"], np.float32).reshape(-1, encoder.dimension)
            cache.add(wave[row["chunk"]], vectors_ND)
    return n_texts


def _encode(
    config_json: str, model: Path | None, vectors_id: str, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Encodes chunks of texts, in a task; the bytes of (N, D) float32 for each."""
    encoder = _loaded_encoder(config_json, model, vectors_id)
    if encoder.vectors_id != vectors_id:
        raise ValueError(
            f"this machine's text encoder makes other vectors ({encoder.vectors_id}, not {vectors_id}): set "
            "inference.text_encoder_format to a format that all machines of the cluster have"
        )
    for batch in batches:
        for chunk, texts in zip(batch["chunk"].to_pylist(), batch["texts"].to_pylist(), strict=True):
            vectors = encoder.encode_passages(texts).tobytes()
            yield pa.RecordBatch.from_pydict({"chunk": [chunk], "vectors": [vectors]})


@functools.cache
def _loaded_encoder(config_json: str, model: Path | None, vectors_id: str) -> TextEncoder:  # noqa: ARG001
    """The encoder, loaded once per Python process of Spark, which runs many tasks; again if its vectors change."""
    return text_encoder_of(Config.model_validate_json(config_json), model)
