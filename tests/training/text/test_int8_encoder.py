import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertModel

from training.text import int8
from training.text.encoder import TextEncoderUnavailableError, load_text_encoder
from training.text.int8 import Int8Error, use_int8

MakeEncoder = Callable[..., Path]
TEXTS = ["a", "a much longer text than the others", "bc", "tea with milk", "", "x" * 900]


@pytest.fixture
def model(make_tiny_encoder: MakeEncoder) -> SentenceTransformer:
    return SentenceTransformer(str(make_tiny_encoder("tiny")), device="cpu")


def test_vectors_do_not_depend_on_the_other_texts_of_a_batch(model: SentenceTransformer, tmp_path: Path) -> None:
    use_int8(model, tmp_path / "int8")
    together = model.encode(TEXTS, batch_size=len(TEXTS))
    np.testing.assert_allclose(together, [model.encode([text])[0] for text in TEXTS], atol=1e-6)
    assert len({vector.tobytes() for vector in together}) == len(TEXTS)


def test_the_second_call_converts_nothing(model: SentenceTransformer, make_tiny_encoder: MakeEncoder,
                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    use_int8(model, tmp_path / "int8")
    monkeypatch.setattr(int8, "_convert", None)
    again = SentenceTransformer(str(make_tiny_encoder("tiny")), device="cpu")
    use_int8(again, tmp_path / "int8")
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))


def test_two_at_once_convert_once(make_tiny_encoder: MakeEncoder, tmp_path: Path) -> None:
    folder = str(make_tiny_encoder("tiny"))
    models = [SentenceTransformer(folder, device="cpu") for _ in range(2)]
    threads = [threading.Thread(target=use_int8, args=(model, tmp_path / "int8")) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(*(model.encode(TEXTS) for model in models))
    assert len(list((tmp_path / "int8").glob("*.onnx"))) == 1


def test_an_encoder_that_comes_out_otherwise_is_refused_and_nothing_is_kept(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = int8._convert

    def convert_another(transformer: BertModel, file: Path) -> None:
        torch.manual_seed(1)
        convert(BertModel(transformer.config), file)

    monkeypatch.setattr(int8, "_convert", convert_another)
    before = model.encode(TEXTS)
    for _ in range(2):  # the model is as it was, so a second call says the same
        with pytest.raises(Int8Error, match=r"a cosine of .*inference\.text_encoder_format: float32"):
            use_int8(model, tmp_path / "int8")
    np.testing.assert_array_equal(model.encode(TEXTS), before)
    assert not list((tmp_path / "int8").glob("*.onnx"))


def test_an_encoder_that_cannot_be_converted_is_refused(tmp_path: Path, make_tiny_encoder: MakeEncoder,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def unsupported(*_args: object, **_kwargs: object) -> None:
        raise torch.onnx.errors.UnsupportedOperatorError("aten::strange", 17, None)

    monkeypatch.setattr(torch.onnx, "export", unsupported)
    with pytest.raises(TextEncoderUnavailableError, match=r"aten::strange.*inference\.text_encoder_format: float32"):
        load_text_encoder(str(make_tiny_encoder("tiny")), tmp_path, number_format="int8").encode_queries(["a"])


def test_without_the_converter_the_error_names_the_remedy(model: SentenceTransformer, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Int8Error, match=r"pip install 'tawsiya\[embedded\]'"):
        use_int8(model, tmp_path)


def test_a_model_on_another_device_is_refused(model: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(Int8Error, match=r"inference\.device is meta"):
        use_int8(model.to("meta"), tmp_path)


def test_a_damaged_file_is_named_with_the_remedy(
    model: SentenceTransformer, make_tiny_encoder: MakeEncoder, tmp_path: Path
) -> None:
    use_int8(model, tmp_path / "int8")
    (file,) = (tmp_path / "int8").glob("*.onnx")
    file.write_bytes(file.read_bytes()[:1000])
    again = SentenceTransformer(str(make_tiny_encoder("tiny")), device="cpu")
    with pytest.raises(Int8Error, match=r"\.onnx cannot be read .* delete it"):
        use_int8(again, tmp_path / "int8")
