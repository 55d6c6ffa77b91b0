"""A method as a function for Ray Data, whose Parquet ``load_dataset`` reads as it reads that of ``Dataset.map``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.runs.parts import rows_table
from hf_mner_aug.runs.ranks import fetch_learned
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import Store, open_store
from hf_mner_aug.transform import Method

if TYPE_CHECKING:
    import pyarrow as pa


def ray_map(method: Method, *, storage: str | None = None) -> "Callable[[pa.Table], pa.Table]":
    """Return the function of a fitted method for ``map_batches`` of Ray Data, with ``batch_format="pyarrow"``.

    ``ray.data.read_parquet(…).map_batches(ray_map(method), batch_format="pyarrow").write_parquet(…)`` writes the rows,
    features and picture bytes of ``method.map``. With Ray Data's default format, pictures and lists would be written
    in a type of Ray's own, which ``load_dataset`` does not read: such a batch is refused. Rejected posts are dropped,
    as by ``map``; ``augment(…, engine="ray")`` keeps them, and goes on after a kill.

    Args:
        method: fitted.
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
        return _mapped(method, place, batch)

    return mapped


def _mapped(method: Method, place: Store | None, batch: Any) -> "pa.Table":
    """Return the rows made of a batch.

    Raises:
        UsageError: it is not an Arrow table, or a row or label is wrong.
        NotFitted: what was learned is not on this node.
    """
    import pyarrow as pa

    if not isinstance(batch, pa.Table):
        raise UsageError(
            f'{method.name} works on Arrow tables: map_batches(…, batch_format="pyarrow"), found {type(batch).__name__}'
        )
    assert method.artifact is not None
    try:
        if place is not None:
            fetch_learned(place, method.artifact)
        columns = method(batch)
    except NotFitted as error:
        raise NotFitted(f"{error}; or let its nodes share a storage: ray_map(…, storage=FOLDER_OR_URL)") from error
    return rows_table(columns, method.features)
