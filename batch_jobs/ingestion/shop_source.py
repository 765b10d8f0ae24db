"""Which source mapping a shop's folder was made from: two mapping files of one name must not share a folder.

The folder of a shop is named after its mapping file. So ingest records the file's path and hash in the folder, and
every command compares them with the mapping that it is given. A shop made before there was a record gets one with its
next ingest.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from batch_jobs.ingestion.source_mapping import mapping_path
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from feature_repo.common.files import read_json, write_json
from feature_repo.common.paths import shop_paths

log = logging.getLogger(__name__)


def require_own_shop(config: Config) -> None:
    """Refuses a mapping when the shop's folder was made from another file of the same name.

    The same content at another path is the same shop, moved. So is another content at the same place beside the
    folder, or if the recorded file is gone.

    Raises:
        ConfigError: The folder belongs to another mapping; the message names both files and what to do.
    """
    record_file = shop_paths(config).source_record
    if not record_file.is_file():
        return
    try:
        current = _record(config)
    except ConfigError:
        return  # commands that do not read the source work without its mapping
    recorded = read_json(record_file, "tawsiya ingest")
    by_name = recorded["source"] == current["source"] and not Path(current["source"]).suffix
    if by_name or any(recorded[key] == current[key] for key in ("mapping", "beside", "sha256")):
        return
    if not Path(recorded["mapping"]).is_file():
        log.warning(
            "%s was made from %s, which is gone: taken for the same shop", record_file.parent, recorded["mapping"]
        )
        return
    raise ConfigError(
        f"data.source: {record_file.parent} was made from {recorded['mapping']}, and {current['mapping']} is another "
        "file of the same name; rename one of them, or give it a data_dir of its own (if both are one shop, delete "
        f"{record_file})"
    )


def record_shop_source(config: Config) -> None:
    """Records the mapping of the shop in its folder.

    Raises:
        ConfigError: The folder belongs to another mapping.
    """
    require_own_shop(config)
    write_json(shop_paths(config).source_record, _record(config))


def _record(config: Config) -> dict[str, Any]:
    path = mapping_path(config.data.source)
    return {
        "source": config.data.source,
        "mapping": str(path.resolve()),
        "beside": os.path.relpath(path.resolve(), shop_paths(config).root.resolve()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
