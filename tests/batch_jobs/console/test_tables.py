"""Tables: alignment by what a terminal shows, and the width of a terminal."""

import os
from typing import Any

from batch_jobs.console.tables import coloured, table_lines
from tests.terminal import on_a_terminal

ROWS = [
    ["score", "id", "title"],
    ["1.5", "p1", "شَايٌ أخضر"],
    ["10.25", "p22", "日本 tea"],
]


def test_columns_are_aligned_by_what_is_shown_of_them() -> None:
    assert table_lines([[*row, "x"] for row in ROWS], right=[0]) == [
        "score  id   title     x",
        "-----------------------",
        "  1.5  p1   شَايٌ أخضر  x",  # the two vowel signs take no column
        "10.25  p22  日本 tea  x",
    ]


def test_without_a_head_there_is_no_line() -> None:
    assert table_lines([["a", "b"], ["aa", "b"]], head=False) == ["a   b", "aa  b"]


def test_a_pipe_gets_everything_and_no_colour() -> None:
    long = "x" * 500
    assert table_lines([["a"], [long]])[-1] == long
    assert coloured("ok", "green") == "ok"


def shown(code: str, columns: int, **variables: str) -> list[str]:
    """The lines that a terminal of so many columns gets."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    return on_a_terminal(code, "stdout", columns=columns, environment=environment | variables).split("\r\n")[:-1]


TABLE = f"from batch_jobs.console.tables import table_lines; print(*table_lines({ROWS!r}, right=[0]), sep='\\n')"


def test_on_a_terminal_right_to_left_cells_are_isolated() -> None:
    assert shown(TABLE, 80) == [
        "score  id   title",
        "--------------------",
        "  1.5  p1   \u2068شَايٌ أخضر\u2069",
        "10.25  p22  日本 tea",
    ]


def narrow(rows: list[list[str]], columns: int, **options: Any) -> list[str]:
    call = f"table_lines({rows!r}, head=False, **{options!r})"
    return shown(f"from batch_jobs.console.tables import table_lines; print(*{call}, sep='\\n')", columns)


def test_on_a_narrow_terminal_free_text_is_cut_and_its_isolate_is_whole() -> None:
    rows = [["1.5", "p1", "هاتف ذكي جديد", "new"], ["2", "p2", "tea", "old"]]
    assert narrow(rows, 22, cut=[2]) == ["1.5  p1  \u2068هاتف ذك…\u2069  new", "2    p2  tea       old"]


def test_of_two_columns_of_free_text_the_longer_one_is_cut_first() -> None:
    rows = [["a" * 30, "b" * 20]]
    assert narrow(rows, 45, cut=[0, 1]) == [f"{'a' * 22}…  {'b' * 20}"]
    assert narrow(rows, 32, cut=[0, 1]) == [f"{'a' * 14}…  {'b' * 14}…"]


def test_names_and_numbers_are_whole_on_the_narrowest_terminal() -> None:
    rows = [["20260302T000000.000Z-5e6f7a8b", "0.0516 [0.041, 0.062]", "a note that is long"]]
    assert narrow(rows, 30, cut=[2]) == ["20260302T000000.000Z-5e6f7a8b  0.0516 [0.041, 0.062]  a note…"]
    assert narrow(rows, 30) == ["  ".join(rows[0])]


def test_no_color_and_dumb_terminals_are_respected() -> None:
    code = "from batch_jobs.console.tables import coloured; print(coloured('ok', 'green'))"
    assert shown(code, 80, TERM="xterm") == ["\x1b[32mok\x1b[0m"]
    assert shown(code, 80, TERM="xterm", NO_COLOR="1") == ["ok"]
    assert shown(code, 80, TERM="dumb") == ["ok"]
