"""The data of a training run: catalogue, text vectors, and the contexts before the test days."""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.context_report import read_context_report
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.data.catalogue import Catalogue, read_catalogue
from training.data.context_cache import cached_contexts
from training.data.contexts import Contexts, split_contexts
from training.runs.distributed import first_process_first
from training.text.catalogue_text import text_vectors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Attributes:
        catalogue: All products, N.
        text_NT: (N, T) float32 text vectors of the products.
        contexts: All contexts before the test days.
        validation: Contexts of the validation days; they choose the best epoch.
        validation_from_us: Start of the validation days, microseconds since 1970.
        version: Identifies the data; training resumes a checkpoint only if the version matches.
    """

    catalogue: Catalogue
    text_NT: Float32Array
    contexts: Contexts
    validation: Contexts
    validation_from_us: int
    version: str


# The first process fills the caches of text vectors and contexts; the others read them.
@first_process_first()
def read_training_data(config: Config, store: FeatureStore, *, show_progress: bool) -> tuple[TrainingData, str]:
    """Reads the training data of the last feature build; also returns the id of the text encoder."""
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    text_NT, encoder_id = text_vectors(config, catalogue, show_progress=show_progress)
    report = read_context_report(paths)
    log.info("joining the histories of the training contexts")
    # Everything that the cached contexts depend on: the data, the feature schema with the length of histories, and the
    # target events.
    version = " ".join([report["data_version"], store.schema_hash, *sorted(config.data.target_events)])
    contexts = cached_contexts(paths.training_set, version, lambda: split_contexts(store, config, catalogue, c.TRAIN))
    validation = split_contexts(store, config, catalogue, c.VALIDATION)
    validation_from_us = int(read_time_split(paths.context_report, "tawsiya train").validation_from.timestamp() * 1e6)
    return TrainingData(catalogue, text_NT, contexts, validation, validation_from_us, version), encoder_id


class SelectionContexts(NamedTuple):
    """The contexts with a target, by what they are for.

    Attributes:
        before_test: All contexts before the test days; the refit learns from them.
        before_validation: Those before the validation days; the selection fit learns from them.
        validation: The contexts of the validation days.
    """

    before_test: Contexts
    before_validation: Contexts
    validation: Contexts


def selection_contexts(data: TrainingData) -> SelectionContexts:
    """Selects the contexts of the selection fit and of the refit.

    Raises:
        ValueError: No context is left to train on, or none to validate with.
    """
    before_test = data.contexts.with_targets(data.contexts.targets)
    validation = data.validation.with_targets(data.validation.targets)
    # moments_us and not times_us: these lie a microsecond earlier, so the first moment of the validation days would be
    # trained on.
    before_validation = before_test.take(np.flatnonzero(before_test.moments_us < data.validation_from_us))
    purposes = {"to train on, before the validation days": before_validation, "to validate with": validation}
    for purpose, selected in purposes.items():
        if len(selected) == 0:
            raise ValueError(f"there is no context with a product {purpose}; load more events, or lower data.test_days")
    return SelectionContexts(before_test, before_validation, validation)
