"""The batches of an epoch: which contexts, which negatives, and everything the towers read of them.

A batch is a function of the seed, the epoch and its number, so several processes prepare batches beside the training
one, and a resumed run sees the same ones.

Legend: P contexts of a batch, T choices, C candidates, U distinct products, N products of the catalogue.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from feature_repo.common.config import Config
from feature_repo.transforms.events import weight_by_code
from training.data.contexts import DAY_US, Contexts
from training.data.histories import ranges
from training.model.losses import Choices
from training.model.prefixes import Prefixes, prefixes_of

Longs = npt.NDArray[np.int64]
RUNS_PER_BATCH = 8
MAX_EPOCH_LOGITS = 250_000_000  # what scoring all products may take of an epoch: half a minute on two cores


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        contexts: (P,) rows of the training contexts.
        products_U: (U,) positions of every product that the batch needs, ascending.
        prefixes: The contexts' histories; items are places in products_U.
        candidates_C: (C,) places in products_U.
        choices: What was chosen among the candidates.
        log_q_C: (C,) log of the chance of each candidate to be one; zeros where all products are.
    """

    contexts: Tensor
    products_U: Tensor
    prefixes: Prefixes
    candidates_C: Tensor
    choices: Choices
    log_q_C: Tensor


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch, by number."""

    def __init__(
        self,
        contexts: Contexts,
        n_products: int,
        config: Config,
        epoch: int,
        hard_NH: npt.NDArray[np.int32] | None = None,
    ) -> None:
        """Shuffles the contexts.

        Args:
            contexts: With a target each.
            n_products: N.
            config: Sections `training` and `event_weights` are used.
            epoch: From 1.
            hard_NH: For each product those nearest to it, from which hard negatives are drawn.
        """
        self._contexts, self._n_products, self._settings, self._epoch = contexts, n_products, config.training, epoch
        self._hard_NH = hard_NH
        rng = np.random.default_rng((config.training.seed, epoch))
        self._batches = _shuffled(contexts, config.training.batch_size, rng)
        self._weights = choice_weights(contexts, config)
        counts_N = np.bincount(contexts.targets.products, minlength=n_products)
        self._share_N = counts_N / counts_N.sum()

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches)

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`; IndexError ends a loop over all."""
        rows = self._batches[number]
        rng = np.random.default_rng((self._settings.seed, self._epoch, number))
        targets, offsets = ranges(self._contexts.targets.offsets[rows], self._contexts.targets.offsets[rows + 1])
        target_T = self._contexts.targets.products[targets]
        owner_T = np.repeat(np.arange(len(rows)), np.diff(offsets))
        prefixes = prefixes_of(self._contexts.timelines, self._contexts.starts[rows], self._contexts.ends[rows])
        candidate_C, log_q_C = self._candidates(target_T, len(rows), rng)
        place_T = np.searchsorted(candidate_C, target_T)
        product_U = np.union1d(candidate_C, prefixes.items_Z.numpy())
        place_N = np.empty(self._n_products, dtype=np.int64)
        place_N[product_U] = np.arange(len(product_U))
        return Batch(
            torch.from_numpy(rows),
            torch.from_numpy(product_U),
            prefixes._replace(items_Z=torch.from_numpy(place_N[prefixes.items_Z.numpy()])),
            torch.from_numpy(place_N[candidate_C]),
            Choices(*(torch.from_numpy(part) for part in (owner_T, place_T, self._weights[targets]))),
            torch.from_numpy(log_q_C.astype(np.float32)),
        )

    def loader(self, rank: int = 0, n_processes: int = 1) -> DataLoader[Batch]:
        """Every n-th batch from `rank` on, prepared by `training.num_workers` processes, or in this one.

        All processes get as many: where the batches do not divide evenly, the first ones come again at the end.
        """
        n_steps = -(-len(self) // n_processes)
        numbers = [(step * n_processes + rank) % len(self) for step in range(n_steps)]
        return DataLoader(self, batch_size=None, sampler=numbers, num_workers=self._settings.num_workers)

    def _candidates(
        self, target_T: npt.NDArray[np.int32], n_contexts: int, rng: np.random.Generator
    ) -> tuple[Longs, npt.NDArray[np.float64]]:
        """Distinct products, ascending, and the log of the chance of each to be among them."""
        settings = self._settings
        if candidates_are_all(settings.candidates, len(self._contexts), self._n_products):
            return np.arange(self._n_products), np.zeros(self._n_products)
        n_random = n_contexts * settings.num_negatives
        drawn = [target_T.astype(np.int64), rng.integers(0, self._n_products, n_random)]
        if self._hard_NH is not None:
            of = rng.choice(target_T, n_contexts * settings.num_hard_negatives)
            drawn.append(self._hard_NH[of, rng.integers(0, self._hard_NH.shape[1], len(of))].astype(np.int64))
        candidate_C = np.unique(np.concatenate(drawn))
        # Missed by every target of the batch and by every even draw (mixed negatives: Yang et al. 2020).
        log_missed_C = len(target_T) * np.log1p(-self._share_N[candidate_C].clip(max=1 - 1e-9))
        log_missed_C += n_random * np.log1p(-1 / max(2, self._n_products))
        return candidate_C, np.log(-np.expm1(log_missed_C).clip(max=-1e-12))


def choice_weights(contexts: Contexts, config: Config) -> npt.NDArray[np.float32]:
    """What each target of each context counts: a context counts 1 in all, less the older it is where that is asked for.

    With `training.weight_targets_by_event` its targets share that by the weights of their events, else evenly.
    """
    targets, settings = contexts.targets, config.training
    weights = np.ones(len(targets.products))
    if settings.weight_targets_by_event:
        weights = np.asarray(weight_by_code(config.event_weights))[targets.event_types]
    owners = targets.owners
    of_context = np.bincount(owners, weights, minlength=len(targets))
    weights = weights / of_context.clip(min=1e-9)[owners]
    if settings.half_life_days:
        age_days = (contexts.times_us.max() - contexts.times_us) / DAY_US
        weights *= np.exp2(-age_days / settings.half_life_days)[owners]
    counted: npt.NDArray[np.float32] = weights.astype(np.float32)
    return counted


def candidates_are_all(candidates: str, n_contexts: int, n_products: int) -> bool:
    """Whether a chosen product is told apart from the whole catalogue: `training.candidates`, and what `auto` means.

    All products teach most where moments are few; where there are many, a batch's own are as good and far cheaper.
    """
    return candidates == "all" or (candidates == "auto" and n_contexts * n_products <= MAX_EPOCH_LOGITS)


def with_candidates(config: Config, n_contexts: int, n_products: int) -> Config:
    """The configuration with `auto` candidates decided, so that it means the same for a part of the contexts."""
    settings = config.training
    # While the text encoder is trained, a product of a step costs a text's way through it and back.
    everything = settings.candidates == "all" or (
        settings.freeze_text_encoder and candidates_are_all(settings.candidates, n_contexts, n_products)
    )
    training = config.training.model_copy(update={"candidates": "all" if everything else "sampled"})
    return config.model_copy(update={"training": training})


def _shuffled(contexts: Contexts, batch_size: int, rng: np.random.Generator) -> list[Longs]:
    """The rows of each batch: every context once, in random order but for runs of neighbours of one buyer.

    Neighbouring contexts of a buyer share most of their products, which are encoded once, and a transformer's pass. A
    run holds up to an eighth of a batch's choices. No context is torn apart, so a batch may exceed its size by one.
    """
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
