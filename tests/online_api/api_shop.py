"""The parts of a tiny shop: its tables, a release with random weights, and a real server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pyarrow.parquet as pq
import torch
import uvicorn
from fastapi import FastAPI

from feature_repo.config import Config
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.paths import shop_paths
from training.artifacts.embeddings import ProductEmbeddings, save_embeddings
from training.artifacts.index import FlatIndex
from training.artifacts.model import ModelCard, save_model
from training.artifacts.recommender import PRODUCT_COLUMNS
from training.artifacts.release import promote, write_release
from training.catalogue import Vocabularies, build_vocabularies, item_features, read_catalogue
from training.towers import ModelSpec, TwoTower

# p1 is Arabic, p5 has no price, no brand and no category.
PRODUCTS = """id,title,description,brand,category,price
p1,هاتف ذكي ١٢٨ جيجا,شاشة ٦ بوصة,نور,phones,799.5
p2,Smartphone 128GB,6 inch screen,Nour,phones,799.5
p3,قهوة عربية,هيل,Dallah,coffee,32
p4,Running shoes,,,shoes,120
p5,Plain thing,,,,
"""
EVENTS = """buyer_id,product_id,event_type,timestamp
u1,p1,view,2024-03-01 10:00:00
u1,p1,add_to_cart,2024-03-01 10:01:00
u2,p3,purchase,2024-03-02 10:00:00
u2,p4,view,2024-03-05 10:00:00
"""
N_PRODUCTS, TEXT_DIM, DIM = 5, 8, 16


def publish_random_release(config: Config, schema_hash: str) -> None:
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    vocabularies = build_vocabularies(catalogue, np.arange(len(catalogue), dtype=np.int32))
    model = _random_model(vocabularies)
    text_NT = np.random.default_rng(7).normal(size=(len(catalogue), TEXT_DIM)).astype(np.float32)
    with torch.inference_mode():
        vectors_ND = item_features(catalogue, text_NT, vocabularies).encode(model.item_tower, slice(None)).numpy()
    save_model(paths.model, model, vocabularies, ModelCard("random", TRAINING_SERVICE, schema_hash, epoch=1))
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND, np.array(catalogue.product_ids)))
    FlatIndex.build(vectors_ND).save(paths.index)
    name = write_release(
        paths.releases,
        model=paths.model,
        embeddings=paths.embeddings,
        index=paths.index,
        products=pq.read_table(paths.product_features, columns=list(PRODUCT_COLUMNS)),
        aliases=pq.read_table(paths.product_aliases),
        popular=np.array([3, 2, 1, 0, 4], dtype=np.int32),
        metrics={},
        about={"schema_hash": schema_hash},
    )
    promote(paths.releases, name)


def _random_model(vocabularies: Vocabularies) -> TwoTower:
    torch.manual_seed(7)
    spec = ModelSpec(
        text_dim=TEXT_DIM,
        embedding_dim=DIM,
        hidden_dim=12,
        categorical_dim=4,
        dropout=0.1,
        n_brands=len(vocabularies.brands),
        n_categories=len(vocabularies.categories),
        n_ids=len(vocabularies.product_keys) + 1,
        aggregation="attention",
        attention_hidden_dim=8,
        event_weights=(1.0, 5.0, 10.0),
    )
    return TwoTower(spec).eval()


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of `app`, which runs under uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it started"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
