"""Trains the two towers, top to bottom: two fits, each a loop of train, evaluate, log, save.

The selection fit learns from the contexts before the validation days and finds the best number of epochs. The refit
learns from all contexts for that many epochs. Several processes train together under torchrun, see
training.runs.distributed; only the first one writes files.

Legend: P contexts of a batch, C candidates, U distinct products of a batch, R those that this process encodes, N
products, D dimensions, T text dimensions (in owner_T: targets), H nearest products of each product.
"""

import dataclasses
import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.console.progress import progress_bar
from feature_repo.settings.model import TrainingConfig
from training.artifacts.checkpoint import Progress, delete_checkpoint, load_checkpoint, save_checkpoint
from training.artifacts.model import CHOSEN, CURVES, ModelCard, load_model, save_model
from training.artifacts.scoring.rescorer import RESCORER_FILE
from training.batches import Batch, EpochBatches, with_candidates
from training.data.contexts import Contexts
from training.data.dataset import TrainingData, selection_contexts
from training.evaluation.validation import SELECTION_METRIC, validate
from training.model.encoding import encode_catalogue, nearest_products
from training.model.item_features import ItemFeatures
from training.model.losses import info_nce
from training.model.towers import TwoTower
from training.runs import distributed
from training.runs.allocator import keep_freed_memory
from training.runs.tracking import NOT_TRACKED, Tracker
from training.text.catalogue_text import TEXT_ENCODER
from training.text.fine_tuning import TrainableTexts
from training.training_state import TrainingState, initial_state

log = logging.getLogger(__name__)

REFITTED = "refitted"  # folder of the refit's model while it trains
HARD_NEIGHBOURS = 50  # a hard negative is one of this many nearest products of a target


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite. The run stops, because its weights are useless from then on."""


# ---- the run: a selection fit, then a refit --------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """One fit of a run.

    Attributes:
        folder: Receives the model.
        contexts: Contexts to learn from, each with a target.
        validation: Contexts that choose the best epoch and stop the fit early; without them the last epoch is kept.
        n_epochs: Number of epochs; None means `training.num_epochs`. The learning rate schedule always spans
            `num_epochs`, so that the refit repeats the schedule of the selection fit.
    """

    folder: Path
    contexts: Contexts
    validation: Contexts | None = None
    n_epochs: int | None = None

    @property
    def name(self) -> str:
        """The name in logs and trackers."""
        return "refit" if self.validation is None else "selection"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint."""
        return checkpoint_of(self.folder)


def checkpoint_of(folder: Path) -> Path:
    """Folder of the checkpoint of the fit that writes its model to `folder`."""
    return folder.with_name(f"{folder.name}_checkpoint")


def train(
    config: Config,
    data: TrainingData,
    card: ModelCard,
    folder: Path,
    *,
    tracker: Tracker = NOT_TRACKED,
    show_progress: bool = True,
) -> ModelCard:
    """Trains the towers and writes the model to `folder`.

    The model of the selection fit stays in `folder`/chosen, because the re-scorer must be fitted with a model that has
    not seen the validation days. An interrupted run resumes from its last checkpoint and ends with the same weights.

    Args:
        config: Sections `model`, `training`, `event_weights` and `inference` are used.
        data: Catalogue, text vectors and contexts.
        card: Encoder, feature service and schema hash that the model records.
        folder: Receives the model.
        tracker: Receives every step and epoch.
        show_progress: Shows progress bars on stderr.

    Returns:
        The model's card, with the validation metrics of the best epoch.

    Raises:
        ValueError: There are no contexts to train on, or none to validate with.
        NonFiniteLossError: Training diverged.
    """
    keep_freed_memory()
    contexts = selection_contexts(data)
    final = Phase(folder / CHOSEN, contexts.before_validation, contexts.validation)
    progress = fit(config, data, final, card, tracker=tracker, show_progress=show_progress)
    curves = {"epochs": progress.history, "best_epoch": progress.best_epoch}
    if config.training.refit:
        log.info("refit: training for %d epochs, the validation days included", progress.best_epoch)
        final = Phase(folder / REFITTED, contexts.before_test, n_epochs=progress.best_epoch)
        curves["refit"] = fit(config, data, final, card, tracker=tracker, show_progress=show_progress).history
    if distributed.rank() > 0:
        return card
    card = _write_model(folder, final.folder, progress)
    write_json(folder / CURVES, curves)
    # The checkpoints go last. A run that is killed before this resumes from them and writes the model again.
    shutil.rmtree(folder / REFITTED, ignore_errors=True)
    for name in (CHOSEN, REFITTED):
        delete_checkpoint(checkpoint_of(folder / name))
    return card


def _write_model(folder: Path, trained: Path, progress: Progress) -> ModelCard:
    """Copies the trained model to `folder`, with the epoch and the metrics of the selection fit."""
    # The re-scorer and the text encoder of an earlier model do not fit this one.
    (folder / RESCORER_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / TEXT_ENCODER, ignore_errors=True)
    model, vocabularies, card = load_model(trained)
    card = dataclasses.replace(card, epoch=progress.best_epoch, metrics=progress.history[progress.best_epoch - 1])
    save_model(folder, model, vocabularies, card)
    if (trained / TEXT_ENCODER).is_dir():
        shutil.copytree(trained / TEXT_ENCODER, folder / TEXT_ENCODER)
    return card


# ---- one fit ---------------------------------------------------------------------------------------------------------


def fit(
    config: Config,
    data: TrainingData,
    phase: Phase,
    card: ModelCard,
    *,
    tracker: Tracker = NOT_TRACKED,
    show_progress: bool = True,
) -> Progress:
    """Trains a new model and writes it to the phase's folder; arguments and errors are those of `train`."""
    # By all contexts, not those of the phase: both fits must have the same kind of candidates.
    config = with_candidates(config, len(data.contexts), len(data.catalogue))
    settings, is_first = config.training, distributed.rank() == 0
    state = initial_state(config, data, phase.contexts)
    # ---- resume ------------------------------------------------------------------------------------------------------
    version = _run_version(config, data, card, phase.contexts)
    best = phase.folder if is_first else None
    # Loading may rename the folder and restores the best model. Only the first process does that, and the others must
    # not read in the meantime.
    with distributed.first_process_first():
        progress = load_checkpoint(phase.checkpoint, state.trained, state.optimizer, version, best) or Progress()
    # The tracker of a resumed run starts empty.
    for epoch, metrics in enumerate(progress.history, 1):
        tracker.epoch(phase.name, epoch, metrics)
    n_epochs = phase.n_epochs or settings.num_epochs
    while progress.epoch < n_epochs and progress.epochs_since_best < settings.patience:
        # ---- train ---------------------------------------------------------------------------------------------------
        epoch = progress.epoch + 1
        metrics = {"loss": _train_epoch(config, state, phase, epoch, tracker, show_progress=show_progress)}
        # ---- evaluate ------------------------------------------------------------------------------------------------
        if phase.validation is not None and is_first:
            metrics |= validate(state.model, state.current_items(), phase.validation)
        # Every process decides by the same metrics. Otherwise one could stop while the others wait for its gradients.
        metrics = distributed.broadcast_from_first(metrics)
        progress = progress.after_epoch(metrics, SELECTION_METRIC)
        # ---- log -----------------------------------------------------------------------------------------------------
        log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        tracker.epoch(phase.name, epoch, metrics)
        # ---- save ----------------------------------------------------------------------------------------------------
        # The model before the checkpoint, which contains a copy of it.
        if is_first and progress.best_epoch == epoch:
            state.save(phase.folder, dataclasses.replace(card, epoch=epoch, metrics=metrics))
        if is_first and epoch % settings.save_every_n_epochs == 0:
            save_checkpoint(phase.checkpoint, state.trained, state.optimizer, version, progress, phase.folder)
    return progress


def _run_version(config: Config, data: TrainingData, card: ModelCard, contexts: Contexts) -> str:
    """Identifies everything that the final weights depend on."""
    sections = (config.model, config.training, config.event_weights)
    texts = hashlib.blake2b(np.ascontiguousarray(data.text_NT).data, digest_size=16).hexdigest()
    # The number of contexts and the last one tell a selection fit from a refit.
    facts = [data.version, card.text_encoder, texts, card.schema_hash, str(len(contexts)), str(contexts.times_us.max())]
    # Each process has random numbers of its own for dropout.
    facts.append(str(distributed.world_size()))
    return " ".join(facts + [section.model_dump_json() for section in sections])


# ---- one epoch -------------------------------------------------------------------------------------------------------


def _train_epoch(
    config: Config, state: TrainingState, phase: Phase, epoch: int, tracker: Tracker, *, show_progress: bool
) -> float:
    """Takes one optimizer step per batch; returns the mean loss."""
    settings = config.training
    share = distributed.share()
    # Each epoch has a seed of its own, so that a resumed run draws what the uninterrupted one would have drawn.
    torch.manual_seed((settings.seed * 1000 + epoch) * share.n_processes + share.rank)
    hard_NH = None
    if epoch > 1 and settings.num_hard_negatives:
        # Of one process: with a tie that another one decides otherwise, the processes would draw other candidates.
        if share.rank == 0:
            hard_NH = nearest_products(encode_catalogue(state.model, state.current_items()), HARD_NEIGHBOURS)
        hard_NH = distributed.broadcast_from_first(hard_NH)
    batches = EpochBatches(phase.contexts, len(state.items), config, epoch, hard_NH, share).loader()
    first_step = (epoch - 1) * len(batches)
    scheduler = state.scheduler(first_step, settings.num_epochs * len(batches))
    # encode_catalogue and validation have switched to evaluation mode.
    state.trained.train()
    losses: list[float] = []
    title = f"epoch {epoch}/{phase.n_epochs or settings.num_epochs}"
    with progress_bar(batches, total=len(batches), title=title, unit="step", shown=show_progress) as bar:
        for number, batch in enumerate(bar):
            own_loss = batch_loss(state.model, state.items, batch, settings, state.texts)
            loss = distributed.sum_over_processes(own_loss.detach())
            # Of the sum, so that all processes stop at the same step.
            _require_finite(loss, epoch, number, batch)
            state.step(own_loss)
            losses.append(loss.item())
            rate = float(scheduler.get_last_lr()[0])
            tracker.step(phase.name, first_step + number, losses[-1], rate, batch.n_targets)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
            scheduler.step()
    return float(np.mean(losses))


def batch_loss(
    model: TwoTower, items: ItemFeatures, batch: Batch, settings: TrainingConfig, texts: TrainableTexts | None = None
) -> Tensor:
    """InfoNCE loss of one batch, of which each process returns its part. Each distinct product is encoded once.

    With `texts`, the products' texts go through the text encoder first; otherwise their text vectors are constants.
    """
    device = items.text_NT.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        n_products = len(batch.products_U)
        own_R = batch.products_U[distributed.share().of(n_products)]
        text_RT = None if texts is None else texts(own_R)
        item_RD = items.encode(model.item_tower, own_R.to(device), text_RT)
        item_UD = distributed.gather_rows(item_RD, n_products)
        buyer_PD = model.buyer_tower(item_UD, batch.prefixes.to(device))
        # embedding() is indexing whose gradient is several times faster on a CPU.
        candidate_CD = F.embedding(batch.candidates_C.to(device), item_UD)
    return info_nce(
        # The loss is in float32: a logit is a similarity divided by about .07, and bfloat16 would keep 8 bits of it.
        buyer_PD.float(),
        candidate_CD.float(),
        batch.choices.to(device),
        temperature=model.log_temperature.exp(),
        log_q_C=settings.logq_exponent * batch.log_q_C.to(device) if settings.logq_exponent else None,
        total_weight=batch.total_weight.to(device),
    )


def _require_finite(loss: Tensor, epoch: int, number: int, batch: Batch) -> None:
    if not torch.isfinite(loss):
        raise NonFiniteLossError(
            f"the loss is {loss.item()} in epoch {epoch}, batch {number} "
            f"(first contexts {batch.contexts[:5].tolist()}); "
            "lower training.learning_rate or raise training.temperature"
        )
