"""Fine-tuning: the text encoder is trained with the towers (`training.freeze_text_encoder: false`).

Legend: U products of a batch, V distinct texts of a batch, N products of the catalogue, T dimensions of a text vector.
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

TRANSFORMER_SETTINGS = "sentence_bert_config.json"  # sentence-transformers' file of the first module
TEXTS_AT_ONCE = 64  # gradient checkpointing: the activations of one chunk of texts are in memory at a time


class LoraUnavailableError(ValueError):
    """LoRA is configured, but peft is not installed."""


class TrainableTexts(nn.Module):
    """The text vectors of a catalogue as a function of the encoder's weights."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], lora_rank: int = 0) -> None:
        """Makes the encoder's weights trainable.

        Args:
            encoder: A text encoder in float32.
            texts: Texts of all products.
            lora_rank: 0 trains every weight. Otherwise all weights are frozen, and every linear layer of the
                transformer gets a trainable low-rank update of this rank (LoRA: Hu et al. 2021,
                https://arxiv.org/abs/2106.09685).

        Raises:
            LoraUnavailableError: `lora_rank` is set, but peft is not installed.
        """
        super().__init__()
        if encoder.format != FLOAT32:
            raise ValueError(f"only float32 weights can be trained, this encoder is in {encoder.format}")
        # A TextEncoder is no module. `model` is assigned too, so that parameters() finds its weights.
        self._encoder, self.model = encoder, encoder.model
        self._has_lora = lora_rank > 0
        if self._has_lora:
            _add_lora(self.model, lora_rank)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self._distinct = list(row_of)
        self._row_N = torch.tensor([row_of[text] for text in texts])

    def forward(self, position_U: Tensor) -> Tensor:
        """(U, T) unit text vectors of products; each distinct text is encoded once."""
        # On the CPU, where the texts are.
        row_V, place_U = torch.unique(self._row_N[position_U.cpu()], return_inverse=True)
        texts = [self._distinct[row] for row in row_V.tolist()]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # similar lengths need less padding
        chunks = [
            checkpoint(self._encode, [texts[place] for place in order[start : start + TEXTS_AT_ONCE]],
                       use_reentrant=False)
            for start in range(0, len(order), TEXTS_AT_ONCE)
        ]  # fmt: skip
        # The inverse permutation of `order`: where each distinct text ended up.
        rank_V = torch.empty_like(row_V)
        rank_V[order] = torch.arange(len(order))
        encoded_VT = torch.cat(chunks)
        return encoded_VT[rank_V[place_U].to(encoded_VT.device)]

    def _encode(self, texts: list[str]) -> Tensor:
        prefix = self._encoder.passage_prefix
        features = self.model.preprocess([prefix + text for text in texts])
        on_device = {
            name: value.to(self.model.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        # model.encode() cannot be used here: it computes without gradients.
        vectors_VT: Tensor = self.model(on_device)["sentence_embedding"]
        return F.normalize(vectors_VT.float(), dim=-1)

    def vectors(self) -> Tensor:
        """(N, T) text vectors of all products with the current weights; switches dropout off."""
        vectors_VT = torch.from_numpy(self._encoder.encode_passages(self._distinct))
        return vectors_VT[self._row_N]

    def save(self, folder: Path) -> str:
        """Writes a SentenceTransformer folder, with LoRA merged into the weights; returns its encoder_id."""
        model = self.model
        if self._has_lora:
            # Merging changes the weights, and training goes on after an epoch is saved.
            model = copy.deepcopy(model)
            model[0].model = model[0].model.merge_and_unload()
        model.save(str(folder), create_model_card=False)
        if getattr(model[0].model, "pooler", self) is None:  # otherwise loading adds a random pooler, with a warning
            settings = read_json(folder / TRANSFORMER_SETTINGS, "tawsiya train")
            write_json(folder / TRANSFORMER_SETTINGS, settings | {"model_kwargs": {"add_pooling_layer": False}})
        # The id of what a later load reads, not of the model in memory.
        return load_text_encoder(str(folder), folder.parent, number_format=FLOAT32).encoder_id


def _add_lora(model: Any, rank: int) -> None:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise LoraUnavailableError(
            "training.text_encoder_lora_rank needs peft: run `pip install 'tawsiya[lora]'`, or set it to 0"
        ) from error
    # peft freezes the transformer that it wraps; this freezes the other modules too.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    # alpha / rank scales the update, so it is the same for every rank.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    model[0].model = get_peft_model(model[0].model, config)
