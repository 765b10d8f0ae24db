"""Opened tables know the line of the file in which a row lies."""

import gzip
from pathlib import Path

import duckdb

from batch_jobs.ingestion.files.tables import OpenedTable, open_table_files


def opened(folder: Path, path: Path, db: duckdb.DuckDBPyConnection | None = None) -> OpenedTable:
    scratch = folder / "scratch"
    scratch.mkdir()
    return open_table_files(db or duckdb.connect(), "v", path, scratch, lines=False, encoding=None, known=len)


def test_the_line_of_a_row_counts_header_line_ends_within_values_and_blank_lines(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text('id,"t\nt"\n1,"a\nb"\n\n2,c\n3\n', encoding="utf-8")
    (folder / "b.csv.gz").write_bytes(gzip.compress(b'sep=;\nid;"t t"\n4;d\n5;"e\n"\n6;f\n'))
    table = opened(tmp_path, folder)
    assert table.lines_of(range(1, 8)) == {1: 3, 2: 6, 3: 7, 4: 3, 5: 4, 6: 6}
    assert table.lines_of([5]) == {5: 4}


def test_a_blank_line_counts_in_a_file_without_a_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,t\n1,a\n\n2,b", encoding="utf-8")
    assert opened(tmp_path, tmp_path / "a.csv").lines_of([1, 2]) == {1: 2, 2: 4}


def test_rows_are_numbered_over_broken_parts(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text("id,t\n1\n2,b\n", encoding="utf-8")
    (folder / "b.csv").write_text("id,t\n3,c\n4\n", encoding="utf-8")
    with duckdb.connect() as db:
        table = opened(tmp_path, folder, db)
        assert db.execute("SELECT source_line, id FROM v_file ORDER BY 1").fetchall() == [(2, "2"), (3, "3")]
        assert db.execute("SELECT source_line, raw FROM v_unreadable ORDER BY 1").fetchall() == [(1, '"1"'), (4, '"4"')]
    assert [file.rows for file in table.files] == [2, 2]


def test_a_large_file_with_one_broken_row_is_read_whole(tmp_path: Path) -> None:
    # DuckDB reads a file of this size in parts, and its own skipping of broken rows loses others.
    lines = [f"{n},{'x' * 90}\n" for n in range(450_000)]
    lines[3] = '3,"unclosed\n'
    (tmp_path / "a.csv").write_text("id,t\n" + "".join(lines), encoding="utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with duckdb.connect() as db:
        open_table_files(db, "v", tmp_path / "a.csv", scratch, lines=False, encoding=None, known=len)
        assert db.execute("SELECT count(*), count(DISTINCT id) FROM v_file").fetchall() == [(449_999, 449_999)]
        assert db.execute("SELECT * FROM v_unreadable").fetchall() == [(4, "unreadable_row", '"3,\\"unclosed"')]
