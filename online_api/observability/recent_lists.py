"""The newest personalised lists, to tell whether buyers get lists of their own or all the same one."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from itertools import islice
from threading import Lock
from typing import NamedTuple

from training.evaluation.list_agreement import mean_overlap

RECENT_BUYERS, TOP = 200, 10


class Overlap(NamedTuple):
    """How alike the newest lists are.

    Attributes:
        buyers: Number of buyers whose lists are compared.
        share: Mean share of products that the lists of two buyers have in common; 0 with fewer than two.
    """

    buyers: int
    share: float


class RecentLists:
    """The first TOP products of the newest list of each of the last RECENT_BUYERS buyers; thread-safe."""

    def __init__(self) -> None:
        """Has no lists."""
        self._lock = Lock()
        self._lists: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    def add(self, buyer_id: str, product_ids: Iterable[str]) -> None:
        """Takes a buyer's list, best first, in place of the one before; a shorter one than TOP is not comparable."""
        top = tuple(islice(product_ids, TOP))
        if len(top) < TOP:
            return
        key = hash(buyer_id)  # no ids in memory longer than needed
        with self._lock:
            self._lists[key] = top
            self._lists.move_to_end(key)  # a buyer who reloads a page counts once
            if len(self._lists) > RECENT_BUYERS:
                self._lists.popitem(last=False)

    def overlap(self) -> Overlap:
        """How alike they are; takes a fraction of a millisecond."""
        with self._lock:
            lists = list(self._lists.values())
        lists_with = Counter(product_id for top in lists for product_id in top)
        return Overlap(len(lists), mean_overlap(list(lists_with.values()), len(lists), TOP))
