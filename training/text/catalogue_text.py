"""Text vectors of a catalogue, with the text encoder that belongs to the model.

Legend: N products, T dimensions of a text vector.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.paths import models_dir, shop_paths, text_vectors_dir
from training.artifacts.model import ModelCard
from training.data.catalogue import Catalogue
from training.device import resolve_device
from training.text.encoder import FLOAT32, TextEncoder, load_text_encoder
from training.text.fine_tuning import TrainableTexts
from training.text.vector_cache import TextVectorCache, encode_distinct, encode_missing

log = logging.getLogger(__name__)

TEXT_ENCODER = "text_encoder"  # folder of a fine-tuned encoder in a model artifact


def text_encoder_of(config: Config, model: Path | None = None) -> TextEncoder:
    """Loads the fine-tuned encoder of a model, or the configured encoder if the model has none.

    Args:
        config: Sections `model` and `inference` are used.
        model: Folder of a model artifact; None loads the configured encoder.

    Raises:
        TextEncoderUnavailableError: The encoder is not installed and cannot be downloaded.
    """
    fine_tuned = model / TEXT_ENCODER if model is not None else None
    return load_text_encoder(
        str(fine_tuned) if fine_tuned is not None and fine_tuned.is_dir() else config.model.item_tower.text_encoder,
        models_dir(config),
        str(resolve_device(config.inference.device)),
        number_format=config.inference.text_encoder_format,
    )


def text_vectors(
    config: Config, catalogue: Catalogue, model: Path | None = None, *, show_progress: bool
) -> tuple[Float32Array, str]:
    """(N, T) text vectors of all products, and the encoder's id; a cache on disk keeps every encoded text."""
    encoder = _LazyEncoder(config, model)
    vectors_NT = encode_distinct(catalogue.texts, encoder, text_vectors_dir(config), show_progress=show_progress)
    return vectors_NT, encoder.encoder_id


def model_text_cache(config: Config, texts: Iterable[str], card: ModelCard, *, show_progress: bool) -> TextVectorCache:
    """The cache with the vectors of `texts` (see encode_missing), by the encoder that the shop's model was trained on.

    Raises:
        ValueError: The configuration names another encoder.
    """
    encoder = _LazyEncoder(config, shop_paths(config).model)
    if encoder.encoder_id != card.text_encoder:
        raise ValueError(
            f"the model was trained on text vectors of {card.text_encoder}, the configuration names "
            f"{encoder.encoder_id}; run `tawsiya train` again, or name the model's encoder in "
            "model.item_tower.text_encoder"
        )
    return encode_missing(texts, encoder, text_vectors_dir(config), show_progress=show_progress)


@dataclass(frozen=True)
class _EncoderIdentity:
    encoder_id: str
    vectors_id: str
    dimension: int


_identities: dict[tuple[str, ...], _EncoderIdentity] = {}  # of the encoders that this process has loaded


class _LazyEncoder:
    """The encoder of `text_encoder_of`, loaded only to encode a new text.

    A refresh needs the encoder's identity in four stages, and loading takes seconds and 500 MB each time. Identities
    are therefore remembered, except for a model's own encoder: another training can change it in the same folder.
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
            identity = _EncoderIdentity(encoder.encoder_id, encoder.vectors_id, encoder.dimension)
            if not is_own:
                _identities[key] = identity
        self.encoder_id, self.vectors_id, self.dimension = astuple(identity)

    def encode_passages(self, texts: Sequence[str]) -> Float32Array:
        """Encodes texts; see TextEncoder.encode_passages."""
        if self._encoder is None:
            self._encoder = text_encoder_of(self._config, self._model)
        return self._encoder.encode_passages(texts)


def trainable_texts(config: Config, catalogue: Catalogue) -> TrainableTexts:
    """The texts of the catalogue with the configured encoder, whose weights are to be fine-tuned."""
    encoder = load_text_encoder(
        config.model.item_tower.text_encoder,
        models_dir(config),
        str(resolve_device(config.inference.device)),
        # Whatever the configured format: only float32 weights can be trained.
        number_format=FLOAT32,
    )
    return TrainableTexts(encoder, catalogue.texts, config.training.text_encoder_lora_rank)
