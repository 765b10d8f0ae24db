"""Releases copied between machines: whole or not at all, and only what is not here yet."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import read_json, write_json
from tests.random_release import write_random_release
from training.artifacts.gate_verdict import GATE, GATE_PASSED, GATE_REFUSED
from training.artifacts.release import (
    CURRENT,
    current_release,
    list_releases,
    promote,
    record_gate,
    verify_release,
)
from training.artifacts.release_manifest import MANIFEST
from training.artifacts.replication.release_copies import PARTIAL, pull, push
from training.artifacts.replication.release_store import LIVE_MANIFEST, ReleaseStore, ReleaseStoreError
from training.artifacts.scoring.rescorer import RESCORER_FILE, Rescorer

N_FILES = 23


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two releases of one catalogue, of which the second is live."""
    for weight in (0.0, 1.0):
        folder = write_random_release(tmp_path / "source", 30, rescorer=Rescorer(repeat_weight=weight))
        promote(folder.parent, folder.name)
    return folder.parent


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


class CountingStore(ReleaseStore):
    """Notes what is read, and breaks off after so many bytes."""

    def __init__(self, address: str, break_after: int = 10**12) -> None:
        super().__init__(address)
        self.read_files: list[str] = []
        self.left = break_after

    def chunks(self, path: str, start: int) -> Iterator[bytes]:
        self.read_files.append(path)
        for chunk in super().chunks(path, start):
            if self.left < len(chunk):
                yield chunk[: self.left]
                raise ReleaseStoreError("connection lost")
            self.left -= len(chunk)
            yield chunk


def live(releases: Path) -> Path:
    folder = current_release(releases)
    assert folder is not None
    return folder


def names(releases: Path) -> list[str]:
    return sorted(path.name for path in releases.iterdir())


# ---- copying ---------------------------------------------------------------------------------------------------------


def test_a_pulled_release_is_the_one_of_the_source(source: Path, here: Path) -> None:
    answer = pull(here, ReleaseStore(str(source)))
    name = live(source).name
    files = sum(path.stat().st_size for path in live(source).rglob("*") if path.is_file() and path.name != MANIFEST)
    assert answer == {"release": name, "files": N_FILES, "linked": 0, "bytes": files}
    assert verify_release(here / name) == verify_release(source / name)
    assert current_release(here) is None, "it is not live until promoted"
    assert names(here) == [name]


def test_a_release_can_be_named(source: Path, here: Path) -> None:
    first = list_releases(source)[0]["name"]
    assert pull(here, ReleaseStore(str(source)), first)["release"] == first
    assert names(here) == [first]


def test_only_files_that_are_not_here_are_read(source: Path, here: Path) -> None:
    first, second = (row["name"] for row in list_releases(source))
    pull(here, ReleaseStore(str(source)), first)
    store = CountingStore(str(source))
    answer = pull(here, store)
    assert store.read_files == [f"{second}/model/{RESCORER_FILE}"]
    assert answer["linked"] == N_FILES - 1
    assert answer["bytes"] == (source / second / "model" / RESCORER_FILE).stat().st_size
    same = "products.arrow"
    assert (here / first / same).stat().st_ino == (here / second / same).stat().st_ino
    shutil.rmtree(here / first)
    verify_release(here / second)


def test_a_file_here_that_is_damaged_is_read_again(source: Path, here: Path) -> None:
    first, second = (row["name"] for row in list_releases(source))
    pull(here, ReleaseStore(str(source)), first)
    (here / first / "products.arrow").write_bytes(b"damaged")
    store = CountingStore(str(source))
    pull(here, store)
    assert f"{second}/products.arrow" in store.read_files
    verify_release(here / second)


def test_a_second_pull_reads_nothing(source: Path, here: Path) -> None:
    pull(here, ReleaseStore(str(source)))
    store = CountingStore(str(source))
    assert pull(here, store)["bytes"] == 0
    assert store.read_files == []


def test_a_damaged_copy_is_mended(source: Path, here: Path) -> None:
    name = live(source).name
    pull(here, ReleaseStore(str(source)))
    (here / name / "products.arrow").write_bytes(b"damaged")
    (here / name / "unknown").write_bytes(b"")
    store = CountingStore(str(source))
    pull(here, store)
    assert store.read_files == [f"{name}/products.arrow"]
    verify_release(here / name)


@pytest.mark.parametrize("address", ["file://{folder}", "{folder}/", "memory://{unique}"])
def test_push_and_pull_through_any_store(source: Path, here: Path, tmp_path: Path, address: str) -> None:
    store = ReleaseStore(address.format(folder=tmp_path / "store", unique=uuid.uuid4()))
    first, second = (row["name"] for row in list_releases(source))
    answer = push(source, store)
    assert (answer["release"], answer["files"], answer["live"]) == (second, N_FILES, True)
    assert push(source, store)["bytes"] == 0
    assert push(source, store, first)["live"] is False
    assert store.live_name() == second
    assert pull(here, store)["release"] == second
    assert pull(here, store, first)["release"] == first
    for name in (first, second):
        assert verify_release(here / name) == verify_release(source / name)


def test_a_damaged_release_is_not_pushed(source: Path, tmp_path: Path) -> None:
    (live(source) / "products.arrow").write_bytes(b"damaged")
    with pytest.raises(GateRefusedError, match=r"products\.arrow"):
        push(source, ReleaseStore(str(tmp_path / "store")))
    assert not (tmp_path / "store").exists()


def test_the_verdict_comes_with_the_release_and_later_ones_too(source: Path, here: Path) -> None:
    name = live(source).name
    record_gate(source, name, {"verdict": GATE_REFUSED, "reasons": ["worse"]})
    pull(here, ReleaseStore(str(source)))
    with pytest.raises(GateRefusedError, match="was refused: worse"):
        promote(here, name)
    record_gate(source, name, {"verdict": GATE_PASSED, "reasons": []})
    pull(here, ReleaseStore(str(source)))
    promote(here, name)
    assert live(here).name == name


def test_the_record_of_who_forced_a_release_here_stays(source: Path, here: Path) -> None:
    name = live(source).name
    record_gate(source, name, {"verdict": GATE_REFUSED, "reasons": ["worse"]})
    pull(here, ReleaseStore(str(source)))
    promote(here, name, forced_because="the shop changed")
    pull(here, ReleaseStore(str(source)))
    assert read_json(here / name / MANIFEST, "")[GATE]["forced"]["reason"] == "the shop changed"


# ---- broken off ------------------------------------------------------------------------------------------------------


def test_a_copy_that_broke_off_goes_on_where_it_ended(source: Path, here: Path) -> None:
    whole = pull(here, ReleaseStore(str(source)))["bytes"]
    shutil.rmtree(here)
    n_read, name = 0, live(source).name
    for _ in range(whole // 700_000 + 1):
        store = CountingStore(str(source), break_after=700_000)
        try:
            n_read += pull(here, store)["bytes"]
            break
        except ReleaseStoreError:
            assert list_releases(here) == []
            assert names(here) == [f"{PARTIAL}{name}"]
    verify_release(here / name)
    assert names(here) == [name]
    assert n_read <= 700_000 < whole


def test_what_a_power_cut_left_of_a_file_is_read_again(source: Path, here: Path) -> None:
    name = live(source).name
    partial = here / f"{PARTIAL}{name}"
    partial.mkdir(parents=True)
    (partial / "products.arrow.part").write_bytes(bytes(100))
    (partial / "popularity.npy").write_bytes(b"half")
    pull(here, ReleaseStore(str(source)))
    verify_release(here / name)


KILLED = """
import os, signal, sys
from pathlib import Path
from training.artifacts.replication import release_copies
from training.artifacts.replication.release_store import ReleaseStore

class Killed(ReleaseStore):
    left = int(sys.argv[3])
    def chunks(self, path, start):
        for chunk in super().chunks(path, start):
            self.left -= len(chunk)
            yield chunk
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

release_copies.pull(Path(sys.argv[1]), Killed(sys.argv[2]))
"""


@pytest.mark.e2e
@pytest.mark.processes
def test_a_killed_copy_is_no_release_and_goes_on(source: Path, here: Path) -> None:
    name = live(source).name
    done = subprocess.run([sys.executable, "-c", KILLED, str(here), str(source), "1500000"], check=False, timeout=120)
    assert done.returncode == -9
    assert list_releases(here) == []
    store = CountingStore(str(source))
    answer = pull(here, store)
    assert 0 < len(store.read_files) < N_FILES
    assert answer["release"] == name
    verify_release(here / name)


def test_a_copy_of_another_release_that_broke_off_is_deleted(source: Path, here: Path) -> None:
    first, second = (row["name"] for row in list_releases(source))
    with pytest.raises(ReleaseStoreError):
        pull(here, CountingStore(str(source), break_after=10), first)
    pull(here, ReleaseStore(str(source)), second)
    assert names(here) == [second]


class FullDiskStore(ReleaseStore):
    """Its chunks cannot be written."""

    def chunks(self, path: str, start: int) -> Iterator[bytes]:
        next(super().chunks(path, start))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_clear_line(source: Path, here: Path) -> None:
    with pytest.raises(
        OSError, match=rf"^cannot write to {here}: the disk is full; free space there and run"
    ) as caught:
        pull(here, FullDiskStore(str(source)))
    assert "\n" not in str(caught.value)
    assert list_releases(here) == []


# ---- what cannot be trusted ------------------------------------------------------------------------------------------


def rewrite(folder: Path, **changes: Any) -> Path:
    """Makes the manifest of a release another one, under a name that fits it; returns the folder."""
    manifest = read_json(folder / MANIFEST, "") | changes
    content = {key: value for key, value in manifest.items() if key != "name"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{folder.name.partition('-')[0]}-{digest}"
    write_json(folder / MANIFEST, manifest | {"name": name})
    return folder.rename(folder.with_name(name))


@pytest.mark.parametrize(
    "file",
    [
        "../../outside",
        "/tmp/outside",
        "model/../../../outside",
        "..",
        ".",
        "",
        "a/./b",
        "a//b",
        "a\\..\\b",
        "a\0b",
        MANIFEST,
        "a/",
    ],
)
def test_a_manifest_whose_files_lead_out_is_refused(source: Path, here: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / "outside").write_bytes(b"stays")
    folder = rewrite(live(source), sha256={file: hashlib.sha256(b"evil").hexdigest()})
    with pytest.raises(ValueError, match="is damaged: wrong or missing sha256"):
        pull(here, ReleaseStore(str(source)), folder.name)
    assert names(here) == [] if here.exists() else True
    assert (tmp_path / "outside").read_bytes() == b"stays"


@pytest.mark.parametrize("sums", [None, [], {"a": 7}, {"a": "short"}, "text"])
def test_a_manifest_without_sums_is_refused(source: Path, here: Path, sums: Any) -> None:
    folder = rewrite(live(source), sha256=sums)
    with pytest.raises(ValueError, match="is damaged: wrong or missing sha256"):
        pull(here, ReleaseStore(str(source)), folder.name)


@pytest.mark.parametrize("name", ["..", "../other", "", CURRENT, "20260101T000000.000Z-0123456", 7, None])
def test_a_live_name_that_is_none_is_refused(source: Path, here: Path, name: Any) -> None:
    manifest = live(source) / MANIFEST
    write_json(manifest, read_json(manifest, "") | {"name": name})
    with pytest.raises(ValueError, match="which is none of a release"):
        pull(here, ReleaseStore(str(source)))
    assert not here.exists()


@pytest.mark.parametrize("name", ["..", "../source/current", "/etc", "a/b", CURRENT])
def test_a_name_from_the_command_line_leads_nowhere(source: Path, here: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a release"):
        pull(here, ReleaseStore(str(source)), name)


@pytest.mark.parametrize("content", [b"damaged", b""])
def test_a_file_that_does_not_match_its_sum_is_refused(source: Path, here: Path, content: bytes) -> None:
    good = (live(source) / "products.arrow").read_bytes()
    (live(source) / "products.arrow").write_bytes(content)
    with pytest.raises(ValueError, match=r"products\.arrow does not match its sum .* the release there is damaged"):
        pull(here, ReleaseStore(str(source)))
    assert list_releases(here) == []
    (live(source) / "products.arrow").write_bytes(good)
    pull(here, ReleaseStore(str(source)))
    verify_release(here / live(source).name)


def test_links_in_a_copy_are_not_followed(source: Path, here: Path, tmp_path: Path) -> None:
    partial = here / f"{PARTIAL}{live(source).name}"
    partial.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"stays")
    (partial / "products.arrow.part").symlink_to(outside)
    pull(here, ReleaseStore(str(source)))
    assert outside.read_bytes() == b"stays"


# ---- messages --------------------------------------------------------------------------------------------------------


def test_a_source_without_a_live_release_says_so(here: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no release is live in {tmp_path}/nowhere: it has no {LIVE_MANIFEST}"):
        pull(here, ReleaseStore(f"{tmp_path}/nowhere"))


def test_a_release_that_the_source_lacks_is_named(source: Path, here: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no release 20260101T000000\.000Z-01234567 in "):
        pull(here, ReleaseStore(str(source)), "20260101T000000.000Z-01234567")


@pytest.mark.parametrize("address", ["nope://bucket/path", "http://x/y"])
def test_an_address_that_nothing_opens_is_named(address: str) -> None:
    with pytest.raises(ValueError, match=f"^{address} cannot be opened: ") as caught:
        ReleaseStore(address)
    assert "\n" not in str(caught.value)


class LostConnectionFile:
    """A file of a store whose connection is lost after the first chunk."""

    def __init__(self) -> None:
        self.reads = 0

    def seek(self, place: int) -> None:
        pass

    def read(self, size: int) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return bytes(size)

    def __enter__(self) -> "LostConnectionFile":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LostConnectionStore(ReleaseStore):
    """Loses its connection within a file."""

    def _open(self, path: str) -> Any:
        return super()._open(path) if path.endswith(MANIFEST) else LostConnectionFile()


def test_a_lost_connection_is_one_clear_line(source: Path, here: Path) -> None:
    with pytest.raises(ReleaseStoreError) as caught:
        pull(here, LostConnectionStore(str(source)))
    message = str(caught.value)
    assert message.startswith(f"cannot read {source}/{live(source).name}/")
    assert message.endswith("Connection reset by peer; run the command again, it goes on from there")
    assert list_releases(here) == []


# ---- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server that speaks S3. It needs moto[server], which does not install beside constraints.txt.

    Version 5.2.1 answers CompleteMultipartUpload so that Arrow takes it for an error; 5.2.5 answers as S3 does.
    """
    command = os.environ.get("MOTO_SERVER")
    if command is None:
        pytest.skip("install moto[server]>=5.2.5 in an environment of its own and set $MOTO_SERVER to its moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "moto.log").open("w") as log:
        server = subprocess.Popen([command, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, "the server does not start"
            with contextlib.suppress(httpx.TransportError):
                httpx.put(f"http://127.0.0.1:{port}/shop").raise_for_status()
                break
            time.sleep(0.1)
        yield "s3://shop/releases"
    finally:
        server.kill()
        server.wait()


@pytest.mark.e2e
@pytest.mark.processes
def test_push_and_pull_through_s3(source: Path, here: Path, bucket: str) -> None:
    store = ReleaseStore(bucket)
    with pytest.raises(ValueError, match="no release is live in s3://shop/releases"):
        pull(here, store)
    assert push(source, store)["files"] == N_FILES
    assert push(source, store)["bytes"] == 0
    with pytest.raises(ReleaseStoreError):
        pull(here, CountingStore(bucket, break_after=1_500_000))
    again = CountingStore(bucket)
    assert pull(here, again)["release"] == live(source).name
    assert 0 < len(again.read_files) < N_FILES
    assert verify_release(here / live(source).name) == verify_release(live(source))
