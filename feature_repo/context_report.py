"""The report of the contexts, which is written last and says which files belong to it."""

from typing import Any

from feature_repo.common.files import read_json, sha256
from feature_repo.common.formats import require_format
from feature_repo.common.paths import ShopPaths

CONTEXT_FORMAT = 1  # increment it when the contexts or their report are written otherwise
_BUILD = "tawsiya train"  # it builds contexts that are not of this format again


def context_checksums(paths: ShopPaths) -> dict[str, str]:
    """The SHA-256 sums of the contexts and of their sequences."""
    return {"contexts": sha256(paths.contexts), "context_sequences": sha256(paths.context_sequences)}


def read_context_report(paths: ShopPaths) -> dict[str, Any]:
    """Reads the report of the contexts if both files are those that it was written for.

    Raises:
        FileNotFoundError: There are no contexts yet.
        ValueError: A file is of another build, such as of one that was killed, or of another version of Tawsiya.
    """
    report = read_json(paths.context_report, _BUILD)
    require_format(report.get("format_version"), CONTEXT_FORMAT, paths.context_report, remake=_BUILD)
    for path in (paths.contexts, paths.context_sequences):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; run `{_BUILD}` to build the contexts again")
    if report.get("checksums") != context_checksums(paths):
        raise ValueError(
            f"{paths.contexts} and {paths.context_sequences} are not of one build; run `{_BUILD}` to build them again"
        )
    return report
