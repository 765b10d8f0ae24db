"""Random shops of dirty files: rows as real exports have them, good, odd and broken, with the number of rows."""

import csv
import gzip
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

from feature_repo.common.config import Config
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
BROKEN = ("too,many,columns,here,and,here,and,here,and,here,and,more", "short", "\udcff\udcfe,broken,bytes,x,y,z,a,b")


@dataclass(frozen=True)
class DirtyShop:
    """The configuration of a shop and the number of data rows in each of its files."""

    config: Config
    rows: dict[str, int]


def dirty_shop(folder: Path, seed: int) -> DirtyShop:
    """Writes a random shop: CSV files of random delimiter, line end, mark and compression, and an event log."""
    rng = random.Random(seed)
    tables = {
        "events": (
            ("buyer_id", "product_id", "event_type", "timestamp", "quantity", "event_id"),
            (BUYERS, PRODUCTS, EVENT_TYPES, TIMES, QUANTITIES, ("", "", "e1", "e2", "e 3")),
        ),
        "products": (
            ("id", "title", "description", "brand", "price", "stock", "hidden", "photo"),
            (PRODUCTS, TITLES, TITLES, ("Nour", "نور", ""), PRICES, STOCKS, FLAGS, PHOTOS),
        ),
        "photos": (("id", "photo"), (PRODUCTS, PHOTOS)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {"source": CSV_MAPPING}
    counts = {}
    for name, (header, values) in tables.items():
        content, counts[name] = _csv(rng, header, values, n_rows=rng.randrange(1, 60))
        compressed = rng.random() < 0.25
        path = folder / f"{name}.csv{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)
        settings[f"{name}_path"] = str(path)
    config = Config.model_validate({"data_dir": folder / "var", "data": settings})
    counts["event_log"] = _write_log(rng, folder / "var" / "csv" / "event_log")
    return DirtyShop(config, counts)


def _csv(
    rng: random.Random, header: tuple[str, ...], values: tuple[tuple[str, ...], ...], n_rows: int
) -> tuple[bytes, int]:
    delimiter, line_end = rng.choice(",;\t|"), rng.choice(("\n", "\r\n"))
    lines = [_line(header, delimiter)]
    for _ in range(n_rows):
        if rng.random() < 0.04:
            lines.append(rng.choice(BROKEN).replace(",", delimiter))
        else:
            lines.append(_line([rng.choice(choices) for choices in values], delimiter))
    text = line_end.join(lines) + (line_end if rng.random() < 0.8 else "")
    mark = b"\xef\xbb\xbf" if rng.random() < 0.3 else b""
    return mark + text.encode("utf-8", "surrogateescape"), n_rows


def _line(cells: "list[str] | tuple[str, ...]", delimiter: str) -> str:
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
