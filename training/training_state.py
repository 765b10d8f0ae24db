"""The model that a fit trains, with its optimizer and the learning rate schedule."""

import dataclasses
import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from feature_repo.common.config import Config
from feature_repo.settings.model import TrainingConfig
from training.artifacts.model import ModelCard, save_model
from training.data.contexts import Contexts
from training.data.dataset import TrainingData
from training.device import resolve_device
from training.model.item_features import ItemFeatures, Vocabularies, build_vocabularies, item_features
from training.model.spec import ModelSpec
from training.model.towers import TwoTower
from training.runs import distributed
from training.text.catalogue_text import TEXT_ENCODER, trainable_texts
from training.text.fine_tuning import TrainableTexts

MAX_GRADIENT_NORM = 1.0
WARM_UP_STEPS = 50
FINAL_RATE = 0.05  # the cosine ends at this share of the learning rate


@dataclass(frozen=True)
class TrainingState:
    """The modules of one fit and their optimizer.

    Attributes:
        model: The two towers.
        texts: The text encoder, if it is trained too.
        items: Inputs of the item tower; the text vectors are those of the pretrained encoder.
        vocabularies: Vocabularies of the item tower.
        optimizer: Updates the towers and the text encoder.
    """

    model: TwoTower
    texts: TrainableTexts | None
    items: ItemFeatures
    vocabularies: Vocabularies
    optimizer: Adam

    @property
    def trained(self) -> nn.ModuleList:
        """Every module that is trained."""
        return nn.ModuleList([self.model] if self.texts is None else [self.model, self.texts])

    def current_items(self) -> ItemFeatures:
        """The inputs of the item tower, with text vectors from the text encoder's current weights."""
        if self.texts is None:
            return self.items
        return dataclasses.replace(self.items, text_NT=self.texts.vectors().to(self.items.text_NT.device))

    def scheduler(self, first_step: int, n_steps: int) -> LambdaLR:
        """A schedule over `n_steps` that starts at `first_step`; call its step() after each optimizer step."""
        # The constructor takes a step itself, from last_epoch to first_step.
        return LambdaLR(self.optimizer, partial(learning_rate_factor, n_steps=n_steps), last_epoch=first_step - 1)

    def step(self, loss: Tensor) -> None:
        """Takes one optimizer step down the gradient of `loss`, of which each process has a part."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        # Before clipping, so that every process clips the same gradient and weights stay equal.
        distributed.sum_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        self.optimizer.step()

    def save(self, folder: Path, card: ModelCard) -> None:
        """Replaces the model in `folder`, and its text encoder if that is trained too."""
        shutil.rmtree(folder / TEXT_ENCODER, ignore_errors=True)
        if self.texts is not None:
            card = dataclasses.replace(card, text_encoder=self.texts.save(folder / TEXT_ENCODER))
        save_model(folder, self.model, self.vocabularies, card)


def initial_state(config: Config, data: TrainingData, contexts: Contexts) -> TrainingState:
    """A new model with seeded weights; products that are targets of `contexts` get an id embedding."""
    device, settings = resolve_device(config.inference.device), config.training
    vocabularies = build_vocabularies(data.catalogue, contexts.targets.products)
    items = item_features(data.catalogue, data.text_NT, vocabularies).to(device)
    # Seeded immediately before the model is made, so that initial weights depend on nothing that ran earlier.
    torch.manual_seed(settings.seed)
    model = TwoTower(ModelSpec.from_config(config, data.text_NT.shape[1], vocabularies.sizes))
    # On the CPU, before the model moves: whitening is NumPy.
    model.item_tower.whiten(data.text_NT)
    model.to(device)
    texts = None if settings.freeze_text_encoder else trainable_texts(config, data.catalogue)
    return TrainingState(model, texts, items, vocabularies, _optimizer(model, texts, settings))


def _optimizer(model: TwoTower, texts: TrainableTexts | None, settings: TrainingConfig) -> Adam:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980); the text encoder has a learning rate of its own."""
    rates: list[tuple[nn.Module, float]] = [(model, settings.learning_rate)]
    if texts is not None:
        rates.append((texts, settings.text_encoder_learning_rate))
    # A scheduler that starts in the middle of a run reads the full rate from initial_lr.
    return Adam(
        {"params": [p for p in module.parameters() if p.requires_grad], "lr": rate, "initial_lr": rate}
        for module, rate in rates
    )


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Linear warm-up, then half a cosine down to FINAL_RATE (Loshchilov & Hutter 2017, SGDR)."""
    cosine = (1 + math.cos(math.pi * min(1, step / n_steps))) / 2
    warm_up = min(WARM_UP_STEPS, n_steps / 10)  # a small shop has few steps in all
    return min(1, (step + 1) / warm_up) * (FINAL_RATE + (1 - FINAL_RATE) * cosine)
