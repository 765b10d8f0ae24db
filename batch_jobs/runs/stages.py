"""A stage of `tawsiya refresh`: what it reads, what it writes, and whether it must run.

A stage is skipped if the data, settings, code and libraries that it was last made from are those of now, and its files
are as it left them. Its record says so. The record is deleted before the stage runs and written when it is done: a
stage that fails or is killed has none, so that the next run goes on there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from batch_jobs.runs.checksums import Checksums
from batch_jobs.runs.code_version import code_version, library_versions
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths, shop_paths

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore

SHOWN_NAMES = 3  # files or settings that the reason of a run names
_SAID = {
    "data": "new data",
    "settings": "new settings",
    "libraries": "other versions of libraries",
    "results": "results changed or gone",
}
# How often and where training writes, which does not change the model.
NOT_OF_THE_RESULT = ("training.mlflow_uri", "training.num_workers", "training.save_every_n_epochs", "release.keep")


@dataclass
class Work:
    """What the jobs of a run work on.

    Attributes:
        config: The configuration.
        store: The feature store, once a stage needs it.
        show_progress: Whether jobs show progress bars on stderr.
        forced_because: Why the gate of the release is overruled; None respects it.
        feed: File of prices to read instead of the shop's products; only for `--only prices`.
        price_report: What that run has read and changed, once it is done.
        published: The result of the release stage, once it has run (see batch_jobs.publish).
    """

    config: Config
    store: "FeatureStore | None" = None
    show_progress: bool = True
    forced_because: str | None = None
    feed: Path | None = None
    price_report: dict[str, Any] | None = None
    published: dict[str, Any] | None = None
    paths: ShopPaths = field(init=False)
    checksums: Checksums = field(init=False)

    def __post_init__(self) -> None:
        self.paths = shop_paths(self.config)
        self.checksums = Checksums(self.paths.refreshes / "checksums.json", self.paths.root)

    @property
    def opened_store(self) -> "FeatureStore":
        """The store; a stage that needs it runs after it was opened."""
        assert self.store is not None
        return self.store


def no_facts(_: Work) -> dict[str, str]:
    """For stages that depend on files, settings and code alone."""
    return {}


@dataclass(frozen=True)
class RefreshStage:
    """One stage.

    Attributes:
        name: Its name in logs, records and results.
        job: Its work.
        inputs: The files that it reads.
        outputs: The files that it has written, asked when it is done.
        settings: The settings that its result depends on: sections, or single ones.
        code: The source files and folders that its result depends on.
        libraries: The distributions whose versions its result depends on.
        facts: Further data that its result depends on, by name.
        always_runs: Whether it is never skipped, because it finds out by itself what is left to do.
    """

    name: str
    job: Callable[[Work], None]
    inputs: Callable[[Work], Sequence[Path]]
    outputs: Callable[[Work], Sequence[Path]]
    settings: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    facts: Callable[[Work], dict[str, str]] = no_facts
    always_runs: bool = False

    def key(self, work: Work) -> dict[str, dict[str, str]]:
        """What the result depends on: checksums of data, hashes of settings, versions of the code and of libraries."""
        return {
            "data": work.checksums.of(self.inputs(work)) | self.facts(work),
            "settings": hashed_settings(work.config, self.settings),
            "code": {"code": code_version(self.code)},
            "libraries": library_versions(self.libraries),
        }


@dataclass(frozen=True)
class Difference:
    """Why a stage must run.

    Attributes:
        kind: `new` without a record, `data`, `settings`, `code`, `libraries`, or `results` that are not as the stage
            left them.
        names: The files, settings or libraries that differ.
    """

    kind: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "new":
            return "no finished run of it"
        if self.kind == "code":
            return "new code"
        more = len(self.names) - SHOWN_NAMES
        listed = ", ".join(self.names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
        return f"{_SAID[self.kind]}: {listed}"


def differences(record: Mapping[str, Any] | None, key: Mapping[str, dict[str, str]], work: Work) -> list[Difference]:
    """What differs from the stage's last result; nothing if it can be skipped."""
    if record is None:
        return [Difference("new")]
    kinds = {kind: _changed(record["key"].get(kind, {}), now) for kind, now in key.items()}
    kinds["results"] = _changed(record["outputs"], work.checksums.of_names(record["outputs"]))
    return [Difference(kind, names) for kind, names in kinds.items() if names]


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))


def hashed_settings(config: Config, names: Sequence[str]) -> dict[str, str]:
    """A hash of each setting, by its dotted name: a value may be a buyer's id or a password."""
    values: dict[str, str] = {}
    for name in names:
        node: Any = config
        for part in name.split("."):
            node = getattr(node, part)
        values |= {key: text for key, text in _flat(node, name) if key not in NOT_OF_THE_RESULT}
    return {key: hashlib.sha256(text.encode()).hexdigest()[:16] for key, text in values.items()}


def _flat(node: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(node, BaseModel):
        return [pair for part in type(node).model_fields for pair in _flat(getattr(node, part), f"{name}.{part}")]
    value = sorted(node) if isinstance(node, set | frozenset) else node
    return [(name, json.dumps(value, default=str))]


# ---- records ---------------------------------------------------------------------------------------------------------


def read_stage_record(paths: ShopPaths, name: str) -> dict[str, Any] | None:
    """The record of a stage's last result; None if it has none, or a damaged one."""
    try:
        record = json.loads(_path(paths, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and all(isinstance(record.get(part), dict) for part in ("key", "outputs"))
    return record if whole else None


def delete_stage_record(paths: ShopPaths, name: str) -> None:
    """Deletes the record, before the stage runs."""
    _path(paths, name).unlink(missing_ok=True)


def write_stage_record(work: Work, stage: RefreshStage, key: Mapping[str, dict[str, str]], run: str) -> None:
    """Records a result, when the stage is done."""
    content = {"stage": stage.name, "run": run, "key": key, "outputs": work.checksums.of(stage.outputs(work))}
    write_json(_path(work.paths, stage.name), content)


def _path(paths: ShopPaths, name: str) -> Path:
    return paths.refreshes / "stages" / f"{name}.json"
