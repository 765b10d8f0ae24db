"""The Spark session of the jobs, by the section `spark` of the configuration, and paths as Spark reads them."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from feature_repo.common.errors import ConfigError
from feature_repo.settings.storage import SparkConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not for the configuration to change: times are UTC everywhere, rows travel between Spark and Python as Arrow, and no
# two tasks write the same file at once.
FIXED_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.speculation": "false",
}


def spark_conf(config: SparkConfig) -> dict[str, str]:
    """All settings of the session, by Spark's names.

    Raises:
        ConfigError: PySpark or Java is not installed; the message says what to install.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise ConfigError(
            "feature_store.offline is spark, but PySpark is not installed; run `pip install 'tawsiya[spark]'`"
        )
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        raise ConfigError(
            "feature_store.offline is spark, but there is no Java; install Java 17, such as Debian's "
            "default-jre-headless, or set JAVA_HOME"
        )
    return {"spark.master": config.master, **config.conf, **FIXED_CONF}


def spark_session(conf: Mapping[str, str]) -> "SparkSession":
    """The session of this process; the first call starts it with the settings `conf`."""
    from pyspark.sql import SparkSession

    # By default Spark starts the first `python3` of the PATH, which may be another one and lack Tawsiya.
    os.environ.setdefault("PYSPARK_PYTHON", conf.get("spark.pyspark.python", sys.executable))
    builder = SparkSession.builder.appName("tawsiya")
    for name, value in conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    # Spark logs the traces of failed tasks, and task_errors says what failed in one line.
    session.sparkContext.setLogLevel("FATAL")
    return session


def spark_pattern(pattern: str) -> str:
    """A pattern of local files as `files.glob_literal` writes it for DuckDB, as Spark must get it.

    The files must be mounted at the same place on every machine of the cluster.
    """
    # Spark escapes with backslashes, not brackets, and knows {a,b}. `file:`, because the default may be another system.
    return "file:" + re.sub(r"\[([\[*?])\]|([{}])", lambda match: "\\" + (match[1] or match[2]), pattern)


def run_tasks(config: SparkConfig, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Calls `function` with each item, in a task of Spark; returns the results in the order of the items.

    Args:
        config: The section `spark`.
        function: Is pickled with what it refers to. Spark calls it again with an item whose machine was lost.
        items: Are pickled.

    Raises:
        RuntimeError: A task failed; the message says why.
        ConfigError: PySpark or Java is not installed.
    """
    context = spark_session(spark_conf(config)).sparkContext
    # After the line that says what to do if they are not installed.
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        results: list[Result] = context.parallelize(items, max(len(items), 1)).map(function).collect()
    except (Py4JError, PySparkException) as error:
        raise RuntimeError(f"a Spark task failed: {_reason(str(error))}") from None
    return results


def _reason(message: str) -> str:
    """The exception that a task raised: what follows the indented lines of the trace; without one, the first line."""
    _, _, trace = message.partition("Traceback (most recent call last):\n")
    raised = [line for line in trace.splitlines() if line and not line.startswith(" ")]
    return next(iter(raised), message.strip().partition("\n")[0])
