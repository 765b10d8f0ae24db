"""What all commands share: their common options, one way to run a job, and exit codes."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_jobs.ingestion.source_mapping import load_source_config
from feature_repo.common.config import Config, ConfigError
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.lock import shop_lock

FAILED, BAD_USAGE, REFUSED = 1, 2, 3

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file; default config/default.yaml")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout")]

Answer = dict[str, Any]


def run_job(
    job: Callable[[Config], Answer | None],
    config: Path | None,
    overrides: list[str] | None,
    as_json: bool,
    show: Callable[[Answer], str] | None = None,
) -> None:
    """Loads the configuration, runs a job, prints its answer and turns errors into exit codes.

    Args:
        job: What the command does; its answer is JSON, None where it has none to give.
        config: Value of --config.
        overrides: Values of --set.
        as_json: Value of --json.
        show: The answer as text for people; None lists it line by line.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    _quiet_libraries()
    try:
        settings = load_source_config(config, overrides or ())
    except (ConfigError, FileNotFoundError) as error:
        raise _failed(error, BAD_USAGE) from None
    try:
        answer = job(settings)
    except GateRefusedError as error:
        raise _failed(error, REFUSED) from None
    except ConfigError as error:
        raise _failed(error, BAD_USAGE) from None
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise _failed(error, FAILED) from None
    if answer is None:
        return
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, default=str))
    elif text := show(answer) if show else _readable(answer):
        typer.echo(text)


def _failed(error: Exception, code: int) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(code)


def _quiet_libraries() -> None:
    """Keeps what libraries say to each other (deprecations, progress of their own) out of a command's log."""
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    for name in ("feast", "sentence_transformers", "transformers", "great_expectations", "httpx", "faiss"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _readable(answer: Answer, indent: str = "") -> str:
    """A nested answer as indented lines."""
    lines = []
    for key, value in answer.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _readable(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(line for line in lines if line)


def locked(job: Callable[[Config], Answer]) -> Callable[[Config], Answer]:
    """The same job under the shop's batch lock."""

    def run(config: Config) -> Answer:
        with shop_lock(config):
            return job(config)

    return run
