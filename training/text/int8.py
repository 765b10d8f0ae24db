"""A text encoder in 8-bit integers with ONNX Runtime, the fastest format on a CPU without AMX (docs/adr/0007).

The ONNX backend of sentence-transformers needs packages that are incompatible with transformers 5, so this module
converts the model itself. It replaces the transformer inside a SentenceTransformer, which keeps tokenizer, prefixes and
pooling.

Dynamic quantisation scales activations by the maximum of a call. In a batch, a text's vector would depend on the other
texts. So every text is a call of its own, without padding, and the calls run in as many threads as torch may use.

Legend: N texts, L tokens of the longest, D dimensions.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import cos_sim
from torch import Tensor, nn

from feature_repo.common.files import replacing

# A conversion is accepted if the vectors of these texts have at least MIN_COSINE to the original ones, on average.
SAMPLE_TEXTS = (
    "سماعات لاسلكية عازلة للضوضاء، لون أسود",
    "حليب كامل الدسم ١ لتر",
    "دانست 8 مجم 3 امبول",
    "Running shoes, size 42, blue",
    "Extra virgin olive oil 750 ml",
    "شاحن Samsung سريع 25W",
)
MIN_COSINE = 0.99

_VERSION = 1  # increment it when the conversion changes, so that older files are converted again


class Int8Error(ValueError):
    """An encoder cannot be converted to 8-bit integers; the message says why and what to do."""


# ---- conversion on first use -----------------------------------------------------------------------------------------


def use_int8(model: SentenceTransformer, folder: Path) -> None:
    """Replaces the transformer of a SentenceTransformer by its conversion to 8-bit integers.

    Args:
        model: A model in float32 on the CPU.
        folder: Folder of the converted transformer, one per version of the weights. The first call converts it, which
            takes half a minute and 400 MB for the bundled encoder.

    Raises:
        Int8Error: The converter is not installed or cannot convert this model, the converted model's vectors differ
            too much, or the model is not on the CPU.
    """
    onnxruntime = _import_onnxruntime()
    if model.device.type != "cpu":
        raise Int8Error(
            f"8-bit integers are for a CPU, and inference.device is {model.device.type}: set "
            "`inference.text_encoder_format: auto`"
        )
    file = folder / f"int8_{_VERSION}.onnx"
    transformer = model[0]
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Several workers may start at once. One converts; the others wait and find the file.
        with FileLock(folder / ".lock"):
            if not file.is_file():
                with replacing(file) as unfinished:
                    _convert_and_check(model, onnxruntime, unfinished)
    transformer.model = _Int8Transformer(onnxruntime, file, transformer.model.config)


def _convert_and_check(model: SentenceTransformer, onnxruntime: Any, file: Path) -> None:
    """Writes the converted transformer to `file` and checks its vectors; does not change the model."""
    transformer, before = model[0], model.encode(list(SAMPLE_TEXTS))
    full = transformer.model
    _convert(full, file)
    try:
        transformer.model = _Int8Transformer(onnxruntime, file, full.config)
        _require_similar(before, model.encode(list(SAMPLE_TEXTS)))
    finally:
        # The conversion may be refused. The model must then be as it was.
        transformer.model = full


def _import_onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401 - the conversion needs it
        import onnxruntime
    except ImportError as error:
        raise Int8Error(
            "8-bit integers need onnx and onnxruntime: run `pip install 'tawsiya[embedded]'`, or set "
            "`inference.text_encoder_format: float32`"
        ) from error
    onnxruntime.set_default_logger_severity(3)  # no warnings about possible optimisations
    return onnxruntime


def _require_similar(before: Any, after: Any) -> None:
    cosine = float(cos_sim(before, after).diagonal().mean())
    # `not >=`, because NaN must be refused too.
    if not cosine >= MIN_COSINE:
        raise Int8Error(
            f"in 8-bit integers this encoder's vectors have a cosine of {cosine:.3f} with its own, less than "
            f"{MIN_COSINE}: set `inference.text_encoder_format: float32`"
        )


# ---- inference -------------------------------------------------------------------------------------------------------


class _Int8Transformer(nn.Module):
    """Replaces a transformers model inside a SentenceTransformer."""

    def __init__(self, onnxruntime: Any, file: Path, config: Any) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # texts run in parallel instead
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise Int8Error(f"{file} cannot be read ({error}): delete it, and it is made again") from error
        self.config = config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_unused: Any) -> dict[str, Tensor]:
        """(N, L, D) vectors of the tokens, zero for padding."""
        ids_NL, real_NL = input_ids.numpy(), attention_mask.numpy().astype(bool)
        # Zeros for padding, which the pooling leaves out by the attention mask.
        hidden_NLD = np.zeros((*ids_NL.shape, self.config.hidden_size), np.float32)

        def encode(row: int) -> None:
            if not real_NL[row].any():  # some tokenizers return no token for an empty text
                return
            (text_1LD,) = self._session.run(None, {"input_ids": ids_NL[row, real_NL[row]][None]})
            hidden_NLD[row, real_NL[row]] = text_1LD[0]

        # A query: starting a thread pool would only cost time.
        if len(ids_NL) == 1:
            encode(0)
        else:
            # Threads are enough, because ONNX Runtime releases the interpreter lock while it computes.
            with ThreadPoolExecutor(torch.get_num_threads()) as threads:
                list(threads.map(encode, range(len(ids_NL))))
        return {"last_hidden_state": torch.from_numpy(hidden_NLD)}


# ---- export and quantisation -----------------------------------------------------------------------------------------


class _OneText(nn.Module):
    """The converted part of a transformer: token ids of one text, (1, L), to token vectors, (1, L, D)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        output = self._model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        vectors: Tensor = output.last_hidden_state
        return vectors


def _convert(model: Any, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    log = logging.getLogger(__name__)
    log.info("converting the text encoder to 8-bit integers, once: exporting")
    full, attention = file.with_suffix(".float32"), model.config._attn_implementation
    try:
        with _quietly(), torch.inference_mode():
            model.set_attn_implementation("eager")  # the tracer supports no other one
            torch.onnx.export(
                _OneText(model).eval(),
                (torch.arange(5, 13).unsqueeze(0),),
                str(full),
                input_names=["input_ids"],
                output_names=["last_hidden_state"],
                dynamic_axes={"input_ids": {1: "length"}, "last_hidden_state": {1: "length"}},
                opset_version=17,
                dynamo=False,
            )
            log.info("converting the text encoder to 8-bit integers, once: quantising")
            # 7 of 8 bits: AVX2 adds two products in 16 bits, which 8-bit weights would overflow. One scale per column.
            quantize_dynamic(full, file, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
                             op_types_to_quantize=["MatMul"])  # fmt: skip
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise Int8Error(
            f"this encoder cannot be converted to 8-bit integers ({error}): set "
            "`inference.text_encoder_format: float32`"
        ) from error
    finally:
        model.set_attn_implementation(attention)
        full.unlink(missing_ok=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppresses warnings of the tracer and log lines of the quantiser, which do not concern the user of a command."""
    # Log lines of other threads, such as requests, must still appear.
    own_thread = threading.get_ident()

    def is_other_thread(record: logging.LogRecord) -> bool:
        return record.thread != own_thread

    # The quantiser logs to the root logger; a filter there does not affect other loggers.
    logging.root.addFilter(is_other_thread)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.removeFilter(is_other_thread)
