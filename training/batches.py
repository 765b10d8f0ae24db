"""The batches of an epoch: contexts, candidates and the inputs of both towers.

A batch depends only on the seed, the epoch and its number. So other processes can prepare batches, and a resumed run
sees the same ones. Of several processes that train (training.runs.distributed) each takes its share of the contexts of
every batch; candidates and products are those of all of them.

Legend: P contexts of a batch (of this process), T choices, C candidates, U distinct products, N products of the
catalogue, H nearest products of each product, Z events of the histories.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from feature_repo.common.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from feature_repo.common.config import Config
from feature_repo.transforms.events import weight_by_code
from training.data.contexts import DAY_US, Contexts
from training.data.histories import ranges
from training.model.losses import Choices
from training.model.prefixes import Prefixes, prefixes_of
from training.runs.distributed import Share

RUNS_PER_BATCH = 8
MAX_EPOCH_LOGITS = 250_000_000  # per epoch with all products as candidates: half a minute on two cores


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        contexts: (P,) rows of the training contexts.
        products_U: (U,) positions of all products of the batch of all processes, ascending.
        prefixes: Histories of the contexts; items index products_U.
        candidates_C: (C,) indices into products_U.
        choices: The targets of the contexts among the candidates.
        log_q_C: (C,) log probability of each candidate to be sampled; zeros if all products are candidates.
        total_weight: Sum of the weights of all processes' targets, a scalar.
        n_targets: Number of all processes' targets.
    """

    contexts: Tensor
    products_U: Tensor
    prefixes: Prefixes
    candidates_C: Tensor
    choices: Choices
    log_q_C: Tensor
    total_weight: Tensor
    n_targets: int


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch, as a map-style dataset."""

    def __init__(
        self,
        contexts: Contexts,
        n_products: int,
        config: Config,
        epoch: int,
        hard_NH: Int32Array | None = None,
        share: Share = Share(),  # noqa: B008 - immutable
    ) -> None:
        """Shuffles the contexts.

        Args:
            contexts: Contexts with a target each.
            n_products: N.
            config: Sections `training` and `event_weights` are used.
            epoch: Number of the epoch, from 1.
            hard_NH: The nearest products of each product, from which hard negatives are drawn.
            share: The share of each batch's contexts that is taken.
        """
        self._contexts, self._n_products, self._settings, self._epoch = contexts, n_products, config.training, epoch
        self._hard_NH, self._share = hard_NH, share
        # Every process draws the same order and the same candidates.
        rng = np.random.default_rng((config.training.seed, epoch))
        self._batches = _shuffled(contexts, config.training.batch_size, rng)
        self._weights = choice_weights(contexts, config)
        counts_N = np.bincount(contexts.targets.products, minlength=n_products)
        self._share_N = counts_N / counts_N.sum()

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches)

    def __getitem__(self, number: int) -> Batch:
        """Builds batch `number`; raises IndexError after the last one."""
        rows, contexts = self._batches[number], self._contexts
        # A generator for each batch: any process may build it, in any order, with the same result.
        rng = np.random.default_rng((self._settings.seed, self._epoch, number))
        targets, offsets = ranges(contexts.targets.offsets[rows], contexts.targets.offsets[rows + 1])
        target_T = contexts.targets.products[targets]
        candidate_C, log_q_C = self._candidates(target_T, len(rows), rng)
        # Candidates are ascending and contain every target, so the place found is the target's own.
        place_T = np.searchsorted(candidate_C, target_T)
        events, _ = ranges(contexts.starts[rows], contexts.ends[rows])
        product_U = np.union1d(candidate_C, contexts.timelines.products[events])
        # A table by product is faster than a search for each event. Only entries of product_U are ever read.
        place_N = np.empty(self._n_products, dtype=np.int64)
        place_N[product_U] = np.arange(len(product_U))
        own = self._share.of(len(rows))
        prefixes = prefixes_of(contexts.timelines, contexts.starts[rows[own]], contexts.ends[rows[own]])
        candidates_C = torch.from_numpy(place_N[candidate_C])
        owner_T = np.repeat(np.arange(len(rows)), np.diff(offsets))
        choices = Choices(*map(torch.from_numpy, (owner_T, place_T, self._weights[targets])))
        return Batch(
            torch.from_numpy(rows[own]),
            torch.from_numpy(product_U),
            prefixes._replace(items_Z=torch.from_numpy(place_N[prefixes.items_Z.numpy()])),
            candidates_C,
            choices.between(own.start, own.stop),
            torch.from_numpy(log_q_C.astype(np.float32)),
            choices.weight_T.sum(),
            len(target_T),
        )

    def loader(self) -> DataLoader[Batch]:
        """All batches in order, prepared by `training.num_workers` processes, or in this one if that is 0."""
        # batch_size=None: an item of this dataset is a batch already. The numbers are the order to build them in.
        return DataLoader(self, batch_size=None, sampler=range(len(self)), num_workers=self._settings.num_workers)

    def _candidates(
        self, target_T: Int32Array, n_contexts: int, rng: np.random.Generator
    ) -> tuple[Int64Array, Float64Array]:
        """Distinct candidates, ascending, and the log probability of each to be sampled."""
        settings = self._settings
        if candidates_are_all(settings.candidates, len(self._contexts), self._n_products):
            return np.arange(self._n_products), np.zeros(self._n_products)
        n_random = n_contexts * settings.num_negatives
        drawn = [target_T.astype(np.int64), rng.integers(0, self._n_products, n_random)]
        if self._hard_NH is not None:
            anchors = rng.choice(target_T, n_contexts * settings.num_hard_negatives)
            columns = rng.integers(0, self._hard_NH.shape[1], len(anchors))
            drawn.append(self._hard_NH[anchors, columns].astype(np.int64))
        # Each product once: a second copy of a target would be a negative of that target.
        candidate_C = np.unique(np.concatenate(drawn))
        # A candidate is missed by every target of the batch and by every uniform draw (mixed negative sampling:
        # Yang et al. 2020, https://doi.org/10.1145/3366424.3386195).
        # The clips keep the logarithms finite: one product can have all targets, and a catalogue can consist of one
        # product. log1p and expm1, because 1 - p and 1 - e^x lose the digits of a rare product's small probability.
        log_missed_C = len(target_T) * np.log1p(-self._share_N[candidate_C].clip(max=1 - 1e-9))
        log_missed_C += n_random * np.log1p(-1 / max(2, self._n_products))
        return candidate_C, np.log(-np.expm1(log_missed_C).clip(max=-1e-12))


# ---- weights of targets ----------------------------------------------------------------------------------------------


def choice_weights(contexts: Contexts, config: Config) -> Float32Array:
    """(T,) weight of each target in the loss; the weights of a context sum to 1, or less with its age.

    Targets of a context share its weight equally, or by event weight with `training.weight_targets_by_event`. With
    `training.half_life_days` the weight of a context halves for every so many days before the latest one.
    """
    targets, settings = contexts.targets, config.training
    weights = np.ones(len(targets.products))
    if settings.weight_targets_by_event:
        weights = np.asarray(weight_by_code(config.event_weights))[targets.event_types]
    owners = targets.owners
    totals = np.bincount(owners, weights, minlength=len(targets))
    weights = weights / totals.clip(min=1e-9)[owners]
    if settings.half_life_days:
        age_days = (contexts.times_us.max() - contexts.times_us) / DAY_US
        weights *= np.exp2(-age_days / settings.half_life_days)[owners]
    counted: Float32Array = weights.astype(np.float32)
    return counted


# ---- choice of candidates --------------------------------------------------------------------------------------------


def candidates_are_all(candidates: str, n_contexts: int, n_products: int) -> bool:
    """Whether all products are candidates, by `training.candidates`.

    `auto` takes all products in a small shop, where they improve the model most. In a large shop the targets of the
    batch and some random products work as well and cost far less.
    """
    return candidates == "all" or (candidates == "auto" and n_contexts * n_products <= MAX_EPOCH_LOGITS)


def with_candidates(config: Config, n_contexts: int, n_products: int) -> Config:
    """The configuration with `auto` candidates resolved, so that selection fit and refit use the same ones."""
    settings = config.training
    # While the text encoder is trained, every candidate costs a forward and backward pass of its text.
    use_all = settings.candidates == "all" or (
        settings.freeze_text_encoder and candidates_are_all(settings.candidates, n_contexts, n_products)
    )
    training = config.training.model_copy(update={"candidates": "all" if use_all else "sampled"})
    return config.model_copy(update={"training": training})


# ---- order of contexts -----------------------------------------------------------------------------------------------


def _shuffled(contexts: Contexts, batch_size: int, rng: np.random.Generator) -> list[Int64Array]:
    """The rows of each batch: every context once, in random order of runs of adjacent contexts of one buyer.

    Adjacent contexts of a buyer share most products, which are encoded once per batch, and one pass of a transformer.
    A run holds up to 1 / RUNS_PER_BATCH of a batch's choices. A context is never split, so a batch may exceed its size
    by the last context.
    """
    # training.batch_size counts targets: they are the terms of the loss.
    sizes = contexts.targets.lengths
    begins = np.concatenate([[0], np.flatnonzero(contexts.buyer_ids[1:] != contexts.buyer_ids[:-1]) + 1])
    chosen_before = np.cumsum(sizes) - sizes
    of_buyer = chosen_before - np.repeat(chosen_before[begins], np.diff(begins, append=len(contexts)))
    run = of_buyer // max(1, batch_size // RUNS_PER_BATCH)
    starts = np.flatnonzero(np.diff(run, prepend=-1) | np.isin(np.arange(len(run)), begins))
    order = rng.permutation(len(starts))
    rows, _ = ranges(starts[order], np.append(starts[1:], len(contexts))[order])
    batch = (np.cumsum(sizes[rows]) - 1) // batch_size
    return np.split(rows, np.flatnonzero(np.diff(batch)) + 1)
