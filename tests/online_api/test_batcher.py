"""Micro-batches: who gets which result, when batches form, and what happens to those who wait for too long."""

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_api.batcher import Batcher, OverloadedError
from online_api.observability.metrics import Metrics

LONG = 30.0  # seconds that no test waits


class Squares:
    """Answers numbers with their squares; negative ones fail. `batches` records the calls."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(numbers))
        if min(numbers) < 0:
            raise ValueError(f"no square for {min(numbers)}")
        return [number * number for number in numbers]


def batcher_of(
    answer: Callable[[Sequence[int]], Sequence[int]],
    metrics: Metrics | None = None,
    *,
    max_batch: int = 4,
    max_queue: int = 100,
    timeout_s: float = LONG,
) -> Batcher[int, int]:
    return Batcher(answer, metrics or Metrics(), max_batch=max_batch, max_queue=max_queue, timeout_s=timeout_s)


async def result_of(batcher: Batcher[int, int], number: int) -> int:
    result, _, _ = await batcher.submit(number)
    return result


async def queued(batcher: Batcher[int, int], numbers: Sequence[int]) -> "list[asyncio.Task[int]]":
    """Queues requests that the loop has not processed yet."""
    tasks = [asyncio.create_task(result_of(batcher, number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


@settings(max_examples=50)
@given(
    rushes=st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), min_size=1, max_size=5),
    max_batch=st.integers(1, 9),
)
def test_every_request_gets_its_own_result(rushes: list[list[int]], max_batch: int) -> None:
    squares = Squares()

    async def run() -> list[int]:
        batcher = batcher_of(squares, max_batch=max_batch, max_queue=1000)
        tasks = []
        for numbers in rushes:
            tasks += await queued(batcher, numbers)
        return await asyncio.gather(*tasks)

    numbers = [number for rush in rushes for number in rush]
    assert asyncio.run(run()) == [number * number for number in numbers]
    assert [number for batch in squares.batches for number in batch] == numbers
    assert max(map(len, squares.batches)) <= max_batch


def test_what_waits_is_answered_together_and_in_its_order() -> None:
    squares = Squares()

    async def run() -> list[int]:
        batcher = batcher_of(squares, max_batch=4)
        return await asyncio.gather(*(result_of(batcher, number) for number in range(10)))

    assert asyncio.run(run()) == [number * number for number in range(10)]
    assert squares.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_between_two_batches_the_loop_reads_what_has_come() -> None:
    squares = Squares()

    async def run() -> None:
        batcher = batcher_of(squares, max_batch=2)
        early = await queued(batcher, [0, 1, 2, 3, 4])
        await asyncio.sleep(0)  # the first batch is answered
        late = await queued(batcher, [5])
        await asyncio.gather(*early, *late)

    asyncio.run(run())
    assert squares.batches == [[0, 1], [2, 3], [4, 5]]


def test_an_idle_batcher_answers_each_at_once() -> None:
    squares, metrics = Squares(), Metrics()

    async def run() -> None:
        batcher = batcher_of(squares, metrics)
        for number in range(5):
            assert await result_of(batcher, number) == number * number

    asyncio.run(run())
    assert squares.batches == [[0], [1], [2], [3], [4]]
    assert sizes(metrics) == (5, 5)


def test_metrics_say_how_large_batches_are() -> None:
    metrics = Metrics()

    async def run() -> None:
        batcher = batcher_of(Squares(), metrics, max_batch=5)
        await asyncio.gather(*(result_of(batcher, number) for number in range(8)))

    asyncio.run(run())
    assert sizes(metrics) == (2, 8)


def sizes(metrics: Metrics) -> tuple[float, float]:
    """How many batches there were, and how many requests in all of them."""
    lines = dict(line.rsplit(" ", 1) for line in metrics.render()[0].decode().splitlines() if not line.startswith("#"))
    return float(lines["tawsiya_batch_size_count"]), float(lines["tawsiya_batch_size_sum"])


def test_a_full_queue_refuses_and_serves_again_when_it_has_emptied() -> None:
    squares = Squares()

    async def run() -> None:
        batcher = batcher_of(squares, max_queue=3)
        waiting = await queued(batcher, [1, 2, 3])
        with pytest.raises(OverloadedError, match="3 requests are waiting already"):
            await batcher.submit(4)
        assert await asyncio.gather(*waiting) == [1, 4, 9]
        assert await result_of(batcher, 5) == 25

    asyncio.run(run())
    assert all(4 not in batch for batch in squares.batches)


def test_who_has_waited_too_long_is_told_and_not_answered_any_more() -> None:
    squares = Squares()

    async def run() -> None:
        batcher = batcher_of(squares, timeout_s=0.001)
        late = await queued(batcher, [1, 2])
        time.sleep(0.005)  # the loop is busy elsewhere
        outcomes = await asyncio.gather(*late, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 2

    asyncio.run(run())
    assert squares.batches == []


def test_an_error_goes_to_all_of_its_batch_and_to_no_other() -> None:
    squares = Squares()

    async def run() -> list[int | BaseException]:
        batcher = batcher_of(squares, max_batch=2)
        return await asyncio.gather(*(result_of(batcher, number) for number in (-1, 2, 3, 4)), return_exceptions=True)

    outcomes = asyncio.run(run())
    assert squares.batches == [[-1, 2], [3, 4]]
    assert [str(outcome) for outcome in outcomes[:2]] == ["no square for -1"] * 2
    assert outcomes[2:] == [9, 16]


def test_who_goes_away_takes_nobody_along() -> None:
    squares = Squares()

    async def run() -> list[int]:
        batcher = batcher_of(squares)
        gone, *others = await queued(batcher, [1, 2, 3])
        gone.cancel()
        return await asyncio.gather(*others)

    assert asyncio.run(run()) == [4, 9]
    assert squares.batches == [[2, 3]]


def test_a_result_comes_with_the_times_of_queueing_and_of_starting() -> None:
    async def run() -> None:
        batcher = batcher_of(Squares())
        before = time.perf_counter()
        waiting = asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0)
        between = time.perf_counter()
        result, queued_at, started = await waiting
        assert result == 9
        assert before < queued_at < between < started < time.perf_counter()

    asyncio.run(run())
