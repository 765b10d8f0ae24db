"""Writes docs/configuration.md from the configuration classes: `python docs/reference.py`; a test compares them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from feature_repo.common.config import Config

TARGET = Path(__file__).with_name("configuration.md")
HEAD = """# Configuration

One YAML file: `--config`, or `config/default.yaml` in the working directory. Each value comes from the first of these:

1. `--set section.key=value`
2. the environment: `TAWSIYA__SECTION__KEY=value`
3. the same in a file `.env` in the working directory
4. the YAML file
5. the `training` section of the source's subset ([sources.md](sources.md#the-mapping-file))
6. the default

In `--set` and in variables a text or a path is taken as it is, without quotes; other values are YAML. Files are UTF-8.
Unknown keys are refused. A message about a wrong value says where it was set. `tawsiya config show` prints the values
in force.

If `feature_store.online` is `redis`, two more variables, from the environment or `.env`, name the server:
`TAWSIYA_REDIS` (`host:port,option=value,...`) and `TAWSIYA_REDIS_TYPE` (`redis` or `redis_cluster`).

`TAWSIYA_BUYER_TOKEN_SECRETS`, from the same places, has the secrets of
[buyer tokens](security.md#buyer-tokens-calls-from-a-browser), separated by blanks.
`TAWSIYA_MILVUS_TOKEN` has the token or `user:password` of [Milvus](scaling.md#milvus).

The `config.yaml` of the two-tower system that Tawsiya replaces loads as it is: `data.output_dir` is read as
`data_dir`, and `data.source` is `csv`. These settings are ignored with a warning: `training.validation_split`,
`training.checkpoint_dir`, `inference.embeddings_dir`, `inference.index_dir`, `inference.model_checkpoint`.

This page is made by `python docs/reference.py` from `feature_repo/settings/`.
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "\n".join(_section(Config, ""))


def _section(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """A table of the section's own settings, then its sub-sections."""
    settings = {name: field for name, field in section.model_fields.items() if not _is_section(field.annotation)}
    if settings:
        yield f"\n## {prefix.rstrip('.') or 'Top level'}\n\n{(section.__doc__ or '').strip()}\n"
        yield "| setting | default | meaning |\n|---|---|---|"
        for name, field in settings.items():
            yield f"| `{prefix}{name}` | `{_shown(field.default)}` | {field.description}{_choices(field)} |"
    for name, field in section.model_fields.items():
        if _is_section(field.annotation):
            yield from _section(field.annotation, f"{prefix}{name}.")


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _choices(field: FieldInfo) -> str:
    """The values that a setting may have, unless its description names them all."""
    values = [f"`{value}`" for value in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    return "" if all(value in str(field.description) for value in values) else f" ({', '.join(values)})"


def _shown(default: object) -> str:
    if isinstance(default, frozenset):
        return ", ".join(sorted(default))
    if isinstance(default, tuple):
        return f"[{', '.join(map(str, default))}]"
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    TARGET.write_text(reference() + "\n", encoding="utf-8")
