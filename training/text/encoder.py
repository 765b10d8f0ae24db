"""The text encoder: a SentenceTransformer with its prefixes, its number format and an identity to cache vectors by.

N texts, D dimensions of a text vector.

On a CPU that other processes use too, start with OMP_WAIT_POLICY=PASSIVE in the environment: torch's threads otherwise
spin while they wait for each other (2 cores, load above 4: 64-136 texts/s, with it 339-579).
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
from training.text.bundled import build_bundled_encoder
from training.text.int8 import Int8Error, use_int8

BUNDLED = "bundled"
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"

_HUB_TIMEOUT_S = 5.0
# bf16 with AMX is fastest at 128 (730 texts/s at 32, 1,174 at 128); fp32 does not care (333 and 320).
_BATCH_SIZE = 128


class TextEncoderUnavailableError(ValueError):
    """The configured text encoder cannot be had; the message says how to go on."""


class TextEncoder:
    """Turns texts into vectors of unit length with a SentenceTransformer.

    Attributes:
        model: the SentenceTransformer.
        name: what the configuration calls the encoder.
        query_prefix: put before every text of `encode_queries`.
        passage_prefix: put before every text of `encode_passages`.
        dimension: D.
        batch_size: texts per forward pass.
        format: how the weights are kept: "float32", "bfloat16" or "int8"; vectors are float32 in any case.
        encoder_id: identifies what a vector's meaning depends on, as `name-hash`; safe as a file name. The hash covers
            weights, tokenizer, modules, length limit and prefixes, so a fine-tuned copy under the same name gets
            another id. Formats share it: vectors made on a GPU in bfloat16 may be compared with a CPU's in int8.
    """

    def __init__(
        self, model: SentenceTransformer, name: str, number_format: str, models_dir: Path, batch_size: int = _BATCH_SIZE
    ) -> None:
        """Takes a model in float32; it is converted when something is encoded for the first time.

        Args:
            model: The SentenceTransformer.
            name: What the configuration calls it.
            number_format: "float32", "bfloat16" or "int8".
            models_dir: Where a model converted to int8 is kept.
            batch_size: Texts per forward pass.
        """
        self.model = model.eval()
        self.name = name
        self.batch_size = batch_size
        self.query_prefix = _first_prompt(model.prompts, ("query",))
        self.passage_prefix = _first_prompt(model.prompts, ("passage", "document", "corpus"))
        self.dimension = int(model.get_embedding_dimension())
        self.format, self._models_dir = number_format, models_dir
        self._is_converted, self._lock = number_format == FLOAT32, threading.Lock()
        self.encoder_id = f"{Path(name).name}-{_digest(model, self.query_prefix, self.passage_prefix)}"

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return torch.device(self.model.device)

    @property
    def vectors_id(self) -> str:
        """Identifies vectors down to their last bits, to cache them by: the encoder and its number format."""
        return f"{self.encoder_id}-{self.format}"

    def _converted(self) -> SentenceTransformer:
        """The model in its format; TextEncoderUnavailableError where it cannot be had in it."""
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
        """Vectors of things to be found, such as products: (N, D) float32 of unit length, in the order of `texts`."""
        return self._encode(texts, self.passage_prefix, show_progress)

    def encode_queries(self, texts: Sequence[str], show_progress: bool = False) -> Float32Array:
        """Vectors of what a buyer types: (N, D) float32 of unit length, in the order of `texts`."""
        return self._encode(texts, self.query_prefix, show_progress)

    def _encode(self, texts: Sequence[str], prefix: str, show_progress: bool) -> Float32Array:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        # encode() sorts by length, pads each batch to its longest text and runs in inference mode. Some tokenizers make
        # nothing at all of an empty text, and the mean of nothing is not a vector: hence the space.
        encoded = self._converted().encode(
            [text or " " for text in texts],
            prompt=prefix,
            batch_size=self.batch_size,
            show_progress_bar=show_progress,
        )
        vectors_ND = np.array(encoded, np.float32)
        # Again in float32: bf16 keeps 8 bits, which leaves lengths 0.4% off one.
        lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        vectors_ND /= np.maximum(lengths_N1, np.finfo(np.float32).tiny)
        return vectors_ND


def load_text_encoder(
    name: str,
    models_dir: Path,
    device: str = "cpu",
    prompts: Mapping[str, str] | None = None,
    number_format: str = "auto",
) -> TextEncoder:
    """Load a text encoder.

    Args:
        name: "bundled" (converted into `models_dir` on first use), the folder of a SentenceTransformer, or its name on
            the model hub. A model in the hub's local cache is used as it is there, without asking the hub.
        models_dir: where the bundled encoder lies.
        device: a torch device, such as "cpu" or "cuda".
        prompts: prefixes by role ("query", "passage") for models that want some but do not come with them, as most e5
            models on the hub.
        number_format: "float32", "bfloat16", "int8" or "auto", the fastest that is known to be as good.

    Raises:
        TextEncoderUnavailableError: no such model here, and the hub does not have it or cannot be reached. Encoding
            raises it where the model cannot be had in that format.
    """
    model = _load_float32(name, models_dir, device, prompts)
    chosen = fastest_format(name, torch.device(model.device)) if number_format == "auto" else number_format
    return TextEncoder(model, name, chosen, models_dir)


def _load_float32(name: str, models_dir: Path, device: str, prompts: Mapping[str, str] | None) -> SentenceTransformer:
    source = str(build_bundled_encoder(models_dir / "multilingual-e5-small")) if name == BUNDLED else name
    try:
        return _load(source, device, prompts, local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(source).exists():
            raise _unavailable(name, f"the folder cannot be loaded ({error})") from error
    # Not on this machine. The hub's client retries for a minute when there is no network, so look before asking it.
    _require_hub(name)
    try:
        return _load(source, device, prompts, local_files_only=False)
    except (OSError, ValueError) as error:
        raise _unavailable(name, f"there is no such folder and the model hub did not provide it ({error})") from error


def _load(source: str, device: str, prompts: Mapping[str, str] | None, local_files_only: bool) -> SentenceTransformer:
    disable_progress_bar()  # a bar of its own for every load says nothing: this takes a second
    return SentenceTransformer(
        source,
        device=device,
        prompts=dict(prompts) if prompts else None,
        local_files_only=local_files_only,
        model_kwargs={"dtype": torch.float32},
    )


def fastest_format(name: str, device: torch.device) -> str:
    """The fastest format whose vectors serve as well (docs/adr/0007).

    bfloat16 where the hardware multiplies matrices of it, which on a CPU means AMX; else int8 for the encoder that this
    was measured with. Any other encoder keeps float32 until its owner says int8.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    if native:
        return BFLOAT16
    return INT8 if name == BUNDLED and device.type == "cpu" else FLOAT32


def _digest(model: SentenceTransformer, *prefixes: str) -> str:
    """Hash of all that a vector depends on; of 470 MB of weights it takes half a second."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update("\0".join([str(model), str(model.max_seq_length), *prefixes, _tokenizer_text(model)]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if ".pooler." in name:  # drawn at random where a folder has none, and never read: see modules.Pooling
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_hub(name: str) -> None:
    if constants.HF_HUB_OFFLINE:
        raise _unavailable(name, "it is neither a folder nor in the local cache, and HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(
            urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_HUB_TIMEOUT_S
        ).close()
    except urllib.error.HTTPError:
        return  # it answered; whether it has the model is the next question
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
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # These two are set anew by every call, so they say when we asked and not what the tokenizer is.
    padding, truncation = backend.padding, backend.truncation
    backend.no_padding()
    backend.no_truncation()
    text = backend.to_str()
    if padding is not None:
        backend.enable_padding(**padding)
    if truncation is not None:
        backend.enable_truncation(**truncation)
    return text
