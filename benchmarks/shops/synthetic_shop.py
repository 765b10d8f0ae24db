"""Synthetic data of a shop, for benchmarks: a bilingual catalogue, and buyers who browse and buy.

    python -m benchmarks.shops.synthetic_shop FOLDER [--products 100000] [--buyers 3000] [--seed 7]

Writes products.csv and events.csv as the `csv` source reads them (docs/sources.md). The same arguments give the same
bytes. No real data: the words are lists (synthetic_words), the rest is random.

A model (shirt X of brand Y) comes in VARIANTS, each a product of its own with its own price and stock; they
share the `text`, so that an encoder has a quarter of the texts to read. Popularity within a category follows Zipf's
law. A buyer's sessions stay in a few favourite categories; each view may lead to a cart and a purchase.

Legend: N products, M models, C categories, B buyers, S sessions, V views, E events.
"""

import argparse
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.shops.synthetic_words import (
    BRAND_ENDS,
    BRAND_STARTS,
    COLOURS,
    DEPARTMENTS,
    VARIANTS,
    Department,
    Pair,
)
from feature_repo import columns as c

PRODUCTS_FILE, EVENTS_FILE = "products.csv", "events.csv"
PRODUCT_COLUMNS = (
    c.PRODUCT_ID, c.TITLE, c.DESCRIPTION, c.TEXT, c.BRAND, c.CATEGORY, c.PRICE, c.STOCK, c.PHOTO,
)  # fmt: skip
ARABIC_SHARE = 0.6
OUT_OF_STOCK_SHARE = 0.08
ZIPF_EXPONENT = 1.0
TASTE_SHARES = (0.55, 0.25, 0.12)  # of a buyer's sessions in the favourite categories; the others go anywhere
VIEWS_PER_SESSION = 4
CART_SHARE, PURCHASE_SHARE = 0.25, 0.4  # of views that lead to a cart; of carts that lead to a purchase
EVENTS_PER_VIEW = 1 + CART_SHARE * (1 + PURCHASE_SHARE)
LAST_DAY, DAYS = dt.date(2025, 12, 31), 180
SECOND_MS, DAY_MS = 1000, 86_400_000
VIEW_MS = 90 * SECOND_MS  # from one view to the next

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShopSize:
    """Size and seed of a synthetic shop.

    Attributes:
        products: Products (variants count singly).
        buyers: Buyers.
        events_per_buyer: Mean number of events; a buyer's own lies within about a quarter of it.
        seed: Seed of all random numbers.
    """

    products: int
    buyers: int
    events_per_buyer: int = 160
    seed: int = 7


def write_shop(folder: Path, size: ShopSize) -> None:
    """Writes products.csv and events.csv of a shop of this size."""
    rng = np.random.default_rng(size.seed)
    products = synthetic_products(size.products, rng)
    events = synthetic_events(products, size, rng)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ((PRODUCTS_FILE, products), (EVENTS_FILE, events)):
        table.to_csv(folder / name, index=False, lineterminator="\n")


def synthetic_products(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """A catalogue of N products in the columns of products.csv."""
    position_N = np.arange(n)
    model_N, variant_N = np.divmod(position_N, len(VARIANTS))
    models = _models(int(model_N[-1]) + 1, rng)
    table = models.iloc[model_N].reset_index(drop=True)
    price_N = models[c.PRICE].to_numpy()[model_N] * rng.uniform(0.9, 1.1, n)
    stock_N = np.where(rng.random(n) < OUT_OF_STOCK_SHARE, 0, rng.geometric(0.03, n))
    columns = {
        c.PRODUCT_ID: [f"syn-{position:06d}" for position in position_N],
        c.TITLE: table[c.TITLE] + " " + np.array(VARIANTS, dtype=object)[variant_N],
        c.PRICE: price_N.round(2),
        c.STOCK: stock_N,
        c.PHOTO: "",
    }
    return table.assign(**columns)[list(PRODUCT_COLUMNS)]


def _models(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Titles, descriptions, texts, brands, categories and prices of M models."""
    categories = [(department, kind) for department in DEPARTMENTS for kind in department.types]
    brands = [start + end for start in BRAND_STARTS for end in BRAND_ENDS]
    share_C = rng.dirichlet(np.full(len(categories), 2.0))
    category_M = rng.choice(len(categories), n, p=share_C)
    brand_M = rng.integers(len(brands), size=n)
    category_price_C = rng.lognormal(4.5, 0.9, len(categories))
    arabic_M = rng.random(n) < ARABIC_SHARE
    picks_M3 = rng.random((n, 3))
    rows = []
    for model in range(n):
        department, kind = categories[category_M[model]]
        brand = brands[brand_M[model]]
        title, description = _texts(department, kind, f"{brand} {model + 1}", picks_M3[model], arabic=arabic_M[model])
        rows.append((title, description, f"{title} {description}", brand, f"{department.name}: {kind[1]}"))
    table = pd.DataFrame(rows, columns=[c.TITLE, c.DESCRIPTION, c.TEXT, c.BRAND, c.CATEGORY])
    table[c.PRICE] = category_price_C[category_M] * rng.lognormal(0, 0.3, n)
    return table


def _texts(department: Department, kind: Pair, model: str, picks_3: Floats, *, arabic: bool) -> tuple[str, str]:
    """Title and description in one language."""
    parts = (department.materials, COLOURS, department.audiences)
    material, colour, audience = (part[int(pick * len(part))] for part, pick in zip(parts, picks_3, strict=True))
    if arabic:
        title = f"{kind[0]} {material[0]} {audience[0]} {model}"
        return title, f"باللون {colour[0]}"
    return f"{model} {material[1]} {kind[1]} {audience[1]}", f"in {colour[1]}"


def synthetic_events(products: pd.DataFrame, size: ShopSize, rng: np.random.Generator) -> pd.DataFrame:
    """Events of B buyers over DAYS days, in the columns of events.csv, by time."""
    shelf = _Shelf(products[c.CATEGORY], rng)
    views_B = _views_per_buyer(size, rng)
    buyer_V = np.repeat(np.arange(size.buyers), views_B)
    first_V = np.r_[True, buyer_V[1:] != buyer_V[:-1]]
    session_V = np.cumsum(first_V | (rng.random(len(buyer_V)) < 1 / VIEWS_PER_SESSION)) - 1
    opens_S = np.flatnonzero(np.r_[True, session_V[1:] != session_V[:-1]])
    category_S = _categories(shelf, buyer_V[opens_S], size.buyers, rng)
    product_V = shelf.products(category_S[session_V], rng)
    start_S = rng.integers(0, (DAYS - 1) * DAY_MS, len(opens_S))
    place_V = np.arange(len(buyer_V)) - opens_S[session_V]
    view_V = start_S[session_V] + place_V * VIEW_MS + rng.integers(0, 20 * SECOND_MS, len(buyer_V))
    # Carts fill while the buyer browses; all purchases of a session come at its end.
    cart_V = view_V + rng.integers(5 * SECOND_MS, 40 * SECOND_MS, len(buyer_V))
    views_S = np.diff(np.r_[opens_S, len(buyer_V)])
    purchase_V = (start_S + views_S * VIEW_MS)[session_V] + place_V * SECOND_MS
    carted_V = rng.random(len(buyer_V)) < CART_SHARE
    bought_V = carted_V & (rng.random(len(buyer_V)) < PURCHASE_SHARE)
    chosen = [np.arange(len(buyer_V)), np.flatnonzero(carted_V), np.flatnonzero(bought_V)]
    view_E = np.concatenate(chosen)
    time_E = np.concatenate([view_V, cart_V[chosen[1]], purchase_V[chosen[2]]])
    type_E = np.repeat(np.array(["view", "add_to_cart", "purchase"], dtype=object), [len(part) for part in chosen])
    order_E = np.lexsort((view_E, time_E))
    start = np.datetime64(LAST_DAY, "ms") - np.timedelta64(DAYS - 1, "D")
    names_B = np.array([buyer_name(buyer) for buyer in range(size.buyers)], dtype=object)
    return pd.DataFrame(
        {
            c.BUYER_ID: names_B[buyer_V[view_E]][order_E],
            c.PRODUCT_ID: products[c.PRODUCT_ID].to_numpy()[product_V[view_E]][order_E],
            c.EVENT_TYPE: type_E[order_E],
            c.TIMESTAMP: np.datetime_as_string(start + time_E[order_E].astype("timedelta64[ms]"), unit="ms"),
        }
    )


def buyer_name(number: int) -> str:
    """The id of a buyer."""
    return f"syn-buyer-{number:05d}"


def _views_per_buyer(size: ShopSize, rng: np.random.Generator) -> Ints:
    events_B = size.events_per_buyer * rng.uniform(0.8, 1.2, size.buyers)
    return np.maximum(1, np.rint(events_B / EVENTS_PER_VIEW)).astype(np.int64)


def _categories(shelf: "_Shelf", buyer_S: Ints, n_buyers: int, rng: np.random.Generator) -> Ints:
    """The category of each session: one of its buyer's favourites, or any."""
    favourites_BT = shelf.categories((n_buyers, len(TASTE_SHARES)), rng)
    taste_S = np.searchsorted(np.cumsum(TASTE_SHARES), rng.random(len(buyer_S)), side="right")
    anywhere_S = shelf.categories((len(buyer_S),), rng)
    favourite_S = favourites_BT[buyer_S, np.minimum(taste_S, len(TASTE_SHARES) - 1)]
    return np.where(taste_S < len(TASTE_SHARES), favourite_S, anywhere_S)


class _Shelf:
    """The products of each category, in a random order of popularity."""

    def __init__(self, category_of_product: "pd.Series[str]", rng: np.random.Generator) -> None:
        names_C, category_N = np.unique(category_of_product.to_numpy().astype(str), return_inverse=True)
        self._order_N = np.lexsort((rng.random(len(category_N)), category_N))
        self._bounds = np.searchsorted(category_N[self._order_N], np.arange(len(names_C) + 1))
        rank_N = np.arange(len(category_N)) - self._bounds[category_N[self._order_N]]
        self._weight_N = np.r_[0.0, np.cumsum((rank_N + 1.0) ** -ZIPF_EXPONENT)]
        popularity_C = (1.0 + rng.permutation(len(names_C))) ** -ZIPF_EXPONENT
        self._share_C = popularity_C / popularity_C.sum()

    def categories(self, shape: tuple[int, ...], rng: np.random.Generator) -> Ints:
        """Random categories, weighted by popularity."""
        return rng.choice(len(self._share_C), shape, p=self._share_C)

    def products(self, category_V: Ints, rng: np.random.Generator) -> Ints:
        """A random product of each given category, weighted by popularity."""
        first_V, end_V = self._bounds[category_V], self._bounds[category_V + 1]
        low_V, high_V = self._weight_N[first_V], self._weight_N[end_V]
        position_V = low_V + rng.random(len(category_V)) * (high_V - low_V)
        place_V = np.searchsorted(self._weight_N, position_V, side="right") - 1
        chosen_V: Ints = self._order_N[np.clip(place_V, first_V, end_V - 1)]
        return chosen_V


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a shop into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--buyers", type=int, default=3_000)
    parser.add_argument("--events-per-buyer", type=int, default=160)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    size = ShopSize(options.products, options.buyers, options.events_per_buyer, options.seed)
    write_shop(options.folder, size)


if __name__ == "__main__":
    main()
