"""The files of a table: folders, patterns, and numbered parts of which one is missing."""

from pathlib import Path

import pytest

from batch_jobs.ingestion.files.parts import table_parts


def write(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("id\n1\n", encoding="utf-8")


def found(path: Path) -> list[str]:
    return [part.name for part in table_parts(path)]


def test_a_folder_is_its_files_without_marks(tmp_path: Path) -> None:
    write(tmp_path, "b.csv", "a.csv", "_SUCCESS", ".part-0.csv.crc", "_committed_1")
    assert found(tmp_path) == ["a.csv", "b.csv"]


@pytest.mark.parametrize("name", ["a[12]*?.csv", "a b#1.csv", 'it\'s "so".csv', "مبيعات.csv", "{a,b}.csv"])
def test_a_path_that_exists_is_no_pattern(tmp_path: Path, name: str) -> None:
    write(tmp_path / "g[12]", name, "a1xx.csv")
    write(tmp_path / "g1", name)
    assert table_parts(tmp_path / "g[12]" / name) == [tmp_path / "g[12]" / name]


def test_a_pattern_names_files_and_the_folders_before_it_are_none(tmp_path: Path) -> None:
    write(tmp_path / "g[12]", "a1.csv", "a2.csv", "b.csv")
    write(tmp_path / "g1", "a3.csv")
    assert table_parts(tmp_path / "g[12]" / "a*.csv") == [tmp_path / "g[12]" / "a1.csv", tmp_path / "g[12]" / "a2.csv"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x.csv", "does not exist$"), ("x*.csv", "does not exist, and no file matches it"), ("empty", "is empty")],
)
def test_no_file_is_an_error(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=expected):
        table_parts(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["part-00000.csv", "part-00002.csv"], "part-00001.csv"),
        (["part-00001-7a2b-c000.snappy.parquet", "part-00003-7a2b-c000.snappy.parquet"], "part-00002-7a2b"),
        (["part-00002.csv", "part-00003.csv"], "part-00001.csv"),
        (["events-000000000000.csv", "events-000000000002.csv"], "events-000000000001.csv"),
        (["data_part1.csv", "data_part3.csv"], "data_part2.csv"),
        (["x-00000-of-00003.csv", "x-00001-of-00003.csv"], "x-00002-of-00003.csv"),
        (["x-1-of-3.csv", "x-2-of-3.csv"], "x-3-of-3.csv"),
    ],
)
def test_a_missing_part_is_named(tmp_path: Path, names: list[str], missing: str) -> None:
    write(tmp_path, *names, "_SUCCESS")
    with pytest.raises(ValueError, match=rf"^part {missing}.* is missing in "):
        table_parts(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["part-00000.csv", "part-00001.csv"],
        ["part-00001.csv", "part-00002.csv"],
        ["orders-2024-01-05.csv", "orders-2024-01-07.csv", "orders-2024-03-01.csv"],
        ["orders_2022.csv", "orders_2024.csv"],
        ["20240101.csv", "20240105.csv"],
        ["store_12.csv", "store_15.csv"],
        ["x-00000-of-00002.csv", "x-00001-of-00002.csv"],
        ["all.csv"],
    ],
)
def test_whole_numberings_and_other_names_are_taken(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, *names)
    assert found(tmp_path) == names
