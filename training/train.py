"""Training, top to bottom: choose the number of epochs on the validation days, then learn from these days too.

Legend: P contexts of a step, C candidates, U distinct products of a step, N products, D dimensions.
"""

import dataclasses
import hashlib
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from feature_repo.common.config import Config, TrainingConfig
from feature_repo.common.files import write_json
from feature_repo.transforms.events import weight_by_code
from training.artifacts.checkpoint import Progress, delete_checkpoint, load_checkpoint, save_checkpoint
from training.artifacts.model import ModelCard, load_model, save_model
from training.artifacts.rescorer import RESCORER
from training.batches import Batch, EpochBatches, with_candidates
from training.data.catalogue import Catalogue, ItemFeatures, Vocabularies, build_vocabularies, item_features
from training.data.contexts import Contexts
from training.device import resolve_device
from training.evaluation.judge import compare
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import Targets
from training.evaluation.ranker import Ranker
from training.model.encoding import TwoTowerRanker, encode_buyers, encode_catalogue
from training.model.losses import info_nce
from training.model.towers import ModelSpec, TwoTower
from training.runs import distributed
from training.runs.allocator import keep_freed_memory
from training.runs.tracking import NOT_TRACKED, Tracker
from training.text.catalogue_text import TEXT_ENCODER, tuned_texts
from training.text.fine_tuning import TrainableTexts

log = logging.getLogger(__name__)

SELECTION_METRIC = "ndcg@20"
VALIDATION_CONTEXTS = 5000  # validation ranks all products for this many contexts at most
MAX_GRADIENT_NORM = 1.0
WARM_UP_STEPS = 50
LAST_RATE = 0.05  # of the learning rate, where the cosine ends
HARD_NEIGHBOURS = 50  # a hard negative is one of so many products nearest to a chosen one
CURVES = "curves.json"
CHOSEN = "chosen"  # folder of the model that has not seen the validation days


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite: the run is stopped, since its weights are worthless from there on."""


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Attributes:
        catalogue: All products, N.
        text_NT: Their text vectors.
        contexts: All moments before the test.
        validation: What the model is chosen by, asked in the last days before the test.
        validation_from_us: The start of these days, microseconds since 1970.
        version: Names the data; a checkpoint of other data is not resumed.
    """

    catalogue: Catalogue
    text_NT: npt.NDArray[np.float32]
    contexts: Contexts
    validation: Contexts
    validation_from_us: int
    version: str


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

    First on what came before the validation days, to find the best epoch; that model stays in `folder`/chosen, for
    whoever fits something on the validation. Then, with `training.refit`, afresh on all contexts for as many epochs. A
    run that was interrupted goes on from its last checkpoint, and ends with the same weights as one that was not. With
    several processes (see training.runs.distributed) the first one alone writes.

    Args:
        config: Sections `model`, `training`, `event_weights` and `inference` are used.
        data: Catalogue, texts and contexts.
        card: What the artifact says about encoder, feature service and schema.
        folder: Where the model goes.
        tracker: Hears of every step and epoch.
        show_progress: Progress bars on stderr.

    Returns:
        The card of the model, with the validation metrics of its number of epochs.

    Raises:
        ValueError: There are no contexts to train on, or none to validate with.
        NonFiniteLossError: Training diverged.
    """
    keep_freed_memory()
    contexts, early, validation = selection_contexts(data)
    chosen, refitted = folder / CHOSEN, folder / "refitted"
    selection = fit(config, data, early, validation, card, chosen, tracker=tracker, show_progress=show_progress)
    curves = {"epochs": selection.history, "best_epoch": selection.best_epoch}
    final = chosen
    if config.training.refit:
        log.info("training again with the validation days; epochs: %d", selection.best_epoch)
        refit = fit(
            config,
            data,
            contexts,
            None,
            card,
            refitted,
            n_epochs=selection.best_epoch,
            tracker=tracker,
            show_progress=show_progress,
        )
        curves["refit"], final = refit.history, refitted
    if distributed.rank():
        return card
    (folder / RESCORER).unlink(missing_ok=True)  # an earlier model's does not fit this one
    model, vocabularies, card = load_model(final)
    card = dataclasses.replace(card, epoch=selection.best_epoch, metrics=selection.history[selection.best_epoch - 1])
    save_model(folder, model, vocabularies, card)
    shutil.rmtree(folder / TEXT_ENCODER, ignore_errors=True)  # of an earlier model
    if (final / TEXT_ENCODER).is_dir():
        shutil.copytree(final / TEXT_ENCODER, folder / TEXT_ENCODER)
    write_json(folder / CURVES, curves)
    shutil.rmtree(refitted, ignore_errors=True)
    for phase in (chosen, refitted):
        delete_checkpoint(_checkpoint(phase))
    return card


def selection_contexts(data: TrainingData) -> tuple[Contexts, Contexts, Contexts]:
    """The contexts with what is to be predicted: all before the test, those before the validation days, and these.

    Raises:
        ValueError: See `train`.
    """
    contexts, validation = (part.with_targets(part.targets) for part in (data.contexts, data.validation))
    early = contexts.take(np.flatnonzero(contexts.moments_us < data.validation_from_us))
    for what, part in (("to train on, before the validation days", early), ("to validate with", validation)):
        if len(part) == 0:
            raise ValueError(f"there is no context with a product {what}; load more events, or lower data.test_days")
    return contexts, early, validation


def fit(
    config: Config,
    data: TrainingData,
    contexts: Contexts,
    validation: Contexts | None,
    card: ModelCard,
    folder: Path,
    *,
    n_epochs: int | None = None,
    tracker: Tracker = NOT_TRACKED,
    show_progress: bool = True,
) -> Progress:
    """Trains afresh and writes the best epoch's model to `folder`, without a validation the last one's.

    Args:
        config: See `train`.
        data: See `train`.
        card: See `train`.
        contexts: What to learn from, with a target each.
        validation: What decides about the best epoch and when to stop.
        folder: Where the model goes.
        n_epochs: Stop after so many; the learning rate still falls over `training.num_epochs`.
        tracker: See `train`.
        show_progress: See `train`.
    """
    config = with_candidates(config, len(data.contexts), len(data.catalogue))
    settings = config.training
    device = resolve_device(config.inference.device)
    # ---- model -----------------------------------------------------------------------------------------------------
    vocabularies = build_vocabularies(data.catalogue, contexts.targets.products)
    items = item_features(data.catalogue, data.text_NT, vocabularies).to(device)
    torch.manual_seed(settings.seed)
    model = TwoTower(_spec(config, data.text_NT.shape[1], vocabularies))
    model.item_tower.whiten(data.text_NT)
    model.to(device)
    texts = None if settings.freeze_text_encoder else tuned_texts(config, data.catalogue)
    trained = nn.ModuleList([model] if texts is None else [model, texts])
    optimizer = _optimizer(trained, settings)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    run_version = _run_version(config, data, card, contexts)
    rank, n_processes = distributed.rank(), distributed.count()
    with distributed.first_process_first():
        best = None if rank else folder
        progress = load_checkpoint(_checkpoint(folder), trained, optimizer, run_version, best) or Progress()
    phase = "refit" if validation is None else "selection"
    for epoch, metrics in enumerate(progress.history, 1):
        tracker.epoch(phase, epoch, metrics)
    # ---- epochs ----------------------------------------------------------------------------------------------------
    while progress.epoch < (n_epochs or settings.num_epochs) and progress.epochs_since_best < settings.patience:
        epoch = progress.epoch + 1
        # Every epoch draws from seeds of its own, so that a resumed run goes on as if it had never stopped.
        torch.manual_seed((settings.seed * 1000 + epoch) * n_processes + rank)
        hard_NH = _hard_neighbours(model, items, settings, texts) if epoch > 1 else None
        batches = EpochBatches(contexts, len(data.catalogue), config, epoch, hard_NH).loader(rank, n_processes)
        trained.train()
        bar = tqdm(
            batches,
            desc=f"epoch {epoch}/{n_epochs or settings.num_epochs}",
            unit="step",
            disable=not show_progress,
        )
        losses: list[float] = []
        for number, batch in enumerate(bar):
            step = (epoch - 1) * len(batches) + number
            rate = _learning_rate(step, settings.num_epochs * len(batches))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["highest"]
            loss = batch_loss(model, items, batch, settings, texts)
            _require_finite(loss, epoch, number, batch)
            _step_down(loss, optimizer, parameters)
            losses.append(loss.item())
            n_pairs = len(batch.choices.owner_T) * n_processes
            tracker.step(phase, step, losses[-1], rate * settings.learning_rate, n_pairs)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        # ---- evaluate, save, log -----------------------------------------------------------------------------------
        metrics = {"loss": float(np.mean(losses))}
        if validation is not None and rank == 0:
            metrics |= validate(model, _with_texts(items, texts), validation)
        metrics = distributed.broadcast_from_first(metrics)
        progress = progress.after_epoch(metrics, SELECTION_METRIC)
        log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        tracker.epoch(phase, epoch, metrics)
        if rank:
            continue
        if progress.best_epoch == epoch:
            _save_epoch(folder, model, vocabularies, dataclasses.replace(card, epoch=epoch, metrics=metrics), texts)
        if epoch % settings.save_every_n_epochs == 0:
            save_checkpoint(_checkpoint(folder), trained, optimizer, run_version, progress, folder)
    return progress


def _with_texts(items: ItemFeatures, texts: TrainableTexts | None) -> ItemFeatures:
    """The features with text vectors by the encoder's weights as they are now."""
    return items if texts is None else dataclasses.replace(items, text_NT=texts.vectors().to(items.text_NT.device))


def _save_epoch(
    folder: Path, model: TwoTower, vocabularies: Vocabularies, card: ModelCard, texts: TrainableTexts | None
) -> None:
    """Writes the model and, where it is trained too, its text encoder; an earlier model's goes."""
    shutil.rmtree(folder / TEXT_ENCODER, ignore_errors=True)
    if texts is not None:
        card = dataclasses.replace(card, text_encoder=texts.save(folder / TEXT_ENCODER))
    save_model(folder, model, vocabularies, card)


def _require_finite(loss: torch.Tensor, epoch: int, number: int, batch: Batch) -> None:
    if not torch.isfinite(loss):
        raise NonFiniteLossError(
            f"the loss is {loss.item()} in epoch {epoch}, batch {number} "
            f"(first contexts {batch.contexts[:5].tolist()}); "
            "lower training.learning_rate or raise training.temperature"
        )


def _step_down(loss: torch.Tensor, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    distributed.average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
    optimizer.step()


def _optimizer(trained: nn.ModuleList, settings: TrainingConfig) -> torch.optim.Adam:
    """Adam over what is trained: the towers and, where it is not frozen, the text encoder at a rate of its own."""
    rates = (settings.learning_rate, settings.text_encoder_learning_rate)
    groups = [
        {"params": [parameter for parameter in part.parameters() if parameter.requires_grad], "highest": rate}
        for part, rate in zip(trained, rates, strict=False)
    ]
    return torch.optim.Adam(groups)


def batch_loss(
    model: TwoTower, items: ItemFeatures, batch: Batch, settings: TrainingConfig, texts: TrainableTexts | None = None
) -> torch.Tensor:
    """InfoNCE of one batch. Each distinct product goes through the item tower once, however often it occurs.

    With `texts`, its text goes through the text encoder first; else its vector is a constant of `items`.
    """
    device = items.text_NT.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        text_UT = None if texts is None else texts(batch.products_U)
        item_UD = items.encode(model.item_tower, batch.products_U.to(device), text_UT)
        buyer_PD = model.buyer_tower(item_UD, batch.prefixes.to(device))
        # embedding() is indexing whose gradient is several times faster on a CPU.
        candidate_CD = F.embedding(batch.candidates_C.to(device), item_UD)
    return info_nce(
        buyer_PD.float(),
        candidate_CD.float(),
        batch.choices.to(device),
        temperature=model.log_temperature.exp(),
        log_q_C=settings.logq_exponent * batch.log_q_C.to(device) if settings.logq_exponent else None,
    )


def validate(model: TwoTower, items: ItemFeatures, validation: Contexts) -> dict[str, float]:
    """Ranks all products for an even sample of the validation contexts.

    It asks for what the history does not hold as bought: that is the towers' part, repeats are the re-scorer's. Only
    where nobody chose anything new, it asks for all.
    """
    discoveries = validation.new_to_the_buyer()
    asked = discoveries if len(discoveries) else validation
    sample = asked.take(np.unique(np.linspace(0, len(asked) - 1, VALIDATION_CONTEXTS).astype(np.int64)))
    item_ND = encode_catalogue(model, items)
    ranker: Ranker = TwoTowerRanker(encode_buyers(model, item_ND, sample), item_ND)
    if len(discoveries):
        ranker = MaskedRanker(ranker, sample.purchases)
    targets = Targets(sample.targets.offsets, sample.targets.products)
    return compare([ranker], np.arange(len(sample), dtype=np.int32), targets, [20], show_progress=False)[ranker.name]


def _spec(config: Config, text_dim: int, vocabularies: Vocabularies) -> ModelSpec:
    return ModelSpec.from_config(
        config.model,
        config.training,
        text_dim=text_dim,
        n_brands=len(vocabularies.brands),
        n_categories=len(vocabularies.categories),
        n_prices=vocabularies.n_prices,
        n_ids=len(vocabularies.product_keys) + 1,
        event_weights=weight_by_code(config.event_weights),
    )


def _learning_rate(step: int, n_steps: int) -> float:
    """A short warm-up, then half a cosine (Loshchilov & Hutter 2017), as a share of the configured rate."""
    cosine = (1 + math.cos(math.pi * min(1, step / n_steps))) / 2
    warm_up = min(WARM_UP_STEPS, n_steps / 10)  # a small shop has few steps in all
    return min(1, (step + 1) / warm_up) * (LAST_RATE + (1 - LAST_RATE) * cosine)


@torch.inference_mode()
def _hard_neighbours(
    model: TwoTower, items: ItemFeatures, settings: TrainingConfig, texts: TrainableTexts | None
) -> npt.NDArray[np.int32] | None:
    """(N, H) the products nearest to each product by the model as it is; None where no hard negatives are asked for."""
    if not settings.num_hard_negatives:
        return None
    item_ND = encode_catalogue(model, _with_texts(items, texts))
    n_nearest = min(HARD_NEIGHBOURS + 1, len(item_ND))
    parts = [(rows_D @ item_ND.T).topk(n_nearest).indices[:, 1:] for rows_D in torch.split(item_ND, 1024)]
    return torch.cat(parts).cpu().numpy().astype(np.int32)


def _run_version(config: Config, data: TrainingData, card: ModelCard, contexts: Contexts) -> str:
    """Two runs of one version end with the same weights."""
    sections = (config.model, config.training, config.event_weights)
    texts = hashlib.blake2b(np.ascontiguousarray(data.text_NT).data, digest_size=16).hexdigest()
    facts = [data.version, card.text_encoder, texts, card.schema_hash, str(len(contexts)), str(contexts.times_us.max())]
    facts.append(str(distributed.count()))
    return " ".join(facts + [section.model_dump_json() for section in sections])


def _checkpoint(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_checkpoint")
