"""Writes the reference pages: `python -m reference`. A test compares the committed pages with the code."""

from collections.abc import Callable, Mapping
from pathlib import Path

from reference import command_line, configuration, features, http_api, metrics

DOCS = Path(__file__).parents[1] / "docs"
PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration.page,
    "reference/api.md": http_api.page,
    "reference/cli.md": command_line.page,
    "reference/features.md": features.page,
    "reference/metrics.md": metrics.page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
