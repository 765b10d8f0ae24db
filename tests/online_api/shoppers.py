"""Shoppers who ask an API without a pause while a test changes or breaks what it serves."""

import threading
from collections.abc import Callable, Sequence

import httpx

Address = httpx.URL | str
Ask = Callable[[httpx.Client], httpx.Response]


def get(path: str) -> Ask:
    """Asks for a path."""
    return lambda client: client.get(path)


class Shoppers:
    """A thread for each address; what is wrong with an answer is kept, and fails the test at the end of the block."""

    def __init__(
        self, addresses: Sequence[Address], asks: Sequence[Ask], fault: Callable[[int, httpx.Response], str | None]
    ) -> None:
        """Prepares the threads.

        Args:
            addresses: Whom each thread asks; one may be named more than once.
            asks: What each thread asks, one after the other and over again.
            fault: What is wrong with an answer to the thread of this number; None if nothing is. It is called in the
                thread of the answer.
        """
        self.faults: list[str] = []
        self._asks, self._fault = asks, fault
        self._leave = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in enumerate(addresses)]

    def __enter__(self) -> "Shoppers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()
        assert self.faults == []

    def _ask(self, number: int, address: Address) -> None:
        # A client of its own: threads that share one have been seen to close each other's sockets.
        with httpx.Client(base_url=address, timeout=30) as client:
            while not self._leave.is_set():
                for ask in self._asks:
                    try:
                        answer = ask(client)
                    except httpx.HTTPError as error:
                        self.faults.append(repr(error))
                        return
                    if fault := self._fault(number, answer):
                        self.faults.append(f"{answer.request.url}: {fault}")
