"""The kinds of lists on a shop's pages, and the list requests that ask for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from feature_repo.transforms.events import EVENT_TYPE_NAMES


class ListKind(Enum):
    """What a list of a shop's pages is made from."""

    AGAIN = auto()  # what the buyer bought, as it is due
    RECENT = auto()  # what the buyer viewed, newest first
    TOGETHER = auto()  # what is bought together with a product or a cart
    TRENDING = auto()  # what many buyers chose lately
    NEW = auto()  # what appeared lately
    ON_SALE = auto()  # what costs less than usual


@dataclass(frozen=True, slots=True)
class ShopList:
    """A list of a shop's pages, as a list request asks for it.

    Attributes:
        kind: Its kind.
        product_ids: With TOGETHER: the cart, or the product of the page.
        event_type: With RECENT: the type of the events.
        fill: Whether other products follow where the list has too few.
    """

    kind: ListKind
    product_ids: Sequence[str] = ()
    event_type: str = EVENT_TYPE_NAMES[0]
    fill: bool = True
