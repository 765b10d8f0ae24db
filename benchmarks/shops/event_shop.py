"""A shop of many events as Parquet, for the benchmark of the data path; DuckDB makes it in bounded memory.

The same size and seed give the same files. 100 events per buyer on average, most of them by few buyers and on few
products; views, carts and purchases as 80, 14 and 6; one year.
"""

from pathlib import Path
from typing import NamedTuple

import duckdb

from feature_repo.common.sql import sql_string

EVENTS_FILE, CHANGES_FILE, PRODUCTS_FILE = "events-1.{suffix}", "events-2.{suffix}", "products.parquet"
EVENTS_PER_BUYER, MOST_PRODUCTS = 100, 100_000
SECONDS_OF_YEAR = 365 * 86_400
FORMATS = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip"}
# Any number from 0 to 1 by the number of the event: random() would depend on the threads.
UNIFORM = "(hash(i * 1000003 + {seed} * 101 + {column}) / 18446744073709551616.0)"


class EventShop(NamedTuple):
    """Size of a shop: one buyer per 100 events, one product per 10 up to MOST_PRODUCTS."""

    events: int
    seed: int = 7

    @property
    def buyers(self) -> int:
        """The number of buyers."""
        return max(1, self.events // EVENTS_PER_BUYER)

    @property
    def products(self) -> int:
        """The number of products."""
        return max(10, min(MOST_PRODUCTS, self.events // 10))


def write_event_shop(folder: Path, shop: EventShop, suffix: str) -> None:
    """Writes the products and the events; `suffix` is a key of FORMATS."""
    folder.mkdir(parents=True, exist_ok=True)
    products = f"""
        SELECT 'p' || lpad(i::VARCHAR, 6, '0') AS product_id, 'Product ' || i AS title, 'Text of product ' || i AS text,
            'Brand ' || i % 300 AS brand, 'Category ' || i % 120 AS category, 5 + i % 500 AS price, i % 40 AS stock
        FROM range({shop.products}) numbers(i)"""
    _copy(products, folder / PRODUCTS_FILE, FORMATS["parquet"])
    _copy(_events(shop, f"range({shop.events})"), folder / EVENTS_FILE.format(suffix=suffix), FORMATS[suffix])


def write_changes(folder: Path, shop: EventShop, suffix: str) -> None:
    """Adds two events of one buyer in a hundred, at any time of the year: most of them arrive late."""
    changes = 2 * max(1, shop.buyers // 100)
    events = _events(shop, f"range({shop.events}, {shop.events + changes})", buyer=f"i // 2 * 97 % {shop.buyers}")
    _copy(events, folder / CHANGES_FILE.format(suffix=suffix), FORMATS[suffix])


def _events(shop: EventShop, numbers: str, buyer: str | None = None) -> str:
    uniform = [UNIFORM.format(seed=shop.seed, column=column) for column in range(4)]
    buyer = buyer or f"floor(pow({uniform[0]}, 2) * {shop.buyers})::BIGINT"
    return f"""
        SELECT 'b' || lpad(({buyer})::VARCHAR, 8, '0') AS buyer_id,
            'p' || lpad((floor(pow({uniform[1]}, 3) * {shop.products})::BIGINT)::VARCHAR, 6, '0') AS product_id,
            CASE WHEN {uniform[2]} < 0.8 THEN 'view' WHEN {uniform[2]} < 0.94 THEN 'add_to_cart' ELSE 'purchase' END
                AS event_type,
            TIMESTAMP '2025-01-01' + to_milliseconds((({uniform[3]}) * {SECONDS_OF_YEAR})::BIGINT * 1000) AS timestamp
        FROM {numbers} numbers(i)"""


def _copy(query: str, path: Path, options: str) -> None:
    temporary = path.with_name(f"{path.name}.part")
    with duckdb.connect(config={"memory_limit": "2GB"}) as con:
        con.execute(f"COPY ({query}) TO {sql_string(str(temporary))} ({options})")
    temporary.replace(path)
