"""Text vectors of a catalogue with the configured encoder: what training and the embedding job both need."""

import numpy as np
import numpy.typing as npt

from feature_repo.config import Config
from feature_repo.paths import models_dir, text_vectors_dir
from training.catalogue import Catalogue
from training.device import resolve_device
from training.text_encoder import TextEncoder, load_text_encoder
from training.text_vectors import encode_distinct


def configured_encoder(config: Config) -> TextEncoder:
    """The text encoder that the configuration names; TextEncoderUnavailableError where it cannot be had."""
    device = resolve_device(config.inference.device)
    return load_text_encoder(config.model.item_tower.text_encoder, models_dir(config), str(device))


def text_vectors(config: Config, catalogue: Catalogue, *, show_progress: bool) -> tuple[npt.NDArray[np.float32], str]:
    """Text vectors of all products, (N, T), and the id of the encoder; each distinct text is encoded once ever."""
    encoder = configured_encoder(config)
    vectors_NT = encode_distinct(catalogue.texts, encoder, text_vectors_dir(config), show_progress=show_progress)
    return vectors_NT, encoder.encoder_id
