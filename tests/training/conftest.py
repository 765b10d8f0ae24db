"""Encoders that several test modules share."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from training.bundled_encoder import SOURCE_PACKAGE, build_bundled_encoder


@pytest.fixture(scope="session")
def bundled_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundled encoder, converted once; 487 MB, so it goes when the session ends."""
    if find_spec(SOURCE_PACKAGE) is None:
        pytest.skip(f"{SOURCE_PACKAGE} is not installed")
    models_dir = tmp_path_factory.mktemp("models")
    yield build_bundled_encoder(models_dir / "multilingual-e5-small")
    shutil.rmtree(models_dir)


@pytest.fixture
def make_tiny_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Writes SentenceTransformer folders of 8 dimensions that read single letters: no normalisation, no prompts."""

    def make(name: str, seed: int = 0) -> Path:
        vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz: "])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=64,
        )
        torch.manual_seed(seed)
        parts = tmp_path / f"{name}-parts"
        BertModel(config).save_pretrained(parts)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(parts)
        model = SentenceTransformer(modules=[Transformer(str(parts)), Pooling(8)], device="cpu")
        model.save(str(tmp_path / name), create_model_card=False)
        return tmp_path / name

    return make
