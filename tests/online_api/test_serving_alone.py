"""The API as its image runs it: without the packages of the extra `batch`, and without writing beside its data."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from batch_jobs.commands.job_runner import BATCH_PACKAGES
from feature_repo.common.config import Config
from tests.online_api.shop_variants import copied, with_settings
from tests.online_api.test_api_operation import command_line, free_port, wait_until_healthy
from training.artifacts.recommender import Recommender

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PACKAGES = ("feature_repo", "expectations", "training", "batch_jobs", "online_api")
# Jinja2 comes with torch.
ABSENT = sorted(BATCH_PACKAGES - {"jinja2"})
TAWSIYA = f"""
import sys
from importlib.machinery import PathFinder

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
from batch_jobs.cli import main
main()
"""


def without_rights() -> list[str]:
    """Makes permissions count for root, too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, with which root gives up its rights, is missing")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """Folders of the code, of a home, and of the batch jobs' data that nobody may write to."""
    folder = tmp_path / "image"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "home").mkdir()
    (folder / "shared").mkdir()
    folders = [path for path in (folder, *folder.rglob("*")) if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    yield folder
    for path in folders:
        path.chmod(0o755)


def test_the_extra_is_no_dependency_of_the_api() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.partition("=")[0].partition(">")[0] for line in project["optional-dependencies"]["batch"]}
    assert {name.replace("-", "_") for name in names} == BATCH_PACKAGES
    assert not [line for line in project["dependencies"] if line.startswith(tuple(names))]


def test_it_serves_from_a_read_only_image_without_the_extra(
    config: Config, recommender: Recommender, image: Path, tmp_path: Path
) -> None:
    assert recommender
    api = {"port": free_port(), "log_folder": tmp_path / "log", "shared_data_dir": image / "shared"}
    shop = with_settings(copied(config, tmp_path / "var"), api=api)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    variables = os.environ | {"HOME": str(image / "home"), "PYTHONPATH": str(image), "TMPDIR": str(temporary)}
    refused = subprocess.run(
        [*without_rights(), "touch", str(image / "home" / "file")], capture_output=True, check=False
    )
    assert refused.returncode != 0
    words = [*without_rights(), sys.executable, "-c", TAWSIYA, *command_line(shop, tmp_path)]
    with subprocess.Popen(words, cwd=image, env=variables, stderr=subprocess.PIPE, text=True) as server:
        try:
            wait_until_healthy(shop, lambda: server.poll() is None)
            with httpx.Client(base_url=f"http://127.0.0.1:{shop.api.port}", timeout=30) as client:
                assert len(client.get("/v1/buyers/u1/recommendations").json()["items"]) == 5
                event = {"buyer_id": "guest", "product_id": "p1", "event_type": "view"}
                taken = client.post("/v1/events", json={"events": [event]}).json()
                assert (taken["accepted"], taken["pending"]) == (1, 0)
                assert client.get("/readyz").status_code == 200
            assert len(list((tmp_path / "log" / "event_log").glob("*.jsonl"))) == 1
        finally:
            server.terminate()
            _, log = server.communicate(timeout=60)
    assert server.returncode == 0, log


@pytest.mark.parametrize(
    ("words", "package"),
    [(["validate"], "great_expectations"), (["train"], "tensorboard")],
)
def test_a_command_that_needs_the_extra_says_so(words: list[str], package: str, config: Config, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", TAWSIYA, *words, "--config", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    message = f"error: this command needs {package}, which the API alone does not: run `pip install 'tawsiya[batch]'`\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
