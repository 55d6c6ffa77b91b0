"""A method as a function for Ray Data, whose Parquet ``load_dataset`` reads as it reads that of ``Dataset.map``."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.runs.parts import rows_table
from hf_mner_aug.runs.ranks import fetch_learned
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import Store, open_store
from hf_mner_aug.transform import Method
from hf_mner_aug.transform.rows import features_of

if TYPE_CHECKING:
    import pyarrow as pa


def ray_map(
    method: Method, *, features: Mapping[str, Any] | None = None, storage: str | None = None
) -> "Callable[[pa.Table], pa.Table]":
    """Return the function of a fitted method for ``map_batches`` of Ray Data, with ``batch_format="pyarrow"``.

    ``read_parquet(…).map_batches(ray_map(method, features=ds.features), batch_format="pyarrow").write_parquet(…)``
    writes the rows, features and picture bytes of ``method.map(ds)``. With Ray Data's default format, pictures and
    lists would be written in a type of Ray's own, which ``load_dataset`` does not read: such a batch is refused.
    Rejected posts are dropped, as by ``map``; ``augment(…, engine="ray")`` keeps them, and goes on after a kill.

    Args:
        method: fitted.
        features: of the dataset that is read: Ray Data drops the names of labels from the Parquet that ``datasets``
            writes, and their numbers alone do not say which they are.
        storage: a folder or fsspec URL that all nodes reach, for what the method learned; without one, nodes have to
            share the cache of this machine.

    Raises:
        NotFitted: ``fit`` was not called.
    """
    if method.artifact is None:
        raise NotFitted(f"{method.name} is not fitted: ray_map({method.name}.fit(train))")
    place = open_store(storage) if storage is not None else None
    if place is not None:
        place.at("fit")
        for file in artifacts.files(method.artifact):
            place.send(artifacts.path_of(file), f"fit/{file}")

    def mapped(batch: "pa.Table") -> "pa.Table":
        return _mapped(method, features, place, batch)

    return mapped


def _mapped(method: Method, features: Mapping[str, Any] | None, place: Store | None, batch: Any) -> "pa.Table":
    """Return the rows made of a batch.

    Raises:
        UsageError: it is not an Arrow table, its labels have no names, or a row or label is wrong.
        NotFitted: what was learned is not on this node.
    """
    import pyarrow as pa

    if not isinstance(batch, pa.Table):
        raise UsageError(
            f'{method.name} works on Arrow tables: map_batches(…, batch_format="pyarrow"), found {type(batch).__name__}'
        )
    if features is None and features_of(batch)[0] is None:
        raise UsageError(
            f"{method.name}: Ray Data drops the names of labels: ray_map({method.name}, features=ds.features), of the "
            "dataset that is read"
        )
    assert method.artifact is not None
    try:
        if place is not None:
            fetch_learned(place, method.artifact)
        columns = method(batch, features=features)
    except NotFitted as error:
        raise NotFitted(f"{error}; or let its nodes share a storage: ray_map(…, storage=FOLDER_OR_URL)") from error
    return rows_table(columns, method.features)
