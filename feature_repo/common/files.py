"""Writing files so that a reader never meets a half-written one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the block ends without an error it takes `path`'s place at once.

    One writer at a time: the temporary name is always the same, so that a killed writer's left-over is overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same call; os.replace says atomic
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as readable JSON in one step."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Reads a JSON report.

    Raises:
        FileNotFoundError: It is not there; the message names the command that makes it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `{made_by}` first")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
