"""A collection of vectors in Milvus: the rows of one array, found again by the hash of its content.

Everything that speaks to the engine is here. `pymilvus` (extra `milvus`) is imported at the first connection, so that
nobody needs it who has no engine.

Legend: B queries, C candidates, N products, D dimensions.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.config_loading import environment
from training.artifacts.search.exact_search import as_float32, blocks

TOKEN_VARIABLE = "TAWSIYA_MILVUS_TOKEN"
HASH_DIGITS = 32
LITE = ".db"  # what the name of a Milvus Lite file ends with
ID, VECTOR = "id", "vector"
# Inner product on the graph that Milvus's own documentation begins with.
GRAPH: Final[dict[str, Any]] = {
    "index_type": "HNSW",
    "metric_type": "IP",
    "params": {"M": 16, "efConstruction": 200},
}
# A server limits the size of a request: this is 3 MB of vectors of 384 dimensions, and 13 MB of the most candidates.
ROWS_PER_INSERT, QUERIES_PER_SEARCH = 2_000, 64
# Whole seconds: the client passes over others here and there. A buyer waits for the first two, a job for the others.
CONNECT_S, SEARCH_S, REQUEST_S, INDEX_S = 2, 1, 60, 3_600


class EngineError(RuntimeError):
    """Milvus is away, refuses the token, or has no such collection; the message has the address and what to do."""


class Engine(NamedTuple):
    """Where the collections of a shop are.

    Attributes:
        address: The server's, such as http://milvus:19530, or a file of Milvus Lite that ends with .db.
        shop: The name of the shop.
    """

    address: str
    shop: str


class MilvusCollection:
    """One collection; connects at the first use. Safe to use from several threads."""

    def __init__(self, address: str, name: str) -> None:
        """Names the collection; nothing is asked of the engine yet."""
        self.address, self.name = address, name
        self._searched: Any = None  # the client, once it has loaded the collection

    @classmethod
    def of(cls, engine: Engine, vectors_ND: Float32Array) -> "MilvusCollection":
        """The collection of these vectors: other vectors have another one, and equal vectors the same."""
        digest = hashlib.sha256(str(vectors_ND.shape).encode())
        for block in blocks(vectors_ND):
            digest.update(as_float32(block).data)
        return cls(engine.address, _prefix(engine.shop) + digest.hexdigest()[:HASH_DIGITS])

    def fill(self, vectors_ND: Float32Array) -> None:
        """Makes the collection, with its graph, from the vectors, (N, D), block by block.

        A complete one stays as it is, and one that a killed job left is made again.

        Raises:
            EngineError: The engine cannot do it.
        """
        client = _connected(self.address)
        with _errors_of(self.address):
            if not self._is_complete(client, len(vectors_ND)):
                client.drop_collection(self.name, timeout=REQUEST_S)  # no error where there is none
                self._create(client, vectors_ND.shape[1])
                self._insert(client, vectors_ND)
            # The graph is of rows that are on disk: so first flush, and search only what is flushed.
            client.flush(self.name, timeout=INDEX_S)
            if not client.list_indexes(self.name, timeout=REQUEST_S):
                parameters = client.prepare_index_params()
                parameters.add_index(VECTOR, **GRAPH)
                client.create_index(self.name, parameters, timeout=INDEX_S)
            client.load_collection(self.name, timeout=INDEX_S)

    def _is_complete(self, client: Any, n_rows: int) -> bool:
        if not client.has_collection(self.name, timeout=REQUEST_S):
            return False
        return bool(client.get_collection_stats(self.name, timeout=REQUEST_S)["row_count"] == n_rows)

    def _create(self, client: Any, dim: int) -> None:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False)
        schema.add_field(ID, DataType.INT64, is_primary=True)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
        # It never changes once it is complete, so a search need not wait for news.
        client.create_collection(self.name, schema=schema, consistency_level="Eventually", timeout=REQUEST_S)

    def _insert(self, client: Any, vectors_ND: Float32Array) -> None:
        for start in range(0, len(vectors_ND), ROWS_PER_INSERT):
            block = as_float32(vectors_ND[start : start + ROWS_PER_INSERT])
            rows = [{ID: position, VECTOR: vector_D} for position, vector_D in enumerate(block, start)]
            client.insert(self.name, rows, timeout=REQUEST_S)

    def candidates(self, queries_BD: Float32Array, n_candidates: int, n_products: int, seconds: int) -> Int64Array:
        """The positions that the engine finds for each query, (B, C); -1 where it finds fewer.

        Args:
            queries_BD: The queries.
            n_candidates: C, of which the engine keeps as many on its way through the graph (`ef`).
            n_products: N; a position beyond it is an error.
            seconds: How long to wait for the answer to up to QUERIES_PER_SEARCH queries.

        Raises:
            EngineError: The engine does not answer, or not with positions of these products.
        """
        found_BC = np.full((len(queries_BD), n_candidates), -1, np.int64)
        try:
            client = self._searched = self._searched or self._loaded(seconds)
            with _errors_of(self.address):
                for start in range(0, len(queries_BD), QUERIES_PER_SEARCH):
                    block_BD = queries_BD[start : start + QUERIES_PER_SEARCH]
                    for row, hits in enumerate(self._hits(client, block_BD, n_candidates, seconds), start):
                        found_BC[row, : len(hits)] = hits.ids
        except EngineError:
            self._searched = None
            raise
        # The vectors are read in place by these positions, without a check.
        if found_BC.size and not -1 <= found_BC.min() <= found_BC.max() < n_products:
            raise EngineError(f"Milvus at {self.address}: the rows of {self.name} are not of these products")
        return found_BC

    def _loaded(self, seconds: int) -> Any:
        """A client of the collection, which an engine may have to read into memory after it was started again."""
        client = _connected(self.address)
        with _errors_of(self.address):
            client.load_collection(self.name, timeout=seconds)
        return client

    def _hits(self, client: Any, queries_BD: Float32Array, n_candidates: int, seconds: int) -> Any:
        return client.search(
            self.name,
            queries_BD,
            limit=n_candidates,
            output_fields=[ID],
            anns_field=VECTOR,
            search_params={"metric_type": GRAPH["metric_type"], "params": {"ef": n_candidates}},
            timeout=seconds,
        )


def drop_unused(engine: Engine, used: Set[str]) -> list[str]:
    """Drops the collections of this shop that are not in `used`; returns their names.

    Raises:
        EngineError: The engine cannot do it.
    """
    of_shop = re.compile(rf"{re.escape(_prefix(engine.shop))}[0-9a-f]{{{HASH_DIGITS}}}")
    client = _connected(engine.address)
    with _errors_of(engine.address):
        names = client.list_collections(timeout=REQUEST_S)
        unused = sorted(name for name in names if of_shop.fullmatch(name) and name not in used)
        for name in unused:
            client.drop_collection(name, timeout=REQUEST_S)
    return unused


def _prefix(shop: str) -> str:
    """What the names of a shop's collections begin with: Milvus takes letters, digits and underscores."""
    return f"tawsiya_{re.sub(r'[^0-9A-Za-z_]', lambda found: f'_{ord(found[0]):x}_', shop)}_"


def _connected(address: str) -> Any:
    with _errors_of(address):
        from pymilvus import MilvusClient

        # They log a traceback of each error that they raise, and Lite one of each method that it lacks.
        for name in ("pymilvus", "grpc._server") if address.endswith(LITE) else ("pymilvus",):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return MilvusClient(address, token=environment().get(TOKEN_VARIABLE, ""), timeout=CONNECT_S)


@contextmanager
def _errors_of(address: str) -> Iterator[None]:
    """Whatever the client raises becomes one EngineError of one line."""
    try:
        import grpc
        from pymilvus import MilvusException
    except ImportError:
        raise EngineError("index.type=milvus needs pymilvus: run `pip install 'tawsiya[milvus]'`") from None
    try:
        yield
    except (MilvusException, grpc.RpcError, OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "message", "") or error).split())
        raise EngineError(
            f"Milvus at index.address={address}: {reason}; start it, check the address and ${TOKEN_VARIABLE}, "
            "or set index.type=auto"
        ) from None
