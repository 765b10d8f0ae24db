"""Text vectors of a catalogue with the encoder that belongs to it: what training, jobs and the API all need."""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.common.config import Config
from feature_repo.common.paths import models_dir, text_vectors_dir
from training.data.catalogue import Catalogue
from training.device import resolve_device
from training.text.encoder import FLOAT32, TextEncoder, load_text_encoder
from training.text.fine_tuning import TrainableTexts
from training.text.vector_cache import encode_distinct

log = logging.getLogger(__name__)

TEXT_ENCODER = "text_encoder"  # folder in a model artifact that has tuned its own


def text_encoder_of(config: Config, model: Path | None = None) -> TextEncoder:
    """The encoder that a model has tuned for itself, else the one that the configuration names.

    Args:
        config: Sections `model` and `inference` are used.
        model: Folder of a model artifact.

    Raises:
        TextEncoderUnavailableError: It cannot be had.
    """
    own = model / TEXT_ENCODER if model is not None else None
    return load_text_encoder(
        str(own) if own is not None and own.is_dir() else config.model.item_tower.text_encoder,
        models_dir(config),
        str(resolve_device(config.inference.device)),
        number_format=config.inference.text_encoder_format,
    )


def text_vectors(
    config: Config, catalogue: Catalogue, model: Path | None = None, *, show_progress: bool
) -> tuple[npt.NDArray[np.float32], str]:
    """Text vectors of all products, (N, T), and the id of the encoder; each distinct text is encoded once ever."""
    encoder = _OnceLoadedEncoder(config, model)
    vectors_NT = encode_distinct(catalogue.texts, encoder, text_vectors_dir(config), show_progress=show_progress)
    return vectors_NT, encoder.encoder_id


@dataclass(frozen=True)
class _Identity:
    encoder_id: str
    vectors_id: str
    dimension: int


_identities: dict[tuple[str, ...], _Identity] = {}  # of the encoders that this process has loaded


class _OnceLoadedEncoder:
    """The encoder of `text_encoder_of`, loaded again only where a text is new: that takes seconds and 500 MB.

    A model's own encoder may be trained anew in the same folder, so its identity is not remembered.
    """

    def __init__(self, config: Config, model: Path | None) -> None:
        self._config, self._model = config, model
        self._encoder: TextEncoder | None = None
        is_own = model is not None and (model / TEXT_ENCODER).is_dir()
        settings = config.inference
        names = config.model.item_tower.text_encoder, str(models_dir(config)), settings.device
        key = (*names, settings.text_encoder_format)
        identity = None if is_own else _identities.get(key)
        if identity is None:
            log.info("loading the text encoder")
            encoder = self._encoder = text_encoder_of(config, model)
            identity = _Identity(encoder.encoder_id, encoder.vectors_id, encoder.dimension)
            if not is_own:
                _identities[key] = identity
        self.encoder_id, self.vectors_id, self.dimension = astuple(identity)

    def encode_passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See TextEncoder.encode_passages."""
        if self._encoder is None:
            self._encoder = text_encoder_of(self._config, self._model)
        return self._encoder.encode_passages(texts)


def tuned_texts(config: Config, catalogue: Catalogue) -> TrainableTexts:
    """The configured encoder, to be trained on the catalogue's texts."""
    encoder = load_text_encoder(
        config.model.item_tower.text_encoder,
        models_dir(config),
        str(resolve_device(config.inference.device)),
        number_format=FLOAT32,
    )
    return TrainableTexts(encoder, catalogue.texts, config.training.text_encoder_lora_rank)
