"""The text encoder: a SentenceTransformer with its prefixes, its number format and an identity to cache vectors by.

N texts, D dimensions of a text vector.

On a CPU that other processes use too, start with OMP_WAIT_POLICY=PASSIVE in the environment: torch's threads otherwise
spin while they wait for each other (2 cores, load above 4: 64-136 texts/s, with it 339-579).
"""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers.utils.logging import disable_progress_bar

from training.bundled_encoder import build_bundled_encoder

BUNDLED = "bundled"

_HUB_TIMEOUT_S = 5.0
# bf16 with AMX is fastest at 128 (730 texts/s at 32, 1,174 at 128); fp32 does not care (333 and 320).
_BATCH_SIZE = 128


class TextEncoderUnavailableError(ValueError):
    """The configured text encoder cannot be had; the message says how to go on."""


class TextEncoder:
    """Turns texts into vectors of unit length with a frozen SentenceTransformer.

    Attributes:
        name: what the configuration calls the encoder.
        query_prefix: put before every text of `encode_queries`.
        passage_prefix: put before every text of `encode_passages`.
        dimension: D.
        batch_size: texts per forward pass.
    """

    def __init__(self, model: SentenceTransformer, name: str, batch_size: int = _BATCH_SIZE) -> None:
        self._model = model.eval()
        self.name = name
        self.batch_size = batch_size
        self.query_prefix = _first_prompt(model.prompts, ("query",))
        self.passage_prefix = _first_prompt(model.prompts, ("passage", "document", "corpus"))
        self.dimension = int(model.get_embedding_dimension())

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return torch.device(self._model.device)

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights; vectors are float32 whatever it is."""
        dtype: torch.dtype = next(self._model.parameters()).dtype
        return dtype

    @cached_property
    def encoder_id(self) -> str:
        """Identifies everything a vector depends on, as `name-dtype-hash`; safe as a file name.

        The hash covers weights, tokenizer, modules, length limit and prefixes, so a fine-tuned copy under the same name
        gets another id. Hashing 235 MB of weights takes less than a second, once per loaded encoder.
        """
        digest = hashlib.blake2b(digest_size=12)
        parts = [str(self._model), str(self._model.max_seq_length), self.query_prefix, self.passage_prefix]
        digest.update("\0".join([*parts, _tokenizer_text(self._model)]).encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return f"{Path(self.name).name}-{str(self.dtype).removeprefix('torch.')}-{digest.hexdigest()}"

    def encode_passages(self, texts: Sequence[str], show_progress: bool = False) -> npt.NDArray[np.float32]:
        """Vectors of things to be found, such as products: (N, D) float32 of unit length, in the order of `texts`."""
        return self._encode(texts, self.passage_prefix, show_progress)

    def encode_queries(self, texts: Sequence[str], show_progress: bool = False) -> npt.NDArray[np.float32]:
        """Vectors of what a buyer types: (N, D) float32 of unit length, in the order of `texts`."""
        return self._encode(texts, self.query_prefix, show_progress)

    def _encode(self, texts: Sequence[str], prefix: str, show_progress: bool) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        # encode() sorts by length, pads each batch to its longest text and runs in inference mode. Some tokenizers make
        # nothing at all of an empty text, and the mean of nothing is not a vector: hence the space.
        encoded = self._model.encode(
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
    name: str, models_dir: Path, device: str = "cpu", prompts: Mapping[str, str] | None = None
) -> TextEncoder:
    """Load a text encoder.

    Args:
        name: "bundled" (converted into `models_dir` on first use), the folder of a SentenceTransformer, or its name on
            the model hub. A model in the hub's local cache is used as it is there, without asking the hub.
        models_dir: where the bundled encoder lies.
        device: a torch device, such as "cpu" or "cuda".
        prompts: prefixes by role ("query", "passage") for models that want some but do not come with them, as most e5
            models on the hub.

    Raises:
        TextEncoderUnavailableError: no such model here, and the hub does not have it or cannot be reached.
    """
    source = str(build_bundled_encoder(models_dir / "multilingual-e5-small")) if name == BUNDLED else name
    try:
        return TextEncoder(_load(source, device, prompts, local_files_only=True), name)
    except (OSError, ValueError) as error:
        if Path(source).exists():
            raise _unavailable(name, f"the folder cannot be loaded ({error})") from error
    # Not on this machine. The hub's client retries for a minute when there is no network, so look before asking it.
    _require_hub(name)
    try:
        return TextEncoder(_load(source, device, prompts, local_files_only=False), name)
    except (OSError, ValueError) as error:
        raise _unavailable(name, f"there is no such folder and the model hub did not provide it ({error})") from error


def _load(source: str, device: str, prompts: Mapping[str, str] | None, local_files_only: bool) -> SentenceTransformer:
    disable_progress_bar()  # a bar of its own for every load says nothing: this takes a second
    return SentenceTransformer(
        source,
        device=device,
        prompts=dict(prompts) if prompts else None,
        local_files_only=local_files_only,
        model_kwargs={"dtype": _fastest_dtype(torch.device(device))},
    )


def _fastest_dtype(device: torch.device) -> torch.dtype:
    """The format in which encoding is fastest: bf16 where the hardware multiplies bf16 matrices, else fp32.

    On a CPU that means AMX. Measured with the bundled encoder, texts per second of one core: bf16 with AMX 570, fp32
    159; bf16 held to AVX-512 BF16 109, to AVX-512 42. The least cosine between bf16 and fp32 vectors was 0.9999.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.bfloat16 if native else torch.float32


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
    state = json.loads(backend.to_str())
    # These two are set anew by every call, so they say when we asked and not what the tokenizer is.
    return json.dumps({key: value for key, value in state.items() if key not in ("padding", "truncation")})
