"""Runs commands in this process, which is faster than a process of their own."""

import logging

from typer.testing import CliRunner, Result

from batch_jobs.cli import app


def invoke(*arguments: str) -> Result:
    """Runs `tawsiya ARGUMENTS`, and undoes what a command does to the warnings of its process."""
    logger = logging.getLogger("py.warnings")
    level = logger.level
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        logging.captureWarnings(False)
        logger.setLevel(level)
