"""The model artifact: a self-describing folder that training writes, and batch jobs and the API read.

model.safetensors   weights
model.json          spec, vocabularies of names, text encoder, feature service, schema hash, epoch, metrics
product_keys.npy    products with an id embedding
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from feature_repo.common.files import read_json, write_json
from feature_repo.common.formats import require_format
from training.model.item_features import Vocabularies
from training.model.spec import ModelSpec
from training.model.towers import TwoTower

# Increment it when this version cannot read older models any more.
MODEL_FORMAT = 2
WEIGHTS, CARD, KEYS = "model.safetensors", "model.json", "product_keys.npy"
CURVES = "curves.json"  # loss and validation metrics by epoch
TRAIN_COMMAND = "tawsiya train"  # the command that makes a model again
CHOSEN = "chosen"  # folder of the model that has not seen the validation days


@dataclass(frozen=True)
class ModelCard:
    """The facts about a model besides its weights.

    Attributes:
        text_encoder: Id of the text encoder that the item tower was trained with.
        feature_service: Feast feature service of the training sequences.
        schema_hash: Schema hash at training time.
        epoch: Epoch of these weights, from 1.
        metrics: Validation metrics of that epoch.
        trained_until: Start of the test days, ISO 8601: the model has seen only events before; None in older models.
    """

    text_encoder: str
    feature_service: str
    schema_hash: str
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    trained_until: str | None = None


def save_model(folder: Path, model: TwoTower, vocabularies: Vocabularies, card: ModelCard) -> None:
    """Writes the artifact; the card comes last, so a folder with a card is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    # safetensors and not torch.save: loading a pickle can run code.
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    np.save(folder / KEYS, vocabularies.product_keys, allow_pickle=False)
    content: dict[str, Any] = {
        "format_version": MODEL_FORMAT,
        "spec": model.spec.as_json(),
        "brands": vocabularies.brands,
        "categories": vocabularies.categories,
        "price_edges": vocabularies.price_edges,
        "text_encoder": card.text_encoder,
        "feature_service": card.feature_service,
        "schema_hash": card.schema_hash,
        "epoch": card.epoch,
        "metrics": card.metrics,
        "trained_until": card.trained_until,
    }
    write_json(folder / CARD, content)


def load_model(folder: Path) -> tuple[TwoTower, Vocabularies, ModelCard]:
    """Loads the artifact on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no model in the folder.
        ValueError: It was written by another version of the format, or it is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        raise FileNotFoundError(f"there is no model in {folder}; run `{TRAIN_COMMAND}` first")
    content = read_json(path, TRAIN_COMMAND)
    require_format(content.get("format_version"), MODEL_FORMAT, path, remake=TRAIN_COMMAND)
    try:
        model = TwoTower(ModelSpec.from_json(content["spec"]))
        model.load_state_dict(load_file(folder / WEIGHTS))
        vocabularies = Vocabularies(
            tuple(content["brands"]),
            tuple(content["categories"]),
            tuple(content["price_edges"]),
            np.load(folder / KEYS, allow_pickle=False),
        )
        card = ModelCard(
            content["text_encoder"],
            content["feature_service"],
            content["schema_hash"],
            content["epoch"],
            content["metrics"],
            content.get("trained_until"),
        )
    # A card that lacks a value or has one too many, weights of another spec, a file that is missing or cut short.
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"the model in {folder} is damaged ({first_line}); run `{TRAIN_COMMAND}`") from None
    return model.eval(), vocabularies, card
