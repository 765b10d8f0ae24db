"""Feast's registry in a file that is replaced atomically; feature_store.yaml names the class."""

import logging
import os

from feast.infra.registry.file import FileRegistryStore
from feast.infra.registry.registry import REGISTRY_SCHEMA_VERSION
from feast.protos.feast.core.FeatureView_pb2 import FeatureViewState
from feast.protos.feast.core.Registry_pb2 import Registry
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from feature_repo.common.files import replacing

log = logging.getLogger(__name__)


# Feast's own class truncates the file before it writes: after a crash, or for an API worker that reads at that moment,
# the registry is incomplete.
class AtomicFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast is untyped
    """Replaces the file in one step. A missing or damaged file reads as an empty registry; reading never writes."""

    def get_registry_proto(self) -> Registry:
        """Reads the registry; materialize can rebuild all of it, so a damaged file is not an error."""
        try:
            registry: Registry = super().get_registry_proto()
            return registry
        except FileNotFoundError:
            pass
        except DecodeError:
            log.warning("%s is damaged and treated as empty; `tawsiya materialize` writes a new one", self._filepath)
        return Registry(registry_schema_version=REGISTRY_SCHEMA_VERSION)

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = os.urandom(16).hex()
        registry_proto.last_updated.GetCurrentTime()
        # Feast refuses online reads of a view whose state is "materializing", and for ever if materialize was killed.
        # The online store can serve its present rows meanwhile, so the state is not stored.
        for view in registry_proto.feature_views:
            view.meta.state = FeatureViewState.STATE_UNSPECIFIED
        with replacing(self._filepath) as temporary, temporary.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            # On disk before the rename: after a crash of the machine the name must not point to an empty file.
            file.flush()
            os.fsync(file.fileno())
