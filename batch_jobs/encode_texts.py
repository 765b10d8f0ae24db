"""Fills the cache of text vectors on Spark, so that the jobs that read it find every text encoded.

Encoding texts is nearly all the work of embedding products. The item tower, which turns text vectors into product
vectors, runs in the job itself.

Legend: N texts, D dimensions.
"""

import functools
import logging
from pathlib import Path

from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths, text_vectors_dir
from feature_repo.spark_session import run_tasks
from training.data.catalogue import CatalogueTexts
from training.device import resolve_device
from training.text.catalogue_text import text_encoder_of
from training.text.encoder import TextEncoder
from training.text.vector_cache import open_cache, waves_to_encode

log = logging.getLogger(__name__)


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
    catalogue = CatalogueTexts(shop_paths(config).product_features)
    n_texts = cache.n_missing(catalogue)
    if n_texts == 0:
        return 0
    log.info("encoding %d texts on Spark", n_texts)
    task = functools.partial(_encode, config.model_dump_json(), model, encoder.vectors_id)
    # A list of chunks has 400 MB of vectors, which a killed run loses.
    for chunks in waves_to_encode(cache, catalogue):
        for texts, vectors_ND in zip(chunks, run_tasks(config.spark, task, chunks), strict=True):
            cache.add(texts, vectors_ND)
    return n_texts


def _encode(config_json: str, model: Path | None, vectors_id: str, texts: list[str]) -> Float32Array:
    """Encodes a chunk of texts, in a task; (N, D) vectors."""
    encoder = _loaded_encoder(config_json, model, vectors_id)
    if encoder.vectors_id != vectors_id:
        raise ValueError(
            f"this machine's text encoder makes other vectors ({encoder.vectors_id}, not {vectors_id}): set "
            "inference.text_encoder_format to a format that all machines of the cluster have"
        )
    return encoder.encode_passages(texts)


@functools.cache
def _loaded_encoder(config_json: str, model: Path | None, vectors_id: str) -> TextEncoder:  # noqa: ARG001
    """The encoder, loaded once per Python process of Spark, which runs many tasks; again if its vectors change."""
    return text_encoder_of(Config.model_validate_json(config_json), model)
