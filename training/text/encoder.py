"""The text encoder: a SentenceTransformer with prefixes, a number format and an id for caching.

Set OMP_WAIT_POLICY=PASSIVE on a CPU that other processes use too. Otherwise torch's threads spin while they wait for
each other (2 cores, load above 4: 64-136 texts/s without it, 339-579 with it).

Legend: N texts, D dimensions of a text vector.
"""

import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers.utils.logging import disable_progress_bar

from feature_repo.common.arrays import Float32Array
from training.text.bundled import BUNDLED_FOLDER, build_bundled_encoder
from training.text.int8 import Int8Error, use_int8

BUNDLED = "bundled"
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"

_HUB_TIMEOUT_S = 5.0
# bf16 with AMX is fastest with 128 texts (730 texts/s with 32, 1,174 with 128); fp32 hardly differs (333 and 320).
_BATCH_SIZE = 128


class TextEncoderUnavailableError(ValueError):
    """The configured text encoder cannot be loaded; the message says what to do."""


class TextEncoder:
    """Encodes texts as vectors of unit length with a SentenceTransformer.

    Attributes:
        model: The SentenceTransformer.
        name: Name of the encoder in the configuration.
        query_prefix: Prefix of every text in encode_queries.
        passage_prefix: Prefix of every text in encode_passages.
        dimension: D.
        format: Number format of the weights, "float32", "bfloat16" or "int8"; vectors are always float32.
        encoder_id: `name-hash`, safe as a file name. The hash covers weights, tokenizer, modules, length limit and
            prefixes, so a fine-tuned copy with the same name has another id. All number formats share the id, because
            their vectors are comparable: a GPU's in bfloat16 with a CPU's in int8.
    """

    def __init__(self, model: SentenceTransformer, name: str, number_format: str, models_dir: Path) -> None:
        """Wraps a model in float32. The first call that encodes something converts it to `number_format`.

        Args:
            model: The SentenceTransformer.
            name: Name of the encoder in the configuration.
            number_format: "float32", "bfloat16" or "int8".
            models_dir: Folder for models converted to int8.
        """
        self.model = model.eval()
        self.name = name
        self.query_prefix = _first_prompt(model.prompts, ("query",))
        self.passage_prefix = _first_prompt(model.prompts, ("passage", "document", "corpus"))
        self.dimension = int(model.get_embedding_dimension())
        self.format, self._models_dir = number_format, models_dir
        self._is_converted, self._lock = number_format == FLOAT32, threading.Lock()
        # Before any conversion, from the float32 weights: so the id does not depend on the number format.
        self.encoder_id = f"{Path(name).name}-{_digest(model, self.query_prefix, self.passage_prefix)}"

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return torch.device(self.model.device)

    @property
    def vectors_id(self) -> str:
        """Identifies the exact vectors, as a cache key: encoder_id and number format."""
        return f"{self.encoder_id}-{self.format}"

    def _converted(self) -> SentenceTransformer:
        """The model in its number format; raises TextEncoderUnavailableError if it cannot be converted."""
        # Requests of several threads may encode at once, and only one may convert.
        with self._lock:
            if not self._is_converted and self.format == BFLOAT16:
                self.model.to(torch.bfloat16)
            elif not self._is_converted:
                try:
                    use_int8(self.model, self._models_dir / "int8" / self.encoder_id)
                except Int8Error as error:
                    raise TextEncoderUnavailableError(f"text encoder {self.name!r}: {error}") from error
            self._is_converted = True
        return self.model

    def encode_passages(self, texts: Sequence[str], show_progress: bool = False) -> Float32Array:
        """(N, D) float32 unit vectors of texts to be found, such as product texts."""
        return self._encode(texts, self.passage_prefix, show_progress)

    def encode_queries(self, texts: Sequence[str], show_progress: bool = False) -> Float32Array:
        """(N, D) float32 unit vectors of search queries."""
        return self._encode(texts, self.query_prefix, show_progress)

    def _encode(self, texts: Sequence[str], prefix: str, show_progress: bool) -> Float32Array:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        # encode() sorts by length, pads each batch to its longest text and runs in inference mode. Some tokenizers
        # return no token for an empty text, and mean pooling over no token is undefined. Hence the space.
        encoded = self._converted().encode(
            [text or " " for text in texts],
            prompt=prefix,
            batch_size=_BATCH_SIZE,
            show_progress_bar=show_progress,
        )
        # A copy, because it is scaled in place.
        vectors_ND = np.array(encoded, np.float32)
        # Normalise again in float32: with the 8 bits of bf16, lengths differ from 1 by up to 0.4%.
        lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        vectors_ND /= np.maximum(lengths_N1, np.finfo(np.float32).tiny)
        return vectors_ND


# ---- loading ---------------------------------------------------------------------------------------------------------


def load_text_encoder(name: str, models_dir: Path, device: str = "cpu", number_format: str = "auto") -> TextEncoder:
    """Loads a text encoder.

    Args:
        name: "bundled" (converted into `models_dir` on first use), the folder of a SentenceTransformer, or its name on
            the model hub. A model in the hub's local cache is used without a request to the hub.
        models_dir: Folder of the bundled encoder.
        device: A torch device, such as "cpu" or "cuda".
        number_format: "float32", "bfloat16", "int8" or "auto", the fastest format of equal quality.

    Raises:
        TextEncoderUnavailableError: The model is not on this machine, and the hub does not have it or cannot be
            reached. Encoding raises it if the model cannot be converted to the number format.
    """
    model = _load_float32(name, models_dir, device)
    chosen = fastest_format(name, torch.device(model.device)) if number_format == "auto" else number_format
    return TextEncoder(model, name, chosen, models_dir)


def _load_float32(name: str, models_dir: Path, device: str) -> SentenceTransformer:
    source = str(build_bundled_encoder(models_dir / BUNDLED_FOLDER)) if name == BUNDLED else name
    try:
        # First without the hub, so that a service starts without a network.
        return _load(source, device, local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(source).exists():
            raise _unavailable(name, f"the folder cannot be loaded ({error})") from error
    # Without a network the hub's client retries for a minute, so check first whether the hub can be reached.
    _require_hub(name)
    try:
        return _load(source, device, local_files_only=False)
    except (OSError, ValueError) as error:
        raise _unavailable(name, f"there is no such folder and the model hub did not provide it ({error})") from error


def _load(source: str, device: str, local_files_only: bool) -> SentenceTransformer:
    disable_progress_bar()  # loading takes a second
    return SentenceTransformer(
        source,
        device=device,
        local_files_only=local_files_only,
        # Some folders store float16. All formats are made from float32, and the id hashes float32.
        model_kwargs={"dtype": torch.float32},
    )


def fastest_format(name: str, device: torch.device) -> str:
    """The fastest number format of equal quality (docs/adr/0007).

    bfloat16 if the hardware supports it, which on a CPU means AMX. Otherwise int8 for the bundled encoder, for which
    its quality was measured, and float32 for all others.
    """
    if device.type == "cuda":
        # torch counts emulation as support, and emulated bfloat16 is slow: 14 texts/s instead of 98 on a CPU (ADR
        # 0007).
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    if native:
        return BFLOAT16
    return INT8 if name == BUNDLED and device.type == "cpu" else FLOAT32


# ---- identity --------------------------------------------------------------------------------------------------------


def _digest(model: SentenceTransformer, *prefixes: str) -> str:
    """Hash of everything that a vector depends on; 470 MB of weights take half a second."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update("\0".join([str(model), str(model.max_seq_length), *prefixes, _tokenizer_text(model)]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if ".pooler." in name:  # random if the folder has none, and never used
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes, because NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


# ---- model hub -------------------------------------------------------------------------------------------------------


def _require_hub(name: str) -> None:
    if constants.HF_HUB_OFFLINE:
        raise _unavailable(name, "it is neither a folder nor in the local cache, and HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(
            urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_HUB_TIMEOUT_S
        ).close()
    except urllib.error.HTTPError:
        return  # the hub can be reached; it may still not have the model
    except OSError as error:
        reason = f"it is neither a folder nor in the local cache, and {constants.ENDPOINT} cannot be reached ({error})"
        raise _unavailable(name, reason) from error


def _unavailable(name: str, reason: str) -> TextEncoderUnavailableError:
    return TextEncoderUnavailableError(
        f"text encoder {name!r}: {reason}. Set `model.item_tower.text_encoder: {BUNDLED}`, or put the model in a "
        "folder (SentenceTransformer format) and name that folder there"
    )


def _first_prompt(prompts: Mapping[str, str], roles: Sequence[str]) -> str:
    return next((prompts[role] for role in roles if prompts.get(role)), "")


def _tokenizer_text(model: SentenceTransformer) -> str:
    tokenizer = model.tokenizer
    # The serialised tokenizer, hashed as it is: parsing and sorting its 250,000 pieces took 3 s of each start (ADR
    # 0007).
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # Every call sets padding and truncation, so they are not part of the tokenizer's identity.
    padding, truncation = backend.padding, backend.truncation
    backend.no_padding()
    backend.no_truncation()
    text = backend.to_str()
    if padding is not None:
        backend.enable_padding(**padding)
    if truncation is not None:
        backend.enable_truncation(**truncation)
    return text
