"""docs/configuration.md: every setting with its variable, type, limits and default, from the configuration classes."""

import types
from collections.abc import Iterator
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from feature_repo.common.config import Config
from reference.markdown import code, table

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

Below each setting stands its variable. This page is made by `python -m reference` from `feature_repo/settings/`.
"""
# Limits of pydantic's field constraints, in the words of the page.
LIMITS = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_section(Config, "")])


def _section(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """A table of the section's own settings, then its sub-sections."""
    settings = {name: field for name, field in section.model_fields.items() if not _is_section(field.annotation)}
    if settings:
        yield from (f"## {prefix.rstrip('.') or 'Top level'}", "", (section.__doc__ or "").strip(), "")
        rows = [_setting(f"{prefix}{name}", field) for name, field in settings.items()]
        yield from table(("setting and variable", "value", "default", "meaning"), rows)
    for name, field in section.model_fields.items():
        if _is_section(field.annotation):
            yield from _section(field.annotation, f"{prefix}{name}.")


def _setting(key: str, field: FieldInfo) -> tuple[str, ...]:
    names = f"{code(key)}<br>{code(f'TAWSIYA__{key.replace(chr(46), chr(95) * 2).upper()}')}"
    return names, _kind(field), code(_shown(field.default)), str(field.description)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(field: FieldInfo) -> str:
    """The type of a setting's value, with its limits or its choices."""
    kind = _type(field.annotation)
    limits = [
        f"{word} {getattr(limit, name):g}"
        for name, word in LIMITS.items()
        for limit in field.metadata
        if getattr(limit, name, None) is not None
    ]
    return " ".join([kind, *limits])


def _type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), [part for part in get_args(annotation) if part is not type(None)]
    if origin is Literal:
        return ", ".join(map(code, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, inner)) + (" or `null`" if type(None) in get_args(annotation) else "")
    if origin is dict:
        return "object"
    if origin is not None:
        return f"list of {_type(inner[0])}"
    return {"str": "text", "Path": "path", "int": "whole number", "float": "number", "bool": "`true` or `false`"}[
        annotation.__name__
    ]


def _shown(default: object) -> str:
    if isinstance(default, frozenset):
        return ", ".join(sorted(default))
    if isinstance(default, tuple):
        return f"[{', '.join(map(str, default))}]"
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
