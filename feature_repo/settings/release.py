"""The settings of a release: index, gate, refresh."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from feature_repo.settings.section import Fraction, PositiveInt, Section


class IndexConfig(Section):
    """The vector index."""

    type: Literal["auto", "flat", "ivf", "hnsw", "pq_fastscan", "milvus"] = Field(
        "auto",
        description="`flat` is exact; `ivf`, `hnsw` and `pq_fastscan` are approximate and faster; `milvus` asks an "
        "engine at `index.address`; `auto` goes by the number of products ([training.md](training.md#the-index))",
    )
    address: str = Field(
        "",
        description="With `milvus` (extra `milvus`): its address, such as `http://milvus:19530/database`; a name that "
        "ends with `.db` is a file of Milvus Lite. The token or `user:password` is in $TAWSIYA_MILVUS_TOKEN "
        "([scaling.md](scaling.md#milvus))",
    )
    min_recall: Fraction = Field(
        0.99,
        description="Smallest recall@10 and recall@100 against exact search: the cheapest search that reaches it is "
        "chosen; an index that cannot is not published",
    )

    @model_validator(mode="after")
    def _engine_has_an_address(self) -> "IndexConfig":
        if self.type == "milvus" and not self.address:
            raise ValueError("type=milvus needs index.address, such as http://milvus:19530")
        if "@" in self.address or "?" in self.address:
            raise ValueError("address goes into the release: put the token or user:password into $TAWSIYA_MILVUS_TOKEN")
        return self


class ReleaseConfig(Section):
    """Published releases."""

    # At least the live release and the one that a rollback makes live.
    keep: Annotated[int, Field(ge=2)] = Field(
        5, description="Number of releases to keep for rollback; older ones are deleted"
    )
    # ADR 0016 has what trainings on the same data differ by.
    max_recall_loss: Fraction = Field(
        0.05, description="Largest share of the live release's recall@20 that a new one may certainly lose"
    )
    max_ndcg_loss: Fraction = Field(0.05, description="Largest share of the live release's ndcg@20, likewise")
    max_similarity_loss: Fraction = Field(
        0.3,
        description="Largest share of the live release's recall@20 without the re-scorer that a new one may certainly "
        "lose; trainings on the same data differ more in it",
    )
    max_coverage_loss: Fraction = Field(
        0.5, description="Largest share of the live release's coverage@20 that a new one may lose"
    )
    max_size_loss: Fraction = Field(
        0.3,
        description="Largest share of the live release's products that a new one may lack, and largest loss of the "
        "share of products that are not hidden",
    )
    min_recall_at_20: Fraction = Field(
        0, description="Smallest recall@20 of a release, whatever the live one reaches; 0 sets none"
    )
    min_share_of_popular_recall: Fraction = Field(
        0.5,
        description="Smallest recall@20 of a release, as a share of what the same popular products for everybody reach",
    )


class RefreshConfig(Section):
    """When `tawsiya refresh` trains ([operations.md](operations.md#when-refresh-trains)), and its records."""

    retrain: Literal["changed", "due", "never"] = Field(
        "changed",
        description="`changed` trains whenever the training data have changed; `due` only if one of the next three "
        "settings says so; `never` keeps the model. New settings or code train too, except with `never`",
    )
    retrain_days: Annotated[int, Field(ge=0)] = Field(
        7, description="With `due`: train if the model is this many days old; 0 sets no age"
    )
    retrain_on_drift: bool = Field(
        True,
        description="With `due`: train if the data have drifted since the training, by the limits of `expectations` "
        "([data-quality.md](data-quality.md#drift))",
    )
    retrain_on_metric_drop: Fraction = Field(
        0.1,
        description="With `due`: train if the model's NDCG on the present test days is lower than after its training "
        "by this share; 0 does not compare",
    )
    keep_records: PositiveInt = Field(
        200, description="Records of runs to keep (`tawsiya runs list`); older ones are deleted"
    )
