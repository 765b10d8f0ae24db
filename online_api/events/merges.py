"""Merges of guests into buyers: a visitor logs in, and the history of the visit becomes the customer's."""

import datetime as dt
import logging
from collections.abc import Callable

from feature_repo import columns as c
from feature_repo.common.buyer_merges import BuyerMerge
from feature_repo.common.forgotten import ForgottenBuyers, ForgottenFileError
from feature_repo.online.features import OnlineFeatures
from feature_repo.online.merged_buyers import OtherAccountError
from online_api.events.event_log import EventLogUnavailableError
from online_api.events.merge_log import MergeLog
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import STORE_FAILURES, CircuitBreaker
from online_api.schemas.responses import MergeOutcome, MergeResponse

log = logging.getLogger(__name__)


class InvalidMergeError(ValueError):
    """The two buyers cannot be merged; the message says why."""


class BuyerMerges:
    """Merges buyers of one shop; safe to use from several threads and processes."""

    def __init__(
        self,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        merge_log: MergeLog,
        forgotten: ForgottenBuyers,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        """Combines the parts, which the caller opens and closes.

        Args:
            online: Writes buyers' features.
            breaker: Guards the calls of `online`.
            merge_log: Holds the accepted merges.
            forgotten: Buyers who cannot be merged.
            metrics: Counts merges by outcome.
            clock: Returns milliseconds since 1970.
        """
        self._online, self._breaker, self._log = online, breaker, merge_log
        self._forgotten, self._metrics, self._clock = forgotten, metrics, clock

    def merge(self, guest_id: str, buyer_id: str) -> MergeResponse:
        """Makes a guest's history the buyer's: on return the merge is on the disk and, unless pending, online.

        To repeat it changes nothing.

        Raises:
            InvalidMergeError: Both are one, or one of them was erased.
            OtherAccountError: The guest belongs to another buyer.
            EventLogUnavailableError: It cannot be written. The caller may repeat the request.
        """
        self._check(guest_id, buyer_id)
        merge, logged = BuyerMerge(guest_id, buyer_id), False

        def record() -> None:
            nonlocal logged
            self._log.append(merge, dt.datetime.fromtimestamp(self._clock() / 1000, dt.UTC))
            logged = True

        self.replay()  # of a guest's merges the first counts, and it may wait still
        try:
            # Recorded under the locks of both: the log has the merges of a guest in the order in which they count.
            account = self._breaker.write(lambda: self._online.merge_buyer(guest_id, buyer_id, record))
        except OtherAccountError:
            self._metrics.merges("other_account").inc()
            raise
        if account is None and not logged:
            record()
        outcome: MergeOutcome = "pending" if account is None else "merged" if logged else "known"
        self._metrics.merges(outcome).inc()
        return MergeResponse(buyer_id=buyer_id, guest_id=guest_id, outcome=outcome)

    def replay(self) -> None:
        """Applies merges that the online store may lack, if it answers. Any worker may call this at any time."""
        if self._log.is_empty or self._breaker.is_open:
            return
        try:
            # Not through the breaker, which counts failures that requests have waited for.
            materialized_at = self._online.materialized_at()
        except STORE_FAILURES:
            return
        self._log.replay(materialized_at, self._apply)

    def _apply(self, merge: BuyerMerge) -> bool:
        try:
            if self._forgotten.holds(merge.guest_id) or self._forgotten.holds(merge.buyer_id):
                return True
            return self._breaker.write(lambda: self._online.merge_buyer(*merge, record=_recorded)) is not None
        except OtherAccountError:
            return True  # accepted while the store was down, and it does not count
        except ForgottenFileError as error:
            log.error("merges of buyers wait: %s", error)
            return False

    def _check(self, guest_id: str, buyer_id: str) -> None:
        if guest_id == buyer_id:
            raise InvalidMergeError("guest_id: must be another id than the buyer's")
        try:
            for name, one in ((c.GUEST_ID, guest_id), (c.BUYER_ID, buyer_id)):
                if self._forgotten.holds(one):
                    raise InvalidMergeError(f"{name}: this buyer was erased (`tawsiya forget`); nothing is merged")
        except ForgottenFileError as error:
            log.error("no merge can be stored: %s", error)
            raise EventLogUnavailableError("merges cannot be stored now; try again in a moment") from None


def _recorded() -> None:
    """The merge is in the log already."""
