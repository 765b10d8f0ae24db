"""Serving as in the system that Tawsiya replaces, on the same release: every request encodes texts.

    python -m benchmarks.described.server --port PORT --inputs FILE    (started by benchmarks.online)

Per request, by its description: the texts of the history pass the text encoder and the item tower, the buyer tower
aggregates them, an exact index is searched, and each result is looked up by scanning a DataFrame. The described system
receives the history with the request; here it is in memory, at no cost. Requests run one after the other, since the
encoder uses all cores.

Legend: N products, L events, K results, T text dimensions, D dimensions.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from feature_repo import columns as c
from training.artifacts.embeddings import load_embeddings
from training.artifacts.model import load_model
from training.artifacts.release import MODEL_FOLDER
from training.data.catalogue import read_catalogue
from training.model.item_features import item_features
from training.model.prefixes import Prefixes
from training.text.encoder import load_text_encoder

HOST = "127.0.0.1"


class Product(BaseModel):
    """One recommended product, in the fields of the described system's response."""

    product_id: str
    score: float
    title: str
    description: str
    brand: str | None
    category: str | None


class Answer(BaseModel):
    """The response of the described system to a request for recommendations."""

    buyer_id: str
    items: list[Product]


class DescribedSystem:
    """The described recommender over one release and the histories that benchmarks.online writes."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        """Loads encoder, towers, vectors and products.

        Args:
            inputs: "release", "products" and "models" (paths), "text_encoder" (its name), and "histories" by buyer id.
        """
        release = Path(inputs["release"])
        self._histories: dict[str, dict[str, list[int]]] = inputs["histories"]
        self._encoder = load_text_encoder(inputs["text_encoder"], Path(inputs["models"]))
        self._model, vocabularies, _ = load_model(release / MODEL_FOLDER)
        self._catalogue = read_catalogue(Path(inputs["products"]))
        no_text_N0 = np.empty((len(self._catalogue), 0), dtype=np.float32)
        self._features = item_features(self._catalogue, no_text_N0, vocabularies)
        vectors_ND = np.asarray(load_embeddings(release).vectors_ND)
        self._index = faiss.IndexFlatIP(vectors_ND.shape[1])
        self._index.add(vectors_ND)
        self._products = pd.read_parquet(
            inputs["products"], columns=[c.PRODUCT_ID, c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY]
        )

    def recommend(self, buyer_id: str, k: int) -> Answer:
        """The K nearest products to the buyer's history."""
        history = self._histories[buyer_id]
        positions_L = self._catalogue.positions(np.array(history[c.PRODUCT_KEYS]))
        vector_1D = self._encode(positions_L, torch.tensor([history[c.EVENT_TYPES]]))
        scores_1K, positions_1K = self._index.search(vector_1D, k)
        items = []
        for position, score in zip(positions_1K[0].tolist(), scores_1K[0].tolist(), strict=True):
            product_id = self._catalogue.product_ids[position]
            row = self._products[self._products[c.PRODUCT_ID] == product_id].iloc[0]
            items.append(Product(score=score, **row.to_dict()))
        return Answer(buyer_id=buyer_id, items=items)

    def _encode(self, positions_L: npt.NDArray[np.int32], types_1L: torch.Tensor) -> npt.NDArray[np.float32]:
        text_LT = torch.from_numpy(self._encoder.encode_passages([self._catalogue.texts[row] for row in positions_L]))
        rows_L = torch.from_numpy(positions_L.astype(np.int64))
        features = self._features
        with torch.inference_mode():
            item_LD = self._model.item_tower(
                text_LT,
                features.brand_N[rows_L],
                features.category_N[rows_L],
                features.price_N[rows_L],
                features.id_N[rows_L],
            )
            zeros_L = torch.zeros_like(rows_L)  # the described tower ignores time
            prefixes = Prefixes(
                torch.tensor([0, len(rows_L)]), torch.arange(len(rows_L)), types_1L[0], zeros_L, zeros_L, zeros_L[:1]
            )
            vector_1D: npt.NDArray[np.float32] = self._model.buyer_tower(item_LD, prefixes).numpy()
        return vector_1D


def create_app(system: DescribedSystem) -> FastAPI:
    """The application, with the same route as the service."""
    app = FastAPI()

    @app.get("/v1/buyers/{buyer_id}/recommendations")
    async def recommendations(buyer_id: str, k: int = 10) -> Answer:
        return system.recommend(buyer_id, k)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves on the port that the command line names until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    options = parser.parse_args(arguments)
    app = create_app(DescribedSystem(json.loads(options.inputs.read_text(encoding="utf-8"))))
    # Requests whose client has gone must not delay the shutdown.
    uvicorn.run(app, host=HOST, port=options.port, access_log=False, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
