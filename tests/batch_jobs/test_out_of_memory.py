"""Commands that need more memory than they may have."""

from pathlib import Path

import duckdb
import pytest

from feature_repo.common.paths import ShopPaths
from tests.batch_jobs.csv_shop import CSV_MAPPING
from tests.command import invoke

N_EVENTS = 100_000
TOO_LITTLE = {"ingest": "20MB", "validate": "8MB", "build-features": "3MB"}  # by command, for so many events


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShopPaths, list[str]]:
    """A shop that was ingested and validated, and the options that name it."""
    folder = tmp_path_factory.mktemp("large")
    with duckdb.connect() as db:
        db.execute(f"""
            COPY (SELECT 'u' || i // 20 AS buyer_id, 'p' || i % 100 AS product_id, 'view' AS event_type,
                         strftime(TIMESTAMP '2024-01-01' + to_seconds(10 * i), '%Y-%m-%dT%H:%M:%SZ') AS timestamp
                  FROM range({N_EVENTS}) r(i)) TO '{folder}/events.csv'""")
        db.execute(
            f"COPY (SELECT 'p' || i AS id, 'Mug ' || i AS title FROM range(100) r(i)) TO '{folder}/products.csv'"
        )
    settings = {
        "data_dir": folder, "data.source": CSV_MAPPING, "data.test_days": 1,
        "data.events_path": folder / "events.csv", "data.products_path": folder / "products.csv",
    }  # fmt: skip
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    for command in ("ingest", "validate"):
        ran = invoke(command, *options)
        assert ran.exit_code == 0, ran.output
    return ShopPaths(folder / "csv"), options


@pytest.mark.parametrize("command", TOO_LITTLE)
def test_too_little_memory_is_one_line_and_changes_nothing(command: str, shop: tuple[ShopPaths, list[str]]) -> None:
    paths, options = shop
    before = contents(paths.root)
    limit = TOO_LITTLE[command]
    ran = invoke(command, *options, "--set", f"resources.memory_limit={limit}")
    assert ran.exit_code == 1
    message = f"error: {command} needs more memory than resources.memory_limit ({limit}); raise the setting"
    assert ran.stderr.splitlines()[-1] == message
    assert contents(paths.root) == before
    assert list(paths.spill.iterdir()) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
