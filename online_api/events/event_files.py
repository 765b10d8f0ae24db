"""The files of accepted events, all in the folder of the event log."""

from pathlib import Path
from typing import NamedTuple

from feature_repo.common.paths import IN_FLIGHT_FOLDER, PENDING_FOLDER
from feature_repo.settings.api import ApiConfig
from online_api.events.event_log import EventLog
from online_api.events.in_flight import InFlightRequests
from online_api.events.pending import PendingEvents
from online_api.events.unknown_products import UnknownProductEvents


class EventFiles(NamedTuple):
    """The files of one shop.

    Attributes:
        log: All accepted events.
        pending: Those that are not yet in the online store.
        unknown_products: Those of products that the live release does not know.
        in_flight: Where in the log the unfinished requests begin.
    """

    log: EventLog
    pending: PendingEvents
    unknown_products: UnknownProductEvents
    in_flight: InFlightRequests

    @classmethod
    def in_folder(cls, folder: Path, config: ApiConfig) -> "EventFiles":
        """The files in the folder of an event log; none is created before the first event."""
        pending = folder / PENDING_FOLDER
        return cls(
            EventLog(folder),
            PendingEvents(pending),
            UnknownProductEvents(pending, config.max_unknown_product_events_per_key, config.unknown_product_days),
            InFlightRequests(folder / IN_FLIGHT_FOLDER),
        )
