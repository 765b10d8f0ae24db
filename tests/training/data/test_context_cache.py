"""Training contexts on disk: the same as those that were made, made once, and again only of another version."""

from pathlib import Path

import numpy as np
import pytest

from tests.synthetic import two_groups
from training.data.context_cache import cached_contexts
from training.data.contexts import Contexts

VERSION = "1"


class Maker:
    """Makes contexts and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Contexts:
        self.calls += 1
        return two_groups(20 + self.calls)


def assert_same(left: Contexts, right: Contexts) -> None:
    for name in ("buyer_ids", "times_us", "starts", "ends"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for part in ("timelines", "targets"):
        for name, array in vars(getattr(left, part)).items():
            assert getattr(getattr(right, part), name).dtype == array.dtype
            np.testing.assert_array_equal(getattr(getattr(right, part), name), array)


def test_what_was_kept_is_what_was_made(tmp_path: Path) -> None:
    maker = Maker()
    first = cached_contexts(tmp_path / "set", VERSION, maker)
    assert_same(two_groups(21), first)
    assert_same(two_groups(21), cached_contexts(tmp_path / "set", VERSION, maker))
    assert maker.calls == 1


def test_ids_in_any_script_come_back_as_text(tmp_path: Path) -> None:
    contexts = two_groups(3)
    contexts.buyer_ids[:] = ["مشتري ١", "b", "مشتري ١"]
    kept = cached_contexts(tmp_path / "set", VERSION, lambda: contexts)
    assert kept.buyer_ids.tolist() == ["مشتري ١", "b", "مشتري ١"]


def test_timelines_are_mapped_not_read(tmp_path: Path) -> None:
    kept = cached_contexts(tmp_path / "set", VERSION, Maker())
    for array in (kept.timelines.products, kept.timelines.event_times, kept.times_us):
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_another_version_is_made_anew_and_replaces_the_old(tmp_path: Path) -> None:
    maker = Maker()
    cached_contexts(tmp_path / "set", VERSION, maker)
    assert len(cached_contexts(tmp_path / "set", "2", maker)) == 22
    assert len(list((tmp_path / "set").iterdir())) == 1


def test_a_writer_that_was_killed_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cached_contexts(tmp_path / "set", VERSION, maker)
    assert len(cached_contexts(tmp_path / "set", VERSION, maker)) == 22
    assert [path.name[0] == "." for path in (tmp_path / "set").iterdir()] == [False]
