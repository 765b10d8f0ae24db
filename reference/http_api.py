"""docs/reference/api.md: every route and every type of its bodies, from the OpenAPI document of the application."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from feature_repo.common.config import Config
from online_api.app import create_app
from online_api.routes.dependencies import PROBLEM_DESCRIPTIONS
from reference.api_examples import EXAMPLES, Example
from reference.markdown import code, table

Schema = dict[str, Any]
ADDRESS = "http://127.0.0.1:8000"
JSON_MEDIA = "application/json"
PROBLEM = "[Problem](#problem)"
HEAD = """# HTTP API: every route

Parameters with their limits, bodies, answers, errors and an example of each route. How to use them, with pages,
languages, events and what happens when a part is down: [api.md](../api.md). Scopes of keys:
[routes](../api.md#routes).

Routes that need a key take `X-API-Key: tw_...`; most also take a
[buyer token](../security.md#buyer-tokens-calls-from-a-browser) instead. The examples are for an API without keys, on
loopback. Errors are `application/problem+json` of type [Problem](#problem). The server has the same as an OpenAPI
document at `/openapi.json`, and as a page at `/docs`.

This page is made by `python -m reference` from the code; a test sends every example.
"""


def page() -> str:
    """The whole page."""
    document = create_app(Config()).openapi()
    lines = [HEAD]
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            lines += _route(f"{method.upper()} {path}", operation)
    lines += ["## Errors", ""]
    lines += table(("status", "meaning"), [(str(status), text) for status, text in PROBLEM_DESCRIPTIONS.items()])
    lines += ["## Types", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", *_lines(schema.get("description", "")), *_fields(schema)]
    return "\n".join(lines)


def _route(name: str, operation: Schema) -> Iterator[str]:
    """The section of one route."""
    yield from (f"## {name}", "", operation["description"], "", f"Needs: {_credentials(operation)}.", "")
    yield from table(
        ("parameter", "in", "value", "default", "meaning"),
        [
            (
                code(one["name"]),
                one["in"],
                _kind(one["schema"]),
                _default(one["schema"], one["required"]),
                _meaning(one),
            )
            for one in operation.get("parameters", ())
        ],
    )
    if body := operation.get("requestBody"):
        yield from (f"Body: {_kind(body['content'][JSON_MEDIA]['schema'])}", "")
    bodies = {status: _body(answer) for status, answer in sorted(operation["responses"].items())}
    good = [f"{status}" + (f" with {kind}" if kind else "") for status, kind in bodies.items() if kind != PROBLEM]
    yield from (f"Answers: {'; '.join(good)}", "")
    if errors := [status for status, kind in bodies.items() if kind == PROBLEM]:
        yield from (f"[Errors](#errors): {', '.join(errors)}", "")
    yield from ("```sh", curl(name.split()[0], EXAMPLES[name]), "```", "")


def curl(method: str, example: Example) -> str:
    """The command that sends an example."""
    url = f"'{ADDRESS}{quote(example.path, safe='/?&=,-')}'"
    if method == "GET":
        return f"curl {url}"
    if example.body is None:
        return f"curl -X POST {url}"
    body = json.dumps(example.body, ensure_ascii=False)
    return f"curl -H 'content-type: application/json' {url} \\\n  -d '{body}'"


def _credentials(operation: Schema) -> str:
    names = {name for choice in operation.get("security", ()) for name in choice}
    return {0: "nothing", 1: "a key", 2: "a key or a buyer token"}[len(names)]


def _body(answer: Schema) -> str:
    """The type of an answer's body; empty if the document has none."""
    schemas = [media["schema"] for media in answer.get("content", {}).values() if media.get("schema")]
    return _kind(schemas[0]) if schemas else ""


def _fields(schema: Schema) -> Iterator[str]:
    """The table of an object's fields."""
    required = schema.get("required", ())
    yield from table(
        ("field", "value", "default", "meaning"),
        [
            (code(name), _kind(field), _default(field, name in required), _meaning(field))
            for name, field in schema.get("properties", {}).items()
        ],
    )


def _kind(schema: Schema) -> str:
    """A type in words, with its limits; a link for an object."""
    # FastAPI writes some types out where they are used; their title is their name.
    name = schema.get("title", "") if "properties" in schema else schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf"):
        return " or ".join(_kind(choice) for choice in choices)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return ", ".join(map(code, values))
    kind = {"integer": "whole number", "string": "text", "null": "`null`"}.get(
        schema.get("type", ""), schema.get("type")
    )
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}" + ("," if "maxItems" in schema else "")
    elif isinstance(inner := schema.get("additionalProperties"), dict):
        kind = f"object of {_kind(inner)}"
    return " ".join([kind or "any", *_limits(schema)])


def _in_url(schema: Schema) -> str:
    """The type of a parameter: a URL cannot say null."""
    return _kind({**schema, "anyOf": [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]})


def _limits(schema: Schema) -> Iterator[str]:
    """The limits of a value; those of texts count characters and those of lists count items."""
    low = next((schema[name] for name in ("minimum", "minLength", "minItems") if name in schema), None)
    high = next((schema[name] for name in ("maximum", "maxLength", "maxItems") if name in schema), None)
    unit = {"string": " characters", "array": " items"}.get(schema.get("type", ""), "")
    if low is not None:
        yield f"from {low}" + (unit if high is None else "")
    if high is not None:
        yield f"to {high}{unit}" if low is not None else f"up to {high}{unit}"


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "required"
    return code(json.dumps(schema["default"], ensure_ascii=False)) if schema.get("default") is not None else ""


def _meaning(field: Schema) -> str:
    """The description of a field or parameter, wherever the document has it."""
    schemas = [field, field.get("schema", {}), *field.get("schema", field).get("anyOf", ())]
    return next((one["description"] for one in schemas if one.get("description")), "")


def _lines(description: str) -> Iterator[str]:
    """The first paragraph of a type's docstring."""
    if first := re.split(r"\n\s*\n", description.strip())[0]:
        yield from (" ".join(first.split()), "")
