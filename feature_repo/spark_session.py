"""The Spark session of the jobs, by the section `spark` of the configuration, and paths as Spark reads them."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_repo.common.config import ConfigError, SparkConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Not for the configuration to change: times are UTC everywhere, and rows travel between Spark and Python as Arrow.
FIXED_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
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


@contextmanager
def task_errors() -> Iterator[None]:
    """Turns a failure of Spark into a RuntimeError of one line: the exception that was raised in the task."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        text = str(error).strip()
        _, _, trace = text.partition("Traceback (most recent call last):\n")
        # After the indented lines of the trace; without a trace, Spark's own first line.
        raised = [line for line in trace.splitlines() if line and not line.startswith(" ")]
        raise RuntimeError(f"a Spark task failed: {next(iter(raised), text.partition(chr(10))[0])}") from None
