"""The settings: one typed class per section, from `feature_repo/settings/`. config_loading.py reads their values."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from feature_repo.settings.api import ApiConfig
from feature_repo.settings.data import DataConfig, ExpectationsConfig
from feature_repo.settings.lists import ListsConfig
from feature_repo.settings.model import EventWeights, InferenceConfig, ModelConfig, TrainingConfig
from feature_repo.settings.release import IndexConfig, RefreshConfig, ReleaseConfig
from feature_repo.settings.section import Section
from feature_repo.settings.storage import DiskConfig, FeatureStoreConfig, ResourcesConfig, SparkConfig


class Config(Section):
    """The whole configuration."""

    data_dir: Path = Field(Path("var"), description="Folder of everything that Tawsiya writes")
    data: DataConfig = DataConfig()
    event_weights: EventWeights = EventWeights()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    resources: ResourcesConfig = ResourcesConfig()
    feature_store: FeatureStoreConfig = FeatureStoreConfig()
    spark: SparkConfig = SparkConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    index: IndexConfig = IndexConfig()
    lists: ListsConfig = ListsConfig()
    release: ReleaseConfig = ReleaseConfig()
    refresh: RefreshConfig = RefreshConfig()
    disk: DiskConfig = DiskConfig()
    api: ApiConfig = ApiConfig()


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every valid dotted key, sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        # An annotation such as Literal or X | None is no class, and issubclass would raise.
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
