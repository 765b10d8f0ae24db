"""What the shell offers when a word is completed: settings, releases, runs, sources, keys.

A shell waits for it at each press of the tab key, so nothing here imports more than the configuration. Where that
cannot be read, nothing is offered: the command itself will say why.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from feature_repo.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_repo.common.config import Config
    from feature_repo.common.paths import ShopPaths

SOURCES = Path("config/sources")


def complete_setting(incomplete: str) -> list[str]:
    """`section.key=` for --set; behind the sign the values of a setting that has few."""
    key, sign, value = incomplete.partition("=")
    if sign:
        return [f"{key}={choice}" for choice in _choices(key) if choice.startswith(value)]
    return [f"{name}=" for name in _settings() if name.startswith(incomplete)]


def complete_release(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the shop's releases, the newest first."""
    paths = _paths(context)
    found = [] if paths is None else [path.name for path in paths.releases.glob("[!.]*") if path.is_dir()]
    # Not a copy in the making, whose name begins with a dot; `current` is the link to the live one.
    return sorted((name for name in found if name != "current" and name.startswith(incomplete)), reverse=True)


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the runs, `last` and then the newest first."""
    paths = _paths(context)
    # Their ids begin with the date; what else lies there is no record of a run.
    found = [] if paths is None else [path.stem for path in paths.refreshes.glob("[0-9]*.json")]
    return [name for name in ["last", *sorted(found, reverse=True)] if name.startswith(incomplete)]


def complete_source(incomplete: str) -> list[str]:
    """Names of the source mappings of this project's folder."""
    return sorted(path.stem for path in SOURCES.glob("*.yaml") if path.stem.startswith(incomplete))


def complete_key(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the API keys."""
    from feature_repo.access.api_keys import api_keys_path, read_keys

    config = _config(context)
    try:
        keys = [] if config is None else read_keys(api_keys_path(config))
    except (ValueError, OSError):
        return []
    return sorted(key.name for key in keys if key.name.startswith(incomplete))


def _config(context: typer.Context) -> Config | None:
    """The configuration, with the options that the command line has so far."""
    from feature_repo.common.config_loading import load_config

    try:
        return load_config(context.params.get("config"), context.params.get("overrides") or ())
    except (ConfigError, OSError):
        return None


def _paths(context: typer.Context) -> ShopPaths | None:
    from feature_repo.common.paths import shop_paths

    config = _config(context)
    return None if config is None else shop_paths(config)


def _settings() -> Iterator[str]:
    """Every setting that has a value, not the sections around them."""
    from feature_repo.common.config import known_keys

    keys = list(known_keys())
    sections = {key.rpartition(".")[0] for key in keys}
    return (key for key in keys if key not in sections)


def _choices(key: str) -> list[str]:
    """The values of a setting that is a choice or yes and no; empty for any other."""
    from feature_repo.common.config import Config

    section: Any = Config
    for name in key.split("."):
        field = getattr(section, "model_fields", {}).get(name)
        if field is None:
            return []
        section = field.annotation
    if section is bool:
        return ["false", "true"]
    return [value for value in get_args(section) if isinstance(value, str)]
