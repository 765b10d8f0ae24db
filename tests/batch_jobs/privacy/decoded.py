"""Everything that a folder's files say, decoded, so that a test can look for what must not be there."""

import contextlib
import gzip
import html
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def texts_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file with all that it says: its bytes as text, and its values decoded."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            yield path, content.decode("utf-8", errors="replace")
            for value in _values(path, content):
                yield path, value


def _values(path: Path, content: bytes) -> Iterator[str]:
    if path.suffix == ".parquet":
        # Each value of each column, nested ones too; `cast` decodes dictionaries.
        for column in pq.read_table(io.BytesIO(content)).columns:
            yield repr(column.to_pylist())
        yield repr(pq.read_metadata(io.BytesIO(content)).metadata)
    elif path.suffix == ".arrow":
        yield repr(pa.ipc.open_file(content).read_all().to_pylist())
    elif path.suffix == ".npy":
        yield repr(np.load(io.BytesIO(content), allow_pickle=False).tolist())
    elif path.suffix in (".json", ".jsonl"):
        for line in [content] if path.suffix == ".json" else content.splitlines():
            with contextlib.suppress(ValueError):  # a torn line is in the bytes alone
                yield from _leaves(json.loads(line))
    elif path.suffix == ".html":
        text = content.decode("utf-8")
        for _ in range(2):
            text = html.unescape(text)
            yield text


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value)
    else:
        yield html.unescape(str(node))
