"""What `feast apply` finds in the feature repository."""

from pathlib import Path

import pytest
from feast.repo_operations import get_repo_files

import feature_repo

pytestmark = pytest.mark.fast


def test_it_imports_the_definitions_alone() -> None:
    """It imports by bare name, so that another module would exist twice, and one on Spark would need PySpark."""
    root = Path(feature_repo.__file__).parent
    assert [path.relative_to(root).as_posix() for path in get_repo_files(root)] == ["definitions.py"]
