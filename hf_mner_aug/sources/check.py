"""Checks a dataset as its user names it: the problems of its rows, and what the Hub's viewer cannot show."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hf_mner_aug.columns.mapping import map_columns
from hf_mner_aug.columns.validation import Validation
from hf_mner_aug.columns.validation import validate as validate_rows
from hf_mner_aug.columns.viewer import viewer_problems
from hf_mner_aug.sources.loading import open_source
from hf_mner_aug.storage.picture_files import Allowed


def validate(
    source: Any,
    *,
    images: bool | str | Path = True,
    trust_image_paths: bool = False,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> Validation:
    """Return every problem of a dataset with its row; of a folder also, under ``viewer``, what the Hub cannot show.

    Args:
        source: a dataset, a dict of splits, a folder or a Hub id.
        images: decode pictures; a folder also allows reading the picture files in it that rows name.
        trust_image_paths: read such files from anywhere.
        columns: the source's names for our columns, which are then cast, as by ``map_columns``.

    Raises:
        UsageError: there is no such source.
        DataError: it cannot be loaded.
    """
    folder = None if isinstance(images, bool) else images
    if isinstance(source, str | Path):
        splits, allowed = open_source(str(source), images=folder, as_numbered=True, columns=columns)
    else:
        splits, allowed = map_columns(source, columns) if columns else source, Allowed.of(folder)
    found = validate_rows(splits, images=images is not False, allowed=allowed, trust_image_paths=trust_image_paths)
    return replace(found, viewer=tuple(viewer_problems(source))) if _is_folder(source) else found


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | Path) and Path(source).is_dir()
