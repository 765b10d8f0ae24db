"""Reports that are missing or damaged, and locks."""

import os
from pathlib import Path

import pytest

from feature_repo.common.files import read_json, replacing, try_lock


def test_a_missing_or_damaged_report_names_the_command_that_writes_it(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with pytest.raises(FileNotFoundError, match=r"report\.json does not exist yet; run `tawsiya train` first"):
        read_json(report, "tawsiya train")
    report.write_text('{"rows": ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"report\.json is damaged .*; delete it, and run `tawsiya train`"):
        read_json(report, "tawsiya train")


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open() as other:
        with path.open() as holder:
            assert try_lock(holder.fileno())
            assert not try_lock(other.fileno())
        assert try_lock(other.fileno())


def test_a_named_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="pipe is a device or the like"), replacing(pipe) as temporary:
        temporary.touch()
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
