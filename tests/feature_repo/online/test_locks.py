"""Locks on buyers whose slots a cluster has lost."""

import logging

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import SlotNotCoveredError

from feature_repo.online.locks import HeldLocks


class UncoveredCluster(RedisCluster):
    """A cluster without nodes."""

    def __init__(self) -> None:
        """Connects to nothing."""

    def get_node_from_key(self, *_: object) -> None:
        """As redis-py, of a slot that no node has."""
        raise SlotNotCoveredError("Slot is not covered by the cluster.")  # type: ignore[no-untyped-call]


def test_locks_on_a_lost_slot_are_left_to_expire(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        HeldLocks(UncoveredCluster(), {"u1": "shop:lock:u1"}, b"token").release()
    assert "were not released" in caplog.text
    assert "u1" not in caplog.text
