"""Values of settings before they are checked: who set each, former names, and messages about wrong ones."""

import difflib
import functools
import logging
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from feature_repo.common.config import Config, known_keys
from feature_repo.common.errors import ConfigError

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
        """Sets a dotted key to a text: as it is where the setting is a text or a path, else read as YAML.

        Args:
            key: Such as `api.port`.
            value: The text.
            origin: What messages call the place where it was set.

        Raises:
            ConfigError: The value is not YAML or is quoted, or the key lies in another one's value.
        """
        *sections, name = key.split(".")
        node = self.content
        for section in sections:
            child = node.setdefault(section, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{origin}: {section} is a value, not a section")
            node = child
        node[name] = _read(key, value, origin)
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


# ---- texts of values -------------------------------------------------------------------------------------------------


def _read(key: str, text: str, origin: str) -> Any:
    """The value that a text stands for, by the type of its setting."""
    kind = _kind(key)
    # YAML would cut the folder `/srv/shop #1` at the blank, and take `on`, `1_000` and `2024-01-31` for other types.
    if kind in ("text", "optional text"):
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            raise ConfigError(f"{origin}: {key} takes the text as it is; leave out the quotes around it")
        return None if kind == "optional text" and not text else text
    try:
        # As YAML, a value has the same type in a variable, after --set and in the file: 3, true, [view, purchase].
        return yaml.load(text, Loader=yaml.BaseLoader if kind == "texts" else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: the value is not valid YAML: {error}") from None


def _kind(key: str) -> Literal["text", "optional text", "texts", "other"]:
    """What a setting holds: a text (a path, a choice), a text or nothing, several texts, or anything else."""
    kind: Any = Config
    for name in ("data_dir" if key == OUTPUT_DIR else key).split("."):
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        kind = fields[name].annotation if name in fields else None
    kinds = get_args(kind)
    if get_origin(kind) in (tuple, frozenset):
        return "texts" if _is_text(kinds[0]) else "other"
    if type(None) in kinds and all(_is_text(one) for one in kinds if one is not type(None)):
        return "optional text"
    return "text" if _is_text(kind) else "other"


def _is_text(kind: Any) -> bool:
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return kind in (str, Path) or (bool(choices) and all(isinstance(choice, str) for choice in choices))


# ---- messages --------------------------------------------------------------------------------------------------------


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
