"""A shop of 40 products and 60 buyers as CSV files, by a rule, and a configuration that trains on it in a second.

Four departments of ten products. Every buyer shops in one department, mostly for three favourites.
"""

import csv
import datetime as dt
import random
from pathlib import Path
from typing import Any

import yaml

DEPARTMENTS = ("tea", "shoes", "lamps", "rugs")
COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey", "gold", "plain")
N_BUYERS = 60
FIRST_DAY = dt.datetime(2024, 1, 1)
LAST_DAY = 59  # of which the last 14 days are the test

Row = dict[str, Any]


def products() -> list[Row]:
    """40 products, p00 to p39."""
    return [
        {
            "id": f"p{number:02d}",
            "title": f"{colour} {department}",
            "brand": f"brand {colour[0]}",
            "category": department,
            "price": number + 1,
        }
        for number, (department, colour) in enumerate((d, c) for d in DEPARTMENTS for c in COLOURS)
    ]


def events() -> list[Row]:
    """15 events of each buyer, one every four days; on odd visits a view and a purchase at the same moment."""
    rng = random.Random(7)
    rows = []
    for buyer in range(N_BUYERS):
        department = buyer % len(DEPARTMENTS) * len(COLOURS)
        favourites = rng.sample(range(10), 3)
        for day in range(0, LAST_DAY, 4):
            time = FIRST_DAY + dt.timedelta(days=day + rng.randrange(4), hours=rng.randrange(24), minutes=buyer)
            number = department + (rng.choice(favourites) if rng.random() < 0.8 else rng.randrange(10))
            kinds = ["view", "purchase"] if day % 8 else ["view"]
            rows += [
                {"buyer_id": f"b{buyer:02d}", "product_id": f"p{number:02d}", "event_type": kind, "timestamp": time}
                for kind in kinds
            ]
    return rows


def write_csv(path: Path, rows: list[Row]) -> None:
    """Rows of the same keys as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_shop(folder: Path, text_encoder: Path) -> Path:
    """Writes the shop's files, source mapping and configuration; returns the path of the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "products.csv", products())
    write_csv(folder / "events.csv", events())
    mapping = {
        "description": "a shop for tests",
        "licence": "none",
        "folder": str(folder),
        "events": {"path": "events.csv"},
        "products": {"path": "products.csv"},
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(mapping))
    settings = {
        "data_dir": str(folder / "var"),
        "data": {"source": str(folder / "shop.yaml"), "test_days": 14},
        "inference": {"device": "cpu"},
        "model": {
            "embedding_dim": 16,
            "item_tower": {
                "text_encoder": str(text_encoder),
                "categorical_embedding_dim": 4,
                "projection_hidden_dim": 16,
                "dropout": 0.1,
                "text_residual": False,
            },
            "buyer_tower": {"aggregation_method": "attention", "attention_hidden_dim": 8},
        },
        "training": {
            "batch_size": 128,
            "learning_rate": 0.01,
            "num_epochs": 6,
            "patience": 6,
            "temperature": 0.1,
            "num_negatives": 2,
            "save_every_n_epochs": 1,
            "seed": 7,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
