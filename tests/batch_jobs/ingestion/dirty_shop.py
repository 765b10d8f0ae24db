"""Random shops of dirty files: rows as real exports have them, good, odd and broken, with the number of rows."""

import csv
import gzip
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import CSV_MAPPING

BLANKS = ("", " ", "\t", "\u00a0", "\u200f")
NOBODY = ("", "NULL", "nan", "None", "\\N", "undefined", "(not set)", "0")
BUYERS = ("u1", "u2", " u3", "u4\t", "مشتري", "u 6", "u;7", 'u"8', "u\x019", "x" * 300, *NOBODY)
PRODUCTS = ("p1", "p2", "p3 ", "\tp4", "منتج", "p,6", 'p"7', "P1", "p9", "p\n10", "p\x0211", "", "NULL")
EVENT_TYPES = (
    "view", "View Item", "ADD-TO-CART", "purchase", "شراء", "مشاهدة", "remove_from_cart", "wishlist", "refund",
    "returned", "", "NULL", "خطأ", "1", "click", "impression",
)  # fmt: skip
TIMES = (
    "2025-06-01T10:00:00Z", "2025-06-01 10:00:00", "2025-06-02 10:00:00 +0300", "2025-06-02 10:00:00 Asia/Riyadh",
    "1748772000", "1748772000000", "1748772000.5", "1970-01-01", "2099-01-01T00:00:00Z", "0", "", "tomorrow",
    "٢٠٢٥-٠٦-٠١ ١٠:٠٠:٠٠", "2025-13-01", "03/04/2025", "Jun 1, 2025 10:00 AM", "-5", "1e400", "NaN",
)  # fmt: skip
QUANTITIES = ("", "1", "2", "-1", "-2", "0", "٣", "many")
PRICES = (
    "10", "10.50", "EGP 2,099.00", "١٬٢٩٩٫٠٠ ر.س", "1.299,00", "-5", "free", "", "NaN", "1e400", "12,50", "<b>3</b>",
)  # fmt: skip
STOCKS = ("3", "3.0", "-1", "٣", "in stock", "نفد", "", "lots", "1e30", "2.5")
FLAGS = ("0", "1", "yes", "no", "نعم", "لا", "", "maybe", "TRUE")
PHOTOS = ("https://x.example/a.jpg", "", "a.jpg, b.jpg", "not a photo", "data:image/png;base64,AAAA", "NULL")
TITLES = ("Lamp", "مصباح", "Bulb &amp; co", "<p>Chair</p>", "", "Lamp  ", "a\nb", 'He said "x"', "x" * 2000)
METADATA = ('{"price": "12", "stock": "3"}', '{"catalog_id": "c1"}', "{", "", "[]", "NULL", '{"hidden": true}')
BROKEN = ("too,many,columns,here,and,here,and,here,and,here,and,more", "short", "\udcff\udcfe,broken,bytes,x,y,z,a,b")


@dataclass(frozen=True)
class DirtyShop:
    """The configuration of a shop and the number of data rows in each of its files."""

    config: Config
    rows: dict[str, int]


def dirty_shop(folder: Path, seed: int) -> DirtyShop:
    """Writes a random shop, and an event log.

    Its tables are Parquet, or CSV files of random delimiter, line end, encoding and compression, in one or more parts.
    Equal products are merged in half of the shops.
    """
    rng = random.Random(seed)
    tables = {
        "events": (
            ("buyer_id", "product_id", "event_type", "timestamp", "quantity", "event_id"),
            (BUYERS, PRODUCTS, EVENT_TYPES, TIMES, QUANTITIES, ("", "", "e1", "e2", "e 3")),
        ),
        "products": (
            ("id", "title", "description", "brand", "price", "stock", "hidden", "photo", "metadata"),
            (PRODUCTS, TITLES, TITLES, ("Nour", "نور", ""), PRICES, STOCKS, FLAGS, PHOTOS, METADATA),
        ),
        "photos": (("id", "photo"), (PRODUCTS, PHOTOS)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    mapping = folder / "mapping.yaml"
    text = Path(CSV_MAPPING).read_text("utf-8")
    mapping.write_text(text if rng.random() < 0.5 else text.replace("deduplicate: true", "deduplicate: false"), "utf-8")
    settings: dict[str, object] = {"source": str(mapping)}
    counts = {}
    for name, (header, values) in tables.items():
        parts = rng.choice((1, 1, 1, 3))
        path = folder / name
        path.mkdir()
        as_parquet = rng.random() < 0.2
        write = _write_parquet if as_parquet else _write_csv
        counts[name] = sum(write(rng, path / f"part-{part}", header, values) for part in range(parts))
        settings[f"{name}_path"] = str(path)
    config = Config.model_validate({"data_dir": folder / "var", "data": settings})
    counts["event_log"] = _write_log(rng, shop_paths(config).event_log)
    return DirtyShop(config, counts)


Values = Sequence[Sequence[str]]


def _write_parquet(rng: random.Random, path: Path, header: Sequence[str], values: Values) -> int:
    n_rows = rng.randrange(1, 60)
    columns = {
        name: pa.array([rng.choice(choices) or None for _ in range(n_rows)], pa.string())
        for name, choices in zip(header, values, strict=True)
    }
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return n_rows


def _write_csv(rng: random.Random, path: Path, header: Sequence[str], values: Values) -> int:
    content, n_rows = _csv(rng, header, values, n_rows=rng.randrange(1, 60))
    compressed = rng.random() < 0.25
    path = path.with_suffix(".csv.gz" if compressed else ".csv")
    path.write_bytes(gzip.compress(content) if compressed else content)
    return n_rows


def _csv(rng: random.Random, header: Sequence[str], values: Values, n_rows: int) -> tuple[bytes, int]:
    delimiter, line_end = rng.choice(",;\t|"), rng.choice(("\n", "\r\n"))
    in_utf16, has_open_quote = rng.random() < 0.15, rng.random() < 0.15
    lines = [_line(header, delimiter)]
    if has_open_quote:
        # Its line is bad, and the next ones are rows. Quotes in these would close it.
        lines.append(f'u1{delimiter}"p1')
        lines.append(delimiter.join("x" for _ in header))
        values = [[cell for cell in choices if _line([cell], delimiter) == cell] for choices in values]
    for _ in range(n_rows):
        kind = rng.random()
        if kind < 0.04:
            lines.append(rng.choice(BROKEN).replace(",", delimiter))
        elif kind < 0.06:
            lines.append(lines[0])
        else:
            lines.append(_line([rng.choice(choices) for choices in values], delimiter))
    text = line_end.join(lines) + (line_end if rng.random() < 0.8 else "")
    n_rows += 2 * has_open_quote
    if in_utf16:
        return text.encode("utf-16", "replace"), n_rows
    mark = b"\xef\xbb\xbf" if rng.random() < 0.3 else b""
    return mark + text.encode("utf-8", "surrogateescape"), n_rows


def _line(cells: Sequence[str], delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerow(cells)
    return buffer.getvalue().removesuffix("\r\n")


def _write_log(rng: random.Random, folder: Path) -> int:
    """Lines as the API writes them, some of them torn by a crash; returns their number."""
    lines = [
        json.dumps(
            {
                "event_id": f"log{rng.randrange(20)}",
                "buyer_id": rng.choice(BUYERS),
                "product_id": rng.choice(PRODUCTS),
                "event_type": rng.choice(("view", "add_to_cart", "purchase", "refund")),
                "timestamp": rng.choice(("2025-06-01T10:00:00.000+00:00", "1970-01-01T00:00:00.000+00:00")),
            },
            ensure_ascii=False,
        )
        for _ in range(rng.randrange(0, 15))
    ]
    lines = [line[: rng.randrange(2, len(line))] if rng.random() < 0.1 else line for line in lines]
    if lines:
        folder.mkdir(parents=True)
        (folder / "2025-06-01.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
