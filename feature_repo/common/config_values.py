"""Values of settings before they are checked: who set each, former names, and messages about wrong ones."""

import difflib
import functools
import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from feature_repo.common.config import ConfigError, known_keys

# Settings that have another name now.
RENAMED = {
    "api.max_waiting": "api.max_queue",
    "data.ask": "data.evaluation_unit",
    "data.cut": "data.use_subset",
    "expectations.warnings": "expectations.warn_only",
    "training.weigh_events": "training.weight_targets_by_event",
}

# The config.yaml of the two-tower system that Tawsiya replaces loads as it is. These of its settings differ here.
OUTPUT_DIR = "data.output_dir"
IGNORED = {
    "training.validation_split": "validation takes as many days as data.test_days",
    "training.checkpoint_dir": "checkpoints are stored under data_dir",
    "inference.embeddings_dir": "embeddings are stored under data_dir",
    "inference.index_dir": "the index is stored under data_dir",
    "inference.model_checkpoint": "the model is stored under data_dir",
}

log = logging.getLogger(__name__)


class Values:
    """The values of a file, and what the environment and `--set` put over them.

    Attributes:
        content: Nested dicts, as Config validates them.
    """

    def __init__(self, content: dict[str, Any], file: Path) -> None:
        """Starts with what `file` holds."""
        self.content = content
        self._file = file
        self._origins: dict[str, str] = {}  # dotted key -> variable or --set; the file set all others

    def assign(self, key: str, value: str, origin: str) -> None:
        """Sets a dotted key to `value`, read as YAML.

        Args:
            key: Such as `api.port`.
            value: YAML.
            origin: What messages call the place where it was set.

        Raises:
            ConfigError: The value is not YAML, or the key lies in another one's value.
        """
        *sections, name = key.split(".")
        node = self.content
        for section in sections:
            child = node.setdefault(section, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{origin}: {section} is a value, not a section")
            node = child
        try:
            # As YAML, a value has the same type in a variable, after --set and in the file: 3, true, [view, purchase].
            node[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{origin}: the value is not valid YAML: {error}") from None
        # A section that is set as a whole replaces the settings in it.
        self._origins = {known: of for known, of in self._origins.items() if not known.startswith(f"{key}.")}
        self._origins[key] = origin

    def translate(self) -> None:
        """Replaces the settings of the former system; a warning for each says what to use."""
        folder = self._take(OUTPUT_DIR)
        if folder is not None:
            _warn(f"{self._origin(OUTPUT_DIR)}: {OUTPUT_DIR} is called data_dir here; use data_dir")
            self.content.setdefault("data_dir", folder)
        for key, instead in IGNORED.items():
            if self._take(key) is not None:
                _warn(f"{self._origin(key)}: {key} is ignored: {instead}; remove it")

    def explain(self, error: ValidationError) -> str:
        """All that is wrong with the values, a line each: where it was set, which key, and what to do."""
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                message = _unknown(key)
            else:
                message = f"{key or 'configuration'}: {item['msg']} (got {item['input']!r})"
            lines.append(f"{self._origin(key)}: {message}")
        return "the configuration is not usable:\n  " + "\n  ".join(lines)

    def _origin(self, key: str) -> str:
        """Where a key was set, or its section, or else the settings within it."""
        parts = key.split(".")
        # From the key up to its section: a key may have been set with its whole section.
        for length in range(len(parts), 0, -1):
            if origin := self._origins.get(".".join(parts[:length])):
                return origin
        # An error of a whole section (settings that do not go together) names all places that set a part of it.
        within = [origin for known, origin in self._origins.items() if known.startswith(f"{key}.")]
        return ", ".join(within) or str(self._file)

    def _take(self, key: str) -> object:
        """Removes a setting and returns its value; None where there is none."""
        section, name = key.split(".")
        values = self.content.get(section)
        return values.pop(name, None) if isinstance(values, dict) else None


def _unknown(key: str) -> str:
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}"
    nearest = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else "; see `tawsiya config show` for the valid keys"
    return f"{key}: unknown key{hint}"


@functools.cache
def _warn(message: str) -> None:
    """Logs a message once, however often a command loads its configuration."""
    log.warning("%s", message)
