"""A loaded release: encodes buyers, finds products, looks them up. What the API and `tawsiya recommend` run on.

Legend: B buyers, K results, L events, N products, D dimensions.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from feature_repo.transforms.sequences import Sequence, select
from training.artifacts.buyer_encoder import BuyerEncoder, EncodedBuyer, History
from training.artifacts.embeddings import load_embeddings
from training.artifacts.model import load_model
from training.artifacts.product_table import ProductTable
from training.artifacts.release import (
    ALIASES_ARROW,
    MODEL_FOLDER,
    POPULARITY,
    PRODUCTS_ARROW,
    RECENT_POPULARITY,
    SEARCH_FOLDER,
    current_release,
    verify_release,
)
from training.artifacts.rescorer import Rescorer
from training.artifacts.search.filtered_search import Allowed, Floats, NearestProducts, Positions, Ranked
from training.artifacts.search.text_search import SearchIndex
from training.artifacts.search.vector_index import load_index

# The re-scorer orders so many times K of the towers' nearest products, so many at least, and so many times these of
# what sells lately; on three data sets 99.7% of the best 10 or more are among them (ADR 0005).
POOL, SMALLEST_POOL, POPULAR_PER_NEAREST = 2, 50, 4
MOST_POPULAR = 5_000  # products whose popularity term is looked at whatever the towers say


class SchemaMismatchError(RuntimeError):
    """The release was made for other features than this code and configuration make; serving it would be wrong."""


class Repeats(NamedTuple):
    """The repeat term of one buyer's own products.

    Attributes:
        positions: (R,) int64, ascending.
        terms: (R,) float32.
    """

    positions: Positions
    terms: Floats


class PopularityTerm(NamedTuple):
    """The popularity term of one kind of list.

    Attributes:
        term_N: (N,) float32.
        best: Positions of the products with the largest term, largest first; fewer where no more have any.
    """

    term_N: Floats
    best: Positions

    @classmethod
    def of(cls, term_N: Floats) -> "PopularityTerm":
        """From the terms."""
        order = np.argsort(-term_N, kind="stable")[: min(MOST_POPULAR, int((term_N > 0).sum()))]
        return cls(term_N, order.astype(np.int64))


class KnownEvents(NamedTuple):
    """Events whose products have a vector.

    Attributes:
        events: L events, oldest first.
        positions_L: (L,) positions of their products; -1 for those that the release does not have.
    """

    events: Sequence
    positions_L: Positions


class Recommender:
    """The live parts of a release, read-only and safe to use from several threads."""

    def __init__(self, folder: Path, *, schema_hash: str, device: torch.device | None = None) -> None:
        """Checks and loads a release.

        Args:
            folder: The release.
            schema_hash: Of the features that this program makes.
            device: Where buyers are encoded; None is the CPU.

        Raises:
            ValueError: The release is damaged.
            SchemaMismatchError: It was made for another feature schema.
        """
        self.manifest = verify_release(folder)
        if self.manifest["schema_hash"] != schema_hash:
            raise SchemaMismatchError(
                f"release {folder.name} was made for feature schema {self.manifest['schema_hash']}, this code and "
                f"configuration make {schema_hash}; run `tawsiya refresh`, or go back to those of that release"
            )
        self.name: str = self.manifest["name"]
        self.created = dt.datetime.fromisoformat(self.manifest["created"])
        self.model_folder = folder / MODEL_FOLDER
        model, _, self.card = load_model(self.model_folder)
        self.item_tower = model.item_tower
        # The release's own products are encoded already, and a new one has no vector of its own: its row is zeros.
        # Kept, these vectors would be in the memory of every worker, as large as all product vectors.
        self.item_tower.identity = None
        self.encoder = BuyerEncoder(model.buyer_tower, device or torch.device("cpu"))
        vectors_ND = load_embeddings(folder).vectors_ND
        self.towers = NearestProducts(vectors_ND, load_index(folder, vectors_ND))
        self.vectors_ND = self.towers.vectors_ND
        self.search = SearchIndex.load(folder / SEARCH_FOLDER)
        self._logit_N = self.encoder.item_logits(self.vectors_ND)
        self._rescorer = Rescorer.load(folder / MODEL_FOLDER)
        self._as_of_ms: int = self.manifest["as_of_ms"]
        weights = np.asarray(model.spec.event_weights, dtype=np.float32)
        self._relative_weights = weights / weights.max()
        lately_2N: Floats = np.load(folder / RECENT_POPULARITY, allow_pickle=False)
        self._lately = {
            new: PopularityTerm.of(self._rescorer.popularity(lately_N, new_only=new))
            for new, lately_N in zip((False, True), lately_2N, strict=True)
        }
        self.products = ProductTable(folder / PRODUCTS_ARROW, folder / ALIASES_ARROW)
        self.popular: npt.NDArray[np.int32] = np.load(folder / POPULARITY, allow_pickle=False)
        self._popularity_N = np.empty(len(self.popular), dtype=np.float32)
        self._popularity_N[self.popular] = 1 / np.arange(1, len(self.popular) + 1)

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self.vectors_ND)

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return int(self.vectors_ND.shape[1])

    def readable(self, events: Sequence, new: Mapping[int, Floats] | None = None) -> KnownEvents:
        """The events whose products have a vector: the release's, or one of `new` (by product key)."""
        positions_L = self.products.positions(events.product_keys).astype(np.int64)
        readable_L = positions_L >= 0
        if readable_L.all():
            return KnownEvents(events, positions_L)
        if new:
            readable_L |= np.isin(events.product_keys, list(new))
        return KnownEvents(select(events, readable_L), positions_L[readable_L])

    def history(self, readable: KnownEvents, new: Mapping[int, Floats] | None = None) -> History:
        """Events as the buyer tower reads them; `new` as it was given to `readable`."""
        events, positions_L = readable
        items_LD = self.vectors_ND[positions_L]
        logits_L = self._logit_N[positions_L]
        new_L = np.flatnonzero(positions_L < 0) if new else ()
        if new and len(new_L):
            items_LD[new_L] = [new[key] for key in events.product_keys[new_L].tolist()]
            logits_L[new_L] = self.encoder.item_logits(items_LD[new_L])
        return History(items_LD, events.event_types.astype(np.int64), events.event_times, logits_L)

    def encode_buyer(self, events: Sequence) -> EncodedBuyer | None:
        """One buyer, from events oldest first; None where none of their products is known."""
        readable = self.readable(events)
        return self.encoder.encode([self.history(readable)])[0] if len(readable.positions_L) else None

    def repeats(self, events: Sequence) -> Repeats:
        """The re-scorer's repeat term of the products of some events; of those that the release does not have, none."""
        positions_L = self.products.positions(events.product_keys).astype(np.int64)
        weights_L = self._relative_weights[events.event_types]
        counts_L = self._rescorer.repeats(events.event_times, weights_L, self._as_of_ms)
        positions, places_L = np.unique(positions_L, return_inverse=True)
        counts = np.bincount(places_L, counts_L, minlength=len(positions)).astype(np.float32)
        known = positions >= 0
        return Repeats(positions[known], self._rescorer.repeat_term(counts[known]))

    def popularity_term(self, positions: Positions, *, new_only: bool) -> Floats:
        """The re-scorer's popularity term of some products."""
        terms: Floats = self._lately[new_only].term_N[positions]
        return terms

    def popular_lately(self, k: int, allowed_N: Allowed | None = None, *, new_only: bool) -> Positions:
        """The K (allowed) products with the largest popularity term; fewer where no more have any."""
        positions = self._lately[new_only].best
        return (positions if allowed_N is None else positions[allowed_N[positions]])[:k]

    def most_popular(self, k: int, allowed_N: Allowed | None = None) -> Ranked:
        """The K most popular (allowed) products, with their popularity as the score."""
        popular = self.popular if allowed_N is None else self.popular[allowed_N[self.popular]]
        positions = popular[:k].astype(np.int64)
        return Ranked(positions, self.popularity(positions))

    def popularity(self, positions: Positions) -> Floats:
        """1 for the most popular product, 1/2 for the next and so on: counts are no similarity."""
        popularity: Floats = self._popularity_N[positions]
        return popularity


def pool_size(k: int) -> int:
    """How many of the towers' nearest products the re-scorer should see to find the K best."""
    return max(POOL * k, SMALLEST_POOL)


def open_current(releases: Path, *, schema_hash: str, device: torch.device | None = None) -> Recommender:
    """Loads the live release; FileNotFoundError where none was promoted yet. Further errors: see Recommender."""
    folder = current_release(releases)
    if folder is None:
        raise FileNotFoundError(f"no release is live in {releases}; run `tawsiya refresh` first")
    return Recommender(folder, schema_hash=schema_hash, device=device)
