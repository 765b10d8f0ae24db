"""Sets up a shop: its mapping file from a preview of its files, and the settings that name it in `.env`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import set_key

from batch_jobs.ingestion.preview import preview
from batch_jobs.ingestion.source_mapping import SOURCES_FOLDER
from batch_jobs.preview_text import found_text
from feature_repo.common.config import Config
from feature_repo.common.config_loading import ENV_FILE, ENV_PREFIX, environment
from feature_repo.common.errors import ConfigError
from feature_repo.common.files import replacing

# A name is that of a file and of a folder.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def mapping_file(name: str, *, replace: bool) -> Path:
    """Where the mapping of the shop will lie.

    Raises:
        ConfigError: The name is none for a file, or taken and not to be replaced.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: use small letters a to z, digits, - and _, at most 63 of them")
    path = SOURCES_FOLDER / f"{name}.yaml"
    if path.exists() and not replace:
        raise ConfigError(f"{path} exists; choose another --name, or replace it with --replace")
    return path


def init_shop(config: Config, name: str, *, replace: bool) -> dict[str, Any]:
    """Writes the mapping file and the settings of a shop.

    Args:
        config: Its source, paths and further data settings are those of the files.
        name: Name of the shop.
        replace: Whether a mapping file of this name may be replaced.

    Returns:
        {"mapping_file": path, "settings": {variable: value} as written to `.env`, "preview": see preview}.

    Raises:
        ConfigError: There is a mapping file of this name.
        FileNotFoundError, ValueError: As preview.
    """
    path = mapping_file(name, replace=replace)
    seen = preview(config)
    settings = _settings(config, name)
    with replacing(path) as temporary:
        temporary.write_text(seen["mapping"], encoding="utf-8")
    _write_settings(settings)
    return {"mapping_file": str(path), "settings": settings, "preview": seen}


def _settings(config: Config, name: str) -> dict[str, str]:
    """What `.env` says of the shop; the zone in any case, because the file may have that of another shop."""
    settings = {"SOURCE": name, "TIMEZONE": config.data.timezone}
    if config.data.date_order:
        settings["DATE_ORDER"] = config.data.date_order
    return {f"{ENV_PREFIX}DATA__{key}": value for key, value in settings.items()}


def _write_settings(settings: Mapping[str, str]) -> None:
    # It will hold secrets too (docs/security.md).
    ENV_FILE.touch(mode=0o600)
    for variable, value in settings.items():
        set_key(ENV_FILE, variable, value, quote_mode="auto", encoding="utf-8")


def init_text(result: Mapping[str, Any]) -> str:
    """What the files say, what was written, and the next commands."""
    settings = "".join(f"\n  {variable}={value}" for variable, value in result["settings"].items())
    in_force = environment()
    hidden = [variable for variable, value in result["settings"].items() if in_force.get(variable) != value]
    lines = [
        found_text(result["preview"]),
        f"Written: {result['mapping_file']}, and in {ENV_FILE}:{settings}",
        *(f"warning: the environment has another {variable}, which counts before {ENV_FILE}" for variable in hidden),
        "Look at the columns above. If one is wrong or missing, mend it in the mapping file and check it with",
        "  tawsiya ingest --preview",
        "Then make a release, and serve it:",
        "  tawsiya refresh",
        "  tawsiya serve",
    ]
    return "\n".join(lines)
