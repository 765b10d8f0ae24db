"""Only files that the gate passed, with the checksums that it recorded, are materialized."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from expectations.gate import passed_copies, require_passed, validate_canonical, validate_features
from expectations.records import FEATURE_STAGE
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths
from tests.expectations.gate_shop import (
    BUYER_SEQUENCES,
    MONDAY,
    PART,
    PRODUCTS,
    PURCHASES,
    good_purchases,
    good_sequences,
    report_parts,
    write,
    write_canonical,
    write_features,
)

LATER = "20240102T100000000000-000.parquet"
FEATURE_FILES = ["products.parquet", f"buyer_sequences/{PART}", f"buyer_purchases/{PART}"]


@pytest.fixture(scope="module")
def good_shop(tmp_path_factory: pytest.TempPathFactory) -> ShopPaths:
    """A shop that passed both stages."""
    root = tmp_path_factory.mktemp("shop")
    write_canonical(root)
    paths = write_features(root)
    validate_canonical(paths, Config())
    validate_features(paths, Config())
    return paths


@pytest.fixture
def paths(good_shop: ShopPaths, tmp_path: Path) -> ShopPaths:
    """A copy of it, which a test may damage."""
    copy = ShopPaths(tmp_path / "shop")
    shutil.copytree(good_shop.root, copy.root)
    return copy


def _edit(path: Path) -> None:
    """Changes one byte: size and time stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": _edit,
    "replaced": lambda path: write(path, [], PRODUCTS),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("file", ["products", "events", "ingest_report"])
def test_canonical_files_that_changed_since_are_refused(paths: ShopPaths, file: str, change: str) -> None:
    require_passed(paths)
    path: Path = getattr(paths, file)
    CHANGES[change](path)
    with pytest.raises(GateRefusedError, match=rf"canonical/{path.name} in .* changed since .* `tawsiya validate`"):
        require_passed(paths)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("file", FEATURE_FILES)
def test_features_that_changed_since_are_refused(paths: ShopPaths, file: str, change: str) -> None:
    CHANGES[change](paths.root / "features" / file)
    with (
        pytest.raises(GateRefusedError, match=rf"features/{file} in .* changed since .* `tawsiya validate`"),
        passed_copies(paths, MONDAY),
    ):
        pass


def test_parts_that_were_added_or_no_longer_count_are_refused(paths: ShopPaths) -> None:
    write(paths.sequence_features / LATER, good_sequences(), BUYER_SEQUENCES)
    write(paths.purchase_features / LATER, good_purchases(), PURCHASES)
    # A part that no report lists is a leftover, which nobody reads.
    require_passed(paths)
    for names, changed in (((PART, LATER), LATER), ((), PART)):
        report_parts(paths, *names)
        with pytest.raises(GateRefusedError, match=rf"features/buyer_sequences/{changed}, .* changed since"):
            require_passed(paths)


def test_parts_of_an_earlier_build_are_not_copied(paths: ShopPaths) -> None:
    with passed_copies(paths, MONDAY) as copies:
        names = {path.relative_to(copies.root / "features").as_posix() for path in copies.root.rglob("*.parquet")}
        assert names == set(FEATURE_FILES)
    with passed_copies(paths, MONDAY + timedelta(microseconds=1)) as copies:
        assert [path.name for path in copies.root.rglob("*.parquet")] == ["products.parquet"]


def test_copies_hold_what_passed_though_the_file_changes_while_they_are_read(
    good_shop: ShopPaths, paths: ShopPaths
) -> None:
    with passed_copies(paths, MONDAY) as copies:
        for file in FEATURE_FILES:
            CHANGES["edited"](paths.root / "features" / file)
            original = good_shop.root / "features" / file
            assert (copies.root / "features" / file).read_bytes() == original.read_bytes()
    assert not copies.root.exists()


def test_a_file_that_changes_between_check_and_copy_is_refused(
    paths: ShopPaths, monkeypatch: pytest.MonkeyPatch
) -> None:

    def edit_then_copy(source: Path, copy: Path) -> None:
        _edit(source)
        copy.write_bytes(source.read_bytes())

    monkeypatch.setattr("expectations.gate.shutil.copyfile", edit_then_copy)
    with (
        pytest.raises(GateRefusedError, match=r"products.parquet changed while it was read"),
        passed_copies(paths, MONDAY),
    ):
        pass
    assert [path for path in paths.root.iterdir() if path.name.startswith("passed")] == []


def test_a_record_without_checksums_asks_to_validate_again(paths: ShopPaths) -> None:
    record_path = paths.validation / f"{FEATURE_STAGE}.json"
    record = json.loads(record_path.read_text(encoding="utf-8"))
    record["inputs"] = {"features/buyer_sequences.parquet": {"size": 1, "mtime_ns": 1}}
    record_path.write_text(json.dumps(record), encoding="utf-8")
    for _ in range(2):
        with pytest.raises(GateRefusedError, match=r"kept no checksums; run `tawsiya validate`"):
            require_passed(paths)
        # the record of an older version has another name
        record_path.unlink(missing_ok=True)
