"""A SentenceTransformer small enough to be made by a test."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast


def write_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """Writes a SentenceTransformer folder of 8 dimensions that reads single letters: no normalisation, no prompts."""
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
    parts = folder.with_name(f"{folder.name}-parts")
    BertModel(config).save_pretrained(parts)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(parts)
    model = SentenceTransformer(modules=[Transformer(str(parts)), Pooling(8)], device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder
