"""A lower bound for the cost of one request: only the reads and computations that no recommendation can do without.

    python -m benchmarks.tools.minimal_server --port PORT --inputs FILE     (started by benchmarks.online)

A bare ASGI application under uvicorn, one process. Per request: one HMGET of the bytes that Feast wrote for the buyer,
not parsed; one search of the release's index with a fixed random query; one orjson dump of a recorded response of the
service. No batching. Redis and FAISS are called on the event loop, since a thread hand-over would only add cost.
"""

import argparse
import gc
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import orjson
import redis
import uvicorn

from training.artifacts.embeddings import load_embeddings
from training.artifacts.search.vector_index import load_index

HOST = "127.0.0.1"
HEALTH = "/health"

Scope = Mapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class MinimalServer:
    """The application.

    The inputs are `redis_port`; `release`, the release's folder; `keys`, the Redis key of each buyer, and `fields`, the
    fields of its hash, both in hexadecimal; `answer`, the response to send; `k`, the number of results.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        """Connects to Redis and loads the index; ValueError where Redis holds nothing under the given keys."""
        faiss.omp_set_num_threads(1)
        self._redis: Any = redis.Redis(HOST, inputs["redis_port"])
        self._keys = {buyer: bytes.fromhex(key) for buyer, key in inputs["keys"].items()}
        self._fields = [bytes.fromhex(field) for field in inputs["fields"]]
        release = Path(inputs["release"])
        self._index = load_index(release, np.asarray(load_embeddings(release).vectors_ND))
        self._answer, self._k = inputs["answer"], inputs["k"]
        query_D = np.random.default_rng(7).normal(size=self._index.dim)
        self._query_1D = (query_D / np.linalg.norm(query_D)).astype(np.float32)[None]
        if not any(self._read(next(iter(self._keys)))):
            raise ValueError("Redis holds nothing under these keys: Feast's key layout is not that of online.py")

    async def __call__(self, scope: Scope, _receive: object, send: Send) -> None:
        """Answers GET /health and GET /v1/buyers/{id}/recommendations."""
        path = scope["path"]
        if path == HEALTH:
            body = b"{}"
        else:
            self._read(path.split("/")[3])
            self._index.search(self._query_1D, self._k)
            body = orjson.dumps(self._answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _read(self, buyer: str) -> list[bytes | None]:
        values: list[bytes | None] = self._redis.execute_command("HMGET", self._keys[buyer], *self._fields)
        return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves on the port that the command line names until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    options = parser.parse_args(arguments)
    app = MinimalServer(json.loads(options.inputs.read_text(encoding="utf-8")))
    gc.freeze()
    uvicorn.run(
        app, host=HOST, port=options.port, loop="uvloop", http="httptools", lifespan="off", access_log=False,
        log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main()
