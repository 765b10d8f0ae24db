"""A loaded release: it encodes buyers, finds products and computes the terms of their scores.

Legend: B buyers, K results, L events, M texts, P some products, N all products, D and T dimensions.
"""

import copy
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from feature_repo.transforms.sequences import EventSequence, select
from training.artifacts.buyer_encoder import BuyerEncoder, EncodedBuyer, History
from training.artifacts.embeddings import load_embeddings
from training.artifacts.lists.shop_lists import ShopLists
from training.artifacts.model import load_model
from training.artifacts.product_table import ProductTable
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.queries.suggestion_index import SuggestionIndex
from training.artifacts.release import (
    ALIASES_ARROW,
    LISTS_FOLDER,
    MODEL_FOLDER,
    POPULARITY,
    PRODUCTS_ARROW,
    RECENT_POPULARITY,
    SEARCH_FOLDER,
    verify_release,
)
from training.artifacts.scoring.best_products import BestProducts, BestQuery, OwnProducts, PopularityTerm, best_products
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.scoring.sparse_term import NO_TERM, SparseTerm
from training.artifacts.search.filtered_search import IndexedVectors, Ranked
from training.artifacts.search.text_search import NO_SYNONYMS, ComparedText, QuerySynonyms, SearchIndex
from training.artifacts.search.vector_index import load_index
from training.data.histories import UNKNOWN_PRODUCT
from training.model.spec import ModelSpec
from training.model.towers import UNKNOWN

# A read-only default argument: a dict could be changed by a caller.
NO_NEW_PRODUCTS: Mapping[int, Float32Array] = MappingProxyType({})


class SchemaMismatchError(RuntimeError):
    """The release was made for other features than this code and configuration make."""


class KnownEvents(NamedTuple):
    """Events whose products have a vector.

    Attributes:
        events: L events, oldest first.
        positions_L: (L,) positions of their products; -1 for a new product.
        new_vectors: Vectors of new products, which the release does not have, by product key.
    """

    events: EventSequence
    positions_L: Int64Array
    new_vectors: Mapping[int, Float32Array]

    @property
    def is_empty(self) -> bool:
        """Whether there is no event."""
        return len(self.positions_L) == 0


class Recommender:
    """A release in memory; read-only and safe to use from several threads.

    Attributes:
        name: The name of the release.
        created: The time at which the release was made.
        model_folder: The folder of its model.
        text_encoder: The id of the text encoder that its text vectors come from.
        products: Its products.
        suggestions: Texts that complete what a buyer types; None for an older release, which has none.
        card: What its model says about itself.
        spec: The choices and sizes of its model.
        rescorer: The weights of its re-scorer.
        as_of_ms: End of its data, milliseconds since 1970; the re-scorer counts back from it.
        lists: What the lists of a shop's pages are made from; None in a release from before 0.2.
    """

    def __init__(self, folder: Path, *, schema_hash: str, device: torch.device | None = None) -> None:
        """Verifies and loads a release.

        Args:
            folder: The release.
            schema_hash: Schema hash of the features that this program makes.
            device: The device that encodes buyers; None is the CPU.

        Raises:
            ValueError: The release is damaged.
            SchemaMismatchError: The release was made for another feature schema.
        """
        # Every file is hashed before any is loaded. A damaged release must not go live.
        manifest = verify_release(folder)
        if manifest["schema_hash"] != schema_hash:
            raise SchemaMismatchError(
                f"release {folder.name} was made for feature schema {manifest['schema_hash']}, this code and "
                f"configuration make {schema_hash}; run `tawsiya refresh`, or go back to those of that release"
            )
        self.name: str = manifest["name"]
        self.created = dt.datetime.fromisoformat(manifest["created"])
        self.products = ProductTable(folder / PRODUCTS_ARROW, folder / ALIASES_ARROW)
        self.model_folder = folder / MODEL_FOLDER
        model, _, self.card = load_model(self.model_folder)
        self.text_encoder: str = self.card.text_encoder
        self.spec: ModelSpec = model.spec
        self._item_tower = model.item_tower
        # The table of id embeddings is as large as all product vectors. The service only encodes new products, which
        # have no id embedding (their row is zeros), so no worker keeps the table.
        self._item_tower.identity = None
        self._encoder = BuyerEncoder(model.buyer_tower, device or torch.device("cpu"))
        vectors_ND = load_embeddings(folder).vectors_ND
        self._vectors = IndexedVectors(vectors_ND, load_index(folder, vectors_ND))
        # The product's part of a logit is the same for every buyer: computed once, a request only looks it up.
        self._logit_N = self._encoder.item_logits(vectors_ND)
        self._search = SearchIndex.load(folder / SEARCH_FOLDER)
        self.suggestions = SuggestionIndex.load(folder / SEARCH_FOLDER)
        self.rescorer = Rescorer.load(self.model_folder)
        self.lists = ShopLists.load(folder / LISTS_FOLDER, len(self.products), manifest["as_of_ms"])
        weights = np.asarray(self.spec.event_weights, dtype=np.float32)
        # The scale at which the re-scorer was fitted, see evaluation/held_out.py.
        self._relative_weights = weights / weights.max()
        self._set_popularity(
            manifest["as_of_ms"],
            np.load(folder / POPULARITY, allow_pickle=False),
            np.load(folder / RECENT_POPULARITY, allow_pickle=False),
        )
        self._co_occurrence = CoOccurrence.load(folder) if self.rescorer.counts_co_occurrence else None

    def as_of(
        self, as_of_ms: int, popular_N: Int32Array, recent_2N: Float32Array, co_occurrence: CoOccurrence | None
    ) -> "Recommender":
        """The release as it would have answered at another moment: with what was counted until then.

        Its own counts are of events up to the end of its data. To measure it on earlier days, those must not count.

        Args:
            as_of_ms: The moment, milliseconds since 1970.
            popular_N: (N,) product positions, most popular first (ReleaseParts.popular).
            recent_2N: (2, N) recent popularity (ReleaseParts.recent_popularity).
            co_occurrence: What the same buyers chose; None if no list has that term.
        """
        earlier = copy.copy(self)
        earlier._set_popularity(as_of_ms, popular_N, recent_2N)
        earlier._co_occurrence = co_occurrence
        return earlier

    def _set_popularity(self, as_of_ms: int, popular_N: Int32Array, recent_2N: Float32Array) -> None:
        self.as_of_ms = as_of_ms
        self._popularity_term = {
            new_only: PopularityTerm.of(self.rescorer.popularity(recent_N, new_only=new_only))
            for new_only, recent_N in zip((False, True), recent_2N, strict=True)
        }
        self._most_popular = popular_N
        self._popularity_N = np.empty(len(popular_N), dtype=np.float32)
        self._popularity_N[popular_N] = 1 / np.arange(1, len(popular_N) + 1)

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """The length of a product or buyer vector, D."""
        return self._vectors.dim

    # --- buyers -------------------------------------------------------------------------------------------------------

    def known_events(
        self, events: EventSequence, new_vectors: Mapping[int, Float32Array] = NO_NEW_PRODUCTS
    ) -> KnownEvents:
        """The events whose products have a vector: in the release, or in `new_vectors` (by product key)."""
        positions_L = self.products.positions(events.product_keys).astype(np.int64)
        known_L = positions_L >= 0
        if known_L.all():
            return KnownEvents(events, positions_L, NO_NEW_PRODUCTS)
        if new_vectors:
            known_L |= np.isin(events.product_keys, list(new_vectors))
        return KnownEvents(select(events, known_L), positions_L[known_L], new_vectors)

    def encode_buyers(self, histories: list[KnownEvents]) -> list[EncodedBuyer]:
        """Encodes B histories of at least one event each; the result is in the same order."""
        return self._encoder.encode([self._history(known) for known in histories])

    def empty_buyer_vector(self) -> Float32Array:
        """The buyer vector of an empty history, (D,)."""
        return self._encoder.empty()

    def contributions(self, buyer: EncodedBuyer, positions: Int64Array) -> Float32Array:
        """The contribution of each event to the similarity of buyer and products, (P, L); see BuyerEncoder."""
        return self._encoder.contributions(buyer, self._vectors[positions])

    def _history(self, known: KnownEvents) -> History:
        events, positions_L, new_vectors = known
        items_LD = self._vectors[positions_L]
        logits_L = self._logit_N[positions_L]
        if new_vectors:
            new_L = np.flatnonzero(positions_L < 0)
            if len(new_L):
                # Indexing above has copied the rows, so this does not write into the mapped file.
                items_LD[new_L] = [new_vectors[key] for key in events.product_keys[new_L].tolist()]
                logits_L[new_L] = self._encoder.item_logits(items_LD[new_L])
        return History(positions_L, items_LD, events.event_types.astype(np.int64), events.event_times, logits_L)

    # --- similarity ---------------------------------------------------------------------------------------------------

    def product_vectors(self, positions: Int64Array) -> Float32Array:
        """The vectors of P products, (P, D)."""
        return self._vectors[positions]

    def nearest(self, vectors_BD: Float32Array, k: int) -> list[Ranked]:
        """For each vector, the K products with the highest similarity."""
        return self._vectors.nearest(vectors_BD, k)

    def index_recall(self, queries_QD: Float32Array, k: int) -> float:
        """The share of the K nearest products of each query that the index finds."""
        return self._vectors.recall(queries_QD, k)

    def nearest_allowed(self, vector_D: Float32Array, k: int, allowed_N: BoolArray, n_allowed: int) -> Ranked:
        """The K allowed products with the highest similarity; see IndexedVectors.nearest_allowed."""
        return self._vectors.nearest_allowed(vector_D, k, allowed_N, n_allowed)

    def similarity(self, vector_D: Float32Array, positions: Int64Array) -> Float32Array:
        """Inner products of a vector with P products, (P,)."""
        return self._vectors.similarity(vector_D, positions)

    def best(self, queries: Sequence[BestQuery]) -> list[BestProducts]:
        """The best products of each query by similarity and the terms of the re-scorer; see best_products."""
        return best_products(self._vectors, queries)

    # --- texts --------------------------------------------------------------------------------------------------------

    def encode_new_products(self, text_vectors_MT: Float32Array) -> Float32Array:
        """Product vectors, (M, D), of products of which only the text vectors are known, (M, T)."""
        unknown_M = torch.full((len(text_vectors_MT),), UNKNOWN)
        with torch.inference_mode():
            tower_output_MD = self._item_tower(
                # Brand, category and price too: a text alone says none of them.
                torch.from_numpy(text_vectors_MT),
                unknown_M,
                unknown_M,
                unknown_M,
                unknown_M,
            )
        vectors_MD: Float32Array = tower_output_MD.numpy()
        return vectors_MD

    def match_query(
        self, query: str, query_vector_T: Float32Array | None, synonyms: QuerySynonyms = NO_SYNONYMS
    ) -> QueryMatches:
        """Compares a query with all products; without a text vector (T,), by spelling alone."""
        return self._search.match(query, query_vector_T, synonyms)

    def explain_query(self, query: str, synonyms: QuerySynonyms, positions: Int64Array) -> list[ComparedText]:
        """How a query, and each of its synonyms, compare with P products in spelling."""
        return self._search.explain(query, synonyms, positions)

    # --- terms of the re-scorer ---------------------------------------------------------------------------------------

    def repeats(self, events: EventSequence) -> SparseTerm:
        """The re-scorer's repeat term of the products of some events; products that the release lacks have none."""
        positions_L = self.products.positions(events.product_keys).astype(np.int64)
        weights_L = self._relative_weights[events.event_types]
        counts_L = self.rescorer.repeats(events.event_times, weights_L, self.as_of_ms)
        # Sorted by product and summed; np.unique takes several times as long for so few.
        order = np.argsort(positions_L, kind="stable")
        positions_L = positions_L[order]
        is_first = positions_L != UNKNOWN_PRODUCT
        is_first[1:] &= positions_L[1:] != positions_L[:-1]
        starts = np.flatnonzero(is_first)
        if not len(starts):
            return NO_TERM
        # The sums by product come before the logarithm of repeat_term.
        counts = np.add.reduceat(counts_L[order].astype(np.float64), starts).astype(np.float32)
        return SparseTerm(positions_L[starts], self.rescorer.repeat_term(counts))

    def co_occurrence_term(self, buyer: EncodedBuyer, *, new_only: bool) -> SparseTerm:
        """The re-scorer's co-occurrence term of a buyer, in lists of new products or of any."""
        weight, history = self.rescorer.co_occurrence(new_only=new_only), buyer.history
        if self._co_occurrence is None or not weight:
            return NO_TERM
        # As for the buyer tower, an event of weight 0 says nothing; a new product has no neighbours.
        known_L = (self._relative_weights[history.types_L] > 0) & (history.positions_L >= 0)
        positions, votes = self._co_occurrence.votes(history.positions_L[known_L], history.times_L[known_L])
        return SparseTerm(positions, votes * np.float32(weight))

    def own_products(self, buyer: EncodedBuyer, *, new_only: bool) -> OwnProducts | None:
        """The re-scorer's closeness term of a buyer, in lists of new products or of any; None if there is none."""
        weight, history = self.rescorer.closeness(new_only=new_only), buyer.history
        # As for the buyer tower, an event of weight 0 says nothing.
        places = np.flatnonzero(self._relative_weights[history.types_L] > 0)
        if not weight or not len(places):
            return None
        # One event of each product, since all have its vector; of new products, which share -1, every event.
        positions_L = history.positions_L[places]
        _, first = np.unique(positions_L, return_index=True)
        kept_L = positions_L < 0
        kept_L[first] = True
        return OwnProducts(weight, positions_L[kept_L], history.items_LD[places[kept_L]])

    def popularity_term(self, *, new_only: bool) -> PopularityTerm:
        """The re-scorer's popularity term of all products, in lists of new products or of any."""
        return self._popularity_term[new_only]

    def most_popular(self, k: int, allowed_N: BoolArray | None = None) -> Ranked:
        """The K most popular (allowed) products, with their popularity as scores."""
        positions = self._most_popular
        if allowed_N is not None:
            positions = positions[allowed_N[positions]]
        top_K = positions[:k].astype(np.int64)
        return Ranked(top_K, self.popularity(top_K))

    def popularity(self, positions: Int64Array) -> Float32Array:
        """The popularity of P products, (P,): 1 / rank, because counts are not comparable with a similarity."""
        popularity: Float32Array = self._popularity_N[positions]
        return popularity
