"""What the API answers, without HTTP: from buyers, interactions and products to lists of products.

Legend: B questions of one batch, K results, L events, N products, D dimensions.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import replace

import faiss
import numpy as np

from feature_repo.online.features import OnlineFeatures
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, Sequence, merge_sequences, sequence
from online_api.lists.list_request import NO_TEXT_ENCODER, Payload, Question, Reply, Stages, Subject
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease, ReleaseKeeper
from online_api.lists.ranking import NO_REPEATS, ByPopularity, ByQuery, BySimilarity, ForBuyer, Scorer, rank
from online_api.lists.render import recommendations
from online_api.lists.request_texts import TextVectors
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.requests import NO_FILTERS, Interaction
from online_api.schemas.responses import Source
from training.artifacts.recommender import KnownEvents, pool_size
from training.artifacts.search.filtered_search import Floats, Ranked

NOTHING_READABLE = KnownEvents(EMPTY_SEQUENCE, np.empty(0, dtype=np.int64))


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class RecommendationService:
    """Answers questions in batches; safe to use from several threads."""

    def __init__(
        self,
        keeper: ReleaseKeeper,
        online: OnlineFeatures,
        guard: CircuitBreaker,
        texts: TextVectors,
        *,
        max_history: int,
        max_interactions: int,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Takes its parts open.

        Args:
            keeper: The live release.
            online: Buyers' features.
            guard: Stands between the two.
            texts: Encodes texts that the release does not have.
            max_history: Events of a buyer that count.
            max_interactions: Most interactions of one request.
            clock: Milliseconds since 1970.
        """
        self.keeper, self._online, self._guard, self.texts = keeper, online, guard, texts
        self._max_history, self._max_interactions, self._clock = max_history, max_interactions, clock

    def answer(self, questions: Rows[Question]) -> list[Reply]:
        """Replies to B questions, in their order; one state of release, prices and rules serves them all."""
        faiss.omp_set_num_threads(1)  # of this thread: requests run in parallel, threads within one get in the way
        live = self.keeper.live
        started = time.perf_counter()
        subjects = self._subjects(live, questions)
        read = time.perf_counter()
        self._encode(live, subjects)
        encoded = time.perf_counter()
        found = self._search(live, subjects)
        searched = time.perf_counter()
        stages: Stages = [("features", started, read), ("encode", read, encoded), ("search", encoded, searched)]
        replies = []
        for subject, ranked in zip(subjects, found, strict=True):
            begun = time.perf_counter()
            payload = self._payload(live, subject, ranked)
            replies.append(Reply(payload, [*stages, ("rank", begun, time.perf_counter())]))
        return replies

    def encode_buyer(self, question: Question) -> Payload:
        """The buyer's vector (EncodeBuyerResponse); that of an empty history where nothing usable is known."""
        live = self.keeper.live
        subjects = self._subjects(live, [question])
        self._encode(live, subjects)
        buyer = subjects[0].buyer
        vector_D = live.recommender.encoder.empty() if buyer is None else buyer.vector_D
        return {
            "embedding": vector_D.tolist(),
            "embedding_dim": len(vector_D),
            "release": live.recommender.name,
            "degraded": subjects[0].degraded,
        }

    def product(self, product_id: str) -> Payload | None:
        """One product (ProductDetails), or the one that stands for it; None where the release has neither."""
        live = self.keeper.live
        position = live.catalogue.position_of(product_id)
        if position < 0:
            return None
        return {
            **live.catalogue.shown(position),
            "hidden": bool(live.catalogue.hidden_N[position]),
            "release": live.recommender.name,
        }

    def check_length(self, interactions: Rows[Interaction]) -> None:
        """RequestTooLongError where a request carries too many interactions."""
        if len(interactions) > self._max_interactions:
            raise RequestTooLongError("interactions", len(interactions), self._max_interactions)

    def new_texts(self, interactions: Rows[Interaction]) -> dict[str, str]:
        """The texts of those products that the live release does not have, by product id."""
        table = self.keeper.live.recommender.products
        return {one.product_id: one.text for one in interactions if one.text and table.position_of(one.product_id) < 0}

    def item_vectors(self, texts: Rows[str]) -> tuple[Floats, str] | None:
        """Vectors of texts, (M, D), and their release; None while there is no encoder. Takes milliseconds per text."""
        recommender = self.keeper.live.recommender
        vectors_MD = self.texts.item_vectors(recommender, texts)
        return None if vectors_MD is None else (vectors_MD, recommender.name)

    def searched(self, query: str) -> Question:
        """The question that a query asks, compared with all products already. Takes milliseconds."""
        recommender = self.keeper.live.recommender
        vector_T = self.texts.query_vector(recommender, query)
        found = recommender.search.find(query, vector_T)
        degraded = NO_TEXT_ENCODER if vector_T is None else ()
        return Question(query=query, found=found, release=recommender.name, degraded=degraded)

    # --- whose events -------------------------------------------------------------------------------------------------

    def _subjects(self, live: LiveRelease, questions: Rows[Question]) -> list[Subject]:
        """The questions with the events that speak for them: those of the session, else those that are stored."""
        subjects = [self._subject(live, question) for question in questions]
        waiting = [
            subject
            for subject in subjects
            if subject.question.buyer_id is not None
            and (subject.source == "popular" or subject.question.new_only)
            and not subject.question.popular
        ]
        if not waiting:
            return subjects
        buyer_ids = [str(subject.question.buyer_id) for subject in waiting]
        rows = self._guard.call(lambda: self._online.read_buyers(buyer_ids))
        for place, subject in enumerate(waiting):
            if rows is None:
                subject.degraded.append("feature_store")
                continue
            subject.stored = rows[place]
            if subject.source == "popular":
                readable = live.recommender.readable(rows[place].events)
                if len(readable.positions_L):
                    subject.source, subject.readable = "personalised", readable
        return subjects

    def _subject(self, live: LiveRelease, question: Question) -> Subject:
        """Who a question is about, as far as the question itself says."""
        if question.release not in (None, live.recommender.name):  # swapped since the texts were encoded
            degraded = tuple(dict.fromkeys([*question.degraded, *NO_TEXT_ENCODER]))
            question = replace(question, found=None, texts={}, release=None, degraded=degraded)
        new = {live.recommender.products.product_key(one): vector_D for one, vector_D in question.texts.items()}
        readable = NOTHING_READABLE
        source: Source = "popular"
        if question.interactions:
            readable = live.recommender.readable(self._sequence(live, question.interactions), new)
            source = "session" if len(readable.positions_L) else "popular"
        found = question.found
        if question.query is not None and found is None:
            found = live.recommender.search.find(question.query, None)
        if found is not None and not found.is_empty:
            source = "search"
        elif question.like is not None and live.catalogue.position_of(question.like) >= 0:
            source = "similar"
        return Subject(question, source, readable, new, list(question.degraded), found=found)

    def _sequence(self, live: LiveRelease, interactions: Rows[Interaction]) -> Sequence:
        """Interactions as a sequence, cut and ordered as stored ones are; those without a time become the newest."""
        given = [interaction.timestamp for interaction in interactions if interaction.timestamp is not None]
        newest = max([self._clock(), *given])
        events = sequence(
            [live.recommender.products.product_key(interaction.product_id) for interaction in interactions],
            [EVENT_TYPE_CODES[interaction.event_type] for interaction in interactions],
            [
                newest + place if interaction.timestamp is None else interaction.timestamp
                for place, interaction in enumerate(interactions, 1)
            ],
        )
        return merge_sequences(events, EMPTY_SEQUENCE, self._max_history)

    # --- vectors ------------------------------------------------------------------------------------------------------

    def _encode(self, live: LiveRelease, subjects: Rows[Subject]) -> None:
        known = [subject for subject in subjects if subject.source in ("session", "personalised")]
        histories = [live.recommender.history(subject.readable, subject.new) for subject in known]
        for subject, buyer in zip(known, live.recommender.encoder.encode(histories), strict=True):
            subject.buyer = buyer

    def _search(self, live: LiveRelease, subjects: Rows[Subject]) -> list[Ranked | None]:
        """What is nearest among all products, in one call for those who ask for just that."""
        found: list[Ranked | None] = [None] * len(subjects)
        if live.catalogue.select(NO_FILTERS).allowed_N is not None:
            return found  # some products are hidden, so everybody has a filter
        plain = [
            (place, subject.buyer.vector_D)
            for place, subject in enumerate(subjects)
            if subject.buyer is not None and subject.question.is_plain
        ]
        if plain:
            k = pool_size(max(subjects[place].question.k for place, _ in plain))
            ranked = live.recommender.towers.nearest(np.stack([vector_D for _, vector_D in plain]), k)
            for (place, _), one in zip(plain, ranked, strict=True):
                found[place] = one
        return found

    # --- answers ------------------------------------------------------------------------------------------------------

    def _payload(self, live: LiveRelease, subject: Subject, found: Ranked | None) -> Payload:
        question = subject.question
        selection = self._selection(live, subject)
        rules = live.rules.active(self._clock()) if question.rules else None
        scorer = self._scorer(live, subject, found)
        listed = rank(
            scorer, selection, question.k, question.diversity, rules, live.catalogue, live.recommender.vectors_ND
        )
        return recommendations(live, subject, selection, listed, rules)

    def _selection(self, live: LiveRelease, subject: Subject) -> Selection:
        question, table, n_products = subject.question, live.recommender.products, len(live.catalogue)
        selection = live.catalogue.select(question.filters)
        if question.exclude:
            selection = selection.without(table.known_positions(question.exclude), "excluded", n_products)
        if subject.source == "similar":
            selection = selection.without(table.known_positions([str(question.like)]), "excluded", n_products)
        if question.new_only and subject.stored is not None:
            bought = np.unique(table.positions(subject.stored.purchases.product_keys))
            selection = selection.without(bought[bought >= 0].astype(np.int64), "purchased", n_products)
        return selection

    def _scorer(self, live: LiveRelease, subject: Subject, found: Ranked | None) -> Scorer:
        if subject.buyer is not None:
            new_only = subject.question.new_only
            repeats = NO_REPEATS if new_only else live.recommender.repeats(subject.remembered)
            return ForBuyer(live.recommender, subject.buyer.vector_D, repeats, new_only=new_only, found=found)
        if subject.source == "search" and subject.found is not None:
            return ByQuery(subject.found)
        if subject.source == "similar":
            position = live.catalogue.position_of(str(subject.question.like))
            return BySimilarity(live.recommender.towers, live.recommender.vectors_ND[position])
        return ByPopularity(live.recommender)
