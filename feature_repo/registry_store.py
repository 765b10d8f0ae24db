"""Feast's registry as a file that is never half-written; feature_store.yaml names the class."""

import logging
import os

from feast.infra.registry.file import FileRegistryStore
from feast.infra.registry.registry import REGISTRY_SCHEMA_VERSION
from feast.protos.feast.core.FeatureView_pb2 import FeatureViewState
from feast.protos.feast.core.Registry_pb2 import Registry
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from feature_repo.common.files import replacing

log = logging.getLogger(__name__)


# Feast's own store truncates the file and writes it again: a crash leaves half of it, and an API worker that reads at
# that moment caches half of it.
class AtomicFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast is untyped
    """Replaces the file in one step; a missing or damaged one reads as empty, and nothing is written by reading."""

    def get_registry_proto(self) -> Registry:
        """The registry. All of it can be made again, so a damaged one is no error: materialize writes a new one."""
        try:
            registry: Registry = super().get_registry_proto()
            return registry
        except FileNotFoundError:
            pass
        except DecodeError:
            log.warning("%s is damaged and counts as empty; `tawsiya materialize` makes a new one", self._filepath)
        return Registry(registry_schema_version=REGISTRY_SCHEMA_VERSION)

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = os.urandom(16).hex()
        registry_proto.last_updated.GetCurrentTime()
        # Feast refuses online reads of a view while it is materialized, and for ever if that was killed. The online
        # store keeps serving what it has, so no state is kept.
        for view in registry_proto.feature_views:
            view.meta.state = FeatureViewState.STATE_UNSPECIFIED
        with replacing(self._filepath) as temporary, temporary.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
