"""The text encoder as a part of the model that is trained: `training.freeze_text_encoder: false`.

U products of a step, N of the catalogue, T dimensions of a text vector.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from feature_repo.common.files import read_json, write_json
from training.text.encoder import FLOAT32, TextEncoder, load_text_encoder

TRANSFORMER_SETTINGS = "sentence_bert_config.json"  # as sentence-transformers calls the first module's file
TEXTS_AT_ONCE = 64  # whose inner values are kept at once for the gradients; all others are computed again


class LoraUnavailableError(ValueError):
    """Small matrices beside the weights were asked for, and peft is not installed."""


class TrainableTexts(nn.Module):
    """Text vectors of a catalogue that change with the encoder's weights."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], lora_rank: int = 0) -> None:
        """Takes over the encoder.

        Args:
            encoder: In float32.
            texts: Of all products.
            lora_rank: 0 trains every weight; else these stay, and beside each of the transformer's linear layers a
                product of two matrices of this rank is trained (Hu et al. 2021, LoRA).

        Raises:
            LoraUnavailableError: See there.
        """
        super().__init__()
        if encoder.format != FLOAT32:
            raise ValueError(f"only float32 weights can be trained, this encoder is in {encoder.format}")
        self._encoder, self.model = encoder, encoder.model
        self._has_lora = lora_rank > 0
        if self._has_lora:
            _add_lora(self.model, lora_rank)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self._distinct = list(row_of)
        self._row_N = torch.tensor([row_of[text] for text in texts])

    def forward(self, position_U: Tensor) -> Tensor:
        """Unit text vectors of products, (U, T); each distinct text is encoded once, however many products have it."""
        row_V, place_U = torch.unique(self._row_N[position_U.cpu()], return_inverse=True)
        texts = [self._distinct[row] for row in row_V.tolist()]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # like lengths pad each other least
        parts = [
            checkpoint(self._encode, [texts[place] for place in order[start : start + TEXTS_AT_ONCE]],
                       use_reentrant=False)
            for start in range(0, len(order), TEXTS_AT_ONCE)
        ]  # fmt: skip
        rank_V = torch.empty_like(row_V)
        rank_V[order] = torch.arange(len(order))
        encoded_VT = torch.cat(parts)
        return encoded_VT[rank_V[place_U].to(encoded_VT.device)]

    def _encode(self, texts: list[str]) -> Tensor:
        prefix = self._encoder.passage_prefix
        features = self.model.preprocess([prefix + text for text in texts])
        on_device = {
            name: value.to(self.model.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        vectors_VT: Tensor = self.model(on_device)["sentence_embedding"]
        return F.normalize(vectors_VT.float(), dim=-1)

    def vectors(self) -> Tensor:
        """Text vectors of all products by the weights as they are, (N, T); dropout is off from here on."""
        vectors_VT = torch.from_numpy(self._encoder.encode_passages(self._distinct))
        return vectors_VT[self._row_N]

    def save(self, folder: Path) -> str:
        """Writes the encoder as a SentenceTransformer folder, LoRA merged into its weights; returns its encoder_id."""
        model = self.model
        if self._has_lora:
            model = copy.deepcopy(model)
            model[0].model = model[0].model.merge_and_unload()
        model.save(str(folder), create_model_card=False)
        if getattr(model[0].model, "pooler", self) is None:  # one would be added, with a warning, when it is loaded
            settings = read_json(folder / TRANSFORMER_SETTINGS, "tawsiya train")
            write_json(folder / TRANSFORMER_SETTINGS, settings | {"model_kwargs": {"add_pooling_layer": False}})
        return load_text_encoder(str(folder), folder.parent, number_format=FLOAT32).encoder_id


def _add_lora(model: Any, rank: int) -> None:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise LoraUnavailableError(
            "training.text_encoder_lora_rank needs peft: run `pip install 'tawsiya[lora]'`, or set it to 0"
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    model[0].model = get_peft_model(model[0].model, config)
