"""Folders whose names are special to DuckDB, YAML, Valkey or a shell."""

from pathlib import Path

import pytest

from feature_repo.store import feature_store
from tests.parity.parity_shop import DAY, Event, build, offline, online, shop, stored

pytestmark = pytest.mark.store

OURS: list[Event] = [(0, "p1", "view"), (5 * DAY, "p2", "view")]
THEIRS: list[Event] = [(0, "p3", "view"), (6 * DAY, "p3", "purchase")]


@pytest.mark.parametrize(
    ("name", "sibling"),
    [
        ("shop [a]", "shop a"),
        ("shop *", "shop b"),
        ("""متجر #1 'b' "c" $HOME %d {x} ; & !""", None),
        ("x" * 200, None),
    ],
)
def test_a_shop_reads_its_own_files(tmp_path: Path, name: str, sibling: str | None) -> None:
    config = shop(tmp_path / name)
    build(config, {"u1": OURS})
    if sibling is not None:
        build(shop(tmp_path / sibling), {"u1": THEIRS, "u2": THEIRS})
    with feature_store(config) as store:
        store.materialize(full=False)
        expected = {"u1": stored(OURS), "u2": []}
        assert online(store, ["u1", "u2"]) == expected
        assert offline(store, ["u1", "u2"]) == expected


def test_a_backslash_in_the_path_is_refused(tmp_path: Path) -> None:
    config = shop(tmp_path / "a\\b")
    build(config, {"u1": OURS})
    with (
        pytest.raises(ValueError, match="has a backslash in its name, which cannot be read; rename the folder"),
        feature_store(config),
    ):
        pass
