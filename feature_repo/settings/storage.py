"""The settings of stores and machines: feature store, Spark, memory and disk."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from feature_repo.settings.section import MemorySize, PositiveFloat, PositiveInt, Section


class ResourcesConfig(Section):
    """Memory and disk of the jobs on a shop's tables: [operations.md](operations.md#memory-and-disk)."""

    memory_limit: MemorySize = Field(
        "4GB", description="Memory of DuckDB; what exceeds it goes to the spill folder. A size such as 512MB or 16GB"
    )
    spill_folder: Path | None = Field(
        None, description="Folder of what exceeds the memory limit; null is `tmp/spill` in the shop's folder"
    )


class FeatureStoreConfig(Section):
    """The feature store."""

    offline: Literal["duckdb", "spark"] = Field(
        "duckdb",
        description="Where features are built and histories joined: `duckdb` in the process of the command, or `spark` "
        "(extra `spark`, [scaling.md](scaling.md))",
    )
    online: Literal["embedded", "redis"] = Field(
        "embedded", description="`embedded` starts a local Valkey; `redis` uses $TAWSIYA_REDIS (host:port,option=value)"
    )
    online_write_batch_size: PositiveInt = Field(10_000, description="Rows per write when features are materialized")
    buyer_ttl_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after a buyer's last event when the online store forgets the buyer; 0: never. Needs Redis 7",
    )


# A driver on this machine alone, which no other machine can reach.
_LOOPBACK_CONF = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


class SparkConfig(Section):
    """The Spark session, if `feature_store.offline` is `spark`."""

    master: str = Field("local[*]", description="Spark's master URL, such as `local[*]`, `spark://host:7077` or `yarn`")
    conf: dict[str, str] = Field(
        _LOOPBACK_CONF,
        description="Further settings of the session, as texts by Spark's own names, such as `spark.executor.memory`; "
        "they replace the default, with which no other machine can reach the driver",
    )


class DiskConfig(Section):
    """Disk space; `tawsiya doctor` shows what uses it ([operations.md](operations.md#disk-space))."""

    budget_gb: Annotated[float, Field(ge=0)] = Field(
        0, description="`tawsiya doctor` warns if the shop's folder takes more gigabytes than this; 0 sets no budget"
    )
    # At 384 dimensions a text takes 1.5 kB: these are 3 million texts.
    max_text_vectors_gb: PositiveFloat = Field(
        5,
        description="A larger cache of text vectors is deleted at the end of `tawsiya refresh`, and the next one "
        "encodes the products again; it is kept where the products alone need more",
    )
