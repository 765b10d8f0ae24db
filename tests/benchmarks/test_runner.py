"""The run of several benchmarks, on modules that the tests write."""

from pathlib import Path

import pytest

from benchmarks.tools.runner import FAILED, OK, SKIPPED, Outcome, main, run, table


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("print(arguments)", OK, ""),
        ("from benchmarks.tools.skip import SkippedError; raise SkippedError('no data')", SKIPPED, "no data"),
        ("raise ModuleNotFoundError('No module', name='implicit.cpu')", SKIPPED, "pip install 'tawsiya[bench]'"),
        ("raise ModuleNotFoundError('No module nowhere', name='nowhere')", FAILED, "No module nowhere"),
        ("raise ValueError('first line\\nsecond line')", FAILED, "first line"),
        ("raise SystemExit('stopped')", FAILED, "stopped"),
        ("raise KeyError", FAILED, "KeyError"),
        ("import os; os._exit(9)", FAILED, "the process ended with code 9"),
    ],
)
def test_outcomes(body: str, status: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up.py").write_text(f"def main(arguments):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = run("made_up")
    assert (outcome.name, outcome.status) == ("made_up", status)
    assert reason in outcome.reason


def test_a_run_beyond_the_limit_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, cleaned_up = tmp_path / "started", tmp_path / "cleaned_up"
    (tmp_path / "endless.py").write_text(
        "import pathlib, time\n"
        "def main(arguments):\n"
        "    try:\n"
        f"        pathlib.Path({str(started)!r}).touch()\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        f"        pathlib.Path({str(cleaned_up)!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for limit in (3, 20, 90):  # a busy machine may need longer than the first limits to start the process
        outcome = run("endless", limit_seconds=limit)
        assert (outcome.status, outcome.reason) == (FAILED, f"took longer than {limit} s")
        if started.is_file():
            break
    assert cleaned_up.is_file()


def test_table_has_a_line_for_each_benchmark() -> None:
    outcomes = [Outcome("index", 3.2, OK), Outcome("search", 0.1, SKIPPED, "no data")]
    assert table(outcomes).splitlines() == [
        "benchmark        seconds  outcome",
        "index                  3  ok",
        "search                 0  skipped: no data",
    ]


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["indices"])
    assert exit_info.value.code == 2
    assert "no benchmark is called indices" in capsys.readouterr().err
