"""Fixtures of the parity tests."""

from collections.abc import Iterator

import pytest

from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import shop


@pytest.fixture(scope="module")
def batch_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store into which nothing has been materialized."""
    with feature_store(shop(tmp_path_factory.mktemp("batch"))) as store:
        yield store
