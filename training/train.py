"""The training loop, top to bottom.

Legend: B pairs of a step, C candidates of a step (the pairs' products, then random ones), U distinct products of a
step, N products, D dimensions.
"""

import dataclasses
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tqdm import tqdm

from feature_repo.config import Config, TrainingConfig
from feature_repo.files import write_json
from feature_repo.transforms.events import weight_by_code
from training.artifacts.checkpoint import Progress, delete_checkpoint, load_checkpoint, save_checkpoint
from training.artifacts.model import ModelCard, load_model, save_model
from training.catalogue import Catalogue, ItemFeatures, Vocabularies, build_vocabularies, item_features
from training.dataset import Contexts
from training.encoding import TwoTowerRanker, encode_buyers, encode_catalogue, encode_histories, resolve_device
from training.histories import UNKNOWN_PRODUCT, Histories
from training.losses import info_nce
from training.metrics import Targets
from training.ranking import compare
from training.towers import ModelSpec, TwoTower

log = logging.getLogger(__name__)

SELECTION_METRIC = "recall@20"
VALIDATION_CONTEXTS = 2000  # validation ranks all products for this many contexts at most
MAX_GRADIENT_NORM = 1.0
CURVES = "curves.json"


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite: the run is stopped, since its weights are worthless from there on."""


@dataclass(frozen=True)
class Batch:
    """One step's input, as positions in the catalogue.

    Attributes:
        contexts: Rows of the training contexts, each once.
        context_B: (B,) place in `contexts` of each pair's context.
        target_B: (B,) the product chosen there.
        negatives: Products drawn evenly from the catalogue, shared by all pairs of the step.
    """

    contexts: npt.NDArray[np.int64]
    context_B: npt.NDArray[np.int64]
    target_B: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]


def train(
    config: Config,
    catalogue: Catalogue,
    text_NT: npt.NDArray[np.float32],
    contexts: Contexts,
    card: ModelCard,
    folder: Path,
    *,
    data_version: str,
    show_progress: bool = True,
) -> ModelCard:
    """Trains the towers and writes the best epoch to `folder`.

    A run that was interrupted goes on from its last checkpoint, and ends with the same weights as one that was not.

    Args:
        config: Sections `model`, `training`, `event_weights` and `inference` are used.
        catalogue: All products.
        text_NT: Their text vectors.
        contexts: Training contexts; the latest share is kept for validation.
        card: What the artifact says about encoder, feature service and schema.
        folder: Where the model goes.
        data_version: Names the data; a checkpoint of other data is not resumed.
        show_progress: Progress bars on stderr.

    Returns:
        The card of the best epoch, with its metrics.

    Raises:
        NonFiniteLossError: Training diverged.
    """
    settings = config.training
    device = resolve_device(config.inference.device)
    # ---- data ------------------------------------------------------------------------------------------------------
    training, validation = _split(contexts, settings.validation_split)
    vocabularies = build_vocabularies(catalogue, training.targets.products)
    items = item_features(catalogue, text_NT, vocabularies).to(device)
    share_N = _share(training.targets, len(catalogue), settings.targets_per_context).to(device)
    # ---- model -----------------------------------------------------------------------------------------------------
    torch.manual_seed(settings.seed)
    model = TwoTower(_spec(config, text_NT.shape[1], vocabularies)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    checkpoint, best = folder / "checkpoint", folder / "best"
    run_version = " ".join(
        [data_version, card.text_encoder, card.schema_hash]
        + [section.model_dump_json() for section in (config.model, settings, config.event_weights)]
    )
    progress = load_checkpoint(checkpoint, model, optimizer, run_version, best) or Progress()
    # ---- epochs ----------------------------------------------------------------------------------------------------
    while progress.epoch < settings.num_epochs and progress.epochs_since_best < settings.patience:
        epoch = progress.epoch + 1
        # Every epoch draws from seeds of its own, so that a resumed run goes on as if it had never stopped.
        rng = np.random.default_rng((settings.seed, epoch))
        torch.manual_seed(settings.seed * 1000 + epoch)
        model.train()
        losses: list[float] = []
        batches = list(batches_of(training.targets, len(catalogue), settings, rng))
        bar = tqdm(batches, desc=f"epoch {epoch}/{settings.num_epochs}", unit="step", disable=not show_progress)
        for step, batch in enumerate(bar):
            loss = _loss(model, items, training, batch, settings, share_N)
            if not torch.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss is {loss.item()} in epoch {epoch}, batch {step} (first contexts {batch.contexts[:5]}); "
                    "lower training.learning_rate or raise training.temperature"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            losses.append(loss.item())
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        # ---- evaluate, save ----------------------------------------------------------------------------------------
        metrics = {"loss": float(np.mean(losses)), **_validate(model, items, validation)}
        progress = progress.after_epoch(metrics, SELECTION_METRIC)
        log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        if progress.best_epoch == epoch:
            best_card = dataclasses.replace(card, epoch=epoch, metrics=metrics)
            save_model(best, model, vocabularies, best_card)
        if epoch % settings.save_every_n_epochs == 0:
            save_checkpoint(checkpoint, model, optimizer, run_version, progress, best)
    # ---- publish ---------------------------------------------------------------------------------------------------
    model, vocabularies, card = load_model(best)
    save_model(folder, model, vocabularies, card)
    write_json(folder / CURVES, {"epochs": progress.history, "best_epoch": progress.best_epoch})
    shutil.rmtree(best)
    delete_checkpoint(checkpoint)
    return card


def _split(contexts: Contexts, share: float) -> tuple[Contexts, Contexts]:
    """Training and validation contexts with a product to predict: validation is the latest share."""
    contexts = contexts.take(np.flatnonzero(np.diff(contexts.targets.offsets) > 0))
    if len(contexts) < 2:
        raise ValueError(
            f"training needs two contexts with a product or more, there are {len(contexts)}; load more events"
        )
    n_validation = min(len(contexts) - 1, max(1, round(len(contexts) * share)))
    order = np.argsort(contexts.times_us, kind="stable")
    return contexts.take(order[:-n_validation]), contexts.take(order[-n_validation:])


def _spec(config: Config, text_dim: int, vocabularies: Vocabularies) -> ModelSpec:
    return ModelSpec.from_config(
        config.model,
        text_dim=text_dim,
        n_brands=len(vocabularies.brands),
        n_categories=len(vocabularies.categories),
        n_ids=len(vocabularies.product_keys) + 1,
        event_weights=weight_by_code(config.event_weights),
    )


def _share(targets: Histories, n_products: int, targets_per_context: int) -> torch.Tensor:
    """Each product's expected share of an epoch's pairs, (N,): of a large basket, only some products are drawn."""
    sizes = np.diff(targets.offsets)
    drawn = np.repeat(np.minimum(sizes, targets_per_context) / sizes, sizes)
    counts_N = np.bincount(targets.products, weights=drawn, minlength=n_products)
    return torch.from_numpy(counts_N / counts_N.sum()).float()


def batches_of(
    targets: Histories, n_products: int, settings: TrainingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    """One epoch: every context once, each with up to `targets_per_context` of its products, in batches of pairs.

    A batch ends with the context that fills it, and so may hold up to targets_per_context - 1 pairs more than
    batch_size. Several pairs of one context share its history, which is encoded once; that is most of a step's work.
    """
    contexts = rng.permutation(np.flatnonzero(np.diff(targets.offsets) > 0))
    taken = np.minimum(np.diff(targets.offsets)[contexts], settings.targets_per_context)
    batch_of_context = np.cumsum(taken) // settings.batch_size
    for rows in np.split(np.arange(len(contexts)), np.flatnonzero(np.diff(batch_of_context)) + 1):
        chosen = [
            rng.choice(targets.products[targets.offsets[context] : targets.offsets[context + 1]], count, replace=False)
            for context, count in zip(contexts[rows], taken[rows], strict=True)
        ]
        target_B = np.concatenate(chosen).astype(np.int64)
        negatives = rng.integers(0, n_products, len(rows) * settings.num_negatives)
        yield Batch(contexts[rows], np.repeat(np.arange(len(rows)), taken[rows]), target_B, negatives)


def _loss(
    model: TwoTower,
    items: ItemFeatures,
    training: Contexts,
    batch: Batch,
    settings: TrainingConfig,
    share_N: torch.Tensor,
) -> torch.Tensor:
    """InfoNCE of one batch. Each distinct product goes through the item tower once, however often it occurs."""
    device = items.text_NT.device
    history = training.histories.take(batch.contexts)
    candidate_C = np.concatenate([batch.target_B, batch.negatives])
    needed = np.concatenate([[0], history.products[history.products != UNKNOWN_PRODUCT], candidate_C])
    unique_U, place = np.unique(needed, return_inverse=True)
    item_UD = items.encode(model.item_tower, torch.from_numpy(unique_U).to(device))
    local = np.searchsorted(unique_U, history.products.clip(min=0)).astype(np.int32)
    local[history.products == UNKNOWN_PRODUCT] = UNKNOWN_PRODUCT
    buyer_CD = encode_histories(model.buyer_tower, item_UD, dataclasses.replace(history, products=local))
    place_C = place[-len(candidate_C) :]
    chosen_BC = _chosen(training.targets.take(batch.contexts), unique_U)[:, place_C][batch.context_B]
    # A candidate comes from the batch (with its share of the targets) or from the even draw (Yang et al. 2020).
    n_pairs, n_negatives = len(batch.target_B), len(batch.negatives)
    share_C = share_N[torch.from_numpy(candidate_C).to(device)]
    q_C = (n_pairs * share_C + n_negatives / len(share_N)) / (n_pairs + n_negatives)
    return info_nce(
        F.embedding(torch.from_numpy(batch.context_B).to(device), buyer_CD),
        F.embedding(torch.from_numpy(place_C).to(device), item_UD),
        torch.from_numpy(chosen_BC).to(device),
        temperature=settings.temperature,
        log_q_C=settings.logq_exponent * q_C.log(),
    )


def _chosen(targets: Histories, products_U: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each context's buyer chose each of the sorted `products_U`: (contexts, U)."""
    chosen = np.zeros((len(targets), len(products_U)), dtype=bool)
    owners = np.repeat(np.arange(len(targets)), np.diff(targets.offsets))
    place = np.searchsorted(products_U, targets.products).clip(max=len(products_U) - 1)
    found = products_U[place] == targets.products
    chosen[owners[found], place[found]] = True
    return chosen


def _validate(model: TwoTower, items: ItemFeatures, validation: Contexts) -> dict[str, float]:
    """Ranks all products for an even sample of the validation contexts."""
    sample = validation.take(np.unique(np.linspace(0, len(validation) - 1, VALIDATION_CONTEXTS).astype(np.int64)))
    item_ND = encode_catalogue(model, items)
    ranker = TwoTowerRanker(encode_buyers(model, item_ND, sample.histories), item_ND)
    targets = Targets(sample.targets.offsets, sample.targets.products)
    return compare([ranker], np.arange(len(sample), dtype=np.int32), targets, [20], show_progress=False)[ranker.name]
