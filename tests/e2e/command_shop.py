"""A shop whose commands run in processes of their own."""

import shutil
from pathlib import Path
from typing import Any

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from tests.online_api.api_shop import PATIENT
from tests.processes import Command, Finished
from training.artifacts.release import current_release, verify_release

DONE, FAILED, BAD_USAGE, REFUSED = 0, 1, 2, 3
BUYER = "b01"


class Shop:
    """A shop's folder and configuration, with readers of its results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.yaml"

    @property
    def config(self) -> Config:
        return load_config(self.config_file)

    @property
    def releases(self) -> Path:
        return shop_paths(self.config).releases

    def forget_stages(self) -> None:
        """Makes the next refresh run every stage, as in a new version."""
        shutil.rmtree(shop_paths(self.config).refreshes / "stages")

    def start(self, *arguments: str) -> Command:
        return Command(self.folder, *arguments, "--config", str(self.config_file), "--json")

    def serve(self, folder: Path) -> Command:
        """The service, with its output in a folder of its own."""
        patient = f"api.store_timeout_seconds={PATIENT['store_timeout_seconds']}"
        return Command(folder, "serve", "--config", str(self.config_file), "--set", patient)

    def run(self, *arguments: str) -> Finished:
        return self.start(*arguments).finish()

    def sequence(self, buyer: str = BUYER) -> list[list[int]]:
        """The buyer's events in the online store."""
        with feature_store(self.config) as store:
            return [part.tolist() for part in store.online.read_sequence(buyer)]


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """The part of a refresh's result that must be reproducible: all but names and times."""
    return {
        "counts": answer["counts"],
        "models": answer["evaluation"]["targets"],
        "split": answer["evaluation"]["split"],
    }


def assert_serves(shop: Shop) -> None:
    """Checks that the live release is complete, whatever a killed run left behind."""
    live = current_release(shop.releases)
    assert live is not None
    verify_release(live)


def copied_shop(original: Shop, folder: Path) -> Shop:
    """A copy, which a test may change."""
    shutil.copytree(original.folder, folder, symlinks=True)
    for name in ("config.yaml", "shop.yaml"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(str(original.folder), str(folder)))
    return Shop(folder)
