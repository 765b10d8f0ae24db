"""The command line starts fast: a command imports the libraries of its work when it runs."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "pandas", "numpy", "pyarrow", "duckdb", "feast", "redis", "fastapi", "yaml", "jwt", "tqdm"}


@pytest.mark.e2e
def test_what_help_and_completion_import_has_no_heavy_library() -> None:
    script = "import sys, batch_jobs.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY.isdisjoint(loaded)
    assert "typer" in loaded
