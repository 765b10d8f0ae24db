"""Answers the questions of an ML engineer about the live release and one beside it; independent of HTTP.

All calls come from one thread (inspection_thread.py), so nothing here takes a lock.
"""

from dataclasses import replace
from weakref import WeakKeyDictionary

from feature_repo import columns as c
from feature_repo.online.features import OnlineFeatures
from online_api.inspection.buyer import StoredBuyer, inspected_buyer
from online_api.inspection.comparison import compared
from online_api.inspection.product import inspected_product
from online_api.inspection.release_facts import ReleaseFacts, rounded
from online_api.inspection.search import inspected_search
from online_api.inspection.second_release import SecondRelease
from online_api.lists.list_request import ListRequest, Payload, ResolvedRequest
from online_api.lists.live_release import LiveRelease, ReleaseKeeper
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.search.synonym_file import Synonyms
from online_api.service import NO_HISTORY, RecommendationService
from online_api.watched_file import WatchedFile
from training.artifacts.recommender import Recommender


class Inspector:
    """Explains lists, products, searches and releases; for one thread."""

    def __init__(
        self,
        keeper: ReleaseKeeper,
        service: RecommendationService,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        synonyms: WatchedFile[Synonyms],
    ) -> None:
        """Combines the parts of the service, which the caller opens and closes."""
        self._keeper, self._service, self._online, self._breaker = keeper, service, online, breaker
        self._synonyms, self._second = synonyms, SecondRelease(keeper)
        self._facts: WeakKeyDictionary[Recommender, ReleaseFacts] = WeakKeyDictionary()

    def buyer(self, request: ListRequest) -> Payload:
        """What the list of a buyer is made from (InspectedBuyer)."""
        live = self._keeper.live
        buyer = self._stored(live, request)
        payload = inspected_buyer(live, self._facts_of(live), buyer, self._list(live, request, buyer))
        return payload | {"max_events": self._online.max_length}

    def product(self, product_id: str, k: int) -> Payload | None:
        """A product with the K nearest ones (InspectedProduct); None if the live release does not have it."""
        live = self._keeper.live
        position = live.catalogue.products.position_of(product_id)
        if position < 0:
            return None
        current_id = live.catalogue.rendered(position)[c.PRODUCT_ID]
        stored = self._breaker.call(lambda: self._online.read_products([current_id]))
        return inspected_product(live, self._facts_of(live), position, k, stored)

    def compare(self, request: ListRequest, release: str) -> Payload:
        """The lists of the live release and another one for a request (ReleaseComparison).

        Raises:
            UnknownReleaseError, GateRefusedError: As SecondRelease.get.
        """
        other, live = self._second.get(release), self._keeper.live
        buyer = self._stored(live, request)
        return compared(self._list(live, request, buyer), self._list(other, request, buyer))

    def search(self, request: ListRequest) -> Payload:
        """Why a query finds what it finds (InspectedSearch)."""
        live, query = self._keeper.live, str(request.query)
        synonyms = self._synonyms.content().of(query)
        request = request.for_release(live.recommender.name)
        # Encoding took too long, or another release is live by now: as the service does, by spelling alone.
        if request.matches is None:
            request = replace(request, matches=live.recommender.match_query(query, None, synonyms))
        return inspected_search(live, request, synonyms)

    def map(self) -> Payload | None:
        """The map of the live release (InspectedMap); None if it has none."""
        live = self._keeper.live
        product_map, products = self._facts_of(live).map, live.recommender.products
        if product_map is None:
            return None
        codes_M = products.category_codes_N[product_map.positions_M]
        rows = zip(product_map.positions_M.tolist(), rounded(product_map.places_M2), codes_M.tolist(), strict=True)
        points = [(products.row(position), place, code) for position, place, code in rows]
        return {
            "release": live.recommender.name,
            "n_products": len(products),
            "categories": products.categories,
            "points": [
                {
                    c.PRODUCT_ID: row[c.PRODUCT_ID],
                    c.TITLE: row[c.TITLE],
                    "category": None if code < 0 else code,
                    "place": place,
                }
                for row, place, code in points
            ],
        }

    def _stored(self, live: LiveRelease, request: ListRequest) -> StoredBuyer | None:
        """What the store has of the request's buyer; None without a buyer, or if it does not answer."""
        if request.buyer_id is None:
            return None
        buyer_ids, current_keys = [request.buyer_id], live.catalogue.products.current_keys
        read = self._breaker.call(lambda: self._online.read_stored(buyer_ids, current_keys))
        return None if read is None else StoredBuyer(read[0], self._online.features_of(read[0]))

    def _list(self, release: LiveRelease, request: ListRequest, buyer: StoredBuyer | None) -> Payload:
        """The list that a release gives."""
        features = None if buyer is None else buyer.features
        resolved = ResolvedRequest(request, "popular", NO_HISTORY, (), None, features)
        return self._service.answer_beside(release, resolved)

    def _facts_of(self, live: LiveRelease) -> ReleaseFacts:
        recommender = live.recommender
        if recommender not in self._facts:
            self._facts[recommender] = ReleaseFacts(self._keeper.releases / recommender.name)
        return self._facts[recommender]
