"""A fitted backbone in a folder: its description, ``backbone.json``, and a file of weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from hf_mner_aug.exceptions import Corrupt, NotFitted, UsageError
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import sha256
from hf_mner_aug.untrusted.shapes import checked, fields_of, read_json

RECORD = "backbone.json"
ENCODER = "encoder"
TOWER = "tower"
WEIGHTS = "model.safetensors"


def write(folder: Path, backbone: str, weights: str, about: Mapping[str, Any]) -> None:
    """Write the description of a folder that has its weights already, so that an interrupted save has none."""
    digest = sha256(folder / weights)
    record = {"backbone": backbone, "weights": weights, "sha256": digest, **about}
    artifacts.write_atomically(folder / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


class Saved(TypedDict):
    """The fields of every saved backbone's description."""

    backbone: str
    weights: str
    sha256: str
    labels: list[str]
    settings: Mapping[str, Any]


def read(folder: Path, backbone: str) -> dict[str, Any]:
    """Return the description of a folder, after checking its weights.

    Raises:
        UsageError: there is no saved backbone, or it is of another kind.
        Corrupt: the description or the weights are damaged.
    """
    record = _described(folder)
    if record["backbone"] != backbone:
        raise UsageError(f"{folder} holds a {record['backbone']} backbone, expected {backbone}")
    weights = folder / Path(record["weights"]).name
    if not weights.is_file() or sha256(weights) != record["sha256"]:
        raise Corrupt(f"{weights} is damaged or missing: fit and save again")
    return record


def name_of(folder: Path) -> str:
    """Return the name of the backbone that a folder holds; raises as ``read``, but its weights are not checked."""
    name: str = _described(folder)["backbone"]
    return name


def _described(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(folder / RECORD, Saved, error=Corrupt, advice="fit and save again")
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no saved backbone: expected the file {RECORD}") from error
    return found


def settings(cls: type, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the saved settings of a backbone's class, checked against the types of its fields.

    Raises:
        Corrupt: a setting has another type, or the class has no such setting.
    """
    kinds, where = fields_of(cls), f"{folder / RECORD}: settings"
    found = {}
    for name, value in record["settings"].items():
        if name not in kinds:
            raise Corrupt(f"{where}: expected only {', '.join(kinds)}, found {name!r}: fit and save again")
        found[name] = checked(value, kinds[name], f"{where}.{name}", error=Corrupt, advice="fit and save again")
    return found


def check_labels(folder: Path, record: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Check that a saved model has the labels of the data, in the same order.

    Raises:
        UsageError: it has not.
    """
    if list(labels) != record["labels"]:
        raise UsageError(
            f"{folder} was trained on the labels {', '.join(record['labels'])}, train has {', '.join(labels)}: "
            "cast the datasets to the same ClassLabel names, or start from an encoder without a head"
        )


def write_net(folder: Path, backbone: str, net: Any, tokenizer: Any, about: Mapping[str, Any]) -> None:
    """Save a network, the configurations of its encoder and tower, its tokenizer, and its description ``about``."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    net.encoder.config.save_pretrained(folder / ENCODER)
    tokenizer.save_pretrained(folder / ENCODER)
    if net.tower is not None and net.tower.config is not None:
        net.tower.config.save_pretrained(folder / TOWER)
    save_model(net, str(folder / WEIGHTS))
    write(folder, backbone, WEIGHTS, about)


def read_net(folder: Path, net: Any) -> None:
    """Load the weights of a folder into a network."""
    from safetensors.torch import load_model

    load_model(net, str(folder / WEIGHTS))


def not_fitted(backbone: str) -> NotFitted:
    """Return the error for a backbone that was not fitted."""
    return NotFitted(f"{backbone} is not fitted: use the result of fit(train, validation) or load(folder)")
