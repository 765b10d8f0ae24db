"""The thread of the inspections: one at a time, and not too many waiting."""

import asyncio
import threading
from typing import cast

import pytest

from online_api.batcher import OverloadedError
from online_api.inspection.inspection_thread import MOST_WAITING, Inspections
from online_api.inspection.inspector import Inspector

NOBODY = cast("Inspector", None)  # these calls need none


def test_inspections_run_one_after_the_other_in_one_thread() -> None:
    async def several() -> list[tuple[int, str]]:
        with Inspections(NOBODY) as inspections:
            names = [inspections.run(lambda number: (number, threading.current_thread().name), n) for n in range(5)]
            return await asyncio.gather(*names)

    done = asyncio.run(several())
    assert [number for number, _ in done] == [0, 1, 2, 3, 4]
    assert {name for _, name in done} == {"inspection_0"}


def test_too_many_are_refused() -> None:
    async def flood() -> None:
        release = threading.Event()
        with Inspections(NOBODY) as inspections:
            waiting = [asyncio.ensure_future(inspections.run(release.wait)) for _ in range(MOST_WAITING)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await inspections.run(release.wait)
            release.set()
            assert await asyncio.gather(*waiting) == [True] * MOST_WAITING
            assert await inspections.run(release.wait)  # there is room again

    asyncio.run(flood())
