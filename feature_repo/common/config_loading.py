"""Loading of the configuration.

A value comes from the first of: `--set section.key=value`, the environment (`TAWSIYA__SECTION__KEY=value`), the same in
a `.env` file in the working directory, the YAML file, the `training` section of the source's subset (see
batch_jobs.ingestion.source_mapping), the built-in default. An unknown key is an error that suggests the nearest valid
key; otherwise a misspelt setting would silently have no effect.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from pydantic import ValidationError

from feature_repo.common.config import Config
from feature_repo.common.config_values import Values
from feature_repo.common.errors import ConfigError
from feature_repo.common.files import read_utf8

ENV_PREFIX = "TAWSIYA__"
ENV_FILE = Path(".env")
DEFAULT_CONFIG = Path("config/default.yaml")
# Variables that may hold a secret. Each may be given as NAME_FILE, the path of a file with the value: where containers
# run, secrets are files, and an environment is shown to whoever may inspect the container.
SECRET_VARIABLES = ("TAWSIYA_REDIS", "TAWSIYA_BUYER_TOKEN_SECRETS", "TAWSIYA_LOG_SALT", "TAWSIYA_MILVUS_TOKEN")
_FILE_SUFFIX = "_FILE"


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Loads and checks the configuration.

    Args:
        path: The YAML file; None reads `config/default.yaml`.
        overrides: `section.key=value` strings; see Values.assign for how a value is read.
        environ: The environment; None takes the process's, over the `.env` file.
        defaults: Values by section and key that replace the built-in defaults.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The content is not usable; the message names each wrong key and where it was set.
    """
    path = _existing(path)
    values = Values(read_yaml(path), path)
    # The lowest priority first: each later source overwrites what is assigned already.
    if environ is None:
        _add_variables(values, _env_file(), "{name} in {file}")
        environ = os.environ
    _add_variables(values, environ, "${name}")
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise ConfigError(f"--set {override}: expected section.key=value")
        values.assign(key.strip(), value, origin=f"--set {override}")
    values.translate()
    # The defaults of a subset lose against a setting from anywhere else.
    for section, settings in (defaults or {}).items():
        values.content[section] = {**settings, **(values.content.get(section) or {})}
    try:
        return Config.model_validate(values.content)
    except ValidationError as error:
        raise ConfigError(values.explain(error)) from None


def environment() -> dict[str, str]:
    """The process's environment, over a `.env` file in the working directory, with the secrets that are in files.

    Raises:
        ConfigError: `.env` is not UTF-8, or a secret cannot be read from its file.
    """
    return with_secrets({**_env_file(), **os.environ})


def with_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, and those of SECRET_VARIABLES that NAME_FILE gives; no message repeats a secret.

    Raises:
        ConfigError: A variable is given twice, a file cannot be read, or NAME_FILE is of no secret.
    """
    files = {
        name.removesuffix(_FILE_SUFFIX): Path(path)
        for name, path in variables.items()
        if name.startswith("TAWSIYA_") and not name.startswith(ENV_PREFIX) and name.endswith(_FILE_SUFFIX)
    }
    for name in files:
        if name not in SECRET_VARIABLES:
            raise ConfigError(
                f"${name}{_FILE_SUFFIX}: no secret has this name; there are {', '.join(SECRET_VARIABLES)}"
            )
        if name in variables:
            raise ConfigError(f"${name} and ${name}{_FILE_SUFFIX} are both set; leave one out")
    return {**variables, **{name: _secret(f"${name}{_FILE_SUFFIX}", path) for name, path in files.items()}}


def _secret(origin: str, path: Path) -> str:
    """The content of a secret's file, without the newline that editors and `echo` put at its end."""
    try:
        return read_utf8(path).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"{origin}: {path} cannot be read: {error.strerror or error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds an empty one.

    Raises:
        ConfigError: It is not UTF-8, not YAML, or no mapping.
    """
    try:
        # safe_load: YAML tags must not run code.
        content = yaml.safe_load(read_utf8(path))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections (a YAML mapping), not a {type(content).__name__}")
    return content


def _existing(path: Path | None) -> Path:
    if path is None:
        if not DEFAULT_CONFIG.is_file():
            raise FileNotFoundError(
                f"no {DEFAULT_CONFIG} in {Path.cwd()}; run tawsiya in the project's folder or name a file with --config"
            )
        return DEFAULT_CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"configuration file {path} does not exist; name one with --config")
    return path


def _add_variables(values: Values, variables: Mapping[str, str], origin: str) -> None:
    """Assigns each TAWSIYA__SECTION__KEY; `origin` is what messages call it."""
    # Sorted, so that the variable of a whole section comes before those of its keys and does not erase them.
    for name, value in sorted(variables.items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            values.assign(key, value, origin.format(name=name, file=ENV_FILE))


def _env_file() -> dict[str, str]:
    if not ENV_FILE.is_file():
        return {}
    variables = dotenv_values(stream=io.StringIO(read_utf8(ENV_FILE)))
    # A line without `=` has the value None; os.environ knows no such variable.
    return {name: value for name, value in variables.items() if value is not None}
