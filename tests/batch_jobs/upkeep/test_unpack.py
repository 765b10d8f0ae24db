"""A backup that would write or lead out of its folder is refused, with tarfile's own filter and without."""

import tarfile
from pathlib import Path

import pytest

from batch_jobs.upkeep import unpack
from batch_jobs.upkeep.unpack import unpack_backup


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member("../out")], r"'\.\./out' leads out"),
        ([member("a/../../out")], "leads out"),
        ([member("/tmp/out")], "leads out"),
        ([member("link", tarfile.SYMTYPE, "..")], "'link' leads out"),
        ([member("link", tarfile.SYMTYPE, "/tmp")], "'link' leads out"),
        # The second link is inside only as long as the first one is not followed.
        (
            [member("a/b", tarfile.DIRTYPE), member("up", tarfile.SYMTYPE, "a/b/../.."), member("up/../out")],
            "leads out",
        ),
        ([member("hard", tarfile.LNKTYPE, "/etc/passwd")], "'hard' is neither a file nor a folder nor a symbolic link"),
        ([member("pipe", tarfile.FIFOTYPE)], "'pipe' is neither"),
    ],
)
def test_nothing_leads_out_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[tarfile.TarInfo], said: str, filtered: bool
) -> None:
    if not filtered:
        monkeypatch.setattr(unpack, "_FILTER", {})  # as on Python 3.11.2
    folder, archive = tmp_path / "folder", tmp_path / "backup.tar"
    folder.mkdir()
    with tarfile.open(archive, "w") as tar:
        for one in members:
            tar.addfile(one)
    with pytest.raises(ValueError, match=rf"backup\.tar is damaged or no backup: .*{said}"):
        unpack_backup(archive, folder, "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "folder"]
