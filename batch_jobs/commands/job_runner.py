"""Shared by all commands: common options, exit codes, and the function that runs a job."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_jobs.console.completion import complete_setting
from batch_jobs.runs.run_log import JsonLines, LogFormat, text_formatter
from feature_repo.common.errors import ConfigError, GateRefusedError

if TYPE_CHECKING:
    from feature_repo.common.config import Config

# Documented in docs/operations.md, because schedulers act on them; typer itself ends with 2 on bad usage.
FAILED, BAD_USAGE, REFUSED_BY_GATE = 1, 2, 3
INTERRUPTED = 130  # as shells report Ctrl-C

# Packages of the extra `batch` in pyproject.toml, as they are imported; an image that only serves has none of them.
BATCH_PACKAGES = frozenset({"great_expectations", "jinja2", "matplotlib", "optuna", "tensorboard"})

log = logging.getLogger(__name__)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file, YAML (default: config/default.yaml)")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a setting (repeatable)",
        autocompletion=complete_setting,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout")]

JobResult = dict[str, Any]


def run_job(
    job: Callable[[Config], JobResult | None],
    config: Path | None,
    overrides: list[str] | None,
    as_json: bool,
    show: Callable[[JobResult], str] | None = None,
    log_format: LogFormat = "text",
) -> None:
    """Loads the configuration, runs a job, prints its result and turns errors into exit codes.

    Args:
        job: The work of the command. Returns a result that can be written as JSON, or None to print nothing.
        config: Value of --config.
        overrides: Values of --set.
        as_json: Value of --json.
        show: Formats the result as text for people; None prints one line per value.
        log_format: Value of --log-format.
    """
    from batch_jobs.ingestion.shop_source import require_own_shop
    from batch_jobs.ingestion.source_mapping import load_source_config

    _start_logging(log_format)
    try:
        settings = load_source_config(config, overrides or ())
        require_own_shop(settings)
    except (ConfigError, FileNotFoundError) as error:
        raise _exit(error, BAD_USAGE) from None
    try:
        result = job(settings)
    except GateRefusedError as error:
        # Before RuntimeError, its base class.
        if error.result is not None:
            _print_result(error.result, as_json, show)
        raise _exit(error, REFUSED_BY_GATE) from None
    except ConfigError as error:
        raise _exit(error, BAD_USAGE) from None
    except ModuleNotFoundError as error:
        raise _exit(_with_remedy(error), FAILED) from None
    # The types with messages for users. Any other exception is a defect and keeps its traceback.
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise _exit(error, FAILED) from None
    except KeyboardInterrupt:
        _report("interrupted; run the same command again: no file is half written")
        raise typer.Exit(INTERRUPTED) from None
    if result is not None:
        _print_result(result, as_json, show)


def _print_result(result: JobResult, as_json: bool, show: Callable[[JobResult], str] | None) -> None:
    if as_json:
        # default=str: results contain paths and times.
        typer.echo(json.dumps(result, ensure_ascii=False, default=str))
    elif text := show(result) if show else _as_lines(result):
        typer.echo(text)


def _exit(error: Exception, code: int) -> typer.Exit:
    from batch_jobs.console.hints import error_text, hint

    next_step = hint(error)
    _report(error_text(error) + (f"; {next_step}" if next_step else ""))
    return typer.Exit(code)


def _with_remedy(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Says what to install if a package of the extra `batch` is missing; others have messages of their own."""
    package = (error.name or "").partition(".")[0]
    if package not in BATCH_PACKAGES:
        return error
    return ModuleNotFoundError(
        f"this command needs {package}, which the API alone does not: run `pip install 'tawsiya[batch]'`"
    )


def _report(message: str) -> None:
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        log.error("%s", message)
    else:
        typer.echo(f"error: {message}", err=True)


def _start_logging(log_format: LogFormat) -> None:
    from feature_repo.console.progress import LogAroundBars

    # stderr, because stdout holds the result alone: callers of --json parse it.
    as_json = log_format == "json"
    handler = logging.StreamHandler(sys.stderr) if as_json else LogAroundBars()
    handler.setFormatter(JsonLines() if as_json else text_formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _quiet_libraries()


def _quiet_libraries() -> None:
    """Keeps warnings and progress messages of libraries out of the log."""
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    noisy = ("feast", "sentence_transformers", "transformers", "great_expectations", "httpx", "faiss", "tensorboard")
    for name in noisy:
        logging.getLogger(name).setLevel(logging.WARNING)


def _as_lines(result: JobResult, indent: str = "") -> str:
    """Formats a nested result as indented lines."""
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _as_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{key}:{'' if value else ' none'}", *(f"{indent}  {item}" for item in value)]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(line for line in lines if line)


def with_shop_lock(job: Callable[[Config], JobResult]) -> Callable[[Config], JobResult]:
    """Wraps a job so that it runs under the shop's batch lock."""

    def run(config: Config) -> JobResult:
        from feature_repo.common.lock import shop_lock

        with shop_lock(config):
            return job(config)

    return run
