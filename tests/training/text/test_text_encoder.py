import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from training.text.encoder import TextEncoder, TextEncoderUnavailableError, fastest_format, load_text_encoder

MakeEncoder = Callable[..., Path]


@pytest.fixture
def tiny(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> TextEncoder:
    return load_text_encoder(str(make_tiny_encoder("tiny")), tmp_path)


@pytest.fixture(scope="module")
def bundled(bundled_folder: Path) -> TextEncoder:
    return load_text_encoder("bundled", bundled_folder.parent)


def test_a_folder_gives_unit_vectors_in_the_order_of_the_texts(tiny: TextEncoder) -> None:
    texts = ["a", "a much longer text than the others", "bc", "a"]
    vectors_ND = tiny.encode_passages(texts)
    assert (vectors_ND.shape, vectors_ND.dtype, tiny.dimension) == ((4, 8), np.dtype(np.float32), 8)
    np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors_ND, [tiny.encode_passages([text])[0] for text in texts], atol=0.02)
    np.testing.assert_array_equal(vectors_ND[0], vectors_ND[3])


def test_no_texts_give_no_vectors(tiny: TextEncoder) -> None:
    assert tiny.encode_passages([]).shape == (0, 8)


def test_an_empty_text_is_one_space(tiny: TextEncoder) -> None:
    np.testing.assert_array_equal(tiny.encode_passages([""]), tiny.encode_passages([" "]))


def with_prompts(folder: Path, prompts: dict[str, str]) -> Path:
    """Adds prefixes by role to a SentenceTransformer folder."""
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": prompts}))
    return folder


def test_each_role_has_its_prefix(make_tiny_encoder: MakeEncoder, tmp_path: Path, tiny: TextEncoder) -> None:
    folder = with_prompts(make_tiny_encoder("prefixed"), {"query": "query: ", "passage": "passage: "})
    prefixed = load_text_encoder(str(folder), tmp_path)
    np.testing.assert_array_equal(prefixed.encode_queries(["tea"]), tiny.encode_queries(["query: tea"]))
    np.testing.assert_array_equal(prefixed.encode_passages(["tea"]), tiny.encode_passages(["passage: tea"]))


def test_encoder_id_stays_the_same_over_runs_and_calls(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> None:
    folder = str(make_tiny_encoder("tiny"))
    used = load_text_encoder(folder, tmp_path)
    used.encode_passages(["a", "bcd"])
    assert used.encoder_id == load_text_encoder(folder, tmp_path).encoder_id
    assert used.encoder_id.startswith("tiny-")


def test_encoder_id_differs_with_weights_and_prefix(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    base = make_tiny_encoder("tiny")
    retrained = make_tiny_encoder("retrained", seed=1).rename(tmp_path / "elsewhere" / "tiny")
    ids = {
        load_text_encoder(str(base), tmp_path).encoder_id,
        load_text_encoder(str(retrained), tmp_path).encoder_id,
        load_text_encoder(str(with_prompts(base, {"passage": "passage: "})), tmp_path).encoder_id,
    }
    assert len(ids) == 3


def test_encoder_id_does_not_change_with_a_pooler_that_nobody_reads(
    make_tiny_encoder: MakeEncoder, tmp_path: Path
) -> None:
    folder = make_tiny_encoder("tiny")
    weights = load_file(folder / "model.safetensors")
    without = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    assert len(without) < len(weights)
    save_file(without, folder / "model.safetensors", metadata={"format": "pt"})
    assert len({load_text_encoder(str(folder), tmp_path).encoder_id for _ in range(2)}) == 1


@pytest.mark.parametrize("name", ["tawsiya-tests/no-such-encoder", "no-such-encoder", "/no/such/folder"])
def test_a_model_that_cannot_be_had_is_refused_within_seconds(name: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(TextEncoderUnavailableError) as caught:
        load_text_encoder(name, tmp_path)
    assert time.monotonic() - start < 30
    message = str(caught.value)
    assert repr(name) in message
    assert "`model.item_tower.text_encoder: bundled`" in message
    assert "name that folder" in message


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextEncoderUnavailableError, match="the folder cannot be loaded"):
        load_text_encoder(str(tmp_path), tmp_path)


@pytest.mark.e2e
@pytest.mark.parametrize(("number_format", "least"), [("float32", 0.999), ("int8", 0.99)])
def test_the_bundled_encoder_is_as_good_in_every_format(bundled_folder: Path, number_format: str, least: float) -> None:
    texts = [
        "قهوة عربية محمصة",
        "شامبو ضد القشرة",
        "Ground coffee 250 g",
        "BREAD:ITALIAN/FRENCH Private",
        "",
        "سماعة رأس Bluetooth لاسلكية بخاصية عزل الضوضاء، بطارية تدوم ٣٠ ساعة، مع علبة شحن وكابل USB-C. " * 6,
    ]
    encoder = load_text_encoder("bundled", bundled_folder.parent, number_format=number_format)
    full = SentenceTransformer(str(bundled_folder), device="cpu", local_files_only=True)
    cosines = np.sum(encoder.encode_passages(texts) * full.encode_document(texts), axis=1)
    assert cosines.min() >= least
    nonsense = np.sum(encoder.encode_passages(["x" * 900]) * full.encode_document(["x" * 900]))
    assert nonsense >= least - 0.01  # .987 in int8


@pytest.mark.parametrize(
    ("name", "amx", "expected"),
    [("bundled", False, "int8"), ("bundled", True, "bfloat16"), ("some/other", False, "float32"),
     ("some/other", True, "bfloat16")],
)  # fmt: skip
def test_auto_is_the_fastest_format_that_serves_as_well(
    name: str, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    assert fastest_format(name, torch.device("cpu")) == expected


@pytest.mark.e2e
def test_the_bundled_encoder_finds_most_english_titles_by_their_arabic_names(bundled: TextEncoder) -> None:
    pairs = {
        "قهوة مطحونة": "Ground coffee 250 g",
        "شامبو ضد القشرة": "Anti-dandruff shampoo",
        "خبز فرنسي": "French bread",
        "حليب كامل الدسم": "Full cream milk 1 l",
        "زيت زيتون بكر ممتاز": "Extra virgin olive oil",
        "حفاضات أطفال مقاس 4": "Baby diapers size 4",
        "سماعات لاسلكية": "Wireless headphones",
        "عطر عود رجالي": "Men's perfume oud",
        "أرز بسمتي": "Basmati rice 5 kg",
        "تمر": "Dates 500 g",
        "شاي أسود": "Black tea bags",
        "معجون أسنان": "Toothpaste",
    }
    assert (bundled.dimension, bundled.query_prefix, bundled.passage_prefix) == (384, "query: ", "passage: ")
    nearest = (bundled.encode_queries(list(pairs)) @ bundled.encode_passages(list(pairs.values())).T).argmax(axis=1)
    # Dates and toothpaste are beyond this small model, also in its own engine, and coffee is a near miss.
    assert np.mean(nearest == np.arange(len(pairs))) >= 0.6


def test_formats_of_one_encoder_share_its_id_but_not_the_cache(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> None:
    folder = str(make_tiny_encoder("tiny"))
    formats = {
        name: load_text_encoder(folder, tmp_path, number_format=name) for name in ("float32", "bfloat16", "int8")
    }
    assert len({encoder.encoder_id for encoder in formats.values()}) == 1
    assert {encoder.vectors_id.rsplit("-", 1)[1] for encoder in formats.values()} == set(formats)
    texts = ["a longer text than the others", "tea", ""]
    for encoder in formats.values():
        vectors_ND = encoder.encode_passages(texts)
        assert vectors_ND.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-6)
        assert np.sum(vectors_ND * formats["float32"].encode_passages(texts), axis=1).min() > 0.98
