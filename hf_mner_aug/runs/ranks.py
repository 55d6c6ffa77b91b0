"""The agreement of the processes that share a run: one recipe, and one result of ``fit``.

Both are files that the first process writes and every other one compares with.
"""

import contextlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt, RecipeMismatch, UsageError
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import Store, sha256
from hf_mner_aug.transform import Method, features_for
from hf_mner_aug.untrusted.names import check_digest
from hf_mner_aug.untrusted.shapes import parse_json

if TYPE_CHECKING:
    from datasets import Dataset


def check_rank(rank: int | None, world_size: int | None) -> None:
    """Raise UsageError unless there is neither a rank nor a world size, or both, the rank in [0, world size)."""
    if world_size is not None and world_size < 1:
        raise UsageError(f"world size must be at least 1, found {world_size}")
    if rank is None and world_size is not None:
        raise UsageError(f"world size {world_size} needs a rank from 0 to {world_size - 1}")
    if rank is not None and world_size is None:
        raise UsageError(f"rank {rank} needs a world size: the number of ranks")
    if rank is not None and world_size is not None and not 0 <= rank < world_size:
        raise UsageError(f"rank must be from 0 to {world_size - 1}, found {rank}")


def claim_config(shared: Store, recipe: Recipe, rank: int | None) -> None:
    """Check that all ranks of a config, and the run that gathers their parts, have the first rank's recipe.

    Raises:
        RecipeMismatch: this one has another.
    """
    name = _claim(recipe)
    found = shared.read(name) if rank is None else shared.write_once(name, _to_json(recipe))
    if found is not None:
        _check_same(found, recipe, f"{shared}/{name}")


def release_config(shared: Store, recipe: Recipe) -> None:
    """Forget the ranks' recipe, so that the next ranks may have another one; another run's is kept."""
    name = _claim(recipe)
    found = shared.read(name)
    with contextlib.suppress(RecipeMismatch):
        if found is not None:
            _check_same(found, recipe, f"{shared}/{name}")
            shared.remove(name)


def claim_run(place: Store, recipe: Recipe) -> None:
    """Write a run's recipe.json, or check that it holds this recipe.

    Raises:
        RecipeMismatch: it is another's.
    """
    _check_same(place.write_once("recipe.json", _to_json(recipe)), recipe, f"{place}/recipe.json")


def fit_once(
    place: Store,
    recipe: Recipe,
    gold: "Mapping[str, Dataset]",
    *,
    learned: str | None = None,
    progress: bool = False,
    method: Method | None = None,
) -> Method:
    """Return the fitted method. Its learnt state is kept in the run's ``fit``; the first one stored there counts.

    ``learned`` is the artifact of the same recipe on the same posts, where this process has fitted it before.
    ``method`` is the recipe's, where another process has built it.

    Raises:
        RecipeMismatch: this process learnt something else than the first one.
        Corrupt: a stored file is damaged.
    """
    method = method or recipe.build()
    stored = place.read("fit/artifact.json")
    if stored is not None:
        digest = _digest_in(stored, place)
        fetch_learned(place, digest)
        return replace(method, artifact=digest)
    if method.artifact is None and learned is not None:
        method = replace(method, artifact=learned)
    elif method.artifact is None:
        method = method.fit(gold, progress=progress)
    else:
        features_for(method, gold["train"].features)  # refuses a set with labels that it does not know
    assert method.artifact is not None
    for file in artifacts.files(method.artifact):
        place.send(artifacts.path_of(file), f"fit/{file}")
    first = place.write_once("fit/artifact.json", json.dumps({"artifact": method.artifact}).encode())
    digest = _digest_in(first, place)
    if digest != method.artifact:
        raise RecipeMismatch(
            f"{place}: what was learnt here ({method.artifact[:12]}) is not what another process learnt first "
            f"({digest[:12]}): give all the same package versions; started again, this one takes the first"
        )
    return method


def fetch_learned(place: Store, digest: str) -> None:
    """Copy the files of an artifact from a run's ``fit`` into this machine's cache, unless they are there.

    Raises:
        Corrupt: one is damaged.
    """
    _fetch(place, digest)
    for file in artifacts.files(digest)[1:]:
        _fetch(place, file)


def _claim(recipe: Recipe) -> str:
    return f"{recipe.config}.ranks.json"


def _to_json(recipe: Recipe) -> bytes:
    return json.dumps(recipe.to_dict(), indent=2, sort_keys=True).encode()


def _check_same(data: bytes, recipe: Recipe, path: str) -> None:
    """Check that a file holds this recipe; the place of the source does not count."""
    found, expected = _parse(data, path), json.loads(_to_json(recipe))
    other = [name for name, value in expected.items() if name != "source" and found.get(name) != value]
    if other:
        raise RecipeMismatch(
            f"{path} was written for another {', '.join(other)}: give every rank the same options, or delete it"
        )


def _parse(data: bytes, path: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_json(data, dict[str, Any], path, error=Corrupt, advice="delete it and run again")
    return found


def _digest_in(note: bytes, place: Store) -> str:
    path = f"{place}/fit/artifact.json"
    return check_digest(_parse(note, path).get("artifact"), f"{path}, which is damaged (delete it and run again)")


def _fetch(place: Store, digest: str) -> None:
    """Copy a file of an artifact into this machine's cache, unless it is there: another machine may have fitted."""
    cache = artifacts.cache_folder() / "artifacts"
    if (cache / digest).exists() and sha256(cache / digest) == digest:
        return
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetched-") as temporary:
        path = Path(temporary) / digest
        if not place.fetch(f"fit/{digest}", path) or sha256(path) != digest:
            raise Corrupt(f"{place}/fit/{digest} is damaged: delete the folder {place}/fit and run again")
        artifacts.save_file(path)
