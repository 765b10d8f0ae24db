"""The parts of a tiny shop: its tables, a release with random weights, a real server, and answers that are checked."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from batch_jobs.event_counts import as_ms, co_occurrence_of, of_products, read_events
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.shop_lists.build_lists import list_tables
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.store import feature_store
from feature_repo.time_split import read_time_split
from online_api.observability.metrics import Metrics
from online_api.runtime import Runtime, make_runtime
from online_api.schemas.problems import Problem
from online_api.schemas.responses import ApiResponse, RecommendationResponse
from tests.tiny_model import tiny_spec
from training.artifacts.embeddings import ProductEmbeddings, save_embeddings
from training.artifacts.inspection.product_map import ProductMap
from training.artifacts.lists.list_tables import ListTables
from training.artifacts.model import ModelCard, save_model
from training.artifacts.product_table import category_codes, read_product_columns
from training.artifacts.queries.catalogue_suggestions import write_suggestions
from training.artifacts.release import ReleaseParts, promote, write_release
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.text_search import build_search_index
from training.data.catalogue import read_catalogue, read_search_texts
from training.model.item_features import Vocabularies, build_vocabularies, item_features
from training.model.towers import TwoTower

# p1 is Arabic, p2 is sold out, p5 has no price, no brand, no category and no stock.
PRODUCTS = """id,title,description,brand,category,price,stock
p1,هاتف ذكي ١٢٨ جيجا,شاشة ٦ بوصة,نور,phones,799.5,3
p2,Smartphone 128GB,6 inch screen,Nour,phones,799.5,0
p3,قهوة عربية,هيل,Dallah,coffee,32,12
p4,Running shoes,,,shoes,120,1
p5,Plain thing,,,,,
"""
EVENTS = """buyer_id,product_id,event_type,timestamp
u1,p1,view,2024-03-01 10:00:00
u1,p1,add_to_cart,2024-03-01 10:01:00
u2,p3,purchase,2024-03-02 10:00:00
u2,p4,view,2024-03-05 10:00:00
"""
N_PRODUCTS, TEXT_DIM, DIM = 5, 8, 16

# A shop for filters: t2 is sold out, t4 and m4 are hidden, g1 has neither brand nor category, price or stock, and m9
# has the text of m1, into which ingest merges it.
BAZAAR_PRODUCTS = """id,title,description,brand,category,price,stock,hidden
t1,Green tea,,Dallah,tea,20,5,false
t2,Black tea,,Dallah,tea,30,0,false
t3,شاي بالنعناع,أوراق كاملة,نور,tea,40,,false
t4,Secret tea,,Dallah,tea,10,9,true
m1,Tea mug,,Acme,mugs,15,7,false
m/2,Travel mug,,Acme,mugs,60,1,false
فنجان,فنجان قهوة,,نور,mugs,25,9,false
m4,Secret mug,,Acme,mugs,20,9,true
g1,Gift card,,,,,,false
m9,tea  MUG,,Acme,mugs,14,2,false
"""
BAZAAR_EVENTS = """buyer_id,product_id,event_type,timestamp
b1,t1,purchase,2024-03-01 10:00:00
b1,m9,purchase,2024-03-01 10:01:00
b1,t3,view,2024-03-02 10:00:00
b2,فنجان,view,2024-03-05 10:00:00
"""
# As publish_random_release has it, less the hidden ones.
BAZAAR_POPULAR = ["m1", "m/2", "g1", "t1", "t2", "t3", "فنجان"]

Json = dict[str, Any]

# The API settings of these shops: on a busy machine a sound store may be slow, and then no list is degraded.
PATIENT: Json = {"store_timeout_seconds": 5}


def without_encoder(folder: Path) -> Json:
    """A `model` section whose text encoder fails immediately: most tests need none, and the default takes seconds.

    Args:
        folder: Any folder without an encoder.
    """
    return {"item_tower": {"text_encoder": str(folder)}}


def publish_random_release(
    config: Config,
    schema_hash: str,
    text_encoder: str = "random",
    rescorer: Rescorer = Rescorer(),  # noqa: B008 - frozen
    *,
    with_lists: bool = False,
) -> None:
    """Makes a release live: of random text vectors, with products 3, 2, 1, 0 and then the others as the popular ones.

    Args:
        config: Of the shop.
        schema_hash: Of its features.
        text_encoder: Id of the encoder that the release names, which has TEXT_DIM dimensions.
        rescorer: Of the release, for which the product at position p had p recent buyers, and whose data ended in 1970:
            all events are later, and count in full. What the same buyers chose is counted in the shop's events.
        with_lists: Whether it has the shop's own tables for lists, and the end of its data; else no product is in one.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    vocabularies = build_vocabularies(catalogue, np.arange(len(catalogue), dtype=np.int32))
    model = _random_model(vocabularies)
    text_NT = np.random.default_rng(7).normal(size=(len(catalogue), TEXT_DIM)).astype(np.float32)
    with torch.inference_mode():
        vectors_ND = item_features(catalogue, text_NT, vocabularies).encode(model.item_tower, slice(None)).numpy()
    save_model(paths.model, model, vocabularies, ModelCard(text_encoder, TRAINING_SERVICE, schema_hash, epoch=1))
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND, np.array(catalogue.product_ids)))
    rescorer.save(paths.model)
    FlatIndex.build(vectors_ND).save(paths.index)
    unit_NT = text_NT / np.linalg.norm(text_NT, axis=1, keepdims=True)
    build_search_index(paths.search_index, read_search_texts(paths.product_features), unit_NT, "flat")
    write_suggestions(paths.search_index, paths.product_features)
    tables = list_tables(config) if with_lists else ListTables.empty(len(catalogue))
    tables.save(paths.shop_lists)
    data_end = read_time_split(paths.feature_report).data_end
    products = read_product_columns(paths.product_features)
    events = of_products(read_events(paths), products[c.PRODUCT_KEY].to_numpy())
    name = write_release(
        paths.releases,
        ReleaseParts(
            model=paths.model,
            embeddings=paths.embeddings,
            index=paths.index,
            search_index=paths.search_index,
            products=products,
            aliases=pq.read_table(paths.product_aliases),
            popular=np.array([3, 2, 1, 0, *range(4, len(catalogue))], dtype=np.int32),
            recent_popularity=np.log1p(np.tile(np.arange(len(catalogue)), (2, 1))).astype(np.float32),
            co_occurrence=co_occurrence_of(events, data_end, len(catalogue), rescorer),
            as_of_ms=as_ms(data_end) if with_lists else 0,
            shop_lists=paths.shop_lists,
            product_map=ProductMap.build(vectors_ND, category_codes(products)),
        ),
        metrics={},
        about={"schema_hash": schema_hash},
    )
    promote(paths.releases, name)


def _random_model(vocabularies: Vocabularies) -> TwoTower:
    torch.manual_seed(7)
    spec = tiny_spec(
        text_dim=TEXT_DIM,
        embedding_dim=DIM,
        hidden_dim=12,
        categorical_dim=4,
        dropout=0.1,
        n_brands=len(vocabularies.brands),
        n_categories=len(vocabularies.categories),
        n_ids=len(vocabularies.product_keys) + 1,
        attention_hidden_dim=8,
    )
    return TwoTower(spec).eval()


@contextmanager
def open_shop(
    folder: Path,
    products: str,
    events: str,
    *,
    text_encoder: str = "random",
    rescorer: Rescorer = Rescorer(),  # noqa: B008 - frozen
    with_lists: bool = False,
    **sections: Json,
) -> Iterator[Runtime]:
    """A shop of its own, released and materialized.

    Args:
        folder: An empty one, for everything.
        products: products.csv.
        events: events.csv.
        text_encoder, rescorer, with_lists: See publish_random_release.
        sections: Of the configuration.
    """
    (folder / "products.csv").write_text(products, encoding="utf-8")
    (folder / "events.csv").write_text(events, encoding="utf-8")
    tables = {f"{table}_path": str(folder / f"{table}.csv") for table in ("events", "products")}
    data = {"source": "csv", "test_days": 1, **tables}
    sections = {"model": without_encoder(folder), **sections, "api": PATIENT | sections.get("api", {})}
    config = Config.model_validate({"data_dir": folder / "var", "data": data, **sections})
    ingest(config)
    build_features(config)
    with feature_store(config) as store:
        store.materialize(full=True)
        publish_random_release(config, store.schema_hash, text_encoder, rescorer, with_lists=with_lists)
        runtime = make_runtime(config, store, Metrics())
        try:
            yield runtime
        finally:
            runtime.breaker.close()


def body_of(answer: httpx.Response, model: type[ApiResponse] = RecommendationResponse) -> Json:
    """The body of a good answer, which is what its documentation says: every field is there, and no other."""
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    assert model.model_validate_json(answer.content, strict=True).model_dump() == body
    return body


def items_of(answer: httpx.Response) -> list[Json]:
    """The products of a list, each there once, with a score that is the sum of its parts."""
    body = body_of(answer)
    items: list[Json] = body["items"]
    assert len({item["product_id"] for item in items}) == len(items) <= body["matching"]
    for item in items:
        assert item["score"] == pytest.approx(sum(item["score_parts"].values()))
    return items


def ids_of(answer: httpx.Response) -> list[str]:
    """The ids of a list's products."""
    return [item["product_id"] for item in items_of(answer)]


def problem_of(answer: httpx.Response, status: int) -> Json:
    """The body of an error, which is a problem of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert Problem.model_validate(problem).status == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def interaction(product_id: str, event_type: str = "view", **more: Any) -> Json:
    """One interaction of a request."""
    return {"product_id": product_id, "event_type": event_type, **more}


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
